"""The mistakes of chapter 9, each as the answer that makes it.

For every exercise: a right answer any of whose steps can be exchanged, and the exchanges that people make.
``MISTAKES`` holds, for each exercise, one list for each of its functions.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .mistakes import Mistake

Answer = Callable[..., Any]


# ---- 9.1 ---------------------------------------------------------------------------------------------------
def _share(right: Tensor, chosen: Tensor) -> Tensor:
    """Accuracy of the chosen images, one right and one wrong image counted in addition."""
    return (right[chosen].double().sum() + 1) / (chosen.sum() + 2)


def _plain_share(right: Tensor, chosen: Tensor) -> Tensor:
    return right[chosen].double().mean()


def _of_class(labels: Tensor, c: int) -> Tensor:
    return labels == c


def _two_errors(a: Tensor, n: Tensor, b: Tensor, m: Tensor) -> Tensor:
    return 2 * (a * (1 - a) / (n + 2) + b * (1 - b) / (m + 2)).sqrt()


def class_gaps(
    share: Answer = _share,
    within: Answer = _of_class,
    gap: Answer = lambda a, b: a - b,
    margin: Answer = _two_errors,
) -> Answer:
    """An answer to 9.1 with one step exchanged."""

    def answer(right: Tensor, labels: Tensor, has: Tensor, n_classes: int) -> Tensor:
        rows = []
        for c in range(n_classes):
            own = within(labels, c)
            a, b = share(right, own & has), share(right, own & ~has)
            rows.append(torch.stack([gap(a, b), margin(a, (own & has).sum(), b, (own & ~has).sum())]))
        return torch.stack(rows)

    return answer


_ADDED = (
    "Before anything else, count one right and one wrong image more in each group: (right + 1) / (n + 2)."
)
CLASS_GAPS = [
    Mistake(
        class_gaps(share=_plain_share),
        "The shares are the plain ones, and a group without a mistake gets a margin that is too small.",
        _ADDED,
    ),
    Mistake(
        class_gaps(gap=lambda a, b: b - a),
        "The sign is turned round: your gap is *without* the mark less *with* it.",
        "Gap = accuracy of those that have it, less accuracy of those that don't.",
    ),
    Mistake(
        class_gaps(gap=lambda a, b: (a - b).abs()),
        "Your gaps have lost their sign; it says whether the mark helps or harms.",
        "No `abs` here; it comes in 9.2.",
    ),
    Mistake(
        class_gaps(within=lambda labels, c: torch.ones_like(labels, dtype=torch.bool)),
        "All classes get the gap of the whole album: a shortcut of one class in eight is thinned out in it.",
        "Choose the images of class c first: `labels == c`.",
    ),
    Mistake(
        class_gaps(margin=lambda *given: _two_errors(*given) / 2),
        "The margin is *one* standard error; two are asked for.",
        "2 · √(variance of one share + variance of the other).",
    ),
    Mistake(
        class_gaps(margin=lambda *given: _two_errors(*given).square() / 4),
        "The margin is the variance: the root is missing.",
        "2 · √(variance of one share + variance of the other).",
    ),
    Mistake(
        class_gaps(
            margin=lambda a, n, b, m: 2 * ((a * (1 - a) / (n + 2)).sqrt() + (b * (1 - b) / (m + 2)).sqrt())
        ),
        "The two standard errors were added; independent errors add as squares.",
        "Add the variances, then take the root.",
    ),
    Mistake(
        class_gaps(margin=lambda a, n, b, m: 2 * (a * (1 - a) / (n + 2)).sqrt()),
        "The margin knows only the images that have the mark. The other group's share is uncertain too.",
        "Add the variances of both shares, then take the root.",
    ),
    Mistake(
        class_gaps(margin=lambda a, n, b, m: 2 * (a * (1 - a) + b * (1 - b)).sqrt()),
        "The margin does not shrink with the number of images.",
        "The variance of a share a of n images is a (1 − a) / n.",
    ),
]


# ---- 9.2 ---------------------------------------------------------------------------------------------------
def _dealt(cues: Tensor, shuffle: Tensor) -> Tensor:
    return cues[shuffle]


def _gaps(right: Tensor, labels: Tensor, cues: Tensor) -> Tensor:
    """Accuracy with each mark less accuracy without it, in each class: (classes, marks)."""
    rows = []
    for c in labels.unique():
        own = labels == c
        hits = right[own].double()
        rows.append(torch.stack([hits[h].mean() - hits[~h].mean() for h in cues[own].T]))
    return torch.stack(rows)


def by_chance(
    deal: Answer = _dealt, gaps: Answer = _gaps, largest: Answer = lambda gaps: gaps.abs().max()
) -> Answer:
    """An answer to 9.2 with one step exchanged."""

    def answer(right: Tensor, labels: Tensor, cues: Tensor, shuffles: Tensor) -> Tensor:
        return torch.stack([largest(gaps(right, labels, deal(cues, shuffle))) for shuffle in shuffles])

    return answer


def shuffled_answers(right: Tensor, labels: Tensor, cues: Tensor, shuffles: Tensor) -> Tensor:
    """Also right: the answers are dealt out anew in place of the marks."""
    return torch.stack([_gaps(right[shuffle], labels, cues).abs().max() for shuffle in shuffles])


def _whole_album(right: Tensor, labels: Tensor, cues: Tensor) -> Tensor:
    return _gaps(right, torch.zeros_like(labels), cues)


BY_CHANCE = [
    Mistake(
        by_chance(deal=lambda cues, shuffle: cues),
        "Every shuffle gives the same number: the marks were not dealt out anew.",
        "`cues[shuffle]` for each row of `shuffles`.",
    ),
    Mistake(
        by_chance(largest=lambda gaps: gaps.max()),
        "Only gaps in one direction were looked at, and you would be alarmed by either.",
        "The largest *magnitude*: `.abs().max()`.",
    ),
    Mistake(
        by_chance(largest=lambda gaps: gaps.abs().mean()),
        "Your number is the mean gap. You will be alarmed by the largest of all that you look at.",
        "The maximum over classes and marks, within each shuffle.",
    ),
    Mistake(
        by_chance(largest=lambda gaps: gaps.abs()[0].max()),
        "Only the first class was looked at. You look at all of them, so chance may, too.",
        "The maximum over classes *and* marks.",
    ),
    Mistake(
        by_chance(largest=lambda gaps: gaps.abs()[:, 0].max()),
        "Only the first mark was looked at. You look at all of them, so chance may, too.",
        "The maximum over classes *and* marks.",
    ),
    Mistake(
        by_chance(gaps=_whole_album),
        "The gap was taken over the whole album; a class's own gap varies much more.",
        "Class by class, as in 9.1, then the largest of all.",
    ),
]


# ---- 9.3 ---------------------------------------------------------------------------------------------------
def _own(values: Tensor, labels: Tensor, c: int) -> Tensor:
    return values[labels == c].double()


def _with_two_pairs(change: Tensor) -> Tensor:
    """The changes, with one gain and one loss counted in addition."""
    return torch.cat([change, change.new_tensor([1.0, -1.0])])


def _paired(p: Tensor, q: Tensor) -> Tensor:
    change = _with_two_pairs(q - p)
    return 2 * change.std(correction=0) / len(change) ** 0.5


def _apart(p: Tensor, q: Tensor) -> Tensor:
    """As if other scenes had been used after the change than before it."""
    n, a, b = len(p) + 2, (p.sum() + 1) / (len(p) + 2), (q.sum() + 1) / (len(q) + 2)
    return 2 * (a * (1 - a) / n + b * (1 - b) / n).sqrt()


def taken_away(own: Answer = _own, margin: Answer = _paired, order: Answer = lambda p, q: (p, q)) -> Answer:
    """An answer to 9.3 with one step exchanged."""

    def answer(before: Tensor, after: Tensor, labels: Tensor, c: int) -> Tensor:
        p, q = own(before, labels, c), own(after, labels, c)
        first, second = order(p.mean(), q.mean())
        return torch.stack([first, second, margin(p, q)])

    return answer


_PAIRS = "d = after − before, image by image; with a +1 and a −1 more; then 2 · std(d) / √len(d)."
TAKEN_AWAY = [
    Mistake(
        taken_away(margin=_apart),
        "The margin is that of two *different* sets of scenes. These are the same ones, before and after: "
        "what makes a scene hard counts twice and cancels.",
        _PAIRS,
    ),
    Mistake(
        taken_away(own=lambda values, labels, c: values.double()),
        "p and q are those of the whole album; the claim is about class c.",
        "`before[labels == c]`.",
    ),
    Mistake(
        taken_away(order=lambda p, q: (q, p)),
        "p and q have changed places: p is before, q after.",
        "Return p, q, margin in this order.",
    ),
    Mistake(
        taken_away(margin=lambda p, q: _paired(p, q) / 2),
        "The margin is *one* standard error; two are asked for.",
        _PAIRS,
    ),
    Mistake(
        taken_away(margin=lambda p, q: 2 * (q - p).std(correction=0) / len(p) ** 0.5),
        "The two imagined pairs are missing: where no answer changes, your margin is 0, as if you were sure.",
        "Put a +1 and a −1 more into the changes before you take their spread.",
    ),
    Mistake(
        taken_away(margin=lambda p, q: 2 * _with_two_pairs(q - p).std(correction=0)),
        "The margin is the spread of a single image's change; it must shrink with the number of images.",
        "Divide by √len(d).",
    ),
    Mistake(
        taken_away(margin=lambda p, q: 2 * _with_two_pairs(q - p).std(correction=0) / (len(p) + 2)),
        "You divide by the number of images; a standard error goes down with its root.",
        "Divide by √len(d).",
    ),
]

MISTAKES = {"9.1": [CLASS_GAPS], "9.2": [BY_CHANCE], "9.3": [TAKEN_AWAY]}
