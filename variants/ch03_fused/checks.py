"""The check of 3.v1: an example of the form. The right answer stands here, and so it is never handed out."""

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_course.checks.inputs import uniform
from xai_course.checks.judging import close, compare, expect
from xai_course.checks.mistakes import TOLERANCE, Mistake, told
from xai_course.checks.registry import exercise
from xai_course.checks.side_effects import detached, left_alone


# ---- a right answer whose steps can be exchanged ---------------------------------------------------------
def largest(m: Tensor) -> Tensor:
    return m.amax(dim=(1, 2), keepdim=True)


def bend(m: Tensor, gamma: float, most=largest) -> Tensor:
    return (gamma * m / most(m).clamp(min=1e-30)).tanh()


def up(m: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    options = {"align_corners": False} if mode == "bilinear" else {}
    return F.interpolate(m[:, None], size=size, mode=mode, **options)[:, 0]


def fused(
    each=lambda m, size, gamma: up(bend(m, gamma), size), together=lambda maps: torch.stack(maps).amax(dim=0)
):
    def answer(maps: list[Tensor], size: tuple[int, int], gamma: float) -> Tensor:
        return together([each(m, size, gamma) for m in maps])

    return answer


def stretched(m: Tensor) -> Tensor:
    low = m.amin(dim=(1, 2), keepdim=True)
    return (m - low) / (largest(m) - low).clamp(min=1e-30)


_ORDER = "Divide by the map's own largest value, times γ, then tanh; enlarge; then the largest over layers."
MISTAKES = {
    "3.v1": (
        [
            Mistake(
                fused(together=lambda maps: torch.stack(maps).mean(dim=0)),
                "The layers are averaged: what one layer alone sees is faint.",
                "Each pixel takes the *largest* of its values.",
            ),
            Mistake(
                fused(together=lambda maps: torch.stack(maps).sum(dim=0)),
                "The layers are added up.",
                "Each pixel takes the *largest* of its values.",
            ),
            Mistake(
                fused(each=lambda m, size, gamma: up(bend(m, gamma, lambda m: m.max()), size)),
                "A map is divided by the largest value of the whole *batch*: pictures see each other.",
                "`amax(dim=(1, 2), keepdim=True)`: one largest value for each picture.",
            ),
            Mistake(
                fused(each=lambda m, size, gamma: bend(up(m, size), gamma)),
                "You enlarge first, and bend then: enlarging lowers the peak, and tanh is no straight line.",
                _ORDER,
            ),
            Mistake(
                fused(each=lambda m, size, gamma: up(gamma * bend(m, 1.0), size)),
                "γ multiplies what comes out of tanh; it belongs inside.",
                _ORDER,
            ),
            Mistake(
                fused(each=lambda m, size, gamma: up(bend(m, 1.0), size)),
                "γ is not used.",
                _ORDER,
            ),
            Mistake(
                fused(each=lambda m, size, gamma: up(m / largest(m).clamp(min=1e-30), size)),
                "The maps are divided, and not bent: what is faint stays faint.",
                _ORDER,
            ),
            Mistake(
                fused(each=lambda m, size, gamma: up((gamma * m).tanh(), size)),
                "The maps are bent without being divided: a layer of large values is 1 nearly everywhere.",
                _ORDER,
            ),
            Mistake(
                fused(each=lambda m, size, gamma: up((gamma * stretched(m)).tanh(), size)),
                "The smallest value is taken away first: what was heat becomes 0.",
                "Divide by the largest value, and no more.",
            ),
            Mistake(
                fused(each=lambda m, size, gamma: up((gamma * m / largest(m)).tanh(), size)),
                "A map that is 0 everywhere becomes NaN.",
                "Where the largest value is 0, divide by something else.",
            ),
            Mistake(
                fused(each=lambda m, size, gamma: up(bend(m, gamma), size, "nearest")),
                "The maps are enlarged in squares.",
                '`mode="bilinear", align_corners=False`.',
            ),
        ],
    )
}


# ---- the check -------------------------------------------------------------------------------------------
@exercise("3.v1", "Several layers, one map")
def several_layers_one_map(answer) -> str:
    maps = [
        0.2 + 3 * uniform(3, 6, 4, seed=931),
        0.01 * uniform(3, 3, 5, seed=932),
        uniform(3, 2, 2, seed=933),
    ]
    maps[1][2] = 0  # one picture is silent at one layer
    size, gamma = (12, 10), 2.0

    def probe(function) -> Tensor:
        return function([m.clone() for m in maps], size, gamma)

    right = probe(fused())
    value = told(probe(answer), right, MISTAKES["3.v1"][0], probe)
    with left_alone(first=maps[0], second=maps[1], third=maps[2]):
        detached(answer(maps, size, gamma))
    louder = answer([5 * maps[0], maps[1] / 7, maps[2]], size, gamma)
    expect(
        close(louder, value, TOLERANCE),
        "A layer's map times a number changes the result; after the division it must not.",
        "Every map is divided by its own largest value.",
    )
    turned = answer(maps[::-1], size, gamma)
    expect(
        close(turned, value, TOLERANCE),
        "The order of the layers changes the result.",
        "A largest value does not depend on the order.",
    )
    compare(value, right, tolerance=TOLERANCE, look=_ORDER)
    return "every layer is heard equally loudly, and each pixel takes its largest value."
