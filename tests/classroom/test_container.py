"""The box of machines without bubblewrap: its command, and the wire through a process's input and output.

No container engine is needed, and none is tried: a command that stands in for `docker` runs the same process
without a container. That the container holds is the engine's business, and is shown nowhere here.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from xai_course.classroom import _box, _container
from xai_course.classroom.judge import judge_answers

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
  image) {inspect} ;;
  kill) exit 0 ;;
  run) exec {python} -c "import sys; sys.path[:0] = {path}; sys.argv = ['worker', '-']
import runpy; runpy.run_module('xai_course.classroom._worker', run_name='__main__', alter_sys=True)" ;;
esac
"""


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A command `docker` that runs without a container; what it was called with."""

    def stands_in(inspect="exit 0"):
        script = tmp_path / "docker"
        inside = tmp_path / "image"  # as in the image: the packages, and no checks
        shutil.copytree(ROOT / "xai_course", inside / "xai_course", ignore=shutil.ignore_patterns("checks"))
        (inside / "xai_lib").symlink_to(ROOT / "xai_lib")
        path = repr([str(inside)])
        script.write_text(
            STAND_IN.format(log=tmp_path / "log", inspect=inspect, python=sys.executable, path=path)
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
        monkeypatch.setattr(_box, "_no_bubblewrap", lambda: "bubblewrap is not here")
        _box._in_a_container.cache_clear()
        return tmp_path / "log"

    yield stands_in
    _box._in_a_container.cache_clear()


def test_the_command_closes_what_has_to_be_closed():
    words = " ".join(_container.command("one", {"HOME": "/scratch"}))
    for closed in (
        "--network none", "--read-only", "--cap-drop ALL", "--security-opt no-new-privileges",
        "--user 65534:65534", "--pids-limit 256", "--memory 8000000000", "--memory-swap 8000000000",
        "--ulimit cpu=400",
        "--ulimit fsize=100000000", "--ulimit nofile=1024", "--ulimit core=0",
        "size=200000000", "--rm", "--pull never",
    ):  # fmt: skip
        assert closed in words
    assert not re.search("--volume|--mount|-v |--privileged|docker.sock|--publish", words)
    assert words.endswith(f"{_container.IMAGE} python -I -m xai_course.classroom._worker -")


def test_the_bounds_are_those_of_the_other_box():
    for name in ("MEMORY", "PROCESSOR", "PROCESSES", "FILE", "NOBODY"):
        assert getattr(_container, name) == getattr(_box, name)


def test_the_image_has_no_checks_and_the_pinned_packages():
    text = (ROOT / "xai_course/classroom/Containerfile").read_text()
    assert re.search(r"rm -r .*/checks", text) and "USER 65534:65534" in text and _container.IMAGE in text
    pins = set((ROOT / "constraints.txt").read_text().split())
    named = re.findall(r"[a-z-]+==\S+", text)
    assert len(named) == 5 and set(named) <= pins


@pytest.mark.parametrize(
    ("inspect", "said"),
    [
        ("exit 0", None),
        ("echo 'Error: No such image: x' >&2; exit 1", "Docker has no image seeing-is-not-believing-worker"),
        ("echo 'Cannot connect to the Docker daemon' >&2; exit 1", "Docker's engine does not answer: Cannot"),
    ],
)
def test_what_is_missing_is_said(docker, inspect, said):
    docker(inspect)
    why = _box.available()
    assert why is None if said is None else "bubblewrap is not here" in why and said in why


def test_answers_are_judged_through_input_and_output(docker):
    log = docker()
    setup = "import torch\nfrom xai_course.checks import check"
    cells = [
        nbformat.v4.new_code_cell(setup, metadata={"tags": ["setup"]}),
        nbformat.v4.new_code_cell('check("2.2", heat)', metadata={"tags": ["check"]}),
        nbformat.v4.new_code_cell('check("2.1", gradient)', metadata={"tags": ["check"]}),
    ]
    code = """
print("not on the wire")
import os
os.write(1, b"nor this")
from pathlib import Path
import xai_course
def heat(attribution):
    if (Path(xai_course.__path__[0]) / "checks").exists():
        return attribution
    os._exit(3)
def gradient(model, x, target):
    print("nor that")
    leaf = x.detach().clone().requires_grad_(True)
    return torch.autograd.grad(model(leaf)[torch.arange(len(x)), target].sum(), leaf)[0]
"""
    found = judge_answers([code], nbformat.v4.new_notebook(cells=cells), boxed=True)
    assert found.results["2.1"].status == "passed", found.results["2.1"]
    assert "ended" in found.results["2.2"].message  # and 2.1 had a new process
    said = log.read_text()
    assert said.count("run --rm --interactive") == said.count("kill classroom-") == 2
