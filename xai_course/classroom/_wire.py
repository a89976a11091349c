"""What crosses between the judge and a student's process: frames of JSON and raw numbers, and nothing else.

A frame is a JSON node and a list of blobs, each with its length before it, all bounded. A value is a node
with a type ``t``. Nothing that the student's process sends is unpickled, no class is looked up by a name that
gives, and a number, a tensor or a list becomes a plain one here: a subclass and its methods stay over there.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MAGIC = 0x5EED
LARGEST = 256_000_000  # bytes of a whole frame
MOST_BLOBS = 4096
DEEPEST = 40  # lists in lists
_HEAD, _LENGTH = struct.Struct("<III"), struct.Struct("<Q")
_DTYPES = {
    str(dtype): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
}  # fmt: skip


class Refused(Exception):
    """The other side sent what the protocol does not know: garbage, a forged frame, something too large."""


class Odd:
    """A value that does not cross: known by its type's name and by how it prints, and good for nothing."""

    def __init__(self, kind: str, text: str) -> None:
        self.__class__ = type(kind, (Odd,), {})  # a check that names the type names the student's
        self.text = text

    def __repr__(self) -> str:
        return self.text


# ---- frames ------------------------------------------------------------------------------------------------
class Frames:
    """Sends and receives frames over a socket; where a deadline is set, :class:`TimeoutError` after it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deadline: float | None = None  # of time.monotonic()

    def send(self, node: dict[str, Any], blobs: list[bytes]) -> None:
        head = json.dumps(node).encode()
        self._hurry()
        self.sock.sendall(_HEAD.pack(MAGIC, len(head), len(blobs)) + head)
        for blob in blobs:
            self.sock.sendall(_LENGTH.pack(len(blob)))
            self.sock.sendall(blob)

    def receive(self) -> tuple[dict[str, Any], list[bytes]]:
        """The next frame.

        Raises:
            EOFError: if the other side is gone.
            Refused: if what it sent is no frame.
            TimeoutError: if nothing came in time.
        """
        magic, length, n_blobs = _HEAD.unpack(self._exactly(_HEAD.size))
        if magic != MAGIC or n_blobs > MOST_BLOBS or length > LARGEST:
            raise Refused("what came is no frame")
        left = LARGEST - length
        try:
            node = json.loads(self._exactly(length))
        except (ValueError, RecursionError):
            raise Refused("what came is no JSON") from None
        if not isinstance(node, dict):
            raise Refused("what came is no node")
        blobs = []
        for _ in range(n_blobs):
            (size,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
            left -= size
            if left < 0:
                raise Refused(f"what came is larger than {LARGEST // 10**6} MB")
            blobs.append(self._exactly(size))
        return node, blobs

    def _hurry(self) -> None:
        """Wait no longer than the deadline allows, however often the other side answers."""
        if self.deadline is None:
            self.sock.settimeout(None)
        elif (left := self.deadline - time.monotonic()) > 0:
            self.sock.settimeout(left)
        else:
            raise TimeoutError("the time is up")

    def _exactly(self, n: int) -> bytes:
        held = bytearray()
        while len(held) < n:
            self._hurry()
            part = self.sock.recv(min(1 << 20, n - len(held)))
            if not part:
                raise EOFError("the other side is gone")
            held += part
        return bytes(held)


# ---- plain values ------------------------------------------------------------------------------------------
def encode(value: Any, blobs: list[bytes], special: Callable[[Any], dict | None]) -> dict[str, Any]:
    """A value as a node. ``special(value)`` is asked first: it gives the node of what it knows, else None."""
    node = special(value)
    if node is not None:
        return node
    if value is None or isinstance(value, bool | str):
        return {"t": "is", "v": str(value) if isinstance(value, str) else value}
    if value is ...:
        return {"t": "ellipsis"}
    if isinstance(value, int):
        return {"t": "int", "v": str(int(value))}
    if isinstance(value, float):
        return {"t": "float", "v": float(value).hex()}
    if isinstance(value, complex):
        return {"t": "complex", "v": [value.real.hex(), value.imag.hex()]}
    if isinstance(value, Tensor):
        return encode_tensor(value, blobs)
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
        held = np.ascontiguousarray(value)
        blobs.append(held.tobytes())
        return {"t": "array", "d": held.dtype.str, "s": list(np.shape(value)), "b": len(blobs) - 1}
    if isinstance(value, torch.Generator):
        blobs.append(value.get_state().numpy().tobytes())
        return {"t": "generator", "b": len(blobs) - 1}
    if isinstance(value, torch.dtype):
        return {"t": "dtype", "v": str(value)}
    if isinstance(value, torch.device):
        return {"t": "device"}
    if isinstance(value, range):
        return {"t": "range", "v": [value.start, value.stop, value.step]}
    if isinstance(value, dict):
        pairs = [[encode(key, blobs, special), encode(item, blobs, special)] for key, item in value.items()]
        return {"t": "dict", "v": pairs}
    for name, kind in (("list", list), ("tuple", tuple), ("set", set | frozenset)):
        if isinstance(value, kind):
            return {"t": name, "v": [encode(item, blobs, special) for item in value]}
    return {"t": "odd", "n": type(value).__name__, "r": repr(value)[:200]}


def encode_tensor(value: Tensor, blobs: list[bytes]) -> dict[str, Any]:
    """A tensor's numbers, its type, and what autograd knows of it."""
    with torch._C.DisableTorchFunctionSubclass():  # a subclass's own methods are not asked
        data = value.detach().cpu()
        if data.layout != torch.strided or str(data.dtype) not in _DTYPES:
            return {"t": "odd", "n": "Tensor", "r": f"a tensor of {data.dtype} and {data.layout}"}
        data = data.resolve_conj().resolve_neg().contiguous()
        blobs.append(data.reshape(-1).view(torch.uint8).numpy().tobytes() if data.numel() else b"")
        return {
            "t": "tensor", "d": str(data.dtype), "s": list(data.shape), "b": len(blobs) - 1,
            "g": bool(value.requires_grad), "p": isinstance(value, nn.Parameter),
        }  # fmt: skip


