"""By how much the checks' seeds are shifted: by nothing in a notebook, in grading by a number of the term's.

It stands outside the checks: what these send to a student's process travels by value, and without the term.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SHIFT: ContextVar[int] = ContextVar("shift", default=0)


def shift() -> int:
    """What is added to every seed of a check."""
    return _SHIFT.get()


@contextmanager
def shifted_by(number: int) -> Iterator[None]:
    """Within the block the checks draw other numbers: each of their seeds is ``number`` higher.

    Raises:
        ValueError: if ``number`` is not a whole number from 0 on.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"`number` must be a whole number from 0 on, got {number!r}")
    token = _SHIFT.set(number)
    try:
        yield
    finally:
        _SHIFT.reset(token)
