"""The tensors, models and generators in a call's arguments, and what a call did to them.

The other side works on copies. What it did to them (in place, to a generator, to a model) is read off there
by ``changes_of``, and done to the caller's own by ``make_change``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ._wire import Refused, encode

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def parts_of(value: Any) -> Iterator[Any]:
    """The tensors, models and generators in nested lists, tuples and dicts, in an order both sides share."""
    if isinstance(value, Tensor | nn.Module | torch.Generator):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from parts_of(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from parts_of(item)


def with_tensors(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The value with these tensors in place of its own."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, list | tuple):
        return type(value)(with_tensors(item, tensors) for item in value)
    if isinstance(value, dict):
        return {key: with_tensors(item, tensors) for key, item in value.items()}
    return value


def no_leaf(value: Any) -> Any:
    if isinstance(value, Tensor) and value.requires_grad and value.is_leaf:
        return value.view_as(value)
    return value


def snapshot(part: Any) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state().clone()
    if isinstance(part, Tensor):
        return part.detach().clone(), part.requires_grad
    return {
        "state": {key: value.detach().clone() for key, value in part.state_dict().items()},
        "train": [module.training for module in part.modules()],
        "flags": [parameter.requires_grad for parameter in part.parameters()],
        "grads": [None if grad is None else grad.clone() for grad in gradients_of(part)],
        "hooks": hooks_of(part),
        "modules": len(list(part.modules())),
    }


def gradients_of(model: nn.Module) -> list[Tensor | None]:
    """The ``.grad`` of each parameter."""
    return [None if p.grad is None else p.grad.detach() for p in model.parameters()]


def set_gradients(model: nn.Module, gradients: list[Tensor | None]) -> None:
    for parameter, grad in zip(model.parameters(), gradients, strict=False):
        parameter.grad = grad


def changes_of(part: Any, before: Any, blobs: list[bytes]) -> dict[str, Any] | None:
    """What was done to a part, as nodes; None where nothing was."""
    found: dict[str, Any] = {}
    if isinstance(part, torch.Generator):
        if not torch.equal(part.get_state(), before):
            found["state"] = part.get_state()
    elif isinstance(part, Tensor):
        data, tracked = before
        if part.shape == data.shape and not same_values(part.detach(), data):
            found["data"] = part.detach()
        if part.requires_grad != tracked:
            found["flag"] = bool(part.requires_grad)
        if part.is_leaf and part.grad is not None:
            found["grad"] = part.grad.detach()
    else:
        now = dict(part.state_dict())
        state = {
            k: v.detach()
            for k, v in now.items()
            if k not in before["state"] or not same_values(v, before["state"][k])
        }
        if state:
            found["state"] = state
        for key, value in (
            ("train", [module.training for module in part.modules()]),
            ("flags", [parameter.requires_grad for parameter in part.parameters()]),
            ("hooks", hooks_of(part)),
            ("modules", len(list(part.modules()))),
        ):
            if value != before[key]:
                found[key] = value
        grads = gradients_of(part)
        if not all(map(same_gradient, grads, before["grads"])):
            found["grads"] = grads
    return {key: encode(value, blobs, lambda value: None) for key, value in found.items()} or None


def make_change(part: Any, change: dict[str, Any]) -> None:
    """Do to a part of this side what was done to its copy."""
    if isinstance(part, torch.Generator):
        part.set_state(change["state"])
        return
    if isinstance(part, Tensor):
        if "data" in change:
            part.data.copy_(change["data"])
        if "flag" in change and part.is_leaf:
            part.requires_grad_(change["flag"])
        if "grad" in change and part.is_leaf:
            part.grad = change["grad"]
        return
    if "modules" in change:  # the rest is told of other layers than these
        part.add_module("added_by_the_answer", nn.Identity())
        return
    own = part.state_dict()
    with torch.no_grad():
        weights = dict(part.named_parameters())
        for key, value in change.get("state", {}).items():
            if key in weights:
                weights[key].data = value.detach()
            elif key in own:
                own[key].copy_(value)
    for module, training in zip(part.modules(), change.get("train", []), strict=False):
        module.training = bool(training)
    for parameter, flag in zip(part.parameters(), change.get("flags", []), strict=False):
        parameter.requires_grad_(bool(flag))
    set_gradients(part, change.get("grads", []))
    add_hooks(part, change.get("hooks", []))


def add_hooks(model: nn.Module, counts: list[int]) -> None:
    """Hooks that do nothing, until each module has as many as it had on the other side."""
    for module, wanted, own in zip(model.modules(), counts, hooks_of(model), strict=False):
        for _ in range(min(10, max(0, int(wanted) - own))):
            module.register_forward_hook(lambda *anything: None)


def hooks_of(model: nn.Module) -> list[int]:
    return [sum(len(getattr(module, kind)) for kind in HOOKS) for module in model.modules()]


def build_of(model: nn.Module) -> list[tuple]:
    """What a model is made of: its modules by name, how many hooks each has, and how each is run."""
    parts = zip(model.named_modules(), hooks_of(model), strict=True)
    return [
        (name, id(module), type(module), hooks, id(vars(module).get("forward")))
        for (name, module), hooks in parts
    ]


def alike(a: nn.Module, b: nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    kinds = [
        [(name, type(part), "forward" in vars(part)) for name, part in model.named_modules()]
        for model in (a, b)
    ]
    return (
        kinds[0] == kinds[1]
        and list(one) == list(two)
        and all(one[key].shape == two[key].shape for key in one)
    )


def same_values(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def same_gradient(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and same_values(a, b))


def nothing(node: dict[str, Any]) -> Any:
    raise Refused(f"a value of the type {str(node.get('t'))[:20]!r}")
