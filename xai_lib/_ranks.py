"""The order in which a heatmap's pixels are hidden: by rank, at equal values by chance and never by place."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xai_lib import _checks

ORDERS = ("morf", "lerf")  # most relevant first, least relevant first


def ranks(heatmaps: Tensor, *, order: str = "morf", generator: torch.Generator | None = None) -> Tensor:
    """The place of every pixel in the order of hiding, (..., H, W), int64: 0 goes first.

    Equal values are put in an order that is drawn, for each map anew: by position, a map of zeros would hide
    the picture from the top, as if it had said so.
    """
    values = heatmaps.flatten(-2)
    values = values if order == "morf" else -values
    draw = torch.rand(values.shape, dtype=torch.float64, device=values.device, generator=generator)
    chance = draw.argsort(-1)
    sorted_ = values.gather(-1, chance).argsort(dim=-1, descending=True, stable=True)
    return chance.gather(-1, sorted_).argsort(-1).view(heatmaps.shape)


def counts(fractions: Sequence[float], pixels: int) -> list[int]:
    """How many of the pixels each fraction is."""
    return [round(fraction * pixels) for fraction in fractions]


def check_fractions(name: str, fractions: Any) -> tuple[float, ...]:
    """Check shares of the pixels: numbers from 0 to 1, ascending."""
    if isinstance(fractions, Tensor):
        fractions = fractions.tolist()
    if not isinstance(fractions, Sequence) or isinstance(fractions, str) or len(fractions) == 0:
        raise TypeError(f"{name} must be a list of shares such as (0.1, 0.5, 0.9), got {fractions!r}")
    shares = tuple(
        _checks.check_number(f"{name}[{i}]", share, least=0, most=1, what="a share of the pixels")
        for i, share in enumerate(fractions)
    )
    if any(a >= b for a, b in itertools.pairwise(shares)):
        raise ValueError(f"{name} must ascend, got {shares}; pass sorted(set({name}))")
    return shares


def check_heatmaps(name: str, heatmaps: Any, x: Tensor) -> Tensor:
    """Check one real heatmap for each image, of the image's height and width: (N, H, W)."""
    _checks.check_maps(name, heatmaps)
    wanted = (len(x), *x.shape[-2:])
    if tuple(heatmaps.shape) != wanted:
        hint = ""
        if heatmaps.dim() == 3 and heatmaps.shape[1:] != x.shape[-2:]:
            hint = "; bring a smaller map to the image's size with torch.nn.functional.interpolate"
        raise ValueError(
            f"{name} must have the shape {wanted}, one map for each image, got {tuple(heatmaps.shape)}{hint}"
        )
    if heatmaps.device != x.device:
        raise ValueError(
            f"{name} is on {heatmaps.device}, but the images are on {x.device}; pass {name}.to('{x.device}')"
        )
    heatmaps = _checks.ordinary(heatmaps)
    return heatmaps.float() if heatmaps.dtype == torch.bool else heatmaps
