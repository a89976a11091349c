"""Maps against what a human marked; boxes: which inputs are refused. What a box is: test_cams.py."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from scipy import ndimage

from xai_lib import (
    area_fraction,
    box_from_heatmap,
    centre_map,
    energy_in,
    iou,
    pointing_game,
    relevance_rank,
    shapes,
)

MEASURES = {
    "pointing": pointing_game,
    "tolerant": partial(pointing_game, tolerance=2),
    "energy": energy_in,
    "rank": relevance_rank,
}
every_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)


def maps_of(*shape, seed=0, device="cpu"):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def masks_of(n, size=(9, 11), seed=1, device="cpu"):
    """One to many marked pixels at random; none is empty."""
    masks = torch.rand(n, *size, generator=torch.Generator().manual_seed(seed)) < 0.05
    masks[:, 4, 5] = True
    return masks.to(device)


# ------------------------------------------------------------------------------- maps against a human's mark


def test_measures_by_hand(device):
    heatmap = torch.tensor([[[4.0, 0.0, -6.0], [1.0, 3.0, 2.0]]], device=device)
    where = torch.tensor([[0, 0, 1, 2]], device=device)  # the left column: 4 and 1
    assert pointing_game(heatmap, where).tolist() == [1]
    assert energy_in(heatmap, where).tolist() == [0.5]  # 5 of 10, without the negative 6
    assert relevance_rank(heatmap, where).tolist() == [0.5]  # 4 is among the largest two, 1 is not
    assert area_fraction(where, (2, 3)).tolist() == [pytest.approx(1 / 3)]
    below = torch.tensor([[0, 1, 3, 2]], device=device)  # the lower row: 1, 3 and 2
    assert pointing_game(heatmap, below).tolist() == [0]
    assert energy_in(heatmap, below).tolist() == [pytest.approx(0.6)]
    assert relevance_rank(heatmap, below).tolist() == [pytest.approx(2 / 3)]  # of 4, 3 and 2, two


def test_a_box_is_the_mask_of_its_pixels(device):
    scene = shapes(8, size=48, seed=5, device=device)
    heatmaps = maps_of(8, 48, 48, device=device)
    for measure in MEASURES.values():
        boxes = torch.zeros(8, 48, 48, dtype=torch.bool, device=device)
        for mask, (x0, y0, x1, y1) in zip(boxes, scene.boxes.tolist(), strict=True):
            mask[y0:y1, x0:x1] = True
        of_boxes = measure(heatmaps, scene.boxes)
        assert torch.equal(of_boxes, measure(heatmaps, boxes))
        assert torch.equal(of_boxes, measure(heatmaps, scene.boxes.double()))
        assert torch.equal(of_boxes, measure(heatmaps, boxes.float()))
        assert torch.equal(of_boxes, measure(heatmaps, boxes.to(torch.uint8)))


def test_a_pixel_is_in_a_box_if_its_middle_is(device):
    def marked(*box):
        return (6 * area_fraction(torch.tensor([box], device=device), (2, 3))).round().tolist()[0]

    assert marked(0, 0, 3, 2) == 6 and marked(0, 0, 1.4, 2) == 2 and marked(0, 0, 1.6, 2) == 4
    assert marked(0.4, 0, 3, 2) == 6 and marked(0.6, 0, 3, 2) == 4
    assert marked(-5, -5, 1, 9) == 2  # what lies outside the image is left out


@every_measure
def test_several_maps_and_one_map_for_all_are_as_one_by_one(measure, device):
    maps, where = maps_of(4, 3, 9, 11, device=device), masks_of(4, device=device)
    together = measure(maps, where)
    assert together.shape == (4, 3) and together.device == maps.device
    for i, m in product(range(4), range(3)):
        assert torch.equal(together[i, m], measure(maps[i : i + 1, m], where[i : i + 1])[0])
    assert torch.equal(measure(maps[0, 0], where), measure(maps[:1, 0].expand(4, -1, -1), where))


@every_measure
def test_shares_lie_between_none_and_all(measure, device):
    maps, where = maps_of(20, 9, 11, device=device), masks_of(20, device=device)
    values = measure(maps, where)
    assert values.shape == (20,) and ((values >= 0) & (values <= 1)).all() and len(values.unique()) > 1
    everything = torch.ones(20, 9, 11, dtype=torch.bool, device=device)
    assert (measure(maps, everything) == 1).all()
    assert (measure(where.float(), where) == 1).all(), "the mask itself is a perfect map"
    assert (measure((~where).float(), where) < 1).all()


@pytest.mark.parametrize("level", [2.5, 0.0, -1.0])
@pytest.mark.parametrize("name", ["pointing", "energy", "rank"])
def test_a_constant_map_gets_the_area_fraction(name, level, device):
    where = masks_of(6, device=device)
    flat = torch.full((6, 9, 11), level, device=device)
    torch.testing.assert_close(MEASURES[name](flat, where), area_fraction(where))


@pytest.mark.parametrize("name", ["pointing", "rank"])
def test_ties_get_what_chance_would_give(name, device):
    """The mean over many tiny disturbances that break the ties."""
    maps, where = maps_of(3, 9, 11, device=device).sign(), masks_of(3, device=device)
    where[:, :4] = True
    broken = maps[:, None] + 0.1 * torch.rand(3, 4000, 9, 11, generator=torch.Generator().manual_seed(2)).to(
        maps
    )
    expected = MEASURES[name](maps, where)
    assert ((expected > 0.05) & (expected < 0.95)).all()
    assert (MEASURES[name](broken, where).mean(1) - expected).abs().max() < 5 * 0.5 / 4000**0.5


def test_only_the_order_counts_for_pointing_and_rank_and_the_scale_for_none(device):
    maps, where = maps_of(5, 9, 11, device=device), masks_of(5, device=device)
    for name in ("pointing", "tolerant", "rank"):
        for same in (maps.exp(), maps - 7, 1e-30 * maps):
            assert torch.equal(MEASURES[name](same, where), MEASURES[name](maps, where))
    for scale in (1e-35, 1e3, 1e38 / maps.max()):
        torch.testing.assert_close(energy_in(scale * maps, where), energy_in(maps, where))
    assert not torch.allclose(energy_in(maps + 7, where), energy_in(maps, where))
    torch.testing.assert_close(energy_in(maps.clamp(min=0), where), energy_in(maps, where))


@pytest.mark.parametrize("tolerance", [0, 0.9, 1, 1.5, 3, 4.3, 40])
def test_the_tolerance_is_a_distance_in_pixels(tolerance, device):
    """Against SciPy's distance transform, for a maximum at every place of the image."""
    where = torch.zeros(1, 9, 11, dtype=torch.bool, device=device)
    where[0, 2, 3:5] = where[0, 6, 8] = True
    every = torch.eye(99, device=device).view(1, 99, 9, 11)
    hits = pointing_game(every, where, tolerance=tolerance)[0].view(9, 11)
    distance = ndimage.distance_transform_edt(~where[0].cpu().numpy())
    assert torch.equal(hits.cpu().bool(), torch.from_numpy(distance <= tolerance))


