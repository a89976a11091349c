"""What explaining a whole data set costs beyond the explaining, and what a large one would cost.

    python benchmarks/cluster.py [--images N] [--rounds N] [--no-ray] [--only PART] [--output FILE]
    python benchmarks/cluster.py --plan [--forward MS] [--gradient MS] [--gpus N] [--images N]

Measured on this machine, and stored in ``benchmarks/results/cluster/cpu.json`` (``--output``), from which the
book's page "Beyond one machine" is made:

- **overhead**: ``explain_dataset`` against the bare loop (one pass for the class, then the explainer, nothing
  written); in this process, and with one worker of Ray. The explainer notes when it begins and ends; so from
  one beginning to the next, the explainer's own time and all the rest were taken in the same process at the
  same moment, and a busy machine disturbs both alike. What Ray's start costs, once, is told apart.
- **the cost model**: images × passes × time of a pass, plus reading, packing and writing. Its parts are
  measured one by one, by the processor's clock, and what they predict is compared with whole runs, round by
  round.
- **what float16 and a coarser grid lose**: for four photographs and two networks.

``--plan`` prints the plan for ImageNet's size, with the times of a pass that are given; without them, those
of ``benchmarks/results/gpu_methods.md``, measured on another GPU than the plan is for, and says so.
"""

import argparse
import functools
import io
import json
import platform
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import (
    PHOTOS,
    _batches,
    _fingerprints,
    _shards,
    explain_dataset,
    grad_cam,
    gradient,
    integrated_gradients,
    load_model,
    load_photo,
    rise,
    shapes,
    smooth_grad,
)
from xai_lib.cluster import batch_generator
from xai_lib.similarity import rank_correlation

RESULTS = Path(__file__).parent / "results"
BATCH = 16
LIMIT = 1.10
IMAGENET, SIDE, METHODS = 1_280_000, 224, 5  # the plan: images, their side, maps of each
# forward passes and backward-and-forward passes of each image, for each method of the plan
PLAN = {
    "the class": (1, 0),
    "gradient": (0, 1),
    "Grad-CAM": (0, 1),
    "SmoothGrad, 50 samples": (0, 50),
    "integrated gradients, 50 steps": (0, 50),
    "RISE, 4000 masks": (4000, 0),
}


# --------------------------------------------------------------------------------------------- the cost model


def plan(
    images: int,
    *,
    forward: float,
    gradient: float,
    gpus: int = 8,
    read: float = 0.0,
    readers: int = 1,
    write: float = 0.0,
    side: int = SIDE,
    methods: dict[str, tuple[int, int]] = PLAN,
) -> dict[str, float]:
    """Hours of each part, with ``gpus`` at work at once, and the bytes on disk.

    ``forward`` and ``gradient`` are seconds a pass of one image, in a full batch; ``read`` seconds to read
    one image, which goes on beside the passes; ``write`` seconds to pack and write one byte, which does not.
    """
    share = images / gpus / 3600
    hours = {name: share * (f * forward + g * gradient) for name, (f, g) in methods.items()}
    maps = sum(name != "the class" for name in methods)
    size = images * maps * side**2 * 2
    passes = sum(hours.values())
    reading, writing = share * read / readers, size * write / gpus / 3600
    total = max(passes + writing, reading)
    return hours | {"reading": reading, "writing": writing, "total": total, "bytes": size}


def stored_passes() -> tuple[float, float, str]:
    """Seconds of a forward and of a gradient pass in a batch of 64, and on which GPU they were measured."""
    text = (RESULTS / "gpu_methods.md").read_text(encoding="utf-8")
    device = re.match(r"# Benchmarks, (.*): the methods", text)[1]
    found = {}
    for method in ("rise", "smooth_grad"):
        row = re.search(rf"\| `{method}` \| [^|]* \| (\d+) × (\d+) \| 64 \| ([\d.]+) \|", text)
        found[method] = float(row[3]) / (int(row[1]) * int(row[2]))
    return found["rise"], found["smooth_grad"], device


# ----------------------------------------------------------------------------------------------- measuring


