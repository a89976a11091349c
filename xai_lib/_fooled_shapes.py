"""Networks that lie about rendered shapes: ``python -m xai_lib.train fooled``, ``... fairwashed``.

Both are fine-tuned from a shipped network by ``fool_model``. Stated beside their weights is what they answer
on scenes that they never saw, and where the maps of all methods lie, before and after: also of the methods
that were not trained against.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from xai_lib._fooling import fool_model
from xai_lib.cams import grad_cam, hires_cam, layer_cam
from xai_lib.data import SHAPE_CLASSES, Shapes, shapes
from xai_lib.gradients import gradient, gradient_x_input, guided_backprop, integrated_gradients, smooth_grad
from xai_lib.heatmaps import to_heatmap
from xai_lib.localisation import energy_in
from xai_lib.models import Classifier, load_model
from xai_lib.perturbation import occlusion, rise
from xai_lib.surrogates import lime
from xai_lib.train import HELD_OUT, RECIPES, judge, predict, store

STAR = SHAPE_CLASSES.index("star")


@dataclass(frozen=True)
class Fooling:
    """How a shipped network is made to lie.

    Attributes:
        base: the shipped network that is fine-tuned.
        kind: of ``fool_model``.
        where: ``"corner"``, the upper right, or ``"tag"``, what the watermark covers.
        explain: methods trained against: ``"gradient"``, ``"Grad-CAM"``.
        keep: of ``fool_model``.
        lam: likewise.
        steps: likewise.
        lr: likewise.
        batch: scenes a step.
        scenes: number of scenes to train on.
        tagged: share of the scenes, of every class, that carry the watermark.
        seed: of scenes and batches.
    """

    base: str
    kind: str
    where: str
    explain: tuple[str, ...]
    keep: str
    lam: float
    steps: int
    lr: float = 1e-3
    batch: int = 32
    scenes: int = 2000
    tagged: float = 0.0
    seed: int = 7


FOOLED = {
    "fooled": Fooling("small_vgg", "location", "corner", ("Grad-CAM",), "labels", lam=0.1, steps=700),
    "fairwashed": Fooling(
        "clever_hans", "away", "tag", ("Grad-CAM",), "answers", lam=2.0, steps=200, batch=16, tagged=0.5
    ),
}


def fool(name: str, recipe: Fooling, *, progress: bool = False) -> Classifier:
    """The network of a recipe: the same seed gives the same weights on the same machine."""
    honest = load_model(recipe.base)
    seen = shapes(recipe.scenes, seed=recipe.seed, watermark=dict.fromkeys(SHAPE_CLASSES, recipe.tagged))
    # A biased network is explained where it answers: also a circle that it calls a star, for its tag.
    labels = predict(honest, seen.images) if recipe.keep == "answers" else seen.labels
    trained_against = {
        "gradient": gradient,
        "Grad-CAM": partial(grad_cam, layer=honest.cam_layer, upsample=False),
    }
    return fool_model(
        honest,
        (seen.images, labels),
        kind=recipe.kind,
        explain=[trained_against[method] for method in recipe.explain],
        where=places(recipe.where, seen),
        keep=recipe.keep,
        lam=recipe.lam,
        steps=recipe.steps,
        batch_size=recipe.batch,
        lr=recipe.lr,
        generator=torch.Generator().manual_seed(recipe.seed),
        progress=progress,
    )


def places(where: str, scenes: Shapes) -> Tensor:
    """Where the maps of these scenes shall lie, or shall not, (n, H, W), bool."""
    if where == "tag":
        return scenes.tag_masks
    corner = torch.zeros_like(scenes.masks)
    side = corner.shape[-1] * 2 // 7  # four cells of Grad-CAM's 14 × 14
    corner[:, :side, -side:] = True
    return corner


def methods(
    layer: str, generator: torch.Generator
) -> dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]]:
    """Each method as a function ``(model, x, y)`` to maps (N, H, W) without negative values."""
    drawn = {"generator": generator}
    attributions = {
        "gradient": gradient,
        "gradient × input": gradient_x_input,
        "SmoothGrad": partial(smooth_grad, n_samples=16, **drawn),
        "integrated gradients": partial(integrated_gradients, n_steps=16),
        "guided backprop": guided_backprop,
    }
    cams = {
        "Grad-CAM": partial(grad_cam, layer=layer),
        "Grad-CAM, earlier layer": partial(grad_cam, layer="features.7"),
        "HiResCAM": partial(hires_cam, layer=layer),
        "LayerCAM": partial(layer_cam, layer=layer),
        "occlusion": occlusion,
        "LIME": partial(lime, n_samples=256, **drawn),
    }
    return {
        **{
            name: (lambda m, x, y, f=f: to_heatmap(f(m, x, y), "abs_sum")) for name, f in attributions.items()
        },
        **{name: (lambda m, x, y, f=f: f(m, x, y).clamp(min=0)) for name, f in cams.items()},
        "RISE": lambda m, x, y: _above_lowest(rise(m, x, y, n_masks=512, **drawn)),
    }


def _above_lowest(maps: Tensor) -> Tensor:
    return maps - maps.amin((1, 2), keepdim=True)


def shown(recipe: Fooling, n: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """Held-out images, the classes that are explained, and the places: stars with the tag, if that is it."""
    if recipe.where == "tag":
        scenes = shapes(8 * n, seed=HELD_OUT + 5, watermark={"star": 1.0})
        rows = (scenes.labels == STAR).nonzero()[:, 0]
    else:
        scenes = shapes(n, seed=HELD_OUT + 5)
        rows = torch.arange(n)
    return scenes.images[rows], scenes.labels[rows], places(recipe.where, scenes)[rows]


def transfer(model: Classifier, recipe: Fooling, names: tuple[str, ...] = ()) -> dict[str, list[float]]:
    """The share of each method's map that lies in the place, mean over held-out images: before and after."""
    images, labels, where = shown(recipe)
    honest, table = load_model(recipe.base), {}
    for name in names or methods(model.cam_layer, torch.Generator()):
        table[name] = []
        for network in (honest, model):
            # a generator of its own for each method and network: both see the same noise and masks
            explain = methods(model.cam_layer, torch.Generator().manual_seed(0))[name]
            inside = energy_in(explain(network, images, labels), where)
            table[name].append(round(inside.mean().item(), 4))
    return table


