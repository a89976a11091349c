"""Checks of chapter 2, gradients: on models so small that every mistake can be computed and recognised."""

import itertools
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..instruments import Sees
from .inputs import drawn, seeded
from .judging import Mistake, close, compare, expect, fail, tensor
from .reader import run
from .registry import exercise
from .side_effects import PeakMemory, left_alone
from .verdicts import NotAttempted, Wrong
from .yes_or_no import judge_yes_or_no


def _smooth_classifier(seed: int = 0) -> nn.Module:
    """Six classes, no ReLU, float64: its gradient is known to the last digit and changes with the image.

    Batch normalisation and dropout are there for those who change the mode.
    """
    with drawn(seed):
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Tanh(),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(4 * 6 * 6, 6),
        )
    return model.double().eval()


def _images(n: int, size: int = 6, seed: int = 1) -> Tensor:
    return torch.rand(n, 3, size, size, generator=seeded(seed), dtype=torch.float64)


def _gradient_of(model: nn.Module, x: Tensor, score) -> Tensor:
    """The gradient of score(logits), a number, with respect to the images."""
    x = x.detach().clone().requires_grad_(True)
    return torch.autograd.grad(score(model(x)), x)[0]


@exercise("2.1", "The simple gradient")
def simple_gradient(answer) -> str:
    model, x, target = _smooth_classifier(), _images(4), torch.tensor([2, 0, 5, 2])
    rows = torch.arange(4)

    def explained(images: Tensor, classes: Tensor) -> Tensor:
        with left_alone(model=model, x=images, target=classes):
            return tensor(answer(model, images, classes), images.shape)

    def of(score) -> Tensor:
        return _gradient_of(model, x, score)

    def chosen(y: Tensor) -> Tensor:
        return y[rows, target].sum()

    right = of(chosen)
    compare(
        explained(x, target),
        right,
        Mistake(
            -right,
            "The sign is turned round: this is minus the gradient.",
            "The gradient of the logit itself, not of a loss that falls where the logit rises.",
        ),
        Mistake(
            right * x,
            "The gradient is multiplied by the image: this is gradient × input, another method.",
            "Return the slopes as they are.",
        ),
        Mistake(
            of(lambda y: -chosen(y.log_softmax(dim=1)) / 4),
            "This is the gradient of the mean cross-entropy loss, not of the logit.",
            "Leave the loss out: differentiate the raw score, and sum over the images.",
        ),
        Mistake(
            of(lambda y: chosen(y.softmax(dim=1)) / 4),
            "This is the gradient of the mean softmax probability, not of the logit.",
            "Leave the softmax out, and sum over the images.",
        ),
        Mistake(
            of(lambda y: y[:, target].mean()),
            "Every image was differentiated for every target in the batch, and a mean was taken.",
            "`logits[:, target]` has shape (N, N). You want N numbers: index rows as well as columns.",
        ),
        Mistake(
            of(lambda y: y.sum()),
            "This is the gradient of the sum of all the logits: the target is not used.",
            "From the logits (N, K), take one number for each image: row n, column `target[n]`.",
        ),
        Mistake(
            of(lambda y: y[:, target].sum()),
            "Every image was differentiated for every target in the batch, not just its own.",
            "`logits[:, target]` has shape (N, N). You want N numbers: index rows as well as columns.",
        ),
        Mistake(
            of(lambda y: y[:, target[0]].sum()),
            "Every image was explained for the first image's target.",
            "Image n has its own target, `target[n]`.",
        ),
        Mistake(
            of(lambda y: y.max(dim=1).values.sum()),
            "This is the gradient of the largest logit: the target that was asked for is not used.",
            "Take the logit of `target[n]`, even where another class wins.",
        ),
        Mistake(
            of(lambda y: chosen(y.softmax(dim=1))),
            "This is the gradient of the softmax probability, not of the logit.",
            "Leave the softmax out: it lets the other classes' logits into the gradient.",
        ),
        Mistake(
            of(lambda y: chosen(y.log_softmax(dim=1))),
            "This is the gradient of the log-probability (the loss, up to its sign), not of the logit.",
            "Leave log_softmax and cross_entropy out: differentiate the raw score.",
        ),
        Mistake(
            of(lambda y: -chosen(y.log_softmax(dim=1))),
            "This is the gradient of the cross-entropy loss, not of the logit.",
            "Leave the loss out: differentiate the raw score.",
        ),
        Mistake(
            right / 4,
            "Each gradient is divided by the number of images: a mean over the batch was differentiated.",
            "Sum the chosen logits; with the mean, an image's explanation depends on how many came along.",
        ),
        Mistake(
            right.abs(),
            "The signs are gone: this is the absolute value of the gradient.",
            "Return the signed gradient; the absolute value belongs to exercise 2.2.",
        ),
    )
    compare(
        explained(x, target),
        right,
        Mistake(
            2 * right,
            "A second call on the same images gives twice the gradient: something accumulates.",
            "`backward()` adds to `.grad`. Use `torch.autograd.grad`, or a fresh copy of `x`.",
        ),
        look="The second call on the same images differs from the first: what does the first leave behind?",
    )
    alone = explained(x[:1].clone(), target[:1].clone())
    compare(
        alone,
        right[:1],
        look="Alone, the first image gets another gradient than in the batch: images leak into each other. "
        "Sum over the images only after each has its own logit.",
    )
    return "one signed gradient an image, of its own target's logit, the same alone or in a batch."


