"""Weights drawn anew: which, in what order, how often; and what the test says of maps that ignore them."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from xai_lib import data, grad_cam, gradient, guided_backprop, load_model
from xai_lib.randomisation import (
    complexity,
    complexity_rise,
    data_randomisation,
    randomisation_test,
    randomised,
    shuffle_weights,
)
from xai_lib.similarity import rank_correlation

LAYERS = ["features.0", "features.3", "features.6", "features.9", "features.11"]
LAYERS += ["classifier.0", "classifier.2"]


def seed(number=0, device="cpu"):
    return torch.Generator(device).manual_seed(number)


@pytest.fixture(scope="module")
def pictures():
    return data.shapes(6, seed=5).images


def changed(model, other):
    """The names of the layers whose weights differ."""
    state = other.state_dict()
    found = [k for k, v in model.state_dict().items() if not torch.equal(v, state[k])]
    return list(dict.fromkeys(name.rsplit(".", 1)[0] for name in found))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("cascade", [LAYERS[-k:] for k in range(1, 8)]),
        ("bottom_up", [LAYERS[:k] for k in range(1, 8)]),
        ("independent", [[name] for name in LAYERS[::-1]]),
    ],
)
def test_each_copy_has_these_layers_drawn(order, expected, device):
    model = load_model("small_vgg", device)
    before = copy.deepcopy(model)
    copies = list(randomised(model, order=order, generator=seed()))
    assert [changed(model, m) for _, m in copies] == expected
    assert [name for name, _ in copies] == (LAYERS if order == "bottom_up" else LAYERS[::-1])
    assert changed(model, before) == []
    assert not any(m.training for _, copied in copies for m in copied.modules())
    assert {p.device.type for _, m in copies for p in m.parameters()} == {device.type}


def test_what_was_drawn_stays_drawn_and_layers_get_seeds_of_their_own():
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3))
    model = nn.Sequential(model, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    copies = dict(randomised(model, size=8, generator=seed()))
    assert torch.equal(copies["0.1"][0][2].weight, copies["0.0"][0][2].weight)
    drawn = copies["0.0"][0]
    assert not torch.equal(
        drawn[0].weight, drawn[1].weight
    )  # layers of one shape, one seed: the same weights
    bound = 27**-0.5
    assert all(0.9 * bound < layer.weight.abs().max() <= bound for layer in drawn)  # torch's own rule


def test_the_order_is_that_of_running_not_of_registering():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.conv = nn.Linear(4, 2), nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.head(self.conv(x).mean((2, 3)))

    assert [name for name, _ in randomised(Turned().eval(), generator=seed())] == ["head", "conv"]


def tiny_transformer(device="cpu"):
    torch.manual_seed(0)
    model = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=8, num_classes=5)
    for weights in model.parameters():
        nn.init.normal_(weights)
    return model.eval().to(device)


def test_weights_that_are_read_and_not_run_have_their_place(device):
    model = tiny_transformer(device)
    copies = list(randomised(model, order="bottom_up", size=32, draw=shuffle_weights, generator=seed()))
    names = [name for name, _ in copies]
    layer = "encoder.layers.encoder_layer_0"
    assert names[:4] == ["", "conv_proj", "encoder", f"{layer}.ln_1"]  # class token, patches, positions
    # The attention's output is read by the attention; both stand where the attention begins.
    inside = [f"{layer}.self_attention", f"{layer}.self_attention.out_proj"]
    assert names[4:7] == [*inside, f"{layer}.ln_2"] and names[-1] == "heads.head"
    assert sorted(names) == sorted(n for n, m in model.named_modules() if list(m.parameters(recurse=False)))
    before = model
    for name, copied in copies:  # each step changes this layer and no other, and keeps the values
        now, was = copied.get_submodule(name), before.get_submodule(name)
        assert changed(before, copied) == [name] or name == ""
        for new, old in zip(now._parameters.values(), was._parameters.values(), strict=True):
            if new is not None:
                assert not torch.equal(new, old)
                assert torch.equal(new.flatten().sort()[0], old.flatten().sort()[0])
        before = copied
    again = [m for _, m in randomised(model, size=32, draw=shuffle_weights, generator=seed())][-1]
    assert (
        changed(again, [m for _, m in randomised(model, size=32, draw=shuffle_weights, generator=seed())][-1])
        == []
    )


def test_a_head_for_training_alone_is_left_out():
    class Helped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.helper, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), nn.Linear(4, 2)
            self.head.bias.requires_grad_(False)

        def forward(self, x):
            y = self.conv(x).mean((2, 3))
            return (self.head(y), self.helper(y)) if self.training else self.head(y)

    model = Helped().eval()
    assert [name for name, _ in randomised(model, size=8, generator=seed())] == ["head", "conv"]
    assert not model.head.bias.requires_grad and model.head.weight.requires_grad
    model.requires_grad_(False)
    with torch.no_grad():
        assert [name for name, _ in randomised(model, size=8, generator=seed())] == ["head", "conv"]
    assert [name for name, _ in randomised(model, size=8, generator=seed())] == ["head", "conv"]
    assert not any(p.requires_grad for p in model.parameters())


def test_the_test_of_a_transformer(pictures, device):
    model, x = tiny_transformer(device), pictures[:2, :, :32, :32].to(device)
    found = randomisation_test(
        model, gradient, x, similarities=("rank",), draw=shuffle_weights, generator=seed(0, device)
    )
    assert found.layers[0] == "heads.head" and found.values.shape == (1, 17, 1, 2)
    assert found.mean[0, -1, 0].abs() < 0.3


def test_draws_come_from_the_generator_alone():
    model = load_model("small_gap")
    state = torch.get_rng_state()
    first, second, third = (
        [m for _, m in randomised(model, generator=seed(number))][-1] for number in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert changed(first, second) == []
    assert len(changed(first, third)) == 6


def test_a_map_of_the_picture_passes_nothing_and_a_gradient_does(pictures, device):
    model, x = load_model("small_vgg", device), pictures.to(device)
    explainers = {"gradient": gradient, "guided": guided_backprop, "picture": lambda m, x, t: x}
    found = randomisation_test(model, explainers, x, generator=seed(0, device))
    assert found.values.shape == (3, 7, 4, 6)
    assert found.layers == LAYERS[::-1]
    rank = found.mean[:, :, found.similarities.index("rank of magnitudes")]
    assert torch.allclose(rank[2], torch.ones_like(rank[2]))
    assert rank[0, -1] < 0.3 < 0.4 < rank[0, 0]
    # Guided backpropagation hardly sees the upper layers drawn, and sees the lower ones (Adebayo et al.).
    assert (rank[1, :3] > rank[0, :3] + 0.2).all()
    assert rank[1, -1] < 0.5


def test_all_explainers_see_the_same_copy_and_each_map_is_made_once(pictures):
    model, calls = load_model("small_gap"), []

    def noting(name):
        def explain(model, x, target):
            calls.append((name, len(x), model.state_dict()["features.0.weight"].sum().item(), model))
            return gradient(model, x, target)

        return explain

    names = ("a", "b", "c")
    test = randomisation_test(model, {name: noting(name) for name in names}, pictures[:2], generator=seed())
    assert test.values.shape == (3, len(test.layers), 4, 2)  # four similarities of one map
    assert [name for name, *_ in calls] == list(names) * (1 + len(test.layers))
    for k in range(0, len(calls), 3):
        assert len({id(copied) for *_, copied in calls[k : k + 3]}) == 1
        assert len({weight for *_, weight, _ in calls[k : k + 3]}) == 1
    assert len({id(copied) for *_, copied in calls}) == 1 + len(test.layers)


def test_a_similarity_is_that_of_the_two_maps(pictures):
    model, x = load_model("small_gap"), pictures

    def explain(model, x, target):
        return grad_cam(model, x, target, layer="features.12")

    found = randomisation_test(model, explain, x, 3, order="independent", generator=seed())
    for row, (name, drawn) in enumerate(randomised(model, order="independent", size=112, generator=seed())):
        expected = rank_correlation(explain(model, x, 3), explain(drawn, x, 3))
        assert found.layers[row] == name
        assert torch.allclose(found.values[0, row, 0], expected)


def test_the_class_is_the_trained_networks_or_the_drawn_ones(pictures):
    model, asked = load_model("small_gap"), []

    def explain(model, x, target):
        asked.append((target.tolist(), model(x).argmax(1).tolist()))
        return gradient(model, x, target)

    randomisation_test(model, explain, pictures, similarities=("rank",), generator=seed())
    first = asked[0][0]
    assert all(target == first for target, _ in asked)
    asked.clear()
    randomisation_test(model, explain, pictures, own_class=True, similarities=("rank",), generator=seed())
    assert all(target == own for target, own in asked)
    assert len({tuple(target) for target, _ in asked}) > 1


def test_noise_is_the_same_for_both_networks_and_averages(pictures):
    model = load_model("small_gap")
    seen = []

    def explain(model, x, target):
        seen.append(x)
        return gradient(model, x, target)

    randomisation_test(model, explain, pictures, similarities=("rank",), noisy=3, sigma=0.2, generator=seed())
    assert len(seen) == 3 * (1 + 6)
    assert all(torch.equal(seen[k], seen[k % 3]) for k in range(len(seen)))
    spread = torch.stack([s - pictures for s in seen[:3]]).std()
    assert 0.19 < spread < 0.21


def test_complexity_by_hand(device):
    flat = torch.full((4, 4), 3.0, device=device)
    assert complexity(flat) == 0
    two = torch.tensor([[0.0, 1.0], [1.0, 0.0]], device=device)
    assert torch.allclose(
        complexity(torch.stack([two, flat[:2, :2]])).cpu(), torch.tensor([0.6931, 0.0]), atol=1e-4
    )
    even = torch.arange(100.0, device=device).reshape(10, 10)
    assert torch.allclose(complexity(even, bins=10).cpu(), torch.tensor(10.0).log())


def test_complexity_rises_where_the_network_mattered(pictures):
    model = load_model("small_vgg")
    assert (complexity_rise(model, lambda m, x, t: x, pictures, generator=seed()) == 0).all()
    rises = complexity_rise(model, gradient, pictures, generator=seed())
    assert rises.shape == (6,)
    assert (rises > 0).all()


def test_labels_are_shuffled_and_the_first_fit_has_the_right_ones():
    x, y = data.digits()
    x, y, given = x[:300], y[:300], []

    def fit(images, labels):
        given.append(labels)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
        optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
        for _ in range(50):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimiser.step()
        return model

    alike = data_randomisation(fit, (x, y), gradient, x[:20], y[:20], generator=seed())
    assert torch.equal(given[0], y)
    assert torch.equal(given[1].sort().values, y.sort().values)
    assert (given[1] != y).float().mean() > 0.8
    assert alike.shape == (20,)
    assert alike.mean() < 0.6


class Loose(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 3), nn.Parameter(torch.ones(4))

    def forward(self, x):
        return self.conv(x).mean((2, 3)) * self.scale


class Cut(Loose):
    def forward(self, x):
        return super().forward(x).detach()


def small():
    return load_model("small_gap")


class Shrinking:
    """An explanation whose second map is smaller than its first."""

    side = 112

    def __call__(self, model, x, target):
        self.side -= 8
        return x[..., : self.side]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda x: randomised("model"), TypeError, "model must be"),
        (lambda x: randomised(small().train()), ValueError, "training mode"),
        (lambda x: randomised(small(), order="top"), ValueError, "order must be"),
        (lambda x: randomised(small(), generator=3), TypeError, "generator must be"),
        (lambda x: randomised(Loose().eval()), ValueError, "pass draw=shuffle_weights"),
        (lambda x: randomised(Cut().eval()), ValueError, "weights that its logits depend on"),
        (lambda x: randomised(small(), draw="shuffle"), TypeError, "draw must be a function"),
        (lambda x: randomisation_test(small(), {}, x), ValueError, "explainers must hold"),
        (lambda x: randomisation_test(small(), "gradient", x), TypeError, "explainers must be functions"),
        (lambda x: randomisation_test(small(), gradient, x, 8), ValueError, "target must be below"),
        (
            lambda x: randomisation_test(small(), gradient, x, similarities=("l2",)),
            ValueError,
            "similarities",
        ),
        (lambda x: randomisation_test(small(), gradient, x, noisy=-1), ValueError, "noisy must be"),
        (lambda x: randomisation_test(small(), gradient, x, sigma=0), ValueError, "sigma must be"),
        (lambda x: randomisation_test(small(), lambda m, x, t: x[:1], x), ValueError, "a map for each"),
        (lambda x: randomisation_test(small(), Shrinking(), x), ValueError, "maps of one shape"),
        (lambda x: complexity(x[0], bins=1), ValueError, "bins must be"),
        (lambda x: complexity(x), ValueError, "heatmaps must be"),
        (lambda x: complexity_rise(small(), gradient, x[0]), ValueError, "x must be 4-D"),
        (
            lambda x: data_randomisation(None, (x, torch.zeros(2)), gradient, x, 0),
            ValueError,
            "train must be images and one label",
        ),
    ],
)
def test_bad_input_names_the_argument(call, error, says, pictures):
    with pytest.raises(error, match=says):
        call(pictures)
