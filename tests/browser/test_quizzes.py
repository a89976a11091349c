"""Quizzes and veils on a page of their own, as an output shows them outside the book."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from tests.browser.conftest import opened, served, side_by_side
from tests.browser.faults import heard, violations
from xai_course import quizzes

ONE = {
    "id": "9.predict.1",
    "type": "multiple_choice",
    "question": "What comes out?",
    "answers": [
        {"answer": "apples", "correct": True, "feedback": "Right: apples."},
        {"answer": "pears", "correct": False, "feedback": "They went in."},
        {"answer": "plums", "correct": False, "feedback": "There were none."},
    ],
}
MANY = {
    "id": "9.wrap.1",
    "type": "many_choice",
    "question": "Which are even?",
    "answers": [
        {"answer": "two", "correct": True, "feedback": "Right."},
        {"answer": "three", "correct": False, "feedback": "Not by two."},
        {"answer": "four", "correct": True, "feedback": "Right."},
        {"answer": "six", "correct": True, "feedback": "Right."},
        {"answer": "seven", "correct": False, "feedback": "No: odd."},
    ],
}
NUMBER = {
    "id": "9.wrap.2",
    "type": "numeric",
    "question": "What is its accuracy, in %?",
    "answers": [
        {"type": "range", "range": [99.8, 99.9], "correct": True, "feedback": "Right: nearly all."},
        {"type": "value", "value": 1234, "correct": False, "feedback": "Far too many."},
        {"type": "default", "feedback": "Count again."},
    ],
}
SHARE = {**NUMBER, "id": "9.wrap.3", "question": "Which share of the heat?"}
SHARE["answers"] = [
    {"type": "range", "range": [0.24, 0.26], "correct": True, "feedback": "Right: a quarter."}
]
SHARE["answers"] += NUMBER["answers"][1:]
GATE = (
    '<div class="s-gate" data-gate="9.predict.1"><div class="s-under"><p id="inside">They are pomegranates. '
    '<a href="#top" id="link">A link</a></p><p style="height:60rem">long</p></div></div>'
    '<p><a href="#top" id="after">after the veil</a></p>'
)
EARLY = '<script>document.documentElement.classList.add("has-scripts")</script>'


def write(folder, theme="light", scripts=True, questions=(ONE, MANY, NUMBER, SHARE)):
    body = quizzes.Quiz(questions).html()
    if not scripts:
        body = body[: body.index("<script")]
    (folder / "page.html").write_text(
        f'<!doctype html><html lang="en" data-theme="{theme}"><head><meta charset="utf-8"><title>Quiz</title>'
        f'<meta name="viewport" content="width=device-width"><style>body {{ background: var(--paper); }} '
        f"[hidden] {{ display: none !important; }}</style>{EARLY}</head><body><main><h1>Quiz</h1>"
        f'<article id="top">{body}{GATE}</article></main></body></html>',
        encoding="utf-8",
    )


@pytest.fixture
def visit(chromium, tmp_path):
    """``with visit(name="page.html#inside") as tab``: the page of all kinds of question, and a veil.

    Served: Chromium opens a file in a new process each time, which hears of what was stored a little later.
    """

    @contextmanager
    def visit(name="page.html", theme="light", written=None, turned=False, **options):
        write(tmp_path, theme, **(written or {}))
        with opened(chromium, address, name, theme=theme, **options) as tab:
            if not turned:
                side_by_side(tab)
            yield tab

    with served(tmp_path) as address:
        yield visit


def form(tab, question):
    return tab.locator(f"form[data-quiz='{question['id']}']")


def shown(box) -> list[str]:
    return [feedback.inner_text() for feedback in box.locator(".s-fb:visible").all()]


def button(box):
    return box.locator("button[type=submit]")


def note(box) -> str:
    return box.locator(".s-quiz-foot p").inner_text()


def commit(box):
    button(box).click()


# ---- one question at a time


def here(tab) -> list[str]:
    return [box.get_attribute("data-quiz") for box in tab.locator("form.s-quiz:visible").all()]


def test_one_question_shows_at_a_time_and_the_next_is_a_step_away(visit):
    with visit(turned=True) as tab:
        assert here(tab) == [ONE["id"]]
        steps = tab.get_by_role("navigation", name="Questions of this quiz")
        assert (
            steps.get_by_role("button", name="Question 1", exact=True).get_attribute("aria-current") == "step"
        )
        tab.get_by_role("button", name="Next question").focus()
        tab.keyboard.press("Enter")
        assert here(tab) == [MANY["id"]]
        assert tab.evaluate("document.activeElement.closest('form').dataset.quiz") == MANY["id"]
        steps.get_by_role("button", name="Question 4", exact=True).click()
        assert here(tab) == [SHARE["id"]] and tab.get_by_role("button", name="Next question").count() == 0
        assert violations(tab) == [] and heard(tab) == []


def test_a_step_says_whether_it_is_answered_and_a_later_visit_begins_with_the_first_that_is_not(visit):
    with visit(turned=True) as tab:
        form(tab, ONE).get_by_label("apples").check()
        commit(form(tab, ONE))
        assert tab.get_by_role("button", name="Question 1, answered").count() == 1
        tab.reload()
        assert here(tab) == [MANY["id"]]


def test_a_link_to_a_question_turns_to_it(visit):
    with visit(f"page.html#quiz-{NUMBER['id'].replace('.', '-')}", turned=True) as tab:
        assert here(tab) == [NUMBER["id"]]


def test_without_scripts_and_on_paper_all_questions_show(visit):
    everything = [question["id"] for question in (ONE, MANY, NUMBER, SHARE)]
    with visit(turned=True, scripts=False, written={"scripts": False}) as tab:
        assert here(tab) == everything
    with visit(turned=True) as tab:
        tab.emulate_media(media="print")
        assert here(tab) == everything


# ---- choices


def test_choosing_is_not_committing_and_every_answer_has_its_feedback(visit):
    with visit() as tab:
        box = form(tab, ONE)
        assert button(box).is_disabled()
        box.get_by_label("pears").check()
        assert shown(box) == []
        commit(box)
        assert shown(box) == ["✗ Not this one. They went in."]
        box.get_by_label("apples").check()
        assert len(shown(box)) == 1 and button(box).inner_text() == "See why"
        commit(box)
        assert sorted(shown(box)) == ["✓ Right: apples.", "✗ Not this one. They went in."]
        assert heard(tab) == []


def test_a_question_is_a_group_named_by_its_text(visit):
    with visit() as tab:
        group = tab.get_by_role("group", name="What comes out?")
        assert group.get_by_role("radio").count() == 3
        assert tab.get_by_role("group", name="Which are even?").get_by_role("checkbox").count() == 5


def test_from_the_keyboard_arrows_choose_and_enter_commits(visit):
    with visit() as tab:
        box = form(tab, ONE)
        first, second = box.get_by_role("radio").all()[:2]
        first.focus()
        tab.keyboard.press("Space")
        tab.keyboard.press("ArrowDown")
        assert second.is_checked() and shown(box) == []
        tab.keyboard.press("Enter")
        assert len(shown(box)) == 1
        described = second.get_attribute("aria-describedby")
        assert tab.locator(f"#{described}").inner_text() == shown(box)[0]
        assert second.evaluate("radio => radio === document.activeElement")


def test_feedback_is_announced(visit):
    with visit() as tab:
        form(tab, ONE).get_by_label("apples").check()
        commit(form(tab, ONE))
        tab.get_by_role("status").filter(has_text="Right: apples.").wait_for(state="attached")


def test_a_wrong_mark_leaves_the_right_ones_and_the_missing_are_counted(visit):
    with visit() as tab:
        box = form(tab, MANY)
        box.get_by_label("two").check()
        box.get_by_label("three").check()
        commit(box)
        assert box.get_by_label("two").is_checked()
        assert sorted(shown(box)) == ["✓ Right.", "✗ Not this one. Not by two."]
        assert note(box) == "1 of your 2 choices is wrong, marked ✗. 2 right answers are missing."
        tab.get_by_role("status").filter(has_text="Wrong: three.").wait_for(state="attached")
        box.get_by_label("three").uncheck()
        assert shown(box) == ["✓ Right."]
        box.get_by_label("four").check()
        assert shown(box) == ["✓ Right."], "not committed yet"
        commit(box)
        assert note(box) == "1 right answer is missing."
        box.get_by_label("six").check()
        commit(box)
        assert note(box) == "All right: these 3, and no other."


# ---- numbers


def enter(box, text):
    box.get_by_role("textbox").fill(text)
    box.get_by_role("textbox").press("Enter")


def test_a_number_may_be_written_as_people_write_it(visit):
    with visit() as tab:
        box = form(tab, NUMBER)
        for text in ("99,875", "99.875 %", "99,875%", "+99.875", "9.9875e1", "799/8", "99.875 per cent"):
            enter(box, text)
            assert shown(box) == ["✓ Right: nearly all."], text
            assert note(box) == "Read as 99.875.", text
        enter(box, " 99.875 ")
        assert shown(box) == ["✓ Right: nearly all."] and note(box) == ""


def test_one_comma_is_a_decimal_comma_and_the_reader_is_told(visit):
    with visit() as tab:
        box = form(tab, NUMBER)
        for text in ("1 234", "1\u202f234", "1,234.0", "1.234,0"):
            enter(box, text)
            assert shown(box) == ["✗ Not this one. Far too many."], text
            assert note(box).startswith("Read as 1234."), text
        enter(box, "1,234")
        assert shown(box) == ["✗ Not this one. Count again."]
        assert note(box).startswith("Read as 1.234.")


def test_a_share_may_be_written_in_per_cent(visit):
    with visit() as tab:
        box = form(tab, SHARE)
        for text in ("25 %", "0.25", ".25", "0,25", "1/4"):
            enter(box, text)
            assert shown(box) == ["✓ Right: a quarter."], text


def test_what_is_no_number_is_said_to_be_none_and_is_not_graded(visit):
    with visit() as tab:
        box = form(tab, NUMBER)
        entry = box.get_by_role("textbox")
        for text in ("abc", "12a", "1,2,3", "--1", "1/0", "%", "1.2.3"):
            entry.fill(text)
            commit(box)
            assert shown(box) == [] and f"“{text}” is not a number" in note(box)
            assert entry.get_attribute("aria-invalid") == "true"
            assert tab.evaluate("localStorage.getItem('sinb:quiz:9.wrap.2')") is None
        entry.fill("5")
        assert note(box) == "" and entry.get_attribute("aria-invalid") is None
        commit(box)
        assert shown(box) == ["✗ Not this one. Count again."]


# ---- remembered, shuffled


def answer_everything(tab):
    form(tab, ONE).get_by_label("pears").check()
    form(tab, MANY).get_by_label("two").check()
    form(tab, NUMBER).get_by_role("textbox").fill("99,85")
    for question in (ONE, MANY, NUMBER):
        commit(form(tab, question))


def test_answers_are_there_at_the_next_visit(visit):
    with visit() as tab:
        answer_everything(tab)
        before = [shown(form(tab, question)) for question in (ONE, MANY, NUMBER)]
        assert all(len(said) == 1 for said in before)
        tab.reload()
        side_by_side(tab)
        assert [shown(form(tab, question)) for question in (ONE, MANY, NUMBER)] == before
        assert form(tab, ONE).get_by_label("pears").is_checked()
        assert form(tab, MANY).get_by_label("two").is_checked()
        assert form(tab, NUMBER).get_by_role("textbox").input_value() == "99,85"


def test_an_answer_to_another_text_is_forgotten(visit, tmp_path):
    with visit() as tab:
        answer_everything(tab)
        write(tmp_path, questions=({**ONE, "question": "What came out?"}, MANY))
        tab.reload()
        side_by_side(tab)
        assert shown(form(tab, ONE)) == [] and len(shown(form(tab, MANY))) == 1


def test_where_nothing_may_be_stored_everything_else_works(visit):
    with visit() as tab:
        tab.add_init_script(
            "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }})"
        )
        tab.reload()
        side_by_side(tab)
        answer_everything(tab)
        assert [len(shown(form(tab, question))) for question in (ONE, MANY, NUMBER)] == [1, 1, 1]
        tab.reload()
        side_by_side(tab)
        assert shown(form(tab, ONE)) == []
        assert tab.errors == []


def test_each_reader_has_an_order_of_answers_and_keeps_it(visit):
    def order(tab):
        return form(tab, MANY).locator("label").all_inner_texts()

    orders = []
    with visit() as tab:
        for seed in range(8):
            tab.evaluate("seed => localStorage.setItem('sinb:seed', seed)", seed)
            tab.reload()
            side_by_side(tab)
            orders.append(order(tab))
            tab.reload()
            side_by_side(tab)
            assert order(tab) == orders[-1]
    assert all(sorted(one) == sorted(orders[0]) for one in orders)
    assert len({tuple(one) for one in orders}) > 4


def test_the_page_hears_of_every_answer(visit):
    with visit() as tab:
        tab.evaluate("heardOf = []; document.addEventListener('sinb:answered', e => heardOf.push(e.detail))")
        answer_everything(tab)
        assert tab.evaluate("heardOf") == ["9.predict.1", "9.wrap.1", "9.wrap.2"]


# ---- without scripts, on paper, for everybody


def test_without_scripts_the_questions_stand_there_and_a_choice_is_explained(visit):
    with visit(scripts=False) as tab:
        assert form(tab, NUMBER).get_by_text("The answer", exact=True).is_visible()
        assert tab.get_by_text("pomegranates").is_visible() and tab.locator(".s-veil").count() == 0
        assert not form(tab, ONE).locator(".s-fb:visible").count()
        form(tab, ONE).get_by_label("pears").check()
        assert shown(form(tab, ONE)) == ["✗ Not this one. They went in."]


def test_on_paper_the_right_answers_stand_marked_and_nothing_is_veiled(visit):
    with visit() as tab:
        answer_everything(tab)
        tab.emulate_media(media="print")
        assert shown(form(tab, ONE)) == ["✓ Right: apples."]
        assert shown(form(tab, SHARE)) == ["✓ Right: a quarter."]
        assert not tab.get_by_role("button", name="Commit").count()
        tab.emulate_media(media="screen")
    with visit() as tab:
        tab.emulate_media(media="print")
        assert not tab.locator(".s-veil").is_visible()
        style = tab.locator(".s-under").evaluate(
            "e => [getComputedStyle(e).filter, getComputedStyle(e).maxHeight]"
        )
        assert style == ["none", "none"]


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_quizzes_and_veil_are_accessible_before_and_after(visit, size, theme):
    with visit(size=size, theme=theme) as tab:
        assert violations(tab) == []
        answer_everything(tab)
        form(tab, SHARE).get_by_role("textbox").fill("abc")
        commit(form(tab, SHARE))
        assert violations(tab) == []
        assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


# ---- the veil


def is_shut(tab) -> bool:
    veiled = tab.locator(".s-under").evaluate("e => e.inert && getComputedStyle(e).filter.includes('blur')")
    assert veiled == tab.locator(".s-veil").is_visible()
    return veiled


def test_what_is_veiled_is_so_before_the_script_has_run(visit):
    with visit(written={"scripts": False}) as tab:
        assert "blur" in tab.locator(".s-under").evaluate("e => getComputedStyle(e).filter")


@pytest.mark.parametrize("choice", ["apples", "pears"])
def test_the_veil_opens_when_the_question_is_answered_either_way(visit, choice):
    with visit() as tab:
        assert is_shut(tab)
        form(tab, ONE).get_by_label(choice).check()
        assert is_shut(tab)
        commit(form(tab, ONE))
        assert not is_shut(tab)
        tab.reload()
        side_by_side(tab)
        assert not is_shut(tab)


def test_the_keyboard_passes_the_veil_and_does_not_reach_under_it(visit):
    with visit() as tab:
        tab.get_by_role("button", name="Go to the question").focus()
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.textContent") == "Show anyway"
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.id") == "after"


def test_go_to_the_question_puts_the_focus_there(visit):
    with visit() as tab:
        tab.get_by_role("button", name="Go to the question").click()
        assert tab.evaluate("document.activeElement.closest('form').dataset.quiz") == ONE["id"]
        assert is_shut(tab)


def test_show_anyway_shows_and_keeps_the_focus_in_place(visit):
    with visit() as tab:
        tab.get_by_role("button", name="Show anyway").focus()
        tab.keyboard.press("Enter")
        assert not is_shut(tab)
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.id") == "link"


# The browser's own search tells a page what a link to words tells it: both open what is hidden until found.
@pytest.mark.parametrize("place", ["#inside", "#:~:text=pomegranates"])
def test_a_link_into_the_veil_opens_it(visit, place):
    with visit(f"page.html{place}") as tab:
        tab.locator(".s-gate.is-open").wait_for()
        assert not is_shut(tab)
        assert tab.get_by_text("pomegranates").count() == 1, "the copy for the search is gone"


def test_a_link_on_the_page_opens_it_too(visit):
    with visit() as tab:
        tab.evaluate("location.hash = 'inside'")
        tab.locator(".s-gate.is-open").wait_for()
        assert not is_shut(tab)
