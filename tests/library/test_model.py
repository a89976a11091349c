"""What the methods share: chunks, draws, rectifiers in the graph, and recording a layer."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradientXActivation
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.architectures import (
    Branches,
    Functional,
    FunctionalSix,
    InPlace,
    Linear,
    Plain,
    Reused,
    Six,
    Smooth,
    build,
    images,
    relative_error,
)
from xai_lib import (
    _checks,
    _model,
    _points,
    deconvnet,
    grad_cam,
    gradient,
    gradients,
    guided_backprop,
    integrated_gradients,
    lime,
    rise,
    smooth_grad,
)


def classes(*index):
    return _checks.Classes(torch.tensor(index)[:, None], max(index), False)


# ---------------------------------------------------------------------------------------------------- chunks


@settings(max_examples=40, deadline=None)
@given(n_images=st.integers(1, 5), n_points=st.integers(1, 9), batch_size=st.integers(1, 50))
def test_chunks_are_full_and_cover_every_point_once(n_images, n_points, batch_size):
    model = build(Linear)
    sizes, asked = [], []

    def make_points(which, points):
        sizes.append(len(which))
        asked.extend(zip(which.tolist(), points.tolist(), strict=True))
        return torch.zeros(len(which), 3, 6, 6)

    chosen = classes(*(i % 4 for i in range(n_images)))
    runs = list(_points.gradient_runs(model, chosen, n_points, batch_size, make_points))
    assert asked == [(i, p) for i in range(n_images) for p in range(n_points)]
    assert all(size == batch_size for size in sizes[:-1]) and 1 <= sizes[-1] <= batch_size
    assert [(r.image, r.first + k) for r in runs for k in range(len(r.gradients))] == asked
    for run in runs:  # each with its own image's class
        weights = model.fc.weight.detach()[run.image % 4].view(3, 6, 6)
        assert torch.equal(run.gradients, weights.expand_as(run.gradients))


@settings(max_examples=40, deadline=None)
@given(asks=st.lists(st.integers(1, 40), min_size=1, max_size=8), seed=st.integers(0, 100))
def test_draws_do_not_depend_on_how_they_are_asked_for(asks, seed):
    x, total = torch.zeros(2, 1, 3, 5), sum(asks)
    generators = [torch.Generator().manual_seed(seed) for _ in range(2)]
    at_once = _points.normal_draws(x, total, generators[0])(total)
    draw = _points.normal_draws(x, total, generators[1])
    assert torch.equal(torch.cat([draw(n) for n in asks]), at_once)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())
    assert at_once.shape == (total, 1, 3, 5) and len(at_once.unique(dim=0)) == total  # all images differ


# ------------------------------------------------------------------------------------------------ rectifiers


def count(model, size=(17, 21)):
    with torch.enable_grad():
        return len(gradients._rectifiers(model(images(2, size).requires_grad_())))


@pytest.mark.parametrize("kind", [Plain, InPlace, Six, Reused, Functional, FunctionalSix])
def test_every_spelling_of_a_rectifier_is_found(kind):
    assert count(build(kind)) == 3


class Shared(nn.Module):
    """Additions hand one gradient on to several readers, rectifiers among them."""

    def __init__(self):
        super().__init__()
        self.conv, self.side, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        a, b = self.conv(x), self.side(x)
        twice = a.relu() + b + a
        return self.head((twice.relu() + twice + b.relu()).mean((2, 3)))


@pytest.mark.parametrize("kind, size", [(Plain, (17, 21)), (Branches, (19, 23)), (Shared, (17, 21))])
def test_a_gradient_that_others_read_is_not_clamped_in_place(kind, size, monkeypatch):
    """The same values as when every clamp makes a new tensor; and some clamps do work in place."""
    model, x = build(kind), images(2, size)
    with torch.enable_grad():
        found = gradients._rectifiers(model(x.clone().requires_grad_()))
    assert any(r.fresh for r in found) == (kind is not Shared)
    assert not all(r.fresh for r in found)
    ours = guided_backprop(model, x, 1)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "clamp_", torch.clamp)
        assert torch.equal(guided_backprop(model, x, 1), ours)
    if kind is Shared:  # and here it would matter
        monkeypatch.setattr(gradients, "_MAKERS", ("AddBackward",))
        assert not torch.equal(guided_backprop(model, x, 1), ours)


def test_rectifiers_in_branches_are_found_once_each():
    assert count(build(Branches), (19, 23)) == 5


def spelt(function):
    class Spelt(nn.Module):
        def forward(self, x):
            return function(x - 0.5).mean((2, 3))

    return Spelt().eval()


RECTIFIERS = {
    "F.relu": F.relu,
    "F.relu in place": lambda t: F.relu(t, inplace=True),
    "torch.relu": torch.relu,
    "Tensor.relu": torch.Tensor.relu,
    "Tensor.relu_": torch.Tensor.relu_,
    "clamp": lambda t: t.clamp(min=0),
    "clamp_min": lambda t: t.clamp_min(0),
    "threshold": lambda t: F.threshold(t, 0, 0),
    "F.relu6": F.relu6,
    "F.relu6 in place": lambda t: F.relu6(t, inplace=True),
    "hardtanh": lambda t: F.hardtanh(t, 0, 6),
    "clamp to 6": lambda t: t.clamp(0, 6),
    "clamp with a tensor": lambda t: t.clamp(min=torch.zeros(())),
    "clamp with two tensors": lambda t: t.clamp(torch.zeros(1), torch.full((1,), 6.0)),
    "maximum": lambda t: torch.maximum(t, torch.zeros(())),
    "maximum, the other way": lambda t: torch.maximum(torch.zeros_like(t), t),
}
NO_RECTIFIERS = {
    "clipped pixels": lambda t: t.clamp(0, 1),
    "clamp elsewhere": lambda t: t.clamp(min=1e-6),
    "hardtanh": F.hardtanh,
    "leaky": F.leaky_relu,
    "silu": F.silu,
    "abs": torch.abs,
    "clamp with a tensor elsewhere": lambda t: t.clamp(min=torch.full((1,), 0.1)),
    "maximum of two": lambda t: torch.maximum(t, t.flip(3)),
}


@pytest.mark.parametrize("function", RECTIFIERS.values(), ids=RECTIFIERS)
def test_rectifier_functions(function):
    """Each gives guided backpropagation's answer: here shut everywhere, for the model's slope is negative."""
    model = spelt(lambda t: -function(t))
    assert count(model) == 1
    assert guided_backprop(model, images(2), 0).abs().max() == 0
    assert guided_backprop(spelt(function), images(2), 0).abs().max() > 0


@pytest.mark.parametrize(
    "spelling", ["maximum", "maximum, the other way", "clamp with a tensor", "clamp with two tensors"]
)
@pytest.mark.parametrize("explain", [guided_backprop, deconvnet])
def test_a_bound_that_is_a_tensor_makes_a_rectifier_also_at_zero(explain, spelling):
    """torch gives either side of a tie one half; a rectifier is shut there, as ``relu`` and ``clamp`` are."""
    x = images(2)
    x[:, :, ::2] = 0.5  # exact zeros, for the rectifier
    weight = torch.tensor([1.0, -2.0, 3.0]).view(1, 3, 1, 1)
    function = RECTIFIERS[spelling]
    found = explain(spelt(lambda t: weight * function(t)), x, 2)
    for other in (torch.relu, lambda t: t.clamp(min=0)):
        assert torch.equal(found, explain(spelt(lambda t, other=other: weight * other(t)), x, 2))
    assert found[:, 2].max() > 0 and (found[:, 2, ::2].max() > 0) == (explain is deconvnet)


class Hidden(torch.autograd.Function):
    """A rectifier that autograd cannot see into."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, slopes):
        return slopes * (ctx.saved_tensors[0] > 0)


