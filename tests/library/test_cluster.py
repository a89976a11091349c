"""Explaining a data set: the numbers of a plain loop, whatever happens on the way; here in one process."""

import functools
import json
import os
import random
import threading

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

import xai_lib
from tests.architectures import Plain, build
from tests.promises import assert_as_found, assert_says, complaint, snapshot
from xai_lib import _batches, _ray, _shards, grad_cam, gradient, rise
from xai_lib.cluster import (
    UnexplainedError,
    batch_generator,
    explain_dataset,
    on_ray,
    read_heatmaps,
)

COUNT, BATCH = 11, 4
CAM = functools.partial(grad_cam, layer="features.7")
RISE = functools.partial(rise, n_masks=6, grid=2)


def images(n=COUNT, side=16):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(7))


@pytest.fixture
def model():
    return build(Plain)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def plain_loop(model, x, seed=0):
    """What one would write by hand."""
    loop = {name: [] for name in METHODS}
    for batch, part in enumerate(x.split(BATCH)):
        target = model(part).argmax(1)
        loop["cam"].append(CAM(model, part, target))
        loop["gradient"].append(gradient(model, part, target).sum(1))
        drawn = batch_generator(seed, "rise", batch)
        loop["rise"].append(RISE(model, part, target, generator=drawn))
    return {name: torch.cat(maps) for name, maps in loop.items()}


def collected(out, **options):
    """All that was written, in the order in which it is read."""
    batches = list(read_heatmaps(out, **options))
    maps = {name: torch.cat([b.heatmaps[name] for b in batches]) for name in batches[0].heatmaps}
    return batches, maps


METHODS = {"cam": CAM, "gradient": gradient, "rise": RISE}


# -------------------------------------------------------------------------------------- the numbers of a loop


def test_the_maps_are_those_of_a_plain_loop_bit_for_bit(model, out):
    x, before = images(), snapshot(model)
    made = explain_dataset(model, METHODS, x, out=out, batch_size=BATCH, dtype=torch.float32)
    assert (made.images, made.found) == (COUNT, 0)
    batches, maps = collected(out)
    assert [len(b.index) for b in batches] == [4, 4, 3]
    for name, expected in plain_loop(model, x).items():
        assert torch.equal(maps[name], expected), name
    choice = torch.cat([model(part).argmax(1) for part in x.split(BATCH)])
    assert torch.equal(torch.cat([b.target for b in batches]), choice)
    assert torch.equal(torch.cat([b.top1 for b in batches]), choice)
    assert_as_found(model, before)


def test_half_precision_loses_eleven_binary_digits_and_no_range(model, out):
    """A map of 1e-20 and one of 1e20 are both kept: each is divided by a power of two of its own."""
    size = torch.tensor([1e-20, 1.0, 1e20, 0.0])[torch.arange(COUNT) % 4]

    def scaled(model, x, target):
        return size[: len(x), None, None] * x.mean(1)

    x = images()
    explain_dataset(model, scaled, x, out=out, batch_size=COUNT)
    _, maps = collected(out)
    exact = size[:, None, None] * x.mean(1)
    largest = exact.abs().amax((1, 2), keepdim=True)
    error = (maps["heatmap"] - exact).abs() / exact.abs().clamp(min=1e-3 * largest + 1e-37)
    assert 2**-14 < error.max() <= 2**-11
    assert (maps["heatmap"][3] == 0).all()


def test_drawn_maps_depend_on_the_seed_the_name_and_the_batch_alone(model, tmp_path):
    x = images()

    def draws(folder, names, **options):
        explainers = dict.fromkeys(names, RISE)
        explain_dataset(model, explainers, x, out=tmp_path / folder, batch_size=BATCH, **options)
        return collected(tmp_path / folder)[1]

    first, again, other = draws("a", "pq"), draws("b", "qp"), draws("c", "pq", seed=1)
    assert torch.equal(first["p"], again["p"]) and torch.equal(first["q"], again["q"])
    assert not torch.equal(first["p"], first["q"]) and not torch.equal(first["p"], other["p"])


