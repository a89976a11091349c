"""In each term the checks draw other numbers: every draw is shifted, and the verdicts stay right."""

import ast
import json
from pathlib import Path

import exercise_pages as pages
import handed_in
import pytest
import torch

from xai_course._term import shift, shifted_by
from xai_course.checks import available, inputs
from xai_course.checks.inputs import cached, drawn, normal, of_term, seeded, uniform
from xai_course.classroom import page
from xai_course.classroom.terms import FIXED, _proven, shifts, terms

DRAWN = [
    pytest.param(path, name, id=name)
    for path in pages.PAGES
    for name in page(path).exercises
    if name not in FIXED  # in every term they are what the other tests hand in
]
PAGES = [pytest.param(path, id=path.parent.name) for path in pages.PAGES]
AGAIN = "python tools/term_seeds.py"


# ---- what is shipped ---------------------------------------------------------------------------------------
def test_every_exercise_has_numbers_of_its_own_in_every_term():
    assert terms() == list(range(1, 11))
    assert set(_proven()) >= set(available()), f"run {AGAIN}"
    for name, numbers in _proven().items():
        others = len(set(numbers)) == len(numbers) and min(numbers) > 0
        assert others != (name in FIXED) and (others or not any(numbers)), name


@pytest.mark.parametrize("path", PAGES)
def test_the_terms_were_proven_with_these_checks_solutions_and_planted_answers(path):
    held = pages.ROOT / "xai_course/classroom/terms.json"
    chapter = page(path).chapter
    proven = json.loads(held.read_text())["chapters"][f"{chapter:02d}"]
    assert proven["fingerprint"] == handed_in.fingerprint(path), f"something changed: {AGAIN} {chapter}"


@pytest.mark.parametrize(("path", "exercise"), DRAWN)
def test_every_answer_gets_its_verdict_in_one_of_the_terms(path, exercise, monkeypatch):
    """Which of the terms changes with the exercise, and with the sources; the tool tries them all."""
    which = int(handed_in.fingerprint(path), 16) + int(exercise.split(".")[1])
    numbers = _proven()[exercise]
    odd, asked = [], []
    monkeypatch.setattr(inputs, "shift", lambda: asked.append(1) or shift())
    with shifted_by(numbers[which % len(numbers)]):
        for case in handed_in.cases(path, exercise):
            result = case.judged(exercise)
            odd += [] if case.holds(result) else [(case.name, result)]
            if case.name == "the solution":
                assert len(asked) > 1, "a check that draws nothing stands in FIXED"  # 1: torch's own state
    assert not odd


def test_a_term_that_does_not_exist_is_named_with_those_that_do():
    assert shifts(None) == {}
    assert shifts(2)["2.1"] != shifts(3)["2.1"]
    for term in (0, 11, True, "xterm"):
        with pytest.raises(ValueError, match="`term` must be one of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, got"):
            shifts(term)


# ---- the shift ---------------------------------------------------------------------------------------------
def drawn_now():
    with drawn(3):
        state = torch.rand(4)
    return [normal(4, seed=3), uniform(4, seed=3), torch.rand(4, generator=seeded(3)), state]


def test_in_a_term_every_draw_is_another_and_outside_it_the_same():
    before, state = drawn_now(), torch.get_rng_state()
    with shifted_by(5):
        inside, again = drawn_now(), drawn_now()
        assert of_term(3) == 8
    assert shift() == 0 and torch.equal(state, torch.get_rng_state())
    for a, b, c, d in zip(before, inside, again, drawn_now(), strict=True):
        assert not torch.equal(a, b) and torch.equal(b, c) and torch.equal(a, d)


def test_what_is_kept_is_kept_for_its_term():
    made = []

    @cached
    def draws(n):
        made.append(n)
        return normal(n, seed=1)

    first = draws(3)
    with shifted_by(1):
        other = draws(3)
        assert draws(3) is other
    assert draws(3) is first and not torch.equal(first, other) and made == [3, 3]


@pytest.mark.parametrize("number", [-1, 1.5, True, "1"])
def test_a_shift_is_a_number(number):
    with pytest.raises(ValueError, match="`number` must be a whole number from 0 on"), shifted_by(number):
        pass


# ---- nobody draws past it ----------------------------------------------------------------------------------
DRAWS = {"normal", "uniform", "seeded", "drawn", "of_term"}
SEEDERS = {"manual_seed", "default_rng", "initial_seed", "RandomState", "Generator"}
RANDOM = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "bernoulli", "multinomial"}
# What the notebook calls with a seed of its own, to show pictures.
SHOWN = {"mystery_album"}
# Kept by a name that is the student's, the same in every term.
KEPT = {"_case_of"}


def own_draws(source: str) -> list[str]:
    """The places where a module of checks draws past ``inputs.py``, or before anybody can shift it."""
    tree, found = ast.parse(source), []
    outside = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (not node.level or node.module == "inputs")
        for alias in node.names
    } - DRAWS

    def look(node: ast.AST, inside: bool, shifted: bool) -> None:
        if isinstance(node, ast.FunctionDef) and node.name in SHOWN | KEPT:
            return
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            inside = True
        name = _name(node.func) if isinstance(node, ast.Call) else ""
        given = {keyword.arg: keyword.value for keyword in node.keywords} if name else {}
        if name in SEEDERS:
            found.append(f"line {node.lineno}: {name}")
        if name in RANDOM and "generator" not in given and not shifted:
            found.append(f"line {node.lineno}: {name} without a generator")
        if name in outside and "seed" in given and _name(getattr(given["seed"], "func", None)) != "of_term":
            found.append(f"line {node.lineno}: {name} with a seed that is the same in every term")
        if name in DRAWS and not inside:
            found.append(f"line {node.lineno}: {name} when the module is loaded")
        if isinstance(node, ast.Name | ast.Attribute) and _name(node) in ("cache", "lru_cache"):
            found.append(f"line {node.lineno}: a cache that outlives a term")
        if isinstance(node, ast.With):
            shifted |= any("drawn(" in ast.unparse(item) for item in node.items)
        for child in ast.iter_child_nodes(node):
            look(child, inside, shifted)

    look(tree, False, False)
    return found


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


CHECKS = [
    path for path in sorted(handed_in.CHECKS.glob("*.py"))
    if path.name != "inputs.py" and not path.stem.endswith("_mistakes")
]  # fmt: skip


@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.stem)
def test_no_check_draws_past_the_term(path):
    assert own_draws(Path(path).read_text("utf-8")) == [], "draw with what xai_course/checks/inputs.py has"


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    return torch.randn(3, generator=torch.Generator().manual_seed(1))",
        "def f():\n    torch.manual_seed(1)",
        "def f():\n    return torch.rand(3)",
        "from xai_lib.data import shapes\ndef f():\n    return shapes(9, seed=4)",
        "X = normal(3, seed=1)",
        "@functools.cache\ndef f():\n    return normal(3, seed=1)",
        "f = cache(g)",
        "def f():\n    return np.random.default_rng(3)",
    ],
)
def test_a_draw_past_the_term_is_found(source):
    assert own_draws(source)
