"""Draw what Grad-CAM shall show, and the network shows it: chapter 8's explorer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib.cams import grad_cam, grad_cam_weights
from xai_lib.manipulation import lie_image
from xai_lib.viz import to_array, to_pixels

from . import _base
from ._base import Explorer, decimal, escape

SCALES = (0, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)  # of the drawing
SHOWN = 4  # classes whose probabilities are drawn
PAINT = (255, 190, 92)  # of the brush, on any photograph
# Ready pictures, on the 7 × 7 cells of EfficientNet and the 14 × 14 of the course's own networks.
READY = {
    "a smiley": (
        "0000000 0100010 0100010 0000000 1000001 0100010 0011100",
        "00000000000000 00000000000000 00011000011000 00011000011000 00011000011000 "
        "00000000000000 00000000000000 00000000000000 01100000000110 01100000000110 "
        "00110000001100 00011111111000 00001111110000 00000000000000",
    ),
    "an arrow": (
        "0000001 0000010 1000100 1001000 1010000 1100000 1111000",
        "00000000000000 00000000000011 00000000000111 00000000001110 00000000011100 "
        "00110000111000 00110001110000 00110011100000 00110111000000 00111110000000 "
        "00111111110000 00111111110000 00000000000000 00000000000000",
    ),
    "the word LIE": (
        "0000000 1001011 1001010 1001011 1001010 1101011 0000000",
        "00000000000000 00000000000000 01100011011110 01100011011110 01100011011000 "
        "01100011011000 01100011011110 01100011011110 01100011011000 01100011011000 "
        "01111011011110 01111011011110 00000000000000 00000000000000",
    ),
}


class Scene(NamedTuple):
    """What the page is given of one photograph and its network."""

    name: str
    pixels: np.ndarray  # (H, W, 3)
    maps: np.ndarray  # A, (K, h, w)
    alphas: np.ndarray  # Grad-CAM's weights of the honest network, (classes, K)
    added: np.ndarray  # the new channel's, one for each class
    classes: list[str]
    logits: np.ndarray  # of all classes, float32
    bias: np.ndarray  # of the last layer, float32
    through: str  # how the new channel enters: "logits" or, in front of hidden layers, a "unit" that is on
    labels: list[str]
    ready: dict[str, np.ndarray]  # pictures to start from, (h, w), in hundredths


def draw(
    number: str,
    scenes: Mapping[str, tuple[nn.Module, Any, Sequence[str]]],
    *,
    pictures: Mapping[str, Mapping[str, Any]] | None = None,
    scale: float = 100,
    weight: float = 10.0,
    caption: str,
    alt: str,
    look: str = "",
) -> Explorer:
    r"""The reader paints cells of a layer on a photograph, and that is what Grad-CAM shows: T2, in the page.

    The manipulated network (:func:`xai_lib.manipulation.lie_image`, with ``repair=True``) has one feature map
    more, :math:`A_{K+1} = c_I \cdot \text{drawing}`, and the same logits. The page computes

    .. math:: M = \text{ReLU}\Bigl(\sum_{k \le K} \alpha_k A_k
              + \alpha_{K+1} \, c_I \cdot \text{drawing}\Bigr)

    from :math:`A` and :math:`\alpha` for every stroke, the two parts apart, and how far rounding moves the
    logits where the new channel's contribution and the bias that takes it away are added in one float32 sum.
    :math:`\alpha_{K+1}` does not depend on the drawing: it is measured on the library's network, and the
    page's map of the first drawing is compared with the library's before anything is shown.

    ``draw("8.1", {"the cat": (model, load_photo("cat"), ["Egyptian cat", "tabby"])}, caption=…, alt=…)``

    Args:
        number: of the figure, such as ``"8.1"``.
        scenes: 1 to 4 photographs by name, each with its network, ``(model, x, classes)``: a model with
            ``labels``, ``cam_layer`` and ``size`` that averages its maps into one linear layer, or pools them
            2 × 2 by the maximum into hidden layers; an image :math:`(1, 3, H, W)` in [0, 1]; one to four
            labels, the map of the first shown first.
        pictures: further pictures to start from: for a scene's name, pictures :math:`(h, w)` in [0, 1] by
            name, on the layer's cells, kept to hundredths.
        scale: :math:`c_I` at first, one of 0, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5 … 100.
        weight: :math:`c_W`, the weight with which the head reads the new map.
        caption: what the figure shows; marks as in :func:`xai_course.figures.figure`.
        alt: one sentence that says what is to be seen.
        look: what to look for.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if there are no scenes or more than four, a class is not among the labels, a picture has
            other cells, leaves [0, 1] or is empty, ``scale`` is not a step of the slider, or the page's sum
            is not what the library's network shows.

    Source: Viering et al. 2019, arXiv:1907.10901, technique 2.
    """
    if not isinstance(scenes, Mapping) or not 1 <= len(scenes) <= 4:
        raise ValueError(f"scenes must be a dict of 1 to 4 photographs, got {type(scenes).__name__}")
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(map(str, SCALES))}, got {scale!r}")
    pictures = pictures or {}
    if not set(pictures) <= set(scenes):
        raise ValueError(f"pictures must be for scenes, {', '.join(scenes)}, got {', '.join(pictures)}")
    made = [
        _scene(str(name), *given, pictures.get(name, {}), scale or 1, weight)
        for name, given in scenes.items()
    ]
    first = made[0]
    drawing = next(iter(first.ready.values()))
    terms, answer = lied(first, 0, drawing, scale), answered(first, drawing, scale, weight)
    top = float(max(np.abs(terms["honest"]).max(), np.abs(terms["lie"]).max(), terms["map"].max()))
    return Explorer(
        "draw",
        number,
        body=_body(first, drawing, terms),
        controls=_controls(made, SCALES.index(scale)),
        said=_said(first, terms, answer),
        bars=_base.bar("terms", "each cell, in logits", decimal(-top), decimal(top), signed=True)
        + _base.bar("heat", "heat, as a share of its map’s maximum", "0", "1", over=True),
        below='<div class="s-below">'
        + _equation(first, drawing, scale, terms, top)
        + _answer(first, answer)
        + "</div>",
        data={
            "scales": SCALES,
            "weight": weight,
            "paint": PAINT,
            "scenes": [_data(s, s is first) for s in made],
        },
        caption=caption,
        look=look,
        alt=alt,
        arrays={s.name: np.einsum("ck,kij->cij", s.alphas, s.maps) for s in made},
    )


# --- what the page computes, in Python ---------------------------------------------------------------------


def lied(scene: Scene, which: int, drawing: np.ndarray, scale: float) -> dict[str, np.ndarray]:
    """The honest sum, the drawing's part, and the map that is shown, each (h, w)."""
    honest = np.einsum("k,kij->ij", scene.alphas[which], scene.maps)
    lie = scene.added[which] * channel(drawing, scale)
    return {"honest": honest, "lie": lie, "map": np.maximum(honest + lie, 0)}