def test_also_what_draws_from_the_global_states_is_repeated_and_they_are_put_back(model, tmp_path):
    def noisy(model, x, target):
        shape = (len(x), 4, 4)
        drawn = np.random.rand(*shape)  # noqa: NPY002
        return torch.rand(shape) + torch.from_numpy(drawn).float() + random.random()

    found = []
    for folder in "ab":
        states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
        explain_dataset(model, noisy, images(), out=tmp_path / folder, batch_size=BATCH)
        assert torch.equal(states[0], torch.get_rng_state()) and states[2] == random.getstate()
        assert (states[1] == np.random.get_state()[1]).all()  # noqa: NPY002
        found.append(collected(tmp_path / folder)[1]["heatmap"])
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
    assert torch.equal(*found)
    assert not torch.equal(found[0][:BATCH], found[0][BATCH : 2 * BATCH])


def test_size_averages_over_a_grid_and_leaves_smaller_maps_alone(model, out):
    x = images()
    small = functools.partial(CAM, upsample=False)
    explainers = {"gradient": gradient, "small": small}
    explain_dataset(model, explainers, x, out=out, batch_size=BATCH, size=8, dtype=torch.float32)
    _, maps = collected(out)
    means = plain_loop(model, x)["gradient"].unflatten(1, (8, 2)).unflatten(3, (8, 2)).mean((2, 4))
    assert torch.allclose(maps["gradient"], means, rtol=1e-5, atol=1e-8)
    assert maps["small"].shape[1:] == small(model, x[:1]).shape[1:] and maps["small"].shape[1] < 8


# ------------------------------------------------------------------------------------------------- data sets


class Files(Dataset):
    """As torchvision's ImageFolder: it knows the files' names."""

    def __init__(self, x):
        self.x, self.root = x, "/data"
        self.samples = [(f"/data/{'ab'[i % 2]}/{i}.png", i % 2) for i in range(len(x))]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.samples[index][1]


LABELS = torch.arange(COUNT) % 5


@pytest.mark.parametrize(
    ("dataset", "ids", "labels"),
    [
        (images(), [str(i) for i in range(COUNT)], [-1] * COUNT),
        ((images(), LABELS), [str(i) for i in range(COUNT)], LABELS.tolist()),
        (TensorDataset(images()), [str(i) for i in range(COUNT)], [-1] * COUNT),
        (list(zip(images(), LABELS, strict=True)), [str(i) for i in range(COUNT)], LABELS.tolist()),
        (Files(images()), [f"{'ab'[i % 2]}/{i}.png" for i in range(COUNT)], [i % 2 for i in range(COUNT)]),
        (Subset(Files(images()), [5, 2]), ["b/5.png", "a/2.png"], [1, 0]),
    ],
    ids=["tensor", "pair", "TensorDataset", "list", "files", "subset of files"],
)
def test_a_data_set_may_be_any_of_these(model, out, dataset, ids, labels):
    explain_dataset(model, gradient, dataset, out=out, batch_size=BATCH, dtype=torch.float32)
    batches, maps = collected(out)
    assert [name for b in batches for name in b.image_ids] == ids
    assert torch.cat([b.label for b in batches]).tolist() == labels
    numbers = [5, 2] if isinstance(dataset, Subset) else range(COUNT)
    x = images()[list(numbers)]
    expected = torch.cat([gradient(model, part).sum(1) for part in x.split(BATCH)])
    assert torch.equal(maps["heatmap"], expected)


def test_the_class_may_be_given(model, tmp_path):
    pair = (images(), LABELS)
    each = (LABELS + 1) % 5
    for folder, target, expected in (("a", "label", LABELS), ("b", 3, LABELS * 0 + 3), ("c", each, each)):
        explain_dataset(model, CAM, pair, out=tmp_path / folder, batch_size=BATCH, target=target)
        batches, _ = collected(tmp_path / folder)
        assert torch.equal(torch.cat([b.target for b in batches]), expected)


def test_the_next_batch_is_read_while_one_is_explained(model, out):
    """An explainer that waits until the second batch's images have been asked for does not wait for ever."""
    asked = threading.Event()

    class Slow(TensorDataset):
        def __getitem__(self, index):
            if index == 2 * BATCH - 1:
                asked.set()
            return super().__getitem__(index)

    def waits(model, x, target):
        assert asked.wait(30)
        return x.mean(1)

    explain_dataset(model, waits, Slow(images()), out=out, batch_size=BATCH)


