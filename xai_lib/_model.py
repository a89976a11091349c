"""The model: run as its caller would, left as it was found; its layers found, recorded, differentiated.

A method checks its input (``_checks``), enters ``left_as_found(model)``, and there asks for logits
(``logits_of``), for the gradient at the pixels (``input_gradient``) or at a layer (``layer_gradient``). With
``create_graph=True`` the last two give results that can be differentiated again, by pixels and by weights;
they are then called outside ``left_as_found``, which freezes the weights.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from xai_lib._checks import Classes, check_range, nearest

Layer = str | nn.Module


# --------------------------------------------------------------------------------------------- run the model

_CALLER: ContextVar[list[tuple[str, torch.dtype]] | None] = ContextVar("autocast of the caller", default=None)


@contextmanager
def own_arithmetic() -> Iterator[None]:
    """Our sums outside the caller's autocast, whose types the model's passes still get; no inference mode."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    kinds = ["cpu"] + ([accelerator.type] if accelerator is not None else [])
    active = [(kind, torch.get_autocast_dtype(kind)) for kind in kinds if torch.is_autocast_enabled(kind)]
    token = _CALLER.set(active)
    try:
        with ExitStack() as stack, torch.inference_mode(False), torch.no_grad():
            for kind, _ in active:
                stack.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        _CALLER.reset(token)


def forward(model: nn.Module, x: Tensor) -> Any:
    """What the model makes of the images, under the autocast in which the caller called us.

    Of the caller's own images pass a copy: a model's first layer may work in place.
    """
    with ExitStack() as stack:
        for kind, dtype in _CALLER.get() or ():
            stack.enter_context(torch.autocast(kind, dtype=dtype))
        return model(x)


def logits_of(model: nn.Module, x: Tensor) -> Tensor:
    """The model's logits (N, classes), checked in shape."""
    return check_logits(forward(model, x), len(x))


def check_logits(logits: Any, n: int) -> Tensor:
    """Check that the model returned one row of logits for each image; say what to do where it did not."""
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"model must return a tensor of logits (N, classes), got {type(logits).__name__}; wrap it:\n"
            "    class Logits(torch.nn.Module):\n"
            "        def __init__(self, inner): super().__init__(); self.inner = inner\n"
            f"        def forward(self, x): return self.inner(x){_way_in(logits)}\n"
            "    model = Logits(model).eval()"
        )
    if logits.dim() != 2 or len(logits) != n:
        raise ValueError(
            f"model must return logits ({n}, classes) for {n} images, got shape {tuple(logits.shape)}"
        )
    return logits


def _way_in(output: Any) -> str:
    """How to get at the logits inside what a model returned."""
    if isinstance(output, dict):
        key = "logits" if "logits" in output else next(iter(output), "logits")
        return f"[{key!r}]"
    return "[0]" if isinstance(output, tuple | list) else ".logits"


def one_hot(logits: Tensor, classes: Classes | None) -> Tensor:
    """Ones at the explained logits: the gradient's seed. ``classes=None`` takes each row's largest logit."""
    if classes is None:
        index = logits.argmax(1, keepdim=True)
    else:
        check_range(classes.highest, logits.shape[1])
        index = classes.index
    return torch.zeros_like(logits).scatter_(1, index, 1.0)  # (N, classes)


def own_choice(model: nn.Module, x: Tensor, batch_size: int) -> Classes:
    """The model's own argmax on the clean images, in chunks, without a graph."""
    with torch.no_grad():
        index = torch.cat(
            [logits_of(model, part.clone()).argmax(1, keepdim=True) for part in x.split(batch_size)]
        )
    return Classes(index, int(index.max()), many=False)


