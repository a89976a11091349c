"""The benchmarks: the stored results are complete, and the instruments measure what they say."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from xai_lib import load_model, shapes, shapley_fit

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted(ROOT.glob("benchmarks/results/*.json"))
CPU = torch.device("cpu")
IMAGE = (256, 1024)  # in float32 a mebibyte


@pytest.fixture(scope="module", autouse=True)
def _short_names():
    """The programs import their neighbours by their short names."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def run():
    """The program that writes the results."""
    import run

    return run


@pytest.fixture
def peak():
    from memory import peak_of_tensors

    return lambda call: peak_of_tensors(call, CPU)


@pytest.fixture
def error():
    import equal_error

    return equal_error


# ------------------------------------------------------------------------------------------- stored results


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_there_are_results_for_a_cpu():
    assert "cpu.json" in {path.name for path in RESULTS}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_table_is_made_of_the_stored_results(path, run):
    assert path.with_suffix(".md").read_text(encoding="utf-8") == run.markdown(read(path))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_method_is_there_and_every_target_is_judged_by_the_rows(path, run):
    results = read(path)
    assert list(dict.fromkeys(row["method"] for row in results["rows"])) == list(run.METHODS)
    judged = run.targets(results)
    assert judged == results["targets"] and len(judged) == 12


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_memory_is_measured_over_sixteen_times_the_passes(path):
    from memory import METHODS

    rows = read(path)["memory"]
    assert [row["method"] for row in rows] == list(METHODS)
    for row in rows:
        assert (
            row["passes"][-1] / row["passes"][0] > 15 and row["passes"][-1] > 950
        )  # counted as they happened
        assert row["growth"] == row["mib"][-1] / row["mib"][0]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_influence_is_measured_from_features_and_from_pictures(path):
    from attribution import EXACT, FAST, FEATURES, LEAVING, NAIVE, PICTURES

    results = read(path)["influence"]
    rows = {(row["setting"], row["runner"]): row for row in results["rows"]}
    for setting in (FEATURES, PICTURES):
        assert rows[setting, EXACT]["over_ours"] == 1
        assert rows[setting, NAIVE]["rank"] > 0.999 and rows[setting, FAST]["rank"] > 0.999  # the same scores
    assert rows[FEATURES, LEAVING]["rank"] > 0.95
    assert [row["setting"] for row in results["many"]] == [FEATURES, PICTURES]
    for row in results["many"]:
        assert (row["images"], row["queries"]) == (50_000, 1_000)
        assert row["counts"][1] == pytest.approx(16 * row["counts"][0], rel=0.01)
        assert row["growth"] == row["mib_beside_the_scores"][1] / row["mib_beside_the_scores"][0]


def test_rank_correlation_is_spearmans():
    from attribution import rank_correlation
    from scipy.stats import spearmanr

    a, b = torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(0))
    wanted = np.mean([spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)])
    assert rank_correlation(a, b) == pytest.approx(wanted)


def test_many_images_are_a_few_again_and_again():
    from attribution import loader

    few = torch.arange(3.0)[:, None], torch.arange(3)
    images, labels = (torch.cat(side) for side in zip(*loader(few, 8, 5), strict=True))
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1] and images[:, 0].tolist() == labels.tolist()


# ------------------------------------------------------------------------------------- a peer that is missing


@pytest.fixture
def without_captum(run, monkeypatch):
    """One row on a small network, measured where Captum cannot be imported."""
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    setup = run.Setup(CPU, 8, 8, 1, "small_gap", 112)
    return run.measure("lime", setup._replace(points=20), 2)


def test_a_missing_peer_is_named_and_the_others_are_timed(without_captum, run):
    row = without_captum
    assert set(row["peers"]) == {"lime"} and row["fastest_peer"] == "lime"
    assert set(row["not_installed"]) == {"captum Lime, 8 samples a pass", run.LIME_DEFAULT}
    assert set(row["not_installed"].values()) == {"captum.attr"}
    stored = read(RESULTS[0])
    text = run.markdown({**stored, "rows": [*stored["rows"], row]})
    assert "captum Lime, 8 samples a pass not installed (captum.attr)" in text


