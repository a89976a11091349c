"""What checks hand to the reader's code: random numbers that are the same at every call, a watched model."""

import torch
from torch import Tensor, nn


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Watched:
    """A classifier that remembers how many images came at a time, and whether autograd was watching."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.counts, self.recorded = model, [], False

    def __call__(self, images: Tensor) -> Tensor:
        self.counts.append(len(images))
        logits = self.model(images)
        self.recorded = self.recorded or logits.requires_grad
        return logits
