"""The page on more than one machine: its plan adds up, and what it prints was measured."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "benchmarks" / "results" / "cluster" / "cpu.json"


@pytest.fixture(scope="module")
def cluster():
    """The program that measures and plans; it imports its neighbours by their short names."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import cluster

    yield cluster
    sys.path.remove(str(ROOT / "benchmarks"))


def test_a_plan_is_passes_times_their_time_plus_writing(cluster):
    """A case that can be done in the head: 3600 images, one second a pass, two GPUs."""
    methods = {"the class": (1, 0), "a": (0, 2), "b": (10, 0)}
    hours = cluster.plan(3600, forward=1.0, gradient=3.0, gpus=2, write=1e-3, side=10, methods=methods)
    assert hours["the class"] == 0.5 and hours["a"] == 3.0 and hours["b"] == 5.0
    assert hours["bytes"] == 3600 * 2 * 100 * 2
    assert hours["writing"] == pytest.approx(3600 * 400 * 1e-3 / 2 / 3600)
    assert hours["total"] == pytest.approx(8.5 + hours["writing"])


def test_reading_counts_only_where_it_takes_longer_than_the_passes(cluster):
    options = {"forward": 1.0, "gradient": 1.0, "gpus": 1, "methods": {"a": (1, 0)}}
    fast, slow = (cluster.plan(3600, read=r, **options)["total"] for r in (0.5, 4.0))
    assert (fast, slow) == (1.0, 4.0)
    assert cluster.plan(3600, read=4.0, readers=8, **options)["total"] == 1.0


def test_the_page_says_how_large_the_maps_are(cluster):
    size = cluster.plan(cluster.IMAGENET, forward=0, gradient=0)["bytes"]
    assert f"{size / 1e9:.0f}" in (ROOT / "book" / "beyond_one_machine.md").read_text(encoding="utf-8")


def test_the_times_of_a_pass_are_those_of_the_stored_table(cluster):
    forward, gradient, device = cluster.stored_passes()
    assert 0 < forward < gradient and device.startswith("NVIDIA")


def test_what_the_page_prints_was_measured_as_a_whole(cluster):
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    ways = {(row["method"], row["way"]) for row in stored["overhead"]}
    assert ways == {
        (m, w) for m in ("grad_cam", "rise") for w in ("loop", "in this process", "one worker of Ray")
    }
    assert len(stored["predictions"]) == cluster.METHODS
    assert all(row["measured / predicted"] > 0 for row in stored["predictions"])
    assert {len(row) for row in stored["losses"]} == {7} and len(stored["losses"]) == 8


def test_every_way_costs_as_little_as_the_page_says(cluster):
    page = (ROOT / "book" / "beyond_one_machine.md").read_text(encoding="utf-8")
    rows = json.loads(STORED.read_text(encoding="utf-8"))["overhead"]
    assert "in processor time every row keeps it" in page
    assert all(row["processor over the loop"] <= cluster.LIMIT for row in rows)


def test_what_the_page_says_of_two_hosts_is_what_was_found(cluster):
    """Every batch was begun once, and those in which the host died once more."""
    page = (ROOT / "book" / "beyond_one_machine.md").read_text(encoding="utf-8")
    whole, broken = json.loads(STORED.with_name("two_hosts.json").read_text(encoding="utf-8"))["runs"]
    assert sum(whole["begun"]) == whole["batches"] and min(whole["begun"]) > 0
    assert broken["second host killed"] and broken["processes killed"] > 0
    repeated = sum(broken["begun"]) - broken["batches"]
    assert repeated == 1 and "among them the one in which the second had died" in page
    one, two = broken["begun"]
    assert f"All {whole['batches']} batches" in page
    assert f"begun {two} batches: the other host did the rest, {one} batches" in page
    assert f"took {broken['seconds']} seconds, the whole one {whole['seconds']}" in page
