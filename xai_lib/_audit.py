"""Looking for the marks that a manipulation leaves: in the maps, the weights and the operators."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from xai_lib import _checks, _model
from xai_lib._model import Layer
from xai_lib._surgery import Head, Place, find_place


class Finding(NamedTuple):
    """One trace of a manipulation."""

    kind: str  # "constant map" | "loud map" | "unread map" | "uneven head" | "odd operator"
    where: str  # a module's name, and the channel
    value: float  # how far from what is usual


def audit(
    model: nn.Module,
    x: Tensor,
    *,
    layer: Layer | None = None,
    loud: float = 50.0,
    batch_size: int | None = None,
) -> list[Finding]:
    """Traces in the network of a Grad-CAM map that was made to lie; none is the usual answer for honest ones.

    Looks at the layer's feature maps over the images, at the weights that read them, and at the operators
    between pixels and logits:

    - *constant map*: not zero, and the same for every image;
    - *loud map*: its largest value is more than ``loud`` times the median channel's;
    - *unread map*: all weights that read it are zero, though it is not;
    - *uneven head*: its weights are all the same, for every class and cell;
    - *odd operator*: a remainder, fraction, floor or sine, none of which classifiers have.

    Args:
        model: classifier in evaluation mode.
        x: honest images :math:`(N, C, H, W)` in [0, 1], at least two that differ.
        layer: as in ``lie_constant``.
        loud: how many times louder than the median a feature map must be.
        batch_size: images in one pass.

    Returns:
        What was found, a list of ``Finding``, empty if nothing.

    Raises:
        ValueError: if there are fewer than two images, or ``layer`` is unknown.

    What it looks for are the marks of the four published techniques: a liar who knows it avoids them.
    """
    _checks.check_images(model, x)
    if len(x) < 2:
        raise ValueError(f"x must hold at least two images, to compare their maps, got {len(x)}")
    loud = _checks.check_number("loud", loud, above=1)
    batch_size = _checks.check_batch_size(batch_size, x.device)
    place = find_place(model, layer, x.shape[-1])
    with _model.left_as_found(model):
        parts = [_model.feature_maps(model, part, place.name)[0] for part in x.split(batch_size)]
        operators = _operators(model, x[:1])
    maps = torch.cat(parts).to(torch.float64)
    return [*_loud_or_constant(maps, place.name, loud), *_odd_readers(place, maps), *operators]


def _loud_or_constant(maps: Tensor, name: str, loud: float) -> list[Finding]:
    largest = maps.abs().amax((0, 2, 3))  # (K,)
    spread = (maps - maps[:1]).abs().amax((0, 2, 3))
    constant = ((spread <= 1e-6 * largest) & (largest > 0)).nonzero()[:, 0].tolist()
    usual = largest[largest > 0].median() if (largest > 0).any() else largest.new_tensor(1.0)
    found = [Finding("constant map", f"{name}, channel {k}", float(largest[k])) for k in constant]
    for k in (largest > loud * usual).nonzero()[:, 0].tolist():
        found.append(Finding("loud map", f"{name}, channel {k}", float(largest[k] / usual)))
    return found


def _odd_readers(place: Place, maps: Tensor) -> list[Finding]:
    head, found = place.model.get_submodule(place.readers[0]), []
    if isinstance(head, Head):
        weight = torch.cat([head.inner.weight, head.weight], 1).detach()
    elif isinstance(head, nn.Linear | nn.Conv2d):
        weight = head.weight.detach()
    else:
        return found
    if weight[0].numel() % maps.shape[1]:
        return found
    columns = (
        weight.reshape(len(weight), maps.shape[1], -1).transpose(0, 1).flatten(1)
    )  # (K, classes · cells)
    alive = maps.abs().amax((0, 2, 3)) > 0
    unread = (columns == 0).all(1) & alive
    same = (columns == columns[:, :1]).all(1) & (columns[:, 0] != 0)
    for k in unread.nonzero()[:, 0].tolist():
        found.append(Finding("unread map", f"{place.readers[0]}, channel {k}", 0.0))
    for k in same.nonzero()[:, 0].tolist():
        found.append(Finding("uneven head", f"{place.readers[0]}, channel {k}", float(columns[k, 0])))
    return found


ODD = ("Remainder", "Frac", "Fmod", "Floor", "Round", "Sin", "Cos")


def _operators(model: nn.Module, x: Tensor) -> list[Finding]:
    with torch.enable_grad():
        logits = _model.logits_of(model, x.detach().clone().requires_grad_())
        names = [type(node).__name__ for node in _model.graph_behind(logits)]
    return [
        Finding("odd operator", name, 1.0)
        for name in dict.fromkeys(names)
        if name.startswith(tuple(f"{odd}Backward" for odd in ODD))
    ]
