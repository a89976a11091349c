"""The randomisation test beside Quantus's, and the attack on a picture beside a plain loop.

    python benchmarks/randomised.py [--device cpu|cuda] [--rounds N] [--only NAME …] [--output FOLDER]

All contests give the same numbers for the same draws, which ``tests/book/test_benchmarks.py`` checks.
Quantus takes one explanation and one similarity at a time; ours draws each network once for all of them and
makes each map once. The plain loop differentiates a map as one would write it down: one forward pass for the
map, one for the logits, on a copy of the network whose rectifiers are softpluses.
"""

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from factors import Contest, compete, parser_of
from torch import Tensor, nn

from xai_lib import gradient, gradient_x_input, guided_backprop, load_model, shapes
from xai_lib.attacks import BETAS, _room, _similarity, attack_input
from xai_lib.randomisation import randomisation_test

METHODS = {"gradient": gradient, "gradient_x_input": gradient_x_input, "guided_backprop": guided_backprop}
SIMILARITIES = ("rank", "rank of magnitudes", "ssim")
TEST, ATTACK = "randomisation test", "attack on a picture"
ONE, THREE = f"{TEST}, one method and similarity", f"{TEST}, three of each"
PROMISED = {ONE: 1.0, THREE: 2.0, ATTACK: 1.25}


def contest_randomisation(device: torch.device, count: int = 3, images: int = 4) -> Contest:
    """So many explanations and similarities, all layers of small_vgg: (methods, layers, similarities, N)."""
    model, scenes = load_model("small_vgg", device), shapes(images, seed=5)
    methods, similarities = dict(list(METHODS.items())[:count]), SIMILARITIES[:count]
    x, y = scenes.images.to(device), scenes.labels.to(device)

    def ours() -> Tensor:
        return randomisation_test(model, methods, x, y, similarities=similarities).values.cpu()

    def explained(explain: Callable, model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object):
        pixels = torch.as_tensor(np.asarray(inputs), dtype=torch.float32, device=device)
        classes = torch.as_tensor(targets, device=device)
        return explain(model, pixels, classes).sum(1, keepdim=True).cpu().numpy()

    def likeness(a: np.ndarray, b: np.ndarray, batched: bool) -> np.ndarray:
        from skimage.metrics import structural_similarity

        side, values = x.shape[-1], []
        for pair in zip(a, b, strict=True):
            scaled = (m.reshape(side, side) / np.abs(m).max() for m in pair)
            values.append(structural_similarity(*scaled, win_size=7, data_range=1.0))
        return np.array(values)

    def quantus() -> Tensor:
        from quantus import MPRT, similarity_func

        correlation_spearman = similarity_func.correlation_spearman
        kinds = ((correlation_spearman, False), (correlation_spearman, True), (likeness, True))
        given = {"x_batch": x.cpu().numpy(), "y_batch": y.cpu().numpy(), "a_batch": None}
        values = []
        for explain in methods.values():
            values.append([])
            for function, magnitudes in kinds[:count]:
                test = MPRT(similarity_func=function, abs=magnitudes, normalise=False, disable_warnings=True)
                found = test(
                    model=model, explain_func=partial(explained, explain), device=str(device), **given
                )
                values[-1].append([found[layer] for layer in found if layer != "original"])
        return torch.tensor(values).transpose(1, 2)

    return {"ours": ours, "quantus": quantus}


def contest_attack(device: torch.device, steps: int = 20) -> Contest:
    """The gradient's map of two pictures, pulled towards those of two others: the attacked pictures."""
    model, x = load_model("small_vgg", device), shapes(4, seed=5).images.to(device)
    x, others = x[:2], x[2:]
    wanted = gradient(model, others).abs().sum(1)
    radius, step_size, keep, alike = 0.05, 4e-3, 0.1, 0.95

    def ours() -> Tensor:
        options = {"radius": radius, "step_size": step_size, "keep": keep, "alike": alike}
        draws = torch.Generator(device).manual_seed(0)
        return attack_input(gradient, model, x, towards=wanted, steps=steps, generator=draws, **options).cpu()

    def plain() -> Tensor:
        smooth = _with_softplus(model)
        frozen = copy.deepcopy(model).requires_grad_(False)
        logits = frozen(x).detach()
        target = logits.argmax(1)
        goal = wanted / wanted.mean((1, 2), keepdim=True)

        def loss_of(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
            own = network(image).gather(1, target[:, None]).sum()
            (slope,) = torch.autograd.grad(own, image, create_graph=True)
            heat = slope.abs().sum(1)
            heat = heat / heat.mean((1, 2), keepdim=True)
            given = network(image)
            moved = (given - logits).square().sum(1)
            return (heat - goal).square().mean((1, 2)) + keep * moved, given

        room = _room(x, alike).clamp(max=radius) / radius
        draws = torch.Generator(device).manual_seed(0)
        change = radius / 10 * (2 * torch.rand(x.shape, generator=draws, device=device) - 1)
        descent = torch.optim.Adam([change.requires_grad_()], lr=step_size)
        best, least = x.clone(), loss_of(frozen, x.clone().requires_grad_())[0].detach()
        for step in range(steps):
            beta = BETAS[0] * (BETAS[1] / BETAS[0]) ** (step / steps)
            for layer in smooth.modules():
                if isinstance(layer, nn.Softplus):
                    layer.beta = beta
            loss, _ = loss_of(smooth, (x + room * change).clamp(0, 1))
            descent.zero_grad()
            loss.sum().backward()
            descent.step()
            with torch.no_grad():
                change.clamp_(-radius, radius)
            if step % 10 == 9 or step == steps - 1:
                image = (x + room * change).detach().clamp(0, 1)
                loss, given = loss_of(frozen, image.clone().requires_grad_())
                better = (given.argmax(1) == target) & (_similarity(image, x) >= alike) & (loss < least)
                best[better], least[better] = image[better], loss.detach()[better]
        return best.cpu()

    return {"ours": ours, "plain loop": plain}


def _with_softplus(model: nn.Module) -> nn.Module:
    """A frozen copy with modules ``nn.Softplus`` in the place of its rectifiers."""
    smooth = copy.deepcopy(model).requires_grad_(False)
    for name, layer in list(smooth.named_modules()):
        if isinstance(layer, nn.ReLU):
            parent, _, last = name.rpartition(".")
            setattr(smooth.get_submodule(parent), last, nn.Softplus())
    return smooth


CONTESTS = {
    ONE: partial(contest_randomisation, count=1),
    THREE: contest_randomisation,
    ATTACK: contest_attack,
}


def main() -> None:
    options = parser_of(__doc__, CONTESTS).parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)
    compete("randomised", {name: CONTESTS[name] for name in options.only}, PROMISED, options)


if __name__ == "__main__":
    main()
