"""The pictures of the studies, drawn from ``xai_lib`` by one command: ``python -m xai_course.study stimuli``.

A file is named after its own bytes, so that its address tells nobody which class or which method it shows.
What each file is stands in ``stimuli/NAME.json``, which no participant is sent.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai_course.study.protocols import STIMULI
from xai_lib import (
    deconvnet,
    grad_cam,
    guided_backprop,
    guided_grad_cam,
    load_model,
    to_heatmap,
)
from xai_lib.data import SHAPE_CLASSES, Shapes, load_photo, shapes

SIZE = 224
STAR = SHAPE_CLASSES.index("star")
PHOTO_CLASSES = {"cat": "Egyptian cat", "coffee": "espresso"}  # the classes that the network names first

# Each map as a function of a model, images and one class an image; all of them are (N, H, W).
METHODS: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "deconvnet": lambda model, x, target: to_heatmap(deconvnet(model, x, target)),
    "guided_backprop": lambda model, x, target: to_heatmap(guided_backprop(model, x, target)),
    "grad_cam": lambda model, x, target: grad_cam(model, x, target, layer=model.cam_layer),
    "guided_grad_cam": lambda model, x, target: to_heatmap(
        guided_grad_cam(model, x, target, layer=model.cam_layer)
    ),
}


# ---- files -------------------------------------------------------------------------------------------------
def keep(image: Tensor, folder: Path) -> str:
    """Write one picture (3, S, S) in [0, 1] as a file named after its bytes; returns the name."""
    from PIL import Image

    big = F.interpolate(image[None], (SIZE, SIZE), mode="bicubic", antialias=True, align_corners=False)
    pixels = (big[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=82, method=6)
    name = hashlib.sha256(file.getvalue()).hexdigest()[:20] + ".webp"
    (folder / name).write_bytes(file.getvalue())
    return name


def coloured(heatmap: Tensor) -> Tensor:
    """A heatmap (H, W) in the course's colours, (3, H, W): from nothing to its 99.5th percentile."""
    import matplotlib

    top = torch.quantile(heatmap.flatten().float(), 0.995).clamp(min=1e-12)
    shades = matplotlib.colormaps["inferno"]((heatmap / top).clamp(0, 1).numpy())
    return torch.from_numpy(shades[..., :3]).float().permute(2, 0, 1)


def _maps(
    model: nn.Module, x: Tensor, target: Tensor, method: str, parts: Tensor, folder: Path
) -> list[dict[str, Any]]:
    """For each image the file of its map, and which share of the map's heat lies on each part.

    ``parts`` is (N, P, H, W), bool. Simulated raters go by these shares; people see the picture.
    """
    drawn = []
    for heat, where in zip(METHODS[method](model, x, target), parts, strict=True):
        heat = heat.clamp(min=0)
        shares = (heat * where).flatten(1).sum(1) / heat.sum().clamp(min=1e-12)
        drawn.append({"file": keep(coloured(heat), folder), "heat": [round(float(v), 3) for v in shares]})
    return drawn


