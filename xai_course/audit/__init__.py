"""Chapter 9, the audit: unseen networks, albums whose causes are known, and what each network really is.

>>> from xai_course.audit import open_case
>>> case = open_case("Ada")
>>> case.images.shape, len(case.classes)
(torch.Size([400, 3, 64, 64]), 6)
"""

from xai_course.audit.cases import ALBUM, Card, Case, Training, open_case
from xai_course.audit.envelope import Feedback, open_envelope
from xai_course.audit.interventions import INTERVENTIONS, intervene
from xai_course.audit.known import known_case
from xai_course.audit.measures import MEASURES, effect, marks, measure
from xai_course.audit.report import FINDINGS, VERDICTS

__all__ = [
    "ALBUM",
    "FINDINGS",
    "INTERVENTIONS",
    "MEASURES",
    "VERDICTS",
    "Card",
    "Case",
    "Feedback",
    "Training",
    "effect",
    "intervene",
    "known_case",
    "marks",
    "measure",
    "open_case",
    "open_envelope",
]
