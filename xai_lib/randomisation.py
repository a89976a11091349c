"""Does a heatmap depend on what the network has learned? Its weights are drawn anew, layer by layer.

Of an explanation of *this* network one expects that it changes when the network does. Passing this test is no
proof that a map is right; failing it can be the data's doing, too (see the sources).
"""

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xai_lib import _checks, _model
from xai_lib import similarity as similarity_
from xai_lib._checks import Target
from xai_lib._trace import example

__all__ = [
    "RandomisationTest",
    "complexity",
    "complexity_rise",
    "data_randomisation",
    "randomisation_test",
    "randomised",
    "shuffle_weights",
]

ORDERS = ("cascade", "bottom_up", "independent")
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]
Draw = Callable[[nn.Module], None]
Map = Callable[[Callable[[Tensor], nn.Module], Iterable[Tensor]], Iterable[nn.Module]]  # Python's, or like it
SIMILARITIES: dict[str, tuple[bool, similarity_.Measure]] = {  # of the magnitudes?
    "rank": (False, similarity_.BY_RANK),
    "rank of magnitudes": (True, similarity_.BY_RANK),
    "ssim": (True, similarity_.by_structure()),
    "hog": (True, similarity_.by_edges()),
}


def randomised(
    model: nn.Module,
    *,
    order: str = "cascade",
    size: int | None = None,
    draw: Draw | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a model with the weights of one layer after the other drawn anew.

    Layers are those with weights of their own, in the order in which they *run* (not in which they were
    registered). One whose weights are read without running it, as those of an attention are, and one that
    holds other layers beside weights of its own (a class token, a scale), stands where what holds it begins.
    One that takes no part in the logits, such as a head for training alone, is left out. Each is drawn by its
    own ``reset_parameters``, with another seed for each layer; the random state of torch is left alone.

    Args:
        model: classifier in evaluation mode.
        order: ``"cascade"`` from the logits downwards, what was drawn stays drawn; ``"bottom_up"`` likewise
            from the pixels upwards; ``"independent"``: one layer at a time, all others as trained, from the
            logits downwards.
        size: side of the images, in pixels; where it is None the model's own ``size``, or found by trial.
        draw: called with each layer in its place, to change its own weights in place by torch's random
            numbers, which are seeded: ``shuffle_weights``, or a function of yours. None for
            ``reset_parameters``, which transformers' and ConvNeXt's blocks have not.
        generator: gives the seeds.

    Yields:
        The layer's dotted name, and a copy of the model in evaluation mode.

    Raises:
        ValueError: if the model is in training mode, has no layer with weights, one has no
            ``reset_parameters`` and ``draw`` is None, or ``order`` is unknown.
        TypeError: if ``model`` is no module, ``generator`` no generator, or ``draw`` cannot be called.

    Source: Adebayo et al. 2018, arXiv:1810.03292.
    """
    _checks.check_evaluation(model)
    _checks.check_choice("order", order, ORDERS)
    _checks.check_generator(generator, getattr(generator, "device", torch.device("cpu")))
    return _drawn(model, _layers(model, size, order, draw), order, draw, generator)


def shuffle_weights(layer: nn.Module) -> None:
    """Each tensor of the layer's own weights in another order, by torch's random numbers, in place.

    Where a layer comes from, and how it was first drawn, need not be known; what is lost is all that the
    order held. The sizes of the weights stay as the training left them.

    Args:
        layer: its own weights are shuffled, not those of layers inside it.
    """
    with torch.no_grad():
        for weights in _own(layer):
            flat = weights.flatten()
            weights.copy_(flat[torch.randperm(len(flat)).to(flat.device)].view_as(weights))


def _drawn(
    model: nn.Module, names: list[str], order: str, draw: Draw | None, generator: torch.Generator | None
) -> Iterator[tuple[str, nn.Module]]:
    source, one_at_a_time = model, order == "independent"
    for name in names:
        changed = copy.deepcopy(model if one_at_a_time else source)
        _draw(changed.get_submodule(name), draw, generator)
        source = changed
        yield name, changed if one_at_a_time else copy.deepcopy(changed)


def _layers(model: nn.Module, size: int | None, order: str, draw: Draw | None) -> list[str]:
    """The names of the layers with weights, in the order in which they are drawn."""
    if draw is not None and not callable(draw):
        raise TypeError(f"draw must be a function of a layer, got {type(draw).__name__}")
    x, _ = example(model, size)
    used = _used(model, x)
    own = {name: module for name, module in model.named_modules() if any(id(p) in used for p in _own(module))}
    if not own:
        raise ValueError("model must have weights that its logits depend on, got none")
    fixed = [n for n, m in own.items() if draw is None and not hasattr(m, "reset_parameters")]
    if fixed:
        kind = type(own[fixed[0]]).__name__
        raise ValueError(
            f"model must draw its weights by reset_parameters, but its layer {fixed[0]!r} ({kind}) has none; "
            "pass draw=shuffle_weights, or a function of your own that changes a layer in place"
        )
    steps: dict[tuple[str, bool], int] = {}
    for place, step in enumerate(_steps(model, x)):
        steps.setdefault(step, place)  # a layer that runs twice stands where it runs first
    names = sorted(own, key=lambda name: _place(name, own[name], steps))  # a draw takes registered order
    return names if order == "bottom_up" else names[::-1]


def _used(model: nn.Module, x: Tensor) -> set[int]:
    """The weights that the logits depend on, each by its identity."""
    asked = [p for p in model.parameters() if p.requires_grad]
    frozen = [p for p in model.parameters() if not p.requires_grad]  # by weights that want a gradient
    try:
        for weights in frozen:
            if weights.is_floating_point():
                weights.requires_grad_()
        with torch.enable_grad():
            answer = _model.logits_of(model, x.clone()).sum()
        wanted = [p for p in asked + frozen if p.requires_grad and answer.requires_grad]
        found = torch.autograd.grad(answer, wanted, allow_unused=True) if wanted else ()
        return {id(p) for p, slope in zip(wanted, found, strict=True) if slope is not None}
    finally:
        for weights in frozen:
            weights.requires_grad_(False)


def _steps(model: nn.Module, x: Tensor) -> list[tuple[str, bool]]:
    """Each module's name, where it begins (False) and where it ends (True)."""
    steps: list[tuple[str, bool]] = []
    handles = []
    for name, module in model.named_modules():
        begins = module.register_forward_pre_hook(lambda *_, name=name: steps.append((name, False)))
        ends = module.register_forward_hook(lambda *_, name=name: steps.append((name, True)))
        handles += [begins, ends]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return steps


def _place(name: str, module: nn.Module, steps: dict[tuple[str, bool], int]) -> int:
    """Where a layer stands: at its end; if it holds layers, or never runs, where what holds it begins."""
    if (name, True) in steps and not any(_own(inside) for inside in list(module.modules())[1:]):
        return steps[name, True]
    while (name, False) not in steps:
        name = name.rpartition(".")[0]
    return steps[name, False]


def _own(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module._parameters.values() if p is not None]


def _draw(layer: nn.Module, draw: Draw | None, generator: torch.Generator | None) -> None:
    """Draw the layer's weights; torch's random state is as before."""
    device = generator.device if generator is not None else torch.device("cpu")
    seed = int(torch.randint(2**62, (), generator=generator, device=device))
    on = _own(layer)[0].device
    with torch.random.fork_rng([on.index or 0] if on.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(seed)
        layer.reset_parameters() if draw is None else draw(layer)


# -------------------------------------------------------------------------------------------- the test itself


@dataclass(frozen=True)
class RandomisationTest:
    """What ``randomisation_test`` found."""

    explainers: list[str]
    layers: list[str]  # in the order in which they were drawn
    similarities: list[str]
    values: Tensor  # (explainers, layers, similarities, N)

    @property
    def mean(self) -> Tensor:
        """Over the images, (explainers, layers, similarities)."""
        return self.values.mean(-1)


def randomisation_test(
    model: nn.Module,
    explainers: Explain | Mapping[str, Explain],
    x: Tensor,
    target: Target = None,
    *,
    order: str = "cascade",
    draw: Draw | None = None,
    own_class: bool = False,
    similarities: tuple[str, ...] = tuple(SIMILARITIES),
    noisy: int = 0,
    sigma: float = 0.1,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> RandomisationTest:
    r"""How alike the maps of a trained network and of its randomised copies are, layer by layer.

    All explainers are given the same copies. With ``noisy``, each map is the mean over that many noisy copies
    of the image, the same noise for both networks (smooth MPRT): else a noisy map looks as if it depended on
    the weights when it only shatters.

    Args:
        model: classifier in evaluation mode.
        explainers: ``explain(model, x, target) -> (N, H, W)`` or :math:`(N, C, H, W)` (summed over channels),
            or several by name.
        x: images :math:`(N, C, H, W)` in [0, 1].
        target: class or classes to explain, None for the trained model's own.
        order: as in ``randomised``.
        draw: as in ``randomised``.
        own_class: explain the randomised network's own answer, as the authors do, instead of ``target``.
        similarities: of ``"rank"``, ``"rank of magnitudes"``, ``"ssim"`` and ``"hog"`` (the last three of
            :math:`|R|`).
        noisy: noisy copies of each image; 0 for none.
        sigma: standard deviation of that noise, in pixels' units.
        generator: draws weights and noise, on the images' device.
        progress: show a bar, counted in layers.

    Returns:
        A ``RandomisationTest``.

    Raises:
        ValueError: as in ``randomised``; or if ``similarities`` has an unknown name, or a map is not finite
            or has another shape than the image.
        TypeError: if an explainer cannot be called.

    Source: Adebayo et al. 2018, arXiv:1810.03292; with noise Hedström et al. 2024, arXiv:2401.06465.
    """
    _checks.check_images(model, x)
    named = _named(explainers)
    for name in similarities:
        _checks.check_choice("similarities", name, tuple(SIMILARITIES))
    noisy = _checks.check_count("noisy", noisy, least=0)
    sigma = _checks.check_number("sigma", sigma, above=0)
    _checks.check_generator(generator, x.device)
    classes = _target(model, x, target)
    noise = _noise(x, noisy, sigma, generator)
    _checks.check_choice("order", order, ORDERS)
    names = _layers(model, x.shape[-1], order, draw)

    def prepared(network: nn.Module, asked: Tensor) -> dict[str, list[Tensor]]:
        """Each explainer's map of this network, ready for each similarity."""
        maps = {name: _map(explain, network, x, asked, noise) for name, explain in named.items()}
        return {name: [_prepare(s, found) for s in similarities] for name, found in maps.items()}

    before = prepared(model, classes)
    layers, values = [], []
    with _model.progress_bar(len(names), "randomisation", progress) as bar:
        for layer, changed in _drawn(model, names, order, draw, generator):
            asked = _target(changed, x, None) if own_class else classes
            after = prepared(changed, asked)
            values.append(torch.stack([_compared(similarities, before[n], after[n], x) for n in named]))
            layers.append(layer)
            bar.update(1)
    return RandomisationTest(list(named), layers, list(similarities), torch.stack(values, 1))


def _named(explainers: Explain | Mapping[str, Explain]) -> dict[str, Explain]:
    named = dict(explainers) if isinstance(explainers, Mapping) else {"map": explainers}
    for name, explain in named.items():
        if not callable(explain):
            raise TypeError(
                f"explainers must be functions explain(model, x, target), {name!r} is a "
                f"{type(explain).__name__}"
            )
    if not named:
        raise ValueError("explainers must hold at least one")
    return named


def _target(model: nn.Module, x: Tensor, target: Target) -> Tensor:
    """The classes to explain, (N,)."""
    classes = _checks.check_target(target, x)
    with _model.left_as_found(model):
        logits = _model.logits_of(model, x.clone())
    if classes is None:
        return logits.argmax(1)
    _checks.check_range(classes.highest, logits.shape[1])
    return classes.index[:, 0]


def _noise(x: Tensor, noisy: int, sigma: float, generator: torch.Generator | None) -> list[Tensor]:
    """What is added to the images, one after the other; nothing, once, without noise."""
    if not noisy:
        return [torch.zeros((), dtype=x.dtype, device=x.device)]
    draws = (torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device) for _ in range(noisy))
    return [sigma * draw for draw in draws]


def _map(explain: Explain, model: nn.Module, x: Tensor, target: Tensor, noise: list[Tensor]) -> Tensor:
    """The mean map over the noise, (N, H, W)."""
    total = sum(_flat(explain(model, x + step, target), x) for step in noise)
    return total / len(noise)


def _flat(maps: Tensor, x: Tensor) -> Tensor:
    _checks.check_real("the map of an explainer", maps, "maps (N, H, W) or (N, C, H, W)", (3, 4))
    maps = maps.sum(1) if maps.dim() == 4 else maps
    if len(maps) != len(x):
        raise ValueError(f"explainers must give a map for each of {len(x)} images, got {tuple(maps.shape)}")
    return maps.to(_model.wide(maps.dtype))


def _prepare(similarity: str, maps: Tensor) -> Tensor:
    magnitudes, measure = SIMILARITIES[similarity]
    return measure.prepare(maps.abs() if magnitudes else maps)


def _compared(similarities: Sequence[str], before: list[Tensor], after: list[Tensor], x: Tensor) -> Tensor:
    """How alike two maps are, made ready for each of the similarities: (similarities, N)."""
    values = []
    for name, a, b in zip(similarities, before, after, strict=True):
        if a.shape != b.shape:
            raise ValueError("explainers must give maps of one shape for the trained and the drawn networks")
        values.append(SIMILARITIES[name][1].compare(a, b).to(x.device, _model.wide(x.dtype)))
    return torch.stack(values)


# ------------------------------------------------------------------------------- by the map's own complexity


def complexity(heatmaps: Tensor, *, bins: int = 100) -> Tensor:
    """The entropy of a map's histogram, in nats: 0 for a map with one value, large for noise.

    Args:
        heatmaps: :math:`(N, H, W)`, or one map :math:`(H, W)`.
        bins: equal bins between each map's smallest and largest value.

    Returns:
        :math:`(N,)`, or a scalar.

    Raises:
        ValueError: if a map is empty or not finite, or ``bins`` is below 2.
        TypeError: if ``heatmaps`` is no tensor.

    Source: Hedström et al. 2024, arXiv:2401.06465 (discrete entropy).
    """
    _checks.check_maps("heatmaps", heatmaps)
    bins = _checks.check_count("bins", bins, least=2)
    maps = heatmaps.detach().to(torch.float64).flatten(-2).reshape(-1, heatmaps.shape[-2:].numel())
    low, high = maps.amin(1, keepdim=True), maps.amax(1, keepdim=True)
    place = (_model.ratio(maps - low, (high - low).expand_as(maps)) * bins).long().clamp(max=bins - 1)
    counts = torch.zeros(len(maps), bins, dtype=torch.float64, device=maps.device)
    shares = counts.scatter_add_(1, place, torch.ones_like(maps)) / maps.shape[1]
    entropy = -torch.xlogy(shares, shares).sum(1)
    return entropy.to(_model.wide(heatmaps.dtype)).reshape(heatmaps.shape[:-2])


def complexity_rise(
    model: nn.Module,
    explain: Explain,
    x: Tensor,
    target: Target = None,
    *,
    bins: int = 100,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Efficient MPRT: by how much a map's complexity rises, as a share, when *all* weights are drawn anew.

    .. math:: \frac{\xi(\hat R) - \xi(R)}{\xi(R)}

    with the entropy :math:`\xi` of ``complexity``. One pass in place of one a layer, and no similarity to
    choose. The class stays that of the trained network.

    Args:
        model: classifier in evaluation mode.
        explain: as in ``randomisation_test``.
        x: images :math:`(N, C, H, W)` in [0, 1].
        target: class or classes to explain, None for the trained model's own.
        bins: as in ``complexity``; of the magnitudes.
        generator: draws the weights, on the images' device.

    Returns:
        :math:`(N,)`; above 0 where the randomised network's map is the more complex. 0 where the trained
        network's map has no complexity to compare with.

    Raises:
        ValueError: as in ``randomised``.

    Source: Hedström et al. 2024, arXiv:2401.06465.
    """
    _checks.check_images(model, x)
    _checks.check_generator(generator, x.device)
    classes = _target(model, x, target)
    *_, (_, changed) = randomised(model, size=x.shape[-1], generator=generator)
    before, after = (complexity(_flat(explain(m, x, classes), x).abs(), bins=bins) for m in (model, changed))
    return _model.ratio(after - before, before)


def data_randomisation(
    fit: Callable[[Tensor, Tensor], nn.Module],
    train: tuple[Tensor, Tensor],
    explain: Explain,
    x: Tensor,
    target: Target,
    *,
    similarity: str = "rank of magnitudes",
    map: Map = map,
    generator: torch.Generator | None = None,
) -> Tensor:
    """How alike the maps of a network and of its twin are that was trained on shuffled labels.

    Args:
        fit: ``fit(images, labels) -> model``, in evaluation mode; called twice. For a fair comparison it
            starts from the same weights both times.
        train: the training images and their labels :math:`(n,)`.
        explain: as in ``randomisation_test``.
        x: images :math:`(N, C, H, W)` in [0, 1].
        target: class or classes to explain, the same for both networks.
        similarity: one of those of ``randomisation_test``.
        map: calls ``fit`` on the two sets of labels, in their order; ``xai_lib.cluster.on_ray(...)`` has
            other processes train, with equal results if ``fit`` draws from seeds of its own alone.
        generator: shuffles the labels.

    Returns:
        :math:`(N,)`.

    Raises:
        ValueError: if the labels are not one for each training image, or ``similarity`` is unknown.

    Source: Adebayo et al. 2018, arXiv:1810.03292, section 5.
    """
    images, labels = train
    _checks.check_choice("similarity", similarity, tuple(SIMILARITIES))
    map = _checks.check_map(map)
    if labels.dim() != 1 or len(labels) != len(images):
        raise ValueError(
            f"train must be images and one label for each, got {len(images)} and {tuple(labels.shape)}"
        )
    device = generator.device if generator is not None else torch.device("cpu")
    shuffled = labels[torch.randperm(len(labels), generator=generator, device=device).to(labels.device)]
    models = list(map(functools.partial(fit, images), (labels, shuffled)))
    maps = [_flat(explain(model, x, _target(model, x, target)), x) for model in models]
    return _compared([similarity], *([_prepare(similarity, found)] for found in maps), x)[0]
