"""The edition that a class is handed: nothing of the solutions in it, and it runs without the repository."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from xai_course import classroom
from xai_course.classroom.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("chapters/*/exercises.ipynb"))


def hints_of(notebook):
    return re.findall(r"\{dropdown\} Hint (\d)", "\n".join(cell.source for cell in notebook.cells))


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Chapter 2, handed out with one hint an exercise."""
    return classroom.release("02", hints=1, out=tmp_path_factory.mktemp("release"))


# ---- the notebook ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("hints", range(4))
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_nothing_of_a_solution_and_no_hint_too_many(page, hints):
    whole = classroom.read(page)
    made = classroom.edition(whole, hints=hints)
    kept = "\n".join(cell.source for cell in made.cells)
    stubs = "\n".join(cell.source for cell in whole.cells if "solution" not in classroom.tags(cell))
    solved = [cell.source for cell in whole.cells if "solution" in classroom.tags(cell)]
    lines = {line.strip() for source in solved for line in source.splitlines() if len(line.strip()) > 30}
    shared = {
        line for line in lines if line in stubs
    }  # what draws the reader's own result draws the other too
    assert len(lines - shared) > 20
    assert not [line for line in lines - shared if line in kept]
    assert "the solution" not in kept.lower() and "{cite" not in kept
    assert not re.search(r"\]\((?!http)[^)]+\.(ipynb|md|html)\b", kept)  # pages that are not handed out
    exercises = len(classroom.page(page).exercises)
    found = hints_of(made)
    assert found == [str(number + 1) for number in range(hints)] * exercises
    says = {
        0: "no hints",
        1: "one hint an exercise",
        2: "two hints an exercise",
        3: "three hints an exercise",
    }
    assert says[hints] in kept and not any(text in kept for text in set(says.values()) - {says[hints]})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_a_cell_is_found_again_by_its_identifier(page):
    made, again = (classroom.edition(classroom.read(page), hints=hints) for hints in (3, 0))
    names = [cell.id for cell in made.cells]
    assert len(set(names)) == len(names)
    for exercise in classroom.page(page).exercises:
        chapter, number = exercise.split(".")
        stub = next(cell for cell in made.cells if cell.id == f"{chapter}-{number}-exercise")
        assert "..." in stub.source
        check = next(cell for cell in made.cells if cell.id == f"{chapter}-{number}-check")
        assert f'check("{exercise}"' in check.source
    code = {cell.id: cell.source for cell in again.cells if cell.cell_type == "code"}
    assert code == {cell.id: cell.source for cell in made.cells if cell.cell_type == "code"}
    assert not any(cell.outputs for cell in made.cells if cell.cell_type == "code")


def test_a_page_that_gives_something_away_is_not_handed_out():
    page = classroom.read(PAGES[1])
    page.cells.append(nbformat.v4.new_markdown_cell("## 2.9 More\n\nAs the solution shows, it is a sum."))
    with pytest.raises(ValueError, match=r"speaks of the solution: .*it is a sum"):
        classroom.edition(page)


@pytest.mark.parametrize("hints", [-1, 4, True, "1", 1.5])
def test_hints_that_there_cannot_be(hints):
    with pytest.raises(ValueError, match="`hints` must be a number from 0 to 3, got"):
        classroom.edition(classroom.read(PAGES[1]), hints=hints)


# ---- the folder ------------------------------------------------------------------------------------------
def test_what_is_handed_out_is_all_there(released):
    said = json.loads((released / "release.json").read_text())
    assert (said["chapter"], said["hints"]) == (2, 1)
    assert said["exercises"] == list(classroom.page(PAGES[1]).exercises)
    for name, checksum in said["files"].items():
        assert hashlib.sha256((released / name).read_bytes()).hexdigest() == checksum
    there = {path.relative_to(released).as_posix() for path in released.rglob("*") if path.is_file()}
    assert there == {*said["files"], "release.json"}
    start = (released / "START.md").read_text()
    for wheel in (released / "wheels").iterdir():
        assert wheel.name in start
    with zipfile.ZipFile(released.with_suffix(".zip")) as archive:
        assert {f"ch02/{name}" for name in there} == set(archive.namelist())


def test_it_runs_without_the_repository(released, tmp_path, monkeypatch):
    """The packages come from the wheels, and every check answers that nothing was attempted."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(tmp_path / "site"),
    ]
    wheels = [str(path) for path in sorted((released / "wheels").iterdir())]
    subprocess.run([*command, *wheels], check=True, capture_output=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    notebook = nbformat.read(released / "exercises.ipynb", as_version=4)
    where = "import xai_course, xai_lib\nprint(xai_course.__file__, xai_lib.__file__)"
    notebook.cells.append(nbformat.v4.new_code_cell(where))
    (tmp_path / "student").mkdir()
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path / "student"}}).execute()
    assert notebook.cells[-1].outputs[0].text.count(str(tmp_path / "site")) == 2
    checks = [cell for cell in notebook.cells if cell.id.endswith("-check")]
    assert len(checks) == len(classroom.page(PAGES[1]).exercises)
    for cell in checks:
        assert "not attempted yet" in str(cell.outputs), cell.source


# ---- the command -----------------------------------------------------------------------------------------
def test_the_command_says_what_to_hand_out_and_what_is_wrong(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "xai_course.classroom.editions._wheels", lambda folder: ["xai_course.whl", "xai_lib.whl"]
    )
    assert main(["release", "--chapter", "2", "--hints", "0", "--out", str(tmp_path)]) == 0
    assert f"hand out {tmp_path / 'ch02.zip'}" in capsys.readouterr().out
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["release", "--out", str(tmp_path)]) == 0  # every chapter; the former chapter 2 is replaced
    assert len(list(tmp_path.glob("ch*.zip"))) == len(PAGES) and (tmp_path / "notes.txt").exists()
    capsys.readouterr()
    assert main(["release", "--chapter", "77", "--out", str(tmp_path)]) == 2
    assert "77_" in capsys.readouterr().err
    assert main(["release", "--chapter", "two", "--out", str(tmp_path)]) == 2
    assert "`chapter` must be a chapter's number" in capsys.readouterr().err


def test_two_releases_of_the_same_are_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "xai_course.classroom.editions._wheels", lambda folder: ["xai_course.whl", "xai_lib.whl"]
    )
    one, two = (classroom.release(3, out=tmp_path / name).with_suffix(".zip") for name in ("a", "b"))
    assert one.read_bytes() == two.read_bytes()
