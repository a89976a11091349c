"""From an attribution to a heatmap: one value a pixel, a common scale, a print that tests can compare."""

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_lib._checks import check_choice, check_maps, check_real

__all__ = ["fingerprint", "normalize", "to_heatmap"]


def to_heatmap(attribution: Tensor, reduce: str = "abs_max") -> Tensor:
    r"""One value a pixel: reduce an attribution's channels.

    .. math:: H_{ij} = \max_c |R_{cij}|

    is the default, Simonyan's choice. Each choice hides something: ``"abs_max"``, ``"abs_sum"`` and ``"l2"``
    hide the sign; ``"sum"`` keeps it, but a red share and an opposite green share cancel; ``"max"`` hides
    what speaks against.

    Args:
        attribution: :math:`(N, C, H, W)`.
        reduce: ``"abs_max"``, ``"abs_sum"``, ``"sum"``, ``"max"`` or ``"l2"`` (root of the sum of squares).

    Returns:
        Heatmaps, :math:`(N, H, W)`, of the attribution's dtype; sums are computed in float32 or better,
        squares in float64.

    Raises:
        ValueError: if ``attribution`` is not 4-D, empty, not finite or no floating-point numbers, or
            ``reduce`` is unknown.

    >>> to_heatmap(torch.tensor([[[[1.0]], [[-3.0]]]]))
    tensor([[[3.]]])
    """
    check_real("attribution", attribution, "attributions (N, C, H, W)", (4,))
    check_choice("reduce", reduce, ("abs_max", "abs_sum", "sum", "max", "l2"))
    if reduce == "abs_max":
        return attribution.abs().amax(1)
    if reduce == "max":
        return attribution.amax(1)
    if reduce == "l2":  # in float32 the square of a small gradient, 1e-23, would be zero
        return torch.linalg.vector_norm(attribution, dim=1, dtype=torch.float64).to(attribution.dtype)
    wide = torch.promote_types(attribution.dtype, torch.float32)
    shares = attribution.abs() if reduce == "abs_sum" else attribution
    return shares.sum(1, dtype=wide).to(attribution.dtype)


def normalize(heatmap: Tensor) -> Tensor:
    """Divide each map by its own largest absolute value: results in [-1, 1], signs and zeros kept.

    Two normalised maps can be compared in shape, no longer in size. A map of zeros stays zero.

    Args:
        heatmap: :math:`(N, H, W)`, or one map :math:`(H, W)`.

    Returns:
        The same shape and dtype.

    Raises:
        ValueError: if ``heatmap`` is empty, not finite, no floating-point numbers, or not 2-D or 3-D.

    >>> normalize(torch.tensor([[[1.0, -4.0]], [[0.0, 0.0]]]))
    tensor([[[ 0.2500, -1.0000]],
    <BLANKLINE>
            [[ 0.0000,  0.0000]]])
    """
    check_real("heatmap", heatmap, "heatmaps (N, H, W) or one heatmap (H, W)", (2, 3))
    largest = heatmap.abs().amax((-2, -1), keepdim=True)
    return heatmap / largest.where(largest > 0, torch.ones_like(largest))


def fingerprint(heatmap: Tensor) -> str:
    """A few digits that tell heatmaps apart and hold on other machines: what the tests compare of a figure.

    A 4 × 4 grid, read row by row: the mean absolute value in each cell as a digit, from 0 to 9, where 9 is
    the cell with the largest. Coarse on purpose: it ignores the sign, the overall scale, and everything finer
    than a quarter of the map; two maps with the same print need not be equal. A cell that lies within
    rounding error of the border between two digits (each is a ninth wide) can flip on another machine: rare
    for errors of float32.

    Args:
        heatmap: one map :math:`(H, W)`, or several :math:`(N, H, W)`.

    Returns:
        Such as ``"0120 0491 0380 0000"``; one line for each map.

    Raises:
        ValueError: if ``heatmap`` is empty, not finite, complex, a mask of bools, or not 2-D or 3-D.

    >>> fingerprint(torch.eye(8))
    '9000 0900 0090 0009'
    """
    check_maps("heatmap", heatmap, masks=False)
    maps = heatmap.detach().cpu().double().abs().reshape(-1, *heatmap.shape[-2:])  # (N, H, W)
    maps = maps / maps.amax((1, 2), keepdim=True).clamp(
        min=torch.finfo(torch.float64).tiny
    )  # no overflow in the means
    cells = F.adaptive_avg_pool2d(maps, 4)  # (N, 4, 4)
    largest = cells.amax((1, 2), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    digits = (9 * cells / largest).round().int().tolist()
    return "\n".join(" ".join("".join(map(str, row)) for row in grid) for grid in digits)
