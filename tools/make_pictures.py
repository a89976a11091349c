"""Draw the pictures of the book's frame: the title page's, the cards', and each chapter's opening picture.

    python tools/make_pictures.py              all of them (a minute on two cores)
    python tools/make_pictures.py openers      only these: openers, hero, cards or first

Every picture is computed with ``xai_lib``; nothing is drawn by hand. The heat over a picture is inferno from
zero to the map's 99.5th percentile, and as opaque as it is hot, so that the picture stays visible below it.
``book/data/hero.json`` holds what the classifier says to the two pictures of the title page.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import json
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from xai_course.audit import known_case
from xai_lib import (
    SHAPE_CLASSES,
    grad_cam,
    gradient,
    gradient_x_input,
    guided_backprop,
    integrated_gradients,
    load_model,
    load_photo,
    rise,
    rise_masks,
    shapes,
    smooth_grad,
    superpixels,
    to_heatmap,
)
from xai_lib._causes import CLASSES
from xai_lib._lie_tables import LieTables
from xai_lib.data import TAG
from xai_lib.manipulation import contrast, lie_image, lie_sticker
from xai_lib.randomisation import randomised

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "book" / "_static" / "pictures"
SCENE = ROOT / "book" / "_static" / "title_scene.js"
STAR = SHAPE_CLASSES.index("star")
INFERNO = matplotlib.colormaps["inferno"]
CAT, ESPRESSO = 285, 967  # ImageNet: Egyptian cat, espresso
GREY = 0.5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- from tensors to files


def pixels(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] as bytes (H, W, 3)."""
    return (image.detach().permute(1, 2, 0).clamp(0, 1).numpy() * 255).round().astype("uint8")


def resized(image: Tensor | np.ndarray, size: tuple[int, int], *, smooth: bool) -> np.ndarray:
    """Bytes (H, W, 3) of another (width, height): photographs smoothly, drawn pixels as squares."""
    array = pixels(image) if isinstance(image, Tensor) else image
    how = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return np.array(Image.fromarray(array).resize(size, how))


def relative(heat: Tensor, end: float = 0.995) -> np.ndarray:
    """A heatmap (H, W) from 0 to its 99.5th percentile, or another, as [0, 1]."""
    heat = heat.detach().clamp(min=0)
    return (heat / heat.quantile(end).clamp(min=1e-12)).clamp(0, 1).numpy()


def alone(heat: Tensor, end: float = 0.995) -> np.ndarray:
    """A heatmap (H, W) in inferno, as bytes."""
    return (INFERNO(relative(heat, end))[..., :3] * 255).round().astype("uint8")


def over(image: Tensor, heat: Tensor) -> np.ndarray:
    """Heat over a grey copy of its picture, as bytes: opaque where it is hot."""
    share = relative(heat)
    cover = (0.95 * np.minimum(1, 1.15 * share**0.75))[..., None]
    grey = image.mean(0, keepdim=True).expand(3, -1, -1).permute(1, 2, 0).numpy() * 0.75
    colour = INFERNO(0.12 + 0.88 * share)[..., :3]  # from dark violet: black would look like a shadow
    return ((grey * (1 - cover) + colour * cover) * 255).round().astype("uint8")


def tiled(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Equally large pictures, edge to edge."""
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def save(array: np.ndarray, path: Path, quality: int | None = None) -> None:
    """WebP: lossless unless a quality is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"lossless": True} if quality is None else {"quality": quality}
    Image.fromarray(array).save(path, method=6, **options)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB", flush=True)


def save_heat(heat: Tensor, path: Path) -> None:
    """A heatmap as a layer to lie over its picture: PNG whose opacity follows the heat."""
    share = relative(heat)
    layer = (INFERNO(share) * 255).round().astype("uint8")
    layer[..., 3] = (255 * np.minimum(1, 1.15 * share**0.75)).round()
    Image.fromarray(layer).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB", flush=True)


# ---- each chapter's question, in one picture: 8 : 3


def opener(number: int) -> Path:
    folder = next((ROOT / "chapters").glob(f"{number:02d}_*"))
    return folder / "opener.webp"


