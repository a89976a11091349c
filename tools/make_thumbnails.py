"""Draw the cheat sheet's small pictures: for each method that can be imported, one heatmap of one answer.

    python tools/make_thumbnails.py               # all of them: a few minutes
    python tools/make_thumbnails.py gradient cam  # these

The methods for networks explain "Egyptian cat" on the photograph of a cat; a linear model and a tree are
shown as they are, on scanned digits. Each map has its own range: the pictures show where, not how much.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from xai_lib import cams, data, gradients, heatmaps, influence, models, perturbation, surrogates

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "book" / "images" / "methods"
SIZE = 168  # pixels; shown at 84
CAT = 285  # "Egyptian cat"
DIGIT = 3


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def of_the_cat(explain: Callable, *, cam: bool = False, head: bool = False, **options) -> Tensor:
    """What a method says about the cat: (H, W), signed where the method's own result is."""
    model, cat = models.load_model("efficientnet_lite0"), data.load_photo("cat")
    if cam:
        options["layer"] = model.cam_layer
    if head:
        options["head"] = model.head
    return explain(model, cat, CAT, **options)[0].detach()


def of_the_gradients(explain: Callable, **options) -> Tensor:
    """A map without sign: the largest absolute value over the colours of a pixel."""
    attribution = of_the_cat(explain, **options)
    return heatmaps.to_heatmap(attribution[None])[0]


def linear_model() -> Tensor:
    """The weights of one digit: red pixels speak for it, blue ones against it."""
    x, y = data.digits()
    fitted = LogisticRegression(C=0.05, max_iter=500).fit(x.flatten(1).numpy(), y.numpy())
    return torch.from_numpy(fitted.coef_[DIGIT].reshape(x.shape[-2:]))


def decision_tree() -> Tensor:
    """The pixels that a tree of depth 5 compares on its way to one digit, the first the brightest."""
    x, y = data.digits()
    flat = x.flatten(1).numpy()
    fitted = DecisionTreeClassifier(max_depth=5, random_state=0).fit(flat, y.numpy())
    path = fitted.decision_path(flat[(y == DIGIT).numpy()][:1]).indices
    used = torch.zeros(x[0].numel())
    for depth, node in enumerate(path[:-1]):
        used[fitted.tree_.feature[node]] = 1 - 0.15 * depth
    return used.reshape(x.shape[-2:])


