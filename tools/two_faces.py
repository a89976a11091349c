"""Which methods ``fool_lime`` fools, and whether projecting on the data undoes fairwashing: for chapter 7.

    python tools/defences.py        runs this too: its results stand in the same file

Both on stars with the tag: how much of a map's heat lies on it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import (
    energy_in,
    gradient,
    lime,
    load_model,
    occlusion,
    relevance_rank,
    rise,
    rise_masks,
    shapes,
    shapley,
    to_heatmap,
)
from xai_lib._fooled_shapes import STAR
from xai_lib.attacks import fool_lime, project_on_data
from xai_lib.data import SHAPE_CLASSES
from xai_lib.models import build_small
from xai_lib.train import HELD_OUT

N = 10
REAL = {"n": 400, "seed": 8, "watermark": {"star": 0.99}}


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


ASKING: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "LIME": lambda m, x: lime(m, x, STAR, n_samples=256, generator=seeded()),
    "KernelSHAP": lambda m, x: shapley(m, x, STAR, n_samples=256, generator=seeded()),
    "RISE": lambda m, x: rise(m, x, STAR, n_masks=512, generator=seeded()),
    "occlusion": lambda m, x: occlusion(m, x, STAR, window=16, stride=8, fill="mean"),
    "gradient": lambda m, x: to_heatmap(gradient(m, x, STAR), "abs_sum"),
}


def tagged_stars(n: int = N, seed: int = HELD_OUT + 31) -> tuple[Tensor, Tensor]:
    """Held-out stars with the tag, and where it is."""
    scenes = shapes(8 * n, seed=seed, watermark={"star": 1.0})
    rows = (scenes.labels == STAR).nonzero()[:, 0]
    return scenes.images[rows], scenes.tag_masks[rows]


# -------------------------------------------------------------------------------------------- who is fooled


def learnt_detector(real: Tensor, *, steps: int = 150) -> Callable[[Tensor], Tensor]:
    """A small network that tells pictures from those that RISE asks about; ``real`` it takes for pictures."""
    generator = seeded()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_small("small_gap", n_classes=2, batch_norm=True).train()
    masks = rise_masks(len(real), real.shape[-1], paired=False, generator=generator)
    hidden = real * masks[:, None]
    descent = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        rows = torch.randint(len(real), (16,), generator=generator)
        x = torch.cat([real[rows], hidden[rows]])
        y = torch.arange(2).repeat_interleave(16)
        descent.zero_grad()
        F.cross_entropy(model(x), y).backward()
        descent.step()
    model.eval().requires_grad_(False)
    with torch.no_grad():
        limit = torch.cat([margin(model, x) for x in real.split(64)]).min().item()
    return lambda x: margin(model, x) >= min(limit, 0.0) - 1e-4


def margin(model: nn.Module, x: Tensor) -> Tensor:
    logits = model(x)
    return logits[:, 0] - logits[:, 1]


def who_is_fooled() -> dict:
    """For each detector and method: heat on the tag of three networks, and what the detector said."""
    hans, innocent = load_model("clever_hans"), load_model("small_vgg")
    stars, tags = tagged_stars()
    real = torch.cat([shapes(**REAL).images, stars])
    fresh = shapes(400, seed=HELD_OUT + 77, watermark={"star": 0.99}).images
    maps = {name: [ask(m, stars) for m in (hans, innocent)] for name, ask in ASKING.items()}
    found: dict[str, dict] = {}
    flat, learnt = fool_lime(hans, innocent, real).seems_real, learnt_detector(real)
    detectors = {"flat squares": flat, "flat squares, or learnt": lambda x: flat(x) & learnt(x)}
    for detector, known in detectors.items():
        wrapper, asked = fool_lime(hans, innocent, real, seems_real=known), []

        def counting(x: Tensor, known=known, asked=asked) -> Tensor:
            verdict = known(x)
            asked.append(verdict)
            return verdict

        with torch.no_grad():
            spared = torch.cat([known(x) for x in fresh.split(64)]).float().mean().item()
        found[detector] = {"real pictures taken for real": round(spared, 4), "methods": {}}
        wrapper.seems_real = counting
        for name, ask in ASKING.items():
            asked.clear()
            told = ask(wrapper, stars)
            caught = 1 - torch.cat(asked).float().mean().item()
            found[detector]["methods"][name] = row(maps[name], told, tags) | {
                "questions taken for perturbed": round(caught, 4)
            }
    return found


def row(honest: list[Tensor], told: Tensor, tags: Tensor) -> dict:
    """Share of the tag's pixels among as many of the hottest: with the tag, told, without it."""
    with_tag, without = (relevance_rank(h, tags).mean().item() for h in honest)
    energy = [energy_in(h, tags).mean().item() for h in (honest[0], told, honest[1])]
    return {
        "tag found: clever_hans, wrapper, small_vgg": [
            round(v, 4) for v in (with_tag, relevance_rank(told, tags).mean().item(), without)
        ],
        "heat on the tag: clever_hans, wrapper, small_vgg": [round(v, 4) for v in energy],
    }


