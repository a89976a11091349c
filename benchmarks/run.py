"""How much a method costs beyond the passes it needs, and beside its peers.

    python benchmarks/run.py [--device cpu|cuda] [--quick] [--only PART …] [--rounds N] [--output FOLDER]

For every method and batch size, ours, the *bare passes* and the peers (``contests.py`` says what each is) are
timed in turn, round after round, so that a busy machine disturbs all of them alike. Reported are the medians
over the rounds, of the times and of the ratios within a round. The limit for ours / bare is 1.10. A peer that
is not installed is named as such.

On a GPU the ratios are of wall-clock times. On a CPU they are of the processor time that the process used,
which other programs on the machine disturb less; the ratio by the wall clock is reported beside it. There the
C library keeps the memory that it once got (``keep_pages``).

Then: how time and memory grow with the number of passes (``passes``), the ``size`` of the image and the
number of ``classes``; whether the ``memory`` of a method's tensors depends on its passes (``memory.py``); how
many passes RISE needs for the same error (``convergence``), and the other methods that draw samples or take
steps (``equal_error``); and ``influence``, whose work is not counted in passes (``attribution.py``).
Everything goes to ``benchmarks/results/<device>.json`` and ``.md``; the book's page "How fast, and why" is
made from the former.

``--only`` takes names of methods and of these parts. It prints; with ``--output`` it also puts what it
measured into the results in that folder, so that a long run may be made in pieces: with the same versions,
and what is timed on the same machine. The table is written once no part is missing.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from attribution import attribution
from attribution import targets as attribution_targets
from contests import LIME_DEFAULT, METHODS, Call, Setup, real_model, squares
from convergence import rise_errors
from equal_error import equal_error
from memory import LIMIT as MEMORY_LIMIT
from memory import growth as memory_growth
from memory import peak_of_tensors
from timing import interleaved, quiet, ratio

from xai_lib import lime, rise

LIMIT = 1.10
RESULTS = Path(__file__).parent / "results"
PARTS = (
    "passes",
    "size",
    "classes",
    "memory",
    "convergence",
    "equal_error",
    "influence",
)  # besides the methods


# --------------------------------------------------------------------------------------------- measuring


def keep_pages() -> None:
    """Have the C library (glibc) keep the memory that it once got from the system.

    Left alone it gives large buffers back after a pass and fetches them again for the next, or not, as the
    heap happens to lie: that is the same all through one process, and differs from process to process by more
    than the limits that are tested here.
    """
    trim_threshold, most_mappings = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX
    with contextlib.suppress(OSError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(most_mappings, 0)


def peak_memory(call: Call, device: torch.device) -> float | None:
    """Mebibytes above the level before the call: of the GPU's memory, or of this process's (Linux only)."""
    gc.collect()
    with quiet():
        if device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            call()
            return (torch.cuda.max_memory_allocated() - before) / 2**20
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # forget the highest level so far
            before = _status("VmRSS")
            call()
            return (_status("VmHWM") - before) / 2**10
        except OSError:
            return None


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


Meter = Callable[[Call, torch.device], float | None]


def measure(name: str, setup: Setup, rounds: int, peers: bool = True, meter: Meter = peak_memory) -> dict:
    """One row of the table; ``meter`` is read in a run of its own, before those that are timed."""
    contest = METHODS[name](setup)
    memory = {
        key: meter(call, setup.device) for key, call in (("ours", contest.ours), ("bare", contest.bare))
    }
    rivals, missing = contest.peers if peers else {}, {}
    for key, call in rivals.items():
        try:
            with quiet():
                memory[key] = meter(call, setup.device)
        except ImportError as error:
            missing[key] = error.name or str(error)
    runners = {"ours": contest.ours, "bare": contest.bare, **{k: v for k, v in rivals.items() if k in memory}}
    walls, times = interleaved(runners, rounds, setup.device)
    others = {
        key: {"over_ours": ratio(times[key], times["ours"]), "seconds": statistics.median(times[key])}
        for key in runners
        if key not in ("ours", "bare")
    }
    return {
        "method": name,
        "network": contest.network,
        "images": contest.images,
        "passes": contest.passes,
        "batch_size": setup.batch_size,
        "rounds": len(times["ours"]),
        "wall_seconds": {key: statistics.median(values) for key, values in walls.items()},
        "seconds": {key: statistics.median(values) for key, values in times.items()},
        "ours_over_bare": ratio(times["ours"], times["bare"]),
        "ours_over_bare_wall": ratio(walls["ours"], walls["bare"]),
        "ours_over_bare_quartiles": _quartiles(times["ours"], times["bare"]),
        "peers": others,
        "not_installed": missing,
        "fastest_peer": min(others, key=lambda key: others[key]["over_ours"], default=None),
        "peak_mib": memory,
    }


def _quartiles(one: list[float], other: list[float]) -> list[float]:
    quarters = statistics.quantiles([a / b for a, b in zip(one, other, strict=True)], n=4, method="inclusive")
    return [quarters[0], quarters[2]]


# ----------------------------------------------------------------------------------------------- growth


def growth_with_passes(device: torch.device, rounds: int, counts: tuple[int, ...]) -> list[dict]:
    """The same method with more and more passes, on the small network: time over bare passes, and memory."""
    rows = []
    for name in ("smooth_grad", "integrated_gradients", "lime", "shapley", "rise"):
        for count in counts:
            setup = Setup(device, 32, count, 1, "small_gap", 112)
            row = measure(name, setup, rounds, meter=peak_of_tensors)
            peer = row["fastest_peer"]  # None where no peer is installed
            rows.append(
                {
                    "method": name,
                    "passes": count,
                    "ours_over_bare": row["ours_over_bare"],
                    "ours_mib": row["peak_mib"]["ours"],
                    "peer": peer,
                    "peer_over_ours": peer and row["peers"][peer]["over_ours"],
                    "peer_mib": peer and row["peak_mib"][peer],
                }
            )
    return rows


def growth_with_size(device: torch.device, rounds: int, sizes: tuple[int, ...]) -> list[dict]:
    """Larger images, the same number of passes."""
    return [
        {
            "method": name,
            "size": size,
            "ours_over_bare": row["ours_over_bare"],
            "ours_mib": row["peak_mib"]["ours"],
        }
        for name in ("smooth_grad", "occlusion", "lime", "shapley", "rise")
        for size in sizes
        for row in [measure(name, Setup(device, 8, 34, 1, size=size), rounds, peers=False)]
    ]


def growth_with_classes(device: torch.device, rounds: int, counts: tuple[int, ...]) -> list[dict]:
    """K classes from the same passes: time over that for one class."""
    model, x, _ = real_model(Setup(device, 16, 64, 1))
    segments, rows = squares(x, 4), []

    def explain(name: str, classes: int) -> Call:
        target = torch.arange(classes, device=device)[None]
        if name == "lime":
            return lambda: lime(model, x, target, segments=segments, n_samples=64, batch_size=16)
        return lambda: rise(model, x, target, n_masks=64, batch_size=16)

    for name in ("lime", "rise"):
        runners = {str(count): explain(name, count) for count in counts}
        memory = {key: peak_memory(call, device) for key, call in runners.items()}
        _, times = interleaved(runners, rounds, device)
        rows += [
            {
                "method": name,
                "classes": count,
                "over_one_class": ratio(times[str(count)], times[str(counts[0])]),
                "ours_mib": memory[str(count)],
            }
            for count in counts
        ]
    return rows


# ---------------------------------------------------------------------------------------------- targets


def targets(results: dict) -> list[dict]:
    """What was promised, what was measured, and whether the promise holds; None where a peer was missing."""
    rows, paper = results["rows"], results["convergence"]["same_error_passes"]["the paper's"]
    worst = max(rows, key=lambda row: row["ours_over_bare"])
    most = max(results["memory"], key=lambda row: row["growth"])
    times = most["passes"][-1] / most["passes"][0]
    return [
        _target(
            f"ours / bare ≤ {LIMIT:.2f}, every method",
            f"at most {worst['ours_over_bare']:.2f} ({worst['method']}, batch size {worst['batch_size']})",
            worst["ours_over_bare"] <= LIMIT,
        ),
        _beside_the_fastest_peer(rows),
        *_lime_beside_captum([row for row in rows if row["method"] == "lime"]),
        _target(
            "RISE: at least 4 × fewer passes than the paper's estimator at equal error",
            f"{paper:.1f} ×",
            paper >= 4,
        ),
        _target(
            "peak memory independent of the number of passes",
            f"at most {most['growth']:.3f} × the memory for {times:.0f} × the passes ({most['method']})",
            most["growth"] <= MEMORY_LIMIT,
        ),
        *(_target(*verdict) for verdict in attribution_targets(results["influence"])),
    ]


def _target(promise: str, measured: str, holds: bool | None) -> dict:
    return {"promise": promise, "measured": measured, "holds": holds}


def _beside_the_fastest_peer(rows: list[dict]) -> dict:
    promise = "never slower than the fastest peer"
    known = [row for row in rows if row["fastest_peer"]]
    if not known:
        return _target(promise, "not measured: no peer is installed", None)
    slowest = min(known, key=lambda row: row["peers"][row["fastest_peer"]]["over_ours"])
    lag = slowest["peers"][slowest["fastest_peer"]]["over_ours"]
    where = f"{slowest['method']}, batch size {slowest['batch_size']}"
    return _target(promise, f"at least {lag:.2f} of our time ({where})", lag >= 1)


def _lime_beside_captum(rows: list[dict]) -> list[dict]:
    def best(key: str) -> float:
        """The least time over the batch sizes, of those rows in which that runner took part."""
        return min(row["seconds"][key] for row in rows if key in row["seconds"])

    promises = (
        ("LIME at least 2 × as fast as Captum's default", 2.0),
        ("LIME at least 1.2 × as fast as Captum's best batch size", 1.2),
    )
    captum = [key for row in rows for key in row["seconds"] if "captum" in key]
    if not captum:
        return [_target(promise, "not measured: captum is not installed", None) for promise, _ in promises]
    factors = best(LIME_DEFAULT) / best("ours"), min(map(best, captum)) / best("ours")
    return [
        _target(promise, f"{factor:.2f} ×", factor >= limit)
        for (promise, limit), factor in zip(promises, factors, strict=True)
    ]


# --------------------------------------------------------------------------------------------- reporting


def machine(device: torch.device) -> dict:
    names = [line for line in _cpuinfo() if line.startswith("model name")]
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "processor": names[0].split(":")[1].strip() if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "captum", "torchcam", "grad-cam", "lime")},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def markdown(results: dict) -> str:
    """The tables that people read."""
    facts, growth = results["machine"], results["growth"]
    lines = [
        f"# Benchmarks, {facts['device']}",
        "",
        "Made by `python benchmarks/run.py`, which says what is measured. "
        + ", ".join(f"{key} {value}" for key, value in facts.items() if key != "device")
        + ".",
        *_targets_section(results["targets"]),
        *_methods_section(results["rows"]),
        *_passes_section(growth["passes"]),
        *_memory_section(results["memory"]),
        *_size_section(growth["size"]),
        *_classes_section(growth["classes"]),
        *_rise_section(results["convergence"]),
        *_equal_error_section(results["equal_error"]),
        *_influence_section(results["influence"]),
    ]
    return "\n".join(lines) + "\n"


def _targets_section(verdicts: list[dict]) -> list[str]:
    words = {True: "yes", False: "**no**", None: "–"}
    rows = [[t["promise"], t["measured"], words[t["holds"]]] for t in verdicts]
    return _section("Targets", "", ["target", "measured", "met"], rows)


def _methods_section(rows: list[dict]) -> list[str]:
    rounds = sorted({row["rounds"] for row in rows})
    text = (
        f"The limit for ours / bare is {LIMIT:.2f}; in brackets the quartiles over "
        f"{' to '.join(map(str, rounds[:: max(1, len(rounds) - 1)]))} rounds. Memory is the peak above the "
        "level before the call, of the GPU's memory or of the whole process."
    )
    head = ["method", "network", "images × passes", "batch_size", "ours, s", "ours / bare", "by wall clock"]
    head += ["peers, each / ours", "MiB: ours", "bare", "peers"]
    return _section("Methods", text, head, [_method_cells(row) for row in rows])


def _passes_section(rows: list[dict]) -> list[str]:
    head = ["method", "passes", "ours / bare", "ours, MiB", "fastest peer", "peer / ours", "peer, MiB"]
    cells = [
        [
            f"`{r['method']}`",
            r["passes"],
            f"{r['ours_over_bare']:.2f}",
            _mib(r["ours_mib"]),
            r["peer"] or "none installed",
            f"{r['peer_over_ours']:.2f}" if r["peer"] else "–",
            _mib(r["peer_mib"]),
        ]
        for r in rows
    ]
    text = "small_gap, 112², batch_size 32. Memory is that of live tensors."
    return _section("Growth with the number of passes", text, head, cells)


def _memory_section(rows: list[dict]) -> list[str]:
    text = (
        "One image of 112², batch_size 32; small_gap (Score-CAM: efficientnet_lite0). The limit of growth is "
        f"{MEMORY_LIMIT:.2f}."
    )
    cells = [
        [
            f"`{r['method']}`",
            ", ".join(map(str, r["passes"])),
            ", ".join(f"{v:.2f}" for v in r["mib"]),
            f"{r['growth']:.3f}",
        ]
        for r in rows
    ]
    return _section("Memory of live tensors", text, ["method", "passes", "MiB", "growth"], cells)


def _size_section(rows: list[dict]) -> list[str]:
    cells = [
        [f"`{r['method']}`", f"{r['size']}²", f"{r['ours_over_bare']:.2f}", _mib(r["ours_mib"])] for r in rows
    ]
    text = "efficientnet_lite0, 34 passes (occlusion: its windows), batch_size 8."
    head = ["method", "image", "ours / bare", "ours, MiB"]
    return _section("Growth with the size of the image", text, head, cells)


def _classes_section(rows: list[dict]) -> list[str]:
    cells = [
        [f"`{r['method']}`", r["classes"], f"{r['over_one_class']:.2f}", _mib(r["ours_mib"])] for r in rows
    ]
    text = "efficientnet_lite0, 224², 64 passes, batch_size 16: the same passes serve all classes."
    head = ["method", "classes", "time over that for one class", "ours, MiB"]
    return _section("Growth with the number of classes", text, head, cells)


def _rise_section(curve: dict) -> list[str]:
    text = (
        f"{curve['setting']}; relative error of the map against {curve['reference_masks']} balanced masks, "
        f"root mean square over {curve['seeds']} seeds."
    )
    cells = [
        [name, *(f"{e:.2f}" for e in errors), f"{curve['same_error_passes'][name]:.1f} ×"]
        for name, errors in curve["errors"].items()
    ]
    head = ["estimator", *(f"{n} passes" for n in curve["passes"]), "passes for the same error"]
    return _section("RISE: error against passes", text, head, cells)


def _equal_error_section(rows: list[dict]) -> list[str]:
    text = (
        "Error: root mean square over cases (seeds, images). In brackets the quartiles over resampled cases; "
        "× is how many times the passes of the row's first estimator this one needs for the same error."
    )
    head = ["method", "setting", "estimator", "error after passes", "passes for the same error"]
    return _section(
        "Passes for equal error", text, head, [cells for row in rows for cells in _error_cells(row)]
    )


def _influence_section(results: dict) -> list[str]:
    text = (
        "The last layer of small_gap, 8 classes, 520 weights; `attribution.py` says what each runner is. "
        "Rank: Spearman's correlation with xai_lib's scores, exact or TracIn, mean over the queries. Memory "
        "is that of live tensors."
    )
    head = ["setting", "images × queries", "runner", "s", "time / ours", "rank", "MiB"]
    rows = [
        [r["setting"], f"{r['images']} × {r['queries']}", r["runner"], *_influence_cells(r)]
        for r in results["rows"]
    ]
    lines = _section("Influence", text, head, rows)
    head = ["setting", "images × queries", "s, wall clock", "bare passes", "MiB beside the scores", "growth"]
    rows = [
        [
            r["setting"],
            f"{r['images']} × {r['queries']}",
            f"{r['wall_seconds']:.1f}",
            f"{r['bare_wall_seconds']:.1f}",
            f"{r['counts'][0]}: {r['mib_beside_the_scores'][0]:.1f}, {r['counts'][1]}: "
            f"{r['mib_beside_the_scores'][1]:.1f}",
            f"{r['growth']:.3f}",
        ]
        for r in results["many"]
    ]
    return [*lines, "", *_table(head, rows)]


def _influence_cells(row: dict) -> list[str]:
    if "not_installed" in row:
        return [f"not installed ({row['not_installed']})", "–", "–", "–"]
    rank = "–" if row["rank"] is None else f"{row['rank']:.4f}"
    if row["rank_with_exact"] is not None:
        rank += f" ({row['rank_with_exact']:.2f} with exact)"
    return [
        f"{row['seconds']:.3g}",
        f"{row['over_ours']:.2f}",
        rank,
        "–" if row["mib"] is None else f"{row['mib']:.1f}",
    ]


def _section(title: str, text: str, head: list[str], rows: list[list]) -> list[str]:
    return ["", f"## {title}", "", *([text, ""] if text else []), *_table(head, rows)]


def _error_cells(row: dict) -> list[list[str]]:
    """One line for each estimator of a row of ``equal_error.py``."""
    lines = []
    for name, curve in row["estimators"].items():
        head = [f"`{row['method']}`", row["setting"], name]
        if "not_installed" in curve:
            lines.append([*head, f"not installed ({curve['not_installed']})", "–"])
            continue
        errors = ", ".join(f"{n}: {e:.3g}" for n, e in zip(row["passes"], curve["errors"], strict=True))
        if row["level"] is not None:
            errors += f"; {row['level']} after {curve['passes_at_level']:.0f}"
        factor = "1"
        if "factor" in curve:
            low, high = curve["quartiles"]
            factor = f"{curve['factor']:.2f} × ({low:.2f}–{high:.2f})"
            factor += ", extrapolated" if curve["extrapolated"] else ""
        lines.append([*head, errors, factor])
    return lines


def _method_cells(row: dict) -> list[str]:
    low, high = row["ours_over_bare_quartiles"]
    peers = [f"{name} {peer['over_ours']:.2f}" for name, peer in row["peers"].items()]
    peers += [f"{name} not installed ({what})" for name, what in row.get("not_installed", {}).items()]
    return [
        f"`{row['method']}`",
        row["network"],
        f"{row['images']} × {row['passes']}",
        row["batch_size"],
        f"{row['seconds']['ours']:.3g}",
        f"{row['ours_over_bare']:.2f} ({low:.2f}–{high:.2f})",
        f"{row['ours_over_bare_wall']:.2f}",
        "; ".join(peers) or "–",
        _mib(row["peak_mib"]["ours"]),
        _mib(row["peak_mib"]["bare"]),
        "; ".join(_mib(row["peak_mib"][name]) for name in row["peers"]) or "–",
    ]


def _table(head: list[str], rows: list[list]) -> list[str]:
    return ["| " + " | ".join(map(str, cells)) + " |" for cells in (head, ["---"] * len(head), *rows)]


def _mib(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def measure_methods(device: torch.device, names: list[str], rounds: int, quick: bool) -> list[dict]:
    """The rows of the methods' table."""
    cuda, rows = device.type == "cuda", []
    for name in names:
        for batch_size in (1, 8) if quick else (1, 16, 64) if cuda else (1, 4, 16):
            points = 34 if quick or not cuda else 50
            if name in ("smooth_grad", "integrated_gradients") and not cuda:
                points = 16  # they go back as well
            images = min(batch_size, 8) if cuda and not quick else 1
            row = measure(name, Setup(device, batch_size, points, images), rounds)
            rows.append(row)
            peers = "".join(f", {peer} / ours {v['over_ours']:.2f}" for peer, v in row["peers"].items())
            peers += "".join(f", {peer} not installed" for peer in row["not_installed"])
            say(f"{name}, batch_size {batch_size}: ours / bare {row['ours_over_bare']:.3f}{peers}")
    return rows


