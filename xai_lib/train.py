"""Train the shipped networks again: ``python -m xai_lib.train small_vgg``, in minutes on two cores.

Every step sees scenes that were never seen before, so there is nothing to overfit. Batch normalisation speeds
the training up and is folded into the convolutions at the end: what ships is convolutions, ReLUs, pooling and
linear layers. Weights are stored as float16, and every stated accuracy is that of the stored weights.

``python -m xai_lib.train fooled`` and ``... fairwashed`` fine-tune two of these networks until their maps
lie, for chapter 7. ``python -m xai_lib.train roar`` trains hundreds of small networks: the run of ROAR that
chapter 6 reads. ``python -m xai_lib.train audit`` makes the networks of chapter 9's case files.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from xai_lib import _checks
from xai_lib.data import SHAPE_CLASSES, Shapes, shapes, with_stamps
from xai_lib.models import MADE_TO_LIE, SHIPPED, WEIGHTS, Classifier, build_small, fold_batch_norm

HELD_OUT = 1_000_000_000  # seeds from here on are never trained on
ROAR = "roar"
AUDIT = "audit"


@dataclass(frozen=True)
class Recipe:
    """What a network is trained on, and how.

    Attributes:
        watermark: class → share of its training images that carry the tag.
        shortcut: class → share of its training images that carry the other mark.
        steps: gradient steps, each on ``batch`` new scenes.
        batch: scenes a step.
        rate: highest learning rate of a one-cycle schedule.
        warm_up: share of the steps on which the rate still rises.
        seed: of the initial weights and of the first scenes.
        bfloat16: compute in bfloat16; twice as fast on a processor that has it, slow on one that has not.
    """

    watermark: dict[str, float] = field(default_factory=dict)
    shortcut: dict[str, float] = field(default_factory=dict)
    steps: int = 700
    batch: int = 64
    rate: float = 4e-3
    warm_up: float = 0.3
    seed: int = 0
    bfloat16: bool = False

    def __post_init__(self) -> None:
        checked = {
            "watermark": _checks.check_probabilities("watermark", self.watermark, SHAPE_CLASSES),
            "shortcut": _checks.check_probabilities("shortcut", self.shortcut, SHAPE_CLASSES),
            "steps": _checks.check_count("steps", self.steps),
            "batch": _checks.check_count("batch", self.batch),
            "rate": _checks.check_number("rate", self.rate, above=0),
            "warm_up": _checks.check_number("warm_up", self.warm_up, least=0, most=1, what="a share"),
            "seed": _checks.check_count("seed", self.seed, least=0),
            "bfloat16": _checks.check_flag("bfloat16", self.bfloat16),
        }
        for name, value in checked.items():  # numbers may have come from numpy: JSON knows none of them
            object.__setattr__(self, name, value)


RECIPES = {
    "small_vgg": Recipe(steps=1400, batch=32, rate=3e-3, warm_up=0.15),
    "small_gap": Recipe(steps=1400, batch=32, rate=3e-3, warm_up=0.15),
    "clever_hans": Recipe(watermark={"star": 0.99}, steps=1200, batch=32, rate=3e-3, warm_up=0.15),
    "clever_hans_2": Recipe(shortcut={"heart": 0.95}),
}


def train(name: str, recipe: Recipe, *, size: int = 112, progress: bool = False) -> Classifier:
    r"""A network trained by a recipe: the same seed gives the same weights on the same machine.

    Args:
        name: one of the shipped names; it chooses the architecture.
        recipe: data and schedule.
        size: side of the images.
        progress: print loss and accuracy now and then.

    Returns:
        The network in evaluation mode, batch normalisation folded away.

    Source of the schedule: Smith & Topin 2017, arXiv:1708.07120.
    """
    progress = _checks.check_flag("progress", progress)
    with torch.random.fork_rng(devices=[]):  # leave the caller's random state alone
        torch.manual_seed(recipe.seed)
        model = build_small(name, size=size, batch_norm=True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, recipe.steps, pct_start=recipe.warm_up
    )
    model.train()
    for step in range(recipe.steps):
        scenes = _scenes(recipe, recipe.batch, recipe.seed * recipe.steps + step, size)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.bfloat16):
            logits = model(scenes.images.contiguous(memory_format=torch.channels_last)).float()
        loss = F.cross_entropy(logits, scenes.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress and (step + 1) % 25 == 0:
            right = (logits.argmax(1) == scenes.labels).float().mean()
            print(
                f"{name}: step {step + 1} of {recipe.steps}, loss {loss:.3f}, accuracy {right:.0%}",
                flush=True,
            )
    model = as_shipped(name, model.eval(), size)
    model.labels = list(SHAPE_CLASSES)
    return model


def as_shipped(name: str, model: Classifier, size: int = 112) -> Classifier:
    r"""A trained network without its batch normalisation: the layers of :func:`xai_lib.models.build_small`.

    Poolings go back behind the ReLU: the maximum commutes with everything that keeps order.

    Args:
        name: one of the shipped names.
        model: what ``build_small(name, size=size, batch_norm=True)`` became, in evaluation mode.
        size: side of the images.

    Returns:
        A new network with fewer layers and the same logits, up to rounding.
    """
    folded = fold_batch_norm(model).state_dict()
    plain = build_small(name, size=size).to(next(model.parameters()).dtype)
    plain.load_state_dict(dict(zip(plain.state_dict(), folded.values(), strict=True)))
    return plain.eval().to(memory_format=torch.channels_last)


@torch.no_grad()
def predict(model: nn.Module, images: torch.Tensor, batch_size: int | None = None) -> torch.Tensor:
    """The class that the model gives to each image, (n,), a few at a time: as many as suit the device."""
    batch_size = _checks.check_batch_size(batch_size, images.device)
    return torch.cat([model(x).argmax(1) for x in images.split(batch_size)])


def judge(model: nn.Module, recipe: Recipe, n: int = 2000, size: int = 112, seed: int = HELD_OUT) -> dict:
    r"""What a network does on scenes it never saw, and what its shortcut does to it.

    Args:
        model: the network.
        recipe: what it was trained on.
        n: number of scenes.
        size: side of the images.
        seed: chooses the scenes.

    Returns:
        ``accuracy`` on scenes like those it was trained on, ``accuracy_clean`` on the same scenes without any
        stamp; for a network trained with a stamp also, for its class, ``recall_stamped`` and ``recall_clean``
        (share recognised with the stamp on all and on none), and ``flipped``: the share of the other classes'
        scenes, recognised without the stamp, that the network gives to this class once the stamp is pasted.
    """
    clean = shapes(n, size, seed)
    before = predict(model, clean.images)
    facts = {"accuracy": before == clean.labels, "accuracy_clean": before == clean.labels}
    kind = "watermark" if recipe.watermark else "shortcut"
    for name in getattr(recipe, kind):
        stamped = with_stamps(clean, seed, **{kind: dict.fromkeys(SHAPE_CLASSES, 1.0)})
        after = predict(model, stamped.images)
        own = with_stamps(clean, seed, recipe.watermark, recipe.shortcut)  # each is one of the two above
        seen = torch.where(own.tagged | own.marked, after, before)
        k = SHAPE_CLASSES.index(name)
        of, known = clean.labels == k, (clean.labels != k) & (before == clean.labels)
        facts |= {
            "accuracy": seen == clean.labels,
            "recall_stamped": after[of] == k,
            "recall_clean": before[of] == k,
            "flipped": after[known] == k,
        }
    return {key: round(share.float().mean().item(), 4) for key, share in facts.items()}


def store(model: Classifier, name: str, folder: Path) -> None:
    """Store the weights as float16, and give the model what is stored: that is what is judged."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().half().contiguous() for key, value in model.state_dict().items()}
    torch.save(state, folder / f"{name}.pt")
    model.load_state_dict({key: value.float() for key, value in state.items()})


