"""The figure on the page: what it shows, what it says to the tests, and what it refuses."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image

from xai_course import figures
from xai_course._page import with_current_inline, without_inline
from xai_course.ledger import claim

PHOTO = torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))
RAMP = torch.linspace(0, 1, 8 * 12).reshape(8, 12)
TEXTS = {"caption": "What is seen.", "alt": "A noisy picture."}


def page(shown) -> BeautifulSoup:
    return BeautifulSoup(shown.html(), "html.parser")


def pixels(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGBA"))


def one(panel, **options) -> figures.Figure:
    return figures.figure("2.1", [panel], **{**TEXTS, **options})


def test_a_figure_has_an_anchor_a_number_a_caption_and_a_text_alternative():
    html = page(one(figures.panel(PHOTO, name="picture"), look="the *noise*."))
    figure = html.find("figure")
    assert figure["id"] == "figure-2-1"
    assert figure.figcaption.get_text(" ", strip=True) == "Figure 2.1 What is seen. Look for the noise ."
    assert figure.select_one(".s-look em").get_text() == "noise"
    assert figure.select_one(".s-sr").get_text() == TEXTS["alt"]


def test_a_picture_keeps_its_shape_and_its_pixels():
    html = page(one(figures.panel(PHOTO, name="picture")))
    shot = html.select_one("button.s-shot")
    assert shot["style"] == "aspect-ratio:48/32" and "s-px" in shot.img["class"]
    stored = pixels(shot.img["src"])[..., :3] / 255
    assert stored.shape == (32, 48, 3)
    assert abs(stored.mean() - PHOTO.mean().item()) < 0.01


def test_a_coarse_map_is_stored_exactly_as_it_was_computed():
    html = page(one(figures.panel(heat=RAMP, name="ramp"), bar="value"))
    stored = pixels(html.select_one("button img")["src"])
    import matplotlib

    assert stored.shape[:2] == (8, 12)
    exact = matplotlib.colormaps["inferno"](RAMP.numpy())
    assert np.abs(stored / 255 - exact).max() < 0.01


def test_over_a_picture_the_opacity_rises_with_the_value_and_the_picture_is_grey():
    html = page(one(figures.panel(PHOTO, RAMP, name="ramp"), bar="value"))
    picture, heat = html.select("button img")
    assert "is-grey" in picture["class"] and "heat" in heat["class"]
    opacity = pixels(heat["src"])[..., 3].ravel().astype(int)
    assert opacity[0] == 0 and (np.diff(opacity) >= 0).all() and opacity[-1] > 200


def test_a_signed_map_is_white_at_zero_red_above_and_blue_below():
    html = page(one(figures.panel(heat=torch.tensor([[-2.0, 0.0, 2.0]]), name="signed"), bar="logits"))
    below, zero, above = pixels(html.select_one("button img")["src"])[0, :, :3].astype(int)
    assert below[2] > below[0] + 50 and above[0] > above[2] + 50 and zero.min() > 240
    assert [end.get_text() for end in html.select(".s-bar span")] == ["−2.0", "2.0"]


def test_maps_share_one_scale_or_the_bar_says_that_they_do_not():
    panels = [figures.panel(heat=RAMP, name="one"), figures.panel(heat=3 * RAMP, name="three")]
    shared = page(figures.figure("2.1", panels, bar="value", **TEXTS))
    own = page(figures.figure("2.1", panels, bar="value", shared=False, **TEXTS))
    weak, strong = (pixels(img["src"]).astype(int).sum() for img in shared.select("button img"))
    assert weak < strong
    assert shared.select(".s-bar span")[1].get_text() == "3.0"
    same = [pixels(img["src"]) for img in own.select("button img")]
    assert (same[0] == same[1]).all() and own.select(".s-bar span")[1].get_text() == "each map’s own max"


def test_the_plain_text_tells_maps_apart_and_holds_no_bytes():
    text = repr(one(figures.panel(PHOTO, RAMP, name="ramp", note="rising"), bar="value"))
    turned = repr(one(figures.panel(PHOTO, RAMP.flip(0), name="ramp", note="rising"), bar="value"))
    assert text != turned and "base64" not in text
    assert text.splitlines()[1].startswith("  ramp (rising): heatmap, 8 × 12: ")


def test_boxes_and_numbers_lie_where_they_were_put():
    panel = figures.panel(PHOTO, name="p", boxes=[(12, 8, 36, 24)], numbers={"7": (24, 16)})
    html = page(one(panel))
    box = html.select_one("rect.box")
    assert [float(box[k]) for k in ("x", "y", "width", "height")] == [12, 8, 24, 16]
    label = html.select_one(".s-num")
    assert label.get_text() == "7" and label["style"] == "left:50.0%;top:50.0%"


def test_segments_have_borders_and_carry_their_numbers():
    segments = torch.zeros(32, 48, dtype=torch.long)
    segments[:, 24:] = 1
    html = page(one(figures.panel(PHOTO, name="p", segments=segments)))
    assert html.select_one("path.edge")["d"] == "M24 0L24 32"
    assert [label.get_text() for label in html.select(".s-num")] == ["0", "1"]
    left, right = (float(re.match(r"left:([\d.]+)", label["style"])[1]) for label in html.select(".s-num"))
    assert left < 50 < right


def test_each_map_s_own_scale_ends_at_the_percentile_that_was_asked_for():
    spike = torch.full((8, 8), 0.1)
    spike[0, 0] = 1.0
    panels = [figures.panel(heat=spike, name="spike")]
    full, clipped = (
        page(figures.figure("1.1", panels, bar="value", shared=False, clip=clip, **TEXTS))
        for clip in (100, 90)
    )
    pale, bright = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(html.img["src"].split(",")[1]))).convert("RGB"))[
            -1, -1
        ]
        for html in (full, clipped)
    )
    assert bright.sum() > 2 * pale.sum()
    assert "each map’s own max" in full.text and "each map’s 90th percentile" in clipped.text


def test_a_chart_is_drawn_in_the_colours_of_the_page():
    axes = figures.chart(xlabel="samples", ylabel="error")
    axes.plot([1, 2, 4], [1.0, 0.5, 0.25], label="measured")
    axes.plot([1, 2, 4], [2.0, 1.0, 0.5], label="other")
    panel = figures.panel(axes, name="Error")
    html = page(one(panel))
    svg = html.select_one("svg.s-chart")
    assert "var(--c1)" in str(svg) and "var(--ink)" in str(svg)
    assert not re.search(r"#0\d0\d|<metadata|date", str(svg))
    assert {"samples", "error", "measured", "other"} <= {text.get_text() for text in svg.find_all("text")}
    assert panel.says() == (
        "Error: chart, samples by error; measured: 3 points, 1.0 … 0.25; other: 3 points, 2.0 … 0.50"
    )


def test_lines_differ_in_more_than_colour():
    axes = figures.chart(xlabel="x", ylabel="y")
    lines = [axes.plot([1, 2, 3], [i, i + 1, i + 2])[0] for i in range(len(figures.COLORS))]
    for look in (lambda line: line.get_marker(), lambda line: line.get_color()):
        assert len({look(line) for line in lines}) == len(lines)
    assert len({str(line.get_linestyle()) + str(line._dash_pattern) for line in lines}) == len(lines)


def shown(axes, columns=2):
    """A chart's panel and its page."""
    panel = figures.panel(axes, name="C")
    return panel, page(figures.figure("1.1", [panel], caption="A chart.", alt="A chart.", columns=columns))


