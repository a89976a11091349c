"""What it costs to grade a student: processor time beside that of the checks alone, on the same answers.

    python benchmarks/graded.py [CHAPTER] [STUDENTS]

Every student hands in the chapter's solutions, under the names that the exercises ask for. *The checks alone*
judge the same answers in one process, as a notebook would. Counted is processor time, of the judge and of the
student's process in its box: on a machine that does nothing else it is about the time that passes. What a
student's process does before the first exercise (it loads torch, and runs the course's own cells) is timed
with a notebook that holds nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import torch

from xai_course import classroom
from xai_course.checks import check
from xai_course.classroom import _box
from xai_course.classroom._box import Worker
from xai_course.classroom.judge import calls, judge_answers
from xai_course.classroom.solutions import right_answers

ROOT = Path(__file__).resolve().parents[1]
CLASS, CORES = 60, 2  # what is told of a whole class


class Clock:
    """Processor time of this process and of every student's process, which is read as it is ended.

    The system would add a process to its parent's children only if somebody waited for it; in the box nobody
    does.
    """

    def __init__(self) -> None:
        self.students, stop = 0.0, Worker.stop

        def stopped(worker: Worker) -> None:
            self.students += sum(map(_used, _with_descendants(worker.process.pid)))
            stop(worker)

        Worker.stop = stopped

    def of(self, call: Callable[[], Any]) -> tuple[float, Any]:
        """The seconds that a call took, and its result."""
        began = time.process_time() + self.students
        made = call()
        return time.process_time() + self.students - began, made


def _with_descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended just now
            children.setdefault(int(_stat(path)[1]), []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def _used(pid: int) -> float:
    user, system = _stat(Path(f"/proc/{pid}/stat"))[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _stat(path: Path) -> list[str]:
    """What the system says of a process, after its name, which may hold anything."""
    return path.read_text().rpartition(")")[2].split()


def answers(page: classroom.Page, asked: dict[str, list[str]]) -> list[str]:
    """A student's cells: each solution without its check, under the names that are asked for."""
    cells = []
    for exercise, wanted in asked.items():
        code = page.exercises[exercise].solution
        call = re.search(r"^check\((.*?)\)\s*$", code, flags=re.MULTILINE | re.DOTALL)
        given = [name.strip() for name in call[1].split(",")[1:] if name.strip()]
        names = "\n".join(f"{name} = {solution}" for name, solution in zip(wanted, given, strict=True))
        cells.append(code.replace(call[0], "") + "\n" + names)
    return cells


def main(chapter: int = 2, students: int = 3) -> None:
    """Print a table.

    Raises:
        RuntimeError: if there is no box, or a solution does not pass: then nothing was measured.
    """
    if (why := _box.available()) is not None:
        raise RuntimeError(why)
    torch.set_num_threads(1)
    (path,) = ROOT.glob(f"chapters/{chapter:02d}_*/exercises.ipynb")
    page = classroom.page(path)
    edition = classroom.edition(page.notebook)
    with tempfile.TemporaryDirectory() as folder:  # as it is read from what was handed out
        nbformat.write(edition, Path(folder) / "exercises.ipynb")
        edition = nbformat.read(Path(folder) / "exercises.ipynb", as_version=4)
    asked, right, code = calls(edition), right_answers(path), answers(page, calls(edition))

    def alone() -> None:
        wrong = [exercise for exercise in asked if not check(exercise, *right[exercise]).passed]
        if wrong:
            raise RuntimeError(f"the solutions of {', '.join(wrong)} do not pass")

    alone()  # what is loaded once does not count
    clock = Clock()
    rows: dict[str, list[float]] = {
        "the checks alone": [],
        "a notebook that holds nothing": [],
        "a student": [],
    }
    for _ in range(students):
        rows["the checks alone"].append(clock.of(alone)[0])
        rows["a notebook that holds nothing"].append(clock.of(lambda: judge_answers([], edition))[0])
        seconds, judged = clock.of(lambda: judge_answers(code, edition))
        rows["a student"].append(seconds)
        wrong = {name: result.message for name, result in judged.results.items() if not result.passed}
        if wrong:
            raise RuntimeError(f"judged in the box, solutions do not pass: {wrong}")
    print(
        f"chapter {chapter}, {len(asked)} exercises, {students} students; seconds of processor time, medians"
    )
    base = statistics.median(rows["the checks alone"])
    for name, times in rows.items():
        middle = statistics.median(times)
        print(f"  {name:32} {middle:6.2f}   {middle / base:5.2f} times the checks alone")
    minutes = statistics.median(rows["a student"]) * CLASS / CORES / 60
    print(f"  {CLASS} students on {CORES} processors that do nothing else: {minutes:.1f} minutes")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
