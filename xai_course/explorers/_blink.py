"""A blink comparator: two pictures that look alike, and their heatmaps, which do not: chapter 7's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xai_lib.viz import to_array, to_pixels

from . import _base
from ._base import Explorer, decimal, escape


def blink(
    number: str,
    a: Any,
    b: Any,
    *,
    heat_a: Any,
    heat_b: Any,
    names: Sequence[str] = ("A", "B"),
    answers: Sequence[str] | None = None,
    gain: int = 20,
    until: str | None = None,
    caption: str,
    alt: str,
    look: str = "",
) -> Explorer:
    r"""Two pictures in one place: one, the other, a curtain between, both in turn, their difference.

    The pictures are stored in 256 levels without loss, and the page computes
    :math:`\tfrac12 + \text{gain} \cdot (B - A)` from them. Beside them stand the two heatmaps, each scaled to
    its own maximum. Nothing blinks unasked; where the reader's system asks for less motion, a button takes
    the blinking's place.

    ``blink("7.12", x[0], attacked[0], heat_a=before[0], heat_b=after[0], names=("original", "attacked"),
    until="7.predict.11", caption=…, alt=…)``

    Args:
        number: of the figure, such as ``"7.12"``.
        a, b: the pictures, :math:`(3, H, W)` (or with a batch dimension of one), in [0, 1].
        heat_a, heat_b: their heatmaps, :math:`(h, w)`, without negative values and not all zero.
        names: of the two, one word or two each.
        answers: what the network says of each, such as ``"circle, 98 %"``; None to leave it out.
        gain: by how much the difference is multiplied.
        until: identifier of a question (or several, with spaces between): the heatmaps stay under the veil
            until it is answered, wherever on the page it stands. In a notebook they are open.
        caption: what the figure shows; marks as in :func:`xai_course.figures.figure`.
        alt: one sentence that says what is to be seen.
        look: what to look for.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if the pictures differ in size or not at all, a heatmap has another number of dimensions,
            is not finite, has a negative value or no heat, ``gain`` is below 1, or a text is empty.
    """
    levels = [
        (255 * to_pixels(picture, name)).round().astype(np.uint8) for name, picture in (("a", a), ("b", b))
    ]
    if levels[0].shape != levels[1].shape:
        raise ValueError(f"b must have the size of a, {levels[0].shape[:2]}, got {levels[1].shape[:2]}")
    apart = np.abs(levels[1].astype(int) - levels[0])
    if not apart.any():
        raise ValueError("b must differ from a in at least one of 256 levels, got the same picture")
    heats = [_heat(name, values) for name, values in (("heat_a", heat_a), ("heat_b", heat_b))]
    for name, texts in (("names", names), ("answers", answers or names)):
        if isinstance(texts, str) or len(texts) != 2:
            raise ValueError(f"{name} must be two texts, got {texts!r}")
        for i, text in enumerate(texts):
            _base.check_says(f"{name}[{i}]", text)
    if gain < 1:
        raise ValueError(f"gain must be at least 1, got {gain!r}")
    notes = [f"the network says {answer}" for answer in answers] if answers else ["", ""]
    return Explorer(
        "blink",
        number,
        body=_body(levels, heats, list(names), notes, until),
        controls=_controls(list(names), gain),
        said=said(list(names), 0) + " " + differ(list(names), apart),
        bars=_base.bar("heat", "heat, as a share of its map’s maximum", "0", "1", over=True),
        data={"names": list(names), "notes": notes, "gain": gain, "differ": differ(list(names), apart)},
        caption=caption,
        look=look,
        alt=alt,
        arrays={"difference": levels[1].astype(float) - levels[0], "heat a": heats[0], "heat b": heats[1]},
    )


def said(names: Sequence[str], which: int) -> str:
    return f"Shown: {names[which]}."


def differ(names: Sequence[str], apart: np.ndarray) -> str:
    """By how many of 255 levels."""
    return (
        f"No value of {names[1]} is more than {apart.max()} of 255 levels from {names[0]}; on average "
        f"{decimal(float(apart.mean()), 1)}."
    )


def alike(heats: Sequence[np.ndarray]) -> str:
    """Pearson's correlation of two maps of one size, where both vary."""
    first, second = (heat.ravel() for heat in heats)
    if first.size != second.size or first.std() == 0 or second.std() == 0:
        return ""
    return decimal(float(np.corrcoef(first, second)[0, 1]))


def _heat(name: str, values: Any) -> np.ndarray:
    values = to_array(values)
    values = values[0] if values.ndim == 3 and len(values) == 1 else values
    heat = _base.check_array(name, values, ("h", "w"))
    if heat.min() < 0 or heat.max() <= 0:
        raise ValueError(
            f"{name} must have no negative value and some heat, got {heat.min():.3g} to {heat.max():.3g}"
        )
    return heat


# --- the first frame ---------------------------------------------------------------------------------------


def _body(
    levels: Sequence[np.ndarray],
    heats: Sequence[np.ndarray],
    names: Sequence[str],
    notes: Sequence[str],
    until: str | None,
) -> str:
    height, width = levels[0].shape[:2]
    sources = [_base.pixels_source(picture) for picture in levels]
    pictures = [
        _base.panel(
            slot,
            name,
            note,
            layers=_base.layer(source, f"The picture {name}", pixelated=False),
            ratio=width / height,
        )
        for slot, source, name, note in zip(("first", "second"), sources, names, notes, strict=True)
    ]
    same = alike(heats)
    greys = [
        _base.picture_source(picture / 255, "picture") for picture in levels
    ]  # under a map, not compared
    maps = [
        _base.panel(
            f"heat-{i}",
            f"Heatmap of {name}",
            f"correlation of the two maps: {same}" if same and i else "",
            layers=_base.layer(source, "The picture in grey", classes="is-grey", pixelated=False)
            + _base.layer(
                _base.heat_source(heat, top=float(heat.max()), over=True),
                f"Heatmap of {name} over the picture in grey",
                classes="heat",
                pixelated=False,
            ),
            ratio=width / height,
        )
        for i, (source, name, heat) in enumerate(zip(greys, names, heats, strict=True))
    ]
    both = _base.grid(*maps, columns=2)
    if until:
        both = f'<div class="s-gate" data-gate="{escape(until)}"><div class="s-under">{both}</div></div>'
    return _base.grid(*pictures, f'<div class="s-heats">{both}</div>', columns=4)


def _controls(names: Sequence[str], gain: int) -> str:
    views = [("0", names[0]), ("100", names[1]), ("difference", f"difference × {gain}")]
    return _base.row(
        _base.segmented("view", "Show", views, "0"),
        _base.switch("blink", "Blink"),
        _base.button("swap", "The other one"),
    ) + _base.slider(
        "cover",
        f"Curtain: {names[1]} from the left",
        low=0,
        high=100,
        step=1,
        value=0,
        shown="0 %",
    )
