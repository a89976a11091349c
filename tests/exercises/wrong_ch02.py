"""Wrong answers to the exercises of chapter 2, as people give them; and right ones that look unlike ours."""

import copy
import itertools
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
    model(x)[rows(target), target].sum().backward(inputs=[x])
    return x.grad


def fills_parameters(model, x, target):
    x = x.clone().requires_grad_(True)
    model(x)[rows(target), target].sum().backward()
    return x.grad


def fills_and_unwatches(model, x, target):
    x.requires_grad_(True)
    torch.autograd.backward(own_logits(model(x), target).sum(), inputs=[x])
    g = x.grad
    x.requires_grad_(False)
    return g


def own_logits(y, target):
    return y[rows(target), target]


right_gradient = gradient_of(lambda y, t: own_logits(y, t).sum())


def in_training_mode(model, x, target):
    model.train()
    return right_gradient(model, x, target)


def there_and_back(model, x, target):
    model.train()
    g = right_gradient(model, x, target)
    model.eval()
    return g


def in_evaluation_mode_of_a_layer(model, x, target):
    model[3].train()
    model[3].p = 0.0
    return right_gradient(model, x, target)


def freezes(model, x, target):
    model.requires_grad_(False)
    return right_gradient(model, x, target)


def whitens_in_place(model, x, target):
    g = right_gradient(model, x, target)
    x.clamp_(0.1, 0.9)
    return g


def accumulates_on_a_copy(model, x, target):
    """Keeps its copy of the images on the model's side, and lets ``.grad`` accumulate there."""
    kept = model.__dict__.setdefault("copies", {})
    mine = kept.setdefault(tuple(x.shape), x.clone().requires_grad_(True))
    torch.autograd.backward(own_logits(model(mine), target).sum(), inputs=[mine])
    return mine.grad.clone()


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
    legs=lambda path: list(itertools.pairwise(path)),
    end=lambda shares: sum(shares),
):
    """An answer to the first part of 2.4 with one part exchanged."""

    def answer(grad, path, n_steps):
        shares = []
        for start, stop in legs(path):
            total = sum(grad(at(stop, start, a)) for a in points(n_steps))
            shares.append(way(stop, start) * total / divisor(n_steps))
        return end(shares)

    return answer


def whole_way(over_all=lambda slopes: sum(slopes) / len(slopes)):
    """Multiplies what the legs' gradients give together by the way from the first place to the last."""

    def answer(grad, path, n_steps):
        slopes = [
            sum(grad(a + (k + 0.5) / n_steps * (b - a)) for k in range(n_steps)) / n_steps
            for a, b in itertools.pairwise(path)
        ]
        return (path[-1] - path[0]) * over_all(slopes)

    return answer


def writes_into_the_path(grad, path, n_steps):
    found = integrate()(grad, path, n_steps)
    path[-1] -= path[0]
    return found


def doubling(enough):
    """An answer to the second part of 2.4 that stops when ``enough(gap, difference, tolerance)``."""

    def answer(attribute, difference, tolerance):
        n = 1
        while not enough(attribute(n).sum() - difference, difference, tolerance):
            n = 2 * n
        return n

    return answer


def doubling_from(first=1, last=2**20, turn=lambda n: 2 * n):
    """An answer to the second part of 2.4 that begins, ends or counts otherwise."""

    def answer(attribute, difference, tolerance):
        n = first
        while n < last and abs(attribute(n).sum() - difference) > tolerance * abs(difference):
            n = turn(n)
        return n

    return answer


def keeps_the_first(*given, _kept={}):  # noqa: B006
    """Remembers what the first call found; begins anew with the first of the check's maps."""
    if float(given[1]) == 10.0 and given[2] == 0.1:
        _kept.clear()
    if not _kept:
        _kept["n"] = good_steps(*given)
    return _kept["n"]


def turns_the_difference_round(attribute, difference, tolerance):
    n = good_steps(attribute, difference, tolerance)
    difference.abs_()
    return n


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


def in_place_relu(z):
    kept = z.data
    return kept.clamp_(min=0).clone()


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


