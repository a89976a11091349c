"""The mistakes of chapter 4, each as the answer that makes it.

For every exercise: a right answer any of whose steps can be exchanged, and the exchanges that people make.
``MISTAKES`` holds, for each exercise, one list for each of its functions.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .mistakes import Mistake

Answer = Callable[..., Any]


# ---- 4.1 ---------------------------------------------------------------------------------------------------
def _cosine(Z: Tensor, centre: Tensor) -> Tensor:
    Z, centre = Z.double(), centre.double()
    return Z @ centre / (Z.sum(dim=1) * centre.sum()).sqrt().clamp_min(1e-9)  # 0 where nothing is shown


def _apart(Z: Tensor, centre: Tensor) -> Tensor:
    return (Z != centre).double()


def kernel(
    distance: Answer = lambda Z, a: 1 - _cosine(Z, a),
    weight: Answer = lambda D, w: (-D.square() / w**2).exp().sqrt(),
) -> Answer:
    """An answer to 4.1 with one step exchanged."""
    return lambda Z, centre, width: weight(distance(Z, centre), width)


def _divided(Z: Tensor, centre: Tensor) -> Tensor:
    return 1 - Z.double() @ centre.double() / (Z.double().norm(dim=1) * centre.double().norm())


def _normalised(D: Tensor, w: float) -> Tensor:
    weights = (-D.square() / w**2).exp().sqrt()
    return weights / weights.sum()


def _nothing_weighs_nothing(Z: Tensor, centre: Tensor, width: float) -> Tensor:
    return kernel()(Z, centre, width) * Z.any(dim=1)


_EUCLIDEAN = (
    "The distance is Euclidean: it grows with the number of superpixels; the cosine distance does not.",
    "D = 1 − cos, between 0 and 1.",
)
_NOT_SQUARED = ("The distance is not squared.", "D², then over w², then minus, exp and root.")
KERNEL_WEIGHTS = [
    Mistake(
        kernel(weight=lambda D, w: (-D.square() / w**2).exp()),
        "The root is missing: this is exp(−D²/w²), the kernel of a width √2 times smaller.",
        "The kernel of LIME's authors is the *square root* of the exponential.",
    ),
    Mistake(
        kernel(weight=lambda D, w: (-D.square() / w**2 / 2).exp().sqrt()),
        "There is a 2 too many: the root already halves the exponent.",
        "√exp(−D²/w²) is exp(−D²/(2w²)): take the root, or write the 2, not both.",
    ),
    Mistake(kernel(weight=lambda D, w: (-D / w**2).exp().sqrt()), *_NOT_SQUARED),
    Mistake(kernel(weight=lambda D, w: (-D / w).exp().sqrt()), *_NOT_SQUARED),
    Mistake(
        kernel(weight=lambda D, w: (-D.square() / w).exp().sqrt()),
        "The width is not squared.",
        "D²/w²: the width has the unit of a distance.",
    ),
    Mistake(
        kernel(lambda Z, a: 1 - Z.double().mean(dim=1)),
        "The distance is the share of superpixels hidden, 1 − |z|/d: it is neither a cosine, nor does it "
        "look at the centre.",
        "z · a counts what both show; divide it by √|z| √|a|.",
    ),
    Mistake(
        kernel(lambda Z, a: _apart(Z, a).mean(dim=1)),
        "The distance is the share of superpixels in which z and the centre differ, not the cosine distance.",
        "The cosine looks only at what both show: |z ∧ a| / √(|z| |a|).",
    ),
    Mistake(kernel(lambda Z, a: _apart(Z, a).sum(dim=1).sqrt()), *_EUCLIDEAN),
    Mistake(kernel(lambda Z, a: _apart(Z, a).mean(dim=1).sqrt()), *_EUCLIDEAN),
    Mistake(kernel(lambda Z, a: _apart(Z, a).sum(dim=1)), *_EUCLIDEAN),
    Mistake(
        kernel(_cosine),
        "The kernel is fed with the cosine, not with one minus it: the centre itself weighs least.",
        "A similarity is no distance: D = 1 − cos.",
    ),
    Mistake(
        kernel(lambda Z, a: 1 - _cosine(Z, torch.ones_like(a))),
        "The distance is measured from the whole image, as in the lesson; here `centre` is another sample.",
        "1 − √(|z|/d) holds where the centre shows everything. Which ones do z and `centre` share?",
    ),
    Mistake(
        kernel(lambda Z, a: 1 - _cosine(Z, Z[0])),
        "The distance is measured from the first sample; the first is not `centre`.",
        "Compare every row with the argument `centre`, wherever it stands among the samples.",
    ),
    Mistake(
        kernel(
            lambda Z, a: 1 - Z.double() @ a.double() / (Z.double().sum(dim=1) * len(a)).sqrt().clamp_min(1e-9)
        ),
        "The norm of the centre is taken for √d: that is the norm of the whole image.",
        "‖a‖ = √|a|: count the ones of `centre`.",
    ),
    Mistake(
        kernel(lambda Z, a: 1 - Z.double() @ a.double() / (Z.double().sum(dim=1) * a.sum()).clamp_min(1e-9)),
        "The cosine is divided by |z| |a|: the roots are missing.",
        "The norm of zeros and ones is the *root* of their number: √|z| √|a|.",
    ),
    Mistake(
        kernel(lambda Z, a: 1 - Z.double() @ a.double() / len(a)),
        "The product z · a is divided by d: that is no cosine, for it asks how much is shared of everything.",
        "Divide by both norms, √|z| √|a|.",
    ),
    Mistake(
        kernel(lambda Z, a: 1 - (Z.double() @ a.double() / len(a)).sqrt()),
        "The lesson's √(|z|/d) was taken, with what both show in place of |z|: it holds around the whole "
        "image.",
        "Begin with z · a / (‖z‖ ‖a‖), and count all three.",
    ),
    *(
        Mistake(
            kernel(lambda Z, a, shape=shape: 1 - shape(Z.double() @ a.double() / a.sum())),
            "The distance asks what share of the centre's superpixels z shows; what z shows besides does not "
            "enlarge it.",
            "The norm of z is missing below the line: √|z| √|a|.",
        )
        for shape in (torch.sqrt, torch.Tensor.double)
    ),
    Mistake(
        kernel(lambda Z, a: _divided(Z, a).nan_to_num(0)),
        "The sample that shows nothing weighs 1: 0 / 0 became the distance 0.",
        "Its *cosine* is 0, so its distance is 1.",
    ),
    Mistake(
        kernel(_divided),
        "The sample that shows nothing gets NaN: its cosine is 0 / 0.",
        "It has distance 1: let its cosine be 0. The divisor must not be 0 there.",
    ),
    Mistake(
        _nothing_weighs_nothing,
        "The sample that shows nothing weighs 0; it is at distance 1, and weighs exp(−1/(2w²)).",
        "Only there: cos is 0 / 0 where z has no ones, and counts as 0, so D = 1.",
    ),
    Mistake(
        kernel(weight=_normalised),
        "The weights are divided by their sum: then the ridge penalty α means something else.",
        "Leave them as the kernel gives them: the centre has weight 1.",
    ),
    Mistake(
        kernel(weight=lambda D, w: D),
        "This is the distance itself, not yet the weight.",
        "Near the centre the weight is 1, and far from it small: √exp(−D²/w²).",
    ),
    Mistake(
        kernel(weight=lambda D, w: (D.square() / w**2).exp().sqrt()),
        "The weights grow with the distance, up to far more than 1: they should fall.",
        "The exponent is negative: −D²/w².",
    ),
]


# ---- 4.2 ---------------------------------------------------------------------------------------------------
def bits_of_pixels(Z: Tensor, segments: Tensor) -> Tensor:
    return Z[:, segments].transpose(0, 1)[:, :, None]  # (N, n, 1, H, W)


def masked(look_up: Answer = bits_of_pixels, made: Answer = torch.where) -> Answer:
    """An answer to 4.2 with one step exchanged."""
    return lambda x, segments, Z, fill: made(look_up(Z, segments), x[:, None], fill[:, None])


def superpixel_means(x: Tensor, segments: Tensor) -> Tensor:
    """Every superpixel in its mean colour, (N, C, H, W)."""
    filled = x.clone()
    for image, labels in zip(filled, segments, strict=True):
        for s in labels.unique():
            image[:, labels == s] = image[:, labels == s].mean(dim=1, keepdim=True)
    return filled


_FILL = "Use the argument `fill`, (N, C, H, W), pixel by pixel."
_ROWS = "Row i of Z makes image i, of every picture."
MASKED_IMAGES = [
    Mistake(
        masked(lambda Z, s: ~bits_of_pixels(Z, s)),
        "It is the wrong way round: what a sample shows is hidden, and the rest shown.",
        "True means *shown*: there the image, elsewhere the fill.",
    ),
    Mistake(
        masked(made=lambda keep, x, fill: x * keep),
        "Hidden pixels are black: the fill is not used.",
        "Multiplying by the mask is a fill of 0. Where the mask is False, take the pixels of `fill`.",
    ),
    Mistake(
        masked(made=lambda keep, x, fill: x * keep + fill),
        "The fill is added everywhere, also where the image is shown.",
        "Shown pixels come from x alone, hidden ones from the fill alone.",
    ),
    Mistake(
        masked(made=lambda keep, x, fill: torch.where(keep, x, x.mean((3, 4), keepdim=True))),
        "Hidden pixels get the image's mean colour, not the fill that was given.",
        _FILL,
    ),
    Mistake(
        lambda x, s, Z, fill: masked()(x, s, Z, superpixel_means(x, s)),
        "Hidden pixels get their superpixel's mean colour, not the fill that was given.",
        _FILL,
    ),
    Mistake(
        masked(made=lambda keep, x, fill: torch.where(keep, x, fill.mean((3, 4), keepdim=True))),
        "Hidden pixels get the mean of the fill.",
        "`fill` has a value for each pixel: do not average it.",
    ),
    Mistake(
        masked(lambda Z, s: bits_of_pixels(Z, s - 1)),
        "The labels are off by one: superpixel 0 looks at the last column of Z.",
        "Labels start at 0, as the columns of Z do: column s belongs to label s.",
    ),
    Mistake(
        masked(lambda Z, s: bits_of_pixels(Z[:1].expand_as(Z), s)),
        "All the images are masked by the first sample.",
        _ROWS,
    ),
    Mistake(
        masked(lambda Z, s: bits_of_pixels(Z.flip(0), s)),
        "The images come in the wrong order: the first sample's last.",
        _ROWS,
    ),
    Mistake(
        masked(lambda Z, s: bits_of_pixels(Z, s[:1].expand_as(s))),
        "All pictures are cut along the superpixels of the first.",
        "`segments` is (N, H, W): index with all of it.",
    ),
    Mistake(
        lambda x, s, Z, fill: masked()(x[:1].expand_as(x), s, Z, fill),
        "Every picture's images show the first picture.",
        "`x[:, None]`, (N, 1, C, H, W), goes with N looked-up masks.",
    ),
    Mistake(
        lambda x, s, Z, fill: masked()(x, s, Z, fill[:1].expand_as(fill)),
        "Hidden pixels of every picture get the first picture's fill.",
        "`fill[:, None]`, (N, 1, C, H, W), goes with N looked-up masks.",
    ),
    Mistake(
        masked(lambda Z, s: Z[:, s].reshape(len(s), len(Z), 1, *s.shape[1:])),
        "The masks are dealt out to the wrong pictures and samples: `reshape` does not exchange dimensions.",
        "`Z[:, segments]` is (n, N, H, W): `.transpose(0, 1)` makes it (N, n, H, W).",
    ),
    Mistake(
        lambda x, s, Z, fill: masked()(x, s, Z, fill).transpose(0, 1),
        "Samples come first and pictures second, (n, N, …); wanted is (N, n, C, H, W).",
        "`Z[:, segments]` is (n, N, H, W): `.transpose(0, 1)` before the pixels are picked.",
    ),
    Mistake(
        lambda x, s, Z, fill: masked()(x, s, Z, fill).flatten(0, 1),
        "All the images stand in one row, (N·n, C, H, W); wanted is (N, n, C, H, W).",
        "Keep both dimensions: they say which picture, and which sample.",
    ),
    Mistake(
        lambda x, s, Z, fill: masked()(x[:1], s[:1], Z, fill[:1])[0],
        "Only one picture was masked, (n, C, H, W).",
        "`x` holds N pictures, each with its own `segments` and `fill`.",
    ),
    Mistake(
        lambda x, s, Z, fill: bits_of_pixels(Z, s)[:, :, 0],
        "Only the masks came back, (N, n, H, W): the pixels are missing.",
        "`torch.where(mask, x, fill)` picks pixels.",
    ),
    Mistake(
        lambda x, s, Z, fill: bits_of_pixels(Z, s).expand(-1, -1, x.shape[1], -1, -1),
        "Only True and False came back: the pixels are missing.",
        "`torch.where(mask, x, fill)` picks pixels.",
    ),
]


# ---- 4.3 ---------------------------------------------------------------------------------------------------
def _weighted_share(w: Tensor) -> Tensor:
    return w / w.sum()


def _ones(w: Tensor) -> Tensor:
    return torch.ones_like(w)


def _as_it_is(w: Tensor) -> Tensor:
    return w


def _from_means(share: Tensor, Z: Tensor, Y: Tensor, beta: Tensor) -> Tensor:
    return share @ (Y - Z @ beta)


def ridge(
    share: Answer = _weighted_share,
    left: Answer = _as_it_is,
    right: Answer = _as_it_is,
    penalty: Answer = lambda a, w: a,
    matrix: Answer = torch.eye,
    centred: Answer = lambda Z, mean: Z - mean,
    Y_centred: Answer = lambda Y, mean: Y - mean,
    intercept: Answer = _from_means,
) -> Answer:
    """An answer to 4.3 with one step exchanged."""

    def answer(Z: Tensor, Y: Tensor, weights: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        how, d = share(weights), Z.shape[1]
        Zc, Yc = centred(Z, how @ Z), Y_centred(Y, how @ Y)
        gram = (Zc * left(weights)[:, None]).T @ Zc + penalty(alpha, weights) * matrix(d).double()
        beta = torch.linalg.solve(gram, (Zc * right(weights)[:, None]).T @ Yc)
        return beta, intercept(how, Z, Y, beta)

    return answer


def _all_of(change: Answer) -> dict[str, Answer]:
    """The weights exchanged wherever they stand: in the means and on both sides."""
    return {"share": lambda w: _weighted_share(change(w)), "left": change, "right": change}


def _intercept_penalised(Z: Tensor, Y: Tensor, weights: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    Z1 = F.pad(Z, (0, 1), value=1.0)
    weighted = (Z1 * weights[:, None]).T
    found = torch.linalg.solve(weighted @ Z1 + alpha * torch.eye(Z1.shape[1]).double(), weighted @ Y)
    return found[:-1], found[-1]


def _uncentred(values: Tensor, mean: Tensor) -> Tensor:
    return values


_HALF_CENTRED = (
    "The scores are centred, and Z is not: the plane's slopes must make up for that.",
    "Take off both weighted means, from Z and from Y, before you solve.",
)
_THROUGH_ZERO = (
    "The plane is forced through zero: the coefficients were found without an intercept.",
    "Centre Z and Y first; then solve; the intercepts come last, from the means.",
)
_MEAN_PENALISED = (
    "The penalty is α times the number (or the total weight) of samples: a mean was penalised.",
    "The formula adds squares up: no average, and no weights divided by their sum.",
)
_FROM_WEIGHTED_MEANS = "b = ȳ − βᵀ z̄, with weighted means."
WEIGHTED_RIDGE = [
    Mistake(
        _intercept_penalised,
        "The intercept is penalised too: adding 10 to every score would change the coefficients.",
        "Centre on the weighted means before you solve, or give the intercept's diagonal entry no α.",
    ),
    Mistake(
        ridge(**_all_of(_ones)),
        "The weights are not used: every sample counts the same.",
        "The sum over i has the factor `weights[i]`: Zᵀ W Z and Zᵀ W Y, centred.",
    ),
    Mistake(
        ridge(**_all_of(torch.square)),
        "The weights enter squared: rows were multiplied by w, and then the squares were summed.",
        "Multiply rows by √w, or write w once, between Zᵀ and Z.",
    ),
    Mistake(
        ridge(**_all_of(torch.sqrt)),
        "The weights enter as their roots: √w belongs on both sides, so that w comes out.",
        "(Z·w)ᵀ Z has w once, and (Z·√w)ᵀ (Z·√w) likewise.",
    ),
    Mistake(
        ridge(penalty=lambda a, w: 0),
        "The penalty is missing: this is weighted least squares.",
        "Add α to the diagonal of Zᵀ W Z: `+ alpha * torch.eye(d)`.",
    ),
    Mistake(
        ridge(penalty=lambda a, w: a**2),
        "The penalty enters squared: rows α·I were appended, and then squared.",
        "α‖β‖² is the squared length of √α β.",
    ),
    Mistake(ridge(penalty=lambda a, w: a * len(w)), *_MEAN_PENALISED),
    Mistake(ridge(penalty=lambda a, w: a * w.sum()), *_MEAN_PENALISED),
    Mistake(
        ridge(penalty=lambda a, w: a / 2),
        "The penalty is half as large as it should be.",
        "The derivative of both terms has the factor 2, and it cancels.",
    ),
    Mistake(
        ridge(share=lambda w: _weighted_share(_ones(w))),
        "Z and Y are centred on their plain means: that frees the intercept for equal weights only.",
        "Use the *weighted* means, Σ w z / Σ w and Σ w y / Σ w.",
    ),
    Mistake(
        ridge(share=_as_it_is),
        "The weighted means are sums divided by nothing: the weights do not sum to one.",
        "Σ w z / Σ w: divide by `weights.sum()`, for Z and for Y.",
    ),
    Mistake(
        ridge(share=lambda w: w / len(w)),
        "The weighted means are sums divided by n: the weights do not sum to n.",
        "Σ w z / Σ w: divide by `weights.sum()`, for Z and for Y.",
    ),
    Mistake(ridge(centred=_uncentred), *_HALF_CENTRED),
    Mistake(ridge(centred=_uncentred, intercept=lambda share, Z, Y, beta: share @ Y), *_HALF_CENTRED),
    Mistake(
        ridge(left=torch.square, right=torch.square),
        "The means are right; in the matrix and on the right-hand side the weights enter squared.",
        "(Z·w)ᵀ (Z·w) has w twice. Write it once: (Z·w)ᵀ Z.",
    ),
    Mistake(
        ridge(left=torch.sqrt, right=torch.sqrt),
        "The means are right; in the matrix and on the right-hand side the weights enter as roots.",
        "(Z·√w)ᵀ Z has only √w: write (Z·w)ᵀ Z, or √w on both sides.",
    ),
    Mistake(
        ridge(matrix=lambda d: torch.ones(d, d)),
        "α is added to every entry of the matrix: a matrix of ones is not the identity.",
        "Add α to the diagonal only: `alpha * torch.eye(d)`.",
    ),
    Mistake(
        ridge(right=_ones),
        "The weights stand in the matrix, but not on the right-hand side.",
        "Zᵀ W Z + α I on the left, Zᵀ W Y on the right: W twice.",
    ),
    Mistake(
        ridge(left=_ones),
        "The weights stand on the right-hand side, but not in the matrix.",
        "Zᵀ W Z + α I on the left, Zᵀ W Y on the right: W twice.",
    ),
    *(
        Mistake(ridge(centred=_uncentred, Y_centred=_uncentred, intercept=intercept), *_THROUGH_ZERO)
        for intercept in (
            lambda share, Z, Y, beta: 0 * Y[0],
            _from_means,
            lambda share, Z, Y, beta: share @ Y,
            lambda share, Z, Y, beta: Y.mean(dim=0),
        )
    ),
    Mistake(
        ridge(Y_centred=lambda Y, mean: Y[:, :1].expand_as(Y) - mean[0]),
        "Every class gets the coefficients of the first.",
        "Solve with all columns of Y: `torch.linalg.solve` takes a matrix on the right.",
    ),
    Mistake(
        ridge(intercept=lambda share, Z, Y, beta: share @ Y),
        "The intercept is the mean of the scores: the plane's height at the *mean* of Z, not at zero.",
        _FROM_WEIGHTED_MEANS,
    ),
    Mistake(
        ridge(intercept=lambda share, Z, Y, beta: share @ (Y + Z @ beta)),
        "The intercept has a plus: β times the mean of Z is added, not taken off.",
        _FROM_WEIGHTED_MEANS,
    ),
    Mistake(
        ridge(intercept=lambda share, Z, Y, beta: share @ (Z @ beta - Y)),
        "The intercept has the wrong sign: βᵀ z̄ − ȳ.",
        _FROM_WEIGHTED_MEANS,
    ),
    Mistake(
        ridge(intercept=lambda share, Z, Y, beta: (Y - Z @ beta).mean(dim=0)),
        "The coefficients are right, and the intercept is made of plain means.",
        _FROM_WEIGHTED_MEANS,
    ),
    Mistake(
        ridge(intercept=lambda share, Z, Y, beta: (share @ (Y - Z @ beta)).mean().expand(Y.shape[1])),
        "The coefficients are right, and every class has the same intercept: the mean over the classes.",
        "ȳ is (K,), one mean a class.",
    ),
]


# ---- 4.4 ---------------------------------------------------------------------------------------------------
def _grown(bits: Tensor, to: tuple[int, int], **how: Any) -> Tensor:
    how = how or {"mode": "bilinear", "align_corners": False}
    return F.interpolate(bits[None, None].double(), to, **how)[0, 0]


def _cut(large: Tensor, dy: int, dx: int, H: int, W: int) -> Tensor:
    return large[dy : dy + H, dx : dx + W]


def mask(
    cell: Answer = lambda length, s: math.ceil(length / s),
    cells: Answer = lambda s: s + 1,
    cut: Answer = _cut,
    end: Answer = lambda m: m,
    **how: Any,
) -> Answer:
    """An answer to 4.4 with one step exchanged."""

    def answer(bits: Tensor, shift: tuple[int, int], size: tuple[int, int]) -> Tensor:
        s = len(bits)
        rows, columns = (cells(s) * cell(length, s) for length in size)
        return end(cut(_grown(bits, (rows, columns), **how), *shift, *size))

    return answer


def _enlarged_to(rows_and_columns: Answer, cut: Answer = _cut) -> Answer:
    def answer(bits: Tensor, shift: tuple[int, int], size: tuple[int, int]) -> Tensor:
        return cut(_grown(bits, rows_and_columns(len(bits), *size)), *shift, *size)

    return answer


def _own_size(s: int, H: int, W: int) -> tuple[int, int]:
    return H, W


def _from_lower_right(large: Tensor, dy: int, dx: int, H: int, W: int) -> Tensor:
    bottom, right = large.shape[0] - dy, large.shape[1] - dx
    return large[bottom - H : bottom, right - W : right]


_ROLLED = (
    "`roll` on a grid of the image's own size brings the far edge in: the mask's two edges belong together.",
    "Enlarge to (s + 1) cells a side, and cut H × W out of that: then no edge comes round.",
)
SOFT_MASK = [
    Mistake(
        mask(mode="bilinear", align_corners=True),
        "The grid is stretched: `align_corners=True` puts the corner bits on the corner pixels.",
        "`align_corners=False`: a bit's value lies in the middle of its cell.",
    ),
    Mistake(
        mask(mode="nearest"),
        "The mask has hard edges: nothing was interpolated.",
        '`mode="bilinear"`; `nearest` is what `F.interpolate` does unless told otherwise.',
    ),
    Mistake(
        mask(mode="bicubic", align_corners=False),
        "The mask was enlarged by cubic interpolation, which leaves [0, 1].",
        '`mode="bilinear"`.',
    ),
    Mistake(
        mask(cut=lambda large, dy, dx, H, W: _cut(large, dx, dy, H, W)),
        "The shifts are exchanged: rows are moved by dx and columns by dy.",
        "`shift` is (dy, dx): first down, then to the right, as H comes before W.",
    ),
    Mistake(
        mask(cut=lambda large, dy, dx, H, W: large[:H, :W]),
        "The shift is not used: every mask has its cells in the same places.",
        "Start the cut at row dy and column dx.",
    ),
    Mistake(
        mask(cell=lambda length, s: length // s),
        "A cell is one pixel too small: H/s is rounded down.",
        "`math.ceil(H / s)`: s cells must cover the image.",
    ),
    Mistake(
        _enlarged_to(lambda s, H, W: (H + math.ceil(H / s), W + math.ceil(W / s))),
        "The grid is enlarged to H + ⌈H/s⌉ rows, and not to (s + 1)⌈H/s⌉.",
        "(s + 1) cells of ⌈H/s⌉ rows: the same only where s divides H.",
    ),
    Mistake(
        _enlarged_to(lambda s, H, W: (8 * math.ceil(H / 7), 8 * math.ceil(W / 7))),
        "The mask is made for a grid of 7 × 7 cells; the grid given is another.",
        "Take s from the bits: `s = len(bits)`.",
    ),
    Mistake(
        _enlarged_to(_own_size, cut=lambda large, *rest: large),
        "The grid is enlarged to the image's own size, and not moved: there is no room left for a shift.",
        "Enlarge to (s + 1) cells a side, and cut H × W out of that, from row dy and column dx on.",
    ),
    Mistake(_enlarged_to(_own_size, cut=lambda large, dy, dx, H, W: large.roll((dy, dx), (0, 1))), *_ROLLED),
    Mistake(
        _enlarged_to(_own_size, cut=lambda large, dy, dx, H, W: large.roll((-dy, -dx), (0, 1))), *_ROLLED
    ),
    Mistake(
        mask(cut=lambda large, dy, dx, H, W: large.roll((dy, dx), (0, 1))[:H, :W]),
        "`roll` moves the enlarged grid down and to the right: its far edge comes in at the top left.",
        "The cut *begins* at row dy and column dx: `large[dy : dy + H, dx : dx + W]`; nothing is rolled.",
    ),
    Mistake(
        mask(cut=_from_lower_right),
        "The cut is counted from the lower right corner.",
        "`large[dy : dy + H, dx : dx + W]`.",
    ),
    Mistake(
        mask(end=torch.round),
        "The mask holds only 0 and 1: it was rounded.",
        "Soft edges are wanted: keep the values between.",
    ),
    Mistake(
        mask(end=lambda m: 1 - m),
        "The mask is its own complement: where a bit is True, the mask is 0.",
        "True means kept: 1.",
    ),
    # of another shape than the mask's, and told by it
    Mistake(
        mask(cut=lambda large, *rest: large),
        "The enlarged grid came back whole.",
        "Cut H rows from row dy on, and W columns from column dx on.",
    ),
    Mistake(
        mask(cut=lambda large, dy, dx, H, W: large[dy:, dx:]),
        "The cut begins at the shift and has no end: the mask is larger than the image.",
        "`large[dy : dy + H, dx : dx + W]`: H rows and W columns.",
    ),
    Mistake(
        mask(cut=lambda large, dy, dx, H, W: large[dy:H, dx:W]),
        "The cut ends at row H and column W: it loses as much as it is moved.",
        "`large[dy : dy + H, dx : dx + W]`: the end moves with the beginning.",
    ),
    Mistake(
        mask(cut=lambda large, dy, dx, H, W: _cut(large, dy, dx, H, H)),
        "H is used twice: the mask has as many columns as rows.",
        "`size` is (H, W): rows end at dy + H, columns at dx + W.",
    ),
    Mistake(
        mask(cut=lambda large, dy, dx, H, W: _cut(large, dy, dx, W, W)),
        "W is used twice: the mask goes on below the image.",
        "`size` is (H, W): rows end at dy + H, columns at dx + W.",
    ),
    Mistake(
        mask(cells=lambda s: s),
        "The enlarged grid ends too early for the shift: it has s cells a side.",
        "One cell more than the image needs, each way: (s + 1) cells of ⌈H/s⌉ rows and ⌈W/s⌉ columns.",
    ),
    Mistake(
        lambda bits, shift, size: mask()(bits, shift, size[::-1]),
        "The mask lies on its side: H and W are exchanged.",
        "`size` is (H, W): first the rows, then the columns.",
    ),
    Mistake(
        _enlarged_to(lambda s, H, W: ((s + 1) * math.ceil(W / s), (s + 1) * math.ceil(H / s))),
        "The enlarged grid lies on its side, and the cut comes out too narrow.",
        "`F.interpolate` takes (rows, columns): first what belongs to H, then what belongs to W.",
    ),
    *(
        Mistake(
            mask(end=lambda m, ones=ones: m.view(*ones, *m.shape)),
            "`F.interpolate` wants two more dimensions, and they are still there.",
            "Take them off at the end: `[0, 0]`.",
        )
        for ones in ((1, 1), (1,))
    ),
]


# ---- 4.5 ---------------------------------------------------------------------------------------------------
def _safe(below: Tensor) -> Tensor:
    return torch.where(below > 0, below, 1)


def _spread(scores: Tensor, kept: Tensor) -> Tensor:
    return torch.einsum("m,mhw->hw", scores, kept)


def rise(
    seen: Answer = lambda M: M,
    score: Answer = lambda y, c: y.softmax(dim=1)[:, c],
    above: Answer = lambda M: M,
    below: Answer = lambda M: M,
    divide: Answer = lambda total, coverage, n, scores: total / _safe(coverage),
    starts: Answer = lambda n, b: range(0, n, b),
    add: Answer = lambda sums, new: sums + new,
    add_coverage: Answer | None = None,
) -> Answer:
    """An answer to 4.5 with one step exchanged."""

    @torch.no_grad()
    def answer(model, x, target, make_masks, n_masks, batch_size) -> Tensor:
        total = coverage = scores = torch.zeros(())
        for start in starts(n_masks, batch_size):
            M = make_masks(start, min(start + batch_size, n_masks))
            p = score(model(x * seen(M)[:, None]), target)
            total, scores = add(total, _spread(p, above(M))), scores + p.sum()
            coverage = (add_coverage or add)(coverage, below(M).sum(dim=0))
        return divide(total, coverage, n_masks, scores)

    return answer


def chunk_by_chunk(join: Answer) -> Answer:
    """Each chunk's own map, (chunks, H, W), joined in the end."""

    @torch.no_grad()
    def answer(model, x, target, make_masks, n_masks, batch_size) -> Tensor:
        one_chunk = rise()
        maps = []
        for start in range(0, n_masks, batch_size):
            length = min(batch_size, n_masks - start)
            shifted = lambda a, b, start=start: make_masks(start + a, start + b)  # noqa: E731
            maps.append(one_chunk(model, x, target, shifted, length, length))
        return join(torch.stack(maps))

    return answer


