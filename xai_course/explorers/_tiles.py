"""The tile game: a rule over eight tiles, the line that LIME fits to it, and its Shapley values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from xai_lib.viz import DIVERGING

from . import _base
from ._base import Explorer, decimal

TILES = 8
ALPHA = 1 / 1000  # of the ridge penalty, for each picture: the library's 1 for its 1000 samples
WIDTH = 0.25
PAIR = (1, 6)

# A rule takes z, (n, 8) of zeros and ones, and gives n probabilities.
RULES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sum": lambda z: 0.1 + 0.1 * z[:, [1, 2, 5]].sum(1) + 0.3 * z[:, 6],
    "half each": lambda z: 0.1 + 0.4 * z[:, 1] + 0.4 * z[:, 6],
    "at least one": lambda z: 0.1 + 0.8 * z[:, [1, 6]].amax(1),
    "both": lambda z: 0.1 + 0.8 * z[:, 1] * z[:, 6],
    "exactly one": lambda z: 0.1 + 0.8 * (z[:, 1] - z[:, 6]).abs(),
}


def tiles(
    number: str,
    *,
    rules: Mapping[str, Callable[[torch.Tensor], Any]] | None = None,
    first: str = "both",
    pair: tuple[int, int] = PAIR,
    caption: str = (
        "Eight tiles, and a rule that gives each picture of them a probability. Your picture: a click "
        "hides a tile or shows it. Beside it, the coefficients of LIME’s line and the Shapley values. The"
        " table shows what the two tiles do together: interaction is p with both − p with one − p with "
        "the other + p with neither."
    ),
    look: str = (
        "the rules “half each”, “at least one” and “both”: the Shapley values are the same, the "
        "interaction is 0, −0.80 and 0.80. In “exactly one” the values cancel, and the interaction does "
        "not."
    ),
) -> Explorer:
    r"""An explorer: what LIME and Shapley values say of a game whose rule is known.

    The reader hides and shows eight tiles and chooses the rule. The page fits LIME's weighted line (the
    library's kernel and ridge penalty; the penalty is 1 for 1000 pictures) to all 256 pictures or to those
    that the reader has shown, with R²; it computes the exact Shapley values, and for one pair of tiles the
    probabilities with both, one, or none of them shown and their interaction, p(both) − p(first) − p(second)
    + p(neither), averaged over the other tiles as in Shapley's interaction index.

    Args:
        number: of the figure, such as ``"4.6"``.
        rules: name → function from z, a float tensor (256, 8) of zeros and ones, to 256 probabilities. None
            for ``RULES``: "sum", "half each", "at least one", "both", "exactly one".
        first: the rule that stands there at first.
        pair: the two tiles whose interaction is shown.
        caption: what the figure shows.
        look: what to look for.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if ``first`` is no rule, a rule gives anything but 256 probabilities, or ``pair`` is not
            two different tiles.

    Source: Ribeiro et al. 2016, arXiv:1602.04938; Lundberg and Lee 2017, arXiv:1705.07874; Grabisch and
    Roubens 1999, doi:10.1007/s001820050125, for the interaction.

    >>> from xai_course import explorers
    >>> "explorer tiles" in repr(explorers.tiles("4.6"))
    True
    """
    rules = dict(RULES if rules is None else rules)
    if first not in rules:
        raise ValueError(f"first must be one of {', '.join(map(repr, rules))}, got {first!r}")
    if len(set(pair)) != 2 or not all(isinstance(j, int) and 0 <= j < TILES for j in pair):
        raise ValueError(f"pair must be two different tiles from 0 to {TILES - 1}, got {pair!r}")
    tables = {name: _table(name, rule) for name, rule in rules.items()}
    fits = {name: lime_of(np.arange(2**TILES), table) for name, table in tables.items()}
    values = {name: shapley_of(table) for name, table in tables.items()}
    everything = np.concatenate([*(fit[0] for fit in fits.values()), *values.values()])
    top = math.ceil(10 * np.abs(everything).max()) / 10
    coefficients, r2 = fits[first]
    together = pair_of(tables[first], pair)
    names = list(rules)
    return Explorer(
        "tiles",
        number,
        body=_body(tables[first], coefficients, r2, values[first], together, pair, top),
        controls=_base.row(
            _base.segmented(
                "rule", "Rule", [(str(i), n) for i, n in enumerate(names)], str(names.index(first))
            )
        )
        + _base.row(
            _base.segmented(
                "pictures",
                "LIME is fitted to",
                [("all", f"all {2**TILES} pictures"), ("mine", "the 1 that you have shown")],
                "all",
            )
        )
        + _base.row(
            _base.button("whole", "Show all tiles"),
            _base.button("none", "Hide all tiles"),
            _base.button("random", "Ten more at random"),
            _base.button("forget", "Forget my pictures"),
        ),
        said=_said(first, tables[first][-1], coefficients, r2, values[first], together, pair),
        data={
            "d": TILES,
            "alpha": ALPHA,
            "width": WIDTH,
            "names": names,
            "tables": [[round(p, 9) for p in table.tolist()] for table in tables.values()],
            "pair": list(pair),
            "top": top,
        },
        caption=caption,
        look=look,
        alt="Eight tiles that can be hidden, and maps of LIME's coefficients and of Shapley values for them",
        arrays={name: np.stack([fits[name][0], values[name]]) for name in names},
        bars=_base.bar(
            "value", "what a tile adds to the probability", f"≤ −{top:.1f}", f"≥ {top:.1f}", signed=True
        ),
    )


def lime_of(pictures: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, float]:
    """LIME's coefficients (8,) and R², fitted to some pictures (numbers whose bit j shows tile j)."""
    z = _bits(pictures)  # (n, 8)
    weights = np.exp(-((1 - np.sqrt(z.mean(1))) ** 2) / (2 * WIDTH**2))
    share = weights / weights.sum()
    zc, yc = z - share @ z, table[pictures] - share @ table[pictures]
    gram = (zc * weights[:, None]).T @ zc
    gram += np.diag(ALPHA * len(z) + (np.diag(gram) == 0))  # a tile that never changes has no coefficient
    coefficients = np.linalg.solve(gram, (zc * weights[:, None]).T @ yc)
    spread = share @ yc**2
    missed = share @ (yc - zc @ coefficients) ** 2
    return coefficients, float(1 - missed / spread) if spread > 1e-30 else 1.0


