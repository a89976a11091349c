"""Checks of chapter 8, how to make Grad-CAM lie: heads, maps and detectors small enough to be known exactly.

What people get wrong stands in ``ch08_mistakes.py``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .ch08_mistakes import (
    FLAT_HEAD,
    TAKEN_AWAY,
    THRESHOLD,
    flat_head,
    linear,
    taken_away,
    threshold,
)
from .inputs import normal, uniform
from .judging import close, compare, expect, fail, numbers, tensor
from .mistakes import Mistake, recognise
from .registry import exercise
from .side_effects import detached, left_alone
from .verdicts import article

# Readers may work in float32 here and there; every mistake is farther off than this.
_TOLERANCE = 2e-5


def _tensor(value: Any, shape: Sequence[int] | None, what: str = "Your function") -> Tensor:
    """The value as a float64 tensor, whatever numbers it came with; else "not yet"."""
    return tensor(value, shape, what).to("cpu", torch.float64)


def _told(value: Any, right: Tensor, mistakes: Sequence[Mistake], probe: Callable) -> Tensor:
    """The reader's value, after it was looked up among the mistakes."""
    recognise(value, right, mistakes, probe, tolerance=_TOLERANCE)
    return _tensor(value, right.shape)


def _drawn_linear(inputs: int, outputs: int, seed: int) -> nn.Linear:
    return linear(normal(outputs, inputs, seed=seed), normal(outputs, seed=seed + 1))


def _linear_layer(made: Any, inputs: int, outputs: int, what: str) -> nn.Linear:
    """What the reader made, if it is a linear layer with a bias and of that size; else "not yet"."""
    if not isinstance(made, nn.Linear):
        fail(
            f"{what} is {article(type(made).__name__)}; an `nn.Linear` is wanted.",
            "`nn.Linear(inputs, outputs)`, then put weights and bias in.",
        )
    expect(made.bias is not None, f"{what} has no bias.", "`nn.Linear(…)` without `bias=False`.")
    sizes = [tuple(made.weight.shape), tuple(made.bias.shape)]
    expect(
        sizes == [(outputs, inputs), (outputs,)],
        f"{what} has weights of the shape {sizes[0]} and a bias of {sizes[1]}; wanted are "
        f"{(outputs, inputs)} and {(outputs,)}.",
        "Every input of before, and one more for each new cell; as many outputs as before.",
    )
    return made


def _values(layer: nn.Linear) -> Tensor:
    return torch.cat([layer.weight.detach(), layer.bias.detach()[:, None]], 1).double()


# ---- 8.1 ---------------------------------------------------------------------------------------------------
@exercise("8.1", "The bias of a flat surface")
def the_bias_of_a_flat_surface(answer) -> str:
    n, c_A, c_W = 4, 3.0, 7.0

    def ask(function: Callable) -> nn.Linear:
        return _linear_layer(function(_drawn_linear(12, 5, 401), n, c_A, c_W), 16, 5, "Your head")

    def probe(function: Callable) -> Tensor:
        return _values(ask(function))

    right, made = probe(flat_head()), ask(answer)
    value = _told(_values(made), right, FLAT_HEAD, probe)
    head, x = _drawn_linear(12, 5, 401), normal(6, 12, seed=403)
    with left_alone(head=head):
        made = answer(head, n, c_A, c_W)
    _in_the_precision_of(head, made)
    with torch.no_grad():
        moved = (made(torch.cat([x, torch.full((6, n), c_A).double()], 1)) - head(x)).abs().max().item()
    expect(
        moved < 1e-4,
        f"The outputs move, by up to {moved:.3g}.",
        "Compare W_n z_n + b_n with b_o, for one output, by hand.",
    )
    compare(value, right, tolerance=_TOLERANCE, look="Old weights, then n columns of c_W; the bias b_n.")
    _judge_other_heads(answer)
    return "the new map is read with a large weight, and no output notices."


def _judge_other_heads(answer: Callable) -> None:
    bare = nn.Linear(6, 3, bias=False, dtype=torch.float64)
    wider = _linear_layer(answer(bare, 2, 5.0, 4.0), 8, 3, "For a head without a bias, your head")
    expect(
        close(wider.bias, torch.full((3,), -40.0), _TOLERANCE),
        "A head without a bias has b_o = 0; here something else came out.",
        "Begin with zeros where `head.bias` is None.",
    )
    small = nn.Linear(6, 3).requires_grad_(False)
    wider = _linear_layer(answer(small, 2, 5.0, 4.0), 8, 3, "Your head")
    _in_the_precision_of(small, wider)


