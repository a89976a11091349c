"""The analysis finds what was put in, and its intervals cover as often as they say."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from xai_course.study import analysis, protocols
from xai_course.study.analysis import (
    Cells,
    against_chance,
    analyse,
    both_ways,
    by_people,
    example,
    excluded,
    pigeonhole,
    power,
    simulated_class,
    wilson,
)
from xai_course.study.records import as_csv
from xai_course.study.simulate import simulated_export

NAMES = ["predict-model", "trust", "which-class"]


@pytest.mark.parametrize(("right", "n"), [(0, 1), (0, 7), (3, 7), (8, 10), (50, 100), (100, 100)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilsons_interval_is_scipys(right, n, level):
    theirs = stats.binomtest(right, n).proportion_ci(level, method="wilson")
    assert wilson(right, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_the_exact_test_counts_every_outcome_that_is_as_unlikely():
    likely = [math.comb(10, k) / 2**10 for k in range(11)]
    assert against_chance(8, 10) == pytest.approx(sum(p for p in likely if p <= likely[8]))
    assert against_chance(5, 10) == pytest.approx(1)


def test_numbers_out_of_range_are_refused():
    for call in (lambda: wilson(3, 2), lambda: wilson(0, 0), lambda: against_chance(-1, 4)):
        with pytest.raises(ValueError, match="right must be between 0 and n"):
            call()
    with pytest.raises(ValueError, match="level must lie"):
        wilson(1, 2, 1.0)
    with pytest.raises(ValueError, match="chance must lie"):
        against_chance(1, 2, 0)


def test_where_every_answer_is_its_own_person_and_picture_the_variance_is_the_plain_one():
    rng = np.random.default_rng(1)
    score, n = (rng.random(80) < 0.6).astype(float), np.arange(80)
    value, interval = both_ways(Cells(score, n, n, np.zeros(80, int)), 0)
    plain = score.std(ddof=1) / math.sqrt(80)
    assert value == pytest.approx(score.mean())
    reach = stats.t.ppf(0.975, 79) * plain
    assert interval == pytest.approx((value - reach, value + reach))


def test_answers_that_a_person_repeats_add_no_knowledge_of_people():
    """Ten copies of everybody's one answer: by people the interval stays, as if independent it shrinks."""
    rng = np.random.default_rng(2)
    once = (rng.random(40) < 0.6).astype(float)
    score, person = np.repeat(once, 10), np.repeat(np.arange(40), 10)
    cells = Cells(score, person, np.tile(np.arange(10), 40), np.zeros(400, int))
    one = Cells(once, np.arange(40), np.zeros(40, int), np.zeros(40, int))
    assert by_people(cells, 0, seed=3) == pytest.approx(by_people(one, 0, seed=3))
    naive = wilson(int(score.sum()), 400)
    many = by_people(cells, 0)
    assert many.high - many.low > 2.5 * (naive.high - naive.low)


def coverage(n, conditions, intervals, classes=200):
    rng, truth = np.random.default_rng(n), 0.6 if len(conditions) == 1 else 0.1
    hits = np.zeros(len(intervals))
    for turn in range(classes):
        cells = simulated_class(rng, n, [0.6, 0.5, 0.5, 0.5], 16, 0.08, 0.08)
        hits += [truth in interval(cells, *conditions, turn) for interval in intervals]
    return hits / classes


def test_the_interval_both_ways_covers_and_the_others_do_not_as_the_module_says():
    """Of 200 imagined classes of 30: the standard error of a share of .95 is .015."""
    people, both, drawn = coverage(
        30,
        (0,),
        [
            lambda cells, c, seed: by_people(cells, c, draws=300, seed=seed),
            lambda cells, c, seed: both_ways(cells, c)[1],
            lambda cells, c, seed: pigeonhole(cells, c, draws=300, seed=seed),
        ],
    )
    assert 0.92 <= both <= 0.99
    assert people < both  # it does not speak of other pictures
    assert drawn >= 0.985  # far too careful


def test_the_interval_of_a_difference_covers_too():
    (both,) = coverage(30, (0, 1), [lambda cells, a, b, seed: both_ways(cells, a, b)[1]])
    assert 0.93 <= both <= 1


def test_power_grows_with_the_class_and_the_lead_and_alarms_are_rare():
    assert power(30, 0.0, classes=200) <= 0.06
    by_size = [power(n, 0.15, classes=150) for n in (10, 30, 90)]
    assert by_size == sorted(by_size) and by_size[0] < 0.4 and by_size[-1] > 0.9
    by_lead = [power(30, lead, classes=150) for lead in (0.05, 0.15, 0.3)]
    assert by_lead == sorted(by_lead) and by_lead[0] < 0.2 and by_lead[-1] > 0.95
    assert power(30, 0.1, classes=50, seed=1) == power(30, 0.1, classes=50, seed=1)
    with pytest.raises(ValueError, match="n and conditions must be at least 2"):
        power(1, 0.1)
    with pytest.raises(ValueError, match="base and base"):
        power(10, 0.6)


