"""Pictures whose map was moved, and the smooth networks that this needs."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from skimage.metrics import structural_similarity
from torch import nn

from xai_lib import (
    attacks,
    cams,
    data,
    grad_cam,
    gradient,
    gradient_x_input,
    integrated_gradients,
    load_model,
    occlusion,
)
from xai_lib.attacks import attack_input, softened, with_graph
from xai_lib.similarity import rank_correlation


def seed(device="cpu"):
    return torch.Generator(device).manual_seed(0)


@pytest.fixture(scope="module")
def pictures():
    return data.shapes(40, seed=31).images


def magnitudes(model, x, target=None):
    return gradient(model, x, target).abs().sum(1)


def likeness(a, b):
    pairs = zip(a.permute(0, 2, 3, 1).cpu().numpy(), b.permute(0, 2, 3, 1).cpu().numpy(), strict=True)
    return torch.tensor(
        [structural_similarity(*p, win_size=7, channel_axis=2, data_range=1.0) for p in pairs]
    )


class Rectified(nn.Module):
    """Every way to write a rectifier."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(7))
        self.relu, self.inplace, self.six = nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6()

    def forward(self, x):
        ways = [self.relu, self.inplace, self.six, F.relu, torch.relu, lambda z: z.relu(), F.relu6]
        for layer, rectify in zip(self.layers, ways, strict=True):
            x = rectify(layer(x) + 0.1)
        y = x - 0.05
        y.relu_()
        return y.mean((2, 3))


def by_hand(model, x, beta):
    for k, layer in enumerate(model.layers):
        z = layer(x) + 0.1
        x = F.softplus(z, beta) - (F.softplus(z - 6, beta) if k in (2, 6) else 0)
    return F.softplus(x - 0.05, beta).mean((2, 3))


def test_the_hard_functions_of_mobile_networks_are_made_smooth(device):
    x = torch.linspace(-6, 6, 49, dtype=torch.double, device=device).requires_grad_()
    six = (F.softplus(x + 3, 2.0) - F.softplus(x - 3, 2.0)) / 6
    for layer, expected in ((nn.Hardsigmoid(), six), (nn.Hardswish(), x * six)):
        smooth = softened(layer, 2.0)(x)
        assert torch.allclose(smooth, expected, atol=1e-12)
        assert torch.allclose(softened(layer, 1e4)(x), layer(x), atol=1e-4)
        (slope,) = torch.autograd.grad(smooth.sum(), x, create_graph=True)
        torch.autograd.grad(slope.sum(), x)  # the layer's own has no second derivative


def test_a_transformer_and_a_mobile_network_can_be_attacked(device):
    torch.manual_seed(0)
    tiny = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 8, num_classes=5)
    for weights in tiny.parameters():
        nn.init.normal_(weights, std=0.3)
    mobile = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Hardswish(), nn.Conv2d(8, 5, 3), nn.Hardsigmoid())
    mobile.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).to(device)
    for model in (tiny.eval().to(device), mobile.eval().to(device)):
        before = gradient(model, x).abs().sum(1).flatten(1)
        hot = before.topk(102, 1).indices
        attacked = attack_input(gradient, model, x, towards="top_k", share=0.1, steps=20, alike=0)
        after = gradient(model, attacked).abs().sum(1).flatten(1)
        share = [(m.gather(1, hot).sum(1) / m.sum(1)) for m in (before, after)]
        assert (share[1] < share[0]).all() and (model(attacked).argmax(1) == model(x).argmax(1)).all()


def test_every_kind_of_rectifier_is_made_smooth(device):
    torch.manual_seed(0)
    model = Rectified().double().to(device)
    x = torch.rand(2, 3, 5, 5, dtype=torch.double, device=device, requires_grad=True)
    smooth = softened(model, 3.0)
    assert torch.allclose(smooth(x), by_hand(model, x, 3.0), atol=1e-12)
    assert not torch.allclose(smooth(x), model(x), atol=1e-2)
    assert torch.allclose(softened(model, 1e5)(x), model(x), atol=1e-4)
    ours, theirs = (torch.autograd.grad(y.sum(), x)[0] for y in (smooth(x), by_hand(model, x, 3.0)))
    assert torch.allclose(ours, theirs, atol=1e-12)
    again = copy.deepcopy(smooth)  # a copy of a copy is smooth by weights of its own
    with torch.no_grad():
        smooth.layers[0].weight.zero_()
    assert torch.allclose(again(x), by_hand(model, x, 3.0), atol=1e-12)
    assert [n for n, _ in smooth.named_modules()] == [n for n, _ in model.named_modules()]


