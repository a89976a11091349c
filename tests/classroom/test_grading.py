"""A class is graded; cheats get no point that they have not earned, and touch nothing outside their box."""

import contextlib
import copy
import csv
import functools
import html
import json
import os
import re
import socket
import time
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from xai_course import classroom
from xai_course.classroom import _box, grading
from xai_course.classroom.__main__ import main
from xai_course.classroom.grading import Graded, grade
from xai_course.classroom.judge import calls, judge_answers
from xai_course.classroom.solutions import right_answers

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = classroom.page(ROOT / "chapters/02_gradients/exercises.ipynb")
NAMES = {"2.1": "my_gradient", "2.2": "my_heatmap", "2.3": "my_smooth_grad", "2.8": "my_var_grad"}
NO_BOX = _box.available()
needs_box = pytest.mark.skipif(NO_BOX is not None, reason=str(NO_BOX))


@pytest.fixture(scope="module")
def edition():
    """Four exercises of chapter 2, without its pictures and networks: a process starts in seconds."""
    setup = "import torch\nfrom xai_course.checks import check"
    cells = [new_markdown_cell("# Four"), new_code_cell(setup, id="page-setup", metadata={"tags": ["setup"]})]
    for exercise, name in NAMES.items():
        place = exercise.replace(".", "-")
        cells += [
            new_markdown_cell(f"## {exercise} One of four", id=f"{place}-text"),
            new_code_cell(f"{name} = ...", id=f"{place}-exercise", metadata={"tags": ["exercise"]}),
            new_code_cell(f'check("{exercise}", {name})', id=f"{place}-check", metadata={"tags": ["check"]}),
        ]
    return new_notebook(cells=cells)


def right(exercise):
    """The solution, under the name that the exercise asks for."""
    code = re.sub(r"^check\(.*\)\s*$", "", CHAPTER.exercises[exercise].solution, flags=re.MULTILINE)
    return f"{code}\n{NAMES[exercise]} = {NAMES[exercise]}_solution"


def answers(**changed):
    """Right answers to all four, but for those that are given: ``answers(_21="…")``."""
    return [changed.get("_" + exercise.replace(".", ""), right(exercise)) for exercise in NAMES]


def statuses(found):
    return {exercise: result.status for exercise, result in found.results.items()}


judged = functools.partial(judge_answers, boxed=True)
ALL_PASS = dict.fromkeys(NAMES, "passed")


# ---- verdicts --------------------------------------------------------------------------------------------
@needs_box
def test_right_answers_pass_and_blank_ones_wait(edition):
    assert calls(edition) == {exercise: [name] for exercise, name in NAMES.items()}
    done = judged(answers(), edition)
    assert statuses(done) == ALL_PASS and done.flags == []
    blank = judged([f"{name} = ..." for name in NAMES.values()], edition)
    assert set(statuses(blank).values()) == {"not attempted"}


@needs_box
def test_a_missing_name_an_error_and_a_syntax_error_cost_their_own_exercise(edition):
    found = judged(answers(_21="def my_gradient(:", _22="", _23="1 / 0\n" + right("2.3")), edition)
    verdicts = {"2.1": "wrong", "2.2": "not attempted", "2.3": "wrong", "2.8": "passed"}
    assert statuses(found) == verdicts
    assert found.results["2.1"].message.startswith(
        "`my_gradient` was not made: the cell in which it stands sto"
    )
    assert "SyntaxError: " in found.results["2.1"].message and "(line 1)" in found.results["2.1"].message
    assert found.results["2.2"].message == "There is no `my_heatmap` in the notebook."
    assert "ZeroDivisionError" in found.results["2.3"].message
    assert any("the cell “1 / 0” raised ZeroDivisionError" in flag for flag in found.flags)


@needs_box
def test_feedback_shows_the_students_own_line(edition):
    found = judged(answers(_22="def my_heatmap(attribution):\n    return attribution.no_such_thing"), edition)
    assert "attribution.no_such_thing" in found.results["2.2"].code
    assert "line 2, in my_heatmap" in found.results["2.2"].code