class Tree(threading.Thread):
    """Adds up the processor time of this process and of all that it has started, also of those that end."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.used: dict[tuple, float] = {}
        self.halt = threading.Event()

    def run(self) -> None:
        while not self.halt.wait(0.2):
            self.look()

    def look(self) -> None:
        import psutil

        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            with suppress(psutil.Error):
                times = process.cpu_times()
                self.used[process.pid, process.create_time()] = times.user + times.system


@contextmanager
def clocks() -> Iterator[dict[str, float]]:
    """Wall-clock time, and processor time of all processes."""
    tree, taken = Tree(), {}
    tree.look()
    before, start = sum(tree.used.values()), time.perf_counter()
    tree.start()
    yield taken
    taken["wall"] = time.perf_counter() - start
    tree.look()
    tree.halt.set()
    taken["processor"] = sum(tree.used.values()) - before


def explainers(model: nn.Module) -> dict[str, Callable]:
    """What is timed: a method of one pass, and one of many."""
    return {
        "grad_cam": functools.partial(grad_cam, layer=model.cam_layer),
        "rise": functools.partial(rise, n_masks=20, batch_size=BATCH),
    }


def photographs(n: int) -> Tensor:
    """Crops of the four photographs: images of ImageNet's size with real edges."""
    photos = torch.cat([load_photo(name, SIDE + 32) for name in PHOTOS])
    shifts = [(i * 7) % 32 for i in range(n)]
    return torch.stack([photos[i % 4, :, s : s + SIDE, 31 - s : 31 - s + SIDE] for i, s in enumerate(shifts)])


def bare_loop(model: nn.Module, name: str, explain: Callable, x: Tensor) -> None:
    """What one would write by hand: the class, the heatmaps, nothing kept."""
    for batch, part in enumerate(x.split(BATCH)):
        with torch.no_grad():
            target = model(part).argmax(1)
        more = {}
        if _fingerprints.takes_generator(explain):
            more["generator"] = batch_generator(0, name, batch)
        explain(model, part, target, **more)


def dataset(model: nn.Module, name: str, explain: Callable, x: Tensor, resources: dict) -> None:
    with tempfile.TemporaryDirectory() as folder:
        explain_dataset(model, {name: explain}, x, out=folder, batch_size=BATCH, resources=resources)


def noting(explain: Callable, log: str) -> Callable:
    """The explainer, which also notes its process's two clocks when it begins and when it ends."""

    @functools.wraps(explain)
    def noted(*given: object, **more: object) -> Tensor:
        begun = time.process_time(), time.perf_counter()
        maps = explain(*given, **more)
        with open(log, "a") as file:
            print(*begun, time.process_time(), time.perf_counter(), file=file)
        return maps

    return noted


