"""Questions to answer on a page: choose or write, commit, then read why.

The chapter's ``quiz.json`` holds them. The markup is complete by itself: where scripts are off the questions
can be read, and a choice shows what is said to it; on paper the right answers stand marked.
``static/quiz.js`` adds committing, remembering in the reader's browser, and an order of answers of each
reader's own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._page import Displayed, escape, inline_script, inline_style

# What a question is for, by the middle part of its identifier: 1.predict.2.
PURPOSES = {
    "warm": "Warm-up",
    "hook": "Commit before you read on",
    "predict": "Predict",
    "why": "Why?",
    "wrap": "Wrap-up",
}


def quiz(path: str | Path, *ids: str, shuffle: bool = True) -> Quiz:
    """Show some questions of a chapter's quiz file, in the order of ``ids``.

    A question has the keys ``id``, ``type``, ``question``, ``answers`` and may have ``code`` (shown under the
    question), ``precision`` (significant digits to which a number must agree) and ``page_only`` (why it makes
    sense on its page alone, and stays out of exports). Its type is

    - ``multiple_choice``: one of the answers is right. A reader commits to one, and may then look at others.
    - ``many_choice``: any number is right. What is chosen is marked; how many are missing is said.
    - ``numeric``: an answer has a ``value`` or a ``range`` (both ends belong to it), and one has the type
      ``default``; the first that fits is shown.

    A reader may write a number with a decimal point or a decimal comma, with spaces between thousands, as a
    fraction, or with a per cent sign. One comma alone is a decimal comma: ``1,234`` is 1.234, and the page
    says so ("Read as 1.234"); in ``1,234.5`` and ``1,234,567`` the commas part thousands. A per cent sign
    divides by 100, unless the question asks for a number "in %" or "in per cent".

    In questions, answers and feedback ``<em>``, ``<strong>``, ``<code>``, ``<sub>``, ``<sup>`` and equations
    between ``\\(`` and ``\\)`` are drawn; any other ``<`` is a less-than sign.

    Args:
        path: a JSON list of questions; beside the notebook.
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
    """Questions on a page; made by :func:`quiz`."""

    def __init__(self, questions: Sequence[dict[str, Any]], shuffle: bool = True) -> None:
        self.questions, self.shuffle = list(questions), shuffle

    def __repr__(self) -> str:
        return f"<quiz: {', '.join(question['id'] for question in self.questions)}>"

    def html(self) -> str:
        """The questions, a form each, with the style and the script that they need."""
        count = len(self.questions)
        forms = "".join(
            _form(question, f", {place} of {count}" if count > 1 else "", self.shuffle)
            for place, question in enumerate(self.questions, start=1)
        )
        # JupyterLab leaves alone the keys pressed in an element with this attribute.
        return (
            inline_style("tokens", "controls", "quiz")
            + f'<div class="s-quizzes tex2jax_process" data-lm-suppress-shortcuts="true">{forms}</div>'
            + inline_script("core", "quiz")
        )


def _form(question: dict[str, Any], place: str, shuffle: bool) -> str:
    name = question["id"].replace(".", "-")
    numeric = question["type"] == "numeric"
    attributes = {
        "data-quiz": question["id"],
        "data-type": question["type"],
        "data-version": _version(question),
        "data-shuffle": str(shuffle and not numeric).lower(),
    }
    if numeric:
        attributes["data-percent"] = str(asks_for_per_cent(question["question"])).lower()
        attributes["data-precision"] = str(question.get("precision", ""))
    hint = (
        '<p class="s-hint">More than one answer may be right. Choose them all, then commit.</p>'
        if question["type"] == "many_choice"
        else ""
    )
    told = " ".join(f'{key}="{escape(value)}"' for key, value in attributes.items())
    return (
        f'<form class="s-quiz" id="quiz-{name}" {told} autocomplete="off" novalidate><fieldset>'
        f'<legend><small><i class="s-glyph g-c" aria-hidden="true"></i>'
        f"{_purpose(question['id'])}{place}</small>"
        f"{_rich(question['question'])}</legend>{_code(question)}{hint}"
        f"{_entry(question, name) if numeric else _options(question, name)}"
        '<div class="s-quiz-foot"><button type="submit" class="s-btn is-main" disabled>Commit</button>'
        f'<p id="quiz-{name}-note"></p></div>{_without_scripts(question)}</fieldset></form>'
    )


