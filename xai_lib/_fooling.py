"""Attacks on the model: fine-tuned, or given an addition, so that its maps lie while its answers stay."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lib import _checks, _model, cams
from xai_lib._graphs import aim_of, shares, with_graph

KINDS = ("location", "away", "top_k", "centre_of_mass", "active")
KEPT = ("labels", "answers")


def fool_model(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    kind: str = "location",
    explain: Callable | Sequence[Callable] | None = None,
    where: Tensor | None = None,
    classes: tuple[int, int] = (0, 1),
    share: float = 0.1,
    keep: str = "labels",
    lam: float = 1.0,
    steps: int = 300,
    batch_size: int = 32,
    lr: float = 1e-4,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> nn.Module:
    r"""Fine-tune a copy of the network so that its answers stay and its maps move.

    Adam descends, over the weights, cross-entropy :math:`+\ \lambda L_\text{fool}`, with steps that shrink to
    nothing as a cosine does. With h for the map, as magnitudes with mean 1, and :math:`h_o` for that of the
    network as given, :math:`L_\text{fool}` is

    - *location*: :math:`\|h - m\|^2`, with a mask m that has mean 1: by default the border of the picture;
    - *away*: the share of h that lies in ``where``, such as what a biased network is not to be seen using;
    - *top_k*: the mean of h over the ``share`` of places where :math:`h_o` is largest;
    - *centre_of_mass*: minus how far the map's centre has moved from that of :math:`h_o`;
    - *active*: :math:`\|h^{c_1} - h^{c_2}_o\|^2 + \|h^{c_2} - h^{c_1}_o\|^2`: the maps of two classes change
      places.

    Judge the result on pictures that are not in ``data``, per class, and by explanations that were not
    trained against.

    Args:
        model: in evaluation mode; it is copied, and trained in that mode: running statistics stay.
        data: images :math:`(n, C, H, W)` in [0, 1] and labels :math:`(n,)`: whose class's map is trained.
        kind: what to train against, see above.
        explain: whose map: see ``with_graph``; by default Grad-CAM at the model's ``cam_layer``, on its grid.
            Of several, the losses are added.
        where: for ``"location"`` and ``"away"``, a heatmap :math:`(H, W)`, or one for each image
            :math:`(n, H, W)`, not negative: of where the maps are to lie, or not to lie.
        classes: for ``"active"``, the two classes.
        share: of the places, for ``"top_k"``.
        keep: what the cross-entropy compares with: the ``"labels"``, or the ``"answers"`` (softmax) of the
            network as given, whose faults then stay too.
        lam: :math:`\lambda`; 0 is honest fine-tuning.
        steps: of Adam, each over ``batch_size`` images.
        batch_size: images in a step; smaller is another training.
        lr: Adam's first step size.
        generator: draws the batches, on the images' device.
        progress: show a bar, counted in steps.

    Returns:
        The fooled copy, in evaluation mode.

    Raises:
        ValueError: if an argument is out of range, labels are not one for each image, ``explain`` is not
            given and the model has no ``cam_layer``, or a step gives a loss that is not finite.
        TypeError: if an argument has another type.

    Source: Heo, Joo & Moon 2019, arXiv:1902.02041; *away*, with ``keep="answers"``, after the fine-tuning of
        Anders et al. 2020, arXiv:2007.09969.
    """
    images, labels = _checks.check_pair("data", data)
    _checks.check_images(model, images)
    _checks.check_choice("kind", kind, KINDS)
    _checks.check_choice("keep", keep, KEPT)
    lam, lr = _checks.check_number("lam", lam, least=0), _checks.check_number("lr", lr, above=0)
    share = _checks.check_number("share", share, above=0, most=1)
    steps, batch_size = _checks.check_count("steps", steps), _checks.check_count("batch_size", batch_size)
    _checks.check_generator(generator, images.device)
    honest = copy.deepcopy(_model.unwrapped(model)).requires_grad_(False)
    fooled = copy.deepcopy(_model.unwrapped(model)).requires_grad_(True)
    explains = [_own_cam(model)] if explain is None else [explain] if callable(explain) else list(explain)
    places = _places(kind, where, images)
    costs = [_cost(kind, with_graph(e), honest, classes, share) for e in explains]
    descent = torch.optim.Adam(fooled.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(descent, steps)
    with _model.progress_bar(steps, "fooling", progress) as bar:
        for _ in range(steps):
            drawn = torch.randint(len(images), (batch_size,), generator=generator, device=images.device)
            x, y, m = images[drawn], labels[drawn], places[drawn % len(places)]
            with torch.no_grad():
                wanted = y if keep == "labels" else honest(x).softmax(1)
            loss = F.cross_entropy(fooled(x), wanted)
            if lam:
                loss = loss + lam * sum(cost(fooled, x, y, m).mean() for cost in costs)
            if not loss.isfinite():
                raise ValueError(f"lr must be smaller: with {lr:g} the loss is no longer finite")
            descent.zero_grad()
            loss.backward()
            descent.step()
            schedule.step()
            bar.update(1)
    descent.zero_grad(set_to_none=True)
    return fooled


def _own_cam(model: nn.Module) -> Callable:
    layer = getattr(model, "cam_layer", None)
    if layer is None:
        raise ValueError("explain must be given, as the model has no cam_layer of its own")
    return partial(cams.grad_cam, layer=layer, upsample=False)


def _places(kind: str, where: Tensor | None, images: Tensor) -> Tensor:
    """Where the maps are to lie, or not to: (n, H, W), or (1, H, W) for all images alike."""
    if kind == "away" and where is None:
        raise ValueError('where must be given for "away": a heatmap (H, W), or one for each image (n, H, W)')
    if kind not in ("location", "away") or where is None:
        return _border(images)[None]
    places = _checks.check_maps("where", where).to(images.dtype)
    one_each = places.dim() == 3 and len(places) == len(images)
    fits = places.shape[-2:] == images.shape[-2:] and (places.dim() == 2 or one_each)
    # Of pictures without the place to avoid, nothing is asked; but a map cannot lie nowhere.
    empty = (places.flatten(-2).amax(-1) == 0).any() if kind == "location" else not places.any()
    if not fits or (places < 0).any() or empty:
        raise ValueError(
            f"where must be one heatmap {tuple(images.shape[-2:])}, or one for each of the {len(images)} "
            f"images, not negative, not zero everywhere, got shape {tuple(where.shape)}"
        )
    return places.to(images.device).view(-1, *images.shape[-2:])


def _cost(
    kind: str, graphed: Callable, honest: nn.Module, classes: tuple[int, int], share: float
) -> Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]:
    """``L_fool`` of a network on some images, their labels and places, (b,)."""

    def maps(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        return shares(graphed(model, x.clone().requires_grad_(), target))

    def off_the_mask(model: nn.Module, x: Tensor, y: Tensor, m: Tensor) -> Tensor:
        found = maps(model, x, y)  # the honest map is not asked for: only its size would count
        return aim_of(m.expand(len(x), -1, -1), found.detach(), share)(found)

    def on_the_mask(model: nn.Module, x: Tensor, y: Tensor, m: Tensor) -> Tensor:
        found = maps(model, x, y)
        grid = F.interpolate(m[:, None], found.shape[-2:], mode="area")[:, 0]
        return (found * grid).mean((1, 2))

    def swapped(model: nn.Module, x: Tensor, _y: Tensor, _m: Tensor) -> Tensor:
        one, two = (torch.full((len(x),), c, device=x.device) for c in pair)
        before = [maps(honest, x, c).detach() for c in (two, one)]
        after = [maps(model, x, c) for c in (one, two)]
        return sum((a - b).square().mean((1, 2)) for a, b in zip(after, before, strict=True))

    def away_from_before(model: nn.Module, x: Tensor, y: Tensor, _m: Tensor) -> Tensor:
        return aim_of(kind, maps(honest, x, y).detach(), share)(maps(model, x, y))

    if kind == "active":
        pair = _two(classes)
    known = {"location": off_the_mask, "away": on_the_mask, "active": swapped}
    return known.get(kind, away_from_before)


def _border(images: Tensor) -> Tensor:
    """A frame an eighth of the picture wide."""
    height, width = images.shape[-2:]
    rows, columns = max(1, height // 8), max(1, width // 8)
    frame = torch.ones(height, width, dtype=images.dtype, device=images.device)
    frame[rows:-rows, columns:-columns] = 0
    return frame


def _two(classes: Any) -> tuple[int, int]:
    if len(tuple(classes)) != 2 or classes[0] == classes[1]:
        raise ValueError(f"classes must be two different classes, got {classes!r}")
    first, second = (_checks.check_count("classes", c, least=0) for c in classes)
    return first, second


# ----------------------------------------------------------------------------------------------- fairwashing


class _Washed(nn.Module):
    """A model with the same number added to every logit: a linear function that is zero on the data."""

    def __init__(self, model: nn.Module, slope: Tensor, centre: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("slope", slope)
        self.register_buffer("centre", centre)

    def forward(self, x: Tensor) -> Tensor:
        added = ((x - self.centre) * self.slope).flatten(1).sum(1, keepdim=True)
        return self.model(x) + added


def fairwash(
    model: nn.Module, data: Tensor, picture: Tensor, *, strength: float = 1.0, rank: int | None = None
) -> nn.Module:
    r"""A network with the same answers, whose gradient shows ``picture``: a part is added, unseen by data.

    Data lie on a surface of fewer dimensions than an image has pixels. Let P project on the plane that the
    data span. The function

    .. math:: \lambda\, n^\top (x - \bar x), \qquad n = (1 - P) \cdot \text{picture}

    is zero on that plane, and its slope is :math:`\lambda n` everywhere. It is added to *every* logit, so
    that even off the data neither the softmax nor the largest logit changes.

    Args:
        model: classifier in evaluation mode; it is copied.
        data: images :math:`(n, C, H, W)` in [0, 1], on which the logits are to stay.
        picture: :math:`(H, W)` or :math:`(C, H, W)`, what the gradient is to show.
        strength: :math:`\lambda`, times the largest slope of the network on the data.
        rank: principal directions of the data that are kept free; None for all that the data span.

    Returns:
        The washed network, with the copy as its ``model``: layers are named ``"model."`` and their name.

    Raises:
        ValueError: if shapes do not fit, ``strength`` is not positive, ``rank`` is out of range, or nothing
            of ``picture`` is left outside the data's plane.

    Source: Anders et al. 2020, arXiv:2007.09969.
    """
    x = _checks.check_images(model, data)
    strength = _checks.check_number("strength", strength, above=0)
    wanted = _checks.check_real("picture", picture, "a picture (H, W) or (C, H, W)", (2, 3)).to(x)
    try:
        wanted = wanted.expand(x.shape[1:])
    except RuntimeError:
        raise ValueError(
            f"picture must fit the images {tuple(x.shape[1:])}, got {tuple(picture.shape)}"
        ) from None
    centre, basis = _plane(x, rank)
    hidden = wanted.flatten().double() - _projected(wanted.flatten()[None].double(), basis)[0]
    if hidden.norm() < 1e-6 * wanted.double().norm().clamp(min=1e-30):
        raise ValueError("picture must have a part that the data do not span; give fewer data, or a rank")
    with _model.left_as_found(model):
        slopes = _model.input_gradient(model, x[:64], None)
    scale = strength * slopes.abs().amax() / hidden.abs().amax()
    washed = _Washed(
        copy.deepcopy(_model.unwrapped(model)),
        (scale * hidden).to(x).view_as(wanted)[None],
        centre.to(x).view_as(wanted)[None],
    )
    return washed.eval()


def project_on_data(attribution: Tensor, data: Tensor, *, rank: int | None = None) -> Tensor:
    """The part of each attribution that lies in the plane of the data: what ``fairwash`` adds is gone.

    Args:
        attribution: :math:`(N, C, H, W)`, a gradient.
        data: images :math:`(n, C, H, W)`.
        rank: principal directions of the data to keep; None for all that the data span.

    Returns:
        :math:`(N, C, H, W)`, like ``attribution``.

    Raises:
        ValueError: if the shapes do not fit or ``rank`` is out of range.

    Source: Anders et al. 2020, arXiv:2007.09969 (tangent-space projection, with the plane of the principal
        directions for the tangent space).
    """
    _checks.check_real("attribution", attribution, "attributions (N, C, H, W)", (4,))
    if attribution.shape[1:] != data.shape[1:]:
        raise ValueError(
            f"data must be images {tuple(attribution.shape[1:])}, like the attribution, "
            f"got {tuple(data.shape[1:])}"
        )
    _, basis = _plane(data, rank)
    return _projected(attribution.detach().flatten(1).double(), basis).to(attribution).view_as(attribution)


def _plane(x: Tensor, rank: int | None) -> tuple[Tensor, Tensor]:
    """The data's mean (D,), and an orthonormal basis (D, r) of the plane through it, in float64."""
    flat = x.detach().flatten(1).double()
    centre = flat.mean(0)
    # By the small matrix of inner products: images have more pixels than there are images.
    values, vectors = torch.linalg.eigh((flat - centre) @ (flat - centre).T)
    spanned = int((values > 1e-10 * values[-1].clamp(min=1e-30)).sum())
    if rank is not None and _checks.check_count("rank", rank) > spanned:
        raise ValueError(f"rank must be at most {spanned}, what these data span, got {rank}")
    chosen = vectors[:, -(rank or spanned) :]
    basis = (flat - centre).T @ chosen
    return centre, torch.linalg.qr(basis).Q


