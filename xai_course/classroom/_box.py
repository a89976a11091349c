"""Where a student's code runs: a process without network, without the checks, with bounds on what it may use.

On Linux the box is bubblewrap (`bwrap`): a system that can only be read, a scratch folder in memory, no
network, no other process in sight, no privileges. An ordinary user needs nothing more; for root the code runs
as nobody. Where there is no bubblewrap it is a container of Docker (:mod:`._container`), with an image that
`Containerfile` beside this module describes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import xai_course
import xai_lib

from . import _container

try:
    import resource
except ImportError:  # Windows
    resource = None

MEMORY = 8_000_000_000  # bytes of address space; torch with CUDA maps more than 4 GB before it does anything
PROCESSOR = 400  # seconds of processor time of one process
PROCESSES = 256  # in the box; its user's others are no matter
FILE = 100_000_000  # bytes of one file
NOBODY = 65534
_MODULE = "xai_course.classroom._worker"


def available() -> str | None:
    """Why there is no box on this machine; None where there is one."""
    why = _no_bubblewrap()
    if why is None:
        return None
    instead = _container.missing()
    return None if instead is None else f"{why}; and in its place, {instead}"


def _no_bubblewrap() -> str | None:
    if sys.platform != "linux":
        return f"bubblewrap runs on Linux alone, and this is {sys.platform}"
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (Debian and Ubuntu: apt-get install bubblewrap)"
    tried = subprocess.run([*_box(Path(tempfile.gettempdir())), "true"], capture_output=True, text=True)
    return f"bubblewrap does not start here: {tried.stderr.strip()[-300:]}" if tried.returncode else None


@functools.cache
def _in_a_container() -> bool:
    """Whether the box is a container: only where bubblewrap is not."""
    return _no_bubblewrap() is not None and _container.missing() is None


class Worker:
    """A student's process and the socket to it.

    Args:
        boxed: whether it runs in the box. Without, it may do whatever the user who grades may do.
    """

    def __init__(self, *, boxed: bool) -> None:
        self.socket, theirs = socket.socketpair()
        self.scratch = tempfile.TemporaryDirectory(prefix="worker-")
        place = Path(self.scratch.name)
        self.container = None
        if boxed and _in_a_container():
            self.log = open(place / "said.txt", "wb")
            self.container = _container.Container(theirs, self.log, _environment(Path("/scratch")))
            self.process = self.container.process
            return
        place.chmod(0o755)
        command = [sys.executable, "-I", "-c", _START, _MODULE, str(theirs.fileno())]
        if boxed:
            command[3] = _BOUNDED + _START
            command = [*_box(place), *command]
        self.log = open(place / "said.txt", "wb")  # what it writes, for a message when it does not start
        self.process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env=None if boxed else {**os.environ, **_environment(place)},
            cwd=place,
            preexec_fn=_limits,
            start_new_session=True,
        )
        theirs.close()

    def said(self) -> str:
        """The end of what the process wrote."""
        self.log.flush()
        return (Path(self.scratch.name) / "said.txt").read_bytes()[-500:].decode(errors="replace")

    def stop(self) -> None:
        """End the process, whatever it is doing, and all that it started."""
        self.socket.close()
        if self.container is not None:
            self.container.stop()
            self.log.close()
            self.scratch.cleanup()
            return
        with contextlib.suppress(ProcessLookupError):  # it has ended, and left nobody behind
            os.killpg(self.process.pid, signal.SIGKILL)  # bubblewrap takes every process in the box with it
        self.process.wait()
        self.log.close()
        self.scratch.cleanup()


# The folder of the packages is named by the judge: with -I neither the environment nor the scratch folder can
# put another module in their place.
_START = f"""
import runpy, sys
sys.path[:0] = {[str(Path(xai_course.__path__[0]).parent), str(Path(xai_lib.__path__[0]).parent)]!r}
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
# Bounded from within: outside, all processes of the user who grades would count, and on a desktop bubblewrap
# would not start. What has no box has no such bound, for the same reason.
_BOUNDED = f"import resource; resource.setrlimit(resource.RLIMIT_NPROC, ({PROCESSES}, {PROCESSES}))\n"


def _environment(place: Path) -> dict[str, str]:
    return {
        "HOME": str(place), "MPLCONFIGDIR": str(place), "TMPDIR": str(place), "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin",
    }  # fmt: skip


def _box(place: Path) -> list[str]:
    """The command before the command."""
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--hostname", "classroom"]
    root = os.geteuid() == 0
    if root:  # a namespace of users would hide who it is; nobody's processes can be counted
        command.remove("--unshare-all")
        command += [
            "--unshare-ipc",
            "--unshare-pid",
            "--unshare-net",
            "--unshare-uts",
            "--unshare-cgroup-try",
        ]
    else:
        command += ["--cap-drop", "ALL"]
    for folder in ("/usr", "/bin", "/lib", "/lib64", "/lib32"):
        path = Path(folder)
        if path.is_symlink():
            command += ["--symlink", os.readlink(path), folder]
        elif path.exists():
            command += ["--ro-bind", folder, folder]
    for path in ("/etc/ld.so.cache", "/etc/fonts", "/etc/alternatives"):
        command += ["--ro-bind-try", path, path]
    for folder in _readable():
        for parent in reversed(
            Path(folder).parents[:-1]
        ):  # made by bwrap alone, they would be its user's only
            command += ["--perms", "0755", "--dir", str(parent)]
        command += ["--ro-bind", folder, folder]
    checks = Path(xai_course.__path__[0]) / "checks"
    command += ["--tmpfs", str(checks), "--proc", "/proc", "--dev", "/dev"]
    command += ["--size", "200000000", "--perms", "1777", "--tmpfs", "/scratch", "--remount-ro", "/"]
    command += ["--chdir", "/scratch", "--clearenv"]
    for name, value in _environment(Path("/scratch")).items():
        command += ["--setenv", name, value]
    if root:
        command += ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
        command += [
            "--no-new-privs",
            "--bounding-set",
            "-all",
            "--inh-caps",
            "-all",
            "--ambient-caps",
            "-all",
        ]
    return command


def _readable() -> list[str]:
    """The folders that Python, what is installed, and the two packages need; none inside another."""
    wanted = {Path(sys.prefix), Path(sys.base_prefix), Path(sysconfig.get_path("stdlib"))}
    wanted |= {Path(folder) for folder in site.getsitepackages()}
    wanted |= {Path(package.__path__[0]) for package in (xai_lib, xai_course)}
    wanted |= {path.resolve() for path in list(wanted)}
    system = (Path("/usr"), Path("/bin"), Path("/lib"))
    there = sorted(
        path for path in wanted if path.exists() and not any(path.is_relative_to(s) for s in system)
    )
    return [str(path) for path in there if not any(o != path and path.is_relative_to(o) for o in there)]


def _limits() -> None:
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, PROCESSOR),
        (resource.RLIMIT_FSIZE, FILE),
        (resource.RLIMIT_NOFILE, 1024),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
