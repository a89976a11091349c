"""Running the reader's code: what it raises is explained, at the reader's own line."""

import linecache
import re
import site
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

import xai_course
import xai_lib

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
        with _Shapes():
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
        cause = usual_cause(error)
        raise Wrong(f"Your code raised `{type(error).__name__}`: {_first_line(error)}", cause, code) from None
    if holds_ellipsis(value):
        raise NotAttempted()
    return value


class _Shapes(TorchFunctionMode):
    """Notes, on what torch raises, the shapes of the tensors that met there."""

    def __torch_function__(self, function, types, args=(), kwargs=None) -> Any:
        try:
            return function(*args, **(kwargs or {}))
        except RuntimeError as error:
            if not hasattr(error, "shapes"):
                error.shapes = _shapes_of([args, kwargs or {}])
            raise


def _shapes_of(value: Any) -> list[tuple[int, ...]]:
    """The shapes of the tensors in nested lists, tuples and dicts, each once."""
    if isinstance(value, Tensor):
        return [tuple(value.shape)]
    if isinstance(value, Mapping):
        value = list(value.values())
    parts = value if isinstance(value, list | tuple) else []
    return list(dict.fromkeys(shape for part in parts for shape in _shapes_of(part)))


_OF_TORCH = re.compile(r"dtype|\bbool\b|not implemented for|not supported|could not run", re.IGNORECASE)


def _first_line(error: Exception) -> str:
    text = (str(error).strip() or "(no message)").splitlines()[0]
    return text if len(text) <= 220 else text[:219] + "…"


def _line_of(error: Exception) -> str:
    """The innermost line of the traceback that the reader wrote: neither ours nor an installed package's."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not wrote(frame.filename):
            continue
        source = linecache.getline(frame.filename, frame.lineno or 0).strip()
        return f"line {frame.lineno}, in {frame.name}" + (f":  {source}" if source else "")
    return ""


@cache
def wrote(filename: str) -> bool:
    """Whether the reader wrote this file: it is neither ours nor an installed package's."""
    return filename != "<string>" and not any(
        Path(filename).is_relative_to(folder) for folder in _not_the_readers()
    )


@cache
def _not_the_readers() -> set[Path]:
    """The folders of code that no reader wrote: the library, this package, and what is installed."""
    ours = {Path(folder) for package in (xai_lib, xai_course) for folder in package.__path__}
    installed = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")}
    return ours | {Path(folder) for folder in installed | set(site.getsitepackages())}
