"""Checks of chapter 4, LIME and RISE: tiny images, classifiers and games whose answers are known exactly."""

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .inputs import Watched, normal, uniform
from .judging import Mistake, attempted, close, compare, expect, fail, numbers, tensor, then
from .registry import exercise

# Readers may work in float32 here and there; every mistake is farther off than this.
_TOLERANCE = 2e-5


def _bits(n: int, d: int, seed: int) -> Tensor:
    return uniform(n, d, seed=seed) < 0.5


def _tensor(value: Any, shape: Sequence[int] | None, what: str = "Your function") -> Tensor:
    """The value as a float64 tensor, whatever numbers it came with; else "not yet"."""
    value = tensor(value, shape, what)
    expect(
        not value.is_complex(), f"{what} returned complex numbers.", "Is there a root of a negative number?"
    )
    return value.to("cpu", torch.float64)


def _recognise(value: Tensor, right: Tensor, *mistakes: Mistake) -> None:
    """Stops with "not yet" if the value is wrong in a way that is known."""
    if close(value, right, _TOLERANCE):
        return
    for mistake in mistakes:
        if close(value, mistake.value, _TOLERANCE):
            fail(mistake.message, mistake.look)


class _Operations(TorchDispatchMode):
    """Counts the torch operations in a ``with`` block, and remembers how large a tensor they made."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.largest = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None) -> Any:
        made = function(*args, **(kwargs or {}))
        self.count += 1
        if isinstance(made, Tensor):
            # a broadcast view has many numbers and no memory of its own
            own = made.untyped_storage().nbytes() // made.element_size()
            self.largest = max(self.largest, min(made.numel(), own))
        return made


# ---- 4.1 ---------------------------------------------------------------------------------------------------
@exercise("4.1", "LIME's kernel weights")
def kernel_weights(answer) -> str:
    Z, d = _bits(11, 8, seed=41), 8
    Z[0] = torch.tensor([True, True, False, True, False, True, True, False])
    Z[3], Z[6] = True, False  # the whole image, and nothing; neither of them first
    Z[4], Z[8] = Z[0].flip(0), Z[0].roll(3)  # as many shown as in row 0, others
    width, before, shown = 0.45, Z.clone(), Z.double().sum(dim=1)
    cosine = (shown / d).sqrt()

    def kernel(distance: Tensor, width: float = width) -> Tensor:
        return (-distance.square() / width**2).exp().sqrt()

    def others(reference: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(Z.double(), reference.double()[None])

    right = kernel(1 - cosine)
    first = answer(Z, width)
    if isinstance(first, Tensor) and first.is_floating_point() and first.shape == right.shape:
        gone = first.isnan()
        expect(
            not (gone[6] and gone.sum() == 1),
            "The sample that shows nothing gets NaN: its cosine is 0 / 0.",
            "It has distance 1. The root of the share shown, √(|z| / d), is 0 there without any division.",
        )
    value = _tensor(first, (11,))
    expect(torch.equal(Z, before), "Your function changed the samples it was given.", "Work on a copy.")
    zero_row = right.clone()
    zero_row[6] = value[6]
    distance = 1 - cosine
    _recognise(
        value,
        right,
        Mistake(
            right.square(),
            "The root is missing: this is exp(−D²/w²), the kernel of a width √2 times smaller.",
            "The kernel of LIME's authors is the *square root* of the exponential.",
        ),
        Mistake(
            right.sqrt(),
            "There is a 2 too many: the root already halves the exponent.",
            "√exp(−D²/w²) is exp(−D²/(2w²)): take the root, or write the 2, not both.",
        ),
        *(
            Mistake(
                wrong,
                "The distance is not squared.",
                "D², then over w², then minus, exp and root.",
            )
            for wrong in ((-distance / width**2).exp().sqrt(), (-distance / width).exp().sqrt())
        ),
        Mistake(
            (-distance.square() / width).exp().sqrt(),
            "The width is not squared.",
            "D²/w²: the width has the unit of a distance.",
        ),
        Mistake(
            kernel(1 - shown / d),
            "The distance is the share of superpixels hidden, 1 − |z|/d, not the cosine distance.",
            "The cosine of z and the ones is |z| / (√|z| √d) = √(|z| / d).",
        ),
        *(
            Mistake(
                kernel(wrong),
                "The distance is Euclidean: it grows with the number of superpixels; the cosine distance "
                "does not.",
                "D = 1 − cos, between 0 and 1: one minus √(|z| / d).",
            )
            for wrong in ((d - shown).sqrt(), ((d - shown) / d).sqrt(), d - shown)
        ),
        Mistake(
            kernel(cosine),
            "The kernel is fed with the cosine, not with one minus it: the whole image weighs least.",
            "A similarity is no distance: D = 1 − cos.",
        ),
        Mistake(
            kernel(others(Z[0])),
            "The distance is measured from the first sample; here the first is not the whole image.",
            "Compare every row with ones: the image with everything shown.",
        ),
        Mistake(
            right / right.sum(),
            "The weights are divided by their sum: then the ridge penalty α means something else.",
            "Leave them as the kernel gives them: the whole image has weight 1.",
        ),
        Mistake(
            distance,
            "This is the distance itself, not yet the weight.",
            "Near the image the weight is 1, and far from it small: √exp(−D²/w²).",
        ),
    )
    if 0 < value[6] < 1:  # at distance 1: exp(-1 / 2w²)
        used = math.sqrt(-0.5 / math.log(float(value[6])))
        expect(
            close(value, right, _TOLERANCE) or not close(value, kernel(distance, used), 1e-4),
            f"These are the weights of a width of {used:.3g}; the `width` given is {width}.",
            "D² is divided by the square of the argument `width`, and by nothing else.",
        )
    expect(
        not (close(zero_row, value, _TOLERANCE) and not close(value, right, _TOLERANCE)),
        f"The sample that shows nothing weighs {float(value[6]):.3g}; at distance 1 that is "
        f"{float(right[6]):.3g}.",
        "Only there: cos is 0 / 0 where z has no ones, and counts as 0, so D = 1.",
    )
    expect(
        bool((value <= 1 + 1e-6).all()),
        "Some weights are larger than 1: far from the image they should fall.",
        "The exponent is negative: −D²/w².",
    )
    expect(
        abs(float(value[3]) - 1) < 1e-5,
        f"The whole image weighs {float(value[3]):.3g}. Its distance to itself is 0, so its weight is 1.",
        "Print D for a row of ones.",
    )
    same = value[[0, 4, 8]]
    expect(
        bool((same - same.mean()).abs().max() < 1e-5),
        "Three samples show equally many superpixels, and get different weights.",
        "The distance depends on how many are shown, not on which: sum along each row, `dim=1`.",
    )
    compare(value, right, tolerance=_TOLERANCE, look="D = 1 − √(|z| / d) first, then √exp(−D²/w²).")
    narrow = _tensor(answer(Z, 0.2), (11,))
    expect(
        not close(narrow, value, _TOLERANCE),
        "Another width gives the same weights.",
        "Use the argument `width`.",
    )
    compare(narrow, kernel(distance, 0.2), tolerance=1e-4, look="Only `width` has changed: where is it used?")
    return "1 for the whole image, and less the more is hidden, whichever superpixels they are."


# ---- 4.2 ---------------------------------------------------------------------------------------------------
@exercise("4.2", "All the masked images at once")
def masked_images(answer) -> str:
    x, fill, d = uniform(1, 3, 6, 9, seed=42), 2 + uniform(1, 3, 6, 9, seed=43), 5
    segments = torch.arange(6)[:, None] // 2 + torch.arange(9)[None] // 4  # (6, 9), labels 0 to 4
    Z = _bits(12, d, seed=44)
    Z[0], Z[4], Z[5] = torch.tensor([True, False, False, True, False]), True, False
    Z[7] = ~Z[6]
    given = x, segments, Z, fill
    before = [part.clone() for part in given]
    first = answer(*given)
    keep = Z[:, segments][:, None]  # (n, 1, H, W)
    right = torch.where(keep, x, fill)
    if isinstance(first, Tensor) and first.shape == (12, 6, 9):
        fail("Only the masks came back, (n, H, W): the pixels are missing.", "`torch.where(mask, x, fill)`.")
    if isinstance(first, Tensor) and first.dtype == torch.bool and first.dim() == 4:
        fail(
            "Only True and False came back: the pixels are missing.",
            "`torch.where(mask, x, fill)` picks pixels.",
        )
    value = _tensor(first, (12, 3, 6, 9))
    expect(
        all(torch.equal(a, b) for a, b in zip(given, before, strict=True)),
        "Your function changed the image, the samples or the fill it was given.",
        "`torch.where` makes a new tensor; `x[...] = …` writes into the old one.",
    )
    k = keep.double()
    average = torch.stack([
        torch.where(segments == s, (x * (segments == s)).sum((2, 3), keepdim=True) / (segments == s).sum(), 0)
        for s in range(d)
    ]).sum(dim=0)  # fmt: skip
    _recognise(
        value,
        right,
        Mistake(
            torch.where(keep, fill, x),
            "It is the wrong way round: what a sample shows is hidden, and the rest shown.",
            "True means *shown*: there the image, elsewhere the fill.",
        ),
        Mistake(
            k * x,
            "Hidden pixels are black: the fill is not used.",
            "Multiplying by the mask is a fill of 0. Where the mask is False, take the pixels of `fill`.",
        ),
        Mistake(
            k * x + fill,
            "The fill is added everywhere, also where the image is shown.",
            "Shown pixels come from x alone, hidden ones from the fill alone.",
        ),
        Mistake(
            torch.where(keep, x, x.mean((2, 3), keepdim=True).expand_as(x)),
            "Hidden pixels get the image's mean colour, not the fill that was given.",
            "Use the argument `fill`, (1, C, H, W), pixel by pixel.",
        ),
        Mistake(
            torch.where(keep, x, average),
            "Hidden pixels get their superpixel's mean colour, not the fill that was given.",
            "Use the argument `fill`, (1, C, H, W), pixel by pixel.",
        ),
        Mistake(
            torch.where(keep, x, fill.mean((2, 3), keepdim=True)),
            "Hidden pixels get the mean of the fill.",
            "`fill` has a value for each pixel: do not average it.",
        ),
        Mistake(
            torch.where(Z[:, segments - 1][:, None], x, fill),
            "The labels are off by one: superpixel 0 looks at the last column of Z.",
            "Labels start at 0, as the columns of Z do: column s belongs to label s.",
        ),
        Mistake(
            torch.where(Z[:1][:, segments][:, None], x, fill).expand(12, -1, -1, -1),
            "All the images are masked by the first sample.",
            "Row i of Z makes image i.",
        ),
        Mistake(
            torch.where(keep.flip(0), x, fill),
            "The images come in the wrong order.",
            "Row i of Z makes image i.",
        ),
    )
    expect(
        close(value[4], x[0]),
        "A sample that shows everything does not give back the image.",
        "Where the mask is True, take the pixel of x as it is.",
    )
    expect(
        close(value[5], fill[0]),
        "A sample that shows nothing does not give the fill.",
        "Where the mask is False, take the pixel of `fill` as it is.",
    )
    expect(
        close(value[6] + value[7], (x + fill)[0]),
        "A sample and its complement do not share the pixels: together they should be x + fill.",
        "Each pixel is shown in one of the two, and hidden in the other.",
    )
    compare(value, right, look="Pixel (h, w) of image i is shown if `Z[i, segments[h, w]]` is True.")
    counts = []
    for n in (3, 12):
        with _Operations() as operations:
            answer(x, segments, Z[:n], fill)
        counts.append(operations.count)
    expect(
        counts[1] <= counts[0] + 3,
        f"For 3 samples your code runs {counts[0]} torch operations, for 12 it runs {counts[1]}: there is a "
        "loop over the samples.",
        "Index with a whole tensor: `Z[:, segments]` looks up every pixel's bit in all samples at once.",
    )
    return "every masked image of a chunk from one look-up; no loop over the samples."


# ---- 4.3 ---------------------------------------------------------------------------------------------------
def _solve(Z: Tensor, y: Tensor, weights: Tensor, alpha: float, penalty: float = 0.0) -> Tensor:
    """Coefficients and, last, the intercept, (d + 1,): stacked least squares, no normal equations."""
    n, d = Z.shape
    design, root = torch.cat([Z, torch.ones(n, 1, dtype=Z.dtype)], 1), weights.sqrt()[:, None]
    ridge = torch.diag(torch.tensor([alpha] * d + [penalty], dtype=Z.dtype).sqrt())
    targets = torch.cat([root[:, 0] * y, y.new_zeros(d + 1)])
    return torch.linalg.lstsq(torch.cat([root * design, ridge]), targets[:, None]).solution[:, 0]


def _coefficients_and_intercept(value: Any, d: int) -> Tensor:
    """The reader's pair as one vector (d + 1,); else "not yet"."""
    if isinstance(value, Tensor) and value.numel() == d + 1:
        fail(
            f"One tensor of {d + 1} numbers came back.",
            "Return two things: `return coefficients, intercept`.",
        )
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        what = f"{len(value)} things" if isinstance(value, Sequence) else f"a `{type(value).__name__}`"
        fail(
            f"Two things are wanted, coefficients and intercept, and {what} came back.",
            "`return coefficients, intercept`.",
        )
    coefficients, intercept = value
    if isinstance(coefficients, Tensor) and coefficients.numel() == 1 and d > 1:
        fail("The intercept came back first.", "`return coefficients, intercept`, in this order.")
    coefficients = _tensor(coefficients, (d,), "As its first result your function")
    last = numbers(intercept, 1, "As its second result your function")
    return torch.cat([coefficients, torch.tensor(last, dtype=torch.float64)])


