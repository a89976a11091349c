"""Chapter 2: which pixels does the logit depend on? Explanations from the gradient at the input.

All of them explain the logit, not the probability: the softmax mixes in every other class, and its gradient
vanishes where the model is certain.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from xai_lib import _engine
from xai_lib._engine import Target

__all__ = [
    "deconvnet",
    "gradient",
    "gradient_x_input",
    "guided_backprop",
    "integrated_gradients",
    "smooth_grad",
]


def gradient(model: nn.Module, x: Tensor, target: Target = None) -> Tensor:
    r"""Gradient of the logit: how much the class score rises for a small rise of each pixel.

    .. math:: R = \partial y^c / \partial x

    The authors show :math:`\max_{channels} |R|` (``to_heatmap`` does that). One forward and one backward
    pass.

    Args:
        model: classifier in evaluation mode; images in, logits :math:`(N, K)` out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, or None for the model's own choice.

    Returns:
        Signed slopes, :math:`(N, C, H, W)`, detached.

    Raises:
        ValueError: if ``x`` is not a finite float tensor of that shape on the model's device, ``model`` is in
            training mode, or ``target`` is of the wrong length or out of range (the last is known after the
            forward pass).

    Source: Simonyan et al. 2013, arXiv:1312.6034.

    >>> gradient(model, x, target=0).shape
    torch.Size([2, 3, 64, 64])
    """
    x, classes = _engine.check_images(model, x), _engine.check_target(target, x)
    with _engine.left_as_found(model):
        return _engine.input_gradient(model, x, classes)


def gradient_x_input(model: nn.Module, x: Tensor, target: Target = None) -> Tensor:
    r"""Input times gradient: each pixel's share of the logit, to first order.

    .. math:: R = x \odot \partial y^c / \partial x

    Exact (the shares sum to the logit) for a piecewise linear network without biases. Not invariant to a
    shift of the input: see chapter 2, "When this misleads you".

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, or None for the model's own choice.

    Returns:
        Signed shares of the logit, :math:`(N, C, H, W)`, detached.

    Raises:
        ValueError: as ``gradient``.

    Source: Shrikumar et al. 2016, arXiv:1605.01713.

    >>> gradient_x_input(model, x).shape
    torch.Size([2, 3, 64, 64])
    """
    slopes = gradient(model, x, target)
    with torch.inference_mode(False):
        return slopes * x.detach()


def smooth_grad(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    n_samples: int = 50,
    noise: float = 0.15,
    statistic: str = "mean",
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""SmoothGrad: the gradient, averaged over noisy copies of the image.

    .. math:: R = \frac{1}{n} \sum_{i=1}^{n} \frac{\partial y^c}{\partial x}(x + \varepsilon_i), \quad
              \varepsilon_i \sim \mathcal{N}(0, \sigma^2), \quad \sigma = \text{noise} (x_{max} - x_{min})

    An estimate of the gradient of the logit blurred by a Gaussian of width :math:`\sigma`: its variance from
    draw to draw falls as :math:`1/n`. Costs n forward and backward passes; peak memory depends on
    ``batch_size`` only.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, or None for the model's own choice on the
            clean image.
        n_samples: noisy copies of each image, n.
        noise: standard deviation relative to each image's own range (the paper's convention; it uses 0.1 to
            0.2).
        statistic: over the n gradients, pixel by pixel: ``"mean"``; ``"square"``, the mean of the squares;
            ``"variance"``, the mean squared deviation from the mean (divided by n).
        batch_size: images in one pass; None for 16 on a processor and 64 on a GPU.
        generator: source of the noise, on ``x``'s device; None for torch's own. The same state gives the same
            noise, whatever ``batch_size`` is.

    Returns:
        Signed for ``"mean"``, else not negative, :math:`(N, C, H, W)`, detached.

    Raises:
        ValueError: as ``gradient``; if a count is not positive, ``noise`` is negative, ``statistic`` is
            unknown, or ``generator`` draws on another device.

    Source: Smilkov et al. 2017, arXiv:1706.03825; the square and the variance as in Hooker et al. 2019,
    arXiv:1806.10758.

    >>> smooth_grad(model, x, n_samples=4).shape
    torch.Size([2, 3, 64, 64])
    """
    x, classes = _engine.check_images(model, x), _engine.check_target(target, x)
    n_samples = _engine.check_count("n_samples", n_samples)
    batch_size = _engine.check_batch_size(batch_size, x.device)
    statistic = _engine.check_choice("statistic", statistic, ("mean", "square", "variance"))
    _engine.check_generator(generator, x.device)
    if not _engine.is_number(noise) or noise < 0:
        raise ValueError(
            f"noise must be a finite number, 0 or more, relative to the image's range, got {noise!r}"
        )

    with _engine.left_as_found(model):
        classes = classes or _engine.own_choice(model, x, batch_size)
        sigma = noise * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))  # (N, 1, 1, 1)
        draw = _engine.normal_draws(x, len(x) * n_samples, generator)

        def noisy(images: Tensor, _samples: Tensor) -> Tensor:
            return torch.addcmul(x[images], sigma[images], draw(len(images)))  # (b, C, H, W)

        runs = _engine.gradient_runs(model, classes, n_samples, batch_size, noisy)
        return _statistic_of_runs(runs, x, n_samples, statistic)


