"""A study's server on this machine, in a thread, for the tests that talk to one."""

from __future__ import annotations

import socket
import threading
import time

import uvicorn

from xai_course.study.server import SERVED, create_app
from xai_course.study.simulate import Visitor
from xai_course.study.store import Store

PASSWORD = "a-password-for-tests"
CONSENT = {"language": "en", "consent": True}


class Live:
    """A running server: ``address``, its ``store``, and a study to join."""

    def __init__(self, store: Store, protocol: str = "which-class") -> None:
        self.store, self.study = store, store.new_study(protocol, seed=7)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.app = create_app(store, PASSWORD, address=self.address)
        config = uvicorn.Config(self.app, host="127.0.0.1", port=self.port, **SERVED)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def start(self) -> Live:
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive(), "the server did not start"
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)

    def join_address(self, study=None) -> str:
        return f"{self.address}/s/{(study or self.study).code}"

    def visitor(self, study=None) -> Visitor:
        return Visitor(self.join_address(study))
