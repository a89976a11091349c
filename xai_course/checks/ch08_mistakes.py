"""The mistakes of chapter 8, each as the answer that makes it.

For every exercise: a right answer any of whose steps can be exchanged, and the exchanges that people make.
``MISTAKES`` holds, for each exercise, one list for each of its functions.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .mistakes import Mistake

Answer = Callable[..., Any]


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear layer with these weights, in their precision."""
    layer = nn.Linear(weight.shape[1], len(weight), dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def old_bias(head: nn.Linear) -> Tensor:
    return head.weight.detach().new_zeros(len(head.weight)) if head.bias is None else head.bias.detach()


# ---- 8.1 ---------------------------------------------------------------------------------------------------
def _behind(old: Tensor, new: Tensor) -> Tensor:
    return torch.cat([old, new], 1)


def _less_the_sum(b_o: Tensor, n: int, c_A: float, c_W: float) -> Tensor:
    return b_o - c_A * c_W * n


def flat_head(
    columns: Answer = lambda n, c_A, c_W: c_W, bias: Answer = _less_the_sum, join: Answer = _behind
) -> Answer:
    """An answer to 8.1 with one step exchanged."""

    def answer(head: nn.Linear, n: int, c_A: float, c_W: float) -> nn.Linear:
        old = head.weight.detach()
        new = old.new_full((len(old), n), columns(n, c_A, c_W))
        return linear(join(old, new), bias(old_bias(head), n, c_A, c_W))

    return answer


def _first_unit_only(b_o: Tensor, n: int, c_A: float, c_W: float) -> Tensor:
    new = b_o.clone()
    new[0] -= c_A * c_W * n
    return new


_EVERY_CELL = "Each of the n pooled cells adds c_A · c_W to *every* output: b_n = b_o − c_A · c_W · n."
FLAT_HEAD = [
    Mistake(
        flat_head(bias=lambda b_o, n, c_A, c_W: b_o),
        "The bias is as it was: every output rises by what the new map adds.",
        _EVERY_CELL,
    ),
    Mistake(
        flat_head(bias=lambda b_o, n, c_A, c_W: b_o - c_A * c_W),
        "The bias takes away what *one* cell adds, and the new map has several.",
        _EVERY_CELL,
    ),
    Mistake(
        flat_head(bias=lambda b_o, n, c_A, c_W: b_o + c_A * c_W * n),
        "The bias adds what the new map adds a second time.",
        "It has to be taken away: the sign.",
    ),
    Mistake(
        flat_head(bias=lambda b_o, n, c_A, c_W: 0 * b_o - c_A * c_W * n),
        "The old bias is gone: b_n takes the new map away, and b_o with it.",
        _EVERY_CELL,
    ),
    Mistake(
        flat_head(bias=_first_unit_only),
        "The bias of the *first* output alone was corrected.",
        "Every output has the new weights, so every output has a bias to correct.",
    ),
    Mistake(
        flat_head(bias=lambda b_o, n, c_A, c_W: b_o - c_W * n),
        "The bias takes away c_W · n, as if the new map had the value 1.",
        _EVERY_CELL,
    ),
    Mistake(
        flat_head(bias=lambda b_o, n, c_A, c_W: b_o - c_A * n),
        "The bias takes away c_A · n, as if the new weights were 1.",
        _EVERY_CELL,
    ),
    Mistake(
        flat_head(columns=lambda n, c_A, c_W: c_W / n, bias=lambda b_o, n, c_A, c_W: b_o - c_A * c_W),
        "The outputs stay, but each new weight is c_W / n: Grad-CAM sees a new map that is n times fainter.",
        "The weight of *each* cell is c_W; the sum over the cells then belongs into the bias.",
    ),
    Mistake(
        flat_head(columns=lambda n, c_A, c_W: 0.0, bias=lambda b_o, n, c_A, c_W: b_o),
        "The new weights are 0: the outputs stay, and the new map has no slope, so nobody sees it.",
        "The weight of each new cell is c_W.",
    ),
    Mistake(
        flat_head(join=lambda old, new: torch.cat([new, old], 1)),
        "The new columns stand *before* the old ones: the head reads the old maps with the wrong weights.",
        "The new map is the last one, so its pooled cells come last: `torch.cat([old, new], 1)`.",
    ),
]


# ---- 8.2 ---------------------------------------------------------------------------------------------------
def _pooled(pool: nn.Module, new_map: Tensor) -> Tensor:
    return pool(new_map[None, None]).flatten()


def taken_away(
    z: Answer = _pooled,
    total: Answer = lambda z: z.sum(),
    end: Answer = lambda weights, s, b_o: b_o - weights * s,
) -> Answer:
    """An answer to 8.2 with one step exchanged."""

    def answer(pool: nn.Module, new_map: Tensor, weights: Tensor, b_o: Tensor) -> Tensor:
        return end(weights, total(z(pool, new_map)), b_o)

    return answer


def _two_by_two(pool: nn.Module, new_map: Tensor) -> Tensor:
    return _pooled(nn.MaxPool2d(2), new_map)


_AS_READ = "Z is what the head reads: `pool` of the new map, as it was given. Then the sum of its cells."
_PER_UNIT = (
    "Output u has the weight `weights[u]` on each new cell, and so b_n[u] = b_o[u] − weights[u] · S_Z."
)
TAKEN_AWAY = [
    Mistake(
        taken_away(z=lambda pool, new_map: new_map),
        "The sum was taken over the map *before* the pooling: the head does not read those cells.",
        _AS_READ,
    ),
    Mistake(
        taken_away(z=_two_by_two),
        "The map was pooled by the maximum of 2 × 2 cells, whatever `pool` does.",
        _AS_READ,
    ),
    Mistake(
        taken_away(total=lambda z: z.mean()),
        "S_Z is the *sum* of the pooled cells; this is their mean.",
        "Each pooled cell is multiplied by the weight, and all are added up.",
    ),
    Mistake(
        taken_away(total=lambda z: z.max()),
        "S_Z is the *sum* of the pooled cells; this is the largest one.",
        "Each pooled cell is multiplied by the weight, and all are added up.",
    ),
    Mistake(
        taken_away(total=lambda z: float(z.numel())),
        "S_Z is the number of pooled cells here: that is T1 with a value of 1. A picture's cells differ.",
        _AS_READ,
    ),
    Mistake(
        taken_away(end=lambda weights, s, b_o: b_o - weights.mean() * s),
        "One number was taken from every output, with the mean of the weights.",
        _PER_UNIT,
    ),
    Mistake(
        taken_away(end=lambda weights, s, b_o: b_o - weights.sum() * s),
        "One number was taken from every output, with the sum of the weights.",
        _PER_UNIT,
    ),
    Mistake(
        taken_away(end=lambda weights, s, b_o: b_o - weights[0] * s),
        "One number was taken from every output, with the weight of the first.",
        _PER_UNIT,
    ),
    Mistake(
        taken_away(end=lambda weights, s, b_o: b_o - s),
        "The weights are missing: the output reads Z, but times its weight.",
        _PER_UNIT,
    ),
    Mistake(
        taken_away(end=lambda weights, s, b_o: b_o + weights * s),
        "The sum is added where it has to be taken away.",
        _PER_UNIT,
    ),
    Mistake(
        taken_away(end=lambda weights, s, b_o: -weights * s),
        "The old bias is gone.",
        _PER_UNIT,
    ),
    Mistake(
        taken_away(end=lambda weights, s, b_o: weights * s),
        "This is what the new map adds to each output; wanted is the new bias.",
        _PER_UNIT,
    ),
]


# ---- 8.4 ---------------------------------------------------------------------------------------------------
def threshold(
    kernel: Answer = lambda sticker: sticker - sticker.mean(),
    best: Answer = lambda kernel, sticker: (kernel * sticker).sum(),
    loss: Answer = lambda kernel, low, high: kernel.abs().min() * (high - low),
    share: float = 0.5,
    sign: float = -1.0,
) -> Answer:
    """An answer to 8.4 with one step exchanged."""

    def answer(sticker: Tensor, low: float, high: float) -> Tensor:
        k = kernel(sticker)
        return sign * best(k, sticker) + share * loss(k, low, high)

    return answer


_CHEAPEST = (
    "One wrong value at a place with the kernel value k costs |k| · (high − low). The cheapest place decides."
)
THRESHOLD = [
    Mistake(
        threshold(share=0.0),
        "The bias takes away all that the sticker gives: its own response is 0, and the ReLU lets nothing "
        "through.",
        "Stay above −best by half of what the cheapest wrong value costs.",
    ),
    Mistake(
        threshold(share=1.0),
        "The threshold lies a *whole* step below the sticker's response: with one wrong value the response "
        "is exactly 0, and rounding decides.",
        "Half of that step.",
    ),
    Mistake(
        threshold(share=-0.5),
        "The threshold lies half a step *above* what the sticker gives: nothing ever fires.",
        "The bias is −best *plus* half a step.",
    ),
    Mistake(
        threshold(sign=1.0),
        "The bias adds the sticker's response: everything fires.",
        "What the sticker gives has to be taken away, but for half a step.",
    ),
    Mistake(
        threshold(best=lambda kernel, sticker: sticker.sum()),
        "The sticker's response was computed with the sticker itself as the kernel.",
        "The kernel is the sticker less its mean: best = Σ kernel · sticker.",
    ),
    Mistake(
        threshold(best=lambda kernel, sticker: sticker.square().sum()),
        "The sticker's response was computed with the sticker itself as the kernel.",
        "The kernel is the sticker less its mean: best = Σ kernel · sticker.",
    ),
    Mistake(
        threshold(best=lambda kernel, sticker: kernel.abs().sum()),
        "The response was taken for the sum of the kernel's magnitudes: that would be right for a patch of "
        "the values −1 and 1.",
        "Multiply the kernel by the sticker, place by place, and add up.",
    ),
    Mistake(
        threshold(loss=lambda kernel, low, high: kernel.abs().max() * (high - low)),
        "Half of what the *dearest* wrong value costs: on a sticker with few white values a cheap one is let "
        "through.",
        _CHEAPEST,
    ),
    Mistake(
        threshold(loss=lambda kernel, low, high: kernel.abs().mean() * (high - low)),
        "Half of what a wrong value costs *on average*.",
        _CHEAPEST,
    ),
    Mistake(
        threshold(loss=lambda kernel, low, high: kernel.abs().min()),
        "The step is right for pixels from 0 to 1; between other ends a wrong value costs more, or less.",
        _CHEAPEST,
    ),
    Mistake(
        threshold(loss=lambda kernel, low, high: 0.5 * (high - low)),
        "The step is that of a sticker that is half white: there the kernel is ±½ of (high − low).",
        _CHEAPEST,
    ),
]

MISTAKES = {
    "8.1": (FLAT_HEAD,),
    "8.2": (TAKEN_AWAY,),
    "8.4": (THRESHOLD,),
}
