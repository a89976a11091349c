"""The book's pages, as _toc.yml lists them."""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
MADE_BY_SPHINX = ["index", "search", "genindex"]


def _files(node):
    if isinstance(node, list):
        for item in node:
            yield from _files(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("root", "file"):
                yield str(Path(value).with_suffix(""))
            else:
                yield from _files(value)


PAGES = list(_files(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))))
LESSONS = [page for page in PAGES if Path(page).name.startswith("lesson")]  # a chapter may have several