def test_the_centre_map_falls_from_the_middle_to_the_corners(device):
    for size in ((9, 11), (8, 10), (1, 1), 6):
        heatmap = centre_map(size)
        assert torch.equal(heatmap, heatmap.flip(0)) and torch.equal(heatmap, heatmap.flip(1))
        assert heatmap.amin() == (0 if heatmap.numel() > 1 else 1) and heatmap.amax() <= 1
    middle = torch.tensor([[4, 3, 6, 5], [0, 0, 4, 9]], device=device)
    assert pointing_game(centre_map((9, 10)), middle).tolist() == [1, 0]
    assert pointing_game(centre_map(8), torch.tensor([[0, 0, 4, 4]], device=device)).tolist() == [0.25]


def test_results_are_wide_and_detached(device):
    where = masks_of(2, device=device)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.uint8):
        maps = maps_of(2, 9, 11, device=device).abs().mul(9).to(dtype)
        for measure in MEASURES.values():
            result = measure(maps, where)
            assert result.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for measure in MEASURES.values():
        assert not measure(maps_of(2, 9, 11, device=device).requires_grad_(), where).requires_grad
        assert measure(where, where).tolist() == [1, 1], "a mask is a map, too"


GOOD = masks_of(3)
BAD_WHERE = {
    "an empty mask": (GOOD & torch.tensor([1, 0, 0]).bool()[:, None, None], "marks none of image 1, 2;"),
    "a box without area": (torch.tensor([[0, 0, 2, 2], [3, 3, 3, 9], [0, 0, 1, 1]]), "none of image 1;"),
    "a box outside": (torch.tensor([[0, 0, 2, 2], [0, 0, 1, 1], [40, 2, 50, 4]]), "none of image 2;"),
    "inside out": (torch.tensor([[5, 5, 2, 9]] * 3), "x0 <= x1"),
    "too few": (GOOD[:2], "where must mark each of the 3 images"),
    "another size": (GOOD[:, :5], r"where must be masks of the size \(9, 11\), got shape \(3, 5, 11\)"),
    "soft": (torch.full((3, 9, 11), 0.5), "where must hold masks of True and False"),
    "one box": (torch.tensor([0, 0, 2, 2]), "where must be 2-D or 3-D, boxes"),
    "five numbers": (torch.ones(3, 5), "where must have the shape"),
    "meta": (GOOD.to("meta"), "where must hold values"),
}


