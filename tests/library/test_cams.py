"""Laws and promises of the CAM family; the comparison with other libraries is in tests/parity."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.architectures import Branches, Plain, Reused, Six, build, images, relative_error
from xai_lib import (
    box_from_heatmap,
    cam,
    grad_cam,
    grad_cam_plus_plus,
    guided_backprop,
    guided_grad_cam,
    hires_cam,
    iou,
    layer_cam,
    score_cam,
    shapes,
    xgrad_cam,
)

pytestmark = pytest.mark.filterwarnings("ignore:x has values from")  # exact answers need pixels beyond [0, 1]

LAYER, HEAD = "features.7", "head"  # of Plain
BY_GRADIENT = {
    "grad_cam": grad_cam,
    "grad_cam_plus_plus": grad_cam_plus_plus,
    "xgrad_cam": xgrad_cam,
    "layer_cam": layer_cam,
    "hires_cam": hires_cam,
}
BY_LAYER = BY_GRADIENT | {
    "score_cam": partial(score_cam, batch_size=3),
    "score_cam_channels": partial(score_cam, batch_size=3, weights="channels"),
    "guided_grad_cam": guided_grad_cam,
}
EVERY = BY_LAYER | {"cam": partial(cam, head=HEAD)}
by_gradient = pytest.mark.parametrize("explain", BY_GRADIENT.values(), ids=BY_GRADIENT)
by_layer = pytest.mark.parametrize("explain", BY_LAYER.values(), ids=BY_LAYER)
every_explainer = pytest.mark.parametrize("explain", EVERY.values(), ids=EVERY)


class Gap(nn.Module):
    """Feature maps of half the image's size, global average pooling, a linear head."""

    def __init__(self, pool=nn.AdaptiveAvgPool2d, bias=True):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
        self.pool, self.head = pool(1), nn.Linear(6, 4, bias=bias)

    def forward(self, x):
        return self.head(self.pool(self.features(x)).flatten(1))


