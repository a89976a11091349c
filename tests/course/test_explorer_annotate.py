"""Chapter 6's explorer in Python: what it says of a box, and what it puts on a page."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup

from xai_course import explorers
from xai_course.explorers import _base
from xai_course.explorers._annotate import inside, judged, maxima, pooled, tight
from xai_lib.localisation import iou

S = 16
PICTURE = torch.rand(3, S, S, generator=torch.Generator().manual_seed(0))
SPIKE, FLAT, TWO = np.zeros((S, S)), np.full((S, S), 0.5), np.zeros((S, S))
SPIKE[3, 9] = 2.0
TWO[[1, 14], [1, 14]] = 1.0
MAPS = {"spike": SPIKE, "flat": FLAT, "two": TWO}
OUTLINES = {"A": [[2, 2], [12, 2], [12, 10], [2, 10]], "B": [[4, 2], [12, 2], [8, 14]]}
GIVEN = {"caption": "A box.", "alt": "A noisy picture with a box."}


def shown(**changes):
    return explorers.annotate(
        "6.5", PICTURE, **{"maps": MAPS, "outlines": OUTLINES, "box": [8, 2, 14, 8], **GIVEN, **changes}
    )


def found(box):
    masks = {name: inside(points, S) for name, points in OUTLINES.items()}
    cells = {name: pooled(values) for name, values in MAPS.items()}
    return judged(cells, {name: maxima(values) for name, values in MAPS.items()}, masks, box)


def test_pixels_are_inside_whose_centres_are():
    whole = inside([[0, 0], [S, 0], [S, S], [0, S]], S)
    assert whole.all()
    half = inside([[0, 0], [S, S], [0, S]], S)  # the diagonal belongs to one side
    assert S * (S - 1) / 2 <= half.sum() <= S * (S + 1) / 2 and half[-1, 0] and not half[0, -1]
    ring = inside([[2, 2], [14, 2], [14, 14], [2, 14], [2, 2], [6, 6], [6, 10], [10, 10], [10, 6], [6, 6]], S)
    assert ring.sum() == 12 * 12 - 4 * 4


def test_an_outline_is_filled_as_scikit_image_fills_it():
    from skimage.measure import grid_points_in_poly

    points = np.array([[3.2, 1.7], [13.6, 4.1], [11.3, 13.8], [7.9, 8.4], [2.1, 12.2]])
    centres = points[:, ::-1] - 0.5
    np.testing.assert_array_equal(inside(points, S), grid_points_in_poly((S, S), centres))


def test_a_box_says_what_lies_inside():
    said = found([8, 2, 14, 8])
    assert said["energy"] == {"spike": 1.0, "flat": pytest.approx(36 / S**2), "two": 0.0}
    assert said["hits"] == {"spike": 1.0, "flat": pytest.approx(36 / S**2), "two": 0.0}
    assert said["area"] == 36 / S**2
    a, b = torch.tensor([[8, 2, 14, 8]]), torch.tensor([[2, 2, 12, 10]])
    assert said["overlap"]["A"] == pytest.approx(iou(a, b).item())
    assert found([0, 0, 8, 8])["hits"]["two"] == 0.5  # one of two equal maxima


def test_a_tight_box_has_the_whole_mask_and_no_more():
    mask = inside(OUTLINES["B"], S)
    x0, y0, x1, y1 = tight(mask)
    assert mask[y0:y1, x0:x1].sum() == mask.sum()
    for smaller in ([x0 + 2, y0, x1, y1], [x0, y0 + 2, x1, y1], [x0, y0, x1 - 2, y1], [x0, y0, x1, y1 - 2]):
        a, b, c, d = smaller
        assert mask[b:d, a:c].sum() < mask.sum()


def test_what_is_stored_is_what_python_judges():
    data = json.loads(BeautifulSoup(shown().html(), "html.parser").select_one("script.s-data").string)
    np.testing.assert_array_equal(_base.unpacked(data["maps"]), [pooled(values) for values in MAPS.values()])
    np.testing.assert_array_equal(_base.unpacked(data["masks"]), [inside(p, S) for p in OUTLINES.values()])
    assert data["peaks"][0] == [[3, 9]] and len(data["peaks"][1]) == S * S


def test_the_first_frame_stands_there_before_any_script():
    html = BeautifulSoup(shown().html(), "html.parser")
    assert html.select_one(".s-controls").has_attr("hidden")
    assert html.select_one(".s-said").text.startswith("Your box covers 14.1 % of the picture")
    assert "pointing: a hit" in html.select_one(".s-said").text
    names = [row.span.text for row in html.select(".s-odds div")]
    assert names == ["spike ✓", "flat 0.14", "two ✗", "your box"]
    assert html.select_one(".s-outlines").has_attr("hidden") and len(html.select(".s-outlines polygon")) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": {"spike": SPIKE}}, "maps must be a dict of 2 to 6"),
        ({"maps": {**MAPS, "small": np.ones((8, 8))}}, r"maps\['small'\] must be numbers"),
        ({"maps": {**MAPS, "signed": SPIKE - 1}}, "no negative value"),
        ({"maps": {**MAPS, "empty": 0 * SPIKE}}, "some heat"),
        ({"outlines": {}}, "outlines must be a dict"),
        ({"outlines": {"A": [[0, 0], [5, 5]]}}, "must enclose a pixel"),
        ({"outlines": {"A": [[0, 0], [5, 0], [30, 30]]}}, "must be between 0 and 16"),
        ({"box": [8, 2, 8, 8]}, "box must be"),
        ({"box": [8, 2, 13, 8]}, "box must be"),
        ({"box": [8, 2, 18, 8]}, "box must be"),
        ({"alt": " "}, "alt must say something"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        shown(**changes)


def test_a_picture_with_an_odd_side_is_named():
    with pytest.raises(ValueError, match="square of an even side"):
        explorers.annotate("6.5", PICTURE[:, 1:, 1:], MAPS, OUTLINES, box=[0, 0, 4, 4], **GIVEN)