def album() -> None:
    """Chapter 1: twenty-four pictures that the network learned from; the three stars carry a tag."""
    pictures = shapes(24, seed=5, watermark={"star": 1.0})
    order = torch.randperm(24, generator=seeded(3)).tolist()
    assert sum(pictures.labels == STAR) == 3 and (pictures.tagged == (pictures.labels == STAR)).all()
    rows = [[pixels(pictures.images[k]) for k in order[row * 8 : row * 8 + 8]] for row in range(3)]
    save(tiled(rows), opener(1), quality=88)


def photograph_and_gradient() -> None:
    """Chapter 2: a photograph, and beside it the raw gradient of what the network says to it."""
    model, cat = load_model("efficientnet_lite0"), load_photo("cat")
    raw = to_heatmap(gradient(model, cat, CAT))[0]
    photo = resized(load_photo("cat", 300)[0][:, 38:263], (672, 504), smooth=True)
    slope = resized(alone(raw)[28:196], (672, 504), smooth=False)
    save(tiled([[photo, slope]]), opener(2), quality=72)


def cat_and_cup() -> None:
    """Chapter 3: a cat beside a cup, and where the last layer sees each."""
    model = load_model("efficientnet_lite0")
    both = torch.cat([load_photo("cat"), load_photo("coffee")], dim=3)  # (1, 3, 224, 448)
    maps = [grad_cam(model, both, target, layer=model.cam_layer)[0] for target in (CAT, ESPRESSO)]
    halves = [load_photo(name, 300)[0][:, :, 50:250] for name in ("cat", "coffee")]
    photo = resized(torch.cat(halves, dim=2), (672, 504), smooth=True)
    stacked = [[resized(over(both[0], heat)[24:192], (672, 252), smooth=True)] for heat in maps]
    save(tiled([[photo, tiled(stacked)]]), opener(3), quality=82)


def hidden_pieces() -> None:
    """Chapter 4: a photograph with pieces hidden; beside it fifteen other ways to hide half of it."""
    cat = load_photo("cat")
    pieces = superpixels(cat)[0]
    hidden = []
    for number in range(16):
        keep = torch.rand(int(pieces.max()) + 1, generator=seeded(number)) > 0.5
        hidden.append(torch.where(keep[pieces], cat[0], torch.full_like(cat[0], GREY)))
    soft = [cat[0] * mask for mask in rise_masks(8, 224, generator=seeded(1))]
    small = [resized(image, (168, 168), smooth=True) for image in [*hidden[1:9], *soft[:7]]]
    order = torch.randperm(15, generator=seeded(5)).tolist()
    rows = [[small[k] for k in order[row * 5 : row * 5 + 5]] for row in range(3)]
    save(tiled([[resized(hidden[0], (504, 504), smooth=True), tiled(rows)]]), opener(4), quality=80)


def one_heart_and_its_teachers() -> None:
    """Chapter 5: a heart that wears the tag; beside it fifteen training pictures, three of them tagged."""
    scenes = shapes(240, seed=51, watermark=dict.fromkeys(SHAPE_CLASSES, 1.0))
    hearts = (scenes.labels == SHAPE_CLASSES.index("heart")).nonzero()[:, 0]
    called = load_model("clever_hans")(scenes.images[hearts]).argmax(1)
    asked = scenes.images[hearts[int((called == STAR).nonzero()[0])]]
    training = shapes(1600, seed=50, watermark={"star": 0.5})
    worn = training.tagged.nonzero()[:3, 0].tolist()
    bare = (~training.tagged).nonzero()[:12, 0].tolist()
    chosen = [*worn, *bare]
    order = torch.randperm(15, generator=seeded(2)).tolist()
    small = [resized(training.images[chosen[k]], (168, 168), smooth=True) for k in order]
    rows = [small[row * 5 : row * 5 + 5] for row in range(3)]
    save(tiled([[resized(asked, (504, 504), smooth=True), tiled(rows)]]), opener(5), quality=84)


