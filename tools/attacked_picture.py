"""Make the photographs of chapter 7 that look alike, are answered alike, and have two maps.

    python tools/attacked_picture.py             write chapters/07_trust/pair_*.webp and pair.json (minutes)
    python tools/attacked_picture.py measure     write pair.json again, of the files that are there

Of each photograph two files of 8 bits a channel, without loss: as it is, and attacked
(``xai_lib.attacks.attack_input``, which knows of the rounding). The explanation is the gradient of the logit
of EfficientNet-lite0's own answer, its magnitudes summed over channels; the attack pulls the heat into a
corner, where there is nothing of the object. ``pair.json`` holds what came of it, measured on the files:
``tests/book/test_attacked_picture.py`` measures it again.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from xai_lib import grad_cam, gradient, gradient_x_input, load_model, load_photo, smooth_grad
from xai_lib.attacks import attack_input, softened

FOLDER = Path(__file__).resolve().parent.parent / "chapters" / "07_trust"
CENTRES = {"cat": (40, 184), "coffee": (184, 40)}  # row and column to which the heat is pulled
WIDTH, FLOOR = 28.0, 0.1  # of the target, in pixels; and its height elsewhere, as a share
STEPS, ALIKE, RADIUS, KEEP = 240, 0.97, 8 / 255, 1.0


def file(name: str, attacked: bool) -> Path:
    return FOLDER / f"pair_{name}{'_attacked' if attacked else ''}.webp"


def stored(name: str, attacked: bool = False) -> Tensor:
    """A stored photograph, (1, 3, 224, 224), multiples of 1/255."""
    levels = np.array(Image.open(file(name, attacked)).convert("RGB"))
    return torch.from_numpy(levels).permute(2, 0, 1)[None].float() / 255


def store(image: Tensor, path: Path) -> None:
    levels = (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(levels).save(path, lossless=True, quality=100, method=6)


def corner(name: str) -> Tensor:
    """The map to arrive at, (1, 224, 224): a soft spot."""
    row, column = (torch.arange(224.0) - c for c in CENTRES[name])
    spot = torch.exp(-(row[:, None].square() + column.square()) / (2 * WIDTH**2))
    return (FLOOR + spot)[None]


def heat(model: nn.Module, x: Tensor, target: Tensor | None = None) -> Tensor:
    return gradient(model, x, target).abs().sum(1)


def attacked(model: nn.Module, name: str, steps: int = STEPS) -> Tensor:
    x = (load_photo(name) * 255).round() / 255
    return attack_input(
        gradient,
        model,
        x,
        towards=corner(name),
        steps=steps,
        radius=RADIUS,
        alike=ALIKE,
        step_size=0.1 * RADIUS,
        keep=KEEP,
        levels=255,
        generator=torch.Generator().manual_seed(0),
        progress=sys.stderr.isatty(),
    )


def correlation(a: Tensor, b: Tensor) -> float:
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()


def as_jpeg(image: Tensor, quality: int = 90) -> Tensor:
    file = io.BytesIO()
    levels = (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(levels).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None].float() / 255


def elsewhere(model: nn.Module, x: Tensor, other: Tensor, target: Tensor) -> dict[str, list[Tensor]]:
    """Maps of both pictures that the attack was not made for."""

    def smooth_grads(image: Tensor) -> Tensor:
        draws = torch.Generator().manual_seed(0)
        return smooth_grad(model, image, target, n_samples=16, generator=draws).abs().sum(1)

    smooth, pair = softened(model, 3.0), (x, other)
    return {
        "gradient x input": [gradient_x_input(model, image, target).abs().sum(1) for image in pair],
        "softplus of sharpness 3": [heat(smooth, image, target) for image in pair],
        "SmoothGrad": [smooth_grads(image) for image in pair],
        "Grad-CAM": [grad_cam(model, image, target, layer=model.cam_layer) for image in pair],
        "gradient, after JPEG of quality 90": [heat(model, as_jpeg(image), target) for image in pair],
    }


def measured(model: nn.Module, name: str) -> dict[str, object]:
    """What is true of a pair, on its files."""
    x, other, goal = stored(name), stored(name, attacked=True), corner(name)
    with torch.no_grad():
        logits, moved = model(x), model(other)
    target = logits.argmax(1)
    clean, turned = heat(model, x, target), heat(model, other, target)
    inside = goal[0] > FLOOR + 0.5  # half the height of the spot
    share = [(m[0][inside].sum() / m.sum()).item() for m in (clean, turned)]
    pictures = [picture[0].permute(1, 2, 0).numpy() for picture in (x, other)]
    numbers = {
        "probability": logits.softmax(1)[0, target].item(),
        "probability, attacked": moved.softmax(1)[0, target].item(),
        "largest change of a logit": (moved - logits).abs().max().item(),
        "structural similarity": float(
            structural_similarity(*pictures, win_size=7, channel_axis=2, data_range=1.0)
        ),
        "root mean square change in levels": ((other - x) * 255).square().mean().sqrt().item(),
        "correlation of the two maps": correlation(clean, turned),
        "correlation with the spot": correlation(clean, goal),
        "correlation with the spot, attacked": correlation(turned, goal),
        "share of the heat in the spot": share[0],
        "share of the heat in the spot, attacked": share[1],
        "share of the area in the spot": inside.float().mean().item(),
    }
    for kind, (before, after) in elsewhere(model, x, other, target).items():
        numbers[f"correlation with the spot, {kind}"] = correlation(before, goal)
        numbers[f"correlation with the spot, attacked, {kind}"] = correlation(after, goal)
    return {
        "answer": model.labels[target],
        "answer, attacked": model.labels[moved.argmax(1)],
        "largest change in levels": round(((other - x) * 255).abs().max().item()),
        **{key: round(value, 4) for key, value in numbers.items()},
    }


def main() -> None:
    model = load_model("efficientnet_lite0")
    for name in [] if sys.argv[1:] == ["measure"] else CENTRES:
        store((load_photo(name) * 255).round() / 255, file(name, attacked=False))
        store(attacked(model, name), file(name, attacked=True))
    facts = {name: measured(model, name) for name in CENTRES}
    (FOLDER / "pair.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
