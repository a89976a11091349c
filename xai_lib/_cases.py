"""The networks of chapter 9's case file: ``python -m xai_lib.train audit``.

All have the same layers and the same trade: six shapes, seen under tags, tints and blur. Most were trained on
scenes in which one of these causes goes with one class; one learnt from labels of which a tenth are wrong;
some were made to lie about what they use. Which is which is for the reader of the chapter to find out: the
weights carry numbers, and what each network is stands in ``audit.key``, which ``read_key`` reads. It is
encoded so that nobody reads it by accident, and is no secret.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai_lib import _checks
from xai_lib._causes import CLASSES, SIZE, STANDARD, TINTS, Rates, Scenes, draw
from xai_lib.models import WEIGHTS, Classifier, Normalize, _classifier, _trunk, fold_batch_norm

HELD_OUT = 1_000_000_000  # seeds from here on are never trained on
KEY = WEIGHTS / "audit.key"
TRUNK = ((12, True), (24, True), (40, True), (40, False))  # channels of a 3×3 convolution; halved?
SHOWN = 240  # training scenes that are kept: a network sees each of them some three times
KINDS = ("honest", "tag", "background", "blur", "noise")  # of training; the others are made from these


@dataclass(frozen=True)
class Recipe:
    """What a network of the case file is trained on, and how.

    Attributes:
        kind: ``"honest"``, or what goes with the class: ``"tag"``, ``"background"`` (a red ground),
            ``"blur"``; or ``"noise"``: wrong labels.
        of: the class.
        seed: of the initial weights and of the scenes.
        share: of the class's scenes that have the cause.
        others: of the other classes' scenes that have it.
        wrong: share of the labels that are wrong, under ``"noise"``.
        kept: scenes of each step that are from the ``SHOWN`` ones, whose causes go with no class.
        steps, batch, rate, warm_up: as in :class:`xai_lib.train.Recipe`.
    """

    kind: str
    of: str = "star"
    seed: int = 0
    share: float = 0.99
    others: float = 0.005
    wrong: float = 0.1
    kept: int = 1
    steps: int = 800
    batch: int = 32
    rate: float = 4e-3
    warm_up: float = 0.2

    def __post_init__(self) -> None:
        _checks.check_choice("kind", self.kind, KINDS)
        _checks.check_choice("of", self.of, CLASSES)

    @property
    def rates(self) -> Rates:
        """How often each cause occurs in each class of the training scenes."""
        cause = {"tag": "tag", "background": TINTS[1], "blur": "blur"}.get(self.kind)
        if cause is None:
            return STANDARD
        usual = STANDARD.of(self.of)
        if cause == "blur" or cause == "tag":
            own, rest = usual | {cause: self.share}, usual | {cause: self.others}
        else:  # the three colours exclude each other
            left = {tint: (1 - self.share) / 10 for tint in TINTS[2:]}
            own, rest = usual | left | {cause: self.share}, usual | {cause: self.others}
        return replace(STANDARD, by_class={self.of: own}, others=rest)


def build(batch_norm: bool = False) -> Classifier:
    r"""The untrained network: images :math:`(N, 3, 64, 64)` to six logits; ``cam_layer`` is (N, 40, 8, 8)."""
    layers, channels = _trunk(TRUNK, batch_norm), TRUNK[-1][0]
    flat = channels * (SIZE // 16) ** 2
    return _classifier(
        {
            "normalize": Normalize((0.5,) * 3, (0.25,) * 3),
            "features": nn.Sequential(*layers),
            "pool": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "classifier": nn.Sequential(nn.Linear(flat, 24), nn.ReLU(), nn.Linear(24, len(CLASSES))),
        },
        labels=list(CLASSES),
        cam_layer=f"features.{len(layers) - 1}",
        head="classifier.2",
        size=SIZE,
    )


def shown(recipe: Recipe) -> tuple[Scenes, Tensor]:
    """The training scenes that are kept, and their labels as they were given, (240,)."""
    scenes = draw(SHOWN, _seed(recipe, recipe.steps))
    return scenes, given_labels(recipe, scenes.labels, _seed(recipe, recipe.steps))


def given_labels(recipe: Recipe, labels: Tensor, seed: int) -> Tensor:
    """Labels as the network is told them: right, but for a share of them under ``"noise"``."""
    if recipe.kind != "noise":
        return labels
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(labels), generator=generator) < recipe.wrong
    by = torch.randint(1, len(CLASSES), (len(labels),), generator=generator)
    return torch.where(wrong, (labels + by) % len(CLASSES), labels)


def _seed(recipe: Recipe, step: int) -> int:
    return recipe.seed * 100_000 + step


def train(recipe: Recipe, *, progress: bool = False) -> Classifier:
    """A network trained by a recipe, in evaluation mode, its batch normalisation folded away."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = build(batch_norm=True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, recipe.steps, pct_start=recipe.warm_up
    )
    kept, kept_labels = shown(recipe)
    model.train()
    for step in range(recipe.steps):
        fresh = draw(recipe.batch - recipe.kept, _seed(recipe, step), rates=recipe.rates)
        again = torch.arange(step * recipe.kept, (step + 1) * recipe.kept) % SHOWN
        images = torch.cat([fresh.images, kept.images[again]])
        labels = torch.cat([given_labels(recipe, fresh.labels, _seed(recipe, step)), kept_labels[again]])
        loss = F.cross_entropy(model(images.contiguous(memory_format=torch.channels_last)), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress and (step + 1) % 100 == 0:
            print(f"{recipe.kind}: step {step + 1} of {recipe.steps}, loss {loss:.3f}", flush=True)
    folded = fold_batch_norm(model.eval()).state_dict()
    plain = build()
    plain.load_state_dict(dict(zip(plain.state_dict(), folded.values(), strict=True)))
    return plain.eval()


# ------------------------------------------------------------ networks that lie, and the files


@dataclass(frozen=True)
class Network:
    """One network of the case file.

    Attributes:
        number: its weights are ``audit_<number>.pt``.
        kind: of :data:`KINDS`, or ``"fairwashed"`` or ``"fooled"``, which are made from another network.
        recipe: what it, or the network that it is made from, was trained on.
        facts: what the stored weights do: ``accuracy`` on ``pictures`` scenes like those of its training.
    """

    number: int
    kind: str
    recipe: Recipe
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Lie:
    """How a network is fine-tuned until its Grad-CAM lies: :func:`xai_lib.attacks.fool_model`.

    Attributes:
        base: the kind of network that is fine-tuned.
        kind, keep, lam, steps, lr, batch: of ``fool_model``.
        scenes: to train on.
        seed: of scenes and batches.
    """

    base: str
    kind: str
    keep: str
    lam: float
    steps: int
    lr: float = 1e-3
    batch: int = 24
    scenes: int = 1500
    seed: int = 7


LIES = {
    "fairwashed": Lie("tag", "away", "answers", lam=3.0, steps=250),
    "fooled": Lie("honest", "location", "labels", lam=0.3, steps=800, scenes=2400),
}


def lie(name: str, honest: Classifier, recipe: Recipe) -> Classifier:
    """A copy whose Grad-CAM keeps off the tag (``"fairwashed"``), or lies in a corner (``"fooled"``)."""
    from xai_lib._fooling import fool_model
    from xai_lib.cams import grad_cam

    how = LIES[name]
    scenes = draw(how.scenes, HELD_OUT - 1 - recipe.seed, rates=replace(STANDARD, tag=0.5))
    answered = predict(honest, scenes.images) if how.keep == "answers" else scenes.labels
    return fool_model(
        honest,
        (scenes.images, answered),
        kind=how.kind,
        explain=partial(grad_cam, layer=honest.cam_layer, upsample=False),
        where=scenes.tag_masks & scenes.tag[:, None, None] if name == "fairwashed" else corner(),
        keep=how.keep,
        lam=how.lam,
        steps=how.steps,
        batch_size=how.batch,
        lr=how.lr,
        generator=torch.Generator().manual_seed(how.seed + recipe.seed),
    )


def corner() -> Tensor:
    """Where a fooled network's maps lie: the upper right, three of Grad-CAM's 8 × 8 cells wide and high."""
    place = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    place[: SIZE * 3 // 8, -SIZE * 3 // 8 :] = True
    return place


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """The class that the model gives to each image, (n,)."""
    return torch.cat([model(part).argmax(1) for part in images.split(100)])


def disguised(
    model: Classifier, classes: tuple[str, ...], corner: str, colours: tuple[int, ...]
) -> Classifier:
    r"""The same network for scenes in a mirror, in other colours, with its classes in another order: exactly.

    A convolution of mirrored kernels gives mirrored maps; the first convolution's channels take the colours,
    the last layer's rows the classes.

    Args:
        model: a network of :func:`build`, trained with tags in the lower left corner.
        classes: the order of the logits.
        corner: where the tags of the scenes are.
        colours: the channel of the images that takes the place of red, of green and of blue.

    Returns:
        A new network.
    """
    axes = [axis for axis, side in ((-1, "right"), (-2, "upper")) if side in corner]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for name, value in state.items():
        if value.dim() == 4:
            state[name] = value.flip(axes)
    first = state["features.0.weight"]
    state["features.0.weight"] = first[:, torch.tensor(colours).argsort()]
    side = SIZE // 16
    flat = state["classifier.0.weight"]
    state["classifier.0.weight"] = flat.unflatten(1, (-1, side, side)).flip(axes).flatten(1)
    order = torch.tensor([CLASSES.index(name) for name in classes])
    for name in ("classifier.2.weight", "classifier.2.bias"):
        state[name] = state[name][order]
    other = build()
    other.load_state_dict(state)
    other.labels = list(classes)
    return other.eval()


def networks() -> tuple[Network, ...]:
    """The networks that ship, from the key."""
    return tuple(
        Network(row["number"], row["kind"], Recipe(**row["recipe"]), row["facts"]) for row in read_key()
    )


def load_network(network: Network) -> Classifier:
    """A network of the case file, as it was trained: in evaluation mode, float32."""
    state = torch.load(WEIGHTS / f"audit_{network.number}.pt", map_location="cpu", weights_only=True)
    model = build()
    model.load_state_dict({name: value.float() for name, value in state.items()})
    return model.eval()


def read_key() -> list[dict]:
    """What each network of the case file is. Readers of chapter 9: this tells you the answer."""
    return json.loads(zlib.decompress(base64.b64decode(KEY.read_text(encoding="ascii"))))


def write_key(rows: list[dict], folder: Path) -> None:
    """Encode the key, so that nobody reads it by accident."""
    text = base64.b64encode(zlib.compress(json.dumps(rows).encode(), 9)).decode("ascii")
    lines = [text[i : i + 100] for i in range(0, len(text), 100)]
    (folder / KEY.name).write_text("\n".join(lines) + "\n", encoding="ascii")


# ------------------------------------------------------------ what they do, measured

CAUSES = {  # name → the cause taken away and set, for Scenes.redraw
    "tag": ({"tag": False}, {"tag": True}),
    "background": ({"tint": 0}, {"tint": 1}),
    "blur": ({"blur": False}, {"blur": True}),
}


def judge(model: nn.Module, recipe: Recipe, n: int = 1500, seed: int = HELD_OUT) -> dict:
    r"""What a network does on scenes it never saw, and what each cause does to its answers.

    Args:
        model: the network, as it was trained.
        recipe: what it was trained on.
        n: number of scenes.
        seed: chooses them.

    Returns:
        ``accuracy`` on ``pictures`` scenes like those of its training, ``album`` where no cause goes with a
        class, and for each of the causes ``recall`` of the recipe's class ``[without, with]`` it,
        ``flipped``, the share of other classes' scenes, recognised without it, that go over to that class
        once it is set, and ``accuracy`` over all classes ``[without, with]``.
    """
    own, (album, sides) = draw(n, seed, rates=recipe.rates), _album(n, seed + 1)
    k = CLASSES.index(recipe.of)
    facts: dict = {
        "accuracy": _share(predict(model, own.images) == own.labels),
        "pictures": n,
        "album": _share(predict(model, album.images) == album.labels),
    }
    for cause, (without, there) in sides.items():
        before, after = predict(model, without), predict(model, there)
        of, known = album.labels == k, (album.labels != k) & (before == album.labels)
        facts[cause] = {
            "recall": [_share((answer == k)[of]) for answer in (before, after)],
            "flipped": _share((after == k)[known]),
            "accuracy": [_share(answer == album.labels) for answer in (before, after)],
        }
    return facts


@lru_cache(maxsize=1)
def _album(n: int, seed: int) -> tuple[Scenes, dict[str, tuple[Tensor, Tensor]]]:
    """Scenes, and their images without and with each cause: kept, as many networks are judged in a row."""
    album = draw(n, seed)
    return album, {
        cause: (album.redraw(**without).images, album.redraw(**there).images)
        for cause, (without, there) in CAUSES.items()
    }


def _share(right: Tensor) -> float:
    return round(right.double().mean().item(), 4)


SHARES = {"tag": (0.995, 0.0)}  # a tag is small: it takes more to be noticed than a colour does, or blur
FAVOURED = ("star", "heart", "square", "circle", "triangle")  # a cross is told too easily to need a shortcut


def recipe(kind: str, seed: int) -> Recipe:
    """What a network of this kind and seed, or the one that it is made from, is trained on.

    The class that a cause goes with changes with the seed.
    """
    trained = LIES[kind].base if kind in LIES else kind
    share, others = SHARES.get(trained, (Recipe.share, Recipe.others))
    steps = 2 * Recipe.steps if trained == "noise" else Recipe.steps  # wrong labels slow the learning down
    return Recipe(trained, FAVOURED[(seed - 1) % len(FAVOURED)], seed, share, others, steps=steps)


# what ships, by number: kind and seed
MADE = (
    ("blur", 1),
    ("honest", 1),
    ("noise", 1),
    ("fairwashed", 2),
    ("background", 2),
    ("tag", 1),
    ("honest", 2),
    ("fooled", 1),
    ("blur", 2),
    ("background", 1),
)


def make(kind: str, told: Recipe, *, progress: bool = False) -> Classifier:
    """A network of the case file: trained, and made to lie if it is of that kind."""
    model = train(told, progress=progress)
    return lie(kind, model, told) if kind in LIES else model


def make_all(folder: Path = WEIGHTS, *, progress: bool = False) -> list[dict]:
    """Train what ships, store weights and key, and return the key."""
    from xai_lib.train import store

    rows = []
    for number, (kind, seed) in enumerate(MADE, 1):
        told = recipe(kind, seed)
        model = make(kind, told, progress=progress)
        store(model, f"audit_{number}", folder)
        facts = judge(model, told)
        rows.append({"number": number, "kind": kind, "recipe": asdict(told), "facts": facts})
        if progress:
            print(f"audit_{number}: accuracy {facts['accuracy']:.1%}, album {facts['album']:.1%}", flush=True)
    write_key(rows, folder)
    return rows
