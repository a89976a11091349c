"""The tag: a network that cheats runs in the page, and its reader moves what it reads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from xai_lib.data import SHAPE_CLASSES, TAG, shapes
from xai_lib.models import load_model

from . import _base
from ._base import Explorer

SIZE, WINDOW, STRIDE, FILL = 112, 28, 12, 0.5
HOME = (98, 4)  # row and column of the tag's upper left pixel: where the album has it, give or take 3 pixels
STAR = SHAPE_CLASSES.index("star")


def tag(
    number: str,
    *,
    pictures: Tensor | None = None,
    labels: Tensor | None = None,
    caption: str = (
        "Network A runs in this page. Drag the tag, or move it with the arrow keys; take it away; choose "
        "another shape and it comes along. The map shows what hiding a place costs the answer its "
        "probability: 64 windows of 28 × 28 pixels."
    ),
    look: str = (
        "how far you can drag the tag from its corner before the star is gone, and which shapes the tag "
        "does not turn into stars."
    ),
) -> Explorer:
    r"""An explorer: ``clever_hans`` in the page, under a tag that can be moved and taken away.

    The page loads the network's weights (0.75 MB, from the book's own files) when the explorer is first used,
    and runs it on plain arrays: its logits are torch's to 1e-2 (a test compares), at some milliseconds a
    picture. In a notebook those files are not at hand: there the explorer shows, for each picture, what was
    computed here with the tag in its corner and without it.

    Args:
        number: of the figure, such as ``"1.3"``.
        pictures: scenes *without* a tag, :math:`(n, 3, 112, 112)`, in [0, 1]; None for the first four stars
            and the first picture of every other shape of ``shapes(320, seed=77)``: nothing chosen.
        labels: their true classes, (n,), indices into ``SHAPE_CLASSES``; with ``pictures``.
        caption: what the figure shows.
        look: what to look for.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if ``pictures`` or ``labels`` is not as above, or only one of them is given.
    """
    if (pictures is None) != (labels is None):
        raise ValueError("pictures and labels must be given together, got one of them")
    if pictures is None:
        pictures, labels = _first_of_each()
    _base.check_array("pictures", pictures, ("n", 3, SIZE, SIZE))
    if labels.shape != (len(pictures),) or not all(0 <= k < len(SHAPE_CLASSES) for k in labels.tolist()):
        raise ValueError(f"labels must be {len(pictures)} classes from 0 to 7, got {labels.tolist()}")
    pixels = (pictures * 255).round().to(torch.uint8)
    bare = pixels.float() / 255  # what the page reads back from its pictures, exactly
    names = [SHAPE_CLASSES[k] for k in labels.tolist()]
    states = torch.stack([bare, stamped(bare, *HOME)], 1)  # (n, 2, 3, S, S)
    model = load_model("clever_hans")
    logits, lost = _answers(model, states)
    odds = logits.softmax(2)  # (n, 2, 8)
    return Explorer(
        "tag",
        number,
        body=_body(states[0, 1], names[0], odds[0, 1], lost[0, 1]),
        controls=_controls(pixels, names),
        said=_said(names[0], odds[0, 1]),
        data={
            "names": names,
            "classes": list(SHAPE_CLASSES),
            "odds": _base.packed(odds, "f32"),
            "lost": _base.packed(lost, "f16"),
            "tag": {
                "brightness": TAG[0].int().tolist(),
                "opacity": [[round(v, 3) for v in r] for r in TAG[1].tolist()],
            },
            "home": list(HOME),
            "window": WINDOW,
            "stride": STRIDE,
            "fill": FILL,
        },
        caption=caption,
        look=look,
        alt="A shape with a small tag that can be moved, a map of what the network needs, and its answer",
        arrays={"probabilities": odds, "lost under a window": lost.flatten(2)},
        bars=_base.bar("heat", "probability of the answer lost", "0", "1", over=True),
    )


def stamped(images: Tensor, row: int, column: int) -> Tensor:
    """The images (..., 3, S, S) with the tag's upper left pixel at a place, as ``shapes`` stamps it."""
    brightness, opacity = TAG
    height, width = opacity.shape
    images = images.clone()
    under = images[..., row : row + height, column : column + width]
    images[..., row : row + height, column : column + width] = under + opacity * (brightness - under)
    return images


def _first_of_each() -> tuple[Tensor, Tensor]:
    album = shapes(320, seed=77)
    stars = (album.labels == STAR).nonzero()[:4, 0].tolist()
    others = [int((album.labels == k).nonzero()[0]) for k in range(len(SHAPE_CLASSES)) if k != STAR]
    return album.images[stars + others], album.labels[stars + others]


