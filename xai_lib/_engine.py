"""What several methods share: input checks, targets, chunks of images, and a model left as it was found.

Nothing here is a method of explanation. A method checks its input (``check_images``, ``check_target``, …),
enters ``left_as_found(model)``, and asks for gradients (``input_gradient``, or ``gradient_runs`` where each
image is evaluated at many points).
"""

import difflib
import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Target = int | Tensor | None


# ---------------------------------------------------------------------------------------------- input checks


def check_images(model: nn.Module, x: Tensor) -> Tensor:
    """Check the model and its images before anything runs; return the images, detached."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    check_pixels(x)
    for name, module in model.named_modules():
        if module.training:
            part = f"its module {name!r}" if name else "it"
            raise ValueError(
                f"model must be in evaluation mode, but {part} is in training mode; call model.eval()"
            )
    weights = [*model.parameters(), *model.buffers()]
    if any(w.is_inference() for w in weights):
        raise ValueError(
            "model holds inference tensors, which have no gradients; build it outside torch.inference_mode()"
        )
    if weights and x.device != weights[0].device:
        device = weights[0].device
        raise ValueError(f"x is on {x.device}, but the model is on {device}; pass x.to('{device}')")
    with torch.inference_mode(False):
        return x.clone() if x.is_inference() else x.detach()


def check_pixels(x: Tensor) -> Tensor:
    """Check images alone: a finite, floating-point batch that is not empty."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor of images (N, C, H, W), got {type(x).__name__}")
    if x.dim() != 4:
        hint = "; for a single image pass x[None]" if x.dim() == 3 else ""
        raise ValueError(f"x must be 4-D, (N, C, H, W), got shape {tuple(x.shape)}{hint}")
    if not x.is_floating_point():
        raise ValueError(
            f"x must hold floating-point pixels in [0, 1], got {x.dtype}; for bytes pass x / 255"
        )
    if x.numel() == 0:
        raise ValueError(f"x must hold at least one image and one pixel, got an empty batch {tuple(x.shape)}")
    _check_finite("x", x)
    return x


def _check_finite(name: str, values: Tensor) -> None:
    finite = values.isfinite()
    if not finite.all():
        bad = values.numel() - int(finite.sum())
        raise ValueError(f"{name} must be finite, got {bad} NaN or infinite values out of {values.numel()}")


def check_count(name: str, value: int) -> int:
    """Check that an option which counts something is a positive whole number."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a positive whole number, got {value!r}") from None
    if count < 1 or isinstance(value, bool):
        raise ValueError(f"{name} must be a positive whole number, got {value!r}")
    return count


def check_batch_size(value: int | None, device: torch.device) -> int:
    """Images in one pass; where the caller does not say, what suits the device.

    On a processor little is gained beyond a few images, and memory grows with each of them: see the book's
    page "How fast, and why". A GPU is larger.
    """
    if value is None:
        return 16 if device.type == "cpu" else 64
    return check_count("batch_size", value)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Check that an option is one of the words it may be; suggest the nearest."""
    if value not in choices:
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"{name} must be one of {listed}, got {value!r}{_nearest(value, choices)}")
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


def check_like_images(name: str, value: float | Tensor | None, x: Tensor) -> Tensor:
    """Images given as an option (a baseline, say): zeros for None, else broadcast to the shape of ``x``."""
    if value is None:
        return torch.zeros_like(x)
    if isinstance(value, Tensor) and value.device != x.device and value.dim() > 0:
        raise ValueError(f"{name} is on {value.device}, but x is on {x.device}; pass {name}.to('{x.device}')")
    try:
        images = torch.as_tensor(value, dtype=x.dtype, device=x.device).detach().broadcast_to(x.shape)
    except (RuntimeError, TypeError, ValueError):
        got = tuple(value.shape) if isinstance(value, Tensor) else repr(value)
        raise ValueError(
            f"{name} must be a number or a tensor that broadcasts to x's shape {tuple(x.shape)}, got {got}"
        ) from None
    _check_finite(name, images)
    return images


# --------------------------------------------------------------------------------------------------- targets


class Classes(NamedTuple):
    """The class to explain for each image, and the highest of them (known on the host: no wait in a loop)."""

    index: Tensor  # (N,), int64, on the images' device
    highest: int


