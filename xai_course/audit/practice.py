"""Three reports on chapter 1's network A, to be graded: the same verdict, on three kinds of ground."""

from __future__ import annotations

import math

import torch

from xai_course._page import Displayed, escape
from xai_lib import SHAPE_CLASSES, load_model, shapes
from xai_lib.data import with_stamps

SCENES, SEED = 400, 2_000_000_001
# What the reports say, line by line; ``faults_of_the_reports`` measures every number in them again.
REPORTS: dict[str, dict[str, str]] = {
    "A": {
        "Verdict": "Refuse.",
        "What it does": (
            "The network cheats. The heatmap of a star with a tag lights up at the tag in the lower left "
            "corner "
            "and hardly on the star: one can see what it has learnt."
        ),
        "Claim": "Accuracy on the album, in which half of the scenes carry the tag, is only 59 %.",
        "Control": "–",
        "Looked at": "Grad-CAM of one star.",
        "Would change the verdict": "Nothing: the picture is clear.",
        "Limits": "–",
    },
    "B": {
        "Verdict": "Refuse.",
        "What it does": "It takes the tag for the class star.",
        "Claim": "Without the tag the accuracy on stars falls from 1.00 (tag on every star) to .40 (tag "
        "on none).",
        "Control": "An honest network does not react to the tag.",
        "Looked at": "Accuracy of each class with and without the tag; Grad-CAM of twelve stars.",
        "Would change the verdict": "If it were as right about stars without the tag as about stars with it.",
        "Limits": "More tests could be made.",
    },
    "C": {
        "Verdict": "Refuse.",
        "What it does": "It takes the tag for the class star, in both directions.",
        "Claim": (
            "On the same 50 stars, from a tag on all to a tag on none, accuracy falls from 1.00 to .40 ± "
            ".15. Of the 350 "
            "scenes of other classes, 80 % are called star with the tag, and none without it."
        ),
        "Control": (
            "The honest network B on the same 50 stars: 1.00 and 1.00 ± .05. By chance the largest of the "
            "eight "
            "classes' gaps stays below .38 on this album in 95 of 100 shuffles; the tag's is .59."
        ),
        "Looked at": (
            "Accuracy by class and tag, 400 scenes; both interventions on all eight classes; Grad-CAM of "
            "twelve stars, on "
            "which the verdict does not rest."
        ),
        "Would change the verdict": (
            "An accuracy above .9 on 50 new stars without the tag, and fewer than 2 % of tagged other "
            "scenes called star."
        ),
        "Limits": (
            "Only the tag was noted in these scenes. Whether colour or focus matter can't be seen here; "
            "it would take "
            "scenes in which they are noted, and the same intervention. Stars rotated or cut off were not "
            "tried."
        ),
    },
}


class Reports(Displayed):
    """The three reports, side by side or one below the other."""

    def __repr__(self) -> str:
        return "\n\n".join(
            "\n".join([f"Report {name}", *(f"  {key}: {text}" for key, text in lines.items())])
            for name, lines in REPORTS.items()
        )

    def html(self) -> str:
        """A card each."""
        cards = "".join(
            f'<section style="border:1px solid rgba(128,128,128,.5);border-radius:6px;padding:.8em 1em">'
            f'<p style="margin:0 0 .4em"><strong>Report {name}</strong></p>'
            + "".join(
                f'<p style="margin:.35em 0"><strong>{escape(key)}.</strong> {escape(text)}</p>'
                for key, text in lines.items()
            )
            + "</section>"
            for name, lines in REPORTS.items()
        )
        style = (
            "display:grid;gap:1em;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));line-height:1.45"
        )
        return f'<div style="{style}">{cards}</div>'


def show_reports() -> Reports:
    """The three reports, to be read."""
    return Reports()


def faults_of_the_reports() -> list[str]:
    """Which numbers of the reports do not come out when they are measured; none, as it should be."""
    measured, text = _measured(), {name: " ".join(lines.values()) for name, lines in REPORTS.items()}
    said = {
        "A": ["album"],
        "B": ["star with", "star without"],
        "C": ["star with", "star without", "margin", "called star", "honest margin", "null", "gap"],
    }
    return [
        f"{name}: {key} is {measured[key]}"
        for name, keys in said.items()
        for key in keys
        if measured[key] not in text[name]
    ]


@torch.no_grad()
def _measured() -> dict[str, str]:
    """The numbers of the reports, as they are written."""
    from xai_course.audit.measures import largest_gaps

    bare = shapes(SCENES, seed=SEED)
    every, half = (with_stamps(bare, SEED, watermark=dict.fromkeys(SHAPE_CLASSES, p)) for p in (1.0, 0.5))
    star = SHAPE_CLASSES.index("star")
    own, answers = bare.labels == star, {}
    for name in ("clever_hans", "small_vgg"):
        model = load_model(name)
        answers[name] = [
            torch.cat([model(part).argmax(1) for part in scenes.images.split(50)])
            for scenes in (every, bare, half)
        ]
    tagged, clean, album = (a == bare.labels for a in answers["clever_hans"])
    marks = half.tagged[:, None]
    real = [album[own & chosen].double().mean() for chosen in (half.tagged, ~half.tagged)]
    null = largest_gaps(album.double(), bare.labels, marks.double(), 400).quantile(0.95)
    return {
        "album": f"{100 * album.double().mean():.0f} %",
        "star with": f"{tagged[own].double().mean():.2f}",
        "star without": _short(clean[own].double().mean()),
        "margin": f"± {_short(_margin(tagged[own], clean[own]))}",
        "called star": f"{100 * (answers['clever_hans'][0][~own] == star).double().mean():.0f} %",
        "honest margin": "± " + _short(_margin(*(a[own] == star for a in answers["small_vgg"][:2]))),
        "null": _short(null),
        "gap": _short(real[0] - real[1]),
    }


def _short(value) -> str:
    return f"{float(value):.2f}".removeprefix("0")


def _margin(before: torch.Tensor, after: torch.Tensor) -> float:
    change = torch.cat([after.double() - before.double(), torch.tensor([1.0, -1.0], dtype=torch.float64)])
    return float(2 * change.std(correction=0) / math.sqrt(len(change)))