def test_text_that_a_lesson_writes_into_a_chart_follows_the_theme():
    axes = figures.chart(xlabel="x", ylabel="y")
    axes.plot([0, 1], [1, 2], label="a")
    axes.plot([0, 1], [2, 3], label="b")
    axes.legend(loc="upper right")
    axes.text(0, 1, "a note")
    texts = {tag.text: tag.get("style", "") for tag in shown(axes)[1].select("svg text")}
    assert "var(--ink)" in texts["a note"] and "var(--ink)" in texts["b"]


def test_a_legend_has_no_ground_of_its_own_which_a_dark_page_could_not_recolour():
    axes = figures.chart()
    axes.plot([0, 1], [0, 1], label="a")
    axes.legend(facecolor="#fafafa", frameon=True)
    _, html = shown(axes)
    assert "a" in [tag.text for tag in html.select("[id$=legend_1] text")]
    assert "#fafafa" not in str(html.select_one("[id$=legend_1]"))


def test_bars_say_their_rows_and_values_and_the_legend_lies_inside():
    axes = figures.bars(
        ["first", "second"], {"one with a long name": [0.5, -0.25], "other": [1, 2]}, text="{:+.1f}".format
    )
    panel, html = shown(axes)
    assert panel.says() == (
        "C: chart, bars; one with a long name: first 0.50, second −0.25; other: first 1.0, second 2.0"
    )
    texts = [tag.text for tag in html.select("svg text")]
    assert {"first", "second", "+0.5", "-0.2", "+2.0", "one with a long name", "other"} <= set(texts)
    axes.figure.canvas.draw()
    legend = axes.figure.legends[0].get_window_extent()
    assert axes.get_window_extent().y1 <= legend.y0 and legend.x1 <= axes.figure.bbox.x1


