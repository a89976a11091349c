"""Does a blurred baseline cure integrated gradients of their blind spot? Shares of the map, by baseline."""

import torch
from torchvision.transforms.functional import gaussian_blur

from xai_lib import SHAPE_CLASSES, integrated_gradients, load_model, load_photo, shapes


def blurred(x, share=11):
    """A blur whose standard deviation is an eleventh of the picture's side."""
    sigma = x.shape[-1] / share
    side = 2 * int(2 * sigma) + 1
    return gaussian_blur(x, [side, side], [sigma, sigma])


def tenth(values):
    """The tenth of the pixels with the lowest values."""
    return values.flatten().argsort()[: values.numel() // 10]


def drawing(kind):
    scenes = shapes(40, seed=11)
    first = (scenes.labels == SHAPE_CLASSES.index(kind)).nonzero()[0]
    return scenes.images[first]


def cases():
    lite = load_model("efficientnet_lite0")
    yield "cat", lite, load_photo("cat")
    yield "coffee", lite, load_photo("coffee")
    yield "ring, small_vgg", load_model("small_vgg"), drawing("ring")
    yield "heart, small_gap", load_model("small_gap"), drawing("heart")


def main():
    print("| picture | baseline | darkest tenth | grey tenth | flattest tenth | gap |")
    print("|---|---|---|---|---|---|")
    for name, model, x in cases():
        baselines = {"black": torch.zeros_like(x), "grey": torch.full_like(x, 0.5), "blur": blurred(x)}
        with torch.no_grad():
            target = model(x).argmax(1).item()
        regions = [tenth((x - base).abs().sum(1)) for base in baselines.values()]
        for kind, baseline in baselines.items():
            R = integrated_gradients(model, x, target, baseline=baseline, n_steps=128, batch_size=16)
            size = R.abs().sum(1).flatten()
            shares = " | ".join(f"{100 * size[region].sum() / size.sum():.0f} %" for region in regions)
            with torch.no_grad():
                wanted = (model(x) - model(baseline))[0, target]
            print(f"| {name} | {kind} | {shares} | {100 * (R.sum() / wanted - 1).abs():.0f} % |")


if __name__ == "__main__":
    main()
