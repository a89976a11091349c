"""Laws and promises of the gradient methods; the comparison with Captum is in tests/parity."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.architectures import Branches, Linear, Plain, Reused, Six, build, images, relative_error
from xai_lib import (
    _points,
    deconvnet,
    gradient,
    gradient_x_input,
    gradients,
    guided_backprop,
    integrated_gradients,
    integrated_gradients_fit,
    smooth_grad,
    smooth_grad_fit,
)

pytestmark = pytest.mark.filterwarnings("ignore:x has values from")  # exact answers need pixels beyond [0, 1]

EXPLAINERS = {
    "gradient": gradient,
    "gradient_x_input": gradient_x_input,
    "smooth_grad": partial(smooth_grad, n_samples=3, batch_size=2),
    "integrated_gradients": partial(integrated_gradients, n_steps=3, batch_size=2),
    "guided_backprop": guided_backprop,
    "deconvnet": deconvnet,
}
every_explainer = pytest.mark.parametrize("explain", EXPLAINERS.values(), ids=EXPLAINERS)


def seeded(device, seed=0):
    return torch.Generator(device).manual_seed(seed)


class Quadratic(nn.Module):
    """Half the squared norm, as logit 0: the gradient at a point is the point."""

    def forward(self, x):
        half = x.square().sum((1, 2, 3)) / 2
        return torch.stack([half, -half], 1)


# ------------------------------------------------------------------------------------------------ identities


def test_on_a_linear_model_every_gradient_is_the_weights(device):
    model = build(Linear).to(device, torch.float64)
    x = images(3, (6, 6), dtype=torch.float64, device=device)
    target = torch.tensor([2, 0, 3], device=device)
    weights = model.fc.weight.detach()[target].view_as(x)
    assert relative_error(gradient(model, x, target), weights) < 1e-12
    assert relative_error(gradient(model, x, target).abs(), weights.abs()) < 1e-12
    assert relative_error(gradient_x_input(model, x, target), weights * x) < 1e-12
    assert relative_error(integrated_gradients(model, x, target, n_steps=2), weights * x) < 1e-12
    for noise in (0.0, 0.1, 3.0):
        smooth = smooth_grad(model, x, target, n_samples=4, noise=noise, generator=seeded(device))
        assert relative_error(smooth, weights) < 1e-12
        varied = smooth_grad(model, x, target, n_samples=4, noise=noise, statistic="variance")
        assert varied.abs().max() < 1e-24
        squared = smooth_grad(model, x, target, n_samples=4, noise=noise, statistic="square")
        assert relative_error(squared, weights.square()) < 1e-12


def test_gradient_agrees_with_finite_differences(device):
    model = build(Branches).to(device, torch.float64)
    x = images(2, (19, 23), dtype=torch.float64, device=device)
    step = torch.randn(x.shape, generator=seeded(device), dtype=x.dtype, device=device)
    with torch.no_grad():
        rise = (model(x + 1e-7 * step)[:, 4] - model(x - 1e-7 * step)[:, 4]) / 2e-7
    slope = (gradient(model, x, 4) * step).sum((1, 2, 3))
    torch.testing.assert_close(slope, rise, rtol=1e-5, atol=1e-7)


def test_shares_sum_to_the_logit_without_biases(device):
    model = build(Plain).to(device, torch.float64)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                module.bias.zero_()
            if isinstance(module, nn.BatchNorm2d):
                module.bias.zero_()
                module.running_mean.zero_()
    x = images(3, dtype=torch.float64, device=device)
    logits = model(x).detach()
    torch.testing.assert_close(gradient_x_input(model, x, 1).sum((1, 2, 3)), logits[:, 1])
    # On the straight path from black such a network is linear: one step is enough.
    torch.testing.assert_close(integrated_gradients(model, x, 1, n_steps=1).sum((1, 2, 3)), logits[:, 1])


@pytest.mark.parametrize("kind, size", [(Plain, (17, 21)), (Six, (16, 16)), (Branches, (19, 23))])
@pytest.mark.parametrize("baseline", [None, 0.5])
def test_integrated_gradients_are_complete(kind, size, baseline, device):
    model = build(kind).to(device, torch.float64)
    x = images(3, size, dtype=torch.float64, device=device)
    target = torch.tensor([0, 2, 4], device=device)
    start = torch.full_like(x, baseline or 0.0)
    with torch.no_grad():
        change = (model(x) - model(start)).gather(1, target[:, None])[:, 0]
    gaps = []
    for n_steps in (4, 64, 1024):
        shares = integrated_gradients(model, x, target, baseline=baseline, n_steps=n_steps)
        gaps.append((shares.sum((1, 2, 3)) - change).abs().max() / change.abs().max())
    assert gaps[2] < 2e-3 and gaps[2] < gaps[0]


def test_integrated_gradients_are_exact_for_polynomials(device):
    """On a quadratic the integrand is linear: one Gauss–Legendre point gives (x - x') * (x + x') / 2."""
    x = images(2, (5, 7), dtype=torch.float64, device=device)
    start = images(2, (5, 7), seed=5, dtype=torch.float64, device=device)
    shares = integrated_gradients(Quadratic().eval(), x, 0, baseline=start, n_steps=1)
    assert relative_error(shares, (x - start) * (x + start) / 2) < 1e-12


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (3, 1, 1), (1, 3, 5, 7), (5, 7), ()])
def test_a_baseline_broadcasts(shape, device):
    x = images(2, (5, 7), dtype=torch.float64, device=device)
    start = torch.rand(shape, generator=seeded(device), dtype=torch.float64, device=device)
    shares = integrated_gradients(Quadratic().eval(), x, 0, baseline=start, n_steps=1)
    assert relative_error(shares, (x - start) * (x + start) / 2) < 1e-12


# ----------------------------------------------------------------------------------------- laws of SmoothGrad


@pytest.mark.parametrize("kind, size", [(Plain, (17, 21)), (Branches, (19, 23))])
def test_without_noise_smooth_grad_is_the_gradient(kind, size, device):
    model = build(kind).to(device, torch.float64)
    x = images(2, size, dtype=torch.float64, device=device)
    assert relative_error(smooth_grad(model, x, n_samples=3, noise=0), gradient(model, x)) < 1e-12
    nearly = smooth_grad(model, x, n_samples=3, noise=1e-9, generator=seeded(device))
    assert relative_error(nearly, gradient(model, x)) < 1e-6


def test_noise_is_normal_and_relative_to_each_images_range(device):
    """On the quadratic, one sample's gradient is the noisy image itself."""
    x = images(3, (64, 64), dtype=torch.float64, device=device)
    x = x * torch.tensor([1.0, 0.25, 0.0], dtype=x.dtype, device=device).view(-1, 1, 1, 1) + 0.3
    noise = smooth_grad(Quadratic().eval(), x, 0, n_samples=1, noise=0.2, generator=seeded(device)) - x
    assert noise[2].abs().max() == 0  # a flat image has no range
    for image, added in zip(x[:2], noise[:2], strict=True):
        unit = added / (0.2 * (image.max() - image.min()))
        size = math.sqrt(unit.numel())
        # Five standard errors: at four, one generator among many is bound to fail.
        assert unit.mean().abs() < 5 / size
        assert (unit.std() - 1).abs() < 5 / size
        assert (unit.pow(4).mean() - 3).abs() < 5 * math.sqrt(96) / size  # the normal distribution's kurtosis


