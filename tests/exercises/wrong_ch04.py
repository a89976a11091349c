"""Wrong answers to the exercises of chapter 4, as people give them; and right ones that look unlike ours.

The mistakes that a check recognises by what they give stand beside it, in ``ch04_mistakes.py``, and each is
handed in by the tests. Here is what a check finds otherwise (a property, a shape, a side effect, memory,
steps), and for every exercise some of the listed mistakes written anew, from the statement alone.
"""

import math
from itertools import chain, combinations, permutations

import numpy as np
import torch
import torch.nn.functional as F
from planted import Wrong
from sklearn.linear_model import LinearRegression, Ridge

from xai_course.checks.ch04_mistakes import (
    centred,
    game,
    kernel,
    mask,
    masked,
    masks_needed,
    relative,
    ridge,
    rise,
    se,
    shapley_weight,
    superpixel_means,
)

CONSTANT = {"divided by the coverage": "flat", "divided by N·q": "follows the coverage"}
AXIOMS = {"efficiency": False, "symmetry": True, "dummy": True}
SUMS = {"coefficients": 0, "intercepts": 1}


# ---- 4.1 ----
def the_lessons(Z, centre, width):
    return torch.exp(-((1 - Z.double().mean(1).sqrt()) ** 2) / (2 * width**2))


def of_numpy_norms(Z, centre, width):
    Z, a = Z.numpy().astype(float), centre.numpy().astype(float)
    with np.errstate(invalid="ignore"):
        D = 1 - Z @ a / (np.linalg.norm(Z, axis=1) * np.linalg.norm(a))
    return torch.from_numpy(np.exp(-(D**2) / width**2 / 2))


def by_position(Z, centre):
    falling = torch.arange(len(centre), 0, -1).double()
    both, z, a = ((part.double() @ falling) for part in (Z & centre, Z, centre))
    return 1 - both / (z * a).sqrt().clamp_min(1e-9)


# ---- 4.2 ----
def masked_in_a_loop(x, segments, Z, fill):
    one = [torch.where(z[segments][:, None], x, fill) for z in Z]
    return torch.stack(one, dim=1)


def masked_in_a_loop_of_numpy(x, segments, Z, fill):
    x, segments, Z, fill = (part.numpy() for part in (x, segments, Z, fill))
    images = np.empty((len(x), len(Z), *x.shape[1:]))
    for i in range(len(Z)):
        images[:, i] = np.where(Z[i][segments][:, None], x, fill)
    return torch.from_numpy(images)


def masked_picture_by_picture(x, segments, Z, fill):
    pairs = zip(x, segments, fill, strict=True)
    return torch.stack([torch.where(Z[:, s][:, None], image, behind) for image, s, behind in pairs])


def masked_pixel_by_pixel(x, segments, Z, fill):
    images = masked()(x, segments, torch.zeros_like(Z), fill)
    for k, i, h, w in np.ndindex(len(x), len(Z), *x.shape[2:]):
        if Z[i, segments[k, h, w]]:
            images[k, i, :, h, w] = x[k, :, h, w]
    return images


def masked_in_place(x, segments, Z, fill):
    images = masked()(x, segments, Z, fill)
    fill[:] = images[:, 0]
    return images


# ---- 4.3 ----
def with_a_column_of_ones(power=1, penalise=True):
    def answer(Z, Y, weights, alpha):
        Z1 = torch.cat([Z, torch.ones(len(Z), 1, dtype=Z.dtype)], 1)
        penalty = alpha * torch.eye(Z1.shape[1], dtype=Z.dtype)
        penalty[-1, -1] *= penalise
        W = torch.diag(weights**power)
        solved = torch.linalg.solve(Z1.T @ W @ Z1 + penalty, Z1.T @ W @ Y)
        return solved[:-1], solved[-1]

    return answer


def through_zero(Z, Y, weights, alpha):
    W = torch.diag(weights)
    beta = torch.linalg.solve(Z.T @ W @ Z + alpha * torch.eye(Z.shape[1], dtype=Z.dtype), Z.T @ W @ Y)
    return beta, torch.zeros(Y.shape[1])


def wrong_sign(Z, Y, weights, alpha):
    beta, _ = ridge()(Z, Y, weights, alpha)
    return beta, (weights @ Z @ beta - weights @ Y) / weights.sum()


