"""ROAR: hide by rank, train again, and see what can still be learnt. Many networks are trained at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _checks, _model, _ranking, _training
from xai_lib._training import Run, Start, Weights, begin, order, runner

RANDOM = "random"  # the row that every other is compared with
KEPT = 2**28  # bytes of masked images that are kept from epoch to epoch
Pair = tuple[Tensor, Tensor]
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]  # Python's ``map``, or one like it


@dataclass(frozen=True, eq=False)
class Roar:
    """What ``roar`` returns.

    Attributes:
        names: of the explainers, in the order of the rows; the last is ``"random"``, unless it was given.
        fractions: shares of the pixels that were hidden (with ``keep``: kept), :math:`(F,)`.
        accuracy: on the test set, :math:`(names, F, seeds)`.
        seeds: of the initial weights and of the order of the mini-batches.
    """

    names: tuple[str, ...]
    fractions: Tensor
    accuracy: Tensor
    seeds: tuple[int, ...]

    @property
    def mean(self) -> Tensor:
        """Mean accuracy over the seeds, (names, F)."""
        return self.accuracy.mean(2)

    @property
    def spread(self) -> Tensor:
        """Standard deviation over the seeds, (names, F).

        Raises:
            ValueError: with fewer than two seeds.
        """
        if len(self.seeds) < 2:
            raise ValueError(f"seeds must be two or more for a spread, got {len(self.seeds)}")
        return self.accuracy.std(2)

    def curve(self, name: str) -> Tensor:
        """Mean accuracy of one explainer at each fraction, (F,)."""
        return self.mean[self.names.index(_checks.check_choice("name", name, self.names))]


def roar(
    network: Callable[[], nn.Module],
    train: Pair,
    test: Pair,
    heatmaps: Mapping[str, Pair],
    *,
    fractions: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
    fill: str | float | Tensor = "mean",
    keep: bool = False,
    mask_only: bool = False,
    seeds: int | Sequence[int] = 3,
    epochs: int = 15,
    rate: float = 3e-3,
    batch_size: int = 32,
    together: int | None = None,
    map: Map = map,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Roar:
    r"""ROAR, remove and retrain: hide what each map ranks highest, train new networks on what is left.

    If a map finds what the class can be told from, a network that never sees it learns less: the faster the
    accuracy falls, the better the map. Training and test images are masked alike, so that no network meets
    images unlike those it was trained on. The row ``"random"`` hides random pixels, and a map that is not
    below it has shown nothing.

    The masks tell of the class too: what a network learns from them alone, ``mask_only=True`` measures. And
    maps that hold no information on the network, such as blurred or edge-seeking ones, can do well: see the
    chapter.

    For every map, fraction and seed one network is trained, ``epochs`` times over the training set, by Adam
    with a one-cycle schedule. Networks with the same seed begin with the same weights and see the same
    mini-batches in the same order, so that maps and fractions are compared like with like; each seed has its
    own. Where nothing or everything is hidden, all maps share one network. All are trained in one loop,
    ``together`` at a time, which changes nothing but rounding.

    Args:
        network: makes a new network with random weights: a function without arguments, or a class. Images
            :math:`(b, C, H, W)` in, logits out. Neither batch normalisation nor dropout: their networks
            cannot be trained in one loop; group and layer normalisation can.
        train: training images :math:`(n, C, H, W)` and labels :math:`(n,)`.
        test: likewise.
        heatmaps: name of an explainer → its maps for the training images, :math:`(n, H, W)`, and for the test
            images. Larger is more relevant, whatever the sign; at equal values chance decides.
        fractions: shares of the pixels to hide, ascending, from 0 to 1.
        fill: what hidden pixels become: ``"mean"``, the training set's mean of each channel; ``"grey"``, 0.5;
            a number, or a tensor that broadcasts to an image.
        keep: keep and retrain: the fractions say what is *kept*, the highest ranked pixels, and the rest is
            hidden. The better the map, the faster accuracy rises.
        mask_only: train on the masks alone, 1 where a pixel is shown and 0 where it is hidden.
        seeds: how many networks for each map and fraction (their seeds are 0, 1, …), or a list of seeds.
        epochs: passes over the training set.
        rate: highest learning rate.
        batch_size: images in a mini-batch.
        together: how many networks are trained in one loop; None for as many as serve: one at a time where
            convolutions run on a processor, which they keep busy alone.
        map: calls a function on each of the loops, in their order; ``xai_lib.cluster.on_ray(...)`` has other
            processes train, with equal results.
        generator: source of the random maps and of the order of equal values, on the images' device.
        progress: show a progress bar, counted in epochs.

    Returns:
        A ``Roar``: ``.accuracy`` :math:`(names, F, seeds)`, ``.mean``, ``.curve(name)``.

    Raises:
        ValueError: if a set is empty or its labels are out of range, a map has not its image's shape,
            ``fractions`` do not ascend within [0, 1], the network holds what cannot be trained so, or a
            training diverges.

    Source: Hooker et al. 2019, arXiv:1806.10758. Masks that leak the class: Rong et al. 2022,
    arXiv:2202.00449.

    >>> images, labels = torch.rand(12, 1, 4, 4), torch.arange(12) % 2
    >>> def network():
    ...     return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    >>> maps = {"brightness": (images[:, 0], images[:, 0])}
    >>> roar(network, (images, labels), (images, labels), maps, fractions=(0, 0.5), epochs=1).accuracy.shape
    torch.Size([2, 2, 3])
    """
    train, test = _checks.check_pair("train", train), _checks.check_pair("test", test)
    _check_sets(train, test)
    shares = _ranking.check_fractions(fractions)
    maps = _check_heatmaps(heatmaps, train[0], test[0])
    values = _check_fill(fill, train[0])
    keep, mask_only = _checks.check_flag("keep", keep), _checks.check_flag("mask_only", mask_only)
    seeds = _check_seeds(seeds)
    plan = _Plan(
        _checks.check_count("epochs", epochs),
        _checks.check_number("rate", rate, above=0),
        _checks.check_count("batch_size", batch_size),
        _checks.check_flag("progress", progress),
    )
    map = _checks.check_map(map)
    _checks.check_generator(generator, train[0].device)
    with _model.own_arithmetic():
        start = begin(network, seeds, train)
        together = _check_together(together, start, train[0], plan.batch_size)
        names = tuple(maps) if RANDOM in maps else (*maps, RANDOM)
        sides = (
            _Side(images, labels, _all_ranks(maps, images, side, generator), values, keep, mask_only)
            for side, (images, labels) in enumerate((train, test))
        )
        pixels = train[0][0, 0].numel()
        counts = [round(share * pixels) for share in shares]
        jobs, place = _jobs(len(names), counts, pixels, len(seeds))
        right = _trained(start, *sides, jobs, seeds, plan, together, map)
        accuracy = torch.tensor(right, dtype=train[0].dtype)[place] / len(test[1])
    shares = torch.tensor(shares, dtype=train[0].dtype, device=train[0].device)
    return Roar(names, shares, accuracy.to(train[0].device), seeds)


# -------------------------------------------------------------------------------------------- what is hidden


def hide(
    x: Tensor,
    heatmaps: Tensor,
    fraction: float,
    *,
    fill: str | float | Tensor = "mean",
    keep: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Images without the pixels that their maps rank highest: the masking half of ROAR, for a loop of one's
    own.

    Args:
        x: images, :math:`(N, C, H, W)`.
        heatmaps: one map for each image, :math:`(N, H, W)`; larger is more relevant.
        fraction: share of the pixels to hide (with ``keep``: to keep), from 0 to 1.
        fill: what hidden pixels become: ``"mean"``, the mean of each channel over all of ``x``; ``"grey"``,
            0.5; a number, or a tensor that broadcasts to an image: of a test set, give the training set's
            mean.
        keep: keep the highest ranked pixels and hide the others.
        generator: source of the order of equal values, on ``x``'s device.

    Returns:
        Images, :math:`(N, C, H, W)`.

    Raises:
        ValueError: if a map has not its image's shape, or ``fraction`` or ``fill`` is not as above.

    >>> hide(x, x.mean(1), 0.5).shape
    torch.Size([2, 3, 64, 64])
    """
    x = _checks.ordinary(_checks.check_real("x", x, "images (N, C, H, W)", (4,)))
    heatmaps = _check_maps("heatmaps", heatmaps, x)
    fraction = _checks.check_number("fraction", fraction, least=0, most=1, what="a share of the pixels")
    values = _check_fill(fill, x)
    keep = _checks.check_flag("keep", keep)
    _checks.check_generator(generator, x.device)
    ranks = _ranks(heatmaps, generator)
    first = ranks < round(fraction * ranks[0].numel())
    return torch.where((first == keep)[:, None], x, values)


