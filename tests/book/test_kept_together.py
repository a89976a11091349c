"""What the book keeps on one line, and that nothing is lost or doubled by it."""

import importlib
from pathlib import Path

import pytest
from docutils import nodes, utils

EXTENSIONS = Path(__file__).resolve().parents[2] / "book/_ext"


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(EXTENSIONS)
    return importlib.import_module("course_pages")


def test_a_formula_keeps_its_stop_where_an_equal_text_stands_before(pages):
    paragraph = nodes.paragraph()
    for word in ("x", "; ", "samples", ", ", nodes.math("", "n"), "; ", "noise"):
        paragraph += nodes.Text(word) if isinstance(word, str) else word
    document = utils.new_document("a page")
    document += paragraph
    pages.keep_together(None, document, "a page")
    assert document.astext() == "x; samples, n; noise"
    assert [node.astext() for node in document.findall(nodes.inline)] == ["n;"]
