"""Laws and promises of occlusion, RISE and black boxes; other libraries are compared in tests/parity."""

import math
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from tests.architectures import Plain, build, images, relative_error
from tests.black_boxes import (
    COUNTS,
    DRAWS,
    EVERY,
    HAVE_A_DEFAULT,
    NO_COUNTS,
    RANDOM,
    SIZE,
    Constant,
    Watch,
    actual_errors,
    checked,
    converged,
    double,
    drawn_masks,
    every_draw,
    every_explainer,
    every_explainer_and_cost,
    many_fits,
    occlusion_by_the_letter,
    patches,
    pixels,
    probabilities,
    quick_lime,
    quick_occlusion,
    quick_rise,
    root_mean_square,
    root_mean_square_by_image,
    seeded,
    soft_mask,
    tiny,
    tree_predict,
    with_masks,
    without_level,
)
from tests.promises import Counting, assert_says, complaint
from xai_lib import (
    black_box,
    digits,
    lime,
    lime_fit,
    load_model,
    load_photo,
    occlusion,
    rise,
    rise_fit,
    rise_masks,
    shapes,
    shapley,
    shapley_fit,
    superpixels,
)


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(dict(paired=False, normalize="expected"), id="independent"),
        pytest.param(dict(paired=False, normalize="expected", keep=0.3), id="independent-30%"),
        pytest.param(dict(balanced=False), id="paired"),
        pytest.param(dict(normalize="expected", keep=0.3), id="antithetic-30%"),
        pytest.param(dict(normalize="expected", keep=0.8), id="antithetic-80%"),
        pytest.param(dict(balanced=True), id="balanced"),
        pytest.param(dict(balanced=True, normalize="expected"), id="balanced-expected"),
    ],
)
def test_rise_is_unbiased(draw, device):
    """The mean over seeds is the exact limit, within the scatter's standard error."""
    maps = torch.stack([f.heatmap for f in many_fits(device, 128, 150, **draw)])
    mean, error = maps.mean(0), maps.std(0) / len(maps) ** 0.5
    expected = converged(device, draw.get("keep", 0.5))
    z = (mean - expected) / error
    assert z.abs().max() < 5 and root_mean_square(z) < 3  # neighbours err alike
    # and that is a sharp statement
    assert (error.square().mean((1, 2)).sqrt() < 0.15 * expected.flatten(1).std(1)).all()


@pytest.mark.parametrize("keep", [0.5, 0.3])
def test_division_by_coverage_converges_to_the_same_map(keep, device):
    fits = many_fits(device, 4096, 10, paired=False, keep=keep)
    mean = torch.stack([f.heatmap for f in fits]).mean(0)
    expected = converged(device, keep)
    deviation = expected.flatten(1).std(1, correction=0)
    assert ((mean - expected).square().mean((1, 2)).sqrt() / deviation < 0.08).all()


@every_draw
def test_the_error_falls_with_the_root_of_the_number_of_masks(draw, device):
    expected = converged(device)
    few, many = (
        root_mean_square(actual_errors(many_fits(device, n, seeds, **draw), expected))
        for n, seeds in ((256, 40), (4096, 20))
    )
    fastest = 5.5 if draw != DRAWS["balanced"] else 16  # whose shifts too are spread evenly
    assert 3 < few / many < fastest


def test_the_better_the_masks_are_drawn_the_smaller_the_error(device):
    expected = converged(device)
    error = {
        name: root_mean_square(actual_errors(many_fits(device, 512, 40, **draw), expected))
        for name, draw in DRAWS.items()
    }
    assert error["coverage"] < 0.75 * error["expected"]
    assert error["paired"] < 0.75 * error["expected"]  # on a level with coverage
    assert error["balanced"] < 0.5 * min(error["paired"], error["coverage"])


@every_draw
@pytest.mark.parametrize("n_masks", [256, 1024])
def test_the_reported_error_is_the_actual_error(draw, n_masks, device):
    expected, fits = converged(device), many_fits(device, n_masks, 40, **draw)
    # Value by value. Replicates cannot tell what evenly spread shifts gain: for balanced blocks it is an
    # upper estimate.
    actual = root_mean_square_by_image([f.heatmap - expected for f in fits])
    standard = torch.stack([f.standard_error.square().mean((1, 2)) for f in fits]).mean(0).sqrt()
    most = 1.6 if draw != DRAWS["balanced"] else 5
    assert (standard / actual > 1 / 1.6).all() and (standard / actual < most).all()
    # Of the pattern, without its level.
    actual = root_mean_square_by_image([without_level(f.heatmap - expected) for f in fits])
    actual = actual / expected.flatten(1).std(1, correction=0)
    reported = torch.stack([f.relative_error for f in fits]).median(0).values
    assert (reported / actual > 1 / 1.6).all() and (reported / actual < most).all()


def test_on_a_real_network_the_reported_error_is_the_actual_error_for_balanced_blocks_too(device):
    """There the bits matter more than the shifts, and blocks are all but independent."""
    model, x = load_model("small_vgg", device), shapes(1, seed=3).images.to(device)
    expected = rise(model, x, 0, n_masks=3072, generator=seeded(device, 99))
    fits = [rise_fit(model, x, 0, n_masks=384, generator=seeded(device, s)) for s in range(3)]
    actual = root_mean_square_by_image([without_level(f.heatmap - expected) for f in fits])
    ratio = fits[1].relative_error * expected.std(correction=0) / actual
    assert 1 / 1.6 < ratio.item() < 1.6


