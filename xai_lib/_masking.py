"""Hiding parts of an image: what takes their place, and the one loop that scores the masked images.

A method that hides is a rule, ``keep(samples, images) -> (b, H, W)``, what is shown of each masked image, in
[0, 1] or True and False, and a reduction of the scores that ``masked_scores`` gives back. Samples are only
numbers, so the steps of a curve, or several maps of one image, are samples too: with ``steps`` for each map,
sample s hides by map ``s // steps``, as far as its step ``s % steps``.
"""

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _checks, _model
from xai_lib._checks import Classes

Fill = str | float | Tensor
Keep = Callable[[Tensor, Tensor], Tensor]  # numbers of samples and of images, (b,) each → (b, H, W)
Hidden = Callable[[Tensor, Tensor, Tensor], Tensor]  # these and what is shown → (b, C, H, W)
Options = ParamSpec("Options")

FILLS = ("mean", "grey", "blur")


def options_of(fit: Callable[Options, Any]) -> Callable[[Callable[..., Tensor]], Callable[Options, Tensor]]:
    """Give a function that hands all its arguments on to ``fit`` the signature of ``fit``."""

    def decorate(explain: Callable[..., Tensor]) -> Callable[Options, Tensor]:
        signature = inspect.signature(fit)
        explain.__signature__ = signature.replace(return_annotation=Tensor)
        explain.__annotations__ = {k: p.annotation for k, p in signature.parameters.items()}
        explain.__annotations__["return"] = Tensor
        return explain

    return decorate


# ---------------------------------------------------------------------------------- what hidden pixels become


def check_fill(fill: Fill, x: Tensor, *, name: str = "fill", words: tuple[str, ...] = FILLS) -> str | Tensor:
    """Check what hidden pixels become: one of the words, or images of the shape of ``x``."""
    if isinstance(fill, str):
        return _checks.check_choice(name, fill, words)
    if not isinstance(fill, Tensor) and not _checks.is_number(fill):
        raise ValueError(f"{name} must be a number, a tensor, or one of {words}, got {fill!r}")
    return _checks.check_like_images(name, fill, x)


def hidden_images(fill: str | Tensor, x: Tensor, segments: Tensor | None = None) -> Tensor:
    """What the images look like with everything hidden, (N, C, H, W); ``"mean"`` is that of each segment."""
    if isinstance(fill, Tensor):
        return fill
    if fill == "grey":
        return torch.full_like(x, 0.5)
    wide = x.to(_model.wide(x.dtype))
    if fill == "blur":
        return _blurred(wide).to(x.dtype)
    if segments is None:
        return wide.mean((2, 3), keepdim=True).to(x.dtype).expand_as(x)
    return torch.stack([_mean_colours(*pair) for pair in zip(wide, segments, strict=True)]).to(x.dtype)


def _blurred(x: Tensor) -> Tensor:
    """A Gaussian as wide as a twentieth of the shorter side, cut off at twice that, the border mirrored."""
    shorter = min(x.shape[-2:])
    sigma = shorter / 20
    reach = min(math.ceil(2 * sigma), shorter - 1)  # a mirror shows no more than the image
    place = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    bell = (-0.5 * (place / sigma).square()).exp()
    bell = bell / bell.sum()
    planes = F.pad(x.flatten(0, 1)[:, None], (reach,) * 4, mode="reflect")  # (N·C, 1, H, W) with its border
    planes = F.conv2d(F.conv2d(planes, bell[None, None, :, None]), bell[None, None, None])
    return planes.view_as(x)


def _mean_colours(image: Tensor, labels: Tensor) -> Tensor:
    """One image (C, H, W), each superpixel in its mean colour."""
    # A product with the members, since scattered sums differ from run to run on a GPU.
    member = F.one_hot(labels.flatten()).to(image.dtype)  # (H·W, d)
    return (image.flatten(1) @ member / member.sum(0))[:, labels]


def masked(x: Tensor, hidden: Tensor, shown: Tensor, images: Tensor) -> Tensor:
    """The images with these numbers (b,), each with what of it is ``shown``, (b, H, W): (b, C, H, W).

    ``hidden`` is what each image of ``x`` looks like with everything hidden.
    """
    ours, other = (v if len(v) == 1 else v[images] for v in (x, hidden))  # one image broadcasts, uncopied
    if shown.dtype == torch.bool:
        return torch.where(shown[:, None], ours, other)
    return torch.lerp(other, ours, shown[:, None].to(x.dtype))


