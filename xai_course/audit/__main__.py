"""For teachers: ``python -m xai_course.audit key CODE`` says what the network of a case is."""

from __future__ import annotations

import argparse

from xai_course.audit.faults import describe


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m xai_course.audit", description=__doc__)
    parser.add_argument("what", choices=("key",), help="print the answer")
    parser.add_argument("codes", nargs="+", metavar="CODE", help="code of a case, or the name that opens it")
    options = parser.parse_args(arguments)
    try:
        print("\n".join(describe(code) for code in options.codes))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
