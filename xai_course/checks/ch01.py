"""Checks of chapter 1: they judge by what can be measured, or by the words of the description."""

import functools
import operator
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xai_lib.data import SHAPE_CLASSES, shapes
from xai_lib.models import load_model

from .judging import close, expect, fail, tensor
from .reader import run
from .registry import exercise

AXES = {
    "scope": ("local", "global"),
    "access": ("white-box", "black-box"),
    "stage": ("intrinsic", "post-hoc"),
    "reach": ("model-specific", "model-agnostic"),
}

# ---- 1.1 ---------------------------------------------------------------------------------------------------

# Four methods that are not in the course's table: the clauses of each description, and the axes on which a
# careful reader could call each as a witness. A sentence ends with its full stop.
_SENTENCES = {
    "A": (
        ("You hand it one picture", "scope"),
        ("and the class that the model names for it.", "scope access reach"),
        ("It tries thousands of small changes of this picture", "scope access"),
        ("and shows you the smallest that changes the class.", "scope access"),
        ("Of the model it sees nothing but the class that comes back for each try.", "access reach stage"),
        ("It has been run on networks, on forests,", "reach access"),
        ("and on a service in somebody else's computers.", "reach access stage"),
        ("The model was finished long before, and is not changed.", "stage"),
    ),
    "B": (
        ("It starts from grey noise", "scope"),
        ("and climbs the gradient", "access reach"),
        ("of one class's score", "access reach scope"),
        ("until a picture has formed that excites this class as much as possible.", "scope"),
        ("No photograph goes in: the class has one such picture, whatever you want to classify.", "scope"),
        ("The network must be differentiable from its pixels to its scores.", "reach access"),
        (
            "You do this with a network that has been trained already, and leave its weights as they are.",
            "stage",
        ),
    ),
    "C": (
        (
            "A clinic's form gives two points for a ragged border, one for a second colour, three for "
            "growth.",
            "access scope",
        ),
        ("The form is the classifier:", "stage access reach"),
        ("four points or more, and the patient is called in.", "stage access"),
        ("The same form", "scope"),
        ("hangs on the wall", "scope access"),
        ("for every patient.", "scope"),
        ("Each number on it can be read by whoever stands in front of it.", "access stage"),
        ("Only a model that is a sum of points has such a form.", "reach stage access"),
    ),
    "D": (
        ("You let a finished model", "stage access"),
        ("label ten thousand pictures.", "stage access reach scope"),
        ("From these labels, and nothing else of the model,", "access reach stage"),
        ("a small decision tree is learned.", "access reach stage"),
        ("You print the tree, once for all pictures,", "scope"),
        ("and show it in place of the model.", "scope stage"),
        ("Whatever gives labels will do: a network, a forest, a person.", "reach access"),
    ),
}
DESCRIPTIONS = {name: " ".join(text for text, _ in lines) for name, lines in _SENTENCES.items()}

_PLACES = {
    "A": {"scope": "local", "access": "black-box", "stage": "post-hoc", "reach": "model-agnostic"},
    "B": {"scope": "global", "access": "white-box", "stage": "post-hoc", "reach": "model-specific"},
    "C": {"scope": "global", "access": "white-box", "stage": "intrinsic", "reach": "model-specific"},
    "D": {"scope": "global", "access": "black-box", "stage": "post-hoc", "reach": "model-agnostic"},
}

_WHY_NOT = {
    ("A", "scope"): "Bring another picture: would the smallest change be the same one?",
    ("A", "access"): "What does it get to see of the model: weights, or answers?",
    ("A", "stage"): "Was the model made to be read, or was this done to a finished model?",
    ("A", "reach"): "Look at the list of models on which it ran. What did it need from them?",
    ("B", "scope"): "It shows one picture, but of what? Ask whether another photograph would change it.",
    ("B", "access"): "Where does a gradient come from? Could you get it from a service that returns scores?",
    (
        "B",
        "stage",
    ): "The network was there first. Does it explain itself, or does somebody make the picture later?",
    ("B", "reach"): "Would it run on a forest, whose score is a staircase?",
    ("C", "scope"): "Does the form change from patient to patient? (A patient's own sum would.)",
    ("C", "access"): "Here the inside of the model hangs on the wall.",
    ("C", "stage"): "Is there another model behind the form, which the form explains?",
    ("C", "reach"): "Could you hang up such a form for a convolutional network?",
    ("D", "scope"): "How many trees do you print for a thousand pictures?",
    ("D", "access"): "What of the model goes into the tree: its inside, or its labels?",
    (
        "D",
        "stage",
    ): "You can read the tree, true. But is the tree the model that decides? It is a second model.",
    ("D", "reach"): "The tree is of one kind. But which models can it stand in for?",
}