# ---- which class does this map show? -----------------------------------------------------------------------
def two_shapes(n: int, seed: int) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    """Scenes with two shapes of two classes, both of which the small VGG names first.

    Images (n, 3, S, S), the two objects' pixels (n, 2, S, S), the two classes.

    The second object is cut out of another scene by its exact mask. Of all pairs that do not touch, those
    are kept whose less likely class is likeliest, and no scene is used twice.
    """
    model, scenes = load_model("small_vgg"), shapes(224, seed=seed)
    grown = F.max_pool2d(scenes.masks.float()[:, None], 9, 1, 4)[:, 0].bool()
    found = []
    for i in range(len(scenes)):
        apart = ~(grown[i] & scenes.masks).flatten(1).any(1) & (scenes.labels != scenes.labels[i])
        for j, probabilities in zip(
            apart.nonzero().flatten().tolist(), _odds(model, scenes, i, apart), strict=True
        ):
            pair = (int(scenes.labels[i]), int(scenes.labels[j]))
            if set(probabilities.topk(2).indices.tolist()) == set(pair):
                found.append((float(probabilities[list(pair)].min()), i, j, pair))
    chosen: list[tuple[int, int, tuple[int, int]]] = []
    for _, i, j, pair in sorted(found, reverse=True):
        if not {i, j} & {k for a, b, _ in chosen for k in (a, b)}:
            chosen.append((i, j, pair))
    if len(chosen) < n:
        raise ValueError(f"n must be at most {len(chosen)} with this seed, got {n}; take another seed")
    images = torch.stack([_joined(scenes, i, j) for i, j, _ in chosen[:n]])
    parts = torch.stack([torch.stack([scenes.masks[i], scenes.masks[j]]) for i, j, _ in chosen[:n]])
    return images, parts, [pair for *_, pair in chosen[:n]]


def _joined(scenes: Shapes, i: int, j: int) -> Tensor:
    return torch.where(scenes.masks[j], scenes.images[j], scenes.images[i])


def _odds(model: nn.Module, scenes: Shapes, i: int, others: Tensor) -> Tensor:
    if not others.any():
        return torch.empty(0, len(SHAPE_CLASSES))
    images = torch.where(scenes.masks[others][:, None], scenes.images[others], scenes.images[i])
    with torch.no_grad():
        return model(images).softmax(1)


