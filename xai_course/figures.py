r"""The figure on the page: pictures and heatmaps as bare panels; titles, colour bars and captions as text.

One object serves the notebook, the book and print: HTML that follows the page's theme, and plain text with
fingerprints, which is what the tests compare. For figures outside the course there is :mod:`xai_lib.viz`.

>>> import torch
>>> from xai_course import figures
>>> photo, heatmap = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.eye(4)
>>> shown = figures.figure(
...     "1.1",
...     [figures.panel(photo, name="picture"), figures.panel(photo, heatmap, name="A heatmap", note="4 × 4")],
...     caption="A picture and a *heatmap* of it.",
...     look="the diagonal.",
...     alt="A noisy picture, and the same with a bright diagonal.",
...     bar="share of the maximum",
... )
>>> print(shown)
Figure 1.1
  picture: picture, 32 × 32
  A heatmap (4 × 4): heatmap, 4 × 4: 9000 0900 0090 0009
  bar: 0 … 1.0, share of the maximum
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from xai_lib.heatmaps import fingerprint
from xai_lib.viz import Picture, to_array, to_pixels

from . import _charts
from ._charts import COLORS, bars, chart, number_text, own_names
from ._images import LARGE, centres, heat_uri, marks, picture_uri, rgba
from ._page import Displayed, escape, inline_script, inline_style

__all__ = [
    "COLORS",
    "Figure",
    "Panel",
    "Schematic",
    "Table",
    "bars",
    "chart",
    "figure",
    "panel",
    "schematic",
    "table",
]

STYLES, SCRIPTS = ("tokens", "controls", "figure"), ("core", "figure")
NUMBER = re.compile(r"[1-9A]\d*\.v?\d+")  # 2.v1: in a teacher's own exercises
CHART_REM = 0.1  # rem a point, for a chart on its own: text a little larger than the page's small text


@dataclass
class Panel:
    """One panel of a figure; made by :func:`panel`."""

    picture: np.ndarray | None  # (H, W, 3) in [0, 1]
    heat: np.ndarray | None  # (h, w)
    signed: bool
    chart: str | None  # SVG
    chart_says: str
    name: str
    note: str
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    numbers: list[tuple[str, float, float]] = field(default_factory=list)  # text, x and y in pixels
    edges: np.ndarray | None = None  # (H, W) integers: borders are drawn between different ones

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, of the picture where there is one."""
        shown = self.picture if self.picture is not None else self.heat
        return (shown.shape[1], shown.shape[0]) if shown is not None else (1, 1)

    def says(self) -> str:
        """What the plain text says of it."""
        title = self.name + (f" ({self.note})" if self.note else "")
        if self.chart is not None:
            return f"{title}: {self.chart_says}"
        if self.heat is None:
            return f"{title}: picture, {self.size[1]} × {self.size[0]}"
        rows, columns = self.heat.shape
        prints = fingerprint(torch.from_numpy(np.ascontiguousarray(self.heat)))
        return f"{title}: heatmap, {rows} × {columns}: {prints}"


