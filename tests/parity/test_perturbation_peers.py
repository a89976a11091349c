"""Black-box methods agree with Captum, scikit-learn, scikit-image and the formulas of the papers.

Each peer is asked for the softmax probability, which is what ours explain, and is given our samples or masks.
"""

from itertools import combinations, product
from math import factorial

import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import KernelShap, LimeBase, Occlusion
from scipy.ndimage import gaussian_filter
from skimage.segmentation import quickshift, slic
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import pairwise_distances

from tests.architectures import Branches, Plain, build, images, relative_error
from xai_lib import (
    lime,
    lime_fit,
    load_photo,
    occlusion,
    rise,
    rise_masks,
    shapley,
    shapley_fit,
    superpixels,
)

# Captum gathers its differences in single precision, whatever the model computes in.
over_precision = pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float64, 1e-6), (torch.float32, 1e-5)], ids=["float64", "float32"]
)


def double(kind, device, **options):
    return build(kind, **options).to(device, torch.float64)


def pixels(n, size=(17, 21), device="cpu", seed=0):
    return images(n, size, seed, dtype=torch.float64, device=device)


def probabilities(model):
    return lambda x: model(x).softmax(1)


def seeded(device, seed=0):
    return torch.Generator(device).manual_seed(seed)


def patches(size, rows, columns, device="cpu"):
    """Superpixels that are a chessboard of unequal fields."""
    down = torch.arange(size[0], device=device) * rows // size[0]
    across = torch.arange(size[1], device=device) * columns // size[1]
    return down[:, None] * columns + across


# ------------------------------------------------------------------------------------------------- occlusion


@over_precision
@pytest.mark.parametrize(
    "size, window, stride",
    [
        ((17, 21), (5, 5), (5, 5)),  # the last windows are cut off along both axes
        ((17, 21), (5, 5), (3, 4)),  # the last windows fit
        ((17, 21), (4, 7), (3, 2)),
        ((17, 21), (6, 4), (6, 1)),
        ((17, 21), (17, 3), (17, 3)),  # as high as the image
        ((17, 21), (17, 21), (1, 1)),  # one window
        ((20, 12), (5, 6), (4, 5)),
        ((9, 9), (1, 1), (1, 1)),  # pixel by pixel
    ],
)
def test_occlusion_is_captums(size, window, stride, dtype, tolerance, device):
    model, x = build(Plain).to(device, dtype), images(3, size, dtype=dtype, device=device)
    fills = (0.0, 0.6, images(1, (1, 1), seed=1).to(x)[0], images(3, size, seed=2).to(x))
    for fill, target in zip(fills, (0, 3, torch.tensor([4, 1, 1], device=device), 2), strict=True):
        expected = Occlusion(probabilities(model)).attribute(
            x,
            sliding_window_shapes=(3, *window),
            strides=(3, *stride),
            baselines=fill.expand_as(x) if isinstance(fill, torch.Tensor) else fill,
            target=target,
            perturbations_per_eval=4,
        )
        ours = occlusion(model, x, target, window=window, stride=stride, fill=fill, batch_size=8)
        assert (expected == expected[:, :1]).all()  # Captum gives every channel the same
        assert relative_error(ours, expected[:, 0].to(dtype)) < tolerance


def test_one_number_serves_both_axes(device):
    model, x = double(Branches, device), pixels(2, (19, 23), device)
    expected = Occlusion(probabilities(model)).attribute(x, (3, 6, 6), (3, 4, 4), target=5)[:, 0]
    assert relative_error(occlusion(model, x, 5, window=6, stride=4), expected) < 1e-6


# ------------------------------------------------------------------------------------------------------ LIME


@pytest.mark.parametrize("alpha", [1.0, 0.01, 30.0])
@pytest.mark.parametrize("kernel_width", [0.25, 0.1, 2.0])
@pytest.mark.parametrize("paired", [True, False])
def test_lime_is_sklearns_weighted_ridge(alpha, kernel_width, paired, device):
    model, x = double(Plain, device), pixels(2, device=device)
    segments = torch.stack([patches((17, 21), 3, 4, device), patches((17, 21), 2, 3, device)])
    fit = lime_fit(
        model,
        x,
        torch.tensor([[0, 3], [4, 1]], device=device),
        segments=segments,
        n_samples=61,
        paired=paired,
        kernel_width=kernel_width,
        alpha=alpha,
        generator=seeded(device),
    )
    assert fit.coefficients.shape == (2, 2, 12) and fit.scores.shape == (2, 2, 61)
    assert (fit.coefficients[1, :, 6:] == 0).all()  # superpixels that the second image lacks
    for i, d in enumerate((12, 6)):
        Z, weights = fit.samples[:, :d].double().cpu().numpy(), fit.weights[i].cpu().numpy()
        for k in range(2):
            y = fit.scores[i, k].cpu().numpy()
            ridge = Ridge(alpha).fit(Z, y, sample_weight=weights)
            np.testing.assert_allclose(fit.coefficients[i, k, :d].cpu(), ridge.coef_, rtol=1e-6, atol=1e-10)
            np.testing.assert_allclose(fit.intercept[i, k].cpu(), ridge.intercept_, rtol=1e-6)
            np.testing.assert_allclose(fit.r2[i, k].cpu(), ridge.score(Z, y, weights), rtol=1e-6)