KINDS = pytest.mark.parametrize(("sharp", "smooth"), [(F.relu, F.softplus), (F.relu6, attacks._softplus6)])


@KINDS
def test_smooth_rectifiers_are_means_of_sharp_ones_under_logistic_noise(sharp, smooth):
    beta, z = 2.0, torch.linspace(-2, 8, 11, dtype=torch.double)
    u = torch.rand(400_000, 1, generator=seed(), dtype=torch.double)
    noise = (u / (1 - u)).log() / beta  # logistic
    standard_error = sharp(z - noise).std(0) / len(u) ** 0.5
    assert ((sharp(z - noise).mean(0) - smooth(z, beta)).abs() < 5 * standard_error).all()


@KINDS
def test_curvature_is_at_most_a_quarter_of_beta(sharp, smooth):
    z = torch.linspace(-3, 9, 2401, dtype=torch.double, requires_grad=True)
    slope = torch.autograd.grad(smooth(z, 7.0).sum(), z, create_graph=True)[0]
    curvature = torch.autograd.grad(slope.sum(), z)[0].abs()
    assert 0 <= slope.min() and slope.max() <= 1
    assert 0.99 * 7 / 4 < curvature.max() <= 7 / 4 + 1e-12


@pytest.mark.parametrize(
    "explain",
    [gradient, gradient_x_input, partial(integrated_gradients, n_steps=5, baseline=0.2)]
    + [
        partial(getattr(cams, name), layer="features.12", upsample=upsample)
        for name in ("grad_cam", "grad_cam_plus_plus", "xgrad_cam", "layer_cam", "hires_cam")
        for upsample in (True, False)
    ],
)
def test_with_a_graph_the_map_is_the_librarys(explain, pictures, device):
    model, x = load_model("small_vgg", device), pictures[:2].to(device)
    target = torch.tensor([1, 6], device=device)
    graphed = with_graph(explain)(model, x.clone().requires_grad_(), target)
    assert graphed.requires_grad
    assert torch.allclose(graphed.detach(), explain(model, x, target), atol=1e-5)


@pytest.mark.parametrize("network", ["small_vgg", "small_gap"])
def test_a_picture_with_the_same_answer_gets_another_map(network, pictures, device):
    model, x = load_model(network, device), pictures[[3, 5]].to(device)
    wanted = magnitudes(model, pictures[[7, 20]].to(device))
    before = copy.deepcopy(model.state_dict())
    attacked = attack_input(gradient, model, x, towards=wanted, steps=60, radius=0.03, generator=seed(device))
    logits, moved = model(x), model(attacked)
    target = logits.argmax(1)
    assert torch.equal(moved.argmax(1), target)
    assert (moved - logits).abs().max() < 0.4
    assert 0 <= attacked.min() and attacked.max() <= 1
    assert (attacked - x).abs().max() <= 0.03 + 1e-6
    assert (likeness(attacked, x) >= 0.95).all()
    near, far = (
        rank_correlation(magnitudes(model, attacked, target), m)
        for m in (wanted, magnitudes(model, x, target))
    )
    was = rank_correlation(magnitudes(model, x, target), wanted)
    assert (near > was + 0.3).all()
    assert (far < 0.7).all()
    smooth = softened(model, 3.0)  # the defence: smooth maps hardly move
    defended = rank_correlation(magnitudes(smooth, attacked, target), magnitudes(smooth, x, target))
    assert (defended > far + 0.15).all()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_the_hottest_pixels_cool_and_the_centre_moves(pictures, device):
    model, x = load_model("small_gap", device), pictures[[3, 5]].to(device)
    h = magnitudes(model, x)
    hottest = h.flatten(1).topk(int(0.05 * h[0].numel()), 1).indices

    def share(maps):
        return maps.flatten(1).gather(1, hottest).sum(1) / maps.sum((1, 2))

    cooled = attack_input(gradient, model, x, towards="top_k", steps=40, generator=seed(device))
    assert (share(magnitudes(model, cooled)) < 0.7 * share(h)).all()

    def centre(maps):
        rows = torch.arange(112.0, device=device)
        return torch.stack([(maps.sum(2) * rows).sum(1), (maps.sum(1) * rows).sum(1)], 1) / maps.sum(
            (1, 2)
        ).unsqueeze(1)

    shifted = attack_input(gradient, model, x, towards="centre_of_mass", steps=40, generator=seed(device))
    assert ((centre(magnitudes(model, shifted)) - centre(h)).norm(dim=1) > 3).all()


