"""Chapter 6's second explorer in Python: the pixels' order, areas and places, and what it puts on a page."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image
from torch import nn

from xai_course import explorers
from xai_course.explorers import _base
from xai_course.explorers._deletion import area_under, place, turns
from xai_lib.faithfulness import deletion

S, STEPS = 16, 8
rng = np.random.default_rng(6)
PICTURE = torch.rand(3, S, S, generator=torch.Generator().manual_seed(0))
MAPS = {name: rng.permutation(S * S).reshape(S, S).astype(float) for name in ("one", "two", "three")}
FILLS = {"black": torch.zeros(3, S, S), "grey": torch.full((3, S, S), 0.5)}
DELETED, INSERTED = rng.random((2, 3, 2, STEPS + 1))
GIVEN = {"name": "cat", "caption": "Pixels go.", "alt": "A noisy picture with holes."}


def shown(**changes):
    given = {"maps": MAPS, "fills": FILLS, "deleted": DELETED, "inserted": INSERTED, **GIVEN, **changes}
    return explorers.deletion("6.5", PICTURE, **given)


def test_pixels_go_in_the_order_and_at_the_steps_of_the_library():
    class Seen(nn.Module):
        """Remembers which pixels were black."""

        def forward(self, x):
            self.hidden = [*getattr(self, "hidden", []), *(x.sum(1) == 0)]
            return torch.stack([x.mean((1, 2, 3)), -x.mean((1, 2, 3))], 1)

    model = Seen().eval()
    heat = torch.from_numpy(MAPS["two"])[None].float()
    deletion(model, torch.ones(1, 3, S, S), 0, heat, steps=STEPS, fill=0.0, batch_size=32)
    goes = turns("two", MAPS["two"], STEPS)
    seen = torch.stack(model.hidden[-STEPS - 1 :]).numpy()
    np.testing.assert_array_equal(seen, [goes <= k for k in range(STEPS + 1)])


def test_equal_values_have_no_order_of_their_own():
    with pytest.raises(ValueError, match=r"maps\['flat'\] has equal values"):
        shown(
            maps={**MAPS, "flat": np.zeros((S, S))}, deleted=np.zeros((4, 2, 9)), inserted=np.zeros((4, 2, 9))
        )


def test_areas_and_places():
    np.testing.assert_allclose(area_under(DELETED), np.trapezoid(DELETED, dx=1 / STEPS))
    areas = np.array([0.2, 0.1, 0.2, 0.4])
    assert [place(areas, i, "delete") for i in range(4)] == [2, 1, 2, 4]
    assert [place(areas, i, "insert") for i in range(4)] == [2, 4, 2, 1]


def test_the_first_frame_shows_the_picture_with_its_holes_and_the_areas():
    html = BeautifulSoup(shown().html(), "html.parser")
    source = html.select_one('[data-panel="picture"] img')["src"].split(",")[1]
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB")) / 255
    gone = turns("one", MAPS["one"], STEPS) <= 2  # a quarter of eight steps
    assert drawn[gone].mean() < 0.25 < 0.4 < drawn[~gone].mean()  # stored with small losses
    cells = [float(cell.text) for cell in html.select('[data-row="area"] td')]
    np.testing.assert_allclose(cells, area_under(DELETED)[:, 0], atol=0.005)
    assert html.select_one(".s-controls").has_attr("hidden")
    assert html.select_one(".s-said").text.startswith(
        "one: 25 % of the pixels deleted, behind black: p(cat) ="
    )


def test_what_is_stored_is_what_was_given():
    data = json.loads(BeautifulSoup(shown().html(), "html.parser").select_one("script.s-data").string)
    goes = _base.unpacked(data["goes"]).round()
    np.testing.assert_array_equal(goes, [turns(name, heat, STEPS) for name, heat in MAPS.items()])
    np.testing.assert_allclose(_base.unpacked(data["scores"]), [DELETED, INSERTED], atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": {"one": MAPS["one"]}}, "give 2 to 6 maps"),
        ({"fills": {}}, "1 to 4 fills"),
        ({"deleted": DELETED[:2]}, "deleted must be numbers"),
        ({"inserted": INSERTED + 1}, "must be between 0 and 1"),
        ({"deleted": DELETED[..., :8], "inserted": INSERTED[..., :8]}, "must divide the 256 pixels, got 7"),
        ({"maps": {**MAPS, "two": np.ones((8, 8))}}, r"maps\['two'\] must be numbers"),
        (
            {"fills": {"black": FILLS["black"], "grey": torch.zeros(3, 8, 8)}},
            r"fills\['grey'\] must be as large",
        ),
        ({"caption": ""}, "caption must say something"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        shown(**changes)
