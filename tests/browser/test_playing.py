"""The tile game, RISE and the tag in the page: they compute what Python computes, and can be played."""

from __future__ import annotations

import base64
import shutil

import numpy as np
import pytest
import torch

from tests.browser.conftest import STATIC, opened, write_page
from tests.browser.faults import faults, heard
from xai_course import explorers
from xai_course.explorers._rise import _part
from xai_course.explorers._tag import stamped
from xai_course.explorers._tiles import RULES, _table, lime_of, pair_of, shapley_of
from xai_lib import load_model, rise_fit
from xai_lib.data import SHAPE_CLASSES, shapes


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def lottery():
    image = shapes(48, seed=3).images[20:21]
    fit = rise_fit(load_model("small_vgg"), image, 0, n_masks=256, paired=False, generator=seeded(0))
    return image, fit


@pytest.fixture(scope="module")
def album():
    scenes = shapes(64, seed=21)
    return (scenes.images * 255).round() / 255, scenes.labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory, lottery, album):
    """Each explorer on a page of its own; only ``book.html`` knows where the book keeps its files."""
    folder = tmp_path_factory.mktemp("playing")
    shutil.copytree(STATIC, folder / "_static")
    images, labels = album
    stars = (labels == SHAPE_CLASSES.index("star")).nonzero()[:2, 0].tolist()
    shown = [*stars, *(i for i in range(8) if i not in stars)][:4]
    tag = explorers.tag("1.3", pictures=images[shown], labels=labels[shown])
    image, fit = lottery
    pages = {
        "tiles": ("", explorers.tiles("4.6")),
        "rise": ("", explorers.rise("4.7", image, fit, draws=2)),
        "notebook": ("", tag),
        "book": (' data-content_root="./"', tag),
    }
    for name, (root, figure) in pages.items():
        write_page(folder, name, figure.html(), root)
    return folder


@pytest.fixture
def play(chromium, folder):
    def play(name, **options):
        return opened(chromium, folder.as_uri(), f"{name}.html", **options)

    return play


def said(tab) -> str:
    return tab.locator(".s-said").inner_text()


def note(tab, slot) -> str:
    return tab.locator(f'[data-panel="{slot}"] small').inner_text()


@pytest.mark.parametrize("name", ["tiles", "rise", "book"])
def test_it_is_whole_and_accessible_wide_and_narrow_light_and_dark(play, name):
    with play(name) as tab:
        assert tab.locator(".s-controls").is_visible()
        assert faults(tab) == []


@pytest.mark.parametrize("name", ["tiles", "rise", "book"])
def test_without_scripts_the_first_state_stands_there_and_nothing_pretends_to_move(play, name):
    with play(name, scripts=False) as tab:
        assert not tab.locator(".s-controls").is_visible()
        assert len(said(tab)) > 40
        assert tab.locator("noscript").inner_text().startswith("Scripts are off")


@pytest.mark.parametrize("name", ["tiles", "rise", "book"])
def test_what_python_drew_first_is_what_the_script_draws_first(play, name):
    texts = ".s-panel, td, .s-said"
    with play(name, scripts=False) as tab:
        before = tab.locator(texts).all_inner_texts()
    with play(name) as tab:
        tab.wait_for_timeout(400)  # the tag's sentence waits until the tag rests
        assert tab.locator(texts).all_inner_texts() == before


# --- the tile game -----------------------------------------------------------------------------------------


def test_the_page_fits_the_same_lines_and_values_as_python(play):
    rng = np.random.default_rng(0)
    with play("tiles") as tab:
        for name in RULES:
            table = _table(name, RULES[name])
            for n in (1, 5, 30, 256):
                pictures = rng.permutation(256)[:n]
                given = [pictures.tolist(), table[pictures].tolist()]
                found = tab.evaluate("([p, s]) => sinb.tiles.lime(p, s, 8, p.length / 1000, 0.25)", given)
                coefficients, r2 = lime_of(pictures, table)
                np.testing.assert_allclose(found["coefficients"], coefficients, rtol=0, atol=1e-6)
                assert found["r2"] == pytest.approx(r2, abs=1e-6)
            values = tab.evaluate("t => sinb.tiles.shapley(t, 8)", table.tolist())
            np.testing.assert_allclose(values, shapley_of(table), rtol=0, atol=1e-6)
            means = tab.evaluate("t => sinb.tiles.pair(t, 8, 1, 6)", table.tolist())
            np.testing.assert_allclose(means, pair_of(table, (1, 6))[:4], rtol=0, atol=1e-6)


