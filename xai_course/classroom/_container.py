"""A box for machines without bubblewrap: a container of Docker, of an image without the checks.

The image is described by ``Containerfile`` beside this module. A container gets no socket from outside, so
what crosses goes through its input and output. Its command line and its wire are tested; no engine ran where
this was written, so in a container itself it has not been tried.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
import uuid
from collections.abc import Mapping
from typing import IO

IMAGE = "seeing-is-not-believing-worker"
MEMORY = 8_000_000_000  # bytes; the same bounds as in the other box
PROCESSOR = 400  # seconds of processor time of one process
PROCESSES = 256
FILE = 100_000_000  # bytes of one file
SCRATCH = 200_000_000  # bytes
NOBODY = 65534


def missing() -> str | None:
    """What is missing for a container; None where there is all."""
    if shutil.which("docker") is None:
        return "Docker is not installed"
    tried = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, text=True)
    if not tried.returncode:
        return None
    said = tried.stderr.strip()
    if "no such image" in said.lower():
        return f"Docker has no image {IMAGE}: build it as its Containerfile says"
    return f"Docker's engine does not answer: {said[-200:]}"


def command(name: str, environment: Mapping[str, str]) -> list[str]:
    """The command that starts a container: no network, nothing to write but a scratch folder in memory."""
    given = [part for key, value in environment.items() for part in ("--env", f"{key}={value}")]
    return [
        "docker", "run", "--rm", "--interactive", "--name", name, "--hostname", "classroom",
        "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--user", f"{NOBODY}:{NOBODY}", "--pids-limit", str(PROCESSES),
        "--memory", str(MEMORY), "--memory-swap", str(MEMORY),
        "--ulimit", f"cpu={PROCESSOR}", "--ulimit", f"fsize={FILE}",
        "--ulimit", "nofile=1024", "--ulimit", "core=0",
        "--tmpfs", f"/scratch:rw,noexec,nosuid,nodev,size={SCRATCH},mode=1777", "--workdir", "/scratch",
        "--pull", "never", *given, IMAGE,
        "python", "-I", "-m", "xai_course.classroom._worker", "-",
    ]  # fmt: skip


class Container:
    """A container, and the judge's socket to it: what comes in at one goes out at the other.

    Args:
        theirs: the student's end of the socket.
        log: a file for what the process writes beside.
        environment: of the process.
    """

    def __init__(self, theirs: socket.socket, log: IO[bytes], environment: Mapping[str, str]) -> None:
        self.name, self.theirs = f"classroom-{uuid.uuid4().hex[:12]}", theirs
        self.process = subprocess.Popen(
            command(self.name, environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
        )
        threading.Thread(target=self._in, daemon=True).start()
        threading.Thread(target=self._out, daemon=True).start()

    def _in(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := self.theirs.recv(1 << 20):
                left = memoryview(data)
                while left:
                    left = left[self.process.stdin.write(left) :]
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.close()

    def _out(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := self.process.stdout.read(1 << 20):
                self.theirs.sendall(data)
        with contextlib.suppress(OSError):
            self.theirs.shutdown(socket.SHUT_RDWR)  # the judge learns that the process has ended

    def stop(self) -> None:
        """End the container; without that, only the command that started it would end."""
        subprocess.run(["docker", "kill", self.name], capture_output=True)
        self.process.kill()
        self.process.wait()
        self.theirs.close()
