r"""Black-box explanations: change the image, watch the output (chapter 4).

Nothing here looks inside the model: images go in, class probabilities come out. So anything that can be
called can be explained (``black_box`` makes a model of it), and everything is paid for in forward passes.

The conventions, the same for every method:

- **What is explained** is the softmax probability :math:`p_c`, a number that every classifier can give.
- **What hidden pixels become** is ``fill``: a number or a tensor of pixels, ``"mean"`` (the mean colour of
  each superpixel, or of the image where there are none), ``"grey"`` (0.5) or ``"blur"`` (a Gaussian whose
  width is a twentieth of the image's shorter side). It changes the map, and no choice is neutral: chapter 4
  measures how much.
- **Many classes for the price of one**: ``target`` may also be a tensor (N, K), K classes for each image. The
  same passes serve all of them, and the result has an axis more: (N, K, H, W).
- **Memory** is that of one chunk of ``batch_size`` masked images; of a sample only its bits are kept.
- **Randomness** comes from ``generator`` alone. Bits and shifts are drawn before the first pass, so the same
  state gives the same samples whatever ``batch_size`` is. All images of a batch share them; only KernelSHAP
  draws them image by image.

>>> rise(model, x, n_masks=8, grid=4).shape
torch.Size([2, 64, 64])
"""

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from xai_lib import _checks, _model
from xai_lib._checks import Classes, Target

__all__ = [
    "LimeFit",
    "RiseFit",
    "ShapleyFit",
    "black_box",
    "lime",
    "lime_fit",
    "occlusion",
    "rise",
    "rise_fit",
    "rise_masks",
    "shapley",
    "shapley_fit",
    "superpixels",
]

Fill = str | float | Tensor
FILLS = ("mean", "grey", "blur")


def black_box(predict: Callable[[Tensor], Any]) -> nn.Module:
    """Make a model of any function from images to class probabilities: a forest, a remote service.

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
                "if it returns logits, wrap it in a module instead"
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
    x, asked = _checks.check_images(model, x), _checks.check_target(target, x, many=True)
    sizes = _check_window("window", window)
    steps = tuple(max(1, s // 2) for s in sizes) if stride is None else _check_window("stride", stride)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    for axis, length in enumerate(x.shape[-2:]):
        if sizes[axis] > length:
            raise ValueError(f"window must fit into the image, {tuple(x.shape[-2:])}, got {window!r}")
        if steps[axis] > sizes[axis]:
            raise ValueError(
                f"stride must not exceed window, {window!r}, or pixels are left out; got {stride!r}"
            )
    hidden = _filled(x, fill)
    rows, columns = (_windows(x.shape[k - 2], sizes[k], steps[k], x) for k in range(2))  # (h, H), (w, W)
    count = len(rows) * len(columns)

    def covered(samples: Tensor, images: Tensor) -> Tensor:
        window = samples - 1  # sample 0 hides nothing
        row, column = rows[window // len(columns)], columns[window % len(columns)]  # (b, H), (b, W)
        hide = row[:, :, None] & column[:, None, :] & (samples > 0)[:, None, None]
        return torch.where(hide[:, None], _of(hidden, images), _of(x, images))

    with _model.left_as_found(model):
        asked = asked or _model.own_choice(model, x, batch_size)
        scores = _scores(model, x, asked, count + 1, batch_size, covered, "Occlusion", progress)
        drop = (
            (scores[0] - scores[1:]).permute(1, 2, 0).unflatten(2, (len(rows), len(columns)))
        )  # (N, K, h, w)
        rows, columns = rows.to(drop.dtype), columns.to(drop.dtype)
        total = rows.T @ drop @ columns  # (N, K, H, W): no map for each window
        return _answer(total / torch.outer(rows.sum(0), columns.sum(0)), asked, x)


def superpixels(
    x: Tensor, *, method: str = "slic", n_segments: int = 50, compactness: float = 10.0
) -> Tensor:
    """Cut images into superpixels: patches of similar colour, the words in which LIME speaks.

    Args:
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        method: ``"slic"``, k-means on colour and place: about ``n_segments`` connected patches of similar
            size; or ``"quickshift"``, a mode search with the setting of LIME's authors (kernel 4, distance
            200, ratio 0.2): it finds its own number, and a patch may be in several pieces.
        n_segments: roughly how many; SLIC only.
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
    if not _checks.is_number(compactness) or compactness <= 0:
        raise ValueError(f"compactness must be a positive number, got {compactness!r}")
    from skimage.segmentation import quickshift, slic  # here: half a second, which few callers need

    colour = x.shape[1] == 3
    labels = []
    pixels = x.detach().double().cpu().permute(0, 2, 3, 1).numpy()  # (N, H, W, C)
    for image in pixels:  # the library takes one at a time
        if method == "slic":
            cut = slic(image, n_segments, compactness, convert2lab=colour, start_label=0, channel_axis=-1)
        else:
            cut = quickshift(
                image, ratio=0.2, kernel_size=4, max_dist=200, convert2lab=colour, channel_axis=-1, rng=0
            )
        labels.append(np.unique(cut, return_inverse=True)[1].reshape(cut.shape))
    return torch.from_numpy(np.stack(labels)).to(x.device, torch.int64)


# ----------------------------------------------------------------------------------------------------- LIME


