"""Every exercise of every chapter: the stub waits, the solution passes, the usual mistakes are told apart.

A new chapter adds ``wrong_chNN.py`` with a dict ``WRONG``: for each exercise, the wrong answers people give.
Where there are several ways to be right it adds ``ALSO_RIGHT``: for an exercise, answers that must pass too.
Where mistakes are written as answers (``xai_course/checks/chNN_mistakes.py``), each of them is handed in.
"""

import json
import re
from functools import cache

import exercise_pages as pages
import planted
import pytest

from xai_course.checks import Result, available, check
from xai_course.classroom import page, tags, without_solutions

EXERCISES = [
    pytest.param(path, identifier, id=identifier)
    for path in pages.PAGES
    for identifier in page(path).exercises
]
PAGES = [pytest.param(path, id=path.parent.name) for path in pages.PAGES]


CHAPTERS = [page(path).chapter for path in pages.PAGES]
WRONG = [
    pytest.param(one, id=f"{one.identifier}-{one.name}")
    for chapter in CHAPTERS
    for one in planted.named(chapter)
]
RECOGNISED = [
    pytest.param(one, id=f"{one.identifier}-{one.name}")
    for chapter in CHAPTERS
    for one in planted.recognised(chapter)
]
RIGHT = [
    pytest.param(identifier, answers, id=f"{identifier}-{number}")
    for path in pages.PAGES
    for identifier, several in planted.also_right(page(path).chapter).items()
    for number, answers in enumerate(several, 1)
]


@pytest.mark.parametrize("path", PAGES)
def test_every_exercise_has_a_check_and_every_check_an_exercise(path):
    found = page(path)
    checks = [name for name in available() if int(name.split(".")[0]) == found.chapter]
    assert list(found.exercises) == checks
    assert sorted(planted.wrong(found.chapter)) == sorted(checks)


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


_VERDICTS: dict[tuple[str, str], Result] = {}


def verdict(one):
    """What the check says of a planted answer: two tests ask, and some checks train networks to tell."""
    asked = one.identifier, one.name
    if asked not in _VERDICTS:
        _VERDICTS[asked] = check(one.identifier, *one.answers)
    return _VERDICTS[asked]


@pytest.mark.parametrize("identifier", [p.values[1] for p in EXERCISES])
def test_at_least_two_wrong_answers_are_planted_and_each_is_told_something_else(identifier):
    several = [p.values[0] for p in WRONG if p.values[0].identifier == identifier]
    messages = [verdict(one).message for one in several]
    assert len(messages) >= 2
    assert len(set(messages)) == len(messages), messages


@pytest.mark.parametrize("handed_in", WRONG)
def test_a_wrong_answer_is_told_what_is_wrong_and_where_to_look(handed_in):
    result = verdict(handed_in)
    assert result.status == "wrong", result
    assert handed_in.planted.keyword.lower() in result.message.lower(), result
    assert result.look
    stands_in_the_book(handed_in, result)


@pytest.mark.parametrize("handed_in", RECOGNISED)
def test_a_mistake_that_a_check_knows_gets_its_own_message(handed_in):
    mistake, result = handed_in.planted, check(handed_in.identifier, *handed_in.answers)
    assert result.status == "wrong", result
    assert result.message.startswith(mistake.message) and result.look == mistake.look, result
    stands_in_the_book(handed_in, result)


@cache
def told_in_the_book(chapter):
    """Exercise and planted answer → the words that the pages for teachers print."""
    stored = pages.ROOT / f"book/data/mistakes/ch{chapter:02d}.json"
    exercises = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else {}
    return {
        (identifier, name): [mistake["message"], mistake["look"]]
        for identifier, exercise in exercises.items()
        for mistake in exercise["mistakes"]
        for name in mistake["planted"]
    }


def without_numbers(words):
    """What was measured may differ in a last digit from machine to machine."""
    return [re.sub(r"[-−]?\d+(\.\d+)?(e[-+]?\d+)?", "#", text) for text in words]


def stands_in_the_book(handed_in, result):
    printed = told_in_the_book(int(handed_in.identifier.split(".")[0]))
    words = printed.get((handed_in.identifier, handed_in.name), [])
    said = without_numbers(planted.told(result).values())
    assert without_numbers(words) == said, "stale: run `python tools/mistakes.py`"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_book_prints_no_mistake_that_is_not_planted_any_more(chapter):
    names = [(one.identifier, one.name) for one in planted.handed_in(chapter)]
    assert sorted(told_in_the_book(chapter)) == sorted(names), "stale: run `python tools/mistakes.py`"


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
