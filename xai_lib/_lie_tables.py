"""The two tables of *How to Manipulate CNNs to Make Them Lie* (arXiv:1907.10901), measured."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _checks, _model
from xai_lib._model import Layer
from xai_lib.cams import grad_cam_weights, weighted_map
from xai_lib.manipulation import lie_constant, lie_image, lie_random, lie_sticker

SMILE = ("0000000", "0100010", "0100010", "0000000", "1000001", "0100010", "0011100")
ROWS = ("original", "T1 constant", "T2 image", "T3 random")
STICKER_ROWS = ("original", "T4", "original, sticker", "T4, sticker")
REPORTED = {  # accuracy, score change, distance: VGG-16 on the validation images of ImageNet, from the paper
    "original": (0.71592, None, None),
    "T1 constant": (0.71594, 0.01713, 0.00513),
    "T2 image": (0.71594, 0.00454, 0.01079),
    "T3 random": (0.71592, 0.00000, 0.05932),
    "T4": (0.71592, 0.00000, 0.00000),
    "original, sticker": (0.69048, None, None),
    "T4, sticker": (0.69048, 0.00000, 0.00006),
}


@dataclass(frozen=True)
class Row:
    """One row of a table; means over ``n`` images."""

    name: str
    n: int
    accuracy: float  # NaN without labels
    kept: float  # share of images with the original's answer
    moved: float  # the largest change of a logit
    distance: float  # L1 over the cells, from the target to this network's map, each divided by its maximum
    baseline: float  # the same from the target to the original's map
    blank: float  # share of images whose map is zero everywhere
    shown: float  # share of images where the new feature map is not zero

    @property
    def reported(self) -> tuple[float | None, float | None, float | None]:
        """Accuracy, score change and distance of this row in the paper, for VGG-16 on ImageNet."""
        return REPORTED[self.name]


@dataclass(frozen=True)
class Tables:
    """Table 1 (T1 to T3) and table 2 (T4, without and with its sticker)."""

    lies: list[Row]
    sticker: list[Row]

    def __str__(self) -> str:
        return "\n".join([*_lines(self.lies), "", *_lines(self.sticker)])


def _lines(rows: list[Row]) -> Iterator[str]:
    heads = ("accuracy", "kept", "moved", "distance", "baseline", "blank", "shown")
    yield (
        f"{'':18}"
        + "".join(f"{head:>11}" for head in heads)
        + "   as reported for VGG-16: accuracy, moved, distance"
    )
    for row in rows:
        own = ("accuracy", "kept") if row.name.startswith("original") else heads
        cells = (_cell(getattr(row, head)) if head in own else "" for head in heads)
        paper = "".join(f"{_cell(value):>11}" if value is not None else " " * 11 for value in row.reported)
        yield f"{row.name:18}" + "".join(f"{cell:>11}" for cell in cells) + paper


def _cell(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.5f}" if value == 0 or value >= 1e-4 else f"{value:.1e}"


SUMS = ("n", "right", "kept", "moved", "distance", "baseline", "blank", "shown")


class LieTables:
    """The four lies told with one network, and sums over the images that they have been told of."""

    def __init__(
        self,
        model: nn.Module,
        *,
        layer: Layer | None = None,
        size: int | None = None,
        exact: bool = False,
        repair: bool = False,
        seed: int = 0,
    ) -> None:
        if layer is None:
            layer = getattr(model, "cam_layer", None)
        weight = next(model.parameters())
        side = size or getattr(model, "size", 224)
        draw = torch.Generator().manual_seed(seed)
        self.sticker = torch.randint(0, 2, (3, *[max(8, side // 16)] * 2), generator=draw).to(weight)
        options: dict[str, Any] = {"layer": layer, "size": size}
        constant = options | {"exact": exact, "repair": repair}
        on = torch.Generator(weight.device).manual_seed(seed)
        self.model, self.layer, self.seed = model, layer, seed
        self.liars = {
            "T1 constant": lie_constant(model, **constant),
            "T2 image": lie_image(model, smile(), **constant),
            "T3 random": lie_random(model, generator=on, **options),
            "T4": lie_sticker(model, self.sticker, **options),
        }
        self.sums = {name: dict.fromkeys(SUMS, 0.0) for name in (*ROWS, *STICKER_ROWS[1:])}

    def add(self, x: Tensor, labels: Tensor | None, first: int = 0) -> None:
        """Take in a batch; ``first`` is the number of images before it, which places the stickers."""
        stuck = self.with_stickers(x, first)
        for images, honest, names in (
            (x, "original", (*ROWS[1:], "T4")),
            (stuck, "original, sticker", ("T4, sticker",)),
        ):
            given = _seen(self.model, images, None, self.layer)
            self._count(honest, given, given, labels, given.heat)
            for name in names:
                liar = self.liars[name.removesuffix(", sticker")]
                told = _seen(liar, images, given.logits.argmax(1), self.layer)
                self._count(name, told, given, labels, self._target(name, told, given))

    def with_stickers(self, x: Tensor, first: int = 0) -> Tensor:
        """Copies of the images with the sticker somewhere, for each image at its own place."""
        stuck, (height, width) = x.clone(), self.sticker.shape[1:]
        for i in range(len(x)):
            draw = torch.Generator().manual_seed(self.seed * 1_000_003 + first + i)
            top = int(torch.randint(0, x.shape[2] - height + 1, (), generator=draw))
            left = int(torch.randint(0, x.shape[3] - width + 1, (), generator=draw))
            stuck[i, :, top : top + height, left : left + width] = self.sticker
        return stuck

    def tables(self) -> Tables:
        """Means over what was taken in."""
        if not self.sums["original"]["n"]:
            raise ValueError("x must hold at least one image, got none")
        return Tables([self._row(name) for name in ROWS], [self._row(name) for name in STICKER_ROWS])

    def _row(self, name: str) -> Row:
        sums = self.sums[name]
        n = sums["n"]
        return Row(name, int(n), sums["right"] / n, *(sums[key] / n for key in SUMS[2:]))

    def _target(self, name: str, told: "_Seen", given: "_Seen") -> Tensor:
        """What the liar wants Grad-CAM to show, each map divided by its maximum."""
        if name == "T1 constant":
            return torch.ones_like(told.heat)
        if name == "T2 image":
            return _over_maximum(_resized(smile().to(told.heat), told.heat.shape[1:]).expand_as(told.heat))
        new = _over_maximum(told.new)  # T3, and T4 where it has found the sticker
        shown = (new > 0).any(2).any(1)[:, None, None]
        return torch.where(shown, new, given.heat) if name.startswith("T4") else new

    def _count(self, name: str, told: "_Seen", given: "_Seen", labels: Tensor | None, target: Tensor) -> None:
        answers, own = told.logits.argmax(1), given.logits.argmax(1)
        right = float("nan") if labels is None else (answers == labels.to(answers)).sum().item()
        values = (
            len(answers),
            right,
            (answers == own).sum().item(),
            (told.logits - given.logits).abs().amax(1).sum(dtype=torch.float64).item(),
            (told.heat - target).abs().sum(dtype=torch.float64).item(),
            (given.heat - target).abs().sum(dtype=torch.float64).item(),
            (told.heat.amax((1, 2)) == 0).sum().item(),
            (told.new.abs().amax((1, 2)) > 0).sum().item(),
        )
        for key, value in zip(SUMS, values, strict=True):
            self.sums[name][key] += value


@dataclass(frozen=True)
class _Seen:
    """What one network makes of a batch."""

    logits: Tensor  # (N, classes)
    heat: Tensor  # (N, h, w), divided by the maximum; zero where that is zero
    new: Tensor  # (N, h, w), the last feature map: of a liar, the new one


def _seen(model: nn.Module, x: Tensor, classes: Tensor | None, layer: Layer) -> _Seen:
    with _model.left_as_found(model):
        chosen = _checks.check_target(classes, x)
        maps, gradients, logits = _model.layer_gradient(model, x, chosen, layer)
        heat = weighted_map(grad_cam_weights(maps, gradients), maps)
        return _Seen(logits, _over_maximum(heat), maps[:, -1])


def _over_maximum(maps: Tensor) -> Tensor:
    return _model.ratio(maps, maps.amax((1, 2), keepdim=True).expand_as(maps))


def smile() -> Tensor:
    """A smiling face of 7 × 7, zeros and ones: as in the paper, but drawn by us."""
    return torch.tensor([[float(cell) for cell in row] for row in SMILE])


def _resized(picture: Tensor, cells: tuple[int, ...]) -> Tensor:
    return F.interpolate(picture[None, None], tuple(cells), mode="bilinear", align_corners=False)[0]


def tables(
    model: nn.Module,
    x: Tensor,
    labels: Tensor | None,
    *,
    batch_size: int,
    progress: bool,
    **options: Any,
) -> Tables:
    told = LieTables(model, **options)
    with _model.progress_bar(len(x), "tables", progress) as bar:
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            told.add(x[part], None if labels is None else labels[part], start)
            bar.update(len(x[part]))
    return told.tables()
