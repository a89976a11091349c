"""Chapter 2: which pixels does the logit depend on? Explanations from the gradient at the input.

All of them explain the logit, not the probability: the softmax mixes in every other class, and its gradient
vanishes where the model is certain.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from xai_lib import _checks, _model, _points
from xai_lib._checks import Target
from xai_lib._masking import options_of

__all__ = [
    "IntegratedGradientsFit",
    "SmoothGradFit",
    "deconvnet",
    "gradient",
    "gradient_x_input",
    "guided_backprop",
    "integrated_gradients",
    "integrated_gradients_fit",
    "smooth_grad",
    "smooth_grad_fit",
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


_REPLICATES, _ROUND = 8, 64


@dataclass(frozen=True, eq=False)
class SmoothGradFit:
    """A SmoothGrad attribution and how far it has converged."""

    attribution: Tensor  # (N, C, H, W)
    n_samples: int  # noisy copies of each image that were used
    _sums: "_points.Sums" = field(repr=False)

    @property
    def standard_error(self) -> Tensor:
        """Of each value, from draw to draw, (N, C, H, W)."""
        with torch.inference_mode(False):
            return self._sums.error().to(self.attribution.dtype)

    @property
    def relative_error(self) -> Tensor:
        """The noise's norm over the norm of the converged attribution, (N,); infinite if all is noise."""
        with torch.inference_mode(False):
            return self._sums.relative_error()


def smooth_grad_fit(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    n_samples: int = 50,
    noise: float = 0.15,
    statistic: str = "mean",
    paired: bool = True,
    tolerance: float | None = None,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> SmoothGradFit:
    r"""SmoothGrad with its own error: how much the attribution would differ with other noise.

    What is drawn together (a pair) is dealt out to up to eight replicates; the jackknife over them gives each
    value's standard error. With a ``relative_error`` of e, the expected cosine between this attribution and
    the converged one is about :math:`1 / \sqrt{1 + e^2}`. Expect much noise: on efficientnet_lite0 the 50
    samples that are usual leave e at about 1.1, and an e of 0.1 takes some 6000. Eight maps (sixteen for
    ``"variance"``) are kept in memory for each image. Arguments and errors as ``smooth_grad``.

    Returns:
        A ``SmoothGradFit``; its ``attribution`` is what ``smooth_grad`` returns.

    Source: Smilkov et al. 2017, arXiv:1706.03825.

    >>> fit = smooth_grad_fit(model, x, n_samples=16)
    >>> fit.standard_error.shape, fit.relative_error.shape, fit.n_samples
    (torch.Size([2, 3, 64, 64]), torch.Size([2]), 16)
    """
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    n_samples = _checks.check_count("n_samples", n_samples)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    statistic = _checks.check_choice("statistic", statistic, ("mean", "square", "variance"))
    paired, progress = _checks.check_flag("paired", paired), _checks.check_flag("progress", progress)
    _checks.check_generator(generator, x.device)
    noise = _checks.check_number("noise", noise, least=0, what="relative to the image's range")
    if tolerance is not None:
        tolerance = _checks.check_number("tolerance", tolerance, above=0)

    together = 2 if paired else 1
    with _model.left_as_found(model), _model.progress_bar(len(x) * n_samples, "SmoothGrad", progress) as bar:
        classes = classes or _model.own_choice(model, x, batch_size)
        sigma = noise * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))  # (N, 1, 1, 1)
        sums, used = _points.Sums(x, min(_REPLICATES, math.ceil(n_samples / together)), statistic), 0
        while used < n_samples and not (used and sums.relative_error().max() <= tolerance):
            some = n_samples if tolerance is None else min(_ROUND, n_samples - used)
            draw = _points.noise(x, some, together, generator)

            def noisy(images: Tensor, samples: Tensor, draw: Callable = draw) -> Tensor:
                return torch.addcmul(x[images], sigma[images], draw(images, samples))  # (b, C, H, W)

            for run in _points.gradient_runs(model, classes, some, batch_size, noisy):
                sums.add(run, together)
                bar.update(len(run.gradients))
            used += some
        attribution = _model.check_result(sums.estimate().to(x.dtype), model, x)
        return SmoothGradFit(attribution, used, sums)


