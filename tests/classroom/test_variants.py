"""A teacher's own exercises: begun, tried out, handed out and graded; their checks stay with the teacher."""

import csv
import json
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

from xai_course import classroom
from xai_course.checks import available, check
from xai_course.classroom import _box, variants
from xai_course.classroom.__main__ import main
from xai_course.classroom.proving import prove

BOXED = _box.available() is None
RIGHT = """
import json
def positive_share(maps):
    size = maps.abs().sum((1, 2))
    return torch.where(size > 0, maps.clamp(min=0).sum((1, 2)) / size, json.load(open("data/half.json")))
"""
LOOKS = """
import glob, os, sys, xai_course
def positive_share(maps):
    files = glob.glob("**/*.*", recursive=True) + os.listdir(xai_course.__path__[0] + "/checks")
    raise RuntimeError(f"saw {files} {[name for name in sys.modules if 'variant_' in name]}")
"""


@pytest.fixture
def mine(tmp_path):
    return variants.begin("02", tmp_path / "ch02b")


def changed(folder, name, old, new):
    """The folder with one thing that a teacher got wrong."""
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    return folder


def complaints(folder):
    return [
        f"{found.about}: {found.what}. {found.said}" for found in prove(folder, wire=False) if not found.holds
    ]


# ---- begun -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("wire", [False, True], ids=["in this process", "over the wire"])
def test_the_folder_to_start_from_works(mine, wire):
    found = prove(mine, wire=wire)
    assert all(one.holds for one in found), [str(one) for one in found if not one.holds]
    assert sum("the planted answer is told" in one.what for one in found) == 4
    assert not [name for name in available() if "v" in name]  # the checks are known for that while alone


def test_a_notebook_will_do_as_well(mine):
    jupytext.write(jupytext.read(mine / "exercises.md"), mine / "exercises.ipynb")
    (mine / "exercises.md").unlink()
    assert variants.read(mine).page.path.suffix == ".ipynb" and not complaints(mine)


@pytest.mark.parametrize("chapter", [0, 100, "two", None])
def test_a_folder_is_begun_for_a_chapter(tmp_path, chapter):
    with pytest.raises(ValueError, match=f"`chapter` must be a chapter's number .* got {chapter!r}"):
        variants.begin(chapter, tmp_path / "new")


def test_nothing_is_overwritten(mine):
    with pytest.raises(FileExistsError, match="is there and not empty"):
        variants.begin(2, mine)


@pytest.mark.parametrize(
    ("folder", "name"), [("ch02b", "b"), ("02_noise", "noise"), ("2024-1", "2024-1"), ("02", "variant")]
)
def test_a_release_is_called_by_the_folders_name(tmp_path, folder, name):
    assert variants.read(variants.begin(2, tmp_path / folder)).name == name


# ---- the examples ------------------------------------------------------------------------------------------
EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "variants").glob("ch*"))


def test_every_chapter_with_exercises_has_an_example():
    assert [int(folder.name[2:4]) for folder in EXAMPLES][:8] == list(range(1, 9))


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_holds_and_knows_four_mistakes_at_least(folder):
    found = prove(
        folder, wire=folder.name[2:4] in ("02", "04")
    )  # two of them as students' answers are judged
    assert all(one.holds for one in found), [str(one) for one in found if not one.holds]
    assert sum("the planted answer is told" in one.what for one in found) >= 4


def test_the_teachers_page_counts_what_is_planted():
    text = (EXAMPLES[0].parents[1] / "book/teaching/variants.md").read_text()
    said = {name: int(n) for name, n in re.findall(r"^\| (\d\.v1) .* \| (\d+) \|$", text, flags=re.MULTILINE)}
    planted = {}
    for folder in EXAMPLES[:8]:
        with variants.loaded(folder) as own:
            planted |= {name: sum(map(len, lists)) for name, lists in own.mistakes.items()}
    assert said == planted


