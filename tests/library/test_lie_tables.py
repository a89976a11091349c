"""The paper's two tables: what the columns mean, and the command that measures them."""

import json
import math

import pytest
import torch
import torchvision
from PIL import Image

from xai_lib import data, grad_cam, load_model
from xai_lib._lie_command import main
from xai_lib._lie_tables import LieTables
from xai_lib.manipulation import published_tables


@pytest.fixture(scope="module")
def scenes():
    return data.shapes(24, seed=77)


@pytest.fixture(scope="module")
def measured(scenes):
    return {
        dtype: published_tables(load_model("small_vgg").to(dtype), scenes.images.to(dtype), scenes.labels)
        for dtype in (torch.float32, torch.float64)
    }


def rows(tables):
    return {row.name: row for row in (*tables.lies, *tables.sticker)}


def test_the_tables_have_the_papers_rows_beside_its_numbers(measured):
    tables = measured[torch.float32]
    assert [row.name for row in tables.lies] == ["original", "T1 constant", "T2 image", "T3 random"]
    assert [row.name for row in tables.sticker] == ["original", "T4", "original, sticker", "T4, sticker"]
    assert rows(tables)["T1 constant"].reported == (0.71594, 0.01713, 0.00513)
    assert "as reported" in str(tables) and "0.69048" in str(tables)


def test_answers_stay_and_maps_come_nearer_the_target(measured):
    for tables in measured.values():
        found = rows(tables)
        for name in ("T1 constant", "T2 image", "T3 random", "T4, sticker"):
            row = found[name]
            assert row.kept == 1 and row.n == 24
            assert row.distance < row.baseline / 8
        assert found["T4"].distance < 1e-4 and found["T4"].baseline == 0
        assert found["T4"].shown == 0 and found["T4, sticker"].shown == 1
        assert found["T1 constant"].accuracy == found["original"].accuracy


def test_what_single_precision_does_to_the_numbers(measured):
    single, double = rows(measured[torch.float32]), rows(measured[torch.float64])
    for name in ("T1 constant", "T2 image"):  # their score change is rounding
        assert 1e-5 < single[name].moved < 0.1 and double[name].moved < 1e-8
    assert single["T3 random"].moved < 1e-6  # mod of a number without fractional bits
    assert 0.003 < double["T3 random"].moved < 0.007  # the mean of G is half of epsilon
    assert single["T3 random"].baseline == pytest.approx(double["T3 random"].baseline, rel=1e-3)  # one F


def test_the_options_go_through(scenes):
    model, x = load_model("small_vgg"), scenes.images[:8]
    found = rows(published_tables(model, x, exact=True, repair=True))
    for name in ("T1 constant", "T2 image"):
        assert found[name].moved == 0 and found[name].blank == 0 and found[name].distance < 0.1
    assert all(math.isnan(row.accuracy) for row in found.values())


def test_distance_and_baseline_are_what_they_say(scenes):
    model, x = load_model("small_gap"), scenes.images[:5]
    liar = LieTables(model).liars["T1 constant"]

    def away(network):
        h = grad_cam(network, x, model(x).argmax(1), layer=model.cam_layer, upsample=False)
        return (1 - h / h.amax((1, 2), keepdim=True)).sum((1, 2)).mean().item()

    row = rows(published_tables(model, x, batch_size=2))["T1 constant"]
    assert row.distance == pytest.approx(away(liar), rel=1e-4)
    assert row.baseline == pytest.approx(away(model), rel=1e-4)


