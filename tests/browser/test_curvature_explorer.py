"""Chapter 7's neurons in the page: walks, turns, scores are Python's; the point moves by mouse and key."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tests.browser.conftest import opened, said, write_explorer
from tests.browser.faults import faults, heard
from xai_course import explorers
from xai_course.explorers._curvature import BETAS, Network, turn_map, walked

NET = Network(
    np.array([[1.0, 0.25], [-0.5, 1.0], [0.4, 0.9]]),
    np.array([-0.2, -0.3, 4.0]),
    np.array([1.5, -1.7, 0.6]),
    -2.4,
)
FIRST = [0.1, 1.15]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    shown = explorers.curvature("7.36", *NET, point=FIRST, caption="Neurons.", alt="Level lines.")
    return write_explorer(tmp_path_factory.mktemp("curvature"), "curvature", shown)


@pytest.fixture
def play(chromium, folder):
    return partial(opened, chromium, folder.as_uri(), "curvature.html")


def left(tab, name) -> np.ndarray:
    return np.array(tab.locator("figure").get_attribute(f"data-{name}").split(), dtype=float)


def same(tab, step, beta) -> None:
    """The page's walk from where the point is now is Python's."""
    wanted = walked(NET, left(tab, "point"), step, beta)
    np.testing.assert_allclose(
        left(tab, "end"), wanted["end"], atol=2e-4
    )  # the point is left with four places
    np.testing.assert_allclose(left(tab, "scores"), wanted["scores"], atol=1e-3)
    assert left(tab, "turn")[0] == pytest.approx(wanted["turn"], abs=0.05)
    assert tab.locator("[data-big=turn] b").inner_text() == f"{left(tab, 'turn')[0]:.1f}°"


def test_it_is_whole_and_accessible_wide_and_narrow_light_and_dark(play):
    with play() as tab:
        assert tab.locator(".s-controls").is_visible()
        assert faults(tab) == []


def test_what_python_drew_first_is_what_the_script_draws_first(play):
    texts = ".s-panel, .s-bars, .s-said"
    line = "e => e.getAttribute('d').match(/[0-9.-]+/g).map(Number)"
    with play(scripts=False) as tab:
        assert not tab.locator(".s-controls").is_visible()
        before = tab.locator(texts).all_inner_texts()
        paths = [path.evaluate(line) for path in tab.locator(".s-curves path").all()]
    with play() as tab:
        assert tab.locator(texts).all_inner_texts() == before
        for path, wanted in zip(tab.locator(".s-curves path").all(), paths, strict=True):
            np.testing.assert_allclose(path.evaluate(line), wanted, atol=0.101)


@pytest.mark.parametrize("beta", [None, 0.5, 3, 30])
def test_the_page_computes_what_python_computes(play, beta):
    step = 0.4
    with play() as tab:
        found = np.array(
            tab.evaluate(
                "([step, beta]) => { const d = sinb.data(document.querySelector('figure'));"
                "const n = sinb.curvature.network(d);"
                "return sinb.curvature.plane(d.grid, d.reach).map(x => n.turn(x, step, beta)); }",
                [step, beta],
            )
        )
        wanted = turn_map(NET, step, beta).ravel()
        # A walk may come to lie on the other side of a fold by a last place.
        assert np.mean(np.abs(found - wanted) < 1e-6) > (0.995 if beta is None else 0.9999)


def test_the_point_is_moved_by_mouse_and_by_key_and_the_score_stays(play):
    with play() as tab:
        pad = tab.locator(".s-pad").bounding_box()
        tab.mouse.move(pad["x"] + 0.8 * pad["width"], pad["y"] + 0.2 * pad["height"])
        tab.mouse.down()
        tab.mouse.move(pad["x"] + 0.25 * pad["width"], pad["y"] + 0.75 * pad["height"], steps=3)
        tab.mouse.up()
        np.testing.assert_allclose(left(tab, "point"), [-1, -1], atol=0.02)
        same(tab, 0.5, None)
        before, spoken = left(tab, "point"), said(tab)
        tab.locator(".s-pad").focus()
        for _ in range(8):
            tab.keyboard.press("ArrowUp")
        np.testing.assert_allclose(left(tab, "point") - before, [0, 0.4], atol=1e-3)
        same(tab, 0.5, None)
        assert said(tab) != spoken
        assert abs(np.diff(left(tab, "scores"))[0]) < 1e-3
        for _ in range(60):
            tab.keyboard.press("ArrowLeft")
        assert left(tab, "point")[0] == -2
        tab.get_by_role("button", name="Start again").click()
        assert left(tab, "point").tolist() == FIRST and heard(tab) == []


def test_softplus_turns_it_less_and_the_slider_is_for_softplus_alone(play):
    with play() as tab:
        beta = tab.locator("[data-control=beta]")
        assert beta.is_disabled()
        tab.get_by_role("button", name="Where it turns most").click()
        largest = left(tab, "turn")[0]
        assert largest == pytest.approx(turn_map(NET, 0.5, None).max(), abs=0.01) and largest > 90
        tab.get_by_role("radio", name="softplus").check(force=True)
        assert beta.is_enabled()
        beta.focus()
        for _ in range(len(BETAS)):
            tab.keyboard.press("ArrowLeft")
        tab.get_by_role("button", name="Where it turns most").click()
        same(tab, 0.5, 0.5)
        assert left(tab, "turn")[0] < largest / 6
        tab.locator("[data-control=step]").focus()
        tab.keyboard.press("ArrowLeft")
        same(tab, 0.45, 0.5)
        assert "walk of 0.45" in tab.locator("[data-panel=turns]").inner_text()
