"""The ledger: every claim of a lesson has run, can fail, and stands in the table."""

import ast
import sys
from pathlib import Path

import nbformat
import pytest

from xai_course.ledger import MIME

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import make_ledger  # noqa: E402

every_lesson = pytest.mark.parametrize(
    "notebook", make_ledger.lessons(), ids=lambda p: f"{p.parent.name}-{p.stem}"
)


def test_the_ledger_is_up_to_date():
    assert make_ledger.main(["--check"]) == 0, "run python tools/make_ledger.py"


@every_lesson
def test_every_claim_has_run_and_could_have_failed(notebook):
    assert make_ledger.faults(notebook) == []


@every_lesson
def test_every_claim_cites_a_source_of_the_bibliography(notebook):
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    for entry in make_ledger.entries(notebook):
        assert f"{{{entry.claim['source']}," in bibliography


CLAIM = {
    "source": "Zhou2016",
    "kind": "law",
    "says": "a * b is $5 [sic]",
    "found": "5 %",
    "on": "two networks",
    "verdict": "does not hold here",
}


def written(tmp_path, *cells):
    """A lesson of chapter 3 with these cells: code, and the claims that it has stored."""
    notebook = nbformat.v4.new_notebook()
    for source, claims in cells:
        outputs = [
            nbformat.v4.new_output("execute_result", {MIME: claim, "text/plain": "claim"}, execution_count=1)
            for claim in claims
        ]
        notebook.cells.append(nbformat.v4.new_code_cell(source, outputs=outputs, execution_count=1))
    path = tmp_path / "chapters" / "03_cam" / "lesson.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)
    data = tmp_path / "book" / "data" / "methods.yml"
    data.parent.mkdir(parents=True)
    data.write_text((ROOT / "book/data/methods.yml").read_text(encoding="utf-8"), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "condition, reason",
    [
        ("True", "rests on nothing"),
        ("1 < 2", "rests on nothing"),
        ("bool(LIMIT)", "rests on nothing"),
        ("not done", "rests on nothing"),
        ("all(typed)", "rests on nothing"),
        ("gap < 1 or True", "a constant for a part"),
        ("gap == gap", "with itself"),
        ("all(len(x) for x in 'abc')", "rests on nothing"),
    ],
)
def test_a_condition_that_cannot_fail_is_refused(tmp_path, condition, reason):
    typed = "LIMIT = 0.1\ndone: bool = False\ntyped = []\ntyped.append(True)\n"
    page = f"{typed}gap = measure(model)\nclaim('Zhou2016', {condition}, kind='law')"
    (fault,) = make_ledger.faults(written(tmp_path, (page, [CLAIM])))
    assert reason in fault


@pytest.mark.parametrize(
    "condition",
    ["gap < LIMIT", "bool(gap < 0.1)", "all(g < 1 for g in gaps)", "(total := add(gaps)) < 3", "all(equal)"],
)
def test_a_condition_that_was_computed_is_taken(tmp_path, condition):
    page = "LIMIT = 0.1\ngap = measure(model)\ngaps = [gap, 2 * gap]\nequal = []\nequal.append(gap < 1)"
    path = written(tmp_path, (page, []), (f"claim('Zhou2016', {condition}, kind='law')", [CLAIM]))
    assert make_ledger.faults(path) == []


def test_a_claim_that_no_output_shows_is_found(tmp_path):
    page = "gap = measure(model)\nclaim('a', gap < 1)\nclaim('b', gap < 2)"
    (fault,) = make_ledger.faults(written(tmp_path, (page, [CLAIM])))
    assert "2 claims, 1 stored" in fault


def test_what_failed_stands_in_the_table_and_is_counted(tmp_path):
    cell = "claim('Zhou2016', gap < 1)"
    written(
        tmp_path,
        (cell, [CLAIM]),
        ("display(...)", [{**CLAIM, "verdict": "holds", "kind": "identity"}, CLAIM]),
    )
    text = make_ledger.ledger(tmp_path)
    assert "3 claims were tried: ✓ **1** holds, ◐ **0** hold in part, ✗ **2** do not hold here" in text
    assert "By kind: 1 identity, 2 laws." in text
    assert text.count("✗ does not hold here") == 2
    assert "## Chapter 3: Class activation maps" in text
    anchors = [f'lesson.html#claim-3-{i}"' for i in (1, 2, 3)]
    assert [text.index(anchor) for anchor in anchors] == sorted(text.index(anchor) for anchor in anchors)


def test_the_text_of_a_claim_is_text(tmp_path):
    (first, *_) = make_ledger.row(make_ledger.Entry("claim-3-1", "page.html", CLAIM))
    assert first == r"a \* b is \$5 \[sic\] {cite:p}`Zhou2016`"


def test_a_cell_with_lines_for_ipython_is_read():
    assert make_ledger.claim_calls(make_ledger.parse("%matplotlib inline\nclaim('a', b)"))
    assert isinstance(make_ledger.parse("!ls"), ast.Module)