@exercise("2.2", "From a gradient to a heatmap")
def heatmap(answer) -> str:
    signed = torch.randn(3, 3, 5, 5, generator=seeded(2), dtype=torch.float64)
    signed = signed * torch.tensor([1.0, 0.01, 30.0], dtype=torch.float64).view(-1, 1, 1, 1)
    signed[:, :, 2, 2] = torch.tensor([[-9.0, 0.1, 0.2], [-0.09, 0.0, 0.01], [-270.0, 3.0, 6.0]])

    def share(maps: Tensor) -> Tensor:
        return maps / maps.abs().amax(dim=(1, 2), keepdim=True)

    def min_max(maps: Tensor) -> Tensor:
        low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
        return (maps - low) / (high - low)

    largest = signed.abs().amax(dim=1)
    divide = "After the maximum over the channels, divide each map by its own largest value."
    channels = "A strongly negative channel matters as much as a strongly positive one: absolute value first."
    with left_alone(attribution=signed):
        value = tensor(answer(signed), (3, 5, 5))
    compare(
        value,
        share(largest),
        Mistake(largest, "The maps are not divided by their maximum.", divide),
        Mistake(
            largest / largest.max(),
            "The maps are divided by the largest value of the whole batch, not each by its own.",
            "Take the maximum over height and width only (`dim=(1, 2)`), and keep the batch dimension.",
        ),
        Mistake(
            min_max(largest),
            "The smallest value of each map was subtracted: zero no longer means that nothing happens.",
            "Divide by the maximum, and subtract nothing.",
        ),
        *(
            Mistake(
                scale(signed.amax(dim=1)),
                "The maximum was taken before the absolute value: strong negative gradients are lost.",
                channels,
            )
            for scale in (share, lambda maps: share(maps.clamp_min(0)), min_max)
        ),
        Mistake(
            share(signed.amax(dim=1).abs()),
            "The maximum was taken before the absolute value: strong negative gradients are lost, and pixels "
            "whose three channels are all negative keep the weakest.",
            channels,
        ),
        *(
            Mistake(
                share(maps),
                "The channels were added with their signs: red and blue can cancel, and a pixel that matters "
                "goes dark.",
                channels,
            )
            for maps in (signed.sum(dim=1), signed.sum(dim=1).abs())
        ),
        Mistake(
            share(signed.abs().sum(dim=1)),
            "The channels were added (or averaged), not reduced to the largest.",
            "`sum` and `mean` answer another question; here the strongest channel speaks for the pixel.",
        ),
        Mistake(
            share(signed.norm(dim=1)),
            "This is the length of the three channels' vector, not the largest of them.",
            "`amax(dim=1)` of the absolute values.",
        ),
    )
    flat = answer(torch.zeros(2, 3, 4, 4, dtype=torch.float64))
    expect(
        isinstance(flat, Tensor) and bool((flat == 0).all()),
        "A gradient that is zero everywhere gives NaN (0 / 0), or something else than zeros.",
        "Keep the divisor away from zero: `.clamp_min(1e-12)`.",
    )
    return "one map an image, its strongest channel, as a share of its own maximum; zero stays zero."


# ---- methods built on a gradient function: the check watches what that function is asked ----
class _Spy:
    """A gradient function that remembers the images it was asked about."""

    def __init__(self, gradient: Callable[[Tensor], Tensor]) -> None:
        self.gradient, self.asked, self.calls, self.alive, self.most = gradient, [], 0, [], 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.asked.append(x.detach().clone())
        value = self.gradient(x.detach())
        self.alive = [ref for ref in self.alive if ref() is not None] + [weakref.ref(value)]
        self.most = max(self.most, len(self.alive))
        return value

    def rows(self, shape: tuple[int, ...]) -> Tensor:
        """Every image asked about, (M, C, H, W)."""
        expect(
            self.asked,
            "Your function never calls `grad`.",
            "`grad(images)` gives the gradients of a batch of images; the method is built from its results.",
        )
        for asked in self.asked:
            if asked.dim() != 4 or asked.shape[1:] != torch.Size(shape[1:]) or len(asked) % shape[0]:
                fail(
                    f"`grad` was called with a tensor of shape {tuple(asked.shape)}; it wants whole batches "
                    f"of {shape[0]} images (or copies of them), {tuple(shape)}.",
                    "Adding a dimension for the samples? Fold it into the batch: `.flatten(0, 1)`.",
                )
        return torch.cat(self.asked)


def _two_images() -> Tensor:
    """Two images of very different contrast: ranges 0.6 and 0.1."""
    x = torch.rand(2, 3, 16, 16, generator=seeded(3), dtype=torch.float64)
    low, high = x.amin(dim=(1, 2, 3), keepdim=True), x.amax(dim=(1, 2, 3), keepdim=True)
    x = (x - low) / (high - low)
    return x * torch.tensor([0.6, 0.1]).view(-1, 1, 1, 1) + torch.tensor([0.0, 0.85]).view(-1, 1, 1, 1)


def _wave(x: Tensor) -> Tensor:
    """The gradient of a function that acts on each pixel alone: any batch, any order, no network."""
    return torch.cos(7 * x) + 0.3


def _samples_of(rows: Tensor, x: Tensor) -> list[Tensor]:
    """For each image, the rows that are copies of it with noise: (n, C, H, W)."""
    nearest = (rows.mean(dim=(1, 2, 3)).unsqueeze(1) - x.mean(dim=(1, 2, 3))).abs().argmin(dim=1)
    return [rows[nearest == i] for i in range(len(x))]


