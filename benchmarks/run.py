"""How much a method costs beyond the passes it needs, and beside its peers.

    python benchmarks/run.py [--device cpu|cuda] [--quick] [--only NAME]

For every method and batch size three things are timed in turn, round after round, so that a busy machine
disturbs all three alike: ours; the *bare passes*, a loop that only runs the network forward and backward as
often as the method needs, on inputs made beforehand, with frozen parameters; and the peer. Reported are the
medians over the rounds, of the times and of the ratios within a round. The limit for ours / bare is 1.10.

On a GPU the ratios are of wall-clock times. On a CPU they are of the processor time that the process used,
which other programs on the machine disturb less; the ratio by the wall clock is reported beside it.

Results go to ``benchmarks/results/<device>.json`` and ``.md``. A new method is one function in ``METHODS``.
"""

import argparse
import ctypes
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
import torchcam.methods
from captum.attr import GuidedBackprop, IntegratedGradients, LayerGradCam, NoiseTunnel, Saliency
from torch import Tensor, nn
from torch.utils import benchmark

from xai_lib import grad_cam, guided_backprop, integrated_gradients, load_model, score_cam, smooth_grad
from xai_lib.models import build_small

LIMIT = 1.10
RESULTS = Path(__file__).parent / "results"


class Contest(NamedTuple):
    """Three ways to spend the same passes; ``peer`` may be None."""

    ours: Callable[[], object]
    bare: Callable[[], object]
    peer: Callable[[], object] | None
    peer_name: str
    setting: str


class Setup(NamedTuple):
    """What a method's contest is built from."""

    device: torch.device
    batch_size: int
    points: int  # passes of one image
    images: int


# --------------------------------------------------------------------------------------------- the methods


