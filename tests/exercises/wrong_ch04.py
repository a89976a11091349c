"""Wrong answers to the exercises of chapter 4, as people give them; and right ones that look unlike ours."""

import math
from itertools import chain, combinations, permutations

import numpy as np
import torch
import torch.nn.functional as F
from planted import Wrong
from sklearn.linear_model import Ridge


# ---- 4.1 ----
def share(Z):
    return Z.double().mean(dim=1)


def cosine(Z):
    return 1 - share(Z).sqrt()


def kernel(distance=cosine, weight=lambda D, w: (-D.square() / w**2).exp().sqrt()):
    """An answer to 4.1 with one part exchanged."""
    return lambda Z, width: weight(distance(Z), width)


def cosine_by_division(Z):
    Z = Z.double()
    return 1 - Z.sum(dim=1) / (Z.norm(dim=1) * Z.shape[1] ** 0.5)


def from_first(Z):
    return 1 - F.cosine_similarity(Z.double(), Z[:1].double())


def weight_zero_for_nothing(Z, width):
    weights = kernel()(Z, width)
    weights[~Z.any(dim=1)] = 0
    return weights


def of_width_one(Z, width):
    return kernel()(Z, 1.0)


def by_position(Z):
    falling = torch.arange(Z.shape[1], 0, -1).double()
    return 1 - ((Z * falling).sum(dim=1) / falling.sum()).sqrt()


# ---- 4.2 ----
def masked(look_up=lambda Z, segments: Z[:, segments], made=lambda keep, x, fill: torch.where(keep, x, fill)):
    """An answer to 4.2 with one part exchanged."""
    return lambda x, segments, Z, fill: made(look_up(Z, segments)[:, None], x, fill)


def masked_in_a_loop(x, segments, Z, fill):
    return torch.cat([torch.where(z[segments], x, fill) for z in Z])


def masked_in_place(x, segments, Z, fill):
    images = fill.expand(len(Z), -1, -1, -1).clone()
    keep = Z[:, segments][:, None].expand_as(images)
    images[keep] = x.expand_as(images)[keep]
    fill[:] = images[0]
    return images


def superpixel_means(x, segments):
    filled = x.clone()
    for s in segments.unique():
        filled[..., segments == s] = x[..., segments == s].mean(dim=-1, keepdim=True)
    return filled


# ---- 4.3 ----
def ridge(
    centre=lambda w: w,
    left=lambda w: w,
    right=lambda w: w,
    penalty=lambda a, w: a,
    intercept=lambda mean_y, beta, mean_z: mean_y - beta @ mean_z,
    end=lambda beta, b: (beta, b),
):
    """An answer to 4.3 with one part exchanged."""

    def answer(Z, y, weights, alpha):
        how = centre(weights)
        mean_z, mean_y = how @ Z / how.sum(), how @ y / how.sum()
        Zc, yc = Z - mean_z, y - mean_y
        gram = (Zc * left(weights)[:, None]).T @ Zc
        gram = gram + penalty(alpha, weights) * torch.eye(Z.shape[1], dtype=Z.dtype)
        beta = torch.linalg.solve(gram, (Zc * right(weights)[:, None]).T @ yc)
        return end(beta, intercept(mean_y, beta, mean_z))

    return answer


def with_a_column_of_ones(power=1, penalise=True):
    def answer(Z, y, weights, alpha):
        Z1 = torch.cat([Z, torch.ones(len(Z), 1, dtype=Z.dtype)], 1)
        penalty = alpha * torch.eye(Z1.shape[1], dtype=Z.dtype)
        penalty[-1, -1] *= penalise
        W = torch.diag(weights**power)
        solved = torch.linalg.solve(Z1.T @ W @ Z1 + penalty, Z1.T @ W @ y)
        return solved[:-1], solved[-1]

    return answer


def without_intercept(Z, y, weights, alpha):
    W = torch.diag(weights)
    beta = torch.linalg.solve(Z.T @ W @ Z + alpha * torch.eye(Z.shape[1], dtype=Z.dtype), Z.T @ W @ y)
    return beta, torch.zeros(())


def plain_intercept(Z, y, weights, alpha):
    beta, _ = ridge()(Z, y, weights, alpha)
    return beta, (y - Z @ beta).mean()


def undivided(means_over):
    """Weighted sums, divided by another number than the sum of the weights."""

    def answer(Z, y, weights, alpha):
        over = means_over(weights)
        mean_z, mean_y = weights @ Z / over, weights @ y / over
        Zc = Z - mean_z
        W = torch.diag(weights)
        beta = torch.linalg.solve(Zc.T @ W @ Zc + alpha * torch.eye(Z.shape[1]), Zc.T @ W @ (y - mean_y))
        return beta, mean_y - beta @ mean_z

    return answer


