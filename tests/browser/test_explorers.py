"""Digits, class activation maps, SmoothGrad and frames in the page: they compute what Python computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.browser.conftest import opened, write_page
from tests.browser.faults import faults, heard
from xai_course import _images, explorers, figures
from xai_course.explorers._smooth_grad import agreement_and_error
from xai_lib import load_model
from xai_lib.cams import cam
from xai_lib.data import digits, load_photo
from xai_lib.localisation import box_from_heatmap, iou

NAMES = ["espresso", "coffee mug", "Egyptian cat"]
HUMAN = (60, 50, 190, 180)
SIGMAS = (0.1, 0.3)
TEXTS = {"caption": "What is *seen*.", "alt": "What is to be seen.", "look": "what moves."}
PAGES = ["digits", "cam", "smooth_grad", "frames"]


@pytest.fixture(scope="module")
def linear():
    """Weights, bias and samples of a linear classifier."""
    draw = torch.Generator().manual_seed(0)
    images, _ = digits()
    return torch.randn(10, 64, generator=draw), torch.randn(10, generator=draw), images[:5]


@pytest.fixture(scope="module")
def coffee():
    """A photograph, its last feature maps, and the weights, biases and logits of three classes."""
    model, picture, kept = load_model("efficientnet_lite0"), load_photo("coffee"), []
    hook = model.get_submodule(model.cam_layer).register_forward_hook(lambda *given: kept.append(given[2]))
    with torch.no_grad():
        logits = model(picture)[0]
    hook.remove()
    head, places = model.get_submodule(model.head), [model.labels.index(name) for name in NAMES]
    weights = dict(zip(NAMES, head.weight.detach().flatten(1)[places], strict=True))
    bias = dict(zip(NAMES, head.bias.detach()[places].tolist(), strict=True))
    maps = [cam(model, picture, k, layer=model.cam_layer, head=model.head)[0] for k in places]
    return picture, kept[0], weights, bias, logits[places], maps


@pytest.fixture(scope="module")
def gradients():
    """A picture, and gradients of noisy copies: a pattern under noise that grows."""
    draw = torch.Generator().manual_seed(1)
    pattern = torch.randn(14, 14, generator=draw)
    noise = {s: torch.randn(12, 14, 14, generator=draw) for s in SIGMAS}
    picture = torch.rand(3, 56, 56, generator=draw)
    return picture, {s: (pattern + 10 * s * noise[s]).numpy() for s in SIGMAS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, linear, coffee, gradients):
    """Each explorer on a page of its own."""
    folder = tmp_path_factory.mktemp("explorers")
    picture, maps, weights, bias, _, _ = coffee
    photo, stored = gradients
    frame = [
        [figures.panel(photo, name=f"photo {i}"), figures.panel(photo, torch.eye(7) * i, name="map")]
        for i in range(1, 4)
    ]
    shown = {
        "digits": explorers.digits("1.3", *linear, **TEXTS),
        "cam": explorers.cam("3.2", picture, maps, weights, bias, box=HUMAN, **TEXTS),
        "smooth_grad": explorers.smooth_grad(
            "2.4", photo, stored, stored="As they are.", probabilities={0.1: 0.8, 0.3: 0.25}, **TEXTS
        ),
        "frames": explorers.frames(
            "1.4",
            [frame, frame[::-1]],
            [["up", "down"], ["1", "2", "3"]],
            [["One.", "Two.", "Three."], ["Three.", "Two, down.", "One."]],
            names=["Order", "Step"],
            controls=["buttons", "slider"],
            bar="share",
            **TEXTS,
        ),
    }
    for name, figure in shown.items():
        write_page(folder, name, figure.html())
    return folder


@pytest.fixture
def play(chromium, folder):
    def play(name, **options):
        return opened(chromium, folder.as_uri(), f"{name}.html", **options)

    return play


def said(tab) -> str:
    return tab.locator(".s-said").inner_text()


def computed(tab, name) -> np.ndarray:
    """Numbers that the script leaves on the figure."""
    return np.array(tab.locator(".s-explorer").get_attribute(f"data-{name}").split(), dtype=float)


def slide(tab, control, steps) -> None:
    tab.locator(f"[data-control={control}]").focus()
    for _ in range(abs(steps)):
        tab.keyboard.press("ArrowRight" if steps > 0 else "ArrowLeft")


@pytest.mark.parametrize("name", PAGES)
def test_it_is_whole_and_accessible_wide_and_narrow_light_and_dark(play, name):
    with play(name) as tab:
        assert tab.locator(".s-controls").is_visible()
        assert faults(tab) == []


@pytest.mark.parametrize("name", PAGES)
def test_without_scripts_the_first_state_stands_there_and_nothing_pretends_to_move(play, name):
    with play(name, scripts=False) as tab:
        assert not tab.locator(".s-controls").is_visible()
        assert tab.locator(".s-panel img").first.is_visible() and said(tab)
        assert tab.locator("noscript").inner_text().startswith("Scripts are off")


@pytest.mark.parametrize("name", PAGES)
def test_what_python_drew_first_is_what_the_script_draws_first(play, name):
    texts = ".s-panel, .s-bars, .s-said"
    with play(name, scripts=False) as tab:
        before = tab.locator(texts).all_inner_texts()
    with play(name) as tab:
        assert tab.locator(texts).all_inner_texts() == before


@pytest.mark.parametrize("name", PAGES)
def test_every_control_is_moved_from_the_keyboard_and_says_what_changed(play, name):
    with play(name) as tab:
        for kind in ("input[type=range]", ".s-seg input:checked"):
            for control in tab.locator(f".s-controls {kind}").all():
                before = said(tab)
                last = control.evaluate("c => c.type === 'range' && c.value === c.max")
                control.focus()
                tab.keyboard.press("ArrowLeft" if last else "ArrowRight")
                label = control.evaluate("c => c.closest('[data-control]').dataset.control")
                assert said(tab) != before, f"{label} moved, and nothing is said of it"
        assert tab.locator(".s-said").get_attribute("role") == "status"
        assert heard(tab) == []


# --- digits ------------------------------------------------------------------------------------------------


def shares(linear, why, rather, strength=0.0):
    weights, bias, samples = linear
    x, common = samples[0].flatten(), -weights[5]
    scores = (weights + strength * common) @ x + bias
    single = ((weights[why] + strength * common) * x).sum()
    return scores.numpy(), float(single), float(((weights[why] - weights[rather]) * x).sum())


def test_the_page_computes_the_scores_and_both_sums(play, linear):
    with play("digits") as tab:
        for why, rather in ((5, 9), (3, 8)):
            tab.locator(f"[data-control=why] input[value='{why}']").check()
            tab.locator(f"[data-control=rather] input[value='{rather}']").check()
            scores, single, contrast = shares(linear, why, rather)
            np.testing.assert_allclose(computed(tab, "scores"), scores, atol=2e-3)
            assert computed(tab, "single") == pytest.approx(single, abs=2e-3)
            assert computed(tab, "contrast") == pytest.approx(contrast, abs=2e-3)


def test_a_pattern_common_to_all_classes_moves_one_sum_and_neither_the_contrast_nor_the_odds(play, linear):
    with play("digits") as tab:
        odds = tab.locator(".s-odds").inner_text()
        single, contrast = computed(tab, "single"), computed(tab, "contrast")
        slide(tab, "common", 20)
        scores, expected, _ = shares(linear, 5, 9, strength=1.0)
        assert computed(tab, "single") == pytest.approx(expected, abs=2e-3) == pytest.approx(0.0, abs=2e-3)
        assert abs(single) > 0.1
        assert computed(tab, "contrast") == contrast and tab.locator(".s-odds").inner_text() == odds
        np.testing.assert_allclose(computed(tab, "scores"), scores, atol=2e-3)


def test_a_class_is_not_compared_with_itself(play):
    with play("digits") as tab:
        tab.locator("[data-control=rather] input[value='5']").check()
        assert tab.locator("[data-control=why] input:checked").get_attribute("value") == "6"


PAD = "[data-panel=pad] canvas"
READ = "[...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
DARK = f"c => {READ}.filter((v, i) => i % 4 === 0 && v < 128).length"


def test_a_digit_is_drawn_with_the_mouse_and_rubbed_out(play):
    with play("digits") as tab:
        pad, box = tab.locator(PAD), tab.locator(PAD).bounding_box()
        tab.get_by_role("button", name="Clear").click()
        assert pad.evaluate(DARK) == 0 and tab.locator(".s-picks input:checked").count() == 0
        x, top, bottom = box["x"] + box["width"] / 2, box["y"] + 10, box["y"] + box["height"] - 10
        tab.mouse.move(x, top)
        tab.mouse.down()
        tab.mouse.move(x, bottom)
        tab.mouse.up()
        assert pad.evaluate(DARK) == 16, "a stroke on the border of two columns darkens both"
        drawn = said(tab)
        tab.get_by_role("switch", name="Erase").click()
        tab.mouse.move(x, top)
        tab.mouse.down()
        tab.mouse.move(x, bottom)
        tab.mouse.up()
        assert pad.evaluate(DARK) == 0 and said(tab) != drawn


def test_a_digit_is_drawn_with_a_finger(play):
    with play("digits", size="phone") as tab:
        tab.get_by_role("button", name="Clear").click()
        tab.locator(PAD).tap()
        assert tab.locator(PAD).evaluate(DARK) > 0


def test_a_digit_is_drawn_from_the_keyboard(play):
    with play("digits") as tab:
        tab.get_by_role("button", name="Clear").click()
        tab.locator(PAD).focus()
        tab.keyboard.press("ArrowDown")
        assert tab.locator(".s-mark").is_visible()
        before = said(tab)
        tab.keyboard.press("Space")
        assert tab.locator(PAD).evaluate(DARK) > 0 and said(tab) != before
        tab.keyboard.press("ArrowRight")
        tab.wait_for_function("document.querySelector('.s-sr[role=status]')?.textContent.startsWith('Row 4')")
        tab.keyboard.press("ArrowLeft")
        tab.keyboard.press("Backspace")
        assert tab.locator(PAD).evaluate(DARK) == 0


# --- class activation maps ---------------------------------------------------------------------------------


def test_the_logits_of_the_page_are_those_of_torch(play, coffee):
    logits = coffee[4]
    with play("cam") as tab:
        for i, logit in enumerate(logits.tolist()):
            tab.locator(f"[data-control=class] input[value='{i}']").check()
            assert computed(tab, "logit") == pytest.approx(logit, abs=1e-2)
            assert tab.locator(
                "[data-big=logit] b"
            ).inner_text() == f"{computed(tab, 'logit')[0]:.2f}".replace("-", "−")


def test_the_box_is_that_of_the_library_at_every_threshold(play, coffee):
    maps = coffee[5]
    with play("cam") as tab:
        slide(tab, "threshold", -3)
        for step in range(1, 20):
            found = box_from_heatmap(maps[0], 0.05 * step)
            # A grey level of the stored maps can move a border by a pixel.
            np.testing.assert_allclose(computed(tab, "box"), found.numpy(), atol=1)
            overlap = iou(found.float(), torch.tensor(HUMAN).float()).item()
            assert float(said(tab).rstrip(".").split()[-1]) == pytest.approx(overlap, abs=0.02)
            slide(tab, "threshold", 1)


def test_shuffled_cells_scramble_the_map_and_leave_the_logit(play):
    heat = f"c => {READ}.filter((v, i) => i % 4 === 3)"
    with play("cam") as tab:
        tab.get_by_role("radio", name="as cells").check()
        canvas = tab.locator("[data-panel=map] canvas")
        before, logit = canvas.evaluate(heat), computed(tab, "logit")
        tab.get_by_role("button", name="Shuffle").click()
        after = canvas.evaluate(heat)
        assert after != before and sorted(after) == sorted(before), "the same cells in other places"
        assert computed(tab, "logit") == pytest.approx(logit, abs=1e-5)
        assert (
            tab.locator("[data-big=before] b").inner_text() == tab.locator("[data-big=logit] b").inner_text()
        )
        assert "as before the cells were shuffled" in said(tab)
        assert "shuffled" in canvas.get_attribute("aria-label")
        tab.get_by_role("button", name="Put them back").click()
        assert canvas.evaluate(heat) == before


def test_the_map_is_the_librarys_in_the_colours_of_the_figures(play, coffee):
    with play("cam") as tab:
        drawn = tab.locator("[data-panel=map] canvas").evaluate(f"c => {READ}")
    smooth = coffee[5][0]
    drawn = np.array(drawn, dtype=float).reshape(224, 224, 4)
    top = float(np.einsum("k,kij->ij", coffee[2]["espresso"].numpy(), coffee[1][0].numpy()).max())
    expected = 255 * _images.rgba(smooth.numpy(), (0, top), False, True)
    visible = expected[..., 3] > 60  # a canvas keeps colours multiplied by their opacity
    assert np.abs(drawn - expected)[..., 3].max() <= 4
    assert np.abs(drawn - expected)[visible].max() <= 12


# --- SmoothGrad --------------------------------------------------------------------------------------------


def test_agreement_and_error_are_those_of_python(play, gradients):
    with play("smooth_grad") as tab:
        for s in SIGMAS:
            tab.locator("[data-control=samples]").focus()
            tab.keyboard.press("Home")
            for m in range(1, 7):
                agreement, error = agreement_and_error(gradients[1][s], m)
                assert computed(tab, "agreement") == pytest.approx(agreement, abs=0.01)
                assert computed(tab, "error") == pytest.approx(error, rel=0.02)
                slide(tab, "samples", 1)
            slide(tab, "sigma", 1)
        assert "a probability of 25 %" in said(tab)


def test_other_samples_give_another_map_and_more_samples_agree_better(play):
    with play("smooth_grad") as tab:
        slide(tab, "sigma", 1)
        found = {1: [], 6: []}
        for m, steps in ((1, 0), (6, 5)):
            slide(tab, "samples", steps)
            for _ in range(8):
                found[m].append(computed(tab, "agreement")[0])
                tab.get_by_role("button", name="Draw other samples").click()
        assert len(set(found[1])) == 8
        assert np.mean(found[6]) > np.mean(found[1]) + 0.1


def test_the_noisy_copy_is_noisier_where_more_noise_is_asked_for(play):
    spread = f"c => {READ}.reduce((sum, v, i, all) => sum + (i < 4 ? 0 : Math.abs(v - all[i - 4])), 0)"
    with play("smooth_grad") as tab:
        canvas = tab.locator("canvas.s-noisy")
        tab.wait_for_function("document.querySelector('canvas.s-noisy').width === 56")
        little = canvas.evaluate(spread)
        slide(tab, "sigma", 1)
        assert canvas.evaluate(spread) > little
        assert "30 %" in canvas.get_attribute("aria-label")


# --- frames ------------------------------------------------------------------------------------------------


def test_frames_change_pictures_titles_and_sentence_and_come_back(play):
    state = "() => [...document.querySelectorAll('.s-grid img')].map(i => i.src)"
    with play("frames") as tab:
        first, title = tab.evaluate(state), tab.locator(".s-name").first
        assert title.inner_text() == "photo 1" and said(tab) == "One."
        slide(tab, "axis-1", 2)
        assert title.inner_text() == "photo 3" and said(tab) == "Three."
        assert tab.evaluate(state)[:2] == first[:2] and tab.evaluate(state)[2] != first[2]
        tab.get_by_role("radio", name="down").check()
        assert said(tab) == "One." and tab.evaluate(state) == first
        tab.get_by_role("button", name="Enlarge: photo 1").click()
        assert tab.locator("dialog.s-zoom").is_visible()
        assert heard(tab) == []
