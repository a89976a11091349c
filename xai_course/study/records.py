"""What a study leaves behind: the form of an export, made here alone, as JSON and as a flat table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from xai_course.study.design import Trial
from xai_course.study.protocols import Protocol

FORMAT = "seeing-is-not-believing/study/1"
COLUMNS = (
    "participant",
    "simulated",
    "finished",
    "language",
    "position",
    "kind",
    "item",
    "condition",
    "truth",
    "answer",
    "score",
    "ms",
    "away",
)


def score(protocol: Protocol, trial: Trial, answer: str) -> int:
    """1 for a right answer, else 0; for a rating the trust in the network that looks at the shape, −2 … 2."""
    if trial["kind"] == "attention":
        return int(answer == trial["asked"])
    if protocol.task == "rating":
        return int(answer) if trial["truth"] == "b" else -int(answer)
    return int(answer == trial["truth"])


def as_export(protocol: Protocol, people: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """An export: what :func:`xai_course.study.analysis.analyse` reads.

    Args:
        protocol: the study.
        people: of each participant ``label``, ``language``, ``finished``, ``simulated``, the ``plan``, and
            ``answers``: trial → (answer, milliseconds, whether the page was out of sight meanwhile).

    Returns:
        Plain data, ready for JSON; neither a name nor an address nor a time of day is in it.
    """
    participants, answers = [], []
    for one in people:
        participants.append(
            {
                "id": one["label"],
                "language": one["language"],
                "finished": bool(one["finished"]),
                "simulated": bool(one["simulated"]),
            }
        )
        for position, trial in enumerate(one["plan"]):
            if trial["id"] in one["answers"] and trial["kind"] != "learn":
                answer, ms, away = one["answers"][trial["id"]]
                answers.append(
                    {
                        "participant": one["label"],
                        "position": position,
                        "kind": trial["kind"],
                        "item": trial["item"],
                        "condition": trial["condition"],
                        "truth": trial["truth"],
                        "answer": answer,
                        "score": score(protocol, trial, answer),
                        "ms": ms,
                        "away": bool(away),
                    }
                )
    return {
        "format": FORMAT,
        "simulated": sum(one["simulated"] for one in participants),
        "protocol": {
            "id": protocol.id,
            "version": protocol.version,
            "task": protocol.task,
            "between": protocol.between,
            "conditions": {name: protocol.name(name) for name in protocol.conditions},
            "chance": protocol.chance,
            "exclusion": {"missed": protocol.exclusion.missed, "fastest": protocol.exclusion.fastest},
            "published": list(protocol.published),
        },
        "participants": participants,
        "answers": answers,
    }


def as_csv(export: dict[str, Any]) -> str:
    """An export as a table, one line an answer."""
    people = {one["id"]: one for one in export["participants"]}
    file = io.StringIO()
    table = csv.DictWriter(file, COLUMNS, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    for answer in export["answers"]:
        table.writerow(people[answer["participant"]] | answer)
    return file.getvalue()