def decode(node: Any, blobs: list[bytes], special: Callable[[dict], Any], depth: int = 0) -> Any:
    """The value of a node; a node of a type that is not plain is left to ``special(node)``.

    Raises:
        Refused: if the node is not one that :func:`encode` makes.
    """
    if not isinstance(node, dict) or depth > DEEPEST:
        raise Refused("what came is no value")
    try:
        return _decode(node, blobs, special, depth)
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
        RuntimeError,
    ) as error:
        raise Refused(f"what came is no value: {error}") from None


def _decode(node: dict[str, Any], blobs: list[bytes], special: Callable[[dict], Any], depth: int) -> Any:
    kind, v = node["t"], node.get("v")
    if kind == "is":
        if v is not None and not isinstance(v, bool | str):
            raise Refused("what came is no plain value")
        return v
    if kind == "ellipsis":
        return ...
    if kind == "int":
        return int(v[:4000])
    if kind == "float":
        return float.fromhex(v)
    if kind == "complex":
        return complex(*map(float.fromhex, v))
    if kind == "tensor":
        return decode_tensor(node, blobs)
    if kind == "array":
        dtype, shape = np.dtype(str(node["d"])), tuple(map(int, node["s"]))
        if dtype.kind not in "biufc":
            raise Refused("an array of no numbers")
        held = np.frombuffer(blobs[node["b"]], dtype=dtype).reshape(shape).copy()
        return held if shape else held[()]
    if kind == "generator":
        generator = torch.Generator()
        generator.set_state(torch.frombuffer(bytearray(blobs[node["b"]]), dtype=torch.uint8))
        return generator
    if kind == "dtype":
        return _DTYPES[v]
    if kind == "device":
        return torch.device("cpu")
    if kind == "range":
        return range(*map(int, v))
    if kind == "dict":
        return {decode(k, blobs, special, depth + 1): decode(x, blobs, special, depth + 1) for k, x in v}
    if kind in ("list", "tuple", "set"):
        items = [decode(item, blobs, special, depth + 1) for item in v]
        return {"list": list, "tuple": tuple, "set": set}[kind](items)
    if kind == "odd":
        return Odd(str(node["n"])[:60] if str(node["n"]).isidentifier() else "object", str(node["r"])[:200])
    return special(node)


def decode_tensor(node: dict[str, Any], blobs: list[bytes]) -> Tensor:
    """A plain tensor of its own memory; as many numbers as its shape says, or :class:`Refused`."""
    dtype, shape, raw = _DTYPES[node["d"]], [int(size) for size in node["s"]], blobs[node["b"]]
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(raw):
        raise Refused("a tensor whose numbers do not fit its shape")
    if raw:
        value = torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape).clone()
    else:
        value = torch.empty(shape, dtype=dtype)
    if node.get("p"):
        return nn.Parameter(value, bool(node["g"]))
    if node.get("g") and (dtype.is_floating_point or dtype.is_complex):
        value.requires_grad_(True)
    return value
