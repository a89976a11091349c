"""Chapter 9's matrix is what its tool makes: thresholds, alarms and verdicts follow from the marks."""

import importlib.util
import json

import pytest

from tests.pages import ROOT
from xai_lib._cases import load_network, networks, recipe

spec = importlib.util.spec_from_file_location("audit_matrix", ROOT / "tools" / "audit_matrix.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

STORED = json.loads(tool.FILE.read_text(encoding="utf-8"))


def test_the_matrix_is_of_the_tools_and_runs_in_the_code():
    assert list(STORED["tools"]) == list(tool.TOOLS)
    assert STORED["faults"] == list(tool.RIGHT) and STORED["seeds"] == list(range(1, tool.RUNS + 1))
    assert STORED["right"] == {kind: list(who) for kind, who in tool.RIGHT.items()}
    for kind, n in STORED["networks"].items():
        assert len({seed for seed, _ in tool.runs(kind)}) == n
        assert len(set(tool.runs(kind))) == tool.RUNS, "no run is counted twice"


def test_verdicts_follow_from_the_marks():
    for name, row in STORED["tools"].items():
        for kind in STORED["faults"]:
            marks = row["marks"][kind]
            for i in range(tool.RUNS):
                beyond = [who for who, values in marks.items() if values[i] > row["threshold"][who]]
                tied = [who for who, values in marks.items() if abs(values[i] - row["threshold"][who]) < 1e-4]
                assert set(beyond) ^ set(row["accused"][kind][i]) <= set(tied), (name, kind, i)
            accused = row["accused"][kind]
            assert row["alarms"][kind] == sum(map(bool, accused))
            assert row["found"][kind] == sum(bool({*STORED["right"][kind]} & {*who}) for who in accused)
        assert 0 <= row["false_alarms"] <= row["of"] == len(next(iter(row["marks"]["honest"].values())))


CHEAP = (
    "accuracy, the album",
    "accuracy by strata",
    "Grad-CAM points at",
    "training labels, by loss",
    "intervention: a cause removed",
    "intervention: a cause inserted",
)


@pytest.mark.parametrize("kind", ["tag", "noise"])
def test_marks_of_networks_that_ship_can_be_made_again(kind):
    (network,) = (n for n in networks() if n.kind == kind and n.recipe.seed == 1)
    seed, album = tool.runs(kind)[0]
    exam = tool.Exam(load_network(network), recipe(kind, seed), 100 * seed + album)
    for name in CHEAP:
        for who, value in tool.TOOLS[name](exam).items():
            assert value == pytest.approx(STORED["tools"][name]["marks"][kind][who][0], abs=0.02), (name, who)
