"""The randomisation test against Quantus, on the copies that Quantus itself draws."""

import numpy as np
import pytest
import quantus
import torch
from quantus.functions.complexity_func import discrete_entropy
from quantus.helpers.model.pytorch_model import PyTorchModel

from xai_lib import data, gradient, load_model, randomisation
from xai_lib.randomisation import complexity, complexity_rise, randomisation_test, randomised
from xai_lib.similarity import rank_correlation

ORDERS = {"cascade": "top_down", "bottom_up": "bottom_up", "independent": "independent"}  # ours: theirs


@pytest.fixture
def quantus_draws(monkeypatch):
    """Layers are drawn as Quantus does it: each after the same seed."""

    def draw(layer, *_):
        torch.manual_seed(43)
        layer.reset_parameters()

    monkeypatch.setattr(randomisation, "_draw", draw)


@pytest.fixture(scope="module")
def pictures():
    return data.shapes(3, seed=5)


def explain(model, inputs, targets, **_):
    x = torch.as_tensor(np.asarray(inputs), dtype=torch.float32)
    return gradient(model, x, torch.as_tensor(targets)).sum(1, keepdim=True).numpy()


def test_layers_and_rank_correlations_are_those_of_mprt():
    model, pictures = load_model("small_vgg"), data.shapes(4, seed=5)
    x, y = pictures.images, pictures.labels
    options = {"abs": False, "normalise": False, "disable_warnings": True}
    theirs = quantus.MPRT(similarity_func=quantus.similarity_func.correlation_spearman, **options)(
        model=model, x_batch=x.numpy(), y_batch=y.numpy(), a_batch=None, explain_func=explain
    )
    assert ["original", *(name for name, _ in randomised(model))] == list(theirs)
    before = gradient(model, x, y).sum(1)
    for name, drawn in PyTorchModel(model).get_random_layer_generator("top_down", 42):
        ours = rank_correlation(before, gradient(drawn.eval(), x, y).sum(1))
        assert np.allclose(ours, theirs[name], atol=1e-6)


def test_complexity_is_the_discrete_entropy():
    maps = torch.randn(3, 20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    expected = [discrete_entropy(m.numpy(), m[None].numpy(), n_bins=50) for m in maps]
    assert np.allclose(complexity(maps, bins=50), expected)


@pytest.mark.parametrize("order", ORDERS)
def test_the_whole_test_is_mprt_in_every_order(order, pictures, quantus_draws):
    model, x, y = load_model("small_vgg"), pictures.images, pictures.labels
    theirs = quantus.MPRT(
        layer_order=ORDERS[order],
        similarity_func=quantus.similarity_func.correlation_spearman,
        abs=True,
        normalise=False,
        disable_warnings=True,
    )(model=model, x_batch=x.numpy(), y_batch=y.numpy(), a_batch=None, explain_func=explain)
    ours = randomisation_test(model, gradient, x, y, order=order, similarities=("rank of magnitudes",))
    found = dict(zip(ours.layers, ours.values[0, :, 0].tolist(), strict=True))
    # One at a time we begin at the logits, as in the cascade; Quantus with the first layer.
    assert list(theirs)[1:] == (ours.layers[::-1] if order == "independent" else ours.layers)
    for layer, values in found.items():
        assert np.allclose(values, theirs[layer], atol=1e-5)


def test_with_noise_it_is_smooth_mprt(pictures, quantus_draws, monkeypatch):
    """On its noise: the last of its copies has none. It draws anew for every network, here the same."""
    model, x, y = load_model("small_vgg"), pictures.images, pictures.labels
    draws = np.random.default_rng(0).standard_normal(x.shape)
    monkeypatch.setattr(np.random, "randn", lambda *shape: draws)
    theirs = quantus.SmoothMPRT(
        similarity_func=quantus.similarity_func.correlation_spearman,
        layer_order="top_down",
        nr_samples=2,
        noise_magnitude=0.1,
        disable_warnings=True,
    )(
        model=model,
        x_batch=x.numpy(),
        y_batch=y.numpy(),
        a_batch=None,
        explain_func=quantus.explain,  # another one would be asked for the first maps only
        explain_func_kwargs={"method": "Gradient"},
    )
    reach = x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True)  # its unit of noise
    noise = [0.1 * reach * torch.from_numpy(draws).float(), torch.zeros_like(x)]
    options = {"noisy": 2, "similarities": ("rank of magnitudes",)}
    drawn = randomisation_test(model, gradient, x, y, generator=torch.Generator().manual_seed(1), **options)
    monkeypatch.setattr(randomisation, "_noise", lambda *_: noise)
    ours = randomisation_test(model, gradient, x, y, **options)
    expected = torch.tensor([theirs[layer] for layer in ours.layers]).to(ours.values)
    assert torch.allclose(ours.values[0, :, 0], expected, atol=1e-3)
    assert not torch.allclose(drawn.values, ours.values, atol=1e-2)  # so the noise did matter


@pytest.mark.parametrize("order", ["top_down", "bottom_up"])
def test_the_rise_of_complexity_is_that_of_efficient_mprt(order, pictures, quantus_draws):
    model, x, y = load_model("small_vgg"), pictures.images, pictures.labels
    theirs = quantus.EfficientMPRT(layer_order=order, abs=True, disable_warnings=True)(
        model=model, x_batch=x.numpy(), y_batch=y.numpy(), a_batch=None, explain_func=explain
    )
    assert np.allclose(complexity_rise(model, gradient, x, y), theirs, atol=1e-4)
