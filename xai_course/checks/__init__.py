"""Checks for the exercises: they say what is wrong and where to look, not only that it is.

>>> from xai_course.checks import check
>>> check("2.1", ...)
2.1 · not attempted yet. Replace each `...` by your own code, run that cell, then run this one again.

How to write a chapter's checks is told, with an example, in ``_framework.py``.
"""

from ._framework import Result, available, check

__all__ = ["Result", "available", "check"]
