"""How many pictures does a claim need? Gradient against Grad-CAM, deletion and insertion, three fills."""

import torch

from xai_lib import deletion, grad_cam, gradient, insertion, load_model, shapes, to_heatmap

PICTURES, STEPS, DRAWS = 64, 16, 2000
FILLS = {"black": 0.0, "grey": "grey", "blur": "blur"}
SIZES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


def differences(network, judge, fill):
    """Area of the gradient's curve less that of Grad-CAM's, one number a picture."""
    model, x = load_model(network), shapes(PICTURES, seed=71).images
    target = model(x).argmax(1)
    ours = to_heatmap(gradient(model, x, target)), grad_cam(model, x, target, layer=model.cam_layer)
    options = {"fill" if judge is deletion else "start": fill}
    areas = judge(model, x, target, torch.stack(ours, 1), steps=STEPS, **options).auc
    return (areas[:, 0] - areas[:, 1]).double()


def interval(values, size, draws):
    """The middle 95 % of the mean of so many pictures, drawn from these with replacement."""
    picked = torch.randint(len(values), (DRAWS, size), generator=draws)
    return torch.quantile(values[picked].mean(1), torch.tensor([0.025, 0.975]).double()).tolist()


def enough(values, draws):
    """The smallest of the sizes whose interval leaves zero out."""
    for size in SIZES:
        low, high = interval(values, size, draws)
        if low > 0 or high < 0:
            return str(size)
    return f"more than {SIZES[-1]}"


def main():
    draws = torch.Generator().manual_seed(0)
    print("| network | judge, fill | mean difference, 95 % interval | first 8 | next 8 | pictures |")
    print("|---|---|---|---|---|---|")
    for network in ("small_vgg", "small_gap"):
        for judge in (deletion, insertion):
            for fill, value in FILLS.items():
                d = differences(network, judge, value)
                low, high = interval(d, PICTURES, draws)
                print(
                    f"| {network} | {judge.__name__}, {fill} | {d.mean():+.2f}, {low:+.2f} to {high:+.2f} "
                    f"| {d[:8].mean():+.2f} | {d[8:16].mean():+.2f} | {enough(d, draws)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