class _Side(NamedTuple):
    """The training set or the test set, with the ranks of its pixels for every map."""

    images: Tensor  # (n, C, H, W)
    labels: Tensor  # (n,)
    ranks: Tensor  # (names, n, H, W)
    fill: Tensor  # broadcasts to (C, H, W)
    keep: bool
    mask_only: bool

    def masked(self, jobs: Tensor, which: Tensor) -> Tensor:
        """For each job (map, count, seed) the images numbered (J, b), or (1, b): (J, b, C, H, W)."""
        first = self.ranks[jobs[:, :1], which] < jobs[:, 1, None, None, None]  # (J, b, H, W)
        shown = (first == self.keep)[:, :, None]
        images = self.images[which]
        if self.mask_only:
            return shown.to(images.dtype).expand(-1, -1, images.shape[2], -1, -1)
        return torch.where(shown, images, self.fill)

    def source(self, jobs: Tensor) -> Callable[[Tensor], Tensor]:
        """``masked`` for these jobs, as a function of ``which`` (J, b) alone.

        Where all masked images fit into memory, they are made once, and not again in each epoch.
        """
        if len(jobs) * self.images.numel() * self.images.element_size() > KEPT:
            return lambda which: self.masked(jobs, which)
        n = len(self.images)
        pieces = torch.arange(n, device=jobs.device)[None].split(256, 1)
        rows = torch.cat([self.masked(jobs, some) for some in pieces], 1).flatten(0, 1)  # (J · n, C, H, W)
        first = n * torch.arange(len(jobs), device=jobs.device)[:, None]
        return lambda which: rows.index_select(0, (first + which).flatten()).unflatten(0, which.shape)