def panel(
    picture: Picture | Axes | None = None,
    heat: Picture | None = None,
    *,
    name: str = "",
    note: str = "",
    signed: bool | None = None,
    boxes: Sequence[Sequence[float]] = (),
    numbers: Mapping[str | int, Sequence[float]] | None = None,
    segments: Picture | None = None,
) -> Panel:
    """A picture, a heatmap, a heatmap over a grey picture, or a chart.

    Args:
        picture: an image :math:`(3, H, W)`, :math:`(1, H, W)` or :math:`(H, W, 3)` in [0, 1], also with a
            leading batch dimension of one; or the axes from :func:`chart`.
        heat: a heatmap :math:`(h, w)`, as it was computed: a coarse one is drawn as cells. With a picture it
            lies over it, and its opacity follows its value; alone it fills the panel.
        name: title of the panel; plain text.
        note: a line below the title, such as a number.
        signed: whether zero stands in the middle (blue against, red for); None: if a value is negative.
        boxes: boxes :math:`(x_0, y_0, x_1, y_1)` in pixels of the picture; the first is drawn white, the
            second blue and dashed, the third yellow and dotted.
        numbers: labels to write into the panel: text to its place (x, y) in pixels.
        segments: :math:`(H, W)` integers; borders are drawn where two of them meet, and each segment is
            labelled with its number unless ``numbers`` says otherwise.

    Raises:
        ValueError: if there is nothing to show, a picture or heatmap has another shape, or a heatmap is not
            finite.
    """
    if isinstance(picture, Axes):
        svg, says = _charts.drawn(picture)
        return Panel(None, None, False, svg, says, name, note)
    if picture is None and heat is None:
        raise ValueError("picture and heat are both None: give something to show")
    pixels = None if picture is None else to_pixels(picture, "picture")
    values = None if heat is None else _heat(heat)
    if signed is None:
        signed = values is not None and bool(values.min() < 0)
    edges = None if segments is None else to_array(segments).squeeze().astype(int)
    if edges is not None and edges.ndim != 2:
        raise ValueError(f"segments must be (H, W), got shape {edges.shape}")
    labels = centres(edges) if numbers is None and edges is not None else (numbers or {})
    return Panel(
        pixels,
        values,
        signed,
        None,
        "",
        name,
        note,
        [tuple(float(v) for v in box) for box in boxes],
        [(str(text), float(x), float(y)) for text, (x, y) in labels.items()],
        edges,
    )


def figure(
    number: str,
    panels: Sequence[Panel] | Mapping[str, Sequence[Panel]],
    *,
    caption: str,
    alt: str,
    look: str = "",
    bar: str | tuple[str, str] | None = None,
    shared: bool = True,
    clip: float = 100.0,
    columns: int | None = None,
    phone: int | None = None,
) -> Figure:
    """A numbered figure: panels, colour bars, caption.

    Args:
        number: chapter and number, such as "3.4": its anchor is ``#figure-3-4``.
        panels: the panels, row after row; or a dict of rows, name of the row to its panels.
        caption: what is to be seen; ``*emphasis*``, ``**strong**`` and ```code``` are understood.
        alt: what the whole figure shows, for a reader who cannot see it.
        look: what to look for, after the words "Look for".
        bar: what the heatmaps' colours mean, with the unit. Needed as soon as there is a heatmap; a pair
            (unsigned, signed) where there are both kinds.
        shared: whether all heatmaps of a kind share one scale, so that their colours can be compared; else
            each runs over its own range, and the bar says so.
        clip: a scale ends at this percentile of the absolute values; what lies beyond has the last colour.
        columns: panels in a row on a desktop (2 to 5; a phone shows two, or three where there are three).
        phone: panels in a row on a phone, where two or three would tear apart what belongs side by side.

    Returns:
        What a notebook displays; ``print`` shows its fingerprints.

    Raises:
        ValueError: if a number, a caption, a text alternative or a bar is missing, or there is no panel.
    """
    check_number(number)
    rows = dict(panels) if isinstance(panels, Mapping) else {"": list(panels)}
    flat = [panel for row in rows.values() for panel in row]
    if not flat:
        raise ValueError("panels is empty: give at least one panel")
    _check_text(caption=caption, alt=alt)
    scales = _scales(flat, shared, clip)
    plain_bar, signed_bar = (bar, bar) if isinstance(bar, str) or bar is None else bar
    labels = {False: plain_bar, True: signed_bar}
    if any(not labels[kind] for kind in scales):
        raise ValueError("bar is missing: say what the colours of the heatmaps mean, with the unit")
    columns = columns or (max(map(len, rows.values())) if "" not in rows else min(len(flat), 4))
    return Figure(number, rows, caption, look, alt, labels, scales, shared, columns, clip, phone)