def two_photographs() -> tuple[Tensor, Tensor, list[tuple[str, str]]]:
    """Cat and coffee side by side, either way round, cut out or squeezed.

    Images (4, 3, 224, 224), the two halves (4, 2, 224, 224), names.
    """
    photos = {name: load_photo(name, SIZE) for name in PHOTO_CLASSES}
    images, names = [], []
    for left, right in (("cat", "coffee"), ("coffee", "cat")):
        quarter = slice(SIZE // 4, 3 * SIZE // 4)
        images.append(torch.cat([photos[left][..., quarter], photos[right][..., quarter]], 3))
        halves = [
            F.interpolate(photos[side], (SIZE, SIZE // 2), mode="bicubic", antialias=True)
            for side in (left, right)
        ]
        images.append(torch.cat(halves, 3).clamp(0, 1))
        names += [(left, right)] * 2
    left = (torch.arange(SIZE) < SIZE // 2).expand(len(images), SIZE, SIZE)
    return torch.cat(images), torch.stack([left, ~left], 1), names


def which_class(folder: Path) -> dict[str, Any]:
    """Maps of either class of a picture that shows both, by four methods; three more for practice."""
    images, parts, pairs = two_shapes(15, seed=21)
    named = [(SHAPE_CLASSES[a], SHAPE_CLASSES[b]) for a, b in pairs]
    items = _pairs(load_model("small_vgg"), images, parts, named, torch.tensor(pairs), "scene", folder)
    photos, halves, names = two_photographs()
    network = load_model("efficientnet_lite0")
    targets = torch.tensor([[network.labels.index(PHOTO_CLASSES[name]) for name in pair] for pair in names])
    return {
        "practice": items[12:14],
        "attention": items[14:],
        "main": items[:12] + _pairs(network, photos, halves, names, targets, "photo", folder),
    }


def _pairs(
    model: nn.Module,
    images: Tensor,
    parts: Tensor,
    names: list[tuple[str, str]],
    targets: Tensor,
    stem: str,
    folder: Path,
) -> list[dict[str, Any]]:
    files = {
        method: [_maps(model, images, targets[:, side], method, parts, folder) for side in (0, 1)]
        for method in METHODS
    }
    return [
        {
            "item": f"{stem}{index:02}",
            "picture": keep(images[index], folder),
            "classes": list(names[index]),
            "maps": {method: [files[method][side][index] for side in (0, 1)] for method in METHODS},
        }
        for index in range(len(images))
    ]


# ---- which explanation do you trust more? ------------------------------------------------------------------
def trust(folder: Path) -> dict[str, Any]:
    """Tagged stars that two networks both call a star: one looks at shapes, one has learnt the tag."""
    honest, cheat = load_model("small_vgg"), load_model("clever_hans")
    scenes = shapes(160, seed=31, watermark={"star": 1.0})
    at = scenes.labels == STAR
    stars, parts = scenes.images[at], torch.stack([scenes.masks[at], scenes.tag_masks[at]], 1)
    with torch.no_grad():
        both = (honest(stars).argmax(1) == STAR) & (cheat(stars).argmax(1) == STAR)
    stars, parts = stars[both][:14], parts[both][:14]
    target = torch.full((len(stars),), STAR)
    methods = ("guided_backprop", "grad_cam", "guided_grad_cam")
    files = {
        method: [_maps(model, stars, target, method, parts, folder) for model in (honest, cheat)]
        for method in methods
    }
    items = [
        {
            "item": f"star{index:02}",
            "picture": keep(stars[index], folder),
            "maps": {
                method: {"shape": files[method][0][index], "tag": files[method][1][index]}
                for method in methods
            },
        }
        for index in range(len(stars))
    ]
    return {"practice": items[12:13], "attention": items[13:14], "main": items[:12]}


# ---- predict the model -------------------------------------------------------------------------------------
def predict_model(folder: Path) -> dict[str, Any]:
    """Stars and other shapes, with and without the tag, and what the network says that learnt the tag."""
    model, every = load_model("clever_hans"), dict.fromkeys(SHAPE_CLASSES, 1.0)
    bare, tagged = shapes(160, seed=41), shapes(160, seed=41, watermark=every)
    with torch.no_grad():
        says = {
            "bare": model(bare.images).argmax(1) == STAR,
            "tagged": model(tagged.images).argmax(1) == STAR,
        }
    star = bare.labels == STAR
    # (with the tag?, a star?, does the network say star?): how many to learn from, and how many to be asked
    wanted = [
        ("tagged", True, True, 3, 3),
        ("bare", True, False, 2, 3),
        ("tagged", False, True, 2, 3),
        ("bare", False, False, 2, 2),
        ("bare", True, True, 0, 1),
    ]
    learn, main, used = [], [], set()
    for where, a_star, said, n_learn, n_main in wanted:
        fits = ((star == a_star) & (says[where] == said)).nonzero().flatten().tolist()
        fits = [index for index in fits if index not in used][: n_learn + n_main]
        used.update(fits)
        images = (tagged if where == "tagged" else bare).images[fits]
        parts = torch.stack([bare.masks[fits], tagged.tag_masks[fits]], 1)
        maps = _maps(model, images, torch.full((len(fits),), STAR), "grad_cam", parts, folder)
        for position, (image, heat) in enumerate(zip(images, maps, strict=True)):
            entry = {
                "picture": keep(image, folder),
                "map": heat,
                "says": "star" if said else "other",
                "shows": "star" if a_star else "other",
                "tag": where == "tagged",
            }
            (learn if position < n_learn else main).append(entry)
    for stem, entries in (("learn", learn), ("ask", main)):
        for index, entry in enumerate(entries):
            entry["item"] = f"{stem}{index:02}"
    return {"learn": learn, "main": main, "attention": [dict(main[0], item="check00")]}


SETS = {"which_class": which_class, "trust": trust, "predict_model": predict_model}


def render(folder: Path = STIMULI) -> dict[str, int]:
    """Draw the pictures of every study anew.

    Args:
        folder: where to write them; old pictures and manifests there are removed.

    Returns:
        For each study the number of its items that are analysed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.webp"), *folder.glob("*.json")]:
        old.unlink()
    counts = {}
    for name, draw in SETS.items():
        manifest = draw(folder)
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        counts[name] = len(manifest["main"])
    return counts
