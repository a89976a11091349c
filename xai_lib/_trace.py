"""One pass through a model, to see what runs when, and what reads what."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xai_lib import _checks, _model

SIZES = (224, 112, 64, 32, 28)  # sides of images that are tried where neither caller nor model names one
Run = tuple[str, nn.Module, Any, Any]  # a module's name, itself, what it read, what it gave


def example(model: nn.Module, size: int | None) -> tuple[Tensor, Tensor]:
    """An image of the size that the model takes (1, C, S, S), and its logits.

    ``size`` is the side that the caller names; None takes the model's own ``size``, or tries some.
    """
    weights = next(model.parameters(), torch.zeros(0))
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        raise ValueError("model must have a convolution")
    named = getattr(model, "size", None) if size is None else _checks.check_count("size", size)
    sizes = SIZES if named is None else (named,)
    for side in sizes:
        x = torch.linspace(0, 1, first.in_channels * side * side).reshape(1, first.in_channels, side, side)
        x = x.to(weights)
        try:
            with torch.no_grad():
                return x, _model.logits_of(model, x)
        except RuntimeError as error:
            problem = error
    raise ValueError(
        f"size must be the side of the images that the model takes; it failed with {sizes}: {problem}"
    )


def trace(model: nn.Module, x: Tensor) -> list[Run]:
    """Every module in the order in which they finish, with what each read and gave."""
    runs: list[Run] = []

    def note(name: str) -> Callable:
        return lambda module, args, output: runs.append((name, module, args[0] if args else None, output))

    handles = [m.register_forward_hook(note(name)) for name, m in model.named_modules() if name]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return runs