@pytest.mark.parametrize("kind, size, n, times", [(Quadratic, (32, 32), 5, 8), (Branches, (19, 23), 4, 4)])
def test_variance_falls_as_one_over_n(kind, size, n, times, device):
    model = build(kind).to(device, torch.float64)
    x = images(1, size, dtype=torch.float64, device=device)

    def variance(n_samples):
        copies = x.expand(60, -1, -1, -1)  # 60 independent draws
        drawn = smooth_grad(
            model, copies, 0, n_samples=n_samples, paired=False, batch_size=240, generator=seeded(device)
        )
        return drawn.var(0).mean().item()

    assert variance(n) / variance(n * times) == pytest.approx(times, rel=0.2)


def test_statistics_belong_together(device):
    """Mean of squares = square of the mean + variance; on the quadratic the variance is sigma squared."""
    model = build(Branches).to(device, torch.float64)
    x = images(2, (19, 23), dtype=torch.float64, device=device)

    def statistic(name, batch_size=7, kind=model):
        return smooth_grad(
            kind, x, 1, n_samples=10, statistic=name, batch_size=batch_size, generator=seeded(device)
        )

    mean, square, variance = map(statistic, ("mean", "square", "variance"))
    assert relative_error(mean.square() + variance, square) < 1e-12
    spread = smooth_grad(
        Quadratic().eval(), x, 0, n_samples=400, statistic="variance", generator=seeded(device)
    )
    sigma = 0.15 * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))
    torch.testing.assert_close(spread.mean((1, 2, 3)), sigma.square(), rtol=0.02, atol=0)


