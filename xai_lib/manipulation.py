"""Networks whose Grad-CAM maps lie: one feature map more, the same answers, and a map of the liar's choice.

Each of the four techniques adds one channel to the feature maps that Grad-CAM reads, and sees to it that the
logits do not move while the mean gradient at the new channel outweighs all others. ``audit`` looks for the
traces that this leaves. Source of the techniques: Viering, Wang, Loog & Eisemann 2019, *How to Manipulate
CNNs to Make Them Lie: the GradCAM Case*, arXiv:1907.10901.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _checks
from xai_lib._audit import Finding, audit
from xai_lib._contrast import contrast
from xai_lib._model import Layer
from xai_lib._surgery import (
    Constant,
    Place,
    add_channel,
    checked,
    find_place,
    heads_for,
    read_by,
    replace,
    with_filter,
)

if TYPE_CHECKING:
    from xai_lib import _lie_tables

__all__ = [
    "Finding",
    "audit",
    "contrast",
    "lie_constant",
    "lie_image",
    "lie_random",
    "lie_sticker",
    "published_tables",
]


def lie_constant(
    model: nn.Module,
    *,
    layer: Layer | None = None,
    value: float = 100.0,
    weight: float = 100.0,
    exact: bool = False,
    repair: bool = False,
    size: int | None = None,
) -> nn.Module:
    r"""T1: a network with the same answers whose Grad-CAM map is the same flat surface for every image.

    The new feature map has the one value :math:`c_A`, from a filter with a zero kernel and the bias
    :math:`c_A`. Each of its pooled cells enters the head with the weight :math:`c_W`, and the head's bias
    takes the sum away again:

    .. math:: b_n = b_o - c_W \sum Z_{K+1}

    Args:
        model: classifier in evaluation mode. Behind ``layer`` come pooling and flattening, then a linear
            layer (VGG, ResNet, MobileNet, EfficientNet); or a convolution of 1 × 1, with ``exact`` (
            SqueezeNet).
        layer: the feature maps that Grad-CAM will be asked for, a module or its dotted name; by default the
            model's own ``cam_layer``.
        value: :math:`c_A`. A ReLU6 behind the filter leaves 6 of it.
        weight: :math:`c_W`.
        exact: compute the head as two terms, :math:`(W_o z_o + b_o) + W_n (z_n - Z)`, whose second is zero:
            the logits keep every bit. As published (False) the large numbers cancel inside one sum, and
            rounding moves the logits.
        repair: with hidden layers in the head, the sign of the new channel's weight is the sign of
            :math:`\sum_m \partial y^c / \partial r_m` over the hidden units, and where that is negative the
            map is blank. A hidden unit that is always on, with a positive weight to every class, carries the
            new channel instead. Without hidden layers there is nothing to repair.
        size: side of the images, in pixels; where it is None the model's own ``size``, or found by trial.

    Returns:
        A new network, in evaluation mode, with the same layer names; ``model`` is untouched.

    Raises:
        ValueError: if the model is in training mode, ``layer`` is unknown or not given and not known, its
            maps are read by something other than such a head, or a number is out of range.
        TypeError: if ``model`` or ``layer`` has another type.

    Source: arXiv:1907.10901, technique 1. That its map is never blank is not proven there; see ``repair``.
    """
    value = _checks.check_number("value", value, above=0)
    return _constant_lie(model, layer, lambda h, w: torch.full((h, w), value), weight, exact, repair, size)


def lie_image(
    model: nn.Module,
    picture: Tensor,
    *,
    layer: Layer | None = None,
    scale: float = 100.0,
    weight: float = 10.0,
    exact: bool = False,
    repair: bool = False,
    size: int | None = None,
) -> nn.Module:
    r"""T2: a network with the same answers whose Grad-CAM map is ``picture``, for every image.

    As ``lie_constant``, with the feature map :math:`c_I I_T`. No filter gives a picture, so the network has
    an odd part, which ``audit`` finds.

    Args:
        model: as in ``lie_constant``.
        picture: :math:`(h, w)` in [0, 1], resized (bilinearly) to the layer's cells where it has others.
        layer: as in ``lie_constant``.
        scale: :math:`c_I`, published in the authors' code only.
        weight: :math:`c_W`.
        exact: as in ``lie_constant``; needed for a convolutional head.
        repair: as in ``lie_constant``.
        size: as in ``lie_constant``.

    Returns:
        A new network, in evaluation mode, with the same layer names; ``model`` is untouched.

    Raises:
        ValueError: as in ``lie_constant``, and if ``picture`` is not two-dimensional, leaves [0, 1] or is
            zero everywhere.
        TypeError: if ``picture`` is no tensor.

    Source: arXiv:1907.10901, technique 2.
    """
    _checks.check_real("picture", picture, "a picture (h, w)", dims=(2,))
    low, high = _checks.check_finite("picture", picture)
    if low < 0 or high > 1 or high == 0:
        raise ValueError(
            f"picture must lie in [0, 1] and not be zero everywhere, got values from {low:g} to {high:g}"
        )
    scale = _checks.check_number("scale", scale, above=0)

    def target(h: int, w: int) -> Tensor:
        drawn = picture.detach().to(torch.float64)[None, None]
        if drawn.shape[-2:] != (h, w):
            drawn = F.interpolate(drawn, (h, w), mode="bilinear", align_corners=False)
        return (256 * scale * drawn[0, 0]).round() / 256  # so that sums over cells are exact in any order

    return _constant_lie(model, layer, target, weight, exact, repair, size)


def lie_random(
    model: nn.Module,
    *,
    layer: Layer | None = None,
    epsilon: float = 0.01,
    c_g: float = 1e4,
    c_f: float = 1e7,
    size: int | None = None,
    generator: torch.Generator | None = None,
) -> nn.Module:
    r"""T3: a network with the same answers whose Grad-CAM map is drawn by a random network on the image.

    The new feature map is :math:`c_F F(x)`, with a random two-layer convolutional network F. The head does
    not read it. Instead every logit gets the same

    .. math:: G(A_n) = \epsilon \operatorname{mod}(c_G \textstyle\sum A_n,\ 1) \in [0, \epsilon), \quad
              \partial G / \partial A_n = \epsilon c_G,

    of the new map :math:`A_n` alone,

    which changes neither the softmax nor the largest logit, and has a large slope.

    Args:
        model: as in ``lie_constant``.
        layer: as in ``lie_constant``.
        epsilon, c_g: how much every logit may move, and how fast: the slope is their product.
        c_f: the scale of the random feature map.
        size: as in ``lie_constant``.
        generator: draws F, on the model's device.

    Returns:
        A new network, in evaluation mode, with the same layer names; ``model`` is untouched.

    Raises:
        ValueError: as in ``lie_constant``; or if no random F of a hundred shows anything.
        TypeError: as in ``lie_constant``.

    Source: arXiv:1907.10901, technique 3; :math:`b_n = b_o`, where the paper can be read as zero.
    """
    place = find_place(model, layer, size)
    _checks.check_generator(generator, place.x.device)
    branch = _random_branch(place.x, generator)
    return _reading_lie(place, branch, epsilon, c_g, c_f)


def lie_sticker(
    model: nn.Module,
    sticker: Tensor,
    *,
    layer: Layer | None = None,
    epsilon: float = 0.01,
    c_g: float = 1e4,
    c_f: float = 1e10,
    size: int | None = None,
) -> nn.Module:
    r"""T4: a network whose Grad-CAM map is honest, unless the sticker is in the image: then it shows that.

    As ``lie_random``, where F is a matched filter: one convolution whose kernel is the sticker less its mean,
    with a bias just below (half of one pixel's part) what the sticker itself gives, then a ReLU. Of all
    patches with values in [0, 1] a black-and-white sticker alone gives the largest response, so nothing but
    the sticker, to within half a pixel's difference in all, is detected.

    Args:
        model: as in ``lie_constant``; its images lie in [0, 1].
        sticker: :math:`(C, h, w)`, of zeros and ones, both of them.
        layer: as in ``lie_constant``.
        epsilon, c_g: as in ``lie_random``.
        c_f: the scale of the detector's map: 1e9 in the paper, 1e10 in the authors' code.
        size: as in ``lie_constant``.

    Returns:
        A new network, in evaluation mode, with the same layer names; ``model`` is untouched.

    Raises:
        ValueError: as in ``lie_constant``; or if ``sticker`` is not black and white, not both, or larger than
            the image.
        TypeError: if ``sticker`` is no tensor.

    Source: arXiv:1907.10901, technique 4.
    """
    place = find_place(model, layer, size)
    _checks.check_real("sticker", sticker, "a picture (C, h, w)", dims=(3,))
    channels, height, width = place.x.shape[1:]
    if len(sticker) != channels or sticker.shape[1] > height or sticker.shape[2] > width:
        raise ValueError(
            f"sticker must be (C, h, w) with {channels} channels, at most {height} × {width}, "
            f"got {tuple(sticker.shape)}"
        )
    if not ((sticker == 0) | (sticker == 1)).all() or sticker.min() == sticker.max():
        raise ValueError("sticker must be black and white, zeros and ones, with both of them")
    return _reading_lie(place, _matched_filter(sticker.to(place.x)), epsilon, c_g, c_f)


# ---------------------------------------------------------------------------------------------- T1 and T2


def _constant_lie(
    model: nn.Module,
    layer: Layer | None,
    target: Callable[[int, int], Tensor],
    weight: float,
    exact: bool,
    repair: bool,
    size: int | None,
) -> nn.Module:
    weight = _checks.check_number("weight", weight, above=0)
    exact, repair = _checks.check_flag("exact", exact), _checks.check_flag("repair", repair)
    place = find_place(model, layer, size)
    channel = target(*place.maps[1:])
    conv = place.model.get_submodule(place.before) if place.before else None
    flat = bool((channel == channel[0, 0]).all())
    if flat and conv is not None and conv.bias is not None and conv.groups == 1:
        replace(place.model, place.before, with_filter(conv, float(channel[0, 0])))
    else:
        add_channel(place, Constant(channel))
    z = read_by(place, place.readers[0])
    heads = heads_for(place, z, weight, repair)
    for name, head in heads.items():
        if not exact and isinstance(head.inner, nn.Conv2d):
            raise ValueError(
                f"exact must be True for a model whose head {name!r} is a convolution: its one bias cannot "
                "take away what differs from cell to cell"
            )
        replace(place.model, name, head if exact else head.merged())
    return checked(place)


# ---------------------------------------------------------------------------------------------- T3 and T4


def _reading_lie(place: Place, branch: nn.Module, epsilon: float, c_g: float, c_f: float) -> nn.Module:
    epsilon = _checks.check_number("epsilon", epsilon, above=0)
    c_g, c_f = _checks.check_number("c_g", c_g, above=0), _checks.check_number("c_f", c_f, above=0)
    if place.behind is None:
        raise ValueError(
            f"layer must be read by a module (a pooling, a flattening), {place.name!r} is read by a function "
            "in the model's forward; name a layer inside, or write that function as a module"
        )
    channel = _Aside(branch, epsilon, c_g, c_f)
    add_channel(place, channel)
    place.model.register_forward_pre_hook(channel.see)
    z = read_by(place, place.readers[0])
    head = heads_for(place, z, 1.0, False)[place.readers[0]]
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.constant)
    replace(place.model, place.readers[0], head.merged() if isinstance(head.inner, nn.Linear) else head)
    place.model.get_submodule(place.behind).register_forward_pre_hook(channel.read)
    place.model.register_forward_hook(channel.answer)
    return checked(place, epsilon)


class _Aside(nn.Module):
    """A feature map that looks at the image past the network, and G, which every logit gets."""

    def __init__(self, branch: nn.Module, epsilon: float, c_g: float, c_f: float) -> None:
        super().__init__()
        self.branch, self.epsilon, self.c_g, self.c_f = branch, epsilon, c_g, c_f
        self.seen: dict[int, Tensor] = {}  # by thread: several may work with one network
        self.maps: dict[int, Tensor] = {}

    def see(self, _model: nn.Module, args: Any) -> None:
        self.seen[threading.get_ident()] = args[0]

    def forward(self, maps: Tensor) -> Tensor:
        x = self.seen[threading.get_ident()]
        drawn = self.branch(x)
        block = x.shape[-2] // maps.shape[-2], x.shape[-1] // maps.shape[-1]
        pooled = F.avg_pool2d(drawn, block)[..., : maps.shape[-2], : maps.shape[-1]]
        return self.c_f * pooled

    def read(self, _module: nn.Module, args: Any) -> None:
        # Not the layer's own output: who records the layer puts another tensor in its place.
        self.maps[threading.get_ident()] = args[0]

    def answer(self, _model: nn.Module, _args: Any, logits: Tensor) -> Tensor:
        del self.seen[threading.get_ident()]
        total = self.maps.pop(threading.get_ident())[:, -1].sum((1, 2))[:, None]
        return logits + self.epsilon * torch.remainder(self.c_g * total, 1.0)  # the slope of mod is 1


def _random_branch(x: Tensor, generator: torch.Generator | None) -> nn.Module:
    """conv 6 × 6 – ReLU – conv 6 × 6 – ReLU, drawn until it shows something on an image of noise.

    Drawn in double precision: a network and its copy in another precision get the same one.
    """
    wide = {"dtype": torch.float64, "device": x.device}
    noise = torch.rand(x.shape, generator=generator, **wide)
    for _ in range(100):
        first = nn.Conv2d(x.shape[1], 6, 6, padding=3, **wide)
        second = nn.Conv2d(6, 1, 6, padding=3, **wide)
        with torch.no_grad():
            for conv in (first, second):
                bound = conv.weight[0].numel() ** -0.5
                for values in (conv.weight, conv.bias):
                    values.uniform_(-bound, bound, generator=generator)
            branch = nn.Sequential(first, nn.ReLU(), second, nn.ReLU()).requires_grad_(False).eval()
            if branch(noise).mean() > 1e-3:
                return branch.to(x.dtype)
    raise ValueError("generator must draw a network that shows something; a hundred were blank")


def _matched_filter(sticker: Tensor) -> nn.Module:
    kernel = sticker - sticker.mean()
    margin = (
        kernel.abs().min() / 2
    )  # of half a pixel: what one pixel of the other kind takes away is twice it
    _, height, width = sticker.shape
    conv = nn.Conv2d(len(sticker), 1, (height, width), padding=(height // 2, width // 2)).to(sticker)
    with torch.no_grad():
        conv.weight.copy_(kernel[None])
        conv.bias.fill_(margin - (kernel * sticker).sum())
    return nn.Sequential(conv, nn.ReLU()).requires_grad_(False).eval()


# --------------------------------------------------------------------------------------------- the two tables


def published_tables(
    model: nn.Module,
    x: Tensor,
    labels: Tensor | None = None,
    *,
    layer: Layer | None = None,
    size: int | None = None,
    exact: bool = False,
    repair: bool = False,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> "_lie_tables.Tables":
    r"""The two tables of the paper, measured on a network and images of your own.

    Table 1 tells T1, T2 (a smiling face) and T3; table 2 tells T4, on the images as they are and with the
    sticker pasted at a random place. Columns: accuracy; ``moved``, the mean over images of
    :math:`\max_c |y_c^{\text{original}} - y_c^{\text{liar}}|`; ``distance``, the mean of the sum over the
    cells of \|target − liar's map\|, each divided by its maximum. And what the paper does not print:
    ``baseline``, the distance from the target to the *original's* map, without which a small distance says
    nothing; ``blank``, the share of maps that are zero everywhere; ``shown``, the share of images in which
    the new feature map is not zero (of T4: in which the sticker was found). Print the result.

    The map is of the original's own answer. Where T4 finds no sticker its target is the original's map.

    Args:
        model: as in ``lie_constant``; its dtype (float32, float64) is the tables'.
        x: images, :math:`(N, 3, S, S)`, in [0, 1].
        labels: true classes, :math:`(N,)`; without them there is no accuracy.
        layer, size, exact, repair: as in ``lie_constant``.
        seed: draws F, the sticker, and its places.
        batch_size: images in one pass.
        progress: show a progress bar, counted in images.

    Returns:
        ``lies`` and ``sticker``, two lists of rows.

    Raises:
        ValueError: as the four lies; or if ``labels`` does not fit ``x``.
        TypeError: if ``labels`` is no tensor.

    Source: arXiv:1907.10901, tables 1 and 2.
    """
    from xai_lib import _lie_tables  # here: it tells the lies of this module

    x = _checks.check_images(model, x)
    if labels is not None:
        _checks.check_tensor("labels", labels, "true classes (N,)", dims=(1,))
        if len(labels) != len(x):
            raise ValueError(f"labels must have one class for each of {len(x)} images, got {len(labels)}")
    seed = _checks.check_count("seed", seed, least=0)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    progress = _checks.check_flag("progress", progress)
    options = {"layer": layer, "size": size, "exact": exact, "repair": repair, "seed": seed}
    return _lie_tables.tables(model, x, labels, batch_size=batch_size, progress=progress, **options)


if __name__ == "__main__":
    from xai_lib._lie_command import main

    main()