# ------------------------------------------------------------------------- interrupted, resumed, not mixed up


BEGUN: list[int] = []


def interrupted(model, part, target):
    """Interrupts the second batch."""
    BEGUN.append(len(part))
    if len(BEGUN) == 2:
        raise KeyboardInterrupt
    return part.mean(1)


def test_an_interrupted_run_goes_on_where_it_was(model, out):
    x, begun = images(), BEGUN
    begun.clear()
    run = functools.partial(explain_dataset, model, interrupted, x, out=out, batch_size=BATCH)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert_says(complaint(lambda: read_heatmaps(out)), "lacks 2 of 3 batches", "partial=True")
    assert [b.index.tolist() for b in read_heatmaps(out, partial=True)] == [[0, 1, 2, 3]]
    first = _shards.path_of(out, 0).stat()
    begun += [0]  # it raises no more
    assert run().found == BATCH
    assert begun[3:] == [4, 3]
    assert _shards.path_of(out, 0).stat().st_mtime_ns == first.st_mtime_ns
    assert run().found == COUNT and begun[3:] == [4, 3]
    assert torch.allclose(collected(out)[1]["heatmap"], x.mean(1), rtol=2**-11, atol=0)


def test_a_part_of_a_file_counts_for_nothing(model, out):
    run = functools.partial(explain_dataset, model, gradient, images(), out=out, batch_size=BATCH)
    run()
    place = _shards.path_of(out, 1)
    half = place.read_bytes()[: place.stat().st_size // 2]
    place.rename(place.with_name(f"{place.name}.1234.part"))
    assert run().found == 7 and not list(out.rglob("*.part"))
    place.write_bytes(half)
    assert_says(complaint(run), "out holds a file", "damaged", place.name)


OTHER = {
    "model": lambda: {"model": build(Plain, seed=1)},
    "explainers": lambda: {"explainers": {"cam": functools.partial(CAM, relu=False), "square": square}},
    "dataset": lambda: {"dataset": images() * 0.5},
    "batch_size": lambda: {"batch_size": 5},
    "target": lambda: {"target": 1},
    "size": lambda: {"size": 4},
    "dtype": lambda: {"dtype": torch.float32},
    "seed": lambda: {"seed": 2},
}


def square(model, x, target):
    return x.square().mean(1)


@pytest.mark.parametrize("name", OTHER)
def test_another_run_in_the_same_folder_is_refused_by_name(model, out, name):
    arguments = {
        "model": model,
        "explainers": {"cam": CAM, "square": square},
        "dataset": images(),
        "batch_size": BATCH,
        "out": out,
    }
    explain_dataset(**arguments)
    message = complaint(lambda: explain_dataset(**arguments | OTHER[name]()))
    assert message.startswith(f"{name} is not that of the run in")
    assert explain_dataset(**arguments).found == COUNT


def test_a_lambda_is_known_by_its_code_and_by_what_it_encloses(model, out):
    def power(exponent):
        return lambda model, x, target: x.mean(1) ** exponent

    run = functools.partial(explain_dataset, model, dataset=images(), out=out, batch_size=BATCH)
    run(explainers=power(2))
    assert run(explainers=power(2)).found == COUNT
    assert_says(complaint(lambda: run(explainers=power(3))), "explainers", "'heatmap' was", "power")
    assert_says(complaint(lambda: run(explainers=lambda m, x, t: x.mean(1))), "explainers")


def test_two_processes_do_not_write_into_one_folder(model, out):
    out.mkdir()
    run = functools.partial(explain_dataset, model, gradient, images(), out=out)
    with _shards.alone(out):
        assert_says(complaint(run, error=RuntimeError), "another process")
    assert run().images == COUNT


def test_another_version_is_said(model, out):
    run = functools.partial(explain_dataset, model, gradient, images(), out=out)
    run()
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(manifest | {"made_with": {"torch": "1.0"}}))
    with pytest.warns(UserWarning, match=r"begun with .*1\.0"):
        run()


# ------------------------------------------------------------------------------------------- what goes wrong


FUSSY: list[bool] = []