@every_measure
@pytest.mark.parametrize("kind", BAD_WHERE)
def test_bad_marks_are_named(measure, kind):
    where, words = BAD_WHERE[kind]
    with pytest.raises(ValueError, match=words):
        measure(maps_of(3, 9, 11), where)


@every_measure
def test_bad_maps_of_marks_are_named(measure):
    maps = maps_of(3, 9, 11)
    for heatmaps, words in (
        (maps[0, 0], "heatmaps must be 2-D or 3-D or 4-D"),
        (maps.log().log(), "heatmaps must be finite"),
        (maps + 1j, "heatmaps must hold real numbers"),
        (maps[:, :0], "heatmaps must not be empty"),
        (maps.to_sparse(), "heatmaps must be a dense tensor"),
    ):
        with pytest.raises(ValueError, match=words):
            measure(heatmaps, GOOD)
    for heatmaps, where, name in ((maps.numpy(), GOOD, "heatmaps"), (maps, GOOD.tolist(), "where")):
        with pytest.raises(TypeError, match=f"{name} must be a tensor"):
            measure(heatmaps, where)


def test_other_bad_options_are_named():
    for tolerance in (-1, float("nan"), "15", None):
        with pytest.raises(ValueError, match="tolerance must be a finite number"):
            pointing_game(maps_of(3, 9, 11), GOOD, tolerance=tolerance)
    with pytest.raises(ValueError, match="size must be the images' height and width"):
        area_fraction(torch.tensor([[0, 0, 1, 1]]))
    with pytest.raises(ValueError, match="masks of the size"):
        area_fraction(GOOD, (9, 9))
    with pytest.raises(ValueError, match="size must be a positive whole number"):
        centre_map(0)


# ------------------------------------------------------------------------------------------------------ boxes

BAD_MAPS = {
    "empty": (torch.ones(0, 4, 4), "heatmap must not be empty"),
    "NaN": (torch.full((4, 4), float("nan")), "heatmap must be finite, got 16 NaN"),
    "complex": (torch.ones(4, 4) + 1j, r"heatmap must hold real numbers, got torch\.complex64"),
    "meta": (torch.ones(4, 4, device="meta"), "heatmap must hold values"),
    "sparse": (torch.ones(4, 4).to_sparse(), "heatmap must be a dense tensor"),
}


