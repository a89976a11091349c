"""Checks of chapter 4, LIME and RISE: tiny images, classifiers and games whose answers are known exactly.

What people get wrong stands in ``ch04_mistakes.py``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..instruments import Steps
from .ch04_mistakes import (
    EXACT_SHAPLEY,
    KERNEL_WEIGHTS,
    MASKED_IMAGES,
    MASKS_NEEDED,
    RELATIVE_ERROR,
    RISE_MAP,
    SOFT_MASK,
    STANDARD_ERROR,
    WEIGHTED_RIDGE,
)
from .inputs import drawn, normal, uniform
from .judging import attempted, close, compare, expect, fail, numbers, tensor, then
from .mistakes import recognise
from .registry import exercise
from .side_effects import PeakMemory, left_alone

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


def _judge_words(said: Any, table: Mapping[str, tuple[Any, str]], choices: Sequence[Any], wrong: str) -> None:
    """Judges an answer in words: a dict whose values are to be chosen.

    ``table`` has the right choice, and why, by key; ``wrong`` says what ``{name}`` and ``{said}`` are not.
    """
    attempted(said)
    listed = " or ".join(repr(choice) for choice in choices)
    expect(
        isinstance(said, Mapping) and set(said) == set(table),
        f"The second answer is a dict with the {len(table)} keys of the stub.",
        f"Keep the stub's dict, and replace each `...` by {listed}.",
    )
    for name, (right, why) in table.items():
        told = said[name].strip().lower() if isinstance(said[name], str) else said[name]
        expect(
            getattr(told, "ndim", 0) == 0 and told in choices,  # numpy's and torch's bools are welcome
            f"`{name}`: {told!r} is none of the {len(choices)} answers.",
            f"Say {listed}.",
        )
        expect(told == right, wrong.format(name=name, said=told), why)


# ---- 4.1 ---------------------------------------------------------------------------------------------------
@exercise("4.1", "LIME's kernel weights")
def kernel_weights(answer) -> str:
    d, width = 8, 0.45
    centre = torch.tensor([True, True, False, True, False, True, True, False])
    Z = _bits(11, d, seed=41)
    Z[3], Z[6], Z[9] = centre, False, True  # the centre is not the first; nothing, and everything
    alike = [0, 4, 8]  # four shown, two of them with the centre
    Z[alike] = torch.tensor([[0, 3, 4, 7], [1, 2, 4, 5], [2, 5, 6, 7]])[..., None].eq(torch.arange(d)).any(1)
    distance = 1 - F.cosine_similarity(Z.double(), centre.double()[None])  # (11,)

    def kernel(width: float) -> Tensor:
        return (-distance.square() / (2 * width**2)).exp()

    right = kernel(width)
    with left_alone(Z=Z, centre=centre):
        value = answer(Z, centre, width)
    recognise(value, right, KERNEL_WEIGHTS, lambda other: other(Z, centre, width), tolerance=_TOLERANCE)
    value = _tensor(value, (11,))
    if not close(value, right, _TOLERANCE) and 0 < value[6] < 1:  # at distance 1: exp(-1 / 2w²)
        used = math.sqrt(-0.5 / math.log(float(value[6])))
        expect(
            not close(value, kernel(used), 1e-4),
            f"These are the weights of a width of {used:.3g}; the `width` given is {width}.",
            "D² is divided by the square of the argument `width`, and by nothing else.",
        )
    expect(
        abs(float(value[3]) - 1) < 1e-5,
        f"The sample that is the centre weighs {float(value[3]):.3g}. Its distance is 0, so its weight is 1.",
        "Print D for `centre` itself.",
    )
    expect(
        bool((value[alike] - value[alike].mean()).abs().max() < 1e-5),
        "Three samples show four superpixels each, two of them with the centre; they get the weights "
        + ", ".join(f"{float(v):.3g}" for v in value[alike])
        + ".",
        "The distance depends on how many are shown and shared, not on which: sum along each row, `dim=1`.",
    )
    compare(value, right, tolerance=_TOLERANCE, look="D = 1 − |z ∧ a| / √(|z| |a|) first, then √exp(−D²/w²).")
    narrow = _tensor(answer(Z, centre, 0.2), (11,))
    expect(
        not close(narrow, value, _TOLERANCE),
        f"The width 0.2 gives the same weights as {width}.",
        "Use the argument `width`.",
    )
    compare(narrow, kernel(0.2), tolerance=1e-4, look="Only `width` is another, 0.2: where is it used?")
    return "1 for the centre, and less the less is shared with it, whichever superpixels they are."


# ---- 4.2 ---------------------------------------------------------------------------------------------------
@exercise("4.2", "All the masked images at once")
def masked_images(answer) -> str:
    x, fill = uniform(2, 3, 6, 9, seed=42), 2 + uniform(2, 3, 6, 9, seed=43)
    row, column = torch.arange(6)[:, None], torch.arange(9)[None]
    segments = torch.stack([row // 2 + column // 4, row // 3 + column // 3])  # labels 0 to 4, and 0 to 3
    Z = _bits(12, 5, seed=44)
    Z[0], Z[4], Z[5] = torch.tensor([True, False, False, True, False]), True, False
    Z[7] = ~Z[6]
    given = {"x": x, "segments": segments, "Z": Z, "fill": fill}
    right = torch.stack([
        torch.stack([torch.where(z[labels], image, behind) for z in Z])
        for image, labels, behind in zip(x, segments, fill, strict=True)
    ])  # fmt: skip
    with left_alone(**given):
        value = answer(*given.values())
    recognise(value, right, MASKED_IMAGES, lambda other: other(*given.values()))
    value = _tensor(value, (2, 12, 3, 6, 9))
    for wanted, found, message, look in (
        (x, value[:, 4], "A sample that shows everything does not give back the image.", "the pixel of x"),
        (fill, value[:, 5], "A sample that shows nothing does not give the fill.", "the pixel of `fill`"),
    ):
        worst = int((found - wanted).abs().argmax())
        expect(
            close(found, wanted),
            f"{message} At one pixel you get {float(found.flatten()[worst]):.3g}, and "
            f"{float(wanted.flatten()[worst]):.3g} is right.",
            f"Take {look} as it is.",
        )
    expect(
        close(value[:, 6] + value[:, 7], x + fill),
        "A sample and its complement do not share the pixels: together they should be x + fill.",
        "Each pixel is shown in one of the two, and hidden in the other.",
    )
    compare(value, right, look="Pixel (h, w) of picture k is shown in image i if `Z[i, segments[k, h, w]]`.")
    _judge_loops(answer, given)
    return "every masked image of every picture from one look-up; no loop over samples or pictures."


def _judge_loops(answer: Callable, given: dict[str, Tensor]) -> None:
    """Stops where work in Python grows with the number of samples or of pictures."""
    x, segments, Z, fill = given.values()

    def steps(pictures: int, samples: int) -> int:
        repeat = [0] * pictures
        with Steps() as counted:
            answer(x[repeat], segments[repeat], Z[:samples], fill[repeat])
        return counted.count

    few = steps(1, 3)
    for what, numbers_, many in (("samples", (3, 12), steps(1, 12)), ("pictures", (1, 8), steps(8, 3))):
        expect(
            many <= few + 3,
            f"For {numbers_[0]} {what} your code takes {few} steps (its own lines, and torch operations), "
            "for "
            f"{numbers_[1]} it takes {many}: there is a loop over the {what}.",
            "Index with a whole tensor: `Z[:, segments]` looks up every pixel's bit at once.",
        )


# ---- 4.3 ---------------------------------------------------------------------------------------------------
def _solve(Z: Tensor, Y: Tensor, weights: Tensor, alpha: float) -> Tensor:
    """Coefficients and, last, the intercepts, (d + 1, K): stacked least squares, no normal equations."""
    d = Z.shape[1]
    root = weights.sqrt()[:, None]
    ridge = torch.diag(torch.tensor([alpha] * d + [0.0], dtype=Z.dtype).sqrt())
    rows = torch.cat([root * F.pad(Z, (0, 1), value=1.0), ridge])
    return torch.linalg.lstsq(rows, torch.cat([root * Y, Y.new_zeros(d + 1, Y.shape[1])])).solution


def _stacked(pair: tuple[Any, Any]) -> Tensor:
    return torch.cat([pair[0], pair[1].reshape(1, -1)])


def _coefficients_and_intercepts(value: Any, d: int, K: int) -> Tensor:
    """The reader's pair as one matrix (d + 1, K); else "not yet"."""
    pair = "`return coefficients, intercepts`"
    if isinstance(value, Tensor) and value.numel() == (d + 1) * K:
        fail(f"One tensor of {(d + 1) * K} numbers came back; two things are wanted.", f"{pair}.")
    expect(
        isinstance(value, Sequence) and len(value) == 2,
        "Two things are wanted: the coefficients and the intercepts.",
        f"{pair}.",
    )
    coefficients, intercepts = value
    if isinstance(coefficients, Tensor) and coefficients.numel() == K:
        fail("The intercepts came back first.", f"{pair}, in this order.")
    if isinstance(coefficients, Tensor) and tuple(coefficients.shape) == (K, d):
        fail(
            f"The coefficients are {(K, d)}: a row for each class; wanted is {(d, K)}, a row for each "
            "superpixel.",
            "Solve with the columns of Y on the right-hand side; no transpose is needed.",
        )
    coefficients = _tensor(coefficients, (d, K), "As its first result your function")
    last = numbers(intercepts, K, "As its second result your function")
    return torch.cat([coefficients, torch.tensor([last], dtype=torch.float64)])


