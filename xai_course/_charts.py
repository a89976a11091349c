"""Charts on a page: drawn by matplotlib, shown as SVG in the colours and the font of the page."""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.legend import Legend
from matplotlib.text import Text

from ._page import escape

# Lines differ in more than colour: a marker and dashes each, for readers who see few colours and for print.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))

# The colours in which charts are drawn, and what the page puts in their place: colours of its theme.
INK, QUIET, GRID = "#010101", "#020202", "#030303"
COLORS = tuple(f"#0{i}0{i}f0" for i in range(1, 8))  # lines and bars of a chart, in this order
_THEMED = {INK: "var(--ink)", QUIET: "var(--ink-2)", GRID: "var(--line)"} | {
    color: f"var(--c{i})" for i, color in enumerate(COLORS, start=1)
}
LETTER = 5.3  # points: the width of a letter of a legend, roughly
_CHART_STYLE = {
    "svg.fonttype": "none",  # text stays text: it is set in the page's font and can be searched
    "svg.hashsalt": "figure",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "grid.color": GRID,
    "axes.axisbelow": True,
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": mpl.cycler(
        color=COLORS, marker=MARKERS[: len(COLORS)], linestyle=DASHES[: len(COLORS)]
    ),
    "lines.markersize": 5,
}


def chart(width: float = 4.6, height: float = 3.0, **options: Any) -> Axes:
    """Axes for a chart, to be drawn with matplotlib and handed to ``figures.panel``.

    Lines take the book's colours, markers and dashes in order (``figures.COLORS[i]`` names a colour). The
    panel shows the drawing as SVG in the colours and the font of the page.

    Args:
        width, height: in inches; at this width text has the size of the page's small text.
        options: what :meth:`matplotlib.axes.Axes.set` takes: ``xlabel``, ``ylabel``, ``xscale``, …

    >>> from xai_course.figures import chart, panel
    >>> axes = chart(xlabel="samples", ylabel="error")
    >>> _ = axes.plot([1, 2, 4], [1.0, 0.5, 0.25], label="measured")
    >>> panel(axes, name="error").says()
    'error: chart, samples by error; measured: 3 points, 1.0 … 0.25'
    """
    with mpl.rc_context(_CHART_STYLE):
        axes = Drawing(figsize=(width, height)).subplots()
        axes.set(**options)
        axes.grid(True, alpha=0.6, linewidth=0.8)
    return axes


def bars(
    rows: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    text: Callable[[float], str] | None = None,
    width: float = 4.6,
    **options: Any,
) -> Axes:
    """Axes with horizontal bars, each with its value at its end: a table that can be seen.

    Args:
        rows: names of the rows, from above.
        series: name of a series to its values, one a row; several series are bars side by side.
        text: how a value is written; None: two significant digits.
        width: in inches; the height follows from the number of bars.
        options: what :meth:`matplotlib.axes.Axes.set` takes.

    Raises:
        ValueError: if a series has another length than ``rows``.

    >>> from xai_course.figures import bars, panel
    >>> panel(bars(["A", "B"], {"loses": [0.9, 0.25]}, xlabel="share"), name="two").says()
    'two: chart, share; loses: A 0.90, B 0.25'
    """
    for name, values in series.items():
        if len(values) != len(rows):
            raise ValueError(f"series[{name!r}] has {len(values)} values, but there are {len(rows)} rows")
    thick = 0.8 / len(series)
    # a legend that is too long for one line takes two
    long = sum(len(name) + 7 for name in series) * LETTER > 72 * width
    lines = 0 if len(series) == 1 else 1 + long
    axes = chart(width, 0.25 + (0.14 + 0.21 * len(series)) * len(rows) + 0.27 * lines, **options)
    axes.grid(visible=False)
    with mpl.rc_context(_CHART_STYLE):
        for k, (name, values) in enumerate(series.items()):
            at = [i + (k - (len(series) - 1) / 2) * thick for i in range(len(rows))]
            drawn_bars = axes.barh(at, values, 0.9 * thick, label=name, color=COLORS[k])
            axes.bar_label(drawn_bars, [(text or number_text)(value) for value in values], padding=3)
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.invert_yaxis()
        axes.set_xticks([])  # the values stand at the bars
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.axvline(0, color=QUIET, linewidth=0.8)
        if "xlim" not in options:
            axes.margins(x=0.14)
        if lines:
            axes.figure.legend(loc="outside upper left", ncols=math.ceil(len(series) / lines))
    return axes


def drawn(axes: Axes) -> tuple[str, str]:
    """The drawing of these axes as themed SVG, and what the plain text says of it."""
    buffer = io.StringIO()
    drawing = axes.figure
    with mpl.rc_context(_CHART_STYLE):
        handles, _ = axes.get_legend_handles_labels()
        if len(handles) > 1 and axes.get_legend() is None and not drawing.legends:
            axes.legend(frameon=False)
        for legend in drawing.findobj(Legend):
            legend.set_frame_on(False)  # in the dark theme its ground would stay white, under light letters
        for text in drawing.findobj(Text):
            if mpl.colors.to_hex(text.get_color()) == "#000000":  # written outside the chart's own style
                text.set_color(INK)
        drawing.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        r'<svg class="s-chart" viewBox="\1" role="img" aria-label="CHART">',
        svg,
    )
    for color, themed in _THEMED.items():
        svg = svg.replace(color, themed)
    svg = re.sub(r"font: ([\d.]+)px[^;\"]*", r"font-size: \1px", svg)
    says = _says(axes)
    return own_names(svg, says).replace("CHART", escape(says)), says


def own_names(svg: str, says: str) -> str:
    """The drawing with names of its own: two charts on a page must not share a clip path."""
    prefix = f"c{abs(_hash(svg + says)) % 10**8}-"
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', svg)
    return re.sub(r'(href="#|url\(#)', rf"\1{prefix}", svg)


def _hash(text: str) -> int:
    """A number from a text, the same in every process."""
    return zlib.crc32(text.encode())


def _says(axes: Axes) -> str:
    rows = [label.get_text() for label in axes.get_yticklabels()]
    if any(getattr(group, "orientation", "") == "horizontal" for group in axes.containers):
        parts = [f"chart, {axes.get_xlabel() or 'bars'}"]
    else:
        parts = [f"chart, {axes.get_xlabel() or 'x'} by {axes.get_ylabel() or 'y'}"]
    for line in axes.lines:
        y = np.asarray(line.get_ydata(), dtype=float)
        label = str(line.get_label())
        if label.startswith("_") or y.size < 2:
            continue
        parts.append(f"{label}: {y.size} points, {number_text(y[0])} … {number_text(y[-1])}")
    for group in axes.containers:
        if getattr(group, "orientation", "") == "horizontal":
            lengths = (number_text(bar.get_width()) for bar in group)
            said = (f"{row} {length}" for row, length in zip(rows, lengths, strict=True))
            parts.append(f"{group.get_label()}: " + ", ".join(said))
            continue
        heights = (
            [float(getattr(bar, "get_height", lambda: 0.0)()) for bar in group]
            if hasattr(group, "patches")
            else []
        )
        if heights:
            parts.append("bars " + ", ".join(map(number_text, heights)))
    return "; ".join(parts)


def number_text(value: float) -> str:
    """A number with two significant digits, as the colour bar and the plain text write it."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    places = max(0, 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{places}f}" if places < 6 else f"{value:.1e}"
    return text.replace("-", "−")