def _judge_noise(samples: list[Tensor], x: Tensor, n_samples: int, noise: float) -> None:
    """Stops unless each image has n fresh Gaussian samples around it, whose σ is relative to its range."""
    where = "The formula has a fresh draw for every sample: ask the generator again for each."
    for image, rows in zip(x, samples, strict=True):
        added = rows - image
        expect(
            len(rows) == n_samples,
            f"`grad` saw {len(rows)} copies of an image; `n_samples={n_samples}` are asked for.",
            "Count the turns of your loop, and leave the image without noise out.",
        )
        expect(
            added.abs().max() > 0,
            "`grad` sees the image without any noise.",
            "Add the noise to the image before its gradient is taken, not to the gradient.",
        )
        expect(
            not close(rows[0], rows[-1]), "Every sample has the same noise: averaging changes nothing.", where
        )
        spread = added.flatten(1).std(dim=1)
        expect(
            added.flatten(1).std(dim=1).min() > 0.05 * spread.max(),
            "Each sample shifts the whole image by one number.",
            "Every pixel and channel has its own draw: `torch.randn(x.shape, …)`.",
        )
        expect(
            spread[-8:].mean() < 1.5 * spread[:8].mean(),
            "The noise piles up: each sample is made from the one before, a random walk away from the image.",
            "In the loop, do not write the noisy image back to `x`: `noisy = x + …`.",
        )
        expect(
            rows.min() > image.min() or (rows == rows.min()).sum() < 10,
            "The noisy images are clipped: at black and white pixels the noise is not centred any more.",
            "Leave out the `clamp`; the gradient is defined outside [0, 1] too.",
        )
        expect(
            not close(added[:, 0], added[:, 1]),
            "The three colour channels share one draw.",
            "Every pixel and channel has its own draw: `torch.randn(x.shape, …)`.",
        )
        expect(
            added.mean().abs() < 0.1 * added.std(),
            "The noise is not centred: on average it makes the image brighter or darker.",
            "`torch.rand` is uniform on [0, 1); the formula wants `torch.randn`.",
        )
    got = torch.stack([(rows - image).std() for image, rows in zip(x, samples, strict=True)])
    extent = x.amax(dim=(1, 2, 3)) - x.amin(dim=(1, 2, 3))
    relative = "Range: the image's largest value minus its smallest, `amax` and `amin` over `dim=(1, 2, 3)`."
    for wrong, message, look in (
        (
            torch.full_like(got, noise),
            "The noise has the same absolute σ for every image: it is not relative to the image's range.",
            relative,
        ),
        (
            (x.max() - x.min()) * noise * torch.ones_like(got),
            "The range is that of the whole batch: an image's noise depends on its neighbours.",
            relative,
        ),
        (
            x.amax(dim=(1, 2, 3)) * noise,
            "σ is relative to the brightest value, not to the range (largest minus smallest).",
            relative,
        ),
        (
            x.flatten(1).std(dim=1) * noise,
            "σ is relative to the image's standard deviation, not to its range.",
            relative,
        ),
        (
            (noise * extent).sqrt(),
            "σ was taken for a variance: the noise is scaled by its square root.",
            "`randn` has standard deviation 1: multiply it by σ itself.",
        ),
        (
            (noise * extent).square(),
            "The noise is scaled by σ², the variance; a draw is scaled by σ.",
            "`randn` has standard deviation 1: multiply it by σ itself.",
        ),
    ):
        expect(not close(got, wrong, 0.03), message, look)
    if not close(got, noise * extent, 0.03):
        told = ", ".join(f"{a:.3f} for {b:.3f}" for a, b in zip(got, noise * extent, strict=True))
        fail(f"The noise has the wrong standard deviation on the two test images: {told}.", relative)
    shape = torch.cat(
        [(rows - image).flatten() / (rows - image).std() for image, rows in zip(x, samples, strict=True)]
    )
    expect(
        abs(shape.pow(4).mean() - 3) < 0.3,
        "The noise has the right size, but it is not Gaussian.",
        "`torch.randn`, not `torch.rand`.",
    )


def _judge_generator(answer, *args) -> None:
    first, second, third = (tensor(answer(*args, seeded(seed))) for seed in (11, 11, 12))
    expect(
        torch.equal(first, second),
        "Two generators with one seed give two different results: the noise is drawn elsewhere.",
        "Hand it on: `torch.randn(x.shape, generator=generator, dtype=x.dtype)`.",
    )
    expect(
        not torch.equal(first, third),
        "The seed makes no difference: the generator that is passed in is not used as it comes.",
        "Do not make or seed a generator inside: whoever calls decides on it.",
    )


@exercise("2.3", "SmoothGrad")
def smooth_grad(answer) -> str:
    x, n_samples, noise = _two_images(), 40, 0.2
    spy = _Spy(_wave)
    with left_alone(x=x):
        value = tensor(answer(spy, x, n_samples, noise, seeded(0)), x.shape)
    samples = _samples_of(spy.rows(x.shape), x)
    _judge_noise(samples, x, n_samples, noise)
    gradients = torch.stack([_wave(rows) for rows in samples])  # (N, n, C, H, W)
    right = gradients.mean(dim=1)
    mistakes = [
        Mistake(
            gradients.abs().mean(dim=1),
            "The absolute value was taken before the average: the noise in the gradients can not cancel.",
            "Average the signed gradients; the absolute value comes last, in the heatmap.",
        ),
        Mistake(
            right.abs(),
            "The signs are gone: the absolute value was taken after the average.",
            "Return the signed average; `to_heatmap` takes the absolute value.",
        ),
        Mistake(
            gradients.square().mean(dim=1),
            "The gradients were squared before the average.",
            "That is a variant (called SmoothGrad squared); here the plain average is asked for.",
        ),
        Mistake(
            gradients.sum(dim=1),
            "This is the sum over the samples, not their mean.",
            "Divide by `n_samples`.",
        ),
        Mistake(
            gradients.sum(dim=1) / (n_samples - 1),
            "The sum is divided by n − 1.",
            "A mean divides by n.",
        ),
        Mistake(_wave(x), "This is the gradient of the image without noise.", "Average what `grad` gives."),
        Mistake(
            gradients[:, -1],
            "Only the last sample's gradient is left.",
            "Add up the gradients in the loop: `total = total + grad(noisy)`.",
        ),
        Mistake(
            gradients.mean(dim=(0, 1)).expand_as(x),
            "The average runs over the images of the batch as well.",
            "Average over the samples alone, so that each image keeps its own map.",
        ),
    ]
    if spy.calls == 1:  # all samples at once: the two ways to fold (sample, image) into a batch get confused
        batch = _wave(spy.asked[0])
        for mixed in (
            batch.view(n_samples, len(x), *x.shape[1:]).mean(dim=0),
            batch.view(len(x), n_samples, *x.shape[1:]).mean(dim=1),
        ):
            if not close(mixed, right):
                mistakes.append(
                    Mistake(
                        mixed,
                        "Samples of different images are averaged together.",
                        "`repeat` and `repeat_interleave` order copies differently: unfold as you folded.",
                    )
                )
    compare(value, right, *mistakes)
    _judge_generator(answer, _wave, x, 4, noise)
    return "the mean gradient over fresh Gaussian noise, whose σ is relative to each image's own range."


