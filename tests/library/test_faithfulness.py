"""Judges of faithfulness: curves checked by hand and by brute force, and what every judge promises."""

import copy
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from tests.architectures import Plain, build, images
from tests.promises import Counting, assert_as_found, assert_says, complaint, snapshot
from xai_lib import aopc, deletion, insertion
from xai_lib.faithfulness import Aopc, Curve, aopc_bounds

JUDGES = {
    "deletion": partial(deletion, steps=6),
    "insertion": partial(insertion, steps=6),
    "aopc": partial(aopc, steps=6, region=4, repeats=2),
}
every_judge = pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)


def seeded(device="cpu", seed=0):
    return torch.Generator(device).manual_seed(seed)


def maps_of(n, size=(17, 21), several=(), device="cpu", seed=0):
    return torch.rand(n, *several, *size, generator=torch.Generator().manual_seed(seed)).to(device)


class Weighted(nn.Module):
    """Logits [weights · pixels, 0]: what each pixel is worth is known exactly."""

    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", weights)  # (C, H, W)

    def forward(self, x):
        logit = (x * self.weights).sum((1, 2, 3))
        return torch.stack([logit, torch.zeros_like(logit)], 1)


def weighted(values, device="cpu"):
    weights = torch.as_tensor(values, dtype=torch.float64, device=device)
    return Weighted(weights[None] if weights.dim() == 2 else weights).eval()


# ------------------------------------------------------------------------------------------- curves by hand


def test_a_deletion_curve_by_hand(device):
    """Pixels worth 4, 3, 2, 1 of an image of ones: 10, 6, 3, 1, 0."""
    model, x = weighted([[1, 4], [3, 2]], device), torch.ones(1, 1, 2, 2, dtype=torch.float64, device=device)
    curve = deletion(model, x, 0, model.weights, steps=4, what="logit")
    assert curve.fractions.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curve.scores.tolist() == [[10, 6, 3, 1, 0]]
    assert curve.auc.tolist() == [(10 / 2 + 6 + 3 + 1 + 0 / 2) / 4]
    probability = deletion(model, x, 0, model.weights, steps=4)
    torch.testing.assert_close(probability.scores, curve.scores.sigmoid())
    other = deletion(model, x, 1, model.weights, steps=4)
    torch.testing.assert_close(other.scores, 1 - probability.scores)


def test_an_insertion_curve_by_hand(device):
    model, x = weighted([[1, 4], [3, 2]], device), torch.ones(1, 1, 2, 2, dtype=torch.float64, device=device)
    curve = insertion(model, x, 0, model.weights, steps=4, start=0.0, what="logit")
    assert curve.scores.tolist() == [[0, 4, 7, 9, 10]]
    half = insertion(model, x, 0, model.weights, steps=4, start=0.5, what="logit")
    assert half.scores.tolist() == [[5, 7, 8.5, 9.5, 10]]


def test_an_aopc_by_hand(device):
    """Drops of 0, 4, 7 over three terms: the first one counts."""
    model, x = weighted([[1, 4], [3, 2]], device), torch.ones(1, 1, 2, 2, dtype=torch.float64, device=device)
    judge = partial(aopc, model, x, 0, model.weights, region=1, steps=2, fill=0.0, what="logit")
    result = judge()
    assert result.scores.tolist() == [[10, 6, 3]] and result.fractions.tolist() == [0, 0.25, 0.5]
    assert result.value.item() == pytest.approx((0 + 4 + 7) / 3)
    assert judge(order="lerf").value.item() == pytest.approx((0 + 1 + 3) / 3)