def only_y_centred(intercept):
    def answer(Z, y, weights, alpha):
        W, mean_y = torch.diag(weights), weights @ y / weights.sum()
        beta = torch.linalg.solve(Z.T @ W @ Z + alpha * torch.eye(Z.shape[1]), Z.T @ W @ (y - mean_y))
        return beta, intercept(mean_y, beta, weights @ Z / weights.sum())

    return answer


def matrix_of_ones(Z, y, weights, alpha):
    mean_z, mean_y = weights @ Z / weights.sum(), weights @ y / weights.sum()
    Zc, W = Z - mean_z, torch.diag(weights)
    beta = torch.linalg.solve(Zc.T @ W @ Zc + alpha, Zc.T @ W @ (y - mean_y))
    return beta, mean_y - beta @ mean_z


def ones(w):
    return torch.ones_like(w)


# ---- 4.4 ----
def mask(
    cell=lambda length, s: math.ceil(length / s),
    cells=lambda s: s + 1,
    cut=lambda large, dy, dx, H, W: large[dy : dy + H, dx : dx + W],
    end=lambda m: m,
    **how,
):
    """An answer to 4.4 with one part exchanged."""
    how = how or {"mode": "bilinear", "align_corners": False}

    def answer(bits, shift, size):
        s = len(bits)
        to = [cells(s) * cell(length, s) for length in size]
        large = F.interpolate(bits[None, None].float(), to, **how)[0, 0]
        return end(cut(large, *shift, *size))

    return answer


def rolled(bits, shift, size):
    large = F.interpolate(bits[None, None].float(), size, mode="bilinear", align_corners=False)[0, 0]
    return large.roll(shift, (0, 1))


def image_and_a_cell(bits, shift, size):
    (H, W), (dy, dx), s = size, shift, len(bits)
    to = (H + math.ceil(H / s), W + math.ceil(W / s))
    large = F.interpolate(bits[None, None].float(), to, mode="bilinear", align_corners=False)[0, 0]
    return large[dy : dy + H, dx : dx + W]


def enlarged_on_its_side(bits, shift, size):
    (H, W), (dy, dx), s = size, shift, len(bits)
    to = ((s + 1) * math.ceil(W / s), (s + 1) * math.ceil(H / s))
    large = F.interpolate(bits[None, None].float(), to, mode="bilinear", align_corners=False)[0, 0]
    return large[dy : dy + H, dx : dx + W]


# ---- 4.5 ----
CONSTANT = {"divided by the coverage": "flat", "divided by N·q": "follows the coverage"}


def safe(below):
    return torch.where(below > 0, below, 1)


def rise(
    seen=lambda x, M: x * M[:, None],
    score=lambda y, c: y.softmax(dim=1)[:, c],
    above=lambda p, M: torch.einsum("m,mhw->hw", p, M),
    below=lambda M: M.sum(dim=0),
    divide=lambda total, coverage, n, scores: total / safe(coverage),
    starts=lambda n, b: range(0, n, b),
    begin_again=False,
):
    """An answer to 4.5 with one part exchanged."""

    @torch.no_grad()
    def answer(model, x, target, make_masks, n_masks, batch_size):
        total = coverage = scores = 0
        for start in starts(n_masks, batch_size):
            M = make_masks(start, min(start + batch_size, n_masks))
            p = score(model(seen(x, M)), target)
            if begin_again:
                total = coverage = 0
            total, coverage, scores = total + above(p, M), coverage + below(M), scores + p.sum()
        return divide(total, coverage, n_masks, scores)

    return answer


def hard(level):
    return {
        "above": lambda p, M: torch.einsum("m,mhw->hw", p, (M > level).double()),
        "below": lambda M: (M > level).double().sum(dim=0),
    }


counted_hard = rise(**hard(0.5))
all_hard = rise(seen=lambda x, M: x * (M[:, None] > 0), **hard(0))


@torch.no_grad()
def all_at_once(model, x, target, make_masks, n_masks, batch_size):
    M = make_masks(0, n_masks)
    p = model(x * M[:, None]).softmax(dim=1)[:, target]
    return torch.einsum("m,mhw->hw", p, M) / safe(M.sum(dim=0))


@torch.no_grad()
def keeps_all_masks(model, x, target, make_masks, n_masks, batch_size):
    masks, scores = [], []
    for start in range(0, n_masks, batch_size):
        masks.append(make_masks(start, min(start + batch_size, n_masks)))
        scores.append(model(x * masks[-1][:, None]).softmax(dim=1)[:, target])
    total = sum(torch.einsum("m,mhw->hw", p, M) for p, M in zip(scores, masks, strict=True))
    return total / safe(sum(M.sum(dim=0) for M in masks))


