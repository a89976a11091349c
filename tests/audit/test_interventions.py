"""An intervention changes one cause of a scene, and every pixel that this cause does not reach stays."""

import pytest
import torch
import torch.nn.functional as F

from xai_course.audit import INTERVENTIONS, intervene, open_case
from xai_lib._causes import SIZE, TINTS, draw, mark

CASE = open_case("interventions")
CAUSES = ("tag", "tint", "blur", "empty")


@pytest.fixture(scope="module")
def scenes():
    return CASE.fresh(60, seed=3)


def options(name):
    return {"to": "green"} if name == "swap_background" else {}


def wider(masks, by):
    return F.max_pool2d(masks.float()[:, None], 2 * by + 1, 1, by)[:, 0] > 0


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_it_sets_its_cause_and_no_other(scenes, name):
    after = intervene(scenes, name, **options(name))
    own = {"background": "tint", "object": "empty"}.get(INTERVENTIONS[name].cause, INTERVENTIONS[name].cause)
    assert len(getattr(after, own).unique()) == 1
    for cause in CAUSES:
        if cause != own:
            assert torch.equal(getattr(after, cause), getattr(scenes, cause))
    assert torch.equal(after.labels, scenes.labels) and torch.equal(after.tag_masks, scenes.tag_masks)
    already = getattr(scenes, own) == getattr(after, own)
    assert torch.equal(after.images[already], scenes.images[already]), (
        "scenes that had it stay to the last bit"
    )
    assert ((after.images != scenes.images).flatten(1).any(1) == ~already).all(), "all others change"


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_it_can_be_undone_and_repeated(scenes, name):
    once = intervene(scenes, name, **options(name))
    assert torch.equal(intervene(once, name, **options(name)).images, once.images)
    opposite = INTERVENTIONS[name].opposite
    if opposite:
        there = intervene(intervene(once, opposite, **options(opposite)), name, **options(name))
        assert torch.equal(there.images, once.images)


def test_the_tag_changes_its_own_pixels_only(scenes):
    off, on = intervene(scenes, "remove_tag"), intervene(scenes, "add_tag")
    changed = (off.images != on.images).any(1)
    assert not (changed & ~on.tag_masks).any()
    assert (on.tag_masks.sum((1, 2)) == mark()[0].numel()).all()
    stamped = on.images.permute(0, 2, 3, 1)[on.tag_masks].view(len(scenes), *mark().shape[1:], 3)
    assert (stamped.permute(0, 3, 1, 2) == mark()).all()


def test_the_tag_is_the_same_in_a_mirror():
    tag = mark()
    assert torch.equal(tag, tag.flip(-1)) and torch.equal(tag, tag.flip(-2)) and torch.equal(tag, tag.mT)


def test_the_ground_changes_where_nothing_covers_it(scenes):
    sharp = intervene(scenes, "sharpen")
    plain, green = intervene(sharp, "plain_background"), intervene(sharp, "swap_background", to="green")
    changed = (plain.images != green.images).any(1)
    inside = ~wider(~plain.masks, 1)  # the outline's own pixels are mixed with the ground
    assert not (changed & inside).any()
    lifted = green.images.mean((2, 3)) - plain.images.mean((2, 3))
    assert (lifted[:, 1] > 0).all() and (lifted[:, [0, 2]] < 0).all()


def test_removing_the_object_changes_its_own_pixels_only(scenes):
    sharp = intervene(scenes, "sharpen")
    empty = intervene(sharp, "remove_object")
    changed = (sharp.images != empty.images).any(1)
    assert not (changed & ~wider(sharp.masks, 3)).any()  # a tip is drawn a little beyond its outline
    assert changed.flatten(1).any(1).all() and not empty.masks.any()


def test_blur_reaches_everything_but_the_tag(scenes):
    sharp, soft = intervene(scenes, "sharpen"), intervene(scenes, "blur")

    def roughness(images):
        return (images[..., 1:] - images[..., :-1]).abs().mean((1, 2, 3))

    tagged = scenes.tag
    assert (roughness(soft.images)[~tagged] < 0.8 * roughness(sharp.images)[~tagged]).all()
    here = scenes.tag_masks & tagged[:, None, None]
    assert torch.equal(sharp.images.permute(0, 2, 3, 1)[here], soft.images.permute(0, 2, 3, 1)[here])
    assert (soft.images.mean((2, 3)) - sharp.images.mean((2, 3))).abs().max() < 0.02


def test_scenes_drawn_with_a_cause_are_those_that_were_given_it():
    """Rates only decide which causes are set: the scenes behind them are the same."""
    from xai_lib._causes import Rates

    some, none = draw(24, 5), draw(24, 5, rates=Rates(tag=0, tint=0, blur=0))
    again = none.redraw(tag=some.tag, tint=some.tint, blur=some.blur)
    assert torch.equal(again.images, some.images)
    assert some.tag.any() and some.tint.any() and some.blur.any()


def test_a_case_intervenes_on_its_album():
    rows = [3, 17, 200]
    images = CASE.intervene("add_tag", rows)
    assert images.shape == (3, 3, SIZE, SIZE)
    assert torch.equal(images, intervene(CASE.scenes, "add_tag").images[rows])
    assert CASE.record["background"][3] == TINTS[int(CASE.scenes.tint[3])]


def test_shares_count_what_they_say():
    name = CASE.classes[0]
    fresh = intervene(CASE.fresh(40, seed=9, of=name), "sharpen")
    assert (fresh.labels == 0).all() and len(fresh) == 40
    with torch.no_grad():
        expected = float((CASE.model(fresh.images).argmax(1) == 0).double().mean())
    found = CASE.share(name, of=name, after="sharpen", n=40, seed=9)
    assert found.share == expected and found.scenes == 40
    assert found.error == pytest.approx((expected * (1 - expected) / 40) ** 0.5)
    others = CASE.share(name, n=50, seed=9)
    assert others.scenes == 50 and others.share < 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: intervene(CASE.scenes, "remove_tags"), "did you mean 'remove_tag'"),
        (lambda: intervene(CASE.scenes, "swap_background"), "to must be one of"),
        (lambda: intervene(CASE.scenes, "swap_background", to="grey"), "to must be one of"),
        (lambda: intervene(CASE.scenes, "blur", to="red"), "to must be None for 'blur', got 'red'"),
        (lambda: CASE.share("stars"), "did you mean 'star'"),
        (lambda: CASE.share("star", of="moon"), "of must be one of"),
        (lambda: CASE.share("star", n=0), "n must be a positive whole number"),
        (lambda: CASE.fresh(10, seed=-1), "seed must be a whole number of at least 0"),
        (lambda: draw(10, corner="left"), "corner must be one of"),
        (lambda: draw(10, size=32), "size must be a whole number of at least 48"),
        (lambda: draw(10, classes=("circle", "moon")), "classes must be one of"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_scenes_must_be_scenes():
    with pytest.raises(TypeError, match="scenes must be case"):
        intervene(CASE.images, "blur")
