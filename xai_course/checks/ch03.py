"""Checks of chapter 3, the CAM family: tiny networks and maps on which every mistake can be computed."""

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from .inputs import Watched, drawn, normal, uniform
from .judging import Mistake, compare, expect, fail, numbers, tensor, then
from .reader import run
from .registry import exercise
from .side_effects import PeakMemory, detached, left_alone
from .yes_or_no import judge_yes_or_no


def _up(grid: Tensor, size: tuple[int, int], mode: str = "bilinear", **how: bool) -> Tensor:
    """(N, h, w) → (N, H, W)"""
    how = how or ({} if mode == "nearest" else {"align_corners": False})
    return F.interpolate(grid[:, None], size, mode=mode, **how)[:, 0]


def _resized_wrongly(grid: Tensor, size: tuple[int, int]) -> list[Mistake]:
    """The right map on the layer's grid, enlarged in a way that was not asked for."""
    where = '`F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]`.'
    return [
        Mistake(
            _up(grid, size, align_corners=True),
            "The map is stretched: `align_corners=True` puts the corner cells' middles on the corner pixels.",
            "A cell stands for a patch of pixels, and its value lies at the patch's middle: " + where,
        ),
        Mistake(
            _up(grid, size, "nearest"),
            "Every cell is enlarged to a block of equal pixels: nothing is interpolated.",
            "`nearest` is what `F.interpolate` does unless told otherwise. " + where,
        ),
        Mistake(
            _up(grid, size, "bicubic"),
            "The map is enlarged by cubic interpolation, which swings below zero beside a peak.",
            where,
        ),
    ]


# ---- 3.1 ---------------------------------------------------------------------------------------------------
@exercise("3.1", "CAM from the head's weights")
def cam_from_weights(answer) -> str:
    A, weight, bias = uniform(3, 5, 4, 6, seed=1), normal(4, 5, seed=2), normal(4, seed=3)
    target, size, rows = torch.tensor([1, 0, 3]), (12, 12), torch.arange(3)
    logits = F.linear(A.mean(dim=(2, 3)), weight, bias)

    def grid(of: Tensor) -> Tensor:  # one row of weights an image
        return (of[:, :, None, None] * A).sum(dim=1)

    mine = weight[target]
    right = grid(mine)
    with left_alone(A=A, weight=weight, target=target):
        value = tensor(answer(A, weight, target, size), (3, *size))
    low, high = _up(right, size).amin(dim=(1, 2), keepdim=True), _up(right, size).amax((1, 2), keepdim=True)
    gap = (value.mean(dim=(1, 2)) + bias[target] - logits[rows, target]).abs().max()
    compare(
        value,
        _up(right, size),
        *_resized_wrongly(right, size),
        Mistake(
            _up(grid(weight[logits.argmax(dim=1)]), size),
            "These are the weights of the class with the largest logit, not of the class asked for.",
            "Row `target[n]` of `weight` belongs to image n.",
        ),
        Mistake(
            _up(grid(weight[target[:1]].expand(3, -1)), size),
            "Every image is explained for the first image's target.",
            "`weight[target]` has a row for each image: (N, K).",
        ),
        Mistake(
            _up(grid(mine) / 5, size),
            "The weighted maps are averaged over the channels, not added up: K times too small.",
            "The formula has a sum over k. The only mean is the one over *places*, and that is pooling.",
        ),
        Mistake(
            _up((mine[:, :, None, None] * A).clamp_min(0).sum(dim=1), size),
            "The ReLU comes before the sum: what speaks against the class is gone before it can be set off.",
            "Add up the channels with their signs. CAM needs no ReLU at all.",
        ),
        *(
            Mistake(
                maps,
                "What speaks against the class was cut to zero: CAM keeps its signs.",
                "Leave out the ReLU: with it the mean of the map plus the bias is no longer the logit.",
            )
            for maps in (_up(right.clamp_min(0), size), _up(right, size).clamp_min(0))
        ),
        Mistake(
            _up(grid(mine.abs()), size),
            "The absolute values of the weights were used: evidence against the class counts for it.",
            "Use the weights with their signs.",
        ),
        Mistake(
            _up(right + bias[target, None, None], size),
            "The bias is in every cell.",
            "The bias belongs to no place: the mean of the map is the logit *minus* the bias.",
        ),
        Mistake(
            ((mine * A.mean(dim=(2, 3))).sum(dim=1))[:, None, None].expand(3, *size),
            "The feature maps were pooled before they were weighted: every place has the same value.",
            "Pooling throws the places away. Weight the maps themselves, (N, K, h, w).",
        ),
        Mistake(
            _up(A.mean(dim=1), size),
            "This is the mean of the feature maps: the head's weights are not used.",
            "Channel k counts w_k times.",
        ),
        Mistake(
            (_up(right, size) - low) / (high - low),
            "The smallest value of each map was subtracted: zero no longer means that a place adds nothing.",
            "Return the map in units of the logit.",
        ),
        Mistake(
            _up(right, size) / high,
            "Each map is divided by its own maximum: two classes can no longer be compared.",
            "Return the map in units of the logit.",
        ),
        look=f"The mean of a map plus the class's bias must be the logit; yours misses it by {gap:.3g}. "
        "Go through the formula one symbol at a time.",
    )
    return "the mean of each map plus the bias is the logit: you show what every place adds to it."


# ---- 3.2 ---------------------------------------------------------------------------------------------------
def _small_network() -> nn.Sequential:
    """Six classes, no ReLU, float64; its second layer's output is half the image's size, with both signs.

    Batch normalisation, behind that layer, is there for those who change the mode.
    """
    with drawn(5):
        layers = (
            nn.Conv2d(3, 4, 3, stride=2, padding=1),
            nn.Tanh(),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 5, 3, padding=1),
            nn.Tanh(),
        )
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(5 * 6 * 8, 6)).double().eval()


