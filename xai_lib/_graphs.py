"""Explanations that can be differentiated again, by pixels and by weights; and what to make of their maps."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _checks, _model, cams, gradients

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


def with_graph(explain: Callable) -> Explain:
    """The same explanation, as a function ``(model, x, target)`` whose result can be differentiated.

    The library's explainers return results without a graph. What an attack, or training against a map,
    needs is the map as a function of pixels and weights.

    Args:
        explain: ``gradient``, ``gradient_x_input``; ``integrated_gradients``, or a ``functools.partial`` of
            it with ``n_steps`` or ``baseline``; or a ``partial`` of ``grad_cam``, ``layer_cam``,
            ``hires_cam``, ``xgrad_cam`` or ``grad_cam_plus_plus`` with a ``layer``; any other function is
            returned as it is.

    Returns:
        The function; its ``target`` is a tensor :math:`(N,)`. Integrated gradients keep the graphs of all
        points of the path at once: take few. CAMs come on the layer's own grid unless
        ``upsample`` (bilinear) is in the partial, as in the library.

    Raises:
        ValueError: if a CAM has no ``layer``, or integrated gradients have a ``tolerance``.
        TypeError: if ``explain`` cannot be called.
    """
    if not callable(explain):
        raise TypeError(f"explain must be a function, got {type(explain).__name__}")
    base, options = (explain.func, explain.keywords) if isinstance(explain, partial) else (explain, {})
    if base in (gradients.gradient, gradients.gradient_x_input):
        return partial(_slopes, base is gradients.gradient_x_input)
    if base is gradients.integrated_gradients:
        if options.get("tolerance") is not None:
            raise ValueError("explain must have a fixed number of points: pass n_steps and no tolerance")
        n_steps = options.get("n_steps")
        return partial(_path, 50 if n_steps is None else n_steps, options.get("baseline"))
    if base in _CAM_WEIGHTS:
        if "layer" not in options:
            raise ValueError(f"explain must name a layer: functools.partial({base.__name__}, layer=...)")
        return partial(_cam, _CAM_WEIGHTS[base], options)
    return explain


_CAM_WEIGHTS = {
    cams.grad_cam: cams.grad_cam_weights,
    cams.grad_cam_plus_plus: cams.grad_cam_plus_plus_weights,
    cams.xgrad_cam: cams.xgrad_cam_weights,
    cams.layer_cam: cams.layer_cam_weights,
    cams.hires_cam: cams.hires_cam_weights,
}


def _slopes(times_input: bool, model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    slopes = _model.input_gradient(model, x, _checks.check_target(target, x), create_graph=True)
    return slopes * x if times_input else slopes


def _path(
    n_steps: int, baseline: float | Tensor | None, model: nn.Module, x: Tensor, target: Tensor
) -> Tensor:
    n_steps, start = (
        _checks.check_count("n_steps", n_steps),
        _checks.check_like_images("baseline", baseline, x),
    )
    nodes, weights = (v[:, None, None, None] for v in _legendre(n_steps, x))
    points = (start[:, None] + nodes * (x - start)[:, None]).flatten(0, 1)  # (N n, C, H, W)
    classes = _checks.check_target(target.repeat_interleave(n_steps), points)
    slopes = _model.input_gradient(model, points, classes, create_graph=True).unflatten(0, (-1, n_steps))
    return (x - start) * (weights * slopes).sum(1)


def _legendre(n: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss and Legendre's points in [0, 1], and their weights."""
    nodes, weights = np.polynomial.legendre.leggauss(n)  # on [-1, 1]
    return tuple(torch.as_tensor(v / 2, dtype=x.dtype, device=x.device) for v in (1 + nodes, weights))


def _cam(weights: Callable, options: dict, model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    classes = _checks.check_target(target, x)
    maps, slopes, _ = _model.layer_gradient(model, x, classes, options["layer"], create_graph=True)
    cells = cams.weighted_map(weights(maps, slopes), maps, relu=options.get("relu", True))
    if not options.get("upsample", True):
        return cells
    return F.interpolate(cells[:, None], x.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def shares(maps: Tensor) -> Tensor:
    """The map of each image as magnitudes (N, H, W) with mean 1."""
    if not isinstance(maps, Tensor) or not maps.requires_grad:
        raise ValueError(
            "explain must give a map that can be differentiated: one of the functions that with_graph knows, "
            "or your own, that keeps its graph (create_graph=True)"
        )
    magnitudes = maps.abs().sum(1) if maps.dim() == 4 else maps.abs()
    return magnitudes / magnitudes.mean((1, 2), keepdim=True).clamp(min=1e-12)


def aim_of(towards: Tensor | str, before: Tensor, share: float) -> Callable[[Tensor], Tensor]:
    """What is to become small, (N,), as a function of the maps."""
    if isinstance(towards, Tensor):
        wanted = towards.to(before)
        if wanted.shape != before.shape:  # a map on the layer's own grid
            wanted = F.interpolate(wanted[:, None], before.shape[-2:], mode="area")[:, 0]
        wanted = wanted / wanted.mean((1, 2), keepdim=True)
        return lambda maps: (maps - wanted).square().mean((1, 2))
    if towards == "top_k":
        hottest = before.flatten(1).topk(max(1, round(share * before[0].numel())), dim=1).indices
        return lambda maps: maps.flatten(1).gather(1, hottest).mean(1)
    rows, columns = (
        torch.linspace(0, 1, n, dtype=before.dtype, device=before.device) for n in before.shape[-2:]
    )

    def centre(maps: Tensor) -> Tensor:
        row, column = (maps.mean(2) * rows).mean(1), (maps.mean(1) * columns).mean(1)
        return torch.stack([row, column], 1)

    there = centre(before)
    return lambda maps: -(centre(maps) - there).square().sum(1).clamp(min=1e-12).sqrt()
