"""Influence beside Captum's and dattri's, their conventions translated.

Captum's Hessian is a sum over the data, ours a mean. dattri's EK-FAC takes its second moments from the loss
of the labels that it is given, ours from all of the model's own classes.
"""

from __future__ import annotations

import dattri.func.fisher
import pytest
import torch
import torch.nn.functional as F
from captum.influence import NaiveInfluenceFunction, TracInCP
from dattri.algorithm.influence_function import IFAttributorEKFAC
from dattri.task import AttributionTask
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

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


@pytest.fixture
def columns(monkeypatch):
    """dattri 0.3.0 turns vectors with eigh's result where its transpose is meant: its rows, not its columns.

    What it then inverts is diagonal in no eigenbasis. The transpose is handed to it here.
    """
    found = dattri.func.fisher.estimate_eigenvector

    def transposed(covariances):
        return {name: (a.mT.contiguous(), s.mT.contiguous()) for name, (a, s) in found(covariances).items()}

    monkeypatch.setattr(dattri.func.fisher, "estimate_eigenvector", transposed)


@pytest.fixture
def no_default_type():
    """dattri makes some tensors in torch's default type: float64 here, and only here."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("classes", [3, 5])
def test_ekfac_is_dattris(classes, columns, no_default_type):
    """Two linear layers without a bias, since dattri 0.3.0 mixes a bias into the rows of its weights.

    To give dattri the expectation over the model's classes, each image stands in its training set once for
    each class, with the root of the class's probability as a weight of the loss. Its means are then over K
    times as many examples, so that its matrix, and the damping, are a K-th of ours.
    """
    n, m, damping = 40, 6, 0.05
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n + m, 7, generator=generator)
    y = torch.randint(classes, (n + m,), generator=generator)
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(7, 4, bias=False), nn.Tanh(), nn.Linear(4, classes, bias=False)).eval()
    with torch.no_grad():
        roots = model(x[:n]).softmax(1).sqrt().flatten()
    copies = TensorDataset(x[:n].repeat_interleave(classes, 0), torch.arange(classes).repeat(n), roots)
    sets = [TensorDataset(x[part], y[part], torch.ones(len(x[part]))) for part in (slice(n), slice(n, None))]

    def loss(weights, data):
        images, labels, shares = data
        logits = torch.func.functional_call(model, weights, (images,))
        return (shares * F.cross_entropy(logits, labels, reduction="none")).mean()

    theirs = IFAttributorEKFAC(
        AttributionTask(loss, model, model.state_dict()), module_name=["0", "2"], damping=damping / classes
    )
    theirs.cache(DataLoader(copies, batch_size=len(copies)))
    with torch.no_grad():
        wanted = theirs.attribute(*(DataLoader(one, batch_size=len(one)) for one in sets)).T / classes / n
    ours = influence(model, (x[:n], y[:n]), (x[n:], y[n:]), solver="ekfac", damping=damping)
    torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=1e-13)
