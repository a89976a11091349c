r"""Class activation maps: where in a convolutional layer the evidence for a class lies (chapter 3).

Every map here is :math:`M = \sum_k w_k \odot A_k`: the layer's feature maps :math:`A_k`, each (h, w),
weighted and summed. The methods differ in the weights: from the head (CAM), from the gradient
:math:`G = \partial y^c / \partial A` (the Grad-CAM family), or from the class's score on masked images
(Score-CAM).

Libraries differ in their conventions. These are ours, the same for every method:

- **What is explained** is the logit :math:`y^c`, not the probability: the gradient of a probability vanishes
  where the model is sure, and mixes in every other class. Score-CAM, which takes no gradient, scores by
  probability.
- **A is the layer's output as it leaves the layer.** What is done to it in place behind the layer (a ReLU,
  often) is not yet in it. Of a module that runs several times in one pass, the last run is explained.
- **Values stay in logit units.** Nothing is divided by a map's own minimum or maximum, so that two classes
  can be compared, and so that sums mean something: CAM's mean plus the bias is the logit.
  ``heatmaps.normalize`` is a call away; it cannot be undone.
- **ReLU before upsampling**, the papers' order: what speaks against the class is cut at the resolution at
  which it was computed. ``relu=False`` keeps the sign. CAM is not cut: its paper does not, and its identity
  needs the sign.
- **Bilinear upsampling, align_corners=False**: a cell stands for a patch of pixels and its value lies at the
  patch's middle. At a whole-numbered factor this keeps the map's mean. ``upsample=False`` shows what was
  really computed.
- **Grad-CAM++** has :math:`g_{ij}^3 \sum_{ab} A_{ab}` in its denominator, as its equation 19: the third
  derivative is taken at (i, j), the sum runs over the map alone. (Some libraries sum the product.) Its factor
  :math:`\exp(y^c)`, the same everywhere in one image, is left out.
- **No small constant in a denominator**: a zero divided by zero counts as zero, so a map of zeros stays zero.
- **Score-CAM's masks** are scaled to [0, 1] after upsampling, as in its paper.

>>> grad_cam(model, x, layer="features.7").shape
torch.Size([2, 64, 64])
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _checks, _masking, _model
from xai_lib._checks import Classes, Target
from xai_lib._model import Layer
from xai_lib.gradients import guided_backprop

__all__ = [
    "cam",
    "grad_cam",
    "grad_cam_plus_plus",
    "grad_cam_plus_plus_weights",
    "grad_cam_weights",
    "guided_grad_cam",
    "hires_cam",
    "hires_cam_weights",
    "layer_cam",
    "layer_cam_weights",
    "score_cam",
    "weighted_map",
    "xgrad_cam",
    "xgrad_cam_weights",
]

Formula = Callable[[Tensor, Tensor], Tensor]  # weights (N, K, h or 1, w or 1) from A and G, both (N, K, h, w)


def cam(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    layer: Layer,
    head: Layer,
    upsample: bool = True,
) -> Tensor:
    r"""Class activation map: what each cell of the last feature maps adds to the logit.

    .. math:: M^c_{ij} = \sum_k w^c_k A_{kij}, \qquad \frac{1}{hw} \sum_{ij} M^c_{ij} + b^c = y^c

    Only for networks that end in ``layer``, global average pooling, and one linear ``head``. The identity on
    the right is checked at every call, for every class, so that another network raises instead of misleading.
    One forward pass, no backward pass.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, or None for the model's own choice.
        layer: the layer that is pooled, a module or its dotted name.
        head: the linear layer (or 1 × 1 convolution) that turns the pooled values into logits, likewise.
        upsample: to the size of the images; False for the layer's own grid.

    Returns:
        Signed shares of the logit, :math:`(N, H, W)`, or :math:`(N, h, w)`, detached. Red speaks for the
        class.

    Raises:
        ValueError: if ``x``, ``target``, ``layer`` or ``head`` is not as above, or the logits are not what
            average pooling and ``head`` make of ``layer``.

    Source: Zhou et al. 2016, arXiv:1512.04150.

    >>> shares = cam(model, x, target=3, layer="features.7", head="head", upsample=False)
    >>> torch.allclose(shares.mean((1, 2)) + model.head.bias[3], model(x)[:, 3], atol=1e-5)
    True
    """
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    upsample = _checks.check_flag("upsample", upsample)
    _model.find_layer(model, layer)
    head_name, linear = _model.find_layer(model, head, "head")
    with _model.left_as_found(model):
        maps, logits = _model.feature_maps(model, x, layer)
        _model.check_result(logits, model, x)
        wide = _model.wide(maps.dtype)
        weight, bias = (w.to(wide) for w in _linear_weights(head_name, linear, maps.shape[1]))
        maps = maps.to(wide)
        _check_pooled(maps, weight, bias, logits)
        chosen = _model.one_hot(logits, classes).argmax(1)
        heatmap = weighted_map(weight[chosen, :, None, None], maps, relu=False)
        return _model.check_result(_finish(heatmap, x, upsample), model, x)


def grad_cam(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    layer: Layer,
    relu: bool = True,
    upsample: bool = True,
) -> Tensor:
    r"""Grad-CAM: feature maps, each weighted by its mean gradient.

    .. math:: M^c = \text{ReLU}\Bigl(\sum_k \alpha^c_k A_k\Bigr), \qquad
              \alpha^c_k = \frac{1}{hw} \sum_{ij} \frac{\partial y^c}{\partial A_{kij}}

    CAM divided by :math:`hw` where CAM applies. Elsewhere the mean over positions can name places the logit
    does not depend on: compare ``hires_cam``. One forward pass, and a backward pass that ends at ``layer``,
    for any batch.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, or None for the model's own choice.
        layer: the layer to explain, a module or its dotted name; its output is :math:`(N, K, h, w)`. It may
            also be named as it is called inside a wrapper (``DataParallel``, ``torch.compile``).
        relu: cut away what speaks against the class.
        upsample: to the size of the images; False for the layer's own grid.

    Returns:
        Heatmaps in logit units, not normalised, :math:`(N, H, W)`, or :math:`(N, h, w)`, detached; not
        negative with ``relu``.

    Raises:
        ValueError: if ``x``, ``target`` or ``layer`` is not as above, if ``layer`` never runs, or if the
            logits do not depend on it.

    Source: Selvaraju et al. 2017, arXiv:1610.02391.

    >>> grad_cam(model, x, target=3, layer="features.7", upsample=False).shape
    torch.Size([2, 15, 15])
    """
    return _explain(grad_cam_weights, model, x, target, layer, relu, upsample)


def grad_cam_plus_plus(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    layer: Layer,
    relu: bool = True,
    upsample: bool = True,
) -> Tensor:
    r"""Grad-CAM++: positive gradients only, weighted by position, to cover several objects of one class.

    .. math:: w^c_k = \sum_{ij} \alpha_{kij} \, \text{ReLU}(g_{kij}), \qquad
              \alpha_{kij} = \frac{g_{kij}^2}{2 g_{kij}^2 + g_{kij}^3 \sum_{ab} A_{kab}}

    with :math:`g = \partial y^c / \partial A`. Derived for feature maps that are not negative: take a layer
    behind its ReLU. Arguments, result and errors as ``grad_cam``.

    Source: Chattopadhay et al. 2018, arXiv:1710.11063, equations 7 and 19.

    >>> grad_cam_plus_plus(model, x, layer="features.7").shape
    torch.Size([2, 64, 64])
    """
    return _explain(grad_cam_plus_plus_weights, model, x, target, layer, relu, upsample)


def xgrad_cam(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    layer: Layer,
    relu: bool = True,
    upsample: bool = True,
) -> Tensor:
    r"""XGrad-CAM: the mean gradient, taken where the map is active.

    .. math:: w^c_k = \sum_{ij} \frac{A_{kij}}{\sum_{ab} A_{kab}} \, \frac{\partial y^c}{\partial A_{kij}}

    Before the ReLU its map sums to what ``hires_cam`` sums to; only the places differ. Needs feature maps
    that are not negative: a sum of zero over cells that are not zero has no weights. Arguments, result and
    errors as ``grad_cam``.

    Source: Fu et al. 2020, arXiv:2008.02312.

    >>> xgrad_cam(model, x, layer="features.7").shape
    torch.Size([2, 64, 64])
    """
    return _explain(xgrad_cam_weights, model, x, target, layer, relu, upsample)


def layer_cam(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    layer: Layer,
    relu: bool = True,
    upsample: bool = True,
) -> Tensor:
    r"""LayerCAM: each cell weighted by its own gradient, where that is positive; made for early layers too.

    .. math:: M^c = \text{ReLU}\Bigl(\sum_k \text{ReLU}\Bigl(\frac{\partial y^c}{\partial A_k}\Bigr) \odot
    A_k\Bigr)

    Arguments, result and errors as ``grad_cam``.

    Source: Jiang et al. 2021, doi:10.1109/TIP.2021.3089943.

    >>> layer_cam(model, x, layer="features.2").shape
    torch.Size([2, 64, 64])
    """
    return _explain(layer_cam_weights, model, x, target, layer, relu, upsample)


def hires_cam(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    layer: Layer,
    relu: bool = True,
    upsample: bool = True,
) -> Tensor:
    r"""HiResCAM: each cell weighted by its own gradient, so that no place borrows another's.

    .. math:: M^c = \text{ReLU}\Bigl(\sum_k \frac{\partial y^c}{\partial A_k} \odot A_k\Bigr)

    With ``relu=False``, under a head that is linear in the feature maps, the map sums to the logit minus the
    bias: nothing is lost. (Under a piecewise linear head, to the logit minus what its biases add there.)
    Arguments, result and errors as ``grad_cam``.

    Source: Draelos and Carin 2020, arXiv:2011.08891.

    >>> shares = hires_cam(model, x, target=3, layer="features.7", relu=False, upsample=False)
    >>> torch.allclose(shares.sum((1, 2)) + model.head.bias[3], model(x)[:, 3], atol=1e-5)
    True
    """
    return _explain(hires_cam_weights, model, x, target, layer, relu, upsample)


def guided_grad_cam(model: nn.Module, x: Tensor, target: Target = None, *, layer: Layer) -> Tensor:
    r"""Guided Grad-CAM: guided backpropagation, let through where Grad-CAM is warm.

    .. math:: R = R^{\text{guided}} \odot M^{\text{Grad-CAM}}

    The fine pattern comes from the first factor, which hardly knows the class; the class comes from the
    second. Not a derivative of anything. Two forward and two backward passes.

    Args:
        model: classifier in evaluation mode, with at least one ReLU or ReLU6.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, or None for the model's own choice.
        layer: the layer of Grad-CAM, a module or its dotted name.

    Returns:
        Signed, :math:`(N, C, H, W)`, detached.

    Raises:
        ValueError: as ``grad_cam`` and ``guided_backprop``.

    Source: Selvaraju et al. 2017, arXiv:1610.02391.

    >>> guided_grad_cam(model, x, layer="features.7").shape
    torch.Size([2, 3, 64, 64])
    """
    warm = grad_cam(model, x, target, layer=layer)
    fine = guided_backprop(model, x, target)
    with torch.inference_mode(False), torch.no_grad():
        return fine * warm[:, None]


def score_cam(
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    layer: Layer,
    weights: str = "probability",
    upsample: bool = True,
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    r"""Score-CAM: feature maps, each weighted by the score of the image seen through it; no gradient.

    .. math:: M^c = \text{ReLU}\Bigl(\sum_k w^c_k A_k\Bigr), \qquad X_k = X \odot s(U(A_k))

    with U the upsampling and s the scaling to [0, 1]. Two readings of the weights are in use:

    - ``"probability"``, the authors' code: :math:`w^c_k = p_c(X_k)`, the softmax over *classes*. Weights do
      not compete: every map through which the model still sees the class counts fully.
    - ``"channels"``, the paper's algorithm and most libraries:
      :math:`w^c_k = \exp(y^c(X_k)) / \sum_m \exp(y^c(X_m))`, the softmax over *feature maps* of the logit.
      Weights sum to one and a few logits' difference lets one map win. The paper subtracts the logit of a
      baseline image first; it cancels.

    Weights are never negative, so nothing can speak against a class. A model whose output is constant gives
    every map the same weight, hence a picture: the activations, not evidence. A map with the same value
    everywhere is no mask: it is skipped, and weighs zero. Costs one forward pass for each image and each
    remaining map; memory depends on ``batch_size``, not on the number of maps.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, or None for the model's own choice on ``x``.
        layer: the layer whose maps become masks, a module or its dotted name; its output is
            :math:`(N, K, h, w)`.
        weights: ``"probability"`` or ``"channels"``.
        upsample: to the size of the images; False for the layer's own grid.
        batch_size: masked images in one pass; None for 16 on a processor and 64 on a GPU.
        progress: show a progress bar, counted in feature maps.

    Returns:
        Heatmaps, not negative, not normalised, :math:`(N, H, W)`, or :math:`(N, h, w)`, detached.

    Raises:
        ValueError: if ``x``, ``target``, ``layer``, ``weights`` or ``batch_size`` is not as above, or if
            ``layer`` never runs.

    Source: Wang et al. 2020, arXiv:1910.01279.

    >>> score_cam(model, x, layer="features.7").shape
    torch.Size([2, 64, 64])
    """
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    weights = _checks.check_choice("weights", weights, ("probability", "channels"))
    batch_size = _checks.check_batch_size(batch_size, x.device)
    upsample = _checks.check_flag("upsample", upsample)
    progress = _checks.check_flag("progress", progress)
    _model.find_layer(model, layer)
    results = []
    with _model.left_as_found(model):
        for start in range(0, len(x), batch_size):
            images = x[start : start + batch_size]
            maps, logits = _model.feature_maps(model, images, layer)
            _checks.check_range(classes.highest if classes else 0, logits.shape[1])
            some = classes and classes.of(slice(start, start + batch_size))
            some = some or Classes(logits.argmax(1, keepdim=True), logits.shape[1] - 1, many=False)
            weight = _mask_weights(model, images, maps, some, weights, batch_size, progress)
            wide = maps.to(_model.wide(maps.dtype))
            results.append(_finish(weighted_map(weight[:, :, None, None], wide), images, upsample))
        return _model.check_result(torch.cat(results), model, x)


# ----------------------------------------------------- one formula each: weights from A and G, differentiable


def grad_cam_weights(A: Tensor, G: Tensor) -> Tensor:
    """Grad-CAM's weights, the mean gradient: (N, K, 1, 1) from maps and gradients (N, K, h, w)."""
    return G.mean((2, 3), keepdim=True)