def test_a_long_legend_takes_two_lines():
    names = ["as it is", "coin", "gradient", "against the gradient"]
    axes = figures.bars(["A"], {name: [1.0] for name in names})
    shown(axes)
    axes.figure.canvas.draw()
    legend = axes.figure.legends[0].get_window_extent()
    assert legend.x1 <= axes.figure.bbox.x1 and axes.get_window_extent().y1 <= legend.y0


def test_bars_want_a_value_for_each_row():
    with pytest.raises(ValueError, match=r"'a'. has 1 values, but there are 2 rows"):
        figures.bars(["x", "y"], {"a": [1.0]})


def test_a_chart_on_its_own_takes_no_more_than_its_width():
    narrow, wide = (
        shown(figures.bars(["x"], {"a": [1.0]}, width=w), columns=1)[1].select_one(".s-grid")["style"]
        for w in (4, 8)
    )
    limit = re.compile(r"max-width:([\d.]+)rem")
    assert float(limit.search(wide)[1]) == pytest.approx(2 * float(limit.search(narrow)[1]), rel=0.01)
    assert "max-width" not in shown(figures.bars(["x"], {"a": [1.0]}))[1].select_one(".s-grid")["style"]


def test_two_charts_on_a_page_share_no_name():
    def drawn(last):
        axes = figures.chart(xlabel="x", ylabel="y")
        axes.plot([0, 1], [0, last], label="line")
        return figures.panel(axes, name="chart")

    html = page(figures.figure("2.1", [drawn(1), drawn(2)], **TEXTS))
    names = [tag["id"] for tag in html.find_all(id=True)]
    assert len(names) == len(set(names)) > 2
    for use in html.find_all("use"):
        assert use.get("xlink:href", use.get("href"))[1:] in names


def test_a_table_prints_numbers_and_can_be_read_on_a_phone():
    shown = figures.table(
        "2.1", [["A", 0.125, "long", 3], ["B", -1.5, "x", 4]], ["net", "loss", "c", "n"], caption="C."
    )
    html = page(shown)
    assert html.select_one("figure")["id"] == "table-2-1"
    assert [cell.get_text() for cell in html.select("tbody td.is-number")] == ["0.12", "3", "−1.50", "4"]
    assert [cell["data-label"] for cell in html.select("tbody tr:first-child td")] == ["loss", "c", "n"]
    assert "is-stacked" in html.select_one(".s-rows")["class"]
    assert repr(shown).splitlines()[2] == "  A | 0.12 | long | 3"


