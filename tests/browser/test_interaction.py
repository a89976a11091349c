"""What a reader moves, answers and opens: quizzes, explorers, solutions, search, dark mode."""

from __future__ import annotations

import json

import pytest

from tests.browser.conftest import opened, side_by_side
from tests.browser.faults import heard
from tests.pages import LESSONS, PAGES

EXERCISES = [page for page in PAGES if page.endswith("/exercises")]


@pytest.fixture(scope="module")
def loaded(request, chromium, addresses):
    """A page on which tests answer or open different things, one after another: it takes seconds to load."""
    with opened(chromium, addresses["file"], f"{request.param}.html") as tab:
        yield tab


def said(box) -> list[str]:
    return box.locator(".s-fb:visible").all_inner_texts()


# The other choices after the first one: each is chosen, then committed to; what is said after either.
ONE_BY_ONE = """box => [...box.querySelectorAll(".s-opt")].slice(1).map(choice => {
  const shown = () => [...box.querySelectorAll(".s-fb")].filter(e => e.checkVisibility());
  const said = () => shown().map(e => e.innerText);
  choice.querySelector("input").click();
  const chosen = said();
  box.querySelector("button[type=submit]").click();
  const told = choice.querySelector(".s-fb");
  return {chosen, told: told.innerText, correct: told.dataset.correct, committed: said()};
})"""


@pytest.mark.parametrize("loaded", LESSONS, indirect=True)
def test_every_choice_gets_its_own_feedback(loaded):
    """The first choice of each question with the mouse, as a reader; the others by the page's own clicks."""
    side_by_side(loaded)
    boxes = loaded.locator("form.s-quiz:has(.s-opt)").all()
    assert boxes, "no quiz on the page"
    for box in boxes:
        first = box.locator(".s-opt").first
        first.locator("input").check()
        assert said(box) == [], "choosing is not committing"
        box.locator("button[type=submit]").click()
        told, before = first.locator(".s-fb"), said(box)
        feedback = {"true": set(), "false": set()}
        feedback[told.get_attribute("data-correct")].add(told.inner_text())
        for choice in box.evaluate(ONE_BY_ONE):
            assert choice["chosen"] == before, "choosing is not committing"
            feedback[choice["correct"]].add(choice["told"])
            before = choice["committed"]
        assert before == said(box), "what the page counts as shown is shown"
        assert all(feedback.values()) and not feedback["true"] & feedback["false"]
        assert len(before) == box.locator(".s-opt").count()
    assert loaded.errors == []


@pytest.mark.parametrize("loaded", LESSONS, indirect=True)
def test_numbers_are_graded(loaded):
    side_by_side(loaded)
    for box in loaded.locator("form.s-quiz:has(.s-entry)").all():
        right = json.loads(box.locator(".s-fb[data-correct=true]").first.get_attribute("data-fits"))
        value = sum(right["range"]) / 2 if "range" in right else right["value"]
        for number, mark in ((987654, "✗"), (float(f"{value:.6g}"), "✓")):
            box.locator("input").fill(str(number))
            box.locator("button[type=submit]").click()
            (feedback,) = said(box)
            assert feedback.startswith(mark)
    assert loaded.errors == []


@pytest.mark.parametrize("page", LESSONS)
def test_every_prediction_veils_what_follows_until_it_is_made(visit, page):
    with visit(f"{page}.html") as tab:
        gates = tab.locator(".s-gate").all()
        assert gates, "no prediction on the page"
        for gate in gates:
            assert gate.locator(".s-veil").is_visible() and gate.locator(".s-under").evaluate("e => e.inert")
            for name in gate.get_attribute("data-gate").split():
                box = tab.locator(f"form[data-quiz='{name}']")
                if box.locator(".s-entry").count():
                    box.locator("input").fill("1")
                else:
                    box.locator("input").first.check()
                box.locator("button[type=submit]").click()
            assert not gate.locator(".s-veil").count()
            assert not gate.locator(".s-under").evaluate("e => e.inert")
        assert tab.errors == []


