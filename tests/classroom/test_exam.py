"""The final exam: two students differ, each number is right by a second way, no length tells the answer."""

import csv
import json
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from bs4 import BeautifulSoup
from torch import nn

import xai_lib
from tests.classroom import lms
from xai_course.classroom import exam, exam_numbers, moodle_xml, qti
from xai_course.classroom.__main__ import main
from xai_course.classroom.questions import plain
from xai_lib.cams import grad_cam_weights, weighted_map
from xai_lib.faithfulness import aopc
from xai_lib.influence import influence
from xai_lib.manipulation import lie_constant
from xai_lib.similarity import rank_correlation
from xai_lib.surrogates import _lime_weights

ROOT = Path(__file__).resolve().parents[2]
SLOTS = exam.read_pools()
CHOICES = [(slot, question) for slot in SLOTS for question in slot.questions]
SEEDS = [str(seed) for seed in range(12)]


# ---- the numbers, a second way -----------------------------------------------------------------------------
def group_accuracy(share, rest, mean):
    pictures = torch.arange(200_000)
    there = pictures < 2000 * share
    others = (~there).sum().item()
    right = torch.zeros(len(pictures), dtype=torch.bool)
    right[there.sum() : there.sum() + round(others * rest / 100)] = True  # all the others, and none there yet
    missing = round(mean / 100 * len(pictures)) - right.sum().item()
    right[:missing] = True
    return 100 * right[there].double().mean().item()


class TwoPixels(nn.Module):
    """f(x) = a x₁² + b x₁ x₂ of pixels that are stored a quarter as large."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x):
        one, two = 4 * x[:, 0, 0, 0], 4 * x[:, 0, 0, 1]
        score = self.a * one**2 + self.b * one * two
        return torch.stack([score, 0 * score], 1)


def ig_share(a, b, p, q):
    x = torch.tensor([p, q]).double().reshape(1, 1, 1, 2) / 4
    return xai_lib.integrated_gradients(TwoPixels(a, b).eval(), x, 0, baseline=0.0)[0, 0, 0, 0].item()


def grad_cam_cell(A, G):
    maps, slopes = (torch.tensor(each).double().reshape(1, 2, 2, 2) for each in (A, G))
    return weighted_map(grad_cam_weights(maps, slopes), maps)[0, 0, 0].item()


def lime_kernel(d, shown, width):
    sample = torch.arange(d) < shown
    return _lime_weights(sample[None], torch.ones(1, d, dtype=torch.bool), width).item()


class OneWeight(nn.Module):
    """A weight that is every class's logit, so that a label can say which picture is meant."""

    def __init__(self, classes):
        super().__init__()
        self.weight, self.classes = nn.Parameter(torch.zeros(1)), classes

    def forward(self, x):
        return (x * self.weight).expand(-1, self.classes)


def influence_sign(n, H, test, own):
    """Parabolas of one curvature, whose slopes at 0 add up to zero; the last label is the test picture's."""
    model = OneWeight(n + 1).double().eval()
    bottoms = torch.full((n,), own / H / (n - 1)).double()
    bottoms[6] = -own / H

    def loss(z, label):
        train = H / 2 * (z[:, 0] - bottoms[label.clamp(max=n - 1)]) ** 2
        return torch.where(label == n, test * z[:, 0], train)

    ones = torch.ones(n, 1).double()
    return influence(model, (ones, torch.arange(n)), (ones[:1], torch.tensor([n])), loss=loss)[0, 6].item()


class ByCount(nn.Module):
    """A probability that depends on how many of four pixels are black."""

    def __init__(self, scores):
        super().__init__()
        self.scores = torch.tensor(scores).double()

    def forward(self, x):
        p = self.scores[(x[:, 0] == 0).flatten(1).sum(1)]
        return torch.stack([p.log(), (1 - p).log()], 1)


def area(scores):
    x = torch.ones(1, 1, 2, 2).double()
    heat = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]]).double()
    return aopc(ByCount(scores).eval(), x, 0, heat, region=1, steps=3, fill=0.0, repeats=1).value.item()


def rank_of_magnitudes(first, second):
    a, b = (torch.tensor(each).double().abs().reshape(1, 1, 5) for each in (first, second))
    return rank_correlation(a, b).item()


def t1_height(side, weight, value):
    """T1 in a small network of that build: how much higher is each cell of Grad-CAM's map?"""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)]
    honest = nn.Sequential(*layers).double().eval()
    nn.init.constant_(honest[0].weight, 0.3)
    nn.init.constant_(honest[3].weight, 0.5)  # the honest map is positive: the ReLU cuts nothing
    lie = lie_constant(honest, layer="0", value=value, weight=weight, size=side)
    x = torch.rand(1, 3, side, side).double()
    assert torch.allclose(lie(x), honest(x), atol=1e-6)
    rise = xai_lib.grad_cam(lie, x, 0, layer="0") - xai_lib.grad_cam(honest, x, 0, layer="0")
    assert rise.max() - rise.min() < 1e-6
    return rise.mean().item()


