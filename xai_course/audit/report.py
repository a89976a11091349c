"""A report on a case of chapter 9: what it must hold, its claims measured again, and what the file says.

A report is a dict, since a notebook prints it and a grader reads it::

    {
        "code": case.code,
        "verdict": "refuse",                      # one of VERDICTS
        "findings": ["tag"],                      # any of FINDINGS; [] says that nothing was found
        "claims": [
            {"from": "add_tag", "to": "remove_tag", "class": "star",
             "before": 0.98, "after": 0.41, "margin": 0.12},
        ],
        "control": {"from": "add_tag", "to": "remove_tag", "class": "heart",
                    "before": …, "after": …, "margin": …},
        "looked_at": ["accuracy by class and mark", "Grad-CAM of twelve stars", "…"],
        "conditions": "",                         # needed for "sign with conditions"
        "would_change": "…",
        "limits": "…",
    }

A claim with ``"to"`` is about answers: an intervention, a class, the accuracy before and after. A claim with
``"measure"`` is about maps, probabilities or weights: ``{"measure": "two classes", "value": 0.08,
"margin": 0.02}``. Both are measured again on scenes that the reader has not seen. Nothing here looks at what
the case is, except :func:`feedback`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from xai_course.audit.cases import FRESH as FROM
from xai_course.audit.interventions import INTERVENTIONS
from xai_course.audit.known import known_case
from xai_course.audit.measures import MEASURES, Value, chance, effect, measure
from xai_lib._causes import Scenes, draw

VERDICTS = ("sign", "sign with conditions", "refuse")
FINDINGS = {
    "tag": "a class's answers hang on the tag",
    "background": "a class's answers hang on the colour of the ground",
    "blur": "a class's answers hang on whether the picture is in focus",
    "maps mislead": "the network's heatmaps do not show what its answers depend on",
    "wrong labels": "it was trained on labels some of which are wrong",
}
# Which verdicts follow from what was found: the house's rule, said in the chapter.
FOLLOWS = {
    "shortcut": ("refuse", "sign with conditions"),
    "maps mislead": ("sign with conditions", "refuse"),
    "wrong labels": ("sign with conditions", "refuse"),
    "nothing": ("sign", "sign with conditions"),
}
SHORTCUTS = ("tag", "background", "blur")
FRESH = 600  # scenes on which a claim is measured again
LOOKED_AT = 3  # the fewest things that a report must have looked at
WORDS = 6  # the fewest words that say anything about limits, or about what would change one's mind


# ---- is the report whole? ----------------------------------------------------------------------------------
KEYS = (
    *("code", "verdict", "findings", "null", "claims", "control"),
    *("looked_at", "conditions", "would_change", "limits"),
)


@dataclass(frozen=True)
class Objection:
    """What is wrong with a report, and where to look."""

    message: str
    look: str


def objections(report: Any, code: str) -> list[Objection]:
    """What can be said against a report without measuring anything; the first is the one to mend first."""
    if not isinstance(report, Mapping):
        return [
            Objection(f"The report is a `{type(report).__name__}`; a dict is wanted.", "Keep the template.")
        ]
    missing, unknown = [k for k in KEYS if k not in report], [str(k) for k in report if k not in KEYS]
    if missing or unknown:
        said = (
            f"lacks {', '.join(missing)}"
            if missing
            else f"has entries nobody asked for: {', '.join(unknown)}"
        )
        return [Objection(f"The report {said}.", "Keep the keys of the template.")]
    return [*_head(report, code), *_reasons(report), *_claims_written(report), *_follows(report)]


def _head(report: Mapping, code: str) -> list[Objection]:
    found = []
    if str(report["code"]) != code:
        found.append(
            Objection(
                f"The report is about the case {report['code']!s:.12}, and the name that you hand in "
                f"opens {code}.",
                "`open_case(MY_NAME).code`, and that case's network.",
            )
        )
    if report["verdict"] not in VERDICTS:
        found.append(
            Objection(f"The verdict is `{report['verdict']!s:.30}`.", f"One of: {', '.join(VERDICTS)}.")
        )
    if not _is_list(report["findings"]) or any(f not in FINDINGS for f in report["findings"]):
        found.append(
            Objection(
                "`findings` is a list of what you found; an empty list says: nothing.",
                f"Any of: {', '.join(FINDINGS)}.",
            )
        )
    if not _is_number(report["null"]) or not 0 < report["null"] <= 1:
        found.append(
            Objection(
                "`null` is missing: how large is the largest gap that chance gives on your album?",
                "Exercise 9.2 on your own album; the gap that 95 of 100 shuffles stay below.",
            )
        )
    return found


def _reasons(report: Mapping) -> list[Objection]:
    found = []
    looked = report["looked_at"]
    if not _is_list(looked) or len({str(item).strip().lower() for item in looked} - {""}) < LOOKED_AT:
        found.append(
            Objection(
                f"`looked_at` names fewer than {LOOKED_AT} things. Who reads the report wants to know "
                "what it rests on.",
                "A list: which tool, on what, how many pictures. Also what showed nothing.",
            )
        )
    for key, asks in (
        ("would_change", "what result would make you give another verdict"),
        ("limits", "what you did not look at"),
    ):
        if len(str(report[key]).split()) < WORDS:
            found.append(
                Objection(f"`{key}` says too little: {asks}?", "A sentence or two, about this network.")
            )
    conditions = len(str(report["conditions"]).split())
    if report["verdict"] == "sign with conditions" and conditions < WORDS:
        found.append(
            Objection(
                "You sign with conditions, and do not say which."
                if not conditions
                else "`conditions` says too little to be checked by somebody else.",
                "What must be done, or not done, and by whom.",
            )
        )
    return found


def _claims_written(report: Mapping) -> list[Objection]:
    claims = report["claims"]
    if not _is_list(claims) or not claims:
        return [
            Objection(
                "There is no claim: nothing in the report can be measured again.",
                "“Without X the accuracy of class c falls from p to q”: from, to, class, before, after, "
                "margin.",
            )
        ]
    found = [o for claim in claims for o in _written(claim, "A claim")]
    if not isinstance(report["control"], Mapping) or not report["control"]:
        return [
            *found,
            Objection(
                "The claim is not checked against a control: where should nothing happen, and what "
                "happens there?",
                "The same change on another class, another change on the same class, or the honest network.",
            ),
        ]
    found += _written(report["control"], "The control")
    if not found and any(_same(report["control"], claim) for claim in claims):
        found.append(
            Objection(
                "The control is one of the claims again.",
                "A control differs in one thing: another class, another change, or another network.",
            )
        )
    if not found:
        found += _covered(report)
    return found


def _written(claim: Any, who: str) -> list[Objection]:
    """What is wrong with a claim as it is written down."""
    if not isinstance(claim, Mapping):
        return [Objection(f"{who} is a `{type(claim).__name__}`; a dict is wanted.", "See the template.")]
    wanted = (
        ("measure", "value", "margin") if "measure" in claim else ("to", "class", "before", "after", "margin")
    )
    missing = [key for key in wanted if key not in claim]
    if missing:
        return [Objection(f"{who} lacks {', '.join(missing)}.", f"It needs {', '.join(wanted)}.")]
    numbers = [key for key in wanted if key in ("before", "after", "margin", "value")]
    bad = [key for key in numbers if not _is_number(claim[key])]
    if bad:
        return [
            Objection(f"{who} has `{bad[0]}` = `{claim[bad[0]]!r:.20}`; a number is wanted.", "0.93, say.")
        ]
    if "measure" in claim:
        known = claim["measure"] in MEASURES
        return (
            []
            if known
            else [Objection(f"{who} names no measure that there is.", f"One of: {', '.join(MEASURES)}.")]
        )
    if not all(0 <= claim[key] <= 1 for key in ("before", "after")):
        return [Objection(f"{who} has shares outside [0, 1].", "93 % is 0.93.")]
    for key in ("from", "to"):
        name = str(claim.get(key, "nothing")).partition(":")[0].strip()
        if name != "nothing" and name not in INTERVENTIONS:
            return [
                Objection(
                    f"{who} has `{key}` = `{name:.30}`; there is no such intervention.",
                    f"One of: {', '.join(INTERVENTIONS)}.",
                )
            ]
    return []


def _same(a: Mapping, b: Mapping) -> bool:
    keys = ("measure", "from", "to", "class", "answer", "network")
    return all(a.get(key) == b.get(key) for key in keys)


def cause_of(claim: Mapping) -> str | None:
    """Which cause a claim about answers changes: ``"tag"``, ``"background"``, ``"blur"``; None for others."""
    if "measure" in claim:
        return None
    ends = [str(claim.get(key, "nothing")).partition(":")[0].strip() for key in ("from", "to")]
    causes = {INTERVENTIONS[end].cause for end in ends if end != "nothing"}
    return causes.pop() if len(causes) == 1 else None


def speaks_for(claim: Mapping) -> str | None:
    """The finding that a claim can speak for."""
    return MEASURES[claim["measure"]][2] if "measure" in claim else cause_of(claim)


def _covered(report: Mapping) -> list[Objection]:
    """Whether each finding has a claim that could show it; "nothing" has to have looked everywhere."""
    spoken = {speaks_for(claim) for claim in report["claims"]}
    unsupported = [finding for finding in report["findings"] if finding not in spoken]
    if unsupported:
        return [
            Objection(
                f"You found “{unsupported[0]}”, and no claim shows it.",
                "An intervention on that cause, or a measure that speaks for it (`MEASURES`).",
            )
        ]
    if not report["findings"] and not {*SHORTCUTS, "maps mislead"} <= spoken:
        left = [name for name in (*SHORTCUTS, "maps mislead") if name not in spoken]
        return [
            Objection(
                f"You found nothing, and do not show that you looked for {left[0]!r}.",
                "Nothing found is a claim as well: one number for each cause, and one about the maps.",
            )
        ]
    return []


def group_of(findings: Sequence[str]) -> str:
    """Which row of the house's rule a list of findings falls under."""
    if any(f in SHORTCUTS for f in findings):
        return "shortcut"
    return next((f for f in ("maps mislead", "wrong labels") if f in findings), "nothing")


