"""Chapter 6's box in the page: it says what Python says, and is drawn by mouse and by key."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from tests.browser.conftest import opened, said, write_explorer
from tests.browser.faults import faults, heard
from xai_course import explorers
from xai_course.explorers._annotate import inside, judged, maxima, pooled

S = 64
rng = np.random.default_rng(6)
MAPS = {"specks": rng.random((S, S)) ** 8, "blob": np.zeros((S, S)), "flat": np.ones((S, S))}
MAPS["blob"][20:40, 24:50] = rng.random((20, 26)).round(1)
OUTLINES = {"A": [[12, 8], [52, 12.5], [40, 50], [20, 56]], "B": [[16, 8], [50, 14], [32, 60]]}
FIRST = [16, 16, 48, 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    picture = torch.rand(3, S, S, generator=torch.Generator().manual_seed(0))
    shown = explorers.annotate(
        "6.5", picture, MAPS, OUTLINES, box=FIRST, caption="A box on noise.", alt="Noise, with a box."
    )
    return write_explorer(tmp_path_factory.mktemp("annotate"), "annotate", shown)


@pytest.fixture
def play(chromium, folder):
    return partial(opened, chromium, folder.as_uri(), "annotate.html")


def box_of(tab) -> list[int]:
    return [int(v) for v in tab.locator("figure").get_attribute("data-box").split()]


def wanted(box) -> dict:
    cells = {name: pooled(values) for name, values in MAPS.items()}
    masks = {name: inside(points, S) for name, points in OUTLINES.items()}
    return judged(cells, {name: maxima(values) for name, values in MAPS.items()}, masks, box)


def test_it_is_whole_and_accessible_wide_and_narrow_light_and_dark(play):
    with play() as tab:
        assert tab.locator(".s-controls").is_visible()
        assert faults(tab) == []


def test_what_python_drew_first_is_what_the_script_draws_first(play):
    with play(scripts=False) as tab:
        assert not tab.locator(".s-controls").is_visible()
        before = tab.locator(".s-panel, .s-said").all_inner_texts()
        peaks = tab.locator(".s-peaks").evaluate("e => e.innerHTML")
    with play() as tab:
        assert tab.locator(".s-panel, .s-said").all_inner_texts() == before
        drawn = "e => [...e.children].map(p => p.getAttribute('d'))"
        assert all(d in peaks for d in tab.locator(".s-peaks").evaluate(drawn))


@pytest.mark.parametrize("box", [FIRST, [0, 0, 64, 64], [24, 20, 50, 40], [60, 60, 64, 64]])
def test_the_page_computes_what_python_computes(play, box):
    said_by_python = wanted(box)
    with play() as tab:
        found = tab.evaluate(
            "box => sinb.annotate.judge(sinb.data(document.querySelector('figure')))(box)", box
        )
    for name in ("energy", "hits", "overlap"):
        np.testing.assert_allclose(found[name], list(said_by_python[name].values()), atol=1e-9)
    assert found["area"] == said_by_python["area"]


def drag(tab, start, end):
    pad = tab.locator(".s-pad").bounding_box()
    x, y, side = pad["x"], pad["y"], pad["width"]
    tab.mouse.move(x + start[0] / S * side, y + start[1] / S * side)
    tab.mouse.down()
    tab.mouse.move(x + end[0] / S * side, y + end[1] / S * side, steps=5)
    tab.mouse.up()


def test_a_box_is_drawn_with_the_mouse_and_its_corner_moved(play):
    with play() as tab:
        drag(tab, (8, 50), (30, 22))
        assert box_of(tab) == [8, 22, 30, 50]
        share = wanted([8, 22, 30, 50])
        assert f"covers {100 * share['area']:.1f} %" in said(tab)
        assert f"{100 * share['energy']['specks']:.1f} % of the heat inside" in said(tab)
        drag(tab, (30, 50), (41, 56))
        assert box_of(tab) == [8, 22, 42, 56]
        assert heard(tab) == []


def test_a_click_alone_draws_nothing(play):
    with play() as tab:
        before = box_of(tab)
        drag(tab, (30, 28), (30.5, 28.5))
        assert box_of(tab) == before


def test_a_box_is_moved_and_stretched_by_key_and_stays_inside(play):
    with play() as tab:
        tab.locator(".s-pad").focus()
        tab.keyboard.press("ArrowRight")
        assert box_of(tab) == [20, 16, 52, 40]
        tab.keyboard.press("Shift+ArrowDown")
        assert box_of(tab) == [20, 16, 52, 44]
        for _ in range(9):
            tab.keyboard.press("ArrowRight")
        assert box_of(tab) == [32, 16, 64, 44]
        for _ in range(20):
            tab.keyboard.press("Shift+ArrowLeft")
        assert box_of(tab) == [32, 16, 36, 44]
        tab.get_by_role("button", name="Start again").click()
        assert box_of(tab) == FIRST


def test_an_annotators_box_and_outline_are_shown_on_demand(play):
    with play() as tab:
        assert not tab.locator(".s-outlines").is_visible() and not tab.locator(".s-keys").is_visible()
        tab.get_by_role("switch", name="outlines").click()
        assert (
            tab.locator(".s-outlines").is_visible() and "annotator A" in tab.locator(".s-keys").inner_text()
        )
        tab.get_by_role("button", name="annotator B").click()
        x0, y0, x1, y1 = box_of(tab)
        mask = inside(OUTLINES["B"], S)
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
        tab.get_by_role("button", name="whole picture").click()
        assert "covers 100.0 %" in said(tab)


def test_another_map_is_chosen(play):
    with play() as tab:
        tab.get_by_role("radio", name="blob").check(force=True)
        assert "The same box, and blob" in tab.locator('[data-panel="map"]').inner_text()
        assert f"blob: {100 * wanted(FIRST)['energy']['blob']:.1f} %" in said(tab)
