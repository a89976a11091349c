"""Figures and tables are numbered in the order of the page, and what the text refers to exists."""

from __future__ import annotations

import json
import re

import jupytext
import nbformat
import pytest

from tests.pages import ROOT

CHAPTERS = sorted(path for path in (ROOT / "chapters").iterdir() if (path / "lesson.ipynb").exists())


def numbers(notebook, kind: str) -> list[str]:
    """Numbers of the figures or tables that a stored notebook shows, in order."""
    shown = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown += re.findall(
                rf'id="{kind}-(\d+-\d+)"', "".join(output.get("data", {}).get("text/html", ""))
            )
    return [number.replace("-", ".") for number in shown]


def everything_numbered() -> dict[str, set[str]]:
    notebooks = [
        nbformat.read(path, as_version=4) for chapter in CHAPTERS for path in sorted(chapter.glob("*.ipynb"))
    ]
    return {
        kind: {n for notebook in notebooks for n in numbers(notebook, kind.lower())}
        for kind in ("Figure", "Table")
    }


@pytest.mark.parametrize("kind", ["figure", "table"])
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.name)
def test_a_lesson_counts_from_one_without_a_gap(chapter, kind):
    pages = sorted(chapter.glob("lesson*.ipynb"))
    found = [n for page in pages for n in numbers(nbformat.read(page, as_version=4), kind)]
    first = int(chapter.name.split("_")[0])
    assert found == [f"{first}.{i}" for i in range(1, len(found) + 1)]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.name)
def test_a_figure_that_is_referred_to_exists(chapter):
    known = everything_numbered()
    texts = [cell.source for path in sorted(chapter.glob("*.md")) for cell in jupytext.read(path).cells]
    texts.append(
        json.dumps(json.loads((chapter / "quiz.json").read_text(encoding="utf-8")), ensure_ascii=False)
    )
    missing = {
        f"{kind} {number}"
        for text in texts
        for kind, number in re.findall(r"\b(Figure|Table)[ \u00a0](\d+\.\d+)\b", text)
        if number not in known[kind]
    }
    assert not missing


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.name)
def test_no_text_speaks_of_a_figure_without_its_chapter(chapter):
    texts = [path.read_text(encoding="utf-8") for path in [*chapter.glob("*.md"), chapter / "quiz.json"]]
    assert not [found for text in texts for found in re.findall(r"\b[Ff]igure \d+\b(?!\.\d)", text)]