def _follows(report: Mapping) -> list[Objection]:
    if report["verdict"] not in VERDICTS or not _is_list(report["findings"]):
        return []
    group = group_of(report["findings"])
    if report["verdict"] in FOLLOWS[group]:
        return []
    why = {
        "nothing": (
            "You refuse a network in which you found nothing. That is a false alarm until you say what "
            "is wrong."
        ),
        "shortcut": (
            "You sign for a network whose answers, by your own finding, hang on something that is not "
            "the object."
        ),
        "maps mislead": (
            "You sign without a condition, and your own finding says that its maps are no evidence."
        ),
        "wrong labels": (
            "You sign without a condition, and your own finding says that it was taught wrong labels."
        ),
    }[group]
    return [Objection(why, f"From what you found follows: {' or '.join(FOLLOWS[group])}.")]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# ---- measured again ----------------------------------------------------------------------------------------
def measured_again(report: Mapping, case: Any, honest: Any) -> list[Objection]:
    """What the claims and the control look like on scenes that the reader has not seen.

    Args:
        report: one without :func:`objections`.
        case: the case that it is about.
        honest: an honest network's case, for controls with ``"network": "honest"``.
    """
    fresh = _fresh(case.classes, case.scenes.corner)
    found = [o for claim in report["claims"] for o in _again(claim, case, honest, fresh, "The claim")]
    found += _again(report["control"], case, honest, fresh, "The control")
    found += _chance(report, case)
    return found or _shown(report) or _beyond_honest(report)