@exercise("4.3", "Weighted ridge regression")
def weighted_ridge(answer) -> str:
    n, d, alpha = 24, 5, 0.7
    Z, beta = _bits(n, d, seed=46).double(), torch.tensor([0.9, -0.4, 0.0, 0.3, -0.2]).double()
    y = 1.3 + Z @ beta + 0.3 * normal(n, seed=47)
    weights = 0.05 + 2 * uniform(n, seed=48)
    before = [part.clone() for part in (Z, y, weights)]

    def told(Z: Tensor, y: Tensor, weights: Tensor, alpha: float) -> Tensor:
        return _coefficients_and_intercept(answer(Z, y, weights, alpha), d)

    eye = torch.eye(d, dtype=Z.dtype)

    def centred(
        how: Tensor,
        left: Tensor,
        right: Tensor | None = None,
        over: Tensor | float | None = None,
        penalty: Tensor = eye,
    ) -> Tensor:
        """Normal equations, centred by the weights ``how``, weighted by others on each side."""
        share = how / (how.sum() if over is None else over)
        mean_z, mean_y = share @ Z, share @ y
        Zc, yc = Z - mean_z, y - mean_y
        gram = (Zc * left[:, None]).T @ Zc + alpha * penalty
        found = torch.linalg.solve(gram, (Zc * (left if right is None else right)[:, None]).T @ yc)
        return torch.cat([found, (mean_y - found @ mean_z)[None]])

    def with_last(vector: Tensor, last: Tensor) -> Tensor:
        return torch.cat([vector[:-1], last.reshape(1)])

    ones, total = torch.ones_like(weights), weights.sum()
    right = _solve(Z, y, weights, alpha)
    gram = (Z * weights[:, None]).T @ Z + alpha * eye
    mean_z, mean_y = weights @ Z / total, weights @ y / total
    half = torch.linalg.solve(gram, Z.T @ (weights * (y - mean_y)))
    through_zero = torch.linalg.solve(gram, Z.T @ (weights * y))
    value = told(Z, y, weights, alpha)
    expect(
        all(torch.equal(a, b) for a, b in zip((Z, y, weights), before, strict=True)),
        "Your function changed what it was given.",
        "`Z = Z - mean` makes a new tensor, `Z -= mean` does not.",
    )
    _recognise(
        value,
        right,
        Mistake(
            _solve(Z, y, weights, alpha, penalty=alpha),
            "The intercept is penalised too: adding 10 to every y would change the coefficients.",
            "Centre on the weighted means before you solve, or give the intercept's diagonal entry no α.",
        ),
        Mistake(
            _solve(Z, y, ones, alpha),
            "The weights are not used: every sample counts the same.",
            "The sum over i has the factor `weights[i]`: Zᵀ W Z and Zᵀ W y, centred.",
        ),
        Mistake(
            _solve(Z, y, weights**2, alpha),
            "The weights enter squared: rows were multiplied by w, and then the squares were summed.",
            "Multiply rows by √w, or write w once, between Zᵀ and Z.",
        ),
        Mistake(
            _solve(Z, y, weights.sqrt(), alpha),
            "The weights enter as their roots: √w belongs on both sides, so that w comes out.",
            "(Z·w)ᵀ Z has w once, and (Z·√w)ᵀ (Z·√w) likewise.",
        ),
        Mistake(
            _solve(Z, y, weights, 0.0),
            "The penalty is missing: this is weighted least squares.",
            "Add α to the diagonal of Zᵀ W Z: `+ alpha * torch.eye(d)`.",
        ),
        Mistake(
            _solve(Z, y, weights, alpha**2),
            "The penalty enters squared: rows α·I were appended, and then squared.",
            "α‖β‖² is the squared length of √α β.",
        ),
        *(
            Mistake(
                _solve(Z, y, weights, alpha * float(factor)),
                "The penalty is α times the number (or the total weight) of samples: a mean was penalised.",
                "The formula adds squares up: no average, and no weights divided by their sum.",
            )
            for factor in (n, total)
        ),
        Mistake(
            _solve(Z, y, weights, alpha / 2),
            "The penalty is half as large as it should be.",
            "The derivative of both terms has the factor 2, and it cancels.",
        ),
        Mistake(
            centred(ones, weights),
            "Z and y are centred on their plain means: that frees the intercept for equal weights only.",
            "Use the *weighted* means, Σ w z / Σ w and Σ w y / Σ w.",
        ),
        *(
            Mistake(
                centred(weights, weights, over=over),
                f"The weighted means are sums {how}: the weights do not sum to one, nor to n.",
                "Σ w z / Σ w: divide by `weights.sum()`, for Z and for y.",
            )
            for over, how in ((1.0, "divided by nothing"), (n, "divided by n"))
        ),
        *(
            Mistake(
                torch.cat([half, last.reshape(1)]),
                "y is centred, and Z is not: the plane's slopes must make up for that.",
                "Take off both weighted means, `Z - mean_z` and `y - mean_y`, before you solve.",
            )
            for last in (mean_y - half @ mean_z, mean_y)
        ),
        Mistake(
            centred(weights, weights.square()),
            "The means are right; in the matrix and on the right-hand side the weights enter squared.",
            "(Z·w)ᵀ (Z·w) has w twice. Write it once: (Z·w)ᵀ Z.",
        ),
        Mistake(
            centred(weights, weights.sqrt()),
            "The means are right; in the matrix and on the right-hand side the weights enter as roots.",
            "(Z·√w)ᵀ Z has only √w: write (Z·w)ᵀ Z, or √w on both sides.",
        ),
        Mistake(
            centred(weights, weights, penalty=torch.ones_like(eye)),
            "α is added to every entry of the matrix: a matrix of ones is not the identity.",
            "Add α to the diagonal only: `alpha * torch.eye(d)`.",
        ),
        Mistake(
            centred(weights, weights, ones),
            "The weights stand in the matrix, but not on the right-hand side.",
            "Zᵀ W Z + α I on the left, Zᵀ W y on the right: W twice.",
        ),
        Mistake(
            centred(weights, ones, weights),
            "The weights stand on the right-hand side, but not in the matrix.",
            "Zᵀ W Z + α I on the left, Zᵀ W y on the right: W twice.",
        ),
        *(
            Mistake(
                torch.cat([through_zero, last.reshape(1)]),
                "The plane is forced through zero: the coefficients were found without an intercept.",
                "Centre Z and y first; then solve; the intercept comes last, from the means.",
            )
            for last in (
                torch.zeros(1).double(),
                weights @ (y - Z @ through_zero) / total,
                weights @ y / total,
                y.mean(),
            )
        ),
        Mistake(
            with_last(right, weights @ y / total),
            "The intercept is the mean of y: that is the plane's height at the *mean* of Z, not at zero.",
            "b = ȳ − βᵀ z̄.",
        ),
        Mistake(
            with_last(right, weights @ (y + Z @ right[:-1]) / total),
            "The intercept has a plus: β times the mean of Z is added, not taken off.",
            "b = ȳ − βᵀ z̄.",
        ),
        Mistake(
            with_last(right, (y - Z @ right[:-1]).mean()),
            "The coefficients are right, and the intercept is made of plain means.",
            "b = ȳ − βᵀ z̄ with weighted means.",
        ),
    )
    flat = told(Z, torch.full_like(y, 0.8), weights, alpha)
    expect(
        close(flat, torch.tensor([0.0] * d + [0.8]), _TOLERANCE),
        "Where every y is 0.8, the intercept should be 0.8 and the rest 0; you get "
        f"{float(flat[-1]):.3g}, and coefficients up to {float(flat[:-1].abs().max()):.3g}.",
        "The intercept is free: only the coefficients are penalised.",
    )
    exact = told(Z, 1.3 + Z @ beta, weights, 0.0)
    expect(
        close(exact, torch.cat([beta, torch.tensor([1.3]).double()]), _TOLERANCE),
        "Without a penalty, on y that is exactly linear in Z, its coefficients do not come back.",
        "Check the fit itself first: set α = 0, and compare Zβ + b with y.",
    )
    compare(
        value,
        right,
        tolerance=_TOLERANCE,
        look="Weighted means; centre; solve (Zᵀ W Z + α I) β = Zᵀ W y; b = ȳ − βᵀ z̄.",
    )
    repeated = torch.cat([torch.arange(n), torch.arange(n)[::2]])
    heavier = weights.clone()
    heavier[::2] *= 2
    compare(
        told(Z[repeated], y[repeated], weights[repeated], alpha),
        _solve(Z, y, heavier, alpha),
        tolerance=_TOLERANCE,
        look="A sample that comes twice counts like one with twice the weight. Is `n` fixed somewhere?",
    )
    return "the plane that fits best where the weights are, with a free intercept, in one solve."