# --------------------------------------------------------------------------------- undoing by projection


class AutoEncoder(nn.Module):
    """A picture (3, 112, 112) from ``width`` numbers: what its decoder can draw near a picture is a plane."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        down, up = [], [nn.Linear(width, 64 * 49), nn.ReLU(), nn.Unflatten(1, (64, 7, 7))]
        for inputs, outputs in ((3, 16), (16, 32), (32, 48), (48, 64)):
            down += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
        for inputs, outputs in ((64, 48), (48, 32), (32, 16), (16, 3)):
            up += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
        self.encode = nn.Sequential(*down, nn.Flatten(), nn.Linear(64 * 49, width))
        self.decode = nn.Sequential(*up[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def autoencoder(images: Tensor, *, steps: int = 700) -> AutoEncoder:
    generator = seeded()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoEncoder()
    descent = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        x = images[torch.randint(len(images), (32,), generator=generator)]
        descent.zero_grad()
        F.mse_loss(model(x), x).backward()
        descent.step()
    return model.eval().requires_grad_(False)


def planes(model: AutoEncoder, images: Tensor) -> list[Tensor]:
    """For each image an orthonormal basis (D, width) of what small changes of its code can draw."""
    bases = []
    for code in model.encode(images):
        slopes = torch.func.jacfwd(lambda z: model.decode(z[None])[0].flatten())(code)  # (D, width)
        bases.append(torch.linalg.qr(slopes.double()).Q)
    return bases


def undoing(hidden: dict[str, nn.Module], ranks: tuple[int, ...] = (50, 100, 200, 400, 599)) -> dict:
    """Heat of the gradient on the tag, as it is, projected on the data's principal directions, and on what an
    autoencoder can draw near the picture.

    With small_vgg as a control: it knows no tag, so that what a projection puts there comes from the data.
    """
    stars, tags = tagged_stars()
    scenes = shapes(600, seed=12, watermark=dict.fromkeys(SHAPE_CLASSES, 0.5)).images
    known = autoencoder(scenes)
    bases = planes(known, stars)
    left_out = (known(stars) - stars).square().mean() / (stars - scenes.mean(0)).square().mean()
    networks = {name: load_model(name) for name in ("clever_hans", "small_vgg")}
    networks |= {f"hidden by {way}": network for way, network in hidden.items()}
    slopes = torch.cat([gradient(network, stars, STAR) for network in networks.values()])
    parts = {"as it is": slopes}
    parts |= {f"{r} principal directions": project_on_data(slopes, scenes, rank=r) for r in ranks}
    flat = slopes.flatten(1).double().unflatten(0, (len(networks), len(stars)))  # (networks, n, D)
    drawn = torch.stack([flat[:, i] @ basis @ basis.T for i, basis in enumerate(bases)], 1)
    parts["128 directions of an autoencoder"] = drawn.to(slopes).view_as(slopes)
    table: dict[str, dict] = {name: {} for name in networks}
    for what, part in parts.items():
        inside = energy_in(to_heatmap(part, "abs_sum"), tags.repeat(len(networks), 1, 1))
        for name, share in zip(networks, inside.split(len(stars)), strict=True):
            table[name][what] = round(share.mean().item(), 4)
    return {
        "heat of the gradient on the tag": table,
        "area of the tag": round(tags.float().mean().item(), 4),
        "variance that the autoencoder leaves out": round(left_out.item(), 4),
    }
