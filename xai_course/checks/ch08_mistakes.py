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


def _weighted_first(pool: nn.Module, new_map: Tensor, weights: Tensor, b_o: Tensor) -> Tensor:
    maps = pool(weights[:, None, None, None] * new_map)
    return b_o - maps.sum((1, 2, 3))


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
        _weighted_first,
        "The map was multiplied by the weights *before* the pooling: with a negative weight, a maximum then "
        "picks the smallest cell.",
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


# ---- 8.3 ---------------------------------------------------------------------------------------------------
def _sum(v: Tensor) -> Tensor:
    return v.sum((1, 2))


def tooth(
    total: Answer = _sum,
    rule: Answer = lambda s, epsilon, c_G: epsilon * torch.remainder(c_G * s, 1),
) -> Answer:
    """A first answer to 8.3 with one step exchanged."""

    def answer(v: Tensor, epsilon: float, c_G: float) -> Tensor:
        return rule(total(v), epsilon, c_G)

    return answer


_G = "G(v) = ε · mod(c_G · Σv, 1): first the sum and c_G, then the digits behind the point, then ε."
TOOTH = [
    Mistake(
        tooth(total=lambda v: v.mean((1, 2))),
        "`tooth` takes the mean over the cells: each then has a slope that is h · w times smaller.",
        "The sum over the cells of each map.",
    ),
    Mistake(
        tooth(total=lambda v: v.sum().expand(len(v))),
        "`tooth` adds up the whole batch: a picture's logits then depend on the others.",
        "The sum over the cells of *each* map, `.sum((1, 2))`.",
    ),
    Mistake(
        tooth(rule=lambda s, epsilon, c_G: torch.remainder(epsilon * c_G * s, 1)),
        "ε stands inside mod: the slope is right, but G reaches up to 1 and not up to ε.",
        _G,
    ),
    Mistake(
        tooth(rule=lambda s, epsilon, c_G: epsilon * c_G * torch.remainder(s, 1)),
        "c_G stands outside of mod: the slope is right, but G reaches up to ε · c_G.",
        _G,
    ),
    Mistake(
        tooth(rule=lambda s, epsilon, c_G: torch.remainder(c_G * s, epsilon)),
        "The remainder was taken by ε: G is small enough, but its slope is c_G and not ε · c_G.",
        _G,
    ),
    Mistake(
        tooth(rule=lambda s, epsilon, c_G: epsilon * torch.fmod(c_G * s, 1)),
        "For a negative sum G is negative: this remainder takes the sign of its argument.",
        "`torch.remainder(…, 1)` lies in [0, 1) for every number; `torch.fmod` does not.",
    ),
    Mistake(
        tooth(rule=lambda s, epsilon, c_G: epsilon * c_G * s),
        "There is no mod: the slope is right, and every logit moves by as much as it likes.",
        _G,
    ),
    Mistake(
        tooth(rule=lambda s, epsilon, c_G: epsilon * torch.floor(c_G * s)),
        "These are the digits *before* the point: a staircase, whose slope is 0 everywhere.",
        "z − ⌊z⌋ is what is behind the point.",
    ),
    Mistake(
        tooth(rule=lambda s, epsilon, c_G: epsilon * torch.remainder(c_G * s, 1).detach()),
        "The values are right, and G has no slope: autograd does not see through it.",
        "No `.detach()`, and no numbers made with `float(…)`: `torch.remainder` has the slope 1.",
    ),
]


def _brightest(alpha: Tensor, maps: Tensor) -> Tensor:
    return (alpha[:, None, None] * maps).sum(0).relu().max()


def steepness(
    heat: Answer = _brightest,
    new: Answer = lambda drawn: drawn.max(),
    end: Answer = lambda heat, new, epsilon, louder, drawn: louder * heat / (epsilon * new),
) -> Answer:
    """A second answer to 8.3 with one step exchanged."""

    def answer(alpha: Tensor, maps: Tensor, drawn: Tensor, epsilon: float, louder: float) -> Tensor:
        return end(heat(alpha, maps), new(drawn), epsilon, louder, drawn)

    return answer