# ---- several functions, terms ------------------------------------------------------------------------------
def test_each_function_of_several_is_judged_beside_right_ones_and_a_list_earns_nothing_alone():
    cells = [
        new_code_cell("import torch\nimport torch.nn.functional as F", metadata={"tags": ["setup"]}),
        new_code_cell('check("3.3", alphas, largest_gap, recover_weights)', metadata={"tags": ["check"]}),
        new_code_cell('check("3.4", hires, gap, complete)', metadata={"tags": ["check"]}),
    ]
    path = ROOT / "chapters/03_cam/exercises.ipynb"
    solved = re.sub(
        r"^check\(.*?\)\s*$",
        "",
        classroom.page(path).exercises["3.3"].solution,
        flags=re.MULTILINE | re.DOTALL,
    )
    third = "alphas, largest_gap = alphas_solution, largest_gap_solution\n"
    third += "recover_weights = lambda head, A: weights_of_nowhere"
    guessed = f"hires = gap = lambda *given: torch.zeros(3)\ncomplete = {right_answers(path)['3.4'][2]}"
    kept = {"boxed": False, "solutions": path}
    found = judge_answers([solved, third, guessed], new_notebook(cells=cells), **kept)
    assert {result.status for result in found.results.values()} == {"wrong"}
    assert found.parts == {
        "3.3": {"alphas": True, "largest_gap": True, "recover_weights": False},
        "3.4": {"hires": False, "gap": False},
    }
    # A first function that is blank does not hide a second that is right, nor does a missing one.
    second = "alphas, largest_gap = ..., largest_gap_solution"
    found = judge_answers([solved, second], new_notebook(cells=cells[:2]), **kept)
    assert found.results["3.3"].status == "not attempted"
    assert found.parts == {"3.3": {"alphas": False, "largest_gap": True, "recover_weights": False}}


def test_in_a_term_the_checks_draw_other_numbers(edition):
    one = copy.deepcopy(edition)
    one.cells = [cell for cell in edition.cells if cell.get("id", "").startswith(("page", "2-2"))]
    tells = "def my_heatmap(a):\n    raise RuntimeError(f'{float(a.double().sum()):.9f}')"
    said = [judge_answers([tells], one, boxed=False, term=term).results["2.2"] for term in (None, 1, 1)]
    assert all(result.status == "wrong" for result in said)
    assert said[0].message != said[1].message and said[1] == said[2]


def test_what_fails_in_the_courses_own_cells_is_no_students_fault(edition):
    broken = copy.deepcopy(edition)
    broken.cells[1].source = "import no_such_package"
    with pytest.raises(RuntimeError, match=r"the course's own cells fail .*no_such_package"):
        judge_answers(answers(), broken, boxed=False)


# ---- cheats ----------------------------------------------------------------------------------------------
CHEATS = {
    "patched check": """
import xai_course.checks as c
c.check = lambda *answers: print("2.1 · passed")
c.Result.status, c.Result.passed = "passed", True
print("2.1 · passed: it is the derivative of the logit.")
def my_gradient(model, x, target):
    return x
""",
    "stack": """
import gc, sys
def my_gradient(model, x, target):
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()):
            if hasattr(value, "shape") and value.shape == x.shape and value is not x:
                return value
        frame = frame.f_back
    held = (o for o in gc.get_objects() if type(o) is torch.Tensor and o.shape == x.shape)
    return next(held, x)
""",
    "lying tensor": """
class Right(torch.Tensor):
    def __eq__(self, other): return True
    def __bool__(self): return True
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None): return True
def my_gradient(model, x, target):
    return torch.zeros_like(x).as_subclass(Right)
""",
    "agreeing object": """
class Right:
    def __getattr__(self, name): return self
    def __call__(self, *a, **k): return self
    def __eq__(self, other): return True
    def __bool__(self): return True
    __add__ = __sub__ = __mul__ = __call__
def my_gradient(model, x, target):
    return Right()
""",
    "patched wire": """
import xai_course.classroom._calls as c
said = {"n": "", "kinds": [], "said": "passed", "shapes": [], "line": ""}
c.Peer.describe = lambda self, error: said
def my_gradient(model, x, target):
    raise ValueError
""",
}


EXITS = """
def leaves(*anything): raise SystemExit(0)
"""


@needs_box
def test_who_leaves_from_within_a_call_loses_one_exercise(edition):
    """From the function itself, from a hook that the judge's own call runs, and when the interpreter ends."""
    hooked = "def my_gradient(model, x, target):\n    x.requires_grad_(True)\n    y = model(x).sum()\n"
    hooked += "    y.register_hook(leaves)\n    y.backward()\n    return x.grad"
    exits = "import atexit, os, sys\natexit.register(os._exit, 0)\ndef my_heatmap(a): sys.exit('passed')"
    callback = "def my_smooth_grad(grad, x, *more):\n    try: return grad(leaves)\n    finally: leaves()"
    found = judged(answers(_21=EXITS + hooked, _22=exits, _23=EXITS + callback), edition)
    assert statuses(found) == {"2.1": "wrong", "2.2": "wrong", "2.3": "wrong", "2.8": "passed"}, found
    assert "ended" in found.results["2.1"].message and "ended" in found.results["2.2"].message


