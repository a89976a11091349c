"""Scenes of chapter 9: what each was drawn from is known, and one cause can be changed while the rest stays.

Six of the outlines of :mod:`xai_lib.data`, before the same textures and bars. Beside the object a scene has
three causes: a small printed mark in a corner (*tag*), the colour of its ground (*tint*) and whether the
camera was in focus (*blur*). ``draw`` gives scenes, ``Scenes.redraw`` the same scenes with a cause changed:
every pixel that this cause does not reach stays as it was, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from xai_lib import _checks
from xai_lib.data import (
    _OUTLINES,
    _REACH,
    SHAPE_CLASSES,
    _bent_bar,
    _contrasting,
    _coverage,
    _Draws,
    _noise,
    _seed_of,
    _texture,
    _turn,
    _uniform,
)

CLASSES = ("circle", "square", "triangle", "star", "cross", "heart")
TINTS = ("none", "red", "green", "blue")
CORNERS = ("lower left", "lower right", "upper left", "upper right")
SIZE = 64
SIGMA = 1.4  # of the blur, in pixels

# white on black, the same in a mirror and turned by a quarter: where it stands says nothing else
_MARK = """
.........
.##...##.
.#.....#.
....#....
...###...
....#....
.#.....#.
.##...##.
.........
"""


def mark() -> Tensor:
    """The tag, :math:`(3, 9, 9)`, of zeros and ones."""
    rows = [[float(c == "#") for c in row] for row in _MARK.split()]
    return torch.tensor(rows, device="cpu").expand(3, -1, -1).clone()


@dataclass(frozen=True)
class Rates:
    """How often each cause occurs in a class, as probabilities.

    Attributes:
        tag: in any class that ``by_class`` does not name.
        tint: of each of the three colours.
        blur: of a scene out of focus.
        by_class: class → cause → probability: ``{"star": {"tag": 0.95}}``; the causes are ``"tag"``,
            ``"red"``, ``"green"``, ``"blue"`` and ``"blur"``.
        others: cause → probability in the classes that ``by_class`` does not name.
    """

    tag: float = 0.2
    tint: float = 0.1
    blur: float = 0.2
    by_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)

    def of(self, name: str) -> dict[str, float]:
        """Cause → probability in one class."""
        usual = {"tag": self.tag, "blur": self.blur, **dict.fromkeys(TINTS[1:], self.tint)}
        return usual | dict(self.by_class.get(name, self.others))


STANDARD = Rates()


@dataclass(frozen=True)
class Scenes:
    """Scenes, what they were drawn from, and the means to draw them again.

    Attributes:
        images: :math:`(n, 3, S, S)`, in [0, 1].
        labels: index into ``classes``, :math:`(n,)`.
        classes: names of the classes, in the order of the labels.
        masks: pixels whose centre lies in the object, :math:`(n, S, S)`, bool.
        tag_masks: pixels that the tag covers, or would cover, :math:`(n, S, S)`, bool.
        tag: which scenes carry the tag, :math:`(n,)`, bool.
        tint: colour of the ground, index into :data:`TINTS`, :math:`(n,)`.
        blur: which scenes are out of focus, :math:`(n,)`, bool.
        empty: which scenes were drawn without their object, :math:`(n,)`, bool.
        corner: where the tags are.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    masks: Tensor
    tag_masks: Tensor
    tag: Tensor
    tint: Tensor
    blur: Tensor
    empty: Tensor
    corner: str
    _draws: _Draws = field(repr=False)
    _rows: Tensor = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor | slice | Sequence[int]) -> Scenes:
        """Some of the scenes."""
        rows = torch.arange(len(self), device="cpu")[
            rows if isinstance(rows, slice) else torch.as_tensor(rows)
        ]
        kept = ("images", "labels", "masks", "tag_masks", "tag", "tint", "blur", "empty", "_rows")
        return replace(self, **{name: getattr(self, name)[rows] for name in kept})

    def redraw(
        self,
        *,
        tag: bool | Tensor | None = None,
        tint: int | Tensor | None = None,
        blur: bool | Tensor | None = None,
        empty: bool | Tensor | None = None,
    ) -> Scenes:
        """The same scenes with causes set: one value for all, or one for each scene; None leaves a cause."""
        given = {"tag": tag, "tint": tint, "blur": blur, "empty": empty}
        changed = {
            name: torch.as_tensor(value, dtype=getattr(self, name).dtype).expand(len(self)).clone()
            for name, value in given.items()
            if value is not None
        }
        after = replace(self, **changed)
        images, masks, tag_masks = _painted(after)
        return replace(after, images=images, masks=masks, tag_masks=tag_masks)


