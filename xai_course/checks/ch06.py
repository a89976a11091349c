"""Checks of chapter 6, evaluation: small maps, marks, curves and tables whose scores are known exactly.

What people get wrong stands in ``ch06_mistakes.py``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..instruments import Networks
from .ch06_mistakes import (
    AOPC,
    AREA,
    CONTROL,
    DELETION_CURVE,
    LEAKAGE,
    MEAN_ENERGY,
    POINTING,
    ROAR,
    aopc,
    area,
    control,
    mean_energy,
    roar,
)
from .inputs import normal, uniform
from .judging import close, compare, double, expect, fail, numbers, refuses, tensor
from .mistakes import TOLERANCE, recognise, told
from .reader import Reader
from .registry import exercise
from .side_effects import detached, left_alone
from .verdicts import Wrong


def _one(value: Any) -> float:
    return numbers(value, 1, "Your function")[0]


def _several(values: Sequence[Any]) -> Tensor:
    """Single numbers as a float64 vector; NaN stays, for the mistakes that give it."""
    single = []
    for value in values:
        is_nan = isinstance(value, Tensor | float) and torch.as_tensor(value).numel() == 1
        single.append(float(value) if is_nan else _one(value))
    return torch.tensor(single, dtype=torch.float64)


def _copy(given: Any) -> Any:
    return given.clone() if isinstance(given, Tensor) else given


# ---- 6.1 ---------------------------------------------------------------------------------------------------
def _pointing_cases() -> list[tuple[Tensor, Tensor, float]]:
    """Maps (9, 12), marks and tolerances: single and tied maxima, on, beside and far from the mark."""
    mask = torch.zeros(9, 12, dtype=torch.bool)
    mask[3:6, 4:7] = True
    base = normal(9, 12, seed=201).clamp(-2, 2)
    far = mask.clone()
    far[8, 11] = True  # a second piece: the middle of the mark lies on neither

    def hot(*places: tuple[int, int]) -> Tensor:
        heat = base.clone()
        heat[0, 0] = -9.0  # the largest absolute value
        for place in places:
            heat[place] = 3.0
        return heat

    nearly = hot((4, 5), (0, 11))
    nearly[0, 11] = 2.99  # the second hottest, and no tie
    return [
        (nearly, mask, 0),
        (hot((4, 5)), mask, 0),
        (hot((0, 1)), mask, 0),
        (hot((0, 0), (4, 5), (5, 6), (8, 11)), mask, 0),
        (hot((3, 4), (0, 11), (1, 11)), mask, 0),
        (hot((4, 5), (8, 0)), mask, 0),
        (torch.zeros(9, 12).double(), mask, 0),
        (hot((7, 8)), mask, 2),  # 2 down and 2 across: farther than 2
        (hot((7, 8)), mask, 3),  # by a ruler 2.8, by city blocks 4
        (hot((6, 8)), mask, 2),
        (hot((7, 8), (6, 8), (0, 11)), mask, 2.6),  # 2.8 and 2.2 away: no whole number stands for 2.6
        (hot((4, 10), (5, 8), (0, 5)), mask, 4),
        (hot((3, 9), (8, 10), (0, 0)), far, 3),
        (-1 - base.abs(), mask, 1.5),
    ]


@exercise("6.1", "Pointing with ties")
def pointing_with_ties(answer) -> str:
    cases = _pointing_cases()
    right = torch.tensor([_hits(*case) for case in cases], dtype=torch.float64)

    def probe(function: Callable) -> Tensor:
        return _several([function(heat.clone(), mask.clone(), t) for heat, mask, t in cases])

    value = probe(answer)
    recognise(value, right, POINTING, probe, tolerance=TOLERANCE)
    tensor(value)
    heat, mask, t = (_copy(given) for given in cases[3])
    with left_alone(heat=heat, mask=mask):
        answer(heat, mask, t)
    mask = cases[0][1]
    everywhere = _one(answer(torch.ones(9, 12).double(), mask, 0))
    share = float(mask.double().mean())
    expect(
        abs(everywhere - share) < 1e-6,
        f"A map that is the same everywhere gets {everywhere:.3g}; the mark's share of the picture is "
        f"{share:.3g}.",
        "All its pixels are hottest, and the share of them that lies on the mark is the answer.",
    )
    for heat, mask, t in cases:
        moved = _one(answer((5 * heat - 2).exp(), mask, t))
        expect(
            abs(moved - _one(answer(heat, mask, t))) < 1e-6,
            "The result changes when the values change and their order does not.",
            "Only where the largest value lies may count.",
        )
    compare(value, right, tolerance=TOLERANCE, look="The share of the hottest pixels that hit.")
    return "a hit is a share where maxima tie, and the tolerance is a ruler's."


def _hits(heat: Tensor, mask: Tensor, tolerance: float) -> float:
    """Pixel by pixel."""
    largest = max(heat.flatten().tolist())
    top = [(i, j) for i in range(9) for j in range(12) if float(heat[i, j]) == largest]
    marked = mask.nonzero().tolist()
    near = [min((i - a) ** 2 + (j - b) ** 2 for a, b in marked) <= tolerance**2 for i, j in top]
    return sum(near) / len(near)


# ---- 6.2 ---------------------------------------------------------------------------------------------------
@exercise("6.2", "Energy in a mark")
def energy_in_a_mark(answer) -> str:
    maps = normal(6, 7, 8, seed=202) * torch.tensor([1.0, 30, 0.2, 5, 1, 3]).double()[:, None, None]
    masks = torch.zeros(6, 7, 8, dtype=torch.bool)
    for i in range(6):
        masks[i, i % 3 : 3 + i % 4, 1 : 3 + i] = True
    maps[masks] += 0.3
    maps[4] = -maps[4].abs()  # no positive heat
    asked = [(maps, masks), (maps[[2, 4, 5]], masks[[2, 4, 5]]), (maps[3:4], masks[3:4])]
    right = torch.stack([mean_energy()(*given) for given in asked])

    def probe(function: Callable) -> Tensor:
        return _several([function(heat.clone(), mark.clone()) for heat, mark in asked])

    value = probe(answer)
    recognise(value, right, MEAN_ENERGY, probe, tolerance=TOLERANCE)
    with left_alone(heatmaps=maps, masks=masks):
        answer(maps, masks)
    for factor in (7.0, 0.01, 1e-7):
        scale = torch.ones(6, 1, 1).double()
        scale[2] = factor
        again = _one(answer(maps * scale, masks))
        expect(
            abs(again - float(value[0])) < 1e-5,
            f"One picture's map was multiplied by {factor:g}, and the result changed.",
            "A share does not know the scale: divide within each picture, then take the mean. (A small "
            "number added below the fraction line is a large one beside a faint map.)",
        )
    colder = torch.where(maps < 0, 5 * maps, maps)
    expect(
        abs(_one(answer(colder, masks)) - float(value[0])) < 1e-5,
        "The negative values were made five times colder, and the result changed.",
        "Set what is negative to 0 first, above and below the fraction line.",
    )
    full = _one(answer(maps, torch.ones_like(masks)))
    expect(
        abs(full - 1) < 1e-6,
        f"With marks that cover all, the energy is {full:.4g}, not 1.",
        "A share of all.",
    )
    cold, area_ = _one(answer(-maps.abs(), masks)), float(masks.double().mean())
    expect(
        abs(cold - area_) < 1e-5,
        f"Where no map of the batch has a positive value, the energy is {cold:.4g}; the marks cover "
        f"{area_:.4g} of their pictures.",
        "Each of these maps counts as a constant one. (Dividing by a largest value that is negative turns "
        "the signs round.)",
    )
    compare(value, right, tolerance=TOLERANCE, look="Each picture's share of positive heat; their mean.")
    empty = masks.clone()
    empty[3] = False
    refuses(
        lambda: answer(maps, empty),
        "One of the marks was empty.",
        "`if not masks.flatten(1).any(dim=1).all(): raise ValueError(…)`.",
    )
    return "the mean share of positive heat; an empty mark has no right or wrong."


# ---- 6.3 ---------------------------------------------------------------------------------------------------
_MEAN, _STD = (
    torch.tensor(v, dtype=torch.float64)[:, None, None] for v in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
)


def _normalise(images: Any) -> Tensor:
    fits = isinstance(images, Tensor) and images.dim() in (3, 4) and images.shape[-3] == 3
    expect(
        fits,
        "`normalise` takes pictures (3, H, W) or (n, 3, H, W).",
        "Print the shape of what you give to it.",
    )
    return (images - _MEAN) / _STD


class _Score:
    """A smooth score of normalised pictures that no two pictures share; remembers what it was shown."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.weights, self.shown = normal(3, *size, seed=203), []

    def __call__(self, images: Any) -> Tensor:
        fits = isinstance(images, Tensor) and images.shape[1:] == self.weights.shape
        expect(fits, "`score` takes pictures (n, 3, H, W).", "`torch.stack` the pictures, then ask once.")
        self.shown += list(images.detach() * _STD + _MEAN)
        raw = images.detach() * self.weights
        return (raw.sum((1, 2, 3)) / 8).tanh() + 0.1 * raw.abs().sum((1, 2, 3))


