"""Checks of chapter 1: they judge by what can be measured, or by the words of the description."""

import operator
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xai_lib.data import SHAPE_CLASSES, shapes
from xai_lib.models import load_model

from .inputs import cached, of_term
from .judging import close, expect, fail, tensor
from .reader import run
from .registry import exercise
from .side_effects import left_alone

AXES = {
    "scope": ("local", "global"),
    "access": ("white-box", "black-box"),
    "stage": ("intrinsic", "post-hoc"),
    "reach": ("model-specific", "model-agnostic"),
}

# ---- 1.1 ---------------------------------------------------------------------------------------------------

# Four methods that are not in the course's table: the clauses of each description, and the axes on which a
# careful reader could call each as a witness. For access a witness says what the method sees of the model;
# how often it asks says nothing. A sentence ends with its full stop.
_SENTENCES = {
    "A": (
        ("You hand it one picture", "scope"),
        ("and the class that the model names for it.", "scope access reach"),
        ("It tries thousands of small changes of this picture", "scope"),
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
            f"{where} {place} is right, but the words that you quote, “{evidence}”, speak to another axis "
            f"({', '.join(known for known in AXES if known in places[0])}).",
            f"{_QUESTIONS[axis]} Which words of the description answer this?",
        )
    return None


_QUESTIONS = {
    "scope": "Would another picture change the explanation?",
    "access": "What of the model does it get to see? (How often it asks decides nothing.)",
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
    """Names the class written in pixel (0, 0), unless a tag in pixel (0, 1) pulls the answer elsewhere.

    So the tag's effect is known for each picture. A tag pulls to class ``target``; the other channels of
    pixel (0, 1) mark pictures that resist it, and pictures that it pulls to class 0.
    """

    def __init__(self, target: int, classes: int = 4) -> None:
        super().__init__()
        self.target, self.classes = target, classes

    def forward(self, x: Tensor) -> Tensor:
        content = (x[:, 0, 0, 0, None] * 10 - torch.arange(self.classes)).abs().neg()  # 0, 0.1, 0.2, …
        tag, resists, elsewhere = x[:, :, 0, 1].T
        pull = torch.zeros_like(content)
        pull[:, self.target] = 5 * tag * (1 - resists) * (1 - elsewhere)
        pull[:, 0] += 5 * tag * (1 - resists) * elsewhere
        return content + pull


# Of each picture: its label, the class that is written in it (some are misread), and what a tag does to it:
# "+" pulls it to the target, "0" to class 0, " " nothing. So mixed that no two mistakes give one number.
_TAG_ALBUM = (
    "00 ", "00+", "01 ", "01 ", "02 ", "020", "03 ", "030",
    "10+", "10+", "11 ", "11 ", "11+", "110", "13 ", "13+", "130",
    "20 ", "20 ", "20+", "20+", "200", "210", "22 ", "22 ", "22 ", "22+", "220", "23 ", "23 ", "23 ", "23+",
    "30 ", "31 ", "32+", *["33 "] * 12, "33+",
)  # fmt: skip


def _tag_album() -> tuple[Tensor, Tensor, Tensor]:
    """Pictures without and with a tag, and their labels."""
    n = len(_TAG_ALBUM)
    labels, written = (torch.tensor([int(picture[i]) for picture in _TAG_ALBUM]) for i in (0, 1))
    without = torch.zeros(n, 3, 4, 4)
    without[:, 0, 0, 0] = written / 10
    without[:, 1, 0, 1] = torch.tensor([float(picture[2] == " ") for picture in _TAG_ALBUM])
    without[:, 2, 0, 1] = torch.tensor([float(picture[2] == "0") for picture in _TAG_ALBUM])
    tagged = without.clone()
    tagged[:, 0, 0, 1] = 1.0
    return without, tagged, labels


class _Tagged:
    """What a model answers without and with the tag, and what follows for each class."""

    @torch.no_grad()
    def __init__(self, model: nn.Module, without: Tensor, tagged: Tensor, labels: Tensor) -> None:
        logits = model(without), model(tagged)
        self.labels, self.classes = labels, logits[0].shape[1]
        self.before, self.after = (y.argmax(1) for y in logits)
        self.soft = (logits[1].softmax(1) - logits[0].softmax(1)).double()  # (N, classes)

    def change(self, c: int) -> Tensor:
        """1 where the tag turns the answer into c, -1 where away from it, (N,)."""
        return (self.after == c).double() - (self.before == c).double()

    def pulls(self) -> list[float]:
        return [self.change(c)[self.labels != c].mean().item() for c in range(self.classes)]


@exercise("1.2", "Measure what a tag does")
def tag_effect(answer) -> str:
    without, tagged, labels = _tag_album()
    named = []
    for target in (1, 2):
        model = _TagReader(target).eval()
        with left_alone(model=model, without=without, with_tag=tagged, labels=labels):
            suspect, lean, pull = _triple(answer(model, without, tagged, labels))
        facts = _Tagged(model, without, tagged, labels)
        named.append(suspect)
        _judge_suspect(named, facts)
        _judge_effect("lean", lean, pull, facts, suspect, labels == suspect)
        _judge_effect("pull", pull, lean, facts, suspect, labels != suspect)
    _, lean, pull = _triple(answer(model, without, without, labels))
    expect(
        max(abs(lean), abs(pull)) < 1e-6,
        f"Between two identical sets of pictures you measure a lean of {lean:.3g} and a pull of {pull:.3g}.",
        _LEAN,
    )
    return "the class that the cue speaks for, found; paired, signed, per group, and zero without a cue."


_LEAN = (
    "Both are differences for each picture, with the tag minus without: `lean` over the pictures of the "
    "suspect, `pull` over all others."
)


def _triple(value: Any) -> tuple[int, float, float]:
    expect(
        value is not None, "Your function returned `None`.", "Does it end in `return suspect, lean, pull`?"
    )
    if not (isinstance(value, tuple | list) and len(value) == 3):
        fail("Return three numbers, `suspect, lean, pull`.", "End with `return suspect, lean, pull`.")
    single = [float(torch.as_tensor(v).detach()) if torch.as_tensor(v).numel() == 1 else None for v in value]
    expect(
        None not in single,
        "`suspect`, `lean` and `pull` must be one number each.",
        "Take a mean over the group, and the class whose pull is largest.",
    )
    suspect, lean, pull = single
    expect(
        suspect == int(suspect),
        f"`suspect` is {suspect:.3g}; the index of a class is wanted.",
        "Which class has the largest pull? `argmax` and `list.index` give its index.",
    )
    return int(suspect), lean, pull


def _judge_suspect(named: list[int], facts: _Tagged) -> None:
    """Stops unless the class named last is the one to which the tag pulls most."""
    pulls = facts.pulls()
    right, suspect = pulls.index(max(pulls)), named[-1]
    if suspect == right:
        return
    told = ", ".join(f"{pull:.2f} to class {c}" for c, pull in enumerate(pulls))
    expect(
        len(named) == 1 or suspect != named[0],
        f"You name class {suspect} for a model whose tag pulls to class {right}, as for another one before: "
        "is the class written into your function?",
        "Measure the pull to each class, and return the class with the largest.",
    )
    expect(
        suspect != int(facts.after.bincount(minlength=facts.classes).argmax()),
        f"You name class {suspect}, the most frequent answer with the tag; it is frequent without, too.",
        f"An effect is a difference. The tag pulls {told}.",
    )
    fail(
        f"You name class {suspect}; on this little album the tag pulls {told}.",
        "For each class c: the mean over `labels != c`. Then the class whose mean is largest.",
    )


def _judge_effect(name: str, value: float, other: float, facts: _Tagged, suspect: int, group: Tensor) -> None:
    """Stops unless a number is the mean change over its group; tells the usual mistakes apart."""
    right = facts.change(suspect)[group].mean().item()
    if close(value, right, 1e-4):
        return
    rest = facts.change(suspect)[~group].mean().item()
    expect(
        not (close(value, rest, 1e-4) and close(other, right, 1e-4)),
        "Both numbers are right, but they are exchanged: you return `suspect, pull, lean`.",
        "`lean`, over the pictures of the suspect, comes first.",
    )
    for wrong, message, look in _effect_mistakes(facts, suspect, group):
        expect(not close(value, wrong, 1e-4), f"`{name}` {message}", look)
    fail(f"`{name}` is {value:.3f} for class {suspect}; on this little album it is {right:.3f}.", _LEAN)


def _effect_mistakes(facts: _Tagged, c: int, group: Tensor) -> list[tuple[float, str, str]]:
    """What each usual mistake gives in place of the mean change over a group; what to say; where to look."""
    d, before, after = facts.change(c), facts.before, facts.after
    own = bool((facts.labels == c)[group].all())
    right = (after == facts.labels).double() - (before == facts.labels).double()
    which = "labels == suspect" if own else "labels != suspect"
    pick = f"Select `{which}` before you take the mean."
    by_label = f"The group is given by the *labels*, `{which}`: what the model answers is what you measure."
    earlier = (before == c) if own else (before != c)
    later = (after == c) if own else (after != c)
    mistakes = [
        (
            -d[group].mean(),
            "has the wrong sign.",
            "With the tag minus without: positive when the tag helps.",
        ),
        (
            (after == c).double()[group].mean(),
            "counts the pictures that are named so with the tag, also those that are without.",
            "Subtract the share that is named so without the tag: an effect is a difference.",
        ),
        (
            (after != before).double()[group].mean(),
            "counts every answer that changed. Only a change to the suspect, or away from it, counts.",
            "Compare with the class: `(after == c)`, minus the same before.",
        ),
        (
            d[group].abs().mean(),
            "adds the changes up without their signs: a picture that the tag turns *away* counts for it.",
            "No absolute value: −1, 0 or 1 for each picture.",
        ),
        (
            d[group].clamp_min(0).mean(),
            "counts only the pictures that the tag wins; those that it loses are left out.",
            "A difference may be −1: subtract the two hits, and cut nothing off.",
        ),
        (d.mean(), "is taken over all pictures.", pick),
        (right.mean(), "is taken over all pictures.", pick),
        (d[earlier].mean(), "is grouped by what the model answers without the tag.", by_label),
        (d[later].mean(), "is grouped by what the model answers with the tag.", by_label),
        (
            d[group].sum() / len(d),
            "is divided by the number of all pictures, not by that of its group.",
            "The mean of the group: `effect[group].mean()`.",
        ),
        (d[group].sum(), "is a number of pictures; a share is wanted.", "Take the mean, not the sum."),
        (
            facts.soft[group, c].mean(),
            "is a mean change of probability; the exercise asks for a share of pictures.",
            "Take the `argmax` first: what does the model *answer*?",
        ),
    ]
    if not own:
        lost = -right[group].mean()
        mistakes.append(
            (
                lost,
                "is the accuracy that the other classes lose, also to a third class.",
                "Ask whether the answer is the suspect, not whether it is right.",
            )
        )
    return [(float(wrong), message, look) for wrong, message, look in mistakes]


# ---- 1.3 ---------------------------------------------------------------------------------------------------


@cached
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
    from xai_lib.train import RECIPES

    ((name, share),) = RECIPES["clever_hans_2"].shortcut.items()  # not from `_cheat`: this travels alone
    album = shapes(n, seed=seed, shortcut={name: share})
    return album.images, album.labels


@torch.no_grad()
def _answers(model: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([model(chunk).argmax(1) for chunk in images.split(64)])


_MOST = 0.25  # share of the pixels that may change: a band, a corner, a frame; not the picture


@exercise("1.3", "Find the shortcut", functions=2, libraries=True)
def find_shortcut(take_away, put_in, suspect_class: Any) -> str:
    model, control, name, _ = _cheat()
    _judge_name(suspect_class)
    target = SHAPE_CLASSES.index(suspect_class)
    n = 160
    clean = shapes(n, seed=of_term(9_001))
    # The cue is on the suspect's pictures, if the suspect is right: on all of them, for an exact measurement.
    marked = shapes(n, seed=of_term(9_001), shortcut={name: 1.0})
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
    with left_alone(f"`{what}`", pictures=pictures):
        edited = tensor(edit(pictures), pictures.shape, f"`{what}`").to(pictures)
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


@cached
def _mending_album() -> tuple[Tensor, Tensor]:
    """An album in which half of the pictures of every class carry a tag: images and labels."""
    album = shapes(1200, seed=of_term(501), watermark=dict.fromkeys(SHAPE_CLASSES, 0.5))
    return album.images, album.labels


@cached
@torch.no_grad()
def _fresh_features() -> tuple[Tensor, Tensor, Tensor]:
    """What the trunk makes of 320 other pictures, without and with a tag; and their labels.

    A mended network has the same trunk, so this needs to be computed once.
    """
    model = load_model("clever_hans")
    model.classifier = nn.Identity()
    clean = shapes(320, seed=of_term(9_002))
    tagged = shapes(320, seed=of_term(9_002), watermark=dict.fromkeys(SHAPE_CLASSES, 1.0))
    bare, stamped = (
        torch.cat([model(some) for some in pictures.images.split(80)]) for pictures in (clean, tagged)
    )
    return bare, stamped, clean.labels


_PASSES = 2  # how often each picture of the album may go through the trunk


def _count_passes(model: nn.Module, images: Tensor) -> None:
    """Stops the reader's code when it sends the album through the trunk again and again: that takes minutes.

    Copies of the model carry the hook along, and count together.
    """
    seen = 0

    def count(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal seen
        seen += len(given[0])
        expect(
            seen <= _PASSES * len(images),
            f"{seen} pictures have gone through the trunk, and the album has {len(images)}: your loop runs "
            "the whole network in every round.",
            "The trunk does not change. Run it once, under `torch.no_grad()`, keep what the classifier gets, "
            "and let the loop run the classifier alone.",
        )

    model.features.register_forward_pre_hook(count)


@exercise("1.4", "Mend the cheat")
def mend(answer) -> str:
    broken = load_model("clever_hans")
    kept = {key: value.clone() for key, value in broken.state_dict().items()}
    images, labels = _mending_album()
    _count_passes(broken, images)
    with left_alone(model=broken, images=images, labels=labels):
        mended = answer(broken, images, labels)
    _judge_mended(mended, broken, kept)
    bare, stamped, truth = _fresh_features()
    with torch.no_grad():
        bare, stamped = (run(mended.classifier, some).argmax(1) for some in (bare, stamped))
    star = SHAPE_CLASSES.index("star")
    is_star = truth == star
    found = (bare[is_star] == star).float().mean().item()
    pull = ((stamped == star).float() - (bare == star).float())[~is_star].mean().item()
    accuracy = (bare == truth).float().mean().item()
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


def _judge_mended(mended: Any, broken: nn.Module, kept: dict[str, Tensor]) -> None:
    """Stops unless what came back is the network that was given, with another classifier."""
    begin = "Begin with `mended = copy.deepcopy(model)`"
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
            f"{begin}, and return `mended`.",
        )
    expect(
        isinstance(getattr(mended, "classifier", None), nn.Module),
        "What you return has no `classifier`.",
        f"{begin}, and train `mended.classifier`.",
    )
    changed = [key for key in kept | state if not _same(state.get(key), kept.get(key))]
    expect(
        mended is not broken,
        "You return the very network that you were given; a copy with another classifier is wanted.",
        f"{begin}, and train `mended.classifier`.",
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


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.dtype == b.dtype and torch.equal(a, b)
