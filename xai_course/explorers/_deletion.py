"""Deletion and insertion by hand: pixels go, or come, in the order of a map; chapter 6's explorer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from xai_lib.viz import to_array, to_pixels

from . import _base
from ._base import Explorer, decimal

BOX = {"left": 30, "right": 172, "top": 10, "bottom": 150}  # of the chart, in a square of 180


def deletion(
    number: str,
    picture: Any,
    maps: Mapping[str, Any],
    fills: Mapping[str, Any],
    deleted: Any,
    inserted: Any,
    *,
    name: str,
    caption: str,
    alt: str,
    look: str = "",
    first: float = 0.25,
) -> Explorer:
    r"""Pixels taken from a picture, or put into it, in the order of a map, and what the network says to it.

    The page makes every picture itself, from the order of the pixels: at step k of the S it hides (or shows)
    the k/S of the pixels that the chosen map ranks highest. A network cannot run there: its scores are those
    of ``xai_lib.faithfulness.deletion`` and ``insertion`` at the same steps, and the areas under the curves
    and the places of the maps are computed from them.

    Args:
        number: of the figure, such as ``"6.14"``.
        picture: the photograph, :math:`(3, H, W)` (or with a batch dimension of one), in [0, 1].
        maps: 2 to 6 maps by name, :math:`(H, W)` each, in which no two values are equal: then the order of
            the pixels is the map's alone, and the same wherever it is judged.
        fills: 1 to 4 pictures by name: what the picture looks like with everything hidden.
        deleted: the class's probability, (maps, fills, S + 1), as pixels go; S divides H · W.
        inserted: likewise as they come.
        name: of the class, for the text.
        caption: what the figure shows; marks as in :func:`xai_course.figures.figure`.
        alt: one sentence that says what is to be seen.
        look: what to look for.
        first: share of the pixels that are gone in the first frame, about.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if an array has another shape or is not finite, a probability is not one, a map has equal
            values, or S does not divide the number of pixels.
    """
    pixels = to_pixels(picture, "picture")
    size = pixels.shape[:2]
    names, ways = list(maps), list(fills)
    if not 2 <= len(names) <= 6 or not 1 <= len(ways) <= 4:
        raise ValueError(f"give 2 to 6 maps and 1 to 4 fills, got {len(names)} and {len(ways)}")
    curves = np.stack(
        [
            _base.check_array(what, values, (len(names), len(ways), "steps + 1"))
            for what, values in (("deleted", deleted), ("inserted", inserted))
        ]
    )  # (2, maps, fills, S + 1)
    _base.check_within("deleted and inserted", curves, 0, 1)
    steps = curves.shape[-1] - 1
    if steps < 1 or size[0] * size[1] % steps:
        raise ValueError(f"the steps must divide the {size[0] * size[1]} pixels, got {steps}")
    goes = np.stack([turns(key, _map(key, values, size), steps) for key, values in maps.items()])
    hidden = {key: to_pixels(fill, f"fills[{key!r}]") for key, fill in fills.items()}
    wrong = [key for key, fill in hidden.items() if fill.shape != pixels.shape]
    if wrong:
        raise ValueError(f"fills[{wrong[0]!r}] must be as large as the picture, {size}")
    step = min(steps, max(0, round(first * steps)))
    areas = area_under(curves)
    return Explorer(
        "deletion",
        number,
        body=_body(pixels, hidden[ways[0]], goes[0], step, curves, areas, names, name),
        controls=_controls(names, ways, steps, step),
        said=said("delete", names[0], ways[0], step / steps, curves[0, 0, 0, step], areas[0, :, 0], 0, name),
        data={
            "names": names,
            "fills": ways,
            "what": name,
            "steps": steps,
            "size": [size[1], size[0]],
            "goes": _base.packed(goes, "u8"),
            "scores": _base.packed(curves, "f32"),
            "picture": _base.picture_source(pixels, "picture"),
            "hidden": [_base.picture_source(fill, "fill") for fill in hidden.values()],
            "box": BOX,
        },
        caption=caption,
        look=look,
        alt=alt,
        arrays={"deleted": curves[0].reshape(-1, steps + 1), "inserted": curves[1].reshape(-1, steps + 1)},
    )


def turns(name: str, values: np.ndarray, steps: int) -> np.ndarray:
    """The step at which each pixel changes, 1 to ``steps``: (H, W), the highest value at the first."""
    flat = values.ravel()
    if len(np.unique(flat)) < flat.size:
        raise ValueError(
            f"maps[{name!r}] has equal values, so that its order is not its own; break the ties first, with "
            "a drawn order"
        )
    rank = np.empty(flat.size, dtype=int)
    rank[np.argsort(-flat)] = np.arange(flat.size)
    return (rank // (flat.size // steps) + 1).reshape(values.shape)


def area_under(curves: np.ndarray) -> np.ndarray:
    """Area under each curve by the trapezoid rule, over a way of length 1."""
    return (curves[..., 1:] + curves[..., :-1]).mean(-1) / 2


def place(areas: np.ndarray, which: int, how: str) -> int:
    """Place of a map among all, 1 for the best: deletion's area is to be low, insertion's high."""
    better = areas < areas[which] if how == "delete" else areas > areas[which]
    return int(better.sum()) + 1


def said(
    how: str, name: str, fill: str, share: float, p: float, areas: np.ndarray, which: int, what: str
) -> str:
    """The sentence under the panels."""
    done = f"deleted, behind {fill}" if how == "delete" else f"inserted, on {fill}"
    return (
        f"{name}: {percent(share)} of the pixels {done}: p({what}) = {decimal(p)}. Area under the curve: "
        f"{decimal(areas[which])}, place {place(areas, which, how)} of {len(areas)}."
    )


def percent(share: float) -> str:
    """A share as the script rounds it: halves up."""
    return f"{math.floor(100 * share + 0.5)} %"


def _map(name: str, values: Any, size: tuple[int, int]) -> np.ndarray:
    values = to_array(values)
    values = values[0] if values.ndim == 3 and len(values) == 1 else values
    return _base.check_array(f"maps[{name!r}]", values, size)


# --- the first frame ---------------------------------------------------------------------------------------


def _body(
    pixels: np.ndarray,
    fill: np.ndarray,
    goes: np.ndarray,
    step: int,
    curves: np.ndarray,
    areas: np.ndarray,
    names: list[str],
    name: str,
) -> str:
    shown = np.where((goes > step)[..., None], pixels, fill)
    order = 1 - (goes - 1) / (goes.max() or 1)
    return _base.grid(
        _base.panel(
            "picture",
            "What the network sees",
            f"p({name}) = {decimal(curves[0, 0, 0, step])}",
            layers=_base.layer(
                _base.picture_source(shown, "picture"),
                f"The picture without the pixels that {names[0]} ranks highest",
                classes="heat",
                pixelated=False,
            ),
        ),
        _base.panel(
            "order",
            f"The order of {names[0]}",
            "bright pixels change first",
            layers=_base.layer(
                _base.heat_source(order, top=1.0), f"The order of {names[0]}", classes="heat", pixelated=False
            ),
        ),
        f'<div class="s-panel" data-panel="curve">{_chart(curves[0, :, 0], step)}'
        '<p class="s-name"><span class="s-title">The curve</span>'
        "<small>thin: the other maps</small></p></div>",
        columns=3,
        phone=2,
    ) + _table(names, areas[0, :, 0])


def _points(curve: np.ndarray) -> str:
    across, up = BOX["right"] - BOX["left"], BOX["bottom"] - BOX["top"]
    return " ".join(
        f"{BOX['left'] + across * k / (len(curve) - 1):.1f},{BOX['bottom'] - up * p:.1f}"
        for k, p in enumerate(curve)
    )


def _chart(curves: np.ndarray, step: int) -> str:
    """Probability against the share of the pixels, the chosen map's area filled."""
    left, right, top, bottom = (BOX[side] for side in ("left", "right", "top", "bottom"))
    at = _points(curves[0]).split()[step].split(",")
    thin = "".join(f'<polyline class="guide" points="{_points(curve)}"/>' for curve in curves)
    ticks = "".join(
        f'<text x="{left + (right - left) * share:.0f}" y="164" text-anchor="middle">{percent(share)}</text>'
        f'<text x="26" y="{bottom - (bottom - top) * share + 4:.0f}" text-anchor="end">{share:g}</text>'
        for share in (0, 0.5, 1)
    )
    return (
        '<svg class="s-chart s-error" viewBox="0 0 180 180" role="img" '
        'aria-label="Probability of the class against the share of the pixels that have changed">'
        f'<polygon class="area" points="{left},{bottom} {_points(curves[0])} {right},{bottom}"/>{thin}'
        f'<polyline class="axis" points="{left},{top} {left},{bottom} {right},{bottom}"/>{ticks}'
        f'<polyline class="line coverage" points="{_points(curves[0])}"/>'
        f'<circle class="dot coverage" r="4" cx="{at[0]}" cy="{at[1]}"/>'
        f'<text x="{(left + right) / 2}" y="178" text-anchor="middle">pixels changed</text></svg>'
    )