def test_without_a_peer_its_targets_are_neither_met_nor_missed(without_captum, run):
    row = {**without_captum, "peers": {}, "fastest_peer": None}
    verdicts = {t["promise"]: t["holds"] for t in run.targets({**read(RESULTS[0]), "rows": [row]})}
    assert [promise for promise, holds in verdicts.items() if holds is None] == [
        "never slower than the fastest peer",
        "LIME at least 2 × as fast as Captum's default",
        "LIME at least 1.2 × as fast as Captum's best batch size",
    ]


def test_a_missing_library_of_ours_is_an_error(run, monkeypatch):
    def broken(setup):
        def ours():
            raise ImportError("no module named needed")

        return run.METHODS["rise"](setup)._replace(ours=ours)

    monkeypatch.setitem(run.METHODS, "broken", broken)
    with pytest.raises(ImportError, match="needed"):
        run.measure("broken", run.Setup(CPU, 8, 8, 1, "small_gap", 112), 2)


# ----------------------------------------------------------------------------------------- parts of the whole


def test_parts_measured_anew_replace_the_stored_ones(run):
    stored = read(RESULTS[0])
    row = {**next(row for row in stored["rows"] if row["method"] == "lime"), "rounds": 99}
    sized = stored["growth"]["size"][:1]
    new = {"machine": stored["machine"], "rows": [row], "growth": {"size": sized}, "memory": []}
    both = run.merged(stored, new)
    assert [r for r in both["rows"] if r["method"] == "lime"] == [row]
    assert [r for r in both["rows"] if r["method"] != "lime"] == [
        r for r in stored["rows"] if r["method"] != "lime"
    ]
    assert list(dict.fromkeys(r["method"] for r in both["rows"])) == list(run.METHODS)
    assert both["growth"] == {**stored["growth"], "size": sized} and both["memory"] == []
    assert both["equal_error"] == stored["equal_error"]


def test_times_of_another_machine_and_anything_of_another_version_are_not_mixed_in(run):
    stored = read(RESULTS[0])
    here = {**stored["machine"], "processor": "another", "threads": 64}
    without_times = {"machine": here, "rows": [], "growth": {}, "memory": []}
    both = run.merged(stored, without_times)
    assert both["memory"] == [] and both["machine"] == stored["machine"]
    for timed in ({"rows": stored["rows"][:1]}, {"growth": {"size": stored["growth"]["size"]}}):
        with pytest.raises(SystemExit, match="here another"):
            run.merged(stored, {**without_times, **timed})
    with pytest.raises(SystemExit, match=r"torch.*here 0\.1"):
        run.merged(stored, {**without_times, "machine": {**stored["machine"], "torch": "0.1"}})


def test_a_run_in_pieces_has_its_table_once_nothing_is_missing(run, tmp_path):
    whole = read(RESULTS[0])
    rows = [row for row in whole["rows"] if row["method"] != "rise"]
    pieces = {key: value for key, value in whole.items() if key not in ("memory", "targets")}
    run.write({**pieces, "rows": rows, "targets": []}, tmp_path, CPU, only=True)
    assert run.missing(read(tmp_path / "cpu.json")) == ["rise", "memory"]
    assert not (tmp_path / "cpu.md").exists()
    last = {"machine": whole["machine"], "targets": [], "growth": {}, "memory": whole["memory"]}
    rise = [row for row in whole["rows"] if row["method"] == "rise"]
    run.write({**last, "rows": rise}, tmp_path, CPU, only=True)
    assert read(tmp_path / "cpu.json") == whole
    assert (tmp_path / "cpu.md").read_text(encoding="utf-8") == RESULTS[0].with_suffix(".md").read_text(
        encoding="utf-8"
    )


# ----------------------------------------------------------------------------------------- the memory meter


def test_k_images_are_k_images(peak):
    for k in (1, 5, 12):
        assert peak(lambda k=k: torch.zeros(k, *IMAGE)) == k
    assert peak(lambda: None) == 0


