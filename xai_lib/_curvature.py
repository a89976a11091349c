"""The curvature of a training loss at the model's weights, and what is solved with it.

Weights are one flat vector of length P. A *geometry* knows, for a batch of examples, each one's gradient and
the Hessian of their summed loss: :class:`Head` in closed form for a last linear layer under cross-entropy,
:class:`Autograd` for everything else. The solvers apply the inverse of the damped mean Hessian to a block of
vectors (m, P).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

from xai_lib import _model

Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]
Losses = Callable[[Tensor, Tensor], Tensor]  # logits (b, K), labels (b,) → losses (b,)

LARGEST_DENSE = 6000  # parameters: a Hessian of 6000 × 6000 in float64 takes 288 MB
TOGETHER = 64  # vectors that a Hessian is applied to at once


# --------------------------------------------------------------------------------------------- the geometries


class Head:
    """A last linear layer under cross-entropy: gradient (p − e_y) ⊗ φ, Hessian Σ (diag p − pp') ⊗ φφ'."""

    def __init__(self, model: nn.Module, module: nn.Linear, weights: dict[str, Tensor] | None = None) -> None:
        self.model, self.module, self.weights = model, module, weights  # None: the model's own
        self.classes = module.out_features
        self.width = module.in_features + (module.bias is not None)  # a constant input stands for the bias
        self.size = self.classes * self.width

    def _seen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features with their constant (b, D) and probabilities (b, K), in float32 or better."""
        kept: list[Tensor] = []
        handle = self.module.register_forward_pre_hook(lambda _module, args: kept.append(args[0].detach()))
        try:
            with torch.no_grad():
                logits = self._logits(x)
        finally:
            handle.remove()
        features = kept[-1].to(_model.wide(x.dtype))
        if self.module.bias is not None:
            features = F.pad(features, (0, 1), value=1.0)
        return features, logits.to(features.dtype).softmax(1)

    def _logits(self, x: Tensor) -> Tensor:
        if self.weights is None:
            return _model.logits_of(self.model, x)
        return functional_call(self.model, self.weights, (x,))

    def fits(self, room: Tensor) -> bool:
        """Whether ``room`` (m, n) can hold the layer's inputs as they are, one example a column."""
        return len(room) >= self.module.in_features and room.dtype == self.module.weight.dtype

    def keep(self, batches: Batches, room: Tensor) -> Batches:
        """Batches of the layer's inputs instead of images; they lie in ``room`` (m, n)."""
        width, start, labels = self.module.in_features, 0, []
        for x, y in batches():
            room[:width, start : start + len(y)] = self._seen(x)[0][:, :width].T
            labels.append(y)
            start += len(y)

        def read() -> Iterator[tuple[Tensor, Tensor]]:
            inputs = room[:width].split([len(y) for y in labels], 1)
            return ((x.T.contiguous(), y) for x, y in zip(inputs, labels, strict=True))

        return read

    def dots(self, vectors: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Each vector times each example's gradient, (m, b)."""
        features, p = self._seen(x)
        slopes = p - F.one_hot(y, self.classes)  # (b, K)
        rows = vectors.to(p.dtype).view(-1, self.width) @ features.T  # (m·K, b)
        return torch.einsum("mkb,bk->mb", rows.view(len(vectors), self.classes, -1), slopes)

    def products(self, batches: Batches) -> Callable[[Tensor, Tensor], Tensor]:
        """Gradients of these m examples times each of a batch's, (m, b): (φ·φ′)(s·s′), never a gradient."""
        features, slopes = (
            torch.cat(side) for side in zip(*(self._sides(x, y) for x, y in batches()), strict=True)
        )

        def times(x: Tensor, y: Tensor) -> Tensor:
            theirs, their_slopes = self._sides(x, y)
            return (features @ theirs.T).mul_(slopes @ their_slopes.T)

        return times

    def _sides(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        features, p = self._seen(x)
        return features, p - F.one_hot(y, self.classes)

    def gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """Each example's gradient, (b, P)."""
        features, p = self._seen(x)
        return torch.einsum("bk,bd->bkd", p - F.one_hot(y, self.classes), features).flatten(1)

    def product(self, vectors: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The Hessian of the batch's summed loss times each vector, (m, P)."""
        features, p = self._seen(x)
        rows = torch.einsum("mkd,bd->mbk", vectors.to(p.dtype).view(-1, self.classes, self.width), features)
        rows = p * rows - p * (p * rows).sum(2, keepdim=True)
        return torch.einsum("mbk,bd->mkd", rows, features).flatten(1)

    def hessian(self, x: Tensor, y: Tensor) -> Tensor:
        """The Hessian of the batch's summed loss, (P, P), in float64: diagonal blocks less a Gram matrix."""
        features, p = (v.double() for v in self._seen(x))
        weighted = (p[:, :, None] * features[:, None]).flatten(1)  # (b, K·D)
        hessian = -(weighted.T @ weighted).view(self.classes, self.width, self.classes, self.width)
        own = (features.T @ weighted).view(self.width, self.classes, self.width)  # Σ p φφ', each class's own
        hessian.diagonal(dim1=0, dim2=2).add_(own.transpose(1, 2))
        return hessian.view(self.size, self.size)


class Autograd:
    """Any parameters and loss: gradients by ``vmap(grad)``, the Hessian by pulling back through it."""

    def __init__(
        self, model: nn.Module, weights: dict[str, Tensor], constants: dict[str, Tensor], losses: Losses
    ) -> None:
        self.model, self.losses = model, losses
        self.weights = {name: w.detach() for name, w in weights.items()}
        self.constants = {name: c.detach() for name, c in constants.items()}  # not differentiated
        self.sizes = {name: w.numel() for name, w in weights.items()}
        self.size = sum(self.sizes.values())

    def _loss(self, weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return self.losses(functional_call(self.model, {**self.constants, **weights}, (x,)), y).sum()

    def flat(self, parts: dict[str, Tensor], leading: int) -> Tensor:
        """Tensors of the parameters' shapes as one vector, behind ``leading`` axes."""
        return torch.cat([parts[name].flatten(leading) for name in self.sizes], leading)

    def parts(self, vector: Tensor) -> dict[str, Tensor]:
        """A vector (P,) as tensors of the parameters' shapes."""
        pieces = vector.split(list(self.sizes.values()))
        return {n: piece.view_as(self.weights[n]) for n, piece in zip(self.sizes, pieces, strict=True)}

    def gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """Each example's gradient, (b, P)."""

        def one(x: Tensor, y: Tensor) -> dict[str, Tensor]:
            return grad(self._loss)(self.weights, x[None], y[None])

        return self.flat(vmap(one, randomness="error")(x, y), 1)

    def products(self, batches: Batches) -> Callable[[Tensor, Tensor], Tensor]:
        """Gradients of these m examples times each of a batch's, (m, b)."""
        vectors = torch.cat([self.gradients(x, y) for x, y in batches()])
        return lambda x, y: self.dots(vectors, x, y)

    def dots(self, vectors: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Each vector times each example's gradient, (m, b)."""
        return vectors.to(x.dtype) @ self.gradients(x, y).T

    def product(self, vectors: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The Hessian of the batch's summed loss times each vector, (m, P)."""

        def slope(weights: dict[str, Tensor]) -> dict[str, Tensor]:
            return grad(self._loss)(weights, x, y)

        _, pull = vjp(slope, self.weights)  # the Hessian is symmetric: pulled back is pushed forward

        def one(vector: Tensor) -> Tensor:
            return self.flat(pull(self.parts(vector))[0], 0)

        return vmap(one, chunk_size=TOGETHER)(vectors.to(x.dtype))

    def hessian(self, x: Tensor, y: Tensor) -> Tensor:
        """The Hessian of the batch's summed loss, (P, P), in float64."""
        eye = torch.eye(self.size, dtype=x.dtype, device=x.device)
        return self.product(eye, x, y).double()


Geometry = Head | Autograd


# ------------------------------------------------------------------------------------------------ the solvers


class Problem(NamedTuple):
    """A geometry on its training data, with what is added to the mean Hessian's diagonal."""

    geometry: Geometry
    batches: Batches
    n: int
    damping: float

    def product(self, vectors: Tensor) -> Tensor:
        """The damped mean Hessian times each vector, (m, P)."""
        total = torch.zeros_like(vectors)
        for x, y in self.batches():
            total += self.geometry.product(vectors, x, y).to(total.dtype)
        return total / self.n + self.damping * vectors


def exact(problem: Problem) -> Callable[[Tensor], Tensor]:
    """The inverse, from a Cholesky factor of the whole Hessian, in float64.

    Raises:
        ValueError: if the Hessian is too large, or with its damping not positive definite; the error says how
            much damping it takes.
    """
    size = problem.geometry.size
    if size > LARGEST_DENSE:
        raise ValueError(
            f"solver='exact' would make a Hessian of {size} × {size}, and stops at {LARGEST_DENSE}; take "
            "solver='cg' or 'ekfac', or a smaller layer"
        )
    total: Tensor | float = 0.0
    for x, y in problem.batches():
        total = total + problem.geometry.hessian(x, y)
    hessian = total / problem.n
    hessian.diagonal().add_(problem.damping)
    factor, failed = torch.linalg.cholesky_ex(hessian)
    smallest = factor.diagonal().min().item() ** 2 if not failed else 0.0
    if failed or smallest <= 1e-13 * hessian.diagonal().max().item():
        lowest = float(torch.linalg.eigvalsh(hessian)[0]) - problem.damping
        raise ValueError(_not_positive(lowest, problem.damping))
    return lambda vectors: torch.cholesky_solve(vectors.double().T, factor).T


def _not_positive(smallest: float, damping: float) -> str:
    more = max(2 * max(-smallest, 0.0), 1e-3)
    return (
        f"damping + l2 must make the mean Hessian positive definite, got {damping:g}, but without it the "
        f"smallest eigenvalue is {smallest:.3g}; pass damping={more:.1g} or more"
    )


def conjugate_gradients(
    problem: Problem, tolerance: float = 1e-6, most: int = 1000
) -> Callable[[Tensor], Tensor]:
    """The inverse, by conjugate gradients on all vectors at once: one pass over the data an iteration.

    Stops when every residual's norm is ``tolerance`` of its right-hand side's.

    Raises:
        ValueError: on leaving, if the Hessian curves downwards along a direction that was met, or the
            tolerance was not reached.
    """

    def solve(vectors: Tensor) -> Tensor:
        b = vectors
        x, r = torch.zeros_like(b), b.clone()
        p, rho = r.clone(), r.square().sum(1)  # (m,)
        allowed = tolerance**2 * rho
        for _ in range(most):
            open_ = rho > allowed
            if not bool(open_.any()):
                return x
            hp = problem.product(p)
            curvature = (p * hp).sum(1)
            if bool((open_ & (curvature <= 0)).any()):
                worst = (curvature / p.square().sum(1).clamp(min=1e-300))[open_].min().item()
                raise ValueError(_not_positive(worst - problem.damping, problem.damping))
            step = torch.where(open_, rho / curvature.where(open_, torch.ones_like(rho)), 0.0)
            x = x + step[:, None] * p
            r = r - step[:, None] * hp
            new = r.square().sum(1)
            p = r + torch.where(open_, new / rho.where(open_, torch.ones_like(rho)), 0.0)[:, None] * p
            rho = torch.where(open_, new, rho)
        left = (rho / b.square().sum(1).clamp(min=1e-300)).max().sqrt().item()
        raise ValueError(
            f"solver='cg' has a relative residual of {left:.1e} after {most} iterations, and {tolerance:.0e} "
            "is asked for; pass more damping, or solver='exact' if the layer is small"
        )

    return solve


def lissa(
    problem: Problem, depth: int, repeats: int, generator: torch.Generator | None
) -> Callable[[Tensor], Tensor]:
    """The inverse as a sum of powers, each from another batch (Agarwal et al. 2017; Koh & Liang 2017).

    v ← g + v − Hv / s, of which H⁻¹g is the limit over s. The scale s is twice the largest eigenvalue that
    power iteration finds on the first batches: below it the sum diverges.
    """

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            held = list(problem.batches())
            for i in torch.randperm(len(held), generator=generator).tolist():
                yield held[i]

    def solve(vectors: Tensor) -> Tensor:
        scale = 2 * _largest_eigenvalue(problem, vectors) + problem.damping
        total = torch.zeros_like(vectors)
        for _ in range(repeats):
            stream, value = batches(), vectors.clone()
            for _ in range(depth):
                x, y = next(stream)
                curved = problem.geometry.product(value, x, y) / len(y) + problem.damping * value
                value = vectors + value - curved / scale
            total += value / scale
        if not bool(total.isfinite().all()):
            raise ValueError("solver='lissa' diverged; pass more damping or a larger batch_size")
        return total / repeats

    return solve


def _largest_eigenvalue(problem: Problem, like: Tensor, rounds: int = 10) -> float:
    """The largest eigenvalue over single batches, which steer each step of the sum."""
    largest = 0.0
    for number, (x, y) in enumerate(problem.batches()):
        v = torch.ones(1, problem.geometry.size, dtype=like.dtype, device=like.device)
        for _ in range(rounds):
            v = v / v.norm().clamp(min=1e-30)
            v = problem.geometry.product(v, x, y) / len(y)
        largest = max(largest, v.norm().item())
        if number == 7:
            break
    return largest


# ----------------------------------------------------------------------------------------------------- EK-FAC


class _Block(NamedTuple):
    """One linear or convolutional layer: where its weights lie in the flat vector, and its eigenbasis."""

    module: nn.Module
    weight: slice
    bias: slice | None
    left: Tensor  # (out, out): of the slopes
    right: Tensor  # (in, in): of the inputs, a constant one among them


def ekfac(problem: Problem, most_classes: int = 32) -> Callable[[Tensor], Tensor]:
    """The inverse of the damped Gauss–Newton matrix, block by layer, in each layer's Kronecker eigenbasis.

    The basis comes from the second moments of a layer's inputs and of the slopes at its outputs; the
    eigenvalues are fitted in that basis (George et al. 2018; Grosse et al. 2023). Labels are not drawn: the
    expectation over the model's own classes is a sum, over the ``most_classes`` most probable ones.
    """
    geometry = problem.geometry
    layers = _layers(geometry)
    moments: dict[nn.Module, list[Tensor | float]] = {module: [0.0, 0.0] for module, *_ in layers}
    for x, _ in problem.batches():
        for module, inputs, slopes in _pseudo(geometry.model, layers, x, most_classes):
            moments[module][0] = moments[module][0] + torch.einsum("bil,bjl->ij", inputs, inputs).double()
            moments[module][1] = moments[module][1] + torch.einsum("cbol,cbpl->op", slopes, slopes).double()
    blocks = [
        _Block(module, weight, bias, *(torch.linalg.eigh(m)[1] for m in reversed(moments[module])))
        for module, weight, bias in layers
    ]
    spectra: dict[nn.Module, Tensor | float] = {block.module: 0.0 for block in blocks}
    for x, _ in problem.batches():
        for block, (module, inputs, slopes) in zip(
            blocks, _pseudo(geometry.model, layers, x, most_classes), strict=True
        ):
            turned = torch.einsum(
                "op,cbol,bil,ij->cbpj", block.left.to(x.dtype), slopes, inputs, block.right.to(x.dtype)
            )
            spectra[module] = spectra[module] + turned.double().square().sum((0, 1))

    def solve(vectors: Tensor) -> Tensor:
        result = torch.zeros_like(vectors, dtype=torch.float64)
        for block in blocks:
            matrix = _matrix(block, vectors.double())  # (m, out, in)
            turned = (
                block.left.T @ matrix @ block.right / (spectra[block.module] / problem.n + problem.damping)
            )
            _put(block, result, block.left @ turned @ block.right.T)
        return result

    return solve


def _layers(geometry: Geometry) -> list[tuple[nn.Module, slice, slice | None]]:
    """The layers whose weights are explained, in the order in which they lie in the flat vector."""
    if isinstance(geometry, Head):
        raise TypeError("ekfac takes the general geometry")
    starts, start = {}, 0
    for name, size in geometry.sizes.items():
        starts[name] = slice(start, start + size)
        start += size
    found, covered = [], set()
    for name, module in geometry.model.named_modules():
        weight = f"{name}.weight".lstrip(".")
        if weight not in starts or not _supported(module):
            continue
        bias = f"{name}.bias".lstrip(".") if module.bias is not None else None
        covered |= {weight, bias}
        found.append((module, starts[weight], starts.get(bias)))
    left = [name for name in starts if name not in covered]
    if left:
        raise ValueError(
            f"solver='ekfac' knows linear and ungrouped convolutional layers, and layer also has "
            f"{left[0]!r}; fold batch normalisation away, or name a smaller layer"
        )
    return found


def _supported(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (
        isinstance(module, nn.Conv2d) and module.groups == 1 and module.padding_mode == "zeros"
    )


def _pseudo(
    model: nn.Module, layers: list[tuple[nn.Module, slice, slice | None]], x: Tensor, most_classes: int
) -> Iterator[tuple[nn.Module, Tensor, Tensor]]:
    """For each layer its inputs (b, in, L) and the slopes at its outputs (c, b, out, L) for each class.

    Slopes are those of the class's own loss, times the root of its probability: their squares' sum is the
    expectation over the model's classes.
    """
    inputs, outputs, handles = {}, {}, []

    def keep(module: nn.Module, args: tuple, output: Tensor) -> None:
        inputs[module], outputs[module] = args[0].detach(), output

    for module, *_ in layers:
        handles.append(module.register_forward_hook(keep))
    try:
        with torch.enable_grad():
            logits = _model.logits_of(model, x.clone().requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    p = logits.detach().softmax(1)
    likely = p.mean(0).topk(min(most_classes, p.shape[1])).indices.tolist()
    ends = [outputs[module] for module, *_ in layers]
    per_class = [
        torch.autograd.grad(
            logits,
            ends,
            grad_outputs=p[:, [c]].sqrt() * (p - F.one_hot(torch.tensor(c, device=x.device), p.shape[1])),
            retain_graph=c != likely[-1],
        )
        for c in likely
    ]
    for i, (module, *_) in enumerate(layers):
        slopes = torch.stack([_positions(slope[i]) for slope in per_class])  # (c, b, out, L)
        yield module, _unfolded(module, inputs[module]), slopes


def _positions(slopes: Tensor) -> Tensor:
    """(b, out, L): one position for a linear layer, one for each pixel of a convolution's output."""
    return slopes[..., None] if slopes.dim() == 2 else slopes.flatten(2)


def _unfolded(module: nn.Module, inputs: Tensor) -> Tensor:
    """What the layer's weights are multiplied with, (b, in, L), a constant for the bias at its end."""
    if isinstance(module, nn.Conv2d):
        inputs = F.unfold(inputs, module.kernel_size, module.dilation, module.padding, module.stride)
    else:
        inputs = inputs[..., None]
    return F.pad(inputs, (0, 0, 0, 1), value=1.0) if module.bias is not None else inputs


def _matrix(block: _Block, vectors: Tensor) -> Tensor:
    """A layer's part of flat vectors (m, P) as matrices (m, out, in)."""
    weight = vectors[:, block.weight].view(len(vectors), len(block.left), -1)
    return weight if block.bias is None else torch.cat([weight, vectors[:, block.bias, None]], 2)


def _put(block: _Block, vectors: Tensor, matrix: Tensor) -> None:
    if block.bias is not None:
        vectors[:, block.bias] = matrix[:, :, -1]
        matrix = matrix[:, :, :-1]
    vectors[:, block.weight] = matrix.flatten(1)
