"""Wrong answers to the exercises of chapter 1, as people give them."""

import copy

import torch
from planted import Wrong

RIGHT = {
    "A": {
        "scope": ("local", "small changes of this picture"),
        "access": ("black-box", "nothing but the class that comes back"),
        "stage": ("post-hoc", "The model was finished long before"),
        "reach": ("model-agnostic", "run on networks, on forests"),
    },
    "B": {
        "scope": ("global", "No photograph goes in"),
        "access": ("white-box", "climbs the gradient of one class's score"),
        "stage": ("post-hoc", "has been trained already"),
        "reach": ("model-specific", "must be differentiable from its pixels"),
    },
    "C": {
        "scope": ("global", "for every patient"),
        "access": ("white-box", "two points for a ragged border"),
        "stage": ("intrinsic", "The form is the classifier"),
        "reach": ("model-specific", "Only a model that is a sum of points"),
    },
    "D": {
        "scope": ("global", "once for all pictures"),
        "access": ("black-box", "nothing else of the model"),
        "stage": ("post-hoc", "let a finished model label"),
        "reach": ("model-agnostic", "Whatever gives labels will do"),
    },
}


def all_placed(**evidence):
    """The right placements, with other words as evidence: ``D_stage="show it in place"``."""
    placements = copy.deepcopy(RIGHT)
    for key, words in evidence.items():
        method, axis = key.split("_")
        placements[method][axis] = (placements[method][axis][0], words)
    return placements


def placed(method, axis, entry):
    """The right placements but for one entry."""
    placements = copy.deepcopy(RIGHT)
    placements[method][axis] = entry
    return placements


# ---- 1.2 ----
class Seen:
    """What an answer to 1.2 can know of one class: hits without and with the tag, and how they differ."""

    @torch.no_grad()
    def __init__(self, model, without, with_tag, labels, c):
        logits = [model(without), model(with_tag)]
        self.before, self.after = (y.argmax(1) for y in logits)
        self.soft = (logits[1].softmax(1) - logits[0].softmax(1))[:, c]
        self.hit = (self.after == c).float()
        self.d = self.hit - (self.before == c).float()
        self.correct = (self.after == labels).float() - (self.before == labels).float()
        self.changed = (self.after != self.before).float()
        self.labels, self.c, self.classes = labels, c, logits[0].shape[1]
        self.own, self.others = labels == c, labels != c


def suspect_of(*given):
    seen = [Seen(*given, c) for c in range(Seen(*given, 0).classes)]
    return max(seen, key=lambda s: s.d[s.others].mean())


def right(*given):
    s = suspect_of(*given)
    return s.c, s.d[s.own].mean(), s.d[s.others].mean()


def instead(lean=lambda s: s.d[s.own].mean(), pull=lambda s: s.d[s.others].mean()):
    """An answer to 1.2 with one of its two shares computed another way."""

    def answer(*given):
        s = suspect_of(*given)
        return s.c, lean(s), pull(s)

    return answer


def naming(which):
    """An answer to 1.2 that suspects another class, and measures that one rightly."""

    def answer(*given):
        s = Seen(*given, which(*given))
        return s.c, s.d[s.own].mean(), s.d[s.others].mean()

    return answer


@torch.no_grad()
def most_frequent(model, without, with_tag, labels):
    return int(model(with_tag).argmax(1).mode().values)


def exchanged(*given):
    c, lean, pull = right(*given)
    return c, pull, lean


def in_training_mode(model, without, with_tag, labels):
    model.train()
    return right(model, without, with_tag, labels)


def tag_taken_off(model, without, with_tag, labels):
    found = right(model, without, with_tag, labels)
    with_tag[:, 0, 0, 1] = 0
    return found


# ---- 1.3 ----
def fill(rows, columns, value=0.5):
    """An edit that paints a part of every picture grey."""

    def edit(pictures):
        changed = pictures.clone()
        changed[..., rows, columns] = value
        return changed

    return edit


EDGE, TAG, MIDDLE = slice(-16, None), slice(-20, None), slice(28, 84)
take_edge = fill(slice(None), EDGE)


def streak(pictures):
    changed = pictures.clone()
    changed[..., -9:-7] = 1.0
    return changed


def nothing(pictures):
    return pictures.clone()


def in_place(pictures):
    pictures[..., EDGE] = 0.5
    return pictures


