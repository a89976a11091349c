"""Passes for equal error: how many times the passes of one estimator another needs for the same error.

Methods that draw samples or take steps are judged by more than the time of a pass: ``passes_for_error``
measures an estimator's error against a converged reference, over its number of passes and over several cases
(seeds, or images where nothing is random), and reads from two such curves how many passes each needs for one
error.

A new comparison is one ``Row`` in one of the functions of ``ROWS``; a new estimator is one more entry in a
row's ``estimators``, a function ``(passes, case) -> map``. The first of a row is the one that others are held
against.

LIME and KernelSHAP see the network through its values on all 2^d sets of superpixels, computed once
(``tabulated``): the game is the real network's, the reference is exact, and samples cost next to nothing.
"""

import contextlib
import io
import math
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from xai_lib import integrated_gradients, lime_fit, load_model, load_photo, shapes, shapley_fit, smooth_grad

Estimator = Callable[[int, int], Tensor]  # passes and the number of the case -> the map
Distance = Callable[[Tensor, Tensor], float]  # of an estimate from its reference
LEVELS, RESAMPLES = 5, 200


# ------------------------------------------------------------------------------------------------ the harness


def distance(estimate: Tensor, reference: Tensor) -> float:
    """The distance of two maps relative to the size of the second."""
    return ((estimate - reference).norm() / reference.norm()).item()


class ErrorCurve(NamedTuple):
    """Errors (cases, counts) after each number of passes."""

    passes: tuple[int, ...]
    errors: Tensor

    def rms(self) -> Tensor:
        return self.errors.square().mean(0).sqrt()  # (counts,)

    def resampled(self, cases: Tensor) -> "ErrorCurve":
        return self._replace(errors=self.errors[cases])

    def passes_at(self, error: float) -> tuple[float, bool]:
        """Passes for an error, and whether that error lies outside what was measured.

        Interpolated between the logarithms of the least error so far; outside continued with the slope of the
        whole curve (of a Monte Carlo estimator if it has none), from the nearer end.
        """
        x, y = np.log(self.passes), np.log(self.rms().clamp(min=1e-12).cummin(0).values.numpy())
        wanted = math.log(error)
        if y[-1] <= wanted <= y[0]:
            return math.exp(np.interp(-wanted, -y, x)), False
        slope = min(np.polyfit(x, y, 1)[0], -0.1) if len(x) > 1 else -0.5
        end = 0 if wanted > y[0] else -1
        return math.exp(x[end] + (wanted - y[end]) / slope), True


class Factor(NamedTuple):
    """Passes of one estimator over those of another, at equal error."""

    value: float
    quartiles: tuple[float, float]  # over resampled cases
    extrapolated: bool  # whether no error was reached by both


def passes_for_error(
    estimator: Estimator,
    reference: Tensor | Callable[[int], Tensor],
    passes: tuple[int, ...],
    cases: int,
    *,
    against: ErrorCurve | None = None,
    error: Distance = distance,
    level: float | None = None,
) -> tuple[ErrorCurve, Factor | None]:
    """An estimator's error over its passes, and its passes for equal error over those of another.

    Args:
        estimator: ``(passes, case) -> map``; the case is a seed, or the number of an image.
        reference: the converged map, one for all cases, or a function of the case.
        passes: at how many passes the error is taken, in ascending order.
        cases: how many.
        against: the curve of the other estimator, over the same cases; None for the curve alone.
        error: of an estimate, given its reference; the curve is its root mean square over the cases.
        level: the error at which passes are compared; None for the geometric mean over the errors that both
            curves reach.
    """
    errors = torch.zeros(cases, len(passes))
    for case in range(cases):
        truth = reference if isinstance(reference, Tensor) else reference(case)
        for i, n in enumerate(passes):
            errors[case, i] = error(estimator(n, case), truth)
    curve = ErrorCurve(tuple(passes), errors)
    return curve, None if against is None else factor(curve, against, level)


