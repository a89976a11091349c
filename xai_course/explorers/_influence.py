"""Take a training point out, and see what happens beside what influence predicts: chapter 5's explorer."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _base
from ._base import Explorer, decimal

SIDE, REACH = 300, 4.0  # of a panel's drawing in its own units, and what it shows of the plane: −4 to 4
LARGEST = 60  # points: each is taken out, and the model fitted again, at every movement
GROUPS = ("circle", "square")


def influence(
    number: str,
    points: Any,
    labels: Any,
    test: Any,
    *,
    test_label: int = 1,
    l2: float = 0.05,
    first: int = 0,
    caption: str,
    alt: str,
    look: str = "",
) -> Explorer:
    r"""A logistic regression in the plane, fitted again in the page without each of its training points.

    The page minimises :math:`\frac1n \sum_i \ell_i(\theta) + \frac{l_2}{2} |\theta|^2` by Newton's method. It
    shows the boundary with all points, the boundary really fitted again without the chosen one (with the same
    :math:`n`), and the one that :math:`\theta + \frac1n H^{-1} \nabla \ell_i` predicts; for every point the
    predicted and the real change of the test point's loss. The reader drags points, takes them out, and
    changes :math:`l_2`.

    Args:
        number: of the figure, such as ``"5.5"``.
        points: training points, :math:`(n, 2)`, within −4 and 4; n from 4 to 60.
        labels: their classes, :math:`(n,)`, 0 (drawn as circles) or 1 (squares).
        test: the test point, :math:`(2,)`.
        test_label: its class.
        l2: weight decay at first, from 0.005 to 0.5; the bias is penalised too.
        first: the point that is chosen at first.
        caption: what the figure shows; marks as in :func:`xai_course.figures.figure`.
        alt: one sentence that says what is to be seen.
        look: what to look for.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if an array has another shape, is not finite or leaves the plane, a class is not 0 or 1,
            a class has no point, or ``first``, ``l2`` or a text is not as it must be.

    Source: Koh & Liang 2017, arXiv:1703.04730.
    """
    points = _base.check_array("points", points, ("n", 2))
    _base.check_within("points", points, -REACH, REACH)
    labels = _base.check_array("labels", labels, (len(points),))
    test = _base.check_array("test", test, (2,))
    _base.check_within("test", test, -REACH, REACH)
    if not 4 <= len(points) <= LARGEST:
        raise ValueError(f"points must be 4 to {LARGEST}, got {len(points)}")
    if set(labels.tolist()) != {0.0, 1.0}:
        raise ValueError(f"labels must be 0 and 1, each at least once, got {sorted(set(labels.tolist()))}")
    if test_label not in (0, 1):
        raise ValueError(f"test_label must be 0 or 1, got {test_label!r}")
    if not 0.005 <= l2 <= 0.5:
        raise ValueError(f"l2 must be between 0.005 and 0.5, got {l2!r}")
    if first not in range(len(points)):
        raise ValueError(f"first must be one of the points, 0 to {len(points) - 1}, got {first!r}")
    points, test = points.round(3), test.round(3)
    l2 = 10 ** _notch(l2)
    keep = np.ones(len(points))
    found = changes(points, labels, keep, test, test_label, l2)
    return Explorer(
        "influence",
        number,
        body=_body(points, labels, test, test_label, first, found),
        controls=_controls(len(points), first, l2),
        said=_said(first, len(points), labels[first], found),
        data={
            "points": points.tolist(),
            "labels": [int(v) for v in labels],
            "test": test.tolist(),
            "testLabel": int(test_label),
            "reach": REACH,
        },
        caption=caption,
        look=look,
        alt=alt,
        arrays={"points": points, "predicted": found["predicted"], "real": found["real"]},
    )


# --- the model ---------------------------------------------------------------------------------------------


def fitted(points: np.ndarray, labels: np.ndarray, weights: np.ndarray, l2: float) -> np.ndarray:
    """The minimum (3,) of Σ weights · loss + l2/2 |θ|²: two weights and a bias; Newton, with halved steps."""
    z = _lifted(points)
    theta, before = np.zeros(3), np.inf
    step = np.zeros(3)
    for _ in range(100):
        new = theta - step
        value = weights @ losses(new, points, labels) + l2 / 2 * new @ new
        if value > before + 1e-15:
            step = step / 2
            continue
        theta, before = new, value
        p = 1 / (1 + np.exp(-z @ theta))
        slope = z.T @ (weights * (p - labels)) + l2 * theta
        if np.abs(slope).max() < 1e-10:
            break
        step = np.linalg.solve((z.T * (weights * p * (1 - p))) @ z + l2 * np.eye(3), slope)
    return theta


def losses(theta: np.ndarray, points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy of each point, in nats."""
    return np.logaddexp(0, (1 - 2 * labels) * (_lifted(points) @ theta))


def changes(
    points: np.ndarray, labels: np.ndarray, keep: np.ndarray, test: np.ndarray, test_label: int, l2: float
) -> dict[str, np.ndarray]:
    """The test point's loss, and what taking out each point does to it: predicted, and fitted again.

    Of a point that is out already both are zero. The number of examples is that of those kept, and stays when
    one is taken out.
    """
    n, z, one = keep.sum(), _lifted(points), np.array([test_label], dtype=float)
    weights = keep / n
    theta = fitted(points, labels, weights, l2)
    p = 1 / (1 + np.exp(-z @ theta))
    hessian = (z.T * (weights * p * (1 - p))) @ z + l2 * np.eye(3)
    moves = np.linalg.solve(hessian, (z * (weights * (p - labels))[:, None]).T).T  # (n, 3): H⁻¹ g / n
    at = _lifted(test[None])[0]
    slope = (1 / (1 + np.exp(-at @ theta)) - test_label) * at
    now = losses(theta, test[None], one)[0]
    refits = np.stack([fitted(points, labels, weights * (np.arange(len(z)) != i), l2) for i in range(len(z))])
    real = np.array([losses(refit, test[None], one)[0] for refit in refits]) - now
    return {
        "theta": theta,
        "loss": np.array(now),
        "predicted": moves @ slope,
        "real": real,
        "moved": theta + moves,
        "refits": refits,
    }


