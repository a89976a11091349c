"""A network's weights drawn at random, layer by layer, and what becomes of its maps; chapter 7's explorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import _base
from ._base import Explorer, decimal

BOX = {"left": 30, "right": 172, "top": 10, "bottom": 150}  # of the chart, in a square of 180
LOW = -0.25  # the chart's lower end; a lower value is drawn there
ORDERS = {"cascade": "all layers down to it", "independent": "this layer alone"}


def randomise(
    number: str,
    layers: Sequence[str],
    maps: Mapping[str, Any],
    alike: Mapping[str, Any],
    sure: Any,
    *,
    name: str,
    caption: str,
    alt: str,
    look: str = "",
    first: int = 0,
    layer: int = 0,
) -> Explorer:
    r"""The maps of a network while its layers are drawn at random, and how alike they stay.

    A network cannot run in a page: its maps are pictures made beforehand. The page shows the one that the
    controls ask for, beside the map of the trained network, and draws the chosen similarity of all methods.

    Args:
        number: of the figure, such as ``"7.6"``.
        layers: names of the L layers as a reader knows them, from the logits downwards.
        maps: 2 to 8 methods by name: :math:`(2, L + 1, H, W)` without negative values; for the layers drawn
            from the logits down to one (cascade) and for one alone (independent). The first of the
            :math:`L + 1` is the trained network's, the same in both.
        alike: 1 to 5 similarities by name: of each map with the trained network's,
            (methods, 2, L + 1), at most 1.
        sure: the probability of the class explained, :math:`(2, L + 1)`.
        name: of that class, for the text.
        caption: what the figure shows; marks as in :func:`xai_course.figures.figure`.
        alt: one sentence that says what is to be seen.
        look: what to look for.
        first: the method of the first frame.
        layer: how many of the layers are drawn in the first frame.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if an array has another shape, is not finite or leaves its range, or the trained network's
            maps differ between the orders.
    """
    names, kinds, count = list(maps), list(alike), len(layers) + 1
    if not 2 <= len(names) <= 8 or not 1 <= len(kinds) <= 5 or count < 2:
        raise ValueError(
            "give 2 to 8 maps, 1 to 5 similarities and at least one layer, got "
            f"{len(names)}, {len(kinds)} and {count - 1}"
        )
    if not 0 <= first < len(names) or not 0 <= layer < count:
        raise ValueError(
            f"first and layer must be of {len(names)} maps and {count} steps, got {first}, {layer}"
        )
    heat = {key: _map(key, values, count) for key, values in maps.items()}
    curves = np.stack(
        [
            _base.check_array(f"alike[{key!r}]", values, (len(names), 2, count))
            for key, values in alike.items()
        ]
    )
    _base.check_within("alike", curves, -1, 1 + 1e-6)
    sure = _base.check_array("sure", sure, (2, count))
    _base.check_within("sure", sure, 0, 1)
    sources = [[[_source(m) for m in order] for order in heat[key]] for key in names]
    every = list(dict.fromkeys(s for method in sources for order in method for s in order))
    place = {source: i for i, source in enumerate(every)}
    curve = curves[0, :, 0]
    return Explorer(
        "randomise",
        number,
        body=_body(names[first], layers, sources[first][0], curve, first, layer, sure[0, layer], name),
        controls=_controls(names, layers, kinds, first, layer),
        said=said(
            names[first], layers, "cascade", layer, kinds[0], curve[first, layer], sure[0, layer], name
        ),
        data={
            "names": names,
            "layers": list(layers),
            "kinds": kinds,
            "what": name,
            "sources": every,
            "maps": [[[place[s] for s in order] for order in method] for method in sources],
            "alike": _base.packed(curves, "f32"),
            "sure": sure.round(6).tolist(),
            "box": BOX,
            "low": LOW,
        },
        caption=caption,
        look=look,
        alt=alt,
        arrays={**{key: values.reshape(2 * count, -1) for key, values in heat.items()}, **dict(alike)},
        bars=_base.bar("heat", "magnitude, as a share of each map’s own maximum", "0", "1"),
    )


def where(layers: Sequence[str], order: str, step: int) -> str:
    """Which layers are random, in words."""
    if step == 0:
        return "all layers as trained"
    if order == "independent":
        return f"only {layers[step - 1]} random"
    return f"only {layers[0]} random" if step == 1 else f"{layers[0]} to {layers[step - 1]} random"


def said(
    name: str, layers: Sequence[str], order: str, step: int, kind: str, value: float, sure: float, what: str
) -> str:
    """The sentence under the panels."""
    return (
        f"{name}, {where(layers, order, step)}: {kind} {decimal(value)} with the map of the trained network. "
        f"p({what}) = {decimal(sure, 3)}."
    )


def _map(name: str, values: Any, count: int) -> np.ndarray:
    values = _base.check_array(f"maps[{name!r}]", values, (2, count, "H", "W"))
    if values.min() < 0:
        raise ValueError(f"maps[{name!r}] must have no negative value, got {values.min():.3g}")
    if not np.array_equal(values[0, 0], values[1, 0]):
        raise ValueError(
            f"maps[{name!r}] must begin with the same map, the trained network's, in both orders"
        )
    return values


def _source(values: np.ndarray) -> str:
    return _base.heat_source(values, top=float(values.max()) or 1.0)


# --- the first frame ---------------------------------------------------------------------------------------


def _body(
    method: str,
    layers: Sequence[str],
    sources: Sequence[str],
    curves: np.ndarray,
    first: int,
    step: int,
    sure: float,
    name: str,
) -> str:
    return _base.grid(
        _base.panel(
            "before",
            f"{method}, as trained",
            "never changes",
            layers=_base.layer(sources[0], f"The map of the trained network by {method}", pixelated=False),
        ),
        _base.panel(
            "after",
            where(layers, "cascade", step),
            f"p({name}) = {decimal(sure, 3)}",
            layers=_base.layer(
                sources[step], f"The map by {method}, {where(layers, 'cascade', step)}", pixelated=False
            ),
        ),
        f'<div class="s-panel" data-panel="curve">{_chart(curves, first, step)}'
        '<p class="s-name"><span class="s-title">How alike they are</span>'
        "<small>thin: the other methods</small></p></div>",
        columns=3,
        phone=2,
    )


def _at(step: int, value: float, last: int) -> tuple[float, float]:
    x = BOX["left"] + (BOX["right"] - BOX["left"]) * step / last
    share = (min(max(value, LOW), 1.0) - LOW) / (1 - LOW)
    return x, BOX["bottom"] - (BOX["bottom"] - BOX["top"]) * share


def _points(curve: np.ndarray) -> str:
    pairs = (_at(k, value, len(curve) - 1) for k, value in enumerate(curve))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def _chart(curves: np.ndarray, first: int, step: int) -> str:
    """Similarity against the layer reached, from the logits (left) to the pixels."""
    left, right, top, bottom = (BOX[side] for side in ("left", "right", "top", "bottom"))
    x, y = _at(step, curves[first, step], curves.shape[1] - 1)
    thin = "".join(f'<polyline class="guide" points="{_points(curve)}"/>' for curve in curves)
    ticks = "".join(
        f'<text x="26" y="{_at(0, value, 1)[1] + 4:.1f}" text-anchor="end">{value:g}</text>'
        for value in (0, 0.5, 1)
    )
    zero = _at(0, 0, 1)[1]
    return (
        '<svg class="s-chart s-error" viewBox="0 0 180 180" role="img" '
        'aria-label="Similarity to the map of the trained network, against the layer reached">'
        f'<polyline class="guide" points="{left},{zero:.1f} {right},{zero:.1f}"/>{thin}'
        f'<polyline class="axis" points="{left},{top} {left},{bottom} {right},{bottom}"/>{ticks}'
        f'<polyline class="line coverage" points="{_points(curves[first])}"/>'
        f'<circle class="dot coverage" r="4" cx="{x:.1f}" cy="{y:.1f}"/>'
        f'<text x="{left}" y="164">logits</text><text x="{right}" y="164" text-anchor="end">pixels</text>'
        f'<text x="{(left + right) / 2}" y="178" text-anchor="middle">layer reached</text></svg>'
    )


def _controls(
    names: Sequence[str], layers: Sequence[str], kinds: Sequence[str], first: int, step: int
) -> str:
    return _base.slider(
        "layer",
        "Random layers",
        low=0,
        high=len(layers),
        step=1,
        value=step,
        shown=where(layers, "cascade", step),
    ) + _base.row(
        _base.segmented("map", "Map", [(str(i), name) for i, name in enumerate(names)], str(first)),
        _base.segmented("order", "Random are", list(ORDERS.items()), "cascade"),
        _base.segmented("kind", "Similarity", [(str(i), kind) for i, kind in enumerate(kinds)], "0"),
    )