class Parts(Plain):
    """The plain network, its features run by another function."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def forward(self, x):
        return self.head(self.run(self.features, x).mean((2, 3)))


def hidden_rectifiers(features, x):
    for module in features:
        x = Hidden.apply(x) if isinstance(module, nn.ReLU) else module(x)
    return x


def compiled(features, x):
    return torch.compile(features, backend="aot_eager")(x)


OPAQUE = {
    "a hand-written function": hidden_rectifiers,
    "a compiled part": compiled,
    "a reentrant checkpoint": lambda features, x: checkpoint(features, x, use_reentrant=True),
}


@pytest.mark.parametrize("explain", [guided_backprop, deconvnet])
@pytest.mark.parametrize("run", OPAQUE.values(), ids=OPAQUE)
def test_what_cannot_be_seen_into_is_named(run, explain):
    model = build(Parts, run=run)
    with pytest.raises(ValueError, match=r"model hides a part of its graph, '\w+Backward'.*may miss a ReLU"):
        explain(model, images(2), 1)
    if run is not OPAQUE["a reentrant checkpoint"]:  # that refuses torch.autograd.grad itself
        expected = gradient(build(Plain), images(2), 1)
        assert relative_error(gradient(model, images(2), 1), expected) < 1e-5


@pytest.mark.parametrize("explain", [gradient, guided_backprop, deconvnet])
def test_a_checkpoint_that_is_not_reentrant_is_seen_into(explain):
    model = build(Parts, run=lambda features, x: checkpoint(features, x, use_reentrant=False))
    assert torch.equal(explain(model, images(2), 1), explain(build(Plain), images(2), 1))


class Spare(Plain):
    """A rectifier on the way of no gradient: its own is cut off, or nobody asks for it."""

    def forward(self, x):
        aside = F.relu(self.features[0](x)).mean((2, 3))[:, :5]
        cut = torch.maximum(torch.zeros(()), x.detach().mean() * self.head.weight.sum())
        return super().forward(x) + 0 * aside.detach() + 0 * cut


@pytest.mark.parametrize("explain", [gradient, guided_backprop, deconvnet])
def test_a_rectifier_that_gets_no_gradient_is_no_obstacle(explain):
    model, x = build(Spare), images(2)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    assert torch.equal(explain(model, x, 1), explain(build(Plain), x, 1))


@pytest.mark.filterwarnings("ignore")  # torch's own, about its old quantisation
@pytest.mark.parametrize("explain", [gradient, guided_backprop, deconvnet, smooth_grad, integrated_gradients])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_dynamically_quantised_head_is_named(explain):
    model = torch.ao.quantization.quantize_dynamic(build(Plain), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(ValueError, match=r"without a gradient at the pixels.*quantised layers"):
        explain(model.eval(), images(2), 1)


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("explain", [gradient, partial(grad_cam, layer="features.7"), smooth_grad])
def test_fake_quantisation_that_watches_in_evaluation_is_left_as_found(explain, stop):
    """Its observer moves scales and ranges at every forward pass, also in evaluation mode."""
    from torch.ao.quantization import FusedMovingAvgObsFakeQuantize

    model = build(Plain)
    model.features.append(FusedMovingAvgObsFakeQuantize())
    model.eval()(images(2))  # ranges that are set
    before = {name: b.clone() for name, b in model.named_buffers()}
    model(3 * images(2))
    assert any(not torch.equal(b, before[name]) for name, b in model.named_buffers()), "nothing moves"
    before = {name: b.clone() for name, b in model.named_buffers()}
    if stop:
        model.head.register_forward_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            explain(model, images(2), 1)
    else:
        explain(model, images(2), 1)
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())


def test_a_compiled_model_is_explained_like_the_model_inside():
    """Compiled code is one node in the graph: its rectifiers would not be seen."""
    model, x = build(Plain), images(2)
    compiled = torch.compile(model, backend="aot_eager")
    assert torch.equal(guided_backprop(compiled, x), guided_backprop(model, x))


@pytest.mark.parametrize("function", NO_RECTIFIERS.values(), ids=NO_RECTIFIERS)
def test_other_functions_are_left_alone(function):
    assert count(spelt(function)) == 0


# ----------------------------------------------------------------------------------------- recording a layer


@pytest.mark.parametrize(
    "kind, layer", [(Plain, "features.6"), (InPlace, "features.6"), (InPlace, "features.0")]
)
def test_layer_gradient_agrees_with_captum(kind, layer, device):
    """Also where an in-place rectifier follows the layer: the reference is the network without those."""
    model, twin = (build(k).to(device, torch.float64) for k in (kind, Plain))
    x = images(3, dtype=torch.float64, device=device)
    target = torch.tensor([1, 4, 0], device=device)
    maps, gradients, logits = _model.layer_gradient(model, x, _checks.check_target(target, x), layer)
    reference = LayerGradientXActivation(twin, twin.get_submodule(layer)).attribute(x, target)
    assert relative_error(maps * gradients, reference) < 1e-12
    assert relative_error(logits, twin(x)) < 1e-12
    assert not any(t.requires_grad for t in (maps, gradients, logits))


def test_a_layer_is_its_name_or_itself_and_names_work_on_copies():
    model, x = build(Plain), images(2)
    by_name = _model.layer_gradient(model, x, classes(1, 2), "features.3")
    by_module = _model.layer_gradient(model, x, classes(1, 2), model.features[3])
    on_copy = _model.layer_gradient(copy.deepcopy(model), x, classes(1, 2), "features.3")
    for a, b, c in zip(by_name, by_module, on_copy, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)


def test_a_layer_that_runs_several_times_is_recorded_at_its_last_run():
    model, x = build(Reused).double(), images(2, dtype=torch.float64)
    maps, gradients, logits = _model.layer_gradient(model, x, classes(1, 2), "act")
    last = F.relu(model.features[-1](_before_last(model, x))).detach()
    assert relative_error(maps, last) < 1e-12
    pixels = maps.shape[2] * maps.shape[3]  # behind it come the mean over the pixels and the linear head
    expected = model.head.weight.detach()[[1, 2]][:, :, None, None].expand_as(maps) / pixels
    assert relative_error(gradients, expected) < 1e-12
    assert relative_error(logits, model(x)) < 1e-12


def _before_last(model, x):
    conv1, pool, conv2, norm, _ = model.features
    return F.relu(norm(conv2(pool(F.relu(conv1(x))))))


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_recording_leaves_no_hook(error):
    model = build(Plain)
    if error:
        model.head.register_forward_hook(lambda *_: (_ for _ in ()).throw(error()))
        with pytest.raises(error):
            _model.layer_gradient(model, images(1), None, "features.3")
    else:
        _model.layer_gradient(model, images(1), None, "features.3")
    assert not model.features[3]._forward_hooks


def test_layers_without_feature_maps_are_named():
    model = build(Branches)
    model.spare = nn.Conv2d(1, 1, 1)
    x = images(2, (19, 23))
    with pytest.raises(ValueError, match=r"'fc1' gives shape \(2, 10\)"):
        _model.layer_gradient(model, x, None, "fc1")
    with pytest.raises(ValueError, match="layer 'spare' never ran"):
        _model.layer_gradient(model, x, None, "spare")


def test_layers_that_the_logits_ignore_are_named():
    class Aside(Smooth):
        def forward(self, x):
            self.conv(x)
            return x.mean((2, 3))

    with pytest.raises(ValueError, match="do not depend on layer 'conv'"):
        _model.layer_gradient(build(Aside), images(2), None, "conv")


def test_without_a_batch_size_a_pass_takes_what_suits_the_device(device):
    sizes = []

    class Watching(Plain):
        def forward(self, x):
            sizes.append(len(x))
            return super().forward(x)

    model, x = build(Watching).to(device), images(1, device=device)
    explainers = (
        lambda: smooth_grad(model, x, 0, n_samples=70),
        lambda: integrated_gradients(model, x, 0, n_steps=70),
        lambda: rise(model, x, 0, n_masks=70, grid=3),
        lambda: lime(model, x, 0, n_samples=70),
    )
    for explain in explainers:
        sizes.clear()
        explain()
        assert max(sizes) == (16 if device.type == "cpu" else 64) and sum(sizes) == 70
