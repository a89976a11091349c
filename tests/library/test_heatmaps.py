"""Heatmaps: what each reduction keeps, what normalisation divides by, what a fingerprint tells apart."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xai_lib import fingerprint, normalize, to_heatmap

REDUCTIONS = ("abs_max", "abs_sum", "sum", "max", "l2")


def maps(n=3, height=24, width=20, seed=0):
    return torch.randn(n, height, width, generator=torch.Generator().manual_seed(seed))


def test_reductions_of_one_pixel(device):
    pixel = torch.tensor([3.0, -4.0, 0.0], device=device).view(1, 3, 1, 1)
    expected = {"abs_max": 4.0, "abs_sum": 7.0, "sum": -1.0, "max": 3.0, "l2": 5.0}
    assert {name: to_heatmap(pixel, name).item() for name in REDUCTIONS} == expected
    assert torch.equal(to_heatmap(pixel), to_heatmap(pixel, "abs_max"))


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 5)] * 4), st.sampled_from(REDUCTIONS), st.floats(0.1, 10))
def test_a_heatmap_has_one_value_a_pixel_and_scales(shape, reduce, factor):
    attribution = torch.randn(shape, dtype=torch.float64)
    heatmap = to_heatmap(attribution, reduce)
    assert heatmap.shape == (shape[0], *shape[2:])
    torch.testing.assert_close(to_heatmap(factor * attribution, reduce), factor * heatmap)


def test_normalize_divides_each_map_by_its_own_largest(device):
    heat = maps().to(device) * torch.tensor([1.0, 1e-30, 1e30], device=device).view(-1, 1, 1)
    scaled = normalize(heat)
    torch.testing.assert_close(scaled.abs().amax((1, 2)), torch.ones(3, device=device))
    assert torch.equal(scaled.sign(), heat.sign())
    torch.testing.assert_close(normalize(heat[1]), scaled[1])
    torch.testing.assert_close(normalize(scaled), scaled)
    assert torch.equal(normalize(torch.zeros(2, 4, 4, device=device)), torch.zeros(2, 4, 4, device=device))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000), st.integers(-60, 60))
def test_a_fingerprint_ignores_scale_and_sign(height, width, seed, exponent):
    heat = maps(1, height, width, seed)[0].double()
    assert re.fullmatch(r"(\d{4} ){3}\d{4}", fingerprint(heat))
    assert "9" in fingerprint(heat)
    # A power of two, so that no rounding moves a cell over a border.
    assert fingerprint(-(2.0**exponent) * heat) == fingerprint(heat)


def test_fingerprints_of_known_maps():
    assert fingerprint(torch.zeros(9, 9)) == "0000 0000 0000 0000"
    assert fingerprint(torch.ones(5, 7)) == "9999 9999 9999 9999"
    steps = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0], [0, 0, 0, 9]]) / 7
    assert fingerprint(steps) == "0123 4567 8900 0009"
    large = steps.repeat_interleave(8, 0).repeat_interleave(6, 1)
    assert fingerprint(torch.stack([large, -large])) == "0123 4567 8900 0009\n0123 4567 8900 0009"
    assert fingerprint(torch.full((4, 4), 3e38)) == "9999 9999 9999 9999"


def test_fingerprints_tell_maps_apart_and_hold_under_rounding_errors():
    heats = maps(300, 28, 28).cumsum(1).cumsum(2)
    prints = fingerprint(heats).split("\n")
    assert len(set(prints)) >= 299
    wobble = 1 + 1e-6 * maps(300, 28, 28, seed=1)  # what another machine's float32 does
    held = sum(a == b for a, b in zip(prints, fingerprint(heats * wobble).split("\n"), strict=True))
    assert held >= 298


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: to_heatmap(torch.ones(3, 4, 4)), ["attribution", "4-D", "(3, 4, 4)"]),
        (
            lambda: to_heatmap(torch.ones(1, 3, 4, 4), "abs_mx"),
            ["reduce", "'abs_mx'", "did you mean 'abs_max'"],
        ),
        (lambda: normalize(torch.ones(1, 3, 4, 4)), ["heatmap", "(1, 3, 4, 4)"]),
        (lambda: fingerprint(torch.full((4, 4), float("nan"))), ["heatmap", "finite"]),
        (lambda: fingerprint(torch.ones(0, 4, 4)), ["heatmap", "empty"]),
        (lambda: fingerprint(torch.ones(4)), ["heatmap", "(4,)"]),
        (lambda: fingerprint(torch.ones(4, 4) > 0), ["heatmap", "torch.bool", "heatmap.float()"]),
        (lambda: normalize(torch.ones(4, 4).long()), ["heatmap", "floating-point", "heatmap.float()"]),
        (lambda: to_heatmap(torch.ones(1, 3, 4, 4), 3), ["reduce must be one of", "got 3"]),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert all(word in str(error.value) for word in words)


BAD_VALUES = {
    "empty": (lambda t: t[:0], "must not be empty"),
    "no width": (lambda t: t[..., :0], "must not be empty"),
    "NaN": (lambda t: t * float("nan"), "must be finite, got 32 NaN or infinite values out of 32"),
    "infinite": (lambda t: t / 0, "must be finite"),
    "half, infinite": (lambda t: t.half() / 0, "must be finite"),
    "complex": (lambda t: t + 1j, r"numbers, got torch\.complex64"),
    "meta": (lambda t: t.to("meta"), "must hold values, got a tensor on the meta device"),
    "sparse": (lambda t: t.to_sparse(), r"must be a dense tensor, got torch\.sparse_coo"),
    "bool": (lambda t: t > 0, r"numbers, got torch\.bool"),
}


@pytest.mark.parametrize("kind", BAD_VALUES)
@pytest.mark.parametrize(
    ("call", "name", "shape"),
    [
        (to_heatmap, "attribution", (1, 2, 4, 4)),
        (normalize, "heatmap", (2, 4, 4)),
        (fingerprint, "heatmap", (2, 4, 4)),
    ],
)
def test_bad_values_are_named(call, name, shape, kind):
    spoil, words = BAD_VALUES[kind]
    with pytest.raises(ValueError, match=f"^{name} .*{words}"):
        call(spoil(torch.ones(shape)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_results_have_the_type_of_the_input_and_the_precision_of_a_better_one(reduce, dtype, device):
    """Hundreds of channels, so that a sum in a half would drop the small ones."""
    draws = torch.Generator().manual_seed(0)
    attribution = torch.randn(2, 700, 5, 4, generator=draws, dtype=torch.float64).to(device, dtype)
    heatmap, exact = to_heatmap(attribution, reduce), to_heatmap(attribution.double(), reduce)
    assert heatmap.dtype == dtype
    eps = torch.finfo(dtype).eps
    rounding = 700 * torch.finfo(torch.float32).eps  # of a sum of 700 values of order one that cancel
    torch.testing.assert_close(heatmap.double(), exact, rtol=eps, atol=rounding)
    scaled = normalize(heatmap)
    assert scaled.dtype == dtype and scaled.abs().amax((1, 2)).eq(1).all()
    torch.testing.assert_close(scaled.double(), normalize(heatmap.double()), rtol=eps, atol=eps)


def test_squares_of_small_and_large_attributions_do_not_vanish_or_overflow():
    pixel = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1)
    for scale in (1e-30, 1e30):
        torch.testing.assert_close(to_heatmap(scale * pixel, "l2").item(), 5 * scale, rtol=1e-6, atol=0)


def test_a_heatmap_has_gradients():
    attribution = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    for reduce in REDUCTIONS:
        assert torch.autograd.gradcheck(lambda a, r=reduce: normalize(to_heatmap(a, r)), attribution)


def test_fingerprints_of_halves_and_whole_numbers():
    steps = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0], [0, 0, 0, 9]])
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8):
        assert fingerprint(steps.to(dtype)) == "0123 4567 8900 0009"


def test_heatmaps_want_tensors():
    with pytest.raises(TypeError, match=r"heatmap must be a tensor .* got ndarray"):
        fingerprint(torch.ones(4, 4).numpy())
