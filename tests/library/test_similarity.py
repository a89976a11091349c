"""How alike two maps are: against SciPy and scikit-image, and where there is nothing to compare."""

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.feature import hog
from skimage.metrics import structural_similarity

from xai_lib.similarity import hog_correlation, rank_correlation, ssim

ALL = [rank_correlation, ssim, hog_correlation]


@pytest.fixture
def maps(device):
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(3, 48, 56, generator=generator, dtype=torch.double)
    b = a + torch.randn(3, 48, 56, generator=generator, dtype=torch.double)
    return a.to(device), b.to(device)


def test_ranks_are_spearmans_with_ties(maps):
    a, b = maps[0].round(decimals=1), maps[1].round(decimals=0)
    expected = [stats.spearmanr(p.ravel(), q.ravel())[0] for p, q in zip(a.cpu(), b.cpu(), strict=True)]
    assert np.allclose(rank_correlation(a, b).cpu(), expected, atol=1e-12)


def test_structure_and_edges_are_scikit_images(maps):
    a, b = (m.abs() / m.abs().amax((1, 2), keepdim=True) for m in maps)
    pairs = list(zip(a.cpu().numpy(), b.cpu().numpy(), strict=True))
    assert np.allclose(
        ssim(*(m.abs() for m in maps)).cpu(), [structural_similarity(p, q, data_range=1) for p, q in pairs]
    )
    features = [[hog(m, pixels_per_cell=(16, 16)) for m in pair] for pair in pairs]
    expected = [np.corrcoef(*pair)[0, 1] for pair in features]
    assert np.allclose(hog_correlation(*(m.abs() for m in maps)).cpu(), expected, atol=1e-12)


@pytest.mark.parametrize("alike", ALL)
def test_a_map_is_like_itself_at_any_scale_and_dtypes_stay(alike, maps):
    a, b = maps
    assert torch.allclose(alike(a, 3 * a), torch.ones(3).to(a))
    assert (alike(a, b) < 0.95).all()
    assert torch.allclose(alike(a, b), alike(b, a))
    assert alike(a[0], b[0]).shape == ()
    assert torch.allclose(alike(a[0], b[0]), alike(a, b)[0])
    assert alike(a.float(), b.float()).dtype == torch.float32
    assert alike(a, b).device == a.device


def test_a_map_without_order_is_like_none(maps):
    flat = torch.ones_like(maps[0])
    assert (rank_correlation(maps[0], flat) == 0).all()
    assert (hog_correlation(maps[0], flat) == 0).all()
    assert torch.allclose(rank_correlation(maps[0], -maps[0]), -torch.ones(3).to(flat))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda a: rank_correlation(a.numpy(), a), TypeError, "heatmaps_a must be"),
        (lambda a: rank_correlation(a, a[:1]), ValueError, "must have one shape"),
        (lambda a: ssim(a, a * float("nan")), ValueError, "heatmaps_b"),
        (lambda a: ssim(a, a, window=4), ValueError, "window must be odd"),
        (lambda a: ssim(a, a, window=49), ValueError, "window must be odd and at most 48"),
        (lambda a: hog_correlation(a, a, cell=20), ValueError, "cell must fit three times"),
    ],
)
def test_bad_input_names_the_argument(call, error, says):
    with pytest.raises(error, match=says):
        call(torch.rand(2, 48, 56))