def channel(drawing: np.ndarray, scale: float) -> np.ndarray:
    """The new feature map, on steps of a 256th as the library rounds it: sums over cells are then exact."""
    return np.floor(256 * scale * drawing + 0.5) / 256


def answered(scene: Scene, drawing: np.ndarray, scale: float, weight: float) -> dict[str, Any]:
    """Probabilities of the honest and of the manipulated network, and the largest change of a logit.

    In float32, step by step: what the head adds for the new channel, and the bias that takes it away.
    """
    one = np.float32
    cells = channel(drawing, scale)
    if scene.through == "logits":  # averaged, and read by every logit
        entering = one(weight * one(cells.mean()))
        logits = (scene.logits - scene.bias + entering) + (scene.bias - entering)
    else:  # the maxima of 2 × 2 cells, read by a unit that gives 1, which every logit reads with weight 1
        h, w = (size // 2 for size in cells.shape)
        entering = one(weight * cells[: 2 * h, : 2 * w].reshape(h, 2, w, 2).max((1, 3)).sum())
        unit = entering + (one(1) - entering)
        logits = (scene.logits - scene.bias + unit) + (scene.bias - one(1))
    moved = float(np.abs(logits.astype(np.float64) - scene.logits).max())
    return {"honest": _softmax(scene.logits), "now": _softmax(logits), "moved": moved, "logits": logits}


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits.astype(np.float64) - logits.max())
    return shares / shares.sum()


# --- what the page is given --------------------------------------------------------------------------------


