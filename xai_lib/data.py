"""Pictures to explain: photographs, rendered shapes with exact masks, small digits. Nothing is downloaded."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xai_lib import _checks

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
        ValueError: if there is no such photograph, or ``size`` is not a positive whole number (a TypeError
            if it is no whole number at all).

    >>> load_photo("cat").shape
    torch.Size([1, 3, 224, 224])
    """
    _checks.check_choice("name", name, tuple(PHOTOS))
    size = _checks.check_count("size", size)
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


# --- shapes ---------------------------------------------------------------------------------------------

SHAPE_CLASSES = ("circle", "square", "triangle", "star", "ring", "cross", "heart", "crescent")


@dataclass(frozen=True)
class Shapes:
    """Rendered scenes with everything that is known about them.

    Attributes:
        images: :math:`(n, 3, S, S)`, in [0, 1].
        labels: index into :data:`SHAPE_CLASSES`, :math:`(n,)`.
        masks: pixels whose centre lies in the object, :math:`(n, S, S)`, bool.
        boxes: tight box of the mask, :math:`(n, 4)`, as x0, y0, x1, y1: ``mask[y0:y1, x0:x1]`` has it all.
        tagged: which images carry the watermark, :math:`(n,)`, bool.
        tag_masks: pixels that the watermark covers, :math:`(n, S, S)`, bool.
        marked: which images carry the shortcut, :math:`(n,)`, bool.
        mark_masks: pixels that the shortcut covers, :math:`(n, S, S)`, bool.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor
    boxes: Tensor
    tagged: Tensor
    tag_masks: Tensor
    marked: Tensor
    mark_masks: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def shapes(
    n: int,
    size: int = 112,
    seed: int = 0,
    watermark: Mapping[str, float] | None = None,
    shortcut: Mapping[str, float] | None = None,
    device: torch.device | str = "cpu",
) -> Shapes:
    r"""Scenes with one object of eight classes, where the class can be told from the outline only.

    An object of random size, rotation, place and colour stands before a random texture and a bent bar that is
    of no class. All classes have the same area, contrasts and places, and as many images as each other.

    The scenes depend on ``seed`` and ``n`` only: with another ``watermark`` or ``shortcut``, the same seed
    gives the same pixels everywhere but under the tag or the mark. So ``shapes(n, seed=s)`` and
    ``shapes(n, seed=s, watermark={"star": 1.0})`` are exact counterfactuals of each other. Another ``n``
    gives other scenes altogether, since a shuffle of all ``n`` deals out the classes.

    Args:
        n: number of scenes.
        size: side of the images in pixels, at least 48.
        seed: chooses the scenes.
        watermark: class name → probability of a small "© xai" in the lower left corner.
        shortcut: class name → probability of the other mark, the one that ``"clever_hans_2"`` learnt; what it
            looks like is for the reader of chapter 1 to find out (``mark_masks`` tells).
        device: where to render. The random draws are made on the CPU, so scenes are the same everywhere.

    Returns:
        A :class:`Shapes`.

    Raises:
        ValueError: if ``n``, ``size`` or ``seed`` is too small, a class name or a probability in
            ``watermark`` or ``shortcut`` is not one, or this machine has no such ``device``.
        TypeError: if a number is not a whole one, or ``watermark`` or ``shortcut`` is no dict.

    >>> scenes = shapes(16, watermark={"star": 1.0})
    >>> scenes.images.shape, int(scenes.tagged.sum())
    (torch.Size([16, 3, 112, 112]), 2)
    """
    n = _checks.check_count("n", n)
    size, seed = _checks.check_count("size", size, least=48), _checks.check_count("seed", seed, least=0)
    tag_shares, mark_shares = _shares("watermark", watermark), _shares("shortcut", shortcut)
    device = _checks.check_device("device", device)
    labels, scene = _Draws.of_scenes(n, seed)
    images, masks = _render(scene, labels, size, device)
    none, nowhere = masks.new_zeros(n), torch.zeros_like(masks)
    bare = Shapes(images, labels.to(device), masks, _boxes(masks), none, nowhere, none, nowhere)
    return _stamped(bare, seed, tag_shares, mark_shares)


def with_stamps(
    scenes: Shapes,
    seed: int = 0,
    watermark: Mapping[str, float] | None = None,
    shortcut: Mapping[str, float] | None = None,
) -> Shapes:
    r"""What :func:`shapes` gives for these probabilities, without rendering again.

    Args:
        scenes: ``shapes(n, size, seed)``, without any stamp.
        seed: the same seed; it also chooses which images carry a stamp, and where.
        watermark: as in :func:`shapes`.
        shortcut: likewise.

    Returns:
        New scenes; those given keep their pixels.

    Raises:
        ValueError: if ``scenes`` carry a stamp, or another argument is out of range.
        TypeError: if ``scenes`` is no :class:`Shapes`.

    >>> int(with_stamps(shapes(16), watermark={"star": 1.0}).tagged.sum())
    2
    """
    if not isinstance(scenes, Shapes):
        raise TypeError(f"scenes must be what shapes(...) returns, got {type(scenes).__name__}")
    if scenes.tagged.any() or scenes.marked.any():
        raise ValueError(
            "scenes must be without a stamp, got some with one; render them with shapes(n, size, seed)"
        )
    seed = _checks.check_count("seed", seed, least=0)
    shares = _shares("watermark", watermark), _shares("shortcut", shortcut)
    return _stamped(replace(scenes, images=scenes.images.clone()), seed, *shares)


def digits() -> tuple[Tensor, Tensor]:
    r"""Handwritten digits, from scikit-learn's installed package.

    Returns:
        Images :math:`(1797, 1, 8, 8)` in [0, 1], and labels :math:`(1797,)`.

    Source: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI repository.

    >>> images, labels = digits()
    >>> images.shape, labels.shape
    (torch.Size([1797, 1, 8, 8]), torch.Size([1797]))
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.from_numpy(data.images).float()[:, None] / 16, torch.from_numpy(data.target).long()


