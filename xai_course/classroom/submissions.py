"""What students hand in: read from a platform's zip or a folder, whatever the files look like.

One odd file never stops the others: what is wrong with it is flagged, and as much as can be read is read.
Nothing is written to disk, nothing is run, and no archive decides where a file goes.
"""

from __future__ import annotations

import difflib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from nbformat import NotebookNode

from . import pages

LARGEST = 20_000_000  # bytes of one file that is read; what students hand in holds a few hundred kilobytes
MOST_FILES = 10_000
_MOODLE = re.compile(r"^(?P<student>.+_\d+)_assignsubmission_(?:file|onlinetext)_?$")
_CANVAS = re.compile(r"^(?P<student>[^_/]+(?:_LATE)?_\d+)_\d+_(?P<file>[^/]+)$")
_COPY = re.compile(r"(?: ?\(\d+\)|-Copy\d+|-\d+)+$")  # exercises (1), exercises-Copy1, exercises-2
_DEFINED = re.compile(r"^(?:def|class)\s+(\w+)|^(\w+)\s*=(?!=)", flags=re.MULTILINE)


@dataclass
class Submission:
    """What one student handed in.

    Attributes:
        student: the name under which the platform filed it: ``Ada Lovelace_4711`` (Moodle),
            ``lovelaceada_815`` (Canvas), or the file's or folder's own name.
        file: where the notebook was found, as the archive names it; empty where there is none.
        code: the student's code, a cell each, in the order of the notebook; without what the course itself
            put there (its set-up, its checks, its figures).
        flags: what a teacher may want to look at, in plain words.
    """

    student: str
    file: str = ""
    code: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)


def collect(source: str | Path, edition: NotebookNode) -> list[Submission]:
    """Every student's submission, in the order of their names.

    Args:
        source: a zip as Moodle or Canvas make it, a zip of notebooks, or a folder of either: notebooks named
            after students, or a folder a student.
        edition: the notebook that was handed out, as :func:`editions.edition` makes it.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if the file is no zip, or nothing in it was handed in.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"`source` must be a zip or a folder of submissions; there is no {source}")
    by_student: dict[str, list[tuple[str, bytes, list[str]]]] = {}
    for name, content, flags in _files(source):
        student, file = _owner(PurePosixPath(name))
        by_student.setdefault(student, []).append((file, content, flags))
    if not by_student:
        raise ValueError(f"nothing was handed in: {source} holds no file")
    return [_submission(student, files, edition) for student, files in sorted(by_student.items())]


# ---- files -----------------------------------------------------------------------------------------------
def _files(source: Path) -> Iterator[tuple[str, bytes, list[str]]]:
    """Every file: its name with slashes, what is in it, what is odd about it."""
    if source.is_file():
        if not zipfile.is_zipfile(source):
            raise ValueError(f"`source` must be a zip or a folder of submissions; {source} is no zip")
        yield from _unzipped(source.read_bytes(), deeper=True)
        return
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        name = path.relative_to(source).as_posix()
        if _hidden(name):
            continue
        if path.suffix == ".zip":
            yield from _nested(name, path.read_bytes() if path.stat().st_size < 50 * LARGEST else b"")
        elif path.stat().st_size > LARGEST:
            yield name, b"", [f"{name} is larger than {LARGEST // 10**6} MB and was not read"]
        else:
            yield name, path.read_bytes(), []


def _unzipped(content: bytes, *, deeper: bool) -> Iterator[tuple[str, bytes, list[str]]]:
    """The files of an archive, read into memory; an archive inside it is opened once."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist()[:MOST_FILES]:
            name = _file_name(entry)
            if entry.is_dir() or _hidden(name):
                continue
            try:
                with archive.open(entry) as file:
                    data = file.read(LARGEST + 1)  # what an entry says of its size may be a lie
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError) as error:
                yield name, b"", [f"{name} could not be unpacked: {error}"]
                continue
            if len(data) > LARGEST:
                yield name, b"", [f"{name} is larger than {LARGEST // 10**6} MB and was not read"]
            elif deeper and name.endswith(".zip"):
                yield from _nested(name, data)
            else:
                yield name, data, []


def _nested(name: str, content: bytes) -> Iterator[tuple[str, bytes, list[str]]]:
    """The files of a zip that a student handed in, as if they lay beside it."""
    try:
        inner = list(_unzipped(content, deeper=False))
    except zipfile.BadZipFile:
        yield name, b"", [f"{name} is a broken zip"]
        return
    if not inner:
        yield name, b"", [f"{name} is an empty zip"]
    place, stem = str(PurePosixPath(name).parent), PurePosixPath(name).stem
    for file, data, flags in inner:
        folder = stem if place == "." else place
        yield f"{folder}/{PurePosixPath(file).name}", data, [f"handed in as the zip {name}", *flags]


def _hidden(name: str) -> bool:
    """Whether an operating system left this there: `.DS_Store`, `__MACOSX/…`."""
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in PurePosixPath(name).parts)