class Figure(Displayed):
    """A numbered figure; made by :func:`figure`."""

    def __init__(
        self, number, rows, caption, look, alt, labels, scales, shared, columns, clip=100.0, phone=None
    ) -> None:
        self.number, self.rows, self.caption, self.look, self.alt = number, rows, caption, look, alt
        self.labels, self.scales, self.shared, self.clip = labels, scales, shared, clip
        self.columns, self.phone = columns, phone

    def __repr__(self) -> str:
        lines = [f"Figure {self.number}"]
        for name, row in self.rows.items():
            lines += [f" {name}"] if name else []
            lines += [f"  {panel.says()}" for panel in row]
        for signed, scale in self.scales.items():
            low, high = self._ends(signed, scale)
            lines.append(f"  bar: {low} … {high}, {self.labels[signed]}")
        return "\n".join(lines)

    def html(self) -> str:
        """The figure, with the styles and scripts that it needs on its own."""
        body = [self.grid(), self._tools()]
        return wrap(self.number, "".join(body), caption=self.caption, look=self.look, alt=self.alt)

    def grid(self) -> str:
        """The panels alone."""
        cells = []
        for name, row in self.rows.items():
            cells += [f'<p class="s-rowname">{inline(name)}</p>'] if name else []
            cells += [self._panel(panel) for panel in row]
        charts = any(panel.chart is not None for row in self.rows.values() for panel in row)
        phone = self.phone or (1 if charts else 3 if self.columns == 3 else 2)
        narrow = " is-narrow" if self.columns < 3 and not charts else ""
        style = f"--cols:{self.columns};--phone:{phone}" + (self._width() if self.columns == 1 else "")
        return f'<div class="s-grid{narrow}" style="{style}">{"".join(cells)}</div>'

    def _width(self) -> str:
        """The most that a chart on its own may take: one drawn narrow, for phones, keeps its text small."""
        widths = [
            re.search(r'viewBox="0 0 ([\d.]+)', p.chart) for row in self.rows.values() for p in row if p.chart
        ]
        return f";max-width:{CHART_REM * float(widths[0][1]):.1f}rem" if widths and widths[0] else ""

    def _panel(self, panel: Panel) -> str:
        scale = None
        if panel.heat is not None:
            scale = self.scales[panel.signed] if self.shared else _limits([panel], self.clip)
        return f'<div class="s-panel">{shot(panel, scale)}{title(panel.name, panel.note)}</div>'

    def _tools(self) -> str:
        if not self.scales:
            return ""
        over = [p for row in self.rows.values() for p in row if p.heat is not None and p.picture is not None]
        alone = [p for row in self.rows.values() for p in row if p.heat is not None and p.picture is None]
        slider = (
            '<label class="s-op" hidden>Heat over picture <input class="s-range" type="range" min="0" '
            'max="100" value="100" data-opacity></label>'
        )
        bars = "".join(
            color_bar(self.labels[signed], *self._ends(signed, scale), signed, faint=bool(over) and not alone)
            for signed, scale in self.scales.items()
        )
        return f'<div class="s-tools">{slider if over else ""}<div class="s-bars">{bars}</div></div>'

    def _ends(self, signed: bool, scale: tuple[float, float]) -> tuple[str, str]:
        if not self.shared:
            low = "−max" if signed else "0" if scale[0] == 0 else "min"
            return low, "each map’s own max" if self.clip == 100 else f"each map’s {self.clip:g}th percentile"
        return number_text(scale[0]), number_text(scale[1])


