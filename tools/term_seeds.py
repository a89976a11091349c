#!/usr/bin/env python3
"""Finds the numbers that the checks may draw in a term; writes ``xai_course/classroom/terms.json``.

    python tools/term_seeds.py            every chapter whose checks, solutions or planted answers changed
    python tools/term_seeds.py 2 5        these chapters, anew

Every answer that the tests know (solutions, unusual right ones, planted wrong ones, known mistakes) is judged
with each check's seeds shifted by a candidate. A candidate is kept where all verdicts are the right ones, in
the right words. One that is not is named, with the answer that it misjudges.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/exercises"))

import exercise_pages as pages  # noqa: E402
import handed_in  # noqa: E402

from xai_course._term import shifted_by  # noqa: E402
from xai_course.classroom import page  # noqa: E402
from xai_course.classroom.terms import FILE  # noqa: E402

WANTED = 10  # terms
CANDIDATES = [1000 * i + 17 for i in range(1, 61)]


def proven(path: Path, exercise: str) -> list[int]:
    """The first candidates on which every answer to an exercise gets its verdict."""
    kept: list[int] = []
    for candidate in CANDIDATES:
        cases = list(handed_in.cases(path, exercise))
        with shifted_by(candidate):
            odd = next((c for c in cases if not c.holds(result := c.judged(exercise))), None)
        if odd is None:
            kept.append(candidate)
        else:
            print(
                f"  {exercise} + {candidate}: {odd.name}: {result.status}, {result.message[:110]}", flush=True
            )
        if len(kept) == WANTED:
            return kept
    raise SystemExit(
        f"{exercise}: only {len(kept)} of {len(CANDIDATES)} candidates hold, {WANTED} are wanted"
    )


def held() -> dict[str, dict]:
    """What was found before."""
    return json.loads(FILE.read_text("utf-8"))["chapters"] if FILE.is_file() else {}


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    for path in pages.PAGES:
        chapter, now = f"{page(path).chapter:02d}", handed_in.fingerprint(path)
        wanted = chapter in {f"{int(name):02d}" for name in arguments}
        if not (wanted if arguments else held().get(chapter, {}).get("fingerprint") != now):
            continue
        print(f"chapter {chapter}", flush=True)
        shifts = {name: proven(path, name) for name in page(path).exercises}
        made = {**held(), chapter: {"fingerprint": now, "shifts": shifts}}
        FILE.write_text(json.dumps({"chapters": dict(sorted(made.items()))}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
