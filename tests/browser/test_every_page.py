"""Every page, with the network cut off: as a file, turned wide and narrow, light and dark; and served."""

from __future__ import annotations

import pytest

from tests.browser.faults import faults, heard, seen
from tests.pages import MADE_BY_SPHINX, PAGES

# What only a server can get wrong is the same on pages of one kind: where their styles, scripts and data lie.
# (Each lesson is opened as served by the test of its explorers.)
ONE_OF_EACH_KIND = [
    PAGES[0],
    next(page for page in PAGES if page.endswith("/lesson")),
    next(page for page in PAGES if page.endswith("/exercises")),
    next(page for page in PAGES if page.count("/") == 1 and page != PAGES[0]),
    *MADE_BY_SPHINX,
]


@pytest.mark.parametrize("page", PAGES + MADE_BY_SPHINX)
def test_a_page_is_whole_stays_at_home_fits_and_is_accessible(visit, page):
    with visit(f"{page}.html") as tab:
        assert faults(tab, accessible=page in PAGES) == []


@pytest.mark.parametrize("page", ONE_OF_EACH_KIND)
def test_a_served_page_opens_on_a_dark_phone_as_it_does_in_a_window_made_small(visit, page):
    with visit(f"{page}.html", via="http", size="phone", theme="dark") as tab:
        assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
        assert seen(tab) + heard(tab) == []
