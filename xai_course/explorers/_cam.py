"""Class activation maps of one photograph, from its feature maps: chapter 3's explorer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from xai_lib.localisation import box_from_heatmap, iou
from xai_lib.viz import to_array, to_pixels

from . import _base
from ._base import Explorer, decimal

LOGIT_ERROR = 1e-2  # what storing the maps and weights in few bits may cost a logit


def cam(
    number: str,
    picture: Any,
    maps: Any,
    weights: Mapping[str, Any],
    bias: Mapping[str, Any],
    *,
    caption: str,
    alt: str,
    look: str = "",
    threshold: float = 0.2,
    box: Any = None,
) -> Explorer:
    r"""The last feature maps of one photograph, weighed for a class as the reader chooses it.

    .. math:: M^c_{ij} = \sum_k w^c_k A_{kij}, \qquad \frac{1}{hw} \sum_{ij} M^c_{ij} + b^c = y^c

    The page computes map, logit, and the tightest box round the largest warm piece (as
    :func:`xai_lib.localisation.box_from_heatmap` does), and shuffles the cells of all feature maps alike: the
    map scrambles, the logit stays. The maps are stored in 8 bits with a scale for each of them if that keeps
    every logit to 0.01, otherwise in 16.

    Args:
        number: of the figure, such as ``"3.2"``.
        picture: the photograph, :math:`(3, H, W)` (or with a batch dimension of one), in [0, 1].
        maps: its feature maps :math:`A` before the pooling, :math:`(K, h, w)` (or :math:`(1, K, h, w)`).
        weights: of each class that can be chosen, by its name: :math:`(K,)`. Two to six classes; the first is
            shown first.
        bias: of each class, a number.
        caption: what the figure shows; marks as in :func:`xai_course.figures.figure`.
        alt: one sentence that says what is to be seen.
        look: what to look for.
        threshold: of the box at first, a share of the map's maximum, from 0.05 to 0.95.
        box: a human's box, x0, y0, x1, y1 in pixels of ``picture``, the last two exclusive; None for none.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if an array has another shape or is not finite, ``bias`` has other classes than
            ``weights``, ``threshold`` or the number of classes is out of range, or a text is empty.

    Source: Zhou et al. 2016, arXiv:1512.04150.
    """
    pixels = to_pixels(picture, "picture")
    A = np.asarray(to_array(maps))
    A = _base.check_array("maps", A[0] if A.ndim == 4 and len(A) == 1 else A, ("K", "h", "w"))
    names, W, b = _classes(weights, bias, len(A))
    if not 0.05 <= threshold <= 0.95:
        raise ValueError(f"threshold must be between 0.05 and 0.95, got {threshold!r}")
    kept, W_kept = _stored(A, W, b)
    height, width = pixels.shape[:2]
    truth = None if box is None else _base.check_array("box", box, (4,))

    cells = np.einsum("k,kij->ij", W[0], A)
    smooth = _enlarged(cells, height, width)
    found = box_from_heatmap(torch.from_numpy(smooth), threshold)
    return Explorer(
        "cam",
        number,
        body=_body(pixels, cells, smooth, found, truth, names[0], b[0]),
        controls=_controls(names, threshold),
        said=_said(names[0], cells, b[0], found, truth, height * width, threshold),
        bars=_base.bar(
            "heat",
            "value of the map (its mean + bias = logit)",
            "0",
            f"{max(cells.max(), 0):.1f}",
            over=True,
        ),
        data={
            "maps": kept,
            "weights": W_kept,
            "bias": _base.packed(b, "f32"),
            "names": names,
            "size": [height, width],
            "box": None if truth is None else truth.tolist(),
        },
        caption=caption,
        look=look,
        alt=alt,
        arrays={"maps": A, "weights": W},
    )


def _classes(
    weights: Mapping[str, Any], bias: Mapping[str, Any], channels: int
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, weights (C, K) and biases (C,) of the classes."""
    if not isinstance(weights, Mapping) or not 2 <= len(weights) <= 6:
        raise ValueError(f"weights must be a dict of 2 to 6 classes, got {_count(weights)}")
    if not isinstance(bias, Mapping) or set(bias) != set(weights):
        raise ValueError(
            f"bias must be a dict with the classes of weights, {', '.join(weights)}, got {_count(bias)}"
        )
    W = [_base.check_array(f"weights[{name!r}]", values, (channels,)) for name, values in weights.items()]
    b = [_base.check_array(f"bias[{name!r}]", bias[name], ()) for name in weights]
    return list(map(str, weights)), np.stack(W), np.stack(b)


