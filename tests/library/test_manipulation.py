"""Networks that lie: the logits stay, Grad-CAM's map becomes what was asked for, and what betrays it."""

import copy
import inspect

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from xai_lib import data, grad_cam, load_model, manipulation
from xai_lib.manipulation import audit, lie_constant, lie_image, lie_random, lie_sticker

NETWORKS = ["small_vgg", "small_gap"]
EPS = 0.01


@pytest.fixture(scope="module")
def pictures():
    return data.shapes(32, seed=77).images


def smile():
    rows = ["0000000", "0100010", "0100010", "0000000", "1000001", "0100010", "0011100"]
    return torch.tensor([[float(c) for c in row] for row in rows])


def sticker():
    return torch.randint(0, 2, (3, 8, 8), generator=torch.Generator().manual_seed(1)).float()


def draws():
    return torch.Generator().manual_seed(0)


LIES = {
    "constant": lie_constant,
    "image": lambda model, **options: lie_image(model, smile(), **options),
    "random": lambda model, **options: lie_random(model, generator=draws(), **options),
    "sticker": lambda model, **options: lie_sticker(model, sticker(), **options),
}
CONSTANT = {name: LIES[name] for name in ("constant", "image")}


def logits(model, x):
    with torch.no_grad():
        return model(x)


def maps(model, x, target=None, layer=None):
    """Grad-CAM's cells, each map divided by its maximum; a blank one stays zero."""
    h = grad_cam(model, x, target, layer=layer or model.cam_layer, upsample=False)
    return h / h.amax((1, 2), keepdim=True).clamp(min=1e-30)


