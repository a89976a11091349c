"""Judges a dict of yes and no: for each name in the stub, whether something holds."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch

from .judging import expect, fail


def judge_yes_or_no(
    given: Any, truth: Mapping[str, tuple[bool, str]], say: Callable[[str, bool], str], what: str
) -> None:
    """Stops with "not yet" at the first verdict that is no True or False, or the wrong one.

    Args:
        given: the reader's dict.
        truth: for each key, whether it holds, and why.
        say: from a key and the right verdict, what is wrong with the other.
        what: what the dict is, as a sentence begins: ``"The second answer"``.
    """
    expect(
        isinstance(given, Mapping),
        f"{what} is a dict with a verdict for each name.",
        "Keep the stub's dict, and replace each `...` by True or False.",
    )
    expect(
        set(given) == set(truth),
        f"The dict has the keys {sorted(map(str, given))}; wanted are {sorted(truth)}.",
        "Keep the stub's keys.",
    )
    for name, (right, why) in truth.items():
        if _bool(name, given[name]) != right:
            fail(say(name, right), why)


def _bool(name: str, verdict: Any) -> bool:
    """A Python, numpy or torch bool, or the number 0 or 1; a string is not empty, and so always true."""
    if isinstance(verdict, torch.Tensor) or type(verdict).__module__ == "numpy":
        verdict = verdict.item() if verdict.ndim == 0 else verdict
    try:
        number = operator.index(verdict)
    except TypeError:
        number = None
    if number not in (0, 1):
        fail(
            f"The verdict on `{name}` is `{verdict!r:.30}`; True or False is wanted.",
            "Without quotation marks: `True`, `False`." if isinstance(verdict, str) else "One word each.",
        )
    return bool(number)
