"""The edition of a chapter's exercises that a class is handed: without solutions, with as many hints as the
teacher allows, and with what a student's machine needs to run it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from . import pages, variants

ROOT = Path(__file__).resolve().parents[2]
HINTS = 3  # how many hints the course's exercises have
_HINT = re.compile(
    r"^(?P<fence>:{3,})\{dropdown\} Hint (?P<number>\d)\n.*?^(?P=fence)[ ]*$\n*",
    flags=re.MULTILINE | re.DOTALL,
)
_THREE_HINTS = re.compile(
    r"Stuck\? There are three hints an exercise, each going further than the\s+one before\."
)
_CITED = re.compile(r"\{cite:([pt])\}`([^`]+)`")
_TO_A_PAGE = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)\s]+\.(?:ipynb|md|html)(?:#[^)\s]*)?\)")
_SAYS = {
    0: "Stuck? This edition has no hints: ask in class.",
    1: "Stuck? There is one hint an exercise.",
    2: "Stuck? There are two hints an exercise, the second going further than the first.",
}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # in every archive: the same release gives the same bytes


# ---- the notebook ------------------------------------------------------------------------------------------
def edition(notebook: NotebookNode, *, hints: int = HINTS) -> NotebookNode:
    """The notebook that is handed out: without solutions, with each exercise's first ``hints`` hints.

    Nothing in it was executed, and its cells have identifiers that stay from one release to the next, since
    they say where a cell belongs: ``2-1-exercise`` is the stub of exercise 2.1. References to the
    bibliography, which a notebook on its own can't look up, become names and years.

    Args:
        notebook: a page of exercises with its tags, as :func:`pages.read` returns it.
        hints: how many hints stay, 0 to 3.

    Raises:
        ValueError: if ``hints`` is no number from 0 to 3, or if what stays would give a solution away.
    """
    if isinstance(hints, bool) or hints not in range(HINTS + 1):
        raise ValueError(f"`hints` must be a number from 0 to {HINTS}, got {hints!r}")
    given_away = pages.leaks(notebook)
    if given_away:
        first = given_away[0]
        raise ValueError(
            f"what stays gives a solution away in {len(given_away)} places; the first, in cell {first.cell}, "
            f"{first.why}: {first.line!r}"
        )
    made = pages.without_solutions(notebook)
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("execution", None)
        else:
            cell.source = _plain_references(_with_hints(cell.source, hints))
    made.cells = [cell for cell in made.cells if cell.source.strip()]
    _identify(made)
    made.metadata.pop("jupytext", None)  # the source is not handed out
    nbformat.validate(made)
    return made


def _with_hints(text: str, hints: int) -> str:
    """The text without the hints beyond these, and true about how many there are."""
    kept = _HINT.sub(lambda found: found[0] if int(found["number"]) <= hints else "", text)
    return _THREE_HINTS.sub(_SAYS[hints], kept) if hints in _SAYS else kept


def _plain_references(text: str) -> str:
    """Citations by name and year: ``{cite:p}`Ribeiro2016``` becomes “(Ribeiro 2016)”.

    Of a link to another page of the book, which is not handed out, the text stays.
    """

    def written(found: re.Match) -> str:
        named = [
            "{} {}".format(*re.match(r"(\D+)(\d*)", key.strip()).groups()).strip()
            for key in found[2].split(",")
        ]
        return f"({'; '.join(named)})" if found[1] == "p" else ", ".join(named)

    return _CITED.sub(written, _TO_A_PAGE.sub(r"\1", text))


def _identify(notebook: NotebookNode) -> None:
    """Give every cell the identifier that says where it belongs; a further one of a kind is counted."""
    exercise, seen = "page", {}
    for cell in notebook.cells:
        heading = re.search(r"^## (?:(\d+)\.(v?\d+) )?", cell.source, flags=re.MULTILINE)
        if cell.cell_type == "markdown" and heading:
            exercise = f"{heading[1]}-{heading[2]}" if heading[1] else "end"
        kinds = [tag for tag in pages.tags(cell) if tag in ("setup", "exercise", "check", "your-turn")]
        name = f"{exercise}-{kinds[0] if kinds else 'text' if cell.cell_type == 'markdown' else 'code'}"
        seen[name] = seen.get(name, 0) + 1
        cell["id"] = name if seen[name] == 1 else f"{name}-{seen[name]}"


# ---- the folder --------------------------------------------------------------------------------------------
def release(
    chapter: int | str | None = None,
    *,
    hints: int = HINTS,
    out: str | Path = "release",
    variant: str | Path | None = None,
) -> Path:
    """Write what a class is handed for one chapter: a folder, and the same as a zip to upload.

    The folder ``ch02`` holds ``exercises.ipynb``; ``wheels/``, the two packages, so that nobody needs
    the repository; ``START.md``, a page for students; ``release.json``, which says what was handed out, with
    checksums.

    Args:
        chapter: its number, 2 or "02". With a variant it may be left out.
        hints: how many hints each exercise keeps, 0 to 3.
        out: the folder that gets ``ch02/`` and ``ch02.zip``; what a former release left there under these two
            names is replaced, everything else stays.
        variant: a folder of a teacher's own exercises (:mod:`.variants`), which are handed out, in place of
            the course's, as ``ch02-NAME``, with what lies in its ``data/``. Its checks are not.

    Returns:
        The folder that was written.

    Raises:
        FileNotFoundError: if there is no such chapter, or it has no exercises.
        ValueError: as :func:`edition`, :func:`pages.read` and :func:`.variants.loaded`; if the variant is one
            of another chapter, or a file in its ``data/`` gives something away.
        RuntimeError: if the packages cannot be built.
    """
    name, number, page, data = _own(variant, chapter) if variant else _of_the_course(chapter)
    notebook = edition(pages.read(page), hints=hints)
    folder = Path(out) / name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / "exercises.ipynb")
    wheels = _wheels(folder / "wheels")
    for file, content in data.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    exercises = list(pages.page(page).exercises)
    start = _start(notebook, number, wheels, judged_later=bool(variant))
    (folder / "START.md").write_text(start, encoding="utf-8")
    manifest = {
        "chapter": number,
        "hints": hints,
        "exercises": exercises,
        "files": {
            str(path.relative_to(folder).as_posix()): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }
    (folder / "release.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    _zipped(folder)
    return folder


def _of_the_course(chapter: int | str | None) -> tuple[str, int, Path, dict[str, bytes]]:
    """Of a chapter: what its release is called, its number, its page of exercises, and no further files."""
    number, chapters = _number(chapter), ROOT / "chapters"
    found = sorted(chapters.glob(f"{number:02d}_*/exercises.ipynb"))
    if not found:
        there = ", ".join(sorted(path.parent.name[:2] for path in chapters.glob("*/exercises.ipynb")))
        raise FileNotFoundError(
            f"there is no {chapters}/{number:02d}_…/exercises.ipynb; with exercises there: {there or 'none'}"
        )
    return f"ch{number:02d}", number, found[0], {}


def _own(variant: str | Path, chapter: int | str | None) -> tuple[str, int, Path, dict[str, bytes]]:
    """The same of a teacher's own exercises: only with checks that fit are they handed out."""
    with variants.loaded(variant) as own:
        if chapter is not None and _number(chapter) != own.chapter:
            raise ValueError(f"{own.folder} holds exercises of chapter {own.chapter}, not of {chapter}")
        data = own.data
        given_away = variants.leaks(own.page, data)
        if given_away:
            raise ValueError(f"{own.folder / given_away[0]}, which is handed out, holds lines of a solution")
        return f"ch{own.chapter:02d}-{own.name}", own.chapter, own.page.path, data


