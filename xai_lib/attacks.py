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
from xai_lib._graphs import aim_of, shares, with_graph

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


# -------------------------------------------------------------------------------------------- smooth networks


class Softening(TorchFunctionMode):
    """While it is active, every ReLU and ReLU6 is a softplus: as module, function or method."""

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


_IN_PLACE = {torch.relu_, Tensor.relu_}
_SMOOTH = {f: _softplus for f in (F.relu, torch.relu, Tensor.relu, *_IN_PLACE)} | {F.relu6: _softplus6}


def softened(model: nn.Module, beta: float) -> nn.Module:
    r"""A copy of the model with a softplus in the place of every ReLU and ReLU6.

    .. math:: \operatorname{softplus}_\beta(z) = \tfrac1\beta \log(1 + e^{\beta z})

    which is the mean of :math:`\operatorname{relu}(z - \epsilon)` over noise :math:`\epsilon` with the
    logistic density :math:`\beta / (e^{\beta \epsilon / 2} + e^{-\beta \epsilon / 2})^2`. A ReLU6 is the
    difference of two ReLUs, and becomes that of two softpluses. ReLUs are replaced as they run, as modules,
    functions or methods, so that layers keep their names.

    Args:
        model: classifier; it is copied.
        beta: sharpness: the larger, the nearer to the ReLU; its curvature is at most :math:`\beta / 4`.

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
    step_size: float = 2e-3,
    keep: float = 10.0,
    share: float = 0.05,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Tensor:
    r"""Pictures that look the same and are answered the same, with another heatmap.

    Adam descends, over the pixels,

    .. math:: \|h(x') - h_\text{towards}\|^2 + \gamma \|g(x') - g(x)\|^2

    on a softened copy of the network, whose sharpness grows from step to step; pixels stay within ``radius``
    of the original and in [0, 1]. Every tenth step is judged on the network itself: what is returned is, for
    each image, the best of these steps at which the network still gave its original answer.

    Args:
        explain: whose map to move: see ``with_graph``. The map is the sum of magnitudes over channels,
            divided by its mean.
        model: classifier in evaluation mode.
        x: images :math:`(N, C, H, W)` in [0, 1].
        target: class whose explanation is attacked, None for the model's own.
        towards: the heatmaps to arrive at :math:`(N, H, W)`, none negative; or ``"top_k"``: away from the
            ``share`` of pixels that are hottest now; or ``"centre_of_mass"``: away from where that is now.
        steps: steps of the descent; each costs two forward and two backward passes.
        radius: largest change of a pixel.
        step_size: Adam's, in units of pixels.
        keep: :math:`\gamma`, how much the logits shall stay.
        share: of the pixels, for ``"top_k"``.
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
    keep = _checks.check_number("keep", keep, least=0)
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
    best = _Best(x, lambda image: aim(shares(graphed(frozen, image.requires_grad_(), target))).detach())
    start = radius / 10 * (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device) - 1)
    image = (x + start).clamp(0, 1).requires_grad_()
    descent = torch.optim.Adam([image], lr=step_size)
    with _model.progress_bar(steps, "attack", progress) as bar:
        for step in range(steps):
            smooth = _smoothly_run(frozen, _beta(step / steps))
            loss = aim(shares(graphed(smooth, image, target)))
            moved = (smooth(image) - logits).square().mean(1)
            (image.grad,) = torch.autograd.grad((loss + keep * moved).sum(), image)
            descent.step()
            with torch.no_grad():
                image.copy_(torch.minimum(torch.maximum(image, x - radius), x + radius).clamp(0, 1))
            if step % 10 == 9 or step == steps - 1:
                with torch.no_grad():
                    kept = frozen(image.clone()).argmax(1) == own
                best.offer(image.detach().clone(), kept)
            bar.update(1)
    return best.image


def _beta(progress: float) -> float:
    low, high = BETAS
    return low * math.exp(progress * math.log(high / low))


class _Best:
    """For each image the best picture so far, beginning with the original."""

    def __init__(self, x: Tensor, judge: Callable[[Tensor], Tensor]) -> None:
        self.image, self.judge = x.detach().clone(), judge
        self.loss = judge(x.detach().clone())

    def offer(self, image: Tensor, allowed: Tensor) -> None:
        loss = self.judge(image.clone())
        better = allowed & (loss < self.loss)
        self.image[better], self.loss[better] = image[better], loss[better]


def _check_towards(towards: Any, x: Tensor) -> None:
    _checks.check_maps("towards", towards)
    if towards.shape != (len(x), *x.shape[-2:]):
        raise ValueError(
            f"towards must be heatmaps {(len(x), *x.shape[-2:])}, one for each image, "
            f"got {tuple(towards.shape)}"
        )
    if (towards < 0).any() or (towards.flatten(1).amax(1) == 0).any():
        raise ValueError("towards must not be negative, nor zero everywhere")
