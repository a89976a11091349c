"""Answers judged over the wire get the verdict that they get in one process; what is no value is refused."""

import importlib
import inspect
import json
import socket
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.classroom.loopback import Loopback
from xai_course.checks import available, check
from xai_course.classroom._calls import Peer, _Function
from xai_course.classroom._wire import LARGEST, Frames, Refused, decode, encode
from xai_course.classroom.judge import _by_value

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "exercises"))
SLOW = {
    "1.3",
    "1.4",
    "2.4",
    "5.2",
    "5.7",
}  # their checks run an answer for seconds: one planted answer each is enough here
# The verdict is the same; the words are those of the first fault that can be seen from outside.
OTHER_WORDS = {
    ("2.8", "keeps all gradients"),
    ("2.8", "keeps the noisy images"),
    ("3.2", "layer cut off"),
    ("4.5", "keeps all masks"),
    ("4.6", "a cache"),
}


def planted():
    """Every planted wrong answer and every unusual right one: exercise, name, answers."""
    for chapter in sorted({name.split(".")[0] for name in available()}):
        module = importlib.import_module(f"wrong_ch{int(chapter):02d}")
        for exercise, several in module.WRONG.items():
            for wrong in several[: 1 if exercise in SLOW else None]:
                yield exercise, wrong.name, wrong.answers
        for exercise, several in getattr(module, "ALSO_RIGHT", {}).items():
            for number, answers in enumerate(several[: 1 if exercise in SLOW else None], 1):
                yield exercise, f"right {number}", answers


def source_of_planted(name):
    """The text of a planted answer, as the judge has that of a student's notebook."""
    found = SOURCES.get(name)
    return inspect.getsource(found) if found else None


SOURCES: dict = {}


@pytest.fixture(scope="module")
def wire():
    _by_value()
    with_sources = Loopback(source_of_planted)
    yield with_sources
    with_sources.close()


@pytest.mark.parametrize("exercise", available())
def test_the_verdict_is_the_one_of_a_notebook(exercise, wire):
    different = []
    for name, answers in [(name, answers) for one, name, answers in planted() if one == exercise]:
        SOURCES.clear()
        SOURCES.update({f.__name__: f for f in answers if inspect.isfunction(f)})
        here, there = check(exercise, *answers), check(exercise, *[wire.fetch(answer) for answer in answers])
        same_words = here.message == there.message or (exercise, name) in OTHER_WORDS
        if here.status != there.status or not same_words:
            different.append((name, here.status, here.message, there.status, there.message))
    assert not different


# ---- values ------------------------------------------------------------------------------------------------
def there_and_back(value):
    blobs = []
    return decode(json.loads(json.dumps(encode(value, blobs, lambda value: None))), blobs, refuse)


def refuse(node):
    raise Refused(str(node))


@pytest.mark.parametrize(
    "value",
    [None, True, ..., 7, 10**40, 0.1, float("inf"), 1 + 2j, "é", [1, [2.5, "a"]], (1,), {"a": {1: (2,)}},
     {1, 2}, range(1, 9, 2), torch.float16, np.arange(6.0).reshape(2, 3), np.float32(0.5)],
    ids=str,
)  # fmt: skip
def test_plain_values_come_back_as_they_were(value):
    back = there_and_back(value)
    assert type(back) is type(value)
    assert np.array_equal(back, value) if isinstance(value, np.ndarray) else back == value


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.int8, torch.bool]
)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_tensors_come_back_as_they_were(dtype, shape):
    value = (torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 9).to(dtype)
    back = there_and_back(value.T if value.dim() == 2 else value)
    assert back.dtype == dtype and torch.equal(back, value.T if value.dim() == 2 else value)
    assert not back.requires_grad and back.is_leaf


