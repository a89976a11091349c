"""One batch of a data set: its images read, explained by every explainer, and written as one shard.

The same code runs in this process and in a worker; what it does depends on the number of the batch, and on
nothing that another batch has done.
"""

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _fingerprints, _model, _shards
from xai_lib._checks import Target
from xai_lib._pictures import Picture, Pictures

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Job:
    """What all batches have in common; it travels to the workers."""

    explainers: Mapping[str, Explain]
    pictures: Pictures
    out: Path
    run: str  # the fingerprint in every shard
    batch_size: int
    target: Target | str
    size: tuple[int, int] | None
    dtype: torch.dtype
    seed: int

    @property
    def batches(self) -> int:
        return -(-len(self.pictures) // self.batch_size)

    def rows(self, batch: int) -> range:
        """The numbers of a batch's images."""
        return range(batch * self.batch_size, min((batch + 1) * self.batch_size, len(self.pictures)))


@dataclass(frozen=True)
class Report:
    """What became of a batch: its bytes on disk, or what went wrong."""

    batch: int
    images: int
    size: int = 0
    found: bool = False  # the shard was there already
    error: str = ""
    ids: tuple[str, ...] = ()  # of the images that raise also alone


class Trouble(Exception):  # not for callers: it carries the images to blame to the report
    """What an explainer or a data set raised, and the numbers of the images that raise it also alone."""

    def __init__(self, what: str, images: list[int]) -> None:
        super().__init__(what)
        self.images = images


def done(
    job: Job, model: nn.Module, batches: Iterable[int], readers: int = 1, attempts: int | None = None
) -> Iterator[Report]:
    """Explain the batches one after the other; while one is explained, the next one's images are read.

    A batch whose process has died ``attempts`` times is not tried again.
    """
    todo = list(batches)
    with ThreadPoolExecutor(readers, "images") as pool:
        ahead = _asked(job, todo[0], pool) if todo else []
        for batch, following in zip(todo, [*todo[1:], None][: len(todo)], strict=True):
            pictures = ahead
            ahead = _asked(job, following, pool) if following is not None else []
            if attempts is None or not pictures:
                yield _reported(job, model, batch, pictures)
            elif _shards.attempt(job.out, batch) > attempts:
                what = f"the worker died {attempts} times in this batch: is there memory enough?"
                yield Report(batch, len(job.rows(batch)), error=what)
            else:
                yield _reported(job, model, batch, pictures)
                _shards.forget_attempts(job.out, batch)


def _asked(job: Job, batch: int, pool: ThreadPoolExecutor) -> list[Future]:
    if _shards.path_of(job.out, batch).exists():
        return []
    return [pool.submit(job.pictures.__getitem__, row) for row in job.rows(batch)]


def _reported(job: Job, model: nn.Module, batch: int, pictures: list[Future]) -> Report:
    rows = job.rows(batch)
    if not pictures:  # it was there when it was asked for: a worker that died had written it before
        return Report(batch, len(rows), _shards.path_of(job.out, batch).stat().st_size, found=True)
    try:
        return Report(batch, len(rows), _explained(job, model, batch, pictures))
    except Trouble as trouble:
        ids = tuple(job.pictures.ids[row] for row in trouble.images)
        return Report(batch, len(rows), error=str(trouble), ids=ids)


def _explained(job: Job, model: nn.Module, batch: int, pictures: list[Future]) -> int:
    """Explain one batch and write its shard; the bytes."""
    rows = job.rows(batch)
    images, labels = _gathered(pictures, rows)
    first = next(iter((*model.parameters(), *model.buffers())), images)
    x = images.to(first.device)
    top1 = _top1(model, x, rows)
    target = _targets(job, rows, labels, top1)
    maps = {}
    for name, explain in job.explainers.items():
        found = _maps(name, explain, model, x, target, job, batch)
        maps[name] = _shards.packed(found, job.dtype)
    columns = {
        "index": list(rows),
        "image_id": [job.pictures.ids[row] for row in rows],
        "target": target.tolist(),
        "top1": top1.tolist(),
        "label": labels,
    }
    return _shards.write(job.out, job.run, batch, columns, maps)


def _gathered(pictures: list[Future], rows: range) -> tuple[Tensor, list[int | None]]:
    read: list[Picture] = []
    errors: list[tuple[int, Exception]] = []
    for row, future in zip(rows, pictures, strict=True):
        try:
            read.append(future.result())
        except Exception as error:
            errors.append((row, error))
    if errors:
        raise Trouble(f"dataset raised {_said(errors[0][1])}", [row for row, _ in errors])
    return torch.stack([image for image, _ in read]), [label for _, label in read]


def _said(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _top1(model: nn.Module, x: Tensor, rows: range) -> Tensor:
    """The class of the largest logit, (n,)."""

    def choice(images: Tensor) -> Tensor:
        with _model.left_as_found(model):
            return _model.logits_of(model, images.clone()).argmax(1)

    return _or_trouble("model", choice, x, rows)


def _targets(job: Job, rows: range, labels: list[int | None], top1: Tensor) -> Tensor:
    """The classes to explain, (n,)."""
    if job.target is None:
        return top1
    if isinstance(job.target, str):
        missing = [row for row, label in zip(rows, labels, strict=True) if label is None]
        if missing:
            raise Trouble("target is 'label', but dataset gives images without one", missing)
        return torch.tensor(labels, device=top1.device)
    if isinstance(job.target, Tensor):
        return job.target[rows.start : rows.stop].to(top1.device)
    return torch.full_like(top1, int(job.target))


def _maps(
    name: str, explain: Explain, model: nn.Module, x: Tensor, target: Tensor, job: Job, batch: int
) -> Tensor:
    """One explainer's heatmaps of the batch, (n, h, w), finite."""
    rows = job.rows(batch)
    seed = _fingerprints.seed_of(job.seed, name, batch)

    def explained(images: Tensor, classes: Tensor) -> Tensor:
        found = explain_with(explain, model, images, classes, seed)
        return pooled(check_maps(found, len(images)), job.size)

    return _or_trouble(f"explainers[{name!r}]", explained, x, rows, target)


def _or_trouble(what: str, work: Callable[..., Tensor], x: Tensor, rows: range, *more: Tensor) -> Tensor:
    """The work on the whole batch; where it raises, each image is tried alone, to say which it was."""
    try:
        return work(x, *more)
    except Exception as error:
        said = _said(error)
    blamed = []
    for i, row in enumerate(rows):
        try:
            work(x[i : i + 1], *(value[i : i + 1] for value in more))
        except Exception:
            blamed.append(row)
    raise Trouble(f"{what} raised {said}", blamed)


def explain_with(explain: Explain, model: nn.Module, x: Tensor, target: Tensor, seed: int) -> Tensor:
    """Call an explainer with every source of random numbers begun at ``seed``; all are put back."""
    more: dict[str, Any] = {}
    if _fingerprints.takes_generator(explain):
        more["generator"] = torch.Generator(x.device).manual_seed(seed)
    with seeded(seed, x.device):
        return explain(model, x, target, **more)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The random states of torch, numpy and Python begin at ``seed`` inside, and are as they were after."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - explainers of others draw from it
    with torch.random.fork_rng([device.index or 0] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


def check_maps(maps: Any, n: int) -> Tensor:
    """Check what an explainer returned: one real, finite map for each image; channels are summed."""
    if not isinstance(maps, Tensor):
        raise TypeError(f"an explainer must return a tensor of heatmaps, got {type(maps).__name__}")
    if maps.dim() not in (3, 4) or len(maps) != n or maps.numel() == 0 or not maps.is_floating_point():
        raise ValueError(
            f"an explainer must return floating-point heatmaps ({n}, H, W), or ({n}, C, H, W) whose channels "
            f"are summed, got {maps.dtype} of shape {tuple(maps.shape)}"
        )
    maps = maps.detach()
    maps = maps.to(_model.wide(maps.dtype))
    maps = maps.sum(1) if maps.dim() == 4 else maps
    if not maps.isfinite().all():
        raise ValueError("an explainer must return finite heatmaps, got NaN or infinity")
    return maps


def pooled(maps: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Means over a grid of ``size`` cells; maps that are no larger stay as they are."""
    if size is None or (maps.shape[1] <= size[0] and maps.shape[2] <= size[1]):
        return maps
    cells = (min(size[0], maps.shape[1]), min(size[1], maps.shape[2]))
    return F.adaptive_avg_pool2d(maps, cells)
