"""Make chapter 9's last figure: which tool of the course finds which fault.

    python tools/audit_matrix.py --networks FOLDER      chapters/09_audit/matrix.json

It takes 24 minutes of one core's time. Of each kind five networks are trained, on scenes and from weights of
their own, and each is judged on an album of its own. Each tool gives marks of suspicion, and each mark
accuses somebody: a cause, the map, the labels, or only "the answers". An alarm is a mark above all those of
five *honest* networks, on two albums each; other honest networks say how often that is false. An alarm finds
the fault if it accuses the right one.

FOLDER keeps the networks and the marks, so that a second run starts where the first ended.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xai_lib import (
    deletion,
    grad_cam,
    gradient,
    hires_cam,
    insertion,
    integrated_gradients,
    lime,
    occlusion,
    rise,
    smooth_grad,
    to_heatmap,
)
from xai_lib._cases import HELD_OUT, LIES, Recipe, build, lie, predict, recipe, shown, train
from xai_lib._causes import CLASSES, Scenes, draw, mark
from xai_lib.influence import influence, self_influence
from xai_lib.localisation import energy_in
from xai_lib.manipulation import audit, contrast, lie_image, lie_sticker
from xai_lib.models import Classifier
from xai_lib.randomisation import randomised
from xai_lib.train import store

FILE = Path(__file__).resolve().parent.parent / "chapters" / "09_audit" / "matrix.json"
RUNS = 5  # of each fault
# kind → how many networks are trained; T2 and T4 are made from the honest ones
NETWORKS = dict.fromkeys(("honest", "tag", "background", "blur", "fairwashed", "noise", "fooled"), 5)
KNOWN = (101, 102, 103, 104, 105)  # seeds of the honest networks by which thresholds are set
ALBUMS = 2  # for each of those
RIGHT = {  # whom an alarm must accuse to have found the fault
    "tag": ("tag", "answers"),
    "background": ("background", "answers"),
    "blur": ("blur", "answers"),
    "fairwashed": ("tag", "answers"),
    "T2": ("map",),
    "T4": ("map",),
    "fooled": ("map",),
    "noise": ("labels",),
}
PER_CLASS = 2  # pictures explained, of each answer, with the tag and without
Marks = dict[str, float]  # whom it accuses → how strongly


# --------------------------------------------------------------------------------------------- the networks


def network(kind: str, seed: int, folder: Path) -> Classifier:
    """A network of this kind and seed: from the folder, or trained and stored there, as float16."""
    if kind in ("T2", "T4"):
        return manipulated(kind, network("honest", seed, folder), seed)
    file = folder / f"{kind}_{seed}.pt"
    if not file.exists():
        if kind in LIES:
            model = lie(kind, network(LIES[kind].base, seed, folder), recipe(kind, seed))
        else:
            model = train(recipe(kind, seed))
        store(model, file.stem, folder)
        print(f"trained {file.stem}", flush=True)
    model = build()
    state = torch.load(file, map_location="cpu", weights_only=True)
    model.load_state_dict({name: value.float() for name, value in state.items()})
    return model.eval()


def manipulated(kind: str, model: Classifier, seed: int) -> nn.Module:
    """As in a case file: a spot for every picture (T2), or the tag wherever it is (T4)."""
    if kind == "T4":
        return lie_sticker(model, mark())
    x, y = (2.0 + 3 * torch.rand(2, generator=torch.Generator().manual_seed(seed))).tolist()
    axis = torch.arange(8.0)
    spot = torch.exp(-((axis - x)[None] ** 2 + (axis - y)[:, None] ** 2) / 4)
    return lie_image(model, spot, repair=True)


# ------------------------------------------------------------------------------------- what the tools look at


class Exam:
    """A network, an album, and what was computed on the way."""

    def __init__(self, model: nn.Module, told: Recipe, seed: int) -> None:
        self.model, self.told, self.seed = model, told, seed
        self.scenes = draw(400, HELD_OUT + 10_000 + seed)
        self.answers = predict(model, self.scenes.images)
        self.maps: dict[str, Tensor] = {}
        self.layer = "features.10"

    @cached_property
    def rows(self) -> Tensor:
        """Pictures to explain: of each answer some without the tag, then some with it."""
        picked = []
        for tagged in (False, True):
            for k in range(len(CLASSES)):
                rows = ((self.answers == k) & (self.scenes.tag == tagged)).nonzero()[:PER_CLASS, 0]
                picked.append(rows)
        return torch.cat(picked)

    @property
    def shown(self) -> Scenes:
        return self.scenes[self.rows]

    @property
    def y(self) -> Tensor:
        return self.answers[self.rows]

    def heat(self, name: str) -> Tensor:
        """Maps of the pictures to explain, (n, S, S), not negative."""
        if name not in self.maps:
            self.maps[name] = METHODS[name](self).detach()
        return self.maps[name]

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def most(self, values: Tensor, of: Tensor, least: int = 2) -> float:
        """The largest mean of the values of one answer, of those with enough of them."""
        means = [float(values[of == k].mean()) for k in range(len(CLASSES)) if (of == k).sum() >= least]
        return max(means, default=0.0)


def cam(explain: Callable, exam: Exam) -> Tensor:
    return explain(exam.model, exam.shown.images, exam.y, layer=exam.layer).clamp(min=0)


def against(exam: Exam) -> Tensor:
    """Grad-CAM of each logit against the mean, in double precision, in which what is added alike cancels."""
    model = contrast(copy.deepcopy(exam.model).double(), "mean")
    return grad_cam(model, exam.shown.images.double(), exam.y, layer=exam.layer).float()


def above_lowest(maps: Tensor) -> Tensor:
    return maps - maps.amin((1, 2), keepdim=True)


METHODS: dict[str, Callable[[Exam], Tensor]] = {
    "gradient": lambda e: to_heatmap(gradient(e.model, e.shown.images, e.y), "abs_sum"),
    "SmoothGrad": lambda e: to_heatmap(
        smooth_grad(e.model, e.shown.images, e.y, n_samples=12, generator=e.generator()), "abs_sum"
    ),
    "integrated gradients": lambda e: to_heatmap(
        integrated_gradients(e.model, e.shown.images, e.y, n_steps=12), "abs_sum"
    ),
    "Grad-CAM": partial(cam, grad_cam),
    "HiResCAM": partial(cam, hires_cam),
    "Grad-CAM against the mean": against,
    "occlusion": lambda e: occlusion(e.model, e.shown.images, e.y, window=12, stride=8, fill=0.5).clamp(
        min=0
    ),
    "LIME": lambda e: lime(e.model, e.shown.images, e.y, n_samples=100, generator=e.generator()).clamp(min=0),
    "RISE": lambda e: above_lowest(
        rise(e.model, e.shown.images, e.y, n_masks=120, grid=8, generator=e.generator())
    ),
}


# ------------------------------------------------------------------------------------------------- the tools


def wider(masks: Tensor, by: int) -> Tensor:
    return F.max_pool2d(masks.float()[:, None], 2 * by + 1, 1, by)[:, 0] > 0


def points_at(name: str, exam: Exam) -> Marks:
    """Heat on the tag where there is one, and heat off the object where there is none."""
    heat, scenes, y = exam.heat(name), exam.shown, exam.y
    on_tag = energy_in(heat, wider(scenes.tag_masks, 4))
    off = 1 - energy_in(heat, wider(scenes.masks, 3))
    return {
        "tag": exam.most(on_tag[scenes.tag], y[scenes.tag]),
        "background": exam.most(off[~scenes.tag], y[~scenes.tag]),
    }


def moved_heat(a: Tensor, b: Tensor) -> Tensor:
    """Share of the heat of maps (n, h, w) that lies elsewhere, on Grad-CAM's cells, (n,)."""
    cells = [F.adaptive_avg_pool2d(m[:, None], 8).flatten(1).double() for m in (a, b)]
    shares = [m / m.sum(1, keepdim=True).clamp(min=1e-300) for m in cells]
    return (shares[0] - shares[1]).abs().sum(1) / 2


