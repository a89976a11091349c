"""The stored pairs of photographs of chapter 7 are what the page says of them."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch

from tests.pages import ROOT
from xai_lib import load_model, load_photo
from xai_lib.attacks import _room

spec = importlib.util.spec_from_file_location("attacked_picture", ROOT / "tools" / "attacked_picture.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)
FACTS = json.loads((tool.FOLDER / "pair.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model():
    return load_model("efficientnet_lite0")


@pytest.mark.parametrize("name", tool.CENTRES)
def test_the_facts_are_measured_on_the_files(name, model):
    found, told = tool.measured(model, name), FACTS[name]
    assert list(found) == list(told)
    for key, value in told.items():
        assert found[key] == (pytest.approx(value, abs=0.02) if isinstance(value, float) else value), key


@pytest.mark.parametrize("name", tool.CENTRES)
def test_nobody_sees_it_the_answer_stays_and_the_heat_goes(name):
    told = FACTS[name]
    assert told["answer"] == told["answer, attacked"]
    assert abs(told["probability"] - told["probability, attacked"]) < 0.015
    assert told["structural similarity"] > 0.98
    assert told["largest change in levels"] <= 8
    assert told["correlation of the two maps"] < 0.4
    before, after = (told[f"share of the heat in the spot{end}"] for end in ("", ", attacked"))
    assert after > 3 * before


@pytest.mark.parametrize("name", tool.CENTRES)
def test_the_pair_is_the_librarys_photograph_and_a_change_within_its_room(name):
    original, other = tool.stored(name), tool.stored(name, attacked=True)
    assert (original - load_photo(name)).abs().max() < 0.51 / 255
    change = (other - original).abs()
    room = _room(original, tool.ALIKE).clamp(max=tool.RADIUS)
    assert not torch.equal(other, original)
    assert (change <= room + 0.51 / 255).all()
