"""The command line of ``xai_lib.manipulation``: the paper's tables, on what ships or on ImageNet.

    python -m xai_lib.manipulation                          small_vgg in both precisions, and the photographs
    python -m xai_lib.manipulation --imagenet VAL --weights vgg16.pth       torchvision's VGG-16, as the paper

Nothing is downloaded: ``--weights`` is a file with torchvision's state dict, ``--imagenet`` a folder with one
folder of pictures for each class (``n01440764/…JPEG``), the validation images of ILSVRC2012.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _model, models
from xai_lib._lie_tables import LieTables, Tables
from xai_lib.data import PHOTOS, load_photo, shapes
from xai_lib.manipulation import published_tables

PICTURES = (".jpeg", ".jpg", ".png")
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def main(arguments: list[str] | None = None) -> None:
    """Measure the tables and print them."""
    parser = argparse.ArgumentParser(
        prog="python -m xai_lib.manipulation",
        description="Tables 1 and 2 of arXiv:1907.10901, measured beside what the paper reports.",
    )
    parser.add_argument("--imagenet", type=Path, help="folder with one folder of pictures for each class")
    parser.add_argument("--weights", type=Path, help="file with torchvision's state dict (with --imagenet)")
    parser.add_argument("--architecture", default="vgg16", help="torchvision's name (default: vgg16)")
    parser.add_argument("--images", type=int, help="how many (default: 256 scenes, or the whole folder)")
    parser.add_argument("--dtype", choices=DTYPES, help="default: float32, and for what ships both")
    parser.add_argument("--exact", action="store_true", help="T1, T2: two terms, logits with every bit")
    parser.add_argument("--repair", action="store_true", help="T1, T2: through a unit that is always on")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--state", type=Path, help="file to keep sums in; a later run with the same options goes on from it"
    )
    options = parser.parse_args(arguments)
    if (options.images is not None and options.images < 1) or options.batch_size < 1:
        parser.error("--images and --batch-size must be at least 1")
    if options.imagenet is None:
        if options.weights or options.state:
            parser.error("--weights and --state go with --imagenet")
        _what_ships(options)
        return
    if options.weights is None:
        parser.error(
            f"--imagenet needs --weights, a file with torchvision's weights of {options.architecture}"
        )
    try:
        print(_imagenet(options))
    except ValueError as error:
        parser.error(str(error))


def _what_ships(options: argparse.Namespace) -> None:
    scenes = shapes(options.images or 256, seed=77)
    photographs = torch.cat([load_photo(name) for name in PHOTOS])
    data = {
        "small_vgg": (scenes.images, scenes.labels, f"{len(scenes.images)} scenes"),
        "efficientnet_lite0": (photographs, None, f"{len(PHOTOS)} photographs"),
    }
    for name, (x, labels, what) in data.items():
        for dtype in [options.dtype] if options.dtype else DTYPES:
            model = models.load_model(name, options.device).to(DTYPES[dtype])
            measured = published_tables(
                model,
                x.to(options.device, DTYPES[dtype]),
                labels,
                exact=options.exact,
                repair=options.repair,
                batch_size=options.batch_size,
            )
            print(f"{name}, {dtype}, {what}\n{measured}\n")


# ------------------------------------------------------------------------------------------------- ImageNet


def _imagenet(options: argparse.Namespace) -> Tables:
    dtype = DTYPES[options.dtype or "float32"]
    model = _torchvision(options.architecture, options.weights).to(options.device, dtype)
    files, classes = _files(options.imagenet)
    wanted = len(model.labels)
    if classes != wanted:
        print(f"{classes} folders, and the network has {wanted} classes: no labels, hence no accuracy")
    files = _spread(files, options.images)
    told = LieTables(model, layer=model.cam_layer, exact=options.exact, repair=options.repair)
    settings = {key: str(value) for key, value in vars(options).items() if key not in ("state", "device")}
    done = _resume(options.state, settings, told)
    with _model.progress_bar(len(files), "ImageNet", True) as bar:
        bar.update(done)
        for start in range(done, len(files), options.batch_size):
            part = files[start : start + options.batch_size]
            x = torch.stack([_picture(file) for file, _ in part]).to(options.device, dtype)
            labels = torch.tensor([label for _, label in part]) if classes == wanted else None
            told.add(x, labels, start)
            _keep(options.state, settings, told, start + len(part))
            bar.update(len(part))
    return told.tables()


def _torchvision(name: str, file: Path) -> models.Classifier:
    from torchvision import models as known

    if name not in known.list_models(module=known):
        raise ValueError(f"--architecture must be one of torchvision's classifiers, got {name!r}")
    if not file.is_file():
        raise ValueError(f"--weights must be a file with a state dict of {name}, there is none at {file}")
    net: nn.Module = known.get_model(name, weights=None)
    try:
        net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        raise ValueError(f"--weights must be a state dict of {name}: {str(error).splitlines()[0]}") from None
    return models._wrap(name, net.eval(), known.get_model_weights(name).DEFAULT).eval()


def _files(folder: Path) -> tuple[list[tuple[Path, int]], int]:
    """Pictures with their class, the place of their folder among the folders' sorted names."""
    folders = sorted(path for path in folder.glob("*") if path.is_dir())
    files = [
        (file, label)
        for label, path in enumerate(folders)
        for file in sorted(path.iterdir())
        if file.suffix.lower() in PICTURES
    ]
    if not files:
        raise ValueError(
            f"--imagenet must be a folder with a folder of pictures for each class, got {folder}"
        )
    return files, len(folders)


def _spread(files: list, images: int | None) -> list:
    """As many of the files, spread evenly over the classes."""
    if images is None or images >= len(files):
        return files
    return [files[i * len(files) // images] for i in range(images)]


def _picture(file: Path, side: int = 224, short: int = 256) -> Tensor:
    """The middle 224 × 224 of the picture whose shorter side is 256, (3, 224, 224) in [0, 1]."""
    import numpy as np
    from PIL import Image

    with Image.open(file) as opened:
        image = opened.convert("RGB")
        width, height = (max(short, round(n * short / min(opened.size))) for n in opened.size)
        pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
    top, left = (height - side) // 2, (width - side) // 2
    return F.pad(x, (-left, left + side - width, -top, top + side - height))


def _resume(file: Path | None, settings: dict[str, Any], told: LieTables) -> int:
    """How many images an earlier run has taken in; its sums go into ``told``."""
    if file is None or not file.exists():
        return 0
    stored = json.loads(file.read_text(encoding="utf-8"))
    if stored["settings"] != settings:
        other = [key for key in settings if stored["settings"].get(key) != settings[key]]
        raise ValueError(f"--state {file} belongs to a run with another {', '.join(other)}; name a new file")
    told.sums = stored["sums"]
    return stored["done"]


def _keep(file: Path | None, settings: dict[str, Any], told: LieTables, done: int) -> None:
    if file is None:
        return
    text = json.dumps({"settings": settings, "done": done, "sums": told.sums})
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)  # so that an interrupt leaves the old sums or the new ones, never half of them