def beside(name: str, exam: Exam) -> Marks:
    return {"map": float(moved_heat(exam.heat("Grad-CAM"), exam.heat(name)).mean())}


def same_for_the_next(exam: Exam) -> Marks:
    heat = exam.heat("Grad-CAM")
    return {"map": -float(moved_heat(heat, heat.roll(1, 0)).mean())}


def same_with_other_weights(exam: Exam) -> Marks:
    """The last layer drawn anew, twice; of the two the draw that moves less, as one may turn a sign."""
    moved = []
    for draw_seed in (1, 2):
        _, other = next(randomised(exam.model, generator=torch.Generator().manual_seed(draw_seed)))
        maps = grad_cam(other, exam.shown.images, exam.y, layer=exam.layer)
        moved.append(moved_heat(exam.heat("Grad-CAM"), maps))
    return {"map": -float(torch.minimum(*moved).mean())}


def deletes_no_better(judge: Callable, sign: int, exam: Exam) -> Marks:
    """Against a random order of blocks as large as Grad-CAM's cells."""
    order = torch.rand(len(exam.rows), 8, 8, generator=exam.generator())
    order = order.repeat_interleave(8, 1).repeat_interleave(8, 2)
    both = torch.stack([exam.heat("Grad-CAM"), order], 1)
    fill = {"fill": "blur"} if judge is deletion else {"start": "blur"}
    auc = judge(exam.model, exam.shown.images, exam.y, both, steps=12, **fill).auc
    return {"map": sign * float((auc[:, 0] - auc[:, 1]).mean())}


