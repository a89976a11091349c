"""Ray, where it is installed: workers that explain batches (Ray Data), and tasks that train networks.

Ray is started here only if nobody has started it, on this machine alone, and is then stopped again: with no
dashboard, no usage report, no word to another host, and a small store of objects, since what travels is
small.
"""

import atexit
import contextlib
import copy
import functools
import importlib.util
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from xai_lib import _batches, _checks
from xai_lib._batches import Job, Report

STORE = 256 * 2**20  # bytes of the object store of a Ray of our own: a model, a list of names, reports
ATTEMPTS = 3  # a batch in which a worker died so often is not tried again
RUN = 8  # batches that a worker is given at once: while it explains one, it reads the next
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # tasks without a GPU leave CUDA_VISIBLE_DEVICES alone
    "RAY_enable_worker_prestart": "0",  # no processes but those that work
}
HOMES = ("HOME", "USERPROFILE")  # of Linux and macOS, of Windows
KEYS = ("workers", "cpus", "gpus", "readers")


class Resources(NamedTuple):
    """Workers, and what each is given; ``workers=0``: this process."""

    workers: int
    cpus: int
    gpus: float
    readers: int = 1


HERE = Resources(0, 0, 0.0)


def installed() -> bool:
    """Whether Ray is there, without the seconds that importing it takes."""
    return importlib.util.find_spec("ray") is not None


def running() -> bool:
    """Whether this process is connected to a Ray."""
    return "ray" in sys.modules and sys.modules["ray"].is_initialized()


