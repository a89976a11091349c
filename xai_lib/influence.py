r"""Chapter 5: which training images made the model decide as it did? Influence functions.

One meaning and one sign throughout: **a score is the predicted change of the test image's loss when the
training image is taken out of the training set** and the model is fitted again. Positive: the training image
helped, without it the loss would rise. The unit is that of the loss (nats for cross-entropy).

With the mean training loss :math:`\frac1n \sum_i \ell_i(\theta)` plus :math:`\frac{l_2}{2} |\theta|^2` at its
minimum, taking image i out moves the weights by :math:`\frac1n H^{-1} \nabla \ell_i` to first order, and so

.. math:: \text{score} = \frac1n \nabla \ell_{test}^T (H + \lambda I)^{-1} \nabla \ell_i,

with H the *mean* Hessian. Influence functions approximate this change; nothing is trained again.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _checks, _model
from xai_lib._given import Data, Loss, given_of
from xai_lib._model import Layer
from xai_lib._refits import NetworkFit, SoftmaxRegression

__all__ = [
    "influence",
    "leave_one_out",
    "neural_network",
    "projected_gradients",
    "representation_similarity",
    "self_influence",
    "softmax_regression",
    "tracin",
]


def influence(
    model: nn.Module,
    train: Data,
    test: Data,
    *,
    layer: Layer | None = None,
    loss: Loss = "cross_entropy",
    damping: float = 0.0,
    l2: float = 0.0,
    solver: str = "exact",
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Tensor:
    r"""Predicted change of each test image's loss when one training image is removed.

    .. math:: I_{ji} = \frac1n \nabla \ell_j^T (H + \lambda I)^{-1} \nabla \ell_i, \quad
              \lambda = damping + l_2

    Positive: the training image helped this test image. The approximation is first order in 1/n and holds at
    a minimum of the training loss. For the last linear layer under cross-entropy gradients and Hessian have a
    closed form, and no Hessian of a single image is ever made; with at least as many test images as that
    layer has inputs, the network runs only once over the training images. For a network that is not convex
    the result is not the change on retraining from scratch (Basu et al. 2021, Bae et al. 2022).

    Solvers: ``"exact"`` factors the whole Hessian (up to 6000 parameters); ``"cg"`` needs only products with
    it and solves for all test images at once, to a relative residual of 1e-6; ``"lissa"`` sums powers over
    single batches (1000 of them, mean of 4 runs), noisy; ``"ekfac"`` takes the Gauss–Newton matrix, each
    layer by itself, in a Kronecker eigenbasis: the one for deep networks.

    Args:
        model: classifier in evaluation mode; images in, logits :math:`(N, K)` out.
        train: the training set: a pair (images :math:`(n, ...)`, labels :math:`(n,)`), or a DataLoader of
            such pairs that does not shuffle. Read in batches, several times.
        test: the images to explain and the labels whose loss is meant, in the same form.
        layer: whose parameters, a module or its dotted name; None for all.
        loss: ``"cross_entropy"``, or a function of logits :math:`(b, K)` and labels that gives :math:`(b,)`
            losses, written in torch.
        damping: added to the mean Hessian's diagonal, to make it positive definite.
        l2: the weight decay that the model was trained with, :math:`l_2`: it belongs to the Hessian.
        solver: ``"exact"``, ``"cg"``, ``"lissa"`` or ``"ekfac"``.
        batch_size: training images in one pass (of tensors; a DataLoader has its own).
        generator: order of the batches for ``"lissa"``, on the processor.
        progress: show a progress bar over the training images.

    Returns:
        Scores, :math:`(n_{test}, n_{train})`, in the loss's unit, detached.

    Raises:
        ValueError: if the Hessian with its damping is not positive definite (the error says what it takes), a
            label is out of range, a set is empty, the layer has no parameters or the model is in training
            mode.

    Source: Koh & Liang 2017, arXiv:1703.04730; EK-FAC: George et al. 2018, arXiv:1806.03884, and Grosse et
    al. 2023, arXiv:2308.03296; LiSSA: Agarwal et al. 2017, arXiv:1602.03943.

    >>> labels = torch.tensor([0, 1])
    >>> influence(model, (x, labels), (x, labels), layer="head", damping=0.1).shape
    torch.Size([2, 2])
    """
    given = given_of(model, train, test, layer, loss, damping, l2, solver, batch_size, generator, progress)
    with _model.left_as_found(model):
        geometry = given.geometry(solver)
        vectors = torch.cat([geometry.gradients(x, y) for x, y in given.test()])  # (m, P)
        scores = vectors.new_empty(len(vectors), given.n)
        geometry = given.looked_at_once(geometry, scores)
        solved = given.inverse(geometry)(vectors)
        with _model.progress_bar(given.n, "Influence", given.progress) as bar:
            for columns, x, y in given.columns():
                scores[:, columns] = _finite(geometry.dots(solved, x, y) / given.n)
                bar.update(len(y))
        return scores.to(given.dtype)


def self_influence(
    model: nn.Module,
    train: Data,
    *,
    layer: Layer | None = None,
    loss: Loss = "cross_entropy",
    damping: float = 0.0,
    l2: float = 0.0,
    solver: str = "exact",
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Tensor:
    r"""Predicted change of each training image's own loss when it is removed.

    .. math:: I_{ii} = \frac1n \nabla \ell_i^T (H + \lambda I)^{-1} \nabla \ell_i

    Never negative. Large where an image is fitted only because it was in the training set: a candidate for a
    wrong label, which is a hypothesis to test. Arguments and errors as ``influence``.

    Returns:
        Scores, :math:`(n_{train},)`, in the loss's unit, detached.

    Source: Koh & Liang 2017, arXiv:1703.04730, section 5.4.

    >>> self_influence(model, (x, torch.tensor([0, 1])), layer="head", damping=0.1).shape
    torch.Size([2])
    """
    given = given_of(model, train, None, layer, loss, damping, l2, solver, batch_size, generator, progress)
    with _model.left_as_found(model):
        geometry = given.geometry(solver)
        inverse = given.inverse(geometry)
        scores = []
        with _model.progress_bar(given.n, "Self-influence", given.progress) as bar:
            for x, y in given.train():
                gradients = geometry.gradients(x, y)
                scores.append((gradients * inverse(gradients)).sum(1) / given.n)
                bar.update(len(y))
        return _finite(torch.cat(scores).to(given.dtype))


def tracin(
    model: nn.Module,
    checkpoints: Sequence[dict[str, Tensor]],
    train: Data,
    test: Data,
    *,
    rates: float | Sequence[float] = 1.0,
    layer: Layer | None = None,
    loss: Loss = "cross_entropy",
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    r"""TracIn: what steps on a training image did to a test image's loss, summed over checkpoints.

    .. math:: T_{ji} = \sum_t \eta_t \, \nabla \ell_j(\theta_t)^T \nabla \ell_i(\theta_t)

    Positive: a step on the training image lowered the test image's loss. It retraces the training that was;
    it predicts no removal, so that its unit is not that of ``influence``.

    Args:
        model: classifier in evaluation mode; its own weights are left alone.
        checkpoints: state dicts of this model, saved along its training.
        train, test, layer, loss, batch_size, progress: as for ``influence``.
        rates: learning rate at each checkpoint, :math:`\eta_t`, or one for all.

    Returns:
        Scores, :math:`(n_{test}, n_{train})`, detached.

    Raises:
        ValueError: if there is no checkpoint, one lacks a weight or has another shape, or ``rates`` has
            another length; and as ``influence``.

    Source: Pruthi et al. 2020, arXiv:2002.08484 (TracInCP).

    >>> labels = torch.tensor([0, 1])
    >>> tracin(model, [model.state_dict()], (x, labels), (x, labels), layer="head").shape
    torch.Size([2, 2])
    """
    given = given_of(model, train, test, layer, loss, 0.0, 0.0, "exact", batch_size, None, progress)
    checkpoints = _check_checkpoints(model, checkpoints)
    rates = _check_rates(rates, len(checkpoints))
    with _model.left_as_found(model):
        scores = 0.0
        with _model.progress_bar(given.n * len(checkpoints), "TracIn", given.progress) as bar:
            for weights, rate in zip(checkpoints, rates, strict=True):
                times = given.at(weights).products(given.test)
                for columns, x, y in given.columns():
                    some = _finite(rate * times(x, y))
                    if not isinstance(scores, Tensor):
                        scores = some.new_zeros(len(some), given.n)
                    scores[:, columns] += some
                    bar.update(len(y))
        return scores.to(given.dtype)


def representation_similarity(
    model: nn.Module,
    train: Data,
    test: Data,
    *,
    layer: Layer,
    batch_size: int | None = None,
) -> Tensor:
    """Cosine between the layer's outputs: the baseline that an influence score has to beat.

    It knows neither the loss nor the labels: a training image that looks alike to the layer scores high,
    whether it helped or harmed.

    Args:
        model, train, test, batch_size: as for ``influence``; labels are not used.
        layer: whose output, a module or its dotted name.

    Returns:
        Cosines, :math:`(n_{test}, n_{train})`, detached.

    Raises:
        ValueError: as ``influence``.

    Source: Hanawa et al. 2021, arXiv:2006.04528, compare such baselines.

    >>> labels = torch.tensor([0, 1])
    >>> representation_similarity(model, (x, labels), (x, labels), layer="features").shape
    torch.Size([2, 2])
    """
    given = given_of(model, train, test, None, "cross_entropy", 0.0, 0.0, "exact", batch_size, None, False)
    _, module = _model.find_layer(model, layer)
    with _model.left_as_found(model):
        test_side, train_side = (
            torch.cat([F.normalize(_output(model, module, x), dim=1) for x, _ in batches()])
            for batches in (given.test, given.train)
        )
        return _finite((test_side @ train_side.T).to(given.dtype))


def projected_gradients(
    model: nn.Module,
    data: Data,
    dimension: int,
    *,
    layer: Layer | None = None,
    loss: Loss = "cross_entropy",
    seed: int = 0,
    batch_size: int | None = None,
) -> Tensor:
    r"""Each example's gradient, projected at random: a fingerprint of what it teaches, small enough to keep.

    The projection has independent signs over :math:`\sqrt{dimension}`: inner products of gradients are kept
    in expectation, with a relative deviation of about :math:`1 / \sqrt{dimension}`. It is what TRAK scores
    are made of; the same seed gives the same projection for every set and every call.

    Args:
        model, layer, loss, batch_size: as for ``influence``.
        data: a pair (images, labels) or a DataLoader of such pairs that does not shuffle.
        dimension: length of the projected gradient.
        seed: of the projection.

    Returns:
        Projected gradients, :math:`(n, dimension)`, detached.

    Raises:
        ValueError: as ``influence``.

    Source: Park et al. 2023, arXiv:2303.14186 (TRAK).

    >>> projected_gradients(model, (x, torch.tensor([0, 1])), 8).shape
    torch.Size([2, 8])
    """
    dimension, seed = _checks.check_count("dimension", dimension), _checks.check_count("seed", seed, least=0)
    given = given_of(model, data, None, layer, loss, 0.0, 0.0, "exact", batch_size, None, False, name="data")
    with _model.left_as_found(model):
        geometry = given.geometry("ekfac")
        parts = []
        for x, y in given.train():
            rows = geometry.gradients(x, y)
            source = torch.Generator().manual_seed(seed)
            projected = rows.new_zeros(len(rows), dimension)
            for piece in rows.split(2**14, dim=1):  # the projection is made in strips, never whole
                signs = 2 * torch.randint(0, 2, (piece.shape[1], dimension), generator=source) - 1
                projected += piece @ signs.to(piece)
            parts.append(projected / dimension**0.5)
        return _finite(torch.cat(parts).to(given.dtype))


# ------------------------------------------------------------------------------------------- the ground truth

Fit = Callable[[Tensor, Tensor, Tensor], Callable[[Tensor], Tensor]]


def leave_one_out(
    fit: Fit,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    which: Sequence[int] | Tensor | None = None,
    together: int = 32,
    progress: bool = False,
) -> Tensor:
    """Real changes of the test images' losses when training images are removed, by fitting again.

    Args:
        fit: fits R models at once: ``fit(images, labels, weights)`` gets the whole training set and
            :math:`(R, n)` weights of the examples (1, or 0 for one that is removed), and returns a function
            from test images to logits :math:`(R, m, K)`; ``softmax_regression`` and ``neural_network`` make
            such fits.
        train, test: pairs (images, labels).
        which: indices of the training images to remove, one at a time; None for all.
        together: how many models are fitted at once.
        progress: show a progress bar, counted in fits.

    Returns:
        Change of each test image's cross-entropy, :math:`(n_{test}, len(which))`: positive where the removed
        image had helped.

    Raises:
        ValueError: if an index is out of range, a set is empty or a label has no logit.

    >>> images, labels = torch.randn(12, 3).double(), torch.arange(12) % 2
    >>> fit = softmax_regression(l2=0.1)
    >>> leave_one_out(fit, (images, labels), (images[:4], labels[:4]), which=[0, 5]).shape
    torch.Size([4, 2])
    """
    images, labels = _checks.check_pair("train", train)
    test_images, test_labels = _checks.check_pair("test", test)
    removed = _check_which(which, len(labels), labels.device)
    together = _checks.check_count("together", together)

    def losses(weights: Tensor) -> Tensor:
        logits = fit(images, labels, weights)(test_images)  # (R, m, K)
        _checks.check_range(int(test_labels.max()), logits.shape[-1])
        wanted = test_labels.expand(len(weights), -1)
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape)

    everything = images.new_ones(1, len(labels))
    before = losses(everything)
    changes = []
    with _model.progress_bar(len(removed), "Leave one out", _checks.check_flag("progress", progress)) as bar:
        for some in removed.split(together):
            weights = everything.repeat(len(some), 1)
            weights[torch.arange(len(some)), some] = 0
            changes.append((losses(weights) - before).T)
            bar.update(len(some))
    return torch.cat(changes, 1)


def softmax_regression(*, l2: float, bias: bool = True, steps: int = 100, tolerance: float = 1e-10) -> Fit:
    r"""A fit for ``leave_one_out``: softmax regression to its minimum, by Newton's method, many at once.

    Minimises :math:`\frac1n \sum_i w_i \ell_i(\theta) + \frac{l_2}{2} |\theta|^2`, with n the number of *all*
    examples, removed or not, so that removing one changes nothing else. The bias is penalised too: without
    that the minimum is not unique. All but the first fit start where the first has ended.

    Args:
        l2: weight decay, above 0.
        bias: whether a constant joins the features.
        steps: Newton steps at most.
        tolerance: largest entry of the gradient at which to stop.

    Returns:
        A fit: (images, labels, weights) to a function from images to logits. Its weights for the whole set
        are ``fit.weights`` (K, D) after the first call.

    Raises:
        ValueError: if ``l2`` is not positive, or Newton's method has not arrived.

    >>> fit = softmax_regression(l2=0.1)
    >>> images, labels = torch.randn(12, 3).double(), torch.arange(12) % 2
    >>> fit(images, labels, torch.ones(5, 12).double())(images).shape
    torch.Size([5, 12, 2])
    """
    l2 = _checks.check_number("l2", l2, above=0)
    steps = _checks.check_count("steps", steps)
    return SoftmaxRegression(l2, _checks.check_flag("bias", bias), steps, tolerance)


def neural_network(
    network: Callable[[], nn.Module],
    *,
    l2: float = 0.0,
    epochs: int = 200,
    rate: float = 1e-2,
    batch_size: int | None = None,
    seed: int = 0,
) -> Fit:
    r"""A fit for ``leave_one_out``: small networks trained from scratch, many at once in one loop.

    Minimises :math:`\frac1n \sum_i w_i \ell_i(\theta) + \frac{l_2}{2} |\theta|^2` by Adam with a one-cycle
    schedule. All trainings begin with the same weights and meet the same mini-batches in the same order; a
    removed image stays in its batch with weight 0. What is left between two of them is the removal, and
    rounding, which grows along a training: pass float64 images where changes are small.

    A network has many minima: another ``seed`` gives other changes. How far two seeds agree is the most that
    any prediction of them can.

    Args:
        network: makes a new network with random weights: a function without arguments, or a class. Images
            :math:`(b, ...)` in, logits out; it gets the images' dtype. One that loads weights before it is
            returned is trained on from there. Neither batch normalisation nor dropout; group and layer
            normalisation are fine.
        l2: weight decay, of biases too.
        epochs: passes over the training set.
        rate: highest learning rate.
        batch_size: images in a mini-batch; None for the whole set.
        seed: of the initial weights and of the mini-batches.

    Returns:
        A fit: (images, labels, weights) to a function from images to logits. After ``leave_one_out``, or a
        call with one row of ones, ``fit.model`` is the network trained on the whole set, in evaluation mode.

    Raises:
        ValueError: if the network holds batch normalisation or dropout, a label has no logit, or a training
            diverges.

    >>> fit = neural_network(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    >>> images, labels = torch.randn(12, 3).double(), torch.arange(12) % 2
    >>> leave_one_out(fit, (images, labels), (images[:4], labels[:4]), which=[0, 5]).shape
    torch.Size([4, 2])
    """
    l2, rate = _checks.check_number("l2", l2, least=0), _checks.check_number("rate", rate, above=0)
    epochs, seed = _checks.check_count("epochs", epochs), _checks.check_count("seed", seed, least=0)
    size = None if batch_size is None else _checks.check_count("batch_size", batch_size)
    return NetworkFit(network, l2, epochs, rate, size, seed)


# -------------------------------------------------------------------------------------------------- arguments


def _check_which(which: Any, n: int, device: torch.device) -> Tensor:
    if which is None:
        return torch.arange(n, device=device)
    index = torch.as_tensor(which, device=device)
    if index.is_floating_point() or index.dtype == torch.bool or index.dim() != 1 or len(index) == 0:
        raise ValueError(f"which must be a list of indices of training images, got {which!r}")
    if int(index.min()) < 0 or int(index.max()) >= n:
        raise ValueError(
            f"which must lie between 0 and {n - 1}, got {int(index.min())} to {int(index.max())}"
        )
    return index


def _check_checkpoints(model: nn.Module, checkpoints: Any) -> list[dict[str, Tensor]]:
    if isinstance(checkpoints, dict) or not isinstance(checkpoints, list | tuple) or not checkpoints:
        raise ValueError("checkpoints must be a list of at least one state dict of this model")
    own = dict(model.named_parameters())
    for i, state in enumerate(checkpoints):
        for name, p in own.items():
            if name not in state:
                raise ValueError(f"checkpoints[{i}] lacks the weight {name!r} of this model")
            if state[name].shape != p.shape:
                raise ValueError(
                    f"checkpoints[{i}][{name!r}] has shape {tuple(state[name].shape)}, but the model's "
                    f"weight has {tuple(p.shape)}"
                )
    own |= {name: b for name, b in model.named_buffers() if all(name in state for state in checkpoints)}
    return [{name: state[name].to(t) for name, t in own.items()} for state in checkpoints]


def _check_rates(rates: Any, n: int) -> list[float]:
    rates = [rates] * n if _checks.is_number(rates) else list(rates)
    if len(rates) != n:
        raise ValueError(f"rates must be one number or one for each checkpoint, {n}, got {len(rates)}")
    return [_checks.check_number(f"rates[{i}]", rate, least=0) for i, rate in enumerate(rates)]


def _output(model: nn.Module, module: nn.Module, x: Tensor) -> Tensor:
    """A module's output, flattened, (b, D)."""
    kept: list[Tensor] = []
    handle = module.register_forward_hook(lambda _m, _a, output: kept.append(output.detach()))
    try:
        with torch.no_grad():
            _model.logits_of(model, x.clone())
    finally:
        handle.remove()
    return kept[-1].flatten(1).to(_model.wide(x.dtype))


def _finite(scores: Tensor) -> Tensor:
    if not bool(scores.isfinite().all()):
        raise ValueError("model gives NaN or infinite influence scores; are its logits finite?")
    return scores