def test_tiles_are_hidden_and_shown_by_click_and_by_key(play):
    with play("tiles") as tab:
        tile = tab.get_by_role("button", name="Tile 6")
        assert tile.get_attribute("aria-pressed") == "true" and "p = 0.90" in said(tab)
        tile.click()
        assert tile.get_attribute("aria-pressed") == "false" and "p = 0.10" in said(tab)
        tab.keyboard.press("Space")
        assert tile.get_attribute("aria-pressed") == "true" and "p = 0.90" in said(tab)
        tab.get_by_role("button", name="Hide all").click()
        assert "p = 0.10" in said(tab) and "0 of 8" in note(tab, "board")
        assert heard(tab) == []


def test_the_line_can_be_fitted_to_the_readers_own_pictures(play):
    with play("tiles") as tab:
        tab.get_by_role("button", name="Tile 1").click()
        tab.get_by_label("the 2 that you have shown").check()
        assert "fitted to 2 pictures, fewer than its 9 unknowns" in note(tab, "lime")
        tab.get_by_role("button", name="Ten more").click()
        assert "fitted to 12 pictures" in note(tab, "lime")
        tab.get_by_role("button", name="Forget").click()
        assert "fitted to 1 picture," in note(tab, "lime")


def test_each_rule_says_what_was_computed(play):
    with play("tiles") as tab:
        expected = {
            "half each": "interaction 0.00",
            "at least one": "interaction −0.80",
            "both": "interaction 0.80",
        }
        for rule, interaction in expected.items():
            tab.get_by_label(rule, exact=True).check()
            assert "Shapley 0.40 and 0.40" in said(tab) and interaction in said(tab)
        tab.get_by_label("exactly one").check()
        assert "Shapley 0.00 and 0.00" in said(tab) and "interaction −1.60" in said(tab)


# --- RISE --------------------------------------------------------------------------------------------------

MAP = """([draw, n, paper]) => {
  const figure = document.querySelector('[data-explorer="rise"]');
  const sums = sinb.rise.read(sinb.data(figure)).draw(draw);
  sums.upTo(sums.most);
  sums.upTo(n);
  return {map: [...sums.map(paper)], error: sums.error(paper)};
}"""


@pytest.mark.parametrize("by", ["coverage", "paper"])
@pytest.mark.parametrize(("draw", "first", "n"), [("all", 0, 256), (0, 0, 100), (1, 128, 128)])
def test_the_pages_map_and_error_are_pythons(play, lottery, by, draw, first, n):
    part = _part(lottery[1], first, n, by)
    own = part.heatmap[0][1::2, 1::2].double().flatten().numpy()
    with play("rise") as tab:
        found = tab.evaluate(MAP, [draw, n, by == "paper"])
    np.testing.assert_allclose(found["map"], own, rtol=0, atol=1e-4 * np.ptp(own))
    assert part.relative_error < 2
    assert found["error"] == pytest.approx(part.relative_error.item(), rel=0.02)


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_masks_are_added_one_by_one_by_slider_and_until_paused(play, motion):
    with play("rise") as tab:
        tab.emulate_media(reduced_motion=motion)
        slider = tab.get_by_role("slider")
        slider.focus()
        tab.keyboard.press("Home")
        assert "The map of 1 mask" in tab.locator('[data-panel="map"]').inner_text()
        assert "needs more masks" in said(tab)
        tab.get_by_role("button", name="One more").click()
        assert slider.get_attribute("aria-valuetext") == "2"
        button = tab.locator('[data-control="play"]')
        button.click()
        assert button.inner_text() == "Pause"
        tab.wait_for_function("+document.querySelector('[data-control=n]').value > 4")
        button.click()
        assert button.inner_text() == "Add masks"
        rested = slider.input_value()
        tab.wait_for_timeout(1200)
        assert slider.input_value() == rested
        assert said(tab).startswith(f"{rested} masks")
        assert heard(tab) == []


def test_the_chart_python_drew_first_is_the_scripts(play):
    with play("rise", scripts=False) as tab:
        before = [line.get_attribute("points") for line in tab.locator(".s-error .line").all()]
        assert all(before)
    with play("rise") as tab:
        after = [line.get_attribute("points") for line in tab.locator(".s-error .line").all()]
    for python, script in zip(before, after, strict=True):
        one, other = (np.array([p.split(",") for p in text.split()], float) for text in (python, script))
        # 140 for five doublings: the page's error is of fewer pixels, off by 5 % where noise prevails
        np.testing.assert_allclose(one, other, rtol=0, atol=2)


