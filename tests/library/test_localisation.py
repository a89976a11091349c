"""Boxes: which inputs are refused, and which types make no difference. What a box is: test_cams.py."""

import numpy as np
import pytest
import torch

from xai_lib import box_from_heatmap, iou

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