def weights(exam: Exam) -> Marks:
    return {"map": float(len(audit(exam.model, exam.scenes.images[:32], layer=exam.layer)))}


def own_accuracy(exam: Exam) -> Marks:
    """On scenes like those of the training: what the maker states."""
    own = draw(600, HELD_OUT + 20_000 + exam.seed, rates=exam.told.rates)
    return {"answers": -float((predict(exam.model, own.images) == own.labels).double().mean())}


def album_accuracy(exam: Exam) -> Marks:
    return {"answers": -float((exam.answers == exam.scenes.labels).double().mean())}


def with_cause(scenes: Scenes) -> dict[str, list[Tensor]]:
    """For each cause the sets of scenes that have it: for the background one for each colour."""
    colours = [scenes.tint == k for k in (1, 2, 3)]
    return {"tag": [scenes.tag], "background": colours, "blur": [scenes.blur]}


def stratified(exam: Exam) -> Marks:
    """How much more often an answer is given with a cause than without: causes go with no class here."""
    scenes, marks = exam.scenes, {}
    for cause, sets in with_cause(scenes).items():
        without = ~torch.stack(sets).any(0)
        gaps = [
            (exam.answers[rows] == k).double().mean() - (exam.answers[without] == k).double().mean()
            for rows in sets
            for k in range(len(CLASSES))
        ]
        marks[cause] = float(max(gaps))
    return marks


def removed(exam: Exam) -> Marks:
    """Of the scenes that have a cause, taken away: the share of an answer that is no longer given."""
    scenes, marks = exam.scenes, {}
    for cause, sets in with_cause(scenes).items():
        off = {"tag": {"tag": False}, "background": {"tint": 0}, "blur": {"blur": False}}[cause]
        lost = []
        for rows in sets:
            after = predict(exam.model, scenes[rows.nonzero()[:, 0]].redraw(**off).images)
            lost.append(exam.most((after != exam.answers[rows]).double(), exam.answers[rows], least=4))
        marks[cause] = max(lost)
    return marks


