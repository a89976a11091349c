"""Noisy linear imputation, and ROAD on top of it."""

import pytest
import torch
from torch import nn

from tests.architectures import Plain, build, images
from tests.promises import Counting, assert_as_found, assert_says, complaint, snapshot
from xai_lib.faithfulness import impute, road


def seeded(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


def blobs(n, size, share, seed=0):
    """Masks (n, H, W) of that share, in patches."""
    height, width = size
    rough = torch.rand(n, 1, 1 + height // 8, 1 + width // 8, generator=seeded(seed))
    smooth = nn.functional.interpolate(rough, size, mode="bilinear", align_corners=True).flatten(1)
    return (smooth.argsort(1).argsort(1) < share * height * width).view(n, height, width)


def dense(x, hidden):
    """The definition, pixel by pixel, solved as one dense system; one image (C, H, W) and its mask (H, W)."""
    height, width = hidden.shape
    places = hidden.nonzero().tolist()
    number = {tuple(place): k for k, place in enumerate(places)}
    matrix = torch.zeros(len(places), len(places), dtype=torch.float64)
    right = torch.zeros(len(places), len(x), dtype=torch.float64)
    for k, (i, j) in enumerate(places):
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                if (di or dj) and 0 <= i + di < height and 0 <= j + dj < width:
                    weight = 1 / 12 if di and dj else 1 / 6
                    matrix[k, k] += weight
                    if (i + di, j + dj) in number:
                        matrix[k, number[i + di, j + dj]] -= weight
                    else:
                        right[k] += weight * x[:, i + di, j + dj].double()
    filled = x.double().clone()
    filled[:, hidden] = torch.linalg.solve(matrix, right).T
    return filled


# ------------------------------------------------------------------------------------------------ imputation


@pytest.mark.parametrize("size", [(8, 8), (1, 16), (17, 16), (23, 31), (48, 48), (5, 60)])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.97])
def test_hidden_pixels_are_the_weighted_means_of_their_neighbours(size, share, device):
    x = torch.rand(2, 3, *size, generator=seeded())
    hidden = torch.cat([blobs(1, size, share), torch.rand(1, *size, generator=seeded(1)) < share])
    hidden[:, 0, :2] = False  # something is shown
    filled = impute(x.to(device), hidden.to(device), sigma=0).cpu()
    for i in range(2):
        torch.testing.assert_close(filled[i].double(), dense(x[i], hidden[i]), atol=5e-5, rtol=0)
    shown = ~hidden[:, None].expand_as(x)
    assert torch.equal(filled[shown], x[shown])


def test_a_photograph_with_hardly_anything_left_is_filled_to_the_same_precision(device):
    """Far from all that is shown, rounding adds up: a residual in float64 keeps it small."""
    x = torch.rand(1, 3, 224, 200, generator=seeded(), dtype=torch.float64)
    hidden = torch.ones(1, 224, 200, dtype=torch.bool)
    hidden[:, 3, 5] = hidden[:, 220, 190] = hidden[:, 100:104, 90] = False
    fine = impute(x.to(device), hidden.to(device), sigma=0)
    coarse = impute(x.float().to(device), hidden.to(device), sigma=0)
    torch.testing.assert_close(coarse.double(), fine, atol=5e-5, rtol=0)
    torch.testing.assert_close(fine.cpu()[0], factored(x[0], hidden[0]), atol=5e-5, rtol=0)


