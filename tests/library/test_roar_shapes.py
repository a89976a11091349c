"""The run of ROAR that chapter 6 reads: it works, and the stored results are those of its settings."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from xai_lib import _roar_shapes as ours
from xai_lib.faithfulness import roar
from xai_lib.train import main

SETTINGS = ours.Settings()


@pytest.fixture(scope="module")
def stored():
    return json.loads(ours.FILE.read_text(encoding="utf-8"))


def test_a_tiny_run_goes_all_the_way(tmp_path):
    tiny = replace(SETTINGS, train=16, test=8, epochs=1, seeds=(4,), fractions=(0.0, 0.5), kept=(0.5,))
    facts = ours.save(tiny, tmp_path / "new" / "roar.json")
    assert json.loads((tmp_path / "new" / "roar.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(facts)
    )
    assert facts["names"] == [*ours.explainers(0), "edges, no network", "the object itself", "random"]
    for kind, shares in (("accuracy", 2), ("keep", 1), ("mask_only", 1)):
        assert torch.tensor(facts[kind]).shape == (10, shares, 1)
    assert facts["settings"] == asdict(tiny)


def test_the_command_refuses_what_is_meant_for_networks(capsys):
    with pytest.raises(SystemExit):
        main(["roar", "--steps", "3"])
    assert "--steps" in capsys.readouterr().err


def test_the_stored_results_say_how_they_were_made(stored):
    assert stored["settings"] == json.loads(json.dumps(asdict(SETTINGS))), "run it again"
    assert stored["command"] == "python -m xai_lib.train roar"
    assert stored["names"] == [*ours.explainers(0), "edges, no network", "the object itself", "random"]
    accuracy = torch.tensor(stored["accuracy"])
    assert accuracy.shape == (10, 6, 3)
    assert (accuracy[:, 0] == accuracy[0, 0]).all(), "with nothing hidden there is one network for all maps"
    assert (accuracy[:, 0] > 0.85).all(), "the networks have learnt their task"
    steps = 1 / SETTINGS.test
    assert ((accuracy / steps).round() * steps - accuracy).abs().max() < 1e-4, "shares of the test scenes"
    assert torch.tensor(stored["keep"]).shape == (10, len(SETTINGS.kept), 3)
    assert torch.tensor(stored["mask_only"]).shape == (10, len(SETTINGS.masks), 3)


def test_two_of_the_stored_networks_come_out_again(stored):
    """Whole images, and without what an edge filter ranks highest: no drawing at random decides these."""
    train, test = (ours.scenes(SETTINGS, held)[:2] for held in (False, True))
    edges = {"random": (ours.edges(train[0]), ours.edges(test[0]))}  # in the place of the random row
    again = roar(
        ours.network, train, test, edges, fractions=(0.0, 0.3), seeds=(1,), **SETTINGS.training()
    ).accuracy[0, :, 0]
    row = torch.tensor(stored["accuracy"])[stored["names"].index("edges, no network"), :, 1]
    assert (again - row[[0, 2]]).abs().max() < 0.04


def test_the_maps_that_know_no_network_are_what_they_say():
    images = torch.zeros(1, 3, 8, 8)
    images[..., 4:] = 1
    found = ours.edges(images)[0]
    assert (found[:, 3:5] == 4).all() and (found[:, [0, 1, 2, 5, 6, 7]] == 0).all()
    point = torch.zeros(1, 8, 8)
    point[0, 4, 4] = 25
    assert torch.equal(ours.blurred(point)[0, 2:7, 2:7], torch.ones(5, 5)) and ours.blurred(point).sum() == 25