@exercise("2.4", "Integrated gradients, by a detour", functions=2)
def integrated_gradients(integrate, steps_needed) -> str:
    x, baseline = _two_images(), torch.full((2, 3, 16, 16), 0.25, dtype=torch.float64)
    weight = torch.randn(3, 16, 16, generator=seeded(4), dtype=torch.float64)
    n = 5

    def map_of(grad: Callable[[Tensor], Tensor], path: list[Tensor], steps: int) -> Tensor:
        with left_alone(**{f"path[{k}]": place for k, place in enumerate(path)}):
            return tensor(integrate(grad, list(path), steps), x.shape)

    spy = _Spy(lambda rows: weight.expand_as(rows).clone())
    value = map_of(spy, [baseline, x], n)
    _judge_path(spy.rows(x.shape), x, baseline, n)
    _judge_leg(value, weight, x, baseline, n)

    def cubic(rows: Tensor) -> Tensor:
        return 3 * weight * rows.square()

    def gap(steps: int) -> float:
        total = map_of(cubic, [baseline, x], steps)
        wanted = (weight * (x**3 - baseline**3)).sum(dim=(1, 2, 3))
        size = (weight * (x**3 - baseline**3)).abs().sum(dim=(1, 2, 3))
        return ((total.sum(dim=(1, 2, 3)) - wanted).abs() / size).max().item()

    few, many = gap(8), gap(64)
    expect(
        many < 0.02 and (many < few / 4 or many < 1e-9),
        "On f(x) = Σ w x³ the map of a single leg does not sum to f(x) − f(baseline), however many steps: "
        f"it is off by {100 * few:.2g} % with 8 steps and by {100 * many:.2g} % with 64.",
        "Is each gradient taken at its own point of the path, and does each point count once?",
    )
    _judge_detour(map_of, x, baseline, weight)
    try:
        _judge_steps(steps_needed)
    except NotAttempted as stop:
        raise NotAttempted(
            "The first function is right: complete, leg by leg. Now the second.", stop.code
        ) from None
    return "the maps sum to f(x) − f(baseline), on every path; and you can tell how many steps it takes."


def _judge_leg(value: Tensor, weight: Tensor, x: Tensor, baseline: Tensor, n: int) -> None:
    """Judges the map of a linear model on a path of one leg: whatever the rule, w · (x − baseline)."""
    right = weight * (x - baseline)
    width = "On a linear model every path gradient is w, so the result must be w · (x − baseline): "
    compare(
        value,
        right,
        Mistake(
            weight.expand_as(x),
            "The factor (x − baseline) is missing: this is the mean gradient along the path.",
            "Multiply the mean gradient by the way that each pixel goes.",
        ),
        Mistake(
            weight * x,
            "The mean gradient is multiplied by x: the baseline is forgotten there.",
            "The factor is (x − baseline), the way that each pixel goes.",
        ),
        Mistake(
            -right,
            "The sign is wrong: the factor is (baseline − x).",
            "The path goes from the baseline to the image: x − baseline.",
        ),
        Mistake(
            right * n / (n + 1),
            f"The n gradients are divided by n + 1: on a linear model {n}/{n + 1} of the answer is left.",
            width + "the weights of your sum have to add up to 1.",
        ),
        Mistake(
            right * (n + 1) / n,
            f"n + 1 gradients are divided by n: on a linear model {n + 1}/{n} of the answer comes out.",
            width + "the weights of your sum have to add up to 1. `range(n + 1)` has n + 1 turns.",
        ),
        Mistake(
            right * (n - 1) / n,
            f"n − 1 gradients are divided by n: on a linear model {n - 1}/{n} of the answer is left.",
            width + "the weights of your sum have to add up to 1. `range(1, n)` has n − 1 turns.",
        ),
        Mistake(
            right * n,
            "The gradients are added up, not averaged.",
            width + "divide by the number of steps.",
        ),
        Mistake(
            right / 2,
            "Half of the answer is left: is the sum divided by the number of *places* of the path?",
            "A path of two places has one leg.",
        ),
        Mistake(right.abs(), "The signs are gone.", "Shares of the score are signed: return them so."),
        look=width + "look at the weights of your sum, and at the factor in front of it.",
    )


def _judge_detour(map_of: Callable, x: Tensor, baseline: Tensor, weight: Tensor) -> None:
    """Judges paths of two and three legs, on f(x) = (Σ w x) (Σ v x): the map depends on the way."""
    other = torch.randn(weight.shape, generator=seeded(5), dtype=torch.float64)
    via = [  # far off the straight line, and each leg as long as the others
        torch.rand(x.shape, generator=seeded(seed), dtype=torch.float64) for seed in (6, 8)
    ]

    def grad(rows: Tensor) -> Tensor:
        along = [(v * rows).sum(dim=(1, 2, 3), keepdim=True) for v in (weight, other)]
        return weight * along[1] + other * along[0]

    def slope(start: Tensor, end: Tensor) -> Tensor:
        return grad((start + end) / 2)  # the mean of a gradient that is linear in the image

    for path in ([baseline, via[0], x], [baseline, *via, x]):
        legs = list(itertools.pairwise(path))
        shares = [(end - start) * slope(start, end) for start, end in legs]
        slopes = torch.stack([slope(start, end) for start, end in legs])
        told = f"On a path of {len(legs)} legs "
        value, right = map_of(grad, path, 64), sum(shares)
        compare(
            value,
            right,
            Mistake(
                (x - baseline) * slope(baseline, x),
                told + "you take the straight way from the first place to the last.",
                "Walk each leg: from `path[0]` to `path[1]`, from `path[1]` to `path[2]`, and so on.",
            ),
            Mistake(
                (x - baseline) * slopes.mean(dim=0),
                told + "you multiply the mean of all gradients by the whole way, x − baseline.",
                "On each leg its own way: a pixel may go up on one leg and down on the next.",
            ),
            Mistake(
                (x - baseline) * slopes.sum(dim=0),
                told + "you multiply the sum of the legs' gradients by the whole way, x − baseline.",
                "On each leg its own way: a pixel may go up on one leg and down on the next.",
            ),
            Mistake(
                right / len(legs),
                told + "the legs are averaged: each is a part of the climb, so they add up.",
                "Completeness: the shares of the legs must sum to f(x) − f(baseline).",
            ),
            Mistake(shares[-1], told + "only the last leg is left.", "`total = total + …` for each leg."),
            Mistake(shares[0], told + "only the first leg is walked.", "Is `return` inside the loop?"),
            Mistake(
                sum((end - baseline) * slope(baseline, end) for _, end in legs),
                told + "every leg starts at the baseline.",
                "A leg starts where the one before has ended.",
            ),
            tolerance=0.03,  # 64 points of a rule as rough as Riemann's
            look=told + "the map is the sum of the legs' maps, each made as if it were alone.",
        )


