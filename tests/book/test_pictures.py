"""The pictures of the frame are what the library computes."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

from tests.pages import ROOT

spec = importlib.util.spec_from_file_location("make_pictures", ROOT / "tools/make_pictures.py")
pictures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pictures)


@pytest.fixture(scope="module")
def computed():
    return pictures.hero_answers()


def test_the_title_page_s_answers_are_the_classifier_s(computed):
    stored = json.loads((ROOT / "book/data/hero.json").read_text(encoding="utf-8"))
    for name, p in computed[0].items():
        assert stored[name] == pytest.approx(p, abs=2e-3)


@pytest.mark.parametrize("name", ["tag", "clean"])
def test_the_title_page_s_pictures_are_those_that_the_classifier_saw(computed, name):
    with Image.open(ROOT / f"book/_static/pictures/hero-{name}.webp") as file:
        shown = np.asarray(file.convert("RGB"))
    assert np.array_equal(shown, pictures.pixels(computed[1][name]))


def test_only_the_tag_is_taken_away(computed):
    changed = (computed[1]["tag"] != computed[1]["clean"]).any(0)
    rows, columns = changed.nonzero().T
    assert rows.min() >= 90 and columns.max() < 45, "the two differ in the lower left corner alone"


@pytest.mark.parametrize("number", range(1, 10))
def test_every_chapter_has_its_card(number):
    with Image.open(ROOT / f"book/_static/pictures/card-{number}.webp") as file:
        assert file.width == file.height >= 224


@pytest.mark.parametrize("folder", sorted((ROOT / "chapters").glob("0*")), ids=lambda folder: folder.name)
def test_every_chapter_has_its_opening_picture(folder):
    with Image.open(folder / "opener.webp") as file:
        assert file.width * 3 == file.height * 8 and file.width >= 896
