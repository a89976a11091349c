"""What is acknowledged is kept, once; what is withdrawn is gone. On SQLite, and on a real PostgreSQL."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from xai_course.study.analysis import analyse
from xai_course.study.design import plan
from xai_course.study.store import Closed, Gone, Store


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    if request.param == "sqlite":
        store = Store(f"sqlite:///{tmp_path}/deep/study.db")
    else:
        store = Store(request.getfixturevalue("postgresql"))
        store.delete_everything()
    yield store
    store.close()


def answer_all(store, code, token, option=0):
    for trial in store.participant(code, token).plan:
        store.answer(code, token, trial["id"], trial["options"][option % len(trial["options"])], 900)


def test_a_study_is_found_by_its_code_in_small_letters_too(store):
    study = store.new_study("trust", seed=3)
    assert store.study(study.code.lower()) == study == store.studies()[0]
    assert study.open and not study.shown and study.seed == 3
    with pytest.raises(Gone):
        store.study("AAAAA")
    with pytest.raises(ValueError, match="name must be one of"):
        store.new_study("nothing")


def test_participants_get_the_plans_of_their_numbers(store):
    study = store.new_study("which-class", seed=3)
    for number in range(5):
        token = store.join(study.code, "ko")
        assert store.participant(study.code, token).plan == plan(study.protocol, number, 3)
        assert store.participant(study.code, token).language == "ko"
    assert store.study(study.code).joined == 5


def test_many_who_join_at_once_get_each_a_number_of_their_own(store):
    study = store.new_study("which-class", seed=3)
    with ThreadPoolExecutor(16) as pool:
        tokens = list(pool.map(lambda _: store.join(study.code, "en"), range(40)))
    plans = [store.participant(study.code, token).plan for token in tokens]
    assert sorted(map(str, plans)) == sorted(str(plan(study.protocol, number, 3)) for number in range(40))
    assert len(set(tokens)) == 40


def test_an_answer_sent_again_changes_nothing(store):
    study = store.new_study("which-class")
    token = store.join(study.code, "en")
    trial = store.participant(study.code, token).plan[0]
    first, second = trial["options"]
    assert store.answer(study.code, token, trial["id"], first, 500) == first
    assert store.answer(study.code, token, trial["id"], first, 700) == first
    assert store.answer(study.code, token, trial["id"], second, 900) == first
    assert store.counts(study.code).answers == 1
    assert [a["ms"] for a in store.export(study.code)["answers"]] == [500]


def test_the_same_answer_from_many_threads_is_one(store):
    study = store.new_study("which-class")
    token = store.join(study.code, "en")
    trial = store.participant(study.code, token).plan[0]
    gate = threading.Barrier(12)

    def send(turn):
        gate.wait()
        return store.answer(study.code, token, trial["id"], trial["options"][turn % 2], turn)

    with ThreadPoolExecutor(12) as pool:
        kept = set(pool.map(send, range(12)))
    assert len(kept) == 1
    assert [a["answer"] for a in store.export(study.code)["answers"]] == list(kept)


def test_what_is_no_answer_of_this_plan_is_refused(store):
    study = store.new_study("which-class")
    token = store.join(study.code, "en")
    trial = store.participant(study.code, token).plan[0]
    with pytest.raises(ValueError, match="trial must be one of your own plan"):
        store.answer(study.code, token, "t99", trial["options"][0], 1)
    with pytest.raises(ValueError, match="answer must be one of"):
        store.answer(study.code, token, trial["id"], "pentagon", 1)
    for wrong in ("", "x" * 32, token[:-1]):
        with pytest.raises(Gone):
            store.answer(study.code, wrong, trial["id"], trial["options"][0], 1)
    other = store.new_study("which-class")
    with pytest.raises(Gone):  # a token is good for its own study alone
        store.answer(other.code, token, trial["id"], trial["options"][0], 1)
    assert store.counts(study.code).answers == 0


def test_times_are_kept_within_reason(store):
    study = store.new_study("which-class")
    token = store.join(study.code, "en")
    for trial, ms in zip(store.participant(study.code, token).plan, (-5, 10**15), strict=False):
        store.answer(study.code, token, trial["id"], trial["options"][0], ms, away=True)
    given = store.export(study.code)["answers"]
    assert [one["ms"] for one in given] == [0, 3_600_000] and all(one["away"] for one in given)


def test_a_closed_study_takes_nobody_new_and_lets_those_inside_finish(store):
    study = store.new_study("trust")
    token = store.join(study.code, "en")
    store.set_open(study.code, False)
    with pytest.raises(Closed):
        store.join(study.code, "en")
    answer_all(store, study.code, token)
    assert store.counts(study.code).finished == 1
    store.set_open(study.code, True)
    store.join(study.code, "en")
    with pytest.raises(Gone):
        store.join("ZZZZZ", "en")
    with pytest.raises(Gone):
        store.set_open("ZZZZZ", True)
    with pytest.raises(ValueError, match="language must be one of"):
        store.join(study.code, "tlh")


def test_who_withdraws_leaves_nothing_behind(store):
    study = store.new_study("which-class")
    stays, leaves = store.join(study.code, "en"), store.join(study.code, "en")
    for token in (stays, leaves):
        answer_all(store, study.code, token)
    trial = store.participant(study.code, leaves).plan[0]
    store.withdraw(study.code, leaves)
    with pytest.raises(Gone):
        store.answer(study.code, leaves, trial["id"], trial["options"][0], 1)
    with pytest.raises(Gone):
        store.withdraw(study.code, leaves)
    assert store.counts(study.code).people == 1 == len(store.export(study.code)["participants"])
    with store.engine.connect() as connection:
        left = connection.execute(text("SELECT count(*) FROM answers")).scalar()
    assert left == len(store.participant(study.code, stays).plan)


def test_a_teacher_deletes_one_participant_a_study_or_everything(store):
    one, two = store.new_study("which-class"), store.new_study("trust")
    for study in (one, two):
        for _ in range(2):
            answer_all(store, study.code, store.join(study.code, "en"))
    label = store.export(one.code)["participants"][0]["id"]
    store.delete_participant(one.code, label)
    assert store.counts(one.code).people == 1
    with pytest.raises(Gone):
        store.delete_participant(one.code, label)
    store.delete_study(one.code)
    assert [study.code for study in store.studies()] == [two.code]
    store.delete_everything()
    with store.engine.connect() as connection:
        for table in ("studies", "participants", "answers"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0


def test_an_export_tells_what_was_answered_and_not_by_whom(store):
    study = store.new_study("which-class")
    tokens = [store.join(study.code, "en", simulated=number == 2) for number in range(3)]
    for token in tokens[1:]:
        answer_all(store, study.code, token)
    export = store.export(study.code)
    assert export["simulated"] == 1
    assert sorted(one["finished"] for one in export["participants"]) == [False, True, True]
    assert not [token for token in tokens if token in str(export)]
    assert set(export["participants"][0]) == {"id", "language", "finished", "simulated"}
    scores = {
        (a["answer"] == a["truth"]) == bool(a["score"]) for a in export["answers"] if a["kind"] == "main"
    }
    assert scores == {True}
    found = analyse(export, keep_all=True)
    assert found.joined == 3 and found.finished == 2 and sum(c.answers for c in found.conditions) == 32


def test_a_token_stands_nowhere_in_the_database(store):
    study = store.new_study("which-class")
    token = store.join(study.code, "en")
    with store.engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM participants")).all()
    assert len(rows) == 1 and token not in str(rows)


def test_a_rating_is_signed_towards_the_network_that_looks_at_the_shape(store):
    study = store.new_study("trust", seed=1)
    token = store.join(study.code, "en")
    answer_all(store, study.code, token, option=4)  # always "B, clearly"
    for answer in store.export(study.code)["answers"]:
        if answer["kind"] == "main":
            assert answer["score"] == (2 if answer["truth"] == "b" else -2)


def test_the_databases_file_is_its_owners_alone(tmp_path):
    Store(f"sqlite:///{tmp_path}/study.db").close()
    assert stat.S_IMODE((tmp_path / "study.db").stat().st_mode) == 0o600


def test_another_kind_of_database_is_refused_without_telling_its_password():
    with pytest.raises(ValueError, match="address must begin with sqlite") as error:
        Store("mysql://me:secret@host/x")
    assert "secret" not in str(error.value)
