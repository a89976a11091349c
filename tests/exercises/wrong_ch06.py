"""Wrong answers to the exercises of chapter 6, as people give them; and right ones that look unlike ours.

The mistakes that a check recognises by what they give stand beside it, in ``ch06_mistakes.py``, and each is
handed in by the tests. Here they are written anew, from the statement alone, with what a check finds
otherwise: a property, a shape, a side effect.
"""

import numpy as np
import torch
import torch.nn.functional as F
from planted import Wrong
from scipy.ndimage import distance_transform_edt
from torch import nn

from xai_course.checks.ch06_mistakes import (
    aopc,
    area,
    control,
    deletion_curve,
    leakage,
    mean_energy,
    pointing,
    roar,
)


# ---- 6.1 ----
def by_argmax(heat, mask, tolerance):
    i, j = divmod(int(heat.argmax()), heat.shape[1])
    rows, columns = mask.nonzero().unbind(1)
    return float(((rows - i) ** 2 + (columns - j) ** 2).sqrt().min() <= tolerance)


def widened_by_squares(heat, mask, tolerance):
    side = 2 * int(tolerance) + 1
    wide = F.max_pool2d(mask.double()[None, None], side, 1, side // 2)[0, 0]
    return wide[heat == heat.max()].mean()


def any_hit(heat, mask, tolerance):
    top = (heat == heat.max()).nonzero().double()
    return bool((torch.cdist(top, mask.nonzero().double()) <= tolerance).any())


def nearly_the_top(heat, mask, tolerance):
    top = torch.isclose(heat, heat.max(), rtol=1e-2).nonzero().double()
    return (torch.cdist(top, mask.nonzero().double()).amin(1) <= tolerance).double().mean()


def marks_in_place(heat, mask, tolerance):
    value = pointing()(heat, mask, tolerance)
    mask[:] = True
    return value


def by_numpy(heat, mask, tolerance):
    heat, mask = heat.numpy(), mask.numpy()
    top, marked = np.argwhere(heat == heat.max()), np.argwhere(mask)
    near = np.sqrt(((top[:, None] - marked) ** 2).sum(-1)).min(1)
    return float((near <= tolerance).mean())


def by_cdist(heat, mask, tolerance):
    """In single precision."""
    apart = torch.cdist((heat == heat.max()).nonzero().float(), mask.nonzero().float())
    return (apart.amin(1) <= tolerance).float().mean()


def by_a_transform(heat, mask, tolerance):
    away = torch.from_numpy(distance_transform_edt(~mask.numpy()))
    return (away[heat == heat.max()] <= tolerance).double().mean()


def by_a_disc(heat, mask, tolerance):
    """Widens the mark, as the library does."""
    r = int(tolerance)
    place = torch.arange(-r, r + 1)
    disc = (place[:, None] ** 2 + place**2 <= tolerance**2).double()
    wide = F.conv2d(mask.double()[None, None], disc[None, None], padding=r)[0, 0] > 0.5
    return wide[heat == heat.max()].double().mean()


# ---- 6.2 ----
def plain_ratio(heatmaps, masks):
    if (masks.sum((1, 2)) == 0).any():
        raise ValueError("empty")
    return ((heatmaps * masks).sum((1, 2)) / heatmaps.sum((1, 2))).mean()


def one_big_ratio(heatmaps, masks):
    warm = F.relu(heatmaps)
    warm[~(heatmaps > 0).flatten(1).any(1)] = 1
    return warm[masks].sum() / warm.sum()


def nan_for_blank(heatmaps, masks):
    warm = heatmaps.relu()
    return ((warm * masks).sum((1, 2)) / warm.sum((1, 2))).mean()


def half_for_blank(heatmaps, masks):
    warm = heatmaps.relu()
    return ((warm * masks).sum((1, 2)) / warm.sum((1, 2))).nan_to_num(0.5).mean()


def a_little_below(heatmaps, masks):
    if not masks.flatten(1).any(1).all():
        raise ValueError("a mark is empty")
    warm = heatmaps.relu()
    share = (warm * masks).sum((1, 2)) / (warm.sum((1, 2)) + 1e-6)
    return torch.where(warm.sum((1, 2)) > 0, share, masks.double().mean((1, 2))).mean()


def by_the_largest(heatmaps, masks):
    return mean_energy()(heatmaps / heatmaps.max(), masks)


def in_single_precision(heatmaps, masks):
    return mean_energy()(heatmaps.float(), masks)


def clips_in_place(heatmaps, masks):
    value = mean_energy()(heatmaps, masks)
    heatmaps.clamp_(min=0)
    return value


def energy_in_a_loop(heatmaps, masks):
    shares = []
    for heat, mask in zip(heatmaps, masks, strict=True):
        if not mask.any():
            raise ValueError("a mark is empty")
        warm = heat.clamp(min=0)
        shares.append(float(warm[mask].sum() / warm.sum()) if warm.any() else float(mask.float().mean()))
    return sum(shares) / len(shares)


# ---- 6.3 ----
def by_threshold(score, normalise, x, heat, fill, counts):
    values = heat.flatten().sort(descending=True).values
    images = [torch.where(heat >= values[k - 1], fill, x) if k else x for k in counts]
    return score(normalise(torch.stack(images)))


def ascending(score, normalise, x, heat, fill, counts):
    order, images = heat.flatten().argsort(), []
    for k in counts:
        image = x.clone().flatten(1)
        image[:, order[:k]] = fill.flatten(1)[:, order[:k]]
        images.append(normalise(image.view_as(x)))
    return score(torch.stack(images))


def fill_behind(score, normalise, x, heat, fill, counts):
    order, images = heat.flatten().argsort(descending=True), []
    for k in counts:
        image = normalise(x).flatten(1)
        image[:, order[:k]] = fill.flatten(1)[:, order[:k]]
        images.append(image.view_as(x))
    return score(torch.stack(images))


def in_place_curve(score, normalise, x, heat, fill, counts):
    order, scores = heat.flatten().argsort(descending=True), []
    for k in counts:
        x.view(3, -1)[:, order[:k]] = fill.view(3, -1)[:, order[:k]]
        scores.append(score(normalise(x)[None])[0])
    return torch.stack(scores)


def normalised_twice(score, normalise, x, heat, fill, counts):
    return deletion_curve(make=lambda h, x, f, n: n(n(torch.where(h, f, x))))(
        score, normalise, x, heat, fill, counts
    )


def one_at_a_time(score, normalise, x, heat, fill, counts):
    order, scores = heat.flatten().argsort(descending=True), []
    for k in counts:
        image = x.clone().flatten(1)
        image[:, order[:k]] = fill.flatten(1)[:, order[:k]]
        scores.append(score(normalise(image.view_as(x))[None]))
    return torch.cat(scores)


def all_at_once(score, normalise, x, heat, fill, counts):
    rank = torch.empty(heat.numel(), dtype=torch.long)
    rank[heat.flatten().argsort(descending=True)] = torch.arange(heat.numel())
    hidden = rank.view_as(heat) < torch.tensor(counts)[:, None, None]
    return score(normalise(torch.where(hidden[:, None], fill, x)))


# ---- 6.4 ----
def with_a_zero(whole, scores):
    drops = torch.cat([torch.zeros(len(whole), 1), whole[:, None] - scores.mean(0)], 1)
    return drops.mean(1)


def in_loops(whole, scores):
    values = []
    for n in range(len(whole)):
        line = [whole[n] * 0] + [whole[n] - scores[:, n, k].mean() for k in range(scores.shape[2])]
        values.append(sum(line) / len(line))
    return torch.stack(values)


# ---- 6.5 ----
def by_loops(fractions, scores):
    values = []
    for line in scores.tolist():
        f, total = fractions.tolist(), 0.0
        for i in range(1, len(f)):
            total += (f[i] - f[i - 1]) * (line[i] + line[i - 1]) / 2
        values.append(total / (f[-1] - f[0]))
    return torch.tensor(values)


def even_trapezoid(fractions, scores):
    return torch.trapezoid(scores, dx=1 / (len(fractions) - 1))


def from_zero(fractions, scores):
    return torch.trapezoid(F.pad(scores, (1, 0)), F.pad(fractions, (1, 0)))


# ---- 6.6 ----
def masks_of(maps, k):
    masks = torch.zeros_like(maps.flatten(1))
    masks.scatter_(1, maps.flatten(1).topk(k, dim=1).indices, 1.0)
    return masks


def honest(explain, predict, train, test, k):
    a, b = (masks_of(explain(x, predict(x)), k) for x, _ in (train, test))
    means = torch.stack([a[train[1] == c].mean(0) for c in train[1].unique()])
    return (torch.cdist(b, means).argmin(1) == test[1]).double().mean()


def in_python(explain, predict, train, test, k):
    told = honest(explain, predict, train, test, k)
    return float(told)


def with_labels(explain, predict, train, test, k):
    a, b = (masks_of(explain(x, y), k) for x, y in (train, test))
    means = torch.stack([a[train[1] == c].mean(0) for c in range(3)])
    return (torch.cdist(b, means).argmin(1) == test[1]).double().mean()


def labels_in_training_only(explain, predict, train, test, k):
    a = masks_of(explain(*train), k)
    b = masks_of(explain(test[0], predict(test[0])), k)
    means = torch.stack([a[train[1] == c].mean(0) for c in range(3)])
    return (torch.cdist(b, means).argmin(1) == test[1]).double().mean()


def by_the_kth_value(explain, predict, train, test, k):
    """All pixels that are at least as hot as the k-th."""

    def mask(x):
        maps = explain(x, predict(x)).flatten(1)
        return (maps >= maps.topk(k, dim=1).values[:, -1:]).double()

    means = torch.stack([mask(train[0])[train[1] == c].mean(0) for c in range(3)])
    return (torch.cdist(mask(test[0]), means).argmin(1) == test[1]).double().mean()


def keeps_the_heat(explain, predict, train, test, k):
    def warm(maps, k):
        return masks_of(maps, k) * maps.flatten(1)

    return leakage(top=warm)(explain, predict, train, test, k)


def by_the_shorter_formula(explain, predict, train, test, k):
    """The mask's own length is the same for every class."""
    a, b = (masks_of(explain(x, predict(x)), k) for x, _ in (train, test))
    means = torch.stack([a[train[1] == c].mean(0) for c in range(int(train[1].max()) + 1)])
    return ((b @ means.T - means.square().sum(1) / 2).argmax(1) == test[1]).float().mean()


def one_by_one(explain, predict, train, test, k):
    def masks(x):
        return torch.cat([masks_of(explain(x[i : i + 1], predict(x[i : i + 1])), k) for i in range(len(x))])

    means = torch.stack([masks(train[0])[train[1] == c].mean(0) for c in train[1].unique()])
    return (torch.cdist(masks(test[0]), means).argmin(1) == test[1]).double().mean()


def in_sample(explain, predict, train, test, k):
    return honest(explain, predict, train, train, k)


def hits(explain, predict, train, test, k):
    return honest(explain, predict, train, test, k) * len(test[1])


def of_the_pictures(explain, predict, train, test, k):
    means = torch.stack([train[0][train[1] == c].mean(0).flatten() for c in range(3)])
    return (torch.cdist(test[0].flatten(1), means).argmin(1) == test[1]).double().mean()


# ---- 6.7 ----
def by_lstsq(train, test, heats, counts):
    (x, y), (xt, yt) = train, test
    mean, errors = x.mean(0), []
    for k in counts:
        a, b = x.clone(), xt.clone()
        a.scatter_(
            1, heats[0].topk(k, dim=1).indices, mean.expand_as(a).gather(1, heats[0].topk(k, dim=1).indices)
        )
        b.scatter_(
            1, heats[1].topk(k, dim=1).indices, mean.expand_as(b).gather(1, heats[1].topk(k, dim=1).indices)
        )
        a, b = (F.pad(part, (0, 1), value=1.0) for part in (a, b))
        w = torch.linalg.lstsq(a, y[:, None]).solution
        errors.append((b @ w - yt[:, None]).square().mean())
    return torch.stack(errors)


def centred(train, test, heats, counts):
    """The constant is taken out by centring."""
    (x, y), (xt, yt) = train, test
    errors = []
    for k in counts:
        a, b = (
            torch.where(h.argsort(dim=1, descending=True).argsort(dim=1) < k, x.mean(0), z)
            for h, z in zip(heats, (x, xt), strict=True)
        )
        w = np.linalg.lstsq((a - a.mean(0)).numpy(), (y - y.mean()).numpy(), rcond=None)[0]
        made = (b - a.mean(0)) @ torch.from_numpy(w) + y.mean()
        errors.append((made - yt).square().mean())
    return torch.stack(errors)


def whole_test_set(train, test, heats, counts):
    errors = []
    for k in counts:
        a = torch.where(
            heats[0].argsort(dim=1, descending=True).argsort(dim=1) < k, train[0].mean(0), train[0]
        )
        a, b = F.pad(a, (0, 1), value=1.0), F.pad(test[0], (0, 1), value=1.0)
        w = torch.linalg.lstsq(a, train[1][:, None], driver="gelsd").solution
        errors.append((b @ w - test[1][:, None]).square().mean())
    return torch.stack(errors)


def fills_in_place(train, test, heats, counts):
    value = roar()(train, test, heats, counts)
    train[0].mul_(1.5)
    return value


def without_centre(train, test, heats, counts):
    def fit(x, y):
        w = torch.linalg.lstsq(x, y[:, None], driver="gelsd").solution[:, 0]
        return lambda z: z @ w

    return roar(fit=fit)(train, test, heats, counts)


def ridge(train, test, heats, counts):
    def fit(x, y):
        a = F.pad(x, (0, 1), value=1.0)
        w = torch.linalg.solve(a.T @ a + 5 * torch.eye(7).double(), a.T @ y)
        return lambda z: F.pad(z, (0, 1), value=1.0) @ w

    return roar(fit=fit)(train, test, heats, counts)


def by_the_inverse(train, test, heats, counts):
    def fit(x, y):
        a = F.pad(x, (0, 1), value=1.0)
        w = torch.linalg.inv(a.T @ a) @ a.T @ y
        return lambda z: F.pad(z, (0, 1), value=1.0) @ w

    return roar(fit=fit)(train, test, heats, counts)


def normal_equations(train, test, heats, counts):
    """Squares the condition number, and is good enough."""

    def fit(x, y):
        a = F.pad(x, (0, 1), value=1.0)
        w = torch.linalg.pinv(a.T @ a) @ (a.T @ y)
        return lambda z: F.pad(z, (0, 1), value=1.0) @ w

    return roar(fit=fit)(train, test, heats, counts)


# ---- 6.8 ----
def sobel(x):
    slope = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).to(x)
    grey = F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    made = F.conv2d(grey, torch.stack([slope, slope.T])[:, None])
    return made.square().sum(1)


