"""Calls between the judge and a student's process: each side calls the other's functions like its own.

A function crosses as a number: the other side may call it, and read nothing else of it. Tensors cross by
value, also where a gradient has to flow through the call: then the backward pass crosses as well. What a call
does to its arguments (in place, to a generator, to a model) is told with the result and done to the caller's.

Models go from the judge to the student by pickle, since the judge is trusted; nothing comes back that way.
"""

from __future__ import annotations

import builtins
import copy
import importlib
import io
import operator
import pickle
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import cloudpickle
import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _disable_current_modes, _get_current_dispatch_mode_stack

from ..instruments import OPEN, MetShapes, Networks, PeakMemory, Sees, Steps
from ._wire import Frames, Odd, Refused, decode, encode, encode_tensor

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
BROKEN = (EOFError, ConnectionError, TimeoutError, Refused)  # after these nothing sensible will come
NOT_ACROSS = "torch.func: {} does not cross to the function that the check provides"
STUDENT = "<student"  # how the names of the student's cells begin in a traceback


class Peer:
    """One end of the wire.

    Args:
        frames: the socket.
        trusts: whether this end takes pickles: the student's process does, the judge never.
        source_of: the text of the function of that name, by the judge's own copy of the notebook.
    """

    def __init__(
        self, frames: Frames, *, trusts: bool, source_of: Callable[[str], str | None] = lambda name: None
    ) -> None:
        self.frames, self.trusts, self.source_of = frames, trusts, source_of
        self.table: dict[int, Any] = {}  # what the other side may call
        # Of calls whose graph is kept: what went in, and what came out.
        self.tapes: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        # What the judge's own functions raised, on its way through the student's code.
        self.raised: dict[int, Exception] = {}
        # The models that the other side has already, how they were pickled, and their number.
        self.sent: tuple[list[nn.Module], bytes, int] | None = None
        self.models: tuple[int, list[nn.Module]] = (0, [])
        self.as_given: list[Any] = []  # what the models here were like when they came
        self.count = 0
        self.broken: BaseException | None = None  # what ended the use of this wire

    # ---- values --------------------------------------------------------------------------------------------
    def out(
        self, value: Any, blobs: list[bytes], known: list[Any], models: list[nn.Module]
    ) -> dict[str, Any]:
        """The node of a value; ``known`` are the arguments of the call that it answers."""

        def special(value: Any) -> dict[str, Any] | None:
            if isinstance(value, Tensor | nn.Module):
                for place, other in enumerate(known):
                    if other is value:
                        return {"t": "argument", "v": place}
            if isinstance(value, _Function | _Model):
                return {"t": "yours", "v": value.number}
            if isinstance(value, nn.Module):
                return self._model(value, blobs, known, models)
            if callable(value) and not isinstance(value, Tensor | torch.dtype):
                return self._lent(value)
            return None

        return encode(value, blobs, special)

    def _model(
        self, model: nn.Module, blobs: list[bytes], known: list[Any], models: list[nn.Module]
    ) -> dict[str, Any]:
        if not self.trusts:  # the judge's: a copy of it goes over
            models.append(model)
            return {"t": "model", "v": len(models) - 1}
        for place, other in enumerate(self.models[1]):  # the judge's own, on its way back to it
            if other is model and not known and _build(model) == self.as_given[place]:
                state = encode(dict(model.state_dict()), blobs, lambda value: None)
                flags = [parameter.requires_grad for parameter in model.parameters()]
                return {"t": "given", "n": self.models[0], "i": place, "v": state,
                        "train": [module.training for module in model.modules()], "rg": flags}  # fmt: skip
        for place, other in enumerate(known):  # the student's: a changed copy of what was given?
            if isinstance(other, nn.Module) and type(other) is type(model) and _like(other, model):
                state = encode(dict(model.state_dict()), blobs, lambda value: None)
                flags = [parameter.requires_grad for parameter in model.parameters()]
                return {
                    "t": "like",
                    "i": place,
                    "v": state,
                    "train": model.training,
                    "rg": flags,
                    "hooks": _hooks(model),
                }
        state = encode(dict(model.state_dict()), blobs, lambda value: None)
        if type(model) is nn.Linear:  # a plain layer is the same layer over there
            return {"t": "linear", "v": state, "train": bool(model.training)}
        parts = [
            [name, self._lent(part)["v"], _rectifier(part), bool(part.training)]
            for name, part in model.named_modules(remove_duplicate=False)
            if name
        ]
        lent = self._lent(model)
        return {
            **lent,
            "state": state,
            "train": bool(model.training),
            "parts": parts[:1000],
            "shared": _shared(model, known),
            "hooks": _hooks(model),
        }

    def _send(self, models: list[nn.Module], blobs: list[bytes]) -> list[int | None]:
        """Send models, or only their number if they are those of the last call and as they were then."""
        content = _pickled(models, self)
        if self.sent is not None:
            last, held, number = self.sent
            if held == content and len(last) == len(models) and all(map(operator.is_, last, models)):
                return [number, None]
        self.count += 1
        self.sent = list(models), content, self.count
        blobs.append(content)
        return [self.count, len(blobs) - 1]

    def _received(self, node: list[int | None], blobs: list[bytes]) -> list[nn.Module]:
        number, place = node
        if place is not None:
            self.models = number, _unpickled(blobs[place], self)
            self.as_given = [_build(model) for model in self.models[1]]
        return self.models[1]

    def _lent(self, value: Any) -> dict[str, Any]:
        number = next((number for number, held in self.table.items() if held is value), None)
        if number is None:
            number = self.count = self.count + 1
            self.table[number] = value
        kind = "model" if isinstance(value, nn.Module) else "function"
        if isinstance(value, type) and issubclass(value, torch.autograd.Function):
            kind = "autograd"
        name = getattr(value, "__name__", type(value).__name__)
        return {"t": "lent", "v": number, "k": kind, "n": str(name)}

    def value(self, node: Any, blobs: list[bytes], known: list[Any], models: list[nn.Module]) -> Any:
        """The value of a node that came."""

        def special(node: dict[str, Any]) -> Any:
            kind, v = node["t"], node.get("v")
            if kind == "argument":
                return known[int(v)]
            if kind == "yours":
                return self.table[int(v)]
            if kind == "model" and self.trusts:
                return models[int(v)]
            if kind == "like" and not self.trusts:
                return self._changed_copy(known[int(node["i"])], node, blobs)
            if kind == "given" and not self.trusts:
                return self._given(node, blobs)
            if kind == "linear":
                return _linear(decode(v, blobs, _nothing), bool(node["train"]))
            if kind == "lent":
                name = str(node["n"])[:80]
                if node["k"] == "autograd":
                    return _autograd(self, int(v), name)
                if node["k"] != "model":
                    return _Function(self, int(v), name)
                return self._model_of(node, blobs, known)
            raise Refused(f"a value of the type {str(kind)[:20]!r}")

        return decode(node, blobs, special)

    def _model_of(self, node: dict[str, Any], blobs: list[bytes], known: list[Any]) -> _Model:
        """The student's model: it and each of its parts can be called, and its weights be looked at."""
        made = _Model(self, int(node["v"])).train(bool(node.get("train")))
        for name, number, kind, training in node.get("parts", [])[:1000]:
            *path, last = str(name).split(".")
            part = _RECTIFIERS.get(str(kind), _Model)(self, int(number))
            part.training = bool(training)
            made.get_submodule(".".join(path)).add_module(last, part)
        for key, value in (decode(node["state"], blobs, _nothing) if "state" in node else {}).items():
            *path, last = str(key).split(".")
            weight = nn.Parameter(value, requires_grad=value.is_floating_point())
            if key in node["shared"]:  # it is the weight of what the student was given, and no copy
                place, name = node["shared"][key]
                weight = known[int(place)].get_parameter(str(name))
            made.get_submodule(".".join(path)).register_parameter(last, weight)
        _add_hooks(made, node.get("hooks", []))
        return made

    def _given(self, node: dict[str, Any], blobs: list[bytes]) -> nn.Module:
        """A model that this end sent: itself, or a copy of it with what was changed over there."""
        models, _, number = self.sent or ([], b"", 0)
        if node["n"] != number:
            raise Refused("a model that was not sent")
        model = models[int(node["i"])]
        state, own = decode(node["v"], blobs, _nothing), model.state_dict()
        flags, modes = list(map(bool, node["rg"])), list(map(bool, node["train"]))
        same = state.keys() == own.keys() and all(_same(own[key], state[key]) for key in own)
        if (
            same
            and flags == [p.requires_grad for p in model.parameters()]
            and modes == [m.training for m in model.modules()]
        ):
            return model
        made = copy.deepcopy(model)
        made.load_state_dict(state)
        for module, training in zip(made.modules(), modes, strict=True):
            module.training = training
        for parameter, flag in zip(made.parameters(), flags, strict=True):
            parameter.requires_grad_(flag)
        return made

    def _changed_copy(self, model: nn.Module, node: dict[str, Any], blobs: list[bytes]) -> nn.Module:
        made = copy.deepcopy(model)
        made.load_state_dict(decode(node["v"], blobs, _nothing))
        made.train(bool(node["train"]))
        for parameter, flag in zip(made.parameters(), node["rg"], strict=True):
            parameter.requires_grad_(bool(flag))
        _add_hooks(made, node["hooks"])
        return made

    # ---- calling -------------------------------------------------------------------------------------------
    def call(self, number: int, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The other side's function number ``number``, called."""
        tensors = [part for part in _parts([args, kwargs]) if isinstance(part, Tensor)]
        if any(map(is_functorch_wrapped_tensor, tensors)):
            return _transformed(self, number, args, kwargs, tensors)
        tracked = [part for part in tensors if part.requires_grad]
        if torch.is_grad_enabled() and tracked:
            return _bridged(self, number, args, kwargs, tracked)
        return self.ask(number, args, kwargs)[0]

    def ask(
        self, number: int, args: tuple, kwargs: dict[str, Any], *, tape: bool = False
    ) -> tuple[Any, int | None]:
        """A call, and the number of the tape on which the other side keeps its graph (if it does)."""
        # What the judge's own functions do is not the student's doing.
        measuring = [] if self.trusts else _measuring()
        with self._guarded(), _unmeasured():
            blobs, models = [], []
            node = {
                "op": "call", "id": number, "grad": torch.is_grad_enabled(), "tape": tape,
                "a": [self.out(arg, blobs, [], models) for arg in args],
                "k": [[str(name), self.out(arg, blobs, [], models)] for name, arg in kwargs.items()],
                "measure": [[type(m).__name__, self.out(m.about, blobs, [], models)] for m in measuring],
                "rng": encode_tensor(torch.get_rng_state(), blobs),
            }  # fmt: skip
            if models:
                node["models"] = self._send(models, blobs)
            self.frames.send(node, blobs)
            answer, blobs = self.wait()
            known = list(_parts([list(args), list(kwargs.values())]))
            self._apply(known, answer, blobs)
            if answer["op"] == "return":
                value = self.value(answer["v"], blobs, known, [])
                measured = [self.value(found, blobs, [], []) for found in answer["measured"]]
                for mode, found in zip(measuring, measured, strict=True):
                    mode.add(found)
        if answer["op"] == "raise":
            raise self.exception(answer)
        kept = answer.get("tape")
        return value, kept if isinstance(kept, int) else None

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Remember what broke the wire: a check takes it for something that the answer raised."""
        try:
            yield
        except BROKEN as error:
            self.broken = error
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            self.broken = Refused(f"an answer that cannot be read: {error!r}"[:200])
            raise self.broken from None

    def wait(self) -> tuple[dict[str, Any], list[bytes]]:
        """The answer to what was asked; until it comes, the other side may ask."""
        while True:
            node, blobs = self.frames.receive()
            if node.get("op") in ("return", "raise"):
                return node, blobs
            self.serve(node, blobs)

    # ---- being called --------------------------------------------------------------------------------------
    def serve(self, node: dict[str, Any], blobs: list[bytes]) -> None:
        """Do what the other side asks, and answer."""
        if node.get("op") == "backward":
            self._serve_backward(node, blobs)
        elif node.get("op") == "call":
            self._serve_call(node, blobs)
        else:
            raise Refused(f"a request of the kind {str(node.get('op'))[:20]!r}")

    def _serve_call(self, node: dict[str, Any], blobs: list[bytes]) -> None:
        try:
            function = self.table[int(node["id"])]
            models = self._received(node["models"], blobs) if self.trusts and "models" in node else []
            args = [self.value(arg, blobs, [], models) for arg in node["a"]]
            kwargs = {str(name): self.value(arg, blobs, [], models) for name, arg in node["k"]}
            grad, tape = bool(node["grad"]), bool(node["tape"])
            asked = (
                [(name, self.value(about, blobs, [], [])) for name, about in node["measure"]]
                if self.trusts
                else []
            )
            rng = self.value(node["rng"], blobs, [], [])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise Refused(f"a call that cannot be read: {error!r}") from None
        if isinstance(function, type):  # an autograd function: it is applied
            function = function.apply
        known = list(_parts([args, list(kwargs.values())]))
        before = [_snapshot(part) for part in known]
        leaves = [part for part in known if isinstance(part, Tensor) and part.requires_grad]
        torch.set_rng_state(rng)
        answer: dict[str, Any] = {"op": "return"}
        out: list[bytes] = []
        try:
            with ExitStack() as stack:
                stack.enter_context(torch.set_grad_enabled(grad))
                stack.enter_context(MetShapes())
                measures = [_MEASURES[name].like(about, _tensors(known)) for name, about in asked]
                for measure in measures:
                    stack.enter_context(measure)
                # A leaf may not be changed in place.
                given = [_no_leaf(arg) for arg in args] if tape else args
                value = function(*given, **kwargs)
            answer["measured"] = [self.out(measure.read(), out, [], []) for measure in measures]
            answer["tape"] = self._keep(leaves, value) if tape else None
            answer["v"] = self.out(value, out, known, [])
        except BROKEN:
            raise
        except Exception as error:
            out.clear()
            answer = {"op": "raise", **self.describe(error)}
        answer["changes"] = [
            [i, change]
            for i, part in enumerate(known)
            if (change := _changes(part, before[i], out)) is not None
        ]
        answer["rng"] = encode_tensor(torch.get_rng_state(), out)
        self.frames.send(answer, out)

    def _keep(self, leaves: list[Tensor], value: Any) -> int | None:
        """Keep the graph of a result, if it has one; the number under which it is kept."""
        outputs = [part for part in _parts(value) if isinstance(part, Tensor)]
        if not any(output.requires_grad for output in outputs):
            return None
        self.count += 1
        self.tapes[self.count] = leaves, outputs
        return self.count

    def _serve_backward(self, node: dict[str, Any], blobs: list[bytes]) -> None:
        out: list[bytes] = []
        try:
            leaves, outputs = self.tapes[int(node["tape"])]
            slopes = [self.value(slope, blobs, [], []) for slope in node["g"]]
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(f"a backward pass that cannot be read: {error!r}") from None
        known = list(_parts(slopes))
        before = [_snapshot(slope) for slope in known]
        try:
            pairs = [
                (y, g) for y, g in zip(outputs, slopes, strict=True) if y.requires_grad and g is not None
            ]
            found = torch.autograd.grad(
                [y for y, _ in pairs], leaves, [g for _, g in pairs], retain_graph=True, allow_unused=True
            )
            answer = {"op": "return", "v": self.out(list(found), out, [], [])}
        except BROKEN:
            raise
        except Exception as error:
            answer = {"op": "raise", **self.describe(error)}
        changes = [
            [i, c] for i, slope in enumerate(known) if (c := _changes(slope, before[i], out)) is not None
        ]
        self.frames.send(
            {**answer, "changes": changes, "rng": encode_tensor(torch.get_rng_state(), out)}, out
        )

    # ---- exceptions ----------------------------------------------------------------------------------------
    def describe(self, error: Exception) -> dict[str, Any]:
        """What the other side is told of an exception; the judge keeps its own, which may come back."""
        if self.trusts:
            return {**_described(error), "of": getattr(error, "of_judge", None)}
        self.count += 1
        self.raised[self.count] = error
        return {**_described(error), "of": self.count}

    def exception(self, answer: dict[str, Any]) -> Exception:
        """The exception that was described; the judge's own, where it only came back."""
        number = answer.get("of")
        if not self.trusts and isinstance(number, int) and number in self.raised:
            return self.raised[number]
        error = _rebuilt(answer)
        if self.trusts:
            error.of_judge = number
        return error

    # ---- what a call did -----------------------------------------------------------------------------------
    def _apply(self, known: list[Any], answer: dict[str, Any], blobs: list[bytes]) -> None:
        """Do to the arguments what the other side did to its copies of them."""
        try:
            torch.set_rng_state(self.value(answer["rng"], blobs, [], []))
            for place, change in answer["changes"]:
                _change(known[int(place)], {k: decode(v, blobs, _nothing) for k, v in change.items()})
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise Refused(f"changes that cannot be made: {error!r}") from None


# ---- models, from the judge to the student ---------------------------------------------------------------
class _Pickler(cloudpickle.Pickler):
    """Pickles models; a hook on one of them stays with the judge, and is called from over there."""

    def __init__(self, file: io.BytesIO, models: list[nn.Module], peer: Peer) -> None:
        super().__init__(file)
        every = [module for model in models for module in model.modules()]
        self.peer = peer
        self.hooks = {
            id(hook): hook for module in every for kind in _HOOKS for hook in getattr(module, kind).values()
        }

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, types.ModuleType):  # torch.classes is one of a type of its own
            return importlib.import_module, (value.__name__,)
        return super().reducer_override(value)

    def persistent_id(self, value: Any) -> tuple[int, str] | None:
        if id(value) not in self.hooks:
            return None
        lent = self.peer._lent(value)
        return lent["v"], lent["n"]


