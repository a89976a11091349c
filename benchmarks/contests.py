"""What is timed: for every method, three or more ways to spend the same passes.

A contest has *ours*; the *bare passes*, a loop that only runs the network as often as the method needs, on
inputs made beforehand; and *peers*, other libraries asked for the same work. A new method is one function in
``METHODS``. A peer imports its library when it is called: the one that is not installed is named as such, and
the others are timed.
"""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from xai_lib import (
    grad_cam,
    guided_backprop,
    integrated_gradients,
    lime,
    load_model,
    occlusion,
    rise,
    score_cam,
    shapley,
    smooth_grad,
)
from xai_lib.models import build_small

Call = Callable[[], object]
LIME_DEFAULT = "captum Lime, its default of one sample a pass"


class Contest(NamedTuple):
    """Ways to spend the same passes; ``images`` × ``passes`` of them."""

    ours: Call
    bare: Call
    peers: dict[str, Call]
    network: str
    images: int
    passes: int


class Setup(NamedTuple):
    """What a method's contest is built from."""

    device: torch.device
    batch_size: int
    points: int  # passes of one image
    images: int
    network: str = "efficientnet_lite0"
    size: int = 224


# ------------------------------------------------------------------------------------------- gradients


def contest_smooth_grad(setup: Setup) -> Contest:
    model, x, target = real_model(setup)

    def ours():
        return smooth_grad(model, x, target, n_samples=setup.points, batch_size=setup.batch_size)

    def captum():
        from captum.attr import NoiseTunnel, Saliency

        each = max(1, setup.batch_size // setup.images)  # Captum counts samples of the whole batch
        return NoiseTunnel(Saliency(model)).attribute(
            x,
            nt_samples=setup.points,
            nt_samples_batch_size=each,
            stdevs=0.15,
            target=target,
            abs=False,
        )

    return _contest(ours, gradient_passes(model, x, target, setup), {"captum NoiseTunnel": captum}, setup)


def contest_integrated_gradients(setup: Setup) -> Contest:
    model, x, target = real_model(setup)

    def ours():
        return integrated_gradients(model, x, target, n_steps=setup.points, batch_size=setup.batch_size)

    def captum():
        from captum.attr import IntegratedGradients

        return IntegratedGradients(model).attribute(
            x,
            n_steps=setup.points,
            internal_batch_size=max(setup.batch_size, setup.images),
            target=target,
            method="gausslegendre",
        )

    return _contest(
        ours, gradient_passes(model, x, target, setup), {"captum IntegratedGradients": captum}, setup
    )


def contest_guided_backprop(setup: Setup) -> Contest:
    """One pass over ``batch_size`` images of a small VGG: Captum's hooks know plain ReLU modules only.

    The rule is part of the passes: the bare ones run a copy of the network in which each ReLU clamps the
    gradient that comes back to it, and nothing looks for ReLUs.
    """
    torch.manual_seed(0)
    model = build_small("small_vgg").eval().to(setup.device, memory_format=torch.channels_last)
    setup = setup._replace(points=1, images=setup.batch_size, network="small_vgg", size=112)
    x = torch.rand(setup.images, 3, 112, 112, device=setup.device)
    target = torch.arange(setup.images, device=setup.device) % 8

    def captum():
        from captum.attr import GuidedBackprop

        return GuidedBackprop(model).attribute(x, target)

    return _contest(
        lambda: guided_backprop(model, x, target),
        gradient_passes(with_clamps(model), x, target, setup),
        {"captum GuidedBackprop": captum},
        setup,
    )


class ClampingReLU(nn.Module):
    """A ReLU that lets only the positive part of the gradient back in: the rule of guided backpropagation."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(x)
        if y.requires_grad:
            y.register_hook(lambda gradient: gradient.clamp(min=0))
        return y


def with_clamps(model: nn.Module) -> nn.Module:
    """A copy of the model with ``ClampingReLU`` for each ReLU module."""
    model = copy.deepcopy(model)
    for name in [name for name, module in model.named_modules() if isinstance(module, nn.ReLU)]:
        model.set_submodule(name, ClampingReLU())
    return model


# --------------------------------------------------------------------------------------- the CAM family


def contest_grad_cam(setup: Setup) -> Contest:
    """One pass over ``batch_size`` images; the bare pass goes all the way back to the pixels."""
    setup = setup._replace(points=1, images=setup.batch_size)
    model, x, target = real_model(setup)
    layer = model.get_submodule(model.cam_layer)

    def captum():
        from captum.attr import LayerGradCam

        return LayerGradCam(model, layer).attribute(x, target)

    def package():
        from pytorch_grad_cam import GradCAM

        with GradCAM(model, [layer]) as explainer:
            return explainer(x, [lambda logits, c=c: logits[c] for c in target.tolist()])

    peers = {"captum LayerGradCam": captum, "grad-cam": package}
    return _contest(
        lambda: grad_cam(model, x, target, layer=model.cam_layer),
        gradient_passes(model, x, target, setup),
        peers,
        setup,
    )


def contest_score_cam(setup: Setup) -> Contest:
    """Forward passes only: one for the image, one for each map that is a mask.

    On a GPU and with large batches the last layer's 1280 maps, else the first layer's 32: a pass costs the
    same.
    """
    model, x, target = real_model(setup._replace(images=1))
    whole = setup.device.type == "cuda" and setup.batch_size >= 32
    layer = model.cam_layer if whole else "features.stem"
    with torch.no_grad():
        maps = (model.features if whole else model.features.stem)(model.normalize(x))
    live = int((maps.amax((2, 3)) > maps.amin((2, 3))).sum())
    setup = setup._replace(points=live, images=1)
    masked = forward_passes(model, x, setup)

    def ours():
        return score_cam(
            model, x, target, layer=layer, weights="channels", upsample=False, batch_size=setup.batch_size
        )

    @torch.no_grad()
    def bare():
        model(x)
        masked()

    def package():
        import torchcam.methods

        with torchcam.methods.ScoreCAM(model, layer, batch_size=setup.batch_size) as extractor:
            with torch.no_grad():
                model(x)
                return extractor(target.tolist(), normalized=False)

    return _contest(ours, bare, {"torchcam ScoreCAM": package}, setup._replace(points=live + 1))


# ---------------------------------------------------------------------------------------- perturbation


class Probability(nn.Module):
    """What the perturbation methods explain; their peers take the output as it is."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).softmax(1)


def contest_occlusion(setup: Setup) -> Contest:
    """Windows of a quarter of the image's side, at steps of an eighth."""
    model, x, target = real_model(setup)
    window, stride = x.shape[-1] // 4, x.shape[-1] // 8
    windows = (math.ceil((x.shape[-1] - window) / stride) + 1) ** 2
    setup = setup._replace(points=windows + 1)

    def ours():
        return occlusion(model, x, target, window=window, stride=stride, batch_size=setup.batch_size)

    @torch.no_grad()
    def peer():
        from captum.attr import Occlusion

        each = max(1, setup.batch_size // setup.images)
        return Occlusion(Probability(model)).attribute(
            x,
            (x.shape[1], window, window),
            (x.shape[1], stride, stride),
            target=target,
            perturbations_per_eval=each,
        )

    return _contest(ours, forward_passes(model, x, setup), {"captum Occlusion": peer}, setup)


def contest_lime(setup: Setup) -> Contest:
    """The same squares for everybody: nobody's segmentation is timed. Peers take one image at a time."""
    model, x, target = real_model(setup)
    segments = squares(x, 4)

    def ours():
        return lime(
            model, x, target, segments=segments, n_samples=setup.points, fill=0.0, batch_size=setup.batch_size
        )

    def captum_with(each: int):
        return one_by_one("Lime", model, x, target, segments, setup.points, each)

    def package():
        from lime import lime_image

        explainer = lime_image.LimeImageExplainer(random_state=0)
        for i, image in enumerate(x.permute(0, 2, 3, 1).double().cpu().numpy()):
            explainer.explain_instance(
                image,
                predict,
                labels=(int(target[i]),),
                top_labels=None,
                hide_color=0.0,
                num_samples=setup.points,
                batch_size=setup.batch_size,
                segmentation_fn=lambda _: segments.cpu().numpy(),
            )

    @torch.no_grad()
    def predict(images):
        pixels = torch.from_numpy(np.stack(images)).to(setup.device, torch.float32).permute(0, 3, 1, 2)
        return model(pixels).softmax(1).cpu().numpy()

    peers = {
        f"captum Lime, {setup.batch_size} samples a pass": captum_with(setup.batch_size),
        "lime": package,
        LIME_DEFAULT: captum_with(1),
    }
    if setup.batch_size == 1:
        del peers["captum Lime, 1 samples a pass"]
    return _contest(ours, forward_passes(model, x, setup), peers, setup)


def contest_shapley(setup: Setup) -> Contest:
    model, x, target = real_model(setup)
    setup = setup._replace(points=max(setup.points, 34))  # 16 squares: alone, left out, all, none
    segments = squares(x, 4)

    def ours():
        return shapley(
            model, x, target, segments=segments, n_samples=setup.points, fill=0.0, batch_size=setup.batch_size
        )

    peer = one_by_one("KernelShap", model, x, target, segments, setup.points, setup.batch_size)
    return _contest(ours, forward_passes(model, x, setup), {"captum KernelShap": peer}, setup)


def one_by_one(
    name: str, model: nn.Module, x: Tensor, target: Tensor, segments: Tensor, samples: int, each: int
) -> Call:
    """Captum's Lime, or its KernelShap, on one image after another, ``each`` samples to a pass."""

    def call():
        import captum.attr

        explainer = getattr(captum.attr, name)(Probability(model))
        return [
            explainer.attribute(
                x[i : i + 1],
                target=target[i : i + 1],
                feature_mask=segments[None, None],
                n_samples=samples,
                perturbations_per_eval=each,
            )
            for i in range(len(x))
        ]

    return call


def contest_rise(setup: Setup) -> Contest:
    """The peer is the authors' way, in our words: masks from numpy, one by one, and all of them kept."""
    model, x, target = real_model(setup)

    def ours():
        return rise(model, x, target, n_masks=setup.points, batch_size=setup.batch_size)

    @torch.no_grad()
    def peer():
        masks = authors_masks(setup.points, x.shape[-2:]).to(setup.device)  # (n, 1, H, W)
        maps = []
        for i in range(len(x)):
            seen = masks * x[i]  # (n, C, H, W), as many as there are masks
            p = torch.cat([model(part).softmax(1) for part in seen.split(setup.batch_size)])
            maps.append((p.T @ masks.flatten(1))[target[i]] / len(masks) / 0.5)
        return torch.stack(maps).view(len(x), *x.shape[-2:])

    return _contest(ours, forward_passes(model, x, setup), {"the authors' way": peer}, setup)


def authors_masks(n: int, size: tuple[int, int], grid: int = 7, keep: float = 0.5) -> Tensor:
    """Masks as the RISE authors make them, on the processor with scikit-image: (n, 1, H, W)."""
    from skimage.transform import resize

    draw = np.random.default_rng(0)
    cell = [math.ceil(length / grid) for length in size]
    masks = torch.empty(n, 1, *size)
    for mask in masks:
        bits = (draw.random((grid, grid)) < keep).astype(np.float32)
        large = resize(bits, [(grid + 1) * c for c in cell], order=1, mode="reflect", anti_aliasing=False)
        top, left = (int(draw.integers(c)) for c in cell)
        mask[0] = torch.from_numpy(large[top : top + size[0], left : left + size[1]])
    return masks


METHODS: dict[str, Callable[[Setup], Contest]] = {
    "smooth_grad": contest_smooth_grad,
    "integrated_gradients": contest_integrated_gradients,
    "guided_backprop": contest_guided_backprop,
    "grad_cam": contest_grad_cam,
    "score_cam": contest_score_cam,
    "occlusion": contest_occlusion,
    "lime": contest_lime,
    "shapley": contest_shapley,
    "rise": contest_rise,
}


# ---------------------------------------------------------------------------------- what they are built from


def _contest(ours: Call, bare: Call, peers: dict[str, Call], setup: Setup) -> Contest:
    return Contest(ours, bare, peers, f"{setup.network}, {setup.size}²", setup.images, setup.points)


def real_model(setup: Setup) -> tuple[nn.Module, Tensor, Tensor]:
    """The network (unless told otherwise the course's ImageNet classifier), images and targets."""
    torch.manual_seed(0)
    model = load_model(setup.network, device=setup.device)
    x = torch.rand(setup.images, 3, setup.size, setup.size, device=setup.device)
    return model, x, torch.arange(setup.images, device=setup.device) % len(model.labels)


def squares(x: Tensor, side: int) -> Tensor:
    """``side`` × ``side`` squares as superpixels, (H, W)."""
    rows, columns = (torch.arange(n, device=x.device) * side // n for n in x.shape[-2:])
    return rows[:, None] * side + columns


def gradient_passes(model: nn.Module, x: Tensor, target: Tensor, setup: Setup) -> Call:
    """The forward and backward passes alone: ``images × points`` inputs, ``batch_size`` at a time."""
    sizes = _sizes(setup)
    pool = torch.rand(max(sizes), *x.shape[1:], device=x.device)
    labels = target[torch.arange(max(sizes), device=x.device) % len(target), None]

    def run() -> None:
        flags = [p.requires_grad for p in model.parameters()]
        model.requires_grad_(False)
        for size in sizes:
            leaf = pool[:size].detach().requires_grad_()
            torch.autograd.grad(model(leaf).gather(1, labels[:size]).sum(), leaf)
        for p, flag in zip(model.parameters(), flags, strict=True):
            p.requires_grad_(flag)

    return run


def forward_passes(model: nn.Module, x: Tensor, setup: Setup) -> Call:
    """The forward passes alone."""
    sizes = _sizes(setup)
    pool = torch.rand(max(sizes), *x.shape[1:], device=x.device)

    @torch.no_grad()
    def run() -> None:
        for size in sizes:
            model(pool[:size])

    return run


def _sizes(setup: Setup) -> list[int]:
    total = setup.images * setup.points
    return [min(setup.batch_size, total - k) for k in range(0, total, setup.batch_size)]
