"""Pack `clever_hans` for the page: its weights, in half the bytes as they are shipped, in a script.

    python tools/pack_network.py

The explorer "The tag" loads `xai_course/static/explorers/clever_hans.js` when it is first used; a script,
since a page that was opened as a file may load no other data. Nothing is rounded: the weights are stored in
half precision to begin with. A test makes the file again and compares.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from xai_lib.models import load_model

NAME = "clever_hans"
FILE = Path(__file__).parent.parent / "xai_course" / "static" / "explorers" / f"{NAME}.js"


def packed(name: str = NAME) -> str:
    """The script: what `window.sinb.network` takes, under `window.sinb.weights`."""
    model = load_model(name)
    convolutions, numbers = [], []
    for layer in model.features:
        if isinstance(layer, nn.Conv2d):
            convolutions.append([layer.out_channels, False])
            numbers += [layer.weight.permute(0, 2, 3, 1), layer.bias]  # (K, C, 3, 3) → (K, 3, 3, C)
        elif isinstance(layer, nn.MaxPool2d):
            convolutions[-1][1] = True
    first, _, last = model.classifier
    channels = convolutions[-1][0]
    side = int((first.in_features // channels) ** 0.5)
    by_place = first.weight.unflatten(1, (channels, side, side)).permute(0, 2, 3, 1)  # (h, y, x, C)
    numbers += [by_place, first.bias, last.weight, last.bias]
    facts = {
        "size": 16 * side,
        "labels": model.labels,
        "mean": model.normalize.mean.flatten().tolist(),
        "deviation": model.normalize.std.flatten().tolist(),
        "convolutions": convolutions,
        "hidden": first.out_features,
        "weights": base64.b64encode(_halves(numbers)).decode(),
    }
    return (
        f"// The weights of {name}, for network.js. Made by tools/pack_network.py: do not edit.\n"
        "(() => {\n"
        f"(window.sinb.weights ||= {{}}).{name} = {json.dumps(facts)};\n"
        "})();\n"
    )


def _halves(numbers: list[Tensor]) -> bytes:
    flat = torch.cat([n.detach().flatten() for n in numbers]).numpy()
    halves = flat.astype("<f2")
    if not np.array_equal(halves.astype(np.float32), flat):
        raise ValueError("the weights must be half-precision numbers, as they are shipped, got others")
    return halves.tobytes()


if __name__ == "__main__":
    FILE.write_text(packed(), encoding="utf-8")
    print(f"{FILE.name}: {FILE.stat().st_size / 1e6:.2f} MB")
