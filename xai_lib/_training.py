"""Many networks trained in one loop, as if each were alone: for ROAR, and for leaving one example out.

Their weights are stacked, ``vmap`` runs them side by side, and one optimiser serves them all: Adam acts on
each weight by itself. What would mix the images of a batch, or draw random numbers, is refused.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from xai_lib import _model

Weights = dict[str, Tensor]  # of J networks, stacked: (J, ...)
Run = Callable[[Weights, Tensor], Tensor]


class Start(NamedTuple):
    """A network, and what it begins with for each seed."""

    network: nn.Module
    weights: list[dict[str, Tensor]]  # by seed: those that are trained
    others: dict[str, Tensor]  # frozen parameters and buffers, of the first seed

    def stacked(self, seeds: list[int]) -> Weights:
        """The weights with which networks of these seeds (their numbers) begin, to be trained."""
        return {
            name: torch.stack([self.weights[seed][name] for seed in seeds]).requires_grad_()
            for name in self.weights[0]
        }


def begin(network: Any, seeds: tuple[int, ...], train: tuple[Tensor, Tensor]) -> Start:
    """The networks as they begin, checked by one pass over one image."""
    if isinstance(network, nn.Module) or not callable(network):
        raise TypeError(
            f"network must be a function that makes a new network, got {type(network).__name__}; "
            "pass lambda: ... with the lines that build it, since each training begins with new weights"
        )
    images, labels = train
    made = []
    with torch.random.fork_rng(devices=[images.device] if images.device.type == "cuda" else []):
        for seed in seeds:
            torch.manual_seed(seed)
            made.append(network())
            _check_network(made[-1], made[:-1])
    made = [net.to(images.device, images.dtype).train() for net in made]
    trained = [name for name, w in made[0].named_parameters() if w.requires_grad]
    weights = [{name: dict(net.named_parameters())[name].detach() for name in trained} for net in made]
    rest = dict(made[0].named_parameters()) | dict(made[0].named_buffers())
    others = {name: w.detach() for name, w in rest.items() if name not in trained}
    start = Start(made[0], weights, others)
    if not trained:
        raise ValueError("network has no parameters to train")
    try:
        logits = runner(start, 2)(
            {k: torch.stack([w, w]) for k, w in weights[0].items()},
            images[:1].expand(2, 1, *images.shape[1:]),
        )
    except RuntimeError as error:
        raise ValueError(
            f"network cannot be trained in one loop with others, or not on images {tuple(images.shape[1:])}: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error
    n_classes = _model.check_logits(logits[0], 1).shape[1]
    if int(labels.max()) >= n_classes:
        raise ValueError(
            f"train labels must be below the network's number of classes, {n_classes}, "
            f"got {int(labels.max())}"
        )
    return start


def _check_network(made: Any, before: list[nn.Module]) -> None:
    """Check one network that the function has made."""
    if not isinstance(made, nn.Module):
        raise TypeError(f"network must make a torch.nn.Module, got {type(made).__name__}")
    if any(made is other for other in before):
        raise ValueError(
            "network must make a new network at each call, got the same one again; build it inside"
        )
    for name, module in made.named_modules():
        kind = type(module).__name__
        if isinstance(module, nn.modules.batchnorm._NormBase) and (
            isinstance(module, nn.modules.batchnorm._BatchNorm) or module.track_running_stats
        ):
            raise ValueError(
                f"network must treat each image by itself, but its module {name!r} is a {kind}; "
                "use nn.GroupNorm in its place"
            )
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise ValueError(
                f"network must draw nothing in its forward pass, but its module {name!r} is a {kind}; "
                "leave it out"
            )


def order(n: int, seeds: list[int], epochs: int, batch_size: int) -> list[Tensor]:
    """The mini-batches of all epochs, one after the other, as numbers of training images: (S, b) each."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return [
        batch
        for _ in range(epochs)
        for batch in torch.stack([torch.randperm(n, generator=g) for g in generators]).split(batch_size, 1)
    ]


def runner(start: Start, n: int) -> Run:
    """A function from stacked weights and images (J, b, C, H, W) to logits (J, b, K)."""

    def one(weights: dict[str, Tensor], images: Tensor) -> Tensor:
        return functional_call(start.network, weights | start.others, (images,))

    if n > 1:
        return vmap(one)
    return lambda weights, images: one({k: w[0] for k, w in weights.items()}, images[0])[None]


def train(weights: Weights, batches: list[Tensor], loss: Callable[[Tensor], Tensor], rate: float) -> None:
    """Train stacked networks in place, by Adam with a one-cycle schedule that peaks at ``rate``.

    ``loss`` gives, for one of the batches, the sum of the networks' losses.
    """
    optimizer = torch.optim.Adam(list(weights.values()), lr=rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, len(batches))
    with torch.enable_grad():
        for batch in batches:
            optimizer.zero_grad(set_to_none=True)
            loss(batch).backward()
            optimizer.step()
            schedule.step()
    if not all(bool(w.isfinite().all()) for w in weights.values()):
        raise ValueError(f"rate is too high: with {rate:g} a training diverged to NaN; try {rate / 10:g}")