def measure_parts(device: torch.device, names: list[str], rounds: int, quick: bool) -> dict:
    """The other tables, as they stand in the results."""
    few = min(rounds, 3)
    growths = {
        "passes": lambda: growth_with_passes(device, few, (64, 128) if quick else (64, 256, 1024)),
        "size": lambda: growth_with_size(device, few, (112, 224) if quick else (112, 224, 448)),
        "classes": lambda: growth_with_classes(device, rounds, (1, 10) if quick else (1, 10, 100)),
    }
    others = {
        "memory": lambda: memory_growth(device, *([(64, 128)] if quick else [])),
        "convergence": lambda: rise_errors(device, quick, say),
        "equal_error": lambda: equal_error(device, quick, say),
        "influence": lambda: attribution(device, quick, few, say),
    }
    measured = {"growth": {}}
    for name in names:
        start = time.monotonic()
        if name in growths:
            measured["growth"][name] = growths[name]()
        else:
            measured[name] = others[name]()
        say(f"{name}: {time.monotonic() - start:.0f} s")
    return measured


def say(text: str) -> None:
    print(text, flush=True)


def merged(stored: dict, measured: dict) -> dict:
    """Stored results with what was measured anew in its place.

    Bytes and errors do not depend on the processor: without times, only the versions must be the same.
    """
    timed = measured["rows"] or measured["growth"] or "influence" in measured
    facts = {k: v for k, v in measured["machine"].items() if timed or k not in ("processor", "threads")}
    other = {
        k: f"{stored['machine'].get(k)}, here {v}" for k, v in facts.items() if stored["machine"].get(k) != v
    }
    if other:
        raise SystemExit(
            f"nothing written: the results that are there were made with {other}; choose another folder"
        )
    again = {row["method"] for row in measured["rows"]}
    rows = [row for row in stored.get("rows", []) if row["method"] not in again] + measured["rows"]
    rows.sort(key=lambda row: list(METHODS).index(row["method"]))  # stable: batch sizes stay in order
    growth = {**stored.get("growth", {}), **measured["growth"]}
    return {**stored, **measured, "machine": stored["machine"], "rows": rows, "growth": growth}


