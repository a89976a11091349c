r"""Figures with matplotlib: rows of images and heatmaps.

Importing this module sets matplotlib's defaults: legible fonts, one resolution, nothing clipped, pixels as
they are. (The pages of the course have figures of their own, ``xai_course.figures``.)

>>> import torch
>>> from xai_lib import viz
>>> photo, heatmap = torch.rand(3, 32, 32), torch.rand(32, 32)
>>> figure = viz.panels([photo, heatmap, (photo, heatmap)], ["input", "heatmap", "overlay"])
>>> [axis.get_title() for axis in figure.axes]
['input', 'heatmap', 'overlay']
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends import BackendFilter, backend_registry
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from xai_lib._checks import check_count, check_flag, check_number, check_tensor

Picture = Tensor | np.ndarray
Panel = Picture | tuple[Picture, Picture]

SEQUENTIAL = "inferno"  # perceptually uniform: equal steps of value look equal
DIVERGING = "RdBu_r"  # white is zero, red speaks for the class, blue against it
OVERLAY_OPACITY = 0.6

mpl.rcParams.update(
    {
        "figure.dpi": 110,
        "savefig.dpi": 110,
        "figure.constrained_layout.use": True,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.labelsize": 10,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "figure.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "image.cmap": SEQUENTIAL,
        "image.interpolation": "nearest",  # a pixel is drawn as it is, not smoothed into its neighbours
    }
)


def panels(
    items: Sequence[Panel],
    titles: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    signed: bool | None = None,
    colorbar: str | None = None,
    suptitle: str | None = None,
    size: float = 2.6,
    clip: float = 100.0,
) -> Figure:
    r"""Draw images, heatmaps and overlays side by side.

    With ``colorbar`` all heatmaps share one scale, so that their colours can be compared; without it each
    heatmap runs over its own range, and only its pattern can be read.

    Args:
        items: each an image :math:`(3, H, W)`, :math:`(1, H, W)` or :math:`(H, W, 3)` in [0, 1], a heatmap
            :math:`(H, W)`, or a pair (image, heatmap) drawn as an overlay. A leading batch dimension of one
            is dropped from an image. A pair's heatmap may be coarser than its image: it is stretched, not
            smoothed.
        titles: one for each item; long ones are wrapped.
        columns: panels in a row; by default all in one row up to five, then rows of four.
        signed: True draws heatmaps in blue and red around a white zero, False in ``inferno`` from the lowest
            value (or zero); None decides by whether a value is negative.
        colorbar: what the heatmaps' values are, with their unit; draws one colour bar for all.
        suptitle: title of the whole figure.
        size: width and height of a panel in inches.
        clip: the scale ends at this percentile of the absolute values; larger values are drawn in the last
            colour, and the colour bar's pointed ends say so.

    Returns:
        The figure; in a notebook call ``plt.show()`` next. Where pyplot can show nothing (a script without a
        display) it keeps only the last figure; an earlier one can still be saved by who holds it.

    Raises:
        TypeError: if an option is not of its kind.
        ValueError: if there is nothing to draw, an item has another shape, a heatmap is not finite, there
            are not as many titles as items, or a size is not positive.
    """
    drawn = [_split(item, i) for i, item in enumerate(_listed("items", items, "images and heatmaps"))]
    if not drawn:
        raise ValueError("items is empty: give at least one image or heatmap")
    titles = _check_titles(titles, len(drawn))
    signed = None if signed is None else check_flag("signed", signed)
    colorbar, suptitle = _check_text("colorbar", colorbar, None), _check_text("suptitle", suptitle, None)
    size = check_number("size", size, above=0, what="inches")
    clip = check_number("clip", clip, above=0, most=100, what="a percentile")
    default = len(drawn) if len(drawn) <= 5 else 4
    columns = default if columns is None else check_count("columns", columns)
    rows = math.ceil(len(drawn) / columns)
    titles = [wrap(title, size) for title in titles]
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    extra = (0.2 * lines + 0.1) * rows + (0.35 if suptitle else 0.0)
    figure = _new_figure(
        figsize=(columns * size + (0.9 if colorbar else 0.0), rows * size + extra), layout="compressed"
    )
    axes = figure.subplots(rows, columns, squeeze=False).ravel()

    maps = [heatmap for _, heatmap in drawn if heatmap is not None]
    shared = _scale(maps, signed, clip) if colorbar and maps else None
    for axis, (image, heatmap) in zip(axes, drawn, strict=False):
        if heatmap is None:
            _draw_image(axis, image)
        else:
            _draw_map(axis, image, heatmap, shared or _scale([heatmap], signed, clip))
    for axis in axes:
        axis.set_axis_off()
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(title)
    if shared:
        _add_colorbar(figure, list(axes), maps, shared, colorbar)
    if suptitle:
        figure.suptitle(wrap(suptitle, columns * size))
    return figure


def to_array(values: Any) -> np.ndarray:
    """Values as a numpy array on the host, whatever they are: a tensor (on any device), a list, an array."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().float() if values.is_floating_point() else values.detach().cpu()
        return values.numpy()
    return np.asarray(values)


