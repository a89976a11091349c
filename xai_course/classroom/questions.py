"""Questions of ``quiz.json`` as a learning platform needs them: each complete without the page around it.

A question that names a figure takes the figure along, from the outputs that the notebook has stored. What
makes sense on its page alone is left out, and the reason is kept: commitments before the page shows the
answer, questions about an explorer, and those that ``quiz.json`` itself marks with ``page_only``.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import nbformat
from PIL import Image

from .. import quizzes
from .._page import _static

ELEMENTS = ("em", "strong", "b", "i", "code", "sub", "sup", "br")  # what a question's text may hold
COMMITMENTS = ("hook", "predict")
_TOKEN = re.compile(rf"<(/?)({'|'.join(ELEMENTS)})>")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Picture:
    """A file that a question shows."""

    name: str
    data: bytes
    title: str
    alt: str


@dataclass(frozen=True)
class Answer:
    """One choice; or, of a question for a number, from where to where it fits (None: whatever else)."""

    text: str
    correct: bool
    feedback: str
    code: str = ""
    fits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Item:
    """A question that stands by itself. Texts are in the dialect of ``quiz.json``."""

    name: str
    kind: str
    text: str
    answers: tuple[Answer, ...]
    code: str = ""
    pictures: tuple[Picture, ...] = ()
    purpose: str = "Question"
    note: str = ""
    marks: int = 1
    category: str = field(default="", compare=False)

    @property
    def right(self) -> tuple[Answer, ...]:
        return tuple(answer for answer in self.answers if answer.correct)

    @property
    def title(self) -> str:
        """The identifier and how the question begins, as plain text."""
        words = plain(self.text)
        return f"{self.name} {words if len(words) <= 60 else words[:59].rsplit(' ', 1)[0] + ' …'}"


def item(question: dict[str, Any], **more: Any) -> Item:
    """A question of ``quiz.json`` as an item; numbers get the bounds within which the page accepts them.

    Raises:
        ValueError: if a text holds a character that XML cannot carry.
    """
    texts = [question["question"], question.get("code", "")]
    texts += [
        str(each.get(key, "")) for each in question["answers"] for key in ("answer", "feedback", "code")
    ]
    for text in texts:
        if found := _NOT_XML.search(text):
            raise ValueError(
                f"question {question['id']} must be free of control characters, got {found[0]!r} in {text!r}"
            )
    answers = tuple(
        Answer(
            each.get("answer", ""),
            each.get("correct") is True,
            each["feedback"],
            each.get("code", ""),
            bounds(each, question.get("precision")) if question["type"] == "numeric" else None,
        )
        for each in sorted(question["answers"], key=lambda each: each.get("type") == "default")
    )
    return Item(
        question["id"], question["type"], question["question"], answers, question.get("code", ""), **more
    )


def bounds(answer: dict[str, Any], digits: int | None = None) -> tuple[float, float] | None:
    """Which numbers an answer is for, as the page's script decides; None: those that fit no other."""
    if "range" in answer:
        return tuple(answer["range"])
    if "value" not in answer:
        return None
    value = answer["value"]
    if digits and value:  # the same number to so many significant digits
        half = 0.5 * 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    else:
        half = 1e-9 * max(1.0, abs(value))
    return value - half, value + half


def chapter_items(folder: str | Path) -> tuple[list[Item], dict[str, str]]:
    """The questions of a chapter that can be exported, and those left out, with the reason.

    Args:
        folder: a chapter's folder, with its ``quiz.json`` and its executed notebooks.
    """
    folder = Path(folder)
    kept, left_out = [], {}
    for question in json.loads((folder / "quiz.json").read_text(encoding="utf-8")):
        reason, pictures = _needs_the_page(question, folder)
        if reason:
            left_out[question["id"]] = reason
            continue
        chapter = question["id"].split(".")[0]
        note = (
            f"Question {question['id']} of the course Seeing Is Not Believing. Sections, figures and tables "
            f"that an answer names are those of chapter {chapter}."
        )
        purpose = quizzes._purpose(question["id"])
        kept.append(item(question, pictures=pictures, purpose=purpose, note=note))
    return kept, left_out


def _needs_the_page(question: dict[str, Any], folder: Path) -> tuple[str, tuple[Picture, ...]]:
    if question["id"].split(".")[1] in COMMITMENTS:
        return "a commitment: the page shows the answer right after it", ()
    if "page_only" in question:
        return question["page_only"], ()
    pictures: list[Picture] = []
    for number in dict.fromkeys(re.findall(r"Figure (\d+\.\d+)", question["question"])):
        found = figure_pictures(folder, number)
        if not found:
            return f"asks about Figure {number}, which moves", ()
        pictures += found
    return "", tuple(pictures)


