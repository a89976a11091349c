"""What an audit measures: the effect of an intervention on answers, and numbers about maps and probabilities.

Every number comes with its margin, two standard errors: a claim without one can't be checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai_course.audit.interventions import intervene
from xai_lib import _checks, grad_cam, occlusion
from xai_lib.manipulation import audit as marks_of
from xai_lib.manipulation import contrast


@torch.no_grad()
def answers(model: nn.Module, images: Tensor) -> Tensor:
    """Probabilities (N, classes), in parts of 100 images."""
    return torch.cat([model(part).softmax(1) for part in images.split(100)])


@dataclass(frozen=True)
class Effect:
    """What an intervention does to the accuracy of a class, on the same scenes.

    Attributes:
        before, after: share of the class's scenes that get the answer, in [0, 1].
        margin: two standard errors of the change, image by image, with a gain and a loss counted in
            addition (exercise 9.3).
        n: scenes of the class.
    """

    before: float
    after: float
    margin: float
    n: int


def effect(case: Any, scenes: Any, name: str, before: str, after: str, answer: str | None = None) -> Effect:
    """Measure one claim about answers: what an intervention does to a class, on the same scenes.

    Args:
        case: a case file; its ``model`` and ``classes`` are used.
        scenes: ``case.scenes`` or ``case.fresh(...)``.
        name: the class of the scenes that are looked at.
        before: an intervention, or ``"nothing"``; a colour follows a colon: ``"swap_background:red"``.
        after: likewise.
        answer: which answer is counted; by default the class itself, and then it is an accuracy.

    Raises:
        ValueError: if a class or an intervention is unknown.
    """
    _checks.check_choice("name", name, tuple(case.classes))
    counted = case.classes.index(_checks.check_choice("answer", answer or name, tuple(case.classes)))
    mine = scenes[(scenes.labels == case.classes.index(name)).nonzero()[:, 0]]
    first, second = (
        (answers(case.model, changed(mine, to).images).argmax(1) == counted).double()
        for to in (before, after)
    )
    change = torch.cat([second - first, torch.tensor([1.0, -1.0], dtype=torch.float64)])
    margin = 2 * change.std(correction=0) / math.sqrt(len(change))
    return Effect(float(first.mean()), float(second.mean()), float(margin), len(mine))


def changed(scenes: Any, intervention: str) -> Any:
    """The scenes after an intervention as a claim writes it: ``"nothing"``, ``"swap_background:red"``."""
    if intervention == "nothing":
        return scenes
    name, _, colour = intervention.partition(":")
    return intervene(scenes, name.strip(), to=colour.strip() or None)


def elsewhere(a: Tensor, b: Tensor) -> Tensor:
    """Share of the heat that two maps (N, H, W) put on different places, (N,); 1 where one is blank."""
    a, b = (m.relu().flatten(1).double() for m in (a, b))
    p, q = (m / m.sum(1, keepdim=True).clamp(min=1e-30) for m in (a, b))
    both = (a.sum(1) > 0) & (b.sum(1) > 0)
    return torch.where(both, 0.5 * (p - q).abs().sum(1), 1.0)


def _cam(case: Any, x: Tensor, target: Tensor, model: Any = None, **options: Any) -> Tensor:
    return grad_cam(model or case.model, x, target, layer=case.layer, **options)


def _on(heat: Tensor, where: Tensor) -> Tensor:
    """Share of the heat (N, H, W) on these pixels, (N,); 0 for a blank map."""
    heat = heat.relu().double()
    return (heat * where).sum((1, 2)) / heat.sum((1, 2)).clamp(min=1e-30)


def _heat_on_object(case: Any, scenes: Any) -> Tensor:
    named = answers(case.model, scenes.images).argmax(1)
    return _on(_cam(case, scenes.images, named), scenes.masks)


def _heat_on_tag(case: Any, scenes: Any) -> Tensor:
    tagged = scenes[scenes.tag.nonzero()[:, 0]]
    named = answers(case.model, tagged.images).argmax(1)
    wider = F.max_pool2d(tagged.tag_masks.double()[:, None], 9, 1, 4)[:, 0]  # by half a cell of the layer
    return _on(_cam(case, tagged.images, named), wider)


def _two_classes(case: Any, scenes: Any) -> Tensor:
    first, second = answers(case.model, scenes.images).topk(2, 1).indices.unbind(1)
    x = scenes.images
    return elsewhere(_cam(case, x, first, upsample=False), _cam(case, x, second, upsample=False))


def _two_pictures(case: Any, scenes: Any) -> Tensor:
    named = answers(case.model, scenes.images).argmax(1)
    maps = _cam(case, scenes.images, named, upsample=False)
    return elsewhere(maps, maps.roll(1, 0))


def _difference(case: Any, scenes: Any) -> Tensor:
    named = answers(case.model, scenes.images).argmax(1)
    x = scenes.images
    return elsewhere(
        _cam(case, x, named, upsample=False), _cam(case, x, named, contrast(case.model), upsample=False)
    )


def _against_occlusion(case: Any, scenes: Any) -> Tensor:
    few = scenes[:60]
    named = answers(case.model, few.images).argmax(1)
    return elsewhere(
        _cam(case, few.images, named), occlusion(case.model, few.images, named, window=16, stride=8)
    )


def _confidence(case: Any, scenes: Any) -> Tensor:
    return answers(case.model, scenes.images).amax(1).double()


def _marks(case: Any, scenes: Any) -> Tensor:
    found = marks_of(case.model, scenes.images[:16], layer=case.layer)
    return torch.tensor([float(len({mark.kind for mark in found}))], dtype=torch.float64)


def _labels_denied(case: Any, scenes: Any) -> Tensor:
    return (answers(case.model, case.training.images).argmax(1) != case.training.labels).double()


# name: what one image contributes, what the number says, and which finding it can speak for
MEASURES: dict[str, tuple[Callable[[Any, Any], Tensor], str, str]] = {
    "heat on the object": (_heat_on_object, "share of Grad-CAM's heat on the object", "maps mislead"),
    "heat on the tag": (
        _heat_on_tag,
        "share of Grad-CAM's heat on the tag and four pixels round it, of tagged scenes",
        "maps mislead",
    ),
    "two classes": (
        _two_classes,
        "share of heat elsewhere, between Grad-CAM's maps of the likeliest class and the next",
        "maps mislead",
    ),
    "two pictures": (
        _two_pictures,
        "share of heat elsewhere, between Grad-CAM's maps of two scenes",
        "maps mislead",
    ),
    "a difference": (
        _difference,
        "share of heat elsewhere, between Grad-CAM of the logit and of its difference to the mean",
        "maps mislead",
    ),
    "occlusion": (
        _against_occlusion,
        "share of heat elsewhere, between Grad-CAM and occlusion",
        "maps mislead",
    ),
    "marks": (_marks, "kinds of marks that `audit` finds in the network", "maps mislead"),
    "confidence": (_confidence, "mean probability of the class that is named", "wrong labels"),
    "labels denied": (
        _labels_denied,
        "share of the training pictures shown whose label is not the network's answer",
        "wrong labels",
    ),
}


@dataclass(frozen=True)
class Value:
    """A measure of a network: its mean over ``n`` scenes, and two standard errors of it."""

    value: float
    margin: float
    n: int


def measure(case: Any, scenes: Any, name: str) -> Value:
    """Measure one of :data:`MEASURES` on scenes: the mean, with two standard errors.

    Raises:
        ValueError: if there is no such measure.
    """
    if name not in MEASURES:
        raise ValueError(f"`name` must be one of {', '.join(MEASURES)}, got {name!r}")
    each = MEASURES[name][0](case, scenes)
    spread = float(each.std(correction=0)) if len(each) > 1 else 0.0
    return Value(float(each.mean()), 2 * spread / math.sqrt(len(each)), len(each))


def marks(scenes: Any) -> Tensor:
    """What was noted of each scene, as yes or no, (n, 3): tag, a coloured ground, out of focus."""
    return torch.stack([scenes.tag, scenes.tint > 0, scenes.blur], 1)


def chance(case: Any, draws: int = 400) -> float:
    """The gap that the largest of all gaps stays below in 95 of 100 shuffles of the marks, on the album."""
    right = (answers(case.model, case.images).argmax(1) == case.labels).double()
    return float(largest_gaps(right, case.labels, marks(case.scenes).double(), draws).quantile(0.95))


def largest_gaps(right: Tensor, labels: Tensor, has: Tensor, draws: int) -> Tensor:
    """The largest gap of right answers over classes and marks, when the marks are dealt anew in each class.

    Args:
        right: 1 or 0 for each image, (n,).
        labels: (n,).
        has: 1 or 0 for each image and mark, (n, marks).
        draws: number of shuffles.

    Returns:
        One number a shuffle, (draws,).
    """
    generator = torch.Generator().manual_seed(0)
    largest = torch.zeros(draws, dtype=torch.float64)
    for c in labels.unique():
        hits, mine = right[labels == c], has[labels == c]
        dealt = mine[torch.rand(draws, len(hits), generator=generator).argsort(1)]  # (draws, n, marks)
        with_it = (hits[:, None] * dealt).sum(1) / dealt.sum(1)
        without = (hits[:, None] * (1 - dealt)).sum(1) / (1 - dealt).sum(1)
        largest = torch.maximum(largest, (with_it - without).abs().nan_to_num(0).amax(1))
    return largest
