"""Infidelity and maximum sensitivity: the definitions, and why neither may stand alone."""

from functools import partial

import pytest
import torch
from torch import nn

from tests.architectures import Plain, build, images
from tests.promises import Counting, assert_as_found, assert_says, complaint, snapshot
from xai_lib import gradient, gradient_x_input, rise, smooth_grad
from xai_lib.faithfulness import infidelity, max_sensitivity


def seeded(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


class Linear(nn.Module):
    """Two logits, linear in the pixels."""

    def __init__(self, shape=(3, 12, 10)):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(2, *shape, generator=seeded(3)))

    def forward(self, x):
        return torch.einsum("nchw,kchw->nk", x, self.weights)


# ------------------------------------------------------------------------------------------------- infidelity


@pytest.mark.parametrize("perturbation", ["square", "noise", lambda x: x * 0.3])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_weights_of_a_linear_model_are_faithful_to_the_last_digit(perturbation, normalize, device):
    model = Linear().double().eval().to(device)
    x = torch.rand(2, 3, 12, 10, generator=seeded(), dtype=torch.float64).to(device)
    options = {"perturbation": perturbation, "normalize": normalize}
    true = gradient(model, x, 1)
    assert (infidelity(model, x, 1, true, generator=seeded(1, device), **options) < 1e-20).all()
    scaled = infidelity(model, x, 1, 7 * true, generator=seeded(1, device), **options)
    assert (scaled < 1e-18).all() == normalize, "without a scale of its own, size decides"
    wrong = infidelity(model, x, 1, true.flip(3), generator=seeded(1, device), **options)
    assert (wrong > 1e-3).all() or callable(perturbation)


def test_it_is_the_mean_square_of_what_was_not_foretold(device):
    """By hand, image by image, with changes of one's own."""
    model, x = build(Plain).double().to(device), images(2, dtype=torch.float64, device=device)
    weights = torch.rand(2, 3, 17, 21, generator=seeded(), dtype=torch.float64).to(device)
    drawn = []

    def change(seen):
        drawn.append(seen * torch.rand(seen.shape, generator=seeded(len(drawn)), dtype=seen.dtype).to(device))
        return drawn[-1]

    target = torch.tensor([1, 3], device=device)
    options = {"perturbation": change, "n_samples": 6, "batch_size": 4}
    for what in ("logit", "probability"):
        for normalize in (False, True):
            drawn.clear()
            found = infidelity(model, x, target, weights, what=what, normalize=normalize, **options)
            away = torch.cat(drawn).unflatten(0, (6, 2))

            def score(seen, what=what):
                logits = model(seen)
                return logits if what == "logit" else logits.softmax(1)

            for i in range(2):
                fell = (score(x[i : i + 1]) - score(x[i] - away[:, i]))[:, target[i]].detach()
                said = (away[:, i] * weights[i]).sum((1, 2, 3))
                scale = (said * fell).sum() / said.square().sum() if normalize else 1.0
                torch.testing.assert_close(found[i], (scale * said - fell).square().mean())


def test_a_square_is_replaced_by_the_fill(device):
    """The first channel of a linear model sees each pixel once: the fall is what the square took away."""
    model = Linear().double().eval().to(device)
    x = torch.rand(1, 3, 12, 10, generator=seeded(), dtype=torch.float64).to(device)
    seen = []

    class Watch(nn.Module):
        def forward(self, x):
            seen.append(x.clone())
            return model(x)

    infidelity(Watch().eval(), x, 0, x[:, 0], side=4, fill=0.5, n_samples=20, batch_size=20)
    changed = (seen[-1] != x).all(1)
    assert (changed.flatten(1).sum(1) == 16).all()
    assert (seen[-1][changed[:, None].expand(-1, 3, -1, -1)] == 0.5).all()
    rows = changed.any(2).sum(1)
    assert (rows == 4).all() and len({tuple(c.flatten().tolist()) for c in changed}) > 5


def test_a_heatmap_stands_for_all_channels_and_one_of_zeros_foretells_nothing():
    model, x = build(Plain).double(), images(2, dtype=torch.float64)
    heat = torch.rand(2, 17, 21, generator=seeded(), dtype=torch.float64)
    options = {"n_samples": 10}
    one = infidelity(model, x, 1, heat, generator=seeded(1), **options)
    every = infidelity(
        model, x, 1, heat[:, None].expand(2, 3, 17, 21).contiguous(), generator=seeded(1), **options
    )
    torch.testing.assert_close(one, every)
    zero = infidelity(model, x, 1, torch.zeros_like(heat), generator=seeded(1), **options)
    assert (zero >= one).all() and (zero > 0).all()


@pytest.mark.parametrize("perturbation", ["square", "noise"])
def test_one_seed_gives_one_infidelity_whatever_the_batch_size(perturbation, device):
    model, x = build(Plain).double().to(device), images(3, dtype=torch.float64, device=device)
    weights = gradient(model, x, 1)
    options = {"perturbation": perturbation, "n_samples": 9}
    first, other, third = (
        infidelity(model, x, 1, weights, batch_size=b, generator=seeded(2, device), **options)
        for b in (1, 4, 64)
    )
    torch.testing.assert_close(first, other)
    torch.testing.assert_close(first, third)
    assert not torch.allclose(
        first, infidelity(model, x, 1, weights, generator=seeded(3, device), **options), rtol=1e-3
    )


# ------------------------------------------------------------------------------------------- max sensitivity


