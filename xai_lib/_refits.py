"""Models fitted for many rows of example weights at once: the ground truth of chapter 5."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _model, _training


class SoftmaxRegression:
    """What ``influence.softmax_regression`` returns: fits for rows of example weights (R, n)."""

    def __init__(self, l2: float, bias: bool, steps: int, tolerance: float) -> None:
        self.l2, self.bias, self.steps, self.tolerance = l2, bias, steps, tolerance
        self.weights: Tensor | None = None

    def _features(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return F.pad(flat, (0, 1), value=1.0) if self.bias else flat

    def __call__(self, images: Tensor, labels: Tensor, weights: Tensor) -> Callable[[Tensor], Tensor]:
        features, classes = self._features(images), int(labels.max()) + 1
        shape = (len(weights), classes, features.shape[1])
        if self.weights is None or self.weights.shape != shape[1:]:
            start = features.new_zeros(shape[1:])
            self.weights = self._newton(features, labels, features.new_ones(1, len(labels)), start)[0]
        theta = self._newton(features, labels, weights, self.weights)
        return lambda test: torch.einsum("md,rkd->rmk", self._features(test), theta)

    def _newton(self, features: Tensor, labels: Tensor, weights: Tensor, start: Tensor) -> Tensor:
        """Weights (R, K, D) at the minimum for each row of example weights (R, n)."""
        n, (classes, width) = len(labels), start.shape
        theta = start.expand(len(weights), -1, -1).clone()
        eye = torch.eye(classes * width, dtype=theta.dtype, device=theta.device)
        value = self._objective(features, labels, weights / n, theta)
        for _ in range(self.steps):
            p = torch.einsum("nd,rkd->rnk", features, theta).softmax(2)
            slopes = torch.einsum("rn,rnk,nd->rkd", weights / n, p - F.one_hot(labels, classes), features)
            slopes = slopes + self.l2 * theta
            if slopes.abs().max() <= self.tolerance:
                return theta
            hessian = self._hessian(features, p, weights / n) + self.l2 * eye
            step = torch.linalg.solve(hessian, slopes.flatten(1)).view_as(theta)
            theta, value = self._downhill(features, labels, weights / n, theta, value, step)
        raise ValueError(
            f"softmax_regression has a gradient of {slopes.abs().max():.1e} after {self.steps} steps, and "
            f"{self.tolerance:.0e} is asked for; pass more l2, or float64 images"
        )

    def _objective(self, features: Tensor, labels: Tensor, weights: Tensor, theta: Tensor) -> Tensor:
        """What is minimised, (R,)."""
        log_p = torch.einsum("nd,rkd->rnk", features, theta).log_softmax(2)
        own = log_p.gather(2, labels.expand(len(theta), -1)[..., None])[..., 0]  # (R, n)
        return self.l2 / 2 * theta.square().sum((1, 2)) - (weights * own).sum(1)

    def _downhill(
        self,
        features: Tensor,
        labels: Tensor,
        weights: Tensor,
        theta: Tensor,
        value: Tensor,
        step: Tensor,
        halvings: int = 30,
    ) -> tuple[Tensor, Tensor]:
        """One Newton step for each fit, halved where it would go uphill: far from the minimum it can."""
        share = torch.ones_like(value)
        slack = 16 * torch.finfo(value.dtype).eps * value.abs()
        for _ in range(halvings):
            new = theta - share[:, None, None] * step
            reached = self._objective(features, labels, weights, new)
            uphill = ~(reached <= value + slack)  # also where it is not a number
            if not bool(uphill.any()):
                break
            share = torch.where(uphill, share / 2, share)
        return new, reached

    @staticmethod
    def _hessian(features: Tensor, p: Tensor, weights: Tensor) -> Tensor:
        r, _, classes = p.shape
        width = features.shape[1]
        blocks = features.new_empty(r, classes, width, classes, width)
        for k in range(classes):
            for other in range(k, classes):
                share = weights * p[:, :, k] * (float(k == other) - p[:, :, other])  # (R, n)
                blocks[:, k, :, other] = torch.einsum("nd,rn,ne->rde", features, share, features)
                blocks[:, other, :, k] = blocks[:, k, :, other]
        return blocks.view(r, classes * width, classes * width)


class NetworkFit:
    """What ``influence.neural_network`` returns: trainings for rows of example weights (R, n)."""

    def __init__(
        self,
        network: Callable[[], nn.Module],
        l2: float,
        epochs: int,
        rate: float,
        batch_size: int | None,
        seed: int,
    ) -> None:
        self.network, self.l2, self.epochs, self.rate = network, l2, epochs, rate
        self.batch_size, self.seed = batch_size, seed
        self.model: nn.Module | None = None

    def __call__(self, images: Tensor, labels: Tensor, weights: Tensor) -> Callable[[Tensor], Tensor]:
        rows, size = len(weights), self.batch_size or len(labels)
        with _model.own_arithmetic():
            start = _training.begin(self.network, (self.seed,), (images, labels))
            run, theta = _training.runner(start, rows), start.stacked([0] * rows)

            def logits(some: Tensor) -> Tensor:
                return run(theta, some.expand(rows, *some.shape))  # (R, b, K)

            def loss(batch: Tensor) -> Tensor:
                which = batch[0].to(images.device)
                wanted = labels[which].expand(rows, -1)
                each = F.cross_entropy(logits(images[which]).mT, wanted, reduction="none")  # (R, b)
                decay = torch.stack([w.square().sum() for w in theta.values()]).sum()
                return (weights[:, which] * each).sum() / len(which) + self.l2 / 2 * decay

            batches = _training.order(len(labels), [self.seed], self.epochs, size)
            _training.train(theta, batches, loss, self.rate)
        if rows == 1 and bool((weights == 1).all()):
            self.model = start.network.eval().requires_grad_(False)
            self.model.load_state_dict({name: w[0].detach() for name, w in theta.items()}, strict=False)

        @torch.no_grad()
        def predict(test: Tensor) -> Tensor:
            return torch.cat([logits(some) for some in test.split(size)], 1)

        return predict
