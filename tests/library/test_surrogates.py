"""Laws and promises of superpixels, LIME and KernelSHAP; other libraries are compared in tests/parity."""

from functools import partial
from itertools import combinations, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import label

from tests.architectures import Plain, build, images
from tests.black_boxes import (
    SIZE,
    Constant,
    Watch,
    coalitions_of,
    double,
    exact_shapley,
    game,
    many_limes,
    patches,
    pixels,
    probabilities,
    quick_lime,
    rough,
    saturating,
    seeded,
    shapley_error,
    white,
)
from tests.promises import Counting, assert_says, complaint
from xai_lib import (
    lime,
    lime_fit,
    load_photo,
    rise_masks,
    shapley,
    shapley_fit,
    superpixels,
)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("alpha, tolerance", [(0, 1e-10), (1e-9, 1e-6)])
def test_lime_recovers_a_linear_box_exactly(paired, alpha, tolerance, device):
    segments = patches(rows=3, columns=4, device=device)
    slopes = torch.linspace(-0.03, 0.05, 12, dtype=torch.float64, device=device)
    model = game(segments, lambda Z: 0.4 + Z @ slopes)
    fit = lime_fit(
        model,
        white(device),
        0,
        segments=segments,
        n_samples=60,
        fill=0.0,
        alpha=alpha,
        paired=paired,
        generator=seeded(device),
    )
    torch.testing.assert_close(fit.coefficients[0], slopes, rtol=0, atol=tolerance)
    torch.testing.assert_close(fit.heatmap[0], slopes[segments], rtol=0, atol=tolerance)
    assert fit.intercept.item() == pytest.approx(0.4, abs=tolerance)
    assert fit.r2.item() == pytest.approx(1, abs=tolerance)
    # The other class loses what this one gains; a penalty shrinks that.
    other = lime_fit(
        model, white(device), 1, segments=segments, n_samples=60, fill=0.0, generator=seeded(device)
    )
    assert F.cosine_similarity(other.coefficients[0], -slopes, dim=0) > 0.95 and 0.9 < other.r2 < 0.999
    assert other.coefficients.norm() < 0.95 * slopes.norm()


def test_a_box_that_is_not_linear_has_a_low_r2(device):
    segments = patches(rows=3, columns=3, device=device)
    parity = game(segments, lambda Z: 0.1 + 0.8 * (Z.sum(1) % 2))
    options = dict(segments=segments, n_samples=500, fill=0.0, generator=seeded(device), kernel_width=5.0)
    assert lime_fit(parity, white(device), 0, **options).r2.item() < 0.1


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_shapley_values_of_additive_games_are_their_terms(d, device):
    segments = patches(rows=1, columns=d, device=device)
    terms = torch.linspace(-0.1, 0.15, d, dtype=torch.float64, device=device)
    fit = shapley_fit(
        game(segments, lambda Z: 0.4 + Z @ terms),
        white(device),
        0,
        segments=segments,
        n_samples=2**d,
        fill=0.0,
    )
    torch.testing.assert_close(fit.values[0], terms, rtol=1e-10, atol=1e-12)
    assert fit.exact and fit.empty.item() == pytest.approx(0.4, rel=1e-12)
    torch.testing.assert_close(fit.heatmap[0], fit.values[0][segments])


@pytest.mark.parametrize("d", [2, 3, 5, 6])
def test_shapley_values_of_a_product_are_equal_shares(d, device):
    """Only all together they are worth something: each gets one d-th of it."""
    segments = patches(rows=1, columns=d, device=device)
    fit = shapley_fit(
        game(segments, lambda Z: 0.1 + 0.8 * Z.prod(1)),
        white(device),
        0,
        segments=segments,
        n_samples=2**d,
        fill=0.0,
    )
    torch.testing.assert_close(fit.values, torch.full_like(fit.values, 0.8 / d), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 6, 9])
