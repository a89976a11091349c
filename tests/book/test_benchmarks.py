"""The stored results of the benchmarks: complete, in step with their tables, and nothing hidden."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted(ROOT.glob("benchmarks/results/*.json"))


@pytest.fixture(scope="module")
def run():
    """The program that writes the results; it imports its neighbours by their short names."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import run

        return run
    finally:
        sys.path.pop(0)


def test_there_are_results_for_a_cpu():
    assert "cpu.json" in {path.name for path in RESULTS}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_table_is_made_of_the_stored_results(path, run):
    results = json.loads(path.read_text(encoding="utf-8"))
    assert path.with_suffix(".md").read_text(encoding="utf-8") == run.markdown(results)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_method_is_there_and_every_target_is_judged_by_the_rows(path, run):
    results = json.loads(path.read_text(encoding="utf-8"))
    assert list(dict.fromkeys(row["method"] for row in results["rows"])) == list(run.METHODS)
    judged = run.targets(results["rows"], results["growth"], results["convergence"])
    assert judged == results["targets"] and len(judged) == 6
