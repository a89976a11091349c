"""Surrogates: a simple model of the probability, fitted to images of which only superpixels are shown
(chapter 4).

LIME fits a line around the image, KernelSHAP the line whose slopes are Shapley values. What is explained,
``fill``, many classes at once, memory and randomness are as in ``perturbation``.

>>> lime(model, x, n_samples=100).shape
torch.Size([2, 64, 64])
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _checks, _masking, _model, _regression, _sampling
from xai_lib._checks import Target
from xai_lib._masking import Fill, Keep, options_of

__all__ = ["LimeFit", "ShapleyFit", "lime", "lime_fit", "shapley", "shapley_fit", "superpixels"]


def superpixels(
    x: Tensor, *, method: str = "slic", n_segments: int = 50, compactness: float = 10.0
) -> Tensor:
    """Cut images into superpixels: patches of similar colour, the words in which LIME speaks.

    Args:
        x: images, :math:`(N, C, H, W)`, in [0, 1]. A grey image is cut as its copy in colour; with other
            numbers of channels, colours are compared channel by channel, on the same scale.
        method: ``"slic"``, k-means on colour and place: about ``n_segments`` connected patches of similar
            size; or ``"quickshift"``, a mode search with the setting of LIME's authors (kernel 4, distance
            200, ratio 0.2): it finds its own number, and a patch may be in several pieces.
        n_segments: roughly how many; SLIC only. Noise tears patches apart, and SLIC drops the pieces: where
            fewer than a quarter come out, the image is smoothed first, no more than needed (1 to 4 pixels).
        compactness: weight of place against colour: higher gives squarer patches; SLIC only.

    Returns:
        Labels, int64, :math:`(N, H, W)`: in each image 0 to d − 1 without gaps, d being its own number of
        superpixels.

    Raises:
        ValueError: if ``x`` is not a finite float tensor of that shape, ``method`` is unknown, or a number is
            not positive.

    Source: scikit-image's ``slic`` (Achanta et al. 2012, doi:10.1109/TPAMI.2012.120) and ``quickshift``
    (Vedaldi and Soatto 2008, doi:10.1007/978-3-540-88693-8_52).

    >>> superpixels(x, n_segments=9).shape
    torch.Size([2, 64, 64])
    """
    x = _checks.check_pixels(x)
    method = _checks.check_choice("method", method, ("slic", "quickshift"))
    n_segments = _checks.check_count("n_segments", n_segments)
    compactness = _checks.check_number("compactness", compactness, above=0)
    pixels = x.detach().double().cpu().permute(0, 2, 3, 1).numpy()  # (N, H, W, C)
    pixels = np.repeat(pixels, 3, axis=3) if x.shape[1] == 1 else pixels
    labels = []
    for image in pixels:  # scikit-image takes one at a time
        cut = _quickshift(image) if method == "quickshift" else _slic(image, n_segments, compactness)
        labels.append(np.unique(cut, return_inverse=True)[1].reshape(cut.shape))
    with torch.inference_mode(False):
        return torch.from_numpy(np.stack(labels)).to(x.device, torch.int64)


def _slic(image: np.ndarray, n_segments: int, compactness: float) -> np.ndarray:
    """One image (H, W, C) → labels (H, W), smoothed where without that too few patches come out."""
    from skimage.segmentation import slic

    channels = image.shape[2]
    # Compactness is meant for Lab colours, from 0 to 100; other channels come as they are, from 0 to 1.
    compactness = compactness if channels == 3 else compactness * channels**0.5 / 100
    cuts = []
    for sigma in (0, 1, 2, 4):
        cuts.append(
            slic(
                image,
                n_segments,
                compactness,
                sigma=sigma,
                convert2lab=channels == 3,
                start_label=0,
                channel_axis=-1,
            )
        )
        if 4 * len(np.unique(cuts[-1])) >= n_segments:
            return cuts[-1]
    return max(cuts, key=lambda cut: len(np.unique(cut)))  # an image of few pixels has no more


def _quickshift(image: np.ndarray) -> np.ndarray:
    from skimage.segmentation import quickshift

    colour = image.shape[2] == 3
    image = image if colour else image * 100 / image.shape[2] ** 0.5
    return quickshift(
        image, ratio=0.2, kernel_size=4, max_dist=200, convert2lab=colour, channel_axis=-1, rng=0
    )


# ----------------------------------------------------------------------------------------------------- LIME


def lime_fit(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    segments: Tensor | None = None,
    n_samples: int = 1000,
    fill: Fill = "mean",
    paired: bool = True,
    kernel_width: float = 0.25,
    alpha: float = 1.0,
    tolerance: float | None = None,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> "LimeFit":
    """LIME with all its steps: superpixels, samples, scores, weights, coefficients, intercept and R².

    A low ``r2`` says that no linear model of these superpixels describes the classifier here: then the
    coefficients do not either. Arguments and errors as ``lime``.

    Returns:
        A ``LimeFit``: its ``heatmap`` is what ``lime`` returns, its ``relative_error`` says how much of the
        map is noise.

    Source: Ribeiro et al. 2016, arXiv:1602.04938.

    >>> fit = lime_fit(model, x, n_samples=100)
    >>> fit.samples.shape[0], bool(fit.samples[0].all()), fit.scores.shape
    (100, True, torch.Size([2, 100]))
    """
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x, many=True)
    n_samples = _checks.check_count("n_samples", n_samples)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    kernel_width = _checks.check_number("kernel_width", kernel_width, above=0)
    alpha = _checks.check_number("alpha", alpha, least=0)
    paired = _checks.check_flag("paired", paired)
    if tolerance is not None:
        tolerance = _checks.check_number("tolerance", tolerance, above=0)
        _sampling.check_enough("n_samples", n_samples, 2 if paired else 1)
    fill, progress = _masking.check_fill(fill, x), _checks.check_flag("progress", progress)
    _checks.check_generator(generator, x.device)
    segments, counts = _checks.check_segments(superpixels(x) if segments is None else segments, x)
    most = max(counts)
    if n_samples <= most:
        raise ValueError(
            f"n_samples must be at least {most + 1}, one more than the {most} superpixels that are fitted, "
            f"got {n_samples}"
        )

    with _model.left_as_found(model):
        many = classes is not None and classes.many
        classes = classes or _model.own_choice(model, x, batch_size)
        samples = _sampling.coin_flips(n_samples, most, paired, x.device, generator)  # (n, d)
        own = _own_columns(segments, most)  # (N, d)

        def fit(scores: Tensor) -> LimeFit:
            Z = samples[: scores.shape[-1]]
            weights = _lime_weights(Z, own, kernel_width)
            found = _lime_solution(Z, own, scores, weights, alpha)
            wide = [scores, *(v.to(x.dtype) for v in found)]
            scores, *found = wide if many else [v[:, 0] for v in wide]
            return LimeFit(segments, Z, scores, weights.to(scores.dtype), *found, kernel_width, alpha, paired)

        def enough(scores: Tensor) -> bool:
            return scores.shape[-1] > most and bool((fit(scores).relative_error <= tolerance).all())

        scores = _masking.masked_scores(
            model,
            x,
            classes,
            n_samples,
            _shown_segments(segments, samples[None]),
            _masking.hidden_images(fill, x, segments),
            batch_size=batch_size,
            every=None if tolerance is None else _sampling.ROUND,
            enough=None if tolerance is None else enough,
            name="LIME",
            progress=progress,
        )
        return fit(scores)


@options_of(lime_fit)
def lime(*args: Any, **options: Any) -> Tensor:
    r"""LIME: the coefficients of a linear model of the probability, fitted around the image, superpixel by
    superpixel.

    .. math:: \min_{\beta, b} \sum_{i=1}^{n} \pi(z_i) \bigl(p_c(x_{z_i}) - b - \beta^\top z_i\bigr)^2
              + \alpha \|\beta\|^2, \qquad \pi(z) = \sqrt{\exp(-D(z)^2 / w^2)}, \quad D(z) = 1 - \sqrt{|z| /
              d}

    with :math:`z \in \{0, 1\}^d` the superpixels shown. D is the cosine distance between z and the whole
    image's ones, and with w = 0.25 and :math:`\alpha = 1` distance, kernel and ridge penalty are those of the
    authors' package; the paper writes :math:`\exp(-D^2/\sigma^2)`, which is the same for :math:`\sigma =
    \sqrt{2} w`. The first sample is the image itself. Each superpixel is shown with probability 1/2;
    ``paired`` samples come as z and its complement, in blocks (of 128 up to 63 superpixels) in which any two
    superpixels are shown together exactly as often as apart. The intercept is not penalised. Costs n forward
    passes.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, None for the model's own choice, or
            :math:`(N, K)` for K classes of each image at once.
        segments: superpixels, int64, :math:`(N, H, W)`, or :math:`(H, W)` for all images, labelled from 0
            without gaps; None for ``superpixels(x)``.
        n_samples: masked images for each image, n; more than its superpixels.
        fill: what hidden superpixels become.
        paired: draw balanced blocks of complementary samples; False draws independent ones.
        kernel_width: w; small looks near the image only.
        alpha: the ridge penalty.
        tolerance: stop before ``n_samples`` as soon as the ``relative_error`` of every map (see ``LimeFit``)
            is no larger; looked at after every 128 samples. None never stops.
        batch_size: images in one pass; None for 16 on a processor and 64 on a GPU.
        generator: source of the samples, on ``x``'s device; None for torch's own.
        progress: show a progress bar, counted in passes.

    Returns:
        Signed heatmaps, :math:`(N, H, W)` (or :math:`(N, K, H, W)`), detached: each pixel has the coefficient
        of its superpixel, the change in probability that showing it brings.

    Raises:
        ValueError: if ``x`` or ``target`` is not as above; if ``segments`` has another shape or a gap in its
            labels, there are fewer samples than unknowns, ``fill`` is not as in the module's text, or a
            number is out of range.

    Source: Ribeiro et al. 2016, arXiv:1602.04938.

    >>> lime(model, x, n_samples=100).shape
    torch.Size([2, 64, 64])
    """
    return lime_fit(*args, **options).heatmap


class LimeFit(NamedTuple):
    """Everything between an image and its LIME map; d is the largest number of superpixels in the batch.

    With K classes asked for, ``scores`` is (N, K, n), and ``coefficients``, ``intercept`` and ``r2`` have an
    axis K after N. The errors come from a jackknife over up to eight replicates, among which everything that
    is drawn together is dealt out; with fewer than two whole blocks it takes pairs, and is an upper estimate.
    They say how much other draws would move the map, not what the image itself does, the first of any draw.
    """

    segments: Tensor  # (N, H, W), int64: the superpixels
    samples: Tensor  # (n, d), bool: the superpixels shown; an image with fewer ignores the last columns
    scores: Tensor  # (N, n): the model's probability for each masked image, float32 or better
    weights: Tensor  # (N, n): how near each sample is to the whole image, in (0, 1], of the scores' type
    coefficients: Tensor  # (N, d): what a superpixel adds to the probability; 0 where an image lacks it
    intercept: Tensor  # (N,): the linear model's value with everything hidden
    r2: Tensor  # (N,): share of the scores' weighted variance that the linear model explains; 1 if none
    kernel_width: float
    alpha: float
    paired: bool

    @property
    @_model.own_arithmetic()
    def heatmap(self) -> Tensor:
        """Each pixel with its superpixel's coefficient, (N, H, W), or (N, K, H, W)."""
        return _painted(self.coefficients, self.segments)

    @property
    @_model.own_arithmetic()
    def standard_error(self) -> Tensor:
        """How much each value of the map would move with other samples, in the heatmap's shape.

        Raises:
            ValueError: if the samples are fewer than two that are drawn apart.
        """
        spread = self._deviations()[1].square().sum(0).sqrt().to(self.coefficients.dtype)
        return _painted(spread.view_as(self.coefficients), self.segments)

    @property
    @_model.own_arithmetic()
    def relative_error(self) -> Tensor:
        """Noise over signal, (N,), or (N, K), as that of ``RiseFit``; errors as ``standard_error``."""
        return _map_error(*self._deviations(), self.segments).view_as(self.r2).to(self.r2.dtype)

    def _deviations(self) -> tuple[Tensor, Tensor]:
        """The coefficients (N, K, d), and deviations (G, N, K, d) whose squares sum to their variance."""
        n, d = self.samples.shape
        block = 2 * _sampling.block_order(d)
        together = 1 if not self.paired else block if n >= 2 * block else 2
        _sampling.check_enough("n_samples", n, together)
        scores = self.scores if self.scores.dim() == 3 else self.scores[:, None]
        unit = torch.arange(n, device=scores.device) // together
        groups = min(_sampling.REPLICATES, math.ceil(n / together))
        own = _own_columns(self.segments, d)

        def solved(some: Tensor) -> Tensor:
            alpha = self.alpha * len(some) / n  # a penalty as strong against fewer samples
            weights = _lime_weights(self.samples[some], own, self.kernel_width)
            return _lime_solution(self.samples[some], own, scores[..., some], weights, alpha)[0]

        every = torch.arange(n, device=scores.device)
        parts = [every[unit % groups != g] for g in range(groups)]
        counts = n - torch.tensor([len(p) for p in parts], dtype=torch.float64, device=scores.device)
        estimate, without = solved(every), torch.stack([solved(p) for p in parts])
        return estimate, _sampling.jackknife(estimate, without, counts)


def _lime_weights(samples: Tensor, own: Tensor, width: float) -> Tensor:
    """LIME's kernel, (N, n), from samples (n, d) and each image's own columns (N, d), in float64."""
    shown = samples.double() @ own.double().T / own.sum(1)  # (n, N)
    distance = 1 - shown.T.sqrt()  # cosine
    return (-distance.square() / (2 * width**2)).exp()


def _lime_solution(
    samples: Tensor, own: Tensor, scores: Tensor, weights: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients (N, K, d), intercept and R² (N, K) of scores (N, K, n), all in float64."""
    Z = (samples & own[:, None]).double()  # (N, n, d)
    return _regression.weighted_ridge(Z, scores.double(), weights, alpha)


# ------------------------------------------------------------------------------------------ Shapley values


def shapley_fit(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    segments: Tensor | None = None,
    n_samples: int = 1000,
    fill: Fill = "mean",
    paired: bool = True,
    tolerance: float | None = None,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> "ShapleyFit":
    """KernelSHAP with the values themselves, the coalitions and their scores. Arguments and errors as
    ``shapley``.

    Returns:
        A ``ShapleyFit``: its ``heatmap`` is what ``shapley`` returns, its ``relative_error`` says how much of
        the map is noise.

    Source: Lundberg and Lee 2017, arXiv:1705.07874.

    >>> segments = torch.arange(4).repeat_interleave(1024).view(64, 64)
    >>> fit = shapley_fit(model, x, segments=segments, n_samples=16)
    >>> fit.exact, torch.allclose(fit.empty + fit.values.sum(1), fit.full)
    (True, True)
    """
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x, many=True)
    n_samples = _checks.check_count("n_samples", n_samples)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    paired = _checks.check_flag("paired", paired)
    if tolerance is not None:
        tolerance = _checks.check_number("tolerance", tolerance, above=0)
    fill, progress = _masking.check_fill(fill, x), _checks.check_flag("progress", progress)
    _checks.check_generator(generator, x.device)
    segments, counts = _checks.check_segments(superpixels(x) if segments is None else segments, x)
    most = max(counts)
    needed = min(2 * most + 2, 2**most)
    if n_samples < needed:
        raise ValueError(
            f"n_samples must be at least {needed}: each of the {most} superpixels alone and left out, "
            f"all, and none; got {n_samples}"
        )

    with _model.left_as_found(model):
        many = classes is not None and classes.many
        classes = classes or _model.own_choice(model, x, batch_size)
        samples, asked = _designs(counts, n_samples, paired, x.device, generator)  # (N, n, d), (N, n)

        def fit(scores: Tensor) -> ShapleyFit:
            Z = samples[:, : scores.shape[-1]]
            own = _own_columns(segments, most)
            weights = _sampling.kernel_weights(Z, own)
            values = _shapley_solution(Z, own, scores, weights)  # (N, K, d)
            ends = (values, scores[..., 1], scores[..., 0])
            narrow = [scores, *(v.to(x.dtype) for v in ends)]
            scores, *found = narrow if many else [v[:, 0] for v in narrow]
            exact = all(2**d <= Z.shape[1] for d in counts)
            return ShapleyFit(segments, Z, scores, weights.to(scores.dtype), *found, exact, paired)

        def enough(scores: Tensor) -> bool:
            return scores.shape[-1] >= needed + 16 and bool((fit(scores).relative_error <= tolerance).all())

        scores = _masking.masked_scores(
            model,
            x,
            classes,
            samples.shape[1],
            _shown_segments(segments, samples),
            _masking.hidden_images(fill, x, segments),
            batch_size=batch_size,
            only=None if asked.all() else asked,
            every=None if tolerance is None else _sampling.ROUND,
            enough=None if tolerance is None else enough,
            name="KernelSHAP",
            progress=progress,
        )
        return fit(scores)


@options_of(shapley_fit)
def shapley(*args: Any, **options: Any) -> Tensor:
    r"""KernelSHAP: Shapley values of the superpixels, from the regression whose kernel makes them the
    solution.

    .. math:: \phi_j = \sum_{S \not\ni j} \frac{|S|! \, (d - |S| - 1)!}{d!}
              \bigl(p_c(x_{S \cup j}) - p_c(x_S)\bigr), \qquad
              \pi(z) = \frac{d - 1}{\binom{d}{|z|} |z| (d - |z|)}

    The left is the definition, with :math:`x_S` the image in which only the superpixels S are shown;
    minimising :math:`\sum_z \pi(z) (p_c(x_z) - p_c(x_\emptyset) - \phi^\top z)^2` under :math:`\sum_j \phi_j
    = p_c(x) - p_c(x_\emptyset)` over all z gives the same values. Where all :math:`2^d` coalitions fit into
    ``n_samples`` they are all evaluated, and the result is exact. Otherwise every superpixel alone and every
    one left out, and of each other size equally many coalitions, without repeats (the regression's leverage
    scores); each size has the kernel's weight. What is left out is ``fill``: the values are those of the
    *game* that this fill defines.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, None for the model's own choice, or
            :math:`(N, K)` for K classes of each image at once.
        segments: superpixels, int64, :math:`(N, H, W)`, or :math:`(H, W)` for all images, labelled from 0
            without gaps; None for ``superpixels(x)``.
        n_samples: coalitions for each image, at least 2d + 2; fewer are used where all of them are fewer.
        fill: what hidden superpixels become.
        paired: sample each coalition together with its complement, which cancels half of the noise's sources.
        tolerance: stop before ``n_samples`` as soon as the ``relative_error`` of every map (see
            ``ShapleyFit``) is no larger; looked at after every 128 samples. None never stops.
        batch_size: images in one pass; None for 16 on a processor and 64 on a GPU.
        generator: source of the samples, on ``x``'s device; None for torch's own.
        progress: show a progress bar, counted in passes.

    Returns:
        Signed heatmaps, :math:`(N, H, W)` (or :math:`(N, K, H, W)`), detached: each pixel has the value of
        its superpixel. Over superpixels, not pixels, they sum to :math:`p_c(x) - p_c(x_\emptyset)`.

    Raises:
        ValueError: as ``lime``.

    Source: Lundberg and Lee 2017, arXiv:1705.07874; paired sampling as in Covert and Lee 2021,
        arXiv:2012.01536; leverage scores as in Musco and Witter 2025, arXiv:2410.01917.

    >>> shapley(model, x, segments=torch.arange(4).repeat_interleave(1024).view(64, 64), n_samples=16).shape
    torch.Size([2, 64, 64])
    """
    return shapley_fit(*args, **options).heatmap


class ShapleyFit(NamedTuple):
    """Shapley values with what they were fitted to; d is the largest number of superpixels in the batch.

    With K classes asked for, ``scores`` is (N, K, n), and ``values``, ``empty`` and ``full`` have an axis K
    after N. The errors come from a jackknife over up to eight replicates, among which coalitions drawn
    together are dealt out; sizes of which there is every coalition have no error.
    """

    segments: Tensor  # (N, H, W), int64: the superpixels
    samples: Tensor  # (N, n, d), bool: the coalitions; the first has every superpixel, the second has none
    scores: Tensor  # (N, n): the model's probability for each, float32 or better
    weights: Tensor  # (N, n): in the regression; 0 for the first two, which are met exactly
    values: Tensor  # (N, d): the Shapley values
    empty: Tensor  # (N,): probability with everything hidden
    full: Tensor  # (N,): probability of the image; empty plus the values
    exact: bool  # whether every coalition was evaluated, for every image
    paired: bool

    @property
    @_model.own_arithmetic()
    def heatmap(self) -> Tensor:
        """Each pixel with its superpixel's value, (N, H, W), or (N, K, H, W)."""
        return _painted(self.values, self.segments)

    @property
    @_model.own_arithmetic()
    def standard_error(self) -> Tensor:
        """How much each value of the map would move with other coalitions, in the heatmap's shape.

        Raises:
            ValueError: if fewer than two coalitions, or pairs of them, were drawn at random.
        """
        spread = self._deviations()[1].square().sum(0).sqrt().to(self.values.dtype)
        return _painted(spread.view_as(self.values), self.segments)

    @property
    @_model.own_arithmetic()
    def relative_error(self) -> Tensor:
        """Noise over signal, (N,), or (N, K), as that of ``RiseFit``; zero where the values are exact.

        Errors as ``standard_error``.
        """
        return _map_error(*self._deviations(), self.segments).view_as(self.full).to(self.full.dtype)

    def _deviations(self) -> tuple[Tensor, Tensor]:
        """The values (N, K, d), and deviations (G, N, K, d) whose squares sum to their variance."""
        scores = self.scores if self.scores.dim() == 3 else self.scores[:, None]
        own, groups = _own_columns(self.segments, self.samples.shape[2]), _sampling.REPLICATES
        sizes, counts = _sampling.sizes(self.samples, own)
        pairs = torch.arange(self.samples.shape[1], device=scores.device) // (2 if self.paired else 1)
        there = _sampling.binomials(own)  # (N, d + 1)
        drawn = counts.gather(1, sizes) < there.gather(1, sizes)  # (N, n)
        short = (counts < there).any(1) & (drawn.sum(1) < (4 if self.paired else 2))
        if short.any():
            least = self.samples.shape[1] + int((4 if self.paired else 2) - drawn.sum(1)[short].min())
            raise ValueError(f"n_samples must be at least {least} to estimate an error, got {drawn.shape[1]}")

        def solved(kept: Tensor | None) -> Tensor:
            weights = _sampling.kernel_weights(self.samples, own, kept)
            return _shapley_solution(self.samples, own, scores, weights)

        estimate = solved(None)
        without = torch.stack([solved(~drawn | (pairs % groups != g)) for g in range(groups)])
        return estimate, _sampling.jackknife(estimate, without, scores.new_ones(groups, dtype=torch.float64))


def _designs(
    counts: list[int], n: int, paired: bool, device: torch.device, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Coalitions (N, n, d), and which of them each image asks for (N, n): few superpixels have fewer.

    Images with equally many superpixels share them: each is explained as it would be alone.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=device))
    own = {
        d: _sampling.coalitions(d, n, paired, device, torch.Generator(device).manual_seed(seed))
        for d in set(counts)
    }
    longest, most = max(map(len, own.values())), max(counts)
    padded = {d: F.pad(Z, (0, most - d, 0, longest - len(Z))) for d, Z in own.items()}
    asked = [torch.arange(longest, device=device) < len(own[d]) for d in counts]
    return torch.stack([padded[d] for d in counts]), torch.stack(asked)


def _shapley_solution(samples: Tensor, own: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
    """Shapley values (N, K, d) from scores (N, K, n), in float64."""
    return _regression.constrained_fit((samples & own[:, None]).double(), scores.double(), weights, own)


# ------------------------------------------------------------------------------------------ what they share


def _own_columns(segments: Tensor, d: int) -> Tensor:
    """Which of d columns are superpixels of each image, (N, d), bool."""
    return torch.arange(d, device=segments.device) <= segments.flatten(1).amax(1)[:, None]


def _shown_segments(segments: Tensor, samples: Tensor) -> Keep:
    """The rule that shows some superpixels; ``samples`` is (N, n, d), or (1, n, d) for all images."""

    def keep(number: Tensor, images: Tensor) -> Tensor:
        bits = samples[images if len(samples) > 1 else 0, number]  # (b, d)
        if len(segments) == 1:
            return bits[:, segments[0]]  # (b, H, W): every masked image of the chunk in one operation
        return bits.gather(1, segments[images].flatten(1)).unflatten(1, segments.shape[1:])

    return keep


def _painted(values: Tensor, segments: Tensor) -> Tensor:
    """Each pixel with its superpixel's value: (N, H, W) from (N, d), or (N, K, H, W) from (N, K, d)."""
    labels = segments.flatten(1)  # (N, H·W)
    if values.dim() == 3:
        labels = labels[:, None].expand(-1, values.shape[1], -1)
    return values.gather(-1, labels).unflatten(-1, segments.shape[1:])


def _map_error(estimate: Tensor, deviations: Tensor, segments: Tensor) -> Tensor:
    """Noise over signal (N · K,) of the maps of values (N, K, d) with deviations (G, N, K, d)."""
    maps = torch.stack([_painted(v, segments) for v in (estimate, *deviations)])  # (1 + G, N, K, H, W)
    maps = maps.flatten(3).flatten(1, 2)
    return _sampling.noise_over_signal(maps[0], maps[1:])
