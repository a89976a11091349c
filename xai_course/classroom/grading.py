"""Grades what a class handed in: a table of marks, a page of feedback a student, a report on the class.

Every submission is judged on its own (:mod:`.judge`), and its result is written down at once: a run that was
interrupted goes on where it stopped.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import html
import json
import multiprocessing
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from tqdm import tqdm

from ..checks.verdicts import NOT_ATTEMPTED, PASSED, TODO, WRONG, Result, markup
from . import _box, pages, variants
from .judge import calls, judge_answers, set_up
from .submissions import Submission, collect
from .suspicions import bare_lines, suspicions
from .terms import shifts

ALIKE = 0.95  # from this share on, two students' answers are called nearly the same
FEWEST = 10  # lines of one's own; with fewer, two students may well write the same
CHAPTERS = Path(__file__).resolve().parents[2] / "chapters"


@dataclass
class Graded:
    """One student's results, as they are written down.

    Attributes:
        student: as the platform filed it.
        results: for each exercise its status, message, where to look, the line; the seconds that it took;
            its share of a point; and of an exercise with several functions, which of them are right.
        flags: what a teacher may want to look at.
        code: the student's own code, joined.
    """

    student: str
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    code: str = ""

    @property
    def points(self) -> float:
        """One point for each exercise that passed, and a share of one for its functions that are right."""
        return round(sum(found["share"] for found in self.results.values()), 2)


def grade(
    source: str | Path,
    release: str | Path,
    *,
    out: str | Path,
    variant: str | Path | None = None,
    boxed: bool = True,
    jobs: int = 1,
    seconds: float = 60.0,
    term: int | None = None,
    progress: bool = False,
) -> list[Graded]:
    """Grade every submission: ``grades.csv``, ``flags.csv``, ``report.html`` and ``feedback/NAME.html``.

    Args:
        source: the platform's zip, or a folder (:func:`.submissions.collect`).
        release: the folder that was handed out; its notebook's set-up and checks are the ones that count.
        out: the folder to write to. What an interrupted run on the same files left there is not done twice.
        variant: the folder of a teacher's own exercises that were handed out (:mod:`.variants`): its checks
            are the ones that judge.
        boxed: whether students' code runs in a box. Without, it may do whatever you may do.
        jobs: how many students at a time, each in a process of its own.
        seconds: what one exercise may take.
        term: in which the checks draw other numbers than in the notebook (:mod:`.terms`).
        progress: show a progress bar.

    Returns:
        One result a student, in the order of their names.

    Raises:
        FileNotFoundError, ValueError: as :func:`.submissions.collect` and :func:`.variants.loaded`; if
            ``release`` holds no notebook, if ``jobs`` is no positive number, or if there is no such term.
        RuntimeError: if there is no box on this machine, or the course's own cells fail in it.
    """
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"`jobs` must be a positive number, got {jobs!r}")
    notebook = Path(release) / "exercises.ipynb"
    if not notebook.is_file():
        raise FileNotFoundError(f"`release` must be a folder that was handed out; there is no {notebook}")
    why = _box.available() if boxed else None
    if why:
        raise RuntimeError(
            f"{why}. Students' code should not run without a box; `boxed=False` (on the command line "
            "`--unsafe`) runs it with all that you may do: read your files, use your network."
        )
    shifts(term)  # before anybody waits: is there such a term?
    edition = nbformat.read(notebook, as_version=4)
    _has_checks(edition, variant)
    handed_in = collect(source, edition)
    place = Path(out)
    (place / "results").mkdir(parents=True, exist_ok=True)

    one = functools.partial(
        _graded,
        edition=edition,
        place=place / "results",
        files=variants.files_in(Path(release)),
        variant=variant,
        boxed=boxed,
        seconds=seconds,
        term=term,
        solutions=_page_of(edition, variant),
    )
    with ExitStack() as stack:
        if jobs == 1:
            found = map(one, handed_in)
        else:  # checks set torch's one random state: they share no process
            pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
            found = stack.enter_context(pool).map(one, handed_in)
        done = list(tqdm(found, total=len(handed_in), disable=not progress, unit="student"))
    _flag_twins(done, edition)
    titles = _titles(edition)
    _write_tables(done, titles, place)
    (place / "feedback").mkdir(exist_ok=True)
    for graded in done:
        (place / "feedback" / f"{_file_name(graded.student)}.html").write_text(
            _feedback(graded, titles), "utf-8"
        )
    (place / "report.html").write_text(_report(done, titles), "utf-8")
    return done


def _has_checks(edition: NotebookNode, variant: str | Path | None) -> None:
    """Stops unless there is a check for every exercise that was handed out."""
    asked = calls(edition)
    own = [exercise for exercise in asked if ".v" in exercise]
    if variant is None and own:
        raise ValueError(
            f"exercise {own[0]} is a teacher's own: name the folder that it came from, with its checks "
            "(`variant`; on the command line --variant FOLDER)"
        )
    if variant is not None:
        with variants.loaded(variant) as found:
            without = [exercise for exercise in asked if exercise not in found.page.exercises]
        if without:
            raise ValueError(f"{variant} has no check for exercise {without[0]}, which was handed out")


def _page_of(edition: NotebookNode, variant: str | Path | None) -> Path | None:
    """The page whose solutions judge the parts of an exercise; None where there is none of this chapter."""
    if variant is not None:
        return variants.read(variant).page.path
    chapters = {int(exercise.split(".")[0]) for exercise in calls(edition)}
    found = [path for number in chapters for path in CHAPTERS.glob(f"{number:02d}_*/exercises.ipynb")]
    return found[0] if len(found) == 1 else None


def _graded(
    submission: Submission,
    edition: NotebookNode,
    place: Path,
    *,
    files: Mapping[str, bytes],
    variant: str | Path | None,
    boxed: bool,
    seconds: float,
    term: int | None,
    solutions: Path | None,
) -> Graded:
    """Judge one submission, or read what a former run found about the very same files."""
    checks = (Path(variant) / "checks.py").read_text("utf-8") if variant is not None else ""
    held = json.dumps([submission.code, nbformat.writes(edition), checks, boxed, seconds, shifts(term)])
    key = hashlib.sha256(held.encode()).hexdigest()[:16]
    kept = place / f"{_file_name(submission.student)}-{key}.json"
    if kept.is_file():
        return Graded(**json.loads(kept.read_text("utf-8")))
    with variants.loaded(variant) if variant is not None else nullcontext():
        found = judge_answers(
            submission.code,
            edition,
            files=files,
            boxed=boxed,
            seconds=seconds,
            term=term,
            solutions=solutions,
        )
        odd = suspicions(submission.code, set_up(edition), calls(edition))
    asked, results = calls(edition), {}
    for exercise, result in found.results.items():
        parts = found.parts.get(exercise, {})
        share = 1.0 if result.passed else round(sum(parts.values()) / len(asked[exercise]), 2)
        results[exercise] = {
            "status": result.status, "message": result.message, "look": result.look, "code": result.code,
            "seconds": round(found.seconds[exercise], 1), "share": share, "parts": parts,
        }  # fmt: skip
    made = Graded(
        submission.student, results, [*submission.flags, *found.flags, *odd], "\n\n".join(submission.code)
    )
    unfinished = kept.with_suffix(".part")
    unfinished.write_text(json.dumps(vars(made)), "utf-8")
    unfinished.replace(kept)  # a file that is there is whole
    return made


def _flag_twins(done: Sequence[Graded], edition: NotebookNode) -> None:
    """Flag pairs of students whose own code is nearly the same, whatever its names and the order of cells;
    what was handed out does not count.
    """
    stubs = [cell.source for cell in edition.cells if "exercise" in pages.tags(cell)]
    asked = {name for names in calls(edition).values() for name in names}
    given = set(bare_lines(stubs, asked))
    own = [Counter(line for line in bare_lines([one.code], asked) if line not in given) for one in done]
    for i, a in enumerate(done):
        for j in range(i):
            lines = own[i].total() + own[j].total()
            share = 2 * (own[i] & own[j]).total() / max(lines, 1)
            if share >= ALIKE and lines >= 2 * FEWEST:
                for one, other in ((a, done[j]), (done[j], a)):
                    one.flags.append(
                        f"but for names and order, {share:.0%} of the lines are those of {other.student}"
                    )


def _titles(edition: NotebookNode) -> dict[str, str]:
    """The exercises and what they are called."""
    text = "\n".join(cell.source for cell in edition.cells if cell.cell_type == "markdown")
    named = dict(re.findall(r"^## (\d+\.v?\d+) (.+)$", text, flags=re.MULTILINE))
    return {exercise: named.get(exercise, "") for exercise in calls(edition)}


def _file_name(student: str) -> str:
    """A student's name as the name of a file: no two students share one, and none leaves its folder."""
    plain = re.sub(r"[^\w.-]+", "_", student).strip(".") or "student"
    return plain if plain == student else f"{plain}-{hashlib.sha256(student.encode()).hexdigest()[:6]}"


