"""Explaining a data set with workers of Ray: the same numbers, also when workers or the whole run are killed.

What kills is in the explainers: a worker that kills itself in the middle of a batch does so at a known place.
"""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.architectures import Plain, build
from tests.promises import assert_says, complaint
from xai_lib import _ray, digits, explain_dataset, grad_cam, read_heatmaps, rise
from xai_lib.cluster import UnexplainedError, batch_generator, on_ray
from xai_lib.faithfulness import roar
from xai_lib.randomisation import data_randomisation

ROOT = Path(__file__).resolve().parents[2]
COUNT, BATCH = 50, 2
CAM = functools.partial(grad_cam, layer="features.7")
RISE = functools.partial(rise, n_masks=6, grid=2)
WORKERS = {"workers": 2, "cpus": 1}


@pytest.fixture(scope="module")
def ray():
    """One local Ray of two processors for all tests here: it takes seconds to start.

    Somebody has set the address of another, which nobody has asked us to join (and which does not answer).
    """
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_ADDRESS", "127.0.0.1:1")
            with _ray.session(_ray.Resources(1, 1, 0.0)):
                pass  # the second Ray of a process finds what the first has left
            ray = stack.enter_context(_ray.session(_ray.Resources(2, 1, 0.0)))
        yield ray


@pytest.fixture(autouse=True)
def _one_thread():
    """As many threads as a worker has: with another number a convolution may round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(n=COUNT, side=16):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(7))


def test_workers_give_the_numbers_of_a_plain_loop_though_one_is_killed(ray, tmp_path):
    """Bit for bit; nothing is lost, nothing is done twice but the batch in which the worker died."""
    model, x, log = build(Plain), images(), tmp_path / "log"

    def deadly(model, part, target):
        """Kills its worker, once, in the middle of the batch that starts with image 20."""
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {int((x == part[0]).flatten(1).all(1).nonzero())}\n")
        if torch.equal(part[0], x[20]) and not log.with_suffix(".killed").exists():
            log.with_suffix(".killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return part.mean(1)

    def picky(model, part, target):
        if (part == x[31]).flatten(1).all(1).any():
            raise ValueError("I do not like this one")
        return part.mean(1)

    explainers = {"deadly": deadly, "picky": picky, "cam": CAM, "rise": RISE}
    with pytest.raises(UnexplainedError) as raised:
        explain_dataset(
            model, explainers, x, out=tmp_path, batch_size=BATCH, dtype=torch.float32, resources=WORKERS
        )
    assert {batch: ids for batch, (_, ids) in raised.value.failed.items()} == {15: ("31",)}
    batches = list(read_heatmaps(tmp_path, partial=True))
    assert [b.index.tolist() for b in batches] == [[2 * b, 2 * b + 1] for b in range(25) if b != 15]
    for found in batches:
        number = int(found.index[0]) // BATCH
        part = x[found.index]
        target = model(part).argmax(1)
        drawn = RISE(model, part, target, generator=batch_generator(0, "rise", number))
        assert torch.equal(found.target, target) and torch.equal(found.heatmaps["deadly"], part.mean(1))
        assert torch.equal(found.heatmaps["cam"], CAM(model, part, target))
        assert torch.equal(found.heatmaps["rise"], drawn)
    begun = Counter(int(line.split()[1]) for line in log.read_text().splitlines())
    assert begun == Counter(range(0, COUNT, BATCH)) + Counter([20])
    assert len({line.split()[0] for line in log.read_text().splitlines()}) == 3  # and one in its place
    assert ray.is_initialized(), "a Ray that ran before goes on"


def test_ray_asks_no_cloud_where_it_is_and_the_homes_are_as_they_were(ray):
    """The one of Ray's processes that would ask finds, in its home, the file that keeps it from asking."""
    homes = _homes_of_ray()
    assert homes and all((Path(home) / "ray_bootstrap_config.yaml").read_text() == "{}" for home in homes)
    assert os.environ.get("HOME") not in homes and os.environ.get("RAY_USAGE_STATS_ENABLED") is None


def test_workers_that_are_more_than_there_are_would_wait_for_ever(ray, tmp_path):
    message = complaint(
        lambda: explain_dataset(
            build(Plain), CAM, images(), out=tmp_path, resources={"workers": 3, "cpus": 1}
        )
    )
    assert_says(message, "resources", "3 CPUs", "this Ray has 2")


def test_what_cannot_be_sent_is_named(ray, tmp_path):
    lock = threading.Lock()

    def locked(model, x, target):
        with lock:
            return x.mean(1)

    message = complaint(
        lambda: explain_dataset(build(Plain), locked, images(), out=tmp_path, resources=WORKERS),
        error=TypeError,
    )
    assert_says(message, "explainers", "sent to a worker")


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))