def test_a_cam_is_moved_on_its_own_grid(pictures, device):
    model, x = load_model("small_vgg", device), pictures[[3, 5]].to(device)
    explain = partial(grad_cam, layer="features.12", upsample=False)
    corner = torch.zeros(2, 112, 112, device=device)
    corner[:, :32, :32] = 1
    attacked = attack_input(explain, model, x, towards=corner, steps=60, generator=seed(device))
    target = model(x).argmax(1)
    assert torch.equal(model(attacked).argmax(1), target)

    def inside(x):
        maps = explain(model, x, target)
        return maps[:, :4, :4].sum((1, 2)) / maps.sum((1, 2))

    assert (inside(attacked) > 4 * inside(x)).all()
    assert inside(attacked).mean() > 0.15


def test_the_likeness_is_scikit_images(pictures, device):
    x = pictures[:3].to(device)
    draws = torch.randn(x.shape, generator=seed(device), device=device)
    other = (x + torch.tensor([0.01, 0.1, 0.5], device=device).view(3, 1, 1, 1) * draws).clamp(0, 1)
    found = attacks._similarity(other, x).cpu()
    assert torch.allclose(found, likeness(other, x).to(found), atol=1e-4)
    assert found[0] > 0.8 > 0.5 > found[2]


def test_busy_places_have_more_room_and_a_full_room_stays_alike(pictures):
    x = pictures[:8]
    for alike in (0.9, 0.97):
        room = attacks._room(x, alike)
        signs = torch.randint(2, x.shape, generator=seed()).mul(2).sub(1)
        # An even spread uses a third of the room's square, signs all of it, twice what there is.
        even = 2 * torch.rand(x.shape, generator=seed()) - 1
        assert (likeness(x + room * even, x) > alike - 0.005).all()
        assert (likeness(x + room * signs, x) < alike).all()
    flat = torch.full((1, 3, 20, 20), 0.5)
    assert torch.allclose(attacks._room(flat, 0.95), torch.tensor(0.1**0.5 * 0.03), rtol=1e-3)
    busy = flat + 0.2 * torch.randn(flat.shape, generator=seed())
    assert attacks._room(busy, 0.95).min() > 3 * attacks._room(flat, 0.95).max()


def test_a_file_of_eight_bits_is_attacked_as_it_is_stored(pictures):
    model, x = load_model("small_gap"), (pictures[[3]] * 255).round() / 255
    attacked = attack_input(
        gradient, model, x, towards="top_k", steps=30, alike=0.98, levels=255, generator=seed()
    )
    assert torch.allclose((attacked * 255).round() / 255, attacked, atol=1e-6)
    assert not torch.equal(attacked, x)
    assert likeness(attacked, x) >= 0.98


class Counting(nn.Module):
    """A network that counts its passes, also those of its copies."""

    passes = 0

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        Counting.passes += 1
        return self.model(x)


def test_map_and_logits_of_a_step_share_a_pass(pictures):
    model = softened(Counting(load_model("small_gap")).eval(), 10.0)
    x, target = pictures[[3]], torch.tensor([1])

    def elsewhere(model, x, target):
        return with_graph(gradient)(model, x * 0.5, target)

    for explain, passes in ((with_graph(gradient), 1), (elsewhere, 2)):
        Counting.passes = 0
        image = x.clone().requires_grad_()
        maps, logits = attacks._both(explain, model, image, target)
        assert Counting.passes == passes
        assert torch.allclose(logits, model(x), atol=1e-5)
        for result in (maps, logits):
            assert torch.autograd.grad(result.square().sum(), image, retain_graph=True)[0].abs().sum() > 0


