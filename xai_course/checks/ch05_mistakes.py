"""The mistakes of chapter 5, each as the answer that makes it.

For every exercise: a right answer any of whose steps can be exchanged, and the exchanges that people make.
``MISTAKES`` holds, for each exercise, one list for each of its functions.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from .mistakes import Mistake

Answer = Callable[..., Any]


# ---- 5.1 ---------------------------------------------------------------------------------------------------
def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Of each picture, (n,)."""
    return F.cross_entropy(logits, y, reduction="none")


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters()}


def rows(
    loss: Answer = cross_entropy,
    names: Answer = lambda names: names,
    end: Answer = lambda G: G,
) -> Answer:
    """An answer to 5.1 with one step exchanged."""

    def answer(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        weights = _parameters(model)
        slopes = jacrev(lambda w: loss(functional_call(model, w, (x,)), y))(weights)
        parts = [slopes[name].reshape(len(slopes[name]), -1) for name in names(list(weights))]
        return end(torch.cat(parts, dim=1))

    return answer


def _of_pixels(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_(True)
    return torch.autograd.grad(cross_entropy(model(x), y).sum(), x)[0]


def _flat(answer: Answer) -> Answer:
    return lambda model, x, y: answer(model, x, y).flatten(1)


_ALIKE = "Take the loss of one picture at a time: `cross_entropy(model(x[i : i + 1]), y[i : i + 1])`."
_PIXELS = (
    "These are gradients with respect to the pixels. Here the weights are asked: what would training on this "
    "picture change?",
    "Differentiate by `list(model.parameters())`.",
)
_ONE_VECTOR = (
    "One gradient came back, for all the pictures together.",
    "A row for each picture, (n, P): the loss of one picture at a time.",
)


def _in_training_mode(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """One picture at a time, as batch normalisation sees it in a training."""
    model.train()
    weights = list(model.parameters())
    losses = [F.cross_entropy(model(one[None]), label[None]) for one, label in zip(x, y, strict=True)]
    slopes = [torch.autograd.grad(loss, weights) for loss in losses]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in slopes])


EXAMPLE_GRADIENTS = [
    Mistake(
        _in_training_mode,
        "The model was switched to training mode: batch normalisation then takes the batch's own mean and "
        "spread.",
        "No `model.train()`: the model stays in evaluation mode, as it was given.",
    ),
    Mistake(
        rows(end=lambda G: G.mean(0).expand_as(G)),
        "All the rows are alike: each is the gradient of the *mean* loss.",
        _ALIKE,
    ),
    Mistake(
        rows(end=lambda G: G.sum(0).expand_as(G)),
        "All the rows are alike: each is the gradient of the *summed* loss. (A list of `p.grad` is a list of "
        "one and the same tensor, to which every `backward()` adds.)",
        _ALIKE,
    ),
    Mistake(
        rows(end=lambda G: G[-1:].expand_as(G)),
        "All the rows are alike: each is the last picture's. The rows are one tensor that was overwritten.",
        "`p.grad` stays the same tensor. Keep a copy (`.clone()`), or ask `torch.autograd.grad`.",
    ),
    Mistake(
        rows(end=lambda G: G / len(G)),
        "Every row is n times too small: it is the picture's share of the gradient of the *mean* loss.",
        "ℓ_i is the picture's own loss. The 1/n comes later, once.",
    ),
    Mistake(
        rows(end=lambda G: G * len(G)),
        "Every row is n times too large.",
        "ℓ_i is the picture's own loss, neither summed nor averaged.",
    ),
    Mistake(
        rows(end=lambda G: G.cumsum(0)),
        "Each row holds the gradients of the pictures before it as well: `backward()` adds to `.grad`.",
        "`torch.autograd.grad` adds to nothing; or set the gradients back before each picture.",
    ),
    Mistake(
        rows(end=lambda G: G.cumsum(0)[-1:] - G.cumsum(0) + G),
        "Each row holds the gradients of the pictures after it as well.",
        "Row i is the gradient of picture i's loss, and of no other.",
    ),
    Mistake(
        rows(end=lambda G: G - G.mean(0)),
        "The mean row was taken off: the rows sum to 0.",
        "Row i is the gradient of ℓ_i as it is.",
    ),
    Mistake(
        rows(end=lambda G: -G),
        "The signs are turned round: this is the gradient of log p, the loss is −log p.",
        "ℓ = −log p_y, as `F.cross_entropy` gives it.",
    ),
    Mistake(
        rows(loss=lambda z, y: -z.gather(1, y[:, None])[:, 0]),
        "The softmax is missing: this is the gradient of minus the logit.",
        "ℓ = −log softmax(z)_y: `F.cross_entropy` takes logits and does both.",
    ),
    Mistake(
        rows(loss=lambda z, y: cross_entropy(z.softmax(1), y)),
        "The softmax was taken twice: `F.cross_entropy` takes logits and does it itself.",
        "Hand it what the model gives.",
    ),
    Mistake(
        rows(loss=lambda z, y: -z.softmax(1).gather(1, y[:, None])[:, 0]),
        "The logarithm is missing: this is the gradient of minus the probability.",
        "ℓ = −log p_y.",
    ),
    Mistake(
        rows(loss=lambda z, y: z.softmax(1).gather(1, y[:, None])[:, 0]),
        "This is the gradient of the probability, not of the loss −log p.",
        "ℓ = −log p_y.",
    ),
    Mistake(
        rows(loss=lambda z, y: cross_entropy(z, z.argmax(1))),
        "The loss is asked at the class that the model names, not at the picture's label.",
        "Use `y`: a training picture's loss is that of its label, right or wrong.",
    ),
    Mistake(
        rows(loss=lambda z, y: cross_entropy(z, y.flip(0))),
        "The labels belong to other pictures: they are in the reverse order.",
        "Picture i and label i: `x[i : i + 1]` and `y[i : i + 1]`.",
    ),
    Mistake(
        rows(end=lambda G: F.normalize(G, dim=1)),
        "The rows were brought to length 1: how *large* a gradient is tells how badly the picture is fitted.",
        "Leave the rows as they are.",
    ),
    Mistake(rows(end=torch.abs), "The signs are gone.", "No absolute value: a gradient has a direction."),
    Mistake(
        rows(names=lambda names: names[::-1]),
        "The parameters come in the reverse order.",
        "Keep the order of `model.parameters()`.",
    ),
    Mistake(
        rows(names=lambda names: [n for end in ("weight", "bias") for n in names if n.endswith(end)]),
        "All weights come first, and then all biases.",
        "Keep the order of `model.parameters()`: each layer's weight, then its bias.",
    ),
    Mistake(
        rows(end=lambda G: G.T),
        "It lies on its side, (P, n): wanted is a row for each picture, (n, P).",
        "`torch.stack` the pictures' vectors along the first dimension.",
    ),
    Mistake(
        rows(names=lambda names: [n for n in names if "bias" not in n]),
        "The biases are missing.",
        "`model.parameters()` has them, too.",
    ),
    Mistake(
        rows(names=lambda names: names[-2:]),
        "Only the last layer's parameters are there.",
        "All of `model.parameters()`.",
    ),
    Mistake(
        rows(names=lambda names: names[:2]),
        "Only the first layer's parameters are there.",
        "All of `model.parameters()`.",
    ),
    Mistake(rows(end=lambda G: G.mean(0)), *_ONE_VECTOR),
    Mistake(rows(end=lambda G: G.mean(0, keepdim=True)), *_ONE_VECTOR),
    Mistake(rows(end=torch.Tensor.flatten), "All the rows stand in one line.", "`torch.stack` the rows."),
    Mistake(_of_pixels, *_PIXELS),
    Mistake(_flat(_of_pixels), *_PIXELS),
]


# ---- 5.2 ---------------------------------------------------------------------------------------------------
Batches = list[tuple[Tensor, Tensor]]


def _vector(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _losses(model: nn.Module, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Each picture's loss with these weights, (n,)."""
    shapes = {name: p.shape for name, p in model.named_parameters()}
    parts = theta.split([shape.numel() for shape in shapes.values()])
    weights = {name: part.view(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
    return cross_entropy(functional_call(model, weights, (x,)), y)


def _curvature(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The Hessian of a batch's summed loss, (P, P)."""
    return jacrev(jacrev(lambda theta: _losses(model, theta, x, y).sum()))(_vector(model))


def _outer(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Each picture's gradient times itself, summed: what is taken for the Hessian (P, P)."""
    G = jacrev(lambda theta: _losses(model, theta, x, y))(_vector(model))
    return G.T @ G


def _over_all(parts: list[Tensor], sizes: list[int]) -> Tensor:
    return sum(parts) / sum(sizes)


def _penalty(v: Tensor, l2: float, theta: Tensor, sizes: list[int]) -> Tensor:
    return l2 * v


def hessian_product(
    curvature: Answer = _curvature,
    mean: Answer = _over_all,
    times: Answer = lambda H, v: H @ v,
    penalty: Answer = _penalty,
    some: Answer = lambda batches: batches,
) -> Answer:
    """An answer to 5.2 with one step exchanged."""

    def answer(model: nn.Module, batches: Batches, v: Tensor, l2: float) -> Tensor:
        parts = [times(curvature(model, x, y), v) for x, y in some(batches)]
        whole = mean(parts, [len(y) for _, y in some(batches)])
        return whole + penalty(v, l2, _vector(model), [len(y) for _, y in batches])

    return answer


def _gradient(model: nn.Module, batches: Batches, v: Tensor, l2: float) -> Tensor:
    slopes = [jacrev(lambda t, x=x, y=y: _losses(model, t, x, y))(_vector(model)) for x, y in batches]
    return torch.cat(slopes).mean(0) + l2 * _vector(model)


def _layers_apart(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    blocks = [torch.ones(p.numel(), p.numel()) for p in model.parameters()]
    return _curvature(model, x, y) * torch.block_diag(*blocks)


def _mean_of_means(parts: list[Tensor], sizes: list[int]) -> Tensor:
    return sum(part / size for part, size in zip(parts, sizes, strict=True)) / len(sizes)


def _sum_of_means(parts: list[Tensor], sizes: list[int]) -> Tensor:
    return sum(part / size for part, size in zip(parts, sizes, strict=True))


def _minus(answer: Answer) -> Answer:
    return lambda *given: -answer(*given)


_HALF = (
    "The penalty enters with half its weight: the second derivative of l2/2 |θ|² is l2.",
    "Add `l2 * v`.",
)
_ONE_BATCH = (
    "Only one of the batches is in it.",
    "Add up over all the batches: `total = total + …` before the loop's next turn.",
)
HESSIAN_PRODUCT = [
    Mistake(
        hessian_product(penalty=lambda v, l2, theta, b: 0),
        "The weight decay is missing: it belongs to the loss whose minimum the weights are in.",
        "The second derivative of l2/2 |θ|² is l2 times the identity: add `l2 * v`.",
    ),
    Mistake(
        hessian_product(penalty=lambda v, l2, theta, b: len(b) * l2 * v),
        "The weight decay was added once for every batch.",
        "It does not depend on the pictures: add `l2 * v` once, after the loop.",
    ),
    Mistake(
        hessian_product(penalty=lambda v, l2, theta, b: l2 * theta),
        "l2 · θ was added: that is the penalty's *gradient*.",
        "Its second derivative is l2 times the identity; times v, that is `l2 * v`.",
    ),
    Mistake(
        hessian_product(penalty=lambda v, l2, theta, b: l2),
        "The number l2 was added to every entry: that is not the identity times v.",
        "l2 · I · v is `l2 * v`.",
    ),
    Mistake(hessian_product(penalty=lambda v, l2, theta, b: l2 / 2 * v), *_HALF),
    Mistake(
        hessian_product(penalty=lambda v, l2, theta, b: 2 * l2 * v),
        "The penalty enters twice: the second derivative of l2/2 |θ|² is l2, not 2 l2.",
        "Mind the 1/2 in the formula: add `l2 * v`.",
    ),
    Mistake(
        hessian_product(mean=_mean_of_means),
        "This is the mean of the batches' means: in a small batch each picture counts more.",
        "Sum over the pictures of all batches, and divide by their number once, after the loop.",
    ),
    Mistake(
        hessian_product(mean=_sum_of_means),
        "This is the sum of the batches' means: it grows with the number of batches.",
        "`reduction='sum'` in the loop, and one division by the number of all the pictures after it.",
    ),
    Mistake(
        hessian_product(mean=lambda parts, sizes: sum(parts)),
        "The loss was summed over the pictures: its mean is asked for, and 1/n is missing.",
        "Divide the sum by n, the pictures of all batches; the weight decay is not divided.",
    ),
    Mistake(
        hessian_product(mean=lambda parts, sizes: sum(parts) / len(sizes)),
        "The sum over the pictures is divided by the number of batches.",
        "Divide by the number of *pictures*: add up `len(y)`.",
    ),
    Mistake(
        hessian_product(mean=lambda parts, sizes: sum(parts) / sizes[-1]),
        "The sum is divided by the size of the last batch.",
        "Divide by the number of all the pictures: add up `len(y)`.",
    ),
    Mistake(
        hessian_product(penalty=lambda v, l2, theta, b: l2 / sum(b) * v),
        "The weight decay is divided by n as well: it stands outside the mean.",
        "`total / n + l2 * v`.",
    ),
    *(
        Mistake(hessian_product(some=lambda b, at=at: b[at]), *_ONE_BATCH)
        for at in (slice(-1, None), slice(1))
    ),
    Mistake(
        hessian_product(penalty=lambda v, l2, theta, b: len(b) * l2 / sum(b) * v),
        "The weight decay was added once for every batch, and divided by n with the rest.",
        "`total / n + l2 * v`, with the pictures' part alone in `total`.",
    ),
    Mistake(
        hessian_product(mean=lambda parts, sizes: parts[-1] / sum(sizes)),
        "Only the last batch is in it: each turn of the loop overwrites what the one before has found.",
        "`total = total + …`.",
    ),
    Mistake(
        hessian_product(mean=lambda parts, sizes: sum(parts) / (len(sizes) * sizes[0])),
        "The sum is divided by the number of batches times the size of the first: they are not "
        "equally large.",
        "Add up `len(y)` over the batches.",
    ),
    Mistake(_minus(hessian_product()), "The sign is turned round.", "ℓ = −log p_y: has the minus been lost?"),
    Mistake(
        hessian_product(times=lambda H, v: H.diagonal() * v),
        "Only the Hessian's diagonal is in it: how one weight's slope changes with *another* weight is "
        "missing.",
        "Differentiate the number slope · v by all the weights.",
    ),
    Mistake(
        hessian_product(times=lambda H, v: H.sum(1) * v),
        "The slope was summed, differentiated, and then multiplied by v: that is not the product.",
        "v comes *between* the two derivatives: differentiate `slope @ v`.",
    ),
    Mistake(
        hessian_product(curvature=_outer),
        "This is the mean of g gᵀ (the empirical Fisher matrix) times v: first derivatives only.",
        "Take the derivative of a derivative, as in section 2.",
    ),
    Mistake(
        hessian_product(curvature=_layers_apart),
        "Each parameter tensor is treated by itself: the curvature between two of them is missing.",
        "One number for all, the sum of (slope · v) over the tensors; differentiate that by all of them.",
    ),
    Mistake(
        _gradient,
        "This is the gradient of the loss: it does not depend on v.",
        "One derivative more: of the number gradient · v.",
    ),
    Mistake(
        hessian_product(times=lambda H, v: -(H @ v)),
        "The sign of the loss's part is turned round.",
        "ℓ = −log p_y: has the minus been lost?",
    ),
    Mistake(
        hessian_product(times=lambda H, v: H @ (v / v.norm())),
        "v was brought to length 1.",
        "H v is linear in v: use v as it is.",
    ),
]


# ---- 5.3 ---------------------------------------------------------------------------------------------------
def _dots(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1, keepdim=True)  # (m, 1)


def solve(
    matrix: Answer = lambda product, p, damping: product(p) + damping * p,
    step: Answer = lambda rho, p, hp, r: rho / _dots(p, hp),
    direction: Answer = lambda r, new, rho, p: r + new / rho * p,
    first: Answer = lambda g: torch.zeros_like(g),
    residual: Answer = lambda hp, p: hp,
    done: Answer = lambda open_: not bool(open_.any()),
    allowed: Answer = lambda tolerance, rho: tolerance**2 * rho,
    refuse: bool = True,
    guard: bool = True,
) -> Answer:
    """An answer to 5.3 with one step exchanged."""

    def answer(product: Answer, g: Tensor, damping: float, tolerance: float, most: int) -> Tensor:
        s, r, p = first(g), g.clone(), g.clone()
        rho = _dots(r, r)
        enough = allowed(tolerance, rho)
        for _ in range(most):
            open_ = rho > enough
            if done(open_):
                break
            hp = matrix(product, p, damping)
            if refuse and bool((open_ & (_dots(p, hp) <= 0)).any()):
                raise ValueError("H + damping is not positive definite; take more damping")
            a = step(rho, p, hp, r)
            a = a.where(open_, torch.zeros_like(a)) if guard else a
            s, r = s + a * p, r - a * residual(hp, p)
            new = _dots(r, r)
            p, rho = direction(r, new, rho, p), new
            p = p.where(open_, torch.zeros_like(p)) if guard else p
        return s

    return answer


def dense(end: Answer = lambda S, g: S, damp: float = 1.0) -> Answer:
    """What comes out of 5.3 when a step around the iteration is exchanged, by a dense solve."""

    def answer(product: Answer, g: Tensor, damping: float, tolerance: float, most: int) -> Tensor:
        eye = torch.eye(g.shape[1], dtype=g.dtype)
        H = torch.cat([product(some) for some in eye.split(len(g))])
        return end(torch.linalg.solve(H + damp * damping * eye, g.T).T, g)

    return answer


def _first_and_zeros(S: Tensor, g: Tensor) -> Tensor:
    return torch.cat([S[:1], torch.zeros_like(S[1:])])


_NO_RESET = "Begin anew for each right-hand side: s = 0, r = g, p = g."
SOLVE = [
    Mistake(
        dense(damp=0.0),
        "The damping is forgotten: this solves H s = g.",
        "Wherever H meets a vector: `product(p) + damping * p`.",
    ),
    Mistake(
        dense(damp=2.0),
        "The damping counts twice.",
        "Add `damping * p` once, where the product is made.",
    ),
    Mistake(
        dense(lambda S, g: -S),
        "The sign is turned round: this solves (H + λI) s = −g.",
        "With s = 0 what is left is r = g − 0, and the step goes *along* p.",
    ),
    Mistake(
        lambda product, g, damping, tolerance, most: product(g) + damping * g,
        "This is the product of H + λI with g, not the solution.",
        "The s is wanted whose product with H + λI is g.",
    ),
    Mistake(
        dense(lambda S, g: S.cumsum(0)),
        "Each row holds the solutions of the rows before it as well: s was not set back to 0.",
        _NO_RESET,
    ),
    Mistake(
        dense(lambda S, g: S[:1].expand_as(S)),
        "All the rows are the solution for the first: the residual was not set back, and the loop stopped at "
        "once.",
        _NO_RESET,
    ),
    Mistake(
        dense(_first_and_zeros),
        "Only the first row is solved; for the others r and p are left from the first, and nothing moves.",
        _NO_RESET,
    ),
    Mistake(
        dense(lambda S, g: S + g),
        "The walk starts at s = g, but what is left, r, is counted from s = 0.",
        "Start at `torch.zeros_like(g)`; r = g is right there, and only there.",
    ),
    Mistake(
        solve(direction=lambda r, new, rho, p: r),
        "This is steepest descent: it walks along the residual, and undoes what it had done.",
        "p = r + (new ρ / old ρ) p: the new direction keeps a share of the old one.",
    ),
    Mistake(
        solve(direction=lambda r, new, rho, p: r + rho / new * p),
        "The share of the old direction is turned over: old ρ over new ρ.",
        "ρ falls, so that the share is small: new over old.",
    ),
    Mistake(
        solve(direction=lambda r, new, rho, p: r + p),
        "The old direction is kept whole: ρ was overwritten before the two were compared.",
        "Keep the old ρ until the new direction is made: `new = (r * r).sum(1)`, then new / ρ.",
    ),
    Mistake(
        solve(direction=lambda r, new, rho, p: r - new / rho * p),
        "The share of the old direction is taken off, where it should be added.",
        "p = r + (new ρ / old ρ) p.",
    ),
    Mistake(
        solve(done=lambda open_: not bool(open_.all())),
        "The loop ends when the first row is done; the others are not.",
        "Go on until *every* row is done.",
    ),
    Mistake(
        solve(done=lambda open_: not bool(open_[0])),
        "The loop stops while some rows are not done yet: it looks at the first one, or at all of "
        "them in one "
        "sum.",
        "Go on until *every* row is done, each by its own |r| and |g|.",
    ),
    Mistake(
        solve(allowed=lambda tolerance, rho: torch.full_like(rho, tolerance**2)),
        "Rows with a small g stay unsolved: what stops the loop, or what was added to a divisor, is "
        "no share of "
        "each row's own |g|.",
        "Stop at |r| ≤ tolerance · |g|, each row with its own g, both sides squared or neither; and "
        "add nothing "
        "to p · (H + λI) p.",
    ),
    Mistake(
        dense(lambda S, g: S.T),
        "It lies on its side, (P, m): wanted is a row for each right-hand side, (m, P).",
        "`g` and what `product` takes are (m, P), too.",
    ),
    Mistake(
        dense(lambda S, g: S[0]),
        "One solution came back, for the first row.",
        "`g` is (m, P): every row is a right-hand side of its own.",
    ),
]


# ---- 5.4 ---------------------------------------------------------------------------------------------------
def relabelled(
    swap: Answer = lambda before, after: before - after,
    divide: Answer = lambda scores: scores / scores.shape[1],
    end: Answer = lambda scores: scores,
) -> Answer:
    """An answer to 5.4 with one step exchanged."""

    def answer(solved: Tensor, before: Tensor, after: Tensor) -> Tensor:
        return end(divide(solved @ swap(before, after).T))

    return answer


RELABELLED = [
    Mistake(
        relabelled(end=lambda s: -s),
        "The sign is turned round: the new label's pull counts as what goes, the old one's as what comes.",
        "The old loss goes (+∇ℓ, as in the lesson), and the new one comes (−∇ℓ′).",
    ),
    Mistake(
        relabelled(divide=lambda s: s),
        "1/n is missing: one picture is one of n in the mean loss.",
        "Divide by the number of training pictures, `len(before)`.",
    ),
    Mistake(
        relabelled(divide=lambda s: -s),
        "1/n is missing, and the sign is turned round: Koh and Liang's *upweighting*, not a change.",
        "What leaves the mean loss has −1/n of the weight of what is upweighted.",
    ),
    Mistake(
        relabelled(divide=lambda s: s / s.shape[1] ** 2),
        "It is divided by n twice.",
        "`solved` holds the inverse of the *mean* Hessian: 1/n comes once.",
    ),
    Mistake(
        relabelled(divide=lambda s: s * s.shape[1]),
        "It is multiplied by n, where it should be divided.",
        "The more pictures, the less one of them does.",
    ),
    Mistake(
        relabelled(divide=lambda s: s / (s.shape[1] - 1)),
        "It is divided by n − 1: no picture leaves the set, only a label changes.",
        "Divide by n.",
    ),
    Mistake(
        relabelled(divide=lambda s: s / s.shape[0]),
        "It is divided by the number of *test* pictures.",
        "n counts the training pictures, `len(before)`.",
    ),
    Mistake(
        relabelled(swap=lambda before, after: before),
        "This predicts the picture's removal: its new label does not pull yet.",
        "The picture stays, with another gradient: `before - after`.",
    ),
    Mistake(
        relabelled(swap=lambda before, after: after),
        "This predicts the removal of the picture with its *other* label.",
        "The old loss goes and the new one comes: `before - after`.",
    ),
    Mistake(
        relabelled(swap=lambda before, after: -after),
        "Only the new label's pull is in it; the old one's is not taken out.",
        "The old loss goes and the new one comes: `before - after`.",
    ),
    Mistake(
        relabelled(swap=lambda before, after: before + after),
        "The two gradients are added: that is the removal of both.",
        "The new loss *comes*, and what comes has the opposite sign of what goes.",
    ),
    Mistake(
        relabelled(end=lambda s: s.abs()),
        "The signs are gone: a label may help one test picture and harm another.",
        "No absolute value.",
    ),
    Mistake(
        relabelled(end=lambda s: s.T),
        "It lies on its side, (n, m): wanted is a row for each test picture, (m, n).",
        "`solved @ (…).T` has a row for each row of `solved`.",
    ),
    Mistake(
        relabelled(end=lambda s: s.mean(0)),
        "The test pictures are averaged: each has its own change.",
        "Wanted is (m, n).",
    ),
    Mistake(
        relabelled(end=lambda s: s.sum(1)),
        "The training pictures are summed up: each label is changed by itself.",
        "Wanted is (m, n).",
    ),
]


# ---- 5.5 ---------------------------------------------------------------------------------------------------
def dots(
    error: Answer = lambda errors: errors,
    end: Answer = lambda scores: scores,
) -> Answer:
    """An answer to the first part of 5.5 with one step exchanged."""
    return lambda V, features, errors: end(((V @ features.T) * error(errors).T).sum(1))


GRADIENT_DOTS = [
    Mistake(
        dots(end=lambda s: -s),
        "The signs are turned round.",
        "`errors` is p − e already: use it as it is.",
    ),
    Mistake(
        dots(end=lambda s: s / s.shape[1]),
        "It is divided by n.",
        "The gradient is that of one picture's own loss; 1/n comes later, once.",
    ),
    Mistake(
        dots(error=torch.ones_like),
        "The errors are not used: V meets the features alone.",
        "The gradient is error ⊗ feature, (K, D): one factor for each of V's dimensions.",
    ),
    Mistake(
        dots(error=torch.abs),
        "The errors have lost their signs.",
        "The label's entry is negative: p − 1.",
    ),
    Mistake(
        dots(end=lambda s: s.T),
        "It lies on its side, (n, m): wanted is a row for each V, (m, n).",
        "Print the shape after each product.",
    ),
    Mistake(
        lambda V, features, errors: dots()(V[..., :-1], features[:, :-1], errors),
        "The constant 1 among the features is left out, and the bias with it.",
        "All D features, the last one included.",
    ),
    Mistake(
        lambda V, features, errors: torch.einsum("mkd,nk,nd->mnk", V, errors, features),
        "The classes are still apart: their products are to be added up.",
        "An inner product sums over both, k and d.",
    ),
    Mistake(
        lambda V, features, errors: torch.einsum("mkd,nk,nd->mnd", V, errors, features),
        "The features are still apart: their products are to be added up.",
        "An inner product sums over both, k and d.",
    ),
    Mistake(
        lambda V, features, errors: dots()(V, features, errors).sum(1),
        "The pictures are added up: each has a number of its own.",
        "Wanted is (m, n).",
    ),
]


def layer_product(
    weigh: Answer = lambda p, u: p * u - p * (p * u).sum(-1, keepdim=True),
    mean: Answer = lambda total, n: total / n,
    penalty: Answer = lambda V, l2, n: l2 * V,
    p_of: Answer = lambda p: p,
    end: Answer = lambda HV: HV,
) -> Answer:
    """An answer to the second part of 5.5 with one step exchanged."""

    def answer(V: Tensor, features: Tensor, p: Tensor, l2: float) -> Tensor:
        moved = weigh(p_of(p), features @ V.transpose(1, 2))  # (m, n, K)
        total = moved.transpose(1, 2) @ features  # (m, K, D)
        return end(mean(total, len(features)) + penalty(V, l2, len(features)))

    return answer


LAYER_PRODUCT = [
    Mistake(
        layer_product(penalty=lambda V, l2, n: 0),
        "The weight decay is missing.",
        "Add `l2 * V`.",
    ),
    Mistake(
        layer_product(penalty=lambda V, l2, n: l2 / 2 * V),
        "The weight decay enters with half its weight.",
        "The second derivative of l2/2 |W|² is l2: add `l2 * V`.",
    ),
    Mistake(
        layer_product(penalty=lambda V, l2, n: 2 * l2 * V),
        "The weight decay enters twice: the second derivative of l2/2 |W|² is l2, not 2 l2.",
        "Add `l2 * V`.",
    ),
    Mistake(
        layer_product(weigh=lambda p, u: p * (p * u).sum(-1, keepdim=True) - p * u),
        "The sign of the curvature is turned round; that of the weight decay is right.",
        "(diag p − p pᵀ) u = p ⊙ u − p (p · u).",
    ),
    Mistake(
        layer_product(penalty=lambda V, l2, n: l2 / n * V),
        "The weight decay is divided by n as well.",
        "It stands outside the mean.",
    ),
    Mistake(
        layer_product(mean=lambda total, n: total),
        "The curvature is that of the *summed* loss: 1/n is missing.",
        "Divide by the number of pictures, before the weight decay is added.",
    ),
    Mistake(
        layer_product(weigh=lambda p, u: p * u),
        "−p pᵀ is missing: it says that what one class gains the others lose.",
        "(diag p − p pᵀ) u = p ⊙ u − p (p · u).",
    ),
    Mistake(
        layer_product(weigh=lambda p, u: p * (1 - p) * u),
        "Only the diagonal of diag p − p pᵀ is in it, p (1 − p): the classes do not meet.",
        "(diag p − p pᵀ) u = p ⊙ u − p (p · u).",
    ),
    Mistake(
        layer_product(weigh=lambda p, u: p * u + p * (p * u).sum(-1, keepdim=True)),
        "p pᵀ is added, where it is to be taken off.",
        "(diag p − p pᵀ) u = p ⊙ u − p (p · u).",
    ),
    Mistake(
        layer_product(weigh=lambda p, u: p * u - (p * u).sum(-1, keepdim=True)),
        "p · u is taken off every class alike: a factor p is missing.",
        "(diag p − p pᵀ) u = p ⊙ u − p (p · u).",
    ),
    Mistake(
        layer_product(weigh=lambda p, u: u - (p * u).sum(-1, keepdim=True)),
        "A factor p is missing in both terms.",
        "(diag p − p pᵀ) u = p ⊙ (u − p · u).",
    ),
    Mistake(
        layer_product(weigh=lambda p, u: p * u - p * u.sum(-1, keepdim=True)),
        "The changes of the logits are summed without their probabilities.",
        "p · u = Σ p_k u_k.",
    ),
    Mistake(
        layer_product(weigh=lambda p, u: u),
        "The probabilities are not used: this is the Hessian of squared errors.",
        "For cross-entropy (diag p − p pᵀ) comes between the two factors of features.",
    ),
    Mistake(
        layer_product(p_of=lambda p: p.softmax(1)),
        "The softmax was taken again: `p` holds probabilities.",
        "Use `p` as it is.",
    ),
    Mistake(
        layer_product(end=lambda HV: -HV),
        "The signs are turned round.",
        "The curvature of cross-entropy is never negative.",
    ),
    Mistake(
        layer_product(end=lambda HV: HV.transpose(1, 2)),
        "It lies on its side, (m, D, K): wanted is the shape of V, (m, K, D).",
        "(m, K, n) @ (n, D).",
    ),
    Mistake(
        layer_product(end=lambda HV: HV.flatten(1)),
        "It is flattened, (m, K·D): wanted is the shape of V, (m, K, D).",
        "Nothing needs to be flattened.",
    ),
    Mistake(
        layer_product(end=lambda HV: HV.sum(0)),
        "One product came back: each V has a product of its own.",
        "Wanted is (m, K, D).",
    ),
]


# ---- 5.6 ---------------------------------------------------------------------------------------------------
def own(
    inverse: Answer = lambda H, G: torch.linalg.solve(H, G.T).T,
    divide: Answer = lambda scores: scores / len(scores),
) -> Answer:
    """An answer to the first part of 5.6 with one step exchanged."""
    return lambda gradients, hessian: divide((gradients * inverse(hessian, gradients)).sum(1))


def _all_pairs(G: Tensor, H: Tensor) -> Tensor:
    return G @ torch.linalg.solve(H, G.T) / len(G)


SELF_INFLUENCES = [
    Mistake(
        own(divide=lambda s: s),
        "`self_influences`: 1/n is missing.",
        "H is the *mean* Hessian: divide by the number of pictures.",
    ),
    Mistake(
        own(divide=lambda s: -s / len(s)),
        "`self_influences` are negative: without a picture its own loss *rises*.",
        "Positive: the picture helped. Nothing helps a picture like itself.",
    ),
    Mistake(
        own(inverse=lambda H, G: G),
        "`self_influences` are squared lengths of gradients: H is not used.",
        "g_iᵀ H⁻¹ g_i: solve with H first.",
    ),
    Mistake(
        own(inverse=lambda H, G: G @ H),
        "`self_influences` multiplies by H, not by its inverse.",
        "`torch.linalg.solve(hessian, gradients.T).T`.",
    ),
    Mistake(
        own(inverse=lambda H, G: G / H.diagonal()),
        "`self_influences` divides by H's diagonal: that is the inverse of a diagonal H only.",
        "`torch.linalg.solve(hessian, gradients.T).T`.",
    ),
    Mistake(
        own(divide=lambda s: s.sqrt() / len(s)),
        "`self_influences` are lengths: a root was taken.",
        "g_iᵀ H⁻¹ g_i, without a root.",
    ),
    Mistake(
        lambda gradients, hessian: _all_pairs(gradients, hessian).sum(1),
        "`self_influences` sums the influences on *all* the pictures; wanted is that on the picture itself.",
        "Multiply row by row, and sum along the row: `(gradients * solved).sum(dim=1)`.",
    ),
    Mistake(
        lambda gradients, hessian: _all_pairs(gradients, hessian),
        "`self_influences` gives every pair, (n, n).",
        "Multiply row by row, and sum along the row: `(gradients * solved).sum(dim=1)`.",
    ),
    Mistake(
        lambda gradients, hessian: own()(gradients, hessian).sum(),
        "`self_influences` gives one number: each picture has its own.",
        "Sum along the rows only, `dim=1`.",
    ),
]


def held_out(
    learn: Answer = lambda inside: ~inside,
    ask: Answer = lambda inside: inside,
    loss: Answer = cross_entropy,
    numbers: Answer = lambda fold: fold.unique(),
) -> Answer:
    """An answer to the second part of 5.6 with one step exchanged."""

    def answer(fit: Answer, x: Tensor, y: Tensor, fold: Tensor) -> Tensor:
        losses = torch.zeros(len(y), dtype=torch.float64)
        for number in numbers(fold):
            inside = fold == number
            model = fit(x[learn(inside)], y[learn(inside)])
            losses[ask(inside)] = loss(model(x[ask(inside)]), y[ask(inside)]).detach().double()
        return losses

    return answer


def _in_order_of_folds(fit: Answer, x: Tensor, y: Tensor, fold: Tensor) -> Tensor:
    return held_out()(fit, x, y, fold)[fold.argsort(stable=True)]


def _means_of_folds(fit: Answer, x: Tensor, y: Tensor, fold: Tensor) -> Tensor:
    losses = held_out()(fit, x, y, fold)
    return torch.stack([losses[fold == number].mean() for number in fold.unique()])


def _named_wrong(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.argmax(1) != y).double()


def _everything(inside: Tensor) -> Tensor:
    return torch.ones_like(inside)


HELD_OUT_LOSSES = [
    Mistake(
        held_out(learn=_everything),
        "`held_out_losses` leaks: the model that judges a picture was fitted with that picture.",
        "Fit on `fold != number`, ask about `fold == number`.",
    ),
    Mistake(
        held_out(learn=lambda inside: inside),
        "`held_out_losses` fits each model on the very fold that it judges.",
        "Fit on the others, `fold != number`.",
    ),
    Mistake(
        held_out(learn=lambda inside: inside, ask=lambda inside: ~inside),
        "`held_out_losses` fits on one fold and judges the others, over and over: the last one stays.",
        "Fit on `fold != number`, ask about `fold == number`.",
    ),
    Mistake(
        held_out(ask=_everything),
        "`held_out_losses` keeps what the *last* model says of all the pictures, those that it was fitted "
        "with among them.",
        "From each model take the pictures of its own fold: `losses[fold == number] = …`.",
    ),
    Mistake(
        _in_order_of_folds,
        "`held_out_losses` gives the right losses in the order of the folds, not of the pictures.",
        "Write them to their places: `losses[fold == number] = …`.",
    ),
    Mistake(
        held_out(numbers=lambda fold: fold.unique()[:-1]),
        "`held_out_losses` leaves the last fold out.",
        "Go through all the numbers: `fold.unique()`.",
    ),
    Mistake(
        held_out(numbers=lambda fold: fold.unique()[1:]),
        "`held_out_losses` leaves the first fold out.",
        "Go through all the numbers: `fold.unique()`.",
    ),
    Mistake(
        held_out(loss=lambda z, y: -cross_entropy(z, y)),
        "`held_out_losses` has its signs turned round.",
        "ℓ = −log p_y: large where the label is unlikely.",
    ),
    Mistake(
        held_out(loss=_named_wrong),
        "`held_out_losses` says only whether the model names another class.",
        "The loss says how unlikely the label is: `F.cross_entropy(…, reduction='none')`.",
    ),
    Mistake(
        held_out(loss=lambda z, y: cross_entropy(z, z.argmax(1))),
        "`held_out_losses` asks for the class that the model names, not for the label.",
        "The label is what is under suspicion: use `y`.",
    ),
    Mistake(
        held_out(loss=lambda z, y: cross_entropy(z, y).mean().expand(len(y))),
        "`held_out_losses` gives every picture the mean loss of its fold.",
        "`reduction='none'`.",
    ),
    Mistake(
        held_out(loss=lambda z, y: cross_entropy(z.softmax(1), y)),
        "`held_out_losses` takes the softmax twice.",
        "`F.cross_entropy` takes logits.",
    ),
    Mistake(
        held_out(loss=lambda z, y: 1 - z.softmax(1).gather(1, y[:, None])[:, 0]),
        "`held_out_losses` gives 1 − p; the loss is −log p.",
        "`F.cross_entropy(…, reduction='none')`.",
    ),
    Mistake(
        held_out(loss=lambda z, y: -z.gather(1, y[:, None])[:, 0]),
        "`held_out_losses` gives minus the logit: the softmax is missing.",
        "`F.cross_entropy` takes logits and does it itself; `F.nll_loss` wants logarithms of probabilities.",
    ),
    Mistake(
        _means_of_folds,
        "`held_out_losses` gives one number a fold.",
        "One for each picture: `reduction='none'`.",
    ),
]


def found(
    order: Answer = lambda suspicion: suspicion.argsort(descending=True),
    share: Answer = lambda hits, wrong, inspected: hits / wrong.sum(),
) -> Answer:
    """An answer to the third part of 5.6 with one step exchanged."""

    def answer(suspicion: Tensor, wrong: Tensor, inspected: int) -> Tensor:
        return share(wrong[order(suspicion)[:inspected]].sum().double(), wrong, inspected)

    return answer


FOUND = [
    Mistake(
        found(order=torch.argsort),
        "`found` inspects the *least* suspicious first.",
        "`argsort(descending=True)`, or `topk`.",
    ),
    Mistake(
        found(order=lambda s: torch.arange(len(s))),
        "`found` inspects in the order of the set: the suspicion is not used.",
        "Sort by `suspicion`, the largest first.",
    ),
    Mistake(
        lambda suspicion, wrong, inspected: found()(suspicion, wrong, inspected - 1),
        "`found` inspects one picture too few.",
        "`[:inspected]` are exactly that many.",
    ),
    Mistake(
        lambda suspicion, wrong, inspected: found()(suspicion, wrong, inspected + 1),
        "`found` inspects one picture too many.",
        "`[:inspected]` are exactly that many.",
    ),
    Mistake(
        found(share=lambda hits, wrong, inspected: hits / inspected),
        "`found` gives the share of the *inspected* that are wrong; wanted is the share of the wrong that is "
        "found.",
        "Divide by the number of wrong labels.",
    ),
    Mistake(
        found(share=lambda hits, wrong, inspected: hits / len(wrong)),
        "`found` divides by the number of all the pictures.",
        "Divide by the number of wrong labels.",
    ),
    Mistake(
        found(share=lambda hits, wrong, inspected: hits),
        "`found` gives a count; wanted is a share.",
        "Divide by the number of wrong labels.",
    ),
    Mistake(
        found(share=lambda hits, wrong, inspected: 1 - hits / wrong.sum()),
        "`found` gives the share that was missed.",
        "Count the wrong labels *among* the inspected.",
    ),
]


# ---- 5.7 ---------------------------------------------------------------------------------------------------
def trace(
    credit: Answer = lambda rate, b, n: rate / b,
    move: Answer = lambda theta, g, rate: theta - rate * g.mean(0),
    add: Answer = lambda total, batch, value: total.index_add(1, batch, value),
    at: Answer = lambda before, after, start, end: before,
    own: Answer = lambda g: g,
) -> Answer:
    """An answer to 5.7 with one step exchanged.

    ``at`` says at which weights the test gradients are taken; ``own`` what is taken for each picture's
    gradient.
    """

    def answer(
        gradients: Answer, theta: Tensor, train: tuple, test: tuple, batches: list, rate: float
    ) -> Tensor:
        (x, y), start, end = train, theta, theta
        for batch in batches:
            end = move(end, gradients(end, x[batch], y[batch]), rate)
        total = torch.zeros(len(test[1]), len(y), dtype=theta.dtype)
        for batch in batches:
            g = gradients(theta, x[batch], y[batch])
            after = move(theta, g, rate)
            tests = gradients(at(theta, after, start, end), *test)
            total = add(total, batch, credit(rate, len(batch), len(y)) * tests @ own(g).T)
            theta = after
        return total

    return answer


def _put(total: Tensor, batch: Tensor, value: Tensor) -> Tensor:
    total = total.clone()
    total[:, batch] = value
    return total


def _one_step_late(
    gradients: Answer, theta: Tensor, train: tuple, test: tuple, batches: list, rate: float
) -> Tensor:
    (x, y), total = train, torch.zeros(len(test[1]), len(train[1]), dtype=theta.dtype)
    for batch in batches:
        theta = theta - rate * gradients(theta, x[batch], y[batch]).mean(0)
        value = gradients(theta, *test) @ gradients(theta, x[batch], y[batch]).T
        total = total.index_add(1, batch, rate / len(batch) * value)
    return total


def _walk(own: Answer, step: Answer) -> Answer:
    """An answer to 5.7: ``own`` gives the gradients that are credited, ``step`` where a step leads."""

    def answer(
        gradients: Answer, theta: Tensor, train: tuple, test: tuple, batches: list, rate: float
    ) -> Tensor:
        (x, y), start, total = train, theta, torch.zeros(len(test[1]), len(train[1]), dtype=theta.dtype)
        for batch in batches:
            g, first = (gradients(at, x[batch], y[batch]) for at in (theta, start))
            value = gradients(theta, *test) @ own(g, first).T
            total = total.index_add(1, batch, rate / len(batch) * value)
            theta = step(theta, g, rate, len(y))
        return total

    return answer


TRACE = [
    Mistake(
        _walk(lambda g, first: first, lambda theta, g, rate, n: theta - rate * g.mean(0)),
        "The training pictures' gradients are those at the start, for every step.",
        "Take them anew at each step, with the weights of that step.",
    ),
    Mistake(
        _walk(lambda g, first: g, lambda theta, g, rate, n: theta - rate * g.sum(0) / n),
        "The steps are divided by the number of all the training pictures, not by that of the batch.",
        "`g.mean(dim=0)`.",
    ),
    Mistake(
        _one_step_late,
        "Both gradients of a credit are taken at the weights to which the step has led.",
        "A step is credited with the slopes from which it starts: gradients first, then the step.",
    ),
    Mistake(
        trace(at=lambda before, after, start, end: after),
        "The test gradients are taken *after* the step.",
        "A step is credited with the slopes from which it starts: gradients first, then the step.",
    ),
    Mistake(
        trace(at=lambda before, after, start, end: end),
        "The test gradients are those at the end of the training, for every step.",
        "Take them anew at each step, with the weights of that step.",
    ),
    Mistake(
        trace(at=lambda before, after, start, end: start),
        "The test gradients are those at the start, for every step.",
        "Take them anew at each step, with the weights of that step.",
    ),
    Mistake(
        trace(move=lambda theta, g, rate: theta),
        "The weights never move: every step starts at the first ones.",
        "`theta = theta - rate * g.mean(dim=0)` at the end of each turn.",
    ),
    Mistake(
        trace(move=lambda theta, g, rate: theta + rate * g.mean(0)),
        "The training goes uphill.",
        "θ − rate · mean gradient.",
    ),
    Mistake(
        trace(move=lambda theta, g, rate: theta - rate * g.sum(0)),
        "The steps follow the *sum* of the batch's gradients, not their mean.",
        "`g.mean(dim=0)`.",
    ),
    Mistake(
        trace(move=lambda theta, g, rate: theta - rate * g.sum(0), credit=lambda rate, b, n: rate),
        "Steps and credits follow the *sum* of the batch's gradients, not their mean.",
        "`g.mean(dim=0)` for the step; rate / |B| for the credit.",
    ),
    Mistake(
        trace(credit=lambda rate, b, n: rate),
        "A picture is credited with the whole step: of a batch's mean it has only its share.",
        "rate / |B|, with |B| the size of the batch.",
    ),
    Mistake(
        trace(credit=lambda rate, b, n: rate / n),
        "The step's share is 1/n of the whole set; the mean was over the batch.",
        "rate / |B|, with |B| the size of the batch.",
    ),
    Mistake(
        trace(credit=lambda rate, b, n: 1 / b),
        "The rate is missing in the credit: a small step does little.",
        "rate / |B|.",
    ),
    Mistake(
        trace(credit=lambda rate, b, n: -rate / b),
        "The signs are turned round: positive means that the step *lowered* the test loss.",
        "The step is −rate · gradient; the credit is the loss's fall.",
    ),
    Mistake(
        trace(add=_put),
        "A picture's later turns overwrite its earlier ones.",
        "Add up: `credits[:, batch] += …`.",
    ),
    Mistake(
        trace(own=lambda g: g.mean(0).expand_as(g)),
        "All the pictures of a batch get the same credit: their mean gradient was used.",
        "Each picture has its own gradient: a row of `g`.",
    ),
    Mistake(
        lambda *given: trace()(*given).T,
        "It lies on its side, (n, m): wanted is a row for each test picture, (m, n).",
        "Test gradients on the left, training gradients, transposed, on the right.",
    ),
    Mistake(
        lambda *given: trace()(*given).sum(1),
        "The training pictures are added up.",
        "Wanted is (m, n).",
    ),
]


MISTAKES = {
    "5.1": (EXAMPLE_GRADIENTS,),
    "5.2": (HESSIAN_PRODUCT,),
    "5.3": (SOLVE,),
    "5.4": (RELABELLED,),
    "5.5": (GRADIENT_DOTS, LAYER_PRODUCT),
    "5.6": (SELF_INFLUENCES, HELD_OUT_LOSSES, FOUND),
    "5.7": (TRACE,),
}