def test_neither_batches_nor_a_break_change_the_sums(scenes):
    model = load_model("small_gap")
    whole, parts = LieTables(model), LieTables(model)
    whole.add(scenes.images[:6], scenes.labels[:6])
    for start in (0, 4):
        parts.add(scenes.images[start : min(start + 4, 6)], scenes.labels[start : min(start + 4, 6)], start)
    for name, sums in whole.sums.items():
        assert parts.sums[name] == pytest.approx(sums, rel=1e-4, abs=1e-5)
    assert torch.equal(
        whole.with_stickers(scenes.images[:6])[4:], whole.with_stickers(scenes.images[4:6], first=4)
    )


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda m, x: published_tables(m, x, [0, 1]), TypeError, "labels must be"),
        (lambda m, x: published_tables(m, x, torch.zeros(3)), ValueError, "labels must have one class"),
        (lambda m, x: published_tables(m, x, seed=-1), ValueError, "seed must be"),
        (lambda m, x: published_tables(m, x, batch_size=0), ValueError, "batch_size must be"),
        (lambda m, x: published_tables(m, x, exact=1), (TypeError, ValueError), "exact must be"),
    ],
)
def test_bad_input_names_the_argument(call, error, says):
    with pytest.raises(error, match=says):
        call(load_model("small_gap"), torch.rand(2, 3, 112, 112))


# ---------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Three folders in ImageNet's layout, five small pictures of different shapes, and random weights."""
    folder = tmp_path_factory.mktemp("imagenet")
    draw = torch.Generator().manual_seed(0)
    for k, (name, count) in enumerate({"n01440764": 2, "n01443537": 2, "n02084071": 1}.items()):
        (folder / "val" / name).mkdir(parents=True)
        for i in range(count):
            pixels = torch.randint(0, 256, (60 + 40 * k, 90 - 30 * i, 3), generator=draw, dtype=torch.uint8)
            path = folder / "val" / name / f"ILSVRC2012_val_{k}{i}.JPEG"
            Image.fromarray(pixels.numpy()).save(path, format="JPEG")
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), folder / "random.pth")
    return folder


def command(folder, *more):
    return [
        *("--imagenet", str(folder / "val"), "--weights", str(folder / "random.pth")),
        *("--architecture", "resnet18", "--batch-size", "2"),
        *more,
    ]


def test_a_folder_like_imagenets_gives_both_tables_and_a_broken_run_goes_on(
    imagenet, tmp_path, capsys, monkeypatch
):
    main(command(imagenet))
    whole = capsys.readouterr().out
    assert "3 folders, and the network has 1000 classes" in whole
    assert whole.count("original") == 3 and "T4, sticker" in whole

    add, state = LieTables.add, tmp_path / "sums.json"

    def breaks(self, x, labels, first=0):
        if first == 4:
            raise KeyboardInterrupt
        add(self, x, labels, first)

    monkeypatch.setattr(LieTables, "add", breaks)
    with pytest.raises(KeyboardInterrupt):
        main(command(imagenet, "--state", str(state)))
    assert json.loads(state.read_text())["done"] == 4
    monkeypatch.setattr(LieTables, "add", add)
    main(command(imagenet, "--state", str(state)))
    assert json.loads(state.read_text())["done"] == 5
    resumed = capsys.readouterr().out
    assert resumed.splitlines()[-11:] == whole.splitlines()[-11:]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--imagenet", "nowhere"], "--imagenet needs --weights"),
        (["--state", "sums.json"], "go with --imagenet"),
        (["--images", "0"], "at least 1"),
        (["--imagenet", "nowhere", "--weights", "nowhere"], "there is none at nowhere"),
        (["--imagenet", "x", "--weights", "x", "--architecture", "vgg99"], "--architecture must be one of"),
    ],
)
def test_the_command_says_what_it_wants(arguments, says, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert says in capsys.readouterr().err


def test_another_runs_sums_are_not_mixed_in(imagenet, tmp_path, capsys):
    state = tmp_path / "sums.json"
    state.write_text(json.dumps({"settings": {"dtype": "float64"}, "done": 2, "sums": {}}))
    with pytest.raises(SystemExit):
        main(command(imagenet, "--state", str(state)))
    assert "belongs to a run with another" in capsys.readouterr().err


def test_a_folder_without_pictures_is_refused(imagenet, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--imagenet", str(tmp_path), *command(imagenet)[2:]])
    assert "a folder of pictures for each class" in capsys.readouterr().err
