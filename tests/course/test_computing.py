"""The explorers that compute in the page, before any page: their data, their first state, their errors."""

import base64
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup

import xai_course
from xai_course import _images, explorers
from xai_course.explorers import _base
from xai_course.explorers._cam import LOGIT_ERROR
from xai_course.explorers._smooth_grad import MAP_ERROR, agreement_and_error
from xai_lib import load_model
from xai_lib.data import load_photo

MAPS_JS = (Path(xai_course.__path__[0]) / "static" / "explorers" / "maps.js").read_text(encoding="utf-8")
TEXTS = {"caption": "What is seen.", "alt": "What is to be seen."}
RNG = np.random.default_rng(0)
WEIGHTS, BIAS, SAMPLES = RNG.normal(size=(10, 64)), RNG.normal(size=10), RNG.random((3, 8, 8))
PICTURE, MAPS = RNG.random((3, 28, 28)), RNG.random((6, 7, 7))
CLASSES = {"cat": RNG.normal(size=6), "cup": RNG.normal(size=6)}
CLASS_BIAS = {"cat": 0.5, "cup": -1.0}
GRADIENTS = {0.1: RNG.normal(size=(8, 4, 4)), 0.2: RNG.normal(size=(8, 4, 4))}


def digits(**changes):
    given = {"number": "1.3", "weights": WEIGHTS, "bias": BIAS, "samples": SAMPLES, **TEXTS}
    return explorers.digits(**{**given, **changes})


def cam(**changes):
    given = {"number": "3.2", "picture": PICTURE, "maps": MAPS, "weights": CLASSES, "bias": CLASS_BIAS}
    return explorers.cam(**{**given, **TEXTS, **changes})


def smooth_grad(**changes):
    given = {"number": "2.4", "picture": PICTURE, "gradients": GRADIENTS, "stored": "As they are.", **TEXTS}
    return explorers.smooth_grad(**{**given, **changes})


def page(shown) -> BeautifulSoup:
    return BeautifulSoup(shown.html(), "html.parser")


# --- data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "off"), [("f16", 1e-3), ("f32", 1e-6), ("i8", 1 / 250)])
def test_numbers_come_back_from_the_page_as_near_as_their_kind_allows(kind, off):
    values = RNG.normal(size=(3, 4, 5)) * np.array([1.0, 1e-3, 100.0]).reshape(3, 1, 1)
    back = _base.unpacked(_base.packed(values, kind))
    top = np.abs(values).reshape(3, -1).max(1).reshape(3, 1, 1)
    assert back.shape == values.shape and np.abs((back - values) / top).max() <= off


def test_bytes_without_a_sign_keep_twice_as_many_levels():
    values = RNG.random((3, 50))
    off = {kind: np.abs(_base.unpacked(_base.packed(values, kind)) - values).max() for kind in ("u8", "i8")}
    assert off["u8"] <= 1 / 500 and off["u8"] < off["i8"]


def test_bits_come_back_whatever_their_number():
    values = RNG.random((3, 7)) < 0.5
    assert (_base.unpacked(_base.packed(values, "bits")) == values).all()


def test_a_row_of_zeros_stays_zero():
    assert (_base.unpacked(_base.packed(np.zeros((2, 3)), "i8")) == 0).all()


@pytest.mark.parametrize(("table", "name"), [("INFERNO", "inferno"), ("RDBU", "RdBu_r")])
def test_the_pages_colours_are_those_of_the_figures(table, name):
    text = "".join(re.findall(r'"([^"]*)"', re.search(rf"{table} = bytes\((.*?)\);", MAPS_JS, re.DOTALL)[1]))
    colours = np.frombuffer(base64.b64decode(text), np.uint8).reshape(256, 3)
    expected = mpl.colormaps[name](np.arange(256))[:, :3] * 255
    assert np.abs(colours - expected).max() <= 0.5


def test_heat_lies_over_a_picture_in_the_page_as_it_does_in_a_figure():
    assert f"FULL_HEAT = {_images.FULL_HEAT}, OPACITY = {_images.OPACITY};" in MAPS_JS


# --- what an explorer shows --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [digits, cam, smooth_grad])
def test_an_explorer_is_a_numbered_figure_with_a_first_state(make):
    shown, html = make(look="what moves."), page(make(look="what moves."))
    assert html.figure["id"] == f"figure-{shown.number.replace('.', '-')}"
    assert html.select_one(".s-look").text == "Look for what moves."
    assert html.select_one(".s-controls").has_attr("hidden")
    assert html.select_one(".s-said").text and all(image["alt"] for image in html.select("img"))
    assert set(shown._repr_mimebundle_()) == {"text/plain", "text/html"}
    assert "KEY-" not in shown.html() and shown.html() == make(look="what moves.").html()


@pytest.mark.parametrize("make", [digits, cam, smooth_grad])
def test_the_plain_text_tells_other_data_apart(make):
    changed = {"digits": {"weights": -WEIGHTS[::-1]}, "cam": {"maps": MAPS[::-1]}, "smooth_grad": {}}
    changed["smooth_grad"] = {"gradients": {s: g.transpose(0, 2, 1) for s, g in GRADIENTS.items()}}
    assert repr(make()) != repr(make(**changed[make.__name__]))
    assert repr(make()).startswith(f"Figure {make().number}, explorer {make.__name__}\n")


