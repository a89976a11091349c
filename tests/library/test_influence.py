"""Influence: what it predicts is what happens; closed forms, solvers and streams agree with one another."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.architectures import Plain, build
from xai_lib import digits
from xai_lib.influence import (
    influence,
    leave_one_out,
    neural_network,
    projected_gradients,
    representation_similarity,
    self_influence,
    softmax_regression,
    tracin,
)

L2 = 0.1


def each(logits, labels):
    """Cross-entropy as a caller may write it: the general geometry, not the closed form."""
    return F.cross_entropy(logits, labels, reduction="none")


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.fixture(scope="module")
def regression():
    """Softmax regression on three digits, float64, at its minimum; its training and test set, and its fit."""
    images, labels = digits()
    kept = labels < 3
    images, labels = images[kept].double(), labels[kept]
    train, test = (images[:300], labels[:300]), (images[300:330], labels[300:330])
    fit = softmax_regression(l2=L2)
    fit(*train, torch.ones(1, 300).double())
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double().eval()
    with torch.no_grad():
        model[1].weight.copy_(fit.weights[:, :-1])
        model[1].bias.copy_(fit.weights[:, -1])
    return model, train, test, fit


@pytest.fixture(scope="module")
def network():
    """A small network with a linear head, and pictures with labels."""
    generator = torch.Generator().manual_seed(3)
    model = build(Plain).double()
    x = torch.rand(12, 3, 32, 32, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        classes = model(x).shape[1]
    y = torch.randint(classes, (12,), generator=generator)
    return model, (x[:8], y[:8]), (x[8:], y[8:])


HEAD = {"layer": "head", "damping": 0.1}


# ------------------------------------------------------------------------------------- what happens really


def test_it_predicts_what_happens_when_an_image_is_taken_out(regression):
    model, train, test, fit = regression
    which = range(0, 300, 5)
    real = leave_one_out(fit, train, test, which=which).flatten()
    predicted = influence(model, train, test, l2=L2)[:, ::5].flatten()
    correlation = torch.corrcoef(torch.stack([predicted, real]))[0, 1]
    slope = (predicted @ real) / (predicted @ predicted)
    assert correlation > 0.99
    assert abs(slope - 1) < 0.05


def test_an_image_helps_itself(regression):
    model, train, _, fit = regression
    assert (self_influence(model, train, l2=L2) >= 0).all()
    real = leave_one_out(fit, train, (train[0][:3], train[1][:3]), which=[0, 1, 2])
    assert (real.diagonal() > 0).all()


def test_one_that_stands_twice_counts_twice(regression):
    model, (images, labels), test, _ = regression
    twice = torch.cat([images, images[:1]]), torch.cat([labels, labels[:1]])
    scores = influence(model, twice, test, l2=L2)
    torch.testing.assert_close(scores[:, 0], scores[:, -1])


def test_leave_one_out_does_not_depend_on_how_many_are_fitted_together(regression):
    _, train, test, fit = regression
    one, many = (leave_one_out(fit, train, test, which=[3, 7, 11], together=t) for t in (1, 3))
    torch.testing.assert_close(one, many, rtol=1e-5, atol=1e-9)


def test_the_fit_is_at_its_minimum(regression):
    model, (images, labels), _, _ = regression
    weights = [p.detach().clone().requires_grad_() for p in model[1].parameters()]
    logits = F.linear(images.flatten(1), *weights)
    loss = F.cross_entropy(logits, labels) + L2 / 2 * sum(w.square().sum() for w in weights)
    assert all(slope.abs().max() < 1e-9 for slope in torch.autograd.grad(loss, weights))


def test_the_fit_arrives_where_full_newton_steps_would_go_uphill():
    images, labels = digits()
    images, labels = images[:300].double(), labels[:300].clone()
    labels[::10] = (labels[::10] + 3) % 10  # wrong labels and little weight decay: weights become large
    fit = softmax_regression(l2=1e-4)
    logits = fit(images, labels, torch.ones(1, 300).double())(images)[0]
    features = F.pad(images.flatten(1), (0, 1), value=1.0)
    slope = (logits.softmax(1) - F.one_hot(labels, 10)).T @ features / 300 + 1e-4 * fit.weights
    assert slope.abs().max() < 1e-9


# ----------------------------------------------------------------------------------- networks trained again


def tiny():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.GroupNorm(2, 6), nn.Tanh(), nn.Linear(6, 3))


def trained_alone(make, images, labels, keep, l2, epochs, rate, batch_size, seed):
    """One training as anybody would write it, without vmap: the network, in evaluation mode."""
    torch.manual_seed(seed)
    network, generator = make().to(images.dtype), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    steps = epochs * -(-len(labels) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    for _ in range(epochs):
        for which in torch.randperm(len(labels), generator=generator).split(batch_size):
            loss = (keep[which] * each(network(images[which]), labels[which])).mean()
            loss = loss + l2 / 2 * sum(p.square().sum() for p in network.parameters())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@pytest.mark.parametrize("batch_size", [None, 32])
def test_networks_trained_together_are_networks_trained_one_after_the_other(regression, batch_size):
    _, (images, labels), test, _ = regression
    images, labels, which = images[:80], labels[:80], [0, 5, 41, 79]
    options = {"l2": 1e-3, "epochs": 12, "rate": 0.02, "seed": 7}
    fit = neural_network(tiny, batch_size=batch_size, **options)
    found = leave_one_out(fit, (images, labels), test, which=which)
    losses = []
    for removed in (None, *which):
        keep = torch.ones(80).double()
        if removed is not None:
            keep[removed] = 0
        alone = trained_alone(tiny, images, labels, keep, batch_size=batch_size or 80, **options)
        with torch.no_grad():
            losses.append(each(alone(test[0]), test[1]))
    wanted = torch.stack([loss - losses[0] for loss in losses[1:]], 1)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-10)
    assert found.abs().max() > 1e-3  # something was removed
    with torch.no_grad():
        torch.testing.assert_close(each(fit.model(test[0]), test[1]), losses[0])
    assert not fit.model.training


def test_it_does_not_matter_how_many_networks_are_trained_together(regression):
    _, (images, labels), test, _ = regression
    fit = neural_network(tiny, epochs=10)
    few = images[:60], labels[:60]
    one, many = (leave_one_out(fit, few, test, which=[3, 7, 11], together=t) for t in (1, 3))
    torch.testing.assert_close(one, many, rtol=1e-6, atol=1e-10)
    other = leave_one_out(neural_network(tiny, epochs=10, seed=1), few, test, which=[3, 7, 11])
    assert not torch.allclose(other, many, atol=1e-4)  # another start, another answer


def test_a_linear_network_trained_long_enough_is_a_softmax_regression(regression):
    _, train, test, exact = regression
    fit = neural_network(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), l2=L2, epochs=1500, rate=0.05)
    trained, real = (leave_one_out(f, train, test, which=[0, 5, 9]) for f in (fit, exact))
    torch.testing.assert_close(trained, real, rtol=0, atol=2e-2 * real.abs().max().item())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 3)), "nn.GroupNorm"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3)), "must draw nothing"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), "below the network's number of classes, 2"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(63, 3)), r"not on images \(1, 8, 8\)"),
        (lambda: nn.Flatten(), "no parameters to train"),
    ],
)
def test_a_network_that_cannot_be_trained_with_others_is_refused(regression, make, message):
    _, train, test, _ = regression
    with pytest.raises(ValueError, match=message):
        leave_one_out(neural_network(make), train, test, which=[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l2": -1.0}, "l2 must be"),
        ({"rate": 0.0}, "rate must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_an_option_of_the_trainings_that_does_not_fit_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        neural_network(tiny, **change)


# ----------------------------------------------------------------------------------- against plain autograd


def dense(model, layer, train, test, damping):
    """Influence by the textbook: the whole loss's Hessian from autograd, every gradient by itself."""
    module = model.get_submodule(layer)
    names = [f"{layer}.{name}" for name, _ in module.named_parameters()]
    shapes = [model.get_parameter(name).shape for name in names]
    flat = torch.cat([model.get_parameter(name).detach().flatten() for name in names])

    def losses(vector, x, y):
        pieces = vector.split([shape.numel() for shape in shapes])
        weights = {n: p.view(s) for n, p, s in zip(names, pieces, shapes, strict=True)}
        return each(torch.func.functional_call(model, weights, (x,)), y)

    hessian = torch.autograd.functional.hessian(lambda v: losses(v, *train).mean(), flat)
    rows = [torch.autograd.functional.jacobian(lambda v, d=d: losses(v, *d), flat) for d in (test, train)]
    inverse = torch.linalg.inv(hessian + damping * torch.eye(len(flat), dtype=flat.dtype))
    return rows[0] @ inverse @ rows[1].T / len(train[1])