def test_without_a_penalty_lime_is_weighted_least_squares(device):
    model, x = double(Plain, device), pixels(1, device=device)
    fit = lime_fit(
        model,
        x,
        2,
        segments=patches((17, 21), 3, 3, device),
        n_samples=50,
        alpha=0,
        generator=seeded(device),
    )
    Z, y, weights = (
        fit.samples.double().cpu().numpy(),
        fit.scores[0].cpu().numpy(),
        fit.weights[0].cpu().numpy(),
    )
    plain = LinearRegression().fit(Z, y, sample_weight=weights)
    np.testing.assert_allclose(fit.coefficients[0].cpu(), plain.coef_, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(fit.r2[0].cpu(), plain.score(Z, y, weights), rtol=1e-6)


@pytest.mark.parametrize("kernel_width", [0.25, 0.7])
def test_limes_weights_follow_its_authors_convention(kernel_width, device):
    """Cosine distance to the row of ones, then the root of a Gaussian; also where everything is hidden."""
    model, x = double(Plain, device), pixels(2, device=device)
    segments = torch.stack([patches((17, 21), 3, 4, device), patches((17, 21), 1, 5, device)])
    fit = lime_fit(
        model,
        x,
        1,
        segments=segments,
        n_samples=80,
        kernel_width=kernel_width,
        generator=seeded(device),
    )
    assert not fit.samples[1].any()  # the twin of the whole image
    for i, d in enumerate((12, 5)):
        Z = fit.samples[:, :d].double().cpu().numpy()
        distance = pairwise_distances(Z, Z[:1], metric="cosine")[:, 0]
        expected = np.sqrt(np.exp(-(distance**2) / kernel_width**2))
        np.testing.assert_allclose(fit.weights[i].cpu(), expected, rtol=1e-6)


def test_lime_is_captums_on_the_same_samples(device):
    model, x = build(Plain).to(device), images(1, device=device)
    segments = patches((17, 21), 3, 4, device)
    fit = lime_fit(model, x, 3, segments=segments, n_samples=70, fill=0.3, generator=seeded(device))
    turn, weight = iter(fit.samples), iter(fit.weights[0])
    captum = LimeBase(
        probabilities(model),
        SkLearnRidge(alpha=1.0),
        similarity_func=lambda *_, **__: next(weight),
        perturb_func=lambda *_, **__: next(turn)[None],
        perturb_interpretable_space=True,
        from_interp_rep_transform=lambda z, image, **_: torch.where(z[0][segments], image, 0.3),
        to_interp_rep_transform=None,
    )
    expected = captum.attribute(x, target=3, n_samples=70, perturbations_per_eval=10)
    assert relative_error(fit.coefficients, expected.to(device)) < 1e-5
    assert next(turn, None) is None and next(weight, None) is None  # all were asked for
    assert torch.equal(fit.heatmap[0], fit.coefficients[0][segments])
    assert torch.equal(
        lime(model, x, 3, segments=segments, n_samples=70, fill=0.3, generator=seeded(device)), fit.heatmap
    )


# ------------------------------------------------------------------------------------------------ KernelSHAP


def shapley_by_the_letter(value, d):
    """Shapley values of a game given as a function of a frozenset: every coalition, the definition."""
    worth = {s: value(s) for k in range(d + 1) for s in map(frozenset, combinations(range(d), k))}
    return torch.tensor(
        [
            sum(
                factorial(len(s)) * factorial(d - len(s) - 1) / factorial(d) * (worth[s | {j}] - worth[s])
                for s in worth
                if j not in s
            )
            for j in range(d)
        ],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 2), (1, 3), (2, 2), (1, 5), (2, 3)])
@pytest.mark.parametrize("fill", ["mean", 0.0])
def test_shapley_is_exact_where_all_coalitions_fit(rows, columns, fill, device):
    model, x = double(Plain, device), pixels(2, device=device)
    segments, d, target = patches((17, 21), rows, columns, device), rows * columns, [3, 1]
    fit = shapley_fit(
        model, x, torch.tensor(target, device=device), segments=segments, n_samples=2**d, fill=fill
    )
    assert fit.exact and fit.samples.shape == (2, 2**d, d)
    assert all(len({tuple(z) for z in rows.tolist()}) == 2**d for rows in fit.samples)  # each once
    for i in range(2):
        hidden = torch.zeros_like(x[i])
        if fill == "mean":
            for k in range(d):
                hidden[:, segments == k] = x[i][:, segments == k].mean(1, keepdim=True)

        def value(shown, i=i, hidden=hidden):
            keep = torch.isin(segments, torch.tensor(sorted(shown), device=device, dtype=torch.int64))
            return model(torch.where(keep, x[i], hidden)[None]).softmax(1)[0, target[i]].item()

        expected = shapley_by_the_letter(value, d)
        torch.testing.assert_close(fit.values[i].cpu(), expected, rtol=1e-9, atol=1e-12)
        assert fit.full[i].item() == pytest.approx(value(frozenset(range(d))), rel=1e-12)
        assert fit.empty[i].item() == pytest.approx(value(frozenset()), rel=1e-12)


