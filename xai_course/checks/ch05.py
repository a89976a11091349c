"""Checks of chapter 5, influence functions: small models whose gradients and curvature are known exactly.

What people get wrong stands in ``ch05_mistakes.py``.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib.influence import softmax_regression

from .ch05_mistakes import (
    EXAMPLE_GRADIENTS,
    FOUND,
    GRADIENT_DOTS,
    HELD_OUT_LOSSES,
    HESSIAN_PRODUCT,
    LAYER_PRODUCT,
    RELABELLED,
    SELF_INFLUENCES,
    SOLVE,
    TRACE,
    cross_entropy,
    hessian_product,
    rows,
    solve,
)
from .inputs import drawn, normal, uniform
from .judging import attempted, close, compare, expect, fail, numbers, tensor, then
from .mistakes import Mistake, recognise
from .reader import Reader
from .registry import exercise
from .side_effects import PeakMemory, detached, left_alone

# Readers may work in float32 here and there; every mistake is farther off than this.
_TOLERANCE = 2e-5


def _tensor(value: Any, shape: Sequence[int] | None, what: str = "Your function") -> Tensor:
    """The value as a float64 tensor, whatever numbers it came with; else "not yet"."""
    return tensor(value, shape, what).to("cpu", torch.float64)


def _told(value: Any, right: Tensor, mistakes: Sequence[Mistake], probe: Callable, what: str) -> Tensor:
    """The reader's value, after it was looked up among the mistakes."""
    recognise(value, right, mistakes, probe, tolerance=_TOLERANCE)
    return _tensor(value, right.shape, what)


def _few(values: Tensor) -> str:
    return ", ".join(f"{float(v):.3g}" for v in values)


# ---- 5.1 ---------------------------------------------------------------------------------------------------
def _classifier() -> nn.Sequential:
    """Three classes, float64, smooth; batch normalisation tells whether its mode was changed."""
    with drawn(11):
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3))
        model[1].running_mean.normal_()
    return model.double().eval()


def _with_gradients(model: nn.Module) -> None:
    """Leaves something in every ``.grad``, as a training does."""
    for p in model.parameters():
        p.grad = torch.ones_like(p)


@exercise("5.1", "Per-example gradients")
def example_gradients(answer) -> str:
    model, x = _classifier(), 2 * normal(6, 1, 4, 4, seed=71)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    right = rows()(model, x, y)

    def probe(function: Callable) -> Any:
        return function(copy.deepcopy(model), x.clone(), y.clone())

    value = _told(probe(answer), right, EXAMPLE_GRADIENTS, probe, "Your function")
    whole = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
    whole = torch.cat([slope.flatten() for slope in whole])
    apart = float((value.mean(dim=0) - whole).norm() / whole.norm())
    expect(
        close(value.mean(dim=0), whole, _TOLERANCE),
        f"The mean of the rows is not the gradient of the mean loss: it is off by {100 * apart:.3g} % of its "
        "length.",
        "Every row is the gradient of one ℓ_i = −log p(y_i), over all the parameters.",
    )
    alone = _tensor(answer(copy.deepcopy(model), x[2:3].clone(), y[2:3].clone()), (1, right.shape[1]))
    expect(
        close(alone[0], value[2], _TOLERANCE),
        "A picture's row is another one when the picture comes alone.",
        "No row may know of the other pictures; the model stays in evaluation mode.",
    )
    compare(
        value, right, tolerance=_TOLERANCE, look="Row i: ∇ℓ_i, flattened, in the order of the parameters."
    )
    _with_gradients(model)
    with left_alone(model=model, x=x, y=y):
        value = answer(model, x, y)
    detached(value, "Your matrix")
    return "a row for each picture, whose mean is the gradient of the mean loss."


# ---- 5.2 ---------------------------------------------------------------------------------------------------
def _small_network() -> nn.Sequential:
    """Two layers, smooth, 27 parameters, float64; not at a minimum."""
    with drawn(5):
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))
    return model.double().eval()


def _batches(*sizes: int) -> list[tuple[Tensor, Tensor]]:
    return [
        (2 * normal(size, 1, 2, 2, seed=80 + i), (uniform(size, seed=90 + i) * 3).long())
        for i, size in enumerate(sizes)
    ]


