"""Make the concept map, the cheat sheet and the taxonomy table from ``book/data/methods.yml``.

    python tools/render_methods.py            # write book/generated/
    python tools/render_methods.py --check    # say whether book/generated/ is up to date

The pieces are committed, so that the book builds from what is in the repository, and a test fails when they
have drifted from the data. They are included by ``book/concept_map.md`` and ``book/cheat_sheet.md``.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "book" / "data" / "methods.yml"
OUT = ROOT / "book" / "generated"
NOTE = "made by tools/render_methods.py from book/data/methods.yml: change those, not this"


def load() -> dict:
    """The data of the course: axes, families, chapters, methods, symbols."""
    return yaml.safe_load(DATA.read_text(encoding="utf-8"))


def chapter_of(data: dict, number: int) -> dict:
    """One chapter by its number."""
    return next(c for c in data["chapters"] if c["number"] == number)


def methods_of(data: dict, number: int) -> list[dict]:
    """The methods that a chapter teaches, in the order of the data."""
    return [m for m in data["methods"] if m["chapter"] == number]


def where(data: dict, number: int) -> str:
    """A link to the chapter, or plain words where there is no chapter yet."""
    chapter = chapter_of(data, number)
    if chapter["written"]:
        return f"[chapter {number}](../{chapter['page']}.ipynb)"
    return f"chapter {number}, in preparation"


# --- Tables -------------------------------------------------------------------------------------------------


def list_table(name: str, header: list[str], rows: list[list[str]], widths: list[int]) -> str:
    """A MyST list-table whose rows become stacked cards on a phone, each cell under its column's name."""
    lines = [
        ":::{list-table}",
        ":header-rows: 1",
        f":class: {name}",
        f":widths: {' '.join(map(str, widths))}",
        "",
    ]
    for row in [header, *rows]:
        for i, cell in enumerate(row):
            lines.append(("* - " if i == 0 else "  - ") + cell.replace("\n", "\n    "))
    return "\n".join([*lines, ":::", "", stacked(name, header)])


def stacked(name: str, header: list[str]) -> str:
    """The style that stacks a table on a narrow screen: panning sideways would lose the row's name."""
    first = "> :first-child::before"
    labels = "\n".join(
        f'  table.{name} td:nth-child({i}) {first} {{ content: "{label}: "; font-weight: 600; }}'
        for i, label in enumerate(header[1:], start=2)
    )
    table = f".bd-article table.table.{name}"
    css = f"""<style>
.bd-content .bd-article-container:has(table.{name}) {{ max-width: 100%; }}
{table} {{ display: table; table-layout: fixed; width: 100%; }}
{table} :is(td, th) {{ vertical-align: top; white-space: normal; overflow-wrap: break-word; }}
{table} td p {{ margin: 0 0 .4rem; }}
{table} .method-picture {{ float: right; margin: 0 0 .4rem .8rem; border-radius: 2px; }}
@media (max-width: 75em) {{
  {table}, {table} :is(tbody, tr, td) {{ display: block; width: 100%; }}
  {table} :is(colgroup, thead) {{ display: none; }}
  {table} tr {{ border-bottom: 2px solid var(--pst-color-border); padding: .6rem 0; }}
  {table} td {{ border: 0; padding: .15rem .5rem; text-align: left; }}
{labels}
}}
</style>"""
    return f"```{{raw}} html\n{css}\n```"


def formula(method: dict) -> str:
    """The method's formula as one or two pieces of inline mathematics, so that a long one can wrap."""
    parts = method.get("formula", "").split(";;")
    return ", ".join(f"$\\displaystyle {part.strip()}$" for part in parts if part.strip())


def code(row: dict) -> str:
    """The names to import today, or nothing."""
    first = row.get("functions") or [row.get("function") or row.get("elsewhere")]
    names = [name for name in (*first, *row.get("beside", [])) if name]
    return "\n\n" + ", ".join(f"`{name}`" for name in names) if names and row.get("available", True) else ""


def entry(data: dict, row: dict) -> str:
    """A row's first cell: its name and chapter, formula, summary and functions, as far as it has them."""
    head = f"**{row['name']}** ({where(data, row['chapter'])})"
    return "\n\n".join(filter(None, [head, formula(row), row.get("summary")])) + code(row)


def thumbnail(method: dict) -> str:
    """The method's small picture (``tools/make_thumbnails.py``), where the method can be imported."""
    if not method["available"]:
        return ""
    path = f"images/methods/{method['id']}.webp"
    return f"```{{image}} {path}\n:alt: {method['drawn']}\n:width: 84px\n:class: method-picture\n```\n\n"


