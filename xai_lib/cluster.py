"""Beyond one notebook: explain a whole data set, on one machine or on many, and train on many at once.

``explain_dataset`` goes through a data set in batches and writes the heatmaps of each batch into a file of
its own. Interrupted, it goes on where it was. With Ray (``pip install 'xai-lib[cluster]'``) workers share the
batches, each with a copy of the model and, where there is one, a GPU of its own; without Ray the same call
does all in this process. ``read_heatmaps`` gives back what was written. ``on_ray`` is a ``map`` for what
trains many networks (``roar``, ``data_randomisation``).

**What a file holds depends on its batch alone**: not on which worker made it, after which others, or in which
of several attempts. So on one kind of device and with as many threads, the numbers are those of a plain loop,
bit for bit::

    for batch in range(math.ceil(n / batch_size)):
        x = images[batch * batch_size : (batch + 1) * batch_size]
        target = model(x).argmax(1)
        heatmaps = grad_cam(model, x, target)
        drawn = rise(model, x, target, generator=batch_generator(seed, "rise", batch))
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xai_lib import _batches, _checks, _fingerprints, _model, _pictures, _ray, _shards
from xai_lib._batches import Explain, Job, Report
from xai_lib._checks import Target
from xai_lib._ray import Resources

__all__ = [
    "Explained",
    "HeatmapBatch",
    "UnexplainedError",
    "batch_generator",
    "explain_dataset",
    "on_ray",
    "read_heatmaps",
]

FORMAT = 1
SAID = 5  # failures that an error message spells out


@dataclass(frozen=True)
class Explained:
    """What ``explain_dataset`` did.

    Attributes:
        out: the folder.
        images: in the data set, all of which now have their heatmaps.
        found: how many of them were there before.
        size: of all heatmaps on disk, in bytes.
    """

    out: Path
    images: int
    found: int
    size: int


@dataclass(frozen=True, eq=False)
class HeatmapBatch:
    """A batch as ``read_heatmaps`` gives it.

    Attributes:
        index: number of each image in the data set, (n,).
        image_ids: the images' names.
        target: class explained, (n,).
        top1: class of the model's largest logit, (n,).
        label: as the data set has it, (n,), -1 where it has none.
        heatmaps: name of the explainer → maps (n, h, w), float32.
    """

    index: Tensor
    image_ids: list[str]
    target: Tensor
    top1: Tensor
    label: Tensor
    heatmaps: dict[str, Tensor]


class UnexplainedError(RuntimeError):
    """Some batches could not be explained; all others are in the folder.

    Attributes:
        failed: number of a batch → what was raised, and the names of the images that raise it also alone.
    """

    def __init__(self, message: str, failed: dict[int, tuple[str, tuple[str, ...]]]) -> None:
        super().__init__(message)
        self.failed = failed


def explain_dataset(
    model: nn.Module,
    explainers: Explain | Mapping[str, Explain],
    dataset: Any,
    *,
    out: str | Path,
    batch_size: int = 16,
    target: Target | str = None,
    ids: Sequence | None = None,
    size: int | tuple[int, int] | None = None,
    dtype: torch.dtype = torch.float16,
    seed: int = 0,
    resources: Mapping[str, float] | None = None,
    progress: bool = False,
) -> Explained:
    """Explain every image of a data set, and keep the heatmaps as Parquet files: one for each batch.

    A file is there as a whole or not at all. The same call again, after a crash or an interruption, keeps
    what is there and does the rest. Whether it *is* the same call is asked of everything that the numbers
    depend on; if not, an error names the argument. Of a data set, its size, the images' names and three of
    its images are compared; of a function that cannot be imported (a lambda, say) its code and the values
    that it encloses.

    Where an explainer raises, the batch is left out and the run goes on; at the end an error names the
    images.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        explainers: name → ``explain(model, x, target) -> (n, h, w)`` or (n, C, h, w), whose channels are
            summed; or one of them, called ``"heatmap"``. Options as ``functools.partial``, layers by name.
            One that takes a ``generator`` is given one for each batch, made from ``seed``; for the others the
            random states of torch, numpy and Python begin anew at each batch, and are as they were at the
            end.
        dataset: images as a tensor :math:`(N, C, H, W)`; a pair (images, labels); or a torch ``Dataset``
            whose items are images :math:`(C, H, W)`, or tuples (image, label, ...). All have one shape, are
            in [0, 1], and are the same each time they are asked for.
        out: folder, made if it is not there; for several machines one that all of them see.
        batch_size: images that the explainers are given at once.
        target: class to explain: None for the model's own choice, ``"label"`` for the data set's, an int, or
            :math:`(N,)`.
        ids: a name for each image; None for the files' names where the data set knows them (``ImageFolder``),
            and else for numbers.
        size: side of the maps to keep, in cells, or height and width: larger ones are averaged over a grid.
            None keeps maps as they are.
        dtype: torch.float16, of each map divided by a power of two, so that only rounding is lost (eleven
            binary digits are kept); or torch.float32, which loses nothing.
        seed: of everything that is drawn.
        resources: ``{"workers": 8, "cpus": 4, "gpus": 1, "readers": 2}``: processes, and for each its threads
            (and CPUs, as Ray counts them), its GPUs, and the threads that read images ahead (more than one
            only if the data set bears it). ``{"workers": 0}`` is this process. None: one worker for each GPU
            of the Ray that runs, or of this machine if it has several; else this process.
        progress: show a bar, counted in images.

    Returns:
        An ``Explained``.

    Raises:
        ValueError: if an argument is not as above, or ``out`` holds another run.
        TypeError: likewise, or if an argument cannot be sent to a worker.
        UnexplainedError: if some batches could not be explained.
        RuntimeError: if another process is writing into ``out``, or the model is called under autocast.
        ImportError: without pyarrow.

    >>> from xai_lib import gradient
    >>> explain_dataset(model, {"gradient": gradient}, x, out=folder, batch_size=1).images
    2
    """
    _shards.pyarrow()
    _checks.check_evaluation(model)
    named = _check_explainers(explainers)
    pictures = _pictures.check_dataset(dataset, ids)
    batch_size = _checks.check_count("batch_size", batch_size)
    goal = _pictures.check_targets(target, pictures)
    cells = None if size is None else _checks.check_sizes("size", size)
    if dtype not in (torch.float16, torch.float32):
        raise ValueError(f"dtype must be torch.float16 or torch.float32, got {dtype!r}")
    seed = _checks.check_count("seed", seed, least=0)
    progress = _checks.check_flag("progress", progress)
    _check_autocast()
    workers = _ray.check_resources(resources)
    out = _check_out(out)
    identity = {
        "model": _fingerprints.of_model(model),
        "explainers": _fingerprints.of_explainers(named, model),
        "dataset": _fingerprints.of_dataset(pictures),
        "batch_size": batch_size,
        "target": _fingerprints.of_target(goal),
        "size": None if cells is None else list(cells),
        "dtype": str(dtype).removeprefix("torch."),
        "seed": seed,
    }
    run = _fingerprints.digest(json.dumps(identity, sort_keys=True))
    job = Job(named, pictures, out, run, batch_size, goal, cells, dtype, seed)
    with _shards.alone(out):
        _begin(out, identity, len(pictures))
        return _finished(job, model, workers, progress)


def _check_explainers(explainers: Explain | Mapping[str, Explain]) -> dict[str, Explain]:
    named = dict(explainers) if isinstance(explainers, Mapping) else {"heatmap": explainers}
    if not named:
        raise ValueError("explainers must hold at least one")
    for name, explain in named.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"explainers must be a dict from names to functions, got the name {name!r}")
        if not callable(explain) or isinstance(explain, nn.Module):
            raise TypeError(
                f"explainers must be functions explain(model, x, target), {name!r} is a "
                f"{type(explain).__name__}"
            )
    return named


def _check_out(out: str | Path) -> Path:
    try:
        folder = Path(out)
        (folder / "heatmaps").mkdir(parents=True, exist_ok=True)
    except TypeError:
        raise TypeError(f"out must be a folder, got {type(out).__name__}") from None
    except OSError as error:
        raise ValueError(f"out must be a folder that can be written, got {str(out)!r}: {error}") from None
    return folder.resolve()


def _check_autocast() -> None:
    if any(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")):
        raise RuntimeError(
            "explain_dataset must be called outside autocast, which workers would not inherit; enter it "
            "inside the explainer"
        )


# ------------------------------------------------------------------------------------------------- begin, end


def _begin(out: Path, identity: dict[str, Any], images: int) -> None:
    """Write down what run this is, or find that it is the one that is there."""
    made = {"xai_lib": version("xai_lib"), "torch": torch.__version__}
    found = _shards.read_manifest(out)
    _shards.forget_attempts(out)
    if found is None:
        if any((out / "heatmaps").iterdir()):
            raise ValueError(f"out holds heatmaps without a manifest: {out}; pass another folder")
        manifest = {"format": FORMAT, "images": images, "batch_size": identity["batch_size"]}
        _shards.write_manifest(out, manifest | {"fingerprint": identity, "made_with": made})
        return
    for name, now in identity.items():
        then = found["fingerprint"].get(name)
        if now != then:
            raise ValueError(
                f"{name} is not that of the run in {out}: {_difference(name, then, now)}; pass another "
                "folder as out, or call it as that run was"
            )
    if found.get("made_with") != made:
        warnings.warn(
            f"the run in {out} was begun with {found.get('made_with')}, now {made}: numbers may differ in "
            "their last digits from file to file",
            stacklevel=3,
        )
    for part in (out / "heatmaps").glob("*.part"):  # of a process that was killed while it wrote
        part.unlink(missing_ok=True)


def _difference(name: str, then: Any, now: Any) -> str:
    if name == "explainers" and isinstance(then, dict):
        if set(then) != set(now):
            return f"it had {', '.join(sorted(then))}, now it is {', '.join(sorted(now))}"
        key = next(k for k in now if then[k] != now[k])
        return f"{key!r} was {then[key]}, now it is {now[key]}"
    if name == "model":
        return "other weights or layers"
    if name == "dataset":
        return "another size, other names, or other images"
    return f"it was {then}, now it is {now}"


def _finished(job: Job, model: nn.Module, workers: Resources, progress: bool) -> Explained:
    """Do what is not done yet."""
    there = _there(job)
    todo = [batch for batch in range(job.batches) if batch not in there]
    found, size = sum(len(job.rows(batch)) for batch in there), sum(there.values())
    failed: dict[int, Report] = {}
    if workers.workers and todo:
        reports = _ray.explained(job, model, todo, workers)
    else:
        reports = _batches.done(job, model, todo, max(1, workers.readers))
    reported = set()
    with _model.progress_bar(len(job.pictures), "explain", progress, unit="image") as bar:
        bar.update(found)
        for report in reports:
            if report.batch in reported:
                continue
            reported.add(report.batch)
            size += report.size
            if report.error:
                failed[report.batch] = report
            bar.update(report.images)
    lost = set(todo) - reported
    if lost:
        raise RuntimeError(f"batches {sorted(lost)[:SAID]} were not reported by any worker; call again")
    if failed:
        raise _unexplained(job, failed)
    return Explained(job.out, len(job.pictures), found, size)


def _there(job: Job) -> dict[int, int]:
    """The batches that are there, and their bytes. A file of another run is an error, never skipped."""
    there = {}
    for batch in range(job.batches):
        path = _shards.path_of(job.out, batch)
        if not path.exists():
            continue
        about = _shards.about(path)
        if about.get("run") != job.run or about.get("rows") != len(job.rows(batch)):
            raise ValueError(f"out holds a file that is not of this run, or is damaged: {path}; delete it")
        there[batch] = path.stat().st_size
    return there


def _unexplained(job: Job, failed: dict[int, Report]) -> UnexplainedError:
    lines = []
    for batch, report in sorted(failed.items())[:SAID]:
        rows = job.rows(batch)
        names = [job.pictures.ids[row] for row in rows]
        blame = ", ".join(map(repr, report.ids[:SAID])) + (", …" if len(report.ids) > SAID else "")
        alone = f"raised also alone by {blame}" if report.ids else "by none of its images alone"
        lines.append(f"  batch {batch} (images {names[0]!r} to {names[-1]!r}): {report.error}; {alone}")
    more = [f"  and {len(failed) - SAID} more"] if len(failed) > SAID else []
    message = "\n".join(
        [
            f"{len(failed)} of {job.batches} batches could not be explained; the others are in {job.out}, "
            "and the same call tries these again:",
            *lines,
            *more,
        ]
    )
    return UnexplainedError(message, {b: (r.error, r.ids) for b, r in sorted(failed.items())})


# ---------------------------------------------------------------------------------------------------- reading


def read_heatmaps(
    out: str | Path, explainers: Sequence[str] | None = None, *, partial: bool = False
) -> Iterator[HeatmapBatch]:
    """The heatmaps of ``explain_dataset``, batch by batch, in the data set's order.

    Args:
        out: the folder.
        explainers: names of those to read; None for all.
        partial: read what is there, although some batches are missing.

    Yields:
        A ``HeatmapBatch``; its maps as float32, on the CPU.

    Raises:
        ValueError: if ``out`` holds no run, a batch is missing (unless ``partial``), or there is no explainer
        of
            that name.
        ImportError: without pyarrow.

    >>> from xai_lib import gradient
    >>> _ = explain_dataset(model, {"gradient": gradient}, x, out=folder, batch_size=1)
    >>> for batch in read_heatmaps(folder):
    ...     print(batch.image_ids, tuple(batch.heatmaps["gradient"].shape))
    ['0'] (1, 64, 64)
    ['1'] (1, 64, 64)
    """
    _shards.pyarrow()
    folder = Path(out)
    manifest = _shards.read_manifest(folder)
    if manifest is None:
        raise ValueError(f"out must be a folder that explain_dataset has written, got {str(out)!r}")
    known = list(manifest["fingerprint"]["explainers"])
    wanted = known if explainers is None else list(explainers)
    for name in wanted:
        _checks.check_choice("explainers", name, tuple(known))
    batches = range(-(-manifest["images"] // manifest["batch_size"]))
    paths = [_shards.path_of(folder, batch) for batch in batches]
    there = [path for path in paths if path.exists()]
    if len(there) < len(paths) and not partial:
        raise ValueError(
            f"out lacks {len(paths) - len(there)} of {len(paths)} batches; call explain_dataset again, or "
            "pass partial=True"
        )
    return (_batch(path, wanted) for path in there)


def _batch(path: Path, explainers: list[str]) -> HeatmapBatch:
    plain, maps = _shards.read(path, explainers)
    label = torch.tensor([-1 if value is None else value for value in plain["label"]])
    index, target, top1 = (torch.tensor(plain[name]) for name in ("index", "target", "top1"))
    return HeatmapBatch(index, plain["image_id"], target, top1, label, maps)


def batch_generator(seed: int, name: str, batch: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator that ``explain_dataset`` gives to one explainer for one batch.

    Args:
        seed: of ``explain_dataset``.
        name: of the explainer.
        batch: its number, from 0.
        device: of the images.

    Returns:
        A new generator.
    """
    seed = _checks.check_count("seed", seed, least=0)
    batch = _checks.check_count("batch", batch, least=0)
    device = _checks.check_device("device", device)
    return torch.Generator(device).manual_seed(_fingerprints.seed_of(seed, name, batch))


# ------------------------------------------------------------------------------------------------------ tasks


def on_ray(
    resources: Mapping[str, float] | None = None,
) -> Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]:
    """A ``map`` whose calls are tasks of Ray: for the trainings of ``roar`` and ``data_randomisation``.

    Results come in the order of the items. A task whose process dies is started again. Without Ray, and with
    ``{"workers": 0}``, it is Python's own ``map``.

    Args:
        resources: as in ``explain_dataset``: ``"workers"`` says how many tasks at most run at once in a Ray
            of our own (one that runs already decides itself), ``"cpus"`` and ``"gpus"`` what each is given.

    Returns:
        ``map(function, items)``; function and items must be such that they can be sent to another process.

    Raises:
        ValueError: as in ``explain_dataset``.
        TypeError: likewise.

    >>> list(on_ray({"workers": 0})(abs, [-1, 2]))
    [1, 2]
    """
    workers = _ray.check_resources(resources)
    if not workers.workers:
        return map
    return lambda function, items: _ray.mapped(function, items, workers)
