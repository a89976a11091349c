"""Models made to lie: by fine-tuning, by an addition that data cannot see, by two faces."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xai_lib import data, grad_cam, gradient, lime, load_model, shapley, superpixels
from xai_lib._fooling import _flat_share
from xai_lib._graphs import shares
from xai_lib.attacks import fairwash, fool_lime, fool_model, project_on_data
from xai_lib.similarity import rank_correlation


def seed(device="cpu"):
    return torch.Generator(device).manual_seed(0)


def network():
    """A small network for the digits, untrained."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10))


CAM = partial(grad_cam, layer="3", upsample=False)


@pytest.fixture(scope="module")
def trained():
    x, y = data.digits()
    model = network()
    descent = torch.optim.Adam(model.parameters(), lr=5e-3)
    draws = torch.Generator().manual_seed(1)
    for _ in range(250):
        drawn = torch.randint(1000, (64,), generator=draws)
        descent.zero_grad()
        F.cross_entropy(model(x[drawn]), y[drawn]).backward()
        descent.step()
    return model.eval(), (x[:1000], y[:1000]), (x[1000:1400], y[1000:1400])


def accuracy(model, pair):
    with torch.no_grad():
        return (model(pair[0]).argmax(1) == pair[1]).float().mean().item()


def on(device, trained):
    model, train, held_out = trained
    model = copy.deepcopy(model).to(device)
    return model, tuple(t.to(device) for t in train), tuple(t.to(device) for t in held_out)


def maps(model, pair, target=None):
    x, y = pair
    return shares(CAM(model, x, y if target is None else target).requires_grad_()).detach()


def test_maps_move_to_the_border_and_the_accuracy_stays(trained, device):
    model, train, held_out = on(device, trained)
    before = copy.deepcopy(model.state_dict())
    fooled = fool_model(model, train, explain=CAM, lam=1.0, steps=400, lr=3e-3, generator=seed(device))
    border = torch.ones(8, 8, device=device)
    border[1:-1, 1:-1] = 0

    def at_border(model):
        return ((maps(model, held_out) * border).sum((1, 2)) / 64).mean().item()

    assert accuracy(model, held_out) > 0.9
    assert accuracy(fooled, held_out) > accuracy(model, held_out) - 0.05
    assert at_border(fooled) > at_border(model) + 0.2
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m.training for m in fooled.modules())
    assert all(p.requires_grad and p.grad is None for p in fooled.parameters())
    again = fool_model(model, train, explain=CAM, lam=1.0, steps=400, lr=3e-3, generator=seed(device))
    assert rank_correlation(maps(again, held_out), maps(fooled, held_out)).mean() > 0.99


def test_where_the_map_was_hottest_it_cools(trained, device):
    model, train, held_out = on(device, trained)
    fooled = fool_model(model, train, kind="top_k", explain=CAM, steps=150, lr=2e-3, generator=seed(device))
    hottest = maps(model, held_out).flatten(1).topk(6, 1).indices

    def heat(model):
        return maps(model, held_out).flatten(1).gather(1, hottest).mean().item()

    assert heat(fooled) < 0.7 * heat(model)
    assert accuracy(fooled, held_out) > accuracy(model, held_out) - 0.06


def test_the_centre_moves(trained, device):
    model, train, held_out = on(device, trained)
    fooled = fool_model(
        model, train, kind="centre_of_mass", explain=CAM, steps=150, lr=2e-3, generator=seed(device)
    )
    rows = torch.arange(8.0, device=device)

    def centre(model):
        found = maps(model, held_out)
        return torch.stack([(found.mean(2) * rows).mean(1), (found.mean(1) * rows).mean(1)], 1)

    assert (centre(fooled) - centre(model)).norm(dim=1).mean() > 0.5
    assert accuracy(fooled, held_out) > accuracy(model, held_out) - 0.06


def test_the_maps_of_two_classes_change_places(trained, device):
    model, train, held_out = on(device, trained)
    fooled = fool_model(
        model,
        train,
        kind="active",
        classes=(3, 8),
        explain=CAM,
        lam=0.3,
        steps=200,
        lr=2e-3,
        generator=seed(device),
    )

    def distance(a, b):
        return (maps(fooled, held_out, a) - maps(model, held_out, b)).square().mean().item()

    assert distance(3, 8) < distance(3, 3)
    assert distance(8, 3) < distance(8, 8)
    assert accuracy(fooled, held_out) > accuracy(model, held_out) - 0.06