def cheat_sheet(data: dict) -> str:
    """One row a method: picture, formula, cost in passes, what it needs, when it misleads."""
    rows = []
    for m in data["methods"]:
        head = f"**{m['name']}** ({where(data, m['chapter'])})"
        name = f"{head}\n\n{thumbnail(m)}{formula(m)}\n\n{m['summary']}{code(m)}"
        cost = f"{m['passes']}\n\n{m['cost_note']}"
        cite = ",".join([m["cite"], *m["also"]])
        rows.append([name, cost, m["needs"], f"{m['misleads']} {{cite:p}}`{cite}`"])
    header = ["Method", "Cost in passes", "Needs from the model", "When it misleads you"]
    return list_table("cheat-sheet", header, rows, [38, 15, 15, 32])


def measures(data: dict) -> str:
    """One row a judge of maps: formula, what is good, cost, when it misleads."""
    rows = [
        [entry(data, m), m["good"], m["cost"], f"{m['misleads']} {{cite:p}}`{m['cite']}`"]
        for m in data["measures"]
    ]
    header = ["Measure", "Good is", "Cost for a map", "When it misleads you"]
    return list_table("measures", header, rows, [38, 12, 18, 32])


def lies(data: dict) -> str:
    """One row a way to make a map lie: what it changes, what stays, what finds it out."""
    rows = [
        [entry(data, m), m["changes"], m["keeps"], f"{m['found_out']} {{cite:p}}`{m['cite']}`"]
        for m in data["lies"]
    ]
    header = ["Lie", "What it changes", "What stays", "What found it out"]
    return list_table("lies", header, rows, [28, 22, 18, 32])


def defences(data: dict) -> str:
    """One row a way to explain that some lies do not reach."""
    rows = [
        [entry(data, m), m["helps"], f"{m['misleads']} {{cite:p}}`{m['cite']}`"] for m in data["defences"]
    ]
    return list_table("defences", ["Defence", "Helps against", "When it misleads you"], rows, [38, 24, 38])


def taxonomy(data: dict) -> str:
    """One row a method, one column an axis."""
    rows = [
        [
            f"**{m['name']}** ({where(data, m['chapter'])})",
            m["scope"],
            f"{m['access']}: {m['access_needs']}",
            m["stage"],
            f"{m['reach']}. {m['reach_note']}",
        ]
        for m in data["methods"]
    ]
    header = ["Method", *(a["name"] for a in data["axes"])]
    return list_table("taxonomy", header, rows, [20, 10, 26, 12, 32])


def symbols(data: dict) -> str:
    """What the letters in the formulas mean."""
    return "\n".join(f"- ${tex}$: {text}" for tex, text in data["symbols"])


# --- The concept map ----------------------------------------------------------------------------------------

PAD, LINE, GAP = 12, 20, 34  # inside a box; from line to line; between rows of boxes, where the arrows run
STYLE = """
.concept-map { width: 100%; height: auto; display: block; margin: 1rem auto; font-family: inherit; }
.concept-map--wide { max-width: 820px; }
.concept-map--narrow { max-width: 400px; display: none; }
@media (max-width: 45em) { .concept-map--wide { display: none; } .concept-map--narrow { display: block; } }
.concept-map a { text-decoration: none; }
.concept-map text { fill: var(--pst-color-text-base, #222832); font-size: 14px; }
.concept-map .box { fill: var(--pst-color-surface, #f3f4f5); stroke: var(--pst-color-text-muted, #48566b); }
.concept-map .written .box { stroke: var(--pst-color-primary, #0a7d91); stroke-width: 2.5; }
.concept-map .planned .box { stroke-dasharray: 5 4; }
.concept-map .title { font-weight: 700; font-size: 15px; }
.concept-map a .title { fill: var(--pst-color-link, #0a7d91); text-decoration: underline; }
.concept-map .question { font-style: italic; }
.concept-map .status { fill: var(--pst-color-text-muted, #48566b); font-size: 12.5px; }
.concept-map .arrow { fill: none; stroke: var(--pst-color-text-muted, #48566b); stroke-width: 1.6; }
.concept-map .head { fill: var(--pst-color-text-muted, #48566b); stroke: none; }
.concept-map a:focus-visible .box { stroke: var(--pst-color-accent, #c132af); stroke-width: 4; }
""".strip()


@dataclass
class Box:
    """A chapter on the map: its lines of text, where it stands, how tall it must be."""

    chapter: dict
    x: float
    width: float
    y: float = 0.0
    lines: list[tuple[str, str]] = field(default_factory=list)  # (css class, text)

    @property
    def height(self) -> float:
        return len(self.lines) * LINE + 2 * PAD


