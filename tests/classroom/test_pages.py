"""A page of exercises is read, and an edition without solutions is made of it."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from xai_course import classroom

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("chapters/*/exercises.md"))
SOLUTION = """def twice_solution(numbers):
    return [number + number for number in numbers]


check("2.1", twice_solution)"""


def text(source, *tags):
    return new_markdown_cell(source, metadata={"tags": list(tags)} if tags else {})


def code(source, *tags, **metadata):
    return new_code_cell(source, metadata={"tags": list(tags), **metadata})


def notebook(*more):
    """A page with one exercise, and what a test adds after the solution."""
    return new_notebook(
        cells=[
            text("# Exercises"),
            text("## 2.1 Twice\n\nTwo numbers for one."),
            code("def twice(numbers):\n    return ...", "exercise"),
            code('check("2.1", twice)', "check"),
            text(":::{dropdown} Hint 1\nAdd.\n:::"),
            code(SOLUTION, "solution", "hide-cell", mystnb={"code_prompt_show": "Show the solution"}),
            *more,
        ]
    )


def reasons(*more):
    return [leak.why for leak in classroom.leaks(notebook(*more))]


def saved(tmp_path, page, name="exercises.ipynb"):
    path = tmp_path / "02_twice" / name
    path.parent.mkdir(exist_ok=True)
    nbformat.write(page, path)
    return path


# ---- reading -----------------------------------------------------------------------------------------------
def test_a_page_is_sorted_to_its_exercises(tmp_path):
    after = text("Two numbers are added.", "solution")
    page = classroom.page(saved(tmp_path, notebook(after, text("## Where to read on\n\nElsewhere."))))
    assert page.chapter == 2 and list(page.exercises) == ["2.1"]
    exercise = page.exercises["2.1"]
    assert exercise.stub == "def twice(numbers):\n    return ...\n"
    assert exercise.check == 'check("2.1", twice)\n'
    assert exercise.solution == SOLUTION + "\n"
    assert "Two numbers for one." in exercise.text and "Hint 1" in exercise.text
    assert "are added" not in exercise.text and "Elsewhere" not in exercise.text


def test_a_source_and_its_notebook_hold_the_same_exercises():
    source, made = (classroom.page(PAGES[1].with_suffix(suffix)) for suffix in (".md", ".ipynb"))
    assert source.exercises == made.exercises and len(source.exercises) > 3


def test_what_cannot_be_read_says_why(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no page of exercises at .*exercises\.md"):
        classroom.read(tmp_path / "exercises.md")
    with pytest.raises(FileNotFoundError, match=r"name an exercises\.ipynb"):
        classroom.read(tmp_path)
    (tmp_path / "answers.py").write_text("twice = 2")
    with pytest.raises(ValueError, match=r"answers\.py is no notebook"):
        classroom.read(tmp_path / "answers.py")
    (tmp_path / "torn.ipynb").write_text('{"cells": [')
    with pytest.raises(ValueError, match=r"torn\.ipynb is no notebook that can be read"):
        classroom.read(tmp_path / "torn.ipynb")
    (tmp_path / "other.ipynb").write_text('{"name": "a JSON file, but no notebook"}')
    with pytest.raises(ValueError, match=r"other\.ipynb is no notebook that can be read"):
        classroom.read(tmp_path / "other.ipynb")


def test_a_page_without_exercises_is_named():
    with pytest.raises(ValueError, match=r"no exercises found in .*lesson\.md"):
        classroom.read(ROOT / "chapters/02_gradients/lesson.md")


def test_a_page_whose_tags_are_gone_is_not_handed_out(tmp_path):
    stripped = notebook()
    for cell in stripped.cells:
        cell.metadata.pop("tags", None)
    with pytest.raises(ValueError, match="no cell is tagged `solution`"):
        classroom.read(saved(tmp_path, stripped))


# ---- the edition -------------------------------------------------------------------------------------------
def test_code_and_text_tagged_as_solution_stay_out_and_the_page_itself_keeps_them():
    page = notebook(text("Why it works.", "solution"), text("## Where to read on"))
    edition = classroom.without_solutions(page)
    assert [cell.source for cell in edition.cells] == [
        cell.source for cell in (*page.cells[:5], page.cells[7])
    ]
    assert len(page.cells) == 8
    edition.cells[0].source = "changed"
    assert page.cells[0].source == "# Exercises"
    nbformat.validate(edition)


# ---- what would give a solution away -----------------------------------------------------------------------
def test_a_tidy_page_gives_nothing_away():
    assert reasons() == []
    assert reasons(text("Two numbers are added.", "solution"), text("## 2.2 Thrice\n\nNow three.")) == []
    assert reasons(code("print(twice([1]))", "your-turn")) == []


def test_text_between_a_solution_and_the_next_heading_belongs_to_the_solution():
    more = text("**Afterwards.** You added.\n\n## 2.2 Thrice\n\nNow three.")
    (leak,) = classroom.leaks(notebook(more))
    assert (leak.cell, leak.line) == (6, "**Afterwards.** You added.")
    assert leak.why == "stands after a solution, and before the next heading"
    dropdown = text(":::{dropdown} What the figure says\nA line.\n:::\n\n## 2.2 Thrice")
    assert len(reasons(dropdown)) == 3


@pytest.mark.parametrize(
    "source",
    [
        ":::{dropdown} Solution of 2.2\nThree numbers.\n:::",
        "````{admonition} How it goes\n:class: solution, dropdown\nThree numbers.\n````",
        "```{solution-start} thrice\n:label: three\n```",
        ":::{dropdown} How it goes\n:label: thrice-solution\nThree numbers.\n:::",
    ],
)
def test_a_block_that_is_called_a_solution_is_found_in_a_cell_that_stays(source):
    assert reasons(text("## 2.2 Thrice\n\n" + source)) == ["opens a block that is called a solution"]


def test_text_that_speaks_of_the_solution_is_found_and_the_solution_of_an_equation_is_not():
    assert reasons(text("## 2.2 Thrice\n\nThe solution's second figure.")) == ["speaks of the solution"]
    assert reasons(text("## 2.2 Thrice\n\nA line, and its solution is one number.")) == []


def test_a_caption_that_calls_a_cell_a_solution_is_found():
    shown = code("thrice = 3", mystnb={"code_prompt_show": "Show the solution"})
    assert reasons(shown) == ["calls a cell that stays a solution"]


def test_code_that_needs_a_solution_or_repeats_it_is_found():
    assert reasons(code("print(twice_solution([1]))", "your-turn")) == [
        "names twice_solution, which only a solution defines"
    ]
    repeated = text("## 2.2 Thrice\n\n```python\n    return [number + number for number in numbers]\n```")
    assert reasons(repeated) == ["is a line of a solution"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_no_page_of_the_course_gives_its_solutions_away(path):
    assert classroom.leaks(classroom.read(path)) == []
