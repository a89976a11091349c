"""The final exam: a sheet for each student, drawn from pools, and the answers for teachers.

``python -m xai_course.classroom exam --seed autumn --students list.csv`` writes them, and so does
``make exam SEED=autumn STUDENTS=list.csv``. A pool is a JSON file: a title and slots. A slot asks about one
thing; it has several questions of equal weight, or names a kind of question whose numbers are drawn
(``exam_numbers``).
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import exam_numbers, exam_pages, moodle_xml, qti
from .editions import ROOT
from .questions import Item, item

POOLS = ROOT / "exam"
DRAWS = 6  # of a question with drawn numbers, in the pools for a learning platform
TITLE = "Seeing Is Not Believing: final exam"


@dataclass(frozen=True)
class Slot:
    """One place of the exam: what it asks about, what it is worth, and what may stand there."""

    name: str
    about: str
    marks: int
    part: str
    questions: tuple[dict[str, Any], ...] = ()
    numbers: str = ""

    def variant(self, which: int, seed: str) -> Item:
        """The question of a number, or one with numbers drawn from the seed."""
        if self.numbers:
            question, _ = exam_numbers.draw(self.numbers, seed)
            question = {"id": f"exam.{self.name}.{seed}", **question}
        else:
            question = self.questions[which]
        note = f"Slot {self.name} of the exam: {self.about}."
        return item(question, purpose="Exam", marks=self.marks, category=self.category, note=note)

    @property
    def category(self) -> str:
        """Where a learning platform keeps the slot's questions, to draw one of them."""
        return f"{self.name} {self.about}".replace("/", "//")


@dataclass(frozen=True)
class Paper:
    """What one student gets: a question for each slot, its answers in an order of the student's own."""

    student: str
    number: int
    items: tuple[Item, ...]


def read_pools(folder: str | Path = POOLS) -> list[Slot]:
    """The slots of all pools in a folder, in the order of the files' names.

    Raises:
        FileNotFoundError: if the folder has no pool.
        ValueError: if a slot's name occurs twice, or it has fewer than two questions, or one is broken.
    """
    paths = sorted(Path(folder).glob("*.json"), key=lambda path: (path.stem[:2] != "ch", path.stem))
    if not paths:
        raise FileNotFoundError(f"there is no pool of questions (*.json) in {folder}")
    slots: list[Slot] = []
    for path in paths:
        pool = json.loads(path.read_text(encoding="utf-8"))
        for entry in pool["slots"]:
            slots.append(
                Slot(
                    entry["slot"],
                    entry["about"],
                    entry.get("marks", 1),
                    pool["title"],
                    tuple(entry.get("questions", ())),
                    entry.get("numbers", ""),
                )
            )
    for slot in slots:
        _check(slot, [other.name for other in slots])
    return slots


def _check(slot: Slot, names: Sequence[str]) -> None:
    if names.count(slot.name) > 1:
        raise ValueError(f"slot names must differ, got {slot.name} twice")
    if slot.numbers:
        exam_numbers.draw(slot.numbers, "check")  # refuses a kind that is not there
    elif len(slot.questions) < 2:
        raise ValueError(f"slot {slot.name} must have two questions or more, got {len(slot.questions)}")
    for question in slot.questions:
        right = [answer for answer in question["answers"] if answer.get("correct") is True]
        if question["type"] == "multiple_choice" and len(right) != 1:
            raise ValueError(
                f"question {question['id']} must have one right answer, got {len(right)}; for several set "
                "its type to many_choice"
            )


def draw_papers(slots: Sequence[Slot], seed: str, students: Sequence[str]) -> list[Paper]:
    """A paper for each student. The same seed and list give the same papers; a name added last changes none.

    Two students who follow one another in the list have no question in common.
    """
    papers: list[Paper] = []
    before: list[Item | None] = [None] * len(slots)
    for number, student in enumerate(students, start=1):
        rng = random.Random(f"{seed}/{number}")
        items = []
        for slot, last in zip(slots, before, strict=True):
            made = _unlike(slot, last, f"{seed}-{number}", rng)
            answers = list(made.answers)
            if made.kind != "numeric":
                rng.shuffle(answers)
            items.append(replace(made, answers=tuple(answers)))
        papers.append(Paper(student, number, tuple(items)))
        before = items
    return papers