class _Unpickler(pickle.Unpickler):
    """Reads what :class:`_Pickler` wrote."""

    def __init__(self, file: io.BytesIO, peer: Peer) -> None:
        super().__init__(file)
        self.peer = peer

    def persistent_load(self, lent: tuple[int, str]) -> _Function:
        return _Function(self.peer, *lent)


def _pickled(models: list[nn.Module], peer: Peer) -> bytes:
    file = io.BytesIO()
    _Pickler(file, models, peer).dump(models)
    return file.getvalue()


def _unpickled(content: bytes, peer: Peer) -> list[nn.Module]:
    return _Unpickler(io.BytesIO(content), peer).load()


# ---- the other side's things -----------------------------------------------------------------------------
class _Function:
    """A function of the other side: it can be called, and has a name and (here) its source."""

    def __init__(self, peer: Peer, number: int, name: str) -> None:
        self.peer, self.number, self.__name__ = peer, number, name

    @property
    def source(self) -> str | None:
        return self.peer.source_of(self.__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.peer.call(self.number, args, kwargs)

    def __deepcopy__(self, memo: dict) -> _Function:
        return self  # a copy of a model that it hooks into reports to the same place


_Function.__name__ = "function"  # as a message names it


class _Model(nn.Module):
    """A model of the other side: it runs there; its weights, as they came back, can be looked at here."""

    def __init__(self, peer: Peer, number: int) -> None:
        super().__init__()
        object.__setattr__(self, "peer", peer)
        object.__setattr__(self, "number", number)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.peer.call(self.number, args, kwargs)

    def __deepcopy__(self, memo: dict) -> _Model:
        return self


# A part that is a rectifier over there is one here, for whoever asks what a network is made of.
_RECTIFIERS = {
    kind.__name__: type(kind.__name__, (_Model, kind), {}) for kind in (nn.ReLU, nn.ReLU6, nn.LeakyReLU)
}


def _rectifier(part: nn.Module) -> str:
    return type(part).__name__ if type(part) in (nn.ReLU, nn.ReLU6, nn.LeakyReLU) else ""


def _shared(model: nn.Module, known: list[Any]) -> dict[str, list[Any]]:
    """Which weights lie in the memory of a model that was given: its place, and the weight's name there."""
    theirs = {
        p.data_ptr(): [place, name]
        for place, other in enumerate(known)
        if isinstance(other, nn.Module)
        for name, p in other.named_parameters()
    }
    return {key: theirs[p.data_ptr()] for key, p in model.named_parameters() if p.data_ptr() in theirs}


def _linear(state: dict[str, Tensor], training: bool) -> nn.Linear:
    """A linear layer with these weights."""
    weight, bias = state["weight"], state.get("bias")
    rows, columns = weight.shape
    made = nn.utils.skip_init(nn.Linear, columns, rows, bias=bias is not None, dtype=weight.dtype)
    made.load_state_dict({key: value.detach() for key, value in state.items()})
    return made.train(training)


def _bridged(peer: Peer, number: int, args: tuple, kwargs: dict[str, Any], tracked: list[Tensor]) -> Any:
    """A call through which gradients flow: the backward pass is asked for when somebody needs it."""
    kept: dict[str, Any] = {}

    class Bridge(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            with torch.enable_grad():
                kept["value"], kept["tape"] = peer.ask(number, args, kwargs, tape=True)
            outputs = [part for part in _parts(kept["value"]) if isinstance(part, Tensor)]
            made = tuple(part.detach().clone() for part in outputs)
            if kept["tape"] is None and made:
                ctx.mark_non_differentiable(*made)
            return made

        @staticmethod
        def backward(ctx, *slopes):
            return tuple(_backward(peer, kept["tape"], slopes, len(tracked)))

    made = iter(Bridge.apply(*tracked))
    return _with_tensors(kept["value"], made)


def _transformed(peer: Peer, number: int, args: tuple, kwargs: dict[str, Any], tensors: list[Tensor]) -> Any:
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
                    a, k = _with_tensors([list(args), kwargs], iter(leaves))
                    held["value"], kept["tape"] = peer.ask(number, tuple(a), k, tape=True)
                kept["leaves"] = leaves
                return tuple(p.detach().clone() for p in _parts(held["value"]) if isinstance(p, Tensor))

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
    return _with_tensors(held["value"], made)


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
    with peer._guarded(), _unmeasured():
        blobs: list[bytes] = []
        wanted = [peer.out(slope, blobs, [], []) for slope in slopes]
        peer.frames.send({"op": "backward", "tape": tape, "g": wanted}, blobs)
        answer, blobs = peer.wait()
        peer._apply(list(_parts(list(slopes))), answer, blobs)
        found = peer.value(answer["v"], blobs, [], []) if answer["op"] == "return" else [None] * n
        if not isinstance(found, list) or len(found) != n:
            raise Refused("a backward pass with other gradients than were asked for")
    if answer["op"] == "raise":
        raise peer.exception(answer)
    return found


def _autograd(peer: Peer, number: int, name: str) -> type:
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


# ---- exceptions ------------------------------------------------------------------------------------------
def _described(error: Exception) -> dict[str, Any]:
    """What the other side is told of an exception."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    shapes = [list(shape) for shape in getattr(error, "shapes", [])]
    said = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return {
        "n": type(error).__name__[:80], "kinds": kinds, "said": said[:2000], "shapes": shapes[:20],
        "line": getattr(error, "line_of_reader", None) or _line_of(error),
    }  # fmt: skip


def _line_of(error: Exception) -> str:
    """The innermost of the student's own lines, as a check shows it."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(STUDENT):
            source = (frame.line or "").strip()
            return f"line {frame.lineno}, in {frame.name}" + (f":  {source}" if source else "")
    return ""


def _rebuilt(answer: dict[str, Any]) -> Exception:
    """The exception that was described: of Python's own kind, under the name that it had."""
    kinds = answer.get("kinds") if isinstance(answer.get("kinds"), list) else []
    found = [vars(builtins).get(kind) for kind in kinds if isinstance(kind, str)]
    kind = next((k for k in found if isinstance(k, type) and issubclass(k, Exception)), RuntimeError)
    name, said = str(answer.get("n"))[:80], str(answer.get("said"))[:2000]
    if name != kind.__name__ and name.isidentifier():
        kind = type(name, (kind,), {})
    try:
        error = kind(said)
    except Exception:  # UnicodeDecodeError wants five arguments
        error = RuntimeError(said)
    error.line_of_reader = str(answer.get("line"))[:300]
    shapes = answer.get("shapes")
    if isinstance(shapes, list) and all(
        isinstance(s, list) and all(isinstance(n, int) for n in s) for s in shapes
    ):
        error.shapes = [tuple(shape) for shape in shapes]
    return error


# ---- measures --------------------------------------------------------------------------------------------
_MEASURES = {kind.__name__: kind for kind in (PeakMemory, Steps, Sees, Networks)}


@contextmanager
def _unmeasured() -> Iterator[None]:
    """Nothing that runs here counts as the doing of whoever is measured."""
    with _disable_current_modes(), torch._C.DisableTorchFunction():
        yield


def _measuring() -> list[Any]:
    """The instruments around the call that is being made here."""
    stacks = [*_get_current_dispatch_mode_stack(), *_get_current_function_mode_stack(), *OPEN]
    return [mode for mode in stacks if type(mode).__name__ in _MEASURES]


def _tensors(known: list[Any]) -> Iterator[Tensor]:
    for part in known:
        if isinstance(part, nn.Module):
            yield from part.parameters()
        elif isinstance(part, Tensor):
            yield part


# ---- parts of arguments, and what became of them ---------------------------------------------------------
def _parts(value: Any) -> Iterator[Any]:
    """The tensors, models and generators in nested lists, tuples and dicts, in an order both sides share."""
    if isinstance(value, Tensor | nn.Module | torch.Generator):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _parts(item)


def _with_tensors(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The value with these tensors in place of its own."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, list | tuple):
        return type(value)(_with_tensors(item, tensors) for item in value)
    if isinstance(value, dict):
        return {key: _with_tensors(item, tensors) for key, item in value.items()}
    return value


def _no_leaf(value: Any) -> Any:
    if isinstance(value, Tensor) and value.requires_grad and value.is_leaf:
        return value.view_as(value)
    return value


def _snapshot(part: Any) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state().clone()
    if isinstance(part, Tensor):
        return part.detach().clone(), part.requires_grad
    return {
        "state": {key: value.detach().clone() for key, value in part.state_dict().items()},
        "train": [module.training for module in part.modules()],
        "flags": [parameter.requires_grad for parameter in part.parameters()],
        "hooks": _hooks(part),
        "modules": len(list(part.modules())),
    }


def _changes(part: Any, before: Any, blobs: list[bytes]) -> dict[str, Any] | None:
    """What was done to a part, as nodes; None where nothing was."""
    found: dict[str, Any] = {}
    if isinstance(part, torch.Generator):
        if not torch.equal(part.get_state(), before):
            found["state"] = part.get_state()
    elif isinstance(part, Tensor):
        data, tracked = before
        if part.shape == data.shape and not _same(part.detach(), data):
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
            if k not in before["state"] or not _same(v, before["state"][k])
        }
        if state:
            found["state"] = state
        for key, value in (
            ("train", [module.training for module in part.modules()]),
            ("flags", [parameter.requires_grad for parameter in part.parameters()]),
            ("hooks", _hooks(part)),
            ("modules", len(list(part.modules()))),
        ):
            if value != before[key]:
                found[key] = value
        grads = [None if p.grad is None else p.grad.detach() for p in part.parameters()]
        if any(grad is not None for grad in grads):
            found["grads"] = grads
    return {key: encode(value, blobs, lambda value: None) for key, value in found.items()} or None


def _change(part: Any, change: dict[str, Any]) -> None:
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
    for parameter, grad in zip(part.parameters(), change.get("grads", []), strict=False):
        parameter.grad = grad
    _add_hooks(part, change.get("hooks", []))


def _add_hooks(model: nn.Module, counts: list[int]) -> None:
    """Hooks that do nothing, until each module has as many as it had on the other side."""
    for module, wanted, own in zip(model.modules(), counts, _hooks(model), strict=False):
        for _ in range(min(10, max(0, int(wanted) - own))):
            module.register_forward_hook(lambda *anything: None)


def _hooks(model: nn.Module) -> list[int]:
    return [sum(len(getattr(module, kind)) for kind in _HOOKS) for module in model.modules()]


def _build(model: nn.Module) -> list[tuple]:
    """What a model is made of: its modules by name, how many hooks each has, and how each is run."""
    parts = zip(model.named_modules(), _hooks(model), strict=True)
    return [
        (name, id(module), type(module), hooks, id(vars(module).get("forward")))
        for (name, module), hooks in parts
    ]


def _like(a: nn.Module, b: nn.Module) -> bool:
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


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


def _nothing(node: dict[str, Any]) -> Any:
    raise Refused(f"a value of the type {str(node.get('t'))[:20]!r}")


__all__ = ["BROKEN", "STUDENT", "Odd", "Peer"]
