r"""Noisy linear imputation: hidden pixels become the weighted mean of their neighbours.

For each hidden pixel :math:`u_i = \sum_j w_{ij} u_j / \sum_j w_{ij}`, over its neighbours inside the image,
with weights 1/6 for those that share a side and 1/12 for those that share a corner: one linear system for all
hidden pixels together, which is a discrete Laplace equation with the shown pixels as its boundary.

It is solved for all images at once by conjugate gradients, with a multigrid cycle as the preconditioner: what
lies far from every shown pixel is found on coarser grids. Five to twenty rounds do, whatever the size, and no
matrix is ever made.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_lib import _checks, _model

PRECISE = 2e-5  # as a share of the image's range: the largest error of a pixel before the last correction
COARSEST = 16  # pixels along the longer side: so small a system is solved as it stands
CACHE = 2**18  # values in one tensor that a processor works on fast


def impute(
    x: Tensor, hidden: Tensor, *, sigma: float = 0.1, generator: torch.Generator | None = None
) -> Tensor:
    r"""Fill hidden pixels from what is shown around them, so that the mask itself can hardly be seen.

    .. math:: u_i = \frac{\sum_{j} w_{ij} u_j}{\sum_{j} w_{ij}} + \sigma \varepsilon_i

    for each hidden pixel i, over its up to eight neighbours j, hidden or shown, with :math:`w_{ij} = 1/6` for
    those that share a side and :math:`1/12` for those that share a corner. Flat filling, say with the mean
    colour, leaves the outline of what is hidden; here the noise is all that could tell, and a network may
    still learn to see it.

    Args:
        x: images, :math:`(N, C, H, W)`.
        hidden: True where a pixel is hidden, :math:`(N, H, W)`, or :math:`(H, W)` for all images.
        sigma: standard deviation of Gaussian noise on the hidden pixels, in units of ``x``.
        generator: source of the noise, on ``x``'s device; None for torch's own.

    Returns:
        Images, :math:`(N, C, H, W)`. Shown pixels are those of ``x``. Values are not clipped. An image that
        is hidden whole has nothing to be filled from: it becomes its own mean colour (with noise).

    Raises:
        ValueError: if ``x`` is not a batch of finite images, ``hidden`` is not a mask for them, or ``sigma``
            is negative.

    Source: Rong et al. 2022, arXiv:2202.00449, section 4.

    >>> filled = impute(x, x.mean(1) > 0.5, sigma=0)
    >>> filled.shape, bool(filled.isfinite().all())
    (torch.Size([2, 3, 64, 64]), True)
    """
    x = _checks.ordinary(_checks.check_pixels(x))
    hidden = _check_hidden(hidden, x)
    sigma = _checks.check_number("sigma", sigma, least=0, what="a standard deviation")
    _checks.check_generator(generator, x.device)
    with _model.own_arithmetic():
        filled = solved(x, hidden)
        if sigma:
            filled = with_noise(filled, hidden, sigma * noise_like(x, generator))
        return filled


def noise_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard Gaussian noise of the shape of ``x``."""
    return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)


def with_noise(images: Tensor, hidden: Tensor, noise: Tensor) -> Tensor:
    """The images (b, C, H, W) with noise where they are hidden, (b, H, W)."""
    return torch.where(hidden[:, None], images + noise, images)


def _check_hidden(hidden: Tensor, x: Tensor) -> Tensor:
    """Check a mask for each image, or one for all: (N, H, W), bool."""
    _checks.check_tensor("hidden", hidden, "masks (N, H, W) or one mask (H, W)", (2, 3))
    if hidden.dtype != torch.bool:
        raise TypeError(
            f"hidden must be a mask of True and False, got {hidden.dtype}; compare, such as hidden > 0.5"
        )
    wanted = (len(x), *x.shape[-2:])
    if tuple(hidden.shape) not in (wanted, wanted[1:]):
        raise ValueError(
            f"hidden must have the shape {wanted} or {wanted[1:]} of x, got {tuple(hidden.shape)}"
        )
    if hidden.device != x.device:
        raise ValueError(
            f"hidden is on {hidden.device}, but x is on {x.device}; pass hidden.to('{x.device}')"
        )
    return _checks.ordinary(hidden).expand(wanted)


# --------------------------------------------------------------------------------------------- the equations