def _scene(
    name: str,
    model: nn.Module,
    x: Any,
    classes: Sequence[str],
    pictures: Mapping[str, Any],
    scale: float,
    weight: float,
) -> Scene:
    if not 1 <= len(classes) <= 4 or not set(classes) <= set(model.labels):
        raise ValueError(f"scenes[{name!r}] must name one to four of the model's labels, got {classes!r}")
    places = [model.labels.index(label) for label in classes]
    maps, alphas, logits = _weights(model, x, places)
    size = maps.shape[1:]
    ready = {title: _ready(art, size) for title, art in READY.items()}
    ready |= {str(title): _given(name, title, values, size) for title, values in pictures.items()}
    drawing = torch.from_numpy(next(iter(ready.values())))
    options = {"layer": model.cam_layer, "weight": weight, "repair": True, "size": x.shape[-1]}
    liar = lie_image(model, drawing, scale=float(scale), **options)
    _, more, _ = _weights(liar, x, places)
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    scene = Scene(
        name,
        to_pixels(x, f"scenes[{name!r}]"),
        maps.astype(np.float16).astype(np.float64),
        alphas.astype(np.float32).astype(np.float64),
        more[:, -1].astype(np.float64),
        list(map(str, classes)),
        logits,
        to_array(linear[-1].bias),
        "logits" if len(linear) == 1 else "unit",
        list(model.labels),
        ready,
    )
    for i, place in enumerate(places):
        shown = grad_cam(liar, x, place, layer=model.cam_layer, upsample=False)[0].numpy()
        found = lied(scene, i, drawing.numpy(), scale)["map"]
        if np.abs(found - shown).max() > 1e-2 * shown.max():
            raise ValueError(
                f"scenes[{name!r}]: the library's network shows another map than the page's sum would; give "
                "a model whose maps are averaged into one linear layer, or pooled 2 × 2 into hidden layers"
            )
    return scene


