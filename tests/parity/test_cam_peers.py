"""The CAM family agrees with Captum, torchcam and grad-cam, each asked for our conventions.

Where a peer cannot be asked, the comparison says what was done about it: small constants in its denominators
are made harmless by the scale of the network, and its scaling to [0, 1] is taken away or applied to ours too.
"""

import pytest
import pytorch_grad_cam.base_cam
import torch
import torchcam.methods
from captum.attr import GuidedGradCam, LayerGradCam
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from tests.architectures import (
    Branches,
    Functional,
    InPlace,
    Plain,
    Reused,
    Six,
    build,
    images,
    relative_error,
)
from xai_lib import (
    cam,
    grad_cam,
    grad_cam_plus_plus,
    guided_grad_cam,
    hires_cam,
    layer_cam,
    load_model,
    load_photo,
    normalize,
    score_cam,
    xgrad_cam,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*(backward hooks|gradients|ReLU).*:UserWarning")

over_precision = pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-5)], ids=["float64", "float32"]
)
# network, its layer, the twin with plain modules for the peers' hooks, the twin's layer, image size
NETWORKS = [
    pytest.param(Plain, "features.7", Plain, "features.7", (17, 21), id="plain"),
    pytest.param(Plain, "features.3", Plain, "features.3", (17, 21), id="an-early-layer"),
    pytest.param(InPlace, "features.6", Plain, "features.6", (17, 21), id="before-an-in-place-relu"),
    pytest.param(Reused, "act", Plain, "features.7", (18, 15), id="reused"),
    pytest.param(Functional, "features.3", Plain, "features.4", (17, 21), id="functional"),
    pytest.param(Branches, "act1", Branches, "act1", (19, 23), id="fully-connected"),
    pytest.param(Branches, "left", Branches, "left", (19, 23), id="one-branch"),
]
over_networks = pytest.mark.parametrize("kind, layer, twin, twin_layer, size", NETWORKS)


def targets(device):
    return torch.tensor([3, 0, 4, 3], device=device)


# ---------------------------------------------------------------------------------------------------- Captum


@over_precision
@over_networks
def test_grad_cam_is_captums(kind, layer, twin, twin_layer, size, dtype, tolerance, device):
    model, reference = build(kind).to(device, dtype), build(twin).to(device, dtype)
    x = images(4, size, dtype=dtype, device=device)
    captum = LayerGradCam(reference, reference.get_submodule(twin_layer))
    for target in (2, targets(device)):
        for relu in (True, False):
            expected = captum.attribute(x, target, relu_attributions=relu).detach()[:, 0]
            ours = grad_cam(model, x, target, layer=layer, relu=relu, upsample=False)
            assert relative_error(ours, expected) < tolerance
        upsampled = LayerGradCam.interpolate(
            captum.attribute(x, target, relu_attributions=True), size, "bilinear"
        )
        assert relative_error(grad_cam(model, x, target, layer=layer), upsampled.detach()[:, 0]) < tolerance


@over_precision
@over_networks
def test_guided_grad_cam_is_captums(kind, layer, twin, twin_layer, size, dtype, tolerance, device):
    model, reference = build(kind).to(device, dtype), build(twin).to(device, dtype)
    x = images(4, size, dtype=dtype, device=device)
    captum = GuidedGradCam(reference, reference.get_submodule(twin_layer))
    expected = captum.attribute(x.clone(), targets(device), interpolate_mode="bilinear").detach()
    assert relative_error(guided_grad_cam(model, x, targets(device), layer=layer), expected) < tolerance


def test_on_a_real_network_and_photographs(device):
    model = load_model("efficientnet_lite0", device)
    x = torch.cat([load_photo("cat"), load_photo("coffee")]).to(device)
    target = torch.tensor([282, 967], device=device)  # tiger cat, espresso
    layer = model.get_submodule(model.cam_layer)
    expected = LayerGradCam(model, layer).attribute(x, target, relu_attributions=True).detach()[:, 0]
    ours = grad_cam(model, x, target, layer=model.cam_layer, upsample=False)
    assert relative_error(ours, expected) < 1e-5
    with torchcam.methods.CAM(model, model.cam_layer, model.head) as extractor, torch.no_grad():
        model(x)
        (expected,) = extractor(target.tolist(), normalized=False)
    ours = cam(model, x, target, layer=model.cam_layer, head=model.head, upsample=False)
    assert relative_error(ours, expected) < 1e-5


# -------------------------------------------------------------------------------------------------- torchcam


@over_precision
@pytest.mark.parametrize("kind", [Plain, Six])
def test_cam_is_torchcams(kind, dtype, tolerance, device):
    model, x = build(kind).to(device, dtype), images(4, dtype=dtype, device=device)
    with torchcam.methods.CAM(model, "features.7", "head") as extractor, torch.no_grad():
        model(x)
        (expected,) = extractor(targets(device).tolist(), normalized=False)
    ours = cam(model, x, targets(device), layer="features.7", head="head", upsample=False)
    assert relative_error(ours, expected) < tolerance


