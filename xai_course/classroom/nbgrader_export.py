"""A release and its marks for those who work with nbgrader: its course folder and its gradebook.

nbgrader keeps the books here, and does not judge. Its own autograder runs a student's notebook and gives full
marks to every check cell that prints something and raises nothing, a blank one's too; so the course folder is
written with the autograder switched off, and the marks come from :mod:`.grading`. A mark that a teacher sets
in formgrader by hand stays: ours are the automatic score, over which nbgrader lets a manual one win.

nbgrader is the extra ``nbgrader``; it is imported here alone, and only when it is asked for.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from ..checks.verdicts import Result
from . import pages

NOTEBOOK = "exercises"  # what nbgrader calls it: the file's name without its ending
_CONFIG = '''"""How nbgrader treats this folder. Written once, by `make nbgrader`; yours to change."""

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "seeing_is_not_believing"

# The stubs are handed out as they stand: ClearSolutions, left out here, would put its own in their place.
c.GenerateAssignment.preprocessors = [
    "nbgrader.preprocessors." + name
    for name in ("LockCells", "ClearOutput", "CheckCellMetadata", "ComputeChecksums", "SaveCells")
]

# Judged elsewhere (`make grade`). nbgrader's autograder would run a student's code with all that you may do,
# and give full marks to everybody: a check that prints "not attempted yet" raises no error.
c.Autograde.autograde_preprocessors = ["nbgrader.preprocessors.CheckCellMetadata"]
'''


def write_course(release: str | Path, to: str | Path) -> Path:
    """Make a release an assignment of an nbgrader course, by nbgrader's own ``generate_assignment``.

    Args:
        release: the folder that was handed out; its name, such as ``ch02``, becomes the assignment's.
        to: the course folder, new or in use: ``source/ch02``, ``release/ch02``, ``gradebook.db`` and, where
            there is none, ``nbgrader_config.py``.

    Returns:
        The folder with the notebook that nbgrader hands out, ``release/ch02``.

    Raises:
        ImportError: if nbgrader is not installed.
        FileNotFoundError: if ``release`` holds no notebook.
        RuntimeError: if nbgrader refuses, as it does where students' work hangs on other cells.
    """
    api, _ = _nbgrader()
    release, to = Path(release).resolve(), Path(to).resolve()
    notebook = _edition(release)
    source = to / "source" / release.name
    source.mkdir(parents=True, exist_ok=True)
    nbformat.write(with_metadata(notebook), source / f"{NOTEBOOK}.ipynb")
    for file in sorted((release / "data").rglob("*")):
        if file.is_file():
            place = source / file.relative_to(release)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    if not (to / "nbgrader_config.py").exists():
        (to / "nbgrader_config.py").write_text(_CONFIG, encoding="utf-8")
    with _inside(to):
        done = api(config=_config(to)).generate_assignment(release.name)
    if not done["success"]:
        said = done.get("log") or done.get("error")
        raise RuntimeError(f"nbgrader does not make the assignment: {said}")
    return to / "release" / release.name


def write_marks(done: Sequence[Any], release: str | Path, to: str | Path) -> int:
    """Write what was graded into the course's gradebook, and each notebook to where formgrader shows it.

    Every check cell gets its points as automatic score, and the exercise's stub what the check said as
    comment. An exercise that was not graded is marked as one to be graded by hand.

    Args:
        done: what :func:`.grading.grade` returned.
        release: the folder that was handed out.
        to: the course folder that :func:`write_course` wrote.

    Returns:
        How many students' marks were written.

    Raises:
        ImportError: if nbgrader is not installed.
        FileNotFoundError: if there is no gradebook, or ``release`` holds no notebook.
        ValueError: if the gradebook knows no such assignment.
    """
    from .grading import _file_name

    _, gradebook = _nbgrader()
    release, to = Path(release).resolve(), Path(to).resolve()
    if not (to / "gradebook.db").is_file():
        raise FileNotFoundError(
            f"there is no gradebook in {to}: begin with `make nbgrader CHAPTER=… TO={to.name}`"
        )
    marked = with_metadata(_edition(release))
    with _inside(to), gradebook(f"sqlite:///{to / 'gradebook.db'}", "seeing_is_not_believing") as book:
        if release.name not in [assignment.name for assignment in book.assignments]:
            raise ValueError(f"the gradebook in {to} has no assignment {release.name}: make it first")
        for graded in done:
            student = _file_name(graded.student)
            book.update_or_create_student(student, last_name=graded.student)
            book.update_or_create_submission(release.name, student)
            _write_one(book, graded.results, marked, release.name, student)
            place = to / "autograded" / student / release.name
            place.mkdir(parents=True, exist_ok=True)
            nbformat.write(_as_shown(marked, graded), place / f"{NOTEBOOK}.ipynb")
        book.db.commit()
    return len(done)


# ---- the notebook ------------------------------------------------------------------------------------------
def with_metadata(edition: NotebookNode) -> NotebookNode:
    """The edition with what nbgrader wants to know of its cells; their names hold no dots, as it asks."""
    made, counted = copy.deepcopy(edition), set()
    for cell in made.cells:
        tags, exercise = set(pages.tags(cell)), pages.CHECKED.search(cell.source)
        if cell.cell_type != "code" or not tags & {"setup", "exercise", "check"}:
            continue
        grade = "check" in tags and exercise is not None and exercise[1] not in counted
        counted |= {exercise[1]} if grade else set()
        cell.metadata["nbgrader"] = {
            "schema_version": 3,
            "grade_id": cell.id,
            "grade": grade,
            "solution": "exercise" in tags,
            "locked": "exercise" not in tags,
            "task": False,
            **({"points": 1, "cell_type": "code"} if grade else {}),
        }
    return made


def _cells_of(marked: NotebookNode) -> Iterator[tuple[str, str, str]]:
    """Each exercise, its cell of points and its stub: ``2.1``, ``2-1-check``, ``2-1-exercise``."""
    for cell in marked.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            stub = re.sub(r"-check(-\d+)?$", "-exercise", cell.id)
            yield pages.CHECKED.search(cell.source)[1], cell.id, stub


def _write_one(book: Any, results: Mapping[str, Any], marked: NotebookNode, name: str, student: str) -> None:
    """One student's points and comments."""
    for exercise, check, stub in _cells_of(marked):
        grade = book.find_grade(check, NOTEBOOK, name, student)
        comment = book.find_comment(stub, NOTEBOOK, name, student)
        found = results.get(exercise)
        if found is None:  # no check of ours could judge it
            grade.auto_score, grade.needs_manual_grade = None, grade.manual_score is None
            continue
        grade.auto_score = float(found["share"])
        grade.needs_manual_grade = False
        comment.auto_comment = repr(_result(exercise, found))


