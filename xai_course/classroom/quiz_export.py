"""The book's quizzes for a learning platform: Moodle XML, and QTI 2.1 as a content package.

``python -m xai_course.classroom quizzes --chapter 2`` writes them (``make quizzes CHAPTER=02``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import moodle_xml, qti
from .editions import ROOT
from .questions import Item, chapter_items

COURSE = "Seeing Is Not Believing"


@dataclass(frozen=True)
class Export:
    """What was written for a chapter, and what was left out and why."""

    chapter: str
    files: tuple[Path, ...]
    items: tuple[Item, ...]
    left_out: dict[str, str]

    def __str__(self) -> str:
        """The summary that is printed: reasons, each with its questions."""
        reasons: dict[str, list[str]] = {}
        for name, reason in self.left_out.items():
            reasons.setdefault(reason, []).append(name)
        lines = [f"{', '.join(map(str, self.files))}: {_count(self.items)}"]
        lines += [f"  left out, {reason}: {', '.join(names)}" for reason, names in reasons.items()]
        return "\n".join(lines)


def _count(items: tuple[Item, ...]) -> str:
    return f"{len(items)} question{'s' * (len(items) != 1)}"


def export_quizzes(
    chapter: str | int, *, out: str | Path = "quizzes", chapters: str | Path | None = None
) -> Export:
    """Write a chapter's questions as ``chNN-moodle.xml`` and ``chNN-qti.zip``.

    Args:
        chapter: its number, such as ``"02"`` or 2.
        out: the folder to write to.
        chapters: the folder of the chapters; by default the book's own.

    Raises:
        FileNotFoundError: if there is no such chapter, or it has no questions.
        ValueError: if a question cannot be exported as it is.
    """
    place = Path(chapters) if chapters else ROOT / "chapters"
    folders = sorted(place.glob(f"{int(chapter):02d}_*"))
    if not folders or not (folders[0] / "quiz.json").is_file():
        raise FileNotFoundError(f"there is no quiz.json of chapter {chapter} in {place}")
    items, left_out = chapter_items(folders[0])
    name = f"ch{int(chapter):02d}"
    title = f"Chapter {int(chapter)}: {_title(folders[0])}"
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    moodle = out / f"{name}-moodle.xml"
    # a slash would end a category's name; Moodle reads two as one
    moodle.write_text(moodle_xml.moodle_xml(items, f"{COURSE}/{title.replace('/', '//')}"), encoding="utf-8")
    zipped = qti.write_package(qti.package(items, f"{COURSE}, {title}"), out / f"{name}-qti.zip")
    return Export(name, (moodle, zipped), tuple(items), left_out)


def _title(folder: Path) -> str:
    """The heading of the chapter's lesson, or the folder's name."""
    lesson = folder / "lesson.md"
    found = re.search(r"^# (.+)$", lesson.read_text(encoding="utf-8"), re.M) if lesson.is_file() else None
    return found[1].strip() if found else folder.name