def _gradient_at(head: Callable[[Tensor], Tensor], A: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """The gradient of score(logits), a number, with respect to the feature maps."""
    with torch.enable_grad():
        A = A.detach().clone().requires_grad_(True)
        return torch.autograd.grad(score(head(A)), A)[0]


def _score_mistakes(
    head: Callable[[Tensor], Tensor], A: Tensor, target: Tensor, made: Callable[[Tensor], Tensor]
) -> list[Mistake]:
    """What ``made`` gives from the gradient of something else than each image's own logit."""
    rows = torch.arange(len(A))

    def of(score: Callable[[Tensor], Tensor]) -> Tensor:
        return made(_gradient_at(head, A, score))

    return [
        Mistake(
            of(lambda y: y.softmax(dim=1)[rows, target].sum()),
            "This starts from the gradient of the softmax probability, not of the logit.",
            "Leave the softmax out: it lets the other classes in, and vanishes where the network is sure.",
        ),
        Mistake(
            of(lambda y: y.log_softmax(dim=1)[rows, target].sum()),
            "This starts from the gradient of the log-probability, not of the logit.",
            "Leave log_softmax and cross_entropy out: differentiate the raw score.",
        ),
        Mistake(
            of(lambda y: -y.log_softmax(dim=1)[rows, target].sum()),
            "This starts from the gradient of the loss, not of the logit.",
            "Leave the loss out: differentiate the raw score.",
        ),
        Mistake(
            of(lambda y: y[:, target[0]].sum()),
            "Every image is explained for the first image's target.",
            "Image n has its own target: `logits[torch.arange(len(x)), target]`.",
        ),
        Mistake(
            of(lambda y: y[:, target].sum()),
            "Every image was differentiated for every target in the batch, not just its own.",
            "`logits[:, target]` has shape (N, N). You want N numbers: index rows as well as columns.",
        ),
        Mistake(
            of(lambda y: y.max(dim=1).values.sum()),
            "The largest logit was explained: the target that was asked for is not used.",
            "Take the logit of `target[n]`, even where another class wins.",
        ),
        Mistake(
            of(lambda y: y.sum()),
            "All the logits were differentiated together: the target is not used.",
            "From the logits (N, classes), take one number for each image: row n, column `target[n]`.",
        ),
        Mistake(
            of(lambda y: y[rows, target].mean()),
            "The gradient is divided by the number of images: a mean over the batch was differentiated.",
            "Sum the chosen logits; with the mean, a map depends on how many images came along.",
        ),
    ]


@exercise("3.2", "Grad-CAM from scratch")
def grad_cam(answer) -> str:
    model, x, target = _small_network(), uniform(3, 3, 12, 16, seed=6), torch.tensor([4, 1, 0])
    layer, head, size = model[1], model[2:], (12, 16)
    with torch.no_grad():
        A = model[:2](x)  # (3, 4, 6, 8)
    G = _gradient_at(head, A, lambda y: y[torch.arange(3), target].sum())

    def alpha(gradient: Tensor) -> Tensor:
        return gradient.mean(dim=(2, 3), keepdim=True)

    def grid(weights: Tensor) -> Tensor:
        return (weights * A).sum(dim=1)

    signed = grid(alpha(G))
    right = _up(signed.relu(), size)
    with left_alone(model=model, x=x, target=target):
        first = answer(model, layer, x, target)
    value = tensor(first, (3, *size))
    most = right.amax(dim=(1, 2), keepdim=True)
    compare(
        value,
        right,
        *_resized_wrongly(signed.relu(), size),
        *_score_mistakes(head, A, target, lambda gradient: _up(grid(alpha(gradient)).relu(), size)),
        Mistake(
            _up(grid(G.mean(dim=1, keepdim=True)).relu(), size),
            "The gradient is averaged over the channels, not over the places.",
            "α has one number a channel: `gradient.mean(dim=(2, 3), keepdim=True)`, (N, K, 1, 1).",
        ),
        Mistake(
            _up(grid(alpha(G).mean(dim=0, keepdim=True)).relu(), size),
            "The gradient is averaged over the images too: they all share one α.",
            "Average over height and width alone, `dim=(2, 3)`.",
        ),
        Mistake(
            48 * right,
            "The gradient is added up over the places, not averaged: h·w times too large.",
            "The formula has 1/(h·w) before the sum.",
        ),
        Mistake(
            right / 4,
            "The weighted maps are averaged over the channels, not added up.",
            "The formula has a sum over k: `.sum(dim=1)`.",
        ),
        Mistake(
            _up(grid(G).relu(), size),
            "Every place is weighted by its own gradient: this is HiResCAM, exercise 3.4.",
            "Grad-CAM averages the gradient of each channel over the places first.",
        ),
        Mistake(
            _up(signed, size), "The ReLU is missing: negative values are left.", "Cut after the sum over k."
        ),
        Mistake(
            _up(signed, size).relu(),
            "The ReLU comes after the enlargement: the map bleeds into cells that were cut.",
            "First the ReLU on the layer's own grid, then `F.interpolate`.",
        ),
        Mistake(
            _up((alpha(G) * A).relu().sum(dim=1), size),
            "The ReLU comes before the sum over the channels: evidence against the class is never set off.",
            "Add up the channels with their signs; then one ReLU on (N, h, w).",
        ),
        Mistake(
            _up(grid(alpha(G).relu()).relu(), size),
            "The weights α went through a ReLU: channels that speak against the class are left out.",
            "α keeps its sign. The one ReLU acts on the sum.",
        ),
        Mistake(
            _up(grid(alpha(G.relu())).relu(), size),
            "The gradient went through a ReLU before it was averaged.",
            "Average the gradient with its signs. The one ReLU acts on the sum.",
        ),
        Mistake(
            _up(signed.abs(), size),
            "The absolute value was taken: evidence against the class lights up like evidence for it.",
            "A ReLU, not `abs`.",
        ),
        *(
            Mistake(
                (right - least) / (most - least),
                "Each map is scaled by its own maximum (and minimum): two classes can no longer be compared.",
                "Return the map in units of the logit. After a ReLU zero has a meaning: subtract nothing.",
            )
            for least in (torch.zeros_like(most), right.amin(dim=(1, 2), keepdim=True))
        ),
        look="α (N, K, 1, 1) is the gradient's mean over the places; then sum, ReLU, enlarge, in this order.",
    )
    detached(first)
    alone = tensor(answer(model, layer, x[1:2].clone(), target[1:2]), (1, *size))
    compare(alone, right[1:2], look="Alone, an image gets another map than in the batch: what mixes the two?")
    return "one map an image, of its own target's logit; no hook, no graph and no gradient is left behind."


# ---- 3.3 ---------------------------------------------------------------------------------------------------
def _maps_and_head() -> tuple[Tensor, Tensor]:
    """Feature maps (3, 5, 2, 5) and a head's matrix (4, 5): the CAM of class 0 has both signs in every image.

    Its negative places are the larger ones, and the maps are faint in one image and strong in another: behind
    a tanh one map then lies above the other in the one, and below it in the other.
    """
    A, weight = uniform(3, 5, 2, 5, seed=8), normal(4, 5, seed=9)
    weight[0] = weight[0].abs().clamp(0.5, 1.5) * torch.tensor([1.0, -4.0, 1.0, -4.0, 1.0]).double()
    least, most = torch.tensor([[0.1, 0.1, 0.5], [0.3, 0.7, 1.4]]).double()[:, :, None, None, None]
    A = least + A * (most - least)
    for image, positive, negative in ((0, 1, 4), (1, 3, 0), (2, 2, 1)):
        size = A[image].max()
        A[image, :, 0, positive] = torch.tensor([1.0, 0, 1, 0, 1]).double() * size
        A[image, :, 1, negative] = torch.tensor([0.0, 1, 0, 1, 0]).double() * size
    return A, weight


@exercise("3.3", "Grad-CAM is CAM, where CAM goes", functions=3)
def grad_cam_is_cam(alphas, largest_gap, recover_weights) -> str:
    (A, weight), bias = _maps_and_head(), normal(4, seed=10)
    cells, c = 10, 0

    def pooled(maps: Tensor) -> Tensor:
        return F.linear(maps.mean(dim=(2, 3)), weight, bias)

    def squashed(
        maps: Tensor,
    ) -> Tensor:  # a tanh between the pooling and the linear layer: not a CAM network
        return F.linear(torch.tanh(2 * maps.mean(dim=(2, 3))), weight, bias)

    right = (weight[c] / cells).expand(3, 5)
    with left_alone("`alphas`", A=A):
        first = alphas(pooled, A, c)
    value = tensor(first, (3, 5), "`alphas`")
    compare(
        value,
        right,
        Mistake(
            right * cells,
            "`alphas` adds the gradient up over the places: this is h·w times α.",
            "`gradient.mean(dim=(2, 3))`.",
        ),
        Mistake(
            right / 3,
            "`alphas` depends on how many images there are: a mean over the batch was differentiated.",
            "Sum the chosen logits.",
        ),
        Mistake(
            _gradient_at(pooled, A, lambda y: y.softmax(dim=1)[:, c].sum()).mean(dim=(2, 3)),
            "`alphas` differentiates the softmax probability, not the logit.",
            "Leave the softmax out: what comes back is then linear in the head's weights.",
        ),
        Mistake(
            (weight.sum(dim=0) / cells).expand(3, 5),
            "`alphas` differentiates all the logits together.",
            "Only the logit of class c: `head(A)[:, c].sum()`.",
        ),
        look="The gradient of `head(A)[:, c].sum()` with respect to A, averaged over the places: (N, K).",
    )
    detached(first, "What `alphas` returns")
    then(
        lambda: _judge_gap(largest_gap, pooled, squashed, A, weight, c),
        "`alphas` is right. Now `largest_gap`.",
    )
    then(
        lambda: _judge_recovered(recover_weights, pooled, A, weight), "Two are right. Now `recover_weights`."
    )
    return "on a GAP + linear network Grad-CAM is CAM / (h·w), and its α give the head away."


def _judge_gap(largest_gap, pooled: Callable, squashed: Callable, A: Tensor, weight: Tensor, c: int) -> None:
    cells = A[0, 0].numel()
    cam = (weight[c, :, None, None] * A).sum(dim=1)

    def grad(head: Callable) -> Tensor:
        G = _gradient_at(head, A, lambda y: y[:, c].sum())
        return (G.mean(dim=(2, 3), keepdim=True) * A).sum(dim=1)

    def told(head: Callable) -> float:
        with left_alone("`largest_gap`", A=A, weight=weight):
            return numbers(largest_gap(head, A, weight, c), 1, "`largest_gap`")[0]

    def differences(head: Callable) -> dict[str, Tensor]:
        G = grad(head)
        return {
            "right": G.relu() - cam.relu() / cells,
            "no cells": G.relu() - cam.relu(),
            "signed cam": G.relu() - cam / cells,
            "signed grad": G - cam.relu() / cells,
            "signed": G - cam / cells,
        }

    here, there = told(pooled), told(squashed)
    d_here, d_there = differences(pooled), differences(squashed)
    size = float(d_here["no cells"].abs().max())

    def gives(name: str) -> bool:
        gaps = (float(d[name].abs().max()) for d in (d_here, d_there))
        return all(abs(a - b) < 1e-6 * size for a, b in zip((here, there), gaps, strict=True))

    if gives("right"):
        return
    for name, message, look in (
        (
            "no cells",
            "`largest_gap` leaves out the factor: Grad-CAM is CAM *divided by h·w* there.",
            "Compare with CAM / (h·w); h and w are those of the feature maps.",
        ),
        (
            "signed cam",
            "`largest_gap` cuts Grad-CAM with a ReLU and leaves CAM its negative places.",
            "The same ReLU on both.",
        ),
        (
            "signed grad",
            "`largest_gap` leaves Grad-CAM its negative places: where is its ReLU?",
            "Grad-CAM ends in one.",
        ),
        (
            "signed",
            "`largest_gap` compares the two before the ReLU: on other networks that is another number.",
            "Grad-CAM, as it is shown, ends in a ReLU; the identity holds up to it.",
        ),
    ):
        if gives(name):
            fail(message, look)
    expect(
        abs(here) < 1e-6 * size,
        f"`largest_gap` gives {here:.4g} on a GAP + linear network; there the two are equal.",
        "ReLU(Σ α A) against ReLU(Σ w A) / (h·w), place by place.",
    )
    d = d_there["right"]
    signed = [d.max(), -d.min(), d.min()]
    expect(
        not any(abs(there - float(s)) < 1e-6 * size for s in signed),
        "`largest_gap` takes the largest difference with its sign: one map may lie far below the other.",
        "The absolute value first, then the maximum.",
    )
    expect(
        not any(
            abs(there - float(s)) < 1e-6 * size
            for s in (d.abs().mean(), d.square().mean().sqrt(), d.abs().sum())
        ),
        "`largest_gap` averages or adds up the differences: small gaps hide a large one.",
        "The largest absolute difference, over all the images and places.",
    )
    expect(
        abs(there) > 1e-6 * size,
        "`largest_gap` gives 0 on a network with a tanh behind the pooling: there Grad-CAM is not CAM.",
        "Take α from `head` and CAM from `weight`, one from each.",
    )
    fail(
        f"`largest_gap` gives {there:.4g} on a network with a tanh behind the pooling; the gap is "
        f"{float(d.abs().max()):.4g}.",
        "The largest of |ReLU(Σ α A) − ReLU(Σ w A) / (h·w)|, over all the images and places.",
    )


def _judge_recovered(recover_weights, pooled: Callable, A: Tensor, weight: Tensor) -> None:
    h, w = A.shape[2:]
    with left_alone("`recover_weights`", A=A):
        value = run(recover_weights.function, pooled, A)
    if isinstance(value, Tensor) and value.shape == weight.T.shape:
        fail("`recover_weights` returned the matrix transposed.", "One row a class: (classes, K).")
    compare(
        tensor(value, weight.shape, "`recover_weights`"),
        weight,
        Mistake(
            weight / (h * w),
            "`recover_weights` returns the α themselves: h·w times too small.",
            "Every place holds 1/(h·w) of the channel's mean. What is then the gradient at one place?",
        ),
        Mistake(
            weight * h / w,
            "`recover_weights` multiplies by h², not by h·w: the grid need not be square.",
            "`A.shape[2] * A.shape[3]`.",
        ),
        Mistake(
            weight * w / h,
            "`recover_weights` multiplies by w², not by h·w: the grid need not be square.",
            "`A.shape[2] * A.shape[3]`.",
        ),
        Mistake(
            weight * len(A),
            "`recover_weights` adds the images' α up: every image alone gives the weights already.",
            "Take one image's α, or their mean.",
        ),
        Mistake(
            weight.abs(),
            "`recover_weights` lost the signs.",
            "α has a sign before the map's ReLU.",
        ),
        look="Row c is made from `alphas(head, A, c)`; which factor makes it the weights of class c?",
    )


# ---- 3.4 ---------------------------------------------------------------------------------------------------
@exercise("3.4", "HiResCAM and completeness", functions=2)
def hires_cam(hires, completeness_gap, complete) -> str:
    A, weight = normal(3, 4, 2, 5, seed=12), normal(6, 40, seed=13)
    bias, target, rows = 3 + uniform(6, seed=14), torch.tensor([5, 0, 2]), torch.arange(3)

    def head(maps: Tensor) -> Tensor:
        return F.linear(maps.flatten(1), weight, bias)

    def made(gradient: Tensor) -> Tensor:
        return (gradient * A).sum(dim=1)

    G = _gradient_at(head, A, lambda y: y[rows, target].sum())
    right = made(G)
    averaged = made(G.mean(dim=(2, 3), keepdim=True))
    with left_alone("`hires`", A=A, target=target):
        first = hires(head, A, target)
    value = tensor(first, (3, 2, 5), "`hires`")
    total = (value.sum(dim=(1, 2)) + bias[target] - head(A)[rows, target]).abs().max()
    compare(
        value,
        right,
        *_score_mistakes(head, A, target, made),
        Mistake(
            averaged,
            "The gradient was averaged over the places: this is Grad-CAM, and no longer sums to the logit.",
            "Leave the mean out: each place is weighted by its own gradient.",
        ),
        Mistake(
            right.relu(),
            "The ReLU cut what speaks against the class: the rest cannot sum to the logit minus the bias.",
            "Here the map keeps its signs.",
        ),
        Mistake(
            (G * A).relu().sum(dim=1),
            "The ReLU comes before the sum over the channels.",
            "No ReLU here: the map keeps its signs.",
        ),
        Mistake(
            made(G.relu()),
            "The gradient went through a ReLU: without one at the end this is LayerCAM's sum.",
            "Use the gradient with its signs.",
        ),
        Mistake(
            G.sum(dim=1),
            "The gradients were added up, the feature maps are not used.",
            "gradient ⊙ A: a place counts as much as it says *and* as it is listened to.",
        ),
        Mistake(
            right / 4,
            "The channels were averaged, not added up.",
            "`.sum(dim=1)`: only a sum is complete.",
        ),
        Mistake(right / 10, "The map is divided by h·w.", "There is no mean in HiResCAM."),
        look=f"Each map must sum to the logit minus the bias; yours misses it by up to {total:.3g}.",
    )
    detached(first)
    then(lambda: _judge_completeness(completeness_gap, head, A, target, right, averaged),
          "`hires` is right: complete on flatten + linear. Now `completeness_gap`.")  # fmt: skip
    judge_yes_or_no(
        complete,
        _COMPLETE,
        lambda name, right: (
            f"`{name}` is {'complete' if right else 'not complete'}, and you say the opposite."
        ),
        "The third answer",
    )
    return "HiResCAM shares out the logit minus the bias to the last digit; Grad-CAM, here, does not."


def _judge_completeness(
    completeness_gap, head: Callable, A: Tensor, target: Tensor, hires: Tensor, averaged: Tensor
) -> None:
    rows = torch.arange(len(A))
    y, y0 = (head(maps)[rows, target].detach() for maps in (A, torch.zeros_like(A)))
    what = "`completeness_gap`"
    with left_alone(what, maps=averaged, A=A, target=target):
        nothing = tensor(completeness_gap(hires, head, A, target), (3,), what)
        value = tensor(completeness_gap(averaged, head, A, target), (3,), what)
    total, largest = averaged.sum(dim=(1, 2)), y.abs().max()
    right = (total - (y - y0)).abs()
    compare(
        value,
        right,
        Mistake(
            (total - y).abs(),
            "`completeness_gap` forgets the bias: what the head gives on maps of zeros belongs to no place.",
            "Subtract `head(torch.zeros_like(A))`, the same class, from the logit.",
        ),
        Mistake(
            (averaged.mean(dim=(1, 2)) - (y - y0)).abs(),
            "`completeness_gap` takes the mean of the map; it is the sum that should give the logit.",
            "`maps.sum(dim=(1, 2))`.",
        ),
        *(
            Mistake(
                sign * (total - (y - y0)),
                "`completeness_gap` has a sign: summing to too little would count as better than exact.",
                "The absolute value, image by image.",
            )
            for sign in (1, -1)
        ),
        Mistake(
            (total - (y - y0)).abs() / (y - y0).abs(),
            "`completeness_gap` is a share of the logit; the gap itself is wanted.",
            "Leave the division out.",
        ),
        *(
            Mistake(
                (total - (head(A) - head(torch.zeros_like(A)))[:, wrong].diagonal()).abs().detach(),
                "`completeness_gap` compares with another class's logit.",
                "Image n has the class `target[n]`.",
            )
            for wrong in (target[:1].expand(3), head(A).argmax(dim=1))
        ),
        look="|sum of the map − (logit on A − logit on zeros)|, one number an image.",
    )
    expect(
        nothing.abs().max() < 1e-9 * largest,
        f"`completeness_gap` gives {nothing.abs().max():.3g} for a map that is complete.",
        "|sum of the map − (logit on A − logit on zeros)|, one number an image.",
    )


_COMPLETE = {
    "hires, flatten + linear": (True, "y = Σ W ⊙ A + b: the gradient is W, and Σ W ⊙ A is y − b."),
    "grad, flatten + linear": (
        False,
        "The mean of W over the places times the sum of A is not the sum of W ⊙ A: see your own gap.",
    ),
    "grad, GAP + linear": (
        True,
        "There the gradient is the same at all places of a channel, so its mean loses nothing.",
    ),
    "hires, two layers with a ReLU, no biases": (
        True,
        "At a given image such a network is one matrix: some ReLUs are off, the rest pass; and f(0) = 0.",
    ),
    "hires, two layers with a ReLU, with biases": (
        False,
        "At zero other ReLUs are on than at A: the hidden biases reach the logit through another path.",
    ),
}


# ---- 3.5 ---------------------------------------------------------------------------------------------------
def _warm_map() -> Tensor:
    """A map on which every usual mistake gives another box, (16, 16); its maximum is 2."""
    heat = torch.zeros(16, 16, dtype=torch.float64)
    heat[2:6, 3:9] = 0.45  # most cells
    heat[3, 2] = 0.4  # exactly at the threshold, beside it
    heat[1, 9] = 0.45  # touches it by a corner only
    heat[2:6, 9], heat[2:4, 10] = 0.3, 0.3  # above 0.2, below 0.2 times the maximum; in the warmest fifth
    heat[2:4, 11] = 0.25  # above 0.2, not in the warmest fifth
    heat[7:9, 11:14] = 2.0  # the maximum, and the largest sum
    heat[9, :10], heat[4:9, 0] = 0.5, 0.5  # a thin corner line: the widest box, few cells
    heat[0, 12] = -1.0
    return heat


def _tied_map() -> Tensor:
    """Six components of five cells, each the first by another rule, (12, 12)."""
    heat = torch.zeros(12, 12, dtype=torch.float64)
    heat[0, 9], heat[1, 6:10] = 1.0, 1.0  # first in reading order
    heat[3, 3:6], heat[4, 5:7] = 3.0, 3.0  # the maximum, and the largest sum
    heat[4:7, 0], heat[6:8, 1] = 1.0, 1.0  # the leftmost: first in a walk along the columns
    heat[6, 4:9] = 1.0  # the smallest box
    heat[8, 9:12], heat[7:10, 10] = 1.0, 1.0  # the largest box
    heat[9, 3:6], heat[10, 5:7] = 1.0, 1.0  # last in reading order
    return heat


_TIE = (
    "`scipy.ndimage.label` numbers the components in reading order, and `argmax` takes the first of the "
    "largest counts."
)


def _box(warm: Tensor, weigh: Callable[[Tensor], Tensor] | None = None, corners: bool = False) -> list[int]:
    """x0, y0, x1, y1 (exclusive) of the component with the greatest weight; by default, with most cells."""
    regions, n = ndimage.label(warm.numpy(), structure=torch.ones(3, 3).numpy() if corners else None)
    if n == 0:
        return [0, 0, 0, 0]
    parts = [torch.from_numpy(regions == k) for k in range(1, n + 1)]
    best = max(parts, key=weigh or (lambda part: part.sum()))
    return _extent(best)


def _box_area(part: Tensor) -> int:
    x0, y0, x1, y1 = _extent(part)
    return (x1 - x0) * (y1 - y0)


def _extent(part: Tensor) -> list[int]:
    rows, columns = part.nonzero(as_tuple=True)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


@exercise("3.5", "From a heatmap to a box", functions=2)
def box_and_iou(box_of, my_iou) -> str:
    heat = _warm_map()

    def told(maps: Tensor, threshold: float) -> list[float]:
        with left_alone("`box_of`", heatmap=maps):
            return numbers(box_of(maps, threshold), 4, "`box_of`")

    value = told(heat, 0.2)
    warm = heat >= 0.2 * heat.max()
    x0, y0, x1, y1 = right = _box(warm)
    scaled = (heat - heat.min()) / (heat.max() - heat.min())
    for wrong, message, look in (
        (
            _extent(warm),
            "The box goes round everything warm, not round the largest component.",
            "`scipy.ndimage.label(warm)` numbers the connected regions.",
        ),
        (
            _box(warm, lambda part: heat[part].max()),
            "The box goes round the component with the maximum; the one with the most cells is asked for.",
            "Count the cells of each component: `np.bincount(regions.ravel())[1:]`.",
        ),
        (
            _box(warm, _box_area),
            "You took the component with the largest box; a thin line can have one. Count cells.",
            "`np.bincount(regions.ravel())[1:]` counts the cells of each component.",
        ),
        (
            _box(warm, corners=True),
            "Cells that touch by a corner were joined: cells are neighbours when they share a side.",
            "`scipy.ndimage.label(warm)` without a `structure` joins sides only.",
        ),
        (
            [x0, y0, x1 - 1, y1 - 1],
            "The last row and column are left out: x1 and y1 lie one *past* the last warm cell.",
            "`heatmap[y0:y1, x0:x1]` must hold the whole component: add 1 to the largest index.",
        ),
        (
            [x0, y0, x1 + 1, y1 + 1],
            "The box is one too large: x1 and y1 lie one past the last warm cell, and yours one further.",
            "A slice's `stop` is one past the end already.",
        ),
        ([y0, x0, y1, x1], "Rows and columns are exchanged.", "x counts columns, y rows: x0, y0, x1, y1."),
        ([x0, x1, y0, y1], "The order is x0, x1, y0, y1.", "First the upper left corner: x0, y0, x1, y1."),
        ([x0, y0, x1 - x0, y1 - y0], "You return a width and a height.", "Wanted are corners."),
        (
            _box(heat >= 0.2),
            "The threshold was taken as an absolute value, not as a share of the maximum.",
            "Warm is what reaches `threshold * heatmap.max()`.",
        ),
        (
            _box(scaled >= 0.2),
            "The threshold is counted from the map's minimum, not from zero.",
            "Warm is what reaches `threshold * heatmap.max()`; subtract nothing.",
        ),
        (
            _box(heat > 0.2 * heat.max()),
            "A cell that reaches the threshold exactly is left out.",
            "`>=`, not `>`.",
        ),
        (
            _box(heat >= torch.quantile(heat, 0.8)),
            "You took the warmest fifth of the cells; 20 % of the maximum is asked for.",
            "Compare values with `threshold * heatmap.max()`.",
        ),
    ):  # fmt: skip
        if value == wrong != right:
            fail(message, look)
    expect(
        value == right,
        f"`box_of` gives {[int(v) for v in value]} for the test map; the box is {right}.",
        "Warm cells; connected components; the one with most cells; its corners.",
    )
    high = told(heat, 0.5)
    if high == right:
        fail("`box_of` gives the same box at every threshold.", "Use the argument `threshold`.")
    expect(
        high == _box(heat >= 0.5 * heat.max()),
        f"At a threshold of 0.5 `box_of` gives {[int(v) for v in high]}, and not the box.",
        "Warm is what reaches `threshold * heatmap.max()`, whatever the threshold.",
    )
    _judge_tie(told)
    for dark, name in (
        (torch.zeros(4, 5).double(), "zeros"),
        (-uniform(4, 5, seed=15) - 0.1, "negative values"),
    ):
        expect(
            told(dark, 0.2) == [0, 0, 0, 0],
            f"A map of {name} points nowhere, and `box_of` draws a box.",
            "Without a positive value the box is empty, (0, 0, 0, 0): 0 reaches 20 % of 0.",
        )
    then(lambda: _judge_iou(my_iou), "`box_of` is right. Now `my_iou`.")
    return "the tightest box round the largest component, and how much of two boxes is shared."


def _judge_tie(told: Callable[[Tensor, float], list[float]]) -> None:
    heat = _tied_map()
    value, warm = told(heat, 0.2), heat > 0
    for wrong, message in (
        (
            _box(warm, lambda part: heat[part].sum()),
            "Where components have equally many cells you take the warmest.",
        ),
        (
            _box(warm, lambda part: -int(part.any(dim=0).nonzero()[0])),
            "Where components have equally many cells you take the leftmost: you go along the columns.",
        ),
        (
            _box(warm, lambda part: int(part.flatten().nonzero()[0])),
            "Where components have equally many cells you take the last in reading order.",
        ),
    ):
        if value == wrong:
            fail(f"{message} The first in reading order is asked for.", _TIE)
    right = _box(warm)
    expect(
        value == right,
        f"Of several components with equally many cells the first in reading order is asked for, {right}; "
        f"`box_of` gives {[int(v) for v in value]}.",
        _TIE,
    )


def _judge_iou(my_iou) -> None:
    pairs = torch.tensor([
        [[0, 0, 4, 3], [2, 1, 6, 6]],  # overlap
        [[1, 1, 9, 9], [3, 2, 5, 4]],  # one in the other
        [[0, 0, 3, 3], [0, 0, 3, 3]],  # the same
        [[0, 0, 2, 3], [5, 6, 9, 8]],  # apart in both directions
        [[0, 0, 2, 4], [2, 0, 5, 4]],  # side by side
    ])  # fmt: skip

    def area(box: Tensor, more: int = 0) -> float:
        return float((box[2] - box[0] + more) * (box[3] - box[1] + more))

    def shared(a: Tensor, b: Tensor, clamp: bool = True, more: int = 0) -> float:
        sides = torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2]) + more
        return float((sides.clamp_min(0) if clamp else sides).prod())

    def over(rule: Callable[[Tensor, Tensor], float]) -> list[float]:
        return [rule(a, b) for a, b in pairs]

    def usual(clamp: bool = True, more: int = 0) -> Callable[[Tensor, Tensor], float]:
        def rule(a: Tensor, b: Tensor) -> float:
            common = shared(a, b, clamp, more)
            return common / (area(a, more) + area(b, more) - common)

        return rule

    with left_alone("`my_iou`", pairs=pairs):
        got = [numbers(my_iou(a, b), 1, "`my_iou`")[0] for a, b in pairs]
    right = over(usual())
    for wrong, message, look in (
        (
            over(usual(clamp=False)),
            "Two boxes that lie apart share something: two negative overlaps have a positive product.",
            "Clamp the width and the height of the overlap at 0 *before* you multiply them.",
        ),
        (
            over(lambda a, b: shared(a, b) / (area(a) + area(b))),
            "The shared part is counted twice in the union: a box has an IoU of 1/2 with itself.",
            "Union: both areas, minus the intersection.",
        ),
        (
            over(usual(more=1)),
            "One is added to every side, as if the ends were inclusive: boxes side by side seem to overlap.",
            "With exclusive ends the width is x1 − x0.",
        ),
        (
            over(lambda a, b: shared(a, b) / min(area(a), area(b))),
            "You divide by the smaller area: a small box in a large one would be perfect.",
            "Divide by the area of the union.",
        ),
        (
            over(lambda a, b: shared(a, b) / area(a)),
            "You divide by the first box's area, not by the union.",
            "IoU treats both boxes alike.",
        ),
        (
            over(lambda a, b: shared(a, b) / area(b)),
            "You divide by the second box's area, not by the union.",
            "IoU treats both boxes alike.",
        ),
        (
            over(lambda a, b: 2 * shared(a, b) / (area(a) + area(b))),
            "This is the Dice coefficient: twice the intersection over the sum of the areas.",
            "Intersection over *union*.",
        ),
        (over(shared), "This is the intersection alone.", "Divide by the area of the union."),
    ):
        if all(abs(a - b) < 1e-5 for a, b in zip(got, wrong, strict=True)):
            fail(message, look)
    for (a, b), mine, wanted in zip(pairs.tolist(), got, right, strict=True):
        expect(
            abs(mine - wanted) < 1e-5,
            f"`my_iou({a}, {b})` gives {mine:.4g}; {wanted:.4g} is right.",
            "Draw the two boxes on paper, and count squares.",
        )
    empty, full = torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 3, 3])
    for a, b in ((empty, full), (empty, empty)):
        value = run(my_iou.function, a.clone(), b.clone())
        nothing = not torch.as_tensor(value).isfinite().all()
        expect(
            not nothing and float(value) == 0,
            f"An empty box has an IoU other than 0: `my_iou({a.tolist()}, {b.tolist()})` gives "
            f"{float(value):.3g}.",
            "What is the union of two empty boxes? Say what happens then.",
        )


