"""``python -m xai_course.classroom release --chapter 2``, and ``… grade moodle.zip --chapter 2``.

A teacher's own exercises: ``… begin folder --chapter 2``, ``… prove folder``, and with the two above
``--variant folder``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import variants
from .editions import HINTS, ROOT, release


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m xai_course.classroom", description="For teachers.")
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("release", help="make the edition without solutions that a class is handed")
    made.add_argument(
        "--chapter", help="its number, such as 02; without it, every chapter that has exercises"
    )
    made.add_argument("--hints", type=int, default=HINTS, help="hints an exercise keeps, 0 to 3 (default: 3)")
    made.add_argument("--out", default="release", help="the folder to write to (default: release)")
    made.add_argument(
        "--variant", help="a folder of your own exercises, to hand out in place of the course's"
    )
    graded = commands.add_parser("grade", help="grade what a class handed in")
    graded.add_argument("source", help="the zip that Moodle or Canvas makes, or a folder of notebooks")
    graded.add_argument("--chapter", help="the chapter that was handed out, such as 02")
    graded.add_argument(
        "--variant", help="the folder of your own exercises that were handed out, with their checks"
    )
    graded.add_argument(
        "--release", default="release", help="the folder that `release` wrote (default: release)"
    )
    graded.add_argument("--out", help="the folder for the results (default: graded/chNN)")
    graded.add_argument("--seconds", type=float, default=60.0, help="what an exercise may take (default: 60)")
    graded.add_argument("--term", type=int, help="draw the checks' numbers anew: a number from 1 on")
    graded.add_argument("-j", "--jobs", type=int, default=1, help="students at a time (default: 1)")
    graded.add_argument("--unsafe", action="store_true", help="run students' code without a box")
    quizzes = commands.add_parser("quizzes", help="write the quizzes as Moodle XML and QTI 2.1")
    quizzes.add_argument("--chapter", help="its number, such as 02; without it, every chapter")
    quizzes.add_argument("--out", default="quizzes", help="the folder to write to (default: quizzes)")
    quizzes.add_argument("--from", dest="chapters", help="a folder of chapters of your own, in the same form")
    exam = commands.add_parser("exam", help="draw the final exam: a sheet for each student, and the answers")
    exam.add_argument("--seed", required=True, help="anything; the same seed draws the same exam")
    exam.add_argument("--students", help="a list of names (CSV); without it, one sheet without a name")
    exam.add_argument("--out", default="exam_sheets", help="the folder to write to (default: exam_sheets)")
    exam.add_argument("--pools", help="a folder of pools of your own")
    graded.add_argument("--nbgrader", help="an nbgrader course folder, whose gradebook gets the marks too")
    exported = commands.add_parser("nbgrader", help="make a release an assignment of an nbgrader course")
    exported.add_argument("--chapter", help="the chapter that was released, such as 02")
    exported.add_argument("--variant", help="the folder of your own exercises that were released")
    exported.add_argument("--release", default="release", help="the folder that `release` wrote")
    exported.add_argument(
        "--to", default="nbgrader", help="the course folder, new or in use (default: nbgrader)"
    )
    begun = commands.add_parser(
        "begin", help="write a folder with one exercise that works, to change into yours"
    )
    begun.add_argument("folder", help="a new folder, best outside this repository")
    begun.add_argument(
        "--chapter", required=True, help="the chapter that the exercises belong to, such as 02"
    )
    proved = commands.add_parser("prove", help="try out a folder of your own exercises before a class does")
    proved.add_argument("folder", help="the folder")
    proved.add_argument("--no-box", action="store_true", help="run its code without the box")
    options = parser.parse_args(arguments)
    run = {
        "release": _release,
        "grade": _grade,
        "nbgrader": _nbgrader,
        "begin": _begin,
        "prove": _prove,
        "quizzes": _quizzes,
        "exam": _exam,
    }
    try:
        return run[options.command](options)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2


def _release(options: argparse.Namespace) -> int:
    every = sorted(path.parent.name[:2] for path in (ROOT / "chapters").glob("[0-9][0-9]_*/exercises.ipynb"))
    for chapter in [options.chapter] if options.chapter or options.variant else every:
        folder = release(chapter, hints=options.hints, out=options.out, variant=options.variant)
        print(f"{folder}: hand out {folder.with_suffix('.zip')}")
    return 0


def _name(options: argparse.Namespace) -> str:
    """What the release is called that the options speak of."""
    if options.variant:
        own = variants.read(options.variant)
        return f"ch{own.chapter:02d}-{own.name}"
    if options.chapter:
        return f"ch{int(options.chapter):02d}"
    raise ValueError("name the chapter that was handed out: --chapter 02 (CHAPTER=02)")


def _grade(options: argparse.Namespace) -> int:
    from .grading import grade  # the judge loads torch, which a release does not need

    name = _name(options)
    out = Path(options.out or f"graded/{name}")
    done = grade(
        options.source,
        Path(options.release) / name,
        out=out,
        variant=options.variant,
        boxed=not options.unsafe,
        jobs=options.jobs,
        seconds=options.seconds,
        term=options.term,
        progress=True,
    )
    print(f"{len(done)} submissions graded: {out / 'grades.csv'}, {out / 'report.html'}, {out / 'feedback'}/")
    if options.nbgrader:
        from .nbgrader_export import write_marks

        write_marks(done, Path(options.release) / name, options.nbgrader)
        print(f"the marks are in {Path(options.nbgrader) / 'gradebook.db'}, too")
    return 0


def _quizzes(options: argparse.Namespace) -> int:
    from .quiz_export import export_quizzes

    place = Path(options.chapters) if options.chapters else ROOT / "chapters"
    every = sorted(path.parent.name[:2] for path in place.glob("[0-9][0-9]_*/quiz.json"))
    for chapter in [options.chapter] if options.chapter else every:
        print(export_quizzes(chapter, out=options.out, chapters=options.chapters))
    return 0


def _nbgrader(options: argparse.Namespace) -> int:
    from .nbgrader_export import write_course

    made = write_course(Path(options.release) / _name(options), options.to)
    print(f"{made}: what nbgrader releases; grade with NBGRADER={options.to}")
    return 0


def _begin(options: argparse.Namespace) -> int:
    folder = variants.begin(options.chapter, options.folder)
    print(f"{folder}: change exercises.md and checks.py; then try them: make prove VARIANT={folder}")
    return 0


def _prove(options: argparse.Namespace) -> int:
    from .proving import prove

    findings = prove(options.folder, boxed=False if options.no_box else None)
    print("\n".join(map(str, findings)))
    wrong = sum(not found.holds for found in findings)
    print(
        f"\n{wrong} of {len(findings)} do not hold." if wrong else f"\nAll {len(findings)} hold: hand it out."
    )
    return 1 if wrong else 0


def _exam(options: argparse.Namespace) -> int:
    from .exam import POOLS, make_exam, read_students

    try:
        students = read_students(options.students) if options.students else []
        folder = make_exam(options.seed, students, out=options.out, pools=options.pools or POOLS)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{folder}: sheets/ to print, answers.html and answers.csv for teachers, moodle.xml and qti.zip")
    return 0


if __name__ == "__main__":
    sys.exit(main())
