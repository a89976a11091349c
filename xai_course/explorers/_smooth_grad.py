"""SmoothGrad from stored gradients of noisy copies: chapter 2's explorer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xai_lib.viz import to_pixels

from . import _base
from ._base import Explorer, decimal

MAP_ERROR = 0.05  # what storing the gradients in few bits may change a map, as a share of its norm
TOP = 99  # percentile of a map at which its colours end: one bright pixel would leave the rest black


def smooth_grad(
    number: str,
    picture: Any,
    gradients: Mapping[float, Any],
    *,
    caption: str,
    alt: str,
    look: str = "",
    stored: str,
    probabilities: Mapping[float, float] | None = None,
    of: str = "the class",
    sigma: float | None = None,
    samples: int = 1,
) -> Explorer:
    r"""SmoothGrad over noise and samples: averages of stored gradients, computed in the page.

    .. math:: \hat g = \frac{1}{m} \sum_{i=1}^{m} \nabla y^c(x + \varepsilon_i), \qquad
        \varepsilon_i \sim \mathcal{N}(0, \sigma^2)

    The gradients of each :math:`\sigma` are cut into two halves. The page shows the absolute value of the
    mean of :math:`m` from the first half and of :math:`m` from the second: two estimates of one quantity from
    different noise. It prints their correlation, and the relative error
    :math:`\lVert \hat g - \bar g \rVert / \lVert \bar g \rVert` of the first, where :math:`\bar g` is the
    mean of the whole second half. Averaging is linear, so gradients summed over channels and blocks of
    pixels before they are stored give the map of the same sums: say in ``stored`` what was done. They are
    kept in 8 bits with a scale for each if that changes the mean of no half by more than 5 % of its norm,
    otherwise in 16.

    Args:
        number: of the figure, such as ``"2.4"``.
        picture: the photograph, :math:`(3, H, W)` (or with a batch dimension of one), in [0, 1].
        gradients: for each standard deviation of the noise (as a share of the picture's range) the signed
            gradients of its noisy copies, :math:`(n, h, w)`: the same n, even and at least 4, for each;
            two to eight deviations. Reduced, for instance
            ``torch.nn.functional.avg_pool2d(gradient.sum(1), 4)``.
        caption: what the figure shows; marks as in :func:`xai_course.figures.figure`.
        alt: one sentence that says what is to be seen.
        look: what to look for.
        stored: one sentence on how the gradients were reduced, printed under the controls. Plain text.
        probabilities: for each deviation the mean probability of the class on the noisy copies.
        of: what the probability is of, such as ``"a cat"``.
        sigma: the deviation that is shown first; the smallest by default.
        samples: the number that is shown first, from 1 to n / 2.

    Returns:
        An object that a notebook displays.

    Raises:
        ValueError: if an array has another shape or is not finite, the deviations' shapes differ, n is odd,
            ``probabilities`` has other deviations or is outside [0, 1], ``sigma`` or ``samples`` is out of
            range, or a text is empty.

    Source: Smilkov et al. 2017, arXiv:1706.03825.
    """
    pixels = to_pixels(picture, "picture")
    _base.check_says("stored", stored)
    sigmas, G = _gradients(gradients)
    count = G.shape[1]
    chance = _probabilities(probabilities, sigmas)
    sigma = sigmas[0] if sigma is None else sigma
    if sigma not in sigmas:
        raise ValueError(f"sigma must be one of gradients' {sigmas}, got {sigma!r}")
    if samples not in range(1, count // 2 + 1):
        raise ValueError(f"samples must be from 1 to {count // 2}, half of the gradients, got {samples!r}")
    at = sigmas.index(sigma)
    means = G[at, :samples].mean(0), G[at, count // 2 :][:samples].mean(0)
    agreement, error = agreement_and_error(G[at], samples)
    return Explorer(
        "smooth_grad",
        number,
        body=_body(
            pixels, means, agreement, error, samples, sigma, None if chance is None else chance[at], of
        ),
        controls=_controls(sigmas, at, samples, count) + f'<p class="s-stored">{_base.escape(stored)}</p>',
        said=_said(sigma, samples, agreement, error, None if chance is None else chance[at], of),
        bars=_base.bar("heat", "absolute value of the mean gradient", "0", "99th percentile of each map"),
        data={
            "gradients": _stored(G),
            "sigmas": sigmas,
            "chance": chance,
            "of": of,
            "range": float(pixels.max() - pixels.min()),
        },
        caption=caption,
        look=look,
        alt=alt,
        arrays={f"gradients at {100 * s:g} %": np.abs(g).mean(0) for s, g in zip(sigmas, G, strict=True)},
    )


def agreement_and_error(gradients: np.ndarray, samples: int) -> tuple[float, float]:
    """What the page computes from the gradients (n, h, w) of one deviation, in their stored order.

    The correlation of the absolute means of ``samples`` from either half, and the first's distance from the
    mean of the whole second half, as a share of that mean's norm.
    """
    first, second = np.split(np.asarray(gradients, dtype=np.float64), 2)
    one, other, whole = first[:samples].mean(0), second[:samples].mean(0), second.mean(0)
    error = float(np.linalg.norm(one - whole) / (np.linalg.norm(whole) or 1.0))
    a, b = (np.abs(m).ravel() - np.abs(m).mean() for m in (one, other))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) or 1.0)), error


def _gradients(gradients: Mapping[float, Any]) -> tuple[list[float], np.ndarray]:
    """The deviations in order, and their gradients (deviations, n, h, w)."""
    if not isinstance(gradients, Mapping) or not 2 <= len(gradients) <= 8:
        raise ValueError(
            f"gradients must be a dict of 2 to 8 deviations, got {type(gradients).__name__}"
            + (f" of {len(gradients)}" if isinstance(gradients, Mapping) else "")
        )
    sigmas = sorted(gradients)
    arrays = [_base.check_array(f"gradients[{s!r}]", gradients[s], ("n", "h", "w")) for s in sigmas]
    for s, array in zip(sigmas, arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise ValueError(
                f"gradients[{s!r}] must have the shape {arrays[0].shape} of gradients[{sigmas[0]!r}], "
                f"got {array.shape}"
            )
        if len(array) < 4 or len(array) % 2:
            raise ValueError(
                f"gradients[{s!r}] must hold an even number of samples, at least 4, got {len(array)}; "
                "one half is compared with the other"
            )
    return [float(s) for s in sigmas], np.stack(arrays)


def _probabilities(probabilities: Mapping[float, float] | None, sigmas: list[float]) -> list[float] | None:
    if probabilities is None:
        return None
    if not isinstance(probabilities, Mapping) or set(probabilities) != set(sigmas):
        raise ValueError(f"probabilities must be a dict with the deviations of gradients, {sigmas}")
    values = np.array([float(probabilities[s]) for s in sigmas])
    _base.check_within("probabilities", values, 0, 1)
    return [round(v, 4) for v in values.tolist()]


def _stored(G: np.ndarray) -> dict[str, Any]:
    """The gradients in as few bits as keep the map of every half."""
    flat = G.reshape(-1, *G.shape[2:])
    for kind in ("i8", "f16", "f32"):
        kept = _base.packed(flat, kind)
        back = _base.unpacked(kept).reshape(G.shape)
        halves, kept_halves = (np.stack(np.split(g, 2, axis=1)).mean(2) for g in (G, back))
        off = np.linalg.norm(kept_halves - halves, axis=(2, 3)) / np.maximum(
            np.linalg.norm(halves, axis=(2, 3)), np.finfo(float).tiny
        )
        if off.max() < MAP_ERROR:
            break
    return kept | {"shape": list(G.shape)}


def _body(
    pixels: np.ndarray,
    means: tuple[np.ndarray, np.ndarray],
    agreement: float,
    error: float,
    samples: int,
    sigma: float,
    chance: float | None,
    of: str,
) -> str:
    """The photograph, the two maps, and how far they agree."""
    ratio = pixels.shape[1] / pixels.shape[0]
    photograph = _base.layer(
        _base.picture_source(pixels, "picture"), "The photograph", classes="s-noisy", pixelated=False
    )
    maps = [
        _base.layer(
            _base.heat_source(np.abs(mean), top=float(np.percentile(np.abs(mean), TOP))),
            f"Absolute mean of {samples} gradients from the {half} half",
            classes="heat",
        )
        for mean, half in zip(means, ("first", "second"), strict=True)
    ]
    numbers = [("agreement", decimal(agreement), "correlation of the two maps")]
    numbers.append(("error", f"{100 * error:.0f} %", "distance from the mean of the whole other half"))
    if chance is not None:
        numbers.append(("chance", f"{100 * chance:.0f} %", f"probability of {of} on such copies"))
    texts = "".join(
        f'<p class="s-big" data-big="{slot}"><b>{value}</b>{_base.escape(text)}</p>'
        for slot, value, text in numbers
    )
    return _base.grid(
        _base.panel(
            "noisy",
            "a noisy copy",
            f"noise σ = {100 * sigma:g} % of the range",
            layers=photograph,
            ratio=ratio,
        ),
        _base.panel("one", "SmoothGrad", _of(samples), layers=maps[0], ratio=ratio),
        _base.panel("other", "SmoothGrad, other noise", _of(samples), layers=maps[1], ratio=ratio),
        f'<div class="s-panel s-numbers">{texts}</div>',
        columns=4,
    )


def _of(samples: int) -> str:
    return f"mean of {samples} gradient{'s' if samples > 1 else ''}"


def _controls(sigmas: list[float], at: int, samples: int, count: int) -> str:
    return (
        _base.slider(
            "sigma",
            "Noise σ, share of the range",
            low=0,
            high=len(sigmas) - 1,
            step=1,
            value=at,
            shown=f"{100 * sigmas[at]:g} %",
        )
        + _base.slider(
            "samples", "Samples n", low=1, high=count // 2, step=1, value=samples, shown=str(samples)
        )
        + _base.row(_base.button("again", "Draw other samples"))
    )


def _said(sigma: float, samples: int, agreement: float, error: float, chance: float | None, of: str) -> str:
    sees = (
        ""
        if chance is None
        else f" On such copies the network gives {of} a probability of {100 * chance:.0f} %."
    )
    return (
        f"Noise {100 * sigma:g} %, {_of(samples)}: two maps from different noise correlate "
        f"{decimal(agreement)}; the first is {100 * error:.0f} % away from the mean of the whole other "
        f"half.{sees}"
    )
