"""Make the notebooks from their sources: ``lesson.md`` -> ``lesson.ipynb``, executed, with its outputs.

    python tools/notebooks.py                     every notebook whose source has changed
    python tools/notebooks.py --all               every notebook
    python tools/notebooks.py chapters/02_gradients/lesson.md
    python tools/notebooks.py --check             name the notebooks that are out of date, run nothing

A notebook is up to date when its cells are those of its source, and every cell has run. Where only text has
changed, the stored outputs are kept and nothing is executed. Questions are taken from ``quiz.json`` each
time: showing them computes nothing. The library may have changed under a notebook all the same:
``pytest --nbval`` finds that, and ``--all`` mends it.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jupytext
import make_ledger
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from xai_course import quizzes
from xai_course._page import with_current_inline, without_inline

ROOT = Path(__file__).resolve().parent.parent
CELL_TIMEOUT = 300  # seconds; a lesson takes less than 60 in all
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def sources() -> list[Path]:
    """Every notebook source of the book: the MyST files of the chapters, and two pages beside them."""
    beside = [ROOT / "book" / name for name in ("how_fast.md", "beyond_one_machine.md")]
    return [*sorted(ROOT.glob("chapters/*/*.md")), *beside]


def _cells(notebook: nbformat.NotebookNode) -> list[tuple]:
    """What must be equal in a source and its notebook: each cell's kind, text and metadata."""
    return [(cell.cell_type, cell.source.strip(), _own_metadata(cell.metadata)) for cell in notebook.cells]


def _own_metadata(metadata: dict) -> str:
    kept = {key: value for key, value in metadata.items() if key not in ("execution", "trusted")}
    return json.dumps(kept, sort_keys=True)  # a stored notebook's keys are sorted, at every depth


def _stored(source: Path) -> nbformat.NotebookNode | None:
    """The notebook beside ``source``, if there is one and every code cell in it has been executed."""
    path = source.with_suffix(".ipynb")
    if not path.exists():
        return None
    stored = nbformat.read(path, as_version=4)
    waiting = [cell for cell in _code(stored) if cell.source.strip() and cell.execution_count is None]
    return None if waiting else stored


def _code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_current(source: Path) -> bool:
    """True when the notebook beside ``source`` has the same cells, all executed, and the same questions."""
    stored = _stored(source)
    if stored is None or _cells(jupytext.read(source)) != _cells(stored):
        return False
    return all(without_inline(before) == without_inline(now) for before, now in _questions(stored, source))


def quiz_calls(code: str) -> list[tuple[list[str], dict]]:
    """The calls of ``quizzes.quiz`` in a cell: which questions they show, and how."""
    if "quizzes.quiz(" not in code:
        return []
    tree = ast.parse("\n".join(line for line in code.splitlines() if not line.startswith(("%", "!"))))
    return [
        (
            [ast.literal_eval(argument) for argument in node.args[1:]],
            {option.arg: ast.literal_eval(option.value) for option in node.keywords},
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "quiz"
    ]


def _questions(notebook: nbformat.NotebookNode, source: Path) -> Iterator[tuple[str, str]]:
    """Each quiz as the notebook has it stored, and as ``quiz.json`` would show it now."""
    for cell in _code(notebook):
        outputs = [output for output in cell.outputs if "text/html" in output.get("data", {})]
        for output, (ids, options) in zip(outputs, quiz_calls(cell.source), strict=False):
            now = quizzes.quiz(source.parent / "quiz.json", *ids, **options).html()
            yield "".join(output.data["text/html"]), now
            output.data["text/html"] = now


def _keep_outputs(notebook: nbformat.NotebookNode, stored: nbformat.NotebookNode | None) -> bool:
    """Take over the stored outputs if no line of code has changed; tells whether it did."""
    if stored is None or [c.source for c in _code(notebook)] != [c.source for c in _code(stored)]:
        return False
    for cell, before in zip(_code(notebook), _code(stored), strict=True):
        cell.outputs, cell.execution_count = before.outputs, before.execution_count
    return True


def _clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave in the stored notebook what another machine can show: no widget state, no timestamps."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("jupytext", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"  # stable: a diff shows what changed, not new random names
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop(WIDGET_VIEW, None)
            if "text/html" in data:
                data["text/html"] = with_current_inline("".join(data["text/html"]))
    return notebook


def make(source: Path, execute: bool = False) -> str:
    """Write the notebook beside ``source``, executed if its code changed; says what was done."""
    notebook = jupytext.read(source)
    started = time.perf_counter()
    if not execute and _keep_outputs(notebook, _stored(source)):
        done = f"new text or questions, outputs kept ({len(list(_questions(notebook, source)))} quizzes)"
    else:
        resources = {"metadata": {"path": str(source.parent)}}
        NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            coalesce_streams=True,  # one block for what one cell prints
            store_widget_state=False,
            resources=resources,
        ).execute()
        done = f"executed in {time.perf_counter() - started:.0f} s"
    nbformat.write(_clean(notebook), source.with_suffix(".ipynb"))
    return done


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="*", type=Path, help="sources to look at (default: all)")
    parser.add_argument("--all", action="store_true", help="execute also what has not changed")
    parser.add_argument(
        "--check", action="store_true", help="execute nothing; exit 1 if a notebook is out of date"
    )
    args = parser.parse_args()

    chosen = [path.resolve().with_suffix(".md") for path in args.sources] or sources()
    missing = [path for path in chosen if not path.exists()]
    if missing:
        parser.error(f"no such source: {', '.join(map(str, missing))}")
    stale = chosen if args.all else [path for path in chosen if not is_current(path)]
    if args.check:
        for path in stale:
            print(f"out of date: {path.with_suffix('.ipynb').relative_to(ROOT)} (run `make notebooks`)")
        return 1 if stale else 0

    for path in stale:
        name = path.relative_to(ROOT)
        print(f"{name} ...", flush=True)
        try:
            print(f"{name}: {make(path, execute=args.all)}")
        except CellExecutionError as error:
            print(f"{name}: stopped\n{error}", file=sys.stderr)
            return 1
    if make_ledger.write():
        print("book/generated/ledger.inc: the ledger has changed")
    if not stale:
        print("every notebook is up to date")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
