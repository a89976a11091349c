"""Make the scores that the appendix of chapter 4 reads: runs of RISE, twelve times 512 passes.

    python tools/rise_scores.py             write chapters/04_perturbation/rise_scores.npz (two minutes)

The appendix asks how the price of one map varies from run to run. The masks of a run are drawn again there,
from its seed; the network's answers to them would take too long on a page, and are stored.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xai_lib import load_model, load_photo, rise_masks

FILE = Path(__file__).resolve().parent.parent / "chapters" / "04_perturbation" / "rise_scores.npz"
RUNS = {"cat": 8, "coffee": 4}
MASKS = 512


@torch.no_grad()
def scores(name: str, seed: int, n: int = MASKS) -> Tensor:
    """Probability of the photograph's own class behind the first ``n`` masks of a run, (n,)."""
    model, photo = load_model("efficientnet_lite0"), load_photo(name)
    target = model(photo).argmax().item()
    generator = torch.Generator().manual_seed(seed)
    masks = rise_masks(MASKS, 224, paired=False, generator=generator)[:n, None]  # (n, 1, 224, 224)
    return torch.cat([model(photo * part).softmax(1)[:, target] for part in masks.split(16)])


def main() -> None:
    runs = {name: np.stack([scores(name, k).numpy() for k in range(n)]) for name, n in RUNS.items()}
    np.savez_compressed(FILE, **runs)


if __name__ == "__main__":
    main()
