"""Mistakes that are written once: as the answer that makes them.

A check runs them on its own inputs to recognise what a reader did; the tests hand each of them in, and want
its own message back. So a mistake cannot be listed that the check's inputs do not tell from the others.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .judging import close, double, fail


@dataclass(frozen=True)
class Mistake:
    """A mistake that people make: an answer that makes it, and what to tell those who make it.

    Attributes:
        answer: called like the reader's function.
        message: what is wrong.
        look: where to look.
    """

    answer: Callable[..., Any]
    message: str
    look: str


def recognise(
    value: Any,
    right: Tensor,
    mistakes: Iterable[Mistake],
    probe: Callable[[Callable[..., Any]], Tensor],
    *,
    tolerance: float = 1e-6,
    on: str = "",
) -> None:
    """Stops with "not yet" if the reader's result is what a known mistake gives on the same inputs.

    A result of the right shape is told by its values, NaN and infinity among them; one of a wrong shape by
    its shape. Anything but a tensor of real numbers is left to the checks that follow.

    Args:
        value: what the reader's function gave.
        right: what it should have given.
        mistakes: the first one that fits is told.
        probe: calls an answer on the inputs that gave ``value``, made anew.
        tolerance: as a share of the largest value.
        on: what was asked and what came; it follows the message.
    """
    if not isinstance(value, Tensor) or value.is_complex() or _alike(value, right, tolerance):
        return
    for mistake in mistakes:
        made = probe(mistake.answer)
        if made.shape == value.shape and (value.shape != right.shape or _alike(value, made, tolerance)):
            fail(" ".join(filter(None, [mistake.message, on])), mistake.look)


# Readers may work in float32 here and there; every mistake is farther off than this.
TOLERANCE = 2e-5


def told(
    value: Any,
    right: Tensor,
    mistakes: Iterable[Mistake],
    probe: Callable[[Callable[..., Any]], Tensor],
) -> Tensor:
    """The reader's value in float64, after it was looked up among the mistakes (:func:`recognise`)."""
    recognise(value, right, mistakes, probe, tolerance=TOLERANCE)
    return double(value, right.shape)


def _alike(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two tensors agree; NaN is NaN, and infinity infinity."""
    if a.shape != b.shape:
        return False
    a, b = (v.detach().to("cpu", torch.float64) for v in (a, b))
    finite = a.isfinite()
    rest = torch.equal(a[~finite].nan_to_num(0.5), b[~finite].nan_to_num(0.5))
    return torch.equal(finite, b.isfinite()) and rest and close(a[finite], b[finite], tolerance)