def test_uniform_noise_is_fresh_for_each_region_and_averaged(device):
    """The mean noise is a half: a pixel worth w drops by w / 2, with the standard error of the repeats."""
    model = weighted([[1, 4], [3, 2]], device)
    x = torch.ones(1, 1, 2, 2, dtype=torch.float64, device=device)
    judge = partial(aopc, model, x, 0, model.weights, region=1, steps=4, what="logit")
    result = judge(repeats=4000, generator=seeded(device), batch_size=512)
    expected = torch.tensor([10, 8, 6.5, 5.5, 5], dtype=torch.float64, device=device)
    spread = torch.tensor([0, 16, 25, 29, 30], dtype=torch.float64, device=device).div(12 * 4000).sqrt()
    assert (result.scores[0] - expected).abs().le(5 * spread + 1e-12).all()
    once = judge(repeats=1, generator=seeded(device)).scores[0]
    steps = once.diff() / -torch.tensor([4, 3, 2, 1], dtype=torch.float64, device=device)  # 1 - noise
    assert ((steps > 0) & (steps < 1)).all() and len(steps.unique()) == 4


def test_one_repeat_after_another_gives_their_mean(device):
    model, x, maps = build(Plain).to(device), images(2, device=device), maps_of(2, device=device)
    judge = partial(aopc, model, x, 1, maps, steps=5, region=4)
    both = judge(repeats=2, generator=seeded(device))
    generator = seeded(device)
    order = torch.randperm(5 * 6, generator=generator, device=device)
    assert len(order) == 30
    noise = torch.rand(2, 3, 17, 21, generator=generator, device=device)
    alone = [judge(fill=noise[i], generator=seeded(device)).scores for i in range(2)]
    torch.testing.assert_close(both.scores, (alone[0] + alone[1]) / 2)


# ------------------------------------------------------------------------------------------------ identities


def test_the_exact_attribution_of_a_linear_model_has_the_steepest_of_all_curves(device):
    """All 720 orders of six pixels: none lies lower anywhere, and the inserted one higher."""
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(1, 2, 3, generator=generator, dtype=torch.float64).to(device)
    x = torch.rand(1, 1, 2, 3, generator=generator, dtype=torch.float64).to(device)
    model = Weighted(weights).eval()
    exact = (weights * x)[0]  # against zeros, each pixel's share of the logit
    orders = torch.tensor(list(permutations(range(6))), device=device)
    every = orders.double().view(1, -1, 2, 3)
    for what in ("logit", "probability"):
        options = {"steps": 6, "what": what, "batch_size": 512}
        best = deletion(model, x, 0, exact[None], **options)
        others = deletion(model, x, 0, every, **options)
        assert others.scores.shape == (1, 720, 7)
        assert (best.scores[:, None] <= others.scores + 1e-12).all()
        assert (best.auc[:, None] <= others.auc + 1e-12).all() and (best.auc < others.auc.median()).all()
        worst = deletion(model, x, 0, exact[None], order="lerf", **options)
        assert (worst.scores[:, None] >= others.scores - 1e-12).all()
        shown = insertion(model, x, 0, every, start=0.0, **options)
        assert (
            insertion(model, x, 0, exact[None], start=0.0, **options).auc >= shown.auc.amax(1) - 1e-12
        ).all()


@every_judge
def test_most_relevant_first_of_the_negated_map_is_least_relevant_first(judge, device):
    model, x = build(Plain).to(device), images(2, device=device)
    maps = maps_of(2, several=(2,), device=device).mul(4).round()  # with many ties
    least = judge(model, x, 1, maps, order="lerf", generator=seeded(device))
    torch.testing.assert_close(
        judge(model, x, 1, -maps, generator=seeded(device)).scores, least.scores, rtol=0, atol=0
    )
    assert not torch.equal(judge(model, x, 1, maps, generator=seeded(device)).scores, least.scores)


def test_what_is_deleted_from_the_image_is_inserted_into_the_fill(device):
    """Deleting the least relevant first passes through the same pictures, from the other end."""
    model, x, maps = (
        build(Plain).double().to(device),
        images(2, device=device).double(),
        maps_of(2).to(device),
    )
    shown = insertion(model, x, 1, maps, steps=7, start=0.3)
    gone = deletion(model, x, 1, maps, steps=7, fill=0.3, order="lerf")
    torch.testing.assert_close(shown.scores, gone.scores.flip(1))
    torch.testing.assert_close(shown.fractions, 1 - gone.fractions.flip(0))
    torch.testing.assert_close(shown.auc, gone.auc)