SEED = 7  # of the scenes on which claims are measured again


@lru_cache(maxsize=4)
def _fresh(classes: tuple[str, ...], corner: str) -> Scenes:
    """What ``case.fresh(FRESH, seed=SEED)`` gives, drawn once."""
    return draw(FRESH, FROM + SEED, classes=classes, corner=corner)


def _again(claim: Mapping, case: Any, honest: Any, fresh: Any, who: str) -> list[Objection]:
    """Where the same number comes out otherwise on other scenes; the tolerance is that of both samples."""
    who = f"{who} “{in_words(claim)}”"
    if "measure" in claim:
        of, scenes = (
            (honest, _fresh(honest.classes, honest.scenes.corner))
            if claim.get("network") == "honest"
            else (case, fresh)
        )
        now = measure(of, scenes, claim["measure"])
        # the reader's own sample may have been much smaller than ours
        allowed = 1.5 * (abs(claim["margin"]) + now.margin) + 0.03
        if abs(now.value - claim["value"]) <= allowed:
            return []
        return [
            Objection(f"{who} does not hold: on {now.n} fresh scenes it is {now.value:.2f}.", _ON_THE_ALBUM)
        ]
    of = honest if claim.get("network") == "honest" else case
    scenes = _fresh(honest.classes, honest.scenes.corner) if of is honest else fresh
    if claim["class"] not in of.classes or claim.get("answer", claim["class"]) not in of.classes:
        return [Objection(f"{who} names a class that there is not.", f"One of: {', '.join(of.classes)}.")]
    try:
        now = effect(
            of, scenes, claim["class"], claim.get("from", "nothing"), claim["to"], claim.get("answer")
        )
    except ValueError as error:
        return [Objection(f"{who} cannot be measured: {error}.", "`swap_background:red`, with a colour.")]
    album = len(case.labels) / len(case.classes)
    for key, value in (("before", now.before), ("after", now.after)):
        if abs(value - claim[key]) > tolerance(value, now.n, claim[key], album):
            return [
                Objection(
                    f"{who} does not hold: on {now.n} fresh scenes it goes from {now.before:.2f} to "
                    f"{now.after:.2f}.",
                    _ON_THE_ALBUM,
                )
            ]
    usual = now.margin * math.sqrt((now.n + 2) / (album + 2))
    if not 0.5 * usual <= claim["margin"] <= 2.5 * usual + 0.02:
        size = "small" if claim["margin"] < usual else "large"
        return [
            Objection(
                f"{who}: the margin {claim['margin']:.3f} is too {size} for some {album:.0f} scenes; about "
                f"{usual:.2f} is to be expected.",
                "Exercise 9.3: two standard errors of the change, image by image.",
            )
        ]
    return []