# ---- figures -----------------------------------------------------------------------------------------------
def figure_pictures(folder: Path, number: str) -> list[Picture]:
    """The panels of a figure, one file each, from the stored notebooks; none if it has no still panels.

    Raises:
        ValueError: if no notebook of the folder shows the figure, or a panel has marks that a file loses.
    """
    mark = f'id="figure-{number.replace(".", "-")}"'
    shown = next((output for output in _outputs(folder) if mark in output), None)
    if shown is None:
        raise ValueError(f"no notebook in {folder} shows Figure {number}; run `make notebooks`")
    described = html.unescape(_first(r'<p class="s-sr">(.*?)</p>', shown))
    pictures = []
    for place, panel in enumerate(shown.split('<div class="s-panel">')[1:], start=1):
        panel = panel.split('<div class="s-tools">')[0]
        title = html.unescape(re.sub("<[^>]+>", " ", _first(r'<p class="s-name">(.*?)</p>', panel))).strip()
        if 's-over"' in panel or 's-num"' in panel:
            raise ValueError(f"Figure {number} has boxes or numbers over a panel, which its file would lose")
        alt = f"Figure {number}, panel {title or place}."
        alt += f" All of the figure: {described}" if place == 1 and described else ""
        data, ending = _panel_file(panel)
        name = f"figure-{number.replace('.', '-')}-{place}.{ending}"
        pictures.append(Picture(name, data, title, alt))
    return pictures


@cache
def _outputs(folder: Path) -> tuple[str, ...]:
    """All the HTML that the notebooks of a folder have stored."""
    notebooks = (nbformat.read(path, as_version=4) for path in sorted(folder.glob("*.ipynb")))
    return tuple(
        "".join(output.data["text/html"])
        for notebook in notebooks
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    )


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.DOTALL)
    return found[1] if found else ""


def _panel_file(panel: str) -> tuple[bytes, str]:
    """A panel's picture with its heat on it as JPEG; a chart as SVG with the colours of paper."""
    if 's-chart"' in panel:
        return _still_chart(_first(r'(<svg class="s-chart".*?</svg>)', panel)).encode(), "svg"
    layers = []
    for kind, encoded in re.findall(r'<img class="([^"]*)" src="data:image/\w+;base64,([^"]+)"', panel):
        layer = Image.open(io.BytesIO(base64.b64decode(encoded)))
        layers.append(layer.convert("L").convert("RGBA") if "is-grey" in kind else layer.convert("RGBA"))
    width, height = (max(448, *(getattr(layer, side) for layer in layers)) for side in ("width", "height"))
    scale = min(width / layers[0].width, height / layers[0].height)
    size = round(layers[0].width * scale), round(layers[0].height * scale)
    whole = Image.new("RGBA", size, "white")
    for layer in layers:
        sharp = Image.Resampling.NEAREST if layer.width < 128 else Image.Resampling.BICUBIC
        whole.alpha_composite(layer.resize(size, sharp))
    file = io.BytesIO()
    whole.convert("RGB").save(file, "JPEG", quality=88)
    return file.getvalue(), "jpg"


def _still_chart(svg: str) -> str:
    """A chart as a file of its own: the page's colours written out, on white."""
    light = _first(r'html\[data-theme="light"\] \{(.*?)\n\}', _static("tokens.css"))
    colors = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]+);", light))
    svg = re.sub(r"var\((--[\w-]+)\)", lambda found: colors[found[1]], svg)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    width, height = _first(r'viewBox="0 0 ([\d. ]+)"', svg).split()
    svg = svg.replace("<svg ", f'<svg {names} width="{width}" height="{height}" ', 1)
    return re.sub(
        r"(<svg [^>]*>)", rf'\1<rect width="{width}" height="{height}" fill="#ffffff"/>', svg, count=1
    )


# ---- texts -------------------------------------------------------------------------------------------------
def fill(element: ET.Element, text: str) -> ET.Element:
    """Put a text of ``quiz.json`` into an element, its few elements as elements and any other ``<`` as text.

    An element that is not closed ends with the text; one that is closed without being open stays text.
    """
    open_: list[ET.Element] = [element]
    for token, closing, name in _tokens(text):
        if not name:
            _append(open_[-1], html.unescape(token))
        elif name == "br":
            ET.SubElement(open_[-1], "br")
        elif not closing:
            open_.append(ET.SubElement(open_[-1], name))
        elif open_[-1].tag == name and len(open_) > 1:
            open_.pop()
        else:
            _append(open_[-1], token)
    return element


def _tokens(text: str) -> Iterator[tuple[str, str, str]]:
    start = 0
    for found in _TOKEN.finditer(text):
        if found.start() > start:
            yield text[start : found.start()], "", ""
        yield found[0], found[1], found[2]
        start = found.end()
    if start < len(text):
        yield text[start:], "", ""


def _append(element: ET.Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text


def plain(text: str) -> str:
    """A text of ``quiz.json`` without its elements."""
    return "".join(fill(ET.Element("p"), text).itertext())


def body(item: Item, address: str = "") -> list[ET.Element]:
    """What a question says and shows, as elements of XHTML; files are looked for at ``address``."""
    parts = [fill(ET.Element("p"), item.text)]
    if item.code:
        parts.append(ET.Element("pre"))
        ET.SubElement(parts[-1], "code").text = item.code
    if item.pictures:
        parts.append(ET.Element("table"))
        rows = ET.SubElement(parts[-1], "tbody")
        for start in range(0, len(item.pictures), 4):
            some = item.pictures[start : start + 4]
            row = ET.SubElement(rows, "tr")
            for picture in some:
                cell = ET.SubElement(ET.SubElement(row, "td"), "p")
                width = "330" if picture.name.endswith(".svg") else "200"
                ET.SubElement(cell, "img", src=address + picture.name, alt=picture.alt, width=width)
                if picture.title:
                    ET.SubElement(cell, "br").tail = picture.title
    return parts
