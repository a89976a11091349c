"""Attacks on explanations: a picture that looks the same, answered the same, with another heatmap.

What is attacked is the *curvature* of the network: a small step can turn the gradient while the logits stay.
A network of ReLUs has none to follow, so a copy with smooth rectifiers is attacked (``softened``), and the
network itself judged.
"""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai_lib import _checks, _model
from xai_lib._checks import Target
from xai_lib._fooling import fairwash, fool_lime, fool_model, project_on_data
from xai_lib._graphs import Explain, aim_of, shares, with_graph

__all__ = [
    "attack_input",
    "fairwash",
    "fool_lime",
    "fool_model",
    "project_on_data",
    "softened",
    "with_graph",
]

AIMS = ("top_k", "centre_of_mass")
BETAS = (10.0, 100.0)  # of the softened copy, from the first step to the last
WINDOW, C1, C2 = 7, 0.01**2, 0.03**2  # of the structural similarity of pictures in [0, 1]


# -------------------------------------------------------------------------------------------- smooth networks


class Softening(TorchFunctionMode):
    """While it is active, every rectifier is a softplus: as module, function or method."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is F.hardtanh:  # what nn.ReLU6 calls
            return self._hardtanh(*args, **given)
        smooth = _SMOOTH.get(func)
        if smooth is None:
            return func(*args, **given)
        x = args[0] if args else given["input"]
        y = smooth(x.clone() if func in _IN_PLACE else x, self.beta)
        return x.copy_(y) if func in _IN_PLACE else y

    def _hardtanh(
        self, input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
    ) -> Tensor:
        if min_val == 0:
            return _softplus(input, self.beta) - _softplus(input - max_val, self.beta)
        return F.hardtanh(input, min_val, max_val)


def _softplus(x: Tensor, beta: float) -> Tensor:
    return F.softplus(x, beta)


def _softplus6(x: Tensor, beta: float) -> Tensor:
    """relu6(x) = relu(x) − relu(x − 6), each half made smooth."""
    return F.softplus(x, beta) - F.softplus(x - 6, beta)


def _softsigmoid6(x: Tensor, beta: float) -> Tensor:
    """The hard sigmoid is relu6(x + 3) / 6."""
    return _softplus6(x + 3, beta) / 6


_IN_PLACE = {torch.relu_, Tensor.relu_}
_SMOOTH = {f: _softplus for f in (F.relu, torch.relu, Tensor.relu, *_IN_PLACE)} | {
    F.relu6: _softplus6,
    F.hardsigmoid: _softsigmoid6,
    F.hardswish: lambda x, beta: x * _softsigmoid6(x, beta),
}


def softened(model: nn.Module, beta: float) -> nn.Module:
    r"""A copy of the model with a softplus in the place of every ReLU, ReLU6, hard sigmoid and hard swish.

    .. math:: \operatorname{softplus}_\beta(z) = \tfrac1\beta \log(1 + e^{\beta z})

    which is the mean of :math:`\operatorname{relu}(z - \epsilon)` over noise :math:`\epsilon` with the
    logistic density :math:`\beta / (e^{\beta \epsilon / 2} + e^{-\beta \epsilon / 2})^2`. A ReLU6 is the
    difference of two ReLUs, and the mean of a difference is the difference of the means:

    .. math:: \min(\max(z, 0), 6) = \operatorname{relu}(z) - \operatorname{relu}(z - 6)
              \;\to\; \operatorname{softplus}_\beta(z) - \operatorname{softplus}_\beta(z - 6)

    Its slope lies between 0 and 1, too. With the logistic function :math:`\sigma` its curvature is
    :math:`\beta \sigma'(\beta z) - \beta \sigma'(\beta (z - 6))`, a difference of two numbers between 0 and
    :math:`\beta / 4`: no larger than that of one softplus. The hard sigmoid of MobileNetV3 is a ReLU6 moved
    and scaled, its hard swish the same times the input; they follow. Rectifiers are replaced as they run, as
    modules, functions or methods, so that layers keep their names. Max pooling stays as it is.

    Args:
        model: classifier; it is copied.
        beta: sharpness: the larger, the nearer to the ReLU; a rectifier's curvature is at most
            :math:`\beta / 4`.

    Returns:
        A copy, in the model's mode.

    Raises:
        ValueError: if ``beta`` is not above zero.
        TypeError: if ``model`` is no module.

    Source: Dombrowski et al. 2019, arXiv:1906.07983.
    """
    _checks.check_module(model)
    beta = _checks.check_number("beta", beta, above=0)
    return _smoothly_run(copy.deepcopy(_model.unwrapped(model)), beta)


def _smoothly_run(model: nn.Module, beta: float) -> nn.Module:
    """The model, run with smooth rectifiers: layers and weights are its own, not copies."""
    smooth = copy.copy(model)
    smooth.forward = partial(_softly, model.forward, beta)
    return smooth


def _softly(forward: Callable, beta: float, *args: Any, **options: Any) -> Any:
    with Softening(beta):
        return forward(*args, **options)


# ----------------------------------------------------------------------------------------- attack the picture


def attack_input(
    explain: Callable,
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    towards: Tensor | str,
    steps: int = 300,
    radius: float = 0.05,
    alike: float = 0.95,
    step_size: float = 4e-3,
    keep: float = 0.1,
    share: float = 0.05,
    levels: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Tensor:
    r"""Pictures that look the same and are answered the same, with another heatmap.

    Adam descends, over the pixels,

    .. math:: \|h(x') - h_\text{towards}\|^2 + \gamma \|g(x') - g(x)\|^2

    (a mean over the map, a sum over all logits) on a softened copy of the network, whose sharpness grows from
    step to step. A change is least seen where the picture is busy: of the structural similarity a pixel
    changed by :math:`\delta`, in surroundings of variance :math:`\sigma^2`, costs about
    :math:`\delta^2 / (2 \sigma^2 + C_2)`. So each pixel has room for

    .. math:: |x'_i - x_i| \le \min\bigl(r, \sqrt{2 (1 - s) (2 \sigma_i^2 + C_2)}\bigr)

    with ``radius`` r and similarity s, and in [0, 1]. Every tenth step is judged on the network itself: what
    is returned is, for each image, the best of these steps at which the network still gave its original
    answer and the similarity was at least s. For an image whose answer was lost, :math:`\gamma` doubles.
    With ``alike=0`` every pixel has room for the radius (up to 0.042), as in the published attack.

    Args:
        explain: whose map to move: see ``with_graph``. The map is the sum of magnitudes over channels,
            divided by its mean.
        model: classifier in evaluation mode.
        x: images :math:`(N, C, H, W)` in [0, 1].
        target: class whose explanation is attacked, None for the model's own.
        towards: the heatmaps to arrive at :math:`(N, H, W)`, none negative; or ``"top_k"``: away from the
            ``share`` of pixels that are hottest now; or ``"centre_of_mass"``: away from where that is now.
        steps: steps of the descent; each costs a forward and a backward pass, and one backward through both.
        radius: largest change of a pixel.
        alike: least structural similarity of a picture and the attacked one, from 0 to 1; at 1 nothing moves.
        step_size: Adam's, for a pixel with all of the ``radius`` for room; else less in proportion.
        keep: :math:`\gamma`, how much the logits shall stay.
        share: of the pixels, for ``"top_k"``.
        levels: round the attacked pixels to multiples of one over this, 255 for a file of 8 bits; the
            attack knows of it. None for no rounding.
        generator: draws the first step, without which the descent may start on an edge of the network.
        progress: show a bar, counted in steps.

    Returns:
        The attacked images, like ``x``. An image for which no step kept the answer comes back unchanged.

    Raises:
        ValueError: if an argument is out of range, ``towards`` has another shape, is negative or zero
            everywhere, or the map of ``explain`` has no graph.

    Source: Dombrowski et al. 2019, arXiv:1906.07983; top-k and centre of mass Ghorbani et al. 2019,
        arXiv:1710.10547.
    """
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    steps, radius = _checks.check_count("steps", steps), _checks.check_number("radius", radius, above=0)
    step_size = _checks.check_number("step_size", step_size, above=0)
    alike = _checks.check_number("alike", alike, least=0, most=1)
    keep = _checks.check_number("keep", keep, least=0)
    levels = None if levels is None else _checks.check_count("levels", levels)
    share = _checks.check_number("share", share, above=0, most=1)
    _checks.check_generator(generator, x.device)
    if isinstance(towards, str):
        _checks.check_choice("towards", towards, AIMS)
    else:
        _check_towards(towards, x)
    graphed, frozen = with_graph(explain), copy.deepcopy(_model.unwrapped(model)).requires_grad_(False)
    with torch.no_grad():
        logits = _model.logits_of(frozen, x.clone())
    own = logits.argmax(1)
    if classes is not None:
        _checks.check_range(classes.highest, logits.shape[1])
    target = own if classes is None else classes.index[:, 0]
    aim = aim_of(towards, shares(graphed(frozen, x.clone().requires_grad_(), target)).detach(), share)

    def parts(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found, given = _both(graphed, network, image, target)
        return aim(shares(found)), (given - logits).square().sum(1), given.argmax(1)

    share_of_room = _room(x, alike).clamp(max=radius) / radius
    change = radius / 10 * (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device) - 1)
    change.requires_grad_()  # as it would be, had each pixel room for the radius
    descent = torch.optim.Adam([change], lr=step_size)
    best, weight = _Best(x, parts(frozen, x.clone().requires_grad_())[0]), x.new_full((len(x),), keep)
    with _model.progress_bar(steps, "attack", progress) as bar:
        for step in range(steps):
            image = _rounded((x + share_of_room * change).clamp(0, 1), levels)
            short, moved, _ = parts(_smoothly_run(frozen, _beta(step / steps)), image)
            (change.grad,) = torch.autograd.grad((short + weight * moved).sum(), change)
            descent.step()
            with torch.no_grad():
                change.clamp_(-radius, radius)
            if step % 10 == 9 or step == steps - 1:
                image = _rounded((x + share_of_room * change).clamp(0, 1), levels).detach()
                short, moved, answer = parts(frozen, image.clone().requires_grad_())
                best.offer(image, short + keep * moved, (answer == own) & (_similarity(image, x) >= alike))
                weight = weight.where(answer == own, 2 * weight)
            bar.update(1)
    return best.image


def _both(graphed: Explain, network: nn.Module, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The map and the logits, from one forward pass where the explanation makes one of the image itself."""
    heard, aside = [], copy.copy(network)

    def forward(x: Tensor) -> Any:
        heard.append((x, network.forward(x)))
        return heard[-1][1]

    aside.forward = forward
    maps = graphed(aside, image, target)
    for seen, logits in heard:
        if logits.requires_grad and seen.shape == image.shape and torch.equal(seen, image):
            return maps, logits
    return maps, network(image.clone())


