"""Influence beside Captum's, its conventions translated: its Hessian is a sum over the data, ours a mean."""

from __future__ import annotations

import pytest
import torch
from captum.influence import NaiveInfluenceFunction, TracInCP
from torch import nn
from torch.utils.data import TensorDataset

from tests.architectures import Plain, build
from xai_lib.influence import influence, self_influence, tracin


@pytest.fixture(scope="module")
def sets():
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(14, 3, 24, 24, generator=generator, dtype=torch.float64)
    y = torch.randint(5, (14,), generator=generator)
    return (x[:10], y[:10]), (x[10:], y[10:])


@pytest.fixture
def model(tmp_path):
    """A network in float64 and two files of its weights."""
    model = build(Plain).double()
    torch.save(model.state_dict(), tmp_path / "first.pt")
    torch.save({k: v * 1.1 for k, v in model.state_dict().items()}, tmp_path / "second.pt")
    model.files = [str(tmp_path / "first.pt"), str(tmp_path / "second.pt")]
    return model


def load(rate):
    def load(model, path):
        model.load_state_dict(torch.load(path))
        return rate

    return load


def test_exact_influence_is_captums_naive_one(model, sets):
    train, test = sets
    damping, n, size = 0.05, len(train[1]), 16 * 5 + 5
    theirs = NaiveInfluenceFunction(
        model,
        TensorDataset(*train),
        model.files[0],
        load(1.0),
        layers=["head"],
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        batch_size=5,
        projection_dim=size,
        hessian_reg=n * damping,
        hessian_inverse_tol=0.0,
    )
    options = {"layer": "head", "damping": damping}
    torch.testing.assert_close(
        influence(model, train, test, **options), theirs.influence(test).double(), rtol=1e-6, atol=1e-9
    )
    torch.testing.assert_close(
        self_influence(model, train, **options), theirs.self_influence().double(), rtol=1e-6, atol=1e-9
    )


def test_tracin_is_captums(model, sets):
    train, test = sets
    theirs = TracInCP(
        model,
        TensorDataset(*train),
        model.files,
        load(0.3),
        layers=["features.0", "head"],
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        batch_size=5,
    )
    wanted = theirs.influence(test)
    states = [torch.load(path) for path in model.files]
    ours = sum(tracin(model, states, train, test, rates=0.3, layer=layer) for layer in ("features.0", "head"))
    torch.testing.assert_close(ours, wanted, rtol=1e-8, atol=1e-10)
