"""Random draws with less noise than independent ones, and how much noise is left in what they estimate."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_lib import _checks, _model

REPLICATES = 8  # parts that leave one out: more would tell the error better, and cost as many maps
ROUND = 128  # after so many samples of each image a tolerance is looked at


# ---------------------------------------------------------------------------------------------- balanced bits


def hadamard_order(columns: int) -> int:
    """The order of the Hadamard matrix with so many columns, besides the constant one."""
    return 2 ** math.ceil(math.log2(columns + 1))


def balanced_bits(blocks: int, columns: int, uniform: Callable[..., Tensor], order: int = 0) -> Tensor:
    """Bits (blocks · 2 · order, columns): rows of Hadamard matrices, each followed by its complement.

    Any two of the matrix's columns agree in half of the rows: within a block no column's effect is mistaken
    for another's. Columns are dealt at random and turned over by a coin each, rows are shuffled; so every row
    alone is one of independent fair bits. ``uniform(*shape)`` draws from [0, 1).
    """
    order = order or hadamard_order(columns)
    coins = uniform(blocks, columns) < 0.5
    dealt = 1 + uniform(blocks, order - 1).argsort(1)[:, :columns]
    rows = uniform(blocks, order).argsort(1)
    matrix = torch.ones(1, 1, dtype=torch.bool, device=coins.device)
    while len(matrix) < order:  # Sylvester: H, H over H, not H
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, ~matrix], 1)])
    bits = matrix[rows[:, :, None], dealt[:, None]] ^ coins[:, None]  # (blocks, order, columns)
    return torch.stack([bits, ~bits], 2).view(-1, columns)


# ------------------------------------------------------------------------------------------------- soft masks


@dataclass(frozen=True, eq=False)
class RiseMasks:
    """Soft masks, described: a grid of bits each, and a shift for all that are drawn together.

    ``masks.pixels()`` are the masks themselves, (n, H, W); ``masks.pixels(numbers)`` some of them.
    """

    bits: Tensor  # (n, grid, grid), bool
    shifts: Tensor  # (units, 2), int64: down and across, less than a cell
    together: int  # how many masks, one after the other, are drawn together and share a shift
    keep: float  # the probability of a bit
    size: tuple[int, int]  # of the images

    def __len__(self) -> int:
        return len(self.bits)

    def first(self, n: int) -> "RiseMasks":
        """The first n of them."""
        return replace(self, bits=self.bits[:n], shifts=self.shifts[: math.ceil(n / self.together)])

    @_model.own_arithmetic()
    def pixels(self, numbers: Tensor | slice = slice(None), dtype: torch.dtype = torch.float32) -> Tensor:
        """The masks with these numbers, (m, H, W)."""
        every, wide = torch.arange(len(self), device=self.bits.device), _model.wide(dtype)
        rows, columns = self._upsampling(every[numbers] // self.together, wide)
        return (rows @ self.bits[numbers].to(wide) @ columns.mT).to(dtype)

    def groups(self, n: int) -> Tensor:
        """For each mask to which of n groups it is dealt, (masks,): what is drawn together stays together."""
        return torch.arange(len(self), device=self.bits.device) // self.together % n

    def weighted_sums(self, weights: Tensor, group: int, groups: int) -> Tensor:
        """The sums of a group's masks, weighted: (K, H·W) from weights (K, n), without a mask being made."""
        grid, units = self.bits.shape[-1], range(group, len(self.shifts), groups)
        total = weights.new_zeros(len(weights), *self.size)
        for start in range(0, len(units), 128):
            some = torch.tensor(units[start : start + 128], device=weights.device)
            numbers = some[:, None] * self.together + torch.arange(self.together, device=weights.device)
            there = numbers < len(self)  # the last unit may be cut short
            numbers = numbers.clamp(max=len(self) - 1)
            weight = (weights[:, numbers] * there).to(weights.dtype)  # (K, u, together)
            # Masks with one shift are one map of their bits' sum; maps with several shifts one long product.
            bits = torch.einsum("kut,utc->kuc", weight, self.bits[numbers].flatten(2).to(weights.dtype))
            rows, columns = self._upsampling(some, weights.dtype)  # (u, H, grid), (u, W, grid)
            right = bits.unflatten(2, (grid, grid)) @ columns.mT  # (K, u, grid, W)
            total += rows.transpose(0, 1).flatten(1) @ right.flatten(1, 2)
        return total.flatten(1)

    def _upsampling(self, units: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """Bilinear interpolation of (grid,) to (grid + 1) cells, a matrix of which a shift picks the rows."""
        grid, maps = self.bits.shape[-1], []
        eye = torch.eye(grid, dtype=dtype, device=units.device)[None]
        for length, shift in zip(self.size, self.shifts[units].T, strict=True):
            matrix = F.interpolate(eye, (grid + 1) * math.ceil(length / grid), mode="linear")[0].T
            maps.append(matrix[shift[:, None] + torch.arange(length, device=units.device)])
        return maps


class MaskDesign(NamedTuple):
    size: tuple[int, int]
    grid: int
    keep: float
    paired: bool
    together: int  # 1, 2 for pairs, or the size of a balanced block


def check_mask_design(
    size: tuple[int, int], grid: int, keep: float, paired: bool, balanced: bool | None, n: int
) -> MaskDesign:
    grid = _checks.check_count("grid", grid)
    if grid > min(size):
        raise ValueError(
            f"grid must not have more cells along a side than the image has pixels, {size}, got {grid}"
        )
    if not _checks.is_number(keep) or not 0 < keep < 1:
        raise ValueError(f"keep must be a probability between 0 and 1, both excluded, got {keep!r}")
    paired, block = _checks.check_flag("paired", paired), 2 * hadamard_order(grid * grid)
    fits = paired and keep == 0.5 and n >= 2 * block
    if balanced is not None and _checks.check_flag("balanced", balanced) and not fits:
        raise ValueError(
            f"balanced masks need paired=True, keep=0.5 and at least {2 * block} masks for grid={grid}, "
            f"got paired={paired}, keep={keep}, n_masks={n}"
        )
    together = block if fits and (balanced is None or balanced) else 2 if paired else 1
    return MaskDesign(size, grid, float(keep), paired, together)


def draw_masks(
    n: int, design: MaskDesign, device: torch.device, generator: torch.Generator | None
) -> RiseMasks:
    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device, dtype=torch.float32)

    size, grid, keep, paired, together = design
    units = math.ceil(n / together)
    if together > 2:
        bits, shifts = balanced_bits(units, grid * grid, uniform), _spread(units, uniform)
    elif paired:
        # u and 1 − u: each mask is as probable as before, and where one is low its twin is high
        draws = uniform(units, grid, grid)
        twins = ~(draws < 0.5) if keep == 0.5 else 1 - draws < keep
        bits, shifts = torch.stack([draws < keep, twins], 1).flatten(0, 1), uniform(units, 2)
    else:
        bits, shifts = uniform(n, grid, grid) < keep, uniform(n, 2)
    cell = torch.tensor([math.ceil(length / grid) for length in size], device=device)
    return RiseMasks(bits.view(-1, grid, grid)[:n], (shifts * cell).long(), together, keep, size)


