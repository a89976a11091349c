"""The interventions of chapter 9: one cause of a scene is changed, all else stays as it was drawn.

A scene's object, its tag, the colour of its ground and its focus were drawn apart from each other, so each
can be changed alone: the scene is drawn again from the same draws. Nothing guesses what was behind a tag.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from xai_lib import _checks
from xai_lib._causes import TINTS, Scenes

COLOURS = TINTS[1:]


class Intervention(NamedTuple):
    """One intervention: which cause it sets, what it does, and the one that undoes it."""

    cause: str  # "tag" | "background" | "blur" | "object"
    says: str
    values: dict[str, Any]  # for Scenes.redraw
    opposite: str | None


INTERVENTIONS: dict[str, Intervention] = {
    "remove_tag": Intervention("tag", "no scene carries the tag", {"tag": False}, "add_tag"),
    "add_tag": Intervention("tag", "every scene carries the tag", {"tag": True}, "remove_tag"),
    "plain_background": Intervention(
        "background", "no ground is red, green or blue", {"tint": 0}, "swap_background"
    ),
    "swap_background": Intervention("background", "every ground has the colour `to`", {}, "plain_background"),
    "sharpen": Intervention("blur", "every scene is in focus", {"blur": False}, "blur"),
    "blur": Intervention("blur", "every scene is out of focus", {"blur": True}, "sharpen"),
    "remove_object": Intervention("object", "every scene is drawn without its object", {"empty": True}, None),
}


def intervene(scenes: Scenes, name: str, *, to: str | None = None) -> Scenes:
    r"""The same scenes with one cause set.

    Args:
        scenes: of a case, ``case.scenes`` or ``case.fresh(...)``.
        name: one of :data:`INTERVENTIONS`.
        to: the colour of the ground, ``"red"``, ``"green"`` or ``"blue"``, for ``"swap_background"`` only.

    Returns:
        New scenes; those given keep their pixels. What the cause does not reach is the same to the last bit:
        outside ``tag_masks`` for the tag; where the object and the bar cover the ground for its colour.

    Raises:
        ValueError: if ``name`` or ``to`` is unknown, or ``to`` is missing or not wanted.
        TypeError: if ``scenes`` are none.

    >>> from xai_course.audit import open_case
    >>> case = open_case("Ada")
    >>> intervene(case.scenes, "remove_tag").tag.any()
    tensor(False)
    """
    if not isinstance(scenes, Scenes):
        raise TypeError(
            f"scenes must be case.scenes or what case.fresh(...) returns, got {type(scenes).__name__}"
        )
    _checks.check_choice("name", name, tuple(INTERVENTIONS))
    values = dict(INTERVENTIONS[name].values)
    if name == "swap_background":
        if to is None:
            raise ValueError(f"to must be one of {COLOURS} for 'swap_background', got None")
        _checks.check_choice("to", to, COLOURS)
        values["tint"] = TINTS.index(to)
    elif to is not None:
        raise ValueError(f"to must be None for {name!r}, got {to!r}; only 'swap_background' takes a colour")
    return scenes.redraw(**values)
