"""The retrieval thread: a warm-up asks about the chapter before, and about the one before that."""

import json
import re
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [path for path in sorted(ROOT.glob("chapters/*/lesson*.md")) if path.parent.name[:2] > "01"]


def asked(page: Path) -> list[str]:
    """The texts of the questions of a page's warm-up, in the order in which the page shows them."""
    questions = json.loads((page.parent / "quiz.json").read_text(encoding="utf-8"))
    texts = {question["id"]: question["question"] for question in questions}
    code = "\n".join(cell.source for cell in jupytext.read(page).cells if cell.cell_type == "code")
    return [texts[name] for name in re.findall(r'"(\d+\.warm\.\d+)"', code)]


def chapters_in(texts: list[str]) -> set[int]:
    return {int(number) for text in texts for number in re.findall(r"[Cc]hapter (\d+)", text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_a_warm_up_asks_two_chapters_back(page):
    own = int(page.parent.name[:2])
    texts = asked(page)
    assert 3 <= len(texts) <= 4
    wanted = {own - 1, own - 2} - {0}
    assert wanted <= chapters_in(texts), f"{page.parent.name} asks about chapters {chapters_in(texts)}"
    assert max(chapters_in(texts)) < own, "a warm-up asks about what comes later"
    if own == 2:
        return  # there is one chapter to ask about
    named = [text for text in texts if chapters_in([text]) or text.startswith("Page one")]
    assert len(named) >= len(texts) - 1, "a question does not say which chapter it is about"
