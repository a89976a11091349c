"""The same name opens the same case, the album gives nothing away, and a code opens the key."""

from collections import Counter
from functools import cache

import pytest
import torch

from xai_course.audit import ALBUM, Case, open_case
from xai_course.audit.__main__ import main
from xai_course.audit.cases import KINDS, answers, case_of, code_of, drawn_of
from xai_course.audit.faults import FAULTS, describe, reveal, wrong_labels
from xai_lib._cases import KEY, networks
from xai_lib._causes import CLASSES, CORNERS, STANDARD, TINTS
from xai_lib.models import WEIGHTS


def first(kind: str) -> int:
    """A number that opens a case of this kind."""
    return next(i for i in range(1000) if drawn_of(code_of(i)).kind == kind)


@cache
def opened(kind: str) -> Case:
    return open_case(first(kind))


@pytest.fixture(scope="module")
def case():
    return open_case("Ada")


def test_the_same_name_opens_the_same_case(case):
    again = open_case("  aDA ")
    assert again.code == case.code and again.classes == case.classes
    assert torch.equal(again.images, case.images) and torch.equal(again.labels, case.labels)
    assert torch.equal(again.training.images, case.training.images)
    with torch.no_grad():
        assert torch.equal(again.model(case.images[:8]), case.model(case.images[:8]))


def test_a_code_opens_its_case(case):
    again = open_case(case.code)
    assert again.code == case.code and torch.equal(again.images, case.images)
    assert code_of(case.code.lower()) == case.code
    assert code_of(7) == code_of("7")


def test_another_name_opens_another_case(case):
    other = open_case("Emmy")
    assert other.code != case.code and not torch.equal(other.images, case.images)


def test_names_are_spread_over_all_kinds_networks_corners_and_colours():
    drawn = [drawn_of(code_of(f"student {i}")) for i in range(1800)]
    kinds = Counter(d.kind for d in drawn)
    assert set(kinds) == set(KINDS) == set(FAULTS)
    assert all(140 < count < 260 for count in kinds.values()), kinds  # 200 each, 13 its standard deviation
    assert len({code_of(f"student {i}") for i in range(1800)}) > 1795
    assert {d.network.number for d in drawn} == {n.number for n in networks()}
    assert len({(d.corner, d.colours) for d in drawn}) == 4 * 6
    assert len({d.classes for d in drawn}) > 600  # of 720 orders


@pytest.mark.parametrize("name", ["", "   "])
def test_an_empty_name_is_refused(name):
    with pytest.raises(ValueError, match="name must not be empty"):
        open_case(name)


@pytest.mark.parametrize("name", [None, 1.5, True, b"Ada"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(TypeError, match="name must be a string or a whole number, got"):
        open_case(name)


def test_all_cases_look_alike_from_outside():
    faces = set()
    for kind in KINDS:
        case = opened(kind)
        assert case.images.shape == (ALBUM, 3, 64, 64) and case.images.dtype == torch.float32
        assert case.training.images.shape == (240, 3, 64, 64) and case.training.labels.shape == (240,)
        assert case.card.accuracy >= 0.92, "the maker's own test shows nothing"
        assert not case.model.training and case.model.labels == list(case.classes)
        names = [name for name, _ in case.model.named_children()]
        faces.add((type(case.model), repr(case.model), case.layer, tuple(names), case.card.pictures))
    assert len(faces) == 1, "printing a network must not tell its kind"


def test_the_album_gives_nothing_away():
    """In albums of all kinds the causes occur at the known rates, and as often in one class as in another."""
    cases = [opened(kind).scenes for kind in KINDS]
    n = ALBUM * len(cases)
    shares = {"tag": STANDARD.tag, "blur": STANDARD.blur}
    rows = {cause: torch.cat([getattr(s, cause) for s in cases]) for cause in shares}
    for k, name in enumerate(TINTS[1:], 1):
        shares[name], rows[name] = STANDARD.tint, torch.cat([s.tint == k for s in cases])
    kinds = torch.arange(n) // ALBUM
    names = torch.cat([torch.tensor([CLASSES.index(c) for c in s.classes])[s.labels] for s in cases])
    assert all(torch.bincount(s.labels).float().std() < 0.6 for s in cases), "as many of each class"
    for cause, share in shares.items():
        for of, groups in (("class", names), ("kind", kinds)):
            for g in groups.unique().tolist():
                some = rows[cause][groups == g].double()
                error = (share * (1 - share) / len(some)) ** 0.5
                assert abs(float(some.mean()) - share) < 4 * error, (cause, of, g)


def test_the_kind_of_a_network_moves_nothing_in_the_album(case):
    drawn = drawn_of(case.code)
    for kind in ("T2", "T4"):
        other = case_of(case.code, drawn._replace(kind=kind), case.scenes)
        assert other.images is case.images and torch.equal(other.training.images, case.training.images)


def test_training_labels_are_wrong_where_they_should_be_and_nowhere_else():
    for kind in KINDS:
        case, wrong = opened(kind), wrong_labels(opened(kind))
        assert (15 <= len(wrong) <= 35) if kind == "noise" else not wrong, kind
        right = torch.ones(240, dtype=torch.bool)
        right[wrong] = False
        agrees = answers(case.model, case.training.images) == case.training.labels
        assert agrees[right].double().mean() > 0.75
        if wrong:
            assert agrees[~right].double().mean() < 0.3, "the network does not believe the wrong labels"


def test_a_key_for_teachers(capsys):
    number = first("background")
    code, truth = code_of(number), reveal(number)
    main(["key", code])
    told = capsys.readouterr().out
    assert told == describe(code) + "\n"
    assert code in told and FAULTS["background"].title in told and truth.of in told and truth.value in told
    assert truth.of in CLASSES and truth.value in TINTS[1:] and truth.corner in CORNERS
    with pytest.raises(SystemExit):
        main(["key", " "])
    assert "name must not be empty" in capsys.readouterr().err


def test_the_key_is_not_read_by_accident():
    text = KEY.read_text(encoding="ascii")
    assert not any(word in text for word in ("honest", "background", "noise", "fooled", *CLASSES))
    rows = networks()
    assert sorted(n.number for n in rows) == list(range(1, len(rows) + 1))
    assert {n.kind for n in rows} == set(KINDS) - {"T2", "T4"}
    assert not any(n.kind in path.name for n in rows for path in WEIGHTS.glob("audit*"))


def test_the_networks_are_small():
    files = sorted(WEIGHTS.glob("audit*"))
    assert len(files) == len(networks()) + 1
    assert sum(file.stat().st_size for file in files) <= 950_000
    for file in files:
        if file.suffix == ".pt":
            state = torch.load(file, weights_only=True)
            assert all(v.dtype == torch.float16 and v.isfinite().all() for v in state.values())
