"""Figures say what they show: scales, signs, errors."""

import subprocess
import sys

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
        ([MAP], {"clip": float("nan")}, "clip must be"),
        ([MAP], {"size": 0}, "size must be a finite number, above 0, inches, got 0"),
        ([MAP], {"size": True}, "size must be"),
        ([MAP], {"size": (3, 4)}, "size must be"),
        ([MAP], {"columns": -1}, "columns must be a positive whole number, got -1"),
        ([MAP], {"columns": 0}, "columns must be"),
        ([MAP], {"columns": 1.5}, "columns must be"),
        ([MAP], {"signed": "no"}, "signed must be True or False"),
        ([MAP], {"colorbar": True}, "colorbar must be a text or None"),
        ([MAP], {"suptitle": 3}, "suptitle must be a text or None"),
        ([MAP, MAP], {"titles": "ab"}, "titles must be a list of texts"),
        ([MAP, MAP], {"titles": ["a", 2]}, r"titles\[1\] must be a text"),
        (MAP, {}, "items must be a list .* put it into a list"),
        (3, {}, "items must be a list"),
        ({"a": MAP}, {}, "items must be a list"),
        ([MAP[:0]], {}, r"items\[0\] must hold at least one number"),
        ([(PHOTO, MAP[:0])], {}, r"items\[0\]\[1\] must hold at least one number"),
        ([MAP + 1j], {}, r"items\[0\] must hold real numbers, got complex64"),
        ([(PHOTO, [[1.0, 2.0], [3.0]])], {}, r"items\[0\]\[1\] must hold real numbers"),
        ([None], {}, r"items\[0\] must hold real numbers, got NoneType"),
        ([MAP.to("meta")], {}, r"items\[0\] must hold values"),
        ([MAP.to_sparse()], {}, r"items\[0\] must be a dense tensor"),
    ],
)
def test_bad_panels_are_named_before_anything_is_drawn(items, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        viz.panels(items, **options)
    assert plt.get_fignums() == []


def test_a_number_of_numpy_is_a_number():
    items = [MAP] * 4
    mine = viz.panels(items, columns=np.int64(2), size=np.float32(2), clip=np.float64(99), signed=np.True_)
    plain = viz.panels(items, columns=2, size=2.0, clip=99.0, signed=True)
    np.testing.assert_array_equal(mine.get_size_inches(), plain.get_size_inches())
    assert [image.norm.vmax for image in drawn(mine)] == [image.norm.vmax for image in drawn(plain)]


@pytest.mark.parametrize(
    ("text", "inches", "message"), [(3, 1, "text must be"), ("a", 0, "inches must be"), ("a", "1", "inches")]
)
def test_what_cannot_be_wrapped_is_named(text, inches, message):
    with pytest.raises((TypeError, ValueError), match=message):
        viz.wrap(text, inches)


def test_figures_do_not_pile_up_where_nothing_can_be_shown(tmp_path):
    mine = plt.figure()
    figures = [viz.panels([MAP]) for _ in range(40)]
    last = viz.panels([MAP, MAP])
    assert plt.gcf() is last and len(plt.get_fignums()) == 2 and plt.fignum_exists(mine.number)
    figures[0].savefig(tmp_path / "first.png")  # an earlier one is still whole
    assert plt.imread(tmp_path / "first.png").std() > 0.1


def test_figures_stay_until_they_were_shown_where_they_can_be(capsys):
    backend = plt.get_backend()
    plt.switch_backend("module://matplotlib_inline.backend_inline")
    try:
        for _ in range(3):
            viz.panels([MAP])
        assert len(plt.get_fignums()) == 3
        plt.show()
        assert plt.get_fignums() == []
        assert capsys.readouterr().out.count("Figure(") == 3
    finally:
        plt.switch_backend(backend)


def test_the_last_line_of_a_cell_is_shown_once():
    from IPython.core.formatters import DisplayFormatter

    backend = plt.get_backend()
    plt.switch_backend("module://matplotlib_inline.backend_inline")
    try:
        figure = viz.panels([MAP])
        shown, _ = DisplayFormatter().format(figure)
        assert shown["text/plain"].startswith("<Figure size ")
        assert plt.get_fignums() == [], "it would be shown again at the cell's end"
    finally:
        plt.switch_backend(backend)


def test_the_library_is_imported_without_its_figures():
    code = "import sys, xai_lib; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_text_in_figures_is_at_least_nine_points():
    assert min(plt.rcParams["font.size"], *(plt.rcParams[f"{axis}tick.labelsize"] for axis in "xy")) >= 9
