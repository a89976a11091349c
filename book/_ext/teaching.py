"""What pages for teachers set from data.

``{mistakes} 2`` lists what each planted wrong answer is told; ``{route}`` sets a plan by weeks, with the
minutes that the lessons and exercises state; ``{minutes}`` lists these; ``{chapters}`` the chapters' pages.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

LONG = 4  # an exercise with more messages than this is folded
UNNAMED = re.compile(r"\d+\.\d+")


def stored(root: Path, chapter: int) -> dict[str, Any]:
    """What ``tools/mistakes.py`` wrote of a chapter."""
    return json.loads((root / f"book/data/mistakes/ch{chapter:02d}.json").read_text(encoding="utf-8"))


def marked_up(text: str) -> str:
    """A message as HTML: code between backticks, emphasis between stars; the rest as it is."""
    pieces = re.split(r"`([^`]+)`", text)
    for place, piece in enumerate(pieces):
        escaped = html.escape(piece, quote=False)
        emphasised = re.sub(r"(?<!\w)\*(\S(?:[^*]*\S)?)\*(?!\w)", r"<em>\1</em>", escaped)
        pieces[place] = f"<code>{escaped}</code>" if place % 2 else emphasised
    return "".join(pieces)


def listed(mistake: dict[str, Any]) -> str:
    """One message, with the names of the answers that get it, where they have names."""
    names = [name for name in mistake["planted"] if not UNNAMED.fullmatch(name)]
    name = f"<strong>{html.escape('; '.join(names), quote=False)}</strong> " if names else ""
    message = mistake["message"][:1].upper() + mistake["message"][1:]
    look = f"<span>{marked_up(mistake['look'])}</span>" if mistake["look"] else ""
    return f"<li>{name}{marked_up(message)} {look}</li>"


def exercise_list(identifier: str, exercise: dict[str, Any]) -> str:
    """An exercise's messages; folded where there are many."""
    count = len(exercise["mistakes"])
    rows = "\n".join(listed(mistake) for mistake in exercise["mistakes"])
    opened = "" if count > LONG else " open"
    return (
        f'<details class="s-mistakes" id="mistakes-{identifier.replace(".", "-")}"{opened}><summary>'
        f"<b>{identifier}</b> {html.escape(exercise['title'], quote=False)} <small>{count} messages</small>"
        f"</summary>\n<ul>\n{rows}\n</ul></details>"
    )


class Mistakes(SphinxDirective):
    """``{mistakes} 2``: the messages of chapter 2's exercises; ``{mistakes} 2.1``: of one exercise."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        asked = self.arguments[0]
        chapter = int(asked.split(".")[0])
        path = Path(self.env.srcdir)
        self.env.note_dependency(str(path / f"book/data/mistakes/ch{chapter:02d}.json"))
        exercises = stored(path, chapter)
        if asked in exercises:
            exercises = {asked: exercises[asked]}
        elif "." in asked:
            raise self.error(f"no exercise {asked!r}; there are {', '.join(exercises)}")
        made = "\n".join(exercise_list(*item) for item in exercises.items())
        return [nodes.raw("", f'<div class="s-mistakes-all">\n{made}\n</div>', format="html")]


def read_minutes(root: Path) -> dict[str, tuple[str, int]]:
    """Page of a lesson → its path and its minutes: ``"6"`` is chapter 6's first page, ``"6b"`` its second."""
    found = {}
    for path in sorted(root.glob("chapters/*/lesson*.md")):
        said = re.search(r"\*\*Time:\*\* (\d+) minutes to read", path.read_text(encoding="utf-8"))
        key = str(int(path.parent.name[:2])) + ("" if path.stem == "lesson" else "b")
        found[key] = (path.with_suffix(".ipynb").relative_to(root).as_posix(), int(said[1]))
    return found


def exercise_minutes(root: Path) -> dict[str, int]:
    """Exercise → the minutes that stand below its title."""
    found = {}
    for path in sorted(root.glob("chapters/*/exercises.md")):
        text = path.read_text(encoding="utf-8")
        for name, minutes in re.findall(r"^## (\d+\.\d+) .*\n\n●\S* · (\d+) minutes", text, flags=re.M):
            found[name] = int(minutes)
    return found


