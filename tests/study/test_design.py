"""Orders are balanced: over a participant, over a class, and from one trial to the next."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from xai_course.study import design, protocols
from xai_course.study.design import latin_square, plan, public, williams
from xai_course.study.protocols import STIMULI, pictures

PROTOCOLS = protocols.all_protocols()
WITHIN = [protocol for protocol in PROTOCOLS if not protocol.between]


def of_kind(trials, kind="main"):
    return [trial for trial in trials if trial["kind"] == kind]


@pytest.mark.parametrize("k", range(1, 8))
def test_a_latin_square_has_each_number_once_in_each_row_and_column(k):
    square = latin_square(k)
    for line in [*square, *zip(*square, strict=True)]:
        assert sorted(line) == list(range(k))


@pytest.mark.parametrize("k", range(2, 9))
def test_in_a_williams_square_each_follows_each_other_equally_often(k):
    rows = williams(k)
    assert len(rows) == (2 * k if k % 2 else k)
    assert all(sorted(row) == list(range(k)) for row in rows)
    follows = Counter(pair for row in rows for pair in pairwise(row))
    assert set(follows) == {(a, b) for a in range(k) for b in range(k) if a != b}
    assert len(set(follows.values())) == 1
    assert all(len(set(Counter(column).values())) == 1 for column in zip(*rows, strict=True))


@pytest.mark.parametrize("k", [0, -1])
def test_a_square_needs_a_side(k):
    for square in (latin_square, williams):
        with pytest.raises(ValueError, match="k must be at least 1"):
            square(k)


@pytest.mark.parametrize("protocol", WITHIN, ids=lambda p: p.id)
def test_a_participant_sees_every_picture_once_and_every_condition_equally_often(protocol):
    items = {entry["item"] for entry in pictures(protocol.stimuli)["main"]}
    for number in range(30):
        main = of_kind(plan(protocol, number))
        assert sorted(trial["item"] for trial in main) == sorted(items)
        assert len(set(Counter(trial["condition"] for trial in main).values())) == 1
        assert {trial["condition"] for trial in main} == set(protocol.conditions)


@pytest.mark.parametrize("protocol", WITHIN, ids=lambda p: p.id)
def test_over_a_class_each_picture_meets_each_condition_and_each_answer_equally_often(protocol):
    k = len(protocol.conditions)
    met = Counter(
        (trial["item"], trial["condition"], trial["truth"])
        for number in range(2 * k)
        for trial in of_kind(plan(protocol, number))
    )
    assert set(met.values()) == {1}
    assert len(met) == 2 * k * len(pictures(protocol.stimuli)["main"])


@pytest.mark.parametrize("protocol", WITHIN, ids=lambda p: p.id)
def test_no_two_participants_of_one_square_see_a_picture_under_the_same_condition(protocol):
    k = len(protocol.conditions)
    for first in (0, k, 5 * k):
        seen = Counter(
            (trial["item"], trial["condition"])
            for number in range(first, first + k)
            for trial in of_kind(plan(protocol, number))
        )
        assert set(seen.values()) == {1}


@pytest.mark.parametrize("protocol", WITHIN, ids=lambda p: p.id)
def test_a_condition_does_not_always_follow_the_same_other(protocol):
    k = len(protocol.conditions)
    follows = Counter()
    for number in range(k * len(williams(k))):
        order = [trial["condition"] for trial in of_kind(plan(protocol, number))]
        for start in range(0, len(order), k):
            follows.update(pairwise(order[start : start + k]))
    assert len(follows) == k * (k - 1)
    assert len(set(follows.values())) == 1


def test_the_right_answer_stands_left_as_often_as_right_under_every_condition():
    protocol = protocols.read("which-class")
    for number in range(16):
        left = Counter()
        for trial in of_kind(plan(protocol, number)):
            left[trial["condition"]] += trial["options"][0] == trial["truth"]
        assert set(left.values()) == {2}  # of four


def test_the_network_that_looks_at_the_shape_stands_on_either_side_equally_often():
    protocol = protocols.read("trust")
    for number in range(12):
        sides = Counter((t["condition"], t["truth"]) for t in of_kind(plan(protocol, number)))
        assert set(sides.values()) == {2}


def test_half_of_a_class_learns_with_maps_and_is_asked_the_same():
    protocol = protocols.read("predict-model")
    for number in range(8):
        trials = plan(protocol, number)
        learn, main = of_kind(trials, "learn"), of_kind(trials)
        condition = {trial["condition"] for trial in trials}
        assert condition == {protocol.conditions[number % 2]}
        roles = {picture["role"] for trial in learn for picture in trial["pictures"]}
        assert roles == ({"picture", "map"} if number % 2 else {"picture"})
        assert {p["role"] for trial in main for p in trial["pictures"]} == {"picture"}
        assert sorted(trial["item"] for trial in main) == sorted(
            entry["item"] for entry in pictures(protocol.stimuli)["main"]
        )
        assert trials.index(main[0]) >= len(learn)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.id)
def test_a_plan_is_the_same_again_and_differs_between_participants_and_seeds(protocol):
    assert plan(protocol, 3, seed=5) == plan(protocol, 3, seed=5)
    assert plan(protocol, 3, seed=5) != plan(protocol, 4, seed=5)
    assert plan(protocol, 3, seed=5) != plan(protocol, 3, seed=6)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.id)
def test_two_attention_checks_stand_inside_and_ask_for_two_different_answers(protocol):
    trials = plan(protocol, 2)
    places = [place for place, trial in enumerate(trials) if trial["kind"] == "attention"]
    assert len(places) == 2
    first_main = min(place for place, trial in enumerate(trials) if trial["kind"] == "main")
    assert first_main < places[0] and places[0] + 2 < places[1] < len(trials) - 1
    asked = [trials[place]["asked"] for place in places]
    assert len(set(asked)) == 2
    assert all(trials[place]["asked"] in trials[place]["options"] for place in places)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.id)
def test_what_a_browser_is_told_gives_nothing_away(protocol):
    for number in range(8):
        trials = plan(protocol, number)
        assert len({trial["id"] for trial in trials}) == len(trials)
        for trial in trials:
            shown = public(trial)
            assert ("truth" in shown) == (trial["kind"] == "practice")
            assert not {"condition", "item"} & set(shown)
            for hidden in ([trial["item"]] if trial["kind"] == "main" else []) + list(protocol.conditions):
                assert hidden not in str(shown)


def test_a_plan_refuses_what_it_cannot_balance():
    with pytest.raises(ValueError, match="number must be 0 or more"):
        plan(PROTOCOLS[0], -1)
    with pytest.raises(ValueError, match="multiple of 3 conditions"):
        design.dealt([{}] * 4, 3, 0, None)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.id)
def test_every_picture_of_every_plan_is_there(protocol):
    for number in range(2 * len(protocol.conditions)):
        for trial in plan(protocol, number):
            for picture in trial["pictures"]:
                assert (STIMULI / picture["file"]).is_file()


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.id)
def test_every_option_and_condition_has_a_name_in_both_languages(protocol):
    options = {option for n in range(8) for trial in plan(protocol, n) for option in trial["options"]}
    assert options - {"next"} <= set(protocol.words)


def test_a_protocol_file_that_lacks_something_is_refused():
    whole = {
        "id": "x",
        "version": 1,
        "task": "choice",
        "conditions": ["a"],
        "between": False,
        "stimuli": "which_class",
        "minutes": 1,
        "exclusion": {"missed": 0, "fastest": 400},
        "texts": {"title": {"en": "T", "ko": "티"}},
        "words": {"a": {"en": "A", "ko": "에이"}},
        "published": [],
    }
    assert protocols.parse(whole).conditions == ("a",)
    for change, message in [
        ({"task": "poem"}, "task must be one of"),
        ({"texts": {"title": {"en": "T"}}}, "must have words in en and ko"),
        ({"words": {}}, "the condition 'a' has no name"),
        ({"extra": 1}, "differs in"),
    ]:
        with pytest.raises(ValueError, match=message):
            protocols.parse(whole | change)
    for name in ("nothing", "../protocols/trust", ""):
        with pytest.raises(ValueError, match="name must be one of"):
            protocols.read(name)