def factor(curve: ErrorCurve, against: ErrorCurve, level: float | None = None) -> Factor:
    """Passes of the first over those of the second at equal error, with its spread over the cases."""
    value, extrapolated = _ratio_of_passes(curve, against, level)
    draws = torch.Generator().manual_seed(0)
    ratios = []
    for _ in range(RESAMPLES):
        cases = torch.randint(len(curve.errors), (len(curve.errors),), generator=draws)
        ratios.append(_ratio_of_passes(curve.resampled(cases), against.resampled(cases), level)[0])
    low, high = np.quantile(ratios, [0.25, 0.75])
    return Factor(value, (float(low), float(high)), extrapolated)


def _ratio_of_passes(one: ErrorCurve, other: ErrorCurve, level: float | None) -> tuple[float, bool]:
    if level is None:
        spans = [curve.rms().clamp(min=1e-12).cummin(0).values for curve in (one, other)]
        low, high = max(e[-1].item() for e in spans), min(e[0].item() for e in spans)
        # Curves that share no error are compared in the middle of the gap between them.
        levels = np.geomspace(low, high, LEVELS) if low < high else [math.sqrt(low * high)]
    else:
        levels = [level]
    pairs = [(one.passes_at(e), other.passes_at(e)) for e in levels]
    mean = np.mean([math.log(n / m) for (n, _), (m, _) in pairs])
    # The ends of the common span are measured, up to rounding.
    outside = (level is not None or len(levels) == 1) and any(far for pair in pairs for _, far in pair)
    return math.exp(mean), outside


class Row(NamedTuple):
    """Estimators of the same map; the first is the one that others are held against."""

    method: str
    setting: str
    passes: tuple[int, ...]
    cases: int
    reference: Tensor | Callable[[int], Tensor]
    estimators: dict[str, Estimator]
    error: Distance = distance
    level: float | None = None


