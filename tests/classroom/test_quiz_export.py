"""The quizzes as a learning platform reads them: complete, marked as on the page, and free of the page."""

import base64
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest

from tests.classroom import lms
from xai_course.classroom import moodle_xml, qti
from xai_course.classroom.__main__ import main
from xai_course.classroom.questions import bounds, chapter_items, item, plain

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent for path in ROOT.glob("chapters/*/quiz.json"))
NASTY = "a < b & c > d \"e\" 'f' ]]> <em>so</em> <script>alert(1)</script> \\(x<y\\) “–” 👍"
NASTY += " &amp; <code>x[i]</code>"
NASTIER = "<em>never closed, </strong>never opened, x<sub>0</sub><br>next"


@pytest.fixture(scope="module")
def exported():
    """Each chapter: its items, what was left out, the Moodle file, the files of the QTI package."""
    made = {}
    for folder in FOLDERS:
        items, left_out = chapter_items(folder)
        xml = moodle_xml.moodle_xml(items, "Course/Chapter")
        made[folder.name] = items, left_out, xml, qti.package(items, "Course")
    return made


def seen(text):
    """What must be seen of a text of quiz.json, by rules of its own: few elements, the rest as it stands."""
    names = "em|strong|b|i|code|sub|sup|br"
    opened = [name for name in re.findall(rf"<({names})>", text)]
    return re.sub(rf"</?(?:{names})>", "", text).replace("&amp;", "&"), opened


def same(read: lms.Read, asked: dict, shares: list[float] | None) -> None:
    assert read.kind == asked["type"] and read.text == seen(asked["question"])
    answers = sorted(asked["answers"], key=lambda answer: answer.get("type") == "default")
    assert len(read.answers) == len(answers)
    for (text, feedback, _), answer in zip(read.answers, answers, strict=True):
        assert text == (seen(answer["answer"]) if "answer" in answer else "")
        assert feedback == seen(answer["feedback"])
    if shares is not None:
        assert [share for _, _, share in read.answers] == pytest.approx(shares, abs=1e-6)