def _options(question: dict[str, Any], name: str) -> str:
    kind = "checkbox" if question["type"] == "many_choice" else "radio"
    options = ""
    for i, answer in enumerate(question["answers"]):
        one = f"quiz-{name}-{i}"
        options += (
            f'<div class="s-opt"><input type="{kind}" name="quiz-{name}" id="{one}" value="{i}">'
            f'<label for="{one}">{_rich(answer.get("answer", ""))}{_code(answer)}</label>'
            f"{_feedback(answer, f'{one}-fb')}</div>"
        )
    return f'<div class="s-opts">{options}</div>'


def _entry(question: dict[str, Any], name: str) -> str:
    answers = "".join(
        _feedback(answer, f"quiz-{name}-{i}-fb", _fits(answer))
        for i, answer in enumerate(question["answers"])
    )
    return (
        f'<div class="s-entry"><label for="quiz-{name}-entry">Your answer, a number</label>'
        f'<input type="text" inputmode="decimal" autocomplete="off" id="quiz-{name}-entry" '
        f'aria-describedby="quiz-{name}-note">{answers}</div>'
    )


def _fits(answer: dict[str, Any]) -> str:
    """Which numbers an answer is for, as an attribute that the script reads."""
    if answer.get("type") == "default":
        fits: dict[str, Any] = {"default": True}
    else:
        fits = {key: answer[key] for key in ("range", "value") if key in answer}
    return f" data-fits='{json.dumps(fits)}'"


def _feedback(answer: dict[str, Any], name: str, fits: str = "") -> str:
    right = answer.get("correct") is True
    said = answer["feedback"]
    # Many begin with the verdict; where one does not, the verdict is put before it.
    verdict = re.match(r"(Right|Yes|No|Nearly|Not this)[:.,](\s+|$)", said)
    word = verdict[0].strip() if verdict else ("Right." if right else "Not this one.")
    rest = said[verdict.end() :] if verdict else said
    mark = "✓" if right else "✗"
    return (
        f'<div class="s-fb" id="{name}" data-correct="{str(right).lower()}"{fits} hidden>'
        f"<b>{mark} {word}</b> {_rich(rest)}</div>"
    )


def _without_scripts(question: dict[str, Any]) -> str:
    if question["type"] != "numeric":
        return "<noscript><p>Scripts are off: a choice shows at once what is said to it.</p></noscript>"
    right = next(answer for answer in question["answers"] if answer.get("correct") is True)
    return (
        "<noscript><p>Scripts are off, so a number cannot be checked here.</p>"
        f"<details><summary>The answer</summary><p>{_rich(right['feedback'])}</p></details></noscript>"
    )


def asks_for_per_cent(text: str) -> bool:
    """Whether a question wants its number in per cent, so that a reader's 99.9 % is 99.9 and not 0.999."""
    return re.search(r"\b(in|how many) (%|per ?cent)|what percentage", text, re.IGNORECASE) is not None


def _purpose(identifier: str) -> str:
    return PURPOSES.get(identifier.split(".")[1], "Question")


def _code(part: dict[str, Any]) -> str:
    return f'<code class="s-quiz-code">{escape(part["code"])}</code>' if part.get("code") else ""


def _rich(text: str) -> str:
    """Text with the few elements that a question may use; whatever else looks like one is text."""
    allowed = r"&lt;(/?(?:em|strong|b|i|code|sub|sup|br))&gt;"
    return re.sub(allowed, r"<\1>", text.replace("<", "&lt;").replace(">", "&gt;"))


def _version(question: dict[str, Any]) -> str:
    """Changes with the question: an answer to another text is not shown as an answer to this one."""
    told = [question["question"], question["type"], [answer.get("answer") for answer in question["answers"]]]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]