def test_the_area_under_a_constant_curve_is_the_constant(device):
    model = weighted(torch.zeros(5, 7), device)
    x = torch.rand(2, 1, 5, 7, dtype=torch.float64, device=device)
    for steps in (1, 4, 6, 35):  # 4 and 6 do not divide 35: the steps are unequal
        curve = deletion(model, x, 0, maps_of(2, (5, 7), device=device), steps=steps)
        torch.testing.assert_close(curve.auc, torch.full_like(curve.auc, 0.5))
        assert (curve.scores == 0.5).all()
    assert (aopc(model, x, 0, maps_of(2, (5, 7), device=device), region=2, steps=12).value == 0).all()


@pytest.mark.parametrize("fill", [0.0, 0.4, "mean", "grey", "blur"])
def test_the_ends_of_the_curves_are_the_image_and_the_fill(fill, device):
    from xai_lib._masking import check_fill, hidden_images

    model, x, maps = build(Plain).to(device), images(3, device=device), maps_of(3, device=device)
    target = torch.tensor([0, 3, 1], device=device)
    blank = hidden_images(check_fill(fill, x), x)
    with torch.no_grad():
        image, filled = (model(v).softmax(1).gather(1, target[:, None])[:, 0] for v in (x, blank))
    gone = deletion(model, x, target, maps, steps=5, fill=fill)
    shown = insertion(model, x, target, maps, steps=5, start=fill)
    part = aopc(model, x, target, maps, steps=30, region=4, fill=fill)
    for scores, first, last in (
        (gone.scores, image, filled),
        (shown.scores, filled, image),
        (part.scores, image, filled),  # all of the 5 × 6 regions
    ):
        torch.testing.assert_close(scores[:, 0], first)
        torch.testing.assert_close(scores[:, -1], last)


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 34, 35])
def test_every_step_hides_what_its_fraction_says(steps, device):
    """A model that counts: the score is the share of the pixels that are gone."""
    model = weighted(torch.full((5, 7), 1 / 35), device)
    x = torch.zeros(2, 1, 5, 7, dtype=torch.float64, device=device)
    curve = deletion(model, x, 0, maps_of(2, (5, 7), device=device), steps=steps, fill=1.0, what="logit")
    assert curve.fractions.shape == (steps + 1,) and curve.fractions.diff().gt(0).all()
    torch.testing.assert_close(curve.scores, curve.fractions.expand(2, -1))
    hidden = (35 * curve.fractions).tolist()
    assert [round(k) for k in hidden] == [int(np.floor(s * 35 / steps + 0.5)) for s in range(steps + 1)]


def test_regions_are_squares_from_the_upper_left_cut_off_at_the_border(device):
    x = torch.zeros(1, 1, 5, 7, dtype=torch.float64, device=device)
    places = torch.arange(6, device=device).view(2, 3)
    cell = places.repeat_interleave(3, 0).repeat_interleave(3, 1)[:5, :7]
    for lost in range(6):  # the mean of a cut-off region is over what there is of it
        model = weighted((cell == lost).double(), device)
        maps = torch.where(cell == lost, 0.3, 0.2)[None]
        scores = deletion(model, x, 0, maps, region=3, steps=6, fill=1.0, what="logit").scores[0]
        assert scores.tolist() == [0] + 6 * [int((cell == lost).sum())]


# ------------------------------------------------------------------------------------------------- the bounds