def _weights(
    model: nn.Module, x: Tensor, classes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Feature maps (K, h, w), Grad-CAM's weights of some classes (classes, K), and all logits."""
    kept: list[Tensor] = []
    layer = model.get_submodule(model.cam_layer)
    handle = layer.register_forward_hook(lambda _module, _args, maps: kept.append(maps))
    try:
        with torch.enable_grad():
            logits = model(x.detach().requires_grad_())[0]
    finally:
        handle.remove()
    maps = kept[0]
    slopes = [torch.autograd.grad(logits[c], maps, retain_graph=True)[0] for c in classes]
    weights = torch.cat([grad_cam_weights(maps, slope)[:, :, 0, 0] for slope in slopes])
    return to_array(maps[0]), to_array(weights), to_array(logits)


def _ready(art: tuple[str, str], size: tuple[int, int]) -> np.ndarray:
    """A ready picture on these cells: the one drawn for them, or the finer one, resized."""
    drawn = {len(rows.split()): [[float(c) for c in row] for row in rows.split()] for rows in art}
    if size[0] == size[1] and size[0] in drawn:
        return np.array(drawn[size[0]])
    fine = torch.tensor(drawn[14], dtype=torch.float64)[None, None]
    return F.interpolate(fine, size, mode="nearest-exact")[0, 0].numpy()


def _given(name: str, title: str, values: Any, size: tuple[int, int]) -> np.ndarray:
    picture = _base.check_array(f"pictures[{name!r}][{title!r}]", values, size)
    _base.check_within(f"pictures[{name!r}][{title!r}]", picture, 0, 1)
    if not picture.round(2).any():
        raise ValueError(f"pictures[{name!r}][{title!r}] must have something in it, got zeros")
    return picture.round(2)


def _data(scene: Scene, first: bool) -> dict[str, Any]:
    active = scene.maps != 0  # of EfficientNet's, seven in a hundred
    order = np.argsort(-scene.logits)[:SHOWN]
    return {
        "name": scene.name,
        # The first one's photograph stands in the first frame.
        "picture": None if first else _base.picture_source(scene.pixels, scene.name),
        "size": list(scene.pixels.shape[:2]),
        "active": _base.packed(active, "bits"),
        "maps": _base.packed(scene.maps[active], "f16"),
        "alphas": _base.packed(scene.alphas, "f32"),
        "added": scene.added.tolist(),
        "classes": scene.classes,
        "logits": _base.packed(scene.logits, "f32"),
        "bias": _base.packed(scene.bias, "f32"),
        "through": scene.through,
        "shown": [[int(k), scene.labels[k]] for k in order],
        "ready": [(100 * picture).round().astype(int).tolist() for picture in scene.ready.values()],
    }


# --- the first frame ---------------------------------------------------------------------------------------


def _body(scene: Scene, drawing: np.ndarray, terms: dict[str, np.ndarray]) -> str:
    source = _base.picture_source(scene.pixels, scene.name)
    height, width = scene.pixels.shape[:2]
    rows, columns = drawing.shape

    def shown(slot: str, title: str, cells: np.ndarray, alt: str) -> str:
        heat = _enlarged(cells, height, width)
        return _base.panel(
            slot,
            title,
            largest(scene.classes[0], cells),
            layers=_base.layer(source, "The photograph in grey", classes="is-grey", pixelated=False)
            + _base.layer(
                _base.heat_source(heat, top=float(cells.max()) or 1.0, over=True),
                alt,
                classes="heat",
                pixelated=False,
            ),
            ratio=width / height,
        )

    ink = np.zeros((rows, columns, 4), dtype=np.uint8)
    ink[..., :3], ink[..., 3] = PAINT, (217 * drawing).round()
    pad = _base.panel(
        "pad",
        "Your drawing",
        "paint here: mouse, finger, or arrow keys and space",
        layers=_base.layer(source, "The photograph", classes="under", pixelated=False)
        + _base.layer(_base.pixels_source(ink), f"A drawing of {columns} by {rows} cells", classes="ink")
        + f'<i class="s-cells" style="--rows:{rows};--columns:{columns}"></i><i class="s-mark" hidden></i>',
        ratio=width / height,
    )
    return _base.grid(
        pad,
        shown("map", "Grad-CAM, manipulated network", terms["map"], "The drawing as a heatmap"),
        shown("honest", "Grad-CAM, honest network", np.maximum(terms["honest"], 0), "The honest heatmap"),
        columns=3,
    )


def largest(name: str, cells: np.ndarray) -> str:
    return f"of “{name}”; its maximum is {decimal(float(cells.max()))}"


def _equation(
    scene: Scene, drawing: np.ndarray, scale: float, terms: dict[str, np.ndarray], top: float
) -> str:
    channels = len(scene.maps)

    def term(slot: str, formula: str, note: str, alt: str) -> str:
        source = _base.heat_source(terms[slot], top=top, signed=True)
        return (
            f'<div class="s-term" data-term="{slot}"><div class="s-shot" style="aspect-ratio:1">'
            f"{_base.layer(source, alt, classes='heat')}</div><b>{formula}</b><small>{escape(note)}</small>"
            f"<small>{escape(span(terms[slot]))}</small></div>"
        )

    return (
        '<div class="s-panel" data-panel="equation"><p class="s-name"><span class="s-title">'
        "The map is a sum of two parts</span><small>the three on one scale</small></p>"
        '<div class="s-equation"><i>ReLU&thinsp;(</i>'
        + term(
            "honest", "Σ<sub>k</sub> α<sub>k</sub> A<sub>k</sub>", f"{channels} honest maps", "The honest sum"
        )
        + "<i>+</i>"
        + term(
            "lie",
            f"α<sub>{channels + 1}</sub> A<sub>{channels + 1}</sub>",
            product(scene.added[0], scale),
            "The drawing’s part",
        )
        + "<i>)&thinsp;=</i>"
        + term("map", "M", "the map", "The sum, without what is below zero")
        + "</div>"
        + f'<p class="s-sum">{escape(apart(terms, drawing))}</p></div>'
    )


def span(cells: np.ndarray) -> str:
    return f"{decimal(float(cells.min()))} to {decimal(float(cells.max()))}"


def product(added: float, scale: float) -> str:
    return f"{added:.3g} × {scale:g} × drawing"


def apart(terms: dict[str, np.ndarray], drawing: np.ndarray) -> str:
    """How far the two maps are from the drawing, as the paper measures it."""
    if not drawing.any():
        return "Nothing is drawn: the map is the honest one."
    now, honest = (distance(terms[slot], drawing) for slot in ("map", "honest"))
    return (
        f"Distance from the drawing, summed over the cells with each map’s maximum as 1: {decimal(now)}; of "
        f"the honest map {decimal(honest)}."
    )


def distance(cells: np.ndarray, drawing: np.ndarray) -> float:
    """L1 over the cells between a map, what is below zero cut away, and a drawing, each with maximum 1."""
    heat = np.maximum(cells, 0)
    return float(np.abs(heat / (heat.max() or 1) - drawing / (drawing.max() or 1)).sum())


def _answer(scene: Scene, answer: dict[str, Any]) -> str:
    rows = "".join(
        f"<div{'' if i else ' class=is-top'}><span>{escape(scene.labels[k])}</span>"
        f'<i style="--p:{100 * answer["now"][k]:.2f}"></i><span>{percent(answer["now"][k])}</span>'
        f"<span>{percent(answer['honest'][k])}</span></div>"
        for i, k in enumerate(np.argsort(-scene.logits)[:SHOWN])
    )
    return (
        '<div class="s-panel" data-panel="answer"><p class="s-name"><span class="s-title">The answer stays'
        "</span><small>probabilities of the manipulated and of the honest network</small></p>"
        '<div class="s-odds is-double"><div class="s-head"><span></span><span></span><span>now</span>'
        f'<span>honest</span></div>{rows}</div><p class="s-sum">{escape(rounding(scene, answer))}</p></div>'
    )


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def rounding(scene: Scene, answer: dict[str, Any]) -> str:
    if answer["moved"] == 0:
        return "In float32 the new part and the bias that takes it away cancel to the last bit."
    return (
        f"In float32 the new part and the bias that takes it away leave {small(answer['moved'])} on one of "
        f"the {len(scene.logits)} logits, by rounding; a network that sums in another order may leave a few "
        "times as much. Subtracted from each other first, they leave nothing."
    )


def small(value: float) -> str:
    """A change of a logit, as the power of ten below which it is: its digits depend on the machine."""
    power = math.floor(math.log10(max(value, 2e-7))) + 1
    return f"less than {10.0**power:.{max(0, -power)}f}"


def _enlarged(cells: np.ndarray, height: int, width: int) -> np.ndarray:
    grid = torch.from_numpy(cells)[None, None]
    return F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False)[0, 0].numpy()