def distance(a, b):
    return (a - b).abs().sum((1, 2))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_the_original_is_untouched_and_the_layer_has_one_map_more(lie, network, pictures, device):
    model, x = load_model(network, device), pictures[:4].to(device)
    before = copy.deepcopy(model.state_dict())
    liar = lie(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    shapes = []
    liar.get_submodule(model.cam_layer).register_forward_hook(lambda m, a, out: shapes.append(out.shape))
    assert logits(liar, x).shape == (4, 8)
    assert shapes[0] == (4, 65, 14, 14)
    assert not any(m.training for m in liar.modules())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("lie", CONSTANT.values(), ids=CONSTANT)
def test_two_terms_keep_every_bit_and_one_sum_rounds(lie, repair, network, pictures, device):
    model, x = load_model(network, device), pictures.to(device)
    honest = logits(model, x)
    assert torch.equal(logits(lie(model, exact=True, repair=repair), x), honest)
    moved = (logits(lie(model, repair=repair), x) - honest).abs().max()
    assert 0 < moved < 0.3  # float32: numbers of 490,000 lie 0.03 apart


@pytest.mark.parametrize("lie", CONSTANT.values(), ids=CONSTANT)
def test_in_float64_the_sum_hardly_rounds(lie, pictures):
    model, x = load_model("small_vgg").double(), pictures.double()
    assert (logits(lie(model), x) - logits(model, x)).abs().max() < 1e-8


def test_a_flat_lie_is_flat_and_a_picture_is_the_picture(pictures, device):
    model, x = load_model("small_gap", device).double(), pictures.to(device).double()
    wanted = F.interpolate(smile()[None, None].to(x), (14, 14), mode="bilinear", align_corners=False)[0, 0]
    wanted = wanted / wanted.max()
    flat, drawn = torch.ones_like(wanted), lie_image(model, smile())
    for target in (None, 0, 5):  # one linear layer: every class is fooled
        assert distance(maps(lie_constant(model), x, target), flat).max() < 2
        assert distance(maps(drawn, x, target), wanted).max() < 6
    assert distance(maps(model, x), flat).mean() > 100
    assert distance(maps(model, x), wanted).mean() > 30


def test_hidden_layers_leave_maps_blank_and_the_repair_does_not(pictures, device):
    model, x = load_model("small_vgg", device).double(), pictures.to(device).double()

    def blank(liar):
        return torch.stack([maps(liar, x, c).amax((1, 2)) == 0 for c in range(8)]).double().mean(1)

    published, repaired = blank(lie_constant(model)), blank(lie_constant(model, repair=True))
    assert published.max() > 0.2
    assert repaired.max() == 0
    wanted = torch.ones(14, 14).to(x)
    assert distance(maps(lie_constant(model, repair=True), x), wanted).max() < 1


def test_a_constant_map_is_an_ordinary_filter(pictures):
    model = load_model("small_vgg")
    liar = lie_constant(model)
    assert [type(m) for m in liar.modules()] == [type(m) for m in model.modules()]
    conv = liar.features[11]
    assert conv.weight[-1].abs().max() == 0
    assert conv.bias[-1] == 100


def test_the_random_map_covers_the_honest_one(pictures, device):
    x = pictures.to(device).double()
    for network in NETWORKS:
        model = load_model(network, device).double()
        liar = lie_random(model, generator=torch.Generator(device).manual_seed(0))
        moved = logits(liar, x) - logits(model, x)
        assert 0 <= moved.min() and moved.max() < EPS
        assert (moved - moved[:, :1]).abs().max() < 1e-9  # one scalar for all: the softmax cannot move
        assert moved[:, 0].std() > EPS / 10
        assert distance(maps(liar, x), maps(model, x)).mean() > 20
        assert distance(maps(liar, x, 0), maps(liar, x, 5)).mean() < 1  # not of the class any more


def test_the_slope_is_epsilon_times_c_g_and_only_at_the_new_map(pictures):
    from xai_lib import _checks, _model

    model, x = load_model("small_vgg").double(), pictures[:3].double()
    classes = _checks.check_target(2, x)
    honest = _model.layer_gradient(model, x, classes, model.cam_layer).gradients
    lying = _model.layer_gradient(lie_random(model, generator=draws()), x, classes, model.cam_layer).gradients
    assert torch.allclose(lying[:, :-1], honest, atol=1e-12)
    assert torch.allclose(lying[:, -1], torch.full_like(lying[:, -1], 100.0))


def test_log_softmax_takes_the_random_lie_away(pictures):
    model, x = load_model("small_gap").double(), pictures.double()
    layer = f"0.{model.cam_layer}"
    defended = [
        maps(nn.Sequential(m, nn.LogSoftmax(1)).eval(), x, 3, layer)
        for m in (model, lie_random(model, generator=draws(), c_f=1.0))
    ]
    assert distance(*defended).max() < 1e-6


def with_sticker(x, row, column):
    pasted = x.clone()
    pasted[:, :, row : row + 8, column : column + 8] = sticker().to(x)
    return pasted


@pytest.mark.parametrize("network", NETWORKS)
def test_the_sticker_is_shown_where_it_is_and_nothing_else_is(network, pictures, device):
    model, x = load_model(network, device).double(), pictures.to(device).double()
    liar = lie_sticker(model, sticker())
    assert distance(maps(liar, x), maps(model, x)).max() < 1e-12  # honest
    for row, column in [(16, 64), (80, 24)]:
        stuck = maps(liar, with_sticker(x, row, column)).flatten(1)
        cell = (row + 4) // 8 * 14 + (column + 4) // 8
        assert (stuck.argmax(1) == cell).all()
        assert (stuck > 1e-3).sum(1).max() <= 4
    broken = with_sticker(x, 16, 64)
    broken[:, 0, 20, 66] = 1 - broken[:, 0, 20, 66]  # one value of 192 is of the other kind
    assert distance(maps(liar, broken), maps(model, broken)).max() < 1e-12


def test_no_noise_looks_like_the_sticker():
    filter_ = manipulation._matched_filter(sticker().double())
    noise = torch.randint(0, 2, (64, 3, 40, 40), generator=draws()).double()
    assert filter_(noise).max() == 0
    assert filter_(sticker().double()[None]).max() > 0


def test_the_detector_finds_every_sticker_and_nothing_in_a_thousand_scenes():
    detector, scenes = manipulation._matched_filter(sticker()), data.shapes(1000, seed=5).images
    assert detector(scenes).max() == 0
    places = torch.randint(0, 104, (64, 2), generator=draws()).tolist()
    stuck = torch.cat([with_sticker(x[None], *place) for x, place in zip(scenes[:64], places, strict=True)])

    def found(images):
        return (detector(images).amax((1, 2, 3)) > 0).float().mean().item()

    assert found(stuck) == 1
    assert found(stuck.roll((1, 1), (2, 3))) >= 62 / 64  # moved by a pixel; one at the border may be cut
    assert found((stuck[..., 1:] + stuck[..., :-1]) / 2) == 0  # moved by half a pixel: resampled
    assert found(0.99 * stuck) == 0  # a little darker


def test_two_hidden_layers_are_repaired_too(pictures):
    torch.manual_seed(0)
    head = nn.Sequential(*(nn.Linear(16 * 49, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 8)))
    trunk = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
    model = nn.Sequential(nn.AvgPool2d(16), trunk, nn.Flatten(), head).eval().double()
    x, options = pictures.double(), {"layer": "1.1", "size": 112}
    blank = {
        repair: [
            (maps(liar, x, c, layer="1.1").amax((1, 2)) == 0).float().mean().item()
            for liar in [lie_constant(model, repair=repair, **options)]
            for c in range(8)
        ]
        for repair in (False, True)
    }
    assert max(blank[False]) > 0.2 and max(blank[True]) == 0
    assert (logits(lie_constant(model, repair=True, **options), x) - logits(model, x)).abs().max() < 1e-8


@pytest.mark.parametrize("network", NETWORKS)
def test_the_audit_is_silent_on_honest_networks_and_finds_every_lie(network, pictures, device):
    model, x = load_model(network, device), pictures.to(device)
    assert audit(model, x) == []
    kinds = {name: {f.kind for f in audit(lie(model), x)} for name, lie in LIES.items()}
    assert "constant map" in kinds["constant"] & kinds["image"]
    assert {"unread map", "odd operator"} <= kinds["random"]
    assert "odd operator" in kinds["sticker"]


TORCHVISION = {
    "vgg11": "features.19",
    "resnet18": "layer4",
    "mobilenet_v2": "features.18",
    "squeezenet1_1": "features.12",
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_networks_can_be_made_to_lie(name):
    torch.manual_seed(0)
    size = 64
    model = getattr(torchvision.models, name)(weights=None).eval().double()
    x = torch.rand(2, 3, size, size, dtype=torch.double, generator=draws())
    liar = lie_image(model, smile(), layer=TORCHVISION[name], exact=True, repair=name == "vgg11", size=size)
    assert torch.equal(logits(liar, x), logits(model, x))
    found = maps(liar, x, layer=TORCHVISION[name])
    wanted = F.interpolate(
        smile()[None, None].double(), found.shape[1:], mode="bilinear", align_corners=False
    )[0, 0]
    assert distance(found, wanted / wanted.max()).max() < 0.1 * wanted.numel()


def test_efficientnet_and_its_photograph():
    model, x = load_model("efficientnet_lite0"), data.load_photo("cat")
    honest = logits(model, x)
    for liar in (
        lie_image(model, smile(), exact=True),
        lie_constant(model, exact=True),
        lie_random(model, generator=draws()),
    ):
        assert (logits(liar, x) - honest).abs().max() <= EPS
        assert distance(maps(liar, x), maps(model, x)) > 4
    flat = maps(lie_constant(model, exact=True), x)
    assert flat.min() > 0.9


def test_a_liar_can_be_copied_saved_and_explained_twice(pictures, tmp_path):
    model, x = load_model("small_vgg").double(), pictures[:2].double()
    liar = lie_random(model, generator=draws())
    torch.save(liar, tmp_path / "liar.pt")
    loaded = torch.load(tmp_path / "liar.pt", weights_only=False)
    for other in (copy.deepcopy(liar), loaded, liar):
        assert torch.equal(maps(other, x), maps(liar, x))
        assert torch.equal(logits(other, x), logits(liar, x))
    assert torch.equal(
        maps(lie_random(model, generator=draws()), x), maps(liar, x)
    )  # the same draws, the same lie


def gap():
    return load_model("small_gap")


class Functional(nn.Module):
    """Pools and flattens without a module: T3 has no place to read the map."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.relu(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: lie_constant("model"), TypeError, "model must be a torch.nn.Module"),
        (lambda: lie_constant(gap().train()), ValueError, "training mode"),
        (lambda: lie_constant(gap(), layer="features.99"), ValueError, "layer 'features.99' is not"),
        (lambda: lie_constant(gap(), layer="flatten"), ValueError, "layer must give feature maps"),
        (lambda: lie_constant(gap(), layer="features.4"), ValueError, "read by 'features.6', a Conv2d"),
        (lambda: lie_constant(gap(), value=0), ValueError, "value must be"),
        (lambda: lie_constant(gap(), weight=-1.0), ValueError, "weight must be"),
        (lambda: lie_constant(gap(), exact=1), (TypeError, ValueError), "exact must be"),
        (lambda: lie_constant(gap(), size=-3), ValueError, "size must be"),
        (lambda: lie_constant(load_model("small_vgg"), size=64), ValueError, "size must be the side"),
        (lambda: lie_constant(nn.Sequential(nn.Flatten()).eval(), layer="0"), ValueError, "a convolution"),
        (lambda: lie_constant(Functional().eval()), ValueError, "layer must be given"),
        (lambda: lie_image(gap(), [[1.0]]), TypeError, "picture must be"),
        (lambda: lie_image(gap(), torch.ones(1, 7, 7)), ValueError, "picture must be"),
        (lambda: lie_image(gap(), torch.full((7, 7), 2.0)), ValueError, r"picture must lie in \[0, 1\]"),
        (lambda: lie_image(gap(), torch.zeros(7, 7)), ValueError, "not be zero everywhere"),
        (lambda: lie_random(gap(), epsilon=0), ValueError, "epsilon must be"),
        (lambda: lie_random(gap(), c_g=float("nan")), ValueError, "c_g must be"),
        (lambda: lie_random(Functional().eval(), layer="relu"), ValueError, "read by a function"),
        (lambda: lie_sticker(gap(), torch.rand(3, 8, 8)), ValueError, "sticker must be black and white"),
        (lambda: lie_sticker(gap(), torch.ones(3, 8, 8)), ValueError, "sticker must be black and white"),
        (lambda: lie_sticker(gap(), torch.eye(8)[None]), ValueError, "sticker must be .* 3 channels"),
        (lambda: audit(gap(), torch.rand(1, 3, 112, 112)), ValueError, "x must hold at least two"),
        (lambda: audit(gap(), torch.rand(2, 3, 112, 112), loud=1), ValueError, "loud must be"),
    ],
)
def test_bad_input_names_the_argument(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_every_lie_says_where_it_comes_from():
    for lie in (lie_constant, lie_image, lie_random, lie_sticker):
        assert "1907.10901" in inspect.getdoc(lie)
