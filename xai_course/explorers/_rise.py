"""RISE, mask by mask: how a map grows out of noise, and how far it has come."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_lib.perturbation import RiseFit

from . import _base
from ._base import Explorer, decimal

SIDE = 56  # places along each side at which the page computes
BOX = {"left": 30, "right": 162, "top": 10, "bottom": 150}  # of the chart, in a square of 180
ESTIMATORS = {"coverage": "library: their coverage", "paper": "paper: N p"}


def rise(
    number: str,
    image: Tensor,
    fit: RiseFit,
    *,
    draws: int = 4,
    name: str = "the class",
    caption: str | None = None,
    look: str = (
        "how many masks it takes until two draws tell the same story. The thin lines of the chart fall "
        "like 1/√n: four times the masks, half the error."
    ),
) -> Explorer:
    r"""An explorer: RISE's map of one picture, mask after mask, for several draws that share no mask.

    The page holds the bits, shifts and scores of ``fit``. It makes the masks from them, adds them up, divides
    by the expected coverage N p (the paper) or by the coverage itself (the library), and computes the
    relative error of both, at 56 × 56 places of the picture. At those places its map is the library's (to
    1e-4 of the map's range; a test compares); the relative error, over fewer pixels, is within two per cent
    where it is below one, and within five where noise prevails.

    Args:
        number: of the figure, such as ``"4.7"``.
        image: the picture, :math:`(1, 3, S, S)` or :math:`(3, S, S)`, in [0, 1]; S at least 56.
        fit: what ``rise_fit`` gave for it, with ``fill=0`` and one target; with ``paired=False`` the draws
            are the paper's. Its masks are dealt into ``draws`` disjoint draws, of at least two units each (a
            unit is what is drawn together: a mask, a pair, a balanced block).
        draws: how many.
        name: of the class explained, for the text.
        caption: what the figure shows; None for a sentence about the numbers of masks.
        look: what to look for.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if ``fit`` is of another size or of more than one map, or has too few masks.

    Source: Petsiuk et al. 2018, arXiv:1806.07421.

    >>> from xai_course import explorers
    >>> from xai_lib import rise_fit
    >>> fit = rise_fit(model, x[:1], 0, n_masks=64, grid=4, paired=False)
    >>> "explorer rise" in repr(explorers.rise("4.7", x[:1], fit, draws=2))
    True
    """
    image = image[0] if image.dim() == 4 and len(image) == 1 else image
    size = fit.masks.size[0]
    if fit.masks.size != (size, size) or tuple(image.shape[-2:]) != (size, size) or size < SIDE:
        raise ValueError(
            f"image must be a square of at least {SIDE} pixels and fit of the same size, "
            f"got {tuple(image.shape)} and masks of {fit.masks.size}"
        )
    if fit.scores.numel() != len(fit.masks):
        raise ValueError(f"fit must be of one picture and one class, got scores {tuple(fit.scores.shape)}")
    each = len(fit.masks) // fit.masks.together // draws * fit.masks.together  # masks of a draw
    if each < 2 * fit.masks.together:
        raise ValueError(
            f"fit must have at least {2 * draws * fit.masks.together} masks for {draws} draws, "
            f"got {len(fit.masks)}; give more masks or fewer draws"
        )
    places = [(2 * i + 1) * size // (2 * SIDE) for i in range(SIDE)]
    lengths = _lengths(each, draws, fit.masks.together)
    errors = {
        by: [(n, _part(fit, 0, n, by).relative_error.item()) for n in lengths if n <= each]
        for by in ESTIMATORS
    }
    axes = _axes(errors, lengths)
    parts = [_part(fit, k * each, each, "coverage") for k in range(2)]
    heat = [_sampled(part.heatmap.squeeze(0), places) for part in parts]
    agree = np.corrcoef(heat[0].ravel(), heat[1].ravel())[0, 1]
    score, error = fit.scores.flatten()[each - 1].item(), parts[0].relative_error.item()
    mask = _sampled(fit.masks.pixels(torch.tensor([each - 1]))[0], places)
    return Explorer(
        "rise",
        number,
        body=_body(image, mask, score, heat, each, error, agree, _chart(errors, axes)),
        controls=_controls(each, draws),
        said=_said(each, error, agree),
        data={
            "bits": _base.packed(fit.masks.bits, "bits"),
            "shifts": fit.masks.shifts.tolist(),
            "scores": _base.packed(fit.scores.flatten().float(), "f32"),
            "grid": fit.masks.bits.shape[-1],
            "together": fit.masks.together,
            "keep": fit.masks.keep,
            "size": size,
            "places": places,
            "draws": draws,
            "each": each,
            "lengths": lengths,
            "axes": axes,
        },
        caption=caption
        or (
            f"RISE for “{name}”, mask after mask: {draws} draws of {each} masks that share none. Maps are "
            "drawn from their lowest to their highest value. The relative error is the noise over the "
            "pattern, estimated from the draw alone."
        ),
        look=look,
        alt="A photograph through a soft mask, the RISE maps of two draws, and how the error falls",
        arrays={"map": heat[0], "map of other masks": heat[1]},
        bars=_base.bar("heat", "RISE map", "lowest", "highest", over=True),
    )


def _part(fit: RiseFit, first: int, n: int, by: str) -> RiseFit:
    """The fit of n masks from the number ``first`` on, which begins a unit."""
    masks = fit.masks
    units = slice(first // masks.together, math.ceil((first + n) / masks.together))
    some = replace(masks, bits=masks.bits[first : first + n], shifts=masks.shifts[units])
    scores = fit.scores.reshape(1, -1)[:, first : first + n]
    return RiseFit(some, scores, "expected" if by == "paper" else "coverage", fit.dtype)


def _lengths(each: int, draws: int, together: int) -> list[int]:
    """Numbers of masks at which the lines of the chart are drawn: four for each doubling."""
    most, low = each * draws, 2 * together
    counts = {round(low * 2 ** (k / 4)) for k in range(math.ceil(4 * math.log2(most / low)) + 1)}
    return sorted({min(n, most) for n in counts} | {each, most})


def _sampled(values: Tensor, places: list[int]) -> np.ndarray:
    return values[places][:, places].double().cpu().numpy()


# --- the chart ---------------------------------------------------------------------------------------------


def _axes(errors: dict[str, list[tuple[int, float]]], lengths: list[int]) -> dict[str, Any]:
    """Where the logarithmic axes begin and end, in numbers and on the drawing."""
    known = [e for line in errors.values() for _, e in line if math.isfinite(e) and e > 0] or [1.0]
    low = 2.0 ** (math.floor(math.log2(min(known))) - 1)
    return {
        "x": {"low": lengths[0], "high": lengths[-1], "from": BOX["left"], "to": BOX["right"]},
        "y": {"low": low, "high": 4.0, "from": BOX["bottom"], "to": BOX["top"]},
    }


def _at(axis: dict[str, Any], value: float) -> float:
    value = min(max(value, axis["low"]), axis["high"])
    share = math.log2(value / axis["low"]) / math.log2(axis["high"] / axis["low"])
    return axis["from"] + (axis["to"] - axis["from"]) * share


def _chart(errors: dict[str, list[tuple[int, float]]], axes: dict[str, Any]) -> str:
    """Relative error against the number of masks, on logarithmic axes, over lines that fall like 1/√n."""
    x, y = axes["x"], axes["y"]
    ticks = []
    for k in range(math.ceil(math.log2(x["low"])), math.floor(math.log2(x["high"])) + 1):
        if k % 2 == 0:
            ticks.append(f'<text x="{_at(x, 2**k):.1f}" y="164" text-anchor="middle">{2**k}</text>')
    for k in range(math.ceil(math.log2(y["low"])), 3):
        text = f"{2**k}" if k >= 0 else f"1/{2**-k}"
        ticks.append(f'<text x="26" y="{_at(y, 2.0**k) + 4:.1f}" text-anchor="end">{text}</text>')
    guides, k = [], math.floor(math.log2(y["low"]))
    while 2.0**k * math.sqrt(x["low"] / x["high"]) < y["high"]:
        guides.append(_line([(n, 2.0**k * math.sqrt(x["low"] / n)) for n in _between(x, y, 2.0**k)], axes))
        k += 1
    lines = "".join(
        f'<polyline class="line {by}" data-line="{by}" points="{_line(_known(line), axes)}"/>'
        f'<circle class="dot {by}" data-dot="{by}" r="{3.5 if _known(line) else 0}" '
        f'cx="{_at(x, line[-1][0]):.1f}" cy="{_at(y, line[-1][1]):.1f}"/>'
        for by, line in errors.items()
    )
    return (
        '<svg class="s-chart s-error" viewBox="0 0 180 180" role="img" '
        'aria-label="Relative error against the number of masks, for both estimators">'
        + "".join(f'<polyline class="guide" points="{points}"/>' for points in guides)
        + f'<polyline class="axis" points="{BOX["left"]},{BOX["top"]} {BOX["left"]},{BOX["bottom"]} '
        f'{BOX["right"]},{BOX["bottom"]}"/>{"".join(ticks)}{lines}'
        f'<text x="{(BOX["left"] + BOX["right"]) / 2}" y="178" text-anchor="middle">masks</text></svg>'
    )


def _between(x: dict[str, Any], y: dict[str, Any], height: float) -> list[float]:
    """The numbers of masks between which a line of slope -1/2 that starts at a height is inside the box."""
    enters = max(x["low"], x["low"] * (height / y["high"]) ** 2)
    leaves = min(x["high"], x["low"] * (height / y["low"]) ** 2)
    return [enters, leaves] if leaves > enters else [x["low"], x["low"]]


def _known(line: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The points after the last at which noise was all there was to see."""
    beyond = [i for i, (_, error) in enumerate(line) if not math.isfinite(error)]
    return line[beyond[-1] + 1 :] if beyond else line