def _all_ranks(maps: dict[str, Pair], images: Tensor, side: int, generator: torch.Generator | None) -> Tensor:
    """The ranks of every map, and of a random one where none was given: (names, n, H, W)."""
    flat = images.new_zeros(len(images), *images.shape[2:])  # equal everywhere: chance decides all
    given = [pair[side] for pair in maps.values()] + ([] if RANDOM in maps else [flat])
    small = torch.int16 if flat[0].numel() <= torch.iinfo(torch.int16).max else torch.int32
    return torch.stack([_ranks(one, generator).to(small) for one in given])


def _ranks(heatmaps: Tensor, generator: torch.Generator | None) -> Tensor:
    """The place of every pixel in the order of hiding, (n, H, W), int64: 0 goes first.

    Equal values are put in a random order, for each map anew: hidden in the same order in all images, they
    would be the same pixels everywhere, which a network that is trained again soon does without.
    """
    values = heatmaps.flatten(1)
    chance = torch.rand(values.shape, device=values.device, generator=generator).argsort(1)
    order = values.gather(1, chance).argsort(dim=1, descending=True, stable=True)
    return chance.gather(1, order).argsort(1).view(heatmaps.shape)


# ---------------------------------------------------------------------------------------- train many at once


class _Plan(NamedTuple):
    epochs: int
    rate: float
    batch_size: int
    progress: bool


def _jobs(
    n_names: int, counts: list[int], pixels: int, n_seeds: int
) -> tuple[list[tuple[int, int, int]], Tensor]:
    """Each network to train, as (map, pixels, seed); and where the answer of each (map, fraction, seed) is.

    Where no pixel or every pixel is hidden, the map does not matter: one network does.
    """
    jobs: dict[tuple[int, int, int], int] = {}
    place = torch.empty(n_names, len(counts), n_seeds, dtype=torch.int64)
    for a in range(n_names):
        for f, count in enumerate(counts):
            for s in range(n_seeds):
                job = (0 if count in (0, pixels) else a, count, s)
                place[a, f, s] = jobs.setdefault(job, len(jobs))
    return list(jobs), place


def _trained(
    start: Start,
    train: _Side,
    test: _Side,
    jobs: list[tuple[int, int, int]],
    seeds: tuple[int, ...],
    plan: _Plan,
    together: int,
    map: Map,
) -> list[int]:
    """Train every network; how many test images each gets right."""
    right: list[int] = []
    loops = [jobs[i : i + together] for i in range(0, len(jobs), together)]
    with _model.progress_bar(len(jobs) * plan.epochs, "ROAR", plan.progress) as bar:
        for some in map(_Loop(start, train, test, seeds, plan), loops):
            right += some
            bar.update(len(some) * plan.epochs)
    return right


class _Loop(NamedTuple):
    """What trains some networks in one loop; it can be sent to another process, with all that it needs."""

    start: Start
    train: _Side
    test: _Side
    seeds: tuple[int, ...]
    plan: _Plan

    def __call__(self, some: list[tuple[int, int, int]]) -> list[int]:
        """How many test images each network gets right."""
        start, train, plan = self.start, self.train, self.plan
        with _model.own_arithmetic():
            table = torch.tensor(some, device=train.images.device)  # (J, 3)
            used = sorted({seed for _, _, seed in some})
            batches = order(len(train.labels), [self.seeds[s] for s in used], plan.epochs, plan.batch_size)
            own = torch.tensor([used.index(seed) for _, _, seed in some])
            weights = start.stacked([seed for _, _, seed in some])
            run = runner(start, len(some))
            _training.train(weights, batches, _loss(run, weights, train, table, own), plan.rate)
            return _count_right(run, weights, self.test, table, plan.batch_size)