def test_another_lottery_is_another_map_and_all_masks_leave_none_to_compare_with(play):
    pixels = "() => document.querySelector('[data-panel=map] canvas').toDataURL()"
    with play("rise") as tab:
        first, said_first = tab.evaluate(pixels), said(tab)
        tab.get_by_role("button", name="Draw another lottery").click()
        assert tab.evaluate(pixels) != first and said(tab) != said_first
        for _ in range(10):
            tab.get_by_role("slider").press("ArrowLeft")
        before = said(tab)
        tab.get_by_role("button", name="Draw another lottery").click()  # as many masks, but others
        assert said(tab).split()[0] == before.split()[0] and said(tab) != before
        tab.get_by_label("paper: N p").check()
        assert "divided by N p" in said(tab)
        tab.get_by_label("all masks").check()
        tab.get_by_role("slider").press("End")
        assert (
            said(tab).startswith("256 masks")
            and "No other masks are left" in tab.locator("figure").inner_text()
        )


# --- the tag -----------------------------------------------------------------------------------------------

LOGITS = """async ([text, places, tag]) => {
  const network = await sinb.tag.load(), bytes = sinb.floats(text, "u8").map(v => v / 255);
  const each = network.size ** 2 * 3, found = [];
  const began = performance.now();
  places.forEach(([row, column], i) => {
    const bare = bytes.slice(i * each, (i + 1) * each);
    found.push(network.logits(row < 0 ? bare : sinb.tag.stamp(bare, network.size, tag, row, column)));
  });
  const lost = [...network.occlusion(bytes.slice(0, each), 0, 28, 12, 0.5)].pop();
  return {logits: found, lost: [...lost], again: network.logits(bytes.slice(0, each))};
}"""


