"""Commit, then reveal: what follows a prediction lies under a veil until the reader has made it.

A cell that shows a question ``N.predict.k`` or ``N.hook.k`` veils what comes after it on the page, up to the
next heading, the next quiz, or an empty ``reveal`` directive. Where there are scripts (``html.has-scripts``)
the style veils it from the first paint on; ``xai_course/static/quiz.js`` opens it.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ASKED = re.compile(r'data-quiz="([^"]+)"')
VEILS = re.compile(r"\d+\.(predict|hook)\.")


class reveal(nodes.Element):
    """Where the veil ends."""


class Reveal(SphinxDirective):
    """``:::{reveal}`` and ``:::``: what stands below it is not veiled."""

    def run(self) -> list[nodes.Node]:
        return [reveal()]


def asked(node: nodes.Node) -> list[str]:
    """The questions that a cell shows."""
    return [name for raw in node.findall(nodes.raw) for name in ASKED.findall(raw.astext())]


def veil(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put what follows a prediction into the element that the script veils."""
    for parent in [doctree, *doctree.findall(nodes.section)]:
        for cell in list(parent.children):
            names = [] if isinstance(cell, nodes.section) else asked(cell)
            waiting = [name for name in names if VEILS.match(name)]
            if waiting:
                _veil_after(parent, cell, waiting)
    for end in list(doctree.findall(reveal)):
        end.parent.remove(end)


def _veil_after(parent: nodes.Element, cell: nodes.Node, names: list[str]) -> None:
    start = parent.index(cell) + 1
    covered = []
    for node in parent.children[start:]:
        if isinstance(node, (nodes.section, reveal)) or asked(node):
            break
        covered.append(node)
    if any(node.astext().strip() or list(node.findall(nodes.image)) for node in covered):
        opening = f'<div class="s-gate" data-gate="{" ".join(names)}"><div class="s-under">'
        pieces = [
            nodes.raw("", opening, format="html"),
            *covered,
            nodes.raw("", "</div></div>", format="html"),
        ]
        parent.children[start : start + len(covered)] = pieces
        for node in pieces:
            node.parent = parent


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by ``course_pages``."""
    app.add_node(reveal)
    app.add_directive("reveal", Reveal)
    app.connect("doctree-resolved", veil)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
