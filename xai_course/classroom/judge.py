"""Judges one student's answers: the checks run here, the student's code in a process of its own.

What a cheat in a notebook can reach is that process: it holds no checks, no other student's work, no marks. A
process that ends, loops or sends garbage costs the exercise at hand; the next one gets a new process.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
from nbformat import NotebookNode

from .._term import shifted_by
from ..checks import available, check
from ..checks.registry import functions
from ..checks.verdicts import NOT_ATTEMPTED, PASSED, WRONG, Result, holds_ellipsis
from . import pages
from ._box import Worker
from ._calls import BROKEN, Peer
from ._errors import STUDENT
from ._wire import Frames, Refused
from .solutions import right_answers
from .terms import shifts

STARTS_IN = 180.0  # seconds for a process to start and to run the course's own cells


@dataclass
class Judged:
    """What became of one student's answers.

    Attributes:
        results: the check's verdict for each exercise.
        parts: of an exercise that did not pass and asks for several answers, which of its functions passes
            beside right answers in place of the others.
        seconds: how long each took, with what it took to run the notebook before the first.
        flags: what a teacher may want to look at.
    """

    results: dict[str, Result] = field(default_factory=dict)
    parts: dict[str, dict[str, bool]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)


def calls(edition: NotebookNode) -> dict[str, list[str]]:
    """What the check of each exercise is called with: ``{"2.1": ["my_gradient"]}``."""
    found: dict[str, list[str]] = {}
    for cell in edition.cells:
        if "check" not in pages.tags(cell):
            continue
        for node in ast.walk(ast.parse(cell.source)):
            named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"
            if named and isinstance(node.args[0], ast.Constant):
                found.setdefault(str(node.args[0].value), [ast.unparse(arg) for arg in node.args[1:]])
    return found


def set_up(edition: NotebookNode) -> list[str]:
    """The course's own cells, which run before a student's."""
    return [
        cell.source
        for cell in edition.cells
        if cell.cell_type == "code" and not {"exercise", "check", "your-turn"} & set(pages.tags(cell))
    ]


def judge_answers(
    code: Sequence[str],
    edition: NotebookNode,
    *,
    files: Mapping[str, bytes] | None = None,
    boxed: bool = True,
    seconds: float = 60.0,
    term: int | None = None,
    solutions: Path | None = None,
) -> Judged:
    """Judge a notebook's code by the checks of the edition that was handed out.

    Args:
        code: the student's cells, in their order.
        edition: the notebook that was handed out; its set-up and its checks are the ones that count.
        files: what lies beside the notebook, by name: ``data/…`` of a teacher's own exercises.
        boxed: whether the student's code runs in a box (:mod:`._box`). Without, it may do whatever you may.
        seconds: what an exercise may take, and what the student's cells may take before the first.
        term: in which the checks draw other numbers than in the notebook (:mod:`.terms`).
        solutions: the page that the edition was made of. With it the functions of an exercise that did not
            pass as a whole are judged one by one.

    Returns:
        A verdict for every exercise of the edition, whatever the code does.

    Raises:
        ValueError: if there is no such term.
        RuntimeError: if the process does not come up, or the course's own cells fail in it.
    """
    _by_value()
    course, of_term = set_up(edition), shifts(term)
    made, process = Judged(), None
    for exercise, wanted in calls(edition).items():
        began = time.monotonic()
        try:
            if process is None:
                process = _Process(course, code, files=files, boxed=boxed, seconds=seconds)
                made.flags += [flag for flag in process.flags if flag not in made.flags]
            with shifted_by(of_term.get(exercise, 0)):
                result, parts, alive = process.judged(exercise, wanted, seconds, solutions)
        except BROKEN as error:
            result, parts, alive = _ended(exercise, error, seconds), {}, False
        made.results[exercise] = result
        if parts:
            made.parts[exercise] = parts
        if result.status == WRONG and re.search("functorch|torch.func: ", result.message):
            made.flags.append(
                f"{exercise}: torch.func was used through a function of the check: judge it yourself"
            )
        made.seconds[exercise] = time.monotonic() - began
        if not alive:
            made.flags.append(f"{exercise}: {result.message}")
            if process is not None:
                process.worker.stop()
            process = None
    if process is not None:
        process.worker.stop()
    return made


class _Process:
    """A worker in which the notebook has been run."""

    def __init__(
        self,
        course: Sequence[str],
        code: Sequence[str],
        *,
        files: Mapping[str, bytes] | None,
        boxed: bool,
        seconds: float,
    ) -> None:
        self.code, self.flags = list(code), []
        self.raised: dict[str, str] = {}  # the cells that stopped, and with what
        self.worker = Worker(boxed=boxed)
        self.frames = Frames(self.worker.socket)
        self.peer = Peer(self.frames, trusts=False, source_of=self._source_of)
        try:
            self.frames.deadline = time.monotonic() + STARTS_IN
            given = _given(course)
            values = [cloudpickle.dumps(value) for value in given.values()]
            self.frames.send({"op": "give", "modules": list(given)}, values)
            self.peer.wait()
            for name, content in (files or {}).items():
                self.frames.send({"op": "put", "name": name}, [content])
                self.peer.wait()
            for number, source in enumerate(course):
                self._run(source, f"<course {number}>")
        except BROKEN as error:
            said = self.worker.said()
            self.worker.stop()
            raise RuntimeError(f"the process for students' code does not come up ({error}): {said}") from None
        if self.flags:
            self.worker.stop()
            raise RuntimeError(f"the course's own cells fail where students' code runs: {self.flags[0]}")
        try:
            self.frames.deadline = time.monotonic() + seconds
            for number, source in enumerate(self.code):
                self._run(source, f"{STUDENT} {number}>")
        except BROKEN:
            self.worker.stop()
            raise

    def _run(self, source: str, name: str) -> None:
        self.frames.send({"op": "run", "source": source, "name": name}, [])
        answer, _ = self.peer.wait()
        if answer.get("n"):
            first = next((line for line in source.splitlines() if line.strip()), "")[:60]
            who = f"the cell “{first}”" if name.startswith(STUDENT) else "the course's own set-up"
            said = re.sub(rf"\({STUDENT} \d+>, (line \d+)\)", r"(\1)", str(answer.get("said")))
            self.raised[source] = f"{str(answer['n'])[:60]}: {said[:120]}"
            self.flags.append(f"{who} raised {self.raised[source]}")

    def _source_of(self, name: str) -> str | None:
        """The last function of that name in the notebook: as the judge has it, not as the process says."""
        for source in reversed(self.code):
            try:
                tree = ast.parse(source)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            for node in reversed(tree.body):
                if isinstance(node, ast.FunctionDef) and node.name == name:
                    return ast.get_source_segment(source, node)
        return None

    def _why_missing(self, name: str) -> str:
        """With what the cell stopped that should have made a name; empty where there is no such cell."""
        makes = re.compile(
            rf"^(?:def|class)\s+{re.escape(name)}\b|^{re.escape(name)}\s*=", flags=re.MULTILINE
        )
        why = next((said for source, said in self.raised.items() if makes.search(source)), "")
        return f"the cell in which it stands stopped with {why}" if why else ""

    def judged(
        self, exercise: str, wanted: Sequence[str], seconds: float, solutions: Path | None = None
    ) -> tuple[Result, dict[str, bool], bool]:
        """The verdict on one exercise, on its functions, and whether the process is still of use."""
        self.frames.deadline = time.monotonic() + seconds
        answers, missing = [], []
        for name in wanted:
            self.frames.send({"op": "fetch", "source": name}, [])
            node, blobs = self.peer.wait()
            if node["op"] != "return":
                raise Refused("a name that was not given")
            if "v" in node:
                answers.append(self.peer.value(node["v"], blobs, [], []))
            else:
                answers.append(...)
                missing.append(_missing(exercise, name, self._why_missing(name)))
        result = check(exercise, *answers)
        if missing and result.status == NOT_ATTEMPTED:
            result = missing[0]
        parts = {}
        if not result.passed and self.peer.broken is None and solutions is not None:
            parts = self._parts(exercise, wanted, answers, solutions)
        broken = self.peer.broken
        return (result, parts, True) if broken is None else (_ended(exercise, broken, seconds), {}, False)

    def _parts(
        self, exercise: str, wanted: Sequence[str], answers: Sequence[Any], solutions: Path
    ) -> dict[str, bool]:
        """Which of several functions passes where every other answer is right.

        A list of yes and no earns nothing on its own: it can be guessed.
        """
        found: dict[str, bool] = {}
        if len(wanted) < 2 or not functions(exercise):
            return found
        began = time.monotonic()
        right = right_answers(solutions)[exercise]  # the first time, a page of solutions is run: not the
        self.frames.deadline += time.monotonic() - began  # student's doing
        for place, name in list(enumerate(wanted))[: functions(exercise)]:
            mixed = [*right[:place], answers[place], *right[place + 1 :]]
            found[name] = not holds_ellipsis(answers[place]) and check(exercise, *mixed).passed
            if self.peer.broken is not None:
                break
        return found


def _given(course: Sequence[str]) -> dict[str, dict[str, object]]:
    """What the course's cells import from modules of checks, by module and name."""
    found: dict[str, dict[str, object]] = {}
    for node in (node for source in course for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("xai_course.checks."):
            module = importlib.import_module(node.module)
            found.setdefault(node.module, {}).update(
                {alias.name: getattr(module, alias.name) for alias in node.names}
            )
    return found


def _missing(exercise: str, name: str, said: str) -> Result:
    if said:
        return Result(exercise, "", WRONG, f"`{name}` was not made: {said}")
    return Result(exercise, "", NOT_ATTEMPTED, f"There is no `{name}` in the notebook.")


def _ended(exercise: str, error: BaseException, seconds: float) -> Result:
    """What is said of an exercise whose process is of no use any more."""
    if isinstance(error, TimeoutError):
        message = f"It did not end within {seconds:g} seconds."
        look = "A loop whose end is never reached, or a step that is done far more often than it need be."
    elif isinstance(error, Refused):
        message = f"Something came back that is no value: {error}."
        look = "Return what the exercise asks for, and write to no file that your code did not open."
    else:
        message = "The process that ran the notebook ended."
        look = "Is there an `exit()` or an `input()`, or more memory asked for than there is?"
    return Result(exercise, "", WRONG, message, look)


def _by_value() -> None:
    """Models whose classes are the checks' own go over with their classes: there are no checks there."""
    available()
    for name, module in list(sys.modules.items()):
        if re.match(r"xai_course\.checks\b", name):
            cloudpickle.register_pickle_by_value(module)


__all__ = ["NOT_ATTEMPTED", "PASSED", "Judged", "calls", "judge_answers"]
