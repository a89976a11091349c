"""Does a Grad-CAM map tell that its class is not in the picture? Eight classes, one of them there."""

import torch

from xai_lib import SHAPE_CLASSES, grad_cam, layer_cam, load_model, shapes

CLASSES = range(len(SHAPE_CLASSES))


def told_apart(there, absent):
    """How often a map of a class that is there has the higher number: 0.5 is a coin."""
    return ((there[:, None] > absent).float() + 0.5 * (there[:, None] == absent).float()).mean().item()


def rightly_named(model, seed):
    scenes = shapes(96, seed=seed)
    with torch.no_grad():
        logits = model(scenes.images)
    right = logits.argmax(1) == scenes.labels
    return scenes.images[right], scenes.labels[right], scenes.masks[right], logits[right]


def row(name, method, seed):
    model = load_model(name)
    x, labels, masks, logits = rightly_named(model, seed)
    maps = torch.stack([method(model, x, c, layer=model.cam_layer) for c in CLASSES], 1)  # (N, 8, H, W)
    there = torch.nn.functional.one_hot(labels, len(CLASSES)).bool()
    strength = maps.sum((2, 3))
    brightest = maps.flatten(2).argmax(2)
    hit = masks.flatten(1).gather(1, brightest)
    rival = strength.masked_fill(there, 0).amax(1) > strength[there]
    return [
        name,
        method.__name__,
        f"{100 * hit[there].float().mean():.0f} %",
        f"{100 * hit[~there].float().mean():.0f} %",
        f"{100 * rival.float().mean():.0f} %",
        f"{told_apart(strength[there], strength[~there]):.2f}",
        f"{told_apart(logits[there], logits[~there]):.2f}",
        f"{told_apart(logits.softmax(1)[there], logits.softmax(1)[~there]):.2f}",
    ]


def main():
    print("| network | method | on the shape: there | absent | absent is stronger", end="")
    print(" | strength | logit | probability |")
    print("|---|---|---|---|---|---|---|---|")
    for name in ("small_vgg", "small_gap"):
        for method, seed in ((grad_cam, 11), (grad_cam, 12), (layer_cam, 11)):
            print("| " + " | ".join(row(name, method, seed)) + " |")


if __name__ == "__main__":
    main()
