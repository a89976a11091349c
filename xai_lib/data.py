"""Pictures to explain: photographs, rendered shapes with exact masks, small digits. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# name: title, licence, source; the facts stand in scikit-image's documentation of skimage.data
PHOTOS = {
    "cat": (
        "Chelsea the cat, photographed by Stéfan van der Walt",
        "CC0",
        "scikit-image, skimage.data.chelsea",
    ),
    "coffee": (
        "A cup of coffee, photographed by Rachel Michetti, courtesy of Pikolo Espresso Bar",
        "CC0",
        "scikit-image, skimage.data.coffee",
    ),
    "rocket": (
        "Launch of DSCOVR on a Falcon 9, photographed by SpaceX",
        "released into the public domain by SpaceX",
        "scikit-image, skimage.data.rocket; SpaceX Photos, flickr.com/photos/spacexphotos/16511594820",
    ),
    "astronaut": (
        "The astronaut Eileen Collins, from NASA's Great Images database",
        "public domain, no known copyright restrictions",
        "scikit-image, skimage.data.astronaut; flic.kr/p/r9qvLn",
    ),
}
_FILES = {"cat": "chelsea.png", "coffee": "coffee.png", "rocket": "rocket.jpg", "astronaut": "astronaut.png"}


def load_photo(name: str, size: int = 224) -> Tensor:
    r"""A photograph that comes with scikit-image: the shorter side resized to ``size``, the centre cut out.

    The file is read from the installed package, so nothing is downloaded and no cache is written.

    Args:
        name: ``"cat"``, ``"coffee"``, ``"rocket"`` or ``"astronaut"`` (:data:`PHOTOS` has the licences).
        size: side of the square, in pixels.

    Returns:
        One image as a batch, :math:`(1, 3, S, S)`, in [0, 1].

    Raises:
        ValueError: if there is no such photograph, or ``size`` is not a positive whole number.

    >>> load_photo("cat").shape
    torch.Size([1, 3, 224, 224])
    """
    if name not in _FILES:
        raise ValueError(f"name: no photograph is called {name!r}; there are {', '.join(PHOTOS)}")
    size = _whole("size", size, least=1)
    import skimage
    from PIL import Image

    with Image.open(Path(skimage.__file__).parent / "data" / _FILES[name]) as file:
        pixels = np.array(file.convert("RGB"))
    photo = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255  # (1, 3, h, w)
    h, w = photo.shape[-2:]
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    square = photo[..., top : top + side, left : left + side]
    resized = F.interpolate(square, (size, size), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(0, 1).contiguous()  # bicubic weights overshoot at edges


def _whole(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")
    return int(value)