def test_what_is_freed_no_longer_counts(peak):
    def one_after_another():
        for _ in range(10):
            torch.zeros(3, *IMAGE)

    assert peak(one_after_another) == 3


def test_a_leak_is_seen(peak):
    def leaking(steps):
        kept = []
        for _ in range(steps):
            kept.append(torch.zeros(IMAGE))

    assert [peak(lambda n=n: leaking(n)) for n in (4, 64)] == [4, 64]


def test_views_are_not_counted_twice(peak):
    def views():
        whole = torch.zeros(2, *IMAGE)
        return [whole[0], whole.flatten(), whole.mT, whole.expand(2, *IMAGE), whole.detach()]

    assert peak(views) == 2


def test_a_view_keeps_its_whole_storage(peak):
    def held():
        corner = torch.zeros(4, *IMAGE)[0, 0, :1]
        return corner, torch.zeros(IMAGE)

    assert peak(held) == 5


def test_work_in_place_counts_nothing(peak):
    there = torch.zeros(3, *IMAGE)
    assert peak(lambda: there.add_(1).clamp_(min=0).mul_(2)) == 0

    def inside():
        fresh = torch.zeros(2, *IMAGE)
        fresh.add_(1).mul_(3)[0].zero_()

    assert peak(inside) == 2


def test_a_tensor_that_was_there_counts_nothing_and_its_copy_does(peak):
    there = torch.zeros(3, *IMAGE)
    assert peak(lambda: there[1:].flatten()) == 0
    assert peak(lambda: there[1:].clone()) == 2


def test_what_the_graph_saves_counts_until_the_graph_is_gone(peak):
    x = torch.rand(IMAGE).requires_grad_()

    def deep(keep):
        y = x
        for _ in range(6):
            y = y.exp() if keep else y.exp().detach()
        return y

    assert peak(lambda: deep(True)) == 6  # each output is saved for its own backward pass
    assert peak(lambda: deep(False)) == 2
    # The seed of ones, and the gradients that come and go, lie on top of the six.
    assert 7 <= peak(lambda: torch.autograd.grad(deep(True).sum(), x)) <= 9


def test_an_array_counts_once_a_tensor_shares_it(peak):
    def shared():
        array = np.zeros((2, *IMAGE), dtype=np.float32)
        tensor = torch.from_numpy(array)
        tensor.add_(1)
        return tensor[0].sum()

    assert 2 <= peak(shared) < 2.001


def test_the_meter_agrees_with_the_allocators_own_record():
    """On one rectifier network, with its backward pass, whose operators take no scratch space."""
    from memory import peak_of_tensors
    from torch.profiler import ProfilerActivity, profile

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 4))
    x = torch.rand(256, 64).requires_grad_()

    def call():
        torch.autograd.grad(net(x).sum(), x)

    call()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    steps = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    allocated = max(np.cumsum(steps)) / 2**20
    assert peak_of_tensors(call, CPU) == pytest.approx(allocated, rel=0.02)


def test_after_an_error_the_meter_is_off():
    from memory import TensorMemory

    with pytest.raises(RuntimeError, match="planned"), TensorMemory() as memory:
        torch.zeros(IMAGE)
        raise RuntimeError("planned")
    before = memory.peak
    torch.zeros(5, *IMAGE)
    assert memory.peak == before == 2**20


@pytest.mark.parametrize("name", ["smooth_grad", "shapley"])
def test_a_method_that_keeps_its_chunks_would_miss_the_limit(name, monkeypatch):
    """The same measurement, of a method that holds on to what it shows the network."""
    import memory

    make = memory.METHODS[name]

    def hoarding(model, x, count):
        kept = []
        model.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].detach().clone()))
        call = make(model, x, count)

        def once():
            kept.clear()
            call()

        return once

    honest = memory.growth(CPU, (64, 256), name)[0]
    assert honest["passes"] == [64, 256] and honest["growth"] <= memory.LIMIT
    monkeypatch.setitem(memory.METHODS, name, hoarding)
    assert memory.growth(CPU, (64, 256), name)[0]["growth"] > 1.2