class Flat(nn.Module):
    """A head that is linear in the feature maps and tells positions apart: images of 12 × 16 only."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(6 * 6 * 8, 4)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


def double(kind, device="cpu", **options):
    return build(kind, **options).to(device, torch.float64)


def pixels(n, size=(17, 21), device="cpu", seed=0):
    return images(n, size, seed, dtype=torch.float64, device=device)


# ------------------------------------------------------------------------------------------------ identities


def test_the_mean_of_cam_plus_the_bias_is_the_logit(device):
    model, x = double(Plain, device), pixels(4, device=device)
    target = torch.tensor([3, 0, 3, 1], device=device)
    shares = cam(model, x, target, layer=LAYER, head=HEAD, upsample=False)
    logits = model(x).detach().gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(shares.mean((1, 2)) + model.head.bias[target], logits, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(12, 16), (2, 6)])
def test_upsampling_by_a_whole_factor_keeps_the_mean(size, device):
    model, x = double(Gap, device), pixels(3, size, device=device)
    coarse = cam(model, x, 1, layer="features", head=HEAD, upsample=False)
    fine = cam(model, x, 1, layer="features", head=HEAD)
    assert coarse.shape == (3, size[0] // 2, size[1] // 2) and fine.shape == (3, *size)
    torch.testing.assert_close(fine.mean((1, 2)), coarse.mean((1, 2)), rtol=1e-12, atol=1e-12)


def test_upsampling_is_bilinear_between_cell_centres(device):
    model, x = double(Gap, device), pixels(1, (2, 4), device=device)
    (a, b) = cam(model, x, 0, layer="features", head=HEAD, upsample=False)[0, 0]
    row = torch.stack([a, 0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b, b])
    torch.testing.assert_close(cam(model, x, 0, layer="features", head=HEAD)[0], row.expand(2, 4))


@pytest.mark.parametrize("explain", [grad_cam, xgrad_cam, hires_cam])
def test_under_average_pooling_grad_cam_and_its_kin_are_cam_over_the_number_of_cells(explain, device):
    model, x = double(Plain, device), pixels(3, device=device)
    target = torch.tensor([0, 4, 2], device=device)
    shares = cam(model, x, target, layer=LAYER, head=HEAD, upsample=False)
    maps = explain(model, x, target, layer=LAYER, relu=False, upsample=False)
    assert relative_error(maps, shares / shares[0].numel()) < 1e-12


def test_hires_cam_is_complete_under_a_linear_head_and_grad_cam_is_not(device):
    model, x = double(Flat, device), pixels(5, (12, 16), device=device)
    target = torch.arange(5, device=device) % 4
    share = (model(x).detach() - model.head.bias.detach()).gather(1, target[:, None])[:, 0]
    settings = dict(layer="features.1", relu=False, upsample=False)
    assert relative_error(hires_cam(model, x, target, **settings).sum((1, 2)), share) < 1e-12
    assert relative_error(grad_cam(model, x, target, **settings).sum((1, 2)), share) > 0.1


def test_xgrad_cam_sums_to_what_hires_cam_sums_to(device):
    model, x = double(Branches, device), pixels(3, (19, 23), device=device)
    settings = dict(layer="act1", relu=False, upsample=False)
    ours, other = xgrad_cam(model, x, 2, **settings), hires_cam(model, x, 2, **settings)
    assert relative_error(ours.sum((1, 2)), other.sum((1, 2))) < 1e-12
    assert relative_error(ours, other) > 0.1  # the sums only


def test_layer_cam_is_hires_cam_where_no_gradient_is_negative(device):
    model, x = double(Flat, device), pixels(2, (12, 16), device=device)
    signed = relative_error(*(f(model, x, 1, layer="features.1") for f in (layer_cam, hires_cam)))
    with torch.no_grad():
        model.head.weight.abs_()
    positive = relative_error(*(f(model, x, 1, layer="features.1") for f in (layer_cam, hires_cam)))
    assert positive < 1e-12 and signed > 0.1


def test_formulas_worked_out_by_hand(device):
    """Two feature maps of 1 × 2 cells, [1, 3] and [2, 0], whose gradients are [2, −1] and [−4, 1]."""
    model = double(Gap, device)  # replaced piece by piece: the images are the feature maps
    maps = torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]], dtype=torch.float64, device=device)
    gradients = torch.tensor([[2.0, -1.0, -4.0, 1.0]], dtype=torch.float64, device=device)
    model.features, model.pool, model.head = nn.ReLU(), nn.Identity(), nn.Linear(4, 1, bias=False)
    model.head.weight = nn.Parameter(gradients)
    model.eval()

    def explained(explain):
        return explain(model, maps, 0, layer="features", relu=False)[0, 0].tolist()

    # means 1/2 and −3/2
    assert explained(grad_cam) == pytest.approx([0.5 * 1 - 1.5 * 2, 0.5 * 3])
    # positive gradients 2 and 1; alpha = 4 / (2·4 + 8·4) = 1/10 and 1 / (2·1 + 1·2) = 1/4
    assert explained(grad_cam_plus_plus) == pytest.approx([0.2 * 1 + 0.25 * 2, 0.2 * 3])
    # (1·2 − 3·1) / 4 and (−2·4 + 0) / 2
    assert explained(xgrad_cam) == pytest.approx([-0.25 * 1 - 4 * 2, -0.25 * 3])
    assert explained(layer_cam) == pytest.approx([2 * 1 + 0 * 2, 0 * 3 + 1 * 0])
    assert explained(hires_cam) == pytest.approx([2 * 1 - 4 * 2, -1 * 3 + 1 * 0])


def test_relu_comes_before_upsampling(device):
    model, x = double(Flat, device), pixels(4, (12, 16), device=device)
    signed = hires_cam(model, x, 2, layer="features", relu=False, upsample=False)
    assert (signed < 0).any() and (signed > 0).any()
    expected = F.interpolate(signed.clamp(min=0)[:, None], (12, 16), mode="bilinear")[:, 0]
    torch.testing.assert_close(hires_cam(model, x, 2, layer="features"), expected)


def test_guided_grad_cam_is_the_product(device):
    model, x = double(Branches, device), pixels(2, (19, 23), device=device)
    target = torch.tensor([6, 1], device=device)
    product = guided_backprop(model, x, target) * grad_cam(model, x, target, layer="act1")[:, None]
    torch.testing.assert_close(guided_grad_cam(model, x, target, layer="act1"), product)


# ------------------------------------------------------------------------------------------ constant models


@every_explainer
def test_dead_feature_maps_explain_nothing(explain, device):
    model, x = double(Plain, device), pixels(2, device=device)
    with torch.no_grad():
        model.features[6].weight.zero_()
        model.features[6].bias.fill_(-1)
    assert (explain(model, x, 1, layer=LAYER) == 0).all()


@every_explainer
def test_a_model_that_ignores_its_feature_maps_is_explained_by_zero(explain, device):
    model, x = double(Plain, device), pixels(2, device=device)
    with torch.no_grad():
        model.head.weight.zero_()
    heatmap = explain(model, x, 1, layer=LAYER)
    if getattr(explain, "func", None) is not score_cam:
        assert (heatmap == 0).all()
        return
    # Score-CAM's weights are all the same then: it shows the mean of the activations, whatever the class.
    assert (heatmap > 0).any() and heatmap.isfinite().all()
    if explain.keywords.get("weights") == "channels":
        torch.testing.assert_close(heatmap, explain(model, x, 3, layer=LAYER))


# ------------------------------------------------------------------------------------------------- Score-CAM


def score_cam_by_the_letter(model, x, target, layer, weights):
    """One image, one feature map at a time."""
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _i, output: kept.append(output))
    with torch.no_grad():
        model(x)
        handle.remove()
        (maps,) = kept
        scores = []
        for k in range(maps.shape[1]):
            mask = F.interpolate(maps[:, k : k + 1], x.shape[-2:], mode="bilinear")
            if mask.max() - mask.min() < 1e-12:
                scores.append(None)
                continue
            logits = model(x * (mask - mask.min()) / (mask.max() - mask.min()))[0]
            scores.append(logits.softmax(0)[target] if weights == "probability" else logits[target])
        live = [k for k, score in enumerate(scores) if score is not None]
        weight = torch.stack([scores[k] for k in live])
        if weights == "channels":
            weight = weight.softmax(0)
        return (weight[:, None, None] * maps[0, live]).sum(0).clamp(min=0)


@pytest.mark.parametrize("weights", ["probability", "channels"])
def test_score_cam_does_what_the_paper_says(weights, device):
    model, x = double(Plain, device), pixels(3, device=device)
    target = torch.tensor([4, 0, 2], device=device)
    with torch.no_grad():
        model.features[6].bias[:4] = -9.0  # dead
        model.features[6].weight[4] = 0.0  # constant
        model.features[6].bias[4] = 0.7
    ours = score_cam(model, x, target, layer=LAYER, weights=weights, upsample=False, batch_size=5)
    for i in range(3):
        expected = score_cam_by_the_letter(model, x[i : i + 1], target[i], LAYER, weights)
        assert relative_error(ours[i], expected) < 1e-12


def test_score_cam_costs_one_pass_for_each_image_and_each_live_map():
    model, x = double(Plain), pixels(3)
    with torch.no_grad():
        model.features[6].bias[:6] = -9.0
    with torch.no_grad():
        maps = model.features(x)
        live = int((maps.amax((2, 3)) > maps.amin((2, 3))).sum())
    assert 0 < live <= 3 * 10
    batches = []
    handle = model.register_forward_pre_hook(lambda _m, args: batches.append(len(args[0])))
    score_cam(model, x, layer=LAYER, batch_size=4)
    handle.remove()
    assert sum(batches) == 3 + live and max(batches) == 4
    assert len(batches) == 1 + -(-live // 4)  # every chunk but the last is full, across images


def test_score_cam_shows_its_progress(capsys):
    model, x = build(Plain), images(2)
    score_cam(model, x, layer=LAYER, progress=True)
    shown = capsys.readouterr().err
    assert "Score-CAM" in shown and "32/32" in shown  # two images of 16 maps, the skipped ones counted
    score_cam(model, x, layer=LAYER)
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------------------------------------------- promises


class NoWayBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise AssertionError("the backward pass went below the layer")


class Once(nn.Module):
    """Let the signal through, count the passes, and forbid a backward pass."""

    passes = 0

    def forward(self, x):
        self.passes += 1
        return NoWayBack.apply(x)


@by_gradient
def test_one_forward_pass_and_a_backward_pass_that_ends_at_the_layer(explain):
    model, x = build(Plain), images(4)
    guard = model.features[5] = nn.Sequential(nn.ReLU(), Once()).eval()
    x.requires_grad_()  # the images' own gradient is not asked for
    explain(model, x, torch.tensor([4, 0, 0, 2]), layer="features.6")
    assert guard[1].passes == 1 and x.grad is None
    with pytest.raises(AssertionError, match="below the layer"):
        explain(model, x, 1, layer="features.4")  # the guard itself works


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 3),
    height=st.integers(8, 20),
    width=st.integers(8, 20),
    name=st.sampled_from(list(EVERY)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    upsample=st.booleans(),
)
def test_shape_dtype_and_detachment(n, height, width, name, dtype, upsample):
    model, x = build(Plain).to(dtype), images(n, (height, width), dtype=dtype)
    options = {} if name == "guided_grad_cam" else {"upsample": upsample}
    heatmap = EVERY[name](model, x, 2, layer=LAYER, **options)
    cells = tuple(model.features(x).shape[-2:])
    shape = {"guided_grad_cam": (n, 3, height, width)}.get(
        name, (n, *((height, width) if upsample else cells))
    )
    assert heatmap.shape == shape
    assert heatmap.dtype == dtype and heatmap.device == x.device
    assert not heatmap.requires_grad and heatmap.isfinite().all()
    assert (heatmap >= 0).all() or name in ("cam", "guided_grad_cam")


# ------------------------------------------------------------------------------------------- which tensor


@by_layer
@pytest.mark.parametrize("layer", ["features.0", "features.4", "features.6"])
def test_in_place_rectifiers_behind_the_layer_change_nothing(explain, layer, device):
    plain, in_place = (build(Plain, inplace=inplace).to(device, torch.float64) for inplace in (False, True))
    x = pixels(2, device=device)
    assert relative_error(explain(in_place, x, 1, layer=layer), explain(plain, x, 1, layer=layer)) < 1e-12


@by_layer
def test_of_a_module_that_runs_several_times_the_last_run_is_explained(explain, device):
    x = pixels(2, device=device)
    ours = explain(double(Reused, device), x, 1, layer="act")
    assert relative_error(ours, explain(double(Plain, device), x, 1, layer=LAYER)) < 1e-12


def test_a_shared_module_has_all_its_names(device):
    model, x = double(Plain, device), pixels(2, device=device)
    model.features[7] = model.features[5]
    torch.testing.assert_close(
        grad_cam(model, x, 1, layer="features.7"), grad_cam(model, x, 1, layer="features.5")
    )


@every_explainer
def test_a_layer_may_be_a_module(explain):
    model, x = build(Plain), images(2)
    torch.testing.assert_close(
        explain(model, x, 1, layer=model.features[7]), explain(model, x, 1, layer=LAYER)
    )


def test_a_layer_that_passes_its_input_through_is_recorded_before_the_input_changes():
    class Alias(Plain):
        def __init__(self):
            super().__init__()
            self.same = nn.Identity()

        def forward(self, x):
            x = self.features(x)
            same = self.same(x)
            x.mul_(-1)
            return self.head(same.mean((2, 3)))

    model, plain, x = double(Alias), double(Plain), pixels(2)
    assert relative_error(grad_cam(model, x, 1, layer="same"), grad_cam(plain, x, 1, layer=LAYER)) < 1e-12


class Wrapped(nn.Module):
    """A wrapper that does something: it must not be taken off."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(1 - x)


