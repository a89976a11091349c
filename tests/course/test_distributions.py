"""What is installed: the library alone, without answers and without jupyter; the course from a checkout."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PYPROJECTS = {"xai_lib": ROOT / "pyproject.toml", "xai_course": ROOT / "xai_course" / "pyproject.toml"}
# What only a page, or a contest of methods, needs.
PAGE_ONLY = ["IPython", "ipykernel", "ipywidgets", "jupyterlab", "nbformat", "captum"]
HEAVY = ["matplotlib", "scipy", "skimage", "sklearn"]


def run(*command: str | Path, **options) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """What a distribution is built from, copied, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    leave_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for package in ("xai_lib", "xai_course"):
        shutil.copytree(ROOT / package, copy / package, ignore=leave_out)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    return copy


def build(kind: str, project: Path, into: Path) -> zipfile.ZipFile:
    """A wheel, from setuptools' own functions: nothing is fetched. ``kind`` is ``wheel`` or ``editable``."""
    into.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(into)!r})"
    before = set(into.iterdir())
    run(sys.executable, "-c", code, cwd=project)
    (made,) = set(into.iterdir()) - before
    return zipfile.ZipFile(made)


def files_of(package: str) -> set[str]:
    """What belongs into the package's wheel: every module, and its data."""
    wanted = [*(ROOT / package).rglob("*.py"), *(ROOT / package).glob("weights/*")]
    wanted += (ROOT / package).rglob("static/**/*")
    wanted += (ROOT / package).glob("classroom/skeleton/*")
    wanted += (ROOT / package).glob("classroom/*.json")
    wanted += (file for file in (ROOT / package / "study").glob("*/*") if "__pycache__" not in file.parts)
    return {
        file.relative_to(ROOT).as_posix()
        for file in wanted
        if "build" not in file.relative_to(ROOT).parts and file.is_file()
    }


def test_the_library_ships_its_weights_and_no_answers(checkout, tmp_path):
    wheel = build("wheel", checkout, tmp_path)
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == files_of("xai_lib")
    assert {"xai_lib/weights/small_gap.pt", "xai_lib/weights/small_vgg.pt"} <= names
    assert not [name for name in names if re.search("/checks/|solution|exercise|quiz", name)]


def test_the_library_alone_asks_for_nothing_that_only_a_page_needs(checkout, tmp_path):
    wheel = build("wheel", checkout, tmp_path)
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    wanted = Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist")
    alone = [entry for entry in wanted if "extra ==" not in entry]
    assert any(entry.startswith("torch") for entry in alone)
    assert not [entry for entry in alone if re.match("captum|ip|jupyter|nb|pyyaml|grad|lime", entry, re.I)]
    assert any(entry.startswith("ipywidgets") for entry in wanted if 'extra == "course"' in entry)


def test_the_course_ships_every_module_and_every_file_of_its_pages(checkout, tmp_path):
    wheel = build("wheel", checkout / "xai_course", tmp_path)
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == files_of("xai_course")


def test_installed_from_a_checkout_both_packages_are_found_from_any_folder(checkout, tmp_path):
    """As ``make book`` installs them. A notebook's kernel starts in the folder of its chapter."""
    site = tmp_path / "site"
    for project in (checkout, checkout / "xai_course"):
        build("editable", project, tmp_path / "wheels").extractall(site)
    # -I -S: a Python without its site-packages, and so without this environment's own editable installation
    code = f"""
        import importlib.util, site
        site.addsitedir({str(site)!r})
        for name in ("xai_lib", "xai_course", "xai_course.checks", "xai_course.explorers"):
            print(importlib.util.find_spec(name).origin)
    """
    found = run(sys.executable, "-I", "-S", "-c", textwrap.dedent(code), cwd=tmp_path).splitlines()
    parts = ["xai_lib/__init__.py", "xai_course/__init__.py", "xai_course/checks/__init__.py"]
    assert [Path(line) for line in found] == [
        checkout / part for part in (*parts, "xai_course/explorers/__init__.py")
    ]


@pytest.mark.parametrize("package", PYPROJECTS)
def test_every_package_inside_is_named_in_the_pyproject(package):
    named = tomllib.loads(PYPROJECTS[package].read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    inside = [file.parent.relative_to(ROOT) for file in (ROOT / package).rglob("__init__.py")]
    assert sorted(named) == sorted(".".join(path.parts) for path in inside if "build" not in path.parts)


def test_pip_and_conda_install_both():
    install = re.search(r"pip install .*", (ROOT / "Makefile").read_text(encoding="utf-8"))[0]
    assert install.endswith('-e ".[course,book,study,classroom,cluster,test]" -e ./xai_course')
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert {"-e .", "-e ./xai_course"} <= set(pip)


IMPORT = """
import sys
sys.path.insert(0, {root!r})

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {refused!r}:
            raise ImportError(f"{{name}} is refused here")

sys.meta_path.insert(0, Refuse())
import xai_lib
assert xai_lib.__path__[0].startswith({root!r})
print(sorted({{name.split(".")[0] for name in sys.modules}}))
"""


def imported(refused: list[str]) -> set[str]:
    """The packages that are there after ``import xai_lib`` in a fresh Python that refuses some of them."""
    printed = run(sys.executable, "-c", IMPORT.format(root=str(ROOT), refused=refused))
    return set(re.findall(r"'(\w+)'", printed))


def test_the_library_is_imported_where_there_is_no_jupyter_no_captum_and_no_matplotlib():
    assert not imported([*PAGE_ONLY, "matplotlib"]) & {*PAGE_ONLY, "matplotlib", "xai_course"}


def test_importing_the_library_loads_nothing_that_only_some_methods_use():
    """SciPy, scikit-image, scikit-learn, matplotlib: a second, for whoever asks for a gradient alone."""
    assert not imported([]) & {*HEAVY, *PAGE_ONLY}
