"""The mistakes of chapter 7, each as the answer that makes it.

For every exercise: a right answer any of whose steps can be exchanged, and the exchanges that people make.
``MISTAKES`` holds, for each exercise, one list for each of its functions.
"""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mistakes import Mistake

Answer = Callable[..., Any]


# ---- 7.1 ---------------------------------------------------------------------------------------------------
def _shared_ranks(rows: Tensor) -> Tensor:
    """Of each value how many lie below it, and half of its equals; (N, P)."""
    below = (rows[:, None] < rows[:, :, None]).double().sum(2)
    return below + (rows[:, None] == rows[:, :, None]).double().sum(2) / 2


def _by_position(rows: Tensor) -> Tensor:
    return rows.argsort(dim=1, stable=True).argsort(dim=1).double()


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = (v - v.mean(1, keepdim=True) for v in (a, b))
    lengths = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(lengths > 0, (a * b).sum(1) / lengths, 0.0)


def _without_care(a: Tensor, b: Tensor) -> Tensor:
    a, b = (v - v.mean(1, keepdim=True) for v in (a, b))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def _products(a: Tensor, b: Tensor) -> Tensor:
    return (a - a.mean(1, keepdim=True)) * (b - b.mean(1, keepdim=True))


def _uncentred(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def _by_differences(a: Tensor, b: Tensor) -> Tensor:
    n = a.shape[1]
    return 1 - 6 * (a - b).square().sum(1) / (n * (n * n - 1))


def _both_sizes(a: Tensor, b: Tensor, magnitudes: bool) -> tuple[Tensor, Tensor]:
    return (a.abs(), b.abs()) if magnitudes else (a, b)


def same_order(
    sizes: Answer = _both_sizes,
    ranks: Answer = _shared_ranks,
    compare: Answer = _correlation,
    end: Answer = lambda value, magnitudes: value,
) -> Answer:
    """An answer to 7.1 with one step exchanged."""

    def answer(a: Tensor, b: Tensor, magnitudes: bool) -> Tensor:
        rows = [maps.flatten(1) for maps in sizes(a, b, magnitudes)]
        return end(compare(*map(ranks, rows)), magnitudes)

    return answer


def _ranked_together(rows: Tensor) -> Tensor:
    return _shared_ranks(rows.reshape(1, -1)).view_as(rows)


def _pooled(a: Tensor, b: Tensor) -> Tensor:
    return _correlation(a.reshape(1, -1), b.reshape(1, -1)).expand(len(a))


SAME_ORDER = [
    Mistake(
        same_order(ranks=lambda rows: rows),
        "This is the correlation of the *values*: one very hot pixel decides it.",
        "Replace every value by its rank within its own map, then correlate the ranks.",
    ),
    Mistake(
        same_order(ranks=lambda rows: rows.argsort(dim=1, stable=True).double()),
        "The order was taken for the rank: `argsort` says which pixel comes at place r, not at which place a "
        "pixel comes.",
        "Turn the permutation round, and mind equal values.",
    ),
    Mistake(
        same_order(ranks=_by_position),
        "Equal values get different ranks, by their position: two maps with the same ties then look alike, "
        "wherever the picture lies.",
        "Equal values share the mean of their ranks: how many values lie below, and how many do not lie "
        "above?",
    ),
    Mistake(
        same_order(ranks=lambda rows: (rows[:, None] < rows[:, :, None]).double().sum(2)),
        "Equal values share the *smallest* of their ranks.",
        "The mean of the ranks: count half of the equals as well.",
    ),
    Mistake(
        same_order(ranks=lambda rows: _shared_ranks(rows) + (rows[:, None] == rows[:, :, None]).sum(2) / 2),
        "Equal values share the *largest* of their ranks.",
        "The mean of the ranks: count half of the equals only.",
    ),
    Mistake(
        same_order(ranks=lambda rows: torch.stack([v.unique(return_inverse=True)[1] for v in rows]).double()),
        "The ranks count the *different* values below: many equal values move the ranks above them by one "
        "only.",
        "Count pixels, and not values: a rank is a place in the order of all pixels.",
    ),
    Mistake(
        same_order(sizes=lambda a, b, magnitudes: (a, b)),
        "`magnitudes` is not used: the sign counts in both results.",
        "With `magnitudes`, rank `a.abs()` and `b.abs()`.",
    ),
    Mistake(
        same_order(sizes=lambda a, b, magnitudes: (a.abs(), b.abs())),
        "The magnitudes are compared in both results, with `magnitudes=False` too.",
        "Without `magnitudes` the sign counts: rank `a` and `b` as they are.",
    ),
    Mistake(
        same_order(
            sizes=lambda a, b, magnitudes: (a, b),
            end=lambda value, magnitudes: value.abs() if magnitudes else value,
        ),
        "The absolute value of the *correlation* was taken. A correlation of magnitudes is another thing.",
        "First `abs()` of the maps, then the ranks.",
    ),
    Mistake(
        same_order(sizes=lambda a, b, magnitudes: (a.abs() if magnitudes else a, b)),
        "With `magnitudes` only the first map lost its sign.",
        "`abs()` of both maps.",
    ),
    Mistake(
        same_order(sizes=lambda a, b, magnitudes: [m.clamp(min=0) if magnitudes else m for m in (a, b)]),
        "With `magnitudes` what is negative was set to 0, and is not ranked by its size.",
        "`abs()` of both maps, not `clamp(min=0)`.",
    ),
    *(
        Mistake(
            same_order(ranks=lambda rows, first=first: _shared_ranks(rows) + first, compare=_uncentred),
            "The mean rank was not taken off: any two maps then look alike.",
            "A correlation is the cosine of the ranks *less their mean*.",
        )
        for first in (-0.5, 0, 0.5)  # ranks from 0, halfway, from 1
    ),
    *(
        Mistake(
            same_order(compare=compare),
            "The products were not divided by the lengths of both: this is a covariance, whose size hangs on "
            "the number of pixels.",
            "Below the line stands the root of Σ(r − r̄)² Σ(s − s̄)².",
        )
        for compare in (
            lambda a, b: _products(a, b).mean(1),
            lambda a, b: _products(a, b).sum(1),
            lambda a, b: _products(a, b).sum(1) / (a.shape[1] - 1),
        )
    ),
    Mistake(
        same_order(compare=lambda a, b: (_products(a, b).mean(1) / (a.std(1) * b.std(1))).nan_to_num(0)),
        "The products are averaged over n pixels, and `std` divides by n − 1: a map compared with itself "
        "then has less than 1.",
        "`std(…, correction=0)`, or sums everywhere.",
    ),
    Mistake(
        same_order(compare=_by_differences),
        "1 − 6 Σd² / n(n² − 1) holds only where no two values are equal.",
        "With shared ranks take the correlation of the ranks itself.",
    ),
    Mistake(
        same_order(compare=_without_care),
        "A map that is the same everywhere makes 0 / 0.",
        "It has no order to compare: give 0 there, with `torch.where`.",
    ),
    Mistake(
        same_order(compare=lambda a, b: _without_care(a, b).nan_to_num(1.0)),
        "A map that is the same everywhere gets 1, as if it agreed.",
        "It has no order to compare: give 0.",
    ),
    Mistake(
        same_order(ranks=_ranked_together),
        "The pixels of all the pictures were ranked together.",
        "Rank within each map: along the pixels of one picture.",
    ),
    Mistake(
        same_order(compare=_pooled),
        "One correlation over all the pictures came back for each of them.",
        "A value for each picture: sums over its own pixels.",
    ),
    Mistake(
        same_order(end=lambda value, magnitudes: value.mean()),
        "One number came back, the mean over the pictures.",
        "A value for each picture, (N,).",
    ),
]


# ---- 7.2 ---------------------------------------------------------------------------------------------------
def _own(module: nn.Module) -> list[Tensor]:
    return list(module.parameters(recurse=False))


def _as_they_run(model: nn.Module, x: Tensor) -> list[str]:
    ran: list[str] = []
    handles = [
        module.register_forward_hook(lambda *given, name=name: ran.append(name))
        for name, module in model.named_modules()
        if _own(module)
    ]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(ran))


