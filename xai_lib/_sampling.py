"""Random draws with less noise than independent ones, and how much noise is left in what they estimate."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

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
