"""How much a method costs beyond the passes it needs, and beside its peers.

    python benchmarks/run.py [--device cpu|cuda] [--quick] [--only NAME] [--rounds N]

For every method and batch size, ours, the *bare passes* and the peers (``contests.py`` says what each is) are
timed in turn, round after round, so that a busy machine disturbs all of them alike. Reported are the medians
over the rounds, of the times and of the ratios within a round. The limit for ours / bare is 1.10.

On a GPU the ratios are of wall-clock times. On a CPU they are of the processor time that the process used,
which other programs on the machine disturb less; the ratio by the wall clock is reported beside it.

Then: how time and memory grow with the number of passes, the size of the image, and the number of classes;
    and how
many passes RISE needs for the same error (``convergence.py``). Everything goes to
``benchmarks/results/<device>.json`` and ``.md``; the book's page "How fast, and why" is made from the former.
"""

import argparse
import contextlib
import ctypes
import gc
import io
import json
import platform
import statistics
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from contests import LIME_DEFAULT, METHODS, Call, Setup, real_model, squares
from convergence import rise_errors
from torch.utils import benchmark

from xai_lib import lime, rise

LIMIT = 1.10
RESULTS = Path(__file__).parent / "results"


# --------------------------------------------------------------------------------------------- measuring


def seconds(call: Call) -> tuple[float, float]:
    """One run's wall-clock time (that clock waits for the GPU) and processor time."""
    with _quiet():
        start, used = benchmark.timer(), time.process_time()
        call()
        return benchmark.timer() - start, time.process_time() - used


@contextlib.contextmanager
def _quiet():
    """Without the progress bars that some peers cannot turn off, and without their warnings."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def peak_memory(call: Call, device: torch.device) -> float | None:
    """Mebibytes above the level before the call: of the GPU's memory, or of this process's (Linux only)."""
    gc.collect()
    with _quiet():
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


def measure(name: str, setup: Setup, rounds: int, peers: bool = True) -> dict:
    """One row of the table."""
    contest = METHODS[name](setup)
    runners = {"ours": contest.ours, "bare": contest.bare, **(contest.peers if peers else {})}
    memory = {key: peak_memory(call, setup.device) for key, call in runners.items()}  # warms up, too
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
        "rounds": rounds,
        "wall_seconds": {key: statistics.median(values) for key, values in walls.items()},
        "seconds": {key: statistics.median(values) for key, values in times.items()},
        "ours_over_bare": ratio(times["ours"], times["bare"]),
        "ours_over_bare_wall": ratio(walls["ours"], walls["bare"]),
        "ours_over_bare_quartiles": _quartiles(times["ours"], times["bare"]),
        "peers": others,
        "fastest_peer": min(others, key=lambda key: others[key]["over_ours"], default=None),
        "peak_mib": memory,
    }


def interleaved(
    runners: dict[str, Call], rounds: int, device: torch.device
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall-clock times, and the times that ratios are made of, of every runner in every round."""
    walls, times = ({key: [] for key in runners} for _ in range(2))
    for turn in range(rounds):
        for key in list(runners) if turn % 2 else reversed(runners):
            wall, used = seconds(runners[key])
            walls[key].append(wall)
            times[key].append(wall if device.type == "cuda" else used)
    return walls, times


def ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _quartiles(one: list[float], other: list[float]) -> list[float]:
    quarters = statistics.quantiles([a / b for a, b in zip(one, other, strict=True)], n=4, method="inclusive")
    return [quarters[0], quarters[2]]


# ----------------------------------------------------------------------------------------------- growth


