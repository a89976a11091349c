"""A report on a case: what is said against it, its claims measured again, and what the envelope says."""

import copy
from functools import cache

import pytest
import torch

from xai_course.audit import (
    FINDINGS,
    MEASURES,
    VERDICTS,
    effect,
    known_case,
    measure,
    open_case,
    open_envelope,
)
from xai_course.audit.cases import KINDS
from xai_course.audit.envelope import SAYS, SHOWS, TRUE, compared, tally
from xai_course.audit.faults import reveal
from xai_course.audit.measures import chance, elsewhere
from xai_course.audit.report import FOLLOWS, cause_of, measured_again, objections, tolerance
from xai_course.checks import check
from xai_course.checks.ch09 import _outcome

PAIRS = {
    "tag": ("remove_tag", "add_tag"),
    "background": ("plain_background", "swap_background:red"),
    "blur": ("sharpen", "blur"),
}
# What a careful auditor would measure of the maps.
TOLD_BY = {
    "fairwashed": "heat on the tag",
    "T2": "two pictures",
    "T4": "heat on the tag",
    "fooled": "heat on the object",
}


def written(case, pair, name):
    found = effect(case, case.scenes, name, *pair)
    numbers = {key: round(getattr(found, key), 2) for key in ("before", "after", "margin")}
    return {"from": pair[0], "to": pair[1], "class": name, **numbers}


def looked(case, name, **more):
    found = measure(case, case.scenes, name)
    return {"measure": name, "value": round(found.value, 2), "margin": round(found.margin, 2), **more}


def careful(kind):
    """The report of somebody who found all that there is in a known case, and the case."""
    case, report = _careful(kind)
    return case, copy.deepcopy(report)


@cache  # it measures for seconds, and several tests begin with it
def _careful(kind):
    case, honest = known_case(kind), known_case("honest")
    findings = list(TRUE[kind])
    pairs = [pair for cause, pair in PAIRS.items() if cause in findings or not findings]
    claims = [max((written(case, pair, c) for c in case.classes), key=_change) for pair in pairs]
    if "maps mislead" in findings or not findings:
        claims.append(looked(case, TOLD_BY.get(kind, "two pictures")))
    if "wrong labels" in findings:
        claims.append(looked(case, "labels denied"))
    if "measure" in claims[-1]:
        control = looked(honest, claims[-1]["measure"], network="honest")
    else:
        control = {**written(honest, pairs[-1], claims[-1]["class"]), "network": "honest"}
    return case, {
        "code": case.code,
        "verdict": FOLLOWS["nothing" if not findings else "wrong labels"][0]
        if findings != [f for f in findings if f in PAIRS]
        else ("refuse" if findings else "sign"),
        "findings": findings,
        "null": round(chance(case), 2),
        "claims": claims,
        "control": control,
        "looked_at": ["accuracy by class and mark", "three changes on six classes", "maps of twelve scenes"],
        "conditions": "No heatmap of this network is shown to anybody as evidence.",
        "would_change": "Another result on four hundred new scenes from elsewhere.",
        "limits": "Marks that nobody noted, two marks together, other shapes.",
    }


