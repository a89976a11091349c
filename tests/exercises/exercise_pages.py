"""Reads the exercise pages and runs their cells as a reader would, without a kernel."""

import ast
import contextlib
import io
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
import matplotlib

matplotlib.use("agg")

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("chapters/*/exercises.md"))
CHECKED = re.compile(r'check\("(\d+\.\d+)"')


@dataclass
class Exercise:
    """One exercise of a page: what its cells hold."""

    identifier: str
    stub: str = ""
    check: str = ""
    solution: str = ""
    text: str = ""


@dataclass
class Page:
    """A page of exercises: its cells in order, and its exercises by identifier."""

    path: Path
    cells: list[Any]
    exercises: dict[str, Exercise] = field(default_factory=dict)

    @property
    def chapter(self) -> int:
        return int(self.path.parent.name[:2])


def tags(cell: Any) -> list[str]:
    """A cell's tags; none for text."""
    return list(cell.metadata.get("tags", []))


@cache
def page(path: Path) -> Page:
    """The page, its cells sorted to the exercise under whose heading (``## 2.1 …``) they stand."""
    found = Page(path, jupytext.read(path).cells)
    current = None
    for cell in found.cells:
        if cell.cell_type == "markdown":
            for part in re.split(r"^(?=## )", cell.source, flags=re.MULTILINE):
                heading = re.match(r"## (\d+\.\d+) ", part)
                if heading:
                    current = found.exercises.setdefault(heading[1], Exercise(heading[1]))
                elif part.startswith("## "):
                    current = None
                if current is not None:
                    current.text += part + "\n"
        elif current is not None and "exercise" in tags(cell):
            current.stub += cell.source + "\n"
        elif current is not None and "check" in tags(cell):
            current.check += cell.source + "\n"
        elif current is not None and "solution" in tags(cell) and CHECKED.search(cell.source):
            current.solution += cell.source + "\n"
    return found


def run(source: str, names: dict[str, Any]) -> Any:
    """Executes a cell; returns the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(tree, "<cell>", "exec"), names)
        return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None


@cache
def results(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the checks say of every stub and of every solution, the page run from the top.

    Cells that only show something (tag ``your-turn``, and solutions without a check) are left to nbval.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    stubs, solved, current = {}, {}, None
    for cell in page(path).cells:
        if cell.cell_type != "code" or "your-turn" in tags(cell):
            continue
        called = CHECKED.search(cell.source)
        if "solution" in tags(cell):
            if called:
                solved[called[1]] = run(cell.source, names)
        elif "check" in tags(cell):
            current = called[1] if called else current
            stubs[current] = run(cell.source, names)
        else:
            run(cell.source, names)
    return stubs, solved


def without_solutions(path: Path) -> Any:
    """The edition that a teacher hands out: nbconvert leaves out the cells tagged ``solution``."""
    from nbconvert.preprocessors import TagRemovePreprocessor

    notebook = jupytext.read(path)
    remove = TagRemovePreprocessor(remove_cell_tags=["solution"], enabled=True)
    return remove.preprocess(notebook, {"output_extension": ".md"})[0]
