"""The shipped pictures are what the command draws today, and are what their manifests say."""

from __future__ import annotations

import hashlib
import json

import pytest

from xai_course.study import protocols, stimuli
from xai_course.study.protocols import STIMULI, pictures

NAMES = sorted({protocol.stimuli for protocol in protocols.all_protocols()})


def numbers_and_words(value):
    """All of a manifest but the names of files, which follow the picture library's version."""
    if isinstance(value, dict):
        for key, one in value.items():
            if key not in ("file", "picture"):
                yield from numbers_and_words(one)
    elif isinstance(value, list):
        for one in value:
            yield from numbers_and_words(one)
    else:
        yield value


def test_the_command_draws_what_is_shipped(tmp_path):
    counts = stimuli.render(tmp_path)
    assert counts == {name: len(pictures(name)["main"]) for name in NAMES}
    for name in NAMES:
        drawn = list(numbers_and_words(json.loads((tmp_path / f"{name}.json").read_text())))
        shipped = list(numbers_and_words(pictures(name)))
        assert [one for one in drawn if not isinstance(one, float)] == [
            one for one in shipped if not isinstance(one, float)
        ]
        shares = [[one for one in values if isinstance(one, float)] for values in (drawn, shipped)]
        assert shares[0] == pytest.approx(shares[1], abs=0.01)


def files(value):
    if isinstance(value, dict):
        yield from (one for key, one in value.items() if key in ("file", "picture"))
        for one in value.values():
            yield from files(one)
    elif isinstance(value, list):
        for one in value:
            yield from files(one)


def test_each_file_is_named_after_its_bytes_and_none_is_left_over():
    named = {file for name in NAMES for file in files(pictures(name))}
    there = {path.name for path in STIMULI.glob("*.webp")}
    assert named == there
    for path in STIMULI.glob("*.webp"):
        assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()[:20]
    assert sum(path.stat().st_size for path in STIMULI.iterdir()) < 1_500_000


def test_a_deconvnet_cannot_tell_the_photographs_classes_apart_and_guided_grad_cam_can():
    """What the teachers' page says of them, in numbers: shares of the heat on the half in question."""
    photos = [entry for entry in pictures("which_class")["main"] if entry["item"].startswith("photo")]
    assert len(photos) == 4
    for entry in photos:
        first, second = (one["heat"] for one in entry["maps"]["deconvnet"])
        assert first == pytest.approx(second, abs=0.01)
        for side, one in enumerate(entry["maps"]["guided_grad_cam"]):
            assert one["heat"][side] > 0.8


def test_the_cheats_maps_have_more_of_their_heat_on_the_tag():
    for entry in pictures("trust")["main"]:
        for maps in entry["maps"].values():
            assert maps["tag"]["heat"][1] > maps["shape"]["heat"][1]


def test_pictures_that_were_not_drawn_are_missed_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m xai_course\.study stimuli"):
        pictures("which_class", tmp_path)
