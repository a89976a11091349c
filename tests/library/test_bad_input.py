"""Bad input raises before any forward pass, and names the argument, what it got and what it wants.

What every explainer refuses is tested once, over the table of explainers; then the options that several of
them share; what one method alone takes is tested beside that method.
"""

import re
import warnings
from collections import namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.architectures import Linear, Plain, Smooth, build, images
from tests.explainers import EXPLAINERS, TABLE, every_explainer, some
from tests.promises import Counting, assert_says, complaint
from xai_lib import _checks, _model, deconvnet, guided_backprop, integrated_gradients

# ------------------------------------------------------------------------------------------------- the images


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
    message = complaint(lambda: explain(model, x), model)
    assert_says(message, "x must be finite", "2 NaN or infinite", x.numel())


@every_explainer
@pytest.mark.parametrize("shape", [(0, 3, 9, 9), (2, 3, 0, 9), (2, 0, 9, 9)])
def test_empty_batch(explain, shape):
    model = build(Counting)
    message = complaint(lambda: explain(model, torch.rand(shape)), model)
    assert_says(message, "x must hold", "empty batch", shape)


@every_explainer
@pytest.mark.parametrize("kind", ["meta", "sparse"])
def test_images_without_plain_values(explain, kind):
    model, x = build(Counting), images(2)
    given = x.to("meta") if kind == "meta" else x.to_sparse()
    message = complaint(lambda: explain(model, given), model)
    assert_says(message, *(["x must hold values", "meta"] if kind == "meta" else ["x.to_dense()"]))


@every_explainer
@pytest.mark.parametrize(
    "change, words",
    [
        (lambda x: 255 * x, ["x has values from", "images in [0, 1]", "x / 255"]),
        (lambda x: (x - 0.45) / 0.2, ["x has values from -2", "images in [0, 1]", "normalised already"]),
    ],
    ids=["bytes as floats", "normalised"],
)
def test_an_unlikely_range_is_said(explain, change, words):
    with pytest.warns(UserWarning) as said:
        explain(build(Plain), change(images(1)), 1)
    assert_says(str(said[0].message), *words)
    assert said[0].filename.endswith(("test_bad_input.py", "explainers.py")), "points into the library"


@every_explainer
def test_ordinary_images_warn_of_nothing(explain):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(build(Plain), images(1), 1)
        explain(build(Plain), images(1) + 0.2, 1)


@every_explainer
@pytest.mark.parametrize("other", ["meta", "cuda:0"] if torch.cuda.is_available() else ["meta"])
def test_another_device(explain, other):
    model = build(Counting).to(other)
    message = complaint(lambda: explain(model, images(2)), model)
    assert_says(message, "x is on cpu", f"the model is on {other}", f"x.to('{other}')")


@every_explainer
def test_another_dtype(explain):
    model, x = build(Counting), images(2)
    message = complaint(lambda: explain(model, x.double()), model)
    assert_says(message, "x is torch.float64", "weights are torch.float32", "x.to(torch.float32)")


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 4), max_size=6).filter(lambda s: len(s) != 4 or 0 in s),
    dtype=st.sampled_from([torch.float32, torch.int32, torch.float64]),
    name=st.sampled_from(sorted(EXPLAINERS)),
)
def test_any_wrong_shape_gives_a_named_error(shape, dtype, name):
    model = build(Counting)
    message = complaint(lambda: EXPLAINERS[name](model, torch.zeros(shape, dtype=dtype)), model)
    assert message.startswith("x must ")


@every_explainer
def test_wrong_types(explain):
    model = build(Counting)
    message = complaint(lambda: explain(model, images(2).numpy()), model, TypeError)
    assert_says(message, "x must be a tensor", "ndarray")
    message = complaint(lambda: explain(lambda x: x, images(2)), model, TypeError)
    assert_says(message, "model must be a torch.nn.Module", "function")


# ------------------------------------------------------------------------------------------------- the target


