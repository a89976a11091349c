"""What measures a reader's code while it runs: its memory, its steps, the shapes that met where it failed.

The checks use them in a notebook, and the process that runs a student's code uses them in the classroom: they
know nothing of exercises. One that a check opens around a call can also measure in another process: there
``like(about, known)`` makes its twin, ``read()`` tells what that found, and ``add(found)`` adds it here.
"""

from __future__ import annotations

import site
import sys
import sysconfig
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import xai_course
import xai_lib


class PeakMemory(TorchDispatchMode):
    """Measures the most bytes of tensors that were alive at once among those made inside the block.

    What existed before is not counted, if it is handed over: ``with PeakMemory(x, A) as memory: …``; then
    ``memory.peak``. Two sizes of one problem, compared, tell whether memory grows with it.
    """

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.users: dict[int, int] = {}  # of each storage, how many tensors look at it
        self.alive = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return made

    about = None

    @classmethod
    def like(cls, about: None, known: Iterable[Tensor]) -> PeakMemory:
        return cls(*known)

    def read(self) -> list[int]:
        return [self.peak]

    def add(self, found: list[int]) -> None:
        self.peak = max(self.peak, self.alive + max(0, int(found[0])))

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        if not self.users.get(key):
            self.alive += size
            self.peak = max(self.peak, self.alive)
        self.users[key] = self.users.get(key, 0) + 1
        weakref.finalize(tensor, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self.users[key] -= 1
        if not self.users[key]:
            del self.users[key]
            self.alive -= size


class Steps(TorchDispatchMode):
    """Counts the steps in a ``with`` block, and remembers which modules ran, in order.

    A step is a line of the reader's own code or a torch operation: the first sees loops in Python and
    through numpy, the second those that torch runs. Installed packages' lines do not count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count, self.modules = 0, {}

    def __enter__(self) -> Steps:
        self.tracer = sys.gettrace()
        entered = super().__enter__()
        sys.settrace(self._call)
        return entered

    def __exit__(self, *stop: Any) -> None:
        sys.settrace(self.tracer)
        super().__exit__(*stop)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))

    about = None

    @classmethod
    def like(cls, about: None, known: Iterable[Tensor]) -> Steps:
        return cls()

    def read(self) -> list[int | str]:
        return [self.count, *self.modules]

    def add(self, found: list[int | str]) -> None:
        self.count += max(0, int(found[0]))
        for name in found[1:]:
            self.modules.setdefault(str(name))

    def _call(self, frame: FrameType, event: str, arg: Any) -> Callable | None:
        self.modules.setdefault(frame.f_globals.get("__name__") or "")
        return self._line if wrote(frame.f_code.co_filename) else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Callable:
        self.count += event == "line"
        return self._line


class Sees(TorchFunctionMode):
    """Notices when something computes the image ``about``: then ``found`` is true."""

    def __init__(self, about: Tensor) -> None:
        super().__init__()
        self.about, self.found = about, False

    def __torch_function__(self, function, types, args=(), kwargs=None) -> Any:
        made = function(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.shape == self.about.shape and made.dtype == self.about.dtype:
            with torch._C.DisableTorchFunction():
                self.found = self.found or bool((made - self.about).abs().max() < 1e-9)
        return made

    @classmethod
    def like(cls, about: Tensor, known: Iterable[Tensor]) -> Sees:
        return cls(about)

    def read(self) -> list[bool]:
        return [self.found]

    def add(self, found: list[bool]) -> None:
        self.found = self.found or bool(found[0])


class Networks:
    """Notices when a network of at least ``about`` parameters runs; ``found`` names the first's kind."""

    def __init__(self, about: int) -> None:
        self.about, self.found = about, ""

    def __enter__(self) -> Networks:
        self.hook = register_module_forward_pre_hook(self._ran)
        OPEN.append(self)
        return self

    def __exit__(self, *stop: Any) -> None:
        OPEN.remove(self)
        self.hook.remove()

    def _ran(self, module: nn.Module, given: Any) -> None:
        if not self.found and sum(p.numel() for p in module.parameters()) >= self.about:
            self.found = type(module).__name__

    @classmethod
    def like(cls, about: int, known: Iterable[Tensor]) -> Networks:
        return cls(about)

    def read(self) -> list[str]:
        return [self.found]

    def add(self, found: list[str]) -> None:
        self.found = self.found or str(found[0])[:80]


OPEN: list[Networks] = []  # those that are measuring now; torch knows the others as its modes


class MetShapes(TorchFunctionMode):
    """Notes, on what torch raises, the shapes of the tensors that met there, as ``error.shapes``."""

    def __torch_function__(self, function, types, args=(), kwargs=None) -> Any:
        try:
            return function(*args, **(kwargs or {}))
        except RuntimeError as error:
            if not hasattr(error, "shapes"):
                error.shapes = _shapes_of([args, kwargs or {}])
            raise


def _shapes_of(value: Any) -> list[tuple[int, ...]]:
    """The shapes of the tensors in nested lists, tuples and dicts, each once."""
    if isinstance(value, Tensor):
        return [tuple(value.shape)]
    if isinstance(value, Mapping):
        value = list(value.values())
    parts = value if isinstance(value, list | tuple) else []
    return list(dict.fromkeys(shape for part in parts for shape in _shapes_of(part)))


@cache
def wrote(filename: str) -> bool:
    """Whether the reader wrote this file: it is neither ours nor an installed package's."""
    return filename != "<string>" and not any(
        Path(filename).is_relative_to(folder) for folder in _not_the_readers()
    )


@cache
def _not_the_readers() -> set[Path]:
    """The folders of code that no reader wrote: the library, this package, and what is installed."""
    ours = {Path(folder) for package in (xai_lib, xai_course) for folder in package.__path__}
    installed = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")}
    return ours | {Path(folder) for folder in installed | set(site.getsitepackages())}
