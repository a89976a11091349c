"""Make the ledger's tables from what the lessons found: ``book/generated/ledger.inc``.

    python tools/make_ledger.py            # write it
    python tools/make_ledger.py --check    # say whether it is up to date

A lesson states a claim with ``xai_course.ledger.claim`` in a cell that its page does not show. The outputs
stored in the notebooks are read here; nothing is computed. ``make notebooks`` writes the ledger again when it
is done.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import re
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import nbformat
import yaml
from render_methods import stacked

from xai_course.ledger import KINDS, MIME, VERDICTS

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "book" / "generated" / "ledger.inc"
NOTE = "made by tools/make_ledger.py from the claims in the notebooks: change those, not this"
MARKS = dict(zip(VERDICTS, ("✓", "◐", "✗"), strict=True))
FILLS = ("append", "extend", "add", "update", "insert")  # methods that put something into what has a name
HEADER = ["Claim", "Kind", "What was found", "On what", "Verdict"]


@dataclass(frozen=True)
class Entry:
    """A claim and where it stands: ``claim-3-2`` is the second of a page of chapter 3."""

    anchor: str
    page: str
    claim: dict[str, str]


def lessons(root: Path = ROOT) -> list[Path]:
    """The notebooks that may state claims, in reading order."""
    return sorted(root.glob("chapters/*/lesson*.ipynb"))


def number_of(notebook: Path) -> int:
    """The chapter's number, from its folder's name."""
    return int(notebook.parent.name.split("_")[0])


def stored_claims(cell: dict) -> list[dict[str, str]]:
    """The claims that a cell has printed, as data."""
    return [output["data"][MIME] for output in cell.get("outputs", []) if MIME in output.get("data", {})]


def entries(notebook: Path) -> list[Entry]:
    """Every claim of a lesson, in the order of its page."""
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    found = [claim for cell in cells for claim in stored_claims(cell)]
    page = f"../chapters/{notebook.parent.name}/{notebook.stem}.html"
    return [Entry(f"claim-{number_of(notebook)}-{i}", page, claim) for i, claim in enumerate(found, start=1)]


# --- What is refused ----------------------------------------------------------------------------------------


def faults(notebook: Path) -> list[str]:
    """What is wrong with the claims of a lesson: not run, not shown, or resting on nothing computed."""
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    trees = [(cell, parse(cell.source)) for cell in cells]
    known = computed([tree for _, tree in trees])
    wrong = []
    for cell, tree in trees:
        calls = claim_calls(tree)
        for call in calls:
            reason = rests_on_nothing(call, known)
            if reason:
                wrong.append(f"line {call.lineno} of the cell: the condition {reason}\n{cell.source}")
        stored = len(stored_claims(cell))
        if stored < len(calls):
            wrong.append(
                f"{len(calls)} claims, {stored} stored: run the notebook. A cell shows its last line only: "
                f"give each claim a cell, or write display(claim(...), claim(...))\n{cell.source}"
            )
    return wrong


def parse(source: str) -> ast.Module:
    """A cell without the lines that only IPython understands."""
    return ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.MULTILINE))


def claim_calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) == "claim"]


def _called(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def computed(trees: list[ast.Module]) -> set[str]:
    """The names to which a page gives something other than a constant that somebody typed."""
    names: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
            targets, value = [node.target], node.value
        elif isinstance(node, ast.For | ast.comprehension):
            targets, value = [node.target], node.iter
        elif isinstance(node, ast.With):
            targets, value = (
                [i.optional_vars for i in node.items if i.optional_vars],
                node.items[0].context_expr,
            )
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in FILLS and node.args:
            targets, value = [node.func.value], node.args[-1]
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
            continue
        else:
            continue
        if value is not None and not _typed(value):
            names |= {
                name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
            }
    return names


def _typed(value: ast.expr) -> bool:
    """Whether an expression names nothing: a constant, however it is written."""
    return not any(isinstance(node, ast.Name) and not hasattr(builtins, node.id) for node in ast.walk(value))


def rests_on_nothing(call: ast.Call, known: set[str]) -> str | None:
    """Why a claim's condition cannot fail, or None: what a page did not compute proves nothing."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    condition = call.args[1] if len(call.args) > 1 else given.get("found_true")
    if condition is None:
        return "is missing"
    if not {node.id for node in ast.walk(condition) if isinstance(node, ast.Name)} & known:
        return f"rests on nothing that the page computed: {ast.unparse(condition)}"
    for node in ast.walk(condition):
        if isinstance(node, ast.BoolOp) and any(isinstance(value, ast.Constant) for value in node.values):
            return f"has a constant for a part: {ast.unparse(node)}"
        if isinstance(node, ast.Compare):
            sides = [ast.dump(side) for side in (node.left, *node.comparators)]
            if any(a == b for a, b in pairwise(sides)):
                return f"compares a thing with itself: {ast.unparse(node)}"
    return None


