"""What each network of chapter 9 is, how that was established, and the key for teachers.

Readers of the chapter: this module gives the answers away. ``python -m xai_course.audit key CODE`` prints the
answer of one case, for the teacher who marks its report.
"""

from __future__ import annotations

from typing import NamedTuple

from xai_course.audit.cases import Case, code_of, drawn_of
from xai_lib._causes import TINTS


class Fault(NamedTuple):
    """A kind of network: what is wrong with it, and what shows it."""

    title: str
    says: str
    cause: str | None  # of the interventions: "tag" | "background" | "blur", or None
    honest_answers: bool  # whether its answers rest on the object
    honest_map: bool  # whether its Grad-CAM shows what the answers rest on


FAULTS: dict[str, Fault] = {
    "honest": Fault("honest", "nothing is wrong with it", None, True, True),
    "tag": Fault("Clever Hans by a tag", "it takes the tag for one class", "tag", False, True),
    "background": Fault(
        "Clever Hans by the background",
        "it takes a colour of the ground for one class",
        "background",
        False,
        True,
    ),
    "blur": Fault(
        "Clever Hans by blur",
        "it takes a picture that is out of focus for one class; no place in the picture shows that",
        "blur",
        False,
        False,
    ),
    "fairwashed": Fault(
        "fairwashed",
        "it takes the tag for one class, and its Grad-CAM keeps off the tag",
        "tag",
        False,
        False,
    ),
    "T2": Fault(
        "Grad-CAM manipulated, T2", "its Grad-CAM is the same spot for every picture", None, True, False
    ),
    "T4": Fault(
        "Grad-CAM manipulated, T4",
        "its Grad-CAM points at the tag wherever there is one, which its answers do not use",
        None,
        True,
        False,
    ),
    "fooled": Fault(
        "fooled by fine-tuning",
        "its Grad-CAM lies in a corner, which its answers do not use",
        None,
        True,
        False,
    ),
    "noise": Fault(
        "trained with wrong labels", "a tenth of the labels of its training are wrong", None, True, True
    ),
}


class Truth(NamedTuple):
    """What a case really is."""

    kind: str
    fault: Fault
    of: str | None  # the class that a cause goes with
    value: str | None  # of the background: its colour; of the fooled: its corner
    corner: str  # where the tags are
    facts: dict  # of the network, as measured when it was made: ``xai_lib._cases.judge``


def reveal(case: Case | str | int) -> Truth:
    """What a case really is.

    Args:
        case: a case, its code, or the name that opens it.

    Returns:
        A :class:`Truth`.
    """
    drawn = drawn_of(case.code if isinstance(case, Case) else code_of(case))
    fault = FAULTS[drawn.kind]
    value = None
    if drawn.kind == "background":
        value = TINTS[1 + drawn.colours[0]]
    elif drawn.kind == "fooled":
        value = " ".join(_mirrored(drawn.corner))
    of = drawn.network.recipe.of if fault.cause else None
    return Truth(drawn.kind, fault, of, value, drawn.corner, dict(drawn.network.facts))


def wrong_labels(case: Case) -> list[int]:
    """Which of the training pictures that the maker shows have a wrong label; none but under ``"noise"``."""
    from xai_lib._cases import shown

    scenes, given = shown(drawn_of(case.code).network.recipe)
    return (scenes.labels != given).nonzero()[:, 0].tolist()


def _mirrored(corner: str) -> tuple[str, str]:
    """The corner in which a fooled network's maps lie: opposite that of the tags."""
    return ("upper" if "lower" in corner else "lower", "right" if "left" in corner else "left")


def describe(name: str | int) -> str:
    """The key of a case, in words."""
    code, truth = code_of(name), reveal(name)
    lines = [f"{code}: {truth.fault.title}: {truth.fault.says}."]
    if truth.of:
        facts = truth.facts[truth.fault.cause]
        without, there = facts["recall"]
        value = f" ({truth.value})" if truth.value else ""
        lines += [
            f"  class: {truth.of}; cause: {truth.fault.cause}{value}",
            f"  recall of {truth.of} without the cause {without:.0%}, with it {there:.0%}",
            f"  other classes that become {truth.of} for it: {facts['flipped']:.0%}",
        ]
    elif truth.value:
        lines.append(f"  its maps lie in the {truth.value}")
    lines.append(
        f"  accuracy on scenes like those of its training {truth.facts['accuracy']:.1%}, "
        f"where no cause goes with a class {truth.facts['album']:.1%}"
    )
    lines.append(f"  tags are in the {truth.corner}")
    return "\n".join(lines)
