"""The blink comparator in the page: one, the other, a curtain, both in turn, and the exact difference."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tests.browser.conftest import opened, said, write_explorer, write_page
from tests.browser.faults import faults, heard
from xai_course import explorers, quizzes

S = 32
rng = np.random.default_rng(4)
A = rng.integers(10, 240, (S, S, 3))
B = A + rng.integers(-4, 5, (S, S, 3))
HEAT = rng.random((S, S))
QUESTION = {
    "id": "9.predict.1",
    "type": "multiple_choice",
    "question": "What will the maps be?",
    "answers": [
        {"answer": "alike", "correct": False, "feedback": "No."},
        {"answer": "unlike", "correct": True, "feedback": "Yes."},
    ],
}


def made(**changes):
    return explorers.blink(
        "7.12",
        A / 255,
        B / 255,
        heat_a=HEAT,
        heat_b=HEAT[::-1],
        names=("left one", "right one"),
        answers=("star, 98 %", "star, 97 %"),
        caption="Two pictures.",
        alt="Two noisy pictures.",
        **changes,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_explorer(tmp_path_factory.mktemp("blink"), "blink", made())
    veiled = made(until="9.predict.1").html() + quizzes.Quiz([QUESTION]).html()
    write_page(folder, "veiled", veiled, root=' class="has-scripts"')
    return folder


@pytest.fixture
def play(chromium, folder):
    return partial(opened, chromium, folder.as_uri(), "blink.html")


def state(tab) -> str:
    return tab.locator("figure").get_attribute("data-shown")


def test_it_is_whole_and_accessible_wide_and_narrow_light_and_dark(play):
    with play() as tab:
        assert tab.locator(".s-controls").is_visible()
        assert faults(tab) == []


def test_without_scripts_both_pictures_stand_side_by_side(play):
    with play(scripts=False) as tab:
        assert not tab.locator(".s-controls").is_visible()
        assert [t.split("\n")[0] for t in tab.locator(".s-panel").all_inner_texts()] == [
            "left one",
            "right one",
            "Heatmap of left one",
            "Heatmap of right one",
        ]
        before = said(tab)
    with play() as tab:
        assert said(tab) == before and tab.locator(".s-panel:visible").count() == 3


def test_one_the_other_and_the_curtain(play):
    with play() as tab:
        first = tab.locator('[data-panel="first"]')
        assert first.inner_text() == "left one\nthe network says star, 98 %"
        tab.get_by_role("radio", name="right one").check(force=True)
        assert state(tab) == "100" and first.inner_text() == "right one\nthe network says star, 97 %"
        assert tab.locator('[data-panel="heat-1"]').get_attribute("class").endswith("is-shown")
        tab.locator("[data-control=cover]").focus()
        for _ in range(25):
            tab.keyboard.press("ArrowLeft")
        assert state(tab) == "75" and tab.locator(".s-seam").is_visible()
        shown = first.locator("img").nth(1)
        assert shown.evaluate("e => getComputedStyle(e).clipPath") == "inset(0px 25% 0px 0px)"
        assert "up to 75 % of the width" in said(tab)
        assert tab.locator("[data-control=view] input:checked").count() == 0
        assert heard(tab) == []


def test_on_the_picture_a_press_turns_and_a_drag_draws_the_curtain(play):
    with play() as tab:
        box = tab.locator('[data-panel="first"] .s-shot').bounding_box()
        x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
        tab.mouse.click(x, y)
        assert state(tab) == "100"
        tab.mouse.move(x, y)
        tab.mouse.down()
        tab.mouse.move(x + box["width"] / 2, y, steps=4)
        tab.mouse.up()
        assert state(tab) == "75" and tab.locator("[data-control=cover]").input_value() == "75"
        assert heard(tab) == []


def test_the_difference_is_that_of_all_levels(play):
    with play() as tab:
        tab.get_by_role("radio", name="difference").check(force=True)
        canvas = tab.locator("canvas.difference")
        canvas.wait_for(state="visible")
        tab.wait_for_function(f"document.querySelector('canvas.difference').width === {S}")
        read = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
        drawn = np.array(canvas.evaluate(read)).reshape(S, S, 4)[..., :3]
        wanted = np.clip(np.floor(127.5 + 20 * (B - A) + 0.5), 0, 255)
        np.testing.assert_array_equal(drawn, wanted)
        assert "right one minus left one, × 20" in tab.locator('[data-panel="first"]').inner_text()


def test_nothing_blinks_where_less_motion_is_wished_and_a_button_turns_once(play):
    with play() as tab:  # these visits ask for less motion
        assert not tab.get_by_role("switch", name="Blink").is_visible()
        other = tab.get_by_role("button", name="The other one")
        other.focus()
        for expected in ("100", "0"):
            tab.keyboard.press("Enter")
            assert state(tab) == expected


def test_it_blinks_when_asked_and_stops_when_another_control_is_moved(play):
    with play() as tab:
        tab.emulate_media(reduced_motion="no-preference")
        blink = tab.locator("[data-control=blink]")  # by its role it is not found while hidden
        blink.wait_for(state="visible")
        assert state(tab) == "0" and not tab.get_by_role("button", name="The other one").is_visible()
        blink.click()
        assert said(tab).startswith("Shown in turn: left one and right one")
        for expected in ("0", "100"):
            tab.wait_for_function(f"document.querySelector('figure').dataset.shown === '{expected}'")
        tab.get_by_role("radio", name="left one").check(force=True)
        assert blink.get_attribute("aria-checked") == "false"
        changed = "new Promise(done => { const f = document.querySelector('figure');"
        changed += "new MutationObserver(() => done(true)).observe(f, {attributes: true});"
        assert not tab.evaluate(changed + "setTimeout(() => done(false), 1200); })")
        blink.click()
        tab.emulate_media(reduced_motion="reduce")
        blink.wait_for(state="hidden")
        assert blink.get_attribute("aria-checked") == "false"


def test_the_maps_wait_for_the_answer_and_the_pictures_do_not(chromium, folder):
    with opened(chromium, folder.as_uri(), "veiled.html") as tab:
        assert tab.locator(".s-veil").is_visible()
        assert tab.locator(".s-under").evaluate("e => e.inert")
        tab.get_by_role("radio", name="right one").check(force=True)
        assert state(tab) == "100"
        tab.get_by_role("radio", name="unlike").check(force=True)
        tab.get_by_role("button", name="Commit").click()
        tab.locator(".s-gate.is-open").wait_for()
        assert not tab.locator(".s-under").evaluate("e => e.inert") and heard(tab) == []