def check_result(result: Tensor, model: nn.Module, x: Tensor, what: str = "these images") -> Tensor:
    """The result, if it is finite; else an error that says where NaN or infinity came from.

    ``what`` says what the images ``x`` are, on which the model is run again to find out.
    """
    if result.isfinite().all():
        return result
    first, handles = [], []

    def look(name: str) -> Callable:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if not first and isinstance(output, Tensor) and not output.isfinite().all():
                first.append(name)

        return hook

    try:
        handles = [module.register_forward_hook(look(name)) for name, module in model.named_modules()]
        with torch.no_grad():
            forward(model, x.clone())
    finally:
        for handle in handles:
            handle.remove()
    precision = f" ({x.dtype} overflows above {torch.finfo(x.dtype).max:.3g})" if x.element_size() < 4 else ""
    if first:
        where = f"its module {first[0]!r}" if first[0] else "its forward, after its last module"
        raise ValueError(f"model gives NaN or infinite values for {what}: first in {where}{precision}")
    raise ValueError(f"model gives finite logits, but the explanation is NaN or infinite{precision}")


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below, and zero where below is zero."""
    return (above / below.where(below != 0, torch.ones_like(below))).where(
        below != 0, torch.zeros_like(below)
    )


def wide(dtype: torch.dtype) -> torch.dtype:
    """In what to sum: half precision would round a long sum away."""
    return torch.promote_types(dtype, torch.float32)


def progress_bar(total: int, name: str, progress: bool, unit: str = "pass") -> Any:
    """A progress bar, counted in ``unit``; none where that is not asked for."""
    from tqdm.auto import tqdm  # here, since it may load a notebook's widgets

    return tqdm(total=total, disable=not progress, desc=name, unit=unit)


# --------------------------------------------------------------------------------------- left as it was found


@contextmanager
def left_as_found(model: nn.Module) -> Iterator[None]:
    """Work on the model inside; find it afterwards as it was, also after an exception or an interrupt.

    Parameters are frozen meanwhile, so that no graph is built, and nothing is saved, for gradients nobody
    asked for. Gradients are taken with ``torch.autograd.grad``, which leaves every ``.grad`` alone. Buffers,
    modes and the parameters' identities are put back; contents are compared, not version counters. Values of
    a parameter that a forward pass has overwritten cannot be put back (that would need a copy of every
    model): they raise. Several threads may work on one model: the first to enter notes how it was, the last
    to leave puts it back.

    Raises:
        RuntimeError: on leaving, if a forward pass has overwritten values of a parameter.
    """
    model = unwrapped(model)
    with own_arithmetic():
        with _LOCK:
            found = _FOUND.get(model) or _Found(model)
            _FOUND[model] = found
            found.users += 1
        try:
            yield
        except BaseException:
            _leave(model, found)  # what went wrong first is what the caller must hear of
            raise
        else:
            changed = _leave(model, found)
    if changed:
        raise RuntimeError(
            f"model overwrites values of its own parameter {changed!r} in its forward pass; an explanation "
            "would change the model that it explains, so there is none"
        )


_LOCK = threading.Lock()
_FOUND: WeakKeyDictionary = WeakKeyDictionary()  # models at work → how they were found


def _leave(model: nn.Module, found: "_Found") -> str:
    with _LOCK:
        found.users -= 1
        if found.users:
            return ""
        del _FOUND[model]
        return found.put_back()


class _Found:
    """A model as it was found. Nothing is copied but the buffers."""

    def __init__(self, model: nn.Module) -> None:
        self.users = 0
        self.modes: list[tuple[nn.Module, bool]] = []
        self.entries: list[tuple[dict, dict]] = []  # what each module holds, and a copy of that
        self.parameters: dict[str, nn.Parameter] = {}
        buffers: list[Tensor] = []
        for prefix, module in model.named_modules():  # one walk: with one image to explain, each is felt
            self.modes.append((module, module.training))
            own, kept = module._parameters, module._buffers
            self.entries += [(own, own.copy()), (kept, kept.copy())]
            self.parameters |= {f"{prefix}.{k}".strip("."): p for k, p in own.items() if p is not None}
            buffers += [b for b in kept.values() if b is not None]
        # An alias keeps a parameter's own memory alive and known, should ``.data`` be replaced.
        self.aliases = {name: p.detach() for name, p in self.parameters.items()}
        self.memory = _memory(self.aliases)
        self.sums = _sums(self.memory)
        self.buffers = [(b, b.detach().clone()) for b in buffers]
        self.joined = _joined([b for b, _ in self.buffers])
        self.trained = [p for p in self.parameters.values() if p.requires_grad]
        for parameter in self.trained:
            parameter.requires_grad_(False)

    def put_back(self) -> str:
        """Put back everything; the name of a parameter whose values have been overwritten, or ''."""
        for module, mode in self.modes:
            if module.training is not mode:
                module.training = mode
        for store, entries in self.entries:
            if len(store) != len(entries) or any(store.get(k) is not v for k, v in entries.items()):
                store.clear()
                store.update(entries)
        for name, parameter in self.parameters.items():
            alias = self.aliases[name]
            if parameter.data_ptr() != alias.data_ptr() or parameter.shape != alias.shape:
                parameter.data = alias
        for parameter in self.trained:
            parameter.requires_grad_(True)
        if not _same_joined([b for b, _ in self.buffers], self.joined):
            for buffer, copy in self.buffers:
                if buffer.shape != copy.shape or buffer.dtype != copy.dtype:
                    buffer.data = copy
                elif not torch.equal(buffer, copy):
                    buffer.detach().copy_(copy)
        after = _sums(self.memory)
        return next((names for names, total in self.sums.items() if total != after[names]), "")


def _memory(tensors: dict[str, Tensor]) -> dict[str, list[Tensor]]:
    """The memory of the tensors, each piece once, as bytes: one by one on a processor, elsewhere in groups.

    A GPU is asked few large questions, so there the name stands for up to 64 MiB of neighbours. Tensors that
    own no plain memory (sparse ones, subclasses) are left out.
    """
    groups: dict[str, list[Tensor]] = {}
    seen: set[tuple] = set()  # tensors may share memory
    first, held = "", (None, 0)  # the group being filled, and its device and size
    for name, t in tensors.items():
        if type(t) is not Tensor or t.layout != torch.strided or t.is_meta:
            continue
        storage = t.untyped_storage()
        if (t.device, storage.data_ptr()) in seen or storage.nbytes() == 0:
            continue
        seen.add((t.device, storage.data_ptr()))
        raw = torch.empty(0, dtype=torch.uint8, device=t.device).set_(storage)
        if t.device.type == "cpu" or t.device != held[0] or held[1] + len(raw) > 2**26:
            first, held = name, (t.device, 0)
        groups.setdefault(first, []).append(raw)
        held = (t.device, held[1] + len(raw))
    return groups


_WORDS = {torch.int64: 8, torch.int32: 4, torch.uint8: 1}


def _sums(memory: dict[str, list[Tensor]]) -> dict[str, int]:
    """The sum of each group's memory, read as whole numbers: half a millisecond for five million weights."""
    totals = {}
    for name, raws in memory.items():
        flat = raws[0] if len(raws) == 1 else torch.cat(raws)
        word = next(t for t, size in _WORDS.items() if len(flat) % size == 0)
        totals[name] = flat.view(word).sum(dtype=torch.int64)
    by_device: dict[torch.device, list[str]] = {}
    for name, total in totals.items():
        by_device.setdefault(total.device, []).append(name)
    values: dict[str, int] = {}
    for names in by_device.values():  # one wait for each device
        values.update(zip(names, torch.stack([totals[n] for n in names]).tolist(), strict=True))
    return {name: values[name] for name in memory}


