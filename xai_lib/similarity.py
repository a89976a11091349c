"""How alike two heatmaps, or two pictures, are: by rank, by structure, by the direction of their edges.

Each function takes two stacks of maps and returns a value for each pair, 1 for the same map. None of them
says which map is right.
"""

from collections.abc import Callable

import numpy as np
import torch
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
    a, b, shape = _pairs(heatmaps_a, heatmaps_b)
    ranks_a, ranks_b = (_centred(_ranks(maps.flatten(1))) for maps in (a, b))
    lengths = ranks_a.norm(dim=1) * ranks_b.norm(dim=1)
    return _model.ratio((ranks_a * ranks_b).sum(1), lengths).to(a.dtype).reshape(shape)


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
    a, b, shape = _pairs(heatmaps_a, heatmaps_b)
    window = _checks.check_count("window", window, least=3)
    if window % 2 == 0 or window > min(a.shape[1:]):
        raise ValueError(f"window must be odd and at most {min(a.shape[1:])}, got {window}")
    from skimage.metrics import structural_similarity

    def compare(one: np.ndarray, other: np.ndarray) -> float:
        wide = 2.0 if min(one.min(), other.min()) < 0 else 1.0
        return structural_similarity(one, other, win_size=window, data_range=wide)

    return _each(compare, a, b).reshape(shape)


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
    a, b, shape = _pairs(heatmaps_a, heatmaps_b)
    cell = _checks.check_count("cell", cell)
    if min(a.shape[1:]) < 3 * cell:
        raise ValueError(f"cell must fit three times into a map of {tuple(a.shape[1:])}, got {cell}")
    from skimage.feature import hog

    def compare(one: np.ndarray, other: np.ndarray) -> float:
        features = [hog(maps, pixels_per_cell=(cell, cell)) for maps in (one, other)]
        centred = [f - f.mean() for f in features]
        lengths = np.prod([np.linalg.norm(f) for f in centred])
        return float(centred[0] @ centred[1] / lengths) if lengths > 0 else 0.0

    return _each(compare, a, b).reshape(shape)


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


def _ranks(values: Tensor) -> Tensor:
    """The rank of each value in its row (N, P), from 1; equal values share the mean of theirs."""
    ordered = values.sort(1).values.contiguous()
    values = values.contiguous()
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to + 1).to(torch.float64) / 2


def _centred(ranks: Tensor) -> Tensor:
    return ranks - ranks.mean(1, keepdim=True)


def _each(compare: Callable[[np.ndarray, np.ndarray], float], a: Tensor, b: Tensor) -> Tensor:
    """One value a pair, from numpy; each map divided by its largest magnitude."""
    scaled = [_model.ratio(m, m.abs().amax((1, 2), keepdim=True).expand_as(m)) for m in (a, b)]
    pairs = zip(*(m.double().cpu().numpy() for m in scaled), strict=True)
    return torch.tensor([compare(*pair) for pair in pairs], dtype=a.dtype, device=a.device)
