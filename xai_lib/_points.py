"""Gradients at many points of each image: in runs, at random noise, and along a path.

What SmoothGrad and integrated gradients are made of.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _model
from xai_lib._checks import Classes

# ------------------------------------------------------------------------------------------------------ runs


class Run(NamedTuple):
    """Gradients at neighbouring points of one image."""

    image: int
    first: int  # number of the first of these points
    gradients: Tensor  # (points, C, H, W)


def gradient_runs(
    model: nn.Module,
    classes: Classes,
    n_points: int,
    batch_size: int,
    make_points: Callable[[Tensor, Tensor], Tensor],
) -> Iterator[Run]:
    """Input gradients at ``n_points`` points for each image, in chunks of ``batch_size`` points.

    ``make_points(images, points)`` gets two index tensors (b,) and returns the pixels (b, C, H, W). Points
    are taken image by image and every chunk but the last is full: the number of passes is the least possible,
    and the memory is that of one chunk. A run never spans two images, so sums need no scattered (and on a GPU
    unordered) writes.
    """
    total = len(classes.index) * n_points
    for start in range(0, total, batch_size):
        stop = min(start + batch_size, total)
        flat = torch.arange(start, stop, device=classes.index.device)
        images = flat.div(n_points, rounding_mode="floor")
        gradients = _model.input_gradient(
            model, make_points(images, flat - images * n_points), classes.of(images)
        )
        while start < stop:
            image, first = divmod(start, n_points)
            size = min(n_points - first, stop - start)
            yield Run(image, first, gradients[:size])
            gradients = gradients[size:]
            start += size


# ----------------------------------------------------------------------------------------------------- noise


def normal_draws(
    x: Tensor, total: int, generator: torch.Generator | None, block: int = 16
) -> Callable[[int], Tensor]:
    """A source of ``total`` standard normal images like ``x[0]``; call it with how many you want next.

    Drawn in blocks of a fixed size whatever is asked for, so that the numbers do not depend on the chunks.
    """
    shape, drawn = x.shape[1:], 0
    spare = x.new_empty((0, *shape))

    def draw(count: int) -> Tensor:
        nonlocal drawn, spare
        parts, have = [spare] if len(spare) else [], len(spare)
        while have < count:
            size = min(block, total - drawn)
            parts.append(torch.randn(size, *shape, generator=generator, dtype=x.dtype, device=x.device))
            drawn += size
            have += size
        pool = _joined(parts) if parts else spare
        spare = pool[count:]  # a view: small chunks are served from one block without copies
        return pool[:count]

    return draw


def _joined(parts: list[Tensor]) -> Tensor:
    """The parts as one tensor: a single one is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def noise(
    x: Tensor, n: int, together: int, generator: torch.Generator | None
) -> Callable[[Tensor, Tensor], Tensor]:
    """A source of n standard normal images for each image, asked for in order: ``draw(images, samples)``.

    With two ``together``, one is the other's negative; of an odd number the last stays alone.
    """
    units = math.ceil(n / together)
    fresh = normal_draws(x, len(x) * units, generator)
    pool, first, position = fresh(0), 0, 0

    def unit(flat: int) -> int:
        return flat // n * units + flat % n // together

    def draw(images: Tensor, samples: Tensor) -> Tensor:
        nonlocal pool, first, position
        start, stop = unit(position), unit(position + len(images) - 1) + 1
        position += len(images)
        pool = _joined([t for t in (pool[start - first :], fresh(stop - first - len(pool))) if len(t)])
        first = start
        if together == 1:
            return pool
        which = images * units + samples.div(together, rounding_mode="floor") - start
        sign = (1 - 2 * (samples % 2)).to(x.dtype)[:, None, None, None]
        return pool[which] * sign  # (b, C, H, W)

    return draw


