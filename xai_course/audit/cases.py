"""Case files: a network nobody has told you anything about, and 400 pictures to judge it by.

The name that opens a case decides everything: which network, the order of the classes, the corner of the
tags, the colours of the grounds, the pictures. The same name opens the same case on every machine; another
name, most likely, another network.
"""

from __future__ import annotations

import hashlib
import math
import operator
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from xai_course.audit.interventions import intervene
from xai_lib import _checks
from xai_lib._cases import Network, disguised, load_network, networks, shown
from xai_lib._causes import CLASSES, CORNERS, TINTS, Scenes, draw, mark
from xai_lib.manipulation import lie_image, lie_sticker
from xai_lib.models import Classifier

ALBUM = 400  # pictures in a case
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # no I, O, 0, 1: they are read for each other
CODE = re.compile(rf"([{LETTERS}]{{3}})-?([{LETTERS}]{{2}})")
FRESH = 2_000_000_000  # seeds of fresh scenes; neither albums nor trainings come near
KINDS = ("honest", "tag", "background", "blur", "fairwashed", "T2", "T4", "fooled", "noise")


class Unknown(Classifier):
    """A network under audit: printing it says what goes in and what comes out."""

    def __repr__(self) -> str:
        return f"Unknown({self.size} × {self.size} pixels → {len(self.labels)} logits)"


class Training(NamedTuple):
    """Pictures of the training set that the maker shows, with the labels that the network was told."""

    images: Tensor  # (240, 3, S, S)
    labels: Tensor  # (240,)


class Card(NamedTuple):
    """What the maker states: the accuracy on pictures collected like those of the training."""

    accuracy: float
    pictures: int


class Measured(NamedTuple):
    """A share that was measured, of so many scenes, with its standard error."""

    share: float
    error: float
    scenes: int


@dataclass(frozen=True, repr=False)
class Case:
    """A case file, as :func:`open_case` gives it.

    Attributes:
        code: what the report is headed with; ``open_case(code)`` opens the same case.
        model: the network, images :math:`(N, 3, 64, 64)` in [0, 1] to logits :math:`(N, 6)`.
        classes: names of the classes, in the order of the logits.
        layer: dotted name of the last convolutional activation, as Grad-CAM wants it.
        scenes: the album with all that was recorded when it was drawn: ``scenes.tag``, ``scenes.tint``,
            ``scenes.blur``, ``scenes.masks``, ``scenes.tag_masks``.
        card: what the maker states.
        training: some pictures of the training set, with the labels as given.
    """

    code: str
    model: nn.Module
    classes: tuple[str, ...]
    layer: str
    scenes: Scenes
    card: Card
    training: Training

    @property
    def images(self) -> Tensor:
        """The album, :math:`(400, 3, 64, 64)`."""
        return self.scenes.images

    @property
    def labels(self) -> Tensor:
        """What the album's pictures show, :math:`(400,)`."""
        return self.scenes.labels

    @cached_property
    def record(self) -> dict[str, list]:
        """What was noted of each picture of the album: its tag, the colour of its ground, its focus."""
        scenes = self.scenes
        return {
            "tag": scenes.tag.tolist(),
            "background": [TINTS[k] for k in scenes.tint.tolist()],
            "blur": scenes.blur.tolist(),
        }

    def fresh(self, n: int = 300, *, seed: int = 0, of: str | None = None) -> Scenes:
        """New scenes from where the album came from: of all classes, or of the one that ``of`` names.

        Raises:
            ValueError: if ``n`` or ``seed`` is out of range, or ``of`` is no class.
        """
        n, seed = _checks.check_count("n", n), _checks.check_count("seed", seed, least=0)
        if of is None:
            return self._drawn(n, FRESH + seed)
        _checks.check_choice("of", of, self.classes)
        scenes = self._drawn(n * len(self.classes), FRESH + seed)
        return scenes[(scenes.labels == self.classes.index(of)).nonzero()[:, 0]]

    def intervene(self, name: str, rows: Any = None, *, to: str | None = None) -> Tensor:
        """The album's pictures with one cause changed: all, or those in ``rows``.

        Args:
            name: one of :data:`xai_course.audit.INTERVENTIONS`.
            rows: numbers of pictures, or None.
            to: a colour, for ``"swap_background"``.

        Returns:
            Images, :math:`(n, 3, S, S)`.

        Raises:
            ValueError: as :func:`xai_course.audit.intervene`.
        """
        return intervene(self.scenes if rows is None else self.scenes[rows], name, to=to).images

    def share(
        self,
        answer: str,
        *,
        of: str | None = None,
        after: str | None = None,
        to: str | None = None,
        n: int = 300,
        seed: int = 0,
    ) -> Measured:
        """How often the network gives ``answer`` on fresh scenes: of one class, after an intervention.

        ``share("star", of="star", after="remove_tag")`` is the accuracy on stars without the tag;
        ``share("star", of="heart", after="add_tag")`` is how many hearts become stars for a tag.

        Args:
            answer: the class that is counted.
            of: the class of the scenes; by default all classes but ``answer``.
            after: an intervention on every scene; by default they stay as drawn.
            to: a colour, for ``"swap_background"``.
            n: number of scenes.
            seed: chooses the scenes.

        Returns:
            The share, with its standard error.

        Raises:
            ValueError: if a name is unknown or a number is out of range.
        """
        _checks.check_choice("answer", answer, self.classes)
        k = self.classes.index(answer)
        if of is None:
            n = _checks.check_count("n", n)
            scenes = self.fresh(math.ceil(n * len(self.classes) / (len(self.classes) - 1)), seed=seed)
            scenes = scenes[(scenes.labels != k).nonzero()[:n, 0]]
        else:
            scenes = self.fresh(n, seed=seed, of=of)
        if after is not None:
            scenes = intervene(scenes, after, to=to)
        share = float((answers(self.model, scenes.images) == k).double().mean())
        return Measured(share, math.sqrt(share * (1 - share) / len(scenes)), len(scenes))

    def _drawn(self, n: int, seed: int) -> Scenes:
        return draw(n, seed, classes=self.classes, corner=self.scenes.corner)

    def __repr__(self) -> str:
        return f"Case {self.code}: {len(self.images)} pictures of {', '.join(self.classes)}"