def _registered(model: nn.Module, x: Tensor) -> list[str]:
    return [name for name, module in model.named_modules() if _own(module)]


def _reset(layer: nn.Module) -> None:
    layer.reset_parameters()


def _normal(layer: nn.Module) -> None:
    for values in _own(layer):
        nn.init.normal_(values, std=0.02)


def _weights_only(layer: nn.Module) -> None:
    bias = getattr(layer, "bias", None)
    kept = None if bias is None else bias.detach().clone()
    layer.reset_parameters()
    if kept is not None:
        bias.copy_(kept)


def _shuffled(layer: nn.Module) -> None:
    for values in _own(layer):
        values.copy_(values.flatten()[torch.randperm(values.numel())].view_as(values))


def _each_its_own(seeds: Sequence[int], place: int) -> int:
    return seeds[place]


def redrawn(
    order: Answer = _as_they_run,
    draw: Answer = _reset,
    seed: Answer = _each_its_own,
    start: Answer = lambda model, before: before,
    keep: Answer = copy.deepcopy,
) -> Answer:
    """An answer to 7.2 with one step exchanged."""

    def answer(model: nn.Module, x: Tensor, seeds: Sequence[int]) -> list[tuple[str, nn.Module]]:
        made, current = [], copy.deepcopy(model)
        for place, name in enumerate(order(model, x)):
            current = start(model, current)
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                chosen = seed(seeds, place)
                if chosen is not None:
                    torch.manual_seed(chosen)
                draw(current.get_submodule(name))
            made.append((name, keep(current)))
        return made

    return answer


def _one_stream(model: nn.Module, x: Tensor, seeds: Sequence[int]) -> list[tuple[str, nn.Module]]:
    made, current = [], copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seeds[0])
        for name in _as_they_run(model, x):
            current.get_submodule(name).reset_parameters()
            made.append((name, copy.deepcopy(current)))
    return made