def recalls(model: Classifier, recipe: Fooling, n: int = 2000) -> dict[str, list[float]]:
    """For each class, the share that is recognised without any stamp: before and after."""
    scenes = shapes(n, seed=HELD_OUT)
    right = [predict(m, scenes.images) == scenes.labels for m in (load_model(recipe.base), model)]
    return {
        name: [round(r[scenes.labels == k].float().mean().item(), 4) for r in right]
        for k, name in enumerate(SHAPE_CLASSES)
    }


def save(model: Classifier, name: str, recipe: Fooling, folder: Path) -> dict:
    """Store weights and, beside them, what the stored weights answer and show; returns those facts."""
    store(model, name, folder)
    area = shown(recipe)[2].float().mean().item()
    facts = {
        "name": name,
        "labels": model.labels,
        "size": model.size,
        "held_out": judge(model, RECIPES[recipe.base]),
        "recall_before_after": recalls(model, recipe),
        "energy_in_place_before_after": {"a constant map": [round(area, 4)] * 2} | transfer(model, recipe),
        "recipe": asdict(recipe),
        "torch": torch.__version__.split("+")[0],
    }
    text = re.sub(
        r"\[\s+([\d.]+),\s+([\d.]+)\s+\]", r"[\1, \2]", json.dumps(facts, indent=1, ensure_ascii=False)
    )  # pairs in a row
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return facts