def of_sklearn(Z, Y, weights, alpha):
    fitted = Ridge(alpha=max(alpha, 1e-12)).fit(Z.numpy(), Y.numpy(), sample_weight=weights.numpy())
    return torch.from_numpy(fitted.coef_.T), torch.from_numpy(fitted.intercept_)


def of_sklearn_with_rows_for_the_penalty(Z, Y, weights, alpha):
    Zc, Yc = Z - weights @ Z / weights.sum(), Y - weights @ Y / weights.sum()
    rows = torch.cat([Zc * weights.sqrt()[:, None], math.sqrt(alpha) * torch.eye(Z.shape[1]).double()])
    targets = torch.cat([Yc * weights.sqrt()[:, None], torch.zeros(Z.shape[1], Y.shape[1]).double()])
    beta = torch.from_numpy(LinearRegression(fit_intercept=False).fit(rows, targets).coef_.T)
    return beta, weights @ (Y - Z @ beta) / weights.sum()


def changed(end):
    """The right pair, and then something done to it."""
    return lambda Z, Y, weights, alpha: end(*ridge()(Z, Y, weights, alpha))


def of_24_samples(Z, Y, weights, alpha):
    return ridge()(Z[:24], Y[:24], weights[:24], alpha)


# ---- 4.4 ----
def rolled(bits, shift, size):
    large = F.interpolate(bits[None, None].float(), size, mode="bilinear", align_corners=False)[0, 0]
    return large.roll(shift, (0, 1))


