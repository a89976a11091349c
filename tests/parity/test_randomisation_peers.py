"""The randomisation test against Quantus, on the copies that Quantus itself draws."""

import numpy as np
import quantus
import torch
from quantus.functions.complexity_func import discrete_entropy
from quantus.helpers.model.pytorch_model import PyTorchModel

from xai_lib import data, gradient, load_model
from xai_lib.randomisation import complexity, randomised
from xai_lib.similarity import rank_correlation


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