def _number(chapter: int | str | None) -> int:
    try:
        return int(chapter)
    except (TypeError, ValueError):
        raise ValueError(f"`chapter` must be a chapter's number such as 2 or '02', got {chapter!r}") from None


def _wheels(folder: Path) -> list[str]:
    """Build the library and the course's package as wheels; their names."""
    folder.mkdir()
    with (
        tempfile.TemporaryDirectory() as built
    ):  # a build leaves files behind, and takes up those of the last one
        place = Path(built)
        unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, place)
        for name in ("xai_lib", "xai_course"):
            shutil.copytree(ROOT / name, place / name, ignore=unwanted)
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        command += ["--no-build-isolation", "--wheel-dir", str(folder.resolve()), ".", "./xai_course"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=place)
    if done.returncode:
        raise RuntimeError(
            f"the course's packages could not be built:\n{(done.stdout + done.stderr)[-2000:]}"
        )
    return sorted(path.name for path in folder.glob("*.whl"))


def _start(notebook: NotebookNode, number: int, wheels: list[str], *, judged_later: bool) -> str:
    """The page that a student reads first."""
    title = re.search(r"^# (.+)$", notebook.cells[0].source, flags=re.MULTILINE)[1]
    course, library = wheels  # xai_course…, xai_lib…: in the order of the alphabet
    says = JUDGED_LATER if judged_later else JUDGED_AT_ONCE
    return START.format(title=title, number=number, course=course, library=library, says=says)


JUDGED_AT_ONCE = """The check says *not attempted yet*, *not yet* (with
what is wrong and where to look) or *passed*. Call it as often as you like."""
JUDGED_LATER = """These exercises are your teacher's, who
also has their checks: you are told what was right, and what was not, after you have handed in. Until
then try your functions on inputs whose result you know."""
START = """# {title} (chapter {number})

What you need: Python 3.11, 3.12 or 3.13, this folder, and 3 GB of free disk. A Mac with an Intel processor
cannot run it, since there is no current PyTorch for it: ask your teacher.

## Once, in a terminal opened in this folder

On macOS and Linux:

    python3 -m venv .venv
    . .venv/bin/activate

On Windows:

    py -m venv .venv
    .venv\\Scripts\\activate

On Linux, unless you want to use an NVIDIA card, take PyTorch's small build first; pip's usual one needs
about 5 GB more:

    pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu

Then, everywhere:

    pip install "./wheels/{library}[course]" ./wheels/{course}

From here on nothing is downloaded: the networks, the photographs and the data came with the
installation.

## Each time

Open a terminal in this folder and activate the environment, with the second line for your system above.
Then

    jupyter lab exercises.ipynb

Run the first code cell. Each exercise has a cell with `...` that you replace by your own code, and
below it a cell that calls `check`. Run both. {says}

## Before you hand in

1. *Kernel*, then *Restart Kernel and Run All Cells*: what passes only in the order in which you
   happened to run things does not pass. A cell that stops with an error stops those below it: leave
   its `...` in place rather than half an answer that fails.
2. Save, and hand in `exercises.ipynb` alone, under that name.
"""


def _zipped(folder: Path) -> None:
    """The folder as a zip beside it; the same files give the same bytes."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}", _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, path.read_bytes())
