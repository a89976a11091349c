"""Every answer that the tests know, with the verdict that it must get: right ones and planted wrong ones."""

import hashlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import exercise_pages as pages

from xai_course.checks import Result, check
from xai_course.classroom import page

CHECKS = pages.ROOT / "xai_course/checks"
_EVERYWHERE = ("inputs.py", "judging.py", "mistakes.py")


@dataclass(frozen=True)
class Case:
    """An answer and what must be said of it.

    Attributes:
        name: of a planted answer the mistake, else that it is right.
        status: the verdict.
        keyword: what the message must contain; empty for a right one.
        answers: what is handed to ``check`` after the identifier.
    """

    name: str
    status: str
    keyword: str
    answers: tuple[Any, ...]

    def judged(self, exercise: str) -> Result:
        return check(exercise, *self.answers)

    def holds(self, result: Result) -> bool:
        """Whether the verdict is the right one, in the right words."""
        return result.status == self.status and self.keyword.lower() in result.message.lower()


def module(name: str, chapter: int) -> Any:
    """``wrong_ch02`` and the like; None where a chapter has none."""
    try:
        return importlib.import_module(name.format(chapter))
    except ModuleNotFoundError:
        return None


def cases(path: Path, exercise: str) -> Iterator[Case]:
    """The solution, the unusual right answers, the planted ones, and the mistakes that the check knows.

    Some planted answers remember what they were called with: here they have forgotten it.
    """
    chapter = page(path).chapter
    wrong = importlib.reload(module("wrong_ch{:02d}", chapter))
    also_right = getattr(wrong, "ALSO_RIGHT", {}).get(exercise, [])
    yield Case("the solution", "passed", "", pages.solutions(path)[exercise])
    for number, answers in enumerate(also_right, 1):
        yield Case(f"right {number}", "passed", "", tuple(answers))
    for planted in wrong.WRONG[exercise]:
        yield Case(planted.name, "wrong", planted.keyword, planted.answers)
    known = getattr(module("xai_course.checks.ch{:02d}_mistakes", chapter), "MISTAKES", {})
    for place, several in enumerate(known.get(exercise, [])):
        for number, mistake in enumerate(several, 1):
            answers = list(also_right[0])
            answers[place] = mistake.answer
            yield Case(f"mistake {place + 1}.{number}", "wrong", mistake.message, tuple(answers))


def fingerprint(path: Path) -> str:
    """Of what a chapter's verdicts hang on: its checks, its solutions, its planted answers; not comments."""
    number = page(path).chapter
    files = [*sorted(CHECKS.glob(f"ch{number:02d}*.py")), *(CHECKS / name for name in _EVERYWHERE)]
    files.append(Path(__file__).with_name(f"wrong_ch{number:02d}.py"))
    texts = [file.read_text("utf-8") for file in files]
    texts += [exercise.solution for exercise in page(path).exercises.values()]
    lines = (line.strip() for text in texts for line in text.splitlines())
    kept = "\n".join(line for line in lines if line and not line.startswith("#"))
    return hashlib.sha256(kept.encode()).hexdigest()[:16]