# ----------------------------------------------------------------------------------------------- the one loop


def masked_scores(
    model: nn.Module,
    x: Tensor,
    classes: Classes,
    n: int,
    keep: Keep,
    hidden: Tensor | Hidden,
    *,
    batch_size: int,
    what: str = "probability",
    only: Tensor | None = None,
    every: int | None = None,
    enough: Callable[[Tensor], bool] | None = None,
    name: str = "",
    progress: bool = False,
) -> Tensor:
    """Scores (N, K, n) of n masked versions of every image, float32 or better, ``batch_size`` to a pass.

    All passes but the last are full, also across images; memory is that of one; the device is not waited for
    but at the first pass and after the last. To be called inside ``left_as_found``.

    Args:
        keep: the rule: which part of each masked image is shown.
        hidden: what the images look like with everything hidden, (N, C, H, W); or, where that depends on the
            sample or on what is shown, a function of both that makes the masked images.
        what: "probability", the softmax, or "logit".
        only: which samples of which image to score, (N, n), bool; the others cost nothing and score 0.
        every, enough: after so many samples of all images ask whether the scores up to now are enough, and
            stop if so: then the result has fewer than n samples.
        name, progress: a progress bar, counted in passes.

    Raises:
        ValueError: if there is no softmax to speak of (one logit), or a score is not finite.
    """

    def look(samples: Tensor, images: Tensor) -> Tensor:
        shown = keep(samples, images)
        return hidden(samples, images, shown) if callable(hidden) else masked(x, hidden, shown, images)

    flat = torch.arange(n * len(x), device=x.device) if only is None else only.T.flatten().nonzero()[:, 0]
    parts: list[Tensor] = []
    with _model.progress_bar(n * len(x), name, progress) as bar:
        bar.update(n * len(x) - len(flat))
        for stretch in flat.split((every or n) * len(x)) if len(flat) else ():
            for chunk in stretch.split(batch_size):
                samples, images = chunk // len(x), chunk % len(x)
                logits = _model.logits_of(model, look(samples, images))
                if not parts:
                    _check_first(logits, classes, what)
                wide = _model.wide(logits.dtype)
                values = logits.to(wide) if what == "logit" else logits.softmax(1, dtype=wide)
                parts.append(values.gather(1, classes.index[images]))  # (b, K)
                bar.update(len(chunk))
            if enough is not None and enough(_by_image(torch.cat(parts), len(x))):
                break
    if not parts:
        return torch.zeros(*classes.index.shape, n, dtype=_model.wide(x.dtype), device=x.device)
    scores = torch.cat(parts)
    good = scores.isfinite().all(1)
    if not good.all():
        bad = flat[: len(good)][~good][:batch_size]
        images = bad % len(x)
        _model.check_result(scores, model, look(bad // len(x), images), "masked images")
    if only is not None:
        scores = scores.new_zeros(n * len(x), scores.shape[1]).index_copy(0, flat, scores)
    return _by_image(scores, len(x))


def _by_image(scores: Tensor, n_images: int) -> Tensor:
    """(samples · N, K), the images of each sample one after the other → (N, K, samples)."""
    return scores.unflatten(0, (-1, n_images)).permute(1, 2, 0)


def _check_first(logits: Tensor, classes: Classes, what: str) -> None:
    """Check that the softmax of the logits says something: the only wait in the loop, at its first pass."""
    if what == "probability" and logits.shape[1] == 1:
        raise ValueError(
            "model must give a logit for each class, got one logit: the softmax of one logit is 1, whatever "
            "the image shows; give [0, z]:\n"
            "    model = torch.nn.Sequential(model, torch.nn.ConstantPad1d((1, 0), 0.0)).eval()\n"
            "and explain class 1 (or 0, its absence)"
        )
    _checks.check_range(classes.highest, logits.shape[1])
    rounding = max(1e-3, 2 * torch.finfo(logits.dtype).eps)
    if what == "probability" and ((logits >= 0).all() & ((logits.float().sum(1) - 1).abs() < rounding).all()):
        warnings.warn(
            "model's outputs already sum to one: does it end in a softmax? A second one is taken here; "
            "explain its logits, or pass black_box(model), which takes probabilities",
            stacklevel=_checks._outside(),
        )
