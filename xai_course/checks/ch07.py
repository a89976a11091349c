"""Checks of chapter 7, trust: small networks whose order, maps and planes are known exactly.

What people get wrong stands in ``ch07_mistakes.py``.
"""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..instruments import Networks
from .ch07_mistakes import (
    ABOVE_CHANCE,
    ATTACK,
    HOLLOW,
    REDRAWN,
    REPORT,
    SAME_ORDER,
    SMOOTH_COPY,
    WASHED,
    above_chance,
    attack,
    redrawn,
    report,
    same_order,
    smooth_copy,
    washed,
)
from .inputs import cached, drawn, normal, of_term, seeded, uniform
from .judging import close, compare, double, expect, fail, numbers, refuses, tensor
from .mistakes import TOLERANCE, recognise, told
from .reader import Reader, run
from .registry import exercise
from .side_effects import detached, left_alone
from .verdicts import Wrong


def _one(value: Any, what: str = "Your function") -> float:
    return numbers(value, 1, what)[0]


def _drawn(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network drawn with a seed, in float64 and evaluation mode."""
    with drawn(seed):
        return build().double().eval()


# ---- 7.1 ---------------------------------------------------------------------------------------------------
def _pairs_of_maps() -> tuple[Tensor, Tensor]:
    """Two stacks of maps (5, 4, 6) with equal values, both signs, a few very hot pixels, and a flat map."""
    a = (normal(5, 4, 6, seed=301) * 3).round() / 2
    b = ((0.6 * a + normal(5, 4, 6, seed=302)) * 3).round() / 2
    b[1] = -b[1]
    b[2] = 0.75  # no order at all
    a[3, 0, 0] = 400.0
    return a, b


def _judge_ranks(answer: Reader, a: Tensor, b: Tensor) -> None:
    """Maps without equal values, and then pixels in another order: what `argsort` makes of ties may vary."""
    plain = [normal(3, 4, 6, seed=seed) for seed in (303, 304)]

    def probe(function: Callable) -> Any:
        return function(*(maps.clone() for maps in plain), False)

    told(probe(answer), probe(same_order()), SAME_ORDER, probe)
    order = torch.randperm(24, generator=seeded(305))
    moved = [maps.flatten(1)[:, order].view_as(maps) for maps in (a, b)]
    expect(
        close(double(answer(*moved, False), (5,)), double(answer(a, b, False), (5,)), 1e-6),
        "The pixels were put in another order, the same one in both maps, and the result changed: equal "
        "values get different ranks, by their position.",
        SAME_ORDER[2].look,
    )


@exercise("7.1", "The same order?")
def the_same_order(answer) -> str:
    a, b = _pairs_of_maps()

    def probe(function: Callable) -> Any:
        values = [function(a.clone(), b.clone(), size) for size in (False, True)]
        if not all(isinstance(v, Tensor) for v in values) or values[0].shape != values[1].shape:
            return values[0]
        return torch.stack(values)

    right = probe(same_order())
    value = probe(answer)
    if isinstance(value, Tensor) and value.dim() == 1 and len(value) == 5:
        fail("The two results have different shapes.", "(N,), with `magnitudes` and without.")
    value = told(value, right, SAME_ORDER, probe)
    with left_alone(a=a, b=b):
        answer(a, b, True)
    _judge_ranks(answer, a, b)
    again = double(answer(a, a.clone(), False), (5,))
    expect(
        close(again, torch.ones(5), 1e-6),
        f"A map compared with itself gives {float(again[0]):.4g}, not 1.",
        "Both maps go through the same steps.",
    )
    turned = double(answer(a, -a, False), (5,))
    expect(
        close(turned, -torch.ones(5), 1e-6),
        f"A map compared with its negative gives {float(turned[0]):.4g}, not −1.",
        "Without `magnitudes` the sign counts.",
    )
    bent = double(answer(1e-9 * a.exp().clamp(max=1e9), b**3, False), (5,))
    expect(
        close(bent, value[0], 1e-6),
        "The values were bent, and their order was kept; the result changed.",
        "Only ranks may be compared.",
    )
    compare(value, right, tolerance=TOLERANCE, look="Magnitudes if asked; ranks, equals shared; correlation.")
    double(answer(a[:1], b[:1], False), (1,))
    return "the order alone is compared, equal values share their rank, and no order agrees with nothing."


# ---- 7.2 ---------------------------------------------------------------------------------------------------
class _Gain(nn.Module):
    """Multiplies each channel; drawn between 2 and 3, unlike any other layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class _Crossed(nn.Module):
    """Its layers run in another order than the one in which they were registered; two have one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.middle = nn.ModuleDict({"second": nn.Linear(6, 6), "first": nn.Linear(6, 6)})
        self.gain = _Gain(3)
        self.body = nn.ModuleList([nn.Conv2d(3, 3, 3), nn.Conv2d(2, 3, 3), nn.Dropout(0.5)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.gain(self.body[1](x).tanh())
        x = self.body[2](self.body[0](x)).tanh().mean(3).flatten(1)
        x = self.middle["first"](x).tanh()
        return self.head(self.middle["second"](x).tanh())


@exercise("7.2", "From the pixels upwards")
def from_the_pixels_upwards(answer) -> str:
    model, x = _drawn(_Crossed, 31), normal(4, 2, 6, 6, seed=303)
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.add_(0.3 * normal(*p.shape, seed=320 + i))  # as if trained: biases that no initialiser draws
    seeds = [of_term(seed) for seed in (41, 7, 99, 12, 5, 63, 28)]
    state = torch.get_rng_state()
    wanted = [name for name, _ in redrawn()(model, x, seeds)]
    with left_alone(model=model, x=x):
        value = answer(model, x, list(seeds))
    expect(
        torch.equal(state, torch.get_rng_state()),
        "Your function changes torch's own random state: whatever the reader draws next comes out otherwise.",
        "`with torch.random.fork_rng(devices=[]):` around the drawing puts it back.",
    )
    _judge_walk(value, wanted, model)

    def probe(function: Callable) -> Tensor:
        made = function(copy.deepcopy(model), x.clone(), list(seeds))
        with torch.no_grad():
            return torch.stack([run(network, x) for _, network in made])

    right = probe(redrawn())
    found = told(probe(answer), right, REDRAWN, probe)
    by_name = dict(model.named_parameters())
    for k, (name, network) in enumerate(value):
        for key, p in network.named_parameters():
            new = key.rpartition(".")[0] in wanted[: k + 1]
            same = torch.equal(p.detach(), by_name[key].detach())
            expect(
                new != same,
                f"In the network after `{name}` was drawn, `{key}` is "
                f"{'still the trained one' if new else 'no longer the trained one'}.",
                "Network k has new numbers in the first k + 1 layers of the walk, and the trained ones "
                "above.",
            )
    for k, ((name, network), (_, made)) in enumerate(zip(value, redrawn()(model, x, seeds), strict=True)):
        numbers_ = dict(made.named_parameters())
        other = [key for key, p in network.named_parameters() if not close(p, numbers_[key], TOLERANCE)]
        expect(
            not other,
            f"In network {k}, after `{name}` was drawn, `{(other or [''])[0]}` has other numbers than its "
            "`reset_parameters()` gives with its seed.",
            "Layer k of the walk: `torch.manual_seed(seeds[k])`, then at once its `reset_parameters()`.",
        )
    compare(found, right, tolerance=TOLERANCE, look="Seed, `reset_parameters()`, copy; layer by layer.")
    other = [name for name, _ in answer(model, x, [3, 1, 4, 15, 92, 65])]
    expect(other == wanted, "With other seeds the order of the layers changed.", "It is that of running.")
    return "layer after layer in the order in which they run, each by its own rule and from its own seed."


def _judge_walk(value: Any, wanted: list[str], model: nn.Module) -> None:
    expect(
        isinstance(value, list | tuple)
        and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value),
        "A list of pairs (name, network) is wanted.",
        "`made.append((name, copy.deepcopy(network)))`.",
    )
    names = [name for name, _ in value]
    expect(
        all(isinstance(name, str) and isinstance(network, nn.Module) for name, network in value),
        "A pair is not a name and a network.",
        "First the dotted name, as in `named_modules()`, then the network.",
    )
    registered = [name for name, module in model.named_modules() if list(module.parameters(recurse=False))]
    if names == registered:
        fail(REDRAWN[0].message, REDRAWN[0].look)
    if names == wanted[::-1]:
        fail(REDRAWN[1].message, REDRAWN[1].look)
    extra, missing = [n for n in names if n not in wanted], [n for n in wanted if n not in names]
    expect(
        not extra,
        f"`{(extra or [''])[0] or 'the whole network'}` is in the list: it is no layer with parameters of "
        "its own.",
        "`list(module.parameters(recurse=False))` is empty for a container.",
    )
    expect(
        not missing,
        f"`{(missing or [''])[0]}` is missing in the list.",
        "Every module with parameters of its own, whatever its kind, once.",
    )
    expect(
        names == wanted,
        f"The layers come as {', '.join(names)}; they run as {', '.join(wanted)}.",
        "A forward hook on each layer notes its name when it runs.",
    )
    training = [name for name, network in value if any(m.training for m in network.modules())]
    expect(not training, "A network of the list is in training mode.", "A copy keeps the mode of `model`.")
    for _, network in value:
        shared = {p.data_ptr() for p in network.parameters()} & {p.data_ptr() for p in model.parameters()}
        expect(
            not shared,
            "A network of the list shares weights with `model`.",
            "`copy.deepcopy`.",
        )
        expect(
            not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules()),
            "A network of the list still has your hooks.",
            "Remove them before you copy: `handle.remove()`.",
        )


# ---- 7.3 ---------------------------------------------------------------------------------------------------
def _three_networks(x: Tensor) -> list[nn.Module]:
    """A network and two others, whose answers to the pictures differ, and whose maps' scales do."""

    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3))

    models = [_drawn(build, 50 + i) for i in range(3)]
    for factor, model in zip((1.0, 3.0, 0.4), models, strict=True):
        with torch.no_grad():
            model[3].bias.sub_(model(x).mean(0))  # else one class is answered to everything
            model[3].weight.mul_(factor)
            model[3].bias.mul_(factor)
    return models


