"""A page of exercises is read, and an edition without solutions is made of it.

A page's cells carry tags: ``exercise`` (the stub), ``check``, ``solution``. Whatever is tagged ``solution``,
code or text, stays out of the edition that is handed out; :func:`leaks` names what would give a solution away
all the same. In a source, a text cell is tagged by the line ``+++ {"tags": ["solution"]}`` above it.

>>> from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
>>> notebook = new_notebook(cells=[
...     new_markdown_cell("## 2.1 Twice"),
...     new_code_cell("twice = ...", metadata={"tags": ["exercise"]}),
...     new_code_cell("twice_solution = lambda x: 2 * x", metadata={"tags": ["solution"]}),
...     new_markdown_cell("As you saw, 2 will do."),
... ])
>>> len(without_solutions(notebook).cells)
3
>>> leaks(notebook)
[Leak(cell=3, line='As you saw, 2 will do.', why='stands after a solution, and before the next heading')]
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from nbformat import NotebookNode

CHECKED = re.compile(r'check\("(\d+\.v?\d+)"')
_HEADING = re.compile(r"^## (\d+\.v?\d+) ", flags=re.MULTILINE)
_DEFINED = re.compile(r"^(?:def|class) (\w+)|^(\w+) =", flags=re.MULTILINE)


# ---- a page ------------------------------------------------------------------------------------------------
@dataclass
class Exercise:
    """One exercise of a page: what its cells hold.

    Attributes:
        identifier: ``"2.1"``, from the heading; ``"2.v1"`` where a teacher wrote it (:mod:`.variants`).
        stub: the code that the reader completes.
        check: the cells that judge it.
        solution: the solution that passes the check (not the cells that only show it at work).
        text: all of its text, without what is tagged ``solution``.
    """

    identifier: str
    stub: str = ""
    check: str = ""
    solution: str = ""
    text: str = ""


@dataclass
class Page:
    """A page of exercises: its cells in order, and its exercises by identifier."""

    path: Path
    notebook: NotebookNode
    exercises: dict[str, Exercise] = field(default_factory=dict)

    @property
    def cells(self) -> list[NotebookNode]:
        return self.notebook.cells

    @property
    def chapter(self) -> int:
        """The chapter, by the number with which its folder begins."""
        return int(self.path.parent.name[:2])


def tags(cell: NotebookNode) -> list[str]:
    """A cell's tags."""
    return list(cell.metadata.get("tags", []))


def read(path: str | Path) -> NotebookNode:
    """A page of exercises, from its notebook (``.ipynb``) or from its source (``.md``).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no notebook, if it has no exercises, or if no cell is tagged ``solution`` (an
            edition of it would be the page as it is).
    """
    import jupytext

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no page of exercises at {path}; name an exercises.ipynb or its source"
        )
    if path.suffix not in (".ipynb", ".md"):
        raise ValueError(
            f"{path} is no notebook: a page of exercises ends in .ipynb, or in .md for its source"
        )
    try:
        notebook = jupytext.read(path)
    except (
        Exception
    ) as error:  # json's, nbformat's, jupytext's own: whatever the file is, it can't be read as one
        raise ValueError(f"{path} is no notebook that can be read: {error}") from error
    if not any(cell.cell_type == "markdown" and _HEADING.search(cell.source) for cell in notebook.cells):
        raise ValueError(f"no exercises found in {path}: no heading such as `## 2.1 The simple gradient`")
    if not any("solution" in tags(cell) for cell in notebook.cells):
        raise ValueError(
            f"{path} has exercises, but no cell is tagged `solution`: give it the page as it was published, "
            "with the tags of its cells"
        )
    return notebook


@cache
def page(path: Path) -> Page:
    """The page, its cells sorted to the exercise under whose heading (``## 2.1 …``) they stand.

    Raises:
        FileNotFoundError, ValueError: as :func:`read`.
    """
    found = Page(path, read(path))
    current = None
    for cell in found.cells:
        if cell.cell_type == "markdown":
            for part in re.split(r"^(?=## )", cell.source, flags=re.MULTILINE):
                heading = _HEADING.match(part)
                if heading:
                    current = found.exercises.setdefault(heading[1], Exercise(heading[1]))
                elif part.startswith("## "):
                    current = None
                if current is not None and "solution" not in tags(cell):
                    current.text += part + "\n"
        elif current is not None and "exercise" in tags(cell):
            current.stub += cell.source + "\n"
        elif current is not None and "check" in tags(cell):
            current.check += cell.source + "\n"
        elif current is not None and "solution" in tags(cell) and CHECKED.search(cell.source):
            current.solution += cell.source + "\n"
    return found


# ---- the edition that is handed out ------------------------------------------------------------------------
def without_solutions(notebook: NotebookNode) -> NotebookNode:
    """The edition that a teacher hands out: a copy without the cells, code or text, tagged ``solution``."""
    edition = copy.deepcopy(notebook)
    edition.cells = [cell for cell in edition.cells if "solution" not in tags(cell)]
    return edition


@dataclass(frozen=True)
class Leak:
    """What an edition would give away.

    Attributes:
        cell: the cell of the whole notebook, counted from 0.
        line: the line as it stands there.
        why: what is wrong with it.
    """

    cell: int
    line: str
    why: str


def leaks(notebook: NotebookNode) -> list[Leak]:
    """What the cells that stay in the edition give away of the solutions that do not.

    Four things are looked for: text between a solution and the next heading; a block, or the caption of a
    cell, that is called a solution, and text that speaks of "the solution"; a name that only a solution
    defines; and a line of a solution that is long enough to be no accident.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    # Cells that only show a solution at work draw as the reader's own do, in the same words.
    solved = [cell.source for cell in code if "solution" in tags(cell) and CHECKED.search(cell.source)]
    names = _defined(solved) - _defined([cell.source for cell in code if "solution" not in tags(cell)])
    lines = {line.strip() for source in solved for line in source.splitlines() if len(line.strip()) > 30}
    found, after = [], False
    for number, cell in enumerate(notebook.cells):
        if "solution" in tags(cell):
            after = True
            continue
        if "solution" in str(cell.metadata.get("mystnb", "")).lower():
            found.append(Leak(number, str(cell.metadata["mystnb"]), "calls a cell that stays a solution"))
        for line in filter(str.strip, cell.source.splitlines()):
            after = after and not (cell.cell_type == "markdown" and line.startswith("#"))
            why = _why(line, names, lines)
            if after and cell.cell_type == "markdown":
                why = "stands after a solution, and before the next heading"
            found += [Leak(number, line, why)] if why else []
    return found


def _why(line: str, names: set[str], lines: set[str]) -> str:
    """In which way a line of a cell that stays gives something away; empty if in none."""
    if re.search(r"^\s*([:`]{3,}\{|:\w+:).*solution", line, flags=re.IGNORECASE):
        return "opens a block that is called a solution"
    if re.search(r"\bthe solution\b", line, flags=re.IGNORECASE):
        return "speaks of the solution"
    if line.strip() in lines:
        return "is a line of a solution"
    named = sorted(names.intersection(re.findall(r"\w+", line)))
    return f"names {', '.join(named)}, which only a solution defines" if named else ""


def _defined(sources: list[str]) -> set[str]:
    """The names that these cells define at their top level."""
    return {one or other for source in sources for one, other in _DEFINED.findall(source)}