# ---- what a teacher gets wrong ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("exercises.md", "tags: [solution]", "tags: [solved]", "holds a solution and calls the check"),
        ("exercises.md", 'check("2.v1", positive_share_solution)', "", "calls the check with it"),
        ("exercises.md", "positive_share_solution", "positive_share", "both define positive_share"),
        ("exercises.md", "2.v1", "2.1", "exercise 2.1 could be one of the course's; call it 2.v1"),
        ("exercises.md", "## 2.v1", "## 2.v3", 'no check for exercise 2.v3: write @exercise("2.v3"'),
        (
            "exercises.md",
            "```{code-cell} python\n:tags: [exercise]",
            "## 2.v1 Again\n\n```{code-cell} python\n:tags: [exercise]",
            "two exercises are called 2.v1",
        ),
        ("exercises.md", "Hint 3", "Last hint", "found: 1, 2"),
        ("exercises.md", "    return ...\n", "    return 0\n", "a stub with `...`"),
        (
            "exercises.md",
            "return torch.where(size > 0, maps",
            "return torch.where(size > 99, maps",
            "solution passes",
        ),
        ("exercises.md", "Two sums for", "As in the solution, two sums for", "speaks of the solution"),
        ("exercises.md", "import torch\n", "import torch\nfrom checks import SHARE\n", "nothing imports it"),
        ("checks.py", '"2.v1": (SHARE,)', '"2.v1": ([],)', "exercise 2.v1 has 0 planted wrong answers"),
        (
            "checks.py",
            '"2.v1": (SHARE,)',
            '"2.v1": SHARE',
            "for each function of the exercise, a list of Mistake",
        ),
        ("checks.py", "MISTAKES = {", "_MISTAKES = {", "has no MISTAKES"),
        ("checks.py", "import torch\n", "import torch\nimport no_such\n", "line 4: ModuleNotFoundError"),
        ("checks.py", "def share(", "def share((", "SyntaxError"),
        ("checks.py", '@exercise("2.v1"', '@exercise("2.1"', "'2.1' has a check already"),
        ("checks.py", "size.clamp(min=1e-12), 0.5)", "size.clamp(min=1e-12), 0.6)", "the solution passes"),
        (
            "checks.py",
            "lambda maps: maps.clamp(min=0).sum((1, 2)) / maps.abs().sum((1, 2))",
            "share()",
            "planted answer is told “A map that is zero",
        ),
    ],
)
def test_what_is_wrong_is_said(mine, name, old, new, said):
    found = complaints(changed(mine, name, old, new))
    assert found and said in " ".join(found), found


def test_what_the_exercises_read_goes_along_and_is_looked_through(mine):
    (mine / "data").mkdir()
    (mine / "data/half.json").write_text("0.5")
    assert variants.read(mine).data == {"data/half.json": b"0.5"} and not complaints(mine)
    (mine / "data/notes.txt").write_text("    size = maps.abs().sum(dim=(1, 2))\n    return 0")
    assert complaints(mine) and "data/notes.txt" in complaints(mine)[0]
    with pytest.raises(ValueError, match=r"notes\.txt, which is handed out, holds lines of a solution"):
        classroom.release(variant=mine, out=mine / "out")


@pytest.mark.parametrize("left", ["exercises.md", "checks.py", None])
def test_a_folder_that_is_not_whole_is_named(tmp_path, mine, left):
    for name in ("exercises.md", "checks.py"):
        if name != left:
            (mine / name).unlink()
    (found,) = prove(mine if left else tmp_path / "none", wire=False)
    said = {
        "exercises.md": "holds no checks.py",
        "checks.py": "holds no exercises.md",
        None: "make variant CHAPTER=02",
    }
    assert not found.holds and said[left] in found.said


def test_a_page_that_stops_is_named(mine):
    changed(mine, "exercises.md", "import torch\n\nfrom", "import torch\n\nopen('/nowhere')\n\nfrom")
    blank, solved = complaints(mine)
    assert "runs from the top as it is handed out. FileNotFoundError" in blank and "/nowhere" in solved


@pytest.mark.skipif(not BOXED, reason="without a box a student's process sees what the teacher sees")
def test_a_page_that_runs_here_and_not_where_students_code_runs_is_named(mine):
    here = f"import torch\n\nopen({str(mine / 'checks.py')!r})\n\nfrom"
    changed(mine, "exercises.md", "import torch\n\nfrom", here)
    assert not complaints(mine)
    (found,) = [one for one in prove(mine) if not one.holds]
    assert "the course's own cells fail" in found.said and "FileNotFoundError" in found.said