def _lifted(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, np.ones((len(points), 1))], 1)


# --- the first frame ---------------------------------------------------------------------------------------


def _body(points, labels, test, test_label, first, found) -> str:
    lines = "".join(
        f'<line class="{name}" {_ends(theta)}/>'
        for name, theta in (
            ("now", found["theta"]),
            ("refit", found["refits"][first]),
            ("moved", found["moved"][first]),
        )
    )
    marks = "".join(
        _mark(*_place(p), int(c), i == first) for i, (p, c) in enumerate(zip(points, labels, strict=True))
    )
    x, y = _place(test)
    plane = (
        f'<svg class="s-plane" viewBox="0 0 {SIDE} {SIDE}" aria-hidden="true">{lines}{marks}'
        f'<path class="test c{test_label}" d="M0 -11L11 0L0 11L-11 0Z" '
        f'transform="translate({x:.1f} {y:.1f})"/>'
        "</svg>"
    )
    top = top_of(found)
    dots = "".join(
        f'<circle class="{"is-chosen" if i == first else ""}" r="{7 if i == first else 4}" '
        f'cx="{SIDE / 2 * (1 + 0.9 * a / top):.1f}" cy="{SIDE / 2 * (1 - 0.9 * b / top):.1f}"/>'
        for i, (a, b) in enumerate(zip(found["predicted"], found["real"], strict=True))
    )
    half = SIDE / 2
    scatter = (
        f'<svg class="s-plane" viewBox="0 0 {SIDE} {SIDE}" aria-hidden="true">'
        f'<path class="axis" d="M0 {half:g}H{SIDE}M{half:g} 0V{SIDE}"/>'
        f'<path class="equal" d="M0 {SIDE}L{SIDE} 0"/><g class="dots">{dots}</g></svg>'
    )
    keys = (
        '<p class="s-keys"><span class="key"><i class="now"></i>with all points</span> '
        '<span class="key"><i class="refit"></i>fitted again without the chosen one</span> '
        '<span class="key"><i class="moved"></i>predicted</span></p>'
    )
    return _base.grid(
        _base.panel(
            "plane",
            "The training points, and the boundary",
            f"circles are class 0, squares class 1; the diamond is the test point, of class {test_label}",
            layers=plane,
            after=keys,
        ),
        _base.panel(
            "scatter",
            "Every point, taken out in turn",
            _scale(top),
            layers=scatter,
        ),
        columns=2,
        phone=1,
    )


def top_of(found: dict[str, np.ndarray]) -> float:
    """The end of the two axes."""
    return max(float(np.abs(found["predicted"]).max()), float(np.abs(found["real"]).max()), 1e-6)


def _scale(top: float) -> str:
    return (
        "across the predicted, upwards the real change of the test point’s loss, each from "
        f"{decimal(-top, 3)} to {decimal(top, 3)}; on the line they are equal"
    )


def _place(point: np.ndarray) -> tuple[float, float]:
    return SIDE / 2 * (1 + point[0] / REACH), SIDE / 2 * (1 - point[1] / REACH)


def _mark(x: float, y: float, label: int, chosen: bool) -> str:
    kind = f"point c{label}" + (" is-chosen" if chosen else "")
    shape = '<rect x="-6" y="-6" width="12" height="12"/>' if label else '<circle r="6.5"/>'
    return (
        f'<g class="{kind}" transform="translate({x:.1f} {y:.1f})"><circle class="ring" r="12"/>{shape}</g>'
    )


def _ends(theta: np.ndarray) -> str:
    """The boundary as a line that is longer than the drawing."""
    w, size = theta[:2], max(float(np.hypot(*theta[:2])), 1e-9)
    middle, along = -theta[2] * w / size**2, np.array([-w[1], w[0]]) / size * 3 * REACH
    (x1, y1), (x2, y2) = _place(middle - along), _place(middle + along)
    return f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'


def _controls(count: int, first: int, l2: float) -> str:
    return (
        _base.slider(
            "chosen",
            "The chosen point",
            low=1,
            high=count,
            step=1,
            value=first + 1,
            shown=f"{first + 1} of {count}",
        )
        + _base.slider(
            "decay",
            "Weight decay, from loose to stiff",
            low=-2.3,
            high=-0.3,
            step=0.05,
            value=_notch(l2),
            shown=f"{l2:.3f}",
        )
        + _base.row(
            _base.button("out", "Take the chosen point out, or put it back"),
            _base.button("turn", "Give it the other class"),
            _base.button("again", "Start again"),
        )
    )


def _notch(l2: float) -> float:
    """The slider's place for a weight decay: its logarithm, in steps of 0.05."""
    return round(round(20 * float(np.log10(l2))) / 20, 2)


def _said(chosen: int, count: int, label: float, found: dict[str, np.ndarray]) -> str:
    before, real, predicted = float(found["loss"]), found["real"][chosen], found["predicted"][chosen]
    return (
        f"Point {chosen + 1} of {count}, a {GROUPS[int(label)]}: without it the test point’s loss goes from "
        f"{decimal(before, 3)} to {decimal(before + real, 3)}, a change of {decimal(real, 3)}. Predicted: "
        f"{decimal(predicted, 3)}."
    )