def shares_of(asked: dict) -> list[float]:
    """The share of the mark of each answer: the right ones share it, the wrong ones of many take it away."""
    right = [answer.get("correct") is True for answer in asked["answers"]]
    lost = -1 / right.count(False) if asked["type"] == "many_choice" else 0
    return [1 / right.count(True) if each else lost for each in right]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_what_is_exported_reads_back_as_the_question_and_the_rest_has_a_reason(folder, exported):
    _, left_out, xml, files = exported[folder.name]
    questions = {each["id"]: each for each in json.loads((folder / "quiz.json").read_text(encoding="utf-8"))}
    moodle = lms.read_moodle(xml)
    assert set(moodle) | set(left_out) == set(questions) and not set(moodle) & set(left_out)
    assert len(moodle) >= 10 and all(len(reason) > 10 for reason in left_out.values())
    for name, read in moodle.items():
        asked = questions[name]
        shares = None if asked["type"] == "numeric" else shares_of(asked)
        same(read, asked, shares)
        same(lms.read_qti(files[f"items/q-{name.replace('.', '-')}.xml"]), asked, shares)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_exported_question_needs_the_page_around_it(folder, exported):
    items = exported[folder.name][0]
    page = r"this page|explorer|scroll|\bsection \d|\b(figure|table|text|picture|row) (above|below)|^And "
    for each in items:
        for text in (each.text, *(answer.text for answer in each.answers)):
            assert not re.search(page, plain(text), re.IGNORECASE), f"{each.name}: {text}"
        named = re.findall(r"Figure (\d+\.\d+)", each.text)
        assert bool(named) == bool(each.pictures)
        assert not re.search(r"\bTable \d", each.text), f"{each.name} asks about a table"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_moodle_accepts_the_marks_and_finds_the_pictures(folder, exported):
    root = ET.fromstring(exported[folder.name][2])
    assert root.tag == "quiz" and root[0].get("type") == "category"
    ids = [entry.findtext("idnumber") for entry in root if entry.get("type") != "category"]
    assert len(ids) == len(set(ids))
    accepted = {100, 50, 33.33333, 25, 20, 16.66667, 14.28571, 12.5, 11.11111, 10, 0}
    for entry in root:
        if entry.get("type") == "category":
            assert re.fullmatch(r"\$course\$/top/[^<>]+", entry.findtext("category/text"))
            continue
        assert 0 < len(entry.findtext("name/text")) < 100
        shares = [float(answer.get("fraction")) for answer in entry.findall("answer")]
        assert {abs(share) for share in shares} <= accepted
        if entry.get("type") == "multichoice" and entry.findtext("single") == "false":
            assert sum(share for share in shares if share > 0) == pytest.approx(100, abs=1e-3)
            assert sum(share for share in shares if share < 0) == pytest.approx(-100, abs=1e-3)
        elif entry.get("type") == "multichoice":
            assert sorted(shares)[-2:] == [0, 100]
        else:
            texts = [answer.findtext("text") for answer in entry.findall("answer")]
            assert texts.index("*") == len(texts) - 1 and max(shares) == 100
        wanted = re.findall(r'src="@@PLUGINFILE@@/([^"]+)"', entry.findtext("questiontext/text"))
        files = {file.get("name"): base64.b64decode(file.text) for file in entry.iter("file")}
        assert set(wanted) == set(files)
        assert all(data[:4] == b"<svg" or data[:2] == b"\xff\xd8" for data in files.values())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_package_names_every_file_it_holds_and_its_items_have_the_form_of_the_schema(folder, exported):
    files = exported[folder.name][3]
    manifest = lms.strip(ET.fromstring(files["imsmanifest.xml"]))
    named = {file.get("href") for file in manifest.iter("file")}
    assert named == set(files) - {"imsmanifest.xml"}
    resources = [resource.get("identifier") for resource in manifest.iter("resource")]
    assert len(resources) == len(set(resources))
    assert {need.get("identifierref") for need in manifest.iter("dependency")} == set(resources) - {"test"}
    test = lms.strip(ET.fromstring(files["test.xml"]))
    assert {ref.get("href") for ref in test.iter("assessmentItemRef")} == {
        n for n in named if n[:6] == "items/"
    } - {n for n in named if not n.endswith(".xml")}
    order = ["responseDeclaration", "outcomeDeclaration", "itemBody", "responseProcessing", "modalFeedback"]
    for name in named:
        if not (name.startswith("items/") and name.endswith(".xml")):
            continue
        root = lms.strip(ET.fromstring(files[name]))
        places = [order.index(child.tag) for child in root]
        assert places == sorted(places) and set(places) == set(range(5))
        assert re.fullmatch(r"[A-Za-z_][\w.-]*", root.get("identifier"))
        choices = {choice.get("identifier") for choice in root.iter("simpleChoice")}
        told = [said.get("identifier") for said in root.findall("modalFeedback")]
        assert len(told) == len(set(told)) and (not choices or choices == set(told))
        assert {f"items/{image.get('src')}" for image in root.iter("img")} <= set(files)


def test_a_number_gets_the_verdict_of_the_page(exported):
    """The ends of all bounds, and what lies just beside them, in both formats and on the page."""
    tried = 0
    for folder in FOLDERS:
        questions = json.loads((folder / "quiz.json").read_text(encoding="utf-8"))
        items, _, xml, files = exported[folder.name]
        kept, moodle = {each.name for each in items}, lms.read_moodle(xml)
        for asked in questions:
            if asked["type"] != "numeric" or asked["id"] not in kept:
                continue
            answers = sorted(asked["answers"], key=lambda answer: answer.get("type") == "default")
            root = lms.strip(ET.fromstring(files[f"items/q-{asked['id'].replace('.', '-')}.xml"]))
            limits = [limit for answer in answers if "range" in answer for limit in answer["range"]]
            limits += [answer["value"] for answer in answers if "value" in answer]
            for number in [limit + step for limit in limits for step in (-1e-3, 0, 1e-3)] + [12345.678]:
                place = next(i for i, answer in enumerate(answers) if page_fits(answer, number, asked))
                score, said = lms.mark(root, [number])
                assert said == [qti.letter(place)] and bool(score) == bool(answers[place].get("correct"))
                slack = 1e-9 * max(1, abs(number))
                theirs = next(
                    i
                    for i, ends in enumerate(moodle[asked["id"]].bounds)
                    if ends is None or ends[0] - slack <= number <= ends[1] + slack
                )
                assert theirs == place, f"{asked['id']}: {number}"
                tried += 1
    assert tried > 50