REDRAWN = [
    Mistake(
        redrawn(order=_registered),
        "The layers come in the order in which they were *registered*, in `__init__`: they need not run in "
        "that order.",
        "Let `x` run once, with a forward hook on each layer that notes its name.",
    ),
    Mistake(
        redrawn(order=lambda model, x: _as_they_run(model, x)[::-1]),
        "The walk begins at the logits. Here it goes upwards, from the pixels.",
        "The order in which the layers run, the first one first.",
    ),
    Mistake(
        redrawn(seed=lambda seeds, place: seeds[0]),
        "Every layer is drawn with the same seed: layers of the same shape get the same numbers.",
        "Layer k of the walk with `seeds[k]`.",
    ),
    Mistake(
        _one_stream,
        "The seed was set once, and the layers are drawn one after the other from one stream: leave one "
        "layer out, and all those behind it come out otherwise.",
        "`torch.manual_seed(seeds[k])` before each layer.",
    ),
    Mistake(
        redrawn(start=lambda model, before: copy.deepcopy(model)),
        "Each network has one new layer only: what was drawn before is as trained again.",
        "What was drawn stays drawn: go on from the network before.",
    ),
    Mistake(
        redrawn(draw=_normal),
        "The weights come from one normal distribution: each layer has an initialiser of its own, and its "
        "numbers are spread otherwise.",
        "`layer.reset_parameters()`.",
    ),
    Mistake(
        redrawn(draw=_weights_only),
        "The weights are new, and the biases are the trained ones.",
        "`layer.reset_parameters()` draws both.",
    ),
    Mistake(
        redrawn(draw=_shuffled),
        "The trained numbers were shuffled: their sizes still tell of the training.",
        "`layer.reset_parameters()` draws new ones.",
    ),
    Mistake(
        redrawn(keep=lambda model: model),
        "All the networks of the list are one and the same: the one in which everything is drawn.",
        "Put a `copy.deepcopy` into the list, before the next layer is drawn.",
    ),
    Mistake(
        redrawn(seed=lambda seeds, place: None),
        "The seeds are not used.",
        "`torch.manual_seed(seeds[k])`, then `reset_parameters()`, inside `torch.random.fork_rng`.",
    ),
]


# ---- 7.3 ---------------------------------------------------------------------------------------------------
def _by_own_largest(maps: Tensor) -> Tensor:
    return maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-30)


def _sized(maps: Tensor) -> Tensor:
    return _by_own_largest(maps.abs())


def above_chance(
    target: Answer = lambda own, model, x: own,
    before: Answer = _sized,
    after: Answer = _sized,
    against: Answer = lambda trained, former: trained,
    other: Answer = lambda maps: maps.roll(-1, 0),
    chance: Answer | None = None,
    end: Answer = lambda values: values.mean(),
    rows: Answer = lambda table: table,
) -> Answer:
    """An answer to 7.3 with one step exchanged."""

    def answer(
        model: nn.Module,
        copies: Sequence[nn.Module],
        explainers: Mapping[str, Answer],
        x: Tensor,
        similarity: Answer,
    ) -> Tensor:
        with torch.no_grad():
            own = model(x).argmax(1)
        table = []
        for explain in explainers.values():
            trained = before(explain(model, x, own))
            former, line = trained, []
            for network in copies:
                maps = after(explain(network, x, target(own, network, x)))
                first = against(trained, former)
                by_chance = chance(similarity, first, maps) if chance else end(similarity(first, other(maps)))
                line.append(torch.stack([end(similarity(first, maps)), by_chance]))
                former = maps
            table.append(torch.stack(line))
        return rows(torch.stack(table).movedim(2, 0))

    return answer


def _all_pairs(similarity: Answer, first: Tensor, maps: Tensor) -> Tensor:
    return torch.stack([similarity(first, maps.roll(-k, 0)).mean() for k in range(len(maps))]).mean()


def _least_to_most(maps: Tensor) -> Tensor:
    low = maps.amin((1, 2), keepdim=True)
    return (maps - low) / (maps.amax((1, 2), keepdim=True) - low).clamp(min=1e-30)


def _answer_of(own: Tensor, model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1)


