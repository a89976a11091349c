"""The frame of the built pages: what is loaded and how much it weighs, names, contents, openers, code."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jupytext
import pytest
import yaml
from bs4 import BeautifulSoup

from tests.pages import LESSONS, MADE_BY_SPHINX, PAGES, ROOT

CHAPTERS = yaml.safe_load((ROOT / "book/data/methods.yml").read_text(encoding="utf-8"))["chapters"]
MEGABYTE = 1_000_000
# Visible code is the method: whole lines without a sideways scroll, and no more than one looks at once.
LINES, COLUMNS = 15, 80


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def local(path: Path, address: str) -> Path | None:
    """The file of the book that an address on a page means, or None."""
    parts = urlsplit(address)
    if parts.scheme or not parts.path:
        return None
    return (path.parent / unquote(parts.path)).resolve()


def loaded(path: Path) -> set[Path]:
    """The files that a page loads: styles, what they ask for, scripts, pictures."""
    document, files = soup(path), {path.resolve()}
    asked = [tag["href"] for tag in document.select("link[rel=stylesheet], link[rel=icon]")]
    asked += [tag["src"] for tag in document.select("script[src], img[src]")]
    for address in asked:
        file = local(path, address)
        if file is not None:
            files.add(file)
    for script in document.select("script:not([src])"):
        components = re.search(r'window.MathJax = .*"load": \[(.*?)\]', script.get_text())
        named = re.findall(r'"(.*?)"', components[1]) if components else []
        for name in [*named, *["output/chtml/fonts/tex"] * bool(named)]:  # which output/chtml asks for
            files.add(local(path, f"{document.html['data-content_root']}_static/mathjax/{name}.js"))
    for sheet in [file for file in files if file.suffix == ".css"]:
        for address in re.findall(r"""url\(\s*["']?([^"')]+)""", sheet.read_text(encoding="utf-8")):
            file = local(sheet, address)
            if file is not None:
                files.add(file)
    return files


def weight(path: Path) -> float:
    return sum(file.stat().st_size for file in loaded(path)) / MEGABYTE


@pytest.mark.parametrize("page", PAGES + MADE_BY_SPHINX[1:])
def test_a_page_loads_nothing_of_the_theme(book_html, page):
    names = {file.name for file in loaded(book_html / f"{page}.html")}
    assert not [name for name in names if re.search(r"fontawesome|bootstrap|pydata|book-theme|thebe", name)]
    assert {"tokens.css", "frame.css", "print.css", "core.js", "frame.js", "serif-400.woff2"} <= names


def test_the_icons_of_the_theme_are_not_in_the_book(book_html):
    assert not [*book_html.rglob("fontawesome.js")]


# Chapters whose lesson is still heavier.
HEAVY = set()


# With MathJax where there are equations (0.8 MB), but for those of its fonts that a page asks for when drawn.
@pytest.mark.parametrize("page", PAGES + MADE_BY_SPHINX[1:])
def test_a_page_is_light(book_html, page):
    most = 3 if page in LESSONS else 2 if page.endswith(("/exercises", "/appendix")) else 1
    if page == "book/cheat_sheet":
        most = 1.2  # it has equations and a picture of every method
    weighs = weight(book_html / f"{page}.html")
    if weighs > most and page in LESSONS and page.split("/")[1] in HEAVY:
        pytest.xfail(f"{weighs:.1f} MB")
    assert weighs <= most


def test_a_page_without_equations_loads_no_mathjax(book_html):
    for page in ("book/index", "book/start_here", "book/glossary", "book/teaching/index"):
        assert not [file for file in loaded(book_html / f"{page}.html") if "mathjax" in file.parts]


# Chapters whose exercises are not written yet. Every other chapter must have them, and these must not.
WITHOUT_EXERCISES: set[int] = set()


@pytest.mark.parametrize("chapter", [c for c in CHAPTERS if c["written"]], ids=lambda c: c["page"])
def test_a_chapter_has_one_name_everywhere(book_html, chapter):
    lesson, title = book_html / f"{chapter['page']}.html", chapter["title"]
    exercises = lesson.with_name("exercises.html")
    assert soup(lesson).select_one("article h1").find(string=True, recursive=False).strip() == title
    assert exercises.exists() == (chapter["number"] not in WITHOUT_EXERCISES)
    if exercises.exists():
        named = soup(exercises).select_one("article h1").find(string=True, recursive=False).strip()
        assert named == f"Exercises: {title}" or named == f"Exercises: {chapter['short']}"
    for page in PAGES:
        document, folder = soup(book_html / f"{page}.html"), Path(chapter["page"]).parent.name
        if not document.select("nav[aria-label=Course]"):
            continue
        for link in document.select(
            f"nav[aria-label=Course] a[href*='{folder}/lesson.html'] > span:nth-of-type(2)"
        ):
            assert link.get_text() == title
    card = soup(book_html / f"{PAGES[0]}.html").select(".s-card h3")[chapter["number"] - 1]
    assert card.get_text(strip=True) == title


def test_the_title_page_adds_up_the_minutes_of_a_chapter_s_pages(book_html):
    cards = soup(book_html / "book/index.html").select(".s-cards .s-card")
    assert len(cards) == len(CHAPTERS)
    for card, chapter in zip(cards, CHAPTERS, strict=True):
        pages = sorted((book_html / chapter["page"]).parent.glob("lesson*.html"))
        stated = [int(re.search(r"(\d+) minutes to read", soup(path).get_text())[1]) for path in pages]
        said = card.select_one(".meta").get_text()
        assert said.startswith(f"{sum(stated)} minutes to read") and ("two pages" in said) == (
            len(pages) == 2
        )


@pytest.mark.parametrize("page", LESSONS)
def test_the_contents_show_number_minutes_and_the_page_s_sections(book_html, page):
    document = soup(book_html / f"{page}.html")
    here = document.select_one("nav[aria-label=Course] a[aria-current=page]")
    first = page.endswith("/lesson")  # a further page of a lesson stands below it, without a number
    assert here.select_one(".n").get_text() == (str(int(Path(page).parent.name[:2])) if first else "")
    opener = document.select_one(".s-facts").get_text(" ")
    minutes = re.search(r"(\d+) minutes to read", opener)[1]
    assert minutes in here.select_one(".t").get_text()
    steps = [step["href"] for step in here.find_parent("li").select(".s-steps a")]
    sections = [f"#{section['id']}" for section in document.select("article > section > section[id]")]
    assert steps == sections and len(steps) > 3


def test_a_chapter_that_is_not_written_is_no_link(book_html):
    unwritten = [Path(c["page"]).parent.name for c in CHAPTERS if not c["written"]]
    for page in PAGES:
        links = [a["href"] for a in soup(book_html / f"{page}.html").find_all("a", href=True)]
        assert not [link for link in links for folder in unwritten if folder in link]
    cards = soup(book_html / f"{PAGES[0]}.html").select(".s-card")
    assert len(cards) == len(CHAPTERS)
    assert [bool(card.select("h3 a")) for card in cards] == [c["written"] for c in CHAPTERS]


@pytest.mark.parametrize("page", LESSONS)
def test_a_lesson_opens_with_picture_number_lead_facts_and_aims(book_html, page):
    article = soup(book_html / f"{page}.html").select_one("article")
    opener = article.select_one(".s-opener")
    order = [
        opener.select_one(s)
        for s in (".s-opener-pic img", ".s-stamp", "h1", ".s-lead", ".s-facts", ".s-aims")
    ]
    assert all(order)
    place = {id(tag): k for k, tag in enumerate(article.find_all(True))}
    assert [place[id(tag)] for tag in order] == sorted(place[id(tag)] for tag in order)
    assert len(order[0]["alt"].split()) > 8
    assert {term.get_text() for term in opener.select("dt")} >= {"Before you start", "Time", "Runs in"}
    assert len(opener.select(".s-aims > li")) >= 3
    assert not article.select(".admonition.opener")


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("chapters/")])
def test_folded_code_says_how_long_it_is_and_follows_what_it_draws(book_html, page):
    for strip in soup(book_html / f"{page}.html").select(".cell > details.hide"):
        said = re.fullmatch(
            r"(code|solution|solution at work) · (\d+) lines?", strip.summary.get_text(strip=True)
        )
        assert said, strip.summary
        assert int(said[2]) == len(strip.select_one("pre").get_text().rstrip().splitlines())
        assert said[1] != "code" or not strip.find_next_sibling(class_="cell_output")


