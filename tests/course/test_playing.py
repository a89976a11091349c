"""The tile game, RISE and the tag: what Python computes for them, against the library."""

import base64
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image

from xai_course import explorers
from xai_course.explorers._rise import _part
from xai_course.explorers._tag import stamped
from xai_course.explorers._tiles import RULES, _table, lime_of, pair_of, shapley_of
from xai_lib import black_box, lime_fit, load_model, rise_fit, shapley_fit
from xai_lib.data import SHAPE_CLASSES, TAG, shapes

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import pack_network  # noqa: E402

BOOK = ROOT / "book"

SEGMENTS = torch.arange(16)[:, None] // 8 * 4 + torch.arange(16) // 4  # two rows of four tiles


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def game(rule):
    """A black box that sees which of the eight tiles are white."""

    def predict(images):
        p = rule(images[:, 0, 4::8, 2::4].flatten(1))
        return torch.stack([1 - p, p], dim=1)

    return black_box(predict)


def table(name):
    return _table(name, RULES[name])


# --- the tile game -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_the_coefficients_are_those_of_the_librarys_lime(name):
    white = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    options = {"segments": SEGMENTS, "fill": 0.0, "n_samples": 1000, "generator": seeded(0)}
    fit = lime_fit(game(RULES[name]), white, 1, **options)
    pictures = (fit.samples.long() * 2 ** torch.arange(8)).sum(1).numpy()
    coefficients, r2 = lime_of(pictures, table(name))
    np.testing.assert_allclose(coefficients, fit.coefficients[0], rtol=0, atol=1e-6)
    assert r2 == pytest.approx(fit.r2.item(), abs=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_the_values_are_the_librarys_exact_shapley_values(name):
    white = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    fit = shapley_fit(game(RULES[name]), white, 1, segments=SEGMENTS, fill=0.0, n_samples=256)
    assert fit.exact
    np.testing.assert_allclose(shapley_of(table(name)), fit.values[0], rtol=0, atol=1e-6)


def test_what_the_caption_says_of_the_rules_is_so():
    values = {name: shapley_of(table(name)) for name in RULES}
    interaction = {name: pair_of(table(name), (1, 6))[4] for name in RULES}
    for name, expected in {"half each": 0, "at least one": -0.8, "both": 0.8, "exactly one": -1.6}.items():
        assert interaction[name] == pytest.approx(expected, abs=1e-12)
        same = [0.4, 0.4] if name != "exactly one" else [0, 0]
        assert values[name][[1, 6]] == pytest.approx(same, abs=1e-12)
    assert [name for name, found in values.items() if np.abs(found).max() < 1e-12] == ["exactly one"]
    assert "0, −0.80 and 0.80" in explorers.tiles("4.6").look


def test_a_tile_that_never_changes_has_no_coefficient():
    coefficients, r2 = lime_of(np.array([255, 254, 252]), table("both"))
    assert np.all(coefficients[2:] == 0) and 0 <= r2 <= 1
    assert lime_of(np.array([255]), table("both"))[1] == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first": "neither"}, "first must be one of 'sum'"),
        ({"pair": (1, 1)}, "two different tiles"),
        ({"pair": (1, 8)}, "two different tiles"),
        ({"rules": {"both": lambda z: z[:, 0] * 2}}, "must be between 0 and 1"),
        ({"rules": {"both": lambda z: z}}, "must be numbers"),
    ],
)
def test_bad_games_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        explorers.tiles("4.6", **changes)


# --- RISE --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def circle():
    return shapes(48, seed=3).images[20:21]


@pytest.fixture(scope="module")
def fit(circle):
    return rise_fit(
        load_model("small_vgg"), circle, 0, n_masks=128, grid=4, paired=False, generator=seeded(0)
    )


@pytest.mark.parametrize("by", ["coverage", "paper"])
def test_a_part_of_the_masks_is_a_fit_of_its_own(fit, by):
    masks, scores = fit.masks.pixels()[32:64], fit.scores[0, 32:64]
    below = masks.sum(0) if by == "coverage" else 0.5 * len(masks)
    part = _part(fit, 32, 32, by)
    torch.testing.assert_close(part.heatmap[0], torch.einsum("n,nhw->hw", scores, masks) / below)