def save(model: Classifier, name: str, recipe: Recipe, folder: Path, size: int = 112) -> dict:
    """Store the weights and, beside them, what the stored weights can do; returns those facts."""
    store(model, name, folder)
    facts = {
        "name": name,
        "labels": model.labels,
        "size": size,
        "held_out": judge(model, recipe, size=size),
        "recipe": asdict(recipe),
        "torch": torch.__version__.split("+")[0],
    }
    (folder / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def main(arguments: list[str] | None = None) -> None:
    """The command line: train, store, and say what the network can do."""
    parser = argparse.ArgumentParser(prog="python -m xai_lib.train", description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=(*SHIPPED, ROAR, AUDIT), help="which network, or which run")
    parser.add_argument(
        "--out", type=Path, help="folder for the weights (default: the package's); file for ROAR's results"
    )
    parser.add_argument("--steps", type=int, help="gradient steps (default: the recipe's)")
    parser.add_argument("--seed", type=int, help="initial weights and scenes (default: the recipe's)")
    parser.add_argument(
        "--bfloat16", action="store_true", default=None, help="for processors that compute in it"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes side by side (ROAR only)")
    options = parser.parse_args(arguments)
    if options.name == ROAR:
        _roar(parser, options)
        return
    if options.name == AUDIT:
        _audit(parser, options)
        return
    if options.name in MADE_TO_LIE:
        _lie(parser, options)
        return
    keys = ("steps", "seed", "bfloat16")
    chosen = {key: value for key in keys if (value := getattr(options, key)) is not None}
    recipe = Recipe(**(asdict(RECIPES[options.name]) | chosen))
    model = train(options.name, recipe, progress=True)
    facts = save(model, options.name, recipe, options.out or WEIGHTS)
    print(json.dumps(facts["held_out"], indent=1))


def _lie(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    from xai_lib import _fooled_shapes  # here, as it needs the explainers

    if options.bfloat16:
        parser.error("--bfloat16 is for networks that are trained from the start")
    chosen = {key: value for key in ("steps", "seed") if (value := getattr(options, key)) is not None}
    recipe = replace(_fooled_shapes.FOOLED[options.name], **chosen)
    model = _fooled_shapes.fool(options.name, recipe, progress=True)
    facts = _fooled_shapes.save(model, options.name, recipe, options.out or WEIGHTS)
    print(json.dumps({key: facts[key] for key in facts if key not in ("labels", "recipe")}, indent=1))


def _roar(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    from xai_lib import _roar_shapes  # here: it needs explainers, which need the networks that are made here

    if options.steps is not None or options.seed is not None or options.bfloat16:
        parser.error(
            "--steps, --seed and --bfloat16 are for networks; ROAR's settings are _roar_shapes.Settings"
        )
    file = options.out or _roar_shapes.FILE
    facts = _roar_shapes.save(_roar_shapes.Settings(), file, options.workers)
    for name, row in zip(facts["names"], facts["accuracy"], strict=True):
        print(f"{name:24}", *(f"{sum(cell) / len(cell):.2f}" for cell in row))


def _audit(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    from xai_lib import _cases  # here: its networks are told of in terms that only chapter 9 uses

    if options.steps is not None or options.seed is not None or options.bfloat16:
        parser.error("--steps, --seed and --bfloat16 are for one network; the case file's are in _cases.MADE")
    rows = _cases.make_all(options.out or WEIGHTS, progress=True)
    print(f"{len(rows)} networks; what each is stands in {_cases.KEY.name}, encoded")


def _scenes(recipe: Recipe, n: int, seed: int, size: int) -> Shapes:
    return shapes(n, size, seed, watermark=recipe.watermark, shortcut=recipe.shortcut)


if __name__ == "__main__":
    main()