def grad_cam_plus_plus_weights(A: Tensor, G: Tensor) -> Tensor:
    """Grad-CAM++'s weights: (N, K, 1, 1) from maps and gradients (N, K, h, w)."""
    # alpha = g² / (2 g² + g³ ΣA) = 1 / (2 + g ΣA): no small square or cube is ever formed. Where g is not
    # positive the ReLU behind it gives zero, whatever alpha is.
    g = G.clamp(min=0)
    return _model.ratio(g, 2 + g * A.sum((2, 3), keepdim=True)).sum((2, 3), keepdim=True)


def xgrad_cam_weights(A: Tensor, G: Tensor) -> Tensor:
    """XGrad-CAM's weights, the gradient's mean over active cells: (N, K, 1, 1) from (N, K, h, w)."""
    return _model.ratio((A * G).sum((2, 3), keepdim=True), A.sum((2, 3), keepdim=True))


def layer_cam_weights(A: Tensor, G: Tensor) -> Tensor:
    """LayerCAM's weights, each cell's own gradient where it is positive: (N, K, h, w)."""
    return G.clamp(min=0)


def hires_cam_weights(A: Tensor, G: Tensor) -> Tensor:
    """HiResCAM's weights, each cell's own gradient: (N, K, h, w)."""
    return G


