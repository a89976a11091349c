"""Games with known answers, small budgets, a look at what a model is given: for black-box methods."""

import math
from functools import cache, partial
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from tests.architectures import Plain, build, images
from xai_lib import (
    _sampling,
    black_box,
    digits,
    lime,
    lime_fit,
    occlusion,
    rise,
    rise_fit,
    shapley,
    shapley_fit,
)

SIZE = (17, 21)


def drawn_masks(n, size, grid, keep, paired, balanced, device, generator):
    """The masks' description: bits, shifts, and how many are drawn together."""
    design = _sampling.check_mask_design(size, grid, keep, paired, balanced, n)
    return _sampling.draw_masks(n, design, torch.device(device), generator)


def patches(size=SIZE, rows=2, columns=3, device="cpu"):
    """Superpixels that are a chessboard of unequal fields."""
    down = torch.arange(size[0], device=device) * rows // size[0]
    across = torch.arange(size[1], device=device) * columns // size[1]
    return down[:, None] * columns + across


def seeded(device="cpu", seed=0):
    return torch.Generator(device).manual_seed(seed)


def quick_occlusion(model, x, target=None, *, seed=0, **options):
    return occlusion(model, x, target, **{"window": 6, "stride": 5, "batch_size": 7} | options)


def quick_lime(model, x, target=None, *, seed=0, explain=lime, **options):
    options = {"segments": patches(x.shape[-2:], device=x.device), "n_samples": 41, "batch_size": 7} | options
    return explain(model, x, target, generator=seeded(x.device, seed), **options)


def quick_rise(model, x, target=None, *, seed=0, explain=rise, **options):
    options = {"n_masks": 41, "grid": 3, "batch_size": 7} | options
    return explain(model, x, target, generator=seeded(x.device, seed), **options)


# Each with its passes for one image.
EVERY = {
    "occlusion": (quick_occlusion, 1 + 4 * 4),
    "lime": (quick_lime, 41),
    "lime_independent": (partial(quick_lime, paired=False, fill=0.5), 41),
    "shapley": (partial(quick_lime, explain=shapley), 41),
    "shapley_exact": (partial(quick_lime, explain=shapley, n_samples=100), 64),
    "rise": (quick_rise, 41),
    "rise_independent": (partial(quick_rise, paired=False, normalize="expected"), 41),
    "rise_antithetic": (partial(quick_rise, keep=0.3), 41),
    "rise_balanced": (partial(quick_rise, n_masks=73, balanced=True), 73),
}


every_explainer = pytest.mark.parametrize("explain", [f for f, _ in EVERY.values()], ids=EVERY)


every_explainer_and_cost = pytest.mark.parametrize("explain, cost", EVERY.values(), ids=EVERY)


RANDOM = {k: f for k, (f, _) in EVERY.items() if k not in ("occlusion", "shapley_exact")}


def double(kind, device="cpu", **options):
    return build(kind, **options).to(device, torch.float64)


def pixels(n, size=SIZE, device="cpu", seed=0):
    return images(n, size, seed, dtype=torch.float64, device=device)


def probabilities(model, x):
    with torch.no_grad():
        return model(x).softmax(1)