def _loss(run: Run, weights: Weights, train: _Side, table: Tensor, own: Tensor) -> Callable[[Tensor], Tensor]:
    """The sum of the networks' losses on a batch; job j takes its row ``own[j]``."""
    images = train.source(table)

    def loss(batch: Tensor) -> Tensor:
        which = batch[own].to(table.device)  # (J, b)
        logits = run(weights, images(which)).mT.contiguous()  # (J, K, b): a softmax is faster across rows
        return F.cross_entropy(logits, train.labels[which], reduction="sum") / which.shape[1]

    return loss


@torch.no_grad()
def _count_right(
    run: Run,
    weights: Weights,
    test: _Side,
    table: Tensor,
    batch_size: int,
) -> list[int]:
    right = torch.zeros(len(table), dtype=torch.int64, device=table.device)
    for which in torch.arange(len(test.labels), device=table.device).split(batch_size):
        logits = run(weights, test.masked(table, which[None]))
        right += (logits.argmax(2) == test.labels[which]).sum(1)
    return right.tolist()


# ------------------------------------------------------------------------------------------ what is refused


def _check_sets(train: Pair, test: Pair) -> None:
    for name, (images, _) in (("train", train), ("test", test)):
        if images.dim() != 4:
            raise ValueError(f"{name} images must be 4-D, (n, C, H, W), got shape {tuple(images.shape)}")
    (images, _), (others, labels) = train, test
    for what, ours, theirs in (
        ("shape", tuple(images.shape[1:]), tuple(others.shape[1:])),
        ("dtype", images.dtype, others.dtype),
        ("device", images.device, others.device),
    ):
        if ours != theirs:
            raise ValueError(f"test images must have the {what} of train's, {ours}, got {theirs}")
    highest = int(train[1].max())
    if int(labels.max()) > highest:
        raise ValueError(
            f"test labels must occur in train, whose highest is {highest}, got {int(labels.max())}"
        )


def _check_heatmaps(heatmaps: Any, train: Tensor, test: Tensor) -> dict[str, Pair]:
    if not isinstance(heatmaps, Mapping) or not all(isinstance(name, str) for name in heatmaps):
        raise TypeError(
            "heatmaps must be a dict from an explainer's name to its maps (of train, of test), "
            f"got {type(heatmaps).__name__}"
        )
    checked = {}
    for name, pair in heatmaps.items():
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(
                f"heatmaps[{name!r}] must be a pair, maps of the training and of the test images, "
                f"got {type(pair).__name__}"
            )
        checked[name] = tuple(
            _check_maps(f"heatmaps[{name!r}][{i}]", one, images)
            for i, (one, images) in enumerate(zip(pair, (train, test), strict=True))
        )
    return checked


def _check_maps(name: str, heatmaps: Any, images: Tensor) -> Tensor:
    """Check one map for each image, (n, H, W)."""
    maps = _checks.check_maps_of(name, heatmaps, images)
    if maps.shape[1] > 1:
        wanted = (len(images), *images.shape[-2:])
        raise ValueError(
            f"{name} must have the shape {wanted}, one map for each image, got {tuple(maps.shape)}"
        )
    return maps[:, 0].float() if maps.dtype == torch.bool else maps[:, 0]


def _check_fill(fill: Any, x: Tensor) -> Tensor:
    """What hidden pixels become, so that it broadcasts to an image."""
    if isinstance(fill, str):
        if _checks.check_choice("fill", fill, ("mean", "grey")) == "grey":
            return torch.full_like(x[0, :, :1, :1], 0.5)
        wide = _model.wide(x.dtype)
        return x.mean((0, 2, 3), dtype=wide).to(x.dtype)[:, None, None]
    if not isinstance(fill, Tensor):
        fill = _checks.check_number("fill", fill, what="'mean', 'grey' or a tensor")
    return _checks.check_like_images("fill", fill, x[:1])[0]


def _check_seeds(seeds: Any) -> tuple[int, ...]:
    if isinstance(seeds, Sequence) and not isinstance(seeds, str):
        given = tuple(_checks.check_count(f"seeds[{i}]", s, least=0) for i, s in enumerate(seeds))
        if not given or len(set(given)) < len(given):
            raise ValueError(f"seeds must be different numbers, at least one, got {seeds!r}")
        return given
    return tuple(range(_checks.check_count("seeds", seeds)))


def _check_together(together: Any, start: Start, images: Tensor, batch_size: int) -> int:
    """How many networks to a loop: as many as serve, where the caller does not say."""
    if together is not None:
        return _checks.check_count("together", together)
    processor = images.device.type == "cpu"
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in start.network.modules())
    if processor and convolves:
        return 1
    return max(1, 2 ** (22 if processor else 26) // (batch_size * images[0].numel()))
