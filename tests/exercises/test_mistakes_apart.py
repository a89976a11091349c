"""Two mistakes never share the data that would tell them apart: each gives a value of its own."""

import inspect
import itertools

import pytest
import torch
import wrong_ch02
import wrong_ch03

from xai_course.checks import ch01, ch02, ch03, check
from xai_course.checks.judging import close

COMPARED = [
    pytest.param(identifier, answers[0], module, id=identifier)
    for module, planted in ((ch02, wrong_ch02), (ch03, wrong_ch03))
    for identifier, answers in planted.ALSO_RIGHT.items()
]
TOLERANCE = inspect.signature(ch02.compare).parameters["tolerance"].default


def shared(known, tolerance):
    """The pairs of messages that one value would earn."""
    return [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(known, 2)
        if one != other and close(a, b, tolerance)
    ]


@pytest.mark.parametrize(("identifier", "right", "module"), COMPARED)
def test_each_mistake_gives_a_value_of_its_own(identifier, right, module, monkeypatch):
    """A right answer's way through the check meets every comparison, with the mistakes that each knows."""
    compare, found = module.compare, []

    def watched(value, reference, *mistakes, tolerance=TOLERANCE, **rest):
        known = [("right", reference), *((mistake.message, mistake.value) for mistake in mistakes)]
        found.extend(shared(known, tolerance))
        compare(value, reference, *mistakes, tolerance=tolerance, **rest)

    monkeypatch.setattr(module, "compare", watched)
    assert check(identifier, *right).passed
    assert not found


@pytest.mark.parametrize("target", [1, 2])
@pytest.mark.parametrize("own", [True, False])
def test_each_mistake_about_the_tag_gives_a_number_of_its_own(target, own):
    without, tagged, labels = ch01._tag_album()
    facts = ch01._Tagged(ch01._TagReader(target), without, tagged, labels)
    group = (labels == target) == own
    known = [("right", facts.change(target)[group].mean()), ("other", facts.change(target)[~group].mean())]
    known += [(message, wrong) for wrong, message, _ in ch01._effect_mistakes(facts, target, group)]
    assert not shared([(message, torch.as_tensor(value)) for message, value in known], 1e-3)


@pytest.mark.parametrize("target", [1, 2])
def test_the_class_to_suspect_is_not_the_most_frequent_answer(target):
    facts = ch01._Tagged(ch01._TagReader(target), *ch01._tag_album())
    first, second = torch.tensor(facts.pulls()).topk(2).values
    assert int(torch.tensor(facts.pulls()).argmax()) == target
    assert int(facts.after.bincount().argmax()) not in (0, target) and first - second > 0.1
