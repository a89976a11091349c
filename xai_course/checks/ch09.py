"""Checks of chapter 9, the audit: what chance gives, what an intervention shows, and a report.

What people get wrong in the first three stands in ``ch09_mistakes.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .ch09_mistakes import (
    BY_CHANCE,
    CLASS_GAPS,
    TAKEN_AWAY,
    by_chance,
    class_gaps,
    shuffled_answers,
    taken_away,
)
from .inputs import uniform
from .judging import close, compare, expect, fail
from .mistakes import TOLERANCE, told
from .registry import exercise
from .side_effects import left_alone
from .verdicts import Wrong


def _album(n: int, n_classes: int, seed: int, weak: float = 0.35) -> tuple[Tensor, Tensor, Tensor]:
    """Answers, labels and one mark of an album: right or not (n,), (n,), and has it or not (n,), bool.

    Class 1 falls behind where the mark is missing; the last class makes no mistake at all.
    """
    labels = torch.arange(n) % n_classes
    has = uniform(n, seed=seed) < 0.4
    chance = torch.where((labels == 1) & ~has, weak, 0.85).double()
    right = (uniform(n, seed=seed + 1) < chance) | (labels == n_classes - 1)
    return right, labels, has


# ---- 9.1 ---------------------------------------------------------------------------------------------------
@exercise("9.1", "Class by class")
def class_by_class(answer) -> str:
    albums = [(*_album(200, 4, 900), 4), (*_album(90, 3, 902), 3)]

    def probe(function: Callable) -> Any:
        found = [_pairs(function(*(_copy(part) for part in album)), album[-1]) for album in albums]
        return torch.cat(found)

    right, value = probe(class_gaps()), probe(answer)
    value = told(value, right, CLASS_GAPS, probe)
    hits, labels, has, n = albums[0]
    with left_alone(right=hits, labels=labels, has=has):
        answer(hits, labels, has, n)
    expect(
        bool((value[:, 1] > 0).all()),
        "A margin of 0 claims certainty from a handful of images.",
        "Count one right and one wrong image more in each group.",
    )
    _compare(
        value,
        right,
        ("the gaps", "the margins"),
        look="(right + 1) / (n + 2) in each group; then gap and margin.",
    )
    return "a gap, and how far it could be off, for every class."


def _pairs(made: Any, n_classes: int) -> Tensor:
    """The reader's gaps and margins, (K, 2), whether they came as such or as a pair of (K,)."""
    if isinstance(made, tuple | list) and len(made) == 2 and all(_is_row(part, n_classes) for part in made):
        made = torch.stack([torch.as_tensor(part) for part in made], 1)
    if not isinstance(made, Tensor):
        fail(
            f"Your function returned `{type(made).__name__}`; a tensor is wanted.",
            "`torch.stack([gap, margin], 1)`, one row a class.",
        )
    expect(
        tuple(made.shape) == (n_classes, 2),
        f"Your function returned a tensor of shape {tuple(made.shape)}; wanted is {(n_classes, 2)}.",
        "One row a class: its gap, its margin.",
    )
    return made.detach().double()


def _is_row(part: Any, n_classes: int) -> bool:
    return isinstance(part, Tensor) and tuple(part.shape) == (n_classes,)


def _copy(part: Any) -> Any:
    return part.clone() if isinstance(part, Tensor) else part


# ---- 9.2 ---------------------------------------------------------------------------------------------------
def _shuffles(labels: Tensor, draws: int, seed: int) -> Tensor:
    """Orders of the images that exchange only images of one class, (draws, n)."""
    keys = uniform(draws, len(labels), seed=seed)
    found = torch.arange(len(labels)).repeat(draws, 1)
    for c in labels.unique():
        own = (labels == c).nonzero().flatten()
        found[:, own] = own[keys[:, own].argsort(1)]
    return found


@exercise("9.2", "What chance gives")
def what_chance_gives(answer) -> str:
    right_or_not, labels, first = _album(160, 4, 910, weak=0.6)
    cues = torch.stack([first, uniform(160, seed=912) < 0.5, uniform(160, seed=913) < 0.3], 1)
    given = right_or_not, labels, cues, _shuffles(labels, 12, 914)

    def probe(function: Callable) -> Any:
        return function(*(part.clone() for part in given))

    right, value = probe(by_chance()), probe(answer)
    if isinstance(value, Tensor) and close(value, shuffled_answers(*given), TOLERANCE):
        return _CHANCE
    value = told(value, right, BY_CHANCE, probe)
    with left_alone(right=given[0], labels=labels, cues=cues, shuffles=given[3]):
        answer(*given)
    compare(
        value,
        right,
        tolerance=TOLERANCE,
        look="Deal the marks anew, take the gaps, keep the largest magnitude.",
    )
    return _CHANCE


