"""What checks hand to the reader's code: random numbers that are the same at every call, a watched model.

Every draw of a check goes through one of these, and a test sees to it. A seed then means the same numbers at
every call in a notebook, and others in each term in which a class is graded (``xai_course/_term.py``).
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .._term import shift


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=seeded(seed), dtype=torch.float64)


def seeded(seed: int) -> torch.Generator:
    """A generator, for a check's own draws or for an answer that takes one."""
    return torch.Generator().manual_seed(of_term(seed))


@contextmanager
def drawn(seed: int) -> Iterator[None]:
    """Within the block torch's own random state begins at the seed; after it, it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(of_term(seed))
        yield


def of_term(seed: int) -> int:
    """The seed that stands for this one in the term, for what draws from a number: ``shapes(9, seed=…)``."""
    return seed + shift()


def cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """Computes once what is the same at every call of a term; `functools.cache` would keep another term's."""

    @functools.cache
    def kept(term: int, *args: Any) -> Any:
        return function(*args)

    @functools.wraps(function)
    def called(*args: Any) -> Any:
        return kept(shift(), *args)

    return called


class Watched:
    """A classifier that remembers how many images came at a time, and whether autograd was watching."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.counts, self.recorded = model, [], False

    def __call__(self, images: Tensor) -> Tensor:
        self.counts.append(len(images))
        logits = self.model(images)
        self.recorded = self.recorded or logits.requires_grad
        return logits
