"""The live study in a browser: whole sessions on phone and desktop, a bad network, a reload, a keyboard."""

from __future__ import annotations

import re
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.faults import AXE
from tests.study.live import PASSWORD, Live
from xai_course.study import protocols
from xai_course.study.simulate import take_part
from xai_course.study.store import Store

SIZES = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    "small": {"viewport": {"width": 320, "height": 568}, "has_touch": True, "is_mobile": True},
}
FRAME = "new Promise(requestAnimationFrame)"
THREE_FRAMES = f"(async () => {{ await {FRAME}; await {FRAME}; await {FRAME}; }})()"
HANGUL = re.compile("[가-힣]")


@pytest.fixture
def live(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/study.db")
    live = Live(store).start()
    yield live
    live.stop()
    store.close()


@contextmanager
def opened(chromium, live, path, size="phone", theme="light", locale="en-GB"):
    """A browser of its own at that address; whatever leaves for another host is cut off, and an error."""
    context = chromium.new_context(**SIZES[size], color_scheme=theme, locale=locale, reduced_motion="reduce")
    errors = []

    def cut(route):
        if route.request.url.startswith((live.address, "data:")):
            route.continue_()
        else:
            errors.append(f"left: {route.request.url}")
            route.abort()

    context.route("**/*", cut)
    tab = context.new_page()
    tab.clock.install()  # it goes on as ever, and can be put forward
    tab.set_default_timeout(15000)
    tab.on("console", lambda message: message.type == "error" and errors.append(message.text))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.errors = errors
    tab.goto(f"{live.address}{path}")
    yield tab
    context.close()


def at(tab, view):
    tab.wait_for_selector(f"#main[data-view={view}]")


def agree(tab):
    at(tab, "consent")
    tab.locator("#main .s-btn.is-main").click()
    at(tab, "instruction")


def begin(tab):
    agree(tab)
    tab.locator("#main .s-btn").click()
    ready(tab)


def ready(tab):
    """Until a trial is painted and would take an answer."""
    tab.wait_for_selector("#main[data-view=question] .y-option")
    trial = tab.evaluate(
        "document.querySelector('.y-place').textContent + document.querySelector('h1').textContent"
    )
    tab.evaluate(THREE_FRAMES)  # the trial's time begins with its second
    tab.clock.fast_forward(320)  # what comes sooner is taken for a second tap of the trial before
    return trial


def wanted(tab):
    """The option that an attention check asks for; else the first."""
    asked = re.search(r"[“‘](.+?)[”’]", tab.locator("h1").inner_text())
    options = tab.locator(".y-option")
    labels = options.locator("span").all_inner_texts()
    is_check = asked and asked[1] in labels and len(labels) > 1
    return options.nth(labels.index(asked[1]) if is_check else 0)


def answer(tab):
    ready(tab)
    wanted(tab).click()
    if tab.get_attribute("#main", "data-view") == "feedback":
        tab.locator("#main .s-btn").click()


def answer_all(tab, see=lambda tab: None):
    while tab.get_attribute("#main", "data-view") != "finished":
        see(tab)
        answer(tab)


def until(tab, script):
    """Wait until a script says yes. (Playwright's own way has the page evaluate text: forbidden.)"""
    for _ in range(200):
        if tab.evaluate(script):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"ten seconds on, it is still not so: {script}")


def arrived(tab, live, count):
    """Whether the server has so many answers within ten seconds, in which the browser goes on."""
    for _ in range(200):
        if live.store.counts(live.study.code).answers == count:
            return True
        tab.wait_for_timeout(50)
    return False


def accessible(tab):
    """What axe-core calls serious or critical."""
    if not tab.evaluate("Boolean(window.axe)"):
        tab.evaluate(Axe().axe_script)
    return tab.evaluate(AXE)


def fits(tab):
    """Nothing sticks out, and whatever is pressed is large enough for a thumb."""
    tab.wait_for_load_state()  # a button led here, and its text is there before the page has its styles
    # Not innerWidth: a phone zooms out, and so widens it, where something sticks out.
    script = """width => [
      ...[document.documentElement.scrollWidth].filter(w => w > width).map(w => "page: " + w),
      ...[...document.querySelectorAll("main button, main a.s-btn, footer button, .y-languages label")]
        .map(e => [e, e.getBoundingClientRect()])
        .filter(([e, b]) => b.width && (b.height < 39 || b.width < 39 || b.right > width + 1))
        .map(([e, b]) => `${e.textContent}: ${b.width} x ${b.height}`)]"""
    return tab.evaluate(script, tab.viewport_size["width"])