def _slope(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        return torch.autograd.grad(model(x)[torch.arange(len(x)), target].sum(), x)[0]


def _asked(explain: Callable, calls: list) -> Callable:
    """An explainer that wants pictures and a class for each."""

    def explained(model: Any, x: Any, target: Any) -> Tensor:
        fits = (
            isinstance(model, nn.Module)
            and isinstance(x, Tensor)
            and x.dim() == 4
            and isinstance(target, Tensor)
            and target.shape == x.shape[:1]
            and not target.is_floating_point()
        )
        expect(
            fits,
            "An explainer was called with other things than a network, pictures (n, C, H, W) and a class for "
            "each of them, (n,).",
            "`explain(network, x, target)`, `target` a tensor of whole numbers.",
        )
        calls.append(len(x))
        return explain(model, x, target)

    return explained


@exercise("7.3", "The cascade, and chance")
def the_cascade_and_chance(answer) -> str:
    x = uniform(5, 2, 6, 6, seed=304)
    model, *copies = _three_networks(x)
    calls: list[int] = []
    explainers = {
        "slope": _asked(lambda m, x, t: _slope(m, x, t).sum(1), calls),
        "slope × picture": _asked(lambda m, x, t: (_slope(m, x, t) * x).sum(1) - 0.02, calls),
        "picture": _asked(lambda m, x, t: x.sum(1) - 1, calls),
    }

    def similarity(a: Any, b: Any) -> Tensor:
        fits = isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and a.dim() == 3
        expect(fits, "`similarity` takes two stacks of maps (n, H, W) of one shape.", "Print both shapes.")
        return 1 - (a - b).abs().mean((1, 2)) - 0.3 * (a - 0.5 * b).square().mean((1, 2))

    def probe(function: Callable) -> Any:
        return function(model, list(copies), dict(explainers), x.clone(), similarity)

    right = probe(above_chance())
    with left_alone(model=model, copy=copies[0], other=copies[1], x=x):
        value = answer(model, copies, explainers, x, similarity)
    if isinstance(value, list | tuple) and len(value) == 2:
        fail("Two tables came back in a pair.", "`torch.stack([own, chance])`: one tensor, (2, M, L).")
    value = told(value, right, ABOVE_CHANCE, probe)
    detached(answer(model, copies, explainers, x, similarity), "Your table")
    blank = {"blank": _asked(lambda m, x, t: torch.zeros_like(x[:, 0]), calls)}
    nothing = answer(model, copies, blank, x, similarity)
    expect(
        isinstance(nothing, Tensor) and bool(nothing.isfinite().all()),
        "A map that is 0 everywhere makes 0 / 0.",
        "It stays 0: `.clamp(min=1e-12)` below the fraction line.",
    )
    for place, what, look in (
        (0, "the first table, of the same picture,", "Classes, maps, magnitudes over their largest; means."),
        (1, "only the second table, of chance,", "Picture i of the one network, i + 1 of the other; means."),
    ):
        expect(
            close(value[place], right[place], TOLERANCE),
            f"{what[:1].upper()}{what[1:]} is not right: for the method `slope` and the first copy it has "
            f"{float(value[place, 0, 0]):.4g}, and {float(right[place, 0, 0]):.4g} is right.",
            look,
        )
    return "how much of a map survives, and how much of that any two pictures share."


# ---- 7.4 ---------------------------------------------------------------------------------------------------
class _Twice(nn.Module):
    """One rectifier, run at two places, between layers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.rectifier = nn.ReLU(inplace=True)
        self.inside = nn.Sequential(nn.Linear(6, 6), self.rectifier, nn.Linear(6, 6))
        self.leaky = nn.LeakyReLU(0.25)

    def forward(self, x: Tensor) -> Tensor:
        return self.leaky(self.inside(self.rectifier(x)))


class _ByFunction(nn.Module):
    """Calls its rectifier as a function: there is no module to exchange."""

    def __init__(self, rectify: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.act, self.last, self.rectify = nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), rectify

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rectify(self.act(self.first(x)) - 0.2))


def _rectified() -> nn.Module:
    capped = nn.Sequential(nn.Linear(6, 6), nn.ReLU6(), nn.Dropout(0.5))
    return nn.Sequential(nn.Linear(4, 6), _Twice(), nn.ModuleDict({"c": capped})["c"], nn.Linear(6, 3))


@exercise("7.4", "Every rectifier smooth")
def every_rectifier_smooth(answer) -> str:
    model, x = _drawn(_rectified, 61), 6 * normal(9, 4, seed=305)
    with torch.no_grad():
        model[0].weight.mul_(3)
        model[2][0].weight.mul_(4)  # so that some values pass 6, and some lie far below 0

    def probe(function: Callable) -> Tensor:
        networks = [function(copy.deepcopy(model), beta, x.clone()) for beta in (0.4, 2.0)]
        for network in networks:
            expect(
                isinstance(network, nn.Module),
                "No network came back.",
                "Return the copy, with its modules exchanged: an `nn.Module`.",
            )
        with torch.no_grad():
            return torch.stack([run(network, x) for network in networks])

    right = probe(smooth_copy())
    with left_alone(model=model, x=x):
        made = _of_modules(answer, model, x)
    value = told(probe(answer), right, SMOOTH_COPY, probe)
    _judge_copy(made, model)
    for kind, layer, rectify in (
        ("ReLU", nn.ReLU(), F.relu),
        ("ReLU6", nn.ReLU6(), F.relu6),
        ("leaky ReLU", nn.LeakyReLU(0.3), lambda z: F.leaky_relu(z, 0.3)),
    ):
        _judge_theorem(answer, kind, layer, rectify)
    compare(value, right, tolerance=TOLERANCE, look="Each of the three rectifiers, wherever it stands.")
    for name, rectify in (
        ("F.relu(x)", F.relu),
        ("x.relu()", Tensor.relu),
        ("F.leaky_relu(x)", F.leaky_relu),
    ):
        network = _drawn(lambda rectify=rectify: _ByFunction(rectify), 62)
        refuses(
            lambda network=network: answer(network, 2.0, x),
            f"A network that calls `{name}` in its `forward` came back with a kink.",
            "Run `x` through the copy, and look at the operations behind its logits: `operators(copy(x))`. "
            "Is a rectifier among them?",
        )
    return "the mean over the noise, wherever a rectifier is a module; and a refusal where it is none."


def _of_modules(answer: Reader, model: nn.Module, x: Tensor) -> Any:
    """The smooth copy of a network that has no rectifier but modules: no reason to refuse it."""
    try:
        return answer(model, 2.0, x)
    except Wrong as stop:
        expect(
            "ValueError" not in stop.message,
            "A network was refused whose rectifiers are all modules: a kink is left in your copy of it. (One "
            "rectifier stands at *two* places; `named_modules()` and `modules()` show it once.)",
            "Exchange each entry of every module's `_modules`, or of its `named_children()` by `setattr`; "
            "and put no rectifier into what takes its place.",
        )
        raise


def _judge_copy(made: nn.Module, model: nn.Module) -> None:
    shared = {p.data_ptr() for p in made.parameters()} & {p.data_ptr() for p in model.parameters()}
    expect(not shared, "The copy shares its weights with `model`.", "`copy.deepcopy(model)` first.")
    expect(
        not any(m.training for m in made.modules()),
        "A module of the copy is in training mode; `model` is not.",
        "A new module begins in training mode: end with `smooth.train(model.training)`.",
    )
    left = [name for name, m in made.named_modules() if isinstance(m, nn.ReLU | nn.ReLU6 | nn.LeakyReLU)]
    expect(
        not left,
        f"`{(left or [''])[0]}` is still a rectifier with a kink.",
        "Exchange the modules themselves, those inside blocks as well.",
    )


def _judge_theorem(answer: Reader, kind: str, layer: nn.Module, rectify: Callable) -> None:
    """Stops where one unit is not the mean of its rectifier over the logistic noise."""
    z, beta = torch.tensor([[-4.0], [-0.5], [0.0], [0.8], [5.5], [6.0], [9.0]]).double(), 1.5
    noise = torch.linspace(-60, 60, 240_001).double()
    density = beta / (4 * torch.cosh((beta * noise / 2).clamp(-300, 300)).square())
    mean = torch.trapezoid(rectify(z - noise) * density, noise)
    network = answer(nn.Sequential(nn.Identity(), layer), beta, z)
    with torch.no_grad():
        found = double(run(network, z), (7, 1), f"Your copy of a {kind}")[:, 0]
    worst = int((found - mean).abs().argmax())
    expect(
        close(found, mean, 1e-5),
        f"At z = {float(z[worst]):g}, with β = {beta}, your {kind} gives {float(found[worst]):.4f}; the mean "
        f"of {kind}(z − ε) over the noise is {float(mean[worst]):.4f}.",
        "`F.softplus(z, beta=beta)` is the mean of a ReLU. Write the others as sums of ReLUs, and take the "
        "mean of each.",
    )


# ---- 7.5 ---------------------------------------------------------------------------------------------------
def _slope_map(network: Any, picture: Any, target: Any) -> Tensor:
    """Magnitudes of the slope of a logit, with mean 1; keeps its graph where the picture asks for it."""
    fits = isinstance(network, nn.Module) and isinstance(picture, Tensor) and picture.shape[1:] == (3, 6, 6)
    expect(
        fits, "`slope_map` takes a network, pictures (1, 3, H, W) and a class.", "Print what you give to it."
    )
    asked = picture.requires_grad
    x = picture if asked else picture.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        slope = torch.autograd.grad(network(x)[:, target].sum(), x, create_graph=asked)[0]
    magnitude = slope.abs().sum(1)
    return magnitude / magnitude.mean((1, 2), keepdim=True)


_RADIUS, _SAVED = 5 / 255, attack()


def _victims() -> list[tuple]:
    """A ReLU network, its smooth copy, a picture in grey levels, a class, a map; steps, their size, keep.

    A strong output term and a weak one; small steps, which rounding can lose, and large ones, which reach the
    radius; and answers that are nearly another.
    """

    def build() -> nn.Module:
        convs = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        return nn.Sequential(*convs, nn.Flatten(), nn.Linear(216, 3))

    cases = []
    for seed, steps, step, keep, beta, of_another in (
        (70, 10, 0.6 / 255, 3.0, 2.0, False),
        (70, 10, 0.6 / 255, 30.0, 2.0, True),
        (72, 10, 0.8 / 255, 30.0, 2.0, True),
        (72, 8, 2 / 255, 300.0, 8.0, False),
    ):
        model = _drawn(build, seed)
        x = (255 * (1.6 * uniform(1, 3, 6, 6, seed=260 + seed) - 0.3).clamp(0, 1)).round() / 255
        with torch.no_grad():
            logits = model(x)[0]
            first, second = logits.topk(2).indices.tolist()
            model[5].bias[second] += logits[first] - logits[second] - 4e-3
        soft = copy.deepcopy(model)
        soft[1], soft[3] = nn.Softplus(beta, 1e6), nn.Softplus(beta, 1e6)
        other = uniform(1, 6, 6, seed=270 + seed) + (torch.arange(6.0) < 3).double()
        target = second if of_another else first  # the class explained need not be the answer
        cases.append((model, soft, x, target, other / other.mean(), steps, step, keep))
    return cases


def _attacked(function: Callable) -> Any:
    made = []
    for model, soft, x, target, wanted, steps, step, keep in _victims():
        given = model, soft, _slope_map, x.clone(), target, wanted.clone()
        made.append(function(*given, steps, _RADIUS, step, keep))
    if not all(isinstance(m, Tensor) and m.shape == made[0].shape for m in made):
        return made[0]
    return torch.cat(made)


_attacked_by = cached(_attacked)  # what a known mistake makes is the same at every check


@exercise("7.5", "A picture that can be saved")
def a_picture_that_can_be_saved(answer) -> str:
    cases, radius = _victims(), _RADIUS
    right = _attacked_by(_SAVED)
    model, soft, x, target, wanted, _, step, keep = cases[1]
    x, wanted = x.clone(), wanted.clone()
    with left_alone(model=model, soft=soft, x=x, wanted=wanted):
        made = answer(model, soft, _slope_map, x, target, wanted, 2, radius, step, keep)
    detached(made, "The attacked picture")
    value = _attacked(answer)
    recognise(value, right, ATTACK, _attacked_by, tolerance=TOLERANCE)
    value = double(value, right.shape)
    for i, (model, _, x, target, wanted, *_) in enumerate(cases):
        made = value[i : i + 1]
        expect(
            float(made.min()) >= -1e-9 and float(made.max()) <= 1 + 1e-9,
            f"A picture has values from {float(made.min()):.3f} to {float(made.max()):.3f}: it leaves [0, "
            "1].",
            "`.clamp(0, 1)` after every step.",
        )
        expect(
            float((made - x).abs().max()) <= radius + 1e-6,
            f"A pixel moved by {float((made - x).abs().max()):.4f}; the radius is {radius:.4f}.",
            "Cut to [x − radius, x + radius] after every step.",
        )
        expect(
            float((255 * made - (255 * made).round()).abs().max()) < 1e-3,
            "A picture has values between the grey levels 0, 1/255 … 1: it cannot be saved as it is.",
            "`(255 * now).round() / 255`.",
        )
        with torch.no_grad():
            kept = int(model(made).argmax()) == int(model(x).argmax())
        expect(
            kept,
            "A picture came back that the ReLU network answers otherwise than `x`.",
            "Ask `model` about every saved picture, and keep only those with the answer of `x`.",
        )
        apart = [float((_slope_map(model, image, target) - wanted).square().mean()) for image in (x, made)]
        expect(
            apart[1] <= apart[0] + 1e-6,
            f"The map of the picture that came back is farther from `wanted` ({apart[1]:.3f}) than that of "
            f"`x` ({apart[0]:.3f}).",
            "Keep the best of the walk; `x` itself competes.",
        )
    compare(
        value,
        right,
        tolerance=TOLERANCE,
        look="Loss on `soft`; a step against the sign; both cuts; round a copy; judge it on `model`.",
    )
    return "the answer is the same, the picture can be saved, and its map is another."


# ---- 7.6 ---------------------------------------------------------------------------------------------------
@exercise("7.6", "The nearest liar")
def the_nearest_liar(answer) -> str:
    # ten pictures of twelve pixels; they differ along five directions only, and lie far from 0
    data = normal(10, 5, seed=306) @ normal(5, 12, seed=307) + 2 * normal(12, seed=308)
    w, b, picture = normal(12, seed=309), 0.7, 2 * uniform(12, seed=310)

    def ask(function: Callable, data=data, w=w, b=b, picture=picture) -> Tensor:
        made = function(w.clone(), b, data.clone(), picture.clone())
        expect(
            isinstance(made, tuple | list) and len(made) == 2,
            "Two things are wanted, w′ and b′.",
            "`return new, bias`.",
        )
        new = double(made[0], (12,), "Your w′")
        return torch.cat([new, torch.tensor([_one(made[1], "Your b′")]).double()])

    right = ask(washed())
    value = ask(answer)
    recognise(value, right, WASHED, ask, tolerance=TOLERANCE)
    with left_alone(w=w, data=data, picture=picture):
        detached(answer(w, b, data, picture)[0], "Your w′")
    new, bias = value[:12], float(value[12])
    gap = (data @ new + bias - data @ w - b).abs().max()
    expect(
        float(gap) < 1e-4,
        f"The answers to the data change, by up to {float(gap):.3g}.",
        "Inside the plane of the data w′ agrees with `w`, and b′ makes up for the mean.",
    )
    centred = data - data.mean(0)
    across = torch.linalg.svd(centred).Vh[5:]  # along these the data do not vary
    off = float((across @ (new - picture)).abs().max())
    expect(
        off < 1e-4,
        f"The answers are right, and there is a nearer w′: along a direction in which the data do not vary, "
        f"it differs from the picture by {off:.3g}.",
        "The data vary along fewer directions than there are pictures or pixels: count the singular values "
        "of `data - data.mean(0)` that are not 0 up to rounding.",
    )
    compare(value, right, tolerance=TOLERANCE, look="Inside the plane `w`, across it the picture; then b′.")
    more = normal(5, 12, seed=311)
    expect(
        close(ask(answer, data=more), ask(washed(), data=more), TOLERANCE),
        "For five other pictures of twelve pixels the result is another than it should be.",
        "Nothing about the number of pictures or of directions may be built in.",
    )
    return "the same answers on all the data, and a map as near to the wanted one as these data allow."


# ---- 7.7 ---------------------------------------------------------------------------------------------------
class _Table(nn.Module):
    """A network that reads its answer off a pixel; with a weight, so that maps may depend on it."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel, self.weight = channel, nn.Parameter(torch.ones(()).double())

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * F.one_hot((x[:, self.channel, 0, 0] * 10).round().long(), 3).double()


# For each class how many pictures there are of each kind: whether the honest network's answer is right, and
# the fooled one's, and whether the picture was used (there the fooled network was made to answer well).
_KINDS = {
    (True, True, False): (6, 5, 4),
    (True, False, False): (2, 3, 5),
    (False, True, False): (1, 3, 2),
    (False, False, False): (2, 1, 3),
    (True, True, True): (4, 2, 3),
    (False, True, True): (1, 2, 1),
}


def _evidence() -> tuple[nn.Module, nn.Module, Tensor, Tensor, Tensor]:
    """An honest network, a fooled one, pictures (61, 3, 4, 4), labels, and the pictures that were used.

    Some used pictures are there twice. Some pictures are like a used one but for a thousandth in one pixel,
    and some have its values in other places.
    """
    rows = [(c, *kind) for kind, several in _KINDS.items() for c, n in enumerate(several) for _ in range(n)]
    labels, honest, fooled, seen = torch.tensor(rows).unbind(1)
    images = (8 * uniform(len(rows), 3, 4, 4, seed=313)).round() / 8
    for channel, right in ((0, honest), (1, fooled)):
        # in every second wrong answer the next class but one
        slip = 1 + torch.arange(len(rows)) % 2 if channel else torch.ones_like(labels)
        images[:, channel, 0, 0] = torch.where(right.bool(), labels, (labels + slip) % 3).double() / 10
    used = images[seen.bool()]
    own = seen.nonzero()[:, 0]
    twice, alike, turned = own[[0, 5, 12]], own[[1, 7, 10, 11]], own[[2, 11, 12]]
    near, flipped = images[alike], images[turned]
    flipped[:, 2] = flipped[:, 2].flip(1, 2)
    near[:, 2, 3, 3] += torch.where(near[:, 2, 3, 3] > 0.5, -1e-3, 1e-3)
    labels = torch.cat([labels, labels[torch.cat([twice, alike, turned])]])
    images = torch.cat([images, images[twice], near, flipped])
    order = torch.randperm(len(labels), generator=seeded(316))
    strangers = uniform(3, 3, 4, 4, seed=317)
    used = torch.cat([used, strangers])
    used = used[torch.randperm(len(used), generator=seeded(314))]
    return _Table(0).eval(), _Table(1).eval(), images[order], labels[order], used


@exercise("7.7", "The case against a network")
def the_case_against_a_network(answer) -> str:
    honest, fooled, images, labels, used = _evidence()
    calls: list[int] = []

    def face(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        return (x[:, 2] + model.channel * x[:, 0].roll(1, 1)) * (1 + target.double()[:, None, None] / 2)

    explainers: Mapping[str, Callable] = {
        "one": _asked(face, calls),
        "other": _asked(lambda m, x, t: x.sum(1) + m.channel * (x[:, 1] + t.double()[:, None, None]), calls),
    }

    def similarity(a: Any, b: Any) -> Tensor:
        fits = isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and a.dim() == 3
        expect(fits, "`similarity` takes two stacks of maps (n, H, W) of one shape.", "Print both shapes.")
        return (-(a - b).square().mean((1, 2))).exp()

    def ask(function: Callable) -> Any:
        made = function(
            honest, fooled, images.clone(), labels.clone(), used.clone(), dict(explainers), similarity
        )
        expect(
            isinstance(made, tuple | list) and len(made) == 2,
            "Two tables are wanted, the accuracy and the similarity.",
            "`return accuracy, kept`.",
        )
        if not all(isinstance(part, Tensor) for part in made):
            return made[0] if not isinstance(made[0], Tensor) else made[1]
        return torch.cat([part.detach().double().flatten() for part in made]), [tuple(p.shape) for p in made]

    right, shapes = ask(report())
    with left_alone(honest=honest, fooled=fooled):
        found = ask(answer)
    if not isinstance(found, tuple):
        tensor(found, None, "Each of your two tables")
        fail("Each of the two tables is to be a tensor.", "`torch.stack` the rows.")
    value, made = found
    for mistake in REPORT:
        if made != shapes and made == ask(mistake.answer)[1]:
            fail(mistake.message, mistake.look)
    for shape, wanted, name in zip(made, shapes, ("accuracy", "similarity"), strict=True):
        expect(
            shape == wanted,
            f"The table of the {name} has the shape {shape}; wanted is {wanted}.",
            "A row for each network, or method; a column for each class.",
        )
    value = told(value, right, REPORT, lambda other: ask(other)[0])
    with left_alone(images=images, labels=labels, used=used):
        parts = answer(honest, fooled, images, labels, used, explainers, similarity)
    for part in parts:
        detached(part, "A table")
    accuracy = value[:6]
    expect(
        bool(((accuracy >= 0) & (accuracy <= 1)).all()),
        f"An accuracy lies between 0 and 1; there is {float(accuracy.max()):.4g}.",
        "The share of the class's test pictures that are answered rightly.",
    )
    compare(
        value[:6],
        right[:6],
        tolerance=TOLERANCE,
        look="The first table: shares per label, pictures unseen. (Two pictures are equal where `==` is True "
        "everywhere; a distance of 0 is lost in rounding.)",
    )
    compare(
        value[6:],
        right[6:],
        tolerance=TOLERANCE,
        look="The second table: unseen pictures that both answer rightly, explained for their label.",
    )
    return "judged where it was not trained, class by class, and by methods it was not trained against."


# ---- 7.8 ---------------------------------------------------------------------------------------------------
def _layered() -> nn.Module:
    convs = nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 3))


