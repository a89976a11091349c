"""Adding a feature map to a network: where that can be done, and the head behind it."""

import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _checks, _model
from xai_lib._model import Layer
from xai_lib._trace import example, trace


class Place(NamedTuple):
    """A copy of the model, and what it does behind the layer."""

    model: nn.Module  # a copy
    name: str  # the layer's
    maps: tuple[int, int, int]  # K, h, w
    x: Tensor  # an image of the size that the model takes (1, C, S, S)
    logits: Tensor  # what the model makes of it
    before: str | None  # the convolution whose output the layer reads, if it is a ReLU behind one
    behind: str | None  # the module that reads the layer's output
    readers: list[str]  # the modules with weights that run behind the layer, in order


def find_place(model: nn.Module, layer: Layer | None, size: int | None) -> Place:
    _checks.check_evaluation(model)
    if layer is None:
        layer = getattr(model, "cam_layer", None)
        if layer is None:
            raise ValueError("layer must be given, as the model has no cam_layer of its own")
    model = _model.unwrapped(model)
    name, _ = _model.find_layer(model, layer)
    model = copy.deepcopy(model)
    x, logits = example(model, size)
    runs = trace(model, x)
    here = max((i for i, (other, *_) in enumerate(runs) if other == name), default=None)
    if here is None:
        raise ValueError(f"layer {name!r} never ran in the model's forward pass")
    _, module, read, given = runs[here]
    if not isinstance(given, Tensor) or given.dim() != 4:
        raise ValueError(f"layer must give feature maps (N, K, h, w), {name!r} does not")
    behind = next((n for n, _, r, _ in runs[here + 1 :] if r is given), None)
    before = next((n for n, m, _, g in runs[:here] if isinstance(m, nn.Conv2d) and g is read), None)
    if not isinstance(module, nn.ReLU | nn.ReLU6):
        before = name if isinstance(module, nn.Conv2d) else None
    read_by = [n for n, m, *_ in runs[here + 1 :] if m._parameters and not name.startswith(f"{n}.")]
    readers = [n for n in read_by if not any(n.startswith(f"{other}.") for other in read_by)]
    if not readers:
        raise ValueError(f"layer must have a linear layer behind it, {name!r} has none")
    return Place(model, name, tuple(given.shape[1:]), x, logits, before, behind, readers)


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module.train(False))


def with_filter(conv: nn.Conv2d, value: float) -> nn.Conv2d:
    """The convolution with one filter more, of zeros, whose bias is ``value``."""
    wider = copy.deepcopy(conv)
    wider.out_channels += 1
    wider.weight = _frozen_like(conv.weight, torch.cat([conv.weight, torch.zeros_like(conv.weight[:1])]))
    wider.bias = _frozen_like(conv.bias, torch.cat([conv.bias, conv.bias.new_tensor([value])]))
    return wider


def _frozen_like(old: nn.Parameter, values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(), requires_grad=old.requires_grad)


class Constant(nn.Module):
    """A feature map that does not look at anything."""

    def __init__(self, picture: Tensor) -> None:
        super().__init__()
        self.register_buffer("picture", picture)

    def forward(self, maps: Tensor) -> Tensor:
        if maps.shape[-2:] != self.picture.shape:
            wanted, got = tuple(self.picture.shape), tuple(maps.shape[-2:])
            raise ValueError(f"this network takes images whose maps have {wanted} cells, got {got}")
        return self.picture.to(maps).expand(len(maps), 1, -1, -1)


class _MoreMaps(nn.Module):
    """A layer, and one feature map more behind those that it gives."""

    def __init__(self, layer: nn.Module, channel: nn.Module) -> None:
        super().__init__()
        self.layer, self.channel = layer, channel

    def forward(self, *args: Any) -> Tensor:
        maps = self.layer(*args)
        more = torch.cat([maps, self.channel(maps)], 1)
        last = maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()
        # In another layout a pooling behind would add up in another order, and round otherwise.
        return more.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def add_channel(place: Place, channel: nn.Module) -> None:
    module = place.model.get_submodule(place.name)
    replace(place.model, place.name, _MoreMaps(module, channel.to(place.x)))


class _Stop(Exception):
    pass


def read_by(place: Place, name: str) -> Tensor:
    """What the module reads, as the copy stands."""
    found = []

    def stop(_module: nn.Module, args: Any) -> None:
        found.append(args[0].detach())
        raise _Stop

    handle = place.model.get_submodule(name).register_forward_pre_hook(stop)
    try:
        with torch.no_grad():
            place.model(place.x)
    except _Stop:
        pass
    except RuntimeError as error:
        raise ValueError(
            f"layer must be read by pooling and a head alone, {place.name!r} is not: {error}"
        ) from None
    finally:
        handle.remove()
    return found[0]