class Grid(NamedTuple):
    """The equations on one grid, ``own · u - share · box(u) = r``, for values that are 0 where known.

    With the weights 1/12 of (1 2 1; 2 0 2; 1 2 1) and their sum as the diagonal; the box adds the pixel
    itself four times, which ``own`` takes back.
    """

    inside: Tensor  # (b, 1, h, w): 1 for unknown pixels, 0 for the others
    own: Tensor  # (b, 1, h, w)
    share: Tensor  # (b, 1, h, w): 1 / 12, or 0
    jacobi: Tensor  # (b, 1, h, w): 0.8 over the diagonal, or 0
    stay: Tensor  # (b, 1, h, w): what a step of Jacobi keeps of u
    come: Tensor  # (b, 1, h, w): and what it takes of box(u)
    inverse: Tensor | None  # (b, h·w, h·w), on the coarsest grid, if it is small

    @classmethod
    def of(cls, inside: Tensor, there: Tensor) -> "Grid":
        """The equations for these unknown pixels, on a grid whose pixels are ``there``."""
        diagonal = inside * (box(there) - 4 * there) / 12
        own, jacobi = diagonal + inside / 3, 0.8 * _model.ratio(inside, diagonal)
        grid = cls(inside, own, inside / 12, jacobi, inside - jacobi * own, jacobi / 12, None)
        return grid if max(inside.shape[-2:]) > COARSEST else grid._replace(inverse=grid._inverted())

    def _inverted(self) -> Tensor:
        """The inverse of the equations as a dense matrix; what is no unknown stays 0."""
        size = self.inside[0].numel()
        pixels = torch.eye(size, dtype=self.inside.dtype, device=self.inside.device)
        rows = self.applied(
            (self.inside.flatten(1)[:, :, None] * pixels).unflatten(2, self.inside.shape[-2:])
        )
        free = self.inside.flatten(1)
        return torch.linalg.inv(rows.flatten(2) + torch.diag_embed(1 - free)) * free[:, :, None]

    def applied(self, u: Tensor) -> Tensor:
        """The left-hand side."""
        return (self.own * u).addcmul_(self.share, box(u), value=-1)

    def rest(self, u: Tensor, r: Tensor) -> Tensor:
        """The right-hand side without the left."""
        return torch.addcmul(r, self.own, u, value=-1).addcmul_(self.share, box(u))

    def smooth(self, u: Tensor, step: Tensor, times: int) -> Tensor:
        """Steps of damped Jacobi, where ``step`` is jacobi · r: what is rough in the error goes."""
        for _ in range(times):
            u = torch.addcmul(step, self.stay, u).addcmul_(self.come, box(u))
        return u


def box(u: Tensor) -> Tensor:
    """The sum over (1 2 1; 2 4 2; 1 2 1) round each pixel; beyond the border there is nothing."""
    framed = F.pad(u, (1, 1, 1, 1))
    pairs = framed[..., :-1] + framed[..., 1:]
    rows = pairs[..., :-1] + pairs[..., 1:]
    pairs = rows[..., :-1, :] + rows[..., 1:, :]
    return pairs[..., :-1, :] + pairs[..., 1:, :]


