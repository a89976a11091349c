"""The styles and scripts that explorers and quizzes carry along: files, complete, none of them in Python."""

import re
from pathlib import Path

import pytest

import xai_course
from xai_course import _page

PACKAGE = Path(xai_course.__path__[0])
STYLES = sorted(PACKAGE.glob("static/**/*.css"))
SCRIPTS = sorted(PACKAGE.glob("static/**/*.js"))


def name(path: Path) -> str:
    return path.name


def test_there_are_styles_and_scripts():
    assert {"tokens.css", "controls.css", "figure.css", "quiz.css", "explorers.css"} <= set(map(name, STYLES))
    assert {
        "quiz.js",
        "maps.js",
        "frames.js",
        "digits.js",
        "cam.js",
        "smooth_grad.js",
        "rise.js",
        "tag.js",
        "tiles.js",
    } <= set(map(name, SCRIPTS))


@pytest.mark.parametrize("path", [*STYLES, *SCRIPTS], ids=name)
def test_a_file_says_first_what_it_is_and_asks_no_other_host_for_anything(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("/* " if path.suffix == ".css" else "// ")
    drawn_here = re.sub(r'url\("data:image/svg\+xml,[^"]*"\)', "", text)
    assert not re.search(r"https?://|@import|url\(|\bimport\b|\bfetch\(", drawn_here)


@pytest.mark.parametrize("path", STYLES, ids=name)
def test_every_rule_of_a_style_is_bound_to_what_carries_it(path):
    """A rule without one of our own classes would change the rest of the book."""
    css = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    css = re.sub(
        r"@media[^{]*\{((?:[^{}]*\{[^{}]*\})*)\s*\}", r"\1", css
    )  # what holds on a phone or in print
    selectors = [selector.strip() for selector in re.findall(r"([^{}]+)\{[^{}]*\}", css)]
    assert selectors and css.count("{") == css.count("}") == len(selectors)
    for selector in selectors:
        if (
            path.stem == "tokens"
        ):  # names of colours and sizes: what they name is used by our own classes alone
            assert re.fullmatch(r"(:root|html\[data-theme=.*\]|, |body\[data-jp-theme-light=.*\])+", selector)
        else:
            assert re.search(r"\.s-[a-z]", selector), selector


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_keeps_its_names_to_itself(path):
    code = re.sub(r"\A(//.*\n)+", "", path.read_text(encoding="utf-8"))
    assert code.startswith("(() => {\n") and code.endswith("})();\n")


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_has_nothing_that_compact_would_tear_apart(path):
    """It strips every line, so that a text over several lines would change, and drops what follows ``/*``."""
    text = path.read_text(encoding="utf-8")
    assert "/*" not in text and "`" not in text


def test_the_modules_hold_no_style_and_no_script():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"document\.|addEventListener|=>\s*\{|\{[^{}\n]*border-radius:", text), path.name


def test_an_output_carries_its_sheets_in_one_line_without_comments():
    style = _page.inline_style("tokens", "quiz")
    assert style.startswith('<style data-xai-course="tokens quiz">:root {') and ".s-quiz {" in style
    assert "\n" not in style and "/*" not in style
