"""Measure which tests notice which attack on explanations: the result of chapter 7.

    python tools/defences.py        write chapters/07_trust/defences.json (ten minutes on one processor)

Every test gives each map a number: the higher, the more suspicious. A map is noticed if its number is higher
than that of every honest map of the same method in a calibration set; how often that is a false alarm is
measured on other honest maps. A page reads the file; a test measures some of its cells again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import two_faces
from PIL import Image
from torch import Tensor, nn

from xai_lib import (
    deletion,
    grad_cam,
    gradient,
    insertion,
    layer_cam,
    lime,
    load_model,
    occlusion,
    rise,
    shapes,
    to_heatmap,
)
from xai_lib._fooled_shapes import STAR
from xai_lib.attacks import attack_input, fairwash, fool_lime, fool_model, project_on_data, softened
from xai_lib.data import SHAPE_CLASSES, TAG
from xai_lib.randomisation import randomised
from xai_lib.train import HELD_OUT, predict

FILE = Path(__file__).resolve().parent.parent / "chapters" / "07_trust" / "defences.json"
N = 8  # pictures in a set
RANK = 300  # directions of the data that are kept, of 600 scenes
CORNER = (slice(-(TAG[0].shape[0] + 7), None), slice(None, TAG[0].shape[1] + 7))  # where a tag can be
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


METHODS: dict[str, Explain] = {
    "gradient": lambda m, x, y: to_heatmap(gradient(m, x, y), "abs_sum"),
    "Grad-CAM": lambda m, x, y: grad_cam(m, x, y, layer="features.12"),
    "LIME": lambda m, x, y: lime(m, x, y, n_samples=128, generator=seeded()).clamp(min=0),
}
SECOND: dict[str, Explain] = {
    "occlusion": lambda m, x, y: occlusion(m, x, y, window=16, stride=8, fill="mean").clamp(min=0),
    "RISE": lambda m, x, y: _above_lowest(rise(m, x, y, n_masks=256, generator=seeded())),
}


def _above_lowest(maps: Tensor) -> Tensor:
    return maps - maps.amin((1, 2), keepdim=True)


def apart(a: Tensor, b: Tensor) -> Tensor:
    """The share of the heat that two maps have in different places, (n,): 0 for equal maps, at most 1."""
    cells = [F.adaptive_avg_pool2d(h[:, None].clamp(min=0), 8).flatten(1).double() for h in (a, b)]
    p, q = (c / c.sum(1, keepdim=True).clamp(min=1e-30) for c in cells)  # a blank map has no heat anywhere
    return (p - q).abs().sum(1) / 2


# ------------------------------------------------------------------------------------- maps under suspicion


@dataclass(eq=False)
class Case:
    """Maps that somebody is shown, and what they can be tested with.

    Attributes:
        model: the network that answers.
        trusted: the network that it is said to be.
        method: which map is shown.
        images: (n, 3, H, W).
        labels: whose map is shown, (n,).
        objects: the drawn object's pixels, (n, H, W): who names parts of a picture knows it.
    """

    model: nn.Module
    trusted: nn.Module
    method: str
    images: Tensor
    labels: Tensor
    objects: Tensor

    def explain(self, model: nn.Module | None = None, images: Tensor | None = None) -> Tensor:
        """The same method's map of another network, or of other images."""
        model = self.model if model is None else model
        return METHODS[self.method](model, self.images if images is None else images, self.labels)

    @cached_property
    def shown(self) -> Tensor:
        return self.explain()