@options_of(smooth_grad_fit)
def smooth_grad(*args: Any, **options: Any) -> Tensor:
    r"""SmoothGrad: the gradient, averaged over noisy copies of the image.

    .. math:: R = \frac{1}{n} \sum_{i=1}^{n} \frac{\partial y^c}{\partial x}(x + \varepsilon_i), \quad
              \varepsilon_i \sim \mathcal{N}(0, \sigma^2), \quad \sigma = \text{noise} (x_{max} - x_{min})

    An estimate of the gradient of the logit blurred by a Gaussian of width :math:`\sigma`: its variance from
    draw to draw falls as :math:`1/n`, and ``smooth_grad_fit`` says how large it is. Costs n forward and
    backward passes.

    ``paired`` noise comes as :math:`\varepsilon` and :math:`-\varepsilon`, which cancels the odd part of the
    gradient's response; each sample alone is as probable as before. Little is to be had: on
    efficientnet_lite0 a rectifier's gradient has forgotten nearly everything at half the correlation (0.04
    of its variance is left), so that no Gaussian design does much better than the pairs' 1.1 to 1.3 times
    fewer samples for an equal error.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, or None for the model's own choice on the
            clean image.
        n_samples: noisy copies of each image, n; with ``tolerance`` the most there may be.
        noise: standard deviation relative to each image's own range (the paper's convention; it uses 0.1 to
            0.2).
        statistic: over the n gradients, pixel by pixel: ``"mean"``; ``"square"``, the mean of the squares;
            ``"variance"``, the mean squared deviation from the mean (divided by n).
        paired: draw the noise in pairs; False draws it independently, as the paper does.
        tolerance: stop before ``n_samples`` as soon as the ``relative_error`` of every attribution (see
            ``smooth_grad_fit``) is no larger; looked at after every 64 samples. None never stops.
        batch_size: images in one pass; None for 16 on a processor and 64 on a GPU. Peak memory depends on it,
            not on ``n_samples``.
        generator: source of the noise, on ``x``'s device; None for torch's own. The same state gives the same
            noise, whatever ``batch_size`` is.
        progress: show a progress bar, counted in passes.

    Returns:
        Signed for ``"mean"``, else not negative, :math:`(N, C, H, W)`, detached.

    Raises:
        ValueError: as ``gradient``; if a count or ``tolerance`` is not positive, ``noise`` is negative,
            ``statistic`` is unknown, or ``generator`` draws on another device.

    Source: Smilkov et al. 2017, arXiv:1706.03825; the square and the variance as in Hooker et al. 2019,
    arXiv:1806.10758.

    >>> smooth_grad(model, x, n_samples=4).shape
    torch.Size([2, 3, 64, 64])
    """
    return smooth_grad_fit(*args, **options).attribution


class IntegratedGradientsFit(NamedTuple):
    """Integrated gradients, and what is known of their error."""

    attribution: Tensor  # (N, C, H, W)
    n_points: Tensor  # (N,): gradients taken of each image
    change: Tensor | None  # (N,): the logit at the image minus the logit at the baseline
    relative_error: (
        Tensor | None
    )  # (N,), with ``tolerance``: the error's norm over the attribution's, estimated

    @property
    def gap(self) -> Tensor:
        """What is missing from completeness, relative to the change: |sum - change| / |change|, (N,)."""
        with torch.inference_mode(False):
            missing = self.attribution.sum((1, 2, 3), dtype=self.change.dtype) - self.change
            return _model.ratio(missing.abs(), self.change.abs())


