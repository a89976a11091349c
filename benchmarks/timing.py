"""How the programs here take time: runners in turn, round after round, by two clocks."""

import contextlib
import io
import math
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch.utils import benchmark

Call = Callable[[], object]
FEWEST_ROUNDS, BUDGET = 3, 2.5
SHORTEST = 0.2  # seconds that a processor is timed at the least: its clock does not resolve a millisecond


def seconds(call: Call, repeats: int = 1) -> tuple[float, float]:
    """One run's wall-clock time (that clock waits for the GPU) and processor time; mean of ``repeats``."""
    with quiet():
        start, used = benchmark.timer(), time.process_time()
        for _ in range(repeats):
            call()
        return (benchmark.timer() - start) / repeats, (time.process_time() - used) / repeats


@contextlib.contextmanager
def quiet():
    """Without the progress bars that some peers cannot turn off, and without their warnings."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def interleaved(
    runners: dict[str, Call], rounds: int, device: torch.device
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall-clock times, and the times that ratios are made of, of every runner in every round.

    On a GPU, whose time is dear, no new round begins after ``BUDGET`` seconds, unless there are too few.
    """
    walls, times = ({key: [] for key in runners} for _ in range(2))
    start, repeats = time.monotonic(), 1
    if device.type != "cuda":
        repeats = max(1, math.ceil(SHORTEST / seconds(runners["ours"])[0]))
    for turn in range(rounds):
        if device.type == "cuda" and turn >= FEWEST_ROUNDS and time.monotonic() - start > BUDGET:
            break
        for key in list(runners) if turn % 2 else reversed(runners):
            wall, used = seconds(runners[key], repeats)
            walls[key].append(wall)
            times[key].append(wall if device.type == "cuda" else used)
    return walls, times


def ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))
