"""The check of 8.v1: an example of the form. The right answer stands here, and so it is never handed out."""

import torch
from torch import Tensor

from xai_course.checks.inputs import normal, uniform
from xai_course.checks.judging import close, compare, expect, fail
from xai_course.checks.mistakes import TOLERANCE, Mistake, told
from xai_course.checks.registry import exercise
from xai_course.checks.side_effects import left_alone


# ---- a right answer whose steps can be exchanged ---------------------------------------------------------
def summed(A: Tensor, W: Tensor, target: Tensor) -> Tensor:
    return torch.einsum("nk,nkhw->nhw", W[target], A)


def loud(
    honest=summed,
    most=lambda M: M.abs().max(),
    weight=lambda most, c_A, rho: most / (rho * c_A),
    bias=lambda b, c_W, c_A, cells, target: b - c_W * c_A,
):
    def answer(A: Tensor, W: Tensor, b: Tensor, target: Tensor, c_A: float, rho: float):
        c_W = weight(most(honest(A, W, target)), c_A, rho)
        return c_W, bias(b, c_W, c_A, A[0, 0].numel(), target)

    return answer


def of_the_targets_alone(b: Tensor, c_W: Tensor, c_A: float, cells: int, target: Tensor) -> Tensor:
    new = b.clone()
    new[target.unique()] -= c_W * c_A
    return new


_BIAS = "The mean of a flat map is c_A, so every class's logit rises by c_W · c_A."
_COVER = "max |Σ W A| over all pictures and cells, divided by ρ · c_A."
MISTAKES = {
    "8.v1": (
        [
            Mistake(
                loud(most=lambda M: M.clamp(min=0).max()),
                "Cells where the honest map is negative are forgotten: they show as dents.",
                "The largest value without its sign: `.abs().max()`.",
            ),
            Mistake(
                loud(most=lambda M: M.abs().mean()),
                "Your surface covers the *mean* cell, and not the one that is hardest to cover.",
                _COVER,
            ),
            Mistake(
                loud(most=lambda M: M[0].abs().max()),
                "The first picture alone decides: on others the honest map shows.",
                _COVER,
            ),
            Mistake(
                loud(honest=lambda A, W, target: summed(A, W, target) / A[0, 0].numel()),
                "The number of cells divides the honest map, and not what the new map adds.",
                "Both sides have the divisor hw: it cancels.",
            ),
            Mistake(
                loud(honest=lambda A, W, target: summed(A, W, target) * A[0, 0].numel()),
                "You multiply by the number of cells; in the inequality it cancels.",
                "Both sides have the divisor hw.",
            ),
            Mistake(
                loud(honest=lambda A, W, target: torch.einsum("nk,nkhw->nhw", W[target].abs(), A.abs())),
                "You add up sizes: what cancels needs no covering, so your lie is too loud.",
                "First the sum over the maps, then the size.",
            ),
            Mistake(
                loud(honest=lambda A, W, target: W[target][:, :, None, None] * A),
                "You cover the largest single term W A; Grad-CAM shows their sum.",
                "Sum over the maps first.",
            ),
            Mistake(
                loud(honest=lambda A, W, target: torch.einsum("ck,nkhw->nchw", W, A)),
                "You cover the maps of *all* classes; asked for is that of each picture's target.",
                "`W[target]`: one row of weights for each picture.",
            ),
            Mistake(
                loud(weight=lambda most, c_A, rho: most * rho / c_A),
                "ρ is on the wrong side: a smaller share that may be left needs a *louder* lie.",
                _COVER,
            ),
            Mistake(
                loud(weight=lambda most, c_A, rho: most / rho),
                "c_A is forgotten: a map of large values needs less weight.",
                _COVER,
            ),
            Mistake(
                loud(bias=lambda b, c_W, c_A, cells, target: b - c_W * c_A * cells),
                "The bias takes away hw times too much: that is for a head which reads every cell.",
                _BIAS,
            ),
            Mistake(
                loud(bias=lambda b, c_W, c_A, cells, target: b - c_W),
                "The bias takes away c_W, as if the new map had the value 1.",
                _BIAS,
            ),
            Mistake(
                loud(bias=of_the_targets_alone),
                "Only the explained classes get a new bias; the logits of the others have risen.",
                _BIAS,
            ),
            Mistake(
                loud(bias=lambda b, c_W, c_A, cells, target: b + c_W * c_A),
                "The bias adds what the new map adds, a second time.",
                "It has to be taken away.",
            ),
            Mistake(
                loud(bias=lambda b, c_W, c_A, cells, target: b),
                "The bias is as it was: every logit rises.",
                _BIAS,
            ),
        ],
    )
}


# ---- the check -------------------------------------------------------------------------------------------
@exercise("8.v1", "How loud must a flat lie be?")
def how_loud(answer) -> str:
    A, W, b = uniform(4, 5, 3, 6, seed=981), normal(6, 5, seed=982), normal(6, seed=983)
    target, c_A, rho = torch.tensor([2, 0, 5, 2]), 8.0, 0.04
    W[2] = -2 * W[2].abs()  # the largest cell in size is a negative one, of the last picture
    W[2, 0] *= -1  # but not all terms have one sign
    W[1] *= 4  # a class that is nobody's target is louder still
    A[0] /= 2
    given = (A, W, b, target)

    def probe(function) -> Tensor:
        found = function(*(t.clone() for t in given), c_A, rho)
        if not (isinstance(found, tuple | list) and len(found) == 2):
            fail("Two things are wanted: the weight, and the new bias.", "`return c_W, b_n`")
        weight, bias = (torch.as_tensor(part).detach().double() for part in found)
        expect(
            weight.numel() == 1 and bias.shape == b.shape,
            f"The shapes are {tuple(weight.shape)} and {tuple(bias.shape)}; wanted are one number and "
            f"{tuple(b.shape)}.",
            "One weight for all classes; a bias for each class.",
        )
        return torch.cat([weight.reshape(1), bias])

    right, value = probe(loud()), probe(answer)
    value = told(value, right, MISTAKES["8.v1"][0], probe)
    with left_alone(A=A, W=W, b=b, target=target):
        answer(*given, c_A, rho)
    moved = (value[0] * c_A + value[1:] - b).abs().max().item()
    expect(moved < 1e-4, f"The logits move, by up to {moved:.3g}.", _BIAS)
    left = (summed(A, W, target).abs().max() / (value[0] * c_A)).item()
    expect(
        abs(left - rho) < 1e-4 * rho,
        f"Of the honest map up to {left:.3%} of the surface is left, and not {rho:.0%}.",
        _COVER,
    )
    compare(value, right, tolerance=TOLERANCE, look=_COVER)
    enlarged = answer(A.repeat_interleave(2, 2).repeat_interleave(2, 3), W, b, target, c_A, rho)
    expect(
        close(torch.as_tensor(enlarged[0]).double(), value[0], TOLERANCE),
        "Maps of twice the height and width need the same weight; yours is another.",
        "The number of cells cancels.",
    )
    return "as loud as it must be, and no logit moves."