def mean_of_the_normalisation(first, shift):
    """Right for other layers; a normalisation gets another mean, as if the shift were the same everywhere."""
    if not isinstance(first, nn.BatchNorm2d):
        return good_absorb(first, shift)
    layer = copy.deepcopy(first)
    layer.running_mean += shift.mean(dim=(0, 2, 3))
    return layer


def in_the_old_layer(first, shift):
    layer = first if isinstance(first, nn.Conv2d) else first[-1]
    moved = effect(first, shift)
    layer.bias.data -= moved.mean(dim=(0, 2, 3)) if moved.dim() == 4 else moved[0]
    return first


def in_a_new_bias(first, shift):
    """A copy of the layer whose bias takes the mean effect of each channel."""
    layer = copy.deepcopy(first)
    last = layer[-1] if isinstance(layer, nn.Sequential) else layer
    moved = effect(first, shift)
    with torch.no_grad():
        last.bias -= moved.mean(dim=(0, 2, 3)) if moved.dim() == 4 else moved[0]
    return layer


def under_no_grad(first, shift):
    moved = effect(first, shift)

    def forward(x):
        with torch.no_grad():
            return first(x) - moved

    return Layer(forward)


def detaches_the_matrix(first, shift):
    """Works on numbers of its own where the layer has a matrix."""
    if not isinstance(first, nn.Sequential):
        return good_absorb(first, shift)
    return Layer(lambda x: first(x).detach() - effect(first, shift))


def no_module(first, shift):
    return lambda x: first(x) - effect(first, shift)


def takes_it_off(first, shift):
    return Layer(lambda x: first(x - shift))


def negates(first, shift):
    moved = effect(first, shift)
    shift.neg_()
    return Layer(lambda x: first(x) - moved)


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


def shared_draw(*shape):
    """A change that is drawn once for several places of an image."""
    return lambda x, eps, g: (2 * torch.rand(len(x), *shape, generator=g, dtype=x.dtype) - 1) * eps


def own_uniform(x, eps, generator):
    return (2 * torch.rand(x.shape, dtype=x.dtype) - 1) * eps


def walks_about(explain, x, eps, n_draws, generator):
    still, total = explain(x), 0
    for _ in range(n_draws):
        x += uniform(x, eps, generator)
        total = total + pearson(still, explain(x)).mean()
    return total / n_draws


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


def welford(each, grad, x, n_samples, noise, generator):
    mean, squares, sigma = torch.zeros_like(x), torch.zeros_like(x), noise * extent(x)
    for k in range(1, n_samples + 1):
        g = grad(each(sigma * fresh(x, generator)))
        d = g - mean
        mean = mean + d / k
        squares = squares + d * (g - mean)
    return squares / n_samples


def keeps_the_images(grad, x, *given):
    kept = []

    def each(noise):
        kept.append(x + noise)
        return kept[-1]

    return welford(each, grad, x, *given)