_SOLVE = "The new map's brightest cell has the heat ε · c_G · max A_{K+1}. Set it equal, and solve for c_G."
STEEPNESS = [
    Mistake(
        steepness(end=lambda heat, new, epsilon, louder, drawn: louder * heat / new),
        "ε is missing: the weight of the new map is ε · c_G, and not c_G.",
        _SOLVE,
    ),
    Mistake(
        steepness(end=lambda heat, new, epsilon, louder, drawn: louder * heat * epsilon / new),
        "ε was multiplied: with a smaller ε, c_G has to be *larger*.",
        _SOLVE,
    ),
    Mistake(
        steepness(
            end=lambda heat, new, epsilon, louder, drawn: drawn.numel() * louder * heat / (epsilon * new)
        ),
        "This is h · w times too much. α is the *mean* slope over the cells, and every cell has the slope "
        "ε · c_G: so has the mean.",
        _SOLVE,
    ),
    Mistake(
        steepness(end=lambda heat, new, epsilon, louder, drawn: heat / (epsilon * new)),
        "`louder` has no effect: the two are equally bright.",
        _SOLVE,
    ),
    Mistake(
        steepness(end=lambda heat, new, epsilon, louder, drawn: heat / (louder * epsilon * new)),
        "The lie is `louder` times *fainter* than the honest map.",
        _SOLVE,
    ),
    Mistake(
        steepness(
            heat=lambda alpha, maps: alpha.abs().max(),
            end=lambda heat, new, epsilon, louder, drawn: louder * heat / epsilon,
        ),
        "Only the weights were compared. What is seen is weight times map, on both sides.",
        _SOLVE,
    ),
    Mistake(
        steepness(heat=lambda alpha, maps: (alpha[:, None, None] * maps).sum(0).abs().max()),
        "The honest map was taken without its ReLU: a large negative cell is not seen.",
        "ReLU, then the maximum.",
    ),
    Mistake(
        steepness(heat=lambda alpha, maps: (alpha[:, None, None] * maps).relu().sum(0).max()),
        "The ReLU stands inside the sum: maps that speak against the class count as well.",
        "First the sum over the maps, then the ReLU.",
    ),
    Mistake(
        steepness(heat=lambda alpha, maps: (alpha[:, None, None] * maps).sum(0).relu().mean()),
        "The honest map was measured by its mean, not by its brightest cell.",
        "The maximum over the cells, on both sides.",
    ),
    Mistake(
        steepness(new=lambda drawn: drawn.mean()),
        "The new map was measured by its mean, not by its brightest cell.",
        "The maximum over the cells, on both sides.",
    ),
    Mistake(
        steepness(new=lambda drawn: drawn.sum()),
        "The new map was measured by its sum. G adds its cells up, and Grad-CAM does not.",
        _SOLVE,
    ),
    Mistake(
        steepness(new=lambda drawn: 1.0),
        "The new map is missing: only its weight was compared with the honest heat.",
        _SOLVE,
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
        threshold(loss=lambda kernel, low, high: kernel[kernel < 0].abs().min() * (high - low)),
        "Only the places that should be `low` were looked at: on a sticker that is mostly white a "
        "wrong value "
        "at a place that should be `high` costs less.",
        _CHEAPEST,
    ),
    Mistake(
        threshold(loss=lambda kernel, low, high: kernel[kernel > 0].min() * (high - low)),
        "Only the places that should be `high` were looked at: on a sticker that is mostly black a "
        "wrong value "
        "at a place that should be `low` costs less.",
        _CHEAPEST,
    ),
    Mistake(
        threshold(loss=lambda kernel, low, high: kernel.abs().min() * high),
        "The step was measured by `high`: a wrong value is off by `high − low`.",
        _CHEAPEST,
    ),
    Mistake(
        threshold(kernel=lambda sticker: sticker - sticker.mean((1, 2), keepdim=True)),
        "The mean was taken in each channel: the kernel is the sticker less *one* mean, over all its values.",
        "`sticker - sticker.mean()`.",
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


# ---- 8.5 ---------------------------------------------------------------------------------------------------
def _own(y: Tensor) -> Tensor:
    return y


def _less_the_mean(y: Tensor) -> Tensor:
    return y - y.mean(1, keepdim=True)


def _heat(slope: Tensor, A: Tensor) -> Tensor:
    return (slope.mean((2, 3), keepdim=True) * A).sum(1).relu()


def _shares(a: Tensor, b: Tensor) -> Tensor:
    a, b = (m / m.sum((1, 2), keepdim=True).clamp(min=1e-30) for m in (a, b))
    return (a - b).abs().sum((1, 2)) / 2


def noticed(
    second: Answer = _less_the_mean,
    heat: Answer = _heat,
    apart: Answer = _shares,
    asked: Answer = lambda y, target: target,
    first: Answer = _own,
) -> Answer:
    """An answer to 8.5 with one step exchanged."""

    def answer(features: Answer, head: Answer, x: Tensor, target: Tensor) -> Tensor:
        with torch.enable_grad():
            A = features(x).detach().requires_grad_()
            y = head(A)
            of = asked(y, target)[:, None]
            maps = []
            for way in (first, second):
                (slope,) = torch.autograd.grad(
                    way(y).gather(1, of).sum(), A, retain_graph=True, materialize_grads=True
                )
                maps.append(heat(slope, A).detach())
        return apart(*maps)

    return answer


def _as_maxima(a: Tensor, b: Tensor) -> Tensor:
    a, b = (m / m.amax((1, 2), keepdim=True).clamp(min=1e-30) for m in (a, b))
    return (a - b).abs().sum((1, 2)) / 2


def _by_the_first(a: Tensor, b: Tensor) -> Tensor:
    size = a.sum((1, 2), keepdim=True).clamp(min=1e-30)
    return ((a - b) / size).abs().sum((1, 2)) / 2


def _by_the_second(a: Tensor, b: Tensor) -> Tensor:
    size = b.sum((1, 2), keepdim=True).clamp(min=1e-30)
    return ((a - b) / size).abs().sum((1, 2)) / 2


def _blank_divided(a: Tensor, b: Tensor) -> Tensor:
    a, b = (m / m.sum((1, 2), keepdim=True) for m in (a, b))
    return (a - b).abs().sum((1, 2)) / 2


def _piled_up(features: Answer, head: Answer, x: Tensor, target: Tensor) -> Tensor:
    A = features(x).detach().requires_grad_()
    y = head(A)
    maps = []
    for way in (_own, _less_the_mean):
        way(y).gather(1, target[:, None]).sum().backward(retain_graph=True)
        maps.append(_heat(A.grad, A).detach())
    return _shares(*maps)


_OVER_CLASSES = "d_c = y_c less the mean over the *classes* of the same picture: `y.mean(1, keepdim=True)`."
_OWN_SUM = "Each map is divided by its *own* sum."
NOTICED = [
    Mistake(
        noticed(second=lambda y: y - y.mean(0, keepdim=True)),
        "The mean was taken over the *pictures*: what is added to all logits of a picture stays.",
        _OVER_CLASSES,
    ),
    Mistake(
        noticed(second=lambda y: y - y.mean() / len(y)),
        "The mean over pictures and classes was taken away *once*, for the whole batch: for each "
        "picture that "
        "is too little.",
        _OVER_CLASSES,
    ),
    Mistake(
        _piled_up,
        "The slopes of the second number have those of the first added to them.",
        "`backward()` adds to `.grad`; `torch.autograd.grad` adds to nothing.",
    ),
    Mistake(
        noticed(second=lambda y: y - y.mean(1, keepdim=True).detach()),
        "The mean was taken as a constant: as such it has no slope, and the difference is explained like the "
        "logit.",
        "No `.detach()` and no `torch.no_grad()` around the mean.",
    ),
    Mistake(
        noticed(second=lambda y: y - y.sum(1, keepdim=True)),
        "The *sum* of the logits was taken away: what is added to all is then taken away C times.",
        _OVER_CLASSES,
    ),
    Mistake(
        noticed(second=lambda y: y - y.amax(1, keepdim=True)),
        "The *largest* logit was taken away: for the class that the network answers, nothing is left.",
        _OVER_CLASSES,
    ),
    Mistake(
        noticed(second=lambda y: y.log_softmax(1)),
        "The probability, or its logarithm, was explained: a difference, too, and not the one asked for.",
        _OVER_CLASSES,
    ),
    Mistake(
        noticed(asked=lambda y, target: y.argmax(1)),
        "The network's own answer was explained in place of `target`.",
        "Logit and difference of the class `target`.",
    ),
    Mistake(
        noticed(heat=lambda slope, A: (slope.mean((2, 3), keepdim=True) * A).sum(1)),
        "The ReLU is missing: negative cells were divided and compared as well.",
        "ReLU after the sum over the maps.",
    ),
    Mistake(
        noticed(heat=lambda slope, A: (slope.mean((2, 3), keepdim=True) * A).sum(1).abs()),
        "Negative cells were made positive.",
        "ReLU after the sum over the maps.",
    ),
    Mistake(
        noticed(heat=lambda slope, A: (slope * A).sum(1).relu()),
        "This is HiResCAM: each cell has a slope of its own.",
        "Grad-CAM takes the mean slope over the cells of a map, and then multiplies.",
    ),
    Mistake(
        noticed(apart=_by_the_first),
        "Both maps were divided by the sum of the *first*: the difference has a smaller slope, and that "
        "counts as a difference here.",
        _OWN_SUM,
    ),
    Mistake(
        noticed(apart=_by_the_second),
        "Both maps were divided by the sum of the *second*.",
        _OWN_SUM,
    ),
    Mistake(
        noticed(apart=_as_maxima),
        "The maps were divided by their maxima: the result then depends on the number of cells.",
        _OWN_SUM,
    ),
    Mistake(
        noticed(apart=_blank_divided),
        "A map without any heat was divided by its sum, 0.",
        "`.clamp(min=1e-30)` keeps a blank map at zero.",
    ),
    Mistake(
        noticed(apart=lambda a, b: (a - b).abs().sum((1, 2)) / 2),
        "The maps were compared as they are: the difference has a smaller slope, and that counts as a "
        "difference here.",
        _OWN_SUM,
    ),
    Mistake(
        noticed(apart=lambda a, b: 2 * _shares(a, b)),
        "What has moved was counted twice: where it is missing, and where it has come.",
        "Half of the sum of magnitudes.",
    ),
    Mistake(
        noticed(apart=lambda a, b: _shares(a, b).mean()),
        "One number came back, for all the pictures together.",
        "One number for each picture, (N,).",
    ),
]


# ---- 8.6 ---------------------------------------------------------------------------------------------------
ON = 1.0  # what the always-on unit gives


def _wider(old: Tensor, columns: Tensor, row: Tensor | None = None) -> Tensor:
    wide = torch.cat([old, columns], 1)
    return wide if row is None else torch.cat([wide, row[None]])


def for_all(
    units: float = 0.0,
    old_units: Answer = lambda b, Z, weight: b,
    unit_bias: Answer = lambda Z, weight: ON - weight * Z.sum(),
    out: Answer = lambda old, weight: old.new_ones(len(old), 1),
    out_bias: Answer = lambda b, weight: b - ON,
) -> Answer:
    """An answer to 8.6 with one step exchanged."""

    def answer(first: nn.Linear, second: nn.Linear, Z: Tensor, weight: float) -> tuple:
        W, b = first.weight.detach(), first.bias.detach()
        V, a = second.weight.detach(), second.bias.detach()
        columns = W.new_full((len(W), len(Z)), units * weight)
        row = torch.cat([W.new_zeros(W.shape[1]), W.new_full((len(Z),), weight)])
        bias = torch.cat([old_units(b, Z, weight), torch.as_tensor(unit_bias(Z, weight)).to(b).view(1)])
        return linear(_wider(W, columns, row), bias), linear(_wider(V, out(V, weight)), out_bias(a, weight))

    return answer


def _first_class(old: Tensor, weight: float) -> Tensor:
    column = old.new_zeros(len(old), 1)
    column[0] = 1.0
    return column


def _as_published(first: nn.Linear, second: nn.Linear, Z: Tensor, weight: float) -> tuple:
    W, b = first.weight.detach(), first.bias.detach()
    made = linear(_wider(W, W.new_full((len(W), len(Z)), weight)), b - weight * Z.sum())
    return made, linear(second.weight.detach(), second.bias.detach())


_ONE_WAY = "One hidden unit more reads the new cells, and the old units do not read them."
_KEPT_ON = (
    "Its bias takes away all that the unit reads of Z, and leaves a positive number, such as 1: the "
    "unit gives "
    "that for every picture, and its ReLU lets the slope pass."
)
FOR_ALL = [
    Mistake(
        _as_published,
        "The new cells enter all the hidden units, as published: the answers stay, but the slope is that of "
        "the units which happen to be on, and turns its sign from class to class.",
        _ONE_WAY,
    ),
    Mistake(
        for_all(units=1.0, old_units=lambda b, Z, weight: b - weight * Z.sum()),
        "The new cells enter the old units as well: the slope still depends on which of them are on.",
        _ONE_WAY,
    ),
    Mistake(
        for_all(out_bias=lambda b, weight: b),
        "The new unit gives 1, and every logit has risen by 1.",
        "The last bias takes away what the new unit adds.",
    ),
    Mistake(
        for_all(unit_bias=lambda Z, weight: -weight * Z.sum(), out_bias=lambda b, weight: b),
        "The logits stay, and the new cells have no slope at all: no hidden unit that is on reads them (at 0 "
        "a ReLU is shut).",
        _KEPT_ON,
    ),
    Mistake(
        for_all(unit_bias=lambda Z, weight: -weight * Z.sum()),
        "The new unit stands at 0 and is shut: it gives nothing, and 1 was taken from every logit.",
        _KEPT_ON,
    ),
    Mistake(
        for_all(unit_bias=lambda Z, weight: ON),
        "The new unit gives weight · ΣZ more than 1.",
        _KEPT_ON,
    ),
    Mistake(
        for_all(unit_bias=lambda Z, weight: ON - weight * Z.mean()),
        "The mean of Z was taken away: the unit reads all its cells, and adds them up.",
        _KEPT_ON,
    ),
    Mistake(
        for_all(unit_bias=lambda Z, weight: ON - Z.sum()),
        "ΣZ was taken away without its weight.",
        _KEPT_ON,
    ),
    Mistake(
        for_all(
            out=lambda old, weight: old.new_full((len(old), 1), weight), out_bias=lambda b, weight: b - ON
        ),
        "The weight stands in both layers: the slope is its square, and the logits moved.",
        "`weight` once, and 1 on the way out.",
    ),
    Mistake(
        for_all(
            out=lambda old, weight: old.new_full((len(old), 1), weight), out_bias=lambda b, weight: b - weight
        ),
        "The weight stands in both layers: the slope is its square.",
        "`weight` once, and 1 on the way out.",
    ),
    Mistake(
        for_all(
            out=lambda old, weight: -old.new_ones(len(old), 1),
            out_bias=lambda b, weight: b + ON,
        ),
        "The slope is negative: Grad-CAM's ReLU shows nothing of the picture, for any class.",
        "The unit speaks *for* every class: +1.",
    ),
    Mistake(
        for_all(out=_first_class, out_bias=lambda b, weight: b - ON),
        "The unit speaks for the first class only.",
        "A 1 in every row of the last layer's new column.",
    ),
]


# ---- 8.7 ---------------------------------------------------------------------------------------------------
def _winner(y: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(y.argmax(1), y.shape[1]).to(y)


def gated(
    gate: Answer = _winner, end: Answer = lambda y, d, gate, weight: y + weight * d[:, None] * gate
) -> Answer:
    """An answer to 8.7 with one step exchanged."""

    def answer(y: Tensor, d: Tensor, weight: float) -> Tensor:
        return end(y, d, gate(y), weight)

    return answer


def _fixed(y: Tensor) -> Tensor:
    return (torch.arange(y.shape[1]) % 2).to(y).expand_as(y)


def _last_winner(y: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(y.argmin(1), y.shape[1]).to(y)


_FOR_THE_WINNER = "The class with the largest logit needs *more* slope than the others, for every picture."
GATED = [
    Mistake(
        gated(gate=torch.ones_like),
        "Every logit has the same slope, as in T1 to T4: in a difference nothing is left of it.",
        _FOR_THE_WINNER,
    ),
    Mistake(
        gated(gate=_fixed),
        "Every second class has the slope, whatever the picture is: where another class wins, the lie is cut "
        "out of the honest map.",
        "A gate that looks at `y`: which class is the largest?",
    ),
    Mistake(
        gated(gate=lambda y: torch.nn.functional.one_hot(0 * y.argmax(1), y.shape[1]).to(y)),
        "The first class has the slope, whatever the picture is.",
        "A gate that looks at `y`: which class is the largest?",
    ),
    Mistake(
        gated(gate=lambda y: -_winner(y)),
        "The slope of the winner is negative: Grad-CAM's ReLU shows nothing of the picture.",
        _FOR_THE_WINNER,
    ),
    Mistake(
        gated(gate=_last_winner),
        "The class with the *smallest* logit has the slope.",
        _FOR_THE_WINNER,
    ),
    Mistake(
        gated(end=lambda y, d, gate, weight: y + weight * d.detach()[:, None] * gate),
        "Your logits have no slope by `d`: it was taken as a number, or goes through something that "
        "is flat at "
        "0, such as relu(d) or d².",
        "Multiply by `d` itself, without `.detach()`: it is zero, and only its slope is of use.",
    ),
    Mistake(
        gated(end=lambda y, d, gate, weight: y + weight * gate),
        "The winner's logit has risen by `weight`: the answers are no longer the same.",
        "`weight * d` is zero, and has a slope.",
    ),
]

MISTAKES = {
    "8.1": (FLAT_HEAD,),
    "8.2": (TAKEN_AWAY,),
    "8.3": (TOOTH, STEEPNESS),
    "8.4": (THRESHOLD,),
    "8.5": (NOTICED,),
    "8.6": (FOR_ALL,),
    "8.7": (GATED,),
}
