"""Influence: beside Captum's, beside leaving images out for real, and for many images at once.

Two settings, both on the last layer of ``small_gap``, fitted to its minimum on scenes of shapes. *From
features* everybody is given what the layer sees, and the layer is the whole model: what is timed is the
method alone. *From pictures* the network stands before it. Each runner has its rank correlation with the
exact scores beside its time (Spearman's, mean over the test images), since some of them compute something
else; TracIn has it with our TracIn.

``over_ours`` is the time over that of the same scores by xai_lib: for TracIn its TracIn, for all others
``solver="exact"``. Leaving out is timed for ``LEFT_OUT`` of the images, and their time multiplied; it needs
the features, whatever the setting.
"""

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from memory import peak_of_tensors
from timing import SHORTEST, Call, ratio, seconds
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, TensorDataset

from xai_lib import load_model, shapes
from xai_lib.influence import influence, leave_one_out, softmax_regression, tracin

L2, LEFT_OUT, CLASSES = 0.01, 32, 8
EXACT, TRACIN, LEAVING, BARE = "xai_lib, exact", "xai_lib, TracIn", "leaving out, for real", "bare passes"
ARNOLDI = {  # its two dimensions; from features only: from pictures each takes a quarter of a minute
    "captum Arnoldi, its defaults (50 of 200)": (50, 200),
    "captum Arnoldi, 200 of 300": (200, 300),
    "captum Arnoldi, all of 520": (520, 520),
}
FEATURES, PICTURES = "from features", "from pictures"
NAIVE, FAST = "captum NaiveInfluenceFunction", "captum TracInCPFast"
Pair = tuple[Tensor, Tensor]


class Case(NamedTuple):
    """One setting: a model whose ``head`` is asked, and two sets."""

    name: str
    model: nn.Module
    train: Pair
    test: Pair
    batch_size: int
    features: tuple[Tensor, Tensor]  # of both sets, float64: for real refits


class Network(nn.Module):
    """The pictures' way to the features (or nothing), and a last layer."""

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Scaled(nn.Module):
    """small_gap up to its last layer, in the unit in which that is fitted."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.unit = network, 1.0
        network.classifier = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) / self.unit


def cases(device: torch.device, n: int, n_pictures: int, m: int) -> list[Case]:
    """Both settings, with one fitted last layer each."""
    made = []
    for name, count, batch_size in ((FEATURES, n, 250), (PICTURES, n_pictures, 50)):
        scenes = shapes(count + m, seed=50)
        images, labels = scenes.images.to(device), scenes.labels.to(device)
        body = Scaled(load_model("small_gap", device=device))
        with torch.no_grad():
            seen = torch.cat([body(some) for some in images.split(batch_size)])
        body.unit = float(seen.std(0).mean())
        seen = seen / body.unit
        head = fitted(seen[:count].double(), labels[:count]).to(device)
        model = Network(nn.Identity() if name == FEATURES else body, head).eval()
        given = seen if name == FEATURES else images
        sets = (given[:count], labels[:count]), (given[count:], labels[count:])
        made.append(Case(name, model, *sets, batch_size, (seen[:count].double(), seen[count:].double())))
    return made


def fitted(features: Tensor, labels: Tensor) -> nn.Linear:
    """A last layer at the minimum of its training loss."""
    fit = softmax_regression(l2=L2)
    fit(features, labels, features.new_ones(1, len(labels)))
    head = nn.Linear(features.shape[1], CLASSES)
    with torch.no_grad():
        head.weight.copy_(fit.weights[:, :-1])
        head.bias.copy_(fit.weights[:, -1])
    return head


# ------------------------------------------------------------------------------------------------- runners


def runners(case: Case, file: str) -> dict[str, Callable[[], Tensor]]:
    """Every way to scores (m, n) in this setting."""
    model, train, test, size = case.model, case.train, case.test, case.batch_size
    ours = {"layer": "head", "batch_size": size}

    def bare() -> Tensor:
        """Each picture through the network once."""
        with torch.no_grad():
            return torch.cat([model(some) for x, _ in (train, test) for some in x.split(size)])

    def left_out() -> Tensor:
        """Newton's method from where the whole set's fit has ended, many refits at once."""
        fit = softmax_regression(l2=L2)
        sets = (case.features[0], train[1]), (case.features[1], test[1])
        return leave_one_out(fit, *sets, which=range(LEFT_OUT))

    ways = {
        EXACT: lambda: influence(model, train, test, l2=L2, **ours),
        "xai_lib, cg": lambda: influence(model, train, test, l2=L2, solver="cg", **ours),
        TRACIN: lambda: tracin(model, [model.state_dict()], train, test, **ours),
        **captums(case, file),
    }
    if case.name == FEATURES:
        return {**ways, LEAVING: left_out}
    return {name: way for name, way in ways.items() if name not in ARNOLDI} | {BARE: bare}


def captums(case: Case, file: str) -> dict[str, Callable[[], Tensor]]:
    """Captum's, each built anew: what it prepares is part of the work. Its Hessian is a sum over the data."""
    n, size = len(case.train[1]), case.model.head.weight.numel() + CLASSES
    each = nn.CrossEntropyLoss(reduction="none")

    def load(model: nn.Module, path: str) -> float:
        model.load_state_dict(torch.load(path))
        return 1.0

    given = case.model, TensorDataset(*case.train), file, load

    def naive() -> Tensor:
        from captum.influence import NaiveInfluenceFunction

        options = {"projection_dim": size, "hessian_reg": n * L2, "hessian_inverse_tol": 0.0}
        made = NaiveInfluenceFunction(
            *given, layers=["head"], loss_fn=each, batch_size=case.batch_size, **options
        )
        return made.influence(case.test)

    def arnoldi(dimension: int, steps: int) -> Tensor:
        from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction

        options = {"projection_dim": dimension, "arnoldi_dim": steps, "hessian_reg": n * L2}
        made = ArnoldiInfluenceFunction(
            *given,
            layers=["head"],
            loss_fn=each,
            batch_size=case.batch_size,
            hessian_inverse_tol=0.0,
            **options,
        )
        return made.influence(case.test)

    def fast() -> Tensor:
        from captum.influence import TracInCPFast

        model, data, path, load = given
        summed = nn.CrossEntropyLoss(reduction="sum")
        made = TracInCPFast(
            model, "head", data, [path], load, loss_fn=summed, batch_size=case.batch_size, vectorize=True
        )
        return made.influence(case.test)

    return {
        NAIVE: naive,
        **{name: lambda sizes=sizes: arnoldi(*sizes) for name, sizes in ARNOLDI.items()},
        FAST: fast,
    }