@pytest.mark.parametrize(
    ("name", "size", "theme", "locale"),
    [
        ("which-class", "desktop", "light", "en-GB"),
        ("which-class", "small", "dark", "ko-KR"),
        ("trust", "small", "light", "en-GB"),
        ("trust", "phone", "dark", "ko-KR"),
        ("predict-model", "phone", "light", "ko-KR"),
        ("predict-model", "desktop", "dark", "en-GB"),
    ],
)
def test_a_whole_session(chromium, live, name, size, theme, locale):
    study = live.store.new_study(name)
    seen = {}

    def look(tab):
        view = tab.get_attribute("#main", "data-view") + str(tab.locator(".y-shot").count())
        if view not in seen:
            seen[view] = fits(tab) + accessible(tab)

    with opened(chromium, live, f"/s/{study.code}", size, theme, locale) as tab:
        at(tab, "consent")
        look(tab)
        assert tab.evaluate("document.documentElement.dataset.theme") == theme
        agree(tab)
        look(tab)
        tab.locator("#main .s-btn").click()
        ready(tab)
        answer_all(tab, look)
        look(tab)
        until(tab, "/^(All answers have|모든 답이)/.test(document.querySelector('#sent').textContent)")
        tab.locator("#withdraw").click()
        assert tab.locator("#sure").is_visible()
        seen["dialog"] = accessible(tab)
        assert tab.errors == []
    assert {view: faults for view, faults in seen.items() if faults} == {}
    counts = live.store.counts(study.code)
    assert counts.people == counts.finished == 1
    export = live.store.export(study.code)
    checks = [a["score"] for a in export["answers"] if a["kind"] == "attention"]
    assert checks == [1, 1]
    assert export["participants"][0]["language"] == locale[:2]
    times = [a["ms"] for a in export["answers"]]
    assert min(times) >= 250 and max(times) < 30000


def test_a_double_tap_is_one_answer(chromium, live):
    with opened(chromium, live, f"/s/{live.study.code}") as tab:
        begin(tab)
        for _ in range(2):
            answer(tab)  # the practice trials
        ready(tab)
        tab.locator(".y-option").first.dblclick()
        tab.wait_for_timeout(400)
        assert "2 of" in tab.locator(".y-place").inner_text()
        assert arrived(tab, live, 3)


def test_the_keyboard_alone_is_enough(chromium, live):
    with opened(chromium, live, f"/s/{live.study.code}", "desktop") as tab:
        at(tab, "consent")

        def tab_to(text):
            for _ in range(20):
                tab.keyboard.press("Tab")
                if tab.evaluate("document.activeElement.textContent") == text:
                    return
            raise AssertionError(f"no way to {text!r} by the keyboard")

        tab_to("I take part")
        tab.keyboard.press("Enter")
        at(tab, "instruction")
        assert tab.evaluate("document.activeElement.tagName") == "H1"  # what a screen reader reads next
        tab_to("Begin")
        tab.keyboard.press("Enter")
        ready(tab)
        assert tab.evaluate("document.activeElement.tagName") == "H1"
        tab.keyboard.press("9")  # no such answer
        tab.keyboard.press("2")
        at(tab, "feedback")
        assert tab.evaluate("document.activeElement.textContent") == "Next"
        tab.keyboard.press("Enter")
        ready(tab)
        tab.keyboard.press("Tab")
        tab.keyboard.press("Space")  # the first button, by focus
        at(tab, "feedback")
        tab.keyboard.press("Enter")
        ready(tab)
        assert "Question 1 of 18" in tab.locator("#say").inner_text()
        tab.keyboard.press("1")
        until(tab, "document.querySelector('.y-place').textContent.includes('Question 2')")
        assert arrived(tab, live, 3)


def test_a_reload_goes_on_with_the_next_trial(chromium, live):
    with opened(chromium, live, f"/s/{live.study.code}") as tab:
        begin(tab)
        for _ in range(5):
            answer(tab)
        before = ready(tab)
        assert arrived(tab, live, 5)
        for _ in range(2):
            tab.reload()
            assert ready(tab) == before
        answer_all(tab)
        assert arrived(tab, live, 20)
        tab.reload()
        at(tab, "finished")
    assert live.store.counts(live.study.code).people == 1