@every_explainer
def test_target_out_of_range(explain):
    model, x = build(Counting), images(2)
    for target in (-1, torch.tensor([1, -1])):
        message = complaint(lambda target=target: explain(model, x, target), model)
        assert_says(message, "target", "0 or more", "-1")
    # How many classes there are is known after the first forward pass.
    for target, number in ((5, 5), (torch.tensor([4, 99]), 99)):
        model = build(Counting)
        message = complaint(lambda m=model, target=target: explain(m, x, target), model, passes=1)
        assert_says(message, "target must be below", "classes, 5", f"got {number}")


@some(kind="black-box")
def test_one_of_many_targets_out_of_range(explain):
    model, x = build(Counting), images(2)
    message = complaint(lambda: explain(model, x, torch.tensor([[0, 1], [-1, 2]])), model)
    assert_says(message, "target", "0 or more", "-1")
    message = complaint(lambda: explain(model, x, torch.tensor([[0, 1], [2, 7]])), model, passes=1)
    assert_says(message, "target must be below", "classes, 5", "got 7")


@every_explainer
@pytest.mark.parametrize("shape", [(1,), (3,), (3, 2), (1, 2), (2, 0), (2, 1, 1), (0, 2)])
def test_target_of_the_wrong_shape(explain, shape):
    model = build(Counting)
    message = complaint(lambda: explain(model, images(2), torch.ones(shape, dtype=int)), model)
    assert_says(message, "target", "(2,)", f"got shape {shape}")
    assert ("(2, K)" in message) == (explain.kind == "black-box")


@some(kind=("gradient", "cam"))
def test_several_classes_at_once_are_for_black_box_methods(explain):
    model = build(Counting)
    message = complaint(lambda: explain(model, images(2), torch.ones(2, 3, dtype=int)), model)
    assert_says(message, "target", "(2,)", "got shape (2, 3)")


@every_explainer
@pytest.mark.parametrize(
    "target, error, words",
    [
        (torch.tensor([0.0, 1.0]), ValueError, ["target", "integers", "float32"]),
        (torch.tensor([True, False]), ValueError, ["target", "integers", "bool"]),
        (torch.tensor(True), TypeError, ["target", "int", "bool"]),
        (torch.tensor(1.0), TypeError, ["target", "int", "float32"]),
        (np.array([0.5, 1.0]), ValueError, ["target", "integers", "float64"]),
        (2**70, ValueError, ["target must be a class number", str(2**70)]),
        (1.0, TypeError, ["target", "int", "float"]),
        ("cat", TypeError, ["target", "int", "str"]),
        (True, TypeError, ["target", "int", "bool"]),
        ([0, 1], TypeError, ["target", "tensor (N,)", "list"]),
        (torch.tensor([0, 1], device="meta"), ValueError, ["target must hold values", "meta"]),
    ],
    ids=str,
)
def test_target_of_the_wrong_type(explain, target, error, words):
    model = build(Counting)
    assert_says(complaint(lambda: explain(model, images(2), target), model, error), *words)


# -------------------------------------------------------------------------------------------------- the model


@every_explainer
def test_training_mode(explain):
    model = build(Counting).train()
    assert_says(complaint(lambda: explain(model, images(2)), model), "model", "training mode", "model.eval()")
    assert model.training
    model.eval().features[4].train()
    message = complaint(lambda: explain(model, images(2)), model)
    assert_says(message, "'features.4'", "training mode", "model.eval()")


@every_explainer
def test_normalisation_over_the_batch(explain):
    model = build(Counting)
    model.features[4] = nn.BatchNorm2d(12, track_running_stats=False).eval()
    message = complaint(lambda: explain(model, images(2)), model)
    assert_says(message, "'features.4'", "over the batch", "track_running_stats=True")


@every_explainer
def test_weights_that_are_not_there_yet(explain):
    model = build(Counting)
    model.features[0] = nn.LazyConv2d(8, 3).eval()
    assert_says(complaint(lambda: explain(model, images(2)), model), "model", "run it once")