@pytest.mark.parametrize("steps", [3, 6])
@pytest.mark.parametrize("what", ["probability", "logit"])
def test_with_enough_beams_the_bounds_are_those_of_all_orders(steps, what, device):
    """Six regions: every order of them, tried as a map of its own."""
    model, x = build(Plain).double().to(device), images(2, (8, 12), dtype=torch.float64, device=device)
    options = {"region": 4, "steps": steps, "fill": 0.2, "what": what, "batch_size": 512}
    target = torch.tensor([0, 3], device=device)
    bounds = aopc_bounds(model, x, target, beams=20, **options)
    orders = torch.tensor(list(permutations(range(6))), dtype=torch.float64, device=device)
    every = orders.view(720, 2, 3).repeat_interleave(4, 1).repeat_interleave(4, 2).expand(2, -1, -1, -1)
    values = aopc(model, x, target, every, **options)
    torch.testing.assert_close(bounds.lower, values.value.amin(1))
    torch.testing.assert_close(bounds.upper, values.value.amax(1))
    shares = values.normalised(bounds)
    assert shares.shape == (2, 720)
    torch.testing.assert_close(shares.amin(1), torch.zeros(2).to(x))
    torch.testing.assert_close(shares.amax(1), torch.ones(2).to(x))


@pytest.mark.parametrize("beams", [1, 2, 7])
def test_the_maps_of_the_bounds_have_the_orders_found(beams, device):
    model, x = build(Plain).double().to(device), images(3, dtype=torch.float64, device=device)
    options = {"region": 5, "steps": 9, "fill": "mean"}
    bounds = aopc_bounds(model, x, None, beams=beams, **options)
    found = [aopc(model, x, None, maps, **options) for maps in (bounds.worst, bounds.best)]
    torch.testing.assert_close(found[0].value, bounds.lower)
    torch.testing.assert_close(found[1].value, bounds.upper)
    assert found[0].normalised(bounds).abs().max() < 1e-9
    chance = aopc(model, x, None, maps_of(3, several=(20,), device=device), **options)
    assert ((bounds.lower[:, None] < chance.value) & (chance.value < bounds.upper[:, None])).all()
    wide, narrow = (aopc_bounds(model, x, None, beams=b, batch_size=3, **options) for b in (beams, 1))
    torch.testing.assert_close(wide.upper, bounds.upper)
    assert (wide.upper >= narrow.upper - 1e-12).all() and (wide.lower <= narrow.lower + 1e-12).all()


def test_the_greedy_search_costs_a_pass_for_each_region_left():
    model = build(Counting)
    before = snapshot(model)
    aopc_bounds(model, images(2), 1, region=5, steps=9, fill=0.0, batch_size=1)
    assert model.passes == 2 * (1 + 2 * sum(20 - k for k in range(9)))
    assert_as_found(model, before)


def test_orders_that_hid_the_same_regions_are_one():
    """Of six regions there are 6, 15, 20, 15, 6 and 1 sets: no picture is scored twice."""
    model = build(Counting)
    aopc_bounds(model, images(1, (8, 12)), 1, region=4, steps=6, fill=0.0, beams=20, batch_size=1)
    assert model.passes == 1 + 2 * (6 + 15 + 20 + 15 + 6 + 1)


def test_a_model_that_sees_nothing_has_no_order_that_is_better(device):
    model, x = weighted(torch.zeros(4, 6), device), torch.rand(2, 1, 4, 6, dtype=torch.float64, device=device)
    options = {"region": 2, "steps": 4, "fill": 0.0}
    bounds = aopc_bounds(model, x, 0, **options)
    assert torch.equal(bounds.lower, bounds.upper)
    assert aopc(model, x, 0, maps_of(2, (4, 6), device=device), **options).normalised(bounds).isnan().all()


def test_bad_options_of_the_bounds_are_named():
    good = {"region": 5, "steps": 9, "fill": 0.0}
    for change, words in (
        ({"steps": 21}, "steps must be at most the number of regions, 4 × 5 = 20"),
        ({"region": 30}, "region must fit"),
        ({"fill": "uniform"}, "fill must be one of 'mean', 'grey', 'blur', got 'uniform'"),
        ({"beams": 0}, "beams must be a positive whole number"),
        ({"what": "logits"}, "what must be one of"),
    ):
        model = build(Counting)
        call = partial(aopc_bounds, model, X, 1, **(good | change))
        assert_says(complaint(call, model), words)


# -------------------------------------------------------------------------------------------- ties and chance