@by_layer
@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, partial(torch.compile, backend="eager"), lambda m: nn.DataParallel(nn.DataParallel(m))],
)
def test_names_hold_inside_and_outside_of_wrappers(explain, wrap):
    model, x = build(Six), images(2)
    reference = explain(model, x, 1, layer=LAYER)
    wrapped = wrap(model).eval()
    (outside,) = (name for name, m in wrapped.named_modules() if m is model.features[7])
    for layer in (LAYER, outside):
        torch.testing.assert_close(explain(wrapped, x, 1, layer=layer), reference)
    torch.testing.assert_close(explain(model, x, 1, layer=outside), reference)


def test_a_wrapper_that_computes_stays_on():
    model, x = build(Plain), images(2)
    torch.testing.assert_close(
        grad_cam(Wrapped(model).eval(), x, 1, layer=LAYER), grad_cam(model, 1 - x, 1, layer=LAYER)
    )


# ---------------------------------------------------------------------------------------------------- errors


@every_explainer
def test_a_layer_that_never_runs_is_named(explain):
    model, x = build(Plain), images(2)
    model.spare = nn.Conv2d(3, 3, 1).eval()
    with pytest.raises(ValueError, match="layer 'spare' never ran"):
        explain(model, x, 1, layer="spare")


@by_layer
def test_a_layer_that_gives_no_tensor_is_named(explain):
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    class Tuples(Plain):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def forward(self, x):
            return self.head(self.pair(self.features(x))[0].mean((2, 3)))

    with pytest.raises(ValueError, match="'pair' gives no tensor"):
        explain(build(Tuples), images(2), 1, layer="pair")


