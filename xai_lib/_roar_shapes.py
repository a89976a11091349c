"""ROAR on rendered shapes: the run whose results chapter 6 reads. ``python -m xai_lib.train roar``, minutes.

Four of the eight shapes, rendered at twice the size and halved, and a small network; nine maps, one of which
knows no network and one the truth; besides ROAR itself its two controls, keep-and-retrain and training on the
masks alone.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib.cams import grad_cam
from xai_lib.data import SHAPE_CLASSES, shapes
from xai_lib.faithfulness import roar
from xai_lib.gradients import gradient, gradient_x_input, integrated_gradients, smooth_grad
from xai_lib.heatmaps import to_heatmap
from xai_lib.perturbation import rise

FILE = Path(__file__).resolve().parent.parent / "chapters" / "06_evaluation" / "roar_shapes.json"
HELD_OUT = 1_000_000_000  # the seed of the test scenes
LAYER = "9"  # for Grad-CAM: the last maps of 8 × 8


@dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes:
        classes: which shapes.
        train: number of training scenes.
        test: number of test scenes.
        size: side of the images in pixels.
        seeds: of the networks that are trained, for each map and fraction.
        epochs: passes over the training set.
        rate: highest learning rate.
        batch_size: scenes in a mini-batch.
        fractions: shares of the pixels that ROAR hides.
        kept: shares of the pixels that keep-and-retrain keeps.
        masks: shares of the pixels that are hidden where the masks alone are shown.
        explained: seed of the network that is explained, trained on whole images.
        chance: seed of random maps and of the order of equal values.
    """

    classes: tuple[str, ...] = ("circle", "triangle", "star", "ring")
    train: int = 1600
    test: int = 1000
    size: int = 32
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 10
    rate: float = 4e-3
    batch_size: int = 32
    fractions: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    kept: tuple[float, ...] = (0.1, 0.3)
    masks: tuple[float, ...] = (0.5,)
    explained: int = 100
    chance: int = 0

    def training(self) -> dict:
        """How ``roar`` trains."""
        return {"epochs": self.epochs, "rate": self.rate, "batch_size": self.batch_size}


def network() -> nn.Module:
    """A small network for images of 32 × 32, with group normalisation: about a hundred thousand weights."""
    layers: list[nn.Module] = [nn.Conv2d(3, 12, 5, 2, 2), nn.GroupNorm(4, 12), nn.ReLU()]
    layers += [nn.Conv2d(12, 24, 3, 1, 1), nn.GroupNorm(4, 24), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(24, 48, 3, 1, 1), nn.GroupNorm(4, 48), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(48, 48, 3, 1, 1), nn.GroupNorm(4, 48), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(48, 4))


def scenes(settings: Settings, held_out: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Images (n, 3, S, S), labels (n,) and the objects' masks (n, S, S), each pixel the mean of four."""
    n = settings.test if held_out else settings.train
    share = len(settings.classes) / len(SHAPE_CLASSES)
    drawn = shapes(round(n / share), 2 * settings.size, HELD_OUT if held_out else 0)
    own = [SHAPE_CLASSES.index(name) for name in settings.classes]
    which = torch.isin(drawn.labels, torch.tensor(own)).nonzero()[:n, 0]
    labels = torch.tensor([own.index(k) for k in drawn.labels[which].tolist()])
    return F.avg_pool2d(drawn.images[which], 2), labels, F.avg_pool2d(drawn.masks[which].float(), 2)


def explained_network(settings: Settings, images: Tensor, labels: Tensor) -> nn.Module:
    """The network that is explained: one more of those that ``roar`` trains, on whole images."""
    from xai_lib import _training

    begun = _training.begin(network, (settings.explained,), (images, labels))
    weights, run = begun.stacked([0]), _training.runner(begun, 1)
    batches = _training.order(len(labels), [settings.explained], settings.epochs, settings.batch_size)

    def loss(batch: Tensor) -> Tensor:
        return F.cross_entropy(run(weights, images[batch])[0], labels[batch[0]])

    _training.train(weights, batches, loss, settings.rate)
    model = network()
    model.load_state_dict({name: w[0].detach() for name, w in weights.items()})
    return model.eval()


def edges(images: Tensor) -> Tensor:
    """The size of the brightness's slope, by Sobel's filter: a map that knows no network."""
    grey = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])[None, None]
    return torch.hypot(F.conv2d(grey, across), F.conv2d(grey, across.mT))[:, 0]


