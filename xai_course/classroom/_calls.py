"""Calls between the judge and a student's process: each side calls the other's functions like its own.

A function crosses as a number: the other side may call it, and read nothing else of it. Tensors cross by
value, also where a gradient has to flow through the call: then the backward pass crosses as well. What a call
does to its arguments (in place, to a generator, to a model) is told with the result and done to the caller's.

Models go from the judge to the student by pickle, since the judge is trusted; nothing comes back that way.
"""

from __future__ import annotations

import copy
import importlib
import io
import operator
import pickle
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import cloudpickle
import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from ..instruments import MetShapes
from ._arguments import (
    HOOKS,
    add_hooks,
    alike,
    build_of,
    changes_of,
    gradients_of,
    hooks_of,
    make_change,
    no_leaf,
    nothing,
    parts_of,
    same_values,
    set_gradients,
    snapshot,
)
from ._errors import described, rebuilt
from ._gradients import autograd_of, bridged, transformed
from ._measures import MEASURES, instruments_around, tensors_of, unmeasured
from ._wire import Frames, Odd, Refused, decode, encode, encode_tensor

BROKEN = (EOFError, ConnectionError, TimeoutError, Refused)  # after these nothing sensible will come


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
            if other is model and not known and build_of(model) == self.as_given[place]:
                state = encode(dict(model.state_dict()), blobs, lambda value: None)
                flags = [parameter.requires_grad for parameter in model.parameters()]
                return {"t": "given", "n": self.models[0], "i": place, "v": state,
                        "train": [module.training for module in model.modules()], "rg": flags}  # fmt: skip
        for place, other in enumerate(known):  # the student's: a changed copy of what was given?
            if isinstance(other, nn.Module) and type(other) is type(model) and alike(other, model):
                state = encode(dict(model.state_dict()), blobs, lambda value: None)
                flags = [parameter.requires_grad for parameter in model.parameters()]
                return {
                    "t": "like",
                    "i": place,
                    "v": state,
                    "train": model.training,
                    "rg": flags,
                    "hooks": hooks_of(model),
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
            "hooks": hooks_of(model),
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
            self.as_given = [build_of(model) for model in self.models[1]]
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
                return _linear(decode(v, blobs, nothing), bool(node["train"]))
            if kind == "lent":
                name = str(node["n"])[:80]
                if node["k"] == "autograd":
                    return autograd_of(self, int(v), name)
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
        for key, value in (decode(node["state"], blobs, nothing) if "state" in node else {}).items():
            *path, last = str(key).split(".")
            weight = nn.Parameter(value, requires_grad=value.is_floating_point())
            if key in node["shared"]:  # it is the weight of what the student was given, and no copy
                place, name = node["shared"][key]
                weight = known[int(place)].get_parameter(str(name))
            made.get_submodule(".".join(path)).register_parameter(last, weight)
        add_hooks(made, node.get("hooks", []))
        return made

    def _given(self, node: dict[str, Any], blobs: list[bytes]) -> nn.Module:
        """A model that this end sent: itself, or a copy of it with what was changed over there."""
        models, _, number = self.sent or ([], b"", 0)
        if node["n"] != number:
            raise Refused("a model that was not sent")
        model = models[int(node["i"])]
        state, own = decode(node["v"], blobs, nothing), model.state_dict()
        flags, modes = list(map(bool, node["rg"])), list(map(bool, node["train"]))
        same = state.keys() == own.keys() and all(same_values(own[key], state[key]) for key in own)
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
        made.load_state_dict(decode(node["v"], blobs, nothing))
        made.train(bool(node["train"]))
        for parameter, flag in zip(made.parameters(), node["rg"], strict=True):
            parameter.requires_grad_(bool(flag))
        add_hooks(made, node["hooks"])
        return made

    # ---- calling -------------------------------------------------------------------------------------------
    def call(self, number: int, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The other side's function number ``number``, called."""
        tensors = [part for part in parts_of([args, kwargs]) if isinstance(part, Tensor)]
        if any(map(is_functorch_wrapped_tensor, tensors)):
            return transformed(self, number, args, kwargs, tensors)
        tracked = [part for part in tensors if part.requires_grad]
        if torch.is_grad_enabled() and tracked:
            return bridged(self, number, args, kwargs, tracked)
        return self.ask(number, args, kwargs)[0]

    def ask(
        self, number: int, args: tuple, kwargs: dict[str, Any], *, tape: bool = False
    ) -> tuple[Any, int | None]:
        """A call, and the number of the tape on which the other side keeps its graph (if it does)."""
        # What the judge's own functions do is not the student's doing.
        measuring = [] if self.trusts else instruments_around()
        with self._guarded(), unmeasured():
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
            known = list(parts_of([list(args), list(kwargs.values())]))
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
        known = list(parts_of([args, list(kwargs.values())]))
        before = [snapshot(part) for part in known]
        leaves = [part for part in known if isinstance(part, Tensor) and part.requires_grad]
        torch.set_rng_state(rng)
        answer: dict[str, Any] = {"op": "return"}
        out: list[bytes] = []
        try:
            with ExitStack() as stack:
                stack.enter_context(torch.set_grad_enabled(grad))
                stack.enter_context(MetShapes())
                measures = [MEASURES[name].like(about, tensors_of(known)) for name, about in asked]
                for measure in measures:
                    stack.enter_context(measure)
                # A leaf may not be changed in place.
                given = [no_leaf(arg) for arg in args] if tape else args
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
            if (change := changes_of(part, before[i], out)) is not None
        ]
        answer["rng"] = encode_tensor(torch.get_rng_state(), out)
        self.frames.send(answer, out)

    def _keep(self, leaves: list[Tensor], value: Any) -> int | None:
        """Keep the graph of a result, if it has one; the number under which it is kept."""
        outputs = [part for part in parts_of(value) if isinstance(part, Tensor)]
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
        known = list(parts_of(slopes))
        before = [snapshot(slope) for slope in known]
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
            [i, c] for i, slope in enumerate(known) if (c := changes_of(slope, before[i], out)) is not None
        ]
        self.frames.send(
            {**answer, "changes": changes, "rng": encode_tensor(torch.get_rng_state(), out)}, out
        )

    # ---- exceptions ----------------------------------------------------------------------------------------
    def describe(self, error: Exception) -> dict[str, Any]:
        """What the other side is told of an exception; the judge keeps its own, which may come back."""
        if self.trusts:
            return {**described(error), "of": getattr(error, "of_judge", None)}
        self.count += 1
        self.raised[self.count] = error
        return {**described(error), "of": self.count}

    def exception(self, answer: dict[str, Any]) -> Exception:
        """The exception that was described; the judge's own, where it only came back."""
        number = answer.get("of")
        if not self.trusts and isinstance(number, int) and number in self.raised:
            return self.raised[number]
        error = rebuilt(answer)
        if self.trusts:
            error.of_judge = number
        return error

    # ---- what a call did -----------------------------------------------------------------------------------
    def _apply(self, known: list[Any], answer: dict[str, Any], blobs: list[bytes]) -> None:
        """Do to the arguments what the other side did to its copies of them."""
        try:
            torch.set_rng_state(self.value(answer["rng"], blobs, [], []))
            for place, change in answer["changes"]:
                make_change(known[int(place)], {k: decode(v, blobs, nothing) for k, v in change.items()})
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
            id(hook): hook for module in every for kind in HOOKS for hook in getattr(module, kind).values()
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
    _Pickler(file, models, peer).dump((models, [gradients_of(model) for model in models]))
    return file.getvalue()


def _unpickled(content: bytes, peer: Peer) -> list[nn.Module]:
    models, gradients = _Unpickler(io.BytesIO(content), peer).load()
    for model, own in zip(models, gradients, strict=True):  # a parameter is pickled without its gradient
        set_gradients(model, own)
    return models


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


__all__ = ["BROKEN", "Odd", "Peer"]
