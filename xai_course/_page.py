"""What figures, explorers and quizzes have in common: how a notebook shows them, and what they carry along.

An output fetches nothing: it brings its styles and its scripts, from ``static/``, with it.
"""

from __future__ import annotations

import html
import importlib.resources
import json
import re
from typing import Any

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


class Displayed:
    """What a notebook shows: HTML for every page, and a widget where a kernel runs."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self.html()}
        widget = self.widget() if has_kernel() else None
        if widget is not None:
            bundle[WIDGET_MIME] = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
        return bundle

    def html(self) -> str:
        """Self-contained HTML."""
        raise NotImplementedError

    def widget(self) -> Any:
        """An ipywidgets view, or None if the HTML does as well."""
        return None


def has_kernel() -> bool:
    """Whether this Python serves a notebook (and not a plain script, a doctest or a terminal)."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


def escape(text: str) -> str:
    return html.escape(text, quote=True)


def script_json(data: Any) -> str:
    """JSON that may stand inside a script element: no text in it can close that element."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def inline_style(*names: str) -> str:
    """A style element with these sheets of ``static/``, for an output that must look right on its own.

    The book loads the same sheets once for each page and leaves these elements out (``book/_ext``).
    """
    return f'<style data-xai-course="{" ".join(names)}">{"".join(map(_sheet, names))}</style>'


def inline_script(*names: str) -> str:
    """A script element with these scripts of ``static/``; the book leaves it out, as it does with styles."""
    code = "\n".join(compact(_static(f"{name}.js")) for name in names)
    return f'<script data-xai-course="{" ".join(names)}">\n{code}\n</script>'


def without_inline(markup: str) -> str:
    """The markup without the elements of :func:`inline_style` and :func:`inline_script`."""
    return _INLINE.sub("", markup)


def with_current_inline(markup: str) -> str:
    """The markup with those elements made again: a stored output looks as the files say today."""
    makers = {"style": inline_style, "script": inline_script}
    return _INLINE.sub(lambda found: makers[found[1]](*found[2].split()), markup)


_INLINE = re.compile(r'<(style|script) data-xai-course="([^"]*)">.*?</\1>', re.DOTALL)


def _sheet(name: str) -> str:
    return re.sub(r"\s+", " ", _without_comments(_static(f"{name}.css"))).strip()


def compact(source: str) -> str:
    """A script without comments, empty lines and indentation: a page carries it once for each quiz."""
    lines = (line.strip() for line in _without_comments(source).splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def _without_comments(source: str) -> str:
    return re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)


def _static(name: str) -> str:
    return (importlib.resources.files(__package__) / "static" / name).read_text(encoding="utf-8")
