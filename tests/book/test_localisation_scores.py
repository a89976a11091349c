"""The stored scores of chapter 6's first page are those that its tool makes."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tests.pages import ROOT

spec = importlib.util.spec_from_file_location(
    "localisation_scores", ROOT / "tools" / "localisation_scores.py"
)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

STORED = np.load(tool.FILE)
METHODS = [str(name) for name in STORED["methods"]]
QUICK = ("gradient", "guided backprop", "Grad-CAM", "LayerCAM", "edges (no network)")
DRAWN = ("SmoothGrad", "LIME")  # from random numbers, block by block


def test_every_method_on_every_scene_is_there_and_is_a_share():
    model = tool.load_model("small_vgg")
    assert list(tool.methods(model, None)) == METHODS
    for network in tool.NETWORKS:
        for measure in tool.MEASURES:
            values = STORED[f"{network} {measure}"]
            assert values.shape == (len(METHODS), tool.SCENES)
            assert 0 <= values.min() and values.max() <= 1


def agree(network, block, names):
    made = tool.scores(network, block, names)
    here = slice(block * tool.BLOCK, (block + 1) * tool.BLOCK)
    rows = [METHODS.index(name) for name in names]
    for measure, values in made.items():
        difference = np.abs(values - STORED[f"{network} {measure}"][rows, here])
        assert difference.mean() < 0.01, (measure, difference.mean(1))


@pytest.mark.parametrize("network", tool.NETWORKS)
def test_quick_methods_come_out_again(network):
    agree(network, 3, QUICK)


def test_drawn_methods_come_out_again():
    agree("small_gap", 1, DRAWN)


def test_the_scores_of_a_photograph_come_out_again():
    np.testing.assert_allclose(tool.photograph_scores("rocket"), STORED["photograph rocket"], atol=0.02)


def test_the_annotators_drew_closed_outlines_inside_the_photographs():
    for who in "AB":
        for name in tool.PHOTOGRAPHS:
            mask = tool.outlined(who, name)
            assert mask.shape == (1, 224, 224) and 0.02 < mask.float().mean() < 0.95