def draw(
    n: int,
    seed: int = 0,
    *,
    rates: Rates = STANDARD,
    classes: Sequence[str] = CLASSES,
    corner: str = CORNERS[0],
    size: int = SIZE,
) -> Scenes:
    r"""Scenes of these classes, as many of each as of the others; the causes at these rates.

    The scenes depend on ``n`` and ``seed``; ``rates`` only decide which causes are set in them.

    Args:
        n: number of scenes.
        seed: chooses the scenes.
        rates: how often each cause occurs in each class; by default in all alike.
        classes: names of the outlines, in the order of the labels.
        corner: where tags are, one of :data:`CORNERS`.
        size: side of the images in pixels.

    Returns:
        A :class:`Scenes`.

    Raises:
        ValueError: if a number is out of range, or a name is unknown.
        TypeError: if a number is not a whole one.
    """
    n, seed = _checks.check_count("n", n), _checks.check_count("seed", seed, least=0)
    size = _checks.check_count("size", size, least=48)
    _checks.check_choice("corner", corner, CORNERS)
    for name in classes:
        _checks.check_choice("classes", name, SHAPE_CLASSES)
    generator = torch.Generator().manual_seed(_seed_of(seed, "causes"))
    labels = torch.randperm(n, generator=generator, device="cpu") % len(classes)
    draws = _Draws(_uniform(n, _Draws.COUNT, generator), _seed_of(seed, "causes"))
    own = [rates.of(name) for name in classes]
    chance = {cause: torch.tensor([r[cause] for r in own])[labels] for cause in own[0]}
    tag, blur = (draws.uniform(f"cause.{cause}", 0, 1).view(n) < chance[cause] for cause in ("tag", "blur"))
    bounds = torch.stack([chance[name] for name in TINTS[1:]]).cumsum(0)  # (3, n)
    colour = (draws.uniform("cause.tint", 0, 1).view(1, n) >= bounds).sum(0)  # 3 is beyond them all
    tint = torch.where(colour < 3, colour + 1, 0)
    nothing = torch.zeros(n, size, size, dtype=torch.bool, device="cpu")
    empty, rows = torch.zeros(n, dtype=torch.bool, device="cpu"), torch.arange(n, device="cpu")
    blank = torch.zeros(n, 3, size, size, device="cpu")
    bare = Scenes(
        blank, labels, tuple(classes), nothing, nothing, tag, tint, blur, empty, corner, draws, rows
    )
    images, masks, tag_masks = _painted(bare)
    return replace(bare, images=images, masks=masks, tag_masks=tag_masks)


# ---------------------------------------------------------------------------------------------- painting

_CHUNK = 16  # images at once: a processor's cache should hold a few layers of them