def equal_error(device: torch.device, quick: bool = False, say: Callable[[str], None] = print) -> list[dict]:
    """Every row, measured in full precision; an estimator whose library is missing is named."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return [measured(row, say) for make in ROWS for row in make(device, quick)]


def measured(row: Row, say: Callable[[str], None] = print) -> dict:
    first, results = None, {}
    for name, estimator in row.estimators.items():
        start = time.monotonic()
        try:
            with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # progress bars and warnings of peers
                curve, times = passes_for_error(
                    estimator,
                    row.reference,
                    row.passes,
                    row.cases,
                    against=first,
                    error=row.error,
                    level=row.level,
                )
        except ImportError as error:
            results[name] = {"not_installed": error.name or str(error)}
            continue
        first = first or curve
        results[name] = {"errors": [round(e, 5) for e in curve.rms().tolist()]}
        if row.level is not None:
            results[name]["passes_at_level"] = round(curve.passes_at(row.level)[0], 1)
        if times is not None:
            results[name] |= {
                "factor": round(times.value, 3),
                "quartiles": [round(q, 3) for q in times.quartiles],
                "extrapolated": times.extrapolated,
            }
        text = f", {times.value:.2f} × the passes" if times else ""
        seconds = time.monotonic() - start
        say(f"{row.method}, {row.setting}, {name}: error {curve.rms()[-1]:.3g}{text} ({seconds:.0f} s)")
    facts = {"method": row.method, "setting": row.setting, "passes": list(row.passes), "cases": row.cases}
    return {**facts, "level": row.level, "estimators": results}


# --------------------------------------------------------------------------------------------------- the rows


def smooth_grad_rows(device: torch.device, quick: bool) -> list[Row]:
    """The mean of the first n gradients, against that of many more."""
    cuda = device.type == "cuda"
    passes, seeds, many = ((8, 16), 2, 64) if quick else ((8, 16, 32, 64), 8 if cuda else 4, 2048)
    model = load_model("efficientnet_lite0", device=device)
    return [_smooth_grad_row(model, photo, passes, seeds, many) for photo in _photos(device, quick)]


def _smooth_grad_row(model: nn.Module, photo: str, passes: tuple[int, ...], seeds: int, many: int) -> Row:
    x, target = _pictured(model, photo)

    def seeded(case: int) -> torch.Generator:
        return torch.Generator(x.device).manual_seed(case)

    def ours(n: int, case: int) -> Tensor:
        return smooth_grad(model, x, target, n_samples=n, generator=seeded(case))

    def captum(n: int, case: int) -> Tensor:
        from captum.attr import NoiseTunnel, Saliency

        torch.manual_seed(case)
        spread = 0.15 * (x.max() - x.min()).item()
        return NoiseTunnel(Saliency(model)).attribute(
            x, nt_samples=n, nt_samples_batch_size=_chunk(x), stdevs=spread, target=target, abs=False
        )

    converged = smooth_grad(model, x, target, n_samples=many, generator=seeded(1000))
    return Row(
        "smooth_grad",
        f"efficientnet_lite0, {photo}; reference: {many} samples",
        passes,
        seeds,
        converged,
        {"xai_lib": ours, "captum NoiseTunnel": captum},
    )


def integrated_gradients_rows(device: torch.device, quick: bool) -> list[Row]:
    """Points on the path for a completeness gap of one percent: the cases are images, nothing is random."""
    model, passes = load_model("small_gap", device=device), (8, 16) if quick else (8, 16, 32, 64, 128, 256)
    pictures = shapes(8, seed=0).images.to(device)
    rows = [_integrated_gradients_row(model, pictures, passes, "small_gap, 8 drawn shapes")]
    if device.type == "cuda" and not quick:
        model = load_model("efficientnet_lite0", device=device)
        pictures = torch.cat([load_photo(name) for name in ("cat", "coffee")]).to(device)
        rows.append(
            _integrated_gradients_row(
                model, pictures, (*passes, 512, 1024), "efficientnet_lite0, cat and coffee"
            )
        )
    return rows


def _integrated_gradients_row(model: nn.Module, x: Tensor, passes: tuple[int, ...], setting: str) -> Row:
    with torch.no_grad():
        logits, black = model(x), model(torch.zeros_like(x[:1]))
    target = logits.argmax(1)
    change = logits.gather(1, target[:, None])[:, 0] - black[0, target]  # (N,)

    def ours(n: int, case: int) -> Tensor:
        return integrated_gradients(model, x[case : case + 1], int(target[case]), n_steps=n)

    def captum(rule: str) -> Estimator:
        def estimate(n: int, case: int) -> Tensor:
            from captum.attr import IntegratedGradients

            return IntegratedGradients(model).attribute(
                x[case : case + 1],
                target=int(target[case]),
                n_steps=n,
                method=rule,
                internal_batch_size=_chunk(x),
            )

        return estimate

    return Row(
        "integrated_gradients",
        f"{setting}; passes for a completeness gap of 1 %",
        passes,
        len(x),
        lambda case: change[case],
        {
            "xai_lib": ours,
            "captum, gausslegendre": captum("gausslegendre"),
            "captum, riemann_trapezoid": captum("riemann_trapezoid"),
            "captum, riemann_middle": captum("riemann_middle"),
        },
        error=lambda shares, whole: ((shares.sum() - whole).abs() / whole.abs()).item(),
        level=0.01,
    )


class Game(NamedTuple):
    """An image of d pixels that stand for d superpixels, and a model that knows the value of every set."""

    model: nn.Module
    x: Tensor  # (1, 3, 1, d), ones: everything shown; 0 hides
    segments: Tensor  # (1, d)
    values: Tensor  # (2^d,), float64: the probability with superpixel j shown where bit j is 1


class Tabulated(nn.Module):
    """Logits of two classes, of which the first has the tabulated probability."""

    def __init__(self, values: Tensor, d: int) -> None:
        super().__init__()
        p = values.float().clamp(1e-7, 1 - 1e-7)
        self.register_buffer("logits", torch.stack([p, 1 - p], 1).log())
        self.register_buffer("places", 2 ** torch.arange(d, device=values.device))

    def forward(self, x: Tensor) -> Tensor:
        shown = x[:, 0].flatten(1) > 0.5  # (b, d)
        return self.logits[(shown * self.places).sum(1)]


@torch.no_grad()
def tabulated(model: nn.Module, x: Tensor, target: int, rows: int, columns: int) -> Game:
    """The class's probability for every set of ``rows`` × ``columns`` rectangles; the others are black."""
    d = rows * columns
    grid = [
        torch.arange(n, device=x.device) * k // n for n, k in zip(x.shape[-2:], (rows, columns), strict=True)
    ]
    segments = grid[0][:, None] * columns + grid[1]  # (H, W)
    bits = (torch.arange(2**d, device=x.device)[:, None] >> torch.arange(d, device=x.device)) % 2  # (2^d, d)
    chunks = bits.to(x.dtype).split(256 if x.device.type == "cuda" else 16)
    values = torch.cat([model(x * part[:, segments][:, None]).softmax(1)[:, target] for part in chunks])
    toy = torch.ones(1, 3, 1, d, device=x.device)
    pixels = torch.arange(d, device=x.device)[None]
    return Game(Tabulated(values, d).eval(), toy, pixels, values.double())


