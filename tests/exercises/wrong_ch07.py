"""Wrong answers to the exercises of chapter 7, as people give them; and right ones that look unlike ours.

The mistakes that a check recognises by what they give stand beside it, in ``ch07_mistakes.py``, and each is
handed in by the tests. Here they are written anew, from the statement alone, with what a check finds
otherwise: a property, a shape, a side effect.
"""

import copy

import torch
import torch.nn.functional as F
from planted import Wrong
from scipy.stats import spearmanr
from torch import nn

from xai_course.checks.ch07_mistakes import (
    _every_weight,
    above_chance,
    attack,
    hollow,
    redrawn,
    report,
    same_order,
    smooth_copy,
    washed,
)
from xai_lib.attacks import softened
from xai_lib.similarity import rank_correlation


# ---- 7.1 ----
def by_the_library(a, b, magnitudes):
    return rank_correlation(a.abs(), b.abs()) if magnitudes else rank_correlation(a, b)


def by_scipy(a, b, magnitudes):
    pairs = zip(*((m.abs() if magnitudes else m).flatten(1).numpy() for m in (a, b)), strict=True)
    return torch.tensor([0.0 if b.std() == 0 else spearmanr(a, b).statistic for a, b in pairs])


def sorted_twice(a, b, magnitudes):
    ranks = [
        m.flatten(1).argsort(dim=1, stable=True).argsort(dim=1).double()
        for m in ((a.abs(), b.abs()) if magnitudes else (a, b))
    ]
    return torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(*ranks, strict=True)])


def always_magnitudes(a, b, magnitudes):
    return rank_correlation(a.abs(), b.abs())


def in_place_magnitudes(a, b, magnitudes):
    if magnitudes:
        a.abs_(), b.abs_()
    return rank_correlation(a, b)


def by_sign(a, b, magnitudes):
    """Shares of pairs in the same order, as Kendall does."""
    a, b = ((m.abs() if magnitudes else m).flatten(1) for m in (a, b))
    return ((a[:, :, None] - a[:, None]).sign() * (b[:, :, None] - b[:, None]).sign()).mean((1, 2))


def sorted_anyhow(a, b, magnitudes):
    """Two `argsort`, whose order of equal values nobody knows."""
    a, b = ((m.abs() if magnitudes else m).flatten(1) for m in (a, b))
    r, s = (m.argsort(1).argsort(1).double() for m in (a, b))
    flat = (a.amax(1) == a.amin(1)) | (b.amax(1) == b.amin(1))
    r, s = (v - v.mean(1, keepdim=True) for v in (r, s))
    return torch.where(flat, 0.0, (r * s).sum(1) / (r.norm(dim=1) * s.norm(dim=1)))


# ---- 7.2 ----
def _ran(model, x):
    names, handles = [], []
    for name, module in model.named_modules():
        if len(list(module.parameters(recurse=False))):
            handles.append(
                module.register_forward_pre_hook(lambda module, given, name=name: names.append(name))
            )
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return names


def from_the_start_each_time(model, x, seeds):
    """Draws the first k + 1 layers again for each network: slow, and right."""
    made, names = [], _ran(model, x)
    state = torch.get_rng_state()
    for k in range(len(names)):
        network = copy.deepcopy(model)
        for name, seed in zip(names[: k + 1], seeds, strict=False):
            torch.manual_seed(seed)
            network.get_submodule(name).reset_parameters()
        made.append([names[k], network])
    torch.set_rng_state(state)
    return made


def leaves_the_seed(model, x, seeds):
    made, current = [], copy.deepcopy(model)
    for name, seed in zip(_ran(model, x), seeds, strict=False):
        torch.manual_seed(seed)
        current.get_submodule(name).reset_parameters()
        made.append((name, copy.deepcopy(current)))
    return made


def draws_the_model_itself(model, x, seeds):
    made = []
    for name, seed in zip(_ran(model, x), seeds, strict=False):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model.get_submodule(name).reset_parameters()
        made.append((name, copy.deepcopy(model)))
    return made


def by_kind(model, x, seeds):
    kinds = nn.Linear, nn.Conv2d
    return redrawn(order=lambda m, x: [n for n in _ran(m, x) if isinstance(m.get_submodule(n), kinds)])(
        model, x, seeds
    )


def hooks_left(model, x, seeds):
    model = copy.deepcopy(model)
    names = []
    for name, module in model.named_modules():
        if list(module.parameters(recurse=False)):
            module.register_forward_hook(lambda *given, name=name: names.append(name))
    model(x)
    return redrawn(order=lambda m, x: list(dict.fromkeys(names)))(model, x, seeds)