@exercise("5.2", "A Hessian-vector product over the whole set")
def product_with_hessian(answer) -> str:
    model, batches, l2 = _small_network(), _batches(7, 4, 2), 0.3
    P = sum(p.numel() for p in model.parameters())
    u, v = 2 * normal(P, seed=72), 2 * normal(P, seed=73)

    def ask(vector: Tensor, l2: float = l2, batches: list = batches, function: Callable = answer) -> Any:
        given = [(x.clone(), y.clone()) for x, y in batches]
        return function(copy.deepcopy(model), given, vector.clone(), l2)

    right = hessian_product()(model, batches, v, l2)
    value = ask(v)
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 4:
        fail(
            "Four pieces came back, one for each parameter tensor.",
            "Flatten and join them, in the order of `model.parameters()`: (P,).",
        )
    value = _told(value, right, HESSIAN_PRODUCT, lambda other: ask(v, function=other), "Your function")
    zero = _tensor(ask(torch.zeros(P).double()), (P,))
    expect(
        close(zero, torch.zeros(P), _TOLERANCE) or float(zero.abs().max()) < 1e-9,
        f"H times 0 should be 0; you get values up to {float(zero.abs().max()):.3g}.",
        "Something is added that does not depend on v.",
    )
    more = _tensor(ask(v, l2=l2 + 1), (P,)) - value
    expect(
        close(more, v, 1e-4),
        "With a weight decay larger by 1, H v should be larger by v itself.",
        "The second derivative of l2/2 |θ|² is l2 times the identity.",
    )
    other = _tensor(ask(u), (P,))
    expect(
        abs(float(u @ value - v @ other)) < 3e-5 * float(u.norm() * value.norm()),
        f"u · (H v) is {float(u @ value):.5g}, v · (H u) is {float(v @ other):.5g}: a Hessian is symmetric.",
        "The order of the pieces must be the same in v, in the slope and in the result.",
    )
    compare(
        value, right, tolerance=_TOLERANCE, look="Sum the losses, twice differentiated; over n; plus l2 v."
    )
    again = ask(v, batches=batches[::-1])
    compare(
        _tensor(again, (P,)),
        right,
        tolerance=_TOLERANCE,
        look="The same batches in another order give another product: which one counts differently?",
    )
    _with_gradients(model)
    with left_alone(model=model, v=v, **{"x": batches[0][0]}):
        value = answer(model, batches, v, l2)
    detached(value, "Your product")
    _judge_graph(answer, model, v)
    return "the curvature of the whole set along v, and no graph larger than one batch's."