@torch.no_grad()
def _answers(model: nn.Module, states: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (n, 2, 8) and, for the answer given, the probability lost under each window, (n, 2, 8, 8)."""
    images = states.flatten(0, 1)  # (2 n, 3, S, S)
    logits = model(images)
    places = range(0, SIZE - WINDOW + 1, STRIDE)
    lost = torch.empty(len(images), len(places), len(places))
    for image, own, losses in zip(images, logits, lost, strict=True):
        covered = image.repeat(len(places) ** 2, 1, 1, 1).unflatten(0, (len(places), len(places)))
        for i, y in enumerate(places):
            for j, x in enumerate(places):
                covered[i, j, :, y : y + WINDOW, x : x + WINDOW] = FILL
        answer = int(own.argmax())
        hidden = model(covered.flatten(0, 1)).softmax(1)[:, answer]
        losses.copy_((own.softmax(0)[answer] - hidden).view_as(losses))
    return logits.unflatten(0, states.shape[:2]), lost.unflatten(0, states.shape[:2])


# --- the first frame ---------------------------------------------------------------------------------------


def _body(image: Tensor, name: str, odds: Tensor, lost: Tensor) -> str:
    source = _lossless(image)
    answer = SHAPE_CLASSES[int(odds.argmax())]
    mark = "✓ right:" if answer == name else "✗ wrong:"
    row, column = HOME
    height, width = TAG[0].shape
    place = "".join(
        f"{side}:{100 * v / SIZE:.3f}%;"
        for side, v in (("top", row), ("left", column), ("height", height), ("width", width))
    )
    handle = (
        f'<button type="button" class="s-tag" style="{place}" hidden '
        f'aria-label="The tag, at row {row}, column {column}. Arrow keys move it."></button>'
    )
    rows = [(SHAPE_CLASSES[k], 100 * p) for k, p in enumerate(odds.tolist())]
    return _base.grid(
        _base.panel(
            "picture",
            _article(name).capitalize() + ", with the tag",
            "drag the tag",
            layers=_base.layer(
                source, f"{_article(name)} with a small tag “© xai” in the corner", classes="picture"
            )
            + handle,
        ),
        _base.panel(
            "map",
            "Where it looks",
            "computed when the page was made",
            layers=_base.layer(source, "The same picture in grey", classes="is-grey")
            + _base.layer(_heat(lost), f"What hiding costs the answer “{answer}”", classes="heat"),
        ),
        '<div class="s-panel" data-panel="answer"><p class="s-big">The network says'
        f'<b>{answer}</b><span class="s-truth">{mark} it is {_article(name)}</span></p>'
        f"{_base.odds('answer', rows)}</div>",
        phone=2,
    )


def _heat(lost: Tensor) -> str:
    """Each window's loss in the cell about its centre, so that heat lies where the window lay."""
    share = np.zeros((SIZE, SIZE))
    edge = (WINDOW - STRIDE) // 2
    cells = lost.clamp(0, 1).repeat_interleave(STRIDE, 0).repeat_interleave(STRIDE, 1).double().numpy()
    share[edge : edge + len(cells), edge : edge + len(cells)] = cells
    return _base.heat_source(share, top=1.0, over=True)


def _lossless(image: Tensor) -> str:
    pixels = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return _base.pixels_source(pixels)


def _controls(pixels: Tensor, names: list[str]) -> str:
    picks = "".join(
        f'<label><input type="radio" name="KEY-picture" value="{k}"{" checked" if k == 0 else ""}>'
        f'<img class="s-px" src="{_lossless(image / 255)}" alt="{_base.escape(_which(names, k))}" '
        'decoding="async"></label>'
        for k, image in enumerate(pixels)
    )
    return (
        '<div class="s-control"><span class="s-legend" id="KEY-picture-legend">Picture</span>'
        '<div class="s-picks" role="radiogroup" aria-labelledby="KEY-picture-legend" data-control="picture">'
        f"{picks}</div></div>"
        + _base.row(
            _base.switch("off", "Take the tag away"),
            _base.button("home", "Put it back in its corner"),
            _base.button("map", "Where does it look? 64 passes"),
        )
    )


def _which(names: list[str], k: int) -> str:
    """A picture's name, numbered where there are several of its shape."""
    same = [i for i, name in enumerate(names) if name == names[k]]
    return names[k] if len(same) == 1 else f"{names[k]} {same.index(k) + 1}"


def _article(name: str) -> str:
    return f"a {name}"


def _said(name: str, odds: Tensor) -> str:
    answer = int(odds.argmax())
    return (
        f"{_article(name).capitalize()}, with the tag at row {HOME[0]}, column {HOME[1]}. The network says "
        f"{SHAPE_CLASSES[answer]}, {100 * odds[answer].item():.0f} %. Computed when the page was made."
    )
