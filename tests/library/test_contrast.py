"""Explaining a class against the others: derivatives, identities, and the lies that it takes away."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xai_lib import data, grad_cam, gradient, integrated_gradients, load_model, occlusion
from xai_lib._contrast import WAYS
from xai_lib.manipulation import contrast, lie_random, lie_sticker


@pytest.fixture(scope="module")
def pictures():
    return data.shapes(6, seed=77).images


class Given(nn.Module):
    """Logits that are the pixels, so that a derivative can be taken by hand."""

    def forward(self, x):
        return x.flatten(1)


def test_the_three_ways_are_their_formulas():
    y = 3 * torch.randn(4, 7, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    p = y.softmax(1)
    wanted = {"mean": y - y.mean(1, keepdim=True), "softmax": p.log(), "rest": p.log() - (1 - p).log()}
    for against in WAYS:
        torch.testing.assert_close(contrast(Given().eval(), against)(y[:, :, None, None]), wanted[against])


def test_against_the_rest_is_finite_where_the_model_is_sure():
    y = torch.tensor([[200.0, 0.0, 1.0], [0.0, -300.0, 1.0]], requires_grad=True)
    told = contrast(Given().eval(), "rest")(y[:, :, None, None])
    assert told[0, 0].item() == pytest.approx(200 - torch.tensor([0.0, 1.0]).logsumexp(0).item())
    assert told.isfinite().all()
    (slope,) = torch.autograd.grad(told.sum(), y)
    assert slope.isfinite().all()


@pytest.mark.parametrize("against", WAYS)
def test_derivatives_are_those_of_differences(against):
    y = torch.randn(3, 5, dtype=torch.double, generator=torch.Generator().manual_seed(1), requires_grad=True)
    model = contrast(Given().eval(), against)
    assert torch.autograd.gradcheck(lambda y: model(y[:, :, None, None]), y)


@pytest.mark.parametrize("against", WAYS)
def test_a_scalar_on_every_logit_has_no_slope(against):
    y = torch.randn(3, 5, dtype=torch.double, generator=torch.Generator().manual_seed(2))
    shift = torch.zeros(3, 1, dtype=torch.double, requires_grad=True)
    for c in range(5):
        told = contrast(Given().eval(), against)((y + shift)[:, :, None, None])[:, c]
        assert torch.autograd.grad(told.sum(), shift)[0].abs().max() < 1e-14


def test_against_the_mean_the_map_is_the_mean_of_differences(pictures):
    model, x = load_model("small_vgg").double(), pictures[:2].double()
    options = {"layer": model.cam_layer, "relu": False, "upsample": False}
    every = torch.stack([grad_cam(model, x, c, **options) for c in range(8)])
    torch.testing.assert_close(grad_cam(contrast(model), x, 3, **options), every[3] - every.mean(0))


def test_log_softmax_is_torchs(pictures):
    model, x = load_model("small_gap").double(), pictures.double()
    other = nn.Sequential(model, nn.LogSoftmax(1)).eval()
    torch.testing.assert_close(
        grad_cam(contrast(model, "softmax"), x, 2, layer=model.cam_layer),
        grad_cam(other, x, 2, layer=f"0.{model.cam_layer}"),
    )


def test_probabilities_stay_so_what_only_queries_is_not_touched(pictures):
    model, x = load_model("small_gap"), pictures[:2]
    for against in ("mean", "softmax"):
        torch.testing.assert_close(occlusion(contrast(model, against), x, 1), occlusion(model, x, 1))


def test_layers_keep_their_names_and_the_model_is_the_same(pictures):
    model = load_model("small_gap")
    told = contrast(model)
    assert (told.cam_layer, told.head, told.size) == (model.cam_layer, model.head, model.size)
    assert told.module is model
    grad_cam(told, pictures, layer=model.get_submodule(model.cam_layer))


def sticker():
    return torch.randint(0, 2, (3, 8, 8), generator=torch.Generator().manual_seed(1)).float()


@pytest.mark.parametrize("against", WAYS)
@pytest.mark.parametrize("network", ["small_vgg", "small_gap"])
def test_what_every_logit_gets_falls_out(network, against, pictures):
    model, x = load_model(network).double(), pictures.double()
    x[:, :, 16:24, 64:72] = sticker().double()
    liars = [
        lie_random(model, c_f=1e3, generator=torch.Generator().manual_seed(0)),
        lie_sticker(model, sticker(), c_f=1e3),
    ]
    honest, at = contrast(model, against), {"layer": model.cam_layer}
    for liar in liars:
        told = contrast(liar, against)
        for explain in (
            lambda m: grad_cam(m, x, 3, **at),
            lambda m: gradient(m, x, 3),
            lambda m: integrated_gradients(m, x[:2], 3, n_steps=4),
        ):
            torch.testing.assert_close(explain(told), explain(honest), rtol=1e-7, atol=1e-8)
        assert (grad_cam(liar, x, 3, **at) - grad_cam(model, x, 3, **at)).abs().max() > 0.5


def test_single_precision_leaves_a_residue_where_a_sum_of_shares_is_not_one(pictures):
    """Eight classes: their mean is a power of two's share, and cancels; the softmax's shares are rounded."""
    model, x = load_model("small_vgg"), pictures
    liar, at = lie_random(model, generator=torch.Generator().manual_seed(0)), {"layer": model.cam_layer}

    def away(against):
        pair = [grad_cam(contrast(m, against), x, 3, **at, relu=False) for m in (liar, model)]
        return ((pair[0] - pair[1]).abs().amax() / pair[1].abs().amax()).item()

    assert away("mean") < 1e-4
    assert away("softmax") > 1


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda m: contrast("model"), TypeError, "model must be a torch.nn.Module"),
        (lambda m: contrast(m, "median"), ValueError, "against must be one of"),
        (lambda m: contrast(m.train()), ValueError, "training mode"),
    ],
)
def test_bad_input_names_the_argument(call, error, says):
    with pytest.raises(error, match=says):
        call(load_model("small_gap"))


def test_a_difference_is_not_a_distance():
    """Two classes: every way tells the same story, up to a factor."""
    y = torch.tensor([[2.0, -1.0]])
    told = [contrast(Given().eval(), a)(y[:, :, None, None]) for a in WAYS]
    assert told[0][0].tolist() == pytest.approx([1.5, -1.5])
    assert told[2][0].tolist() == pytest.approx([3.0, -3.0])
    assert F.log_softmax(y, 1)[0].tolist() == pytest.approx(told[1][0].tolist())