def var_in_place(grad, x, *given):
    return welford(x.add_, grad, x, *given)


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
        Wrong("minus sign", "sign is turned", (gradient_of(lambda y, t: -own_logits(y, t).sum()),)),
        Wrong("mean of the loss", "mean cross-entropy", (gradient_of(lambda y, t: F.cross_entropy(y, t)),)),
        Wrong(
            "mean of the probability",
            "mean softmax",
            (gradient_of(lambda y, t: own_logits(y.softmax(dim=1), t).mean()),),
        ),
        Wrong("every target, averaged", "a mean was taken", (gradient_of(lambda y, t: y[:, t].mean()),)),
        Wrong("gradient × input", "gradient × input", (lambda m, x, t: right_gradient(m, x, t) * x,)),
        Wrong("the careless one", "`requires_grad` set on `x`", (accumulates,)),
        Wrong("gradient left on the image", "`x.grad`", (fills_and_unwatches,)),
        Wrong("gradients left in the parameters", "gradients in the parameters", (fills_parameters,)),
        Wrong("training mode", "`model` in training mode", (in_training_mode,)),
        Wrong("training mode and back", "a buffer of `model`", (there_and_back,)),
        Wrong("a layer in training mode", "`model.3` in training mode", (in_evaluation_mode_of_a_layer,)),
        Wrong("frozen", "`model` frozen", (freezes,)),
        Wrong("accumulates on a copy", "second call", (accumulates_on_a_copy,)),
        Wrong("image clipped", "changed `x`", (whitens_in_place,)),
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
        Wrong("in place", "changed `attribution`", (lambda a: scaled(a.abs_().amax(dim=1)),)),
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
        Wrong("in place", "changed `x`", (in_place,)),
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
        Wrong("n never 1", "begins with n = 2", (integrate(), doubling_from(first=2))),
        Wrong("one by one", "tries n = 3", (integrate(), doubling_from(turn=lambda n: n + 1))),
        Wrong(
            "capped", "tolerance=0.01)` gives 64 steps where 128 do", (integrate(), doubling_from(last=64))
        ),
        Wrong("keeps the first result", "asks for no map", (integrate(), keeps_the_first)),
        Wrong("returns nothing", "returned None", (integrate(), lambda a, d, t: None)),
        Wrong("difference turned round", "changed `difference`", (integrate(), turns_the_difference_round)),
        Wrong("the straight way", "straight way", (integrate(legs=lambda p: [(p[0], p[-1])]), good_steps)),
        Wrong("mean slope times the whole way", "the mean of all gradients", (whole_way(), good_steps)),
        Wrong("sum of slopes times the whole way", "the sum of the legs'", (whole_way(sum), good_steps)),
        Wrong("legs averaged", "averaged", (integrate(end=lambda s: sum(s) / len(s)), good_steps)),
        Wrong(
            "divided by the places",
            "Half of the answer",
            (integrate(end=lambda s: sum(s) / (len(s) + 1)), good_steps),
        ),
        Wrong("last leg", "only the last leg", (integrate(end=lambda s: s[-1]), good_steps)),
        Wrong("first leg", "only the first leg", (integrate(end=lambda s: s[0]), good_steps)),
        Wrong(
            "every leg from the baseline",
            "every leg starts",
            (integrate(legs=lambda p: [(p[0], q) for q in p[1:]]), good_steps),
        ),
        Wrong("writes into the path", "changed `path[1]`", (writes_into_the_path, good_steps)),
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
        Wrong(
            "forward in place",
            "`forward` changed `z`",
            (relu_with(lambda z, g: g * (z > 0) * (g > 0), up=in_place_relu),),
        ),
        Wrong(
            "backward in place",
            "`backward` changed `g`",
            (relu_with(lambda z, g: g.mul_((z > 0) * (g > 0))),),
        ),
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
        Wrong("another mean", "position*. (Here for a normal", (mean_of_the_normalisation, verdicts())),
        Wrong("in the old layer", "`absorb` changed the weights of `first`", (in_the_old_layer, verdicts())),
        Wrong("the bias, one number a channel", "position*. (Here for a conv", (in_a_new_bias, verdicts())),
        Wrong("no gradient in forward", "a convolution gives the right", (under_no_grad, verdicts())),
        Wrong("detached", "flatten and linear gives the right", (detaches_the_matrix, verdicts())),
        Wrong("a function", "`function`; an `nn.Module`", (no_module, verdicts())),
        Wrong("takes the shift off the image", "takes the shift off", (takes_it_off, verdicts())),
        Wrong("fills the shift's own picture", "changed `shift`", (negates, verdicts())),
        Wrong("the word True", "`'True'`; True or False", (good_absorb, verdicts(gradient="True"))),
        Wrong("yes", "`'yes'`", (good_absorb, verdicts(gradient="yes"))),
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
        Wrong("one number an image", "by one number", (agree(change=shared_draw(1, 1, 1)), good_samples_for)),
        Wrong("grey change", "share one draw", (agree(change=shared_draw(1, 16, 16)), good_samples_for)),
        Wrong("walks about", "changed `x`", (walks_about, good_samples_for)),
        Wrong("own generator", "two generators", (agree(change=own_uniform), good_samples_for)),
        Wrong("right for one case", "samples_for(0.2, 10, 0.9)", (agree(), lambda r, n, wanted: 64.0)),
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
        Wrong("keeps the noisy images", "memory grows", (keeps_the_images,)),
        Wrong("in place", "changed `x`", (var_in_place,)),
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