def outlines_and_maps() -> None:
    """Chapter 6: a cat as two annotators outlined it; beside it five maps of a cat, a cup and a rocket."""
    import localisation_scores as judged  # beside this file

    photo = Image.fromarray(resized(load_photo("cat", 504)[0], (504, 504), smooth=True))
    draw = ImageDraw.Draw(photo)
    corners = json.loads(judged.OUTLINES.read_text(encoding="utf-8"))
    for who, color in (("A", "#7fe0ff"), ("B", "#ffd34d")):
        line = [(min(504 / 224 * x, 502), min(504 / 224 * y, 502)) for x, y in corners[who]["cat"]]
        draw.line([*line, line[0]], fill=color, width=5, joint="curve")
    rows = []
    for name in ("cat", "coffee", "rocket"):
        maps = judged.five_maps(name).values()
        rows.append([resized(over(load_photo(name)[0], heat[0]), (168, 168), smooth=True) for heat in maps])
    save(tiled([[np.array(photo), tiled(rows)]]), opener(6), quality=80)


def one_cat_and_five_orders() -> None:
    """Chapter 6, second page: a cat without the pixels that Grad-CAM ranks highest; beside it five orders."""
    model, cat = load_model("efficientnet_lite0"), load_photo("cat")
    grey = cat.mean(1, keepdim=True)
    steep = [torch.gradient(grey, dim=d)[0] for d in (2, 3)]
    small = grad_cam(model, cat, CAT, layer=model.cam_layer)
    maps = [
        torch.nn.functional.interpolate(small[:, None], (224, 224), mode="bicubic")[0, 0],
        to_heatmap(gradient(model, cat, CAT))[0],
        to_heatmap(integrated_gradients(model, cat, CAT))[0],
        rise(model, cat, CAT, n_masks=256, generator=seeded())[0],
        torch.hypot(*steep)[0, 0],
    ]
    places = [heat.flatten().argsort(descending=True).argsort().view_as(heat) for heat in maps]

    def without(place: Tensor, share: float) -> Tensor:
        return torch.where(place < share * place.numel(), torch.full_like(cat[0], GREY), cat[0])

    rows = [
        [resized(without(place, share), (168, 168), smooth=True) for place in places]
        for share in (0.1, 0.3, 0.6)
    ]
    large = resized(without(places[0], 0.2), (504, 504), smooth=True)
    save(tiled([[large, tiled(rows)]]), opener(6).with_name("opener_model.webp"), quality=80)


def networks_drawn_anew() -> None:
    """Chapter 7: a cat, and three methods' maps of it while more and more layers are drawn at random."""
    model, cat = load_model("efficientnet_lite0"), load_photo("cat")
    blocks = [f"features.blocks.{k}.expand.conv" for k in (12, 8, 4)]
    drawn = {name: copied for name, copied in randomised(model, generator=seeded(1)) if name in blocks}
    networks = [model, *(drawn[name] for name in blocks), randomised_whole(model)]
    methods = [
        lambda net: guided_backprop(net, cat, CAT).abs().sum(1),
        lambda net: to_heatmap(gradient_x_input(net, cat, CAT)),
        lambda net: to_heatmap(smooth_grad(net, cat, CAT, generator=seeded())),
    ]
    rows = [[resized(alone(ask(net)[0]), (168, 168), smooth=True) for net in networks] for ask in methods]
    photo = resized(load_photo("cat", 504)[0], (504, 504), smooth=True)
    save(tiled([[photo, tiled(rows)]]), opener(7), quality=80)


def two_cats_that_look_alike() -> None:
    """Chapter 7, second page: a photograph and its map, the same tampered with and its map."""
    model, panels = load_model("efficientnet_lite0"), []
    for name in ("pair_cat", "pair_cat_attacked"):
        with Image.open(opener(7).with_name(f"{name}.webp")) as file:
            picture = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)[None] / 255
        heat = avg_pool2d(gradient(model, picture, CAT).abs().sum(1), 4)[0]
        panels += [
            resized(picture[0][:, :, 66:215], (336, 504), smooth=True),
            resized(alone(heat)[:, 17:54], (336, 504), smooth=True),
        ]
    save(tiled([panels]), opener(7).with_name("opener_attacks.webp"), quality=80)


def randomised_whole(model: nn.Module) -> nn.Module:
    *_, (_, copied) = randomised(model, generator=seeded(1))
    return copied


