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
@torch.no_grad()
def hits(model, without, with_tag, target):
    return (model(without).argmax(1) == target).float(), (model(with_tag).argmax(1) == target).float()


def right(model, without, with_tag, labels, target):
    before, after = hits(model, without, with_tag, target)
    own = labels == target
    return (after - before)[own].mean(), (after - before)[~own].mean()


def instead(lean=None, pull=None):
    """An answer to 1.2 with one of its two numbers computed another way."""

    def answer(model, without, with_tag, labels, target):
        numbers = list(right(model, without, with_tag, labels, target))
        for place, other in enumerate((lean, pull)):
            if other:
                numbers[place] = other(model, without, with_tag, labels, target)
        return tuple(numbers)

    return answer


def after_only(model, without, with_tag, labels, target):
    return hits(model, without, with_tag, target)[1][labels != target].mean()


def any_change(model, without, with_tag, labels, target):
    return (model(without).argmax(1) != model(with_tag).argmax(1))[labels != target].float().mean()


def over_all(model, without, with_tag, labels, target):
    before, after = hits(model, without, with_tag, target)
    return (after - before).mean()


def accuracy_over_all(model, without, with_tag, labels, target):
    before, after = (model(x).argmax(1) == labels for x in (without, with_tag))
    return after.float().mean() - before.float().mean()


def probabilities(model, without, with_tag, labels, target):
    return (model(with_tag).softmax(1) - model(without).softmax(1))[labels != target, target].mean()


def one_number(model, without, with_tag, labels, target):
    return right(model, without, with_tag, labels, target)[1]


def exchanged(model, without, with_tag, labels, target):
    return right(model, without, with_tag, labels, target)[::-1]


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
            "another vocabulary",
            "no place on this axis",
            (placed("B", "access", ("grey-box", "climbs the gradient")),),
        ),
    ],
    "1.2": [
        Wrong("without minus with", "wrong sign", (instead(lean=lambda *a: -right(*a)[0]),)),
        Wrong("misread before counts too", "misread before", (instead(pull=after_only),)),
        Wrong("any change counts", "every answer that changed", (instead(pull=any_change),)),
        Wrong("pull over all", "`pull` is taken over all", (instead(pull=over_all),)),
        Wrong("lean over all", "`lean` is taken over all", (instead(lean=accuracy_over_all),)),
        Wrong("probabilities", "change of probability", (instead(pull=probabilities),)),
        Wrong("one number", "two numbers", (one_number,)),
        Wrong("pull comes first", "exchanged", (exchanged,)),
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
        Wrong("works in place", "that it is given", (in_place, streak, "heart")),
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
        Wrong("trains the original", "given has changed", (trained(["classifier"], in_a_copy=False),)),
        Wrong("trains everything", "outside the classifier", (trained(["features", "classifier"]),)),
        Wrong("stays in training mode", "training mode", (trained(["classifier"], stay_in_training=True),)),
        Wrong("far too large a rate", "recognises", (trained(["classifier"], rounds=5, rate=30.0),)),
    ],
}


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
                A_access="thousands of small changes of this picture",
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
    "1.3": [(take_edge, streak, "heart")],
}