def _table(names: list[str], areas: np.ndarray) -> str:
    heads = "".join(f'<th scope="col" class="is-number">{_base.escape(name)}</th>' for name in names)

    def cells(values: list[str]) -> str:
        return "".join(
            f'<td class="is-number" data-label="{_base.escape(name)}">{value}</td>'
            for name, value in zip(names, values, strict=True)
        )

    under = cells([decimal(area) for area in areas])
    places = cells([str(place(areas, i, "delete")) for i in range(len(names))])
    return (
        '<div class="s-rows is-stacked" role="region" tabindex="0" aria-label="Areas under the curves">'
        f'<table><thead><tr><th scope="col">all maps, this way</th>{heads}</tr></thead><tbody>'
        f'<tr data-row="area"><th scope="row">area under the curve</th>{under}</tr>'
        f'<tr data-row="place"><th scope="row">place</th>{places}</tr></tbody></table></div>'
    )


def _controls(names: list[str], ways: list[str], steps: int, step: int) -> str:
    return _base.slider(
        "step",
        "Pixels changed",
        low=0,
        high=steps,
        step=1,
        value=step,
        shown=percent(step / steps),
    ) + _base.row(
        _base.segmented("map", "Map", [(str(i), name) for i, name in enumerate(names)], "0"),
        _base.segmented("fill", "Hidden pixels become", [(str(i), way) for i, way in enumerate(ways)], "0"),
        _base.segmented("how", "Pixels", [("delete", "go"), ("insert", "come")], "delete"),
    )
