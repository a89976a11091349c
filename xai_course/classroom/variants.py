"""Exercises of a teacher's own: a folder outside the repository, in the form of the course's.

A folder holds ``exercises.md`` (or ``exercises.ipynb``), ``checks.py``, and what the exercises read in
``data/``. Its exercises are called ``2.v1``, ``2.v2``: with the ``v`` no exercise of the course can ever have
the same identifier. ``checks.py`` stays with the teacher. It is neither handed out nor does it reach the
process that runs a student's code: in it stand the right answers.

``checks.py`` registers a check for each exercise, as the course's modules do, and names in ``MISTAKES`` the
wrong answers that people give: for each exercise a list for each of its functions. :func:`begin` writes a
folder to start from; :func:`loaded` makes its checks known for a while; :mod:`.proving` tries it out.
"""

from __future__ import annotations

import hashlib
import linecache
import re
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import pages

if TYPE_CHECKING:
    from ..checks.mistakes import Mistake

SKELETON = Path(__file__).parent / "skeleton"
LARGEST = 100_000_000  # bytes of all data: a student downloads it, and the box has no room for more
_IDENTIFIER = re.compile(r"(\d+)\.v\d+")


@dataclass
class Variant:
    """A folder of exercises, read.

    Attributes:
        folder: where it lies.
        page: its exercises.
        chapter: the chapter that they belong to, from their identifiers.
        name: what a release of it is called beside the chapter's number: ``ch02-b``.
        mistakes: for each exercise, for each of its functions, the wrong answers that ``checks.py`` knows;
            empty until the checks are loaded.
    """

    folder: Path
    page: pages.Page
    chapter: int
    name: str
    mistakes: Mapping[str, tuple[list[Mistake], ...]] = field(default_factory=dict)

    @property
    def data(self) -> dict[str, bytes]:
        """The files that the exercises read, by their names as the notebook calls them: ``data/…``."""
        return files_in(self.folder)


def files_in(folder: Path) -> dict[str, bytes]:
    """What lies in a folder's ``data/``, by the names that a notebook beside it uses.

    Raises:
        ValueError: if it is more than a student's process has room for.
    """
    paths = sorted(path for path in (folder / "data").rglob("*") if path.is_file())
    weight = sum(path.stat().st_size for path in paths)
    if weight > LARGEST:
        raise ValueError(
            f"{folder / 'data'} holds {weight / 1e6:.0f} MB; at most {LARGEST / 1e6:.0f} can go along"
        )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def read(folder: str | Path) -> Variant:
    """A folder's exercises, without its checks.

    Raises:
        FileNotFoundError: if there is no such folder, or it holds no ``exercises.md`` or ``exercises.ipynb``.
        ValueError: as :func:`pages.read`; if an identifier is not of the form ``2.v1`` or is there twice, or
            the exercises belong to several chapters.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder}; begin one with `make variant CHAPTER=02 TO={folder.name}`"
        )
    source, notebook = folder / "exercises.md", folder / "exercises.ipynb"
    path = source if source.is_file() else notebook
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no exercises.md and no exercises.ipynb")
    pages.page.cache_clear()  # the teacher may have changed it since
    page = pages.page(path)
    headings = [
        name
        for cell in page.cells
        if cell.cell_type == "markdown"
        for name in re.findall(r"^## (\d+\.v?\d+) ", cell.source, flags=re.MULTILINE)
    ]
    twice = [name for name in page.exercises if headings.count(name) > 1]
    if twice:
        raise ValueError(f"{path}: two exercises are called {twice[0]}; give one of them another number")
    taken = [name for name in page.exercises if not _IDENTIFIER.fullmatch(name)]
    if taken:
        raise ValueError(
            f"{path}: exercise {taken[0]} could be one of the course's; call it "
            f"{taken[0].split('.')[0]}.v{taken[0].split('.')[1]}"
        )
    chapters = sorted({int(name.split(".")[0]) for name in page.exercises})
    if len(chapters) > 1:
        raise ValueError(f"{path} has exercises of chapters {chapters}: a folder holds those of one")
    return Variant(folder, page, chapters[0], _name(folder.name, chapters[0]))


def _name(folder: str, chapter: int) -> str:
    """What a release is called, from the folder's name without the chapter: ``ch02b`` gives ``b``."""
    rest = re.sub(rf"^(ch)?0*{chapter}(?!\d)[-_ ]*", "", folder)
    return re.sub(r"[^\w-]+", "_", rest).strip("_") or "variant"


def leaks(page: pages.Page, data: Mapping[str, bytes]) -> list[str]:
    """The files among those that go along that are checks, or in which lines of a solution stand."""
    lines = {
        line.strip()
        for exercise in page.exercises.values()
        for line in exercise.solution.splitlines()
        if len(line.strip()) > 30
    }
    return [
        name
        for name, content in data.items()
        if Path(name).name == "checks.py" or any(line.encode() in content for line in lines)
    ]