@every_explainer
def test_inference_tensors_as_weights(explain):
    with torch.inference_mode():
        model = build(Counting)
    message = complaint(lambda: explain(model, images(2)), model)
    assert_says(message, "model holds inference tensors", "torch.inference_mode()")


Output = namedtuple("Output", "logits aux")


class Answer:
    def __init__(self, logits):
        self.logits = logits


@every_explainer
@pytest.mark.parametrize(
    "wrap, kind",
    [
        (lambda y: (y, y), "tuple"),
        (lambda y: {"logits": y}, "dict"),
        (lambda y: {"out": y, "aux": y}, "dict"),
        (lambda y: Answer(y), "Answer"),
    ],
    ids=["tuple", "dict", "another dict", "object"],
)
def test_a_model_that_wraps_its_logits_is_shown_the_way_out(explain, wrap, kind):
    """The two lines that the error shows are run: with them the method works."""

    class Wrapping(Plain):
        def forward(self, x):
            return wrap(super().forward(x))

    inner = build(Wrapping)
    message = complaint(lambda: explain(inner, images(1), 0))
    assert_says(message, "model must return a tensor of logits", kind)
    scope = {"torch": torch, "model": inner}
    exec("\n".join(line[4:] for line in message.splitlines()[1:]), scope)
    more = {"layer": "inner.features.7"} if "layer" in explain.options else {}
    more |= {"head": "inner.head"} if "head" in explain.options else {}
    again = explain(scope["model"], images(1), 0, **more)
    assert torch.equal(again, explain(build(Plain), images(1), 0))


@every_explainer
@pytest.mark.parametrize(
    "forward, words",
    [
        (lambda self, x: self.features(x), ["model must return logits (", "16, "]),
        (
            lambda self, x: self.head(self.features(x).mean((2, 3)))[:1],
            ["model must return logits (", "(1, 5)"],
        ),
    ],
    ids=["maps", "one row"],
)
def test_models_that_are_no_classifiers(explain, forward, words):
    model = build(type("Other", (Plain,), {"forward": forward}))
    for target in (0, None):
        options = {"batch_size": 64} if explain.batched else {}
        message = complaint(lambda t=target, o=options: explain(model, images(2), t, **o))
        assert_says(message, *words)


CUT = {
    "detached pixels": lambda self, x: self.head(self.features(x.detach()).mean((2, 3))),
    "a way through numpy": lambda self, x: self.head(
        self.features(torch.tensor(x.detach().numpy())).mean((2, 3))
    ),
    "a plain tensor that asks for a gradient": lambda self, x: (
        self.head(self.features(x.detach()).mean((2, 3))) + torch.ones(5, requires_grad=True)
    ),
    "detached logits": lambda self, x: self.head(self.features(x).mean((2, 3))).detach(),
}


@some(kind="gradient")
@pytest.mark.parametrize("forward", CUT.values(), ids=CUT)
def test_logits_without_a_gradient_at_the_pixels(explain, forward):
    model = build(type("Cut", (Plain,), {"forward": forward}))
    message = complaint(lambda: explain(model, images(2), 0))
    assert "detach()" in message and ("without a gradient" in message or "do not depend on layer" in message)


@pytest.mark.parametrize("explain", [guided_backprop, deconvnet])
def test_no_rectifier(explain):
    for kind, size in ((Smooth, (17, 21)), (Linear, (6, 6))):
        with pytest.raises(ValueError, match="model has no ReLU"):
            explain(build(kind), images(2, size))


class OneLogit(Plain):
    """A sigmoid head, as detectors of one thing have."""

    def forward(self, x):
        return super().forward(x)[:, :1]


@some(kind="black-box")
def test_one_logit_has_no_softmax(explain):
    message = complaint(lambda: explain(build(OneLogit), images(2), 0))
    assert_says(message, "one logit", "softmax", "[0, z]")


@some(kind="gradient")
def test_one_logit_has_a_gradient(explain):
    model, x = build(OneLogit), images(2)
    assert torch.equal(explain(model, x), explain(build(Plain), x, 0))


