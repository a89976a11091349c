"""Wrong answers to the exercises of chapter 9, as people give them; and right ones that look unlike ours.

The mistakes that a check recognises by what they give stand beside it, in ``ch09_mistakes.py``, and each is
handed in by the tests. Here they are written anew, with what a check finds otherwise.
"""

import copy
from functools import cache

import torch
from planted import Wrong

from xai_course.checks.ch09_mistakes import by_chance, class_gaps, shuffled_answers, taken_away


# ---- 9.1 ----
def by_counting(right, labels, has, n_classes):
    """Counts in plain Python, and returns two rows in place of two columns."""
    gaps, margins = [], []
    for c in range(n_classes):
        shares, variance = [], 0.0
        for flag in (True, False):
            rows = [i for i in range(len(labels)) if int(labels[i]) == c and bool(has[i]) == flag]
            n = len(rows) + 2
            share = (sum(bool(right[i]) for i in rows) + 1) / n
            shares.append(share)
            variance += share * (1 - share) / n
        gaps.append(shares[0] - shares[1])
        margins.append(2 * variance**0.5)
    return torch.tensor(gaps, dtype=torch.float64), torch.tensor(margins, dtype=torch.float64)


def in_place(right, labels, has, n_classes):
    value = class_gaps()(right, labels, has, n_classes)
    has ^= True
    return value


def gaps_only(right, labels, has, n_classes):
    return class_gaps()(right, labels, has, n_classes)[:, 0]


def nearly_two_errors(right, labels, has, n_classes):
    return class_gaps()(right, labels, has, n_classes) * torch.tensor([1.0, 0.98], dtype=torch.float64)


def multiplied(right, labels, has, n_classes):
    return class_gaps(gap=lambda a, b: a * b)(right, labels, has, n_classes)


# ---- 9.2 ----
def one_number(right, labels, cues, shuffles):
    return by_chance()(right, labels, cues, shuffles).quantile(0.95)


def sorted_away(right, labels, cues, shuffles):
    value = by_chance()(right, labels, cues, shuffles)
    shuffles.sort(dim=1)
    return value + 0 * shuffles.copy_(shuffles.sort(dim=1).values)[:, 0]


# ---- 9.3 ----
def by_hand(before, after, labels, c):
    rows = [i for i in range(len(labels)) if int(labels[i]) == c]
    p = sum(bool(before[i]) for i in rows) / len(rows)
    q = sum(bool(after[i]) for i in rows) / len(rows)
    changes = [int(after[i]) - int(before[i]) for i in rows] + [1, -1]
    mean = sum(changes) / len(changes)
    variance = sum((d - mean) ** 2 for d in changes) / len(changes)
    return p, q, 2 * (variance / len(changes)) ** 0.5


def two_numbers(before, after, labels, c):
    return taken_away()(before, after, labels, c)[:2]


def changes_what_it_got(before, after, labels, c):
    value = taken_away()(before, after, labels, c)
    after &= before
    return value


def nearly_two(before, after, labels, c):
    p, q, margin = taken_away()(before, after, labels, c)
    return p, q, 0.98 * margin


def sure_of_no_change(before, after, labels, c):
    p, q, margin = taken_away()(before, after, labels, c)
    return p, q, 0.0 if p == q else margin


def before_twice(before, after, labels, c):
    p, _, margin = taken_away()(before, after, labels, c)
    return p, p, margin


# ---- 9.4 ----
OURS = {
    "A": {"claim": 1, "control": 1, "verdict": 2, "limits": 1},
    "B": {"claim": 3, "control": 2, "verdict": 3, "limits": 2},
    "C": {"claim": 4, "control": 4, "verdict": 4, "limits": 4},
}
ONE_OFF = {
    "A": {"claim": 2, "control": 1, "verdict": 1, "limits": 1},
    "B": {"claim": 3, "control": 1, "verdict": 4, "limits": 3},
    "C": {"claim": 4, "control": 3, "verdict": 4, "limits": 4},
}


def graded(**changes):
    made = copy.deepcopy(OURS)
    for place, level in changes.items():
        name, criterion = place.split("_")
        made[name][criterion] = level
    return made


# ---- 9.5 ----
NAME = "the book's own case"


@cache
def open_book():
    from xai_course.audit import open_case

    return open_case(NAME)


def written(before, after, name):
    """A claim about the book's own case, measured on its album."""
    from xai_course.audit import effect

    found = effect(open_book(), open_book().scenes, name, before, after)
    numbers = {key: round(getattr(found, key), 2) for key in ("before", "after", "margin")}
    return {"from": before, "to": after, "class": name, **numbers}


@cache
def measured():
    """A report that holds, its numbers measured on the album."""
    from xai_course.audit.faults import reveal
    from xai_course.audit.measures import chance

    case, truth = open_book(), reveal(NAME)
    assert truth.kind == "background", "the page's own example is one of the ground's colour"
    other = next(name for name in case.classes if name != truth.of)
    ground = "plain_background", f"swap_background:{truth.value}"
    return {
        "code": case.code,
        "verdict": "refuse",
        "findings": ["background"],
        "null": round(chance(case), 2),
        "claims": [written(*ground, other), written(*ground, truth.of)],
        "control": written("remove_tag", "add_tag", other),
        "looked_at": ["accuracy by class and mark", "five changes on six classes", "twelve maps"],
        "conditions": "",
        "would_change": "An accuracy above .9 in every class, with the mark on all scenes and on none.",
        "limits": "Marks that nobody noted, two marks together, and shapes of another kind.",
    }