@needs_box
@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_earns_no_point(edition, cheat):
    assert statuses(judged(answers(_21=CHEATS[cheat]), edition)) == {**ALL_PASS, "2.1": "wrong"}


FRAMES = """
import gc, os, pickle, socket, struct, sys
def wire():
    return next(o for o in gc.get_objects() if isinstance(o, socket.socket))
"""


@needs_box
def test_who_breaks_the_process_or_the_wire_loses_one_exercise(edition):
    found = judged(
        answers(
            _21=FRAMES + "def my_gradient(model, x, target):\n    os._exit(0)",
            _22=FRAMES
            + "def my_heatmap(attribution):\n    wire().sendall(b'garbage' * 1000)\n    return attribution",
            _23=FRAMES
            + "class Bomb:\n    def __reduce__(self): return os.system, ('touch /tmp/owned',)\n"
            + "def my_smooth_grad(*a):\n    raw = pickle.dumps([Bomb()])\n"
            + '    head = b\'{"op": "return", "v": {"t": "model", "v": 0}, "models": [1, 0]}\'\n'
            + "    wire().sendall(struct.pack('<III', 0x5EED, len(head), 1) + head)\n"
            + "    wire().sendall(struct.pack('<Q', len(raw)) + raw)\n    return a[1]",
        ),
        edition,
    )
    assert statuses(found) == {"2.1": "wrong", "2.2": "wrong", "2.3": "wrong", "2.8": "passed"}, found
    assert "ended" in found.results["2.1"].message
    assert all("no value" in found.results[exercise].message for exercise in ("2.2", "2.3"))
    assert not Path("/tmp/owned").exists()


@needs_box
def test_who_does_not_end_is_ended(edition):
    found = judged(
        answers(
            _21="import os\ndef my_gradient(model, x, target):\n    os.kill(os.getpid(), 19)",  # SIGSTOP
            _22="def my_heatmap(attribution):\n    while True:\n        try:\n            while True: pass\n"
            "        except BaseException: pass",
            _23=f"import os\ndef my_smooth_grad(*a):\n    {calls_itself('bomb')}\n    while True:\n"
            "        try: os.fork()\n        except OSError: pass",
        ),
        edition,
        seconds=2,  # on a busy machine 2.8 may not get done in that; others are asked for their time
    )
    assert all("within 2 seconds" in found.results[exercise].message for exercise in ("2.1", "2.2", "2.3"))
    assert not any(found.results[exercise].passed for exercise in ("2.1", "2.2", "2.3"))
    assert gone("bomb")


def calls_itself(name):
    """A statement by which a process takes a name of this test's own; those that it starts inherit it."""
    return f"open('/proc/self/comm', 'w').write('{name}-{os.getpid()}')"


def alive(name):
    """The processes on this machine that have that name; those that nobody has buried yet are dead."""
    found = []
    for path in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it ended just now
            status = path.read_text()
            found += (
                [path]
                if f"Name:\t{name}-{os.getpid()}\n" in status and not re.search(r"State:\t[ZX]", status)
                else []
            )
    return found


def gone(name):
    """A killed process may live on for moments on a busy machine; one that nobody killed, for minutes."""
    for _ in range(100):
        if not alive(name):
            return True
        time.sleep(0.1)
    return False


def test_what_a_process_started_ends_with_it_also_without_a_box(edition):
    child = f"import os, time\nif os.fork() == 0:\n    {calls_itself('child')}\n    time.sleep(300)"
    code = (
        f"{child}\ndef my_gradient(model, x, target):\n    time.sleep(1)\n    assert {alive_there('child')}"
    )
    found = judge_answers(answers(_21=code), edition, boxed=False)
    assert "None" in found.results["2.1"].message  # it was there while the notebook was judged
    assert gone("child")


def alive_there(name):
    """An expression that is true where such a process is alive, as the student's process sees it."""
    paths = "__import__('glob').glob('/proc/[0-9]*/comm')"
    return f"any(open(path).read().strip() == '{name}-{os.getpid()}' for path in {paths})"