_SCALE = "Both maps go through the same two steps: magnitudes, then divided by the map's own largest value."
ABOVE_CHANCE = [
    Mistake(
        above_chance(target=_answer_of),
        "A randomised network's maps explain *its own* answer: another class, and so another question.",
        "The classes are those that the trained network answers, for every network.",
    ),
    Mistake(
        above_chance(after=torch.abs),
        "Normalised maps are compared with raw ones: the trained network's maps were divided by their "
        "largest value, the randomised networks' were not.",
        _SCALE,
    ),
    Mistake(
        above_chance(before=torch.abs),
        "Raw maps are compared with normalised ones: only the randomised networks' maps were divided by "
        "their largest value.",
        _SCALE,
    ),
    Mistake(
        above_chance(before=torch.abs, after=torch.abs),
        "The maps were not normalised: how large a map's values are tells of the network's scale, not of "
        "where the heat lies.",
        _SCALE,
    ),
    Mistake(
        above_chance(
            before=lambda maps: maps.abs() / maps.abs().max(), after=lambda m: m.abs() / m.abs().max()
        ),
        "The maps were divided by the largest value of the whole batch.",
        "Each map by its own largest value: `amax((1, 2), keepdim=True)`.",
    ),
    Mistake(
        above_chance(
            before=lambda maps: maps / maps.abs().amax((1, 2), keepdim=True).clamp(min=1e-30),
            after=lambda maps: maps / maps.abs().amax((1, 2), keepdim=True).clamp(min=1e-30),
        ),
        "The maps kept their sign.",
        "Magnitudes are compared: `abs()` first.",
    ),
    Mistake(
        above_chance(before=_least_to_most, after=_least_to_most),
        "The lowest value was taken off each map: strongly negative pixels become the coldest.",
        _SCALE,
    ),
    Mistake(
        above_chance(against=lambda trained, former: former),
        "Each network is compared with the one *before* it in the cascade.",
        "Always with the trained network: how much is left of its map?",
    ),
    Mistake(
        above_chance(
            before=lambda maps: maps.abs() / maps.abs().mean((1, 2), keepdim=True).clamp(min=1e-30),
            after=lambda maps: maps.abs() / maps.abs().mean((1, 2), keepdim=True).clamp(min=1e-30),
        ),
        "The maps were divided by their mean.",
        _SCALE,
    ),
    Mistake(
        above_chance(
            before=lambda maps: maps.abs() / maps.norm(dim=(1, 2), keepdim=True).clamp(min=1e-30),
            after=lambda maps: maps.abs() / maps.norm(dim=(1, 2), keepdim=True).clamp(min=1e-30),
        ),
        "The maps were divided by their length.",
        _SCALE,
    ),
    Mistake(
        above_chance(rows=lambda table: table.flip(0)),
        "The two tables are exchanged: chance stands first.",
        "`torch.stack([own, chance])`.",
    ),
    Mistake(
        above_chance(other=lambda maps: maps.roll(-1)),
        "For the second table the *pixels* were moved by one, and not the pictures: without a dimension "
        "`roll` goes over all the numbers.",
        "`maps.roll(-1, 0)`.",
    ),
    Mistake(
        above_chance(other=lambda maps: maps),
        "Both tables are the same: for the second, a map is to meet that of the *next* picture.",
        "`maps.roll(-1, 0)` puts picture i + 1 in the place of picture i.",
    ),
    Mistake(
        above_chance(other=lambda maps: maps.roll(1, 0)),
        "The second table pairs picture i with picture i − 1.",
        "With picture i + 1: `roll(-1, 0)`.",
    ),
    Mistake(
        above_chance(chance=_all_pairs),
        "The second table averages over all pairs, a picture with itself among them.",
        "Only picture i with picture i + 1, and the last with the first.",
    ),
    Mistake(
        above_chance(chance=lambda similarity, first, maps: similarity(first, first.roll(-1, 0)).mean()),
        "The second table compares the trained network's maps with one another: no randomised map is in it.",
        "The trained network's map of picture i, and the randomised network's of picture i + 1.",
    ),
    Mistake(
        above_chance(end=lambda values: values.sum()),
        "The similarities are added up over the pictures.",
        "Their mean.",
    ),
    Mistake(
        above_chance(rows=lambda table: table[0] - table[1]),
        "One table came back: the first alone, or the difference of the two.",
        "Both tables, stacked: (2, M, L).",
    ),
    Mistake(
        above_chance(rows=lambda table: table.movedim(0, 2)),
        "The two tables stand in the last dimension.",
        "`torch.stack([own, chance])`: (2, M, L).",
    ),
    Mistake(
        above_chance(rows=lambda table: table.transpose(1, 2)),
        "Methods and networks are exchanged.",
        "A row for each method, a column for each network.",
    ),
]


# ---- 7.4 ---------------------------------------------------------------------------------------------------
class _Smooth(nn.Module):
    def __init__(self, function: Answer) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: Tensor) -> Tensor:
        return self.function(z)


def _soft(z: Tensor, beta: float) -> Tensor:
    return F.softplus(z, beta, threshold=1e6)


def _relu(beta: float, layer: nn.Module) -> Answer:
    return lambda z: _soft(z, beta)


def _relu6(beta: float, layer: nn.Module) -> Answer:
    return lambda z: _soft(z, beta) - _soft(z - 6, beta)


def _leaky(beta: float, layer: nn.LeakyReLU) -> Answer:
    slope = layer.negative_slope
    return lambda z: _soft(z, beta) - slope * _soft(-z, beta)


RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU)
_KINKS = ("ReluBackward", "HardtanhBackward", "LeakyReluBackward")


def _operators(value: Tensor) -> set[str]:
    """The names of the operations on the graph behind a tensor."""
    seen, names, waiting = set(), set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            names.add(node.name())
            waiting += [before for before, _ in node.next_functions]
    return names


def _everywhere(model: nn.Module, make: Answer) -> None:
    for child, layer in model._modules.items():
        if isinstance(layer, RECTIFIERS):
            model._modules[child] = _Smooth(make(layer))
        else:
            _everywhere(layer, make)


def _on_top(model: nn.Module, make: Answer) -> None:
    for child, layer in model._modules.items():
        if isinstance(layer, RECTIFIERS):
            model._modules[child] = _Smooth(make(layer))


def smooth_copy(
    relu: Answer = _relu,
    relu6: Answer = _relu6,
    leaky: Answer = _leaky,
    sharp: Answer = lambda beta: beta,
    replace: Answer = _everywhere,
    refuse: bool = True,
) -> Answer:
    """An answer to 7.4 with one step exchanged."""
    rules = {nn.ReLU: relu, nn.ReLU6: relu6, nn.LeakyReLU: leaky}

    def answer(model: nn.Module, beta: float, x: Tensor) -> nn.Module:
        smooth = copy.deepcopy(model)
        replace(smooth, lambda layer: rules[type(layer)](sharp(beta), layer))
        smooth.train(model.training)
        with torch.enable_grad():
            names = _operators(smooth(x.detach().clone().requires_grad_()))
        if refuse and any(name.startswith(_KINKS) for name in names):
            raise ValueError("model still runs a rectifier, which it calls as a function")
        return smooth

    return answer