def test_the_first_frame_of_rise_is_its_first_draw(fit, circle):
    shown = explorers.rise("4.7", circle, fit, draws=2)
    own = _part(fit, 0, 64, "coverage")
    np.testing.assert_allclose(shown.arrays["map"], own.heatmap[0][1::2, 1::2], rtol=1e-6)
    page = BeautifulSoup(shown.html(), "html.parser")
    error = own.relative_error.item()
    said = f"{error:.2f}" if np.isfinite(error) else "beyond measure"
    assert said in page.select_one('[data-panel="map"] small').text
    assert shown.data["each"] == 64 and shown.data["lengths"][-1] == 128


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draws": 100}, "at least 200 masks for 100 draws, got 128"),
        ({"image": torch.rand(1, 3, 64, 64)}, "square of at least 56 pixels and fit of the same size"),
    ],
)
def test_bad_lotteries_are_named(fit, circle, changes, message):
    with pytest.raises(ValueError, match=message):
        explorers.rise("4.7", **{"image": circle, "fit": fit, **changes})


# --- the title page ----------------------------------------------------------------------------------------


def test_the_title_page_plays_with_the_picture_that_it_shows():
    scene = (BOOK / "_static" / "title_scene.js").read_text(encoding="utf-8")
    scene = json.loads(re.search(r"scene = (\{.*\});", scene)[1])
    stored = json.loads((BOOK / "data" / "hero.json").read_text(encoding="utf-8"))
    raw = base64.b64decode(scene["picture"].split(",")[1])
    clean = torch.from_numpy(np.array(Image.open(io.BytesIO(raw)).convert("RGB"))).permute(2, 0, 1) / 255
    assert scene["place"] == stored["place"]
    assert scene["tag"]["brightness"] == TAG[0].tolist()
    seen = {"clean": clean, "tag": stamped(clean, *stored["place"])}
    for state, image in seen.items():
        with torch.no_grad():
            odds = load_model("clever_hans")(image[None]).softmax(1)[0]
        for name, share in stored[state].items():
            assert odds[SHAPE_CLASSES.index(name)].item() == pytest.approx(share, abs=0.01)


# --- the tag -----------------------------------------------------------------------------------------------


def test_the_packed_network_is_current():
    assert pack_network.FILE.read_text(encoding="utf-8") == pack_network.packed(), "run tools/pack_network.py"


def test_the_tag_is_stamped_as_the_album_stamps_it():
    bare, tagged = (shapes(8, seed=5, watermark=w).images for w in ({}, dict.fromkeys(SHAPE_CLASSES, 1.0)))
    masks = shapes(8, seed=5, watermark=dict.fromkeys(SHAPE_CLASSES, 1.0)).tag_masks
    for before, after, mask in zip(bare, tagged, masks, strict=True):
        row, column = (int(mask.any(axis).nonzero()[0]) for axis in (1, 0))
        torch.testing.assert_close(stamped(before, row, column), after, rtol=0, atol=0)


@pytest.fixture(scope="module")
def tag():
    images = shapes(16, seed=77)
    return explorers.tag("1.3", pictures=images.images[:3], labels=images.labels[:3])


def test_what_the_notebook_stores_are_the_networks_answers(tag):
    bare = (shapes(16, seed=77).images[:3] * 255).round() / 255
    with torch.no_grad():
        odds = load_model("clever_hans")(bare).softmax(1)
    np.testing.assert_allclose(tag.arrays["probabilities"][:, 0], odds, atol=1e-5)
    hidden = bare[:1].clone()
    hidden[..., 24:52, 36:64] = 0.5  # window (2, 3)
    with torch.no_grad():
        lost = odds[0].max() - load_model("clever_hans")(hidden).softmax(1)[0, odds[0].argmax()]
    assert tag.arrays["lost under a window"][0, 0, 2 * 8 + 3] == pytest.approx(lost.item(), abs=1e-5)


def test_without_scripts_the_tag_has_picture_map_and_answer(tag):
    page = BeautifulSoup(tag.html(), "html.parser")
    assert page.select_one(".s-controls").has_attr("hidden") and page.select_one(".s-tag").has_attr("hidden")
    assert page.select_one(".s-big b").text in SHAPE_CLASSES
    assert "when the page was made" in page.select_one(".s-said").text
    assert len(page.select(".s-picks img")) == 3
    # An identity put into the controls must not meet the letters of a picture.
    assert all(
        re.fullmatch(r"data:image/webp;base64,[A-Za-z0-9+/=]+", i["src"]) for i in page.select(".s-picks img")
    )
    data = json.loads(page.select_one("script.s-data").string)
    assert data["tag"]["brightness"] == TAG[0].int().tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pictures": torch.rand(2, 3, 112, 112)}, "given together"),
        ({"pictures": torch.rand(2, 3, 64, 64), "labels": torch.tensor([0, 1])}, "must be numbers"),
        ({"pictures": torch.rand(2, 3, 112, 112), "labels": torch.tensor([0, 8])}, "classes from 0 to 7"),
    ],
)
def test_bad_pictures_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        explorers.tag("1.3", **changes)
