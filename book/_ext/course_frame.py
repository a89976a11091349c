"""The frame of the book's pages: the opener of a chapter, the sidebar, the strip below a figure.

The layout is our own (``book/_templates``), on Sphinx's bare one: of the theme that Jupyter Book brings, no
style and no script is loaded.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

CHAPTER = re.compile(r"chapters/(\d\d)_\w+/(lesson\w*|exercises)$")
MINUTES = re.compile(r"(\d+) minutes to read")
SOURCE = "cell_code_source"  # what MyST-NB calls the code of a cell
AIMS = "You will be able to"
STYLES = ("frame", "opener", "presenter", "print")
SCRIPTS = ("frame", "presenter")
# What extensions load on every page and no page of ours uses.
NOT_LOADED = re.compile(
    r"sphinx_highlight|pygments|sphinx-book-theme|pydata-sphinx-theme|togglebutton|clipboard|copybutton"
    r"|sphinx-design|design-tabs|mystnb"
)
NOT_LOADED_INLINE = re.compile(r"toggle(Hint|Open|button)")

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CARDS = {
    1: "SmoothGrad heat on the small tag in the corner of a star's picture",
    2: "Integrated gradients of a cat's face: among the speckles one can make out its eyes and nose",
    3: "Grad-CAM heat over a cup of coffee",
    4: "RISE heat over a rocket on its launch pad",
    5: "Nine small pictures of shapes that a network learned from",
    6: "A cat's face whose hottest pixels have been painted grey",
    7: "A cat's photograph, and again with a small change: Grad-CAM heat on its face, then in a corner",
    8: "The cup of coffee again; its Grad-CAM heat now shows a smiling face",
    9: "One drawn star four times, each with the Grad-CAM heat of another network, in other places",
}


def chapter_number(page: str) -> int | None:
    """The number of the chapter that a page belongs to."""
    found = CHAPTER.match(page)
    return int(found[1]) if found else None


# ---- the opener


def find_minutes(app: Sphinx, doctree: nodes.document) -> None:
    """Note how long a lesson takes to read, as its opener says."""
    opener = next(filter(_is_opener, doctree.findall(nodes.admonition)), None)
    found = opener is not None and MINUTES.search(opener.astext())
    if found:
        app.env.metadata[app.env.docname]["minutes"] = found[1]


def _is_opener(node: nodes.Element) -> bool:
    return "opener" in node["classes"]


def set_openers(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Set a lesson's admonition of class ``opener`` round its title: picture, number, lead, facts, aims."""
    for opener in list(filter(_is_opener, doctree.findall(nodes.admonition))):
        section = opener.parent
        title = next(child for child in section.children if isinstance(child, nodes.title))
        section.remove(opener)
        section.remove(title)
        section[:0] = _opener(title, opener, chapter_number(page))


def _opener(title: nodes.title, opener: nodes.Element, number: int | None) -> list[nodes.Node]:
    picture = next(opener.findall(nodes.image))
    picture["classes"].append("s-opener-image")
    aims = next(
        child for child in opener.children if isinstance(child, (nodes.enumerated_list, nodes.bullet_list))
    )
    aims["classes"].append("s-aims")
    picture.parent.remove(picture)
    texts = [
        child for child in opener.children if isinstance(child, nodes.paragraph) and child.astext().strip()
    ]
    facts = [pair for text in texts if _is_fact(text) for pair in _facts(text)]
    leads = [text for text in texts if not _is_fact(text) and not text.astext().startswith(AIMS)]
    for text in leads:
        text["classes"].append("s-lead")
    glyphs = f'<i class="s-glyph g-c"></i><i class="s-glyph g-{number}"></i>'
    stamp = f'<span class="s-stamp" aria-hidden="true">{glyphs}</span>'
    return [
        _html('<div class="s-opener"><div class="s-opener-pic">'),
        picture,
        _html(f'</div>{stamp if number else ""}<div class="s-opener-text">'),
        title,
        *leads,
        _html('<dl class="s-facts">'),
        *(part for pair in facts for part in pair),
        _html(f'</dl><p class="s-aims-title">{AIMS}</p>'),
        aims,
        _html("</div></div>"),
    ]