def shapley_of(table: np.ndarray) -> np.ndarray:
    """Shapley values (8,) from the probabilities of all 256 pictures, by the definition."""
    pictures = np.arange(len(table))
    size = _bits(pictures).sum(1).astype(int)
    share = [math.factorial(k) * math.factorial(TILES - k - 1) / math.factorial(TILES) for k in range(TILES)]
    found = []
    for j in range(TILES):
        without = pictures[(pictures >> j) & 1 == 0]
        found.append(sum(share[size[s]] * (table[s | 1 << j] - table[s]) for s in without))
    return np.array(found)


def pair_of(table: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    """Mean probabilities with both tiles shown, the first, the second, none; and the interaction: (5,)."""
    a, b = (1 << j for j in pair)
    share = [
        math.factorial(k) * math.factorial(TILES - k - 2) / math.factorial(TILES - 1)
        for k in range(TILES - 1)
    ]
    means = np.zeros(4)
    for s in range(len(table)):
        if not s & (a | b):
            means += share[s.bit_count()] * table[[s | a | b, s | a, s | b, s]]
    return np.append(means, means[0] - means[1] - means[2] + means[3])


def _bits(pictures: np.ndarray) -> np.ndarray:
    return (pictures[:, None] >> np.arange(TILES) & 1).astype(np.float64)


def _table(name: str, rule: Callable[[torch.Tensor], Any]) -> np.ndarray:
    """The probabilities of all 256 pictures; in float64, or a sum would end in the digits of float32."""
    found = rule(torch.from_numpy(_bits(np.arange(2**TILES))))
    _base.check_array(f"rules[{name!r}]", found, (2**TILES,))
    table = np.asarray(found, dtype=np.float64)
    _base.check_within(f"rules[{name!r}]", table, 0, 1)
    return table


def _body(
    table: np.ndarray,
    coefficients: np.ndarray,
    r2: float,
    values: np.ndarray,
    together: np.ndarray,
    pair: tuple[int, int],
    top: float,
) -> str:
    buttons = "".join(
        f'<button type="button" class="s-tile" aria-pressed="true" aria-label="Tile {j}" disabled>'
        f"<span>{j}</span></button>"
        for j in range(TILES)
    )
    one, other = pair
    heads = (f"{one} and {other} shown", f"only {one}", f"only {other}", "neither", "interaction")
    row = "".join(
        f'<td data-label="{head}" class="is-number">{decimal(v)}</td>'
        for head, v in zip(heads, together, strict=True)
    )
    return (
        _base.grid(
            _base.panel(
                "board",
                f"Your picture: p = {decimal(table[-1])}",
                f"{TILES} of {TILES} tiles shown",
                layers='<div class="s-board" role="group" aria-label="Tiles: pressed is shown">'
                f"{buttons}</div>",
                ratio=2,
            ),
            _base.panel(
                "lime",
                "LIME’s coefficients",
                f"R² = {decimal(r2)}, fitted to {len(table)} pictures",
                layers=_map(coefficients, top),
                ratio=2,
            ),
            _base.panel(
                "shapley",
                "Shapley values",
                f"from all {len(table)} pictures; their sum is {decimal(table[-1] - table[0])}",
                layers=_map(values, top),
                ratio=2,
            ),
            phone=1,
        )
        + '<div class="s-rows is-stacked"><table><thead><tr><th scope="col">mean p, with</th>'
        + "".join(f'<th scope="col" class="is-number">{head}</th>' for head in heads)
        + f'</tr></thead><tbody><tr><th scope="row">tiles {one} and {other}</th>{row}</tr></tbody>'
        "</table></div>"
    )


def _map(values: np.ndarray, top: float) -> str:
    import matplotlib as mpl

    cells = []
    for j, value in enumerate(values):
        at = min(255, int(256 * (np.clip(value / top, -1, 1) + 1) / 2))
        r, g, b = (round(255 * c) for c in mpl.colormaps[DIVERGING](at)[:3])
        deep = " is-deep" if 0.299 * r + 0.587 * g + 0.114 * b < 128 else ""
        cells.append(
            f'<div class="s-tile{deep}" style="--tile:rgb({r} {g} {b})"><span>{j}</span>'
            f"<b>{decimal(value)}</b></div>"
        )
    return f'<div class="s-board">{"".join(cells)}</div>'


def _said(
    name: str,
    p: float,
    coefficients: np.ndarray,
    r2: float,
    values: np.ndarray,
    together: np.ndarray,
    pair: tuple[int, int],
) -> str:
    one, other = pair
    return (
        f"Rule “{name}”: your picture has p = {decimal(p)}. Tiles {one} and {other}: "
        f"LIME {decimal(coefficients[one])} and {decimal(coefficients[other])} (R² {decimal(r2)}), "
        f"Shapley {decimal(values[one])} and {decimal(values[other])}, interaction {decimal(together[4])}."
    )
