"""Chapter 5's explorer in Python: its logistic regression, and what it puts on a page."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from torch import nn

from xai_course import explorers
from xai_course.explorers._influence import changes, fitted, losses
from xai_lib.influence import influence

rng = np.random.default_rng(5)
POINTS = np.concatenate([rng.normal([-1, -0.4], 0.9, (11, 2)), rng.normal([1, 0.5], 0.9, (11, 2))])
LABELS = np.repeat([0.0, 1.0], 11)
TEST = np.array([0.3, -0.6])
GIVEN = {"points": POINTS, "labels": LABELS, "test": TEST, "caption": "Points.", "alt": "Two clouds."}


def test_the_fit_is_the_minimum():
    for l2 in (0.005, 0.05, 0.5):
        theta, weights = fitted(POINTS, LABELS, np.full(22, 1 / 22), l2), np.full(22, 1 / 22)

        def value(t, l2=l2, weights=weights):
            return weights @ losses(t, POINTS, LABELS) + l2 / 2 * t @ t

        nearby = [value(theta + step) for step in 1e-3 * np.concatenate([np.eye(3), -np.eye(3)])]
        assert value(theta) < min(nearby)


def test_the_prediction_is_the_library_s():
    class Margin(nn.Module):
        """The logits 0 and w·x + b: a logistic regression, with three parameters."""

        def __init__(self, theta):
            super().__init__()
            self.theta = nn.Parameter(torch.from_numpy(theta))

        def forward(self, x):
            score = x @ self.theta[:2] + self.theta[2]
            return torch.stack([torch.zeros_like(score), score], 1)

    found = changes(POINTS, LABELS, np.ones(22), TEST, 1, 0.05)
    train = torch.from_numpy(POINTS), torch.from_numpy(LABELS).long()
    test = torch.from_numpy(TEST[None]), torch.tensor([1])
    scores = influence(Margin(found["theta"]).eval(), train, test, l2=0.05)[0]
    np.testing.assert_allclose(found["predicted"], scores.numpy(), rtol=1e-6, atol=1e-9)


def test_the_prediction_is_near_what_happens_and_not_the_same():
    found = changes(POINTS, LABELS, np.ones(22), TEST, 1, 0.05)
    assert np.corrcoef(found["predicted"], found["real"])[0, 1] > 0.98
    assert np.abs(found["predicted"] - found["real"]).max() > 1e-4


def test_a_point_that_is_out_changes_nothing():
    keep = np.ones(22)
    keep[4] = 0
    found = changes(POINTS, LABELS, keep, TEST, 1, 0.05)
    assert found["predicted"][4] == 0 and abs(found["real"][4]) < 1e-9
    left = keep > 0
    alone = changes(POINTS[left], LABELS[left], np.ones(21), TEST, 1, 0.05)
    np.testing.assert_allclose(found["real"][left], alone["real"], atol=1e-9)


def test_the_first_frame_stands_there_before_any_script():
    shown = explorers.influence("5.5", **GIVEN, first=3)
    html = BeautifulSoup(shown.html(), "html.parser")
    assert len(html.select(".point")) == 22 and len(html.select(".point.is-chosen")) == 1
    assert html.select_one(".s-controls").has_attr("hidden")
    assert html.select_one(".s-said").text.startswith("Point 4 of 22, a circle: without it")
    data = json.loads(html.select_one("script.s-data").string)
    assert np.allclose(data["points"], POINTS, atol=6e-4) and len(shown.html()) < 200_000


@pytest.mark.parametrize(
    ("changes_", "message"),
    [
        ({"points": POINTS * 10}, "points must be between"),
        ({"points": POINTS[:, :1]}, "points must be numbers"),
        ({"labels": LABELS[:5]}, "labels must be numbers"),
        ({"labels": np.zeros(22)}, "each at least once"),
        ({"test": [9, 0]}, "test must be between"),
        ({"test_label": 2}, "test_label must be"),
        ({"l2": 0.0}, "l2 must be"),
        ({"first": 22}, "first must be"),
        ({"points": POINTS[:3], "labels": LABELS[:3]}, "points must be 4 to 60"),
    ],
)
def test_bad_arguments_are_named(changes_, message):
    with pytest.raises(ValueError, match=message):
        explorers.influence("5.5", **{**GIVEN, **changes_})