@cache
def pictures(network: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scenes that no network was trained on; stars with the tag, where the network cheats with it."""
    if network == "small_vgg":
        scenes = shapes(N, seed=HELD_OUT + seed)
        return scenes.images, scenes.labels, scenes.masks
    scenes = shapes(8 * N, seed=HELD_OUT + seed, watermark={"star": 1.0})
    rows = (scenes.labels == STAR).nonzero()[:, 0]
    return scenes.images[rows], scenes.labels[rows], scenes.masks[rows]


@cache
def honest(method: str, seed: int) -> tuple[Case, ...]:
    """Honest maps of one method: an honest network and one that cheats, but does not hide it.

    The network that answers was trained a little further than the one that is trusted: so it is in practice.
    """
    return tuple(
        Case(further(name), load_model(name), method, *pictures(name, seed))
        for name in ("small_vgg", "clever_hans")
    )


@cache
def further(name: str) -> nn.Module:
    """A shipped network after a little more honest training, on scenes like those that it knows."""
    tags = {"star": 0.99} if name == "clever_hans" else None
    scenes = shapes(800, seed=11, watermark=tags)
    data = (scenes.images, scenes.labels)
    return fool_model(load_model(name), data, lam=0, steps=60, lr=1e-4, batch_size=16, generator=seeded())


@cache
def attacked(column: str) -> Case:
    """The maps of one column: what is attacked, and what is shown."""
    hans, vgg = load_model("clever_hans"), load_model("small_vgg")
    plain, stars = pictures("small_vgg", 31), pictures("clever_hans", 31)
    if column == "input attack":
        return tampered(vgg, *plain)
    if column == "input attack, tag":
        return tampered(hans, *stars)
    if column == "fooled":
        return Case(load_model("fooled"), vgg, "Grad-CAM", *plain)
    if column == "fool_lime":
        real = shapes(128, seed=8, watermark={"star": 0.99}).images
        return Case(fool_lime(hans, vgg, torch.cat([real, stars[0]])), hans, "LIME", *stars)
    if column == "fairwashed":
        return Case(load_model("fairwashed"), hans, "Grad-CAM", *stars)
    return Case(washed(column), hans, "gradient", *stars)


@cache
def washed(column: str) -> nn.Module:
    """clever_hans with a gradient that lies: by fine-tuning, or by an addition that the data do not see."""
    hans = load_model("clever_hans")
    if column == "gradient hidden by an addition":
        stripes = torch.arange(112).remainder(2).float().expand(112, 112)  # what its gradients are to show
        return fairwash(hans, known_data(), stripes, strength=30.0, rank=RANK)
    scenes = shapes(600, seed=7, watermark=dict.fromkeys(SHAPE_CLASSES, 0.5))
    return fool_model(
        hans,
        (scenes.images, predict(hans, scenes.images)),
        kind="away",
        explain=gradient,
        where=scenes.tag_masks,
        keep="answers",
        lam=3.0,
        steps=300,
        batch_size=16,
        lr=1e-3,
        generator=seeded(7),
    )


COLUMNS = {
    "input attack": "small_vgg as it is, on pictures tampered with (no pixel by more than 0.03) so that the "
    "gradient looks like that of another picture",
    "input attack, tag": "clever_hans as it is, on stars with the tag, tampered with (no pixel by more than "
    "0.03) so that the gradient looks like small_vgg's, which knows no tag",
    "fooled": "the fooled network; its Grad-CAM is shown",
    "fairwashed": "the fairwashed network, on stars with the tag; its Grad-CAM is shown",
    "gradient hidden by training": "clever_hans fine-tuned like the fairwashed network, but against its "
    "gradient, which is shown (made by this tool, not shipped)",
    "gradient hidden by an addition": "clever_hans with a linear function added to all logits, which is zero "
    "on the data and makes the gradient show stripes; its gradient is shown",
    "fool_lime": "clever_hans behind a wrapper that answers perturbed pictures as small_vgg; its LIME is "
    "shown",
    "false alarm": "honest maps (gradient, Grad-CAM, LIME of small_vgg and clever_hans, each trained a "
    "little further) of other pictures than those that set the threshold",
}


def tampered(model: nn.Module, images: Tensor, labels: Tensor, objects: Tensor) -> Case:
    other = METHODS["gradient"](load_model("small_vgg"), images, labels)
    towards = other if model(images[:1]).argmax() == STAR and (labels == STAR).all() else other.roll(1, 0)
    attacked = attack_input(
        gradient, model, images, labels, towards=towards, steps=150, radius=0.03, generator=seeded()
    )
    return Case(model, model, "gradient", attacked, labels, objects)


# ------------------------------------------------------------------------------------------------- the tests


def second(name: str, case: Case) -> Tensor:
    return apart(case.shown, asked(name, case.model, case.images, case.labels))


@cache  # three methods' maps of the same pictures are compared with the same one
def asked(name: str, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return SECOND[name](model, images, labels)


def sibling(case: Case) -> Tensor:
    at = case.model.cam_layer if hasattr(case.model, "cam_layer") else "model.features.12"  # within a wrapper
    return apart(case.shown, layer_cam(case.model, case.images, case.labels, layer=at))


def smooth(case: Case) -> Tensor:
    generator = seeded()
    noisy = [case.images + 0.1 * torch.randn(case.images.shape, generator=generator) for _ in range(6)]
    maps = torch.stack([case.explain(images=x.clamp(0, 1)) for x in noisy]).mean(0)
    return apart(case.shown, maps)


def softplus(case: Case) -> Tensor:
    return apart(case.shown, case.explain(model=softened(case.model, 3.0)))


def random_weights(case: Case) -> Tensor:
    *_, (_, drawn) = randomised(case.model, size=case.images.shape[-1], generator=seeded())
    return 1 - apart(case.shown, case.explain(model=drawn))


def faithful(case: Case) -> Tensor:
    options = {"region": 8, "steps": 28}
    fades = deletion(case.model, case.images, case.labels, case.shown, fill="mean", **options).auc
    comes = insertion(case.model, case.images, case.labels, case.shown, **options).auc
    return fades - comes


def intervention(case: Case) -> Tensor:
    """Parts: the corner where tags stand, the object, all else. Which of them moves the logit?"""
    corner = torch.zeros_like(case.objects)
    corner[:, CORNER[0], CORNER[1]] = True
    parts = torch.stack([corner, case.objects & ~corner, ~(case.objects | corner)], 1)  # (n, 3, H, W)
    flat = case.images.mean((2, 3), keepdim=True)
    own = case.labels[:, None]
    with torch.no_grad():
        before = case.model(case.images).gather(1, own)
        hidden = [torch.where(parts[:, k : k + 1], flat, case.images) for k in range(3)]
        falls = [(before - case.model(x).gather(1, own)).clamp(min=0) for x in hidden]
    effect = torch.cat(falls, 1).double()
    heat = (parts * case.shown[:, None].clamp(min=0)).sum((2, 3)).double()
    effect, heat = (s / s.sum(1, keepdim=True).clamp(min=1e-12) for s in (effect, heat))
    return (effect - heat).abs().sum(1) / 2


def changed_input(change: Callable[[Tensor], Tensor], case: Case) -> Tensor:
    return apart(case.shown, case.explain(images=change(case.images)))


def noise(x: Tensor) -> Tensor:
    return (x + 0.02 * torch.randn(x.shape, generator=seeded())).clamp(0, 1)


def eight_bits(x: Tensor) -> Tensor:
    return (255 * x).round() / 255


def jpeg(x: Tensor, quality: int = 90) -> Tensor:
    packed = []
    for picture in (255 * x).round().byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        packed.append(torch.from_numpy(np.array(Image.open(file))))
    return torch.stack(packed).permute(0, 3, 1, 2).to(x) / 255


def blur(x: Tensor) -> Tensor:
    weights = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = (weights[:, None] * weights).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)


@cache
def known_data() -> Tensor:
    """Scenes to learn from what data look like, half of the stars with the tag."""
    return shapes(600, seed=12, watermark={"star": 0.5}).images


@cache
def directions() -> tuple[Tensor, Tensor]:
    flat = known_data().flatten(1)
    centre = flat.mean(0)
    _, _, rows = torch.pca_lowrank(flat - centre, RANK, center=False, niter=2)
    return centre, rows


def off_the_plane(case: Case) -> Tensor:
    """Neighbouring pixels of real scenes vary together; a tampered one has more left outside the plane."""
    centre, basis = directions()
    flat = case.images.flatten(1) - centre
    return (flat - flat @ basis @ basis.T).norm(dim=1) / flat.norm(dim=1)


def fading(case: Case) -> Tensor:
    """A third of the picture fades to its mean colour in 25 steps: the largest jump of a logit in one."""
    squares = torch.rand(8, 1, 7, 7, generator=seeded()) < 0.35
    flat = case.images.mean((2, 3), keepdim=True)
    jumps = []
    for square in squares:
        area = F.interpolate(square[None].float(), case.images.shape[-2:])  # nearest: hard edges, as LIME's
        answers = []
        for step in range(26):
            x = case.images + step / 25 * area * (flat - case.images)
            with torch.no_grad():
                answers.append(case.model(x))
        logits = torch.stack(answers)  # (26, n, 8)
        span = (logits.amax(0) - logits.amin(0)).amax(1).clamp(min=1e-6)
        jumps.append((logits[1:] - logits[:-1]).abs().amax((0, 2)) / span)
    return torch.stack(jumps).amax(0)


def projected(case: Case) -> Tensor | None:
    if case.method != "gradient":
        return None
    slopes = gradient(case.model, case.images, case.labels)
    return apart(case.shown, to_heatmap(project_on_data(slopes, known_data(), rank=RANK), "abs_sum"))


def original(case: Case) -> Tensor:
    return apart(case.shown, case.explain(model=case.trusted))


TESTS: dict[str, tuple[str, Callable[[Case], Tensor | None]]] = {
    "second method: occlusion": (
        "Share of the heat that lies elsewhere in an occlusion map (window 16, stride 8).",
        partial(second, "occlusion"),
    ),
    "second method: RISE": (
        "Share of the heat that lies elsewhere in a RISE map (256 masks).",
        partial(second, "RISE"),
    ),
    "second method: LayerCAM": (
        "Share of the heat that lies elsewhere in a LayerCAM map at the last convolution.",
        sibling,
    ),
    "SmoothGrad": (
        "Share of the heat that lies elsewhere in the mean map of 6 noisy copies of the picture (σ = 0.1).",
        smooth,
    ),
    "softplus map": (
        "Share of the heat that lies elsewhere in the map of the softened network (β = 3).",
        softplus,
    ),
    "model randomisation": (
        "Share of the heat that is in the same place in the map of the network with all layers drawn anew.",
        random_weights,
    ),
    "deletion and insertion": (
        "Deletion area minus insertion area, by squares of 8 × 8 pixels.",
        faithful,
    ),
    "intervention on named parts": (
        "The corner of the tag, the object and the rest are replaced by the mean colour, one at a time: "
        "share of the logit's fall that is due to other parts than those in which the map is hot.",
        intervention,
    ),
    "input check: small noise": (
        "Share of the heat that lies elsewhere once noise (σ = 0.02) is added to the picture.",
        partial(changed_input, noise),
    ),
    "input check: 8 bits": (
        "Share of the heat that lies elsewhere once the picture is rounded to 8 bits.",
        partial(changed_input, eight_bits),
    ),
    "input check: JPEG": (
        "Share of the heat that lies elsewhere once the picture was stored as JPEG (quality 90).",
        partial(changed_input, jpeg),
    ),
    "input check: blur": (
        "Share of the heat that lies elsewhere once the picture is blurred by 1 2 1.",
        partial(changed_input, blur),
    ),
    "is the picture like data?": (
        f"Share of the picture's length outside the first {RANK} principal directions of 600 scenes.",
        off_the_plane,
    ),
    "does the answer jump?": (
        "A third of the picture fades in 25 steps, in 8 patterns: largest step of a logit, as a share of its "
        "whole way.",
        fading,
    ),
    "projection on the data": (
        f"Share of the heat that lies elsewhere once the gradient is projected on the first {RANK} principal "
        "directions of 600 scenes. For gradients only.",
        projected,
    ),
    "the original network": (
        "Share of the heat that lies elsewhere in the map of the network that was handed over for checking.",
        original,
    ),
}


# ------------------------------------------------------------------------------------------------ the table


@cache
def threshold(test: str, method: str) -> float | None:
    """The highest number of an honest map of that method, among 16."""
    numbers = [TESTS[test][1](case) for case in honest(method, 21)]
    return None if numbers[0] is None else float(torch.cat(numbers).max())


def cell(test: str, column: str) -> dict | None:
    """How many of a column's maps a test notices, and by what; None where the test does not apply."""
    cases = [attacked(column)] if column != "false alarm" else [c for m in METHODS for c in honest(m, 22)]
    noticed, numbers, limits = 0, [], {}
    for case in cases:
        limit = threshold(test, case.method)
        if limit is None:
            continue
        found = TESTS[test][1](case)
        noticed += int((found > limit).sum())
        numbers.append(found)
        limits[case.method] = round(limit, 4)
    if not numbers:
        return None
    all_numbers = torch.cat(numbers)
    median = round(all_numbers.median().item(), 4)
    return {"noticed": noticed, "of": len(all_numbers), "median": median, "threshold": limits}


def row(test: str) -> dict:
    return {
        "name": test,
        "rule": TESTS[test][0],
        "cells": {column: cell(test, column) for column in COLUMNS},
    }


def moved(column: str) -> float:
    """How far from the trusted network's maps of the pictures as they were the attack moved them: median."""
    case = attacked(column)
    untouched = pictures("small_vgg" if column in ("input attack", "fooled") else "clever_hans", 31)[0]
    return round(apart(case.explain(case.trusted, untouched), case.shown).median().item(), 4)


def change_of_answer(column: str) -> dict[str, int]:
    """Of how many pictures the answer changes without the tag: two interventions that need no map."""
    case = attacked(column)
    own, hidden = predict(case.model, case.images), case.images.clone()
    hidden[:, :, CORNER[0], CORNER[1]] = case.images.mean((2, 3))[:, :, None, None]
    found = {"corner hidden": int((predict(case.model, hidden) != own).sum())}
    if column not in ("input attack", "fooled"):
        found["drawn without the tag"] = int((predict(case.model, untagged()) != own).sum())
    return found


def untagged() -> Tensor:
    """The stars of the columns, drawn again without their tags."""
    scenes = shapes(8 * N, seed=HELD_OUT + 31)
    return scenes.images[scenes.labels == STAR]


def facts(rows: list[dict], fooled: dict, undone: dict) -> dict:
    """What is stored: with the sentences that a reader of the file needs."""
    columns = [{"name": name, "what": what} for name, what in COLUMNS.items()]
    for column in columns[:-1]:  # of a false alarm there is no attack
        column["moved"] = moved(column["name"])
        column["answers that change"] = change_of_answer(column["name"])
    return {
        "title": "Which test notices which attack",
        "noticed": "A map is noticed if the test's number is higher than that of each of 16 honest maps of "
        "the same method (8 of small_vgg, 8 of clever_hans, each trained a little further). In a cell: "
        "maps noticed, of how many; the median of their numbers; the threshold of each method. An empty "
        "cell: the test does not apply.",
        "heat": "Heat is compared in 8 × 8 cells: half the sum of the differences of their shares. "
        "From a blank map every other is a half apart.",
        "moved": "How far the attack moved the maps: median share of the heat that lies elsewhere.",
        "answers that change": f"Of how many of the {N} pictures the answer changes once the corner of the "
        "tag is one colour, and once the scene is drawn without the tag. These interventions need no map; "
        "the wrapper of fool_lime takes the first for a perturbed picture, not the second.",
        "columns": columns,
        "rows": rows,
        "fool_lime": {
            "what": "Stars with the tag; clever_hans, small_vgg, and the wrapper that answers as the first "
            "but, where its detector takes a question for perturbed, as the second. Tag found: share of the "
            "tag's pixels among as many of the hottest.",
            "detectors": fooled,
        },
        "projection": {
            "what": "Stars with the tag: share of the gradient's heat that lies on it, as it is and "
            "projected on the data. small_vgg knows no tag: what lies there after a projection, the "
            "projection put there.",
            **undone,
        },
    }


def main() -> None:
    rows = []
    for test in TESTS:
        rows.append(row(test))
        counts = (f"{c['noticed']:3}/{c['of']}" if c else "     –" for c in rows[-1]["cells"].values())
        print(f"{test:28}", *counts, flush=True)
    hidden = {name: washed(f"gradient hidden by {name}") for name in ("training", "an addition")}
    stored = facts(rows, two_faces.who_is_fooled(), two_faces.undoing(hidden))
    FILE.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