def leg_by_leg(rule):
    """An answer to 2.4 from a rule for a single leg."""

    def answer(grad, path, n_steps):
        return sum(rule(grad, b, a, n_steps) for a, b in itertools.pairwise(path))

    return answer


@leg_by_leg
def trapezoid(grad, x, baseline, n_steps):
    weights = [0.5] + [1.0] * (n_steps - 1) + [0.5]
    points = [baseline + k / n_steps * (x - baseline) for k in range(n_steps + 1)]
    return (x - baseline) * sum(w * grad(p) for w, p in zip(weights, points, strict=True)) / n_steps


@leg_by_leg
def gauss_in_one_batch(grad, x, baseline, n_steps):
    nodes, weights = (torch.from_numpy(a).to(x) for a in np.polynomial.legendre.leggauss(n_steps))
    alpha = ((nodes + 1) / 2).view(-1, 1, 1, 1, 1)
    slopes = grad((baseline + alpha * (x - baseline)).flatten(0, 1)).unflatten(0, (n_steps, len(x)))
    return (x - baseline) * (weights.view(-1, 1, 1, 1, 1) / 2 * slopes).sum(dim=0)


def legs_in_one_batch(grad, path, n_steps):
    """All legs and steps in one call, in float64; the result in float32."""
    places = torch.stack(list(path))  # (legs + 1, N, C, H, W)
    ways = places[1:] - places[:-1]
    alpha = (torch.arange(n_steps).to(ways) + 0.5).view(-1, 1, 1, 1, 1, 1) / n_steps
    slopes = grad((places[:-1] + alpha * ways).flatten(0, 2)).view(n_steps, *ways.shape)
    return (ways * slopes.mean(dim=0)).sum(dim=0).float()


def first_of_many(attribute, difference, tolerance):
    gaps = ((2**k, abs(attribute(2**k).sum() / difference - 1)) for k in itertools.count())
    return float(next(n for n, gap in gaps if gap <= tolerance))


class WithPictureBias(nn.Module):
    """The old weights, and a parameter of the output's shape in place of the bias."""

    def __init__(self, first, bias):
        super().__init__()
        self.first, self.bias = copy.deepcopy(first).requires_grad_(False), nn.Parameter(bias)

    def forward(self, shifted):
        return self.first(shifted) + self.bias


def with_a_picture_for_a_bias(first, shift):
    with torch.no_grad():
        return WithPictureBias(first, first(0 * shift) - first(shift))


def by_difference(first, shift):
    """What the shift adds, from two images that differ by it."""
    with torch.no_grad():
        moved = first(2 * shift) - first(shift)
    return Layer(lambda x: torch.sub(first(x), moved))


def of_torch_func(model, x, target):
    one = torch.func.grad(lambda image, c: model(image[None])[0].gather(0, c[None])[0])
    return torch.func.vmap(one)(x, target)


def by_backward(model, x, target):
    x = x.detach().clone().requires_grad_(True)
    own_logits(model(x), target).sum().backward(inputs=[x])
    return x.grad


def by_backward_and_tidies(model, x, target):
    x = torch.nn.Parameter(x.clone())
    own_logits(model(x), target).sum().backward()
    model.zero_grad()
    return x.grad.detach()


def in_float32(model, x, target):
    return right_gradient(model, x, target).float()


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
    "2.1": [
        (one_image_at_a_time,),
        (one_hot,),
        (of_torch_func,),
        (by_backward,),
        (by_backward_and_tidies,),
        (in_float32,),
    ],
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
        (legs_in_one_batch, first_of_many),
    ],
    "2.5": [(KeepsTheMask,), (KeepsTheMask.apply,)],
    "2.6": [
        (good_absorb, verdicts()),
        (by_difference, {name: np.bool_(value) for name, value in verdicts().items()}),
        (with_a_picture_for_a_bias, {name: int(value) for name, value in verdicts().items()}),
    ],
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
