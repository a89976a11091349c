"""Tries out a folder of a teacher's own exercises before a class does.

For every exercise: the blank stub waits, the solution passes, every planted wrong answer is refused with its
own message; the page says what a student needs, and what is handed out gives nothing away. The answers are
judged where students' are: in a process without the checks, over the wire.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
from nbformat import NotebookNode

from ..checks import check
from ..checks.verdicts import NOT_ATTEMPTED, WRONG, Result
from . import _box, pages, variants
from .editions import HINTS, edition
from .judge import BROKEN, _by_value, _ended, _Process, calls, set_up

_NAMES = re.compile(r"^(?:def|class) (\w+)|^(\w+) =", flags=re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """One thing that was tried.

    Attributes:
        about: the exercise, or the file.
        what: what should hold.
        holds: whether it does.
        said: what was found instead; empty where it holds.
    """

    about: str
    what: str
    holds: bool
    said: str = ""

    def __str__(self) -> str:
        return f"{'✓' if self.holds else '✗'} {self.about}: {self.what}" + (
            f"\n    {self.said}" if self.said else ""
        )


def prove(
    folder: str | Path, *, wire: bool = True, boxed: bool | None = None, seconds: float = 60.0
) -> list[Finding]:
    """Everything that should hold of a teacher's own exercises, and whether it does.

    Args:
        folder: the folder.
        wire: whether the answers are judged over the wire, as students' are, or in this process.
        boxed: whether that other process runs in a box. None: where there is one. The code is your own.
        seconds: what an answer may take.

    Returns:
        What was tried, in the order of the page. A folder that cannot be read is one finding.
    """
    try:
        with variants.loaded(folder) as variant:
            found = [
                Finding(variant.folder.name, f"it can be read: {', '.join(variant.page.exercises)}", True)
            ]
            found += _page(variant) + _handed_out(variant)
            if all(one.holds for one in found):  # else there is nothing, or the wrong thing, to judge
                found += _runs(variant)
            if all(one.holds for one in found):
                boxed = _box.available() is None if boxed is None else boxed
                try:
                    found += _judged(variant, wire=wire, boxed=boxed, seconds=seconds)
                except RuntimeError as error:
                    found.append(Finding("page", "it runs where students' code runs", False, str(error)))
            return found
    except (OSError, ValueError) as error:
        return [Finding(Path(folder).name, "it can be read, with its checks", False, str(error))]


# ---- the page ----------------------------------------------------------------------------------------------
def _page(variant: variants.Variant) -> list[Finding]:
    """What each exercise needs on the page."""
    found = []
    for name, exercise in variant.page.exercises.items():
        hints = re.findall(
            r"^:::\{dropdown\} Hint (\d)\n(?:.+\n|\n)+?:::$", exercise.text, flags=re.MULTILINE
        )
        given, solved = _defined(exercise.stub), _defined(exercise.solution)
        tried = {
            "its difficulty and minutes are there, such as “●●○ · 20 minutes”": (
                re.search(r"(●○○|●●○|●●●) · \d+ minutes", exercise.text),
                "",
            ),
            f"it has {HINTS} hints, each in a block `:::{{dropdown}} Hint 1`": (
                hints == ["1", "2", "3"],
                f"found: {', '.join(hints) or 'none'}",
            ),
            "a cell tagged `exercise` holds a stub with `...`": ("..." in exercise.stub, ""),
            "a cell tagged `check` calls its check": (_arguments(exercise.check, name), ""),
            "a cell tagged `solution` holds a solution and calls the check with it": (
                _arguments(exercise.solution, name),
                "",
            ),
            "the solution leaves the student's names alone": (
                not given & solved,
                f"both define {', '.join(sorted(given & solved))}: call yours `…_solution`",
            ),
        }
        found += [
            Finding(name, what, bool(holds), "" if holds else said) for what, (holds, said) in tried.items()
        ]
        planted = sum(map(len, variant.mistakes[name]))
        said = [mistake.message for several in variant.mistakes[name] for mistake in several]
        found.append(
            Finding(
                name,
                f"{planted} wrong answers are planted, each with a message of its own and where to look",
                len(set(said)) == planted
                and all(m.look for several in variant.mistakes[name] for m in several),
            )
        )
    return found


def _defined(source: str) -> set[str]:
    return {one or other for one, other in _NAMES.findall(source)}


def _arguments(source: str, exercise: str) -> list[str]:
    """What the check of an exercise is called with in these cells."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check":
            if node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == exercise:
                return [ast.unparse(argument) for argument in node.args[1:]]
    return []


# ---- what is handed out ------------------------------------------------------------------------------------
def _handed_out(variant: variants.Variant) -> list[Finding]:
    """Whether the edition and the files that go along give nothing away."""
    what = "nothing that is handed out gives a solution away"
    try:
        made = edition(variant.page.notebook)
    except ValueError as error:
        return [Finding("edition", what, False, str(error))]
    given_away = variants.leaks(variant.page, variant.data)
    found = [Finding("edition", what, not given_away, ", ".join(given_away))]
    private = {
        line.strip()
        for line in (variant.folder / "checks.py").read_text(encoding="utf-8").splitlines()
        if len(line.strip()) > 30 and not line.startswith(("from ", "import ", "#"))
    }
    kept = [line.strip() for cell in made.cells for line in cell.source.splitlines()]
    shown = [line for line in kept if line in private]
    imports = [line for line in kept if re.match(r"(from|import) checks\b", line)]
    found.append(
        Finding(
            "edition",
            "no line of checks.py is handed out, and nothing imports it",
            not (shown or imports),
            (shown + imports)[0] if shown or imports else "",
        )
    )
    return found


