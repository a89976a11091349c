"""Every argument check of the library, in one dialect: ``x must be …, got …; do …``.

A check raises before any forward pass, names the argument, and returns the value in the form in which the
methods use it. Numbers may come as numpy scalars; flags are True or False and nothing else.
"""

import difflib
import math
import numbers
import operator
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

Target = int | Tensor | None


# --------------------------------------------------------------------------------------- numbers and words


def is_number(value: Any) -> bool:
    """A finite real number, also one of numpy's (not a bool, not a tensor)."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    what: str = "",
) -> float:
    """Check a finite number above ``above``, or between ``least`` and ``most``; ``what`` says its meaning."""
    fits = (
        is_number(value)
        and (above is None or value > above)
        and (least is None or value >= least)
        and (most is None or value <= most)
    )
    if not fits:
        bounds = [f"above {above}"] if above is not None else []
        bounds += [f"{least} or more"] if least is not None else []
        bounds += [f"at most {most}"] if most is not None else []
        wanted = ", ".join(filter(None, ["a finite number", " and ".join(bounds), what]))
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return float(value)


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Check that an option which counts something is a whole number of at least ``least``."""
    wanted = "a positive whole number" if least == 1 else f"a whole number of at least {least}"
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be {wanted}, got {value!r}") from None
    if count < least or isinstance(value, bool):
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    if count >= 2**63:
        raise ValueError(f"{name} must be a whole number that fits into 64 bits, got {value!r}")
    return count


def check_flag(name: str, value: Any) -> bool:
    """Check that an option is True or False: any other value would count as one of them in silence."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Check that an option is one of the words it may be; suggest the nearest."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"{name} must be one of {listed}, got {value!r}{nearest(value, choices)}")
    return value


def nearest(word: Any, words: tuple[str, ...] | list[str]) -> str:
    """'; did you mean …?', or nothing when no word is near."""
    ending = [w for w in words if w.endswith(f".{word}")]  # the right layer, inside a wrapper
    near = (ending + difflib.get_close_matches(str(word), words, n=3, cutoff=0.4))[:3]
    return f"; did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?" if near else ""


def check_sizes(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    """Check a height and a width, or one number for both."""
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise ValueError(f"{name} must be one number or two (height, width), got {value!r}")
        return check_count(name, value[0]), check_count(name, value[1])
    return (check_count(name, value),) * 2


def check_batch_size(value: int | None, device: torch.device) -> int:
    """Images in one pass; where the caller does not say, what suits the device.

    On a processor little is gained beyond a few images, and memory grows with each of them: see the book's
    page "How fast, and why". A GPU is larger.
    """
    if value is None:
        return 16 if device.type == "cpu" else 64
    return check_count("batch_size", value)


def check_probabilities(
    name: str, value: Mapping[str, float] | None, keys: tuple[str, ...]
) -> dict[str, float]:
    """Check probabilities by name, such as ``{"star": 0.99}``; None is none of them."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{name} must be a dict from names to probabilities, such as {{{keys[0]!r}: 0.5}}, or None, "
            f"got {value!r}"
        )
    for key in value:
        if key not in keys:
            listed = ", ".join(map(repr, keys))
            raise ValueError(f"{name} must name some of {listed}, got {key!r}{nearest(key, keys)}")
    return {
        key: check_number(f"{name}[{key!r}]", share, least=0, most=1, what="a probability")
        for key, share in value.items()
    }


def check_device(name: str, value: torch.device | str) -> torch.device:
    """Check that an option names a device that this machine has, and that holds values."""
    wanted = f'{name} must be a device such as "cpu" or "cuda"'
    try:
        device = torch.device(value)
        torch.empty(0, device=device)
    except (RuntimeError, TypeError, AssertionError) as error:
        what = str(error).strip().split("\n")[0]
        raise ValueError(f"{wanted}, got {value!r} ({what})") from None
    if device.type == "meta":
        raise ValueError(f"{wanted}, got {value!r}, where tensors hold no values")
    return device