# ---- 3.6 ---------------------------------------------------------------------------------------------------
_LINES = 25


@exercise("3.6", "Score-CAM")
def score_cam(answer) -> str:
    model = _small_network()
    x, A, target, size = uniform(1, 3, 12, 16, seed=17), normal(1, 7, 3, 4, seed=18), 3, (12, 16)
    A[:, 2], A[:, 5] = 0.7, 0.0  # two maps that are the same everywhere: no masks
    live = torch.tensor([True, True, False, True, True, False, True])
    watched = Watched(model)
    with left_alone(model=model, A=A, x=x):
        first = answer(watched, A, x, target, 2)
    value = tensor(first, size)
    expect(
        max(watched.counts, default=0) <= 2,
        f"`batch_size=2`, and {max(watched.counts, default=0)} masked images went through at once.",
        "`for k in range(0, K, batch_size)`: masks `k : k + batch_size`, made for this chunk alone.",
    )
    expect(
        sum(watched.counts) >= int(live.sum()),
        f"The network saw {sum(watched.counts)} masked images; there are {int(live.sum())} maps that vary.",
        "Is the last, smaller chunk missing? Every map that varies is a mask.",
    )
    with torch.no_grad():
        _judge_score_cam(value, model, A, x, target, size, live)
    expect(
        not (watched.recorded or first.requires_grad),
        "Autograd watches all the passes, and keeps what it would need for a backward pass that never comes.",
        "`with torch.no_grad():` around the loop: Score-CAM takes no gradient.",
    )
    _judge_masks(answer, model, x, target)
    lines = _lines_of(answer.function)
    expect(
        lines is None or lines <= _LINES,
        f"It works, and has {lines} lines; {_LINES} are enough.",
        "Treat a chunk of masks at once: `amin` and `amax` over `dim=(2, 3)`, with `keepdim=True`.",
    )
    return (
        "every map votes with the class's probability on what it lets through, in chunks, without a gradient."
    )


