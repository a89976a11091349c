r"""Pictures that were made beforehand, one for each place of a control: where a page cannot compute them.

>>> import numpy as np
>>> from xai_course import explorers
>>> images = [np.full((8, 8, 3), level) for level in (0.2, 0.8)]
>>> captions = ["Little light.", "Much light."]
>>> explorers.frames(images, ["dark", "light"], captions, title="Light", alt="A grey square")
<explorer "Light": 2 frames>
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from xai_lib import viz

from . import _base
from ._base import Explorer

Frame = Figure | viz.Picture
CONTROLS = ("slider", "buttons")


def frames(
    figures: Sequence[Frame] | Sequence[Sequence[Frame]],
    labels: Sequence[str] | Sequence[Sequence[str]],
    captions: Sequence[str] | Sequence[Sequence[str]],
    *,
    title: str,
    alt: str,
    number: str | None = None,
    look: str = "",
    names: str | Sequence[str] | None = None,
    controls: str | Sequence[str] = "slider",
    panels: Sequence[str] = (),
    bar: tuple[str, str, str] | None = None,
    signed: bool = False,
) -> Frames:
    """An explorer over precomputed frames: one control, or two over a grid.

    Args:
        figures: the frames, all of one size: matplotlib figures (they are closed, so that they are not shown
            twice) or images as :func:`xai_lib.viz.panels` takes them. For two controls a grid: a list of
            rows.
        labels: what the control reads at each frame, e.g. ``["σ = 0", "σ = 0.1"]``. For a grid
            ``[row_labels, column_labels]``.
        captions: what each frame shows, one sentence or two; the same nesting as ``figures``. Plain text.
        title: the figure's caption. Plain text.
        alt: one sentence that says what is to be seen; each frame's text alternative is this, its labels and
            its caption.
        number: of the figure, such as ``"3.5"``; None for a figure that no text refers to.
        look: what to look for. Plain text.
        names: name of the control (of the row's and the column's for a grid).
        controls: ``"slider"`` for a quantity, ``"buttons"`` for a category; one, or one for each name.
        panels: titles of the frame's panels, from left to right, each of the same width; they stand under
            the picture, in the page's own type.
        bar: (label, low end, high end) of the colour bar; ``signed`` for red and blue round zero.
        signed: whether the bar is the diverging one.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if there are no frames, the numbers of frames, labels and captions differ, a text is
            empty, ``controls`` is unknown, or the frames are not all of one size.
    """
    grid = bool(figures) and isinstance(figures[0], (list, tuple))
    rows = [list(row) for row in figures] if grid else [list(figures)]
    texts = [list(row) for row in captions] if grid else [list(captions)]
    axes = [list(axis) for axis in labels] if grid else [["only"], list(labels)]
    _check_nesting(rows, texts, axes)
    if not title.strip() or not alt.strip() or any(not text.strip() for row in texts for text in row):
        raise ValueError(
            "title, alt and every caption must say something: readers who see no image rely on them"
        )
    names = [names] if isinstance(names, str) else list(names or (("Row", "Column") if grid else ("Frame",)))
    kinds = [controls] * len(names) if isinstance(controls, str) else list(controls)
    for name, given in (("names", names), ("controls", kinds)):
        if len(given) != (2 if grid else 1):
            raise ValueError(f"{name} has {len(given)} entries for {2 if grid else 1} control(s)")
    if not set(kinds) <= set(CONTROLS):
        raise ValueError(f"controls must be 'slider' or 'buttons', got {controls!r}")
    encoded = [encode(frame) for row in rows for frame in row]
    if len({size for _, size in encoded}) > 1:
        raise ValueError(f"all frames must have one size, got {sorted({size for _, size in encoded})}")
    if number is not None:
        _base.check_number_of_figure(number)
    return Frames(
        title=title,
        alt=alt,
        number=number,
        look=look,
        axes=list(zip(names, kinds, axes if grid else axes[1:], strict=True)),
        captions=[text for row in texts for text in row],
        images=[image for image, _ in encoded],
        size=encoded[0][1],
        panels=panels,
        bars=_base.bar("heat", *bar, signed=signed) if bar else "",
    )


class Frames(Explorer):
    """An explorer over precomputed frames; made by :func:`frames`."""

    def __init__(
        self,
        *,
        title: str,
        alt: str,
        number: str | None,
        look: str,
        axes: Sequence[tuple[str, str, Sequence[str]]],
        captions: Sequence[str],
        images: Sequence[tuple[str, bytes]],
        size: tuple[int, int],
        panels: Sequence[str],
        bars: str,
    ) -> None:
        self.title, self.images, self.size = title, list(images), size
        self.labels, self.captions = [list(labels) for _, _, labels in axes], list(captions)
        self.alts = [
            f"{alt.rstrip('.')}. {', '.join(self._labels_at(i))}: {caption}"
            for i, caption in enumerate(captions)
        ]
        sources = [
            f"data:image/{kind};base64,{base64.b64encode(data).decode()}" for kind, data in self.images
        ]
        # The first frame is in the image already: it is not stored twice.
        data = {"src": ["", *sources[1:]], "alt": self.alts, "caption": self.captions, "labels": self.labels}
        super().__init__(
            "frames",
            number,
            body=self._body(sources[0], panels),
            controls="".join(_control(f"axis-{i}", *axis) for i, axis in enumerate(axes)),
            said=captions[0],
            data=data,
            caption=title,
            look=look,
            alt=alt,
            arrays={},
            bars=bars,
        )

    def __repr__(self) -> str:
        return f'<explorer "{self.title}": {len(self.images)} frames>'

    def _body(self, source: str, panels: Sequence[str]) -> str:
        width, height = self.size
        titles = "".join(f'<p class="s-name">{_base.escape(name)}</p>' for name in panels)
        under = (
            f'<div class="s-grid s-titles" style="--cols:{len(panels)};--phone:{len(panels)}">{titles}</div>'
        )
        return (
            f'<div class="s-frame-shown" style="max-width:{width}px"><img class="s-frame" src="{source}" '
            f'alt="{_base.escape(self.alts[0])}" width="{width}" height="{height}">{under if panels else ""}'
            "</div>"
        )

    def _labels_at(self, index: int) -> list[str]:
        if len(self.labels) == 1:
            return [self.labels[0][index]]
        row, column = divmod(index, len(self.labels[1]))
        return [self.labels[0][row], self.labels[1][column]]


def _control(control: str, name: str, kind: str, labels: Sequence[str]) -> str:
    if kind == "slider":
        return _base.slider(control, name, low=0, high=len(labels) - 1, step=1, value=0, shown=labels[0])
    return _base.segmented(control, name, [(str(i), label) for i, label in enumerate(labels)], "0")


def _check_nesting(rows: Sequence[Any], texts: Sequence[Any], axes: Sequence[Any]) -> None:
    if not rows or not rows[0]:
        raise ValueError("figures is empty: give at least one frame")
    shape = (len(rows), len(rows[0]))
    for name, got in (
        ("figures", _shape(rows)),
        ("captions", _shape(texts)),
        ("labels", tuple(map(len, axes))),
    ):
        if got != shape:
            raise ValueError(
                f"{name} is {got} in rows and columns, but the first row of figures makes it {shape}"
            )


def encode(frame: Frame) -> tuple[tuple[str, bytes], tuple[int, int]]:
    """A frame as ((format, bytes), (width, height)), in the smallest of three encodings."""
    if isinstance(frame, Figure):
        buffer = io.BytesIO()
        frame.savefig(buffer, format="png", bbox_inches=None)
        plt.close(frame)
        picture = Image.open(buffer).convert("RGB")
    else:
        picture = Image.fromarray((viz.to_pixels(frame, "a frame") * 255).round().astype(np.uint8))
        scale = max(1, round(320 / picture.width))  # small images are enlarged, their pixels kept square
        picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    options: dict[str, dict[str, Any]] = {
        "lossy": {"format": "webp", "quality": 84, "method": 6, "use_sharp_yuv": True},
        "lossless": {"format": "webp", "lossless": True, "method": 4},
    }
    encoded = [("webp", _save(picture, **kwargs)) for kwargs in options.values()]
    colors = picture.getcolors(256)
    if colors is not None:  # a palette loses nothing here
        encoded.append(("png", _save(picture.quantize(len(colors)), format="png", optimize=True)))
    return min(encoded, key=lambda candidate: len(candidate[1])), picture.size


def _save(picture: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, **options)
    return buffer.getvalue()


def _shape(rows: Sequence[Sequence[Any]]) -> tuple[int, ...]:
    """(rows, columns), or the rows' lengths if they differ."""
    lengths = {len(row) for row in rows}
    return (len(rows), *lengths) if len(lengths) == 1 else tuple(len(row) for row in rows)
