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
    """For each method the similarity after each layer, and the share of its maps that are empty then."""
    model, x = load_model(network), shapes(16, seed=70).images
    target = model(x).argmax(1)
    before = {name: magnitudes(explain, model, x, target) for name, explain in METHODS.items()}
    alike, empty = ({name: [] for name in METHODS} for _ in range(2))
    for _, changed in how(model, torch.Generator().manual_seed(seed)):
        for name, explain in METHODS.items():
            after = magnitudes(explain, changed, x, target)
            alike[name].append(rank_correlation(before[name], after))
            empty[name].append((after.amax(1) == 0).double().mean().item())
    return alike, empty


def main(networks=("small_vgg", "small_gap")):
    print("| network | weights | method | half the layers | its draws | all layers | mean | place | empty |")
    print("|---|---|---|---|---|---|---|---|---|")
    for network in networks:
        for how in (drawn, shuffled):
            runs = [cascade(network, how, seed) for seed in (0, 1, 2)]
            alike, empty = (
                {name: torch.tensor([run[i][name] for run in runs]) for name in METHODS} for i in (0, 1)
            )
            order = sorted(METHODS, key=lambda name: alike[name].mean().item())
            for name, found in alike.items():
                half = found[:, found.shape[1] // 2]
                spread = f"{half.min():.2f} to {half.max():.2f}"
                print(
                    f"| {network} | {how.__name__} | {name} | {half.mean():.2f} | {spread} "
                    f"| {found[:, -1].mean():.2f} | {found.mean():.2f} | {order.index(name) + 1} "
                    f"| {100 * empty[name].mean():.0f} % |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