def _judge_masks(answer, model: nn.Module, x: Tensor, target: int) -> None:
    """Stops where the masks of all the maps, at full size, are alive at once."""
    K = 128
    A = normal(1, K, 3, 4, seed=19)
    with PeakMemory(A, x) as memory:
        answer(model, A, x, target, 2)
    masks = memory.peak / (x[0, 0].numel() * x.element_size())
    expect(
        masks < K,
        f"With {K} maps and `batch_size=2`, tensors as large as {masks:.0f} masks are alive at once: the "
        "masks of all the maps are made, or kept, beforehand.",
        "Enlarge and scale only the maps of one chunk, inside the loop, and let them go: keep their weights "
        "alone.",
    )


def _judge_score_cam(
    value: Tensor, model: nn.Module, A: Tensor, x: Tensor, target: int, size: tuple[int, int], live: Tensor
) -> None:
    maps = A[0]  # (K, h, w)
    own = _up(maps, size)

    def scaled(masks: Tensor) -> Tensor:  # each to [0, 1]; a constant one to 0
        low, high = masks.amin(dim=(1, 2), keepdim=True), masks.amax(dim=(1, 2), keepdim=True)
        return (masks - low) / (high - low).where(high > low, torch.ones_like(high))

    def logits(masks: Tensor) -> Tensor:
        return model(x * masks[:, None])  # (K, classes)

    def probability(masks: Tensor) -> Tensor:
        return logits(masks).softmax(dim=1)[:, target]

    def made(weights: Tensor, skip: bool = True) -> Tensor:
        weights = weights * live if skip else weights
        return (weights[:, None, None] * maps).sum(dim=0)[None]  # (1, h, w)

    def shown(grid: Tensor) -> Tensor:
        return _up(grid.relu(), size)[0]

    masks = scaled(own)
    p, y = probability(masks), logits(masks)[:, target]
    right = made(p)
    whole = (own - own.min()) / (own.max() - own.min())
    top = own.amax(dim=(1, 2), keepdim=True)
    by_top = own / top.where(top != 0, torch.ones_like(top))
    channels = y.where(live, torch.full_like(y, -torch.inf)).softmax(dim=0)
    unscaled = "The masks are not scaled to [0, 1]: a map with large values makes the image brighter."
    compare(
        value,
        shown(right),
        *(Mistake(m.value[0], m.message, m.look) for m in _resized_wrongly(right.relu(), size)),
        *(
            Mistake(
                shown(made(probability(own), skip)),
                unscaled,
                "Each enlarged map, minus its minimum, over its range.",
            )
            for skip in (True, False)
        ),
        *(
            Mistake(
                shown(made(probability(whole), skip)),
                "The masks share one minimum and maximum: faint maps let almost the same through everywhere.",
                "Each map by its *own* minimum and maximum: `amin(dim=(2, 3), keepdim=True)`.",
            )
            for skip in (True, False)
        ),
        *(
            Mistake(
                shown(made(probability(some), skip)),
                "The masks are divided by their maximum; the minimum is not taken off.",
                "To [0, 1]: minus the minimum, over the range.",
            )
            for some in (by_top, by_top.relu())
            for skip in (True, False)
        ),
        Mistake(
            shown(made(probability(_up(scaled(maps), size)))),
            "The maps are scaled to [0, 1] before they are enlarged: the masks no longer reach 0 and 1.",
            "First enlarge, then scale.",
        ),
        Mistake(
            shown(made(probability(scaled(_up(maps, size, align_corners=True))))),
            "The masks are enlarged with `align_corners=True`.",
            '`mode="bilinear", align_corners=False`, for the masks too.',
        ),
        Mistake(
            shown(made(probability(scaled(_up(maps, size, "nearest"))))),
            "The masks are blocks: they were enlarged without interpolation.",
            '`mode="bilinear", align_corners=False`, for the masks too.',
        ),
        Mistake(
            shown(made(p, skip=False)),
            "A map with the same value everywhere counts, though it is no mask: it hides the whole image.",
            "Give weight zero where the maximum equals the minimum.",
        ),
        *(
            Mistake(
                shown(made(y, skip)),
                "The weights are logits: they can be negative, and have no common scale.",
                "The probability of the class: softmax over the classes, `dim=1`, then column `target`.",
            )
            for skip in (True, False)
        ),
        *(
            Mistake(
                shown(made(some)),
                "The softmax runs over the feature maps: they compete, and a few take all.",
                "That is the other reading of the paper. Here: softmax over the classes, `dim=1`.",
            )
            for some in (channels, y.softmax(dim=0), p.softmax(dim=0))
        ),
        Mistake(
            shown(made(logits(masks).softmax(dim=1).max(dim=1).values)),
            "Each mask is scored by whatever class wins on it.",
            "Column `target`, for every mask.",
        ),
        Mistake(
            shown(made(logits(masks).softmax(dim=1)[:, model(x).argmax()])),
            "The class that the network chooses is explained, not the one asked for.",
            "Column `target`.",
        ),
        Mistake(
            shown(made(p) / live.sum()),
            "The weighted maps are averaged over the channels.",
            "Add them up, as in the formula.",
        ),
        Mistake(
            ((p * live)[:, None, None] * masks).sum(dim=0),
            "The masks are added up, not the feature maps.",
            "The weights come from the masks; what they weigh are the maps A, as the layer gave them.",
        ),
        Mistake(_up(right, size)[0], "The ReLU is missing: negative values are left.", "Cut after the sum."),
        Mistake(
            _up(right, size)[0].relu(),
            "The ReLU comes after the enlargement: the map bleeds into cells that were cut.",
            "First the ReLU on the layer's own grid, then `F.interpolate`.",
        ),
        Mistake(
            _up(((p * live)[:, None, None] * maps).relu().sum(dim=0)[None], size)[0],
            "The ReLU comes before the sum over the maps.",
            "Add up with signs; then one ReLU.",
        ),
        look="Check in turn: enlarge, scale each to [0, 1], score, sum over k with A, ReLU, enlarge.",
    )  # fmt: skip


