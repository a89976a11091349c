"""Bad input raises before any forward pass, and names the argument, what it got and what it wants."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from tests.architectures import Linear, Plain, Smooth, build, images
from tests.promises import Counting, assert_says, complaint
from xai_lib import (
    _checks,
    _model,
    deconvnet,
    gradient,
    gradient_x_input,
    guided_backprop,
    integrated_gradients,
    smooth_grad,
)

EXPLAINERS = {
    f.__name__: f
    for f in (gradient, gradient_x_input, smooth_grad, integrated_gradients, guided_backprop, deconvnet)
}
every_explainer = pytest.mark.parametrize("explain", EXPLAINERS.values(), ids=EXPLAINERS)


@every_explainer
@pytest.mark.parametrize("shape", [(3, 9, 9), (9, 9), (2, 2, 3, 9, 9), ()])
def test_not_4d(explain, shape):
    model = build(Counting)
    message = complaint(lambda: explain(model, torch.rand(shape)), model)
    assert_says(message, "x must be 4-D", "(N, C, H, W)", shape)
    assert ("x[None]" in message) == (len(shape) == 3)


@every_explainer
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_integer_pixels(explain, dtype):
    model = build(Counting)
    message = complaint(lambda: explain(model, torch.ones(2, 3, 9, 9, dtype=dtype)), model)
    assert_says(message, "x must hold floating-point pixels", dtype, "x / 255")


@every_explainer
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_not_finite(explain, bad):
    model, x = build(Counting), images(2)
    x[1, 2, 3, 4:6] = bad
    assert_says(
        complaint(lambda: explain(model, x), model), "x must be finite", "2 NaN or infinite", x.numel()
    )


@every_explainer
@pytest.mark.parametrize("shape", [(0, 3, 9, 9), (2, 3, 0, 9), (2, 0, 9, 9)])
def test_empty_batch(explain, shape):
    model = build(Counting)
    assert_says(
        complaint(lambda: explain(model, torch.rand(shape)), model), "x must hold", "empty batch", shape
    )


OTHER_DEVICES = ["meta", "cuda:0"] if torch.cuda.is_available() else ["meta"]


@every_explainer
@pytest.mark.parametrize("other", OTHER_DEVICES)
def test_another_device(explain, other):
    model = build(Counting).to(other)
    message = complaint(lambda: explain(model, images(2)), model)
    assert_says(message, "x is on cpu", f"the model is on {other}", f"x.to('{other}')")


@every_explainer
def test_target_out_of_range(explain):
    model, x = build(Counting), images(2)
    assert_says(complaint(lambda: explain(model, x, -1), model), "target", "0 or more", "-1")
    # How many classes there are is known after the first forward pass.
    assert_says(complaint(lambda: explain(model, x, 5), model, passes=1), "target", "classes, 5, got 5")
    model = build(Counting)
    message = complaint(lambda: explain(model, x, torch.tensor([4, 99])), model, passes=1)
    assert_says(message, "target must be below", "got 99")


@every_explainer
@pytest.mark.parametrize("target", [torch.tensor([1]), torch.tensor([1, 2, 3]), torch.ones(2, 1, dtype=int)])
def test_target_of_the_wrong_length(explain, target):
    model = build(Counting)
    message = complaint(lambda: explain(model, images(2), target), model)
    assert_says(message, "target", "shape (2,)", f"got shape {tuple(target.shape)}")


@every_explainer
@pytest.mark.parametrize(
    "target, error, words",
    [
        (torch.tensor([0.0, 1.0]), ValueError, ["target", "integers", "float32"]),
        (torch.tensor([True, False]), ValueError, ["target", "integers", "bool"]),
        (1.0, TypeError, ["target", "int", "float"]),
        ("cat", TypeError, ["target", "int", "str"]),
        (True, TypeError, ["target", "int", "bool"]),
        ([0, 1], TypeError, ["target", "tensor (N,)", "list"]),
    ],
    ids=str,
)
def test_target_of_the_wrong_type(explain, target, error, words):
    model = build(Counting)
    assert_says(complaint(lambda: explain(model, images(2), target), model, error), *words)


@every_explainer
def test_training_mode(explain):
    model = build(Counting).train()
    assert_says(complaint(lambda: explain(model, images(2)), model), "model", "training mode", "model.eval()")
    assert model.training
    model.eval().features[4].train()
    message = complaint(lambda: explain(model, images(2)), model)
    assert_says(message, "'features.4'", "training mode", "model.eval()")


@every_explainer
def test_wrong_types(explain):
    model = build(Counting)
    message = complaint(lambda: explain(model, images(2).numpy()), model, TypeError)
    assert_says(message, "x must be a tensor", "ndarray")
    message = complaint(lambda: explain(lambda x: x, images(2)), model, TypeError)
    assert_says(message, "model must be a torch.nn.Module", "function")


@every_explainer
def test_inference_tensors_as_weights(explain):
    with torch.inference_mode():
        model = build(Counting)
    message = complaint(lambda: explain(model, images(2)), model)
    assert_says(message, "model holds inference tensors", "torch.inference_mode()")


@every_explainer
@pytest.mark.parametrize(
    "forward, words",
    [
        (lambda self, x: (self.head(x),), ["model must return a tensor of logits", "tuple"]),
        (lambda self, x: x, ["model must return logits (", "3, 17, 21)"]),
        (lambda self, x: x.mean((2, 3))[:1], ["model must return logits (", "(1, 3)"]),
        (lambda self, x: x.detach().mean((2, 3)), ["without a gradient", "detach()"]),
    ],
)
def test_models_that_are_no_classifiers(explain, forward, words):
    kind = type("Other", (nn.Module,), {"forward": forward, "head": nn.Identity()})
    with pytest.raises(ValueError) as error:
        explain(kind().eval(), images(2), 0)
    assert_says(str(error.value), *words)


@pytest.mark.parametrize("explain", [guided_backprop, deconvnet])
def test_no_rectifier(explain):
    for kind, size in ((Smooth, (17, 21)), (Linear, (6, 6))):
        with pytest.raises(ValueError, match="model has no ReLU"):
            explain(build(kind), images(2, size))


@pytest.mark.parametrize(
    "explain, name",
    [
        (smooth_grad, "n_samples"),
        (smooth_grad, "batch_size"),
        (integrated_gradients, "n_steps"),
        (integrated_gradients, "batch_size"),
    ],
)
@given(count=st.one_of(st.integers(max_value=0), st.floats(), st.just("8"), st.none(), st.booleans()))
@settings(max_examples=15, deadline=None)
def test_counts(explain, name, count):
    assume(not (name == "batch_size" and count is None))  # None asks for what suits the device
    model = build(Counting)
    call = partial(explain, model, images(1), **{name: count})
    message = complaint(call, model, (ValueError, TypeError))
    assert_says(message, f"{name} must be a positive whole number", f"got {count!r}")


def test_counts_may_come_from_numpy():
    model, x = build(Plain), images(1)
    assert torch.equal(
        integrated_gradients(model, x, np.int64(2), n_steps=np.int32(4)),
        integrated_gradients(model, x, 2, n_steps=4),
    )
    assert torch.equal(gradient(model, x, torch.tensor(2)), gradient(model, x, 2))


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf"), "0.1", None, True])
def test_noise(noise):
    model = build(Counting)
    message = complaint(lambda: smooth_grad(model, images(1), noise=noise), model)
    assert_says(message, "noise must be a finite number, 0 or more", repr(noise))


def test_statistic():
    model = build(Counting)
    message = complaint(lambda: smooth_grad(model, images(1), statistic="varience"), model)
    assert_says(message, "statistic must be one of", "'square'", "got 'varience'", "did you mean 'variance'")


def test_generator():
    model = build(Counting)
    message = complaint(lambda: smooth_grad(model, images(1), generator=3), model, TypeError)
    assert_says(message, "generator must be a torch.Generator", "int")


def test_generator_of_another_device():
    with pytest.raises(
        ValueError, match=r"generator draws on cpu, but x is on cuda:0; .*Generator\('cuda:0'\)"
    ):
        _checks.check_generator(torch.Generator("cpu"), torch.device("cuda:0"))


@pytest.mark.parametrize(
    "baseline", [torch.rand(2, 1, 17, 21, 1), torch.rand(3), torch.rand(2, 3, 1, 5), "black"]
)
def test_baseline(baseline):
    model = build(Counting)
    message = complaint(lambda: integrated_gradients(model, images(2), baseline=baseline), model)
    got = repr(baseline) if isinstance(baseline, str) else tuple(baseline.shape)
    assert_says(message, "baseline must be a number or a tensor that broadcasts", "(2, 3, 17, 21)", got)


def test_baseline_not_finite():
    model = build(Counting)
    message = complaint(lambda: integrated_gradients(model, images(2), baseline=float("nan")), model)
    assert_says(message, "baseline must be finite")


LAYER_MISTAKES = [
    ("features.80", ["layer 'features.80' is not a module", "did you mean", "'features.0'"]),
    ("feature", ["did you mean 'features'"]),
    ("", ["layer '' is not a module"]),
    (nn.Conv2d(3, 3, 1), ["layer is a Conv2d that is not part of this model", "dotted name"]),
]


@pytest.mark.parametrize("layer, words", LAYER_MISTAKES)
def test_unknown_layer(layer, words):
    model = build(Counting)
    message = complaint(lambda: _model.layer_gradient(model, images(1), None, layer), model)
    assert_says(message, *words)


def test_the_right_layer_inside_a_wrapper_is_suggested_first():
    wrapped = nn.Sequential(nn.Identity(), build(Plain))
    with pytest.raises(ValueError, match=r"did you mean '1\.features\.6'"):
        _model.find_layer(wrapped, "features.6")
    with pytest.raises(TypeError, match="layer must be a module of the model or its dotted name, got int"):
        _model.find_layer(wrapped, 6)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(0, 4), max_size=6).filter(lambda s: len(s) != 4 or 0 in s),
    dtype=st.sampled_from([torch.float32, torch.int32, torch.float64]),
    name=st.sampled_from(sorted(EXPLAINERS)),
)
def test_any_wrong_shape_gives_a_named_error(shape, dtype, name):
    model = build(Counting)
    message = complaint(lambda: EXPLAINERS[name](model, torch.zeros(shape, dtype=dtype)), model)
    assert message.startswith("x must ")
