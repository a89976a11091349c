"""What an explorer puts on a page, and what it does under a kernel."""

import base64
import io
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from xai_course import _page, explorers, figures
from xai_lib import viz

IMAGES = [np.full((16, 16, 3), level) for level in (0.1, 0.5, 0.9)]
LABELS = ["0.1", "0.5", "0.9"]
CAPTIONS = ["Dark.", "Grey.", "Light."]


def explorer(**changes):
    given = {
        "frames": IMAGES,
        "labels": LABELS,
        "captions": CAPTIONS,
        "caption": "Light.",
        "alt": "A square.",
    }
    return explorers.frames(**{"number": "1.4", **given, **changes})


def page(shown) -> BeautifulSoup:
    return BeautifulSoup(shown.html(), "html.parser")


def data_of(shown) -> dict:
    return json.loads(page(shown).select_one("script.s-data").string)


def level_of(source: str) -> float:
    picture = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB")
    return np.asarray(picture).mean() / 255


def sources_of(shown) -> list[list[str]]:
    """The pictures of every frame, as the script puts them in."""
    data = data_of(shown)
    first = [image["src"] for image in page(shown).select(".s-grid img")]
    known = dict(enumerate(data["src"])) | dict(zip(data["first"], first, strict=True))
    others = [re.findall(r' src="@(\d+)"', html) for html in data["html"][1:]]
    return [first, *[[known[int(i)] for i in places] for places in others]]


def test_every_frame_is_on_the_page():
    shown = explorer()
    levels = [level_of(source) for (source,) in sources_of(shown)]
    assert levels == pytest.approx([0.1, 0.5, 0.9], abs=0.02)
    assert data_of(shown)["caption"] == CAPTIONS


def test_before_any_script_runs_the_first_frame_stands_there():
    html = page(explorer())
    assert level_of(html.select_one(".s-grid img")["src"]) == pytest.approx(0.1, abs=0.02)
    assert html.select_one(".s-said").text == "Dark."
    assert html.select_one(".s-controls").has_attr("hidden")
    assert "Scripts are off" in html.noscript.text


def test_a_grid_has_two_controls_and_keeps_its_order():
    shown = explorer(
        frames=[IMAGES, IMAGES[::-1]],
        labels=[["a", "b"], LABELS],
        captions=[[f"{row}{label}" for label in LABELS] for row in "ab"],
        names=["row", "column"],
    )
    sliders = page(shown).select("input[type=range]")
    assert [slider.find_parent("label").span.text for slider in sliders] == ["row", "column"]
    assert [slider["max"] for slider in sliders] == ["1", "2"]
    assert data_of(shown)["caption"][4] == "b0.5"
    assert level_of(sources_of(shown)[3][0]) == pytest.approx(0.9, abs=0.02)
    assert " b, 0.5\n" in repr(shown)


def test_the_same_explorer_is_the_same_text():
    assert explorer().html() == explorer().html()
    assert explorer().key() != explorer(caption="Dark.").key()


def test_a_picture_that_stands_in_every_frame_is_kept_once():
    heat = [np.eye(8) * level for level in (0.2, 1.0)]
    photo = np.random.default_rng(0).random((128, 128, 3))
    given = [[figures.panel(photo, name="photo"), figures.panel(photo, h, name="map")] for h in heat]
    shown = explorer(frames=given, labels=["a", "b"], captions=["A.", "B."], bar="share")
    photos = [frame[:2] for frame in sources_of(shown)]
    assert photos[0] == photos[1] and shown.html().count(photos[0][0]) == 2  # twice in the first frame itself
    assert sources_of(shown)[0][2] != sources_of(shown)[1][2], "one scale: the fainter map is fainter"


def test_no_text_can_leave_its_place():
    shown = explorer(caption='<b>"Light"</b>', captions=["</script><script>alert(1)</script>", "b", "c"])
    assert len(page(shown).find_all("script")) == 2  # its data, and its code
    assert '<b>"Light"</b>' in page(shown).figcaption.text
    assert page(shown).select_one(".s-said").text == "</script><script>alert(1)</script>"
    assert data_of(shown)["caption"][0] == "</script><script>alert(1)</script>"


def test_drawings_are_closed_and_small():
    plt.close("all")
    rng = np.random.default_rng(0)
    drawings = [viz.panels([IMAGES[0], rng.random((64, 64))], colorbar="noise") for _ in range(6)]
    shown = explorer(frames=drawings, labels=list("abcdef"), captions=list("ABCDEF"))
    assert plt.get_fignums() == []
    assert len(shown.html()) < 400_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": [], "labels": [], "captions": []}, "frames is empty"),
        ({"labels": ["a"]}, "labels is"),
        ({"captions": ["a", "b"]}, "captions is"),
        ({"captions": ["a", " ", "c"]}, "must say something"),
        ({"alt": ""}, "must say something"),
        ({"names": ["a", "b"]}, "2 entries for 1 control"),
        ({"controls": "dial"}, "'slider' or 'buttons'"),
        ({"number": "3"}, "number must be"),
        ({"frames": [*IMAGES[:2], np.zeros((16, 32, 3))]}, "same sizes"),
        ({"frames": [IMAGES, IMAGES[:2]], "labels": [["a", "b"], LABELS]}, "frames is"),
    ],
)
def test_bad_explorers_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        explorer(**changes)


def test_a_category_has_buttons_and_a_quantity_a_slider():
    grid = {
        "frames": [IMAGES, IMAGES],
        "labels": [["cat", "cup"], LABELS],
        "captions": [CAPTIONS, CAPTIONS],
        "names": ["Class", "Light"],
        "controls": ["buttons", "slider"],
    }
    html = page(explorer(**grid))
    (buttons,) = html.select("[role=radiogroup]")
    assert [label.text for label in buttons.select("label")] == ["cat", "cup"]
    assert buttons.find("input", checked=True)["value"] == "0"
    assert html.find(id=buttons["aria-labelledby"]).text == "Class"
    assert len(html.select("input[type=range]")) == 1


def test_a_frame_has_titles_and_a_labelled_bar_in_the_pages_own_type():
    frames = [[figures.panel(IMAGES[0], name="picture"), figures.panel(None, np.eye(4), name="map")]] * 3
    html = page(explorer(frames=frames, bar="share", look="the map."))
    assert [name.text for name in html.select(".s-name")] == ["picture", "map"]
    assert html.select_one(".s-bar").text == "share01.0"
    assert html.figure["id"] == "figure-1-4" and html.select_one(".no").text == "Figure 1.4"
    assert html.select_one(".s-look").text == "Look for the map."


def test_with_or_without_a_kernel_the_same_html_is_shown(monkeypatch):
    without = explorer()._repr_mimebundle_()
    monkeypatch.setattr(_page, "has_kernel", lambda: True)
    assert explorer()._repr_mimebundle_() == without and set(without) == {"text/plain", "text/html"}


def test_live_controls_call_the_function_again_and_show_what_it_prints_and_draws():
    def draw(level):
        print(f"level {level}")
        viz.panels([np.full((8, 8), level)])
        plt.show()

    live = explorers.interact(draw, level=(0, 10, 1))
    assert "level" in page(live).text and not page(live).select("div, style")  # a line, and no box
    slider, result = live.widget().children
    slider.value = 7
    text, picture = result.children
    assert "level 7" in text.value and picture.format in ("webp", "png")
    assert plt.get_fignums() == []


def test_live_controls_show_an_error_where_the_reader_looks():
    live = explorers.interact(lambda level: 1 / level, level=(0, 2, 1))
    slider, result = live.widget().children
    slider.value = 0
    assert "ZeroDivisionError" in result.children[0].value