class Sums:
    """Sums over the gradients of each image, in replicates, updated run by run."""

    def __init__(self, x: Tensor, replicates: int, statistic: str) -> None:
        self.counts, self.statistic = [0] * replicates, statistic
        self.total = x.new_zeros((replicates, *x.shape), dtype=_model.wide(x.dtype))
        self.squares = torch.zeros_like(self.total) if statistic == "variance" else None
        self.origin = torch.zeros_like(self.total[0]) if statistic == "variance" else None
        self.begun: set[int] = set()  # images that have an origin

    def add(self, run: "Run", together: int) -> None:
        """Add gradients; ``together`` neighbours go to one replicate."""
        values = run.gradients.to(self.total.dtype)  # (points, C, H, W)
        if self.statistic == "square":
            values = values.square()
        elif self.origin is not None:
            # Deviations are counted from the first sample, not from zero: the difference of two large sums of
            # squares would leave nothing but rounding where the gradient hardly varies.
            if run.image not in self.begun:
                self.origin[run.image] = values[0]
                self.begun.add(run.image)
            values = values - self.origin[run.image]
        period = together * len(self.counts)
        for i in range(min(period, len(values))):
            r, mine = (run.first + i) // together % len(self.counts), values[i::period]
            self.total[r, run.image] += mine.sum(0)
            if self.squares is not None:
                self.squares[r, run.image] += mine.square().sum(0)
            self.counts[r] += len(mine)

    def estimate(self, without: int | None = None) -> Tensor:
        """The statistic (N, C, H, W) of all replicates, or of all but one."""
        keep = [r for r in range(len(self.counts)) if r != without]
        n = sum(self.counts[r] for r in keep) / self.total.shape[1]
        mean = self.total[keep].sum(0) / n
        if self.squares is None:
            return mean
        return (self.squares[keep].sum(0) / n - mean.square()).clamp(min=0)

    def error(self) -> Tensor:
        """The jackknife's standard error (N, C, H, W); infinite with a single replicate."""
        R = len(self.counts)
        if R == 1:
            return torch.full_like(self.total[0], torch.inf)
        mean, squares = torch.zeros_like(self.total[0]), torch.zeros_like(self.total[0])
        whole = self.estimate()
        for r in range(R):
            deviation = self.estimate(without=r) - whole
            mean += deviation / R
            squares += deviation.square()
        return ((R - 1) / R * (squares - R * mean.square()).clamp(min=0)).sqrt()

    def relative_error(self) -> Tensor:
        """The error's norm over the norm of the converged statistic, (N,): the noise's share is taken off."""
        noise, norm = (v.square().sum((1, 2, 3)) for v in (self.error(), self.estimate()))
        signal = (norm - noise).clamp(min=0)
        return torch.where(noise == 0, noise, noise / signal).sqrt()  # noise / 0 = inf


# ---------------------------------------------------------------------------------------------------- a path

PANELS = 16