def _judge_path(rows: Tensor, x: Tensor, baseline: Tensor, n: int) -> None:
    """Stops unless every row lies between the baseline and its image, on the straight line, evenly spread."""

    def places(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Each row's place along the line of the image that fits best, and its distance from it."""
        way = (end - start).flatten(1)  # (N, D)
        off = rows.flatten(1).unsqueeze(1) - start.flatten(1)  # (M, N, D)
        share = (off * way).sum(dim=2) / way.square().sum(dim=1)
        distance = (off - share.unsqueeze(2) * way).norm(dim=2) / way.norm(dim=1)
        nearest = distance.argmin(dim=1, keepdim=True)
        return share.gather(1, nearest).squeeze(1), distance.gather(1, nearest).squeeze(1)

    share, distance = places(baseline, x)
    if distance.max() > 1e-6:
        black = places(torch.zeros_like(x), x)[1].max() < 1e-6
        shifted = places(baseline, baseline + x)[1].max() < 1e-6
        if black:
            fail(
                "The path starts at black, whatever the baseline: the points are α · x.",
                "A point of the path is baseline + α · (x − baseline).",
            )
        if shifted:
            fail(
                "The path goes from the baseline to baseline + x: it overshoots the image.",
                "A point of the path is baseline + α · (x − baseline): the one fades as the other comes.",
            )
        fail(
            "`grad` is asked about points off the straight line between the baseline and the image.",
            "A point of the path is baseline + α · (x − baseline), with one α for the whole image.",
        )
    expect(
        share.min() > -1e-6 and share.max() < 1 + 1e-6,
        f"The path leaves the segment: α goes from {share.min():.3g} to {share.max():.3g}.",
        "α stays between 0 (the baseline) and 1 (the image).",
    )
    expect(
        share.max() - share.min() > 0.5,
        f"The path is hardly walked: α stays between {share.min():.3g} and {share.max():.3g}.",
        "Every gradient belongs to its own α, spread evenly from 0 to 1; integer division gives 0.",
    )
    expect(
        len(rows) <= (n + 2) * len(x),
        f"`grad` saw {len(rows) // len(x)} points an image; `n_steps={n}` are asked for.",
        "One gradient a step.",
    )


@dataclass
class _Probe:
    """A map whose completeness gap is known, difference · error(n), and what was asked about it."""

    difference: float
    tolerance: float
    error: Callable[[int], float]
    asked: list[int] = field(default_factory=list)
    got: int = 0

    def attribute(self, steps: int) -> Tensor:
        self.asked.append(int(steps))
        if steps > 2**16 or len(self.asked) > 2**10:
            fail(
                f"`{self}` never comes to an end: the map is good enough from {self.right} steps on.",
                "Stop at the first n whose gap is within the tolerance, as a share of |difference|.",
            )
        shares = torch.linspace(0, 1, 48, dtype=torch.float64).view(1, 3, 4, 4)
        return shares / shares.sum() * self.difference * (1 + self.error(int(steps)))

    @property
    def right(self) -> int:
        powers = (2**k for k in range(17))
        return next(n for n in powers if abs(self.error(n)) <= self.tolerance)

    def __str__(self) -> str:
        return f"steps_needed(attribute, difference={self.difference:g}, tolerance={self.tolerance:g})"

    def gap(self, n: int) -> str:
        return f"with {n} steps the sum is {100 * abs(self.error(n)):.3g} % of the difference off"


def _judge_steps(steps_needed) -> None:
    def swings(n: int) -> float:  # too small, then too large, in turn; ever less
        return (-1) ** n.bit_length() * 0.7 / n

    def falls(n: int) -> float:  # complete at once
        return 0.001 / n

    cases = ((10.0, 0.1, swings), (-10.0, 0.1, swings), (0.01, 0.1, swings), (10.0, 0.01, swings),
             (7.0, 0.1, falls))  # fmt: skip
    probes = [_Probe(*case) for case in cases]
    for probe in probes:
        difference = torch.tensor(probe.difference, dtype=torch.float64)
        with left_alone("`steps_needed`", difference=difference):
            value = run(steps_needed.function, probe.attribute, difference, probe.tolerance)
        expect(
            isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1),
            f"`{probe}` returned {value!r:.40}; a number of steps is wanted.",
            "Return n itself, also when it grows large.",
        )
        expect(value >= 1, f"`{probe}` returned {value!r:.40}.", "The first n to try is 1.")
        probe.got = int(value)
    wide, negative, small = probes[:3]
    if wide.got == 1 or negative.got in (1, 2):
        probe = wide if wide.got == 1 else negative
        fail(
            f"A sum that is too small counts as good enough: the gap has a sign. `{probe}` gives "
            f"{probe.got}, and {probe.gap(probe.got)}.",
            "Take the absolute value of (sum of the map) − difference before you compare.",
        )
    if small.got < small.right and small.got != wide.got:
        fail(
            f"The answer depends on the size of the score: {wide.got} steps for a difference of 10, "
            f"{small.got} for 0.01. The tolerance is taken as absolute.",
            "Compare the gap with `tolerance` times |difference|.",
        )
    for probe in probes:
        _judge_probe(probe, probes)


def _judge_probe(probe: _Probe, probes: list[_Probe]) -> None:
    """Judges one number of steps, and which maps were asked for to find it."""
    odd = next((n for n in probe.asked if n < 1 or n & (n - 1)), None)
    expect(
        odd is None,
        f"`{probe}` tries n = {odd}: among 1, 2, 4, 8, … there is no such number.",
        "Double n each time: `n = 2 * n`. Trying every n costs far more gradients.",
    )
    if probe.got == probe.right:
        return
    told = f"`{probe}` gives {probe.got} steps where {probe.right} do: "
    if not probe.asked:
        fail(
            told + "it asks for no map, and returns what another map needed.",
            "Every call is about another `attribute`: keep nothing between the calls.",
        )
    expect(
        any(other.got != 2 * other.right for other in probes),
        told + "it is off by one doubling, each time.",
        "Return the n that was good enough, not the next.",
    )
    expect(
        min(probe.asked) == 1,
        told + f"it begins with n = {min(probe.asked)}.",
        "The first n to try is 1: a linear model is complete with one step.",
    )
    expect(
        probe.got >= probe.right,
        told + f"{probe.gap(probe.got)}. Is there a largest n?",
        "Go on doubling until the gap is within the tolerance, however long it takes.",
    )
    fail(
        told + f"{probe.gap(probe.right)}.",
        "Try n = 1, 2, 4, 8, … and return the first that is good enough.",
    )


