"""Mark an object with a box, and see five maps judged by it: chapter 6's explorer against people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xai_lib.viz import to_array, to_pixels

from . import _base
from ._base import Explorer

CELL = (
    2  # pixels: the box moves in such steps, and each stored cell of a map is the sum of CELL × CELL pixels
)
ROW_NAMES = "abcdef"


def annotate(
    number: str,
    picture: Any,
    maps: Mapping[str, Any],
    outlines: Mapping[str, Any],
    *,
    box: Sequence[int],
    caption: str,
    alt: str,
    look: str = "",
) -> Explorer:
    r"""A photograph on which the reader draws a box, and what the box says of some maps.

    The page computes, for each map :math:`H` and the box :math:`B` as it is drawn, the share of the heat
    inside, :math:`\sum_{B} H / \sum H`, and whether the map's maximum lies inside; the box's share of the
    picture; and its overlap with each annotator's outline, intersection over union, pixel by pixel. Heat is
    summed over 2 × 2 pixels and stored in 16 bits, and the box lies on even pixels, so that the page's
    numbers are those of :func:`judged`. Maxima are those of the maps as given.

    Args:
        number: of the figure, such as ``"6.5"``.
        picture: the photograph, :math:`(3, S, S)` (or with a batch dimension of one), in [0, 1]; S is even.
        maps: 2 to 6 heatmaps by name, :math:`(S, S)` each, without negative values and not all zero.
        outlines: 1 to 3 annotators' outlines by name, :math:`(n, 2)` corners x, y in pixels.
        box: the first box, x0, y0, x1, y1, even numbers of pixels, the last two exclusive.
        caption: what the figure shows; marks as in :func:`xai_course.figures.figure`.
        alt: one sentence that says what is to be seen.
        look: what to look for.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if an array has another shape or is not finite, a map has a negative value or no heat, an
            outline has fewer than three corners or leaves the picture, or the box is empty, odd or outside.
    """
    pixels = to_pixels(picture, "picture")
    size = pixels.shape[0]
    if pixels.shape[1] != size or size % CELL:
        raise ValueError(f"picture must be a square of an even side, got {pixels.shape[1]} × {size}")
    heat = _checked_maps(maps, size)
    corners = _checked_outlines(outlines, size)
    box = _checked_box(box, size)
    masks = {name: inside(points, size) for name, points in corners.items()}
    cells = {name: pooled(values) for name, values in heat.items()}
    peaks = {name: maxima(values) for name, values in heat.items()}
    found = judged(cells, peaks, masks, box)
    names = list(heat)
    return Explorer(
        "annotate",
        number,
        body=_body(pixels, cells, peaks, corners, box, found),
        controls=_controls(names, list(corners)),
        said=_said(found, names[0]),
        data={
            "size": size,
            "cell": CELL,
            "names": names,
            "who": list(corners),
            "maps": _base.packed(np.stack(list(cells.values())), "f16"),
            "peaks": [[list(map(int, peak)) for peak in peaks[name]] for name in names],
            "masks": _base.packed(np.stack(list(masks.values())), "bits"),
            "tight": [tight(mask) for mask in masks.values()],
            "box": list(box),
        },
        caption=caption,
        look=look,
        alt=alt,
        arrays={**cells, "outlines": np.stack(list(masks.values()))},
        bars=_base.bar("heat", "heat of the map, as a share of its maximum", "0", "1", over=True),
    )


# --- what the page computes, in Python ---------------------------------------------------------------------


def inside(points: Any, size: int) -> np.ndarray:
    """Pixels whose centre lies inside a closed outline, (size, size), True and False.

    A ray from the centre to the right meets an outline that surrounds it an odd number of times.
    """
    points = np.asarray(points, dtype=float)
    x = np.arange(size)[None, :] + 0.5
    y = np.arange(size)[:, None] + 0.5
    odd = np.zeros((size, size), dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
        if y0 != y1:
            crossed = (y0 <= y) != (y1 <= y)
            odd ^= crossed & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return odd


def tight(mask: np.ndarray) -> list[int]:
    """The smallest box on even pixels that has the whole mask."""
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    low = [int(v) // CELL * CELL for v in (columns[0], rows[0])]
    return low + [-(-(int(v) + 1) // CELL) * CELL for v in (columns[-1], rows[-1])]


def pooled(heat: np.ndarray) -> np.ndarray:
    """A map summed over cells of 2 × 2 pixels, the largest sum as 1, rounded as it is stored: to 16 bits."""
    size = len(heat) // CELL
    sums = heat.reshape(size, CELL, size, CELL).sum((1, 3))
    return (sums / sums.max()).astype(np.float16).astype(np.float64)


def maxima(heat: np.ndarray) -> np.ndarray:
    """Row and column of every largest value, (n, 2)."""
    return np.argwhere(heat == heat.max())


def judged(
    cells: Mapping[str, np.ndarray],
    peaks: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    box: Sequence[int],
) -> dict[str, Any]:
    """Energy inside and hits of each map, the box's area, its overlap with each outline: shares of one."""
    x0, y0, x1, y1 = box
    size = len(next(iter(masks.values())))
    a, b, c, d = (v // CELL for v in box)
    energy = {name: float(values[b:d, a:c].sum() / values.sum()) for name, values in cells.items()}
    hits = {
        name: float(np.mean([(y0 <= y < y1) and (x0 <= x < x1) for y, x in points]))
        for name, points in peaks.items()
    }
    area, overlap = (x1 - x0) * (y1 - y0), {}
    for name, mask in masks.items():
        shared = int(mask[y0:y1, x0:x1].sum())
        overlap[name] = shared / (area + int(mask.sum()) - shared)
    return {
        "energy": energy,
        "hits": hits,
        "area": area / size**2,
        "overlap": overlap,
    }


# --- checks ------------------------------------------------------------------------------------------------


def _checked_maps(maps: Mapping[str, Any], size: int) -> dict[str, np.ndarray]:
    if not isinstance(maps, Mapping) or not 2 <= len(maps) <= len(ROW_NAMES):
        raise ValueError(f"maps must be a dict of 2 to {len(ROW_NAMES)} maps, got {type(maps).__name__}")
    heat = {}
    for name, values in maps.items():
        values = np.asarray(to_array(values))
        values = values[0] if values.ndim == 3 and len(values) == 1 else values
        heat[str(name)] = values = _base.check_array(f"maps[{name!r}]", values, (size, size))
        if values.min() < 0 or values.max() <= 0:
            raise ValueError(
                f"maps[{name!r}] must have no negative value and some heat, got {values.min():.3g} to "
                f"{values.max():.3g}"
            )
    return heat


def _checked_outlines(outlines: Mapping[str, Any], size: int) -> dict[str, np.ndarray]:
    if not isinstance(outlines, Mapping) or not 1 <= len(outlines) <= 3:
        raise ValueError(f"outlines must be a dict of 1 to 3 outlines, got {type(outlines).__name__}")
    corners = {}
    for name, points in outlines.items():
        points = _base.check_array(f"outlines[{name!r}]", points, ("n", 2))
        _base.check_within(f"outlines[{name!r}]", points, 0, size)
        if len(points) < 3 or not inside(points, size).any():
            raise ValueError(f"outlines[{name!r}] must enclose a pixel, got {len(points)} corners")
        corners[str(name)] = points
    return corners


def _checked_box(box: Sequence[int], size: int) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = _base.check_array("box", box, (4,)).tolist()
    if not (0 <= x0 < x1 <= size and 0 <= y0 < y1 <= size) or any(v % CELL for v in (x0, y0, x1, y1)):
        raise ValueError(
            f"box must be x0 < x1 and y0 < y1, even pixels from 0 to {size}, got {[x0, y0, x1, y1]}"
        )
    return int(x0), int(y0), int(x1), int(y1)


# --- the first frame ---------------------------------------------------------------------------------------


def _body(pixels, cells, peaks, corners, box, found) -> str:
    size, (name, values) = len(pixels), next(iter(cells.items()))
    source = _base.picture_source(pixels, "picture")
    lines = "".join(
        f'<polygon class="who-{k}" points="{" ".join(f"{x:g},{y:g}" for x, y in points)}"/>'
        for k, points in enumerate(corners.values())
    )
    drawn = (
        f'<svg class="s-over s-outlines" viewBox="0 0 {size} {size}" aria-hidden="true" hidden>{lines}</svg>'
    )
    marks = "".join(f'<path d="{_cross(y, x)}"/>' for y, x in peaks[name][:20])
    peak = f'<svg class="s-over s-peaks" viewBox="0 0 {size} {size}" aria-hidden="true">{marks}</svg>'
    frame = _base.box_layer(box, None, size, size)
    rows = [(row_name(n, found["hits"][n]), 100 * share) for n, share in found["energy"].items()]
    rows.append(("your box", 100 * found["area"]))
    keys = " ".join(
        f'<span class="key"><i class="who-{k}"></i>annotator {_base.escape(who)}</span>'
        for k, who in enumerate(corners)
    )
    return _base.grid(
        _base.panel(
            "photo",
            "Your box",
            "drag to draw it",
            layers=_base.layer(source, "The photograph", pixelated=False) + drawn + frame,
            after=f'<p class="s-keys" hidden>{keys}</p>',
        ),
        _base.panel(
            "map",
            f"The same box, and {name}",
            "the cross marks its maximum",
            layers=_base.layer(source, "The photograph in grey", classes="is-grey", pixelated=False)
            + _base.layer(
                _base.heat_source(values, top=1.0, over=True),
                f"The map {name} over the photograph in grey",
                classes="heat",
                pixelated=False,
            )
            + frame
            + peak,
        ),
        '<div class="s-panel s-shares" data-panel="shares"><p class="s-name">'
        '<span class="s-title">Heat inside your box</span>'
        "<small>✓ the maximum is inside, ✗ it is not; the last bar is the box’s share of the picture</small>"
        f"</p>{_base.odds('shares', rows)}</div>",
        columns=2,
        phone=2,
    )


def row_name(name: str, hit: float) -> str:
    """A map's name with whether its maximum lies inside."""
    return f"{name} {'✓' if hit == 1 else '✗' if hit == 0 else f'{hit:.2f}'}"


def _cross(y: int, x: int) -> str:
    return f"M{x - 4.5:g} {y - 4.5:g}l10 10M{x + 5.5:g} {y - 4.5:g}l-10 10"


def _controls(names: list[str], who: list[str]) -> str:
    return _base.row(
        _base.segmented("map", "Map", [(str(k), name) for k, name in enumerate(names)], "0")
    ) + _base.row(
        *(_base.button(f"tight-{k}", f"The box of annotator {name}") for k, name in enumerate(who)),
        _base.button("all", "The whole picture"),
        _base.button("again", "Start again"),
        _base.switch("outlines", "Show the outlines"),
    )


def _said(found: dict[str, Any], name: str) -> str:
    fits = " and ".join(f"{share:.2f} with {who}’s outline" for who, share in found["overlap"].items())
    hit = found["hits"][name]
    pointing = "a hit" if hit == 1 else "a miss" if hit == 0 else f"{hit:.2f} of a hit"
    return (
        f"Your box covers {100 * found['area']:.1f} % of the picture; its overlap, IoU, is {fits}. "
        f"{name}: {100 * found['energy'][name]:.1f} % of the heat inside; pointing: {pointing}."
    )
