"""Protocols: what is asked, of whom, about which pictures. Each is a data file, ``protocols/NAME.toml``.

>>> [protocol.id for protocol in all_protocols()]
['predict-model', 'trust', 'which-class']
>>> read("which-class").conditions
('deconvnet', 'guided_backprop', 'grad_cam', 'guided_grad_cam')
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STIMULI = HERE / "stimuli"
LANGUAGES = ("en", "ko")
TASKS = ("choice", "rating", "prediction")

Text = dict[str, str]  # language -> words


@dataclass(frozen=True)
class Exclusion:
    """The rule, stated before any answer is read, by which a participant is left out of the analysis.

    Attributes:
        missed: how many attention checks may be missed.
        fastest: the median of a participant's reaction times must not be below this, in milliseconds.
    """

    missed: int
    fastest: int

    def __str__(self) -> str:
        checks = "any attention check" if self.missed == 0 else f"more than {self.missed} attention checks"
        return (
            f"left out are those who did not finish, who missed {checks}, or whose median answer took less "
            f"than {self.fastest / 1000:g} s"
        )


@dataclass(frozen=True)
class Protocol:
    """One study, as its file states it.

    Attributes:
        id: its name in addresses.
        version: changes whenever an answer to the new form could not stand beside an answer to the old.
        task: ``"choice"`` of two classes, ``"rating"`` from −2 to 2, or ``"prediction"`` of a network.
        conditions: what is compared.
        between: whether a participant sees one condition only.
        stimuli: the manifest in ``stimuli/`` with its pictures.
        minutes: roughly how long it takes: an estimate.
        texts: title, question and so on, in every language.
        words: what options and conditions are called, in every language.
        published: results of other people's studies that are shown beside the class's own.
        exclusion: who is left out.
    """

    id: str
    version: int
    task: str
    conditions: tuple[str, ...]
    between: bool
    stimuli: str
    minutes: int
    texts: dict[str, Text]
    words: dict[str, Text]
    published: tuple[dict[str, Any], ...]
    exclusion: Exclusion

    @property
    def chance(self) -> float | None:
        """The accuracy of somebody who guesses; None where no answer is right."""
        return None if self.task == "rating" else 0.5

    def name(self, condition: str, language: str = "en") -> str:
        """What a condition is called."""
        return self.words[condition][language]


@cache
def read(name: str) -> Protocol:
    """The protocol ``name``, from its file.

    Raises:
        ValueError: if there is no such protocol, or its file lacks something.
    """
    path = HERE / "protocols" / f"{name}.toml"
    if name not in {one.stem for one in path.parent.glob("*.toml")}:  # the name may come from an address
        raise ValueError(f"name must be one of {', '.join(_names())}, got {name!r}")
    with path.open("rb") as file:
        return parse(tomllib.load(file), path.name)


def _names() -> list[str]:
    return sorted(one.stem for one in (HERE / "protocols").glob("*.toml"))


def all_protocols() -> list[Protocol]:
    """Every protocol that the course has."""
    return [read(name) for name in _names()]


def parse(data: dict[str, Any], where: str = "a protocol") -> Protocol:
    """A protocol from the contents of its file.

    Raises:
        ValueError: if a key is missing or unknown, a text lacks a language, or a condition has no name.
    """
    needed = {"id", "version", "task", "conditions", "between", "stimuli", "minutes", "exclusion"}
    needed |= {"texts", "words", "published"}
    if set(data) != needed:
        raise ValueError(
            f"{where} must have the keys {sorted(needed)}, differs in {sorted(needed ^ set(data))}"
        )
    if data["task"] not in TASKS:
        raise ValueError(f"{where}: task must be one of {', '.join(TASKS)}, got {data['task']!r}")
    for name, text in [*data["texts"].items(), *data["words"].items()]:
        if set(text) != set(LANGUAGES) or not all(text.values()):
            raise ValueError(f"{where}: {name!r} must have words in {' and '.join(LANGUAGES)}, got {text}")
    for condition in data["conditions"]:
        if condition not in data["words"]:
            raise ValueError(f"{where}: the condition {condition!r} has no name among the words")
    return Protocol(
        **{
            **data,
            "conditions": tuple(data["conditions"]),
            "published": tuple(data["published"]),
            "exclusion": Exclusion(**data["exclusion"]),
        }
    )


@cache
def pictures(name: str, folder: Path = STIMULI) -> dict[str, Any]:
    """What the pictures of a study are: items under ``main``, ``attention`` and ``practice`` or ``learn``.

    Raises:
        FileNotFoundError: if they have not been drawn.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"no pictures at {path}; draw them: python -m xai_course.study stimuli")
    return json.loads(path.read_text(encoding="utf-8"))


@cache
def interface(language: str) -> dict[str, str]:
    """The words of the participant's page that belong to no protocol."""
    if language not in LANGUAGES:
        raise ValueError(f"language must be one of {', '.join(LANGUAGES)}, got {language!r}")
    return tomllib.loads((HERE / "texts" / f"{language}.toml").read_text(encoding="utf-8"))