def shallow(model, x, seeds):
    return redrawn(keep=copy.copy)(model, x, seeds)


# ---- 7.3 ----
def loops(model, copies, explainers, x, similarity):
    target = model(x).argmax(1)
    table = torch.zeros(2, len(explainers), len(copies))
    for i, explain in enumerate(explainers.values()):
        for j, network in enumerate(copies):
            a, b = (
                torch.stack([m / m.max() if m.max() > 0 else m for m in explain(n, x, target).abs()])
                for n in (model, network)
            )
            table[0, i, j] = similarity(a, b).mean()
            table[1, i, j] = similarity(a, torch.cat([b[1:], b[:1]])).mean()
    return table


def picture_by_picture(model, copies, explainers, x, similarity):
    """Explains one picture at a time."""
    single = {
        name: lambda m, x, t, explain=explain: torch.cat(
            [explain(m, x[i : i + 1], t[i : i + 1]) for i in range(len(x))]
        )
        for name, explain in explainers.items()
    }
    return above_chance()(model, copies, single, x, similarity)


def no_classes(model, copies, explainers, x, similarity):
    return torch.stack(
        [
            torch.stack([similarity(e(model, x, None), e(n, x, None)).mean() for n in copies])
            for e in explainers.values()
        ]
    )


def blank_is_nan(model, copies, explainers, x, similarity):
    def size(maps):
        return maps.abs() / maps.abs().amax((1, 2), keepdim=True)

    return above_chance(before=size, after=size)(model, copies, explainers, x, similarity)


def trains(model, copies, explainers, x, similarity):
    model.train()
    return above_chance()(model, copies, explainers, x, similarity)


# ---- 7.4 ----
def by_setattr(model, beta, x):
    made = copy.deepcopy(model)

    def walk(module):
        for name in list(module._modules):
            child = module._modules[name]
            if isinstance(child, nn.LeakyReLU):
                setattr(module, name, Formula(lambda z, a=child.negative_slope: a * z + (1 - a) * soft(z)))
            elif isinstance(child, nn.ReLU6):
                setattr(module, name, Formula(lambda z: soft(z) - soft(z - 6)))
            elif isinstance(child, nn.ReLU):
                setattr(module, name, Formula(soft))
            else:
                walk(child)

    def soft(z):
        return torch.logaddexp(torch.zeros_like(z), beta * z) / beta

    walk(made)
    made.train(model.training)
    names = str(graph(made(x.clone().requires_grad_())))
    if "Relu" in names or "Hardtanh" in names:
        raise ValueError("a rectifier is left")
    return made


class Formula(nn.Module):
    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def forward(self, z):
        return self.rule(z)