def test_the_teachers_table_of_power_is_what_the_function_computes():
    page = (Path(__file__).parents[2] / "book" / "teaching" / "study.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", page, flags=re.MULTILINE)
    assert [int(n) for n, _ in rows] == [10, 20, 30, 60, 100]
    for n, cells in rows:
        computed = [power(int(n), lead, classes=400) for lead in (0.1, 0.15, 0.2, 0.3)]
        # a percentage point for another version of the random draws' arithmetic
        assert [int(cell.strip(" %")) for cell in cells.split("|")] == pytest.approx(
            [100 * share for share in computed], abs=1
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_simulated_and_says_so(name):
    export = example(name)
    assert export["simulated"] == len(export["participants"]) == 60
    assert all(person["simulated"] for person in export["participants"])
    assert "60 simulated raters" in str(analyse(export))
    assert all(line.split(",")[1] == "True" for line in as_csv(export).splitlines()[1:])


@pytest.mark.parametrize("name", NAMES)
def test_the_example_is_what_the_simulated_raters_answer_today(name):
    assert example(name) == json.loads(json.dumps(simulated_export(protocols.read(name), 60, 1, careless=2)))


@pytest.mark.parametrize("name", NAMES)
def test_values_are_means_of_the_answers_that_are_kept(name):
    export = example(name)
    found, out = analyse(export), set(excluded(export))
    assert found.conditions and len(out) == len(found.left_out) == 2
    for condition in found.conditions:
        scores = [
            a["score"]
            for a in export["answers"]
            if a["kind"] == "main" and a["condition"] == condition.name and a["participant"] not in out
        ]
        assert condition.value == pytest.approx(np.mean(scores))
        assert condition.answers == len(scores)
        for interval in (condition.people_interval, condition.both_interval):
            assert condition.value in interval
    for pair in found.differences:
        assert pair.value == pytest.approx(found[pair.a].value - found[pair.b].value)
    assert len(analyse(export, keep_all=True).left_out) == 0


def test_a_maps_class_is_told_by_where_its_heat_lies():
    """The simulated raters' rule, found again: methods that know the class lead those that do not."""
    found = analyse(example("which-class"))
    leads = {(d.a, d.b): d.both_interval for d in found.differences}
    assert leads[("deconvnet", "guided_grad_cam")].high < 0
    assert 0.5 in found["deconvnet"].both_interval
    assert found["guided_grad_cam"].guessing < 1e-6 < found["deconvnet"].guessing


def test_who_is_left_out_does_not_depend_on_the_answers_that_count():
    export = example("which-class")
    turned = copy.deepcopy(export)
    for answer in turned["answers"]:
        if answer["kind"] == "main":
            answer["score"] = 1 - answer["score"]
    assert excluded(turned) == excluded(export)


def test_the_rule_leaves_out_the_unfinished_the_inattentive_and_the_hasty():
    export = simulated_export(protocols.read("which-class"), 6)
    assert excluded(export) == {}
    a, b, c = (person["id"] for person in export["participants"][:3])
    export["participants"][0]["finished"] = False
    check = next(x for x in export["answers"] if x["participant"] == b and x["kind"] == "attention")
    check["score"] = 0
    for answer in export["answers"]:
        if answer["participant"] == c:
            answer["ms"] = 399
    assert excluded(export) == {
        a: "did not finish",
        b: "missed 1 of 2 attention checks",
        c: "answered in a median of 399 ms",
    }


def test_an_export_without_answers_has_no_conditions():
    export = simulated_export(protocols.read("trust"), 2)
    export["answers"] = []
    found = analyse(export)
    assert found.conditions == [] and len(found.left_out) == 2
    assert json.dumps(found.as_dict())


def test_one_participant_gives_no_interval_and_no_error():
    found = analyse(simulated_export(protocols.read("which-class"), 1))
    assert all(math.isnan(c.both_interval.low) for c in found.conditions)
    assert "NaN" not in json.dumps(found.as_dict())
    assert "–" in str(found)


def test_what_is_no_export_is_refused(tmp_path):
    for wrong in ({}, {"format": "else"}, [], None):
        with pytest.raises(ValueError, match="export must be what a study exports"):
            analyse(wrong)
    path = tmp_path / "x.json"
    path.write_text("participant,answer\n")
    with pytest.raises(ValueError, match="is no JSON"):
        analysis.load(path)
    with pytest.raises(ValueError, match="name must be one of"):
        example("else")
    with pytest.raises(ValueError, match="draws must be at least 100"):
        analyse(example("trust"), draws=10)