# ---- in the student's notebook ---------------------------------------------------------------------------
def test_a_student_is_told_that_the_check_is_elsewhere():
    assert check("2.v1", ...).status == "not attempted"
    result = check("2.v1", lambda maps: 1 / 0)
    assert result.status == "judged later" and not result.passed
    assert "judged when you hand it in" in repr(result) and "when you hand it in" in result._repr_html_()
    with pytest.raises(KeyError, match=r"no exercise '2\.99'"):
        check("2.99", ...)


# ---- handed out and graded -------------------------------------------------------------------------------
def test_a_class_is_graded_and_the_checks_stay_here(mine, tmp_path, capsys, monkeypatch):
    built = ["xai_course.whl", "xai_lib.whl"]
    monkeypatch.setattr("xai_course.classroom.editions._wheels", lambda folder: built)
    (mine / "data").mkdir()
    (mine / "data/half.json").write_text("0.5")
    where = ["--variant", str(mine), "--chapter", "2"]
    assert main(["release", *where, "--out", str(tmp_path / "release")]) == 0
    folder = tmp_path / "release/ch02-b"
    assert f"hand out {folder}.zip" in capsys.readouterr().out
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == {"exercises.ipynb", "START.md", "release.json", "data/half.json"}
    text = "".join((folder / name).read_text() for name in sorted(there))
    assert "SHARE" not in text and "positive_share_solution" not in text and str(mine) not in text
    assert "after you have handed in" in (folder / "START.md").read_text()
    assert json.loads((folder / "release.json").read_text())["exercises"] == ["2.v1"]

    notebook = nbformat.read(folder / "exercises.ipynb", as_version=4)
    assert {"2-v1-exercise", "2-v1-check"} <= {cell.id for cell in notebook.cells}
    (tmp_path / "handed_in").mkdir()
    for student, code in {"Ada": RIGHT, "Eve": LOOKS}.items():
        next(cell for cell in notebook.cells if cell.id == "2-v1-exercise").source = code
        nbformat.write(notebook, tmp_path / f"handed_in/{student}.ipynb")
    command = ["grade", str(tmp_path / "handed_in"), "--release", str(tmp_path / "release")]
    command += ["--out", str(tmp_path / "graded"), *([] if BOXED else ["--unsafe"])]
    assert main([*command, "--chapter", "02"]) == 2
    assert "there is no" in capsys.readouterr().err  # chapter 2 itself was not handed out
    assert main([*command, *where]) == 0
    rows = list(csv.DictReader(open(tmp_path / "graded/grades.csv", encoding="utf-8")))
    assert [(row["student"], row["2.v1"]) for row in rows] == [("Ada", "1"), ("Eve", "0")]
    eve = (tmp_path / "graded/feedback/Eve.html").read_text()
    assert "What speaks for it" in eve
    assert not BOXED or re.search(
        r"saw \[.*half\.json.{1,9}\] \[\]", eve
    )  # in the box: no file of checks, no module of theirs


def test_grading_needs_the_folder_that_the_exercises_came_from(mine, tmp_path, monkeypatch):
    monkeypatch.setattr("xai_course.classroom.editions._wheels", lambda folder: ["a.whl", "b.whl"])
    from xai_course.classroom.grading import grade

    folder = classroom.release(variant=mine, out=tmp_path)
    with pytest.raises(ValueError, match=r"exercise 2\.v1 is a teacher's own: name the folder"):
        grade(mine, folder, out=tmp_path / "out", boxed=False)
    for name in ("exercises.md", "checks.py"):
        changed(mine, name, "2.v1", "2.v2")
    with pytest.raises(ValueError, match=r"has no check for exercise 2\.v1, which was handed out"):
        grade(mine, folder, out=tmp_path / "out", variant=mine, boxed=False)
    with pytest.raises(ValueError, match="holds exercises of chapter 2, not of 3"):
        classroom.release(3, variant=mine, out=tmp_path)
