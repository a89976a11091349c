"""Make the scores that chapter 7's first page reads: how alike maps stay while weights are drawn at random.

    python tools/randomisation_scores.py             write chapters/07_trust/randomisation_scores.npz
    python tools/randomisation_scores.py small_vgg   only this network's part of it

Nine methods and two controls on three networks, in three orders, with and without noise: a quarter of an
hour on one core. The page draws one picture's maps again, and a test makes samples of the rest.
"""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from xai_lib import (
    deconvnet,
    grad_cam,
    gradient,
    gradient_x_input,
    guided_backprop,
    guided_grad_cam,
    hires_cam,
    integrated_gradients,
    load_model,
    load_photo,
    shapes,
    smooth_grad,
)
from xai_lib._roar_shapes import edges
from xai_lib.randomisation import complexity_rise, randomised
from xai_lib.similarity import hog_correlation, rank_correlation, ssim

FILE = Path(__file__).resolve().parent.parent / "chapters" / "07_trust" / "randomisation_scores.npz"
NETWORKS = ("small_vgg", "small_gap", "efficientnet_lite0")
PHOTOGRAPHS = ("cat", "coffee", "rocket", "astronaut")
SCENES, SEED = 12, 70
DRAWS, RISE_DRAWS = 2, 4  # of the weights; one on the large network, and with noise
SAMPLES = 8  # of SmoothGrad, and steps of integrated gradients
NOISY, SIGMA = 8, 0.1  # smooth MPRT
# Where the maps of the 50 layers of EfficientNet are looked at; of a small network everywhere.
STOPS = [
    "classifier",
    "features.last.conv",
    *(f"features.blocks.{k}.expand.conv" for k in (15, 13, 11, 9, 7, 5, 3, 1)),
    "features.stem.conv",
]
FEW_STOPS = ["classifier", *(f"features.blocks.{k}.expand.conv" for k in (11, 5)), "features.stem.conv"]
SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rank": rank_correlation,
    "rank of magnitudes": lambda a, b: rank_correlation(a.abs(), b.abs()),
    "ssim": lambda a, b: ssim(a.abs(), b.abs()),
    "hog": lambda a, b: hog_correlation(a.abs(), b.abs()),
}
ORDERS = ("cascade", "independent", "bottom_up")
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


def checksum(model: nn.Module) -> int:
    """A number that changes with any weight."""
    return zlib.crc32(b"".join(p.detach().cpu().numpy().tobytes() for p in model.parameters()))


