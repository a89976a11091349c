"""The check of 1.v1: an example of the form. The right answer stands here, and so it is never handed out."""

import torch
from torch import Tensor

from xai_course.checks.inputs import normal
from xai_course.checks.judging import close, compare, expect, fail
from xai_course.checks.mistakes import TOLERANCE, Mistake, told
from xai_course.checks.registry import exercise
from xai_course.checks.side_effects import left_alone


# ---- a right answer whose steps can be exchanged ---------------------------------------------------------
def runner_up(logits: Tensor, target: Tensor) -> Tensor:
    return logits.scatter(1, target[:, None], -torch.inf).argmax(dim=1)


def rather_than(rival=runner_up, weights=lambda own, other: own - other, end=lambda w, x: w * x):
    def answer(W: Tensor, b: Tensor, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        other = rival(x @ W.T + b, target)
        return end(weights(W[target], W[other]), x), weights(b[target], b[other])

    return answer


def against_the_rest(W, b, x, target):
    k = len(W)
    rest, bias = (W.sum(0) - W[target]) / (k - 1), (b.sum() - b[target]) / (k - 1)
    return (W[target] - rest) * x, b[target] - bias


def bias_spread(W, b, x, target):
    shares, decided = rather_than()(W, b, x, target)
    return shares + decided[:, None] / x.shape[1], decided


_OF_ITS_OWN = "Of each input's logits, leave out that of its target, then take the largest."
MISTAKES = {
    "1.v1": (
        [
            Mistake(
                rather_than(weights=lambda own, other: own),
                "You explain “why c?” alone: one vector added to every class changes your shares.",
                "Name the alternative: the runner-up's weights are taken away, and its bias too.",
            ),
            Mistake(
                against_the_rest,
                "You compare with the mean of all other classes: that is “why c rather than anything?”.",
                "The alternative is one class, the runner-up of each input.",
            ),
            Mistake(
                rather_than(rival=lambda logits, target: logits.argmax(1)),
                "Where the target is the class that wins, you compare it with itself, and everything is 0.",
                _OF_ITS_OWN,
            ),
            Mistake(
                rather_than(rival=lambda logits, target: logits.topk(2).indices[:, 1]),
                "The runner-up is taken to be second of *all*: wrong as soon as the target does not win.",
                _OF_ITS_OWN,
            ),
            Mistake(
                rather_than(
                    rival=lambda logits, target: runner_up(logits, target)[:1].expand(len(target)),
                ),
                "Every input is compared with the runner-up of the *first* one.",
                "The runner-up is a class for each input: `argmax(dim=1)`, (N,).",
            ),
            Mistake(
                rather_than(weights=lambda own, other: other - own),
                "The signs are turned round: your shares add up to the runner-up's lead over the target.",
                "The target's weights first, then those of the runner-up.",
            ),
            Mistake(
                rather_than(end=lambda w, x: w.expand(x.shape)),
                "These are differences of weights. What the input has to do with it is missing.",
                "Times the input, measurement by measurement.",
            ),
            Mistake(
                bias_spread,
                "You spread the biases over the measurements: they belong to none of them.",
                "The part of the biases is the second tensor, and stands apart.",
            ),
        ],
    )
}


# ---- the check -------------------------------------------------------------------------------------------
@exercise("1.v1", "Rather than what?")
def rather_than_what(answer) -> str:
    W, b, x = normal(5, 7, seed=911), normal(5, seed=912), normal(6, 7, seed=913)
    order = (x @ W.T + b).argsort(dim=1, descending=True)
    target = torch.cat([order[:3, 0], order[3:5, 2], order[5:, 4]])  # some win, some do not

    def probe(function) -> Tensor:
        found = function(W.clone(), b.clone(), x.clone(), target.clone())
        if not (isinstance(found, tuple | list) and len(found) == 2):
            fail(
                "Two tensors are wanted: the shares, and the part of the biases.", "`return shares, decided`"
            )
        shares, decided = (torch.as_tensor(part).double() for part in found)
        expect(
            shares.shape == x.shape and decided.shape == target.shape,
            f"The shapes are {tuple(shares.shape)} and {tuple(decided.shape)}; wanted are "
            f"{tuple(x.shape)} and {tuple(target.shape)}.",
            "One share for each measurement of each input; one number for each input.",
        )
        return torch.cat([shares, decided[:, None]], 1)

    right, value = probe(rather_than()), probe(answer)
    value = told(value, right, MISTAKES["1.v1"][0], probe)
    with left_alone(W=W, b=b, x=x, target=target):
        answer(W, b, x, target)
    moved = answer(W + normal(7, seed=914), b + 3, x, target)
    expect(
        close(moved[0], value[:, :-1], TOLERANCE),
        "One vector added to every class changes your shares; it changes no probability.",
        "What is common to all classes cancels in a difference of two.",
    )
    compare(value, right, tolerance=TOLERANCE, look="(W_c − W_d) x, and b_c − b_d, with each input's own d.")
    return "each input has its own alternative, and what all classes share plays no part."