def _spread(n: int, uniform: Callable[..., Tensor]) -> Tensor:
    """Points (n, 2) that fill the unit square evenly, however many are used: steps of two irrational numbers.

    Their ratio comes from the real root of g³ = g + 1, as the golden ratio's does in one dimension. The start
    is random, so that every point alone is uniform.
    """
    golden = 1.3247179572447460
    steps = torch.arange(n, device=(start := uniform(2)).device)[:, None] / start.new_tensor(
        [golden, golden**2]
    )
    return (start + steps) % 1


# ---------------------------------------------------------------------------------- which superpixels to show


def coin_flips(
    n: int, d: int, paired: bool, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Samples (n, d), bool, the first all True.

    An image's own columns are the same whatever the others of its batch need (in blocks: up to 63 columns).
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device, dtype=torch.float32)

    if not paired:
        bits = torch.stack([uniform(n) < 0.5 for _ in range(d)], 1)
        bits[0] = True
        return bits
    order = block_order(d)
    bits = balanced_bits(math.ceil(n / 2 / order), order - 1, uniform)[:n, :d]
    bits[0], bits[1:2] = True, False
    return bits


def block_order(d: int) -> int:
    return max(64, hadamard_order(d))


def coalitions(d: int, n: int, paired: bool, device: torch.device, generator: torch.Generator) -> Tensor:
    """Coalitions (at most n, d): all, none, sizes 1 and d − 1, and the other sizes mixed.

    So the first few of them are as fair a sample as all.
    """
    ends = [
        torch.ones(1, d, dtype=torch.bool, device=device),
        torch.zeros(1, d, dtype=torch.bool, device=device),
    ]
    each = 2 if paired else 1
    sizes = list(range(1, d // 2 + 1 if paired else d))
    there = {k: math.comb(d, k) // (2 if paired and 2 * k == d else 1) for k in sizes}
    first = [k for k in sizes if k in (1, d - 1)]
    left = math.ceil((n - 2) / each) - sum(there[k] for k in first)
    parts = [_subsets(d, k, there[k], there[k], paired, generator) for k in first]
    rest, others = [k for k in sizes if k not in first], []
    for k in sorted(rest, key=there.get):  # small sizes in whole where they are no more than their share
        if there[k] * len(rest) > left:
            break
        others.append(_subsets(d, k, there[k], there[k], paired, generator))
        left, rest = left - there[k], [r for r in rest if r != k]
    for i, k in enumerate(rest):
        count = left * (i + 1) // len(rest) - left * i // len(rest)
        others.append(_subsets(d, k, count, there[k], paired, generator))
    if others:
        mixed = torch.cat(others)
        parts.append(mixed[torch.randperm(len(mixed), generator=generator, device=device)])
    drawn = torch.cat(parts) if parts else ends[0][:0]
    drawn = torch.stack([drawn, ~drawn], 1).flatten(0, 1) if paired else drawn
    return torch.cat([*ends, drawn])[:n]


def _subsets(d: int, k: int, count: int, there: int, paired: bool, generator: torch.Generator) -> Tensor:
    """Coalitions (count, d) of size k, at random without repeats (of paired ones, none is another's twin)."""
    device = generator.device
    if there <= 32 * count:  # few enough to list; a sample of more hardly ever repeats itself
        fixed = 1 if paired and 2 * k == d else 0  # of twins of one size list those with the first superpixel
        listed = [(0, *c) if fixed else c for c in combinations(range(fixed, d), min(k, d - k) - fixed)]
        chosen = torch.tensor(listed, device=device)[
            torch.randperm(there, generator=generator, device=device)[:count]
        ]
        some = torch.zeros(count, d, dtype=torch.bool, device=device).scatter_(1, chosen, True)
        return some if 2 * k <= d else ~some
    order = (
        torch.rand(count, d, generator=generator, device=device, dtype=torch.float32).argsort(1).argsort(1)
    )
    return order < k


def sizes(samples: Tensor, own: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The size of each coalition (N, n), and how many of each size there are among those kept, (N, d + 1)."""
    sizes = (samples & own[:, None]).sum(2)
    ones = torch.ones_like(sizes, dtype=torch.float64) if kept is None else kept.double()
    counts = ones.new_zeros(len(samples), samples.shape[2] + 1)
    return sizes, counts.scatter_add_(1, sizes, ones)


def binomials(own: Tensor) -> Tensor:
    """How many coalitions of each size each image has, (N, d + 1), in float64."""
    rows = [[math.comb(d, k) for k in range(own.shape[1] + 1)] for d in own.sum(1).tolist()]
    return torch.tensor(rows, dtype=torch.float64, device=own.device)


def kernel_weights(samples: Tensor, own: Tensor, kept: Tensor | None = None) -> Tensor:
    """Weights (N, n) in the regression, float64: each size has the kernel's, shared among its coalitions."""
    size, counts = sizes(samples, own, kept)
    d, k = own.sum(1)[:, None].double(), torch.arange(counts.shape[1], device=own.device)
    mass = _model.ratio(d - 1, k * (d - k)).clamp(min=0).expand_as(counts).clone()
    mass[:, 0] = 0
    mass = mass.where((k < d) & (k > 0), torch.zeros_like(mass))
    # What is due to sizes without a coalition goes to the others.
    mass = mass * _model.ratio(mass.sum(1, keepdim=True), (mass * (counts > 0)).sum(1, keepdim=True))
    weights = _model.ratio(mass, counts).gather(1, size)
    return weights if kept is None else weights * kept


# ----------------------------------------------------------------------------------------------------- errors


def check_enough(name: str, n: int, together: int) -> None:
    """Check that there are two units drawn apart: one has nothing to differ from."""
    if n < 2 * together:
        raise ValueError(f"{name} must be at least {2 * together} to estimate an error, got {n}")


def jackknife(estimate: Tensor, without: Tensor, counts: Tensor) -> Tensor:
    """Deviations (G, ...) whose squares sum to the variance of an estimate (...).

    ``without`` (G, ...) are the estimates that leave out one of G groups, of ``counts`` (G,) samples each.
    """
    share = counts.sum() / counts
    # A pseudo-value is off by (share − 1)(estimate − without), with a variance of share − 1 times one's.
    scale = ((share - 1) / len(counts)).sqrt()
    return (estimate - without) * scale.view(-1, *[1] * estimate.dim())


def noise_over_signal(estimate: Tensor, deviations: Tensor) -> Tensor:
    """Noise over signal of patterns (M, P), from their deviations (G, M, P): (M,).

    The root mean square of the noise over the standard deviation of the pattern without it, both without the
    pattern's level. Infinite where noise is all there is to see.
    """
    noise = deviations.var(2, correction=0).sum(0)
    signal = (estimate.var(1, correction=0) - noise).clamp(min=0)
    error = (noise / signal.where(signal > 0, torch.ones_like(signal))).sqrt()
    error = error.where(signal > 0, torch.full_like(error, torch.inf))
    # A flat pattern without noise is exact, up to the rounding of its sums.
    tiny = (64 * torch.finfo(estimate.dtype).eps * estimate.abs().amax(1)).square()
    return error.where(noise > tiny, torch.zeros_like(error))