class Path:
    """The straight paths from the baselines to the images."""

    def __init__(
        self, model: nn.Module, x: Tensor, start: Tensor, classes: Classes, batch_size: int, bar: Any
    ) -> None:
        self.model, self.x, self.start, self.classes = model, x, start, classes
        self.batch_size, self.bar = batch_size, bar
        wide = _model.wide(x.dtype)
        self.way = x.to(wide) - start.to(wide)  # (N, C, H, W)

    def points(self, images: Tensor, alpha: Tensor) -> Tensor:
        """The images (b, C, H, W) at alpha (b,) on the way."""
        start = self.start[images].to(alpha.dtype)
        return torch.addcmul(start, alpha[:, None, None, None], self.way[images]).to(self.x.dtype)

    def change(self) -> Tensor:
        """The explained logits at the images, minus those at the baselines, (N,)."""
        with torch.no_grad():
            ends = [
                torch.cat(
                    [_model.logits_of(self.model, part.clone()) for part in images.split(self.batch_size)]
                )
                for images in (self.x, self.start)
            ]
        at_image, at_start = (v.gather(1, self.classes.index)[:, 0].to(self.way.dtype) for v in ends)
        return at_image - at_start

    def gauss_legendre(self, n: int) -> Tensor:
        """The mean gradient on each path, (N, C, H, W)."""
        nodes, weights = np.polynomial.legendre.leggauss(n)  # on [-1, 1]
        total = torch.zeros_like(self.way)
        alpha, weight = (
            torch.as_tensor(v / 2, dtype=total.dtype, device=total.device) for v in (1 + nodes, weights)
        )

        def on_path(images: Tensor, steps: Tensor) -> Tensor:
            return self.points(images, alpha[steps])

        for run in gradient_runs(self.model, self.classes, n, self.batch_size, on_path):
            some = weight[run.first : run.first + len(run.gradients), None, None, None]
            total[run.image] += (some * run.gradients.to(total.dtype)).sum(0)
            self.bar.update(len(run.gradients))
        return total

    def adaptive(
        self, images: range, change: list[float], most: int, tolerance: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """On the paths of some images: the mean gradient (n, C, H, W), the points it took and its error (n,).

        A panel holds k evenly spaced midpoints; three times as many include those. So only the panels' sums
        are kept, and of each gradient a sketch.
        """
        n_panels = min(PANELS, most)
        sums = self.way.new_zeros((len(images), n_panels, *self.x.shape[1:]))
        signs = _signs(self.way[0].numel()).to(self.way)
        panels = [_Panels(change[i], most, tolerance) for i in images]
        while new := [(n, j, a) for n, p in enumerate(panels) for j, a in p.wanted]:
            sketches = []
            all_images = torch.tensor([images[n] for n, _, _ in new], device=self.x.device)
            all_alpha = torch.tensor([a for *_, a in new], dtype=sums.dtype, device=self.x.device)
            for at in range(0, len(new), self.batch_size):
                chunk, which = new[at : at + self.batch_size], all_images[at : at + self.batch_size]
                points = self.points(which, all_alpha[at : at + self.batch_size])
                slopes = _model.input_gradient(self.model, points, self.classes.of(which)).to(sums.dtype)
                sketches.append(_sketch((slopes * self.way[which]).flatten(1), signs))
                for n, j in dict.fromkeys((n, j) for n, j, _ in chunk):
                    mine = [i for i, point in enumerate(chunk) if point[:2] == (n, j)]
                    sums[n, j] += slopes[mine[0] : mine[-1] + 1].sum(0)
                self.bar.update(len(chunk))
            rows = torch.cat(sketches).double().cpu().numpy()  # the round's only wait
            for n, p in enumerate(panels):
                p.seen(rows[[i for i, point in enumerate(new) if point[0] == n]])
        weights = torch.tensor(np.array([p.widths / p.k for p in panels]), device=sums.device).to(sums.dtype)
        total = (sums * weights[:, :, None, None, None]).sum(1)
        errors = torch.tensor([p.relative_error for p in panels], dtype=sums.dtype, device=sums.device)
        return total, torch.tensor([int(p.k.sum()) for p in panels]), errors


def _signs(n: int) -> Tensor:
    """The same random signs at every call, whatever the caller's generators are at."""
    return 2 * torch.randint(0, 2, (n,), generator=torch.Generator().manual_seed(0)) - 1


def _sketch(shares: Tensor, signs: Tensor) -> Tensor:
    """Of shares (b, CHW) their sum, and 256 sums with random signs, which keep their distances: (b, 257)."""
    buckets = F.pad(shares * signs, (0, -shares.shape[1] % 256)).unflatten(1, (256, -1)).sum(2)
    return torch.cat([shares.sum(1, keepdim=True), buckets], 1)


class _Panels:
    """Where on one path the gradient was taken, and where it is wanted next. All on the host."""

    def __init__(self, change: float, most: int, tolerance: float) -> None:
        # The gradient moves most near the baseline, where a picture has hardly begun: shorter panels there.
        n = min(PANELS, most)
        self.edges = np.linspace(0, 1, n + 1) ** 1.5
        self.widths, self.k = np.diff(self.edges), np.ones(n, dtype=int)
        self.change, self.most, self.tolerance = change, most, tolerance
        self.relative_error = math.inf
        self.alpha, self.panel, self.rows = np.empty(0), np.empty(0, dtype=int), np.empty((0, 257))
        self.wanted = [(j, self.edges[j] + self.widths[j] / 2) for j in range(n)]

    def seen(self, rows: np.ndarray) -> None:
        """Take the sketches at the wanted points, and say which are wanted next: none if it is enough."""
        if not self.wanted:
            return
        self.alpha = np.append(self.alpha, [a for _, a in self.wanted])
        self.panel = np.append(self.panel, [j for j, _ in self.wanted])
        self.rows = np.concatenate([self.rows, rows])
        order = self.alpha.argsort()
        self.alpha, self.panel, self.rows = self.alpha[order], self.panel[order], self.rows[order]
        cell = self.widths / self.k
        total = (cell[self.panel, None] * self.rows).sum(0)  # the sum of the shares, and their sketch
        # A midpoint's error in a cell is about the cell's width times the jump to the next over √12.
        jumps = np.diff(self.rows, axis=0) ** 2
        by_sum, by_map = (self._by_panel(v) * cell**2 for v in (jumps[:, 0], jumps[:, 1:].sum(1)))
        allowed = self.tolerance * abs(self.change)
        norm = (total[1:] ** 2).sum()
        self.relative_error = _share(by_map.sum() / 12, norm) ** 0.5
        # The gap may be small by luck: the jumps must allow of it, too.
        if abs(total[0] - self.change) <= allowed and (by_sum.sum() / 12) ** 0.5 <= 2 * allowed:
            self.wanted = []
            return
        gain = _share(by_map, norm) + 4 * _share(by_sum, self.change**2)  # in the map, and in its sum
        self.wanted = self._thirds(gain / self.k)

    def _by_panel(self, jumps: np.ndarray) -> np.ndarray:
        halves = np.append(jumps, 0) / 2 + np.append(0, jumps) / 2  # each jump lies between two points
        return np.bincount(self.panel, halves, len(self.k))

    def _thirds(self, gain: np.ndarray) -> list[tuple[int, float]]:
        """New points in the panels with the greatest gain for each point: a third more than there are."""
        chosen, left = [], self.most - len(self.alpha)
        for j in (-gain).argsort(kind="stable"):
            if gain[j] > 0 and 2 * self.k[j] <= left and sum(2 * self.k[chosen]) < len(self.alpha) / 3:
                chosen.append(j)
                left -= 2 * self.k[j]
        chosen.sort()
        self.k[chosen] *= 3
        return [
            (int(j), self.edges[j] + self.widths[j] * (i + 0.5) / self.k[j])
            for j in chosen
            for i in range(self.k[j])
            if i % 3 != 1  # the middle third's point is there already
        ]


def _share(part: Any, whole: float) -> Any:
    return part / whole if whole > 0 else part * 0.0