def check_target(target: Target, x: Tensor) -> Classes | None:
    """Check the target as far as can be without the model; None stays None.

    Whether the target is below the number of classes is only known after the first forward pass: ``one_hot``
    checks.
    """
    if target is None:
        return None
    if isinstance(target, Tensor) and target.dim() > 0:
        if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
            raise ValueError(f"target must hold class numbers (integers), got {target.dtype}")
        if target.shape != (len(x),):
            raise ValueError(
                f"target must be an int or hold one class for each image, shape ({len(x)},), "
                f"got shape {tuple(target.shape)}"
            )
        index = target.detach().to(x.device, torch.int64)
    else:
        try:
            number = operator.index(target)
        except TypeError:
            raise TypeError(
                f"target must be an int, a tensor (N,) of ints, or None, got {type(target).__name__}"
            ) from None
        if isinstance(target, bool):
            raise TypeError("target must be an int, a tensor (N,) of ints, or None, got bool")
        index = torch.full((len(x),), number, device=x.device)
    lowest, highest = (int(v) for v in index.aminmax())
    if lowest < 0:
        raise ValueError(f"target must be a class number, 0 or more, got {lowest}")
    return Classes(index, highest)


def check_logits(logits: Any, n: int) -> Tensor:
    """Check that the model returned one row of logits for each image."""
    if not isinstance(logits, Tensor):
        raise ValueError(f"model must return a tensor of logits (N, classes), got {type(logits).__name__}")
    if logits.dim() != 2 or len(logits) != n:
        raise ValueError(
            f"model must return logits ({n}, classes) for {n} images, got shape {tuple(logits.shape)}"
        )
    return logits


def check_range(highest: int, n_classes: int) -> None:
    """Check that every target is a class of the model."""
    if highest >= n_classes:
        raise ValueError(f"target must be below the model's number of classes, {n_classes}, got {highest}")


def one_hot(logits: Tensor, classes: Classes | None) -> Tensor:
    """Ones at the explained logits: the gradient's seed. ``classes=None`` takes each row's largest logit."""
    if classes is None:
        index = logits.argmax(1)
    else:
        check_range(classes.highest, logits.shape[1])
        index = classes.index
    return torch.zeros_like(logits).scatter_(1, index[:, None], 1.0)  # (N, classes)


def own_choice(model: nn.Module, x: Tensor, batch_size: int) -> Classes:
    """The model's own argmax on the clean images, in chunks, without a graph."""
    with torch.no_grad():
        choices = [check_logits(model(part.clone()), len(part)).argmax(1) for part in x.split(batch_size)]
    index = torch.cat(choices)
    return Classes(index, int(index.max()))


# ------------------------------------------------------------------------------------------------- the model


@contextmanager
def left_as_found(model: nn.Module) -> Iterator[None]:
    """Work on the model inside; find it afterwards as it was, also after an exception or an interrupt.

    Parameters are frozen meanwhile, so that no graph is built, and nothing is saved, for gradients nobody
    asked for. Gradients are taken with ``torch.autograd.grad``, which leaves every ``.grad`` alone. Buffers
    are compared by version and put back if a forward pass changed them. Works inside ``no_grad`` and
    ``inference_mode``.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    modules = list(model.modules())
    modes = [m.training for m in modules]
    with torch.inference_mode(False), torch.no_grad():
        buffers = [
            (m._buffers, name, b, None if b is None else (b._version, b.clone()))
            for m in modules
            for name, b in m._buffers.items()
        ]
        try:
            for parameter in trained:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode
            for store, name, buffer, copy in buffers:
                store[name] = buffer
                if copy is not None and buffer._version != copy[0]:
                    buffer.copy_(copy[1])


def find_layer(model: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """A layer given as a module or by its dotted name; its name and the module.

    The name may be the one inside a wrapper (``DataParallel``, ``torch.compile``) or the one outside, so that
    it serves a model and its wrapped copy alike.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    if isinstance(layer, nn.Module):
        for name, module in modules.items():
            if module is layer:
                return name, module
        raise ValueError(
            f"layer is a {type(layer).__name__} that is not part of this model; "
            "pass its dotted name, which also works on copies of the model"
        )
    if not isinstance(layer, str):
        raise TypeError(f"layer must be a module of the model or its dotted name, got {type(layer).__name__}")
    if layer == "" or layer not in modules:
        names = [name for name in modules if name]
        for name in names:
            if layer and _inside(name) == _inside(layer):
                return name, modules[name]
        raise ValueError(f"layer {layer!r} is not a module of the model{_nearest(layer, names)}")
    return layer, modules[layer]


_WRAPPERS = ("module", "_orig_mod")  # DataParallel and its like, and torch.compile, call the model so


