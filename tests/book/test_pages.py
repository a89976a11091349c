"""The built pages, without a browser: links, resources, text alternatives, citations."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from tests.pages import MADE_BY_SPHINX, PAGES, ROOT

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "embed": "src"}
LOADED_RELATIONS = {"stylesheet", "icon", "shortcut", "preload", "modulepreload", "prefetch", "preconnect"}


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: Path) -> frozenset[str]:
    return frozenset(tag.get("id") or tag.get("name") for tag in soup(path).find_all(id=True)) | frozenset(
        tag["name"] for tag in soup(path).find_all("a", attrs={"name": True})
    )


def is_remote(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in ("http", "https")


def test_the_pages_are_those_of_the_table_of_contents(book_html):
    built = {
        str(path.relative_to(book_html).with_suffix(""))
        for path in book_html.rglob("*.html")
        if "_static" not in path.parts
    }
    assert built == set(PAGES) | set(MADE_BY_SPHINX)


@pytest.mark.parametrize("page", PAGES + MADE_BY_SPHINX)
def test_links_lead_somewhere(book_html, page):
    path = book_html / f"{page}.html"
    broken = []
    for tag, attribute in [
        ("a", "href"),
        ("link", "href"),
        ("img", "src"),
        ("script", "src"),
        ("image", "href"),
    ]:
        for element in soup(path).find_all(tag, attrs={attribute: True}):
            address = element[attribute]
            parts = urlsplit(address)
            if parts.scheme or address.startswith("//"):  # other hosts, mail, data
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                broken.append(f"{address}: no such file")
            elif not target.is_relative_to(book_html.resolve()):
                broken.append(f"{address}: outside the book, where no server finds it")
            elif (
                parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in anchors(target)
            ):
                broken.append(f"{address}: no such place on the page")
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("page", PAGES + MADE_BY_SPHINX)
def test_nothing_is_loaded_from_another_host(book_html, page):
    document = soup(book_html / f"{page}.html")
    loaded = [
        tag[LOADED[tag.name]] for tag in document.find_all(list(LOADED)) if tag.has_attr(LOADED[tag.name])
    ]
    loaded += [tag["srcset"] for tag in document.find_all(srcset=True)]
    loaded += [
        tag["href"]
        for tag in document.find_all("link", href=True)
        if LOADED_RELATIONS & set(tag.get("rel", []))
    ]
    styles = [tag.get_text() for tag in document.find_all("style")] + [
        tag["style"] for tag in document.find_all(style=True)
    ]
    loaded += [address for style in styles for address in style_addresses(style)]
    assert [address for address in loaded if is_remote(address)] == []


def test_no_style_sheet_loads_from_another_host(book_html):
    remote = {
        f"{path.name}: {address}"
        for path in book_html.rglob("*.css")
        for address in style_addresses(path.read_text(encoding="utf-8"))
        if is_remote(address)
    }
    assert not remote


def style_addresses(style: str) -> list[str]:
    """What a style sheet asks for: url(...) and @import "..."."""
    return re.findall(r"""url\(\s*["']?([^"')]+)""", style) + re.findall(r"""@import\s+["']([^"']+)""", style)


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_has_a_text_alternative(book_html, page):
    document = soup(book_html / f"{page}.html")
    poor = []
    for image in document.find_all("img"):
        alt = (image.get("alt") or "").strip()
        figure = image.find_parent("figure", class_="s-fig")
        if figure and alt:  # a panel has its title; what is to be seen is said once, for the whole figure
            alt = figure.select_one(".s-sr").get_text()
        # Without our metadata the builder writes the file's path.
        if len(alt.split()) < 3 or re.search(r"\.(png|jpe?g|svg|webp|gif)$|^(\.\.)?/|_images/", alt):
            poor.append(f"{image.get('src', '')[:80]}: {alt!r}")
    for drawing in document.select("article svg"):
        decorative = drawing.get("aria-hidden") == "true"
        named = drawing.get("aria-label") or drawing.get("aria-labelledby") or drawing.find("title")
        if not decorative and not named:
            poor.append(str(drawing)[:120])
    assert not poor, "\n".join(poor)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_has_one_title_and_a_language(book_html, page):
    document = soup(book_html / f"{page}.html")
    assert document.html["lang"] == "en"
    assert len(document.select("article h1")) == 1


def cited_keys() -> set[str]:
    sources = [*ROOT.glob("book/**/*.md"), *ROOT.glob("book/**/*.inc"), *ROOT.glob("chapters/*/*.md")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    groups = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
    return {key.strip() for group in groups for key in group.split(",")}


def test_every_citation_has_its_source():
    entries = re.findall(
        r"^@\w+\{([^,\s]+)", (ROOT / "book/references.bib").read_text(encoding="utf-8"), re.M
    )
    assert len(entries) == len(set(entries)), "a key occurs twice in references.bib"
    assert cited_keys(), "no page cites anything"
    assert cited_keys() <= set(entries)
    assert set(entries) <= cited_keys(), "references.bib has entries that no page cites"


@pytest.mark.parametrize("page", PAGES)
def test_no_citation_is_left_unresolved(book_html, page):
    article = soup(book_html / f"{page}.html").find("article").get_text(" ")
    assert not re.search(r"\[\?+\]|\{cite|\{doc\}|\{ref\}|\{eq\}|\{numref\}|\{term\}", article)


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("chapters/")])
def test_a_chapter_page_offers_its_notebook(book_html, page):
    links = [a["href"] for a in soup(book_html / f"{page}.html").find_all("a", href=True)]
    assert any(link.endswith(f"{Path(page).name}.ipynb") for link in links)
