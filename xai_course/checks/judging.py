"""What a check asks of an answer: its kind and shape, a property, the right value or a known mistake."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .verdicts import NotAttempted, Wrong, article, holds_ellipsis


@dataclass(frozen=True)
class Mistake:
    """A mistake that people make: what it would give, and what to tell those who make it."""

    value: Tensor | float
    message: str
    look: str


def fail(message: str, look: str = "") -> None:
    """Stops with "not yet"."""
    raise Wrong(message, look)


def expect(condition: Any, message: str, look: str = "") -> None:
    """Stops with "not yet" unless the condition holds."""
    if not bool(condition):
        raise Wrong(message, look)


def close(a: Any, b: Any, tolerance: float = 1e-6) -> bool:
    """Whether two tensors (or numbers) of one shape differ by at most ``tolerance`` of the largest value."""
    a, b = (torch.as_tensor(v).detach().to("cpu", torch.float64) for v in (a, b))
    if a.shape != b.shape:
        return False
    scale = max(a.abs().max().item(), b.abs().max().item(), 1e-30) if a.numel() else 1.0
    return bool(((a - b).abs() <= tolerance * scale).all())


def compare(
    value: Tensor, reference: Tensor, *mistakes: Mistake, tolerance: float = 1e-6, look: str = ""
) -> None:
    """Compares with the reference; a wrong value is looked up among the known mistakes.

    Raises:
        Wrong: with the message of the first mistake that gives this value; failing that, says by how much it
            is off, and whether it is off by a constant factor.
    """
    if close(value, reference, tolerance):
        return
    for mistake in mistakes:
        if close(value, mistake.value, tolerance):
            raise Wrong(mistake.message, mistake.look)
    value, reference = (torch.as_tensor(v).detach().to("cpu", torch.float64) for v in (value, reference))
    factor = (value * reference).sum() / reference.square().sum().clamp_min(1e-30)
    if factor.abs() > 1e-9 and close(value, factor * reference, tolerance):
        raise Wrong(
            f"Your result is {factor:.4g} times the right one: right in shape, wrong in scale.",
            look or "Look for a mean where a sum belongs (or the other way round), or a factor used twice.",
        )
    gap = (value - reference).norm() / reference.norm().clamp_min(1e-30)
    raise Wrong(
        f"Your result differs from the reference by {100 * gap:.3g} % of its size.",
        look or "Compare your steps with the formula, one symbol at a time; the hints go through it.",
    )


def tensor(value: Any, shape: Sequence[int] | None = None, what: str = "Your function") -> Tensor:
    """The value as a detached tensor, if it is finite and of that shape; else "not yet"."""
    if value is None:
        fail(f"{what} returned `None`.", "Does it end in `return`, in every branch?")
    if not isinstance(value, Tensor):
        fail(
            f"{what} returned {article(type(value).__name__)}; a tensor is wanted.",
            "Keep to torch operations.",
        )
    if shape is not None and tuple(value.shape) != tuple(shape):
        fail(
            f"{what} returned a tensor of shape {tuple(value.shape)}; the shape wanted is {tuple(shape)}.",
            "Print the shape after each step, and see where it changes.",
        )
    if not torch.isfinite(value).all():
        fail(
            f"{what} returned NaN or infinity.",
            "Look for a division by zero, or a root of a negative number.",
        )
    return value.detach()


def double(value: Any, shape: Sequence[int] | None, what: str = "Your function") -> Tensor:
    """The value as a float64 tensor on the CPU, whatever numbers it came with; else "not yet"."""
    return tensor(value, shape, what).to("cpu", torch.float64)


def numbers(value: Any, n: int, what: str) -> list[float]:
    """The value as n floats, whether it came as numbers, a list, an array or a tensor; else "not yet"."""
    parts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        # a Python float would become float32 on its way through as_tensor
        parts = [
            torch.tensor(part, dtype=torch.float64) if isinstance(part, float) else part for part in parts
        ]
        parts = [torch.as_tensor(part).detach().to("cpu", torch.float64).reshape(-1) for part in parts]
        flat = torch.cat(parts)
    except (TypeError, ValueError, RuntimeError):
        fail(f"{what} returned `{value!r:.60}`; a number is wanted.", "Does it end in `return`?")
    wanted = "one number is" if n == 1 else f"{n} numbers are"
    expect(len(flat) == n, f"{what} returned {len(flat)} numbers; {wanted} wanted.", "Print what you return.")
    return tensor(flat, None, what).tolist()


def refuses(call: Callable[[], Any], what: str, look: str) -> None:
    """Stops with "not yet" unless the reader's function, which ``call`` calls, raises a ValueError."""
    try:
        call()
    except Wrong as stop:
        expect("ValueError" in stop.message, f"{what} {stop.message}", look)
        return
    fail(f"{what} No `ValueError` was raised.", look)


def then(judge: Callable[[], None], done: str) -> None:
    """Judges a later part; where it isn't attempted yet, says what is right so far."""
    try:
        judge()
    except NotAttempted as stop:
        raise NotAttempted(done, stop.code) from None


def attempted(answer: Any) -> None:
    """Stops with "not attempted" where an answer that is no function still holds ``...``."""
    if holds_ellipsis(answer):
        raise NotAttempted()
