"""Databases for the tests of the study: a file of SQLite's, and a PostgreSQL server of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra `study` is not installed: make test installs it")
pytest.importorskip("uvicorn")

from tests.study.live import Live
from xai_course.study.store import Store


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


def pytest_terminal_summary(terminalreporter) -> None:
    """Say loudly that PostgreSQL was not tried."""
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if "no PostgreSQL" in str(report.longrepr)
    ]
    if skipped:
        terminalreporter.section("NOT CHECKED: no PostgreSQL on this machine", sep="!", red=True, bold=True)
        terminalreporter.line(
            f"{len(skipped)} checks of the study's database did not run: SQLite alone was tried."
        )
        terminalreporter.line("To run them: apt-get install postgresql   (then: make test)")
