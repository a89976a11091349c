r"""Things to move on a page: explorers over frames, and live controls.

The static page has no kernel. So an explorer is computed beforehand, frame by frame, and carries two faces:
an ipywidgets view where a kernel runs, and self-contained HTML elsewhere (a native slider, nothing fetched).

>>> import numpy as np
>>> from xai_course import explorers
>>> images = [np.full((8, 8, 3), level) for level in (0.2, 0.8)]
>>> captions = ["Little light.", "Much light."]
>>> explorers.frames(images, ["dark", "light"], captions, title="Light", alt="A grey square")
<explorer "Light": 2 frames>
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from xai_lib import viz

from ._page import Displayed, escape, script, script_json, style

Frame = Figure | viz.Picture


def frames(
    figures: Sequence[Frame] | Sequence[Sequence[Frame]],
    labels: Sequence[str] | Sequence[Sequence[str]],
    captions: Sequence[str] | Sequence[Sequence[str]],
    *,
    title: str,
    alt: str,
    names: str | Sequence[str] | None = None,
) -> Frames:
    """An explorer over precomputed frames: one slider, or two over a grid.

    Args:
        figures: the frames, all of one size: matplotlib figures (they are closed, so that they are not shown
            twice) or images as :func:`xai_lib.viz.panels` takes them. For two sliders a grid: a list of rows.
        labels: what the slider reads at each frame, e.g. ``["σ = 0", "σ = 0.1"]``. For a grid
            ``[row_labels, column_labels]``.
        captions: what each frame shows, one sentence or two; the same nesting as ``figures``. Plain text.
        title: heading above the figure.
        alt: one sentence that says what is to be seen; each frame's text alternative is this, its labels and
            its caption.
        names: name of the slider (of the row's and the column's slider for a grid).

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if there are no frames, the numbers of frames, labels and captions differ, a text is
            empty, or the frames are not all of one size.
    """
    grid = bool(figures) and isinstance(figures[0], (list, tuple))
    rows = [list(row) for row in figures] if grid else [list(figures)]
    texts = [list(row) for row in captions] if grid else [list(captions)]
    axes = [list(axis) for axis in labels] if grid else [["only"], list(labels)]
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
    if not title.strip() or not alt.strip() or any(not text.strip() for row in texts for text in row):
        raise ValueError(
            "title, alt and every caption must say something: readers who see no image rely on them"
        )
    names = [names] if isinstance(names, str) else list(names or (("Row", "Column") if grid else ("Frame",)))
    if len(names) != (2 if grid else 1):
        raise ValueError(f"names has {len(names)} entries for {2 if grid else 1} slider(s)")
    encoded = [_encode(frame) for row in rows for frame in row]
    if len({size for _, size in encoded}) > 1:
        raise ValueError(f"all frames must have one size, got {sorted({size for _, size in encoded})}")
    return Frames(
        title,
        alt,
        names,
        axes if grid else axes[1:],
        [text for row in texts for text in row],
        *zip(*encoded, strict=True),
    )


def interact(function: Callable[..., Any], **controls: Any) -> Live:
    """Call a function again whenever its reader moves a control; needs a kernel.

    Args:
        function: draws something; takes the controls' values by name.
        controls: as :func:`ipywidgets.interact` takes them: ``(low, high, step)``, a list, a widget.

    Returns:
        An object that a notebook displays; on the static page it is a note that says how to use it.
    """
    return Live(function, controls)


class Frames(Displayed):
    """An explorer over precomputed frames; made by :func:`frames`."""

    def __init__(
        self,
        title: str,
        alt: str,
        names: Sequence[str],
        labels: Sequence[Sequence[str]],
        captions: Sequence[str],
        images: Sequence[tuple[str, bytes]],
        sizes: Sequence[tuple[int, int]],
    ) -> None:
        self.title, self.names, self.labels, self.captions = title, list(names), list(labels), list(captions)
        self.images, self.size = list(images), sizes[0]
        self.alts = [
            f"{alt.rstrip('.')}. {', '.join(self._labels_at(i))}: {caption}"
            for i, caption in enumerate(captions)
        ]

    def __repr__(self) -> str:
        return f'<explorer "{self.title}": {len(self.images)} frames>'

    def html(self) -> str:
        """A figure with native sliders; without scripts its first frame and caption remain."""
        sources = [
            f"data:image/{kind};base64,{base64.b64encode(data).decode()}" for kind, data in self.images
        ]
        # The first frame is in the image already: it is not stored twice.
        data = {"src": ["", *sources[1:]], "alt": self.alts, "caption": self.captions, "labels": self.labels}
        sliders = "".join(
            f'<label class="xw-slider"><span>{escape(name)}: <output>{escape(axis[0])}</output></span>'
            f'<input type="range" min="0" max="{len(axis) - 1}" value="0" step="1" '
            f'aria-label="{escape(name)}" aria-valuetext="{escape(axis[0])}"></label>'
            for name, axis in zip(self.names, self.labels, strict=True)
        )
        width, height = self.size
        return (
            f'<figure class="xw-frames" data-explorer="{self.key()}" role="group" '
            f'aria-label="Explorer: {escape(self.title)}"><style>{style("frames")}</style>'
            f'<p class="xw-title">{escape(self.title)}</p>'
            f'<img class="xw-image" src="{sources[0]}" alt="{escape(self.alts[0])}" '
            f'width="{width}" height="{height}">'
            f'<div class="xw-controls" hidden>{sliders}</div>'
            f'<figcaption aria-live="polite">{escape(self.captions[0])}</figcaption>'
            f"<noscript><p>Scripts are off: this is the first of {len(self.images)} frames.</p></noscript>"
            f"<script>{script('frames.js').replace('__DATA__', script_json(data))}</script></figure>"
        )

    def key(self) -> str:
        """A name made from the contents: the same explorer always has the same."""
        digest = hashlib.sha256(repr((self.title, self.labels, self.captions)).encode())
        for _, data in self.images:
            digest.update(data)
        return digest.hexdigest()[:12]

    def widget(self) -> Any:
        """The same explorer from ipywidgets."""
        import ipywidgets

        image = ipywidgets.Image(value=self.images[0][1], format=self.images[0][0])
        image.layout = {"width": f"{self.size[0]}px", "max_width": "100%", "object_fit": "contain"}
        caption = ipywidgets.HTML(escape(self.captions[0]))
        sliders = [
            ipywidgets.SelectionSlider(
                options=[(label, i) for i, label in enumerate(axis)],
                description=name,
                style={"description_width": "initial"},
                layout={"width": "95%"},
            )
            for name, axis in zip(self.names, self.labels, strict=True)
        ]

        def show(_: Any) -> None:
            index = 0
            for slider, axis in zip(sliders, self.labels, strict=True):
                index = index * len(axis) + slider.value
            image.format, image.value = self.images[index]
            image.alt = self.alts[index]
            caption.value = escape(self.captions[index])

        for slider in sliders:
            slider.observe(show, "value")
        return ipywidgets.VBox([ipywidgets.HTML(f"<b>{escape(self.title)}</b>"), image, *sliders, caption])

    def _labels_at(self, index: int) -> list[str]:
        if len(self.labels) == 1:
            return [self.labels[0][index]]
        row, column = divmod(index, len(self.labels[1]))
        return [self.labels[0][row], self.labels[1][column]]


class Live(Displayed):
    """A function under controls; made by :func:`interact`."""

    def __init__(self, function: Callable[..., Any], controls: dict[str, Any]) -> None:
        self.function, self.controls = function, controls

    def __repr__(self) -> str:
        return f"<live explorer: {', '.join(self.controls)}>"

    def html(self) -> str:
        """A note: without a kernel there is nothing to call."""
        names = ", ".join(f"<b>{escape(name.replace('_', ' '))}</b>" for name in self.controls)
        return (
            f'<div class="xw-note"><style>{style("note")}</style><p>Live explorer over {names}. '
            "It computes as you move it: run the notebook to use it (Start here says how).</p></div>"
        )

    def widget(self) -> Any:
        """The function under ipywidgets' controls, called once so that there is something to see."""
        import ipywidgets

        controls = {
            name: ipywidgets.interactive.widget_from_abbrev(control)
            for name, control in self.controls.items()
        }
        for name, control in controls.items():
            if control is None:
                raise ValueError(
                    f"{name}={self.controls[name]!r} is not something that a control can be made from"
                )
            control.description = control.description or name.replace("_", " ")
            control.style = {"description_width": "initial"}
            if hasattr(control, "continuous_update"):
                control.continuous_update = False  # a model runs at each step: wait until the slider rests
        result = ipywidgets.VBox()

        def run(_: Any = None) -> None:
            result.children = _captured(
                self.function, {name: control.value for name, control in controls.items()}
            )

        for control in controls.values():
            control.observe(run, "value")
        run()
        return ipywidgets.VBox([*controls.values(), result])


def _captured(function: Callable[..., Any], values: dict[str, Any]) -> list[Any]:
    """What a call prints and draws, as widgets. An error is shown where its reader looks, not in a log."""
    import ipywidgets

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), plt.ioff():
        before = set(plt.get_fignums())
        with mock.patch.object(plt, "show", lambda *_, **__: None):
            try:
                function(**values)
            except Exception as error:
                print(f"{type(error).__name__}: {error}")
        drawn = [plt.figure(number) for number in plt.get_fignums() if number not in before]
    images = [_encode(figure) for figure in drawn]
    text = [ipywidgets.HTML(f"<pre>{escape(printed.getvalue())}</pre>")] if printed.getvalue() else []
    pictures = [
        ipywidgets.Image(value=data, format=kind, layout={"width": f"{width}px", "max_width": "100%"})
        for (kind, data), (width, _) in images
    ]
    return text + pictures


def _encode(frame: Frame) -> tuple[tuple[str, bytes], tuple[int, int]]:
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