def to_pixels(image: Picture, name: str = "image") -> np.ndarray:
    """An image as an array :math:`(H, W, 3)` in [0, 1].

    Args:
        image: :math:`(3, H, W)`, :math:`(1, H, W)`, :math:`(H, W, 3)`, each also with a leading batch
            dimension of one; floats in [0, 1] (up to rounding) or bytes.
        name: what to call it in an error.

    Raises:
        ValueError: if it has another shape, or values outside [0, 1].
    """
    array = _numbers(image, name)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] != 3:
        array = array.transpose(1, 2, 0)
    elif array.ndim == 3 and array.shape[0] == 3:  # (3, H, 3): channels first, as everywhere in the course
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise ValueError(
            f"{name} must be an image (3, H, W), (1, H, W) or (H, W, 3), got shape {array.shape}"
        )
    array = array / 255.0 if array.dtype == np.uint8 else array.astype(np.float64)
    if not (np.isfinite(array).all() and array.min() >= -1e-3 and array.max() <= 1 + 1e-3):
        raise ValueError(
            f"{name} has values in [{array.min():.3g}, {array.max():.3g}], an image has [0, 1]; "
            "if it is a heatmap, give it as (H, W)"
        )
    return np.broadcast_to(array.clip(0, 1), (*array.shape[:2], 3))


def wrap(text: str, inches: float) -> str:
    """Text broken into lines that fit a width at the book's title size; its own line breaks stay."""
    _check_text("text", text)
    check_number("inches", inches, above=0)
    width = max(8, int(inches * 14))  # a character is about 0.07 inch wide
    return "\n".join(textwrap.fill(line, width) for line in text.split("\n"))