@needs_box
@pytest.mark.skipif(_box._in_a_container(), reason="a container is bounded by its engine")
def test_the_bound_on_processes_counts_those_in_the_box_alone(edition):
    """A desktop has more than the bound: bubblewrap would not start if it counted them."""

    def bound(process):
        return re.search(r"Max processes +(\S+)", Path(f"/proc/{process}/limits").read_text())[1]

    worker = _box.Worker(boxed=True)
    try:
        assert bound(worker.process.pid) == bound("self")
    finally:
        worker.stop()
    tells = (
        "import resource\ndef my_gradient(*a):\n    raise OSError(resource.getrlimit(resource.RLIMIT_NPROC))"
    )
    found = judged(answers(_21=tells), edition)
    assert f"({_box.PROCESSES}, {_box.PROCESSES})" in found.results["2.1"].message


@needs_box
def test_the_box_shows_nothing_and_lets_nothing_out(edition, tmp_path, monkeypatch):
    monkeypatch.setenv("BOX_TEST", "a secret")
    secret = tmp_path / "other_student.txt"
    secret.write_text("my answer")
    server = socket.create_server(("127.0.0.1", 0))
    probe = f"""
import os, socket
found = []
def tries(name, what):
    try: found.append(f"{{name}}={{what()}}")
    except BaseException as error: found.append(f"{{name}}:{{type(error).__name__[:7]}}")
tries("secret", lambda: open({str(secret)!r}).read())
tries("write", lambda: open({str(ROOT / "owned")!r}, "w"))
tries("checks", lambda: os.listdir({str(ROOT / "xai_course" / "checks")!r}))
tries("net", lambda: socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), 2))
tries("command", lambda: os.system("cat {secret} > /dev/null && touch {ROOT / "owned"}") == 0)
tries("fetch", lambda: os.system("ping -c 1 -W 1 192.0.2.1 > /dev/null 2>&1") == 0)
tries("root", lambda: os.getuid() == 0)
tries("mine", lambda: "BOX_TEST" in os.environ)
tries("needless", lambda: "nbformat" in __import__("sys").modules)  # a second at the start of each student's
tries("many", lambda: sum(name.isdigit() for name in os.listdir("/proc")) > 5)
tries("memory", lambda: torch.empty(20_000_000_000, dtype=torch.uint8).numel())
tries("disk", lambda: [open(f"{{i}}", "wb").write(bytes(90_000_000)) for i in range(5)])
def my_gradient(model, x, target):
    raise RuntimeError(" ".join(["", *found, ""]))
"""
    found = judged(answers(_21=probe), edition)
    said = found.results["2.1"].message
    for name in ("secret", "write", "net", "memory", "disk"):
        assert f" {name}:" in said, said  # each of them failed
    assert " command=False " in said and " fetch=False " in said
    assert " checks=[] " in said and " root=False " in said and " many=False " in said
    assert " needless=False " in said
    assert " mine=False" in said and not (ROOT / "owned").exists()
    assert statuses(found)["2.8"] == "passed"


# ---- a class ---------------------------------------------------------------------------------------------
def handed_in(edition, *sources):
    """A notebook with these answers, as a student saves it."""
    notebook = copy.deepcopy(edition)
    stubs = [cell for cell in notebook.cells if cell.id.endswith("-exercise")]
    for cell, source in zip(stubs, sources, strict=False):
        cell.source = source
    return json.dumps(notebook)


@pytest.fixture(scope="module")
def class_of_four(edition, tmp_path_factory):
    """Moodle's zip with four students, and the folder that was handed out."""
    place = tmp_path_factory.mktemp("class")
    (place / "release/ch02").mkdir(parents=True)
    nbformat.write(edition, place / "release/ch02/exercises.ipynb")
    wrong = "def my_gradient(model, x, target):\n    return torch.zeros_like(x)"
    wrong += "\ndef helper(m, x, t):\n    from xai_lib import gradient as g\n    return g(m, x, t)"
    files = {
        "Ada_1": handed_in(edition, *answers()),
        "Bo & Co_2": handed_in(edition, *answers(_21=wrong)),
        "=cmd|calc_3": handed_in(edition),
        "Zed_4": "not a notebook",
    }
    with zipfile.ZipFile(place / "moodle.zip", "w") as made:
        for student, content in files.items():
            made.writestr(f"{student}_assignsubmission_file_/exercises.ipynb", content)
    return place


