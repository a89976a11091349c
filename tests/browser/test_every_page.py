"""Every page, as a file and served, wide and narrow, light and dark, with the network cut off."""

from __future__ import annotations

import pytest

from tests.pages import MADE_BY_SPHINX, PAGES

VISITS = [
    ("file", "desktop", "light"),
    ("http", "desktop", "dark"),
    ("http", "phone", "light"),
    ("file", "phone", "dark"),
]

# Equations that MathJax did not draw, drew as an error, or that no one marked as equations.
NOT_TYPESET = r"""() => {
  const drawn = math => math.querySelector("mjx-container");
  const bad = [...document.querySelectorAll("article .math")].filter(math => !drawn(math));
  const errors = [...document.querySelectorAll("mjx-merror, [data-mjx-error]")];
  const article = document.querySelector("article") || document.body;
  const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  const raw = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest("code, pre, script, style, noscript, mjx-container, textarea")) continue;
    if (/\\[(\[]|\$\$|\\(frac|sum|partial|text)\b/.test(node.data)) raw.push(node.data);
  }
  return [...bad, ...errors].map(element => element.outerHTML).concat(raw).map(text => text.slice(0, 120));
}"""

BROKEN_IMAGES = """() => [...document.images].filter(image => {
  const shown = image.getClientRects().length > 0;
  return !image.alt.trim() || (shown && image.complete && image.naturalWidth === 0);
}).map(image => image.src.slice(0, 100) + " alt=" + image.alt)"""

# A page may not scroll sideways, nor may anything of the article stick out where nothing scrolls it.
TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth, wide = [];
  const page = document.documentElement.scrollWidth;
  if (page > width) wide.push("page: " + page);
  const scrolls = e => {
    for (; e && e.tagName !== "ARTICLE"; e = e.parentElement)
      if (getComputedStyle(e).overflowX !== "visible") return true;
    return false;
  };
  document.querySelectorAll("article *").forEach(e => {
    const box = e.getBoundingClientRect();
    const hidden = e.closest(".visually-hidden, mjx-assistive-mml");
    if (box.width && box.right > width + 1 && !hidden && !scrolls(e))
      wide.push(e.tagName + "." + e.className + ": " + Math.round(box.right));
  });
  return wide.slice(0, 5);
}"""


# Pictures that wait to be scrolled to are loaded too.
LOAD_IMAGES = """() => Promise.all([...document.images].map(image => {
  image.loading = "eager";
  return image.complete || new Promise(done => { image.onload = image.onerror = done; });
})).then(() => 0)"""


def violations(tab) -> list[str]:
    """What axe-core calls serious or critical. Nothing is excused: there is no allow-list."""
    from axe_playwright_python.sync_playwright import Axe

    # What a reader opens is judged too, once it has faded in.
    tab.add_style_tag(content="* { animation: none !important; transition: none !important; }")
    tab.evaluate("document.querySelectorAll('article details').forEach(details => details.open = true)")
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary'][:300]}"
        for violation in Axe().run(tab).response["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize(("via", "size", "theme"), VISITS, ids=lambda value: value)
@pytest.mark.parametrize("page", PAGES + MADE_BY_SPHINX)
def test_page(visit, page, via, size, theme):
    """The page is whole, stays at home, fits, and (as a file: desktop light, phone dark) is accessible."""
    with visit(f"{page}.html", via=via, size=size, theme=theme) as tab:
        assert tab.evaluate("document.documentElement.dataset.theme") == theme
        tab.evaluate(LOAD_IMAGES)
        assert tab.left == []
        assert tab.errors == []
        assert tab.evaluate(NOT_TYPESET) == []
        assert tab.evaluate(BROKEN_IMAGES) == []
        if size == "phone":
            assert tab.evaluate(TOO_WIDE) == []
        if via == "file" and page in PAGES:
            assert violations(tab) == []
