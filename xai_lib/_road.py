"""ROAD: hide by rank, impute, and ask the same model again; nothing is retrained."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xai_lib import _checks, _imputation, _masking, _model, _ranking
from xai_lib._checks import Classes, Target


@dataclass(frozen=True, eq=False)
class Road:
    """What ``road`` returns.

    Attributes:
        fractions: shares of the pixels that were hidden, :math:`(F,)`.
        scores: probability of the target, :math:`(N, F)`, or :math:`(N, M, F)`; float32 or better.
        predicted: class that the model gives, in the same shape, int64.
        target: class of each image whose probability is meant, :math:`(N,)`.
    """

    fractions: Tensor
    scores: Tensor
    predicted: Tensor
    target: Tensor

    @property
    def accuracy(self) -> Tensor:
        """Share of the images to which the model still gives the target, (F,), or (M, F)."""
        own = self.target.view(-1, *[1] * (self.predicted.dim() - 1))
        return (self.predicted == own).to(self.scores.dtype).mean(0)


def road(
    model: nn.Module,
    x: Tensor,
    target: Target,
    heatmaps: Tensor,
    *,
    fractions: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    order: str = "morf",
    sigma: float = 0.1,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Road:
    r"""ROAD, remove and debias: hide by rank, fill in by noisy linear imputation, ask the same model.

    Filling with one colour shows the outline of what was hidden, and a network can read the class from that
    outline alone. ``impute`` blurs the outline away, so that what falls with the fraction is what the pixels
    said. (Not all of it: the imputed image is a blurred one, and maps that hide in patches gain from that.)

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class that the heatmaps explain: an int, a tensor :math:`(N,)` (the labels, say), or None for
            the model's own choice on the whole image.
        heatmaps: one map for each image, :math:`(N, H, W)`, or M maps, :math:`(N, M, H, W)`; larger is more
            relevant, and a negative value is less relevant than zero. At equal values chance decides.
        fractions: shares of the pixels to hide, ascending, from 0 to 1.
        order: ``"morf"`` hides the most relevant first: the better the map, the faster accuracy falls.
            ``"lerf"`` hides the least relevant first: the better the map, the longer it holds. ``"random"``
            ignores the maps.
        sigma: standard deviation of the noise on hidden pixels, the same draw for all masks of an image.
        batch_size: masked images in one pass; None for 16 on a processor and 64 on a GPU.
        generator: source of the noise and of the order of equal values, on ``x``'s device.
        progress: show a progress bar, counted in passes.

    Returns:
        A ``Road``: ``.scores`` :math:`(N, F)`, ``.accuracy`` :math:`(F,)`; with M maps :math:`(N, M, F)` and
        :math:`(M, F)`.

    Raises:
        ValueError: if ``x``, ``target`` or ``heatmaps`` is not as above, ``fractions`` do not ascend within
            [0, 1], ``order`` is unknown or ``sigma`` is negative.

    Source: Rong et al. 2022, arXiv:2202.00449.

    >>> result = road(model, x, None, x.mean(1))
    >>> result.scores.shape, result.accuracy.shape
    (torch.Size([2, 5]), torch.Size([5]))
    """
    x = _checks.check_images(model, x)
    classes = _checks.check_target(target, x)
    maps = _checks.check_maps_of("heatmaps", heatmaps, x)  # (N, M, H, W)
    shares = _ranking.check_fractions(fractions)
    _checks.check_choice("order", order, _ranking.ORDERS)
    sigma = _checks.check_number("sigma", sigma, least=0, what="a standard deviation")
    batch_size = _checks.check_batch_size(batch_size, x.device)
    _checks.check_generator(generator, x.device)
    progress = _checks.check_flag("progress", progress)
    with _model.left_as_found(model):
        with torch.no_grad():
            n_classes = _model.logits_of(model, x[:1].clone()).shape[1]
        if classes is None:
            classes = _model.own_choice(model, x, batch_size)
        _checks.check_range(classes.highest, n_classes)
        ranking = _ranking.rank(maps, 1, order, generator)
        counts = torch.tensor([round(share * ranking.regions) for share in shares], device=x.device)
        noise = sigma * _imputation.noise_like(x, generator)

        def shown(samples: Tensor, images: Tensor) -> Tensor:
            return ~ranking.first(images, samples // len(shares), counts[samples % len(shares)])

        def imputed(_samples: Tensor, images: Tensor, shown: Tensor) -> Tensor:
            return _imputation.with_noise(_imputation.solved(x[images], ~shown), ~shown, noise[images])

        every = torch.arange(n_classes, device=x.device).expand(len(x), -1)
        scores = _masking.masked_scores(
            model,
            x,
            Classes(every, n_classes - 1, True),
            maps.shape[1] * len(shares),
            shown,
            imputed,
            batch_size=batch_size,
            name="ROAD",
            progress=progress,
        ).unflatten(2, (-1, len(shares)))  # (N, classes, M, F)
    own = scores.take_along_dim(classes.index[:, :, None, None], 1)[:, 0]
    predicted = scores.argmax(1)
    if heatmaps.dim() == 3:
        own, predicted = own[:, 0], predicted[:, 0]
    return Road(torch.tensor(shares, dtype=own.dtype, device=x.device), own, predicted, classes.index[:, 0])
