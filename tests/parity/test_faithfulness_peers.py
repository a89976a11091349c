"""Judges agree with Quantus and torch-cam, each asked for exactly the same pictures.

Quantus ranks every channel by itself, gives the drops of k = 1 … L without an average, and pads an image
whose sides are no multiples of the region; torch-cam breaks ties by position. Here there are no ties, and the
sizes divide.
"""

import contextlib

import numpy as np
import pytest
import quantus
import torch
from torch import nn
from torchcam.metrics import DeletionInsertionMetric

from tests.architectures import Plain, build, images
from xai_lib import aopc, deletion, energy_in, insertion, pointing_game, relevance_rank

SIZE = (16, 24)
PLAIN = {"abs": False, "normalise": False, "disable_warnings": True}


def maps_of(n, seed=1):
    return torch.rand(n, *SIZE, generator=torch.Generator().manual_seed(seed))


class Grey(nn.Module):
    """A classifier of images with one channel, so that Quantus's features are our pixels."""

    def __init__(self):
        super().__init__()
        self.inner = build(Plain)

    def forward(self, x):
        return self.inner(x.expand(-1, 3, -1, -1))


def quantus_scores(metric, model, x, target, maps):
    """What a metric of Quantus gives for maps (N, H, W), as (N, steps)."""
    return torch.tensor(
        np.array(
            metric(
                model=model,
                x_batch=x.numpy(),
                y_batch=target.numpy(),
                a_batch=maps[:, None].numpy(),
                device="cpu",
            )
        )
    )


@pytest.mark.parametrize("order", ["morf", "lerf"])
@pytest.mark.parametrize("region, steps", [(4, 24), (4, 7), (8, 6), (2, 50)])
def test_aopc_is_quantus_region_perturbation_averaged_by_hand(order, region, steps):
    model, x, maps = build(Plain), images(3, SIZE), maps_of(3)
    target = torch.tensor([0, 3, 1])
    metric = quantus.RegionPerturbation(
        patch_size=region, regions_evaluation=steps, order=order, perturb_baseline=0.3, **PLAIN
    )
    drops = quantus_scores(metric, model, x, target, maps)  # of k = 1 … L
    ours = aopc(model, x, target, maps, region=region, steps=steps, order=order, fill=0.3)
    assert drops.shape == (3, steps) and drops.abs().max() > 0.003
    torch.testing.assert_close(
        (ours.scores[:, :1] - ours.scores[:, 1:]), drops.to(ours.scores), atol=1e-6, rtol=1e-4
    )
    torch.testing.assert_close(ours.value, (drops.sum(1) / (steps + 1)).to(ours.value), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 8, 48, 384])
def test_deletion_is_quantus_pixel_flipping_of_grey_images(steps):
    model, x, maps = Grey().eval(), images(3, SIZE)[:, :1], maps_of(3)
    target = torch.tensor([0, 3, 1])
    metric = quantus.PixelFlipping(features_in_step=SIZE[0] * SIZE[1] // steps, perturb_baseline=0.6, **PLAIN)
    theirs = quantus_scores(metric, model, x, target, maps)  # without the whole image
    ours = deletion(model, x, target, maps, steps=steps, fill=0.6).scores[:, 1:]
    assert ours.shape == (3, steps)
    torch.testing.assert_close(ours, theirs.to(ours), atol=1e-6, rtol=1e-4)


class Given:
    """What torch-cam's metrics want of an extractor, around maps that are there already."""

    def __init__(self, model, maps):
        self.model, self.maps = model, maps

    def __call__(self, class_idx=None, scores=None, normalized=True, **_options):
        return [self.maps]

    def fuse_cams(self, cams):
        return cams[0]

    def _hooks_off(self):
        return contextlib.nullcontext()


@pytest.mark.parametrize("steps", [1, 6, 32, 384])
@pytest.mark.parametrize("start", [0.0, "image"])
def test_areas_are_those_of_torchcam(steps, start):
    model, x, maps = build(Plain).double(), images(3, SIZE).double(), maps_of(3).double()
    target = torch.tensor([0, 3, 1])
    other = torch.zeros_like(x) if start == 0.0 else images(3, SIZE, seed=4).double()
    metric = DeletionInsertionMetric(
        Given(model, maps), lambda logits: logits.softmax(1), steps=steps, baseline=other, batch_size=50
    )
    metric.update(x, target.tolist())
    theirs = metric.summary()
    gone = deletion(model, x, target, maps, steps=steps, fill=other).auc.mean().item()
    shown = insertion(model, x, target, maps, steps=steps, start=other).auc.mean().item()
    assert gone == pytest.approx(theirs["deletion_auc"], rel=1e-6)  # its fractions are in single precision
    assert shown == pytest.approx(theirs["insertion_auc"], rel=1e-6)


MEASURES = {
    "energy": (energy_in, quantus.RelevanceMassAccuracy),
    "rank": (relevance_rank, quantus.RelevanceRankAccuracy),
    "pointing": (pointing_game, quantus.PointingGame),
}


@pytest.mark.parametrize("name", MEASURES)
def test_measures_of_a_mark_are_those_of_quantus(name):
    """Of maps that are nowhere negative, without ties, and of masks that are not empty."""
    measure, metric = MEASURES[name]
    maps = maps_of(40)
    where = torch.rand(40, *SIZE, generator=torch.Generator().manual_seed(2)) < 0.4
    theirs = metric(**PLAIN)(
        model=build(Plain),
        x_batch=images(40, SIZE).numpy(),
        y_batch=np.zeros(40, dtype=int),
        a_batch=maps[:, None].numpy(),
        s_batch=where[:, None].numpy(),
        device="cpu",
    )
    ours = measure(maps, where)
    assert len(ours.unique()) > 1
    torch.testing.assert_close(ours, torch.tensor(np.array(theirs, dtype=np.float64)).float())


def test_an_empty_mask_is_a_hit_to_quantus_and_refused_here():
    maps, nothing = maps_of(1), torch.zeros(1, *SIZE, dtype=torch.bool)
    theirs = quantus.PointingGame(**PLAIN)(
        model=build(Plain),
        x_batch=images(1, SIZE).numpy(),
        y_batch=np.array([0]),
        a_batch=maps[:, None].numpy(),
        s_batch=nothing[:, None].numpy(),
        device="cpu",
    )
    assert theirs == [True]  # it means NaN, written into an array of bools
    with pytest.raises(ValueError, match="marks none of image 0"):
        pointing_game(maps, nothing)
