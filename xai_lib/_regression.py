"""What the surrogates are fitted with: regressions, and a curve near the scores whose values cost no pass.

The curve is a logistic function of a sum. What a regression on some samples gets wrong about it, it gets
wrong about the model too, in the measure in which the curve explains what no sum explains: a control variate,
after Witter et al. 2025, arXiv:2506.11849.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_lib import _model


def weighted_ridge(Z: Tensor, y: Tensor, weights: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
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


def constrained_fit(Z: Tensor, y: Tensor, weights: Tensor, own: Tensor) -> Tensor:
    """Weighted least squares whose values sum to y of all minus y of none.

    (N, K, d) from Z (N, n, d), y (N, K, n), weights (N, n) and each image's own columns (N, d).
    """
    change, rise = y[..., 0] - y[..., 1], y - y[..., 1:2]  # (N, K), (N, K, n)
    weighted = Z * weights[:, :, None]
    gram = weighted.mT @ Z  # (N, d, d)
    # Columns in no weighted coalition: superpixels that an image lacks, or the only one it has.
    gram = gram + torch.diag_embed((gram.diagonal(dim1=1, dim2=2) == 0).to(Z.dtype))
    # φ = G⁻¹(b − λ1): the two right-hand sides in one solve, then λ from the sum.
    ones = own.to(Z.dtype)[:, :, None]  # (N, d, 1)
    solved = torch.linalg.solve(gram, torch.cat([weighted.mT @ rise.mT, ones], 2))  # (N, d, K + 1)
    free, direction = solved[..., :-1], solved[..., -1:]
    excess = (free.sum(1) - change) / direction.sum(1)  # (N, K)
    return (free - direction * excess[:, None]).mT


# -------------------------------------------------------------------------------------------------- the curve


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