_CHANCE = "this is what the largest of many gaps looks like where no mark matters."


# ---- 9.3 ---------------------------------------------------------------------------------------------------
@exercise("9.3", "Take it away")
def take_it_away(answer) -> str:
    before, labels, has = _album(150, 3, 920, weak=0.9)
    after = before & ~(has & (uniform(150, seed=922) < 0.5)) | (uniform(150, seed=923) < 0.04)
    after = torch.where(labels == 2, before, after)  # no answer of the last class changes

    def probe(function: Callable) -> Any:
        found = [function(before.clone(), after.clone(), labels.clone(), c) for c in (1, 0, 2)]
        return torch.stack([_three(each) for each in found])

    right, value = probe(taken_away()), probe(answer)
    value = told(value, right, TAKEN_AWAY, probe)
    with left_alone(before=before, after=after, labels=labels):
        answer(before, after, labels, 1)
    _compare(
        value,
        right,
        ("`p`", "`q`", "the margin"),
        ("class 1", "class 0", "class 2, in which no answer changes"),
        look="p, q: shares of class c; d = after − before for the margin.",
    )
    return "a claim that somebody else can measure again: class, before, after, margin."


def _three(made: Any) -> Tensor:
    """What the reader returns as p, q and a margin, (3,)."""
    if isinstance(made, tuple | list) and len(made) == 3:
        made = torch.stack([torch.as_tensor(part, dtype=torch.float64).reshape(()) for part in made])
    if not isinstance(made, Tensor) or tuple(made.shape) != (3,):
        shape = f" of shape {tuple(made.shape)}" if isinstance(made, Tensor) else ""
        fail(
            f"Your function returned `{type(made).__name__}`{shape}; three numbers are wanted.",
            "`return p, q, margin`.",
        )
    return made.detach().double()


_WHERE = {
    "the gaps": "A gap is taken between two shares of one class, with the mark and without it.",
    "the margins": "A margin comes from the variances of both shares; each has its own n.",
    "`p`": "`p` is a share of the scenes of class c, before the change.",
    "`q`": "`q` is a share of the scenes of class c, after the change.",
    "the margin": "It comes from the changes d: one for each scene of class c, and the two that are added.",
}


def _compare(
    value: Tensor, right: Tensor, names: Sequence[str], rows: Sequence[str] = (), *, look: str
) -> None:
    """Compares (rows, numbers); where some numbers or named rows are right, says which are not."""
    try:
        compare(value, right, tolerance=TOLERANCE, look=look)
    except Wrong:
        off = [k for k in range(len(names)) if not close(value[:, k], right[:, k], TOLERANCE)]
        scale = right.abs().amax(0).clamp_min(1e-30)
        wrong = ((value - right).abs() > TOLERANCE * scale).any(1).tolist()
        good = [name for k, name in enumerate(names) if k not in off]
        which = [row for row, is_wrong in zip(rows, wrong, strict=bool(rows)) if is_wrong]
        if not off or not (good or len(which) < len(rows)):
            raise
        said = f"{_are([names[k] for k in off])} not right"
        said += f" for {' and '.join(which)}" if len(which) < len(rows) else ""
        said += f"; {_are(good)}." if good else "."
        look = _WHERE[names[off[0]]] if good else look
        try:
            compare(value[:, off], right[:, off], tolerance=TOLERANCE)
        except Wrong as apart:
            said += f" {apart.message}"
        fail(f"{said[:1].upper()}{said[1:]}", look)


def _are(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'are' if len(names) > 1 or names[0].endswith('s') else 'is'}"


# ---- 9.4 ---------------------------------------------------------------------------------------------------
CRITERIA = ("claim", "control", "verdict", "limits")
# Our levels for the three reports of the page, and why.
OURS: dict[str, dict[str, tuple[int, str]]] = {
    "A": {
        "claim": (1, "A picture, and a number that is about no intervention and no class."),
        "control": (1, "There is none."),
        "verdict": (2, "It may be right, and rests on one heatmap."),
        "limits": (1, "Nothing is said of what was not looked at."),
    },
    "B": {
        "claim": (
            3,
            "Intervention, class, before and after: it can be measured again. The margin is missing.",
        ),
        "control": (2, "It is named, and no number is given."),
        "verdict": (3, "It follows from the claim, and a result that would change it is named."),
        "limits": (2, "“More tests could be made” is true of every report."),
    },
    "C": {
        "claim": (4, "Intervention, class, before, after, margin and count, on the same scenes."),
        "control": (4, "An honest network on the same scenes, with its numbers, and what chance gives."),
        "verdict": (4, "It follows, and a result that would turn it is named with a number."),
        "limits": (4, "It names what was not recorded, and which test would find it."),
    },
}


