"""The exam's pages as they are opened and printed: accessible, whole on a phone, nothing cut on paper."""

from __future__ import annotations

import pytest

from tests.browser.conftest import opened, served
from tests.browser.faults import TOO_WIDE, violations
from xai_course.classroom import exam


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    names = ["Ada Lovelace", "A name without end " + "and-another-name-" * 8]
    return exam.make_exam("autumn", names, out=tmp_path_factory.mktemp("exam"))


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("page", ["sheets/001-ada-lovelace.html", "sheets/002*.html", "answers.html"])
def test_a_page_of_the_exam_is_accessible_and_fits(chromium, made, page, size):
    (path,) = made.glob(page)
    with served(made) as root, opened(chromium, root, path.relative_to(made).as_posix(), size=size) as tab:
        assert tab.evaluate(TOO_WIDE) == [] and violations(tab) == []
        assert tab.left == [] and tab.errors == []


def test_on_paper_no_question_is_cut_in_two(chromium, made):
    with served(made) as root, opened(chromium, root, "sheets/001-ada-lovelace.html") as tab:
        tab.emulate_media(media="print")
        style = "element => getComputedStyle(element).breakInside"
        assert {tab.locator("section.q").nth(i).evaluate(style) for i in range(30)} == {"avoid"}
        assert tab.pdf(format="A4").startswith(b"%PDF")
