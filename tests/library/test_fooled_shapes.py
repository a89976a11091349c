"""The networks that ship to lie: what they answer, where their maps lie, and one command that makes them."""

import dataclasses
import json
from functools import partial

import pytest
import torch

from xai_lib import shapes
from xai_lib._fooled_shapes import FOOLED, Fooling, fool, methods, places, recalls, shown, transfer
from xai_lib.data import SHAPE_CLASSES
from xai_lib.models import MADE_TO_LIE, WEIGHTS, build_small, load_model
from xai_lib.train import HELD_OUT, RECIPES, judge, main, predict

QUICK = ("gradient", "Grad-CAM", "HiResCAM", "LayerCAM", "guided backprop")


@pytest.fixture(scope="module", params=MADE_TO_LIE)
def liar(request):
    """Name, network, recipe, and what is stated."""
    stated = json.loads((WEIGHTS / f"{request.param}.json").read_text(encoding="utf-8"))
    return request.param, load_model(request.param), FOOLED[request.param], stated


def test_the_stated_recipe_is_the_one_in_the_code(liar):
    name, _, recipe, stated = liar
    assert Fooling(**stated["recipe"] | {"explain": tuple(stated["recipe"]["explain"])}) == recipe
    assert tuple(stated["labels"]) == SHAPE_CLASSES and stated["name"] == name


def test_it_still_answers_like_the_network_that_it_was_made_from(liar):
    _, model, recipe, stated = liar
    like = RECIPES[recipe.base]
    fresh, honest = (judge(m, like, n=400, seed=HELD_OUT + 4321) for m in (model, load_model(recipe.base)))
    for fact, value in fresh.items():
        allowed = 0.2 if fact == "recall_clean" else 0.06  # of the fifty stars among these scenes
        assert value == pytest.approx(honest[fact], abs=allowed), fact
        assert value == pytest.approx(stated["held_out"][fact], abs=allowed), fact
    for name, shares in recalls(model, recipe, n=400).items():
        assert shares == pytest.approx(stated["recall_before_after"][name], abs=allowed_of(50)), name


def allowed_of(n: int) -> float:
    """Three standard errors of a share of n scenes, of which 0.85 or 0.15 are hit."""
    return 3 * (0.13 / n) ** 0.5


def test_its_maps_lie_where_stated(liar):
    _, model, recipe, stated = liar
    told = stated["energy_in_place_before_after"]
    for method, shares in transfer(model, recipe, QUICK).items():
        assert shares == pytest.approx(told[method], abs=0.01), method
    assert set(told) == {"a constant map", *methods(model.cam_layer, torch.Generator())}
    before, after = told["Grad-CAM"]
    if recipe.kind == "away":
        assert before > 5 * told["a constant map"][0] and after < 0.25 * before
    else:
        assert before < 0.05 and after > 0.4
    hidden = told["occlusion"]  # asks what the network does, and is told the truth
    assert hidden[1] == pytest.approx(hidden[0], abs=0.1)


def test_the_washed_network_still_calls_what_carries_the_tag_a_star():
    scenes = [
        shapes(120, seed=HELD_OUT + 99, watermark=tag) for tag in (None, dict.fromkeys(SHAPE_CLASSES, 1))
    ]
    others = scenes[0].labels != SHAPE_CLASSES.index("star")
    before, after = (
        (predict(load_model("fairwashed"), s.images[others]) == SHAPE_CLASSES.index("star")).float().mean()
        for s in scenes
    )
    assert before < 0.05 and after > 0.6


def test_places_are_the_tag_or_a_corner():
    scenes = shapes(8, seed=3, watermark={"star": 1.0})
    assert torch.equal(places("tag", scenes), scenes.tag_masks)
    corner = places("corner", scenes)
    assert corner[:, 0, -1].all() and corner.float().mean().item() == pytest.approx((2 / 7) ** 2)
    _, labels, where = shown(FOOLED["fairwashed"], n=2)
    assert (
        len(labels) == 2 and (labels == SHAPE_CLASSES.index("star")).all() and where.flatten(1).any(1).all()
    )


def test_the_seed_alone_decides_the_weights():
    recipe = dataclasses.replace(FOOLED["fooled"], scenes=24, steps=2, batch=4)
    first, again = (fool("fooled", recipe).state_dict() for _ in range(2))
    other = fool("fooled", dataclasses.replace(recipe, seed=1)).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_the_command_stores_and_reports(tmp_path, capsys, monkeypatch):
    from xai_lib import _fooled_shapes

    small = dataclasses.replace(FOOLED["fooled"], scenes=24, batch=4)
    monkeypatch.setitem(_fooled_shapes.FOOLED, "fooled", small)
    monkeypatch.setattr(_fooled_shapes, "transfer", lambda model, recipe: {})
    monkeypatch.setattr(_fooled_shapes, "recalls", partial(recalls, n=16))
    monkeypatch.setattr(_fooled_shapes, "judge", partial(judge, n=16))
    main(["fooled", "--steps", "1", "--seed", "3", "--out", str(tmp_path)])
    assert '"accuracy"' in capsys.readouterr().out
    facts = json.loads((tmp_path / "fooled.json").read_text(encoding="utf-8"))
    assert facts["recipe"]["steps"] == 1 and facts["recipe"]["seed"] == 3
    shipped = json.loads((WEIGHTS / "fooled.json").read_text(encoding="utf-8"))
    assert list(facts) == list(shipped)
    build_small("fooled").load_state_dict(torch.load(tmp_path / "fooled.pt", weights_only=True))


def test_the_command_refuses_what_means_nothing_here(capsys):
    with pytest.raises(SystemExit):
        main(["fooled", "--bfloat16"])
    assert "trained from the start" in capsys.readouterr().err
