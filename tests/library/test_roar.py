"""ROAR: what it trains is what one would train by hand, and it finds what it has to find."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.promises import assert_says, complaint
from xai_lib import digits
from xai_lib._roar import RANDOM, _ranks
from xai_lib.faithfulness import Roar, hide, roar


def seeded(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.GroupNorm(2, 6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 10),
    )


@pytest.fixture(scope="module")
def sets():
    images, labels = digits()
    images = images.double()
    return (images[:150], labels[:150]), (images[150:250], labels[150:250])


@pytest.fixture(scope="module")
def maps(sets):
    return {
        "ink": tuple(images[:, 0] for images, _ in sets),
        "rows": tuple(torch.arange(64.0).view(8, 8).expand(len(y), 8, 8) for _, y in sets),
    }


def by_hand(network, train, test, seed, epochs, rate, batch_size):
    """The plain loop, for one network."""
    torch.manual_seed(seed)
    model = network().to(train[0].device, train[0].dtype)
    steps = epochs * -(-len(train[1]) // batch_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for batch in torch.randperm(len(train[1]), generator=order).split(batch_size):
            loss = F.cross_entropy(model(train[0][batch]), train[1][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return (model(test[0]).argmax(1) == test[1]).double().mean()


@pytest.mark.parametrize("network", [perceptron, convolutional])
@pytest.mark.parametrize("together", [None, 1, 4, 100])
def test_networks_trained_together_are_those_trained_one_after_the_other(
    network, together, sets, maps, device
):
    """In double precision accuracies agree exactly: not one test image is judged otherwise."""
    train, test = (tuple(part.to(device) for part in one) for one in sets)
    rows = {"rows": tuple(one.to(device) for one in maps["rows"])}  # no two values are equal
    options = {"epochs": 2, "rate": 0.01, "batch_size": 32, "seeds": (7, 11)}
    result = roar(network, train, test, rows, fractions=(0, 0.4), together=together, **options)
    mean = train[0].mean((0, 2, 3))[:, None, None]
    options.pop("seeds")
    for s, seed in enumerate(result.seeds):
        for f, fraction in enumerate((0, 0.4)):
            seen = [
                (hide(images, heat, fraction, fill=mean), labels)
                for (images, labels), heat in zip((train, test), rows["rows"], strict=True)
            ]
            assert result.accuracy[0, f, s].cpu() == by_hand(network, *seen, seed, **options).cpu()


def test_each_row_is_a_map_each_column_a_fraction_and_random_comes_last(sets, maps):
    result = roar(perceptron, *sets, maps, fractions=(0, 0.5, 1), seeds=2, epochs=2, generator=seeded())
    assert isinstance(result, Roar)
    assert result.names == ("ink", "rows", RANDOM)
    assert result.accuracy.shape == (3, 3, 2) and result.mean.shape == result.spread.shape == (3, 3)
    assert torch.equal(result.fractions, torch.tensor([0, 0.5, 1], dtype=torch.float64))
    for f in (0, 2):  # nothing hidden, everything hidden: there is nothing to tell maps apart
        assert (result.accuracy[:, f] == result.accuracy[:1, f]).all()
    assert len(set(result.accuracy[:, 1].flatten().tolist())) > 2
    assert (result.accuracy[:, 2] < 0.25).all(), "a picture of one colour tells no class"
    torch.testing.assert_close(result.curve("rows"), result.accuracy[1].mean(1))
    torch.testing.assert_close(result.spread, result.accuracy.std(2))
    given = roar(perceptron, *sets, maps | {RANDOM: maps["ink"]}, fractions=(0.5,), seeds=1, epochs=1)
    assert given.names == ("ink", "rows", RANDOM)
    assert_says(complaint(lambda: given.spread), "seeds", "two")
    assert_says(complaint(lambda: given.curve("inc")), "name", "ink")


def test_one_generator_state_gives_one_result(sets, maps):
    flat = {"flat": tuple(torch.zeros_like(one) for one in maps["ink"])}
    options = {"fractions": (0.6,), "seeds": 2, "epochs": 2}
    first, again, other = (
        roar(perceptron, *sets, flat, generator=seeded(s), **options).accuracy for s in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_callers_random_state_and_sets_are_left_alone(sets, maps):
    before, images = torch.random.get_rng_state(), sets[0][0].clone()
    roar(perceptron, *sets, maps, fractions=(0.5,), seeds=1, epochs=1, generator=seeded())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(sets[0][0], images)


# ---------------------------------------------------------------------------------------- what it has to find


def linear_data(n, seed):
    """Sixteen numbers, of which the first four tell the class; as images of one row, and the true map."""
    generator = seeded(seed)
    labels = torch.randint(0, 2, (n,), generator=generator)
    x = torch.randn(n, 16, generator=generator)
    x[:, :4] += 1.5 * (2 * labels[:, None] - 1)
    truth = torch.zeros(n, 1, 16)
    truth[..., :4] = 1
    return x[:, None, None], labels, truth


def test_linear_data_with_four_informative_numbers_of_sixteen(device):
    """Without the four nothing can be learnt; without the twelve others nothing is lost."""
    (x, y, truth), (tx, ty, test_truth) = (
        [part.to(device) for part in linear_data(n, s)] for n, s in ((600, 1), (1000, 2))
    )

    def network():
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))

    options = {"seeds": 3, "epochs": 10, "rate": 0.02, "generator": seeded(0, device)}
    right = {"truth": (truth, test_truth), "opposite": (-truth, -test_truth)}
    removed = roar(network, (x, y), (tx, ty), right, fractions=(0, 0.25, 0.75), **options)
    whole, four, twelve = removed.curve("truth").tolist()
    assert whole > 0.98
    assert abs(four - 0.5) < 0.05 and abs(twelve - 0.5) < 0.05
    _, four, twelve = removed.curve("opposite").tolist()  # takes the twelve first
    assert four > 0.98 and twelve > 0.98
    middle = removed.curve(RANDOM)[2]
    assert 0.7 < middle < 0.97, "a quarter of the pixels, at random: one informative number on average"
    kept = roar(network, (x, y), (tx, ty), right, fractions=(0.25, 0.75), keep=True, **options)
    assert kept.curve("truth")[0] > 0.98 and abs(kept.curve("opposite")[1] - 0.5) < 0.05


def test_a_mask_that_follows_the_class_can_be_learnt_alone():
    """The map knows the label and nothing of the image: the control shows that the mask gives it away."""
    labels = torch.arange(400) % 2
    noise = torch.rand(400, 1, 4, 4, generator=seeded())
    telling = torch.rand(400, 4, 4, generator=seeded(1))
    telling[:, :, :2] += 2 * labels[:, None, None]
    telling[:, :, 2:] += 2 * (1 - labels[:, None, None])
    silent = torch.rand(400, 4, 4, generator=seeded(2))

    def network():
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))

    sets = (noise[:200], labels[:200]), (noise[200:], labels[200:])
    maps = {"telling": (telling[:200], telling[200:]), "silent": (silent[:200], silent[200:])}
    options = {"fractions": (0, 0.5), "seeds": 2, "rate": 0.02, "generator": seeded()}
    masks = roar(network, *sets, maps, mask_only=True, **options)
    assert masks.curve("telling")[1] == 1
    assert abs(masks.curve("silent")[1] - 0.5) < 0.12 and abs(masks.curve("telling")[0] - 0.5) < 0.12
    # Black, since a linear network cannot tell the mean from pixels that are so on the mean.
    images = roar(network, *sets, maps, fill=0.0, **options)
    assert images.curve("telling")[1] > 0.95, "hiding pixels made a problem without an answer easy"
    assert abs(images.curve("telling")[0] - 0.5) < 0.12


# ------------------------------------------------------------------------------------------------ the masking


def test_hide_takes_the_highest_ranks_and_fills_with_the_mean_of_each_channel(device):
    x = torch.rand(3, 2, 4, 5, generator=seeded()).to(device)
    heat = torch.rand(3, 4, 5, generator=seeded(1)).to(device)
    gone = hide(x, heat, 0.3)
    ranks = _ranks(heat, None)
    mean = x.mean((0, 2, 3))
    for i in range(3):
        hidden = ranks[i] < 6
        assert hidden.sum() == 6 and heat[i][hidden].min() > heat[i][~hidden].max()
        assert torch.equal(gone[i][:, ~hidden], x[i][:, ~hidden])
        torch.testing.assert_close(gone[i][:, hidden], mean[:, None].expand(2, 6))
    kept = hide(x, heat, 0.3, keep=True, fill=0.0)
    assert torch.equal(kept, torch.where((ranks < 6)[:, None], x, 0))
    assert torch.equal(hide(x, heat, 0), x) and torch.equal(hide(x, heat, 1, keep=True), x)
    assert torch.equal(hide(x, heat, 1, fill="grey"), torch.full_like(x, 0.5))
    colour = torch.tensor([0.1, 0.9], device=device)[:, None, None]
    assert torch.equal(hide(x, heat, 1, fill=colour), colour.expand_as(x))


def test_equal_values_are_ordered_by_chance_for_each_map_anew(device):
    """A map of zeros has no top rows, and no pixels that go first everywhere."""
    flat = torch.zeros(4000, 2, 3, device=device)
    ranks = _ranks(flat, seeded(0, device))
    assert torch.equal(ranks.flatten(1).sort(1).values, torch.arange(6, device=device).expand(4000, 6))
    first = (ranks == 0).float().mean(0)
    assert (first - 1 / 6).abs().max() < 0.025
    half = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]], device=device).expand(50, 2, 3)
    ranks = _ranks(half, seeded(0, device))
    assert (ranks[half == 1] < 3).all() and (ranks[half == 0] >= 3).all()
    assert torch.equal(ranks, _ranks(half, seeded(0, device)))
    heat = torch.tensor([[[0.5, -2.0], [3.0, 0.0]]], device=device)
    assert _ranks(heat, None).tolist() == [[[1, 3], [0, 2]]]


def test_train_and_test_are_filled_with_the_mean_of_the_training_set(sets):
    """A test set of another brightness: its own mean would be a tell-tale that training never saw."""
    (x, y), (tx, ty) = sets
    maps = {"rows": tuple(torch.arange(64.0).view(8, 8).expand(len(s), 8, 8) for s in (y, ty))}
    options = {"fractions": (0.5,), "seeds": 1, "epochs": 2, "batch_size": 32}
    dim = roar(perceptron, (x, y), (tx / 2, ty), maps, **options)
    mean = x.mean((0, 2, 3))[:, None, None]
    seen = (hide(x, maps["rows"][0], 0.5), y), (hide(tx / 2, maps["rows"][1], 0.5, fill=mean), ty)
    assert dim.accuracy[0, 0, 0] == by_hand(perceptron, *seen, 0, 2, 3e-3, 32)


# -------------------------------------------------------------------------------------------------- bad input

X, Y = torch.rand(8, 1, 4, 4), torch.arange(8) % 2
MAPS = {"a": (X[:, 0], X[:, 0])}


def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))


@pytest.mark.parametrize(
    "change, words, error",
    [
        ({"network": small()}, ["network", "function", "lambda"], TypeError),
        ({"network": lambda: 3}, ["network", "torch.nn.Module", "int"], TypeError),
        ({"network": (lambda same: lambda: same)(small())}, ["network", "same one"], ValueError),
        (
            {"network": lambda: nn.Sequential(nn.BatchNorm2d(1), small())},
            ["network", "'0'", "BatchNorm2d", "GroupNorm"],
            ValueError,
        ),
        (
            {"network": lambda: nn.Sequential(nn.InstanceNorm2d(1, track_running_stats=True), small())},
            ["network", "InstanceNorm2d"],
            ValueError,
        ),
        (
            {"network": lambda: nn.Sequential(small(), nn.Dropout(0.5))},
            ["network", "'1'", "Dropout"],
            ValueError,
        ),
        (
            {"network": lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 2))},
            ["network", "(1, 4, 4)"],
            ValueError,
        ),
        ({"network": nn.Flatten}, ["network", "no parameters"], ValueError),
        ({"network": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 1))}, ["labels", "1"], ValueError),
        ({"train": X}, ["train", "pair"], TypeError),
        ({"train": (X, Y[:5])}, ["train", "(5,)"], ValueError),
        ({"train": (X[:, 0], Y)}, ["train images", "4-D"], ValueError),
        ({"test": (X, Y + 3)}, ["test labels", "train", "4"], ValueError),
        ({"test": (X.double(), Y)}, ["test images", "dtype"], ValueError),
        ({"test": (X[..., :3], Y)}, ["test images", "shape"], ValueError),
        ({"heatmaps": X[:, 0]}, ["heatmaps", "dict"], TypeError),
        ({"heatmaps": {"a": X[:, 0]}}, ["heatmaps['a']", "pair"], TypeError),
        (
            {"heatmaps": {"a": (X[:, 0], X[:5, 0])}},
            ["heatmaps['a'][1]", "(8, 4, 4)", "(5, 4, 4)"],
            ValueError,
        ),
        ({"heatmaps": {"a": (X[:, 0] / 0, X[:, 0])}}, ["heatmaps['a'][0]", "finite"], ValueError),
        ({"fractions": (0.1, 0.1)}, ["fractions", "ascend"], ValueError),
        ({"fill": "blue"}, ["fill", "mean", "blue"], ValueError),
        ({"fill": torch.zeros(3, 1, 1)}, ["fill", "(3, 1, 1)"], ValueError),
        ({"keep": 1}, ["keep", "True"], TypeError),
        ({"mask_only": "yes"}, ["mask_only"], TypeError),
        ({"seeds": 0}, ["seeds", "0"], ValueError),
        ({"seeds": (1, 1)}, ["seeds", "different"], ValueError),
        ({"epochs": 0}, ["epochs"], ValueError),
        ({"rate": 0}, ["rate", "above 0"], ValueError),
        ({"batch_size": 0}, ["batch_size"], ValueError),
        ({"together": 0}, ["together"], ValueError),
        ({"generator": 1}, ["generator"], TypeError),
        ({"progress": 1}, ["progress"], TypeError),
        ({"rate": 1e38, "epochs": 20}, ["rate", "diverged"], ValueError),
    ],
)
def test_bad_input_is_named(change, words, error):
    given = {"network": small, "train": (X, Y), "test": (X, Y), "heatmaps": MAPS} | change
    assert_says(complaint(lambda: roar(**given), error=error), *words)


def test_randomness_inside_the_network_is_refused():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = small()

        def forward(self, x):
            return self.inner(x + torch.rand_like(x))

    message = complaint(lambda: roar(Noisy, (X, Y), (X, Y), MAPS))
    assert_says(message, "network", "one loop")