def long_code(folder: Path) -> list[str]:
    """The visible cells of a lesson that are too long or too wide."""
    hidden = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
    found = []
    pages = sorted(folder.glob("lesson*.md"))
    for number, cell in enumerate(cell for page in pages for cell in jupytext.read(page).cells):
        if cell.cell_type != "code" or hidden & set(cell.metadata.get("tags", [])):
            continue
        lines = cell.source.strip().splitlines()
        widest = max(map(len, lines), default=0)
        if len(lines) > LINES or widest > COLUMNS:
            found.append(f"cell {number}: {len(lines)} lines, {widest} wide: {lines[0][:50]}")
    return found


@pytest.mark.parametrize("folder", sorted((ROOT / "chapters").glob("0*")), ids=lambda folder: folder.name)
def test_visible_code_is_short_and_narrow(folder):
    found = long_code(folder)
    assert not found, "\n".join(found)


def test_the_title_page_says_what_was_computed(book_html):
    stored = json.loads((ROOT / "book/data/hero.json").read_text(encoding="utf-8"))
    stage = soup(book_html / f"{PAGES[0]}.html").select_one(".s-stage")
    shown = json.loads(stage.select_one("script").get_text())
    assert shown["on"]["answer"] == max(stored["tag"], key=stored["tag"].get) == "star"
    assert shown["off"]["answer"] == max(stored["clean"], key=stored["clean"].get) != "star"
    for state, p in (("on", stored["tag"]), ("off", stored["clean"])):
        for name, percent in shown[state]["odds"][:2]:
            assert percent == pytest.approx(100 * p[name], abs=0.06)
        assert sum(percent for _, percent in shown[state]["odds"]) == pytest.approx(100, abs=0.2)
