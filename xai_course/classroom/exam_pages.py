"""What the exam looks like: a sheet to print, and the answers for teachers. Pages without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from .._page import escape
from .moodle_xml import markup, middle_of
from .qti import letter
from .questions import Item, fill

if TYPE_CHECKING:
    from .exam import Paper, Slot

STYLE = """
:root { --ink: #1b1523; --quiet: #50465b; --line: #c9c1b6; --wash: #f3f0ea; --good: #0a6656; }
* { box-sizing: border-box; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1.25rem; color: var(--ink); background: #fff;
  font: 1.0625rem/1.45 "Source Serif 4", Charter, "Iowan Old Style", Georgia, serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; padding-bottom: .2rem; border-bottom: 2px solid var(--ink);
  break-after: avoid; }
sub, sup { line-height: 0; }
h3 { font-size: 1.0625rem; margin: 1.4rem 0 .4rem; break-after: avoid; }
p { margin: 0 0 .5rem; }
small, .quiet { color: var(--quiet); font-size: .9375rem; font-weight: 400; }
.fields { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; margin: 1rem 0; }
.fields span { flex: 1 1 12rem; border-bottom: 1px solid var(--ink); padding-bottom: .15rem;
  min-height: 2rem; overflow-wrap: anywhere; }
.rules { background: var(--wash); padding: .75rem 1rem; margin: 1rem 0; }
.q { break-inside: avoid; margin: 1.1rem 0; padding-left: 2.4rem; position: relative; }
.q > .n { position: absolute; left: 0; font-weight: 700; }
.q > .m { float: right; margin-left: 1rem; color: var(--quiet); font-size: .9375rem; white-space: nowrap; }
ol.o { list-style: none; margin: .35rem 0 0; padding: 0; }
ol.o li { display: flex; gap: .6rem; margin: .3rem 0; }
ol.o li::before { content: attr(data-letter); flex: none; width: 1.45rem; height: 1.45rem;
  border: 1.5px solid var(--ink); border-radius: 50%; text-align: center;
  font: 700 .8125rem/1.25rem sans-serif; }
ol.o li > p { margin: 0; }
.entry { display: inline-block; min-width: 11rem; border-bottom: 1px solid var(--ink); height: 1.8rem; }
.work { height: 4.2rem; border-left: 3px solid var(--line); margin-top: .4rem; padding-left: .6rem; }
pre { white-space: pre-wrap; background: var(--wash); padding: .5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font: .8125rem sans-serif; }
th, td { border: 1px solid var(--line); padding: .2rem .4rem; text-align: center; }
.wide { max-width: 68rem; }
.slips th:not(:first-child) { font-weight: 400; text-align: left; vertical-align: bottom; max-width: 14rem; }
td.right { text-indent: 0; }
th:first-child { text-align: left; white-space: nowrap; }
.right, .wrong { margin: .3rem 0 .3rem 1.4rem; text-indent: -1.4rem; }
.right { font-weight: 700; color: var(--good); }
.right > p, .wrong > p { display: inline; }
@page { size: A4; margin: 18mm 16mm; }
@media print {
  body { margin: 0; padding: 0; max-width: none; font-size: 10.5pt; }
  .rules { border: 1px solid #999; }
  h2 { margin-top: 1.2rem; }
  .scroll { overflow: visible; }
  small, .quiet, .q > .m { font-size: 9.5pt; }
  details.q { break-inside: auto; }
  tr { break-inside: avoid; }
  table { font-size: 6pt; }
  th, td { padding: .08rem .12rem; }
}
"""
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
        f"<style>{STYLE}</style></head>"
        f"<body{' class=wide' * wide}><main>{body}</main></body></html>\n"
    )
