"""What a study found: accuracy or trust for each condition, with intervals that know who answered.

Answers are not independent. One person gives many, and one picture is answered by many, so the interval that
treats each answer as a fresh draw (Wilson's) is too narrow. Beside it stand two more:

- ``people``, a cluster bootstrap that draws whole participants: it speaks of other people and *these*
  pictures;
- ``both``, from the variance that participants and pictures explain together: it speaks of other people and
  other pictures.

The second is a mixed-effects variance by moments: crossed effects of participants and pictures, without the
assumption that they are normal. We tried the bootstrap that draws participants *and* pictures
(:func:`pigeonhole`) in its place: it counts the noise of a single answer three times (Owen 2007), and with
four answers a person its intervals are far too wide. ``tests/study`` measures how often each one covers.

>>> found = analyse(example("which-class"))
>>> found.simulated, found.left_out
(60, {'s-006': 'missed 2 of 2 attention checks', 's-049': 'missed 1 of 2 attention checks'})
>>> found["grad_cam"].title, found.show(found["grad_cam"].value)
('Grad-CAM', '70%')
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from xai_course.study.records import FORMAT

EXAMPLES = Path(__file__).parent / "examples"


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


# ---- one proportion ----------------------------------------------------------------------------------------
def wilson(right: int, n: int, level: float = 0.95) -> Interval:
    r"""Wilson's interval for a share of ``right`` out of ``n`` independent answers.

    Args:
        right: how many of the answers were right.
        n: how many there were.
        level: how often such an interval is to cover the true share.

    Raises:
        ValueError: if ``right`` is not between 0 and ``n``, ``n`` not positive, or ``level`` not in (0, 1).

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.

    >>> [round(end, 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    """
    _check_counts(right, n)
    _check_level(level)
    z = stats.norm.ppf(0.5 + level / 2)
    share = right / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Interval(max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def against_chance(right: int, n: int, chance: float = 0.5) -> float:
    """The exact two-sided binomial test: how likely are answers this far from ``chance`` by guessing?

    It holds for independent answers. Those of one person are independent if all are guesses, so it can reject
    "everybody guesses", and says nothing of how well people do.

    Raises:
        ValueError: if ``right`` is not between 0 and ``n``, ``n`` not positive, or ``chance`` not in (0, 1).

    >>> round(against_chance(8, 10), 3)
    0.109
    """
    _check_counts(right, n)
    if not 0 < chance < 1:
        raise ValueError(f"chance must lie between 0 and 1, got {chance}")
    return float(stats.binomtest(right, n, chance).pvalue)


# ---- many answers by many people about many pictures -------------------------------------------------------
class Cells(NamedTuple):
    """Answers as parallel arrays: score, participant, picture, condition (whole numbers from 0)."""

    score: np.ndarray
    person: np.ndarray
    item: np.ndarray
    condition: np.ndarray


def mean_of(condition: int) -> Callable[[Cells], np.ndarray]:
    """Weights by which the scores sum to the mean of one condition."""

    def weights(cells: Cells) -> np.ndarray:
        chosen = cells.condition == condition
        return chosen / max(chosen.sum(), 1)

    return weights


def difference_of(a: int, b: int) -> Callable[[Cells], np.ndarray]:
    """Weights by which the scores sum to the mean of condition ``a`` less that of ``b``."""
    return lambda cells: mean_of(a)(cells) - mean_of(b)(cells)


def both_ways(cells: Cells, *conditions: int, level: float = 0.95) -> tuple[float, Interval]:
    r"""A condition's mean, or the difference of two, with the interval for other people *and* other pictures.

    .. math:: V = V_\text{people} + V_\text{pictures} - V_\text{answers}

    Each V sums, over its clusters, the square of what the cluster moves the estimate by; what an answer adds
    on its own stands in both of the first, and is taken off once. Where the sum falls below one of them, the
    larger one is taken. The quantile is Student's, with one degree of freedom fewer than the smaller number
    of clusters.

    Args:
        cells: the answers.
        conditions: one condition, or two: the first less the second.
        level: how often the interval is to cover the truth.

    Returns:
        The estimate, and its interval.

    Source: Cameron, Gelbach & Miller 2011, Robust inference with multiway clustering.
    """
    estimate, moves = _moves(cells, conditions)
    used = np.isin(cells.condition, conditions)
    people, pictures = (np.unique(which[used]) for which in (cells.person, cells.item))
    if min(len(people), len(pictures)) < 2:
        return estimate, Interval(math.nan, math.nan)
    parts = []
    for which, clusters in ((cells.person, people), (cells.item, pictures)):
        sums = np.bincount(which, moves)
        parts.append(float((sums**2).sum()) * len(clusters) / (len(clusters) - 1))
    alone = float((moves**2).sum()) * used.sum() / (used.sum() - 1)
    variance = max(sum(parts) - alone, *parts)
    reach = stats.t.ppf(0.5 + level / 2, min(len(people), len(pictures)) - 1) * math.sqrt(variance)
    return estimate, Interval(float(estimate - reach), float(estimate + reach))


def _moves(cells: Cells, conditions: Sequence[int]) -> tuple[float, np.ndarray]:
    """The estimate, and by how much each answer moves it."""
    estimate, moves = 0.0, np.zeros(len(cells.score))
    for condition, sign in zip(conditions, (1, -1), strict=False):
        chosen = cells.condition == condition
        mean = cells.score[chosen].mean()
        moves += np.where(chosen, sign * (cells.score - mean) / chosen.sum(), 0)
        estimate += sign * float(mean)
    return estimate, moves


def by_people(
    cells: Cells, *conditions: int, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """The interval for other people and these pictures: a bootstrap that draws whole participants.

    Where each participant saw one condition only, they are drawn within their condition.

    Args:
        cells: the answers.
        conditions: one condition, or two: the first less the second.
        draws: how many classes to draw.
        level: how often the interval is to cover the truth.
        seed: of the draws.
    """
    return _bootstrap(cells, conditions, draws, level, seed, pictures=False)


def pigeonhole(
    cells: Cells, *conditions: int, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """As :func:`by_people`, with the pictures drawn too. Wider than it need be: see the head of this module.

    Source: Owen 2007, The pigeonhole bootstrap.
    """
    return _bootstrap(cells, conditions, draws, level, seed, pictures=True)


def _bootstrap(
    cells: Cells, conditions: Sequence[int], draws: int, level: float, seed: int, pictures: bool
) -> Interval:
    rng = np.random.default_rng(seed)
    total = np.zeros(draws)
    often = _drawn(rng, cells, draws)  # (draws, people): how often each is drawn
    items = int(cells.item.max()) + 1
    times = rng.multinomial(items, np.full(items, 1 / items), draws) if pictures else np.ones((1, items))
    for condition, sign in zip(conditions, (1, -1), strict=False):
        chosen = cells.condition == condition
        sums, counts = np.zeros((2, often.shape[1], items))
        at = cells.person[chosen], cells.item[chosen]
        np.add.at(sums, at, cells.score[chosen])
        np.add.at(counts, at, 1)
        above, below = (((often @ grid) * times).sum(1) for grid in (sums, counts))
        with np.errstate(invalid="ignore"):
            total += sign * above / below
    total = total[np.isfinite(total)]  # a draw that left a condition empty says nothing of it
    if len(total) < draws / 2:
        return Interval(math.nan, math.nan)
    low, high = np.quantile(total, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high))


def _drawn(rng: np.random.Generator, cells: Cells, draws: int) -> np.ndarray:
    """Participants drawn with replacement, within the set of conditions that each of them saw."""
    people = int(cells.person.max()) + 1
    seen = np.zeros((people, int(cells.condition.max()) + 1), dtype=bool)
    seen[cells.person, cells.condition] = True
    strata = np.unique(seen, axis=0, return_inverse=True)[1].ravel()
    often = np.zeros((draws, people))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        often[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), draws)
    return often


# ---- an export ---------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Condition:
    """What one condition came to.

    Attributes:
        name: what it is called in the export; ``title`` is what people call it.
        people: how many participants are analysed in it.
        answers: how many answers they gave.
        value: accuracy, or mean trust from −2 to 2.
        wilson: the interval as if the answers were independent (None for ratings).
        people_interval: for other people and these pictures.
        both_interval: for other people and other pictures.
        guessing: the exact binomial test's p-value against guessing (None for ratings).
        seconds: the median reaction time.
    """

    name: str
    title: str
    people: int
    answers: int
    value: float
    wilson: Interval | None
    people_interval: Interval
    both_interval: Interval
    guessing: float | None
    seconds: float


@dataclass(frozen=True)
class Difference:
    """Condition ``a`` less condition ``b``, with the same two intervals."""

    a: str
    b: str
    value: float
    people_interval: Interval
    both_interval: Interval


@dataclass(frozen=True)
class Analysis:
    """What an export says.

    Attributes:
        protocol: the export's own description of the study.
        joined: how many took part in all; ``finished`` of them came to the end.
        simulated: how many of them were simulated raters, which are no people.
        left_out: who is not analysed, and by which part of the rule that was stated beforehand.
        conditions: what each condition came to (those with answers).
        differences: every pair of them.
    """

    protocol: dict[str, Any]
    joined: int
    finished: int
    simulated: int
    left_out: dict[str, str]
    conditions: list[Condition] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    def __getitem__(self, name: str) -> Condition:
        """The condition of that name."""
        for condition in self.conditions:
            if condition.name == name:
                return condition
        raise KeyError(f"no answers under {name!r}; there are {', '.join(c.name for c in self.conditions)}")

    def rows(self) -> list[list[str]]:
        """Cells of a table: condition, participants, answers, value, and its two intervals."""
        return [
            [c.title, str(c.people), str(c.answers), self.show(c.value)]
            + [f"{self.show(i.low)} to {self.show(i.high)}" for i in (c.people_interval, c.both_interval)]
            for c in self.conditions
        ]

    def show(self, value: float) -> str:
        """A value as people write it: a percentage, or a signed rating."""
        if math.isnan(value):
            return "–"
        return f"{value:+.2f}" if self.protocol["task"] == "rating" else f"{value:.0%}"

    def __str__(self) -> str:
        who = f"{self.joined} simulated raters" if self.simulated == self.joined else f"{self.joined} joined"
        if 0 < self.simulated < self.joined:
            who += f" ({self.simulated} of them simulated raters)"
        lines = [f"{who}, {self.finished} finished, {len(self.left_out)} left out by the rule"]
        lines += [
            f"{title:<24}{people:>4} raters {answers:>5} answers {value:>6}   people {one:<16} both {two}"
            for title, people, answers, value, one, two in self.rows()
        ]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a page, with None where an interval cannot be had."""
        return _plain(
            {
                "joined": self.joined,
                "finished": self.finished,
                "simulated": self.simulated,
                "left_out": len(self.left_out),
                "conditions": [vars(one) for one in self.conditions],
                "differences": [vars(one) for one in self.differences],
            }
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def load(path: str | Path) -> dict[str, Any]:
    """An export from its JSON file.

    Raises:
        ValueError: if the file is no export of a study.
    """
    try:
        export = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}; give the file that “Export JSON” saved") from error
    return _checked(export)


def example(name: str = "which-class") -> dict[str, Any]:
    """An export that comes with the course: sixty **simulated raters**, of whom two answer at random.

    Args:
        name: ``"which-class"``, ``"trust"`` or ``"predict-model"``.
    """
    names = sorted(path.stem for path in EXAMPLES.glob("*.json"))
    if name not in names:
        raise ValueError(f"name must be one of {', '.join(names)}, got {name!r}")
    return load(EXAMPLES / f"{name}.json")


def _checked(export: Any) -> dict[str, Any]:
    if not isinstance(export, dict) or export.get("format") != FORMAT:
        raise ValueError(
            f'export must be what a study exports as JSON ("format": "{FORMAT}"), got {type(export).__name__}'
            + (f" with format {export.get('format')!r}" if isinstance(export, dict) else "")
        )
    return export


def excluded(export: dict[str, Any]) -> dict[str, str]:
    """Who is left out, and why, by the rule that the protocol stated beforehand.

    Who did not finish; who missed more attention checks than the rule allows; whose median answer was faster
    than the rule allows. What they answered to the study's own questions plays no part.
    """
    rule, out = _checked(export)["protocol"]["exclusion"], {}
    for person in export["participants"]:
        own = [answer for answer in export["answers"] if answer["participant"] == person["id"]]
        checks = [answer["score"] for answer in own if answer["kind"] == "attention"]
        times = [answer["ms"] for answer in own if answer["kind"] == "main"]
        missed = len(checks) - sum(checks)
        if not person["finished"] or not times:
            out[person["id"]] = "did not finish"
        elif missed > rule["missed"]:
            out[person["id"]] = f"missed {missed} of {len(checks)} attention checks"
        elif np.median(times) < rule["fastest"]:
            out[person["id"]] = f"answered in a median of {np.median(times):.0f} ms"
    return out


def analyse(
    export: dict[str, Any], *, keep_all: bool = False, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> Analysis:
    """What an export says, condition by condition.

    Args:
        export: the plain data of an export (:func:`load`, :func:`example`).
        keep_all: whether to analyse everybody, also those whom the rule leaves out.
        draws: how many classes the bootstrap draws.
        level: how often an interval is to cover the truth.
        seed: of the bootstrap.

    Raises:
        ValueError: if ``export`` is none, ``draws`` is below 100, or ``level`` is not between 0 and 1.
    """
    export = _checked(export)
    _check_level(level)
    if draws < 100:
        raise ValueError(f"draws must be at least 100, got {draws}")
    protocol, people = export["protocol"], export["participants"]
    left_out = {} if keep_all else excluded(export)
    found = Analysis(
        protocol,
        len(people),
        sum(one["finished"] for one in people),
        sum(one["simulated"] for one in people),
        left_out,
    )
    answers = [a for a in export["answers"] if a["kind"] == "main" and a["participant"] not in left_out]
    present = {answer["condition"] for answer in answers}
    names = [name for name in protocol["conditions"] if name in present]
    if not answers:
        return found
    cells = _cells(answers, names)
    options = {"draws": draws, "level": level, "seed": seed}
    for index, name in enumerate(names):
        own = [answer for answer in answers if answer["condition"] == name]
        found.conditions.append(_condition(cells, index, name, own, protocol, level, options))
    for a, b in combinations(range(len(names)), 2):
        value, both = both_ways(cells, a, b, level=level)
        found.differences.append(
            Difference(names[a], names[b], value, by_people(cells, a, b, **options), both)
        )
    return found


def _cells(answers: list[dict[str, Any]], names: list[str]) -> Cells:
    def numbers(key: str) -> np.ndarray:
        return np.unique([answer[key] for answer in answers], return_inverse=True)[1].ravel()

    condition = np.array([names.index(answer["condition"]) for answer in answers])
    score = np.array([answer["score"] for answer in answers], dtype=float)
    return Cells(score, numbers("participant"), numbers("item"), condition)


def _condition(
    cells: Cells,
    index: int,
    name: str,
    own: list[dict[str, Any]],
    protocol: dict[str, Any],
    level: float,
    options: dict[str, Any],
) -> Condition:
    value, both = both_ways(cells, index, level=level)
    right, n = sum(answer["score"] for answer in own), len(own)
    rated = protocol["task"] == "rating"
    return Condition(
        name=name,
        title=protocol["conditions"][name],
        people=len({answer["participant"] for answer in own}),
        answers=n,
        value=value,
        wilson=None if rated else wilson(right, n, level),
        people_interval=by_people(cells, index, **options),
        both_interval=both,
        guessing=None if rated else against_chance(right, n, protocol["chance"]),
        seconds=float(np.median([answer["ms"] for answer in own])) / 1000,
    )


# ---- what a class can show ---------------------------------------------------------------------------------
def simulated_class(
    rng: np.random.Generator, n: int, accuracies: Sequence[float], items: int, people: float, pictures: float
) -> Cells:
    """Answers of an imagined class, dealt out by a Latin square.

    Args:
        rng: of the draws.
        n: participants.
        accuracies: true accuracy of each condition, for the middle person and the middle picture.
        items: pictures; each participant sees each once.
        people: spread of participants' abilities, a standard deviation of the accuracy.
        pictures: likewise of the pictures' difficulties.
    """
    person, item = (grid.ravel() for grid in np.mgrid[:n, :items])
    condition = (person + item) % len(accuracies)
    likely = np.asarray(accuracies)[condition]
    likely = (
        likely + (people * rng.standard_normal(n))[person] + (pictures * rng.standard_normal(items))[item]
    )
    score = (rng.random(len(person)) < likely).astype(float)
    return Cells(score, person, item, condition)


def power(
    n: int,
    lead: float,
    *,
    base: float = 0.5,
    conditions: int = 4,
    items: int = 16,
    people: float = 0.08,
    pictures: float = 0.08,
    classes: int = 400,
    level: float = 0.95,
    seed: int = 0,
) -> float:
    """How often a class of ``n`` finds that one condition leads another by ``lead``.

    Imagined classes answer; found is a difference whose interval for other people and other pictures
    (:func:`both_ways`) lies above zero. The spreads of people and of pictures are assumptions, not
    measurements: try others.

    Args:
        n: participants.
        lead: true difference of the two accuracies; 0 gives the rate of false alarms in this direction.
        base: accuracy of the worse condition, and of all further ones.
        conditions: how many there are; each participant meets each in ``items / conditions`` pictures.
        items: pictures.
        people: standard deviation of the participants' abilities.
        pictures: standard deviation of the pictures' difficulties.
        classes: how many classes to imagine.
        level: of the interval.
        seed: of the draws.

    Returns:
        A share of the classes; its standard error is at most ``0.5 / sqrt(classes)``.

    Raises:
        ValueError: if a number is out of range.
    """
    if n < 2 or conditions < 2 or items < conditions or classes < 1:
        raise ValueError(
            f"n and conditions must be at least 2, items at least conditions, classes at least 1, got "
            f"n = {n}, conditions = {conditions}, items = {items}, classes = {classes}"
        )
    if not 0 <= base <= base + lead <= 1:
        raise ValueError(f"base and base + lead must lie between 0 and 1, got {base} and {base + lead}")
    rng, accuracies = np.random.default_rng(seed), [base + lead] + [base] * (conditions - 1)
    hits = 0
    for _ in range(classes):
        cells = simulated_class(rng, n, accuracies, items, people, pictures)
        hits += both_ways(cells, 0, 1, level=level)[1].low > 0
    return hits / classes


def _check_counts(right: int, n: int) -> None:
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"right must be between 0 and n, and n at least 1, got {right} of {n}")


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