def _in_the_precision_of(head: nn.Linear, made: nn.Linear) -> None:
    expect(
        made.weight.dtype == made.bias.dtype == head.weight.dtype,
        f"The new head is in {made.weight.dtype}, the old one in {head.weight.dtype}.",
        "The same precision: `nn.Linear(…, dtype=head.weight.dtype)`.",
    )


# ---- 8.2 ---------------------------------------------------------------------------------------------------
_POOLS: dict[str, Callable[[], nn.Module]] = {
    "maximum of 2 × 2": lambda: nn.MaxPool2d(2),
    "mean of 2 × 2": lambda: nn.AvgPool2d(2),
    "no pooling": nn.Identity,
    "mean of all": lambda: nn.AdaptiveAvgPool2d(1),
    "maximum of 3 × 3, overlapping": lambda: nn.MaxPool2d(3, 2),
}


@exercise("8.2", "What the pooling leaves")
def what_the_pooling_leaves(answer) -> str:
    new_map, weights, b_o = 5 * uniform(8, 6, seed=404), normal(4, seed=405) + 2, normal(4, seed=406)
    given = (new_map, weights, b_o)

    def probe(function: Callable) -> Any:
        values = [function(make(), *(t.clone() for t in given)) for make in _POOLS.values()]
        if not all(isinstance(v, Tensor) and v.shape == (4,) for v in values):
            return next(v for v in values if not isinstance(v, Tensor) or v.shape != (4,))
        return torch.stack(values)

    right, value = probe(taken_away()), probe(answer)
    if not isinstance(value, Tensor) or value.dim() != 2 or tuple(value.shape) != (5, 4):
        tensor(value, (4,))
    value = _told(value, right, TAKEN_AWAY, probe)
    with left_alone(new_map=new_map, weights=weights, b_o=b_o):
        detached(answer(nn.MaxPool2d(2), *given), "Your bias")
    for (name, make), own in zip(_POOLS.items(), value, strict=True):
        read = make()(new_map[None, None]).flatten()
        moved = (weights * read.sum() + own - b_o).abs().max().item()
        expect(
            moved < 1e-3,
            f"With the pooling “{name}” the outputs move, by up to {moved:.3g}.",
            "What the head reads is `pool(new_map[None, None])`; its sum, times the output's weight.",
        )
    compare(value, right, tolerance=_TOLERANCE, look="S_Z is the sum over the pooled cells.")
    return "the sum is that of the cells which the head reads, whatever the pooling is."


# ---- 8.4 ---------------------------------------------------------------------------------------------------
def _stickers() -> list[tuple[Tensor, float, float]]:
    """Black-and-white stickers (C, h, w), half white and nearly black, and the ends of their pixels."""
    half = (uniform(3, 4, 3, seed=407) > 0.5).double()
    few = torch.zeros(1, 4, 5).double()
    few[0, [0, 1, 3], [1, 4, 2]] = 1.0
    return [(half, 0.0, 1.0), (few, 0.0, 1.0), (4 * half - 1, -1.0, 3.0), (0.5 * few, 0.0, 0.5)]


@exercise("8.4", "A threshold for one sticker")
def a_threshold_for_one_sticker(answer) -> str:
    stickers = _stickers()

    def probe(function: Callable) -> Tensor:
        found = [numbers(function(s.clone(), low, high), 1, "Your function")[0] for s, low, high in stickers]
        return torch.tensor(found, dtype=torch.float64)

    right, value = probe(threshold()), probe(answer)
    value = _told(value, right, THRESHOLD, probe)
    for sticker, low, high in stickers:
        with left_alone(sticker=sticker):
            bias = numbers(answer(sticker, low, high), 1, "Your function")[0]
        kernel = sticker - sticker.mean()
        own = float((kernel * sticker).sum()) + bias
        cheapest = float(kernel.abs().min()) * (high - low)
        where = f"a sticker with {float((sticker == high).double().mean()):.0%} of its values at {high:g}"
        expect(
            own > 1e-9,
            f"On {where}, the detector does not fire.",
            "Its response plus the bias must be above 0.",
        )
        expect(
            own - cheapest < -1e-9,
            f"On {where}, the detector still fires when one value is wrong.",
            "Find the wrong value that costs least.",
        )
    compare(
        value, right, tolerance=_TOLERANCE, look="−best, plus half of what the cheapest wrong value costs."
    )
    return "the sticker fires, and nothing fires in which a single value is wrong."