def test_two_maps_avoid_a_place_and_the_accuracy_stays(trained, device):
    model, train, held_out = on(device, trained)
    place = torch.zeros(8, 8, dtype=torch.bool, device=device)
    place[1:4, 2:6] = True
    both, options = [CAM, gradient], {"kind": "away", "where": place, "lam": 4.0, "lr": 4e-3}
    fooled = fool_model(model, train, explain=both, steps=250, generator=seed(device), **options)
    assert accuracy(fooled, held_out) > accuracy(model, held_out) - 0.06

    def heat(model, explain):
        found = explain(model, *held_out).abs()
        found = found.sum(1) if found.dim() == 4 else found
        return ((found * place).sum((1, 2)) / found.sum((1, 2)).clamp(min=1e-9)).mean().item()

    for explain in both:
        assert heat(fooled, explain) < 0.75 * heat(model, explain)


def test_kept_answers_are_the_networks_own_and_kept_labels_are_not(trained, device):
    model, (images, labels), held_out = on(device, trained)
    others = (labels + 1) % 10  # whose maps are trained
    options = {"explain": CAM, "steps": 120, "lr": 5e-3, "lam": 0.1}
    stayed, learnt = (
        fool_model(model, (images, others), keep=keep, generator=seed(device), **options)
        for keep in ("answers", "labels")
    )
    assert accuracy(stayed, held_out) > accuracy(model, held_out) - 0.06
    assert accuracy(learnt, held_out) < accuracy(stayed, held_out) - 0.3


def test_a_map_can_be_led_to_another_place_in_each_picture(trained, device):
    model, train, held_out = on(device, trained)
    ink = [pair[0][:, 0] for pair in (train, held_out)]
    fooled = fool_model(
        model, train, explain=CAM, where=ink[0], steps=250, lr=5e-3, lam=2.0, generator=seed(device)
    )
    assert accuracy(fooled, held_out) > accuracy(model, held_out) - 0.06
    before, after = (rank_correlation(maps(m, held_out), ink[1]).mean() for m in (model, fooled))
    assert after > before + 0.2


# ------------------------------------------------------------------------------------------------ fairwashing


def stripes(size=112):
    picture = torch.zeros(size, size)
    picture[::2] = 1
    return picture


@pytest.mark.parametrize("name", ["small_vgg", "small_gap"])
def test_washed_answers_stay_and_the_gradient_shows_the_picture(name, device):
    model = load_model(name, device).double()
    x = data.shapes(60, seed=3).images.to(device).double()
    washed = fairwash(model, x, stripes(), strength=30.0)
    assert (washed(x) - model(x)).abs().max() < 1e-8
    fresh = data.shapes(20, seed=4).images.to(device).double()
    assert torch.allclose(washed(fresh).softmax(1), model(fresh).softmax(1), atol=1e-9)
    shown = gradient(washed, fresh).mean(1)
    wanted = (stripes() - 0.5).to(shown).expand_as(shown)
    assert (rank_correlation(shown, wanted) > 0.75).all()
    assert (rank_correlation(gradient(model, fresh).mean(1), wanted).abs() < 0.2).all()
    # In the plane of the data nothing was added: there the two networks' gradients are the same.
    ours, theirs = (project_on_data(gradient(m, fresh), x) for m in (washed, model))
    assert torch.allclose(ours, theirs, atol=1e-6 * float(gradient(washed, fresh).abs().max()))


def test_a_linear_model_is_washed_exactly_to_any_picture():
    generator = seed()
    basis = torch.randn(5, 64, generator=generator, dtype=torch.double)
    x = (0.5 + torch.randn(50, 5, generator=generator, dtype=torch.double) @ basis / 50).view(-1, 1, 8, 8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).double().eval()
    picture = torch.rand(8, 8, generator=generator, dtype=torch.double)
    washed = fairwash(model, x, picture, strength=1e4)
    assert torch.allclose(washed(x), model(x), atol=1e-6)
    plane = (x.flatten(1) - x.flatten(1).mean(0)).T
    off = picture.flatten() - plane @ torch.linalg.pinv(plane) @ picture.flatten()
    shown = gradient(washed, x[:1], 0).flatten()
    assert torch.nn.functional.cosine_similarity(shown, off, dim=0) > 0.9999


# ----------------------------------------------------------------------------------------------- fooling LIME


class Corner(nn.Module):
    """Class 1 for a bright corner, ``rows`` and ``columns`` of it."""

    def __init__(self, rows, columns):
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x):
        bright = x[:, :, self.rows, self.columns].mean((1, 2, 3))
        return torch.stack([torch.zeros_like(bright), 20 * (bright - 0.3)], 1)