# --- the eight outlines: signed distances, negative inside, each of area π ------------------------------


def _circle(x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot(x, y) - 1


def _square(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - math.sqrt(math.pi) / 2


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    slanted = x.abs() * (math.sqrt(3) / 2) - y * 0.5  # both upper sides at once, by symmetry
    return torch.maximum(slanted, y) - math.sqrt(math.pi / (3 * math.sqrt(3)))


def _star(x: Tensor, y: Tensor) -> Tensor:
    outer, ratio = 1.5413, 0.45  # area 5 · outer² · ratio · sin 36°
    x = x.abs()
    for angle in (
        3 * math.pi / 5,
        math.pi / 5,
    ):  # fold the half plane until one tip is left, from -36° to 36°
        c, s = math.cos(angle), math.sin(angle)
        beyond = (x * c + y * s).clamp(min=0)  # what lies past the line at this angle from upwards: mirror it
        x, y = x - 2 * beyond * c, y - 2 * beyond * s
    # by symmetry one edge is left, from the tip (0, -outer) to the notch at 36°
    ex, ey = ratio * math.sin(math.pi / 5), 1 - ratio * math.cos(math.pi / 5)
    return (x.abs() * ey - (y + outer) * ex) / math.hypot(ex, ey)


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return (torch.hypot(x, y) - 1).abs() - 0.25  # radii 0.75 and 1.25


def _cross(x: Tensor, y: Tensor) -> Tensor:
    long, thick = 1.189, 0.3963
    x, y = x.abs(), y.abs()
    return torch.maximum(torch.maximum(x, y) - long, torch.minimum(x, y) - thick)


def _heart(x: Tensor, y: Tensor) -> Tensor:
    half = math.sqrt(math.pi / (4 + math.pi))  # half the side of a square on its tip, with two half discs
    x, y = x.abs(), y - 0.25
    u, v = (x - y) / math.sqrt(2), (x + y) / math.sqrt(2)
    lobe = torch.hypot(u - half, v) - half
    return torch.minimum(lobe, torch.maximum(u.abs(), v.abs()) - half)


def _crescent(x: Tensor, y: Tensor) -> Tensor:
    x = x - 0.25  # the moon's centre of mass lies left of its disc's
    return torch.maximum(torch.hypot(x, y) - 1.4, 1.0313 - torch.hypot(x - 0.6, y))


_OUTLINES = (_circle, _square, _triangle, _star, _ring, _cross, _heart, _crescent)
_REACH = 1.65  # no outline goes further from its centre


# --- rendering ------------------------------------------------------------------------------------------

_CHUNK = {"cpu": 8, "cuda": 256}  # images at once: a processor's cache should hold a few layers of them


# Where in its row a property of a scene lies, and how many values it has. Frozen: the shipped networks and
# every number in the chapters rest on these scenes. A new property needs no place here: see _Draws.
_SLOTS = {
    "ground.level": (0, 1),
    "ground.colour": (1, 3),
    "texture.kind": (4, 1),
    "texture.turn": (5, 1),
    "texture.pitch": (6, 1),
    "texture.phase": (7, 1),
    "texture.phase_across": (8, 1),
    "texture.contrast": (9, 3),
    "bar.x": (12, 1),
    "bar.y": (13, 1),
    "bar.turn": (14, 1),
    "bar.bend": (15, 1),
    "bar.lengths": (16, 2),
    "bar.thickness": (18, 1),
    "bar.step": (19, 1),
    "bar.lighter": (20, 1),
    "bar.tint": (21, 3),
    "object.scale": (24, 1),
    "object.x": (25, 1),
    "object.y": (26, 1),
    "object.turn": (27, 1),
    "object.step": (28, 1),
    "object.lighter": (29, 1),
    "object.tint": (30, 3),
}


class _Draws:
    """Uniform draws that make up the scenes, each property under its name, so that none moves another.

    The properties of :data:`_SLOTS` and the grids behind the textures share one row a scene. Any other name
    has a generator of its own, seeded from the scenes' seed and the name: whoever adds a property changes no
    scene but by what they paint with it, and the order of the calls does not matter.
    """

    COARSE, FINE = 6, 28  # sides of the grids of random values behind the textures
    COUNT = COARSE**2 + FINE**2 + 40  # the width of a row, frozen too: some of the 40 are spare

    def __init__(self, rows: Tensor, seed: int) -> None:
        self.rows, self.seed = rows, seed
        self.n, self.scenes = len(rows), torch.arange(len(rows), device="cpu")
        self.added: dict[str, Tensor] = {}  # draws of the names without a slot, of all n scenes

    @classmethod
    def of_scenes(cls, n: int, seed: int) -> tuple[Tensor, _Draws]:
        """Classes (n,), dealt out evenly and shuffled, and the draws of n scenes."""
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randperm(n, generator=generator, device="cpu") % len(SHAPE_CLASSES)
        return labels, cls(_uniform(n, cls.COUNT, generator), seed)

    def some(self, scenes: Tensor, device: torch.device) -> _Draws:
        """The draws of some of the scenes, on a device."""
        part = copy.copy(self)
        part.rows, part.scenes = self.rows[scenes].to(device), self.scenes[scenes]
        return part

    @property
    def coarse(self) -> Tensor:  # (m, 36)
        return self.rows[:, : self.COARSE**2]

    @property
    def fine(self) -> Tensor:  # (m, 784)
        return self.rows[:, self.COARSE**2 :][:, : self.FINE**2]

    def uniform(self, name: str, low: float, high: float, count: int = 1) -> Tensor:
        """``count`` values of the property ``name`` between ``low`` and ``high``, (m, count, 1, 1).

        The same name gives the same draws again.
        """
        if name in _SLOTS:
            start, known = _SLOTS[name]
            values = self.rows[:, self.COARSE**2 + self.FINE**2 + start :][:, :known]
        else:
            if name not in self.added:
                own = torch.Generator().manual_seed(_seed_of(self.seed, name))
                self.added[name] = _uniform(self.n, count, own)
            values = self.added[name][self.scenes].to(self.rows.device)
        if count != values.shape[1]:
            raise ValueError(f"count must be {values.shape[1]} for {name!r}, as before, got {count}")
        return (low + (high - low) * values)[:, :, None, None]


def _uniform(n: int, count: int, generator: torch.Generator) -> Tensor:
    """(n, count) in [0, 1): float32 on the CPU, whatever torch's defaults are; another type draws others."""
    return torch.rand(n, count, generator=generator, dtype=torch.float32, device="cpu")


def _seed_of(seed: int, name: str) -> int:
    """A seed for a name, the same in every process (unlike ``hash``)."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=7).digest(), "big")


def _render(scene: _Draws, labels: Tensor, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (n, 3, S, S) and masks (n, S, S), a chunk of one class at a time."""
    images = torch.empty(len(labels), 3, size, size, dtype=torch.float32, device=device)
    masks = torch.empty(len(labels), size, size, dtype=torch.bool, device=device)
    axis = (torch.arange(size, dtype=torch.float32, device=device) + 0.5) / size
    y, x = axis[:, None], axis[None, :]
    for k, outline in enumerate(_OUTLINES):
        for rows in (labels == k).nonzero()[:, 0].split(_CHUNK.get(device.type, 64)):
            images[rows], masks[rows] = _paint(scene.some(rows, device), outline, x, y)
    return images, masks


def _paint(draw: _Draws, outline: Callable, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Scenes of one class, (m, 3, S, S), and the pixels in the object, (m, S, S)."""
    size = x.shape[-1]
    coarse, fine = _noise(draw.coarse, size), _noise(draw.fine, size)  # (m, 1, S, S), in [-1, 1]

    level = draw.uniform("ground.level", 0.2, 0.8)
    ground = level + draw.uniform("ground.colour", -0.15, 0.15, 3)  # (m, 3, 1, 1)
    contrast = draw.uniform("texture.contrast", -0.22, 0.22, 3)
    image = ground + _texture(draw, x, y, coarse, fine) * contrast  # (m, 3, S, S)

    bar = _coverage(_bent_bar(draw, x, y), size)
    image = image.lerp(_contrasting(draw, "bar", level), bar)

    scale = draw.uniform("object.scale", 0.12, 0.22)
    reach = _REACH * scale
    cx, cy = (
        reach + (1 - 2 * reach) * draw.uniform(f"object.{axis}", 0, 1) for axis in "xy"
    )  # wholly inside
    u, v = _turn(x - cx, y - cy, draw.uniform("object.turn", 0, 2 * math.pi))
    distance = outline(u / scale, v / scale) * scale  # (m, 1, S, S)
    colour = _contrasting(draw, "object", level) + 0.1 * (coarse + fine)
    return image.lerp(colour, _coverage(distance, size)).clamp_(0, 1), distance[:, 0] <= 0


def _noise(grid: Tensor, size: int) -> Tensor:
    side = math.isqrt(grid.shape[1])
    grid = (2 * grid - 1).view(-1, 1, side, side)
    return F.interpolate(grid, (size, size), mode="bilinear", align_corners=False)  # (m, 1, S, S)


# weights of coarse noise, fine noise, waves; whether waves cross; how far coarse noise bends them
_TEXTURES = (
    (1.3, 0.3, 0.0, 0.0, 0.0),  # clouds
    (0.3, 1.3, 0.0, 0.0, 0.0),  # grain
    (0.2, 0.2, 1.0, 0.0, 0.0),  # stripes
    (0.2, 0.2, 1.0, 1.0, 0.0),  # checks
    (0.0, 0.3, 1.0, 0.0, 4.0),  # wood
)


def _texture(draw: _Draws, x: Tensor, y: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
    """One of five kinds, (m, 1, S, S), about zero."""
    kind = draw.uniform("texture.kind", 0, len(_TEXTURES)).long().clamp(max=len(_TEXTURES) - 1)[:, 0, 0, 0]
    table = torch.tensor(_TEXTURES, dtype=torch.float32, device=x.device)[kind]  # (m, 5)
    clouds, grain, waves, crossing, bend = table[..., None, None, None].unbind(1)  # each (m, 1, 1, 1)
    u, v = _turn(x, y, draw.uniform("texture.turn", 0, math.pi))
    pitch = draw.uniform("texture.pitch", 15, 60)
    wave = torch.sin(u * pitch + draw.uniform("texture.phase", 0, 2 * math.pi) + bend * coarse)
    across = torch.sin(v * pitch + draw.uniform("texture.phase_across", 0, 2 * math.pi))
    return clouds * coarse + grain * fine + waves * wave * (1 - crossing + crossing * across)


def _bent_bar(draw: _Draws, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance of two thin bars that share an end: a distractor of no class."""
    x, y = x - draw.uniform("bar.x", 0.1, 0.9), y - draw.uniform("bar.y", 0.1, 0.9)
    turn, bend = draw.uniform("bar.turn", 0, 2 * math.pi), draw.uniform("bar.bend", 0.5, math.pi)
    lengths = draw.uniform("bar.lengths", 0.12, 0.4, 2).split(1, dim=1)  # each (m, 1, 1, 1)
    distances = []
    for angle, length in zip((turn, turn + bend), lengths, strict=True):
        along, aside = _turn(x, y, angle)
        past = along - along.clamp(min=torch.zeros_like(length), max=length)
        distances.append(torch.hypot(past, aside))
    return torch.minimum(*distances) - draw.uniform("bar.thickness", 0.008, 0.03)


def _contrasting(draw: _Draws, what: str, level: Tensor) -> Tensor:
    """A colour (m, 3, 1, 1) clearly lighter or darker than the ground, whichever there is room for."""
    step, up = draw.uniform(f"{what}.step", 0.3, 0.5), draw.uniform(f"{what}.lighter", 0, 1) < 0.5
    up = (up & (level + step < 0.95)) | (level - step < 0.05)
    return torch.where(up, level + step, level - step) + draw.uniform(f"{what}.tint", -0.2, 0.2, 3)


def _turn(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    c, s = angle.cos(), angle.sin()
    return c * x + s * y, c * y - s * x


def _coverage(distance: Tensor, size: int) -> Tensor:
    """How much of a pixel lies inside, from the signed distance of its centre: anti-aliasing."""
    return (0.5 - distance * size).clamp_(0, 1)


def _boxes(masks: Tensor) -> Tensor:
    def ends(line: Tensor) -> tuple[Tensor, Tensor]:  # first True, and one past the last
        line = line.int()
        return line.argmax(1), line.shape[1] - line.flip(1).argmax(1)

    (x0, x1), (y0, y1) = ends(masks.any(1)), ends(masks.any(2))
    return torch.stack([x0, y0, x1, y1], dim=1)


# --- stamps ---------------------------------------------------------------------------------------------

# "© xai" in a bitmap font of our own; a light glyph on a dark strip shows on any ground
_GLYPHS = """
.#####...............................
#.....#..................#...........
#..##.#..................#...........
#.#...#...#...#...###................
#.#...#....#.#.......#...#...........
#..##.#.....#......###...#...........
#.....#....#.#....#..#...#...........
.#####....#...#....###...#...........
"""


def _tag() -> tuple[Tensor, Tensor]:
    """Brightness and opacity of the watermark, (h, w) each."""
    rows = [line for line in _GLYPHS.split()]
    lit = torch.tensor([[c == "#" for c in row] for row in rows], device="cpu")
    lit = F.pad(lit[:, : lit.any(0).nonzero().max() + 1], (2, 2, 1, 1))
    return lit.float(), 0.5 + 0.4 * lit.float()


def _mark(size: int) -> tuple[Tensor, Tensor]:
    """Brightness and opacity of the shortcut, (h, w) each: a scanner's streak, as high as the image."""
    brightness = torch.tensor([0, 1, 1, 0], dtype=torch.float32, device="cpu").expand(size, 4)
    return brightness, torch.full_like(brightness, 0.7)


TAG = _tag()  # brightness and opacity of the watermark, (h, w) each


def _stamped(bare: Shapes, seed: int, tag_shares: Tensor, mark_shares: Tensor) -> Shapes:
    """Stamp scenes, their images in place; each stamp has draws of its own, for every scene."""
    images, labels = bare.images, bare.labels
    tagged, tag_masks = _stamp(images, labels, tag_shares, seed ^ 0x0A11CE, TAG, corner="lower left")
    mark = _mark(images.shape[-1])
    marked, mark_masks = _stamp(images, labels, mark_shares, seed ^ 0x0B0B0B, mark, corner="right")
    return replace(bare, tagged=tagged, tag_masks=tag_masks, marked=marked, mark_masks=mark_masks)


def _stamp(
    images: Tensor, labels: Tensor, shares: Tensor, seed: int, stamp: tuple[Tensor, Tensor], corner: str
) -> tuple[Tensor, Tensor]:
    """Blend the stamp into its share of the images, in place; which images (n,), and where (n, S, S)."""
    n, size = len(images), images.shape[-1]
    draws = _uniform(n, 3, torch.Generator().manual_seed(seed)).to(images.device)
    chosen = draws[:, 0] < shares.to(images.device)[labels]
    where = torch.zeros(n, size, size, dtype=torch.bool, device=images.device)
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return chosen, where
    brightness, opacity = (t.to(images.device) for t in stamp)
    (h, w), jitter = opacity.shape, (draws[rows, 1:] * 6).long() + 2  # 2 to 7 pixels from the edges
    top = size - h - jitter[:, 0] if h < size else torch.zeros_like(jitter[:, 0])
    left = jitter[:, 1] if corner == "lower left" else size - w - jitter[:, 1]
    y = (top[:, None] + torch.arange(h, device=images.device))[:, :, None]  # (m, h, 1)
    x = (left[:, None] + torch.arange(w, device=images.device))[:, None, :]  # (m, 1, w)
    i = rows[:, None, None]
    before = images[i, :, y, x]  # (m, h, w, 3)
    images[i, :, y, x] = before + opacity[..., None] * (brightness[..., None] - before)
    where[i, y, x] = True
    return chosen, where


def _shares(name: str, shares: Mapping[str, float] | None) -> Tensor:
    """Probability of a stamp for each class, (8,)."""
    known = _checks.check_probabilities(name, shares, SHAPE_CLASSES)
    return torch.tensor([known.get(kind, 0.0) for kind in SHAPE_CLASSES], dtype=torch.float32, device="cpu")