@exercise("9.4", "Three reports, graded", functions=0)
def three_reports_graded(grades) -> str:
    given = _levels(grades)
    totals = {name: sum(levels.values()) for name, levels in given.items()}
    places = [(name, criterion) for name in OURS for criterion in CRITERIA]
    apart = {(name, c): given[name][c] - OURS[name][c][0] for name, c in places}
    far = [place for place in places if abs(apart[place]) > 1]
    if far:
        (name, criterion), more = far[0], len(far) - 1
        fail(
            f"Report {name}, {criterion}: you give {given[name][criterion]}, more than one level too "
            f"{'high' if apart[far[0]] > 0 else 'low'}."
            + (f" {more} more of your levels {'is' if more == 1 else 'are'} as far off." if more else ""),
            OURS[name][criterion][1],
        )
    expect(
        totals["A"] < totals["B"] < totals["C"],
        f"Your sums are {totals['A']}, {totals['B']} and {totals['C']}: a report that can be measured again "
        "should stand above one that can't.",
        "A convinces, C can be checked. Which of the two do you need?",
    )
    one_off = [
        f"{name}, {c} (yours {given[name][c]}, ours {OURS[name][c][0]})"
        for name, c in places
        if apart[name, c]
    ]
    rest = f", the others are one off, which can be argued: {'; '.join(one_off)}" if one_off else ""
    return f"{12 - len(one_off)} of 12 levels are ours{rest}."


def _levels(grades: Any) -> dict[str, dict[str, int]]:
    """The reader's levels, or "not yet"."""
    expect(
        isinstance(grades, Mapping) and set(grades) == set(OURS),
        "A dict with the reports A, B and C is wanted.",
        "Keep the stub's dict.",
    )
    found: dict[str, dict[str, int]] = {}
    for name, levels in grades.items():
        expect(
            isinstance(levels, Mapping) and set(levels) == set(CRITERIA),
            f"Report {name} has other criteria than {', '.join(CRITERIA)}.",
            "Keep the stub's keys.",
        )
        for criterion, level in levels.items():
            whole = isinstance(level, int) and not isinstance(level, bool) and 1 <= level <= 4
            expect(
                whole,
                f"Report {name}, {criterion}: `{level!r:.20}` is no level.",
                "A whole number from 1 to 4; the table says what each means.",
            )
        found[name] = dict(levels)
    return found


# ---- 9.5 ---------------------------------------------------------------------------------------------------
@lru_cache(maxsize=4)
def _case_of(name: str | int) -> Any:
    """The case of a name, drawn once: a reader checks the same one again and again."""
    from ..audit import open_case

    return open_case(name)


@exercise("9.5", "Your case", functions=0)
def your_case(name, report) -> str:
    from ..audit import known_case
    from ..audit.envelope import tally
    from ..audit.faults import reveal
    from ..audit.report import in_words, measured_again, objections

    expect(
        isinstance(name, str | int) and not isinstance(name, bool) and str(name).strip(),
        f"`{name!r:.20}` is no name.",
        "Your own name, as a text: it draws your case.",
    )
    case = _case_of(name)
    for against in objections(report, case.code):
        fail(against.message, against.look)
    for against in measured_again(report, case, known_case("honest")):
        fail(against.message, against.look)
    claims = "; ".join(in_words(claim) for claim in report["claims"])
    missed, invented = tally(report, reveal(case).kind)
    return (
        f"{_outcome(missed, invented)} This is case {case.code} of “{name}”, {report['verdict']}. Measured "
        f"again and found so: {claims}."
    )


def _outcome(missed: int, invented: int) -> str:
    """How many of the findings are in the file, in a sentence that does not say which."""
    things = {0: "", 1: "one thing that is", 2: "two things that are"}
    parts = []
    if missed:
        parts.append(f"missed: {things[missed]} in the file and not among your findings")
    if invented:
        parts.append(f"{invented} of your findings {'is' if invented == 1 else 'are'} not in the file")
    if not parts:
        return "*Held, and nothing missed.*"
    return (
        f"*Held, and {', and '.join(parts)}.* All that you claim comes out again, so the report passes. "
        "Look once more before you open the envelope: it says what."
    )