@exercise("4.3", "Weighted ridge regression", in_parts=True)
def weighted_ridge(weighted_ridge, sums) -> str:
    n, d, K, alpha = 24, 5, 3, 0.7
    Z, beta, level = _bits(n, d, seed=46).double(), normal(d, K, seed=45) / 2, torch.tensor([1.3, 0.4, -0.6])
    level = level.double()
    Y = level + Z @ beta + 0.3 * normal(n, K, seed=47)
    weights = 0.05 + 2 * uniform(n, seed=48)

    def told(Z: Tensor, Y: Tensor, weights: Tensor, alpha: float) -> Tensor:
        return _coefficients_and_intercepts(weighted_ridge(Z, Y, weights, alpha), d, K)

    right = _solve(Z, Y, weights, alpha)
    with left_alone(Z=Z, Y=Y, weights=weights), Steps() as steps:
        value = told(Z, Y, weights, alpha)
    theirs = [name for name in steps.modules if name.startswith("sklearn")]
    expect(
        not theirs,
        f"scikit-learn was called (`{(theirs or [''])[0]}`). Here the fit itself is asked for.",
        "The equation above is one `torch.linalg.solve`.",
    )
    recognise(
        value,
        right,
        WEIGHTED_RIDGE,
        lambda other: _stacked(other(Z, Y, weights, alpha)),
        tolerance=_TOLERANCE,
    )
    flat = told(Z, level.expand(n, K).clone(), weights, alpha)
    expect(
        close(flat, torch.cat([0 * beta, level[None]]), _TOLERANCE),
        "Where every sample has the scores 1.3, 0.4 and −0.6, these should be the intercepts, and the rest "
        "0; "
        f"you get the intercepts {', '.join(f'{float(b):.3g}' for b in flat[-1])} and coefficients up to "
        f"{float(flat[:-1].abs().max()):.3g}.",
        "The intercepts are free: only the coefficients are penalised.",
    )
    exact = told(Z, level + Z @ beta, weights, 0.0)
    expect(
        close(exact, torch.cat([beta, level[None]]), _TOLERANCE),
        "Without a penalty, on scores that are exactly linear in Z, their coefficients do not come back; the "
        f"largest error is {float((exact[:-1] - beta).abs().max()):.3g}.",
        "Check the fit itself first: set α = 0, and compare Zβ + b with Y.",
    )
    compare(
        value,
        right,
        tolerance=_TOLERANCE,
        look="Weighted means; centre; solve (Zᵀ W Z + α I) β = Zᵀ W Y; b = ȳ − βᵀ z̄.",
    )
    repeated = torch.cat([torch.arange(n), torch.arange(n)[::2]])
    heavier = weights.clone()
    heavier[::2] *= 2
    compare(
        told(Z[repeated], Y[repeated], weights[repeated], alpha),
        _solve(Z, Y, heavier, alpha),
        tolerance=_TOLERANCE,
        look="Right for 24 samples, wrong for 36, of which 12 come twice: each counts like one with twice "
        "the "
        "weight. Is `n` fixed somewhere?",
    )
    then(
        lambda: _judge_words(
            sums, _SUMS, (0, 1), "Summed over all the classes, the {name} do not give {said}."
        ),
        "`weighted_ridge` is right. Now the dict `sums`: replace each `...` by 0 or 1.",
    )
    return "the plane that fits best where the weights are, for every class, in one solve."