@by_gradient
def test_a_layer_that_the_logits_do_not_depend_on_is_named(explain):
    class Aside(Plain):
        def __init__(self, detour):
            super().__init__()
            self.aside, self.detour = nn.Conv2d(3, 4, 1), detour

        def forward(self, x):
            aside = self.aside(x)
            logits = super().forward(x)
            return logits + aside.detach().mean() if self.detour else logits

    for detour in (False, True):
        with pytest.raises(ValueError, match="do not depend on layer 'aside'"):
            explain(build(Aside, detour=detour), images(2), 1, layer="aside")


class Hidden(nn.Module):
    """As many pooled maps as hidden units: shapes alone do not give away that CAM does not apply."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
        self.hidden, self.head = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.hidden(self.features(x).mean((2, 3))))


@pytest.mark.parametrize(
    "model, layer, head, message",
    [
        (build(Gap, pool=nn.AdaptiveMaxPool2d), "features", "head", "global average pooling"),
        (build(Gap), "features.0", "head", "global average pooling"),  # before its ReLU
        (build(Hidden), "features", "head", "global average pooling"),
        (build(Hidden), "features", "hidden", "global average pooling"),
        (build(Flat), "features", "head", "gives 6 maps, but head 'head' has 288 inputs"),
        (build(Gap), "features", "pool", "linear layer, but 'pool' is a AdaptiveAvgPool2d"),
        (build(Gap), "features", "haed", "did you mean 'head'"),
    ],
)
def test_cam_refuses_a_network_that_it_would_misread(model, layer, head, message):
    with pytest.raises(ValueError, match=message):
        cam(model, images(2, (12, 16)), 1, layer=layer, head=head)


def test_the_head_may_lack_a_bias_or_be_a_convolution():
    without, x = double(Gap, bias=False), pixels(2, (12, 16))
    shares = cam(without, x, 1, layer="features", head="head", upsample=False)
    torch.testing.assert_close(shares.mean((1, 2)), without(x)[:, 1].detach())

    linear, convolution = double(Gap), double(Gap)
    convolution.head = (
        nn.Sequential(nn.Unflatten(1, (6, 1, 1)), nn.Conv2d(6, 4, 1), nn.Flatten()).double().eval()
    )
    with torch.no_grad():
        convolution.head[1].weight.copy_(linear.head.weight[:, :, None, None])
        convolution.head[1].bias.copy_(linear.head.bias)
    torch.testing.assert_close(
        cam(convolution, x, 1, layer="features", head="head.1"),
        cam(linear, x, 1, layer="features", head="head"),
    )


def test_score_cams_own_options_are_checked():
    model, x = build(Plain), images(2)
    for options, message in [
        ({"batch_size": 0}, "batch_size"),
        ({"weights": "channel"}, "did you mean 'channels'"),
    ]:
        with pytest.raises(ValueError, match=message):
            score_cam(model, x, layer=LAYER, **options)


# ----------------------------------------------------------------------------------------------------- boxes


def test_the_box_of_a_mask_is_the_box_that_the_data_gives(device):
    data = shapes(24, size=64, seed=3, device=device)
    boxes = box_from_heatmap(data.masks.float(), 0.5)
    assert boxes.device == data.boxes.device and boxes.dtype == torch.int64
    # A very thin outline can fall apart into pieces that touch at corners only; its box is then smaller.
    assert iou(boxes, data.boxes).mean() > 0.99 and (boxes == data.boxes).all(1).sum() >= 22


def test_the_largest_region_wins_not_the_hottest():
    heatmap = torch.zeros(10, 12)
    heatmap[1:3, 2:9] = 0.25  # 14 cells
    heatmap[5:8, 8:11] = 1.0  # 9 cells
    assert box_from_heatmap(heatmap, 0.2).tolist() == [2, 1, 9, 3]
    assert box_from_heatmap(heatmap, 0.3).tolist() == [8, 5, 11, 8]
    assert box_from_heatmap(7 * heatmap, 0.25).tolist() == [2, 1, 9, 3]  # the threshold itself is warm


def test_regions_that_touch_at_a_corner_only_are_two():
    heatmap = torch.eye(5)
    heatmap[3, 4] = 1.0
    assert box_from_heatmap(heatmap).tolist() == [3, 3, 5, 5]


def test_a_map_without_positive_values_has_an_empty_box():
    heatmaps = torch.stack([torch.zeros(4, 4), -torch.ones(4, 4), torch.ones(4, 4)])
    assert box_from_heatmap(heatmaps).tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 4, 4]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), threshold=st.floats(0.05, 1.0))
def test_boxes_are_the_same_alone_and_in_a_batch(seed, threshold):
    heatmaps = F.avg_pool2d(torch.randn(4, 9, 13, generator=torch.Generator().manual_seed(seed)), 3, stride=1)
    boxes = box_from_heatmap(heatmaps, threshold)
    assert torch.equal(boxes, torch.stack([box_from_heatmap(h, threshold) for h in heatmaps]))
    for (x0, y0, x1, y1), h in zip(boxes.tolist(), heatmaps, strict=True):
        inside = h[y0:y1, x0:x1] >= threshold * h.max()
        assert inside.any(0).all() and inside.any(1).all()  # tight: no empty row or column


@pytest.mark.parametrize("threshold", [0, 1.1, -0.2, float("nan"), "0.2", None])
def test_a_bad_threshold_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        box_from_heatmap(torch.ones(4, 4), threshold)


def test_a_bad_heatmap_is_refused():
    for heatmap in (torch.ones(4), torch.ones(1, 1, 4, 4), torch.ones(0, 4), torch.tensor([[float("nan")]])):
        with pytest.raises(ValueError, match="heatmap"):
            box_from_heatmap(heatmap)
    with pytest.raises(TypeError, match="heatmap must be a tensor"):
        box_from_heatmap([[1.0]])


def test_intersection_over_union(device):
    a = torch.tensor([[0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 0, 0]], device=device)
    b = torch.tensor([[0, 0, 4, 4], [2, 2, 6, 6], [4, 0, 8, 4], [1, 1, 3, 3], [0, 0, 0, 0]], device=device)
    torch.testing.assert_close(iou(a, b), torch.tensor([1, 4 / 28, 0, 4 / 16, 0], device=device))
    torch.testing.assert_close(iou(a, b), iou(b, a))
    assert iou(a[:, None], b[:3]).shape == (5, 3)
    assert iou(a[0], b).shape == (5,)
    assert iou(a.double(), b).dtype == torch.float64
    with pytest.raises(ValueError, match="broadcast"):
        iou(a, b[:3])
    with pytest.raises(ValueError, match="boxes_b"):
        iou(a, b[:, :3])
