r"""Black-box explanations: change the image, watch the output (chapter 4).

Nothing here looks inside the model: images go in, class probabilities come out. So anything that can be
called can be explained (``black_box`` makes a model of it), and everything is paid for in forward passes.

The conventions, the same for every method here and in ``surrogates`` (LIME, KernelSHAP):

- **What is explained** is the softmax probability :math:`p_c`, a number that every classifier can give. (A
  model with one logit has no softmax: an error says how to give it two.)
- **What hidden pixels become** is ``fill``: a number or a tensor of pixels, ``"mean"`` (the mean colour of
  each superpixel, or of the image where there are none), ``"grey"`` (0.5) or ``"blur"`` (a Gaussian whose
  width is a twentieth of the image's shorter side). It changes the map, and no choice is neutral: chapter 4
  measures how much.
- **Many classes for the price of one**: ``target`` may also be a tensor (N, K), K classes for each image. The
  same passes serve all of them, and the result has an axis more: (N, K, H, W).
- **Memory** is that of one chunk of ``batch_size`` masked images; of a sample only its bits and its scores
  are kept.
- **Randomness** comes from ``generator`` alone. Bits and shifts are drawn before the first pass, so the same
  state gives the same samples whatever ``batch_size`` is. All images of a batch share them.
- **A method with something in between** has a function that gives it (``rise_fit``, ``lime_fit``,
  ``shapley_fit``): samples, scores and, computed when they are asked for, the ``heatmap`` and its error.

>>> rise(model, x, n_masks=8, grid=4).shape
torch.Size([2, 64, 64])
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from xai_lib import _checks, _masking, _model, _sampling
from xai_lib._checks import Target
from xai_lib._masking import Fill, options_of
from xai_lib._sampling import RiseMasks

__all__ = ["RiseFit", "RiseMasks", "black_box", "occlusion", "rise", "rise_fit", "rise_masks"]


def black_box(predict: Callable[[Tensor], Any]) -> nn.Module:
    """Make a model of any function from images to class probabilities: a forest, a remote service.

    Sigmoids (several labels at once) do not sum to one: explain one label against its absence, with
    ``torch.stack([1 - p[:, c], p[:, c]], 1)`` of label c's column, and ``target=1``.

    Args:
        predict: takes images, :math:`(b, C, H, W)`, and returns probabilities, :math:`(b, K)`, a tensor or an
            array; each row sums to one.

    Returns:
        A module in evaluation mode whose logits are the logarithms of the probabilities (so that their
        softmax gives the probabilities back); it has no gradient.

    Raises:
        TypeError: if ``predict`` cannot be called.
        ValueError: when it is used, if the result is not as above.

    >>> import numpy as np
    >>> model = black_box(lambda images: np.full((len(images), 2), 0.5))
    >>> model(torch.rand(3, 1, 8, 8)).softmax(1)[0]
    tensor([0.5000, 0.5000])
    """
    if not callable(predict):
        raise TypeError(f"predict must be a function of images, got {type(predict).__name__}")
    return _BlackBox(predict).eval()


class _BlackBox(nn.Module):
    def __init__(self, predict: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.predict = predict

    def forward(self, x: Tensor) -> Tensor:
        result = self.predict(x.detach())
        try:
            given = torch.as_tensor(result)
        except (RuntimeError, TypeError, ValueError):
            raise ValueError(
                f"predict must return probabilities ({len(x)}, classes) as a tensor or an array, "
                f"got {type(result).__name__}"
            ) from None
        p = given.to(x.device, torch.promote_types(x.dtype, torch.float32))
        if p.dim() != 2 or len(p) != len(x):
            raise ValueError(
                f"predict must return probabilities ({len(x)}, classes), got shape {tuple(p.shape)}"
            )
        if not ((p >= 0).all() and torch.allclose(p.sum(1), p.new_ones(len(p)), atol=1e-3)):
            raise ValueError(
                "predict must return probabilities: none negative, each row with the sum 1; "
                "if it returns logits, wrap it in a module instead; if it returns sigmoids (several labels), "
                "return torch.stack([1 - p[:, c], p[:, c]], 1) for the label c, and explain class 1"
            )
        return p.log()


def occlusion(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    window: int | tuple[int, int] = 32,
    stride: int | tuple[int, int] | None = None,
    fill: Fill = 0.0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    r"""Occlusion: how far the probability falls when a window hides a pixel, averaged over the windows that
    do.

    .. math:: R(\lambda) = \frac{1}{|\{W \ni \lambda\}|} \sum_{W \ni \lambda}
              \bigl(p_c(x) - p_c(x \text{ with } W \text{ filled})\bigr)

    Windows start at multiples of ``stride``; at the lower and the right border they are cut off, so that
    every pixel is covered. Negative where hiding *raises* the probability. Costs one forward pass for the
    image and one for each window: about :math:`HW / \text{stride}^2`.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, None for the model's own choice, or
            :math:`(N, K)` for K classes of each image at once.
        window: height and width of the window in pixels, or one number for both.
        stride: step between windows, likewise; at most ``window``. None for half the window.
        fill: what hidden pixels become.
        batch_size: images in one pass; None for 16 on a processor and 64 on a GPU.
        progress: show a progress bar, counted in passes.

    Returns:
        Signed differences of probability, :math:`(N, H, W)` (or :math:`(N, K, H, W)`), detached.

    Raises:
        ValueError: if ``x`` or ``target`` is not as above, a window is larger than the image, ``stride`` is
            larger than ``window`` (pixels between windows would never be hidden), or ``fill`` is not as in
            the module's text.

    Source: Zeiler and Fergus 2014, arXiv:1311.2901.

    >>> occlusion(model, x, window=16, stride=8).shape
    torch.Size([2, 64, 64])
    """
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x, many=True)
    sizes = _checks.check_sizes("window", window)
    steps = tuple(max(1, s // 2) for s in sizes) if stride is None else _checks.check_sizes("stride", stride)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    for axis, length in enumerate(x.shape[-2:]):
        if sizes[axis] > length:
            raise ValueError(f"window must fit into the image, {tuple(x.shape[-2:])}, got {window!r}")
        if steps[axis] > sizes[axis]:
            raise ValueError(
                f"stride must not exceed window, {window!r}, or pixels are left out; got {stride!r}"
            )
    fill, progress = _masking.check_fill(fill, x), _checks.check_flag("progress", progress)

    with _model.left_as_found(model):
        many = classes is not None and classes.many
        classes = classes or _model.own_choice(model, x, batch_size)
        rows, columns = (_windows(x.shape[k - 2], sizes[k], steps[k], x) for k in range(2))  # (h, H), (w, W)

        def keep(samples: Tensor, images: Tensor) -> Tensor:
            window = (samples - 1).clamp(min=0)  # sample 0 hides nothing
            row, column = rows[window // len(columns)], columns[window % len(columns)]  # (b, H), (b, W)
            return ~(row[:, :, None] & column[:, None, :] & (samples > 0)[:, None, None])

        scores = _masking.masked_scores(
            model,
            x,
            classes,
            1 + len(rows) * len(columns),
            keep,
            _masking.hidden_images(fill, x),
            batch_size=batch_size,
            name="Occlusion",
            progress=progress,
        )
        drop = (scores[..., :1] - scores[..., 1:]).unflatten(2, (len(rows), len(columns)))  # (N, K, h, w)
        rows, columns = rows.to(drop.dtype), columns.to(drop.dtype)
        total = rows.T @ drop @ columns  # (N, K, H, W): no map for each window
        heatmaps = (total / torch.outer(rows.sum(0), columns.sum(0))).to(x.dtype)
        return heatmaps if many else heatmaps[:, 0]


def _windows(length: int, size: int, step: int, x: Tensor) -> Tensor:
    """Which pixels of an axis each window covers, (windows, length), bool; the last one reaches the end."""
    starts = torch.arange(math.ceil((length - size) / step) + 1, device=x.device)[:, None] * step
    place = torch.arange(length, device=x.device)
    return (place >= starts) & (place < starts + size)


# ----------------------------------------------------------------------------------------------------- RISE


def rise_fit(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    n_masks: int = 2000,
    grid: int = 7,
    keep: float = 0.5,
    fill: Fill = 0.0,
    paired: bool = True,
    balanced: bool | None = None,
    normalize: str = "coverage",
    tolerance: float | None = None,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> "RiseFit":
    r"""RISE with its masks, their scores, and its own error. Arguments and errors as ``rise``.

    Returns:
        A ``RiseFit``: its ``heatmap`` is what ``rise`` returns, its ``relative_error`` says how much of the
        map is noise.

    Source: Petsiuk et al. 2018, arXiv:1806.07421.

    >>> fit = rise_fit(model, x, n_masks=64)
    >>> fit.masks.pixels().shape, fit.scores.shape, fit.relative_error.shape
    (torch.Size([64, 64, 64]), torch.Size([2, 64]), torch.Size([2]))
    """
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x, many=True)
    n_masks = _checks.check_count("n_masks", n_masks)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    normalize = _checks.check_choice("normalize", normalize, ("coverage", "expected"))
    design = _sampling.check_mask_design(tuple(x.shape[-2:]), grid, keep, paired, balanced, n_masks)
    if tolerance is not None:
        tolerance = _checks.check_number("tolerance", tolerance, above=0)
        _sampling.check_enough("n_masks", n_masks, design.together)
    fill, progress = _masking.check_fill(fill, x), _checks.check_flag("progress", progress)
    _checks.check_generator(generator, x.device)

    with _model.left_as_found(model):
        many = classes is not None and classes.many
        classes = classes or _model.own_choice(model, x, batch_size)
        masks = _sampling.draw_masks(n_masks, design, x.device, generator)

        def fit(scores: Tensor) -> RiseFit:
            some = masks.first(scores.shape[-1])
            return RiseFit(some, scores if many else scores[:, 0], normalize, x.dtype)

        def enough(scores: Tensor) -> bool:
            if scores.shape[-1] < 2 * masks.together:
                return False
            return bool((fit(scores).relative_error <= tolerance).all())

        scores = _masking.masked_scores(
            model,
            x,
            classes,
            n_masks,
            lambda samples, images: masks.pixels(samples, x.dtype),
            _masking.hidden_images(fill, x),
            batch_size=batch_size,
            every=None if tolerance is None else _sampling.ROUND,
            enough=None if tolerance is None else enough,
            name="RISE",
            progress=progress,
        )
        return fit(scores)


@options_of(rise_fit)
def rise(*args: Any, **options: Any) -> Tensor:
    r"""RISE: the mean probability under random soft masks, for each pixel over the masks that keep it.

    .. math:: R(\lambda) = \frac{\sum_i p_c(x \odot M_i) \, M_i(\lambda)}{\sum_i M_i(\lambda)}

    with ``normalize="coverage"``: an estimate of :math:`E[p_c(x \odot M) \mid \lambda \text{ kept}]`. The
    paper divides by the expected coverage :math:`N p` in place of :math:`\sum_i M_i(\lambda)`
    (``normalize="expected"``); then a pixel that chance kept more often looks more important. A mask is a
    grid of bits, each one with probability ``keep``, upsampled bilinearly and shifted at random by less than
    a cell (``rise_masks``).

    Three ways to draw the same masks, with less and less noise; all converge to the same map, with a standard
    error that falls as :math:`N^{-1/2}`:

    - independent (``paired=False``): with ``normalize="expected"`` exactly the paper's estimator;
    - ``paired``: each mask is followed by its antithetic twin (for ``keep=0.5`` the complement), so that all
      pixels are covered alike;
    - ``balanced``: in blocks of masks with a common shift, any two cells are kept together exactly as often
      as apart (rows of a Hadamard matrix), so that no cell's effect is mistaken for another's.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, None for the model's own choice, or
            :math:`(N, K)` for K classes of each image at once.
        n_masks: masks, and so passes for each image; all images share them.
        grid: cells along each side: the size of the things that can be seen.
        keep: probability that a cell is kept, between 0 and 1, both excluded.
        fill: what masked pixels fade to; 0 multiplies by the mask, as the paper does.
        paired: draw antithetic pairs.
        balanced: draw balanced blocks of pairs (for ``grid=7`` of 128 masks); needs ``keep=0.5`` and at least
            two blocks. None does so where it can.
        normalize: ``"coverage"`` or ``"expected"``.
        tolerance: stop before ``n_masks`` as soon as the ``relative_error`` of every map (see ``RiseFit``)
            is no larger; looked at after every 128 masks. None never stops.
        batch_size: masked images in one pass; None for 16 on a processor and 64 on a GPU.
        generator: source of the masks, on ``x``'s device; None for torch's own.
        progress: show a progress bar, counted in passes.

    Returns:
        Mean probabilities, not negative, :math:`(N, H, W)` (or :math:`(N, K, H, W)`), detached. Their level
        is the model's confidence on half-hidden images; only the differences within a map say where.

    Raises:
        ValueError: if ``x`` or ``target`` is not as above, a count is not positive, ``grid`` is larger than
            the image, ``keep`` or ``tolerance`` is out of range, or ``normalize`` or ``fill`` is unknown.

    Source: Petsiuk et al. 2018, arXiv:1806.07421.

    >>> rise(model, x, n_masks=16).shape
    torch.Size([2, 64, 64])
    """
    return rise_fit(*args, **options).heatmap


class RiseFit(NamedTuple):
    r"""The lecture's three steps: masks, their scores, and the mean of the scores weighted by the masks.

    The errors come from a jackknife over up to eight replicates, among which everything that is drawn
    together (a pair, a balanced block) is dealt out; a formula for independent masks would get them wrong.
    For balanced blocks they are upper estimates: what the evenly spread shifts gain, no replicate can tell.
    (Where the bits matter more than the shifts, that is little.) They say nothing about whether the converged
    map is a good explanation.
    """

    masks: RiseMasks
    scores: Tensor  # (N, n), or (N, K, n): the probability under each mask, float32 or better
    normalize: str = "coverage"
    dtype: torch.dtype = torch.float32  # of the maps

    @property
    def n_masks(self) -> int:
        """How many masks were used: fewer than asked for where ``tolerance`` was reached."""
        return len(self.masks)

    @property
    @_model.own_arithmetic()
    def heatmap(self) -> Tensor:
        """The map, (N, H, W), or (N, K, H, W)."""
        return self._like_scores(self._maps(1)[0])

    @property
    @_model.own_arithmetic()
    def standard_error(self) -> Tensor:
        """How much each value of the map would move with other masks, in the heatmap's shape.

        Raises:
            ValueError: if the masks are fewer than two that are drawn apart.
        """
        return self._like_scores(self._deviations()[1].square().sum(0).sqrt())

    @property
    @_model.own_arithmetic()
    def relative_error(self) -> Tensor:
        r"""Noise over signal, (N,), or (N, K): the root mean square of the noise over the converged map's
        standard deviation, both without the map's level, which shows nothing.

        With e, the expected correlation with the converged map is about :math:`1 / \sqrt{1 + e^2}`. Infinite
        if noise is all there is to see. Errors as ``standard_error``.
        """
        error = _sampling.noise_over_signal(*self._deviations())
        return error.view(self.scores.shape[:-1]).to(self.dtype)

    def _like_scores(self, maps: Tensor) -> Tensor:
        """(N·K, H·W) → the shape and the type of the answer."""
        return maps.view(*self.scores.shape[:-1], *self.masks.size).to(self.dtype)

    def _maps(self, groups: int) -> tuple[Tensor, Tensor]:
        """The map, (N·K, H·W), and for each group of masks the map without it, (G, N·K, H·W)."""
        scores = self.scores.reshape(-1, self.scores.shape[-1])  # (N·K, n)
        ones = torch.ones_like(scores[:1])
        sums = torch.stack(
            [self.masks.weighted_sums(torch.cat([scores, ones]), g, groups) for g in range(groups)]
        )
        total, coverage = sums[:, :-1], sums[:, -1:]  # (G, N·K, H·W), (G, 1, H·W)
        if self.normalize == "expected":
            counts = torch.bincount(self.masks.groups(groups), minlength=groups).to(sums.dtype)
            coverage = (self.masks.keep * counts)[:, None, None].expand_as(coverage)
        every, covered = total.sum(0), coverage.sum(0)
        if groups == 1:
            return _model.ratio(every, covered), total
        return _model.ratio(every, covered), _model.ratio(every - total, covered - coverage)

    def _deviations(self) -> tuple[Tensor, Tensor]:
        """The map (N·K, H·W), and its deviations (G, N·K, H·W), whose squares sum to its variance."""
        _sampling.check_enough("n_masks", self.n_masks, self.masks.together)
        groups = min(_sampling.REPLICATES, math.ceil(self.n_masks / self.masks.together))
        heatmap, without = self._maps(groups)
        counts = torch.bincount(self.masks.groups(groups), minlength=groups).to(heatmap.dtype)
        return heatmap, _sampling.jackknife(heatmap, without, counts)


def rise_masks(
    n_masks: int,
    size: int | tuple[int, int],
    *,
    grid: int = 7,
    keep: float = 0.5,
    paired: bool = True,
    balanced: bool | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The masks that ``rise`` draws from the same generator state, all at once, to look at.

    Args:
        n_masks: how many.
        size: height and width of the images, or one number for both.
        grid: cells along each side.
        keep: probability that a cell is kept.
        paired: draw antithetic pairs, one mask after its twin.
        balanced: as in ``rise``.
        generator: source of bits and shifts, on ``device``; None for torch's own.
        device: where.

    Returns:
        Soft masks in [0, 1], float32, :math:`(n, H, W)`.

    Raises:
        ValueError: if a count is not positive, ``grid`` is larger than the image, or ``keep`` is out of
            range.

    Source: Petsiuk et al. 2018, arXiv:1806.07421.

    >>> masks = rise_masks(4, 64)
    >>> masks.shape, torch.allclose(masks[0] + masks[1], torch.ones(64, 64))
    (torch.Size([4, 64, 64]), True)
    """
    n_masks, size = _checks.check_count("n_masks", n_masks), _checks.check_sizes("size", size)
    device = _checks.check_device("device", device)
    design = _sampling.check_mask_design(size, grid, keep, paired, balanced, n_masks)
    _checks.check_generator(generator, device)
    with _model.own_arithmetic():
        return _sampling.draw_masks(n_masks, design, device, generator).pixels()