@pytest.mark.parametrize("page", LESSONS)
@pytest.mark.parametrize(
    "where", [{"via": "file"}, {"via": "http", "size": "phone", "theme": "dark"}], ids=["file", "served"]
)
def test_an_explorer_moves_from_the_keyboard(visit, page, where):
    with visit(f"{page}.html", **where) as tab:
        for gate in tab.locator(".s-gate:has(.s-explorer)").all():  # one may be the answer to a prediction
            gate.get_by_role("button", name="Show anyway").press("Enter")
        explorers = tab.locator(".s-explorer").all()
        assert explorers or "/lesson_" in page, "no explorer on the chapter's first page"
        for explorer in explorers:
            said = explorer.locator(".s-said")
            for slider in explorer.get_by_role("slider", disabled=False).all():
                before, label = said.inner_text(), slider.get_attribute("aria-valuetext")
                key, back = ("ArrowRight", "ArrowLeft")
                if slider.evaluate("slider => slider.value === slider.max"):
                    key, back = back, key
                slider.focus()
                tab.keyboard.press(key)
                assert slider.get_attribute("aria-valuetext") != label
                assert said.inner_text() != before, "nothing is said of what changed"
                tab.keyboard.press(back)
                assert (said.inner_text(), slider.get_attribute("aria-valuetext")) == (before, label)
            assert said.get_attribute("role") == "status"
        assert heard(tab) == []


@pytest.mark.parametrize("page", LESSONS)
def test_without_scripts_the_first_frame_remains(visit, page):
    with visit(f"{page}.html", scripts=False) as tab:
        for explorer in tab.locator(".s-explorer").all():
            frame = explorer.locator(".s-grid").first
            assert frame.is_visible() and frame.bounding_box()["height"] > 100
            assert explorer.locator(".s-said").inner_text().strip()
            assert not explorer.locator(".s-controls").is_visible()
            assert "Scripts are off" in explorer.locator("noscript").inner_text()
        for quiz in tab.locator("form.s-quiz").all():
            assert "Scripts are off" in quiz.locator("noscript").inner_text()
            assert quiz.locator("legend").is_visible()


@pytest.mark.parametrize("loaded", EXERCISES, indirect=True)
def test_solutions_open_and_close(loaded):
    solutions = loaded.locator(".cell.tag_solution details.hide").all()
    assert solutions, "no solution on the page"
    for solution in solutions:
        summary, code = solution.locator("summary"), solution.locator(".highlight").first
        assert not code.is_visible()
        summary.focus()
        loaded.keyboard.press("Enter")
        assert code.is_visible()
        summary.click()
        assert not code.is_visible()


@pytest.mark.parametrize("loaded", EXERCISES, indirect=True)
def test_hints_open_and_their_equations_are_drawn(loaded):
    hints = loaded.locator("article details:not(.hide)").all()
    assert len(hints) >= 3
    for hint in hints:
        hint.locator("summary").first.click()
        assert hint.evaluate("details => details.open")
        assert len(hint.inner_text().strip()) > len(hint.locator("summary").first.inner_text()) + 10


@pytest.mark.parametrize("via", ["file", "http"])
def test_search_finds(visit, via):
    with visit("search.html?q=gradient", via=via) as tab:
        results = tab.locator("#search-results li a")
        results.first.wait_for()
        assert results.count() >= 3
        tab.wait_for_load_state("networkidle")  # the search reads a sentence of each page that it found
        results.first.click()
        tab.wait_for_load_state()
        assert "gradient" in tab.locator("article").inner_text().lower()
        assert tab.left == [] and tab.errors == []


def test_the_search_field_opens_from_the_keyboard(visit):
    with visit(f"{PAGES[0]}.html") as tab:
        tab.keyboard.press("Control+k")
        field = tab.locator("input[type=search]:visible").first
        field.wait_for()
        field.fill("Captum")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/search.html?q=Captum*")


def test_the_switch_turns_the_page_dark(visit):
    # Served: opened as a file, the reloaded page now and then comes before what Chromium has stored.
    with visit(f"{PAGES[0]}.html", via="http") as tab:
        background = "getComputedStyle(document.body).backgroundColor"
        light = tab.evaluate(background)
        switch = tab.locator("button.theme-switch-button:visible").first
        switch.click()
        assert tab.evaluate(background) != light
        tab.reload()
        assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
