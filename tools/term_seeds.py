#!/usr/bin/env python3
"""Finds the numbers that the checks may draw in a term; writes ``xai_course/classroom/terms.json``.

    python tools/term_seeds.py            every chapter whose checks, solutions or planted answers changed
    python tools/term_seeds.py 2 5        these chapters, anew

Every answer that the tests know (solutions, unusual right ones, planted wrong ones, known mistakes) is judged
with each check's seeds shifted by a candidate. A candidate is kept where all verdicts are the right ones, in
the right words. Those that are not are counted, by the answer that they misjudge.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/exercises"))

import exercise_pages as pages  # noqa: E402
import handed_in  # noqa: E402

from xai_course._term import shifted_by  # noqa: E402
from xai_course.classroom import page  # noqa: E402
from xai_course.classroom.terms import FILE, FIXED  # noqa: E402

WANTED = 10  # terms
CANDIDATES = [1000 * i + 17 for i in range(1, 1001)]


def proven(path: Path, exercise: str) -> list[int]:
    """The first candidates on which every answer to an exercise gets its verdict."""
    if exercise in FIXED:
        return [0] * WANTED
    kept: list[int] = []
    refused: Counter[str] = Counter()
    for candidate in CANDIDATES:
        with shifted_by(candidate):
            cases = handed_in.cases(path, exercise)
            odd = next((case for case in cases if not case.holds(case.judged(exercise))), None)
        if odd is None:
            kept.append(candidate)
        else:
            refused[odd.name] += 1
        if len(kept) == WANTED:
            why = "; ".join(f"{name} ({n})" for name, n in refused.most_common(3))
            print(f"  {exercise}: {sum(refused.values())} candidates refused{': ' if why else ''}{why}")
            return kept
    raise SystemExit(f"{exercise}: only {len(kept)} of {len(CANDIDATES)} candidates hold")


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