def beside_the_others(device: torch.device, quick: bool, rounds: int, say: Callable) -> list[dict]:
    """A row for each runner in each setting."""
    rows = []
    for case in cases(device, *((200, 50, 20) if quick else (1000, 200, 100))):
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "weights.pt")
            torch.save(case.model.state_dict(), file)
            rows += rows_of(case, runners(case, file), device, rounds, say)
    return rows


def rows_of(
    case: Case, ways: dict[str, Call], device: torch.device, rounds: int, say: Callable
) -> list[dict]:
    found, missing = {}, {}
    for name, way in ways.items():
        try:
            found[name] = way().double()
        except ImportError as error:
            missing[name] = error.name or str(error)
    # Not of Captum's: it makes so many small tensors that their account takes minutes.
    peaks = {name: peak_of_tensors(ways[name], device) for name in ways if name.startswith("xai_lib")}
    walls, times = in_turn({name: ways[name] for name in found}, rounds, device)
    n, rows = len(case.train[1]), []
    for name in ways:
        row = {"setting": case.name, "images": n, "queries": len(case.test[1]), "runner": name}
        if name in missing:
            rows.append({**row, "not_installed": missing[name]})
            continue
        times_more = n / LEFT_OUT if name == LEAVING else 1.0
        other = TRACIN if name in (TRACIN, FAST) else EXACT
        reference = found[other][:, :LEFT_OUT] if name == LEAVING else found[other]
        row |= {
            "seconds": times_more * statistics.median(times[name]),
            "wall_seconds": times_more * statistics.median(walls[name]),
            "over_ours": times_more * ratio(times[name], times[other]),
            "rank": None if name == BARE else rank_correlation(found[name], reference),
            "rank_with_exact": None if name != FAST else rank_correlation(found[name], found[EXACT]),
            "mib": peaks.get(name),
        }
        rows.append(row)
        say(f"influence, {case.name}: {name} / ours {row['over_ours']:.2f}, rank {row['rank']}")
    return rows