def _painted(scenes: Scenes) -> tuple[Tensor, Tensor, Tensor]:
    """Images, objects' masks and tags' masks, from the draws and the causes."""
    n, size = len(scenes), scenes.images.shape[-1]
    images, masks = torch.empty(n, 3, size, size), torch.empty(n, size, size, dtype=torch.bool)
    for k, name in enumerate(scenes.classes):
        outline = _OUTLINES[SHAPE_CLASSES.index(name)]
        for rows in (scenes.labels == k).nonzero()[:, 0].split(_CHUNK):
            part = scenes._draws.some(scenes._rows[rows], torch.device("cpu"))
            images[rows], masks[rows] = _paint(part, outline, size, scenes.tint[rows], scenes.empty[rows])
    out = scenes.blur.nonzero()[:, 0]
    if len(out):
        images[out] = _out_of_focus(images[out])
    images, where = _tagged(images, scenes)
    return images, masks, where


def _paint(draw: _Draws, outline, size: int, tint: Tensor, empty: Tensor) -> tuple[Tensor, Tensor]:
    """Scenes of one class in focus, (m, 3, S, S), and the pixels in the object, (m, S, S)."""
    axis = (torch.arange(size, dtype=torch.float32) + 0.5) / size
    y, x = axis[:, None], axis[None, :]
    coarse, fine = _noise(draw.coarse, size), _noise(draw.fine, size)  # (m, 1, S, S), in [-1, 1]
    level = draw.uniform("ground.level", 0.25, 0.75)
    ground = level + draw.uniform("ground.colour", -0.08, 0.08, 3) + _COLOURS[tint][..., None, None]
    contrast = draw.uniform("texture.contrast", -0.15, 0.15, 3)
    image = ground + _texture(draw, x, y, coarse, fine) * contrast  # (m, 3, S, S)
    bar = _coverage(_bent_bar(draw, x, y), size)
    image = image.lerp(_contrasting(draw, "bar", level), bar)

    scale = draw.uniform("object.scale", 0.15, 0.24)
    reach = _REACH * scale
    cx, cy = (reach + (1 - 2 * reach) * draw.uniform(f"object.{a}", 0, 1) for a in "xy")  # wholly inside
    u, v = _turn(x - cx, y - cy, draw.uniform("object.turn", 0, 2 * math.pi))
    distance = outline(u / scale, v / scale) * scale  # (m, 1, S, S)
    colour = _contrasting(draw, "object", level) + 0.1 * (coarse + fine)
    there = _coverage(distance, size) * ~empty[:, None, None, None]
    return image.lerp(colour, there).clamp_(0, 1), (distance[:, 0] <= 0) & ~empty[:, None, None]


_COLOURS = torch.tensor([[0.0, 0, 0], [0.2, -0.1, -0.1], [-0.1, 0.2, -0.1], [-0.1, -0.1, 0.2]], device="cpu")


def _out_of_focus(images: Tensor) -> Tensor:
    """A Gaussian blur; beyond the edge the image goes on as in a mirror."""
    reach = math.ceil(3 * SIGMA)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / SIGMA) ** 2)
    weights = (weights / weights.sum()).expand(3, 1, 1, -1)
    wide = F.pad(images, (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(wide, weights, groups=3), weights.mT, groups=3).clamp_(0, 1)


def _tagged(images: Tensor, scenes: Scenes) -> tuple[Tensor, Tensor]:
    """Print the tag into its scenes, in place, over all else; and where it is or would be, (n, S, S)."""
    n, size = len(images), images.shape[-1]
    tag = mark()
    side = tag.shape[-1]
    draws = [scenes._draws.uniform(f"tag.{axis}", 1, 6).view(-1)[scenes._rows].long() for axis in "xy"]
    left = draws[0] if "left" in scenes.corner else size - side - draws[0]
    top = draws[1] if "upper" in scenes.corner else size - side - draws[1]
    span = torch.arange(side)
    i, y, x = (
        torch.arange(n)[:, None, None],
        (top[:, None] + span)[:, :, None],
        (left[:, None] + span)[:, None],
    )
    where = torch.zeros(n, size, size, dtype=torch.bool)
    where[i, y, x] = True
    rows = scenes.tag.nonzero()[:, 0]
    images[i[rows], :, y[rows], x[rows]] = tag.permute(1, 2, 0)
    return images, where