# ---- the answers -------------------------------------------------------------------------------------------
def _judged(variant: variants.Variant, *, wire: bool, boxed: bool, seconds: float) -> list[Finding]:
    """Blank stubs, solutions and planted answers, with what the checks say of each."""
    notebook = variant.page.notebook
    made = edition(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code" and _is_an_answer(cell)]
    planted = {
        f"planted_{number}": mistake.answer
        for number, mistake in enumerate(
            mistake for lists in variant.mistakes.values() for several in lists for mistake in several
        )
    }
    names = iter(planted)
    found = []
    with _somewhere(variant, made, code, planted, wire=wire, boxed=boxed, seconds=seconds) as judged:
        for exercise, stubs in calls(made).items():
            blank = judged(exercise, stubs)
            found.append(_finding(exercise, "the blank stub waits", blank, blank.status == NOT_ATTEMPTED))
            right = _arguments(variant.page.exercises[exercise].solution, exercise)
            solved = judged(exercise, right)
            found.append(_finding(exercise, "the solution passes", solved, solved.passed))
            for place, several in enumerate(variant.mistakes[exercise]):
                for mistake in several:
                    told = judged(exercise, [*right[:place], next(names), *right[place + 1 :]])
                    own = told.status == WRONG and told.message.startswith(mistake.message)
                    what = f"the planted answer is told “{mistake.message}”"
                    found.append(_finding(exercise, what, told, own and told.look == mistake.look))
    return found


def _runs(variant: variants.Variant) -> list[Finding]:
    """Whether the whole page runs from the top: as it is handed out, and with the solutions in place."""
    blank = edition(variant.page.notebook)
    stubs = {name: exercise for exercise in calls(blank) for name in calls(blank)[exercise]}
    solved = {
        name: solution
        for exercise in stubs.values()
        for name, solution in zip(
            calls(blank)[exercise],
            _arguments(variant.page.exercises[exercise].solution, exercise),
            strict=True,
        )
    }
    shown = [cell.source for cell in blank.cells if "your-turn" in pages.tags(cell)]
    in_place = [f"{name} = {solution}" for name, solution in solved.items()]
    every = {
        "the page runs from the top as it is handed out": [
            cell.source for cell in blank.cells if cell.cell_type == "code"
        ],
        "the page runs from the top with its solutions, and what it shows with them": [
            *(cell.source for cell in variant.page.cells if cell.cell_type == "code"),
            *in_place,
            *shown,
        ],
    }
    found = []
    for what, sources in every.items():
        try:
            with contextlib.chdir(variant.folder):
                _here(sources, {})
            found.append(Finding("page", what, True))
        except Exception as error:  # whatever a teacher's page may raise
            found.append(Finding("page", what, False, f"{type(error).__name__}: {error}"))
    return found


def _is_an_answer(cell: NotebookNode) -> bool:
    """Whether a cell is a stub, or a solution that calls its check (others only show something)."""
    tags = pages.tags(cell)
    return "exercise" in tags or ("solution" in tags and bool(pages.CHECKED.search(cell.source)))


def _finding(exercise: str, what: str, result: Result, holds: bool) -> Finding:
    return Finding(exercise, what, holds, "" if holds else f"the check says: {result!r}")


@contextlib.contextmanager
def _somewhere(
    variant: variants.Variant,
    made: NotebookNode,
    code: Sequence[str],
    planted: Mapping[str, Any],
    *,
    wire: bool,
    boxed: bool,
    seconds: float,
) -> Iterator[Any]:
    """What judges answers that are named, where the notebook has been run: ``judged(exercise, names)``."""
    if not wire:
        with contextlib.chdir(variant.folder):
            yield _here([*set_up(made), *code], planted)
        return
    _by_value()
    carried = base64.b64encode(cloudpickle.dumps(dict(planted))).decode()
    code = [
        *code,
        f"import base64, cloudpickle\nglobals().update(cloudpickle.loads(base64.b64decode('{carried}')))",
    ]
    there = _There(set_up(made), code, files=variant.data, boxed=boxed, seconds=seconds)
    try:
        yield there
    finally:
        there.stop()


def _here(code: Sequence[str], planted: Mapping[str, Any]) -> Any:
    """Judges in this process."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for source in code:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, "<exercises>", "exec"), names)
    names.update(planted)
    return lambda exercise, wanted: check(exercise, *[eval(name, names) for name in wanted])


class _There:
    """Judges in another process, as students are; one that ended is followed by a new one."""

    def __init__(self, course: Sequence[str], code: Sequence[str], **options: Any) -> None:
        self.course, self.code, self.options = course, code, options
        self.process: _Process | None = None

    def __call__(self, exercise: str, wanted: Sequence[str]) -> Result:
        seconds = self.options["seconds"]
        try:
            if self.process is None:
                self.process = _Process(self.course, self.code, **self.options)
                if self.process.flags:  # not of a student: of the teacher's own page
                    raise ValueError(f"the page does not run: {self.process.flags[0]}")
            result, _, alive = self.process.judged(exercise, wanted, seconds)
        except BROKEN as error:
            result, alive = _ended(exercise, error, seconds), False
        if not alive:
            self.stop()
        return result

    def stop(self) -> None:
        if self.process is not None:
            self.process.worker.stop()
        self.process = None


__all__ = ["Finding", "prove"]
