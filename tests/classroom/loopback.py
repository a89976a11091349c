"""Judge and student in one process, with the wire between them."""

import contextlib
import socket
import threading
from typing import Any

from xai_course.classroom._calls import Peer
from xai_course.classroom._wire import Frames


class Loopback:
    """Sends a value to the judge as if it came from a student's process."""

    def __init__(self, source_of=lambda name: None) -> None:
        here, there = socket.socketpair()
        self.frames = Frames(here)
        self.judge = Peer(self.frames, trusts=False, source_of=source_of)
        self.student, self.value = Peer(Frames(there), trusts=True), None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            self._serve_until_the_end()

    def _serve_until_the_end(self) -> None:
        while True:
            node, blobs = self.student.frames.receive()
            if node["op"] == "fetch":
                out: list[bytes] = []
                node = self.student.out(self.value, out, [], [])
                self.student.frames.send({"op": "return", "v": node}, out)
            else:
                self.student.serve(node, blobs)

    def fetch(self, value: Any) -> Any:
        """The value as the judge gets it."""
        self.value = value
        self.frames.send({"op": "fetch"}, [])
        node, blobs = self.judge.wait()
        return self.judge.value(node["v"], blobs, [], [])

    def close(self) -> None:
        self.frames.sock.close()