def _rounded(image: Tensor, levels: int | None) -> Tensor:
    """To the nearest level; the gradient passes as if nothing had been rounded."""
    return image if levels is None else image + ((image * levels).round() / levels - image).detach()


def _means(x: Tensor) -> Tensor:
    """Over the whole windows (N, C, H − 6, W − 6) of the structural similarity."""
    return F.avg_pool2d(x, min(WINDOW, *x.shape[-2:]), 1)


def _room(x: Tensor, alike: float) -> Tensor:
    """How far each pixel may change, if the picture shall stay alike."""
    side = min(WINDOW, *x.shape[-2:])
    around = F.pad(x, [side // 2, (side - 1) // 2] * 2, mode="replicate")
    variance = (_means(around.square()) - _means(around).square()).clamp(min=0)
    return (2 * (1 - alike) * (2 * variance + C2)).sqrt()


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of pictures (N,), as scikit-image computes it (Wang et al. 2004)."""
    size = min(WINDOW, *a.shape[-2:]) ** 2
    unbiased = size / max(1, size - 1)
    ma, mb = _means(a), _means(b)
    va, vb, vab = (
        unbiased * (_means(u * v) - m) for u, v, m in ((a, a, ma * ma), (b, b, mb * mb), (a, b, ma * mb))
    )
    structure = (2 * vab + C2) / (va + vb + C2)
    return ((2 * ma * mb + C1) / (ma * ma + mb * mb + C1) * structure).mean((1, 2, 3))


def _beta(progress: float) -> float:
    low, high = BETAS
    return low * math.exp(progress * math.log(high / low))


class _Best:
    """For each image the best picture so far, beginning with the original."""

    def __init__(self, x: Tensor, loss: Tensor) -> None:
        self.image, self.loss = x.detach().clone(), loss.detach()

    def offer(self, image: Tensor, loss: Tensor, allowed: Tensor) -> None:
        better = allowed & (loss.detach() < self.loss)
        self.image[better], self.loss[better] = image[better], loss.detach()[better]


def _check_towards(towards: Any, x: Tensor) -> None:
    _checks.check_maps("towards", towards)
    if towards.shape != (len(x), *x.shape[-2:]):
        raise ValueError(
            f"towards must be heatmaps {(len(x), *x.shape[-2:])}, one for each image, "
            f"got {tuple(towards.shape)}"
        )
    if (towards < 0).any() or (towards.flatten(1).amax(1) == 0).any():
        raise ValueError("towards must not be negative, nor zero everywhere")
