"""The stored scores of chapter 4's appendix are those that its tool makes."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tests.pages import ROOT

spec = importlib.util.spec_from_file_location("rise_scores", ROOT / "tools" / "rise_scores.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.mark.parametrize(("name", "seed"), [("cat", 0), ("cat", 7), ("coffee", 3)])
def test_the_first_scores_of_a_run_come_out_again(name, seed):
    stored = np.load(tool.FILE)[name]
    assert stored.shape == (tool.RUNS[name], tool.MASKS)
    np.testing.assert_allclose(stored[seed, :8], tool.scores(name, seed, 8), rtol=1e-2, atol=1e-4)