def contest_smooth_grad(setup: Setup) -> Contest:
    model, x, target = real_model(setup)

    def ours():
        return smooth_grad(model, x, target, n_samples=setup.points, batch_size=setup.batch_size)

    def peer():
        each = max(1, setup.batch_size // setup.images)  # Captum counts samples of the whole batch
        return NoiseTunnel(Saliency(model)).attribute(
            x,
            nt_samples=setup.points,
            nt_samples_batch_size=each,
            stdevs=0.15,
            target=target,
            abs=False,
        )

    return Contest(
        ours, bare_passes(model, x, target, setup), peer, "captum NoiseTunnel", describe(model, setup)
    )


def contest_integrated_gradients(setup: Setup) -> Contest:
    model, x, target = real_model(setup)

    def ours():
        return integrated_gradients(model, x, target, n_steps=setup.points, batch_size=setup.batch_size)

    def peer():
        return IntegratedGradients(model).attribute(
            x,
            n_steps=setup.points,
            internal_batch_size=max(setup.batch_size, setup.images),
            target=target,
            method="gausslegendre",
        )

    return Contest(
        ours, bare_passes(model, x, target, setup), peer, "captum IntegratedGradients", describe(model, setup)
    )


def contest_guided_backprop(setup: Setup) -> Contest:
    """One pass over ``batch_size`` images of a small VGG: Captum's hooks know plain ReLU modules only."""
    torch.manual_seed(0)
    model = build_small("small_vgg").eval().to(setup.device, memory_format=torch.channels_last)
    setup = setup._replace(points=1, images=setup.batch_size)
    x = torch.rand(setup.images, 3, 112, 112, device=setup.device)
    target = torch.arange(setup.images, device=setup.device) % 8
    captum = GuidedBackprop(model)
    return Contest(
        lambda: guided_backprop(model, x, target),
        bare_passes(model, x, target, setup),
        lambda: captum.attribute(x, target),
        "captum GuidedBackprop",
        describe(model, setup),
    )


def contest_grad_cam(setup: Setup) -> Contest:
    """One pass over ``batch_size`` images; the bare pass goes all the way back to the pixels."""
    setup = setup._replace(points=1, images=setup.batch_size)
    model, x, target = real_model(setup)
    captum = LayerGradCam(model, model.get_submodule(model.cam_layer))
    return Contest(
        lambda: grad_cam(model, x, target, layer=model.cam_layer),
        bare_passes(model, x, target, setup),
        lambda: captum.attribute(x, target),
        "captum LayerGradCam",
        describe(model, setup),
    )


def contest_score_cam(setup: Setup) -> Contest:
    """Forward passes only: one for the image, one for each map that is a mask.

    On a GPU the last layer's 1280 maps, on a CPU the first layer's 32: a pass costs the same.
    """
    model, x, target = real_model(setup._replace(images=1))
    layer = model.cam_layer if setup.device.type == "cuda" else "features.stem"
    with torch.no_grad():
        whole = layer == model.cam_layer
        maps = (model.features if whole else model.features.stem)(model.normalize(x))
    live = int((maps.amax((2, 3)) > maps.amin((2, 3))).sum())
    setup = setup._replace(points=live, images=1)
    pool = torch.rand(min(setup.batch_size, live), *x.shape[1:], device=setup.device)

    def ours():
        return score_cam(
            model, x, target, layer=layer, weights="channels", upsample=False, batch_size=setup.batch_size
        )

    @torch.no_grad()
    def bare():
        model(x)
        for start in range(0, live, setup.batch_size):
            model(pool[: live - start])

    def peer():
        with torchcam.methods.ScoreCAM(model, layer, batch_size=setup.batch_size) as extractor:
            with torch.no_grad():
                model(x)
                return extractor(target.tolist(), normalized=False)

    return Contest(ours, bare, peer, "torchcam ScoreCAM", describe(model, setup))


METHODS: dict[str, Callable[[Setup], Contest]] = {
    "smooth_grad": contest_smooth_grad,
    "integrated_gradients": contest_integrated_gradients,
    "guided_backprop": contest_guided_backprop,
    "grad_cam": contest_grad_cam,
    "score_cam": contest_score_cam,
}


# ---------------------------------------------------------------------------------- what they are built from


def real_model(setup: Setup) -> tuple[nn.Module, Tensor, Tensor]:
    """The course's ImageNet classifier, images and targets."""
    torch.manual_seed(0)
    model = load_model("efficientnet_lite0", device=setup.device)
    x = torch.rand(setup.images, 3, 224, 224, device=setup.device)
    return model, x, torch.arange(setup.images, device=setup.device)


def describe(model: nn.Module, setup: Setup) -> str:
    name = (
        "efficientnet_lite0, 224²" if sum(p.numel() for p in model.parameters()) > 1e6 else "small_vgg, 112²"
    )
    return f"{name}, {setup.images} × {setup.points}"


def bare_passes(model: nn.Module, x: Tensor, target: Tensor, setup: Setup) -> Callable[[], None]:
    """The forward and backward passes alone: ``images × points`` inputs, ``batch_size`` at a time."""
    total = setup.images * setup.points
    sizes = [min(setup.batch_size, total - k) for k in range(0, total, setup.batch_size)]
    pool = torch.rand(max(sizes), *x.shape[1:], device=x.device)
    labels = target[torch.arange(max(sizes), device=x.device) % len(target), None]

    def run() -> None:
        flags = [p.requires_grad for p in model.parameters()]
        model.requires_grad_(False)
        for size in sizes:
            leaf = pool[:size].detach().requires_grad_()
            torch.autograd.grad(model(leaf).gather(1, labels[:size]).sum(), leaf)
        for p, flag in zip(model.parameters(), flags, strict=True):
            p.requires_grad_(flag)

    return run


# --------------------------------------------------------------------------------------------- measuring


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """One run's wall-clock time (that clock waits for the GPU) and processor time."""
    start, used = benchmark.timer(), time.process_time()
    call()
    return benchmark.timer() - start, time.process_time() - used


def peak_memory(call: Callable[[], object], device: torch.device) -> float | None:
    """Mebibytes above the level before the call: of the GPU's memory, or of this process's (Linux only)."""
    gc.collect()
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


def measure(name: str, setup: Setup, rounds: int) -> dict:
    """One row of the table."""
    contest = METHODS[name](setup)
    runners = {"ours": contest.ours, "bare": contest.bare, "peer": contest.peer}
    runners = {key: call for key, call in runners.items() if call is not None}
    memory = {key: peak_memory(call, setup.device) for key, call in runners.items()}  # warms up, too
    walls, times = ({key: [] for key in runners} for _ in range(2))
    for turn in range(rounds):
        order = list(runners) if turn % 2 else list(reversed(runners))
        for key in order:
            wall, used = seconds(runners[key])
            walls[key].append(wall)
            times[key].append(wall if setup.device.type == "cuda" else used)
    row = {
        "method": name,
        "setting": contest.setting,
        "batch_size": setup.batch_size,
        "rounds": rounds,
        "peer": contest.peer_name,
        "wall_seconds": {key: statistics.median(values) for key, values in walls.items()},
        "seconds": {key: statistics.median(values) for key, values in times.items()},
        "ours_over_bare_wall": _ratio(walls["ours"], walls["bare"]),
        "ours_over_bare": _ratio(times["ours"], times["bare"]),
        "ours_over_bare_quartiles": _quartiles(times["ours"], times["bare"]),
        "peak_mib": memory,
    }
    if "peer" in times:
        row["peer_over_ours"] = _ratio(times["peer"], times["ours"])
    return row


def _ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def _quartiles(one: list[float], other: list[float]) -> list[float]:
    quarters = statistics.quantiles([a / b for a, b in zip(one, other, strict=True)], n=4, method="inclusive")
    return [quarters[0], quarters[2]]


# --------------------------------------------------------------------------------------------- reporting


def machine(device: torch.device) -> dict:
    names = [line for line in _cpuinfo() if line.startswith("model name")]
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "processor": names[0].split(":")[1].strip() if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "captum": version("captum"),
        "torchcam": version("torchcam"),
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def markdown(facts: dict, rows: list[dict]) -> str:
    """The table that people read."""
    lines = [
        f"# Benchmarks, {facts['device']}",
        "",
        "Made by `python benchmarks/run.py`, which says what is measured. "
        + ", ".join(f"{key} {value}" for key, value in facts.items() if key != "device")
        + ".",
        "",
        f"The limit for ours / bare is {LIMIT:.2f}; in brackets the quartiles over {rows[0]['rounds']} "
        "rounds. Memory is the peak above the level before the call.",
        "",
        "| method | setting (images × passes) | batch_size | ours, s | ours / bare | by wall clock "
        "| peer | peer / ours | ours, MiB | bare, MiB | peer, MiB |",
        "|---|---|---:|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        low, high = row["ours_over_bare_quartiles"]
        cells = [
            f"`{row['method']}`",
            row["setting"],
            str(row["batch_size"]),
            f"{row['seconds']['ours']:.3g}",
            f"{row['ours_over_bare']:.2f} ({low:.2f}–{high:.2f})",
            f"{row['ours_over_bare_wall']:.2f}",
            row["peer"],
            f"{row['peer_over_ours']:.2f}" if "peer_over_ours" in row else "–",
            *(_mebibytes(row["peak_mib"].get(key)) for key in ("ours", "bare", "peer")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _mebibytes(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--quick", action="store_true", help="few passes, few rounds; prints, and writes nothing"
    )
    parser.add_argument("--only", choices=METHODS, help="one method; prints, and writes nothing")
    parser.add_argument("--rounds", type=int, help="how often each is timed")
    options = parser.parse_args()

    device = torch.device(options.device)
    cuda = device.type == "cuda"
    points, images = (8, 1) if options.quick else (50, 8) if cuda else (16, 1)
    sizes = (1, 8) if options.quick else (1, 8, 32, 128) if cuda else (1, 4, 16)
    rounds = options.rounds or (3 if options.quick else 15 if cuda else 7)
    facts, rows = machine(device), []
    for name in [options.only] if options.only else METHODS:
        for batch_size in sizes:
            row = measure(name, Setup(device, batch_size, points, images), rounds)
            rows.append(row)
            peer = f", peer / ours {row['peer_over_ours']:.2f}" if "peer_over_ours" in row else ""
            print(
                f"{name}, batch_size {batch_size}: ours / bare {row['ours_over_bare']:.3f}{peer}", flush=True
            )
    if not options.quick and not options.only:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{device.type}.json").write_text(
            json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n"
        )
        (RESULTS / f"{device.type}.md").write_text(markdown(facts, rows))
        print(f"written: {RESULTS / device.type}.md and .json")


if __name__ == "__main__":
    main()