def report(**changes):
    made = copy.deepcopy(measured())
    made.update(changes)
    return made


def claim(**changes):
    return {**measured()["claims"][-1], **changes}


def wrong_reports():
    """What people hand in, and a word of what they are told."""
    other = "blur" if measured()["findings"] != ["blur"] else "tag"
    weak = {**measured()["control"], "class": measured()["control"]["class"]}
    return [
        ("no dict", "`list`", []),
        ("a key less", "lacks limits", {k: v for k, v in report().items() if k != "limits"}),
        ("another's case", "is about the case", report(code="AAA-AA")),
        ("a verdict of one's own", "The verdict is", report(verdict="maybe")),
        ("a finding as text", "`findings` is a list", report(findings="tag")),
        ("no null", "`null` is missing", report(null=None)),
        ("looked at one thing", "fewer than 3", report(looked_at=["Grad-CAM"])),
        ("no limits", "`limits` says too little", report(limits="none")),
        ("no condition", "do not say which", report(verdict="sign with conditions")),
        ("no claim", "There is no claim", report(claims=[])),
        ("no margin", "lacks margin", report(claims=[{k: v for k, v in claim().items() if k != "margin"}])),
        ("per cent", "outside [0, 1]", report(claims=[claim(before=98)])),
        ("no such change", "no such intervention", report(claims=[claim(to="remove_everything")])),
        ("no control", "not checked against a control", report(control={})),
        ("the claim again", "one of the claims again", report(control=claim())),
        ("a finding without a claim", "no claim shows it", report(findings=[other])),
        ("nothing found, not looked", "do not show that you looked", report(findings=[], verdict="sign")),
        ("signs all the same", "You sign for a network", report(verdict="sign")),
        ("another number", "does not hold", report(claims=[claim(after=round(1 - claim()["after"], 2))])),
        ("too sure", "too small", report(claims=[claim(margin=0.001)])),
        ("null of another", "by chance stays below", report(null=0.9)),
        (
            "a weak claim",
            "no change beyond its margin",
            report(claims=[weak], findings=[cause(weak)], control=claim()),
        ),
        ("as any network", "what an honest network does", report(**blurred())),
        ("a control that moves", "nearly as much", report(claims=[claim()], control=measured()["claims"][0])),
    ]


def blurred():
    """A finding that rests on what blur does to every network, beyond its margin as it is."""
    harmed = written("sharpen", "blur", "square")
    assert harmed["before"] - harmed["after"] > harmed["margin"]
    return {"findings": ["blur"], "claims": [harmed]}


def cause(of):
    from xai_course.audit.report import cause_of

    return cause_of(of)


WRONG = {
    "9.1": [
        Wrong("in place", "changed `has`", (in_place,)),
        Wrong("gaps only", "shape (4,)", (gaps_only,)),
        Wrong("None", "`NoneType`", (lambda *given: None,)),
        Wrong(
            "1.96 errors",
            "The margins are not right; the gaps are. Your result is 0.98 times",
            (nearly_two_errors,),
        ),
        Wrong("a gap of shares multiplied", "The gaps are not right; the margins are", (multiplied,)),
    ],
    "9.2": [
        Wrong("one number", "shape ()", (one_number,)),
        Wrong("in place", "changed `shuffles`", (sorted_away,)),
    ],
    "9.3": [
        Wrong("two numbers", "three numbers", (two_numbers,)),
        Wrong("in place", "changed `after`", (changes_what_it_got,)),
        Wrong(
            "1.96 errors",
            "The margin is not right; `p` and `q` are. Your result is 0.98 times",
            (nearly_two,),
        ),
        Wrong("sure where nothing changes", "for class 2, in which no answer changes", (sure_of_no_change,)),
        Wrong("before twice", "`q` is not right for class 1 and class 0", (before_twice,)),
    ],
    "9.4": [
        Wrong(
            "a picture convinces",
            "Report A, claim: you give 4, more than one level too high.",
            (graded(A_claim=4),),
        ),
        Wrong(
            "severe", "Report C, control: you give 1, more than one level too low.", (graded(C_control=1),)
        ),
        Wrong("one and another", "1 more of your levels is as far off", (graded(B_claim=1, C_control=1),)),
        Wrong("five", "is no level", (graded(B_limits=5),)),
        Wrong("a list", "A dict with the reports", ([1, 2, 3],)),
        Wrong(
            "all alike",
            "Your sums",
            (
                {n: dict.fromkeys(OURS["A"], 2) for n in "A"}
                | {"B": dict.fromkeys(OURS["A"], 2)}
                | {"C": OURS["C"]},
            ),
        ),
    ],
}
ALSO_RIGHT = {
    "9.1": [(class_gaps(),), (by_counting,)],
    "9.2": [(by_chance(),), (shuffled_answers,)],
    "9.3": [(taken_away(),), (by_hand,)],
    "9.4": [(OURS,), (ONE_OFF,)],
}
WRONG["9.5"] = [Wrong(name, keyword, (NAME, made)) for name, keyword, made in wrong_reports()]
ALSO_RIGHT["9.5"] = [(NAME, report())]