@pytest.mark.parametrize("kind", BAD_MAPS)
def test_bad_heatmaps_are_named(kind):
    heatmap, words = BAD_MAPS[kind]
    with pytest.raises(ValueError, match=words):
        box_from_heatmap(heatmap)


@pytest.mark.parametrize("threshold", [True, [0.2], 1j, torch.tensor(0.2), float("inf")])
def test_bad_thresholds_are_named(threshold):
    with pytest.raises(ValueError, match="threshold must be a finite number, above 0 and at most 1"):
        box_from_heatmap(torch.ones(4, 4), threshold)


def test_thresholds_may_come_from_numpy():
    heatmap = torch.tensor([[0.1, 0.5, 1.0]])
    for threshold in (np.float32(0.5), np.float64(0.5), 0.5):
        assert box_from_heatmap(heatmap, threshold).tolist() == [1, 0, 3, 1]
    assert box_from_heatmap(heatmap, np.int64(1)).tolist() == [2, 0, 3, 1]


def test_masks_and_whole_numbers_have_boxes():
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[1:3, 2:6] = True
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16):
        assert box_from_heatmap(mask.to(dtype)).tolist() == [2, 1, 6, 3]


@pytest.mark.parametrize(("dtype", "threshold"), [(torch.float16, 0.2), (torch.bfloat16, 0.35)])
def test_the_threshold_is_not_rounded_to_a_half(dtype, threshold):
    """The half that is nearest to the threshold lies below it, so it is not warm."""
    heatmap = torch.tensor([[0.0, threshold, 1.0]], dtype=dtype)
    assert heatmap[0, 1].item() < threshold
    assert box_from_heatmap(heatmap, threshold).tolist() == [2, 0, 3, 1]


BOX = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
BAD_BOXES = {
    "complex": (BOX + 1j, r"must hold real numbers, got torch\.complex64"),
    "bool": (BOX > 0, r"must hold real numbers, got torch\.bool"),
    "NaN": (BOX * float("nan"), "must be finite, got 4 NaN"),
    "infinite": (BOX.double() / 0, "must be finite"),
    "meta": (BOX.to("meta"), "must hold values"),
    "sparse": (BOX.to_sparse(), "must be a dense tensor"),
    "a number": (torch.tensor(1.0), r"must have the shape \(\.\.\., 4\), .*, got \(\)"),
    "five numbers": (torch.ones(2, 5), r"must have the shape .*, got \(2, 5\)"),
    "x turned": (torch.tensor([[0, 0, 2, 2], [5, 0, 3, 4]]), r"x0 <= x1 and y0 <= y1, got \[5, 0, 3, 4\]"),
    "width and height": (torch.tensor([3, 5, 4, 2]), "not a corner with width and height"),
    "a list": ([[0, 0, 4, 4]], "must be a tensor of boxes"),
    "an array": (BOX.numpy(), "must be a tensor of boxes"),
}


@pytest.mark.parametrize("kind", BAD_BOXES)
def test_bad_boxes_are_named(kind):
    boxes, words = BAD_BOXES[kind]
    for name, pair in (("boxes_a", (boxes, BOX)), ("boxes_b", (BOX, boxes))):
        with pytest.raises((ValueError, TypeError), match=f"^{name} .*{words}"):
            iou(*pair)


def test_no_boxes_and_boxes_without_area():
    assert iou(torch.zeros(0, 4), BOX).shape == (0,)
    points = torch.tensor([[2, 2, 2, 2], [1, 0, 1, 4], [0, 0, 0, 0]])
    assert iou(points, BOX).tolist() == iou(points, points).tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8, torch.int64])
def test_areas_are_computed_in_float32(dtype):
    """16 384 times 10 would overflow a half, and 255 is where bytes end."""
    a, b = torch.tensor([0, 0, 200, 100]).to(dtype), torch.tensor([100, 0, 200, 100]).to(dtype)
    assert iou(a, b).dtype == torch.float32 and iou(a, b).item() == pytest.approx(0.5)
