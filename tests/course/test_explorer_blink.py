"""The blink comparator in Python: what it keeps of two pictures, and what it says of them."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from xai_course import explorers

S = 16
rng = np.random.default_rng(3)
A = rng.integers(10, 240, (S, S, 3))
STEP = rng.integers(-3, 4, (S, S, 3))
STEP[4, 5, 1] = 7
B = A + STEP
HEAT = rng.random((S, S))
GIVEN = {"heat_a": HEAT, "heat_b": 1 - HEAT, "caption": "Two pictures.", "alt": "Two noisy pictures."}


def shown(a=A / 255, b=B / 255, **changes):
    return explorers.blink("7.12", a, b, **{**GIVEN, **changes})


def page(figure) -> BeautifulSoup:
    return BeautifulSoup(figure.html(), "html.parser")


def pixels(image) -> np.ndarray:
    data = base64.b64decode(image["src"].split(",")[1])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_every_level_of_both_pictures_is_kept():
    html = page(shown())
    for slot, picture in (("first", A), ("second", B)):
        np.testing.assert_array_equal(pixels(html.select_one(f'[data-panel="{slot}"] img')), picture)
    np.testing.assert_array_equal(shown().arrays["difference"], STEP)


def test_it_says_how_far_they_are_apart_and_how_alike_the_maps_are():
    html = page(shown(names=("before", "after"), answers=("star, 98 %", "star, 97 %")))
    average = f"{np.abs(STEP).mean():.1f}"
    assert html.select_one(".s-said").text == (
        f"Shown: before. No value of after is more than 7 of 255 levels from before; on average {average}."
    )
    assert "the network says star, 97 %" in html.select_one('[data-panel="second"]').text
    assert html.select_one('[data-panel="heat-1"] small').text == "correlation of the two maps: −1.00"
    assert html.select_one('[data-panel="heat-0"] .s-title').text == "Heatmap of before"
    coarse = page(shown(heat_b=np.eye(4)))
    assert coarse.select_one('[data-panel="heat-1"] small').text == "", "of other cells there is none"


def test_without_scripts_both_pictures_and_both_maps_are_there_and_no_control():
    html = page(shown())
    assert len(html.select(".s-panel")) == 4 and html.select_one(".s-controls").has_attr("hidden")
    assert not html.select(".s-gate")


def test_the_maps_and_nothing_else_wait_for_the_question():
    gate = page(shown(until="7.predict.11")).select_one(".s-gate")
    assert gate["data-gate"] == "7.predict.11"
    assert [panel["data-panel"] for panel in gate.select(".s-under .s-panel")] == ["heat-0", "heat-1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b": B[1:] / 255}, "must have the size of a"),
        ({"b": (A + 0.2) / 255}, "b must differ from a"),
        ({"heat_a": -HEAT}, "heat_a must have no negative value"),
        ({"heat_b": 0 * HEAT}, "heat_b must have no negative value and some heat"),
        ({"heat_b": HEAT[0]}, "heat_b must be numbers"),
        ({"names": "AB"}, "names must be two texts"),
        ({"answers": ("one",)}, "answers must be two texts"),
        ({"names": ("A", " ")}, r"names\[1\] must say something"),
        ({"gain": 0.5}, "gain must be at least 1"),
        ({"alt": ""}, "alt must say something"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        shown(**changes)
