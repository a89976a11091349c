r"""How well heatmaps agree with what a human marked: a box, or a mask (chapter 3; chapter 6).

``pointing_game``, ``energy_in`` and ``relevance_rank`` ask the same of a map in three ways: does it lie on
the object? They have their conventions in common:

- **What a human marked**, ``where``, is one box an image, :math:`(N, 4)`, as in ``data.shapes``, or one mask
  an image, :math:`(N, H, W)`. An image in which nothing is marked has no answer: it raises.
- **Maps** are one an image, :math:`(N, H, W)`; several, :math:`(N, M, H, W)`, and then results have an axis
  M; or a single one, :math:`(H, W)`, which is compared with every image.
- **Ties** are shared out: a result is what is to be expected if chance decided between equal pixels. So a
  constant map gets the area fraction of the mark from each of the three.
- **Negative values** are what a map says *against* the class. The pointing game and the rank take values as
  they are, so a negative pixel comes after one of zero; the energy counts the positive part alone. Of a map
  whose sign means nothing, such as a gradient's, pass ``.abs()``.

A number means little by itself. Set beside it what a map would get that never looked at the image: the
``area_fraction`` of the mark (a constant map), and the ``centre_map`` (photographers centre their objects).
None of the three asks where the *model* looks: a map that truthfully shows a shortcut beside the object
loses.

>>> where = torch.tensor([[0, 0, 4, 8]])
>>> heatmap = torch.zeros(1, 8, 8)
>>> heatmap[0, 2, 1], heatmap[0, 2, 6] = 3.0, 1.0
>>> pointing_game(heatmap, where), energy_in(heatmap, where), area_fraction(where, (8, 8))
(tensor([1.]), tensor([0.7500]), tensor([0.5000]))
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xai_lib import _checks

__all__ = [
    "area_fraction",
    "box_from_heatmap",
    "centre_map",
    "energy_in",
    "iou",
    "pointing_game",
    "relevance_rank",
]


# ------------------------------------------------------------------------------ maps against a human's mark


def pointing_game(heatmaps: Tensor, where: Tensor, *, tolerance: float = 0) -> Tensor:
    r"""Pointing game: whether a map's largest value lies on what a human marked.

    1 is a hit, 0 a miss; of several largest values it is the share that hits. The mean over images is the
    accuracy.

    Args:
        heatmaps: the maps, :math:`(N, H, W)`, :math:`(N, M, H, W)` or :math:`(H, W)`.
        where: boxes or masks, one for each image.
        tolerance: how far from the mark a point still hits, in pixels, from centre to centre. Zhang et al.
            allow 15. It widens the mark, so a constant map gets more than the area fraction.

    Returns:
        Hits, :math:`(N,)` or :math:`(N, M)`, float32 (float64 for float64 maps).

    Raises:
        ValueError: if ``heatmaps`` or ``where`` is not as above, an image has no marked pixel (the error says
            which), or ``tolerance`` is negative.

    Source: Zhang et al. 2016, arXiv:1608.00507.

    >>> where = torch.tensor([[0, 0, 1, 2]])
    >>> pointing_game(torch.tensor([[[5.0, 5.0], [0.0, 1.0]]]), where)
    tensor([0.5000])
    """
    given = _marked(heatmaps, where)
    tolerance = _checks.check_number("tolerance", tolerance, least=0, what="in pixels")
    inside = _widened(given.inside, tolerance)
    largest = given.maps == given.maps.amax((-2, -1), keepdim=True)
    return given.result(_count(largest & inside) / _count(largest))


def energy_in(heatmaps: Tensor, where: Tensor) -> Tensor:
    r"""Energy-based pointing game: the share of a map's positive part that lies on what a human marked.

    .. math:: \frac{\sum_{\lambda \in B} \max(R(\lambda), 0)}{\sum_\lambda \max(R(\lambda), 0)}

    From 0 to 1. A map without a positive value favours no pixel: it gets the mark's area fraction, as a
    constant map does. The share depends on where a map has its zero: of a map that is nowhere near zero, such
    as RISE's, it comes out close to the area fraction, whatever the map shows.

    Args:
        heatmaps: the maps, :math:`(N, H, W)`, :math:`(N, M, H, W)` or :math:`(H, W)`.
        where: boxes or masks, one for each image.

    Returns:
        Shares, :math:`(N,)` or :math:`(N, M)`, float32 (float64 for float64 maps).

    Raises:
        ValueError: as ``pointing_game``.

    Source: Wang et al. 2020, arXiv:1910.01279; of maps that are nowhere negative it is also the relevance
    mass accuracy of Arras et al. 2022, arXiv:2003.07258.

    >>> where = torch.tensor([[[True, False], [False, False]]])
    >>> energy_in(torch.tensor([[[6.0, 2.0], [-9.0, 0.0]]]), where)
    tensor([0.7500])
    """
    given = _marked(heatmaps, where)
    energy = given.maps.to(torch.float64).clamp(min=0)
    largest = energy.amax((-2, -1), keepdim=True)
    blank = largest == 0
    energy = torch.where(blank, 1.0, energy / largest.masked_fill(blank, 1.0))  # in parts: no sum overflows
    return given.result((energy * given.inside).sum((-2, -1)) / energy.sum((-2, -1)))


def relevance_rank(heatmaps: Tensor, where: Tensor) -> Tensor:
    r"""Relevance rank accuracy: of as many pixels as are marked, the largest ones, the share that is marked.

    .. math:: \frac{|\mathrm{top}_K(R) \cap B|}{K}, \quad K = |B|

    From 0 to 1. Only the order of the pixels counts, so the scale and the zero of a map do not matter. Where
    equal pixels compete for the last places, it is the share to be expected.

    Args:
        heatmaps: the maps, :math:`(N, H, W)`, :math:`(N, M, H, W)` or :math:`(H, W)`.
        where: boxes or masks, one for each image.

    Returns:
        Shares, :math:`(N,)` or :math:`(N, M)`, float32 (float64 for float64 maps).

    Raises:
        ValueError: as ``pointing_game``.

    Source: Arras et al. 2022, arXiv:2003.07258.

    >>> where = torch.tensor([[[True, True], [False, False]]])
    >>> relevance_rank(torch.tensor([[[4.0, 1.0], [3.0, 2.0]]]), where)
    tensor([0.5000])
    """
    given = _marked(heatmaps, where)
    k = given.inside.sum((-2, -1))  # (N, 1)
    in_order = given.maps.flatten(2).sort(-1, descending=True).values
    last = in_order.gather(-1, (k - 1)[..., None].expand(*in_order.shape[:2], 1))[..., None]  # K-th largest
    above, tied = given.maps > last, given.maps == last
    chance = (k - _count(above)) / _count(tied)  # that one of those that are tied is among the K
    return given.result((_count(above & given.inside) + chance * _count(tied & given.inside)) / k)


def area_fraction(where: Tensor, size: int | tuple[int, int] | None = None) -> Tensor:
    """Area of what a human marked, as a share of the image: what a constant map gets from the measures here.

    Args:
        where: boxes :math:`(N, 4)` or masks :math:`(N, H, W)`.
        size: height and width of the images, or one number for both: boxes do not tell it.

    Returns:
        Shares, :math:`(N,)`, float32.

    Raises:
        ValueError: if ``where`` is not as above or marks no pixel of an image, or ``size`` is missing, or is
            not that of the masks.

    >>> area_fraction(torch.tensor([[2, 0, 4, 8]]), size=8)
    tensor([0.2500])
    """
    if size is not None:
        size = _checks.check_sizes("size", size)
    elif isinstance(where, Tensor) and where.dim() == 3:
        size = tuple(where.shape[-2:])
    else:
        raise ValueError("size must be the images' height and width where boxes are given, got None")
    return _inside(where, size).to(torch.float64).mean((-2, -1)).float()


def centre_map(size: int | tuple[int, int]) -> Tensor:
    """A map that points to the middle, whatever the image shows: a baseline that never looks.

    It falls in a straight line with the distance, from the middle to zero in the corners. Where a side has an
    even number of pixels, the two in the middle tie.

    Args:
        size: height and width in pixels, or one number for both.

    Returns:
        One map, :math:`(H, W)`, float32, on the processor; the measures here compare it with every image.

    Raises:
        ValueError: if ``size`` is not positive.

    >>> centre_map((1, 5))
    tensor([[0.0000, 0.5000, 1.0000, 0.5000, 0.0000]])
    """
    height, width = _checks.check_sizes("size", size)
    down, across = (torch.arange(n, dtype=torch.float32, device="cpu") - (n - 1) / 2 for n in (height, width))
    distance = torch.hypot(down[:, None], across)
    return 1 - distance / distance.max().clamp(min=1)


class _Marked(NamedTuple):
    """Maps and what was marked, checked and in one form."""

    maps: Tensor  # (N, M, H, W)
    inside: Tensor  # (N, 1, H, W), bool
    several: bool  # whether the caller gave several maps an image, so that the answer has an axis M

    def result(self, values: Tensor) -> Tensor:
        """Values (N, M), as the caller gets them."""
        values = values.to(torch.promote_types(self.maps.dtype, torch.float32))
        return values if self.several else values[:, 0]


def _marked(heatmaps: Any, where: Any) -> _Marked:
    _checks.check_tensor("heatmaps", heatmaps, "heatmaps (N, H, W), (N, M, H, W) or (H, W)", (2, 3, 4))
    _checks.check_maps("heatmaps", heatmaps if heatmaps.dim() == 2 else heatmaps.flatten(0, -3))
    inside = _inside(where, tuple(heatmaps.shape[-2:]))
    if heatmaps.dim() > 2 and len(heatmaps) != len(where):
        raise ValueError(
            f"where must mark each of the {len(heatmaps)} images of heatmaps, got {tuple(where.shape)}"
        )
    if heatmaps.device != where.device and heatmaps.dim() > 2:
        raise ValueError(
            f"where is on {where.device}, but heatmaps is on {heatmaps.device}; "
            f"pass where.to('{heatmaps.device}')"
        )
    maps = _checks.ordinary(heatmaps).to(
        where.device
    )  # one map for all, such as centre_map, may lie elsewhere
    maps = maps.to(torch.uint8) if maps.dtype == torch.bool else maps
    if maps.dim() == 2:
        maps = maps.expand(len(where), *maps.shape)
    return _Marked(maps if maps.dim() == 4 else maps[:, None], inside[:, None], maps.dim() == 4)


def _inside(where: Any, size: tuple[int, int]) -> Tensor:
    """Which pixels are marked, (N, H, W), bool; a pixel is in a box if its middle is."""
    _checks.check_tensor("where", where, "boxes (N, 4) or masks (N, H, W)", (2, 3))
    if where.dim() == 3:
        inside = _mask(where, size)
    else:
        x0, y0, x1, y1 = _checks.check_boxes("where", _checks.ordinary(where))[..., None].unbind(1)  # (N, 1)
        y, x = (torch.arange(n, dtype=torch.float64, device=where.device) + 0.5 for n in size)
        rows, columns = (y0 <= y) & (y < y1), (x0 <= x) & (x < x1)  # (N, H), (N, W)
        inside = rows[:, :, None] & columns[:, None, :]
    empty = (~inside.any(-1).any(-1)).nonzero()[:, 0].tolist()
    if empty:
        listed = ", ".join(map(str, empty[:8])) + (", …" if len(empty) > 8 else "")
        raise ValueError(
            f"where must mark at least one pixel of each image, but marks none of image {listed}; "
            "leave such images out: without a mark there is no right or wrong"
        )
    return inside


def _mask(where: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(where.shape[-2:]) != size:
        raise ValueError(f"where must be masks of the size {size}, got shape {tuple(where.shape)}")
    if where.dtype == torch.bool:
        return _checks.ordinary(where)
    if where.is_complex() or not ((where == 0) | (where == 1)).all():
        raise ValueError(
            "where must hold masks of True and False, or of 1 and 0; pass where > 0.5, for example"
        )
    return _checks.ordinary(where) == 1


def _widened(inside: Tensor, tolerance: float) -> Tensor:
    """The pixels (N, 1, H, W) whose middle lies no further than ``tolerance`` from that of a marked one."""
    reach = min(int(tolerance), max(inside.shape[-2:]))
    if reach == 0:
        return inside
    place = torch.arange(-reach, reach + 1, device=inside.device)
    disc = place.square()[:, None] + place.square() <= tolerance**2
    return F.conv2d(inside.float(), disc.float()[None, None], padding=reach) > 0.5


def _count(pixels: Tensor) -> Tensor:
    return pixels.sum((-2, -1), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------------ boxes


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