def test_the_closed_form_is_the_textbook(network):
    model, train, test = network
    torch.testing.assert_close(
        influence(model, train, test, **HEAD), dense(model, "head", train, test, 0.1), rtol=1e-8, atol=1e-12
    )


def test_any_layer_and_any_loss_are_the_textbook(network):
    model, train, test = network
    model = copy.deepcopy(model)
    scores = influence(model, train, test, layer="head", loss=each, damping=0.1)
    torch.testing.assert_close(scores, dense(model, "head", train, test, 0.1), rtol=1e-8, atol=1e-12)
    convolution = next(n for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    scores = influence(model, train, test, layer=convolution, damping=2.0)
    wanted = dense(model, convolution, train, test, 2.0)
    torch.testing.assert_close(scores, wanted, rtol=1e-7, atol=1e-12)


def test_conjugate_gradients_reach_the_exact_solution(network):
    model, train, test = network
    exact = influence(model, train, test, **HEAD)
    assert relative(influence(model, train, test, solver="cg", **HEAD), exact) < 1e-5
    assert relative(influence(model, train, test, solver="cg", loss=each, **HEAD), exact) < 1e-5


def test_sums_of_powers_come_near_the_exact_solution(regression):
    model, train, test, _ = regression
    exact = influence(model, train, test, l2=0.5)
    drawn = influence(
        model, train, test, l2=0.5, solver="lissa", batch_size=100, generator=torch.Generator().manual_seed(0)
    )
    assert relative(drawn, exact) < 0.1
    again = influence(
        model, train, test, l2=0.5, solver="lissa", batch_size=100, generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(drawn, again)


def test_ekfac_is_exact_where_the_curvature_is_a_kronecker_product(regression):
    """At zero weights every image has the same probabilities: the Hessian is one product of two factors."""
    _, train, test, _ = regression
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    exact, factored = (influence(model, train, test, damping=0.01, solver=s) for s in ("exact", "ekfac"))
    torch.testing.assert_close(factored, exact, rtol=1e-8, atol=1e-12)


def test_ekfac_goes_with_the_exact_solution_elsewhere(network):
    model, train, test = network
    convolution = next(n for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    for options in (HEAD, {"layer": convolution, "damping": 2.0}):
        exact, factored = (influence(model, train, test, solver=s, **options) for s in ("exact", "ekfac"))
        assert torch.corrcoef(torch.stack([exact.flatten(), factored.flatten()]))[0, 1] > 0.9


def test_to_ekfac_a_bias_is_a_weight_on_a_constant_and_one_pixel_is_a_row(regression):
    """The same network three times: a linear layer, one whose constant is an input, and a convolution."""
    _, train, test, _ = regression
    torch.manual_seed(2)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 3, bias=False)).double()
    first, last = plain[1], plain[3]
    constant = nn.Sequential(nn.Flatten(), nn.Linear(65, 4, bias=False), nn.Tanh(), last).double()
    pixel = nn.Sequential(nn.Conv2d(64, 4, 1), nn.Flatten(), nn.Tanh(), last).double()
    with torch.no_grad():
        constant[1].weight.copy_(torch.cat([first.weight, first.bias[:, None]], 1))
        pixel[0].weight.copy_(first.weight[:, :, None, None])
        pixel[0].bias.copy_(first.bias)

    def scores(model, shape):
        sets = [(shape(images.flatten(1)), labels) for images, labels in (train, test)]
        return influence(model.eval(), *sets, solver="ekfac", damping=0.01)

    wanted = scores(plain, lambda flat: flat)
    found = scores(constant, lambda flat: F.pad(flat, (0, 1), value=1.0))
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(
        scores(pixel, lambda flat: flat[..., None, None]), wanted, rtol=1e-7, atol=1e-12
    )


def test_self_influence_is_the_diagonal(network):
    model, train, _ = network
    for solver in ("exact", "cg", "ekfac"):
        whole = influence(model, train, train, solver=solver, **HEAD)
        alone = self_influence(model, train, solver=solver, **HEAD)
        torch.testing.assert_close(alone, whole.diagonal(), rtol=1e-4, atol=1e-10)


# --------------------------------------------------------------------------------------- the other scores


def test_tracin_is_a_sum_of_inner_products_of_gradients(network):
    model, train, test = network
    later = {name: value * 1.1 for name, value in model.state_dict().items()}  # buffers too
    scores = tracin(model, [model.state_dict(), later], train, test, rates=[0.5, 2.0], layer="head")
    wanted = 0
    for state, rate in ((model.state_dict(), 0.5), (later, 2.0)):
        other = copy.deepcopy(model)
        other.load_state_dict(state)
        rows = []
        for images, labels in (test, train):
            parameters = list(other.head.parameters())
            slopes = [
                torch.autograd.grad(F.cross_entropy(other(i[None]), y[None]), parameters)
                for i, y in zip(images, labels, strict=True)
            ]
            rows.append(torch.stack([torch.cat([s.flatten() for s in slope]) for slope in slopes]))
        wanted = wanted + rate * rows[0] @ rows[1].T
    torch.testing.assert_close(scores, wanted)


def test_projected_gradients_keep_inner_products_and_come_again(network):
    model, train, _ = network
    model = copy.deepcopy(model)
    kept = projected_gradients(model, train, 20_000, layer="head")
    whole = tracin(model, [model.state_dict()], train, train, layer="head")
    assert relative(kept @ kept.T, whole) < 0.05
    assert torch.equal(kept, projected_gradients(model, train, 20_000, layer="head"))
    torch.testing.assert_close(
        kept[:3], projected_gradients(model, train, 20_000, layer="head", batch_size=3)[:3]
    )
    assert not torch.equal(kept, projected_gradients(model, train, 20_000, layer="head", seed=1))


def test_similarity_is_a_cosine(network):
    model, train, _ = network
    scores = representation_similarity(model, train, train, layer="features")
    torch.testing.assert_close(scores.diagonal(), torch.ones(8, dtype=torch.float64))
    assert scores.abs().max() <= 1 + 1e-9


# --------------------------------------------------------------------------------------------- promises


@pytest.mark.parametrize("solver", ["exact", "cg", "lissa"])
def test_with_many_test_images_the_network_runs_once_and_the_scores_are_the_same(network, solver):
    """The scores' own room holds what the last layer sees, if there are at least as many test images."""
    model, train, test = network
    model = copy.deepcopy(model)
    many = (
        torch.cat([test[0]] * 8)[: model.head.in_features],
        torch.cat([test[1]] * 8)[: model.head.in_features],
    )
    seen = []
    model.features.register_forward_hook(lambda _m, _a, output: seen.append(len(output)))

    def scores(test):
        seen.clear()
        generator = torch.Generator().manual_seed(0)
        return influence(model, train, test, solver=solver, batch_size=3, generator=generator, **HEAD), sum(
            seen
        )

    (few, often), (enough, once) = scores(test), scores(many)
    torch.testing.assert_close(enough[:4], few, rtol=1e-9, atol=1e-12)
    checks = 3  # images that tell the number of classes, and whether the layer gives the logits
    assert once == checks + len(many[1]) + 8
    assert often >= checks + len(test[1]) + 2 * 8


@pytest.mark.parametrize("solver", ["exact", "cg", "ekfac"])
def test_batches_and_loaders_change_nothing(network, solver):
    model, train, test = network
    whole = influence(model, train, test, solver=solver, **HEAD)
    loader = DataLoader(TensorDataset(*train), batch_size=3)
    for other in (
        influence(model, train, test, solver=solver, batch_size=3, **HEAD),
        influence(model, loader, DataLoader(TensorDataset(*test), batch_size=2), solver=solver, **HEAD),
    ):
        torch.testing.assert_close(other, whole, rtol=1e-4, atol=1e-10)


def test_the_model_is_left_as_it_was_and_the_scores_have_its_type(network):
    model, train, test = network
    before = {name: value.clone() for name, value in model.state_dict().items()}
    asks = [p.requires_grad for p in model.parameters()]
    for solver in ("exact", "cg", "ekfac"):
        scores = influence(model, train, test, solver=solver, **HEAD)
        assert scores.dtype == torch.float64 and not scores.requires_grad and scores.shape == (4, 8)
    assert [p.requires_grad for p in model.parameters()] == asks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_on_every_device(network, device):
    model, train, test = copy.deepcopy(network[0]).to(device), *network[1:]
    for solver in ("exact", "cg", "ekfac"):
        scores = influence(model, train, test, solver=solver, **HEAD)
        assert scores.device.type == device.type
        torch.testing.assert_close(
            scores.cpu(), influence(network[0], train, test, solver=solver, **HEAD), rtol=1e-5, atol=1e-9
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"damping": 0.0}, "damping \\+ l2 must make the mean Hessian positive definite.*pass damping="),
        ({"damping": -1.0}, "damping must be"),
        ({"solver": "newton"}, "solver must be one of"),
        ({"layer": "features.1"}, "has no parameters"),
        ({"layer": "nowhere"}, "is not a module of the model"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"loss": each, "solver": "ekfac"}, "loss must be 'cross_entropy' with solver='ekfac'"),
        ({"batch_size": 0}, "batch_size must be"),
    ],
)
def test_an_option_that_does_not_fit_is_named(network, change, message):
    model, train, test = network
    with pytest.raises(ValueError, match=message):
        influence(model, train, test, **{**HEAD, **change})


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda x, y: (x, y + 100), "train labels must be below the model's number of classes"),
        (lambda x, y: (x, y - 100), "train labels must be class numbers, 0 or more"),
        (lambda x, y: (x, y.double()), "train labels must hold class numbers"),
        (lambda x, y: (x, y[:-1]), "one label for each image"),
        (lambda x, y: (x[:0], y[:0]), "train images must not be empty"),
        (lambda x, y: (x / 0, y), "train images must be finite"),
        (lambda x, y: DataLoader(TensorDataset(x, y), shuffle=True), "train shuffles"),
    ],
)
def test_a_set_that_does_not_fit_is_named(network, break_it, message):
    model, train, test = network
    with pytest.raises(ValueError, match=message):
        influence(model, break_it(*train), test, **HEAD)


