"""What a panel is drawn with: pixels as addresses that hold their bytes, and the marks that lie over them."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap
from PIL import Image

from xai_lib.viz import DIVERGING, SEQUENTIAL

from ._page import escape

if TYPE_CHECKING:
    from .figures import Panel

LARGE = 96  # pixels; a map with at least so many in a row is stored with small losses, a coarser one exactly
FULL_HEAT = 0.55  # share of the scale at which the heat over a picture has its full opacity
OPACITY = 0.85


def picture_uri(pixels: np.ndarray) -> str:
    """A picture (H, W, 3) in [0, 1] as an address that holds its bytes."""
    image = Image.fromarray((pixels * 255).round().astype(np.uint8))
    return uri(image, lossless=False, quality=86)


def heat_uri(heat: np.ndarray, scale: tuple[float, float], signed: bool, faint: bool) -> str:
    """A heatmap (h, w) in its colours; ``faint``: the opacity follows the value, for a map over a picture."""
    pixels = (rgba(heat, scale, signed, faint) * 255).round().astype(np.uint8)
    image = Image.fromarray(pixels if faint else pixels[..., :3])
    return uri(image, lossless=max(heat.shape) < LARGE, quality=82)


def rgba(heat: np.ndarray, scale: tuple[float, float], signed: bool, faint: bool) -> np.ndarray:
    """Colours (h, w, 4) in [0, 1]. Over a picture the opacity rises with the value: cold places show it."""
    colormap: Colormap = mpl.colormaps[DIVERGING if signed else SEQUENTIAL]
    share = np.clip((heat - scale[0]) / ((scale[1] - scale[0]) or 1.0), 0, 1)
    colors = colormap(share)
    if faint:
        strength = np.clip((np.abs(2 * share - 1) if signed else share) / FULL_HEAT, 0, 1)
        colors[..., 3] = OPACITY * strength * strength * (3 - 2 * strength)
    return colors


def uri(image: Image.Image, lossless: bool, quality: int) -> str:
    """An image as an address that holds its bytes, as WebP."""
    buffer = io.BytesIO()
    options = {"lossless": True} if lossless else {"quality": quality, "use_sharp_yuv": True}
    image.save(buffer, format="webp", method=6, exact=False, **options)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def marks(panel: Panel) -> str:
    """Borders of segments, boxes and numbers over a panel."""
    width, height = panel.size
    shapes = _borders(panel.edges, width, height) if panel.edges is not None else ""
    for i, (x0, y0, x1, y1) in enumerate(panel.boxes):
        place = f'x="{x0:g}" y="{y0:g}" width="{x1 - x0:g}" height="{y1 - y0:g}"'
        shapes += f'<rect class="rim" {place}/><rect class="box box-{i}" {place}/>'
    drawing = (
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" class="s-over" '
        f'aria-hidden="true">{shapes}</svg>'
        if shapes
        else ""
    )
    labels = ""
    for text, x, y in panel.numbers:
        place = f"left:{100 * x / width:.1f}%;top:{100 * y / height:.1f}%"
        labels += f'<span class="s-num" style="{place}">{escape(text)}</span>'
    return drawing + labels


def _borders(edges: np.ndarray, width: int, height: int) -> str:
    """One path of all borders between segments, in steps as long as they stay straight."""
    sx, sy = width / edges.shape[1], height / edges.shape[0]
    path = []
    for axis in (0, 1):
        grid = edges if axis == 0 else edges.T
        for line, differ in enumerate(grid[1:] != grid[:-1], start=1):
            changes = np.flatnonzero(np.diff(np.concatenate([[0], differ.astype(int), [0]])))
            for start, end in zip(changes[::2], changes[1::2], strict=True):
                a, b = (
                    ((start * sx, line * sy), (end * sx, line * sy))
                    if axis == 0
                    else ((line * sx, start * sy), (line * sx, end * sy))
                )
                path.append(f"M{a[0]:g} {a[1]:g}L{b[0]:g} {b[1]:g}")
    return f'<path class="edge" d="{"".join(path)}"/>' if path else ""


def centres(edges: np.ndarray) -> dict[int, tuple[float, float]]:
    """For each segment the pixel of it that lies nearest to its mean: a label there is inside it."""
    places = {}
    for segment in np.unique(edges):
        y, x = np.nonzero(edges == segment)
        nearest = np.argmin((y - y.mean()) ** 2 + (x - x.mean()) ** 2)
        places[int(segment)] = (float(x[nearest]) + 0.5, float(y[nearest]) + 0.5)
    return places