def test_ties_come_in_a_random_order_that_the_generator_decides(device):
    model, x = build(Plain).double().to(device), images(2, device=device).double()
    flat = torch.full((2, 17, 21), 0.1, device=device)
    judge = partial(deletion, model, x, 1, steps=6)
    for region in (1, 4):
        seeds = [judge(flat, region=region, generator=seeded(device, s)).scores for s in (0, 0, 1)]
        assert torch.equal(seeds[0], seeds[1]) and not torch.equal(seeds[0], seeds[2])
        chance = judge(maps_of(2, device=device), region=region, order="random", generator=seeded(device))
        assert torch.equal(chance.scores, seeds[0]), "a constant map is a random order"


def test_ties_do_not_favour_the_top_of_the_picture(device):
    """One worthy pixel among equals, first or last in reading order: its place in the order is uniform."""
    x = torch.ones(1, 1, 4, 4, dtype=torch.float64, device=device)
    for place in (0, 15):
        weights = torch.zeros(16, dtype=torch.float64)
        weights[place] = 1.0
        model, flat = weighted(weights.view(4, 4), device), torch.zeros(1, 4, 4, device=device)
        generator = seeded(device)
        areas = [
            deletion(model, x, 0, flat, steps=16, what="logit", generator=generator).auc for _ in range(300)
        ]
        assert torch.stack(areas).mean().item() == pytest.approx(0.5, abs=5 * 0.29 / 300**0.5)


def test_only_the_order_counts(device):
    model, x, maps = build(Plain).to(device), images(2, device=device), maps_of(2, device=device)
    curve = deletion(model, x, 1, maps, steps=6)
    for same in (100 * maps, maps.exp(), maps.double() - 3, 1e-30 * maps):
        assert torch.equal(deletion(model, x, 1, same, steps=6).scores, curve.scores)
    whole = (100 * maps).round()
    for dtype in (torch.uint8, torch.int64, torch.float16):
        kinds = [
            deletion(model, x, 1, w, steps=6, generator=seeded(device)) for w in (whole, whole.to(dtype))
        ]
        assert torch.equal(kinds[0].scores, kinds[1].scores)
    mask = maps > 0.5
    for region in (1, 4):
        judge = partial(deletion, model, x, 1, steps=6, region=region)
        masks = [judge(m, generator=seeded(device)).scores for m in (mask, mask.float())]
        assert torch.equal(*masks)


# -------------------------------------------------------------------------------------------------- promises


@every_judge
def test_shapes_and_kinds(judge, device):
    model, x = build(Plain).to(device), images(3, device=device)
    one, many = (judge(model, x, None, maps_of(3, several=s, device=device)) for s in ((), (2,)))
    for result, axes in ((one, (3,)), (many, (3, 2))):
        assert isinstance(result, Curve | Aopc)
        assert result.scores.shape == (*axes, 7) and result.fractions.shape == (7,)
        summary = result.value if isinstance(result, Aopc) else result.auc
        assert summary.shape == axes and summary.device == x.device and summary.dtype == x.dtype
        assert not result.scores.requires_grad and result.scores.device == x.device
    with pytest.raises(AttributeError):
        one.scores = None


@every_judge
def test_the_target_is_the_models_own_choice_where_none_is_given(judge, device):
    model, x, maps = build(Plain).to(device), images(3, device=device), maps_of(3, device=device)
    own = model(x).argmax(1)
    results = [judge(model, x, t, maps, generator=seeded(device)).scores for t in (None, own)]
    assert torch.equal(*results)


@every_judge
def test_the_size_of_the_batch_changes_nothing(judge, device):
    model, x = build(Plain).double().to(device), images(3, device=device).double()
    maps = maps_of(3, several=(2,), device=device).mul(3).round()
    results = [judge(model, x, 2, maps, batch_size=b, generator=seeded(device)).scores for b in (1, 5, 64)]
    for other in results[1:]:
        torch.testing.assert_close(results[0], other)