def _joined(tensors: list[Tensor]) -> dict[tuple, Tensor]:
    """The tensors' values in few pieces, one for each device and type, so that comparing them is cheap."""
    groups: dict[tuple, list[Tensor]] = {}
    for t in tensors:
        groups.setdefault((t.device, t.dtype), []).append(t.detach().reshape(-1))
    return {key: torch.cat(parts) for key, parts in groups.items()}


def _same_joined(tensors: list[Tensor], before: dict[tuple, Tensor]) -> bool:
    now = _joined(tensors)
    return now.keys() == before.keys() and all(torch.equal(now[key], before[key]) for key in now)


# ------------------------------------------------------------------------------------------- finding a layer


def find_layer(model: nn.Module, layer: Layer, name: str = "layer") -> tuple[str, nn.Module]:
    """A layer given as a module or by its dotted name; its name and the module.

    The name may be the one inside a wrapper (``DataParallel``, ``torch.compile``) or the one outside, so that
    it serves a model and its wrapped copy alike. ``name`` is the argument's, for the errors.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    if isinstance(layer, nn.Module):
        for dotted, module in modules.items():
            if module is layer:
                return dotted, module
        raise ValueError(
            f"{name} is a {type(layer).__name__} that is not part of this model; "
            "pass its dotted name, which also works on copies of the model"
        )
    if not isinstance(layer, str):
        raise TypeError(
            f"{name} must be a module of the model or its dotted name, got {type(layer).__name__}"
        )
    if layer == "" or layer not in modules:
        names = [dotted for dotted in modules if dotted]
        for dotted in names:
            if layer and _inside(dotted) == _inside(layer):
                return dotted, modules[dotted]
        raise ValueError(f"{name} {layer!r} is not a module of the model{nearest(layer, names)}")
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


# ----------------------------------------------------------------------------------------- recording a layer


class Recording:
    """What ``recorded`` fills in: the layer's name and, after a forward pass, its output (N, K, h, w)."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module = name, module
        self.output: Tensor | None = None
        self.ran = False

    def feature_maps(self, model: nn.Module, x: Tensor) -> Tensor:
        """The output, checked to be one stack of feature maps for each image."""
        if not self.ran:
            raise ValueError(f"layer {self.name!r} never ran in the model's forward pass")
        wanted = f"layer must give feature maps ({len(x)}, K, h, w), but {self.name!r} gives"
        if self.output is None:
            raise ValueError(f"{wanted} no tensor")
        shape = tuple(self.output.shape)
        if len(shape) == 3 and shape[0] == len(x):
            raise ValueError(
                f"{wanted} shape {shape}: tokens, not maps; xai_lib.models.token_maps(model, layer) makes a "
                "copy with a layer that gives them as maps"
            )
        if len(shape) != 4 or shape[0] != len(x):
            raise ValueError(f"{wanted} shape {shape}")
        if channels_last(self.module, shape, x):
            raise ValueError(
                f"{wanted} shape {shape}, with the channels last, (N, h, w, K); "
                f"take {_nearest_maps(model, self.name, x)}"
            )
        return self.output


