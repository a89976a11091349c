"""Infidelity and maximum sensitivity: two measures that need each other."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from xai_lib import _checks, _masking, _model, _points
from xai_lib._checks import Target
from xai_lib._masking import Fill

Perturbation = str | Callable[[Tensor], Tensor]
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


def infidelity(
    model: nn.Module,
    x: Tensor,
    target: Target,
    attributions: Tensor,
    *,
    perturbation: Perturbation = "square",
    side: int | None = None,
    fill: Fill = 0.0,
    sigma: float = 0.1,
    n_samples: int = 64,
    normalize: bool = True,
    what: str = "logit",
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Tensor:
    r"""How far an attribution is from foretelling what a change of the pixels does to the score.

    .. math:: \mathrm{INFD} = E_I \left[ \left( \beta \, I^T \Phi - (f(x) - f(x - I)) \right)^2 \right]

    with random changes I. Zero: the attribution, summed over the change, is the change of the score. The
    unit is that of the score, squared. Smaller is better, for these changes: an attribution can be good for
    small changes and bad for large ones.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class that is explained: an int, a tensor :math:`(N,)`, or None for the model's own choice.
        attributions: :math:`(N, C, H, W)`, or heatmaps :math:`(N, H, W)`, taken for every channel alike.
        perturbation: ``"square"`` replaces a square at a random place by ``fill``; ``"noise"`` subtracts
            Gaussian noise from all pixels; or a function from images :math:`(b, C, H, W)` to what is
            subtracted from them.
        side: of the square, in pixels; None for a quarter of the image's shorter side.
        fill: what the square becomes: a number, ``"grey"``, ``"mean"``, ``"blur"`` or images.
        sigma: standard deviation of the noise.
        n_samples: changes of each image.
        normalize: scale each attribution by the factor :math:`\beta` that suits it best. Most heatmaps have
            no unit; without this (:math:`\beta = 1`) their size decides.
        what: ``"logit"``, which gradients explain, or ``"probability"``.
        batch_size: images in one pass; None for 16 on a processor and 64 on a GPU.
        generator: source of the changes, on ``x``'s device (a function of one's own draws by itself).
        progress: show a progress bar, counted in passes.

    Returns:
        Infidelity of each attribution, :math:`(N,)`, detached.

    Raises:
        ValueError: if ``attributions`` has not the images' shape, ``side`` does not fit into the image, a
            count is not positive or a word is unknown.

    Source: Yeh et al. 2019, arXiv:1901.09392.

    >>> infidelity(model, x, 1, torch.rand(2, 3, 64, 64), n_samples=8).shape
    torch.Size([2])
    """
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    weights = _check_attributions(attributions, x)
    n_samples = _checks.check_count("n_samples", n_samples)
    normalize = _checks.check_flag("normalize", normalize)
    _checks.check_choice("what", what, ("logit", "probability"))
    batch_size = _checks.check_batch_size(batch_size, x.device)
    progress = _checks.check_flag("progress", progress)
    _checks.check_generator(generator, x.device)
    change = _check_perturbation(perturbation, side, fill, sigma, x)
    with _model.left_as_found(model):
        classes = classes or _model.own_choice(model, x, batch_size)
        drawn = change(n_samples, generator)
        told: list[Tensor] = []  # I · Φ, pass by pass

        def perturbed(samples: Tensor, images: Tensor, _shown: Tensor) -> Tensor:
            away = drawn(samples, images)
            told.append((away.to(weights.dtype) * weights[images]).flatten(1).sum(1))
            return x[images] - away

        def scores(n: int, hidden: Tensor | Callable) -> Tensor:
            return _masking.masked_scores(
                model,
                x,
                classes,
                n,
                lambda samples, _: samples.new_ones(1, 1, 1, dtype=torch.bool),
                hidden,
                batch_size=batch_size,
                what=what,
                name="Infidelity",
                progress=progress and n > 1,
            )[:, 0]

        fell = scores(1, x) - scores(n_samples, perturbed)  # (N, n)
        said = torch.cat(told).view(n_samples, len(x)).T.to(fell)
        if normalize:
            said = said * _model.ratio((said * fell).sum(1), said.square().sum(1))[:, None]
        return (said - fell).square().mean(1).to(x.dtype)


def max_sensitivity(
    explain: Explain,
    model: nn.Module,
    x: Tensor,
    target: Target = None,
    *,
    radius: float = 0.02,
    n_samples: int = 10,
    relative: bool = True,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Tensor:
    r"""How far an explanation moves, at most, when every pixel moves a little.

    .. math:: \mathrm{SENS} = \max_{\lVert y - x \rVert_\infty \le r}
              \frac{\lVert \Phi(y) - \Phi(x) \rVert}{\lVert \Phi(x) \rVert}

    estimated from ``n_samples`` random points y: a lower bound. Small is often called robust; but a map that
    ignores the image altogether has zero, the best there is. So it says nothing without ``infidelity``, or
    another measure of what the map tells about the model. A method that draws at random, such as SmoothGrad
    or RISE, moves by itself, too.

    Args:
        explain: the explainer, ``explain(model, x, target)``; fix its options with ``functools.partial``.
        model: classifier in evaluation mode.
        x: images, :math:`(N, C, H, W)`, in [0, 1].
        target: class to explain: an int, a tensor :math:`(N,)`, or None for the model's own choice on ``x``,
            which is then explained at every point.
        radius: how far a pixel moves at most, r. Pixels are not clipped to [0, 1].
        n_samples: points around each image.
        relative: divide by the norm of the explanation of ``x``, if it is not zero.
        batch_size: images that ``explain`` gets at once; None for 16 on a processor and 64 on a GPU.
        generator: source of the points, on ``x``'s device.
        progress: show a progress bar, counted in explanations.

    Returns:
        Largest change of each image's explanation, :math:`(N,)`, detached.

    Raises:
        ValueError: if ``explain`` does not give one finite explanation for each image, or an option is out
            of range.

    Source: Yeh et al. 2019, arXiv:1901.09392.

    >>> from xai_lib import gradient
    >>> max_sensitivity(gradient, model, x, n_samples=2).shape
    torch.Size([2])
    """
    if not callable(explain) or isinstance(explain, nn.Module):
        raise TypeError(
            f"explain must be a function explain(model, x, target), got {type(explain).__name__}; "
            "it comes before the model"
        )
    x, classes = _checks.check_images(model, x), _checks.check_target(target, x)
    radius = _checks.check_number("radius", radius, above=0)
    n_samples = _checks.check_count("n_samples", n_samples)
    relative = _checks.check_flag("relative", relative)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    _checks.check_generator(generator, x.device)
    progress = _checks.check_flag("progress", progress)
    if classes is None:
        with _model.left_as_found(model):
            classes = _model.own_choice(model, x, batch_size)
    targets = classes.index[:, 0]

    def explained(images: Tensor, which: Tensor) -> Tensor:
        parts = zip(images.split(batch_size), which.split(batch_size), strict=True)
        return torch.cat([_check_explanation(explain(model, *part), *part) for part in parts])

    here = explained(x, targets)
    most = here.new_zeros(len(x))
    together = max(1, batch_size // len(x))  # samples; each is drawn by itself, whatever the batch
    with _model.progress_bar(n_samples, "Sensitivity", progress) as bar:
        for start in range(0, n_samples, together):
            some = min(together, n_samples - start)
            moves = [
                torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator) for _ in range(some)
            ]
            moved = torch.cat([x + radius * (2 * move - 1) for move in moves])
            there = explained(moved, targets.repeat(some)).unflatten(0, (some, len(x)))
            most = torch.maximum(most, torch.linalg.vector_norm(there - here, dim=2).amax(0))
            bar.update(some)
    if relative:
        size = torch.linalg.vector_norm(here, dim=1)
        most = most / size.where(size > 0, torch.ones_like(size))
    return most.to(x.dtype)


# ------------------------------------------------------------------------------------------------- arguments

Draw = Callable[[Tensor, Tensor], Tensor]  # numbers of samples and of images, (b,) each → (b, C, H, W)


def _check_perturbation(
    perturbation: Perturbation, side: int | None, fill: Fill, sigma: float, x: Tensor
) -> Callable[[int, torch.Generator | None], Draw]:
    """What makes the changes, from how many there are and a generator."""
    sigma = _checks.check_number("sigma", sigma, above=0, what="a standard deviation")
    shorter = min(x.shape[-2:])
    side = max(1, shorter // 4) if side is None else _checks.check_count("side", side)
    if side > shorter:
        raise ValueError(f"side must be at most the image's shorter side, {shorter}, got {side}")
    fill = _masking.check_fill(fill, x)
    if callable(perturbation):
        return lambda _n, _generator: (
            lambda _samples, images: _check_change(perturbation(x[images]), x[images])
        )
    if _checks.check_choice("perturbation", perturbation, ("square", "noise")) == "noise":
        return lambda n, generator: _noise(x, n, sigma, generator)
    return lambda n, generator: _squares(x, n, side, _masking.hidden_images(fill, x), generator)


def _noise(x: Tensor, n: int, sigma: float, generator: torch.Generator | None) -> Draw:
    fresh = _points.normal_draws(x, n * len(x), generator)  # asked for in order
    return lambda samples, _images: sigma * fresh(len(samples))


def _squares(x: Tensor, n: int, side: int, hidden: Tensor, generator: torch.Generator | None) -> Draw:
    """The image minus what hides it, inside a square; as many for each image."""
    height, width = x.shape[-2:]
    top, left = (
        torch.randint(0, length - side + 1, (n, len(x)), device=x.device, generator=generator)
        for length in (height, width)
    )
    rows, columns = (torch.arange(length, device=x.device) for length in (height, width))

    def draw(samples: Tensor, images: Tensor) -> Tensor:
        down = rows - top[samples, images][:, None]  # (b, H)
        across = columns - left[samples, images][:, None]
        inside = ((down >= 0) & (down < side))[:, :, None] & ((across >= 0) & (across < side))[:, None]
        return torch.where(inside[:, None], x[images] - hidden[images], 0)

    return draw


def _check_change(change: Tensor, images: Tensor) -> Tensor:
    if not isinstance(change, Tensor) or change.shape != images.shape:
        got = tuple(change.shape) if isinstance(change, Tensor) else type(change).__name__
        raise ValueError(
            f"perturbation must give what is subtracted, in the images' shape {tuple(images.shape)}, "
            f"got {got}"
        )
    return _checks.ordinary(change).to(images.dtype)


def _check_attributions(attributions: Tensor, x: Tensor) -> Tensor:
    """Check one attribution for each image: (N, C, H, W), or (N, 1, H, W) for heatmaps, float32 or better."""
    _checks.check_real(
        "attributions", attributions, "attributions (N, C, H, W) or heatmaps (N, H, W)", (3, 4)
    )
    wanted = tuple(x.shape), (len(x), *x.shape[-2:])
    if tuple(attributions.shape) not in wanted:
        raise ValueError(
            f"attributions must have the shape {wanted[0]} of x, or {wanted[1]}, "
            f"got {tuple(attributions.shape)}"
        )
    if attributions.device != x.device:
        raise ValueError(
            f"attributions is on {attributions.device}, but x is on {x.device}; "
            f"pass attributions.to('{x.device}')"
        )
    values = _checks.ordinary(attributions)
    values = values.to(_model.wide(torch.promote_types(values.dtype, x.dtype)))
    return values if values.dim() == 4 else values[:, None]


def _check_explanation(explanation: Tensor, images: Tensor, _targets: Tensor) -> Tensor:
    """Check what an explainer gave, one explanation for each image: (b, …), flattened, float32 or better."""
    if not isinstance(explanation, Tensor) or explanation.dim() < 2 or len(explanation) != len(images):
        got = tuple(explanation.shape) if isinstance(explanation, Tensor) else type(explanation).__name__
        raise ValueError(f"explain must give one explanation for each of {len(images)} images, got {got}")
    flat = _checks.ordinary(explanation).flatten(1)
    flat = flat.to(_model.wide(flat.dtype))
    _checks.check_finite("explain's result", flat)
    return flat
