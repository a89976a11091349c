"""Chapter 7's explorer in the page: it shows the map and the numbers that the controls ask for."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tests.browser.conftest import opened, said, write_explorer
from tests.browser.faults import faults, heard
from xai_course import explorers
from xai_course.explorers._base import decimal
from xai_course.explorers._randomise import _points, where

S, LAYERS = 16, ["head", "middle", "stem"]
rng = np.random.default_rng(8)
NAMES, KINDS, ORDERS = ["one", "two"], ["rank correlation", "structure"], ["cascade", "independent"]
MAPS = {name: rng.random((2, 4, S, S)) for name in NAMES}
for values in MAPS.values():
    values[1, 0] = values[0, 0]
ALIKE = {kind: rng.uniform(-0.2, 0.98, (2, 2, 4)).round(2) + 0.002 for kind in KINDS}  # no ties of rounding
SURE = rng.random((2, 4)).round(3)


@pytest.fixture(scope="module")
def explorer():
    return explorers.randomise(
        "7.5", LAYERS, MAPS, ALIKE, SURE, name="cat", caption="Layers are drawn.", alt="Two maps.", layer=1
    )


@pytest.fixture
def play(chromium, tmp_path_factory, explorer):
    folder = write_explorer(tmp_path_factory.mktemp("randomise"), "randomise", explorer)
    return partial(opened, chromium, folder.as_uri(), "randomise.html")


def step(tab, k):
    tab.locator('[data-control="layer"]').evaluate(
        "(s, k) => { s.value = k; s.dispatchEvent(new Event('input')); }", k
    )


def test_it_is_whole_and_accessible_wide_and_narrow_light_and_dark(play):
    with play() as tab:
        assert tab.locator(".s-controls").is_visible()
        assert faults(tab) == []


def test_what_python_drew_first_is_what_the_script_says_first(play):
    what = ".s-panel, .s-said"
    with play(scripts=False) as tab:
        assert not tab.locator(".s-controls").is_visible()
        before = tab.locator(what).all_inner_texts()
        line = tab.locator(".line").get_attribute("points")
    with play() as tab:
        assert tab.locator(what).all_inner_texts() == before
        assert tab.locator(".line").get_attribute("points") == line
        assert heard(tab) == []


def test_map_curve_and_sentence_follow_every_control(play, explorer):
    with play() as tab:
        for m, name in enumerate(NAMES):
            tab.get_by_role("radio", name=name, exact=True).check(force=True)
            for o, order in enumerate(ORDERS):
                tab.locator(f'input[value="{order}"]').check(force=True)
                for kind in KINDS:
                    tab.get_by_role("radio", name=kind).check(force=True)
                    for k in (0, 2, 3):
                        step(tab, k)
                        shown = tab.locator('[data-panel="after"] img').get_attribute("src")
                        assert shown == explorer.data["sources"][explorer.data["maps"][m][o][k]]
                        text = where(LAYERS, order, k)
                        assert f"{name}, {text}: {kind} {decimal(ALIKE[kind][m, o, k])} with" in said(tab)
                        assert f"p(cat) = {SURE[o, k]:.3f}" in said(tab)
                        assert tab.locator('[data-control="layer"]').get_attribute("aria-valuetext") == text
                    got = tab.locator(".line").get_attribute("points")
                    assert got == _points(np.float32(ALIKE[kind][m, o]).astype(float))
        assert heard(tab) == []


def test_the_slider_moves_by_key(play):
    with play() as tab:
        tab.locator('[data-control="layer"]').focus()
        tab.keyboard.press("ArrowRight")
        assert said(tab).startswith("one, head to middle random")