# --- The tables ---------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Text of a claim, with nothing in it that MyST would take for markup."""
    return re.sub(r"([\\`*_{}\[\]<>$#|~^])", r"\\\1", text).replace("\n", " ")


def row(entry: Entry) -> list[str]:
    claim = entry.claim
    verdict = claim["verdict"]
    return [
        f"{plain(claim['says'])} {{cite:p}}`{claim['source']}`",
        claim["kind"],
        plain(claim["found"]),
        plain(claim["on"]),
        f'<span class="s-verdict">{MARKS[verdict]} {verdict}</span>\n\n'
        f'<a href="{entry.page}#{entry.anchor}">see it on the page</a>',
    ]


def table(rows: list[list[str]]) -> str:
    lines = [":::{list-table}", ":header-rows: 1", ":class: ledger", ":widths: 32 10 26 18 14", ""]
    for cells in [HEADER, *rows]:
        for i, cell in enumerate(cells):
            lines.append(("* - " if i == 0 else "  - ") + cell.replace("\n", "\n    "))
    return "\n".join([*lines, ":::"])


def counts(all_entries: list[Entry]) -> str:
    """How many claims hold, hold in part and do not hold, in words."""
    by_verdict = Counter(entry.claim["verdict"] for entry in all_entries)
    by_kind = Counter(entry.claim["kind"] for entry in all_entries)
    verdicts = ", ".join(f"{MARKS[v]} **{by_verdict[v]}** {in_words(v, by_verdict[v])}" for v in VERDICTS)
    kinds = ", ".join(f"{by_kind[k]} {in_words(k, by_kind[k])}" for k in KINDS if by_kind[k])
    total = len(all_entries)
    if not total:
        return "No claim has been tried yet."
    tried = "1 claim was tried" if total == 1 else f"{total} claims were tried"
    return f"{tried}: {verdicts}. By kind: {kinds}."


def in_words(name: str, count: int) -> str:
    """A verdict or a kind as it reads after a number: 1 holds, 2 hold; 1 law, 2 laws."""
    if count == 1:
        return name
    if name in VERDICTS:
        return name.replace("holds", "hold").replace("does not", "do not")
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def ledger(root: Path = ROOT) -> str:
    """The whole piece: counts, then a table for each chapter that states claims."""
    titles = {
        chapter["number"]: chapter["title"]
        for chapter in yaml.safe_load((root / "book/data/methods.yml").read_text(encoding="utf-8"))[
            "chapters"
        ]
    }
    found: dict[int, list[Entry]] = {}
    for notebook in lessons(root):  # a chapter may have more than one page
        found.setdefault(number_of(notebook), []).extend(entries(notebook))
    everything = [entry for part in found.values() for entry in part]
    parts = [f"% {NOTE}", counts(everything)]
    for number, part in found.items():
        if part:
            parts += [f"## Chapter {number}: {titles[number]}", table([row(entry) for entry in part])]
    return "\n\n".join([*parts, stacked("ledger", HEADER)]) + "\n"


def write() -> bool:
    """Write the piece if it has changed; whether it had."""
    text = ledger()
    if OUT.exists() and OUT.read_text(encoding="utf-8") == text:
        return False
    OUT.write_text(text, encoding="utf-8")
    return True


def main(argv: list[str] | None = None) -> int:
    """Write the ledger, or with ``--check`` say whether it is current; refuse claims that cannot fail."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail when it is out of date")
    args = parser.parse_args(argv)
    wrong = [f"{notebook.relative_to(ROOT)}: {fault}" for notebook in lessons() for fault in faults(notebook)]
    if wrong:
        print("\n\n".join(wrong), file=sys.stderr)
        return 1
    if args.check:
        current = OUT.exists() and OUT.read_text(encoding="utf-8") == ledger()
        if not current:
            print("ledger.inc is out of date: run python tools/make_ledger.py", file=sys.stderr)
        return 0 if current else 1
    print(f"{OUT.relative_to(ROOT)}:", "written" if write() else "up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