def effect_beside_control(n, before, control, after):
    stars = {name: torch.arange(n) < count for name, count in (("b", before), ("c", control), ("a", after))}
    rise = {name: (stars[name].double() - stars["b"].double()).mean() for name in "ac"}
    return 100 * (rise["a"] - rise["c"]).item()


SECOND = {
    "group_accuracy": group_accuracy,
    "ig_share": ig_share,
    "grad_cam_cell": grad_cam_cell,
    "lime_kernel": lime_kernel,
    "influence_sign": influence_sign,
    "aopc": area,
    "rank_of_magnitudes": rank_of_magnitudes,
    "t1_height": t1_height,
    "effect_beside_control": effect_beside_control,
}


@pytest.mark.parametrize("kind", exam_numbers.KINDS)
def test_a_drawn_number_is_right_by_a_second_way(kind):
    texts = set()
    for seed in SEEDS:
        question, given = exam_numbers.draw(kind, seed)
        texts.add(question["question"])
        first = next(
            answer
            for answer in question["answers"]
            if answer.get("type") == "default" or within(SECOND[kind](**given), answer)
        )
        assert first.get("correct") is True, f"{question['question']}: {SECOND[kind](**given)}"
    assert len(texts) >= 10, "the numbers hardly differ"


def within(value: float, answer: dict) -> bool:
    return answer["range"][0] <= value <= answer["range"][1]


@pytest.mark.parametrize("kind", exam_numbers.KINDS)
def test_a_slip_is_never_marked_right_and_each_has_a_feedback_of_its_own(kind):
    for seed in range(200):
        question, _ = exam_numbers.draw(kind, str(seed))
        ends = sorted(answer["range"] for answer in question["answers"] if "range" in answer)
        assert all(a[1] < b[0] for a, b in pairwise(ends))
        said = [answer["feedback"] for answer in question["answers"]]
        assert len(set(said)) == len(said) and 3 <= len(said) <= 5
        assert question["answers"][0]["correct"] is True


def test_the_same_seed_draws_the_same_numbers_everywhere():
    question, given = exam_numbers.draw("aopc", "autumn")
    assert exam_numbers.draw("aopc", "autumn") == (question, given)
    assert given == {"scores": [0.8, 0.2, 0.15, 0.1]}


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"must be one of group_accuracy, .* got 'sudoku'"):
        exam_numbers.draw("sudoku", "1")


# ---- the pools ---------------------------------------------------------------------------------------------
def test_there_are_thirty_questions_of_every_chapter_and_of_the_audit():
    assert len(SLOTS) == 30 and sum(slot.marks for slot in SLOTS) == 39
    parts = {name: [slot for slot in SLOTS if slot.name[0] == name] for name in [*"12345678", "A"]}
    assert all(len(slots) >= 3 for slots in parts.values())
    assert all(any(slot.numbers for slot in slots) for slots in parts.values())
    assert all(len(slot.questions) >= 3 or slot.numbers in exam_numbers.KINDS for slot in SLOTS)
    assert {slot.numbers for slot in SLOTS} - {""} == set(exam_numbers.KINDS)


@pytest.mark.parametrize(
    "slot, question", CHOICES, ids=lambda value: value["id"] if isinstance(value, dict) else ""
)
def test_a_choice_has_one_right_answer_among_four_of_similar_length(slot, question):
    answers = question["answers"]
    assert [answer["correct"] for answer in answers].count(True) == 1 and len(answers) == 4
    lengths = [len(plain(answer["answer"])) for answer in answers]
    assert max(lengths) <= 1.5 * min(lengths)
    said = [answer["feedback"] for answer in answers]
    assert len(set(said)) == 4 and all(len(text) > 15 for text in said)
    assert not re.search(r"all of the above|none of the above|\bnot\b.*\bnot\b", question["question"], re.I)
    assert "\\(" not in json.dumps(question), "a sheet has no scripts that draw equations"


def by_length(question) -> list[tuple[int, bool]]:
    return sorted((len(plain(answer["answer"])), answer["correct"]) for answer in question["answers"])


def test_who_chooses_by_length_does_no_better_than_by_chance():
    scores = [0.0] * 4  # of one who always takes the shortest, the second, the third, the longest
    for _, question in CHOICES:
        lengths = by_length(question)
        right = next(length for length, correct in lengths if correct)
        alike = [place for place, (length, _) in enumerate(lengths) if length == right]
        for place in alike:
            scores[place] += 1 / len(alike)  # equal lengths are guessed among
    assert sum(scores) == pytest.approx(len(CHOICES))
    assert all(0.18 <= score / len(CHOICES) <= 0.32 for score in scores), scores