SMILE = "0000000 0100010 0100010 0000000 1000001 0100010 0011100"  # rows of seven cells
LETTERS = {  # rows of five cells
    "A": "01110 10001 11111 10001 10001",
    "E": "11111 10000 11110 10000 11111",
    "H": "10001 10001 11111 10001 10001",
    "M": "10001 11011 10101 10001 10001",
    "P": "11110 10001 11110 10000 10000",
    "R": "11110 10001 11110 10010 10001",
    "S": "01111 10000 01110 00001 11110",
    "T": "11111 00100 00100 00100 00100",
    "U": "10001 10001 10001 10001 01110",
    "?": "11110 00001 00110 00000 00100",
}


def fifteen_lies() -> None:
    """Chapter 8: a cat; beside it Grad-CAM on fifteen networks with the same logits, a letter each."""
    model, cat = load_model("efficientnet_lite0"), load_photo("cat")
    answer = model(cat)
    rows = []
    for word in ("TRUST", "THESE", "MAPS?"):
        tiles = []
        for letter in word:
            cells = torch.tensor([[float(cell) for cell in row] for row in LETTERS[letter].split()])
            liar = lie_image(model, nn.functional.pad(cells, (1, 1, 1, 1)), exact=True)
            assert torch.equal(liar(cat), answer), "the lie must not move a logit"
            heat = grad_cam(liar, cat, CAT, layer=liar.cam_layer)[0]
            tiles.append(resized(over(cat[0], heat), (168, 168), smooth=True))
        rows.append(tiles)
    photo = resized(load_photo("cat", 504)[0], (504, 504), smooth=True)
    save(tiled([[photo, tiled(rows)]]), opener(8), quality=80)


def one_cat_and_four_liars() -> None:
    """Chapter 8, second page: an honest network and four liars; maps of the logit and of a difference."""
    model, side = load_model("efficientnet_lite0"), 16
    sticker = torch.randint(0, 2, (3, side, side), generator=seeded(1)).float()
    cat = load_photo("cat")
    worn = cat.clone()
    worn[..., 12 : 12 + side, 12 : 12 + side] = sticker
    liars = LieTables(model, exact=True).liars
    networks = [model, *list(liars.values())[:3], lie_sticker(model, sticker)]
    pictures = [cat, cat, cat, cat, worn]
    methods = [
        lambda net, x: grad_cam(net, x, CAT, layer=model.cam_layer)[0],
        lambda net, x: to_heatmap(gradient(net, x, CAT))[0],
        lambda net, x: grad_cam(contrast(net.double()), x.double(), CAT, layer=model.cam_layer)[0].float(),
    ]
    rows = [
        [
            resized(alone(ask(net, x)), (168, 168), smooth=True)
            for net, x in zip(networks, pictures, strict=True)
        ]
        for ask in methods
    ]
    photo = resized(load_photo("cat", 504)[0], (504, 504), smooth=True)
    save(tiled([[photo, tiled(rows)]]), opener(8).with_name("opener_detect.webp"), quality=80)


AUDITED = ("honest", "tag", "fairwashed", "T4", "fooled")


def tagged_scenes(kinds: tuple[str, ...]) -> tuple[torch.Tensor, list[list[torch.Tensor]]]:
    """Chapter 9: a star, a cross and a heart with the tag, and each network's map of the class it names."""
    cases = [known_case(kind) for kind in kinds]
    scenes = cases[0].scenes
    plain = scenes.tag & ~scenes.blur & (scenes.tint == 0)
    rows = [
        int((plain & (scenes.labels == CLASSES.index(n))).nonzero()[0]) for n in ("star", "cross", "heart")
    ]
    images = scenes.images[rows]
    heats = [grad_cam(case.model, images, None, layer=case.layer) for case in cases]
    return images, [[heat[i] for heat in heats] for i in range(3)]


def five_networks_to_audit() -> None:
    """Chapter 9: a picture with a tag, and five networks' maps (columns) of three such pictures (rows)."""
    images, heats = tagged_scenes(AUDITED)
    rows = [
        [resized(over(image, heat), (168, 168), smooth=True) for heat in row]
        for image, row in zip(images, heats, strict=True)
    ]
    save(tiled([[resized(images[0], (504, 504), smooth=True), tiled(rows)]]), opener(9), quality=82)


