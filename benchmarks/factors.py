"""What the contests share whose result is a factor: how they are run, printed and stored.

A contest is a dictionary of ways to the same numbers, ``ours`` and its rivals. They are timed in turn, as in
``run.py``: on a CPU the factors are of processor time. With ``--output FOLDER`` a program puts its rows into
``FOLDER/<device>.json`` and writes the table of all programs beside it.
"""

import argparse
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from run import keep_pages, machine
from timing import interleaved, ratio
from torch import Tensor

Contest = dict[str, Callable[[], Tensor | None]]
Promised = dict[str, float | dict[str, float]]
RESULTS = Path(__file__).parent / "results" / "factors"
PROGRAMS = ("judged", "retrained", "randomised")


def rows_of(
    name: str, contest: Contest, promised: float | dict[str, float], rounds: int, device: torch.device
) -> list[dict]:
    """A row for each rival that something was promised of."""
    walls, times = interleaved(contest, rounds, device)
    rivals = [key for key in contest if key != "ours"]
    wanted = promised if isinstance(promised, dict) else dict.fromkeys(rivals, promised)
    return [
        {
            "contest": name,
            "rival": rival,
            "ours_seconds": min(times["ours"]),
            "factor": ratio(times[rival], times["ours"]),
            "by_the_wall_clock": ratio(walls[rival], walls["ours"]),
            "promised": wanted[rival],
            "rounds": len(times["ours"]),
        }
        for rival in rivals
        if rival in wanted
    ]


def merged(stored: dict, program: str, facts: dict, rows: list[dict]) -> dict:
    """The stored results with these rows in the place of those of the same contests."""
    fresh = {row["contest"] for row in rows}
    before = stored.get(program, {"machine": facts, "rows": []})
    if before["machine"] != facts:
        before = {"rows": []}  # of another machine, or other versions: not in one table with these
    kept = [row for row in before["rows"] if row["contest"] not in fresh]
    found = {**stored, program: {"machine": facts, "rows": kept + rows}}
    return {name: found[name] for name in PROGRAMS if name in found}


def markdown(results: dict) -> str:
    """The table that people read."""
    lines = ["# Factors: how many times our time the others take", ""]
    for program, part in results.items():
        facts = part["machine"]
        lines += [
            f"`benchmarks/{program}.py` on {facts['device']} ({facts['processor']}, threads: "
            f"{facts['threads']}; torch {facts['torch']}, quantus {facts['quantus']}).",
            facts["note"],
            "",
            "| contest | rival | rival / ours | by the wall clock | promised | ours, s | rounds |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r['contest']} | {r['rival']} | {r['factor']:.2f} | {r['by_the_wall_clock']:.2f} | "
            f"{r['promised']:.2f} | {r['ours_seconds']:.2f} | {r['rounds']} |"
            for r in part["rows"]
        ]
        lines.append("")
    return "\n".join(lines)


def store(folder: Path, device: torch.device, program: str, facts: dict, rows: list[dict]) -> None:
    path = folder / f"{device.type}.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    results = merged(stored, program, facts, rows)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(results), encoding="utf-8")
    print(f"written: {path} and .md")


def facts_of(device: torch.device) -> dict:
    note = "Factors of wall-clock times."
    if device.type == "cpu":
        note = "Factors of processor time; other programs may have run on the machine."
    kept = {key: machine(device)[key] for key in ("device", "processor", "threads", "python", "torch")}
    return {**kept, "quantus": version("quantus"), "note": note}


def parser_of(description: str, contests: dict) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help=f"folder to store the rows in, such as {RESULTS}")
    if contests:
        parser.add_argument("--only", nargs="*", choices=contests, default=list(contests))
    return parser


def compete(
    program: str,
    contests: dict[str, Callable[[torch.device], Contest]],
    promised: Promised,
    options: argparse.Namespace,
) -> None:
    """Run contests by name; print each row, and store them if asked to."""
    device = torch.device(options.device)
    if device.type == "cpu":
        keep_pages()
    rows = []
    for name, make in contests.items():
        for row in rows_of(name, make(device), promised[name], options.rounds, device):
            print(
                f"{name}: {row['rival']} takes {row['factor']:.2f} × our time of {row['ours_seconds']:.2f} s "
                f"(by the wall clock {row['by_the_wall_clock']:.2f} ×); promised: {row['promised']:.2f} ×",
                flush=True,
            )
            rows.append(row)
    if options.output:
        store(options.output, device, program, facts_of(device), rows)