def weighted_map(weights: Tensor, A: Tensor, relu: bool = True) -> Tensor:
    """The map (N, h, w) of weights and feature maps (N, K, h, w); what speaks against is cut by ``relu``."""
    heatmap = (weights * A).sum(1)
    return heatmap.clamp(min=0) if relu else heatmap


# ------------------------------------------------------------------------------------------ what they share


def _explain(
    formula: Formula, model: nn.Module, x: Tensor, target: Target, layer: Layer, relu: bool, upsample: bool
) -> Tensor:
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    relu, upsample = _checks.check_flag("relu", relu), _checks.check_flag("upsample", upsample)
    _model.find_layer(model, layer)
    with _model.left_as_found(model):
        maps, gradients, _ = _model.layer_gradient(model, x, classes, layer)  # (N, K, h, w) each
        wide = _model.wide(maps.dtype)
        maps, gradients = maps.to(wide), gradients.to(wide)
        heatmap = _finish(weighted_map(formula(maps, gradients), maps, relu), x, upsample)
        return _model.check_result(heatmap, model, x)


def _finish(heatmap: Tensor, x: Tensor, upsample: bool) -> Tensor:
    """The map (N, h, w) in x's dtype, and in its size where that is asked for."""
    if upsample:
        heatmap = _upsample(heatmap[:, None], x)[:, 0]
    return heatmap.to(x.dtype)


