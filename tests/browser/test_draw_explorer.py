"""Chapter 8's drawing in the page: painted by mouse, finger and key, it is the map that the library gives."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from tests.browser.conftest import opened, said, write_explorer
from tests.browser.faults import faults, heard
from xai_course import explorers
from xai_course.explorers import _draw
from xai_lib import grad_cam, load_model
from xai_lib.data import SHAPE_CLASSES, shapes
from xai_lib.manipulation import lie_image

NETWORKS = ["small_gap", "clever_hans"]
LABELS = ["star", "crescent"]
N = 14


@pytest.fixture(scope="module")
def scenes():
    x = shapes(1, seed=5).images
    return {name: (load_model(name), x, LABELS) for name in NETWORKS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scenes):
    shown = explorers.draw(
        "8.1",
        scenes,
        pictures={"clever_hans": {"half": np.full((N, N), 0.5)}},
        caption="Draw it.",
        alt="A shape with cells to paint.",
    )
    return write_explorer(tmp_path_factory.mktemp("draw"), "draw", shown)


@pytest.fixture
def play(chromium, folder):
    return partial(opened, chromium, folder.as_uri(), "draw.html")


def left(tab, name) -> np.ndarray:
    """Cells that the script leaves on the figure."""
    return np.array(tab.locator("figure").get_attribute(f"data-{name}").split(), dtype=float).reshape(N, N)


def scale(tab, steps) -> None:
    tab.locator("[data-control=scale]").focus()
    for _ in range(abs(steps)):
        tab.keyboard.press("ArrowRight" if steps > 0 else "ArrowLeft")


def drag(tab, *cells) -> None:
    pad = tab.locator(".s-pad").bounding_box()
    for i, (row, column) in enumerate(cells):
        tab.mouse.move(
            pad["x"] + (column + 0.5) / N * pad["width"], pad["y"] + (row + 0.5) / N * pad["height"]
        )
        if i == 0:
            tab.mouse.down()
    tab.mouse.up()


def library(scenes, name, label, drawing, scale) -> np.ndarray:
    """Grad-CAM's cells for the library's own manipulated network."""
    model, x, _ = scenes[name]
    liar = lie_image(model, torch.from_numpy(drawing), scale=scale, repair=True)
    return grad_cam(liar, x, SHAPE_CLASSES.index(label), layer=model.cam_layer, upsample=False)[0].numpy()


def test_it_is_whole_and_accessible_wide_and_narrow_light_and_dark(play):
    with play() as tab:
        assert tab.locator(".s-controls").is_visible()
        assert faults(tab) == []


def test_what_python_drew_first_is_what_the_script_draws_first(play):
    texts = ".s-panel, .s-bars, .s-said"
    with play(scripts=False) as tab:
        assert not tab.locator(".s-controls").is_visible()
        assert tab.locator("noscript").inner_text().startswith("Scripts are off")
        before = tab.locator(texts).all_inner_texts()
    with play() as tab:
        assert tab.locator(texts).all_inner_texts() == before


@pytest.mark.parametrize("network", NETWORKS)
def test_a_drawing_gives_the_map_that_the_library_gives(play, scenes, network):
    with play() as tab:
        tab.get_by_role("radio", name=network).check(force=True)
        tab.get_by_role("radio", name="crescent").check(force=True)
        tab.get_by_role("button", name="Clear").click()
        drag(tab, (2, 3), (9, 3), (9, 10))
        drawing = left(tab, "drawing")
        assert drawing.sum() == 8 + 7 and drawing[2:10, 3].all() and drawing[9, 3:11].all()
        for steps, c in ((0, 100), (-14, 0.5)):
            scale(tab, steps)
            wanted = library(scenes, network, "crescent", drawing, c)
            np.testing.assert_allclose(left(tab, "map"), wanted, atol=2e-3 * wanted.max())
        assert heard(tab) == []


def test_the_page_answers_as_python_does_and_nothing_moves(play, scenes):
    half, drawing = np.full((N, N), 0.5), np.random.default_rng(0).integers(0, 2, (N, N)).astype(float)
    with play() as tab:
        for k, name in enumerate(NETWORKS):
            scene = _draw._scene(name, *scenes[name], {}, 100, 10.0)
            for cells, c in ((half, 100), (drawing, 0.3), (drawing, 20)):
                wanted = _draw.answered(scene, cells, c, 10.0)
                found = tab.evaluate(
                    "([k, cells, scale]) => { const data = sinb.data(document.querySelector('figure'));"
                    "return sinb.draw.solve(data.scenes[k], data.weight).answer(cells, scale); }",
                    [k, cells.ravel().tolist(), c],
                )
                assert found["moved"] == wanted["moved"]
                np.testing.assert_allclose(found["now"], wanted["now"], atol=1e-12)
        odds = ".s-odds > div:not(.s-head)"
        for _ in range(3):
            for row in tab.locator(odds).all_inner_texts():
                _, now, honest = row.split("\n")
                assert now == honest
            scale(tab, -6)


def test_the_lie_drowns_the_honest_map_as_its_scale_grows(play, scenes):
    with play() as tab:
        assert "times as much. The answer is still" in said(tab)
        smiley = left(tab, "drawing")
        distances = []
        for _ in range(len(_draw.SCALES)):
            distances.append(float(tab.locator("figure").get_attribute("data-distance")))
            scale(tab, -1)
        scene = _draw._scene("small_gap", *scenes["small_gap"], {}, 100, 10.0)
        wanted = [_draw.distance(_draw.lied(scene, 0, smiley, c)["map"], smiley) for c in _draw.SCALES[::-1]]
        np.testing.assert_allclose(distances, wanted, atol=0.02)
        assert distances[0] < distances[-1] / 5
        assert said(tab).startswith("Nothing of a drawing is in the map")


def test_strokes_are_undone_erased_inverted_and_cleared(play):
    with play() as tab:
        smiley = left(tab, "drawing")
        undo = tab.get_by_role("button", name="Undo")
        assert undo.is_disabled()
        drag(tab, (0, 0), (0, 13))
        assert left(tab, "drawing")[0].all()
        assert tab.locator(".s-picks:visible input:checked").count() == 0
        undo.click()
        assert (left(tab, "drawing") == smiley).all() and undo.is_disabled()
        tab.get_by_role("button", name="Invert").click()
        assert (left(tab, "drawing") == 1 - smiley).all()
        tab.get_by_role("radio", name="erases").check(force=True)
        drag(tab, (0, 0), (13, 0))
        assert not left(tab, "drawing")[:, 0].any()
        tab.get_by_role("button", name="Clear").click()
        assert not left(tab, "drawing").any() and said(tab).startswith("Nothing of a drawing")
        assert "Nothing is drawn" in tab.locator("[data-panel=equation]").inner_text()
        tab.keyboard.press("Control+z")  # not on the pad: the key belongs to the page
        assert not left(tab, "drawing").any()
        tab.locator(".s-pad").focus()
        tab.keyboard.press("Control+z")
        assert left(tab, "drawing")[:, 1].any()


def test_it_is_painted_from_the_keyboard_and_read_out(play):
    with play() as tab:
        tab.get_by_role("button", name="Clear").click()
        tab.locator(".s-pad").focus()
        tab.keyboard.press("ArrowDown")
        assert tab.locator(".s-mark").is_visible()
        tab.keyboard.press("Space")
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("Space")
        assert left(tab, "drawing").sum() == 2 and left(tab, "drawing")[7, 7:9].all()
        tab.wait_for_function(
            "document.querySelector('.s-sr[role=status]')?.textContent === 'Row 8, column 9, painted'"
        )
        tab.keyboard.press("Backspace")
        tab.wait_for_function(
            "document.querySelector('.s-sr[role=status]')?.textContent === 'Row 8, column 9, empty'"
        )
        assert left(tab, "drawing").sum() == 1
        assert "of 196 cells are drawn" in tab.locator("[data-panel=map] canvas").get_attribute("aria-label")


def test_it_is_painted_with_a_finger(play):
    with play(size="phone") as tab:
        tab.get_by_role("button", name="Clear").click()
        tab.locator(".s-pad").tap()
        tab.wait_for_function("document.querySelector('figure').dataset.drawing.includes('1')")
        assert left(tab, "drawing").sum() == 1


def test_each_photograph_has_its_own_drawing_and_pictures(play):
    with play() as tab:
        smiley = left(tab, "drawing")
        assert tab.locator(".s-picks:visible input").count() == 3
        tab.get_by_role("radio", name="clever_hans").check(force=True)
        assert tab.locator(".s-picks:visible input").count() == 4
        tab.get_by_role("radio", name="half").check(force=True)
        assert (left(tab, "drawing") == 0.5).all()
        tab.get_by_role("radio", name="small_gap").check(force=True)
        assert (left(tab, "drawing") == smiley).all()
        assert "64 honest maps" in tab.locator("[data-term=honest]").inner_text()
