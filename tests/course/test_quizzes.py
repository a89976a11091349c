"""What a quiz puts on a page, and what it says where it finds no questions."""

import json

import pytest
from bs4 import BeautifulSoup

from xai_course import quizzes


def page(shown) -> BeautifulSoup:
    return BeautifulSoup(shown.html(), "html.parser")


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
    html = page(quizzes.quiz(quiz_file, "1.q.2", "1.q.0"))
    assert html.div["data-questions"] == "1.q.2 1.q.0"
    assert [li.contents[0] for li in html.noscript.select("ol > li")] == ["Question 2?", "Question 0?"]
    assert len(html.find_all("script")) == 1


def test_a_quiz_without_names_shows_all(quiz_file):
    assert repr(quizzes.quiz(quiz_file)) == "<quiz: 1.q.0, 1.q.1, 1.q.2>"


def test_an_unknown_question_is_named(quiz_file):
    with pytest.raises(ValueError, match=r"no question 1\.q\.9; it has 1\.q\.0"):
        quizzes.quiz(quiz_file, "1.q.9")


def test_a_quiz_hides_the_pages_mathjax_from_jupyterquiz(quiz_file):
    """jupyterquiz would load MathJax from another host while the page's own is still starting."""
    script = page(quizzes.quiz(quiz_file)).script.string
    assert "MathJax = undefined" in script
    assert script.index("MathJax = undefined") < script.index("function show_questions")


def test_a_notebook_run_in_another_folder_is_told_where_its_questions_belong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"keep quiz\.json beside the notebook") as raised:
        quizzes.quiz("quiz.json", "1.q.0")
    assert f"no quiz.json in {tmp_path}," in str(raised.value)


def test_the_questions_are_the_last_thing_put_into_the_script(quiz_file):
    """A question may hold any text, also the words that stand for other parts of the script."""
    text = quiz_file.read_text().replace("Question 1?", "What is __ENGINE__ or __DATA__?")
    quiz_file.write_text(text)
    script = page(quizzes.quiz(quiz_file, "1.q.1")).script.string
    assert script.count("What is __ENGINE__ or __DATA__?") == 1
    assert script.count("function show_questions") == 1