def shapley_rows(device: torch.device, quick: bool) -> list[Row]:
    """Shapley values, against the definition over all sets."""
    return [_shapley_row(*game, quick) for game in _games(device, quick)]


def _shapley_row(setting: str, game: Game, quick: bool) -> Row:
    model, x, segments, values = game
    passes = (64, 128) if quick else (64, 128, 256, 512, 1024)

    def ours(**options) -> Estimator:
        def estimate(n: int, case: int) -> Tensor:
            draws = torch.Generator(x.device).manual_seed(case)
            fit = shapley_fit(
                model, x, 0, segments=segments, n_samples=n, fill=0.0, generator=draws, **options
            )
            return fit.values[0]

        return estimate

    def captum(n: int, case: int) -> Tensor:
        from captum.attr import KernelShap

        torch.manual_seed(case)
        return _captum_map(KernelShap(_Probability(model)), game, n)

    return Row(
        "shapley",
        f"{setting}; reference: all sets",
        passes,
        2 if quick else 8,
        exact_shapley(values),
        {"xai_lib": ours(), "xai_lib, no pairs": ours(paired=False), "captum KernelShap": captum},
    )


def exact_shapley(values: Tensor) -> Tensor:
    """Shapley values (d,) by their definition, from the values (2^d,) of all sets."""
    d = len(values).bit_length() - 1
    sets = torch.arange(len(values), device=values.device)
    size = sum((sets >> j) % 2 for j in range(d))
    weight = torch.tensor(
        [math.factorial(k) * math.factorial(d - k - 1) / math.factorial(d) for k in range(d)],
        dtype=values.dtype,
        device=values.device,
    )
    shares = []
    for j in range(d):
        without = sets[(sets >> j) % 2 == 0]
        shares.append((weight[size[without]] * (values[without + 2**j] - values[without])).sum())
    return torch.stack(shares).float()


def lime_rows(device: torch.device, quick: bool) -> list[Row]:
    """LIME's coefficients, against the same regression over all sets: its limit for many samples."""
    return [_lime_row(*game, quick) for game in _games(device, quick)]


def _lime_row(setting: str, game: Game, quick: bool) -> Row:
    model, x, segments, values = game
    passes = (64, 128) if quick else (64, 128, 256, 512, 1024)

    def ours(**options) -> Estimator:
        def estimate(n: int, case: int) -> Tensor:
            draws = torch.Generator(x.device).manual_seed(case)
            fit = lime_fit(model, x, 0, segments=segments, n_samples=n, fill=0.0, generator=draws, **options)
            return fit.coefficients[0]

        return estimate

    def captum(n: int, case: int) -> Tensor:
        """With the kernel and the penalty of the authors' package, which ours has, too."""
        from captum._utils.models.linear_model import SkLearnRidge
        from captum.attr import Lime
        from captum.attr._core.lime import get_exp_kernel_similarity_function

        torch.manual_seed(case)
        kernel = get_exp_kernel_similarity_function("cosine", kernel_width=0.25)
        return _captum_map(Lime(_Probability(model), SkLearnRidge(alpha=1.0), kernel), game, n)

    return Row(
        "lime",
        f"{setting}; reference: all sets",
        passes,
        2 if quick else 8,
        exact_lime(values),
        {
            "xai_lib": ours(),
            "xai_lib, no pairs": ours(paired=False),
            "captum Lime": captum,
            "lime": lambda n, case: _package_lime(game, n, case),
        },
    )