# ---- 4.4 ---------------------------------------------------------------------------------------------------
@exercise("4.4", "A RISE mask")
def soft_mask(answer) -> str:
    size, (height, width), s = (18, 27), (18, 27), 4
    bits, before, ch, cw = _bits(s, s, seed=62), _bits(s, s, seed=62), 5, 7  # ⌈18/4⌉ and ⌈27/4⌉

    def grown(to: tuple[int, int], mode: str = "bilinear", **how: Any) -> Tensor:
        how = how or ({} if mode == "nearest" else {"align_corners": False})
        return F.interpolate(bits.double()[None, None], to, mode=mode, **how)[0, 0]

    def cut(large: Tensor, dy: int, dx: int) -> Tensor:
        return large[dy : dy + height, dx : dx + width]

    whole = grown(((s + 1) * ch, (s + 1) * cw))  # (25, 35)
    dy, dx = 1, 2
    right = cut(whole, dy, dx)
    first = answer(bits, (dy, dx), size)
    if isinstance(first, Tensor) and tuple(first.shape) == tuple(whole.shape):
        fail(
            "The enlarged grid came back whole.",
            "Cut H rows from row dy on, and W columns from column dx on.",
        )
    if isinstance(first, Tensor) and first.dim() in (3, 4) and first.numel() == right.numel():
        fail(
            f"Your mask has shape {tuple(first.shape)}: `F.interpolate` wants two more dimensions, and they "
            "are still there.",
            "Take them off at the end: `[0, 0]`.",
        )
    if isinstance(first, Tensor) and tuple(first.shape) == size[::-1]:
        fail(
            f"Your mask is {size[::-1]}, and {size} is wanted: it lies on its side, H and W are exchanged.",
            "`size` is (H, W): first the rows, then the columns.",
        )
    if isinstance(first, Tensor) and first.shape == cut(torch.empty(whole.shape[::-1]), dy, dx).shape:
        fail(
            f"Your mask is {tuple(first.shape)}, not {size}: the enlarged grid lies on its side.",
            "`F.interpolate` takes (rows, columns): first what belongs to H, then what belongs to W.",
        )
    if isinstance(first, Tensor) and first.dim() == 2 and tuple(first.shape) != size:
        fail(
            f"Your mask is {tuple(first.shape)}, not {size}: the enlarged grid ends too early.",
            "One cell more than the image needs, each way: (s + 1) cells of ⌈H/s⌉ rows and ⌈W/s⌉ columns.",
        )
    value = _tensor(first, size)
    expect(torch.equal(bits, before), "Your function changed the bits it was given.", "Work on a copy.")
    direct, ends = grown(size), (whole.shape[0] - dy, whole.shape[1] - dx)
    _recognise(
        value,
        right,
        Mistake(
            cut(grown(tuple(whole.shape), align_corners=True), dy, dx),
            "The grid is stretched: `align_corners=True` puts the corner bits on the corner pixels.",
            "`align_corners=False`: a bit's value lies in the middle of its cell.",
        ),
        Mistake(
            cut(grown(tuple(whole.shape), "nearest"), dy, dx),
            "The mask has hard edges: nothing was interpolated.",
            '`mode="bilinear"`; `nearest` is what `F.interpolate` does unless told otherwise.',
        ),
        Mistake(
            cut(grown(tuple(whole.shape), "bicubic"), dy, dx),
            "The mask was enlarged by cubic interpolation, which leaves [0, 1].",
            '`mode="bilinear"`.',
        ),
        Mistake(
            cut(whole, dx, dy),
            "The shifts are exchanged: rows are moved by dx and columns by dy.",
            "`shift` is (dy, dx): first down, then to the right, as H comes before W.",
        ),
        Mistake(
            cut(whole, 0, 0),
            "The shift is not used: every mask has its cells in the same places.",
            "Start the cut at row dy and column dx.",
        ),
        Mistake(
            cut(grown(((s + 1) * (18 // s), (s + 1) * (27 // s))), dy, dx),
            "A cell is one pixel too small: H/s is rounded down.",
            "`math.ceil(H / s)`: s cells must cover the image.",
        ),
        Mistake(
            cut(grown((18 + ch, 27 + cw)), dy, dx),
            "The grid is enlarged to H + ⌈H/s⌉ rows, and not to (s + 1)⌈H/s⌉.",
            "(s + 1) cells of ⌈H/s⌉ rows: the same only where s divides H.",
        ),
        Mistake(
            cut(grown((8 * math.ceil(18 / 7), 8 * math.ceil(27 / 7))), dy, dx),
            f"The mask is made for a grid of 7 × 7 cells; here it is {s} × {s}.",
            "Take s from the bits: `s = len(bits)`.",
        ),
        *(
            Mistake(
                wrong,
                "The grid is enlarged to the image's own size: there is no room left for a shift.",
                "Enlarge to (s + 1) cells a side, and cut H × W out of that; rolling brings the far edge in.",
            )
            for wrong in (direct.roll((-dy, -dx), (0, 1)), direct.roll((dy, dx), (0, 1)), direct)
        ),
        Mistake(
            whole[ends[0] - height : ends[0], ends[1] - width : ends[1]],
            "The cut is counted from the lower right corner.",
            "`large[dy : dy + H, dx : dx + W]`.",
        ),
        Mistake(
            (right > 0.5).double(),
            "The mask holds only 0 and 1: it was rounded.",
            "Soft edges are wanted: keep the values between.",
        ),
        Mistake(
            1 - right,
            "The mask is its own complement: where a bit is True, the mask is 0.",
            "True means kept: 1.",
        ),
    )
    expect(
        0 <= value.min() and value.max() <= 1 + 1e-6,
        f"The mask runs from {float(value.min()):.3g} to {float(value.max()):.3g}; it should stay in [0, 1].",
        "Bilinear interpolation between 0 and 1 never leaves them.",
    )
    for state in (True, False):
        all_same = _tensor(answer(torch.full((s, s), state), (dy, dx), size), size)
        expect(
            close(all_same, torch.full(size, float(state))),
            f"If all bits are {state}, the mask should be {int(state)} everywhere, and it is not.",
            "Interpolation of equal values gives that value; what else is done to the mask?",
        )
    opposite = _tensor(answer(~bits, (dy, dx), size), size)
    expect(
        close(value + opposite, torch.ones(size)),
        "The mask and that of the opposite bits do not add up to 1.",
        "Interpolation is linear in the bits: nothing may be scaled by the mask's own maximum.",
    )
    compare(
        value,
        right,
        tolerance=_TOLERANCE,
        look="Enlarge to (s + 1) cells a side; then cut H × W at (dy, dx).",
    )
    for shift in ((4, 6), (0, 5), (3, 0)):
        compare(
            _tensor(answer(bits, shift, size), size),
            cut(whole, *shift),
            Mistake(
                cut(whole, *shift[::-1]),
                "The shifts are exchanged: rows are moved by dx and columns by dy.",
                "`shift` is (dy, dx).",
            ),
            tolerance=_TOLERANCE,
            look=f"Right for the shift (1, 2), wrong for {shift}: the cut starts at row dy, column dx.",
        )
    return "soft-edged, in [0, 1], and movable by any shift within a cell."


# ---- 4.5 ---------------------------------------------------------------------------------------------------
def _tiny_classifier() -> nn.Sequential:
    """Four classes, sure of itself, float64; no activation larger than the images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 8, 4)).double().eval()


class _MaskMaker:
    """``make_masks``: hands out masks by number, and watches how many are asked for and how many are kept."""

    def __init__(self, masks: Tensor, most: int) -> None:
        self.masks, self.most, self.asked = masks, most, []
        self.handed: list[weakref.ref] = []
        self.alive = 0

    def __call__(self, start: Any, stop: Any = None) -> Tensor:
        n, calls = len(self.masks), "`make_masks(start, stop)`"
        if not all(isinstance(v, int) or (isinstance(v, Tensor) and v.numel() == 1) for v in (start, stop)):
            fail(
                f"{calls} was called with other things than two whole numbers.",
                "It makes masks start to stop − 1.",
            )
        start, stop = int(start), int(stop)
        expect(
            0 <= start < stop,
            f"{calls} was called with {start} and {stop}: there is no mask between them.",
            "`for start in range(0, n_masks, batch_size)`.",
        )
        expect(
            stop - start <= self.most,
            f"{stop - start} masks were made at once; `batch_size` is {self.most}.",
            "`for start in range(0, n_masks, batch_size)`: make, use and forget one chunk at a time.",
        )
        expect(
            stop <= n,
            f"Masks up to number {stop} were asked for, and there are {n}: the last chunk is smaller.",
            "`min(start + batch_size, n_masks)`.",
        )
        self.alive = max(self.alive, sum(one() is not None for one in self.handed))
        made = self.masks[start:stop].clone()
        self.handed.append(weakref.ref(made))
        self.asked += range(start, stop)
        return made


_CONSTANT = {
    "divided by the coverage": (
        "flat",
        "Σ 0.8 M / Σ M is 0.8, whatever the masks: nothing matters to this classifier, and the map says so.",
    ),
    "divided by N·q": (
        "follows the coverage",
        "Σ 0.8 M / (N q) is 0.8 times the coverage over its expectation: chance draws a pattern.",
    ),
}


@exercise("4.5", "RISE in chunks", in_parts=True)
def rise_map(rise_map, constant) -> str:
    model, x, target = _tiny_classifier(), uniform(1, 3, 6, 8, seed=51), 2
    n, batch, size = 26, 4, (6, 8)
    masks = uniform(n, 6, 8, seed=52) * (uniform(n, 6, 8, seed=53) < 0.6)
    masks[:, 2, 3] = 0  # a pixel that no mask keeps
    masks[:, 3, 5] = 0
    masks[[5, 14], 3, 5] = torch.tensor([0.3, 0.2]).double()  # and one that masks hardly keep
    watched, maker, before = Watched(model), _MaskMaker(masks, batch), x.clone()
    with _Operations() as operations:
        first = rise_map(watched, x, target, maker, n, batch)
    if isinstance(first, Tensor) and first.is_floating_point() and first.shape == size:
        expect(
            not (first.isnan()[2, 3] and first.isnan().sum() == 1),
            "At a pixel that no mask keeps, the map is NaN: 0 / 0.",
            "There the map is 0: divide by the coverage where it is above 0, by 1 elsewhere.",
        )
    value = _tensor(first, size, "`rise_map`")
    expect(
        torch.equal(x, before), "`rise_map` changed the image it was given.", "`x * mask`, not `x *= mask`."
    )
    with torch.no_grad():
        _judge_rise(value, model, x, target, masks, batch)
    expect(
        sorted(maker.asked) == list(range(n)),
        f"{len(maker.asked)} masks were made for a map of {n}: each is wanted once.",
        "One loop: make a chunk, score it, add to both sums.",
    )
    expect(
        max(watched.counts) <= batch,
        f"`batch_size` is {batch}, and {max(watched.counts)} images went through the network at once.",
        "One pass a chunk.",
    )
    expect(
        not (watched.recorded or first.requires_grad),
        "Autograd watches all the passes, and keeps what it would need for a backward pass that never comes.",
        "`with torch.no_grad():` around the loop, or `@torch.no_grad()` above the `def`.",
    )
    expect(
        maker.alive <= 2,
        f"{maker.alive} chunks of masks were still in memory while the next was made.",
        "Keep two running sums (H, W), not the masks: `total = total + …`, `coverage = coverage + …`.",
    )
    chunk = batch * x.numel()
    expect(
        operations.largest <= max(chunk, n * 6 * 8 // 2),
        f"A tensor of {operations.largest} numbers was made; one chunk of masked images has {chunk}.",
        "Keep two running sums (H, W); nothing may grow with the number of masks.",
    )
    for other in (7, n):
        again = _tensor(rise_map(model, x, target, _MaskMaker(masks, other), n, other), size)
        compare(again, value, tolerance=_TOLERANCE, look=f"With batch_size={other} the map is another one.")
    then(
        lambda: _judge_constant(constant),
        "`rise_map` is right. Now the dict `constant`: replace each `...` by one of the three answers.",
    )
    return (
        "the mean probability, weighted by how much each mask keeps of a pixel, in the memory of one chunk."
    )


def _judge_rise(value: Tensor, model: nn.Module, x: Tensor, target: int, masks: Tensor, batch: int) -> None:
    n = len(masks)
    logits = model(x * masks[:, None])  # (n, classes)
    p = logits.softmax(dim=1)[:, target]
    cover = masks.sum(dim=0)

    def over(total: Tensor, below: Tensor) -> Tensor:
        return torch.where(cover > 0, total / below.where(below != 0, torch.ones_like(below)), 0)

    def added(scores: Tensor, kept: Tensor = masks) -> Tensor:
        return torch.einsum("n,nhw->hw", scores, kept)

    right, raw = over(added(p), cover), added(p)
    own = int(model(x).argmax())
    chunks = list(zip(p.split(batch), masks.split(batch), strict=True))
    per_chunk = [over(added(q, m), m.sum(dim=0)) for q, m in chunks]
    full = n // batch * batch
    through = torch.cat([part.softmax(dim=0)[:, target] for part in logits.split(batch)])
    hidden = 1 - masks
    p_hidden = model(x * hidden[:, None]).softmax(dim=1)[:, target]

    def hardened(hard: Tensor) -> list[Mistake]:
        """Masks made 0 and 1: where the image is seen through them, where pixels are counted, or both."""
        p_hard = model(x * hard[:, None]).softmax(dim=1)[:, target]
        seen = (
            "`rise_map` makes the masks 0 and 1 before it shows the image through them.",
            "Multiply by the soft mask as it is.",
        )
        counted = (
            "`rise_map` counts a pixel as wholly kept or not at all.",
            "A pixel counts by its mask's value, above the line and below it.",
        )
        both = (
            "`rise_map` makes the masks 0 and 1, and uses only those.",
            "RISE's masks are soft: multiply and count by their values as they are.",
        )
        return [
            Mistake(over(added(p_hard), cover), *seen),
            Mistake(over(added(p_hard, hard), hard.sum(dim=0)), *both),
            *(
                Mistake(over(added(p, above), below.sum(dim=0)), *counted)
                for above, below in ((hard, hard), (masks, hard), (hard, masks))
            ),
        ]

    _recognise(
        value,
        right,
        Mistake(
            over(added(logits[:, target]), cover),
            "`rise_map` adds up logits: they have no zero that means anything.",
            "RISE scores with the probability: `.softmax(dim=1)[:, target]`.",
        ),
        Mistake(
            over(added(through), cover),
            "The softmax of `rise_map` runs over the masks of a chunk: they compete with each other.",
            "Softmax over the classes, `dim=1`.",
        ),
        *(
            Mistake(
                over(added(other), cover),
                "`rise_map` scores with the class that wins, not with the one asked for.",
                "Column `target`, for every mask.",
            )
            for other in (logits.softmax(dim=1).amax(dim=1), logits.softmax(dim=1)[:, own])
        ),
        *(
            Mistake(
                raw / below,
                "`rise_map` divides by the number of masks (times q), as the paper does: a pixel that chance "
                "kept more often looks more important.",
                "Divide by what each pixel really got: Σ M, (H, W).",
            )
            for below in (n, n * 0.5, n * float(masks.mean()))
        ),
        Mistake(
            raw / p.sum(),
            "`rise_map` divides by the sum of the scores, not by the coverage.",
            "Below the line stands Σ M(λ), a number for each pixel.",
        ),
        Mistake(
            raw,
            "`rise_map` divides by nothing: the map is as large as the number of masks.",
            "Divide by the coverage, Σ M, at the end.",
        ),
        Mistake(
            over(added(p[:full], masks[:full]), masks[:full].sum(dim=0)),
            f"`rise_map` leaves out the last chunk: {n} masks are {n // batch} chunks of {batch} and one of "
            f"{n - full}.",
            "`range(0, n_masks, batch_size)` has a last, smaller chunk; integer division loses it.",
        ),
        *(
            Mistake(
                wrong,
                "`rise_map` divides each chunk by its own coverage: chunks count alike, whatever they kept.",
                "Two sums over all the chunks, and one division after the loop.",
            )
            for wrong in (torch.stack(per_chunk).mean(dim=0), torch.stack(per_chunk).sum(dim=0))
        ),
        Mistake(
            over(raw, chunks[-1][1].sum(dim=0)),
            "`rise_map` divides by the coverage of the last chunk alone.",
            "The coverage is summed over all the chunks, too: `coverage = coverage + …`.",
        ),
        Mistake(
            per_chunk[-1],
            "`rise_map` gives the last chunk's map: the sums begin again in each turn of the loop.",
            "Set both sums to 0 *before* the loop.",
        ),
        *(
            Mistake(
                wrong,
                "`rise_map` shows the network what the mask hides.",
                "`x * mask`: 1 means kept.",
            )
            for wrong in (over(added(p_hidden), cover), over(added(p_hidden, hidden), hidden.sum(dim=0)))
        ),
        Mistake(
            raw / cover.clamp_min(1),
            "`rise_map` raises every coverage below 1 to 1; a pixel that masks hardly keep gets too little.",
            "A coverage of 0.5 is a coverage: replace only 0, `torch.where(coverage > 0, coverage, 1)`.",
        ),
        *(mistake for hard in ((masks > 0.5).double(), (masks > 0).double()) for mistake in hardened(hard)),
        Mistake(
            over(added(p, masks.square()), cover),
            "`rise_map` multiplies the score by the mask twice.",
            "Σ p M over Σ M.",
        ),
    )
    low, high = float(p.min()), float(p.max())
    seen = value[cover > 0]
    expect(
        low - 1e-6 <= float(seen.min()) and float(seen.max()) <= high + 1e-6,
        f"The values of `rise_map` run from {float(seen.min()):.3g} to {float(seen.max()):.3g}; they are "
        f"weighted means of probabilities between {low:.3g} and {high:.3g}.",
        "Σ p M / Σ M: the same masks above and below the line.",
    )
    expect(
        float(value[2, 3]) == 0,
        "Where no mask keeps a pixel, the map of `rise_map` is not 0.",
        "Divide where the coverage is above 0, and put 0 elsewhere.",
    )
    compare(value, right, tolerance=_TOLERANCE, look="Σ p M over Σ M, both summed over every chunk.")


def _judge_constant(constant: Any) -> None:
    attempted(constant)
    expect(
        isinstance(constant, Mapping) and set(constant) == set(_CONSTANT),
        "The second answer is a dict with the two keys of the stub.",
        "Keep the stub's dict, and replace each `...` by one of the three answers.",
    )
    choices = ("flat", "follows the coverage", "zero")
    for name, (right, why) in _CONSTANT.items():
        said = str(constant[name]).strip().lower()
        expect(
            said in choices,
            f"`{name}`: {said!r} is none of the three answers.",
            "One of " + ", ".join(f'"{choice}"' for choice in choices) + ".",
        )
        expect(
            said == right,
            f"For a classifier that says 0.8 to everything, the map {name} is not {said!r}.",
            "Put p_c = 0.8 into the formula (not q, which is how often a cell is kept), and take it out of "
            "the sum. " + (why if said == "zero" else ""),
        )


# ---- 4.6 ---------------------------------------------------------------------------------------------------
class _Game:
    """``value``: the worth of each coalition; watches that each is asked for once."""

    def __init__(self, worth: Callable[[Tensor], Tensor], d: int) -> None:
        self.worth, self.d, self.asked = worth, d, []

    def __call__(self, coalitions: Any) -> Tensor:
        what = "`value` wants coalitions as a tensor (m, d)"
        expect(
            isinstance(coalitions, Tensor) and coalitions.dim() == 2 and coalitions.shape[1] == self.d,
            f"{what}, d = {self.d}; it was given "
            + (
                f"shape {tuple(coalitions.shape)}."
                if isinstance(coalitions, Tensor)
                else f"a {type(coalitions).__name__}."
            ),
            "One row a coalition, one column a player; a single coalition is a batch of one, `some[None]`.",
        )
        expect(
            bool(((coalitions == 0) | (coalitions == 1)).all()),
            "`value` was given something else than True and False (or 1 and 0).",
            "A row says who is in: `torch.bool`.",
        )
        members = coalitions.bool()
        powers = 2 ** torch.arange(self.d)
        self.asked += (members * powers).sum(dim=1).tolist()
        return self.worth(members)


def _all_coalitions(d: int) -> Tensor:
    return (torch.arange(2**d)[:, None] >> torch.arange(d)) % 2 == 1  # row i holds the bits of i


def _weighted_gains(worth: Tensor, d: int, weight: Callable[[int], float], before: int = 1) -> Tensor:
    """Σ over S without j of weight(|S|) · (v(S ∪ j) − before · v(S)), (d,); ``worth`` by coalition number."""
    found = []
    for j in range(d):
        without = [S for S in range(2**d) if not S >> j & 1]
        found.append(sum(weight(S.bit_count()) * (worth[S | 1 << j] - before * worth[S]) for S in without))
    return torch.stack([torch.as_tensor(v) for v in found])


def _by_orders(worth: Tensor, d: int) -> Tensor:
    """Shapley values as the mean over all orders of joining: independent of the weights' formula."""
    total = torch.zeros(d, dtype=torch.float64)
    for order in permutations(range(d)):
        S = 0
        for j in order:
            total[j] += worth[S | 1 << j] - worth[S]
            S |= 1 << j
    return total / math.factorial(d)


def _gloves(S: Tensor) -> Tensor:
    """Player 0 has a left glove, 1 and 2 a right one each; a pair is worth 1."""
    return (S[:, 0] & (S[:, 1] | S[:, 2])).double()


@exercise("4.6", "Exact Shapley values", in_parts=True)
def exact_shapley(exact_shapley, leave_one_out) -> str:
    d = 5
    table = normal(2**d, seed=54)  # v(∅) is not 0
    powers = 2 ** torch.arange(d)

    def random_game(S: Tensor) -> Tensor:
        return table[(S * powers).sum(dim=1)]

    def told(worth: Callable[[Tensor], Tensor], d: int) -> tuple[Tensor, _Game]:
        game = _Game(worth, d)
        return _tensor(exact_shapley(game, d), (d,), "`exact_shapley`"), game

    right = _by_orders(table, d)
    value, game = told(random_game, d)
    expect(
        close(value, right, _TOLERANCE) or close(told(random_game, d)[0], value, _TOLERANCE),
        "Asked again about the same game, `exact_shapley` gives other values: orders are drawn at random.",
        "A sample of orders only comes near. Here the sum is to be exact: over all coalitions S without j.",
    )
    everything = 2**d - 1
    single = table[2 ** torch.arange(d)]
    left_out = table[everything] - table[everything - 2 ** torch.arange(d)]
    f = math.factorial

    def gains(weight: Callable[[int], float]) -> Tensor:
        return _weighted_gains(table, d, weight)

    def gains_of(worth: Tensor) -> Tensor:
        return _weighted_gains(worth, d, lambda k: f(k) * f(d - k - 1) / f(d))

    shapley = gains_of(table)
    by_value = _weighted_gains(table, d, lambda k: f(k) * f(d - k - 1) / f(d), before=0)
    _recognise(
        value,
        right,
        Mistake(
            left_out,
            "These are the drops when one player leaves everybody: leave-one-out, not Shapley values.",
            "That is one term of the sum. Every coalition S without j has one.",
        ),
        Mistake(
            single - table[0],
            "These are the gains of each player alone: only S = ∅ was looked at.",
            "That is one term of the sum. Every coalition S without j has one.",
        ),
        Mistake(
            gains(lambda k: 1 / 2 ** (d - 1)),
            "All coalitions count the same: these are Banzhaf values, which do not sum to v(all) − v(∅).",
            "The weight is |S|! (d − |S| − 1)! / d!: each *size* of S counts the same, not each S.",
        ),
        Mistake(
            gains(lambda k: f(k) * f(d - k) / f(d)),
            "The weights are off by one: (d − |S|)! stands where (d − |S| − 1)! belongs.",
            "j itself is neither among the |S| before nor among the d − |S| − 1 after.",
        ),
        *(
            Mistake(
                gains(weight),
                "The weights are off by one: |S| counts j, who is not in S.",
                "S is the coalition *before* j joins.",
            )
            for weight in (
                lambda k: f(k + 1) * f(d - k - 2) / f(d) if k <= d - 2 else 0.0,
                lambda k: f(k + 1) * f(d - k - 1) / f(d),
            )
        ),
        Mistake(
            d * shapley,
            "The values are d times too large: divided by (d − 1)! in place of d!.",
            "Add up the weights of all S without j: they must make 1.",
        ),
        *(
            Mistake(
                gains(weight),
                "The weights have no factorials of the others: some sizes of S count too much.",
                "|S|! ways to come before j, (d − |S| − 1)! to come after, of d! orders in all.",
            )
            for weight in (
                lambda k: f(k) / f(d),
                lambda k: f(d - k - 1) / f(d),
                lambda k: 1 / math.comb(d, k) / d,
                lambda k: 1 / math.comb(d, k),
            )
        ),
        Mistake(
            -right,
            "The signs are turned round: v(S) − v(S ∪ j).",
            "What j *adds*: with j minus without.",
        ),
        Mistake(
            by_value,
            "v(S) is not taken off: a player gets the worth of all who came before.",
            "v(S ∪ j) − v(S).",
        ),
        Mistake(
            right.flip(0),
            "The players come in the reverse order.",
            "Column j of the coalitions is player j: does bit j of your numbering go to column j?",
        ),
        Mistake(
            gains_of(torch.cat([torch.zeros(1).double(), table[1:]])),
            "v(∅) is taken for 0: nobody may be worth something, too.",
            "Ask `value` for the empty coalition, as for every other: 2^d questions.",
        ),
        Mistake(
            shapley - (table[2 ** torch.arange(d)] - table[0]) / d,
            "The empty coalition is left out: each player's gain alone is missing.",
            "S may be empty: 2^(d − 1) coalitions for each j, ∅ among them.",
        ),
        Mistake(
            shapley - left_out / d,
            "The largest coalition is left out: S may be everybody but j.",
            "2^(d − 1) coalitions for each j, from ∅ to all others.",
        ),
    )
    gap = float(value.sum() - (table[everything] - table[0]))
    expect(
        abs(gap) < 1e-4,
        f"The values should sum to v(all) − v(∅) (efficiency); yours miss it by {gap:.3g}.",
        "Add up the weights of all S without j: they must make 1.",
    )
    pay = torch.tensor([3.0, -1.0, 0.5, 2.0]).double()
    additive, _ = told(lambda S: 10 + S.double() @ pay, 4)
    expect(
        close(additive, pay, _TOLERANCE),
        "Where a player adds the same amount to every coalition, that is the Shapley value; not yours.",
        "The weights of all S without j must make 1.",
    )
    gloves, _ = told(_gloves, 3)
    expect(
        close(gloves[1], gloves[2], _TOLERANCE),
        "Two players who do the same for every coalition get different values (symmetry).",
        "The weight may depend on the size of S only. (Some of the orders are not enough: all d! count.)",
    )
    dummy, _ = told(lambda S: random_game(F.pad(S[:, 1:], (0, 1))), 5)
    expect(
        abs(float(dummy[0])) < 1e-5,
        "A player who changes nothing gets a value other than 0 (dummy).",
        "Only differences v(S ∪ j) − v(S) of the same S may enter.",
    )
    compare(
        gloves,
        torch.tensor([2 / 3, 1 / 6, 1 / 6]),
        tolerance=_TOLERANCE,
        look="Three players: the glove game.",
    )
    compare(value, right, tolerance=_TOLERANCE, look="φ_j = Σ |S|! (d − |S| − 1)! / d! (v(S ∪ j) − v(S)).")
    alone, _ = told(lambda S: 2 + 5 * S[:, 0].double(), 1)
    compare(
        alone,
        torch.tensor([5.0]),
        tolerance=_TOLERANCE,
        look="With one player, S = ∅ alone, and its weight is 1.",
    )
    expect(
        len(game.asked) == len(set(game.asked)) and len(game.asked) <= 2**d,
        f"The values are right; `value` was asked about {len(game.asked)} coalitions, and there are {2**d}. "
        "Each is a pass through the network.",
        "Ask for every coalition once, keep the answers, and look them up: with j, without j.",
    )
    then(
        lambda: _judge_axioms(leave_one_out),
        "`exact_shapley` is right. Now the dict `leave_one_out`: replace each `...` by True or False.",
    )
    return "each player's mean gain over all orders of joining, from 2^d questions."


_AXIOMS = {
    "efficiency": (
        False,
        "Of two players either is enough (OR): without one nothing is lost, 0 + 0, though v(all) is 1.",
    ),
    "symmetry": (True, "If i and j do the same for every coalition, they do it for everybody else as well."),
    "dummy": (True, "Who changes no coalition does not change the largest one."),
}


def _judge_axioms(leave_one_out: Any) -> None:
    attempted(leave_one_out)
    expect(
        isinstance(leave_one_out, Mapping) and set(leave_one_out) == set(_AXIOMS),
        "The second answer is a dict with the three keys of the stub.",
        "Keep the stub's dict, and replace each `...` by True or False.",
    )
    for name, (right, why) in _AXIOMS.items():
        said = leave_one_out[name]
        expect(isinstance(said, bool), f"`{name}`: {said!r} is neither True nor False.", "True or False.")
        if said != right:
            what = "the dummy property" if name == "dummy" else name
            fail(f"Leave-one-out {'has' if right else 'lacks'} {what}, and you say the opposite.", why)


# ---- 4.7 ---------------------------------------------------------------------------------------------------
@exercise("4.7", "Bonus: when has it converged?", functions=3)
def convergence(standard_error, relative_error, masks_needed) -> str:
    G, size = 6, (5, 7)
    rows = torch.arange(5).double()[:, None] + 0.5 * torch.arange(7).double()
    maps = 3 + 0.2 * rows + 0.6 * normal(G, *size, seed=55) * (0.5 + uniform(*size, seed=56))
    before = maps.clone()
    right = maps.std(dim=0) / math.sqrt(G)
    value = _tensor(standard_error(maps), None, "`standard_error`")
    expect(
        tuple(value.shape) == size,
        f"`standard_error` returned shape {tuple(value.shape)}; one number a pixel is wanted, {size}.",
        "Take the deviation over the maps, `dim=0`, not over the pixels.",
    )
    expect(torch.equal(maps, before), "`standard_error` changed the maps.", "Work on a copy.")
    _recognise(
        value,
        right,
        Mistake(
            right * math.sqrt(G),
            "`standard_error` gives the deviation of *one* map, not of the mean of all.",
            "The mean of G maps is √G times steadier: divide by `G ** 0.5`.",
        ),
        Mistake(
            maps.std(dim=0, correction=0) / math.sqrt(G),
            "`standard_error` divides by G where G − 1 belongs: the mean was estimated from the same maps.",
            "`maps.std(dim=0)` divides by G − 1 unless told otherwise; numpy's does not.",
        ),
        Mistake(
            right * math.sqrt(G) / G,
            "`standard_error` divides the deviation by G, not by √G.",
            "Variances of independent maps add: the mean's variance is s²/G.",
        ),
        Mistake(
            (maps - maps.mean(dim=(1, 2), keepdim=True)).std(dim=0) / math.sqrt(G),
            "`standard_error` brings each map to the mean 0 first; here the maps are taken as they come.",
            "Centring belongs to `relative_error`: it hands `standard_error` the centred maps.",
        ),
        *(
            Mistake(wrong, "`standard_error` is a variance: the root is missing.", "s/√G, in the map's unit.")
            for wrong in (right.square(), right.square() * G)
        ),
    )
    compare(value, right, tolerance=_TOLERANCE, look="The sample deviation over the maps, over √G.")
    steady = _tensor(standard_error(maps[:1].expand(G, -1, -1).clone()), size, "`standard_error`")
    expect(
        float(steady.max()) < 1e-6,
        "Where all the maps are the same, `standard_error` is not 0.",
        "Only differences between the maps may enter.",
    )
    then(
        lambda: _judge_relative(relative_error, maps),
        "`standard_error` is right. Now `relative_error`.",
    )
    then(lambda: _judge_needed(masks_needed), "Two are right. Now `masks_needed`.")
    return "how noisy a map is, how noisy for what it shows, and what it would cost to be surer."


def _judge_relative(relative_error: Callable, maps: Tensor) -> None:
    G = len(maps)
    maps = maps + 0.4 * normal(G, 1, 1, seed=57)  # levels that differ from run to run
    centred = maps - maps.mean(dim=(1, 2), keepdim=True)
    mean, error = centred.mean(dim=0), centred.std(dim=0) / math.sqrt(G)
    with_level = float((maps.std(dim=0) / math.sqrt(G)).square().mean())

    def told(maps: Tensor) -> float:
        given = relative_error(maps)
        if isinstance(given, complex):
            fail(
                "`relative_error` returned a complex number: the root of a negative one.", "Infinity, there."
            )
        if isinstance(given, Tensor) and given.numel() > 1:
            fail(
                f"`relative_error` returned shape {tuple(given.shape)}; one number is wanted.",
                "Average the *squares* of the standard errors over the pixels.",
            )
        try:
            number = float(given)
        except (TypeError, ValueError, RuntimeError):
            fail(
                f"`relative_error` returned `{given!r:.60}`; a number is wanted.", "Does it end in `return`?"
            )
        expect(
            not math.isnan(number),
            "`relative_error` is NaN: the root of a negative number, or 0 / 0.",
            "Where the noise is at least what is seen, return `float('inf')` before you take the root.",
        )
        return number

    noise, seen, pixels = float(error.square().mean()), float(mean.var(correction=0)), mean.numel()
    signal = seen - noise
    right, value = math.sqrt(noise / signal), told(maps)
    expect(
        value != math.inf,
        "`relative_error` is infinite on maps that do have a signal: more is seen than noise alone brings.",
        "Is noise² made of the standard errors, s/√G (not of s itself)? Infinity is for seen² ≤ noise².",
    )
    of_single = float(centred.square().mean())
    for wrong, message, look in (
        (
            math.sqrt(noise / seen),
            "divides by everything that is seen: the noise is part of that.",
            "signal² = seen² − noise².",
        ),
        (
            noise / signal,
            "is a ratio of variances: the root is missing.",
            "√(noise² / signal²).",
        ),
        (
            noise / seen,
            "is a ratio of variances, and the noise is still below the line.",
            "√(noise² / (seen² − noise²)).",
        ),
        (
            float(error.mean()) / math.sqrt(signal),
            "averages the standard errors; their *squares* are averaged, and then the root is taken.",
            "noise² is the mean of SE² over the pixels.",
        ),
        (
            float(error.mean()) / math.sqrt(seen - float(error.mean()) ** 2),
            "averages the standard errors: noise² is the mean of their squares.",
            "Square first, then take the mean over the pixels.",
        ),
        *(
            (
                math.sqrt(with_level / below),
                "counts the runs' levels as noise: each map is to be brought to the mean 0 first.",
                "`maps - maps.mean(dim=(1, 2), keepdim=True)`, before SE is taken.",
            )
            for below in (seen - with_level, seen)
        ),
        (
            math.sqrt(with_level / (float(maps.mean(dim=0).square().mean()) - with_level)),
            "takes the map's level for something to see: it says nothing, only differences do.",
            "`maps - maps.mean(dim=(1, 2), keepdim=True)`, before anything else.",
        ),
        (
            math.sqrt(noise / (pixels / (pixels - 1) * seen - noise)),
            "takes the pixels for a sample: seen² is the plain variance, over the number of pixels.",
            "`mean.var(correction=0)`: these are all the pixels there are.",
        ),
        (math.sqrt(signal / noise), "is upside down: signal over noise.", "Noise over signal."),
        (
            math.sqrt(noise / (of_single - noise)),
            "takes seen² from single maps, which are noisier than their mean.",
            "seen² is the variance, over the pixels, of the *mean* map.",
        ),
        (
            math.sqrt(noise) / float(maps.mean().abs()),
            "divides by the map's level; only the differences within a RISE map say anything.",
            "Divide by the deviation of the map over its pixels.",
        ),
    ):
        if abs(value - wrong) < 1e-5 * abs(wrong) and abs(value - right) > 1e-5 * right:
            fail(f"`relative_error` {message}", look)
    levels = torch.arange(float(G)).double()[:, None, None]
    for changed, what in (
        (maps + levels, "adding to each map a number of its own"),
        (3 * maps, "multiplying every map by 3"),
    ):
        expect(
            abs(told(changed) - value) < 1e-4 * abs(value) + 1e-9,
            f"`relative_error` changes by {what}; it is noise over signal, and both stay in proportion.",
            "Level and unit must cancel: use deviations above and below the line.",
        )
    expect(
        abs(value - right) < 1e-4 * right,
        f"`relative_error` gives {value:.5g} for the test maps; {right:.5g} is right.",
        "Centre each map; noise² = mean of SE²; seen² = mean of R̄²; √(noise² / (seen² − noise²)).",
    )
    noisy = normal(8, 5, 7, seed=62) * 4
    noisy = noisy - 0.8 * noisy.mean(dim=0)  # less is seen than the noise alone would bring
    expect(
        told(noisy) == math.inf,
        "On maps of noise alone, where less is seen than noise brings, `relative_error` is not infinite.",
        "If seen² − noise² is not above 0, there is no signal: `float('inf')`.",
    )


def _judge_needed(masks_needed: Callable) -> None:
    def told(error: float, n: int, wanted: float) -> float:
        return numbers(masks_needed(error, n, wanted), 1, "`masks_needed`")[0]

    value, n = told(0.5, 700, 0.1875), 700  # (8/3)² · 700 = 4977.8
    ratio = 0.5 / 0.1875
    for wrong, message, look in (
        (n * ratio, "takes the error to fall like 1/N.", "It falls like 1/√N: square the ratio."),
        (n / ratio**2, "has the ratio upside down: fewer masks for a smaller error.", "(error / wanted)²."),
        (4978 - n, "says how many are *still* needed; in all is asked for.", "N · (error / wanted)²."),
        (ratio**2, "gives the factor alone.", "Times the number of masks that gave `error`."),
    ):
        if value in (wrong, math.ceil(wrong)):
            fail(f"`masks_needed` {message}", look)
    expect(
        not 4977 <= value < 4978,
        "`masks_needed` does not round up: with 4977 masks the error is still a little too large.",
        "`math.ceil` gives the next whole number.",
    )
    expect(
        value == 4978,
        f"`masks_needed(0.5, 700, 0.1875)` gives {value:.6g}; 4978 is right.",
        "e ∝ 1/√N, so N · (error / wanted)², rounded up to a whole number.",
    )
    expect(
        told(0.5, 33, 0.2) != 206,
        "`masks_needed` rounds to the nearest whole number: of 206.25 masks it makes 206, which are too few.",
        "`math.ceil` rounds up, `round` up or down.",
    )
    expect(
        told(0.5, 700, 0.25) == 2800,
        "Half the error takes four times the masks: 2800 from 700; `masks_needed` says something else.",
        "N · (error / wanted)².",
    )
    expect(
        told(0.25, 400, 0.5) == 100,
        "Where 400 masks give half the error wanted, 100 are enough; `masks_needed` says something else.",
        "The same formula: it also says when you have done too much.",
    )
