"""The two weighted regressions behind the surrogates, for all images and classes in one solve."""

import torch
from torch import Tensor


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