@contextmanager
def recorded(model: nn.Module, layer: Layer, keep_graph: bool = False) -> Iterator[Recording]:
    """Record a layer's output; a layer that runs several times, at its last run.

    Unless ``keep_graph``, the record is the root of a new graph: nothing below the layer is differentiated,
    which saves that part of the backward pass. The record is a copy, and the model goes on with another: an
    in-place operation, behind the layer or on an input that the layer passes through, overwrites neither.
    Passes that another thread makes are not recorded.
    """
    name, module = find_layer(model, layer)
    record, thread = Recording(name, module), threading.get_ident()

    def keep(_module: nn.Module, _args: Any, output: Any) -> Any:
        if threading.get_ident() != thread:
            return output
        record.ran, record.output = True, None
        if not isinstance(output, Tensor):
            return output
        record.output = output.clone() if keep_graph else output.detach().clone().requires_grad_()
        return record.output.clone()

    handle = module.register_forward_hook(keep)
    try:
        yield record
    finally:
        handle.remove()


def channels_last(module: nn.Module, shape: tuple[int, ...], x: Tensor) -> bool:
    """Whether an output of four dimensions is (N, h, w, K), by the module's definition or by its proportions.

    The map of a layer is a smaller copy of the image, up to a few cells at the border. So the two dimensions
    that are one number of pixels apart along both sides of the image are its height and width.
    """
    if type(module) in (nn.Linear, nn.LayerNorm):
        return True

    def places(h: int, w: int) -> bool:
        height, width = x.shape[-2:]
        return h <= height + 2 and w <= width + 2 and abs(h * width - w * height) <= 2 * max(height, width)

    return places(shape[1], shape[2]) and not places(shape[2], shape[3])


def _nearest_maps(model: nn.Module, name: str, x: Tensor) -> str:
    """The name of the nearest layer, in the order in which they run, whose output is (N, K, h, w)."""
    ran: list[tuple[str, bool]] = []

    def note(other: str) -> Callable:
        def hook(module: nn.Module, _args: Any, output: Any) -> None:
            fits = isinstance(output, Tensor) and output.dim() == 4 and 1 not in output.shape[2:]
            ran.append((other, fits and not channels_last(module, tuple(output.shape), x)))

        return hook

    handles = [m.register_forward_hook(note(other)) for other, m in model.named_modules() if other]
    try:
        with torch.no_grad():
            forward(model, x[:1].clone())
    finally:
        for handle in handles:
            handle.remove()
    here = max((i for i, (other, _) in enumerate(ran) if other == name), default=0)
    found = sorted((abs(i - here), i < here, other) for i, (other, fits) in enumerate(ran) if fits)
    return repr(found[0][2]) if found else "a layer behind a permute(0, 3, 1, 2); this model has none"