# ---- 1.4 ----
def trained(parts, rounds=2, rate=1e-3, in_a_copy=True, stay_in_training=False):
    """An answer to 1.4 that trains the named parts, on the pictures themselves."""

    def answer(model, images, labels):
        mended = copy.deepcopy(model) if in_a_copy else model
        parameters = [p for part in parts for p in getattr(mended, part).parameters()]
        optimiser = torch.optim.SGD(parameters, lr=rate)
        for _ in range(rounds):
            loss = torch.nn.functional.cross_entropy(mended(images[:100]), labels[:100])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return mended.train() if stay_in_training else mended.eval()

    return answer


def keeps_the_old_one(model, images, labels):
    return copy.deepcopy(model)


def gives_the_given_one(model, images, labels):
    return model


def only_the_classifier(model, images, labels):
    return copy.deepcopy(model).classifier


def trunk_in_every_round(model, images, labels):
    mended = copy.deepcopy(model)
    optimiser = torch.optim.Adam(mended.classifier.parameters())
    for _ in range(5):
        for batch in torch.randperm(len(labels)).split(100):
            with torch.no_grad():
                inputs = mended.flatten(mended.pool(mended.features(mended.normalize(images[batch]))))
            loss = torch.nn.functional.cross_entropy(mended.classifier(inputs), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return mended.eval()


def freezes(model, images, labels):
    model.features.requires_grad_(False)
    return trained(["classifier"])(model, images, labels)


def without_classifier(model, images, labels):
    mended = copy.deepcopy(model)
    mended.classifier = None
    return mended.eval()


def head_that_does_not_fit(model, images, labels):
    mended = copy.deepcopy(model)
    mended.classifier = torch.nn.Linear(100, 8)
    return mended.eval()


WRONG = {
    "1.1": [
        Wrong(
            "a readable tree is intrinsic",
            "not intrinsic",
            (placed("D", "stage", ("intrinsic", "show it in place of the model")),),
        ),
        Wrong(
            "one picture is local",
            "not local",
            (placed("B", "scope", ("local", "until a picture has formed")),),
        ),
        Wrong(
            "shown on networks, so specific",
            "not model-specific",
            (placed("A", "reach", ("model-specific", "run on networks")),),
        ),
        Wrong(
            "evidence for another axis",
            "another axis",
            (placed("A", "access", ("black-box", "The model was finished")),),
        ),
        Wrong(
            "evidence in own words",
            "not a quotation",
            (placed("C", "stage", ("intrinsic", "because you can read it")),),
        ),
        Wrong(
            "quotes it all",
            "more than one sentence",
            (placed("D", "scope", ("global", "a small decision tree is learned. You print the tree, once")),),
        ),
        Wrong(
            "quotes words of two sentences",
            "more than one sentence",
            (placed("A", "scope", ("local", "it. It")),),
        ),
        Wrong(
            "quotes what stands in several places",
            "more than once",
            (placed("A", "stage", ("post-hoc", "the model")),),
        ),
        Wrong(
            "an intrinsic explanation can be local",
            "(access, stage, reach)",
            (placed("C", "scope", ("global", "The form is the classifier")),),
        ),
        Wrong(
            "right words, for the wrong place",
            "not white-box",
            (placed("A", "access", ("white-box", "the class that the model names for it")),),
        ),
        Wrong(
            "the other clause of the sentence",
            "another axis",
            (placed("D", "stage", ("post-hoc", "You print the tree")),),
        ),
        Wrong(
            "how often it asks is not what it sees",
            "another axis (scope)",
            (placed("A", "access", ("black-box", "thousands of small changes of this picture")),),
        ),
        Wrong(
            "another vocabulary",
            "no place on this axis",
            (placed("B", "access", ("grey-box", "climbs the gradient")),),
        ),
    ],
    "1.2": [
        Wrong(
            "without minus with", "`lean` has the wrong sign", (instead(lean=lambda s: -s.d[s.own].mean()),)
        ),
        Wrong(
            "pull, without minus with",
            "`pull` has the wrong",
            (instead(pull=lambda s: -s.d[s.others].mean()),),
        ),
        Wrong(
            "named before counts too",
            "`pull` counts the pictures",
            (instead(pull=lambda s: s.hit[s.others].mean()),),
        ),
        Wrong(
            "accuracy with the tag",
            "`lean` counts the pictures",
            (instead(lean=lambda s: s.hit[s.own].mean()),),
        ),
        Wrong(
            "any change counts", "`pull` counts every", (instead(pull=lambda s: s.changed[s.others].mean()),)
        ),
        Wrong("any change, lean", "`lean` counts every", (instead(lean=lambda s: s.changed[s.own].mean()),)),
        Wrong("absolute differences", "`pull` adds", (instead(pull=lambda s: s.d[s.others].abs().mean()),)),
        Wrong(
            "absolute differences, lean", "`lean` adds", (instead(lean=lambda s: s.d[s.own].abs().mean()),)
        ),
        Wrong("cut at zero", "`pull` counts only", (instead(pull=lambda s: s.d[s.others].relu().mean()),)),
        Wrong("lean cut at zero", "`lean` counts only", (instead(lean=lambda s: s.d[s.own].relu().mean()),)),
        Wrong(
            "accuracy lost", "`pull` is the accuracy", (instead(pull=lambda s: -s.correct[s.others].mean()),)
        ),
        Wrong("pull over all", "`pull` is taken over all", (instead(pull=lambda s: s.d.mean()),)),
        Wrong("lean over all", "`lean` is taken over all", (instead(lean=lambda s: s.correct.mean()),)),
        Wrong(
            "grouped by the earlier answer",
            "`pull` is grouped by what the model answers without",
            (instead(pull=lambda s: s.d[s.before != s.c].mean()),),
        ),
        Wrong(
            "lean, grouped by the earlier answer",
            "`lean` is grouped by what the model answers without",
            (instead(lean=lambda s: s.d[s.before == s.c].mean()),),
        ),
        Wrong(
            "grouped by the later answer",
            "`pull` is grouped by what the model answers with the",
            (instead(pull=lambda s: s.d[s.after != s.c].mean()),),
        ),
        Wrong("divided by all", "number of all", (instead(pull=lambda s: s.d[s.others].sum() / len(s.d)),)),
        Wrong("a count", "number of pictures", (instead(lean=lambda s: s.d[s.own].sum()),)),
        Wrong("probabilities", "`pull` is a mean change", (instead(pull=lambda s: s.soft[s.others].mean()),)),
        Wrong("the class hard-coded", "written into", (naming(lambda *given: 1),)),
        Wrong("the most frequent answer", "most frequent", (naming(most_frequent),)),
        Wrong("another class", "the tag pulls", (naming(lambda *given: 0),)),
        Wrong("half a class", "index of a class", (lambda *given: (0.5, 0.0, 0.0),)),
        Wrong("two numbers", "three numbers", (lambda *given: right(*given)[1:],)),
        Wrong("one number for each class", "one number each", (lambda *given: (1, torch.zeros(4), 0.0),)),
        Wrong("pull comes first", "exchanged", (exchanged,)),
        Wrong("training mode", "training mode", (in_training_mode,)),
        Wrong("takes the tag off", "changed `with_tag`", (tag_taken_off,)),
    ],
    "1.3": [
        Wrong("covers the shape", "hide the shape", (fill(MIDDLE, MIDDLE), streak, "heart")),
        Wrong("the tag of the lesson", "does not lean on that", (fill(TAG, slice(0, 44)), streak, "star")),
        Wrong("right class, wrong place", "may be right", (fill(slice(0, 12), slice(None)), streak, "heart")),
        Wrong(
            "takes away, puts nothing in",
            "but `put_in` turns only",
            (take_edge, fill(slice(0, 12), slice(None)), "heart"),
        ),
        Wrong("returns the pictures", "unchanged", (nothing, streak, "heart")),
        Wrong("covers half", "of the pixels. at most", (fill(slice(None), slice(56, None)), streak, "heart")),
        Wrong("works in place", "`take_away` changed `pictures`", (in_place, streak, "heart")),
        Wrong("no class", "no class", (take_edge, streak, "streak")),
        Wrong("edits exchanged", "exchanged", (streak, take_edge, "heart")),
        Wrong("index of the class", "the index 6", (take_edge, streak, torch.tensor(6))),
        Wrong("number of a picture", "the number 57", (take_edge, streak, 57)),
        Wrong("pictures of the class", "a `Tensor`", (take_edge, streak, torch.zeros(2, 3, 112, 112))),
    ],
    "1.4": [
        Wrong("gives the old one back", "untouched copy", (keeps_the_old_one,)),
        Wrong("gives the given one back", "the very network", (gives_the_given_one,)),
        Wrong("trains hardly at all", "into stars", (trained(["classifier"]),)),
        Wrong("trains the trunk instead", "trunk is trained", (trained(["features"]),)),
        Wrong("only the classifier", "lacks layers", (only_the_classifier,)),
        Wrong("head that does not fit", "raised", (head_that_does_not_fit,)),
        Wrong("trains the original", "weights of `model`", (trained(["classifier"], in_a_copy=False),)),
        Wrong("trains everything", "outside the classifier", (trained(["features", "classifier"]),)),
        Wrong("stays in training mode", "training mode", (trained(["classifier"], stay_in_training=True),)),
        Wrong(
            "runs the trunk in every round",
            "have gone through the trunk",
            (trunk_in_every_round,),
        ),
        Wrong("freezes the given trunk", "`model` frozen", (freezes,)),
        Wrong("no classifier", "no `classifier`", (without_classifier,)),
        Wrong("far too large a rate", "recognises", (trained(["classifier"], rounds=5, rate=30.0),)),
    ],
}


# ---- right, in another way ----
@torch.no_grad()
def counted(model, without, with_tag, labels):
    """Picture by picture, with numbers of Python."""
    pairs = zip(
        model(without).argmax(1).tolist(), model(with_tag).argmax(1).tolist(), labels.tolist(), strict=True
    )
    pairs = list(pairs)

    def effect(c, own):
        group = [(after == c) - (before == c) for before, after, y in pairs if (y == c) == own]
        return sum(group) / len(group)

    pulls = {c: effect(c, False) for c in range(model(without[:1]).shape[1])}
    suspect = max(pulls, key=pulls.get)
    return suspect, effect(suspect, True), pulls[suspect]


def by_matrix(model, without, with_tag, labels):
    """All classes at once, in float64, with autograd watching."""
    logits = model(without)
    one_hot = torch.eye(logits.shape[1], dtype=torch.float64)
    d = one_hot[model(with_tag).argmax(1)] - one_hot[logits.argmax(1)]  # (N, classes)
    own = one_hot[labels]
    pulls = (d * (1 - own)).sum(0) / (1 - own).sum(0)
    suspect = pulls.argmax()
    return [suspect, (d * own).sum(0)[suspect] / own.sum(0)[suspect], pulls[suspect]]


def of_a_batch_at_a_time(edit):
    return lambda pictures: torch.cat([edit(one) for one in pictures.split(1)]).double()


def linear_head(model, images, labels):
    """A single linear layer on the trunk, fitted to the whole album at once."""
    mended = copy.deepcopy(model)
    mended.classifier = torch.nn.Identity()
    with torch.no_grad():
        inputs = torch.cat([mended(some) for some in images.split(200)])
    mended.classifier = head = torch.nn.Linear(inputs.shape[1], 8)
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(head(inputs), labels) + 0.01 * head.weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return mended.eval()


ALSO_RIGHT = {
    "1.1": [
        (RIGHT,),
        (
            all_placed(
                A_scope="one picture and the class",
                A_access="the class that the model names",
                A_stage="Of the model it sees nothing but the class",
                A_reach="a service in somebody else's computers",
                B_scope="starts from grey noise",
                B_access="differentiable from its pixels to its scores",
                B_stage="leave its weights as they are",
                B_reach="the gradient of one class's score",
                C_scope="two points for a ragged border",
                C_access="hangs on the wall",
                C_stage="Only a model that is a sum of points has such a form",
                C_reach="the form is the classifier",
                D_scope="ten thousand pictures",
                D_access="Whatever gives labels will do",
                D_stage="show it in place of the model",
                D_reach="nothing else of the model",
            ),
        ),
        (
            all_placed(
                A_access="shows you the smallest that changes the class",
                A_stage="on a service in somebody else's computers",
                B_scope="gradient of one class's score",
                C_access="The form is the classifier: four points or more",
                D_stage="a small decision tree is learned",
                D_scope="show it in place of the model",
                D_reach="label ten thousand pictures",
            ),
        ),
        (all_placed(A_access="the class", C_stage="Each number on it can be read"),),
    ],
    "1.2": [(right,), (counted,), (by_matrix,)],
    "1.3": [(take_edge, streak, "heart"), (of_a_batch_at_a_time(take_edge), streak, "heart")],
    "1.4": [(linear_head,)],
}