def exact_lime(values: Tensor, width: float = 0.25) -> Tensor:
    """Coefficients (d,) of the weighted regression over all sets; beside them a penalty of 1 is nothing."""
    d = len(values).bit_length() - 1
    Z = ((torch.arange(len(values))[:, None] >> torch.arange(d)) % 2).double()
    weights = (-(1 - (Z.mean(1)).sqrt()).square() / (2 * width**2)).exp()
    left = torch.cat([Z, torch.ones(len(Z), 1, dtype=Z.dtype)], 1) * weights.sqrt()[:, None]
    solved = torch.linalg.lstsq(left, (values.cpu() * weights.sqrt())[:, None]).solution[:-1, 0]
    return solved.to(values.device).float()


def _package_lime(game: Game, n: int, case: int) -> Tensor:
    from lime import lime_image

    @torch.no_grad()
    def predict(images: list) -> np.ndarray:
        pixels = torch.from_numpy(np.stack(images)).to(game.x).permute(0, 3, 1, 2)
        return game.model(pixels).softmax(1).cpu().numpy()

    explanation = lime_image.LimeImageExplainer(random_state=case).explain_instance(
        game.x[0].permute(1, 2, 0).double().cpu().numpy(),
        predict,
        labels=(0,),
        top_labels=None,
        hide_color=0.0,
        num_samples=n,
        batch_size=256,
        segmentation_fn=lambda _: game.segments.cpu().numpy(),
    )
    found = dict(explanation.local_exp[0])
    return torch.tensor([found[j] for j in range(len(found))]).to(game.x)


def _captum_map(explainer, game: Game, n: int) -> Tensor:
    shares = explainer.attribute(
        game.x, 0.0, target=0, feature_mask=game.segments[None, None], n_samples=n, perturbations_per_eval=256
    )
    return shares[0, 0, 0].to(game.x)  # (d,): each superpixel is a pixel


class _Probability(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).softmax(1)


ROWS = (smooth_grad_rows, integrated_gradients_rows, shapley_rows, lime_rows)


def _chunk(x: Tensor) -> int:
    """Images in one pass: what ours takes by default."""
    return 64 if x.device.type == "cuda" else 16


def _photos(device: torch.device, quick: bool) -> tuple[str, ...]:
    return ("cat", "coffee") if device.type == "cuda" and not quick else ("coffee",)


def _pictured(model: nn.Module, photo: str) -> tuple[Tensor, int]:
    """A photograph, and the model's own class for it."""
    x = load_photo(photo).to(next(model.parameters()).device)
    with torch.no_grad():
        return x, int(model(x).argmax())


_known_games: dict[tuple, tuple[str, Game]] = {}


def _games(device: torch.device, quick: bool) -> list[tuple[str, Game]]:
    """The network's game on each photograph, with 12 rectangles on a processor and 16 on a GPU."""
    rows, columns = (2, 4) if quick else (4, 4) if device.type == "cuda" else (3, 4)
    model, games = load_model("efficientnet_lite0", device=device), []
    for photo in ("coffee",) if quick else ("cat", "coffee"):
        key = (str(device), photo, rows, columns)
        if key not in _known_games:  # LIME and KernelSHAP play the same
            game = tabulated(model, *_pictured(model, photo), rows, columns)
            _known_games[key] = (f"efficientnet_lite0, {photo}, {rows} × {columns} rectangles", game)
        games.append(_known_games[key])
    return games
