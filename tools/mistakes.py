"""Write what each planted wrong answer is told: ``book/data/mistakes/chNN.json``, for the pages for teachers.

    python tools/mistakes.py          # every chapter
    python tools/mistakes.py 2 3      # these

The wrong answers stand in ``tests/exercises`` and, from chapter 4 on, in
``xai_course/checks/chNN_mistakes.py``. Each is handed to ``check`` once. The tests of the exercises hand
them in too, and compare with what stands here.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "book" / "data" / "mistakes"
sys.path.insert(0, str(ROOT / "tests" / "exercises"))

from planted import CHAPTERS, handed_in, told  # noqa: E402

from xai_course.checks import check  # noqa: E402


def collected(chapter: int) -> dict:
    """Exercise → its title, and what is told to each planted answer: its name, the message, where to look.

    Answers that get the same words stand together.
    """
    made: dict = {}
    for planted in handed_in(chapter):
        result = check(planted.identifier, *planted.answers)
        here = made.setdefault(planted.identifier, {"title": result.title, "mistakes": []})
        words = told(result)
        known = next(
            (one for one in here["mistakes"] if {**one, "planted": 0} == {**words, "planted": 0}), None
        )
        if known is None:
            known = {"planted": [], **words}
            here["mistakes"].append(known)
        known["planted"].append(planted.name)
    return dict(sorted(made.items(), key=lambda item: [int(part) for part in item[0].split(".")]))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", type=int, default=CHAPTERS)
    OUT.mkdir(parents=True, exist_ok=True)
    for chapter in parser.parse_args().chapters or CHAPTERS:
        made = collected(chapter)
        path = OUT / f"ch{chapter:02d}.json"
        path.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        count = sum(len(exercise["mistakes"]) for exercise in made.values())
        print(f"{path.relative_to(ROOT)}: {len(made)} exercises, {count} messages", flush=True)


if __name__ == "__main__":
    main()
