"""The check of 7.v1: an example of the form. The right answer stands here, and so it is never handed out."""

import torch
from torch import Tensor

from xai_course.checks.inputs import normal
from xai_course.checks.judging import close, compare, expect
from xai_course.checks.mistakes import TOLERANCE, Mistake, told
from xai_course.checks.registry import exercise
from xai_course.checks.side_effects import left_alone


# ---- a right answer whose steps can be exchanged ---------------------------------------------------------
def share_of_each(e: Tensor, e_near: Tensor, floor: float) -> Tensor:
    return ((e - e_near) / e.abs().clamp(min=floor)).flatten(2).norm(dim=2)


def length(h: Tensor, h_near: Tensor, floor: float) -> Tensor:
    return (h - h_near).norm(dim=2).clamp(min=floor)


def agree(h: Tensor, h_near: Tensor) -> Tensor:
    return h_near.argmax(dim=2) == h.argmax(dim=1)


def stability(
    moved=share_of_each,
    answered=length,
    same=agree,
    end=lambda moved, answered, same: (moved / answered).where(same, 0).amax(dim=0),
):
    def answer(e: Tensor, e_near: Tensor, h: Tensor, h_near: Tensor, floor: float) -> Tensor:
        return end(moved(e, e_near, floor), answered(h, h_near, floor), same(h, h_near))

    return answer


def of_the_whole_map(e: Tensor, e_near: Tensor, floor: float) -> Tensor:
    return (e - e_near).flatten(2).norm(dim=2) / e.flatten(1).norm(dim=1).clamp(min=floor)


def of_the_near_map(e: Tensor, e_near: Tensor, floor: float) -> Tensor:
    return ((e - e_near) / e_near.abs().clamp(min=floor)).flatten(2).norm(dim=2)


def floor_added(e: Tensor, e_near: Tensor, floor: float) -> Tensor:
    return ((e - e_near) / (e.abs() + floor)).flatten(2).norm(dim=2)


def of_probabilities(h: Tensor, h_near: Tensor, floor: float) -> Tensor:
    return length(h.softmax(-1), h_near.softmax(-1), floor)


def each_by_its_own_largest(moved: Tensor, answered: Tensor, same: Tensor) -> Tensor:
    return moved.where(same, 0).amax(dim=0) / answered.where(same, 0).amax(dim=0).clamp(min=1e-30)


def mean_of_the_same(moved: Tensor, answered: Tensor, same: Tensor) -> Tensor:
    return (moved / answered).where(same, 0).sum(0) / same.sum(0).clamp(min=1)


MISTAKES = {
    "7.v1": (
        [
            Mistake(
                stability(same=lambda h, h_near: torch.ones_like(agree(h, h_near))),
                "Near pictures that get *another* class are counted: there the map should change.",
                "Only where `h_near.argmax(dim=2) == h.argmax(dim=1)`.",
            ),
            Mistake(
                stability(same=lambda h, h_near: ~agree(h, h_near)),
                "You count the near pictures that get another class, and leave out the others.",
                "Those with the *same* class.",
            ),
            Mistake(
                stability(moved=of_the_whole_map),
                "The map's change is divided by the length of the whole map; each pixel has its own divisor.",
                "Divide first, pixel by pixel; then the length.",
            ),
            Mistake(
                stability(moved=of_the_near_map),
                "You divide by the *near* map: a change is a share of what was there before.",
                "|e|, the map of the picture itself.",
            ),
            Mistake(
                stability(moved=floor_added),
                "The floor is added to every divisor; it is only to keep small ones from falling below.",
                "`.clamp(min=floor)`.",
            ),
            Mistake(
                stability(moved=lambda e, e_near, floor: share_of_each(e, e_near, floor).square()),
                "The length of the map's change is squared.",
                "The root of the sum of squares: `.norm(dim=2)`.",
            ),
            Mistake(
                stability(
                    moved=lambda e, n, floor: ((e - n) / e.abs().clamp(min=floor)).flatten(2).abs().sum(dim=2)
                ),
                "You add up absolute changes; the length is the root of the sum of squares.",
                "`.norm(dim=2)`.",
            ),
            Mistake(
                stability(answered=of_probabilities),
                "You compare with the change of the *probabilities*.",
                "h are logits as they are: no softmax.",
            ),
            Mistake(
                stability(answered=lambda h, h_near, floor: torch.ones(h_near.shape[:2]).double()),
                "What the network's answer did plays no part.",
                "Divide by the length of the logits' change.",
            ),
            Mistake(
                stability(end=each_by_its_own_largest),
                "The largest change of the map and the largest of the logits are of different near pictures.",
                "A ratio for each near picture; then the largest.",
            ),
            Mistake(
                stability(end=mean_of_the_same),
                "You take the mean over the near pictures: one that breaks the map is lost among the others.",
                "The largest: `.amax(dim=0)`.",
            ),
            Mistake(
                stability(end=lambda m, a, same: (m / a).where(same, 0).amax(dim=0).max().expand(m.shape[1])),
                "All pictures get the same number: the largest was taken over them, too.",
                "Over the near pictures alone, the first dimension.",
            ),
            Mistake(
                stability(end=lambda m, a, same: (m / a).where(same, -torch.inf).amax(dim=0)),
                "A picture none of whose near ones has its class gets minus infinity.",
                "The statement says what it gets: 0.",
            ),
        ],
    )
}


# ---- the check -------------------------------------------------------------------------------------------
@exercise("7.v1", "Does the map move more than the answer?")
def more_than_the_answer(answer) -> str:
    e, h = normal(5, 3, 4, seed=971), normal(5, 4, seed=972)
    e_near = e + 0.3 * normal(6, 5, 3, 4, seed=973)
    h_near = h + 0.8 * normal(6, 5, 4, seed=974)
    h_near[:, 4] = -h[4]  # no near picture gets the class of this one
    h_near[0, 1] = h[1]  # the same logits: the floor is needed
    e[2, 0, 0] = 0.0
    given = (e, e_near, h, h_near)

    def probe(function) -> Tensor:
        return function(*(t.clone() for t in given), 0.05)

    right = probe(stability())
    value = told(probe(answer), right, MISTAKES["7.v1"][0], probe)
    with left_alone(e=e, e_near=e_near, h=h, h_near=h_near):
        answer(*given, 0.05)
    some = e.where(e != 0, 1.0)
    expect(
        close(
            answer(3 * some, 3 * e_near, h, h_near, 1e-9), answer(some, e_near, h, h_near, 1e-9), TOLERANCE
        ),
        "All maps times 3, and the result is another one.",
        "A pixel's change is a share of its own size: the factor cancels.",
    )
    compare(
        value,
        right,
        tolerance=TOLERANCE,
        look="The ratio for each near picture of the same class; the largest.",
    )
    return "a map may move, as long as the answer moves more."
