"""The data behind the taxonomy, the concept map and the cheat sheet, and what is made from it."""

import copy
import importlib
import pkgutil
import re
import sys
import types
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pybtex.database import parse_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import make_thumbnails  # noqa: E402
import render_methods  # noqa: E402

import xai_lib  # noqa: E402
from xai_lib.similarity import ssim  # noqa: E402

DATA = render_methods.load()
BIBLIOGRAPHY = parse_file(str(ROOT / "book" / "references.bib"))
METHODS = {m["id"]: m for m in DATA["methods"]}
TEXTS = (
    "name formula passes cost_note needs misleads summary scope access access_needs stage reach reach_note"
).split()
ROWS = [row for part in ("measures", "lies", "defences") for row in DATA[part]]
# What is public and neither explains, judges, lies nor defends: why it has no entry.
NO_ENTRY = {
    "cluster": "runs what others explain",
    "data": "pictures",
    "heatmaps": "what becomes of an attribution",
    "models": "networks, and what makes their layers readable",
    "train": "makes the shipped weights",
    "viz": "draws",
    "attacks.with_graph": "hands `attack_input` and `fool_model` a map that can be differentiated",
    "cams.grad_cam_plus_plus_weights": "the formula of the method",
    "cams.grad_cam_weights": "the formula of the method",
    "cams.hires_cam_weights": "the formula of the method",
    "cams.layer_cam_weights": "the formula of the method",
    "cams.weighted_map": "the formula of the methods",
    "cams.xgrad_cam_weights": "the formula of the method",
    "gradients.integrated_gradients_fit": "the method with what lies in between",
    "gradients.smooth_grad_fit": "the method with what lies in between",
    "influence.leave_one_out": "the truth that estimates of influence are compared with: it trains again",
    "influence.neural_network": "trains again for `leave_one_out`",
    "influence.projected_gradients": "what TRAK's scores are made of, and no score",
    "influence.softmax_regression": "trains again for `leave_one_out`",
    "manipulation.published_tables": "repeats a paper's tables",
    "perturbation.black_box": "wraps a classifier of another kind",
    "perturbation.rise_fit": "the method with what lies in between",
    "perturbation.rise_masks": "a part of the method",
    "surrogates.lime_fit": "the method with what lies in between",
    "surrogates.shapley_fit": "the method with what lies in between",
    "surrogates.superpixels": "a part of the methods",
}
every_method = pytest.mark.parametrize("method", DATA["methods"], ids=list(METHODS))
every_chapter = pytest.mark.parametrize("chapter", DATA["chapters"], ids=lambda c: f"chapter{c['number']}")
every_entry = pytest.mark.parametrize("key", list(BIBLIOGRAPHY.entries))


def importable(method: dict) -> bool:
    """Whether the function that the data names can be imported now."""
    name = method.get("elsewhere") or f"{method['module']}.{method['function']}"
    module, function = name.rsplit(".", 1)
    try:
        return hasattr(importlib.import_module(module), function)
    except ModuleNotFoundError:
        return False


def test_a_method_has_one_entry():
    assert len(METHODS) == len(DATA["methods"])


def public_functions() -> set[str]:
    """Every function that a module of the library offers, as ``module.function``."""
    found = set()
    for module in pkgutil.iter_modules(xai_lib.__path__):
        if not module.name.startswith("_"):
            there = importlib.import_module(f"xai_lib.{module.name}")
            own = [n for n, o in vars(there).items() if getattr(o, "__module__", "") == there.__name__]
            names = [n for n in getattr(there, "__all__", own) if not n.startswith("_")]
            found |= {
                f"{module.name}.{n}" for n in names if isinstance(getattr(there, n), types.FunctionType)
            }
    return found


def named_by(row: dict) -> list[str]:
    """The functions of a row of the tables that are not the methods' own."""
    return [n for n in (row.get("function"), *row.get("functions", []), *row.get("beside", [])) if n]


def test_whatever_explains_judges_lies_or_defends_has_an_entry():
    entered = {
        f"{m['module']}.{m['function']}".removeprefix("xai_lib.") for m in DATA["methods"] if m["module"]
    }
    entered |= {name for row in ROWS for name in named_by(row)}
    public = public_functions()
    assert len(public) > 90
    assert entered <= public
    left_out = {name for name in public if name in NO_ENTRY or name.split(".")[0] in NO_ENTRY}
    assert not entered & left_out
    assert sorted(public - entered - left_out) == [], "give them an entry in book/data/methods.yml"
    assert {name for name in NO_ENTRY if "." in name} <= public


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_row_of_the_other_tables_says_everything_and_cites_what_there_is(row):
    texts = {k: v for k, v in row.items() if k not in ("chapter", "functions", "beside")}
    assert all(isinstance(text, str) and text.strip() for text in texts.values())
    assert row["chapter"] in {c["number"] for c in DATA["chapters"]}
    assert set(row["cite"].split(",")) <= set(BIBLIOGRAPHY.entries)


