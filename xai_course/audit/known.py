"""Cases whose network is known: what an honest one gives, and what each fault looks like."""

from __future__ import annotations

from xai_course.audit.cases import ALBUM, KINDS, Case, Drawn, case_of
from xai_lib import _checks
from xai_lib._cases import networks
from xai_lib._causes import CLASSES, CORNERS, draw

SEED = 5_000_000  # of the albums of known cases


def known_case(kind: str, which: int = 0) -> Case:
    """A case that says what it is: for the null, for practice, for the lesson.

    Args:
        kind: ``"honest"``, or one of the faults of ``faults.FAULTS``.
        which: where there are several networks of a kind, which of them.

    Returns:
        A case with classes, corner and colours in the order of :mod:`xai_lib._causes`; its code is the kind.

    Raises:
        ValueError: if there is no such kind, or no such network.
    """
    _checks.check_choice("kind", kind, KINDS)
    base = "honest" if kind in ("T2", "T4") else kind
    there = [network for network in networks() if network.kind == base]
    which = _checks.check_count("which", which, least=0)
    if which >= len(there):
        raise ValueError(
            f"`which` must be below {len(there)}, the number of networks of this kind, got {which}"
        )
    drawn = Drawn(kind, there[which], CLASSES, CORNERS[0], (0, 1, 2))
    album = draw(ALBUM, SEED + 10 * KINDS.index(kind) + which, classes=CLASSES, corner=CORNERS[0])
    return case_of(kind, drawn, album)
