"""The truth ledger: what a source claims, and what a page of this course found when it tried it.

A lesson states a claim in a cell that the page does not show. The statement is an assertion, so that a test
run fails when the finding turns; its stored output is what ``book/ledger.md`` is made from, so that every
number in the ledger was measured.

>>> from xai_course.ledger import claim
>>> gap = 0.004
>>> claim(
...     "Sundararajan2017",
...     gap < 0.01,
...     kind="identity",
...     says="the attributions sum to the difference of the scores (completeness)",
...     found=f"a gap of {gap:.1%} with 128 points",
...     on="EfficientNet-lite0; the cat",
... )
claim: Sundararajan2017, identity, holds
  says: the attributions sum to the difference of the scores (completeness)
  found: a gap of 0.4% with 128 points
  on: EfficientNet-lite0; the cat
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MIME = "application/vnd.xai-course.claim+json"
KINDS = ("identity", "law", "ordering", "number")
VERDICTS = ("holds", "holds in part", "does not hold here")


@dataclass(frozen=True)
class Claim:
    """A claim of a source and what was found; made by :func:`claim`."""

    source: str
    kind: str
    says: str
    found: str
    on: str
    verdict: str

    def __repr__(self) -> str:
        head = f"claim: {self.source}, {self.kind}, {self.verdict}"
        return f"{head}\n  says: {self.says}\n  found: {self.found}\n  on: {self.on}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": repr(self), MIME: asdict(self)}


def claim(
    source: str,
    found_true: bool,
    *,
    kind: str,
    says: str,
    found: str,
    on: str,
    verdict: str = "holds",
) -> Claim:
    """State what a source claims and what was found; an assertion.

    Args:
        source: the key of the source in ``book/references.bib``.
        found_true: the condition that the verdict rests on, computed by the page: for "holds" that the claim
            came out, for "does not hold here" that it did not.
        kind: "identity" (two things are equal), "law" (how one quantity goes with another), "ordering" (one
            is larger) or "number" (a published figure).
        says: what the source claims, in our words.
        found: what came out here, with its numbers.
        on: networks, data, seeds.
        verdict: "holds", "holds in part" or "does not hold here".

    Returns:
        What a notebook stores: the claim as text and as JSON.

    Raises:
        AssertionError: if ``found_true`` is false.
        TypeError: if ``found_true`` is not a bool.
        ValueError: if a text is empty, or ``kind`` or ``verdict`` is not one of those named.
    """
    for name, text in {"source": source, "says": says, "found": found, "on": on}.items():
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{name} must be a text that says something, got {text!r}")
    for name, value, known in (("kind", kind, KINDS), ("verdict", verdict, VERDICTS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    if type(found_true).__name__ not in ("bool", "bool_"):
        raise TypeError(f"found_true must be True or False, got {type(found_true).__name__}; use .item()")
    assert found_true, f"{source}: the page says “{verdict}”, and that is no longer what it finds: {found}"
    return Claim(source, kind, says, found, on, verdict)
