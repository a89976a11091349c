"""What an explorer and a quiz put on a page."""

import base64
import io
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from xai_course import widgets
from xai_lib import viz

IMAGES = [np.full((16, 16, 3), level) for level in (0.1, 0.5, 0.9)]
LABELS = ["0.1", "0.5", "0.9"]
CAPTIONS = ["Dark.", "Grey.", "Light."]


def explorer(**changes):
    given = {"figures": IMAGES, "labels": LABELS, "captions": CAPTIONS, "title": "Light", "alt": "A square."}
    return widgets.frames(**{**given, **changes})


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
    shown = widgets.frames(figures, list("abcdef"), list("ABCDEF"), title="Noise", alt="Grey noise.")
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


@pytest.fixture
def quiz_file(tmp_path):
    answers = [
        {"answer": "4", "correct": True, "feedback": "Yes."},
        {"answer": "</script>5", "correct": False, "feedback": "No."},
    ]
    questions = [
        {"id": f"1.q.{i}", "type": "multiple_choice", "question": f"Question {i}?", "answers": answers}
        for i in range(3)
    ]
    path = tmp_path / "quiz.json"
    path.write_text(json.dumps(questions))
    return path


def test_a_quiz_shows_what_was_asked_for_in_that_order(quiz_file):
    html = page(widgets.quiz(quiz_file, "1.q.2", "1.q.0"))
    assert html.div["data-questions"] == "1.q.2 1.q.0"
    assert [li.contents[0] for li in html.noscript.select("ol > li")] == ["Question 2?", "Question 0?"]
    assert len(html.find_all("script")) == 1


def test_a_quiz_without_names_shows_all(quiz_file):
    assert repr(widgets.quiz(quiz_file)) == "<quiz: 1.q.0, 1.q.1, 1.q.2>"


def test_an_unknown_question_is_named(quiz_file):
    with pytest.raises(ValueError, match=r"no question 1\.q\.9; it has 1\.q\.0"):
        widgets.quiz(quiz_file, "1.q.9")


def test_a_quiz_hides_the_pages_mathjax_from_jupyterquiz(quiz_file):
    """jupyterquiz would load MathJax from another host while the page's own is still starting."""
    script = page(widgets.quiz(quiz_file)).script.string
    assert "MathJax = undefined" in script
    assert script.index("MathJax = undefined") < script.index("function show_questions")


def test_without_a_kernel_there_is_no_widget():
    assert set(explorer()._repr_mimebundle_()) == {"text/plain", "text/html"}


def test_under_a_kernel_there_are_both(monkeypatch):
    monkeypatch.setattr(widgets, "_has_kernel", lambda: True)
    assert set(explorer()._repr_mimebundle_()) == {"text/plain", "text/html", widgets.WIDGET_MIME}


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

    live = widgets.interact(draw, level=(0, 10, 1))
    assert "level" in page(live).text
    slider, result = live.widget().children
    slider.value = 7
    text, picture = result.children
    assert "level 7" in text.value and picture.format in ("webp", "png")
    assert plt.get_fignums() == []


def test_live_controls_show_an_error_where_the_reader_looks():
    live = widgets.interact(lambda level: 1 / level, level=(0, 2, 1))
    slider, result = live.widget().children
    slider.value = 0
    assert "ZeroDivisionError" in result.children[0].value