@cache
def digits_told() -> tuple[torch.nn.Module, list[dict], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A linear classifier of digits at its minimum, states on the way there, training and test digits."""
    x, y = data.digits()
    x = x.double()
    train, test = (x[:400], y[:400]), (x[400:500], y[400:500])
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).double().eval()
    torch.nn.init.zeros_(model[1].weight), torch.nn.init.zeros_(model[1].bias)
    states = []
    for step in range(50):
        if step % 10 == 0:
            states.append({key: value.clone() for key, value in model.state_dict().items()})
        loss = torch.nn.functional.cross_entropy(model(train[0]), train[1])
        slopes = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(model.parameters(), slopes, strict=True):
                parameter -= slope
    fit = influence.softmax_regression(l2=0.01)
    fit(*train, torch.ones(1, 400).double())
    with torch.no_grad():
        model[1].weight.copy_(fit.weights[:, :-1])
        model[1].bias.copy_(fit.weights[:, -1])
    return model, states, train, test


def four(images: Tensor) -> Tensor:
    """Four digits (4, 1, 8, 8) in a square, a thin line between them."""
    framed = torch.nn.functional.pad(images[:, 0], (0, 1, 0, 1), value=0.35)  # (4, 9, 9)
    return torch.cat([torch.cat(list(framed[:2]), 1), torch.cat(list(framed[2:]), 1)], 0)[:-1, :-1]


def traced(score: Callable) -> Tensor:
    """A test digit, and the three training digits that a score puts first for it.

    The test digit is the one that influence functions say most about: the same for every score.
    """
    model, states, train, test = digits_told()
    asked = int(influence.influence(model, train, test, l2=0.01).amax(1).argmax())
    one = test[0][asked : asked + 1], test[1][asked : asked + 1]
    best = score(model, states, train, one)[0].topk(3).indices
    return four(torch.cat([one[0], train[0][best]]))


def told_by_themselves() -> Tensor:
    """The four training digits with the largest self-influence."""
    model, _, train, _ = digits_told()
    return four(train[0][influence.self_influence(model, train, l2=0.01).topk(4).indices])


METHODS: dict[str, Callable[[], Tensor]] = {
    "linear_model": linear_model,
    "decision_tree": decision_tree,
    "gradient": partial(of_the_gradients, gradients.gradient),
    "gradient_x_input": partial(of_the_gradients, gradients.gradient_x_input),
    "smooth_grad": lambda: of_the_gradients(gradients.smooth_grad, generator=seeded()),
    "integrated_gradients": partial(of_the_gradients, gradients.integrated_gradients),
    "guided_backprop": partial(of_the_gradients, gradients.guided_backprop),
    "deconvnet": partial(of_the_gradients, gradients.deconvnet),
    "cam": partial(of_the_cat, cams.cam, cam=True, head=True),
    "grad_cam": partial(of_the_cat, cams.grad_cam, cam=True),
    "grad_cam_plus_plus": partial(of_the_cat, cams.grad_cam_plus_plus, cam=True),
    "xgrad_cam": partial(of_the_cat, cams.xgrad_cam, cam=True),
    "layer_cam": partial(of_the_cat, cams.layer_cam, cam=True),
    "hires_cam": partial(of_the_cat, cams.hires_cam, cam=True),
    "score_cam": partial(of_the_cat, cams.score_cam, cam=True),
    "guided_grad_cam": partial(of_the_gradients, cams.guided_grad_cam, cam=True),
    "occlusion": partial(of_the_cat, perturbation.occlusion),
    "lime": lambda: of_the_cat(surrogates.lime, n_samples=500, generator=seeded()),
    "kernel_shap": lambda: of_the_cat(surrogates.shapley, n_samples=500, generator=seeded()),
    "influence_functions": lambda: traced(lambda m, states, *sets: influence.influence(m, *sets, l2=0.01)),
    "self_influence": told_by_themselves,
    "tracin": lambda: traced(influence.tracin),
    "representation_similarity": lambda: traced(
        lambda m, states, *sets: influence.representation_similarity(m, *sets, layer="0")
    ),
    "rise": lambda: of_the_cat(perturbation.rise, n_masks=1000, generator=seeded()),
}
SIGNED = {
    "linear_model",
    "cam",
    "occlusion",
    "lime",
    "kernel_shap",
}  # the others are drawn from black to white


def picture(name: str) -> Image.Image:
    """The method's map, coloured."""
    values = METHODS[name]().squeeze().numpy().astype(float)
    if name in SIGNED:
        largest = np.quantile(np.abs(values), 0.995)
        colours = matplotlib.colormaps["RdBu_r"](np.clip(values / largest / 2 + 0.5, 0, 1))
    else:
        low, high = values.min(), np.quantile(values, 0.995)
        colours = matplotlib.colormaps["inferno"](np.clip((values - low) / (high - low), 0, 1))
    whole = Image.fromarray((colours[..., :3] * 255).round().astype(np.uint8))
    few_pixels = values.shape[0] < 20  # drawn as squares: they are all there is
    return whole.resize((SIZE, SIZE), Image.Resampling.NEAREST if few_pixels else Image.Resampling.LANCZOS)


def main(names: list[str]) -> int:
    """Write the pictures of the methods named, or of all."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names or METHODS:
        path = OUT / f"{name}.webp"
        picture(name).save(path, quality=82, method=6)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.1f} kB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