def _file_name(entry: zipfile.ZipInfo) -> str:
    """An entry's name; older archivers write it in their machine's code page, and do not say which."""
    if entry.flag_bits & 0x800:
        return entry.filename
    raw = entry.filename.encode("cp437", errors="replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _owner(name: PurePosixPath) -> tuple[str, str]:
    """The student a file belongs to, and the file's own name."""
    for part in name.parts[:-1]:
        moodle = _MOODLE.match(part)
        if moodle:
            return moodle["student"], name.name
    canvas = _CANVAS.match(name.name)
    if canvas:
        return canvas["student"].replace("_LATE_", "_"), canvas["file"]
    if len(name.parts) > 1:
        return name.parts[-2], name.name
    return _COPY.sub("", name.stem), name.name


# ---- one student -----------------------------------------------------------------------------------------
def _submission(student: str, files: list[tuple[str, bytes, list[str]]], edition: NotebookNode) -> Submission:
    """The best of a student's files: the notebook with most of the exercises; the last of equals."""
    made = Submission(student)
    found = []
    for file, content, flags in files:
        made.flags += flags
        if not file.lower().endswith((".ipynb", ".json")):
            if not flags:
                made.flags.append(f"{file} is no notebook and was not read")
            continue
        cells, odd = _cells(content)
        made.flags += [f"{file}: {said}" for said in odd]
        if cells:
            found.append((len(_belonging(cells, edition)), len(found), file, cells))
    if not found:
        made.flags.append("no notebook that can be read was handed in")
        return made
    if len(found) > 1:
        made.flags.append(f"{len(found)} notebooks were handed in")
    belongs, _, made.file, cells = max(found, key=lambda one: one[:2])
    if not belongs:
        made.flags.append(f"{made.file} has no exercise of this chapter")
    made.code, odd = _code(cells, edition)
    made.flags += odd
    return made


def _cells(content: bytes) -> tuple[list[dict[str, Any]], list[str]]:
    """The code cells of a notebook as plain data, and what is odd; older dialects are understood."""
    odd = []
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text, odd = content.decode("latin-1"), ["it is not in UTF-8; read as Latin-1"]
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        return [], ["it is not JSON: an upload that broke off?"]
    if not isinstance(held, dict):
        return [], ["it is JSON, but no notebook"]
    sheets = held.get("worksheets")  # notebooks of 2014 and before
    listed = (
        sheets[0].get("cells")
        if isinstance(sheets, list) and sheets and isinstance(sheets[0], dict)
        else None
    )
    listed = held.get("cells", listed)
    if not isinstance(listed, list):
        return [], ["it is JSON, but no notebook"]
    cells = []
    for cell in listed:
        source = cell.get("source", cell.get("input", "")) if isinstance(cell, dict) else None
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if not isinstance(source, str):
            odd.append("a cell that cannot be read was left out")
        elif cell.get("cell_type") == "code":
            tags = cell["metadata"].get("tags") if isinstance(cell.get("metadata"), dict) else None
            cells.append(
                {"id": cell.get("id"), "source": source, "tags": tags if isinstance(tags, list) else []}
            )
    return cells, odd if cells else [*odd, "it has no code cell"]


def _belonging(cells: list[dict[str, Any]], edition: NotebookNode) -> set[str]:
    """The edition's stubs that a notebook has, by identifier or by a name that they define."""
    stubs = {cell.id: _names(cell.source) for cell in edition.cells if "exercise" in pages.tags(cell)}
    there = {cell["id"] for cell in cells if isinstance(cell["id"], str)}
    defined = {name for cell in cells for name in _names(cell["source"])}
    return {stub for stub, names in stubs.items() if stub in there or names & defined}


def _code(cells: list[dict[str, Any]], edition: NotebookNode) -> tuple[list[str], list[str]]:
    """What of the notebook is the student's own code, and what is odd about it.

    The course's own cells come from the edition when it is judged, so a copy of them is left out, even a
    changed one: by identifier, by tag, by what stands in them. A cell whose identifier says that it is a
    check, but which defines a name that an exercise asks for, is the student's: cells get copied and merged.
    """
    ours = {cell.id: cell for cell in edition.cells if cell.cell_type == "code"}
    asked = set().union(*(_names(cell.source) for cell in ours.values() if "exercise" in pages.tags(cell)))
    kept, flags, seen = [], [], set()
    for cell in cells:
        source, name = cell["source"], cell["id"] if isinstance(cell["id"], str) else ""
        master = ours.get(name)
        if not source.strip():
            continue
        if name in seen:
            flags.append(f"cell {name} is there twice")
        seen |= {name} & set(ours)
        if _names(source) & asked or not (_is_ours(source, ours) or _acts_as_ours(cell, master)):
            kept.append(source)
        elif master is not None and source.strip() != master.source.strip():
            flags.append(f"cell {name}, which is the course's, was changed")
    if not seen:
        flags.append("the cells have lost their identifiers: they were recognised by what stands in them")
    return kept, flags


def _is_ours(source: str, ours: dict[str, NotebookNode]) -> bool:
    """Whether a cell without a mark is a copy of one of the course's, but for a few characters."""
    return any(_alike(source, cell.source) for cell in ours.values() if "exercise" not in pages.tags(cell))


def _alike(source: str, other: str) -> bool:
    """Whether two cells are the same, or long and nearly the same."""
    if source.strip() == other.strip():
        return True
    both = difflib.SequenceMatcher(None, source, other, autojunk=False)
    return len(source) > 200 and both.quick_ratio() > 0.9 and both.ratio() > 0.9


def _acts_as_ours(cell: dict[str, Any], master: NotebookNode | None) -> bool:
    """Whether a cell stands where the course's own code stood, or only calls a check."""
    marked = {"setup", "check", "your-turn"} & {tag for tag in cell["tags"] if isinstance(tag, str)}
    master_tags = set(pages.tags(master)) if master is not None else set()
    only_calls = all(
        line.strip().startswith(("check(", "#")) for line in cell["source"].splitlines() if line.strip()
    )
    return bool(marked or {"setup", "check", "your-turn"} & master_tags or only_calls)


def _names(source: str) -> set[str]:
    """The names that a cell's outermost lines define, also where the cell as a whole cannot be parsed."""
    return {one or other for one, other in _DEFINED.findall(source)}