def _upsample(maps: Tensor, x: Tensor) -> Tensor:
    """(N, K, h, w) → (N, K, H, W)"""
    return F.interpolate(maps, x.shape[-2:], mode="bilinear", align_corners=False)


# ---------------------------------------------------------------------------------------------------- CAM


def _linear_weights(name: str, head: nn.Module, channels: int) -> tuple[Tensor, Tensor]:
    """Weights (classes, K) and bias (classes,) of a linear layer or a 1 × 1 convolution."""
    weight = getattr(head, "weight", None)
    pointwise = isinstance(head, nn.Conv2d) and head.kernel_size == (1, 1) and head.groups == 1
    if not (isinstance(head, nn.Linear) or pointwise):
        raise ValueError(f"head must be a linear layer, but {name!r} is a {type(head).__name__}")
    weight = weight.detach().flatten(1)  # (classes, K)
    if weight.shape[1] != channels:
        raise ValueError(
            f"cam needs one weight for each feature map: layer gives {channels} maps, but head {name!r} has "
            f"{weight.shape[1]} inputs; is there a layer between them? grad_cam works there"
        )
    bias = head.bias.detach() if head.bias is not None else weight.new_zeros(len(weight))
    return weight, bias


def _check_pooled(maps: Tensor, weight: Tensor, bias: Tensor, logits: Tensor) -> None:
    """CAM's identity, for every class: what the head makes of the maps' means is the logits."""
    expected = F.linear(maps.mean((2, 3)), weight, bias)  # (N, classes)
    if expected.shape == logits.shape:
        gap, size = (expected - logits).abs().max(), logits.abs().max().clamp(min=1)
        if gap <= size * torch.finfo(logits.dtype).eps ** 0.5:
            return
    raise ValueError(
        "cam needs a network that ends in layer, global average pooling and head, but this model's logits "
        "are not what head makes of the means of that layer (is there another layer, another pooling, or an "
        "activation between them?); grad_cam works with any head"
    )


