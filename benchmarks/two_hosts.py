"""Try ``explain_dataset`` on two hosts, also when one of them dies in the middle. As root, on Linux:

    python benchmarks/two_hosts.py [--output FILE]

The hosts are network namespaces of this machine, joined by a virtual cable: each has an address and a Ray of
its own, and they share nothing but the cable and a folder, as machines of a cluster do that see one disk.
What they write is compared, bit for bit, with a plain loop. In the second run every process of the second
host is killed once it has explained some batches. ``benchmarks/results/cluster/two_hosts.json`` keeps what
was found; the book's page "Beyond one machine" reads it.
"""

import argparse
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from xai_lib import _ray, explain_dataset, grad_cam, load_model, read_heatmaps, rise, shapes
from xai_lib.cluster import batch_generator

HOSTS = {"xai-one": "10.77.0.1", "xai-two": "10.77.0.2"}
PORT = 6379
IMAGES, BATCH = 48, 2
BEFORE = 4  # batches that the second host has begun when it dies
CAM = functools.partial(grad_cam, layer="features.10")
RISE = functools.partial(rise, n_masks=6, grid=2)


def run(*command: str, **more: object) -> subprocess.CompletedProcess:
    """Run to its end; what it printed is shown if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def processes(host: str) -> list[int]:
    return [int(pid) for pid in run("ip", "netns", "pids", host).stdout.split()]


def die(host: str) -> int:
    """Kill all that runs on a host; how many processes that were."""
    found = processes(host)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return len(found)


@contextmanager
def hosts() -> Iterator[None]:
    """Two namespaces and the cable between them."""
    one, two = HOSTS
    try:
        for host in HOSTS:
            run("ip", "netns", "add", host)
        run("ip", "link", "add", "cable", "netns", one, "type", "veth", "peer", "name", "cable", "netns", two)
        for host, address in HOSTS.items():
            run("ip", "-n", host, "addr", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                run("ip", "-n", host, "link", "set", device, "up")
        yield
    finally:
        for host in HOSTS:
            if host in run("ip", "netns", "list").stdout:
                die(host)
                run("ip", "netns", "del", host)


@contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """A Ray of one processor on each host; the environment in which a program finds it."""
    root = str(Path(__file__).resolve().parents[1])
    environment = os.environ | _ray.QUIET | {"HOME": _ray._home(), "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    del environment["RAY_enable_worker_prestart"]
    one, two = HOSTS
    head = "--head", f"--port={PORT}", "--include-dashboard=false"
    with hosts():
        for host, more in ((one, head), (two, (f"--address={HOSTS[one]}:{PORT}",))):
            start = "-m", "ray.scripts.scripts", "start", f"--node-ip-address={HOSTS[host]}", "--num-cpus=1"
            store = f"--object-store-memory={_ray.STORE}"
            run("ip", "netns", "exec", host, sys.executable, *start, store, *more, env=environment)
        yield environment


# ------------------------------------------------------------------- what runs on the first host, as a driver


def noting(explain: Callable, log: Path) -> Callable:
    """The explainer, slowed down, which notes the host on which it begins."""

    def noted(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        here = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True).stdout
        with log.open("a") as file:
            print(next(host for host, address in HOSTS.items() if address in here), file=file)
        time.sleep(0.3)
        return explain(model, x, target)

    return noted


def drive(out: Path, killed: bool) -> dict:
    """Explain, with or without a host's death; compare with the loop; say what became of the batches."""
    import ray

    torch.set_num_threads(1)
    one, two = HOSTS
    ray.init(address=f"{HOSTS[one]}:{PORT}", log_to_driver=False)
    addresses = sorted(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"])
    assert addresses == sorted(HOSTS.values()), addresses
    model, x, log = load_model("small_vgg"), shapes(IMAGES, seed=5).images, out.with_suffix(".log")
    log.touch()
    ended: list[int] = []
    if killed:

        def watch() -> None:
            while log.read_text().split().count(two) < BEFORE:
                time.sleep(0.1)
            ended.append(die(two))

        threading.Thread(target=watch, daemon=True).start()
    start = time.perf_counter()
    explainers = {"cam": noting(CAM, log), "rise": RISE}
    workers = {"workers": 2, "cpus": 1}
    done = explain_dataset(
        model, explainers, x, out=out, batch_size=BATCH, dtype=torch.float32, resources=workers
    )
    seconds = time.perf_counter() - start
    assert done.images == IMAGES and bool(ended) == killed
    for number, found in enumerate(read_heatmaps(out)):
        part = x[number * BATCH : (number + 1) * BATCH]
        target = model(part).argmax(1)
        drawn = RISE(model, part, target, generator=batch_generator(0, "rise", number))
        assert torch.equal(found.heatmaps["cam"], CAM(model, part, target)), number
        assert torch.equal(found.heatmaps["rise"], drawn), number
    begun = Counter(log.read_text().split())
    ray.shutdown()
    return {
        "second host killed": killed,
        "batches": IMAGES // BATCH,
        "begun": [begun[host] for host in HOSTS],
        "processes killed": sum(ended),
        "seconds": round(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kill", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        given.output.write_text(json.dumps(drive(given.drive, given.kill)), encoding="utf-8")
        return
    if os.geteuid():
        parser.error("namespaces need root: sudo python benchmarks/two_hosts.py")
    runs = []
    with tempfile.TemporaryDirectory(prefix="two_hosts_") as folder:
        for kill in ([], ["--kill"]):
            found = Path(folder, f"found{len(runs)}.json")
            program = "--drive", f"{folder}/run{len(runs)}", "--output", str(found), *kill
            with cluster() as environment:
                inside = "ip", "netns", "exec", next(iter(HOSTS))
                run(*inside, sys.executable, __file__, *program, env=environment)
            runs.append(json.loads(found.read_text(encoding="utf-8")))
            print(runs[-1], flush=True)
    if given.output:
        facts = {"hosts": len(HOSTS), "torch": torch.__version__.split("+")[0], "ray": version("ray")}
        given.output.write_text(json.dumps(facts | {"runs": runs}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
