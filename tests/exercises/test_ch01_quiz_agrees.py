"""Chapter 1's quiz and exercises place methods on the four axes: they agree with the table."""

import json
from pathlib import Path

import pytest
import yaml

from xai_lib.checks import ch01

ROOT = Path(__file__).resolve().parents[2]
COURSE = yaml.safe_load((ROOT / "book/data/methods.yml").read_text(encoding="utf-8"))
METHODS = {method["id"]: method for method in COURSE["methods"]}
AXES = {axis["id"]: set(axis["values"]) for axis in COURSE["axes"]}
QUIZ = json.loads((ROOT / "chapters/01_why_explain/quiz.json").read_text(encoding="utf-8"))
PLACING = [question for question in QUIZ if "axis" in question]


def test_some_questions_are_about_the_table():
    assert {question["axis"] for question in PLACING} == set(AXES)


@pytest.mark.parametrize("question", PLACING, ids=lambda question: question["id"])
def test_answers_agree_with_the_table(question):
    axis, value = question["axis"], question["value"]
    assert value in AXES[axis]
    named = [answer for answer in question["answers"] if "method" in answer]
    assert named
    for answer in named:
        assert answer["correct"] == (METHODS[answer["method"]][axis] == value), answer["answer"]


@pytest.mark.parametrize("question", PLACING, ids=lambda question: question["id"])
def test_answers_name_the_method_that_they_are_about(question):
    for answer in question["answers"]:
        if question["type"] == "many_choice" or question["id"] == "1.wrap.6":
            words = METHODS[answer["method"]]["name"].lower().split()
            assert any(word in answer["answer"].lower() for word in words), answer["answer"]


def test_exercise_uses_the_words_of_the_table():
    assert {axis: set(ends) for axis, ends in ch01.AXES.items()} == AXES
    assert all(place in AXES[axis] for places in ch01._PLACES.values() for axis, place in places.items())


def test_every_axis_of_every_description_has_its_evidence():
    for name, sentences in ch01._SENTENCES.items():
        supported = {axis for _, support in sentences for axis in support.split()}
        assert supported == set(AXES), name


def test_the_lesson_draws_its_table_from_the_data():
    lesson = (ROOT / "chapters/01_why_explain/lesson.ipynb").read_text(encoding="utf-8")
    table = next(
        "".join(output["data"]["text/html"])
        for cell in json.loads(lesson)["cells"]
        for output in cell.get("outputs", [])
        if "on the four axes" in "".join(output.get("data", {}).get("text/html", ""))
    )
    for method in METHODS.values():
        places = "".join(f"<td>{method[axis]}</td>" for axis in AXES)
        assert f"<td>{method['name'].replace('&', '&amp;')}</td><td>{method['chapter']}</td>{places}" in table