def wrapped(text: str, width: float, css: str) -> list[tuple[str, str]]:
    """Break a text into lines that fit: SVG does not wrap. A letter is about 7.4 px wide at this size."""
    letter = 8.3 if css == "title" else 7.4
    return [(css, line) for line in textwrap.wrap(text, max(8, int((width - 2 * PAD) / letter)))]


def box(data: dict, number: int, x: float, width: float) -> Box:
    """A chapter's box: title, question, the methods or topics in it, and whether it can be read yet."""
    chapter = chapter_of(data, number)
    lines = wrapped(f"{number} · {chapter['short']}", width, "title")
    status = [f"builds on {needs(chapter)}"] if chapter["builds_on"] else []
    status += [] if chapter["written"] else ["in preparation"]
    lines += wrapped(" · ".join(status), width, "status") if status else []
    lines += wrapped(chapter["question"], width, "question")
    items = chapter["topics"] + [m["name"] for m in methods_of(data, number)]
    if width > 300:  # room for several on a line
        lines += wrapped(" · ".join(items), width, "item")
    else:
        lines += [line for item in items for line in wrapped("· " + item, width, "item")]
    return Box(chapter, x, width, lines=lines)


def listed(numbers: list[int]) -> str:
    """Chapters in words: ``1``, ``1 and 2``, ``2, 3 and 6``, ``1 to 4``."""
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last


def needs(chapter: dict) -> str:
    """What a chapter needs: an arrow cannot always be drawn, so the box says it too."""
    words = listed(chapter["builds_on"])
    if "second_page" in chapter:
        words += f"; its second page also on {listed(chapter['second_page'])}"
    if "helps" in chapter:
        words += f"; {listed(chapter['helps'])} help"
    return words


def needs_of_all(data: dict) -> str:
    """What builds on what, in one sentence, for the teachers who choose a route."""
    parts = []
    for c in data["chapters"]:
        if c["builds_on"]:
            least = "at least " if "helps" in c else ""
            also = f", and for its second page also {listed(c['second_page'])}" if "second_page" in c else ""
            verb = "chapter {} needs chapter {}" if not parts else "{} needs {}"
            parts.append(verb.format(c["number"], least + listed(c["builds_on"]) + also))
    return f"What builds on what: {'; '.join(parts)}."


def place(rows: list[list[Box]]) -> float:
    """Put the rows under each other, boxes of one row equally tall; return the total height."""
    y = 4.0
    for row in rows:
        tallest = max(b.height for b in row)
        for b in row:
            b.y = y
            b.lines += [("item", "")] * round((tallest - b.height) / LINE)
        y += tallest + GAP
    return y - GAP + 4


def draw_box(b: Box) -> str:
    """A box, and a link to the chapter where there is one."""
    text = "".join(
        f'<text class="{css}" x="{b.x + PAD:g}" y="{b.y + PAD + LINE * (i + 0.75):g}">{escape(line)}</text>'
        for i, (css, line) in enumerate(b.lines)
        if line
    )
    shape = f'<rect class="box" x="{b.x:g}" y="{b.y:g}" width="{b.width:g}" height="{b.height:g}" rx="8"/>'
    if not b.chapter["written"]:
        return f'<g class="planned">{shape}{text}</g>'
    label = escape(f"Chapter {b.chapter['number']}: {b.chapter['title']}")
    return f'<a class="written" href="../{b.chapter["page"]}.html" aria-label="{label}">{shape}{text}</a>'


def draw_arrow(a: Box, b: Box) -> str:
    """An arrow from the foot of one box to the head of another, or from side to side within a row."""
    if a.y == b.y:
        x0, y0, x1, y1 = a.x + a.width, a.y + PAD + LINE / 2, b.x, b.y + PAD + LINE / 2
        path, head = f"M{x0:g} {y0:g}H{x1 - 6:g}", f"M{x1:g} {y1:g}l-8 -4.5v9z"
    else:
        left, right = max(a.x, b.x), min(a.x + a.width, b.x + b.width)
        x0 = x1 = (left + right) / 2
        y0, y1 = a.y + a.height, b.y
        path, head = f"M{x0:g} {y0:g}V{y1 - 6:g}", f"M{x1:g} {y1:g}l-4.5 -8h9z"
    return f'<path class="arrow" d="{path}"/><path class="head" d="{head}"/>'


