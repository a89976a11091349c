"""A curve near a model's scores, a logistic function of a sum, whose own values cost no pass.

What a regression on some samples gets wrong about the curve it gets wrong about the model too, in the measure
in which the curve explains what no sum explains: a control variate, after Witter et al. 2025
(arXiv:2506.11849).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_lib import _model


def logistic_curve(Z: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """The logistic curve of a sum near scores (N, K, n): its level and slopes, (N, K, 1 + d), in float64.

    Newton's method on the weighted likelihood, with a small penalty on the slopes.
    """
    X = F.pad(Z, (1, 0), value=1.0)[:, None]  # (N, 1, n, 1 + d)
    weights, y = weights[:, None] / weights.sum(1)[:, None, None], y.clamp(1e-4, 1 - 1e-4)
    penalty = torch.full_like(X[0, 0, 0], 1e-4)
    penalty[0] = 1e-9
    mean = (weights * y).sum(2, keepdim=True)
    curve = F.pad(mean.logit(), (0, Z.shape[2]))  # (N, K, 1 + d)
    for _ in range(8):
        p = (X @ curve[..., None])[..., 0].sigmoid()  # (N, K, n)
        slope = weights * (p * (1 - p)).clamp(min=1e-3)
        gram = (X * slope[..., None]).mT @ X + penalty.diag()
        step = X.mT @ (weights * (y - p))[..., None] - (penalty * curve)[..., None]
        curve = curve + torch.linalg.solve(gram, step)[..., 0]
    return curve


def on_curve(curve: Tensor, Z: Tensor) -> Tensor:
    """The curve's values (N, K, n) at Z (N, n, d)."""
    return (curve[..., :1] + curve[..., 1:] @ Z.mT).sigmoid()


def explained(left: Tensor, curved: Tensor, weights: Tensor, paired: bool) -> Tensor:
    """How much of what a sum leaves of the scores what it leaves of the curve explains: a slope, (N, K).

    Both are (N, K, n), weights (N, n). Of pairs only the differences count: what is the same in both, they
    cancel by themselves.
    """
    weights = weights[:, None]
    if paired:
        n = left.shape[2] // 2 * 2
        left, curved = (v[..., 0:n:2] - v[..., 1:n:2] for v in (left, curved))
        weights = weights[..., 0:n:2] + weights[..., 1:n:2]
    return _model.ratio((weights * left * curved).sum(2), (weights * curved.square()).sum(2))


def curve_values(curve: Tensor, evaluations: int) -> Tensor:
    """Shapley values (N, K, d) of the curve: mean contributions over orders, each order also backwards."""
    d, device = curve.shape[2] - 1, curve.device
    generator = torch.Generator(device).manual_seed(0)  # a stream of its own: the values are no draw
    values, n_orders = torch.zeros_like(curve[..., 1:]), math.ceil(evaluations / 2 / d)
    chunk = max(1, 2**21 // curve.numel())
    for start in range(0, n_orders, chunk):
        m = min(chunk, n_orders - start)
        order = torch.rand(m, d, generator=generator, device=device, dtype=torch.float64).argsort(1)
        for way in (order, order.flip(1)):
            steps = F.pad(curve[..., 1:][..., way].cumsum(-1), (1, 0))  # (N, K, m, 1 + d)
            gains = (curve[..., :1, None] + steps).sigmoid().diff(dim=-1)
            values += gains.gather(-1, way.argsort(1).expand_as(gains)).sum(2)
    return values / (2 * n_orders)
