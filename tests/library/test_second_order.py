"""Maps that are differentiated again, by pixels and by weights: what chapters 7 and 8 attack and train with.

On a smooth network (softplus) in float64 every derivative is held against central differences along random
directions; the public functions stay detached.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.architectures import build, images
from xai_lib import _checks, _model, cams, gradient, gradients


class Soft(nn.Module):
    """Two convolutions with softplus, average pooling, a linear head: smooth in pixels and weights."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 6, 3, stride=2)
        self.hidden, self.head = nn.Linear(6, 7), nn.Linear(7, 4)

    def forward(self, x):
        x = F.softplus(self.second(F.softplus(self.first(x))))
        return self.head(F.softplus(self.hidden(x.mean((2, 3)))))


FORMULAS = {
    "grad_cam": cams.grad_cam_weights,
    "grad_cam_plus_plus": cams.grad_cam_plus_plus_weights,
    "xgrad_cam": cams.xgrad_cam_weights,
    "layer_cam": cams.layer_cam_weights,
    "hires_cam": cams.hires_cam_weights,
}


def cam_of(formula, relu):
    def explain(model, x, classes):
        maps, slopes, _ = _model.layer_gradient(model, x, classes, "second", create_graph=True)
        return cams.weighted_map(formula(maps, slopes), maps, relu=relu)

    return explain


def gradient_of(model, x, classes):
    return _model.input_gradient(model, x, classes, create_graph=True)


EXPLAIN = {"gradient": gradient_of, "gradient x input": lambda m, x, c: gradient_of(m, x, c) * x}
EXPLAIN |= {f"{name}, relu={relu}": cam_of(f, relu) for name, f in FORMULAS.items() for relu in (True, False)}
every_map = pytest.mark.parametrize("explain", EXPLAIN.values(), ids=EXPLAIN)


def setting():
    """The network, two images, their classes, and a random weight for each value of a map."""
    model, x = build(Soft).double(), images(2, (9, 11), dtype=torch.float64)
    classes = _checks.check_target(torch.tensor([2, 0]), x)
    return model, x, classes


def value(explain, model, x, classes):
    """One number made of the map: a fixed random mixture of its values."""
    found = explain(model, x, classes)
    return (found * torch.randn(found.shape, generator=torch.Generator().manual_seed(9)).double()).sum()


def random_like(tensors, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in tensors]


def assert_agrees(slopes, directions, at):
    """The derivative along the directions is the central difference of ``at(step)``."""
    claimed = sum((s * d).sum() for s, d in zip(slopes, directions, strict=True)).item()
    step = 1e-5
    measured = (at(step) - at(-step)).item() / (2 * step)
    assert abs(measured) > 1e-4, "the map does not move: nothing is compared"
    assert claimed == pytest.approx(measured, rel=1e-5)


@every_map
@pytest.mark.parametrize("seed", [0, 1])
def test_the_derivative_of_a_map_by_the_pixels(explain, seed):
    model, x, classes = setting()
    leaf = x.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(value(explain, model, leaf, classes), leaf)
    (direction,) = random_like([x], seed)

    def at(step):
        return value(explain, model, x + step * direction, classes).detach()

    assert_agrees([slopes], [direction], at)


@every_map
@pytest.mark.parametrize("seed", [0, 1])
def test_the_derivative_of_a_map_by_the_weights(explain, seed):
    model, x, classes = setting()
    weights = list(model.parameters())
    found = torch.autograd.grad(value(explain, model, x, classes), weights, allow_unused=True)
    slopes = [torch.zeros_like(w) if s is None else s for s, w in zip(found, weights, strict=True)]
    directions = random_like(weights, seed)

    def at(step):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for w, d in zip(moved.parameters(), directions, strict=True):
                w += step * d
        return value(explain, moved, x, classes).detach()

    assert_agrees(slopes, directions, at)
    # The head's bias moves no gradient; everything else moves every map.
    unmoved = [n for (n, _), s in zip(model.named_parameters(), slopes, strict=True) if not s.abs().max() > 0]
    assert unmoved == ["head.bias"]


@every_map
def test_the_pixels_and_the_weights_at_once(explain):
    """One backward pass serves both: neither the images nor the model are detached on the way."""
    model, x, classes = setting()
    leaf = x.clone().requires_grad_()
    value(explain, model, leaf, classes).backward()
    assert leaf.grad.abs().max() > 0
    assert all(p.grad is not None for name, p in model.named_parameters() if name != "head.bias")
    assert not model.second._forward_hooks


@every_map
def test_images_that_ask_for_nothing_get_nothing(explain):
    model, x, classes = setting()
    model.requires_grad_(False)
    leaf = x.clone().requires_grad_()
    assert value(explain, model, leaf, classes).requires_grad
    value(explain, model, leaf, classes).backward()
    assert leaf.grad is not None and all(p.grad is None for p in model.parameters())
    assert x.grad is None


def test_what_is_differentiated_is_what_the_public_functions_return():
    model, x, classes = setting()
    for name, formula in FORMULAS.items():
        ours = getattr(cams, name)(model, x, torch.tensor([2, 0]), layer="second", upsample=False)
        torch.testing.assert_close(cam_of(formula, True)(model, x, classes).detach(), ours)
    torch.testing.assert_close(
        gradient_of(model, x, classes).detach(), gradient(model, x, torch.tensor([2, 0]))
    )


def test_the_public_functions_stay_detached():
    model, x, _ = setting()
    leaf = x.clone().requires_grad_()
    results = [
        getattr(gradients, name)(model, leaf, 1)
        for name in ("gradient", "gradient_x_input", "smooth_grad", "integrated_gradients")
    ]
    results += [getattr(cams, name)(model, leaf, 1, layer="second") for name in FORMULAS]
    assert all(not r.requires_grad and r.grad_fn is None for r in results)
    assert leaf.grad is None and all(p.grad is None and p.requires_grad for p in model.parameters())


def test_a_map_can_be_moved_by_descent_on_the_pixels():
    """The attack of chapter 8 in small: a few steps on the pixels move the map's mass to one side."""
    model, x, classes = setting()
    explain, delta = cam_of(cams.grad_cam_weights, False), torch.zeros_like(x, requires_grad=True)

    def tilt(step):
        found = explain(model, x + step, classes)
        return found[..., :2].sum() - found[..., 2:].sum()

    before = tilt(delta).item()
    for _ in range(5):
        (slopes,) = torch.autograd.grad(tilt(delta), delta)
        delta = (delta + 0.02 * slopes.sign()).detach().requires_grad_()
    assert tilt(delta).item() > before
