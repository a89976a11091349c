"""What a quiz puts on a page, and what it says where it finds no questions."""

import json

import pytest
from bs4 import BeautifulSoup

from xai_course import quizzes


def page(shown) -> BeautifulSoup:
    return BeautifulSoup(shown.html(), "html.parser")


def question(kind="multiple_choice", **more):
    answers = [
        {"answer": "4", "correct": True, "feedback": "Yes: it is."},
        {"answer": "</script>5", "correct": False, "feedback": "One too many."},
    ]
    return {"id": "1.why.1", "type": kind, "question": "Two and two?", "answers": answers, **more}


def numeric(text="A number?", **more):
    answers = [
        {"type": "range", "range": [0.3, 0.4], "correct": True, "feedback": "Right: a third."},
        {"type": "value", "value": -6, "correct": False, "feedback": "The sign."},
        {"type": "default", "feedback": "Divide."},
    ]
    return {"id": "1.wrap.2", "type": "numeric", "question": text, "answers": answers, **more}


@pytest.fixture
def quiz_file(tmp_path):
    questions = [{**question(), "id": f"1.q.{i}", "question": f"Question {i}?"} for i in range(3)]
    path = tmp_path / "quiz.json"
    path.write_text(json.dumps(questions))
    return path


def test_a_quiz_shows_what_was_asked_for_in_that_order(quiz_file):
    html = page(quizzes.quiz(quiz_file, "1.q.2", "1.q.0"))
    assert [form["data-quiz"] for form in html.select("form")] == ["1.q.2", "1.q.0"]
    assert [legend.get_text() for legend in html.select("legend")] == [
        "Question, 1 of 2Question 2?",
        "Question, 2 of 2Question 0?",
    ]


def test_a_quiz_without_names_shows_all(quiz_file):
    assert repr(quizzes.quiz(quiz_file)) == "<quiz: 1.q.0, 1.q.1, 1.q.2>"


def test_an_unknown_question_is_named(quiz_file):
    with pytest.raises(ValueError, match=r"no question 1\.q\.9; it has 1\.q\.0"):
        quizzes.quiz(quiz_file, "1.q.9")


def test_a_notebook_run_in_another_folder_is_told_where_its_questions_belong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"keep quiz\.json beside the notebook") as raised:
        quizzes.quiz("quiz.json", "1.q.0")
    assert f"no quiz.json in {tmp_path}," in str(raised.value)


@pytest.mark.parametrize(
    "identifier, purpose",
    [
        ("2.warm.1", "Warm-up"),
        ("2.hook.1", "Commit before you read on"),
        ("2.predict.3", "Predict"),
        ("2.why.10", "Why?"),
        ("2.wrap.2", "Wrap-up"),
        ("2.other.2", "Question"),
    ],
)
def test_a_question_says_what_it_is_for(identifier, purpose):
    html = page(quizzes.Quiz([{**question(), "id": identifier}]))
    assert html.legend.small.get_text() == purpose


@pytest.mark.parametrize("kind, input_type", [("multiple_choice", "radio"), ("many_choice", "checkbox")])
def test_choices_are_a_named_group_of_labelled_inputs(kind, input_type):
    form = page(quizzes.Quiz([question(kind)])).form
    assert form.fieldset.legend
    inputs = form.select("input")
    assert [i["type"] for i in inputs] == [input_type] * 2
    assert len({i["name"] for i in inputs}) == 1
    assert [form.find("label", attrs={"for": i["id"]}).get_text() for i in inputs] == ["4", "</script>5"]


def test_the_feedback_waits_in_the_page_and_begins_with_the_verdict_once():
    form = page(quizzes.Quiz([question()])).form
    right, wrong = form.select(".s-fb")
    assert right.has_attr("hidden") and wrong.has_attr("hidden")
    assert (right["data-correct"], right.get_text()) == ("true", "✓ Yes: it is.")
    assert (wrong["data-correct"], wrong.get_text()) == ("false", "✗ Not this one. One too many.")


def test_a_number_is_asked_for_in_a_labelled_field_with_every_answer_in_its_place():
    form = page(quizzes.Quiz([numeric(precision=3)])).form
    assert form.find("label", attrs={"for": form.input["id"]}).get_text() == "Your answer, a number"
    assert form["data-precision"] == "3"
    fits = [json.loads(feedback["data-fits"]) for feedback in form.select(".s-fb")]
    assert fits == [{"range": [0.3, 0.4]}, {"value": -6}, {"default": True}]


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("What is its accuracy, in %?", True),
        ("How many per cent of the heat?", True),
        ("The map covers 30 % of the picture. What is the IoU?", False),
        ("What is the IoU?", False),
    ],
)
def test_a_per_cent_sign_means_what_the_question_asks_for(text, wanted):
    assert quizzes.asks_for_per_cent(text) is wanted
    assert page(quizzes.Quiz([numeric(text)])).form["data-percent"] == str(wanted).lower()


def test_questions_and_answers_show_code_as_it_is_written():
    asked = question(code="for i in x:\n    print(i < 2)")
    asked["answers"][0]["code"] = "a < b"
    form = page(quizzes.Quiz([asked])).form
    assert [code.get_text() for code in form.select("code.s-quiz-code")] == [asked["code"], "a < b"]


def test_text_may_hold_a_few_elements_and_any_less_than_sign():
    asked = question(question="Is <em>a</em> <code>x<y</code>, or \\(x<y\\)? <img src=x onerror=y>")
    legend = page(quizzes.Quiz([asked])).legend
    assert legend.get_text() == "Why?Is a x<y, or \\(x<y\\)? <img src=x onerror=y>"
    assert [e.name for e in legend.select("em, code, img")] == ["em", "code"]


def test_without_scripts_the_answer_to_a_number_can_be_opened():
    form = page(quizzes.Quiz([numeric()])).form
    assert "a third" in form.noscript.details.get_text()


def test_another_text_is_another_question():
    versions = {
        page(quizzes.Quiz([asked])).form["data-version"]
        for asked in (question(), question(question="Two and three?"), question("many_choice"))
    }
    assert len(versions) == 3


def test_a_quiz_brings_style_and_script_for_where_no_book_is_around_it():
    html = page(quizzes.Quiz([question()]))
    assert html.style["data-xai-course"] == "tokens controls quiz"
    assert html.script["data-xai-course"] == "core quiz"
    assert not html.find_all(src=True) and not html.find_all("link")
