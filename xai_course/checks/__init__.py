"""Checks for the exercises: they say what is wrong and where to look, not only that it is.

>>> from xai_course.checks import check
>>> check("2.1", ...)
2.1 · not attempted yet. Replace each `...` by your own code, run that cell, then run this one again.

How to write a chapter's checks is told, with an example, in ``registry.py``. What they share stands in rooms:
``verdicts``, ``registry``, ``judging`` (what is asked of an answer), ``inputs`` (what it is asked with),
``reader`` (running the reader's code), ``advice`` (on what it raises), ``side_effects`` (what an answer must
leave alone) and ``mistakes`` (written once, as the answers that make them: from chapter 4 on).
"""

from .registry import available, check
from .verdicts import Result

__all__ = ["Result", "available", "check"]
