"""A fault of each kind, planted in a small page: each is found, in the views that have it and in no other."""

from __future__ import annotations

from functools import cache
from itertools import permutations
from pathlib import Path

import pytest

from tests.browser.conftest import opened, served
from tests.browser.faults import VIEWS, faults, heard

# Follows the system's theme; holds an equation, a picture, a wide table that scrolls, code and a hint.
SOUND = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<style>
  body { margin: 0; color: #111; background: #fff; }
  [data-theme="dark"] body { color: #eee; background: #111; }
  .k, .n { color: #00439c } .s { color: #7a2000 }
  [data-theme="dark"] :is(.k, .n) { color: #9ecbff } [data-theme="dark"] .s { color: #ffb199 }
</style>
<script>
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => { document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; };
  dark.addEventListener("change", follow);
  follow();
</script></head>
<body><main><article><h1>A page</h1>
<p><span class="math"><mjx-container>x</mjx-container></span></p>
<img alt="A dot." src="data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7">
<div style="overflow-x: auto" tabindex="0"><table style="width: 900px"><tr><td>wide</td></tr></table></div>
<div class="cell"><div class="highlight"><pre tabindex="0" style="overflow-x: auto"
><span class="k">for</span> <span class="n">x</span> <span class="k">in</span> <span class="s">"a"</span>
</pre></div></div>
<details><summary>Hint</summary><p>Look closely.</p></details>
<!-- here -->
</article></main></body></html>
"""

EVERYWHERE = {f"{size} {theme}" for size, theme in VIEWS}
PHONE, DARK = ({view for view in EVERYWHERE if word in view} for word in ("phone", "dark"))
LIGHT = EVERYWHERE - DARK
ON_DARK = '[data-theme="dark"]'
ON_PHONE = "@media (max-width: 500px)"
CODE = '<div class="cell {}"><div class="highlight"><pre><span class="k">if</span></pre></div></div>'

# What is planted, what the finding says (of this fault alone), and the views in which it is found.
PLANTED = {
    "a table wider than the phone": (
        '<table style="width: 800px"><tr><td>wide</td></tr></table>',
        "too wide: page",
        PHONE,
    ),
    "a word cut off at the phone's edge": (
        f"<style>body {{ overflow-x: hidden }}</style><p><b>{'unbroken' * 12}</b></p>",
        "too wide: B",
        PHONE,
    ),
    "a hint that is too wide when it is opened": (
        '<details><summary>Hint</summary><p class="told-wide" style="width: 800px">wide</p></details>',
        "too wide: P.told-wide",
        PHONE,
    ),
    "a picture too wide in the dark": (
        f"<style>{ON_DARK} .wide {{ width: 800px }}</style><p class=wide>wide</p>",
        "too wide: P.wide",
        PHONE & DARK,
    ),
    "grey on grey in the dark": (
        f"<style>{ON_DARK} .dark-note {{ color: #333 }}</style><p class=dark-note>note</p>",
        "axe: color-contrast: .dark-note",
        DARK,
    ),
    "grey on white in the light": (
        f"<style>.day {{ color: #ccc }} {ON_DARK} .day {{ color: #eee }}</style><p class=day>note</p>",
        "axe: color-contrast: .day",
        LIGHT,
    ),
    "grey on grey on a phone in the dark": (
        f"<style>{ON_PHONE} {{ {ON_DARK} .small {{ color: #333 }} }}</style><p class=small>note</p>",
        "axe: color-contrast: .small",
        PHONE & DARK,
    ),
    "grey on white within a hint": (
        '<details><summary>Tip</summary><p class=told style="color: #888; background: #999">no</p></details>',
        "axe: color-contrast: .told",
        EVERYWHERE,
    ),
    "a colour of code that is too faint": (
        "<style>.c1 { color: #888; background: #999 }</style>"
        '<div class="highlight"><pre>x <span class="c1">#</span> <span class="c1"># why</span></pre></div>',
        "axe: color-contrast: .c1",
        EVERYWHERE,
    ),
    "a known colour of code on another ground": (
        f"<style>.output {{ background: #2255aa }} {ON_DARK} .output {{ background: none }}</style>"
        + CODE.format("output"),
        "axe: color-contrast: .output",
        LIGHT,
    ),
    "a word like another, but on a ground that lies under it": (
        "<style>.on { position: relative; margin: 0 } .on b { position: relative; z-index: 1 }"
        " .on i { position: absolute; inset: 0; background: #777 }</style>"
        "<p class=on><b class=tag>one</b></p><p class=on><b class=tag id=two>two</b><i></i></p>",
        "axe: color-contrast: #two",
        EVERYWHERE,
    ),
    "a word like another, over which something slides on the phone": (
        "<style>.by { position: relative; margin: 0 } .by b { position: relative; z-index: 1 }"
        " .by i { position: absolute; top: 0; left: 100%; width: 9em; height: 2em; background: #777 }"
        f" {ON_PHONE} {{ .by i {{ left: 0 }} }}</style>"
        "<div style='overflow: hidden'><p class=by><b class=bid>one</b><i></i></p></div>",
        "axe: color-contrast: .bid",
        PHONE,
    ),
    "a word that is like one of which axe cannot tell": (
        "<style>.sign { color: #888; background: #999 }</style>"
        "<p class=sign>★★</p><p class=sign id=note>note</p>",
        "axe: color-contrast: #note",
        EVERYWHERE,
    ),
    "a button that loses its name in the dark": (
        "<button id=mute aria-label=Mute></button><script>dark.addEventListener('change', () => "
        "mute.setAttribute('aria-label', dark.matches ? '' : 'Mute'))</script>",
        "axe: button-name: #mute",
        DARK,
    ),
    "code that scrolls on the phone, out of the keyboard's reach": (
        '<div class="highlight"><pre id="long" style="overflow-x: auto">'
        + "<span class=n>name</span>" * 30
        + "</pre></div>",
        "axe: scrollable-region-focusable: #long",
        PHONE,
    ),
    "a button without a name on the phone": (
        f"<style>.menu {{ display: none }} {ON_PHONE} {{ .menu {{ display: block }} }}</style>"
        "<button class=menu></button>",
        "axe: button-name: .menu",
        PHONE,
    ),
    "an equation that no one drew": (
        '<span class="math">undrawn</span>',
        'not typeset: <span class="math">undrawn',
        EVERYWHERE,
    ),
    "an equation that no one marked": (r"<p>the share \(R\) of it</p>", "not typeset: the share", EVERYWHERE),
    "an equation drawn as an error": (
        '<span class="math"><mjx-container><mjx-merror>x</mjx-merror></mjx-container></span>',
        "not typeset: <mjx-merror>",
        EVERYWHERE,
    ),
    "a picture without words": ('<img src="data:,none">', "picture: data:,none", EVERYWHERE),
    "a picture for the dark that is missing": (
        f"<style>.night {{ display: none }} {ON_DARK} .night {{ display: inline }}</style>"
        '<img class="night" alt="Night." src="data:image/gif;base64,AAAA">',
        "picture: data:image/gif;base64,AAAA alt=Night.",
        DARK,
    ),
    "a page that stays light": (
        "<script>dark.removeEventListener('change', follow)</script>",
        "theme: the system is dark",
        DARK,
    ),
}

# What a page asks for or says at any moment until it is closed.
OVERHEARD = {
    "a picture from another host": (
        '<img alt="Far." src="https://far.invalid/a.png">',
        "left: https://far.invalid/a.png",
    ),
    "a request to another host once the page turns dark": (
        f"<style>{ON_DARK} p {{ background-image: url(https://far.invalid/night.png) }}</style><p>far</p>",
        "left: https://far.invalid/night.png",
    ),
    "a request to another host by a script": (
        "<script>fetch('https://far.invalid/data.json').catch(() => 0)</script>",
        "left: https://far.invalid/data.json",
    ),
    "a script that fails": ("<script>nothing.at.all</script>", "error: nothing is not defined"),
    "a script that fails when the window has come to rest": (
        "<script>addEventListener('resize', () => setTimeout(() => at.rest(), 300))</script>",
        "at is not defined",
    ),
    "an error in the console": ("<script>console.error('so it is')</script>", "error: so it is"),
    "a style sheet that is missing": ('<link rel="stylesheet" href="missing.css">', "missing.css"),
}


# These would hide others, or be hidden; the others share a page.
ALONE = ["a table wider than the phone", "a word cut off at the phone's edge", "a page that stays light"]


def write(folder: Path, planted: str) -> str:
    (folder / "page.html").write_text(SOUND.replace("<!-- here -->", planted), encoding="utf-8")
    return folder.as_uri()


@pytest.fixture(scope="module")
def found_with(chromium, tmp_path_factory):
    """What is found on the small page with this planted in it."""

    @cache
    def find(planted: str) -> list[str]:
        with opened(chromium, write(tmp_path_factory.mktemp("page"), planted), "page.html") as tab:
            return faults(tab)

    return find


def test_nothing_is_found_on_a_sound_page(found_with):
    assert found_with("") == []


@pytest.mark.parametrize("kind", PLANTED)
def test_a_fault_is_found_where_it_is_and_nowhere_else(found_with, kind):
    planted, says, views = PLANTED[kind]
    if kind not in ALONE:
        planted = "".join(PLANTED[other][0] for other in PLANTED if other not in ALONE)
    found = [fault for fault in found_with(planted) if says in fault]
    assert {fault.split(": ")[0] for fault in found} == views, found


def test_planted_faults_are_told_apart():
    says = [says for _, says, _ in PLANTED.values()] + [says for _, says in OVERHEARD.values()]
    assert not [(one, other) for one, other in permutations(says, 2) if one in other]


@pytest.mark.parametrize("kind", OVERHEARD)
def test_what_a_page_asks_for_and_what_it_reports_is_heard(found_with, kind):
    everything = "".join(planted for planted, _ in OVERHEARD.values())
    assert [fault for fault in found_with(everything) if OVERHEARD[kind][1] in fault]


def test_a_file_beside_the_book_is_there_for_a_file_and_missing_for_a_server(chromium, tmp_path):
    book = tmp_path / "book"
    book.mkdir()
    (tmp_path / "beside.js").write_text("")
    root = write(book, '<script src="../beside.js"></script>')
    with opened(chromium, tmp_path.as_uri(), "book/page.html") as tab:
        assert heard(tab) == []
    with served(book) as address, opened(chromium, address, "page.html") as tab:
        assert any("404" in fault for fault in heard(tab)), root


def test_data_that_a_script_reads_is_there_for_a_server_and_missing_for_a_file(chromium, tmp_path):
    (tmp_path / "data.json").write_text("{}")
    root = write(tmp_path, "<script>window.read = fetch('data.json').catch(() => 0)</script>")
    with opened(chromium, root, "page.html") as tab:
        tab.evaluate("read.then(() => 0)")
        assert any("data.json" in fault for fault in heard(tab))
    with served(tmp_path) as address, opened(chromium, address, "page.html") as tab:
        tab.evaluate("read.then(() => 0)")
        assert heard(tab) == []