class LimeFit(NamedTuple):
    """Everything between an image and its LIME map; d is the largest number of superpixels in the batch.

    With K classes asked for, ``scores`` is (N, K, n), and ``coefficients``, ``intercept`` and ``r2`` have an
    axis K after N.
    """

    segments: Tensor  # (N, H, W), int64: the superpixels
    samples: Tensor  # (n, d), bool: the superpixels shown; an image with fewer ignores the last columns
    scores: Tensor  # (N, n): the model's probability for each masked image
    weights: Tensor  # (N, n): how near each sample is to the whole image, in (0, 1]
    coefficients: Tensor  # (N, d): what a superpixel adds to the probability; 0 where an image lacks it
    intercept: Tensor  # (N,): the linear model's value with everything hidden
    r2: Tensor  # (N,): share of the scores' weighted variance that the linear model explains; 1 if none

    def heatmap(self) -> Tensor:
        """Each pixel with its superpixel's coefficient, (N, H, W), or (N, K, H, W)."""
        return _painted(self.coefficients, self.segments)


def lime(
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
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Tensor:
    r"""LIME: the coefficients of a linear model of the probability, fitted around the image, superpixel by
    superpixel.

    .. math:: \min_{\beta, b} \sum_{i=1}^{n} \pi(z_i) \bigl(p_c(x_{z_i}) - b - \beta^\top z_i\bigr)^2
              + \alpha \|\beta\|^2, \qquad \pi(z) = \sqrt{\exp(-D(z)^2 / w^2)}, \quad D(z) = 1 - \sqrt{|z| /
              d}

    with :math:`z \in \{0, 1\}^d` the superpixels shown. D is the cosine distance between z and the whole
    image's ones, and with w = 0.25 and :math:`\alpha = 1` distance, kernel and ridge penalty are those of the
    authors' package; the paper writes :math:`\exp(-D^2/\sigma^2)`, which is the same for :math:`\sigma =
    \sqrt{2} w`. The first sample is the image itself. Each superpixel is shown with probability 1/2;
    ``paired`` samples come as z and its complement, which balances every superpixel and lowers the variance
    from seed to seed. The intercept is not penalised. Costs n forward passes.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, None for the model's own choice, or
            :math:`(N, K)` for K classes of each image at once.
        segments: superpixels, int64, :math:`(N, H, W)`, or :math:`(H, W)` for all images, labelled from 0
            without gaps; None for ``superpixels(x)``.
        n_samples: masked images for each image, n; more than its superpixels.
        fill: what hidden superpixels become.
        paired: draw complementary samples; False draws independent ones.
        kernel_width: w; small looks near the image only.
        alpha: the ridge penalty.
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
    return lime_fit(
        model,
        x,
        target,
        segments=segments,
        n_samples=n_samples,
        fill=fill,
        paired=paired,
        kernel_width=kernel_width,
        alpha=alpha,
        batch_size=batch_size,
        generator=generator,
        progress=progress,
    ).heatmap()


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
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> LimeFit:
    """LIME with all its steps: superpixels, samples, scores, weights, coefficients, intercept and R².

    A low ``r2`` says that no linear model of these superpixels describes the classifier here: then the
    coefficients do not either. Arguments and errors as ``lime``.

    Returns:
        A ``LimeFit``; its ``heatmap()`` is what ``lime`` returns.

    Source: Ribeiro et al. 2016, arXiv:1602.04938.

    >>> fit = lime_fit(model, x, n_samples=100)
    >>> fit.samples.shape[0], bool(fit.samples[0].all()), fit.scores.shape
    (100, True, torch.Size([2, 100]))
    """
    x, asked = _checks.check_images(model, x), _checks.check_target(target, x, many=True)
    n_samples = _checks.check_count("n_samples", n_samples)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    _check_positive("kernel_width", kernel_width)
    _check_positive("alpha", alpha, or_zero=True)
    _checks.check_generator(generator, x.device)
    segments, counts = _check_segments(segments, x)
    most = max(counts)
    if n_samples <= most:
        raise ValueError(
            f"n_samples must be at least {most + 1}, one more than the {most} superpixels that are fitted, "
            f"got {n_samples}"
        )
    hidden = _filled(x, fill, segments)
    samples = _coin_flips(n_samples, most, paired, x.device, generator)  # (n, d)

    with _model.left_as_found(model):
        asked = asked or _model.own_choice(model, x, batch_size)
        shown = _shown_segments(x, hidden, segments, samples[None])
        scores = _scores(model, x, asked, n_samples, batch_size, shown, "LIME", progress).permute(
            1, 2, 0
        )  # (N, K, n)
        own = _own_columns(counts, samples)  # (N, d)
        Z = (samples & own[:, None]).to(torch.float64)  # (N, n, d)
        distance = 1 - (Z.sum(2) / own.sum(1)[:, None]).sqrt()  # (N, n), cosine
        weights = (-distance.square() / (2 * kernel_width**2)).exp()
        coefficients, intercept, r2 = _weighted_ridge(Z, scores.double(), weights, alpha)
        narrow = [v.to(x.dtype) for v in (scores, weights, coefficients, intercept, r2)]
        if not asked.many:
            narrow = [narrow[0][:, 0], narrow[1], *(v[:, 0] for v in narrow[2:])]
        return LimeFit(segments, samples, *narrow)


def _coin_flips(
    n: int, d: int, paired: bool, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Samples (n, d), bool, the first all True.

    Drawn by columns, so that an image's own columns are the same whatever the others of its batch need.
    """
    draws = (n + 1) // 2 if paired else n
    bits = torch.stack([torch.rand(draws, generator=generator, device=device) < 0.5 for _ in range(d)], 1)
    bits[0] = True
    return torch.stack([bits, ~bits], 1).flatten(0, 1)[:n] if paired else bits


def _weighted_ridge(Z: Tensor, y: Tensor, weights: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients (N, K, d), intercept (N, K) and R² (N, K) of all classes and images in one solve.

    Z is (N, n, d), y is (N, K, n), weights is (N, n). Centring on the weighted means keeps the intercept free
    of the penalty.
    """
    share = weights / weights.sum(1, keepdim=True)  # (N, n)
    mean_z, mean_y = torch.einsum("ni,nid->nd", share, Z), torch.einsum("ni,nki->nk", share, y)
    Zc, yc = Z - mean_z[:, None], y - mean_y[:, :, None]
    weighted = Zc * weights[:, :, None]
    gram = weighted.mT @ Zc  # (N, d, d)
    # A column that never varies (a superpixel that an image lacks, or chance) gets coefficient 0.
    still = gram.diagonal(dim1=1, dim2=2) == 0
    gram = gram + torch.diag_embed(alpha + still.to(gram.dtype))
    # Without a penalty chance may leave a choice of coefficients: take the smallest.
    inverse = torch.linalg.inv if alpha > 0 else torch.linalg.pinv
    coefficients = (inverse(gram) @ (weighted.mT @ yc.mT)).mT  # (N, K, d)
    intercept = mean_y - torch.einsum("nkd,nd->nk", coefficients, mean_z)
    left = yc - torch.einsum("nkd,nid->nki", coefficients, Zc)
    missed, total = (torch.einsum("ni,nki->nk", weights, v.square()) for v in (left, yc))
    # Scores that never vary have nothing left to explain; their centred values are rounding, not variance.
    rounding = (16 * torch.finfo(y.dtype).eps * mean_y).square() * weights.sum(1, keepdim=True)
    varies = total > rounding
    r2 = (1 - missed / total.where(varies, torch.ones_like(total))).where(varies, torch.ones_like(total))
    return coefficients, intercept, r2


# ------------------------------------------------------------------------------------------ Shapley values


class ShapleyFit(NamedTuple):
    """Shapley values with what they were fitted to; d is the largest number of superpixels in the batch.

    With K classes asked for, ``scores`` is (N, K, n), and ``values``, ``empty`` and ``full`` have an axis K
    after N.
    """

    segments: Tensor  # (N, H, W), int64: the superpixels
    samples: Tensor  # (N, n, d), bool: the coalitions; the first has every superpixel, the second has none
    scores: Tensor  # (N, n): the model's probability for each
    weights: Tensor  # (N, n): in the regression; 0 for the first two, which are met exactly
    values: Tensor  # (N, d): the Shapley values
    empty: Tensor  # (N,): probability with everything hidden
    full: Tensor  # (N,): probability of the image; empty plus the values
    exact: bool  # whether every coalition was evaluated, for every image

    def heatmap(self) -> Tensor:
        """Each pixel with its superpixel's value, (N, H, W), or (N, K, H, W)."""
        return _painted(self.values, self.segments)


def shapley(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    segments: Tensor | None = None,
    n_samples: int = 1000,
    fill: Fill = "mean",
    paired: bool = True,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Tensor:
    r"""KernelSHAP: Shapley values of the superpixels, from the regression whose kernel makes them the
    solution.

    .. math:: \phi_j = \sum_{S \not\ni j} \frac{|S|! \, (d - |S| - 1)!}{d!}
              \bigl(p_c(x_{S \cup j}) - p_c(x_S)\bigr), \qquad
              \pi(z) = \frac{d - 1}{\binom{d}{|z|} |z| (d - |z|)}

    The left is the definition, with :math:`x_S` the image in which only the superpixels S are shown;
    minimising :math:`\sum_z \pi(z) (p_c(x_z) - p_c(x_\emptyset) - \phi^\top z)^2` under :math:`\sum_j \phi_j
    = p_c(x) - p_c(x_\emptyset)` over all z gives the same values. Where all :math:`2^d` coalitions fit into
    ``n_samples`` they are all evaluated, and the result is exact. Otherwise sizes are enumerated from the
    outside in (each superpixel alone, each left out, pairs, …) as long as they cost no more than their share
    of the kernel's weight, with their exact weights, and the rest is sampled. What is left out is ``fill``:
    the values are those of the *game* that this fill defines.

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
        batch_size: images in one pass; None for 16 on a processor and 64 on a GPU.
        generator: source of the samples, on ``x``'s device; None for torch's own.
        progress: show a progress bar, counted in passes.

    Returns:
        Signed heatmaps, :math:`(N, H, W)` (or :math:`(N, K, H, W)`), detached: each pixel has the value of
        its superpixel. Over superpixels, not pixels, they sum to :math:`p_c(x) - p_c(x_\emptyset)`.

    Raises:
        ValueError: as ``lime``.

    Source: Lundberg and Lee 2017, arXiv:1705.07874; paired sampling as in Covert and Lee 2021,
        arXiv:2012.01536.

    >>> shapley(model, x, segments=torch.arange(4).repeat_interleave(1024).view(64, 64), n_samples=16).shape
    torch.Size([2, 64, 64])
    """
    return shapley_fit(
        model,
        x,
        target,
        segments=segments,
        n_samples=n_samples,
        fill=fill,
        paired=paired,
        batch_size=batch_size,
        generator=generator,
        progress=progress,
    ).heatmap()


def shapley_fit(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    segments: Tensor | None = None,
    n_samples: int = 1000,
    fill: Fill = "mean",
    paired: bool = True,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> ShapleyFit:
    """KernelSHAP with the values themselves, the coalitions and their scores. Arguments and errors as
    ``shapley``.

    Returns:
        A ``ShapleyFit``; its ``heatmap()`` is what ``shapley`` returns.

    Source: Lundberg and Lee 2017, arXiv:1705.07874.

    >>> segments = torch.arange(4).repeat_interleave(1024).view(64, 64)
    >>> fit = shapley_fit(model, x, segments=segments, n_samples=16)
    >>> fit.exact, torch.allclose(fit.empty + fit.values.sum(1), fit.full)
    (True, True)
    """
    x, asked = _checks.check_images(model, x), _checks.check_target(target, x, many=True)
    n_samples = _checks.check_count("n_samples", n_samples)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    _checks.check_generator(generator, x.device)
    segments, counts = _check_segments(segments, x)
    most = max(counts)
    needed = min(2 * most + 2, 2**most)
    if n_samples < needed:
        raise ValueError(
            f"n_samples must be at least {needed}: each of the {most} superpixels alone and left out, "
            f"all, and none; got {n_samples}"
        )
    hidden = _filled(x, fill, segments)
    designs = [_coalitions(d, n_samples, paired, x.device, generator) for d in counts]
    longest = max(len(Z) for Z, _ in designs)
    # A short design (all coalitions of few superpixels) is filled up with repeats of weight 0.
    samples = torch.stack(
        [F.pad(Z, (0, most - Z.shape[1], 0, longest - len(Z))) for Z, _ in designs]
    )  # (N, n, d)
    weights = torch.stack([F.pad(w, (0, longest - len(w))) for _, w in designs])  # (N, n)

    with _model.left_as_found(model):
        asked = asked or _model.own_choice(model, x, batch_size)
        shown = _shown_segments(x, hidden, segments, samples)
        scores = _scores(model, x, asked, longest, batch_size, shown, "KernelSHAP", progress).permute(1, 2, 0)
        values = _constrained_fit(samples.double(), scores.double(), weights, counts)  # (N, K, d)
        narrow = [v.to(x.dtype) for v in (scores, values, scores[..., 1], scores[..., 0])]
        if not asked.many:
            narrow = [v[:, 0] for v in narrow]
        scores, values, empty, full = narrow
        exact = all(2**d <= n_samples for d in counts)
        return ShapleyFit(segments, samples, scores, weights.to(x.dtype), values, empty, full, exact)


def _coalitions(
    d: int, n: int, paired: bool, device: torch.device, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Coalitions (at most n, d) and their weights: all, none, whole sizes from the outside in, samples."""
    Z = [
        torch.ones(1, d, dtype=torch.bool, device=device),
        torch.zeros(1, d, dtype=torch.bool, device=device),
    ]
    w = [torch.zeros(2, dtype=torch.float64, device=device)]
    inner = list(range(1, d))  # sizes not enumerated yet, with the kernel's weight of a whole size
    mass = {k: (d - 1) / (k * (d - k)) for k in inner}
    left, all_fit = n - 2, 2**d <= n
    while inner:
        sizes = sorted({inner[0], inner[-1]})
        count = sum(math.comb(d, k) for k in sizes)
        share = sum(mass[k] for k in sizes) / sum(mass[k] for k in inner)
        # Sizes 1 and d − 1 always: without them two superpixels might never be told apart.
        if not all_fit and inner[0] > 1 and count > left * share:
            break
        for k in sizes:
            chosen = torch.tensor(list(combinations(range(d), min(k, d - k))), device=device)
            some = torch.zeros(len(chosen), d, dtype=torch.bool, device=device).scatter_(1, chosen, True)
            Z.append(some if k <= d - k else ~some)
            w.append(torch.full((len(chosen),), mass[k] / len(chosen), dtype=torch.float64, device=device))
        left -= count
        inner = inner[1:-1]
    if inner and left:
        draws = (left + 1) // 2 if paired else left
        chances = torch.tensor([mass[k] for k in inner], device=device)
        size = inner[0] + torch.multinomial(chances, draws, replacement=True, generator=generator)  # (draws,)
        order = torch.rand(draws, d, generator=generator, device=device).argsort(1).argsort(1)
        some = order < size[:, None]
        some = torch.stack([some, ~some], 1).flatten(0, 1)[:left] if paired else some
        Z.append(some)
        w.append(
            torch.full(
                (len(some),), sum(mass[k] for k in inner) / len(some), dtype=torch.float64, device=device
            )
        )
    return torch.cat(Z), torch.cat(w)


def _constrained_fit(Z: Tensor, y: Tensor, weights: Tensor, counts: list[int]) -> Tensor:
    """Weighted least squares whose values sum to y of all minus y of none.

    (N, K, d) from Z (N, n, d), y (N, K, n) and weights (N, n).
    """
    change, rise = y[..., 0] - y[..., 1], y - y[..., 1:2]  # (N, K), (N, K, n)
    weighted = Z * weights[:, :, None]
    own = _own_columns(counts, Z)  # (N, d)
    gram = weighted.mT @ Z  # (N, d, d)
    # Columns in no weighted coalition: superpixels that an image lacks, or the only one it has.
    gram = gram + torch.diag_embed((gram.diagonal(dim1=1, dim2=2) == 0).to(Z.dtype))
    # φ = G⁻¹(b − λ1): the two right-hand sides in one solve, then λ from the sum.
    ones = own.to(Z.dtype)[:, :, None]  # (N, d, 1)
    solved = torch.linalg.solve(gram, torch.cat([weighted.mT @ rise.mT, ones], 2))  # (N, d, K + 1)
    free, direction = solved[..., :-1], solved[..., -1:]
    excess = (free.sum(1) - change) / direction.sum(1)  # (N, K)
    return (free - direction * excess[:, None]).mT


# ----------------------------------------------------------------------------------------------------- RISE


class RiseFit(NamedTuple):
    """A RISE map and how far it has converged. With K classes, each tensor has an axis K after N."""

    heatmap: Tensor  # (N, H, W)
    standard_error: Tensor  # (N, H, W), of the map's values, from draw to draw
    relative_error: Tensor  # (N,): the noise's root mean square over the converged map's standard deviation
    n_masks: int  # how many were used


def rise(
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
) -> Tensor:
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
        tolerance: stop before ``n_masks`` as soon as the ``relative_error`` of every map (see ``rise_fit``)
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
    return _rise(
        model,
        x,
        target,
        replicates=1 if tolerance is None else _REPLICATES,
        n_masks=n_masks,
        grid=grid,
        keep=keep,
        fill=fill,
        paired=paired,
        balanced=balanced,
        normalize=normalize,
        tolerance=tolerance,
        batch_size=batch_size,
        generator=generator,
        progress=progress,
    ).heatmap


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
) -> RiseFit:
    r"""RISE with its own error: how much the map would move with other masks.

    What is drawn together (a pair, or a balanced block) is dealt out to up to eight replicates; the jackknife
    over them gives each pixel's standard error, which a formula for independent masks would get wrong.
    ``relative_error`` is that of the map's pattern: the root mean square of the noise over the standard
    deviation of the map itself (the noise's share taken off), both without the level, which differs from draw
    to draw and shows nothing. (For balanced blocks both are upper estimates: what the evenly spread shifts
    gain, no replicate can tell. Where the bits matter more than the shifts, that is little.) With e, the
    expected correlation with the converged map is about :math:`1 / \sqrt{1 + e^2}`. It is infinite if noise
    is all there is to see. It says nothing about whether the converged map is a good explanation. Eight maps
    are kept in memory for each map asked for. Arguments and errors as ``rise``; ``n_masks`` must be at least
    two pairs, or two balanced blocks.

    Returns:
        A ``RiseFit``; with the same ``tolerance`` and generator state its ``heatmap`` is what ``rise``
        returns.

    Source: Petsiuk et al. 2018, arXiv:1806.07421.

    >>> fit = rise_fit(model, x, n_masks=64)
    >>> fit.standard_error.shape, fit.relative_error.shape, fit.n_masks
    (torch.Size([2, 64, 64]), torch.Size([2]), 64)
    """
    return _rise(
        model,
        x,
        target,
        replicates=_REPLICATES,
        n_masks=n_masks,
        grid=grid,
        keep=keep,
        fill=fill,
        paired=paired,
        balanced=balanced,
        normalize=normalize,
        tolerance=tolerance,
        batch_size=batch_size,
        generator=generator,
        progress=progress,
    )


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
    n_masks, size = _checks.check_count("n_masks", n_masks), _check_window("size", size)
    device = torch.device(device)
    _check_grid(grid, keep, size)
    _checks.check_generator(generator, device)
    masks = _Masks(n_masks, size, grid, keep, paired, balanced, device, torch.float32, generator)
    return masks.build(0, n_masks)


_REPLICATES, _ROUND = 8, 128


class _Masks:
    """Random soft masks: bits and shifts for all of them, pixels only for those asked for."""

    def __init__(
        self,
        n: int,
        size: tuple[int, int],
        grid: int,
        keep: float,
        paired: bool,
        balanced: bool | None,
        device: torch.device,
        dtype: torch.dtype,
        generator: torch.Generator | None,
    ) -> None:
        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=device)

        block = 2 * _order(grid)
        fitting = paired and keep == 0.5 and n >= 2 * block
        if balanced and not fitting:
            raise ValueError(
                f"balanced masks need paired=True, keep=0.5 and at least {2 * block} masks for grid={grid}, "
                f"got paired={paired}, keep={keep}, n_masks={n}"
            )
        self.together = 1  # how many masks, one after the other, are drawn together
        if fitting and balanced is not False:
            self.together, blocks = block, math.ceil(n / block)
            bits, shifts = _balanced_bits(blocks, grid, uniform), _spread(blocks, uniform)
        elif paired:
            # u and 1 − u: each mask is as probable as before, and where one is low its twin is high
            self.together, draws = 2, uniform((n + 1) // 2, grid, grid)
            twins = ~(draws < 0.5) if keep == 0.5 else 1 - draws < keep
            bits, shifts = torch.stack([draws < keep, twins], 1).flatten(0, 1), uniform(len(draws), 2)
        else:
            bits, shifts = uniform(n, grid, grid) < keep, uniform(n, 2)
        cell = [math.ceil(length / grid) for length in size]
        self.bits = bits[:n]
        self.shifts = (shifts * torch.tensor(cell, device=device)).long()  # one for each unit drawn together
        # Bilinear interpolation of (grid,) to (grid + 1) cells, as a matrix: a shift picks its rows.
        eye = torch.eye(grid, dtype=dtype, device=device)[None]
        self.rows, self.columns = (
            F.interpolate(eye, (grid + 1) * c, mode="linear", align_corners=False)[0].T for c in cell
        )
        self.size, self.dtype = size, dtype

    def build(self, start: int, stop: int) -> Tensor:
        """Masks start to stop, (m, H, W)."""
        (height, width), device = self.size, self.shifts.device
        shifts = self.shifts[torch.arange(start, stop, device=device) // self.together]  # (m, 2)
        rows = self.rows[shifts[:, :1] + torch.arange(height, device=device)]  # (m, H, grid)
        columns = self.columns[shifts[:, 1:] + torch.arange(width, device=device)]  # (m, W, grid)
        return rows @ self.bits[start:stop].to(self.dtype) @ columns.mT


def _order(grid: int) -> int:
    """The order of the Hadamard matrix with a column for each cell, besides the constant one."""
    return 2 ** math.ceil(math.log2(grid * grid + 1))


def _balanced_bits(blocks: int, grid: int, uniform: Callable[..., Tensor]) -> Tensor:
    """Bits (blocks · 2 · order, grid, grid): rows of Hadamard matrices, each followed by its complement.

    Any two of the matrix's columns agree in half of the rows: within a block no cell's effect is mistaken for
    another's. Columns are dealt to the cells at random and turned over by a coin each, rows are shuffled; so
    every mask alone is a row of independent fair bits, as in the paper.
    """
    from scipy.linalg import hadamard

    order, cells = _order(grid), grid * grid
    coins = uniform(blocks, cells) < 0.5
    columns = 1 + uniform(blocks, order - 1).argsort(1)[:, :cells]
    rows = uniform(blocks, order).argsort(1)
    matrix = torch.from_numpy(hadamard(order) > 0).to(coins.device)
    bits = matrix[rows[:, :, None], columns[:, None]] ^ coins[:, None]  # (blocks, order, cells)
    return torch.stack([bits, ~bits], 2).view(-1, grid, grid)


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


def _rise(
    model: nn.Module,
    x: Tensor,
    target: Target,
    *,
    replicates: int,
    n_masks: int,
    grid: int,
    keep: float,
    fill: Fill,
    paired: bool,
    balanced: bool | None,
    normalize: str,
    tolerance: float | None,
    batch_size: int,
    generator: torch.Generator | None,
    progress: bool,
) -> RiseFit:
    x, asked = _checks.check_images(model, x), _checks.check_target(target, x, many=True)
    n_masks = _checks.check_count("n_masks", n_masks)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    normalize = _checks.check_choice("normalize", normalize, ("coverage", "expected"))
    _check_grid(grid, keep, tuple(x.shape[-2:]))
    if tolerance is not None:
        _check_positive("tolerance", tolerance)
    _checks.check_generator(generator, x.device)
    hidden = _filled(x, fill)
    masks = _Masks(n_masks, tuple(x.shape[-2:]), grid, keep, paired, balanced, x.device, x.dtype, generator)
    if replicates > 1 and n_masks < 2 * masks.together:
        raise ValueError(f"n_masks must be at least {2 * masks.together} to estimate an error, got {n_masks}")

    with (
        _model.left_as_found(model),
        tqdm(total=n_masks * len(x), disable=not progress, desc="RISE", unit="pass") as bar,
    ):
        asked = asked or _model.own_choice(model, x, batch_size)
        sums = _RiseSums(replicates, masks.together, x, asked, keep, normalize)
        step = n_masks if tolerance is None else _ROUND  # a round ends with a pass that may not be full
        for start in range(0, n_masks, step):
            stop = min(start + step, n_masks)
            _add_masks(model, x, hidden, asked, masks, start, stop, batch_size, sums, bar)
            if tolerance is not None and (sums.relative_error() <= tolerance).all():
                break
        return sums.fit(stop)


class _RiseSums:
    """Numerators and coverages of each replicate, updated chunk by chunk; all that is kept of a mask."""

    def __init__(
        self, replicates: int, together: int, x: Tensor, asked: "Classes", keep: float, normalize: str
    ) -> None:
        wide = torch.promote_types(x.dtype, torch.float32)  # half precision would round a long sum away
        n, (height, width), classes = len(x), x.shape[-2:], asked.index.shape[1]
        self.total = torch.zeros(replicates, n * classes, height * width, dtype=wide, device=x.device)
        self.coverage = torch.zeros(replicates, height * width, dtype=wide, device=x.device)
        self.shape, self.dtype, self.many = (n, classes, height, width), x.dtype, asked.many
        self.replicates, self.together, self.keep, self.normalize = replicates, together, keep, normalize
        self.masks = torch.zeros(replicates, dtype=wide, device=x.device)

    def add(self, first: int, masks: Tensor, weights: Tensor, counted: int) -> None:
        """Add masks (m, H, W), from number ``first`` on, with weights (m, N·K); ``counted`` came before."""
        masks = masks.flatten(1).to(self.total.dtype)
        number = torch.arange(first, first + len(masks), device=masks.device)
        group = F.one_hot(number // self.together % self.replicates, self.replicates).to(
            masks.dtype
        )  # (m, G)
        self.total += torch.einsum("mg,mk,mp->gkp", group, weights.to(masks.dtype), masks)
        self.masks += group[counted:].sum(0)
        if self.normalize == "coverage":
            self.coverage += group[counted:].T @ masks[counted:]
        else:
            self.coverage += group[counted:].sum(0)[:, None] * self.keep

    def _maps(self) -> tuple[Tensor, Tensor]:
        """The map (N·K, H·W), and its deviations (G, N·K, H·W): their squares sum to each value's variance.

        A jackknife over unequal replicates.
        """
        total, coverage = self.total.sum(0), self.coverage.sum(0)
        heatmap = _model.ratio(total, coverage)
        used = self.masks > 0
        without = _model.ratio(total - self.total, (coverage - self.coverage)[:, None])  # (G, N·K, H·W)
        share = self.masks.sum() / self.masks.where(used, torch.ones_like(self.masks))
        # A pseudo-value is off by (share − 1)(heatmap − without), with a variance of share − 1 times one's.
        scale = ((share - 1) * used / used.sum()).sqrt()
        return heatmap, (heatmap - without) * scale[:, None, None]

    def relative_error(self) -> Tensor:
        """(N, K): noise over signal, both without the map's level, which shows nothing."""
        return self._noise_over_signal(*self._maps())

    def _noise_over_signal(self, heatmap: Tensor, deviations: Tensor) -> Tensor:
        noise = deviations.var(2, correction=0).sum(0)  # (N·K,)
        seen = heatmap.var(1, correction=0)
        signal = (seen - noise).clamp(min=0)
        error = (noise / signal.where(signal > 0, torch.ones_like(signal))).sqrt()
        error = error.where(signal > 0, torch.full_like(error, torch.inf))
        # A flat map without noise is exact, up to the rounding of its sums.
        tiny = (64 * torch.finfo(heatmap.dtype).eps * heatmap.abs().amax(1)).square()
        error = error.where(noise > tiny, torch.zeros_like(error))
        enough = (self.masks > 0).sum() > 1  # one replicate alone has nothing to differ from
        return error.where(enough, torch.full_like(error, torch.inf)).view(self.shape[:2])

    def fit(self, n_masks: int) -> RiseFit:
        heatmap, deviations = self._maps()
        spread = deviations.square().sum(0).sqrt()
        maps = [v.view(self.shape).to(self.dtype) for v in (heatmap, spread)]
        maps.append(self._noise_over_signal(heatmap, deviations).to(self.dtype))
        return RiseFit(*(maps if self.many else (v[:, 0] for v in maps)), n_masks)


def _add_masks(
    model: nn.Module,
    x: Tensor,
    hidden: Tensor,
    asked: "Classes",
    masks: _Masks,
    start: int,
    stop: int,
    batch_size: int,
    sums: _RiseSums,
    bar: tqdm,
) -> None:
    """Score all images under masks start to stop, ``batch_size`` at a time; all passes but the last full."""
    n, known = len(x), start
    for begin in range(start * n, stop * n, batch_size):
        end = min(begin + batch_size, stop * n)
        flat = torch.arange(begin, end, device=x.device)
        first, last = begin // n, (end - 1) // n + 1
        some = masks.build(first, last)  # (m, H, W); shared by all images
        images = flat % n
        seen = torch.lerp(_of(hidden, images), _of(x, images), some[flat // n - first][:, None])
        p = _probabilities(model, seen, asked, images)  # (b, K)
        weights = p.new_zeros(last - first, n, p.shape[1])
        weights.view(-1, p.shape[1])[begin - first * n : end - first * n] = p
        sums.add(first, some, weights.flatten(1), known - first)
        known = last
        bar.update(end - begin)


# ------------------------------------------------------------------------------------------ what they share


def _probabilities(model: nn.Module, pixels: Tensor, asked: Classes, images: Tensor) -> Tensor:
    """Probabilities (b, K) of what is asked of ``images``, given their masked ``pixels``."""
    logits = _model.logits_of(model, pixels)
    _checks.check_range(asked.highest, logits.shape[1])
    wide = torch.promote_types(logits.dtype, torch.float32)
    return logits.softmax(1, dtype=wide).gather(1, asked.index[images])


def _scores(
    model: nn.Module,
    x: Tensor,
    asked: Classes,
    n_samples: int,
    batch_size: int,
    make: Callable[[Tensor, Tensor], Tensor],
    name: str,
    progress: bool,
) -> Tensor:
    """Probabilities (n, N, K) of every sample of every image, ``batch_size`` to a pass; every pass but the
    last is full.

    ``make(samples, images)`` gets two index tensors (b,) and returns the masked images (b, C, H, W).
    """
    total, parts = n_samples * len(x), []
    with tqdm(total=total, disable=not progress, desc=name, unit="pass") as bar:
        for flat in torch.arange(total, device=x.device).split(batch_size):
            images = flat % len(x)
            parts.append(_probabilities(model, make(flat // len(x), images), asked, images))
            bar.update(len(flat))
    return torch.cat(parts).view(n_samples, len(x), -1)


def _of(values: Tensor, images: Tensor) -> Tensor:
    """The rows of a batch that a chunk needs; of a single image a view that broadcasts, not copies."""
    return values if len(values) == 1 else values[images]


def _filled(x: Tensor, fill: Fill, segments: Tensor | None = None) -> Tensor:
    """What the images look like with everything hidden, (N, C, H, W)."""
    if not isinstance(fill, str):
        if not isinstance(fill, Tensor) and not _checks.is_number(fill):
            raise ValueError(f"fill must be a number, a tensor, or one of {FILLS}, got {fill!r}")
        return _checks.check_like_images("fill", fill, x)
    _checks.check_choice("fill", fill, FILLS)
    if fill == "grey":
        return torch.full_like(x, 0.5)
    if fill == "blur":
        shorter = min(x.shape[-2:])
        sigma = shorter / 20
        reach = min(math.ceil(2 * sigma), shorter - 1)  # the border is mirrored, so it cannot reach further
        from torchvision.transforms.functional import gaussian_blur

        return gaussian_blur(x, 2 * reach + 1, sigma)
    if segments is None:
        return x.mean((2, 3), keepdim=True).expand_as(x)
    return torch.stack([_mean_colours(*pair) for pair in zip(x, segments, strict=True)])


def _mean_colours(image: Tensor, labels: Tensor) -> Tensor:
    """One image (C, H, W), each superpixel in its mean colour."""
    # A product with the members, since scattered sums differ from run to run on a GPU.
    member = F.one_hot(labels.flatten()).to(torch.promote_types(image.dtype, torch.float32))  # (H·W, d)
    colours = image.flatten(1).to(member.dtype) @ member / member.sum(0)  # (C, d)
    return colours.to(image.dtype)[:, labels]


def _check_segments(segments: Tensor | None, x: Tensor) -> tuple[Tensor, list[int]]:
    """Superpixels (N, H, W), and how many each image has."""
    if segments is None:
        segments = superpixels(x)
    if not isinstance(segments, Tensor):
        raise TypeError(f"segments must be a tensor of labels (N, H, W), got {type(segments).__name__}")
    if segments.is_floating_point() or segments.is_complex() or segments.dtype == torch.bool:
        raise ValueError(f"segments must hold labels (integers), got {segments.dtype}")
    if segments.device != x.device:
        raise ValueError(
            f"segments is on {segments.device}, but x is on {x.device}; pass segments.to('{x.device}')"
        )
    wanted = (len(x), *x.shape[-2:])
    if tuple(segments.shape) not in (wanted, wanted[1:]):
        raise ValueError(
            f"segments must have the shape {wanted} or {wanted[1:]} of x, got {tuple(segments.shape)}"
        )
    segments = segments.detach().to(torch.int64).expand(wanted)
    counts = []
    for i, labels in enumerate(segments):
        present = labels.unique().tolist()
        if present != list(range(len(present))):
            missing = sorted(set(range(max(present) + 1)) - set(present)) if present[0] >= 0 else []
            what = f"label {missing[0]} is missing" if missing else f"label {present[0]} is negative"
            raise ValueError(
                f"segments must be labelled from 0 without gaps, but in image {i} {what} (labels go from "
                f"{present[0]} to {present[-1]}); labels.unique(return_inverse=True)[1] closes gaps"
            )
        counts.append(len(present))
    return segments, counts


def _own_columns(counts: list[int], samples: Tensor) -> Tensor:
    """Which of the samples' columns (..., d) are superpixels of each image, (N, d), bool."""
    device = samples.device
    return torch.arange(samples.shape[-1], device=device) < torch.tensor(counts, device=device)[:, None]


def _shown_segments(
    x: Tensor, hidden: Tensor, segments: Tensor, samples: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Images of which a sample shows some superpixels; ``samples`` is (N, n, d), or (1, n, d) for all."""

    def shown(number: Tensor, images: Tensor) -> Tensor:
        bits = samples[images if len(samples) > 1 else 0, number]  # (b, d)
        if len(x) == 1:
            keep = bits[:, segments[0]]  # (b, H, W): every masked image of the chunk in one operation
        else:
            keep = bits.gather(1, segments[images].flatten(1)).unflatten(1, segments.shape[1:])
        return torch.where(keep[:, None], _of(x, images), _of(hidden, images))

    return shown


def _painted(values: Tensor, segments: Tensor) -> Tensor:
    """Each pixel with its superpixel's value: (N, H, W) from (N, d), or (N, K, H, W) from (N, K, d)."""
    with torch.inference_mode(False):  # a heatmap is an ordinary tensor, wherever it is made
        labels = segments.flatten(1)  # (N, H·W)
        if values.dim() == 3:
            labels = labels[:, None].expand(-1, values.shape[1], -1)
        return values.gather(-1, labels).unflatten(-1, segments.shape[1:])


def _windows(length: int, size: int, step: int, x: Tensor) -> Tensor:
    """Which pixels of an axis each window covers, (windows, length), bool; the last one reaches the end."""
    starts = torch.arange(math.ceil((length - size) / step) + 1, device=x.device)[:, None] * step
    place = torch.arange(length, device=x.device)
    return (place >= starts) & (place < starts + size)


def _answer(heatmaps: Tensor, asked: Classes, x: Tensor) -> Tensor:
    heatmaps = heatmaps.to(x.dtype)
    return heatmaps if asked.many else heatmaps[:, 0]


def _check_window(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise ValueError(f"{name} must be one number or two (height, width), got {value!r}")
        return _checks.check_count(name, value[0]), _checks.check_count(name, value[1])
    return (_checks.check_count(name, value),) * 2


def _check_grid(grid: int, keep: float, size: tuple[int, int]) -> None:
    grid = _checks.check_count("grid", grid)
    if grid > min(size):
        raise ValueError(
            f"grid must not have more cells along a side than the image has pixels, {size}, got {grid}"
        )
    if not _checks.is_number(keep) or not 0 < keep < 1:
        raise ValueError(f"keep must be a probability between 0 and 1, both excluded, got {keep!r}")


def _check_positive(name: str, value: float, or_zero: bool = False) -> None:
    if not _checks.is_number(value) or value < 0 or (value == 0 and not or_zero):
        raise ValueError(
            f"{name} must be a finite number, {'0 or more' if or_zero else 'above 0'}, got {value!r}"
        )
