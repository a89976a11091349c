"""The instruments that measure a call, on whichever side of the wire it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _disable_current_modes, _get_current_dispatch_mode_stack

from ..instruments import OPEN, Networks, PeakMemory, Sees, Steps

MEASURES = {kind.__name__: kind for kind in (PeakMemory, Steps, Sees, Networks)}


@contextmanager
def unmeasured() -> Iterator[None]:
    """Nothing that runs here counts as the doing of whoever is measured."""
    with _disable_current_modes(), torch._C.DisableTorchFunction():
        yield


def instruments_around() -> list[Any]:
    """The instruments around the call that is being made here."""
    stacks = [*_get_current_dispatch_mode_stack(), *_get_current_function_mode_stack(), *OPEN]
    return [mode for mode in stacks if type(mode).__name__ in MEASURES]


def tensors_of(known: list[Any]) -> Iterator[Tensor]:
    for part in known:
        if isinstance(part, nn.Module):
            yield from part.parameters()
        elif isinstance(part, Tensor):
            yield part