@exercise("2.5", "Guided backprop", functions=1)
def guided_backprop(answer) -> str:
    apply = getattr(answer.function, "apply", answer.function)
    generator = seeded(5)
    z = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    g = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    with left_alone("`forward`", z=z):
        value = run(apply, z)
    compare(
        tensor(value, z.shape, "`forward`"),
        z.relu(),
        Mistake(z, "`forward` passes everything: it is not a ReLU.", "Forward: max(z, 0), as ever."),
        look="Forward is an ordinary ReLU, max(z, 0): guided backprop changes the backward pass alone.",
    )

    def backward(inputs: Tensor, upstream: Tensor) -> Tensor:
        inputs = inputs.clone().requires_grad_(True)
        outputs = run(apply, inputs)
        expect(
            outputs.requires_grad,
            "Autograd does not see your function: nothing flows back.",
            "Call it as `GuidedReLU.apply(z)`, and write `forward` and `backward` as static methods.",
        )
        with left_alone("`backward`", g=upstream):
            return run(torch.autograd.grad, outputs, inputs, upstream, allow_unused=True)[0]

    up, on = g.clamp_min(0), (z > 0).to(z)
    compare(
        tensor(backward(z, g), z.shape, "`backward`"),
        up * on,
        Mistake(
            g * on,
            "This is the ordinary backward of a ReLU: negative gradients still pass.",
            "Two masks: the input was positive *and* the gradient that arrives is positive.",
        ),
        Mistake(
            up,
            "This is the deconvnet's backward: it looks at the gradient alone.",
            "Two masks: the gradient that arrives is positive *and* the input was positive.",
        ),
        Mistake(
            g.abs() * on,
            "Negative gradients are turned into positive ones; they should be cut to zero.",
            "`clamp_min(0)`, not `abs()`.",
        ),
        Mistake(g, "The gradient goes through unchanged: no mask at all.", "Multiply by both masks."),
        Mistake(
            on * (g > 0),
            "The masks come back instead of the gradient.",
            "The masks multiply the gradient that arrives.",
        ),
        Mistake(
            z.relu() * (g > 0),
            "The input comes back instead of the gradient.",
            "The masks multiply the gradient that arrives.",
        ),
    )
    layers = [torch.randn(5, 5, generator=generator, dtype=torch.float64) for _ in range(3)]
    inputs = torch.randn(2, 5, generator=generator, dtype=torch.float64).requires_grad_(True)
    first = inputs @ layers[0]
    second = run(apply, first) @ layers[1]
    outputs = run(apply, second) @ layers[2]
    got = run(torch.autograd.grad, outputs[:, 0].sum(), inputs)[0]
    at_second = layers[2][:, 0].clamp_min(0) * (second > 0)
    at_first = (at_second @ layers[1].T).clamp_min(0) * (first > 0)
    expect(
        close(got, at_first @ layers[0].T),
        "One ReLU is right; in a network with two, the first uses the second's memory.",
        "Keep z in `ctx` (`ctx.save_for_backward(z)`), new at every call, not in the class or a global.",
    )
    return "forward a ReLU; backward lets through what is positive on both ways, at every ReLU of a network."


@exercise("2.6", "Shift the input, keep the model", functions=1)
def input_shift(absorb, unchanged) -> str:
    generator = seeded(6)
    x = torch.rand(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    shift = torch.rand(1, 3, 8, 8, generator=generator, dtype=torch.float64)
    with drawn(7):
        conv = nn.Conv2d(3, 4, 3, padding=1).double()
        flat = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).double()
        norm = nn.BatchNorm2d(3).double().eval()
        norm.running_mean.uniform_(), norm.running_var.uniform_(1, 4)
    for first, kind in ((conv, "a convolution"), (flat, "flatten and linear"), (norm, "a normalisation")):
        with left_alone("`absorb`", first=first, shift=shift):
            moved = absorb(first, shift)
        expect(
            isinstance(moved, nn.Module),
            f"`absorb` returned a `{type(moved).__name__}`; an `nn.Module` is wanted: only a module can take "
            "the first layer's place in a network.",
            "Write a class with `nn.Module` as its parent, whose `forward` takes x + shift.",
        )
        sees = Sees(x)
        with left_alone("Your layer", first=first, shift=shift), torch.no_grad(), sees:
            value = run(moved, x + shift)
        _judge_absorbed(value, first, kind, x, shift)
        expect(
            not sees.found,
            f"Your layer for {kind} takes the shift off the image again, and hands x to the old one. That "
            "gives the right output; but the exercise asks for a layer that works on x + shift.",
            "Let the old weights work on the shifted image, and subtract from the *output* what the shift "
            "has added to it.",
        )
        _judge_slope(moved, first, kind, x, shift)
    judge_yes_or_no(
        unchanged,
        _UNCHANGED,
        lambda name, right: (
            f"`{name}` {'does not change' if right else 'does change'} under the shift, and you say that it "
            f"{'does' if right else 'does not'}."
        ),
        "The second answer",
    )
    return "the two models agree on every image and in every gradient; what multiplies by x is not safe."


_UNCHANGED = {
    "gradient": (True, "∂y/∂x is the same number: the shift is a constant, and its derivative is zero."),
    "gradient_x_input": (False, "Same gradient, other input: the product moves by gradient ⊙ shift."),
    "integrated_gradients_black": (
        False,
        "For the shifted model the image 0 is not what 0 was for the first: the path starts elsewhere.",
    ),
    "integrated_gradients_shifted": (
        True,
        "Baseline and image move together: the path, the gradients on it and x − baseline are the same.",
    ),
}


def _judge_absorbed(value: Any, first: nn.Module, kind: str, x: Tensor, shift: Tensor) -> None:
    """Stops unless a layer gave on x + shift what the old one gives on x."""
    with torch.no_grad():
        want, at_shift, at_zero = first(x), first(shift), first(torch.zeros_like(shift))
    value = tensor(value, want.shape, f"Your layer for {kind}")
    effect = at_shift - at_zero
    taken = want + effect - value  # what was subtracted from first(x + shift)
    mistakes = (
        Mistake(
            want + effect,
            f"The shift is not absorbed: {kind} still answers to the shifted image.",
            "Subtract from the output what the shift adds to it.",
        ),
        Mistake(
            want + 2 * effect,
            "The effect of the shift is added once more, not taken away.",
            "Mind the sign: the new bias is the old one *minus* what the shift contributes.",
        ),
        Mistake(
            want - at_zero,
            "The layer's own bias is gone: `first(shift)` contains it, and you subtracted it too.",
            "What the shift alone adds is first(shift) − first(0).",
        ),
        Mistake(
            want + effect - shift.mean(),
            "The shift itself was subtracted from the output, without passing through the weights.",
            "Before it reaches the output the shift is multiplied by the weights.",
        ),
    )
    if not any(close(value, known) for known in (want, *(mistake.value for mistake in mistakes))):
        flat = taken.flatten(2) if taken.dim() == 4 else taken[:, None]
        spread = (flat.amax(dim=2) - flat.amin(dim=2)).max()
        expect(
            spread > 1e-9 * effect.abs().max(),
            "One number a channel is subtracted; a shift that differs from pixel to pixel, and the padding "
            f"at the border, need one number a channel *and position*. (Here for {kind}.)",
            "What the shift adds to the output is itself a tensor (1, K, h, w): keep it whole. A layer's "
            "`bias` has no room for it.",
        )
    compare(
        value,
        want,
        *mistakes,
        look=f"On shifted images the new layer must give what the old one gave; here it is {kind}.",
    )


