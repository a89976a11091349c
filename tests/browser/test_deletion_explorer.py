"""Chapter 6's second explorer in the page: it hides what the library hides, and plays by mouse and by key."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from tests.browser.conftest import opened, said, write_explorer
from tests.browser.faults import faults, heard
from xai_course import explorers
from xai_course.explorers._deletion import area_under, place, turns

S, STEPS = 32, 8
rng = np.random.default_rng(7)
NAMES, WAYS = ["one", "two", "three"], ["black", "white"]
MAPS = {name: rng.permutation(S * S).reshape(S, S).astype(float) for name in NAMES}
FILLS = {"black": torch.zeros(3, S, S), "white": torch.ones(3, S, S)}
PICTURE = torch.tensor([0.9, 0.1, 0.1])[:, None, None].expand(3, S, S)
DELETED, INSERTED = rng.random((2, 3, 2, STEPS + 1))
CURVES = {"delete": DELETED, "insert": INSERTED}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    shown = explorers.deletion(
        "6.5",
        PICTURE,
        MAPS,
        FILLS,
        DELETED,
        INSERTED,
        name="red",
        caption="Pixels go.",
        alt="A red picture with holes.",
    )
    return write_explorer(tmp_path_factory.mktemp("deletion"), "deletion", shown)


@pytest.fixture
def play(chromium, folder):
    return partial(opened, chromium, folder.as_uri(), "deletion.html")


def numbers(points: str) -> np.ndarray:
    return np.array([pair.split(",") for pair in points.split()], dtype=float)


def red(tab) -> np.ndarray:
    """Which pixels of the drawn picture are the picture's."""
    canvas = '[data-panel="picture"] canvas'
    tab.wait_for_function(f"document.querySelector('{canvas}').getAttribute('aria-label').includes('%')")
    values = tab.locator(canvas).evaluate(
        "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    )
    levels = np.array(values).reshape(S, S, 4)
    return (levels[..., 0] > 150) & (levels[..., 1] < 90)


def step(tab, k):
    tab.locator('[data-control="step"]').evaluate(
        "(s, k) => { s.value = k; s.dispatchEvent(new Event('input')); }", k
    )


def test_it_is_whole_and_accessible_wide_and_narrow_light_and_dark(play):
    with play() as tab:
        assert tab.locator(".s-controls").is_visible()
        assert faults(tab) == []


def test_what_python_drew_first_is_what_the_script_says_first(play):
    what = ".s-panel, .s-said, .s-rows"
    with play(scripts=False) as tab:
        assert not tab.locator(".s-controls").is_visible()
        before = tab.locator(what).all_inner_texts()
        line = tab.locator(".line").get_attribute("points")
    with play() as tab:
        assert tab.locator(what).all_inner_texts() == before
        np.testing.assert_allclose(
            numbers(tab.locator(".line").get_attribute("points")), numbers(line), atol=0.101
        )
        assert heard(tab) == []


@pytest.mark.parametrize(("how", "button"), [("delete", "go"), ("insert", "come")])
def test_the_picture_has_the_pixels_of_the_order(play, how, button):
    with play() as tab:
        tab.get_by_role("radio", name="two").check(force=True)
        tab.get_by_role("radio", name=button, exact=True).check(force=True)
        for k in (0, 3, STEPS):
            step(tab, k)
            gone = turns("two", MAPS["two"], STEPS) <= k
            np.testing.assert_array_equal(red(tab), gone if how == "insert" else ~gone)


def test_areas_places_and_scores_follow_map_fill_and_direction(play):
    with play() as tab:
        for how, button in (("delete", "go"), ("insert", "come")):
            tab.get_by_role("radio", name=button, exact=True).check(force=True)
            for f, way in enumerate(WAYS):
                tab.get_by_role("radio", name=way).check(force=True)
                areas = area_under(CURVES[how])[:, f]
                cells = [float(t) for t in tab.locator('[data-row="area"] td').all_inner_texts()]
                np.testing.assert_allclose(cells, areas, atol=0.0051)
                places = [int(t) for t in tab.locator('[data-row="place"] td').all_inner_texts()]
                assert places == [place(areas, i, how) for i in range(3)]
        tab.get_by_role("radio", name="three").check(force=True)
        step(tab, 5)
        assert f"63 % of the pixels inserted, on white: p(red) = {INSERTED[2, 1, 5]:.2f}" in said(tab)


def test_the_slider_moves_by_key(play):
    with play() as tab:
        tab.locator('[data-control="step"]').focus()
        tab.keyboard.press("ArrowRight")
        assert said(tab).startswith("one: 38 % of the pixels deleted, behind black")
        assert heard(tab) == []
