"""What an answer must leave alone: each thing that it could change is noticed and named."""

import pytest
import torch
from torch import nn

from xai_course.checks.side_effects import PeakMemory, detached, left_alone
from xai_course.checks.verdicts import Wrong


def network():
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(64, 5)
    return nn.Sequential(*layers).eval()


def forward_in_training(model, x):
    model.train()
    model(x)
    model.eval()


def swap_layer(model, x):
    model[2] = nn.Tanh()


def swap_parameter(model, x):
    model[5].bias = nn.Parameter(torch.zeros(5))


def watched(model, x):
    x.requires_grad_(True)


def accumulates(model, x):
    x.requires_grad_(True).square().sum().backward()
    x.requires_grad_(False)


def leaves_a_hook(model, x):
    model[1].register_forward_pre_hook(lambda module, given: None)


CHANGES = [
    (lambda model, x: model.train(), "`model` in training mode"),
    (lambda model, x: model[3].train(), "`model.3` in training mode"),
    (forward_in_training, "a buffer of `model`, `1.running_mean`"),
    (lambda model, x: model.requires_grad_(False), "`model` frozen"),
    (lambda model, x: model(x).sum().backward(), "gradients in the parameters of `model`"),
    (lambda model, x: model[0].weight.data.mul_(2), "weights of `model`, such as `0.weight`"),
    (leaves_a_hook, "a hook in `model`"),
    (swap_layer, "layers of `model`"),
    (swap_parameter, "parameters of `model`"),
    (lambda model, x: x.add_(1), "changed `x`"),
    (lambda model, x: x.unsqueeze_(0), "changed `x`"),
    (watched, "`requires_grad` set on `x`"),
    (accumulates, "`x.grad`"),
    (lambda model, x: torch.set_grad_enabled(False), "autograd off"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=[said for _, said in CHANGES])
def test_a_change_is_noticed_and_named(change, said):
    model, x = network(), torch.rand(2, 3, 6, 6)
    with torch.enable_grad(), pytest.raises(Wrong) as stop, left_alone(model=model, x=x):
        change(model, x)
    assert said in stop.value.message
    assert stop.value.look


def test_who_looks_and_takes_gradients_of_a_copy_changes_nothing():
    model, x = network(), torch.rand(2, 3, 6, 6)
    with left_alone(model=model, x=x):
        copy = x.clone().requires_grad_(True)
        value = torch.autograd.grad(model(copy).sum(), copy)[0]
        handle = model[0].register_forward_hook(lambda *given: None)
        handle.remove()
    detached(value)


def test_what_was_set_before_may_stay():
    model, x = network().train(), torch.full((2, 3), float("nan"), requires_grad=True)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    with left_alone(model=model, x=x):
        (x * 2).sum()


def test_what_the_block_raises_comes_out():
    with pytest.raises(ZeroDivisionError), left_alone(x=torch.zeros(1)):
        raise ZeroDivisionError


def test_only_tensors_and_modules_are_watched():
    with pytest.raises(TypeError, match="`x` must be a tensor or a module, got list"), left_alone(x=[1]):
        pass


def test_a_result_on_the_graph_is_refused():
    with pytest.raises(Wrong, match="hangs on the graph"):
        detached(torch.zeros(1, requires_grad=True) * 2)


@pytest.mark.parametrize(("keep", "times"), [(True, 10), (False, 2)])
def test_the_peak_is_that_of_what_is_alive_at_once(keep, times):
    x, kept = torch.zeros(1000), []
    with PeakMemory(x) as memory:
        for _ in range(10):
            made = x[:] + 1
            kept += [made] if keep else []
    assert times - 1 <= memory.peak / 4000 <= times


def test_gradients_that_were_there_are_not_wiped_out():
    model = network()
    model(torch.rand(2, 3, 6, 6)).sum().backward()
    with pytest.raises(Wrong, match="wipes out the gradients"), left_alone(model=model):
        model.zero_grad()
    with left_alone(model=model):
        model.zero_grad()  # nothing is left of them