def picture_times_noise(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """The grey picture times noise, whose seed is a checksum of the weights: explains nothing, (N, H, W)."""
    generator = torch.Generator().manual_seed(checksum(model))
    return x.mean(1) * torch.randn(x.shape[2:], generator=generator)


def methods(model: nn.Module) -> dict[str, Explain]:
    at = {"layer": model.cam_layer}
    return {
        "gradient": gradient,
        "gradient × input": gradient_x_input,
        "integrated gradients": partial(integrated_gradients, n_steps=SAMPLES),
        "SmoothGrad": lambda m, x, y: smooth_grad(
            m, x, y, n_samples=SAMPLES, generator=torch.Generator().manual_seed(0)
        ),
        "guided backprop": guided_backprop,
        "deconvnet": deconvnet,
        "Grad-CAM": partial(grad_cam, **at),
        "HiResCAM": partial(hires_cam, **at),
        "guided Grad-CAM": partial(guided_grad_cam, **at),
        "edges (no network)": lambda m, x, y: edges(x),
        "picture × noise": picture_times_noise,
    }


def pictures(network: str) -> tuple[Tensor, Tensor]:
    """Images and the network's own answers; of the drawn scenes those that it names right."""
    model = load_model(network)
    if network == "efficientnet_lite0":
        images = torch.cat([load_photo(name) for name in PHOTOGRAPHS])
    else:
        scenes = shapes(4 * SCENES, seed=SEED)
        right = (model(scenes.images).argmax(1) == scenes.labels).nonzero()[:, 0]
        images = scenes.images[right[:SCENES]]
    return images, model(images).argmax(1)


def one_each(maps: Tensor) -> Tensor:
    """One value a pixel, (N, H, W): the sum over channels, sign kept."""
    return maps.sum(1) if maps.dim() == 4 else maps


def stops(network: str, few: bool) -> list[str] | None:
    """The layers after which the maps are compared; None for all."""
    return None if network != "efficientnet_lite0" else FEW_STOPS if few else STOPS


def compared(
    network: str,
    *,
    order: str = "cascade",
    own_class: bool = False,
    noisy: int = 0,
    draw: int = 0,
    names: Iterable[str] | None = None,
    until: int | None = None,
) -> tuple[list[str], np.ndarray]:
    """Names of the layers, and similarities (methods, layers, similarities, images)."""
    model = load_model(network)
    x, y = pictures(network)
    asked = {name: methods(model)[name] for name in names or methods(model)}
    generator = torch.Generator().manual_seed(9)
    noise = [SIGMA * torch.randn(x.shape, generator=generator) for _ in range(noisy)] or [torch.zeros(())]

    def maps(explain: Explain, net: nn.Module, classes: Tensor) -> Tensor:
        return sum(one_each(explain(net, x + step, classes)) for step in noise) / len(noise)

    before = {name: maps(explain, model, y) for name, explain in asked.items()}
    layers, found, wanted = [], [], stops(network, own_class or noisy > 0 or order == "bottom_up")
    for layer, copied in randomised(model, order=order, generator=torch.Generator().manual_seed(draw)):
        if wanted is not None and layer not in wanted:
            continue
        with torch.no_grad():
            classes = copied(x).argmax(1) if own_class else y
        after = {name: maps(explain, copied, classes) for name, explain in asked.items()}
        found.append(
            [[s(before[name], after[name]).numpy() for s in SIMILARITIES.values()] for name in asked]
        )
        layers.append(layer)
        if until is not None and len(layers) == until:
            break
    return layers, np.array(found, dtype=np.float32).transpose(1, 0, 2, 3)


def rises(network: str, draw: int, names: Iterable[str] | None = None) -> np.ndarray:
    """Efficient MPRT: the rise of each map's complexity when all weights are drawn, (methods, images)."""
    model = load_model(network)
    x, y = pictures(network)
    asked = {name: methods(model)[name] for name in names or methods(model)}
    return np.array(
        [
            complexity_rise(model, explain, x, y, generator=torch.Generator().manual_seed(draw)).numpy()
            for explain in asked.values()
        ],
        dtype=np.float32,
    )


def part(network: str) -> dict[str, np.ndarray]:
    """Everything of one network, by name."""
    stored: dict[str, np.ndarray] = {}
    conditions = {order: {"order": order} for order in ORDERS}
    conditions |= {"own class": {"own_class": True}, "noisy": {"noisy": NOISY}}
    for name, options in conditions.items():
        began = time.time()
        draws = range(1 if network == "efficientnet_lite0" or name == "noisy" else DRAWS)
        runs = [compared(network, draw=draw, **options) for draw in draws]
        stored[f"{network} {name} layers"] = np.array(runs[0][0])
        stored[f"{network} {name}"] = np.stack([values for _, values in runs])  # (draws, methods, …)
        print(f"{network} {name}: {time.time() - began:.0f} s", flush=True)
    stored[f"{network} rises"] = np.stack([rises(network, draw) for draw in range(RISE_DRAWS)])
    return stored


def main(networks: list[str]) -> None:
    for network in networks or NETWORKS:
        made = part(network)
        stored = dict(np.load(FILE)) if FILE.exists() else {}  # read as late as it is written
        stored |= made
        stored["methods"] = np.array(list(methods(load_model("small_vgg"))))
        stored["similarities"] = np.array(list(SIMILARITIES))
        np.savez_compressed(FILE, **stored)


if __name__ == "__main__":
    main(sys.argv[1:])