def table(
    number: str,
    rows: Sequence[Sequence[Any]],
    columns: Sequence[str],
    *,
    caption: str,
    mark: Sequence[int] = (),
    digits: int = 2,
    shade: bool = False,
) -> Table:
    """A numbered table; on a phone one with more than three columns is set row by row.

    Args:
        number: chapter and number, such as "3.1": its anchor is ``#table-3-1``.
        rows: one list of cells each; numbers are rounded, other cells are text as for a caption.
        columns: the columns' heads; the first column heads its row.
        caption: what the table shows.
        mark: indices of rows that stand out.
        digits: decimal places of a float.
        shade: whether cells in per cent ("83 %") are tinted, the more the higher.

    Raises:
        ValueError: if a row has another length than ``columns``, or there are no rows.

    >>> print(table("1.1", [["A", 0.123], ["B", 4]], ["network", "loses"], caption="What is lost."))
    Table 1.1: What is lost.
      network | loses
      A | 0.12
      B | 4
    """
    check_number(number)
    _check_text(caption=caption)
    rows = [list(row) for row in rows]
    if not rows:
        raise ValueError("rows is empty: give at least one row")
    wrong = [i for i, row in enumerate(rows) if len(row) != len(columns)]
    if wrong:
        raise ValueError(
            f"rows[{wrong[0]}] has {len(rows[wrong[0]])} cells, but there are {len(columns)} columns"
        )
    return Table(number, rows, list(columns), caption, set(mark), digits, shade)


class Table(Displayed):
    """A numbered table; made by :func:`table`."""

    def __init__(self, number, rows, columns, caption, mark, digits, shade=False) -> None:
        self.number, self.columns, self.caption, self.mark, self.shade = number, columns, caption, mark, shade
        self.numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(columns))]
        self.cells = [[_cell(value, digits) for value in row] for row in rows]

    def __repr__(self) -> str:
        lines = [f"Table {self.number}: {plain(self.caption)}"]
        lines += ["  " + " | ".join(map(plain, row)) for row in [self.columns, *self.cells]]
        return "\n".join(lines)

    def html(self) -> str:
        """The table, with the styles that it needs on its own."""
        kinds = [' class="is-number"' if numeric else "" for numeric in self.numeric]
        head = "".join(
            f'<th scope="col"{kind}>{inline(name)}</th>'
            for name, kind in zip(self.columns, kinds, strict=True)
        )
        body = "".join(self._row(i, row, kinds) for i, row in enumerate(self.cells))
        stacked = " is-stacked" if len(self.columns) > 3 else ""
        caption = f'<p><span class="no">Table {self.number}</span> {inline(self.caption)}</p>'
        anchor, region = f"table-{self.number.replace('.', '-')}", 'role="region" tabindex="0"'
        return (
            f'<figure class="s-fig s-table" id="{anchor}">{inline_style(*STYLES)}'
            f"<figcaption>{caption}</figcaption>"
            f'<div class="s-rows{stacked}" {region} aria-label="Table {self.number}"><table>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></figure>"
        )

    def _row(self, index: int, row: Sequence[str], kinds: Sequence[str]) -> str:
        first = f'<th scope="row"{kinds[0]}>{inline(row[0])}</th>'
        others = "".join(
            f'<td{kind}{self._tint(cell)} data-label="{escape(plain(name))}">{inline(cell)}</td>'
            for name, cell, kind in zip(self.columns[1:], row[1:], kinds[1:], strict=True)
        )
        return f"<tr{' class=is-marked' if index in self.mark else ''}>{first}{others}</tr>"

    def _tint(self, cell: str) -> str:
        share = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", cell) if self.shade else None
        return f' style="--share:{share[1]}"' if share else ""


def schematic(
    number: str, *files: str | Path, caption: str, alt: str, look: str = "", columns: int | None = None
) -> Schematic:
    """A numbered figure made of drawings: SVG files beside the notebook, in the colours of the page.

    A drawing uses ``currentColor`` and the classes of ``figure.css`` (``line``, ``soft``, ``box``, ``fill``,
    ``accent``, ``accent-fill``; for text ``quiet``, ``accent-text``, ``on-accent``, ``math``); its viewBox
    is at most 560 wide and its text at least 17 high, so that it can be read on a phone. Several drawings
    stand side by side, on a phone one below the other.

    Args:
        number: chapter and number.
        files: SVG files.
        caption, alt, look: as for :func:`figure`.
        columns: drawings in a row on a desktop.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is no SVG, or brings a style, a script or an address of its own.
    """
    check_number(number)
    _check_text(caption=caption, alt=alt)
    drawings = {str(file): _drawing(Path(file)) for file in files}
    if not drawings:
        raise ValueError("files is empty: name at least one drawing")
    return Schematic(number, drawings, caption, look, alt, columns or len(drawings))


