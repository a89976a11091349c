r"""Things to move on a page: explorers that compute in the page, frames made beforehand, and live controls.

An explorer is a numbered figure. Python draws its first frame, which needs no script; a script of the page
then computes the rest from the numbers that stand beside it. It is the same HTML in the book and in a
notebook, and needs no kernel. Where nothing can be computed in a page, :func:`frames` shows pictures that
were made beforehand; :func:`interact` needs a kernel.
"""

from __future__ import annotations

from ._annotate import annotate
from ._base import Explorer
from ._blink import blink
from ._cam import cam
from ._curvature import curvature
from ._deletion import deletion
from ._digits import digits
from ._draw import draw
from ._frames import Frames, frames
from ._influence import influence
from ._live import Live, interact
from ._randomise import randomise
from ._rise import rise
from ._smooth_grad import smooth_grad
from ._tag import tag
from ._tiles import tiles

__all__ = [
    "Explorer",
    "Frames",
    "Live",
    "annotate",
    "blink",
    "cam",
    "curvature",
    "deletion",
    "digits",
    "draw",
    "frames",
    "influence",
    "interact",
    "randomise",
    "rise",
    "smooth_grad",
    "tag",
    "tiles",
]
