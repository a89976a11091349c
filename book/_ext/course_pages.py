"""What the course changes in the pages that Jupyter Book makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from text_links import link

import xai_course
from xai_course._page import without_inline

STATIC = Path(xai_course.__path__[0]) / "static"
STYLES = ("tokens", "controls", "figure")
SCRIPTS = ("core", "figure")
NUMBERED = re.compile(r"\b(Figure|Table)[ \u00a0](\d+)\.(\d+)\b")


def drop_thebe(app: Sphinx) -> None:
    """Leave out sphinx-thebe, which Jupyter Book always loads.

    It writes the address of a script on another host into every page, twice, and the second time is an error
    in the browser's console. The course's pages run nothing on a remote kernel.
    """
    for name, listeners in app.events.listeners.items():
        app.events.listeners[name] = [
            listener for listener in listeners if listener.handler.__module__ != "sphinx_thebe"
        ]
    app.registry.css_files = [entry for entry in app.registry.css_files if "thebe" not in entry[0]]


def mend_roles(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Make the entries of the bibliography, which docutils puts in a list, items of that list."""
    if "citation-list" in context.get("body", ""):
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def load_components(app: Sphinx, config: Any) -> None:
    """Load the sheets and scripts of figures, quizzes and explorers once for each page."""
    config.html_static_path.append(str(STATIC))
    for name in STYLES:
        app.add_css_file(f"{name}.css", priority=700)
    for name in SCRIPTS:
        app.add_js_file(f"{name}.js", priority=700, loading_method="defer")


def find_numbered(app: Sphinx) -> None:
    """Note on which page each numbered figure and table stands."""
    app.numbered = {}
    for notebook in sorted(Path(app.srcdir).glob("chapters/*/*.ipynb")):
        page = notebook.relative_to(app.srcdir).with_suffix("").as_posix()
        for anchor in re.findall(
            r'id=\\"((?:figure|table)-\d+-\d+)\\"', notebook.read_text(encoding="utf-8")
        ):
            app.numbered.setdefault(anchor, page)


def leave_out_inline(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Drop from outputs the styles and scripts that they carry along for JupyterLab; the page loads them."""
    carried = app.carried[page] = {"style": [], "script": []}
    for raw in list(doctree.findall(nodes.raw)):
        if "data-xai-course" in raw.astext():
            for kind, names in re.findall(r'<(style|script) data-xai-course="([^"]*)">', raw.astext()):
                carried[kind] += names.split()
            raw.replace_self(nodes.raw("", without_inline(raw.astext()), format="html"))


def load_what_a_page_needs(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Load what this page's outputs carried and not every page has, such as the scripts of its explorers."""
    carried = app.carried.get(page, {"style": [], "script": []})
    for name in dict.fromkeys(carried["style"]):
        if name not in STYLES:
            app.add_css_file(f"{name}.css", priority=710)
    for name in dict.fromkeys(carried["script"]):
        if name not in SCRIPTS:
            app.add_js_file(f"{name}.js", priority=710, loading_method="defer")


def keep_together(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Keep on one line what belongs together: a number and its per cent sign, a formula and its comma."""
    for text in list(doctree.findall(nodes.Text)):
        if not isinstance(text.parent, (nodes.literal, nodes.literal_block, nodes.raw, nodes.math)):
            joined = re.sub(r"(?<=\d) ?%", "\u00a0%", text.astext())
            if joined != text.astext():
                text.parent.replace(text, nodes.Text(joined))
    for formula in list(doctree.findall(nodes.math)):
        after = formula.next_node(descend=False, siblings=True)
        found = re.match(r"[.,;:!?)]+", after.astext()) if isinstance(after, nodes.Text) else None
        if found is None:
            continue
        together = nodes.inline("", "", formula.deepcopy(), nodes.Text(found[0]), classes=["s-nobr"])
        siblings = after.parent
        # By identity: two texts that read alike are equal, and the first would be taken.
        place = next(i for i, node in enumerate(siblings.children) if node is after)
        siblings[place] = nodes.Text(after.astext()[found.end() :])
        formula.replace_self(together)


def link_numbered(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Make "Figure 3.4" in the text a link to that figure."""

    def place(found: re.Match) -> tuple[str, str] | None:
        anchor = f"{found[1].lower()}-{found[2]}-{found[3]}"
        return (app.numbered[anchor], anchor) if anchor in app.numbered else None

    link(doctree, page, NUMBERED, place)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    drop_thebe(app)
    app.carried = {}
    app.connect("config-inited", load_components)
    app.connect("builder-inited", find_numbered)
    app.connect("doctree-resolved", leave_out_inline)
    app.connect("doctree-resolved", keep_together)
    app.connect("doctree-resolved", link_numbered)
    app.setup_extension("veils")
    app.setup_extension("claims")
    app.setup_extension("questions")
    app.setup_extension("teaching")
    app.connect("html-page-context", mend_roles)
    app.connect("html-page-context", load_what_a_page_needs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