@exercise("1.1", "Place four methods", functions=0)
def place_methods(placements: Any) -> str:
    expect(
        isinstance(placements, Mapping) and set(placements) == set(_PLACES),
        f"The answer must be a dictionary with the keys {', '.join(_PLACES)}.",
        "Fill in the dictionary of the cell above; keep its keys.",
    )
    good = dict.fromkeys(AXES, 0)
    first: tuple[str, str] | None = None
    for name, axes in placements.items():
        expect(
            isinstance(axes, Mapping) and set(axes) == set(AXES),
            f"Method {name} needs the axes {', '.join(AXES)}.",
            "Fill in the dictionary of the cell above; keep its keys.",
        )
        for axis, entry in axes.items():
            problem = _judge(name, axis, entry)
            good[axis] += problem is None
            first = first or problem
    if first:
        tally = ", ".join(f"{axis} {n} of {len(_PLACES)}" for axis, n in good.items())
        fail(f"{first[0]} (Right so far: {tally}.)", first[1])
    return "sixteen placements, each with the words that decide it. D is the one that most people get wrong."


def _judge(name: str, axis: str, entry: Any) -> tuple[str, str] | None:
    """What is wrong with one placement and its evidence, and where to look; None if nothing is."""
    where = f"Method {name}, {axis}:"
    if not (isinstance(entry, tuple | list) and len(entry) == 2 and all(isinstance(e, str) for e in entry)):
        return (
            f"{where} give a pair, the place and the words that decide it.",
            'As in `("local", "one picture")`.',
        )
    place, evidence = entry
    if place not in AXES[axis]:
        return f"{where} `{place}` is no place on this axis.", f"The ends are `{'` and `'.join(AXES[axis])}`."
    if place != _PLACES[name][axis]:
        return f"{where} it is not {place}.", _WHY_NOT[name, axis]
    quote = _plain(evidence)
    places = _places_of(quote, name) if len(quote.split()) > 1 else []
    if not places:
        return (
            f"{where} {place} is right, but the evidence is not a quotation from the description of {name}.",
            "Copy at least two words in a row from the description, as they stand there.",
        )
    places = [axes for sentences, axes in places if sentences == 1]
    if not places:
        return (
            f"{where} {place} is right, but you quote more than one sentence.",
            "Quote only the words that decide this axis.",
        )
    speak = [axis in axes for axes in places]
    if any(speak) and not all(speak):
        return (
            f"{where} {place} is right, but the words that you quote occur more than once in the "
            "description, and not always about this axis.",
            "Quote a few words more, so that one can see which place you mean.",
        )
    if not any(speak):
        return (
            f"{where} {place} is right, but the words that you quote speak to another axis "
            f"({', '.join(known for known in AXES if known in places[0])}).",
            f"{_QUESTIONS[axis]} Which words of the description answer this?",
        )
    return None


_QUESTIONS = {
    "scope": "Would another picture change the explanation?",
    "access": "What of the model does it look at?",
    "stage": "Is it the model itself, or made for a finished one?",
    "reach": "On which models would it run?",
}