def blurred(heat: Tensor) -> Tensor:
    """The mean over 5 × 5 pixels: it adds nothing that the map did not say."""
    return F.avg_pool2d(F.pad(heat[:, None], (2, 2, 2, 2), mode="replicate"), 5, 1)[:, 0]


def explainers(chance: int) -> dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]]:
    """Every map that asks the network, by name: (N, S, S)."""

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(chance)

    def heat(explain: Callable[..., Tensor]) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
        return lambda model, x, target: to_heatmap(explain(model, x, target))

    return {
        "gradient": heat(gradient),
        "gradient, blurred": lambda model, x, target: blurred(to_heatmap(gradient(model, x, target))),
        "gradient × input": heat(gradient_x_input),
        "SmoothGrad": heat(partial(smooth_grad, n_samples=15, generator=seeded())),
        "integrated gradients": heat(partial(integrated_gradients, n_steps=16)),
        "Grad-CAM": partial(grad_cam, layer=LAYER),
        "RISE": partial(rise, n_masks=128, grid=8, generator=seeded()),
    }


def maps_of(settings: Settings) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Each map of the training and of the test images, of the class that each image has."""
    (images, labels, masks), (others, theirs, their_masks) = (
        scenes(settings, held) for held in (False, True)
    )
    model = explained_network(settings, images, labels)
    for name, explain in explainers(settings.chance).items():
        yield name, (explain(model, images, labels), explain(model, others, theirs))
    yield "edges, no network", (edges(images), edges(others))
    yield "the object itself", (masks, their_masks)


def measure(settings: Settings, maps: dict[str, tuple[Tensor, Tensor]], kind: str, seed: int) -> list:
    """Accuracies [map][fraction] of one seed; ``kind`` is "roar", "keep" or "mask_only"."""
    train, test = (scenes(settings, held)[:2] for held in (False, True))
    shares = {"roar": settings.fractions, "keep": settings.kept, "mask_only": settings.masks}[kind]
    result = roar(
        network,
        train,
        test,
        maps,
        fractions=shares,
        keep=kind == "keep",
        mask_only=kind == "mask_only",
        seeds=(seed,),
        generator=torch.Generator().manual_seed(settings.chance),
        **settings.training(),
    )
    return [[round(value, 4) for value in row] for row in result.accuracy[:, :, 0].tolist()]


def run(settings: Settings, workers: int = 1) -> dict:
    """Everything, spread over so many processes: names, shares, and accuracies [map][share][seed]."""
    maps = dict(maps_of(settings))
    work = [(kind, seed) for kind in ("roar", "keep", "mask_only") for seed in settings.seeds]
    alone = {"initializer": torch.set_num_threads, "initargs": (1,)}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), **alone) as pool:
        waiting = {pair: pool.submit(measure, settings, maps, *pair) for pair in work}
        found = {pair: future.result() for pair, future in waiting.items()}

    def by_seed(kind: str) -> list:
        rows = [found[kind, seed] for seed in settings.seeds]  # [seed][map][share]
        return [[list(cell) for cell in zip(*row, strict=True)] for row in zip(*rows, strict=True)]

    return {
        "names": [*maps, "random"],
        "accuracy": by_seed("roar"),
        "keep": by_seed("keep"),
        "mask_only": by_seed("mask_only"),
        "settings": asdict(settings),
        "command": "python -m xai_lib.train roar",
        "torch": torch.__version__.split("+")[0],
    }


def save(settings: Settings, file: Path = FILE, workers: int = 1) -> dict:
    """Run, and store the results with what made them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    facts = run(settings, workers)
    file.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return facts