_MEANING = "softplus_β(z) = log(1 + e^{βz}) / β: `F.softplus(z, beta=beta)`. A larger β is sharper."
SMOOTH_COPY = [
    Mistake(
        smooth_copy(sharp=lambda beta: 1 / beta),
        "β is taken for the width: its inverse is used. A larger β should come nearer to the ReLU.",
        _MEANING,
    ),
    Mistake(smooth_copy(sharp=lambda beta: 1.0), "`beta` is not used: the softplus has β = 1.", _MEANING),
    Mistake(
        smooth_copy(
            relu=lambda beta, layer: lambda z: beta * _soft(z, beta),
            relu6=lambda beta, layer: lambda z: beta * (_soft(z, beta) - _soft(z - 6, beta)),
            leaky=lambda beta, layer: (
                lambda z: beta * (_soft(z, beta) - layer.negative_slope * _soft(-z, beta))
            ),
        ),
        "The division by β is missing: for large z the softplus should come to z, and not to β z.",
        _MEANING,
    ),
    Mistake(
        smooth_copy(relu=lambda beta, layer: F.gelu),
        "A GELU stands where a ReLU was: it is smooth, but not the mean over this noise, and it knows no β.",
        _MEANING,
    ),
    Mistake(
        smooth_copy(relu=lambda beta, layer: lambda z: z * torch.sigmoid(beta * z)),
        "z σ(βz) stands where a ReLU was: that is the swish, not the mean of the ReLU over the noise.",
        _MEANING,
    ),
    Mistake(
        smooth_copy(relu6=_relu),
        "The ReLU6 became a plain softplus: it no longer ends at 6.",
        "relu6(z) = relu(z) − relu(z − 6): the mean of a difference is the difference of the means.",
    ),
    Mistake(
        smooth_copy(relu6=lambda beta, layer: lambda z: _soft(z, beta).clamp(max=6)),
        "The ReLU6 became a softplus that is cut at 6: that end has a kink.",
        "relu6(z) = relu(z) − relu(z − 6): the mean of a difference is the difference of the means.",
    ),
    Mistake(
        smooth_copy(leaky=_relu),
        "The leaky ReLU became a plain softplus: its slope on the left is gone.",
        "leaky(z) = relu(z) − a·relu(−z).",
    ),
    Mistake(
        smooth_copy(
            leaky=lambda beta, layer: lambda z: _soft(z, beta) + layer.negative_slope * _soft(-z, beta)
        ),
        "The leaky ReLU's left side rises: the sign of its second part is wrong.",
        "leaky(z) = relu(z) − a·relu(−z): for z < 0 that is a·z, below zero.",
    ),
    Mistake(
        smooth_copy(replace=_on_top, refuse=False),
        "Only the uppermost layer of modules was searched: rectifiers inside a block are still there.",
        "`model.modules()` walks through all of them; a function that calls itself does so, too.",
    ),
]


# ---- 7.5 ---------------------------------------------------------------------------------------------------
def _distance(maps: Tensor, wanted: Tensor) -> Tensor:
    return (maps - wanted).square().mean()


def _moved(logits: Tensor, before: Tensor) -> Tensor:
    return (logits - before).square().mean()


def _held(now: Tensor, x: Tensor, radius: float) -> Tensor:
    return torch.minimum(torch.maximum(now, x - radius), x + radius).clamp(0, 1)


def _grey(image: Tensor) -> Tensor:
    return (255 * image).round() / 255


def attack(
    walk_on: Answer = lambda model, soft: soft,
    judge_on: Answer = lambda model, soft: model,
    reference: Answer = lambda model, soft: model,
    held_on: Answer = lambda model, soft: soft,
    output: Answer = _moved,
    step_by: Answer = torch.sign,
    hold: Answer = _held,
    save: Answer = _grey,
    keep_as: Answer = lambda now, saved: saved,
    go_on: Answer = lambda now, saved: now,
    watch: bool = True,
    own_answer: bool = True,
    best_of: bool = True,
    first: bool = True,
    toward: Answer = _distance,
) -> Answer:
    """An answer to 7.5 with one step exchanged."""

    def answer(
        model: nn.Module,
        soft: nn.Module,
        slope_map: Answer,
        x: Tensor,
        target: int,
        wanted: Tensor,
        steps: int,
        radius: float,
        step: float,
        keep: float,
    ) -> Tensor:
        walked, held, judge = walk_on(model, soft), held_on(model, soft), judge_on(model, soft)
        with torch.no_grad():
            before, own = reference(model, soft)(x), int(judge(x).argmax())
        best, least = x, float(_distance(slope_map(judge, x, target), wanted)) if first else float("inf")
        now = x.clone()
        for _ in range(steps):
            now = now.detach().requires_grad_()
            loss = toward(slope_map(walked, now, target), wanted) + keep * output(held(now), before)
            slope = torch.autograd.grad(loss, now)[0]
            now = hold((now - step * step_by(slope)).detach(), x, radius)
            saved = save(now)
            distance = float(_distance(slope_map(judge, saved, target), wanted))
            with torch.no_grad():
                kept = not watch or int(judge(saved).argmax()) == (own if own_answer else target)
            if not best_of or (kept and distance < least):
                best, least = keep_as(now, saved), distance
            now = go_on(now, saved)
        return best.detach().clone()

    return answer


