"""The gradient methods agree with Captum, and guided backpropagation and deconvnet with zennit too.

Captum's hooks see rectifier *modules*, one run each, not in place. Where a network spells its rectifiers
otherwise, the reference is Captum on a twin with the same weights and plain modules.
"""

from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from captum.attr import (
    Deconvolution,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    NoiseTunnel,
    Saliency,
)
from torch import nn
from zennit.attribution import Gradient
from zennit.composites import DeconvNet
from zennit.composites import GuidedBackprop as ZennitGuided

from tests.architectures import (
    Branches,
    Functional,
    FunctionalSix,
    InPlace,
    Plain,
    Reused,
    Six,
    build,
    images,
    relative_error,
)
from xai_lib import (
    _points,
    deconvnet,
    gradient,
    gradient_x_input,
    guided_backprop,
    integrated_gradients,
    smooth_grad,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(backward hooks|gradients|ReLU|has values from).*:UserWarning"
)

PRECISIONS = [(torch.float64, 1e-9), (torch.float32, 1e-5)]


class SixAsReLU(nn.ReLU):
    """ReLU6 that Captum takes for a ReLU: it looks for instances of ``nn.ReLU``."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()

    def forward(self, x):
        return F.relu6(x)


# network, its twin for Captum's hooks, image size
FAMILY = [
    pytest.param(Plain, {}, Plain, {}, (17, 21), id="plain"),
    pytest.param(InPlace, {}, Plain, {}, (17, 21), id="in-place"),
    pytest.param(Reused, {}, Plain, {}, (18, 15), id="reused"),
    pytest.param(Functional, {}, Plain, {}, (17, 21), id="functional"),
    pytest.param(Six, {}, Plain, {"act": SixAsReLU}, (16, 16), id="relu6"),
    pytest.param(FunctionalSix, {}, Plain, {"act": SixAsReLU}, (17, 21), id="functional-relu6"),
    pytest.param(Branches, {}, Branches, {}, (19, 23), id="branches"),
    pytest.param(Branches, {"act": nn.ReLU6}, Branches, {"act": SixAsReLU}, (19, 23), id="branches-relu6"),
]
over_family = pytest.mark.parametrize("kind, options, twin, twin_options, size", FAMILY)
over_precision = pytest.mark.parametrize("dtype, tolerance", PRECISIONS, ids=["float64", "float32"])


def pair(kind, options, twin, twin_options, size, dtype, device):
    """The network, its twin (the same logits), and four images that reach every rectifier's bends."""
    model = build(kind, **options).to(device, dtype)
    reference = build(twin, **twin_options).to(device, dtype)
    x = 4 * images(4, size, dtype=dtype, device=device) - 1  # outside [0, 1] too, for ReLU6 to saturate
    with torch.no_grad():
        assert relative_error(model(x), reference(x)) < 1e-5
    return model, reference, x


def targets(device):
    return torch.tensor([3, 0, 4, 3], device=device)


@contextmanager
def in_precision(dtype):
    """Captum rounds the weights of its sum to float32 (an error of 2e-9): in here it does not."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "float", lambda self: self.to(dtype))
            yield
    finally:
        torch.set_default_dtype(before)


@over_precision
@over_family
def test_gradient_and_its_product(kind, options, twin, twin_options, size, dtype, tolerance, device):
    model, _, x = pair(kind, options, twin, twin_options, size, dtype, device)
    for target in (2, targets(device)):
        expected = Saliency(model).attribute(x.clone(), target, abs=False)
        assert relative_error(gradient(model, x, target), expected) < tolerance
        expected = InputXGradient(model).attribute(x.clone(), target)
        assert relative_error(gradient_x_input(model, x, target), expected) < tolerance


@over_precision
@over_family
def test_integrated_gradients(kind, options, twin, twin_options, size, dtype, tolerance, device):
    model, _, x = pair(kind, options, twin, twin_options, size, dtype, device)
    baseline = images(1, size, seed=7, dtype=dtype, device=device)
    for start, n_steps, batch_size in ((None, 50, 32), (baseline, 11, 3), (0.5, 1, 64)):
        captum_start = torch.zeros_like(x) + (0 if start is None else start)
        with in_precision(dtype):
            expected = IntegratedGradients(model).attribute(
                x.clone(), captum_start, targets(device), n_steps=n_steps, method="gausslegendre"
            )
        ours = integrated_gradients(
            model, x, targets(device), baseline=start, n_steps=n_steps, batch_size=batch_size
        )
        assert relative_error(ours, expected) < tolerance


@over_precision
@over_family
@pytest.mark.parametrize("ours, captum", [(guided_backprop, GuidedBackprop), (deconvnet, Deconvolution)])
def test_rectifier_rules(ours, captum, kind, options, twin, twin_options, size, dtype, tolerance, device):
    model, reference, x = pair(kind, options, twin, twin_options, size, dtype, device)
    for target in (2, targets(device)):
        expected = captum(reference).attribute(x.clone(), target)
        assert relative_error(ours(model, x, target), expected) < tolerance
        # The rule must matter here, or the comparison would show nothing.
        assert relative_error(gradient(model, x, target), expected) > 0.01


@over_precision
@pytest.mark.parametrize("ours, composite", [(guided_backprop, ZennitGuided), (deconvnet, DeconvNet)])
@pytest.mark.parametrize(
    "kind, twin, size",
    [(Plain, Plain, (17, 21)), (Functional, Plain, (17, 21)), (Branches, Branches, (19, 23))],
)
def test_rectifier_rules_second_opinion(ours, composite, kind, twin, size, dtype, tolerance, device):
    model, reference, x = pair(kind, {}, twin, {}, size, dtype, device)
    seed = F.one_hot(targets(device), model(x).shape[1]).to(dtype)
    with Gradient(reference, composite()) as attributor:
        _, expected = attributor(x.clone(), seed)
    assert relative_error(ours(model, x, targets(device)), expected) < tolerance


@over_precision
@over_family
@pytest.mark.parametrize(
    "statistic, kind_of_noise", [("mean", "smoothgrad"), ("square", "smoothgrad_sq"), ("variance", "vargrad")]
)
def test_smooth_grad_on_the_same_noise(
    statistic,
    kind_of_noise,
    kind,
    options,
    twin,
    twin_options,
    size,
    dtype,
    tolerance,
    device,
    monkeypatch,
):
    model, _, x = pair(kind, options, twin, twin_options, size, dtype, device)
    x = x * torch.tensor([1.0, 0.5, 2.0, 1.0], dtype=dtype, device=device).view(-1, 1, 1, 1)  # ranges differ
    n, noise = 6, 0.2

    def generator():
        return torch.Generator(device).manual_seed(3)

    spread = torch.stack([noise * (image.max() - image.min()) for image in x])
    draws = _points.normal_draws(x, len(x) * n, generator())(len(x) * n)
    noises = draws * spread.repeat_interleave(n).view(-1, 1, 1, 1)  # image by image, as Captum expands them

    def supplied(_mean, std, **_):
        assert std.shape == noises.shape
        return noises

    with monkeypatch.context() as patch:
        patch.setattr(torch, "normal", supplied)
        expected = NoiseTunnel(Saliency(model)).attribute(
            x.clone(), nt_type=kind_of_noise, nt_samples=n, target=targets(device), abs=False
        )
    ours = smooth_grad(
        model,
        x,
        targets(device),
        n_samples=n,
        noise=noise,
        statistic=statistic,
        paired=False,
        batch_size=5,
        generator=generator(),
    )
    assert relative_error(ours, expected) < tolerance
