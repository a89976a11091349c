"""Figures say what they show: scales, signs, errors."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from xai_lib import viz


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


PHOTO = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
MAP = torch.linspace(0, 1, 256).reshape(16, 16)


def drawn(figure):
    """The last image of each panel: the heatmap where there is one."""
    return [axis.images[-1] for axis in figure.axes if axis.images]


def test_heatmaps_under_one_colour_bar_share_one_scale():
    first, second = drawn(viz.panels([MAP, 3 * MAP], colorbar="a value"))
    assert first.norm.vmax == second.norm.vmax == pytest.approx(3.0)


def test_heatmaps_without_a_colour_bar_run_over_their_own_range():
    first, second = drawn(viz.panels([MAP, 3 * MAP]))
    assert (first.norm.vmax, second.norm.vmax) == (pytest.approx(1.0), pytest.approx(3.0))


def test_signed_maps_are_blue_and_red_with_zero_in_the_middle():
    (image,) = drawn(viz.panels([MAP - 0.25]))
    assert image.get_cmap().name == "RdBu_r"
    assert image.norm.vmin == -image.norm.vmax
    red, _, blue, _ = image.get_cmap()(image.norm(0.0))
    assert abs(red - blue) < 0.02, "zero is neither red nor blue"


def test_unsigned_maps_start_at_zero_in_a_perceptual_map():
    (image,) = drawn(viz.panels([MAP + 0.5]))
    assert image.get_cmap().name == "inferno" and image.norm.vmin == 0


def test_signed_can_be_asked_for():
    (image,) = drawn(viz.panels([MAP], signed=True))
    assert image.norm.vmin == pytest.approx(-1.0)


def test_a_coarse_heatmap_covers_the_whole_image():
    (image,) = drawn(viz.panels([(PHOTO, MAP[::4, ::4])]))
    assert image.get_extent() == [-0.5, 15.5, 15.5, -0.5]
    assert image.get_array().shape == (4, 4), "stretched, not resampled"


def test_clipping_is_shown_on_the_colour_bar():
    spike = MAP.clone()
    spike[0, 0] = 50.0
    figure = viz.panels([spike], colorbar="a value", clip=99)
    (image,) = drawn(figure)[:1]
    assert image.norm.vmax < 2
    assert image.colorbar is None and len(figure.axes) == 2


def test_a_map_of_zeros_can_be_drawn():
    (image,) = drawn(viz.panels([torch.zeros(8, 8)]))
    assert image.norm.vmax > image.norm.vmin


@pytest.mark.parametrize("image", [PHOTO, PHOTO[None], PHOTO[:1], PHOTO.permute(1, 2, 0), PHOTO.numpy()])
def test_images_of_every_layout_come_out_alike(image):
    pixels = viz.to_pixels(image)
    assert pixels.shape == (16, 16, 3)
    np.testing.assert_allclose(pixels[..., 0], PHOTO[0], rtol=1e-6)


def test_bytes_are_images_too():
    np.testing.assert_allclose(viz.to_pixels((PHOTO * 255).byte()), viz.to_pixels(PHOTO), atol=1 / 255)


@pytest.mark.parametrize(
    ("items", "options", "message"),
    [
        ([], {}, "items is empty"),
        ([MAP], {"titles": ["a", "b"]}, "titles has 2 entries"),
        ([MAP * float("nan")], {}, r"items\[0\] contains NaN"),
        ([torch.rand(5, 8, 8)], {}, r"items\[0\] must be an image"),
        ([2 * PHOTO], {}, r"values in \["),
        ([MAP[None] - 0.5], {}, r"give it as \(H, W\)"),
        ([(PHOTO, MAP, MAP)], {}, "pair"),
        ([MAP], {"clip": 0}, "clip must be"),
    ],
)
def test_bad_panels_are_named(items, options, message):
    with pytest.raises(ValueError, match=message):
        viz.panels(items, **options)


def test_lines_differ_in_more_than_colour():
    lines = {f"line {i}": [i, i + 1, i + 2] for i in range(len(viz.COLORS))}
    axis = viz.curves([1, 2, 3], lines, xlabel="x", ylabel="y").axes[0]
    looks = {(line.get_marker(), str(line.get_linestyle()), line.get_color()) for line in axis.lines}
    assert len({marker for marker, _, _ in looks}) == len({color for *_, color in looks}) == len(lines)
    assert [text.get_text() for text in axis.get_legend().get_texts()] == list(lines)


@pytest.mark.parametrize(
    ("lines", "message"), [({}, "0 entries"), ({"a": [1, 2]}, r"lines\['a'\] has shape \(2,\)")]
)
def test_bad_curves_are_named(lines, message):
    with pytest.raises(ValueError, match=message):
        viz.curves([1, 2, 3], lines, xlabel="x", ylabel="y")


def test_text_in_figures_is_at_least_nine_points():
    assert min(plt.rcParams["font.size"], *(plt.rcParams[f"{axis}tick.labelsize"] for axis in "xy")) >= 9