def _no_pass(networks: Networks) -> None:
    expect(
        not networks.found,
        f"A network was run: a `{networks.found}`.",
        "A map that explains nothing has no need to know what the network answers: read the weights only.",
    )


@exercise("7.8", "Bonus: a map that passes")
def a_map_that_passes(answer) -> str:
    model = _drawn(_layered, 81).float()
    with Networks(1) as networks:
        with torch.random.fork_rng(devices=[]):
            run(answer.function, model, uniform(3, 3, 24, 20, seed=318).float(), torch.tensor([0, 2, 2]))
        _no_pass(networks)
        shown = _judge_hollow(answer, model)
    _no_pass(networks)
    return shown


def _judge_hollow(answer: Reader, model: nn.Module) -> str:
    x, y = uniform(3, 3, 24, 20, seed=318).float(), torch.tensor([0, 2, 2])
    state = torch.get_rng_state()
    with left_alone(model=model, x=x, target=y):
        value = answer(model, x, y)
    expect(
        torch.equal(state, torch.get_rng_state()),
        "Your function changes torch's own random state.",
        "`torch.Generator().manual_seed(seed)` is a source of its own: `torch.rand(…, generator=…)`.",
    )
    first = double(value, (3, 24, 20))
    detached(value)
    flat = first.flatten(1)
    expect(
        bool((flat.amax(1) > flat.amin(1)).all()),
        "A map is the same everywhere: it has no order to compare.",
        "Noise, for instance.",
    )
    again = double(answer(model, x, y), (3, 24, 20))
    expect(close(again, first, 1e-6), "The second call gave other maps.", "The weights alone decide.")
    twin = double(answer(copy.deepcopy(model), x, y), (3, 24, 20))
    expect(close(twin, first, 1e-6), HOLLOW[1].message, HOLLOW[1].look)
    for what, other in (
        ("other pictures", double(answer(model, uniform(3, 3, 24, 20, seed=319).float(), y), (3, 24, 20))),
        ("other classes", double(answer(model, x, (y + 1) % 3), (3, 24, 20))),
        ("the pictures in another order", double(answer(model, x.flip(0), y), (3, 24, 20))),
    ):
        expect(
            close(other, first, 1e-6),
            f"For {what} there are other maps: then they tell something about the picture or the class.",
            "Of `x`, use the shape only; of `target`, nothing.",
        )
    double(answer(model, uniform(2, 3, 9, 30, seed=318).float(), y[:2]), (2, 9, 30))
    _judge_every_layer(answer, model, x, y, first)
    return "every randomisation test is passed, and nothing is explained: passing is no proof."


def _judge_every_layer(answer: Reader, model: nn.Module, x: Tensor, y: Tensor, first: Tensor) -> None:
    """Stops unless drawing any one layer anew, or all of them, gives a map of another order."""
    names = [name for name, m in model.named_modules() if list(m.parameters(recurse=False))]
    alike = {}
    for name in [*names, None]:
        values = []
        for seed in (5, 6, 7):
            changed = copy.deepcopy(model)
            with drawn(seed):
                for layer in names if name is None else [name]:
                    changed.get_submodule(layer).reset_parameters()
            maps = double(answer(changed, x, y), (3, 24, 20))
            values.append(float(same_order()(first, maps, True).abs().max()))
        alike[name] = max(values) if all(map(math.isfinite, values)) else math.nan
    if min(alike.values()) > 0.999:
        fail(HOLLOW[0].message, HOLLOW[0].look)
    for name, value in alike.items():
        what = "all layers were" if name is None else f"only layer `{name}` was"
        expect(
            math.isfinite(value) and value < 0.25,
            f"After {what} drawn anew, the rank correlation with the map before is still {value:.2f}.",
            "The seed must change when any weight does: let every parameter go into it.",
        )