class Schematic(Displayed):
    """A numbered figure of drawings; made by :func:`schematic`."""

    def __init__(self, number, drawings, caption, look, alt, columns) -> None:
        self.number, self.drawings, self.caption = number, drawings, caption
        self.look, self.alt, self.columns = look, alt, columns

    def __repr__(self) -> str:
        return f"Figure {self.number}\n  " + "\n  ".join(f"drawing {name}" for name in self.drawings)

    def html(self) -> str:
        """The figure, with the styles that it needs on its own."""
        cells = "".join(f'<div class="s-panel">{svg}</div>' for svg in self.drawings.values())
        grid = f'<div class="s-grid" style="--cols:{self.columns};--phone:1">{cells}</div>'
        return wrap(self.number, grid, caption=self.caption, look=self.look, alt=self.alt)


# ---- what explorers use too


def wrap(
    number: str,
    body: str,
    *,
    caption: str,
    look: str = "",
    alt: str,
    kind: str = "",
    attributes: str = "",
    styles: Sequence[str] = STYLES,
    scripts: Sequence[str] = SCRIPTS,
) -> str:
    """A figure's HTML round its body: number, caption, "look for", text alternative, styles and scripts."""
    seen = f'<p class="s-look"><b>Look for</b> {inline(look)}</p>' if look else ""
    return (
        f'<figure class="s-fig{" " + kind if kind else ""}" id="figure-{number.replace(".", "-")}" '
        f'aria-label="Figure {number}"{attributes}>'
        f'{inline_style(*styles)}<p class="s-sr">{escape(alt)}</p>{body}'
        f'<figcaption><p><span class="no">Figure {number}</span> {inline(caption)}</p>{seen}</figcaption>'
        f"{inline_script(*scripts)}</figure>"
    )


def shot(panel: Panel, scale: tuple[float, float] | None = None, name: str = "") -> str:
    """One panel without its title: a button that enlarges it; a chart is shown as it is."""
    if panel.chart is not None:
        return panel.chart
    name = name or panel.name or "panel"
    width, height = panel.size
    layers = []
    if panel.picture is not None:
        grey = panel.heat is not None
        kind = " ".join(["s-px"] * (width < LARGE) + ["is-grey"] * grey)
        layers.append(f'<img class="{kind}" src="{picture_uri(panel.picture)}" alt="{escape(name)}">')
    if panel.heat is not None:
        faint = panel.picture is not None
        source = heat_uri(panel.heat, scale, panel.signed, faint)
        kind = ("heat " if faint else "") + ("s-px" if panel.heat.shape[1] < LARGE else "")
        layers.append(
            f'<img class="{kind}" src="{source}" alt="{"the heat of " if faint else ""}{escape(name)}">'
        )
    layers.append(marks(panel))
    return (
        f'<button type="button" class="s-shot" style="aspect-ratio:{width}/{height}" '
        f'data-name="{escape(name)}" aria-label="Enlarge: {escape(name)}">{"".join(layers)}</button>'
    )


def title(name: str, note: str = "") -> str:
    """A panel's title and note."""
    if not name and not note:
        return ""
    return f'<p class="s-name">{inline(name)}{f"<small>{inline(note)}</small>" if note else ""}</p>'


