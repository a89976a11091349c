"""What explorers that compute in the page have in common: the figure, its data, panels and controls."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from xai_lib.heatmaps import fingerprint
from xai_lib.viz import to_array, to_pixels

from .. import _images, figures
from .._page import Displayed, escape, script_json

STYLES = ("tokens", "controls", "figure", "explorers/explorers")
KINDS = {"f16": np.float16, "f32": np.float32, "i8": np.int8, "u8": np.uint8}


class Explorer(Displayed):
    """A figure that computes in the page; made by the functions of :mod:`xai_course.explorers`.

    Args:
        kind: the script, ``static/explorers/{kind}.js``; it is mounted on ``[data-explorer="{kind}"]``.
        number: of the figure, such as ``"3.5"``.
        body: HTML of the first frame: panels from :func:`panel`, for a reader without scripts.
        controls: HTML from :func:`segmented`, :func:`slider`, :func:`switch`, :func:`button`; hidden until
            the script shows it.
        said: the sentence under the panels that says what they show; the script keeps it up to date, and a
            screen reader hears it.
        data: what the script reads with ``sinb.data(figure)``; arrays from :func:`packed`.
        caption: what the figure shows; marks as in :func:`xai_course.figures.figure`.
        look: what to look for.
        alt: one sentence that says what is to be seen.
        arrays: the numbers behind the figure by name: their fingerprints stand in ``text/plain``.
        bars: HTML of colour bars from :func:`bar`.
        below: HTML of further panels, under the controls.
    """

    def __init__(
        self,
        kind: str,
        number: str,
        *,
        body: str,
        controls: str,
        said: str,
        data: dict[str, Any],
        caption: str,
        look: str,
        alt: str,
        arrays: dict[str, Any],
        bars: str = "",
        below: str = "",
    ) -> None:
        figures.check_number(number)
        for name, text in (("caption", caption), ("alt", alt)):
            check_says(name, text)
        self.kind, self.number, self.caption, self.look, self.alt = kind, number, caption, look, alt
        self.body, self.controls, self.said, self.bars, self.data = body, controls, said, bars, data
        self.below = below
        self.arrays = {name: to_array(values) for name, values in arrays.items()}

    def __repr__(self) -> str:
        lines = [f"Figure {self.number}, explorer {self.kind}"]
        return "\n".join(lines + [f"{name}: {describe(values)}" for name, values in self.arrays.items()])

    def html(self) -> str:
        """The figure with its first frame, its controls (hidden), its data, style and script."""
        controls = self.controls.replace("KEY-", f"{self.key()}-")  # tells two copies' radio buttons apart
        body = (
            f'{self.body}<div class="s-controls" hidden>{controls}</div>{self.below}'
            f'<div class="s-tools"><p class="s-said" role="status">{escape(self.said)}</p>'
            f'<div class="s-bars">{self.bars}</div></div>'
            "<noscript><p>Scripts are off: this is the first state of a figure that computes.</p></noscript>"
            f'<script type="application/json" class="s-data">{script_json(self.data)}</script>'
        )
        return figures.wrap(
            self.number,
            body,
            caption=self.caption,
            look=self.look,
            alt=self.alt,
            kind="s-explorer",
            attributes=f' role="group" data-explorer="{self.kind}"',
            styles=STYLES,
            scripts=("core", "figure", "explorers/maps", f"explorers/{self.kind}"),
        )

    def key(self) -> str:
        """What tells this explorer's radio buttons from another's; the same on every machine."""
        return hashlib.sha256(f"{self.kind} {self.number} {self.caption}".encode()).hexdigest()[:8]


# --- data --------------------------------------------------------------------------------------------------


def packed(values: Any, kind: str = "f16") -> dict[str, Any]:
    """Numbers for ``sinb.array`` in a script: base64 in ``kind``, row by row.

    ``"i8"`` and ``"u8"`` keep 8 bits a number and one scale for each entry of the first axis: an error of at
    most half a step, a 254th (510th) of that entry's largest absolute value. ``"bits"`` keeps True and False.
    """
    array = to_array(values)
    text: dict[str, Any] = {"kind": kind, "shape": list(array.shape)}
    if kind == "bits":
        return text | {"data": _base64(np.packbits(array.astype(bool).ravel(), bitorder="little"))}
    if kind in ("i8", "u8"):
        steps = 127 if kind == "i8" else 255
        top = np.abs(array).reshape(len(array), -1).max(1).astype(np.float32) / steps
        scale = np.where(top > 0, top, np.float32(1))
        array = (array / scale.reshape(-1, *[1] * (array.ndim - 1))).round().clip(-steps, steps)
        text["scale"] = _base64(scale.astype("<f4"))
    return text | {"data": _base64(array.astype(np.dtype(KINDS[kind]).newbyteorder("<")))}


def unpacked(text: dict[str, Any]) -> np.ndarray:
    """What a script reads from :func:`packed`."""
    raw = base64.b64decode(text["data"])
    if text["kind"] == "bits":
        count = int(np.prod(text["shape"]))
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little", count=count)
        return bits.reshape(text["shape"]).astype(np.float64)
    array = np.frombuffer(raw, np.dtype(KINDS[text["kind"]]).newbyteorder("<")).astype(np.float64)
    array = array.reshape(text["shape"])
    if "scale" in text:
        scale = np.frombuffer(base64.b64decode(text["scale"]), "<f4").astype(np.float64)
        array = array * scale.reshape(-1, *[1] * (array.ndim - 1))
    return array


def describe(values: np.ndarray) -> str:
    """Size and fingerprint of an array: what the tests compare, on any machine."""
    flat = torch.from_numpy(np.array(values, dtype=np.float64)).reshape(
        len(values) if values.ndim > 1 else 1, -1
    )
    return f"{' × '.join(map(str, values.shape))}, {fingerprint(flat)}"


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


# --- pictures ----------------------------------------------------------------------------------------------


def picture_source(picture: Any, name: str) -> str:
    """A picture in [0, 1] as an address that holds its bytes."""
    return _images.picture_uri(to_pixels(picture, name))


def grey_source(values: np.ndarray, *, ink: bool = False) -> str:
    """Grey levels (h, w) in [0, 1] likewise, without loss; as ``ink``, 1 is black."""
    levels = np.repeat((1 - values if ink else values)[..., None], 3, 2)
    return pixels_source((255 * levels).round().astype(np.uint8))


def pixels_source(pixels: np.ndarray) -> str:
    """Bytes (h, w, 3) or (h, w, 4) likewise, without loss."""
    return _images.uri(Image.fromarray(pixels), lossless=True, quality=80)


def heat_source(values: np.ndarray, *, top: float, signed: bool = False, over: bool = False) -> str:
    """A map (h, w) likewise: inferno from 0 to ``top``; signed: RdBu, from -``top``.

    ``over`` a picture its opacity follows the heat, as in every figure of the course.
    """
    return _images.heat_uri(np.asarray(values, dtype=float), (-top if signed else 0, top), signed, over)


# --- panels ------------------------------------------------------------------------------------------------


def grid(*panels: str, columns: int | None = None, phone: int = 2) -> str:
    """Panels side by side: ``columns`` on a desktop, ``phone`` on a phone."""
    return (
        f'<div class="s-grid" style="--cols:{columns or len(panels)};--phone:{phone}">{"".join(panels)}</div>'
    )


def panel(
    slot: str, name: str, note: str = "", *, layers: str = "", ratio: float = 1.0, after: str = ""
) -> str:
    """A panel, ``[data-panel="{slot}"]`` for the script; ``layers`` from :func:`layer`, the lowest first."""
    return (
        f'<div class="s-panel" data-panel="{slot}">'
        f'<div class="s-shot" style="aspect-ratio:{ratio:.4g}">{layers}</div>'
        f'<p class="s-name"><span class="s-title">{escape(name)}</span>'
        f"<small>{escape(note)}</small></p>{after}</div>"
    )


def layer(source: str, alt: str, *, classes: str = "", pixelated: bool = True) -> str:
    """A picture in a panel; ``sinb.maps.canvas`` puts a canvas with the same alternative in its place."""
    classes = f"{classes}{' s-px' if pixelated else ''}".strip()
    return f'<img class="{classes}" src="{source}" alt="{escape(alt)}" decoding="async">'


def box_layer(box: Sequence[float], truth: Sequence[float] | None, width: int, height: int) -> str:
    """A box over a panel, which the script moves, and a dashed one that stays; x0, y0, x1, y1 in pixels."""

    def rect(kind: str, corners: Sequence[float]) -> str:
        x0, y0, x1, y1 = (100 * float(v) / size for v, size in zip(corners, (width, height) * 2, strict=True))
        return (
            f'<rect class="{kind}" x="{x0:.2f}" y="{y0:.2f}" width="{x1 - x0:.2f}" height="{y1 - y0:.2f}"/>'
        )

    fixed = "" if truth is None else rect("box-1", truth)
    return (
        '<svg class="s-over" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
        f"{fixed}<g data-moves>{rect('rim', box)}{rect('box', box)}</g></svg>"
    )


def odds(slot: str, rows: Sequence[tuple[str, float]]) -> str:
    """Bars of per cent, one a class, that the script finds as ``[data-odds="{slot}"]``."""
    top = max(range(len(rows)), key=lambda i: rows[i][1])
    bars = "".join(
        f"<div{' class=is-top' if i == top else ''}><span>{escape(name)}</span>"
        f'<i style="--p:{share:.1f}"></i><span>{share:.0f} %</span></div>'
        for i, (name, share) in enumerate(rows)
    )
    return f'<div class="s-odds" data-odds="{slot}">{bars}</div>'


def bar(slot: str, label: str, low: str, high: str, *, signed: bool = False, over: bool = False) -> str:
    """A colour bar with labelled ends, that the script finds as ``[data-bar="{slot}"]``.

    ``over``: in the colours that a map has over a grey picture.
    """
    shown = figures.color_bar(label, low, high, signed, faint=over)
    return shown.replace('class="s-bar"', f'class="s-bar" data-bar="{slot}"', 1)


# --- controls ----------------------------------------------------------------------------------------------


def segmented(control: str, legend: str, options: Sequence[tuple[str, str]], chosen: str) -> str:
    """Buttons for a category, of which one is chosen; ``options`` are (value, text)."""
    buttons = "".join(
        f'<label><input type="radio" name="KEY-{control}" value="{escape(value)}"'
        f"{' checked' if value == chosen else ''}><span>{escape(text)}</span></label>"
        for value, text in options
    )
    return (
        f'<div class="s-control"><span class="s-legend" id="KEY-{control}-legend">{escape(legend)}</span>'
        f'<div class="s-seg" role="radiogroup" aria-labelledby="KEY-{control}-legend" '
        f'data-control="{control}">{buttons}</div></div>'
    )


def slider(
    control: str, legend: str, *, low: float, high: float, step: float, value: float, shown: str
) -> str:
    """A slider for a quantity; ``shown`` is how its first value reads."""
    return (
        f'<label class="s-slide"><span>{escape(legend)}</span>'
        f'<input type="range" class="s-range" data-control="{control}" min="{low:g}" max="{high:g}" '
        f'step="{step:g}" value="{value:g}" aria-valuetext="{escape(shown)}">'
        f"<output>{escape(shown)}</output></label>"
    )


def switch(control: str, text: str) -> str:
    """A switch, off at first."""
    return (
        f'<button type="button" class="s-switch" role="switch" aria-checked="false" data-control="{control}">'
        f"<i></i>{escape(text)}</button>"
    )


def button(control: str, text: str, *, main: bool = False) -> str:
    return (
        f'<button type="button" class="s-btn{" is-main" if main else ""}" data-control="{control}">'
        f"{escape(text)}</button>"
    )


def row(*controls: str) -> str:
    """Controls side by side, wrapped where there is no room."""
    return f'<div class="s-row">{"".join(controls)}</div>'


# --- checks ------------------------------------------------------------------------------------------------


def decimal(value: float, places: int = 2) -> str:
    """A number with a true minus sign, and none before a zero: as the scripts write it."""
    text = f"{abs(value):.{places}f}"
    return "−" + text if value < 0 and float(text) else text


def check_says(name: str, text: Any) -> None:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(
            f"{name} must say something, got {text!r}; give a sentence: readers who see no image rely on it"
        )


def check_array(name: str, values: Any, shape: Sequence[int | str]) -> np.ndarray:
    """Finite numbers of a shape, as float64; a letter in ``shape`` stands for any size above 0."""
    try:
        array = np.asarray(to_array(values), dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers {_named(shape)}, got {type(values).__name__}") from None
    fits = array.ndim == len(shape) and all(
        got > 0 if isinstance(want, str) else got == want
        for got, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} must be numbers {_named(shape)}, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity; look where it was computed")
    return array


def check_within(name: str, array: np.ndarray, low: float, high: float) -> None:
    if array.min() < low or array.max() > high:
        raise ValueError(
            f"{name} must be between {low:g} and {high:g}, got {array.min():.3g} to {array.max():.3g}"
        )


def _named(shape: Sequence[int | str]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
