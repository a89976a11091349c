"""A mistake written as an answer: how it is recognised."""

import math

import pytest
import torch

from xai_course.checks.mistakes import Mistake, recognise
from xai_course.checks.verdicts import Wrong

RIGHT = torch.tensor([1.0, 2.0, 3.0, 4.0])
MISTAKES = [
    Mistake(lambda x: 2 * x, "doubled", "once"),
    Mistake(lambda x: x / (x - 1) * (x - 1), "divided by zero", "where?"),
    Mistake(lambda x: torch.where(x < 2, math.inf, x), "infinite", "where?"),
    Mistake(lambda x: x.sum(dim=0, keepdim=True), "summed", "keep them"),
]


def told(value):
    with pytest.raises(Wrong) as stop:
        recognise(value, RIGHT, MISTAKES, lambda answer: answer(RIGHT), on="(Given 1 to 4.)")
    return stop.value.message


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.message)
def test_it_is_told_by_what_it_gives_and_on_what(mistake):
    assert told(mistake.answer(RIGHT)) == f"{mistake.message} (Given 1 to 4.)"


def test_a_result_of_a_wrong_shape_is_told_by_its_shape():
    assert told(torch.zeros(1)).startswith("summed")


@pytest.mark.parametrize(
    "value",
    [RIGHT, 3 * RIGHT, -RIGHT / 0, RIGHT * math.nan, torch.zeros(2, 2), 2 * RIGHT + 0j, None, 8.0],
    ids=["right", "another", "infinite", "NaN", "another shape", "complex", "None", "no tensor"],
)
def test_what_no_mistake_gives_is_left_to_the_checks_that_follow(value):
    recognise(value, RIGHT, MISTAKES, lambda answer: answer(RIGHT))