def check_map(value: Any) -> Callable:
    """Check that an option is a ``map``: a function of a function and of items."""
    if not callable(value):
        raise TypeError(
            "map must be a function map(function, items), such as Python's map or cluster.on_ray(...), "
            f"got {type(value).__name__}"
        )
    return value


def check_generator(generator: torch.Generator | None, device: torch.device) -> None:
    """Check that random numbers can be drawn on the images' device."""
    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator or None, got {type(generator).__name__}")
    if generator.device.type != device.type:
        raise ValueError(
            f"generator draws on {generator.device}, but x is on {device}; "
            f"make it with torch.Generator('{device}')"
        )


# -------------------------------------------------------------------------------------------------- tensors


def ordinary(values: Tensor) -> Tensor:
    """The tensor without its graph; a copy if it was made in inference mode and could join no later one."""
    with torch.inference_mode(False):
        return values.clone() if values.is_inference() else values.detach()


def check_tensor(name: str, value: Any, what: str, dims: tuple[int, ...] = ()) -> Tensor:
    """Check a dense tensor of ``dims`` dimensions (empty: any); ``what`` says what it holds."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor of {what}, got {type(value).__name__}")
    if value.layout != torch.strided:
        raise ValueError(f"{name} must be a dense tensor, got {value.layout}; pass {name}.to_dense()")
    if value.is_meta:
        raise ValueError(f"{name} must hold values, got a tensor on the meta device, which has none")
    if dims and value.dim() not in dims:
        kinds = " or ".join(f"{d}-D" for d in dims)
        raise ValueError(f"{name} must be {kinds}, {what}, got shape {tuple(value.shape)}")
    return value


def check_real(name: str, value: Any, what: str, dims: tuple[int, ...] = ()) -> Tensor:
    """Check a dense tensor of finite floating-point numbers that is not empty."""
    check_tensor(name, value, what, dims)
    if not value.is_floating_point():
        raise ValueError(f"{name} must hold floating-point numbers, got {value.dtype}; pass {name}.float()")
    if value.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(value.shape)}")
    check_finite(name, value)
    return value


def check_pair(name: str, pair: Any, also: str = "") -> tuple[Tensor, Tensor]:
    """Check a pair (images, labels); ``also`` says what else the caller takes."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TypeError(f"{name} must be a pair (images, labels){also}, got {type(pair).__name__}")
    images = check_real(f"{name} images", pair[0], "images (n, ...)")
    labels = check_tensor(f"{name} labels", pair[1], "class numbers (n,)", (1,))
    if labels.is_floating_point() or labels.dtype == torch.bool or labels.is_complex():
        raise ValueError(f"{name} labels must hold class numbers (integers), got {labels.dtype}")
    if images.dim() < 2 or len(images) != len(labels):
        raise ValueError(
            f"{name} must have one label for each image, got images {tuple(images.shape)} and "
            f"labels {tuple(labels.shape)}"
        )
    if labels.device != images.device:
        raise ValueError(
            f"{name} labels are on {labels.device}, but its images are on {images.device}; "
            f"pass labels.to('{images.device}')"
        )
    if int(labels.min()) < 0:
        raise ValueError(f"{name} labels must be class numbers, 0 or more, got {int(labels.min())}")
    return ordinary(images), ordinary(labels).long()


def check_boxes(name: str, value: Any) -> Tensor:
    """Check boxes (..., 4): real, finite, not inside out; no boxes at all, or without area, are fine."""
    check_tensor(name, value, "boxes (..., 4) as x0, y0, x1, y1")
    if value.dim() == 0 or value.shape[-1] != 4:
        raise ValueError(
            f"{name} must have the shape (..., 4), boxes as x0, y0, x1, y1, got {tuple(value.shape)}"
        )
    if value.is_complex() or value.dtype == torch.bool:
        raise ValueError(f"{name} must hold real numbers, got {value.dtype}")
    if value.numel():
        check_finite(name, value)
    reversed_ = (value[..., :2] > value[..., 2:]).any(-1)
    if reversed_.any():
        raise ValueError(
            f"{name} must have x0 <= x1 and y0 <= y1, got {value[reversed_][0].tolist()}; "
            "boxes are x0, y0, x1, y1, not a corner with width and height"
        )
    return value