def in_hours(minutes: int) -> str:
    """Minutes as hours, to a quarter."""
    quarters = round(minutes / 15)
    return f"{quarters // 4}{('', ' ¼', ' ½', ' ¾')[quarters % 4]}".removeprefix("0 ") + " h"


def plans(root: Path) -> dict[str, Path]:
    """Chapter → the page for its teacher, in order."""
    found = {path.stem[8:]: path for path in root.glob("book/teaching/chapter-*.md")}
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def with_plans(text: str, known: dict[str, Path]) -> str:
    """The text with each "chapter 3" as a link to the page for its teacher, where there is one."""
    return re.sub(
        r"\b([Cc]hapter (\d+))",
        lambda found: f"[{found[1]}](chapter-{found[2]}.md)" if found[2] in known else found[1],
        text,
    )


def week_row(
    week: dict[str, Any],
    pages: dict[str, tuple[str, int]],
    exercises: dict[str, int],
    known: dict[str, Path],
) -> str:
    """A week of a route as a row: what is read and done at home, and the time that this takes."""
    read, done = [str(key) for key in week.get("read", [])], [str(key) for key in week.get("exercises", [])]
    missing = [key for key in read if key not in pages] + [key for key in done if key not in exercises]
    if missing:
        raise ValueError(f"no lesson or exercise {', '.join(missing)}")
    linked = [
        f"[{key.removesuffix('b')}{', second page' if key.endswith('b') else ''}](/{pages[key][0]})"
        for key in read
    ]
    extra = int(week.get("extra", 0))
    total = sum(pages[key][1] for key in read) + sum(exercises[key] for key in done) + extra
    cells = [
        week["week"],
        with_plans(week["meeting"], known),
        "; ".join(linked) or "–",
        ", ".join(done) or "–",
    ]
    return "| " + " | ".join(str(cell) for cell in [*cells, in_hours(total)]) + " |"


class FromText(SphinxDirective):
    """A directive that writes Markdown."""

    def markdown(self, lines: list[str]) -> list[nodes.Node]:
        made = nodes.Element()
        self.state.nested_parse(StringList(lines, source=self.env.docname), self.content_offset, made)
        return made.children


class Route(FromText):
    """``{route}``: weeks in YAML, each with ``week``, ``meeting``, ``read``, ``exercises``, ``extra``."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        pages, exercises = read_minutes(root), exercise_minutes(root)
        try:
            weeks = yaml.safe_load("\n".join(self.content))
            rows = [week_row(week, pages, exercises, plans(root)) for week in weeks]
        except ValueError as error:
            raise self.error(str(error)) from error
        head = ["| week | the meeting | chapters to read | exercises | at home |", "|---|---|---|---|---|"]
        return self.markdown([*head, *rows])


class Minutes(FromText):
    """``{minutes}``: the minutes that each chapter states."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        pages, exercises = read_minutes(root), exercise_minutes(root)
        rows = []
        for chapter in sorted({int(key.removesuffix("b")) for key in pages}):
            read = [pages[key][1] for key in (str(chapter), f"{chapter}b") if key in pages]
            done = sum(minutes for name, minutes in exercises.items() if name.split(".")[0] == str(chapter))
            cells = [chapter, " + ".join(map(str, read)) + " min", f"{done} min", in_hours(sum(read) + done)]
            rows.append("| " + " | ".join(map(str, cells)) + " |")
        head = ["| chapter | to read and answer | all exercises | together |", "|---|---|---|---|"]
        return self.markdown([*head, *rows])


class Chapters(FromText):
    """``{chapters}``: the pages for each chapter, by their titles."""

    def run(self) -> list[nodes.Node]:
        lines = []
        for number, path in plans(Path(self.env.srcdir)).items():
            title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
            lines.append(f"- [{title}](chapter-{number}.md)")
        return self.markdown(lines)


def load_style(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Load the style of the teacher's pages on these alone."""
    if page.startswith("book/teaching/"):
        app.add_css_file("teaching.css", priority=720)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by ``course_pages``."""
    app.add_directive("mistakes", Mistakes)
    app.add_directive("route", Route)
    app.add_directive("minutes", Minutes)
    app.add_directive("chapters", Chapters)
    app.connect("html-page-context", load_style)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