def test_a_hessian_too_large_for_exact_says_what_to_do(network):
    _, train, test = network
    wide = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)).double().eval()
    with pytest.raises(ValueError, match=r"would make a Hessian of 30730 × 30730.*take solver='cg'"):
        influence(wide, train, (test[0], test[1]), damping=0.1)


def test_batch_normalisation_is_named_where_ekfac_cannot_take_it(network):
    _, train, test = network
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 9))
    with pytest.raises(ValueError, match=r"layer also has '1\.weight'"):
        influence(model.double().eval(), train, test, damping=0.1, solver="ekfac")


def test_a_model_in_training_mode_is_refused(network):
    model, train, test = network
    with pytest.raises(ValueError, match="evaluation mode"):
        influence(copy.deepcopy(model).train(), train, test, **HEAD)


def test_checkpoints_that_do_not_fit_are_named(network):
    model, train, test = network
    state = model.state_dict()
    name = next(iter(state))
    for broken, message in (
        ([], "checkpoints must be a list"),
        ([{k: v for k, v in state.items() if k != name}], rf"checkpoints\[0\] lacks the weight '{name}'"),
        ([state, state | {name: state[name][:1]}], rf"checkpoints\[1\]\['{name}'\] has shape"),
    ):
        with pytest.raises(ValueError, match=message):
            tracin(model, broken, train, test, layer="head")
    with pytest.raises(ValueError, match="rates must be one number or one for each checkpoint"):
        tracin(model, [state], train, test, layer="head", rates=[1.0, 2.0])


def test_leave_one_out_names_an_index_that_is_not_there(regression):
    _, train, test, fit = regression
    with pytest.raises(ValueError, match="which must lie between 0 and 299"):
        leave_one_out(fit, train, test, which=[300])