class _ShownOnce(Figure):
    """A figure that a notebook shows once: else the last line of a cell is shown again when the cell ends."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if "inline" in plt.get_backend():
            plt.close(self)
        return {}  # the picture itself is made as for every figure

    def __repr__(self) -> str:
        return super().__repr__().replace(type(self).__name__, Figure.__name__)


def _new_figure(**options: Any) -> Figure:
    """A figure that pyplot knows, so that ``plt.show()`` shows it, and that does not stay open for ever.

    A notebook closes what it has shown, a window is closed by its reader. Where nothing can be shown, nothing
    is ever closed: there each new figure takes the place of the last.
    """
    figure = plt.figure(FigureClass=_ShownOnce, **options)
    if plt.get_backend().lower() in backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE):
        plt.close(__name__)  # the last one, by its label
        figure.set_label(__name__)
    return figure


def _listed(name: str, values: Any, what: str) -> list[Any]:
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name} must be a list of {what}, got {type(values).__name__}")
    if isinstance(values, (Tensor, np.ndarray)) and values.ndim < 3:  # its rows are not images
        got = f"one of shape {tuple(values.shape)}; put it into a list"
        raise ValueError(f"{name} must be a list of {what}, got {got}")
    return list(values)


def _check_text(name: str, value: Any, *default: None) -> str | None:
    if not isinstance(value, str) and value not in default:
        raise TypeError(f"{name} must be a text{' or None' if default else ''}, got {value!r}")
    return value


def _check_titles(titles: Any, items: int) -> list[str]:
    if titles is None:
        return []
    titles = _listed("titles", titles, "texts, one for each item")
    if len(titles) != items:
        raise ValueError(f"titles has {len(titles)} entries, but there are {items} items")
    return [_check_text(f"titles[{i}]", title) for i, title in enumerate(titles)]


def _numbers(values: Any, name: str) -> np.ndarray:
    """Real numbers as an array that is not empty."""
    if isinstance(values, Tensor):
        check_tensor(name, values, "numbers")
    try:
        array = to_array(values)
    except (TypeError, ValueError):  # lists of unequal length
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        got = array.dtype if array.dtype.kind != "O" else type(values).__name__
        raise TypeError(f"{name} must hold real numbers, got {got}")
    if array.size == 0:
        raise ValueError(f"{name} must hold at least one number, got shape {array.shape}")
    return array


def _split(item: Panel, index: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """An item as (image or None, heatmap or None), checked."""
    name = f"items[{index}]"
    if isinstance(item, (tuple, list)):
        if len(item) != 2:
            raise ValueError(f"{name} must be a pair (image, heatmap), got {len(item)} entries")
        return to_pixels(item[0], f"{name}[0]"), _check_map(_numbers(item[1], f"{name}[1]"), f"{name}[1]")
    array = _numbers(item, name)
    return (None, _check_map(array, name)) if array.ndim == 2 else (to_pixels(array, name), None)


def _check_map(heatmap: np.ndarray, name: str) -> np.ndarray:
    if heatmap.ndim == 3 and heatmap.shape[0] == 1:  # in a pair there is no doubt that it is a heatmap
        heatmap = heatmap[0]
    if heatmap.ndim != 2:
        raise ValueError(f"{name} must be a heatmap (H, W), got shape {heatmap.shape}")
    heatmap = heatmap.astype(np.float64)
    if not np.isfinite(heatmap).all():
        raise ValueError(f"{name} contains NaN or infinity")
    return heatmap


def _scale(maps: Sequence[np.ndarray], signed: bool | None, clip: float) -> tuple[str, Normalize]:
    """Colour map and value range that fit all the maps."""
    values = np.concatenate([heatmap.ravel() for heatmap in maps])
    top = float(np.percentile(np.abs(values), clip)) or float(np.abs(values).max()) or 1.0
    if signed or (signed is None and values.min() < 0):
        return DIVERGING, Normalize(-top, top)
    return SEQUENTIAL, Normalize(min(0.0, float(values.min())), top)


def _draw_image(axis: Axes, image: np.ndarray | None) -> None:
    axis.imshow(image, interpolation="antialiased")  # a photograph may be smoothed; a heatmap may not


def _draw_map(
    axis: Axes, image: np.ndarray | None, heatmap: np.ndarray, scale: tuple[str, Normalize]
) -> None:
    cmap, norm = scale
    if image is None:
        axis.imshow(heatmap, cmap=cmap, norm=norm)
        return
    height, width = image.shape[:2]
    axis.imshow(image.mean(2), cmap="gray", vmin=0, vmax=1)  # grey: all colour on the panel is the heatmap's
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axis.imshow(heatmap, cmap=cmap, norm=norm, alpha=OVERLAY_OPACITY, extent=extent)


def _add_colorbar(
    figure: Figure, axes: list[Axes], maps: Sequence[np.ndarray], scale: tuple[str, Normalize], label: str
) -> None:
    cmap, norm = scale
    above = max(float(heatmap.max()) for heatmap in maps) > norm.vmax * (1 + 1e-9)
    below = min(float(heatmap.min()) for heatmap in maps) < norm.vmin - 1e-9 * abs(norm.vmin)
    extend = {(False, False): "neither", (True, False): "max", (False, True): "min", (True, True): "both"}
    bar = figure.colorbar(
        ScalarMappable(norm, cmap), ax=axes, shrink=0.85, pad=0.02, extend=extend[above, below], aspect=25
    )
    bar.set_label(wrap(label, 2.6))
    bar.outline.set_visible(False)
