"""The server, through real HTTP: nothing lost, nothing doubled, nobody else's data."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.study.live import CONSENT, PASSWORD
from xai_course.study import protocols
from xai_course.study.guard import Door, Refused
from xai_course.study.simulate import Visitor, take_part
from xai_course.study.store import Store


def request(live, method, path, body=None, headers=()):
    """Status, headers and body of one request, sent exactly as given."""
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    raw = json.dumps(body).encode() if isinstance(body, dict | list) else body
    sent = dict(headers)
    if isinstance(body, dict | list):
        sent.setdefault("Content-Type", "application/json")
    connection.request(method, path, raw, sent)
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    return reply.status, {k.lower(): v for k, v in reply.getheaders()}, text


class Teacher:
    """A signed-in teacher."""

    def __init__(self, live):
        self.live = live
        status, headers, _ = request(live, "POST", "/teacher/sign-in", {"password": PASSWORD})
        assert status == 200
        self.cookie = headers["set-cookie"].split(";")[0]
        _, _, home = self.get("/teacher")
        self.csrf = re.search(r'name="csrf" content="([^"]+)"', home.decode())[1]

    def get(self, path):
        return request(self.live, "GET", path, headers={"Cookie": self.cookie})

    def post(self, path, body=None, **headers):
        known = {"Cookie": self.cookie, "X-CSRF": self.csrf}
        return request(self.live, "POST", path, body or {}, known | headers)


def joined(live, study=None, **more):
    visitor = live.visitor(study)
    status, state = visitor.send("join", CONSENT | more)
    assert status == 201
    return visitor, state["plan"]


def sent(trial, option=0, ms=1200):
    return {"trial": trial["id"], "answer": trial["options"][option], "ms": ms}


# ---- participants ------------------------------------------------------------------------------------------
def test_who_joins_again_goes_on_where_they_left_off(live):
    visitor, plan = joined(live)
    for trial in plan[:3]:
        assert visitor.send("answer", sent(trial)) == (
            200,
            {"trial": trial["id"], "answer": trial["options"][0]},
        )
    status, state = visitor.send("join", CONSENT)
    assert status == 200 and state["plan"] == plan
    _, again = visitor.send("me")
    assert again["answers"] == {trial["id"]: trial["options"][0] for trial in plan[:3]}
    assert live.store.counts(live.study.code).people == 1


def test_the_first_answer_counts(live):
    visitor, plan = joined(live)
    assert visitor.send("answer", sent(plan[0], 0))[1]["answer"] == plan[0]["options"][0]
    assert visitor.send("answer", sent(plan[0], 1))[1]["answer"] == plan[0]["options"][0]


def test_nobody_joins_without_consent(live):
    assert live.visitor().send("join", {"language": "en", "consent": False})[0] == 400
    assert live.visitor().send("join", {"language": "en"})[0] == 400
    assert live.store.counts(live.study.code).people == 0


def test_a_closed_study_says_so_and_a_strange_code_is_not_found(live):
    visitor, plan = joined(live)
    live.store.set_open(live.study.code, False)
    assert live.visitor().send("join", CONSENT)[0] == 409
    assert live.visitor().send("me") == (200, {"joined": False, "open": False})
    assert visitor.send("answer", sent(plan[0]))[0] == 200
    assert Visitor(f"{live.address}/s/ZZZZZ").send("join", CONSENT)[0] == 404


def test_who_withdraws_is_gone_and_may_say_so_twice(live):
    visitor, plan = joined(live)
    visitor.send("answer", sent(plan[0]))
    assert visitor.send("withdraw", {"withdraw": True}) == (200, {"withdrawn": True})
    assert live.store.counts(live.study.code).people == 0
    assert visitor.send("withdraw", {"withdraw": True})[0] == 200
    assert visitor.send("answer", sent(plan[1]))[0] == 404
    assert visitor.send("me") == (200, {"joined": False, "open": True})


def test_a_token_reaches_its_own_study_and_its_own_answers_alone(live):
    other = live.store.new_study("trust")
    mine, plan = joined(live)
    theirs, _ = joined(live)
    mine.send("answer", sent(plan[0], 1))
    assert theirs.send("me")[1]["answers"] == {}
    stranger = live.visitor(other)
    stranger.cookie = mine.cookie
    assert stranger.send("me")[1] == {"joined": False, "open": True}
    assert stranger.send("answer", sent(plan[0]))[0] == 404


def test_what_a_browser_is_sent_does_not_tell_the_right_answer(live):
    _, plan = joined(live)
    assert all(("truth" in trial) == (trial["kind"] == "practice") for trial in plan)
    for path in (
        "/picture/which_class.json",
        "/picture/..%2f..%2fstore.py",
        "/picture/../protocols/trust.toml",
    ):
        assert request(live, "GET", path)[0] == 404


def test_the_cookie_is_hidden_from_scripts_and_from_other_sites(live):
    status, headers, _ = request(live, "POST", f"/s/{live.study.code}/join", CONSENT)
    cookie = headers["set-cookie"].lower()
    assert status == 201
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert f"path=/s/{live.study.code}".lower() in cookie


def test_another_site_cannot_answer_in_a_participants_name(live):
    visitor, plan = joined(live)
    path = f"/s/{live.study.code}/answer"
    for hostile in (
        {"Origin": "http://elsewhere.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "null"},
    ):
        assert request(live, "POST", path, sent(plan[0]), {"Cookie": visitor.cookie} | hostile)[0] == 403
    form = {"Cookie": visitor.cookie, "Content-Type": "text/plain"}
    assert request(live, "POST", path, json.dumps(sent(plan[0])).encode(), form)[0] == 415
    assert visitor.send("me")[1]["answers"] == {}


def test_every_response_has_the_headers_of_a_careful_site(live):
    code = live.study.code
    for path in (
        "/",
        f"/s/{code}",
        f"/s/{code}/me",
        "/teacher",
        "/static/tokens.css",
        "/nothing",
        "/s/ZZZZZ",
    ):
        _, headers, _ = request(live, "GET", path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"]
        assert "server" not in headers


@pytest.mark.parametrize("name", [protocol.id for protocol in protocols.all_protocols()])
def test_no_page_names_another_host(live, name):
    study = live.store.new_study(name)
    teacher = Teacher(live)
    pages = [request(live, "GET", path)[2] for path in (f"/s/{study.code}", "/?code=QQ")]
    pages += [
        teacher.get(path)[2]
        for path in ("/teacher", f"/teacher/s/{study.code}", f"/teacher/s/{study.code}/screen")
    ]
    for page in pages:
        text = page.decode().replace(live.store.address, "")  # where the database lies, with slashes
        assert set(re.findall(r"//([\w.:-]+)", text)) <= {f"127.0.0.1:{live.port}"}


def test_paths_do_not_lead_out_of_the_folders(live):
    for path in (
        "/static/../study/store.py",
        "/static/%2e%2e/study/store.py",
        "/static/study/../../store.py",
        "/static/study/..%2f..%2fstore.py",
        "/static/fonts/../../_toc.yml",
        "//etc/passwd",
        "/static//etc/passwd",
        "/picture/%2fetc%2fpasswd",
    ):
        status, _, text = request(live, "GET", path)
        assert status == 404 and b"import" not in text, path


# ---- hostile input -----------------------------------------------------------------------------------------
def garbage(rng: random.Random, plan: list[dict]):
    """A request of nearly the right form, or of none."""
    odd = [
        None,
        True,
        -1,
        0,
        10**400,
        1.5,
        "",
        "t00",
        "\x00",
        "x" * 5000,
        [],
        {},
        "별",
        "'; DROP TABLE answers; --",
    ]
    body = {"trial": rng.choice(plan)["id"], "answer": rng.choice(rng.choice(plan)["options"]), "ms": 5}
    for key in rng.sample(sorted(body), rng.randint(1, 3)):
        if rng.random() < 0.3:
            del body[key]
        else:
            body[key] = rng.choice(odd)
    if rng.random() < 0.2:
        body[str(rng.choice(odd))[:20]] = 1
    raw = json.dumps(body).encode()
    kind = rng.random()
    if kind < 0.2:
        raw = raw[: rng.randrange(len(raw))]
    elif kind < 0.3:
        raw = rng.randbytes(rng.randrange(200))
    elif kind < 0.35:
        raw = b"[" * 3000
    elif kind < 0.4:
        raw = b'{"trial": "' + b"x" * 20000 + b'"}'
    return raw


def test_five_hundred_malformed_requests_break_nothing(live):
    rng = random.Random(5)
    bystander, their_plan = joined(live)
    bystander.send("answer", sent(their_plan[0]))
    secret = bystander.cookie.split("=")[1]
    visitor, plan = joined(live)
    paths = ["join", "answer", "withdraw", "me", "nothing"]
    seen = Counter()
    for turn in range(500):
        target = rng.choice(["/s/{}/{}", "/teacher/{1}", "/teacher/s/{0}/{1}", "/{1}"]).format(
            rng.choice([live.study.code, "ZZZZZ", "%00", "a" * 300, "..%2f.."]), rng.choice(paths)
        )
        method = rng.choice(["GET", "POST", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
        cookie = rng.choice([visitor.cookie, "", "participant=" + "A" * 32, "participant=;;=", "teacher=x"])
        headers = {"Cookie": cookie, "Content-Type": rng.choice(["application/json", "text/plain", "x"])}
        status, _, text = request(live, method, target, garbage(rng, plan), headers)
        seen[status] += 1
        assert status < 500, (method, target, text)
        assert secret.encode() not in text
        if turn % 100 == 0:
            assert request(live, "GET", f"/s/{live.study.code}")[0] == 200
    assert {400, 404, 405, 415} <= set(seen), seen  # the requests did get as far as the checks
    assert bystander.send("me")[1]["answers"] == {their_plan[0]["id"]: their_plan[0]["options"][0]}


def test_every_malformed_answer_is_refused_by_name(live):
    visitor, plan = joined(live)
    good = sent(plan[0])
    for change, message in [
        ({"trial": 3}, "trial must be a str"),
        ({"ms": "5"}, "ms must be a int"),
        ({"ms": True}, "ms must be a int"),
        ({"answer": "pentagon"}, "answer must be one of"),
        ({"trial": "t99"}, "trial must be one of your own plan"),
        ({"more": 1}, "the body must have the fields"),
        ({"answer": "x" * 201}, "answer must be a short text"),
    ]:
        status, reply = visitor.send("answer", good | change)
        assert status == 400 and message in reply["error"]
    assert visitor.send("me")[1]["answers"] == {}


# ---- the teacher -------------------------------------------------------------------------------------------
def test_nothing_of_the_teachers_opens_without_the_password(live):
    code = live.study.code
    for path in (f"/teacher/s/{code}/{what}" for what in ("events", "export.json", "export.csv", "qr.svg")):
        assert request(live, "GET", path)[0] == 401
    for path in (f"/teacher/s/{code}", f"/teacher/s/{code}/screen"):
        assert request(live, "GET", path)[0] == 303
    for path in ("studies", "delete-everything", "sign-out", f"s/{code}/close", f"s/{code}/remove"):
        assert request(live, "POST", f"/teacher/{path}", {})[0] == 401
    assert live.store.study(code).open


def test_a_teachers_action_needs_the_pages_own_word(live):
    teacher, code = Teacher(live), live.study.code
    for headers in (
        {"X-CSRF": ""},
        {"X-CSRF": "guess"},
        {"X-CSRF": "é"},
        {"Origin": "http://elsewhere.example"},
    ):
        assert teacher.post(f"/teacher/s/{code}/delete", **headers)[0] == 403
    assert live.store.study(code).open
    assert teacher.post(f"/teacher/s/{code}/close")[0] == 200
    assert not live.store.study(code).open


def test_wrong_passwords_are_slowed_down():
    now = 0.0
    door = Door("right", clock=lambda: now)
    for _ in range(5):
        with pytest.raises(Refused) as refused:
            door.sign_in("wrong")
        assert refused.value.status == 401
    with pytest.raises(Refused) as refused:
        door.sign_in("right")  # not even heard
    assert refused.value.status == 429 and int(refused.value.headers["retry-after"]) == 5
    waits = []
    for _ in range(8):
        now = door.wrong.until
        with pytest.raises(Refused):
            door.sign_in("wrong")
        waits.append(door.wrong.until - now)
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    now = door.wrong.until
    assert door.sign_in("right")
    with pytest.raises(Refused) as refused:
        door.sign_in("wrong\udcff")  # no password at all, and no crash either
    assert refused.value.status == 401


def test_a_session_ends_after_a_day_of_teaching_and_when_signed_out(live):
    teacher = Teacher(live)
    assert teacher.post("/teacher/sign-out")[0] == 200
    assert teacher.get(f"/teacher/s/{live.study.code}/export.json")[0] == 401
    teacher, door = Teacher(live), live.app.state.door
    door.clock = lambda: time.monotonic() + Door.STAYS + 1
    assert teacher.get(f"/teacher/s/{live.study.code}/export.json")[0] == 401


def test_a_teacher_begins_closes_exports_and_deletes(live):
    teacher = Teacher(live)
    status, _, text = teacher.post("/teacher/studies", {"protocol": "trust"})
    code = json.loads(text)["code"]
    assert status == 201 and live.store.study(code).protocol.id == "trust"
    visitor, plan = joined(live, live.store.study(code))
    for trial in plan:
        visitor.send("answer", sent(trial))
    status, headers, text = teacher.get(f"/teacher/s/{code}/export.json")
    export = json.loads(text)
    assert status == 200 and f"trust-{code}.json" in headers["content-disposition"]
    assert len(export["answers"]) == len(plan)
    lines = teacher.get(f"/teacher/s/{code}/export.csv")[2].decode().splitlines()
    assert len(lines) == 1 + len(plan) and lines[0].startswith("participant,simulated,")
    assert teacher.get(f"/teacher/s/{code}/export.xml")[0] == 404
    label = export["participants"][0]["id"]
    assert teacher.post(f"/teacher/s/{code}/remove", {"label": label})[0] == 200
    assert teacher.post(f"/teacher/s/{code}/remove", {"label": label})[0] == 404
    assert teacher.post(f"/teacher/s/{code}/burn")[0] == 404
    assert teacher.post("/teacher/studies", {"protocol": "../x"})[0] == 400
    assert teacher.post(f"/teacher/s/{code}/delete")[0] == 200
    assert teacher.get(f"/teacher/s/{code}/export.json")[0] == 404
    assert teacher.post("/teacher/delete-everything", {"everything": True})[0] == 200
    assert live.store.studies() == []


def news(live, teacher, code, until):
    """The news of a study, until one satisfies ``until``."""
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    connection.request("GET", f"/teacher/s/{code}/events", headers={"Cookie": teacher.cookie})
    reply = connection.getresponse()
    assert reply.getheader("content-type").startswith("text/event-stream")
    try:
        while True:
            line = reply.readline().decode().strip()
            if line.startswith("data: "):
                found = json.loads(line[6:])
                if until(found):
                    return found
    finally:
        connection.close()


def test_the_teacher_hears_of_answers_as_they_come_in(live):
    teacher, code = Teacher(live), live.study.code
    assert news(live, teacher, code, lambda found: True)["people"] == 0
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(news, live, teacher, code, lambda found: found["finished"] == 2)
        take_part(live.join_address(), 2)
        found = heard.result(20)
    assert found["simulated"] == found["people"] == 2
    assert found["answers"] == 2 * 20
    assert sum(condition["answers"] for condition in found["conditions"]) == 2 * 16
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(news, live, teacher, code, lambda found: found is None)
        time.sleep(0.3)
        teacher.post(f"/teacher/s/{code}/delete")
        assert heard.result(20) is None


def test_the_qr_code_is_drawn_here(live):
    status, headers, text = Teacher(live).get(f"/teacher/s/{live.study.code}/qr.svg")
    assert status == 200 and headers["content-type"].startswith("image/svg+xml") and b"<path" in text


# ---- a class at once, a bad network, a crash ---------------------------------------------------------------
def rater(address: str, seed: int, repeat) -> tuple[str, dict[str, str]]:
    """Everything that one simulated rater was told is kept: its cookie, and trial by trial."""
    rng = random.Random(seed)
    visitor = Visitor(address, repeat)
    state = visitor.send("join", CONSENT | {"simulated": True})[1]
    kept = {}
    for trial in state["plan"]:
        body = {"trial": trial["id"], "answer": rng.choice(trial["options"]), "ms": rng.randrange(500, 5000)}
        status, reply = visitor.send("answer", body)
        assert status == 200
        kept[reply["trial"]] = reply["answer"]
    visitor.close()
    return visitor.cookie.split("=")[1], kept


def class_of(live_store, study, address, raters, repeat):
    with ThreadPoolExecutor(raters) as pool:
        return list(pool.map(lambda seed: rater(address, seed, repeat(seed)), range(raters)))


def assert_all_kept(store, study, told):
    """0 lost, 0 doubled: what the database holds is what the raters were told, answer by answer."""
    assert len({token for token, _ in told}) == len(told)
    for token, kept in told:
        assert store.participant(study.code, token).answers == kept
    counts = store.counts(study.code)
    assert counts.people == counts.finished == counts.simulated == len(told)
    assert counts.answers == sum(len(kept) for _, kept in told)


def test_a_hundred_simulated_raters_at_once_lose_and_double_nothing(live):
    told = class_of(live.store, live.study, live.join_address(), 100, lambda seed: lambda: 1)
    assert_all_kept(live.store, live.study, told)
    by_item = Counter(
        (answer["item"], answer["condition"])
        for answer in live.store.export(live.study.code)["answers"]
        if answer["kind"] == "main"
    )
    assert set(by_item.values()) == {25}  # the design stays balanced, whoever was first


def test_dropped_and_repeated_requests_lose_and_double_nothing(live):
    """One request of a hundred is lost on the way, one is sent twice, as networks do; joining excepted."""

    def unreliable(seed):
        rng, first = random.Random(seed), iter([True])
        return lambda: 1 if next(first, False) else rng.choices([0, 1, 2], [1, 98, 1])[0]

    told = class_of(live.store, live.study, live.join_address(), 40, unreliable)
    assert_all_kept(live.store, live.study, told)


SERVE = [sys.executable, "-m", "xai_course.study", "serve"]


def started(port, database):
    environment = os.environ | {"STUDY_DATABASE": database, "STUDY_PASSWORD": PASSWORD}
    server = subprocess.Popen(
        [*SERVE, "--port", str(port)], env=environment, stdout=subprocess.PIPE, text=True
    )
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        assert server.poll() is None, server.stdout.read()
        time.sleep(0.1)
    raise AssertionError("the server did not start")


def test_after_a_crash_everything_acknowledged_is_there_and_raters_go_on(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    database = f"sqlite:///{tmp_path}/study.db"
    server = started(port, database)
    store = Store(database)
    (study,) = store.studies()
    raters = 12
    with ThreadPoolExecutor(raters) as pool:
        going = [
            pool.submit(rater, f"http://127.0.0.1:{port}/s/{study.code}", seed, lambda: 1)
            for seed in range(raters)
        ]
        while store.counts(study.code).answers < 60:
            time.sleep(0.01)
        server.send_signal(signal.SIGKILL)
        server.wait()
        before = store.export(study.code)["answers"]
        assert 60 <= len(before) < 20 * raters  # it was in the middle
        server.stdout.close()
        server = started(port, database)
        told = [one.result(60) for one in going]
    after = store.export(study.code)["answers"]
    assert all(answer in after for answer in before)
    for token, kept in told:
        assert store.participant(study.code, token).answers == kept
    assert [one.code for one in store.studies()] == [study.code]  # the same study is open again
    server.send_signal(signal.SIGINT)
    text = server.communicate(timeout=20)[0]
    assert server.returncode == 0
    assert f"http://127.0.0.1:{port}/s/{study.code}" in text and "▄" in text  # the address, and the QR code
    assert "Only this machine can reach it" in text and PASSWORD in text
    store.close()


def test_the_start_says_what_plain_http_on_a_network_means():
    from xai_course.study.__main__ import notice, reached_at

    assert "plain HTTP" in notice("0.0.0.0") and "password" in notice("0.0.0.0")
    assert "Only this machine" in notice("127.0.0.1")
    assert reached_at("127.0.0.1") == "127.0.0.1" and reached_at("::1") == "[::1]"
    assert re.fullmatch(r"[\d.]+", reached_at("0.0.0.0"))


def test_simulated_raters_take_part_and_are_counted_as_such(live, capsys):
    from xai_course.study.__main__ import main

    assert main(["simulate", live.join_address(), "--raters", "3"]) == 0
    assert capsys.readouterr().out.startswith("3 simulated raters, 63 requests answered: median ")
    assert live.store.counts(live.study.code).simulated == 3