# ----------------------------------------------------------------------------------------------- Score-CAM


def _mask_weights(
    model: nn.Module, x: Tensor, maps: Tensor, classes: Classes, weights: str, batch_size: int, progress: bool
) -> Tensor:
    """Score-CAM's weights (N, K): every map of every image as a mask."""
    lowest, highest = maps.amin((2, 3)), maps.amax((2, 3))
    rounding = 4 * torch.finfo(maps.dtype).eps * torch.maximum(lowest.abs(), highest.abs())
    live = highest - lowest > rounding  # (N, K); the others are no masks: scaled, they show their rounding

    def keep(channels: Tensor, images: Tensor) -> Tensor:
        masks = maps[images, channels][:, None]
        masks = _upsample(masks.to(_model.wide(masks.dtype)), x)[:, 0]  # (b, H, W)
        lowest, highest = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
        return _model.ratio(masks - lowest, highest - lowest)

    scores = _masking.masked_scores(
        model,
        x,
        classes,
        maps.shape[1],
        keep,
        torch.zeros_like(x[:1]),
        batch_size=batch_size,
        what="probability" if weights == "probability" else "logit",
        only=live,
        name="Score-CAM",
        progress=progress,
    )[:, 0]  # (N, K)
    if weights == "probability":
        return scores
    logits = scores.where(live, torch.full_like(scores, -torch.inf))
    return logits.softmax(1).where(live, torch.zeros_like(scores))  # an image without masks: zero, not NaN
