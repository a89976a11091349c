"""Photographs, shapes and digits: exact where they claim to be exact, and no easier than they look."""

import math
import socket

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xai_lib import data
from xai_lib.data import PHOTOS, SHAPE_CLASSES, digits, load_photo, shapes

EVERYWHERE = dict.fromkeys(SHAPE_CLASSES, 1.0)


# --- photographs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PHOTOS)
def test_photo_is_a_batch_of_one_in_unit_range(name):
    photo = load_photo(name)
    assert photo.shape == (1, 3, 224, 224) and photo.dtype == torch.float32
    assert 0 <= photo.min() < 0.2 and 0.8 < photo.max() <= 1


def test_photo_keeps_its_mean_at_every_size():
    """An antialiased resize neither brightens nor darkens, also when it shrinks a lot."""
    small, large = (load_photo("coffee", size).mean(dim=(2, 3)) for size in (32, 384))
    torch.testing.assert_close(small, large, atol=0.01, rtol=0)


def test_photos_need_neither_network_nor_cache(monkeypatch, tmp_path):
    def refuse(*arguments, **options):
        raise AssertionError("load_photo opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    for variable in ("HOME", "XDG_CACHE_HOME", "SKIMAGE_DATADIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    for name in PHOTOS:
        load_photo(name)
    assert not list(tmp_path.iterdir())


def test_every_photo_states_title_licence_and_source():
    assert set(PHOTOS) == {"cat", "coffee", "rocket", "astronaut"}
    assert all(len(facts) == 3 and all(facts) for facts in PHOTOS.values())


@pytest.mark.parametrize(
    ("arguments", "named"), [(("dog",), "name"), (("cat", 0), "size"), (("cat", 2.5), "size")]
)
def test_photo_names_the_bad_argument(arguments, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        load_photo(*arguments)


# --- shapes ---------------------------------------------------------------------------------------------


def test_shapes_and_types(device):
    s = shapes(20, size=64, device=device)
    assert s.images.shape == (20, 3, 64, 64) and s.images.device.type == device.type
    assert 0 <= s.images.min() and s.images.max() <= 1 and s.images.isfinite().all()
    assert s.masks.shape == s.tag_masks.shape == s.mark_masks.shape == (20, 64, 64)
    assert s.boxes.shape == (20, 4) and s.tagged.shape == s.marked.shape == s.labels.shape == (20,)
    assert len(s) == 20 and not s.tagged.any() and not s.marked.any()


def test_classes_are_balanced():
    assert torch.bincount(shapes(83).labels, minlength=8).tolist().count(10) == 5


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_same_seed_same_scenes_whatever_the_chunks(chunk, device, monkeypatch):
    whole = shapes(40, seed=5, watermark={"star": 0.5}, shortcut={"ring": 0.5}, device=device)
    monkeypatch.setattr(data, "_CHUNK", {device.type: chunk})
    again = shapes(40, seed=5, watermark={"star": 0.5}, shortcut={"ring": 0.5}, device=device)
    assert all(torch.equal(a, b) for a, b in zip(vars(whole).values(), vars(again).values(), strict=True))
    assert not torch.equal(whole.images, shapes(40, seed=6, device=device).images)


def test_devices_agree(device):
    here, there = shapes(32, seed=1), shapes(32, seed=1, device=device)
    assert (here.images - there.images.cpu()).abs().mean() < 1e-4
    assert (here.masks != there.masks.cpu()).float().mean() < 1e-4


def test_random_state_of_the_caller_is_left_alone():
    before = torch.get_rng_state()
    shapes(8, watermark=EVERYWHERE)
    assert torch.equal(before, torch.get_rng_state())


def test_boxes_are_tight_and_objects_whole():
    s = shapes(160, seed=2)
    for mask, (x0, y0, x1, y1) in zip(s.masks, s.boxes.tolist(), strict=True):
        rows, columns = np.nonzero(mask.numpy())
        assert (x0, y0, x1, y1) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    edges = torch.stack([s.masks[:, 0], s.masks[:, -1], s.masks[:, :, 0], s.masks[:, :, -1]])
    assert not edges.any()


@pytest.mark.parametrize("outline", data._OUTLINES)
def test_outlines_have_area_pi_and_stay_within_reach(outline):
    axis = torch.linspace(-2, 2, 801)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    inside = outline(x, y) <= 0
    assert inside.double().mean() * 4.005**2 == pytest.approx(math.pi, rel=0.01)
    assert torch.hypot(x, y)[inside].max() <= data._REACH


def test_mask_is_where_the_object_was_painted(monkeypatch):
    """Without the object, the scene differs from itself inside the mask, and a hair around it."""
    whole = shapes(40, seed=3)
    monkeypatch.setattr(data, "_OUTLINES", (lambda x, y: torch.hypot(x, y) + 9,) * 8)
    empty = shapes(40, seed=3)
    changed = (whole.images != empty.images).any(dim=1)
    assert not empty.masks.any()
    assert changed[whole.masks].float().mean() > 0.999
    around = torch.nn.functional.max_pool2d(
        whole.masks.float(), 7, stride=1, padding=3
    ).bool()  # sharp tips fade
    assert not changed[~around].any()


def test_object_stands_out_from_its_ground():
    s = shapes(200, seed=4)
    ring = torch.nn.functional.max_pool2d(s.masks.float(), 9, stride=1, padding=4).bool() & ~s.masks
    weight = [m[:, None].float() / m.sum(dim=(1, 2))[:, None, None, None] for m in (s.masks, ring)]
    inside, outside = ((s.images * w).sum(dim=(2, 3)) for w in weight)
    assert (inside - outside).abs().amax(dim=1).quantile(0.02) > 0.1


def _colour_features(s):
    """What an image's colours, brightness and background say, with no outline in it: (n, 41)."""
    x = s.images
    border = torch.cat([x[..., :6, :].flatten(2), x[..., -6:, :].flatten(2)], dim=2)
    places = torch.nn.functional.adaptive_avg_pool2d(x.mean(dim=1, keepdim=True), 5).flatten(1)
    parts = [x.mean(dim=(2, 3)), x.std(dim=(2, 3)), border.mean(dim=2), border.std(dim=2)]
    parts += [x.amax(dim=(2, 3)), places, x.mean(dim=(1, 2, 3))[:, None]]
    return torch.cat(parts, dim=1).numpy()


def test_colour_background_and_brightness_do_not_give_the_class_away():
    train, test = shapes(2400, size=56, seed=10), shapes(1600, size=56, seed=11)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    model.fit(_colour_features(train), train.labels.numpy())
    assert model.score(_colour_features(test), test.labels.numpy()) < 0.19  # chance is 0.125


def test_the_same_features_do_give_a_watermark_away():
    """The test above can fail: where a class is tagged, the same linear model finds it."""
    train, test = (shapes(1200, size=64, seed=seed, watermark={"star": 1.0}) for seed in (10, 11))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    model.fit(_colour_features(train), train.labels.numpy() == 3)
    star = test.labels.numpy() == 3
    assert model.predict(_colour_features(test))[star].mean() > 0.3


@pytest.mark.parametrize(
    ("argument", "which", "where"),
    [("watermark", "tagged", "tag_masks"), ("shortcut", "marked", "mark_masks")],
)
def test_stamps_are_exact_counterfactuals(argument, which, where, device):
    without = shapes(80, seed=7, device=device)
    stamped = shapes(80, seed=7, device=device, **{argument: EVERYWHERE})
    changed, covered = (without.images != stamped.images).any(dim=1), getattr(stamped, where)
    assert getattr(stamped, which).all() and covered.flatten(1).any(1).all()
    assert not (changed & ~covered).any()
    assert changed[covered].float().mean() > 0.99
    assert torch.equal(without.masks, stamped.masks) and torch.equal(without.boxes, stamped.boxes)
    shift = (without.images - stamped.images).abs().mean(dim=1)[covered]
    assert shift.mean() > 0.1  # a reader can see it


def test_stamp_shares_follow_the_probability_and_its_class():
    s = shapes(4000, size=48, watermark={"star": 0.25})
    star = s.labels == SHAPE_CLASSES.index("star")
    assert s.tagged[star].float().mean() == pytest.approx(0.25, abs=0.07)
    assert not s.tagged[~star].any()


def test_a_larger_share_only_adds_stamps():
    few, many = (shapes(200, size=48, watermark={"star": share}) for share in (0.3, 0.7))
    assert not (few.tagged & ~many.tagged).any() and few.tagged.sum() < many.tagged.sum()
    assert torch.equal(few.images[few.tagged], many.images[few.tagged])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"n": 0}, "n"),
        ({"n": -3}, "n"),
        ({"n": 2.0}, "n"),
        ({"n": True}, "n"),
        ({"size": 47}, "size"),
        ({"size": "112"}, "size"),
        ({"seed": -1}, "seed"),
        ({"watermark": {"horse": 0.5}}, "watermark"),
        ({"watermark": {"star": 1.5}}, "watermark"),
        ({"watermark": {"star": float("nan")}}, "watermark"),
        ({"shortcut": {"horse": 0.5}}, "shortcut"),
        ({"shortcut": {"star": -0.1}}, "shortcut"),
    ],
)
def test_shapes_name_the_bad_argument(arguments, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        shapes(**({"n": 4} | arguments))


# --- digits ---------------------------------------------------------------------------------------------


def test_digits():
    images, labels = digits()
    assert images.shape == (1797, 1, 8, 8) and images.min() == 0 and images.max() == 1
    assert labels.shape == (1797,) and labels.unique().tolist() == list(range(10))