@some(kind="black-box")
def test_a_model_that_ends_in_softmax_is_noticed(explain):
    class Sure(Plain):
        def forward(self, x):
            return super().forward(x).softmax(1)

    with pytest.warns(UserWarning, match="sum to one"):
        explain(build(Sure), images(2), 0)


# -------------------------------------------------------------------------------------------------- the layer

with_layer = pytest.mark.parametrize(
    "explain", [e for e in TABLE if "layer" in e.options], ids=[e.name for e in TABLE if "layer" in e.options]
)


@with_layer
@pytest.mark.parametrize(
    "layer, words",
    [
        ("features.80", ["layer 'features.80' is not a module", "did you mean", "'features.0'"]),
        ("feature", ["did you mean 'features'"]),
        ("", ["layer '' is not a module"]),
        (nn.Conv2d(3, 3, 1), ["layer is a Conv2d that is not part of this model", "dotted name"]),
    ],
    ids=str,
)
def test_unknown_layer(explain, layer, words):
    model = build(Counting)
    assert_says(complaint(lambda: explain(model, images(1), 0, layer=layer), model), *words)


@with_layer
def test_layer_of_the_wrong_type(explain):
    model = build(Counting)
    message = complaint(lambda: explain(model, images(1), 0, layer=7), model, TypeError)
    assert_says(message, "layer must be a module", "dotted name", "int")


def test_the_argument_that_names_a_layer_is_named():
    model = build(Counting)
    for head, error, words in (
        ("haed", ValueError, ["head 'haed' is not a module", "did you mean 'head'"]),
        (3, TypeError, ["head must be a module", "int"]),
    ):
        message = complaint(lambda h=head: EXPLAINERS["cam"](model, images(1), 0, head=h), model, error)
        assert_says(message, *words)


def test_the_right_layer_inside_a_wrapper_is_suggested_first():
    wrapped = nn.Sequential(nn.Identity(), build(Plain))
    with pytest.raises(ValueError, match=r"did you mean '1\.features\.6'"):
        _model.find_layer(wrapped, "features.6")