def check_finite(name: str, values: Tensor) -> tuple[float, float]:
    """Check that all values are finite; the least and the greatest."""
    low, high = torch.stack(values.detach().aminmax()).tolist()
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = values.numel() - int(values.isfinite().sum())
        raise ValueError(f"{name} must be finite, got {bad} NaN or infinite values out of {values.numel()}")
    return low, high


def check_maps(name: str, heatmap: Tensor, masks: bool = True) -> Tensor:
    """Check one real heatmap (H, W) or several (N, H, W): finite, not empty; ``masks``: bools are fine."""
    check_tensor(name, heatmap, "heatmaps (N, H, W) or one heatmap (H, W)", (2, 3))
    if heatmap.is_complex() or (heatmap.dtype == torch.bool and not masks):
        hint = "" if heatmap.is_complex() else f"; for a mask pass {name}.float()"
        raise ValueError(f"{name} must hold real numbers, got {heatmap.dtype}{hint}")
    if heatmap.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(heatmap.shape)}")
    if heatmap.dtype != torch.bool:
        check_finite(name, heatmap)
    return heatmap


def check_maps_of(name: str, heatmaps: Any, x: Tensor) -> Tensor:
    """Check heatmaps of the images ``x``, one of each, (N, H, W), or M of each: as (N, M, H, W), detached."""
    check_tensor(name, heatmaps, "heatmaps (N, H, W), or (N, M, H, W), M of each image")
    size = tuple(x.shape[-2:])
    shape = tuple(heatmaps.shape)
    if len(shape) not in (3, 4) or shape[0] != len(x) or shape[-2:] != size or heatmaps.numel() == 0:
        hint = ""
        if len(shape) in (3, 4) and shape[0] == len(x) and shape[-2:] != size:
            hint = f"; resize them to the images' size {size}"
        if shape == size and len(x) == 1:
            hint = f"; for a single map pass {name}[None]"
        raise ValueError(
            f"{name} must have the shape {(len(x), *size)}, one map for each image of x, or "
            f"({len(x)}, M, {size[0]}, {size[1]}), M maps for each, got {shape}{hint}"
        )
    if heatmaps.device != x.device:
        raise ValueError(
            f"{name} is on {heatmaps.device}, but x is on {x.device}; pass {name}.to('{x.device}')"
        )
    check_maps(name, heatmaps.flatten(0, -3))
    heatmaps = ordinary(heatmaps)
    return heatmaps if len(shape) == 4 else heatmaps[:, None]


def check_pixels(x: Tensor) -> Tensor:
    """Check images alone: a finite, floating-point batch that is not empty; an unlikely range is said."""
    hint = "; for a single image pass x[None]" if isinstance(x, Tensor) and x.dim() == 3 else ""
    if hint:
        raise ValueError(f"x must be 4-D, (N, C, H, W), got shape {tuple(x.shape)}{hint}")
    check_tensor("x", x, "images (N, C, H, W)", (4,))
    if not x.is_floating_point():
        raise ValueError(
            f"x must hold floating-point pixels in [0, 1], got {x.dtype}; for bytes pass x / 255"
        )
    if x.numel() == 0:
        raise ValueError(f"x must hold at least one image and one pixel, got an empty batch {tuple(x.shape)}")
    low, high = check_finite("x", x)
    if high > 2 or low < -1:  # far outside: a little noise, or a deliberate shift, is the caller's business
        cause = "; for bytes pass x / 255" if low >= 0 and high > 16 else ""
        cause = cause or "; is it normalised already? Normalisation is the model's first layer here"
        warnings.warn(
            f"x has values from {low:.4g} to {high:.4g}; images in [0, 1] are expected{cause}",
            stacklevel=_outside(),
        )
    return x


