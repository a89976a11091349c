r"""Chapter 6: is a heatmap true to the model? Hide what it calls important, and watch the score.

Every judge is ``judge(model, x, target, heatmaps, *, options)``: it judges maps, wherever they come from. One
map for each image, :math:`(N, H, W)`, or several, :math:`(N, M, H, W)`: then they share the passes' batches,
and results have an axis M.

The conventions, the same for every judge here:

- **Regions** are hidden as a whole: single pixels (``region=1``), or squares of ``region`` pixels a side,
  from the upper left corner on; at the lower and the right border they are cut off. A region's relevance is
  the mean of the map over it. Only the *order* of the regions counts, not by how much they differ.
- **The order**: ``"morf"`` takes the most relevant region first, ``"lerf"`` the least relevant first, which
  is what ``"morf"`` does with the negated map, and ``"random"`` ignores the maps. Regions of equal relevance
  come in a random order: broken by position, a tie would favour whatever stands at the top of the picture. So
  a constant map is a random order.
- **What is measured** is the softmax probability of the class (``what="probability"``) or its logit.
- **What hidden pixels become** changes curves more than most maps do (see ``perturbation`` for the words that
  ``fill`` may be): try more than one before you believe a ranking.
- **Two judges ask for more than maps**: ``roar`` for what trains a new network, ``max_sensitivity`` for the
  explainer itself.
- **Randomness** (ties, random orders, noise) comes from ``generator`` alone, is drawn before the first pass,
  and is shared by all images and maps. Scores are float32 or better.

>>> deletion(model, x, 1, torch.rand(2, 64, 64), steps=8).auc.shape
torch.Size([2])
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _checks, _masking, _model, _ranking
from xai_lib._bounds import Bounds, aopc_bounds
from xai_lib._checks import Classes, Target
from xai_lib._imputation import impute
from xai_lib._masking import Fill
from xai_lib._ranking import Ranking
from xai_lib._road import Road, road
from xai_lib._roar import Roar, hide, roar
from xai_lib._sensitivity import infidelity, max_sensitivity

__all__ = [
    "Aopc",
    "Bounds",
    "Curve",
    "Road",
    "Roar",
    "aopc",
    "aopc_bounds",
    "deletion",
    "hide",
    "impute",
    "infidelity",
    "insertion",
    "max_sensitivity",
    "road",
    "roar",
]


@dataclass(frozen=True, eq=False)
class Curve:
    """How a score moves while an image is taken away, or given back, region by region."""

    fractions: Tensor  #: share of the regions that have changed at each step, (steps + 1,), from 0 to 1
    scores: Tensor  #: the class's score there, (N, steps + 1), or (N, M, steps + 1)

    @property
    def auc(self) -> Tensor:
        """Area under each curve by the trapezoid rule, (N,) or (N, M): the mean score along the way."""
        return torch.trapezoid(self.scores, self.fractions)


@dataclass(frozen=True, eq=False)
class Aopc:
    """How far the score lies below that of the whole image, over the first regions taken away."""

    fractions: Tensor  #: share of the regions that are hidden at each step, (steps + 1,), from 0
    scores: Tensor  #: the class's score there, (N, steps + 1), or (N, M, steps + 1): a mean over the repeats

    @property
    def value(self) -> Tensor:
        """Area over the perturbation curve, (N,) or (N, M); for a data set take the mean over the images."""
        return (self.scores[..., :1] - self.scores).mean(-1)

    def normalised(self, bounds: Bounds) -> Tensor:
        """Where the value lies between the bounds of its image: 0 is the worst order found, 1 the best.

        Outside [0, 1] where a map beats the search, or was judged with other options than the bounds were
        found with; NaN where the bounds are equal: then no order is better than another.
        """
        width, value = bounds.upper - bounds.lower, self.value
        lower, width = (v[:, None] if value.dim() == 2 else v for v in (bounds.lower, width))
        return (value - lower) / width.where(width > 0, torch.nan)


# --------------------------------------------------------------------------------------------------- judges


def deletion(
    model: nn.Module,
    x: Tensor,
    target: Target,
    heatmaps: Tensor,
    *,
    steps: int = 50,
    fill: Fill = 0.0,
    region: int = 1,
    order: str = "morf",
    what: str = "probability",
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Curve:
    r"""Deletion: how fast the score falls as the most relevant regions are hidden first. Low area: good.

    After step s of S the first :math:`k_s = \lfloor s R / S + 1/2 \rfloor` of the R regions are hidden (so
    none at the start, and all at the end); ``fractions`` holds :math:`k_s / R`, what was truly hidden. Costs
    one forward pass for each image and ``steps`` for each map.

    The authors measure the softmax probability, hide 224 pixels a step, and fill with zeros *behind* the
    normalisation, which is the mean colour of ImageNet: here
    ``fill=torch.tensor([0.485, 0.456, 0.406])[:, None, None]``. The default is black.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class whose score is measured: an int, a tensor :math:`(N,)`, or None for the model's own
            choice on the whole image.
        heatmaps: the maps to judge, :math:`(N, H, W)` or :math:`(N, M, H, W)`.
        steps: points of the curve after the first; at most as many as there are regions.
        fill: what hidden pixels become.
        region: side of a region in pixels.
        order: ``"morf"``, ``"lerf"`` or ``"random"``.
        what: ``"probability"`` or ``"logit"``.
        batch_size: images in one pass; None for 16 on a processor and 64 on a GPU.
        generator: source of the order of ties and of random orders, on ``x``'s device; None for torch's own.
        progress: show a progress bar, counted in passes.

    Returns:
        A ``Curve``: the first score is that of the image, the last that of the fill alone.

    Raises:
        ValueError: if ``x``, ``target`` or ``heatmaps`` is not as above, there are more steps than regions, a
            region is larger than the image, or an option is unknown.

    Source: Petsiuk et al. 2018, arXiv:1806.07421, section 4.2.

    >>> deletion(model, x, 1, torch.rand(2, 3, 64, 64), steps=8, fill="blur").scores.shape
    torch.Size([2, 3, 9])
    """
    given = _given(model, x, target, heatmaps, steps, region, order, what, batch_size, generator, progress)
    fill = _masking.check_fill(fill, given.x)
    counts = _ranking.counts(steps, given.ranking.regions)
    scores = given.scores(model, counts, _masking.hidden_images(fill, given.x), name="Deletion")
    return Curve(_fractions(counts, given, scores), scores)


def insertion(
    model: nn.Module,
    x: Tensor,
    target: Target,
    heatmaps: Tensor,
    *,
    steps: int = 50,
    start: Fill = "blur",
    region: int = 1,
    order: str = "morf",
    what: str = "probability",
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Curve:
    r"""Insertion: how fast the score rises as the most relevant regions are shown first. High area: good.

    The picture begins as ``start`` and ends as the image. The authors start from a *blurred* image, since a
    region shown on a blank one brings a sharp edge of its own, which can be evidence by itself; their blur is
    a Gaussian of :math:`\sigma = 5` pixels, cut off to 11 × 11, for images of 224 pixels a side (pass such an
    image as ``start``); ``"blur"`` is a stronger one. ``start=0.0`` is the blank start. Steps, arguments,
    errors and cost are those of ``deletion``.

    Args:
        start: what the picture is before anything is shown; what ``fill`` is to ``deletion``.

    Returns:
        A ``Curve``: the first score is that of the start, the last that of the image.

    Source: Petsiuk et al. 2018, arXiv:1806.07421, section 4.2.

    >>> insertion(model, x, 1, torch.rand(2, 64, 64), steps=8, region=4).fractions[:3]
    tensor([0.0000, 0.1250, 0.2500])
    """
    given = _given(model, x, target, heatmaps, steps, region, order, what, batch_size, generator, progress)
    start = _masking.check_fill(start, given.x, name="start")
    counts = _ranking.counts(steps, given.ranking.regions)
    scores = given.scores(
        model, counts, _masking.hidden_images(start, given.x), insert=True, name="Insertion"
    )
    return Curve(_fractions(counts, given, scores), scores)


def aopc(
    model: nn.Module,
    x: Tensor,
    target: Target,
    heatmaps: Tensor,
    *,
    region: int = 9,
    steps: int = 100,
    fill: Fill = "uniform",
    repeats: int = 10,
    order: str = "morf",
    what: str = "probability",
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Aopc:
    r"""Area over the perturbation curve: the mean drop of the score over the first L regions hidden.

    .. math:: \frac{1}{L + 1} \sum_{k=0}^{L} \bigl( f(x^{(0)}) - f(x^{(k)}) \bigr)

    where :math:`x^{(k)}` is the image with its k most relevant regions hidden, one more at each step. The
    term k = 0 is zero and counts in the :math:`L + 1`. High with ``order="morf"``: good; with ``"lerf"``,
    low. The difference of the two is the symmetric relevance gain of Blücher et al., meant to depend less on
    the fill than either. The baseline of all is ``order="random"``: one order, for all images; for a steadier
    one judge a few maps of noise, ``torch.rand(N, 10, H, W)``. ``aopc_bounds`` says what is possible at all.

    ``fill="uniform"`` draws fresh noise for the pixels of every region, uniform in [0, 1], and the curve is a
    mean over ``repeats`` draws; with any other fill nothing is drawn, and once is enough. Costs one forward
    pass for each image, and ``steps * repeats`` for each map.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class whose score is measured: an int, a tensor :math:`(N,)`, or None for the model's own
            choice on the whole image.
        heatmaps: the maps to judge, :math:`(N, H, W)` or :math:`(N, M, H, W)`.
        region: side of a region in pixels.
        steps: L, regions hidden in the end; at most as many as there are.
        fill: what hidden pixels become; ``"uniform"``, or as for ``deletion``.
        repeats: draws of the noise.
        order: ``"morf"``, ``"lerf"`` or ``"random"``.
        what: ``"probability"`` or ``"logit"``.
        batch_size: images in one pass; None for 16 on a processor and 64 on a GPU.
        generator: source of the noise, of the order of ties and of random orders, on ``x``'s device.
        progress: show a progress bar, counted in passes.

    Returns:
        An ``Aopc``: its ``scores``, and their ``value``.

    Raises:
        ValueError: as ``deletion``.

    Source: Samek et al. 2017, arXiv:1509.06321; symmetric relevance gain: Blücher et al. 2024,
    arXiv:2401.06654.

    >>> aopc(model, x, 1, torch.rand(2, 64, 64), region=16, steps=10, repeats=2).value.shape
    torch.Size([2])
    """
    given = _given(model, x, target, heatmaps, steps, region, order, what, batch_size, generator, progress)
    repeats = _checks.check_count("repeats", repeats)
    fill = _masking.check_fill(fill, given.x, words=("uniform", *_masking.FILLS))
    counts = list(range(steps + 1))
    if isinstance(fill, str) and fill == "uniform":
        hidden = _noise(repeats, given.x, generator)
    else:
        repeats, hidden = 1, _masking.hidden_images(fill, given.x)
    scores = given.scores(model, counts, hidden, repeats=repeats, name="AOPC")
    return Aopc(_fractions(counts, given, scores), scores)


# ----------------------------------------------------------------------------------- what they have in common


class _Given(NamedTuple):
    """A judge's checked arguments, with the order in which each map lets go of the regions."""

    x: Tensor
    classes: Classes | None
    several: bool  # whether the caller gave several maps an image, so that the answer has an axis M
    ranking: Ranking
    what: str
    batch_size: int
    progress: bool

    def scores(
        self,
        model: nn.Module,
        counts: list[int],
        hidden: Tensor,
        *,
        insert: bool = False,
        repeats: int = 1,
        name: str,
    ) -> Tensor:
        """Scores with the first ``counts`` regions changed, (N, steps + 1) or (N, M, steps + 1).

        With ``repeats``, ``hidden`` holds an image for each, and the scores are means over them.
        """
        n_maps, steps = self.ranking.rank.shape[1], len(counts) - 1
        changed = torch.tensor(counts[1:], dtype=torch.int32, device=self.x.device)
        changed = F.pad(
            changed.repeat(repeats * n_maps), (1, 0)
        )  # sample 0, with nothing changed, serves all

        def turn(samples: Tensor) -> Tensor:  # of repeats and maps, maps the faster
            return (samples - 1).clamp(min=0) // steps

        def keep(samples: Tensor, images: Tensor) -> Tensor:
            first = self.ranking.first(images, turn(samples) % n_maps, changed[samples])
            return first if insert else ~first

        def of_repeat(samples: Tensor, images: Tensor, shown: Tensor) -> Tensor:
            return torch.where(shown[:, None], self.x[images], hidden[turn(samples) // n_maps])

        with _model.left_as_found(model):
            scores = _masking.masked_scores(
                model,
                self.x,
                self.classes or _model.own_choice(model, self.x, self.batch_size),
                1 + repeats * n_maps * steps,
                keep,
                of_repeat if repeats > 1 else hidden,
                batch_size=self.batch_size,
                what=self.what,
                name=name,
                progress=self.progress,
            )[:, 0]
            rest = scores[:, 1:].unflatten(1, (repeats, n_maps, steps)).mean(1)  # (N, M, steps)
            curves = torch.cat([scores[:, :1, None].expand(-1, n_maps, 1), rest], 2)
            return curves if self.several else curves[:, 0]


def _given(
    model: nn.Module,
    x: Tensor,
    target: Target,
    heatmaps: Tensor,
    steps: int,
    region: int,
    order: str,
    what: str,
    batch_size: int | None,
    generator: torch.Generator | None,
    progress: bool,
) -> _Given:
    """Check what all judges are given, and rank the regions: once, before anything is scored."""
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    maps = _checks.check_maps_of("heatmaps", heatmaps, x)
    _ranking.check_regions(x, region, steps)
    _checks.check_choice("order", order, _ranking.ORDERS)
    _checks.check_choice("what", what, ("probability", "logit"))
    batch_size = _checks.check_batch_size(batch_size, x.device)
    progress = _checks.check_flag("progress", progress)
    _checks.check_generator(generator, x.device)
    ranking = _ranking.rank(maps, region, order, generator)
    return _Given(x, classes, heatmaps.dim() == 4, ranking, what, batch_size, progress)


def _fractions(counts: list[int], given: _Given, scores: Tensor) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(counts, dtype=scores.dtype, device=scores.device) / given.ranking.regions


def _noise(repeats: int, x: Tensor, generator: torch.Generator | None) -> Tensor:
    """One image of uniform noise for each repeat, shared by all images: what a region holds is fresh."""
    with torch.inference_mode(False):
        shape = (repeats, *x.shape[1:])
        return torch.rand(shape, generator=generator, dtype=torch.float32, device=x.device).to(x.dtype)
