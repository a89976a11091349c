"""The notebooks, their sources and the quizzes: in step, clean, small."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BESIDE = [ROOT / "book" / name for name in ("how_fast.md", "beyond_one_machine.md")]
SOURCES = [*sorted(ROOT.glob("chapters/*/*.md")), *BESIDE]
QUIZZES = sorted(ROOT.glob("chapters/*/quiz.json"))
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
LARGEST = 4 * 2**20  # bytes: what a reader downloads and a reviewer's browser still shows


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str, list[str]]]:
    return [(cell.cell_type, cell.source.strip(), cell.metadata.get("tags", [])) for cell in notebook.cells]


def stored(source: Path) -> nbformat.NotebookNode:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def test_there_are_chapters():
    assert len(SOURCES) >= 4 and len(QUIZZES) >= 2


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_a_notebook_has_the_cells_of_its_source(source):
    assert cells(stored(source)) == cells(jupytext.read(source)), "run `make notebooks`"


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_every_cell_has_run_in_order_without_error(source):
    code = [cell for cell in stored(source).cells if cell.cell_type == "code" and cell.source.strip()]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", f"{cell.source}\nwrites to stderr: {output.text}"


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_no_notebook_stores_what_only_a_kernel_can_show(source):
    notebook = stored(source)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert WIDGET_VIEW not in output.get("data", {}), cell.source


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_a_notebook_is_small(source):
    assert source.with_suffix(".ipynb").stat().st_size < LARGEST


@pytest.mark.parametrize("source", SOURCES, ids=name)
def test_cells_that_draw_have_a_text_alternative(source):
    for cell in stored(source).cells:
        pictures = [
            o for o in cell.get("outputs", []) if {"image/png", "image/jpeg"} & set(o.get("data", {}))
        ]
        if pictures:
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt.split()) >= 3, f"no alt text:\n{cell.source}"


def questions(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))


ALL = [pytest.param(q, id=q.get("id", "no id")) for path in QUIZZES for q in questions(path)]


@pytest.mark.parametrize("question", ALL)
def test_a_question_is_complete(question):
    assert set(question) <= {
        "id",
        "question",
        "type",
        "answers",
        "code",
        "precision",
        "answer_cols",
        "page_only",
    }
    assert re.fullmatch(r"\d+(\.\w+)+", question["id"])
    assert question["question"].strip()
    assert all(answer.get("feedback", "").strip() for answer in question["answers"]), (
        "an answer has no feedback"
    )
    right = [answer for answer in question["answers"] if answer.get("correct") is True]
    if question["type"] in ("multiple_choice", "many_choice"):
        check_choices(question, right)
    else:
        assert question["type"] == "numeric"
        check_numbers(question, right)


def check_choices(question: dict, right: list[dict]) -> None:
    answers = question["answers"]
    assert all(set(answer) <= {"answer", "code", "correct", "feedback"} for answer in answers)
    assert all(isinstance(answer["correct"], bool) for answer in answers)
    assert len(answers) >= 2 and len(right) < len(answers), "every answer is right"
    assert len(right) == 1 if question["type"] == "multiple_choice" else len(right) >= 1
    shown = [(answer.get("answer"), answer.get("code")) for answer in answers]
    assert len(set(shown)) == len(shown), "two answers read the same"
    wrong = [answer["feedback"] for answer in answers if not answer["correct"]]
    assert len(set(wrong)) == len(wrong), "two wrong answers get the same feedback"


def check_numbers(question: dict, right: list[dict]) -> None:
    ranges = [answer for answer in question["answers"] if "range" in answer or "value" in answer]
    defaults = [answer for answer in question["answers"] if answer.get("type") == "default"]
    assert len(ranges) + len(defaults) == len(question["answers"]) and len(defaults) == 1
    assert right and all(answer in ranges for answer in right)
    assert all(answer["range"][0] < answer["range"][1] for answer in ranges if "range" in answer)
    for i, answer in enumerate(ranges):  # the first that fits is shown: a right number must reach its own
        earlier = [ends(other) for other in ranges[:i] if other not in right]
        low, high = ends(answer)
        assert answer not in right or all(high < start or low > end for start, end in earlier)


def ends(answer: dict) -> tuple[float, float]:
    """Between which numbers an answer fits."""
    return tuple(answer["range"]) if "range" in answer else (answer["value"], answer["value"])


LONGEST_MAY_BE_RIGHT = 0.35  # of a chapter's questions with one right answer; by chance about a third


def length(answer: dict) -> int:
    """How long an answer looks: its letters, without the elements that set them."""
    return len(re.sub(r"<[^>]+>", "", answer.get("answer", "") + answer.get("code", "")))


def longest_is_right(question: dict) -> bool:
    wrong = [length(answer) for answer in question["answers"] if not answer["correct"]]
    (right,) = [length(answer) for answer in question["answers"] if answer["correct"]]
    return right > max(wrong)


@pytest.mark.parametrize("path", QUIZZES, ids=lambda path: path.parent.name)
def test_who_always_picks_the_longest_answer_does_not_pass(path):
    asked = [question for question in questions(path) if question["type"] == "multiple_choice"]
    offenders = [question["id"] for question in asked if longest_is_right(question)]
    share = len(offenders) / len(asked)
    assert share <= LONGEST_MAY_BE_RIGHT, f"the right answer is the longest in {share:.0%}: {offenders}"


@pytest.mark.parametrize("question", ALL)
def test_a_question_has_no_dollar_equations(question):
    """A question's equations stand between ``\\(`` and ``\\)``: a reader would see the dollars."""
    assert "$" not in json.dumps(question)


def test_identifiers_are_unique_across_the_book():
    ids = [question["id"] for path in QUIZZES for question in questions(path)]
    assert len(ids) == len(set(ids))


def shown_ids(folder: Path) -> list[str]:
    """The questions that the notebooks of a chapter show, from their calls of ``quizzes.quiz``."""
    ids: list[str] = []
    for source in sorted(folder.glob("*.md")):
        for cell in jupytext.read(source).cells:
            if cell.cell_type != "code" or "quiz" not in cell.source:
                continue
            for node in ast.walk(ast.parse(re.sub(r"^[%!].*$", "", cell.source, flags=re.M))):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "quiz":
                    ids += [ast.literal_eval(argument) for argument in node.args[1:]]
    return ids


@pytest.mark.parametrize("path", QUIZZES, ids=name)
def test_every_question_is_shown_once_and_exists(path):
    assert sorted(shown_ids(path.parent)) == sorted(question["id"] for question in questions(path))


def pins(lines: list[str]) -> dict[str, str]:
    found = (re.fullmatch(r"([A-Za-z0-9._-]+)==(\S+)", line.split("#")[0].strip()) for line in lines)
    return {re.sub(r"[-_.]+", "-", match[1]).lower(): match[2] for match in found if match}


def test_conda_and_pip_have_the_same_pins():
    pip = pins((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    inner = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    files = [
        line.split(maxsplit=1)[1] for line in inner if line.startswith(("-c", "-r", "--constraint", "--req"))
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    del extras["nbgrader"]  # in no environment but the teacher's who asks for it
    groups = [project["dependencies"], *extras.values()]
    needed = {
        re.split(r"[=<>!~ \[]", entry)[0].replace("_", "-").lower() for group in groups for entry in group
    }
    assert needed <= set(pins(inner)), "environment.yml lacks a dependency"
    if "constraints.txt" in files:  # the same file read by both: only what is written beside it could differ
        assert all(pip.get(package) == version for package, version in pins(inner).items())
    else:
        assert pins(inner) == pip