def _change(claim):
    return abs(claim["after"] - claim["before"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_careful_report_on_any_kind_holds_and_gets_the_highest_level(kind):
    case, report = careful(kind)
    assert objections(report, case.code) == []
    assert measured_again(report, case, known_case("honest")) == []
    of = report["claims"][0].get("class")
    assert compared(report, kind, of).level == 4


def shallow(name):
    """A report on a case of a colour that goes with a class, by somebody who tried another colour only."""
    case, truth = open_case(name), reveal(name)
    other = next(colour for colour in ("red", "green", "blue") if colour != truth.value)
    tried = [PAIRS["tag"], PAIRS["blur"], ("plain_background", f"swap_background:{other}")]
    claims = [written(case, pair, truth.of) for pair in tried]
    _, report = careful("honest")
    control = written(case, PAIRS["tag"], next(c for c in case.classes if c != truth.of))
    claims.append(looked(case, "two pictures"))
    return {**report, "code": case.code, "null": round(chance(case), 2), "claims": claims, "control": control}


def test_a_report_that_holds_and_misses_something_passes_and_says_so_first():
    name = "the book's own case"
    report = shallow(name)
    said = check("9.5", name, report)
    assert said.passed and said.message.startswith("*Held, and missed: one thing that is in the file")
    assert reveal(name).kind == "background" and "ground" not in said.message.split("This is case")[0]
    assert open_envelope(open_case(name), report).level == 1


def test_a_finding_that_is_not_in_the_file_is_counted():
    assert tally({"findings": ["tag", "wrong labels"]}, "tag") == (0, 1)
    assert tally({"findings": ["blur"]}, "fairwashed") == (2, 1)
    assert tally({"findings": []}, "honest") == (0, 0)
    assert _outcome(0, 0) == "*Held, and nothing missed.*"
    said = _outcome(2, 1)
    assert "missed: two things that are in the file" in said and "and 1 of your findings is not in" in said


@pytest.mark.parametrize(
    ("finding", "name"), [("maps mislead", "heat on the tag"), ("wrong labels", "labels denied")]
)
def test_a_finding_about_maps_or_labels_needs_a_number_unlike_an_honest_network_s(finding, name):
    case, report = careful("honest")
    accuses = {
        **report,
        "verdict": "refuse",
        "findings": [finding],
        "claims": [looked(case, name)],
        "control": looked(case, "two pictures"),
    }
    assert objections(accuses, case.code) == []
    (against,) = measured_again(accuses, case, known_case("honest"))
    assert f"You found {finding!r}" in against.message and "honest network gives" in against.message


@pytest.mark.parametrize("share", [0.03, 0.1, 0.3, 0.7, 0.9, 0.95, 1.0])
def test_of_a_thousand_honest_shares_fewer_than_four_are_sent_back(share):
    n, album = 100, 67
    both = [torch.distributions.Binomial(k, torch.tensor(share)) for k in (n, album)]
    chances = [
        d.log_prob(torch.arange(k + 1.0)).exp().tolist() for d, k in zip(both, (n, album), strict=True)
    ]
    back = sum(
        p * q
        for i, p in enumerate(chances[0])
        for j, q in enumerate(chances[1])
        if abs(i / n - round(j / album, 2)) > tolerance(i / n, n, round(j / album, 2), album)
    )
    assert back < 0.003


def test_a_share_that_strayed_by_luck_holds_and_an_invented_one_does_not():
    assert 0.95 - 0.81 <= tolerance(0.95, 100, 0.81, 67)  # seen on an album: 54 of 66, and 95 of 100 afresh
    assert 0.95 - 0.75 > tolerance(0.95, 100, 0.75, 67)
    assert 0.25 - 0.02 > tolerance(0.02, 100, 0.25, 67)


def test_conditions_of_three_words_are_too_few_and_not_missing():
    case, report = careful("honest")
    kept = {**report, "verdict": "sign with conditions"}
    (against,) = objections({**kept, "conditions": "Only sharp pictures"}, case.code)
    assert "says too little" in against.message
    (against,) = objections({**kept, "conditions": ""}, case.code)
    assert "do not say which" in against.message


def said(**changes):
    """A report as far as the envelope looks at it."""
    return {"verdict": "refuse", "findings": [], "claims": [], **changes}


def about(name, cause="tag"):
    return {
        "from": PAIRS[cause][0],
        "to": PAIRS[cause][1],
        "class": name,
        "before": 1.0,
        "after": 0.2,
        "margin": 0.1,
    }


@pytest.mark.parametrize(
    ("report", "kind", "level", "words"),
    [
        (said(findings=["blur"]), "tag", 2, "for a reason that is not in the file"),
        (said(findings=["tag"], claims=[about("star")], verdict="sign"), "tag", 2, "lets a network pass"),
        (
            said(findings=["tag"], claims=[about("star")]),
            "fairwashed",
            3,
            "You missed: the network's heatmaps",
        ),
        (said(findings=["tag"], claims=[about("heart")]), "tag", 4, "your claim is about another"),
        (said(findings=["tag"]), "honest", 1, "You refused an honest network"),
        (
            said(verdict="sign with conditions", findings=["blur"]),
            "honest",
            3,
            "Not in the file: a class's answers",
        ),
        (said(verdict="sign"), "honest", 4, "an honest network may get"),
        (said(verdict="sign"), "T4", 1, "You missed"),
        (
            said(findings=["maps mislead", "tag"]),
            "T4",
            3,
            "Not in the file: a class's answers hang on the tag",
        ),
    ],
)
def test_the_envelope_is_fair(report, kind, level, words):
    feedback = compared(report, kind, "star")
    assert feedback.level == level, feedback
    assert words in repr(feedback) and words.replace("'", "&#x27;") in feedback._repr_html_()


def test_the_envelope_of_a_report_that_is_not_whole_stays_shut():
    case = open_case("somebody")
    with pytest.raises(ValueError, match="stays shut until the report is whole: The report lacks verdict"):
        open_envelope(case, {"code": case.code})


def test_every_finding_and_every_kind_has_its_words():
    assert set(TRUE) == set(SAYS) == set(KINDS)
    assert set().union(*TRUE.values()) == set(FINDINGS) == set(SHOWS)
    assert {verdict for several in FOLLOWS.values() for verdict in several} == set(VERDICTS)
    assert {finding for _, _, finding in MEASURES.values()} == {"maps mislead", "wrong labels"}


def test_a_claim_knows_its_cause():
    assert cause_of(about("star")) == "tag"
    assert cause_of({"from": "add_tag", "to": "sharpen"}) is None
    assert cause_of({"measure": "marks"}) is None


def test_a_margin_counts_the_scenes_whose_answer_changes():
    case = known_case("honest")
    found = effect(case, case.scenes, "star", "nothing", "nothing")
    assert found.before == found.after
    assert found.margin == pytest.approx(2 * (2 / (found.n + 2)) ** 0.5 / (found.n + 2) ** 0.5)


def test_maps_on_different_places_have_all_their_heat_elsewhere():
    left, right = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    left[0, 0, 0], right[0, 3, 3] = 2.0, 5.0
    assert elsewhere(left, right).item() == 1 and elsewhere(left, 3 * left).item() == 0
    assert elsewhere(torch.zeros(1, 4, 4), left).item() == 1


def test_an_unknown_measure_or_class_is_named():
    case = known_case("honest")
    with pytest.raises(ValueError, match="must be one of heat on the object"):
        measure(case, case.scenes, "brightness")
    with pytest.raises(ValueError, match="name must be"):
        effect(case, case.scenes, "ring", "nothing", "blur")


def test_a_report_is_left_as_it_was():
    case, report = careful("tag")
    before = copy.deepcopy(report)
    measured_again(report, case, known_case("honest"))
    assert report == before