def drawn(a: Box, b: Box, rows: list[list[Box]]) -> bool:
    """Whether an arrow can be drawn without crossing a box: between neighbours only; the list has all."""
    row = {id(box): i for i, line in enumerate(rows) for box in line}
    step = row[id(b)] - row[id(a)]
    overlap = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    side_by_side = step == 0 and 0 < b.x - (a.x + a.width) < 2 * GAP
    return side_by_side or (step == 1 and overlap > 0)


def svg(data: dict, name: str, width: float, rows: list[list[Box]], arrows: bool = True) -> str:
    """The drawing: arrows, then boxes."""
    height = place(rows)
    boxes = {b.chapter["number"]: b for row in rows for b in row}
    paths = [
        draw_arrow(boxes[n], b)
        for b in boxes.values()
        for n in (*b.chapter["builds_on"], *b.chapter.get("second_page", []))
        if arrows and drawn(boxes[n], b, rows)
    ]
    body = "\n".join([*paths, *map(draw_box, boxes.values())])
    return (
        f'<svg class="concept-map concept-map--{name}" viewBox="0 0 {width:g} {height:g}" role="group" '
        f'aria-labelledby="map-{name}-title map-{name}-desc" xmlns="http://www.w3.org/2000/svg">\n'
        f'<title id="map-{name}-title">Concept map of the course</title>\n'
        f'<desc id="map-{name}-desc">Nine chapters: why explain; four ways to explain a prediction; how '
        "to judge an explanation; how it can be fooled; an audit. The same follows as a list.</desc>\n"
        f"{body}\n</svg>"
    )


def wide(data: dict) -> str:
    """The map for a screen: the four ways to explain side by side."""
    column = (800 - 8 - 3 * 16) / 4
    rows = [
        [box(data, 1, 4, 792)],
        [box(data, n, 4 + i * (column + 16), column) for i, n in enumerate((2, 3, 4, 5))],
        [box(data, 6, 4, 792)],
        [box(data, 7, 4, 380), box(data, 8, 416, 380)],
        [box(data, 9, 4, 792)],
    ]
    return svg(data, "wide", 800, rows)


def narrow(data: dict) -> str:
    """The map for a phone: one column. Its order is the order of reading, so it has no arrows."""
    return svg(
        data, "narrow", 360, [[box(data, c["number"], 4, 352)] for c in data["chapters"]], arrows=False
    )


def concept_map(data: dict) -> str:
    """The two drawings (the screen's width picks one), then the same as a list."""
    html = f"<style>\n{STYLE}\n</style>\n{wide(data)}\n{narrow(data)}"
    return f"```{{raw}} html\n{html}\n```\n\n## The same as a list\n\n{map_as_list(data)}"


def map_as_list(data: dict) -> str:
    """What the map shows, for those who listen to it or print it."""
    parts = []
    for c in data["chapters"]:
        title = f"[{c['title']}](../{c['page']}.ipynb)" if c["written"] else f"{c['title']} (in preparation)"
        items = [*c["topics"], *(m["name"] for m in methods_of(data, c["number"]))]
        number = "chapters" if len(c["builds_on"]) > 1 else "chapter"
        builds = f" Builds on {number} {needs(c)}." if c["builds_on"] else ""
        parts.append(f"{c['number']}. **{title}**: {c['question']}{builds}\n\n   In it: {', '.join(items)}.")
    return "\n\n".join(parts)


PIECES = {
    "concept_map.inc": concept_map,
    "cheat_sheet.inc": cheat_sheet,
    "measures.inc": measures,
    "lies.inc": lies,
    "defences.inc": defences,
    "taxonomy.inc": taxonomy,
    "symbols.inc": symbols,
    "needs.inc": needs_of_all,
}


def pieces() -> dict[str, str]:
    """Every generated file, by name, as it must read today."""
    data = load()
    return {name: f"% {NOTE}\n\n{make(data)}\n" for name, make in PIECES.items()}


def main(argv: list[str] | None = None) -> int:
    """Write the pieces, or with ``--check`` name those that are out of date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail when a piece is out of date"
    )
    args = parser.parse_args(argv)
    OUT.mkdir(exist_ok=True)
    stale = [
        n for n, text in pieces().items() if not (OUT / n).exists() or (OUT / n).read_text("utf-8") != text
    ]
    for name in stale:
        if args.check:
            print(f"{name} is out of date: run python tools/render_methods.py", file=sys.stderr)
        else:
            (OUT / name).write_text(pieces()[name], encoding="utf-8")
            print("wrote", (OUT / name).relative_to(ROOT))
    return 1 if args.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