@torch.no_grad()
def joins_all_products(model, x, target, make_masks, n_masks, batch_size):
    products, coverage = [], 0
    for start in range(0, n_masks, batch_size):
        M = make_masks(start, min(start + batch_size, n_masks))
        products.append(model(x * M[:, None]).softmax(dim=1)[:, target][:, None, None] * M)
        coverage = coverage + M.sum(dim=0)
    return torch.cat(products).sum(dim=0) / safe(coverage)


def mean_of_chunks(model, x, target, make_masks, n_masks, batch_size):
    maps = []
    with torch.no_grad():
        for start in range(0, n_masks, batch_size):
            M = make_masks(start, min(start + batch_size, n_masks))
            p = model(x * M[:, None]).softmax(dim=1)[:, target]
            maps.append(torch.einsum("m,mhw->hw", p, M) / safe(M.sum(dim=0)))
    return torch.stack(maps).mean(dim=0)


def last_coverage(model, x, target, make_masks, n_masks, batch_size):
    total = 0
    with torch.no_grad():
        for start in range(0, n_masks, batch_size):
            M = make_masks(start, min(start + batch_size, n_masks))
            total = total + torch.einsum("m,mhw->hw", model(x * M[:, None]).softmax(dim=1)[:, target], M)
            coverage = M.sum(dim=0)
    return total / safe(coverage)


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


# ---- 4.6 ----
AXIOMS = {"efficiency": False, "symmetry": True, "dummy": True}


def table(value, d):
    coalitions = (torch.arange(2**d)[:, None] >> torch.arange(d)) % 2 == 1
    return value(coalitions)


def shapley_weight(k, d):
    return math.factorial(k) * math.factorial(d - k - 1) / math.factorial(d)


def game(
    weight=shapley_weight,
    gain=lambda worth, S, j: worth[S | 1 << j] - worth[S],
    some=lambda S, d: True,
    end=lambda phi: phi,
):
    """An answer to 4.6 with one part exchanged."""

    def answer(value, d):
        worth = table(value, d)
        phi = []
        for j in range(d):
            without = [S for S in range(2**d) if not S >> j & 1 and some(S, d)]
            phi.append(sum((weight(S.bit_count(), d) * gain(worth, S, j) for S in without), 0 * worth[0]))
        return end(torch.stack(phi))

    return answer


def dropped(value, d):
    everybody = torch.ones(1, d, dtype=torch.bool)
    return value(everybody) - value(~torch.eye(d, dtype=torch.bool))


def alone(value, d):
    return value(torch.eye(d, dtype=torch.bool)) - value(torch.zeros(1, d, dtype=torch.bool))


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
    worth, phi = table(value, d), torch.zeros(d).double()
    for _ in range(200):
        S = 0
        for j in torch.randperm(d).tolist():
            phi[j] += (worth[S | 1 << j] - worth[S]) / 200
            S |= 1 << j
    return phi


def empty_is_zero(value, d):
    def told(coalitions):
        return value(coalitions) * coalitions.any(dim=1)

    return game()(told, d)


# ---- 4.7 ----
def se(maps):
    return maps.std(dim=0) / len(maps) ** 0.5


def relative(
    bring=lambda maps: maps - maps.mean(dim=(1, 2), keepdim=True),
    noise=lambda error: error.square().mean(),
    seen=lambda maps: maps.mean(dim=0).var(correction=0),
    below=lambda seen, noise: seen - noise,
    end=lambda noise, below: (noise / below).sqrt(),
):
    """An answer to the second part of 4.7 with one part exchanged."""

    def answer(maps):
        maps = bring(maps)
        n, s = noise(se(maps)), seen(maps)
        return float(end(n, below(s, n))) if s > n else math.inf

    return answer


def without_infinity(maps):
    maps = maps - maps.mean(dim=(1, 2), keepdim=True)
    n = se(maps).square().mean()
    return (n / (maps.mean(dim=0).square().mean() - n)).sqrt()


def clamped(maps):
    maps = maps - maps.mean(dim=(1, 2), keepdim=True)
    n = se(maps).square().mean()
    return (n / (maps.mean(dim=0).square().mean() - n).clamp_min(1e-12)).sqrt()


def needed(error, n_masks, wanted):
    return math.ceil(n_masks * (error / wanted) ** 2)


def third(standard_error=se, relative_error=relative(), masks_needed=needed):  # noqa: B008
    return standard_error, relative_error, masks_needed


