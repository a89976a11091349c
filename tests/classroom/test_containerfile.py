"""The hub's image: no engine builds it here, so its file is read, and what it promises is looked for."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from xai_course.classroom.editions import START

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "classroom/Containerfile"
KNOWN = {"FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "CMD"}
SMALL = "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu"


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a container file: comments left out, continued lines joined."""
    lines, joined = [], ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not (joined or line.strip()):
            continue
        joined += line.rstrip()
        if joined.endswith("\\"):
            joined = joined[:-1] + " "
            continue
        lines.append(joined.strip())
        joined = ""
    if joined:
        raise ValueError(f"the last line is continued, and nothing follows: {joined!r}")
    parted = [re.fullmatch(r"([A-Z]+)\s+(.+)", line) for line in lines]
    wrong = [line for line, parts in zip(lines, parted, strict=True) if not parts or parts[1] not in KNOWN]
    if wrong:
        raise ValueError(f"no instruction that this file needs: {wrong[0]!r}")
    return [(parts[1], parts[2]) for parts in parted]


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    return instructions(FILE.read_text(encoding="utf-8"))


def of(steps: list[tuple[str, str]], kind: str) -> list[str]:
    return [rest for name, rest in steps if name == kind]


@pytest.mark.parametrize(
    "text", ["FROM x\nRUM pip install y", "FROM x\nRUN a \\", "from x", "FROM x\npip install y", "FROM"]
)
def test_the_reader_of_these_files_refuses_what_an_engine_would(text):
    with pytest.raises(ValueError):
        instructions(text)


def test_it_starts_from_one_named_release_and_starts_a_hub_s_server(steps):
    assert steps[0][0] == "FROM" and len(of(steps, "FROM")) == 1
    python = re.fullmatch(r"docker\.io/library/python:(3\.\d+)-slim", steps[0][1])
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert int(python[1].split(".")[1]) >= int(needed.removeprefix(">=3."))
    (command,) = of(steps, "CMD")
    assert json.loads(command)[0] == "jupyterhub-singleuser"
    assert any("jupyterhub==" in run for run in of(steps, "RUN"))


def test_students_are_no_superusers(steps):
    kinds = [name for name, _ in steps]
    user = steps[len(kinds) - 1 - kinds[::-1].index("USER")][1]
    assert user == "${NB_USER}"
    defaults = dict(line.split("=", 1) for line in of(steps, "ARG"))
    assert defaults["NB_USER"] != "root" and int(defaults["NB_UID"]) >= 1000
    assert any("useradd" in run and "NB_USER" in run for run in of(steps, "RUN"))
    # the last word before the command is spoken as that user: the networks load for it
    loads = max(i for i, (name, rest) in enumerate(steps) if name == "RUN" and "load_model" in rest)
    assert loads > kinds.index("USER") and not of(steps[kinds.index("USER") :], "COPY")


def test_every_name_that_it_uses_has_a_value(steps):
    given = {line.split("=")[0] for line in of(steps, "ARG")}
    for name, rest in steps:
        used = set(re.findall(r"\$\{?(\w+)\}?", rest))
        assert used <= given, f"{name} {rest}"


def test_its_commands_are_shell_and_its_program_is_python(steps):
    for run in of(steps, "RUN"):
        done = subprocess.run(["sh", "-n", "-c", run], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for program in re.findall(r'python -c "(.+?)"$', run):
            compile(program, "Containerfile", "exec")


def test_what_it_copies_is_there_and_reaches_the_engine(steps):
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for copy in of(steps, "COPY"):
        *sources, _ = copy.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(fnmatch.fnmatch(source, pattern) for pattern in kept), source


def test_it_installs_the_pinned_pytorch_from_one_place_and_asks_no_other_host(steps):
    text = " ".join(rest for _, rest in steps)
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    for name in ("torch", "torchvision"):
        assert re.search(rf"\b{name}==(\S+)", text)[1] == pins[name]
    assert set(re.findall(r"https?://([^/\s]+)", text)) == {"download.pytorch.org"}
    installs = [run for run in of(steps, "RUN") if "pip install" in run]
    assert "--index-url" in installs[0] and "--constraint constraints.txt" in installs[1]


def test_the_page_for_teachers_and_the_page_for_students_give_one_recipe():
    page = (ROOT / "book/teaching/first_hour.md").read_text(encoding="utf-8")
    assert SMALL in page and SMALL in START
    for command in (
        "python3 -m venv .venv",
        "py -m venv .venv",
        ".venv\\Scripts\\activate",
        "jupyter lab exercises.ipynb",
    ):
        assert command in page and command in START, command
    assert START.index(SMALL) < START.index('pip install "./wheels/')
    assert page.index(SMALL, page.index("**4.")) < page.index('pip install "./wheels/', page.index("**5."))
