"""Chapter 8's drawing in Python: it is what the library's manipulated network shows, and answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup

from xai_course import explorers
from xai_course.explorers import _base, _draw
from xai_lib import grad_cam, load_model
from xai_lib.data import SHAPE_CLASSES, shapes
from xai_lib.manipulation import lie_image

NETWORKS = ["small_gap", "clever_hans"]  # averaged into one linear layer; hidden layers behind a maximum
GIVEN = {"caption": "A drawing.", "alt": "A shape with cells to paint."}
CORNER = np.zeros((14, 14))
CORNER[:3, :5] = 0.37


@pytest.fixture(scope="module")
def x():
    return shapes(1, seed=5).images


@pytest.fixture(scope="module")
def scenes(x):
    models = {name: load_model(name) for name in NETWORKS}
    return {name: (model, x, [*SHAPE_CLASSES[:2]]) for name, model in models.items()}


def shown(scenes, **changes):
    return explorers.draw(
        "8.1", **{"scenes": scenes, "pictures": {"small_gap": {"corner": CORNER}}, **GIVEN, **changes}
    )


def scene_of(scenes, name):
    return _draw._scene(name, *scenes[name], {"corner": CORNER}, 100, 10.0)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scale", [0.3, 100])
def test_any_drawing_is_what_the_librarys_network_shows(scenes, name, scale):
    model, x, labels = scenes[name]
    scene = scene_of(scenes, name)
    drawing = np.random.default_rng(1).integers(0, 101, (14, 14)) / 100
    liar = lie_image(model, torch.from_numpy(drawing), scale=scale, repair=True)
    with torch.no_grad():
        moved = (liar(x) - model(x)).abs().max().item()
    for i, label in enumerate(labels):
        wanted = grad_cam(liar, x, SHAPE_CLASSES.index(label), layer=model.cam_layer, upsample=False)[0]
        found = _draw.lied(scene, i, drawing, scale)["map"]
        np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=1e-3 * float(wanted.max()))
    answer = _draw.answered(scene, drawing, scale, 10.0)
    # Which sums round, and how, is the machine's: both changes are a few last places of what is added.
    added = 10 * scale * drawing.mean() * (1 if name == "small_gap" else 49)
    allowed = 4 * float(np.spacing(np.float32(added + np.abs(scene.logits).max())))
    assert moved < allowed and answer["moved"] < allowed
    assert moved < 8 * answer["moved"] + 1e-5
    np.testing.assert_allclose(answer["now"], answer["honest"], atol=allowed)


def test_at_scale_zero_or_with_nothing_drawn_the_map_is_the_honest_one(scenes, x):
    model, _, labels = scenes["small_gap"]
    scene = scene_of(scenes, "small_gap")
    wanted = grad_cam(model, x, SHAPE_CLASSES.index(labels[0]), layer=model.cam_layer, upsample=False)[0]
    for drawing, scale in ((CORNER, 0), (0 * CORNER, 100)):
        np.testing.assert_allclose(_draw.lied(scene, 0, drawing, scale)["map"], wanted, atol=1e-3)
        assert _draw.answered(scene, drawing, scale, 10.0)["moved"] < 1e-5


def test_the_distance_is_the_papers():
    heat, drawing = np.array([[4.0, -1.0], [2.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    assert _draw.distance(heat, drawing) == pytest.approx(0.5 + 1)
    assert _draw.distance(drawing / 7, drawing) == 0


@pytest.mark.parametrize("size", [(7, 7), (14, 14), (10, 10)])
def test_ready_pictures_fit_the_cells_and_differ(size):
    pictures = [_draw._ready(art, size) for art in _draw.READY.values()]
    assert all(p.shape == size and 0.05 < p.mean() <= 0.5 and set(np.unique(p)) == {0, 1} for p in pictures)
    assert all((a != b).any() for a in pictures for b in pictures if a is not b)


def test_what_is_stored_gives_the_maps_back(scenes):
    figure = shown(scenes)
    data = json.loads(BeautifulSoup(figure.html(), "html.parser").select_one("script.s-data").string)
    for name, stored in zip(NETWORKS, data["scenes"], strict=True):
        maps = np.zeros(stored["active"]["shape"])
        maps[_base.unpacked(stored["active"]) > 0] = _base.unpacked(stored["maps"])
        honest = np.einsum("ck,kij->cij", _base.unpacked(stored["alphas"]), maps)
        np.testing.assert_allclose(honest, figure.arrays[name], atol=1e-6)
    assert [len(stored["ready"]) for stored in data["scenes"]] == [4, 3]
    assert data["scenes"][0]["picture"] is None and data["scenes"][1]["picture"].startswith("data:")


def test_the_first_frame_stands_there_before_any_script(scenes):
    html = BeautifulSoup(shown(scenes, scale=2).html(), "html.parser")
    assert html.select_one(".s-controls").has_attr("hidden")
    assert "The answer is still" in html.select_one(".s-said").text
    assert html.select_one('[data-term="lie"] small').text.endswith("× 2 × drawing")
    rows = html.select(".s-odds > div:not(.s-head)")
    assert len(rows) == 4 and all(len(set(s.text for s in row.select("span")[1:])) == 1 for row in rows)
    nothing = BeautifulSoup(shown(scenes, scale=0).html(), "html.parser").select_one(".s-said").text
    assert nothing.startswith("Nothing of a drawing is in the map")


def test_numbers_read_as_the_script_writes_them():
    assert [_draw.small(v) for v in (3.1e-5, 0.0004, 0.02, 1e-7)] == [
        "less than 0.0001",
        "less than 0.001",
        "less than 0.1",
        "less than 0.000001",
    ]
    assert (_draw.times(20.4, 0.36), _draw.times(0.2, 0.4), _draw.times(3, -1)) == (
        ": 57 times as much",
        ": 0.5 times as much",
        "",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenes": {}}, "scenes must be a dict of 1 to 4"),
        ({"scale": 4}, "scale must be one of"),
        ({"pictures": {"another": {}}}, "pictures must be for scenes"),
        ({"pictures": {"small_gap": {"p": CORNER[:7]}}}, "must be numbers"),
        ({"pictures": {"small_gap": {"p": 2 + CORNER}}}, "between 0 and 1"),
        ({"pictures": {"small_gap": {"p": 0 * CORNER}}}, "something in it"),
        ({"alt": " "}, "alt must say something"),
    ],
)
def test_bad_arguments_are_named(scenes, changes, message):
    with pytest.raises(ValueError, match=message):
        shown(**{"scenes": {"small_gap": scenes["small_gap"]}, **changes})


def test_a_class_that_the_network_does_not_know_is_named(scenes, x):
    model = scenes["small_gap"][0]
    with pytest.raises(ValueError, match="labels, got"):
        shown({"small_gap": (model, x, ["zebra"])})