def overhead(model: nn.Module, images: int, rounds: int, ray: bool) -> list[dict]:
    """Of each method: the loop, this process and one worker; medians over the rounds."""
    ways: dict[str, dict | None] = {"loop": None, "in this process": {"workers": 0}}
    if ray:
        ways["one worker of Ray"] = {"workers": 1, "cpus": torch.get_num_threads()}
    x, rows = photographs(images), []
    for name, explain in explainers(model).items():
        taken: dict[str, list[dict]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, resources in ways.items():
                taken[way].append(_run(model, name, explain, x, resources))
                print(name, way, taken[way][-1], flush=True)
        for way, runs in taken.items():
            row: dict = {"method": name, "way": way}
            for key in ("processor", "wall"):
                shares = [one[key] / loop[key] for one, loop in zip(runs, taken["loop"], strict=True)]
                row[f"{key} over the loop"] = statistics.median(shares)
            for key in ("wall, once", "processor, other processes"):
                row[key] = statistics.median(one[key] for one in runs)
            rows.append(row)
    return rows


def _run(
    model: nn.Module, name: str, explain: Callable, x: Tensor, resources: dict | None
) -> dict[str, float]:
    """Time from one beginning of the explainer to the next, over the explainer's own; and what is left."""
    with tempfile.TemporaryDirectory() as folder, clocks() as clock:
        log = f"{folder}/log"
        if resources is None:
            bare_loop(model, name, noting(explain, log), x)
        else:
            dataset(model, name, noting(explain, log), x, resources)
        notes = torch.tensor(
            [[float(v) for v in line.split()] for line in Path(log).read_text().splitlines()]
        )
    notes = notes.double()
    period, own = notes[-1, :2] - notes[0, :2], (notes[:-1, 2:] - notes[:-1, :2]).sum(0)
    each = period / (len(notes) - 1)
    return {
        "processor": float(period[0] / own[0]),
        "wall": float(period[1] / own[1]),
        "wall, once": clock["wall"] - float(each[1]) * len(notes),
        "processor, other processes": clock["processor"] - float(each[0]) * len(notes),
    }


def seconds(call: Callable, repeats: int = 3) -> float:
    """Median processor time of this process, after one run that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def parts(model: nn.Module) -> dict[str, float]:
    """The terms of the cost model on this machine, seconds an image, or a byte."""
    x = photographs(BATCH)
    index = torch.zeros(BATCH, dtype=torch.int64)

    def forward() -> None:
        with torch.no_grad():
            model(x)

    def gradients() -> None:
        pixels = x.clone().requires_grad_()
        torch.autograd.grad(model(pixels).gather(1, index[:, None]).sum(), pixels)

    maps = gradient(model, x, 0).sum(1)
    numbers = list(range(BATCH))
    columns = {"index": numbers, "target": numbers, "top1": numbers, "label": [None] * BATCH}
    columns["image_id"] = [str(i) for i in numbers]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (out / "heatmaps").mkdir()

        def write() -> int:
            packed = {"map": _shards.packed(maps, torch.float16)}
            return _shards.write(out, "run", 0, columns, packed)

        size, wrote = write(), seconds(write)
    model.requires_grad_(False)
    try:
        return {
            "forward": seconds(forward) / BATCH,
            "gradient": seconds(gradients) / BATCH,
            "read a JPEG": _reading(),
            "write a byte": wrote / (maps.numel() * 2),
            "stored over raw": size / (maps.numel() * 2),
        }
    finally:
        model.requires_grad_(True)


def _reading() -> float:
    """Seconds to decode a JPEG of 500 × 375 pixels and to resize it: one image of ImageNet."""
    import numpy as np
    from PIL import Image

    photo = F.interpolate(load_photo("cat", 500), (375, 500), mode="bilinear")[0]
    file = io.BytesIO()
    Image.fromarray((255 * photo.clamp(0, 1)).byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=90)

    def read() -> None:
        for _ in range(10):
            picture = Image.open(io.BytesIO(file.getvalue())).convert("RGB").resize((SIDE, SIDE))
            torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div(255).contiguous()

    return seconds(read) / 10


def predictions(model: nn.Module, images: int, rounds: int) -> tuple[list[dict], dict[str, float]]:
    """Whole runs of the plan's methods, with small budgets, beside what the model says; and its terms."""
    methods = {
        "gradient": (gradient, (1, 1)),
        "Grad-CAM": (functools.partial(grad_cam, layer=model.cam_layer), (1, 1)),
        "SmoothGrad, 8 samples": (functools.partial(smooth_grad, n_samples=8, batch_size=BATCH), (1, 8)),
        "integrated gradients, 8 steps": (
            functools.partial(integrated_gradients, n_steps=8, batch_size=BATCH),
            (1, 8),
        ),
        "RISE, 50 masks": (functools.partial(rise, n_masks=50, batch_size=BATCH), (51, 0)),
    }
    x, terms = photographs(images), []
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, (explain, (forward, gradients)) in methods.items():
            terms.append(parts(model))  # anew: other programs may have become busy meanwhile
            predicted = images * (forward * terms[-1]["forward"] + gradients * terms[-1]["gradient"])
            predicted += images * SIDE**2 * 2 * terms[-1]["write a byte"]
            start = time.process_time()
            dataset(model, "map", explain, x, {"workers": 0})
            taken[name].append((predicted, time.process_time() - start))
            print(name, taken[name][-1], flush=True)
    rows = []
    for name, pairs in taken.items():
        row = {
            "method": name,
            "rounds": len(pairs),
            "measured / predicted": statistics.median(m / p for p, m in pairs),
        }
        row |= {
            k: statistics.median(v)
            for k, v in zip(("predicted", "measured"), zip(*pairs, strict=True), strict=True)
        }
        rows.append(row)
    return rows, {key: statistics.median(t[key] for t in terms) for key in terms[0]}


def losses() -> list[dict]:
    """Rank correlation of each map with itself after float16, and after a grid of k × k cells."""
    lite, small = load_model("efficientnet_lite0"), load_model("small_vgg")
    cases = {
        "efficientnet_lite0, 4 photographs": (lite, torch.cat([load_photo(n) for n in PHOTOS])),
        "small_vgg, 8 scenes": (small, shapes(8, seed=5).images),
    }
    rows = []
    for case, (model, x) in cases.items():
        for name, explain in {
            "Grad-CAM": functools.partial(grad_cam, layer=model.cam_layer),
            "RISE, 400 masks": functools.partial(rise, n_masks=400, batch_size=BATCH),
            "SmoothGrad, 20 samples": functools.partial(smooth_grad, n_samples=20, batch_size=BATCH),
            "gradient": gradient,
        }.items():
            with torch.no_grad():
                target = model(x).argmax(1)
            found = _batches.explain_with(explain, model, x, target, 0)
            maps = _batches.check_maps(found, len(x)).float()
            row = {"case": case, "method": name}
            row["float16"] = _kept(maps, _shards.unpacked(*_shards.packed(maps, torch.float16)))
            for k in (7, 14, 28, 56):
                cells = _batches.pooled(maps, (k, k))[:, None]
                back = F.interpolate(cells, maps.shape[1:], mode="bilinear", align_corners=False)
                row[str(k)] = _kept(maps, back[:, 0])
            rows.append(row)
            print(row, flush=True)
    return rows


def _kept(maps: Tensor, others: Tensor) -> float:
    """Mean rank correlation over the images."""
    return float(rank_correlation(maps, others).mean())


# -------------------------------------------------------------------------------------------------- programs


def machine() -> dict[str, object]:
    from importlib.metadata import version

    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*:\s*(.*)", text)
    packages = {p: version(p) for p in ("torch", "ray", "pyarrow")}
    facts = {"processor": name[1] if name else platform.processor(), "threads": torch.get_num_threads()}
    return facts | {"python": platform.python_version()} | packages


def print_plan(forward: float | None, gradients: float | None, gpus: int, images: int) -> None:
    """The plan on paper."""
    stored_forward, stored_gradient, device = stored_passes()
    ours = forward is None or gradients is None
    forward, gradients = forward or stored_forward, gradients or stored_gradient
    terms = json.loads((RESULTS / "cluster" / "cpu.json").read_text())["parts"]
    hours = plan(
        images,
        forward=forward,
        gradient=gradients,
        gpus=gpus,
        read=terms["read a JPEG"],
        write=terms["write a byte"],
    )
    print(f"{images:,} images, {METHODS} methods, {gpus} GPUs")
    print(f"a forward pass {1000 * forward:.3f} ms, a gradient pass {1000 * gradients:.3f} ms an image")
    if ours:
        print(f"(measured on one {device}; pass --forward and --gradient, in ms, for your GPU)")
    for name, value in hours.items():
        print(f"{name:32} {value / 1e9:,.0f} GB" if name == "bytes" else f"{name:32} {value:8.2f} h")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--plan", action="store_true", help="print the plan, measure nothing")
    parser.add_argument("--forward", type=float, help="ms of a forward pass of one image in a full batch")
    parser.add_argument("--gradient", type=float, help="ms of a forward and a backward pass")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--images", type=int, help="of the plan, or of the timed runs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-ray", action="store_true")
    parser.add_argument("--only", choices=("overhead", "predictions", "losses"), help="put this into FILE")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    if given.plan:
        times = (v / 1000 if v else None for v in (given.forward, given.gradient))
        return print_plan(*times, given.gpus, given.images or IMAGENET)
    model, images = load_model("efficientnet_lite0"), given.images or 4 * BATCH
    results = {"machine": machine(), "limit": LIMIT, "images": images, "rounds": given.rounds}
    if given.only and given.output:
        results = json.loads(given.output.read_text(encoding="utf-8")) | results
    if given.only in (None, "predictions"):
        results["predictions"], results["parts"] = predictions(model, BATCH, given.rounds)
    if given.only in (None, "losses"):
        results["losses"] = losses()
    if given.only in (None, "overhead"):
        results["overhead"] = overhead(model, images, given.rounds, not given.no_ray)
    if given.output:
        given.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