def test_without_a_likeness_to_keep_it_is_the_published_loop(pictures, device):
    """By the mean over the pixels: where a slope is nearly zero, rounding decides on the sign of a step."""
    model, x = load_model("small_vgg", device), pictures[[3]].to(device)
    target, logits = model(x).argmax(1), model(x).detach()
    wanted = magnitudes(model, pictures[[7]].to(device))
    wanted = wanted / wanted.mean()
    draws = torch.rand(x.shape, generator=seed(device), device=device)
    image = (x + 0.003 * (2 * draws - 1)).clamp(0, 1).requires_grad_()
    descent = torch.optim.Adam([image], lr=2e-3)
    for step in range(3):
        smooth = softened(model, 10 * 10 ** (step / 3))
        maps = with_graph(gradient)(smooth, image, target).abs().sum(1)
        loss = (maps / maps.mean() - wanted).square().mean() + 0.01 * (smooth(image) - logits).square().sum()
        (image.grad,) = torch.autograd.grad(loss, image)
        descent.step()
        image.data = image.data.clamp(x - 0.03, x + 0.03).clamp(0, 1)
    options = {"towards": wanted, "steps": 3, "radius": 0.03, "alike": 0, "step_size": 2e-3, "keep": 0.01}
    found = attack_input(gradient, model, x, generator=seed(device), **options)
    assert (found - image).abs().mean() < 2e-4
    assert (found - x).abs().mean() > 3e-3


def test_where_the_answer_is_lost_the_logits_count_more(pictures):
    """Two classes as good as even: who moves the second one's map alone turns the answer."""
    model = load_model("small_gap")
    x = pictures[[3, 5]].mean(0, keepdim=True)
    with torch.no_grad():
        top, second = model(x).topk(2).indices[0].tolist()
        model.get_submodule(model.head).bias[second] += (model(x)[0, top] - model(x)[0, second]) - 0.02
    explain = partial(grad_cam, layer="features.12", upsample=False)
    corner = torch.zeros(1, 112, 112)
    corner[:, :32, :32] = 1
    options = {"towards": corner, "steps": 60, "generator": seed()}
    given = {keep: attack_input(explain, model, x, second, keep=keep, **options) for keep in (0, 1e-3)}
    assert torch.equal(given[0], x)
    assert not torch.equal(given[1e-3], x)
    assert model(given[1e-3]).argmax() == top


def test_draws_come_from_the_generator_and_an_impossible_attack_changes_nothing(pictures):
    model, x = load_model("small_gap"), pictures[[3]]
    first, second = (
        attack_input(gradient, model, x, towards="top_k", steps=10, generator=seed()) for _ in range(2)
    )
    assert torch.equal(first, second)
    own = magnitudes(model, x)  # it is there already: every step is worse
    assert torch.equal(attack_input(gradient, model, x, towards=own, steps=10, generator=seed()), x)


def net():
    return load_model("small_gap")


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda x: softened("model", 1.0), TypeError, "model must be"),
        (lambda x: softened(net(), 0), ValueError, "beta must be"),
        (lambda x: with_graph("gradient"), TypeError, "explain must be a function"),
        (lambda x: with_graph(partial(grad_cam, relu=True)), ValueError, "explain must name a layer"),
        (lambda x: with_graph(partial(integrated_gradients, tolerance=0.1)), ValueError, "fixed number"),
        (lambda x: attack_input(occlusion, net(), x, towards="top_k"), ValueError, "explain must give a map"),
        (lambda x: attack_input(gradient, net(), x, towards="away"), ValueError, "towards must be"),
        (lambda x: attack_input(gradient, net(), x, towards=x), ValueError, "towards must be"),
        (lambda x: attack_input(gradient, net(), x, towards=-x[:, 0]), ValueError, "towards must not be"),
        (lambda x: attack_input(gradient, net(), x, 9, towards="top_k"), ValueError, "target must be below"),
        (lambda x: attack_input(gradient, net(), x, towards="top_k", steps=0), ValueError, "steps must be"),
        (lambda x: attack_input(gradient, net(), x, towards="top_k", radius=0), ValueError, "radius must"),
        (lambda x: attack_input(gradient, net(), x, towards="top_k", share=2), ValueError, "share must be"),
        (lambda x: attack_input(gradient, net(), x, towards="top_k", keep=-1), ValueError, "keep must be"),
        (lambda x: attack_input(gradient, net(), x, towards="top_k", alike=2), ValueError, "alike must be"),
        (lambda x: attack_input(gradient, net(), x, towards="top_k", levels=0), ValueError, "levels must be"),
        (lambda x: attack_input(gradient, net().train(), x, towards="top_k"), ValueError, "training mode"),
    ],
)
def test_bad_input_names_the_argument(call, error, says, pictures):
    with pytest.raises(error, match=says):
        call(pictures[:2])