def test_a_constant_map_wins_and_says_nothing(device):
    """The best sensitivity there is goes to a map that has not looked; infidelity finds it out."""
    model = Linear().double().eval().to(device)
    x = torch.rand(3, 3, 12, 10, generator=seeded(), dtype=torch.float64).to(device)

    def constant(model, x, target):
        return torch.ones_like(x)

    def moves(explain):
        return max_sensitivity(explain, model, x, 1, generator=seeded(1, device))

    def misses(explain):
        options = {"generator": seeded(1, device), "perturbation": "noise"}
        return infidelity(model, x, 1, explain(model, x, 1), **options)

    assert (moves(constant) == 0).all()
    assert (moves(gradient_x_input) > 0.005).all()
    assert (misses(constant) > 2 * misses(gradient_x_input)).all()
    assert (moves(gradient) < 1e-12).all() and (misses(gradient) < 1e-20).all()


def test_it_is_the_largest_relative_change_over_the_points(device):
    model = build(Plain).double().to(device)
    x = images(2, dtype=torch.float64, device=device)
    seen = []

    def explain(model, x, target):
        seen.append((x.clone(), target.clone()))
        return gradient(model, x, target)

    found = max_sensitivity(explain, model, x, radius=0.05, n_samples=7, generator=seeded(1, device))
    points = torch.cat([part for part, _ in seen[1:]]).unflatten(0, (7, 2))
    assert (points - x).abs().max() <= 0.05 and (points - x).abs().max() > 0.045
    own = model(x).argmax(1)
    assert all(torch.equal(target.view(-1, 2), own.expand(len(target) // 2, 2)) for _, target in seen)
    here = gradient(model, x, own).flatten(1)
    for i in range(2):
        there = gradient(model, points[:, i], int(own[i])).flatten(1)
        most = (there - here[i]).norm(dim=1).max()
        torch.testing.assert_close(found[i], most / here[i].norm())
    plain = max_sensitivity(
        gradient, model, x, radius=0.05, n_samples=7, relative=False, generator=seeded(1, device)
    )
    torch.testing.assert_close(plain, found * here.norm(dim=1))


def test_one_seed_gives_one_sensitivity_whatever_the_batch_size(device):
    model, x = build(Plain).double().to(device), images(3, dtype=torch.float64, device=device)
    results = [
        max_sensitivity(gradient, model, x, 1, batch_size=b, generator=seeded(2, device)) for b in (1, 5, 64)
    ]
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])


def test_any_explainer_will_do_and_the_model_is_left_as_found():
    model = build(Plain)
    before = snapshot(model)
    x = torch.rand(2, 3, 17, 21, generator=seeded())
    for explain in (
        partial(smooth_grad, n_samples=4, generator=seeded()),
        partial(rise, n_masks=8, grid=2, generator=seeded()),
    ):
        moved = max_sensitivity(explain, model, x, n_samples=3, generator=seeded(1))
        assert moved.shape == (2,) and (moved > 0).all() and not moved.requires_grad
    infidelity(model, x, None, torch.rand(2, 17, 21), n_samples=3, generator=seeded())
    assert_as_found(model, before)


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "change, words, error",
    [
        ({"attributions": torch.rand(2, 8, 8)}, ["attributions", "(2, 3, 17, 21)", "(2, 8, 8)"], ValueError),
        ({"attributions": torch.rand(2, 17, 21) / 0}, ["attributions", "finite"], ValueError),
        ({"attributions": torch.ones(2, 17, 21).long()}, ["attributions", "floating"], ValueError),
        ({"perturbation": "patch"}, ["perturbation", "square", "noise"], ValueError),
        ({"perturbation": lambda x: x[:, :1]}, ["perturbation", "shape"], ValueError),
        ({"side": 18}, ["side", "17", "18"], ValueError),
        ({"fill": "blue"}, ["fill", "blue"], ValueError),
        ({"sigma": 0}, ["sigma", "above 0"], ValueError),
        ({"n_samples": 0}, ["n_samples"], ValueError),
        ({"normalize": 1}, ["normalize"], TypeError),
        ({"what": "loss"}, ["what", "logit"], ValueError),
        ({"target": -1}, ["target"], ValueError),
        ({"generator": 1}, ["generator"], TypeError),
    ],
)
def test_bad_input_of_infidelity_is_named(change, words, error):
    model = Counting().eval()
    given = {"x": torch.rand(2, 3, 17, 21), "target": 1, "attributions": torch.rand(2, 17, 21)} | change
    passes = 1 if callable(change.get("perturbation")) else 0  # the whole images come first
    assert_says(complaint(lambda: infidelity(model, **given), model, error, passes), *words)


@pytest.mark.parametrize(
    "change, words, error",
    [
        ({"explain": build(Plain)}, ["explain", "before the model"], TypeError),
        ({"explain": lambda m, x, t: None}, ["explain", "NoneType"], ValueError),
        ({"explain": lambda m, x, t: x[:1]}, ["explain", "2 images"], ValueError),
        ({"explain": lambda m, x, t: x / 0}, ["explain", "finite"], ValueError),
        ({"radius": 0}, ["radius", "above 0"], ValueError),
        ({"n_samples": 0}, ["n_samples"], ValueError),
        ({"relative": "yes"}, ["relative"], TypeError),
        ({"x": torch.rand(3, 17, 21)}, ["x", "x[None]"], ValueError),
    ],
)
def test_bad_input_of_max_sensitivity_is_named(change, words, error):
    model = Counting().eval()
    given = {"explain": gradient, "model": model, "x": torch.rand(2, 3, 17, 21), "target": 1} | change
    assert_says(complaint(lambda: max_sensitivity(**given), model, error), *words)