def _lines_of(function: Callable) -> int | None:
    """Lines of code, without blanks, comments and docstring; None where the source is not known."""
    try:  # a function in another process brings its source along
        source = getattr(function, "source", None) or inspect.getsource(function)
        tree = ast.parse(textwrap.dedent(source))
    except (OSError, TypeError, SyntaxError):
        return None
    body = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    if not body:
        return None
    used: set[int] = set()
    docstring = ast.get_docstring(body[0], clean=False) is not None
    skipped = range(body[0].body[0].lineno, body[0].body[0].end_lineno + 1) if docstring else range(0)
    for node in ast.walk(body[0]):
        if hasattr(node, "lineno"):
            used |= {node.lineno, node.end_lineno} - set(skipped)
    return len(used)


# ---- 3.7 ---------------------------------------------------------------------------------------------------
def _scenes() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images that carry their own number, labels, boxes, and maps.

    Each kind of scene catches a mistake, and comes as often as makes every mistake's share of hits another.
    """
    h, w = 12, 20  # the centre pixel is row 6, column 10
    low_right, low_left = (slice(8, 12), slice(14, 20)), (slice(8, 12), slice(8, 13))
    kinds = [  # times, box x0, y0, x1, y1, what the map holds at (row, column)
        (1, (4, 3, 9, 8), [((4, 6), 1.0)]),  # a hit
        (1, (8, 4, 13, 9), [((6, 10), 0.01)]),  # faint, still a hit; the centre too
        (4, (2, 2, 6, 6), [((3, 6), 1.0)]),  # column 6 is one past the end: a miss
        (2, (2, 2, 6, 6), [((6, 3), 1.0)]),  # row 6 likewise
        (5, (5, 3, 9, 8), [((6, 5), 1.0)]),  # the box's first column: a hit
        (4, (5, 3, 9, 8), [((3, 7), 1.0)]),  # its first row likewise
        (1, (9, 1, 12, 4), [((2, 10), 1.0)]),  # a hit; with rows and columns exchanged a miss
        (1, (1, 9, 4, 12), [((2, 10), 1.0)]),  # a miss; with rows and columns exchanged a hit
        (5, (0, 0, 3, 3), [(low_right, 0.5), ((1, 1), 1.0)]),  # a hit; the centre of mass lies far off
        (1, (7, 5, 12, 12), [(low_left, 0.6), ((1, 18), 1.0)]),  # a miss; the centre of mass lies in the box
        (1, (0, 0, 4, 4), []),  # a map of zeros points nowhere
        (1, (5, 4, 16, 10), [((9, 15), 1.0)]),  # a hit, the centre too
        (1, (10, 6, 15, 11), [((0, 0), 1.0)]),  # a miss; the centre's pixel is the box's first
        (1, (3, 1, 10, 6), [((2, 4), 1.0)]),  # a hit; the centre's pixel is one past both ends
        (2, (3, 3, 10, 9), [((4, 4), 1.0)]),  # one past the last column alone
        (1, (7, 1, 14, 6), [((2, 8), 1.0)]),  # one past the last row alone
        (3, (10, 3, 15, 9), [((4, 11), 1.0)]),  # in the box's first column
        (1, (7, 6, 14, 11), [((7, 8), 1.0)]),  # in the box's first row
        (3, (14, 1, 18, 5), [((3, 15), 1.0), ((9, 4), 1.0)]),  # of two maxima the first is in the box
        (2, (14, 2, 19, 7), [((3, 15), 1.0), ((10, 2), -3.0)]),  # a hit; the most negative lies elsewhere
    ]
    cases = [(box, holds) for times, box, holds in kinds for _ in range(times)]
    n = len(cases)
    maps = torch.zeros(n, h, w, dtype=torch.float64)
    for heat, (_, holds) in zip(maps, cases, strict=True):
        for place, value in holds:
            heat[place] = value
    images = (torch.arange(n, dtype=torch.float64) / n).view(n, 1, 1, 1).expand(n, 3, h, w).clone()
    return images, torch.arange(n) % 4, torch.tensor([box for box, _ in cases]), maps


def _inside(boxes: Tensor, rows: Tensor, columns: Tensor, **moved: int) -> Tensor:
    """Whether each point lies in its box, (n,); ``x1=1`` moves that end by one pixel."""
    ends = zip(("x0", "y0", "x1", "y1"), boxes.unbind(1), strict=True)
    x0, y0, x1, y1 = (end + moved.get(name, 0) for name, end in ends)
    return (x0 <= columns) & (columns < x1) & (y0 <= rows) & (rows < y1)


_WRONG_ENDS = (  # which ends are one off, what is wrong, where to look
    (
        ("x1", "y1"),
        "x1 and y1 count as inside: the ends of a box are exclusive.",
        "`x0 <= x`, but `x < x1`; for y likewise.",
    ),
    (
        ("x1",),
        "x1 counts as inside, y1 rightly does not: the last two numbers of a box are exclusive.",
        "`x < x1`, as in your `y < y1`.",
    ),
    (
        ("y1",),
        "y1 counts as inside, x1 rightly does not: the last two numbers of a box are exclusive.",
        "`y < y1`, as in your `x < x1`.",
    ),
    (
        ("x0", "y0"),
        "x0 and y0 count as outside: they are the box's first column and its first row.",
        "`x0 <= x`, not `x0 < x`; for y likewise.",
    ),
    (
        ("x0",),
        "x0 counts as outside, y0 rightly does not: x0 is the box's first column.",
        "`x0 <= x`, as in your `y0 <= y`.",
    ),
    (
        ("y0",),
        "y0 counts as outside, x0 rightly does not: y0 is the box's first row.",
        "`y0 <= y`, as in your `x0 <= x`.",
    ),
)


@exercise("3.7", "A study of localisation")
def localisation(study) -> str:
    images, labels, boxes, maps = _scenes()
    n = len(maps)
    asked: list[Tensor] = []

    def explain(x: Tensor, target: Any = None) -> Tensor:
        expect(
            isinstance(x, Tensor) and x.dim() == 4,
            "`explain` wants a batch of images (n, 3, H, W).",
            "`images[i : i + 1]` is a batch of one.",
        )
        which = (x[:, 0, 0, 0] * n).round().long()
        if target is None:
            fail(
                "`explain` was called without a target: it explains what the network believes to see.",
                "The box is that of the label: `explain(images, labels)`.",
            )
        given = torch.as_tensor(target).expand(len(which))
        expect(
            torch.equal(given, labels[which]),
            "`explain` was given another class than the label.",
            "`explain(images, labels)`: image n and label n go together.",
        )
        asked.append(which)
        return maps[which].clone()

    with left_alone("`study`", images=images, labels=labels, boxes=boxes):
        found = study(explain, images, labels, boxes)
    keys = ("pointing", "centre", "area", "difference", "error")
    expect(
        isinstance(found, Mapping) and set(found) == set(keys),
        f"`study` returned `{found!r:.60}`; a dict with the keys {', '.join(keys)} is wanted.",
        "Keep the stub's keys.",
    )
    seen = torch.cat(asked).unique().numel() if asked else 0
    expect(
        seen == n, f"`explain` saw {seen} of {n} images.", "The study is about all of them, hits and misses."
    )
    got = {key: numbers(found[key], 1, f"`study`'s `{key}`")[0] for key in keys}
    hits, centre = _judge_pointing(got, boxes, maps)
    d = hits.double() - centre.double()
    expect(
        abs(got["difference"] - float(d.mean())) < 1e-6,
        f"`difference` is {got['difference']:.4g}; pointing minus centre is {float(d.mean()):.4g}.",
        "The method's share of hits minus the centre's: positive where the method is better.",
    )
    _judge_error(got["error"], hits, centre)
    return "maximum in the box, the label's class, every image; against the centre, image by image."


def _judge_pointing(got: dict[str, float], boxes: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Judges pointing, centre and area; returns the hits of the method and of the centre, (n,) each."""
    n, h, w = maps.shape

    def at(maps: Tensor) -> tuple[Tensor, Tensor]:
        place = maps.flatten(1).argmax(dim=1)
        return place // w, place % w

    rows, columns = at(maps)
    last = h - 1 - at(maps.flip(1, 2))[0], w - 1 - at(maps.flip(1, 2))[1]
    flat = maps.flatten(1).argmax(dim=1)
    by_height = _inside(boxes, flat // h, flat % h)
    some = maps.amax(dim=(1, 2)) > 0
    grid_y, grid_x = torch.arange(h, dtype=torch.float64), torch.arange(w, dtype=torch.float64)
    mass = maps.clamp_min(0) / maps.clamp_min(0).sum(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    heavy = ((mass.sum(dim=2) @ grid_y).round().long(), (mass.sum(dim=1) @ grid_x).round().long())
    hits = _inside(boxes, rows, columns) & some
    inside = torch.stack([mass[i, y0:y1, x0:x1].sum() for i, (x0, y0, x1, y1) in enumerate(boxes.tolist())])
    size = (boxes[:, 2:] - boxes[:, :2]).double()
    middle = torch.full((n,), h // 2), torch.full((n,), w // 2)
    centre = _inside(boxes, *middle)

    def ends(y: Tensor, x: Tensor) -> list[tuple[Tensor, str, str]]:
        return [
            (_inside(boxes, y, x, **dict.fromkeys(moved, 1)), message, look)
            for moved, message, look in _WRONG_ENDS
        ]

    for key, right, mistakes in (
        (
            "pointing",
            hits,
            (
                (
                    _inside(boxes, rows, columns),
                    "a map of zeros counts as a hit: its `argmax` is the first pixel, and it points nowhere.",
                    "A map without a positive value is a miss.",
                ),
                (
                    _inside(boxes, *heavy) & some,
                    "you point with the centre of mass, not with the maximum.",
                    "The brightest pixel: `heatmaps.flatten(1).argmax(dim=1)`.",
                ),
                (
                    _inside(boxes, *heavy),
                    "you point with the centre of mass, not with the maximum; and a map of zeros points too.",
                    "The brightest pixel: `heatmaps.flatten(1).argmax(dim=1)`.",
                ),
                *(
                    (wrong & which, message, look)
                    for wrong, message, look in ends(rows, columns)
                    for which in (some, torch.ones_like(some))
                ),
                *(
                    (
                        wrong,
                        "rows and columns are exchanged.",
                        "From the flat index i: row `i // W` (y), column `i % W` (x).",
                    )
                    for wrong in (_inside(boxes, columns, rows) & some, _inside(boxes, columns, rows))
                ),
                *(
                    (
                        by_height & which,
                        "the flat index is taken apart by the height of the map.",
                        "A row has W pixels: row `i // W` (y), column `i % W` (x).",
                    )
                    for which in (some, torch.ones_like(some))
                ),
                *(
                    (
                        _inside(boxes, *last) & which,
                        "of several equal maxima you point at the last.",
                        "The first in reading order, as `argmax` of the flattened map has it.",
                    )
                    for which in (some, torch.ones_like(some))
                ),
                (
                    _inside(boxes, *at(maps.abs())) & some,
                    "you point at the largest absolute value: that may be the strongest evidence against.",
                    "The largest value, with its sign.",
                ),
                (
                    inside,
                    "you measure the share of the heat inside the box, not whether the maximum is.",
                    "That is another, softer measure. A hit is yes or no.",
                ),
            ),
        ),
        (
            "centre",
            centre,
            (
                *ends(*middle),
                (
                    _inside(boxes, middle[1], middle[0]),
                    "rows and columns are exchanged.",
                    "The centre pixel is row H // 2 (y), column W // 2 (x).",
                ),
                (
                    _inside(boxes, middle[0], middle[0]),
                    "the centre is taken at column H // 2: the images need not be square.",
                    "Row H // 2, column W // 2.",
                ),
                (
                    _inside(boxes, middle[0] - 1, middle[1] - 1),
                    "the centre is one pixel off.",
                    "Row H // 2, column W // 2, counted from 0.",
                ),
                (
                    torch.ones(n),
                    "the centre always hits: you ask whether it lies in the image, or in the box's middle.",
                    "The centre pixel of the *image* in the box of the *object*.",
                ),
            ),
        ),
        (
            "area",
            size.prod(dim=1) / (h * w),
            (
                (
                    (size + 1).prod(dim=1) / (h * w),
                    "one is added to every side.",
                    "With exclusive ends the width is x1 − x0.",
                ),
                *(
                    (
                        (size + torch.tensor(more)).prod(dim=1) / (h * w),
                        f"one is added to the {side}.",
                        "With exclusive ends the width is x1 − x0, the height y1 − y0.",
                    )
                    for more, side in (((1, 0), "width"), ((0, 1), "height"))
                ),
                (size.prod(dim=1), "it is in pixels.", "Divide by H · W: a share of the image."),
                (
                    boxes[:, 2:].prod(dim=1) / (h * w),
                    "x1 · y1 is the area from the image's corner, not that of the box.",
                    "(x1 − x0) · (y1 − y0).",
                ),
            ),
        ),
    ):
        wanted, told = float(right.double().mean()), got[key]
        if abs(told - wanted) < 1e-6:
            continue
        if key != "area" and abs(told - wanted * n) < 1e-6:
            fail(f"`{key}` is a number of hits; a share is wanted.", "Divide by the number of images.")
        for wrong, message, look in mistakes:
            if abs(told - float(torch.as_tensor(wrong).double().mean())) < 1e-6:
                fail(f"`{key}` is wrong: {message}", look)
        fail(
            f"`{key}` is {told:.4g} on the test scenes; {wanted:.4g} is right.",
            "Make one small map, not square, with its maximum and a box where you want them.",
        )
    return hits, centre


def _judge_error(told: float, hits: Tensor, centre: Tensor) -> None:
    n, d = len(hits), hits.double() - centre.double()
    a, b = hits.double(), centre.double()
    if any(abs(told - float(d.std(unbiased=u)) / math.sqrt(n)) < 1e-6 for u in (True, False)):
        return
    mistakes = (
        (
            lambda std: math.hypot(std(a), std(b)) / math.sqrt(n),
            "`error` treats the two as if they had seen different images.",
            "Both are judged on the same scenes: the standard deviation of the differences, image by image.",
        ),
        (
            lambda std: std(d),
            "`error` is the standard deviation of one image's difference, not that of the mean.",
            "Divide by √n.",
        ),
        (
            lambda std: std(d) ** 2 / n,
            "`error` is a variance: the root is missing.",
            "Standard deviation over √n.",
        ),
        (
            lambda std: std(a) / math.sqrt(n),
            "`error` is that of the method alone: the centre's luck is left out.",
            "The standard deviation of the *differences*, image by image.",
        ),
        (
            lambda std: 1.96 * std(d) / math.sqrt(n),
            "`error` is half the width of a 95 % interval; one standard error is asked for.",
            "Leave out the factor.",
        ),
    )
    for wrong, message, look in mistakes:
        for unbiased in (True, False):
            if abs(told - wrong(lambda v, u=unbiased: float(v.std(unbiased=u)))) < 1e-6:
                fail(message, look)
    fail(
        f"`error` is {told:.4g}; the standard error is {float(d.std()) / math.sqrt(n):.4g}.",
        "The differences hit − centre hit, one an image (−1, 0 or 1); their standard deviation, over √n.",
    )


# ---- 3.8 ---------------------------------------------------------------------------------------------------
def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """The Pearson correlation of each image's map in a with that in b, (n,)."""
    a, b = (maps.flatten(1) - maps.flatten(1).mean(dim=1, keepdim=True) for maps in (a, b))
    return (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))


@exercise("3.8", "Bonus: which half knows the class?", functions=2)
def which_half(combine, swaps) -> str:
    fine, warm = (
        normal(3, 3, 6, 3, seed=20),
        uniform(3, 6, 3, seed=21),
    )  # N = C = W: broadcasting can go wrong
    right = fine * warm[:, None]
    spread = "warm (N, H, W) gets a dimension for the channels: `warm[:, None]`, (N, 1, H, W)."
    with left_alone("`combine`", fine=fine, warm=warm):
        made = tensor(combine(fine, warm), fine.shape, "`combine`")
    compare(
        made,
        right,
        Mistake(
            fine * warm,
            "`combine` gives every *channel* the heatmap of another *image*: the shapes fitted by accident.",
            spread,
        ),
        Mistake(
            fine + warm[:, None],
            "`combine` adds: a cold place keeps its fine pattern.",
            "A product: what is cold is gone.",
        ),
        Mistake(
            fine.relu() * warm[:, None], "`combine` cuts the negative half of the pattern.", "Keep the signs."
        ),
        Mistake(right.abs(), "`combine` loses the signs.", "Return the signed product."),
        Mistake(
            fine * (warm / warm.amax(dim=(1, 2), keepdim=True))[:, None],
            "`combine` divides the heatmap by its maximum.",
            "The product as it is.",
        ),
        look=spread,
    )
    then(lambda: _judge_swaps(swaps), "`combine` is right. Now `swaps`.")
    return "you exchange one half at a time, and measure which exchange the map notices."


def _judge_swaps(swaps) -> None:
    x = uniform(3, 3, 6, 5, seed=22)
    a, b = torch.tensor([0, 2, 4]), torch.tensor([1, 3, 5])
    parts = normal(6, 3, 6, 5, seed=23)
    blobs = uniform(6, 6, 5, seed=24).pow(3)

    def blunt_fine(images: Tensor, target: Tensor) -> Tensor:  # hardly knows the class
        return images - 0.3 + 0.15 * parts[target]

    def sharp_fine(images: Tensor, target: Tensor) -> Tensor:
        return 0.1 * images + parts[target]

    def sharp_warm(images: Tensor, target: Tensor) -> Tensor:
        return blobs[target] * (0.5 + images.mean(dim=1))

    def blunt_warm(images: Tensor, target: Tensor) -> Tensor:
        return 0.2 + images.mean(dim=1) + 0.05 * blobs[target]

    for fine, warm, carrier in ((blunt_fine, sharp_warm, "warm"), (sharp_fine, blunt_warm, "fine")):
        with left_alone("`swaps`", x=x, a=a, b=b):
            found = swaps(fine, warm, x, a, b)
        keys = ("swap fine", "swap warm", "swap both", "carrier")
        expect(
            isinstance(found, Mapping) and set(found) == set(keys),
            f"`swaps` returned `{found!r:.60}`; a dict with the keys {', '.join(keys)} is wanted.",
            "Keep the stub's keys.",
        )
        got = [numbers(found[key], 1, f"`swaps`'s `{key}`")[0] for key in keys[:3]]
        _judge_agreements(got, fine, warm, x, a, b)
        expect(
            found["carrier"] in ("fine", "warm"),
            f'`carrier` is {found["carrier"]!r:.30}; `"fine"` or `"warm"` is wanted.',
            "The name of the half that carries the class.",
        )
        if found["carrier"] != carrier:
            fail(
                f'`carrier` is `"{found["carrier"]}"` where exchanging it leaves {max(got[:2]):.2f} of the '
                f"agreement, and exchanging the other half {min(got[:2]):.2f}.",
                "Exchanging the half that knows the class lowers the agreement more. Measure it.",
            )


def _judge_agreements(
    got: list[float], fine: Callable, warm: Callable, x: Tensor, a: Tensor, b: Tensor
) -> None:
    def maps(p: Tensor, q: Tensor) -> Tensor:
        return fine(x, p) * warm(x, q)[:, None]

    still = maps(a, a)
    swapped = [maps(b, a), maps(a, b), maps(b, b)]

    def told(measure: Callable[[Tensor, Tensor], Tensor], of: Callable = lambda m: m) -> list[float]:
        return [float(measure(of(still), of(m)).mean()) for m in swapped]

    def same(wrong: list[float]) -> bool:
        return all(abs(p - q) < 1e-6 for p, q in zip(got, wrong, strict=True))

    right = told(_correlation)
    if same(right):
        return
    for wrong, message, look in (
        (
            [right[1], right[0], right[2]],
            "The two exchanges have each other's name.",
            "`swap fine` takes the fine pattern of b and the heatmap of a.",
        ),
        ([1 - r for r in right], "This is one minus the correlation.", "1 means that nothing changes."),
        (
            told(lambda p, q: F.cosine_similarity(p.flatten(1), q.flatten(1))),
            "This is the cosine, not the correlation.",
            "Subtract each map's own mean before you multiply.",
        ),
        (
            told(_correlation, torch.abs),
            "The maps lost their signs before they were compared.",
            "Correlate the signed products.",
        ),
        (
            told(lambda p, q: _correlation(p.flatten()[None], q.flatten()[None])),
            "All the images were thrown into one correlation.",
            "Flatten from dimension 1 on, correlate image by image, then average.",
        ),
        (
            [*(float(_correlation(half(x, a), half(x, b)).mean()) for half in (fine, warm)), right[2]],
            "You correlate the halves with each other, not the products.",
            "Compare Guided Grad-CAM for a with Guided Grad-CAM of which one half is exchanged.",
        ),
    ):  # fmt: skip
        if same(wrong):
            fail(message, look)
    names = ("swap fine", "swap warm", "swap both")
    for name, mine, wanted in zip(names, got, right, strict=True):
        expect(
            abs(mine - wanted) < 1e-6,
            f"`{name}` is {mine:.4g} on the test functions; {wanted:.4g} is right.",
            "The mean over the images of each map's correlation with combine(fine of a, warm of a).",
        )
