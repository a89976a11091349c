"""Checks of chapter 2, gradients: on models so small that every mistake can be computed and recognised."""

import torch
from torch import Tensor, nn

from ._framework import Mistake, compare, exercise, expect, tensor


def _smooth_classifier(seed: int = 0) -> nn.Module:
    """Six classes, no ReLU, float64: its gradient is known to the last digit and changes with the image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 6 * 6, 6))
    return model.double().eval()


def _images(n: int, size: int = 6, seed: int = 1) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _gradient_of(model: nn.Module, x: Tensor, score) -> Tensor:
    """The gradient of score(logits), a number, with respect to the images."""
    x = x.detach().clone().requires_grad_(True)
    return torch.autograd.grad(score(model(x)), x)[0]


@exercise("2.1", "The simple gradient")
def simple_gradient(answer) -> str:
    model, x, target = _smooth_classifier(), _images(4), torch.tensor([2, 0, 5, 2])
    rows = torch.arange(4)
    before = x.clone()

    def of(score) -> Tensor:
        return _gradient_of(model, x, score)

    def chosen(y: Tensor) -> Tensor:
        return y[rows, target].sum()

    right = of(chosen)
    first = tensor(answer(model, x, target), x.shape)
    expect(
        torch.equal(x, before),
        "Your function changed the image it was given.",
        "Work on a copy: `x = x.detach().clone()`.",
    )
    compare(
        first,
        right,
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
    again = tensor(answer(model, x, target), x.shape)
    compare(
        again,
        right,
        Mistake(
            2 * right,
            "A second call on the same images gives twice the gradient: `.grad` accumulates.",
            "`backward()` adds to `.grad`. Use `torch.autograd.grad`, or a fresh copy of `x`.",
        ),
        look="The second call on the same images differs from the first: what does the first leave behind?",
    )
    alone = tensor(answer(model, before[:1].clone(), target[:1]), before[:1].shape)
    expect(
        bool(torch.allclose(alone, right[:1])),
        "An image's gradient changes when it comes alone: images of a batch leak into each other.",
        "Sum over the images only after each has its own logit.",
    )
    expect(
        all(p.grad is None for p in model.parameters()),
        "Your function leaves gradients in the model's parameters.",
        "`backward()` fills every `.grad` there is; `torch.autograd.grad(score, x)` fills none.",
    )
    return "one signed gradient an image, of its own target's logit, the same alone or in a batch."
