"""Chapter 7's explorer in Python: which maps and numbers it puts on a page, and what it says of them."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from xai_course import explorers
from xai_course.explorers import _base
from xai_course.explorers._randomise import said, where

S, LAYERS = 12, ["head", "middle", "stem"]
rng = np.random.default_rng(7)


def six(first):
    """Maps of both orders, (2, 4, S, S), that begin with the same one."""
    values = rng.random((2, 4, S, S))
    values[:, 0] = first
    return values


MAPS = {"one": six(np.eye(S)), "two": six(np.tri(S))}
ALIKE = {"rank correlation": rng.uniform(-1, 1, (2, 2, 4)), "structure": rng.uniform(0, 1, (2, 2, 4))}
SURE = rng.random((2, 4))
GIVEN = {"name": "cat", "caption": "Layers are drawn.", "alt": "Two maps and a curve."}


def shown(**changes):
    given = {"layers": LAYERS, "maps": MAPS, "alike": ALIKE, "sure": SURE, **GIVEN, **changes}
    return explorers.randomise("7.5", **given)


def parts(explorer):
    html = BeautifulSoup(explorer.html(), "html.parser")
    return html, json.loads(html.select_one("script.s-data").string)


def levels(source: str) -> np.ndarray:
    pixels = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB")
    return np.asarray(pixels, float).sum(2)


def test_every_map_is_there_under_its_method_order_and_step():
    _, data = parts(shown())
    for m, values in enumerate(MAPS.values()):
        for o in range(2):
            for k in range(4):
                drawn = levels(data["sources"][data["maps"][m][o][k]])
                assert np.corrcoef(drawn.ravel(), values[o, k].ravel())[0, 1] > 0.9
        assert data["maps"][m][0][0] == data["maps"][m][1][0]
    assert len(data["sources"]) == 2 * (1 + 2 * 3)  # the trained network's map is kept once


def test_the_numbers_are_those_that_were_given():
    _, data = parts(shown())
    np.testing.assert_allclose(_base.unpacked(data["alike"]), np.stack(list(ALIKE.values())), atol=1e-6)
    np.testing.assert_allclose(data["sure"], SURE, atol=1e-6)


def test_the_first_frame_shows_what_it_says():
    html, data = parts(shown(first=1, layer=2))
    assert html.select_one('[data-panel="before"] img')["src"] == data["sources"][data["maps"][1][0][0]]
    assert html.select_one('[data-panel="after"] img')["src"] == data["sources"][data["maps"][1][0][2]]
    value = ALIKE["rank correlation"][1, 0, 2]
    text = html.select_one(".s-said").text
    assert text == said(
        "two", LAYERS, "cascade", 2, "rank correlation", value, round(float(SURE[0, 2]), 6), "cat"
    )
    assert "head to middle random" in text and f"{abs(value):.2f}" in text
    assert html.select_one(".s-controls").has_attr("hidden")
    height = float(html.select_one(".dot")["cy"])
    assert height == pytest.approx(150 - 140 * (max(value, -0.25) + 0.25) / 1.25, abs=0.06)


def test_which_layers_are_random_is_said_in_words():
    assert where(LAYERS, "cascade", 0) == where(LAYERS, "independent", 0) == "all layers as trained"
    assert where(LAYERS, "cascade", 1) == "only head random"
    assert where(LAYERS, "cascade", 3) == "head to stem random"
    assert where(LAYERS, "independent", 3) == "only stem random"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": {"one": MAPS["one"]}}, "2 to 8 maps"),
        ({"layers": []}, "at least one layer"),
        ({"layer": 4}, "first and layer"),
        ({"maps": {**MAPS, "two": MAPS["two"][:, :3]}}, r"maps\['two'\] must be numbers"),
        ({"maps": {**MAPS, "two": -MAPS["two"]}}, "no negative value"),
        ({"maps": {**MAPS, "two": rng.random((2, 4, S, S))}}, "must begin with the same map"),
        ({"alike": {"rank": np.full((2, 2, 4), 1.5)}}, "alike must be between"),
        ({"alike": {"rank": np.zeros((2, 4))}}, r"alike\['rank'\] must be numbers"),
        ({"sure": SURE[0]}, "sure must be numbers"),
        ({"alt": " "}, "alt must say something"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        shown(**changes)