_ON_THE_ALBUM = (
    "Is it the network of your case, that class, these two interventions? Measure on your album once more. "
    "If it comes out the same there, your album strays by chance: `case.fresh(400)` draws "
    "other scenes, and you may report what they give."
)


def tolerance(share: float, n: int, claimed: float, album: float) -> float:
    """How far two measurements of one share may lie apart: three standard errors of their difference.

    If both measure the same share, it is best known from both together. From one of them alone, a share
    that came out near 0 or 1 by luck would make the other look wrong.
    """
    p = (share * n + claimed * album + 1) / (n + album + 2)
    p = min(max(p, 0.03), 0.97)  # nobody is certain from a hundred scenes
    return 3 * math.sqrt(p * (1 - p) * (1 / n + 1 / album)) + 0.01


def _chance(report: Mapping, case: Any) -> list[Objection]:
    """Whether the null is what chance gives on the reader's album."""
    here = chance(case)
    if abs(report["null"] - here) <= 0.25 * here + 0.02:
        return []
    return [
        Objection(
            f"The null is {report['null']:.2f}; on your album the largest of all gaps by chance stays "
            "below about "
            f"{here:.2f} in 95 of 100 shuffles.",
            "Exercise 9.2: shuffle the marks within each class, keep the largest gap; then the 95th "
            "percentile.",
        )
    ]


