"""Make the scores that chapter 6 reads: how well each method's maps lie on the drawn object of each scene.

    python tools/localisation_scores.py        write chapters/06_evaluation/localisation_scores.npz (ten min)

RISE, LIME and SmoothGrad on 240 scenes and two networks take too long for a page; their scores are stored.
For quick methods the page computes the first scenes again, and a test does so for all methods.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from skimage.measure import grid_points_in_poly
from torch import Tensor, nn

from xai_lib import (
    deconvnet,
    grad_cam,
    grad_cam_plus_plus,
    gradient,
    gradient_x_input,
    guided_backprop,
    guided_grad_cam,
    hires_cam,
    integrated_gradients,
    layer_cam,
    lime,
    load_model,
    load_photo,
    occlusion,
    rise,
    score_cam,
    shapes,
    smooth_grad,
    to_heatmap,
    xgrad_cam,
)
from xai_lib._roar_shapes import edges
from xai_lib.localisation import energy_in, pointing_game, relevance_rank

HERE = Path(__file__).resolve().parent.parent / "chapters" / "06_evaluation"
FILE, OUTLINES = HERE / "localisation_scores.npz", HERE / "annotations.json"
PHOTOGRAPHS = ("cat", "coffee", "rocket", "astronaut")
NETWORKS = ("small_vgg", "small_gap")
SCENES, SEED = 240, 60
BLOCK = 24  # scenes that share one stream of random numbers: the first block can be made again by itself
MEASURES = {"pointing": pointing_game, "energy": energy_in, "rank": relevance_rank}


def above_lowest(maps: Tensor) -> Tensor:
    return maps - maps.amin((1, 2), keepdim=True)


def positive(maps: Tensor) -> Tensor:
    return maps.clamp(min=0)


def methods(model: nn.Module, generator: torch.Generator) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Each method as a function from images and classes to maps (N, H, W) without negative values."""
    at = {"layer": model.cam_layer}
    drawn = {"generator": generator}
    attributions = {
        "gradient": gradient,
        "gradient × input": gradient_x_input,
        "integrated gradients": partial(integrated_gradients, n_steps=32),
        "SmoothGrad": partial(smooth_grad, n_samples=32, **drawn),
        "deconvnet": deconvnet,
        "guided backprop": guided_backprop,
        "guided Grad-CAM": partial(guided_grad_cam, **at),
    }
    maps = {
        "Grad-CAM": grad_cam,
        "Grad-CAM++": grad_cam_plus_plus,
        "XGrad-CAM": xgrad_cam,
        "HiResCAM": hires_cam,
        "LayerCAM": layer_cam,
        "Score-CAM": score_cam,
    }
    hiding = {
        "occlusion": (occlusion, positive),
        "LIME": (partial(lime, n_samples=256, **drawn), positive),
        "RISE": (partial(rise, n_masks=512, **drawn), above_lowest),
    }
    return {
        **{name: (lambda x, y, f=f: to_heatmap(f(model, x, y))) for name, f in attributions.items()},
        **{name: (lambda x, y, f=f: positive(f(model, x, y, **at))) for name, f in maps.items()},
        **{name: (lambda x, y, f=f, g=g: g(f(model, x, y))) for name, (f, g) in hiding.items()},
        "edges (no network)": lambda x, y: edges(x),
    }


def scores(network: str, block: int, names: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """Of one block of scenes: a measure's name to its values (methods, BLOCK)."""
    scenes = shapes(SCENES, seed=SEED)
    here = slice(block * BLOCK, (block + 1) * BLOCK)
    images, labels, masks = scenes.images[here], scenes.labels[here], scenes.masks[here]
    found: dict[str, list[np.ndarray]] = {measure: [] for measure in MEASURES}
    model = load_model(network)
    for name in names or methods(model, torch.Generator()):
        # a generator of its own for each method: leaving one out does not change the others
        maps = methods(model, torch.Generator().manual_seed(block))[name](images, labels)
        for measure, judge in MEASURES.items():
            found[measure].append(judge(maps, masks).numpy())
    return {measure: np.stack(values).astype(np.float32) for measure, values in found.items()}


def five_maps(name: str) -> dict[str, Tensor]:
    """The five maps of one photograph that both pages of the chapter judge, by name, (1, 224, 224) each."""
    model, photo = load_model("efficientnet_lite0"), load_photo(name)
    target = model(photo).argmax(1)
    masked = rise(model, photo, target, n_masks=256, generator=torch.Generator().manual_seed(0))
    return {
        "gradient": to_heatmap(gradient(model, photo, target)),
        "integrated gradients": to_heatmap(integrated_gradients(model, photo, target)),
        "Grad-CAM": grad_cam(model, photo, target, layer=model.cam_layer),
        "RISE": above_lowest(masked),
        "edges": edges(photo),
    }


def outlined(who: str, name: str) -> Tensor:
    """Pixels whose centre lies inside an annotator's outline of a photograph, (1, 224, 224)."""
    corners = np.array(json.loads(OUTLINES.read_text(encoding="utf-8"))[who][name])
    return torch.from_numpy(grid_points_in_poly((224, 224), corners[:, ::-1] - 0.5))[None]


def photograph_scores(name: str) -> np.ndarray:
    """Of one photograph: each measure of each map against each annotator, (measures, maps, annotators)."""
    maps, masks = five_maps(name), [outlined(who, name) for who in "AB"]
    return np.array(
        [[[judge(h, mask).item() for mask in masks] for h in maps.values()] for judge in MEASURES.values()],
        dtype=np.float32,
    )


def main() -> None:
    stored = {f"photograph {name}": photograph_scores(name) for name in PHOTOGRAPHS}
    stored["methods"] = np.array(list(methods(load_model("small_vgg"), torch.Generator())))
    for network in NETWORKS:
        blocks = [scores(network, k) for k in range(SCENES // BLOCK)]
        for measure in MEASURES:
            stored[f"{network} {measure}"] = np.concatenate([block[measure] for block in blocks], 1)
        print(network, {m: stored[f"{network} {m}"].mean(1).round(2).tolist() for m in MEASURES}, flush=True)
    np.savez_compressed(FILE, **stored)


if __name__ == "__main__":
    main()
