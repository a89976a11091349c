"""The mistakes of chapter 6, each as the answer that makes it.

For every exercise: a right answer any of whose steps can be exchanged, and the exchanges that people make.
``MISTAKES`` holds, for each exercise, one list for each of its functions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .mistakes import Mistake

Answer = Callable[..., Any]


# ---- 6.1 ---------------------------------------------------------------------------------------------------
def _largest(heat: Tensor) -> Tensor:
    return heat == heat.max()


def _euclid(steps: Tensor) -> Tensor:
    return steps.square().sum(-1).sqrt()


def _shared(near: Tensor) -> Tensor:
    return near.double().mean()


def pointing(
    top: Answer = _largest,
    distance: Answer = _euclid,
    within: Answer = lambda d, tolerance: d <= tolerance,
    end: Answer = _shared,
    mark: Answer = lambda mask: mask.nonzero(),
) -> Answer:
    """An answer to 6.1 with one step exchanged."""

    def answer(heat: Tensor, mask: Tensor, tolerance: float) -> Tensor:
        points, marked = top(heat).nonzero(), mark(mask)
        apart = distance((points[:, None] - marked).double()).amin(1)
        return end(within(apart, tolerance))

    return answer


def _at(place: int) -> Answer:
    """One of the hottest pixels, by its position."""

    def top(heat: Tensor) -> Tensor:
        chosen = torch.zeros_like(heat, dtype=torch.bool)
        chosen.view(-1)[(heat == heat.max()).flatten().nonzero()[place, 0]] = True
        return chosen

    return top


def _of_mark(heat: Tensor, mask: Tensor, tolerance: float) -> Tensor:
    near = (heat == heat.max()) & mask
    return near.sum() / mask.sum()


_TIES = "Ties share: of the pixels that are hottest, return the *share* that hits."
POINTING = [
    Mistake(
        pointing(top=_at(0)),
        "Of several hottest pixels the first one decides, by its position: a map that is the same everywhere "
        "then points to the upper left corner.",
        "`argmax` hides ties. " + _TIES,
    ),
    Mistake(pointing(top=_at(-1)), "Of several hottest pixels the last one decides, by its position.", _TIES),
    Mistake(
        pointing(end=lambda near: near.any().double()),
        "One of the hottest pixels on the mark makes it a whole hit: a map that is the same everywhere would "
        "always hit.",
        _TIES,
    ),
    Mistake(
        pointing(end=lambda near: near.all().double()),
        "It is a hit only when *all* the hottest pixels lie on the mark.",
        _TIES,
    ),
    Mistake(
        pointing(end=lambda near: near.double().sum()),
        "The hottest pixels that hit are counted: their share is asked for.",
        "Divide by the number of hottest pixels.",
    ),
    Mistake(
        pointing(within=lambda d, tolerance: d <= 0),
        "The tolerance is not used.",
        "A pixel hits if the nearest marked pixel is at most `tolerance` away.",
    ),
    Mistake(
        pointing(within=lambda d, tolerance: d < tolerance),
        "A pixel exactly `tolerance` away does not hit; with a tolerance of 0 nothing does.",
        "At most: `<=`.",
    ),
    Mistake(
        pointing(distance=lambda s: s.abs().amax(-1)),
        "The tolerance is a square: 3 down and 3 to the right counts as 3.",
        "The distance is that of a ruler, √(Δy² + Δx²).",
    ),
    Mistake(
        pointing(distance=lambda s: s.abs().sum(-1)),
        "The distance is that of city blocks: 3 down and 3 to the right counts as 6.",
        "The distance is that of a ruler, √(Δy² + Δx²).",
    ),
    Mistake(
        pointing(distance=lambda s: s.square().sum(-1)),
        "The *squared* distance is compared with the tolerance.",
        "Take the root, or square the tolerance.",
    ),
    *(
        Mistake(
            pointing(within=lambda d, tolerance, whole=whole: d <= whole(tolerance)),
            f"The tolerance was {how} to a whole number: 2.6 pixels are 2.6 pixels.",
            "Compare the distance with `tolerance` as it is.",
        )
        for whole, how in ((int, "cut"), (round, "rounded"))
    ),
    Mistake(
        pointing(mark=lambda mask: mask.nonzero().double().mean(0, keepdim=True)),
        "The distance is measured to the middle of the mark.",
        "To the nearest marked pixel: the smallest distance.",
    ),
    Mistake(
        pointing(top=lambda heat: heat.abs() == heat.abs().max()),
        "The largest *absolute* value was sought: a strongly negative pixel is not the hottest.",
        "`heat.max()`, with its sign.",
    ),
    Mistake(
        _of_mark,
        "The hottest pixels on the mark are divided by the size of the mark.",
        "Divide by the number of hottest pixels.",
    ),
]


# ---- 6.2 ---------------------------------------------------------------------------------------------------
def _ratios(inside: Tensor, whole: Tensor) -> Tensor:
    return (inside / whole).mean()


def mean_energy(
    heat: Answer = lambda maps: maps.clamp(min=0),
    blank: Answer = torch.ones_like,
    end: Answer = _ratios,
    refuse: bool = True,
    mark: Answer = lambda masks: masks,
) -> Answer:
    """An answer to 6.2 with one step exchanged."""

    def answer(heatmaps: Tensor, masks: Tensor) -> Tensor:
        if refuse and not masks.flatten(1).any(1).all():
            raise ValueError("a mark is empty")
        warm = heat(heatmaps)
        nothing = (heatmaps <= 0).flatten(1).all(1)[:, None, None]
        warm = torch.where(nothing, blank(warm), warm)
        return end((warm * mark(masks)).sum((1, 2)), warm.sum((1, 2)))

    return answer


def _without_blank(heatmaps: Tensor, masks: Tensor) -> Tensor:
    kept = (heatmaps > 0).flatten(1).any(1)
    return mean_energy()(heatmaps[kept], masks[kept])


def _area_of_all(heatmaps: Tensor, masks: Tensor) -> Tensor:
    share = mean_energy(end=lambda inside, whole: inside / whole)(heatmaps, masks)
    nothing = (heatmaps <= 0).flatten(1).all(1)
    return torch.where(nothing, masks.double().mean(), share).mean()


def _only_below(heatmaps: Tensor, masks: Tensor) -> Tensor:
    share = (heatmaps.clamp(min=0) * masks).sum((1, 2)) / heatmaps.sum((1, 2))
    nothing = (heatmaps <= 0).flatten(1).all(1)
    return torch.where(nothing, masks.double().mean((1, 2)), share).mean()


_CLIP = "Set what is negative to 0 first, above and below the fraction line."
MEAN_ENERGY = [
    Mistake(
        mean_energy(heat=lambda maps: maps),
        "The heat is counted with its negative part: hot and cold pixels cancel, and a “share” may exceed 1.",
        _CLIP,
    ),
    Mistake(
        mean_energy(heat=torch.abs),
        "Cold pixels count as hot ones: the absolute value was taken.",
        "`clamp(min=0)`, not `abs()`.",
    ),
    Mistake(_only_below, "The negative part was dropped above the fraction line only.", _CLIP),
    Mistake(
        mean_energy(end=lambda inside, whole: inside.sum() / whole.sum()),
        "This is the ratio of the sums over all the pictures: a map with large values outvotes the others.",
        "First the share of each picture, then their mean.",
    ),
    Mistake(
        mean_energy(end=lambda inside, whole: (inside / whole).sum()),
        "The shares are added up.",
        "Their mean: divide by the number of pictures.",
    ),
    Mistake(
        mean_energy(blank=torch.zeros_like),
        "A map without positive heat makes 0 / 0.",
        "Such a map counts as a constant one: its share is the mark's share of the picture.",
    ),
    Mistake(
        mean_energy(end=lambda inside, whole: (inside / whole).nan_to_num(0).mean(), blank=torch.zeros_like),
        "A map without positive heat gets 0.",
        "Such a map counts as a constant one: its share is the mark's share of the picture.",
    ),
    Mistake(
        _without_blank,
        "The picture whose map has no positive heat was left out.",
        "Such a map counts as a constant one: its share is the mark's share of the picture.",
    ),
    Mistake(
        _area_of_all,
        "A map without positive heat gets the share of *all* the marks in all the pictures.",
        "It counts as a constant map of its own picture: `masks.double().mean((1, 2))`.",
    ),
    Mistake(
        mean_energy(heat=lambda maps: maps - maps.amin((1, 2), keepdim=True)),
        "The lowest value was taken off each map: that moves its zero, and with it every share.",
        "Set what is negative to 0, and leave the rest as it is.",
    ),
    Mistake(
        mean_energy(mark=lambda masks: ~masks),
        "This is the share that lies *beside* the mark.",
        "`masks` is True on the mark.",
    ),
]


# ---- 6.3 ---------------------------------------------------------------------------------------------------
def _ranks(heat: Tensor) -> Tensor:
    return heat.flatten().argsort(descending=True).argsort().view_as(heat)


def _replaced(hidden: Tensor, x: Tensor, fill: Tensor, normalise: Answer) -> Tensor:
    return normalise(torch.where(hidden, fill, x))


def deletion_curve(
    ranks: Answer = _ranks,
    hide: Answer = lambda rank, k: rank < k,
    make: Answer = _replaced,
    end: Answer = lambda scores: scores,
) -> Answer:
    """An answer to 6.3 with one step exchanged."""

    def answer(
        score: Answer, normalise: Answer, x: Tensor, heat: Tensor, fill: Tensor, counts: Sequence[int]
    ) -> Tensor:
        rank = ranks(heat)
        images = [make(hide(rank, k), x, fill, normalise) for k in counts]
        return end(score(torch.stack(images)))

    return answer


def _drops(score: Answer, normalise: Answer, x: Tensor, *given: Any) -> Tensor:
    return score(normalise(x[None])) - deletion_curve()(score, normalise, x, *given)


def _overwritten(
    score: Answer, normalise: Answer, x: Tensor, heat: Tensor, fill: Tensor, counts: Sequence[int]
) -> Tensor:
    images = []
    for k in counts:
        x = torch.where(_ranks(heat) < k, fill, x)
        images.append(normalise(x))
    return score(torch.stack(images))


def _sorted_counts(*given: Any) -> Tensor:
    return deletion_curve()(*given[:-1], sorted(given[-1]))


DELETION_CURVE = [
    Mistake(
        deletion_curve(ranks=lambda heat: _ranks(-heat)),
        "The *coldest* pixels go first: the order is ascending.",
        "The hottest pixel has rank 0: `argsort(descending=True)`.",
    ),
    Mistake(
        deletion_curve(hide=lambda rank, k: rank <= k),
        "One pixel too many is hidden, k + 1 of them: with k = 0 the picture should be whole.",
        "Ranks begin at 0: `rank < k`.",
    ),
    Mistake(
        deletion_curve(hide=lambda rank, k: rank < k - 1),
        "One pixel too few is hidden.",
        "Ranks begin at 0: `rank < k`.",
    ),
    Mistake(
        deletion_curve(ranks=lambda heat: heat.flatten().argsort(descending=True).view_as(heat)),
        "The order was taken for the rank: `argsort` says which pixel comes at place r, not at which place a "
        "pixel comes.",
        "Turn the permutation round: a second `argsort`, or `rank[order] = arange`.",
    ),
    Mistake(
        deletion_curve(make=lambda h, x, fill, n: torch.where(h, fill, n(x))),
        "The picture is normalised, and the fill is not: it was put in *behind* the normalisation. "
        "What the network sees there is no colour of the fill.",
        "First `torch.where`, then `normalise`.",
    ),
    Mistake(
        deletion_curve(make=lambda h, x, fill, n: torch.where(h, torch.zeros_like(x), n(x))),
        "Zero was put in behind the normalisation: that is the mean colour, and not the fill.",
        "Use `fill`, before `normalise`.",
    ),
    Mistake(
        deletion_curve(make=lambda h, x, fill, n: n(torch.where(h, torch.zeros_like(x), x))),
        "The pixels become black: `fill` is not used.",
        "`torch.where(hidden, fill, x)`.",
    ),
    Mistake(
        deletion_curve(make=lambda h, x, fill, n: n(torch.where(h, x, fill))),
        "Picture and fill are exchanged: this is the insertion curve.",
        "Where a pixel is hidden stands the fill, elsewhere the picture.",
    ),
    Mistake(
        deletion_curve(
            make=lambda h, x, fill, n: n(torch.where(h, fill.mean((1, 2), keepdim=True).expand_as(x), x))
        ),
        "The mean of the fill was put in everywhere.",
        "Each pixel gets the fill of its own place.",
    ),
    Mistake(
        deletion_curve(make=lambda h, x, fill, n: torch.where(h, fill, x)),
        "Nothing was normalised: the score takes pictures as the network knows them.",
        "`normalise` each picture after the pixels were replaced.",
    ),
    Mistake(
        _drops,
        "These are drops of the score: the curve is the score itself.",
        "Return what `score` gives.",
    ),
    Mistake(
        deletion_curve(ranks=lambda heat: _ranks(heat.abs())),
        "The pixels were ranked by their *absolute* values: a strongly negative pixel is not hot.",
        "Rank `heat` as it is.",
    ),
    Mistake(
        deletion_curve(ranks=lambda heat: heat.argsort(dim=-1, descending=True).argsort(dim=-1)),
        "Each row of the map was ranked by itself: `argsort` runs along the last dimension.",
        "All pixels of the map in one order: `heat.flatten()` first, `view_as(heat)` last.",
    ),
    Mistake(
        _overwritten,
        "What one k has hidden stays hidden for the next: that is right only where `counts` rises.",
        "Begin with the whole picture for each k.",
    ),
    Mistake(
        _sorted_counts,
        "The scores came back in the order of the *sorted* counts.",
        "One score for each k, in the order of `counts`.",
    ),
    Mistake(
        deletion_curve(end=lambda scores: scores.mean()),
        "One number came back: the curve's mean.",
        "A score for each of the counts.",
    ),
]


# ---- 6.4 ---------------------------------------------------------------------------------------------------
def aopc(
    drop: Answer = lambda whole, s: whole[:, None] - s,
    repeats: Answer = lambda drops: drops.mean(0),
    end: Answer = lambda drops: drops.sum(1) / (drops.shape[1] + 1),
) -> Answer:
    """An answer to 6.4 with one step exchanged."""

    def answer(whole: Tensor, scores: Tensor) -> Tensor:
        return end(repeats(drop(whole, scores)))

    return answer


_TERMS = "The sum has L + 1 terms, k = 0 … L; the one of k = 0 is 0, and counts in the average."
AOPC = [
    Mistake(
        aopc(end=lambda d: d.mean(1)),
        "The sum is divided by L: the term of k = 0, the whole picture, is missing from the average.",
        _TERMS,
    ),
    Mistake(aopc(end=lambda d: d.sum(1) / (d.shape[1] + 2)), "The sum is divided by L + 2.", _TERMS),
    Mistake(aopc(end=lambda d: d.sum(1)), "The drops are added up, and not averaged.", _TERMS),
    Mistake(
        aopc(end=lambda d: d[:, 1:].sum(1) / d.shape[1]),
        "The term of k = 1 is missing: `scores` begins with one region replaced, not with the whole picture.",
        _TERMS,
    ),
    Mistake(
        aopc(end=lambda d: d[:, :-1].sum(1) / d.shape[1]),
        "The last term, k = L, is missing.",
        _TERMS,
    ),
    Mistake(
        aopc(end=lambda d: d[:, -1]), "This is the drop at the end of the walk only.", "Average over the way."
    ),
    Mistake(
        aopc(drop=lambda whole, s: s - whole[:, None]),
        "The sign is turned round: a score that falls should give a positive value.",
        "f(x⁽⁰⁾) − f(x⁽ᵏ⁾).",
    ),
    Mistake(
        aopc(drop=lambda whole, s: s, end=lambda d: d.sum(1) / (d.shape[1] + 1)),
        "This averages the scores themselves: the area *under* the curve, without its beginning.",
        "The drop below the whole picture's score: f(x⁽⁰⁾) − f(x⁽ᵏ⁾).",
    ),
    Mistake(
        aopc(drop=lambda whole, s: (whole[:, None] - s) / whole[:, None]),
        "The drops were divided by the whole picture's score.",
        "The plain difference f(x⁽⁰⁾) − f(x⁽ᵏ⁾).",
    ),
    Mistake(
        aopc(drop=lambda whole, s: s[..., :1] - s),
        "The drops are counted from k = 1: the first replaced region costs nothing.",
        "From the whole picture's score, `whole`.",
    ),
    Mistake(
        aopc(drop=lambda whole, s: (whole[:, None] - s).clamp(min=0)),
        "A score that rises counts as no drop: the negative differences were cut off.",
        "The plain difference f(x⁽⁰⁾) − f(x⁽ᵏ⁾), with its sign.",
    ),
    Mistake(
        aopc(drop=lambda whole, s: (whole[:, None] - s).abs()),
        "A score that rises counts as one that falls: the absolute differences were taken.",
        "The plain difference f(x⁽⁰⁾) − f(x⁽ᵏ⁾), with its sign.",
    ),
    Mistake(
        aopc(repeats=lambda d: d[0]),
        "Only the first repetition is used.",
        "The mean over the first dimension, the repetitions.",
    ),
    Mistake(
        aopc(repeats=lambda d: d.sum(0)),
        "The repetitions are added up.",
        "Their mean.",
    ),
    Mistake(
        aopc(repeats=lambda d: d.amax(0)),
        "Of the repetitions the largest drop is taken at each step.",
        "Their mean.",
    ),
    Mistake(
        lambda whole, scores: aopc()(whole, scores).mean(),
        "One number came back, the mean over the pictures.",
        "A value for each picture, (N,).",
    ),
    Mistake(
        aopc(repeats=lambda d: d, end=lambda d: d.sum(2) / (d.shape[2] + 1)),
        "The repetitions are still apart.",
        "Average over the first dimension, too.",
    ),
]


# ---- 6.5 ---------------------------------------------------------------------------------------------------
def area(
    pieces: Answer = lambda s: (s[:, 1:] + s[:, :-1]) / 2,
    widths: Answer = lambda f: f[1:] - f[:-1],
    span: Answer = lambda f: f[-1] - f[0],
) -> Answer:
    """An answer to 6.5 with one step exchanged."""

    def answer(fractions: Tensor, scores: Tensor) -> Tensor:
        return (pieces(scores) * widths(fractions)).sum(1) / span(fractions)

    return answer


def _even(fractions: Tensor) -> Tensor:
    steps = len(fractions) - 1
    return ((fractions[-1] - fractions[0]) / steps).expand(steps)


_STRIP = "Between two points lies a strip: its width times the mean of its two heights."
AREA = [
    Mistake(
        lambda fractions, scores: scores.mean(1),
        "This is the mean of the points: a stretch with many points counts more than one with few.",
        _STRIP,
    ),
    Mistake(
        lambda fractions, scores: scores.sum(1),
        "The scores are added up: the more points, the larger the “area”.",
        _STRIP,
    ),
    Mistake(
        area(widths=_even),
        "The points are taken to lie at equal distances.",
        "The width of a strip is the difference of its two fractions.",
    ),
    Mistake(area(pieces=lambda s: s[:, :-1]), "Each strip has the height of its *left* end.", _STRIP),
    Mistake(area(pieces=lambda s: s[:, 1:]), "Each strip has the height of its *right* end.", _STRIP),
    Mistake(
        area(pieces=lambda s: s[:, 1:] + s[:, :-1]),
        "The area is twice too large: the two heights of a strip are added.",
        "Their mean: divide by 2.",
    ),
    Mistake(
        area(span=lambda f: 1.0),
        "The area is not divided by its length: a curve that is 1 everywhere should have the value 1.",
        "Divide by the last fraction minus the first.",
    ),
    Mistake(
        area(span=lambda f: f[-1]),
        "The area is divided by the last fraction: the curve need not begin at 0.",
        "Divide by the last fraction minus the first.",
    ),
    Mistake(
        area(span=lambda f: float(len(f))),
        "The area is divided by the number of points.",
        "Divide by the last fraction minus the first.",
    ),
    Mistake(
        area(span=lambda f: float(len(f) - 1)),
        "The area is divided by the number of strips.",
        "Divide by the last fraction minus the first.",
    ),
    Mistake(
        lambda fractions, scores: 1 - area()(fractions, scores),
        "This is the area *above* the curve.",
        "The area between the curve and 0.",
    ),
    Mistake(
        area(widths=lambda f: f[:-1] - f[1:]),
        "The sign is turned round.",
        "A width is the later fraction minus the earlier one.",
    ),
]


# ---- 6.6 ---------------------------------------------------------------------------------------------------
def _top(maps: Tensor, k: int) -> Tensor:
    return maps.flatten(1).argsort(dim=1, descending=True).argsort(dim=1) < k


def _means(masks: Tensor, y: Tensor) -> Tensor:
    return torch.stack([masks[y == c].mean(0) for c in range(int(y.max()) + 1)])


def _nearest(masks: Tensor, means: Tensor) -> Tensor:
    return (masks[:, None] - means).square().sum(2).argmin(1)


Pair = tuple[Tensor, Tensor]


def _explains_labels(train: bool, test: bool) -> Answer:
    """Explains the label, not the answer, in one of the two sets or in both."""

    def answer(explain: Answer, predict: Answer, *given: Any) -> Tensor:
        *pairs, k = given
        seen = [
            (_top(explain(x, y if leaks else predict(x)), k).double(), y)
            for (x, y), leaks in zip(pairs, (train, test), strict=True)
        ]
        return (_nearest(seen[1][0], _means(*seen[0])) == seen[1][1]).double().mean()

    return answer


def _nearest_of_sums(masks: Tensor, y: Tensor, asked: Tensor) -> Tensor:
    return _nearest(asked, torch.stack([masks[y == c].sum(0) for c in range(int(y.max()) + 1)]))


def _nearest_of_ten(masks: Tensor, y: Tensor, asked: Tensor) -> Tensor:
    return _nearest(asked, torch.stack([masks[y == c].mean(0) for c in range(10)]))


def _by_neighbour(masks: Tensor, y: Tensor, asked: Tensor) -> Tensor:
    return y[(asked[:, None] - masks).square().sum(2).argmin(1)]


def _classified(classify: Answer) -> Answer:
    """An answer to 6.6 whose classifier is another one."""

    def answer(explain: Answer, predict: Answer, train: Pair, test: Pair, k: int) -> Tensor:
        seen, asked = (_top(explain(x, predict(x)), k).double() for x, _ in (train, test))
        return (classify(seen, train[1], asked) == test[1]).double().mean()

    return answer


def _grouped_by_answer(explain: Answer, predict: Answer, train: Pair, test: Pair, k: int) -> Tensor:
    seen, asked = (_top(explain(x, predict(x)), k).double() for x, _ in (train, test))
    return (_nearest(asked, _means(seen, predict(train[0]))) == test[1]).double().mean()


def _ranked_over_all(maps: Tensor, k: int) -> Tensor:
    every = maps.flatten().argsort(descending=True).argsort().view(len(maps), -1)
    return every < k * len(maps)


def leakage(
    target: Answer = lambda predict, x, y: predict(x),
    top: Answer = _top,
    shown: Answer = lambda hidden, x: hidden.double(),
    learn: Answer = lambda train, test: train,
    ask: Answer = lambda train, test: test,
    truth: Answer = lambda y, said: y,
    decide: Answer = _nearest,
) -> Answer:
    """An answer to 6.6 with one step exchanged."""

    def answer(explain: Answer, predict: Answer, train: Pair, test: Pair, k: int) -> Tensor:
        seen = []
        for x, y in (train, test):
            said = target(predict, x, y)
            seen.append((shown(top(explain(x, said), k), x), y, predict(x)))
        masks, y, said = learn(*seen)
        means = _means(masks, truth(y, said))
        masks, y, said = ask(*seen)
        return (decide(masks, means) == truth(y, said)).double().mean()

    return answer


def _both(train: tuple, test: tuple) -> tuple:
    return tuple(torch.cat(pair) for pair in zip(train, test, strict=True))


LEAKAGE = [
    Mistake(
        leakage(target=lambda predict, x, y: y),
        "The label leaks: the maps explain the *true* class, so that they know the label before any "
        "network does.",
        "Explain the network's own answer: `explain(x, predict(x))`.",
    ),
    *(
        Mistake(
            _explains_labels(which == "training", which == "test"),
            f"In the {which} set the label leaks: there the maps explain the *true* class.",
            "Explain the network's own answer in both sets: `explain(x, predict(x))`.",
        )
        for which in ("training", "test")
    ),
    Mistake(
        leakage(ask=lambda train, test: train),
        "The accuracy is that on the training set.",
        "Learn the means from `train`, and count on `test`.",
    ),
    Mistake(
        leakage(learn=_both),
        "The mean masks were learnt from the test set as well.",
        "Learn the means from `train` alone.",
    ),
    Mistake(
        leakage(learn=lambda train, test: test),
        "The mean masks were learnt from the test set.",
        "Learn the means from `train`, and count on `test`.",
    ),
    Mistake(
        leakage(top=lambda maps, k: _top(-maps, k)),
        "The *coldest* k pixels are masked.",
        "The hottest ones: `argsort(descending=True)`.",
    ),
    Mistake(
        leakage(top=lambda maps, k: _top(maps, k + 1)),
        "One pixel too many is in every mask.",
        "Ranks begin at 0: `rank < k`.",
    ),
    Mistake(
        leakage(top=lambda maps, k: maps.flatten(1).argsort(dim=1, descending=True) < k),
        "The order was taken for the rank.",
        "Turn the permutation round: a second `argsort`.",
    ),
    Mistake(
        leakage(shown=lambda hidden, x: torch.where(hidden, 0.0, x.flatten(1))),
        "The classifier sees what is left of the pictures. Here it sees the masks *alone*.",
        "Its input is `mask.double()`.",
    ),
    Mistake(
        leakage(shown=lambda hidden, x: hidden * x.flatten(1)),
        "The classifier sees the hidden pixels' values. Here it sees the masks *alone*.",
        "Its input is `mask.double()`.",
    ),
    Mistake(
        leakage(top=lambda maps, k: maps.flatten(1)),
        "The classifier sees the maps, with their values, and not the masks.",
        "A mask says only *which* k pixels are the hottest.",
    ),
    Mistake(
        leakage(truth=lambda y, said: said),
        "The masks are judged by how well they tell the network's *answer*.",
        "The class is the label: learn and count with `y`.",
    ),
    Mistake(
        leakage(decide=lambda masks, means: (masks @ means.T).argmax(1)),
        "The class with the largest overlap was chosen, not the nearest mean. (With absolute differences in "
        "place of squared ones the result is the same.)",
        "The squared distance, summed over the pixels, is to be smallest.",
    ),
    Mistake(
        leakage(decide=lambda masks, means: (masks[:, None] - means).square().sum(2).argmax(1)),
        "The *farthest* mean was chosen.",
        "`argmin`.",
    ),
    Mistake(
        leakage(
            decide=lambda masks, means: (
                masks @ (means / means.norm(dim=1, keepdim=True).clamp(min=1e-12)).T
            ).argmax(1)
        ),
        "The mean with the smallest *angle* to the mask was chosen, not the nearest.",
        "The squared distance, summed over the pixels, is to be smallest.",
    ),
    Mistake(
        _classified(_nearest_of_sums),
        "The masks of a class are added up, not averaged: the sums lie far from every mask.",
        "`mean(dim=0)` over the training pictures with that label.",
    ),
    Mistake(
        _grouped_by_answer,
        "The mean masks are those of the pictures with the same *answer*, not with the same label.",
        "Average the training masks by label: what they tell of the label is asked.",
    ),
    Mistake(
        lambda explain, predict, train, test, k: (predict(test[0]) == test[1]).double().mean(),
        "This is the network's own accuracy, the same for every k: nobody looked at the masks.",
        "Learn the class means of the masks, and name the nearest.",
    ),
    Mistake(
        _classified(_nearest_of_ten),
        "Means of ten classes were taken, and here are three: the mean of no pictures is not a number, and "
        "counts as the nearest.",
        "K is the largest label of `train`, plus 1.",
    ),
    Mistake(
        _classified(_by_neighbour),
        "The class is that of the nearest training *picture's* mask.",
        "Average the masks of each class first; ten classes have ten means.",
    ),
    Mistake(
        leakage(top=_ranked_over_all),
        "The pixels of all the maps were ranked together: one mask then has many pixels, and another none.",
        "Rank within each map: `flatten(1)`, and `argsort(dim=1, …)`.",
    ),
    Mistake(
        leakage(top=lambda maps, k: _top(maps.abs(), k)),
        "The pixels with the largest *absolute* values are masked: a strongly negative pixel is not hot.",
        "Rank the maps as they are.",
    ),
]


# ---- 6.7 ---------------------------------------------------------------------------------------------------
def _fit(x: Tensor, y: Tensor) -> Answer:
    """Least squares with a constant; where columns are constant, the shortest of the solutions."""
    ones = torch.ones(len(x), 1, dtype=x.dtype)
    w = torch.linalg.pinv(torch.cat([x, ones], 1)) @ y
    return lambda x: x @ w[:-1] + w[-1]


def _fit_through_zero(x: Tensor, y: Tensor) -> Answer:
    w = torch.linalg.pinv(x) @ y
    return lambda x: x @ w


def _mean_squared(error: Tensor) -> Tensor:
    return error.square().mean()


def roar(
    hide: Answer = _top,
    fill: Answer = lambda train, own: train.mean(0),
    where: tuple[bool, bool] = (True, True),
    fit: Answer = _fit,
    again: bool = True,
    on: int = 1,
    error: Answer = _mean_squared,
    maps: Answer = lambda heats: heats,
) -> Answer:
    """An answer to 6.7 with one step exchanged."""

    def answer(train: Pair, test: Pair, heats: Pair, counts: Sequence[int]) -> Tensor:
        errors, base = [], fit(*train)
        for k in counts:
            shown = [
                torch.where(hide(heat, k), fill(train[0], x), x) if masked else x
                for (x, _), heat, masked in zip((train, test), maps(heats), where, strict=True)
            ]
            model = fit(shown[0], train[1]) if again else base
            errors.append(error(model(shown[on]) - (train, test)[on][1]))
        return torch.stack(errors)

    return answer


def _hidden_on_hidden(train: Pair, test: Pair, heats: Pair, counts: Sequence[int]) -> Tensor:
    """Hides in what the last k left."""
    (x, y), (new, truth), mean, errors = train, test, train[0].mean(0), []
    for k in counts:
        x, new = (torch.where(_top(heat, k), mean, rows) for heat, rows in zip(heats, (x, new), strict=True))
        errors.append(_mean_squared(_fit(x, y)(new) - truth))
    return torch.stack(errors)


ROAR = [
    Mistake(
        roar(where=(True, False)),
        "The test set is not masked: the new models are asked about features that they never saw vary.",
        "Hide in the training set *and* in the test set, each by its own maps.",
    ),
    Mistake(
        roar(again=False),
        "Nothing is trained again: this asks the first model about masked data. That is deletion.",
        "Fit inside the loop, on the masked training set.",
    ),
    Mistake(
        roar(where=(False, False)),
        "Nothing is hidden: all the errors are alike.",
        "Replace the k hottest features of every row.",
    ),
    Mistake(
        roar(on=0),
        "The error is that on the training set.",
        "Fit on the masked training set, and count on the masked test set.",
    ),
    Mistake(
        roar(hide=lambda heat, k: _top(-heat, k)),
        "The *coldest* features go first: the order is ascending.",
        "`argsort(descending=True)`.",
    ),
    Mistake(
        roar(hide=lambda heat, k: _top(heat, k + 1)),
        "One feature too many is hidden: with k = 0 nothing should be.",
        "Ranks begin at 0: `rank < k`.",
    ),
    Mistake(
        roar(hide=lambda heat, k: heat.argsort(dim=1, descending=True) < k),
        "The order was taken for the rank.",
        "Turn the permutation round: a second `argsort`.",
    ),
    Mistake(
        roar(fill=lambda train, own: torch.zeros_like(train[0])),
        "Hidden features become 0: their mean over the training set is asked for.",
        "`train_x.mean(dim=0)`, of the data before anything is hidden.",
    ),
    Mistake(
        roar(fill=lambda train, own: own.mean(0)),
        "In the test set hidden features become the *test set's* mean: the model has learnt another fill.",
        "One fill for both, from the training set.",
    ),
    Mistake(
        roar(fill=lambda train, own: train.mean()),
        "One number replaces every feature: the mean over rows and features.",
        "Each feature has its own mean: `mean(dim=0)`.",
    ),
    Mistake(
        roar(fill=lambda train, own: own.mean(1, keepdim=True)),
        "Hidden features become the mean of their *row*.",
        "The feature's mean over the training rows: `mean(dim=0)`.",
    ),
    Mistake(
        roar(hide=lambda heat, k: _top(heat.abs(), k)),
        "The features with the largest *absolute* heat go first: a strongly negative one is not hot.",
        "Rank the maps as they are.",
    ),
    Mistake(
        roar(maps=lambda heats: (heats[0], heats[0][: len(heats[1])])),
        "The test set is masked by maps of the training set.",
        "Each set has its own maps: `heats[0]` and `heats[1]`.",
    ),
    Mistake(
        _hidden_on_hidden,
        "What one k has hidden stays hidden for the next: that is right only where `counts` rises.",
        "Begin with the rows as they were given, for each k.",
    ),
    Mistake(
        roar(maps=lambda heats: [h.mean(0).expand_as(h) for h in heats]),
        "The same features are hidden in every row.",
        "Each row has a map of its own.",
    ),
    Mistake(
        roar(fit=_fit_through_zero),
        "The constant is missing: the plane goes through 0.",
        "Append a column of ones to the features.",
    ),
    Mistake(
        roar(error=lambda e: e.square().sum()),
        "The squared errors are added up.",
        "Their mean over the test rows.",
    ),
    Mistake(roar(error=lambda e: e.square().mean().sqrt()), "The root was taken.", "The mean squared error."),
    Mistake(roar(error=lambda e: e.abs().mean()), "This is the mean absolute error.", "Square the errors."),
]


# ---- 6.8 ---------------------------------------------------------------------------------------------------
def control() -> Answer:
    """An answer to 6.8: how far a pixel's colour lies from the picture's mean colour."""
    return lambda x: (x - x.mean((2, 3), keepdim=True)).square().sum(1)


CONTROL = [
    Mistake(
        lambda x: (x - x.mean((0, 2, 3), keepdim=True)).square().sum(1),
        "A picture's map changes with the other pictures of the batch.",
        "Take every mean over the picture's own pixels: `mean((2, 3), keepdim=True)`.",
    ),
    Mistake(
        lambda x: (x - x.mean((2, 3), keepdim=True)).square(),
        "A map for every channel came back.",
        "Sum over the channels: (N, H, W).",
    ),
]

MISTAKES = {
    "6.1": (POINTING,),
    "6.2": (MEAN_ENERGY,),
    "6.3": (DELETION_CURVE,),
    "6.4": (AOPC,),
    "6.5": (AREA,),
    "6.6": (LEAKAGE,),
    "6.7": (ROAR,),
    "6.8": (CONTROL,),
}