def inserted(exam: Exam) -> Marks:
    """Of the scenes without a cause, to which it is given: the share that goes over to one answer."""
    scenes, marks = exam.scenes, {}
    for cause, sets in with_cause(scenes).items():
        rows = (~torch.stack(sets).any(0)).nonzero()[:, 0]
        ways = {"tag": [{"tag": True}], "blur": [{"blur": True}]}.get(cause, [{"tint": k} for k in (1, 2, 3)])
        won = []
        for on in ways:
            before, after = exam.answers[rows], predict(exam.model, scenes[rows].redraw(**on).images)
            won += [float((after == k)[before != k].double().mean()) for k in range(len(CLASSES))]
        marks[cause] = max(won)
    return marks


def wrong_labels(score: Callable[[Exam], Tensor], exam: Exam) -> Marks:
    """Of the 24 training pictures that look worst: how many labels are wrong, as whoever looks sees."""
    scenes, given = shown(exam.told)
    worst = score(exam).topk(24).indices
    return {"labels": float((scenes.labels != given)[worst].sum())}


def own_influence(exam: Exam) -> Tensor:
    scenes, given = shown(exam.told)
    return self_influence(exam.model, (scenes.images, given), layer="classifier.2", damping=0.01)


def at_random(exam: Exam) -> Tensor:
    """The control: no score at all."""
    return torch.rand(len(shown(exam.told)[1]), generator=exam.generator())


@torch.no_grad()
def training_loss(exam: Exam) -> Tensor:
    scenes, given = shown(exam.told)
    return F.cross_entropy(exam.model(scenes.images), given, reduction="none")


def alike_in(exam: Exam) -> Marks:
    """Scenes that have a cause: how much more often than others their ten most helpful pictures have it."""
    kept, given = shown(exam.told)
    marks = {}
    for cause, sets in with_cause(exam.scenes).items():
        more = []
        for rows, theirs in zip(sets, with_cause(kept)[cause], strict=True):
            rows = rows.nonzero()[:40, 0]
            test = exam.scenes.images[rows], exam.answers[rows]
            scores = influence(
                exam.model, (kept.images, given), test, layer="classifier.2", damping=0.01
            )  # (m, 240)
            share = theirs[scores.topk(10).indices].double().mean(1) - theirs.double().mean()
            more.append(exam.most(share, exam.answers[rows], least=3))
        marks[cause] = max(more)
    return marks


@torch.no_grad()
def unsure(exam: Exam) -> Marks:
    """How far the network's mean confidence stays below its accuracy: labels at odds make it unsure."""
    sure = torch.cat([exam.model(x).softmax(1).amax(1) for x in exam.scenes.images.split(100)]).mean()
    return {"labels": float((exam.answers == exam.scenes.labels).double().mean() - sure)}


TOOLS: dict[str, Callable[[Exam], Marks]] = {
    "accuracy, the maker's test": own_accuracy,
    "accuracy, the album": album_accuracy,
    "accuracy by strata": stratified,
    "confidence beside accuracy": unsure,
    **{
        f"{name} points at": partial(points_at, name)
        for name in (
            "gradient",
            "SmoothGrad",
            "integrated gradients",
            "Grad-CAM",
            "HiResCAM",
            "occlusion",
            "LIME",
            "RISE",
        )
    },
    "Grad-CAM beside HiResCAM": partial(beside, "HiResCAM"),
    "Grad-CAM beside occlusion": partial(beside, "occlusion"),
    "Grad-CAM beside Grad-CAM against the mean": partial(beside, "Grad-CAM against the mean"),
    "the same map for the next picture": same_for_the_next,
    "randomisation of the last layer": same_with_other_weights,
    "deletion by Grad-CAM": partial(deletes_no_better, deletion, 1),
    "insertion by Grad-CAM": partial(deletes_no_better, insertion, -1),
    "audit of the weights": weights,
    "training labels, 24 at random": partial(wrong_labels, at_random),
    "training labels, by loss": partial(wrong_labels, training_loss),
    "training labels, by self-influence": partial(wrong_labels, own_influence),
    "influence: what helpful pictures share": alike_in,
    "intervention: a cause removed": removed,
    "intervention: a cause inserted": inserted,
}


# ------------------------------------------------------------------------------------------------ the matrix


