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

from xai_course import _page, explorers
from xai_lib import viz

IMAGES = [np.full((16, 16, 3), level) for level in (0.1, 0.5, 0.9)]
LABELS = ["0.1", "0.5", "0.9"]
CAPTIONS = ["Dark.", "Grey.", "Light."]


def explorer(**changes):
    given = {"figures": IMAGES, "labels": LABELS, "captions": CAPTIONS, "title": "Light", "alt": "A square."}
    return explorers.frames(**{**given, **changes})


def page(shown) -> BeautifulSoup:
    return BeautifulSoup(shown.html(), "html.parser")


def frame_data(shown) -> dict:
    script = page(shown).find("script").string
    return json.loads(re.search(r"data = (\{.*\});\n", script)[1])


def test_every_frame_is_on_the_page():
    shown = explorer()
    data = frame_data(shown)
    sources = [page(shown).img["src"], *data["src"][1:]]
    levels = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB")).mean() / 255
        for source in sources
    ]
    assert levels == pytest.approx([0.1, 0.5, 0.9], abs=0.02)
    assert data["caption"] == CAPTIONS


def test_before_any_script_runs_the_first_frame_stands_there():
    html = page(explorer())
    assert html.img["alt"].startswith("A square. 0.1: Dark.")
    assert html.figcaption.text == "Dark."
    assert html.select_one(".xw-controls").has_attr("hidden")
    assert "first of 3" in html.noscript.text


def test_a_grid_has_two_sliders_and_keeps_its_order():
    shown = explorer(
        figures=[IMAGES, IMAGES[::-1]],
        labels=[["a", "b"], LABELS],
        captions=[[f"{row}{label}" for label in LABELS] for row in "ab"],
        names=["row", "column"],
    )
    assert [slider["aria-label"] for slider in page(shown).select("input[type=range]")] == ["row", "column"]
    assert [slider["max"] for slider in page(shown).select("input[type=range]")] == ["1", "2"]
    assert frame_data(shown)["caption"][4] == "b0.5"
    assert shown.alts[4] == "A square. b, 0.5: b0.5"


def test_the_same_explorer_is_the_same_text():
    assert explorer().html() == explorer().html()
    assert explorer().key() != explorer(title="Dark").key()


def test_no_text_can_leave_its_place():
    shown = explorer(title='<b>"Light"</b>', captions=["</script><script>alert(1)</script>", "b", "c"])
    assert len(page(shown).find_all("script")) == 1
    assert page(shown).select_one(".xw-title").text == '<b>"Light"</b>'
    assert page(shown).figcaption.text == "</script><script>alert(1)</script>"


def test_figures_are_closed_and_small():
    plt.close("all")
    rng = np.random.default_rng(0)
    figures = [viz.panels([IMAGES[0], rng.random((64, 64))], colorbar="noise") for _ in range(6)]
    shown = explorers.frames(figures, list("abcdef"), list("ABCDEF"), title="Noise", alt="Grey noise.")
    assert plt.get_fignums() == []
    assert len(shown.html()) < 400_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"figures": [], "labels": [], "captions": []}, "figures is empty"),
        ({"labels": ["a"]}, "labels is"),
        ({"captions": ["a", "b"]}, "captions is"),
        ({"captions": ["a", " ", "c"]}, "must say something"),
        ({"alt": ""}, "must say something"),
        ({"names": ["a", "b"]}, "2 entries for 1 slider"),
        ({"figures": [*IMAGES[:2], np.zeros((16, 32, 3))]}, "one size"),
        ({"figures": [IMAGES, IMAGES[:2]], "labels": [["a", "b"], LABELS]}, "figures is"),
    ],
)
def test_bad_explorers_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        explorer(**changes)


def test_without_a_kernel_there_is_no_widget():
    assert set(explorer()._repr_mimebundle_()) == {"text/plain", "text/html"}


def test_under_a_kernel_there_are_both(monkeypatch):
    monkeypatch.setattr(_page, "has_kernel", lambda: True)
    assert set(explorer()._repr_mimebundle_()) == {"text/plain", "text/html", _page.WIDGET_MIME}


def test_the_kernels_view_moves_with_its_slider():
    shown = explorer()
    view = shown.widget()
    _, image, slider, caption = view.children
    slider.value = 2
    assert image.value == shown.images[2][1]
    assert caption.value == "Light."


def test_live_controls_call_the_function_again_and_show_what_it_prints_and_draws():
    def draw(level):
        print(f"level {level}")
        viz.panels([np.full((8, 8), level)])
        plt.show()

    live = explorers.interact(draw, level=(0, 10, 1))
    assert "level" in page(live).text
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