def test_no_number_is_minus_zero_and_every_minus_is_a_true_one():
    faint, tilted = np.full((10, 64), -1e-9), -np.ones((10, 64))
    tilted[9] = 0
    assert "−0.00" not in digits(weights=faint).html()
    shown = digits(weights=tilted, samples=np.full((1, 8, 8), 0.25)).html()
    assert "shares sum to −16.00" in shown and "to -16" not in shown
    drawn = cam(bias={"cat": -1e-9 - MAPS.mean((1, 2)) @ CLASSES["cat"], "cup": -1.0})
    assert page(drawn).select_one("[data-big=logit] b").text == "0.00"


def test_the_logits_survive_their_storage_for_every_class_of_imagenet():
    """1280 maps of 8 bits with a scale each, weights of 16 bits: the page's logits are torch's to 0.01."""
    model, kept = load_model("efficientnet_lite0"), []
    hook = model.get_submodule(model.cam_layer).register_forward_hook(lambda *given: kept.append(given[2]))
    with torch.no_grad():
        logits = model(load_photo("cat"))[0].double().numpy()
    hook.remove()
    head = model.get_submodule(model.head)
    maps = _base.packed(kept[0][0], "u8")
    weights = _base.unpacked(_base.packed(head.weight.detach().flatten(1), "f16"))
    found = weights @ _base.unpacked(maps).mean((1, 2)) + head.bias.detach().double().numpy()
    assert np.abs(found - logits).max() < LOGIT_ERROR / 2
    assert len(maps["data"]) + len(maps["scale"]) < 100_000


def test_maps_are_kept_in_as_few_bits_as_the_logits_bear():
    assert cam().data["maps"]["kind"] == "u8"
    assert cam(maps=MAPS - 0.5).data["maps"]["kind"] == "i8"
    loud = {name: 1000 * w for name, w in CLASSES.items()}
    with pytest.raises(ValueError, match="keep the logits"):
        cam(weights=loud, maps=MAPS - 0.5)


def test_gradients_are_kept_in_as_few_bits_as_their_means_bear():
    kept = smooth_grad().data["gradients"]
    back = _base.unpacked(kept | {"shape": [16, 4, 4]}).reshape(2, 8, 4, 4)
    for found, given in zip(back, GRADIENTS.values(), strict=True):
        mean = given[:4].mean(0)
        assert np.linalg.norm(found[:4].mean(0) - mean) < MAP_ERROR * np.linalg.norm(mean)
    assert kept["kind"] == "i8" and kept["shape"] == [2, 8, 4, 4]


def test_agreement_is_one_where_there_is_no_noise_and_the_error_falls_with_the_samples():
    same = np.broadcast_to(RNG.normal(size=(4, 4)), (8, 4, 4))
    assert agreement_and_error(same, 2) == pytest.approx((1.0, 0.0), abs=1e-12)
    noisy = RNG.normal(size=(64, 20, 20)) + RNG.normal(size=(20, 20))
    errors = [agreement_and_error(noisy, m)[1] for m in (1, 4, 16)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.25)  # four times the samples, half the error


# --- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (digits, {"weights": WEIGHTS[:9]}, "weights must be numbers"),
        (digits, {"bias": BIAS[:9]}, r"bias must be numbers \(10,\), got shape \(9,\)"),
        (digits, {"samples": 2 * SAMPLES}, "samples must be between 0 and 1"),
        (digits, {"samples": SAMPLES[:0]}, "samples must be numbers"),
        (digits, {"samples": np.zeros((13, 8, 8))}, "samples must be at most 12"),
        (digits, {"why": 10}, "why must be a digit"),
        (digits, {"rather_than": 5}, "rather_than must be another digit"),
        (digits, {"common": np.zeros(63)}, "common must be numbers"),
        (digits, {"weights": np.full((10, 64), np.nan)}, "weights must be finite"),
        (digits, {"alt": " "}, "alt must say something"),
        (digits, {"number": "one"}, "number must be"),
        (cam, {"maps": MAPS[0]}, "maps must be numbers"),
        (cam, {"weights": {"cat": CLASSES["cat"]}}, "weights must be a dict of 2 to 6"),
        (cam, {"weights": {"cat": np.zeros(5), "cup": np.zeros(5)}}, r"weights\['cat'\] must be numbers"),
        (cam, {"bias": {"cat": 1.0}}, "bias must be a dict with the classes"),
        (cam, {"threshold": 1.5}, "threshold must be between"),
        (cam, {"box": (1, 2, 3)}, "box must be numbers"),
        (cam, {"caption": ""}, "caption must say something"),
        (smooth_grad, {"gradients": {0.1: GRADIENTS[0.1]}}, "gradients must be a dict of 2 to 8"),
        (smooth_grad, {"gradients": {s: g[:3] for s, g in GRADIENTS.items()}}, "even number of samples"),
        (smooth_grad, {"gradients": {**GRADIENTS, 0.3: np.zeros((6, 4, 4))}}, r"gradients\[0.3\] must have"),
        (smooth_grad, {"probabilities": {0.1: 0.5}}, "probabilities must be a dict"),
        (smooth_grad, {"probabilities": {0.1: 0.5, 0.2: 2.0}}, "probabilities must be between"),
        (smooth_grad, {"sigma": 0.3}, "sigma must be one of"),
        (smooth_grad, {"samples": 5}, "samples must be from 1 to 4"),
        (smooth_grad, {"stored": ""}, "stored must say something"),
    ],
)
def test_errors_name_the_argument_and_what_it_wants(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)
