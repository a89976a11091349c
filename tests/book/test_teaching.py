"""The pages for teachers: what they list from data, and what each must have."""

import importlib
import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch

from xai_course.classroom import page
from xai_lib import load_model

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


PLANS = sorted((ROOT / "book/teaching").glob("chapter-*.md"))
PARTS = [
    "Objectives",
    "Ninety minutes",
    "What goes wrong, and why",
    "For discussion",
    "An open assignment",
    "Rubric",
    "Two answers, graded",
]
CHAPTER_PAGES = pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)


def parts(path):
    """A page's sections by their titles."""
    pieces = re.split(r"^## (.+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


@CHAPTER_PAGES
def test_a_chapter_s_page_has_the_parts_that_the_entrance_promises(path):
    found = parts(path)
    assert list(found) == PARTS
    assert re.findall(r"```\{mistakes\} (\d+)", found["What goes wrong, and why"]) == [path.stem[8:]]
    assert found["For discussion"].count("*A good answer") >= 2
    assert found["For discussion"].count("*Sounds good") == found["For discussion"].count("*A good answer")
    for word in ("Data", "Time", "Deliverable"):
        assert re.search(rf"\*{word}\b", found["An open assignment"])


@CHAPTER_PAGES
def test_a_plan_fills_its_ninety_minutes_without_a_gap(path):
    begins = ends = 0
    for start, end in re.findall(r"^\| (\d+)–(\d+) \|", parts(path)["Ninety minutes"], flags=re.MULTILINE):
        assert int(start) == ends % 90 and int(start) < int(end)
        begins, ends = begins + (start == "0"), int(end)
    assert ends == 90 and begins in (1, 2)  # a chapter of two pages has two meetings


@CHAPTER_PAGES
def test_what_a_plan_names_is_there(path):
    chapter = path.stem[8:]
    (folder,) = ROOT.glob(f"chapters/{int(chapter):02d}_*")
    shown = "".join(notebook.read_text(encoding="utf-8") for notebook in folder.glob("lesson*.ipynb"))
    asked = [q["id"] for q in json.loads((folder / "quiz.json").read_text(encoding="utf-8"))]
    plan = parts(path)["Ninety minutes"]
    questions = re.findall(r"\b\d+\.(?:warm|hook|predict|why|wrap)\.\d+\b", plan)
    figures = re.findall(r"\b(Figure|Table) (\d+\.\d+)\b", plan)
    assert len(questions) >= 3 and set(questions) <= set(asked)
    assert len(figures) >= 6
    for kind, number in figures:
        assert f'id=\\"{kind.lower()}-{number.replace(".", "-")}\\"' in shown, f"{kind} {number}"


@CHAPTER_PAGES
def test_a_rubric_has_four_levels_and_the_answers_are_graded_by_it(path):
    rows = [line for line in parts(path)["Rubric"].splitlines() if line.startswith("| **")]
    names = [re.match(r"\| \*\*(.+?)\*\*", row)[1].lower() for row in rows]
    assert len(rows) >= 3 and all(row.count(" | ") == 4 for row in rows)
    _, exemplary, poor = re.split(r"^### .+\n", parts(path)["Two answers, graded"], flags=re.MULTILINE)
    for answer, least, most in ((exemplary, 3 * len(rows), 4 * len(rows)), (poor, len(rows), 2 * len(rows))):
        graded = [(name, re.search(rf"{re.escape(name)} ([1-4])\b", answer.lower())) for name in names]
        assert all(level for _, level in graded), graded
        total = sum(int(level[1]) for _, level in graded)
        assert least <= total <= most and f"{total} of {4 * len(rows)}" in answer


def numbers(table):
    return [float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", table)]


@pytest.mark.parametrize("chapter", [1, 2, 3, 4, 6, 7, 8])
def test_the_table_of_an_answer_has_the_head_that_its_program_prints(chapter):
    folder = ROOT / "book/teaching/answers"
    program = (folder / f"chapter_{chapter}.py").read_text(encoding="utf-8")
    head = (folder / f"chapter_{chapter}.inc").read_text(encoding="utf-8").splitlines()[0]
    assert all(cell in program for cell in head.strip("| ").split(" | "))


ANSWERS = ROOT / "book/teaching/answers"


@pytest.fixture
def answer(monkeypatch):
    """The program of a chapter's answer, by the chapter's number."""
    monkeypatch.syspath_prepend(str(ANSWERS))
    return lambda chapter: importlib.import_module(f"chapter_{chapter}")


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, its head first, without the line below that."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def on_the_page(chapter: int, *first: str) -> list[str]:
    """The one row of the page's table that begins with these cells."""
    (found,) = [
        row
        for row in rows((ANSWERS / f"chapter_{chapter}.inc").read_text(encoding="utf-8"))
        if tuple(row[: len(first)]) == first
    ]
    return found


def agree(made: list[str], printed: list[str]) -> bool:
    """Whether two rows have the same words, and numbers that differ by rounding and by the machine alone."""
    same = [re.sub(r"\d+(\.\d+)?", "#", cell) for cell in (" | ".join(made), " | ".join(printed))]
    close = [
        ours == pytest.approx(theirs, abs=0.02 if theirs < 2 else 2)
        for ours, theirs in zip(numbers(" ".join(made)), numbers(" ".join(printed)), strict=True)
    ]
    return same[0] == same[1] and all(close)


@pytest.mark.parametrize("chapter", [3, 4, 5])  # of the others, which take longer, a part below
def test_the_program_of_an_answer_prints_the_table_of_the_page(chapter, answer, capsys):
    answer(chapter).main()
    printed = rows((ANSWERS / f"chapter_{chapter}.inc").read_text(encoding="utf-8"))
    for ours, theirs in zip(rows(capsys.readouterr().out), printed, strict=True):
        assert agree(ours, theirs), (ours, theirs)


def test_three_rows_of_chapter_1_s_answer_are_what_its_program_prints(answer, monkeypatch, capsys):
    program = answer(1)
    changes = ("the tag as it is", "its left half", "a rectangle of its mean colour")
    monkeypatch.setattr(program, "CHANGES", {name: program.CHANGES[name] for name in changes})
    monkeypatch.setattr(program, "SEEDS", program.SEEDS[:1])
    program.main()
    for made in rows(capsys.readouterr().out)[1:]:
        name, of_a, of_b = on_the_page(1, made[0])
        assert agree(made, [name, of_a.split(", ")[0], of_b])


def test_the_drawings_rows_of_chapter_2_s_answer_are_what_its_program_prints(answer, monkeypatch, capsys):
    program = answer(2)

    def small():
        yield "ring, small_vgg", load_model("small_vgg"), program.drawing("ring")
        yield "heart, small_gap", load_model("small_gap"), program.drawing("heart")

    monkeypatch.setattr(program, "cases", small)
    program.main()
    made = rows(capsys.readouterr().out)[1:]
    assert len(made) == 6
    for row in made:
        assert agree(row, on_the_page(2, *row[:2])), row


def test_a_row_of_chapter_6_s_answer_is_what_its_program_measures(answer):
    program = answer(6)
    of = program.differences("small_gap", program.insertion, program.FILLS["blur"])
    draws = torch.Generator().manual_seed(1)
    low, high = program.interval(of, program.PICTURES, draws)
    parts = of.mean(), low, high, of[:8].mean(), of[8:16].mean()
    mean, least, most, first, after = (f"{part:+.2f}" for part in parts)
    _, _, *printed, pictures = on_the_page(6, "small_gap", "insertion, blur")
    assert agree([f"{mean}, {least} to {most}", first, after], printed)
    assert program.enough(of, draws) in {str(size) for size in (2, 4, 8)} and pictures == "4"


def test_four_rows_of_chapter_7_s_answer_hold_one_draw_of_its_program(answer, monkeypatch):
    program = answer(7)
    quick = {name: program.METHODS[name] for name in ("guided backpropagation", "gradient")}
    monkeypatch.setattr(program, "METHODS", quick)
    for how in (program.drawn, program.shuffled):
        alike, empty = program.cascade("small_gap", how, 0)
        for name, found in alike.items():
            row = on_the_page(7, "small_gap", how.__name__, name)
            half, (least, most) = found[len(found) // 2], map(float, row[4].split(" to "))
            assert least - 0.01 <= half <= most + 0.01
            assert found[-1] == pytest.approx(float(row[5]), abs=0.05)
            assert empty[name][-1] == 0 and row[-1] == "0 %"


def test_the_first_step_of_chapter_8_s_answer_and_its_slopes_are_what_its_program_prints(
    answer, monkeypatch, capsys
):
    program = answer(8)
    liars = program.liars
    monkeypatch.setattr(program, "TIMES", (0, 1))
    program.slopes()
    monkeypatch.setattr(program, "liars", lambda network: liars(network) if network == "small_gap" else ())
    program.training()
    made = [row for row in rows(capsys.readouterr().out) if row[0] in ("small_gap", "small_vgg")]
    assert len(made) == 6 + 9
    for row in made:
        named = 4 if len(row) == 7 else 2
        printed = [
            theirs
            for theirs in rows((ANSWERS / "chapter_8.inc").read_text(encoding="utf-8"))
            if len(theirs) == len(row) and theirs[:named] == row[:named]
        ]
        assert len(printed) == 1 and agree(row, printed[0]), row


def test_a_week_adds_up_what_its_lessons_and_exercises_state(teaching):
    pages = {"6": ("chapters/6/lesson.ipynb", 55), "6b": ("chapters/6/lesson_model.ipynb", 70)}
    week = {"week": 7, "meeting": "Chapter 6, then chapter 9", "read": ["6", "6b"], "exercises": [6.1]}
    assert teaching.week_row(week, pages, {"6.1": 15}, {"6": Path("chapter-6.md")}) == (
        "| 7 | [Chapter 6](chapter-6.md), then chapter 9 | [6](/chapters/6/lesson.ipynb); "
        "[6, second page](/chapters/6/lesson_model.ipynb) | 6.1 | 2 ¼ h |"
    )
    with pytest.raises(ValueError, match=r"no lesson or exercise 7\.1"):
        teaching.week_row({**week, "exercises": [7.1]}, pages, {"6.1": 15}, {})


@pytest.mark.parametrize(("minutes", "hours"), [(20, "¼ h"), (60, "1 h"), (97, "1 ½ h"), (180, "3 h")])
def test_hours_are_said_to_a_quarter(teaching, minutes, hours):
    assert teaching.in_hours(minutes) == hours


def test_every_lesson_and_every_exercise_states_its_minutes(teaching):
    stated = teaching.exercise_minutes(ROOT)
    pages = [path for path, _ in teaching.read_minutes(ROOT).values()]
    assert len(pages) == len(list(ROOT.glob("chapters/*/lesson*.md")))
    for path in ROOT.glob("chapters/*/exercises.md"):
        assert set(page(path).exercises) <= set(stated)


HOURS = {"an": 60, "two": 120, "three": 180, "four": 240}
PARTS_OF_AN_HOUR = {"and a half": 30, "and a quarter": 15, "and twenty-five minutes": 25}


def minutes_in(words: str) -> int:
    """``about two and a half hours``, ``two hours and twenty-five minutes`` in minutes."""
    (hours,) = (minutes for word, minutes in HOURS.items() if re.search(rf"\b{word}\b.* hours?\b", words))
    return hours + sum(minutes for part, minutes in PARTS_OF_AN_HOUR.items() if part in words)


@pytest.mark.parametrize("chapter", range(1, 10))
def test_the_openers_say_how_long_all_exercises_take(teaching, chapter):
    (folder,) = ROOT.glob(f"chapters/{chapter:02d}_*")
    total = sum(m for name, m in teaching.exercise_minutes(ROOT).items() if name.startswith(f"{chapter}."))
    lesson = (folder / "lesson.md").read_text(encoding="utf-8")
    page_of_exercises = (folder / "exercises.md").read_text(encoding="utf-8")
    for said in (
        re.search(r"minutes to read and answer, (.*? hours?) for", lesson)[1],
        re.search(r"^\*\*Time:\*\* (.*?)(?: for all|;|\.)", page_of_exercises, re.MULTILINE)[1],
    ):
        assert minutes_in(said) == pytest.approx(total, abs=10), said


def test_the_routes_count_the_audit_as_its_opener_does(teaching):
    _, minutes = teaching.read_minutes(ROOT)["9"]
    text = (ROOT / "book/teaching/routes.md").read_text(encoding="utf-8")
    said = re.search(
        r"Count (\d+) minutes for \[chapter 9\].*? and (about .*? hours) for its exercises", text
    )
    assert int(said[1]) == minutes
    total = sum(m for name, m in teaching.exercise_minutes(ROOT).items() if name.startswith("9."))
    assert minutes_in(said[2]) == pytest.approx(total, abs=10)


def test_the_entrance_leads_to_every_page(teaching):
    folder = ROOT / "book/teaching"
    text = (folder / "index.md").read_text(encoding="utf-8")
    others = [path.name for path in folder.glob("*.md") if not path.stem.startswith(("chapter-", "index"))]
    assert [name for name in others if f"({name})" not in text] == []
    assert "```{chapters}" in text and len(teaching.plans(ROOT)) == len(PLANS)
