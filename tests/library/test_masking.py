"""The one loop that scores masked images, and what every method on it inherits."""

import inspect
import pickle
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tests.architectures import Plain, build, images
from tests.promises import assert_says, complaint
from xai_lib import (
    _checks,
    _masking,
    _model,
    black_box,
    lime,
    lime_fit,
    occlusion,
    rise,
    rise_fit,
    rise_masks,
    score_cam,
    shapley,
    shapley_fit,
    superpixels,
)

QUARTERS = torch.arange(17)[:, None] // 9 * 2 + torch.arange(21) // 11
METHODS = {
    "occlusion": partial(occlusion, window=8),
    "lime": partial(lime, segments=QUARTERS, n_samples=12),
    "shapley": partial(shapley, segments=QUARTERS, n_samples=12),
    "rise": partial(rise, n_masks=8, grid=2),
}
every_method = pytest.mark.parametrize("explain", METHODS.values(), ids=METHODS)
FITS = {"rise": (rise, rise_fit), "lime": (lime, lime_fit), "shapley": (shapley, shapley_fit)}
every_fit = pytest.mark.parametrize("explain, fit", FITS.values(), ids=FITS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# ------------------------------------------------------------------------------------------------- the loop


def scores_of(keep, n, model=None, x=None, target=None, **options):
    model = build(Plain).double() if model is None else model
    x = images(2, dtype=torch.float64) if x is None else x
    classes = _checks.check_target(torch.tensor([[1, 4], [0, 2]]) if target is None else target, x, many=True)
    options = {"hidden": torch.zeros_like(x), "batch_size": 5} | options
    with _model.left_as_found(model):
        return _masking.masked_scores(model, x, classes, n, keep, **options)


def test_the_scores_are_those_of_each_masked_image_one_by_one(device):
    model, x = build(Plain).double().to(device), images(2, dtype=torch.float64, device=device)
    masks = torch.rand(3, 2, 17, 21, dtype=torch.float64, generator=seeded()).to(device)
    target = torch.tensor([[1, 4], [0, 2]], device=device)
    for shown in (masks, masks > 0.4):
        for what in ("probability", "logit"):
            scores = scores_of(
                lambda s, i, shown=shown: shown[s, i],
                3,
                model,
                x,
                target,
                hidden=torch.full_like(x, 0.3),
                what=what,
            )
            assert scores.shape == (2, 2, 3) and scores.dtype == torch.float64
            for s in range(3):
                for i in range(2):
                    keep = shown[s, i].double()
                    logits = model((x[i] * keep + 0.3 * (1 - keep))[None])[0]
                    values = logits if what == "logit" else logits.softmax(0)
                    torch.testing.assert_close(scores[i, :, s], values[target[i]].detach())


def test_several_maps_of_one_image_are_stretches_of_samples():
    """Deletion, as a rule and nothing else: two maps of each image, four steps each."""
    model, x = build(Plain).double(), images(2, dtype=torch.float64)
    ranks = torch.rand(2, 2, 17 * 21, generator=seeded()).argsort(2).argsort(2).view(2, 2, 17, 21)
    cuts = torch.tensor([0, 100, 200, 357])
    scores = scores_of(lambda s, i: ranks[i, s // 4] >= cuts[s % 4][:, None, None], 8, model, x)
    curves = scores.unflatten(2, (2, 4))  # (N, K, maps, steps)
    whole, nothing = model(x).softmax(1).detach(), model(torch.zeros_like(x)).softmax(1).detach()
    target = torch.tensor([[1, 4], [0, 2]])
    for m in range(2):
        torch.testing.assert_close(curves[:, :, m, 0], whole.gather(1, target))
        torch.testing.assert_close(curves[:, :, m, 3], nothing.gather(1, target))
    assert not torch.equal(curves[:, :, 0, 1], curves[:, :, 1, 1])


def test_what_is_not_asked_for_costs_nothing_and_scores_zero():
    model, x, passes = build(Plain).double(), images(2, dtype=torch.float64), []
    masks = torch.rand(7, 17, 21, dtype=torch.float64, generator=seeded())
    only = torch.rand(2, 7, generator=seeded(1)) < 0.5
    every = scores_of(lambda s, i: masks[s], 7, model, x)
    model.register_forward_pre_hook(lambda _m, args: passes.append(len(args[0])))
    some = scores_of(lambda s, i: masks[s], 7, model, x, only=only, batch_size=3)
    assert sum(passes) == int(only.sum()) and set(passes[:-1]) <= {3}
    torch.testing.assert_close(some, every * only[:, None])
    passes.clear()
    none = scores_of(lambda s, i: masks[s], 7, model, x, only=torch.zeros_like(only))
    assert not passes and none.shape == (2, 2, 7) and not none.any()


def test_enough_is_asked_after_every_round():
    asked = []

    def enough(scores):
        asked.append(tuple(scores.shape))
        return scores.shape[2] >= 8

    scores = scores_of(lambda s, i: torch.ones(len(s), 17, 21) > 0, 20, every=4, enough=enough)
    assert asked == [(2, 2, 4), (2, 2, 8)] and scores.shape == (2, 2, 8)


# -------------------------------------------------------------------------------------- what the model gives


class Sigmoids(Plain):
    """Several labels at once: each a probability of its own."""

    def forward(self, x):
        return super().forward(x).sigmoid()


class OneLogit(Plain):
    def forward(self, x):
        return super().forward(x)[:, :1]


@every_method
def test_the_line_that_mends_one_logit_works(explain):
    model, x = build(OneLogit), images(2)
    message = complaint(
        lambda: explain(model, x, generator=seeded()) if "occl" not in str(explain) else explain(model, x)
    )
    assert_says(message, "one logit", "softmax of one logit is 1", "[0, z]")
    line = next(line for line in message.splitlines() if "Sequential" in line).strip()
    scope = {"torch": torch, "model": model}
    exec(line, scope)
    p = model(x).sigmoid()
    torch.testing.assert_close(scope["model"](x).softmax(1), torch.cat([1 - p, p], 1))
    heatmap = explain(scope["model"], x, 1)
    assert (heatmap - heatmap.mean()).abs().max() > 1e-4


def test_score_cam_takes_one_logit_where_it_takes_no_softmax_of_it():
    model, x = build(OneLogit), images(2)
    message = complaint(lambda: score_cam(model, x, layer="features.7"))
    assert_says(message, "one logit")
    assert score_cam(model, x, layer="features.7", weights="channels").any()


@every_method
def test_a_model_that_ends_in_softmax_is_mended_by_black_box(explain, recwarn):
    class Sure(Plain):
        def forward(self, x):
            return super().forward(x).softmax(1)

    options = {} if explain.func is occlusion else {"generator": seeded()}
    with pytest.warns(UserWarning, match=r"already sum to one.*black_box\(model\)") as said:
        explain(build(Sure), images(2), 1, **options)
    assert said[0].filename == __file__ and len(said) == 1
    options = {} if explain.func is occlusion else {"generator": seeded()}
    mended = explain(black_box(build(Sure)), images(2), 1, **options)
    options = {} if explain.func is occlusion else {"generator": seeded()}
    torch.testing.assert_close(mended, explain(build(Plain), images(2), 1, **options), rtol=1e-3, atol=1e-6)
    assert len(recwarn) == 0


def test_one_of_several_labels_is_explained_the_way_the_error_says():
    model, x = build(Sigmoids), images(2)
    message = complaint(lambda: rise(black_box(model), x, 1, n_masks=8))
    assert_says(
        message, "each row with the sum 1", "torch.stack([1 - p[:, c], p[:, c]], 1)", "explain class 1"
    )

    def predict(images, c=3):
        p = model(images)
        return torch.stack([1 - p[:, c], p[:, c]], 1)

    masks = rise_masks(8, (17, 21), grid=2, generator=seeded())
    ours = rise(black_box(predict), x, 1, n_masks=8, grid=2, generator=seeded())
    p = torch.stack([model(image * masks[:, None])[:, 3] for image in x]).detach()
    torch.testing.assert_close(
        ours, torch.einsum("nm,mhw->nhw", p, masks) / masks.sum(0), rtol=1e-4, atol=1e-5
    )


@every_method
def test_nan_that_only_masked_images_bring_is_traced(explain):
    class Fragile(Plain):
        def __init__(self):
            super().__init__()
            self.scale = nn.Identity()

        def forward(self, x):
            dark = x.flatten(1).amin(1)[:, None, None, None] <= 0.02
            return super().forward(self.scale(torch.where(dark, torch.nan, x)))

    x = 0.5 + 0.5 * images(2)
    message = complaint(lambda: explain(build(Fragile), x, 1, fill=0.0))
    assert_says(message, "NaN or infinite values for masked images", "first in its module 'scale'")


# -------------------------------------------------------------------------------------------------- the fits


@every_fit
def test_the_map_has_the_options_of_its_fit_written_once(explain, fit):
    ours, its = inspect.signature(explain), inspect.signature(fit)
    assert ours.parameters == its.parameters and ours.return_annotation is Tensor
    assert list(explain.__annotations__) == [*its.parameters, "return"]
    assert explain.__name__ in FITS and explain.__module__ == fit.__module__
    for name in list(its.parameters)[3:]:
        assert f"        {name}: " in explain.__doc__, f"{name} is not described"
    again = pickle.loads(pickle.dumps(partial(explain, progress=False)))
    assert again.func is explain
    with pytest.raises(TypeError, match="n_mask"):
        explain(build(Plain), images(1), n_mask=3)


@every_fit
def test_the_map_is_that_of_its_fit(explain, fit):
    model, x = build(Plain), images(2)
    options = {"n_masks": 40, "grid": 2} if explain is rise else {"segments": QUARTERS, "n_samples": 14}
    given = fit(model, x, 1, generator=seeded(), **options)
    assert torch.equal(explain(model, x, 1, generator=seeded(), **options), given.heatmap)
    assert given.standard_error.shape == given.heatmap.shape and given.relative_error.shape == (2,)


@every_fit
def test_fits_hold_ordinary_tensors_wherever_they_are_made(explain, fit):
    model, x = build(Plain), images(2)
    options = {"n_masks": 40, "grid": 2} if explain is rise else {"n_samples": 150}
    with torch.inference_mode():
        inside = fit(model, x, 1, **options)
        values = [*inside, inside.heatmap, inside.standard_error, inside.relative_error, superpixels(x)]
        values += [inside.masks.bits, inside.masks.shifts, inside.masks.pixels()] if explain is rise else []
    for value in values:
        assert not (isinstance(value, Tensor) and (value.is_inference() or value.requires_grad))


@every_fit
def test_maps_and_errors_are_computed_outside_the_callers_autocast(explain, fit):
    model, x = build(Plain), images(2)
    options = {"n_masks": 40, "grid": 2} if explain is rise else {"segments": QUARTERS, "n_samples": 14}
    given = fit(model, x, 1, generator=seeded(), **options)
    outside = given.heatmap, given.standard_error, given.relative_error
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = given.heatmap, given.standard_error, given.relative_error
    assert all(torch.equal(a, b) for a, b in zip(outside, inside, strict=True))


@pytest.mark.parametrize("options", [{}, {"paired": False}, {"balanced": True, "grid": 3}], ids=str)
def test_rise_is_the_weighted_mean_of_its_scores(options):
    """Masks, scores, weighted mean: the lecture's three steps, from what the fit holds."""
    model, x = build(Plain).double(), images(2, dtype=torch.float64)
    fit = rise_fit(model, x, torch.tensor([[1, 2], [0, 4]]), n_masks=97, generator=seeded(), **options)
    masks, scores = fit.masks.pixels(dtype=torch.float64), fit.scores
    assert masks.shape == (97, 17, 21) and scores.shape == (2, 2, 97) and fit.n_masks == 97
    p = model((x[:, None] * masks[:, None]).flatten(0, 1)).softmax(1).view(2, 97, 5).detach()
    torch.testing.assert_close(scores[0], p[0].T[[1, 2]])
    expected = torch.einsum("nkm,mhw->nkhw", scores, masks) / masks.sum(0)
    torch.testing.assert_close(fit.heatmap, expected)
    some = torch.tensor([3, 90, 3])
    assert torch.equal(fit.masks.pixels(some), fit.masks.pixels()[some])
    # Of a mask only bits and a shift are kept.
    assert fit.masks.bits.shape[0] == 97 and fit.masks.bits.dtype == torch.bool


def test_the_default_dtype_changes_no_mask():
    options = [{}, {"paired": False}, {"n_masks": 300, "grid": 3}]
    for given in options:
        draw = partial(rise_masks, **({"n_masks": 9, "size": 16} | given))
        expected = draw(generator=seeded())
        torch.set_default_dtype(torch.float64)
        try:
            ours = draw(generator=seeded())
        finally:
            torch.set_default_dtype(torch.float32)
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, expected)