def test_shapley_is_near_captums_kernel_shap(device):
    """Captum samples coalitions at random even where all fit: near, and nearer than the values are apart."""
    model, x = build(Plain).to(device), images(1, device=device)
    segments = patches((17, 21), 2, 3, device)
    torch.manual_seed(0)
    expected = KernelShap(probabilities(model)).attribute(
        x, 0.0, 3, feature_mask=segments[None, None], n_samples=1500, perturbations_per_eval=100
    )
    ours = shapley(model, x, 3, segments=segments, n_samples=64, fill=0.0)
    assert relative_error(ours, expected[:, 0]) < 0.05
    assert (ours.max() - ours.min()) / ours.abs().max() > 0.2


# ------------------------------------------------------------------------------------------------------ RISE

DRAWS = [
    pytest.param(dict(paired=False), id="independent"),
    pytest.param(dict(balanced=False), id="paired"),
    pytest.param(dict(keep=0.3), id="antithetic"),
    pytest.param(dict(paired=False, keep=0.8), id="keep-most"),
    pytest.param(dict(balanced=True), id="balanced"),
]


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("normalize", ["coverage", "expected"])
@pytest.mark.parametrize("fill", [0.0, 0.7])
def test_rise_is_its_formula(draw, normalize, fill, device):
    model, x = build(Plain).to(device), images(3, device=device)
    options = dict(n_masks=100, grid=3, generator=seeded(device, 5))
    masks = rise_masks(100, (17, 21), grid=3, device=device, generator=seeded(device, 5), **draw)
    target = torch.tensor([[4, 0], [2, 3], [0, 4]], device=device)
    ours = rise(model, x, target, normalize=normalize, fill=fill, batch_size=32, **options, **draw)
    assert ours.shape == (3, 2, 17, 21)
    sampled = masks.sum(0) if normalize == "coverage" else torch.tensor(100 * draw.get("keep", 0.5))
    for i, k in product(range(3), range(2)):
        faded = x[i] * masks[:, None] + fill * (1 - masks[:, None])
        p = model(faded).softmax(1)[:, target[i, k]].detach()
        expected = (p[:, None, None] * masks).sum(0) / sampled.to(device)
        assert relative_error(ours[i, k], expected) < 1e-5


def test_papers_rise_is_the_authors_formula(device):
    """Multiply, score, average, divide by N p: the paper's equation, with independent masks."""
    model, x = build(Plain).to(device), images(1, (24, 16), device=device)
    masks = rise_masks(60, (24, 16), grid=4, paired=False, device=device, generator=seeded(device))
    p = model(masks[:, None] * x).softmax(1)[:, 1].detach()
    expected = p @ masks.flatten(1) / 60 / 0.5
    ours = rise(model, x, 1, n_masks=60, grid=4, paired=False, normalize="expected", generator=seeded(device))
    assert relative_error(ours.flatten(1), expected[None]) < 1e-5


# --------------------------------------------------------------------------------------- superpixels, blurs


def test_superpixels_are_scikit_images():
    x = torch.cat([load_photo("cat", 48), load_photo("coffee", 48)])
    for image, ours, other in zip(
        x, superpixels(x, n_segments=20, compactness=5), superpixels(x, method="quickshift"), strict=True
    ):
        pixels = image.permute(1, 2, 0).double().numpy()
        expected = slic(pixels, 20, 5, start_label=0)
        assert np.array_equal(np.unique(expected, return_inverse=True)[1].reshape(48, 48), ours)
        expected = quickshift(pixels, kernel_size=4, max_dist=200, ratio=0.2, rng=0)
        assert np.array_equal(np.unique(expected, return_inverse=True)[1].reshape(48, 48), other)


@pytest.mark.parametrize("size", [(17, 21), (40, 20), (3, 50)])
def test_the_blur_is_scipys_gaussian(size, device):
    model, x = double(Plain, device), pixels(2, (max(size[0], 7), size[1]), device)
    seen = []
    handle = model.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    height, width = x.shape[-2:]
    occlusion(model, x, 1, window=(height, width), stride=1, fill="blur")  # one window hides everything
    handle.remove()
    sigma = min(height, width) / 20
    expected = gaussian_filter(
        x.cpu().numpy(), (0, 0, sigma, sigma), mode="mirror", radius=int(np.ceil(2 * sigma))
    )
    np.testing.assert_allclose(torch.cat(seen)[2:].cpu(), expected, atol=1e-12)
    assert relative_error(x, torch.from_numpy(expected).to(x)) > 0.05