def _html(text: str) -> nodes.raw:
    return nodes.raw("", text, format="html")


def _is_fact(text: nodes.paragraph) -> bool:
    first = next((child for child in text.children if child.astext().strip()), None)
    return isinstance(first, nodes.strong) and first.astext().rstrip().endswith(":")


def _facts(text: nodes.paragraph) -> list[list[nodes.Node]]:
    """``**Time:** 40 minutes. **Runs in:** 30 seconds.`` as pairs of a term and what follows it."""
    pairs: list[list[nodes.Node]] = []
    for child in text.children:
        if isinstance(child, nodes.strong):
            term = html.escape(child.astext().rstrip().removesuffix(":"))
            pairs.append([_html(f"<div><dt>{term}</dt><dd>")])
        elif pairs and child.astext().strip():
            pairs[-1].append(child)
    return [[pair[0], *_trimmed(pair[1:]), _html("</dd></div>")] for pair in pairs]


def _trimmed(fact: list[nodes.Node]) -> list[nodes.Node]:
    """A fact as an entry of a list: it begins with a capital and ends without a full stop."""
    for end, change in ((0, _capital), (-1, lambda text: text.rstrip().removesuffix("."))):
        if fact and isinstance(fact[end], nodes.Text):
            fact[end] = nodes.Text(change(str(fact[end])))
    return fact


def _capital(text: str) -> str:
    text = text.lstrip()
    return text[:1].upper() + text[1:]


# ---- code


