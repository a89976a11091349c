"""By what a run is known again: the model's weights, the explainers' names and options, the images."""

import functools
import hashlib
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_lib._pictures import Pictures


def digest(text: str | bytes) -> str:
    """Sixteen hexadecimal digits."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:16]


def of_model(model: nn.Module) -> str:
    """Of the kinds of its modules, and of the name, shape and every byte of its weights and buffers."""
    total = hashlib.sha256()
    for name, module in model.named_modules():
        total.update(f"{name} {type(module).__qualname__}\n".encode())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(_bytes(tensor))
    return total.hexdigest()[:16]


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def of_dataset(pictures: Pictures) -> str:
    """Of its size, its images' names, and the first, the middle and the last image: not all are read."""
    total = hashlib.sha256(f"{len(pictures)} {tuple(pictures.shape)} {pictures.dtype}\n".encode())
    total.update("\n".join(pictures.ids).encode())
    for index in sorted({0, len(pictures) // 2, len(pictures) - 1}):
        try:
            image, label = pictures[index]
        except Exception as error:  # the run will name this image: here it only has to be the same each time
            total.update(type(error).__name__.encode())
        else:
            total.update(_bytes(image))
            total.update(str(label).encode())
    return total.hexdigest()[:16]


def of_explainers(explainers: Mapping[str, Callable], model: nn.Module) -> dict[str, str]:
    """Each explainer in words: its function and the options it is called with."""
    own = {id(module): name for name, module in model.named_modules()}
    return {name: _Words(f"explainers[{name!r}]", own).of(explain) for name, explain in explainers.items()}


def of_target(target: Any) -> str:
    """A class, or a class for each image, in words."""
    return _Words("target", {}).of(target)


class _Words:
    """Says what a callable or an option is, in words that are the same in another process."""

    def __init__(self, where: str, own: dict[int, str]) -> None:
        self.where, self.own = where, own
        self.above: list[int] = []  # the objects around the one that is looked at: some hold themselves

    def of(self, value: Any) -> str:
        if isinstance(value, bool | int | float | str | bytes | torch.dtype | torch.device | type(None)):
            return repr(value)
        if id(value) in self.above:
            return "itself"
        self.above.append(id(value))
        try:
            return self._of(value)
        finally:
            self.above.pop()

    def _of(self, value: Any) -> str:
        if id(value) in self.own:
            raise ValueError(
                f"{self.where} holds a module of the model, which is none of its copies'; give it by its "
                f"dotted name, {self.own[id(value)]!r}"
            )
        if isinstance(value, torch.Generator):
            raise ValueError(
                f"{self.where} holds a generator, whose state would depend on the order of the batches; "
                "leave it out: each batch is given one of its own, made from seed"
            )
        if isinstance(value, nn.Module):
            return f"{type(value).__qualname__}#{of_model(value)}"
        if isinstance(value, functools.partial):
            inside = [self.of(v) for v in value.args]
            inside += [f"{k}={self.of(v)}" for k, v in sorted(value.keywords.items())]
            return f"{self.of(value.func)}({', '.join(inside)})"
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return f"{self.of(value.__self__)}.{value.__name__}"
        if isinstance(value, types.BuiltinFunctionType | types.ModuleType | type):
            return getattr(value, "__qualname__", value.__name__)
        if isinstance(value, Tensor | np.ndarray):
            tensor = torch.as_tensor(value)
            return f"tensor({tuple(tensor.shape)}, {tensor.dtype}, {digest(bytes(_bytes(tensor)))})"
        if isinstance(value, dict):
            return f"{{{', '.join(f'{k!r}: {self.of(v)}' for k, v in value.items())}}}"
        if isinstance(value, list | tuple):
            return f"({', '.join(map(self.of, value))})"
        if isinstance(value, set | frozenset):
            return f"{{{', '.join(sorted(map(self.of, value)))}}}"
        return self._object(value)

    def _function(self, function: types.FunctionType) -> str:
        """By its name, where it can be imported; else by its code and what it encloses."""
        name = f"{function.__module__}.{function.__qualname__}"
        if "<" not in name and function.__module__ != "__main__":
            return name
        parts = [
            self._code(function.__code__),
            self.of(function.__defaults__),
            self.of(function.__kwdefaults__),
        ]
        for cell in function.__closure__ or ():
            try:
                parts.append(self.of(cell.cell_contents))
            except ValueError as error:
                if "empty" not in str(error):
                    raise
        return f"{function.__qualname__}#{digest(' '.join(parts))}"

    def _code(self, code: types.CodeType) -> str:
        consts = [self._code(c) if isinstance(c, types.CodeType) else self.of(c) for c in code.co_consts]
        return digest(f"{code.co_code.hex()} {' '.join(consts)} {' '.join(code.co_names)}")

    def _object(self, value: Any) -> str:
        """By its own words; where these are an address, by what it holds."""
        plain = repr(value)
        if " at 0x" not in plain:
            return plain
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return f"{kind}({self.of(vars(value))})" if hasattr(value, "__dict__") else kind


def takes_generator(explain: Callable) -> bool:
    """Whether an explainer draws from a generator that it is given."""
    try:
        parameters = inspect.signature(explain).parameters
    except (TypeError, ValueError):
        return False
    return "generator" in parameters


def seed_of(seed: int, name: str, batch: int) -> int:
    """A number below 2⁶³ for one batch and one explainer; other batches, names and seeds give others."""
    return int(hashlib.sha256(f"{seed}/{name}/{batch}".encode()).hexdigest()[:16], 16) % 2**63
