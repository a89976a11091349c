"""Make the letters of the book: subsets of Source Serif Pro and Source Sans Pro, as WOFF2.

    pip install font-source-serif-pro font-source-sans-pro fonttools brotli
    python tools/make_fonts.py [FOLDER]

Into ``book/_static/fonts`` unless told otherwise. Nothing else needs these packages: the subsets are
committed. Both families are under the SIL Open Font License, whose texts lie beside them; "Source" is a
reserved name there, so a subset carries another one.
"""

from __future__ import annotations

import importlib.resources
import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

OUT = Path(__file__).resolve().parent.parent / "book" / "_static" / "fonts"
FACES = {  # our file: package, its file, our family
    "serif-400": ("font_source_serif_pro", "SourceSerifPro-Regular.ttf", "Sinb Serif"),
    "serif-400i": ("font_source_serif_pro", "SourceSerifPro-It.ttf", "Sinb Serif"),
    "serif-600": ("font_source_serif_pro", "SourceSerifPro-Semibold.ttf", "Sinb Serif"),
    "sans-400": ("font_source_sans_pro", "SourceSansPro-Regular.ttf", "Sinb Sans"),
    "sans-600": ("font_source_sans_pro", "SourceSansPro-Semibold.ttf", "Sinb Sans"),
}
FEATURES = ["kern", "liga", "tnum", "lnum", "onum", "pnum", "ccmp", "locl", "mark", "frac", "case"]
# Latin with accents; the dashes, quotes, arrows and signs that the text uses
LETTERS = [*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x2190, 0x2194)]
SIGNS = "‐‑‒–—‘’‚“”„•…‰′″‹›€™∂∆∑−√∞≈≠≤≥▲▶●✓\ufb01\ufb02"
NAMES = (1, 3, 4, 6, 16, 18)  # the name table's entries that hold a family or a full name


def make(package: str, file: str, family: str) -> TTFont:
    """One face, cut down to our letters and renamed."""
    with importlib.resources.as_file(importlib.resources.files(package) / "files" / file) as path:
        font = TTFont(path)
    options = subset.Options()
    options.layout_features, options.hinting, options.name_IDs = FEATURES, False, ["*"]
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=[*LETTERS, *map(ord, SIGNS)])
    cutter.subset(font)
    for entry in font["name"].names:
        if entry.nameID in NAMES:
            entry.string = family.replace(" ", "") if entry.nameID == 6 else family
    font.flavor = "woff2"
    return font


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    folder.mkdir(parents=True, exist_ok=True)
    for name, face in FACES.items():
        path = folder / f"{name}.woff2"
        make(*face).save(path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
