"""What every method promises, and how a test looks: the model as found, and errors before any pass."""

import pytest
import torch

from tests.architectures import Plain


class Counting(Plain):
    """Counts its forward passes."""

    passes = 0

    def forward(self, x):
        self.passes += 1
        return super().forward(x)


def complaint(call, model=None, error=ValueError, passes=0):
    """The message of the error that ``call`` raises, after at most ``passes`` forward passes."""
    with pytest.raises(error) as raised:
        call()
    assert getattr(model, "passes", 0) <= passes, "the model ran before the input was checked"
    return str(raised.value)


def assert_says(message, *words):
    assert all(str(word) in message for word in words), message


def snapshot(model):
    """Everything about the model that a method could leave behind."""
    modules = list(model.modules())
    return {
        "tensors": [t.detach().clone() for t in (*model.parameters(), *model.buffers())],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "asked for": [p.requires_grad for p in model.parameters()],
        "modes": [m.training for m in modules],
        "hooks": [
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules
        ],
    }


def assert_as_found(model, before):
    after = snapshot(model)
    for key in before:
        for was, now in zip(before[key], after[key], strict=True):
            assert torch.equal(was, now) if isinstance(was, torch.Tensor) else was == now, key
