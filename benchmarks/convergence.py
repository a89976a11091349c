"""How many masks RISE needs: the error of a map against its number of passes, for each way to draw the masks.

The masks are those of ``rise_masks``, each scored once; a map from the first N of them is what ``rise`` gives
for N.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from xai_lib import load_model, load_photo, rise, rise_masks

PASSES = (128, 256, 512, 1024)
REFERENCE = 8192  # balanced masks, of another seed
SEEDS = 4
# name: how the masks are drawn, and what the sum is divided by
ESTIMATORS = {
    "the paper's": ({"paired": False}, "expected"),
    "independent, by coverage": ({"paired": False}, "coverage"),
    "pairs, by coverage": ({"balanced": False}, "coverage"),
    "balanced blocks (xai_lib's default)": ({}, "coverage"),
}


@torch.no_grad()
def rise_errors(device: torch.device, quick: bool = False, say: Callable[[str], None] = print) -> dict:
    """Relative error of the map (see ``relative_error``), root mean square over seeds, for each estimator.

    ``same_error_passes`` says how many times the passes of balanced blocks each estimator needs for the same
    error: the ratio of the squared errors, its geometric mean over the numbers of passes.
    """
    passes, reference, seeds = (PASSES[:2], 1024, 2) if quick else (PASSES, REFERENCE, SEEDS)
    model, x = load_model("efficientnet_lite0", device=device), load_photo("coffee").to(device)
    target = int(model(x).argmax())
    draws = torch.Generator(device).manual_seed(1000)
    converged = rise(model, x, target, n_masks=reference, generator=draws)[0]
    errors = {name: torch.zeros(len(passes)) for name in ESTIMATORS}
    drawn: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, (how, normalize) in ESTIMATORS.items():
        key = str(how)
        if key not in drawn:  # estimators that differ in the divisor share their masks and scores
            drawn[key] = [_scored(model, x, target, passes[-1], how, seed, device) for seed in range(seeds)]
        for masks, p in drawn[key]:
            for i, n in enumerate(passes):
                total = torch.einsum("n,nhw->hw", p[:n], masks[:n])
                estimate = total / (masks[:n].sum(0) if normalize == "coverage" else n * 0.5)
                errors[name][i] += relative_error(estimate, converged) ** 2 / seeds
        say(f"RISE, {name}: relative error {errors[name][-1].sqrt():.2f} after {passes[-1]} passes")
    best = errors["balanced blocks (xai_lib's default)"]
    return {
        "setting": f"efficientnet_lite0, the coffee photograph, class {model.labels[target]}",
        "passes": list(passes),
        "reference_masks": reference,
        "seeds": seeds,
        "errors": {name: [round(v, 4) for v in e.sqrt().tolist()] for name, e in errors.items()},
        "same_error_passes": {
            name: round((e / best).log().mean().exp().item(), 2) for name, e in errors.items()
        },
    }


def _scored(model, x: Tensor, target: int, n: int, how: dict, seed: int, device: torch.device):
    """Masks (n, H, W), and the probability under each, (n,)."""
    masks = rise_masks(
        n, tuple(x.shape[-2:]), generator=torch.Generator(device).manual_seed(seed), device=device, **how
    )
    parts = [model(x * part[:, None]).softmax(1)[:, target] for part in masks.split(32)]
    return masks, torch.cat(parts)


def relative_error(estimate: Tensor, converged: Tensor) -> float:
    """The distance of two maps relative to the size of the second, each without its mean."""
    estimate, converged = estimate - estimate.mean(), converged - converged.mean()
    return ((estimate - converged).norm() / converged.norm()).item()