def test_two_maps_that_are_empty_nearly_everywhere_are_alike_by_ssim_as_the_cheat_sheet_says():
    a, b = torch.zeros(2, 112, 112)
    a[20:26, 20:26] = b[80:86, 80:86] = 1
    (row,) = (row for row in ROWS if row.get("function") == "similarity.ssim")
    assert f"get {ssim(a, b):.2f}." in row["misleads"]


@every_method
def test_every_field_says_something(method):
    assert all(isinstance(method[field], str) and method[field].strip() for field in TEXTS)
    assert method["family"] in {f["id"] for f in DATA["families"]}
    assert method["chapter"] in {c["number"] for c in DATA["chapters"]}


@every_method
def test_a_method_stands_somewhere_on_each_axis(method):
    for axis in DATA["axes"]:
        assert method[axis["id"]] in axis["values"]


@every_method
def test_black_box_methods_read_outputs_only_and_model_agnostic_methods_are_black_box(method):
    assert (method["access"] == "black-box") == (method["access_needs"] == "outputs only")
    if method["reach"] == "model-agnostic":
        assert method["access"] == "black-box"


@every_method
def test_available_means_that_it_can_be_imported_today(method):
    assert method["available"] == importable(method), (
        f"{method['id']}: set available to {importable(method)} in book/data/methods.yml, "
        "then run python tools/render_methods.py"
    )


@every_method
def test_the_papers_of_a_method_are_in_the_bibliography(method):
    assert {method["cite"], *method["also"]} <= set(BIBLIOGRAPHY.entries)


@every_method
def test_a_method_that_can_be_imported_has_a_small_picture_and_says_what_it_shows(method):
    path = ROOT / "book" / "images" / "methods" / f"{method['id']}.webp"
    assert path.exists() == method["available"], "run python tools/make_thumbnails.py"
    if method["available"]:
        assert len(method["drawn"].split()) > 4
        assert path.stat().st_size < 20_000 and Image.open(path).size == (168, 168)


@pytest.mark.parametrize(
    "name", ["linear_model", "decision_tree", "gradient", "grad_cam", "hires_cam", "tracin"]
)
def test_a_small_picture_is_what_its_method_computes(name):
    def blocks(image):  # WebP changes single speckles
        return np.asarray(image.convert("RGB"), float).reshape(14, 12, 14, 12, 3).mean((1, 3))

    stored = Image.open(ROOT / "book" / "images" / "methods" / f"{name}.webp")
    difference = np.abs(blocks(stored) - blocks(make_thumbnails.picture(name)))
    assert difference.mean() < 4, "run python tools/make_thumbnails.py"


@every_chapter
def test_written_means_that_the_lesson_is_there(chapter):
    assert chapter["written"] == (ROOT / f"{chapter['page']}.md").exists()


@every_chapter
def test_a_chapter_builds_on_earlier_ones(chapter):
    assert all(1 <= n < chapter["number"] for n in chapter["builds_on"])


def numbers_in(text: str) -> list[int]:
    """``1 to 3`` is 1, 2, 3; ``2, 3 and 6`` are these."""
    text = re.sub(r"(\d) to (\d)", lambda m: " ".join(map(str, range(int(m[1]), int(m[2]) + 1))), text)
    return sorted({int(n) for n in re.findall(r"\b\d\b", text)})


def asked_before(path: Path) -> tuple[list[int], list[int]]:
    """What a page's opener needs before one starts, and what only helps."""
    line = re.search(r"^\*\*Before you start:\*\* (.*)\.$", path.read_text("utf-8"), re.MULTILINE)[1]
    needed, helps = [], []
    for part in line.split(";"):
        if "help" in part:
            helps += numbers_in(part)
        elif part.strip().startswith("at least"):  # of those that were named before it
            helps += [n for n in needed if n not in numbers_in(part)]
            needed = numbers_in(part)
        elif "chapter" in part and "of this chapter" not in part:
            needed += numbers_in(part)
    return needed, helps


@every_chapter
def test_the_map_s_arrows_are_what_the_lesson_asks_for_before_one_starts(chapter):
    first = ROOT / f"{chapter['page']}.md"
    seconds = first.parent.glob("lesson_*.md")
    needed, helps = asked_before(first)
    more = sorted({n for path in seconds for n in asked_before(path)[0]} - set(needed))
    assert chapter["builds_on"] == needed
    assert chapter.get("second_page", []) == more
    # What helps with the first page and is needed for the second is said once, as needed.
    assert chapter.get("helps", []) == [n for n in helps if n not in more]


