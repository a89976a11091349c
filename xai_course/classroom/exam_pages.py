"""What the exam looks like: a sheet to print, and the answers for teachers. Pages without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from .._page import escape
from .editions import ROOT
from .moodle_xml import markup, middle_of
from .qti import letter
from .questions import Item, fill

if TYPE_CHECKING:
    from .exam import Paper, Slot

STYLE = ROOT / "exam" / "sheet.css"
RULES = (
    "A question has one right answer; circle its letter. Where a number is asked for, write it on the line; "
    "the space below is for your working, which can bring one of the two marks if the number is wrong. "
    "A pocket calculator is allowed, the book is not."
)


def sheet(paper: Paper, slots: Sequence[Slot], seed: str) -> str:
    """A student's sheet, ready to print."""
    total = sum(slot.marks for slot in slots)
    name = escape(paper.student)
    body = (
        f"<h1>Seeing Is Not Believing<br>Final exam</h1><p class='quiet'>Sheet {paper.number}, "
        f"exam {escape(seed)}. {len(slots)} questions, {total} marks.</p><div class='fields'>"
        f"<span>Name: {name}</span><span>Date:</span>"
        f"<span>Marks: &nbsp; &nbsp; &nbsp; of {total}</span></div>"
        f"<div class='rules'>{RULES}</div>"
    )
    part = None
    for place, (slot, item) in enumerate(zip(slots, paper.items, strict=True), start=1):
        if slot.part != part:
            part = slot.part
            body += f"<h2>{escape(part)}</h2>"
        body += _question(place, item)
    return _page(f"Final exam, sheet {paper.number}", body)


def _question(place: int, item: Item) -> str:
    marks = f"{item.marks} mark{'s' * (item.marks > 1)}"
    told = _text(item.text) + (f"<pre>{escape(item.code)}</pre>" if item.code else "")
    if item.kind == "numeric":
        told += '<p>Answer: <span class="entry"></span></p><div class="work quiet">Working</div>'
    else:
        hint = "<p class='quiet'>More than one may be right.</p>" if item.kind == "many_choice" else ""
        options = "".join(
            f'<li data-letter="{letter(i)}">{_text(answer.text)}</li>'
            for i, answer in enumerate(item.answers)
        )
        told += f'{hint}<ol class="o">{options}</ol>'
    return f'<section class="q"><span class="n">{place}.</span><span class="m">{marks}</span>{told}</section>'


def answers(papers: Sequence[Paper], slots: Sequence[Slot], seed: str) -> str:
    """The page for teachers: the right answers by sheet, and of each question what its answers betray."""
    head, *rows = table(papers, slots)
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join(
        f"<tr><th>{escape(f'{row[0]} {row[1]}')}</th>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[2:])
        + "</tr>"
        for row in rows
    )
    cells = cells.replace("<th>sheet</th><th>student</th>", "<th>sheet</th>")
    body = (
        f"<h1>Final exam, answers</h1><p><strong>For teachers only.</strong> Exam {escape(seed)}, "
        f"{len(papers)} sheet{'s' * (len(papers) > 1)}, {sum(slot.marks for slot in slots)} marks. "
        "A choice is worth one mark, a number within its bounds two. Give one of the two for working that is "
        "right but for the arithmetic, or for one of the slips named below if the rest is right.</p>"
        "<h2>By sheet</h2>" + _scrolled(f"<table><tr>{cells}</tr>{lines}</table>", "Right answers by sheet")
    )
    part = None
    for place, slot in enumerate(slots):
        if slot.part != part:
            part = slot.part
            body += f"<h2>{escape(part)}</h2>"
        about = slot.about[:1].upper() + slot.about[1:]
        marks = f"{slot.marks} mark{'s' * (slot.marks > 1)}"
        body += f"<h3>{place + 1}. {escape(about)} <small>(slot {escape(slot.name)}, {marks})</small></h3>"
        shown: dict[str, tuple[Item, list[int]]] = {}
        for paper in papers:
            shown.setdefault(paper.items[place].text, (paper.items[place], []))[1].append(paper.number)
        if slot.numbers:
            body += _solved(papers[0].items[place], [papers[0].number])
            body += _by_sheet([(paper.number, paper.items[place]) for paper in papers[1:]])
        else:
            body += "".join(_solved(item, numbers) for item, numbers in shown.values())
    return _page("Final exam, answers", body, wide=True)


def _solved(item: Item, numbers: Sequence[int]) -> str:
    where = f"sheet{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
    told = f"<section class='q'>{_text(item.text)}<p class='quiet'>On {where}.</p>"
    for answer in sorted(item.answers, key=lambda answer: not answer.correct):
        if item.kind == "numeric":
            middle, half = middle_of(answer)
            own = f"<p>{_number(middle)}{f' (± {_number(half)})' if half and answer.correct else ''}</p>"
            own = "<p>anything else</p>" if answer.fits is None else own
        else:
            own = _text(answer.text)
        kind, mark = ("right", "✓") if answer.correct else ("wrong", "✗")
        told += f"<div class='{kind}'>{mark} {own} <small>{_inner(answer.feedback)}</small></div>"
    return told + "</section>"


def _by_sheet(given: Sequence[tuple[int, Item]]) -> str:
    """The right number and those of known slips for the sheets whose numbers differ from the first."""
    if not given:
        return ""
    said = dict.fromkeys(
        answer.feedback
        for _, item in given
        for answer in item.answers
        if answer.fits is not None and not answer.correct
    )
    head = "".join(f"<th>{_inner(text)}</th>" for text in said)
    lines = ""
    for number, item in given:
        slips = {
            answer.feedback: _number(middle_of(answer)[0]) for answer in item.answers if not answer.correct
        }
        cells = "".join(f"<td>{slips.get(text, '')}</td>" for text in said)
        lines += f"<tr><th>{number}</th><td class='right'>{_key(item)}</td>{cells}</tr>"
    grid = f"<table class='slips'><tr><th>sheet</th><th>right</th>{head}</tr>{lines}</table>"
    title = "The other sheets: what is right, and the slips"
    return f"<details open class='q'><summary>{title}</summary>{_scrolled(grid, title)}</details>"


def _scrolled(table: str, label: str) -> str:
    """A table that scrolls where it is wider than the page, also from the keyboard."""
    return f"<div class='scroll' role='region' tabindex='0' aria-label='{label}'>{table}</div>"


def table(papers: Sequence[Paper], slots: Sequence[Slot]) -> list[list[str]]:
    """The right answers as rows: the sheet's number, the student, and for each question what is right."""
    rows = [["sheet", "student", *(str(place) for place in range(1, len(slots) + 1))]]
    for paper in papers:
        rows.append([str(paper.number), paper.student, *(_key(item) for item in paper.items)])
    return rows


def _key(item: Item) -> str:
    if item.kind == "numeric":
        return _number(middle_of(item.right[0])[0])
    return "".join(letter(i) for i, answer in enumerate(item.answers) if answer.correct)


def _number(text: str) -> str:
    return text if text == "*" else f"{float(text):.4g}".replace("-", "−")


def _text(text: str) -> str:
    return markup([fill(ET.Element("p"), text)])


def _inner(text: str) -> str:
    return markup([fill(ET.Element("span"), text)])


def _page(title: str, body: str, wide: bool = False) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body{' class=wide' * wide}><main>{body}</main></body></html>\n"
    )