@exercise("6.3", "One deletion curve")
def one_deletion_curve(answer) -> str:
    x, fill, heat = uniform(3, 5, 6, seed=204), uniform(3, 5, 6, seed=205), normal(5, 6, seed=206)
    counts = [11, 0, 29, 1, 30, 4]  # in no order: each k begins with the whole picture

    def probe(function: Callable) -> Any:
        return function(_Score((5, 6)), _normalise, x.clone(), heat.clone(), fill.clone(), list(counts))

    order, kept, right = heat.flatten().tolist(), x.clone(), {}
    for k in range(31):
        if k:
            place = order.index(max(order))
            order[place] = -9e9
            kept[:, place // 6, place % 6] = fill[:, place // 6, place % 6]
        right[k] = _Score((5, 6))(_normalise(kept[None]))[0]
    right = torch.stack([right[k] for k in counts])
    with left_alone(x=x, heat=heat, fill=fill):
        answer(_Score((5, 6)), _normalise, x, heat, fill, list(counts))
    value = told(probe(answer), right, DELETION_CURVE, probe)
    for k, what, image in ((0, "the whole picture", x), (30, "every pixel hidden", fill)):
        at, end = float(value[counts.index(k)]), float(_Score((5, 6))(_normalise(image[None]))[0])
        expect(
            abs(at - end) < 1e-5,
            f"The curve's point k = {k}, {what}, is {at:.4g}; the score of that picture is {end:.4g}.",
            "Hidden are the pixels with `rank < k`; then normalise.",
        )
    compare(value, right, tolerance=TOLERANCE, look="`rank < k`, `torch.where(hidden, fill, x)`, normalise.")
    tied, score = torch.zeros(5, 6).double(), _Score((5, 6))
    tied[1:3, 1:4] = 1.0
    double(answer(score, _normalise, x, tied, fill, [2, 9]), (2,))
    gone = [int((image - x).abs().amax(0).gt(1e-9).sum()) for image in score.shown]
    expect(
        2 in gone and 9 in gone and max(gone) == 9,
        f"Where pixels of a map are equal, k = 2 and k = 9 hide {min(gone)} and {max(gone)} pixels.",
        "A threshold on the *values* hides all equals together. Compare ranks: no two pixels share one.",
    )
    return "exactly k pixels go, the hottest first, and the fill is a colour like any other."


# ---- 6.4 ---------------------------------------------------------------------------------------------------
@exercise("6.4", "AOPC's average")
def aopc_average(answer) -> str:
    whole, scores = 0.6 + 0.4 * uniform(4, seed=207), uniform(3, 4, 6, seed=208)

    def probe(function: Callable) -> Any:
        return function(whole.clone(), scores.clone())

    right = torch.stack([
        sum(whole[n] - scores[r, n, k] for r in range(3) for k in range(6)) / (3 * 7) for n in range(4)
    ])  # fmt: skip
    value = told(probe(answer), right, AOPC, probe)
    with left_alone(whole=whole, scores=scores):
        answer(whole, scores)
    still = double(answer(whole, whole[None, :, None].repeat(3, 1, 6)), (4,))
    expect(
        close(still, torch.zeros(4), TOLERANCE) or float(still.abs().max()) < 1e-9,
        "A score that never falls should have an AOPC of 0.",
        "Each term is the difference to the whole picture's score.",
    )
    lost = double(answer(whole, torch.zeros(3, 4, 6).double()), (4,))
    expect(
        close(lost, whole * 6 / 7, TOLERANCE),
        f"A score that falls to 0 at once, and stays there for L = 6 steps, gives "
        f"{float(lost[0] / whole[0]):.4g} of the whole picture's score; it should be 6/7.",
        "L + 1 terms, of which the first is 0.",
    )
    compare(
        value, right, tolerance=TOLERANCE, look="Mean over the repetitions; the sum of L drops over L + 1."
    )
    other = double(answer(whole[:1], scores[:, :1, :2]), (1,))
    compare(other, aopc()(whole[:1], scores[:, :1, :2]), tolerance=TOLERANCE, look="L is `scores.shape[2]`.")
    return "the mean drop over L + 1 pictures, the whole one among them."


# ---- 6.5 ---------------------------------------------------------------------------------------------------
@exercise("6.5", "The area under a curve")
def area_under_a_curve(answer) -> str:
    fractions = torch.tensor([0.1, 0.15, 0.3, 0.35, 0.7, 0.85], dtype=torch.float64)
    scores = 2 * uniform(3, 6, seed=209) - 0.4
    scores[0, 3:5] = torch.tensor([1.4, -0.3])  # a curve may be one of logits

    def probe(function: Callable) -> Any:
        return function(fractions.clone(), scores.clone())

    right = area()(fractions, scores)
    value = told(probe(answer), right, AREA, probe)
    with left_alone(fractions=fractions, scores=scores):
        answer(fractions, scores)
    flat = double(answer(fractions, torch.full((2, 6), 0.7).double()), (2,))
    expect(
        close(flat, torch.full((2,), 0.7), TOLERANCE),
        f"A curve that is 0.7 everywhere has the value {float(flat[0]):.4g}.",
        "Divide the area by its length, the last fraction minus the first.",
    )
    middle = (fractions[4] + fractions[3]) / 2
    finer = torch.cat([fractions[:4], middle[None], fractions[4:]])
    with_it = torch.cat([scores[:, :4], (scores[:, 3:4] + scores[:, 4:5]) / 2, scores[:, 4:]], dim=1)
    expect(
        close(double(answer(finer, with_it), (3,)), value, TOLERANCE),
        "A further point *on* the line between two others changes the area.",
        "A strip's width times the mean of its two heights.",
    )
    compare(value, right, tolerance=TOLERANCE, look="Widths times mean heights, summed; over the length.")
    return "strips of their own width; the points may lie as they like."


# ---- 6.6 ---------------------------------------------------------------------------------------------------
_MASKED = (2, 5, 7, 11)


def _leaking() -> tuple[Callable, Callable, tuple, tuple]:
    """Pictures (n, 1, 4, 4) of three classes, a classifier that errs, maps that tell its answer in part.

    The maps of one class are nearly alike, those of another not at all: their mean masks differ in length.
    Few pictures teach and many are asked, so that two answers seldom agree by chance.
    """
    y = (3 * uniform(160, seed=300)).long()
    y[:6] = torch.arange(6) % 3  # every class occurs in the training set
    x = uniform(160, 1, 4, 4, seed=210) + 0.05 * normal(3, 1, 4, 4, seed=211)[y]
    wrong = uniform(160, seed=212) < 0.2 + 0.15 * (y == 1).double()
    answers = torch.where(wrong, (y + 1) % 3, y)
    x = torch.where(torch.arange(16).view(4, 4) == 5, answers.double()[:, None, None, None] / 7, x)
    favourite = normal(3, 4, 4, seed=213) * torch.tensor([0.0, 0.8, 3.0]).double()[:, None, None]

    def predict(images: Any) -> Tensor:
        expect(
            isinstance(images, Tensor) and images.shape[1:] == (1, 4, 4),
            "`predict` was called with something else than pictures.",
            "`predict(x)`, with `x` of `train` or of `test`.",
        )
        return (images[:, 0, 1, 1] * 7).round().long()

    def explain(images: Any, target: Any) -> Tensor:
        expect(
            isinstance(images, Tensor)
            and images.shape[1:] == (1, 4, 4)
            and isinstance(target, Tensor)
            and target.shape == images.shape[:1]
            and not target.is_floating_point(),
            "`explain` was called with other things than pictures and a class for each.",
            "`explain(x, predict(x))`.",
        )
        return favourite[target] + 4 * (images[:, 0] - 0.5)

    train = x[:36], y[:36]
    kept = torch.ones(160, dtype=torch.bool)
    for k in _MASKED:  # of two means that are equally near any will do: no such picture is asked
        for explained in (predict, lambda images: y[: len(images)]):
            gaps = _gaps_to_means(explain, explained, train, x, k)
            kept &= torch.tensor([nearest[1] - nearest[0] > 1e-6 for nearest in map(sorted, gaps)])
    kept[:36] = False
    return predict, explain, train, (x[kept], y[kept])


@exercise("6.6", "What the masks tell")
def what_the_masks_tell(answer) -> str:
    predict, explain, train, test = _leaking()

    def probe(function: Callable) -> Tensor:
        copies = [tuple(part.clone() for part in pair) for pair in (train, test)]
        return _several([function(explain, predict, *copies, k) for k in _MASKED])

    right = torch.tensor([_told_by_masks(explain, predict, train, test, k) for k in _MASKED]).double()
    value = probe(answer)
    recognise(value, right, LEAKAGE, probe, tolerance=1e-6)
    tensor(value)
    with left_alone(train_x=train[0], train_y=train[1], test_x=test[0], test_y=test[1]):
        answer(explain, predict, train, test, 5)
    expect(
        bool(((value >= 0) & (value <= 1)).all()),
        f"An accuracy lies between 0 and 1; you return {float(value[0]):.4g}.",
        "The share of the test pictures whose class was told right.",
    )

    def same(images: Tensor, target: Tensor) -> Tensor:
        return torch.arange(16.0).double().view(1, 4, 4).expand(len(images), 4, 4)

    blind = _one(answer(same, predict, train, test, 5))
    shares = [float((test[1] == c).double().mean()) for c in range(3)]
    expect(
        any(abs(blind - share) < 1e-6 for share in shares),
        "Where every picture has the same mask, nothing can be told, and one class is named for all: "
        f"{', '.join(f'{share:.3g}' for share in shares)} are possible. You get {blind:.3g}.",
        "The classifier may see the masks alone, and every test picture counts once.",
    )
    compare(
        value, right, tolerance=1e-6, look="Masks of both sets; class means of `train`; nearest for `test`."
    )
    _judge_tied_masks(answer, predict, train, test)
    return "what the masks alone tell: subtract it, in thought, from every ROAR curve."


def _judge_tied_masks(answer: Reader, predict: Callable, train: tuple, test: tuple) -> None:
    """Stops where a mask of five pixels has more of them: three are hottest, and all others are equal."""

    def tied(images: Tensor, target: Tensor) -> Tensor:
        place = torch.arange(16).view(1, 4, 4)
        return (place // 5 == target[:, None, None]).logical_and(place % 5 < 3).double()

    answered = []  # pictures whose answer is the label
    for x, y in (train, test):
        x = x.clone()
        x[:, 0, 1, 1] = y.double() / 7
        answered.append((x, y))
    told = _one(answer(tied, predict, *answered, 5))
    expect(
        abs(told - 1) < 1e-6,
        "Where pixels of a map are equal, your masks tell less than masks of exactly k pixels: three pixels "
        f"are hottest, all others are equal, and k is 5. The accuracy is {told:.4g}, and should be 1.",
        "A threshold at the k-th *value* takes all its equals as well. Compare ranks: no two pixels share "
        "one.",
    )


def _told_by_masks(explain: Callable, predict: Callable, train: tuple, test: tuple, k: int) -> float:
    gaps = _gaps_to_means(explain, predict, train, test[0], k)
    hits = [own.index(min(own)) == label for own, label in zip(gaps, test[1].tolist(), strict=True)]
    return sum(hits) / len(hits)


def _gaps_to_means(
    explain: Callable, predict: Callable, train: tuple, x: Tensor, k: int
) -> list[list[float]]:
    """For each picture the squared distance of its mask to each class's mean mask; mask by mask."""

    def masks(x: Tensor) -> list[list[float]]:
        maps = explain(x, predict(x)).flatten(1).tolist()
        return [[float(v in top) for v in row] for row in maps for top in [sorted(row)[-k:]]]

    learnt, means = list(zip(masks(train[0]), train[1].tolist(), strict=True)), []
    for c in range(3):
        members = [mask for mask, own in learnt if own == c]
        means.append([sum(column) / len(members) for column in zip(*members, strict=True)])
    return [[sum((a - b) ** 2 for a, b in zip(m, mean, strict=True)) for mean in means] for m in masks(x)]


# ---- 6.7 ---------------------------------------------------------------------------------------------------
@exercise("6.7", "ROAR on a plane")
def roar_on_a_plane(answer) -> str:
    x = normal(70, 6, seed=214) * torch.tensor([1.0, 2, 1, 0.5, 1, 1]).double() + torch.arange(6.0) - 2
    weights = torch.tensor([2.0, -1, 0, 0, 1.5, 0]).double()
    y = x @ weights + 3 + 0.3 * normal(70, seed=215)
    heats, rows = uniform(70, 6, seed=216) - 0.4, torch.arange(70)
    # Each feature is the coldest in a sixth of the rows: a column that were hidden in every training row, and
    # not in every test row, would leave the error to chance.
    coldest = heats.argmin(1)
    heats[rows, coldest], heats[rows, rows % 6] = heats[rows, rows % 6], heats[rows, coldest]
    train, test, maps = (x[:50], y[:50]), (x[50:], y[50:]), (heats[:50], heats[50:])
    counts = [3, 0, 5, 1]  # in no order: each k begins with whole rows

    def ask(function: Callable, train=train, test=test, maps=maps, counts=counts) -> Any:
        copies = [tuple(part.clone() for part in pair) for pair in (train, test, maps)]
        value = function(*copies, list(counts))
        # a loop over counts gives a list of numbers: as good as a vector
        return _several(value) if isinstance(value, list | tuple) else value

    right = roar()(train, test, maps, counts)
    value = told(ask(answer), right, ROAR, ask)
    with left_alone(
        train_x=train[0], train_y=train[1], test_x=test[0], train_maps=maps[0], test_maps=maps[1]
    ):
        detached(answer(train, test, maps, counts), "Your vector")
    best = roar()(train, test, maps, [0])
    expect(
        abs(float(value[1] - best[0])) < 1e-5,
        f"With nothing hidden the test error is {float(value[1]):.4g}; least squares, with a constant, "
        f"reaches {float(best[0]):.4g}.",
        "A column of ones, `torch.linalg.lstsq`, then the mean squared error on the test rows.",
    )
    moved = double(ask(answer, train=(x[:50] + 100, y[:50]), test=(x[50:] + 100, y[50:])), right.shape)
    expect(
        close(moved, value, 1e-4),
        "100 was added to every feature, in both sets, and the errors changed.",
        "Hidden features become their training mean, and the plane has a constant.",
    )
    compare(value, right, tolerance=TOLERANCE, look="For each k: hide in both, fit on train, error on test.")
    cope = "All columns are constant then: `lstsq` and `pinv` cope with that, `inv` and `solve` do not."
    try:
        all_hidden = double(ask(answer, counts=[6]), (1,))
    except Wrong as stop:
        fail(f"With all six features hidden: {stop.message}", cope)
    spread = (test[1] - train[1].mean()).square().mean()
    expect(
        abs(float(all_hidden - spread)) < 1e-4 * float(spread),
        f"With all six features hidden the error is {float(all_hidden):.4g}; the constant alone makes "
        f"{float(spread):.4g}.",
        cope,
    )
    return "hidden in both sets, fitted again, and judged where nothing was learnt."


# ---- 6.8 ---------------------------------------------------------------------------------------------------
def _album() -> tuple[Tensor, Tensor]:
    """Pictures (12, 3, 32, 32) with one disc each, in another colour than the ground; and the discs."""
    colours, grounds = uniform(12, 3, 1, 1, seed=217), 0.4 + 0.6 * uniform(12, 3, 1, 1, seed=218)
    far = (colours - grounds).abs().amax((1, 2, 3), keepdim=True) < 0.5
    colours = torch.where(far, (grounds + 0.5) % 1, colours)
    place = torch.arange(32.0).double()
    centres = 8 + 16 * uniform(12, 2, seed=219)
    down = (place - centres[:, :1])[:, :, None]
    across = (place - centres[:, 1:])[:, None, :]
    inside = down.square() + across.square() <= 36
    pictures = torch.where(inside[:, None], colours, grounds) + 0.005 * normal(12, 3, 32, 32, seed=220)
    return pictures.clamp(0, 1), inside


def _no_network(networks: Networks) -> None:
    expect(
        not networks.found,
        f"Your control asked a network, a `{networks.found}`.",
        "A control knows the picture and nothing else: colours, edges, positions.",
    )


@exercise("6.8", "Bonus: your own control")
def own_control(answer) -> str:
    x, inside = _album()
    with Networks(1000) as networks:
        try:
            answer(x.clone())
        except Wrong:
            _no_network(networks)  # these pictures do not fit every network: that it was asked comes first
            raise
        _no_network(networks)
        shown = _judge_control(answer, x, inside)
    _no_network(networks)
    return shown


def _judge_control(answer: Reader, x: Tensor, inside: Tensor) -> str:
    with left_alone(x=x):
        value = answer(x)
    right = control()(x)
    if isinstance(value, Tensor) and value.shape == x.shape:
        fail(CONTROL[1].message, CONTROL[1].look)
    value = double(value, right.shape)
    detached(answer(x))
    expect(
        float(value.min()) >= 0,
        f"The map has negative values, down to {float(value.min()):.3g}.",
        "Heat that is nowhere negative is compared most easily: squares, absolute values, `clamp(min=0)`.",
    )
    expect(
        bool((value.amax((1, 2)) > value.amin((1, 2))).all()),
        "A map is the same everywhere: the area fraction is that control already.",
        "Let the map depend on the picture's pixels.",
    )
    expect(
        close(double(answer(x), right.shape), value, 1e-6),
        "The same pictures got other maps at the second call.",
        "No random numbers, or those of a generator with a seed of its own.",
    )
    alone = torch.cat([double(answer(x[i : i + 1]), (1, 32, 32)) for i in range(len(x))])
    expect(close(alone, value, 1e-4), CONTROL[0].message, CONTROL[0].look)
    double(answer(uniform(2, 3, 20, 28, seed=221)), (2, 20, 28))
    expect(
        not close(value[0], value[1], 1e-6),
        "Different pictures get the same map: the centre is that control already.",
        "Look at the pixels.",
    )
    share = (value * inside).sum((1, 2)) / value.sum((1, 2))
    area_ = inside.double().mean((1, 2))
    expect(
        float((share / area_).mean()) > 2,
        f"On pictures of one plain disc each, your map has {float(share.mean()):.0%} of its heat on the "
        f"disc, and a constant map {float(area_.mean()):.0%}: too easy to beat.",
        "What differs from the rest of its picture, or from its neighbours? (Zeros padded round a picture "
        "make an edge of their own: `F.pad(…, mode='replicate')`.)",
    )
    return (
        f"{float(share.mean()):.0%} of the heat on the objects, and no network was asked. "
        "Whoever claims more than this has something to show."
    )