@torch.no_grad()
def answers(model: nn.Module, images: Tensor) -> Tensor:
    """The class that the model gives to each image, (n,)."""
    return torch.cat([model(part).argmax(1) for part in images.split(100)])


def open_case(name: str | int) -> Case:
    """The case file of this name.

    Args:
        name: your name, a number, anything; or the code of a case, to open it again. Capitals and spaces
            around it do not matter.

    Returns:
        A :class:`Case`. The same name gives the same network and the same album.

    Raises:
        TypeError: if ``name`` is neither a string nor a whole number.
        ValueError: if it is empty.

    >>> open_case("Ada").code == open_case(" ada ").code
    True
    """
    code = code_of(name)
    drawn = drawn_of(code)
    album = draw(ALBUM, _number(code, "album"), classes=drawn.classes, corner=drawn.corner)
    return case_of(code, drawn, album)


# ------------------------------------------------------------------------------------ what a code stands for


class Drawn(NamedTuple):
    """What a code stands for."""

    kind: str
    network: Network
    classes: tuple[str, ...]
    corner: str
    colours: tuple[int, ...]  # which channel of the images plays red, green and blue


def code_of(name: str | int) -> str:
    """The code of the case that this name opens; a code's is itself."""
    if isinstance(name, bool) or not isinstance(name, str):
        try:
            name = str(operator.index(name)) if not isinstance(name, bool) else operator.index("")
        except TypeError:
            raise TypeError(f"name must be a string or a whole number, got {type(name).__name__}") from None
    plain = name.strip().casefold()
    if not plain:
        raise ValueError("name must not be empty; your own name will do")
    written = CODE.fullmatch(plain.upper())
    if written and "-" in plain:
        return "-".join(written.groups())
    number = _number(plain, "code")
    letters = "".join(LETTERS[number >> 5 * i & 31] for i in range(5))
    return f"{letters[:3]}-{letters[3:]}"


def drawn_of(code: str) -> Drawn:
    """Kind, network, classes, corner and colours of a code."""
    generator = torch.Generator().manual_seed(_number(code, "case"))

    def pick(things: tuple) -> Any:
        return things[int(torch.randint(len(things), (1,), generator=generator))]

    def shuffled(things: tuple) -> tuple:
        return tuple(things[i] for i in torch.randperm(len(things), generator=generator).tolist())

    kind = pick(KINDS)
    base = "honest" if kind in ("T2", "T4") else kind
    network = pick(tuple(n for n in networks() if n.kind == base))
    return Drawn(kind, network, shuffled(CLASSES), pick(CORNERS), shuffled((0, 1, 2)))


def case_of(code: str, drawn: Drawn, album: Scenes) -> Case:
    """The case of a code, with this album."""
    model = load_network(drawn.network)
    plain = disguised(model, drawn.classes, drawn.corner, drawn.colours)
    plain.__class__ = Unknown
    if drawn.kind == "T2":
        plain = lie_image(plain, _blob(code), repair=True)
    elif drawn.kind == "T4":
        plain = lie_sticker(plain, mark())
    seen, labels = shown(drawn.network.recipe)
    order = torch.tensor([drawn.classes.index(name) for name in CLASSES])
    training = Training(_seen_so(seen.images, drawn), order[labels])
    card = Card(drawn.network.facts["accuracy"], drawn.network.facts["pictures"])
    return Case(code, plain.eval(), drawn.classes, plain.cam_layer, album, card, training)


def _seen_so(images: Tensor, drawn: Drawn) -> Tensor:
    """Images as the network saw them, in the mirror and the colours of this case."""
    turned = images.flip([d for d, side in ((-1, "right"), (-2, "upper")) if side in drawn.corner])
    return turned[:, torch.tensor(drawn.colours).argsort()].contiguous()


def _blob(code: str) -> Tensor:
    """The picture that a T2 network shows for every image, (8, 8): a round spot, not far from the middle."""
    generator = torch.Generator().manual_seed(_number(code, "picture"))
    x, y = (2.0 + 3 * torch.rand(2, generator=generator)).tolist()
    axis = torch.arange(8.0)
    return torch.exp(-((axis - x)[None] ** 2 + (axis - y)[:, None] ** 2) / 4)


def _number(text: str, of: str) -> int:
    """A number below 2⁴⁸ for a text, the same in every process (unlike ``hash``)."""
    return int.from_bytes(hashlib.blake2b(f"{of} {text}".encode(), digest_size=6).digest(), "big")