def _line(points: list[tuple[float, float]], axes: dict[str, Any]) -> str:
    return " ".join(f"{_at(axes['x'], n):.1f},{_at(axes['y'], e):.1f}" for n, e in points)


# --- the first frame ---------------------------------------------------------------------------------------


def _body(
    image: Tensor,
    mask: np.ndarray,
    score: float,
    heat: list[np.ndarray],
    each: int,
    error: float,
    agree: float,
    chart: str,
) -> str:
    source = _base.picture_source(image, "image")
    shade = np.zeros((*mask.shape, 4))
    shade[..., 3] = 1 - mask  # fades to black, as the fill 0 does

    def over(values: np.ndarray, alt: str) -> str:
        share = (values - values.min()) / ((values.max() - values.min()) or 1.0)
        return _base.layer(
            source, "The photograph in grey", classes="is-grey", pixelated=False
        ) + _base.layer(_base.heat_source(share, top=1.0, over=True), alt, classes="heat", pixelated=False)

    return _base.grid(
        _base.panel(
            "mask",
            f"Mask {each}",
            f"score {score:.2f}",
            layers=_base.layer(source, "The photograph", pixelated=False)
            + _base.layer(
                _base.pixels_source((shade * 255).round().astype(np.uint8)),
                "A soft random mask that hides about half",
                classes="heat",
                pixelated=False,
            ),
        ),
        _base.panel(
            "map",
            f"The map of {each} masks",
            f"relative error {_error(error)}",
            layers=over(heat[0], f"Map of {each} masks"),
        ),
        _base.panel(
            "other",
            f"The map of {each} other masks",
            f"correlation of the two {decimal(agree)}",
            layers=over(heat[1], f"Map of {each} other masks"),
        ),
        '<div class="s-panel" data-panel="error">'
        f'{chart}<p class="s-name"><span class="s-title">Relative error</span><small>'
        '<span class="key"><i class="coverage"></i>by coverage</span> '
        '<span class="key"><i class="paper"></i>by N p</span></small></p></div>',
    )


def _controls(each: int, draws: int) -> str:
    ordinals = [(str(k), str(k + 1)) for k in range(draws)] + [("all", "all masks")]
    return (
        _base.slider("n", "Masks", low=1, high=each, step=1, value=each, shown=str(each))
        + _base.row(
            _base.button("play", "Add masks", main=True),
            _base.button("step", "One more"),
            _base.button("again", "Draw another lottery"),
        )
        + _base.row(
            _base.segmented("draw", "Draw", ordinals, "0"),
            _base.segmented("by", "Divided by", list(ESTIMATORS.items()), "coverage"),
        )
    )


def _said(n: int, error: float, agree: float) -> str:
    return (
        f"{n} masks, divided by their coverage: relative error {_error(error)}. Its correlation with the "
        f"map of {n} other masks is {decimal(agree)}."
    )


def _error(error: float) -> str:
    return decimal(error) if math.isfinite(error) else "beyond measure: noise is all there is"
