"""The figure, the table and the chart in front of a reader: enlarged, faded, in the dark, on a phone."""

from __future__ import annotations

import pytest
import torch

from tests.browser.conftest import opened, write_page
from tests.browser.faults import faults
from xai_course import figures

PHOTO = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0))
HEAT = torch.linspace(0, 1, 12 * 16).reshape(12, 16)


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory):
    """A page of its own with one of each: what an output is outside the book."""
    axes = figures.chart(xlabel="samples", ylabel="error")
    axes.plot([1, 2, 4], [1.0, 0.5, 0.25], label="measured")
    axes.plot([1, 2, 4], [2.0, 1.0, 0.5], label="other")
    texts = {"caption": "What is *seen*.", "alt": "A noisy picture and what lies over it."}
    panels = [
        figures.panel(PHOTO, name="picture", note="a number: 0.12", boxes=[(8, 8, 32, 32)]),
        figures.panel(PHOTO, HEAT, name="with heat"),
        figures.panel(heat=HEAT - 0.5, name="signed map", numbers={"7": (4, 4)}),
        figures.panel(PHOTO, name="picture again"),
    ]
    rows = [["A", 0.125, "a text that wraps where the page is narrow", 3], ["B", -1.5, "another", 4]]
    shown = [
        figures.figure("1.1", panels, look="the corner.", bar=("share", "logits"), **texts),
        figures.figure("1.2", [figures.panel(axes, name="Error falls")], **texts),
        figures.table("1.1", rows, ["network", "loses", "how", "times"], caption="What is lost.", mark=[1]),
    ]
    folder = tmp_path_factory.mktemp("figures")
    write_page(folder, "demonstration", "".join(each.html() for each in shown))
    return folder


@pytest.fixture
def look(chromium, demonstration):
    def look(**options):
        return opened(chromium, demonstration.as_uri(), "demonstration.html", **options)

    return look


def test_it_is_whole_and_accessible_wide_and_narrow_light_and_dark(look):
    with look() as tab:
        assert faults(tab) == []


def test_a_panel_enlarges_by_click_and_by_key_and_gives_the_focus_back(look):
    with look() as tab:
        first = tab.locator("button.s-shot").first
        small = first.bounding_box()["width"]
        first.focus()
        tab.keyboard.press("Enter")
        stage = tab.locator("dialog .s-stage")
        assert stage.bounding_box()["width"] > 1.5 * small
        assert tab.locator("dialog p").inner_text() == "picture (1 of 4)"
        assert tab.locator("dialog .s-over rect.box").count() == 1
        tab.keyboard.press("ArrowRight")
        assert tab.locator("dialog p").inner_text() == "with heat (2 of 4)"
        tab.keyboard.press("ArrowLeft")
        tab.keyboard.press("ArrowLeft")
        assert tab.locator("dialog p").inner_text() == "picture again (4 of 4)"
        tab.keyboard.press("Escape")
        assert tab.locator("dialog[open]").count() == 0
        # the dialog says that it has closed a moment after it has
        tab.wait_for_function("document.activeElement.dataset.name === 'picture again'")


def test_the_heat_over_a_picture_can_be_faded_and_only_it(look):
    with look() as tab:
        heats = "[...document.querySelectorAll('.s-shot .heat')].map(e => +getComputedStyle(e).opacity)"
        others = (
            "[...document.querySelectorAll('.s-shot img:not(.heat)')].map(e => +getComputedStyle(e).opacity)"
        )
        assert tab.evaluate(heats) == [1]
        slider = tab.get_by_label("Heat over picture")
        slider.focus()
        tab.keyboard.press("Home")
        assert tab.evaluate(heats) == [0] and set(tab.evaluate(others)) == {1}
        assert slider.get_attribute("aria-valuetext") == "0 %"


def test_without_scripts_everything_is_there_and_nothing_pretends_to_move(look):
    with look(scripts=False) as tab:
        assert tab.locator("button.s-shot").count() == 4
        assert not tab.get_by_label("Heat over picture").is_visible()


@pytest.mark.parametrize(("size", "across"), [("desktop", 4), ("phone", 2)])
def test_four_panels_stand_in_a_row_on_a_desktop_and_two_on_a_phone(look, size, across):
    with look(size=size) as tab:
        tops = [shot.bounding_box()["y"] for shot in tab.locator("button.s-shot").all()]
        assert tops.count(tops[0]) == across


def test_a_chart_follows_the_theme(look):
    ink = "getComputedStyle(document.querySelector('.s-chart text')).fill"
    with look() as tab:
        light = tab.evaluate(ink)
    with look(theme="dark") as tab:
        assert tab.evaluate(ink) != light


def test_a_table_names_its_columns_in_every_cell_on_a_phone(look):
    with look(size="phone") as tab:
        cell = tab.locator("td.is-number").first
        label = "getComputedStyle(document.querySelector('td.is-number'), '::before').content"
        assert tab.evaluate(label) == '"loses"' and cell.inner_text() == "0.12"
        width = tab.evaluate("document.documentElement.clientWidth")
        assert all(box.bounding_box()["width"] <= width for box in tab.locator("td").all())