@every_judge
@pytest.mark.parametrize("order", ["morf", "lerf", "random"])
def test_several_maps_and_images_are_judged_as_one_by_one(judge, order, device):
    model, x = build(Plain).double().to(device), images(3, device=device).double()
    maps = maps_of(3, several=(4,), device=device).mul(3).round()
    target = torch.tensor([0, 3, 1], device=device)
    judge = partial(judge, order=order)
    together = judge(model, x, target, maps, generator=seeded(device)).scores
    for m in range(4):
        alone = judge(model, x, target, maps[:, m], generator=seeded(device)).scores
        torch.testing.assert_close(together[:, m], alone)
    for i in range(3):
        alone = judge(
            model, x[i : i + 1], target[i : i + 1], maps[i : i + 1], generator=seeded(device)
        ).scores
        torch.testing.assert_close(together[i : i + 1], alone)


@every_judge
def test_the_model_and_the_arguments_are_left_as_they_were(judge, device):
    model, x = build(Plain).to(device), images(2, device=device).requires_grad_()
    maps = maps_of(2, device=device).requires_grad_()
    model.head.weight.requires_grad_(False)
    before, kept = snapshot(model), [copy.deepcopy(v.detach()) for v in (x, maps)]
    judge(model, x, 1, maps)
    assert_as_found(model, before)
    assert torch.equal(x, kept[0]) and torch.equal(maps, kept[1]) and x.grad is maps.grad is None


@every_judge
def test_results_made_in_inference_mode_are_ordinary(judge, device):
    model, x, maps = build(Plain).to(device), images(2, device=device), maps_of(2, device=device)
    usual = judge(model, x, 1, maps, generator=seeded(device))
    with torch.inference_mode():
        result = judge(model, x, 1, maps, generator=seeded(device))
    assert not result.scores.is_inference() and not result.fractions.is_inference()
    torch.testing.assert_close(result.scores, usual.scores)


@every_judge
def test_half_precision_is_scored_and_summed_wide(judge, device):
    """Pixels in half precision, and a float32 model under autocast: near the usual scores, in float32."""
    model, x, maps = build(Plain).to(device), images(2, device=device), maps_of(2, device=device)
    judge = partial(judge, target=1, heatmaps=maps)
    usual = judge(model, x, generator=seeded(device)).scores
    low = copy.deepcopy(model).bfloat16()
    half = judge(low, x.bfloat16(), generator=seeded(device)).scores
    with torch.autocast(device.type, dtype=torch.bfloat16):
        cast = judge(model, x, generator=seeded(device)).scores
    for scores in (half, cast):
        assert scores.dtype == torch.float32 and 0 < (scores - usual).abs().max() < 0.03


@every_judge
def test_two_threads_judge_with_one_model(judge):
    model, x, maps = build(Plain), images(6), maps_of(6)
    before = snapshot(model)

    def scores(i):
        return judge(model, x[i : i + 1], 1, maps[i : i + 1], batch_size=1, generator=seeded()).scores

    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(scores, range(6)))
    for i, result in enumerate(together):
        torch.testing.assert_close(result, scores(i))
    assert_as_found(model, before)


@every_judge
def test_the_default_type_does_not_change_what_is_drawn(judge, device):
    model, x, maps = build(Plain).to(device), images(2, device=device), maps_of(2, device=device).round()
    usual = judge(model, x, 1, maps, generator=seeded(device)).scores
    try:
        torch.set_default_dtype(torch.float64)
        again = judge(model, x, 1, maps, generator=seeded(device)).scores
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(usual, again)


@every_judge
def test_a_pass_for_the_image_and_one_for_each_step(judge):
    model = build(Counting)
    judge(model, images(2), 1, maps_of(2, several=(3,)), batch_size=1)
    repeats = judge.keywords.get("repeats", 1)
    assert model.passes == 2 * (1 + 3 * 6 * repeats)


def test_a_fill_without_chance_is_not_repeated():
    model = build(Counting)
    aopc(model, images(2), 1, maps_of(2), region=4, steps=6, fill="mean", batch_size=1)
    assert model.passes == 2 * 7


# ------------------------------------------------------------------------------------------------- bad input

