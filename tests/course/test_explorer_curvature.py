"""Chapter 7's neurons in the plane: scores and gradients are torch's, and a walk keeps the score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bs4 import BeautifulSoup

from xai_course import explorers
from xai_course.explorers import _curvature
from xai_course.explorers._curvature import BETAS, Network, angle, plane, score, slope, turn_map, walk

GIVEN = {"caption": "Neurons.", "alt": "Level lines."}
NET = Network(
    np.array([[1.0, 0.25], [-0.5, 1.0], [0.4, 0.9]]),
    np.array([-0.2, -0.3, 4.0]),
    np.array([1.5, -1.7, 0.6]),
    -2.4,
)
PLACES = plane(13)


def shown(**changes):
    return explorers.curvature("7.36", **{**GIVEN, **changes})


@pytest.mark.parametrize("beta", [None, 0.5, 3, 30])
def test_score_and_slope_are_those_of_torch(beta):
    x = torch.tensor(PLACES, requires_grad=True)
    z = x @ torch.tensor(NET.weights).T + torch.tensor(NET.bias)
    y = (z.relu() if beta is None else F.softplus(z, beta)) @ torch.tensor(NET.out) + NET.shift
    np.testing.assert_allclose(score(NET, PLACES, beta), y.detach(), atol=1e-6)
    (g,) = torch.autograd.grad(y.sum(), x)
    np.testing.assert_allclose(slope(NET, PLACES, beta), g, atol=1e-6)


@pytest.mark.parametrize("beta", [None, 1, 10])
@pytest.mark.parametrize("length", [0.5, -1.0])
def test_a_walk_keeps_the_score_and_goes_as_far_as_it_shall(beta, length):
    end = walk(NET, PLACES, length, beta)
    off = np.abs(score(NET, end, beta) - score(NET, PLACES, beta))
    assert (
        np.quantile(off, 0.95) < 1e-4 and off.max() < 0.05
    )  # at a fold a step may miss the line by a little
    away = np.hypot(*(end - PLACES).transpose(2, 0, 1))
    assert away.max() < 1.01 * abs(length) and np.median(away) > 0.9 * abs(length)


def test_a_walk_on_a_circle_turns_the_gradient_as_much_as_the_line_bends():
    one = np.eye(2)
    # softplus(x) + softplus(−x) is nearly a constant plus a square near 0: so level lines are circles.
    round_ = Network(np.concatenate([one, -one]), np.zeros(4), np.ones(4), 0.0)
    start, length, beta = np.array([0.3, 0.0]), 0.2, 1.0
    turned = angle(slope(round_, start, beta), slope(round_, walk(round_, start, length, beta), beta))
    assert turned == pytest.approx(np.degrees(length / 0.3), rel=0.02)


def test_without_hidden_bends_nothing_turns_and_without_a_slope_there_is_no_walk():
    flat = Network(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([9.0, 9.0]), np.array([1.0, 2.0]), 0.0)
    assert turn_map(flat, 1.0, None).max() < 1e-9
    dead = Network(flat.weights, -flat.bias, flat.out, 0.0)
    np.testing.assert_array_equal(walk(dead, PLACES, 1.0, None), PLACES)
    assert angle(np.zeros(2), np.ones(2)) == 0 and angle(np.array([1.0, 0]), np.array([-1.0, 0])) == 180


def test_the_rounder_the_softplus_the_smaller_the_largest_turn():
    """What the explorer is there to show, on its own network and step."""
    largest = [turn_map(NET, 0.5, beta).max() for beta in (*BETAS, None)]
    assert (np.diff(largest) > -1).all() and largest[0] < 15 < 90 < largest[-1]
    short = [turn_map(NET, step, None).max() for step in (0.1, 0.2, 0.5)]
    smooth = [turn_map(NET, step, 3).max() for step in (0.1, 0.2, 0.5)]
    assert min(short) > 0.9 * max(short), "a fold turns the gradient at once, however short the walk"
    assert smooth[0] < 0.6 * smooth[1] and smooth[1] < 0.6 * smooth[2]


def test_the_first_frame_stands_there_before_any_script():
    html = BeautifulSoup(shown(beta=3, step=0.3).html(), "html.parser")
    assert html.select_one(".s-controls").has_attr("hidden")
    assert html.select_one("input[value=softplus]").has_attr("checked")
    assert html.select_one(".s-said").text.startswith("After a walk of 0.30 along the level line of")
    assert len(html.select("path.level")) == 2 and len(html.select("circle.here")) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": [[1, 2, 3]]}, "weights must be numbers"),
        ({"weights": [[1, 2]], "bias": [0], "out": [1]}, "2 to 8 neurons"),
        ({"bias": [1, 2]}, "bias must be numbers"),
        ({"point": (3, 0)}, "point must be between"),
        ({"beta": 4}, "beta must be None or one of"),
        ({"step": 2}, "step must be between"),
        ({"alt": ""}, "alt must say something"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        shown(**changes)


def test_bands_end_on_level_lines():
    values = np.array([-0.01, 0.01, 0.9, 1.1])
    assert _curvature.banded(values, 12.0).tolist() == [-0.5, 0.5, 0.5, 1.5]