def fitted(images, labels):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval()


def test_trainings_as_tasks_give_equal_results(ray):
    """ROAR and shuffled labels, with and without; and an error of a training is the same error."""
    pictures, labels = digits()
    train, test = (pictures[:120], labels[:120]), (pictures[120:200], labels[120:200])
    maps = {"ink": (train[0][:, 0], test[0][:, 0])}
    options = {"fractions": (0, 0.5), "epochs": 2, "seeds": 2, "together": 2}
    drawn = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    on_workers = on_ray(WORKERS)
    here, there = (
        roar(perceptron, train, test, maps, map=m, generator=drawn(), **options) for m in (map, on_workers)
    )
    assert torch.equal(here.accuracy, there.accuracy)
    assert_says(complaint(lambda: roar(perceptron, train, test, maps, map=on_workers, rate=1e30)), "rate is")

    def slope(model, x, target):
        with torch.enable_grad():
            x = x.clone().requires_grad_()
            return torch.autograd.grad(model(x)[range(len(x)), target].sum(), x)[0][:, 0]

    here, there = (
        data_randomisation(fitted, train, slope, test[0][:4], 3, map=m, generator=drawn())
        for m in (map, on_workers)
    )
    assert torch.equal(here, there)


DRIVER = """
import sys
import ray
import torch
from tests.architectures import Plain, build
from tests.library.test_cluster_ray import images, slow
from xai_lib import explain_dataset

ray.init(address=sys.argv[1], log_to_driver=False)
explain_dataset(build(Plain), slow, images(), out=sys.argv[2], batch_size=2, dtype=torch.float32,
                resources={"workers": 1, "cpus": 1})
"""


def slow(model, x, target):
    time.sleep(0.1)
    return CAM(model, x, target)


def test_a_run_whose_driver_is_killed_is_resumed(ray, tmp_path):
    """Its workers die with it; what they had written is kept as it is, and only the rest is done again."""
    (home,) = _homes_of_ray()  # a second driver finds there the token with which it may connect
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": home}
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, address, str(tmp_path)], env=environment)
    while len(list(tmp_path.glob("heatmaps/*.parquet"))) < 3:
        assert driver.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    while _workers_at_work():
        time.sleep(0.1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("heatmaps/*.parquet")}
    assert 3 <= len(before) < 25
    model, x = build(Plain), images()
    made = explain_dataset(
        model, slow, x, out=tmp_path, batch_size=BATCH, dtype=torch.float32, resources={"workers": 0}
    )
    assert made.found == BATCH * len(before)
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    maps = torch.cat([batch.heatmaps["heatmap"] for batch in read_heatmaps(tmp_path)])
    expected = torch.cat([CAM(model, part, model(part).argmax(1)) for part in x.split(BATCH)])
    assert torch.equal(maps, expected)


def _homes_of_ray():
    """The home of the Ray of these tests, as that of its processes that could ask other hosts."""
    homes = []
    for process, (parent, command) in _processes().items():
        if "dashboard.py" in command and parent == os.getpid():
            variables = Path(f"/proc/{process}/environ").read_text().split("\0")
            homes += [v.removeprefix("HOME=") for v in variables if v.startswith("HOME=")]
    return homes


def _workers_at_work():
    """Whether a worker of the Ray of these tests is alive: its parent is the raylet that we started."""
    alive = _processes()
    return any(
        "ray::MapWorker" in command and alive.get(parent, (0, ""))[0] == os.getpid()
        for parent, command in alive.values()
    )


def _processes():
    """Every process that is alive: its parent and its command."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            if state != "Z":
                found[int(entry.name)] = int(parent), (entry / "cmdline").read_text()
    return found


class Busy:
    """Stands in for Ray on a busy machine: its start fails some times before it succeeds."""

    def __init__(self, *messages):
        self.messages, self.stopped = list(messages), 0

    def init(self, **options):
        if self.messages:
            raise RuntimeError(self.messages.pop(0))

    def shutdown(self):
        self.stopped += 1


LATE = "The current node timed out during startup.", "Timed out waiting for file /tmp/ray/gcs_server_port"


def test_a_start_that_comes_too_late_is_tried_again():
    busy = Busy(*LATE)
    _ray._start(busy, _ray.Resources(2, 1, 0.0))
    assert not busy.messages and busy.stopped == 2


@pytest.mark.parametrize(("messages", "tries"), [(("no such port",), 1), ((*LATE, LATE[0], "more"), 3)])
def test_what_else_goes_wrong_at_the_start_is_said(messages, tries):
    busy = Busy(*messages)
    with pytest.raises(RuntimeError, match=messages[tries - 1][:12]):
        _ray._start(busy, _ray.Resources(2, 1, 0.0))
    assert busy.stopped == tries
