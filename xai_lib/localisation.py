"""Boxes from heatmaps, and how well they agree with the boxes that a human drew (chapter 3; chapter 6)."""

import numpy as np
import torch
from torch import Tensor

from xai_lib import _checks

__all__ = ["box_from_heatmap", "iou"]


def box_from_heatmap(heatmap: Tensor, threshold: float = 0.2) -> Tensor:
    """The tightest box round the largest warm region: how a heatmap becomes a localisation.

    Warm is what reaches ``threshold`` times the map's maximum: 0.2 in the CAM paper, 0.15 in the Grad-CAM
    paper. Of its connected components (cells that share a side) the one with the most cells is taken, at a
    tie the first in reading order. A map without a positive value points nowhere: its box is empty, (0, 0, 0,
    0).

    Args:
        heatmap: :math:`(N, H, W)`, or one map :math:`(H, W)`; not normalised is fine, and so is a mask.
        threshold: share of each map's own maximum, above 0 and up to 1.

    Returns:
        Boxes as x0, y0, x1, y1, int64, :math:`(N, 4)`, or :math:`(4,)`; x1 and y1 lie one past the last
        pixel, as in ``data.shapes``: ``heatmap[..., y0:y1, x0:x1]`` is inside.

    Raises:
        ValueError: if ``heatmap`` is empty, not finite, complex, or not 2-D or 3-D, or ``threshold`` is out
            of range.

    Source: Zhou et al. 2016, arXiv:1512.04150; Selvaraju et al. 2017, arXiv:1610.02391.

    >>> heatmap = torch.zeros(6, 8)
    >>> heatmap[2:4, 1:6] = 1.0
    >>> heatmap[5, 7] = 3.0
    >>> box_from_heatmap(heatmap, threshold=0.2)
    tensor([1, 2, 6, 4])
    """
    _checks.check_maps("heatmap", heatmap)
    threshold = _checks.check_number("threshold", threshold, above=0, most=1)
    from scipy import ndimage

    maps = heatmap.detach().reshape(-1, *heatmap.shape[-2:])  # (N, H, W)
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))  # a share of a half is not rounded to one
    largest = maps.amax((1, 2), keepdim=True)
    warm = ((maps >= threshold * largest) & (largest > 0)).cpu().numpy()

    sharing_a_side = np.zeros(
        (3, 3, 3), dtype=bool
    )  # within a map; neighbours along the first axis are other maps
    sharing_a_side[1] = ndimage.generate_binary_structure(2, 1)
    regions, _ = ndimage.label(warm, structure=sharing_a_side)
    sizes = np.bincount(regions.ravel())
    boxes, best = np.zeros((len(maps), 4), dtype=np.int64), np.zeros(len(maps))
    for size, (where, rows, columns) in zip(sizes[1:], ndimage.find_objects(regions), strict=True):
        if size > best[where.start]:
            best[where.start] = size
            boxes[where.start] = columns.start, rows.start, columns.stop, rows.stop
    return torch.from_numpy(boxes).to(heatmap.device).reshape(*heatmap.shape[:-2], 4)


def iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Intersection over union of boxes, pair by pair: 1 for the same box, 0 for boxes that do not overlap.

    Args:
        boxes_a: :math:`(..., 4)` as x0, y0, x1, y1, the last two exclusive, so x1 = x0 is an empty box; a box
            with x1 < x0 or y1 < y0 is refused, since it is most often a corner with width and height.
        boxes_b: likewise; broadcast with ``boxes_a`` (``iou(a[:, None], b)`` compares each with each).

    Returns:
        :math:`(...)`, float32 (float64 for float64 boxes); an empty box has 0 with every box.

    Raises:
        ValueError: if the last axis is not 4 long, a box is not finite, complex or inside out, or the shapes
            do not broadcast.
        TypeError: if boxes are no tensors.

    >>> iou(torch.tensor([[0, 0, 2, 2]]), torch.tensor([[1, 0, 3, 2]]))
    tensor([0.3333])
    """
    _checks.check_boxes("boxes_a", boxes_a)
    _checks.check_boxes("boxes_b", boxes_b)
    dtype = torch.promote_types(torch.promote_types(boxes_a.dtype, boxes_b.dtype), torch.float32)
    try:
        a, b = torch.broadcast_tensors(boxes_a.to(dtype), boxes_b.to(dtype))
    except RuntimeError:
        raise ValueError(
            f"boxes_a and boxes_b must broadcast, got {tuple(boxes_a.shape)} and {tuple(boxes_b.shape)}"
        ) from None
    shared = _area(
        torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], -1)
    )
    union = _area(a) + _area(b) - shared
    return shared / union.where(union > 0, torch.ones_like(union))


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
