"""Runs the cells of the exercise pages as a reader would, without a kernel."""

import ast
import contextlib
import io
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib

from xai_course.classroom import CHECKED, page, tags

matplotlib.use("agg")

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("chapters/*/exercises.md"))


def run(source: str, names: dict[str, Any]) -> Any:
    """Executes a cell; returns the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(tree, "<cell>", "exec"), names)
        return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None


def results(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the checks say of every stub and of every solution, the page run from the top.

    Cells that only show something (tag ``your-turn``, and solutions without a check) are left to nbval.
    """
    return _run_through(path)[:2]


def solutions(path: Path) -> dict[str, tuple[Any, ...]]:
    """What each solution hands to its check."""
    return _run_through(path)[2]


@cache
def _run_through(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, tuple[Any, ...]]]:
    names: dict[str, Any] = {"__name__": "__main__"}
    stubs, solved, answers, current = {}, {}, {}, None
    for cell in page(path).cells:
        if cell.cell_type != "code" or "your-turn" in tags(cell):
            continue
        called = CHECKED.search(cell.source)
        if "solution" in tags(cell):
            if called:
                solved[called[1]] = run(cell.source, names)
                call = ast.parse(cell.source).body[-1].value
                answers[called[1]] = tuple(eval(ast.unparse(arg), names) for arg in call.args[1:])
        elif "check" in tags(cell):
            current = called[1] if called else current
            stubs[current] = run(cell.source, names)
        else:
            run(cell.source, names)
    return stubs, solved, answers
