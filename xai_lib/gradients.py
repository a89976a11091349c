"""Chapter 2: which pixels does the logit depend on? Explanations from the gradient at the input.

All of them explain the logit, not the probability: the softmax mixes in every other class, and its gradient
vanishes where the model is certain.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from xai_lib import _checks, _model
from xai_lib._checks import Classes, Target

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
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    with _model.left_as_found(model):
        return _model.check_result(_model.input_gradient(model, x, classes), model, x)


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
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    n_samples = _checks.check_count("n_samples", n_samples)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    statistic = _checks.check_choice("statistic", statistic, ("mean", "square", "variance"))
    _checks.check_generator(generator, x.device)
    noise = _checks.check_number("noise", noise, least=0, what="relative to the image's range")

    with _model.left_as_found(model):
        classes = classes or _model.own_choice(model, x, batch_size)
        sigma = noise * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))  # (N, 1, 1, 1)
        draw = _normal_draws(x, len(x) * n_samples, generator)

        def noisy(images: Tensor, _samples: Tensor) -> Tensor:
            return torch.addcmul(x[images], sigma[images], draw(len(images)))  # (b, C, H, W)

        runs = _gradient_runs(model, classes, n_samples, batch_size, noisy)
        return _model.check_result(_statistic_of_runs(runs, x, n_samples, statistic), model, x)


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
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    n_steps = _checks.check_count("n_steps", n_steps)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    start = _checks.check_like_images("baseline", baseline, x)

    nodes, weights = np.polynomial.legendre.leggauss(n_steps)  # on [-1, 1]
    alpha, weight = (
        torch.as_tensor(values / 2, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1)  # (n_steps, 1, 1, 1)
        for values in (1 + nodes, weights)
    )
    with _model.left_as_found(model):
        classes = classes or _model.own_choice(model, x, batch_size)
        way = x - start

        def on_path(images: Tensor, steps: Tensor) -> Tensor:
            return torch.addcmul(start[images], alpha[steps], way[images])  # (b, C, H, W)

        total = torch.zeros_like(x, dtype=_model.wide(x.dtype))
        for image, first, slopes in _gradient_runs(model, classes, n_steps, batch_size, on_path):
            total[image] += (weight[first : first + len(slopes)] * slopes.to(total.dtype)).sum(0)
        return _model.check_result((total * way).to(x.dtype), model, x)


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
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    with _model.left_as_found(model):
        model = _model.unwrapped(model)
        slopes = _model.input_gradient(model, x, classes, edit=_positive_only)
        return _model.check_result(slopes, model, x)


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
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    with _model.left_as_found(model):
        model = _model.unwrapped(model)
        slopes = _model.input_gradient(model, x, classes, edit=_rectify_only)
        return _model.check_result(slopes, model, x)


def _statistic_of_runs(runs: Iterator["_Run"], x: Tensor, n: int, statistic: str) -> Tensor:
    """Mean, mean square or variance over each image's n gradients, from sums that are updated run by run."""
    wide = _model.wide(x.dtype)
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


# ------------------------------------------------------------------------------- gradients at many points


class _Run(NamedTuple):
    """Gradients at neighbouring points of one image."""

    image: int
    first: int  # the number of the first of these points
    gradients: Tensor  # (points, C, H, W)


def _gradient_runs(
    model: nn.Module,
    classes: Classes,
    n_points: int,
    batch_size: int,
    make_points: Callable[[Tensor, Tensor], Tensor],
) -> Iterator[_Run]:
    """Input gradients at ``n_points`` points for each image, in chunks of ``batch_size`` points.

    ``make_points(images, points)`` gets two index tensors (b,) and returns the pixels (b, C, H, W). Points
    are taken image by image and every chunk but the last is full: the number of passes is the least possible,
    and the memory is that of one chunk. A run never spans two images, so sums need no scattered (and on a GPU
    unordered) writes.
    """
    total = len(classes.index) * n_points
    for start in range(0, total, batch_size):
        stop = min(start + batch_size, total)
        flat = torch.arange(start, stop, device=classes.index.device)
        images = flat.div(n_points, rounding_mode="floor")
        gradients = _model.input_gradient(
            model, make_points(images, flat - images * n_points), classes.of(images)
        )
        while start < stop:
            image, first = divmod(start, n_points)
            size = min(n_points - first, stop - start)
            yield _Run(image, first, gradients[:size])
            gradients = gradients[size:]
            start += size


