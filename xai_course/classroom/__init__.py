"""What a teacher does with the exercises: read a page, and make the edition that a class is handed.

``python -m xai_course.classroom release --chapter 2 --hints 1`` writes it (``make release CHAPTER=02``).

``pages`` reads a page of exercises and names what an edition would give away; ``editions`` makes the edition;
``variants`` reads a folder of a teacher's own exercises, and ``proving`` tries it out.

Each is imported when it is asked for. The process that runs a student's code is of this package too, is
started for every student, and needs none of them; `nbformat`, which they need, takes a second to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .editions import edition, release
    from .pages import CHECKED, Exercise, Leak, Page, leaks, page, read, tags, without_solutions

__all__ = [
    "CHECKED",
    "Exercise",
    "Leak",
    "Page",
    "edition",
    "leaks",
    "page",
    "read",
    "release",
    "tags",
    "without_solutions",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = ".editions" if name in ("edition", "release") else ".pages"
    return getattr(import_module(module, __name__), name)


def __dir__() -> list[str]:
    return __all__
