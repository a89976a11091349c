"""Chapter 9, the audit: unseen networks, albums whose causes are known, and what each network really is.

>>> from xai_course.audit import open_case
>>> case = open_case("Ada")
>>> case.images.shape, len(case.classes)
(torch.Size([400, 3, 64, 64]), 6)
"""

from xai_course.audit.cases import ALBUM, Card, Case, Training, open_case
from xai_course.audit.interventions import INTERVENTIONS, intervene

__all__ = ["ALBUM", "INTERVENTIONS", "Card", "Case", "Training", "intervene", "open_case"]
