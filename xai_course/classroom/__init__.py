"""What a teacher does with the exercises: read a page, and make the edition that a class is handed.

``python -m xai_course.classroom release --chapter 2 --hints 1`` writes it (``make release CHAPTER=02``).

``pages`` reads a page of exercises and names what an edition would give away; ``editions`` makes the edition;
``variants`` reads a folder of a teacher's own exercises, and ``proving`` tries it out.
"""

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