def _unlike(slot: Slot, last: Item | None, seed: str, rng: random.Random) -> Item:
    """One of a slot's questions, and not that of the sheet before."""
    while True:
        which = rng.randrange(len(slot.questions)) if slot.questions else 0
        made = slot.variant(which, f"{seed}-{rng.randrange(1000)}")
        if last is None or made.text != last.text:
            return made


def read_students(path: str | Path) -> list[str]:
    """The names in a list: the first column, or the one that is called name, student or id.

    Separators may be commas, semicolons or tabs; UTF-8, with or without its mark, or Latin-1.

    Raises:
        ValueError: if there is no name in the file, or one name twice.
    """
    data = Path(path).read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    first = text.splitlines()[0] if text.strip() else ""
    separator = max(";\t,", key=first.count) if re.search("[;\t,]", first) else ","
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if any(map(str.strip, row))]
    heads = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = next((heads.index(head) for head in ("name", "student", "id") if head in heads), None)
    body = rows if column is None else rows[1:]
    names = [
        row[column or 0].strip() for row in body if len(row) > (column or 0) and row[column or 0].strip()
    ]
    if not names:
        raise ValueError(f"{path} must have a name on each line, got none")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{path} must name each student once, got {twice!r} twice; add a number to one")
    return names


def make_exam(
    seed: str, students: Sequence[str] = (), *, out: str | Path = "exam_sheets", pools: str | Path = POOLS
) -> Path:
    """Write the exam: a sheet for each student, the answers and their table, and the pools for a platform.

    Args:
        seed: anything; the same one draws the same exam.
        students: their names; without any, one sheet without a name.
        out: the folder to write to; it gets a folder of its own for the seed.
        pools: a folder of pools, of the course or your own.

    Returns:
        The folder, with ``sheets/``, ``answers.html``, ``answers.csv``, ``moodle.xml`` and ``qti.zip``.

    Raises:
        FileNotFoundError, ValueError: as ``read_pools``; and if ``seed`` is empty.
    """
    if not seed.strip():
        raise ValueError(f"`seed` must be a text such as autumn-2026, got {seed!r}; say SEED=autumn-2026")
    slots = read_pools(pools)
    papers = draw_papers(slots, seed, students or [""])
    folder = Path(out) / _file_name(seed)
    sheets = folder / "sheets"
    sheets.mkdir(parents=True, exist_ok=True)
    for old in sheets.glob("*.html"):
        old.unlink()
    for paper in papers:
        name = _file_name(f"{paper.number:03d} {paper.student or 'exam'}")
        (sheets / f"{name}.html").write_text(exam_pages.sheet(paper, slots, seed), encoding="utf-8")
    (folder / "answers.html").write_text(exam_pages.answers(papers, slots, seed), encoding="utf-8")
    with (folder / "answers.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(map(_for_a_spreadsheet, exam_pages.table(papers, slots)))
    items = pool_items(slots, seed)
    (folder / "moodle.xml").write_text(moodle_xml.moodle_xml(items, TITLE), encoding="utf-8")
    qti.write_package(qti.package(items, TITLE, draw=True), folder / "qti.zip")
    return folder


def pool_items(slots: Sequence[Slot], seed: str) -> list[Item]:
    """Every question of every slot, for a learning platform that draws one a slot itself."""
    return [
        slot.variant(which, f"{seed}-draw-{which + 1}")
        for slot in slots
        for which in range(len(slot.questions) or DRAWS)
    ]


def _for_a_spreadsheet(row: list[str]) -> list[str]:
    """A row in which a number is one, and a name that begins like a formula is none."""
    number, name, *answers = row
    name = f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t", "\r") else name
    return [number, name, *(answer.replace("−", "-") for answer in answers)]


def _file_name(text: str) -> str:
    """A name for a file that every system takes. Sheets begin with their number, so that no two are alike."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-").lower()[:60] or "exam"