def _result(exercise: str, found: Mapping[str, Any]) -> Result:
    said = (str(found[key]) for key in ("status", "message", "look", "code"))
    return Result(exercise, "", *said)


def _as_shown(marked: NotebookNode, graded: Any) -> NotebookNode:
    """The student's notebook as formgrader shows it: each answer in its stub's place, its verdict below."""
    made = copy.deepcopy(marked)
    places = {cell.id: pages._defined([cell.source]) for cell in made.cells if "exercise" in pages.tags(cell)}
    own, rest = _by_name(graded.code)
    for cell in made.cells:
        if cell.id in places:
            parts = [own.pop(name) for name in sorted(places[cell.id] & set(own))]
            cell.source = "\n\n\n".join(parts) or "# nothing was found here"
        checked = cell.metadata.get("nbgrader", {}).get("grade") and pages.CHECKED.search(cell.source)
        if checked and checked[1] in graded.results:
            told = _result(checked[1], graded.results[checked[1]])
            data = {"text/plain": repr(told), "text/html": told._repr_html_()}
            cell.outputs = [nbformat.v4.new_output("display_data", data=data)]
    more = "\n\n\n".join([*rest, *own.values()])
    if more:
        note = nbformat.v4.new_code_cell(
            f"# What else stood in the student's cells:\n\n{more}", id="the-rest"
        )
        made.cells.append(note)
    return made


def _by_name(code: str) -> tuple[dict[str, str], list[str]]:
    """A student's code: what it says last of each name that it defines, and the rest in its order."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}, [code]
    named: dict[str, str] = {}
    rest = []
    for node in tree.body:
        text = ast.get_source_segment(code, node) or ""
        names = pages._defined([text])
        if len(names) == 1:
            named[names.pop()] = text
        else:
            rest.append(text)
    return named, rest


# ---- nbgrader ----------------------------------------------------------------------------------------------
def _nbgrader() -> tuple[Any, Any]:
    """nbgrader's API and its gradebook."""
    try:
        from nbgrader.api import Gradebook
        from nbgrader.apps import NbGraderAPI
    except ImportError as error:
        raise ImportError(
            f"nbgrader is not installed ({error}); `make nbgrader` installs it, or "
            "`pip install -c constraints.txt -e '.[nbgrader]'`"
        ) from error
    return NbGraderAPI, Gradebook


def _config(to: Path) -> Any:
    """The course folder's own configuration."""
    from traitlets.config import PyFileConfigLoader

    config = PyFileConfigLoader("nbgrader_config.py", path=str(to)).load_config()
    config.CourseDirectory.root = str(to)
    return config


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """In that folder, where nbgrader looks for some of its files, and with the commands that it calls.

    It asks a command `alembic` for the gradebook's version, which is beside Python and often not on the path.
    """
    before, path = os.getcwd(), os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), path])
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ["PATH"] = path


def _edition(release: Path) -> NotebookNode:
    notebook = release / "exercises.ipynb"
    if not notebook.is_file():
        raise FileNotFoundError(
            f"{release} was not handed out: it holds no exercises.ipynb; `make release` first"
        )
    return nbformat.read(notebook, as_version=4)