def test_a_subclass_stays_where_it_is():
    class Agrees(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return True

    class Seven(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    back = there_and_back([torch.zeros(3).as_subclass(Agrees), Seven(7)])
    assert type(back[0]) is torch.Tensor and torch.equal(back[0], torch.zeros(3))
    assert type(back[1]) is int and back[1] != 8


@pytest.mark.parametrize(
    "node, blobs",
    [
        ({"t": "tensor", "d": "torch.float32", "s": [10**9], "b": 0, "g": False, "p": False}, [b"1234"]),
        ({"t": "tensor", "d": "torch.float32", "s": [-1], "b": 0, "g": False, "p": False}, [b""]),
        ({"t": "tensor", "d": "torch.quint8", "s": [1], "b": 0, "g": False, "p": False}, [b"1"]),
        ({"t": "tensor", "d": "torch.float32", "s": [1], "b": 3, "g": False, "p": False}, [b"1234"]),
        ({"t": "array", "d": "|O", "s": [1], "b": 0}, [b"12345678"]),
        ({"t": "generator", "b": 0}, [b"too short"]),
        ({"t": "model", "v": 0}, []),
        ({"t": "is", "v": {"a": 1}}, []),
        ({"t": "dict", "v": [[{"t": "list", "v": []}, {"t": "is", "v": 1}]]}, []),
        ({"no": "type"}, []),
        ("text", []),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_value_is_refused(node, blobs):
    with pytest.raises(Refused):
        decode(node, blobs, refuse)


def test_lists_without_end_are_refused():
    node = {"t": "is", "v": None}
    for _ in range(60):
        node = {"t": "list", "v": [node]}
    with pytest.raises(Refused):
        decode(node, [], refuse)


# ---- frames ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "raw",
    [
        b"garbage, and more of it",
        struct.pack("<III", 0x5EED, 7, 0) + b"no JSON",
        struct.pack("<III", 0x5EED, 2, 0) + b"[]",
        struct.pack("<III", 0x5EED, LARGEST + 1, 0),
        struct.pack("<III", 0x5EED, 2, 10**6) + b"{}",
        struct.pack("<III", 0x5EED, 2, 1) + b"{}" + struct.pack("<Q", 2**60),
        struct.pack("<III", 0x5EED, 200_000, 0) + b"[" * 200_000,
    ],
    ids=range(7),
)
def test_what_is_no_frame_is_refused(raw):
    here, there = socket.socketpair()
    there.sendall(raw)
    there.close()
    with pytest.raises(Refused):
        Frames(here).receive()


def test_a_deadline_holds_however_often_the_other_side_answers():
    wire = Loopback()
    wire.judge.table[1] = lambda: 0

    def asks_for_ever():
        while True:
            _Function(wire.student, 1, "f")()

    answer = wire.fetch(asks_for_ever)
    wire.frames.deadline = time.monotonic() + 0.3
    with pytest.raises(TimeoutError):
        answer()
    wire.close()


def test_only_what_was_lent_can_be_called():
    here, there = socket.socketpair()
    student, judge = Peer(Frames(there), trusts=True), Peer(Frames(here), trusts=False)
    student.frames.send(
        {"op": "call", "id": 99, "a": [], "k": [], "grad": True, "tape": False, "measure": []}, []
    )
    with pytest.raises(Refused, match="a call that cannot be read"):
        judge.wait()


# ---- calls -------------------------------------------------------------------------------------------------
def test_gradients_flow_through_a_call_in_both_directions(wire):
    x = torch.rand(2, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    answer = wire.fetch(lambda inner, x: (inner(x) * x).sum())
    (slope,) = torch.autograd.grad(answer(torch.sin, x), x)
    assert torch.allclose(slope, (x.cos() * x + x.sin()).detach())


def curved(A):
    weight = torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(4, 5)
    return torch.tanh(A @ weight.T)


FIRST = {
    "jacrev": lambda f, x: torch.func.jacrev(f)(x),
    "grad": lambda f, x: torch.func.grad(lambda a: f(a)[:, 1].sum())(x),
    "vjp": lambda f, x: torch.func.vjp(f, x)[1](torch.ones_like(f(x)))[0],
    "vmap": lambda f, x: torch.vmap(f)(x),
}
BEYOND = {
    "a second derivative": lambda f, x: torch.func.jacrev(torch.func.jacrev(lambda a: f(a).sum()))(x),
    "a derivative in forward mode": lambda f, x: torch.func.jacfwd(f)(x),
    "a gradient inside `vmap`": lambda f, x: torch.vmap(torch.func.grad(lambda a: f(a)[0]))(x),
}


@pytest.mark.parametrize("name", FIRST)
def test_first_derivatives_of_torch_func_cross(name, wire):
    x = torch.linspace(0, 1, 15, dtype=torch.float64).reshape(3, 5)
    assert torch.allclose(wire.fetch(FIRST[name])(curved, x), FIRST[name](curved, x))


@pytest.mark.parametrize("name", BEYOND)
def test_what_does_not_cross_says_so_and_is_no_number(name, wire):
    x = torch.linspace(0, 1, 15, dtype=torch.float64).reshape(3, 5)
    with pytest.raises(RuntimeError, match=f"torch.func: {name} does not cross"):
        wire.fetch(BEYOND[name])(curved, x)


def test_a_model_that_comes_back_is_the_judges_own_unless_it_was_changed(wire):
    model, met = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), []

    def answer(look, model):
        look(model)
        model[0].weight.data[0, 0] += 1
        look(model)

    wire.fetch(answer)(met.append, model)
    same, changed = met
    assert same is model and type(changed) is nn.Sequential and changed is not model
    assert torch.equal(changed[0].weight, met[0][0].weight)  # told when the call ended
    assert torch.equal(model[0].weight, changed[0].weight)


def test_a_network_that_comes_back_shows_its_rectifiers_its_mode_and_whose_weights_it_has(wire):
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.LeakyReLU())).eval()

    def answer(model):
        class Twice(nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner, self.own = inner, nn.Linear(2, 2)

            def forward(self, x):
                return self.inner(x) * 2

        made = Twice(model).eval()
        made.own.train()
        return made

    made = wire.fetch(answer)(model)
    kinds = {name: type(part).__name__ for name, part in made.named_modules() if isinstance(part, nn.ReLU)}
    assert kinds == {"inner.1.0": "ReLU"} and isinstance(made.get_submodule("inner.1.1"), nn.LeakyReLU)
    assert [name for name, part in made.named_modules() if part.training] == ["own"]
    mine = {p.data_ptr() for p in model.parameters()}
    assert {name for name, p in made.named_parameters() if p.data_ptr() in mine} == {
        "inner.0.weight",
        "inner.0.bias",
    }
    x = torch.ones(1, 2)
    assert torch.allclose(made(x), 2 * model(x))


@pytest.mark.parametrize(
    "node",
    [
        {"t": "given", "n": 1, "i": 0, "v": {"t": "dict", "v": []}, "train": [], "rg": []},
        {"t": "given", "n": 0, "i": 0, "v": {"t": "dict", "v": []}, "train": [], "rg": []},
        {"t": "like", "i": 3, "v": {"t": "dict", "v": []}, "train": True, "rg": [], "hooks": []},
        {"t": "lent", "v": 5, "k": "model", "n": "M", "parts": [["a.b", 6, "", True]], "shared": {}},
        {"t": "lent", "v": 5, "k": "model", "n": "M", "parts": [["a", 6]], "shared": {}},
        {"t": "lent", "v": 5, "k": "model", "n": "M", "shared": {"w": [0, "w"]},
         "state": {"t": "dict", "v": [[{"t": "is", "v": "w"}, {"t": "is", "v": None}]]}},
    ],
    ids=range(6),
)  # fmt: skip
def test_a_forged_model_is_refused(node):
    judge = Peer(Frames(socket.socketpair()[0]), trusts=False)
    with pytest.raises(Refused):
        judge.value(node, [], [], [])


def test_what_a_call_changes_is_changed_here(wire):
    x, model = torch.zeros(3), nn.Linear(2, 2)
    generator = torch.Generator().manual_seed(3)

    def careless(x, model, generator):
        x += 1
        model.train()
        model.weight.data.zero_()
        model.register_forward_hook(lambda *anything: None)
        return torch.rand(1, generator=generator)

    model.eval()
    drawn = wire.fetch(careless)(x, model, generator)
    assert torch.equal(x, torch.ones(3)) and model.training and not model.weight.any()
    assert len(model._forward_hooks) == 1
    again = torch.Generator().manual_seed(3)
    assert torch.equal(drawn, torch.rand(1, generator=again))
    assert torch.equal(generator.get_state(), again.get_state())


def test_what_the_judge_raises_comes_back_as_it_was(wire):
    class Mine(Exception):
        pass

    def raises():
        raise Mine("mine")

    with pytest.raises(Mine, match="mine"):
        wire.fetch(lambda inner: inner())(raises)
    with pytest.raises(ZeroDivisionError) as caught:
        wire.fetch(lambda: 1 / 0)()
    assert type(caught.value) is ZeroDivisionError


def test_a_model_keeps_what_the_student_wrote_on_it_until_it_changes(wire):
    def counts(model):
        model.seen = getattr(model, "seen", 0) + 1
        return model.seen

    model, answer = nn.Linear(2, 2), wire.fetch(counts)
    assert [answer(model), answer(model)] == [1, 2]
    with torch.no_grad():
        model.weight += 1
    assert answer(model) == 1
