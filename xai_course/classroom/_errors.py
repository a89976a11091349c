"""Exceptions between the judge and a student's process: described on one side, raised again on the other."""

from __future__ import annotations

import builtins
import traceback
from typing import Any

STUDENT = "<student"  # how the names of the student's cells begin in a traceback


def described(error: Exception) -> dict[str, Any]:
    """What the other side is told of an exception."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    shapes = [list(shape) for shape in getattr(error, "shapes", [])]
    said = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return {
        "n": type(error).__name__[:80], "kinds": kinds, "said": said[:2000], "shapes": shapes[:20],
        "line": getattr(error, "line_of_reader", None) or _line_of(error),
    }  # fmt: skip


def _line_of(error: Exception) -> str:
    """The innermost of the student's own lines, as a check shows it."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(STUDENT):
            source = (frame.line or "").strip()
            return f"line {frame.lineno}, in {frame.name}" + (f":  {source}" if source else "")
    return ""


def rebuilt(answer: dict[str, Any]) -> Exception:
    """The exception that was described: of Python's own kind, under the name that it had."""
    kinds = answer.get("kinds") if isinstance(answer.get("kinds"), list) else []
    found = [vars(builtins).get(kind) for kind in kinds if isinstance(kind, str)]
    kind = next((k for k in found if isinstance(k, type) and issubclass(k, Exception)), RuntimeError)
    name, said = str(answer.get("n"))[:80], str(answer.get("said"))[:2000]
    if name != kind.__name__ and name.isidentifier():
        kind = type(name, (kind,), {})
    try:
        error = kind(said)
    except Exception:  # UnicodeDecodeError wants five arguments
        error = RuntimeError(said)
    error.line_of_reader = str(answer.get("line"))[:300]
    shapes = answer.get("shapes")
    if isinstance(shapes, list) and all(
        isinstance(s, list) and all(isinstance(n, int) for n in s) for s in shapes
    ):
        error.shapes = [tuple(shape) for shape in shapes]
    return error