# ------------------------------------------------------------------------------------- passes for equal error


def falling(scale, power=0.5):
    """An estimator whose error is exactly ``scale`` / passes ** ``power``."""
    return lambda n, case: torch.tensor([1 + scale / n**power])


TRUTH = torch.ones(1)
PASSES = (16, 64, 256, 1024)


def test_twice_the_error_needs_four_times_the_passes(error):
    ours, _ = error.passes_for_error(falling(1), TRUTH, PASSES, 2)
    curve, factor = error.passes_for_error(falling(2), TRUTH, PASSES, 2, against=ours)
    torch.testing.assert_close(curve.rms(), 2 / torch.tensor(PASSES).sqrt(), rtol=1e-4, atol=1e-6)
    assert factor.value == pytest.approx(4, rel=1e-3) and not factor.extrapolated
    assert factor.quartiles == pytest.approx((4, 4), rel=1e-3)
    assert error.factor(ours, curve).value == pytest.approx(1 / 4, rel=1e-3)
    assert error.factor(ours, ours).value == pytest.approx(1)


def test_the_error_can_be_chosen_where_the_slopes_differ(error):
    slow, _ = error.passes_for_error(falling(1, 0.5), TRUTH, PASSES, 1)
    fast, factor = error.passes_for_error(falling(1, 1.0), TRUTH, PASSES, 1, against=slow, level=0.05)
    assert slow.passes_at(0.05)[0] == pytest.approx(400, rel=0.01)
    assert fast.passes_at(0.05)[0] == pytest.approx(20, rel=0.01)
    assert factor.value == pytest.approx(1 / 20, rel=0.02) and not factor.extrapolated


def test_curves_that_share_no_error_are_extrapolated_and_say_so(error):
    ours, _ = error.passes_for_error(falling(1), TRUTH, PASSES, 1)
    _, factor = error.passes_for_error(falling(32), TRUTH, PASSES, 1, against=ours)
    assert factor.value == pytest.approx(1024, rel=0.01) and factor.extrapolated
    _, factor = error.passes_for_error(falling(1), TRUTH, PASSES, 1, against=ours, level=1e-3)
    assert factor.value == pytest.approx(1) and factor.extrapolated
    assert ours.passes_at(1e-3) == (pytest.approx(1e6, rel=0.02), True)


def test_noise_leaves_a_spread_around_the_true_factor(error):
    def noisy(scale, stream):
        def estimate(n, case):
            draws = torch.Generator().manual_seed(1000 * case + n + stream)
            return 1 + scale * torch.randn(40, generator=draws) / math.sqrt(n)

        return estimate

    truth = torch.ones(40)
    ours, _ = error.passes_for_error(noisy(1, 0), truth, PASSES, 8)
    _, factor = error.passes_for_error(noisy(1.5, 500_000), truth, PASSES, 8, against=ours)
    low, high = factor.quartiles
    assert 1.8 < low < factor.value < high < 2.8  # 1.5² = 2.25
    assert high - low > 0.01


def test_a_curve_with_a_bump_is_read_at_the_least_error_so_far(error):
    curve = error.ErrorCurve(PASSES, torch.tensor([[0.4, 0.1, 0.3, 0.05]]))
    assert curve.passes_at(0.2)[0] == pytest.approx(32, rel=0.01)
    assert 256 < curve.passes_at(0.0999)[0] < 270


def test_an_estimator_without_its_library_is_named(error):
    def missing(n, case):
        import no_such_library  # noqa: F401

    row = error.Row(
        "toy", "none", PASSES, 2, TRUTH, {"ours": falling(1), "gone": missing, "twice": falling(2)}
    )
    estimators = error.measured(row, lambda _: None)["estimators"]
    assert estimators["gone"] == {"not_installed": "no_such_library"}
    assert estimators["twice"]["factor"] == pytest.approx(4, rel=1e-3)


