"""What the text names becomes a link: figures, tables, questions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from docutils import nodes
from sphinx.util.osutil import relative_uri

Place = Callable[[re.Match], tuple[str, str] | None]  # the page and the anchor there; None: no link


def link(doctree: nodes.document, page: str, pattern: re.Pattern, place: Place) -> None:
    """Make each match in the running text a link to its place."""
    for text in list(doctree.findall(nodes.Text)):
        inside = text.parent
        while inside is not None and not isinstance(
            inside, (nodes.reference, nodes.literal, nodes.literal_block, nodes.title, nodes.raw)
        ):
            inside = inside.parent
        if inside is None and pattern.search(text):
            text.parent.replace(text, list(_linked(page, text.astext(), pattern, place)))


def _linked(page: str, text: str, pattern: re.Pattern, place: Place) -> Iterator[nodes.Node]:
    end = 0
    for found in pattern.finditer(text):
        where = place(found)
        if where is None:
            continue
        there, anchor = where
        yield nodes.Text(text[end : found.start()])
        uri = "" if there == page else relative_uri(f"{page}.html", f"{there}.html")
        yield nodes.reference("", found[0], internal=True, refuri=f"{uri}#{anchor}")
        end = found.end()
    yield nodes.Text(text[end:])
