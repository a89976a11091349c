"""Explaining a class against the others: what is added to every logit alike falls out of the explanation."""

import torch
from torch import Tensor, nn

from xai_lib import _checks

WAYS = ("mean", "softmax", "rest")


def contrast(model: nn.Module, against: str = "mean") -> nn.Module:
    r"""The model with each logit taken against the others: explained is why this class *rather*.

    What a network adds to all logits alike changes neither its probabilities nor its answer, but it changes
    the gradient of every logit. Against the others it cancels:

    - ``"mean"``: :math:`y_c - \frac{1}{C} \sum_j y_j`. Up to the factor :math:`C / (C - 1)`, the logit less
      the mean of the others.
    - ``"softmax"``: :math:`\log p_c = y_c - \log \sum_j e^{y_j}`. Its gradient vanishes where the model is
      sure.
    - ``"rest"``: :math:`\log \frac{p_c}{1 - p_c} = y_c - \log \sum_{j \ne c} e^{y_j}`, against the others
      alone, mostly the strongest of them. Its gradient does not vanish.

    It cancels exactly in exact arithmetic. In single precision a slope of :math:`10^2` at a map of
    :math:`10^7` leaves its rounding, which can be larger than the honest map: explain a copy in double
    precision.

    Args:
        model: classifier in evaluation mode; images in, logits out.
        against: what each logit is taken against.

    Returns:
        A model around ``model`` (no copy), for any explainer. Layers keep their dotted names there. The
        probabilities stay for ``"mean"`` and ``"softmax"``.

    Raises:
        ValueError: if ``against`` is unknown, or the model is in training mode.
        TypeError: if ``model`` is no module.

    Source: that Grad-CAM should explain differences of logits is the idea of DiffGradCAM, Piland et al. 2025,
    arXiv:2506.08514; the log-odds as the difference are our choice.

    >>> from xai_lib import grad_cam
    >>> grad_cam(contrast(model), x, layer="features.7").shape
    torch.Size([2, 64, 64])
    """
    _checks.check_evaluation(model)
    return Contrast(model, _checks.check_choice("against", against, WAYS)).eval()


class Contrast(nn.Module):
    """A model whose logits are taken against the others."""

    def __init__(self, model: nn.Module, against: str) -> None:
        super().__init__()
        self.module, self.against = model, against  # ``module``: layers are found by their inner names
        for name in ("labels", "cam_layer", "head", "size"):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    def forward(self, x: Tensor) -> Tensor:
        y = self.module(x)
        if self.against == "mean":
            return y - y.mean(1, keepdim=True)
        if self.against == "softmax":
            return y.log_softmax(1)
        best, total = y.argmax(1, keepdim=True), y.logsumexp(1, keepdim=True)
        # Of all but the largest the probability is at most a half, and 1 − p is safe to compute.
        smaller = (y - total).exp().scatter(1, best, 0.0)
        without_best = y.scatter(1, best, -torch.inf).logsumexp(1, keepdim=True)
        return y - (total + (-smaller).log1p()).scatter(1, best, without_best)