def picky(model, part, target):
    """Raises for an image that is white all over, while it is fussy."""
    if FUSSY and (part == 1).flatten(1).all(1).any():
        raise ValueError("I do not like this one")
    return part.mean(1)


def test_images_that_cannot_be_explained_are_named_and_the_others_are_kept(model, out):
    x = images()
    x[5] = 1.0
    FUSSY.append(True)
    run = functools.partial(explain_dataset, model, picky, x, out=out, batch_size=BATCH)
    for _ in range(2):  # the second call finds the others, and tries this one again
        with pytest.raises(UnexplainedError) as raised:
            run()
        assert_says(str(raised.value), "1 of 3 batches", "batch 1 (images '4' to '7')", "alone by '5'")
        said = "explainers['heatmap'] raised ValueError: I do not like this one"
        assert raised.value.failed == {1: (said, ("5",))}
    assert [len(b.index) for b in read_heatmaps(out, partial=True)] == [4, 3]
    FUSSY.clear()
    assert run().found == 7 and len(list(read_heatmaps(out))) == 3


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda x: x.mean(1) / 0, "finite"),
        (lambda x: x.flatten(1), "heatmaps (4, H, W)"),
        (lambda x: x.mean(1)[:1], "heatmaps (4, H, W)"),
        (lambda x: x.mean(1) > 0, "torch.bool"),
        (lambda x: None, "NoneType"),
    ],
)
def test_what_is_no_heatmap_is_named(model, out, returned, words):
    def explain(model, x, target):
        return returned(x)

    with pytest.raises(UnexplainedError) as raised:
        explain_dataset(model, explain, images(), out=out, batch_size=BATCH)
    assert_says(str(raised.value), "3 of 3 batches", words)


def test_images_that_cannot_be_read_are_named(model, out):
    class Broken(TensorDataset):
        def __getitem__(self, index):
            if index in (2, 9):
                raise OSError("truncated file")
            return self.tensors[0][index] if index != 6 else torch.rand(3, 9, 9)

    with pytest.raises(UnexplainedError) as raised:
        explain_dataset(model, gradient, Broken(images()), out=out, batch_size=BATCH)
    assert {batch: ids for batch, (_, ids) in raised.value.failed.items()} == {
        0: ("2",),
        1: ("6",),
        2: ("9",),
    }
    assert_says(str(raised.value), "truncated file", "one shape")


def test_a_batch_in_which_workers_keep_dying_is_given_up(model, out):
    pictures = xai_lib._pictures.check_dataset(images(), None)
    job = _batches.Job({"g": gradient}, pictures, out, "run", BATCH, None, None, torch.float32, 0)
    (out / "heatmaps").mkdir(parents=True)
    _shards.forget_attempts(out)
    for _ in range(3):
        _shards.attempt(out, 1)  # and then the process was gone
    reports = list(_batches.done(job, model, range(3), attempts=3))
    assert [bool(r.error) for r in reports] == [False, True, False]
    assert "died 3 times" in reports[1].error
    assert sorted(os.listdir(out / "attempts")) == ["1"]