def _shown(report: Mapping) -> list[Objection]:
    """Whether the claims show what was found, and the control does not."""
    for claim in report["claims"]:
        if "measure" in claim or cause_of(claim) not in report["findings"]:
            continue
        others = [c for c in report["claims"] if cause_of(c) == cause_of(claim)]
        if all(_change(c) <= c["margin"] for c in others):
            return [
                Objection(
                    f"“{in_words(claim)}” is no change beyond its margin, and you found {cause_of(claim)!r}.",
                    "Which class changes most, between all scenes with the cause and none?",
                )
            ]
    control = report["control"]
    claims = [c for c in report["claims"] if "measure" not in c and cause_of(c) in report["findings"]]
    if claims and "measure" not in control:
        if _change(control) >= 0.7 * max(map(_change, claims)):
            return [
                Objection(
                    "The control changes nearly as much as the claim: it shows no difference between "
                    "the two.",
                    "Choose one where, if you are right, nothing happens; or say in another claim why "
                    "it happens there too.",
                )
            ]
    return []


def _beyond_honest(report: Mapping) -> list[Objection]:
    """Whether the claims show more than an honest network gives: blur, say, harms every network."""
    for cause in (f for f in report["findings"] if f in SHORTCUTS):
        claims = [c for c in report["claims"] if cause_of(c) == cause]
        strongest = max(claims, key=_change)
        usual = honest_change(str(strongest.get("from", "nothing")), str(strongest["to"]))
        if _change(strongest) <= usual + strongest["margin"]:
            return [
                Objection(
                    f"“{in_words(strongest)}” is no more than what an honest network does: under the same "
                    f"change a class of it changes by up to {usual:.2f}.",
                    "A mark may harm every network. A shortcut is where one class gains and others lose.",
                )
            ]
    # Where the answers hang on a mark, maps like an honest network's are what misleads.
    if any(finding in SHORTCUTS for finding in report["findings"]):
        return []
    for finding in report["findings"]:
        claims = [c for c in report["claims"] if speaks_for(c) == finding]
        if not any(_differs_from_honest(claim) for claim in claims):
            usual = _honest_value(claims[0]["measure"]).value
            return [
                Objection(
                    f"You found {finding!r}, and “{in_words(claims[0])}” lies within its margins of what an "
                    f"honest network gives: {usual:.2f}.",
                    "Measure `honest` beside your network, and claim a number in which they differ.",
                )
            ]
    return []


def _differs_from_honest(claim: Mapping) -> bool:
    """Whether a measure lies farther from the honest network's than both margins, and their rounding."""
    usual = _honest_value(claim["measure"])
    return abs(claim["value"] - usual.value) > abs(claim["margin"]) + usual.margin + 0.01


@lru_cache(maxsize=16)
def _honest_value(name: str) -> Value:
    """A measure of the known honest network, on scenes that the reader has not seen."""
    honest = known_case("honest")
    return measure(honest, _fresh(honest.classes, honest.scenes.corner), name)


@lru_cache(maxsize=32)
def honest_change(before: str, after: str) -> float:
    """The largest change of a class's accuracy that the known honest network shows under an intervention."""
    honest = known_case("honest")
    scenes = _fresh(honest.classes, honest.scenes.corner)[:300]
    found = [effect(honest, scenes, name, before, after) for name in honest.classes]
    return max(abs(each.after - each.before) for each in found)


def _change(claim: Mapping) -> float:
    return abs(claim["after"] - claim["before"])


def in_words(claim: Mapping) -> str:
    """A claim as a sentence's beginning: who it is about, and its numbers."""
    who = "honest network: " if claim.get("network") == "honest" else ""
    if "measure" in claim:
        return f"{who}{claim['measure']} {claim['value']:.2f} ± {claim['margin']:.2f}"
    start = f"{claim['from']} → " if claim.get("from", "nothing") != "nothing" else ""
    answer = f", answer {claim['answer']}" if claim.get("answer", claim["class"]) != claim["class"] else ""
    return (
        f"{who}{start}{claim['to']}, {claim['class']}{answer}: "
        f"{claim['before']:.2f} → {claim['after']:.2f} ± {claim['margin']:.2f}"
    )