def check_resources(value: Mapping[str, float] | None) -> Resources:
    """Check what the workers shall be, and fill in what the caller leaves to us."""
    if value is None:
        return _own_choice()
    if not isinstance(value, Mapping):
        raise TypeError(
            "resources must be a dict such as {'workers': 8, 'cpus': 4, 'gpus': 1}, or None, got "
            f"{type(value).__name__}"
        )
    for key in value:
        if key not in KEYS:
            raise ValueError(
                f"resources must have the keys {', '.join(map(repr, KEYS))}, got {key!r}"
                f"{_checks.nearest(key, KEYS)}"
            )
    if "workers" not in value:
        raise ValueError(f"resources must say how many 'workers', got {dict(value)!r}; 0 is this process")
    workers = _checks.check_count("resources['workers']", value["workers"], least=0)
    readers = _checks.check_count("resources['readers']", value.get("readers", 1))
    cpus = _checks.check_count("resources['cpus']", value["cpus"]) if "cpus" in value else 0
    gpus = _checks.check_number("resources['gpus']", value["gpus"], least=0) if "gpus" in value else None
    if workers and not installed():
        warnings.warn(
            "Ray is not installed, so this process does all the work; pip install 'xai-lib[cluster]'",
            stacklevel=4,
        )
        workers = 0
    if not workers:
        return HERE._replace(readers=readers)
    total_cpus, total_gpus = _total()
    cpus = cpus or max(1, int(total_cpus) // workers)
    if gpus is None:
        gpus = 1.0 if total_gpus >= workers else 0.0
    if running() and (workers * cpus > total_cpus or workers * gpus > total_gpus):
        raise ValueError(
            f"resources ask for {workers * cpus} CPUs and {workers * gpus:g} GPUs, but this Ray has "
            f"{total_cpus:g} and {total_gpus:g}: it would wait for ever"
        )
    if workers * gpus > total_gpus:
        raise ValueError(
            f"resources ask for {workers * gpus:g} GPUs, but torch finds {total_gpus:g} on this machine; "
            "leave 'gpus' out, or connect to a Ray that has them"
        )
    return Resources(workers, cpus, gpus, readers)


def _own_choice() -> Resources:
    """A worker for each GPU, or each machine of a Ray without any; this process where that is as good."""
    if running():
        cpus, gpus = _total()
        if gpus >= 1:
            return Resources(int(gpus), max(1, int(cpus / gpus)), 1.0)
        nodes = [node["Resources"].get("CPU", 0) for node in sys.modules["ray"].nodes() if node["Alive"]]
        nodes = [int(n) for n in nodes if n >= 1]
        return Resources(len(nodes), min(nodes), 0.0) if nodes else HERE
    if installed() and torch.cuda.device_count() > 1:
        count = torch.cuda.device_count()
        return Resources(count, max(1, (os.cpu_count() or 1) // count), 1.0)
    return HERE


def _total() -> tuple[float, float]:
    """CPUs and GPUs of the Ray that this process is connected to, or of this machine."""
    if running():
        whole = sys.modules["ray"].cluster_resources()
        return whole.get("CPU", 0.0), whole.get("GPU", 0.0)
    return float(os.cpu_count() or 1), float(torch.cuda.device_count())


@contextlib.contextmanager
def session(resources: Resources) -> Iterator[Any]:
    """Ray: the one that runs, or one of our own, which is stopped at the end."""
    if running():
        yield sys.modules["ray"]
        return
    quiet = {key: value for key, value in QUIET.items() if key not in os.environ}
    with _environment(quiet | dict.fromkeys(HOMES, _home())):
        import ray

        _start(ray, resources)
    try:
        yield ray
    finally:
        ray.shutdown()


@functools.cache
def _home() -> str:
    """The home of all Rays that this process starts, one after the other.

    Ray keeps a token there by which its parts know each other, and this process remembers it: with a home of
    its own a second Ray would find none. Unless there is a file of this name, Ray asks three clouds where it
    is, although it reports nothing. Workers are given back the home that they would have had (``at_home``).
    """
    folder = tempfile.mkdtemp(prefix="xai_lib_ray_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (Path(folder) / "ray_bootstrap_config.yaml").write_text("{}")
    return folder


@contextlib.contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in changed}
    os.environ |= changed
    try:
        yield
    finally:
        at_home(before)


def at_home(environment: Mapping[str, str | None]) -> None:
    """Give variables the values that they had; None: they were not there."""
    for key, value in environment.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value


def homes() -> dict[str, str | None]:
    """Where this process is at home, for those that it starts."""
    return {key: os.environ.get(key) for key in HOMES}


def _start(ray: Any, resources: Resources) -> None:
    """Start Ray on this machine; a busy one may need a second try: Ray itself waits for half a minute."""
    for last in (False, False, True):
        try:
            ray.init(
                address="local",  # else Ray joins one that runs on this machine, or that RAY_ADDRESS names
                num_cpus=resources.workers * resources.cpus,
                num_gpus=int(-(-resources.workers * resources.gpus // 1)),
                object_store_memory=STORE,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
            )
            return
        except Exception as error:
            ray.shutdown()
            if last or "timed out" not in str(error).lower():
                raise


def check_travels(name: str, value: Any) -> None:
    """Check that an argument can be sent to a worker."""
    from ray import cloudpickle

    try:
        cloudpickle.dumps(value)
    except Exception as error:
        raise TypeError(f"{name} must be something that can be sent to a worker, but {error}") from error


class _Worker:
    """Lives in a process of its own, with one copy of the model, and explains the batches it is given."""

    def __init__(self, parcel: list, resources: Resources, homes: dict[str, str | None] | None) -> None:
        import ray

        at_home(homes or {})
        torch.set_num_threads(resources.cpus)
        self.model, self.job = ray.get(parcel[0])
        self.model = self.model.to("cuda" if resources.gpus else "cpu")
        self.readers = resources.readers

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[str]]:
        batches = rows["batch"].tolist()
        reports = _batches.done(self.job, self.model, batches, self.readers, ATTEMPTS)
        return {"report": [json.dumps(asdict(report)) for report in reports]}


def explained(job: Job, model: nn.Module, todo: list[int], resources: Resources) -> Iterator[Report]:
    """Reports of the batches, in the order in which they are done, by workers of Ray Data.

    A worker that dies is started again, and given its batches again; those that it had written are found.
    """
    elsewhere = None if running() else homes()  # a Ray that runs has given its workers their home itself
    with session(resources) as ray:
        import ray.data

        model = copy.deepcopy(model).to("cpu")
        check_travels("model", model)
        check_travels("explainers", dict(job.explainers))
        check_travels("dataset", job.pictures)
        parcel = [ray.put((model, job))]
        run = max(1, min(RUN, len(todo) // (4 * resources.workers)))
        with _quiet_data(ray):
            blocks = ray.data.from_items(
                [{"batch": batch} for batch in todo], override_num_blocks=-(-len(todo) // run)
            )
            reports = blocks.map_batches(
                _Worker,
                batch_size=run,
                compute=ray.data.ActorPoolStrategy(size=resources.workers),
                num_cpus=resources.cpus,
                num_gpus=resources.gpus or None,
                fn_constructor_args=(parcel, resources, elsewhere),
            )
            for row in reports.iter_rows():
                told = json.loads(row["report"])
                yield Report(**told | {"ids": tuple(told["ids"])})


@contextlib.contextmanager
def _quiet_data(ray: Any) -> Iterator[None]:
    """Without Ray Data's own bars and lines: our bar counts images."""
    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    bars, level = context.enable_progress_bars, logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        logger.setLevel(level)


# ------------------------------------------------------------------------------------------------------ tasks


def mapped(function: Callable[[Any], Any], items: Iterable[Any], resources: Resources) -> Iterator[Any]:
    """``map(function, items)``, each call a task of Ray; results come in the items' order."""
    items = list(items)
    elsewhere = None if running() else homes()
    with session(resources) as ray:
        check_travels("function", function)
        shared = ray.put([function])
        task = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus)(_task)
        waiting = [task.remote(shared, item, resources.cpus, elsewhere) for item in items]
        for ref in waiting:
            try:
                yield ray.get(ref)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error  # what the function raised, as Python's map would


def _task(shared: list, item: Any, cpus: int, homes: dict[str, str | None] | None) -> Any:
    at_home(homes or {})
    torch.set_num_threads(cpus)
    return shared[0](item)
