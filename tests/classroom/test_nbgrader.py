"""Our marks in nbgrader's own books: its course folder, its gradebook, its feedback.

nbgrader is not in the environment of the tests, since it would add its menus to everybody's JupyterLab: `make
test` puts it into a folder beside, which the process below is told of.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xai_course import classroom
from xai_course.classroom.__main__ import main
from xai_course.classroom.nbgrader_export import with_metadata

ROOT = Path(__file__).resolve().parents[2]
BESIDE = ROOT / "_build" / "nbgrader"
PAGES = sorted(ROOT.glob("chapters/*/exercises.ipynb"))

SCRIPT = """
import json, sys, warnings
from pathlib import Path
import nbformat
from nbgrader import utils
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from xai_course import classroom
from xai_course.checks import check
from xai_course.classroom import editions, nbgrader_export as export
from xai_course.classroom.grading import Graded

warnings.simplefilter("ignore")
place = Path(sys.argv[1])
editions._wheels = lambda folder: ["xai_course.whl", "xai_lib.whl"]
release = classroom.release("02", out=place / "release")
course = place / "course"
made = export.write_course(release, course)
handed_out = nbformat.read(made / "exercises.ipynb", as_version=4)

found = {"stub": next(c.source for c in handed_out.cells if c.id == "2-1-exercise")}
blank = next(c for c in handed_out.cells if c.id == "2-1-check")
told = check("2.1", ...)
blank.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": repr(told)}, execution_count=1)]
found["nbgrader gives the blank one"] = utils.determine_grade(blank)

def result(status, share, message):
    return {"status": status, "share": share, "message": message, "look": "There.", "code": "", "seconds": 1}

ada = {"2.1": result("passed", 1, "as it should be"), "2.2": result("wrong", 0.5, "Too <loud>.")}
code = "import math\\ndef my_gradient(model, x, target):\\n    return 1"
done = [Graded("Ada Lovelace_7", ada, [], code), Graded("Bo", {}, [], "def (")]
export.write_marks(done, release, course)
with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
    student = next(s.id for s in book.students if s.last_name == "Ada Lovelace_7")
    by_hand = book.find_grade("2-3-check", "exercises", "ch02", student)
    by_hand.manual_score, by_hand.needs_manual_grade = 0.75, False
    other = book.find_grade("2-2-check", "exercises", "ch02", student)
    other.manual_score = 1.0
    book.db.commit()
export.write_marks(done, release, course)  # graded again: what a teacher set by hand stays
with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
    find = lambda name: book.find_grade(f"{name}-check", "exercises", "ch02", student)
    names = ("2-1", "2-2", "2-3", "2-4")
    found["scores"] = [[find(n).auto_score, find(n).score, find(n).needs_manual_grade] for n in names]
    found["comment"] = book.find_comment("2-2-exercise", "exercises", "ch02", student).comment
    found["students"] = len(book.students)

with export._inside(course):
    api = NbGraderAPI(config=export._config(course))
    listed = api.get_submissions("ch02")
    found["formgrader lists"] = [[s["last_name"], s["score"], s["max_score"]] for s in listed]
    assert api.generate_feedback("ch02", student)["success"]
found["feedback"] = next((course / "feedback").rglob("*.html")).read_text()
shown = nbformat.read(course / f"autograded/{student}/ch02/exercises.ipynb", as_version=4)
found["shown"] = {c.id: c.source for c in shown.cells}
found["card"] = next(c.outputs for c in shown.cells if c.id == "2-2-check")[0]["data"]["text/html"]
print("FOUND " + json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    if not BESIDE.is_dir():
        if os.environ.get("REQUIRE_NBGRADER"):
            pytest.fail(f"nbgrader is to be in {BESIDE}, and is not")
        pytest.skip("nbgrader is not there: `make test` installs it beside the environment")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(BESIDE)]),
        "PATH": os.pathsep.join([str(BESIDE / "bin"), os.environ["PATH"]]),
    }
    place = tmp_path_factory.mktemp("nbgrader")
    command = [sys.executable, "-c", SCRIPT, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=place)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("FOUND ")[2])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_cells_are_named_as_nbgrader_wants_them(page):
    made = with_metadata(classroom.edition(classroom.read(page)))
    told = [cell.metadata["nbgrader"] for cell in made.cells if "nbgrader" in cell.metadata]
    names = [one["grade_id"] for one in told]
    assert len(set(names)) == len(names) and not any("." in name for name in names)
    exercises = classroom.page(page).exercises
    graded = {one["grade_id"] for one in told if one["grade"]}
    assert graded == {f"{name.replace('.', '-')}-check" for name in exercises}
    assert {f"{name.replace('.', '-')}-exercise" for name in exercises} <= {
        one["grade_id"] for one in told if one["solution"] and not one["locked"]
    }


def test_the_stub_is_handed_out_as_it_stands(found):
    assert "def my_gradient" in found["stub"] and "return ..." in found["stub"]


def test_nbgraders_own_autograder_would_give_a_blank_answer_its_point(found):
    """Why it is switched off in the folder that is written."""
    assert found["nbgrader gives the blank one"] == [1.0, 1.0]


def test_marks_and_comments_are_in_its_gradebook_and_a_teachers_own_stay(found):
    assert found["scores"] == [[1, 1, False], [0.5, 1, False], [None, 0.75, False], [None, 0, True]]
    assert "not yet: Too <loud>." in found["comment"] and "There." in found["comment"]
    assert found["students"] == 2
    assert found["formgrader lists"] == [["Ada Lovelace_7", 2.75, 8], ["Bo", 0, 8]]


def test_formgrader_shows_each_answer_with_its_verdict(found):
    assert "return 1" in found["shown"]["2-1-exercise"] and "import math" in found["shown"]["the-rest"]
    assert "Too &lt;loud&gt;." in found["card"] and "not yet" in found["card"]
    assert "Too &lt;loud&gt;" in found["feedback"] and "Score: 2.75 / 8" in found["feedback"]


def test_what_is_missing_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "nbgrader.api", None)
    assert main(["nbgrader", "--chapter", "2", "--to", str(tmp_path)]) == 2
    assert "nbgrader is not installed" in capsys.readouterr().err
    assert main(["nbgrader", "--to", str(tmp_path)]) == 2
    assert "name the chapter that was handed out" in capsys.readouterr().err