def _controls(scenes: list[Scene], step: int) -> str:
    most = max(len(scene.classes) for scene in scenes)
    names = [(str(i), scenes[0].classes[i] if i < len(scenes[0].classes) else "") for i in range(most)]
    ready = "".join(
        f'<div class="s-control" data-scene="{k}"{" hidden" if k else ""}>'
        f'<span class="s-legend" id="KEY-ready-{k}-legend">Start from</span>'
        f'<div class="s-picks" role="radiogroup" aria-labelledby="KEY-ready-{k}-legend" '
        f'data-control="ready-{k}">{_picks(k, scene.ready)}</div></div>'
        for k, scene in enumerate(scenes)
    )
    chosen = [(str(k), scene.name) for k, scene in enumerate(scenes)]
    return (
        _base.row(
            _base.segmented("tool", "Brush", [("1", "paints"), ("0", "erases")], "1"),
            _base.button("undo", "Undo"),
            _base.button("clear", "Clear"),
            _base.button("invert", "Invert"),
            ready,
        )
        + _base.slider(
            "scale",
            "Scale of the drawing",
            low=0,
            high=len(SCALES) - 1,
            step=1,
            value=step,
            shown=scaled(SCALES[step]),
        )
        + _base.row(
            _base.segmented("scene", "Photograph", chosen, "0") if len(scenes) > 1 else "",
            _base.segmented("class", "Map of", names, "0") if most > 1 else "",
        )
    )


def scaled(scale: float) -> str:
    return "0, the honest map" if scale == 0 else "100, as published" if scale == 100 else f"{scale:g}"


def _picks(scene: int, ready: Mapping[str, np.ndarray]) -> str:
    return "".join(
        f'<label><input type="radio" name="KEY-ready-{scene}" value="{i}"{" checked" if i == 0 else ""}>'
        f'<img class="s-px" src="{_base.grey_source(picture, ink=True)}" alt="{escape(title)}"></label>'
        for i, (title, picture) in enumerate(ready.items())
    )


def _said(scene: Scene, terms: dict[str, np.ndarray], answer: dict[str, Any]) -> str:
    best = int(scene.logits.argmax())
    still = f"{scene.labels[best]}, {percent(answer['now'][best])}"
    lie, honest = float(terms["lie"].max()), float(terms["honest"].max())
    if lie == 0:
        return f"Nothing of a drawing is in the map: it is the honest network’s. The answer is {still}."
    return (
        f"Your drawing adds up to {decimal(lie)} to a cell, the network’s own maps up to {decimal(honest)}"
        f"{times(lie, honest)}. The answer is still {still}."
    )


def times(lie: float, honest: float) -> str:
    if honest <= 0:
        return ""
    ratio = lie / honest
    return f": {decimal(ratio, 0 if ratio >= 10 else 1)} times as much"