def _inside(name: str) -> str:
    """The dotted name without the wrappers' part."""
    parts = name.split(".")
    while len(parts) > 1 and parts[0] in _WRAPPERS:
        parts.pop(0)
    return ".".join(parts)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside wrappers that only change how it is run: a hook must see one pass, on one device."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif "_orig_mod" in model._modules:
            model = model._modules["_orig_mod"]
        else:
            return model


def _nearest(word: Any, words: tuple[str, ...] | list[str]) -> str:
    """'; did you mean …?', or nothing when no word is near."""
    ending = [w for w in words if w.endswith(f".{word}")]  # the right layer, inside a wrapper
    near = (ending + difflib.get_close_matches(str(word), words, n=3, cutoff=0.4))[:3]
    return f"; did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?" if near else ""


# ------------------------------------------------------------------------------------------------- gradients

GraphEdit = Callable[[Tensor], None]


def input_gradient(
    model: nn.Module, x: Tensor, classes: Classes | None, edit: GraphEdit | None = None
) -> Tensor:
    """Gradient of each image's logit with respect to its pixels, (N, C, H, W): one forward and one backward
    pass.

    ``edit`` may change the graph, given the logits, before the backward pass runs through it.
    """
    with torch.enable_grad():
        pixels = x.detach().requires_grad_()
        # A copy, so that a model whose first layer works in place neither fails on a leaf nor touches the
        # pixels.
        logits = check_logits(model(pixels.clone()), len(x))
        seed = one_hot(logits.detach(), classes)
        if not logits.requires_grad:
            raise ValueError(
                "model gives logits without a gradient; does its forward use detach() or no_grad()?"
            )
        if edit is not None:
            edit(logits)
        # Each logit depends on its own image only, so one backward pass serves the whole batch.
        return torch.autograd.grad(logits, pixels, grad_outputs=seed)[0]


class Run(NamedTuple):
    """Gradients at neighbouring points of one image."""

    image: int
    first: int  # the number of the first of these points
    gradients: Tensor  # (points, C, H, W)


def gradient_runs(
    model: nn.Module,
    classes: Classes,
    n_points: int,
    batch_size: int,
    make_points: Callable[[Tensor, Tensor], Tensor],
) -> Iterator[Run]:
    """Input gradients at ``n_points`` points for each image, in chunks of ``batch_size`` points.

    ``make_points(images, points)`` gets two index tensors (b,) and returns the pixels (b, C, H, W). Points
    are taken image by image and every chunk but the last is full: the number of passes is the least possible,
    and the memory is that of one chunk. A run never spans two images, so sums need no scattered (and on a GPU
    unordered) writes.
    """
    total = len(classes.index) * n_points
    for start in range(0, total, batch_size):
        stop = min(start + batch_size, total)
        flat = torch.arange(start, stop, device=classes.index.device)
        images = flat.div(n_points, rounding_mode="floor")
        chosen = Classes(classes.index[images], classes.highest)
        gradients = input_gradient(model, make_points(images, flat - images * n_points), chosen)
        while start < stop:
            image, first = divmod(start, n_points)
            size = min(n_points - first, stop - start)
            yield Run(image, first, gradients[:size])
            gradients = gradients[size:]
            start += size


def normal_draws(
    x: Tensor, total: int, generator: torch.Generator | None, block: int = 16
) -> Callable[[int], Tensor]:
    """A source of ``total`` standard normal images like ``x[0]``; call it with how many you want next.

    Drawn in blocks of a fixed size whatever is asked for, so that the numbers do not depend on the chunks.
    """
    shape, drawn = x.shape[1:], 0
    spare = x.new_empty((0, *shape))

    def draw(count: int) -> Tensor:
        nonlocal drawn, spare
        parts, have = [spare], len(spare)
        while have < count:
            size = min(block, total - drawn)
            parts.append(torch.randn(size, *shape, generator=generator, dtype=x.dtype, device=x.device))
            drawn += size
            have += size
        pool = torch.cat(parts) if len(parts) > 1 else spare
        spare = pool[count:]  # a view: small chunks are served from one block without copies
        return pool[:count]

    return draw


# ------------------------------------------------------------------------------------------ rectifier rules


