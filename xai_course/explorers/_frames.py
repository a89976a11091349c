r"""Figures that were made beforehand, one for each place of a control: where a page cannot compute them.

>>> import numpy as np
>>> from xai_course import explorers
>>> pictures = [np.full((8, 8, 3), level) for level in (0.2, 0.8)]
>>> captions = ["Little light.", "Much light."]
>>> explorers.frames("1.1", pictures, ["dark", "light"], captions, caption="Light.", alt="A grey square")
Figure 1.1, explorer frames: 2
 dark
  panel: picture, 8 × 8
 light
  panel: picture, 8 × 8
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure as Drawing
from PIL import Image

from xai_lib.viz import Picture

from .. import figures
from . import _base
from ._base import Explorer

Frame = Sequence[figures.Panel] | figures.Panel | Picture | Drawing
CONTROLS = ("slider", "buttons")
SOURCE = re.compile(r'(?<= src=")data:[^"]*')


def frames(
    number: str,
    frames: Sequence[Frame] | Sequence[Sequence[Frame]],
    labels: Sequence[str] | Sequence[Sequence[str]],
    captions: Sequence[str] | Sequence[Sequence[str]],
    *,
    caption: str,
    alt: str,
    look: str = "",
    names: str | Sequence[str] | None = None,
    controls: str | Sequence[str] = "slider",
    bar: str | tuple[str, str] | None = None,
    shared: bool = True,
    clip: float = 100.0,
    columns: int | None = None,
) -> Frames:
    """An explorer over precomputed frames: one control, or two over a grid.

    Args:
        number: of the figure, such as ``"3.5"``.
        frames: each a list of panels from :func:`xai_course.figures.panel`, as many in each frame; or one
            panel, a picture, or a matplotlib figure (it is closed, so that it is not shown twice). For two
            controls a list of rows of frames.
        labels: what the control reads at each frame, e.g. ``["σ = 0", "σ = 0.1"]``. For two controls
            ``[row_labels, column_labels]``.
        captions: what each frame shows, one sentence or two; the same nesting as ``frames``. Plain text.
        caption: what the whole figure shows; marks as in :func:`xai_course.figures.figure`.
        alt: one sentence that says what is to be seen, for a reader who cannot see it.
        look: what to look for.
        names: name of the control (of the row's and the column's for two).
        controls: ``"slider"`` for a quantity, ``"buttons"`` for a category; one, or one for each name.
        bar, shared, clip, columns: as for :func:`xai_course.figures.figure`; a shared scale is one for all
            frames.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if there are no frames, the numbers of frames, labels and captions differ, a text or the
            bar is missing, ``controls`` is unknown, or the frames do not hold the same panels.
    """
    two = bool(labels) and not isinstance(labels[0], str)
    rows = [list(row) for row in frames] if two else [list(frames)]
    texts = [list(row) for row in captions] if two else [list(captions)]
    axes = [list(axis) for axis in labels] if two else [["only"], list(labels)]
    _check_nesting(rows, texts, axes)
    for row in texts:
        for text in row:
            _base.check_says("every entry of captions", text)
    names = [names] if isinstance(names, str) else list(names or (("Row", "Column") if two else ("Frame",)))
    kinds = [controls] * len(names) if isinstance(controls, str) else list(controls)
    for name, given in (("names", names), ("controls", kinds)):
        if len(given) != (2 if two else 1):
            raise ValueError(f"{name} has {len(given)} entries for {2 if two else 1} control(s)")
    if not set(kinds) <= set(CONTROLS):
        raise ValueError(f"controls must be 'slider' or 'buttons', got {controls!r}")
    panels = [_panels(frame) for row in rows for frame in row]
    _check_alike(panels)
    # The first frame as a figure checks the texts; its scales are those of all frames.
    everything = figures.figure(
        number,
        [panel for frame in panels for panel in frame],
        caption=caption,
        alt=alt,
        look=look,
        bar=bar,
        shared=shared,
        clip=clip,
        columns=columns or min(len(panels[0]), 4),
    )
    axes = list(zip(names, kinds, axes if two else axes[1:], strict=True))
    return Frames(everything, panels, axes, [text for row in texts for text in row])


class Frames(Explorer):
    """An explorer over precomputed frames; made by :func:`frames`."""

    def __init__(
        self,
        everything: figures.Figure,
        panels: Sequence[Sequence[figures.Panel]],
        axes: Sequence[tuple[str, str, Sequence[str]]],
        captions: Sequence[str],
    ) -> None:
        self.panels, self.captions = panels, list(captions)
        self.labels = [list(labels) for _, _, labels in axes]
        shown = [self._figure(everything, frame) for frame in panels]
        grids = [frame.grid() for frame in shown]
        sources = list(dict.fromkeys(SOURCE.findall("".join(grids))))  # a picture in many frames is kept once
        place = {source: i for i, source in enumerate(sources)}
        first = [place[source] for source in SOURCE.findall(grids[0])]
        super().__init__(
            "frames",
            everything.number,
            body=grids[0],
            controls="".join(_control(f"axis-{i}", *axis) for i, axis in enumerate(axes)),
            said=captions[0],
            data={
                "first": first,  # these stand in the first frame already
                "src": ["" if i in first else source for i, source in enumerate(sources)],
                "html": ["", *(SOURCE.sub(lambda found: f"@{place[found[0]]}", grid) for grid in grids[1:])],
                "caption": self.captions,
                "labels": self.labels,
            },
            caption=everything.caption,
            look=everything.look,
            alt=everything.alt,
            arrays={},
            bars="".join(re.findall(r'<div class="s-bar">.*?</div>', everything.html(), re.DOTALL)),
        )

    @staticmethod
    def _figure(everything: figures.Figure, panels: Sequence[figures.Panel]) -> figures.Figure:
        """One frame, with what all have in common."""
        return figures.Figure(
            everything.number,
            {"": panels},
            everything.caption,
            everything.look,
            everything.alt,
            everything.labels,
            everything.scales,
            everything.shared,
            everything.columns,
        )

    def __repr__(self) -> str:
        lines = [f"Figure {self.number}, explorer frames: {len(self.panels)}"]
        for i, panels in enumerate(self.panels):
            lines.append(f" {', '.join(self._labels_at(i))}")
            lines += [f"  {panel.says()}" for panel in panels]
        return "\n".join(lines)

    def _labels_at(self, index: int) -> list[str]:
        if len(self.labels) == 1:
            return [self.labels[0][index]]
        row, column = divmod(index, len(self.labels[1]))
        return [self.labels[0][row], self.labels[1][column]]


def _control(control: str, name: str, kind: str, labels: Sequence[str]) -> str:
    if kind == "slider":
        return _base.slider(control, name, low=0, high=len(labels) - 1, step=1, value=0, shown=labels[0])
    return _base.segmented(control, name, [(str(i), label) for i, label in enumerate(labels)], "0")


def _panels(frame: Frame) -> list[figures.Panel]:
    if isinstance(frame, Drawing):
        frame = _drawn(frame)
    if isinstance(frame, (list, tuple)):
        return list(frame)
    return [frame if isinstance(frame, figures.Panel) else figures.panel(frame, name="panel")]


def _drawn(drawing: Drawing) -> np.ndarray:
    """The pixels of a matplotlib figure, (H, W, 3); it is closed."""
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", bbox_inches=None)
    plt.close(drawing)
    return np.asarray(Image.open(buffer).convert("RGB"), dtype=np.float64) / 255


def _check_nesting(rows: Sequence[Any], texts: Sequence[Any], axes: Sequence[Any]) -> None:
    if not rows or not rows[0]:
        raise ValueError("frames is empty: give at least one frame")
    shape = (len(rows), len(rows[0]))
    for name, got in (
        ("frames", _shape(rows)),
        ("captions", _shape(texts)),
        ("labels", tuple(map(len, axes))),
    ):
        if got != shape:
            raise ValueError(
                f"{name} is {got} in rows and columns, but the first row of frames makes it {shape}"
            )


def _check_alike(frames: Sequence[Sequence[figures.Panel]]) -> None:
    """A reader compares places: each frame has the panels of the first, of the same sizes."""
    for i, panels in enumerate(frames):
        if [panel.size for panel in panels] != [panel.size for panel in frames[0]]:
            raise ValueError(
                f"all frames must hold panels of the same sizes, got {[p.size for p in panels]} in frame {i} "
                f"and {[p.size for p in frames[0]]} in the first"
            )


def _shape(rows: Sequence[Sequence[Any]]) -> tuple[int, ...]:
    """(rows, columns), or the rows' lengths if they differ."""
    lengths = {len(row) for row in rows}
    return (len(rows), *lengths) if len(lengths) == 1 else tuple(len(row) for row in rows)
