"""The terms in which a class may be graded: in each, the checks draw other numbers than in the notebook.

Who learned by heart what a check gives is found out; who solved the exercise notices nothing. A check may
judge worse on some numbers than on others, so a term uses only those on which every solution was seen to pass
and every planted wrong answer to fail: ``tools/term_seeds.py`` tries them, and writes ``terms.json``.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("terms.json")
# Exercises whose checks are the same in every term, and why.
FIXED = {
    "1.1": "it asks for facts about four methods",
    "1.2": "its pictures are made by hand: each mistake gives a number of its own",
    "3.7": "its scenes are made by hand: each mistake in a study gives a number of its own",
    "4.4": "its grids are made by hand; the answer is a formula",
    "7.5": "its four attacks were chosen from many: on few others does each mistake end elsewhere",
    "9.4": "it asks for facts about three reports",
    "9.5": "its case is drawn by the student's own name",
}


@cache
def _proven() -> dict[str, list[int]]:
    """For each exercise by how much its seeds may be shifted, a number a term; 0 for one of :data:`FIXED`."""
    chapters = json.loads(FILE.read_text("utf-8"))["chapters"].values()
    return {name: shifts for chapter in chapters for name, shifts in chapter["shifts"].items()}


def terms() -> list[int]:
    """The terms that there are."""
    return list(range(1, 1 + min(map(len, _proven().values()), default=0)))


def shifts(term: int | None) -> dict[str, int]:
    """By how much each exercise's seeds are shifted in a term; none is, where it is None.

    An exercise that is not in the table (one of your own) draws what it draws in the notebook.

    Raises:
        ValueError: if there is no such term; the message names those that there are.
    """
    if term is None:
        return {}
    if isinstance(term, bool) or term not in terms():
        raise ValueError(f"`term` must be one of {', '.join(map(str, terms()))}, got {term!r}")
    return {exercise: proven[term - 1] for exercise, proven in _proven().items()}
