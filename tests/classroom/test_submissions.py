"""Reading what students hand in: platforms' zips, odd names, odd notebooks; one never stops the others."""

import json
import zipfile
from pathlib import Path

import nbformat
import pytest

from xai_course import classroom
from xai_course.classroom.submissions import LARGEST, collect

ROOT = Path(__file__).resolve().parents[2]
ANSWER = "def my_gradient(model, x, target):\n    return x  # mine"


@pytest.fixture(scope="module")
def edition():
    return classroom.edition(classroom.read(ROOT / "chapters/02_gradients/exercises.ipynb"))


@pytest.fixture
def answered(edition):
    """What a student saves: exercise 2.1 answered, everything else as it was handed out."""
    notebook = nbformat.from_dict(json.loads(nbformat.writes(edition)))
    cell_of(notebook, "2-1-exercise").source = ANSWER
    return notebook


def cell_of(notebook, name):
    return next(cell for cell in notebook.cells if cell.id == name)


def raw(notebook):
    return json.dumps(notebook).encode()


def archive(path, files):
    with zipfile.ZipFile(path, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def one(tmp_path, edition, content, name="ada.ipynb"):
    """The only student of a folder that holds one file."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(content)
    (found,) = collect(folder, edition)
    return found


# ---- where files come from ---------------------------------------------------------------------------------
def test_moodles_zip(tmp_path, edition, answered):
    path = archive(
        tmp_path / "moodle.zip",
        {
            "Ada Lovelace_4711_assignsubmission_file_/exercises.ipynb": raw(answered),
            "Émilie du Châtelet_12_assignsubmission_file/exercises (1).ipynb": raw(answered),
            "Ada Lovelace_4711_assignsubmission_onlinetext_/onlinetext.html": "I tried.",
        },
    )
    ada, emilie = collect(path, edition)
    assert (ada.student, ada.file) == ("Ada Lovelace_4711", "exercises.ipynb")
    assert (emilie.student, emilie.file) == ("Émilie du Châtelet_12", "exercises (1).ipynb")
    assert ANSWER in ada.code and ANSWER in emilie.code
    assert ada.flags == ["onlinetext.html is no notebook and was not read"] and emilie.flags == []


def test_canvas_zip(tmp_path, edition, answered):
    names = ["lovelaceada_815_90210_exercises.ipynb", "noetheremmy_LATE_816_90211_exercises-2.ipynb"]
    found = collect(archive(tmp_path / "canvas.zip", {name: raw(answered) for name in names}), edition)
    assert [(one.student, one.file) for one in found] == [
        ("lovelaceada_815", "exercises.ipynb"),
        ("noetheremmy_816", "exercises-2.ipynb"),
    ]


def test_a_folder_of_notebooks_and_of_folders(tmp_path, edition, answered):
    (tmp_path / "emmy").mkdir()
    (tmp_path / "emmy/exercises.ipynb").write_bytes(raw(answered))
    (tmp_path / "ada (1).ipynb").write_bytes(raw(answered))
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    assert [one.student for one in collect(tmp_path, edition)] == ["ada", "emmy"]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_names_in_a_code_page_that_is_not_declared(tmp_path, edition, answered, encoding):
    name = "Zoë_3_assignsubmission_file_/exercises.ipynb"
    raw_name = name.encode(encoding)
    held = archive(tmp_path / "moodle.zip", {"X" * len(raw_name): raw(answered)}).read_bytes()
    (tmp_path / "moodle.zip").write_bytes(held.replace(b"X" * len(raw_name), raw_name))
    (found,) = collect(tmp_path / "moodle.zip", edition)
    assert found.student == "Zoë_3" and ANSWER in found.code


def test_a_zip_in_the_zip_and_a_name_that_climbs(tmp_path, edition, answered):
    inner = archive(tmp_path / "inner.zip", {"../../evil/exercises.ipynb": raw(answered)}).read_bytes()
    files = {"Ada_1_assignsubmission_file_/mine.zip": inner, "Bo_2_assignsubmission_file_/mine.zip": b"PK no"}
    before = sorted(tmp_path.parent.rglob("evil"))
    ada, bo = collect(archive(tmp_path / "moodle.zip", files), edition)
    assert ANSWER in ada.code and any("handed in as the zip" in flag for flag in ada.flags)
    assert any("broken zip" in flag for flag in bo.flags) and bo.code == []
    assert sorted(tmp_path.parent.rglob("evil")) == before


def test_a_bomb_is_not_unpacked(tmp_path, edition, answered):
    path = tmp_path / "moodle.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("Bo_2_assignsubmission_file_/exercises.ipynb", b"0" * (LARGEST + 1))
        made.writestr("Ada_1_assignsubmission_file_/exercises.ipynb", raw(answered))
    ada, bo = collect(path, edition)
    assert ANSWER in ada.code
    assert "larger than 20 MB" in bo.flags[0] and bo.code == []


def test_what_is_no_submission_says_so(tmp_path, edition):
    with pytest.raises(FileNotFoundError, match=r"there is no .*moodle\.zip"):
        collect(tmp_path / "moodle.zip", edition)
    (tmp_path / "marks.csv").write_text("ada,1")
    with pytest.raises(ValueError, match=r"marks\.csv is no zip"):
        collect(tmp_path / "marks.csv", edition)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="nothing was handed in"):
        collect(tmp_path / "empty", edition)


# ---- what a notebook may look like -------------------------------------------------------------------------
def test_only_the_students_own_code_is_kept(tmp_path, edition, answered):
    answered.cells.append(nbformat.v4.new_code_cell("helper = 3"))
    found = one(tmp_path, edition, raw(answered))
    stubs = [
        cell.source for cell in edition.cells if cell.id.endswith("-exercise") and cell.id != "2-1-exercise"
    ]
    assert found.code == [ANSWER, *stubs, "helper = 3"] and found.flags == []


def test_stripped_of_every_mark(tmp_path, edition, answered):
    for number, cell in enumerate(answered.cells):
        cell.metadata = nbformat.from_dict({})
        cell.id = f"x{number}"
    whole = one(tmp_path, edition, raw(answered))
    assert len(whole.code) == sum(cell.id.endswith("-exercise") for cell in edition.cells)
    assert whole.code[0] == ANSWER
    assert any("lost their identifiers" in flag for flag in whole.flags)


def test_cells_copied_deleted_and_put_in_another_order(tmp_path, edition, answered):
    answered.cells.reverse()
    answered.cells = [cell for cell in answered.cells if cell.id != "2-1-check"]
    answered.cells.append(nbformat.from_dict(dict(cell_of(answered, "2-1-exercise"))))
    found = one(tmp_path, edition, raw(answered))
    assert found.code.count(ANSWER) == 2
    assert "cell 2-1-exercise is there twice" in found.flags


def test_a_patched_check_or_set_up_is_not_the_students_to_give(tmp_path, edition, answered):
    cell_of(answered, "2-1-check").source = 'print("2.1 · passed")'
    cell_of(answered, "page-setup").source = "import xai_lib\ncheck = lambda *a: True"
    found = one(tmp_path, edition, raw(answered))
    assert not any("passed" in source or "lambda *a" in source for source in found.code)
    assert len([flag for flag in found.flags if "which is the course's, was changed" in flag]) == 2


def test_an_answer_written_into_the_check_cell_is_the_students(tmp_path, edition, answered):
    cell_of(answered, "2-1-exercise").source = ""
    cell_of(answered, "2-1-check").source = ANSWER + '\n\n\ncheck("2.1", my_gradient)'
    assert one(tmp_path, edition, raw(answered)).code[0].startswith(ANSWER)


@pytest.mark.parametrize(
    "content, says",
    [
        (b'{"cells": [{"cell_type": "co', "it is not JSON: an upload that broke off?"),
        (b"[1, 2]", "it is JSON, but no notebook"),
        (b'{"cells": 3}', "it is JSON, but no notebook"),
        (b'{"cells": [3, {"cell_type": "code", "source": 7}]}', "a cell that cannot be read was left out"),
        (b'{"cells": [{"cell_type": "code", "source": "twice = 2"}]}', "has no exercise of this chapter"),
        (b"[" * 100_000, "it is not JSON"),
        (b"", "it is not JSON"),
    ],
)
def test_what_cannot_be_read_is_flagged(tmp_path, edition, content, says):
    found = one(tmp_path, edition, content)
    assert any(says in flag for flag in found.flags), found.flags
    assert found.code == (["twice = 2"] if b"twice" in content else [])


def test_latin_1_a_byte_order_mark_and_a_notebook_of_2014(tmp_path, edition, answered):
    cell_of(answered, "2-1-exercise").source = ANSWER + "  # für mich"
    text = json.dumps(answered, ensure_ascii=False)
    for number, content in enumerate([text.encode("latin-1", "replace"), b"\xef\xbb\xbf" + text.encode()]):
        place = tmp_path / str(number)
        place.mkdir()
        found = one(place, edition, content)
        assert found.code[0] == ANSWER + "  # für mich"
        assert any("Latin-1" in flag for flag in found.flags) == (number == 0)
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": ANSWER.splitlines(keepends=True)}]}]}
    (tmp_path / "old").mkdir()
    assert one(tmp_path / "old", edition, json.dumps(old).encode()).code == [ANSWER]


def test_of_several_notebooks_the_one_with_most_of_the_chapter(tmp_path, edition, answered):
    other = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("scratch = 1")])
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada/exercises.ipynb").write_bytes(raw(answered))
    (tmp_path / "ada/scratch.ipynb").write_bytes(raw(other))
    (found,) = collect(tmp_path, edition)
    assert found.file == "exercises.ipynb" and "2 notebooks were handed in" in found.flags