X, MAPS = images(2), maps_of(2)
BAD = {
    "a map too few": ({"heatmaps": MAPS[:1]}, ["heatmaps must have the shape (2, 17, 21)", "(1, 17, 21)"]),
    "a map of another size": ({"heatmaps": MAPS[:, :7, :7]}, ["heatmaps must have the shape", "resize them"]),
    "an attribution's five axes": ({"heatmaps": MAPS[:, None, None]}, ["heatmaps must have the shape"]),
    "no maps": ({"heatmaps": MAPS[:, None][:, :0]}, ["heatmaps must have the shape", "(2, 0, 17, 21)"]),
    "NaN": ({"heatmaps": MAPS.log().log()}, ["heatmaps must be finite"]),
    "complex": ({"heatmaps": MAPS + 1j}, ["heatmaps must hold real numbers"]),
    "meta": ({"heatmaps": MAPS.to("meta")}, ["heatmaps must hold values"]),
    "steps of half a pixel": ({"steps": 400}, ["steps must be at most the number of regions", "got 400"]),
    "no steps": ({"steps": 0}, ["steps must be a positive whole number, got 0"]),
    "region": ({"region": 18}, ["region must fit into the image, (17, 21), got 18"]),
    "no region": ({"region": 0}, ["region must be a positive whole number"]),
    "order": ({"order": "mrf"}, ["order must be one of 'morf', 'lerf', 'random', got 'mrf'", "'morf'"]),
    "what": ({"what": "logits"}, ["what must be one of 'probability', 'logit'", "did you mean 'logit'"]),
    "batch_size": ({"batch_size": 0}, ["batch_size must be"]),
    "generator": ({"generator": 3}, ["generator must be a torch.Generator or None, got int"]),
    "progress": ({"progress": "no"}, ["progress must be True or False"]),
    "target": ({"target": -1}, ["target must be a class number"]),
    "several classes": ({"target": torch.zeros(2, 2, dtype=torch.int64)}, ["target must be an int"]),
    "x": ({"x": X[0]}, ["x must be 4-D", "x[None]"]),
}  # fmt: skip


@every_judge
@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_named_before_any_pass(judge, kind):
    change, words = BAD[kind]
    model = build(Counting)
    given = {"x": X, "target": 1, "heatmaps": MAPS} | change
    error = TypeError if kind in ("generator", "progress") else ValueError
    assert_says(complaint(lambda: judge(model, **given), model, error), *words)


@every_judge
def test_heatmaps_that_are_no_tensors_are_named(judge):
    model = build(Counting)
    message = complaint(lambda: judge(model, X, 1, MAPS.numpy()), model, TypeError)
    assert_says(message, "heatmaps must be a tensor", "ndarray")


@pytest.mark.parametrize(
    "judge, option, words",
    [
        (deletion, {"fill": "uniform"}, ["fill must be one of 'mean', 'grey', 'blur', got 'uniform'"]),
        (deletion, {"fill": None}, ["fill must be a number, a tensor, or one of"]),
        (insertion, {"start": "blurr"}, ["start must be one of", "did you mean 'blur'"]),
        (insertion, {"start": torch.zeros(4)}, ["start must be a number or a tensor that broadcasts"]),
        (aopc, {"fill": "noise"}, ["fill must be one of 'uniform', 'mean', 'grey', 'blur'"]),
        (aopc, {"repeats": 0}, ["repeats must be a positive whole number"]),
    ],
)
def test_options_of_one_judge_are_named(judge, option, words):
    model = build(Counting)
    call = lambda: judge(model, X, 1, MAPS, steps=6, **{"region": 4} | option)  # noqa: E731
    assert_says(complaint(call, model), *words)


def test_a_single_map_is_told_how_to_become_a_batch():
    model = build(Counting)
    message = complaint(lambda: deletion(model, X[:1], 1, MAPS[0]), model)
    assert_says(message, "heatmaps[None]")


def test_one_logit_has_no_probability_but_a_logit():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 17 * 21, 1)).eval()
    assert_says(complaint(lambda: deletion(model, X, 0, MAPS, steps=3)), "one logit")
    assert deletion(model, X, 0, MAPS, steps=3, what="logit").scores.shape == (2, 4)
