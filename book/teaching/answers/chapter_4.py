"""Do the squares of a photograph add up? Every pair of 16 squares hidden, against the two alone."""

from itertools import combinations

import torch
from torchvision.transforms.functional import gaussian_blur

from xai_lib import load_model, load_photo

SIDE = 4
PAIRS = list(combinations(range(SIDE * SIDE), 2))
SETS = [(), *((k,) for k in range(SIDE * SIDE)), *PAIRS]
FILLS = {
    "grey": lambda x: torch.full_like(x, 0.5),
    "blur": lambda x: gaussian_blur(x, [63, 63], [20.0, 20.0]),
}


def behind(x, fill, hidden):
    """The picture with these squares hidden."""
    step, picture = x.shape[-1] // SIDE, x.clone()
    for k in hidden:
        i, j = divmod(k, SIDE)
        place = (..., slice(i * step, (i + 1) * step), slice(j * step, (j + 1) * step))
        picture[place] = fill[place]
    return picture


@torch.no_grad()
def losses(model, x, fill):
    """What the logit and the probability of the network's own class lose behind each set: (137, 2)."""
    pictures = torch.cat([behind(x, fill, hidden) for hidden in SETS])
    logits = torch.cat([model(part) for part in pictures.split(16)])
    target = logits[0].argmax()
    scores = torch.stack([logits[:, target], logits.softmax(1)[:, target]], 1)
    return scores[0] - scores


def main():
    print("| picture | fill | score | R² of the sum | pair / sum | off, neighbours | off, others |")
    print("|---|---|---|---|---|---|---|")
    model = load_model("efficientnet_lite0")
    near = torch.tensor([abs(a // SIDE - b // SIDE) + abs(a % SIDE - b % SIDE) == 1 for a, b in PAIRS])
    for photo in ("cat", "coffee"):
        for name, fill in FILLS.items():
            x = load_photo(photo)
            for score, lost in zip(("logit", "probability"), losses(model, x, fill(x)).T, strict=True):
                alone, pair = lost[1 : 1 + SIDE * SIDE], lost[1 + SIDE * SIDE :]
                total = torch.stack([alone[a] + alone[b] for a, b in PAIRS])
                alone_sizes = torch.stack([alone[a].abs() + alone[b].abs() for a, b in PAIRS])
                off = (pair - total).abs() / alone_sizes
                fit = 1 - (pair - total).square().sum() / (pair - pair.mean()).square().sum()
                slope = (pair * total).sum() / total.square().sum()
                print(
                    f"| {photo} | {name} | {score} | {fit:.2f} | {slope:.2f} | "
                    f"{100 * off[near].median():.0f} % | {100 * off[~near].median():.0f} % |"
                )


if __name__ == "__main__":
    main()