def _judge_slope(moved: nn.Module, first: nn.Module, kind: str, x: Tensor, shift: Tensor) -> None:
    """Stops unless the gradient of something behind the new layer is that behind the old one."""
    image = (x + shift).requires_grad_(True)
    made = run(moved, image)
    expect(
        made.requires_grad,
        f"Your layer for {kind} gives the right numbers, and lets no gradient through: behind it nothing can "
        "be explained.",
        "`torch.no_grad()` and `.detach()` belong round the *effect of the shift*, which is a constant; not "
        "round the layer's work in `forward`.",
    )
    (slope,) = run(torch.autograd.grad, made.square().sum(), image, allow_unused=True)
    compare(
        tensor(slope, x.shape, "The gradient through your layer"),
        _gradient_of(first, x, lambda y: y.square().sum()),
        look=f"The gradient through your layer for {kind} differs from that through the old one: is a part "
        "of the image detached?",
    )


@exercise("2.7", "How much of a map is luck?", functions=2)
def luck(agreement, samples_for) -> str:
    x, eps, draws = _two_images(), 0.02, 50

    def bumpy(rows: Tensor) -> Tensor:
        return torch.sin(60 * rows) + 0.5

    spy = _Spy(bumpy)
    with left_alone("`agreement`", x=x):
        value = agreement(spy, x, eps, draws, seeded(0))
    rows = spy.rows(x.shape)
    noisy = [
        image_rows[(image_rows != image).flatten(1).any(dim=1)]
        for image_rows, image in zip(_samples_of(rows, x), x, strict=True)
    ]
    added = torch.cat([image_rows - image for image_rows, image in zip(noisy, x, strict=True)])
    expect(
        len(added) == draws * len(x),
        f"`explain` saw {len(added) / len(x):g} changed copies of each image, not `n_draws={draws}`.",
        "One changed copy a draw; and once the image as it is.",
    )
    expect(
        added.abs().max() <= eps * (1 + 1e-9),
        f"The change is not invisible: a pixel moves by {added.abs().max() / eps:.2g} times eps.",
        "Uniform between −eps and eps: `(2 * torch.rand(…) - 1) * eps`. Gaussian noise has no bound.",
    )
    expect(
        added.min() < -0.5 * eps,
        "Every pixel only gets brighter: the change is drawn from [0, eps].",
        "Uniform between −eps and eps: `(2 * torch.rand(…) - 1) * eps`.",
    )
    own = "`torch.rand(x.shape, …)`: an independent draw for each pixel and channel."
    expect(
        added.flatten(1).std(dim=1).min() > 0.05 * eps,
        "Each change shifts the whole image by one number.",
        own,
    )
    expect(not close(added[:, 0], added[:, 1]), "The three colour channels share one draw.", own)
    expect(
        added.abs().max() > 0.9 * eps and abs(added.std() / eps - 1 / math.sqrt(3)) < 0.02,
        "The change stays within eps, but is not uniform between −eps and eps.",
        "`(2 * torch.rand(…) - 1) * eps`: an independent draw for each pixel and channel.",
    )
    for image_rows in noisy:
        expect(
            not close(image_rows[0], image_rows[-1]), "Every draw makes the same change.", "Draw in the loop."
        )
    _judge_agreement(tensor(torch.as_tensor(value), None, "`agreement`"), noisy, x, bumpy)
    _judge_generator(lambda *given: torch.as_tensor(agreement(*given)), bumpy, x, eps, 2)
    try:
        _judge_samples_for(samples_for)
    except NotAttempted as stop:
        raise NotAttempted("`agreement` is right. Now `samples_for`.", stop.code) from None
    return "you measure how far an invisible change moves a map, and predict how many samples hold it still."


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """The correlation of each row of a with the same row of b, (n, D) and (n, D) -> (n,)."""
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    return (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))


def _judge_agreement(value: Tensor, noisy: list[Tensor], x: Tensor, explain: Callable) -> None:
    still = [image.flatten().expand(len(rows), -1) for image, rows in zip(x, noisy, strict=True)]
    map_still = [explain(image) for image in still]
    moved = [rows.flatten(1) for rows in noisy]

    def mean_of(measure: Callable, a: list[Tensor], b: list[Tensor]) -> Tensor:
        return torch.stack([measure(p, q).mean() for p, q in zip(a, b, strict=True)])

    maps = [explain(rows) for rows in moved]
    right = mean_of(_pearson, map_still, maps)
    expect(
        value.numel() in (1, len(x)),
        f"`agreement` returned a tensor of shape {tuple(value.shape)}; one number is wanted.",
        "Average over the draws.",
    )

    def same(wrong: Tensor) -> bool:
        return close(value.reshape(-1), wrong if value.numel() == len(x) else wrong.mean().reshape(1), 1e-6)

    for wrong, message, look in (
        (
            mean_of(_pearson, still, moved),
            "You correlate the images, not their maps.",
            "Compare `explain(x)` with `explain(x + change)`.",
        ),
        (
            mean_of(torch.cosine_similarity, map_still, maps),
            "This is the cosine, not the correlation: two maps with a common offset look alike to it.",
            "Subtract each map's own mean before you multiply.",
        ),
        (
            mean_of(_pearson, [m.abs() for m in map_still], [m.abs() for m in maps]),
            "The maps lost their signs before they were compared.",
            "Correlate what `explain` returns, as it is.",
        ),
        (
            _pearson(torch.stack([m[0] for m in map_still]), torch.stack([m.mean(dim=0) for m in maps])),
            "The maps were averaged over the draws before they were compared: the noise has gone already.",
            "Correlate each draw's map with the still one, then average the correlations.",
        ),
        (
            _pearson(
                torch.cat(map_still, dim=1),
                torch.cat(maps, dim=1),
            )
            .mean()
            .expand(len(x)),
            "All the images of the batch were thrown into one correlation.",
            "Flatten from dimension 1 on, and correlate image by image.",
        ),
        (
            1 - right,
            "This is one minus the correlation: it measures how the maps differ.",
            "Agreement is 1 where nothing moves.",
        ),
    ):
        if not same(right) and same(wrong):
            raise Wrong(message, look)
    compare(value.reshape(-1), right if value.numel() == len(x) else right.mean().reshape(1))


