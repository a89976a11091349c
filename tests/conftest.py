"""Fixtures for all tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=DEVICES)
def device(request):
    """Every device of this machine; on a GPU with full float32 precision, so that results can be compared."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield torch.device(request.param)


ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def book_html() -> Path:
    """The built book: the folder that BOOK_HTML names, or a strict build made now, once."""
    if os.environ.get("BOOK_HTML"):
        html = Path(os.environ["BOOK_HTML"])
    else:
        command = [Path(sys.executable).with_name("jupyter-book"), "build", "-W", "--keep-going", ROOT]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, f"the strict build failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        html = ROOT / "_build" / "html"
    assert (html / "index.html").exists(), f"no book in {html}"
    return html


def pytest_terminal_summary(terminalreporter) -> None:
    """Say loudly which checks did not run for want of a browser or of a box."""
    skips = terminalreporter.stats.get("skipped", [])
    unboxed = [report for report in skips if "tests/classroom" in report.nodeid]
    if unboxed:
        terminalreporter.section("NOT CHECKED: no box for students' code", sep="!", red=True, bold=True)
        terminalreporter.line(
            f"{len(unboxed)} checks did not run. Nothing has verified that cheats are contained."
        )
        terminalreporter.line("To run them: apt-get install bubblewrap   (then: make test)")
    skipped = [report for report in skips if "tests/browser" in report.nodeid]
    if CHROMIUM or not skipped:
        return
    terminalreporter.section("NOT CHECKED: no Chromium on this machine", sep="!", red=True, bold=True)
    terminalreporter.line(f"{len(skipped)} browser checks did not run. Nothing has verified that:")
    terminalreporter.line(
        "  - pages load with no network, equations are typeset, no page is wider than a phone;"
    )
    terminalreporter.line(
        "  - quizzes, explorers, solutions, search and dark mode work, also from the keyboard;"
    )
    terminalreporter.line("  - pages are accessible (axe-core).")
    terminalreporter.line("To run them: apt-get install chromium   (then: make test)")