def test_the_network_in_the_page_is_torchs(play, album):
    """Over 64 pictures: 16 bare, 16 with the tag in its corner, the others with the tag anywhere."""
    images, _ = album
    rng = np.random.default_rng(0)
    places = (
        [(-1, -1)] * 16
        + [(98, 4)] * 16
        + [(int(rng.integers(103)), int(rng.integers(83))) for _ in range(32)]
    )
    seen = [
        image if row < 0 else stamped(image, row, column)
        for image, (row, column) in zip(images, places, strict=True)
    ]
    model = load_model("clever_hans")
    with torch.no_grad():
        expected = model(torch.stack(seen))
        hidden = images[:1].repeat(64, 1, 1, 1)
        for k in range(64):
            hidden[k, :, 12 * (k // 8) : 12 * (k // 8) + 28, 12 * (k % 8) : 12 * (k % 8) + 28] = 0.5
        lost = (model(images[:1]).softmax(1)[:, 0] - model(hidden).softmax(1)[:, 0]).numpy()
    levels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    with play("book") as tab:
        tag = tab.evaluate("sinb.data(document.querySelector('[data-explorer=tag]')).tag")
        found = tab.evaluate(LOGITS, [base64.b64encode(levels.tobytes()).decode(), places, tag])
        assert tab.left == []
    logits = np.array(found["logits"])
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-2)
    assert (logits.argmax(1) == expected.argmax(1).numpy()).all()
    np.testing.assert_allclose(found["lost"], lost, rtol=0, atol=1e-3)
    np.testing.assert_allclose(
        found["again"], logits[0], rtol=0, atol=1e-6
    )  # it leaves the picture as it was
    assert len(set(logits.argmax(1).tolist())) > 4


def test_the_pixels_that_the_page_reads_are_those_that_python_stored(play, album):
    images, labels = album
    star = int((labels == SHAPE_CLASSES.index("star")).nonzero()[0])
    with play("book") as tab:
        tab.evaluate("document.querySelector('.s-picks img').decode()")
        found = np.array(tab.evaluate("[...sinb.tag.pixels(document.querySelector('.s-picks img'))]"))
        found = found.reshape(112, 112, 3)
    np.testing.assert_allclose(found, images[star].permute(1, 2, 0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("where", [{}, {"size": "phone", "theme": "dark"}], ids=["desktop", "phone"])
def test_the_tag_is_moved_by_arrow_keys_and_the_network_answers(play, where):
    with play("book", **where) as tab:
        tag = tab.locator(".s-tag")
        tag.focus()
        tab.keyboard.press("Shift+ArrowUp")
        tab.keyboard.press("ArrowRight")
        assert "row 88, column 6" in tag.get_attribute("aria-label")
        tab.wait_for_function(
            "/Computed here in \\d+ ms/.test(document.querySelector('.s-said').textContent)"
        )
        assert "row 88, column 6" in said(tab)
        assert "press the button" in note(tab, "map")
        tab.get_by_role("button", name="Where does it look?").click()
        tab.wait_for_function(
            "/64 passes, computed here/.test(document.querySelector('[data-panel=map] small').textContent)"
        )
        tag.focus()
        tab.keyboard.press("ArrowDown")  # asked for once, the map follows
        tab.wait_for_function(
            "/64 passes, computed here/.test(document.querySelector('[data-panel=map] small').textContent)"
        )
        assert heard(tab) == []


def test_the_tag_is_dragged_taken_away_and_comes_along_to_another_shape(play):
    with play("book") as tab:
        tag = tab.locator(".s-tag")
        box = tag.bounding_box()
        tab.mouse.move(box["x"] + 5, box["y"] + 5)
        tab.mouse.down()
        tab.mouse.move(box["x"] + 105, box["y"] - 95, steps=5)
        tab.mouse.up()
        shot = tab.locator('[data-panel="picture"] .s-shot').bounding_box()
        moved = 100 / shot["width"] * 112
        assert f"column {round(4 + moved)}" in tag.get_attribute("aria-label")
        tab.get_by_role("switch").click()
        assert not tag.is_visible()
        tab.wait_for_function("/without the tag/.test(document.querySelector('.s-said').textContent)")
        tab.get_by_role("switch").click()
        tab.locator(".s-picks input").nth(2).check()
        tab.wait_for_function("/with the tag/.test(document.querySelector('.s-said').textContent)")
        assert f"column {round(4 + moved)}" in tag.get_attribute("aria-label")
        tab.get_by_role("button", name="Put it back").click()
        assert "row 98, column 4" in tag.get_attribute("aria-label")


def test_the_tag_is_dragged_by_a_finger(play):
    with play("book", size="phone") as tab:
        tag = tab.locator(".s-tag")
        tag.scroll_into_view_if_needed()
        box, scrolled = tag.bounding_box(), tab.evaluate("scrollY")
        finger = [{"x": box["x"] + 10, "y": box["y"] + 5}]
        tab.devtools.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": finger})
        for _ in range(4):
            finger = [{"x": finger[0]["x"] + 10, "y": finger[0]["y"] - 10}]
            tab.devtools.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": finger})
        tab.devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        moved = tag.bounding_box()
        assert moved["x"] - box["x"] == pytest.approx(40, abs=2)
        assert moved["y"] - box["y"] == pytest.approx(-40, abs=2)
        assert tab.evaluate("scrollY") == scrolled


def test_nothing_is_loaded_before_the_tag_is_used(play):
    scripts = "() => [...document.scripts].map(s => s.src).filter(s => s)"
    with play("book") as tab:
        tab.wait_for_timeout(400)
        assert tab.evaluate(scripts) == []
        tab.get_by_role("switch").click()
        tab.wait_for_function("/Computed here/.test(document.querySelector('.s-said').textContent)")
        assert [s.rsplit("/", 1)[1] for s in tab.evaluate(scripts)] == ["network.js", "clever_hans.js"]


def test_in_a_notebook_it_shows_what_was_computed_and_says_so(play):
    with play("notebook") as tab:
        tab.get_by_role("switch").click()
        tab.wait_for_function("/without the tag/.test(document.querySelector('.s-said').textContent)")
        assert "in the book it is live" in said(tab)
        tab.get_by_role("switch").click()
        tab.wait_for_function("/with the tag/.test(document.querySelector('.s-said').textContent)")
        assert tab.locator(".s-tag").is_disabled() and "needs the book" in note(tab, "picture")
        assert tab.get_by_role("button", name="Where does it look?").is_disabled()
        assert heard(tab) == []


# --- the title page ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("via", ["file", "http"])
def test_the_title_pages_tag_is_moved_and_the_network_answers(visit, via):
    with visit("book/index.html", via=via) as tab:
        tag, note = tab.locator(".s-stage .s-tag"), tab.locator(".s-stage .s-note")
        told = note.inner_text()
        tag.focus()
        for _ in range(5):
            tab.keyboard.press("Shift+ArrowUp")
        tab.wait_for_function("/It runs in this page/.test(document.querySelector('.s-note').textContent)")
        assert "row 50" in note.inner_text()
        answer = tab.locator(".s-stage .a").inner_text()
        assert f"The network says {answer}" in note.inner_text()
        top = tab.locator(".s-stage .s-odds .is-top span").first.inner_text()
        assert top == answer != "star"
        why = tab.locator(".s-stage .s-name").nth(1)
        tab.wait_for_function(
            "/Occlusion\u2019s answer, from 64 passes/.test(document.querySelector('.s-stage').textContent)"
        )
        assert why.inner_text().startswith("Why?")
        switch = tab.get_by_role("switch")
        switch.click()
        assert not tag.is_visible() and "Only the tag is gone" in note.inner_text()
        switch.click()
        assert note.inner_text() == told and "SmoothGrad" in why.inner_text()
        assert "row 50" not in tag.get_attribute("aria-label")
        assert heard(tab) == []
