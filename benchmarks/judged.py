"""Deletion and insertion beside torch-cam's, Quantus's pixel flipping, and the bare passes.

    python benchmarks/judged.py [--device cpu|cuda] [--rounds N] [--batch-size B …] [--size S] [--images N]
                                [--output FOLDER]

Everybody is given the same maps and asked for the same areas under both curves, which
``tests/book/test_benchmarks.py`` checks. Ours are two calls of 25 passes an image. torch-cam scores the whole
image and the blank one once for both curves: two passes fewer. Quantus has no insertion; deleting the least
relevant first gives the same pictures from the other end. It hides one step of all images at a time, so its
batch is the images.
"""

import contextlib
from collections.abc import Callable

import torch
from contests import Setup, forward_passes, real_model
from factors import Contest, compete, parser_of
from torch import Tensor, nn

from xai_lib import deletion, insertion

PROMISED = {"bare": 1 / 1.10, "quantus": 3.0, "torchcam": 1.5}
STEPS = 24  # of Quantus: it wants the values in a step to divide the pixels


class GivenMaps:
    """What torch-cam's metrics want of an extractor, around maps that are there already."""

    def __init__(self, model: nn.Module, maps: Tensor) -> None:
        self.model, self.maps = model, maps

    def __call__(self, class_idx: object = None, scores: object = None) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext()


def contest(setup: Setup) -> dict[str, Callable[[], Tensor | None]]:
    """Ways to the two areas, (2,): deletion and insertion, from and to black, means over the images."""
    model, x, target = real_model(setup)
    pixels = x.shape[-2] * x.shape[-1]
    maps = torch.stack([torch.randperm(pixels, device=x.device).view(x.shape[-2:]) for _ in x]) / pixels

    def ours() -> Tensor:
        options = {"steps": STEPS, "batch_size": setup.batch_size}
        gone = deletion(model, x, target, maps, **options)
        shown = insertion(model, x, target, maps, start=0.0, **options)
        return torch.stack([gone.auc.mean(), shown.auc.mean()]).cpu()

    def torchcam() -> Tensor:
        from torchcam.metrics import DeletionInsertionMetric

        metric = DeletionInsertionMetric(
            GivenMaps(model, maps),
            lambda logits: logits.softmax(1),
            steps=STEPS,
            batch_size=setup.batch_size,
        )
        with torch.no_grad():
            metric.update(x, target.tolist())
        return torch.tensor(list(metric.summary().values()))

    @torch.no_grad()
    def quantus() -> Tensor:
        from quantus import PixelFlipping

        flip = PixelFlipping(
            features_in_step=x[0].numel() // STEPS,  # it ranks the values of all channels, not the pixels
            perturb_baseline=0.0,
            abs=False,
            normalise=False,
            disable_warnings=True,
        )
        given = {"x_batch": x.cpu().numpy(), "y_batch": target.cpu().numpy(), "device": str(x.device)}
        whole = model(x).softmax(1).gather(1, target[:, None]).cpu()  # which it leaves out
        areas = []
        for values in (maps, 1 - maps):
            attribution = values[:, None].expand_as(x).cpu().numpy()
            curve = torch.tensor(flip(model=model, a_batch=attribution, softmax=True, **given))
            areas.append(torch.trapezoid(torch.cat([whole, curve], 1), dx=1 / STEPS).mean())
        return torch.stack(areas)

    once = forward_passes(model, x, setup._replace(points=STEPS + 1))

    def bare() -> None:
        once()
        once()

    return {"ours": ours, "bare": bare, "quantus": quantus, "torchcam": torchcam}


def main() -> None:
    parser = parser_of(__doc__, {})
    parser.add_argument("--batch-size", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=1)
    options = parser.parse_args()

    def made(batch_size: int) -> Callable[[torch.device], Contest]:
        return lambda device: contest(Setup(device, batch_size, 0, options.images, size=options.size))

    contests = {f"deletion and insertion, batch size {n}": made(n) for n in options.batch_size}
    compete("judged", contests, dict.fromkeys(contests, PROMISED), options)


if __name__ == "__main__":
    main()