def cut_without_an_end(bits, shift, size):
    s = bits.shape[0]
    to = [(s + 1) * -(-length // s) for length in size]
    large = F.interpolate(bits.double()[None, None], size=to, mode="bilinear", align_corners=False)
    return large[0, 0, shift[0] :, shift[1] :]


def cut_square(bits, shift, size):
    H, (dy, dx) = size[0], shift
    to = [(len(bits) + 1) * math.ceil(length / len(bits)) for length in size]
    large = F.interpolate(bits.double()[None, None], size=to, mode="bilinear", align_corners=False)
    return large[0, 0, dy : dy + H, dx : dx + H]


def shift_exchanged_when_large(bits, shift, size):
    return mask()(bits, shift if max(shift) < 3 else shift[::-1], size)


def grid_of_4(bits, shift, size):
    to = [5 * math.ceil(length / 4) for length in size]
    large = F.interpolate(bits.double()[None, None], size=to, mode="bilinear", align_corners=False)[0, 0]
    return large[shift[0] : shift[0] + size[0], shift[1] : shift[1] + size[1]]


# ---- 4.5 ----
def safe(below):
    return torch.where(below > 0, below, 1)


@torch.no_grad()
def all_at_once(model, x, target, make_masks, n_masks, batch_size):
    M = make_masks(0, n_masks)
    p = model(x * M[:, None]).softmax(dim=1)[:, target]
    return torch.einsum("m,mhw->hw", p, M) / safe(M.sum(dim=0))


def keeps(what):
    """Keeps something of every chunk until the end: the masks, the masked images, the products."""

    @torch.no_grad()
    def answer(model, x, target, make_masks, n_masks, batch_size):
        kept, total, coverage = [], 0, 0
        for start in range(0, n_masks, batch_size):
            M = make_masks(start, min(start + batch_size, n_masks))
            images = x * M[:, None]
            products = model(images).softmax(dim=1)[:, target][:, None, None] * M
            kept.append({"masks": M, "images": images, "products": products}[what])
            total, coverage = total + products.sum(dim=0), coverage + M.sum(dim=0)
        if what != "images":
            torch.cat(kept)
        return total / safe(coverage)

    return answer


def mean_of_chunks(model, x, target, make_masks, n_masks, batch_size):
    maps = []
    with torch.no_grad():
        for start in range(0, n_masks, batch_size):
            M = make_masks(start, min(start + batch_size, n_masks))
            p = model(x * M[:, None]).softmax(dim=1)[:, target]
            maps.append(torch.einsum("m,mhw->hw", p, M) / safe(M.sum(dim=0)))
    return torch.stack(maps).mean(dim=0)


@torch.no_grad()
def weighted_by_what_is_hidden(model, x, target, make_masks, n_masks, batch_size):
    total, below = torch.zeros_like(x[0, 0]), torch.zeros_like(x[0, 0])
    for k in range(n_masks):
        m = make_masks(k, k + 1)
        total += model(x * m[:, None]).softmax(1)[0, target] * (1 - m[0])
        below += 1 - m[0]
    return total / below


@torch.no_grad()
def plain_mean(model, x, target, make_masks, n_masks, batch_size):
    answers = [model(x * make_masks(k, k + 1)[:, None]).softmax(1)[0, target] for k in range(n_masks)]
    return torch.stack(answers).mean().expand(x.shape[2:])


def stretched(*given):
    heat = rise()(*given)
    return (heat - heat.min()) / (heat.max() - heat.min())


def autograd_watches(model, x, target, make_masks, n_masks, batch_size):
    total = coverage = 0
    for start in range(0, n_masks, batch_size):
        M = make_masks(start, min(start + batch_size, n_masks))
        total = total + torch.einsum("m,mhw->hw", model(x * M[:, None]).softmax(dim=1)[:, target], M)
        coverage = coverage + M.sum(dim=0)
    return total / safe(coverage)


def beyond_the_end(model, x, target, make_masks, n_masks, batch_size):
    for start in range(0, n_masks, batch_size):
        make_masks(start, start + batch_size)


@torch.no_grad()
def makes_masks_twice(model, x, target, make_masks, n_masks, batch_size):
    cover = sum(make_masks(k, k + 1)[0] for k in range(n_masks))
    return rise(divide=lambda total, coverage, n, scores: total / safe(cover))(
        model, x, target, make_masks, n_masks, batch_size
    )


def in_training_mode(model, *rest):
    heat = rise()(model, *rest)
    model.train()
    return heat


def with_frozen_weights(model, *rest):
    return rise()(model.requires_grad_(False), *rest)


def with_a_watched_image(model, x, *rest):
    return rise()(model, x.requires_grad_(True), *rest).detach()


def in_place(model, x, *rest):
    heat = rise()(model, x, *rest)
    x.mul_(0.5)
    return heat


def of_chunks_of_4(model, x, target, make_masks, n_masks, batch_size):
    return rise()(model, x, target, make_masks, n_masks, 4) * (1 if batch_size == 4 else 0.5)


# ---- 4.6 ----
def asks_twice(value, d):
    phi = []
    for j in range(d):
        others = [i for i in range(d) if i != j]
        phi.append(0)
        for S in chain.from_iterable(combinations(others, k) for k in range(d)):
            pair = torch.zeros(2, d, dtype=torch.bool)
            pair[:, list(S)] = True
            pair[1, j] = True
            without, with_j = value(pair)
            phi[j] = phi[j] + shapley_weight(len(S), d) * (with_j - without)
    return torch.stack(phi)


def one_by_one(value, d):
    return value(torch.zeros(d, dtype=torch.bool))


def prefix_order(value, d):
    """One order of joining only."""
    steps = torch.ones(d + 1, d).tril(-1).bool()
    return value(steps).diff()


def random_orders(value, d):
    rows = (torch.arange(2**d)[:, None] >> torch.arange(d)) % 2 == 1
    worth, phi = value(rows), torch.zeros(d).double()
    for _ in range(200):
        S = 0
        for j in torch.randperm(d).tolist():
            phi[j] += (worth[S | 1 << j] - worth[S]) / 200
            S |= 1 << j
    return phi


def banzhaf_by_sets(value, d):
    phi = torch.zeros(d)
    for j in range(d):
        others = [i for i in range(d) if i != j]
        for S in chain.from_iterable(combinations(others, k) for k in range(d)):
            pair = torch.zeros(2, d)
            pair[:, list(S)] = 1
            pair[1, j] = 1
            phi[j] += value(pair).diff()[0] / 2 ** (d - 1)
    return phi


def divided_by_its_sum(value, d):
    phi = shapley_by_orders(value, d)
    return phi / phi.sum()


class WithACache:
    """Worths are kept by the coalition's number, from one game to the next."""

    def __init__(self):
        self.known = {}

    def __call__(self, value, d):
        rows = torch.tensor([[bool(S >> j & 1) for j in range(d)] for S in range(2**d)])
        for S in range(2**d):
            if S not in self.known:
                self.known[S] = value(rows[S : S + 1])[0]
        return game(table=lambda value, d: torch.stack([self.known[S] for S in range(2**d)]))(value, d)


def right_for_the_first_game(value, d):
    phi = game()(value, d)
    return phi if d == 5 else phi.flip(0)


# ---- 4.7 ----
def without_infinity(maps):
    maps = maps - maps.mean(dim=(1, 2), keepdim=True)
    n = se(maps).square().mean()
    return (n / (maps.mean(dim=0).square().mean() - n)).sqrt()


def clamped(maps):
    maps = maps - maps.mean(dim=(1, 2), keepdim=True)
    n = se(maps).square().mean()
    return (n / (maps.mean(dim=0).square().mean() - n).clamp_min(1e-12)).sqrt()


def centred_over_runs(maps):
    maps = maps.numpy() - maps.numpy().mean(axis=0)
    noise, seen = (maps.var(axis=0, ddof=1) / len(maps)).mean(), (maps.mean(axis=0) ** 2).mean()
    return float("inf") if seen <= noise else (noise / (seen - noise)) ** 0.5


def infinite_too_soon(maps):
    noise, seen = se(centred(maps)).square().mean(), centred(maps).mean(dim=0).square().mean()
    return relative()(maps) if seen > 100 * noise else math.inf


def then_in_place(function):
    """The right result; and the maps that were given are not what they were."""

    def answer(maps):
        found = function(maps)
        maps -= maps.mean()
        return found

    return answer


def floor_and_one(error, n_masks, wanted):
    return int(n_masks * error * error / wanted / wanted // 1) + 1


def third(standard_error=se, relative_error=relative(), masks_needed=masks_needed):  # noqa: B008
    return standard_error, relative_error, masks_needed


def of_4_3(answer, **sums):
    return answer, SUMS | sums


WRONG = {
    "4.1": [
        Wrong("the lesson's", "from the whole image", (the_lessons,)),
        Wrong("numpy's norms", "NaN", (of_numpy_norms,)),
        Wrong(
            "nothing is at distance 0", "a width of", (kernel(weight=lambda D, w: (-D.square() / w).exp()),)
        ),
        Wrong("which, not how many", "four superpixels each", (kernel(by_position),)),
        Wrong("width ignored", "a width of 1;", (lambda Z, a, w: kernel()(Z, a, 1.0),)),
        Wrong("width fixed", "a width of 0.25", (lambda Z, a, w: kernel()(Z, a, 0.25),)),
        Wrong("default width", "width 0.2", (lambda Z, a, w: kernel()(Z, a, 0.45),)),
        Wrong("columns", "shape", (lambda Z, a, w: kernel()(Z, a, w)[None],)),
        Wrong("mean of bool", "Bool", (lambda Z, a, w: 1 - Z.mean(dim=1),)),
        Wrong("in place", "changed `Z`", (lambda Z, a, w: (kernel()(Z, a, w), Z.fill_(True))[0],)),
        Wrong(
            "centre in place", "changed `centre`", (lambda Z, a, w: (kernel()(Z, a, w), a.fill_(True))[0],)
        ),
        Wrong(
            "centre far",
            "that is the centre weighs",
            (kernel(lambda Z, a: (1.2 - (1 - kernel(weight=lambda D, w: D)(Z, a, 1))).clamp(0.1, 1)),),
        ),
    ],
    "4.2": [
        Wrong("loop", "loop over the samples", (masked_in_a_loop,)),
        Wrong("loop of numpy", "loop over the samples", (masked_in_a_loop_of_numpy,)),
        Wrong("loop over pictures", "loop over the pictures", (masked_picture_by_picture,)),
        Wrong("pixel by pixel", "loop over the samples", (masked_pixel_by_pixel,)),
        Wrong("in place", "changed `fill`", (masked_in_place,)),
        Wrong(
            "mean of the superpixel",
            "superpixel's mean colour",
            (
                lambda x, s, Z, fill: torch.where(
                    Z[:, s].movedim(0, 1)[:, :, None], x[:, None], superpixel_means(x, s)[:, None]
                ),
            ),
        ),
        Wrong(
            "samples first",
            "Samples come first",
            (lambda x, s, Z, fill: torch.where(Z[:, s][:, :, None], x, fill),),
        ),
        Wrong(
            "half faded",
            "does not give the fill",
            (masked(made=lambda k, x, f: torch.where(k, x, (x + f) / 2)),),
        ),
        Wrong(
            "brightened",
            "does not give back the image",
            (masked(made=lambda k, x, f: torch.where(k, 1.1 * x, f)),),
        ),
        Wrong("minus a bool", "a bool tensor", (masked(made=lambda k, x, f: k * x + (1 - k) * f),)),
        Wrong("no dimension for channels", "raised", (lambda x, s, Z, f: torch.where(Z[:, s], x, f),)),
        Wrong("as in the lesson", "raised", (lambda x, s, Z, f: torch.where(Z[:, s][:, None], x, f),)),
    ],
    "4.3": [
        Wrong("intercept penalised", "penalised too", of_4_3(with_a_column_of_ones())),
        Wrong("weights squared", "enter squared", of_4_3(with_a_column_of_ones(2, penalise=False))),
        Wrong("roots of weights", "as their roots", of_4_3(with_a_column_of_ones(0.5, penalise=False))),
        Wrong("through zero", "forced through zero", of_4_3(through_zero)),
        Wrong("wrong sign", "wrong sign", of_4_3(wrong_sign)),
        Wrong("scikit-learn's ridge", "scikit-learn", of_4_3(of_sklearn)),
        Wrong("scikit-learn's least squares", "scikit-learn", of_4_3(of_sklearn_with_rows_for_the_penalty)),
        Wrong("exchanged", "came back first", of_4_3(changed(lambda beta, b: (b, beta)))),
        Wrong("one tensor", "One tensor", of_4_3(changed(lambda beta, b: torch.cat([beta, b[None]])))),
        Wrong("one thing", "Two things", of_4_3(changed(lambda beta, b: beta))),
        Wrong("transposed", "a row for each class", of_4_3(changed(lambda beta, b: (beta.T, b)))),
        Wrong("one class", "shape", of_4_3(changed(lambda beta, b: (beta[:, 0], b)))),
        Wrong("one intercept", "1 numbers", of_4_3(changed(lambda beta, b: (beta, b.mean())))),
        Wrong(
            "rounded", "these should be the intercepts", of_4_3(changed(lambda beta, b: (beta, b.round())))
        ),
        Wrong("penalty twice", "differs from the reference", of_4_3(ridge(penalty=lambda a, w: 2 * a))),
        Wrong("n fixed", "differs from the reference by", of_4_3(of_24_samples)),
        Wrong("in place", "changed `Z`", of_4_3(lambda Z, Y, w, a: (ridge()(Z, Y, w, a), Z.sub_(1))[0])),
        Wrong(
            "weights in place",
            "changed `weights`",
            of_4_3(lambda Z, Y, w, a: (ridge()(Z, Y, w, a), w.div_(9))[0]),
        ),
        Wrong("sums exchanged", "do not give 1", of_4_3(ridge(), coefficients=1)),
        Wrong("intercepts sum to 0", "do not give 0", of_4_3(ridge(), intercepts=0)),
        Wrong("another number", "none of the 2", of_4_3(ridge(), intercepts=0.5)),
    ],
    "4.4": [
        Wrong("rolled", "`roll` on a grid", (rolled,)),
        Wrong("no end", "has no end", (cut_without_an_end,)),
        Wrong("H twice", "H is used twice", (cut_square,)),
        Wrong(
            "exchanged when large",
            "Right for the shift (1, 2), wrong for (4, 6)",
            (shift_exchanged_when_large,),
        ),
        Wrong("always 4 cells", "differs from the reference", (grid_of_4,)),
        Wrong("bits as they are", "bool", (lambda bits, shift, size: F.interpolate(bits[None, None], size),)),
        Wrong("doubled", "stay in [0, 1]", (mask(end=lambda m: 2 * m),)),
        Wrong("dimmed", "If all bits are True", (mask(end=lambda m: 0.9 * m),)),
        Wrong("curved", "do not add up to 1", (mask(end=lambda m: m.square()),)),
        Wrong(
            "in place", "changed `bits`", (lambda bits, *rest: (mask()(bits, *rest), bits.fill_(True))[0],)
        ),
        Wrong("another shape", "the shape wanted", (mask(end=lambda m: m[:3]),)),
    ],
    "4.5": [
        Wrong("mean of chunks", "its own coverage", (mean_of_chunks, CONSTANT)),
        Wrong("weights 1 − M", "*hides* of the pixel", (weighted_by_what_is_hidden, CONSTANT)),
        Wrong("plain mean", "plain mean", (plain_mean, CONSTANT)),
        Wrong("stretched", "to its own extremes", (stretched, CONSTANT)),
        Wrong("larger by a tenth", "run from", (rise(divide=lambda t, c, n, s: 3 * t / safe(c)), CONSTANT)),
        Wrong(
            "one where nothing is kept",
            "is 1, and not 0",
            (rise(divide=lambda t, c, n, s: torch.where(c > 0, t / safe(c), 1)), CONSTANT),
        ),
        Wrong("all at once", "at once", (all_at_once, CONSTANT)),
        Wrong("keeps all masks", "a map a mask", (keeps("masks"), CONSTANT)),
        Wrong("keeps all masked images", "the masked images of every chunk", (keeps("images"), CONSTANT)),
        Wrong("joins all products", "p times them", (keeps("products"), CONSTANT)),
        Wrong("autograd watches", "Autograd watches", (autograd_watches, CONSTANT)),
        Wrong("beyond the end", "last chunk is smaller", (beyond_the_end, CONSTANT)),
        Wrong("makes masks twice", "each is wanted once", (makes_masks_twice, CONSTANT)),
        Wrong(
            "one dimension too many", "shape", (rise(divide=lambda t, c, n, s: (t / safe(c))[None]), CONSTANT)
        ),
        Wrong("training mode", "in training mode", (in_training_mode, CONSTANT)),
        Wrong("frozen", "frozen", (with_frozen_weights, CONSTANT)),
        Wrong("image watched", "requires_grad", (with_a_watched_image, CONSTANT)),
        Wrong("in place", "changed `x`", (in_place, CONSTANT)),
        Wrong("chunks of 4 only", "0.5 times the right one", (of_chunks_of_4, CONSTANT)),
        Wrong("constant zero", "is not 'zero'", (rise(), CONSTANT | {"divided by the coverage": "zero"})),
        Wrong("paper flat", "is not 'flat'", (rise(), CONSTANT | {"divided by N·q": "flat"})),
        Wrong("another word", "none of the 3", (rise(), CONSTANT | {"divided by N·q": "noise"})),
    ],
    "4.6": [
        Wrong("Banzhaf", "Banzhaf", (banzhaf_by_sets, AXIOMS)),
        Wrong("scaled to 1", "divided by their sum", (divided_by_its_sum, AXIOMS)),
        Wrong("random orders", "drawn at random", (random_orders, AXIOMS)),
        Wrong("one too many", "efficiency", (game(end=lambda phi, worth: phi + 1), AXIOMS)),
        Wrong("one order", "Where a player adds", (lambda v, d: prefix_order(v, d).roll(1), AXIOMS)),
        Wrong("the order of the columns", "symmetry", (prefix_order, AXIOMS)),
        Wrong("asks twice", "was asked about", (asks_twice, AXIOMS)),
        Wrong("a cache", "from memory", (WithACache(), AXIOMS)),
        Wrong("right for the first game", "3, −1, 0.5, 2", (right_for_the_first_game, AXIOMS)),
        Wrong("one coalition without a batch", "coalitions as a tensor", (one_by_one, AXIOMS)),
        Wrong("efficiency", "efficiency is not True", (game(), AXIOMS | {"efficiency": True})),
        Wrong("symmetry", "symmetry is not False", (game(), AXIOMS | {"symmetry": False})),
        Wrong("dummy", "dummy is not False", (game(), AXIOMS | {"dummy": False})),
        Wrong("in words", "none of the 2", (game(), AXIOMS | {"dummy": "yes"})),
    ],
    "4.7": [
        Wrong(
            "over G", "divides by G where", third(lambda maps: torch.from_numpy(maps.numpy().std(0)) / 6**0.5)
        ),
        Wrong(
            "over pixels", "one number a map", third(lambda maps: maps.flatten(1).std(1) / len(maps) ** 0.5)
        ),
        Wrong("one number", "shape", third(lambda maps: se(maps).mean())),
        Wrong("in place", "`standard_error` changed `maps`", third(then_in_place(se))),
        Wrong("centred over runs", "over the *runs*", third(relative_error=centred_over_runs)),
        Wrong("infinite too soon", "do have a signal", third(relative_error=infinite_too_soon)),
        Wrong("a map", "one number is wanted", third(relative_error=lambda maps: se(maps))),
        Wrong(
            "by the level",
            "adding to each map",
            third(relative_error=lambda maps: se(maps).mean() / maps.mean()),
        ),
        Wrong("three times", "is right", third(relative_error=lambda maps: 3 * relative()(maps))),
        Wrong("root of a negative number", "NaN", third(relative_error=without_infinity)),
        Wrong("clamped", "not infinite", third(relative_error=clamped)),
        Wrong(
            "relative in place", "`relative_error` changed", third(relative_error=then_in_place(relative()))
        ),
        Wrong("floor and one", "adds 1", third(masks_needed=floor_and_one)),
        Wrong("another law", "masks_needed(0.5, 700, 0.1875)", third(masks_needed=lambda e, n, w: n)),
    ],
}


# ---- right, in another way: a check must not ask for our own code ----
def kernel_of_numpy(Z, centre, width):
    Z, a = Z.numpy().astype(float), centre.numpy().astype(float)
    norms = np.sqrt(Z.sum(axis=1) * a.sum())
    angle = np.divide(Z @ a, norms, out=np.zeros(len(Z)), where=norms > 0)
    return torch.from_numpy(np.exp(-((1 - angle) ** 2) / (2 * width**2)))


def kernel_in_float32(Z, centre, width):
    D = 1 - F.cosine_similarity(Z.float(), centre.float()[None])
    return torch.sqrt(torch.exp(-(D**2) / width**2))


def masked_by_superpixels(x, segments, Z, fill):
    """A loop over superpixels, not over samples."""
    images = fill[:, None].repeat(1, len(Z), 1, 1, 1)
    for s in range(Z.shape[1]):
        here = (segments == s)[:, None] & Z[None, :, s, None, None]
        images = torch.where(here[:, :, None], x[:, None], images)
    return images


def masked_by_products(x, segments, Z, fill):
    keep = F.one_hot(segments, Z.shape[1]).float() @ Z.float().T  # (N, H, W, n)
    keep = keep.permute(0, 3, 1, 2)[:, :, None]
    return keep * x[:, None] + (1 - keep) * fill[:, None]


def masked_by_vmap(x, segments, Z, fill):
    return torch.vmap(lambda z: torch.where(z[segments][:, None], x, fill), out_dims=1)(Z)


def masked_of_numpy(x, segments, Z, fill):
    x, segments, Z, fill = (part.numpy() for part in (x, segments, Z, fill))
    keep = np.moveaxis(Z.T[segments], -1, 1)[:, :, None]
    return torch.from_numpy(np.where(keep, x[:, None], fill[:, None]))


def ridge_by_least_squares(Z, Y, weights, alpha):
    """The intercept as a column of its own, without a penalty."""
    root = weights.sqrt()[:, None]
    rows = torch.cat([root * torch.cat([Z, torch.ones(len(Z), 1).double()], 1)])
    penalty = F.pad(math.sqrt(alpha) * torch.eye(Z.shape[1]).double(), (0, 1))
    targets = torch.cat([root * Y, torch.zeros(Z.shape[1], Y.shape[1]).double()])
    solved = torch.linalg.lstsq(torch.cat([rows, penalty]), targets).solution
    return [solved[:-1], solved[-1:]]


def ridge_class_by_class_of_numpy(Z, Y, weights, alpha):
    Z, Y, w = Z.numpy(), Y.numpy(), weights.numpy()
    mean = np.average(Z, axis=0, weights=w)
    gram = (Z - mean).T @ np.diag(w) @ (Z - mean) + alpha * np.eye(Z.shape[1])
    beta = [np.linalg.solve(gram, (Z - mean).T @ (w * (y - np.average(y, weights=w)))) for y in Y.T]
    b = [np.average(y, weights=w) - mean @ c for y, c in zip(Y.T, beta, strict=True)]
    return torch.from_numpy(np.stack(beta, axis=1)), b


def mask_of_matrices(bits, shift, size):
    s = len(bits)
    sides = []
    for start, length in zip(shift, size, strict=True):
        eye = torch.eye(s, dtype=torch.float64)[None]
        to = (s + 1) * math.ceil(length / s)
        side = F.interpolate(eye, to, mode="linear", align_corners=False)[0].T
        sides.append(side[start : start + length])
    return sides[0] @ bits.double() @ sides[1].T


def mask_rolled(bits, shift, size):
    """Rolled the right way, the enlarged grid is cut where the shift says."""
    large = mask(cut=lambda large, *rest: large)(bits, shift, size)
    return large.roll((-shift[0], -shift[1]), (0, 1))[: size[0], : size[1]]


@torch.no_grad()
def rise_of_matrix_products(model, x, target, make_masks, n_masks, batch_size):
    sums = torch.zeros(2, x[0, 0].numel(), dtype=x.dtype)
    start = 0
    while start < n_masks:
        stop = min(start + batch_size, n_masks)
        M = make_masks(start, stop)
        p = model(x * M.unsqueeze(1)).softmax(-1)[:, target]
        sums += torch.stack([p, torch.ones_like(p)]) @ M.flatten(1)
        start = stop
    return (sums[0] / sums[1].clamp_min(1e-12)).view(x.shape[2:])


def rise_one_by_one(model, x, target, make_masks, n_masks, batch_size):
    model.eval()
    total, cover = torch.zeros(x.shape[2:]).double(), torch.zeros(x.shape[2:]).double()
    with torch.inference_mode():
        for k in range(n_masks):
            mask = make_masks(k, k + 1)[0]
            total += F.softmax(model(x * mask), dim=1)[0, target] * mask
            cover += mask
        return torch.nan_to_num(total / cover)


@torch.no_grad()
def rise_that_keeps_the_scores(model, x, target, make_masks, n_masks, batch_size):
    """One number a mask is kept, not a map a mask."""
    scores, coverage, total = [], 0, 0
    for start in range(0, n_masks, batch_size):
        M = make_masks(start, min(start + batch_size, n_masks))
        scores.append(model(x * M[:, None]).softmax(dim=1)[:, target])
        total, coverage = total + torch.einsum("m,mhw->hw", scores[-1], M), coverage + M.sum(dim=0)
    assert len(torch.cat(scores)) == n_masks
    return total / safe(coverage)


def shapley_by_orders(value, d):
    rows = torch.tensor([[bool(S >> j & 1) for j in range(d)] for S in range(2**d)])
    worth = dict(enumerate(value(rows).tolist()))
    phi = [0.0] * d
    for order in permutations(range(d)):
        S = 0
        for j in order:
            phi[j] += (worth[S | 1 << j] - worth[S]) / math.factorial(d)
            S |= 1 << j
    return torch.tensor(phi)


def shapley_asked_one_at_a_time(value, d):
    worth = {}
    for S in chain.from_iterable(combinations(range(d), k) for k in range(d + 1)):
        row = torch.zeros(1, d)
        row[0, list(S)] = 1
        worth[frozenset(S)] = value(row)[0]
    return torch.stack([
        sum(
            shapley_weight(len(S), d) * (worth[S | {j}] - worth[S]) for S in worth if j not in S
        )
        for j in range(d)
    ])  # fmt: skip


def relative_of_numpy(maps):
    maps = maps.numpy() - maps.numpy().mean(axis=(1, 2), keepdims=True)
    noise = (maps.std(axis=0, ddof=1) ** 2).mean() / len(maps)
    seen = maps.mean(axis=0).var()
    return np.sqrt(noise / (seen - noise)) if seen > noise else np.inf


ALSO_RIGHT = {
    "4.1": [
        (kernel(),),
        (kernel_of_numpy,),
        (kernel_in_float32,),
        (kernel(weight=lambda D, w: (-((D / w) ** 2) / 2).exp()),),
    ],
    "4.2": [
        (masked(),),
        (masked_by_superpixels,),
        (masked_by_products,),
        (masked_by_vmap,),
        (masked_of_numpy,),
    ],
    "4.3": [
        of_4_3(ridge()),
        of_4_3(ridge_by_least_squares),
        of_4_3(with_a_column_of_ones(penalise=False)),
        of_4_3(ridge_class_by_class_of_numpy),
    ],
    "4.4": [(mask(),), (mask_of_matrices,), (mask(end=lambda m: m.float()),), (mask_rolled,)],
    "4.5": [
        (rise(), CONSTANT),
        (rise_of_matrix_products, CONSTANT),
        (rise_one_by_one, CONSTANT),
        (rise_that_keeps_the_scores, CONSTANT),
    ],
    "4.6": [(game(), AXIOMS), (shapley_by_orders, AXIOMS), (shapley_asked_one_at_a_time, AXIOMS)],
    "4.7": [
        third(),
        third(
            lambda maps: maps.var(0).div(len(maps)).sqrt(),
            relative_of_numpy,
            lambda e, n, w: float(masks_needed(e, n, w)),
        ),
    ],
}