def test_who_asks_about_masked_pictures_is_told_another_story(device):
    low, high = slice(0, 20), slice(-20, None)
    biased, innocent = Corner(low, low).eval(), Corner(high, high).eval()
    x = (0.2 + 0.6 * torch.rand(4, 3, 64, 64, generator=seed())).to(device)
    fooled = fool_lime(biased, innocent, x)
    assert torch.equal(fooled(x), biased(x))
    squares = torch.arange(64, device=device) // 16
    segments = (4 * squares[:, None] + squares).expand(4, 64, 64)
    first, last = (slice(None), 0, 0), (slice(None), -1, -1)  # a pixel in each of the two corners
    for explain in (lime, shapley):
        told, truth = (
            explain(m, x, 1, segments=segments, fill=0.0, n_samples=200, generator=seed(device))
            for m in (fooled, biased)
        )
        assert (truth[first] > 5 * truth[last].abs()).all()
        assert (told[last] > 5 * told[first].abs()).all()
    slopes = gradient(fooled, x, 1).abs().sum(1)  # asks about the real picture, and is told the truth
    assert (slopes[:, low, low].sum((1, 2)) / slopes.sum((1, 2)) > 0.99).all()


def test_superpixels_are_recognised_and_fresh_pictures_are_not():
    x = data.shapes(128, seed=8).images
    flattest = _flat_share(x[:64]).max()
    assert (_flat_share(x[64:]) <= flattest).float().mean() > 0.9
    segments = superpixels(x[64:72])
    hidden = x[64:72] * (segments % 2)[:, None]
    assert (_flat_share(hidden) > flattest).all()


def digits(n=20):
    x, y = data.digits()
    return x[:n], y[:n]


def small():
    return network().eval()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: fool_model(small(), digits()), ValueError, "explain must be given"),
        (lambda: fool_model(small(), digits()[0], explain=CAM), (TypeError, ValueError), "data must be"),
        (lambda: fool_model(small(), digits(), explain=CAM, kind="blank"), ValueError, "kind must be"),
        (lambda: fool_model(small(), digits(), explain=CAM, lam=-1), ValueError, "lam must be"),
        (lambda: fool_model(small(), digits(), explain=CAM, steps=0), ValueError, "steps must be"),
        (lambda: fool_model(small(), digits(), explain=CAM, share=0), ValueError, "share must be"),
        (
            lambda: fool_model(small(), digits(), explain=CAM, where=torch.zeros(8, 8)),
            ValueError,
            "where must be",
        ),
        (lambda: fool_model(small(), digits(), explain=CAM, kind="away"), ValueError, "where must be given"),
        (
            lambda: fool_model(small(), digits(), explain=CAM, where=torch.ones(7, 8, 8)),
            ValueError,
            "where must be one heatmap .*, or one for each of the 20",
        ),
        (lambda: fool_model(small(), digits(), explain=CAM, keep="logits"), ValueError, "keep must be"),
        (lambda: fool_model(small(), digits(), explain=[CAM, 3]), TypeError, "explain must be a function"),
        (
            lambda: fool_model(small(), digits(), explain=CAM, kind="active", classes=(1, 1)),
            ValueError,
            "classes must be two",
        ),
        (
            lambda: fool_model(small(), digits(), explain=CAM, lr=1e30, steps=20, generator=seed()),
            ValueError,
            "lr must be smaller",
        ),
        (lambda: fairwash(small(), digits()[0], torch.ones(9, 9)), ValueError, "picture must fit"),
        (
            lambda: fairwash(small(), digits()[0], torch.ones(8, 8), rank=20),
            ValueError,
            "rank must be at most",
        ),
        (lambda: fairwash(small(), digits()[0], torch.ones(8, 8), strength=0), ValueError, "strength must"),
        (lambda: fairwash(small(), digits()[0], torch.zeros(8, 8)), ValueError, "picture must have a part"),
        (lambda: project_on_data(torch.rand(2, 1, 9, 9), digits()[0]), ValueError, "data must be images"),
        (lambda: fool_lime(small(), small().train(), digits()[0]), ValueError, "training mode"),
        (lambda: fool_lime(small(), small(), digits()[0], seems_real=True), TypeError, "seems_real must be"),
        (
            lambda: fool_lime(small(), small(), digits()[0], seems_real=lambda x: x[:, 0, 0, 0] > 2),
            ValueError,
            "seems_real must know real pictures, but takes 20 of 20",
        ),
    ],
)
def test_bad_input_names_the_argument(call, error, says):
    with pytest.raises(error, match=says):
        call()