def missing(results: dict) -> list[str]:
    """Methods and parts that have not been measured yet."""
    there = {row["method"] for row in results["rows"]} | set(results["growth"]) | set(results)
    return [name for name in (*METHODS, *PARTS) if name not in there]


def write(results: dict, folder: Path, device: torch.device, only: bool) -> None:
    """Judge the results, print the verdict, and store the numbers and their tables."""
    path = folder / f"{device.type}.json"
    if only and path.exists():
        results = merged(json.loads(path.read_text(encoding="utf-8")), results)
    folder.mkdir(parents=True, exist_ok=True)
    if missing(results):
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        say(f"written: {path}; still missing: {', '.join(missing(results))}")
        return
    results["targets"] = targets(results)
    for target in results["targets"]:
        verdict = {True: "met   ", False: "MISSED", None: "?     "}[target["holds"]]
        say(f"{verdict} {target['promise']}: {target['measured']}")
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(results), encoding="utf-8")
    say(f"written: {path} and .md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--quick", action="store_true", help="few passes, few rounds; writes only where --output says"
    )
    parser.add_argument("--output", type=Path, help="folder for the results, benchmarks/results by default")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="PART",
        choices=[*METHODS, *PARTS],
        help=f"methods ({', '.join(METHODS)}) or tables ({', '.join(PARTS)})",
    )
    parser.add_argument("--rounds", type=int, help="how often each is timed")
    options = parser.parse_args()

    keep_pages()
    device, only = torch.device(options.device), options.only or [*METHODS, *PARTS]
    rounds = options.rounds or (3 if options.quick else 15 if device.type == "cuda" else 5)
    start = time.monotonic()
    rows = measure_methods(device, [name for name in METHODS if name in only], rounds, options.quick)
    parts = measure_parts(device, [name for name in PARTS if name in only], rounds, options.quick)
    results = {"machine": machine(device), "targets": [], "rows": rows, **parts}
    say(f"{time.monotonic() - start:.0f} s in all")
    folder = options.output or (None if options.quick or options.only else RESULTS)
    if folder:
        write(results, folder, device, bool(options.only))


if __name__ == "__main__":
    main()
