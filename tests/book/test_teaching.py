"""The pages for teachers: what they list from data, and what each must have."""

import importlib.util
from pathlib import Path

import pytest

from xai_course.classroom import page

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def teaching():
    spec = importlib.util.spec_from_file_location("teaching", ROOT / "book/_ext/teaching.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_message_is_set_as_the_student_s_card_sets_it(teaching):
    said = "You *mean* `a * b < c` in 2 * 3 * 4, not <b>."
    assert teaching.marked_up(said) == (
        "You <em>mean</em> <code>a * b &lt; c</code> in 2 * 3 * 4, not &lt;b&gt;."
    )


def test_an_answer_s_name_stands_before_the_message_and_a_mere_number_does_not(teaching):
    named = {"planted": ["argmax", "1.3"], "message": "the first one decides.", "look": "At `max`."}
    assert teaching.listed(named) == (
        "<li><strong>argmax</strong> The first one decides. <span>At <code>max</code>.</span></li>"
    )
    assert "<strong>" not in teaching.listed({**named, "planted": ["1.3"]})


@pytest.mark.parametrize(("count", "opened"), [(4, True), (5, False)])
def test_only_a_long_list_is_folded(teaching, count, opened):
    mistakes = [{"planted": ["1.1"], "message": f"message {i}", "look": ""} for i in range(count)]
    made = teaching.exercise_list("2.1", {"title": "The simple gradient", "mistakes": mistakes})
    assert ("open>" in made) == opened and made.count("<li>") == count


def test_every_chapter_with_exercises_has_its_list(teaching):
    for path in ROOT.glob("chapters/*/exercises.md"):
        found = page(path)
        assert list(teaching.stored(ROOT, found.chapter)) == list(found.exercises)
