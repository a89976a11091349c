"""What the course changes in the pages that Jupyter Book makes."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx


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


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    drop_thebe(app)
    app.connect("html-page-context", mend_roles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
