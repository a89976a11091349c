"""Questions of the quizzes, named on other pages: the teacher's book says when to vote, and on what.

``{ask}`5.hook.1` `` writes the question's number, as a link to the place where it stands, and its text, which
is read from the chapter's ``quiz.json``: the two cannot drift apart. A bare "5.hook.1" becomes a link, too.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole
from text_links import link

NAMED = re.compile(r"\b\d+\.(?:warm|hook|predict|why|wrap)\.\d+\b")
LOG = logging.getLogger(__name__)


def find_questions(app: Sphinx) -> None:
    """Note the text of each question, and the page on which it is asked."""
    root = Path(app.srcdir)
    app.questions, app.asked_on = {}, {}
    for quiz in sorted(root.glob("chapters/*/quiz.json")):
        for question in json.loads(quiz.read_text(encoding="utf-8")):
            app.questions[question["id"]] = _plain(question["question"])
    for notebook in sorted(root.glob("chapters/*/*.ipynb")):
        page = notebook.relative_to(root).with_suffix("").as_posix()
        for name in re.findall(r'data-quiz=\\"([^"\\]+)\\"', notebook.read_text(encoding="utf-8")):
            app.asked_on.setdefault(name, page)


def _plain(text: str) -> str:
    """The text without its marks."""
    return html.unescape(re.sub(r"<[^>]+>", "", text)).strip()


class Ask(SphinxRole):
    """``{ask}`5.hook.1` ``: the question's number and its text."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        text = self.env.app.questions.get(self.text)
        if text is None:
            LOG.warning("no quiz.json has a question %r", self.text, location=self.get_location())
            return [nodes.Text(self.text)], []
        return [nodes.Text(f"{self.text}: "), nodes.emphasis("", text)], []


def link_questions(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Make "5.hook.1" in the text a link to that question."""

    def place(found: re.Match) -> tuple[str, str] | None:
        there = app.asked_on.get(found[0])
        return None if there is None else (there, f"quiz-{found[0].replace('.', '-')}")

    link(doctree, page, NAMED, place)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by ``course_pages``."""
    app.connect("builder-inited", find_questions)
    app.connect("doctree-resolved", link_questions)
    app.add_role("ask", Ask())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