def test_variance_survives_large_gradients():
    """In float32, sums of squares about zero would lose a spread of 0.15 around a gradient of 10 000."""
    x = images(1, (16, 16)) + torch.tensor(1e4)
    sigma = 0.15 * (x.max() - x.min())
    spread = smooth_grad(
        Quadratic().eval(), x, 0, n_samples=200, statistic="variance", generator=seeded("cpu")
    )
    torch.testing.assert_close(spread.mean(), sigma.square(), rtol=0.1, atol=0)


# ----------------------------------------------------------------------------------------------- paired noise


@pytest.mark.parametrize("n, together", [(6, 2), (5, 2), (1, 2), (4, 1)])
@settings(max_examples=20, deadline=None)
@given(asks=st.lists(st.integers(1, 7), min_size=1, max_size=30))
def test_paired_noise_comes_with_its_negative_however_it_is_asked_for(n, together, asks):
    x = torch.zeros(3, 2, 4, 5)
    draw, flat, parts = _points.noise(x, n, together, seeded("cpu")), 0, []
    for count in [*asks, 3 * n]:
        index = torch.arange(flat, min(flat + count, 3 * n))
        if len(index):
            parts.append(draw(index // n, index % n))
        flat += len(index)
    noise = torch.cat(parts).unflatten(0, (3, n))
    units = noise[:, ::together]
    assert len(units.flatten(0, 1).unique(dim=0)) == 3 * units.shape[1]  # no two draws are the same
    if together == 2:
        assert torch.equal(noise[:, 1::2], -noise[:, : 2 * (n // 2) : 2])
        expected = _points.normal_draws(x, 3 * units.shape[1], seeded("cpu"))(3 * units.shape[1])
        assert torch.equal(units.flatten(0, 1), expected)


def test_pairs_are_exact_where_the_gradient_is_linear(device):
    """On the quadratic the noise of a pair cancels; independent noise stays."""
    model, x = Quadratic().eval(), images(2, (9, 11), dtype=torch.float64, device=device)
    assert relative_error(smooth_grad(model, x, 0, n_samples=6, generator=seeded(device)), x) < 1e-12
    drawn = smooth_grad(model, x, 0, n_samples=6, paired=False, generator=seeded(device))
    assert relative_error(drawn, x) > 0.05


def test_both_ways_to_draw_converge_to_the_same_map(device):
    model = build(Branches).to(device, torch.float64)
    x = images(1, (19, 23), dtype=torch.float64, device=device)
    fits = [
        smooth_grad_fit(
            model, x, 0, n_samples=4096, paired=paired, batch_size=1024, generator=seeded(device, int(paired))
        )
        for paired in (False, True)
    ]
    difference = (fits[0].attribution - fits[1].attribution).square().mean()
    expected = sum(fit.standard_error.square().mean() for fit in fits)
    assert 0.7 < difference / expected < 1.4


# ------------------------------------------------------------------------------------- SmoothGrad's own error


@pytest.mark.parametrize("statistic", ["mean", "square", "variance"])
@pytest.mark.parametrize("paired", [True, False])
def test_the_standard_error_is_the_spread_from_draw_to_draw(statistic, paired, device):
    model = build(Branches).to(device, torch.float64)
    copies = images(1, (19, 23), dtype=torch.float64, device=device).expand(80, -1, -1, -1)  # 80 draws
    fit = smooth_grad_fit(
        model,
        copies,
        0,
        n_samples=64,
        statistic=statistic,
        paired=paired,
        batch_size=640,
        generator=seeded(device),
    )
    spread = fit.attribution.var(0).mean().sqrt()
    claimed = fit.standard_error.square().mean().sqrt()
    assert float(claimed / spread) == pytest.approx(1, rel=0.12)
    converged = fit.attribution.mean(0)
    actual = (fit.attribution - converged).square().sum((1, 2, 3)).mean().sqrt() / converged.norm()
    assert fit.relative_error.square().mean().sqrt() / actual == pytest.approx(1, rel=0.15)


def test_what_cannot_be_told_is_infinite_and_no_noise_is_no_error(device):
    model, x = build(Plain).to(device), images(2, device=device)
    assert smooth_grad_fit(model, x, n_samples=2, generator=seeded(device)).relative_error.isinf().all()
    fit = smooth_grad_fit(model, x, n_samples=8, noise=0)
    assert (fit.relative_error == 0).all() and (fit.standard_error == 0).all()


@pytest.mark.parametrize("statistic", ["mean", "variance"])
def test_a_tolerance_stops_smooth_grad_at_the_error_it_names(statistic, device):
    model = build(Branches).to(device, torch.float64)
    x = images(2, (19, 23), dtype=torch.float64, device=device)

    def fit(tolerance, batch_size=37, n_samples=5000):
        return smooth_grad_fit(
            model,
            x,
            1,
            n_samples=n_samples,
            statistic=statistic,
            tolerance=tolerance,
            batch_size=batch_size,
            generator=seeded(device),
        )

    stopped = fit(0.1)
    assert stopped.relative_error.max() <= 0.1
    assert 64 < stopped.n_samples < 5000 and stopped.n_samples % 64 == 0
    assert fit(0.1, n_samples=stopped.n_samples - 64).relative_error.max() > 0.1  # and not a round too late
    assert fit(1e-9, n_samples=100).n_samples == 100
    again = fit(0.1, batch_size=500)
    assert again.n_samples == stopped.n_samples
    assert relative_error(again.attribution, stopped.attribution) < 1e-11


# --------------------------------------------------------------------------------- a path with a tolerance


class Steps(nn.Module):
    """A logit whose slope jumps at known places of the mean brightness: the gradient is a step function."""

    def forward(self, x):
        mean = x.mean((1, 2, 3))
        logit = mean + 3 * (mean - 0.31).relu() - 5 * (mean - 0.44).relu()
        return torch.stack([logit, -logit], 1)


@pytest.mark.parametrize("kind, size", [(Plain, (17, 21)), (Six, (16, 16)), (Branches, (19, 23))])
@pytest.mark.parametrize("baseline", [None, 0.5])
def test_a_tolerance_keeps_the_gap_and_the_map_near_the_integral(kind, size, baseline, device):
    model = build(kind).to(device, torch.float64)
    x = images(3, size, dtype=torch.float64, device=device)
    target = torch.tensor([0, 2, 4], device=device)
    fit = integrated_gradients_fit(model, x, target, baseline=baseline, tolerance=0.003)
    start = torch.full_like(x, baseline or 0.0)
    with torch.no_grad():
        change = (model(x) - model(start)).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(fit.change, change)
    gap = (fit.attribution.sum((1, 2, 3)) - change).abs() / change.abs()
    torch.testing.assert_close(fit.gap, gap)
    assert (gap <= 0.003).all() and (fit.n_points <= 1000).all() and (fit.n_points >= 16).all()
    reference = integrated_gradients(model, x, target, baseline=baseline, n_steps=1000, batch_size=500)
    error = (fit.attribution - reference).flatten(1).norm(dim=1) / reference.flatten(1).norm(dim=1)
    assert (error < 3 * fit.relative_error + 1e-3).all()


def test_points_go_where_the_gradient_jumps():
    """Two jumps, at known places: as many points, evenly spaced, leave five times the gap."""
    x = torch.full((1, 1, 4, 4), 0.5).double()
    fit = integrated_gradients_fit(Steps().eval(), x, 0, tolerance=1e-3)
    change = 0.5 + 3 * 0.19 - 5 * 0.06
    assert fit.gap <= 1e-3 and fit.change.item() == pytest.approx(change)
    gaps = []
    for n in range(int(fit.n_points), int(fit.n_points) + 20):
        mean = 0.5 * (torch.arange(n).double() + 0.5) / n
        slope = 1 + 3.0 * (mean > 0.31) - 5.0 * (mean > 0.44)
        gaps.append(abs(0.5 * slope.mean().item() - change) / change)
    assert sum(gaps) / len(gaps) > 5e-3


def test_one_round_serves_a_linear_model_and_an_image_that_is_its_baseline(device):
    model = build(Linear).to(device, torch.float64)
    x = images(2, (6, 6), dtype=torch.float64, device=device)
    fit = integrated_gradients_fit(model, x, 2, tolerance=1e-9)
    assert relative_error(fit.attribution, model.fc.weight.detach()[2].view_as(x[0]) * x) < 1e-12
    assert fit.n_points.tolist() == [16, 16]
    still = integrated_gradients_fit(model, x, 2, baseline=x, tolerance=1e-9)
    assert still.attribution.abs().max() == 0 and still.gap.tolist() == [0, 0]
    assert still.n_points.tolist() == [16, 16]


def test_a_tolerance_serves_each_image_for_itself_whatever_the_batch_size(device):
    model = build(Branches).to(device, torch.float64)
    x = images(5, (19, 23), dtype=torch.float64, device=device)
    x[1] = 0  # is its baseline, and needs no more than the first round
    fits = [integrated_gradients_fit(model, x, 3, tolerance=0.003, batch_size=b) for b in (1, 7, 64, 500)]
    alone = [integrated_gradients_fit(model, image[None], 3, tolerance=0.003) for image in x]
    counts = [int(fit.n_points) for fit in alone]
    assert counts[1] == 16 < min(counts[:1] + counts[2:])
    for fit in fits:
        assert fit.n_points.tolist() == counts
        assert relative_error(fit.attribution, torch.cat([f.attribution for f in alone])) < 1e-11
    plain = integrated_gradients(model, x, 3, tolerance=0.003)
    assert relative_error(plain, fits[0].attribution) < 1e-11


def test_n_steps_is_the_most_a_tolerance_may_take(device):
    model, x = build(Plain).to(device), images(2, device=device)
    for most in (1, 5, 16, 17, 50):
        fit = integrated_gradients_fit(model, x, n_steps=most, tolerance=1e-12)
        assert (fit.n_points <= most).all() and (fit.n_points > most - 2 * 3).all()


def test_the_gap_without_a_tolerance_is_that_of_the_sum(device):
    model, x = build(Plain).to(device, torch.float64), images(2, dtype=torch.float64, device=device)
    fit = integrated_gradients_fit(model, x, 1, n_steps=7)
    assert torch.equal(fit.attribution, integrated_gradients(model, x, 1, n_steps=7))
    assert fit.n_points.tolist() == [7, 7] and fit.relative_error is None
    change = (model(x) - model(0 * x))[:, 1].detach()
    torch.testing.assert_close(fit.gap, (fit.attribution.sum((1, 2, 3)) - change).abs() / change.abs())
    assert (fit.gap > 1e-6).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_long_sum_in_half_precision_is_right(dtype):
    """A thousand points, one at a time: neither the sum nor the places on the way are in half precision."""
    model, x = build(Linear).to(dtype), images(1, (6, 6)).to(dtype)
    weights = model.fc.weight.detach()[0].view_as(x)
    for options in ({"n_steps": 1000}, {"tolerance": 0.01}):
        shares = integrated_gradients(model, x, 0, batch_size=1, **options)
        assert relative_error(shares.float(), (weights * x).float()) < 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize(
    "explain, name",
    [
        (partial(smooth_grad, n_samples=4), "SmoothGrad"),
        (partial(integrated_gradients, n_steps=4), "Integrated gradients"),
        (partial(integrated_gradients, tolerance=0.5), "Integrated gradients"),
    ],
)
def test_progress_is_shown_when_asked_for(explain, name, capsys):
    model, x = build(Plain), images(1)
    explain(model, x)
    assert capsys.readouterr().err == ""
    explain(model, x, progress=True)
    assert name in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ chunks and draws


@pytest.mark.parametrize("statistic", ["mean", "square", "variance"])
def test_smooth_grad_does_not_depend_on_batch_size(statistic, device):
    model = build(Plain).to(device, torch.float64)
    x = images(3, dtype=torch.float64, device=device)

    def explain(batch_size):
        return smooth_grad(
            model, x, n_samples=11, statistic=statistic, batch_size=batch_size, generator=seeded(device)
        )

    whole = explain(1000)
    for batch_size in (1, 2, 7, 11, 16, 33):
        assert relative_error(explain(batch_size), whole) < 1e-11


def test_integrated_gradients_do_not_depend_on_batch_size(device):
    model = build(Plain).to(device, torch.float64)
    x = images(3, dtype=torch.float64, device=device)
    whole = integrated_gradients(model, x, n_steps=11, batch_size=1000)
    for batch_size in (1, 2, 7, 11, 16, 33):
        assert (
            relative_error(integrated_gradients(model, x, n_steps=11, batch_size=batch_size), whole) < 1e-12
        )


def test_randomness_comes_from_the_generator_only(device):
    model, x = build(Plain).to(device), images(2, device=device)
    state = torch.random.get_rng_state()
    first = smooth_grad(model, x, n_samples=5, generator=seeded(device, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, smooth_grad(model, x, n_samples=5, generator=seeded(device, 1)))
    assert not torch.equal(first, smooth_grad(model, x, n_samples=5, generator=seeded(device, 2)))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        unnamed = smooth_grad(model, x, n_samples=5)
        torch.manual_seed(1)
        assert torch.equal(unnamed, smooth_grad(model, x, n_samples=5))


@every_explainer
def test_each_image_is_explained_for_itself(explain, device):
    """A batch gives what its images give alone; an int, a tensor, and the model's own choice agree."""
    if explain is EXPLAINERS["smooth_grad"]:
        explain = partial(explain, noise=0)  # its draws differ from image to image
    model = build(Branches).to(device, torch.float64)
    x = 3 * torch.randn(5, 3, 19, 23, generator=seeded(device), dtype=torch.float64, device=device)
    choice = model(x).argmax(1)
    together = explain(model, x)
    assert relative_error(explain(model, x, choice), together) < 1e-12
    assert relative_error(explain(model, x, choice.to(torch.uint8).cpu()), together) < 1e-12
    alone = [explain(model, image[None], int(c)) for image, c in zip(x, choice, strict=True)]
    assert relative_error(torch.cat(alone), together) < 1e-12
    assert len(set(choice.tolist())) > 1, "all images got one class: mixed targets are not tested"


# -------------------------------------------------------------------------------------- results and the model


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 4),
    height=st.integers(8, 20),
    width=st.integers(8, 20),
    name=st.sampled_from(sorted(EXPLAINERS)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    last=st.booleans(),
)
def test_shape_dtype_and_detachment(n, height, width, name, dtype, last):
    model = build(Plain).to(dtype)
    x = images(n, (height, width), dtype=dtype).requires_grad_()
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    attribution = EXPLAINERS[name](model, x)
    assert attribution.shape == x.shape and attribution.dtype == dtype and attribution.device == x.device
    assert not attribution.requires_grad and attribution.grad_fn is None
    assert attribution.isfinite().all() and not attribution.is_inference()


HOOKS = [name for name in vars(nn.Module()) if "hook" in name]


def snapshot(model):
    """All that must not change: values, versions, identities, flags, gradients, hooks and modes."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "identity": [(name, id(t), t._version, t.requires_grad, id(t.grad)) for name, t in tensors],
        "values": [t.detach().clone() for _, t in tensors],
        "gradients": [None if t.grad is None else t.grad.clone() for _, t in tensors],
        "hooks": [
            (m, h, list(getattr(m, h).items())) for m in model.modules() for h in HOOKS if getattr(m, h)
        ],
        "modes": [m.training for m in model.modules()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
    }


def assert_as_found(model, before):
    after = snapshot(model)
    for key in ("identity", "hooks", "modes", "attributes"):
        assert after[key] == before[key], key
    for key in ("values", "gradients"):
        for new, old in zip(after[key], before[key], strict=True):
            assert (new is None and old is None) or torch.equal(new, old), key


def used_model(kind=Branches):
    """A model with frozen and trainable parameters, gradients, and hooks of its owner."""
    model = build(kind).double()
    model(images(1, (19, 23), dtype=torch.float64)).sum().backward()
    first = next(model.parameters())
    first.requires_grad_(False)
    first.grad = None
    model.register_forward_hook(lambda *_: None)
    model.fc2.weight.register_hook(lambda g: g)
    return model


@every_explainer
def test_the_model_is_left_as_found_when_the_backward_pass_stops(explain):
    def interrupt(_gradient):
        raise KeyboardInterrupt

    def stop_on_the_way_back(_module, _args, output):
        output = output.clone()
        output.register_hook(interrupt)
        return output

    model, x = used_model(), images(3, (19, 23), dtype=torch.float64)
    model.inner.register_forward_hook(stop_on_the_way_back)
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        explain(model, x, 1)
    assert_as_found(model, before)


# ------------------------------------------------------------------------------------------- rectifier rules


def test_rules_on_a_network_worked_out_by_hand():
    """y = -relu(a) + 2 relu(b) with a = x0 - x1, b = x1 - x0: at x = (3, 1) only a is open."""

    class Two(nn.Module):
        def forward(self, x):
            a = x[:, 0, 0, 0] - x[:, 0, 0, 1]
            opened = torch.stack([a, -a], 1).relu()
            return opened @ torch.tensor([[-1.0], [2.0]])

    model, x = Two().eval(), torch.tensor([[[[3.0, 1.0]]]])
    assert gradient(model, x).flatten().tolist() == [-1.0, 1.0]
    assert guided_backprop(model, x).flatten().tolist() == [0.0, 0.0]  # a: open, but negative; b: shut
    assert deconvnet(model, x).flatten().tolist() == [-2.0, 2.0]  # b: shut, but positive
    assert guided_backprop(model, x.flip(3)).flatten().tolist() == [-2.0, 2.0]


def test_a_reused_rectifier_is_counted_each_time():
    model = build(Reused).double()
    x = images(2, dtype=torch.float64)
    with torch.enable_grad():
        logits = model(x.requires_grad_())
    assert len(gradients._rectifiers(logits)) == 3
