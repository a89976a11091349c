"""ROAR beside training one network after the other, and ROAD's imputation beside Quantus's.

    python benchmarks/retrained.py [--device cpu|cuda] [--rounds N] [--only NAME …] [--output FOLDER]

Neither has bare passes that it could be measured by: what is promised is a factor. Ours and the peer do the
same work, which ``tests/book/test_benchmarks.py`` checks, and are timed in turn.
"""

import numpy as np
import torch
import torch.nn.functional as F
from factors import Contest, compete, parser_of
from torch import Tensor, nn

from xai_lib import digits, grad_cam, gradient, load_model, load_photo, to_heatmap
from xai_lib.faithfulness import hide, impute, roar

PROMISED = {"roar": 6.0, "impute": 10.0}


def contest_roar(device: torch.device, epochs: int = 15, train: int = 1300) -> Contest:
    """Five maps, five fractions, three seeds, and three networks on whole images: 78 perceptrons."""
    images, labels = (part.to(device) for part in digits())
    sets = (images[:train], labels[:train]), (images[1300:], labels[1300:])
    grid = torch.arange(64.0, device=device).view(8, 8)
    maps = {
        "ink": lambda x: x[:, 0] + 1e-3 * grid,
        "paper": lambda x: -x[:, 0] - 1e-3 * grid,
        "grey": lambda x: -(x[:, 0] - 0.5).abs() + 1e-3 * grid,
        "rows": lambda x: grid.expand(len(x), 8, 8),
        "random": lambda x: grid.T.expand(len(x), 8, 8) % 7.3,
    }
    heatmaps = {name: tuple(make(x) for x, _ in sets) for name, make in maps.items()}
    fractions, seeds, rate, batch_size = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9), (0, 1, 2), 3e-3, 32

    def network() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def ours() -> Tensor:
        options = {"fractions": fractions, "seeds": seeds, "epochs": epochs, "rate": rate}
        return roar(network, *sets, heatmaps, batch_size=batch_size, **options).accuracy.cpu()

    def one(seed: int, seen: list[tuple[Tensor, Tensor]]) -> float:
        (x, y), (others, theirs) = seen
        torch.manual_seed(seed)
        model = network().to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        steps = epochs * -(-len(y) // batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
        order = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            for batch in torch.randperm(len(y), generator=order).to(device).split(batch_size):
                loss = F.cross_entropy(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        with torch.no_grad():
            return float((model(others).argmax(1) == theirs).float().mean())

    def one_after_the_other() -> Tensor:
        mean = sets[0][0].mean((0, 2, 3))[:, None, None]
        whole = [one(seed, sets) for seed in seeds]  # nothing is hidden: all maps share them
        table = []
        for pair in heatmaps.values():
            table.append([whole])
            for fraction in fractions[1:]:
                seen = [
                    (hide(x, heat, fraction, fill=mean), y) for (x, y), heat in zip(sets, pair, strict=True)
                ]
                table[-1].append([one(seed, seen) for seed in seeds])
        return torch.tensor(table)

    return {"ours": ours, "one after the other": one_after_the_other}


def contest_impute(device: torch.device, size: int = 224) -> Contest:
    """Two photographs, a scattered and a patchy map of each, five fractions: twenty masks."""
    model = load_model("efficientnet_lite0", device=device)
    x = torch.cat([load_photo(name, size) for name in ("cat", "coffee")]).to(device)
    maps = [to_heatmap(gradient(model, x)), grad_cam(model, x, layer=model.cam_layer)]
    ranks = torch.cat(maps).flatten(1).argsort(dim=1, descending=True).argsort(1)
    counts = [round(share * size**2) for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
    hidden = torch.cat([ranks < count for count in counts]).unflatten(1, (size, size))  # (20, H, W)
    images = x.repeat(len(hidden) // len(x), 1, 1, 1)

    def quantus() -> Tensor:
        from quantus.functions.perturb_func import noisy_linear_imputation

        pairs = zip(images.cpu().numpy(), hidden.flatten(1).cpu().numpy(), strict=True)
        return torch.from_numpy(
            np.stack(
                [noisy_linear_imputation(image, np.flatnonzero(mask), noise=0.0) for image, mask in pairs]
            )
        )

    return {"ours": lambda: impute(images, hidden, sigma=0).cpu(), "quantus": quantus}


CONTESTS = {"roar": contest_roar, "impute": contest_impute}


def main() -> None:
    options = parser_of(__doc__, CONTESTS).parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)
    compete("retrained", {name: CONTESTS[name] for name in options.only}, PROMISED, options)


if __name__ == "__main__":
    main()
