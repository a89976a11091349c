"""What the influence methods were given, checked: the parameters to explain, two sets to read in batches."""

from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from xai_lib import _checks, _curvature, _model
from xai_lib._model import Layer

Data = tuple[Tensor, Tensor] | Iterable[tuple[Tensor, Tensor]]
Loss = str | Callable[[Tensor, Tensor], Tensor]
SOLVERS = ("exact", "cg", "lissa", "ekfac")
LOADER = " or a DataLoader of such"  # what a set may be besides a pair


class Given:
    """Arguments, checked: the parameters, and the two sets as batches that can be read again."""

    def __init__(
        self, model: nn.Module, names: list[str], module: nn.Module, losses: Callable | None
    ) -> None:
        self.model, self.names, self.module, self.losses = model, names, module, losses
        self.damping, self.solver, self.progress = 0.0, "exact", False
        self.generator: torch.Generator | None = None
        self.train: Callable[[], Iterator[tuple[Tensor, Tensor]]]
        self.test: Callable[[], Iterator[tuple[Tensor, Tensor]]]
        self.n = 0
        self.dtype = next(p.dtype for p in model.parameters())

    def geometry(self, solver: str) -> _curvature.Geometry:
        """The closed form where it applies; not for EK-FAC, which takes layers apart itself."""
        if solver != "ekfac" and self.losses is None and self._is_head():
            return _curvature.Head(self.model, self.module)
        return self._general(dict(self.model.named_parameters()))

    def at(self, weights: dict[str, Tensor]) -> _curvature.Geometry:
        """The geometry at other weights."""
        if self.losses is None and self._is_head():
            return _curvature.Head(self.model, self.module, weights)
        return self._general(weights)

    def _general(self, weights: dict[str, Tensor]) -> _curvature.Autograd:
        """The general geometry, at these weights; what is not explained takes part as constants."""
        constants = {name: w for name, w in weights.items() if name not in self.names}
        chosen = {name: weights[name] for name in self.names}
        return _curvature.Autograd(self.model, chosen, constants, self.losses or _cross_entropy)

    def looked_at_once(self, geometry: _curvature.Geometry, room: Tensor) -> _curvature.Geometry:
        """Run the network once where the closed form applies: what its last layer sees is kept in ``room``.

        The room (m, n) is that of the scores, which are written last: no memory is taken beside theirs. With
        fewer test images than features there is not enough of it, and the network runs again at each reading.
        """
        if not isinstance(geometry, _curvature.Head) or not geometry.fits(room):
            return geometry
        self.train = geometry.keep(self.train, room)
        return _curvature.Head(geometry.module, geometry.module)

    def columns(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """The training set's batches, each with the columns of the scores that are its own."""
        start = 0
        for x, y in self.train():
            yield slice(start, start + len(y)), x, y
            start += len(y)

    def _is_head(self) -> bool:
        """Whether the layer is one linear layer whose output is the logits."""
        linear = [m for m in self.module.modules() if isinstance(m, nn.Linear)]
        if len(linear) != 1 or len(list(linear[0].parameters())) != len(self.names):
            return False
        seen: list[Tensor] = []
        x, _ = next(self.train())
        handle = linear[0].register_forward_hook(lambda _m, _a, output: seen.append(output))
        try:
            with torch.no_grad():
                logits = _model.logits_of(self.model, x[:1].clone())
        finally:
            handle.remove()
        self.module = linear[0]
        return len(seen) == 1 and seen[0].shape == logits.shape and torch.equal(seen[0], logits)

    def inverse(self, geometry: _curvature.Geometry) -> Callable[[Tensor], Tensor]:
        """Applies the inverse of the damped mean Hessian to rows (m, P)."""
        problem = _curvature.Problem(geometry, self.train, self.n, self.damping)
        if self.solver == "exact":
            return _curvature.exact(problem)
        if self.solver == "cg":
            return _curvature.conjugate_gradients(problem)
        if self.solver == "lissa":
            return _curvature.lissa(problem, depth=1000, repeats=4, generator=self.generator)
        return _curvature.ekfac(problem)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def given_of(
    model: nn.Module,
    train: Data,
    test: Data | None,
    layer: Layer | None,
    loss: Loss,
    damping: float,
    l2: float,
    solver: str,
    batch_size: int | None,
    generator: torch.Generator | None,
    progress: bool,
    name: str = "train",
) -> Given:
    """Check every argument before anything runs but one small batch, which tells the number of classes."""
    _checks.check_evaluation(model)
    names, module = _parameters(model, layer)
    losses = (
        None if isinstance(loss, str) and _checks.check_choice("loss", loss, ("cross_entropy",)) else loss
    )
    if losses is not None and not callable(losses):
        raise TypeError(f"loss must be 'cross_entropy' or a function, got {type(loss).__name__}")
    given = Given(model, names, module, losses)
    given.damping = _checks.check_number("damping", damping, least=0) + _checks.check_number(
        "l2", l2, least=0
    )
    given.solver = _checks.check_choice("solver", solver, SOLVERS)
    if solver == "ekfac" and losses is not None:
        raise ValueError("loss must be 'cross_entropy' with solver='ekfac', whose curvature is the softmax's")
    given.progress = _checks.check_flag("progress", progress)
    device = next(model.parameters()).device
    _checks.check_generator(generator, torch.device("cpu"))
    given.generator = generator
    size = _checks.check_batch_size(batch_size, device)
    given.train, given.n = _batches(name, train, size, model)
    if test is not None:
        given.test, _ = _batches("test", test, size, model)
    return given


def _parameters(model: nn.Module, layer: Layer | None) -> tuple[list[str], nn.Module]:
    """The names of the parameters to explain, as the model calls them, and the module that holds them."""
    module = model if layer is None else _model.find_layer(model, layer)[1]
    own = {id(p) for p in module.parameters()}
    names = [name for name, p in model.named_parameters() if id(p) in own]
    if not names:
        what = "model" if layer is None else f"layer {layer!r}"
        raise ValueError(f"{what} has no parameters, and influence acts on those; name a layer with weights")
    return names, module


def _batches(
    name: str, data: Data, batch_size: int, model: nn.Module
) -> tuple[Callable[[], Iterator[tuple[Tensor, Tensor]]], int]:
    """A set as something that gives its batches, checked, as often as asked; and its number of examples."""
    if isinstance(data, DataLoader):
        if isinstance(data.sampler, RandomSampler):
            raise ValueError(
                f"{name} shuffles, so that the scores' order would mean nothing; pass shuffle=False"
            )
        n = sum(len(labels) for _, labels in data)
        if n == 0:
            raise ValueError(f"{name} must hold at least one image, got an empty set")
        source: Iterable[tuple[Tensor, Tensor]] = data
    else:
        images, labels = _checks.check_pair(name, data, LOADER)
        n, source = len(labels), list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
    device = next(model.parameters()).device

    def read() -> Iterator[tuple[Tensor, Tensor]]:
        for pair in source:
            images, labels = _checks.check_pair(name, pair, LOADER)
            yield images.to(device), labels.to(device)

    _check_classes(name, model, next(read())[0], source)
    return read, n


def _check_classes(name: str, model: nn.Module, images: Tensor, source: Iterable) -> None:
    """Check that every label is a class of the model."""
    with _model.left_as_found(model), torch.no_grad():
        classes = _model.logits_of(model, images[:1].clone()).shape[1]
    highest = max(int(labels.max()) for _, labels in source)
    if highest >= classes:
        raise ValueError(
            f"{name} labels must be below the model's number of classes, {classes}, got {highest}"
        )
