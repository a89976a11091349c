"""A few neurons in the plane: along a level line the score stays, the gradient turns. Chapter 7's."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import _base
from ._base import Explorer, decimal

SIDE, REACH = 300, 2.0  # of a panel's drawing in its own units; the window shows −2 to 2 in both directions
FINE, GRID, STEPS = 120, 60, 20  # cells of the score's picture and of the turns; steps of one walk
BANDS = 12  # of the score's picture, on either side of zero
ARROW = 0.55  # length of the arrows, in the plane's units: they show directions
BETAS = (0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30)
PATH = 160  # steps of STRIDE in which the level line is drawn, either way
STRIDE = 0.04


class Network(NamedTuple):
    r"""The score :math:`\sum_j v_j \, \sigma(w_j \cdot x + b_j) + c`."""

    weights: np.ndarray  # w, (J, 2)
    bias: np.ndarray  # b, (J,)
    out: np.ndarray  # v, (J,)
    shift: float  # c


def curvature(
    number: str,
    weights: Any = ((1.0, 0.25), (-0.5, 1.0), (0.4, 0.9)),
    bias: Any = (-0.2, -0.3, 4.0),
    out: Any = (1.5, -1.7, 0.6),
    shift: float = -2.4,
    *,
    point: Any = (0.1, 1.15),
    beta: float | None = None,
    step: float = 0.5,
    caption: str,
    alt: str,
    look: str = "",
) -> Explorer:
    r"""A few neurons of two inputs, their level lines, and how far a walk along one turns the gradient.

    The page computes :math:`g(x) = \sum_j v_j \sigma(w_j \cdot x + b_j) + c` with :math:`\sigma` a ReLU or
    softplus\ :sub:`β`, draws the level line through a point that the reader moves, walks along it by a step,
    and shows the gradient's direction at both ends: the score is the same, the direction is not. A second
    panel shows that turn for every point of the window: with ReLUs it happens on folds, where it does not
    get smaller with the step; with softplus it is spread out, the wider and the weaker, the smaller β is.

    ``curvature("7.36", caption=…, alt=…)``

    Args:
        number: of the figure, such as ``"7.36"``.
        weights: of the neurons, :math:`(J, 2)`, J from 2 to 8.
        bias: of the neurons, :math:`(J,)`.
        out: with which weight each enters the score, :math:`(J,)`.
        shift: :math:`c`.
        point: where the point is at first, within −2 and 2.
        beta: of the softplus at first, one of 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30; None for ReLU.
        step: length of the walk at first, from 0.1 to 1.
        caption: what the figure shows; marks as in :func:`xai_course.figures.figure`.
        alt: one sentence that says what is to be seen.
        look: what to look for.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if an array has another shape or is not finite, the point lies outside the window,
            ``beta`` or ``step`` is out of range, or a text is empty.

    Source: Dombrowski et al. 2019, arXiv:1906.07983, on the curvature of level sets and softplus.
    """
    weights = _base.check_array("weights", weights, ("J", 2))
    if not 2 <= len(weights) <= 8:
        raise ValueError(f"weights must be of 2 to 8 neurons, got {len(weights)}")
    net = Network(
        weights,
        _base.check_array("bias", bias, (len(weights),)),
        _base.check_array("out", out, (len(weights),)),
        float(_base.check_array("shift", shift, ())),
    )
    point = _base.check_array("point", point, (2,))
    _base.check_within("point", point, -REACH, REACH)
    if beta is not None and beta not in BETAS:
        raise ValueError(f"beta must be None or one of {', '.join(map(str, BETAS))}, got {beta!r}")
    if not 0.1 <= step <= 1:
        raise ValueError(f"step must be between 0.1 and 1, got {step!r}")
    step = round(step / 0.05) * 0.05
    turns = turn_map(net, step, beta)
    found = walked(net, point, step, beta)
    top = float(np.abs(score(net, plane(FINE), None)).max()) or 1.0
    return Explorer(
        "curvature",
        number,
        body=_body(net, point, step, beta, found, turns, top),
        controls=_controls(beta, step),
        said=_said(found, step, turns),
        bars=_base.bar("score", "score", decimal(-top, 1), decimal(top, 1), signed=True)
        + _base.bar("turn", "turn of the gradient", "0°", "90° and more"),
        data={
            "weights": net.weights.tolist(),
            "bias": net.bias.tolist(),
            "out": net.out.tolist(),
            "shift": net.shift,
            "point": point.tolist(),
            "betas": BETAS,
            "top": top,
            "reach": REACH,
            "fine": FINE,
            "grid": GRID,
            "steps": STEPS,
            "bands": BANDS,
            "arrow": ARROW,
            "path": [PATH, STRIDE],
        },
        caption=caption,
        look=look,
        alt=alt,
        arrays={"score": score(net, plane(9), beta), "neurons": np.c_[net.weights, net.bias, net.out]},
    )


# --- what the page computes, in Python ---------------------------------------------------------------------


def plane(cells: int) -> np.ndarray:
    """The centres of cells × cells over the window, from the upper left, (cells, cells, 2)."""
    at = ((np.arange(cells) + 0.5) / cells * 2 - 1) * REACH
    return np.stack(np.meshgrid(at, -at), -1)


def score(net: Network, x: np.ndarray, beta: float | None) -> np.ndarray:
    """Of points (…, 2)."""
    z = x @ net.weights.T + net.bias
    rectified = np.maximum(z, 0)
    if beta is not None:
        rectified = rectified + np.log1p(np.exp(-beta * np.abs(z))) / beta
    return rectified @ net.out + net.shift


def slope(net: Network, x: np.ndarray, beta: float | None) -> np.ndarray:
    """The score's gradient at points (…, 2)."""
    z = x @ net.weights.T + net.bias
    on = (z > 0).astype(float) if beta is None else 1 / (1 + np.exp(-np.clip(beta * z, -500, 500)))
    return (on * net.out) @ net.weights


