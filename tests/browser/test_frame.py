"""The frame: opener, contents, progress, code, equations, search, presenter mode, the title page, paper."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import opened
from tests.browser.faults import SIZES, heard, violations
from tests.pages import LESSONS, PAGES

HOME = PAGES[0]
EXERCISES = [page for page in PAGES if page.endswith("/exercises")]
FIRST = LESSONS[0]
MOST_PAGES = 17  # of A4, for chapter 1

INSIDE = """element => {
  const box = element.getBoundingClientRect();
  return box.top >= 0 && box.bottom <= innerHeight;
}"""


@pytest.fixture(scope="module")
def loaded(request, chromium, addresses):
    """A page that tests only look at: to load a lesson takes longer than any of them."""
    with opened(chromium, addresses["file"], f"{request.param}.html") as tab:
        yield tab


@pytest.fixture
def looked_at(loaded):
    """A loaded page as a reader finds it, on a desktop and in the light, and left so."""
    yield loaded
    loaded.evaluate("dispatchEvent(new Event('afterprint'))")
    loaded.emulate_media(media="screen", color_scheme="light")
    loaded.set_viewport_size(SIZES["desktop"])
    loaded.wait_for_function("document.documentElement.dataset.theme === 'light'")


every_lesson = pytest.mark.parametrize("loaded", LESSONS, indirect=True)
every_page_of_a_chapter = pytest.mark.parametrize("loaded", LESSONS + EXERCISES, indirect=True)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_title_page_has_its_buttons_and_its_pictures_above_the_fold(visit, theme):
    with visit(f"{HOME}.html", theme=theme) as tab:
        assert tab.locator(".s-ctas a").count() == 2
        for part in [*tab.locator(".s-ctas a, .s-stage .s-shot, .s-switch").all()]:
            assert part.evaluate(INSIDE)
    with visit(f"{HOME}.html", size="phone", theme=theme) as tab:
        for button in tab.locator(".s-ctas a").all():
            assert button.evaluate(INSIDE)


def test_the_switch_takes_the_tag_away_and_the_answer_turns(visit):
    with visit(f"{HOME}.html") as tab:
        switch, answer = tab.get_by_role("switch"), tab.locator(".s-answer .a")
        seen = [answer.inner_text()]
        opaque = "name => getComputedStyle(document.querySelector(`.s-stage img.${name}`)).opacity"
        assert [tab.evaluate(opaque, name) for name in ("with", "without")] == ["1", "0"]
        switch.focus()
        tab.keyboard.press("Space")
        seen.append(answer.inner_text())
        assert switch.get_attribute("aria-checked") == "true"
        assert [tab.evaluate(opaque, name) for name in ("with", "without")] == ["0", "1"]
        tab.locator("[role=status]", has_text=seen[1]).wait_for(state="attached")  # read out
        switch.click()
        seen.append(answer.inner_text())
        assert seen[0] == seen[2] == "star" and seen[1] != "star"
        assert heard(tab) == []


def test_without_scripts_the_title_page_shows_the_tag_and_no_switch(visit):
    with visit(f"{HOME}.html", scripts=False) as tab:
        assert tab.locator(".s-answer .a").inner_text() == "star"
        assert not tab.locator(".s-switch").is_visible()


@every_lesson
def test_the_opener_fills_the_column_and_is_not_cut(looked_at):
    picture, article = looked_at.locator(".s-opener-pic img"), looked_at.locator("article")
    assert picture.bounding_box()["width"] == pytest.approx(article.bounding_box()["width"], abs=2)
    assert picture.bounding_box()["y"] < 80
    assert looked_at.locator(".s-opener h1").evaluate(INSIDE)
    columns = looked_at.locator(".s-aims").evaluate("list => getComputedStyle(list).gridTemplateColumns")
    assert len(columns.split()) == 2


@pytest.mark.parametrize("page", [FIRST, HOME])
def test_text_is_narrow_enough_to_read(visit, page):
    with visit(f"{page}.html") as tab:
        widest = tab.evaluate(
            """() => Math.max(...[...document.querySelectorAll("article section > p")].map(p =>
              p.getBoundingClientRect().width / parseFloat(getComputedStyle(p).fontSize)))"""
        )
        assert widest <= 36.5  # em: about 80 characters


def test_a_section_that_was_read_is_ticked_and_stays_so_until_forgotten(visit):
    with visit(f"{FIRST}.html", via="http") as tab:
        steps = tab.locator(".s-steps a")
        assert steps.count() > 3 and tab.locator(".s-steps .is-read").count() == 0
        tab.evaluate("document.querySelector('article section > section').scrollIntoView({block: 'end'})")
        tab.locator(".s-steps .is-read").first.wait_for()
        assert "(read)" in steps.first.text_content()
        tab.evaluate("sinb.store.set('quiz:1.hook.1', [0])")
        tab.reload()
        assert tab.locator(".s-steps .is-read").count() >= 1
        forget = tab.locator("[data-forget]")
        forget.click()
        assert "again" in forget.inner_text() and tab.evaluate("sinb.store.get('quiz:1.hook.1')") == [0]
        with tab.expect_navigation():
            forget.click()
        assert tab.locator(".s-steps .is-read").count() == 0
        assert tab.evaluate("Object.keys(localStorage).filter(key => /^sinb:(quiz|read):/.test(key))") == []
        assert tab.evaluate("localStorage.mode") == "auto", "the choice of light and dark is no answer"


def test_the_section_in_view_is_marked_in_the_contents(visit):
    with visit(f"{FIRST}.html") as tab:
        third = tab.locator(".s-steps a").nth(2)
        third.click()
        tab.wait_for_function(
            "hash => document.querySelector('.s-steps [aria-current]')?.hash === hash",
            arg=third.get_attribute("href"),
        )


def test_on_a_phone_the_contents_open_and_close_from_the_keyboard(visit):
    with visit(f"{FIRST}.html", size="phone") as tab:
        contents, button = tab.locator("#s-contents"), tab.locator(".s-nav-open")
        assert not contents.is_visible()
        button.focus()
        tab.keyboard.press("Enter")
        assert contents.is_visible() and button.get_attribute("aria-expanded") == "true"
        assert tab.evaluate("document.querySelector('#s-contents').contains(document.activeElement)")
        tab.keyboard.press("Escape")
        assert not contents.is_visible() and button.evaluate("b => b === document.activeElement")


@every_page_of_a_chapter
def test_a_line_of_80_characters_needs_no_sideways_scroll(looked_at):
    cut = looked_at.evaluate(
        """() => [...document.querySelectorAll(".cell > .cell_input pre")].filter(pre =>
          Math.max(...pre.textContent.split("\\n").map(line => line.length)) <= 80
          && pre.scrollWidth > pre.clientWidth + 1).map(pre => pre.textContent.slice(0, 80))"""
    )
    assert cut == []


CUT = """() => [...document.querySelectorAll("article div.math")].filter(box => {
  const wide = box.scrollWidth > box.clientWidth + 1;
  return wide && !(box.classList.contains("is-wide") && box.tabIndex === 0);
}).map(box => box.textContent.slice(0, 60))"""


@every_page_of_a_chapter
def test_no_equation_is_cut_without_a_cue(looked_at):
    assert looked_at.evaluate(CUT) == []
    wide = looked_at.locator("article div.math.is-wide").count()
    assert wide == 0, "on a desktop every equation fits"
    looked_at.set_viewport_size(SIZES["phone"])
    looked_at.wait_for_timeout(400)
    assert looked_at.evaluate(CUT) == []
    for box in looked_at.locator("article div.math.is-wide").all():
        cue = box.evaluate("box => getComputedStyle(box, '::after').content")
        assert "right" in cue


@every_page_of_a_chapter
def test_code_has_copy_buttons(looked_at):
    # Hidden code included: each block of input has its button.
    blocks = "[...document.querySelectorAll('.cell_input .highlight')]"
    missing = looked_at.evaluate(
        f"{blocks}.filter(block => !block.parentElement.querySelector('.s-copy')).length"
    )
    assert missing == 0 and looked_at.locator("button.s-copy").count() > 0


def test_a_search_marks_whole_words_only(visit):
    with visit("search.html?q=grad", via="http") as tab:
        tab.locator("#search-results li a").first.wait_for()
        tab.wait_for_load_state("networkidle")
        link = tab.locator("#search-results li a[href*='03_cam/lesson']").first
        link.click()
        tab.wait_for_load_state()
        marked = tab.locator("mark.s-found")
        assert marked.count() > 3
        assert set(map(str.lower, marked.all_text_contents())) == {"grad"}
        inside = """mark => /[a-z]$/i.test(mark.previousSibling?.data || "")
          || /^[a-z]/i.test(mark.nextSibling?.data || "")"""
        assert not any(mark.evaluate(inside) for mark in marked.all())
        tab.keyboard.press("Escape")
        assert marked.count() == 0
        tab.reload()
        assert marked.count() == 0, "the marks are of one visit"


def test_the_code_is_copied(visit):
    with visit(f"{FIRST}.html", via="http") as tab:
        tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
        block = tab.locator(".cell > .cell_input").first
        block.locator(".s-copy").click()
        block.locator(".s-copy", has_text="copied").wait_for()
        copied = tab.evaluate("navigator.clipboard.readText()")
        assert copied.strip() == block.locator("pre").text_content().strip()


def slide(tab) -> tuple[int, int]:
    """Where presenter mode stands: the number of the slide, and of how many."""
    text = tab.locator(".s-hud span").inner_text()
    return tuple(int(number) for number in re.findall(r"\d+", text))


PROSE_THAT_SHOWS = """() => [...document.querySelectorAll(".bd-article section > p")]
  .filter(p => p.getClientRects().length && !p.closest(".s-now")).map(p => p.textContent.slice(0, 60))"""


def test_presenter_mode_begins_steps_and_ends_from_the_keyboard(visit):
    with visit(f"{FIRST}.html") as tab:
        html, here = tab.locator("html.presenter"), tab.locator(".s-now").first
        tab.keyboard.press("p")
        assert html.count() == 1 and tab.locator(".s-hud").is_visible()
        for gone in (
            ".bd-sidebar-primary",
            ".bd-header-article",
            ".cell > .cell_input",
            ".cell > details.hide",
        ):
            assert not tab.locator(gone).first.is_visible()
        at, of = slide(tab)
        assert at == 1 and of > 10 and here.get_attribute("class").startswith("s-opener")
        kinds, headings = set(), []
        for step in range(2, of + 1):
            tab.keyboard.press("ArrowRight")
            assert slide(tab) == (step, of)
            assert here.is_visible() and not tab.evaluate(PROSE_THAT_SHOWS)
            assert tab.locator(".s-opener").is_visible() is False
            kinds.add(here.get_attribute("class").split()[0])
            headings.append(tab.locator("h2:visible").inner_text())
        assert {"s-fig", "s-quizzes"} <= kinds
        # section by section: no heading comes back once another has been shown
        runs = [name for name, before in zip(headings, [None, *headings], strict=False) if name != before]
        assert len(runs) == len(set(runs)) > 4
        tab.keyboard.press("ArrowLeft")
        assert slide(tab) == (of - 1, of)
        tab.keyboard.press("Escape")
        assert html.count() == 0 and tab.locator(".bd-header-article").is_visible()
        assert tab.locator(".s-now, .s-way, .s-beside").count() == 0
        tab.locator("[data-present]").click()
        assert html.count() == 1
        tab.keyboard.press("P")
        assert html.count() == 0


def test_on_a_slide_figures_fit_quizzes_answer_and_the_text_comes_back(visit):
    with visit(f"{FIRST}.html") as tab:
        tab.keyboard.press("p")
        _, of = slide(tab)
        for _ in range(of):
            tab.keyboard.press("ArrowRight")
            if tab.locator(".s-gate:has(.s-now) .s-veil").count():
                break
        # the veil leads back to its question, which is another slide, and the answer lifts it
        before, _ = slide(tab)
        tab.locator(".s-gate:has(.s-now) .s-veil .is-main").click()
        asked, _ = slide(tab)
        assert asked < before and tab.locator(".s-now form.s-quiz").first.is_visible()
        tab.locator(".s-now .s-opt input").first.check()
        tab.keyboard.press("ArrowRight")  # the arrows belong to the choices while one of them has the focus
        assert slide(tab)[0] == asked
        tab.locator(".s-now .s-quiz-foot .is-main").click()
        tab.evaluate("document.activeElement.blur()")
        while slide(tab)[0] < before:
            tab.keyboard.press("ArrowRight")
        assert tab.locator(".s-gate:has(.s-now) .s-veil").count() == 0
        fits = "() => document.querySelector('.s-now').getBoundingClientRect().bottom <= innerHeight"
        while not tab.locator(".s-fig.s-now").count():
            tab.keyboard.press("ArrowRight")
        assert tab.evaluate(fits)
        tab.keyboard.press("t")
        assert tab.evaluate(PROSE_THAT_SHOWS) and tab.locator(".s-hud [aria-pressed=true]").count()
        tab.keyboard.press("t")
        assert not tab.evaluate(PROSE_THAT_SHOWS)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_slide_breaks_no_rule_of_accessibility(visit, theme):
    with visit(f"{FIRST}.html", theme=theme) as tab:
        tab.keyboard.press("p")
        for _ in range(3):
            tab.keyboard.press("ArrowRight")
        assert not violations(tab)


def test_p_typed_into_a_field_is_a_letter(visit):
    with visit(f"{FIRST}.html") as tab:
        tab.keyboard.press("Control+k")
        tab.keyboard.type("pp")
        assert tab.locator("html.presenter").count() == 0
        assert tab.locator("#s-query").input_value() == "pp"


def printed(tab) -> bytes:
    return tab.pdf(prefer_css_page_size=True)


TOO_WIDE_ON_PAPER = """() => [...document.querySelectorAll("article *")].filter(e => {
  const box = e.getBoundingClientRect(), drawing = e.ownerSVGElement;
  if (drawing && getComputedStyle(drawing).overflow !== "visible") return false;  // its drawing ends it
  return box.width && box.right > innerWidth + 1 && !e.closest("mjx-assistive-mml, .s-sr, .visually-hidden");
}).slice(0, 5).map(e => e.tagName + "." + e.className + ": " + Math.round(e.getBoundingClientRect().right))"""


@every_page_of_a_chapter
def test_on_paper_nothing_is_cut(looked_at):
    looked_at.emulate_media(color_scheme="dark")
    looked_at.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    looked_at.emulate_media(media="print", color_scheme="dark")
    looked_at.set_viewport_size({"width": 680, "height": 960})  # what A4 leaves between its margins
    looked_at.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert looked_at.evaluate(TOO_WIDE_ON_PAPER) == []
    scrolls = """() => [...document.querySelectorAll("article *")].filter(e =>
      e.scrollWidth > e.clientWidth + 2 && e.clientWidth > 1
      && ["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)
      && !e.closest("mjx-container, .s-sr, .visually-hidden, .s-shot, .s-opener-pic")
    ).map(e => e.tagName + "." + e.className)"""
    assert looked_at.evaluate(scrolls) == []
    assert looked_at.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not looked_at.locator(".bd-sidebar-primary").is_visible()
    for solution in looked_at.locator(".cell.tag_solution details").all():
        assert solution.locator("pre").first.is_visible()
    wraps = """() => [...document.querySelectorAll("article pre")].every(pre =>
      getComputedStyle(pre).whiteSpace.startsWith("pre-wrap") || !pre.getClientRects().length)"""
    assert looked_at.evaluate(wraps)


def test_chapter_1_takes_few_sheets(visit):
    with visit(f"{FIRST}.html") as tab:
        sheets = len(re.findall(rb"/Type\s*/Page\b", printed(tab)))
        print(f"chapter 1 on {sheets} sheets of A4")
        assert 5 < sheets <= MOST_PAGES


@pytest.mark.parametrize("page", [HOME, FIRST, "book/glossary"])
def test_the_first_paint_is_told(visit, page):
    """Printed, not judged: how long it takes depends on the machine."""
    with visit(f"{page}.html", via="http") as tab:
        tab.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        paint = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        print(f"{page}: first paint after {paint:.0f} ms")
        assert paint > 0
