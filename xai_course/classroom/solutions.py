"""The right answers to a chapter's exercises, for whoever judges: never where a student's code runs."""

from __future__ import annotations

import ast
import contextlib
import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from . import pages


@cache
def right_answers(path: Path) -> Mapping[str, tuple[Any, ...]]:
    """What each solution of a page hands to its check: ``{"2.1": (my_gradient_solution,)}``.

    Its own cells and its solutions are run, once; not its stubs, its checks, and what is only shown.

    Raises:
        FileNotFoundError, ValueError: as :func:`.pages.read`.
    """
    page = pages.page(path)
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.chdir(path.parent):
        for cell in page.cells:
            own = {"exercise", "check", "your-turn", "solution"} & set(pages.tags(cell))
            if cell.cell_type == "code" and not own:
                exec(compile(cell.source, "<course>", "exec"), names)
        return {name: _answers(one.solution, names) for name, one in page.exercises.items()}


def _answers(solution: str, names: dict[str, Any]) -> tuple[Any, ...]:
    """Run a solution without its check; the values that the check would be called with."""
    tree, asked = ast.parse(solution), []
    for node in [node for node in tree.body if _checks(node)]:
        tree.body.remove(node)
        asked = node.value.args[1:]
    exec(compile(tree, "<solution>", "exec"), names)
    return tuple(eval(compile(ast.Expression(arg), "<solution>", "eval"), names) for arg in asked)


def _checks(node: ast.stmt) -> bool:
    called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    return isinstance(called, ast.Name) and called.id == "check"
