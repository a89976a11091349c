"""Every exercise of every chapter: the stub waits, the solution passes, the usual mistakes are told apart.

A new chapter adds ``wrong_chNN.py`` with a dict ``WRONG``: for each exercise, the wrong answers people give.
Where there are several ways to be right it adds ``ALSO_RIGHT``: for an exercise, answers that must pass too.
Where mistakes are written as answers (``xai_course/checks/chNN_mistakes.py``), each of them is handed in.
"""

import importlib
import re

import exercise_pages as pages
import pytest

from xai_course.checks import (
    available,
    ch04_mistakes,
    ch05_mistakes,
    ch06_mistakes,
    ch07_mistakes,
    ch08_mistakes,
    check,
)
from xai_course.classroom import page, tags, without_solutions

EXERCISES = [
    pytest.param(path, identifier, id=identifier)
    for path in pages.PAGES
    for identifier in page(path).exercises
]
PAGES = [pytest.param(path, id=path.parent.name) for path in pages.PAGES]


def planted(chapter: int) -> dict:
    return importlib.import_module(f"wrong_ch{chapter:02d}").WRONG


def also_right(chapter: int) -> dict:
    return getattr(importlib.import_module(f"wrong_ch{chapter:02d}"), "ALSO_RIGHT", {})


WRONG = [
    pytest.param(identifier, wrong, id=f"{identifier}-{wrong.name}")
    for path in pages.PAGES
    for identifier, several in planted(page(path).chapter).items()
    for wrong in several
]
RECOGNISED = [
    pytest.param(identifier, place, mistake, id=f"{identifier}-{place + 1}.{number}")
    for chapter in (ch04_mistakes, ch05_mistakes, ch06_mistakes, ch07_mistakes, ch08_mistakes)
    for identifier, functions in chapter.MISTAKES.items()
    for place, several in enumerate(functions)
    for number, mistake in enumerate(several, 1)
]
RIGHT = [
    pytest.param(identifier, answers, id=f"{identifier}-{number}")
    for path in pages.PAGES
    for identifier, several in also_right(page(path).chapter).items()
    for number, answers in enumerate(several, 1)
]


@pytest.mark.parametrize("path", PAGES)
def test_every_exercise_has_a_check_and_every_check_an_exercise(path):
    found = page(path)
    checks = [name for name in available() if int(name.split(".")[0]) == found.chapter]
    assert list(found.exercises) == checks
    assert sorted(planted(found.chapter)) == sorted(checks)


@pytest.mark.parametrize(("path", "identifier"), EXERCISES)
def test_the_stub_runs_and_counts_as_not_attempted(path, identifier):
    stubs, _ = pages.results(path)
    assert "..." in page(path).exercises[identifier].stub
    assert stubs[identifier].status == "not attempted", stubs[identifier]


@pytest.mark.parametrize(("path", "identifier"), EXERCISES)
def test_the_solution_passes(path, identifier):
    _, solved = pages.results(path)
    assert solved[identifier].status == "passed", solved[identifier]
    assert solved[identifier].exercise == identifier


@pytest.mark.parametrize(("path", "identifier"), EXERCISES)
def test_the_solution_leaves_the_readers_names_alone(path, identifier):
    exercise = page(path).exercises[identifier]
    given = set(re.findall(r"^(?:def|class) (\w+)|^(\w+) =", exercise.stub, flags=re.MULTILINE))
    solution = set(re.findall(r"^(?:def|class) (\w+)|^(\w+) =", exercise.solution, flags=re.MULTILINE))
    assert given and solution and not given & solution


@pytest.mark.parametrize(("path", "identifier"), EXERCISES)
def test_the_page_gives_dots_minutes_and_three_hints(path, identifier):
    text = page(path).exercises[identifier].text
    assert re.search(r"(●○○|●●○|●●●) · \d+ minutes", text)
    assert re.findall(r"^:::\{dropdown\} Hint (\d)\n(?:.+\n|\n)+?:::$", text, flags=re.M) == ["1", "2", "3"]


@pytest.mark.parametrize("identifier", [p.values[1] for p in EXERCISES])
def test_at_least_two_wrong_answers_are_planted_and_each_is_told_something_else(identifier):
    several = planted(int(identifier.split(".")[0]))[identifier]
    messages = [check(identifier, *wrong.answers).message for wrong in several]
    assert len(messages) >= 2
    assert len(set(messages)) == len(messages), messages


@pytest.mark.parametrize(("identifier", "wrong"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong_and_where_to_look(identifier, wrong):
    result = check(identifier, *wrong.answers)
    assert result.status == "wrong", result
    assert wrong.keyword.lower() in result.message.lower(), result
    assert result.look


@pytest.mark.parametrize(("identifier", "place", "mistake"), RECOGNISED)
def test_a_mistake_that_a_check_knows_gets_its_own_message(identifier, place, mistake):
    answers = list(also_right(int(identifier.split(".")[0]))[identifier][0])
    answers[place] = mistake.answer
    result = check(identifier, *answers)
    assert result.status == "wrong", result
    assert result.message.startswith(mistake.message) and result.look == mistake.look, result


@pytest.mark.parametrize(("identifier", "answers"), RIGHT)
def test_a_right_answer_passes_however_it_is_written(identifier, answers):
    result = check(identifier, *answers)
    assert result.status == "passed", result


@pytest.mark.parametrize("path", PAGES)
def test_the_edition_without_solutions_runs_and_gives_nothing_away(path):
    handed_out = without_solutions(page(path).notebook)
    assert not any("solution" in tags(cell) for cell in handed_out.cells)
    text = "\n".join(cell.source for cell in handed_out.cells)
    stated = {line.strip() for line in text.splitlines()}
    for exercise in page(path).exercises.values():
        names = re.findall(r"^(?:def|class) (\w+)|^(\w+) =", exercise.solution, flags=re.MULTILINE)
        assert not [name for pair in names for name in pair if name and re.search(rf"\b{name}\b", text)]
        lines = [line.strip() for line in exercise.solution.splitlines() if len(line.strip()) > 30]
        assert not stated.intersection(lines)

    names = {"__name__": "__main__"}
    for cell in handed_out.cells:
        if cell.cell_type == "code":
            value = pages.run(cell.source, names)
            if "check" in tags(cell):
                assert value.status == "not attempted"