def _outside() -> int:
    """The stack level of the caller's own code, for a warning that points there."""
    level, frame = 1, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("xai_lib."):
        level, frame = level + 1, frame.f_back
    return level


def check_module(model: Any) -> None:
    """Check that the model is one of torch's modules."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")


def check_evaluation(model: nn.Module) -> None:
    """Check that every part of the model is in evaluation mode and treats each image by itself."""
    check_module(model)
    for name, module in model.named_modules():
        _check_module(name, module)


def check_images(model: nn.Module, x: Tensor) -> Tensor:
    """Check the model and its images before anything runs; return the images, detached."""
    check_module(model)
    check_pixels(x)
    weights: list[Tensor] = []
    for name, module in model.named_modules():  # one walk: with one image to explain, each would be felt
        _check_module(name, module)
        own = (*module._parameters.values(), *module._buffers.values())
        weights += [w for w in own if w is not None]
    if any(nn.parameter.is_lazy(w) for w in weights):
        raise ValueError("model must have its parameters, but makes some at its first run; run it once")
    if any(w.is_inference() for w in weights):
        raise ValueError(
            "model holds inference tensors, which have no gradients; build it outside torch.inference_mode()"
        )
    if weights and x.device != weights[0].device:
        device = weights[0].device
        raise ValueError(f"x is on {x.device}, but the model is on {device}; pass x.to('{device}')")
    types = list(dict.fromkeys(w.dtype for w in weights if w.is_floating_point()))
    if types and x.dtype not in types and not torch.is_autocast_enabled(x.device.type):
        raise ValueError(f"x is {x.dtype}, but the model's weights are {types[0]}; pass x.to({types[0]})")
    return ordinary(x)


def _check_module(name: str, module: nn.Module) -> None:
    if module.training:
        raise ValueError(
            f"model must be in evaluation mode, but {_named(name)} is in training mode; call model.eval()"
        )
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
        raise ValueError(
            f"model must treat each image by itself, but {_named(name)} keeps no running statistics "
            "and normalises over the batch: the map of an image would depend on the others; use "
            "track_running_stats=True"
        )


def _named(name: str) -> str:
    return f"its module {name!r}" if name else "it"


def check_like_images(name: str, value: float | Tensor | None, x: Tensor) -> Tensor:
    """Images given as an option (a baseline, say): zeros for None, else broadcast to the shape of ``x``."""
    if value is None:
        return torch.zeros_like(x)
    if isinstance(value, Tensor) and value.device != x.device and value.dim() > 0:
        raise ValueError(f"{name} is on {value.device}, but x is on {x.device}; pass {name}.to('{x.device}')")
    if isinstance(value, complex) or (isinstance(value, Tensor) and value.is_complex()):
        raise ValueError(f"{name} must hold real numbers, got complex ones")
    try:
        given = ordinary(value) if isinstance(value, Tensor) else value
        images = torch.as_tensor(given, dtype=x.dtype, device=x.device).broadcast_to(x.shape)
    except (RuntimeError, TypeError, ValueError):
        got = tuple(value.shape) if isinstance(value, Tensor) else repr(value)
        raise ValueError(
            f"{name} must be a number or a tensor that broadcasts to x's shape {tuple(x.shape)}, got {got}"
        ) from None
    check_finite(name, images)
    return images


def check_segments(segments: Any, x: Tensor) -> tuple[Tensor, list[int]]:
    """Check superpixels, labelled without gaps: as int64, (N, H, W), and how many each image has."""
    if not isinstance(segments, Tensor):
        raise TypeError(f"segments must be a tensor of labels (N, H, W), got {type(segments).__name__}")
    if segments.is_floating_point() or segments.is_complex() or segments.dtype == torch.bool:
        raise ValueError(f"segments must hold labels (integers), got {segments.dtype}")
    if segments.device != x.device:
        raise ValueError(
            f"segments is on {segments.device}, but x is on {x.device}; pass segments.to('{x.device}')"
        )
    wanted = (len(x), *x.shape[-2:])
    if tuple(segments.shape) not in (wanted, wanted[1:]):
        raise ValueError(
            f"segments must have the shape {wanted} or {wanted[1:]} of x, got {tuple(segments.shape)}"
        )
    segments = ordinary(segments).to(torch.int64).expand(wanted)
    counts = []
    for i, labels in enumerate(segments):
        present = labels.unique().tolist()
        if present != list(range(len(present))):
            missing = sorted(set(range(max(present) + 1)) - set(present)) if present[0] >= 0 else []
            what = f"label {missing[0]} is missing" if missing else f"label {present[0]} is negative"
            raise ValueError(
                f"segments must be labelled from 0 without gaps, but in image {i} {what} (labels go from "
                f"{present[0]} to {present[-1]}); labels.unique(return_inverse=True)[1] closes gaps"
            )
        counts.append(len(present))
    return segments, counts


# --------------------------------------------------------------------------------------------------- targets


class Classes(NamedTuple):
    """The classes to explain, K for each image, and the highest (known on the host: no wait in a loop)."""

    index: Tensor  # (N, K), int64, on the images' device
    highest: int
    many: bool  # whether the caller asked for K classes, so that the answer has an axis K

    def of(self, images: Tensor | slice) -> "Classes":
        """Those of some of the images."""
        return self._replace(index=self.index[images])


def check_target(target: Target, x: Tensor, many: bool = False) -> Classes | None:
    """Check the target as far as can be without the model; None stays None.

    ``many`` allows (N, K), K classes for each image. Whether a target is below the number of classes is only
    known after the first forward pass: ``_model.check_range`` tells.
    """
    if target is None:
        return None
    shapes = f"({len(x)},), one class for each image" + (
        f", or ({len(x)}, K), K classes for each" if many else ""
    )
    if isinstance(target, Tensor | np.ndarray) and target.ndim > 0:
        index = _class_numbers(target, x.device)
        fits = index.shape == (len(x),) or (many and index.dim() == 2 and len(index) == len(x))
        if not fits or index.numel() == 0:
            raise ValueError(
                f"target must be an int or have the shape {shapes}; got shape {tuple(index.shape)}"
            )
        two_dims = index.dim() == 2
        index = index if two_dims else index[:, None]
    else:
        index = _one_class(target).expand(len(x), 1).to(x.device)
        two_dims = False
    lowest, highest = (int(v) for v in index.aminmax())
    if lowest < 0:
        raise ValueError(f"target must be a class number, 0 or more, got {lowest}")
    return Classes(index, highest, two_dims)


def _class_numbers(target: Any, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        values = ordinary(check_tensor("target", torch.as_tensor(target), "class numbers"))
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise ValueError(f"target must hold class numbers (integers), got {values.dtype}")
        return values.to(device, torch.int64)


def _one_class(target: Any) -> Tensor:
    wanted = "target must be an int, a tensor (N,) of ints, or None, got"
    dtype = getattr(target, "dtype", None)
    if isinstance(target, bool) or dtype == torch.bool:
        raise TypeError(f"{wanted} {'bool' if dtype is None else 'a tensor of torch.bool'}")
    try:
        number = operator.index(target)
    except TypeError:
        got = f"a tensor of {dtype}" if isinstance(target, Tensor) else type(target).__name__
        raise TypeError(f"{wanted} {got}") from None
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"target must be a class number, got {number}")
    with torch.inference_mode(False):
        return torch.tensor([[number]])


def check_range(highest: int, n_classes: int) -> None:
    """Check that every target is a class of the model."""
    if highest >= n_classes:
        raise ValueError(f"target must be below the model's number of classes, {n_classes}, got {highest}")
