"""Draw a digit, and ask a linear classifier why: chapter 1's explorer."""

from __future__ import annotations

from typing import Any

import numpy as np

from xai_lib.viz import to_array

from . import _base
from ._base import Explorer, decimal

SIDE = 8


def digits(
    number: str,
    weights: Any,
    bias: Any,
    samples: Any,
    *,
    caption: str,
    alt: str,
    look: str = "",
    why: int = 5,
    rather_than: int = 9,
    common: Any = None,
) -> Explorer:
    r"""A linear classifier of 8 × 8 digits, with the shares of its scores computed as the reader draws.

    The score of class :math:`c` is :math:`s_c = w_c \cdot x + b_c`. The page shows the shares
    :math:`w_c \odot x` of one score and the shares :math:`(w_a - w_b) \odot x` of a contrast, and lets the
    reader add :math:`\lambda v` to the weights of *all* classes: the first map changes, the contrast and
    the probabilities do not.

    Args:
        number: of the figure, such as ``"1.3"``.
        weights: one row a class, :math:`(10, 64)` or :math:`(10, 8, 8)`.
        bias: :math:`(10,)`.
        samples: digits to start from, :math:`(n, 8, 8)` (or :math:`(n, 1, 8, 8)`), in [0, 1], n from 1 to
            12. The first is shown first.
        caption: what the figure shows; marks as in :func:`xai_course.figures.figure`.
        alt: one sentence that says what is to be seen.
        look: what to look for.
        why: the class that is asked for at first.
        rather_than: the class that it is compared with at first.
        common: the vector :math:`v` that all classes can be given, :math:`(64,)` or :math:`(8, 8)`. By
            default minus the weights of class ``why``: at full strength no pixel has a share in its score.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if an array has another shape, is not finite or ``samples`` is outside [0, 1], a class is
            not among the ten, the two classes are the same, or a text is empty.
    """
    weights = _flat("weights", weights, 10)
    bias = _base.check_array("bias", bias, (10,))
    samples = _samples(samples)
    for name, value in (("why", why), ("rather_than", rather_than)):
        if value not in range(10):
            raise ValueError(f"{name} must be a digit from 0 to 9, got {value!r}")
    if why == rather_than:
        raise ValueError(f"rather_than must be another digit than why, got {rather_than!r} for both")
    common = -weights[why] if common is None else _flat("common", common, 1)[0]

    first = samples[0].ravel()
    single, contrast = weights[why] * first, (weights[why] - weights[rather_than]) * first
    shifted = (weights[why] + common) * first
    top = float(np.abs([single, contrast, shifted]).max()) or 1.0
    scores = weights @ first + bias
    return Explorer(
        "digits",
        number,
        body=_body(first, single, contrast, scores, top, why, rather_than),
        controls=_controls(samples, why, rather_than),
        said=_said(scores, why, rather_than, single, contrast),
        bars=_base.bar("share", "share of the score", decimal(-top), decimal(top), signed=True),
        data={
            "weights": _base.packed(weights, "f32"),
            "bias": _base.packed(bias, "f32"),
            "common": _base.packed(common, "f32"),
            "samples": _base.packed(samples.reshape(len(samples), -1), "f16"),
        },
        caption=caption,
        look=look,
        alt=alt,
        arrays={"weights": weights, "bias": bias, "samples": samples},
    )


def _body(
    first: np.ndarray,
    single: np.ndarray,
    contrast: np.ndarray,
    scores: np.ndarray,
    top: float,
    why: int,
    rather_than: int,
) -> str:
    """The digit, the two maps, and the probabilities."""
    ink = _base.grey_source(first.reshape(SIDE, SIDE), ink=True)
    maps = [
        _base.layer(
            _base.heat_source(values.reshape(SIDE, SIDE), top=top, signed=True),
            f"Shares of the score, 8 by 8, {text}",
            classes="heat",
        )
        for values, text in (
            (single, f"why a {why}"),
            (contrast, f"why a {why} rather than a {rather_than}"),
        )
    ]
    shares = np.exp(scores - scores.max())
    shares = 100 * shares / shares.sum()
    odds = _base.odds("classes", [(str(digit), share) for digit, share in enumerate(shares)])
    return _base.grid(
        _base.panel(
            "pad",
            "the digit",
            "draw here: mouse, finger, or arrow keys and space",
            layers=_base.layer(ink, "A digit of 8 by 8 pixels") + '<i class="s-mark" hidden></i>',
        ),
        _base.panel("single", f"why a {why}?", f"shares sum to {decimal(single.sum())}", layers=maps[0]),
        _base.panel(
            "contrast",
            f"why a {why} rather than a {rather_than}?",
            f"shares sum to {decimal(contrast.sum())}",
            layers=maps[1],
        ),
        f'<div class="s-panel s-scores"><p class="s-name">probability of each digit</p>{odds}</div>',
        columns=4,
    )


def _controls(samples: np.ndarray, why: int, rather_than: int) -> str:
    classes = [(str(digit), str(digit)) for digit in range(10)]
    return (
        _base.row(_picks(samples), _base.button("clear", "Clear the pad"), _base.switch("erase", "Erase"))
        + _base.row(_base.segmented("why", "Why a …", classes, str(why)))
        + _base.row(_base.segmented("rather", "rather than a …", classes, str(rather_than)))
        + _base.slider(
            "common",
            "Add one common pattern to the weights of all ten classes",
            low=0,
            high=1,
            step=0.05,
            value=0,
            shown="none of it",
        )
    )


def _picks(samples: np.ndarray) -> str:
    """The samples as small pictures, of which one is chosen."""
    sources = [_base.grey_source(sample, ink=True) for sample in samples]
    pictures = "".join(
        f'<label><input type="radio" name="KEY-sample" value="{i}"{" checked" if i == 0 else ""}>'
        f'<img class="s-px" src="{source}" alt="Digit {i + 1} of {len(samples)}"></label>'
        for i, source in enumerate(sources)
    )
    return (
        '<div class="s-control"><span class="s-legend" id="KEY-sample-legend">Start from</span>'
        f'<div class="s-picks" role="radiogroup" aria-labelledby="KEY-sample-legend" '
        f'data-control="sample">{pictures}</div></div>'
    )


def _said(scores: np.ndarray, why: int, rather_than: int, single: np.ndarray, contrast: np.ndarray) -> str:
    shares = np.exp(scores - scores.max())
    best = int(scores.argmax())
    return (
        f"The classifier says {best}, with probability {shares[best] / shares.sum():.0%}. ".replace("%", " %")
        + f"The shares of the {why} sum to {decimal(single.sum())}, those of the contrast to "
        f"{decimal(contrast.sum())}."
    )


def _flat(name: str, values: Any, rows: int) -> np.ndarray:
    """Weights over the 64 pixels, (rows, 64), given flat or as 8 × 8."""
    array = np.asarray(to_array(values))
    if array.size == rows * SIDE * SIDE and array.shape[-1] in (SIDE, SIDE * SIDE):
        array = array.reshape(rows, SIDE * SIDE)
    elif rows == 1:
        raise ValueError(f"{name} must be numbers (64,), got shape {array.shape}")
    return _base.check_array(name, array, (rows, SIDE * SIDE))


def _samples(samples: Any) -> np.ndarray:
    array = np.asarray(to_array(samples))
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    array = _base.check_array("samples", array, ("n", SIDE, SIDE))
    _base.check_within("samples", array, 0, 1)
    if len(array) > 12:
        raise ValueError(f"samples must be at most 12 digits, got {len(array)}; choose some")
    return array