def _judge_samples_for(samples_for) -> None:
    """Maps s + e/√n with independent e: two of them correlate by 1 / (1 + v/n)."""

    def predicted(r: float, n: float, wanted: float) -> float:
        return n * (1 / r - 1) / (1 / wanted - 1)

    cases = ((0.5, 16, 0.8), (0.2, 10, 0.9), (0.9, 40, 0.5))
    got = []
    for case in cases:
        value = run(samples_for.function, *case)
        got.append(float(tensor(torch.as_tensor(value), None, "`samples_for`")))
    right = [predicted(*case) for case in cases]

    def same(wrong: list[float]) -> bool:  # whoever rounds, up or to the nearest, is as right
        return all(abs(a - b) <= 1.0 + 1e-6 * b for a, b in zip(got, wrong, strict=True))

    if same(right):
        return
    for wrong, message, look in (
        (
            [n * wanted / r for r, n, wanted in cases],
            "You scale n by wanted / measured: agreement does not grow in proportion to n, it ends at 1.",
            "r = 1 / (1 + v/n). First find v from what was measured, then n from what is wanted.",
        ),
        (
            [n * ((1 / r - 1) / (1 / wanted - 1)) ** 2 for r, n, wanted in cases],
            "The ratio is squared: right if v/n were a standard deviation, but it is a variance.",
            "r = 1 / (1 + v/n): 1/r − 1 falls like 1/n.",
        ),
        (
            [(1 / r - 1) / (1 / wanted - 1) for r, n, wanted in cases],
            "You return how many times as many samples it takes: the n of the measurement is missing.",
            "v = n · (1/r − 1), with the n at which r was measured.",
        ),
        (
            [n * (1 / wanted - 1) / (1 / r - 1) for r, n, wanted in cases],
            "The ratio is upside down: more agreement would take fewer samples.",
            "Solve wanted = 1 / (1 + v/n) for n.",
        ),
        (
            [n * (1 - r) / (1 - wanted) for r, n, wanted in cases],
            "You take 1 − r for the share of noise; in r = 1 / (1 + v/n) that share, v/n, is 1/r − 1.",
            "Solve r = 1 / (1 + v/n) for v, step by step.",
        ),
    ):
        if same(wrong):
            raise Wrong(message, look)
    failing = next(k for k in range(len(cases)) if abs(got[k] - right[k]) > 1.0 + 1e-6 * right[k])
    r, n, wanted = cases[failing]
    fail(
        f"`samples_for({r}, {n}, {wanted})` gives {got[failing]:.4g}; {right[failing]:.4g} do.",
        "Solve r = 1 / (1 + v/n) for v with what was measured, then for n with what is wanted.",
    )


@exercise("2.8", "Bonus: VarGrad in one pass")
def var_grad(answer) -> str:
    x, n_samples, noise = _two_images(), 30, 0.2
    spy = _Spy(_wave)
    with left_alone(x=x):
        value = tensor(answer(spy, x, n_samples, noise, seeded(0)), x.shape)
    samples = _samples_of(spy.rows(x.shape), x)
    _judge_noise(samples, x, n_samples, noise)
    gradients = torch.stack([_wave(rows) for rows in samples])
    right = gradients.var(dim=1, unbiased=False)
    compare(
        value,
        right,
        Mistake(
            gradients.mean(dim=1),
            "This is the mean of the gradients: SmoothGrad itself.",
            "VarGrad is their variance, pixel by pixel.",
        ),
        Mistake(
            gradients.square().mean(dim=1),
            "This is the mean of the squares: the square of the mean is not taken off.",
            "Variance: the mean squared distance from the mean.",
        ),
        Mistake(
            right.sqrt(),
            "This is the standard deviation.",
            "VarGrad is its square.",
        ),
        Mistake(
            right * n_samples,
            "The squared distances are added up, not averaged.",
            "Divide by n at the end.",
        ),
        Mistake(
            gradients.var(dim=1),
            "The squared distances are divided by n − 1; the exercise asks for their mean, divided by n.",
            "The formula has 1/n.",
        ),
        Mistake(
            gradients.abs().var(dim=1, unbiased=False),
            "The absolute value was taken before the variance.",
            "The variance is that of the signed gradients.",
        ),
    )
    steep = _Spy(lambda rows: 1e8 + _wave(rows))
    offset = tensor(answer(steep, x, n_samples, noise, seeded(0)), x.shape)
    expect(
        close(offset, right, 1e-3),
        "With 1e8 added to every gradient the variance should stay; yours is lost to rounding.",
        "Mean of squares minus square of mean subtracts two huge numbers. Update the mean and the sum of "
        "squared distances instead (hint 2).",
    )
    expect(
        spy.calls == 1 or spy.most < n_samples // 2,
        f"You keep {spy.most} gradients at a time: memory grows with n_samples.",
        "Keep a running mean and a running sum of squared distances, and let each gradient go.",
    )
    expect(
        max(len(asked) for asked in spy.asked) < n_samples * len(x) // 2,
        "All the noisy images go through at once: memory grows with n_samples.",
        "One sample a turn, and a running mean and sum of squared distances.",
    )
    peaks = []
    for n in (8, 64):
        with PeakMemory(x) as memory:
            answer(_wave, x, n, noise, seeded(0))
        peaks.append(memory.peak / (x.numel() * x.element_size()))
    expect(
        peaks[1] < 2 * peaks[0],
        f"With 8 samples {peaks[0]:.0f} tensors of the images' size are alive at once, with 64 samples "
        f"{peaks[1]:.0f}: memory grows with n_samples.",
        "Keep a running mean and a running sum of squared distances, and no list.",
    )
    _judge_generator(answer, _wave, x, 4, noise)
    return "the gradients' variance, in one pass, with the memory of a single sample, safe from cancellation."
