"""Wrong answers to the exercises of chapter 2, as people give them; and right ones that look unlike ours."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from planted import Wrong
from torch import nn


# ---- 2.1 ----
def gradient_of(score):
    """An answer to 2.1 that differentiates ``score(logits, target)``."""

    def answer(model, x, target):
        x = x.detach().clone().requires_grad_(True)
        return torch.autograd.grad(score(model(x), target), x)[0]

    return answer


def rows(target):
    return torch.arange(len(target))


def accumulates(model, x, target):
    x.requires_grad_(True)
    model(x)[rows(target), target].sum().backward()
    return x.grad


def fills_parameters(model, x, target):
    x = x.clone().requires_grad_(True)
    model(x)[rows(target), target].sum().backward()
    return x.grad


def not_watched(model, x, target):
    return torch.autograd.grad(model(x)[rows(target), target].sum(), x)[0]


def not_summed(model, x, target):
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(model(x)[rows(target), target], x)[0]


# ---- 2.2 ----
def scaled(maps):
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)


def min_max(attribution):
    maps = attribution.abs().amax(dim=1)
    low = maps.amin(dim=(1, 2), keepdim=True)
    return scaled(maps - low)


def divides_by_zero(attribution):
    maps = attribution.abs().amax(dim=1)
    return maps / maps.amax(dim=(1, 2), keepdim=True)


# ---- 2.3, 2.8 ----
def extent(x):
    return x.amax(dim=(1, 2, 3), keepdim=True) - x.amin(dim=(1, 2, 3), keepdim=True)


def fresh(x, generator):
    return torch.randn(x.shape, generator=generator, dtype=x.dtype)


def smooth(sigma=lambda x, noise: noise * extent(x), draw=fresh, each=lambda g: g, end=lambda mean, n: mean):
    """An answer to 2.3 with one part exchanged."""

    def answer(grad, x, n_samples, noise, generator):
        total = 0
        for _ in range(n_samples):
            total = total + each(grad(x + sigma(x, noise) * draw(x, generator)))
        return end(total / n_samples, n_samples)

    return answer


def in_place(grad, x, n_samples, noise, generator):
    total, sigma = 0, noise * extent(x)
    for _ in range(n_samples):
        x += sigma * fresh(x, generator)
        total = total + grad(x)
    return total / n_samples


def random_walk(grad, x, n_samples, noise, generator):
    total, sigma = 0, noise * extent(x)
    for _ in range(n_samples):
        x = x + sigma * fresh(x, generator)
        total = total + grad(x)
    return total / n_samples


def noise_on_the_gradient(grad, x, n_samples, noise, generator):
    return sum(grad(x) + noise * extent(x) * fresh(x, generator) for _ in range(n_samples)) / n_samples


def drawn_once(grad, x, n_samples, noise, generator):
    noisy = x + noise * extent(x) * fresh(x, generator)
    return sum(grad(noisy) for _ in range(n_samples)) / n_samples


def clipped(grad, x, n_samples, noise, generator):
    sigma = noise * extent(x)
    return sum(grad((x + sigma * fresh(x, generator)).clamp(0, 1)) for _ in range(n_samples)) / n_samples


def folded_wrongly(grad, x, n_samples, noise, generator):
    many = x.repeat(n_samples, 1, 1, 1)  # image 0, image 1, image 0, ...
    noisy = many + noise * extent(many) * fresh(many, generator)
    return grad(noisy).view(len(x), n_samples, *x.shape[1:]).mean(dim=1)


def ignores_generator(grad, x, n_samples, noise, generator):
    sigma = noise * extent(x)
    return sum(grad(x + sigma * torch.randn_like(x)) for _ in range(n_samples)) / n_samples


# ---- 2.4 ----
def integrate(
    points=lambda n: [(k + 0.5) / n for k in range(n)],
    at=lambda x, baseline, a: baseline + a * (x - baseline),
    way=lambda x, baseline: x - baseline,
    divisor=lambda n: n,
):
    """An answer to the first part of 2.4 with one part exchanged."""

    def answer(grad, x, baseline, n_steps):
        total = sum(grad(at(x, baseline, a)) for a in points(n_steps))
        return way(x, baseline) * total / divisor(n_steps)

    return answer


def doubling(enough):
    """An answer to the second part of 2.4 that stops when ``enough(gap, difference, tolerance)``."""

    def answer(attribute, difference, tolerance):
        n = 1
        while not enough(attribute(n).sum() - difference, difference, tolerance):
            n = 2 * n
        return n

    return answer


good_steps = doubling(lambda gap, difference, tolerance: abs(gap) <= tolerance * abs(difference))


# ---- 2.5 ----
def relu_with(down, up=lambda z: z.clamp_min(0)):
    class Answer(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return up(z)

        @staticmethod
        def backward(ctx, g):
            (z,) = ctx.saved_tensors
            return down(z, g)

    return Answer


class Remembers(torch.autograd.Function):
    """Keeps its input in the class, where the next ReLU overwrites it."""

    @staticmethod
    def forward(ctx, z):
        Remembers.z = z
        return z.clamp_min(0)

    @staticmethod
    def backward(ctx, g):
        z = Remembers.z
        return g * (z > 0) * (g > 0)


# ---- 2.6 ----
class Layer(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def effect(first, shift):
    with torch.no_grad():
        return first(shift) - first(torch.zeros_like(shift))


def one_number_a_channel(first, shift):
    if not isinstance(first, nn.Conv2d):
        return Layer(lambda x: first(x) - effect(first, shift))
    total = (first.weight.sum(dim=(2, 3)) * shift.mean(dim=(0, 2, 3))).sum(dim=1).view(1, -1, 1, 1)
    return Layer(lambda x: first(x) - total)


def in_the_old_layer(first, shift):
    layer = first if isinstance(first, nn.Conv2d) else first[-1]
    moved = effect(first, shift)
    layer.bias.data -= moved.mean(dim=(0, 2, 3)) if moved.dim() == 4 else moved[0]
    return first


def good_absorb(first, shift):
    return Layer(lambda x: first(x) - effect(first, shift))


def verdicts(**changes):
    return {
        "gradient": True,
        "gradient_x_input": False,
        "integrated_gradients_black": False,
        "integrated_gradients_shifted": True,
    } | changes


# ---- 2.7 ----
def centred(maps):
    return maps.flatten(1) - maps.flatten(1).mean(dim=1, keepdim=True)


def pearson(a, b):
    return F.cosine_similarity(centred(a), centred(b), dim=1)


def uniform(x, eps, generator):
    return (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1) * eps


def agree(change=uniform, measure=lambda explain, x, moved: pearson(explain(x), explain(moved)).mean()):
    """An answer to the first part of 2.7 with one part exchanged."""

    def answer(explain, x, eps, n_draws, generator):
        return sum(measure(explain, x, x + change(x, eps, generator)) for _ in range(n_draws)) / n_draws

    return answer


def same_change(explain, x, eps, n_draws, generator):
    moved = x + uniform(x, eps, generator)
    return sum(pearson(explain(x), explain(moved)).mean() for _ in range(n_draws)) / n_draws


def whole_batch(explain, x, moved):
    return pearson(explain(x).flatten().unsqueeze(0), explain(moved).flatten().unsqueeze(0)).mean()


def good_samples_for(r, n, wanted):
    return n * (1 / r - 1) / (1 / wanted - 1)


# ---- 2.8 ----
def two_moments(grad, x, n_samples, noise, generator):
    total, squares = 0, 0
    for _ in range(n_samples):
        g = grad(x + noise * extent(x) * fresh(x, generator))
        total, squares = total + g, squares + g**2
    return squares / n_samples - (total / n_samples) ** 2


def variance_of_list(**options):
    def answer(grad, x, n_samples, noise, generator):
        kept = [grad(x + noise * extent(x) * fresh(x, generator)) for _ in range(n_samples)]
        return torch.stack(kept).var(dim=0, **options)

    return answer


def one_large_batch(grad, x, n_samples, noise, generator):
    many = x.repeat(n_samples, 1, 1, 1)
    gradients = grad(many + noise * extent(many) * fresh(many, generator))
    return gradients.view(n_samples, *x.shape).var(dim=0, unbiased=False)


WRONG = {
    "2.1": [
        Wrong("forgot the target", "sum of all the logits", (gradient_of(lambda y, t: y.sum()),)),
        Wrong("columns of the whole batch", "every target", (gradient_of(lambda y, t: y[:, t].sum()),)),
        Wrong("first target for all", "first image", (gradient_of(lambda y, t: y[:, t[0]].sum()),)),
        Wrong("largest logit", "largest logit", (gradient_of(lambda y, t: y.amax(dim=1).sum()),)),
        Wrong(
            "gradient of the softmax",
            "softmax",
            (gradient_of(lambda y, t: y.softmax(dim=1)[rows(t), t].sum()),),
        ),
        Wrong(
            "gradient of the log-softmax",
            "log-probability",
            (gradient_of(lambda y, t: y.log_softmax(dim=1)[rows(t), t].sum()),),
        ),
        Wrong(
            "gradient of the loss",
            "cross-entropy",
            (gradient_of(lambda y, t: F.cross_entropy(y, t, reduction="sum")),),
        ),
        Wrong("mean over the batch", "number of images", (gradient_of(lambda y, t: y[rows(t), t].mean()),)),
        Wrong(
            "absolute value",
            "signs are gone",
            (lambda m, x, t: gradient_of(lambda y, t: y[rows(t), t].sum())(m, x, t).abs(),),
        ),
        Wrong("accumulates on a leaf", "accumulates", (accumulates,)),
        Wrong("gradients left in the parameters", "parameters", (fills_parameters,)),
        Wrong("image not watched", "RuntimeError", (not_watched,)),
        Wrong("not summed", "scalar outputs", (not_summed,)),
    ],
    "2.2": [
        Wrong(
            "maximum before absolute value", "before the absolute value", (lambda a: scaled(a.amax(dim=1)),)
        ),
        Wrong("signed sum", "cancel", (lambda a: scaled(a.sum(dim=1).abs()),)),
        Wrong("mean over channels", "not reduced to the largest", (lambda a: scaled(a.abs().mean(dim=1)),)),
        Wrong("length over channels", "length", (lambda a: scaled(a.norm(dim=1)),)),
        Wrong("not divided", "not divided", (lambda a: a.abs().amax(dim=1),)),
        Wrong("one maximum for all", "whole batch", (lambda a: a.abs().amax(dim=1) / a.abs().amax(),)),
        Wrong("min-max", "smallest value", (min_max,)),
        Wrong("zero divided by zero", "NaN", (divides_by_zero,)),
        Wrong("keeps the channel", "shape", (lambda a: a.abs().amax(dim=1, keepdim=True),)),
    ],
    "2.3": [
        Wrong("absolute noise", "same absolute σ", (smooth(sigma=lambda x, noise: noise),)),
        Wrong("range of the batch", "whole batch", (smooth(sigma=lambda x, s: s * (x.max() - x.min())),)),
        Wrong(
            "relative to the brightest",
            "brightest",
            (smooth(sigma=lambda x, s: s * x.amax(dim=(1, 2, 3), keepdim=True)),),
        ),
        Wrong(
            "relative to the deviation",
            "standard deviation, not",
            (smooth(sigma=lambda x, s: s * x.flatten(1).std(dim=1).view(-1, 1, 1, 1)),),
        ),
        Wrong("variance", "variance", (smooth(sigma=lambda x, s: (s * extent(x)).sqrt()),)),
        Wrong("abs before averaging", "before the average", (smooth(each=torch.abs),)),
        Wrong("abs after averaging", "after the average", (smooth(end=lambda mean, n: mean.abs()),)),
        Wrong("squared", "squared", (smooth(each=torch.square),)),
        Wrong("sum", "sum over the samples", (smooth(end=lambda mean, n: mean * n),)),
        Wrong("n - 1", "n − 1", (smooth(end=lambda mean, n: mean * n / (n - 1)),)),
        Wrong(
            "uniform",
            "not centred",
            (smooth(draw=lambda x, g: torch.rand(x.shape, generator=g, dtype=x.dtype)),),
        ),
        Wrong(
            "one number an image",
            "by one number",
            (smooth(draw=lambda x, g: torch.randn(len(x), 1, 1, 1, generator=g, dtype=x.dtype)),),
        ),
        Wrong("grey noise", "share one draw", (smooth(draw=lambda x, g: fresh(x[:, :1], g)),)),
        Wrong("in place", "changed the image", (in_place,)),
        Wrong("random walk", "random walk", (random_walk,)),
        Wrong("noise on the gradient", "without any noise", (noise_on_the_gradient,)),
        Wrong("drawn once", "same noise", (drawn_once,)),
        Wrong("clipped", "clipped", (clipped,)),
        Wrong("images mixed", "averaged together", (folded_wrongly,)),
        Wrong("own generator", "two generators", (ignores_generator,)),
    ],
    "2.4": [
        Wrong("no factor", "is missing", (integrate(way=lambda x, b: 1), good_steps)),
        Wrong("times x", "multiplied by x", (integrate(way=lambda x, b: x), good_steps)),
        Wrong("wrong sign", "sign is wrong", (integrate(way=lambda x, b: b - x), good_steps)),
        Wrong("divided by n + 1", "divided by n + 1", (integrate(divisor=lambda n: n + 1), good_steps)),
        Wrong(
            "n + 1 points, divided by n",
            "n + 1 gradients",
            (integrate(points=lambda n: [k / n for k in range(n + 1)]), good_steps),
        ),
        Wrong(
            "n - 1 points, divided by n",
            "n − 1 gradients",
            (integrate(points=lambda n: [k / n for k in range(1, n)]), good_steps),
        ),
        Wrong("sum", "added up", (integrate(divisor=lambda n: 1), good_steps)),
        Wrong("path from black", "starts at black", (integrate(at=lambda x, b, a: a * x), good_steps)),
        Wrong("path beyond the image", "overshoots", (integrate(at=lambda x, b, a: b + a * x), good_steps)),
        Wrong(
            "integer division",
            "hardly walked",
            (integrate(points=lambda n: [k // n for k in range(n)]), good_steps),
        ),
        Wrong("percent", "leaves the segment", (integrate(points=lambda n: range(n)), good_steps)),
        Wrong(
            "gap with its sign",
            "too small",
            (integrate(), doubling(lambda gap, d, tolerance: gap <= tolerance * abs(d))),
        ),
        Wrong(
            "absolute tolerance",
            "as absolute",
            (integrate(), doubling(lambda gap, d, tolerance: abs(gap) <= tolerance)),
        ),
        Wrong(
            "compared with a negative number",
            "never comes to an end",
            (integrate(), doubling(lambda gap, d, tolerance: abs(gap) <= tolerance * d)),
        ),
        Wrong("returns the next", "one doubling", (integrate(), lambda a, d, t: 2 * good_steps(a, d, t))),
    ],
    "2.5": [
        Wrong("ordinary backward", "ordinary backward", (relu_with(lambda z, g: g * (z > 0)),)),
        Wrong("deconvnet", "deconvnet", (relu_with(lambda z, g: g.clamp_min(0)),)),
        Wrong("absolute value", "cut to zero", (relu_with(lambda z, g: g.abs() * (z > 0)),)),
        Wrong("unchanged", "unchanged", (relu_with(lambda z, g: g),)),
        Wrong("masks alone", "masks come back", (relu_with(lambda z, g: 1.0 * (z > 0) * (g > 0)),)),
        Wrong("input", "input comes back", (relu_with(lambda z, g: z.clamp_min(0) * (g > 0)),)),
        Wrong(
            "forward passes all",
            "not a ReLU",
            (relu_with(lambda z, g: g * (z > 0) * (g > 0), up=lambda z: z.clone()),),
        ),
        Wrong("remembers in the class", "second's memory", (Remembers,)),
    ],
    "2.6": [
        Wrong("nothing absorbed", "not absorbed", (lambda first, shift: Layer(first), verdicts())),
        Wrong(
            "wrong sign",
            "once more",
            (lambda first, shift: Layer(lambda x: first(x) + effect(first, shift)), verdicts()),
        ),
        Wrong(
            "own bias lost",
            "own bias",
            (lambda first, shift: Layer(lambda x: first(x) - first(shift)), verdicts()),
        ),
        Wrong(
            "not through the weights",
            "without passing through the weights",
            (lambda first, shift: Layer(lambda x: first(x) - shift.mean()), verdicts()),
        ),
        Wrong("one number a channel", "one number a channel", (one_number_a_channel, verdicts())),
        Wrong("in the old layer", "original layer was changed", (in_the_old_layer, verdicts())),
        Wrong("gradient changes", "`gradient` does not", (good_absorb, verdicts(gradient=False))),
        Wrong(
            "gradient × input is safe",
            "`gradient_x_input` does change",
            (good_absorb, verdicts(gradient_x_input=True)),
        ),
        Wrong(
            "a black baseline is safe",
            "black` does change",
            (good_absorb, verdicts(integrated_gradients_black=True)),
        ),
        Wrong(
            "no baseline helps",
            "shifted` does not",
            (good_absorb, verdicts(integrated_gradients_shifted=False)),
        ),
    ],
    "2.7": [
        Wrong(
            "Gaussian",
            "not invisible",
            (agree(change=lambda x, eps, g: eps * fresh(x, g)), good_samples_for),
        ),
        Wrong(
            "brighter only",
            "brighter",
            (
                agree(change=lambda x, eps, g: eps * torch.rand(x.shape, generator=g, dtype=x.dtype)),
                good_samples_for,
            ),
        ),
        Wrong(
            "half the change",
            "not uniform",
            (agree(change=lambda x, e, g: uniform(x, 0.8 * e, g)), good_samples_for),
        ),
        Wrong("one change for all draws", "same change", (same_change, good_samples_for)),
        Wrong(
            "correlates the images",
            "correlate the images",
            (
                agree(measure=lambda f, x, moved: (f(x), f(moved)) and pearson(x, moved).mean()),
                good_samples_for,
            ),
        ),
        Wrong(
            "cosine",
            "cosine",
            (
                agree(
                    measure=lambda f, x, moved: F.cosine_similarity(
                        f(x).flatten(1), f(moved).flatten(1)
                    ).mean()
                ),
                good_samples_for,
            ),
        ),
        Wrong(
            "absolute maps",
            "lost their signs",
            (agree(measure=lambda f, x, moved: pearson(f(x).abs(), f(moved).abs()).mean()), good_samples_for),
        ),
        Wrong("batch in one", "one correlation", (agree(measure=whole_batch), good_samples_for)),
        Wrong(
            "distance",
            "one minus",
            (agree(measure=lambda f, x, moved: 1 - pearson(f(x), f(moved)).mean()), good_samples_for),
        ),
        Wrong("in proportion", "in proportion", (agree(), lambda r, n, wanted: n * wanted / r)),
        Wrong(
            "squared ratio",
            "squared",
            (agree(), lambda r, n, wanted: n * ((1 / r - 1) / (1 / wanted - 1)) ** 2),
        ),
        Wrong("a factor", "how many times", (agree(), lambda r, n, wanted: (1 / r - 1) / (1 / wanted - 1))),
        Wrong("upside down", "upside down", (agree(), lambda r, n, w: n * (1 / w - 1) / (1 / r - 1))),
        Wrong("1 - r as noise", "1 − r", (agree(), lambda r, n, wanted: n * (1 - r) / (1 - wanted))),
    ],
    "2.8": [
        Wrong("mean", "SmoothGrad itself", (smooth(),)),
        Wrong("mean of squares", "mean of the squares", (smooth(each=torch.square),)),
        Wrong("n - 1", "n − 1", (variance_of_list(unbiased=True),)),
        Wrong("keeps all gradients", "gradients at a time", (variance_of_list(unbiased=False),)),
        Wrong("one large batch", "at once", (one_large_batch,)),
        Wrong("two moments", "rounding", (two_moments,)),
        Wrong(
            "standard deviation",
            "standard deviation",
            (lambda *given: variance_of_list(unbiased=False)(*given).sqrt(),),
        ),
        Wrong(
            "absolute noise", "same absolute σ", (smooth(sigma=lambda x, noise: noise, each=torch.square),)
        ),
    ],
}


# ---- right, in another way: a check must not ask for our own code ----
def one_image_at_a_time(model, x, target):
    def single(image, c):
        image = image.detach().clone().requires_grad_(True)
        return torch.autograd.grad(model(image[None])[0, c], image)[0]

    return torch.stack([single(image, c) for image, c in zip(x, target, strict=True)])


def one_hot(model, x, target):
    x = x.detach().clone().requires_grad_(True)
    logits = model(x)
    return torch.autograd.grad(logits, x, F.one_hot(target, logits.shape[1]).to(logits))[0]


def in_one_batch(fold, unfold):
    def answer(grad, x, n_samples, noise, generator):
        many = fold(x, n_samples)
        return unfold(grad(many + noise * extent(many) * fresh(many, generator)), n_samples)

    return answer


def trapezoid(grad, x, baseline, n_steps):
    weights = [0.5] + [1.0] * (n_steps - 1) + [0.5]
    points = [baseline + k / n_steps * (x - baseline) for k in range(n_steps + 1)]
    return (x - baseline) * sum(w * grad(p) for w, p in zip(weights, points, strict=True)) / n_steps


def gauss_in_one_batch(grad, x, baseline, n_steps):
    nodes, weights = (torch.from_numpy(a).to(x) for a in np.polynomial.legendre.leggauss(n_steps))
    alpha = ((nodes + 1) / 2).view(-1, 1, 1, 1, 1)
    slopes = grad((baseline + alpha * (x - baseline)).flatten(0, 1)).unflatten(0, (n_steps, len(x)))
    return (x - baseline) * (weights.view(-1, 1, 1, 1, 1) / 2 * slopes).sum(dim=0)


class KeepsTheMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        ctx.on = z > 0
        return torch.relu(z)

    @staticmethod
    def backward(ctx, g):
        return torch.where(ctx.on, torch.relu(g), 0)


def sums_of_a_chunk(grad, x, n_samples, noise, generator):
    """Chan's rule, four samples a turn."""
    count, mean, squares = 0, torch.zeros_like(x), torch.zeros_like(x)
    while count < n_samples:
        m = min(4, n_samples - count)
        many = x.repeat(m, 1, 1, 1)
        g = grad(many + noise * extent(many) * fresh(many, generator)).unflatten(0, (m, len(x)))
        d = g.mean(dim=0) - mean
        squares = squares + g.var(dim=0, unbiased=False) * m + d**2 * count * m / (count + m)
        mean, count = mean + d * m / (count + m), count + m
    return squares / n_samples


