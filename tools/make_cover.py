"""Draw the picture of the README.

    python tools/make_cover.py [PATH]

A real classifier on two photographs, and a small one that learnt to read a tag; each with the gradient,
SmoothGrad and integrated gradients of the class that the model chose. Nothing is retouched: the colours of
each heatmap run from zero to its 99.5th percentile.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from xai_lib import (
    gradient,
    integrated_gradients,
    load_model,
    load_photo,
    shapes,
    smooth_grad,
    to_heatmap,
    viz,
)

OUT = Path(__file__).resolve().parent.parent / "book" / "images" / "cover.webp"
METHODS = ("gradient", "SmoothGrad", "integrated gradients")


def row(model: nn.Module, x: Tensor) -> tuple[str, list[Tensor]]:
    """The name of the class that the model chose, then the image and its three heatmaps."""
    winner = model(x).argmax(1)
    maps = (
        gradient(model, x, winner),
        smooth_grad(model, x, winner, generator=torch.Generator().manual_seed(0)),
        integrated_gradients(model, x, winner),
    )
    return model.labels[winner.item()], [x[0], *(to_heatmap(m)[0] for m in maps)]


def tagged_star() -> Tensor:
    """The first star that the cheating classifier names a star with its tag, and something else without."""
    with_tag, without = shapes(400, seed=7, watermark={"star": 1.0}), shapes(400, seed=7)
    stars = with_tag.tagged.nonzero().squeeze(1)
    model = load_model("clever_hans")
    star = model.labels.index("star")
    p_with = model(with_tag.images[stars]).softmax(1)[:, star]
    p_without = model(without.images[stars]).softmax(1)[:, star]
    flips = (p_with > 0.5) & (p_without < 0.5)
    if not flips.any():
        raise RuntimeError("clever_hans names every star without its tag: the cover would not be true")
    return with_tag.images[stars[flips.nonzero()[0]]]


def cover() -> plt.Figure:
    """The three rows."""
    real, cheat = load_model("efficientnet_lite0"), load_model("clever_hans")
    rows = [row(real, load_photo("cat")), row(real, load_photo("coffee")), row(cheat, tagged_star())]
    items = [item for _, images in rows for item in images]
    titles = [title for label, _ in rows for title in (f"“{label}”", *METHODS)]
    # without the clip, one extreme pixel leaves the rest in the dark
    return viz.panels(items, titles, columns=4, size=2.3, clip=99.5)


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    path.parent.mkdir(parents=True, exist_ok=True)
    cover().savefig(path, dpi=120, pil_kwargs={"quality": 78, "method": 6})
    print("wrote", path)