def factored(x, hidden):
    """The same definition for a large image: a sparse system, factored by SciPy."""
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import spsolve

    height, width = hidden.shape
    number = torch.full((height + 2, width + 2), -1)  # of the unknown; -1 is shown, -2 is no pixel
    number[[0, -1]], number[:, [0, -1]] = -2, -2
    number[1:-1, 1:-1][hidden] = torch.arange(int(hidden.sum()))
    value = nn.functional.pad(x, (1, 1, 1, 1))
    places = hidden.nonzero() + 1
    diagonal, right = torch.zeros(len(places), dtype=x.dtype), torch.zeros(len(places), len(x), dtype=x.dtype)
    entries = []
    for di, dj in [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]:
        weight = 1 / 12 if di and dj else 1 / 6
        i, j = (places + torch.tensor([di, dj])).T
        other = number[i, j]
        diagonal += weight * (other > -2).to(x.dtype)
        right += weight * value[:, i, j].T * (other == -1)[:, None].to(x.dtype)
        rows = (other >= 0).nonzero()[:, 0]
        entries.append(torch.stack([rows, other[rows], torch.full_like(rows, weight == 1 / 6)]))
    rows, columns, direct = torch.cat(entries, 1).numpy()
    own = torch.arange(len(places)).numpy()
    matrix = coo_array((-(1 + direct) / 12, (rows, columns)), shape=(len(own),) * 2)
    matrix = matrix + coo_array((diagonal.numpy(), (own, own)), shape=(len(own),) * 2)
    filled = x.clone()
    filled[:, hidden] = torch.from_numpy(spsolve(matrix.tocsc(), right.numpy())).T
    return filled


