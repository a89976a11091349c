"""Chapter 1's quiz and exercises place methods on the four axes: they agree with the table."""

import json
from pathlib import Path

import pytest
import yaml

from xai_course.checks import ch01

ROOT = Path(__file__).resolve().parents[2]
COURSE = yaml.safe_load((ROOT / "book/data/methods.yml").read_text(encoding="utf-8"))
METHODS = {method["id"]: method for method in COURSE["methods"]}
AXES = {axis["id"]: set(axis["values"]) for axis in COURSE["axes"]}
QUIZ = {
    question["id"]: question
    for question in json.loads((ROOT / "chapters/01_why_explain/quiz.json").read_text(encoding="utf-8"))
}

# question: axis, the end that it asks for, and the method that each answer is about
PLACING = {
    "1.wrap.5": (
        "access",
        "black-box",
        {
            "RISE": "rise",
            "Grad-CAM": "grad_cam",
            "LIME": "lime",
            "Score-CAM": "score_cam",
            "Occlusion": "occlusion",
            "Influence functions": "influence_functions",
        },
    ),
    "1.wrap.6": (
        "scope",
        "global",
        {
            "A decision tree, printed as rules": "decision_tree",
            "SmoothGrad": "smooth_grad",
            "CAM": "cam",
            "KernelSHAP": "kernel_shap",
        },
    ),
    "1.wrap.7": (
        "stage",
        "post-hoc",
        {
            "Integrated gradients": "integrated_gradients",
            "The weights of a linear model": "linear_model",
            "LIME": "lime",
            "A decision tree": "decision_tree",
            "Influence functions": "influence_functions",
        },
    ),
    "1.wrap.8": (
        "reach",
        "model-specific",
        {
            "It needs a score whose derivative means something: wide, and specific.": "gradient_x_input",
        },
    ),
}


def test_some_questions_are_about_each_axis():
    assert {axis for axis, _, _ in PLACING.values()} == set(AXES)


@pytest.mark.parametrize("identifier", PLACING)
def test_answers_agree_with_the_table(identifier):
    axis, end, methods = PLACING[identifier]
    assert end in AXES[axis]
    answers = {answer["answer"]: answer["correct"] for answer in QUIZ[identifier]["answers"]}
    assert {name: answers[name] for name in methods} == {
        name: METHODS[method][axis] == end for name, method in methods.items()
    }


@pytest.mark.parametrize("identifier", PLACING)
def test_every_right_answer_is_about_a_known_method(identifier):
    right = {answer["answer"] for answer in QUIZ[identifier]["answers"] if answer["correct"]}
    assert right <= set(PLACING[identifier][2])


def test_exercise_uses_the_words_of_the_table():
    assert {axis: set(ends) for axis, ends in ch01.AXES.items()} == AXES
    assert all(place in AXES[axis] for places in ch01._PLACES.values() for axis, place in places.items())


def test_every_axis_of_every_description_has_its_evidence():
    for name, sentences in ch01._SENTENCES.items():
        supported = {axis for _, support in sentences for axis in support.split()}
        assert supported == set(AXES), name


def test_the_appendix_draws_its_table_from_the_data():
    appendix = json.loads((ROOT / "chapters/01_why_explain/appendix.ipynb").read_text(encoding="utf-8"))
    text = next(
        "".join(output["data"]["text/plain"])
        for cell in appendix["cells"]
        for output in cell.get("outputs", [])
        if "place on the four axes" in "".join(output.get("data", {}).get("text/plain", ""))
    )
    rows = dict(line.strip().split(" | ") for line in text.splitlines() if " | " in line)
    for method in METHODS.values():
        place = " · ".join(method[axis] for axis in AXES)
        assert f"{method['name']} ({method['chapter']})" in rows[place].split(", ")