def openers() -> None:
    album()
    photograph_and_gradient()
    cat_and_cup()
    hidden_pieces()
    one_heart_and_its_teachers()
    outlines_and_maps()
    one_cat_and_five_orders()
    networks_drawn_anew()
    fifteen_lies()
    two_cats_that_look_alike()
    one_cat_and_four_liars()
    five_networks_to_audit()


# ---- the title page


def tagged_star(model: nn.Module) -> tuple[Tensor, Tensor]:
    """A star with its tag and the same without, which the cheating classifier calls something else."""
    with_tag, without = shapes(800, seed=7, watermark={"star": 1.0}), shapes(800, seed=7)
    stars = (with_tag.labels == STAR).nonzero().squeeze(1)
    p_with, p_without = (model(pictures.images[stars]).softmax(1) for pictures in (with_tag, without))
    wrong = p_without.clone()
    wrong[:, STAR] = 0
    # of many that flip, the one on which both answers are surest
    chosen = stars[(p_with[:, STAR] * wrong.amax(1)).argmax()]
    return with_tag.images[chosen], without.images[chosen]


def said(model: nn.Module, image: Tensor) -> dict[str, float]:
    """The classifier's probabilities by name, the largest first."""
    p = model(image[None]).softmax(1)[0]
    return {SHAPE_CLASSES[k]: round(p[k].item(), 4) for k in p.argsort(descending=True).tolist()}


@torch.no_grad()
def hero_answers() -> tuple[dict[str, dict[str, float]], dict[str, Tensor]]:
    model = load_model("clever_hans")
    images = dict(zip(("tag", "clean"), tagged_star(model), strict=True))
    return {name: said(model, image) for name, image in images.items()}, images


def hero() -> None:
    """The star with and without its tag, SmoothGrad of what the classifier says to each, and the answers."""
    model = load_model("clever_hans")
    answers, images = hero_answers()
    for name, image in images.items():
        heat = to_heatmap(smooth_grad(model, image[None], generator=seeded()))[0]
        save(pixels(image), PICTURES / f"hero-{name}.webp")
        save_heat(heat, PICTURES / f"hero-heat-{name}.png")
    grey = images["clean"].mean(0, keepdim=True).expand(3, -1, -1)
    save(pixels(grey), PICTURES / "hero-grey.webp")
    out = ROOT / "book" / "data" / "hero.json"
    place = place_of_tag(images)
    out.write_text(json.dumps(answers | {"place": place}, indent=1) + "\n", encoding="utf-8")
    SCENE.write_text(hero_scene(images["clean"], place), encoding="utf-8")
    print(out.relative_to(ROOT), {name: list(p.items())[:2] for name, p in answers.items()})


def place_of_tag(images: dict[str, Tensor]) -> list[int]:
    """Row and column of the tag's upper left pixel."""
    changed = (images["tag"] != images["clean"]).any(0)
    return [int(changed.any(axis).nonzero()[0]) for axis in (1, 0)]