BAD = {
    "a mode": (lambda m: {"model": m.train()}, ValueError, "evaluation mode"),
    "no model": (lambda m: {"model": gradient}, TypeError, "model"),
    "no explainer": (lambda m: {"explainers": {}}, ValueError, "explainers"),
    "a name": (lambda m: {"explainers": {1: gradient}}, TypeError, "explainers"),
    "a heatmap": (lambda m: {"explainers": {"a": images()}}, TypeError, "explainers"),
    "a module": (
        lambda m: {"explainers": functools.partial(grad_cam, layer=m.features)},
        ValueError,
        "dotted name",
    ),
    "a generator": (
        lambda m: {"explainers": functools.partial(rise, generator=torch.Generator())},
        ValueError,
        "from seed",
    ),
    "no images": (lambda m: {"dataset": images()[:0]}, ValueError, "dataset"),
    "one image": (lambda m: {"dataset": images()[0]}, ValueError, "dataset[None]"),
    "bytes": (lambda m: {"dataset": (255 * images()).byte()}, ValueError, "255"),
    "arrays": (lambda m: {"dataset": images().numpy()}, TypeError, "dataset"),
    "a stream": (lambda m: {"dataset": Stream()}, TypeError, "dataset"),
    "a dict": (lambda m: {"dataset": {"x": images()}}, TypeError, "dataset"),
    "augmented": (lambda m: {"dataset": Augmented()}, ValueError, "augmentation"),
    "words as labels": (lambda m: {"dataset": [(images()[0], "cat")]}, ValueError, "labels"),
    "no labels": (lambda m: {"target": "label"}, ValueError, "target"),
    "a word": (lambda m: {"target": "lable"}, ValueError, "target"),
    "few classes": (lambda m: {"target": torch.tensor([1, 2])}, ValueError, "target"),
    "few ids": (lambda m: {"ids": ["a"]}, ValueError, "ids"),
    "equal ids": (lambda m: {"ids": ["a"] * COUNT}, ValueError, "'a' twice"),
    "batch size": (lambda m: {"batch_size": 0}, ValueError, "batch_size"),
    "size": (lambda m: {"size": (4, 4, 4)}, ValueError, "size"),
    "dtype": (lambda m: {"dtype": torch.int8}, ValueError, "dtype"),
    "seed": (lambda m: {"seed": -1}, ValueError, "seed"),
    "out": (lambda m: {"out": 3}, TypeError, "out"),
    "a file": (lambda m: {"out": __file__}, ValueError, "out"),
    "progress": (lambda m: {"progress": 1}, TypeError, "progress"),
    "resources": (lambda m: {"resources": 8}, TypeError, "resources"),
    "no workers": (lambda m: {"resources": {"cpus": 8}}, ValueError, "workers"),
    "a key": (lambda m: {"resources": {"workers": 2, "gpu": 1}}, ValueError, "did you mean 'gpus'"),
    "many GPUs": (
        lambda m: {"resources": {"workers": 99, "gpus": 99}},
        ValueError,
        "9801 GPUs, but torch finds",
    ),
    "half a worker": (lambda m: {"resources": {"workers": 0.5}}, TypeError, "resources['workers']"),
}


class Stream(IterableDataset):
    def __iter__(self):
        return iter(images())


class Augmented(TensorDataset):
    def __init__(self):
        super().__init__(images())

    def __getitem__(self, index):
        return self.tensors[0][index] + 0.01 * torch.rand(())


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_before_anything_is_written(model, out, case):
    make, error, word = BAD[case]
    arguments = {"model": model, "explainers": gradient, "dataset": images(), "out": out}
    message = complaint(lambda: explain_dataset(**arguments | make(model)), error=error)
    assert_says(message, word)
    assert not (out / "manifest.json").exists()


def test_autocast_around_the_call_is_refused(model, out):
    with torch.autocast("cpu"):
        message = complaint(lambda: explain_dataset(model, gradient, images(), out=out), error=RuntimeError)
    assert_says(message, "autocast")


def test_reading_says_what_is_wrong(model, out, tmp_path):
    assert_says(complaint(lambda: read_heatmaps(tmp_path)), "out must be a folder that explain_dataset")
    explain_dataset(model, {"cam": CAM}, images(), out=out)
    assert_says(complaint(lambda: read_heatmaps(out, ["can"])), "explainers", "'cam'")
    (out / "manifest.json").write_text("{")
    assert_says(complaint(lambda: read_heatmaps(out)), "damaged")


# ------------------------------------------------------------------------------------------------ without Ray


def test_without_ray_the_same_call_runs_here_and_says_so(model, out, monkeypatch):
    monkeypatch.setattr(_ray, "installed", lambda: False)
    with pytest.warns(UserWarning, match="Ray is not installed"):
        made = explain_dataset(model, gradient, images(), out=out, resources={"workers": 2})
    assert made.images == COUNT
    with pytest.warns(UserWarning, match="Ray is not installed"):
        assert on_ray({"workers": 2}) is map


def test_without_pyarrow_the_error_says_what_to_install(model, out, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    for call in (lambda: explain_dataset(model, gradient, images(), out=out), lambda: read_heatmaps(out)):
        assert_says(complaint(call, error=ImportError), "pip install pyarrow", "xai-lib[cluster]")
    assert not out.exists()