def growth_with_passes(device: torch.device, rounds: int, counts: tuple[int, ...]) -> list[dict]:
    """The same method with more and more passes, on the small network: time over bare passes, and memory."""
    rows = []
    for name in ("smooth_grad", "integrated_gradients", "lime", "shapley", "rise"):
        for count in counts:
            row = measure(name, Setup(device, 32, count, 1, "small_gap", 112), rounds)
            peer = row["fastest_peer"]
            rows.append(
                {
                    "method": name,
                    "passes": count,
                    "ours_over_bare": row["ours_over_bare"],
                    "ours_mib": row["peak_mib"]["ours"],
                    "peer": peer,
                    "peer_over_ours": row["peers"][peer]["over_ours"],
                    "peer_mib": row["peak_mib"][peer],
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


def targets(rows: list[dict], growth: dict, convergence: dict) -> list[dict]:
    """What was promised, what was measured, and whether the promise holds."""

    def target(promise: str, measured: str, holds: bool) -> dict:
        return {"promise": promise, "measured": measured, "holds": holds}

    def best(key: str) -> float:
        """The least time over the batch sizes, of those LIME rows in which that runner took part."""
        return min(row["seconds"][key] for row in rows if row["method"] == "lime" and key in row["seconds"])

    worst = max(rows, key=lambda row: row["ours_over_bare"])
    slowest = min(
        (row for row in rows if row["fastest_peer"]), key=lambda r: r["peers"][r["fastest_peer"]]["over_ours"]
    )
    lag = slowest["peers"][slowest["fastest_peer"]]["over_ours"]
    captum = [key for row in rows if row["method"] == "lime" for key in row["seconds"] if "captum" in key]
    default, batched = best(LIME_DEFAULT) / best("ours"), min(map(best, captum)) / best("ours")
    paper = convergence["same_error_passes"]["the paper's"]
    memory = {
        name: [row["ours_mib"] for row in growth["passes"] if row["method"] == name]
        for name in dict.fromkeys(row["method"] for row in growth["passes"])
    }
    known = {name: v for name, v in memory.items() if None not in v}
    factors = {name: v[-1] / v[0] for name, v in known.items()}
    most = max(factors, key=factors.get, default=None)
    more_passes = growth["passes"][-1]["passes"] / growth["passes"][0]["passes"]
    return [
        target(
            f"ours / bare ≤ {LIMIT:.2f}, every method",
            f"at most {worst['ours_over_bare']:.2f} ({worst['method']}, batch size {worst['batch_size']})",
            worst["ours_over_bare"] <= LIMIT,
        ),
        target(
            "never slower than the fastest peer",
            f"at least {lag:.2f} of our time ({slowest['method']}, batch size {slowest['batch_size']})",
            lag >= 1,
        ),
        target("LIME at least 2 × as fast as Captum's default", f"{default:.2f} ×", default >= 2),
        target("LIME at least 1.2 × as fast as Captum's best batch size", f"{batched:.2f} ×", batched >= 1.2),
        target(
            "RISE: at least 4 × fewer passes than the paper's estimator at equal error",
            f"{paper:.1f} ×",
            paper >= 4,
        ),
        target(
            "peak memory independent of the number of passes",
            "not measured"
            if most is None
            else f"at most {factors[most]:.2f} × the memory for {more_passes:.0f} × the passes ({most})",
            most is not None and factors[most] <= 1.25,  # a process's memory is not measured more exactly
        ),
    ]


# --------------------------------------------------------------------------------------------- reporting


def machine(device: torch.device) -> dict:
    names = [line for line in _cpuinfo() if line.startswith("model name")]
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "processor": names[0].split(":")[1].strip() if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "captum", "torchcam", "grad-cam", "lime")},
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def markdown(results: dict) -> str:
    """The tables that people read."""
    facts, rows, growth = results["machine"], results["rows"], results["growth"]
    curve = results["convergence"]
    lines = [
        f"# Benchmarks, {facts['device']}",
        "",
        "Made by `python benchmarks/run.py`, which says what is measured. "
        + ", ".join(f"{key} {value}" for key, value in facts.items() if key != "device")
        + ".",
        "",
        "## Targets",
        "",
        *_table(
            ["target", "measured", "met"],
            [[t["promise"], t["measured"], "yes" if t["holds"] else "**no**"] for t in results["targets"]],
        ),
        "",
        "## Methods",
        "",
        f"The limit for ours / bare is {LIMIT:.2f}; in brackets the quartiles over {rows[0]['rounds']} "
        "rounds. Memory is the peak above the level before the call.",
        "",
        *_table(
            ["method", "network", "images × passes", "batch_size", "ours, s", "ours / bare", "by wall clock"]
            + ["peers, each / ours", "MiB: ours", "bare", "peers"],
            [_method_cells(row) for row in rows],
        ),
        "",
        "## Growth with the number of passes",
        "",
        "small_gap, 112², batch_size 32.",
        "",
        *_table(
            ["method", "passes", "ours / bare", "ours, MiB", "fastest peer", "peer / ours", "peer, MiB"],
            [
                [
                    f"`{r['method']}`",
                    r["passes"],
                    f"{r['ours_over_bare']:.2f}",
                    _mib(r["ours_mib"]),
                    r["peer"],
                ]
                + [f"{r['peer_over_ours']:.2f}", _mib(r["peer_mib"])]
                for r in growth["passes"]
            ],
        ),
        "",
        "## Growth with the size of the image",
        "",
        "efficientnet_lite0, 34 passes (occlusion: its windows), batch_size 8.",
        "",
        *_table(
            ["method", "image", "ours / bare", "ours, MiB"],
            [
                [f"`{r['method']}`", f"{r['size']}²", f"{r['ours_over_bare']:.2f}", _mib(r["ours_mib"])]
                for r in growth["size"]
            ],
        ),
        "",
        "## Growth with the number of classes",
        "",
        "efficientnet_lite0, 224², 64 passes, batch_size 16: the same passes serve all classes.",
        "",
        *_table(
            ["method", "classes", "time over that for one class", "ours, MiB"],
            [
                [f"`{r['method']}`", r["classes"], f"{r['over_one_class']:.2f}", _mib(r["ours_mib"])]
                for r in growth["classes"]
            ],
        ),
        "",
        "## RISE: error against passes",
        "",
        f"{curve['setting']}; relative error of the map against {curve['reference_masks']}"
        f" balanced masks, root mean square over {curve['seeds']} seeds.",
        "",
        *_table(
            [
                "estimator",
                *(f"{n} passes" for n in curve["passes"]),
                "passes for the same error",
            ],
            [
                [
                    name,
                    *(f"{e:.2f}" for e in errors),
                    f"{curve['same_error_passes'][name]:.1f} ×",
                ]
                for name, errors in curve["errors"].items()
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _method_cells(row: dict) -> list[str]:
    low, high = row["ours_over_bare_quartiles"]
    peers = [f"{name} {peer['over_ours']:.2f}" for name, peer in row["peers"].items()]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--quick", action="store_true", help="few passes, few rounds; writes only where --output says"
    )
    parser.add_argument("--output", type=Path, help="folder for the results, benchmarks/results by default")
    parser.add_argument("--only", choices=METHODS, help="one method; prints, and writes nothing")
    parser.add_argument("--rounds", type=int, help="how often each is timed")
    options = parser.parse_args()

    device = torch.device(options.device)
    cuda, quick = device.type == "cuda", options.quick
    points, images = (34, 1) if quick or not cuda else (50, 8)
    sizes = (1, 8) if quick else (1, 8, 32, 128) if cuda else (1, 4, 16)
    rounds = options.rounds or (3 if quick else 15 if cuda else 5)
    rows = []
    for name in [options.only] if options.only else METHODS:
        for batch_size in sizes:
            gradients = name in ("smooth_grad", "integrated_gradients")  # they go back as well
            row = measure(
                name, Setup(device, batch_size, 16 if gradients and not cuda else points, images), rounds
            )
            rows.append(row)
            peers = "".join(f", {peer} / ours {v['over_ours']:.2f}" for peer, v in row["peers"].items())
            print(
                f"{name}, batch_size {batch_size}: ours / bare {row['ours_over_bare']:.3f}{peers}", flush=True
            )
    if options.only:
        return
    growth = {
        "passes": growth_with_passes(device, min(rounds, 3), (64, 128) if quick else (64, 256, 1024)),
        "size": growth_with_size(device, min(rounds, 3), (112, 224) if quick else (112, 224, 448)),
        "classes": growth_with_classes(device, rounds, (1, 10) if quick else (1, 10, 100)),
    }
    convergence = rise_errors(device, quick)
    results = {
        "machine": machine(device),
        "targets": targets(rows, growth, convergence),
        "rows": rows,
        "growth": growth,
        "convergence": convergence,
    }
    for target in results["targets"]:
        print(f"{'met   ' if target['holds'] else 'MISSED'} {target['promise']}: {target['measured']}")
    folder = options.output or (None if quick else RESULTS)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{device.type}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (folder / f"{device.type}.md").write_text(markdown(results), encoding="utf-8")
        print(f"written: {folder / device.type}.md and .json")


if __name__ == "__main__":
    main()
