"""The ledger's filters, on a table like the one that the book makes."""

from __future__ import annotations

import pytest

from tests.browser.conftest import opened
from tests.browser.faults import heard
from tests.pages import ROOT

CLAIMS = [
    ("3", "identity", "✓ holds"),
    ("3", "ordering", "✗ does not hold here"),
    ("4", "law", "✓ holds"),
    ("4", "ordering", "◐ holds in part"),
]


@pytest.fixture
def ledger(chromium, tmp_path):
    """``with ledger() as tab``: a page of four claims in two chapters."""
    sections = ""
    for chapter in ("3", "4"):
        rows = "".join(
            f"<tr><td>claim {i}</td><td>{kind}</td><td></td><td></td>"
            f'<td><span class="s-verdict">{verdict}</span></td></tr>'
            for i, (of, kind, verdict) in enumerate(CLAIMS)
            if of == chapter
        )
        table = f'<table class="ledger"><tbody>{rows}</tbody></table>'
        sections += f"<section><h2>Chapter {chapter}: a title</h2>{table}</section>"
    core = (ROOT / "xai_course/static/core.js").read_text(encoding="utf-8")
    filters = (ROOT / "book/_static/ledger.js").read_text(encoding="utf-8")
    (tmp_path / "ledger.html").write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Ledger</title>'
        f'<div id="ledger-tools"></div>'
        f"<article>{sections}</article><script>{core}</script><script>{filters}</script></html>",
        encoding="utf-8",
    )
    return lambda **options: opened(chromium, tmp_path.as_uri(), "ledger.html", **options)


def shown(tab) -> list[str]:
    return [row.locator("td").first.inner_text() for row in tab.locator("tbody tr:visible").all()]


def test_claims_are_filtered_by_chapter_kind_and_verdict(ledger):
    with ledger() as tab:
        assert len(shown(tab)) == 4
        assert tab.get_by_role("status").inner_text() == "All 4 claims are shown."
        tab.get_by_role("group", name="Kind").get_by_label("ordering").check()
        assert shown(tab) == ["claim 1", "claim 3"]
        tab.get_by_role("group", name="Verdict").get_by_label("does not hold here").check()
        assert shown(tab) == ["claim 1"] and tab.locator("h2:visible").count() == 1
        assert tab.get_by_role("status").inner_text() == "1 of 4 claims are shown."
        tab.get_by_role("group", name="Chapter").get_by_label("4").check()
        assert shown(tab) == []
        for name in ("Kind", "Verdict"):
            tab.get_by_role("group", name=name).get_by_label("all").check()
        assert shown(tab) == ["claim 2", "claim 3"]
        assert heard(tab) == []


def test_a_filter_is_moved_from_the_keyboard(ledger):
    with ledger() as tab:
        tab.get_by_role("group", name="Kind").get_by_label("all").focus()
        tab.keyboard.press("ArrowRight")
        assert shown(tab) == ["claim 0"]


def test_without_scripts_every_claim_is_shown(ledger):
    with ledger(scripts=False) as tab:
        assert len(shown(tab)) == 4