WRONG = {
    "4.1": [
        Wrong("no root", "root is missing", (kernel(weight=lambda D, w: (-D.square() / w**2).exp()),)),
        Wrong(
            "root and 2", "2 too many", (kernel(weight=lambda D, w: (-D.square() / w**2 / 2).exp().sqrt()),)
        ),
        Wrong("distance not squared", "not squared", (kernel(weight=lambda D, w: (-D / w**2).exp().sqrt()),)),
        Wrong(
            "width not squared", "width is not", (kernel(weight=lambda D, w: (-D.square() / w).exp().sqrt()),)
        ),
        Wrong("share hidden", "share of superpixels hidden", (kernel(lambda Z: 1 - share(Z)),)),
        Wrong("Euclidean", "Euclidean", (kernel(lambda Z: (~Z).double().norm(dim=1)),)),
        Wrong("similarity", "with the cosine", (kernel(lambda Z: share(Z).sqrt()),)),
        Wrong("from the first sample", "first sample", (kernel(from_first),)),
        Wrong("zero over zero", "NaN", (kernel(cosine_by_division),)),
        Wrong("nothing weighs nothing", "shows nothing weighs", (weight_zero_for_nothing,)),
        Wrong("normalised", "by their sum", (lambda Z, w: kernel()(Z, w) / kernel()(Z, w).sum(),)),
        Wrong("distance", "not yet the weight", (lambda Z, w: cosine(Z),)),
        Wrong("plus", "larger than 1", (kernel(weight=lambda D, w: (D.square() / w**2).exp().sqrt()),)),
        Wrong("which, not how many", "equally many", (kernel(by_position),)),
        Wrong("width ignored", "a width of 1;", (of_width_one,)),
        Wrong("width fixed", "a width of 0.25", (lambda Z, w: kernel()(Z, 0.25),)),
        Wrong("default width", "Another width", (lambda Z, w: kernel()(Z, 0.45),)),
        Wrong("columns", "shape", (lambda Z, w: kernel()(Z.T, w),)),
        Wrong("mean of bool", "Bool", (lambda Z, w: 1 - Z.mean(dim=1),)),
        Wrong("in place", "changed the samples", (lambda Z, w: (kernel()(Z, w), Z.fill_(True))[0],)),
        Wrong(
            "whole image far",
            "The whole image weighs",
            (kernel(lambda Z: (1.2 - share(Z).sqrt()).clamp(0.1, 1)),),
        ),
    ],
    "4.2": [
        Wrong("inverted", "wrong way round", (masked(lambda Z, s: ~Z[:, s]),)),
        Wrong("black", "are black", (masked(made=lambda keep, x, fill: x * keep),)),
        Wrong("fill everywhere", "everywhere", (masked(made=lambda keep, x, fill: x * keep + fill),)),
        Wrong(
            "mean of the image",
            "image's mean colour",
            (masked(made=lambda keep, x, fill: torch.where(keep, x, x.mean((2, 3), keepdim=True))),),
        ),
        Wrong(
            "mean of the superpixel",
            "superpixel's mean colour",
            (lambda x, s, Z, fill: masked()(x, s, Z, superpixel_means(x, s)),),
        ),
        Wrong(
            "mean of the fill",
            "mean of the fill",
            (masked(made=lambda keep, x, fill: torch.where(keep, x, fill.mean((2, 3), keepdim=True))),),
        ),
        Wrong("labels from 1", "off by one", (masked(lambda Z, s: Z[:, s - 1]),)),
        Wrong(
            "first sample for all", "first sample", (masked(lambda Z, s: Z[:1, s].expand(len(Z), -1, -1)),)
        ),
        Wrong("reversed", "wrong order", (masked(lambda Z, s: Z.flip(0)[:, s]),)),
        Wrong("loop", "loop over the samples", (masked_in_a_loop,)),
        Wrong("in place", "changed the image", (masked_in_place,)),
        Wrong("only masks", "Only the masks", (lambda x, s, Z, fill: Z[:, s],)),
        Wrong("booleans", "True and False", (lambda x, s, Z, fill: Z[:, s][:, None].expand(-1, 3, -1, -1),)),
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
    ],
    "4.3": [
        Wrong("intercept penalised", "penalised too", (with_a_column_of_ones(),)),
        Wrong("weights forgotten", "not used", (ridge(ones, ones, ones),)),
        Wrong("weights squared", "enter squared", (with_a_column_of_ones(2, penalise=False),)),
        Wrong("roots of weights", "as their roots", (with_a_column_of_ones(0.5, penalise=False),)),
        Wrong("no penalty", "penalty is missing", (ridge(penalty=lambda a, w: 0),)),
        Wrong("penalty squared", "penalty enters squared", (ridge(penalty=lambda a, w: a**2),)),
        Wrong("mean penalised", "number (or the total", (ridge(penalty=lambda a, w: a * len(w)),)),
        Wrong("half a penalty", "half as large", (ridge(penalty=lambda a, w: a / 2),)),
        Wrong("plain means", "plain means", (ridge(centre=ones),)),
        Wrong("means not divided", "divided by nothing", (undivided(lambda w: 1),)),
        Wrong("means over n", "divided by n", (undivided(len),)),
        Wrong("only y centred", "y is centred", (only_y_centred(lambda y, b, z: y - b @ z),)),
        Wrong(
            "centred, weights squared",
            "means are right; in the matrix and on the right-hand side the weights enter squared",
            (ridge(left=torch.square, right=torch.square),),
        ),
        Wrong("centred, roots", "weights enter as roots", (ridge(left=torch.sqrt, right=torch.sqrt),)),
        Wrong("matrix of ones", "every entry", (matrix_of_ones,)),
        Wrong("weights left only", "not on the right-hand", (ridge(right=ones),)),
        Wrong("weights right only", "not in the matrix", (ridge(left=ones),)),
        Wrong("through zero", "forced through zero", (without_intercept,)),
        Wrong("intercept is the mean", "intercept is the mean", (ridge(intercept=lambda y, b, z: y),)),
        Wrong("intercept with a plus", "has a plus", (ridge(intercept=lambda y, b, z: y + b @ z),)),
        Wrong("intercept of plain means", "made of plain means", (plain_intercept,)),
        Wrong("exchanged", "came back first", (ridge(end=lambda beta, b: (b, beta)),)),
        Wrong("one tensor", "One tensor", (ridge(end=lambda beta, b: torch.cat([beta, b[None]])),)),
        Wrong("one thing", "Two things", (ridge(end=lambda beta, b: beta),)),
        Wrong("column", "shape", (ridge(end=lambda beta, b: (beta[:, None], b)),)),
        Wrong("rounded", "should be 0.8", (ridge(end=lambda beta, b: (beta, b.round())),)),
        Wrong("penalty twice", "differs from the reference", (ridge(penalty=lambda a, w: 2 * a),)),
        Wrong(
            "in place",
            "changed what it was given",
            (lambda Z, y, w, a: (ridge()(Z, y, w, a), Z.sub_(1))[0],),
        ),
    ],
    "4.4": [
        Wrong("corners aligned", "align_corners=True", (mask(mode="bilinear", align_corners=True),)),
        Wrong("hard edges", "hard edges", (mask(mode="nearest"),)),
        Wrong("cubic", "cubic", (mask(mode="bicubic", align_corners=False),)),
        Wrong(
            "shift exchanged",
            "exchanged",
            (mask(cut=lambda large, dy, dx, H, W: large[dx : dx + H, dy : dy + W]),),
        ),
        Wrong("no shift", "not used", (mask(cut=lambda large, dy, dx, H, W: large[:H, :W]),)),
        Wrong("rounded down", "one pixel too small", (mask(cell=lambda length, s: length // s),)),
        Wrong("no room", "ends too early", (mask(cells=lambda s: s),)),
        Wrong("image and a cell", "and not to (s + 1)", (image_and_a_cell,)),
        Wrong("on its side", "lies on its side, H and W", (lambda b, s, size: mask()(b, s, size[::-1]),)),
        Wrong("enlarged on its side", "enlarged grid lies on its side", (enlarged_on_its_side,)),
        Wrong(
            "always 7 cells",
            "grid of 7 × 7",
            (mask(cell=lambda length, s: math.ceil(length / 7), cells=lambda s: 8),),
        ),
        Wrong("rolled", "no room left", (rolled,)),
        Wrong("not cut", "came back whole", (mask(cut=lambda large, *rest: large),)),
        Wrong(
            "from the other corner",
            "lower right",
            (
                mask(
                    cut=lambda large, dy, dx, H, W: large[
                        large.shape[0] - dy - H : large.shape[0] - dy,
                        large.shape[1] - dx - W : large.shape[1] - dx,
                    ]
                ),
            ),
        ),
        Wrong("rounded", "was rounded", (mask(end=torch.round),)),
        Wrong("complement", "complement", (mask(end=lambda m: 1 - m),)),
        Wrong("dimensions left", "two more dimensions", (mask(end=lambda m: m[None, None]),)),
        Wrong("bits as they are", "bool", (lambda bits, shift, size: F.interpolate(bits[None, None], size),)),
        Wrong("doubled", "stay in [0, 1]", (mask(end=lambda m: 2 * m),)),
        Wrong("dimmed", "If all bits are True", (mask(end=lambda m: 0.9 * m),)),
        Wrong("curved", "do not add up to 1", (mask(end=lambda m: m.square()),)),
    ],
    "4.5": [
        Wrong("logits", "logits", (rise(score=lambda y, c: y[:, c]), CONSTANT)),
        Wrong(
            "softmax over masks",
            "over the masks",
            (rise(score=lambda y, c: y.softmax(dim=0)[:, c]), CONSTANT),
        ),
        Wrong(
            "what wins", "class that wins", (rise(score=lambda y, c: y.softmax(dim=1).amax(dim=1)), CONSTANT)
        ),
        Wrong(
            "divided by N·q", "as the paper does", (rise(divide=lambda t, c, n, s: t / (0.5 * n)), CONSTANT)
        ),
        Wrong("divided by scores", "sum of the scores", (rise(divide=lambda t, c, n, s: t / s), CONSTANT)),
        Wrong("not divided", "divides by nothing", (rise(divide=lambda t, c, n, s: t), CONSTANT)),
        Wrong(
            "last chunk lost",
            "leaves out the last",
            (rise(starts=lambda n, b: range(0, n - b + 1, b)), CONSTANT),
        ),
        Wrong("mean of chunks", "its own coverage", (mean_of_chunks, CONSTANT)),
        Wrong("last chunk's coverage", "coverage of the last", (last_coverage, CONSTANT)),
        Wrong("sums begin again", "begin again", (rise(begin_again=True), CONSTANT)),
        Wrong(
            "hidden shown", "what the mask hides", (rise(seen=lambda x, M: x * (1 - M[:, None])), CONSTANT)
        ),
        Wrong(
            "hard view",
            "makes the masks 0 and 1 before",
            (rise(seen=lambda x, M: x * (M[:, None] > 0.5)), CONSTANT),
        ),
        Wrong("hard count", "wholly kept", (counted_hard, CONSTANT)),
        Wrong("all hard", "and uses only those", (all_hard, CONSTANT)),
        Wrong(
            "coverage clamped",
            "every coverage below 1",
            (rise(divide=lambda t, c, n, s: t / c.clamp(min=1)), CONSTANT),
        ),
        Wrong(
            "mask twice",
            "twice",
            (rise(above=lambda p, M: torch.einsum("m,mhw->hw", p, M.square())), CONSTANT),
        ),
        Wrong("zero over zero", "NaN", (rise(divide=lambda t, c, n, s: t / c), CONSTANT)),
        Wrong(
            "normalised",
            "run from",
            (rise(divide=lambda t, c, n, s: (t / safe(c)) / (t / safe(c)).max()), CONSTANT),
        ),
        Wrong(
            "mean where nothing is kept",
            "not 0",
            (rise(divide=lambda t, c, n, s: torch.where(c > 0, t / safe(c), s / n)), CONSTANT),
        ),
        Wrong("all at once", "at once", (all_at_once, CONSTANT)),
        Wrong("keeps all masks", "still in memory", (keeps_all_masks, CONSTANT)),
        Wrong("joins all products", "A tensor of", (joins_all_products, CONSTANT)),
        Wrong("autograd watches", "Autograd watches", (autograd_watches, CONSTANT)),
        Wrong("beyond the end", "last chunk is smaller", (beyond_the_end, CONSTANT)),
        Wrong("makes masks twice", "each is wanted once", (makes_masks_twice, CONSTANT)),
        Wrong(
            "one dimension too many", "shape", (rise(divide=lambda t, c, n, s: (t / safe(c))[None]), CONSTANT)
        ),
        Wrong("constant zero", "is not 'zero'", (rise(), CONSTANT | {"divided by the coverage": "zero"})),
        Wrong("paper flat", "is not 'flat'", (rise(), CONSTANT | {"divided by N·q": "flat"})),
        Wrong("another word", "none of the three", (rise(), CONSTANT | {"divided by N·q": "noise"})),
    ],
    "4.6": [
        Wrong("leave one out", "leave-one-out, not", (dropped, AXIOMS)),
        Wrong("alone", "each player alone", (alone, AXIOMS)),
        Wrong("Banzhaf", "Banzhaf", (game(lambda k, d: 1 / 2 ** (d - 1)), AXIOMS)),
        Wrong(
            "d − |S|",
            "(d − |S|)! stands",
            (game(lambda k, d: math.factorial(k) * math.factorial(d - k) / math.factorial(d)), AXIOMS),
        ),
        Wrong(
            "j counted in S",
            "|S| counts j",
            (game(lambda k, d: shapley_weight(k + 1, d) if k < d - 1 else 0.0), AXIOMS),
        ),
        Wrong("(d − 1)!", "d times too large", (game(lambda k, d: d * shapley_weight(k, d)), AXIOMS)),
        Wrong(
            "no factorial of the others",
            "no factorials",
            (game(lambda k, d: math.factorial(k) / math.factorial(d)), AXIOMS),
        ),
        Wrong("turned round", "turned round", (game(gain=lambda v, S, j: v[S] - v[S | 1 << j]), AXIOMS)),
        Wrong("v(S) not taken off", "not taken off", (game(gain=lambda v, S, j: v[S | 1 << j]), AXIOMS)),
        Wrong("players reversed", "reverse", (game(end=lambda phi: phi.flip(0)), AXIOMS)),
        Wrong("random orders", "drawn at random", (random_orders, AXIOMS)),
        Wrong("the empty one is 0", "v(∅) is taken for 0", (empty_is_zero, AXIOMS)),
        Wrong("without the empty one", "empty coalition", (game(some=lambda S, d: S > 0), AXIOMS)),
        Wrong(
            "without the largest",
            "largest coalition",
            (game(some=lambda S, d: S.bit_count() < d - 1), AXIOMS),
        ),
        Wrong("scaled to 1", "efficiency", (game(end=lambda phi: phi / phi.sum()), AXIOMS)),
        Wrong("one order", "Where a player adds", (lambda v, d: prefix_order(v, d).roll(1), AXIOMS)),
        Wrong("the order of the columns", "symmetry", (prefix_order, AXIOMS)),
        Wrong("asks twice", "was asked about", (asks_twice, AXIOMS)),
        Wrong("one coalition without a batch", "coalitions as a tensor", (one_by_one, AXIOMS)),
        Wrong("efficiency", "lacks efficiency", (game(), AXIOMS | {"efficiency": True})),
        Wrong("symmetry", "has symmetry", (game(), AXIOMS | {"symmetry": False})),
        Wrong("dummy", "has the dummy property", (game(), AXIOMS | {"dummy": False})),
    ],
    "4.7": [
        Wrong("of one map", "*one* map", third(lambda maps: maps.std(dim=0))),
        Wrong(
            "over G",
            "divides by G where",
            third(lambda maps: maps.std(dim=0, correction=0) / len(maps) ** 0.5),
        ),
        Wrong("centred", "as they come", third(lambda maps: se(maps - maps.mean(dim=(1, 2), keepdim=True)))),
        Wrong(
            "infinite",
            "infinite on maps that do",
            third(relative_error=relative(noise=lambda error: (error * 6**0.5).square().mean())),
        ),
        Wrong("divided by G", "not by √G", third(lambda maps: maps.std(dim=0) / len(maps))),
        Wrong("variance", "is a variance", third(lambda maps: maps.var(dim=0) / len(maps))),
        Wrong("over pixels", "shape", third(lambda maps: maps.std(dim=(1, 2)) / len(maps) ** 0.5)),
        Wrong("level is noise", "runs' levels", third(relative_error=relative(bring=lambda maps: maps))),
        Wrong("noise below", "everything that is seen", third(relative_error=relative(below=lambda s, n: s))),
        Wrong("no root", "ratio of variances: the", third(relative_error=relative(end=lambda n, b: n / b))),
        Wrong(
            "no root, noise below",
            "still below",
            third(relative_error=relative(below=lambda s, n: s, end=lambda n, b: n / b)),
        ),
        Wrong(
            "mean of errors",
            "mean of their squares",
            third(relative_error=relative(noise=lambda error: error.mean() ** 2)),
        ),
        Wrong(
            "sample of pixels",
            "takes the pixels for a sample",
            third(relative_error=relative(seen=lambda maps: maps.mean(dim=0).var())),
        ),
        Wrong("upside down", "upside down", third(relative_error=relative(end=lambda n, b: (b / n).sqrt()))),
        Wrong(
            "single maps",
            "from single maps",
            third(relative_error=relative(seen=lambda maps: maps.square().mean())),
        ),
        Wrong(
            "level is seen",
            "something to see",
            third(
                relative_error=relative(bring=lambda m: m, seen=lambda maps: maps.mean(dim=0).square().mean())
            ),
        ),
        Wrong("root of a negative number", "NaN", third(relative_error=without_infinity)),
        Wrong("clamped", "not infinite", third(relative_error=clamped)),
        Wrong("1/N", "like 1/N", third(masks_needed=lambda e, n, w: math.ceil(n * e / w))),
        Wrong(
            "ratio upside down",
            "fewer masks",
            third(masks_needed=lambda e, n, w: math.ceil(n * (w / e) ** 2)),
        ),
        Wrong("how many more", "*still*", third(masks_needed=lambda *given: needed(*given) - given[1])),
        Wrong("factor", "factor alone", third(masks_needed=lambda e, n, w: (e / w) ** 2)),
        Wrong("rounded down", "round up", third(masks_needed=lambda e, n, w: int(n * (e / w) ** 2))),
        Wrong("rounded", "nearest whole", third(masks_needed=lambda e, n, w: round(n * (e / w) ** 2))),
        Wrong("one more", "Half the error", third(masks_needed=lambda e, n, w: int(n * (e / w) ** 2) + 1)),
        Wrong("never fewer", "100 are enough", third(masks_needed=lambda e, n, w: max(n, needed(e, n, w)))),
    ],
}


# ---- right, in another way: a check must not ask for our own code ----
def kernel_of_numpy(Z, width):
    Z = Z.numpy().astype(float)
    norms = np.sqrt(Z.sum(axis=1)) * math.sqrt(Z.shape[1])
    angle = np.divide(Z.sum(axis=1), norms, out=np.zeros(len(Z)), where=norms > 0)
    return torch.from_numpy(np.exp(-((1 - angle) ** 2) / (2 * width**2)))


def kernel_in_float32(Z, width):
    D = 1 - F.cosine_similarity(Z.float(), torch.ones(1, Z.shape[1]))
    return torch.sqrt(torch.exp(-(D**2) / width**2))


def masked_by_superpixels(x, segments, Z, fill):
    """A loop over superpixels, not over samples."""
    images = fill.repeat(len(Z), 1, 1, 1)
    for s in range(Z.shape[1]):
        here = (segments == s) & Z[:, s, None, None]
        images = torch.where(here[:, None], x, images)
    return images


def masked_by_products(x, segments, Z, fill):
    keep = F.one_hot(segments, Z.shape[1]).float() @ Z.float().T  # (H, W, n)
    keep = keep.permute(2, 0, 1)[:, None]
    return keep * x + (1 - keep) * fill


def masked_by_vmap(x, segments, Z, fill):
    return torch.vmap(lambda z: torch.where(z[segments], x[0], fill[0]))(Z)


def ridge_of_sklearn(Z, y, weights, alpha):
    fitted = Ridge(alpha=max(alpha, 1e-12)).fit(Z.numpy(), y.numpy(), sample_weight=weights.numpy())
    return torch.from_numpy(fitted.coef_), fitted.intercept_


def ridge_by_descent_directions(Z, y, weights, alpha):
    """The intercept as a column of its own, without a penalty, by least squares."""
    root = weights.sqrt()[:, None]
    rows = torch.cat([root * torch.cat([Z, torch.ones(len(Z), 1).double()], 1)])
    penalty = F.pad(math.sqrt(alpha) * torch.eye(Z.shape[1]).double(), (0, 1))
    targets = torch.cat([root[:, 0] * y, torch.zeros(Z.shape[1]).double()])
    solved = torch.linalg.lstsq(torch.cat([rows, penalty]), targets[:, None]).solution[:, 0]
    return [solved[:-1], solved[-1:]]


def mask_of_matrices(bits, shift, size):
    s = len(bits)
    sides = []
    for start, length in zip(shift, size, strict=True):
        eye = torch.eye(s, dtype=torch.float64)[None]
        to = (s + 1) * math.ceil(length / s)
        side = F.interpolate(eye, to, mode="linear", align_corners=False)[0].T
        sides.append(side[start : start + length])
    return sides[0] @ bits.double() @ sides[1].T


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
    total, cover = torch.zeros(x.shape[2:]).double(), torch.zeros(x.shape[2:]).double()
    with torch.inference_mode():
        for k in range(n_masks):
            mask = make_masks(k, k + 1)[0]
            total += F.softmax(model(x * mask), dim=1)[0, target] * mask
            cover += mask
        return torch.nan_to_num(total / cover)


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
        (kernel_of_numpy,),
        (kernel_in_float32,),
        (kernel(weight=lambda D, w: (-((D / w) ** 2) / 2).exp()),),
    ],
    "4.2": [(masked_by_superpixels,), (masked_by_products,), (masked_by_vmap,)],
    "4.3": [(ridge_of_sklearn,), (ridge_by_descent_directions,), (with_a_column_of_ones(penalise=False),)],
    "4.4": [(mask_of_matrices,), (mask(end=lambda m: m.double()),)],
    "4.5": [(rise_of_matrix_products, CONSTANT), (rise_one_by_one, CONSTANT)],
    "4.6": [(shapley_by_orders, AXIOMS), (shapley_asked_one_at_a_time, AXIOMS)],
    "4.7": [
        third(
            lambda maps: maps.var(0).div(len(maps)).sqrt(),
            relative_of_numpy,
            lambda e, n, w: float(needed(e, n, w)),
        )
    ],
}
