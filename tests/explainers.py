"""Every explainer of the library in one table, with a small budget: what all of them promise is tested once.

A new explainer needs a row here, and nothing else, to be held to every promise and to every rule about input.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import xai_lib


def quarters(x: Any) -> Tensor | None:
    """Four superpixels, the image's quarters; None for what is no batch of images."""
    if not isinstance(x, Tensor) or x.dim() != 4 or x.is_meta or x.is_sparse or 0 in x.shape:
        return None
    height, width = x.shape[-2:]
    rows = torch.arange(height, device=x.device) * 2 // height
    columns = torch.arange(width, device=x.device) * 2 // width
    labels = 2 * rows[:, None] + columns
    return labels.unique(return_inverse=True)[1].view(height, width)


@dataclass(frozen=True)
class Explainer:
    """A method with its options for small tests; called as ``explain(model, x, target, **more)``."""

    name: str
    kind: str  # "gradient" (N, C, H, W), "cam" (N, H, W), "black-box" (N, H, W) or (N, K, H, W)
    options: dict[str, Any] = field(default_factory=dict)
    random: bool = False
    batched: bool = False
    flags: tuple[str, ...] = ()

    @property
    def function(self) -> Callable:
        return getattr(xai_lib, self.name)

    def settings(self, x: Any, **more: Any) -> dict[str, Any]:
        given = {k: v(x) if v is quarters else v for k, v in self.options.items()} | more
        if self.random and "generator" not in given:
            on = x.device if isinstance(x, Tensor) and x.device.type in ("cpu", "cuda") else "cpu"
            given["generator"] = torch.Generator(on).manual_seed(0)
        return given

    def __call__(self, model: Any, x: Any, target: Any = None, **more: Any) -> Tensor:
        return self.function(model, x, target, **self.settings(x, **more))

    def shape(self, x: Tensor) -> tuple[int, ...]:
        """The shape of its result for images ``x``."""
        return tuple(x.shape) if self.kind == "gradient" else (len(x), *x.shape[-2:])


_LAYER = {"layer": "features.7"}
_CUT = {"segments": quarters, "fill": "grey"}
TABLE = [
    Explainer("gradient", "gradient"),
    Explainer("gradient_x_input", "gradient"),
    Explainer(
        "smooth_grad",
        "gradient",
        {"n_samples": 4},
        random=True,
        batched=True,
        flags=("paired", "progress"),
    ),
    Explainer("integrated_gradients", "gradient", {"n_steps": 6}, batched=True, flags=("progress",)),
    Explainer("guided_backprop", "gradient"),
    Explainer("deconvnet", "gradient"),
    Explainer("cam", "cam", _LAYER | {"head": "head"}, flags=("upsample",)),
    Explainer("grad_cam", "cam", _LAYER, flags=("relu", "upsample")),
    Explainer("grad_cam_plus_plus", "cam", _LAYER, flags=("relu", "upsample")),
    Explainer("xgrad_cam", "cam", _LAYER, flags=("relu", "upsample")),
    Explainer("layer_cam", "cam", _LAYER, flags=("relu", "upsample")),
    Explainer("hires_cam", "cam", _LAYER, flags=("relu", "upsample")),
    Explainer("score_cam", "cam", _LAYER, batched=True, flags=("upsample", "progress")),
    Explainer("guided_grad_cam", "gradient", _LAYER),
    Explainer("occlusion", "black-box", {"window": 6}, batched=True, flags=("progress",)),
    Explainer(
        "lime",
        "black-box",
        _CUT | {"n_samples": 12},
        random=True,
        batched=True,
        flags=("paired", "progress"),
    ),
    Explainer(
        "shapley",
        "black-box",
        _CUT | {"n_samples": 12},
        random=True,
        batched=True,
        flags=("paired", "progress"),
    ),
    Explainer(
        "rise",
        "black-box",
        {"n_masks": 12, "grid": 2},
        random=True,
        batched=True,
        flags=("paired", "progress"),
    ),
]
EXPLAINERS = {e.name: e for e in TABLE}


def some(**wanted: Any) -> Any:
    """Parametrise a test over the explainers whose fields have these values (a tuple: one of them)."""
    chosen = [
        e
        for e in TABLE
        if all(getattr(e, k) in v if isinstance(v, tuple) else getattr(e, k) == v for k, v in wanted.items())
    ]
    return pytest.mark.parametrize("explain", chosen, ids=[e.name for e in chosen])


every_explainer = some()