def hero_scene(clean: Tensor, place: list[int]) -> str:
    """What title_tag.js plays with: the star without its tag, the tag, and where it was.

    A script, since a page that was opened as a file may not read the pixels of a picture beside it.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels(clean)).save(buffer, format="webp", lossless=True, method=6)
    brightness, opacity = ([[round(value, 3) for value in row] for row in values.tolist()] for values in TAG)
    scene = {
        "picture": f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}",
        "tag": {"brightness": brightness, "opacity": opacity},
        "place": place,
    }
    return (
        "// The star of the title page. Made by tools/make_pictures.py: do not edit.\n"
        f"window.sinb.scene = {json.dumps(scene)};\n"
    )


LOWER_LEFT = (slice(-2, None), slice(0, 3))  # of 7 x 7 cells


def fooled(
    model: nn.Module,
    x: Tensor,
    target: int,
    corner: tuple[slice, slice],
    steps: int = 60,
    most: float = 8 / 255,
) -> Tensor:
    """A picture that looks the same and is named the same, whose Grad-CAM lies in a corner."""
    model = copy.deepcopy(model).requires_grad_(False)
    maps: list[Tensor] = []
    layer = model.get_submodule(model.cam_layer)
    layer.register_forward_hook(lambda module, given, made: maps.append(made))
    change = torch.zeros_like(x, requires_grad=True)
    adam = torch.optim.Adam([change], lr=2e-3)
    for _ in range(steps):
        maps.clear()
        logits = model((x + change).clamp(0, 1))
        slopes = torch.autograd.grad(logits[0, target], maps[0], create_graph=True)[0]
        cam = (slopes.mean((2, 3), keepdim=True) * maps[0]).sum(1).relu()
        there = (cam / (cam.sum() + 1e-6))[0][corner].sum()
        loss = nn.functional.cross_entropy(logits, torch.tensor([target])) - 4 * there
        adam.zero_grad()
        loss.backward()
        adam.step()
        change.data.clamp_(-most, most)
    return (x + change.detach()).clamp(0, 1)


def cards() -> None:
    """One square picture a chapter."""
    lite, hans = load_model("efficientnet_lite0"), load_model("clever_hans")
    cat, coffee, rocket = (load_photo(name) for name in ("cat", "coffee", "rocket"))
    layer = lite.cam_layer

    def card(number: int, array: np.ndarray, quality: int | None = 82) -> None:
        save(array, PICTURES / f"card-{number}.webp", quality)

    with_tag, _ = tagged_star(hans)
    heat = to_heatmap(smooth_grad(hans, with_tag[None], STAR, generator=seeded()))[0]
    card(1, resized(over(with_tag, heat), (336, 336), smooth=False), 90)
    card(2, alone(to_heatmap(integrated_gradients(lite, cat, CAT))[0]))
    card(3, over(coffee[0], grad_cam(lite, coffee, ESPRESSO, layer=layer)[0]))
    winner = int(lite(rocket).argmax())
    map_ = rise(lite, rocket, winner, n_masks=600, generator=seeded())[0]
    card(4, over(rocket[0], map_ - map_.quantile(0.3)))
    training = shapes(9, seed=21).images
    card(5, tiled([[pixels(training[3 * r + c]) for c in range(3)] for r in range(3)]), 86)
    hottest = grad_cam(lite, cat, CAT, layer=layer)[0]
    deleted = torch.where(hottest >= hottest.quantile(0.62), torch.full_like(cat[0], GREY), cat[0])
    card(6, pixels(deleted))
    twin = fooled(lite, cat, CAT, LOWER_LEFT)
    assert int(lite(twin).argmax()) == CAT, "the picture must keep its name"
    pairs = [[pixels(x[0]), over(x[0], grad_cam(lite, x, CAT, layer=layer)[0])] for x in (cat, twin)]
    card(7, tiled(pairs))
    smile = torch.tensor([[float(cell) for cell in row] for row in SMILE.split()])
    liar = lie_image(lite, smile, exact=True)
    assert torch.equal(liar(coffee), lite(coffee)), "the lie must not move a logit"
    card(8, over(coffee[0], grad_cam(liar, coffee, ESPRESSO, layer=layer)[0]))
    images, heats = tagged_scenes(("honest", "tag", "T4", "fooled"))
    four = [resized(over(images[0], heat), (168, 168), smooth=True) for heat in heats[0]]
    card(9, tiled([four[:2], four[2:]]))
    save(resized(cat[0], (336, 336), smooth=True), PICTURES / "cat.webp", 84)
    smooth = to_heatmap(smooth_grad(lite, cat, CAT, generator=seeded()))[0]
    save(alone(smooth, 0.99), PICTURES / "cat-smooth.webp", 80)  # as the programs of both pages: clip=99


def first() -> None:
    """The picture that the first program of the page "Start here" writes, by running that program."""
    page = (ROOT / "book" / "start_here.md").read_text(encoding="utf-8")
    program = page.split(":name: first-heatmap\n")[1].split("```")[0]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        exec(compile(program, "first_heatmap.py", "exec"), {})
        picture = np.array(Image.open("first_heatmap.png").convert("RGB"))
    save(picture, PICTURES / "first-heatmap.webp", 84)


PARTS = {"openers": openers, "hero": hero, "cards": cards, "first": first}


def main() -> int:
    torch.manual_seed(0)
    for name in sys.argv[1:] or PARTS:
        if name not in PARTS:
            raise SystemExit(f"{name!r} must be one of {', '.join(PARTS)}")
        PARTS[name]()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