def _normal_draws(
    x: Tensor, total: int, generator: torch.Generator | None, block: int = 16
) -> Callable[[int], Tensor]:
    """A source of ``total`` standard normal images like ``x[0]``; call it with how many you want next.

    Drawn in blocks of a fixed size whatever is asked for, so that the numbers do not depend on the chunks.
    """
    shape, drawn = x.shape[1:], 0
    spare = x.new_empty((0, *shape))

    def draw(count: int) -> Tensor:
        nonlocal drawn, spare
        parts, have = [spare], len(spare)
        while have < count:
            size = min(block, total - drawn)
            parts.append(torch.randn(size, *shape, generator=generator, dtype=x.dtype, device=x.device))
            drawn += size
            have += size
        pool = torch.cat(parts) if len(parts) > 1 else spare
        spare = pool[count:]  # a view: small chunks are served from one block without copies
        return pool[:count]

    return draw


# ------------------------------------------------------------------------------------------ rectifier rules


def _positive_only(logits: Tensor) -> None:
    """Guided backpropagation: only positive gradients enter a rectifier; its own backward then masks them."""
    for node, _ in _some_rectifiers(logits):
        node.register_prehook(lambda slopes: tuple(None if s is None else s.clamp(min=0) for s in slopes))


def _rectify_only(logits: Tensor) -> None:
    """Deconvnet: the rectifier is applied to the gradient, in place of the rectifier's own backward."""
    for node, side in _some_rectifiers(logits):

        def rectified(own: tuple, slopes: tuple, side: int = side) -> tuple:
            if slopes[0] is None or own[side] is None:
                return own
            return (*own[:side], slopes[0].clamp(min=0), *own[side + 1 :])

        node.register_hook(rectified)


def _rectifiers(logits: Tensor) -> list[tuple[Any, int]]:
    """Every ReLU and ReLU6 in the graph behind ``logits``, and which of its inputs is the rectified one.

    Read from the autograd graph, not from the list of modules: functional, in-place and reused rectifiers are
    each a node there, and the model itself is not touched. A maximum with zero is a ReLU too.

    Raises:
        ValueError: if a part of the graph cannot be seen into: a hand-written
            ``autograd.Function``, a compiled part, a reentrant checkpoint.
    """
    found, seen, stack = [], set(), [logits.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            raise ValueError(
                f"model hides a part of its graph, {node.name()!r} (a compiled part, a reentrant checkpoint, "
                "or a hand-written autograd.Function), where guided backprop and deconvnet may miss a ReLU; "
                "take the model before torch.compile, use checkpoint(..., use_reentrant=False)"
            )
        side = _rectified_input(node)
        if side is not None:
            found.append((node, side))
        stack.extend(parent for parent, _ in node.next_functions)
    return found


def _some_rectifiers(logits: Tensor) -> list[tuple[Any, int]]:
    found = _rectifiers(logits)
    if not found:
        raise ValueError("model has no ReLU or ReLU6, and guided backprop and deconvnet only change those")
    return found


def _rectified_input(node: Any) -> int | None:
    """Which input of this step of the graph is rectified; None if it is no rectifier."""
    kind = node.name().rstrip("0123456789")
    if kind == "MaximumBackward":
        zeros = [_all_equal(node._saved_other, 0), _all_equal(node._saved_self, 0)]
        return zeros.index(True) if any(zeros) else None
    rectifies = {
        "ReluBackward": lambda: True,
        "ThresholdBackward": lambda: node._saved_threshold == 0,
        # ReLU6, whichever way it is spelt
        "HardtanhBackward": lambda: node._saved_min_val == 0,
        # clamp(0, 1) clips pixels: that is no rectifier
        "ClampBackward": lambda: (
            _all_equal(node._saved_min, 0) and (node._saved_max is None or _all_equal(node._saved_max, 6))
        ),
        "ClampMinBackward": lambda: _all_equal(getattr(node, "_saved_min", None), 0),
    }
    return 0 if kind in rectifies and rectifies[kind]() else None


def _all_equal(bound: Any, value: float) -> bool:
    """Whether a bound, a number or a tensor, is this value everywhere."""
    if isinstance(bound, Tensor):
        return bool((bound == value).all())
    return bound is not None and bound == value
