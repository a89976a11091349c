"""In which order the regions of an image are hidden or shown: what all judges of faithfulness rest on."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_lib import _checks, _model

ORDERS = ("morf", "lerf", "random")  # most relevant first, least relevant first, without regard to the map


class Ranking(NamedTuple):
    """The place of every region in the order of every map."""

    rank: Tensor  # (N, M, R), int32: 0 is the first region to change
    cell: Tensor | None  # which region each pixel is in, (H · W,); None: each is its own
    size: tuple[int, int]

    @property
    def regions(self) -> int:
        """R, how many regions an image has."""
        return self.rank.shape[-1]

    def first(self, images: Tensor, maps: Tensor, counts: Tensor) -> Tensor:
        """The pixels in the first ``counts`` regions of these maps of these images, (b,) each: (b, H, W)."""
        chosen = self.rank[images, maps] < counts[:, None]  # (b, R)
        return (chosen if self.cell is None else chosen[:, self.cell]).unflatten(1, self.size)


def check_regions(x: Tensor, region: int, steps: int) -> None:
    """Check that a region fits into the images, and that no step hides less than one."""
    _checks.check_count("region", region)
    _checks.check_count("steps", steps)
    if region > min(x.shape[-2:]):
        raise ValueError(f"region must fit into the image, {tuple(x.shape[-2:])}, got {region}")
    down, across = (-(-length // region) for length in x.shape[-2:])
    if steps > down * across:
        raise ValueError(
            f"steps must be at most the number of regions, {down} × {across} = {down * across}, got {steps}; "
            "take fewer steps or a smaller region"
        )


def rank(maps: Tensor, region: int, order: str, generator: torch.Generator | None) -> Ranking:
    """Rank the regions of maps (N, M, H, W) by their mean; equal ones in one random order for all maps."""
    with torch.inference_mode(False):
        maps = maps.to(torch.uint8) if maps.dtype == torch.bool else maps
        cell = None if region == 1 else cells(maps, region)
        values = maps.flatten(2) if cell is None else _means(maps, region)  # (N, M, R)
        shuffled = torch.randperm(values.shape[-1], generator=generator, device=values.device)
        if order == "random":
            in_order = shuffled.expand(values.shape)
        else:
            turns = values[..., shuffled].argsort(dim=-1, descending=order == "morf", stable=True)
            in_order = shuffled[turns]  # (N, M, R): the regions, from the first to the last
        places = torch.arange(values.shape[-1], dtype=torch.int32, device=values.device)
        ranks = torch.empty_like(in_order, dtype=torch.int32, memory_format=torch.contiguous_format)
        return Ranking(ranks.scatter_(2, in_order, places.expand_as(in_order)), cell, tuple(maps.shape[-2:]))


def counts(steps: int, regions: int) -> list[int]:
    """How many of the regions have changed after each step, rounded to the nearest, halves up."""
    return [(2 * s * regions + steps) // (2 * steps) for s in range(steps + 1)]


def check_fractions(fractions: Any) -> tuple[float, ...]:
    """Check shares of the pixels: numbers from 0 to 1, ascending."""
    given = fractions.tolist() if hasattr(fractions, "tolist") else fractions
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) == 0:
        raise TypeError(f"fractions must be a list of shares such as (0.1, 0.5, 0.9), got {fractions!r}")
    shares = tuple(
        _checks.check_number(f"fractions[{i}]", share, least=0, most=1, what="a share of the pixels")
        for i, share in enumerate(given)
    )
    if any(a >= b for a, b in itertools.pairwise(shares)):
        raise ValueError(f"fractions must ascend, got {shares}; pass sorted(set(fractions))")
    return shares


def cells(maps: Tensor, region: int) -> Tensor:
    """The number of the region that each pixel is in, (H · W,), row by row."""
    rows, columns = (torch.arange(length, device=maps.device) // region for length in maps.shape[-2:])
    return (rows[:, None] * (columns[-1] + 1) + columns).flatten()


def _means(maps: Tensor, region: int) -> Tensor:
    """The mean of each map over each region, (N, M, R).

    In parts of the map's largest value, in double precision and then rounded: equal pixels give equal means,
    whether or not the border cuts their region off.
    """
    maps = maps.to(torch.float64)
    parts = _model.ratio(maps, maps.abs().amax((-2, -1), keepdim=True))
    return F.avg_pool2d(parts, region, ceil_mode=True).flatten(2).float()