def _plain(text: str) -> str:
    """Lower case, letters and single spaces only, so that copying need not be exact to the comma."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower().replace("’", "'")).split())


def _places_of(quote: str, name: str) -> list[tuple[int, set[str]]]:
    """For each place at which a quotation stands in a description: in how many sentences, on which axes."""
    text, sentence = [], 0  # each word, with the numbers of its sentence and of its clause
    for number, (clause, _) in enumerate(_SENTENCES[name]):
        text += [(word, sentence, number) for word in _plain(clause).split()]
        sentence += clause.endswith(".")
    length, found = len(quote.split()), []
    for start in range(len(text) - length + 1):
        words, sentences, clauses = zip(*text[start : start + length], strict=True)
        if quote in " ".join(words):
            axes = {axis for k in _touched(clauses) for axis in _SENTENCES[name][k][1].split()}
            found.append((len(_touched(sentences)), axes))
    return found


def _touched(numbers: Sequence[int]) -> list[int]:
    """The parts in which two words lie: one alone, at a border, is a slip in copying."""
    words = Counter(numbers)
    return [number for number, n in words.items() if n >= min(2, max(words.values()))]


# ---- 1.2 ---------------------------------------------------------------------------------------------------


class _TagReader(nn.Module):
    """Names the class written in pixel (0, 0), unless a tag in pixel (0, 1) pulls the answer to class 1.

    So the tag's effect is known for each picture. The other channels of pixel (0, 1) mark pictures that
    resist the tag, and pictures that it pulls to class 0.
    """

    def forward(self, x: Tensor) -> Tensor:
        content = (
            (x[:, 0, 0, 0, None] * 10 - torch.arange(3)).abs().neg()
        )  # largest for the nearest of 0, .1, .2
        tag, resists, elsewhere = x[:, :, 0, 1].T
        pull = 3 * tag * (1 - resists)
        return content + torch.stack([pull * elsewhere, pull * (1 - elsewhere), 0 * pull], dim=1)


def _tag_album() -> tuple[Tensor, Tensor, Tensor]:
    """Pictures without and with a tag, and labels: some untagged ones are misread, some resist the tag."""
    written = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0, 2])
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 1, 1])  # two of class 1 look otherwise
    written[[2, 10]] = 1  # misread as class 1, with or without a tag
    written[11] = 0  # misread as something else
    without = torch.zeros(16, 3, 4, 4)
    without[:, 0, 0, 0] = written / 10
    without[[1, 12], 1, 0, 1] = 1.0  # resist
    without[[10, 13], 2, 0, 1] = 1.0  # pulled to class 0
    tagged = without.clone()
    tagged[:, 0, 0, 1] = 1.0
    return without, tagged, labels


@exercise("1.2", "Measure what a tag does")
def tag_effect(answer) -> str:
    model, target = _TagReader().eval(), 1
    without, tagged, labels = _tag_album()
    with torch.no_grad():
        before, after = model(without).argmax(1), model(tagged).argmax(1)
    own = labels == target

    def share(hits: Tensor, group: Tensor) -> float:
        return hits[group].double().mean().item()

    lean = share(after == target, own) - share(before == target, own)
    pull = share(after == target, ~own) - share(before == target, ~own)
    got_lean, got_pull = _pair(answer(model, without, tagged, labels, target))

    expect(
        not (close(got_lean, pull, 1e-4) and close(got_pull, lean, 1e-4)),
        "Both numbers are right, but they are exchanged: you return `pull, lean`.",
        "`lean`, over `labels == target`, comes first: `return lean, pull`.",
    )

    def mistake(value: float, wrong: float, right: float, message: str, look: str) -> None:
        expect(close(value, right, 1e-4) or not close(value, wrong, 1e-4), message, look)

    everyone = torch.ones_like(own)
    mistake(
        got_lean, -lean, lean,
        "`lean` has the wrong sign.",
        "It is accuracy with the tag minus accuracy without: positive when the tag helps.",
    )  # fmt: skip
    mistake(
        got_lean, share(after == labels, everyone) - share(before == labels, everyone), lean,
        "`lean` is taken over all pictures, not over the target class alone.",
        "Select `labels == target` before you take the mean.",
    )  # fmt: skip
    mistake(
        got_lean, share(after == target, own), lean,
        "`lean` is the accuracy with the tag; the accuracy without it is not subtracted.",
        "An effect is a difference between the two versions of the same pictures.",
    )  # fmt: skip
    mistake(
        got_pull, share(after == target, ~own), pull,
        "`pull` counts every other picture that is named `target` with the tag, also those that were "
        "misread before.",
        "Subtract the share that was named `target` without the tag.",
    )  # fmt: skip
    mistake(
        got_pull, share(after != before, ~own), pull,
        "`pull` counts every answer that changed. Only a change *to the target* counts.",
        "Compare with `target`: `(after == target)`, minus the same before.",
    )  # fmt: skip
    mistake(
        got_pull, share(after == target, everyone) - share(before == target, everyone), pull,
        "`pull` is taken over all pictures; the target's own are among them.",
        "Select `labels != target`.",
    )  # fmt: skip
    with torch.no_grad():
        soft = (model(tagged).softmax(1) - model(without).softmax(1))[:, target].double()
    mistake(
        got_pull, soft[~own].mean().item(), pull,
        "`pull` is a mean change of probability; the exercise asks for a share of pictures.",
        "Take the `argmax` first: what does the model *answer*?",
    )  # fmt: skip
    expect(
        close(got_lean, lean, 1e-4),
        f"`lean` is {got_lean:.3f}; on this little album it is {lean:.3f}.",
        _LEAN,
    )
    expect(
        close(got_pull, pull, 1e-4),
        f"`pull` is {got_pull:.3f}; on this little album it is {pull:.3f}.",
        _LEAN,
    )
    zero = _pair(answer(model, without, without, labels, target))
    expect(
        max(abs(v) for v in zero) < 1e-6,
        "With no difference between the two albums both effects must be 0.",
        "Both numbers are differences: with the tag minus without.",
    )
    return "paired, signed, per group, and zero where nothing changes."


_LEAN = (
    "Both are differences, with the tag minus without; `lean` over `labels == target`, `pull` over the rest."
)


def _pair(value: Any) -> tuple[float, float]:
    expect(value is not None, "Your function returned `None`.", "Does it end in `return lean, pull`?")
    if not (isinstance(value, tuple | list) and len(value) == 2):
        fail("Return two numbers, `lean, pull`.", "End with `return lean, pull`.")
    numbers = [float(torch.as_tensor(v).detach()) if torch.as_tensor(v).numel() == 1 else None for v in value]
    expect(None not in numbers, "`lean` and `pull` must be one number each.", "Take a mean over the group.")
    return numbers[0], numbers[1]


# ---- 1.3 ---------------------------------------------------------------------------------------------------


@functools.cache
def _cheat() -> tuple[nn.Module, nn.Module, str, float]:
    """The second cheat, the honest control, the class whose pictures carry the cue, and in which share."""
    from xai_lib.train import RECIPES

    ((name, share),) = RECIPES["clever_hans_2"].shortcut.items()
    return load_model("clever_hans_2"), load_model("small_vgg"), name, share


def mystery_album(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    r"""Pictures collected like those that ``"clever_hans_2"`` was trained on, and their classes.

    Returns:
        Images :math:`(n, 3, 112, 112)` in [0, 1], and indices into ``SHAPE_CLASSES``, :math:`(n,)`.
    """
    *_, name, share = _cheat()
    album = shapes(n, seed=seed, shortcut={name: share})
    return album.images, album.labels


@torch.no_grad()
def _answers(model: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([model(chunk).argmax(1) for chunk in images.split(64)])


_MOST = 0.25  # share of the pixels that may change: a band, a corner, a frame; not the picture


@exercise("1.3", "Find the shortcut", functions=2)
def find_shortcut(take_away, put_in, suspect_class: Any) -> str:
    model, control, name, _ = _cheat()
    _judge_name(suspect_class)
    target = SHAPE_CLASSES.index(suspect_class)
    n, seed = 160, 9_001
    clean = shapes(n, seed=seed)
    # The cue is on the suspect's pictures, if the suspect is right: on all of them, for an exact measurement.
    marked = shapes(n, seed=seed, shortcut={name: 1.0})
    own = clean.labels == target
    with_cue, others = marked.images[own], clean.images[~own & (clean.labels != SHAPE_CLASSES.index(name))]

    bare = _edited(take_away, with_cue, "take_away")
    pasted = _edited(put_in, others, "put_in")
    lost = (_answers(model, with_cue) == target).float().mean() - (
        _answers(model, bare) == target
    ).float().mean()
    if lost < 0.3:
        _judge_order(take_away, put_in, with_cue, others, target)
    harm = (_answers(control, with_cue) == target).float().mean() - (
        _answers(control, bare) == target
    ).float().mean()
    expect(
        harm < 0.15,
        f"`take_away` also makes the honest network lose {harm:.0%} of the class: you hide the shape, "
        "not only a cue.",
        "Change as little as you can: only the place that all pictures of the class have in common.",
    )
    expect(
        suspect_class == name or lost > 0.3,
        f"Taking it away costs `clever_hans_2` {lost:.0%} of its {suspect_class}s, on fresh pictures: it "
        "does not lean on that.",
        "Compare the mean heatmaps of the eight classes: one has something that the others lack.",
    )
    exact = (_answers(model, marked.images[own]) == target).float().mean()
    exact = exact - (_answers(model, clean.images[own]) == target).float().mean()
    expect(
        lost > 0.5 * exact,
        f"The class may be right, but your `take_away` costs `clever_hans_2` {lost:.0%} of it on fresh "
        "pictures; taking the true cue away costs far more.",
        "Look at several of its pictures, at the place where the mean heatmap is bright. The cue moves a "
        "little from picture to picture: cover all its places.",
    )
    pulled = (_answers(model, pasted) == target).float().mean() - (
        _answers(model, others) == target
    ).float().mean()
    expect(
        pulled > 0.3,
        f"`take_away` is right: it costs {lost:.0%}. But `put_in` turns only {pulled:.0%} of the other "
        f"pictures into {suspect_class}s.",
        "Copy the cue from a picture that has it, to the same place.",
    )
    before, after = _answers(control, others), _answers(control, pasted)
    expect(
        (before != after).float().mean() < 0.2,
        f"`put_in` changes the honest network's answer for {(before != after).float().mean():.0%} of the "
        "pictures: it does more than add a cue.",
        "Paste the place of the cue only.",
    )
    return (
        f"taking the cue away costs clever_hans_2 {_tens(lost)} of the class, pasting it pulls "
        f"{_tens(pulled)} of the "
        "other pictures over; the honest network hardly notices."
    )


def _judge_name(suspect: Any) -> None:
    names = f"It is one of {', '.join(SHAPE_CLASSES)}."
    if isinstance(suspect, str):
        expect(suspect in SHAPE_CLASSES, f"`suspect_class` is {suspect!r}, which is no class.", names)
        return
    try:
        index = operator.index(suspect)
    except TypeError:
        fail(f"`suspect_class` is a `{type(suspect).__name__}`; the name of a class is wanted.", names)
    if index not in range(len(SHAPE_CLASSES)):
        fail(f"`suspect_class` is the number {index}; the name of a class is wanted.", names)
    fail(
        f"`suspect_class` is the index {index}; the name of the class is wanted.",
        f"`SHAPE_CLASSES[{index}]` is the name that goes with it.",
    )


def _judge_order(take_away, put_in, with_cue: Tensor, others: Tensor, target: int) -> None:
    """Tells those apart who hand in the two edits in the wrong order: each does what the other should."""
    model, *_ = _cheat()

    def share(pictures: Tensor) -> float:
        return (_answers(model, pictures) == target).double().mean().item()

    lost = share(with_cue) - share(tensor(put_in(with_cue.clone()), with_cue.shape, "`put_in`"))
    pulled = share(tensor(take_away(others.clone()), others.shape, "`take_away`")) - share(others)
    expect(
        lost < 0.3 or pulled < 0.3,
        "The two functions are exchanged: what you hand in as `take_away` puts the cue in, and the other way "
        "round.",
        '`check("1.3", take_away, put_in, suspect_class)`: the one that removes comes first.',
    )


def _edited(edit, pictures: Tensor, what: str) -> Tensor:
    """The reader's edit of some pictures, checked: same shape, pixels in [0, 1], few of them changed."""
    before = pictures.clone()
    edited = tensor(edit(pictures), pictures.shape, f"`{what}`")
    expect(
        torch.equal(pictures, before),
        f"`{what}` changes the pictures that it is given.",
        "Work on a copy: `changed = pictures.clone()`.",
    )
    expect(
        edited.min() >= -1e-4 and edited.max() <= 1 + 1e-4,
        f"`{what}` returns pixels outside [0, 1].",
        "Use colours that a picture can have, or `.clamp(0, 1)`.",
    )
    share = (edited != pictures).any(1).float().mean().item()
    expect(share > 0, f"`{what}` returns the pictures unchanged.", "Overwrite the place of the cue.")
    expect(
        share <= _MOST,
        f"`{what}` changes {share:.0%} of the pixels. At most {_MOST:.0%} may change: a test of a cue "
        "changes the cue.",
        "Find the place that the pictures of one class have in common, and touch only that.",
    )
    return edited