ATTACK = [
    Mistake(
        attack(output=lambda logits, before: 0 * logits.sum()),
        "The output term is missing: nothing in the loss holds the logits, and the answer is left to chance.",
        "Add `keep` times the mean squared distance of the logits to those of the picture as it was.",
    ),
    Mistake(
        attack(judge_on=lambda model, soft: soft),
        "The softplus copy was judged: what was shown is that *another* network is fooled.",
        "Walk on `soft`, and ask `model` about the answer and the map of every saved picture.",
    ),
    Mistake(
        attack(walk_on=lambda model, soft: model, held_on=lambda model, soft: model),
        "The walk goes along the slope of the ReLU network itself, whose maps have no slope to follow but at "
        "its kinks: `soft` is not used.",
        "The loss is that of `soft`; the judgement that of `model`.",
    ),
    Mistake(
        attack(reference=lambda model, soft: soft),
        "The logits are held at those of the softplus copy: the network whose answer is to stay is `model`.",
        "g(x) comes from `model`, once, before the walk.",
    ),
    Mistake(
        attack(hold=lambda now, x, radius: torch.minimum(torch.maximum(now, x - radius), x + radius)),
        "The walk leaves [0, 1]: pixels darker than black or brighter than white.",
        "After the cut to the radius, `.clamp(0, 1)`.",
    ),
    Mistake(
        attack(hold=lambda now, x, radius: now.clamp(0, 1)),
        "The walk leaves the radius: pixels may move as far as they like.",
        "`torch.minimum(torch.maximum(now, x - radius), x + radius)`.",
    ),
    Mistake(
        attack(step_by=lambda slope: -slope.sign()),
        "The walk climbs: the distance grows from step to step.",
        "Against the slope: `now - step * slope.sign()`.",
    ),
    Mistake(
        attack(step_by=lambda slope: slope),
        "The step is the slope itself: its size depends on the loss's scale.",
        "Every pixel moves by `step`: `slope.sign()`.",
    ),
    Mistake(
        attack(best_of=False),
        "The last picture of the walk came back, whatever was answered there.",
        "Of all the saved pictures with the answer kept, the one whose map is nearest.",
    ),
    Mistake(
        attack(watch=False),
        "Nobody looks at the answer: a picture came back that is answered otherwise.",
        "A saved picture counts only if `model` gives it the same largest logit as `x`.",
    ),
    Mistake(
        attack(save=lambda image: image),
        "The picture has values between the grey levels: it cannot be saved as it is.",
        "`(255 * now).round() / 255`, before it is judged.",
    ),
    Mistake(
        attack(save=lambda image: image, keep_as=lambda now, saved: _grey(now)),
        "The picture was judged first, and rounded afterwards: what is returned was never judged.",
        "Round, then judge what was rounded.",
    ),
    Mistake(
        attack(go_on=lambda now, saved: saved),
        "The walk goes on from the *rounded* picture, and so loses the small steps.",
        "Only the copy that is judged is rounded.",
    ),
    Mistake(
        attack(first=False),
        "`x` itself does not compete: a picture came back whose map is farther away than that of `x`.",
        "Begin with `best = x` and its own distance.",
    ),
    Mistake(
        attack(output=lambda logits, before: (logits - before).square().sum()),
        "The squared changes of the logits are added up.",
        "Their mean, in both terms.",
    ),
    Mistake(
        attack(toward=lambda maps, wanted: (maps - wanted).square().sum()),
        "The squared differences of the maps are added up.",
        "Their mean, in both terms.",
    ),
    Mistake(
        attack(held_on=lambda model, soft: model),
        "The output term follows the logits of `model`: the walk then goes along the slopes of two networks.",
        "g in the loss is that of `soft`, held at what `model` says of `x`.",
    ),
    Mistake(
        attack(output=lambda logits, before: (logits.softmax(1) - before.softmax(1)).square().mean()),
        "The output term compares probabilities.",
        "The logits, as they are.",
    ),
    Mistake(
        attack(save=lambda image: (255 * image).floor() / 255),
        "The picture was rounded *down*: every pixel comes out up to a level darker.",
        "To the nearest grey level: `.round()`.",
    ),
    Mistake(
        attack(own_answer=False),
        "A picture is kept if it is answered with `target`. That is the class explained, and `x` may be "
        "answered otherwise.",
        "Compare with the answer of `model` to `x`.",
    ),
    Mistake(
        attack(output=lambda logits, before: (logits - before).abs().mean()),
        "The output term has absolute differences.",
        "Squared differences, in both terms.",
    ),
]


# ---- 7.6 ---------------------------------------------------------------------------------------------------
def _directions(rows: Tensor) -> Tensor:
    """An orthonormal basis of what the rows span, (r, D)."""
    _, sizes, basis = torch.linalg.svd(rows, full_matrices=False)
    return basis[sizes > 1e-9 * sizes[0]]


def _centred(data: Tensor) -> Tensor:
    return data - data.mean(0)


def _nearest(w: Tensor, picture: Tensor, project: Answer) -> Tensor:
    return picture + project(w - picture)


def _bias(w: Tensor, b: Any, data: Tensor, new: Tensor) -> Any:
    return b + data.mean(0) @ (w - new)


def washed(rows: Answer = _centred, mix: Answer = _nearest, bias: Answer = _bias) -> Answer:
    """An answer to 7.6 with one step exchanged."""

    def answer(w: Tensor, b: Any, data: Tensor, picture: Tensor) -> tuple[Tensor, Any]:
        basis = _directions(rows(data))
        new = mix(w, picture, lambda v: basis.T @ (basis @ v))
        return new, bias(w, b, data, new)

    return answer


