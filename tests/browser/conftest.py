"""A headless Chromium with the network cut off, and visits that record what goes wrong."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import xai_course
from tests.browser.faults import SIZES
from tests.conftest import CHROMIUM
from tests.pages import PAGES

STATIC = Path(xai_course.__path__[0]) / "static"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        missing = "no Chromium: apt-get install chromium"
        # Where it was promised (continuous integration), its absence is a failure.
        (pytest.fail if os.environ.get("REQUIRE_BROWSER") else pytest.skip)(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a folder is served meanwhile."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def opened(browser, root, name, *, size="desktop", theme="light", scripts=True):
    """The page ``name`` of the folder at the address ``root``, loaded, with the network cut off.

    ``tab.left`` are the requests that left for another host (none was let through), ``tab.errors`` what the
    page wrote to the console as errors. Nothing moves: a click would wait until what it opens has faded in.
    """
    context = browser.new_context(
        viewport=SIZES[size],
        color_scheme=theme,
        reduced_motion="reduce",
        java_script_enabled=scripts,
        has_touch=size == "phone",
    )
    left, errors = [], []
    ours = (root, "data:", "blob:")

    def cut(route):
        if route.request.url.startswith(ours):
            route.continue_()
        else:
            left.append(route.request.url)
            route.abort()

    context.route("**/*", cut)
    context.add_init_script("localStorage.mode = localStorage.mode || 'auto'")  # the system's choice
    tab = context.new_page()
    tab.on("console", lambda message: message.type == "error" and errors.append(message.text))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("requestfailed", lambda request: errors.append(f"{request.url}: {request.failure}"))
    tab.left, tab.errors, tab.devtools = left, errors, context.new_cdp_session(tab)
    tab.goto(f"{root}/{name}")
    if name == "index.html":  # sends its reader on to the title page
        tab.wait_for_url(f"**/{PAGES[0]}.html")
    if scripts:
        tab.wait_for_function("!window.MathJax || MathJax.startup?.promise?.then(() => true)")
    yield tab
    context.close()


FOLLOW = """<script>(() => {
const m = matchMedia("(prefers-color-scheme: dark)");
const set = () => { document.documentElement.dataset.theme = m.matches ? "dark" : "light"; };
m.onchange = set; set(); })();</script>"""


def write_page(folder: Path, name: str, body: str, root: str = "") -> None:
    """A page of its own with some outputs, which follows the system's theme: what they are outside the book.

    ``root`` are further attributes of its html element.
    """
    (folder / f"{name}.html").write_text(
        f'<!doctype html><html lang="en" data-theme="light"{root}><head><meta charset="utf-8">'
        f'<title>{name}</title><meta name="viewport" content="width=device-width">'
        "<style>body { margin: 1rem; background: var(--paper); color: var(--ink); }</style>"
        f"{FOLLOW}</head><body><main><article><h1>{name}</h1>{body}</article></main></body></html>",
        encoding="utf-8",
    )


def write_explorer(folder: Path, name: str, shown) -> Path:
    """A page of its own with an explorer, beside the files of which the book loads each once; the folder."""
    shutil.copytree(STATIC, folder / "_static")
    write_page(folder, name, shown.html())
    return folder


def said(tab) -> str:
    """What an explorer says in words."""
    return tab.locator(".s-said").inner_text()


def side_by_side(tab) -> None:
    """Show all questions of every quiz at once, as paper does."""
    tab.evaluate(
        "document.querySelectorAll('.s-quizzes').forEach(quiz => quiz.classList.remove('is-turned'))"
    )


@pytest.fixture(scope="session")
def addresses(book_html) -> Iterator[dict[str, str]]:
    """Where the book lies: opened as files, and served."""
    with served(book_html) as address:
        yield {"file": book_html.resolve().as_uri(), "http": address}


@pytest.fixture
def visit(chromium, addresses):
    """``with visit(page, via="file", size="desktop", theme="light") as tab``: a loaded page of the book."""

    def visit(name, *, via="file", **options):
        return opened(chromium, addresses[via], name, **options)

    return visit
