"""A study's server on this machine, with a database of its own, for the tests that talk to one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra `study` is not installed: make test installs it")
pytest.importorskip("uvicorn")

import uvicorn

from xai_course.study.server import SERVED, create_app
from xai_course.study.simulate import Visitor
from xai_course.study.store import Store

PASSWORD = "a-password-for-tests"
CONSENT = {"language": "en", "consent": True}


class Live:
    """A running server: ``address``, its ``store``, and a study to join."""

    def __init__(self, store: Store, protocol: str = "which-class") -> None:
        self.store, self.study = store, store.new_study(protocol, seed=7)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.app = create_app(store, PASSWORD, address=self.address)
        config = uvicorn.Config(self.app, host="127.0.0.1", port=self.port, **SERVED)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def start(self) -> Live:
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive(), "the server did not start"
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)

    def join_address(self, study=None) -> str:
        return f"{self.address}/s/{(study or self.study).code}"

    def visitor(self, study=None) -> Visitor:
        return Visitor(self.join_address(study))


@pytest.fixture
def store(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/study.db")
    yield store
    store.close()


@pytest.fixture
def live(store):
    live = Live(store).start()
    yield live
    live.stop()


# ---- PostgreSQL, started for these tests alone -------------------------------------------------------------
def postgres_programs() -> Path | None:
    """Where Debian's package puts initdb and postgres; or wherever the path finds them."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = shutil.which("initdb")
    return next(
        (p for p in reversed(places) if (p / "initdb").exists()), Path(found).parent if found else None
    )


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """The address of a fresh PostgreSQL server that listens on a socket in a folder of its own."""
    programs = postgres_programs()
    if programs is None:
        missing = "no PostgreSQL: apt-get install postgresql"
        (pytest.fail if os.environ.get("REQUIRE_POSTGRESQL") else pytest.skip)(missing)
    # A socket's path may have about 100 letters, and PostgreSQL refuses to run as root.
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/study-pg-XXXXXX"], text=True).strip())
    prefix: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        prefix = ["runuser", "-u", "postgres", "--"]
    data = folder / "data"
    subprocess.run(
        [*prefix, programs / "initdb", "-D", data, "-U", "study", "-A", "trust", "--no-sync"],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    server = subprocess.Popen(
        [*prefix, programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="],
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("w"),
        cwd=folder,
    )
    try:
        for _ in range(200):
            ready = subprocess.run(
                [programs / "pg_isready", "-h", folder, "-U", "study", "-d", "postgres"], capture_output=True
            )
            if ready.returncode == 0:
                break
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield f"postgresql+psycopg://study@/postgres?host={folder}"
    finally:
        pid = (data / "postmaster.pid").read_text().split()[0]
        subprocess.run([*prefix, "kill", "-INT", pid], check=False)
        server.wait(30)
        shutil.rmtree(folder)