def _count(value: Any) -> str:
    return ", ".join(map(repr, value)) or "none" if isinstance(value, Mapping) else type(value).__name__


def _stored(A: np.ndarray, W: np.ndarray, b: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """Maps and weights in as few bits as keep the logits."""
    exact = W @ A.mean((1, 2)) + b
    weights = _base.packed(W, "f16")
    for kind in ("u8" if A.min() >= 0 else "i8", "f16", "f32"):
        maps = _base.packed(A, kind)
        off = np.abs(_base.unpacked(weights) @ _base.unpacked(maps).mean((1, 2)) + b - exact).max()
        if off < LOGIT_ERROR:
            return maps, weights
    raise ValueError(
        f"maps and weights must keep the logits to {LOGIT_ERROR} in 16 bits, got an error of {off:.2g}; "
        "look for weights that are much larger than 1"
    )


def _enlarged(cells: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map stretched to the picture, as the library does it."""
    grid = torch.from_numpy(cells)[None, None]
    return F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False)[0, 0].numpy()


def _body(
    pixels: np.ndarray,
    cells: np.ndarray,
    smooth: np.ndarray,
    found: torch.Tensor,
    truth: np.ndarray | None,
    name: str,
    bias: float,
) -> str:
    """The photograph with its box, the map over it, and the logit."""
    height, width = pixels.shape[:2]
    source = _base.picture_source(pixels, "picture")
    photograph = _base.layer(source, "The photograph", pixelated=False)
    heat = _base.layer(
        _base.heat_source(smooth, top=float(cells.max()), over=True),
        f"Class activation map of {name} over the photograph in grey",
        classes="heat",
        pixelated=False,
    )
    grey = _base.layer(source, "The photograph in grey", classes="is-grey", pixelated=False)
    boxes = _base.box_layer(found.numpy(), truth, width, height)
    logit = decimal(cells.mean() + bias)
    numbers = (
        f'<p class="s-big" data-big="logit"><b>{logit}</b>logit of the class, with the cells as they lie</p>'
        f'<p class="s-big" data-big="before"><b>{logit}</b>logit with every cell in its place</p>'
        f'<p class="s-sum">mean of the map {decimal(cells.mean())} + bias {decimal(bias)} = logit {logit}</p>'
    )
    return _base.grid(
        _base.panel("photo", "photograph", "with the box", layers=photograph + boxes, ratio=width / height),
        _base.panel(
            "map", f"map of “{name}”", "cells in their places", layers=grey + heat, ratio=width / height
        ),
        f'<div class="s-panel s-numbers">{numbers}</div>',
        columns=3,
    )


def _controls(names: list[str], threshold: float) -> str:
    return (
        _base.row(_base.segmented("class", "Class", [(str(i), name) for i, name in enumerate(names)], "0"))
        + _base.row(
            _base.button("shuffle", "Shuffle the cells", main=True),
            _base.button("back", "Put them back"),
            _base.segmented("drawn", "Drawn", [("smooth", "smooth"), ("cells", "as cells")], "smooth"),
        )
        + _base.slider(
            "threshold",
            "Threshold of the box",
            low=0.05,
            high=0.95,
            step=0.05,
            value=threshold,
            shown=f"{100 * threshold:.0f} % of the maximum",
        )
    )


def _said(
    name: str,
    cells: np.ndarray,
    bias: float,
    found: torch.Tensor,
    truth: np.ndarray | None,
    area: int,
    threshold: float,
) -> str:
    x0, y0, x1, y1 = found.tolist()
    share = 100 * (x1 - x0) * (y1 - y0) / area
    fits = "" if truth is None else f" Its overlap with the human’s box, IoU, is {_iou(found, truth):.2f}."
    return (
        f"Logit of “{name}”: {decimal(cells.mean() + bias)}. At {100 * threshold:.0f} % of the maximum "
        f"the box covers {share:.0f} % of the photograph.{fits}"
    )


def _iou(found: torch.Tensor, truth: np.ndarray) -> float:
    return float(iou(found.double(), torch.from_numpy(truth)))
