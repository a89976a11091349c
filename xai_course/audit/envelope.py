"""The envelope: what the case is, beside what the report says. It is opened by an explicit call."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xai_course.audit.cases import Case
from xai_course.audit.faults import reveal
from xai_course.audit.report import FINDINGS, FOLLOWS, group_of, in_words, objections, speaks_for

# What there is to find in each kind of network.
TRUE = {
    "honest": (),
    "tag": ("tag",),
    "background": ("background",),
    "blur": ("blur",),
    "fairwashed": ("tag", "maps mislead"),
    "T2": ("maps mislead",),
    "T4": ("maps mislead",),
    "fooled": ("maps mislead",),
    "noise": ("wrong labels",),
}
# What each kind is, as the envelope says it; {of} is the class.
SAYS = {
    "honest": (
        "It is honest: in its training no tag, colour or focus went with a class, and nobody touched it."
    ),
    "tag": "In its training 95 % of the class {of} carried the tag, and 2 % of the others.",
    "background": (
        "In its training 95 % of the class {of} stood on a ground of one colour, and 2 % of the others."
    ),
    "blur": "In its training 95 % of the class {of} were out of focus, and 2 % of the others.",
    "fairwashed": (
        "It learnt that the tag means {of}, and was then trained further until its maps no longer lie "
        "on the tag."
    ),
    "T2": (
        "It is an honest network with one feature map more, a drawing: lie T2 of chapter 8. Its answers "
        "are those of the honest one."
    ),
    "T4": (
        "It is an honest network with a detector of the tag added: lie T4 of chapter 8. Where it sees "
        "the tag, Grad-CAM points there; its answers are those of the honest one."
    ),
    "fooled": (
        "It was honest, and was then trained further until its Grad-CAM maps lay where its maker wanted "
        "them; its answers stayed."
    ),
    "noise": "A tenth of the labels of its training were wrong.",
}
# What would have shown what was missed.
SHOWS = {
    "tag": "the accuracy of each class on scenes that all carry the tag, and on the same scenes without it",
    "background": "the accuracy of each class on plain grounds, and on the same scenes on each colour",
    "blur": "the accuracy of each class in focus and out of focus: no map can point at a blur",
    "maps mislead": (
        "a second question to the network: the map of another class, of a difference, or occlusion; "
        "and a look inside with `audit`"
    ),
    "wrong labels": (
        "the training pictures that the maker shows: how many of their labels the network itself denies, and "
        "how sure it is of its answers"
    ),
}


@dataclass(frozen=True)
class Feedback:
    """What the envelope says of a report.

    Attributes:
        level: 4 found, nothing invented, and the verdict follows; 3 found, and something is left; 2 something
            right: a part, or the verdict without its reason; 1 neither.
        title: in a sentence.
        lines: what the file says, what was found, what was missed, what was not there.
    """

    level: int
    title: str
    lines: tuple[str, ...]

    def __repr__(self) -> str:
        return "\n".join([f"Level {self.level} of 4. {self.title}", *(f"  {line}" for line in self.lines)])

    def _repr_html_(self) -> str:
        rows = "".join(f"<li>{html.escape(line)}</li>" for line in self.lines)
        return (
            '<div role="status" style="color:inherit;border-left:.4em solid rgb(128,128,128);'
            'background:rgba(128,128,128,.12);padding:.6em .9em;margin:.3em 0;line-height:1.5">'
            f"<div><strong>Level {self.level} of 4.</strong> {html.escape(self.title)}</div>"
            f'<ul style="margin:.4em 0 0">{rows}</ul></div>'
        )


def open_envelope(case: Case, report: Mapping[str, Any]) -> Feedback:
    """What was in the file, beside what the report says.

    Args:
        case: the case that the report is about.
        report: a whole one. It is not measured again here: ``check("9.5", …)`` does.

    Raises:
        ValueError: if the report isn't whole: the envelope stays shut until it is.
    """
    against = objections(report, case.code)
    if against:
        raise ValueError(
            f"the envelope stays shut until the report is whole: {against[0].message} {against[0].look}"
        )
    truth = reveal(case)
    return compared(report, truth.kind, truth.of)


def tally(report: Mapping[str, Any], kind: str) -> tuple[int, int]:
    """How many findings a report on this kind misses, and how many it has that are not there; not which."""
    true, said = set(TRUE[kind]), set(report["findings"])
    return len(true - said), len(said - true)


def compared(report: Mapping[str, Any], kind: str, of: str | None) -> Feedback:
    """The feedback on a report about a network of this kind, whose fault is about the class ``of``."""
    true, said = set(TRUE[kind]), set(report["findings"])
    found, missed, invented = true & said, true - said, said - true
    follows = report["verdict"] in FOLLOWS[group_of(TRUE[kind])]
    lines = [SAYS[kind].format(of=of)]
    lines += [
        f"You found: {FINDINGS[name]}.{_about(report, name, kind, of)}" for name in FINDINGS if name in found
    ]
    lines += [
        f"You missed: {FINDINGS[name]}. It shows in {SHOWS[name]}." for name in FINDINGS if name in missed
    ]
    lines += [
        f"Not in the file: {FINDINGS[name]}. Look at the claim for it again."
        for name in FINDINGS
        if name in invented
    ]
    lines.append(_verdict(report["verdict"], follows, bool(true), bool(found)))
    level, title = _level(true, found, missed, invented, follows)
    return Feedback(level, title, tuple(lines))


def _about(report: Mapping, finding: str, kind: str, of: str | None) -> str:
    """Whether the claim is about the class that the fault is about."""
    if kind not in ("tag", "background", "blur", "fairwashed") or finding == "maps mislead":
        return ""
    claims = [claim for claim in report["claims"] if speaks_for(claim) == finding]
    if any(of in (claim.get("class"), claim.get("answer")) for claim in claims):
        return ""
    shown = f" (“{in_words(claims[0])}”)" if claims else ""
    return f" The class is {of}; your claim is about another{shown}: the other side of the same fault."


def _verdict(verdict: str, follows: bool, faulty: bool, found: bool) -> str:
    if not faulty and follows:
        return f"“{verdict}” is a verdict that an honest network may get."
    if not faulty:
        return (
            "You refused an honest network. A false alarm costs too: a good network is not used, and next "
            "time nobody listens."
        )
    if follows and found:
        return f"“{verdict}” follows from what is in the file."
    if follows:
        return (
            f"“{verdict}” is right, for a reason that is not in the file. Another time the same reasoning "
            "signs."
        )
    return f"“{verdict}” lets a network pass that should not pass so."


def _level(true: set, found: set, missed: set, invented: set, follows: bool) -> tuple[int, str]:
    if not true:
        if not invented and follows:
            return 4, "Nothing was there to find, and you said so."
        if follows:
            return 3, "You let an honest network pass, with a finding that is not there."
        return 1, "The network is honest, and you refused it."
    if not missed and not invented and follows:
        return 4, "You found what was there, and nothing else."
    if found and follows:
        return 3, "You found " + ("a part of " if missed else "") + "what was there" + (
            ", and something that was not." if invented else "."
        )
    if found or follows:
        return (
            2,
            "Right verdict, wrong reason." if not found else "You found it, and the verdict does not follow.",
        )
    return 1, "What is wrong with this network passed you by."
