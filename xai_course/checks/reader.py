"""Running the reader's code: what it raises is explained, at the reader's own line."""

import linecache
import re
import traceback
from collections.abc import Callable
from typing import Any

from ..instruments import MetShapes, wrote
from .advice import usual_cause
from .verdicts import NotAttempted, Wrong, holds_ellipsis


class Reader:
    """The reader's function: called like it; what it raises is explained, ``...`` is "not attempted"."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return run(self.function, *args, **kwargs)


def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls the reader's code, or ours that ends up in it (a backward pass); explains what it raises."""
    try:
        with MetShapes():
            value = function(*args, **kwargs)
    except (NotAttempted, Wrong):
        raise
    except Exception as error:
        # A stub may raise NotImplementedError; so does torch, for what it cannot do with a dtype.
        if isinstance(error, NotImplementedError) and not _OF_TORCH.search(str(error)):
            raise NotAttempted() from None
        code = _line_of(error)
        if "ellipsis" in str(error).lower():
            raise NotAttempted("There is still a `...` to replace:", code) from None
        cause = usual_cause(error, line=bool(code))
        raise Wrong(f"Your code raised `{type(error).__name__}`: {_first_line(error)}", cause, code) from None
    if holds_ellipsis(value):
        raise NotAttempted()
    return value


_OF_TORCH = re.compile(r"dtype|\bbool\b|not implemented for|not supported|could not run", re.IGNORECASE)


def _first_line(error: Exception) -> str:
    text = (str(error).strip() or "(no message)").splitlines()[0]
    return text if len(text) <= 220 else text[:219] + "…"


def _line_of(error: Exception) -> str:
    """The innermost line of the traceback that the reader wrote: neither ours nor an installed package's."""
    told = getattr(error, "line_of_reader", None)  # raised in another process, which knows the line
    if told is not None:
        return told
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not wrote(frame.filename):
            continue
        source = linecache.getline(frame.filename, frame.lineno or 0).strip()
        return f"line {frame.lineno}, in {frame.name}" + (f":  {source}" if source else "")
    return ""
