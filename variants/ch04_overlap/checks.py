"""The check of 4.v1: an example of the form. The right answer stands here, and so it is never handed out."""

import torch
from torch import Tensor

from xai_course.checks.inputs import normal, uniform
from xai_course.checks.judging import close, compare, expect
from xai_course.checks.mistakes import TOLERANCE, Mistake, told
from xai_course.checks.registry import exercise
from xai_course.checks.side_effects import left_alone


# ---- a right answer whose steps can be exchanged ---------------------------------------------------------
def whole_windows(length: int, window: int, stride: int) -> range:
    return range(0, length - window + 1, stride)


def overlapping(
    starts=whole_windows,
    drop=lambda whole, hidden: whole - hidden,
    write=lambda total, place, drop: total[place].add_(drop),
    end=lambda total, times: total / times.clamp(min=1),
    afresh=True,
    filled=lambda x, fill, place: fill[place],
    turned=False,
):
    def answer(score, x: Tensor, window: int, stride: int, fill: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        total, times = x.new_zeros(height, width), x.new_zeros(height, width)
        whole, hidden = score(x)[0], x.clone()
        for i in starts(height, window, stride):
            for j in starts(width, window, stride):
                place = (..., slice(i, i + window), slice(j, j + window))
                hidden = x.clone() if afresh else hidden
                hidden[place] = filled(x, fill, place)
                write(total, place, drop(whole, score(hidden)[0]))
                times[place] += 1
        return end(total, times)

    return answer


def assign(total: Tensor, place, drop: Tensor) -> None:
    total[place] = drop


def to_the_centre(total: Tensor, place, drop: Tensor) -> None:
    rows, columns = place[1], place[2]
    total[(rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2] += drop


_MEAN = "At each pixel: the sum of the drops, over how many windows covered *that* pixel."
MISTAKES = {
    "4.v1": (
        [
            Mistake(
                overlapping(end=lambda total, times: total),
                "The drops are added up: a pixel in the middle is hot because it was covered more often.",
                _MEAN,
            ),
            Mistake(
                overlapping(write=assign, end=lambda total, times: total),
                "Each window writes over what the one before has written: the last one wins.",
                "Add to what is there: `total[…] += drop`.",
            ),
            Mistake(
                overlapping(end=lambda total, times: total / times.max()),
                "You divide by the same number everywhere; at the edge a pixel is covered less often.",
                _MEAN,
            ),
            Mistake(
                overlapping(end=lambda total, times: total / times),
                "A pixel that no window covers is NaN; it should be 0.",
                "`times.clamp(min=1)`: 0 divided by 1.",
            ),
            Mistake(
                overlapping(drop=lambda whole, hidden: hidden - whole),
                "The sign is turned round: hiding what matters *lowers* the score, and the drop is positive.",
                "The whole picture's score less that of the hidden one.",
            ),
            Mistake(
                overlapping(drop=lambda whole, hidden: hidden),
                "You write the score of the hidden picture, and not how far it dropped.",
                "The whole picture's score less that of the hidden one.",
            ),
            Mistake(
                overlapping(afresh=False),
                "The windows stay hidden: each picture has one window more than the one before.",
                "Begin each round with a fresh copy of `x`.",
            ),
            Mistake(
                overlapping(starts=lambda length, window, stride: range(0, length - window, stride)),
                "The last window that fits is left out.",
                "`range` leaves out its end: `H - window + 1`.",
            ),
            Mistake(
                overlapping(starts=lambda length, window, stride: range(0, length, stride)),
                "Windows that stick out of the picture are used, too.",
                "Only those that fit whole: they begin at `H - window` at the latest.",
            ),
            Mistake(
                overlapping(starts=lambda length, window, stride: range(0, length - window + 1, window)),
                "Your windows stand side by side: `stride` is not used.",
                "They begin `stride` pixels apart.",
            ),
            Mistake(
                overlapping(filled=lambda x, fill, place: 0.0),
                "What is hidden is black; the exercise gives a `fill`.",
                "The window of `fill` at the same place.",
            ),
            Mistake(
                overlapping(write=to_the_centre, end=lambda total, times: total),
                "The drop is written into the middle of the window alone.",
                "Into every pixel of the window.",
            ),
        ],
    )
}


# ---- the check -------------------------------------------------------------------------------------------
@exercise("4.v1", "Windows that overlap")
def windows_that_overlap(answer) -> str:
    x, fill, weights = uniform(1, 2, 9, 8, seed=941), uniform(1, 2, 9, 8, seed=942), normal(2, 9, 8, seed=943)

    def score(images: Tensor) -> Tensor:
        return ((images * weights).sum((1, 2, 3)) / 3).tanh()

    def probe(function) -> Tensor:
        return function(score, x.clone(), 3, 2, fill.clone())

    right = probe(overlapping())
    value = told(probe(answer), right, MISTAKES["4.v1"][0], probe)
    with left_alone(x=x, fill=fill):
        answer(score, x, 3, 2, fill)
    nothing = answer(score, x, 3, 2, x.clone())
    expect(
        close(nothing, torch.zeros(9, 8), 1e-9) or bool(nothing.abs().max() < 1e-9),
        "Where hiding changes nothing (the fill is the picture itself), the map is not 0.",
        "The drop is measured against the picture that you are given.",
    )
    alone = answer(score, x, 3, 3, fill)
    expect(
        close(alone, overlapping()(score, x, 3, 3, fill), TOLERANCE),
        "With windows side by side (stride 3, window 3) the map is not that of plain occlusion.",
        _MEAN,
    )
    compare(value, right, tolerance=TOLERANCE, look=_MEAN)
    return "each pixel has the mean drop of the windows that cover it."