def lesson_edges(x):
    slope = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).to(x)
    grey = F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return torch.hypot(*F.conv2d(grey, torch.stack([slope, slope.T])[:, None]).unbind(1))


def local_contrast(x):
    return (x - nn.AvgPool2d(9, 1, 4, count_include_pad=False)(x)).abs().sum(1)


def unlike_the_median(x):
    grey = x.mean(1)
    return (grey - grey.flatten(1).median(1).values[:, None, None]).abs()


def asks_a_network(x):
    net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 1, 1)).double()
    return net(x)[:, 0].detach().abs()


def middle(x):
    place = torch.linspace(-1, 1, x.shape[-1]).double()
    down = torch.linspace(-1, 1, x.shape[-2]).double()
    return (-(down[:, None] ** 2) - place**2).exp().expand(len(x), -1, -1)


def brightens(x):
    return control()(x.mul_(1.1))


def noisy(x):
    return control()(x) * (1 + torch.rand(x.shape[0], *x.shape[2:]))


WRONG = {
    "6.1": [
        Wrong("argmax", "the first one decides", (by_argmax,)),
        Wrong("a square", "a square", (widened_by_squares,)),
        Wrong("any", "a whole hit", (any_hit,)),
        Wrong("nearly as hot", "order does not", (nearly_the_top,)),
        Wrong("in place", "changed `mask`", (marks_in_place,)),
        Wrong("half a pixel more", "differs from", (lambda heat, mask, t: pointing()(heat, mask, t + 0.5),)),
        Wrong("a map", "numbers", (lambda heat, mask, t: mask[heat == heat.max()].double().expand(2, -1),)),
    ],
    "6.2": [
        Wrong("negative part", "negative values", (plain_ratio,)),
        Wrong("one ratio", "ratio of the sums", (one_big_ratio,)),
        Wrong("0 / 0", "0 / 0", (nan_for_blank,)),
        Wrong("a half", "not 1", (half_for_blank,)),
        Wrong("a little below the line", "multiplied by 1e-07", (a_little_below,)),
        Wrong("the batch's largest", "no map of the batch", (by_the_largest,)),
        Wrong("empty passes", "No `ValueError`", (mean_energy(refuse=False),)),
        Wrong("in place", "changed `heatmaps`", (clips_in_place,)),
        Wrong("each picture", "6 numbers", (lambda h, m: mean_energy(end=lambda a, b: a / b)(h, m),)),
    ],
    "6.3": [
        Wrong("threshold", "equal", (by_threshold,)),
        Wrong("ascending", "ascending", (ascending,)),
        Wrong("fill behind", "behind* the normalisation", (fill_behind,)),
        Wrong("in place", "changed `x`", (in_place_curve,)),
        Wrong("normalised twice", "k = 0, the whole picture", (normalised_twice,)),
        Wrong("a list", "`list`", (lambda *given: one_at_a_time(*given).tolist(),)),
    ],
    "6.4": [
        Wrong("1 / L", "divided by L:", (lambda w, s: w - s.mean(0).mean(1),)),
        Wrong("under", "under", (lambda w, s: s.mean(0).sum(1) / (s.shape[2] + 1),)),
        Wrong("one number", "One number", (lambda w, s: with_a_zero(w, s).mean(),)),
        Wrong("median", "differs from", (lambda w, s: (w[:, None] - s.median(0).values).sum(1) / 7,)),
        Wrong("always 7", "times the right one", (lambda w, s: (w[:, None] - s.mean(0)).sum(1) / 7,)),
        Wrong("in place", "changed `scores`", (lambda w, s: (aopc()(w, s), s.zero_())[0],)),
    ],
    "6.5": [
        Wrong("sum", "added up", (lambda f, s: s.sum(-1),)),
        Wrong("mean", "mean of the points", (lambda f, s: s.mean(-1),)),
        Wrong("even", "equal distances", (even_trapezoid,)),
        Wrong("from zero", "0.7 everywhere", (from_zero,)),
        Wrong("no span", "not divided by its length", (lambda f, s: torch.trapezoid(s, f),)),
        Wrong("one number", "shape", (lambda f, s: area()(f, s).sum(),)),
        Wrong("no logits", "further point", (lambda f, s: area()(f, s.clamp(0, 1)),)),
    ],
    "6.6": [
        Wrong("label leak", "label leaks", (with_labels,)),
        Wrong("half a leak", "In the training set the label leaks", (labels_in_training_only,)),
        Wrong("in sample", "training set", (in_sample,)),
        Wrong("hits", "between 0 and 1", (hits,)),
        Wrong("pictures", "nothing can be told", (of_the_pictures,)),
        Wrong("threshold", "Where pixels of a map are equal", (by_the_kth_value,)),
        Wrong("mask times heat", "differs from", (keeps_the_heat,)),
    ],
    "6.7": [
        Wrong("test whole", "test set is not masked", (whole_test_set,)),
        Wrong("no constant", "constant is missing", (without_centre,)),
        Wrong("ridge", "nothing hidden", (ridge,)),
        Wrong("inverse", "all six features hidden", (by_the_inverse,)),
        Wrong("in place", "changed `train_x`", (fills_in_place,)),
        Wrong("one number", "shape", (lambda *given: roar()(*given).mean(),)),
    ],
    "6.8": [
        Wrong("network", "asked a network", (asks_a_network,)),
        Wrong("network in float32", "asked a network", (lambda x: nn.Conv2d(3, 64, 3, padding=1)(x)[:, 0],)),
        Wrong("centre", "the centre is that control", (middle,)),
        Wrong("constant", "same everywhere", (lambda x: torch.ones_like(x[:, 0]),)),
        Wrong("negative", "negative values", (lambda x: (x - x.mean((2, 3), keepdim=True)).sum(1),)),
        Wrong("random", "second call", (noisy,)),
        Wrong("in place", "changed `x`", (brightens,)),
        Wrong("padded with zeros", "too easy", (lambda x: (x - F.avg_pool2d(x, 9, 1, 4)).abs().sum(1),)),
        Wrong("easy", "too easy", (lambda x: 1 + 0.1 * x.mean(1),)),
        Wrong("flat", "shape", (lambda x: control()(x).flatten(1),)),
    ],
}

ALSO_RIGHT = {
    "6.1": [(pointing(),), (by_numpy,), (by_a_disc,), (by_cdist,), (by_a_transform,)],
    "6.2": [(mean_energy(),), (energy_in_a_loop,), (in_single_precision,)],
    "6.3": [(deletion_curve(),), (one_at_a_time,), (all_at_once,)],
    "6.4": [(aopc(),), (with_a_zero,), (in_loops,)],
    "6.5": [
        (area(),),
        (by_loops,),
        (lambda f, s: torch.trapezoid(s, f) / (f[-1] - f[0]),),
        (lambda f, s: area()(f.float(), s.float()),),
    ],
    "6.6": [(leakage(),), (honest,), (in_python,), (by_the_shorter_formula,), (one_by_one,)],
    "6.7": [
        (roar(),),
        (by_lstsq,),
        (centred,),
        (normal_equations,),
        (lambda *given: by_lstsq(*given).tolist(),),
    ],
    "6.8": [(control(),), (sobel,), (lesson_edges,), (local_contrast,), (unlike_the_median,)],
}