class Stride(nn.Module):
    """Feature maps that are an odd whole number of times smaller than the image.

    Upsampling then meets every cell's centre: a mask scaled to [0, 1] before upsampling, as torchcam does, is
    the mask scaled after it, as the paper and we do. Large activations make its 1e-8 in that scaling
    harmless.
    """

    def __init__(self, factor=3, act=nn.ReLU, scale=1e4):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 10, factor, stride=factor), act())
        self.head, self.scale = nn.Linear(10, 5), scale

    def forward(self, x):
        return self.head(self.features(self.scale * (x - 0.5)).mean((2, 3)) / self.scale)


@over_precision
@pytest.mark.parametrize("factor", [1, 3, 5])
@pytest.mark.parametrize("act", [nn.Identity, nn.ReLU])
@pytest.mark.parametrize("batch_size", [4, 64])
def test_score_cam_is_torchcams(factor, act, batch_size, dtype, tolerance, device):
    model = build(Stride, factor=factor, act=act).to(device, dtype)
    x, target = images(4, (15, 30), dtype=dtype, device=device), targets(device)
    with torchcam.methods.ScoreCAM(model, "features", batch_size=batch_size) as extractor, torch.no_grad():
        model(x)
        (expected,) = extractor(target.tolist(), normalized=False)
    ours = score_cam(
        model, x, target, layer="features", weights="channels", upsample=False, batch_size=batch_size
    )
    if act is nn.ReLU:
        # Of a dead map torchcam makes a black image, and its logit a share of the softmax: a common factor.
        ours, expected = normalize(ours), normalize(expected)
    assert relative_error(ours, expected) < tolerance


@over_precision
@pytest.mark.parametrize(
    "explain, peer", [(xgrad_cam, torchcam.methods.XGradCAM), (layer_cam, torchcam.methods.LayerCAM)]
)
def test_second_opinion_of_torchcam(explain, peer, dtype, tolerance, device):
    model = scaled(build(Plain), 1e4).to(device, dtype)
    x = images(4, dtype=dtype, device=device)
    with peer(model, "features.7") as extractor:
        scores = model(x)
        (expected,) = extractor(targets(device).tolist(), scores, normalized=False)
    ours = explain(model, x, targets(device), layer="features.7", upsample=False)
    assert relative_error(ours, expected.clamp(min=0)) < tolerance


# -------------------------------------------------------------------------------------------------- grad-cam


def scaled(model, factor):
    """The same logits with feature maps so much larger, and gradients so much smaller."""
    with torch.no_grad():
        model.features[6].weight.mul_(factor)
        model.features[6].bias.mul_(factor)
        model.head.weight.div_(factor)
    return model


def to_unit_range(heatmap):
    heatmap = heatmap - heatmap.amin((1, 2), keepdim=True)
    return heatmap / heatmap.amax((1, 2), keepdim=True)


# Grad-CAM++ adds 1e-6 to squared gradients, XGrad-CAM 1e-7 to sums of activations: each is made large.
PEERS = [
    pytest.param(grad_cam, GradCAM, 1, id="grad_cam"),
    pytest.param(grad_cam_plus_plus, GradCAMPlusPlus, 1e-4, id="grad_cam_plus_plus"),
    pytest.param(xgrad_cam, XGradCAM, 1e4, id="xgrad_cam"),
    pytest.param(layer_cam, LayerCAM, 1, id="layer_cam"),
    pytest.param(hires_cam, HiResCAM, 1, id="hires_cam"),
]
over_peers = pytest.mark.parametrize("explain, peer, factor", PEERS)


@over_precision
@over_peers
def test_formulas_are_grad_cams(explain, peer, factor, dtype, tolerance, device, monkeypatch):
    monkeypatch.setattr(pytorch_grad_cam.base_cam, "scale_cam_image", lambda heatmap, size=None: heatmap)
    model = scaled(build(Plain), factor).to(device, dtype)
    x = images(4, dtype=dtype, device=device)
    wanted = [ClassifierOutputTarget(c) for c in targets(device).tolist()]
    with peer(model=model, target_layers=[model.features[7]]) as extractor:
        expected = torch.from_numpy(extractor(x, wanted)).to(device)
    ours = explain(model, x, targets(device), layer="features.7", upsample=False)
    assert relative_error(ours, expected) < tolerance


@over_peers
def test_heatmaps_are_grad_cams_once_scaled_to_unit_range(explain, peer, factor, device):
    """The whole way, OpenCV's upsampling included: on the unit range the order of the two does not matter."""
    model = scaled(build(Plain), factor).to(device)
    x = images(4, (24, 24), device=device)
    wanted = [ClassifierOutputTarget(c) for c in targets(device).tolist()]
    with peer(model=model, target_layers=[model.features[7]]) as extractor:
        expected = torch.from_numpy(extractor(x, wanted)).to(device)
    ours = to_unit_range(explain(model, x, targets(device), layer="features.7"))
    assert relative_error(ours, expected) < 1e-5
