"""Does a lie survive further training? T2 and T3 in two networks, trained on by plain gradient descent."""

import copy

import torch
import torch.nn.functional as F

from xai_lib import grad_cam, load_model, shapes
from xai_lib.manipulation import lie_image, lie_random

RATES, TIMES = (1e-4, 1e-2), (0, 1, 20)
FACE = torch.zeros(14, 14)
FACE[3:5, 3:5] = FACE[3:5, 9:11] = FACE[9, 3:11] = FACE[8, 2] = FACE[8, 11] = 1


def liars(network):
    """The honest network, T2 and T3 in it, as published; T2 behind hidden units repaired."""
    honest = load_model(network)
    yield "honest", honest
    yield "T2", lie_image(honest, FACE, repair=network == "small_vgg")
    yield "T3", lie_random(honest, generator=torch.Generator().manual_seed(3))


def heat(model, scenes, target):
    found = grad_cam(model, scenes.images, target, layer=model.cam_layer, upsample=False).flatten(1)
    return found / found.sum(1, True).clamp_min(1e-12)


def elsewhere(a, b):
    """Share of the heat that lies elsewhere, mean over pictures; an empty map gives one half."""
    return (0.5 * (a - b).abs().sum(1)).mean().item()


def trained_on(model, scenes, rate):
    """The model after each of the times, in evaluation mode: 32 scenes a step, plain gradient descent."""
    model, draws = copy.deepcopy(model), torch.Generator().manual_seed(4)
    for step in range(max(TIMES) + 1):
        if step in TIMES:
            yield step, model
        picked = torch.randint(len(scenes.labels), (32,), generator=draws)
        loss = F.cross_entropy(model(scenes.images[picked]), scenes.labels[picked])
        trained = [weights for weights in model.parameters() if weights.requires_grad]  # F's are frozen
        slopes = torch.autograd.grad(loss, trained, allow_unused=True)
        with torch.no_grad():
            for weights, slope in zip(trained, slopes, strict=True):
                if slope is not None:
                    weights -= rate * slope


def loudest(model, scenes):
    """The largest slope of the loss by a weight of the head, and by any other."""
    named = [(name, weights) for name, weights in model.named_parameters() if weights.requires_grad]
    loss = F.cross_entropy(model(scenes.images), scenes.labels)
    slopes = torch.autograd.grad(loss, [weights for _, weights in named], allow_unused=True)
    largest = {True: 0.0, False: 0.0}
    for (name, _), slope in zip(named, slopes, strict=True):
        if slope is not None:
            head = name.startswith("classifier")
            largest[head] = max(largest[head], slope.abs().max().item())
    return largest[True], largest[False]


def slopes():
    print("| network | lie | largest slope in the head | largest elsewhere |")
    print("|---|---|---|---|")
    scenes = shapes(32, seed=72)
    for network in ("small_gap", "small_vgg"):
        for name, liar in liars(network):
            head, rest = loudest(liar, scenes)
            print(f"| {network} | {name} | {head:.2f} | {rest:.2f} |")


def main():
    training()
    print()
    slopes()


def training():
    train, fresh = shapes(256, seed=72), shapes(64, seed=73)
    print("| network | lie | step size | steps | right | heat that left the lie | heat not where honest |")
    print("|---|---|---|---|---|---|---|")
    for network in ("small_gap", "small_vgg"):
        first = load_model(network)
        target = first(fresh.images).argmax(1)
        honest = heat(first, fresh, target)
        for name, liar in liars(network):
            lie = heat(liar, fresh, target)
            for rate in RATES:
                for step, model in trained_on(liar, train, rate):
                    if step == 0 and rate != RATES[0]:
                        continue
                    right = (model(fresh.images).argmax(1) == fresh.labels).double().mean().item()
                    now = heat(model, fresh, target)
                    print(
                        f"| {network} | {name} | {rate if step else '–'} | {step} | {100 * right:.0f} % "
                        f"| {100 * elsewhere(now, lie):.0f} % | {100 * elsewhere(now, honest):.0f} % |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
