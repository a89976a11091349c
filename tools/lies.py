"""Make what chapter 8's second page reads: which methods each lie fools, and which tests find it out.

    python tools/lies.py            write chapters/08_gradcam_lies/lies.json (some minutes)

RISE, LIME, SmoothGrad and Score-CAM on five networks for each honest one take too long for a page; their
numbers are stored, scene by scene. A test makes those of some scenes again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from xai_lib import (
    PHOTOS,
    deletion,
    grad_cam,
    grad_cam_plus_plus,
    gradient,
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
from xai_lib import models as networks
from xai_lib._lie_tables import LieTables
from xai_lib.manipulation import audit, contrast
from xai_lib.randomisation import randomised

FILE = Path(__file__).resolve().parent.parent / "chapters" / "08_gradcam_lies" / "lies.json"
SCENES, SEED = 8, 83
LIES = ("T1", "T2", "T3", "T4")
SMALL = ("small_vgg", "small_gap")
REAL = "efficientnet_lite0"
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


def above_lowest(maps: Tensor) -> Tensor:
    return maps - maps.amin((1, 2), keepdim=True)


def moved_heat(a: Tensor, b: Tensor) -> list[float]:
    """Share of the heat of maps (N, h, w), not negative, that lies elsewhere; 1 if one of two is blank."""
    wide = [m.flatten(1).double() for m in (a, b)]
    shares = [m / m.sum(1, keepdim=True).clamp(min=1e-300) for m in wide]
    moved = (shares[0] - shares[1]).abs().sum(1) / 2
    blank = (wide[0].sum(1) == 0) != (wide[1].sum(1) == 0)
    return torch.where(blank, 1.0, moved).tolist()


def in_double(explain: Explain) -> Explain:
    """Of a copy of the network in double precision."""

    def explained(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        return explain(copy.deepcopy(model).double(), x.double(), target)

    return explained


def cells(explain: Callable, against: str | None = None) -> Explain:
    """A method of the Grad-CAM family on the layer's own cells, of the logit or against the others."""

    def explained(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        asked = contrast(model, against) if against else model
        return explain(asked, x, target, layer=model.cam_layer, upsample=False)

    return explained


def methods(side: int) -> dict[str, Explain]:
    """Each method as a function to maps (N, h, w) without negative values."""

    def seeded() -> dict:
        return {"generator": torch.Generator().manual_seed(0)}

    window = side // 7
    return {
        "Grad-CAM": cells(grad_cam),
        "Grad-CAM++": cells(grad_cam_plus_plus),
        "XGrad-CAM": cells(xgrad_cam),
        "HiResCAM": cells(hires_cam),
        "LayerCAM": cells(layer_cam),
        "Score-CAM": cells(score_cam),
        "gradient": lambda m, x, y: to_heatmap(gradient(m, x, y)),
        "SmoothGrad": lambda m, x, y: to_heatmap(smooth_grad(m, x, y, n_samples=16, **seeded())),
        "integrated gradients": lambda m, x, y: to_heatmap(integrated_gradients(m, x, y, n_steps=16)),
        "Grad-CAM against the mean": cells(grad_cam, "mean"),
        "Grad-CAM of log-softmax": cells(grad_cam, "softmax"),
        "Grad-CAM against the rest": cells(grad_cam, "rest"),
        "… the mean, double precision": in_double(cells(grad_cam, "mean")),
        "… log-softmax, double precision": in_double(cells(grad_cam, "softmax")),
        "… the rest, double precision": in_double(cells(grad_cam, "rest")),
        "occlusion": lambda m, x, y: occlusion(m, x, y, window=window, stride=window).clamp(min=0),
        "LIME": lambda m, x, y: lime(m, x, y, n_samples=128, **seeded()).clamp(min=0),
        "RISE": lambda m, x, y: above_lowest(rise(m, x, y, n_masks=128, **seeded())),
    }


def pictures(name: str) -> Tensor:
    if name == REAL:
        return torch.cat([load_photo(photo) for photo in PHOTOS])
    return shapes(SCENES, seed=SEED).images


def cast(name: str) -> tuple[nn.Module, dict[str, nn.Module], dict[str, Tensor]]:
    """A network, the same telling each lie as well as it can, and the pictures of each lie."""
    model = load_model(name)
    told = LieTables(model, exact=True, repair=name != REAL)
    liars = dict(zip(LIES, told.liars.values(), strict=True))
    for liar in liars.values():
        liar.cam_layer, liar.size = model.cam_layer, model.size
    x = pictures(name)
    stuck = told.with_stickers(x)
    return model, liars, {lie: stuck if lie == "T4" else x for lie in LIES}


@torch.no_grad()
def own(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).argmax(1)


def fooled(name: str, method: str, some: slice = slice(None)) -> dict[str, list[float]]:
    """Of each lie, the share of the method's heat that it moves, picture by picture."""
    model, liars, x = cast(name)
    explain, found, honest = methods(model.size)[method], {}, {}
    for lie, liar in liars.items():
        moved = []
        for i, image in enumerate(x[lie].split(1)):
            if i not in range(*some.indices(len(x[lie]))):
                continue
            y, key = own(model, image), (i, lie == "T4")
            if key not in honest:
                honest[key] = explain(model, image, y)
            moved += moved_heat(honest[key], explain(liar, image, y))
        found[lie] = [round(value, 4) for value in moved]
    return found


# -------------------------------------------------------------------------- tests without the honest network


def tests(side: int) -> dict[str, Callable[[nn.Module, Tensor, Tensor], list[float]]]:
    """Each test as a function to one suspicion a picture; larger is more suspicious."""
    known, cam = methods(side), cells(grad_cam)

    def beside(other: str) -> Callable:
        def asked(model: nn.Module, x: Tensor, y: Tensor) -> list[float]:
            maps = known[other](model, x, y)
            if maps.shape[-1] > 14:
                maps = nn.functional.adaptive_avg_pool2d(maps[:, None], cam(model, x[:1], y[:1]).shape[1:])[
                    :, 0
                ]
            return moved_heat(cam(model, x, y), maps)

        return asked

    def same_for_other_pictures(model: nn.Module, x: Tensor, y: Tensor) -> list[float]:
        maps = cam(model, x, y)
        return [-v for v in moved_heat(maps, maps.roll(1, 0))]

    def same_for_another_class(model: nn.Module, x: Tensor, y: Tensor) -> list[float]:
        second = model(x).scatter(1, y[:, None], -torch.inf).argmax(1)
        return [-v for v in moved_heat(cam(model, x, y), cam(model, x, second))]

    def same_with_other_weights(model: nn.Module, x: Tensor, y: Tensor) -> list[float]:
        """After the last layer, drawn anew; the better of two draws, as one may turn a sign."""
        maps, moved = cam(model, x, y), []
        for seed in range(2):
            _, other = next(randomised(model, generator=torch.Generator().manual_seed(seed)))
            moved.append(moved_heat(maps, cam(other, x, y)))
        return [-min(pair) for pair in zip(*moved, strict=True)]

    def deletes_no_better(model: nn.Module, x: Tensor, y: Tensor) -> list[float]:
        maps = grad_cam(model, x, y, layer=model.cam_layer)
        order = torch.rand(maps.shape, generator=torch.Generator().manual_seed(0))
        order = nn.functional.avg_pool2d(order, 16).repeat_interleave(16, 1).repeat_interleave(16, 2)
        curves = deletion(model, x, y, torch.stack([maps, order.to(maps)], 1), steps=12, fill="blur")
        return (curves.auc[:, 0] - curves.auc[:, 1]).tolist()

    return {
        "Grad-CAM beside Grad-CAM against the mean": beside("… the mean, double precision"),
        "Grad-CAM beside HiResCAM": beside("HiResCAM"),
        "Grad-CAM beside occlusion": beside("occlusion"),
        "the same map for the next picture": same_for_other_pictures,
        "the same map for the second class": same_for_another_class,
        "the same map with the last layer drawn anew": same_with_other_weights,
        "deletion no better than a random order": deletes_no_better,
    }


def merged(name: str) -> dict[str, nn.Module]:
    """The lies as published: one linear layer, whose weights can be drawn anew."""
    model = load_model(name)
    liars = dict(zip(LIES, LieTables(model, repair=name != REAL).liars.values(), strict=True))
    for liar in liars.values():
        liar.cam_layer, liar.size = model.cam_layer, model.size
    return liars


def suspicion(name: str, test: str) -> dict[str, list[float]]:
    """Of the honest network (with the sticker too) and of each liar, how suspicious each picture looks."""
    model, _, x = cast(name)
    ask, found = tests(model.size)[test], {}
    everyone = {"honest": (model, x["T1"]), "honest, sticker": (model, x["T4"])}
    everyone |= {lie: (liar, x[lie]) for lie, liar in merged(name).items()}
    for who, (asked, images) in everyone.items():
        with torch.no_grad():
            found[who] = [round(value, 4) for value in ask(asked, images, own(model, images))]
    return found


# ------------------------------------------------------------------------------------- looks at the network

UNTRAINED = (
    "vgg11",
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "efficientnet_b0",
    "squeezenet1_1",
    "regnet_y_400mf",
)


def audited() -> dict[str, dict[str, list[str]]]:
    """Kinds of findings: of honest networks, of untrained ones, and of every liar, as published and exact."""
    found: dict[str, dict[str, list[str]]] = {"honest": {}, "untrained": {}, "lies": {}}
    for name in (*networks.SHIPPED, REAL):
        model, x = load_model(name), pictures(name)
        found["honest"][name] = _kinds(model, x, model.cam_layer)
        if name.startswith("clever"):
            continue
        _, exact, _ = cast(name)
        for form, liars in (("as published", merged(name)), ("two terms", exact)):
            for lie, liar in liars.items():
                found["lies"][f"{name}, {lie}, {form}"] = _kinds(liar, x, model.cam_layer)
    noise = torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    for name in UNTRAINED:
        torch.manual_seed(0)
        net = torchvision.models.get_model(name, weights=None).eval()
        layer = "features.12" if name.startswith("squeeze") else networks._landmarks(name, net)[0]
        found["untrained"][name] = _kinds(net, noise, layer)
    return found


def _kinds(model: nn.Module, x: Tensor, layer: str) -> list[str]:
    return sorted({finding.kind for finding in audit(model, x, layer=layer)})


def main() -> None:
    stored: dict = {"audit": audited(), "fooled": {}, "suspicion": {}}
    print(json.dumps(stored["audit"], indent=0), flush=True)
    for name in (*SMALL, REAL):
        side = load_model(name).size
        for method in methods(side):
            if name == REAL and method == "Score-CAM":
                continue  # 1280 masks for each of 4 photographs, 6 times
            stored["fooled"].setdefault(name, {})[method] = found = fooled(name, method)
            print(name, method, {k: round(sum(v) / len(v), 3) for k, v in found.items()}, flush=True)
        for test in tests(side):
            stored["suspicion"].setdefault(name, {})[test] = found = suspicion(name, test)
            print(name, test, {k: round(sum(v) / len(v), 3) for k, v in found.items()}, flush=True)
    FILE.write_text(
        json.dumps(stored, indent=None, separators=(",", ":"), ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