def integrated_gradients_fit(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    baseline: float | Tensor | None = None,
    n_steps: int | None = None,
    tolerance: float | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> IntegratedGradientsFit:
    """Integrated gradients with their completeness gap, from two more forward passes an image.

    The gap is the error of the shares' sum, not of each share: opposite errors cancel in it. With
    ``tolerance``, ``relative_error`` estimates that of the whole attribution from how far the gradients at
    neighbouring points differ; on efficientnet_lite0 it is a tenth to a fifth too low, and several times the
    gap. Arguments and errors as ``integrated_gradients``.

    Returns:
        An ``IntegratedGradientsFit``; its ``attribution`` is what ``integrated_gradients`` returns.

    Source: Sundararajan et al. 2017, arXiv:1703.01365.

    >>> fit = integrated_gradients_fit(model, x, target=1, tolerance=0.01)
    >>> bool((fit.gap <= 0.01).all()), fit.n_points.shape
    (True, torch.Size([2]))
    """
    return _integrate(model, x, target, baseline, n_steps, tolerance, batch_size, progress, ends=True)


def integrated_gradients(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    baseline: float | Tensor | None = None,
    n_steps: int | None = None,
    tolerance: float | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    r"""Integrated gradients: each pixel's share of the logit's change from a baseline to the image.

    .. math:: R = (x - x') \odot \int_0^1
              \frac{\partial y^c}{\partial x}\bigl(x' + \alpha (x - x')\bigr) \, d\alpha

    Complete: the shares sum to :math:`y^c(x) - y^c(x')`, up to the error of the integral. The integral is a
    Gauss–Legendre sum with ``n_steps`` points. Its weights are positive and sum to one, it is exact for
    polynomials up to degree :math:`2n - 1`, and it never evaluates the gradient at the ends of the path,
    where a rectifier network often has a kink (at a black baseline, for example). For a rectifier network the
    integrand jumps, so that *every* rule needs more points there.

    With ``tolerance`` the points go where the integrand moves: sixteen panels, shorter near the baseline,
    and round by round three times the points in those panels from which most of the error seems to come,
    until the completeness gap is within the tolerance, and what the jumps between neighbours say of it within
    twice that. Shares are never rescaled to close the gap. On efficientnet_lite0 (two photographs, two
    classes, four baselines) 1 % took 119 points in the median and was kept in all 16 cases; the
    Gauss–Legendre sum keeps it in 15 of them with 400 points, in 9 with 200. The map's own error
    profits less (3.2 % in place of 3.7 % with 100 points): each pixel's integrand has its own jumps.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, or None for the model's own choice on ``x``.
        baseline: where the path starts, :math:`x'`: a number or a tensor that broadcasts to ``x``; None for
            black.
        n_steps: points on the path; with ``tolerance`` the most there may be. None for 50, and for 1000 with
            ``tolerance``.
        tolerance: the completeness gap at which to stop, relative to the logit's change, for each image by
            itself; None never stops. ``integrated_gradients_fit`` says what was reached.
        batch_size: images in one pass, None for 16 on a processor and 64 on a GPU; peak memory depends on it,
            not on ``n_steps``.
        progress: show a progress bar, counted in points.

    Returns:
        Signed shares, :math:`(N, C, H, W)`, detached.

    Raises:
        ValueError: as ``gradient``; if a count or ``tolerance`` is not positive, or ``baseline`` does not
            broadcast to ``x``.

    Source: Sundararajan et al. 2017, arXiv:1703.01365.

    >>> shares = integrated_gradients(model, x, target=1, n_steps=200)
    >>> change = model(x)[:, 1] - model(torch.zeros_like(x))[:, 1]
    >>> torch.allclose(shares.sum((1, 2, 3)), change, rtol=0.01, atol=1e-3)
    True
    """
    fit = _integrate(model, x, target, baseline, n_steps, tolerance, batch_size, progress, ends=False)
    return fit.attribution


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


def _integrate(
    model: nn.Module,
    x: Tensor,
    target: Target,
    baseline: float | Tensor | None,
    n_steps: int | None,
    tolerance: float | None,
    batch_size: int | None,
    progress: bool,
    ends: bool,
) -> IntegratedGradientsFit:
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    n_steps = (50 if tolerance is None else 1000) if n_steps is None else n_steps
    n_steps = _checks.check_count("n_steps", n_steps)
    if tolerance is not None:
        tolerance = _checks.check_number("tolerance", tolerance, above=0)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    progress = _checks.check_flag("progress", progress)
    start = _checks.check_like_images("baseline", baseline, x)

    with (
        _model.left_as_found(model),
        _model.progress_bar(len(x) * n_steps, "Integrated gradients", progress) as bar,
    ):
        classes = classes or _model.own_choice(model, x, batch_size)
        path = _points.Path(model, x, start, classes, batch_size, bar)
        change = path.change() if ends or tolerance is not None else None
        if tolerance is None:
            total, n_points, error = path.gauss_legendre(n_steps), torch.full((len(x),), n_steps), None
        else:
            group = max(1, batch_size // _points.PANELS)  # so many images fill the first pass
            parts = [
                path.adaptive(range(i, min(i + group, len(x))), change.tolist(), n_steps, tolerance)
                for i in range(0, len(x), group)
            ]
            total, n_points, error = (torch.cat(part) for part in zip(*parts, strict=True))
        attribution = _model.check_result((total * path.way).to(x.dtype), model, x)
        return IntegratedGradientsFit(attribution, n_points, change, error)


# ------------------------------------------------------------------------------------------ rectifier rules


def _positive_only(logits: Tensor) -> None:
    """Guided backpropagation: only positive gradients enter a rectifier; its own backward then masks them."""
    for found in _some_rectifiers(logits):
        # No hook holds its own node, which would hold the hook: nothing would free that ring.
        found.node.register_prehook(partial(_clamped, _ties(found.node), found.fresh))


def _clamped(ties: list[Tensor], fresh: bool, slopes: tuple) -> tuple:
    # In place only what is nobody else's: an addition, say, hands one tensor on to both of its branches.
    in_place = fresh and not torch.is_grad_enabled()
    clamp = torch.clamp_ if in_place else torch.clamp
    result = [None if s is None else clamp(s, min=0) for s in slopes]
    for tie in ties:
        result[0] = None if result[0] is None else result[0].masked_fill(tie, 0)
    return tuple(result)


def _ties(node: Any) -> list[Tensor]:
    """Where a rectifier's input equals one of its bounds: it is shut there. What torch lets through depends
    on its release, and on whether the bound is a number or a tensor.
    """
    bounds = (getattr(node, f"_saved_{name}", None) for name in ("other", "min", "max"))
    return [node._saved_self == bound for bound in bounds if bound is not None]


def _rectify_only(logits: Tensor) -> None:
    """Deconvnet: the rectifier is applied to the gradient, in place of the rectifier's own backward."""
    for node, side, _ in _some_rectifiers(logits):

        def rectified(own: tuple, slopes: tuple, side: int = side) -> tuple:
            if slopes[0] is None or own[side] is None:
                return own
            return (*own[:side], slopes[0].clamp(min=0), *own[side + 1 :])

        node.register_hook(rectified)


class _Rectifier(NamedTuple):
    """A step of the graph that rectifies."""

    node: Any
    side: int  # which of its inputs is the rectified one
    fresh: bool  # whether the gradient that reaches it was made for it alone


# Steps whose backward pass makes a new tensor for its input: no view, and nothing that is handed on twice.
_MAKERS = ("ConvolutionBackward", "MaxPool2DWithIndicesBackward", "AddmmBackward", "NativeBatchNormBackward")


def _rectifiers(logits: Tensor) -> list[_Rectifier]:
    """Every ReLU and ReLU6 in the graph behind ``logits``.

    Read from the autograd graph, not from the list of modules: functional, in-place and reused rectifiers are
    each a node there, and the model itself is not touched. A maximum with zero is a ReLU too.

    Raises:
        ValueError: if a part of the graph cannot be seen into: a hand-written
            ``autograd.Function``, a compiled part, a reentrant checkpoint.
    """
    found, users = [], {}
    for node in _model.graph_behind(logits):
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            raise ValueError(
                f"model hides a part of its graph, {node.name()!r} (a compiled part, a reentrant checkpoint, "
                "or a hand-written autograd.Function), where guided backprop and deconvnet may miss a ReLU; "
                "take the model before torch.compile, use checkpoint(..., use_reentrant=False)"
            )
        side = _rectified_input(node)
        if side is not None:
            found.append((node, side))
        for parent, _ in node.next_functions:
            users.setdefault(parent, []).append(_kind(node))
    return [_Rectifier(n, side, len(users.get(n, ())) == 1 and users[n][0] in _MAKERS) for n, side in found]


def _kind(node: Any) -> str:
    return node.name().rstrip("0123456789")


def _some_rectifiers(logits: Tensor) -> list[_Rectifier]:
    found = _rectifiers(logits)
    if not found:
        raise ValueError("model has no ReLU or ReLU6, and guided backprop and deconvnet only change those")
    return found


def _rectified_input(node: Any) -> int | None:
    """Which input of this step of the graph is rectified; None if it is no rectifier."""
    kind = _kind(node)
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