@every_entry
def test_a_key_is_the_first_author_and_the_year(key):
    entry = BIBLIOGRAPHY.entries[key]
    first = entry.persons["author"][0]
    surname = "".join(first.prelast_names + first.last_names)
    surname = re.sub(r"\\[\"'`^c]|[{}]", "", surname)
    surname = "".join(c for c in unicodedata.normalize("NFD", surname) if c.isalpha() and c.isascii())
    assert key.lower() == f"{surname}{entry.fields['year']}".lower()
    assert entry.fields["title"]


@every_entry
def test_an_arxiv_number_looks_like_one(key):
    fields = BIBLIOGRAPHY.entries[key].fields
    if "eprint" in fields:
        assert re.fullmatch(r"\d{4}\.\d{4,5}", fields["eprint"]) and fields["archiveprefix"] == "arXiv"


def test_no_paper_is_entered_twice():
    entries = BIBLIOGRAPHY.entries.values()
    for field in ("title", "eprint"):
        seen = [re.sub(r"\W", "", e.fields[field]).lower() for e in entries if field in e.fields]
        assert len(seen) == len(set(seen))


def test_every_citation_on_a_page_is_in_the_bibliography():
    pages = [*ROOT.glob("book/**/*.md"), *ROOT.glob("chapters/*/*.md"), *ROOT.glob("book/generated/*.inc")]
    cited = {
        key.strip()
        for page in pages
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", page.read_text(encoding="utf-8"))
        for key in keys.split(",")
    }
    assert cited and cited <= set(BIBLIOGRAPHY.entries)


def test_the_generated_pieces_are_up_to_date():
    of_the_notebooks = {"ledger.inc"}  # test_ledger.py
    paths = [path for path in render_methods.OUT.iterdir() if path.name not in of_the_notebooks]
    stored = {path.name: path.read_text(encoding="utf-8") for path in paths}
    assert stored == render_methods.pieces(), "run python tools/render_methods.py"


def test_a_change_of_the_data_changes_the_pieces(tmp_path, monkeypatch, capsys):
    changed = copy.deepcopy(DATA)
    changed["methods"][0]["name"] = "Another model"
    monkeypatch.setattr(render_methods, "DATA", tmp_path / "methods.yml")
    render_methods.DATA.write_text(yaml.safe_dump(changed), encoding="utf-8")
    assert render_methods.main(["--check"]) == 1
    assert "cheat_sheet.inc is out of date" in capsys.readouterr().err


def drawings() -> list[ElementTree.Element]:
    """The two drawings of the concept map, for a screen and for a phone."""
    return [
        ElementTree.fromstring(svg)
        for svg in re.findall(r"<svg.*?</svg>", render_methods.concept_map(DATA), flags=re.DOTALL)
    ]


SVG = "{http://www.w3.org/2000/svg}"


def test_the_map_has_a_title_a_description_and_no_fixed_text_colour():
    assert len(drawings()) == 2
    for svg in drawings():
        assert svg.find(f"{SVG}title").text and svg.find(f"{SVG}desc").text
        assert not [e for e in svg.iter() if "fill" in e.attrib or "style" in e.attrib]


def test_both_drawings_and_the_list_name_every_method_and_topic():
    names = [m["name"] for m in DATA["methods"]] + [t for c in DATA["chapters"] for t in c["topics"]]
    drawn = [" ".join(e.text for e in svg.iter(f"{SVG}text")) for svg in drawings()]
    for text in [*drawn, render_methods.map_as_list(DATA)]:
        assert [name for name in names if name not in text] == []


def test_the_map_leads_to_the_chapters_that_are_written_and_to_no_other():
    written = [f"../{c['page']}.html" for c in DATA["chapters"] if c["written"]]
    for svg in drawings():
        assert [a.get("href") for a in svg.iter(f"{SVG}a")] == written


def test_no_text_of_the_map_is_outside_the_drawing():
    for svg in drawings():
        width, height = map(float, svg.get("viewBox").split()[2:])
        for text in svg.iter(f"{SVG}text"):
            letter = 8.8 if text.get("class") == "title" else 7.4
            assert float(text.get("x")) + letter * len(text.text) <= width
            assert float(text.get("y")) <= height


@pytest.mark.parametrize("piece", ["cheat_sheet.inc", "taxonomy.inc"])
def test_a_table_has_a_row_for_every_method_and_says_which_are_in_preparation(piece):
    rows = re.split(r"^\* - ", render_methods.pieces()[piece], flags=re.MULTILINE)[2:]
    assert [row.split("**")[1] for row in rows] == [m["name"] for m in DATA["methods"]]
    for row, method in zip(rows, DATA["methods"], strict=True):
        written = render_methods.chapter_of(DATA, method["chapter"])["written"]
        assert ("in preparation" in row) == (not written)