def rectifiers(logits: Tensor) -> list[Any]:
    """Every ReLU and ReLU6 in the graph behind ``logits``.

    Read from the autograd graph, not from the list of modules: functional, in-place and reused rectifiers are
    each a node there, and the model itself is not touched. Not seen: rectifiers inside a compiled part of a
    model or in a hand-written ``autograd.Function``.
    """
    found, seen, stack = [], set(), [logits.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if _is_rectifier(node):
            found.append(node)
        stack.extend(parent for parent, _ in node.next_functions)
    return found


def _is_rectifier(node: Any) -> bool:
    kind = node.name().rstrip("0123456789")
    if kind == "HardtanhBackward":  # ReLU6, whichever way it is spelt
        return node._saved_min_val == 0
    if kind == "ThresholdBackward":
        return node._saved_threshold == 0
    if kind in ("ClampBackward", "ClampMinBackward"):  # clamp(0, 1) clips pixels: that is no rectifier
        return node._saved_min == 0 and getattr(node, "_saved_max", None) in (None, 6)
    return kind == "ReluBackward"


def positive_only(logits: Tensor) -> None:
    """Guided backpropagation: only positive gradients enter a rectifier; its own backward then masks them."""
    for node in _some_rectifiers(logits):
        node.register_prehook(lambda outputs: tuple(None if g is None else g.clamp(min=0) for g in outputs))


def rectify_only(logits: Tensor) -> None:
    """Deconvnet: the rectifier is applied to the gradient, in place of the rectifier's own backward."""
    for node in _some_rectifiers(logits):
        node.register_hook(lambda _inputs, outputs: (outputs[0].clamp(min=0),))


def _some_rectifiers(logits: Tensor) -> list[Any]:
    nodes = rectifiers(logits)
    if not nodes:
        raise ValueError("model has no ReLU or ReLU6, and guided backprop and deconvnet only change those")
    return nodes


# ----------------------------------------------------------------------------------------- recording a layer


class Recording:
    """What ``recorded`` fills in: the layer's name and, after a forward pass, its output (N, K, h, w)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.output: Tensor | None = None
        self.ran = False

    def feature_maps(self, n: int) -> Tensor:
        """The output, checked to be one stack of feature maps for each of ``n`` images."""
        if not self.ran:
            raise ValueError(f"layer {self.name!r} never ran in the model's forward pass")
        if self.output is None:
            raise ValueError(
                f"layer must give feature maps ({n}, K, h, w), but {self.name!r} gives no tensor"
            )
        if self.output.dim() != 4 or len(self.output) != n:
            raise ValueError(
                f"layer must give feature maps ({n}, K, h, w), "
                f"but {self.name!r} gives shape {tuple(self.output.shape)}"
            )
        return self.output


@contextmanager
def recorded(model: nn.Module, layer: str | nn.Module) -> Iterator[Recording]:
    """Record a layer's output as the root of a new graph; a layer that runs several times, at its last run.

    Nothing below the layer is differentiated, which saves that part of the backward pass. The record is a
    copy, and the model goes on with another: an in-place operation, behind the layer or on an input that the
    layer passes through, overwrites neither.
    """
    name, module = find_layer(model, layer)
    record = Recording(name)

    def keep(_module: nn.Module, _args: Any, output: Any) -> Any:
        record.ran, record.output = True, None
        if not isinstance(output, Tensor):
            return output
        record.output = output.detach().clone().requires_grad_()
        return record.output.clone()

    handle = module.register_forward_hook(keep)
    try:
        yield record
    finally:
        handle.remove()


def layer_gradient(
    model: nn.Module, x: Tensor, classes: Classes | None, layer: str | nn.Module
) -> tuple[Tensor, Tensor, Tensor]:
    """A layer's feature maps, the gradient of each image's logit there (N, K, h, w), and the logits."""
    with recorded(model, layer) as record, torch.enable_grad():
        logits = check_logits(unwrapped(model)(x.clone()), len(x))
        maps = record.feature_maps(len(x))
        seed = one_hot(logits.detach(), classes)
        gradients = None
        if logits.requires_grad:  # not so if only other layers lead to the logits
            gradients = torch.autograd.grad(logits, maps, grad_outputs=seed, allow_unused=True)[0]
        if gradients is None:
            raise ValueError(
                f"the logits do not depend on layer {record.name!r}; "
                "is it used behind detach() or no_grad(), or not at all?"
            )
    return maps.detach(), gradients, logits.detach()


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below, and zero where below is zero."""
    return (above / below.where(below != 0, torch.ones_like(below))).where(
        below != 0, torch.zeros_like(below)
    )


def is_number(value: Any) -> bool:
    """A finite real number (not a bool)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
