"""Who sees what, in which order: balanced by Latin squares, decided by the participant's number alone.

Within participants, each picture meets each condition in turn: of as many participants in a row as there are
conditions, no two see one picture under the same one. Conditions follow each other in the rows of a Williams
square, so that none always comes after the same other. Nothing here is drawn afresh: the same study, seed and
number give the same plan.
"""

from __future__ import annotations

import random
from typing import Any

from xai_course.study.protocols import Protocol, pictures

Trial = dict[str, Any]

# What a participant's browser is told of a trial. In practice also the truth, which is said afterwards.
PUBLIC = ("id", "kind", "pictures", "options", "asked", "says")


def latin_square(k: int) -> list[list[int]]:
    """The cyclic square of side ``k``: each number once in each row and each column.

    >>> latin_square(3)
    [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return [[(row + column) % k for column in range(k)] for row in range(k)]


def williams(k: int) -> list[list[int]]:
    """Orders of ``k`` conditions in which each follows each other equally often: k rows, or 2k if k is odd.

    Source: Williams 1949, Experimental designs balanced for the estimation of residual effects of treatments.

    >>> williams(4)
    [[0, 3, 1, 2], [1, 0, 2, 3], [2, 1, 3, 0], [3, 2, 0, 1]]
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    zigzag = [half for low in range((k + 1) // 2) for half in (low, k - 1 - low)][:k]
    rows = [[(start + step) % k for step in zigzag] for start in range(k)]
    return rows + [row[::-1] for row in rows] if k % 2 else rows


def plan(protocol: Protocol, number: int, seed: int = 0) -> list[Trial]:
    """The trials of participant ``number`` (0, 1, 2, …), in order.

    Each has ``id``, ``kind`` (``practice``, ``learn``, ``main`` or ``attention``), ``item``, ``condition``,
    ``pictures`` (files and what they are), ``options`` (what may be answered), ``truth`` and ``asked`` (which
    option an attention check asks for).

    Raises:
        ValueError: if ``number`` is negative, or the items cannot be dealt out evenly to the conditions.
    """
    if number < 0:
        raise ValueError(f"number must be 0 or more, got {number}")
    rng = random.Random(f"{protocol.id}/{seed}/{number}")
    make = {"choice": _choice, "rating": _rating, "prediction": _prediction}[protocol.task]
    before, main, checks = make(protocol, pictures(protocol.stimuli), number, rng)
    for index, check in enumerate(checks):  # at a third, at two thirds ...: each later by those before it
        main.insert((index + 1) * len(main) // (len(checks) + 1) + index, check)
    trials = before + main
    return [{"id": f"t{position:02}"} | trial for position, trial in enumerate(trials)]


def public(trial: Trial) -> Trial:
    """What a participant's browser may know of a trial before it is answered."""
    shown = {key: trial[key] for key in PUBLIC if key in trial}
    return shown | ({"truth": trial["truth"]} if trial["kind"] == "practice" else {})


def dealt(items: list[Trial], conditions: int, number: int, rng: random.Random) -> list[tuple[int, int]]:
    """Pairs (item, condition) in this participant's order: all items once, all conditions equally often.

    Raises:
        ValueError: if the number of items is no multiple of the number of conditions.
    """
    if len(items) % conditions:
        raise ValueError(f"items must be a multiple of {conditions} conditions, got {len(items)}")
    waiting: list[list[int]] = [[] for _ in range(conditions)]
    for index in range(len(items)):
        waiting[(index + number) % conditions].append(index)
    for pile in waiting:
        rng.shuffle(pile)
    rows = williams(conditions)
    blocks = range(len(items) // conditions)
    order = [c for block in blocks for c in rows[(number // conditions + block) % len(rows)]]
    return [(waiting[condition].pop(), condition) for condition in order]


def _choice(
    protocol: Protocol, shown: dict[str, Any], number: int, rng: random.Random
) -> tuple[list[Trial], list[Trial], list[Trial]]:
    k = len(protocol.conditions)

    def trial(kind: str, entry: Trial, condition: str, target: int, turned: int, asked: int | None = None):
        options = entry["classes"][::-1] if turned else list(entry["classes"])
        made = {
            "kind": kind,
            "item": entry["item"],
            "condition": condition,
            "pictures": [
                {"file": entry["picture"], "role": "picture"},
                {"file": entry["maps"][condition][target]["file"], "role": "map"},
            ],
            "options": options,
            "truth": entry["classes"][target],
        }
        return made if asked is None else made | {"asked": entry["classes"][asked]}

    main = []
    for index, condition in dealt(shown["main"], k, number, rng):
        block = index // k  # which class is asked about, and which stands first, change from block to block
        target, turned = (block + number // k) % 2, (block // 2 + number // (2 * k)) % 2
        main.append(trial("main", shown["main"][index], protocol.conditions[condition], target, turned))
    practice = [
        trial("practice", entry, "grad_cam", index % 2, number % 2)
        for index, entry in enumerate(shown["practice"])
    ]
    # An attention check asks for the class that the map is *not* about: who only looks at the map, misses it.
    entry = shown["attention"][0]
    checks = [
        trial("attention", entry, "grad_cam", target, number % 2, asked=1 - target) for target in (0, 1)
    ]
    return practice, main, checks


def _rating(
    protocol: Protocol, shown: dict[str, Any], number: int, rng: random.Random
) -> tuple[list[Trial], list[Trial], list[Trial]]:
    k, options = len(protocol.conditions), ["-2", "-1", "0", "1", "2"]

    def trial(kind: str, entry: Trial, condition: str, turned: int, asked: str | None = None) -> Trial:
        sides = ("tag", "shape") if turned else ("shape", "tag")
        made = {
            "kind": kind,
            "item": entry["item"],
            "condition": condition,
            "pictures": [{"file": entry["picture"], "role": "picture"}]
            + [
                {"file": entry["maps"][condition][side]["file"], "role": role}
                for side, role in zip(sides, ("a", "b"), strict=True)
            ],
            "options": options,
            "truth": "b" if turned else "a",  # where the network stands that looks at the shape
        }
        return made if asked is None else made | {"asked": asked}

    main = []
    for index, condition in dealt(shown["main"], k, number, rng):
        turned = (index // k + number // k) % 2
        main.append(trial("main", shown["main"][index], protocol.conditions[condition], turned))
    practice = [trial("practice", entry, "grad_cam", number % 2) for entry in shown["practice"]]
    checks = [trial("attention", shown["attention"][0], "grad_cam", number % 2, one) for one in ("-2", "2")]
    return practice, main, checks


def _prediction(
    protocol: Protocol, shown: dict[str, Any], number: int, rng: random.Random
) -> tuple[list[Trial], list[Trial], list[Trial]]:
    condition = protocol.conditions[number % len(protocol.conditions)]
    options = ["other", "star"] if number // len(protocol.conditions) % 2 else ["star", "other"]

    def trial(kind: str, entry: Trial, asked: str | None = None) -> Trial:
        made = {
            "kind": kind,
            "item": entry["item"],
            "condition": condition,
            "pictures": [{"file": entry["picture"], "role": "picture"}],
            "options": options,
            "truth": entry["says"],
        }
        if kind == "learn":
            made |= {"says": entry["says"], "options": ["next"]}
            if condition == "with_maps":
                made["pictures"].append({"file": entry["map"]["file"], "role": "map"})
        return made if asked is None else made | {"asked": asked}

    learn = [trial("learn", entry) for entry in shown["learn"]]
    main = [trial("main", entry) for entry in shown["main"]]
    rng.shuffle(learn)
    rng.shuffle(main)
    checks = [trial("attention", entry, one) for entry in shown["attention"] for one in ("star", "other")]
    return learn, main, checks
