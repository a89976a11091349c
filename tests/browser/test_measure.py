"""A lesson is read, not scrolled past: how long it is, and how much of it is pictures."""

from __future__ import annotations

import pytest

from tests.pages import LESSONS

TALLEST = 20_000  # pixels, 1280 wide
PICTURES = 0.33  # a third of the height, to the per cent, as the page opens
UNVEILED = 0.31  # of the height with all veils open: shut ones hide the end of what lies under them

# The height of the article that lies beside a picture: figures' panels, drawings, explorers, the opener.
SHARE = """() => {
  const article = document.querySelector("article").getBoundingClientRect();
  const spans = [...document.querySelectorAll(".s-opener-pic, .s-fig .s-grid, .s-explorer .s-stage")]
    .map(e => e.getBoundingClientRect()).filter(box => box.height).map(box => [box.top, box.bottom])
    .sort((a, b) => a[0] - b[0]);
  let covered = 0, end = -Infinity;
  for (const [top, bottom] of spans) {
    covered += Math.max(0, bottom - Math.max(top, end));
    end = Math.max(end, bottom);
  }
  return [article.height, covered / article.height];
}"""

OPEN = """() => {
  const shut = document.querySelectorAll(".s-gate:not(.is-open)");
  for (const gate of shut) gate.querySelector(".s-veil .s-btn:last-child").click();
}"""


@pytest.mark.parametrize("page", LESSONS)
def test_a_lesson_is_short_and_a_third_of_it_is_pictures(visit, page):
    with visit(f"{page}.html") as tab:
        height, share = tab.evaluate(SHARE)
        tab.evaluate(OPEN)
        assert tab.locator(".s-gate:not(.is-open)").count() == 0
        tall, open_share = tab.evaluate(SHARE)
    print(f"{page}: {height:.0f} px, {share:.1%} pictures; veils open {tall:.0f} px, {open_share:.1%}")
    assert height <= TALLEST
    assert share >= PICTURES
    assert open_share >= UNVEILED
