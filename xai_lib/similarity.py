"""How alike two heatmaps, or two pictures, are: by rank, by structure, by the direction of their edges.

Each function takes two stacks of maps and returns a value for each pair, 1 for the same map. None of them
says which map is right.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xai_lib import _checks, _model

__all__ = ["hog_correlation", "rank_correlation", "ssim"]


def rank_correlation(heatmaps_a: Tensor, heatmaps_b: Tensor) -> Tensor:
    """Spearman's rank correlation of two maps over their pixels: 1 for the same order, −1 for the reverse.

    Equal values share their mean rank. Where a map has one value everywhere there is no order to compare, and
    the result is 0.

    Args:
        heatmaps_a: :math:`(N, H, W)`, or one map :math:`(H, W)`. With a sign, signs count; for the
            correlation of magnitudes pass ``heatmaps.abs()``.
        heatmaps_b: likewise, of the same shape.

    Returns:
        :math:`(N,)`, or a scalar; float32, float64 for float64 maps.

    Raises:
        ValueError: if a map is empty, not finite or complex, or the shapes differ.
        TypeError: if a map is no tensor.

    >>> a = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> rank_correlation(a, a**3), rank_correlation(a, -a)
    (tensor(1.), tensor(-1.))
    """
    return _alike(BY_RANK, heatmaps_a, heatmaps_b)


def ssim(heatmaps_a: Tensor, heatmaps_b: Tensor, *, window: int = 7) -> Tensor:
    """Mean structural similarity of two maps, each divided by its largest magnitude.

    Args:
        heatmaps_a: :math:`(N, H, W)`, or one map :math:`(H, W)`.
        heatmaps_b: likewise, of the same shape.
        window: side of the square windows, in pixels, odd.

    Returns:
        :math:`(N,)`, or a scalar; at most 1.

    Raises:
        ValueError: as in ``rank_correlation``, and if ``window`` is even or larger than the maps.
        TypeError: if a map is no tensor.

    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861, as scikit-image computes it.
    """
    window = _checks.check_count("window", window, least=3)
    return _alike(by_structure(window), heatmaps_a, heatmaps_b)


def hog_correlation(heatmaps_a: Tensor, heatmaps_b: Tensor, *, cell: int = 16) -> Tensor:
    """Pearson's correlation of two maps' histograms of oriented gradients: do their edges run alike?

    Args:
        heatmaps_a: :math:`(N, H, W)`, or one map :math:`(H, W)`; each is divided by its largest magnitude.
        heatmaps_b: likewise, of the same shape.
        cell: side of a histogram's cell, in pixels; at least three of them must fit into a map.

    Returns:
        :math:`(N,)`, or a scalar; 0 where a map has no edge.

    Raises:
        ValueError: as in ``rank_correlation``, and if the maps are smaller than three cells.
        TypeError: if a map is no tensor.

    Source: Dalal & Triggs 2005, doi:10.1109/CVPR.2005.177, as scikit-image computes it; used to compare
        heatmaps by Adebayo et al. 2018, arXiv:1810.03292.
    """
    cell = _checks.check_count("cell", cell)
    return _alike(by_edges(cell), heatmaps_a, heatmaps_b)


# ------------------------------------------------------------------------------- a map that is compared often


class Measure(NamedTuple):
    """A similarity in two halves: what is made of each map (N, H, W), and what of two that are made."""

    prepare: Callable[[Tensor], Tensor]
    compare: Callable[[Tensor, Tensor], Tensor]  # (N,)


def by_structure(window: int = 7) -> Measure:
    return Measure(partial(_scaled, window=window), partial(_structure, window=window))


def by_edges(cell: int = 16) -> Measure:
    return Measure(partial(_edges, cell=cell), _cosine)


def _alike(measure: Measure, heatmaps_a: Tensor, heatmaps_b: Tensor) -> Tensor:
    a, b, shape = _pairs(heatmaps_a, heatmaps_b)
    return measure.compare(measure.prepare(a), measure.prepare(b)).to(a).reshape(shape)


def _pairs(heatmaps_a: Tensor, heatmaps_b: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Both as (N, H, W), wide enough to sum; and the result's shape."""
    for name, maps in (("heatmaps_a", heatmaps_a), ("heatmaps_b", heatmaps_b)):
        _checks.check_maps(name, maps)
    if heatmaps_a.shape != heatmaps_b.shape:
        raise ValueError(
            f"heatmaps_a and heatmaps_b must have one shape, got {tuple(heatmaps_a.shape)} and "
            f"{tuple(heatmaps_b.shape)}"
        )
    dtype = _model.wide(torch.promote_types(heatmaps_a.dtype, heatmaps_b.dtype))
    a, b = (m.detach().to(dtype).reshape(-1, *m.shape[-2:]) for m in (heatmaps_a, heatmaps_b))
    return a, b, tuple(heatmaps_a.shape[:-2])


def _unit_ranks(maps: Tensor) -> Tensor:
    """Ranks of the pixels, less their mean and of length 1: (N, HW), zero where a map has one value."""
    return _unit(_ranks(maps.flatten(1)))


def _ranks(values: Tensor) -> Tensor:
    """The rank of each value in its row (N, P), from 1; equal values share the mean of theirs."""
    ordered, order = values.sort(1)
    places = torch.arange(values.shape[1], device=values.device).expand_as(order)
    steps = ordered[:, 1:] != ordered[:, :-1]
    begins, ends = F.pad(steps, (1, 0), value=True), F.pad(steps, (0, 1), value=True)
    first = places.where(begins, 0).cummax(1).values  # of the run of equal values that a value is in
    last = places.where(ends, values.shape[1]).flip(1).cummin(1).values.flip(1)
    shared = (first + last).to(torch.float64) / 2 + 1
    return torch.empty_like(shared).scatter_(1, order, shared)


def _unit(rows: Tensor) -> Tensor:
    """Rows less their mean, of length 1 or zero."""
    centred = rows - rows.mean(1, keepdim=True)
    return _model.ratio(centred, centred.norm(dim=1, keepdim=True).expand_as(centred))


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1)


BY_RANK = Measure(_unit_ranks, _cosine)


def _scaled(maps: Tensor, window: int) -> Tensor:
    """Each map divided by its largest magnitude, on the CPU, where scikit-image works."""
    if window % 2 == 0 or window > min(maps.shape[1:]):
        raise ValueError(f"window must be odd and at most {min(maps.shape[1:])}, got {window}")
    return _by_largest(maps).double().cpu()


def _structure(a: Tensor, b: Tensor, window: int) -> Tensor:
    from skimage.metrics import structural_similarity

    def compare(one: np.ndarray, other: np.ndarray) -> float:
        wide = 2.0 if min(one.min(), other.min()) < 0 else 1.0
        return structural_similarity(one, other, win_size=window, data_range=wide)

    return torch.tensor([compare(*pair) for pair in zip(a.numpy(), b.numpy(), strict=True)])


def _edges(maps: Tensor, cell: int) -> Tensor:
    """The histograms of oriented gradients, less their mean and of length 1: (N, features), or zero."""
    if min(maps.shape[1:]) < 3 * cell:
        raise ValueError(f"cell must fit three times into a map of {tuple(maps.shape[1:])}, got {cell}")
    from skimage.feature import hog

    scaled = _by_largest(maps).double().cpu().numpy()
    return _unit(torch.from_numpy(np.stack([hog(one, pixels_per_cell=(cell, cell)) for one in scaled])))


def _by_largest(maps: Tensor) -> Tensor:
    return _model.ratio(maps, maps.abs().amax((1, 2), keepdim=True).expand_as(maps))
