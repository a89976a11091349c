"""Checks of chapter 8, how to make Grad-CAM lie: heads, maps and detectors small enough to be known exactly.

What people get wrong stands in ``ch08_mistakes.py``.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .ch08_mistakes import (
    FLAT_HEAD,
    FOR_ALL,
    GATED,
    NOTICED,
    STEEPNESS,
    TAKEN_AWAY,
    THRESHOLD,
    TOOTH,
    flat_head,
    for_all,
    gated,
    linear,
    noticed,
    steepness,
    taken_away,
    threshold,
    tooth,
)
from .inputs import normal, uniform
from .judging import close, compare, double, expect, fail, numbers, tensor, then
from .mistakes import TOLERANCE, told
from .registry import exercise
from .side_effects import detached, left_alone
from .verdicts import article


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
    value = told(_values(made), right, FLAT_HEAD, probe)
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
    compare(value, right, tolerance=TOLERANCE, look="Old weights, then n columns of c_W; the bias b_n.")
    _judge_other_heads(answer)
    return "the new map is read with a large weight, and no output notices."


def _judge_other_heads(answer: Callable) -> None:
    bare = nn.Linear(6, 3, bias=False, dtype=torch.float64)
    wider = _linear_layer(answer(bare, 2, 5.0, 4.0), 8, 3, "For a head without a bias, your head")
    expect(
        close(wider.bias, torch.full((3,), -40.0), TOLERANCE),
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
    new_map, b_o = 5 * uniform(8, 6, seed=404), normal(4, seed=406)
    weights = (uniform(4, seed=405) + 1) * torch.tensor([1.0, -1.0, 1.0, -1.0])  # of both signs
    given = (new_map, weights, b_o)

    def probe(function: Callable) -> Any:
        values = [function(make(), *(t.clone() for t in given)) for make in _POOLS.values()]
        if not all(isinstance(v, Tensor) and v.shape == (4,) for v in values):
            return next(v for v in values if not isinstance(v, Tensor) or v.shape != (4,))
        return torch.stack(values)

    right, value = probe(taken_away()), probe(answer)
    if not isinstance(value, Tensor) or value.dim() != 2 or tuple(value.shape) != (5, 4):
        tensor(value, (4,))
    value = told(value, right, TAKEN_AWAY, probe)
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
    compare(value, right, tolerance=TOLERANCE, look="S_Z is the sum over the pooled cells.")
    return "the sum is that of the cells which the head reads, whatever the pooling is."


# ---- 8.3 ---------------------------------------------------------------------------------------------------
@exercise("8.3", "How steep, and how small", functions=2)
def how_steep_and_how_small(tooth_answer, steepness_answer) -> str:
    v, epsilon, c_G = normal(5, 3, 4, seed=410), 0.02, 37.0

    def probe(function: Callable) -> Any:
        leaf = v.clone().requires_grad_()
        made = function(leaf, epsilon, c_G)
        if not isinstance(made, Tensor) or tuple(made.shape) != (5,):
            return made
        if not made.requires_grad:
            return torch.cat([made.detach(), torch.zeros(v.numel()).double()])
        (slope,) = torch.autograd.grad(made.sum(), leaf)
        return torch.cat([made.detach(), slope.flatten()])

    right, value = probe(tooth()), probe(tooth_answer)
    if not isinstance(value, Tensor) or value.shape != right.shape:
        tensor(value, (5,), "`tooth`")
    value = told(value, right, TOOTH, probe)
    with left_alone("`tooth`", v=v):
        tooth_answer(v, epsilon, c_G)
    expect(
        bool(((value[:5] >= 0) & (value[:5] < epsilon)).all()),
        f"G lies between {float(value[:5].min()):.3g} and {float(value[:5].max()):.3g}; "
        f"it should lie in [0, ε), with ε = {epsilon}.",
        "mod gives numbers in [0, 1), then ε times.",
    )
    slope = value[5:]
    expect(
        close(slope, torch.full_like(slope, epsilon * c_G), TOLERANCE),
        f"A cell has the slope {float(slope[0]):.4g}, and not ε · c_G = {epsilon * c_G:.4g}.",
        "`torch.remainder` has the slope 1; what stands before and after it multiplies.",
    )
    compare(value, right, tolerance=TOLERANCE, look="ε · mod(c_G · Σv, 1).")
    then(lambda: _judge_steepness(steepness_answer), "`tooth` is right. Now `least_steepness`.")
    return "small is one number's business, steep is that of the product."


def _judge_steepness(answer: Callable) -> None:
    maps = uniform(4, 3, 5, seed=412)
    maps[0, 1, 1] = 30.0
    alpha = torch.tensor([-0.8, 0.9, -0.4, 1.1]).double()  # the largest cell in size is a negative one
    drawn = 3 * uniform(3, 5, seed=413)
    pairs = [(0.02, 50.0), (3.0, 4.0)]

    def probe(function: Callable) -> Tensor:
        found = [function(alpha.clone(), maps.clone(), drawn.clone(), *pair) for pair in pairs]
        return torch.tensor([numbers(f, 1, "`least_steepness`")[0] for f in found], dtype=torch.float64)

    right, value = probe(steepness()), probe(answer)
    value = told(value, right, STEEPNESS, probe)
    with left_alone("`least_steepness`", alpha=alpha, maps=maps, drawn=drawn):
        answer(alpha, maps, drawn, *pairs[0])
    honest = (alpha[:, None, None] * maps).sum(0).relu().max()
    for (epsilon, louder), c_G in zip(pairs, value.tolist(), strict=True):
        ratio = float(epsilon * c_G * drawn.max() / honest)
        expect(
            abs(ratio / louder - 1) < 1e-4,
            f"With your c_G the lie is {ratio:.4g} times as bright as the honest map; it should be "
            f"{louder:g} times.",
            "ε · c_G · max A_{K+1}, against the brightest cell of the honest map.",
        )
    compare(value, right, tolerance=TOLERANCE, look="louder · max heat / (ε · max A_{K+1}).")


# ---- 8.4 ---------------------------------------------------------------------------------------------------
def _stickers() -> list[tuple[Tensor, float, float]]:
    """Black-and-white stickers (C, h, w), half, little and mostly white, and the ends of their pixels."""
    half = (uniform(3, 4, 3, seed=407) > 0.5).double()
    few = torch.zeros(1, 4, 5).double()
    few[0, [0, 1, 3], [1, 4, 2]] = 1.0
    return [
        (half, 0.0, 1.0),
        (few, 0.0, 1.0),
        (1 - few, 0.0, 1.0),
        (4 * half - 1, -1.0, 3.0),
        (0.5 * few, 0.0, 0.5),
    ]


@exercise("8.4", "A threshold for one sticker")
def a_threshold_for_one_sticker(answer) -> str:
    stickers = _stickers()

    def probe(function: Callable) -> Tensor:
        found = [numbers(function(s.clone(), low, high), 1, "Your function")[0] for s, low, high in stickers]
        return torch.tensor(found, dtype=torch.float64)

    right, value = probe(threshold()), probe(answer)
    value = told(value, right, THRESHOLD, probe)
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
        value, right, tolerance=TOLERANCE, look="−best, plus half of what the cheapest wrong value costs."
    )
    return "the sticker fires, and nothing fires in which a single value is wrong."


# ---- 8.5 ---------------------------------------------------------------------------------------------------
class _Reads:
    """A head behind feature maps (N, 3, 3, 3): four logits, with slopes that differ from cell to cell."""

    def __init__(self, aside: float = 0.0, centred: bool = False) -> None:
        self.first, self.last = normal(27, 6, seed=420) / 4, normal(6, 4, seed=421)
        self.aside, self.centred = aside, centred
        if centred:
            self.last = self.last - self.last.mean(1, keepdim=True)

    def __call__(self, A: Tensor) -> Tensor:
        if not isinstance(A, Tensor) or A.dim() != 4:
            fail("`head` takes feature maps (N, K, h, w).", "`head(features(x))`.")
        y = (A.flatten(1) @ self.first).tanh() @ self.last
        return y + self.aside * A[:, -1].sum((1, 2))[:, None]


def _features(x: Tensor) -> Tensor:
    return x.relu() + 0.1 * x.square()


@exercise("8.5", "Would you have noticed?")
def would_you_have_noticed(answer) -> str:
    x, target = normal(8, 3, 3, 3, seed=422), torch.tensor([0, 1, 2, 3, 3, 1, 1, 0])
    x[:2] = 0.0  # no feature map shows anything
    heads = [_Reads(), _Reads(0.2), _Reads(-0.2)]

    def probe(function: Callable) -> Any:
        found = [function(_features, head, x.clone(), target.clone()) for head in heads]
        if not all(isinstance(f, Tensor) and f.shape == (8,) for f in found):
            return next(f for f in found if not isinstance(f, Tensor) or f.shape != (8,))
        return torch.stack(found).detach()

    right, value = probe(noticed()), probe(answer)
    if not isinstance(value, Tensor) or value.shape != right.shape:
        if isinstance(value, Tensor) and value.dim() == 0:
            fail(NOTICED[-1].message, NOTICED[-1].look)
        tensor(value, (8,))
    value = told(value, right, NOTICED, probe)
    with left_alone(x=x, target=target):
        detached(answer(_features, heads[0], x, target), "Your result")
    same = double(answer(_features, _Reads(centred=True), x, target), (8,))
    expect(
        close(same + 1, torch.ones(8), 1e-4),
        "Where the logits have the mean 0 anyway, the two maps are one and the same, and you find "
        f"{float(same.max()):.3g} of the heat elsewhere.",
        "d_c = y_c − mean(y); then the same steps for both.",
    )
    expect(
        bool(((value >= -1e-9) & (value <= 1 + 1e-9)).all()),
        f"A share of the heat lies between 0 and 1; yours go from {float(value.min()):.3g} to "
        f"{float(value.max()):.3g}.",
        "Each map divided by its own sum, and half of the sum of magnitudes.",
    )
    compare(value, right, tolerance=TOLERANCE, look="Two Grad-CAM maps, each by its own sum, ½ Σ |p − q|.")
    return "what is the same for all classes falls out of a difference, and the two maps part."


# ---- 8.6 ---------------------------------------------------------------------------------------------------
@exercise("8.6", "The same picture for every class")
def the_same_picture_for_every_class(answer) -> str:
    # in eighths, so that a unit without any bias but −weight · ΣZ stands at 0, and not at a rounding error
    Z, weight, z = (24 * uniform(4, seed=430)).ceil() / 8, 5.0, normal(7, 6, seed=433)
    sizes = (6 + 4, 5 + 1), (5 + 1, 3)

    def layers() -> tuple[nn.Linear, nn.Linear]:
        return _drawn_linear(6, 5, 431), _drawn_linear(5, 3, 435)

    def ask(function: Callable) -> tuple[nn.Linear, nn.Linear]:
        made = function(*layers(), Z.clone(), weight)
        expect(
            isinstance(made, tuple | list) and len(made) == 2,
            "Two layers are wanted, the first and the second.",
            "`return wider_first, wider_second`.",
        )
        published = [tuple(getattr(m, "weight", Z).shape) for m in made] == [(5, 10), (3, 5)]
        if published:
            return tuple(made)
        return tuple(
            _linear_layer(m, *size, f"Your {name} layer")
            for m, size, name in zip(made, sizes, ("first", "second"), strict=True)
        )

    def probe(function: Callable) -> Tensor:
        """How far the logits move (7, 3), and the slopes of the new cells (7, 3, 4)."""
        (first, second), (old_first, old_second) = ask(function), layers()
        for layer, old in ((first, old_first), (second, old_second)):
            _in_the_precision_of(old, layer)
        new = Z.repeat(7, 1).requires_grad_()
        y = second(first(torch.cat([z, new], 1)).relu())
        slopes = [torch.autograd.grad(y[:, k].sum(), new, retain_graph=True)[0] for k in range(3)]
        moved = (y - old_second(old_first(z).relu())).detach()
        return torch.cat([moved.flatten(), torch.stack(slopes, 1).flatten()])

    right, value = probe(for_all()), probe(answer)
    value = told(value, right, FOR_ALL, probe)
    first, second = layers()
    with left_alone(first=first, second=second, Z=Z):
        answer(first, second, Z, weight)
    moved, slopes = value[:21].abs().max().item(), value[21:].view(7, 3, 4)
    alike = value[:21].max() - value[:21].min() < 1e-6
    expect(
        moved < 1e-4,
        f"Every logit of every picture moves by {_short(value[0])}."
        if alike
        else f"The logits move, by up to {moved:.3g}.",
        "What does the new unit give, and who takes it away?",
    )
    expect(
        close(slopes, torch.full_like(slopes, weight), 1e-4),
        f"The slopes of the new cells {_range(slopes)}; for each picture and class they should be "
        f"{weight:g}.",
        "The slope is the weight on the way in times that on the way out, while the unit in between is on.",
    )
    _judge_the_last_unit(*answer(*layers(), Z.clone(), weight), *layers())
    _judge_other_pictures(answer)
    return "for every picture and every class the new map has the same positive weight."


def _judge_the_last_unit(first: nn.Linear, second: nn.Linear, old_first: nn.Linear, old: nn.Linear) -> None:
    rows, columns = first.weight[:-1, : old_first.in_features], second.weight[:, :-1]
    expect(
        close(rows, old_first.weight, TOLERANCE) and close(columns, old.weight, TOLERANCE),
        "All that was asked of the logits holds, but the old hidden units no longer stand where they stood: "
        "the second layer is to read the new one as its *last* input.",
        "Put the new row below the old rows, and the new column behind the old columns.",
    )


def _judge_other_pictures(answer: Callable) -> None:
    """What the head reads of a picture may have any sum, also a large one in single precision."""
    weight, z = 2.0, normal(7, 6, seed=437)
    rise = uniform(3, seed=438) + 0.5
    for Z in (-rise, torch.cat([rise, -rise]), torch.zeros(2).double(), -400 * rise):
        moved, slopes = _measured(answer, _drawn_linear(6, 5, 431), _drawn_linear(5, 3, 435), z, Z, weight)
        expect(
            moved < 1e-4 and close(slopes, torch.full_like(slopes, weight), 1e-4),
            f"For a Z with the sum {_short(Z.sum())} the logits move by up to {moved:.3g}, and the slopes of "
            f"the new cells {_range(slopes)}, where they should be {weight:g}: what the unit gives hangs on "
            "ΣZ.",
            "Its bias takes away all that the unit reads of Z, of either sign, and leaves a positive number.",
        )
    for seed in range(439, 445):
        Z = (100 * uniform(49, seed=seed)).float()
        layers = (_drawn_linear(6, 5, 431).float(), _drawn_linear(5, 3, 435).float())
        moved, slopes = _measured(answer, *layers, z.float(), Z, weight)
        expect(
            float(slopes.amin()) > 0.99 * weight,
            f"In float32, for a Z with the sum {float(Z.sum()):.0f}, the new unit is shut: it stands so near "
            "to 0 that rounding decides.",
            "Numbers of this size are written to a thousandth or so. Let the unit give 1, not a hair more "
            "than 0.",
        )
        expect(
            moved < 0.1,
            f"In float32, for a Z with the sum {float(Z.sum()):.0f}, the logits move by up to {moved:.3g}.",
            "The larger the number that is added and taken away, the more digits it costs.",
        )


def _measured(
    answer: Callable, first: nn.Linear, second: nn.Linear, z: Tensor, Z: Tensor, weight: float
) -> tuple[float, Tensor]:
    """How far the logits move with Z on the new inputs, and their slopes (N, classes, n) by these."""
    old = second(first(z).relu())
    wider, last = answer(first, second, Z.clone(), weight)
    units, classes = first.out_features + 1, second.out_features
    _linear_layer(wider, z.shape[1] + len(Z), units, f"For a Z of {len(Z)} cells, your first layer")
    _linear_layer(last, units, classes, f"For a Z of {len(Z)} cells, your second layer")
    _in_the_precision_of(first, wider)
    _in_the_precision_of(second, last)
    new = Z.repeat(len(z), 1).requires_grad_()
    y = last(wider(torch.cat([z, new], 1)).relu())
    slopes = [torch.autograd.grad(y[:, k].sum(), new, retain_graph=True)[0] for k in range(y.shape[1])]
    return (y - old).abs().max().item(), torch.stack(slopes, 1).double()


def _range(slopes: Tensor) -> str:
    least, most = _short(slopes.amin()), _short(slopes.amax())
    return f"are {least}" if least == most else f"lie between {least} and {most}"


def _short(number: Tensor) -> str:
    return f"{float(number):.3g}".replace("-", "−")


# ---- 8.7 ---------------------------------------------------------------------------------------------------
@exercise("8.7", "Bonus: a lie that survives the difference")
def a_lie_that_survives_the_difference(answer) -> str:
    y, weight = 1.5 * normal(9, 5, seed=440), 40.0
    y[7] *= 0.1  # far from sure
    y[8] = torch.tensor([0.0, 14.0, 1.0, -3.0, 2.0])  # as good as sure
    ways = {
        "log p": lambda v: v.log_softmax(1),
        "the logit less the mean": lambda v: v - v.mean(1, keepdim=True),
    }
    winner = y.argmax(1, keepdim=True)

    def probe(function: Callable) -> Any:
        """How far the logits move (9, 5), and the winner's slopes by d, of two differences (2, 9)."""
        d = torch.zeros(9).double().requires_grad_()
        made = function(y.clone(), d, weight)
        if not isinstance(made, Tensor) or made.shape != y.shape:
            return made
        if not made.requires_grad:
            return torch.cat([(made - y).flatten(), torch.zeros(18).double()])
        slopes = [
            torch.autograd.grad(
                way(made).gather(1, winner).sum(), d, retain_graph=True, materialize_grads=True
            )[0]
            for way in ways.values()
        ]
        return torch.cat([(made - y).detach().flatten(), *slopes])

    right, value = probe(gated()), probe(answer)
    if not isinstance(value, Tensor) or value.shape != right.shape:
        tensor(value, (9, 5))
    value = told(value, right, GATED, probe)
    with left_alone(y=y):
        made = answer(y, torch.zeros(9).double(), weight)
    expect(
        made.dtype == y.dtype,
        f"The logits were in {y.dtype}, and yours are in {made.dtype}: they are rounded.",
        "`gate.to(y.dtype)`, or nothing at all.",
    )
    moved = value[:45].abs().max().item()
    expect(
        moved < 1e-9,
        f"The logits move, by up to {moved:.3g}.",
        "All that is added must be a multiple of `d`.",
    )
    doubt = 1 - y.softmax(1).amax(1)
    for name, slope, least in zip(
        ways, value[45:].view(2, 9), (weight * doubt / 2, torch.full((9,), weight / 4)), strict=True
    ):
        gap = float((slope / least).min())
        expect(
            gap >= 1 - 1e-6,
            f"The slope of {name} by d is, for one picture, {float(slope[(slope / least).argmin()]):.3g}: "
            f"{gap:.2g} times what is asked for.",
            "The class with the largest logit needs *more* slope than the others, for every picture.",
        )
    _judge_the_honest_slope(answer, y, weight)
    _judge_the_pictures_apart(answer, y, weight)
    return "the lie comes through the difference, for the class that the network answers."


