r"""Things to move on a page: explorers that compute in the page, frames made beforehand, and live controls.

An explorer is a numbered figure. Python draws its first frame, which needs no script; a script of the page
then computes the rest from the numbers that stand beside it. It is the same HTML in the book and in a
notebook, and needs no kernel. Where nothing can be computed in a page, :func:`frames` shows pictures that
were made beforehand; :func:`interact` needs a kernel.
"""

from __future__ import annotations

from ._base import Explorer
from .cam import cam
from .digits import digits
from .frames import Frames, frames
from .influence import influence
from .live import Live, interact
from .rise import rise
from .smooth_grad import smooth_grad
from .tag import tag
from .tiles import tiles

__all__ = [
    "Explorer",
    "Frames",
    "Live",
    "cam",
    "digits",
    "frames",
    "influence",
    "interact",
    "rise",
    "smooth_grad",
    "tag",
    "tiles",
]
