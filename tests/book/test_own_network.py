"""The page for readers with a network of their own: its code runs, and its table is true."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from xai_lib import cam, grad_cam, guided_backprop, models
from xai_lib.randomisation import randomised

PAGE = (Path(__file__).resolve().parents[2] / "book/own_network.md").read_text(encoding="utf-8")
CODE = re.findall(r"^```\{code-block\} python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
TABLE = [line for line in PAGE.splitlines() if line.startswith("| ")]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE[1:]]
NETWORKS = {  # the rows' names, with a network for each that they name
    "ResNet, RegNet": ("resnet18", "regnet_y_400mf"),
    "DenseNet": ("densenet121",),
    "Inception v3, GoogLeNet": ("inception_v3", "googlenet"),
    "MobileNetV3": ("mobilenet_v3_small",),
    "EfficientNet": ("efficientnet_b0",),
    "ConvNeXt": ("convnext_tiny",),
    "Swin": ("swin_t",),
    "Vision transformer": ("vit_b_32",),
}


def test_the_code_runs_from_top_to_bottom():
    torch.manual_seed(0)
    transformer = zoo.VisionTransformer(64, 16, 12, 2, 16, 8, num_classes=5)
    for weights in transformer.parameters():
        nn.init.normal_(weights, std=0.5)
    given = {"my_network": zoo.resnet18(weights=None), "my_transformer": transformer.eval()}
    given["x"] = torch.rand(2, 3, 64, 64)
    assert len(CODE) == 6
    for block in CODE:
        exec(compile(block, "own_network.md", "exec"), given)
    assert given["where"].shape == given["heatmap"].shape == (2, 64, 64)
    vit = given["vit"]
    assert grad_cam(vit, given["x"], layer=vit.cam_layer, relu=False).any()
    assert given["gap"].abs().max() < 0.1 and given["unlike"] > 0.1
    assert len(given["test"].layers) == 4 + 12 * 6 + 1


def yes(cell):
    return cell.split(":")[0].split(";")[0] in ("yes", "in part")


@pytest.mark.parametrize(
    ("row", "name"),
    [(row, name) for row in ROWS for name in NETWORKS.get(row[0], ())],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_table(row, name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    torch.manual_seed(0)
    net = zoo.get_model(name, weights=None, **options)
    for weights in net.parameters():  # a head of zeros would agree with everything
        if weights.dim() > 1 and not weights.any():
            nn.init.normal_(weights, std=0.1)
    model = models._wrap(name, net, zoo.get_model_weights(name).DEFAULT).eval()
    side = 224 if name == "vit_b_32" else 128
    x = torch.rand(1, 3, side, side)
    _, layer, can_cam, can_guide, can_draw = row
    named = re.findall(r"`([^`]+)`", layer)
    assert model.cam_layer.removeprefix("net.") in named or named == ["token_maps"]
    assert grad_cam(model, x, layer=model.cam_layer).max() > 0
    assert allowed(lambda: cam(model, x, layer=model.cam_layer, head=model.head)) == yes(can_cam)
    assert allowed(lambda: guided_backprop(model, x)) == yes(can_guide)
    assert allowed(lambda: randomised(model, size=side)) == yes(can_draw)


def allowed(call):
    try:
        call()
    except ValueError:
        return False
    return True


def test_every_row_is_tried_but_vggs_which_has_tests_of_its_own():
    assert [row[0] for row in ROWS if row[0] not in NETWORKS] == ["VGG"]