def set_strips(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put folded code after what it draws, and say how many lines it has."""
    folded = [
        (cell, hidden)
        for cell in doctree.findall(nodes.container)
        if cell.get("nb_element") == "cell_code"
        for hidden in cell.children
        if isinstance(hidden, HideCodeCellNode) and "above-input" in hidden["classes"]
    ]
    for cell, hidden in folded:
        source = next(part for part in hidden.findall(nodes.container) if part.get("nb_element") == SOURCE)
        lines = len(source.astext().rstrip().splitlines())
        what = "solution" if "tag_solution" in cell["classes"] else "code"
        if what == "solution" and "at work" in hidden["prompt_show"]:
            what = "solution at work"
        hidden["prompt_show"] = hidden["prompt_hide"] = f"{what} · {lines} line{'s' * (lines != 1)}"
        if what == "code":
            cell.children.remove(hidden)
            cell.append(hidden)


def name_folded(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Let the strip's own words name it: MyST-NB names all alike and writes a paragraph into the summary."""
    if 'aria-label="Toggle hidden content"' in context.get("body", ""):
        context["body"] = re.sub(
            r'<summary aria-label="Toggle hidden content">\s*<p class="collapsed[^"]*">(.*?)</p>\s*'
            r'<p class="expanded[^"]*">.*?</p>\s*</summary>',
            r"<summary>\1</summary>",
            context["body"],
        ).replace('<details class="admonition hide', '<details class="hide')


# ---- what every page has


def add_frame(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """What the layout needs: the contents, the chapter's other page, the notebook; and no foreign files."""
    context["course_contents"] = contents(app, page)
    context["course_number"] = chapter_number(page)
    context["course_sibling"] = _sibling(app, page)
    source = app.env.doc2path(page, base=False) if page in app.env.all_docs else ""
    context["course_notebook"] = f"_sources/{source}" if source.endswith(".ipynb") else ""
    slides = context["course_number"] is not None  # the pages of chapters can be presented
    context["css_files"] = [
        sheet
        for sheet in context["css_files"]
        if not NOT_LOADED.search(str(sheet.filename)) and (slides or "presenter" not in str(sheet.filename))
    ]
    equations = re.search(r"class=\"math|\\[(\[]", context.get("body", ""))
    context["script_files"] = [
        script
        for script in context["script_files"]
        if _is_wanted(script, bool(equations))
        and (slides or "presenter" not in str(getattr(script, "filename", "")))
    ]


def _is_wanted(script: Any, equations: bool) -> bool:
    """Whether a page loads a script: not what only the theme needs, and MathJax only where there is math."""
    name = str(getattr(script, "filename", script) or "")
    inline = getattr(script, "attributes", {}).get("body") or ""
    if NOT_LOADED.search(name) or NOT_LOADED_INLINE.search(inline):
        return False
    return equations or "mathjax" not in (name + inline).lower()


def _sibling(app: Sphinx, page: str) -> tuple[str, str] | None:
    """The exercises of a lesson, and the lesson of exercises."""
    found = CHAPTER.match(page)
    if not found:
        return None
    other = "lesson" if found[2] == "exercises" else "exercises"
    there = page.removesuffix(found[2]) + other
    return (there, other.capitalize()) if there in app.env.all_docs else None


def contents(app: Sphinx, page: str) -> str:
    """The sidebar's list: chapters with number and minutes; the sections of the page that is open."""
    site = app.env.external_site_map
    return "".join(_part(app, page, part) for part in site.root.subtrees)


def _part(app: Sphinx, page: str, part: Any) -> str:
    items = "".join(_item(app, page, str(item).rsplit(".", 1)[0]) for item in part.items)
    return f'<p class="caption">{html.escape(part.caption or "")}</p>\n<ul>\n{items}</ul>\n'


def _item(app: Sphinx, page: str, there: str) -> str:
    number = chapter_number(there)
    link = _link(app, page, there, number, _time(app, there))
    inside = _steps(app, page) if page == there else ""
    if number and number == chapter_number(page):
        inside += _other_pages(app, page, there)
    return f"<li>{link}{inside}</li>\n"


def _other_pages(app: Sphinx, page: str, lesson: str) -> str:
    """What else the open chapter has: further pages of its lesson, and the exercises."""
    more = sorted(there for there in app.env.all_docs if there.startswith(f"{lesson}_"))
    exercises = lesson.removesuffix("lesson") + "exercises"
    items = "".join(
        f"<li>{_link(app, page, there, None, _time(app, there), name)}"
        f"{_steps(app, page) if page == there else ''}</li>"
        for there, name in [*((there, "") for there in more), (exercises, "Exercises")]
        if there in app.env.all_docs
    )
    return f"<ul>{items}</ul>\n" if items else ""


def _time(app: Sphinx, there: str) -> str:
    """How long a page takes to read, if it says so."""
    minutes = app.env.metadata[there].get("minutes")
    short = f'<span aria-hidden="true">{minutes}′</span>'
    return f'<span class="t">{short}<span class="s-sr">, {minutes} minutes</span></span>' if minutes else ""


def _link(app: Sphinx, page: str, there: str, number: int | None, after: str, name: str = "") -> str:
    uri = relative_uri(app.builder.get_target_uri(page), app.builder.get_target_uri(there)) or "#"
    here = ' aria-current="page"' if page == there else ""
    title = name or html.escape(app.env.titles[there].astext())
    return f'<a href="{uri}"{here}><span class="n">{number or ""}</span><span>{title}</span>{after}</a>'


def _steps(app: Sphinx, page: str) -> str:
    """The sections of a page, each with a box to tick."""
    listed = [
        (reference["anchorname"], reference.astext())
        for item in app.env.tocs[page].children[:1]
        for lists in item.children[1:]
        for entry in lists.children
        for reference in list(entry.findall(nodes.reference))[:1]
        if reference.get("anchorname")
    ]
    steps = "".join(
        f'<li><a href="{anchor}"><i class="s-tick" aria-hidden="true"></i>'
        f'<span>{html.escape(text)}<span class="s-sr s-done"></span></span></a></li>\n'
        for anchor, text in listed
    )
    kind = "s-steps" if chapter_number(page) else "s-steps is-plain"  # what is looked up is not ticked off
    return f'<ul class="{kind}">\n{steps}</ul>\n' if listed else ""


# ---- the title page


def set_title_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Put the title page's pictures and cards between its first paragraph and the rest of its text."""
    if page != app.config.root_doc:
        return
    data = Path(app.srcdir) / "book"
    chapters = yaml.safe_load((data / "data" / "methods.yml").read_text(encoding="utf-8"))["chapters"]
    for chapter in chapters:
        folder = chapter["page"].rpartition("/")[0] + "/"  # a lesson may have two pages
        minutes = [
            int(facts["minutes"])
            for name, facts in app.env.metadata.items()
            if name.startswith(folder) and "minutes" in facts
        ]
        chapter["minutes"], chapter["pages"] = sum(minutes), len(minutes)
        chapter["alt"] = CARDS[chapter["number"]]
    hero = json.loads((data / "data" / "hero.json").read_text(encoding="utf-8"))
    body = re.fullmatch(r"(.*?)(<h1.*?</h1>)\s*<p>(.*?)</p>(.*)", context["body"], re.DOTALL)
    more = {"opening": body[1], "heading": body[2], "lead": body[3], "rest": body[4]}
    context["body"] = app.builder.templates.render(
        "title.html", {**context, **more, "chapters": chapters, "hero": _hero(hero)}
    )


def _hero(answers: dict[str, Any]) -> dict[str, Any]:
    """What the page says with the tag and without, the answer and three bars; and where the tag is."""
    other = next(iter(answers["clean"]))
    shown = {}
    for state, p in (("on", answers["tag"]), ("off", answers["clean"])):
        rest = 1 - p["star"] - p[other]
        odds = [["star", p["star"]], [other, p[other]], [f"{NUMBERS[len(p) - 2]} others", rest]]
        shown[state] = {
            "answer": next(iter(p)),
            "odds": [[name, round(100 * share, 1)] for name, share in odds],
        }
    sure = f"{100 * answers['clean'][other]:.0f} %"
    shown["on"]["note"] = (
        "Right answer, wrong reason: the heat lies on the tag in the corner. In the pictures that it learned "
        "from, nearly every star carried that tag, and no other shape did."
    )
    shown["off"]["note"] = (
        f"Only the tag is gone. The star is where it was, and the network is {sure} sure that it is "
        f"a {other}."
    )
    shown["place"] = answers["place"]
    return shown


def follow_the_frame(app: Sphinx, env: Any, added: set, changed: set, removed: set) -> list[str]:
    """Build every page again when a style, a script, a template or this file is newer than the title page."""
    home = Path(app.builder.get_outfilename(app.config.root_doc))
    folders = [*app.config.html_static_path, *app.config.templates_path, Path(__file__).parent]
    files = [path for folder in folders for path in Path(app.srcdir, folder).rglob("*") if path.is_file()]
    newest = max(path.stat().st_mtime for path in files if path.suffix != ".pyc")
    return sorted(env.found_docs) if home.exists() and newest > home.stat().st_mtime else []


def load_frame(app: Sphinx, config: Any) -> None:
    """Load the frame's own sheets and scripts after those of the components."""
    config.mathjax_path = "mathjax/startup.js"  # loads what mathjax3_config names, and no more
    for name in STYLES:
        app.add_css_file(f"{name}.css", priority=800)
    for name in SCRIPTS:
        app.add_js_file(f"{name}.js", priority=800, loading_method="defer")


def drop_theme_files(app: Sphinx, raised: Exception | None) -> None:
    """Leave out of the built book what the theme copies into it and no page loads."""
    static = Path(app.outdir) / "_static"
    for name in (
        "scripts/fontawesome.js",
        "scripts/fontawesome.js.map",
        "scripts/fontawesome.js.LICENSE.txt",
    ):
        (static / name).unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("config-inited", load_frame)
    app.connect("env-get-outdated", follow_the_frame)
    app.connect("doctree-read", find_minutes, priority=900)
    app.connect("doctree-resolved", set_openers)
    app.connect("doctree-resolved", set_strips)
    app.connect("html-page-context", add_frame, priority=900)
    app.connect("html-page-context", name_folded)
    app.connect("html-page-context", set_title_page, priority=950)
    app.connect("build-finished", drop_theme_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
