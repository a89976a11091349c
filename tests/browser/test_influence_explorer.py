"""Chapter 5's explorer in the page: it computes what Python computes, and plays by mouse and by key."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tests.browser.conftest import opened, said, write_explorer
from tests.browser.faults import faults, heard
from xai_course import explorers
from xai_course.explorers._influence import changes

rng = np.random.default_rng(5)
POINTS = np.concatenate([rng.normal([-1, -0.4], 0.9, (11, 2)), rng.normal([1, 0.5], 0.9, (11, 2))]).round(3)
LABELS = np.repeat([0.0, 1.0], 11)
TEST = np.array([0.3, -0.6])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    shown = explorers.influence(
        "5.5", POINTS, LABELS, TEST, first=4, caption="Points in a plane.", alt="Two clouds of points."
    )
    return write_explorer(tmp_path_factory.mktemp("influence"), "influence", shown)


@pytest.fixture
def play(chromium, folder):
    return partial(opened, chromium, folder.as_uri(), "influence.html")


def numbers(tab, name) -> np.ndarray:
    return np.array(tab.locator("figure").get_attribute(f"data-{name}").split(), dtype=float)


def test_it_is_whole_and_accessible_wide_and_narrow_light_and_dark(play):
    with play() as tab:
        assert tab.locator(".s-controls").is_visible()
        assert faults(tab) == []


def test_what_python_drew_first_is_what_the_script_draws_first(play):
    with play(scripts=False) as tab:
        assert not tab.locator(".s-controls").is_visible()
        before = tab.locator(".s-panel, .s-said").all_inner_texts()
        lines = tab.locator(".s-plane").evaluate_all("all => all.map(s => s.innerHTML)")
    with play() as tab:
        assert tab.locator(".s-panel, .s-said").all_inner_texts() == before
        kept = tab.locator(".s-plane").evaluate_all("all => all.map(s => s.innerHTML)")
        assert [len(text) for text in kept] == pytest.approx([len(text) for text in lines], abs=60)


@pytest.mark.parametrize("l2", [0.005, 0.05, 0.5])
def test_the_page_computes_what_python_computes(play, l2):
    keep = np.ones(22)
    keep[[2, 15]] = 0
    given = [POINTS.tolist(), LABELS.tolist(), keep.tolist(), TEST.tolist(), 1, l2]
    wanted = changes(POINTS, LABELS, keep, TEST, 1, l2)
    with play() as tab:
        found = tab.evaluate("given => sinb.influence.changes(...given)", given)
    for name in ("theta", "loss", "predicted", "real", "moved", "refits"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-8)


def test_a_point_is_dragged_and_its_prediction_follows(play):
    with play() as tab:
        box = tab.locator(".s-plane").first.bounding_box()
        x, y = (
            box["x"] + box["width"] * (1 + POINTS[0, 0] / 4) / 2,
            box["y"] + box["height"] * (1 - POINTS[0, 1] / 4) / 2,
        )
        before = numbers(tab, "real")
        tab.mouse.move(x, y)
        tab.mouse.down()
        tab.mouse.move(x + 40, y - 40, steps=4)
        tab.mouse.up()
        assert said(tab).startswith("Point 1 of 22")
        assert np.abs(numbers(tab, "real") - before).max() > 1e-4
        assert heard(tab) == []


def test_a_point_is_taken_out_by_key_and_put_back(play):
    with play() as tab:
        tab.locator(".s-pad").focus()
        before = said(tab)
        tab.keyboard.press("Delete")
        assert "is out" in said(tab) and numbers(tab, "real")[4] == pytest.approx(0, abs=1e-9)
        tab.keyboard.press("Delete")
        assert said(tab) == before
        tab.keyboard.press("ArrowRight")
        assert said(tab) != before
        tab.get_by_role("button", name="Start again").click()
        assert said(tab) == before


def test_the_other_class_turns_a_helper_into_a_harm(play):
    with play() as tab:
        helper = 11 + int(numbers(tab, "predicted")[11:].argmax())
        tab.get_by_role("slider", name="The chosen point").fill(str(helper + 1))
        before = numbers(tab, "predicted")[helper]
        tab.get_by_role("button", name="other class").click()
        assert before > 0 > numbers(tab, "predicted")[helper]
        assert "a circle" in said(tab)


def test_a_class_keeps_its_last_point(play):
    with play() as tab:
        chosen, out = (
            tab.get_by_role("slider", name="The chosen point"),
            tab.get_by_role("button", name="Take the chosen"),
        )
        for i in range(1, 12):
            chosen.fill(str(i))
            out.click()
        assert tab.locator(".point.c0.is-out").count() == 10
        assert "NaN" not in said(tab)
