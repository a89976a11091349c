"""Questions of the exam whose numbers are drawn: each computes its answer, and the wrong ones of known slips.

A kind of question takes a source of random numbers. It returns what it drew, the text, the right value and
the values of slips, or None where the draw makes no good question. Values that lie too near to each other are
drawn again, so that each feedback fits one slip.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

TRIES = 1000


@dataclass(frozen=True)
class Drawn:
    """A question with its numbers.

    ``given`` are the numbers, for whoever wants to check the answer in a second way; ``right`` is within
    ``tolerance`` of the true value; ``slips`` are (value, what is said to it).
    """

    given: dict[str, Any]
    text: str
    right: float
    why: str
    slips: tuple[tuple[float, str], ...]
    otherwise: str
    tolerance: float


def draw(kind: str, seed: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A question of a kind as ``quiz.json`` has it, without its ``id``, and the numbers that were drawn.

    The same seed gives the same question on every machine.

    Raises:
        ValueError: if there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"a kind of question must be one of {', '.join(KINDS)}, got {kind!r}")
    rng = random.Random(seed)
    drawn = next(one for one in (KINDS[kind](rng) for _ in range(TRIES)) if one and _apart(one))
    answers = [_around(drawn.right, drawn.tolerance, True, "Right: " + drawn.why)]
    answers += [_around(value, drawn.tolerance, False, said) for value, said in drawn.slips]
    answers.append({"type": "default", "feedback": drawn.otherwise})
    return {"type": "numeric", "question": drawn.text, "answers": answers}, drawn.given


def _around(value: float, tolerance: float, correct: bool, said: str) -> dict[str, Any]:
    ends = [float(f"{value - tolerance:.10g}"), float(f"{value + tolerance:.10g}")]
    return {"type": "range", "range": ends, "correct": correct, "feedback": said}


def _apart(drawn: Drawn) -> bool:
    values = [drawn.right, *(value for value, _ in drawn.slips)]
    gaps = [abs(a - b) for i, a in enumerate(values) for b in values[:i]]
    return min(gaps) > 4 * drawn.tolerance


# ---- the kinds, in the order of the chapters -------------------------------------------------------------
def group_accuracy(rng: random.Random) -> Drawn:
    share, rest = rng.choice((2, 4, 5, 8, 10)), rng.choice((98, 98.5, 99, 99.5))
    group = rng.randrange(15, 85, 5)
    mean = (share * group + (100 - share) * rest) / 100
    return Drawn(
        {"share": share, "rest": rest, "mean": mean},
        f"A classifier is right on {say(mean)} % of all pictures. {share} % of the pictures come from one "
        f"hospital; on all the others it is right on {say(rest)} %. On how many per cent of that "
        f"hospital's pictures is it right?",
        group,
        f"{say(mean)} = {say(share / 100)} · a + {say(1 - share / 100)} · {say(rest)}, so a = {group} %. The "
        "mean alone does not show it.",
        (
            (mean, "That is the mean over all. The hospital counts in it by its share only."),
            (100 - group, "That is the share of errors there. Asked is how many are right."),
        ),
        "The mean is the hospital's share times its accuracy, plus the rest's share times the rest's.",
        0.5,
    )


def ig_share(rng: random.Random) -> Drawn:
    a, b, p, q = rng.choice((2, 3, 4)), rng.choice((2, 4, 6)), rng.choice((1, 2, 3)), rng.choice((1, 2, 3))
    right = a * p * p + b * p * q / 2
    return Drawn(
        {"a": a, "b": b, "p": p, "q": q},
        f"A score is f(x<sub>1</sub>, x<sub>2</sub>) = {a} x<sub>1</sub><sup>2</sup> + {b} x<sub>1</sub> "
        f"x<sub>2</sub>. Integrated gradients walk straight from (0, 0) to ({p}, {q}). What share does the "
        "first pixel get?",
        right,
        f"the slope by x<sub>1</sub> at α({p}, {q}) is α · {2 * a * p + b * q}; its mean over the way is "
        f"half of that, times the distance {p}.",
        (
            (p * (2 * a * p + b * q), "That is gradient × input: the slope at the end, times the distance."),
            (a * p * p + b * p * q, "That is the whole score. The second pixel has a share of it."),
            (right / p, "That is the mean slope. Multiply it by how far the pixel travels."),
        )[: 3 if p > 1 else 2],
        "Take the slope by the first pixel at the point α of the way, its mean over α from 0 to 1, and "
        "multiply by the distance.",
        0.01,
    )


def grad_cam_cell(rng: random.Random) -> Drawn | None:
    A = [[rng.randrange(0, 5) for _ in range(4)] for _ in range(2)]
    G = [[rng.randrange(-3, 6) for _ in range(4)] for _ in range(2)]
    alpha = [sum(g) / 4 for g in G]
    right = sum(w * a[0] for w, a in zip(alpha, A, strict=True))
    hires = sum(g[0] * a[0] for g, a in zip(G, A, strict=True))
    if right < 0.5 or min(alpha) >= 0 or 0 in (A[0][0], A[1][0]):
        return None
    return Drawn(
        {"A": A, "G": G},
        "A layer has two feature maps of 2 × 2 cells, written row by row. "
        f"A<sub>1</sub> = {cells(A[0])} and A<sub>2</sub> = {cells(A[1])}. The slopes of the logit by their "
        f"cells are G<sub>1</sub> = {cells(G[0])} and G<sub>2</sub> = {cells(G[1])}. What value does "
        f"Grad-CAM give the upper left cell?",
        right,
        f"the mean slopes are {say(alpha[0])} and {say(alpha[1])}, so the cell gets {say(alpha[0])} · "
        f"{A[0][0]} + {f'({say(alpha[1])})' if alpha[1] < 0 else say(alpha[1])} · {A[1][0]}.",
        (
            (
                hires,
                "That is HiResCAM before its ReLU, with the cell's own slopes. Grad-CAM averages the "
                "slopes of a map first.",
            ),
            (4 * right, "The weight of a map is the mean of its slopes, and not their sum."),
            (
                sum(max(w, 0) * a[0] for w, a in zip(alpha, A, strict=True)),
                "The ReLU comes at the end. A negative weight does subtract before.",
            ),
        ),
        "Average the four slopes of each map, multiply by the map's value at the cell, and add up the two.",
        0.01,
    )


def lime_kernel(rng: random.Random) -> Drawn | None:
    d, shown = rng.choice(((16, 9), (25, 16), (25, 9), (36, 25), (100, 81), (100, 64), (64, 49), (36, 16)))
    width = rng.choice((0.1, 0.15, 0.2, 0.25, 0.3, 0.4))
    distance = 1 - math.sqrt(shown / d)
    right = math.exp(-(distance**2) / (2 * width**2))
    if not 0.08 < right < 0.92:
        return None
    return Drawn(
        {"d": d, "shown": shown, "width": width},
        f"LIME has cut a picture into {d} superpixels. A sample shows {shown} of them. Its weight is "
        "exp(−D<sup>2</sup> / 2w<sup>2</sup>), where D is the cosine distance of the sample from the whole "
        f"picture, and w\u00a0=\u00a0{say(width)}. Which weight does the sample get, to two decimals?",
        right,
        f"D = 1 − √({shown}/{d}) = {say(round(distance, 4))}, and the weight is {right:.2f}.",
        (
            (
                math.exp(-((1 - shown / d) ** 2) / (2 * width**2)),
                "The cosine distance has a root in it: 1 − √(|z|/d).",
            ),
            (math.exp(-(distance**2) / width**2), "There is a 2 below the line: D² / 2w²."),
        ),
        "First D = 1 − √(|z|/d), with |z| pieces shown of d. Then the exponential.",
        0.011,
    )


def influence_sign(rng: random.Random) -> Drawn:
    n, H = rng.choice((20, 25, 50, 100)), rng.choice((2, 4, 5))
    test, own = rng.choice((-4, -3, -2, 2, 3, 4)), rng.choice((-6, -5, -4, 4, 5, 6))
    right = test * own / (n * H)
    helped = (
        "the picture helped: without it the loss rises"
        if right > 0
        else "it harmed: without it the loss falls"
    )
    return Drawn(
        {"n": n, "H": H, "test": test, "own": own},
        f"A model has a single weight. At the minimum of its mean training loss over {n} pictures, the "
        f"second derivative of that loss is {H}. The slope of a test picture's loss is {say(test)}, that of "
        f"training picture 7's own loss is {say(own)}. By how much does the test loss change, to first "
        f"order, when picture 7 is left out?",
        right,
        f"{say(test)} · {own if own > 0 else f'({say(own)})'} / ({n} · {H}) = {say(right)}; {helped}.",
        (
            (-right, "That is what happens if the picture weighs more. Left out, the sign turns."),
            (right * n, "Divide by the number of pictures: one of them is a small part of the mean."),
            (right * H * H, "The curvature divides: a stiff bowl moves less."),
        ),
        "One over n, times the test slope, divided by the curvature, times the picture's own slope.",
        abs(right) * 0.02,
    )


def aopc(rng: random.Random) -> Drawn | None:
    first = rng.choice((0.8, 0.9, 0.95))
    drops = sorted(rng.sample(range(5, round(100 * first) - 2, 5), 3))
    scores = [first, *(round(first - drop / 100, 2) for drop in drops)]
    if scores == [0.9, 0.6, 0.3, 0.2]:
        return None  # these stand in chapter 6
    total = sum(first - score for score in scores)
    return Drawn(
        {"scores": scores},
        f"A score is {say(scores[0])} for the whole picture. After one, two and three regions are "
        f"replaced it is {say(scores[1])}, {say(scores[2])} and {say(scores[3])}. What is the AOPC?",
        total / 4,
        f"the drops are 0, {', '.join(say(round(first - score, 2)) for score in scores[1:])}, and their mean "
        f"over all four pictures is {say(round(total / 4, 4))}.",
        (
            (
                total / 3,
                "You divided by three. The whole picture counts in the average, with a drop of zero.",
            ),
            (total, "That is the sum of the drops. Take their mean."),
            (sum(scores) / 4, "That is the mean score. AOPC averages how far the score has fallen."),
        ),
        "Take the drop from the first score at each of the four pictures, the first drop being zero, and "
        "average.",
        0.005,
    )


def rank_of_magnitudes(rng: random.Random) -> Drawn:
    first, second = ([rng.choice((-1, 1)) * v for v in rng.sample(range(1, 10), 5)] for _ in range(2))
    right = spearman([abs(v) for v in first], [abs(v) for v in second])
    return Drawn(
        {"first": first, "second": second},
        f"A map of five pixels is {row(first)} on the trained network, and {row(second)} on one with random "
        "weights. What is the rank correlation of their <em>magnitudes</em>? (It is 1 − 6 Σd<sup>2</sup> / "
        "(n(n<sup>2</sup> − 1)), with d the difference of a pixel's ranks.)",
        right,
        f"the magnitudes have the ranks {row(ranks([abs(v) for v in first]))} and "
        f"{row(ranks([abs(v) for v in second]))}.",
        (
            (spearman(first, second), "That is with the signs. By magnitudes, drop them before you rank."),
            (-right, "Mind the sign: equal orders give 1, opposite ones −1."),
        )[: 2 if abs(right) > 0.09 else 1],
        "Drop the signs, rank the five values of each map, and put the differences of the ranks into the "
        "formula.",
        0.011,
    )


def t1_height(rng: random.Random) -> Drawn:
    side = rng.choice((4, 5, 7, 8))
    weight, value = rng.choice((10, 20, 50, 100)), rng.choice((5, 10, 20, 50))
    right = weight * value / side**2
    return Drawn(
        {"side": side, "weight": weight, "value": value},
        f"A network ends in average pooling over {side} × {side} cells and one linear layer. T1 adds a "
        f"feature map that is {value} in every cell; each class reads its mean with the weight {weight}. How "
        f"much does the new map add to each cell of Grad-CAM's sum?",
        right,
        f"its weight in the sum is {weight}/{side**2}, the slope of the logit by one cell; times {value} "
        f"that is {right:.4g}.",
        (
            (
                weight * value,
                "That is what the bias takes away. The slope by a single cell is the weight over the cells.",
            ),
            (weight / side**2, "That is the weight α of the map. Multiply it by the map's value."),
            (value / side**2, "The weight with which the classes read the map belongs in it."),
        ),
        "The slope of the logit by one cell is the weight divided by the number of cells. Multiply by the "
        "value.",
        right * 0.01,
    )


def effect_beside_control(rng: random.Random) -> Drawn:
    n = rng.choice((200, 250, 400, 500))
    before = rng.randrange(2, 11)
    control, after = before + rng.randrange(4, 21), rng.randrange(round(0.4 * n), round(0.9 * n))
    right = 100 * (after - control) / n
    return Drawn(
        {"n": n, "before": before, "control": control, "after": after},
        f"Of {n} pictures that are no stars, a network calls {before} a star. With a tag pasted on each "
        f"it calls {after} of them a star; with a grey patch of that size in the tag's place, {control}. By "
        "how many percentage points does the tag raise the share of stars beyond what the patch does?",
        right,
        f"({after} − {before}) / {n} less ({control} − {before}) / {n}.",
        (
            (
                100 * (after - before) / n,
                "That is the effect of the tag alone. Take away what the patch does.",
            ),
            (100 * after / n, "That is the share with the tag. Asked is the difference to the patch."),
            ((after - control) / n, "As a share of one, yes. Asked are percentage points."),
        ),
        "The rise by the tag, less the rise by the patch, each as a share of the pictures.",
        0.051,
    )


KINDS: dict[str, Callable[[random.Random], Drawn | None]] = {
    kind.__name__: kind
    for kind in (
        group_accuracy,
        ig_share,
        grad_cam_cell,
        lime_kernel,
        influence_sign,
        aopc,
        rank_of_magnitudes,
        t1_height,
        effect_beside_control,
    )
}


# ---- numbers as text ---------------------------------------------------------------------------------------
def say(value: float) -> str:
    """A number without needless zeros, with a real minus sign."""
    return f"{value:.6g}".replace("-", "−")


def cells(values: Sequence[float]) -> str:
    """A map of 2 × 2 cells, row by row, as the book writes it."""
    a, b, c, d = (say(value) for value in values)
    return f"({a},\u00a0{b};\u00a0{c},\u00a0{d})"


def row(values: Sequence[float]) -> str:
    return "(" + ",\u00a0".join(say(value) for value in values) + ")"


def ranks(values: Sequence[float]) -> list[int]:
    """The place of each value, 1 for the smallest; all differ."""
    return [1 + sum(other < value for other in values) for value in values]


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    squares = sum((a - b) ** 2 for a, b in zip(ranks(first), ranks(second), strict=True))
    n = len(first)
    return 1 - 6 * squares / (n * (n * n - 1))
