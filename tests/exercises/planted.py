"""How a wrong answer is planted, and where the planted ones of a chapter stand."""

import copy
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai_course.checks import Result

CHAPTERS = sorted(int(path.stem[-2:]) for path in Path(__file__).parent.glob("wrong_ch*.py"))


@dataclass(frozen=True)
class Wrong:
    """A wrong answer that people give.

    Attributes:
        name: the mistake, in a few words (it names the test).
        keyword: what the check's message must contain.
        answers: what is handed to ``check`` after the identifier.
    """

    name: str
    keyword: str
    answers: tuple[Any, ...]


@dataclass(frozen=True)
class HandedIn:
    """A planted answer as it is handed in.

    Attributes:
        identifier: the exercise, ``"2.1"``.
        name: of the mistake; ``"1.3"`` is the third of the first function's, where it has no name.
        answers: what is handed to ``check`` after the identifier.
        planted: the mistake itself.
    """

    identifier: str
    name: str
    answers: tuple[Any, ...]
    planted: Any


def wrong(chapter: int) -> dict[str, list[Wrong]]:
    """Exercise → the wrong answers that people give."""
    return importlib.import_module(f"wrong_ch{chapter:02d}").WRONG


def also_right(chapter: int) -> dict[str, list]:
    """Exercise → answers that pass too."""
    return getattr(importlib.import_module(f"wrong_ch{chapter:02d}"), "ALSO_RIGHT", {})


def named(chapter: int) -> Iterator[HandedIn]:
    """The wrong answers that stand beside the tests."""
    for identifier, several in wrong(chapter).items():
        for one in several:
            fresh = copy.deepcopy(
                tuple(one.answers)
            )  # an answer that remembers is handed in for the first time
            yield HandedIn(identifier, one.name, fresh, one)


def recognised(chapter: int) -> Iterator[HandedIn]:
    """The mistakes that a check knows: each in the place of its function, the others being right."""
    try:
        known = importlib.import_module(f"xai_course.checks.ch{chapter:02d}_mistakes").MISTAKES
    except ModuleNotFoundError:  # the first chapters' checks compute what a mistake gives
        return
    for identifier, functions in known.items():
        for place, several in enumerate(functions):
            for number, mistake in enumerate(several, 1):
                answers = list(also_right(chapter)[identifier][0])
                answers[place] = mistake.answer
                yield HandedIn(identifier, f"{place + 1}.{number}", tuple(answers), mistake)


def handed_in(chapter: int) -> list[HandedIn]:
    """Every planted answer of a chapter."""
    return [*named(chapter), *recognised(chapter)]


def told(result: Result) -> dict[str, str]:
    """What the student reads of a verdict."""
    return {"message": result.message, "look": result.look}