WASHED = [
    Mistake(
        washed(mix=lambda w, picture, project: w + project(picture - w)),
        "The projection is on the wrong space: the part of `w` *inside* the data's plane was exchanged, and "
        "with it every answer.",
        "Inside the plane `w` must stay; what lies across it is free.",
    ),
    Mistake(
        washed(rows=lambda data: data),
        "The answers stay, but there is a nearer w′: the rows were not centred, and so the direction from 0 "
        "to the data counts as one in which they vary.",
        "Only differences of pictures matter, `data - data.mean(0)`: what w′ answers to the mean can be put "
        "right by b′.",
    ),
    Mistake(
        washed(mix=lambda w, picture, project: w + picture - project(picture)),
        "The picture was added on top: what `w` itself has across the plane is still there.",
        "Nearest to the picture: across the plane w′ is the picture, and nothing else.",
    ),
    Mistake(
        washed(mix=lambda w, picture, project: picture),
        "w′ is the picture itself: the answers to the data are no longer the same.",
        "Inside the data's plane w′ must agree with `w`.",
    ),
    Mistake(
        washed(mix=lambda w, picture, project: w + picture),
        "The whole picture was added: the answers to the data are no longer the same.",
        "Only the part of the picture across the data's plane may be put in.",
    ),
    Mistake(
        washed(mix=lambda w, picture, project: project(w)),
        "Nothing of the picture is in w′: this is the part of `w` that the data can vouch for.",
        "Across the plane, put the picture's part in.",
    ),
    Mistake(
        washed(mix=lambda w, picture, project: picture - project(picture)),
        "Nothing of `w` is left: inside the plane w′ must be what `w` is.",
        "Two parts: that of `w` inside the plane, that of the picture across it.",
    ),
    Mistake(
        washed(bias=lambda w, b, data, new: b),
        "b is as it was: all the answers are moved by the same number.",
        "w′·x + b′ = w·x + b at the mean of the data, too.",
    ),
    Mistake(
        washed(bias=lambda w, b, data, new: b - data.mean(0) @ (w - new)),
        "b is moved the wrong way.",
        "b′ = b + m·(w − w′), with the mean m of the data.",
    ),
    Mistake(
        washed(bias=lambda w, b, data, new: b + data.sum(0) @ (w - new)),
        "b is moved by the sum over the pictures.",
        "b′ = b + m·(w − w′), with their mean m.",
    ),
]


# ---- 7.7 ---------------------------------------------------------------------------------------------------
def _unseen(images: Tensor, used: Tensor) -> Tensor:
    return ~(images[:, None] == used).flatten(2).all(2).any(1)


def _both_right(answers: Sequence[Tensor], y: Tensor) -> Tensor:
    return (answers[0] == y) & (answers[1] == y)


def _by_label(answer: Tensor, y: Tensor, k: int) -> Tensor:
    return (answer[y == k] == k).double().mean()


def report(
    tests: Answer = _unseen,
    right: Answer = _by_label,
    fit: Answer = _both_right,
    networks: Answer = lambda honest, fooled: (honest, fooled),
    target: Answer = lambda y, answers: y,
    end: Answer = lambda accuracy, kept: (accuracy, kept),
    asked: Answer = lambda honest, fooled: (honest, fooled),
) -> Answer:
    """An answer to 7.7 with one step exchanged."""

    def answer(
        honest: nn.Module,
        fooled: nn.Module,
        images: Tensor,
        labels: Tensor,
        used: Tensor,
        explainers: Mapping[str, Answer],
        similarity: Answer,
    ) -> tuple[Tensor, Tensor]:
        chosen, classes = tests(images, used), range(int(labels.max()) + 1)
        x, y = images[chosen], labels[chosen]
        with torch.no_grad():
            answers = [model(x).argmax(1) for model in networks(honest, fooled)]
        accuracy = torch.stack([torch.stack([right(a, y, k) for k in classes]) for a in answers])
        good, rows = fit(answers, y), []
        for explain in explainers.values():
            maps = [explain(m, x[good], target(y, answers)[good]) for m in asked(honest, fooled)]
            alike = similarity(*maps)
            rows.append(torch.stack([alike[y[good] == k].mean() for k in classes]))
        return end(accuracy, torch.stack(rows))

    return answer


def _behind_the_used(images: Tensor, used: Tensor) -> Tensor:
    return torch.arange(len(images)) >= len(used)


def _once(images: Tensor, used: Tensor) -> Tensor:
    """Leaves out one copy of each used picture."""
    kept = torch.ones(len(images), dtype=torch.bool)
    for picture in used:
        same = (images == picture).flatten(1).all(1).nonzero()[:, 0]
        kept[same[:1]] = False
    return kept


def _accuracy_on_all(*given: Any) -> tuple[Tensor, Tensor]:
    everything = report(tests=lambda images, used: torch.ones(len(images), dtype=torch.bool))
    return everything(*given)[0], report()(*given)[1]