def graph(value):
    names, waiting = [], [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            names.append(node.name())
            waiting += [before for before, _ in node.next_functions]
    return names


def everything_smooth(model, beta, x):
    """The library's own: it exchanges functions, too, and refuses none; a leaky ReLU it leaves."""
    return softened(model, beta)


def named_once(model, beta, x):
    made = copy.deepcopy(model)
    for name, module in list(made.named_modules()):
        if isinstance(module, nn.ReLU | nn.ReLU6 | nn.LeakyReLU):
            parent, _, last = name.rpartition(".")
            slope = getattr(module, "negative_slope", 0.0)
            six = isinstance(module, nn.ReLU6)
            setattr(
                made.get_submodule(parent),
                last,
                Formula(
                    lambda z, a=slope, six=six: (
                        F.softplus(z, beta)
                        - a * F.softplus(-z, beta)
                        - (F.softplus(z - 6, beta) if six else 0)
                    )
                ),
            )
    made.train(model.training)
    if "Relu" in str(graph(made(x.clone().requires_grad_()))):
        raise ValueError("a rectifier is left")
    return made


def in_training(model, beta, x):
    made = smooth_copy()(model, beta, x)
    return made.train()


def not_a_copy(model, beta, x):
    made = copy.deepcopy(model)
    twin = smooth_copy()(made, beta, x)
    for a, b in zip(twin.parameters(), model.parameters(), strict=True):
        a.data = b.data
    return twin


def sees_only_relu(model, beta, x):
    made = smooth_copy(refuse=False)(model, beta, x)
    if "ReluBackward0" in graph(made(x.clone().requires_grad_())):
        raise ValueError("a rectifier is left")
    return made


# ---- 7.5 ----
def written_out(model, soft, slope_map, x, target, wanted, steps, radius, step, keep):
    g = model(x).detach()
    best, score = x.clone(), ((slope_map(model, x, target) - wanted) ** 2).mean().item()
    picture = x.clone()
    for _ in range(steps):
        leaf = picture.clone().requires_grad_(True)
        heat, logits = slope_map(soft, leaf, target), soft(leaf)
        loss = ((heat - wanted) ** 2).mean() + keep * ((logits - g) ** 2).mean()
        loss.backward(inputs=[leaf])
        picture = (picture - step * leaf.grad.sign()).clamp(0, 1)
        picture = picture.clamp(x - radius, x + radius)
        file = torch.round(picture * 255).div(255)
        off = ((slope_map(model, file, target) - wanted) ** 2).mean().item()
        if model(file).argmax() == g.argmax() and off < score:
            best, score = file, off
    return best


def fills_gradients(model, soft, slope_map, x, target, wanted, steps, radius, step, keep):
    value = attack()(model, soft, slope_map, x, target, wanted, steps, radius, step, keep)
    soft(x).sum().backward()
    return value


def watches_the_class(model, soft, slope_map, x, target, wanted, steps, radius, step, keep):
    """Clamps to the radius around the *last* picture."""
    return attack(hold=lambda now, x, radius: now.clamp(-0.1, 1.1))(
        model, soft, slope_map, x, target, wanted, steps, radius, step, keep
    )


def far_worse(model, soft, slope_map, x, target, wanted, steps, radius, step, keep):
    """The farthest candidate."""
    best, most = x, 0.0
    for k in range(1, 6):
        saved = (255 * (x + (2 * torch.rand(x.shape).double() - 1) * k / 255).clamp(0, 1)).round() / 255
        off = float((slope_map(model, saved, target) - wanted).square().mean())
        if model(saved).argmax() == model(x).argmax() and off > most:
            best, most = saved, off
    return best


def jpeg(model, soft, slope_map, x, target, wanted, steps, radius, step, keep):
    value = attack()(model, soft, slope_map, x, target, wanted, steps, radius, step, keep)
    return (16 * value).round() / 16


# ---- 7.6 ----
def by_lstsq(w, b, data, picture):
    """Least change of the picture that meets the conditions, by a minimum-norm solution."""
    centred = data - data.mean(0)
    change = torch.linalg.lstsq(centred, centred @ (w - picture), driver="gelsd").solution
    new = picture + change
    return new, float(b + data.mean(0) @ (w - new))


def by_pinv(w, b, data, picture):
    centred = data - data[0]
    P = torch.linalg.pinv(centred, rtol=1e-9) @ centred
    new = P @ w + picture - P @ picture
    return [new, data[0] @ (w - new) + b]


def full_qr(w, b, data, picture):
    """The directions of an incomplete rank are taken for directions of the data."""
    basis = torch.linalg.qr((data - data.mean(0)).T).Q
    new = picture + basis @ (basis.T @ (w - picture))
    return new, b + data.mean(0) @ (w - new)


def fixed_rank(w, b, data, picture):
    basis = torch.linalg.svd(data - data.mean(0)).Vh[:5]
    new = picture + basis.T @ (basis @ (w - picture))
    return new, b + data.mean(0) @ (w - new)


def first_is_mean(w, b, data, picture):
    new, _ = washed()(w, b, data, picture)
    return new, b + (w - new).sum()


def centres_in_place(w, b, data, picture):
    value = washed()(w, b, data, picture)
    data -= data.mean(0)
    return value


# ---- 7.7 ----
def in_loops(honest, fooled, images, labels, used, explainers, similarity):
    known = {tuple(u.flatten().tolist()) for u in used}
    places = [i for i in range(len(images)) if tuple(images[i].flatten().tolist()) not in known]
    x, y = images[places], labels[places]
    said = [honest(x).argmax(1), fooled(x).argmax(1)]
    accuracy = torch.zeros(2, 3)
    kept = torch.zeros(len(explainers), 3)
    for k in range(3):
        for row in range(2):
            hits = [int(s) == k for s, own in zip(said[row], y, strict=True) if own == k]
            accuracy[row, k] = sum(hits) / len(hits)
        both = (y == k) & (said[0] == k) & (said[1] == k)
        for row, explain in enumerate(explainers.values()):
            maps = [explain(m, x[both], y[both]) for m in (honest, fooled)]
            kept[row, k] = similarity(*maps).mean()
    return accuracy, kept


def by_the_sum(honest, fooled, images, labels, used, explainers, similarity):
    """A picture counts as used where the sum of its values occurs among the used ones."""
    known = {round(float(u.sum()), 6) for u in used}
    return report(
        tests=lambda images, used: torch.tensor([round(float(x.sum()), 6) not in known for x in images])
    )(honest, fooled, images, labels, used, explainers, similarity)


def by_distance(honest, fooled, images, labels, used, explainers, similarity):
    """Equal up to rounding."""
    return report(tests=lambda images, used: torch.cdist(images.flatten(1), used.flatten(1)).amin(1) > 1e-5)(
        honest, fooled, images, labels, used, explainers, similarity
    )


def one_by_one(honest, fooled, images, labels, used, explainers, similarity):
    """Asks and explains one picture at a time."""

    class Single(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return torch.cat([self.model(x[i : i + 1]) for i in range(len(x))])

    single = {
        name: lambda m, x, t, explain=explain: torch.cat(
            [explain(m.model, x[i : i + 1], t[i : i + 1]) for i in range(len(x))]
        )
        for name, explain in explainers.items()
    }
    return report()(Single(honest), Single(fooled), images, labels, used, single, similarity)


def per_cents(*given):
    accuracy, kept = report()(*given)
    return 100 * accuracy, kept


def one_table(*given):
    return torch.cat(report()(*given))


def as_lists(*given):
    accuracy, kept = report()(*given)
    return accuracy.tolist(), kept.tolist()


def only_the_first(*given):
    accuracy, kept = report()(*given)
    return accuracy, kept[:1]


def explains_the_next_class(*given):
    return report(target=lambda y, answers: (y + 1) % 3)(*given)


# ---- 7.8 ----
def by_the_sum_of_weights(model, x, target):
    total = sum(float(p.detach().double().sum()) for p in model.parameters())
    noise = torch.rand(x.shape[-2:], generator=torch.Generator().manual_seed(int(abs(total) * 1e6)))
    return torch.stack([noise] * len(x))


def stripes(model, x, target):
    """Waves, ever shorter, that hang on the weights."""
    total = sum((i + 1) * p.detach().double().abs().sum() for i, p in enumerate(model.parameters()))
    place = torch.arange(x.shape[-2] * x.shape[-1]).double()
    value = ((place + 1) ** 2 * (1e4 * total)).sin().view(x.shape[-2:])
    return value.expand(len(x), -1, -1).clone()


def last_layer_only(model, x, target):
    seed = int(list(model.parameters())[-1].detach().double().abs().sum() * 1e6)
    noise = torch.rand(x.shape[-2:], generator=torch.Generator().manual_seed(seed))
    return noise.expand(len(x), -1, -1).clone()


def runs_the_network(model, x, target):
    with torch.no_grad():
        seed = int(model(x).abs().sum() * 1e6)
    return torch.rand(x.shape[0], *x.shape[2:], generator=torch.Generator().manual_seed(seed))


def global_seed(model, x, target):
    torch.manual_seed(int(sum(p.detach().abs().sum() for p in model.parameters()) * 1e6))
    return torch.rand(x.shape[-2:]).expand(len(x), -1, -1).clone()


def knows_the_picture(model, x, target):
    return hollow()(model, x, target) * x.mean(1)


def knows_the_classes(model, x, target):
    return hollow(
        read=lambda m: (int.from_bytes(_every_weight(m)[:6], "little") + int(target.sum())).to_bytes(
            8, "little"
        )
    )(model, x, target)


_FREE = torch.Generator().manual_seed(3)  # goes on from call to call

WRONG = {
    "7.1": [
        Wrong("sorted twice", "by their position", (sorted_twice,)),
        Wrong("always magnitudes", "in both results", (always_magnitudes,)),
        Wrong("in place", "changed `a`", (in_place_magnitudes,)),
        Wrong("Kendall", "not 1", (by_sign,)),
        Wrong("batch of one", "shape wanted is (1,)", (lambda a, b, m: by_the_library(
            *((v.abs() if m else v) for v in (a, b)), False
        ).squeeze(),)),
        Wrong("half precision", "values were bent", (lambda a, b, m: same_order()(a.half(), b.half(), m),)),
        Wrong("sorted without care", "by their position", (sorted_anyhow,)),
        Wrong("one number", "One number", (lambda a, b, m: by_the_library(a, b, m).mean(),)),
        Wrong("a list", "`list`", (lambda a, b, m: by_the_library(a, b, m).tolist(),)),
    ],
    "7.2": [
        Wrong("seed left", "random state", (leaves_the_seed,)),
        Wrong("the model", "weights of `model`", (draws_the_model_itself,)),
        Wrong("by kind", "`gain` is missing", (by_kind,)),
        Wrong("hooks", "still has your hooks", (hooks_left,)),
        Wrong("shallow", "one and the same", (shallow,)),
        Wrong("networks only", "list of pairs", (lambda *given: [n for _, n in redrawn()(*given)],)),
        Wrong("containers", "no layer with parameters", (
            lambda m, x, s: [*redrawn()(m, x, s), ("body", copy.deepcopy(m))],
        )),
        Wrong("training", "training mode", (
            lambda m, x, s: [(name, n.train()) for name, n in redrawn()(m, x, s)],
        )),
    ],
    "7.3": [
        Wrong("no class", "other things", (no_classes,)),
        Wrong("blank", "0 / 0", (blank_is_nan,)),
        Wrong("training", "training mode", (trains,)),
        Wrong("a pair", "in a pair", (lambda *given: tuple(loops(*given)),)),
        Wrong("one table", "One table came back", (lambda *given: loops(*given)[0],)),
    ],
    "7.4": [
        Wrong("the library's", "still a rectifier", (everything_smooth,)),
        Wrong("named once", "*two* places", (named_once,)),
        Wrong("training", "training mode", (in_training,)),
        Wrong("shared", "shares its weights", (not_a_copy,)),
        Wrong("refuses none", "No `ValueError`", (smooth_copy(refuse=False),)),
        Wrong("only ReLU", "F.leaky_relu(x)", (sees_only_relu,)),
        Wrong("logits", "No network", (lambda m, beta, x: smooth_copy()(m, beta, x)(x),)),
    ],
    "7.5": [
        Wrong("gradients", "gradients in the parameters of `soft`", (fills_gradients,)),
        Wrong("no cut", "leaves [0, 1]", (watches_the_class,)),
        Wrong("worse", "farther from `wanted`", (far_worse,)),
        Wrong("coarser levels", "radius", (jpeg,)),
        Wrong("graph", "graph", (lambda *given: attack()(*given) * torch.ones(1, requires_grad=True),)),
        Wrong("no batch", "shape", (lambda *given: attack()(*given)[0],)),
    ],
    "7.6": [
        Wrong("full basis", "do not vary", (full_qr,)),
        Wrong("five directions", "five other pictures", (fixed_rank,)),
        Wrong("constant", "answers to the data change", (first_is_mean,)),
        Wrong("in place", "changed `data`", (centres_in_place,)),
        Wrong("only w", "Two things", (lambda *given: washed()(*given)[0],)),
    ],
    "7.7": [
        Wrong("equal sums", "differs from the reference", (by_the_sum,)),
        Wrong("per cent", "between 0 and 1", (per_cents,)),
        Wrong("one table", "Two tables", (one_table,)),
        Wrong("lists", "`list`", (as_lists,)),
        Wrong("one method", "the shape", (only_the_first,)),
        Wrong("next class", "differs from the reference", (explains_the_next_class,)),
    ],
    "7.8": [
        Wrong("last layer", "only layer `0` was drawn anew", (last_layer_only,)),
        Wrong("runs", "A network was run", (runs_the_network,)),
        Wrong("global seed", "random state", (global_seed,)),
        Wrong("picture", "other pictures", (knows_the_picture,)),
        Wrong("classes, added up", "other classes", (knows_the_classes,)),
        Wrong("random", "second call", (lambda m, x, t: torch.rand(len(x), *x.shape[2:], generator=_FREE),)),
        Wrong("constant", "same everywhere", (lambda m, x, t: torch.ones_like(x[:, 0]),)),
    ],
}  # fmt: skip

ALSO_RIGHT = {
    "7.1": [(same_order(),), (by_the_library,), (by_scipy,)],
    "7.2": [(redrawn(),), (from_the_start_each_time,)],
    "7.3": [(above_chance(),), (loops,), (picture_by_picture,)],
    "7.4": [(smooth_copy(),), (by_setattr,)],
    "7.5": [(attack(),), (written_out,)],
    "7.6": [(washed(),), (by_lstsq,), (by_pinv,)],
    "7.7": [(report(),), (in_loops,), (by_distance,), (one_by_one,)],
    "7.8": [(hollow(),), (by_the_sum_of_weights,), (stripes,)],
}