def integrated_gradients(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    baseline: float | Tensor | None = None,
    n_steps: int = 50,
    batch_size: int | None = None,
) -> Tensor:
    r"""Integrated gradients: each pixel's share of the logit's change from a baseline to the image.

    .. math:: R = (x - x') \odot \int_0^1
              \frac{\partial y^c}{\partial x}\bigl(x' + \alpha (x - x')\bigr) \, d\alpha

    Complete: the shares sum to :math:`y^c(x) - y^c(x')`, up to the error of the integral. The integral is a
    Gauss–Legendre sum with ``n_steps`` points. Its weights are positive and sum to one, it is exact for
    polynomials up to degree :math:`2n - 1`, and it never evaluates the gradient at the ends of the path,
    where a rectifier network often has a kink (at a black baseline, for example). For a rectifier network the
    integrand jumps, so that *every* rule needs more points there: measure the completeness gap, then choose
    ``n_steps``.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, or None for the model's own choice on ``x``.
        baseline: where the path starts, :math:`x'`: a number or a tensor that broadcasts to ``x``; None for
            black.
        n_steps: points on the path.
        batch_size: images in one pass, None for 16 on a processor and 64 on a GPU; peak memory depends on it,
            not on ``n_steps``.

    Returns:
        Signed shares, :math:`(N, C, H, W)`, detached.

    Raises:
        ValueError: as ``gradient``; if a count is not positive, or ``baseline`` does not broadcast to ``x``.

    Source: Sundararajan et al. 2017, arXiv:1703.01365.

    >>> shares = integrated_gradients(model, x, target=1, n_steps=200)
    >>> change = model(x)[:, 1] - model(torch.zeros_like(x))[:, 1]
    >>> torch.allclose(shares.sum((1, 2, 3)), change, rtol=0.01, atol=1e-3)
    True
    """
    x, classes = _engine.check_images(model, x), _engine.check_target(target, x)
    n_steps = _engine.check_count("n_steps", n_steps)
    batch_size = _engine.check_batch_size(batch_size, x.device)
    start = _engine.check_like_images("baseline", baseline, x)

    nodes, weights = np.polynomial.legendre.leggauss(n_steps)  # on [-1, 1]
    alpha, weight = (
        torch.as_tensor(values / 2, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1)  # (n_steps, 1, 1, 1)
        for values in (1 + nodes, weights)
    )
    with _engine.left_as_found(model):
        classes = classes or _engine.own_choice(model, x, batch_size)
        way = x - start

        def on_path(images: Tensor, steps: Tensor) -> Tensor:
            return torch.addcmul(start[images], alpha[steps], way[images])  # (b, C, H, W)

        total = torch.zeros_like(x)
        for image, first, slopes in _engine.gradient_runs(model, classes, n_steps, batch_size, on_path):
            total[image] += (weight[first : first + len(slopes)] * slopes).sum(0)
        return total * way