def solved(x: Tensor, hidden: Tensor) -> Tensor:
    """The images (b, C, H, W) with their hidden pixels (b, H, W) imputed, without noise."""
    some = max(1, (CACHE if x.device.type == "cpu" else 2**7 * CACHE) // x[0].numel())
    return torch.cat([_solved(*pair) for pair in zip(x.split(some), hidden.split(some), strict=True)])


def _solved(x: Tensor, hidden: Tensor) -> Tensor:
    """The same, all images together.

    The solution is refined until its error, which one cycle estimates from a residual in float64, is below
    ``PRECISE``; that cycle then corrects it once more.
    """
    values = x.to(_model.wide(x.dtype))
    whole = hidden.flatten(1).all(1)[:, None, None, None]  # nothing shown: no equation has a right-hand side
    inside = (hidden[:, None] & ~whole).to(values.dtype)
    grids = _grids(inside)
    (height, width), padded = x.shape[-2:], grids[0].inside.shape[-2:]
    known = F.pad(values * (1 - inside), (0, padded[1] - width, 0, padded[0] - height))
    tolerance = PRECISE * _range(values)
    finest = Grid(*(part.double() for part in grids[0][:-1]), None)
    sides = finest.share * box(known.double())
    shown = F.pad(1 - inside, (0, padded[1] - width, 0, padded[0] - height))
    u = grids[0].inside * _first_guess(known, shown, len(grids) - 1)
    for _ in range(6):
        correction, arrived = _conjugate_gradients(
            grids, finest.rest(u.double(), sides).to(u.dtype), tolerance
        )
        u = u + correction
        if arrived:
            filled = torch.where(inside.bool(), u[..., :height, :width], values)
            return torch.where(whole, values.mean((2, 3), keepdim=True), filled).to(x.dtype)
    raise RuntimeError("the imputation has not converged; are the images finite and of ordinary size?")


def _range(x: Tensor) -> Tensor:
    """How far each image's values reach, (b, 1, 1, 1); a tenth of their size at least."""
    low, high = x.amin((1, 2, 3), True), x.amax((1, 2, 3), True)
    return torch.maximum(high - low, 0.1 * torch.maximum(high, -low)).clamp(min=torch.finfo(x.dtype).tiny)


def _first_guess(known: Tensor, shown: Tensor, halvings: int) -> Tensor:
    """Each pixel the mean of what the smallest cell around it shows, of those that show something."""
    sums, counts, levels = known, shown, []
    for _ in range(halvings):
        levels.append((sums, counts))
        sums, counts = _sums_of_four(sums), _sums_of_four(counts)
    guess = sums.sum((2, 3), keepdim=True) / counts.sum((2, 3), keepdim=True)
    guess = torch.where(counts > 0, sums / counts, guess)
    for sums, counts in reversed(levels):
        guess = torch.where(counts > 0, sums / counts, _fourfold(guess))
    return guess


def _conjugate_gradients(
    grids: list[Grid], residual: Tensor, tolerance: Tensor, rounds: int = 48, look: int = 2
) -> tuple[Tensor, bool]:
    """A solution for this right-hand side, and whether it was within the tolerance of zero to begin with.

    The device is waited for after every ``look`` rounds only.
    """
    z = _cycle(grids, residual)  # about the error that is left
    if _within(z, tolerance):
        return z, True
    u, p, rz = torch.zeros_like(residual), z, _dot(residual, z)
    for turn in range(rounds):
        q = grids[0].applied(p)
        step = _model.ratio(rz, _dot(p, q))
        u, residual = torch.addcmul(u, step, p), torch.addcmul(residual, step, q, value=-1)
        z = _cycle(grids, residual)
        new = _dot(residual, z)
        p, rz = torch.addcmul(z, _model.ratio(new, rz), p), new
        if turn % look == look - 1 and _within(z, tolerance):
            break
    return u, False


def _within(z: Tensor, tolerance: Tensor) -> bool:
    return bool((z.abs().amax((1, 2, 3), True) <= tolerance).all())


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products by image and channel: each is a system of its own, (b, C, 1, 1)."""
    return (a * b).sum((2, 3), keepdim=True)


# ------------------------------------------------------------------------------------------------- multigrid


def _grids(inside: Tensor) -> list[Grid]:
    """The equations on finer to coarser grids, the first padded so that it can be halved all the way.

    Four pixels make one of the next grid, which is unknown if all four are: on thin strips, which vanish so,
    smoothing is enough. There is no grid on which nothing is unknown.
    """
    height, width = inside.shape[-2:]
    levels = 0
    while max(height, width) > COARSEST << levels:
        levels += 1
    step = 1 << levels
    border = (0, -width % step, 0, -height % step)
    there, inside = F.pad(torch.ones_like(inside[:1]), border), F.pad(inside, border)
    grids = [Grid.of(inside, there)]
    for _ in range(levels):
        have = _sums_of_four(there)
        inside, there = (
            ((_sums_of_four(inside) == have) & (have > 0)).to(inside.dtype),
            (have > 0).to(have.dtype),
        )
        if not inside.any():
            break
        grids.append(Grid.of(inside, there))
    return grids


def _cycle(grids: list[Grid], r: Tensor, level: int = 0) -> Tensor:
    """One V-cycle from zero: smooth, correct from the coarser grid, smooth. Symmetric, as it has to be.

    The coarser grid has the same weights, between pixels twice as far apart: so the residuals are summed over
    four pixels, not averaged.
    """
    grid = grids[level]
    if grid.inverse is not None:
        return (r.flatten(2) @ grid.inverse.mT).view_as(r)
    step = grid.jacobi * r
    if level == len(grids) - 1:  # whatever is unknown lies within a pixel or two of what is known
        return grid.smooth(step, step, 2)
    u = step  # the first step from zero
    rest = grids[level + 1].inside * _sums_of_four(grid.rest(u, r))
    u = torch.addcmul(u, grid.inside, _fourfold(_cycle(grids, rest, level + 1)))
    return grid.smooth(u, step, 1)


def _sums_of_four(u: Tensor) -> Tensor:
    rows = u[..., 0::2, :] + u[..., 1::2, :]
    return rows[..., 0::2] + rows[..., 1::2]


def _fourfold(u: Tensor) -> Tensor:
    return u.repeat_interleave(2, -1).repeat_interleave(2, -2)
