"""Calls between the judge and a student's process through which gradients flow.

A plain call is ``Peer.ask``. Where a gradient has to flow through it, or a transformation of ``torch.func``
is at work, the call becomes an autograd function of this side, whose backward pass is asked for over there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ._arguments import parts_of, with_tensors
from ._measures import unmeasured
from ._wire import Refused

if TYPE_CHECKING:
    from ._calls import Peer

NOT_ACROSS = "torch.func: {} does not cross to the function that the check provides"


def bridged(peer: Peer, number: int, args: tuple, kwargs: dict[str, Any], tracked: list[Tensor]) -> Any:
    """A call through which gradients flow: the backward pass is asked for when somebody needs it."""
    kept: dict[str, Any] = {}

    class Bridge(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            with torch.enable_grad():
                kept["value"], kept["tape"] = peer.ask(number, args, kwargs, tape=True)
            outputs = [part for part in parts_of(kept["value"]) if isinstance(part, Tensor)]
            made = tuple(part.detach().clone() for part in outputs)
            if kept["tape"] is None and made:
                ctx.mark_non_differentiable(*made)
            return made

        @staticmethod
        def backward(ctx, *slopes):
            return tuple(_backward(peer, kept["tape"], slopes, len(tracked)))

    made = iter(Bridge.apply(*tracked))
    return with_tensors(kept["value"], made)


def transformed(peer: Peer, number: int, args: tuple, kwargs: dict[str, Any], tensors: list[Tensor]) -> Any:
    """A call from within ``torch.func``: first derivatives and ``vmap`` are taken apart here, as plain calls.

    What goes over are numbers. A call under ``vmap`` becomes one call a row, and so does a backward pass.
    What cannot be taken apart says :data:`NOT_ACROSS`, and is never computed wrongly.
    """
    held: dict[str, Any] = {}  # the result, for its lists and dicts: the same at each row

    def crossing() -> type[torch.autograd.Function]:
        kept: dict[str, Any] = {}

        class Crossing(torch.autograd.Function):
            @staticmethod
            def forward(*given):
                with torch.enable_grad():
                    leaves = [g.detach().requires_grad_(g.is_floating_point()) for g in given]
                    a, k = with_tensors([list(args), kwargs], iter(leaves))
                    held["value"], kept["tape"] = peer.ask(number, tuple(a), k, tape=True)
                kept["leaves"] = leaves
                return tuple(p.detach().clone() for p in parts_of(held["value"]) if isinstance(p, Tensor))

            @staticmethod
            def setup_context(ctx, inputs, output):
                ctx.save_for_backward(*inputs)

            @staticmethod
            def backward(ctx, *slopes):
                if "tape" not in kept:
                    raise RuntimeError(NOT_ACROSS.format("a gradient inside `vmap`"))
                if kept["tape"] is None:
                    return (None,) * len(kept["leaves"])
                tracked = [leaf for leaf in kept["leaves"] if leaf.requires_grad]
                crossing_back = _transformed_backward(peer, kept["tape"], tracked, len(slopes))
                found = iter(crossing_back.apply(*slopes, *ctx.saved_tensors))
                return tuple(next(found) if leaf.requires_grad else None for leaf in kept["leaves"])

            @staticmethod
            def jvp(ctx, *slopes):
                raise RuntimeError(NOT_ACROSS.format("a derivative in forward mode"))

            @staticmethod
            def vmap(info, in_dims, *given):
                return _row_by_row(lambda *row: crossing().apply(*row), info, in_dims, given)

        return Crossing

    made = iter(crossing().apply(*tensors))
    return with_tensors(held["value"], made)


def _transformed_backward(
    peer: Peer, tape: int, leaves: list[Tensor], n: int
) -> type[torch.autograd.Function]:
    """The backward pass of a call from within ``torch.func``: of ``n`` slopes, and of what was put in.

    It is called with both, so that a derivative of its result is asked for here, and not taken for zero.
    """

    class Crossing(torch.autograd.Function):
        @staticmethod
        def forward(*slopes_and_inputs):
            found = _backward(peer, tape, slopes_and_inputs[:n], len(leaves))
            return tuple(
                torch.zeros_like(leaf) if slope is None else slope
                for slope, leaf in zip(found, leaves, strict=True)
            )

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, *slopes):
            raise RuntimeError(NOT_ACROSS.format("a second derivative"))

        @staticmethod
        def vmap(info, in_dims, *given):
            return _row_by_row(Crossing.apply, info, in_dims, given)

    return Crossing


def _row_by_row(call: Callable[..., tuple], info: Any, in_dims: tuple, given: tuple) -> tuple[tuple, tuple]:
    """A call for each row of what ``vmap`` holds, and the results as rows."""
    rows = [
        call(*(g if dim is None else g.select(dim, i) for g, dim in zip(given, in_dims, strict=True)))
        for i in range(info.batch_size)
    ]
    columns = tuple(map(torch.stack, zip(*rows, strict=True)))
    return columns, (0,) * len(columns)


def _backward(peer: Peer, tape: int, slopes: tuple, n: int) -> list[Tensor | None]:
    """The other side's gradients, for as many inputs as went over."""
    with peer._guarded(), unmeasured():
        blobs: list[bytes] = []
        wanted = [peer.out(slope, blobs, [], []) for slope in slopes]
        peer.frames.send({"op": "backward", "tape": tape, "g": wanted}, blobs)
        answer, blobs = peer.wait()
        peer._apply(list(parts_of(list(slopes))), answer, blobs)
        found = peer.value(answer["v"], blobs, [], []) if answer["op"] == "return" else [None] * n
        if not isinstance(found, list) or len(found) != n:
            raise Refused("a backward pass with other gradients than were asked for")
    if answer["op"] == "raise":
        raise peer.exception(answer)
    return found


def autograd_of(peer: Peer, number: int, name: str) -> type:
    """An autograd function of the other side, as one of this side."""

    def forward(ctx, *args):
        with torch.enable_grad():
            leaves = [
                arg.detach().requires_grad_() if isinstance(arg, Tensor) and arg.is_floating_point() else arg
                for arg in args
            ]
            value, ctx.tape = peer.ask(number, tuple(leaves), {}, tape=True)
        ctx.n = sum(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves)
        ctx.places = [isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves]
        return value.detach().clone() if isinstance(value, Tensor) else value

    def backward(ctx, *slopes):
        if ctx.tape is None:
            return (None,) * len(ctx.places)
        found = iter(_backward(peer, ctx.tape, slopes, ctx.n))
        return tuple(next(found) if tracked else None for tracked in ctx.places)

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(name, (torch.autograd.Function,), methods)