def guided_backprop(model: nn.Module, x: Tensor, target: Target = None) -> Tensor:
    r"""Guided backpropagation: the gradient, with the negative part cut away at every ReLU on the way back.

    .. math:: R^{l} = \mathbb{1}[f^{l} > 0] \; \mathbb{1}[R^{l+1} > 0] \; R^{l+1}

    Sharp pictures, but not a derivative of anything: what it shows depends little on the class, and little on
    the upper layers' weights (chapter 7). Every ReLU and ReLU6 counts: modules, functional calls, in-place
    and reused ones. Other activations (SiLU, GELU, …) keep their own derivative.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, or None for the model's own choice.

    Returns:
        Signed, :math:`(N, C, H, W)`, detached.

    Raises:
        ValueError: as ``gradient``; if the model has no ReLU at all.

    Source: Springenberg et al. 2014, arXiv:1412.6806.

    >>> guided_backprop(model, x).shape
    torch.Size([2, 3, 64, 64])
    """
    x, classes = _engine.check_images(model, x), _engine.check_target(target, x)
    with _engine.left_as_found(model):
        return _engine.input_gradient(_engine.unwrapped(model), x, classes, edit=_engine.positive_only)


def deconvnet(model: nn.Module, x: Tensor, target: Target = None) -> Tensor:
    r"""Deconvnet: on its way back the signal is rectified at each ReLU, whatever that did on the way up.

    .. math:: R^{l} = \mathbb{1}[R^{l+1} > 0] \; R^{l+1}

    The gradient has :math:`\mathbb{1}[f^{l} > 0]` there, guided backpropagation has both. Elsewhere
    (convolution, max pooling with its switches) it is the gradient. Not a derivative of anything; needs
    ReLUs, as ``guided_backprop``.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, or None for the model's own choice.

    Returns:
        Signed, :math:`(N, C, H, W)`, detached.

    Raises:
        ValueError: as ``gradient``; if the model has no ReLU at all.

    Source: Zeiler and Fergus 2014, arXiv:1311.2901.

    >>> deconvnet(model, x).shape
    torch.Size([2, 3, 64, 64])
    """
    x, classes = _engine.check_images(model, x), _engine.check_target(target, x)
    with _engine.left_as_found(model):
        return _engine.input_gradient(_engine.unwrapped(model), x, classes, edit=_engine.rectify_only)


def _statistic_of_runs(runs: Iterator[_engine.Run], x: Tensor, n: int, statistic: str) -> Tensor:
    """Mean, mean square or variance over each image's n gradients, from sums that are updated run by run."""
    wide = torch.promote_types(x.dtype, torch.float32)  # half precision would round a long sum away
    total, squares = torch.zeros_like(x, dtype=wide), torch.zeros_like(x, dtype=wide)
    origin = torch.zeros_like(x, dtype=wide)
    for image, first, slopes in runs:
        if statistic == "mean":
            total[image] += slopes.sum(0, dtype=wide)
            continue
        if statistic == "variance" and first == 0:
            # Deviations are counted from the first sample, not from zero: the difference of two large sums of
            # squares would leave nothing but rounding where the gradient hardly varies.
            origin[image] = slopes[0]
        deviation = slopes.to(wide) - origin[image]  # (points, C, H, W)
        total[image] += deviation.sum(0)
        squares[image] += deviation.square().sum(0)
    result = {
        "mean": lambda: total / n,
        "square": lambda: squares / n,
        "variance": lambda: (squares / n - (total / n).square()).clamp(min=0),
    }[statistic]()
    return result.to(x.dtype)