def _judge_graph(answer: Callable, model: nn.Module, v: Tensor) -> None:
    """Stops where H itself is built, or where every further batch keeps more numbers in memory."""
    with drawn(6):
        wide = nn.Sequential(nn.Flatten(), nn.Linear(4, 60), nn.Tanh(), nn.Linear(60, 3)).double().eval()
    P, batches = sum(p.numel() for p in wide.parameters()), _batches(5)
    along = normal(P, seed=74)
    with PeakMemory(along, *[t for pair in batches for t in pair], *wide.parameters()) as memory:
        answer(wide, batches, along, 0.3)
    expect(
        memory.peak // 8 < P * P / 4,
        f"For {P} parameters and 5 pictures {memory.peak // 8} numbers are alive at once: H itself, "
        "(P, P), is built.",
        "Differentiate the number slope · v: that gives P numbers, and never P × P.",
    )
    peaks = []
    for count in (2, 6):
        batches = _batches(*[100] * count)
        with PeakMemory(v, *[t for pair in batches for t in pair], *model.parameters()) as memory:
            answer(model, batches, v, 0.3)
        peaks.append(memory.peak // v.element_size())
    each = (peaks[1] - peaks[0]) / 4
    expect(
        each < 300,
        f"Each further batch of 100 pictures leaves {each:.0f} more numbers in memory: the graphs of all "
        "batches are alive at once.",
        "Differentiate twice inside the loop, and keep only the sum of the results.",
    )


_LOOSE = 0.6  # a tolerance that is reached before the last of six curvatures


# ---- 5.3 ---------------------------------------------------------------------------------------------------
class _Product:
    """``product``: H times each row of what it is given; counts its calls."""

    def __init__(self, H: Tensor, most: int) -> None:
        self.H, self.most, self.count = H, most, 0

    def __call__(self, rows: Any) -> Tensor:
        P, shape = len(self.H), tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        expect(
            isinstance(rows, Tensor) and rows.dim() == 2 and rows.shape[1] == P,
            f"`product` takes vectors as rows, (m, {P}); it was given {shape}.",
            "One row a right-hand side; a single vector is `vector[None]`.",
        )
        expect(
            len(rows) <= self.most,
            f"`product` was asked for {len(rows)} vectors at once: there are {self.most} right-hand sides.",
            "Do not build H column by column: walk with as many directions as there are rows in g.",
        )
        expect(
            bool(rows.isfinite().all()),
            "`product` was given NaN or infinity: a direction has been divided by 0.",
            "Where a row is done (or g is 0), ρ / (p · H p) is 0 / 0: let such a row stand still.",
        )
        self.count += 1
        expect(
            self.count <= 2000,
            "`product` was called 2000 times, and your loop has not stopped.",
            "`for _ in range(most)`.",
        )
        return rows.detach() @ self.H


def _curved(curvatures: Sequence[float], seed: int = 74) -> tuple[Tensor, Tensor]:
    """A matrix with these curvatures, each taken by three directions, and those directions as rows."""
    axes = torch.linalg.qr(normal(3 * len(curvatures), 3 * len(curvatures), seed=seed)).Q
    values = torch.tensor(curvatures).double().repeat_interleave(3)
    return (axes * values) @ axes.T, axes.T


@exercise("5.3", "Conjugate gradients for many")
def conjugate_gradients(answer) -> str:
    curvatures, damping, tolerance = (0.05, 0.3, 1.0, 2.0, 5.0, 9.0), 0.1, 1e-8
    H, axes = _curved(curvatures)
    P = len(H)
    g = normal(3, P, seed=75)
    g[0] = g[0] @ axes[3:15].T @ axes[3:15]  # four curvatures only: done after four steps
    g[1] = 1e-9 * g[1]  # a small one
    g[2] = axes[4] + 2 * axes[10]  # two curvatures: done after two steps
    length = g.norm(dim=1, keepdim=True)
    product = _Product(H, 3)

    def scaled(value: Any) -> Any:
        """Every row counts the same, however small its g is; and one that is far too large does not hide
        the others."""
        fits = isinstance(value, Tensor) and value.shape == g.shape
        return (value / length).clamp(-50, 50) if fits else value

    def probe(function: Callable) -> Any:
        return scaled(function(_Product(H, 3), g.clone(), damping, tolerance, 60))

    right = torch.linalg.solve(H + damping * torch.eye(P).double(), g.T).T
    with left_alone(g=g):
        value = answer(product, g, damping, tolerance, 60)
    if product.count == 0:
        fail("`product` was never called, and H is known by nothing else.", "`product(p) + damping * p`.")
    recognise(scaled(value), right / length, SOLVE, probe, tolerance=_TOLERANCE)
    value = _tensor(value, right.shape)
    left = (g - value @ H - damping * value).norm(dim=1) / g.norm(dim=1)
    expect(
        bool((left <= 10 * tolerance).all()),
        f"After {product.count} products, |g − (H + λI) s| / |g| is {_few(left)} in the three rows; "
        f"{tolerance:g} is asked for.",
        "Compare with the lesson's cell, one line at a time: step, residual, direction, in this order.",
    )
    compare(value, right, tolerance=1e-5, look="(H + λI) s = g, each row by itself.")
    _judge_done(answer, H, axes, damping)
    _judge_products(answer, H, g, damping, product.count)
    _judge_refusal(answer, damping)
    return "every row to its tolerance, in as few products as H has curvatures."


def _judge_products(answer: Callable, H: Tensor, g: Tensor, damping: float, count: int) -> None:
    """How often H is used: once an iteration, and no longer than it takes."""
    for wanted, most in ((1e-8, 8), (0.3, 8), (_LOOSE, 5)):
        product = _Product(H, 3)
        value = _tensor(answer(product, g, damping, wanted, 60), tuple(g.shape))
        expect(
            product.count <= most,
            f"For a tolerance of {wanted:g} `product` was called {product.count} times; it takes {most} at "
            f"most: H has six different curvatures, and all the rows walk together.",
            "One call an iteration, with all the directions as rows; and stop when |r| ≤ tolerance · |g|.",
        )
        left = (g - value @ H - damping * value).norm(dim=1) / g.norm(dim=1)
        expect(
            bool((left <= 1.01 * wanted + 1e-12).all()),
            f"For a tolerance of {wanted:g}, |g − (H + λI) s| / |g| is {_few(left)}.",
            "|r| ≤ tolerance · |g| asks for lengths of whole rows, and for nothing else: both are "
            "squared, or "
            "neither.",
        )
        alone = [_tensor(answer(_Product(H, 1), row[None], damping, wanted, 60), (1, len(H))) for row in g]
        expect(
            all(close(row, own[0], 1e-4) for row, own in zip(value, alone, strict=True)),
            f"For a tolerance of {wanted:g} a row comes out otherwise among the others than alone: "
            "when it is "
            "done, it is moved on as long as others are not.",
            "A row that is done stands still: its step is 0.",
        )
    product = _Product(H, 3)
    value = _tensor(answer(product, g, damping, 1e-8, 2), tuple(g.shape))
    expect(
        product.count == 2,
        f"`most` was 2, the rows need up to six products, and `product` was called {product.count} times.",
        "`for _ in range(most)`, and return what has been reached.",
    )
    two_steps = solve()(lambda p: p @ H, g, damping, 1e-8, 2)
    length = g.norm(dim=1, keepdim=True)
    compare(
        value / length, two_steps / length, tolerance=1e-4, look="After `most` products return s as it is."
    )


def _refuses(answer: Any, *given: Any) -> tuple[bool, Any]:
    """Whether the answer raises a ValueError of its own, and its words; or what it returns otherwise."""
    function = answer.function if isinstance(answer, Reader) else answer
    try:
        return False, function(*given)
    except ValueError as error:
        return True, str(error)
    except Exception:  # explained by the reader's room
        return False, answer(*given)


def _judge_done(answer: Callable, H: Tensor, axes: Tensor, damping: float) -> None:
    """A row that is 0, and one that is solved by a single step; and nothing but zeros."""
    g = torch.stack([torch.zeros(len(H)).double(), axes[7], normal(len(H), seed=76)])
    refused, value = _refuses(answer, _Product(H, 3), g.clone(), damping, 1e-8, 60)
    expect(
        not refused,
        "A `ValueError` is raised where H + λI is positive definite: one row of g is 0, so p · H p is 0.",
        "Refuse only for rows that are not done: `open_ & (curvature <= 0)`.",
    )
    if isinstance(value, Tensor) and not bool(value.isfinite().all()):
        fail(
            "Of three rows one is 0, one is solved by the first step; the result holds NaN or infinity.",
            "Where a row is done, 0 / 0: let its step be 0 with `torch.where`.",
        )
    right = torch.linalg.solve(H + damping * torch.eye(len(H)).double(), g.T).T
    compare(
        _tensor(value, tuple(g.shape)),
        right,
        tolerance=1e-5,
        look="Right for three ordinary rows; wrong where one is 0 and one is done after one step.",
    )
    product = _Product(H, 3)
    answer(product, torch.zeros_like(g), damping, 1e-8, 60)
    expect(
        product.count == 0,
        f"Three rows of g were 0, so that all are done from the beginning; `product` was called "
        f"{product.count} times.",
        "Look whether every row is done *before* you ask for a product.",
    )


def _judge_refusal(answer: Callable, damping: float) -> None:
    """A direction along which the damped loss curves downwards."""
    H, _ = _curved((-1.0, 0.3, 1.0, 2.0, 5.0, 9.0))
    g = normal(2, len(H), seed=77)
    for most in (60, 6):  # a loop that stops early enough may not notice
        refused, said = _refuses(answer, _Product(H, 2), g.clone(), damping, 1e-8, most)
    expect(
        refused,
        "H curves downwards along a direction (−1, and the damping is 0.1), and no `ValueError` was raised: "
        "there is no bottom to walk to.",
        "`if` p · (H + λI) p ≤ 0 in a row that is not done: `raise ValueError(…)`.",
    )
    expect(
        said.strip(), "Your `ValueError` has no words.", '`raise ValueError("…")`: say what is the matter.'
    )
    flat = torch.tensor([0.0, 1.0, 2.0]).double()
    refused, _ = _refuses(answer, _Product(flat.diag(), 1), torch.eye(3)[:1].double(), 0.0, 1e-8, 1)
    expect(
        refused,
        "Along a direction the loss is flat, p · (H + λI) p is exactly 0, and no `ValueError` was raised.",
        "`<= 0`: on a flat floor there is no bottom, either.",
    )
    refused, value = _refuses(answer, _Product(H, 2), g.clone(), 2.0, 1e-8, 60)
    expect(
        not refused,
        "With a damping of 2 the lowest curvature is 1, and a `ValueError` was raised.",
        "What counts is p · (H + λI) p, with the damping in it.",
    )
    right = torch.linalg.solve(H + 2 * torch.eye(len(H)).double(), g.T).T
    compare(_tensor(value, tuple(g.shape)), right, tolerance=1e-5, look="A damping of 2, in place of 0.1.")


# ---- 5.4 ---------------------------------------------------------------------------------------------------
class _Points:
    """Softmax regression on 30 points of the plane: everything about it is exact."""

    def __init__(self, l2: float = 0.3) -> None:
        self.l2, self.n = l2, 30
        self.y = torch.arange(30) % 3
        corners = torch.tensor([[1.0, 0.0], [-0.6, 0.8], [-0.6, -0.8]]).double()
        self.x = corners[self.y] + 0.7 * normal(30, 2, seed=78)
        self.xt, self.yt = corners.repeat(2, 1)[:4] + 0.5 * normal(4, 2, seed=79), torch.tensor([0, 1, 2, 1])
        self.fit = softmax_regression(l2=l2)
        self.fit(self.x, self.y, torch.ones(1, 30).double())
        self.theta = self.fit.weights.flatten()

    def losses(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(F.pad(x, (0, 1), value=1.0) @ theta.view(3, 3).T, y)

    def slopes(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.func.jacrev(self.losses)(self.theta, x, y)

    def hessian(self) -> Tensor:
        def mean(theta: Tensor) -> Tensor:
            return self.losses(theta, self.x, self.y).mean() + self.l2 / 2 * theta @ theta

        return torch.func.jacrev(torch.func.jacrev(mean))(self.theta)

    def really(self, i: int, label: int, j: int) -> float:
        """The change of test loss j when picture i is relabelled and the model fitted again."""
        labels = self.y.clone()
        labels[i] = label
        fit = softmax_regression(l2=self.l2)
        logits = fit(self.x, labels, torch.ones(1, 30).double())(self.xt[j : j + 1])[0]
        now = self.losses(self.theta, self.xt[j : j + 1], self.yt[j : j + 1])
        return float(cross_entropy(logits, self.yt[j : j + 1]) - now)


_N = 200
_FACTORS = {
    "A": (
        -1 / _N,
        "Upweighting a picture by ε moves θ by −ε H⁻¹∇ℓ_i; leaving it out is ε = −1/n.",
    ),
    "B": (
        1,
        "The Hessian of the sum is n times that of the mean, so its inverse has the 1/n in it already.",
    ),
    "C": (
        -1,
        "It counts a picture twice: ε = +1/n, where leaving it out is ε = −1/n.",
    ),
    "D": (
        _N,
        "It divides by n twice: once in the gradient of the mean, once in the Hessian of the sum.",
    ),
}


@exercise("5.4", "Sign and 1/n", in_parts=True)
def sign_and_n(relabelled, factors) -> str:
    points = _Points()
    others = (points.y + 1) % 3
    before, after = points.slopes(points.x, points.y), points.slopes(points.x, others)
    solved = torch.linalg.solve(points.hessian(), points.slopes(points.xt, points.yt).T).T
    right = solved @ (before - after).T / points.n

    def probe(function: Callable) -> Any:
        return function(solved.clone(), before.clone(), after.clone())

    with left_alone(solved=solved, before=before, after=after):
        value = relabelled(solved, before, after)
    value = _told(value, right, RELABELLED, probe, "`relabelled`")
    same = _tensor(relabelled(solved, before, before.clone()), right.shape, "`relabelled`")
    expect(
        float(same.abs().max()) < 1e-12,
        f"A label exchanged for itself changes a loss by {float(same.abs().max()):.3g}, and not by 0.",
        "`before - after`: what goes and what comes.",
    )
    j, i = divmod(int(right.abs().argmax()), points.n)
    real = points.really(i, int(others[i]), j)
    expect(
        abs(float(value[j, i]) / real - 1) < 0.4,
        f"Point {i} relabelled for real, and the model fitted again, test loss {j} changes by {real:+.4f}; "
        f"you predict {float(value[j, i]):+.4f}.",
        "θ moves by 1/n H⁻¹(∇ℓ − ∇ℓ′); the test loss changes by its slope along that.",
    )
    compare(value, right, tolerance=_TOLERANCE, look="1/n · solved · (before − after)ᵀ.")
    then(
        lambda: _judge_factors(factors),
        "`relabelled` is right. Now the dict `factors`: replace each `...` by a number.",
    )
    return "the old label's pull goes, the new one's comes, and one of n pictures does it."


def _judge_factors(said: Any) -> None:
    attempted(said)
    expect(
        isinstance(said, Mapping) and set(said) == set(_FACTORS),
        "The second answer is a dict with the keys A, B, C and D.",
        "Keep the stub's dict, and replace each `...` by a number.",
    )
    for name, (right, why) in _FACTORS.items():
        expect(
            not isinstance(said[name], str),
            f"`factors[{name!r}]` is the text `{said[name]!r:.20}`; a number is wanted.",
            "No quotes around it: `0.5` or `1 / 3`, say.",
        )
        given = numbers(said[name], 1, f"`factors[{name!r}]`")[0]
        if close(given, right, 1e-6):
            continue
        if close(given, -right, 1e-6):
            fail(f"`factors[{name!r}]` has the wrong sign.", why)
        if given != 0 and close(given, 1 / right, 1e-6):
            fail(f"`factors[{name!r}]` is turned over: it divides where it should multiply.", why)
        if close(abs(given), 1) or close(abs(given), _N) or close(abs(given), 1 / _N):
            fail(f"`factors[{name!r}]` is wrong in its n: it is not {given:g}.", why)
        fail(f"`factors[{name!r}]` is {given:g}, which is none of ±1, ±n, ±1/n for n = {_N}.", why)


# ---- 5.5 ---------------------------------------------------------------------------------------------------
class _LastLayer:
    """Features with a constant, probabilities and errors of a last layer, in float64."""

    def __init__(self, n: int, K: int, D: int) -> None:
        self.features = F.pad(normal(n, D - 1, seed=101), (0, 1), value=1.0)
        self.p = (1.5 * normal(n, K, seed=102)).softmax(1)
        self.errors = self.p - F.one_hot((uniform(n, seed=103) * K).long(), K)

    def hessian(self, l2: float) -> Tensor:
        """All of it, (K·D, K·D), from one outer product a picture."""
        inner = torch.diag_embed(self.p) - self.p[:, :, None] * self.p[:, None]  # (n, K, K)
        outer = self.features[:, :, None] * self.features[:, None]
        whole = torch.einsum("nkl,nde->kdle", inner, outer) / len(self.p)
        size = whole.shape[0] * whole.shape[1]
        return whole.reshape(size, size) + l2 * torch.eye(size).double()


@exercise("5.5", "The last layer in closed form", functions=2)
def last_layer(gradient_dots, layer_product) -> str:
    n, K, D, m, l2 = 11, 3, 4, 2, 0.4
    layer, V = _LastLayer(n, K, D), normal(m, K, D, seed=104)
    errors, features = layer.errors, layer.features
    right = torch.einsum("mkd,nkd->mn", V, errors[:, :, None] * features[:, None])
    with left_alone("`gradient_dots`", V=V, features=features, errors=errors):
        value = gradient_dots(V, features, errors)
    value = _told(
        value,
        right,
        GRADIENT_DOTS,
        lambda other: other(V.clone(), features.clone(), errors.clone()),
        "`gradient_dots`",
    )
    compare(value, right, tolerance=_TOLERANCE, look="Σ over k and d of V_kd (p_k − e_k) φ_d.")
    _judge_size("gradient_dots", lambda V, layer: gradient_dots(V, layer.features, layer.errors), "(n, K, D)")
    then(
        lambda: _judge_layer_product(layer_product, layer, V, l2),
        "`gradient_dots` is right. Now `layer_product`.",
    )
    return "inner products and curvature of a whole layer, and nothing larger than a feature matrix."


def _judge_layer_product(answer: Callable, layer: _LastLayer, V: Tensor, l2: float) -> None:
    m, K, D = V.shape
    right = (V.flatten(1) @ layer.hessian(l2)).view(m, K, D)
    with left_alone("`layer_product`", V=V, features=layer.features, p=layer.p):
        value = answer(V, layer.features, layer.p, l2)

    def probe(other: Callable) -> Any:
        return other(V.clone(), layer.features.clone(), layer.p.clone(), l2)

    value = _told(value, right, LAYER_PRODUCT, probe, "`layer_product`")
    more = _tensor(answer(V, layer.features, layer.p, l2 + 1), V.shape, "`layer_product`") - value
    expect(
        close(more, V, 1e-4),
        "With a weight decay larger by 1, H V should be larger by V itself; it is not.",
        "The second derivative of l2/2 |W|² is l2 times the identity, the bias included: add `l2 * V`.",
    )
    alike = normal(1, 1, D, seed=105).expand(1, K, D).clone()
    moved = _tensor(answer(alike, layer.features, layer.p, l2), (1, K, D), "`layer_product`")
    expect(
        close(moved, l2 * alike, _TOLERANCE),
        "A V that adds the same to all the logits changes no probability: H V should be l2 · V; it is not.",
        "(diag p − p pᵀ) u is 0 where all entries of u are equal, for Σ p = 1.",
    )
    energy = (value * V).sum((1, 2))
    expect(
        bool((energy > 0).all()),
        f"V · H V is {_few(energy)}; cross-entropy is convex in the last layer, so that it is positive.",
        "(diag p − p pᵀ), and l2 with a plus.",
    )
    compare(
        value,
        right,
        tolerance=_TOLERANCE,
        look="u = φ Vᵀ; p ⊙ u − p (p · u); back through φ; over n; + l2 V.",
    )
    _judge_size(
        "layer_product", lambda V, layer: answer(V, layer.features, layer.p, l2), "(n, K, D) or (K·D, K·D)"
    )


def _judge_size(name: str, made: Callable[[Tensor, _LastLayer], Any], what: str) -> None:
    """Stops where a gradient for each picture, or a Hessian, is built: for one V and a larger layer."""
    n, K, D = 120, 8, 90
    layer, V = _LastLayer(n, K, D), normal(1, K, D, seed=106)
    with PeakMemory(V, layer.features, layer.errors, layer.p) as memory:
        made(V, layer)
    peak, most = memory.peak // 8, 0.8 * n * K * D  # room for a (K, K) for each picture
    expect(
        peak < most,
        f"For {n} pictures, {K} classes and {D} features `{name}` holds {peak} numbers at once: {what} is "
        "built.",
        "Error and feature stay two factors: contract V with one of them, and then with the other.",
    )


# ---- 5.6 ---------------------------------------------------------------------------------------------------
@exercise("5.6", "A hunt for wrong labels", functions=3)
def hunt(self_influences, held_out_losses, found) -> str:
    n, P = 9, 4
    G, A = normal(n, P, seed=111), normal(P, 2 * P, seed=112)
    H = A @ A.T / P + 0.1 * torch.eye(P).double()
    right = torch.stack([g @ torch.linalg.inv(H) @ g for g in G]) / n
    with left_alone("`self_influences`", gradients=G, hessian=H):
        value = self_influences(G, H)
    value = _told(
        value, right, SELF_INFLUENCES, lambda other: other(G.clone(), H.clone()), "`self_influences`"
    )
    compare(value, right, tolerance=_TOLERANCE, look="1/n · g_iᵀ H⁻¹ g_i.")
    many = normal(400, P, seed=113)
    with PeakMemory(many, H) as memory:
        self_influences(many, H)
    expect(
        memory.peak // 8 < 400 * 400 / 2,
        f"For 400 pictures `self_influences` holds {memory.peak // 8} numbers at once: all pairs, (n, n), "
        "for the sake of the diagonal.",
        "`(gradients * solved).sum(dim=1)` makes the diagonal alone.",
    )
    then(lambda: _judge_held_out(held_out_losses), "`self_influences` is right. Now `held_out_losses`.")
    then(lambda: _judge_found(found), "Two are right. Now `found`.")
    return "three ways to look at a label, and a fair count of what each finds."


class _Fits:
    """``fit``: a classifier by distance to the class means; remembers what it was fitted on."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, x: Any, y: Any) -> Callable[[Tensor], Tensor]:
        expect(
            isinstance(x, Tensor) and isinstance(y, Tensor) and len(x) == len(y) > 0,
            "`fit` was called with other things than equally many pictures and labels.",
            "`fit(x[others], y[others])`.",
        )
        self.sizes.append(len(y))
        flat = x.detach().flatten(1)
        means = torch.stack([
            flat[y == k].mean(0) if bool((y == k).any()) else torch.zeros_like(flat[0]) for k in range(3)
        ])  # fmt: skip
        means.requires_grad_(True)  # as a model's weights do
        return lambda images: -(images.flatten(1)[:, None] - means).square().sum(2)


def _judge_held_out(answer: Callable) -> None:
    y = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 1, 2, 0, 0, 1, 2, 1])
    x = 1.5 * normal(16, 1, 2, 2, seed=114) + y[:, None, None, None]
    fold = torch.tensor([2, 0, 1, 3, 0, 2, 1, 3, 2, 1, 0, 3, 0, 3, 1, 0])  # no order, 5 4 3 4 of each
    fold[5] = 7  # numbers need not follow one another; and a fold of one
    x[5] -= 2.0  # which is hard, so that it shows when it is left out
    right = torch.empty(16, dtype=torch.float64)
    for i in range(16):
        others = fold != fold[i]
        right[i] = cross_entropy(_Fits()(x[others], y[others])(x[i : i + 1]), y[i : i + 1])[0].detach()

    def probe(function: Callable) -> Any:
        return function(_Fits(), x.clone(), y.clone(), fold.clone())

    fits = _Fits()
    with left_alone("`held_out_losses`", x=x, y=y, fold=fold):
        value = answer(fits, x, y, fold)
    value = _told(value, right, HELD_OUT_LOSSES, probe, "`held_out_losses`")
    other = y.clone()
    other[1] = 2  # a label of fold 0
    rest = (fold == 0) & (torch.arange(16) != 1)
    expect(
        close(_tensor(answer(_Fits(), x, other, fold), (16,))[rest], value[rest], _TOLERANCE),
        "With another label on picture 1 the losses of the other pictures of its fold change: the model that "
        "judges them was fitted with picture 1.",
        "Fit on `fold != number`: the whole fold stays out, not the picture alone.",
    )
    compare(
        value, right, tolerance=_TOLERANCE, look="Fit on `fold != number`; the losses of `fold == number`."
    )
    expect(
        len(fits.sizes) <= len(fold.unique()),
        f"The losses are right; `fit` was called {len(fits.sizes)} times for {len(fold.unique())} folds.",
        "One fit a fold serves all its pictures.",
    )
    expect(
        not answer(_Fits(), x, y, fold).requires_grad,
        "`held_out_losses`: your result still hangs on the graph: keep it, and all the fitted models "
        "are kept.",
        "`with torch.no_grad():` where the models are asked, or `.detach()`.",
    )


def _judge_found(answer: Callable) -> None:
    suspicion = normal(40, seed=115)
    wrong = (uniform(40, seed=116) < 0.3) | (suspicion > 1.2)

    def told(function: Callable) -> Tensor:
        shares = [function(suspicion.clone(), wrong.clone(), inspected) for inspected in (3, 10, 25)]
        return torch.tensor(
            [v for share in shares for v in numbers(share, 1, "`found`")], dtype=torch.float64
        )

    order = sorted(range(40), key=lambda i: -float(suspicion[i]))
    right = torch.tensor([
        sum(bool(wrong[i]) for i in order[:inspected]) / int(wrong.sum()) for inspected in (3, 10, 25)
    ]).double()  # fmt: skip
    value = told(answer)
    recognise(value, right, FOUND, told, tolerance=1e-6)
    with left_alone("`found`", suspicion=suspicion, wrong=wrong):
        everything = numbers(answer(suspicion, wrong, 40), 1, "`found`")[0]
    expect(
        abs(everything - 1) < 1e-6,
        f"After all 40 are inspected all wrong labels are found, a share of 1; you say {everything:.3g}.",
        "Divide by the number of wrong labels.",
    )
    compare(value, right, look="The wrong ones among the `inspected` most suspicious, over all wrong ones.")
    equal = torch.tensor([1.0, 3, 3, 1, 3, 1, 3, 1]).double()
    half = numbers(answer(equal, equal == 3, 2), 1, "`found`")[0]
    expect(
        abs(half - 0.5) < 1e-6,
        f"Four pictures are equally suspicious, and just these are wrong: after two of them a half is found; "
        f"you say {half:.3g}.",
        "Inspect as many as `inspected` says, `argsort(descending=True)[:inspected]`, and not all "
        "above a bar.",
    )


# ---- 5.7 ---------------------------------------------------------------------------------------------------
@exercise("5.7", "Bonus: the account of a training")
def account(answer) -> str:
    points = _Points()
    train, test = (points.x[:8], points.y[:8]), (points.xt, points.yt)
    batches = [torch.tensor(b) for b in ([3, 0, 5], [1, 7, 2], [4, 6], [0, 2, 7], [5, 1], [3, 4, 6])]
    theta = 0.3 * normal(9, seed=117)

    def gradients(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.func.jacrev(points.losses)(theta, x, y)

    def probe(function: Callable, rate: float = 0.8) -> Any:
        given = [(part[0].clone(), part[1].clone()) for part in (train, test)]
        return function(gradients, theta.clone(), *given, [b.clone() for b in batches], rate)

    right = _by_the_step(gradients, theta, train, test, batches, 0.8)
    value = _told(probe(answer), right, TRACE, probe, "Your function")
    rate = 1e-3
    small, end = _tensor(probe(answer, rate), right.shape), theta
    for batch in batches:
        end = end - rate * gradients(end, train[0][batch], train[1][batch]).mean(0)
    fall = points.losses(theta, *test) - points.losses(end, *test)
    expect(
        close(small.sum(1), fall, 0.01),
        f"With small steps, the credits for a test picture add up to the fall of its loss, {_few(fall)}; "
        f"yours add up to {_few(small.sum(1))}.",
        "Each step is shared out among its batch: rate / |B| · test gradient · training gradient.",
    )
    compare(
        value, right, tolerance=_TOLERANCE, look="Credits with the weights before the step, then the step."
    )
    with left_alone(theta=theta, x=train[0], test=test[0]):
        value = answer(gradients, theta, train, test, batches, 0.8)
    detached(value, "Your table")
    return "who lowered which loss, step by step; for small steps the credits add up to the fall."


def _by_the_step(
    gradients: Callable, theta: Tensor, train: tuple, test: tuple, batches: list[Tensor], rate: float
) -> Tensor:
    """One number at a time, (m, n)."""
    credits_ = torch.zeros(len(test[1]), len(train[1]), dtype=torch.float64)
    for batch in batches:
        tests, own = gradients(theta, *test), gradients(theta, train[0][batch], train[1][batch])
        for place, i in enumerate(batch.tolist()):
            for j in range(len(tests)):
                credits_[j, i] += rate / len(batch) * float(tests[j] @ own[place])
        theta = theta - rate * own.mean(0)
    return credits_