def test_without_a_network_answers_wait_and_arrive_once(chromium, live):
    with opened(chromium, live, f"/s/{live.study.code}") as tab:
        begin(tab)
        answer(tab)
        assert arrived(tab, live, 1)
        tab.context.set_offline(True)
        for _ in range(4):
            answer(tab)
        until(tab, "document.querySelector('#sent').textContent.startsWith('4 answers are kept')")
        assert tab.evaluate("[...document.querySelectorAll('.y-shot img')].every(i => i.naturalWidth > 0)")
        assert live.store.counts(live.study.code).answers == 1
        tab.context.set_offline(False)
        assert arrived(tab, live, 5)
        until(tab, "document.querySelector('#sent').textContent === 'All answers have arrived.'")
        answer_all(tab)
        assert arrived(tab, live, 20)


def test_answers_that_wait_survive_a_reload(chromium, live):
    with opened(chromium, live, f"/s/{live.study.code}") as tab:
        begin(tab)
        answer(tab)
        assert arrived(tab, live, 1)
        blocked = re.compile("/answer$")
        tab.route(blocked, lambda route: route.abort())
        for _ in range(3):
            answer(tab)
        before = ready(tab)
        tab.reload()
        assert ready(tab) == before
        assert live.store.counts(live.study.code).answers == 1
        tab.unroute(blocked)
        assert arrived(tab, live, 4)


def test_a_reply_that_is_lost_does_not_double_the_answer(chromium, live):
    """The server has the answer, and the browser never hears of it."""
    with opened(chromium, live, f"/s/{live.study.code}") as tab:
        begin(tab)
        lost = []

        def lose(route):
            if len(lost) < 2:
                lost.append(route.fetch())
                route.abort()
            else:
                route.continue_()

        tab.route(re.compile("/answer$"), lose)
        answer(tab)
        until(tab, "document.querySelector('#sent').textContent === 'All answers have arrived.'")
        assert [reply.status for reply in lost] == [200, 200]
    assert live.store.counts(live.study.code).answers == 1


def test_a_server_in_trouble_is_asked_again(chromium, live):
    with opened(chromium, live, f"/s/{live.study.code}") as tab:
        begin(tab)
        turns = []

        def trouble(route):
            turns.append(1)
            if len(turns) < 3:
                route.fulfill(status=503, json={"error": "busy"})
            else:
                route.continue_()

        tab.route(re.compile("/answer$"), trouble)
        answer(tab)
        assert arrived(tab, live, 1)
        assert len(turns) == 3


def test_who_withdraws_sees_it_done_and_leaves_nothing(chromium, live):
    with opened(chromium, live, f"/s/{live.study.code}") as tab:
        begin(tab)
        for _ in range(3):
            answer(tab)
        tab.locator("#withdraw").click()
        tab.locator("#sure-no").click()
        assert arrived(tab, live, 3)
        tab.context.set_offline(True)
        tab.locator("#withdraw").click()
        tab.locator("#sure-yes").click()
        tab.wait_for_selector("#sure-error:not([hidden])")
        assert live.store.counts(live.study.code).people == 1
        tab.context.set_offline(False)
        tab.locator("#sure-yes").click()
        at(tab, "withdrawn")
        assert live.store.counts(live.study.code).people == 0
        assert tab.evaluate("localStorage.length") == 0 and tab.context.cookies() == []
        tab.reload()
        at(tab, "consent")


def test_who_is_deleted_by_the_teacher_is_told_so(chromium, live):
    with opened(chromium, live, f"/s/{live.study.code}") as tab:
        begin(tab)
        answer(tab)
        label = live.store.export(live.study.code)["participants"][0]["id"]
        live.store.delete_participant(live.study.code, label)
        ready(tab)
        tab.locator(".y-option").first.click()
        at(tab, "gone")
        assert live.store.counts(live.study.code).answers == 0


def test_who_declines_leaves_no_trace(chromium, live):
    with opened(chromium, live, f"/s/{live.study.code}") as tab:
        at(tab, "consent")
        tab.get_by_role("button", name="No, thank you").click()
        at(tab, "declined")
        assert tab.context.cookies() == []
    assert live.store.study(live.study.code).joined == 0


def test_a_closed_study_says_so(chromium, live):
    live.store.set_open(live.study.code, False)
    with opened(chromium, live, f"/s/{live.study.code}") as tab:
        at(tab, "closed")
        assert "closed" in tab.locator("h1").inner_text()


def test_korean_is_korean_throughout_and_can_be_left(chromium, live):
    with opened(chromium, live, f"/s/{live.study.code}", locale="ko-KR") as tab:
        at(tab, "consent")
        assert tab.get_attribute("html", "lang") == "ko"
        for text in tab.locator("#main :is(h1, p, li, button)").all_inner_texts():
            assert not text or HANGUL.search(text), text
        begin(tab)
        for text in tab.locator("#main :is(h1, p, figcaption, .y-option span)").all_inner_texts():
            assert HANGUL.search(text), text
        trial = tab.locator(".y-shot img").last.get_attribute("src")
        tab.locator(".y-languages label").first.click()
        assert tab.get_attribute("html", "lang") == "en"
        assert tab.locator("h1").inner_text() == "Which of the two is the map about?"
        assert tab.locator(".y-shot img").last.get_attribute("src") == trial
        tab.reload()
        ready(tab)
        assert tab.get_attribute("html", "lang") == "en"