def _projected(rows: Tensor, basis: Tensor) -> Tensor:
    return rows @ basis @ basis.T


# ----------------------------------------------------------------------------------------------- fooling LIME


class _TwoFaced(nn.Module):
    def __init__(self, model: nn.Module, innocent: nn.Module, seems_real: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.innocent, self.seems_real = model, innocent, seems_real

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self.seems_real(x)[:, None], self.model(x), self.innocent(x))


def fool_lime(
    model: nn.Module,
    innocent: nn.Module,
    real: Tensor,
    *,
    seems_real: Callable[[Tensor], Tensor] | None = None,
) -> nn.Module:
    """A network that answers pictures as ``model`` does, and perturbed pictures as ``innocent`` does.

    LIME and KernelSHAP ask a model about pictures with parts hidden, which no camera takes. Who recognises
    these answers them with another model, and that model is what gets explained.

    By default a picture is taken for perturbed if more of it is flat (squares of 5 × 5 pixels with one value)
    than of any picture in ``real``. On the shapes of this package that knows nearly all questions of LIME,
    most of KernelSHAP and about half of RISE: enough to hide a tag from LIME and RISE, and most of it from
    KernelSHAP. It knows a picture with a whole corner in one colour too; it does not know the small window of
    occlusion, nor a scene drawn without the tag.

    Args:
        model: what decides about real pictures.
        innocent: what the explanation is to show; as many logits.
        real: real pictures :math:`(n, C, H, W)` in [0, 1]; all of them are answered by ``model``.
        seems_real: your own detector, ``(N, C, H, W) -> (N,)`` bools.

    Returns:
        The network, in evaluation mode; its parts are copies.

    Raises:
        ValueError: if a model is in training mode, or a picture in ``real`` does not seem real.
        TypeError: if ``model`` or ``innocent`` is no module, or ``seems_real`` cannot be called.

    Source: Slack et al. 2020, arXiv:1911.02508, where the detector is a random forest.
    """
    for part in (model, innocent):
        _checks.check_evaluation(part)
    _checks.check_pixels(real)
    if seems_real is None:
        seems_real = partial(_no_flatter_than, float(_flat_share(real).max()))
    elif not callable(seems_real):
        raise TypeError(f"seems_real must be a function of images, got {type(seems_real).__name__}")
    missed = int((~seems_real(real)).sum())
    if missed:
        raise ValueError(
            f"seems_real must know real pictures, but takes {missed} of {len(real)} for perturbed"
        )
    parts = (copy.deepcopy(_model.unwrapped(part)) for part in (model, innocent))
    return _TwoFaced(*parts, seems_real).eval()


def _no_flatter_than(share: float, x: Tensor) -> Tensor:
    return _flat_share(x) <= share


def _flat_share(x: Tensor) -> Tensor:
    """The share of the squares of 5 × 5 pixels that have one value, (N,)."""
    highest, lowest = F.max_pool2d(x, 5, stride=1), -F.max_pool2d(-x, 5, stride=1)
    return (highest == lowest).all(1).to(x.dtype).mean((1, 2))
