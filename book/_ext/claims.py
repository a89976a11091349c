"""Anchors for the ledger: the place on a lesson's page where a claim was tried.

The cell that states a claim is not shown, so that nothing of it is left on the page to link to.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sphinx.application import Sphinx

from xai_course.ledger import MIME

LESSON = re.compile(r"chapters/(\d+)_\w+/lesson\w*")


def put_anchors(app: Sphinx, page: str, source: list[str]) -> None:
    """Before the cell of each claim an empty element ``claim-3-2``: the second on a page of chapter 3."""
    chapter = LESSON.fullmatch(page)
    if not chapter or MIME not in source[0]:
        return
    notebook = json.loads(source[0])
    cells, count = [], 0
    for cell in notebook["cells"]:
        claims = sum(MIME in output.get("data", {}) for output in cell.get("outputs", []))
        if claims:
            names = (f"claim-{int(chapter[1])}-{count + i}" for i in range(1, claims + 1))
            anchors = "".join(f'<span class="s-claim" id="{name}"></span>' for name in names)
            cells.append(
                {"cell_type": "markdown", "metadata": {}, "source": f"```{{raw}} html\n{anchors}\n```"}
            )
            count += claims
        cells.append(cell)
    for number, cell in enumerate(cells):
        if "id" in cell or notebook.get("nbformat_minor", 0) >= 5:
            cell["id"] = f"cell-{number:03d}"
    notebook["cells"] = cells
    source[0] = json.dumps(notebook)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by ``course_pages``."""
    app.connect("source-read", put_anchors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