@needs_box
def test_a_class_is_graded_by_one_command(class_of_four, edition, capsys, monkeypatch):
    place = class_of_four
    command = ["grade", str(place / "moodle.zip"), "--chapter", "2", "--release", str(place / "release")]
    assert main([*command, "--out", str(place / "graded")]) == 0
    assert "4 submissions graded" in capsys.readouterr().out
    rows = list(csv.DictReader(open(place / "graded/grades.csv", encoding="utf-8")))
    points = {row["student"]: (row["points"], row["of"]) for row in rows}
    assert points == {
        "Ada_1": ("4", "4"),
        "Bo & Co_2": ("3", "4"),
        "'=cmd|calc_3": ("0", "4"),
        "Zed_4": ("0", "4"),
    }
    assert [row["2.1"] for row in rows] == ["0", "1", "0", "0"]
    flags = (place / "graded/flags.csv").read_text()
    assert "Zed_4,no notebook that can be read was handed in" in flags
    pages = sorted((place / "graded/feedback").iterdir())
    assert len(pages) == 4
    bo = next(path.read_text() for path in pages if path.name.startswith("Bo"))
    assert "3 of 4 exercises passed" in bo and "Bo &amp; Co_2" in bo
    assert "Ada" not in bo and str(ROOT) not in bo and "zero" in html.unescape(bo)
    blank = next(path.read_text() for path in pages if "cmd" in path.name)
    assert "There is still a <code" in blank and "run this one again" not in blank
    report = (place / "graded/report.html").read_text()
    assert "4 submissions" in report and "2.1 One of four" in report and "<script" not in report

    def not_again(*anything, **more):
        raise AssertionError("a student was judged twice")

    monkeypatch.setattr("xai_course.classroom.grading.judge_answers", not_again)
    again = grade(place / "moodle.zip", place / "release/ch02", out=place / "graded")
    assert [one.points for one in again] == [0, 4, 3, 0]


def test_who_hands_in_anothers_answer_under_new_names_is_flagged_for_the_teacher(edition):
    renamed = [re.sub(r"\b(model|x|target)\b", r"my_\1", source) for source in answers()]
    other = answers(_23="my_smooth_grad = ...", _28="my_var_grad = ...")  # two of four
    done = [
        Graded(name, {}, [], "\n\n".join(code))
        for name, code in {
            "Ada": answers(),
            "Bo": renamed[::-1],
            "Cy": other,
            "Di": [right("2.1")] * 2,
        }.items()
    ]
    grading._flag_twins(done, edition)
    assert [len(one.flags) for one in done] == [1, 1, 0, 0]
    assert "of the lines are those of Bo" in done[0].flags[0]


def test_a_share_of_a_point_stands_in_the_table_and_on_the_students_page(tmp_path):
    found = {"status": "wrong", "message": "Two of three.", "look": "", "code": "", "seconds": 0.1}
    parts = {"alphas": True, "largest_gap": True, "recover_weights": False}
    ada = Graded("Ada", {"3.3": {**found, "share": 0.67, "parts": parts}})
    bo = Graded("Bo", {"3.3": {**found, "share": 1.0, "status": "passed", "parts": {}}})
    titles = {"3.3": "Grad-CAM is CAM"}
    grading._write_tables([ada, bo], titles, tmp_path)
    assert (tmp_path / "grades.csv").read_text().split() == [
        "student,3.3,points,of",
        "Ada,0.67,0.67,1",
        "Bo,1,1,1",
    ]
    page = grading._feedback(ada, titles)
    assert "<code>alphas</code> and <code>largest_gap</code> are right: 0.67 of a point" in page
    assert "0 of 1 exercises passed; 0.67 points" in page and "recover_weights" not in page
    assert "1 of 1 exercises passed.</p>" in grading._feedback(bo, titles)
    assert "<th scope=row>0</th><td><span class=bar style='width:20px'>" in grading._report([ada, bo], titles)


def test_a_term_that_does_not_exist_is_told_before_anything_is_read(class_of_four, capsys):
    place = class_of_four
    command = ["grade", str(place / "moodle.zip"), "--chapter", "2", "--release", str(place / "release")]
    assert main([*command, "--unsafe", "--term", "99"]) == 2
    assert "`term` must be one of 1, 2, 3" in capsys.readouterr().err


def test_what_cannot_be_graded_says_so(class_of_four, tmp_path, capsys, monkeypatch):
    place = class_of_four
    with pytest.raises(FileNotFoundError, match="`release` must be a folder that was handed out"):
        grade(place / "moodle.zip", tmp_path, out=tmp_path / "out")
    with pytest.raises(ValueError, match="`jobs` must be a positive number, got 0"):
        grade(place / "moodle.zip", place / "release/ch02", out=tmp_path / "out", jobs=0)
    monkeypatch.setattr("shutil.which", lambda name: None)
    command = ["grade", str(place / "moodle.zip"), "--chapter", "2", "--release", str(place / "release")]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "bubblewrap is not installed" in said and "--unsafe" in said