ALSO_RIGHT = {
    "2.1": [(one_image_at_a_time,), (one_hot,)],
    "2.2": [
        (lambda a: torch.stack([m / max(m.max().item(), 1e-12) for m in a.abs().amax(dim=1)]),),
        (lambda a: scaled(torch.maximum(a, -a).max(dim=1).values),),
    ],
    "2.3": [
        (in_one_batch(lambda x, n: x.repeat(n, 1, 1, 1), lambda g, n: g.unflatten(0, (n, -1)).mean(dim=0)),),
        (
            in_one_batch(
                lambda x, n: x.repeat_interleave(n, 0), lambda g, n: g.unflatten(0, (-1, n)).mean(dim=1)
            ),
        ),
    ],
    "2.4": [
        (integrate(points=lambda n: [k / n for k in range(n)]), good_steps),
        (integrate(points=lambda n: [(k + 1) / n for k in range(n)]), good_steps),
        (trapezoid, good_steps),
        (gauss_in_one_batch, lambda a, d, t: torch.tensor(good_steps(a, d, t))),
    ],
    "2.5": [(KeepsTheMask,), (KeepsTheMask.apply,)],
    "2.6": [(lambda first, shift: Layer(lambda x: first(x - shift)), verdicts()), (good_absorb, verdicts())],
    "2.7": [
        (agree(), lambda r, n, wanted: math.ceil(good_samples_for(r, n, wanted))),
        (lambda *given: float(agree()(*given)), lambda r, n, wanted: round(good_samples_for(r, n, wanted))),
        (
            agree(measure=lambda explain, x, moved: pearson(explain(x), explain(moved))),
            lambda *given: torch.tensor(good_samples_for(*given)),
        ),
    ],
    "2.8": [(sums_of_a_chunk,)],
}