# ------------------------------------------------------------------------------------------------- gradients


def input_gradient(
    model: nn.Module,
    x: Tensor,
    classes: Classes | None,
    *,
    edit: Callable[[Tensor], None] | None = None,
    create_graph: bool = False,
) -> Tensor:
    """Gradient of each image's logit with respect to its pixels, (N, C, H, W): one forward and one backward
    pass.

    ``edit`` may change the graph, given the logits, before the backward pass runs through it. With
    ``create_graph`` the result can be differentiated again: by ``x``, if that asks for it, and by weights.
    """
    with torch.enable_grad(), _differentiable_twice(create_graph):
        pixels = x if create_graph and x.requires_grad else x.detach().requires_grad_()
        logits = logits_of(model, pixels.clone())
        seed = one_hot(logits.detach(), classes)
        if edit is not None and _reaches(logits, pixels):
            edit(logits)
        # Each logit depends on its own image only, so one backward pass serves the whole batch.
        slopes = _gradient(logits, pixels, seed, create_graph)
        if slopes is None:
            raise ValueError(
                "model gives logits without a gradient at the pixels; does its forward use detach(), "
                "no_grad(), numpy or quantised layers? What only queries it (occlusion, LIME, RISE) works"
            )
        return slopes


def _reaches(logits: Tensor, pixels: Tensor) -> bool:
    """Whether a path leads from the logits to the pixels: an edit of the graph needs one."""
    return any(getattr(node, "variable", None) is pixels for node in graph_behind(logits))


def graph_behind(logits: Tensor) -> Iterator[Any]:
    """Every step of the autograd graph that leads to the logits, once."""
    seen, stack = set(), [logits.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            stack.extend(parent for parent, _ in node.next_functions)


class LayerGradient(NamedTuple):
    """A layer's feature maps, the gradient of each image's logit there, and the logits."""

    maps: Tensor  # (N, K, h, w)
    gradients: Tensor  # (N, K, h, w)
    logits: Tensor  # (N, classes)


def layer_gradient(
    model: nn.Module, x: Tensor, classes: Classes | None, layer: Layer, *, create_graph: bool = False
) -> LayerGradient:
    """Feature maps and gradients at a layer, from one forward pass and a backward pass that ends there.

    With ``create_graph`` all three keep their graphs: maps made of them can be differentiated by ``x``, if
    that asks for it, and by the weights.
    """
    model = unwrapped(model)
    with (
        recorded(model, layer, keep_graph=create_graph) as record,
        torch.enable_grad(),
        _differentiable_twice(create_graph),
    ):
        logits = logits_of(model, x.clone())
        maps = record.feature_maps(model, x)
        seed = one_hot(logits.detach(), classes)
        gradients = _gradient(logits, maps, seed, create_graph)
        if gradients is None:
            raise ValueError(
                f"the logits do not depend on layer {record.name!r}; "
                "is it used behind detach() or no_grad(), or not at all?"
            )
    if create_graph:
        return LayerGradient(maps, gradients, logits)
    return LayerGradient(maps.detach(), gradients, logits.detach())


def _differentiable_twice(create_graph: bool) -> AbstractContextManager:
    """Attention by plain operations where a graph is kept: the fused ones have no second derivative."""
    return sdpa_kernel(SDPBackend.MATH) if create_graph else nullcontext()


def _gradient(logits: Tensor, at: Tensor, seed: Tensor, create_graph: bool) -> Tensor | None:
    """The gradient, or None where no path leads from the logits to ``at``."""
    if not (logits.requires_grad and at.requires_grad):
        return None
    return torch.autograd.grad(logits, at, grad_outputs=seed, allow_unused=True, create_graph=create_graph)[0]


def feature_maps(model: nn.Module, x: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    """A layer's output (N, K, h, w) and the logits, from one forward pass without a graph."""
    model = unwrapped(model)
    with recorded(model, layer) as record, torch.no_grad():
        logits = logits_of(model, x.clone())
        return record.feature_maps(model, x).detach(), logits
