"""The check of 6.v1: an example of the form. The right answer stands here, and so it is never handed out."""

import torch
from torch import Tensor

from xai_course.checks.inputs import normal
from xai_course.checks.judging import close, compare, expect
from xai_course.checks.mistakes import TOLERANCE, Mistake, told
from xai_course.checks.registry import exercise
from xai_course.checks.side_effects import left_alone


# ---- a right answer whose steps can be exchanged ---------------------------------------------------------
def gini(
    size=torch.abs,
    order=lambda v: v.sort(dim=1).values,
    weights=lambda n: 2 * torch.arange(1, n + 1).double() - n - 1,
    total=lambda v: v.shape[1] * v.sum(dim=1),
    least=1e-30,
):
    def answer(heatmaps: Tensor) -> Tensor:
        v = order(size(heatmaps).flatten(1))
        below = total(v)
        return (v * weights(v.shape[1])).sum(dim=1) / (below.clamp(min=least) if least else below)

    return answer


def row_by_row(heatmaps: Tensor) -> Tensor:
    n, rows = len(heatmaps), heatmaps.flatten(0, 1)
    return gini()(rows[:, None]).view(n, -1).mean(1)


def of_the_batch(heatmaps: Tensor) -> Tensor:
    return gini()(heatmaps.reshape(1, -1, 1)).expand(len(heatmaps))


_SORT = "Each map by itself, its absolute values from small to large."
_WEIGHTS = "2k − n − 1, with k from 1 to n: from −(n − 1) to n − 1, and 0 in the middle."
MISTAKES = {
    "6.v1": (
        [
            Mistake(
                gini(order=lambda v: v.sort(dim=1, descending=True).values),
                "The values are sorted from large to small: your index is negative.",
                _SORT,
            ),
            Mistake(
                gini(order=lambda v: v),
                "The values are not sorted: your index depends on where the heat is.",
                _SORT,
            ),
            Mistake(
                gini(size=lambda maps: maps),
                "The signs are still there: positive and negative heat cancel in the total.",
                _SORT,
            ),
            Mistake(
                gini(size=lambda maps: maps.clamp(min=0)),
                "Negative heat is thrown away; its size counts as well.",
                "`.abs()`, not a ReLU.",
            ),
            Mistake(
                gini(size=torch.square),
                "The values are squared: that makes every map look more concentrated.",
                "Sizes: `.abs()`.",
            ),
            Mistake(
                gini(weights=lambda n: 2 * torch.arange(n).double() - n - 1),
                "k counts from 0: every weight is 2 too small.",
                _WEIGHTS,
            ),
            Mistake(
                gini(weights=lambda n: 2 * torch.arange(1, n + 1).double() - n),
                "The weights are 2k − n: they do not add up to 0, and an even map gets more than 0.",
                _WEIGHTS,
            ),
            Mistake(
                gini(total=lambda v: v.sum(dim=1)),
                "The number of pixels is missing below the line: the index goes far beyond 1.",
                "n times the total.",
            ),
            Mistake(
                gini(total=lambda v: (v.shape[1] - 1) * v.sum(dim=1)),
                "You divide by n − 1: one lone pixel gets 1. Statisticians do so, too; here n is asked for.",
                "n times the total.",
            ),
            Mistake(
                gini(least=None),
                "A map that is 0 everywhere gives NaN.",
                "The statement says what it gets: 0.",
            ),
            Mistake(
                of_the_batch,
                "All maps get the same index: you sort the whole batch together.",
                _SORT,
            ),
            Mistake(
                row_by_row,
                "You take the index of each row, and then a mean: rows differ in how much they hold.",
                "All pixels of a map in one list: `.flatten(1)`.",
            ),
        ],
    )
}


# ---- the check -------------------------------------------------------------------------------------------
@exercise("6.v1", "How concentrated is a map?")
def how_concentrated(answer) -> str:
    maps = normal(5, 4, 6, seed=961)
    maps[3] = 0
    maps[4] = 0.5  # even

    def probe(function) -> Tensor:
        return function(maps.clone())

    right = probe(gini())
    value = told(probe(answer), right, MISTAKES["6.v1"][0], probe)
    with left_alone(heatmaps=maps):
        answer(maps)
    lone = torch.zeros(2, 3, 3).double()
    lone[0, 1, 2], lone[1, 0, 0] = 4, -1
    expect(
        close(answer(lone), torch.full((2,), 8 / 9).double(), TOLERANCE),
        "One pixel of nine that has everything should give 1 − 1/9.",
        "The last weight is n − 1, below the line stands n times its value.",
    )
    expect(
        close(answer(1000 * maps), value, TOLERANCE),
        "A map times 1000 gets another index.",
        "Above and below the line stands the same factor.",
    )
    compare(value, right, tolerance=TOLERANCE, look="Σ (2k − n − 1) v_k over n Σ v_k.")
    return "even is 0, one pixel nearly 1, whatever the scale and the sign."