def in_turn(
    ways: dict[str, Call], rounds: int, device: torch.device
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall-clock and processor times of every runner in every round, each long enough to be read."""
    repeats = {name: max(1, math.ceil(SHORTEST / seconds(way)[0])) for name, way in ways.items()}
    walls, times = ({name: [] for name in ways} for _ in range(2))
    for turn in range(rounds):
        for name in list(ways) if turn % 2 else reversed(ways):
            wall, used = seconds(ways[name], repeats[name])
            walls[name].append(wall)
            times[name].append(wall if device.type == "cuda" else used)
    return walls, times


def rank_correlation(found: Tensor, wanted: Tensor) -> float:
    """Spearman's, mean over the test images."""
    a, b = (scores.argsort(1).argsort(1).double() for scores in (found, wanted))
    a, b = (ranks - ranks.mean(1, keepdim=True) for ranks in (a, b))
    return float(((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).mean())


# --------------------------------------------------------------------------------------------- many images


class Repeated(Dataset):
    """A few examples, again and again: many pictures without their memory. An index is a list of numbers."""

    def __init__(self, pair: Pair, n: int) -> None:
        self.pair, self.n = pair, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, which: list[int]) -> Pair:
        index = torch.tensor(which) % len(self.pair[1])
        return self.pair[0][index], self.pair[1][index]


def loader(pair: Pair, n: int, batch_size: int) -> DataLoader:
    data = Repeated(pair, n)
    return DataLoader(
        data, sampler=BatchSampler(SequentialSampler(data), batch_size, drop_last=False), batch_size=None
    )


def many_images(device: torch.device, quick: bool, say: Callable) -> list[dict]:
    """50,000 training images and 1,000 queries: how long, and how much memory beside the scores'.

    From pictures a tenth of the images is run and its time multiplied (they are streamed: the time is that of
    the passes), and of the bare passes too; memory is measured up to 4,000 images.
    """
    n, m = (2_000, 100) if quick else (50_000, 1_000)
    rows = []
    for case, batch_size, most, share in zip(
        cases(device, 1000, 500, 100), (512, 64), (n, min(n, 4_000)), (1, 10), strict=True
    ):
        test, counts = loader(case.test, m, batch_size), (most // 16, most)

        def call(count: int, case=case, test=test, batch_size=batch_size) -> Call:
            train = loader(case.train, count, batch_size)
            return lambda: influence(case.model, train, test, layer="head", l2=L2)

        @torch.no_grad()
        def bare(case=case, batch_size=batch_size) -> None:
            for x, _ in loader(case.train, (n + m) // 10, batch_size):
                case.model(x)

        call(100)()  # what only the first call costs
        wall, used = (share * spent for spent in seconds(call(n // share)))
        bare_wall, bare_used = (10 * spent for spent in seconds(bare))
        beside = [peak_of_tensors(call(count), device) - m * count * 4 / 2**20 for count in counts]
        row = {
            "setting": case.name,
            "images": n,
            "queries": m,
            "batch_size": batch_size,
            "share_run": 1 / share,
            "seconds": used,
            "wall_seconds": wall,
            "bare_seconds": bare_used,
            "bare_wall_seconds": bare_wall,
            "counts": list(counts),
            "mib_beside_the_scores": beside,
            "growth": beside[1] / beside[0],
        }
        rows.append(row)
        say(f"influence, {n} × {m} {case.name}: {wall:.1f} s, growth {row['growth']:.3f}")
    return rows


def attribution(device: torch.device, quick: bool, rounds: int, say: Callable) -> dict:
    """The part "influence" of the results."""
    return {
        "rows": beside_the_others(device, quick, rounds, say),
        "many": many_images(device, quick, say),
    }


# ------------------------------------------------------------------------------------------------- targets


def targets(results: dict) -> Iterator[tuple[str, str, bool | None]]:
    """What was promised, what was measured, and whether it holds; None where a peer was missing."""
    rows = [row for row in results["rows"] if "over_ours" in row]
    for promise, limit, names in (
        ("exact influence at least 10 × as fast as Captum's naive one", 10, (NAIVE,)),
        ("exact influence at least 3 × as fast as Captum's Arnoldi", 3, ("captum Arnoldi",)),
        ("TracIn at least 3 × as fast as Captum's TracInCPFast", 3, (FAST,)),
        ("influence at least 20 × as fast as leaving out for real", 20, (LEAVING,)),
    ):
        known = [row for row in rows if row["runner"].startswith(names)]
        if not known:
            yield promise, "not measured: captum is not installed", None
            continue
        least = {
            name: min((row for row in known if row["setting"] == name), key=lambda row: row["over_ours"])
            for name in dict.fromkeys(row["setting"] for row in known)
        }
        said = "; ".join(
            f"{row['over_ours']:.1f} × {name} (rank correlation {row['rank']:.3f})"
            for name, row in least.items()
        )
        yield promise, said, min(row["over_ours"] for row in least.values()) >= limit
    size = f"{results['many'][0]['images']:,} × {results['many'][0]['queries']:,}"
    said = "; ".join(f"{row['wall_seconds']:.0f} s {row['setting']}" for row in results["many"])
    slowest = max(row["wall_seconds"] for row in results["many"])
    yield f"influence, {size}, in under a minute", said, slowest < 60
    said = "; ".join(f"{row['growth']:.3f} × {row['setting']}" for row in results["many"])
    worst = max(row["growth"] for row in results["many"])
    yield "influence: memory beside the scores flat over 16 × the images", said, worst <= 1.05