def subsets(d):
    return ((torch.arange(2**d)[:, None] >> torch.arange(d)) % 2).double()  # (2^d, d)


def test_references_of_an_additive_game_are_its_terms(error):
    terms = torch.tensor([0.1, -0.05, 0.2, 0.0, 0.03])
    values = 0.3 + subsets(5) @ terms.double()
    torch.testing.assert_close(error.exact_shapley(values), terms)
    torch.testing.assert_close(error.exact_lime(values), terms)


def test_the_shapley_reference_shares_what_only_both_can_earn(error):
    bits = subsets(4)
    values = 0.5 * bits[:, 0] * bits[:, 2] + 0.1 * bits[:, 1]
    torch.testing.assert_close(error.exact_shapley(values), torch.tensor([0.25, 0.1, 0.25, 0.0]))


def test_the_tabulated_game_is_the_networks(error):
    model, x = load_model("small_gap"), torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    game = error.tabulated(model, x, 3, 2, 3)
    for shown in ({0, 4}, {1, 2, 3, 5}, set(), set(range(6))):
        pixels = torch.zeros_like(x)
        for j in shown:
            row, column = divmod(j, 3)
            across = [math.ceil(k * 112 / 3) for k in range(4)]
            part = (..., slice(56 * row, 56 * row + 56), slice(across[column], across[column + 1]))
            pixels[part] = x[part]
        with torch.no_grad():
            expected = model(pixels).softmax(1)[0, 3]
        toy = torch.tensor([float(j in shown) for j in range(6)]).expand(1, 3, 1, 6)
        torch.testing.assert_close(game.model(toy).softmax(1)[0, 0], expected, rtol=1e-4, atol=1e-6)
        assert game.values[sum(2**j for j in shown)] == pytest.approx(expected.item(), rel=1e-4)
    fit = shapley_fit(game.model, game.x, 0, segments=game.segments, n_samples=64, fill=0.0)
    assert fit.exact
    torch.testing.assert_close(fit.values[0], error.exact_shapley(game.values), rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def game():
    """The small network's game on six rectangles of a shape."""
    import equal_error

    x = shapes(1, seed=3).images
    model = load_model("small_gap")
    return equal_error.tabulated(model, x, int(model(x).argmax()), 2, 3)


@pytest.mark.parametrize("row", ["_shapley_row", "_lime_row"])
def test_estimators_of_a_row_have_the_same_limit(row, error, game):
    """Otherwise passes for equal error would compare two different maps."""
    made = getattr(error, row)("toy", game, True)
    for name, estimator in made.estimators.items():
        assert error.distance(estimator(4000, 0), made.reference) < 0.1, name


def test_rules_of_integration_have_the_same_limit(error):
    x = shapes(1, seed=3).images
    row = error._integrated_gradients_row(load_model("small_gap"), x, (128,), "toy")
    for name, estimator in row.estimators.items():
        assert row.error(estimator(128, 0), row.reference(0)) < 0.03, name


def test_noisy_gradients_have_the_same_limit(error):
    row = error._smooth_grad_row(load_model("small_gap"), "coffee", (4, 16), 1, 128)
    found = error.measured(row, lambda _: None)["estimators"]
    for name, curve in found.items():
        assert curve["errors"][1] < 0.7 * curve["errors"][0], name  # half, but for chance


# ------------------------------------------------------------------------------------------------- contests


def test_the_bare_passes_of_guided_backprop_follow_its_rule():
    from contests import with_clamps

    from xai_lib import guided_backprop

    model, x = load_model("small_vgg"), torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    leaf = x.clone().requires_grad_()
    (bare,) = torch.autograd.grad(with_clamps(model)(leaf)[:, 2].sum(), leaf)
    torch.testing.assert_close(bare, guided_backprop(model, x, 2))
    (plain,) = torch.autograd.grad(model(leaf)[:, 2].sum(), leaf)
    assert not torch.allclose(bare, plain)


# ---------------------------------------------------------------------------------------------- retraining


def test_roar_and_the_plain_loop_train_the_same_networks():
    """What is timed against each other gives the same accuracies, but for an image on the border."""
    from retrained import contest_roar

    ours, rival = (call() for call in contest_roar(CPU, epochs=1, train=100).values())
    assert ours.shape == rival.shape == (5, 6, 3)
    assert (ours - rival).abs().max() < 2.5 / 497


def test_the_imputation_and_quantus_fill_the_same_images():
    from retrained import contest_impute

    ours, rival = (call() for call in contest_impute(CPU, size=64).values())
    assert ours.shape == (20, 3, 64, 64)
    torch.testing.assert_close(ours.double(), rival.double(), atol=1e-4, rtol=0)


# --------------------------------------------------------------------------------------------------- judges


def test_everybody_finds_the_same_areas_under_both_curves(run):
    """Ours, torch-cam's and Quantus's, of two images."""
    from judged import contest

    runners = contest(run.Setup(CPU, 16, 0, 2, "small_gap", 48))
    ours = runners["ours"]()
    assert ours.shape == (2,) and ours[0] != ours[1]
    for rival in ("torchcam", "quantus"):
        torch.testing.assert_close(runners[rival]().to(ours), ours, atol=1e-5, rtol=1e-4)


# -------------------------------------------------------------------------------------------- randomisation


def test_ours_and_quantus_give_the_same_similarities(monkeypatch):
    """With layers drawn as Quantus draws them: each after the same seed."""
    from randomised import contest_randomisation

    from xai_lib import randomisation

    def draw(layer, *_):
        torch.manual_seed(43)
        layer.reset_parameters()

    monkeypatch.setattr(randomisation, "_draw", draw)
    ours, rival = (call() for call in contest_randomisation(CPU, images=1).values())
    assert ours.shape == rival.shape == (3, 7, 3, 1)
    torch.testing.assert_close(ours.to(rival), rival, atol=1e-4, rtol=0)


def test_ours_and_the_plain_loop_attack_alike():
    from randomised import contest_attack

    ours, rival = (call() for call in contest_attack(CPU, steps=3).values())
    original = shapes(4, seed=5).images[:2]
    assert (ours - original).abs().amax((1, 2, 3)).min() > 1e-3
    assert (
        (ours - rival).abs().mean() < 2e-4 < (ours - original).abs().mean() / 10
    )  # signs of nothing may turn


# -------------------------------------------------------------------------------------------------- factors


FACTORS = sorted(ROOT.glob("benchmarks/results/factors/*.json"))


def test_there_are_factors_of_a_cpu():
    assert [path.stem for path in FACTORS][:1] == ["cpu"]


@pytest.mark.parametrize("path", FACTORS, ids=lambda path: path.stem)
def test_the_table_of_factors_is_made_of_what_is_stored(path):
    import factors

    results = read(path)
    assert path.with_suffix(".md").read_text(encoding="utf-8") == factors.markdown(results)
    assert set(results) <= set(factors.PROGRAMS) and all(part["rows"] for part in results.values())


def test_a_contest_is_measured_and_put_in_the_place_of_its_last_run():
    import factors

    work = lambda: torch.rand(400, 400) @ torch.rand(400, 400)  # noqa: E731
    contest = {"ours": work, "slow": work, "of which nothing was promised": work}
    rows = factors.rows_of("toy", contest, {"slow": 2.0}, 1, CPU)
    assert [row["rival"] for row in rows] == ["slow"] and rows[0]["promised"] == 2.0
    facts, old = {"torch": "1"}, {"contest": "toy", "rival": "slow"}
    other = {"contest": "other", "rival": "slow"}
    stored = {"judged": {"machine": facts, "rows": [old, other]}}
    assert factors.merged(stored, "judged", facts, rows)["judged"]["rows"] == [other, *rows]
    assert factors.merged(stored, "judged", {"torch": "2"}, rows)["judged"]["rows"] == rows
    assert set(factors.merged(stored, "randomised", facts, rows)) == {"judged", "randomised"}