# ---- the teacher's pages -----------------------------------------------------------------------------------
def signed_in(tab):
    tab.fill("#password", PASSWORD)
    tab.get_by_role("button", name="Sign in").click()
    tab.wait_for_selector("text=Begin one")


def test_a_wrong_password_is_said_in_place(chromium, live):
    with opened(chromium, live, "/teacher", "desktop") as tab:
        tab.fill("#password", "guess")
        tab.keyboard.press("Enter")
        tab.wait_for_selector("#wrong:not([hidden])")
        assert "That is not the password" in tab.locator("#wrong").inner_text()
        assert accessible(tab) == []
        signed_in(tab)


@pytest.mark.parametrize(("size", "theme"), [("desktop", "light"), ("small", "dark")])
def test_a_lesson_from_the_code_to_the_result(chromium, live, size, theme):
    with opened(chromium, live, "/teacher", size, theme) as tab:
        signed_in(tab)
        assert fits(tab) + accessible(tab) == []
        tab.get_by_role("button", name="Begin Which class does this map show?").click()
        tab.wait_for_url(re.compile(r"/teacher/s/\w{5}$"))
        code = tab.url[-5:]
        tab.wait_for_selector("text=Nobody’s answers can be analysed yet.")
        screen = tab.context.new_page()
        screen.goto(f"{live.address}/teacher/s/{code}/screen")
        until(screen, "document.querySelector('[data-count=people]').textContent === '0'")
        assert fits(screen) + accessible(screen) == []
        qr = screen.locator(".y-qr").screenshot()
        text, *_ = cv2.QRCodeDetector().detectAndDecode(cv2.imdecode(np.frombuffer(qr, np.uint8), 1))
        assert text == f"{live.address}/s/{code}"
        take_part(text, 6)
        until(screen, "document.querySelector('[data-count=finished]').textContent === '6'")
        assert screen.locator("#simulated").inner_text() == "Simulated raters: these are programs, not people"
        assert screen.locator("#result").is_hidden()  # what others answer would sway who is still at it
        tab.wait_for_selector(".y-plot .own")
        assert tab.locator(".y-plot .own").count() == 4 and tab.locator(".y-plot .other").count() == 2
        assert fits(tab) + accessible(tab) == []
        tab.locator("#toggle-open").click()
        tab.wait_for_selector("text=Open the study")
        assert not live.store.study(code).open
        tab.locator("#toggle-shown").click()
        screen.wait_for_selector("#result .y-plot .own")
        assert screen.locator("#join").is_hidden()
        assert fits(screen) + accessible(screen) == []
        rows = screen.locator("#chart table tr").all_inner_texts()
        assert len(rows) == 5 and "44 %" in rows[2] and "61 %" in rows[4]
        with tab.expect_download() as download:
            tab.get_by_role("link", name="Export JSON").click()
        assert download.value.suggested_filename == f"which-class-{code}.json"
        tab.get_by_role("button", name="Delete this participant").click()
        tab.locator("#sure-yes").click()
        until(tab, "document.querySelector('[data-count=people]').textContent === '5'")
        tab.get_by_role("button", name="Delete this study").click()
        tab.locator("#sure-yes").click()
        tab.wait_for_url(f"{live.address}/teacher")
        screen.wait_for_url(f"{live.address}/teacher")
        assert tab.errors == []
    assert code not in [study.code for study in live.store.studies()]


@pytest.mark.parametrize("name", [protocol.id for protocol in protocols.all_protocols()])
def test_several_browsers_take_part_at_once(chromium, live, name):
    study = live.store.new_study(name)
    with (
        opened(chromium, live, f"/s/{study.code}", "phone") as one,
        opened(chromium, live, f"/s/{study.code}", "desktop", "dark") as two,
    ):
        for tab in (one, two):
            begin(tab)
        for _ in range(30):
            for tab in (one, two):
                if tab.get_attribute("#main", "data-view") != "finished":
                    answer(tab)
        for tab in (one, two):
            at(tab, "finished")
            assert tab.errors == []
    counts = live.store.counts(study.code)
    assert counts.people == counts.finished == 2