def walk(
    net: Network, start: np.ndarray, length: float, beta: float | None, steps: int = STEPS
) -> np.ndarray:
    """Where a walk along the level lines ends: each step by the midpoint's tangent, then back to the level.

    With the gradient pointing ahead it goes to the right, for a negative length to the left. Where the
    gradient is zero there is no line, and the walk stands still.
    """
    x, level, h = start, score(net, start, beta), length / steps
    for _ in range(steps):
        middle = x + h / 2 * _tangent(slope(net, x, beta))
        x = x + h * _tangent(slope(net, middle, beta))
        g = slope(net, x, beta)
        square = (g * g).sum(-1)
        off = (score(net, x, beta) - level) / np.where(square > 1e-12, square, 1)
        back = np.where(square > 1e-12, off, 0)[..., None] * g
        size = np.sqrt((back * back).sum(-1))[..., None]
        x = x - back * np.minimum(1, abs(h) / np.where(size > 0, size, 1))
    return x


def _tangent(g: np.ndarray) -> np.ndarray:
    size = np.sqrt((g * g).sum(-1))[..., None]
    turned = np.stack([g[..., 1], -g[..., 0]], -1)
    return np.where(size > 1e-6, turned / np.where(size > 1e-6, size, 1), 0)


def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between two gradients, in degrees, 0 to 180; 0 where one of them is zero."""
    cross, dot = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], (a * b).sum(-1)
    return np.degrees(np.arctan2(np.abs(cross), dot)) * (np.abs(cross) + np.abs(dot) > 1e-12)


def walked(net: Network, point: np.ndarray, step: float, beta: float | None) -> dict[str, Any]:
    """Both ends of a walk: places, scores, gradients, and the angle between these."""
    end = walk(net, point, step, beta)
    ends = np.stack([point, end])
    slopes = slope(net, ends, beta)
    return {
        "end": end,
        "scores": score(net, ends, beta),
        "slopes": slopes,
        "turn": float(angle(slopes[0], slopes[1])),
    }


def turn_map(net: Network, step: float, beta: float | None) -> np.ndarray:
    """How far a walk from each place of the window turns the gradient, in degrees, (GRID, GRID)."""
    x = plane(GRID)
    return angle(slope(net, x, beta), slope(net, walk(net, x, step, beta), beta))


# --- the first frame ---------------------------------------------------------------------------------------


def _body(
    net: Network,
    point: np.ndarray,
    step: float,
    beta: float | None,
    found: dict[str, Any],
    turns: np.ndarray,
    top: float,
) -> str:
    lines = "".join(
        f'<path class="{kind}" d="{d}"/>'
        for kind, d in (("rim level", _level(net, point, beta)), ("level", _level(net, point, beta)))
    )
    arrows = "".join(
        _arrow(kind, place, g)
        for kind, place, g in (
            ("there", found["end"], found["slopes"][1]),
            ("here", point, found["slopes"][0]),
        )
    )
    dots = _dot("there", found["end"]) + _dot("here", point)
    view = f'class="s-over s-curves" viewBox="0 0 {SIDE} {SIDE}" aria-hidden="true"'
    return _base.grid(
        _base.panel(
            "plane",
            "The score, and a level line",
            "drag the point; arrows: directions of the gradient at both ends of the walk",
            layers=_base.layer(
                _base.heat_source(banded(score(net, plane(FINE), beta), top), top=top, signed=True),
                "The score over the plane, in bands",
                classes="score",
                pixelated=False,
            )
            + f"<svg {view}>{lines}{arrows}{dots}</svg>",
        ),
        _base.panel(
            "turns",
            "The turn, from every place",
            f"of the gradient over a walk of {step:.2f} along the level line",
            layers=_base.layer(
                _base.heat_source(turns, top=90.0), "The turn for every place", classes="turn", pixelated=True
            )
            + f"<svg {view}>{_dot('here', point)}</svg>",
        ),
        f'<div class="s-panel s-numbers"><p class="s-big" data-big="turn"><b>{degrees(found["turn"])}</b>'
        "the gradient turns by, from one end of the walk to the other</p>"
        f'<p class="s-big" data-big="change"><b>{change(found)}</b>change of the score</p>'
        f'<p class="s-sum">{_sums(found, turns)}</p></div>',
        columns=3,
    )


def banded(values: np.ndarray, top: float) -> np.ndarray:
    """Scores as the middle of their band, so that the borders between bands are level lines."""
    width = top / BANDS
    return (np.floor(values / width) + 0.5) * width


def degrees(turn: float) -> str:
    return f"{turn:.1f}°"


def change(found: dict[str, Any]) -> str:
    return decimal(float(found["scores"][1] - found["scores"][0]), 3)


def _sums(found: dict[str, Any], turns: np.ndarray) -> str:
    return (
        f"Score at both ends: {decimal(float(found['scores'][0]))} and {decimal(float(found['scores'][1]))}. "
        f"From {share(turns)} % of the window’s {turns.size} places it turns by more than 10°, at most by "
        f"{turns.max():.0f}°."
    )


def share(turns: np.ndarray) -> str:
    return f"{100 * (turns > 10).mean():.0f}"


def _place(point: np.ndarray) -> tuple[float, float]:
    return SIDE / 2 * (1 + point[0] / REACH), SIDE / 2 * (1 - point[1] / REACH)


def _dot(kind: str, point: np.ndarray) -> str:
    x, y = _place(point)
    return f'<circle class="{kind}" r="{7 if kind == "here" else 5.5}" cx="{x:.1f}" cy="{y:.1f}"/>'


def _arrow(kind: str, point: np.ndarray, g: np.ndarray) -> str:
    """A shaft with a head, drawn twice: a rim, then the line."""
    d = _shaft(point, g)
    return "".join(
        f'<path class="{look}" data-arrow="{kind}" d="{d}"/>' for look in ("rim arrow", f"arrow {kind}")
    )


def _shaft(point: np.ndarray, g: np.ndarray) -> str:
    size = float(np.hypot(*g))
    if size < 1e-6:
        return "M0 0"
    (x0, y0), along = _place(point), np.array([g[0], -g[1]]) / size
    long = ARROW * SIDE / 2 / REACH
    x1, y1 = x0 + long * along[0], y0 + long * along[1]
    side = np.array([-along[1], along[0]])
    head = [(x1 - 9 * along[0] + s * 6 * side[0], y1 - 9 * along[1] + s * 6 * side[1]) for s in (1, -1)]
    return (
        f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}M{head[0][0]:.1f} {head[0][1]:.1f}L{x1:.1f} {y1:.1f}"
        f"L{head[1][0]:.1f} {head[1][1]:.1f}"
    )


def _level(net: Network, point: np.ndarray, beta: float | None) -> str:
    """The level line through a point, both ways, as far as the window reaches."""
    ways = []
    for way in (-STRIDE, STRIDE):
        x, line = point, []
        for _ in range(PATH):
            x = walk(net, x, way, beta, 2)
            line.append(_place(x))
            if np.abs(x).max() > REACH:
                break
        ways.append(line)
    points = [*ways[0][::-1], _place(point), *ways[1]]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _controls(beta: float | None, step: float) -> str:
    at = BETAS.index(3 if beta is None else beta)
    return (
        _base.row(
            _base.segmented(
                "rectifier",
                "Neurons with",
                [("relu", "ReLU"), ("softplus", "softplus")],
                "relu" if beta is None else "softplus",
            ),
            _base.button("most", "Where it turns most"),
            _base.button("again", "Start again"),
        )
        + _base.slider(
            "beta",
            "β of the softplus, from round to sharp",
            low=0,
            high=len(BETAS) - 1,
            step=1,
            value=at,
            shown=f"β = {BETAS[at]:g}",
        )
        + _base.slider(
            "step",
            "Walk along the level line",
            low=0.1,
            high=1,
            step=0.05,
            value=step,
            shown=f"{step:.2f}",
        )
    )


def _said(found: dict[str, Any], step: float, turns: np.ndarray) -> str:
    return (
        f"After a walk of {step:.2f} along the level line of {decimal(float(found['scores'][0]))} the score "
        f"has changed by {change(found)}, and the gradient has turned by {degrees(found['turn'])}. Of "
        f"{turns.size} places in the window the largest turn is {turns.max():.0f}°."
    )
