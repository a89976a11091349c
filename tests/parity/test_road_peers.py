"""ROAD's imputation beside Quantus's; infidelity and sensitivity beside Captum's."""

import numpy as np
import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max

from tests.architectures import Plain, build, images
from xai_lib import gradient, load_photo
from xai_lib.faithfulness import impute, infidelity, max_sensitivity


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("share", [0.2, 0.7, 0.95])
@pytest.mark.parametrize("patchy", [False, True], ids=["scattered", "in patches"])
def test_the_imputation_is_quantus_on_a_photograph(share, patchy):
    """Without noise, which both add in the same way: the same system, theirs factored and ours iterated."""
    from quantus.functions.perturb_func import noisy_linear_imputation

    photo = load_photo("cat", 112)
    heat = torch.rand(1, 1, *((9, 9) if patchy else (112, 112)), generator=seeded())
    heat = torch.nn.functional.interpolate(heat, (112, 112), mode="bilinear", align_corners=True)
    order = heat.flatten().argsort()
    hidden = torch.zeros(112 * 112, dtype=torch.bool)
    hidden[order[: round(share * 112 * 112)]] = True
    theirs = noisy_linear_imputation(photo[0].double().numpy(), np.flatnonzero(hidden.numpy()), noise=0.0)
    ours = impute(photo, hidden.view(112, 112), sigma=0)[0]
    torch.testing.assert_close(ours.double(), torch.from_numpy(theirs), atol=1e-4, rtol=0)


@pytest.mark.parametrize("normalize", [True, False])
def test_infidelity_is_captums(normalize):
    """Captum repeats each image, we go through the images for each change: the same changes, in our order."""
    model, x = build(Plain).double(), images(2, dtype=torch.float64)
    target, n = torch.tensor([1, 3]), 12
    weights = gradient(model, x, target)
    away = 0.2 * torch.randn(n, *x.shape, generator=seeded(), dtype=torch.float64)
    theirs = captum_infidelity(
        model,
        lambda seen: (away.transpose(0, 1).flatten(0, 1), seen - away.transpose(0, 1).flatten(0, 1)),
        x,
        weights,
        target=target,
        n_perturb_samples=n,
        normalize=normalize,
    )
    ours = infidelity(
        model,
        x,
        target,
        weights,
        perturbation=lambda seen: away.flatten(0, 1),
        n_samples=n,
        normalize=normalize,
        batch_size=2 * n,
    )
    torch.testing.assert_close(ours, theirs.detach())


@pytest.mark.parametrize("radius", [0.02, 0.2])
def test_max_sensitivity_is_captums_at_the_same_points(radius):
    model, x = build(Plain).double(), images(2, dtype=torch.float64)
    target, n = torch.tensor([1, 3]), 6
    moves = [torch.rand(x.shape, generator=g, dtype=x.dtype) for g in [seeded(4)] for _ in range(n)]
    points = torch.stack([x + radius * (2 * move - 1) for move in moves], 1).flatten(0, 1)
    theirs = sensitivity_max(
        lambda seen, target: (gradient(model, seen[0] if isinstance(seen, tuple) else seen, target),),
        x,
        perturb_func=lambda seen: points,
        n_perturb_samples=n,
        target=target,
    )
    ours = max_sensitivity(gradient, model, x, target, radius=radius, n_samples=n, generator=seeded(4))
    torch.testing.assert_close(ours, theirs)
