"""What an answer must leave alone: the model that it is given, its tensors, and the machine's memory.

A method that is right and leaves the model in training mode spoils whatever is computed after it. So every
check that hands out a model or a tensor asks for both::

    with left_alone(model=model, x=x, target=target):
        value = answer(model, x, target)          # stops with "not yet", and says what was changed
    detached(value)                               # the result keeps no graph, and so no activations

``PeakMemory`` measures how many bytes of tensors an answer holds at the same time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..instruments import PeakMemory
from .judging import expect, fail

__all__ = ["PeakMemory", "detached", "left_alone"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def left_alone(who: str = "Your function", /, **given: Tensor | nn.Module) -> Iterator[None]:
    """Runs the block, then stops with "not yet" if it changed what was given to the reader's code.

    Of a tensor: its values, its shape, ``requires_grad`` and ``.grad``. Of a model: its modules and their
    mode, its buffers and parameters, their ``requires_grad`` and ``.grad``, and its hooks. Of torch: whether
    gradients are recorded. Nothing is restored.

    Args:
        who: who is to blame, as the message begins: ``"`absorb`"``.
        given: what the reader's code gets, by the names that its author knows: ``x=x``.

    Raises:
        Wrong: names what was changed, and how to do without. Nothing is looked at where the block raises.
        TypeError: if something given is neither a tensor nor a module.
    """
    judges = [_watch(name, thing) for name, thing in given.items()]
    recording = torch.is_grad_enabled()
    yield
    for judge in judges:
        judge(who)
    expect(
        torch.is_grad_enabled() == recording,
        f"{who} switches autograd {'off' if recording else 'on'} and leaves it so, for everybody.",
        "`with torch.no_grad():` puts back what was set before; `torch.set_grad_enabled(…)` does not.",
    )


def detached(value: Any, what: str = "Your map") -> None:
    """Stops with "not yet" where a result still hangs on the graph."""
    expect(
        not (isinstance(value, Tensor) and value.requires_grad),
        f"{what} still hangs on the graph: keep it, and every activation of the pass is kept with it.",
        "`torch.autograd.grad` returns plain numbers; `.detach()` what you multiply them by.",
    )


# ---- what each kind of thing may not lose ------------------------------------------------------------------
def _watch(name: str, thing: Any) -> Callable[[str], None]:
    """Remembers a thing; what comes back judges it later."""
    if isinstance(thing, nn.Module):
        return _watch_model(name, thing)
    if isinstance(thing, Tensor):
        return _watch_tensor(name, thing)
    raise TypeError(f"`{name}` must be a tensor or a module, got {type(thing).__name__}")


def _watch_tensor(name: str, x: Tensor) -> Callable[[str], None]:
    before, asked, slope = x.detach().clone(), x.requires_grad, _copy(x.grad)

    def judge(who: str) -> None:
        expect(
            _same(x, before),
            f"{who} changed `{name}`, which it was given.",
            f"What changes in place (`+=`, `*=`, `clamp_`, `{name}[…] = …`) changes the caller's tensor: "
            f"make a new one, or begin with `{name} = {name}.clone()`.",
        )
        on_a_copy = f"Ask it of a copy: `{name} = {name}.detach().clone().requires_grad_(True)`."
        if x.requires_grad != asked:
            fail(
                f"{who} leaves `requires_grad` {'set' if x.requires_grad else 'switched off'} on `{name}`, "
                "which it was given: from now on autograd treats that tensor otherwise, for everybody.",
                on_a_copy,
            )
        expect(
            _same(x.grad, slope),
            f"{who} leaves a gradient in `{name}.grad`: the next call that uses `backward()` adds to it.",
            on_a_copy,
        )

    return judge


def _watch_model(name: str, model: nn.Module) -> Callable[[str], None]:
    modules = dict(model.named_modules())
    modes = {key: module.training for key, module in modules.items()}
    hooks = {key: [dict(getattr(module, kind)) for kind in _HOOKS] for key, module in modules.items()}
    weights = {key: (p, _copy(p), p.requires_grad, _copy(p.grad)) for key, p in model.named_parameters()}
    buffers = {key: _copy(b) for key, b in model.named_buffers()}

    def judge(who: str) -> None:
        now = dict(model.named_modules())
        expect(
            now.keys() == modules.keys() and all(now[key] is module for key, module in modules.items()),
            f"{who} exchanges, adds or removes layers of `{name}`, which it was given.",
            f"Work on a copy: `copy.deepcopy({name})`.",
        )
        turned = [key for key, module in modules.items() if module.training != modes[key]]
        if turned:
            mode = "training" if modules[turned[0]].training else "evaluation"
            fail(
                f"{who} leaves {_place(name, turned[0])} in {mode} mode; it was given otherwise.",
                "In training mode dropout draws and batch normalisation moves its running means. Leave the "
                "mode as you find it.",
            )
        _judge_values(who, name, model, weights, buffers)
        flags = [key for key, (p, _, asked, _) in weights.items() if p.requires_grad != asked]
        if flags:
            frozen = weights[flags[0]][2]
            fail(
                f"{who} leaves `{name}` {'frozen' if frozen else 'thawed'}: `requires_grad` is "
                f"{not frozen} on {len(flags)} of its parameters, which was {frozen}.",
                "`requires_grad_` outlives your function. `torch.autograd.grad(score, x)` computes only the "
                "gradient that you ask for: nothing needs to be frozen.",
            )
        expect(
            not any(p.grad is None and slope is not None for p, _, _, slope in weights.values()),
            f"{who} wipes out the gradients that it found in the parameters of `{name}`.",
            "They are somebody else's. `torch.autograd.grad(score, x)` needs no `zero_grad()`, and "
            "leaves every "
            "`.grad` alone.",
        )
        expect(
            all(_same(p.grad, slope) for p, _, _, slope in weights.values()),
            f"{who} leaves gradients in the parameters of `{name}`.",
            "`backward()` fills every `.grad` there is; `torch.autograd.grad(score, x)` fills none.",
        )
        expect(
            all(hooks[k] == [dict(getattr(m, kind)) for kind in _HOOKS] for k, m in modules.items()),
            f"{who} leaves a hook in `{name}`: a hook stays, and runs in everybody's passes.",
            "`handle = layer.register_forward_hook(…)`; after the pass `handle.remove()`.",
        )

    return judge


def _judge_values(who: str, name: str, model: nn.Module, weights: dict, buffers: dict) -> None:
    """Stops where a parameter or a buffer of the model is not what it was."""
    params, now = dict(model.named_parameters()), dict(model.named_buffers())
    expect(
        params.keys() == weights.keys() and all(params[key] is weights[key][0] for key in weights),
        f"{who} exchanges parameters of `{name}`, which it was given.",
        f"Work on a copy: `copy.deepcopy({name})`.",
    )
    changed = [key for key, (p, before, _, _) in weights.items() if not _same(p, before)]
    if changed:
        fail(
            f"{who} changed the weights of `{name}`, such as `{changed[0]}`.",
            f"Work on a copy: `copy.deepcopy({name})`.",
        )
    changed = [key for key in buffers | now if not _same(now.get(key), buffers.get(key))]
    if changed:
        fail(
            f"{who} changed a buffer of `{name}`, `{changed[0]}`.",
            "In training mode every forward pass moves batch normalisation's running means, and going back "
            "to `eval()` does not bring them back. Leave the mode as you find it.",
        )


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two tensors hold the same values in the same shape and type; NaN is NaN."""
    if a is None or b is None:
        return a is b
    a, b = a.detach(), b.detach()
    return a.dtype == b.dtype and a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def _place(name: str, key: str) -> str:
    return f"`{name}.{key}`" if key else f"`{name}`"