def page_fits(answer: dict, number: float, asked: dict) -> bool:
    """As ``static/quiz.js`` decides it."""
    if "range" in answer:
        return answer["range"][0] <= number <= answer["range"][1]
    if "value" not in answer:
        return True
    if asked.get("precision"):
        return f"{number:.{asked['precision'] - 1}e}" == f"{answer['value']:.{asked['precision'] - 1}e}"
    return abs(number - answer["value"]) <= 1e-9 * max(1, abs(answer["value"]))


def test_bounds_of_a_value_are_as_wide_as_its_digits_say():
    assert bounds({"value": -6}, 4) == pytest.approx((-6.0005, -5.9995))
    assert bounds({"value": 20}, 3) == pytest.approx((19.95, 20.05))
    assert bounds({"value": 0.5}) == pytest.approx((0.5, 0.5), abs=1e-8)
    assert bounds({"type": "default"}) is None


@pytest.mark.parametrize("text", [NASTY, NASTIER])
def test_no_text_is_taken_for_markup_in_either_format(text):
    answers = [
        {"answer": text, "correct": True, "feedback": "Right. " + text, "code": "if a < b & c: ]]>"},
        {"answer": "no " + text, "correct": False, "feedback": text},
    ]
    asked = {"id": "1.wrap.<&]]>", "type": "multiple_choice", "question": text, "answers": answers}
    made = item(asked, note=text, purpose="Why? <&>")
    (read,) = lms.read_moodle(moodle_xml.moodle_xml([made], "A <&> ]]> B")).values()
    files = qti.package([made], 'T <&> ]]> "T"')
    (name,) = (name for name in files if name.startswith("items/"))
    other = lms.read_qti(files[name])
    for got in (read, other):
        shown, elements = got.text
        assert "script" not in elements and shown == plain(text)
        assert "if a < b & c: ]]>" in got.answers[0][0][0]
    if text is NASTY:
        assert read.text == (
            "a < b & c > d \"e\" 'f' ]]> so <script>alert(1)</script> \\(x<y\\) “–” 👍 & x[i]",
            ["em", "code"],
        )


def test_what_xml_cannot_carry_is_refused():
    answers = [{"answer": "a", "correct": True, "feedback": "b\x00"}]
    with pytest.raises(ValueError, match=r"question 1\.q\.1 must be free of control characters"):
        item({"id": "1.q.1", "type": "multiple_choice", "question": "?", "answers": answers})


def test_the_command_writes_both_files_and_says_what_it_left_out(tmp_path, capsys):
    assert main(["quizzes", "--chapter", "5", "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ch05-moodle.xml", "ch05-qti.zip"]
    said = capsys.readouterr().out
    assert "left out, needs the explorer: 5.why.1" in said and "5.hook.1" in said
    first = (tmp_path / "ch05-qti.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "ch05-qti.zip") as made:
        assert made.testzip() is None and made.namelist()[0] == "imsmanifest.xml"
    assert main(["quizzes", "--chapter", "5", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "ch05-qti.zip").read_bytes() == first
    assert main(["quizzes", "--chapter", "77", "--out", str(tmp_path)]) == 2
    assert "no quiz.json of chapter 77" in capsys.readouterr().err


def test_an_export_needs_no_torch():
    code = (
        "import sys, xai_course.classroom.quiz_export; assert 'torch' not in sys.modules, 'torch is loaded'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_example_on_the_page_for_teachers_is_exported(tmp_path, capsys):
    page = (ROOT / "book/teaching/quizzes.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    folder = tmp_path / "my_course" / "02_gradients"
    folder.mkdir(parents=True)
    (folder / "quiz.json").write_text(example, encoding="utf-8")
    assert main(["quizzes", "--from", str(folder.parent), "--out", str(tmp_path / "out")]) == 0
    assert ": 1 question\n" in capsys.readouterr().out and len(list((tmp_path / "out").iterdir())) == 2