class Watch:
    """What a model is given: the images of each of its passes."""

    def __init__(self, model):
        self.passes = []
        self.handle = model.register_forward_pre_hook(lambda _m, args: self.passes.append(args[0].clone()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.handle.remove()

    @property
    def sizes(self):
        return [len(p) for p in self.passes]


class Constant(nn.Module):
    """The same logits whatever it sees."""

    def forward(self, x):
        return x.new_tensor([[0.3, -1.1, 0.2]]).repeat(len(x), 1)


def game(segments, value):
    """A model of white images: the probability of class 0 is ``value`` of the superpixels that are not black.

    ``value`` takes rows of zeros and ones, (b, d), and gives numbers in [0, 1], (b,).
    """
    member = F.one_hot(segments.flatten()).double()

    def predict(x):
        v = value((x[:, 0].flatten(1) @ member / member.sum(0)).round())
        return torch.stack([v, 1 - v], 1)

    return black_box(predict)


def white(device, size=SIZE):
    return torch.ones(1, 1, *size, dtype=torch.float64, device=device)


def coalitions(d, device="cpu"):
    return torch.tensor(list(product([0.0, 1.0], repeat=d)), dtype=torch.float64, device=device)


def exact_shapley(value, d):
    """The definition, over all coalitions."""
    Z = coalitions(d)
    worth = value(Z)
    sizes = Z.sum(1).long()
    weight = torch.tensor([1 / (d * math.comb(d - 1, k)) for k in range(d)], dtype=torch.float64)
    values = []
    for j in range(d):
        without = Z[:, j] == 0  # the same order as with: only digit j differs
        values.append((weight[sizes[without]] * (worth[~without] - worth[without])).sum())
    return torch.stack(values)


def rough(d, seed=0):
    """A game with interactions of all orders."""
    generator = seeded(seed=seed)
    w1, w2 = torch.randn(d, 8, generator=generator).double(), torch.randn(8, generator=generator).double()

    def value(Z):
        return torch.sigmoid(2 * torch.tanh(Z @ w1.to(Z.device) - 0.3) @ w2.to(Z.device))

    return value


def coalitions_of(d, n, paired=True, seed=0, device="cpu"):
    """The coalitions that are asked for, their sizes, and their weights in the regression."""
    segments = patches(rows=1, columns=d, device=device)
    fit = shapley_fit(
        game(segments, rough(d)),
        white(device),
        0,
        segments=segments,
        n_samples=n,
        fill=0.0,
        paired=paired,
        generator=seeded(device, seed),
    )
    return fit.samples[0].cpu(), fit.samples[0].sum(1).cpu(), fit.weights[0].cpu()


def saturating(d, seed=0):
    """A game as a classifier's probability is: a sum, and a curve that saturates."""
    slopes = torch.randn(d, generator=seeded(seed=seed), dtype=torch.float64)
    pair = torch.randn(d, generator=seeded(seed=seed + 1), dtype=torch.float64)

    def value(Z):
        return torch.sigmoid(2 * Z @ slopes.to(Z.device) - 1 + 1.5 * (Z @ pair.to(Z.device)).tanh())

    return value


def shapley_error(value, d, device, n=200, seeds=10, **options):
    segments, expected = patches(rows=1, columns=d, device=device), exact_shapley(value, d)
    fits = [
        shapley_fit(
            game(segments, value),
            white(device),
            0,
            segments=segments,
            n_samples=n,
            fill=0.0,
            batch_size=512,
            generator=seeded(device, seed),
            **options,
        )
        for seed in range(seeds)
    ]
    errors = torch.stack([f.values[0].cpu() - expected for f in fits])
    return errors.square().mean().sqrt().item(), fits


def many_limes(device, n=200, seeds=24, **options):
    model, x = double(Plain, device), pixels(1, device=device)
    segments = patches(rows=3, columns=4, device=device)
    run = partial(lime_fit, model, x, 1, segments=segments, batch_size=512, kernel_width=1.0, **options)
    return [run(n_samples=n, alpha=n / 1000, generator=seeded(device, s)) for s in range(seeds)], run


class Tiny(nn.Module):
    """Grey images of 12 × 15 pixels: fast enough for statistics."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(180, 12), nn.Linear(12, 4)

    def forward(self, x):
        return 1.5 * self.head(torch.tanh(2 * self.inner(x.flatten(1) - 0.5)))


TINY = torch.tensor([0, 3])


@cache
def tiny(device):
    model = double(Tiny, device)
    x = torch.rand(2, 1, 12, 15, dtype=torch.float64, generator=seeded()).to(device)
    return model, x, TINY.to(device)


def soft_mask(bits, shift, size):
    """A mask as the paper makes it: a grid upsampled to one cell more, and a window of it."""
    grid = bits.shape[-1]
    cell = [math.ceil(length / grid) for length in size]
    large = F.interpolate(bits[:, None], [(grid + 1) * c for c in cell], mode="bilinear", align_corners=False)
    return large[:, 0, shift[0] : shift[0] + size[0], shift[1] : shift[1] + size[1]]


@cache
def converged(device, keep=0.5, grid=3):
    """The map of infinitely many masks: every grid of bits under every shift."""
    model, x, target = tiny(device)
    size = tuple(x.shape[-2:])
    bits = coalitions(grid * grid, device)
    chance = keep ** bits.sum(1) * (1 - keep) ** (1 - bits).sum(1)
    total, shifts = 0, list(product(*(range(math.ceil(length / grid)) for length in size)))
    for shift in shifts:
        masks = soft_mask(bits.view(-1, grid, grid), shift, size)
        p = torch.stack(
            [
                probabilities(model, image * masks[:, None])[:, c]
                for image, c in zip(x, target.tolist(), strict=True)
            ]
        )
        total = total + torch.einsum("nm,m,mhw->nhw", p, chance, masks)
    return total / keep / len(shifts)


def many_fits(device, n_masks, seeds, **options):
    model, x, target = tiny(device)
    run = partial(rise_fit, model, x, target, n_masks=n_masks, grid=3, batch_size=1024)
    return [run(generator=seeded(device, seed), **options) for seed in range(seeds)]


def actual_errors(fits, expected):
    """Relative error of each map, (seeds, N)."""
    deviation = expected.flatten(1).std(1, correction=0)
    return torch.stack([(f.heatmap - expected).square().mean((1, 2)).sqrt() / deviation for f in fits])


def root_mean_square(values):
    return values.square().mean().sqrt().item()


DRAWS = {
    "expected": dict(paired=False, normalize="expected"),
    "coverage": dict(paired=False),
    "paired": dict(balanced=False),
    "balanced": dict(balanced=True),
}


every_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


def without_level(maps):
    return maps - maps.mean((1, 2), keepdim=True)


def root_mean_square_by_image(maps):
    return torch.stack([m.square().mean((1, 2)) for m in maps]).mean(0).sqrt()


def occlusion_by_the_letter(model, x, target, window, stride, hidden):
    """One image, one window, one slice at a time."""
    base = probabilities(model, x)
    maps = []
    for i, c in enumerate(target):
        drop, count = x.new_zeros(x.shape[-2:]), x.new_zeros(x.shape[-2:])
        top = 0
        while True:
            left = 0
            while True:
                where = (slice(top, top + window[0]), slice(left, left + window[1]))
                changed = x[i].clone()
                changed[(slice(None), *where)] = hidden[i][(slice(None), *where)]
                drop[where] += base[i, c] - probabilities(model, changed[None])[0, c]
                count[where] += 1
                if left + window[1] >= x.shape[3]:
                    break
                left += stride[1]
            if top + window[0] >= x.shape[2]:
                break
            top += stride[0]
        maps.append(drop / count)
    return torch.stack(maps)


@cache
def tree():
    """A decision tree on digits: many of its probabilities are exactly zero."""
    x, y = digits()
    return DecisionTreeClassifier(max_depth=6, random_state=0).fit(x.flatten(1).numpy(), y.numpy())


def tree_predict(x):
    return tree().predict_proba(x.flatten(1).cpu().numpy())


EXPLAINERS = {
    f.__name__: f
    for f in (
        partial(f, window=4, stride=2) if f is occlusion else f
        for f in (lime, lime_fit, shapley, shapley_fit, rise, rise_fit)
    )
} | {"occlusion": partial(occlusion, window=4, stride=2)}


checked = pytest.mark.parametrize("explain", EXPLAINERS.values(), ids=EXPLAINERS)


with_masks = pytest.mark.parametrize("explain", [rise, rise_fit])


COUNTS = [
    (explain, name)
    for explain, names in {
        occlusion: ("batch_size", "window", "stride"),
        lime: ("n_samples", "batch_size"),
        lime_fit: ("n_samples",),
        shapley: ("n_samples", "batch_size"),
        shapley_fit: ("n_samples",),
        rise: ("n_masks", "grid", "batch_size"),
        rise_fit: ("n_masks",),
    }.items()
    for name in names
]


NO_COUNTS = [0, -3, 1.0, float("nan"), "8", None, True, torch.tensor([1, 2])]


HAVE_A_DEFAULT = ("batch_size", "stride")  # None asks for it