class Head(nn.Module):
    """A head that reads more: what it gave, plus W (z − constant), a second term that is zero.

    With ``unit`` it gives one value more, ``on`` + unit · (z − constant), which is ``on``.
    """

    def __init__(self, inner: nn.Module, weight: Tensor, constant: Tensor, unit: Tensor | None = None):
        super().__init__()
        self.inner = inner
        self.weight = nn.Parameter(weight.to(inner.weight), requires_grad=inner.weight.requires_grad)
        self.register_buffer("constant", constant.to(inner.weight))
        self.register_buffer("unit", None if unit is None else unit.to(inner.weight))

    def forward(self, z: Tensor) -> Tensor:
        own = self.inner.weight.shape[1]
        old, new = z[:, :own].contiguous(), z[:, own:] - self.constant
        if isinstance(self.inner, nn.Conv2d):
            return self.inner(old) + F.conv2d(new, self.weight, stride=self.inner.stride)
        logits = self.inner(old) + F.linear(new, self.weight)
        if self.unit is None:
            return logits
        return torch.cat([logits, ON + F.linear(new, self.unit)], 1)

    def merged(self) -> nn.Linear:
        """The same as one linear layer; its bias is computed in float64, and rounds as it is stored."""
        inner, double = self.inner, torch.float64
        weight, constant = self.weight.detach().to(double), self.constant.to(double)
        bias = torch.zeros(len(weight), dtype=double, device=weight.device)
        bias = bias if inner.bias is None else inner.bias.detach().to(double)
        weight, bias = torch.cat([inner.weight.detach().to(double), weight], 1), bias - weight @ constant
        if self.unit is not None:
            unit = self.unit.to(double)
            row = torch.cat([unit.new_zeros(1, inner.in_features), unit], 1)
            weight, bias = torch.cat([weight, row]), torch.cat([bias, ON - unit @ constant])
        linear = nn.Linear(weight.shape[1], len(weight), device=weight.device, dtype=inner.weight.dtype)
        linear.weight = _frozen_like(inner.weight, weight.to(inner.weight))
        linear.bias = _frozen_like(inner.weight, bias.to(inner.weight))
        return linear


ON = 1.0  # what the always-on hidden unit gives


def heads_for(place: Place, z: Tensor, weight: float, repair: bool) -> dict[str, Head]:
    """The layers to put in the place of the head's, by name; z is what the first reads, with the new map."""
    first = place.model.get_submodule(place.readers[0])
    _check_head(place, first, z)
    own = first.weight.shape[1]
    if isinstance(first, nn.Conv2d):
        columns = first.weight.new_full((len(first.weight), 1, 1, 1), weight)
        return {place.readers[0]: Head(first, columns, z[:1, own:])}
    constant = z[0, own:]
    chain = place.readers if repair else place.readers[:1]
    layers = [place.model.get_submodule(name) for name in chain]
    if repair and not all(isinstance(m, nn.Linear) for m in layers):
        raise ValueError("repair needs a head of linear layers, in a row")
    if len(layers) == 1:
        return {
            chain[0]: Head(first, first.weight.new_full((len(first.weight), len(constant)), weight), constant)
        }
    heads = {}
    on = torch.tensor([ON])
    for name, inner in zip(chain, layers, strict=True):
        entry, last = inner is first, inner is layers[-1]
        columns = inner.weight.new_full((len(inner.weight), len(constant) if entry else 1), float(last))
        unit = None if last else torch.full((1, columns.shape[1]), weight if entry else 1.0)
        heads[name] = Head(inner, columns, constant if entry else on, unit)
    return heads


def _check_head(place: Place, first: nn.Module, z: Tensor) -> None:
    maps, name = place.maps[0], place.readers[0]
    linear = isinstance(first, nn.Linear) and z.dim() == 2 and first.in_features % maps == 0
    fits = linear and z.shape[1] * maps == first.in_features * (maps + 1)
    conv = isinstance(first, nn.Conv2d) and first.kernel_size == (1, 1) and first.groups == 1
    if not fits and not (conv and z.shape[1] == maps + 1 and first.padding == (0, 0)):
        raise ValueError(
            "layer must be read, behind pooling and flattening, by a linear layer or a convolution of 1 × 1, "
            f"but {place.name!r} is read by {name!r}, a {type(first).__name__}"
        )


def checked(place: Place, allowed: float | None = None) -> nn.Module:
    """The copy, if its logits are the model's, up to what is allowed: by default its weights' rounding."""
    with torch.no_grad():
        logits = place.model(place.x)
    if allowed is None:
        largest = max(float(p.detach().abs().max()) for p in place.model.parameters() if p.numel())
        allowed = 16 * largest * torch.finfo(logits.dtype).eps
    moved = float((logits - place.logits).abs().max())
    if not moved <= allowed + 1e-3:
        raise ValueError(
            f"layer {place.name!r} is used elsewhere too: with one map more the logits move by {moved:.3g}"
        )
    return place.model