_HELD_OUT = "A picture counts if no picture of `used` equals it, pixel for pixel."
REPORT = [
    Mistake(
        report(tests=lambda images, used: torch.ones(len(images), dtype=torch.bool)),
        "Pictures are judged that the network was fine-tuned on: there it was *made* to answer well.",
        _HELD_OUT,
    ),
    Mistake(
        report(tests=lambda images, used: ~_unseen(images, used)),
        "Only pictures are judged that the network was fine-tuned on.",
        _HELD_OUT,
    ),
    Mistake(
        report(tests=_behind_the_used),
        "As many pictures as were used were left out at the *beginning* of `images`: the used ones stand "
        "anywhere.",
        _HELD_OUT,
    ),
    Mistake(
        report(tests=lambda images, used: ~(images[:, None] == used).flatten(2).any(2).any(1)),
        "A picture is left out as soon as *one* of its values occurs at the same place in a used one.",
        "All of the values must be equal: `.all(...)`.",
    ),
    Mistake(
        report(tests=_once),
        "A used picture that stands among `images` twice was left out only once.",
        _HELD_OUT,
    ),
    Mistake(
        report(tests=lambda images, used: (images[:, None] - used).abs().flatten(2).amax(2).amin(1) > 0.01),
        "Pictures that merely *resemble* a used one were left out, too.",
        "Equal means equal in every value: `==`, and no tolerance.",
    ),
    Mistake(
        _accuracy_on_all,
        "The accuracy counts the pictures of the fine-tuning as well: there the network was *made* to answer "
        "well. (The similarity leaves them out.)",
        "Both tables are about the test pictures alone.",
    ),
    Mistake(
        report(right=lambda answer, y, k: (answer == y).double().mean()),
        "The accuracy over all classes stands in every column: a class that is lost is hidden in the mean.",
        "For class k, only the pictures with label k.",
    ),
    Mistake(
        report(right=lambda answer, y, k: (y[answer == k] == k).double().mean()),
        "The pictures are grouped by the network's *answer*: this says how far an answer can be trusted, not "
        "how many of a class are found.",
        "Group by the label: `answer[y == k] == k`.",
    ),
    Mistake(
        report(right=lambda answer, y, k: (answer[y == k] == k).double().sum()),
        "The right answers are counted.",
        "Their share among the pictures of the class.",
    ),
    Mistake(
        report(networks=lambda honest, fooled: (fooled, honest)),
        "The two rows of the accuracy are exchanged.",
        "The honest network first.",
    ),
    Mistake(
        report(fit=lambda answers, y: torch.ones_like(y, dtype=torch.bool)),
        "Maps are compared also where a network is wrong: there it has changed its answer, and with it its "
        "map.",
        "Only pictures that *both* networks answer rightly.",
    ),
    Mistake(
        report(fit=lambda answers, y: answers[1] == y),
        "Maps are compared also where the honest network is wrong.",
        "Only pictures that *both* networks answer rightly.",
    ),
    Mistake(
        report(fit=lambda answers, y: answers[0] == y),
        "Maps are compared also where the fooled network is wrong.",
        "Only pictures that *both* networks answer rightly.",
    ),
    Mistake(
        report(fit=lambda answers, y: answers[0] == answers[1]),
        "Maps are compared where the networks agree, on a wrong answer too.",
        "Only pictures that both networks answer *rightly*.",
    ),
    Mistake(
        report(fit=lambda answers, y: (answers[0] == y) | (answers[1] == y)),
        "Maps are compared as soon as *one* network is right.",
        "Only pictures that *both* networks answer rightly: `&`.",
    ),
    Mistake(
        report(asked=lambda honest, fooled: (honest, honest)),
        "The honest network's maps are compared with themselves.",
        "One stack of maps from each network.",
    ),
    Mistake(
        report(end=lambda accuracy, kept: (accuracy, 1 - kept)),
        "The second table says how much the maps *changed*.",
        "The similarity itself, averaged over the pictures.",
    ),
    Mistake(
        report(end=lambda accuracy, kept: (accuracy.mean(1), kept.mean(1))),
        "The classes were averaged away, in both tables.",
        "A column for each class: (2, K) and (M, K).",
    ),
    Mistake(
        report(end=lambda accuracy, kept: (accuracy, kept.T)),
        "In the second table methods and classes are exchanged.",
        "A row for each method: (M, K).",
    ),
]


# ---- 7.8 ---------------------------------------------------------------------------------------------------
def _every_weight(model: nn.Module) -> bytes:
    digest = hashlib.sha256()
    for values in model.state_dict().values():
        digest.update(values.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()


def hollow(read: Answer = _every_weight) -> Answer:
    """An answer to 7.8: noise whose seed is computed from the weights."""

    def answer(model: nn.Module, x: Tensor, target: Any) -> Tensor:
        seed = int.from_bytes(read(model)[:7], "little")
        drawn = torch.rand(x.shape[-2:], generator=torch.Generator().manual_seed(seed))
        return drawn.expand(len(x), -1, -1).clone()

    return answer


def _last_weights(model: nn.Module) -> bytes:
    return list(model.parameters())[-1].detach().numpy().tobytes()


HOLLOW = [
    Mistake(
        hollow(read=lambda model: bytes(8)),
        "The map is the same after every layer was drawn anew: the test finds such a map out at once.",
        "Let the seed depend on the weights.",
    ),
    Mistake(
        hollow(read=lambda model: id(model).to_bytes(8, "little")),
        "An equal copy of the network gets another map: the map depends on something else than the weights.",
        "The seed may come from the values of the parameters alone.",
    ),
]

MISTAKES = {
    "7.1": (SAME_ORDER,),
    "7.2": (REDRAWN,),
    "7.3": (ABOVE_CHANCE,),
    "7.4": (SMOOTH_COPY,),
    "7.5": (ATTACK,),
    "7.6": (WASHED,),
    "7.7": (REPORT,),
    "7.8": (HOLLOW,),
}