# ---- the checks --------------------------------------------------------------------------------------------
@contextmanager
def loaded(folder: str | Path) -> Iterator[Variant]:
    """The folder's exercises, with its checks known to :func:`xai_course.checks.check` inside the block.

    Raises:
        FileNotFoundError: as :func:`read`, and if there is no ``checks.py``.
        ValueError: as :func:`read`; if ``checks.py`` cannot be run, if it and the page do not hold the same
            exercises, or if ``MISTAKES`` is not what it should be.
    """
    from ..checks import registry

    variant = read(folder)
    path = variant.folder / "checks.py"
    if not path.is_file():
        raise FileNotFoundError(f"{variant.folder} holds no checks.py: without it nothing can be judged")
    registry.available()  # the course's own are there first: none of theirs can be taken
    before = dict(registry._REGISTRY)
    name = f"xai_course.checks.variant_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    try:
        module = _run(path, name)
        known = [one for one in registry._REGISTRY if one not in before]
        _agree(path, list(variant.page.exercises), known)
        variant.mistakes = _mistakes(path, module, known)
        yield variant
    finally:
        registry._REGISTRY.clear()
        registry._REGISTRY.update(before)
        sys.modules.pop(name, None)


def _run(path: Path, name: str) -> types.ModuleType:
    """Run ``checks.py`` as a module among the course's checks.

    Its file is said to lie among them too: an error in a student's code is shown at the student's own line,
    and whatever lies in the course's folders is never taken for that.
    """
    text = path.read_text(encoding="utf-8")
    file = str(Path(__file__).resolve().parents[1] / "checks" / f"{name.rpartition('.')[2]}.py")
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    module = types.ModuleType(name)
    module.__file__, module.__package__ = file, "xai_course.checks"
    sys.modules[name] = module
    try:
        exec(compile(text, file, "exec"), vars(module))
    except Exception as error:  # whatever a teacher's module may raise
        line = error.lineno if isinstance(error, SyntaxError) else _line_in(error, file)
        raise ValueError(f"{path}, line {line}: {type(error).__name__}: {error}") from error
    return module


def _line_in(error: Exception, file: str) -> int | str:
    """The last line of that file on the way to an error."""
    lines, step = ["?"], error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == file:
            lines.append(step.tb_lineno)
        step = step.tb_next
    return lines[-1]


def _agree(path: Path, asked: list[str], known: list[str]) -> None:
    """Stops unless every exercise has a check and every check an exercise."""
    without = [one for one in asked if one not in known]
    if without:
        raise ValueError(
            f'{path} has no check for exercise {without[0]}: write @exercise("{without[0]}", "…")'
        )
    more = [one for one in known if one not in asked]
    if more:
        raise ValueError(
            f"{path} has a check for {more[0]}, which the page does not ask for; there are {', '.join(asked)}"
        )


def _mistakes(path: Path, module: types.ModuleType, known: list[str]) -> dict[str, tuple[list[Mistake], ...]]:
    """``MISTAKES`` as it should be: two or more planted wrong answers for every exercise."""
    from ..checks.mistakes import Mistake

    given = getattr(module, "MISTAKES", None)
    if not isinstance(given, Mapping):
        raise ValueError(f'{path} has no MISTAKES: write MISTAKES = {{"{known[0]}": ([Mistake(…), …],)}}')
    for one in known:
        lists = given.get(one, ())
        fits = isinstance(lists, tuple | list) and all(
            isinstance(several, tuple | list) and all(isinstance(m, Mistake) for m in several)
            for several in lists
        )
        if not fits:
            raise ValueError(
                f'{path}: MISTAKES["{one}"] must hold, for each function of the exercise, a list of Mistake'
            )
        planted = sum(len(several) for several in lists)
        if planted < 2:
            raise ValueError(
                f"{path}: exercise {one} has {planted} planted wrong answers; trust a check that you have "
                "seen refuse two or more"
            )
    stray = [one for one in given if one not in known]
    if stray:
        raise ValueError(f"{path}: MISTAKES names {stray[0]}, which has no check")
    return {one: tuple(list(several) for several in given[one]) for one in known}


# ---- a folder to start from --------------------------------------------------------------------------------
def begin(chapter: int | str, folder: str | Path) -> Path:
    """Write a folder with one small exercise that works, to be changed into one's own.

    Returns:
        The folder.

    Raises:
        ValueError: if ``chapter`` is no number from 1 to 99.
        FileExistsError: if the folder is there and not empty: nothing is overwritten.
    """
    try:
        number = int(chapter)
    except (TypeError, ValueError):
        number = 0
    if not 1 <= number <= 99:
        raise ValueError(f"`chapter` must be a chapter's number such as 2 or '02', got {chapter!r}")
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there and not empty: name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("exercises.md", "checks.py"):
        text = (SKELETON / f"{name}.txt").read_text(encoding="utf-8")
        (folder / name).write_text(text.replace("@CHAPTER@", str(number)), encoding="utf-8")
    return folder
