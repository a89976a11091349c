"""Questions to answer on a page.

The chapter's ``quiz.json`` holds them; jupyterquiz draws and grades them, inside the page.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._page import Displayed, compact, escape, script, script_json, style


def quiz(path: str | Path, *ids: str, shuffle: bool = True) -> Quiz:
    """Show some questions of a chapter's quiz file, in the order of ``ids``.

    The questions are drawn and graded by jupyterquiz; its colours follow the page's light or dark theme, and
    answers are buttons that a keyboard and a screen reader can use.

    Args:
        path: a JSON list of jupyterquiz questions, each with an extra key ``"id"``; beside the notebook.
        ids: the questions to show; none means all.
        shuffle: whether each reader sees the answers in another order.

    Raises:
        FileNotFoundError: if there is no such file; the message names the folder that was searched.
        ValueError: if the file has no question of that id.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path.name} in {path.absolute().parent}, the folder where this notebook runs; "
            f"keep {path.name} beside the notebook, and run the notebook in its own folder"
        )
    questions = {question["id"]: question for question in json.loads(path.read_text(encoding="utf-8"))}
    unknown = [name for name in ids if name not in questions]
    if unknown:
        raise ValueError(f"{path} has no question {', '.join(unknown)}; it has {', '.join(questions)}")
    return Quiz([questions[name] for name in ids or questions], shuffle)


class Quiz(Displayed):
    """Questions drawn by jupyterquiz; made by :func:`quiz`."""

    def __init__(self, questions: Sequence[dict[str, Any]], shuffle: bool = True) -> None:
        self.questions, self.shuffle = list(questions), shuffle

    def __repr__(self) -> str:
        return f"<quiz: {', '.join(question['id'] for question in self.questions)}>"

    def html(self) -> str:
        """The questions, jupyterquiz's scripts inlined, and our layer over them."""
        code = compact(script("quiz.js")).replace("__ENGINE__", _engine())
        code = code.replace("__DATA__", script_json(self.questions))
        count = len(self.questions)
        return (
            f'<div class="xw-quiz tex2jax_process" role="group" aria-label="Quiz, '
            f'{count} question{"s" if count > 1 else ""}" data-questions="'
            f'{escape(" ".join(question["id"] for question in self.questions))}" '
            f'data-shufflequestions="False" data-shuffleanswers="{self.shuffle}" '
            f'data-preserveresponses="false" data-numquestions="{count}" data-maxwidth="720">'
            f"<style>{style('quiz')}</style><noscript>{self._plain()}</noscript>"
            f"<script>\n{code}\n</script></div>"
        )

    def _plain(self) -> str:
        """The questions without feedback, for pages where scripts are off."""
        items = ""
        for question in self.questions:
            answers = "".join(f"<li>{a['answer']}</li>" for a in question["answers"] if "answer" in a)
            items += f"<li>{question['question']}{f'<ul>{answers}</ul>' if answers else ''}</li>"
        return f"<p>Scripts are off, so answers cannot be checked here.</p><ol>{items}</ol>"


def _engine() -> str:
    """jupyterquiz's own scripts, for the kinds of question that we use."""
    folder = importlib.resources.files("jupyterquiz") / "js"
    names = ("helpers.js", "multiple_choice.js", "numeric.js", "show_questions.js")
    return compact("\n".join((folder / name).read_text(encoding="utf-8") for name in names))