@pytest.mark.parametrize("paired", [True, False])
def test_shapley_is_exact_where_all_coalitions_fit(d, paired, device):
    segments, value = patches(rows=1, columns=d, device=device), rough(d)
    fit = shapley_fit(
        game(segments, value), white(device), 0, segments=segments, n_samples=2**d, fill=0.0, paired=paired
    )
    torch.testing.assert_close(fit.values[0].cpu(), exact_shapley(value, d), rtol=1e-9, atol=1e-12)
    assert fit.exact and fit.samples.shape == (1, 2**d, d)
    assert not shapley_fit(
        game(patches(rows=1, columns=10, device=device), rough(10)),
        white(device),
        0,
        segments=patches(rows=1, columns=10, device=device),
        n_samples=2**10 - 1,
        fill=0.0,
    ).exact


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("n_samples", [26, 27, 60, 333])
def test_sampled_shapley_values_are_efficient_and_right_about_additive_games(n_samples, paired, device):
    segments = patches(rows=3, columns=4, device=device)
    options = dict(segments=segments, n_samples=n_samples, fill=0.0, paired=paired)
    fit = shapley_fit(game(segments, rough(12)), white(device), 0, generator=seeded(device), **options)
    assert not fit.exact and fit.samples.shape[1] == n_samples
    torch.testing.assert_close(fit.values.sum(1), fit.full - fit.empty, rtol=1e-10, atol=1e-12)
    assert (fit.full - fit.empty).abs().item() > 0.01
    terms = torch.linspace(-0.04, 0.05, 12, dtype=torch.float64, device=device)
    additive = game(segments, lambda Z: 0.4 + Z @ terms)
    ours = shapley_fit(additive, white(device), 0, generator=seeded(device), **options)
    torch.testing.assert_close(ours.values[0], terms, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("paired", [True, False])
def test_coalitions_of_all_sizes_are_asked_for_alike(paired, device):
    d, n = 12, 700
    samples, sizes, _ = coalitions_of(d, n, paired, device=device)
    assert len(samples) == n and sizes[:2].tolist() == [d, 0]
    rows = {frozenset(z.nonzero()[:, 0].tolist()) for z in samples}
    for k in (1, 11, 2, 10):  # in whole: each is no more than its share
        assert set(map(frozenset, combinations(range(d), k))) <= rows
    counts = torch.bincount(sizes, minlength=d + 1)
    inner = counts[3:10]
    middle = 6 - 3  # its pairs are of one size: twice as many
    if paired:
        inner[middle] //= 2
        assert torch.equal(samples[2::2], ~samples[3::2])
    assert inner.max() - inner.min() <= 2
    assert len(rows) >= 0.98 * n  # hardly a repeat


@pytest.mark.parametrize("n", [26, 27, 60, 333, 1000])
@pytest.mark.parametrize("paired", [True, False])
def test_each_size_has_the_kernels_weight(n, paired, device):
    d = 12
    _, sizes, weights = coalitions_of(d, n, paired, device=device)
    assert (weights[:2] == 0).all() and (weights[2:] > 0).all()
    mass = {k: (d - 1) / (k * (d - k)) for k in range(1, d)}
    seen = {k: weights[sizes == k] for k in range(1, d) if (sizes == k).any()}
    # What is due to sizes without a coalition goes to the others.
    more = sum(mass.values()) / sum(mass[k] for k in seen)
    for k, found in seen.items():
        assert found.sum().item() == pytest.approx(mass[k] * more)
        torch.testing.assert_close(found, found[:1].expand_as(found))


def test_drawn_coalitions_have_fair_members(device):
    d = 20
    drawn = [coalitions_of(d, 600, paired, seed, device) for paired in (True, False) for seed in range(6)]
    samples, sizes = (torch.cat([run[i] for run in drawn]) for i in (0, 1))
    for k in range(3, 18):
        members = samples[sizes == k].double()
        assert ((members.mean(0) - k / d).abs() < 5 * (0.25 / len(members)) ** 0.5).all()


def test_the_first_coalitions_are_as_fair_as_all(device):
    """What a tolerance stops at is a sample of all sizes, not only of the first ones."""
    _, sizes, _ = coalitions_of(20, 2000, device=device)
    early = sizes[42:300].double()
    assert early.min() <= 4 and early.max() >= 16
    assert abs((early - 10).abs().mean() - (sizes[42:].double() - 10).abs().mean()) < 1


@pytest.mark.parametrize("value", [saturating, rough], ids=["saturating", "rough"])
def test_shapleys_reported_error_is_the_actual_error(value, device):
    actual, fits = shapley_error(value(12), 12, device, n=300, seeds=16)
    standard = torch.stack([f.standard_error.square().mean() for f in fits]).mean().sqrt().item()
    assert 1 / 1.6 < standard / actual < 2.2  # an upper estimate: each replicate lacks an eighth
    assert all(f.standard_error.shape == (1, *SIZE) and f.relative_error.shape == (1,) for f in fits)
    pattern = exact_shapley(value(12), 12).std(correction=0)
    reported = torch.stack([f.relative_error for f in fits]).median().item()
    assert 1 / 1.8 < reported / (actual / pattern.item()) < 2.5


def test_exact_values_have_no_error(device):
    segments = patches(rows=1, columns=5, device=device)
    fit = shapley_fit(game(segments, rough(5)), white(device), 0, segments=segments, n_samples=40, fill=0.0)
    assert fit.exact and (fit.standard_error == 0).all() and (fit.relative_error == 0).all()


@pytest.mark.parametrize("explain", [lime_fit, shapley_fit])
def test_a_tolerance_stops_the_fit_early_and_whatever_the_batch_size(explain, device):
    model, x = double(Plain, device), pixels(2, device=device)
    options = dict(segments=patches(rows=3, columns=4, device=device), n_samples=3000)
    run = partial(explain, model, x, 1, **options)
    with Watch(model) as watch:
        fit = run(tolerance=0.3, generator=seeded(device))
    used = fit.scores.shape[1]
    assert used < 3000 and used % 128 == 0 and sum(watch.sizes) == 2 * used
    assert (fit.relative_error <= 0.3).all()
    other = run(tolerance=0.3, batch_size=7, generator=seeded(device))
    torch.testing.assert_close(other.heatmap, fit.heatmap, rtol=1e-9, atol=1e-12)
    assert run(tolerance=1e-9, n_samples=200, generator=seeded(device)).scores.shape[1] == 200


@pytest.mark.parametrize("paired", [True, False])
def test_limes_reported_error_is_the_scatter_from_draw_to_draw(paired, device):
    for n in (200, 600):  # pairs, and whole blocks
        fits, _ = many_limes(device, n, paired=paired)
        actual = torch.stack([f.coefficients[0] for f in fits]).var(0).mean().sqrt()
        standard = torch.stack([f.standard_error[0].square().mean() for f in fits]).mean().sqrt()
        assert 1 / 1.6 < standard / actual < (4 if n == 200 and paired else 2)


def test_limes_blocks_are_balanced(device):
    model, x = Constant().eval(), pixels(1, device=device)
    segments = patches(rows=3, columns=4, device=device)
    samples = lime_fit(model, x, 0, segments=segments, n_samples=384, generator=seeded(device)).samples
    for block in samples.split(128)[1:]:  # the first begins with the image itself and its complement
        signs = 2 * block.double() - 1
        assert torch.equal(signs.T @ signs, 128 * torch.eye(12, dtype=torch.float64, device=device))


@pytest.mark.parametrize("paired", [True, False])
def test_sampled_shapley_values_converge(paired, device):
    d, segments = 12, patches(rows=3, columns=4, device=device)
    model, expected = game(segments, rough(d)), exact_shapley(rough(d), d)

    def error(n):
        values = [
            shapley_fit(
                model,
                white(device),
                0,
                segments=segments,
                n_samples=n,
                fill=0.0,
                paired=paired,
                batch_size=512,
                generator=seeded(device, seed),
            ).values[0]
            for seed in range(12)
        ]
        return (torch.stack(values).cpu() - expected).square().mean().sqrt().item()

    few, many = error(60), error(1500)
    assert many < 0.35 * few and many < 0.05 * expected.abs().max()


@pytest.mark.parametrize("fill", [0.25, 1, "mean", "grey", "colour", "image"])
@pytest.mark.parametrize("explain", [lime_fit, shapley_fit])
def test_superpixels_are_hidden_by_the_fill(fill, explain, device):
    model, x = double(Plain, device), pixels(2, device=device)
    segments = torch.stack([patches(device=device), patches(rows=3, columns=2, device=device).flip(0)])
    given = {
        "colour": torch.tensor([0.1, 0.5, 0.9], device=device)[:, None, None],
        "image": pixels(2, device=device, seed=9),
    }.get(fill, fill)
    if fill == "mean":
        hidden = torch.empty_like(x)
        for i, k in product(range(2), range(6)):
            here = segments[i] == k
            hidden[i][:, here] = x[i][:, here].mean(1, keepdim=True)
    else:
        value = {"grey": 0.5}.get(fill, given)
        hidden = torch.as_tensor(value, dtype=x.dtype, device=device).expand_as(x)
    with Watch(model) as watch:
        fit = explain(
            model, x, 1, segments=segments, n_samples=33, fill=given, batch_size=9, generator=seeded(device)
        )
    seen = torch.cat(watch.passes).unflatten(0, (33, 2))
    samples = fit.samples.expand(2, -1, -1)
    for i in range(2):
        for z, shown in zip(samples[i], seen[:, i], strict=True):
            expected = torch.where(z[segments[i]], x[i], hidden[i])
            torch.testing.assert_close(shown, expected, rtol=1e-12, atol=1e-12)
        p = probabilities(model, seen[:, i])[:, 1]
        torch.testing.assert_close(fit.scores[i], p, rtol=1e-10, atol=1e-12)


def test_lime_samples_start_with_the_image_and_are_fair(device):
    model, x = Constant().eval(), pixels(1, device=device)
    segments = patches(rows=3, columns=4, device=device)
    run = partial(lime_fit, model, x, 0, segments=segments)
    paired = run(n_samples=1000, generator=seeded(device)).samples
    assert paired.shape == (1000, 12) and paired[0].all() and not paired[1].any()
    assert torch.equal(paired[::2], ~paired[1::2])
    assert (paired.double().mean(0) == 0.5).all()  # each superpixel shown in exactly half of them
    odd = run(n_samples=33, generator=seeded(device)).samples
    assert torch.equal(odd[:-1:2], ~odd[1::2]) and len(odd) == 33
    free = run(n_samples=2001, paired=False, generator=seeded(device)).samples
    assert free[0].all() and free.shape == (2001, 12)
    rest = free[1:].double().cpu()
    assert (rest.mean(0) - 0.5).abs().max() < 5 * 0.5 / 2000**0.5
    assert (torch.corrcoef(rest.T) - torch.eye(12)).abs().max() < 5 / 2000**0.5


def test_limes_weights_fall_with_the_distance(device):
    model, x = Constant().eval(), pixels(1, device=device)
    fits = [
        lime_fit(model, x, 0, n_samples=200, segments=patches(device=device), kernel_width=w)
        for w in (0.25, 1.0)
    ]
    for fit in fits:
        assert fit.weights[0, 0] == 1 and (fit.weights > 0).all() and (fit.weights <= 1).all()
        shown = fit.samples.sum(1)
        order = shown.argsort()
        assert (fit.weights[0, order].diff() >= 0).all()
    assert fits[0].weights.min() < 0.01 < 0.5 < fits[1].weights.min()  # exp(−1/2w²) with everything hidden


def test_paired_samples_steady_lime(device):
    model, x = double(Plain, device), pixels(1, device=device)
    segments = patches(rows=3, columns=4, device=device)

    def scatter(paired):
        maps = [
            lime_fit(
                model,
                x,
                1,
                segments=segments,
                n_samples=100,
                paired=paired,
                kernel_width=1.0,
                alpha=0.01,
                generator=seeded(device, s),
            ).coefficients
            for s in range(30)
        ]
        return torch.stack(maps).var(0).mean()

    assert scatter(True) < 0.8 * scatter(False)


def test_lime_of_an_image_alone_is_that_in_a_batch_with_other_superpixels(device):
    model, x = double(Plain, device), pixels(3, device=device)
    segments = torch.stack([patches(rows=r, columns=c, device=device) for r, c in ((2, 2), (3, 3), (2, 3))])
    target = torch.tensor([1, 4, 0], device=device)
    options = dict(n_samples=40, batch_size=7)
    fit = lime_fit(model, x, target, segments=segments, generator=seeded(device), **options)
    assert fit.samples.shape == (40, 9) and fit.coefficients.shape == (3, 9)
    for i, d in enumerate((4, 9, 6)):
        alone = lime_fit(
            model,
            x[i : i + 1],
            int(target[i]),
            segments=segments[i],
            generator=seeded(device),
            **options,
        )
        assert torch.equal(alone.samples, fit.samples[:, :d])
        torch.testing.assert_close(alone.coefficients[0], fit.coefficients[i, :d], rtol=1e-9, atol=1e-12)
        assert (fit.coefficients[i, d:] == 0).all()
        for name in ("scores", "weights", "intercept", "r2"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(fit, name)[i], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(alone.heatmap[0], fit.heatmap[i], rtol=1e-9, atol=1e-12)


def test_shapley_takes_images_with_different_numbers_of_superpixels(device):
    model, x = double(Plain, device), pixels(3, device=device)
    segments = torch.stack([patches(rows=r, columns=c, device=device) for r, c in ((1, 1), (2, 3), (1, 2))])
    fit = shapley_fit(model, x, torch.tensor([[1, 2]] * 3, device=device), segments=segments, n_samples=64)
    assert fit.exact and fit.values.shape == (3, 2, 6)
    torch.testing.assert_close(fit.values.sum(2), fit.full - fit.empty, rtol=1e-10, atol=1e-12)
    for i, d in enumerate((1, 6, 2)):
        alone = shapley_fit(
            model, x[i : i + 1], torch.tensor([[1, 2]], device=device), segments=segments[i], n_samples=64
        )
        torch.testing.assert_close(fit.values[i, :, :d], alone.values[0], rtol=1e-9, atol=1e-12)
        assert (fit.values[i, :, d:] == 0).all()
        torch.testing.assert_close(fit.full[i], probabilities(model, x[i : i + 1])[0, 1:3])


def test_r2_of_scores_that_never_vary_is_one(device):
    """There is nothing to explain, and it is explained; not 0 or 1 as rounding has it."""
    for dtype in (torch.float32, torch.float64):
        for seed in range(4):
            x = images(3, dtype=dtype, device=device)
            fit = quick_lime(Constant().eval(), x, seed % 3, explain=lime_fit, seed=seed)
            assert (fit.r2 == 1).all() and fit.coefficients.abs().max() < 1e-12


def test_left_alone_lime_cuts_its_own_superpixels(device):
    model, x = double(Plain, device), pixels(2, device=device)
    for explain in (lime_fit, shapley_fit):
        run = partial(explain, model, x, 1, n_samples=300)
        own = run(generator=seeded(device))
        assert torch.equal(own.segments, superpixels(x))
        given = run(segments=superpixels(x), generator=seeded(device))
        torch.testing.assert_close(own.heatmap, given.heatmap)
    shared = quick_lime(model, x, 1)  # (H, W) for all images
    each = quick_lime(model, x, 1, segments=patches(device=device).expand(2, *SIZE))
    assert torch.equal(shared, each)


PICTURES = {
    "photographs": lambda: torch.cat([load_photo("cat", 64), load_photo("coffee", 64)]),
    "grey": lambda: load_photo("cat", 64).mean(1, keepdim=True),
    "two channels": lambda: images(2, (12, 16))[:, :2],
    "flat": lambda: torch.full((1, 3, 12, 16), 0.4),
    "one pixel": lambda: images(2, (1, 1)),
    "a line": lambda: images(1, (1, 9)),
    "four pixels": lambda: images(1, (2, 2)),
    "half precision": lambda: load_photo("cat", 32).half(),
    "double precision": lambda: load_photo("cat", 32).double(),
}


@pytest.mark.parametrize("method", ["slic", "quickshift"])
@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_superpixels_are_labelled_without_gaps(method, picture, device):
    x = picture().to(device)
    segments = superpixels(x, method=method)
    assert segments.shape == (len(x), *x.shape[-2:])
    assert segments.dtype == torch.int64 and segments.device == x.device
    for image, labels in zip(x, segments, strict=True):
        d = int(labels.max()) + 1
        assert labels.unique().tolist() == list(range(d))
        assert torch.equal(superpixels(image[None], method=method)[0], labels)  # each image for itself
        if method == "slic":
            assert all(label((labels == k).cpu().numpy())[1] == 1 for k in range(d))  # in one piece


def test_superpixels_follow_their_options():
    x = load_photo("coffee", 96)
    counts = [int(superpixels(x, n_segments=n).max()) + 1 for n in (5, 20, 80)]
    assert counts[0] < counts[1] < counts[2]
    assert all(0.5 * n <= count <= 1.5 * n for count, n in zip(counts, (5, 20, 80), strict=True))

    def spread(**options):
        """Mean squared distance of a pixel from the centre of its superpixel."""
        labels = superpixels(x, n_segments=40, **options)[0].flatten()
        place = torch.cartesian_prod(torch.arange(96.0), torch.arange(96.0))
        member = F.one_hot(labels).float()
        centre = member.T @ place / member.sum(0)[:, None]
        return (place - centre[labels]).square().sum(1).mean()

    assert spread(compactness=100) < spread() < spread(compactness=0.1)  # squarer is nearer
    assert not torch.equal(superpixels(x), superpixels(x, method="quickshift"))
    parts = torch.zeros(1, 3, 20, 30)
    parts[:, 0, :, 15:] = 1.0  # a red half
    labels = superpixels(parts, n_segments=6)[0]
    assert not set(labels[:, :15].unique().tolist()) & set(labels[:, 15:].unique().tolist())


@pytest.mark.parametrize("noise", [0.05, 0.07, 0.1, 0.2])
def test_noise_does_not_leave_one_superpixel(noise):
    cat = load_photo("cat")
    x = (cat + noise * torch.randn(cat.shape, generator=seeded())).clamp(0, 1)
    assert 13 <= int(superpixels(x).max()) + 1 <= 75  # of 50 asked for
    assert 39 == int(superpixels(cat).max()) + 1  # an image without noise is not smoothed


with_segments = pytest.mark.parametrize("explain", [lime, lime_fit, shapley, shapley_fit])


@pytest.mark.parametrize("name", ["n_segments", "n_masks", "grid", "size"])
@pytest.mark.parametrize("count", [0, -3, 1.0, "8", None, True], ids=str)
def test_counts_of_masks_and_superpixels(name, count):
    def call():
        if name == "n_segments":
            return superpixels(images(1), n_segments=count)
        return rise_masks(**{"n_masks": 4, "size": 16} | {name: count})

    message = complaint(call, error=(ValueError, TypeError))
    assert_says(message, f"{name} must be a positive whole number", f"got {count!r}")


GAP = patches().clone()


GAP[GAP == 4] = 5


SEGMENTS = [
    (patches((17, 20)), ValueError, ["segments must have the shape (2, 17, 21) or (17, 21)", "(17, 20)"]),
    (patches().expand(3, 17, 21), ValueError, ["segments must have the shape", "got (3, 17, 21)"]),
    (patches().expand(2, 1, 17, 21), ValueError, ["segments must have the shape", "got (2, 1, 17, 21)"]),
    (patches().float(), ValueError, ["segments must hold labels (integers)", "float32"]),
    (patches() > 2, ValueError, ["segments must hold labels (integers)", "bool"]),
    (GAP, ValueError, ["segments must be labelled from 0 without gaps", "image 0", "label 4 is missing"]),
    (torch.stack([patches(), GAP]), ValueError, ["segments", "in image 1 label 4 is missing", "0 to 5"]),
    (patches() + 1, ValueError, ["segments must be labelled from 0", "label 0 is missing"]),
    (patches() - 1, ValueError, ["segments must be labelled from 0", "label -1 is negative"]),
    (patches().numpy(), TypeError, ["segments must be a tensor of labels", "ndarray"]),
    ("slic", TypeError, ["segments must be a tensor of labels", "str"]),
    (patches().to("meta"), ValueError, ["segments is on meta, but x is on cpu", "segments.to('cpu')"]),
]


@with_segments
@pytest.mark.parametrize("segments, error, words", SEGMENTS)
def test_segments(explain, segments, error, words):
    model = build(Counting)
    message = complaint(lambda: explain(model, images(2), segments=segments), model, error)
    assert_says(message, *words)


def test_the_remedy_for_gaps_works(device):
    model, x = build(Plain).to(device), images(1, device=device)
    closed = GAP.to(device).unique(return_inverse=True)[1]
    assert lime(model, x, 1, segments=closed, n_samples=20).shape == (1, *SIZE)
    small = patches(device=device).to(torch.uint8)  # any whole numbers will do
    assert torch.equal(quick_lime(model, x, 1, segments=small), quick_lime(model, x, 1))


def test_too_few_samples():
    model, x, segments = build(Counting), images(2), torch.stack([patches(), patches(rows=3, columns=4)])
    for explain in (lime, lime_fit):
        message = complaint(lambda f=explain: f(model, x, 1, segments=segments, n_samples=12), model)
        assert_says(message, "n_samples must be at least 13", "12 superpixels", "got 12")
    for explain in (shapley, shapley_fit):
        message = complaint(lambda f=explain: f(model, x, 1, segments=segments, n_samples=25), model)
        assert_says(message, "n_samples must be at least 26", "12 superpixels", "got 25")
        message = complaint(lambda f=explain: f(model, x, 1, segments=patches(rows=1), n_samples=7), model)
        assert_says(message, "n_samples must be at least 8", "3 superpixels", "got 7")
    lime(model, x, 1, segments=segments, n_samples=13)
    shapley(model, x, 1, segments=segments, n_samples=26)
    shapley(model, x, 1, segments=patches(rows=1), n_samples=8)


@pytest.mark.parametrize("explain", [lime, lime_fit])
@pytest.mark.parametrize("value", [0, 0.0, -1.0, float("nan"), float("inf"), "1", None, True])
def test_kernel_width_and_penalty(explain, value):
    model = build(Counting)
    message = complaint(lambda: explain(model, images(1), kernel_width=value), model)
    assert_says(message, "kernel_width must be a finite number, above 0", f"got {value!r}")
    if value not in (0, 0.0) or isinstance(value, bool):
        message = complaint(lambda: explain(model, images(1), alpha=value), model)
        assert_says(message, "alpha must be a finite number, 0 or more", f"got {value!r}")


@pytest.mark.parametrize("compactness", [0, -1.0, float("nan"), "10", None])
def test_compactness(compactness):
    message = complaint(lambda: superpixels(images(1), compactness=compactness))
    assert_says(message, "compactness must be a finite number, above 0", f"got {compactness!r}")


@pytest.mark.parametrize(
    "x, error, words",
    [
        (torch.rand(3, 9, 9), ValueError, ["x must be 4-D", "(3, 9, 9)", "x[None]"]),
        (torch.ones(2, 3, 9, 9, dtype=torch.uint8), ValueError, ["floating-point pixels", "x / 255"]),
        (torch.full((1, 3, 9, 9), torch.nan), ValueError, ["x must be finite", "243 NaN"]),
        (torch.rand(0, 3, 9, 9), ValueError, ["empty batch"]),
        (np.zeros((1, 3, 9, 9)), TypeError, ["x must be a tensor", "ndarray"]),
    ],
    ids=["3-D", "bytes", "NaN", "empty", "array"],
)
def test_what_cannot_be_cut(x, error, words):
    assert_says(complaint(lambda: superpixels(x), error=error), *words)


@pytest.mark.parametrize("n, paired", [(26, True), (28, True), (27, False)])
def test_too_few_coalitions_for_an_error(n, paired, device):
    segments = patches(rows=3, columns=4, device=device)
    options = dict(segments=segments, n_samples=n, fill=0.0, paired=paired, generator=seeded(device))
    fit = shapley_fit(game(segments, rough(12)), white(device), 0, **options)
    assert fit.heatmap.shape == (1, *SIZE)
    least = 30 if paired else 28
    for name in ("standard_error", "relative_error"):
        message = complaint(lambda n=name: getattr(fit, n))
        assert_says(message, f"n_samples must be at least {least} to estimate an error", f"got {n}")