def color_bar(label: str, low: str, high: str, signed: bool, faint: bool = False) -> str:
    """A colour bar; ``faint`` shows the colours as they look over a grey picture."""
    colors = rgba(
        np.linspace(-1 if signed else 0, 1, 33)[None], (-1, 1) if signed else (0, 1), signed, faint
    )[0]
    opaque = colors[:, :3] * colors[:, 3:] + 0.5 * (1 - colors[:, 3:])
    stops = "".join(
        f'<rect x="{i}" width="1" height="1" fill="rgb({",".join(str(round(255 * c)) for c in color)})"/>'
        for i, color in enumerate(opaque)
    )
    return (
        f'<div class="s-bar"><b>{inline(label)}</b><span>{escape(low)}</span><svg viewBox="0 0 33 1" '
        f'preserveAspectRatio="none" shape-rendering="crispEdges" aria-hidden="true">{stops}</svg>'
        f"<span>{escape(high)}</span></div>"
    )


def inline(text: str) -> str:
    """Escaped text in which ``*emphasis*``, ``**strong**`` and ```code``` are understood."""
    parts = re.split(r"(`[^`]+`)", str(text))
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = f"<code>{escape(part[1:-1])}</code>"
            continue
        part = re.sub(r"(?<=\d) ?%", "\u00a0%", part)
        # the inner group is lazy: *one* and *two* are two emphases
        part = re.sub(r"\*\*(\S(?:.*?\S)??)\*\*", r"<strong>\1</strong>", escape(part))
        parts[i] = re.sub(r"\*(\S(?:.*?\S)??)\*", r"<em>\1</em>", part)
    return "".join(parts)


def plain(text: str) -> str:
    """The same text without its marks."""
    return re.sub(r"\*\*?(\S(?:.*?\S)??)\*\*?", r"\1", str(text).replace("`", ""))


# ---- how it is done


def _heat(heat: Picture) -> np.ndarray:
    values = to_array(heat).astype(np.float64)
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"heat must be a heatmap (h, w), got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("heat contains NaN or infinity")
    return values


def check_number(number: str) -> None:
    if not isinstance(number, str) or not NUMBER.fullmatch(number):
        raise ValueError(f'number must be a chapter and a number such as "3.4", got {number!r}')


def _check_text(**texts: str) -> None:
    for name, text in texts.items():
        if not text.strip():
            raise ValueError(f"{name} must say something: readers who see no picture rely on it")


def _limits(panels: Sequence[Panel], clip: float) -> tuple[float, float]:
    values = np.concatenate([panel.heat.ravel() for panel in panels])
    top = float(np.percentile(np.abs(values), clip)) or float(np.abs(values).max()) or 1.0
    return (-top, top) if panels[0].signed else (min(0.0, float(values.min())), top)


def _scales(panels: Sequence[Panel], shared: bool, clip: float) -> dict[bool, tuple[float, float]]:
    """Range of the unsigned and of the signed maps, as far as there are any."""
    kinds = {}
    for signed in (False, True):
        maps = [panel for panel in panels if panel.heat is not None and panel.signed is signed]
        if maps:
            kinds[signed] = _limits(maps, clip)
    return kinds


def _drawing(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path.name} in {path.absolute().parent}")
    svg = path.read_text(encoding="utf-8")
    found = re.search(r'<svg\b[^>]*\bviewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>(.*)</svg>', svg, re.DOTALL)
    if found is None:
        raise ValueError(f'{path.name} must be an SVG with viewBox="0 0 width height"')
    if re.search(r"<(style|script)\b|https?://(?!www\.w3\.org/)", svg):
        raise ValueError(f"{path.name} must not bring a style, a script or an address of its own")
    width, height, body = found.groups()
    return (
        f'<svg class="s-schematic" viewBox="0 0 {width} {height}" style="--w:{round(1.35 * float(width))}" '
        f'aria-hidden="true">{own_names(body, path.name)}</svg>'
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        raise ValueError("a cell of a table is True or False: print the number that a reader needs")
    return isinstance(value, (int, float)) or bool(
        re.fullmatch(r"[−+-]?[\d., \u202f]+\s?(%|×|s|ms)?", str(value))
    )


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, torch.Tensor):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.{digits}f}".replace("-", "−")
    return str(value).replace("-", "−") if isinstance(value, int) else str(value)