def test_an_answer_that_stands_out_by_its_length_is_mostly_wrong():
    longest, shortest = [], []
    for _, question in CHOICES:
        lengths = by_length(question)
        if lengths[3][0] >= 1.08 * lengths[2][0]:
            longest.append(lengths[3][1])
        if lengths[1][0] >= 1.08 * lengths[0][0]:
            shortest.append(lengths[0][1])
    for right in (longest, shortest):
        assert right.count(True) <= 0.34 * len(right), "what the eye sees first must not be the answer"
    assert True in longest and True in shortest, "nor may it always be wrong"


def test_no_question_of_the_exam_is_one_of_the_quizzes():
    asked = {
        question["question"].lower()
        for path in ROOT.glob("chapters/*/quiz.json")
        for question in json.loads(path.read_text(encoding="utf-8"))
    }
    texts = [question["question"].lower() for _, question in CHOICES]
    assert len(set(texts)) == len(texts) and not asked & set(texts)


def test_a_pool_that_cannot_be_drawn_from_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no pool of questions"):
        exam.read_pools(tmp_path)
    question = {"id": "x", "type": "multiple_choice", "question": "?", "answers": []}

    def pool(*slots):
        (tmp_path / "own.json").write_text(json.dumps({"title": "Own", "slots": list(slots)}))
        return exam.read_pools(tmp_path)

    with pytest.raises(ValueError, match="slot 1 must have two questions or more, got 1"):
        pool({"slot": "1", "about": "a", "questions": [question]})
    with pytest.raises(ValueError, match="question x must have one right answer, got 0"):
        pool({"slot": "1", "about": "a", "questions": [question, question]})
    with pytest.raises(ValueError, match="a kind of question must be one of"):
        pool({"slot": "1", "about": "a", "numbers": "sudoku"})
    numbers = {"slot": "1", "about": "a", "numbers": "aopc"}
    with pytest.raises(ValueError, match="slot names must differ, got 1 twice"):
        pool(numbers, numbers)
    assert len(pool(numbers)) == 1


# ---- the papers --------------------------------------------------------------------------------------------
CLASS = [f"student {i}" for i in range(1, 41)]


def test_neighbours_share_no_question_and_no_two_papers_are_alike():
    papers = exam.draw_papers(SLOTS, "autumn", CLASS)
    texts = [[item.text for item in paper.items] for paper in papers]
    for one, next_ in pairwise(texts):
        assert not set(one) & set(next_)
    assert len(set(map(tuple, texts))) == 40
    orders = {tuple(answer.correct for answer in paper.items[0].answers) for paper in papers}
    assert len(orders) == 4, "the right answer stands in every place"


def test_a_seed_draws_the_same_exam_and_another_seed_another():
    papers = exam.draw_papers(SLOTS, "autumn", CLASS[:5])
    assert exam.draw_papers(SLOTS, "autumn", [*CLASS[:5], "late"])[:5] == papers
    assert exam.draw_papers(SLOTS, "spring", CLASS[:5]) != papers


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exam")
    names = ["Ada Lovelace", "Émile <b>Zola</b>", "李小龍", "=1+1", "../../etc/passwd"]
    return exam.make_exam("term / 1", names, out=folder), names


def test_a_sheet_asks_everything_and_answers_nothing(made):
    folder, names = made
    sheets = sorted((folder / "sheets").iterdir())
    assert folder.name == "term-1" and len(sheets) == 5
    rows = list(csv.reader((folder / "answers.csv").open(encoding="utf-8", newline="")))
    assert [row[1] for row in rows[1:]] == [*names[:3], "'=1+1", names[4]]
    for path, name, row in zip(sheets, names, rows[1:], strict=True):
        page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        assert len(page.select("section.q")) == 30 and name in page.get_text()
        assert not page.find_all(["script", "link", "iframe", "img"])
        assert not page.find_all(src=True) and not page.find_all(href=True)
        assert "✓" not in page.get_text() and "Right:" not in page.get_text()
        options = page.select("section.q")[0].select("li")
        assert [option["data-letter"] for option in options] == ["A", "B", "C", "D"]
        chosen = next(option for option in options if option["data-letter"] == row[2])
        wanted = [a["answer"] for q in SLOTS[0].questions for a in q["answers"] if a["correct"]]
        assert chosen.get_text() in wanted


