"""The two packages as a whole: what can be imported, and under which name."""

import importlib
import importlib.util
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import xai_course
import xai_lib

MODULES = [
    module.name
    for package in (xai_lib, xai_course)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


def test_the_packages_have_modules():
    assert {"xai_lib.cams", "xai_course.checks", "xai_course.checks.registry"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_no_name_of_the_package_hides_a_submodule(name):
    """``import xai_lib.cams as m`` gives what the package calls ``cams``: it must be the module."""
    module = importlib.import_module(name)
    package, _, short = name.rpartition(".")
    assert isinstance(getattr(importlib.import_module(package), short), types.ModuleType)
    assert module.__name__ == name


LINES = 600
# The checks of one chapter and its planted mistakes: read beside the exercises' page, in its order.
AS_LONG_AS_ITS_PAGE = "xai_course.checks.ch0"


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith(AS_LONG_AS_ITS_PAGE)])
def test_a_module_can_be_read_in_one_sitting(name):
    path = Path(importlib.util.find_spec(name).origin)
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES, f"divide {path.name} at its seam"


def test_importing_the_library_imports_nothing_that_only_some_functions_need():
    """``import xai_lib`` costs little beyond torch: in a fresh process, none of these is loaded."""
    heavy = [
        "IPython",
        "PIL",
        "matplotlib",
        "pandas",
        "pyarrow",
        "ray",
        "scipy",
        "skimage",
        "sklearn",
        "torchvision",
    ]
    code = f"import sys, xai_lib; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
