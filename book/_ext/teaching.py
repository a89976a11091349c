"""What pages for teachers set from data: ``{mistakes} 2`` lists what each planted wrong answer is told."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

LONG = 4  # an exercise with more messages than this is folded
UNNAMED = re.compile(r"\d+\.\d+")


def stored(root: Path, chapter: int) -> dict[str, Any]:
    """What ``tools/mistakes.py`` wrote of a chapter."""
    return json.loads((root / f"book/data/mistakes/ch{chapter:02d}.json").read_text(encoding="utf-8"))


def marked_up(text: str) -> str:
    """A message as HTML: code between backticks, emphasis between stars; the rest as it is."""
    pieces = re.split(r"`([^`]+)`", text)
    for place, piece in enumerate(pieces):
        escaped = html.escape(piece, quote=False)
        emphasised = re.sub(r"(?<!\w)\*(\S(?:[^*]*\S)?)\*(?!\w)", r"<em>\1</em>", escaped)
        pieces[place] = f"<code>{escaped}</code>" if place % 2 else emphasised
    return "".join(pieces)


def listed(mistake: dict[str, Any]) -> str:
    """One message, with the names of the answers that get it, where they have names."""
    names = [name for name in mistake["planted"] if not UNNAMED.fullmatch(name)]
    name = f"<strong>{html.escape('; '.join(names), quote=False)}</strong> " if names else ""
    message = mistake["message"][:1].upper() + mistake["message"][1:]
    look = f"<span>{marked_up(mistake['look'])}</span>" if mistake["look"] else ""
    return f"<li>{name}{marked_up(message)} {look}</li>"


def exercise_list(identifier: str, exercise: dict[str, Any]) -> str:
    """An exercise's messages; folded where there are many."""
    count = len(exercise["mistakes"])
    rows = "\n".join(listed(mistake) for mistake in exercise["mistakes"])
    opened = "" if count > LONG else " open"
    return (
        f'<details class="s-mistakes" id="mistakes-{identifier.replace(".", "-")}"{opened}><summary>'
        f"<b>{identifier}</b> {html.escape(exercise['title'], quote=False)} <small>{count} messages</small>"
        f"</summary>\n<ul>\n{rows}\n</ul></details>"
    )


class Mistakes(SphinxDirective):
    """``{mistakes} 2``: the messages of chapter 2's exercises; ``{mistakes} 2.1``: of one exercise."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        asked = self.arguments[0]
        chapter = int(asked.split(".")[0])
        path = Path(self.env.srcdir)
        self.env.note_dependency(str(path / f"book/data/mistakes/ch{chapter:02d}.json"))
        exercises = stored(path, chapter)
        if asked in exercises:
            exercises = {asked: exercises[asked]}
        elif "." in asked:
            raise self.error(f"no exercise {asked!r}; there are {', '.join(exercises)}")
        made = "\n".join(exercise_list(*item) for item in exercises.items())
        return [nodes.raw("", f'<div class="s-mistakes-all">\n{made}\n</div>', format="html")]


def load_style(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Load the style of the teacher's pages on these alone."""
    if page.startswith("book/teaching/"):
        app.add_css_file("teaching.css", priority=720)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by ``course_pages``."""
    app.add_directive("mistakes", Mistakes)
    app.connect("html-page-context", load_style)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
