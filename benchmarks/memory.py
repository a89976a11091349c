"""How much memory a method's tensors take, and whether more passes take more of it.

On a GPU the caching allocator counts the bytes that it has handed out, and their peak; nothing is hidden. On
a processor torch keeps no such account, and the memory of the *process* says as much about what the system's
allocator has not given back. So there ``TensorMemory`` follows every tensor's storage from the operator that
returns it until it is freed. Since that slows each operator down, memory is measured in runs of its own,
never in those that are timed.
"""

import gc
import math
import weakref
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xai_lib import (
    integrated_gradients,
    lime,
    load_model,
    occlusion,
    rise,
    score_cam,
    shapley,
    smooth_grad,
)

Call = Callable[[], object]
LIMIT = 1.05  # for the growth of the peak over sixteen times the passes
COUNTS = (64, 1024)


class TensorMemory(TorchDispatchMode):
    """Bytes in the storages of live tensors that came into being inside, now and at their peak.

    Exact for what operators return, in the forward and the backward pass: views share a storage, work in
    place adds none, and a storage counts until the last tensor on it, or the graph that saved it, is gone.
    Not seen: temporaries inside one operator (a convolution's scratch space), and memory that is not a
    tensor's (NumPy's arrays, until a tensor shares them; Python's objects; the allocator's own spare memory).
    """

    def __enter__(self) -> "TensorMemory":
        gc.collect()
        self.now, self.peak = 0, 0
        # By address: a reference that tells of the storage's end, and its bytes, None where it was there
        # before.
        self._alive: dict[int, tuple[weakref.ref, int | None]] = {}
        for thing in gc.get_objects():
            if issubclass(type(thing), Tensor):
                self._meet(thing, there_before=True)
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._alive.clear()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, Tensor):
                self._meet(leaf)
        return result

    def _meet(self, tensor: Tensor, there_before: bool = False) -> None:
        if tensor.layout != torch.strided:
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._alive:
            ending = weakref.ref(storage, lambda _: self._forget(key))
            self._alive[key] = (ending, None if there_before else 0)
        ending, counted = self._alive[key]
        if counted is not None and size != counted:  # new, or an operator made the storage larger
            self._alive[key] = (ending, size)
            self.now += size - counted
            self.peak = max(self.peak, self.now)

    def _forget(self, key: int) -> None:
        self.now -= self._alive.pop(key)[1] or 0


def peak_of_tensors(call: Call, device: torch.device) -> float:
    """Mebibytes that a call's tensors take at most, beyond those that were there before."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with TensorMemory() as memory:
        call()
    return memory.peak / 2**20


# ----------------------------------------------------------------------------------------------- growth


def growth(device: torch.device, counts: tuple[int, ...] = COUNTS, only: str | None = None) -> list[dict]:
    """Peak memory of each method at each number of passes (counted as they happen), ``batch_size`` 32."""
    rows = []
    for name in [only] if only else METHODS:
        passes, peaks = [], []
        for count in counts:
            model, x = _network(name, device)
            call = METHODS[name](model, x, count)
            seen = []
            hook = model.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(len(inputs[0])))
            call()  # what the first call alone allocates, and keeps, is not the method's
            hook.remove()
            passes.append(sum(seen))
            peaks.append(peak_of_tensors(call, device))
        rows.append({"method": name, "passes": passes, "mib": peaks, "growth": peaks[-1] / peaks[0]})
    return rows


def _network(name: str, device: torch.device) -> tuple[torch.nn.Module, Tensor]:
    """The small network and an image; Score-CAM needs one with enough feature maps."""
    torch.manual_seed(0)
    model = load_model("efficientnet_lite0" if name == "score_cam" else "small_gap", device=device)
    return model, torch.rand(1, 3, 112, 112, device=device)


def _squares(x: Tensor) -> Tensor:
    """4 × 4 squares as superpixels, (H, W)."""
    line = torch.arange(x.shape[-1], device=x.device) * 4 // x.shape[-1]
    return line[:, None] * 4 + line


def _smooth_grad(model, x: Tensor, count: int) -> Call:
    return lambda: smooth_grad(model, x, 0, n_samples=count, batch_size=32)


def _integrated_gradients(model, x: Tensor, count: int) -> Call:
    return lambda: integrated_gradients(model, x, 0, n_steps=count, batch_size=32)


def _score_cam(model, x: Tensor, count: int) -> Call:
    """Of the last layer's 1280 maps the first ``count`` are lifted above zero, and the others silenced.

    A map that is zero everywhere costs no pass.
    """
    conv = model.get_submodule(model.cam_layer).conv  # its normalisation is folded into it
    with torch.no_grad():
        conv.weight[count:], conv.bias[count:] = 0, 0
        conv.bias[:count] = 3
    return lambda: score_cam(model, x, 0, layer=model.cam_layer, batch_size=32)


def _occlusion(model, x: Tensor, count: int) -> Call:
    """As many windows as asked for, a square number, on a grid over the image."""
    window = 19
    stride = math.ceil((x.shape[-1] - window) / (math.isqrt(count) - 1))
    return lambda: occlusion(model, x, 0, window=window, stride=stride, batch_size=32)


def _lime(model, x: Tensor, count: int) -> Call:
    segments = _squares(x)
    return lambda: lime(model, x, 0, segments=segments, n_samples=count, fill=0.0, batch_size=32)


def _shapley(model, x: Tensor, count: int) -> Call:
    segments = _squares(x)
    return lambda: shapley(model, x, 0, segments=segments, n_samples=count, fill=0.0, batch_size=32)


def _rise(model, x: Tensor, count: int) -> Call:
    return lambda: rise(model, x, 0, n_masks=count, batch_size=32)


METHODS = {
    "smooth_grad": _smooth_grad,
    "integrated_gradients": _integrated_gradients,
    "score_cam": _score_cam,
    "occlusion": _occlusion,
    "lime": _lime,
    "shapley": _shapley,
    "rise": _rise,
}