class ChannelsLast(nn.Module):
    """Maps as transformers and ConvNeXt hold them, (N, h, w, K), until a permutation."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 4, stride=4)
        self.blocks = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 24), nn.GELU(), nn.ReLU())
        self.back = nn.Sequential(nn.Identity(), nn.Conv2d(24, 6, 1), nn.ReLU())
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = self.blocks(self.patches(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(self.back(x).mean((2, 3)))


@with_layer
@pytest.mark.parametrize("layer", ["blocks", "blocks.0", "blocks.1", "blocks.2"])
def test_maps_with_the_channels_last_are_named_and_the_nearest_others_suggested(explain, layer):
    model, x = build(ChannelsLast), images(2, (32, 48))
    more = {"head": "head"} if explain.name == "cam" else {}
    message = complaint(lambda: explain(model, x, 0, layer=layer, **more))
    assert_says(message, f"'{layer}' gives shape (2, 8, 12, 24)", "channels last", "take ")
    better = re.search(r"take '([\w.]+)'", message)[1]
    assert better in ("patches", "back.0")
    if explain.name != "cam":
        assert explain(model, x, 0, layer=better).isfinite().all()


@pytest.mark.parametrize(
    "name, layer, size, better",
    [("swin_t", "features", (96, 64), "permute"), ("swin_t", "features.1", (224, 224), "features")]
    + [("convnext_tiny", "features.1.0.block.2", (64, 64), "features.1.0.block.0")],
)
def test_real_networks_with_the_channels_last(name, layer, size, better):
    import torchvision

    model = torchvision.models.get_model(name, weights=None).eval()
    message = complaint(lambda: EXPLAINERS["grad_cam"](model, torch.rand(1, 3, *size), 1, layer=layer))
    assert_says(message, f"{layer!r} gives shape", "channels last", f"take '{better}")


@with_layer
def test_a_layer_without_feature_maps_is_named_with_its_shape(explain):
    message = complaint(lambda: explain(build(Plain), images(2), 1, layer="head"))
    assert_says(message, "feature maps (2, K, h, w), but 'head' gives shape (2, 5)")


@with_layer
def test_tokens_are_no_maps(explain):
    class Tokens(Plain):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Identity()

        def forward(self, x):
            maps = self.features(x)
            return self.head(self.tokens(maps.flatten(2).mT).mT.view_as(maps).mean((2, 3)))

    message = complaint(lambda: explain(build(Tokens), images(2), 0, layer="tokens"))
    assert_says(message, "'tokens' gives shape (2, 12, 16)", "tokens", "token_maps")


# ------------------------------------------------------------------------------------ options that are shared


@pytest.mark.parametrize(
    "explain, flag",
    [(e, f) for e in TABLE for f in e.flags],
    ids=[f"{e.name}-{f}" for e in TABLE for f in e.flags],
)
@pytest.mark.parametrize("value", ["no", 1, 0.0, None, torch.tensor(True)], ids=str)
def test_flags(explain, flag, value):
    model = build(Counting)
    message = complaint(lambda: explain(model, images(1), 0, **{flag: value}), model, TypeError)
    assert_says(message, f"{flag} must be True or False", f"got {value!r}")


@pytest.mark.parametrize(
    "explain, flag",
    [(e, f) for e in TABLE for f in e.flags],
    ids=[f"{e.name}-{f}" for e in TABLE for f in e.flags],
)
def test_flags_may_come_from_numpy(explain, flag):
    model, x = build(Plain), images(1)
    assert torch.equal(explain(model, x, 0, **{flag: np.True_}), explain(model, x, 0, **{flag: True}))


NO_COUNTS = [0, -3, 1.0, float("nan"), "8", None, True, torch.tensor([1, 2]), 2**70]
COUNTS = [
    (e, name)
    for e in TABLE
    for name in ("batch_size", "n_samples", "n_steps", "n_masks", "grid", "window")
    if name in e.options or (name == "batch_size" and e.batched)
]


@pytest.mark.parametrize("explain, name", COUNTS, ids=[f"{e.name}-{n}" for e, n in COUNTS])
@pytest.mark.parametrize("count", NO_COUNTS, ids=str)
def test_counts(explain, name, count):
    if name in ("batch_size", "n_steps") and count is None:
        return  # asks for what suits the device, or the tolerance
    model = build(Counting)
    message = complaint(lambda: explain(model, images(1), **{name: count}), model, (ValueError, TypeError))
    wanted = (
        "a whole number that fits" if isinstance(count, int) and count > 2**63 else "a positive whole number"
    )
    assert_says(message, f"{name} must be {wanted}", f"got {count!r}")


@pytest.mark.parametrize("explain, name", COUNTS, ids=[f"{e.name}-{n}" for e, n in COUNTS])
def test_counts_may_come_from_numpy(explain, name):
    model, x = build(Plain), images(1)
    count = explain.options.get(name, 2)
    assert torch.equal(
        explain(model, x, np.int64(2), **{name: np.int32(count)}), explain(model, x, 2, **{name: count})
    )


NUMBERS = [
    (
        "smooth_grad",
        "noise",
        [-0.1, float("nan"), float("inf"), "0.1", None, True],
        "a finite number, 0 or more",
    ),
    (
        "smooth_grad",
        "tolerance",
        [0, -0.1, float("nan"), float("inf"), "0.1", True],
        "a finite number, above 0",
    ),
    ("integrated_gradients", "tolerance", [0, -1, float("nan"), "0.1", True], "a finite number, above 0"),
    ("lime", "alpha", [-1.0, float("nan"), "1", None, True], "a finite number, 0 or more"),
    ("lime", "kernel_width", [0, 0.0, -1.0, float("inf"), "1", None, True], "a finite number, above 0"),
    ("lime", "tolerance", [0, -0.1, float("nan"), "0.1", True], "a finite number, above 0"),
    ("shapley", "tolerance", [0, -0.1, float("nan"), "0.1", True], "a finite number, above 0"),
    ("rise", "tolerance", [0, -0.1, float("nan"), float("inf"), "0.1", True], "a finite number, above 0"),
]


@pytest.mark.parametrize(
    "name, option, value, wanted",
    [(n, o, v, w) for n, o, values, w in NUMBERS for v in values],
    ids=str,
)
def test_numbers(name, option, value, wanted):
    model = build(Counting)
    message = complaint(lambda: EXPLAINERS[name](model, images(1), **{option: value}), model)
    assert_says(message, f"{option} must be {wanted}", repr(value))


@pytest.mark.parametrize("name, option", [(n, o) for n, o, *_ in NUMBERS])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_numbers_may_come_from_numpy(name, option, kind):
    model, x = build(Plain), images(1)
    explain = EXPLAINERS[name]
    assert torch.equal(explain(model, x, 1, **{option: kind(1)}), explain(model, x, 1, **{option: 1.0}))


WORDS = [
    ("smooth_grad", "statistic", "varience", ["statistic must be one of", "did you mean 'variance'"]),
    ("score_cam", "weights", "channel", ["weights must be one of", "did you mean 'channels'"]),
    ("rise", "normalize", "covrage", ["normalize must be one of 'coverage'", "did you mean 'coverage'"]),
    ("lime", "fill", "maen", ["fill must be one of", "'blur'", "did you mean 'mean'"]),
]


@pytest.mark.parametrize("name, option, word, words", WORDS, ids=[f"{w[0]}-{w[1]}" for w in WORDS])
def test_words(name, option, word, words):
    model = build(Counting)
    assert_says(
        complaint(lambda: EXPLAINERS[name](model, images(1), **{option: word}), model),
        *words,
        f"got {word!r}",
    )
    complaint(lambda: EXPLAINERS[name](model, images(1), **{option: [word]}), model, (ValueError, TypeError))


@some(random=True)
def test_generator(explain):
    model = build(Counting)
    message = complaint(lambda: explain(model, images(1), generator=3), model, TypeError)
    assert_says(message, "generator must be a torch.Generator", "int")


def test_generator_of_another_device():
    with pytest.raises(
        ValueError, match=r"generator draws on cpu, but x is on cuda:0; .*Generator\('cuda:0'\)"
    ):
        _checks.check_generator(torch.Generator("cpu"), torch.device("cuda:0"))


@pytest.mark.parametrize("device", ["gpu", "cuda:99", 3.5, None, "meta!"])
def test_device(device):
    with pytest.raises(ValueError, match=r'device must be a device such as "cpu"'):
        _checks.check_device("device", device)


@pytest.mark.parametrize(
    "baseline",
    [torch.rand(2, 1, 17, 21, 1), torch.rand(3), torch.rand(2, 3, 1, 5), "black"],
    ids=["5-D", "vector", "narrow", "word"],
)
def test_baseline(baseline):
    model = build(Counting)
    message = complaint(lambda: integrated_gradients(model, images(2), baseline=baseline), model)
    got = repr(baseline) if isinstance(baseline, str) else tuple(baseline.shape)
    assert_says(message, "baseline must be a number or a tensor that broadcasts", "(2, 3, 17, 21)", got)


@pytest.mark.parametrize(
    "value, words",
    [(float("nan"), "must be finite"), (1j, "real numbers"), (torch.ones(3, 1, 1) * 1j, "real numbers")],
)
@pytest.mark.parametrize(
    "name, option", [("integrated_gradients", "baseline"), ("rise", "fill"), ("lime", "fill")]
)
def test_images_given_as_an_option(name, option, value, words):
    model = build(Counting)
    message = complaint(lambda: EXPLAINERS[name](model, images(2), **{option: value}), model)
    assert option in message and (words in message or "a number" in message)
