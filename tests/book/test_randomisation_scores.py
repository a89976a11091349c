"""The stored similarities of chapter 7's first page are those that its tool makes."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from tests.pages import ROOT

spec = importlib.util.spec_from_file_location(
    "randomisation_scores", ROOT / "tools" / "randomisation_scores.py"
)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

STORED = np.load(tool.FILE)
METHODS = [str(name) for name in STORED["methods"]]
QUICK = ("gradient", "guided backprop", "Grad-CAM", "edges (no network)", "picture × noise")
CONDITIONS = {"cascade": {}, "independent": {"order": "independent"}, "own class": {"own_class": True}}


def stored(network, condition):
    return STORED[f"{network} {condition}"]


@pytest.mark.parametrize("network", tool.NETWORKS)
def test_every_method_layer_similarity_and_picture_is_there(network):
    assert list(tool.methods(tool.load_model(network))) == METHODS
    assert [str(name) for name in STORED["similarities"]] == list(tool.SIMILARITIES)
    pictures = 4 if network == "efficientnet_lite0" else tool.SCENES
    for condition in (*tool.ORDERS, "own class", "noisy"):
        values = stored(network, condition)
        layers = STORED[f"{network} {condition} layers"]
        assert values.shape[1:] == (len(METHODS), len(layers), len(tool.SIMILARITIES), pictures)
        assert np.isfinite(values).all() and np.abs(values).max() < 1.001
    assert STORED[f"{network} rises"].shape == (tool.RISE_DRAWS, len(METHODS), pictures)


@pytest.mark.parametrize("network", tool.NETWORKS)
def test_what_asks_no_network_stays_and_noise_does_not(network):
    for condition in (*tool.ORDERS, "noisy"):
        rank = stored(network, condition)[:, :, :, list(tool.SIMILARITIES).index("rank")]
        np.testing.assert_allclose(rank[:, METHODS.index("edges (no network)")], 1, atol=1e-4)
        assert np.abs(rank[:, METHODS.index("picture × noise")]).max() < 0.06


@pytest.mark.parametrize("condition", CONDITIONS)
def test_quick_methods_come_out_again(condition):
    layers, values = tool.compared("small_gap", names=QUICK, until=3, **CONDITIONS[condition])
    assert layers == list(STORED[f"small_gap {condition} layers"][:3])
    wanted = stored("small_gap", condition)[0, [METHODS.index(name) for name in QUICK], :3]
    assert np.abs(values - wanted).max() < 0.05 and np.abs(values - wanted).mean() < 0.005


def test_the_first_layer_of_the_large_network_comes_out_again():
    names = ("gradient", "guided backprop")
    _, values = tool.compared("efficientnet_lite0", names=names, until=1)
    wanted = stored("efficientnet_lite0", "cascade")[0, [METHODS.index(name) for name in names], :1]
    assert np.abs(values - wanted).max() < 0.02


def test_rises_of_complexity_come_out_again():
    names = ("gradient", "guided backprop")
    wanted = STORED["small_gap rises"][0, [METHODS.index(name) for name in names]]
    np.testing.assert_allclose(tool.rises("small_gap", 0, names), wanted, rtol=0.05, atol=0.05)


def test_the_checksum_changes_with_any_weight():
    model = tool.load_model("small_gap")
    before = tool.checksum(model)
    assert before == tool.checksum(tool.load_model("small_gap"))
    with torch.no_grad():
        next(iter(model.parameters()))[0, 0, 0, 0] += 1e-3
    assert tool.checksum(model) != before