def _judge_the_honest_slope(answer: Callable, y: Tensor, weight: float) -> None:
    leaf, direction = y.clone().requires_grad_(), normal(9, 5, seed=441)
    made = answer(leaf, torch.zeros(9).double(), weight)
    expect(
        made.requires_grad and close(torch.autograd.grad((made * direction).sum(), leaf)[0], direction, 1e-6),
        "The slope of the logits by `y` is no longer 1: at every other layer the honest maps would change.",
        "Add to `y` itself; a gate of zeros and ones has no slope of its own.",
    )


def _judge_the_pictures_apart(answer: Callable, y: Tensor, weight: float) -> None:
    """A picture's logits hang on its own d, and a batch of one, with other classes, is no other case."""
    d = torch.zeros(9).double().requires_grad_()
    winners = y.argmax(1, keepdim=True)
    (slope,) = torch.autograd.grad(answer(y.clone(), d, weight).gather(1, winners)[:4].sum(), d)
    expect(
        not slope[4:].any(),
        "A picture's logits have a slope by the `d` of *another* picture.",
        "`d[:, None]` puts each picture's own number beside its row of logits.",
    )
    for place in (0, 3, 8):
        one, d = y[place : place + 1, :4].clone(), torch.zeros(1).double().requires_grad_()
        made = answer(one.clone(), d, 10.0)
        tensor(made, (1, 4), "For one picture alone, with four classes, your function")
        log_p = made.log_softmax(1).gather(1, one.argmax(1, keepdim=True)).sum() + 0 * d.sum()
        (slope,) = torch.autograd.grad(log_p, d)
        least = 5 * (1 - one.softmax(1).max())
        expect(
            float(slope) >= (1 - 1e-6) * float(least),
            f"For one picture alone, with four classes and the weight 10, the slope of log p by d is "
            f"{_short(slope)}; at least {_short(least)} is asked for.",
            "Nothing may hang on the number of pictures or of classes.",
        )