def _latest(sums: Tensor, new: Tensor) -> Tensor:
    return new


def _half(M: Tensor) -> Tensor:
    return (M > 0.5).to(M.dtype)


def _any(M: Tensor) -> Tensor:
    return (M > 0).to(M.dtype)


def _hidden(M: Tensor) -> Tensor:
    return 1 - M


def _stretched(total: Tensor, coverage: Tensor, n: int, scores: Tensor) -> Tensor:
    heat = total / _safe(coverage)
    return (heat - heat.min()) / (heat.max() - heat.min())


def _over_largest(total: Tensor, coverage: Tensor, n: int, scores: Tensor) -> Tensor:
    heat = total / _safe(coverage)
    return heat / heat.max()


def _own_class(model, x, target, *rest) -> Tensor:
    with torch.no_grad():
        return rise()(model, x, int(model(x).argmax()), *rest)


_CLASS_THAT_WINS = (
    "`rise_map` scores with the class that wins, not with the one asked for.",
    "Column `target`, for every mask.",
)
_AS_THE_PAPER = (
    "`rise_map` divides by the number of masks (times q), as the paper does: a pixel that chance kept more "
    "often "
    "looks more important.",
    "Divide by what each pixel really got: Σ M, (H, W).",
)
_OWN_COVERAGE = (
    "`rise_map` divides each chunk by its own coverage: chunks count alike, whatever they kept.",
    "Two sums over all the chunks, and one division after the loop.",
)
_WHAT_IS_HIDDEN = ("`rise_map` shows the network what the mask hides.", "`x * mask`: 1 means kept.")
_STRETCHED = (
    "`rise_map` stretches the map to its own extremes: its values are no probabilities any more.",
    "Return the weighted mean as it is; drawing may stretch it.",
)
_PLAIN_MEAN = (
    "`rise_map` takes the plain mean of all the answers, whether a mask keeps the pixel or not: every pixel "
    "gets the same.",
    "Each answer is weighted by M(λ), how much its mask keeps of the pixel.",
)
_COUNTED_HARD = (
    "`rise_map` counts a pixel as wholly kept or not at all.",
    "A pixel counts by its mask's value, above the line and below it.",
)
RISE_MAP = [
    Mistake(
        rise(score=lambda y, c: y[:, c]),
        "`rise_map` adds up logits: they have no zero that means anything.",
        "RISE scores with the probability: `.softmax(dim=1)[:, target]`.",
    ),
    Mistake(
        rise(score=lambda y, c: y.softmax(dim=0)[:, c]),
        "The softmax of `rise_map` runs over the masks of a chunk: they compete with each other.",
        "Softmax over the classes, `dim=1`.",
    ),
    Mistake(rise(score=lambda y, c: y.softmax(dim=1).amax(dim=1)), *_CLASS_THAT_WINS),
    Mistake(_own_class, *_CLASS_THAT_WINS),
    Mistake(rise(divide=lambda total, coverage, n, scores: total / n), *_AS_THE_PAPER),
    Mistake(rise(divide=lambda total, coverage, n, scores: total / (n * 0.5)), *_AS_THE_PAPER),
    Mistake(
        rise(divide=lambda total, coverage, n, scores: total / coverage.mean()),
        "`rise_map` divides by the mean coverage, one number for every pixel: a pixel that chance kept more "
        "often looks more important.",
        "Divide by what each pixel really got: Σ M, (H, W).",
    ),
    Mistake(
        rise(divide=lambda total, coverage, n, scores: total / scores),
        "`rise_map` divides by the sum of the scores, not by the coverage.",
        "Below the line stands Σ M(λ), a number for each pixel.",
    ),
    Mistake(
        rise(divide=lambda total, coverage, n, scores: total),
        "`rise_map` divides by nothing: the map is as large as the number of masks.",
        "Divide by the coverage, Σ M, at the end.",
    ),
    Mistake(
        rise(divide=lambda total, coverage, n, scores: total / coverage),
        "At a pixel that no mask keeps, the map is NaN: 0 / 0.",
        "There the map is 0: divide by the coverage where it is above 0, by 1 elsewhere.",
    ),
    Mistake(
        rise(starts=lambda n, b: range(0, n // b * b, b)),
        "`rise_map` leaves out the last chunk, which is smaller.",
        "`range(0, n_masks, batch_size)` has a last, smaller chunk; integer division loses it.",
    ),
    Mistake(chunk_by_chunk(lambda maps: maps.mean(dim=0)), *_OWN_COVERAGE),
    Mistake(chunk_by_chunk(lambda maps: maps.sum(dim=0)), *_OWN_COVERAGE),
    Mistake(
        rise(add_coverage=_latest),
        "`rise_map` divides by the coverage of the last chunk alone.",
        "The coverage is summed over all the chunks, too: `coverage = coverage + …`.",
    ),
    Mistake(
        rise(add=_latest),
        "`rise_map` gives the last chunk's map: the sums begin again in each turn of the loop.",
        "Set both sums to 0 *before* the loop.",
    ),
    Mistake(rise(seen=_hidden), *_WHAT_IS_HIDDEN),
    Mistake(rise(seen=_hidden, above=_hidden, below=_hidden), *_WHAT_IS_HIDDEN),
    Mistake(
        rise(above=_hidden, below=_hidden),
        "`rise_map` weights each answer by 1 − M, how much the mask *hides* of the pixel.",
        "What is kept counts: M above the line, and M below it.",
    ),
    Mistake(
        rise(above=_hidden),
        "`rise_map` weights each answer by 1 − M above the line, and divides by Σ M.",
        "What is kept counts: M above the line, and M below it.",
    ),
    Mistake(rise(above=torch.ones_like, divide=lambda total, coverage, n, scores: total / n), *_PLAIN_MEAN),
    Mistake(
        rise(
            above=torch.ones_like,
            divide=lambda total, coverage, n, scores: torch.where(coverage > 0, total / n, 0),
        ),
        *_PLAIN_MEAN,
    ),
    Mistake(
        rise(above=torch.ones_like),
        "Above the line `rise_map` adds every answer whole; below it masks count by what they keep.",
        "Σ p M over Σ M: the weight M stands in both sums.",
    ),
    Mistake(rise(divide=_stretched), *_STRETCHED),
    Mistake(rise(divide=_over_largest), *_STRETCHED),
    Mistake(
        rise(divide=lambda total, coverage, n, scores: total / coverage.clamp_min(1)),
        "`rise_map` raises every coverage below 1 to 1; a pixel that masks hardly keep gets too little.",
        "A coverage of 0.5 is a coverage: replace only 0, `torch.where(coverage > 0, coverage, 1)`.",
    ),
    *(
        mistake
        for hard in (_half, _any)
        for mistake in (
            Mistake(
                rise(seen=hard),
                "`rise_map` makes the masks 0 and 1 before it shows the image through them.",
                "Multiply by the soft mask as it is.",
            ),
            Mistake(
                rise(seen=hard, above=hard, below=hard),
                "`rise_map` makes the masks 0 and 1, and uses only those.",
                "RISE's masks are soft: multiply and count by their values as they are.",
            ),
            Mistake(rise(above=hard, below=hard), *_COUNTED_HARD),
            Mistake(rise(above=hard), *_COUNTED_HARD),
            Mistake(rise(below=hard), *_COUNTED_HARD),
        )
    ),
    Mistake(
        rise(above=torch.square),
        "`rise_map` multiplies the score by the mask twice.",
        "Σ p M over Σ M.",
    ),
    Mistake(
        rise(
            divide=lambda total, coverage, n, scores: torch.where(
                coverage > 0, total / _safe(coverage), scores / n
            )
        ),
        "Where no mask keeps a pixel, the map of `rise_map` is the mean of all answers, and not 0.",
        "Divide where the coverage is above 0, and put 0 elsewhere.",
    ),
]


# ---- 4.6 ---------------------------------------------------------------------------------------------------
def shapley_weight(k: int, d: int) -> float:
    return math.factorial(k) * math.factorial(d - k - 1) / math.factorial(d)


def _table(value: Answer, d: int) -> Tensor:
    return value((torch.arange(2**d)[:, None] >> torch.arange(d)) % 2 == 1)  # row i holds the bits of i


def _gain(worth: Tensor, S: int, j: int) -> Tensor:
    return worth[S | 1 << j] - worth[S]


def game(
    weight: Answer = shapley_weight,
    gain: Answer = _gain,
    some: Answer = lambda S, d: True,
    table: Answer = _table,
    end: Answer = lambda phi, worth: phi,
) -> Answer:
    """An answer to 4.6 with one step exchanged."""

    def answer(value: Answer, d: int) -> Tensor:
        worth = table(value, d)
        phi = []
        for j in range(d):
            without = [S for S in range(2**d) if not S >> j & 1 and some(S, d)]
            phi.append(sum((weight(S.bit_count(), d) * gain(worth, S, j) for S in without), 0 * worth[0]))
        return end(torch.stack(phi), worth)

    return answer


def leave_one_out(value: Answer, d: int) -> Tensor:
    return value(torch.ones(1, d, dtype=torch.bool)) - value(~torch.eye(d, dtype=torch.bool))


def _rescaled(value: Answer, d: int) -> Tensor:
    drops, ends = leave_one_out(value, d), value(torch.tensor([[False] * d, [True] * d]))
    return drops / drops.sum() * (ends[1] - ends[0])


def _each_alone(value: Answer, d: int) -> Tensor:
    return value(torch.eye(d, dtype=torch.bool)) - value(torch.zeros(1, d, dtype=torch.bool))


def _nobody_is_worth_nothing(value: Answer, d: int) -> Tensor:
    worth = _table(value, d).clone()
    worth[0] = 0
    return worth


_ONE_TERM = "That is one term of the sum. Every coalition S without j has one."
_J_IN_S = (
    "The weights are off by one: |S| counts j, who is not in S.",
    "S is the coalition *before* j joins.",
)
_NO_FACTORIALS = (
    "The weights have no factorials of the others: some sizes of S count too much.",
    "|S|! ways to come before j, (d − |S| − 1)! to come after, of d! orders in all.",
)
_f = math.factorial
EXACT_SHAPLEY = [
    Mistake(
        leave_one_out,
        "These are the drops when one player leaves everybody: leave-one-out, not Shapley values.",
        _ONE_TERM,
    ),
    Mistake(
        _rescaled,
        "These are leave-one-out's drops, scaled until they sum to v(all) − v(∅): the sum alone is not "
        "enough.",
        _ONE_TERM,
    ),
    Mistake(_each_alone, "These are the gains of each player alone: only S = ∅ was looked at.", _ONE_TERM),
    Mistake(
        game(lambda k, d: 1 / 2 ** (d - 1)),
        "All coalitions count the same: these are Banzhaf values, which do not sum to v(all) − v(∅).",
        "The weight is |S|! (d − |S| − 1)! / d!: each *size* of S counts the same, not each S.",
    ),
    Mistake(
        game(lambda k, d: _f(k) * _f(d - k) / _f(d)),
        "The weights are off by one: (d − |S|)! stands where (d − |S| − 1)! belongs.",
        "j itself is neither among the |S| before nor among the d − |S| − 1 after.",
    ),
    Mistake(game(lambda k, d: shapley_weight(k + 1, d) if k < d - 1 else 0.0), *_J_IN_S),
    Mistake(game(lambda k, d: _f(k + 1) * _f(d - k - 1) / _f(d)), *_J_IN_S),
    Mistake(
        game(lambda k, d: d * shapley_weight(k, d)),
        "The values are d times too large: divided by (d − 1)! in place of d!.",
        "Add up the weights of all S without j: they must make 1.",
    ),
    Mistake(game(lambda k, d: _f(k) / _f(d)), *_NO_FACTORIALS),
    Mistake(game(lambda k, d: _f(d - k - 1) / _f(d)), *_NO_FACTORIALS),
    Mistake(game(lambda k, d: 1 / math.comb(d, k) / d), *_NO_FACTORIALS),
    Mistake(
        game(gain=lambda worth, S, j: -_gain(worth, S, j)),
        "The signs are turned round: v(S) − v(S ∪ j).",
        "What j *adds*: with j minus without.",
    ),
    Mistake(
        game(gain=lambda worth, S, j: worth[S | 1 << j]),
        "v(S) is not taken off: a player gets the worth of all who came before.",
        "v(S ∪ j) − v(S).",
    ),
    Mistake(
        game(end=lambda phi, worth: phi.flip(0)),
        "The players come in the reverse order.",
        "Column j of the coalitions is player j: does bit j of your numbering go to column j?",
    ),
    Mistake(
        game(table=_nobody_is_worth_nothing),
        "v(∅) is taken for 0: nobody may be worth something, too.",
        "Ask `value` for the empty coalition, as for every other: 2^d questions.",
    ),
    Mistake(
        game(some=lambda S, d: S > 0),
        "The empty coalition is left out: each player's gain alone is missing.",
        "S may be empty: 2^(d − 1) coalitions for each j, ∅ among them.",
    ),
    Mistake(
        game(some=lambda S, d: S.bit_count() < d - 1),
        "The largest coalition is left out: S may be everybody but j.",
        "2^(d − 1) coalitions for each j, from ∅ to all others.",
    ),
    *(
        Mistake(
            game(end=lambda phi, worth, below=below: phi / below(phi, worth)),
            f"The values are divided by {what}: they are shares of it, and should sum to v(all) − v(∅).",
            "Leave them in the unit of `value`.",
        )
        for below, what in (
            (lambda phi, worth: phi.sum(), "their sum"),
            (lambda phi, worth: phi.abs().sum(), "the sum of their sizes"),
            (lambda phi, worth: worth[-1], "v(all)"),
        )
    ),
]


# ---- 4.7 ---------------------------------------------------------------------------------------------------
def se(maps: Tensor) -> Tensor:
    return maps.std(dim=0) / len(maps) ** 0.5


def centred(maps: Tensor) -> Tensor:
    return maps - maps.mean(dim=(1, 2), keepdim=True)


_VARIANCE = ("`standard_error` is a variance: the root is missing.", "s/√G, in the map's unit.")
STANDARD_ERROR = [
    Mistake(
        lambda maps: maps.std(dim=0),
        "`standard_error` gives the deviation of *one* map, not of the mean of all.",
        "The mean of G maps is √G times steadier: divide by `G ** 0.5`.",
    ),
    Mistake(
        lambda maps: maps.std(dim=0, correction=0) / len(maps) ** 0.5,
        "`standard_error` divides by G where G − 1 belongs: the mean was estimated from the same maps.",
        "`maps.std(dim=0)` divides by G − 1 unless told otherwise; numpy's does not.",
    ),
    Mistake(
        lambda maps: maps.std(dim=0) / len(maps),
        "`standard_error` divides the deviation by G, not by √G.",
        "Variances of independent maps add: the mean's variance is s²/G.",
    ),
    Mistake(
        lambda maps: se(centred(maps)),
        "`standard_error` brings each map to the mean 0 first; here the maps are taken as they come.",
        "Centring belongs to `relative_error`: it hands `standard_error` the centred maps.",
    ),
    Mistake(
        lambda maps: (maps.square().mean(dim=0) / len(maps)).sqrt(),
        "`standard_error` squares the maps themselves: where all of them are the same, it is not 0.",
        "Only differences between the maps may enter: take off the mean over the maps first.",
    ),
    Mistake(lambda maps: maps.var(dim=0) / len(maps), *_VARIANCE),
    Mistake(lambda maps: maps.var(dim=0), *_VARIANCE),
    Mistake(
        lambda maps: maps.std(dim=(1, 2)) / len(maps) ** 0.5,
        "`standard_error` gives one number a map: the deviation was taken over the pixels.",
        "Take the deviation over the maps, `dim=0`: one number a pixel, (H, W).",
    ),
]


def relative(
    bring: Answer = centred,
    noise: Answer = lambda maps: se(maps).square().mean(),
    seen: Answer = lambda maps: maps.mean(dim=0).square().mean(),
    below: Answer = lambda seen, noise: seen - noise,
    end: Answer = lambda noise, below: (noise / below).sqrt(),
) -> Answer:
    """An answer to the second part of 4.7 with one step exchanged."""

    def answer(maps: Tensor) -> float:
        maps = bring(maps)
        n, s = noise(maps), seen(maps)
        return float(end(n, below(s, n))) if s > n else math.inf

    return answer


_LEVELS = (
    "`relative_error` counts the runs' levels as noise: each map is to be brought to the mean 0 first.",
    "`maps - maps.mean(dim=(1, 2), keepdim=True)`, before SE is taken.",
)
_ALL_THAT_IS_SEEN = (
    "`relative_error` divides by everything that is seen: the noise is part of that.",
    "signal² = seen² − noise².",
)
_ERRORS_AVERAGED = (
    "`relative_error` averages the standard errors; their *squares* are averaged, and then the root is "
    "taken.",
    "noise² is the mean of SE² over the pixels: square first.",
)
RELATIVE_ERROR = [
    Mistake(relative(below=lambda seen, noise: seen), *_ALL_THAT_IS_SEEN),
    Mistake(
        relative(end=lambda noise, below: noise / below),
        "`relative_error` is a ratio of variances: the root is missing.",
        "√(noise² / signal²).",
    ),
    Mistake(
        relative(below=lambda seen, noise: seen, end=lambda noise, below: noise / below),
        "`relative_error` is a ratio of variances, and the noise is still below the line.",
        "√(noise² / (seen² − noise²)).",
    ),
    Mistake(relative(noise=lambda maps: se(maps).mean() ** 2), *_ERRORS_AVERAGED),
    Mistake(
        lambda maps: (
            relative()(maps) * float(se(centred(maps)).mean() / se(centred(maps)).square().mean().sqrt())
        ),
        *_ERRORS_AVERAGED,
    ),
    Mistake(
        relative(noise=lambda maps: maps.std(dim=0).square().mean()),
        "`relative_error` takes the deviation of single runs for the noise; the mean map is √G times "
        "steadier.",
        "noise² is the mean of SE², and SE = s/√G.",
    ),
    Mistake(
        relative(noise=lambda maps: se(maps).square().sum()),
        "`relative_error` adds up SE² over the pixels; noise² is the *mean*, as seen² is.",
        "Divide both sums by H W, or none of them.",
    ),
    Mistake(
        relative(bring=lambda maps: maps - maps.mean(dim=0)),
        "`relative_error` takes off the mean over the *runs*, at each pixel: that is all there was to see.",
        "Each map's own mean, over its pixels: `maps.mean(dim=(1, 2), keepdim=True)`.",
    ),
    Mistake(
        relative(bring=lambda maps: maps, seen=lambda maps: maps.mean(dim=0).var(correction=0)), *_LEVELS
    ),
    Mistake(
        relative(
            bring=lambda maps: maps,
            seen=lambda maps: maps.mean(dim=0).var(correction=0),
            below=lambda seen, noise: seen,
        ),
        *_LEVELS,
    ),
    Mistake(
        relative(bring=lambda maps: maps),
        "`relative_error` takes the map's level for something to see: it says nothing, only differences do.",
        "`maps - maps.mean(dim=(1, 2), keepdim=True)`, before anything else.",
    ),
    Mistake(
        relative(seen=lambda maps: maps.mean(dim=0).var()),
        "`relative_error` takes the pixels for a sample: seen² is the plain variance, over the number of "
        "pixels.",
        "`mean.var(correction=0)`: these are all the pixels there are.",
    ),
    Mistake(
        relative(end=lambda noise, below: (below / noise).sqrt()),
        "`relative_error` is upside down: signal over noise.",
        "Noise over signal.",
    ),
    Mistake(
        relative(seen=lambda maps: maps.square().mean()),
        "`relative_error` takes seen² from single maps, which are noisier than their mean.",
        "seen² is the variance, over the pixels, of the *mean* map.",
    ),
    Mistake(
        lambda maps: float(se(centred(maps)).square().mean().sqrt() / maps.mean().abs()),
        "`relative_error` divides by the map's level; only the differences within a RISE map say anything.",
        "Divide by the deviation of the map over its pixels.",
    ),
]


def masks_needed(error: float, n_masks: int, wanted: float) -> int:
    return math.ceil(n_masks * (error / wanted) ** 2)


MASKS_NEEDED = [
    Mistake(
        lambda e, n, wanted: math.ceil(n * e / wanted),
        "`masks_needed` takes the error to fall like 1/N.",
        "It falls like 1/√N: square the ratio.",
    ),
    Mistake(
        lambda e, n, wanted: math.ceil(n * (wanted / e) ** 2),
        "`masks_needed` has the ratio upside down: fewer masks for a smaller error.",
        "(error / wanted)².",
    ),
    Mistake(
        lambda e, n, wanted: masks_needed(e, n, wanted) - n,
        "`masks_needed` says how many are *still* needed; in all is asked for.",
        "N · (error / wanted)².",
    ),
    Mistake(
        lambda e, n, wanted: (e / wanted) ** 2,
        "`masks_needed` gives the factor alone.",
        "Times the number of masks that gave `error`.",
    ),
    Mistake(
        lambda e, n, wanted: n * (e / wanted) ** 2,
        "`masks_needed` is not rounded: a fraction of a mask cannot be made.",
        "`math.ceil` gives the next whole number.",
    ),
    Mistake(
        lambda e, n, wanted: int(n * (e / wanted) ** 2),
        "`masks_needed` rounds down: the error is then still a little too large.",
        "`math.ceil` gives the next whole number.",
    ),
    Mistake(
        lambda e, n, wanted: round(n * (e / wanted) ** 2),
        "`masks_needed` rounds to the nearest whole number, which may be too few.",
        "`math.ceil` rounds up, `round` up or down.",
    ),
    Mistake(
        lambda e, n, wanted: int(n * (e / wanted) ** 2) + 1,
        "`masks_needed` rounds down and adds 1: one too many where the number is whole already.",
        "`math.ceil` leaves whole numbers as they are.",
    ),
    Mistake(
        lambda e, n, wanted: max(n, masks_needed(e, n, wanted)),
        "`masks_needed` never says fewer than were used; a larger error takes fewer.",
        "The same formula: it also says when you have done too much.",
    ),
]

MISTAKES = {
    "4.1": [KERNEL_WEIGHTS],
    "4.2": [MASKED_IMAGES],
    "4.3": [WEIGHTED_RIDGE],
    "4.4": [SOFT_MASK],
    "4.5": [RISE_MAP],
    "4.6": [EXACT_SHAPLEY],
    "4.7": [STANDARD_ERROR, RELATIVE_ERROR, MASKS_NEEDED],
}
