"""Questions as Moodle XML: one file that Moodle's question bank imports, with its pictures inside.

Moodle has no schema for this format; what is written here follows https://docs.moodle.org/en/Moodle_XML_format.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from decimal import Decimal
from xml.etree import ElementTree as ET

from .questions import Answer, Item, body, fill

# The shares of a mark that Moodle accepts, beside 100 and 50: a whole divided by 3 to 10.
SHARES = {1: "100", 2: "50", 3: "33.33333", 4: "25", 5: "20", 6: "16.66667", 7: "14.28571"} | {
    8: "12.5",
    9: "11.11111",
    10: "10",
}
FILES = "@@PLUGINFILE@@/"  # where Moodle keeps the files of a question


def moodle_xml(items: Sequence[Item], category: str) -> str:
    """The questions as one text of XML.

    A question with one right answer gives its mark for it and nothing for another. Where several are right,
    each brings its share, and each wrong one takes away as much as makes ticking everything worth nothing.
    A number is right within the bounds that the page uses.

    Args:
        items: the questions; each goes to ``category`` and, below it, to its own category or purpose.
        category: the names from the top of the question bank down, with ``/`` between them.
    """
    quiz = ET.Element("quiz")
    before = None
    for item in items:
        place = f"$course$/top/{category}/{item.category or item.purpose}"
        if place != before:
            entry = ET.SubElement(quiz, "question", type="category")
            _text(ET.SubElement(entry, "category"), place)
            before = place
        _question(quiz, item)
    ET.indent(quiz)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(quiz, encoding="unicode") + "\n"


def _question(quiz: ET.Element, item: Item) -> None:
    numeric = item.kind == "numeric"
    entry = ET.SubElement(quiz, "question", type="numerical" if numeric else "multichoice")
    _text(ET.SubElement(entry, "name"), item.title)
    text = _html(entry, "questiontext", body(item, FILES))
    for picture in item.pictures:
        file = ET.SubElement(text, "file", name=picture.name, path="/", encoding="base64")
        file.text = base64.b64encode(picture.data).decode()
    _html(entry, "generalfeedback", [fill(ET.Element("p"), item.note)] if item.note else [])
    for name, value in {"defaultgrade": item.marks, "penalty": "0.3333333", "hidden": 0}.items():
        ET.SubElement(entry, name).text = str(value)
    ET.SubElement(entry, "idnumber").text = item.name
    (_numbers if numeric else _choices)(entry, item)
    tags = ET.SubElement(entry, "tags")
    _text(ET.SubElement(tags, "tag"), item.purpose)


def _choices(entry: ET.Element, item: Item) -> None:
    many = item.kind == "many_choice"
    for name, value in {
        "single": str(not many).lower(),
        "shuffleanswers": "true",
        "answernumbering": "abc",
    }.items():
        ET.SubElement(entry, name).text = value
    share = SHARES[len(item.right)]
    lost = "-" + SHARES[len(item.answers) - len(item.right)] if many else "0"
    for answer in item.answers:
        told = ET.SubElement(entry, "answer", fraction=share if answer.correct else lost, format="html")
        parts = [fill(ET.Element("p"), answer.text)]
        if answer.code:
            parts.append(ET.Element("pre"))
            ET.SubElement(parts[-1], "code").text = answer.code
        ET.SubElement(told, "text").text = markup(parts)
        _html(told, "feedback", [fill(ET.Element("p"), answer.feedback)])


def _numbers(entry: ET.Element, item: Item) -> None:
    for answer in item.answers:
        share = "100" if answer.correct else "0"
        told = ET.SubElement(entry, "answer", fraction=share, format="moodle_auto_format")
        middle, half = middle_of(answer)
        ET.SubElement(told, "text").text = middle
        _html(told, "feedback", [fill(ET.Element("p"), answer.feedback)])
        if half:
            ET.SubElement(told, "tolerance").text = half
    ET.SubElement(entry, "unitgradingtype").text = "0"  # a bare number: no unit is asked for or marked
    ET.SubElement(entry, "showunits").text = "3"


def middle_of(answer: Answer) -> tuple[str, str]:
    """The middle of an answer's bounds, and how far a number may be off; ``*`` fits whatever is left."""
    if answer.fits is None:
        return "*", ""
    low, high = (Decimal(repr(end)) for end in answer.fits)
    return f"{(low + high) / 2:f}", f"{(high - low) / 2:f}"


def markup(parts: Sequence[ET.Element]) -> str:
    """Elements as the text of a page."""
    return "".join(ET.tostring(part, encoding="unicode", method="html") for part in parts)


def _html(entry: ET.Element, name: str, parts: Sequence[ET.Element]) -> ET.Element:
    made = ET.SubElement(entry, name, format="html")
    ET.SubElement(made, "text").text = markup(parts)
    return made


def _text(entry: ET.Element, text: str) -> None:
    ET.SubElement(entry, "text").text = text
