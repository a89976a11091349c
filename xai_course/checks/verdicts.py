"""The verdict on an answer, and the two ways in which a check stops before it has passed."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOT_ATTEMPTED, WRONG, PASSED = "not attempted", "wrong", "passed"
LATER = "judged later"  # a teacher's own exercise, in a student's notebook: the check is not there


@dataclass(frozen=True)
class Result:
    """A check's verdict: shown as a coloured card in a notebook, as text elsewhere.

    Attributes:
        exercise: the identifier, ``"2.1"``.
        title: what the exercise is called.
        status: ``"not attempted"``, ``"wrong"`` or ``"passed"``; ``"judged later"`` where the
            check is elsewhere.
        message: what was found.
        look: where to look, or how to go on; may be empty.
        code: the reader's own line at which an exception was raised; may be empty.
    """

    exercise: str
    title: str
    status: str
    message: str
    look: str = ""
    code: str = ""

    @property
    def passed(self) -> bool:
        """Whether the answer is right."""
        return self.status == PASSED

    def __repr__(self) -> str:
        words = {
            NOT_ATTEMPTED: "not attempted yet.",
            WRONG: "not yet:",
            PASSED: "passed:",
            LATER: "judged when you hand it in:",
        }[self.status]
        lines = [f"{self.exercise} · {words} {self.message}"]
        lines += [f"    {line}" for line in self.code.splitlines()]
        lines += [f"  Where to look: {self.look}"] if self.look else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        # The text inherits the page's own colour on a thin tint, so that it reads in light and in dark.
        icon, words, colour = {
            NOT_ATTEMPTED: ("○", "not attempted yet", "128,128,128"),
            WRONG: ("✗", "not yet", "214,120,0"),
            PASSED: ("✓", "passed", "30,150,90"),
            LATER: ("→", "judged when you hand it in", "128,128,128"),
        }[self.status]
        rows = [f"<div>{markup(self.message[:1].upper() + self.message[1:])}</div>"]
        if self.code:
            rows.append(
                '<pre style="color:inherit;background:transparent;border:0;margin:.4em 0;'
                f'padding:0;overflow-x:auto" tabindex="0">{html.escape(self.code)}</pre>'
            )
        if self.look:
            rows.append(f"<div><strong>Where to look:</strong> {markup(self.look)}</div>")
        return (
            f'<div role="status" style="color:inherit;border-left:.4em solid rgb({colour});'
            f'background:rgba({colour},.12);padding:.6em .9em;margin:.3em 0;line-height:1.5">'
            f'<div><strong><span aria-hidden="true">{icon}</span> {self.exercise} · {words}</strong> '
            f"({html.escape(self.title)})</div>{''.join(rows)}</div>"
        )


def markup(text: str) -> str:
    """A message as HTML: `code` between backticks, *emphasis* between asterisks outside of it."""
    parts = re.split(r"`([^`]+)`", html.escape(text))
    parts[1::2] = [
        f'<code style="color:inherit;background:transparent">{code}</code>' for code in parts[1::2]
    ]
    stressed = r"(?<![\w*])\*([^\s*](?:[^*\n]*[^\s*])?)\*(?![\w*])"
    parts[0::2] = [re.sub(stressed, r"<em>\1</em>", words) for words in parts[0::2]]
    return "".join(parts)


TODO = "Replace each `...` by your own code, run that cell, then run this one again."


class Wrong(Exception):
    """Stops a check: the answer isn't right. Says what is wrong, and where to look."""

    def __init__(self, message: str, look: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message, self.look, self.code = message, look, code


class NotAttempted(Exception):
    """Stops a check: there is nothing to judge yet."""

    def __init__(self, message: str = TODO, code: str = "") -> None:
        super().__init__(message)
        self.message, self.code = message, code


def holds_ellipsis(value: Any) -> bool:
    if value is ... or value is NotImplemented:
        return True
    if isinstance(value, Mapping):
        return any(holds_ellipsis(item) for item in value.values())
    return isinstance(value, list | tuple | set | frozenset) and any(holds_ellipsis(item) for item in value)


def article(name: str) -> str:
    return f"an `{name}`" if name[0] in "aeiou" else f"a `{name}`"
