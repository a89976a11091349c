"""Does the verdict depend on how weights are made random? The cascade, weights drawn and weights shuffled."""

import copy

import torch

from xai_lib import grad_cam, gradient, guided_backprop, hires_cam, load_model, shapes, smooth_grad
from xai_lib.randomisation import randomised

METHODS = {
    "guided backpropagation": guided_backprop,
    "gradient": gradient,
    "SmoothGrad": lambda model, x, target: smooth_grad(
        model, x, target, n_samples=16, generator=torch.Generator().manual_seed(1)
    ),
    "Grad-CAM": lambda model, x, target: grad_cam(model, x, target, layer=model.cam_layer),
    "HiResCAM": lambda model, x, target: hires_cam(model, x, target, layer=model.cam_layer),
}


def shuffled(model, generator):
    """The cascade from the logits, in which each layer keeps its values and gets them in another order."""
    work = copy.deepcopy(model)
    for name, _ in randomised(model, size=model.size, generator=torch.Generator().manual_seed(0)):
        with torch.no_grad():
            for values in work.get_submodule(name).parameters(recurse=False):
                order = torch.randperm(values.numel(), generator=generator)
                values.copy_(values.flatten()[order].view_as(values))
        yield name, work


def drawn(model, generator):
    return randomised(model, size=model.size, generator=generator)


def magnitudes(explain, model, x, target):
    found = explain(model, x, target)
    return (found.abs().sum(1) if found.ndim == 4 else found).flatten(1)


def rank_correlation(a, b):
    """Spearman, mean over pictures; a map without any order counts as 0."""
    a, b = (values.argsort(1).argsort(1).double() * (values.amax(1, True) > 0) for values in (a, b))
    a, b = a - a.mean(1, True), b - b.mean(1, True)
    return ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)).mean().item()


def cascade(network, how, seed):
    """For each method the similarity after each layer; and the spread of the logits, as a multiple."""
    model, x = load_model(network), shapes(16, seed=70).images
    target = model(x).argmax(1)
    before = {name: magnitudes(explain, model, x, target) for name, explain in METHODS.items()}
    found = {name: [] for name in METHODS}
    spread = []
    for _, changed in how(model, torch.Generator().manual_seed(seed)):
        spread.append((changed(x).std() / model(x).std()).item())
        for name, explain in METHODS.items():
            found[name].append(rank_correlation(before[name], magnitudes(explain, changed, x, target)))
    return found, spread


def main():
    print("| network | weights | method | half of the layers | all layers | mean | place |")
    print("|---|---|---|---|---|---|---|")
    for network in ("small_vgg", "small_gap"):
        for how in (drawn, shuffled):
            runs = [cascade(network, how, seed) for seed in (0, 1, 2)]
            curves = {m: torch.tensor([found[m] for found, _ in runs]).mean(0) for m in METHODS}
            order = sorted(METHODS, key=lambda name: curves[name].mean().item())
            half = len(runs[0][1]) // 2
            for name, curve in curves.items():
                print(
                    f"| {network} | {how.__name__} | {name} | {curve[half]:.2f} | {curve[-1]:.2f} "
                    f"| {curve.mean():.2f} | {order.index(name) + 1} |"
                )
            print(
                f"| | | spread of the logits | {runs[0][1][half]:.2g} | {runs[0][1][-1]:.2g} | | |",
                flush=True,
            )


if __name__ == "__main__":
    main()