def test_the_relative_error_tells_the_correlation_with_the_converged_map(device):
    expected = converged(device).flatten(1)
    for fit in many_fits(device, 512, 4, paired=False):
        for i in range(2):
            correlation = torch.corrcoef(torch.stack([fit.heatmap[i].flatten(), expected[i]]))[0, 1].item()
            assert correlation > 0.9 / (1 + fit.relative_error[i].item() ** 2) ** 0.5


def test_a_flat_map_has_no_error_and_noise_alone_an_infinite_one(device):
    draws = (DRAWS["paired"], DRAWS["coverage"], DRAWS["balanced"], dict(keep=0.3))
    for draw, n_masks, dtype in product(draws, (64, 500, 5000), (torch.float64, torch.float32)):
        model, x = Constant().eval(), pixels(2, (12, 15), device).to(dtype)
        fit = rise_fit(model, x, 0, n_masks=n_masks, grid=3, generator=seeded(device), **draw)
        rounding = 100 * torch.finfo(dtype).eps
        assert (fit.relative_error == 0).all() and fit.standard_error.max() < rounding
        assert fit.heatmap.sub(probabilities(model, x)[0, 0]).abs().max() < rounding
    x = x.double()
    fit = rise_fit(model, x, 0, n_masks=64, grid=3, generator=seeded(device), **DRAWS["expected"])
    assert (fit.relative_error > 1).all()  # chance coverage is all there is to see
    assert any(
        torch.isinf(
            rise_fit(
                model, x, 0, n_masks=64, grid=3, generator=seeded(device, s), **DRAWS["expected"]
            ).relative_error
        ).all()
        for s in range(5)
    )


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 40),
    height=st.integers(4, 24),
    width=st.integers(4, 24),
    grid=st.integers(1, 4),
    keep=st.sampled_from([0.1, 0.5, 0.7]),
    paired=st.booleans(),
    seed=st.integers(0, 99),
)
def test_masks_are_windows_of_upsampled_bits(n, height, width, grid, keep, paired, seed):
    size = (height, width)
    masks = rise_masks(n, size, grid=grid, keep=keep, paired=paired, generator=seeded(seed=seed))
    assert masks.shape == (n, *size) and masks.dtype == torch.float32
    assert masks.min() >= 0 and masks.max() <= 1 + 1e-6
    drawn = drawn_masks(n, size, grid, keep, paired, None, torch.device("cpu"), seeded(seed=seed))
    assert drawn.bits.shape == (n, grid, grid) and drawn.bits.dtype == torch.bool
    for i in range(n):
        shift = drawn.shifts[i // drawn.together].tolist()
        assert all(0 <= s < math.ceil(length / grid) for s, length in zip(shift, size, strict=True))
        expected = soft_mask(drawn.bits[i : i + 1].float(), shift, size)[0]
        torch.testing.assert_close(masks[i], expected, atol=1e-5, rtol=0)


@every_draw
def test_masks_are_right_on_average(draw, device):
    """Each pixel is kept as often as asked for, each shift is as frequent as any other."""
    draw = {k: v for k, v in draw.items() if k != "normalize"}
    for keep in (0.5, 0.2) if draw != DRAWS["balanced"] else (0.5,):
        masks = rise_masks(6400, (12, 15), grid=3, keep=keep, device=device, generator=seeded(device), **draw)
        assert (masks.mean(0) - keep).abs().max() < 5 * (keep * (1 - keep) / 6400) ** 0.5
        drawn = drawn_masks(
            6400,
            (12, 15),
            3,
            keep,
            draw.get("paired", True),
            draw.get("balanced"),
            device,
            seeded(device),
        )
        for axis, cell in enumerate((4, 5)):
            shifts = drawn.shifts[:, axis]
            shares = torch.bincount(shifts, minlength=cell).double() / len(shifts)
            assert shares.shape == (cell,)
            assert (shares - 1 / cell).abs().max() < 5 * (1 / cell / len(shifts)) ** 0.5
        cells = drawn.bits.double().mean(0)
        assert (cells - keep).abs().max() < 5 * (keep * (1 - keep) / 6400) ** 0.5


@pytest.mark.parametrize("position", [0, 1, 2, 13, 30, 63, 64])
def test_every_balanced_mask_alone_is_a_fair_grid(position, device):
    """Over seeds, the mask at any place of a block has independent fair bits and a uniform shift."""
    drawn = [drawn_masks(72, (12, 15), 3, 0.5, True, True, device, seeded(device, s)) for s in range(400)]
    bits = torch.stack([m.bits[position].flatten() for m in drawn]).double().cpu()
    assert (bits.mean(0) - 0.5).abs().max() < 4.5 * 0.5 / 400**0.5
    agreement = torch.corrcoef(bits.T) - torch.eye(9, dtype=torch.float64)
    assert agreement.abs().max() < 4.5 / 400**0.5
    sums = bits.sum(1)  # binomial: not only the balanced half of all grids
    assert sums.var().item() == pytest.approx(9 / 4, rel=0.35)
    for axis, cell in enumerate((4, 5)):
        shifts = torch.stack([m.shifts[position // m.together, axis] for m in drawn]).cpu()
        shares = torch.bincount(shifts, minlength=cell).double() / 400
        assert (shares - 1 / cell).abs().max() < 4.5 * (1 / cell / 400) ** 0.5


@pytest.mark.parametrize("grid, block", [(1, 4), (2, 16), (3, 32), (4, 64), (7, 128)])
def test_in_a_balanced_block_any_two_cells_agree_in_half_of_the_masks(grid, block, device):
    n = 3 * block
    drawn = drawn_masks(n, (14, 16), grid, 0.5, True, None, device, seeded(device))
    assert drawn.together == block and len(drawn.shifts) == 3  # balanced where it can be
    for part in drawn.bits.flatten(1).split(block):
        signs = 2 * part.double() - 1
        assert torch.equal(signs.T @ signs, block * torch.eye(grid * grid, dtype=signs.dtype, device=device))
        assert (signs.sum(0) == 0).all()
        assert torch.equal(part[::2], ~part[1::2])
    assert (
        len({tuple(part.flatten().tolist()) for part in drawn.bits.split(block)}) == 3 or grid == 1
    )  # drawn anew
    short = drawn_masks(2 * block - 1, (14, 16), grid, 0.5, True, None, device, seeded(device))
    assert short.together == 2
    off = drawn_masks(n, (14, 16), grid, 0.5, True, False, device, seeded(device))
    assert off.together == 2


@pytest.mark.parametrize("keep", [0.5, 0.1, 0.3, 0.75])
def test_pairs_are_as_opposite_as_can_be(keep, device):
    masks = rise_masks(2001, 12, grid=4, keep=keep, balanced=False, device=device, generator=seeded(device))
    assert masks.shape == (2001, 12, 12)  # the last without its twin
    one, twin = masks[:-1:2], masks[1::2]
    if keep == 0.5:
        torch.testing.assert_close(one + twin, torch.ones_like(one))
    bits = drawn_masks(2001, (12, 12), 4, keep, True, False, torch.device(device), seeded(device)).bits
    a, b = bits[:-1:2], bits[1::2]
    if keep <= 0.5:
        assert not (a & b).any()  # never both
    if keep >= 0.5:
        assert (a | b).all()  # never neither
    for side in (a, b):
        assert abs(side.double().mean().item() - keep) < 5 * (keep * (1 - keep) / side.numel()) ** 0.5


@pytest.mark.parametrize("draw", [DRAWS["paired"], dict(paired=False), dict(keep=0.3), dict(balanced=True)])
def test_rise_masks_are_those_that_rise_uses(draw, device):
    model, x = double(Plain, device).float(), torch.ones(1, 3, 17, 21, device=device)
    masks = rise_masks(70, (17, 21), grid=3, device=device, generator=seeded(device), **draw)
    with Watch(model) as watch:
        rise(model, x, 1, n_masks=70, grid=3, batch_size=16, generator=seeded(device), **draw)
    seen = torch.cat(watch.passes)
    assert seen.shape == (70, 3, 17, 21)
    for channel in range(3):
        torch.testing.assert_close(seen[:, channel], masks, rtol=0, atol=1e-6)
    assert torch.equal(
        rise_masks(8, 20, device=device, generator=seeded(device)),
        rise_masks(8, (20, 20), device=device, generator=seeded(device)),
    )


def test_a_tolerance_stops_early_and_whatever_the_batch_size(device):
    model, x, target = tiny(device)
    run = partial(rise_fit, model, x, target, n_masks=5000, grid=3, tolerance=0.35, balanced=False)
    with Watch(model) as watch:
        fit = run(generator=seeded(device))
    assert 128 < fit.n_masks < 5000 and fit.n_masks % 128 == 0
    assert (fit.relative_error <= 0.35).all()
    assert sum(watch.sizes) == 2 * fit.n_masks
    for batch_size in (1, 50, 100, 4096):
        other = run(generator=seeded(device), batch_size=batch_size)
        assert other.n_masks == fit.n_masks
        torch.testing.assert_close(other.heatmap, fit.heatmap, rtol=1e-12, atol=1e-12)
    ours = rise(
        model,
        x,
        target,
        n_masks=5000,
        grid=3,
        tolerance=0.35,
        balanced=False,
        generator=seeded(device),
    )
    assert torch.equal(ours, fit.heatmap)
    # The map is that of the masks used, and one round less was not enough.
    masks = rise_masks(
        5000, (12, 15), grid=3, balanced=False, device=device, generator=seeded(device)
    ).double()
    used = masks[: fit.n_masks]
    p = torch.stack([probabilities(model, x[i] * used[:, None])[:, c] for i, c in enumerate(target.tolist())])
    assert relative_error(fit.heatmap, torch.einsum("nm,mhw->nhw", p, used) / used.sum(0)) < 1e-6


def test_the_strictest_map_decides_when_to_stop(device):
    model, x, target = tiny(device)
    run = partial(rise_fit, model, n_masks=5000, grid=3, tolerance=0.15, paired=False)
    black = torch.zeros_like(x[:1])  # its map is flat at once
    assert run(black, 0, generator=seeded(device)).n_masks == 128
    alone = run(x[:1], int(target[0]), generator=seeded(device))
    together = run(torch.cat([black, x[:1], black]), int(target[0]), generator=seeded(device))
    assert together.n_masks == alone.n_masks > 128
    torch.testing.assert_close(together.heatmap[1], alone.heatmap[0], rtol=1e-12, atol=1e-12)


def test_a_tolerance_out_of_reach_uses_all_masks(device):
    model, x, target = tiny(device)
    fit = rise_fit(model, x, target, n_masks=300, grid=3, tolerance=1e-6, generator=seeded(device))
    assert fit.n_masks == 300 and (fit.relative_error > 1e-6).all()
    plain = rise_fit(model, x, target, n_masks=300, grid=3, generator=seeded(device))
    torch.testing.assert_close(fit.heatmap, plain.heatmap, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        rise(model, x, target, n_masks=300, grid=3, generator=seeded(device)),
        plain.heatmap,
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("window, half", [(6, (3, 3)), ((5, 8), (2, 4)), (1, (1, 1))])
def test_occlusion_steps_by_half_a_window_unless_told_otherwise(window, half):
    model, x = build(Plain), images(1)
    assert torch.equal(
        occlusion(model, x, 1, window=window), occlusion(model, x, 1, window=window, stride=half)
    )


@pytest.mark.parametrize("window, stride", [((5, 8), (4, 3)), ((6, 6), (6, 6)), ((17, 4), (1, 4))])
@pytest.mark.parametrize("fill", [0.2, "mean", "grey"])
def test_occlusion_does_what_it_says(window, stride, fill, device):
    model, x = double(Plain, device), pixels(2, device=device)
    hidden = {
        0.2: torch.full_like(x, 0.2),
        "grey": torch.full_like(x, 0.5),
        "mean": x.mean((2, 3), keepdim=True).expand_as(x),
    }[fill]
    target = [4, 1]
    ours = occlusion(
        model, x, torch.tensor(target, device=device), window=window, stride=stride, fill=fill, batch_size=5
    )
    assert (ours < 0).any() and (ours > 0).any()
    expected = occlusion_by_the_letter(model, x, target, window, stride, hidden)
    assert relative_error(ours, expected) < 1e-11


@pytest.mark.parametrize("fill", [0.0, 0.25, "mean", "grey", "blur", "colour", "image"])
def test_rise_fades_to_the_fill(fill, device):
    model, x = double(Plain, device), pixels(2, device=device)
    given = {
        "colour": torch.tensor([0.1, 0.5, 0.9], device=device)[:, None, None],
        "image": pixels(2, device=device, seed=9),
    }.get(fill, fill)
    with Watch(model) as watch:
        occlusion(model, x, 1, window=SIZE, stride=1, fill=given)  # its last image is hidden altogether
        rise(model, x, 1, n_masks=20, grid=3, fill=given, generator=seeded(device))
    hidden = watch.passes[0][2:]
    wanted = {"mean": x.mean((2, 3), keepdim=True), "grey": 0.5, "blur": hidden}.get(fill, given)
    torch.testing.assert_close(hidden, torch.as_tensor(wanted, device=device).double().expand_as(x))
    masks = rise_masks(20, SIZE, grid=3, device=device, generator=seeded(device)).double()[:, None, None]
    torch.testing.assert_close(
        torch.cat(watch.passes[1:]).unflatten(0, (20, 2)),
        masks * x + (1 - masks) * hidden,
        rtol=0,
        atol=1e-6,
    )


def test_a_blur_keeps_the_mean_colour_and_less_contrast(device):
    model, x = double(Plain, device), pixels(1, (40, 60), device=device)
    with Watch(model) as watch:
        occlusion(model, x, 1, window=(40, 60), stride=1, fill="blur")
    blurred = watch.passes[0][1:]
    torch.testing.assert_close(blurred.mean((2, 3)), x.mean((2, 3)), rtol=0.02, atol=0)
    assert blurred.std() < 0.3 * x.std()


@every_explainer
def test_does_not_depend_on_batch_size(explain, device):
    model, x = double(Plain, device), pixels(3, device=device)
    for target in (None, torch.tensor([[4, 0], [1, 1], [0, 3]], device=device)):
        reference = explain(model, x, target, batch_size=1000)
        for batch_size in (1, 2, 3, 5, 16, 64):
            ours = explain(model, x, target, batch_size=batch_size)
            assert relative_error(ours, reference) < 1e-11


@pytest.mark.parametrize("explain", [lime_fit, shapley_fit, rise_fit])
def test_every_part_of_a_fit_is_independent_of_batch_size(explain, device):
    model, x = double(Plain, device), pixels(3, device=device)
    quick = partial(quick_rise if explain is rise_fit else quick_lime, explain=explain)
    one, other = quick(model, x, 2, batch_size=2), quick(model, x, 2, batch_size=50)
    for name in {*one._fields, "heatmap", "standard_error", "relative_error"}:
        a, b = getattr(one, name), getattr(other, name)
        if name == "masks":
            assert torch.equal(a.pixels(), b.pixels())
        elif isinstance(a, torch.Tensor):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)
        else:
            assert a == b


@every_explainer_and_cost
@pytest.mark.parametrize("n, batch_size", [(1, 7), (3, 7), (3, 2), (2, 1), (2, 100), (1, 1000), (5, 33)])
def test_passes_are_full_and_exactly_as_many_as_promised(explain, cost, n, batch_size):
    model, x = build(Plain), images(n)
    for target in (2, None):
        with Watch(model) as watch:
            explain(model, x, target, batch_size=batch_size)
        sizes = watch.sizes
        if target is None:  # the model's own choice first
            chosen = math.ceil(n / batch_size)
            assert sum(sizes[:chosen]) == n and torch.equal(torch.cat(watch.passes[:chosen]), x)
            sizes = sizes[chosen:]
        assert sum(sizes) == n * cost
        assert all(size == batch_size for size in sizes[:-1]) and 0 < sizes[-1] <= batch_size


@pytest.mark.parametrize("n_masks, batch_size", [(300, 48), (300, 200), (600, 500)])
def test_rises_passes_are_full_without_a_tolerance(n_masks, batch_size):
    model, x = build(Plain), images(1)
    for explain in (rise, rise_fit):
        with Watch(model) as watch:
            explain(model, x, 1, n_masks=n_masks, grid=3, batch_size=batch_size)
        full, rest = divmod(n_masks, batch_size)
        assert watch.sizes == [batch_size] * full + [rest] * (rest > 0)


@pytest.mark.parametrize("explain", RANDOM.values(), ids=RANDOM)
def test_randomness_comes_from_the_generator_alone(explain, device):
    model, x = double(Plain, device), pixels(2, device=device)
    before = torch.get_rng_state()
    first = explain(model, x, 1, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(explain(model, x, 1, seed=3), first)
    assert relative_error(explain(model, x, 1, seed=4), first) > 1e-3


def test_without_a_generator_torchs_own_is_used(device):
    model, x = double(Plain, device), pixels(1, device=device)
    segments = patches(rows=3, columns=4, device=device)
    for run in (
        partial(rise, model, x, 1, n_masks=20, grid=3),
        partial(lime, model, x, 1, segments=segments, n_samples=40),
        partial(shapley, model, x, 1, segments=segments, n_samples=40),
        partial(rise_masks, 20, SIZE, grid=3, device=device),
    ):
        maps = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            maps.append(run())
        assert torch.equal(maps[0], maps[1]) and not torch.equal(maps[0], maps[2])


@pytest.mark.parametrize(
    "explain",
    [quick_occlusion, quick_lime, EVERY["shapley_exact"][0], quick_rise, EVERY["rise_balanced"][0]],
)
def test_each_image_is_explained_for_itself(explain, device):
    model, x = double(Plain, device), pixels(4, device=device)
    target = torch.tensor([4, 0, 0, 2], device=device)
    together = explain(model, x, target)
    alone = [explain(model, x[i : i + 1], int(target[i])) for i in range(4)]
    assert relative_error(together, torch.cat(alone)) < 1e-11


@every_explainer
def test_targets_agree(explain, device):
    model, x = double(Plain, device), pixels(3, device=device)
    own = model(x).argmax(1)
    assert relative_error(explain(model, x), explain(model, x, own)) < 1e-12
    assert torch.equal(explain(model, x, 2), explain(model, x, torch.tensor([2, 2, 2], device=device)))
    assert torch.equal(
        explain(model, x, own.to(torch.int32)[:, None]), explain(model, x, own)[:, None]
    )  # an axis K of one
    target = torch.tensor([[4, 0, 1], [1, 1, 2], [0, 3, 4]], device=device)
    together = explain(model, x, target)
    assert together.shape == (3, 3, *SIZE)
    for k in range(3):
        assert relative_error(together[:, k], explain(model, x, target[:, k])) < 1e-11


def test_all_classes_together_are_worth_nothing(device):
    """Probabilities sum to one, so the maps of differences sum to zero, and those of RISE to one."""
    model, x = double(Plain, device), pixels(2, device=device)
    every = torch.arange(5, device=device).expand(2, 5)
    for explain in (quick_occlusion, quick_lime, partial(quick_lime, explain=shapley)):
        maps = explain(model, x, every)
        assert maps.sum(1).abs().max() < 1e-12 < 1e-3 < maps.abs().max()
    torch.testing.assert_close(quick_rise(model, x, every).sum(1), torch.ones_like(x[:, 0]))


def test_fits_with_several_classes_have_an_axis_for_them(device):
    model, x = double(Plain, device), pixels(2, device=device)
    target = torch.tensor([[4, 0, 1], [1, 1, 2]], device=device)
    for explain, quick in ((lime_fit, quick_lime), (shapley_fit, quick_lime), (rise_fit, quick_rise)):
        many = quick(model, x, target, explain=explain)
        for k in range(3):
            one = quick(model, x, target[:, k], explain=explain)
            for name, a, b in zip(many._fields, many, one, strict=True):
                if name == "masks":
                    assert torch.equal(a.pixels(), b.pixels())
                elif name in ("segments", "samples", "weights") or not isinstance(a, torch.Tensor):
                    assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
                else:
                    torch.testing.assert_close(a[:, k], b, rtol=1e-9, atol=1e-11)


@every_explainer
def test_a_model_that_sees_nothing_is_explained_by_nothing(explain, device):
    heatmap = explain(Constant().eval(), pixels(2, device=device), 1)
    if "normalize" in getattr(explain, "keywords", {}):
        return  # the paper's RISE then shows which pixels chance kept more often: tested above
    assert (heatmap - heatmap.mean()).abs().max() < 1e-12


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 3),
    height=st.integers(8, 20),
    width=st.integers(8, 20),
    name=st.sampled_from(list(EVERY)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    fill=st.sampled_from([0.0, "mean", "grey", "blur"]),
)
def test_shape_dtype_and_detachment(n, height, width, name, dtype, fill):
    model, x = build(Plain).to(dtype), images(n, (height, width), dtype=dtype).requires_grad_()
    heatmap = EVERY[name][0](model, x, 2, fill=fill)
    assert heatmap.shape == (n, height, width)
    assert heatmap.dtype == dtype and heatmap.device == x.device
    assert not heatmap.requires_grad and heatmap.isfinite().all() and x.grad is None
    assert name[:4] != "rise" or (heatmap >= 0).all()


@every_explainer
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("fill", [0.0, "mean", "blur"])
def test_half_precision_runs(explain, dtype, fill):
    model, x = build(Plain), images(2)
    reference = explain(model, x, 1, fill=fill)
    ours = explain(model.to(dtype), x.to(dtype), 1, fill=fill)
    assert ours.dtype == dtype and ours.isfinite().all()
    ours, reference = (m.float() - m.float().mean((1, 2), keepdim=True) for m in (ours, reference))
    assert F.cosine_similarity(ours.flatten(), reference.flatten(), dim=0) > 0.9


@pytest.mark.parametrize("explain", [lime_fit, shapley_fit, rise_fit])
def test_fits_have_the_images_dtype(explain):
    quick = partial(quick_rise if explain is rise_fit else quick_lime, explain=explain)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        fit = quick(build(Plain).to(dtype), images(2, dtype=dtype), 1)
        values = fit._asdict() | {n: getattr(fit, n) for n in ("heatmap", "standard_error", "relative_error")}
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                # Scores and weights are what errors are computed from: never less than float32.
                wide = name in ("scores", "weights")
                assert value.dtype == (torch.promote_types(dtype, torch.float32) if wide else dtype)
                assert not value.requires_grad


def test_images_may_be_grey_or_have_many_channels(device):
    for channels in (1, 2, 5):
        x = torch.rand(2, channels, *SIZE, generator=seeded()).to(device)
        model = nn.Sequential(nn.Conv2d(channels, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).to(device)
        for explain, _ in EVERY.values():
            assert explain(model.eval(), x).shape == (2, *SIZE)
        assert lime(model, x, n_samples=80).shape == (2, *SIZE)  # with superpixels of its own


@every_explainer
def test_no_graph_is_built(explain):
    model, x = build(Plain), images(2)
    graphs = []
    handle = model.register_forward_hook(lambda _m, _a, logits: graphs.append(logits.requires_grad))
    with torch.enable_grad():
        explain(model, x)
    handle.remove()
    assert graphs and not any(graphs)


def test_progress_is_counted_in_passes(capsys):
    model, x = build(Plain), images(2)
    for name, word in (
        ("occlusion", "Occlusion"),
        ("lime", "LIME"),
        ("shapley", "KernelSHAP"),
        ("rise", "RISE"),
    ):
        explain, cost = EVERY[name]
        explain(model, x, progress=True)
        shown = capsys.readouterr().err
        assert word in shown and f"{2 * cost}/{2 * cost}" in shown
        explain(model, x)
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("explain", [lime, shapley, rise])
def test_the_map_is_that_of_the_fit(explain, device):
    model, x = double(Plain, device), pixels(2, device=device)
    if explain is rise:
        fit = quick_rise(model, x, explain=rise_fit).heatmap
        torch.testing.assert_close(quick_rise(model, x), fit, rtol=1e-12, atol=1e-12)
    else:
        fit = quick_lime(model, x, explain={lime: lime_fit, shapley: shapley_fit}[explain])
        assert torch.equal(quick_lime(model, x, explain=explain), fit.heatmap)


def test_a_decision_tree_is_explained(device):
    model, x = black_box(tree_predict), digits()[0][:3].to(device)
    truth = torch.from_numpy(tree_predict(x)).to(device)
    assert (truth == 0).any() and not model.training
    torch.testing.assert_close(model(x).softmax(1).double(), truth, rtol=1e-6, atol=1e-7)
    target = truth.argmax(1)
    ours = occlusion(model, x, target, window=2, stride=2, batch_size=5)
    expected = torch.zeros(3, 8, 8, device=device)
    for i, row, column in product(range(3), range(0, 8, 2), range(0, 8, 2)):
        changed = x[i : i + 1].clone()
        changed[:, :, row : row + 2, column : column + 2] = 0
        drop = truth[i, target[i]] - torch.from_numpy(tree_predict(changed)).to(device)[0, target[i]]
        expected[i, row : row + 2, column : column + 2] = drop
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(occlusion(model, x, window=2, stride=2), ours)  # its own choice
    segments = patches((8, 8), 2, 4, device)
    every = torch.arange(10, device=device).expand(3, 10)
    for heatmap in (
        lime(model, x, every, segments=segments, n_samples=64),
        shapley(model, x, every, segments=segments, n_samples=64),
        rise(model, x, every, n_masks=64, grid=4),
    ):
        assert heatmap.shape == (3, 10, 8, 8) and heatmap.isfinite().all() and heatmap.any()


def test_a_black_box_gives_probabilities_back(device):
    p = torch.tensor([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])
    for answer in (p, p.double(), p.numpy(), p.tolist(), p.double().numpy(), p.half(), (4 * p).int() / 4):
        for dtype in (torch.float32, torch.float64, torch.float16):
            x = torch.zeros(2, 1, 4, 4, dtype=dtype, device=device)
            logits = black_box(lambda x, answer=answer: answer)(x)
            assert logits.dtype == torch.promote_types(dtype, torch.float32) and logits.device == x.device
            torch.testing.assert_close(logits.softmax(1).cpu().float(), p)


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda n: torch.full((n, 2), 0.4), "each row with the sum 1"),
        (lambda n: torch.tensor([[1.5, -0.5]]).repeat(n, 1), "none negative"),
        (lambda n: torch.randn(n, 5), "if it returns logits"),
        (lambda n: np.full((n, 2), np.nan), "each row with the sum 1"),
        (lambda n: torch.full((n + 1, 2), 0.5), r"probabilities \(\d+, classes\), got shape \(\d+, 2\)"),
        (lambda n: torch.ones(n), r"probabilities \(\d+, classes\), got shape \(\d+,\)"),
        (lambda n: None, r"probabilities \(\d+, classes\) as a tensor or an array, got NoneType"),
        (lambda n: "cat", "got str"),
        (lambda n: {"cat": 1.0}, "got dict"),
    ],
)
def test_what_is_no_probability_is_refused(answer, message):
    model = black_box(lambda x: answer(len(x)))
    with pytest.raises(ValueError, match=f"predict must return .*{message}"):
        model(torch.rand(2, 1, 8, 8))
    with pytest.raises(ValueError, match=f"predict must return .*{message}"):
        rise(model, torch.rand(2, 1, 8, 8), 0)


def test_a_black_box_must_be_a_function():
    with pytest.raises(TypeError, match="predict must be a function of images, got DecisionTreeClassifier"):
        black_box(DecisionTreeClassifier())


def test_a_grey_image_is_cut_as_its_copy_in_colour():
    grey = load_photo("cat", 96).mean(1, keepdim=True)
    for method in ("slic", "quickshift"):
        cut = superpixels(grey, method=method)
        assert torch.equal(cut, superpixels(grey.expand(1, 3, 96, 96), method=method))
    plain = superpixels(torch.full_like(grey, 0.5))
    assert not torch.equal(superpixels(grey), plain)  # the content is seen


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_other_channels_are_seen_on_the_scale_of_colours(channels):
    """Compactness means the same: black beside white is as far apart as in a photograph."""
    cat = load_photo("cat", 96).mean(1, keepdim=True)
    grey, many = superpixels(cat), superpixels(cat.expand(1, channels, 96, 96))
    counts = [int(cut.max()) + 1 for cut in (grey, many)]
    assert abs(counts[0] - counts[1]) < 10

    def within(cut):
        """The share of the picture's variance that is left inside the patches."""
        member = F.one_hot(cut.flatten()).float()
        mean = (cat.flatten() @ member / member.sum(0))[cut]
        return ((cat[0] - mean).square().mean() / cat.var(correction=0)).item()

    square = superpixels(torch.full_like(cat, 0.5))
    assert within(many) < 0.7 * within(square)
    assert torch.equal(many, superpixels(cat.expand(1, 2 * channels, 96, 96)))
    assert abs(within(many) - within(grey)) < 0.3 * within(square)


@pytest.mark.parametrize(
    "explain, name, count",
    [(*c, n) for c in COUNTS for n in NO_COUNTS if not (n is None and c[1] in HAVE_A_DEFAULT)],
    ids=lambda value: getattr(value, "__name__", str(value)),  # a function's address differs between workers
)
def test_counts(explain, name, count):
    model = build(Counting)
    message = complaint(lambda: explain(model, images(1), **{name: count}), model, (ValueError, TypeError))
    assert_says(message, f"{name} must be a positive whole number", f"got {count!r}")


@pytest.mark.parametrize(
    "options, words",
    [
        ({"window": 18}, ["window must fit into the image, (17, 21)", "got 18"]),
        ({"window": (5, 22), "stride": 5}, ["window must fit into the image", "got (5, 22)"]),
        ({"window": 4, "stride": 5}, ["stride must not exceed window, 4", "got 5"]),
        ({"window": (8, 4), "stride": (2, 5)}, ["stride must not exceed window, (8, 4)", "got (2, 5)"]),
        ({"window": (4, 4, 4)}, ["window must be one number or two (height, width)", "(4, 4, 4)"]),
        ({"window": 4, "stride": (2,)}, ["stride must be one number or two (height, width)", "(2,)"]),
        ({"window": (4, 0)}, ["window must be a positive whole number", "got 0"]),
    ],
    ids=str,
)
def test_windows(options, words):
    model = build(Counting)
    assert_says(complaint(lambda: occlusion(model, images(2), **options), model), *words)


@checked
@pytest.mark.parametrize(
    "fill, words",
    [
        ("maen", ["fill must be one of", "'blur'", "got 'maen'", "did you mean 'mean'"]),
        ("black", ["fill must be one of 'mean', 'grey', 'blur'", "got 'black'"]),
        (None, ["fill must be a number, a tensor", "None"]),
        ([0.1, 0.2, 0.3], ["fill must be a number, a tensor", "[0.1, 0.2, 0.3]"]),
        (float("nan"), ["fill", "nan"]),
        (True, ["fill must be a number", "True"]),
        (
            torch.full((3,), 0.5),
            ["fill must be a number or a tensor that broadcasts", "(2, 3, 17, 21)", "(3,)"],
        ),
        (torch.full((5, 3, 1, 1), 0.5), ["fill must be", "(2, 3, 17, 21)", "(5, 3, 1, 1)"]),
        (torch.tensor([[[float("inf")]]]), ["fill must be finite"]),
        (torch.rand(1, 3, 1, 1, device="meta"), ["fill is on meta, but x is on cpu", "fill.to('cpu')"]),
    ],
    ids=str,
)
def test_fills(explain, fill, words):
    model = build(Counting)
    options = {"n_samples": 300} if "n_samples" in str(getattr(explain, "__annotations__", "")) else {}
    assert_says(complaint(lambda: explain(model, images(2), fill=fill, **options), model), *words)


@with_masks
@pytest.mark.parametrize("keep", [0, 1, 0.0, 1.0, -0.5, 1.5, float("nan"), "0.5", None, True])
def test_keep(explain, keep):
    model = build(Counting)
    for call in (lambda: explain(model, images(1), keep=keep), lambda: rise_masks(4, 16, keep=keep)):
        message = complaint(call, model)
        assert_says(message, "keep must be a probability between 0 and 1, both excluded", f"got {keep!r}")


@with_masks
def test_grid_and_words(explain):
    model, x = build(Counting), images(1)
    message = complaint(lambda: explain(model, x, grid=18), model)
    assert_says(message, "grid must not have more cells", "(17, 21)", "got 18")
    assert_says(complaint(lambda: rise_masks(3, (20, 5), grid=6)), "grid", "(20, 5)", "got 6")
    message = complaint(lambda: explain(model, x, normalize="covrage"), model)
    assert_says(message, "normalize must be one of 'coverage', 'expected'", "did you mean 'coverage'")
    message = complaint(lambda: superpixels(x, method="slick"))
    assert_says(message, "method must be one of 'slic', 'quickshift'", "did you mean 'slic'")


@with_masks
@pytest.mark.parametrize("tolerance", [0, 0.0, -0.1, float("nan"), float("inf"), "0.1", True])
def test_tolerance(explain, tolerance):
    model = build(Counting)
    message = complaint(lambda: explain(model, images(1), tolerance=tolerance), model)
    assert_says(message, "tolerance must be a finite number, above 0", f"got {tolerance!r}")


@pytest.mark.parametrize(
    "options, words",
    [
        ({"paired": False}, ["paired=False"]),
        ({"keep": 0.4}, ["keep=0.4"]),
        ({"n_masks": 63}, ["at least 64 masks for grid=3", "n_masks=63"]),
    ],
)
def test_balanced_where_it_cannot_be(options, words):
    model, options = build(Counting), {"n_masks": 200, "grid": 3, "balanced": True} | options
    for call in (
        lambda: rise(model, images(1), **options),
        lambda: rise_fit(model, images(1), **options),
        lambda: rise_masks(size=(17, 21), **options),
    ):
        assert_says(complaint(call, model), "balanced masks need paired=True, keep=0.5", *words)


def test_too_few_masks_for_an_error():
    model, x = build(Counting), images(1)
    for options, least in (({"n_masks": 3}, 4), ({"n_masks": 1, "paired": False}, 2)):
        message = complaint(lambda m=model, o=options: rise(m, x, tolerance=0.5, **o), model)
        assert_says(message, f"n_masks must be at least {least}", "got")
        fit = rise_fit(model, x, grid=3, **options)  # the map there is; its error there is not
        assert fit.heatmap.shape == (1, *SIZE)
        for name in ("standard_error", "relative_error"):
            message = complaint(lambda f=fit, n=name: getattr(f, n))
            assert_says(message, f"n_masks must be at least {least} to estimate an error", "got")
        model = build(Counting)
    assert rise_fit(model, x, n_masks=4, grid=3).relative_error.shape == (1,)
    assert rise(model, x, n_masks=1, grid=3).shape == (1, *SIZE)


@pytest.mark.parametrize("explain", [lime, lime_fit, shapley, shapley_fit, rise, rise_fit])
def test_generator(explain):
    model = build(Counting)
    message = complaint(lambda: explain(model, images(1), generator=3), model, TypeError)
    assert_says(message, "generator must be a torch.Generator", "int")
    message = complaint(lambda: rise_masks(4, 16, generator=3), error=TypeError)
    assert_says(message, "generator must be a torch.Generator", "int")


def test_masks_on_no_device():
    message = complaint(lambda: rise_masks(4, 16, generator=torch.Generator(), device="meta"))
    assert_says(message, "device must be a device", "meta", "hold no values")
