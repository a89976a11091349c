"""What chapter 8's second page reads is what its tool makes."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch

from tests.pages import ROOT

spec = importlib.util.spec_from_file_location("lies", ROOT / "tools" / "lies.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

STORED = json.loads(tool.FILE.read_text(encoding="utf-8"))
QUICK = ("Grad-CAM", "LayerCAM", "gradient", "SmoothGrad", "… log-softmax, double precision", "RISE")


def test_every_method_and_every_test_is_there():
    for name in (*tool.SMALL, tool.REAL):
        side = tool.load_model(name).size
        count = len(tool.pictures(name))
        missing = {"Score-CAM"} if name == tool.REAL else set()
        assert set(STORED["fooled"][name]) == set(tool.methods(side)) - missing
        assert set(STORED["suspicion"][name]) == set(tool.tests(side))
        for found in STORED["fooled"][name].values():
            assert set(found) == set(tool.LIES)
            assert all(len(v) == count and 0 <= min(v) and max(v) <= 1 for v in found.values())


@pytest.mark.parametrize("method", QUICK)
def test_quick_methods_come_out_again(method):
    some = slice(2, 4)
    for lie, moved in tool.fooled("small_gap", method, some).items():
        np.testing.assert_allclose(moved, STORED["fooled"]["small_gap"][method][lie][some], atol=0.02)


@pytest.mark.parametrize(
    "test", ["the same map for the second class", "the same map with the last layer drawn anew"]
)
def test_quick_tests_come_out_again(test):
    for who, values in tool.suspicion("small_vgg", test).items():
        np.testing.assert_allclose(values, STORED["suspicion"]["small_vgg"][test][who], atol=0.02)


def test_the_share_of_heat_that_moved_is_what_it_says():
    a = torch.tensor([[[2.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    b = torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[3.0, 3.0], [3.0, 3.0]], [[1.0, 0.0], [0.0, 0.0]]])
    assert tool.moved_heat(a, b) == [0.5, 0.0, 1.0]
    assert tool.moved_heat(a[2:], a[2:]) == [0.0]