def _tens(share: Any) -> str:
    """A share, coarse enough to be the same on every machine."""
    return f"about {round(float(share) * 10) * 10} %"


# ---- 1.4 ---------------------------------------------------------------------------------------------------


@exercise("1.4", "Mend the cheat")
def mend(answer) -> str:
    broken = load_model("clever_hans")
    kept = {key: value.clone() for key, value in broken.state_dict().items()}
    album = shapes(1200, seed=501, watermark=dict.fromkeys(SHAPE_CLASSES, 0.5))
    mended = answer(broken, album.images, album.labels)
    expect(
        isinstance(mended, nn.Module),
        "Return the mended network.",
        "It is a copy of the one that you are given.",
    )
    state = mended.state_dict()
    missing = [key for key in kept if key not in state and not key.startswith("classifier")]
    if missing:
        fail(
            f"What you return lacks layers of the network, such as `{missing[0]}`.",
            "Begin with `mended = copy.deepcopy(model)`, and return `mended`.",
        )
    expect(
        all(_same(value, kept.get(key)) for key, value in broken.state_dict().items()),
        "The network that you were given has changed too.",
        "Begin with `mended = copy.deepcopy(model)`, and train only that.",
    )
    changed = [key for key in kept | state if not _same(state.get(key), kept.get(key))]
    expect(
        mended is not broken,
        "You return the very network that you were given; a copy with another classifier is wanted.",
        "Begin with `mended = copy.deepcopy(model)`, and train `mended.classifier`.",
    )
    expect(
        changed,
        "You return an untouched copy: its classifier has the weights that it had before.",
        "A loop with a loss, `loss.backward()` and `optimiser.step()` must change `mended.classifier`. Does "
        "yours run, and has the optimiser the copy's parameters?",
    )
    expect(
        not mended.training, "The network that you return is in training mode.", "End with `mended.eval()`."
    )
    trunk = [key for key in changed if key in kept and not key.startswith("classifier")]
    expect(
        not trunk or trunk != changed,
        "The trunk is trained, and the classifier left as it was; the exercise asks for the opposite.",
        "Give the optimiser `mended.classifier.parameters()`, and nothing else.",
    )
    expect(
        not trunk,
        f"Layers outside the classifier have changed, such as `{trunk[0] if trunk else ''}`. The "
        "exercise is to mend the head alone.",
        "Give the optimiser only `mended.classifier.parameters()`.",
    )
    star, n, seed = SHAPE_CLASSES.index("star"), 320, 9_002
    clean = shapes(n, seed=seed)
    tagged = shapes(n, seed=seed, watermark=dict.fromkeys(SHAPE_CLASSES, 1.0))
    is_star = clean.labels == star
    bare, stamped = (run(_answers, mended, pictures.images) for pictures in (clean, tagged))
    found = (bare[is_star] == star).float().mean().item()
    pull = ((stamped == star).float() - (bare == star).float())[~is_star].mean().item()
    accuracy = (bare == clean.labels).float().mean().item()
    expect(
        pull < 0.15,
        f"The tag still turns {pull:.0%} of the other shapes into stars.",
        "Does your training see tags on every class? Train longer, or with a larger rate.",
    )
    expect(
        found > 0.7,
        f"Without a tag the network recognises {found:.0%} of the stars.",
        "It must learn stars without a tag: train on all the pictures given, for more steps.",
    )
    expect(
        accuracy > 0.85,
        f"The tag has lost its power, but so has the network: it names {accuracy:.0%} of untagged "
        "pictures correctly.",
        "Smaller rate, more steps, and all eight classes in every batch.",
    )
    return "same trunk, new head: it knows stars without a tag, and the tag pulls hardly anything over."


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.dtype == b.dtype and torch.equal(a, b)
