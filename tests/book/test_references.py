"""The bibliography: each entry is whole, and the reader is told what was not seen at its source."""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from pybtex.database import parse_file

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "book" / "references.bib"
TEXT = FILE.read_text(encoding="utf-8")
ENTRIES = parse_file(str(FILE)).entries
UNSEEN = dict(re.findall(r"^% not seen at its source: (.+)\n@\w+\{(\w+),", TEXT, re.M))
UNSEEN = {key: what for what, key in UNSEEN.items()}
PLACES = ("journal", "booktitle", "publisher", "institution", "howpublished", "eprint")
every_entry = pytest.mark.parametrize("key", ENTRIES)


@every_entry
def test_an_entry_says_who_what_when_and_where(key):
    entry = ENTRIES[key]
    assert entry.persons.get("author") and entry.fields["title"].strip()
    assert re.fullmatch(r"(18|19|20)\d\d", entry.fields["year"]) and key.endswith(entry.fields["year"])
    assert any(entry.fields.get(place, "").strip() for place in PLACES)


@every_entry
def test_numbers_have_the_form_of_their_kind(key):
    fields = ENTRIES[key].fields
    if "pages" in fields:
        first, _, last = fields["pages"].partition("--")
        assert (first.isdigit() and last.isdigit() and int(first) < int(last)) or re.fullmatch(
            r"e?\d+", fields["pages"]
        )
    if "doi" in fields:
        assert re.fullmatch(r"10\.\d{4,}/\S+", fields["doi"])
    if "eprint" in fields:
        number = re.fullmatch(r"(\d\d)(0[1-9]|1[0-2])\.\d{4,5}", fields["eprint"])
        assert number and fields["archiveprefix"] == "arXiv"
        # From 2015 on an arXiv number has five digits. A paper may be on arXiv a year after it is printed.
        assert (len(fields["eprint"]) == 10) == (int(number[1]) >= 15)
        assert 2000 + int(number[1]) <= int(fields["year"]) + 1


def test_no_number_belongs_to_two_entries():
    for field in ("eprint", "doi", "title"):
        values = [entry.fields[field].lower() for entry in ENTRIES.values() if field in entry.fields]
        assert len(values) == len(set(values)), field


def test_the_reader_is_told_what_was_not_seen_at_its_source():
    marks = re.findall(r"^% not seen at its source", TEXT, re.M)
    assert len(marks) == len(UNSEEN), "a mark says what was not seen, and stands on the line above its entry"
    told = {key for key, entry in ENTRIES.items() if "as others cite" in entry.fields.get("note", "")}
    assert told == set(UNSEEN)
    assert len(told) < 8
    page = (ROOT / "book/references.md").read_text(encoding="utf-8")
    said = re.search(r"this concerns (\d+) of the (\d+) entries", page)
    assert [int(number) for number in said.groups()] == [len(told), len(ENTRIES)]


def test_the_notes_are_on_the_page(book_html):
    page = BeautifulSoup((book_html / "book/references.html").read_text(encoding="utf-8"), "html.parser")
    entries = [entry.get_text(" ", strip=True) for entry in page.select("article div.citation")]
    assert len(entries) == len(ENTRIES)
    assert sum("as others cite" in entry for entry in entries) == len(UNSEEN)
