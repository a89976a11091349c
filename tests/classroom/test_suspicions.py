"""What a teacher is told of an answer that calls a library; what is no answer may call it."""

import ast
from pathlib import Path

import pytest

from xai_course import classroom
from xai_course.checks import available
from xai_course.checks.registry import functions, libraries
from xai_course.classroom.judge import set_up
from xai_course.classroom.suspicions import bare_lines, called, suspicions

COURSE = [
    "import torch\nimport xai_lib\nfrom xai_lib import gradient, load_model\nfrom captum.attr import Saliency"
]
PAGES = sorted(Path(__file__).resolve().parents[2].glob("chapters/*/exercises.ipynb"))
available()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def mine(m, x, t):\n    return gradient(m, x, t)", ["xai_lib.gradients.gradient"]),
        ("mine = gradient", ["xai_lib.gradients.gradient"]),
        ("mine = lambda *given: xai_lib.gradients.gradient(*given)", ["xai_lib.gradients.gradient"]),
        ("def helper(*a):\n    return gradient(*a)\ndef mine(*a):\n    return helper(*a)",
         ["xai_lib.gradients.gradient"]),
        ("def mine(m, x, t):\n    from xai_lib.gradients import smooth_grad as s\n    return s(m, x)",
         ["xai_lib.gradients.smooth_grad"]),
        ("from xai_lib import *\ndef mine(m, x):\n    return grad_cam(m, x)", ["xai_lib.cams.grad_cam"]),
        ("def mine(m, x, t):\n    return Saliency(m).attribute(x)",
         ["captum.attr._core.saliency.Saliency"]),
        # A name of one's own, a local one, a network, and a comparison outside the answer are no matter.
        ("def mine(m, x, t):\n    gradient = torch.autograd.grad(m(x), x)\n    return gradient", []),
        ("def gradient(*a):\n    return a\ndef mine(*a):\n    return gradient(*a)", []),
        ("def mine(m, x, t):\n    return load_model('small_vgg')(x)", []),
        ("def mine(m, x, t):\n    return x\nprint(gradient(1, 2, 3) - mine(1, 2, 3))", []),
        ("def mine(:", []),
    ],
)  # fmt: skip
def test_what_an_answer_calls_is_followed(code, found):
    assert called([code], COURSE, ["mine"]) == found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_no_solution_is_flagged(page):
    found = classroom.page(page)
    course = set_up(classroom.without_solutions(found.notebook))
    solutions = [exercise.solution for exercise in found.exercises.values()]
    asked = {}
    for name, exercise in found.exercises.items():
        checks = [n for n in ast.walk(ast.parse(exercise.solution)) if isinstance(n, ast.Call)]
        (check,) = [n for n in checks if isinstance(n.func, ast.Name) and n.func.id == "check"]
        asked[name] = [ast.unparse(arg) for arg in check.args[1:]]
    assert suspicions(solutions, course, asked) == []


def test_an_exercise_says_where_a_library_may_be_called():
    assert libraries("1.3") and not libraries("2.1") and not libraries("9.99")
    assert functions("3.3") == 3 and functions("9.99") == 0
    code = ["def my_gradient(*a):\n    return gradient(*a)"]
    assert suspicions(code, COURSE, {"2.1": ["my_gradient"]}) == ["2.1 calls xai_lib.gradients.gradient"]
    assert suspicions(code, COURSE, {"1.3": ["my_gradient"]}) == []
    assert suspicions(["facts = gradient"], COURSE, {"1.1": ["facts"]}) == []  # no function is asked for


@pytest.mark.parametrize(
    ("code", "flag"),
    [
        ("from xai_course.checks import ch02", "imports xai_course.checks"),
        ("import xai_course.checks.ch02 as c", "imports xai_course.checks"),
        ("from xai_course import checks", "imports xai_course.checks"),
        ("from xai_course.classroom import solutions", "imports xai_course.classroom"),
        ("import os\nos.system('ls')", "uses os.system"),
        ("sys._getframe(1)", "uses the stack"),
        ("os.kill(os.getpid(), 19)", "uses a signal"),
        ("gc.get_objects()", "uses the garbage collector's list"),
    ],
)
def test_what_no_answer_needs_is_flagged(code, flag):
    assert flag in suspicions([code], COURSE, {})
    own = "from xai_course import figures\nfrom xai_course.checks import check\nfigures.panel(x)"
    assert suspicions([own], COURSE, {}) == []


ONE = """
def mean(v):
    return v.sum() / v.numel()

@torch.no_grad()
def mine(model, x, target):
    # the whole batch at once
    scores = [mean(row) for row in model(x)]
    return {"mean": scores, "of": target}
"""
RENAMED = """
def mittel( t ):
    "A mean."
    return t.sum()/t.numel()

@torch.no_grad()
def mine(netz, bild, klasse):
    werte = [mittel(zeile)
             for zeile in netz(bild)]
    return {"mean": werte, "of": klasse}
"""


def test_new_names_and_another_layout_do_not_make_another_answer():
    one, renamed = (bare_lines([code], ["mine"]) for code in (ONE, RENAMED))
    assert [line for line in renamed if line != "pass"] == one and any("def mine" in line for line in one)
    assert bare_lines([ONE.replace("v.sum()", "v.mean()")], ["mine"]) != one
    assert bare_lines([ONE.replace("x, target", "target, x")], ["mine"]) != one
    assert bare_lines(["def mine(:\n    # why\n    x = 1\n\n" + ONE], ["mine"])[2:] == one  # one bad block


def test_each_odd_import_is_named_once():
    code = ["import xai_course.checks\nfrom xai_course.checks import verdicts\nfrom xai_course import checks"]
    assert suspicions(code, [], {}) == ["imports xai_course.checks"]