def test_the_answers_name_what_is_right_on_every_sheet_and_what_a_wrong_one_betrays(made):
    folder, _ = made
    page = BeautifulSoup((folder / "answers.html").read_text(encoding="utf-8"), "html.parser")
    rows = page.select("table")[0].select("tr")
    keys = list(csv.reader((folder / "answers.csv").open(encoding="utf-8", newline="")))
    assert len(rows) == len(keys) == 6
    for shown, written in zip(rows[1:], keys[1:], strict=True):
        assert [cell.get_text().replace("−", "-") for cell in shown.select("td")] == written[2:]
    assert len(page.select("h3")) == 30 and len(page.select("table.slips")) == 9
    assert not page.find_all("script") and page.find("b", string="Zola") is None


def test_the_pools_for_a_platform_let_it_draw_one_a_slot(made):
    folder, _ = made
    root = ET.fromstring((folder / "moodle.xml").read_text(encoding="utf-8"))
    categories = [entry for entry in root if entry.get("type") == "category"]
    assert len(categories) == 30
    questions = lms.read_moodle((folder / "moodle.xml").read_text(encoding="utf-8"))
    assert len(questions) == len(CHOICES) + 9 * exam.DRAWS
    items = exam.pool_items(SLOTS, "term / 1")
    assert moodle_xml.moodle_xml(items, exam.TITLE).encode() == (folder / "moodle.xml").read_bytes()
    files = qti.package(items, exam.TITLE, draw=True)
    test = lms.strip(ET.fromstring(files["test.xml"]))
    sections = test.findall("testPart/assessmentSection")
    assert len(sections) == 30 and all(section.find("selection").get("select") == "1" for section in sections)
    for item in items:
        root = lms.strip(ET.fromstring(files[f"items/{qti.identifier(item)}.xml"]))
        right = next(i for i, answer in enumerate(item.answers) if answer.correct)
        response = [sum(item.right[0].fits) / 2] if item.kind == "numeric" else [qti.letter(right)]
        assert lms.mark(root, response) == (item.marks, [qti.letter(right)])


@pytest.mark.parametrize(
    "text, names",
    [
        ("name;group\nAda;1\nBob;2\n", ["Ada", "Bob"]),
        ("Ada\nBob\n\n", ["Ada", "Bob"]),
        ("id,mail\n17,a@b\n18,c@d\n", ["17", "18"]),
        ('group\tstudent\n1\t"Lovelace, Ada"\n', ["Lovelace, Ada"]),
    ],
)
def test_lists_of_students_come_in_several_forms(tmp_path, text, names):
    for encoding in ("utf-8", "utf-8-sig", "latin-1"):
        (tmp_path / "list.csv").write_bytes(text.encode(encoding))
        assert exam.read_students(tmp_path / "list.csv") == names
    (tmp_path / "list.csv").write_bytes("Émile\nÉmile\n".encode("latin-1"))
    with pytest.raises(ValueError, match="'Émile' twice"):
        exam.read_students(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_bytes(b"\n")
    with pytest.raises(ValueError, match="a name on each line"):
        exam.read_students(tmp_path / "list.csv")


def test_the_command_makes_an_exam_from_pools_of_ones_own(tmp_path, capsys):
    pools = tmp_path / "pools"
    pools.mkdir()
    slots = [{"slot": "1", "about": "an area", "marks": 2, "numbers": "aopc"}]
    (pools / "own.json").write_text(json.dumps({"title": "Own <&>", "slots": slots}))
    arguments = ["exam", "--seed", "7", "--out", str(tmp_path / "out"), "--pools", str(pools)]
    assert main(arguments) == 0
    assert "sheets/ to print" in capsys.readouterr().out
    (sheet,) = (tmp_path / "out" / "7" / "sheets").iterdir()
    assert "Own &lt;&amp;&gt;" in sheet.read_text(encoding="utf-8")
    assert main([*arguments, "--students", str(tmp_path / "none.csv")]) == 2


# ---- the page for teachers ---------------------------------------------------------------------------------
def test_the_page_for_teachers_says_what_the_pools_hold_and_its_example_can_be_drawn(tmp_path):
    page = (ROOT / "book/teaching/exam.md").read_text(encoding="utf-8")
    assert f"exam of {len(SLOTS)} questions" in page and f"makes {sum(s.marks for s in SLOTS)}." in page
    assert all(f"`{kind}`" in page for kind in exam_numbers.KINDS)
    assert f"learned {len(CHOICES)} questions" in page
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "own.json").write_text(example, encoding="utf-8")
    slots = exam.read_pools(tmp_path)
    assert [slot.numbers for slot in slots] == ["", "ig_share"]
    with pytest.raises(ValueError, match="`seed` must be a text such as autumn-2026, got ''"):
        exam.make_exam("", pools=tmp_path, out=tmp_path / "out")
