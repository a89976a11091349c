"""The best and the worst order in which an image's regions can be hidden: what an AOPC can be at all."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xai_lib import _checks, _masking, _model, _ranking
from xai_lib._checks import Target
from xai_lib._masking import Fill


class Bounds(NamedTuple):
    """What ``aopc_bounds`` returns."""

    lower: Tensor  #: AOPC of the worst order that was found, (N,)
    upper: Tensor  #: AOPC of the best one, (N,)
    worst: Tensor  #: a map that has the worst order, (N, H, W)
    best: Tensor  #: a map that has the best one, (N, H, W)


def aopc_bounds(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    region: int,
    steps: int,
    fill: Fill,
    beams: int = 1,
    what: str = "probability",
    batch_size: int | None = None,
    progress: bool = False,
) -> Bounds:
    r"""The lowest and the highest AOPC that any order of the regions can have, as far as a search finds them.

    An AOPC cannot be read by itself: one model loses its class with the first region, another with the last,
    whatever the map. ``Aopc.normalised`` says where a value lies between these two bounds. They belong to the
    model and the image, not to a map: one search serves all maps.

    At each step the search tries every region that is left, and keeps the ``beams`` sets of hidden regions
    whose scores so far have the least (for the worst order the largest) sum; orders that have hidden the same
    set are one. With one beam that is the greedy order. With as many beams as there are sets of one size it
    is exact (of 6 regions, 20); with fewer a map can be better than the best order found. Costs for each
    image, and each bound, at most ``beams * steps`` times the number of regions left: take few, large ones.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class whose score is measured, as for ``aopc``; so are ``region``, ``steps``, ``what`` and
            ``batch_size``.
        fill: what hidden pixels become; ``"uniform"`` is not offered: every try would be so many draws.
        beams: sets of hidden regions that are followed at a time.
        progress: show a progress bar, counted in passes.

    Returns:
        ``Bounds``: ``lower`` and ``upper``, :math:`(N,)`, and maps :math:`(N, H, W)` that have the orders
        found: judged by ``aopc`` with the same options, ``best`` gets ``upper`` and ``worst`` gets ``lower``.

    Raises:
        ValueError: as ``aopc``.

    Source: Edin et al. 2025, arXiv:2408.08137.

    >>> bounds = aopc_bounds(model, x, 1, region=32, steps=4, fill="mean")
    >>> bool((bounds.lower <= bounds.upper).all()), bounds.best.shape
    (True, torch.Size([2, 64, 64]))
    """
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    _ranking.check_regions(x, region, steps)
    hidden = _masking.hidden_images(_masking.check_fill(fill, x), x)
    beams = _checks.check_count("beams", beams)
    _checks.check_choice("what", what, ("probability", "logit"))
    batch_size = _checks.check_batch_size(batch_size, x.device)
    progress = _checks.check_flag("progress", progress)
    cell = _ranking.cells(x, region)
    regions = int(cell[-1]) + 1
    with _model.left_as_found(model):
        classes = classes or _model.own_choice(model, x, batch_size)
        n_tries = 2 * len(x) * sum(min(beams, max(1, k * regions)) * (regions - k) for k in range(steps))
        with _model.progress_bar(n_tries, "AOPC bounds", progress) as bar:

            def scores(gone: Tensor, tries: Tensor) -> Tensor:
                """The score with one region more hidden, (N, B, R), of those sets that shall be tried."""

                def keep(samples: Tensor, images: Tensor) -> Tensor:
                    lost = gone[images, samples // regions].scatter(1, (samples % regions)[:, None], True)
                    return ~lost[:, cell].unflatten(1, x.shape[-2:])

                found = _masking.masked_scores(
                    model,
                    x,
                    classes,
                    gone[0].numel(),
                    keep,
                    hidden,
                    batch_size=batch_size,
                    what=what,
                    only=tries.flatten(1),
                )
                bar.update(int(tries.sum()))
                return found[:, 0].view_as(tries)

            untouched = torch.zeros(len(x), 1, regions, dtype=torch.bool, device=x.device)
            whole = _whole(model, x, classes, batch_size, what)
            found = []
            for sign in (-1.0, 1.0):  # the worst order leaves the largest sum of scores, the best the least
                total, order = _search(scores, untouched, steps, beams, sign)
                values = torch.arange(steps, 0, -1, dtype=x.dtype, device=x.device).expand_as(order)
                maps = torch.zeros_like(untouched[:, 0], dtype=x.dtype).scatter(1, order, values)
                found.append(
                    ((steps * whole - total) / (steps + 1), maps[:, cell].unflatten(1, x.shape[-2:]))
                )
    (lower, worst), (upper, best) = found
    return Bounds(lower, upper, worst, best)


def _whole(model: nn.Module, x: Tensor, classes: _checks.Classes, batch_size: int, what: str) -> Tensor:
    """The scores of the images as they are, (N,)."""

    def keep(_samples: Tensor, images: Tensor) -> Tensor:
        return torch.ones(len(images), *x.shape[-2:], dtype=torch.bool, device=x.device)

    return _masking.masked_scores(model, x, classes, 1, keep, x, batch_size=batch_size, what=what)[:, 0, 0]


def _search(
    scores: Callable[[Tensor, Tensor], Tensor], untouched: Tensor, steps: int, beams: int, sign: float
) -> tuple[Tensor, Tensor]:
    """The order of regions with the least sum of ``sign`` times the scores: that of the scores, (N,), and the
    order, (N, steps)."""
    gone, total = untouched, torch.zeros(untouched.shape[:2], dtype=torch.float64, device=untouched.device)
    order = torch.zeros(*gone.shape[:2], 0, dtype=torch.int64, device=gone.device)
    regions = gone.shape[-1]
    drawn = torch.randint(
        -(2**62), 2**62, (regions,), generator=torch.Generator().manual_seed(0), device="cpu"
    )
    signs = drawn.to(gone.device)  # a set of regions is known by the sum of its regions' numbers
    for _ in range(steps):
        before = torch.where(gone, torch.inf, total[..., None])  # (N, B, R)
        names = (gone * signs).sum(-1, keepdim=True) + signs
        tries = before.isfinite() & _first_of_each(names.flatten(1), before.flatten(1)).view_as(gone)
        after = torch.where(tries, before + sign * scores(gone, tries).to(before.dtype), torch.inf).flatten(1)
        chosen = after.argsort(dim=1, stable=True)[:, :beams]  # (N, B)
        total, beam, lost = after.gather(1, chosen), chosen // regions, (chosen % regions)[..., None]
        gone = gone.gather(1, beam[..., None].expand(-1, -1, regions)).scatter(2, lost, True)
        order = torch.cat([order.gather(1, beam[..., None].expand(-1, -1, order.shape[2])), lost], 2)
    return sign * total[:, 0], order[:, 0]


def _first_of_each(names: Tensor, costs: Tensor) -> Tensor:
    """Which of the candidates (N, n) is the cheapest of its name, bool."""
    turns = costs.argsort(dim=1, stable=True)
    turns = turns.gather(1, names.gather(1, turns).argsort(dim=1, stable=True))
    sorted_ = names.gather(1, turns)
    first = torch.ones_like(sorted_, dtype=torch.bool)
    first[:, 1:] = sorted_[:, 1:] != sorted_[:, :-1]
    return torch.empty_like(first).scatter_(1, turns, first)