def test_a_linear_picture_comes_out_again_inside_what_is_shown(device):
    """A plane is harmonic: away from the border nothing is lost."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 40), torch.linspace(0, 1, 30), indexing="ij")
    x = torch.stack([rows, columns, 0.3 * rows + 0.5 * columns])[None].to(device)
    hidden = torch.zeros(40, 30, dtype=torch.bool, device=device)
    hidden[2:-2, 2:-2] = True
    torch.testing.assert_close(impute(x, hidden, sigma=0), x, atol=5e-5, rtol=0)


def test_an_image_hidden_whole_becomes_its_own_mean_colour_and_an_image_shown_whole_stays(device):
    x = torch.rand(3, 3, 20, 24, generator=seeded()).to(device)
    hidden = torch.zeros(3, 20, 24, dtype=torch.bool, device=device)
    hidden[0] = True
    hidden[2, 3:9] = True
    filled = impute(x, hidden, sigma=0)
    torch.testing.assert_close(filled[0], x[0].mean((1, 2), keepdim=True).expand(3, 20, 24))
    assert torch.equal(filled[1], x[1])
    torch.testing.assert_close(filled[2:], impute(x[2:], hidden[2:], sigma=0), atol=5e-5, rtol=0)


def test_a_picture_of_one_colour_stays_so_and_half_precision_is_solved_in_single():
    hidden = blobs(1, (20, 20), 0.5)
    flat = torch.full((1, 3, 20, 20), 0.25)
    torch.testing.assert_close(impute(flat, hidden, sigma=0), flat)
    x = torch.rand(1, 3, 20, 20, generator=seeded())
    half = impute(x.half(), hidden, sigma=0)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), impute(x.half().float(), hidden, sigma=0), atol=1e-3, rtol=0)


def test_the_noise_is_on_hidden_pixels_alone_of_the_deviation_asked_for_and_seeded(device):
    x = torch.rand(2, 3, 64, 64, generator=seeded()).to(device)
    hidden = blobs(2, (64, 64), 0.5).to(device)
    filled = impute(x, hidden, sigma=0.2, generator=seeded(3, device))
    noise = filled - impute(x, hidden, sigma=0)
    where = hidden[:, None].expand_as(x)
    assert torch.equal(noise[~where], torch.zeros_like(noise[~where]))
    assert abs(noise[where].std() - 0.2) < 0.01 and abs(noise[where].mean()) < 0.01
    assert torch.equal(filled, impute(x, hidden, sigma=0.2, generator=seeded(3, device)))
    assert not torch.equal(filled, impute(x, hidden, sigma=0.2, generator=seeded(4, device)))


def test_a_batch_is_filled_like_its_images_one_by_one():
    x, hidden = torch.rand(5, 3, 40, 40, generator=seeded()), blobs(5, (40, 40), 0.7)
    together = impute(x, hidden, sigma=0)
    apart = torch.cat([impute(x[i : i + 1], hidden[i], sigma=0) for i in range(5)])
    torch.testing.assert_close(together, apart, atol=5e-5, rtol=0)


@pytest.mark.parametrize(
    "change, words, error",
    [
        ({"x": torch.rand(3, 8, 8)}, ["x", "x[None]"], ValueError),
        ({"x": torch.full((2, 3, 8, 8), torch.nan)}, ["x", "finite"], ValueError),
        ({"hidden": torch.rand(2, 8, 8)}, ["hidden", "hidden > 0.5"], TypeError),
        ({"hidden": torch.zeros(3, 8, 8, dtype=torch.bool)}, ["hidden", "(2, 8, 8)"], ValueError),
        ({"hidden": [[True]]}, ["hidden", "list"], TypeError),
        ({"sigma": -0.1}, ["sigma", "-0.1"], ValueError),
        ({"sigma": "much"}, ["sigma", "much"], ValueError),
        ({"generator": 3}, ["generator", "int"], TypeError),
    ],
)
def test_bad_input_of_impute_is_named(change, words, error):
    given = {"x": torch.rand(2, 3, 8, 8), "hidden": torch.zeros(2, 8, 8, dtype=torch.bool)} | change
    assert_says(complaint(lambda: impute(**given), error=error), *words)


# ------------------------------------------------------------------------------------------------------ ROAD


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_the_scores_are_those_of_the_imputed_images_one_by_one(order, device):
    model, x = build(Plain).double().to(device), images(2, dtype=torch.float64, device=device)
    heat = torch.rand(2, 17, 21, generator=seeded()).to(device)
    target = torch.tensor([1, 4], device=device)
    fractions = (0.0, 0.25, 0.8, 1.0)
    result = road(model, x, target, heat, fractions=fractions, order=order, sigma=0, batch_size=3)
    assert result.scores.shape == result.predicted.shape == (2, 4)
    assert torch.equal(result.target, target)
    for i in range(2):
        ranks = (heat[i] if order == "lerf" else -heat[i]).flatten().argsort().argsort().view(17, 21)
        for f, fraction in enumerate(fractions):
            seen = impute(x[i : i + 1], ranks < round(fraction * 17 * 21), sigma=0)
            p = model(seen).softmax(1)[0]
            torch.testing.assert_close(result.scores[i, f], p[target[i]].detach(), atol=1e-4, rtol=0)
            assert result.predicted[i, f] == p.argmax()


def test_several_maps_of_an_image_are_judged_as_each_by_itself(device):
    """But for chance and noise: they share both."""
    model, x = build(Plain).double().to(device), images(2, dtype=torch.float64, device=device)
    maps = torch.rand(2, 3, 17, 21, generator=seeded()).to(device)
    options = {"fractions": (0.3, 0.6), "batch_size": 5}
    several = road(model, x, 2, maps, generator=seeded(1, device), **options)
    assert several.scores.shape == several.predicted.shape == (2, 3, 2) and several.accuracy.shape == (3, 2)
    for m in range(3):
        one = road(model, x, 2, maps[:, m], generator=seeded(1, device), **options)
        torch.testing.assert_close(several.scores[:, m], one.scores, atol=1e-4, rtol=0)
        assert torch.equal(several.accuracy[m], one.accuracy)
    blind = road(model, x, 2, maps, order="random", generator=seeded(1, device), **options)
    torch.testing.assert_close(blind.scores[:, 0], blind.scores[:, 1])


def test_accuracy_is_the_share_of_images_that_still_get_the_target():
    model, x = build(Plain), torch.rand(6, 3, 17, 21, generator=seeded())
    heat = torch.rand(6, 17, 21, generator=seeded(1))
    own = model(x).argmax(1)
    result = road(model, x, None, heat, fractions=(0, 0.5), generator=seeded(2))
    assert torch.equal(result.target, own) and result.accuracy[0] == 1
    wrong = road(model, x, (own + 1) % 5, heat, fractions=(0, 0.5), generator=seeded(2))
    assert wrong.accuracy[0] == 0
    assert result.accuracy[1] == (result.predicted[:, 1] == own).float().mean()


class Corner(nn.Module):
    """Knows one thing: how bright the upper left corner is. Every map can be judged by what is true."""

    def forward(self, x):
        bright = 10 * (x[:, :, :4, :4].mean((1, 2, 3)) - 0.5)
        return torch.stack([-bright, bright], 1)


def test_the_true_map_falls_at_once_and_its_opposite_holds_until_the_end():
    x = torch.rand(4, 3, 24, 24, generator=seeded()) / 5
    x[:, :, :4, :4] += 0.8
    truth = torch.zeros(4, 24, 24)
    truth[:, :4, :4] = 1
    fractions = (0.05, 0.5, 0.95)
    options = {"fractions": fractions, "generator": seeded()}
    good = road(Corner().eval(), x, 1, truth, **options)
    bad = road(Corner().eval(), x, 1, -truth, **options)
    assert (good.scores < 0.2).all() and (bad.scores > 0.9).all()
    lerf = road(Corner().eval(), x, 1, truth, order="lerf", **options)
    assert (lerf.scores > 0.9).all()


def test_one_seed_gives_one_result_whatever_the_batch_size(device):
    model, x = build(Plain).double().to(device), images(3, dtype=torch.float64, device=device)
    heat = torch.zeros(3, 17, 21, device=device)
    results = [road(model, x, 1, heat, batch_size=b, generator=seeded(5, device)).scores for b in (1, 4, 64)]
    torch.testing.assert_close(results[0], results[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(results[0], results[2], atol=1e-4, rtol=0)
    other = road(model, x, 1, heat, generator=seeded(6, device)).scores
    assert (other - results[0]).abs().max() > 1e-3


def test_the_model_is_left_as_found_and_the_result_is_detached():
    model = build(Plain).requires_grad_(True)
    before = snapshot(model)
    x = torch.rand(2, 3, 17, 21, generator=seeded()).requires_grad_()
    result = road(model, x, None, torch.rand(2, 17, 21), generator=seeded())
    assert not result.scores.requires_grad and result.scores.dtype == x.dtype and x.grad is None
    assert_as_found(model, before)


@pytest.mark.parametrize(
    "change, words, error",
    [
        ({"heatmaps": torch.rand(2, 8, 8)}, ["heatmaps", "(2, 17, 21)", "resize"], ValueError),
        ({"heatmaps": torch.rand(3, 17, 21)}, ["heatmaps", "(2, 17, 21)", "(3, 17, 21)"], ValueError),
        ({"heatmaps": torch.full((2, 17, 21), torch.inf)}, ["heatmaps", "finite"], ValueError),
        ({"fractions": (0.5, 0.1)}, ["fractions", "ascend"], ValueError),
        ({"fractions": (10, 50)}, ["fractions[0]", "share", "10"], ValueError),
        ({"fractions": ()}, ["fractions", "(0.1, 0.5, 0.9)"], TypeError),
        ({"fractions": 0.5}, ["fractions", "0.5"], TypeError),
        ({"order": "most"}, ["order", "morf", "lerf", "most"], ValueError),
        ({"sigma": -1}, ["sigma"], ValueError),
        ({"target": torch.tensor([0, 1, 2])}, ["target"], ValueError),
        ({"batch_size": 0}, ["batch_size"], ValueError),
        ({"progress": "no"}, ["progress"], TypeError),
        ({"x": torch.rand(3, 17, 21)}, ["x", "x[None]"], ValueError),
    ],
)
def test_bad_input_of_road_is_named_before_any_pass(change, words, error):
    model = Counting().eval()
    given = {"x": torch.rand(2, 3, 17, 21), "target": 1, "heatmaps": torch.rand(2, 17, 21)} | change
    assert_says(complaint(lambda: road(model, **given), model, error), *words)


def test_a_target_beyond_the_classes_is_named():
    model = Counting().eval()
    x, heat = torch.rand(2, 3, 17, 21), torch.rand(2, 17, 21)
    assert_says(complaint(lambda: road(model, x, 7, heat), model, passes=1), "target", "5", "7")