def marks_of(kind: str, seed: int, album: int, folder: Path) -> dict[str, Marks]:
    """All tools' marks of one network on one album: from the folder, or computed and stored there."""
    file = folder / f"marks_{kind}_{seed}_{album}.json"
    if not file.exists():
        base = "honest" if kind in ("T2", "T4") else kind
        exam = Exam(network(kind, seed, folder), recipe(base, seed), 100 * seed + album)
        marks = {name: tool(exam) for name, tool in TOOLS.items()}
        file.write_text(json.dumps(marks, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"judged {kind} {seed} {album}", flush=True)
    return json.loads(file.read_text(encoding="utf-8"))


def runs(kind: str, count: int = RUNS) -> list[tuple[int, int]]:
    """Seeds of networks and numbers of albums: each network on its first album, then each on its second."""
    n = NETWORKS["honest" if kind in ("T2", "T4") else kind]
    return [(1 + i % n, i // n) for i in range(count)]


def matrix(folder: Path) -> dict:
    """Thresholds by the known honest networks, false alarms by the others, and what each tool finds."""
    known = [marks_of("honest", seed, album, folder) for album in range(ALBUMS) for seed in KNOWN]
    null = [marks_of("honest", *run, folder) for run in runs("honest", ALBUMS * NETWORKS["honest"])]
    judged = {kind: [marks_of(kind, *run, folder) for run in runs(kind)] for kind in RIGHT}
    tools = {}
    for name in TOOLS:
        threshold = {who: max(marks[name][who] for marks in known) for who in known[0][name]}

        def named(marks: dict[str, Marks], name: str = name, threshold: Marks = threshold) -> list[str]:
            return [who for who, value in marks[name].items() if value > threshold[who]]

        rows = {kind: [named(marks) for marks in all_five] for kind, all_five in judged.items()}
        tools[name] = {
            "threshold": {who: round(value, 4) for who, value in threshold.items()},
            "false_alarms": sum(bool(named(marks)) for marks in null),
            "of": len(null),
            "accused": rows,
            "alarms": {kind: sum(map(bool, five)) for kind, five in rows.items()},
            "found": {
                kind: sum(bool({*RIGHT[kind]} & {*who}) for who in five) for kind, five in rows.items()
            },
            "marks": {
                kind: {who: [round(m[name][who], 4) for m in five] for who in threshold}
                for kind, five in ({"honest": null} | judged).items()
            },
        }
    return {
        "tools": tools,
        "faults": list(RIGHT),
        "right": {kind: list(who) for kind, who in RIGHT.items()},
        "networks": {kind: NETWORKS["honest" if kind in ("T2", "T4") else kind] for kind in RIGHT},
        "seeds": list(range(1, RUNS + 1)),
        "honest": {"thresholds": len(KNOWN), "null": NETWORKS["honest"], "albums": ALBUMS},
        "album": 400,
        "explained": 2 * PER_CLASS * len(CLASSES),
        "command": "python tools/audit_matrix.py --networks FOLDER",
        "torch": torch.__version__.split("+")[0],
    }


def main(arguments: list[str] | None = None) -> None:
    """Train what is missing, judge what is not yet judged, and write the matrix."""
    parser = argparse.ArgumentParser(prog="python tools/audit_matrix.py", description=__doc__.split("\n")[0])
    parser.add_argument("--networks", type=Path, required=True, help="where networks and marks are kept")
    parser.add_argument("--train", action="store_true", help="train the networks only")
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args(arguments)
    options.networks.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    trained = [(kind, 1 + i) for kind, n in NETWORKS.items() for i in range(n)]
    for kind, seed in [*trained, *(("honest", seed) for seed in KNOWN)]:
        network(kind, seed, options.networks)
    if options.train:
        return
    facts = matrix(options.networks)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for name, tool in facts["tools"].items():
        print(f"{name:44}", *(f"{kind} {tool['found'][kind]}" for kind in RIGHT), tool["false_alarms"])


if __name__ == "__main__":
    main()
