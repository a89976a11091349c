"""What every test may use; kept at the root so that the library's doctests see it too."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(
    0, str(Path(__file__).parent)
)  # tests import `tests.architectures`, whichever way pytest starts


@pytest.fixture(autouse=True)
def _doctest_names(request, doctest_namespace, tmp_path_factory):
    """The names that docstring examples use: a small classifier and two images; for those examples alone."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    from tests.architectures import Plain, build

    doctest_namespace.update(
        torch=torch,
        model=build(Plain),
        x=torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)),
        folder=tmp_path_factory.getbasetemp() / "folder",
    )