_SUMS = {
    "coefficients": (
        0,
        "The fit is linear in the scores: the sum of the fits is the fit of the sum, which is 1 for every "
        "sample.",
    ),
    "intercepts": (1, "Which plane fits best where every score is 1? The intercept costs nothing."),
}


# ---- 4.4 ---------------------------------------------------------------------------------------------------
def _bilinear(bits: Tensor, shift: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The mask as a product of one-dimensional interpolations."""
    sides = []
    for start, length in zip(shift, size, strict=True):
        to, s = (len(bits) + 1) * math.ceil(length / len(bits)), len(bits)
        at = ((torch.arange(start, start + length).double() + 0.5) * s / to - 0.5).clamp(0, s - 1)
        sides.append((1 - (at[:, None] - torch.arange(s)).abs()).clamp_min(0))  # (length, s)
    return sides[0] @ bits.double() @ sides[1].T


@exercise("4.4", "A RISE mask")
def soft_mask(answer) -> str:
    size, s = (18, 27), 4  # cells of 5 × 7 pixels
    bits = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [1, 1, 0, 1], [0, 0, 1, 0]]).bool()

    def judge(shift: tuple[int, int], on: str = "") -> Tensor:
        right = _bilinear(bits, shift, size)
        with left_alone(bits=bits):
            value = answer(bits, shift, size)
        probe = f"{on}(You were given 4 × 4 bits, the shift {shift} and the size {size}"
        probe += f"; your mask is {tuple(value.shape)}.)" if isinstance(value, Tensor) else ".)"
        recognise(
            value, right, SOFT_MASK, lambda other: other(bits, shift, size), tolerance=_TOLERANCE, on=probe
        )
        return _tensor(value, size)

    shift = (1, 2)
    value = judge(shift)
    expect(
        0 <= value.min() and value.max() <= 1 + 1e-6,
        f"The mask runs from {float(value.min()):.3g} to {float(value.max()):.3g}; it should stay in [0, 1].",
        "Bilinear interpolation between 0 and 1 never leaves them.",
    )
    for state in (True, False):
        even = _tensor(answer(torch.full((s, s), state), shift, size), size)
        expect(
            close(even, torch.full(size, float(state))),
            f"If all bits are {state}, the mask should be {int(state)} everywhere; yours runs from "
            f"{float(even.min()):.3g} to {float(even.max()):.3g}.",
            "Interpolation of equal values gives that value; what else is done to the mask?",
        )
    expect(
        close(value + _tensor(answer(~bits, shift, size), size), torch.ones(size)),
        "The mask and that of the opposite bits do not add up to 1.",
        "Interpolation is linear in the bits: nothing may be scaled by the mask's own maximum.",
    )
    look = "Enlarge to (s + 1) cells a side; then cut H × W at (dy, dx)."
    compare(value, _bilinear(bits, shift, size), tolerance=_TOLERANCE, look=look)
    for other in ((4, 6), (0, 5), (3, 0)):
        moved = judge(other, on=f"Right for the shift {shift}, wrong for {other}. ")
        compare(
            moved,
            _bilinear(bits, other, size),
            tolerance=_TOLERANCE,
            look=f"Right for the shift {shift}, wrong for {other}: the cut starts at row dy, column dx.",
        )
    small, size_3 = bits[:3, :3].clone(), (12, 15)
    compare(
        _tensor(answer(small, (2, 3), size_3), size_3),
        _bilinear(small, (2, 3), size_3),
        tolerance=_TOLERANCE,
        look="Right for 4 × 4 bits, wrong for 3 × 3, the shift (2, 3) and the size (12, 15): what is fixed?",
    )
    return "soft-edged, in [0, 1], and movable by any shift within a cell."


# ---- 4.5 ---------------------------------------------------------------------------------------------------
def _tiny_classifier() -> nn.Sequential:
    """Four classes, sure of itself, float64; batch normalisation tells whether its mode was changed."""
    with drawn(7):
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 8, 4), nn.BatchNorm1d(4))
    return model.double().eval()


class _Passes:
    """A hook: how many images came at a time, and whether autograd was watching."""

    def __init__(self) -> None:
        self.counts, self.recorded = [], False

    def __call__(self, model: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> None:
        self.counts.append(len(logits))
        self.recorded = self.recorded or logits.requires_grad


class _MaskMaker:
    """``make_masks``: hands out masks by number, and watches how many are asked for at a time."""

    def __init__(self, masks: Tensor, most: int) -> None:
        self.masks, self.most, self.asked = masks, most, []

    def __call__(self, start: Any, stop: Any = None) -> Tensor:
        n, call = len(self.masks), f"`make_masks({start}, {stop})`"
        if not all(isinstance(v, int) or (isinstance(v, Tensor) and v.numel() == 1) for v in (start, stop)):
            fail(
                "`make_masks(start, stop)` was called with other things than two whole numbers.",
                "It makes the masks start to stop − 1.",
            )
        start, stop = int(start), int(stop)
        expect(
            0 <= start < stop,
            f"{call} was called: there is no mask between them.",
            "`for start in range(0, n_masks, batch_size)`.",
        )
        expect(
            stop - start <= self.most,
            f"{call} makes {stop - start} masks at once; `batch_size` is {self.most}.",
            "`for start in range(0, n_masks, batch_size)`: make, use and forget one chunk at a time.",
        )
        expect(
            stop <= n,
            f"{call} was called, and there are {n} masks: the last chunk is smaller.",
            "`min(start + batch_size, n_masks)`.",
        )
        self.asked += range(start, stop)
        return self.masks[start:stop].clone()


_CONSTANT = {
    "divided by the coverage": ("flat", "Put p_c = 0.8 into Σ p_c M / Σ M, and take it out of the sum."),
    "divided by N·q": (
        "follows the coverage",
        "Put p_c = 0.8 into Σ p_c M / (N q), and take it out of the sum. (q is how often a cell is kept.)",
    ),
}


@exercise("4.5", "RISE in chunks", in_parts=True)
def rise_map(rise_map, constant) -> str:
    model, x, target = _tiny_classifier(), uniform(1, 3, 6, 8, seed=51), 2
    n, batch, size = 26, 4, (6, 8)
    masks = uniform(n, *size, seed=52) * (uniform(n, *size, seed=53) < 0.6)
    masks[:, 2, 3] = 0  # a pixel that no mask keeps
    masks[:, 3, 5] = 0
    masks[[5, 14], 3, 5] = torch.tensor([0.3, 0.2]).double()  # and one that masks hardly keep
    passes, maker = _Passes(), _MaskMaker(masks, batch)
    hook = model.register_forward_hook(passes)
    with left_alone("`rise_map`", model=model, x=x):
        first = rise_map(model, x, target, maker, n, batch)
    hook.remove()
    with torch.no_grad():
        p = model(x * masks[:, None]).softmax(dim=1)[:, target]  # (n,)
        value = _judge_rise(first, p, masks, lambda other: other(model, x, target, _slices(masks), n, batch))
    expect(
        sorted(maker.asked) == list(range(n)),
        f"{len(maker.asked)} masks were made for a map of {n}: each is wanted once.",
        "One loop: make a chunk, score it, add to both sums.",
    )
    expect(
        max(passes.counts) <= batch,
        f"`batch_size` is {batch}, and {max(passes.counts)} images went through the network at once.",
        "One pass a chunk.",
    )
    expect(
        not (passes.recorded or first.requires_grad),
        "Autograd watches all the passes, and keeps what it would need for a backward pass that never comes.",
        "`with torch.no_grad():` around the loop, or `@torch.no_grad()` above the `def`.",
    )
    _judge_memory(lambda masks, n: rise_map(model, x, target, _slices(masks), n, batch), masks, batch, x)
    for other in (7, n):
        again = _tensor(rise_map(model, x, target, _MaskMaker(masks, other), n, other), size)
        compare(again, value, tolerance=_TOLERANCE, look=f"With batch_size={other} the map is another one.")
    then(
        lambda: _judge_words(
            constant,
            _CONSTANT,
            ("flat", "follows the coverage", "zero"),
            "For a classifier that says 0.8 to everything, the map {name} is not {said!r}.",
        ),
        "`rise_map` is right. Now the dict `constant`: replace each `...` by one of the three answers.",
    )
    return "the mean probability, weighted by how much each mask keeps of a pixel, in one chunk's memory."


def _slices(masks: Tensor) -> Callable[[int, int], Tensor]:
    return lambda start, stop: masks[start:stop].clone()


def _judge_rise(first: Any, p: Tensor, masks: Tensor, probe: Callable) -> Tensor:
    cover = masks.sum(dim=0)
    right = torch.einsum("n,nhw->hw", p, masks) / cover.where(cover > 0, torch.ones_like(cover))
    if (
        isinstance(first, Tensor) and first.shape == right.shape
    ):  # what is put where nothing is kept comes after
        kept = cover > 0
        recognise(first[kept], right[kept], RISE_MAP, lambda other: probe(other)[kept], tolerance=_TOLERANCE)
    recognise(first, right, RISE_MAP, probe, tolerance=_TOLERANCE)
    value = _tensor(first, tuple(cover.shape), "`rise_map`")
    expect(
        float(value[2, 3]) == 0,
        f"Where no mask keeps a pixel, the map of `rise_map` is {float(value[2, 3]):.3g}, and not 0.",
        "Divide where the coverage is above 0, and put 0 elsewhere.",
    )
    low, high = float(p.min()), float(p.max())
    seen = value[cover > 0]
    expect(
        low - 1e-6 <= float(seen.min()) and float(seen.max()) <= high + 1e-6,
        f"The values of `rise_map` run from {float(seen.min()):.3g} to {float(seen.max()):.3g}; they are "
        f"weighted means of probabilities between {low:.3g} and {high:.3g}.",
        "Σ p M / Σ M: the same masks above and below the line.",
    )
    compare(value, right, tolerance=_TOLERANCE, look="Σ p M over Σ M, both summed over every chunk.")
    return value


def _judge_memory(made: Callable[[Tensor, int], Tensor], masks: Tensor, batch: int, x: Tensor) -> None:
    """Stops where four chunks more keep more numbers in memory at once."""
    peaks = []
    for n in (3 * batch, 7 * batch):
        several = masks[torch.arange(n) % len(masks)]
        with PeakMemory(several, x) as memory:
            made(several, n)
        peaks.append(memory.peak // x.element_size())
    each, chunk = (peaks[1] - peaks[0]) / 4, batch * x.numel()
    what = "the masked images" if each > 0.9 * chunk else "a map a mask (the masks, or p times them)"
    expect(
        each < batch * x[0, 0].numel() / 4,
        f"Each further chunk leaves {each:.0f} more numbers in memory: `rise_map` keeps {what} of every "
        "chunk "
        "until the end.",
        "Keep two running sums (H, W), and nothing else: `total = total + …`, `coverage = coverage + …`.",
    )


# ---- 4.6 ---------------------------------------------------------------------------------------------------
class _Game:
    """``value``: the worth of each coalition; watches that each is asked for once."""

    def __init__(self, worth: Callable[[Tensor], Tensor], d: int) -> None:
        self.worth, self.d, self.asked = worth, d, []

    def __call__(self, coalitions: Any) -> Tensor:
        shape = tuple(coalitions.shape) if isinstance(coalitions, Tensor) else type(coalitions).__name__
        expect(
            isinstance(shape, tuple) and len(shape) == 2 and shape[1] == self.d,
            f"`value` wants coalitions as a tensor (m, {self.d}); it was given {shape}.",
            "One row a coalition, one column a player; a single coalition is a batch of one, `some[None]`.",
        )
        expect(
            bool(((coalitions == 0) | (coalitions == 1)).all()),
            "`value` was given something else than True and False (or 1 and 0).",
            "A row says who is in: `torch.bool`.",
        )
        members = coalitions.bool()
        self.asked += (members * 2 ** torch.arange(self.d)).sum(dim=1).tolist()
        return self.worth(members).clone()


def _by_orders(worth: Tensor, d: int) -> Tensor:
    """Shapley values as the mean over all orders of joining: independent of the weights' formula."""
    total = torch.zeros(d, dtype=torch.float64)
    for order in permutations(range(d)):
        S = 0
        for j in order:
            total[j] += worth[S | 1 << j] - worth[S]
            S |= 1 << j
    return total / math.factorial(d)


@exercise("4.6", "Exact Shapley values", in_parts=True)
def exact_shapley(exact_shapley, leave_one_out) -> str:
    d = 5
    table = normal(2**d, seed=64)  # v(∅) is not 0; values of both signs

    def random_game(S: Tensor) -> Tensor:
        return table[(S * 2 ** torch.arange(d)).sum(dim=1)]

    right, game = _by_orders(table, d), _Game(random_game, d)
    value = exact_shapley(game, d)
    recognise(value, right, EXACT_SHAPLEY, lambda other: other(random_game, d), tolerance=_TOLERANCE)
    value = _tensor(value, (d,), "`exact_shapley`")
    found = close(value, right, _TOLERANCE)
    if found:
        _asked_all(game, "this game, for the second time")
    else:
        again = _tensor(exact_shapley(_Game(random_game, d), d), (d,), "`exact_shapley`")
        expect(
            close(again, value, _TOLERANCE),
            "Asked again about the same game, `exact_shapley` gives other values: orders are drawn at "
            "random.",
            "A sample of orders only comes near. Here the sum is to be exact: over all coalitions S "
            "without j.",
        )
    gap = float(value.sum() - (table[-1] - table[0]))
    expect(
        abs(gap) < 1e-4,
        f"The values should sum to v(all) − v(∅) (efficiency); yours miss it by {gap:.3g}.",
        "Add up the weights of all S without j: they must make 1.",
    )
    _judge_axioms(exact_shapley, random_game, found)
    compare(value, right, tolerance=_TOLERANCE, look="φ_j = Σ |S|! (d − |S| − 1)! / d! (v(S ∪ j) − v(S)).")
    expect(
        len(game.asked) == len(set(game.asked)),
        f"The values are right; `value` was asked about {len(game.asked)} coalitions, and there are {2**d}. "
        "Each is a pass through the network.",
        "Ask for every coalition once, keep the answers, and look them up: with j, without j.",
    )
    then(
        lambda: _judge_words(leave_one_out, _AXIOMS, (True, False), "Leave-one-out: {name} is not {said}."),
        "`exact_shapley` is right. Now the dict `leave_one_out`: replace each `...` by True or False.",
    )
    return "each player's mean gain over all orders of joining, from 2^d questions."


def _asked_all(game: _Game, what: str) -> None:
    """Stops an answer that knows its formula where it did not ask for every coalition."""
    asked = len(set(game.asked))
    expect(
        asked == 2**game.d,
        f"Given {what}, `exact_shapley` asked `value` about {asked} of {2**game.d} coalitions, and took "
        "the rest "
        "from memory, which is of a game before.",
        "What you keep belongs to one call: make the table of worths inside the function.",
    )


def _judge_axioms(exact_shapley: Callable, random_game: Callable, found: bool) -> None:
    """Small games whose values follow from the axioms."""

    def told(worth: Callable[[Tensor], Tensor], d: int, what: str) -> Tensor:
        game = _Game(worth, d)
        values = _tensor(exact_shapley(game, d), (d,), "`exact_shapley`")
        if found:
            _asked_all(game, f"another game ({what})")
        return values

    pay = torch.tensor([3.0, -1.0, 0.5, 2.0]).double()
    additive = told(lambda S: 10 + S.double() @ pay, 4, "each player adds a fixed amount")
    expect(
        close(additive, pay, _TOLERANCE),
        "Where a player adds the same amount to every coalition, that is the Shapley value: 3, −1, 0.5, 2; "
        "you "
        f"get {_listed(additive)}.",
        "The weights of all S without j must make 1.",
    )
    gloves = told(_gloves, 3, "a left glove and two right ones")
    expect(
        close(gloves[1], gloves[2], _TOLERANCE),
        "Two players who do the same for every coalition get different values (symmetry): of three gloves, "
        "one "
        f"left and two right, you give {_listed(gloves)}.",
        "The weight may depend on the size of S only. (Some of the orders are not enough: all d! count.)",
    )
    dummy = told(lambda S: random_game(F.pad(S[:, 1:], (0, 1))), 5, "the first player changes nothing")
    expect(
        abs(float(dummy[0])) < 1e-5,
        f"A player who changes nothing gets the value {float(dummy[0]):.3g}, not 0 (dummy).",
        "Only differences v(S ∪ j) − v(S) of the same S may enter.",
    )
    compare(
        gloves,
        torch.tensor([2 / 3, 1 / 6, 1 / 6]),
        tolerance=_TOLERANCE,
        look="Three players, one with a left glove, two with a right one; a pair is worth 1.",
    )
    alone = told(lambda S: 2 + 5 * S[:, 0].double(), 1, "a single player")
    compare(
        alone,
        torch.tensor([5.0]),
        tolerance=_TOLERANCE,
        look="With one player, who adds 5, S = ∅ is the only coalition, and its weight is 1.",
    )


def _gloves(S: Tensor) -> Tensor:
    """Player 0 has a left glove, 1 and 2 a right one each; a pair is worth 1."""
    return (S[:, 0] & (S[:, 1] | S[:, 2])).double()


def _listed(values: Tensor) -> str:
    return ", ".join(f"{float(v):.3g}" for v in values)


_AXIOMS = {
    "efficiency": (
        False,
        "Of two players either is enough (OR): without one nothing is lost, 0 + 0, though v(all) is 1.",
    ),
    "symmetry": (True, "If i and j do the same for every coalition, they do it for everybody else as well."),
    "dummy": (True, "Who changes no coalition does not change the largest one."),
}


# ---- 4.7 ---------------------------------------------------------------------------------------------------
@exercise("4.7", "Bonus: when has it converged?", functions=3)
def convergence(standard_error, relative_error, masks_needed) -> str:
    G, size = 6, (5, 7)
    pattern = torch.arange(5).double()[:, None] + 0.5 * torch.arange(7).double()
    maps = 3 + 0.6 * pattern + 0.6 * normal(G, *size, seed=55) * (0.5 + uniform(*size, seed=56))
    right = maps.var(dim=0).div(G).sqrt()
    with left_alone("`standard_error`", maps=maps):
        value = standard_error(maps)
    recognise(value, right, STANDARD_ERROR, lambda other: other(maps), tolerance=_TOLERANCE)
    value = _tensor(value, size, "`standard_error`")
    compare(value, right, tolerance=_TOLERANCE, look="The sample deviation over the maps, over √G.")
    then(
        lambda: _judge_relative(
            relative_error, maps + 0.4 * normal(G, 1, 1, seed=57)
        ),  # each at its own level
        "`standard_error` is right. Now `relative_error`.",
    )
    then(lambda: _judge_needed(masks_needed), "Two are right. Now `masks_needed`.")
    return "how noisy a map is, how noisy for what it shows, and what it would cost to be surer."


def _number(given: Any) -> float:
    """What ``relative_error`` gave, as a number."""
    if isinstance(given, complex):
        fail("`relative_error` returned a complex number: the root of a negative one.", "Infinity, there.")
    if isinstance(given, Tensor) and given.numel() > 1:
        fail(
            f"`relative_error` returned shape {tuple(given.shape)}; one number is wanted.",
            "Average the *squares* of the standard errors over the pixels.",
        )
    try:
        number = float(given)
    except (TypeError, ValueError, RuntimeError):
        fail(f"`relative_error` returned `{given!r:.60}`; a number is wanted.", "Does it end in `return`?")
    expect(
        not math.isnan(number),
        "`relative_error` is NaN: the root of a negative number, or 0 / 0.",
        "Where the noise is at least what is seen, return `float('inf')` before you take the root.",
    )
    return number


def _judge_relative(relative_error: Callable, maps: Tensor) -> None:
    quiet = maps.mean(dim=0) + 0.1 * (maps - maps.mean(dim=0))  # where little noise tells what a lot hides

    def right(maps: Tensor) -> float:
        maps = maps - maps.mean(dim=(1, 2), keepdim=True)
        noise = maps.var(dim=0).mean() / len(maps)
        return float((noise / (maps.mean(dim=0).square().mean() - noise)).sqrt())

    def told(answer: Callable) -> Tensor:
        return torch.tensor([_number(answer(maps)), _number(answer(quiet))], dtype=torch.float64)

    with left_alone("`relative_error`", maps=maps):
        relative_error(maps)
    found, wanted = told(relative_error), torch.tensor([right(maps), right(quiet)], dtype=torch.float64)
    recognise(found, wanted, RELATIVE_ERROR, told, tolerance=1e-5)
    value = float(found[0])
    expect(
        math.inf not in found,
        "`relative_error` is infinite on maps that do have a signal, where "
        f"{float(wanted[found.isinf()][:1].sum()):.5g} is right.",
        "Infinity is for seen² ≤ noise²; print both.",
    )
    levels = torch.arange(float(len(maps))).double()[:, None, None]
    for changed, what in (
        (maps + levels, "adding to each map a number of its own"),
        (3 * maps, "multiplying every map by 3"),
    ):
        other = _number(relative_error(changed))
        expect(
            abs(other - value) < 1e-4 * abs(value) + 1e-9,
            f"`relative_error` changes by {what}, from {value:.4g} to {other:.4g}; it is noise over "
            "signal, and "
            "both stay in proportion.",
            "Level and unit must cancel: use deviations above and below the line.",
        )
    expect(
        close(found, wanted, 1e-4),
        f"`relative_error` gives {_listed(found)} for noisy and for quiet maps; {_listed(wanted)} is right.",
        "Centre each map; noise² = mean of SE²; seen² = mean of R̄²; √(noise² / (seen² − noise²)).",
    )
    noisy = normal(8, 5, 7, seed=62) * 4
    noisy = noisy - 0.8 * noisy.mean(dim=0)  # less is seen than the noise alone would bring
    value = _number(relative_error(noisy))
    expect(
        value == math.inf,
        f"On maps of noise alone, where less is seen than noise brings, `relative_error` is {value:.4g}, not "
        "infinite.",
        "If seen² − noise² is not above 0, there is no signal: `float('inf')`.",
    )


def _judge_needed(masks_needed: Callable) -> None:
    # a fraction above one half, one below it, none; and a larger error that takes fewer
    asked = {(0.5, 700, 0.1875): 4978, (0.5, 33, 0.2): 207, (0.5, 700, 0.25): 2800, (0.25, 400, 0.5): 100}

    def told(answer: Callable) -> Tensor:
        given = [numbers(answer(*probe), 1, "`masks_needed`")[0] for probe in asked]
        return torch.tensor(given, dtype=torch.float64)

    found, right = told(masks_needed), torch.tensor(list(asked.values()), dtype=torch.float64)
    if torch.equal(found, right):
        return
    place = int((found != right).nonzero()[0])
    probe, wanted = list(asked.items())[place]
    said = f"`masks_needed{probe}` gives {float(found[place]):.6g}; {wanted} is right."
    recognise(found, right, MASKS_NEEDED, told, tolerance=1e-9, on=said)
    fail(said, "e ∝ 1/√N, so N · (error / wanted)², rounded up to a whole number.")