# ---- what is written -------------------------------------------------------------------------------------
def _write_tables(done: Sequence[Graded], titles: Mapping[str, str], place: Path) -> None:
    with open(place / "grades.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["student", *titles, "points", "of"])
        for one in done:
            shares = [f"{one.results[exercise]['share']:g}" for exercise in titles]
            table.writerow([_cell(one.student), *shares, f"{one.points:g}", len(titles)])
    with open(place / "flags.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["student", "flag"])
        table.writerows([_cell(one.student), _cell(flag)] for one in done for flag in one.flags)


def _cell(text: str) -> str:
    """A text that a spreadsheet takes for a text, not for a formula."""
    return "'" + text if text[:1] in "=+-@\t\r" else text


def _feedback(graded: Graded, titles: Mapping[str, str]) -> str:
    """A student's page: the checks' own cards. It says nothing of other students, and nothing of flags."""
    cards = []
    for exercise, title in titles.items():
        found = graded.results[exercise]
        said = [str(found[key]) for key in ("status", "message", "look", "code")]
        if said[1] == TODO:  # here no cell can be run again
            said[1] = "There is still a `...` where your code belongs."
        cards.append(Result(exercise, title, *said)._repr_html_() + _parts(found))
    passed = sum(found["status"] == PASSED for found in graded.results.values())
    head = f"<p>{passed} of {len(titles)} exercises passed"
    head += f"; {graded.points:g} points.</p>" if graded.points != passed else ".</p>"
    return _page(graded.student, head + "".join(cards))


def _parts(found: Mapping[str, Any]) -> str:
    """What is said of an exercise of which a function is right, and of what is not yet."""
    right = [f"<code>{html.escape(name)}</code>" for name, passed in found["parts"].items() if passed]
    if not right:
        return ""
    verb = "is" if len(right) == 1 else "are"
    return f"<p class=parts>{' and '.join(right)} {verb} right: {found['share']:g} of a point.</p>"


def _report(done: Sequence[Graded], titles: Mapping[str, str]) -> str:
    """The class: who passed what, what the checks said most often, the histogram, the time, the flags."""
    rows = [
        _row(exercise, title, [one.results[exercise] for one in done]) for exercise, title in titles.items()
    ]
    points = Counter(int(one.points) for one in done)
    bars = [
        f"<tr><th scope=row>{n}</th><td>"
        f"<span class=bar style='width:{20 * points[n]}px'></span> {points[n]}</td></tr>"
        for n in range(len(titles) + 1)
    ]
    flags = [
        f"<li><strong>{html.escape(one.student)}</strong>: {html.escape(flag)}</li>"
        for one in done
        for flag in one.flags
    ]
    head = "<th>exercise<th>passed<th>not yet<th>not attempted<th>time (median)<th>said most often"
    return _page(
        f"{len(done)} submissions",
        f"<table class=class><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        "<p>The first time includes the start of a process and the notebook's own cells.</p>"
        f"<h2>Points, shares rounded down</h2><table class=hist><tbody>{''.join(bars)}</tbody></table>"
        f"<h2>To look at</h2><ul>{''.join(flags) or '<li>nothing</li>'}</ul>",
    )


def _row(exercise: str, title: str, found: Sequence[Mapping[str, str | float]]) -> str:
    """One exercise of the report."""
    status = Counter(str(result["status"]) for result in found)
    said = Counter(str(result["message"]) for result in found if result["status"] == WRONG)
    often = "".join(f"<li>{n} × {markup(text)}</li>" for text, n in said.most_common(3))
    seconds = statistics.median(float(result["seconds"]) for result in found)
    kinds = {"passed": PASSED, "not yet": WRONG, "not attempted": NOT_ATTEMPTED}
    counts = "".join(f"<td data-name='{name}'>{status[kind]}</td>" for name, kind in kinds.items())
    counts += f"<td data-name=time>{seconds:.1f} s</td>"
    return f"<tr><th scope=row>{exercise} {html.escape(title)}</th>{counts}<td><ul>{often}</ul></td></tr>"


def _page(title: str, body: str) -> str:
    """A whole page; it asks for nothing from elsewhere."""
    name = html.escape(title)
    head = "<meta charset=utf-8><meta name=viewport content='width=device-width'>"
    return (
        f"<!doctype html><html lang=en>{head}<title>{name}</title><style>{_STYLE}</style>"
        f"<main><h1>{name}</h1>{body}</main></html>"
    )


_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 }
main { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #8886 }
.parts { margin: 0 0 .6rem; padding-left: .9em } ul { margin: 0; padding-left: 1.1rem } .hist { width: auto }
.bar { display: inline-block; height: .8em; background: #c4572b }
li { overflow-wrap: break-word }
@media (max-width: 45rem) {
  .class thead { display: none } .class :is(tr, th, td) { display: block; border: 0; padding: 0 }
  .class tr { padding: .6rem 0; border-bottom: 1px solid #8886 }
  .class td[data-name] { display: inline-block; margin-right: 1em }
  .class td[data-name]::before { content: attr(data-name) " " }
  .class li, .class + p ~ ul li { overflow-wrap: anywhere }
}
"""