def test_a_table_refuses_true_and_false():
    with pytest.raises(ValueError, match="True or False"):
        figures.table("2.1", [["A", True]], ["net", "wins"], caption="C.")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.panel(), "picture and heat are both None"),
        (lambda: figures.panel(heat=torch.full((4, 4), torch.nan)), "heat contains NaN"),
        (lambda: figures.panel(heat=torch.rand(2, 4, 4)), r"heat must be a heatmap"),
        (lambda: one(figures.panel(heat=RAMP)), "bar is missing"),
        (lambda: one(figures.panel(PHOTO), caption=" "), "caption must say something"),
        (lambda: one(figures.panel(PHOTO), alt=""), "alt must say something"),
        (lambda: figures.figure("3", [figures.panel(PHOTO)], **TEXTS), "number must be"),
        (lambda: figures.figure("3.1", [], **TEXTS), "panels is empty"),
        (lambda: figures.table("3.1", [["a"]], ["x", "y"], caption="C."), r"rows\[0\] has 1 cells"),
    ],
)
def test_what_cannot_be_shown_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_schematic_is_inlined_and_brings_nothing_of_its_own(tmp_path):
    good = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 40"><path class="line" d="M0 0"/></svg>'
    (tmp_path / "good.svg").write_text(good)
    (tmp_path / "bad.svg").write_text(good.replace("<path", "<script>1</script><path"))
    html = page(figures.schematic("2.2", tmp_path / "good.svg", **TEXTS))
    assert html.select_one("svg.s-schematic path.line") is not None
    with pytest.raises(ValueError, match="must not bring"):
        figures.schematic("2.2", tmp_path / "bad.svg", **TEXTS)
    with pytest.raises(FileNotFoundError, match=r"no none\.svg"):
        figures.schematic("2.2", tmp_path / "none.svg", **TEXTS)


def test_an_output_stands_alone_and_the_book_leaves_out_what_it_loads_itself():
    markup = one(figures.panel(PHOTO, name="p")).html()
    assert "--paper:" in markup and "sinb" in markup
    bare = without_inline(markup)
    assert "--paper:" not in bare and "<script" not in bare and "Figure 2.1" in bare
    stale = re.sub(r"--paper:[^;]*;", "--paper: red;", markup)
    assert with_current_inline(stale) == markup


def test_a_claim_is_an_assertion():
    facts = {"kind": "number", "says": "it is small", "found": "0.2", "on": "a network"}
    assert claim("Key2020", 0.2 < 1, **facts).verdict == "holds"
    with pytest.raises(AssertionError, match="no longer what it finds"):
        claim("Key2020", 0.2 > 1, **facts)
    with pytest.raises(TypeError, match="found_true must be True or False"):
        claim("Key2020", 1, **facts)
    with pytest.raises(ValueError, match="verdict must be one of"):
        claim("Key2020", True, verdict="maybe", **facts)


@pytest.mark.parametrize(
    "text, marked, bare",
    [
        (
            "mean of *G* weighted by *A*",
            "mean of <em>G</em> weighted by <em>A</em>",
            "mean of G weighted by A",
        ),
        ("**one** and **two**", "<strong>one</strong> and <strong>two</strong>", "one and two"),
        (
            "**Look:** at *both* of them",
            "<strong>Look:</strong> at <em>both</em> of them",
            "Look: at both of them",
        ),
        ("2 * 3 * 4", "2 * 3 * 4", "2 * 3 * 4"),
    ],
)
def test_each_pair_of_marks_is_an_emphasis_of_its_own(text, marked, bare):
    assert figures.inline(text) == marked
    assert figures.plain(text) == bare


def test_a_phone_shows_as_many_panels_in_a_row_as_are_asked_for():
    five = [figures.panel(PHOTO, name=str(i)) for i in range(5)]
    usual = figures.figure("1.1", five, caption="Five.", alt="Five photographs.", columns=5).html()
    asked = figures.figure("1.1", five, caption="Five.", alt="Five photographs.", columns=5, phone=5).html()
    assert "--cols:5;--phone:2" in usual and "--cols:5;--phone:5" in asked


def test_a_tinted_table_tints_its_per_cent_and_nothing_else():
    given = [["deletion", "20 %", "3"], ["insertion", "97.5 %", "none"]], ["judge", "right", "wrong"]
    html = figures.table("1.1", *given, caption="Shares.", shade=True).html()
    assert re.findall(r"--share:([\d.]+)", html) == ["20", "97.5"]
    assert 'style="--share:' not in figures.table("1.1", *given, caption="Shares.").html()
