"""Simulated raters: programs that answer a study by a rule. They are no people, and an export says so.

They go by where a map's heat lies, which people cannot measure, so what they find out is the rule's doing,
and no forecast of a class. They are here to try the machinery, and to have data that a lesson can read.
"""

from __future__ import annotations

import http.client
import json
import math
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from xai_course.study import design
from xai_course.study.design import Trial
from xai_course.study.protocols import Protocol, pictures
from xai_course.study.records import as_export


class Rater:
    """One simulated rater.

    Args:
        protocol: the study it takes part in.
        seed: decides how closely it looks, how it errs, and how fast it is.
        careless: whether it answers at random, attention checks included.
    """

    def __init__(self, protocol: Protocol, seed: int, careless: bool = False) -> None:
        self.protocol, self.careless = protocol, careless
        self.rng = random.Random(f"simulated/{protocol.id}/{seed}")
        self.eye = math.exp(self.rng.gauss(0, 0.5))  # how closely it looks: 1 in the middle of them
        self.pace = math.exp(self.rng.gauss(0, 0.3))
        shown = pictures(protocol.stimuli)
        self.items = {entry["item"]: entry for entries in shown.values() for entry in entries}
        self.saw_tag = 0.0  # what learning from maps has shown it of the tag

    def answer(self, trial: Trial) -> tuple[str, int]:
        """What it answers, and after how many milliseconds."""
        ms = round(1000 * self.pace * math.exp(self.rng.gauss(1.0, 0.4)))
        if self.careless:
            return self.rng.choice(trial["options"]), ms // 10
        if trial["kind"] == "attention":
            return trial["asked"], ms
        return getattr(self, f"_{self.protocol.task}")(trial), ms

    def _happens(self, log_odds: float) -> bool:
        return self.rng.random() < 1 / (1 + math.exp(-log_odds))

    def _choice(self, trial: Trial) -> str:
        """The class on which more of the heat lies, the surer the larger the gap."""
        entry = self.items[trial["item"]]
        target = entry["classes"].index(trial["truth"])
        first, second = entry["maps"][trial["condition"]][target]["heat"]
        gap = (first - second) / max(first + second, 1e-9)
        return entry["classes"][0 if self._happens(2.5 * self.eye * gap) else 1]

    def _rating(self, trial: Trial) -> str:
        """More trust in the network whose map has more of its heat on the shape than on the tag."""
        maps = self.items[trial["item"]]["maps"][trial["condition"]]
        lead = {side: heat["heat"][0] - heat["heat"][1] for side, heat in maps.items()}
        feeling = 4 * self.eye * (lead["shape"] - lead["tag"]) + self.rng.gauss(0, 1)
        rating = max(-2, min(2, round(feeling)))
        return str(rating if trial["truth"] == "b" else -rating)

    def _prediction(self, trial: Trial) -> str:
        """By the tag, the likelier the more of it the maps have shown; else by the shape."""
        entry = self.items[trial["item"]]
        if trial["kind"] == "learn":
            if any(picture["role"] == "map" for picture in trial["pictures"]):
                self.saw_tag += entry["map"]["heat"][1]
            return "next"
        by_tag = self._happens(-1.0 + 3 * self.eye * self.saw_tag)
        says_star = entry["tag"] if by_tag else entry["shows"] == "star"
        return "star" if (self.rng.random() < 0.9 and says_star) or self.rng.random() < 0.05 else "other"


def simulated_export(protocol: Protocol, n: int, seed: int = 0, careless: int = 0) -> dict[str, Any]:
    """The export of a study in which ``n`` simulated raters took part, ``careless`` of them at random.

    Raises:
        ValueError: if ``careless`` is not between 0 and ``n``.
    """
    if not 0 <= careless <= n:
        raise ValueError(f"careless must be between 0 and n = {n}, got {careless}")
    rng, people = random.Random(f"{protocol.id}/{seed}"), []
    absent = set(rng.sample(range(n), careless))
    for number in range(n):
        trials = design.plan(protocol, number, seed)
        rater = Rater(protocol, seed * 100_000 + number, careless=number in absent)
        people.append(
            {
                "label": f"s-{number:03}",
                "language": "en",
                "finished": True,
                "simulated": True,
                "plan": trials,
                "answers": {trial["id"]: (*rater.answer(trial), False) for trial in trials},
            }
        )
    return as_export(protocol, people)


# ---- over the network --------------------------------------------------------------------------------------
class Visitor:
    """A participant's browser, as far as a server can tell: one connection, one cookie, JSON.

    Args:
        address: the study's, ``http://host:port/s/CODE``.
        repeat: called before each request; how many times to send it (0: it is lost on the way, and sent
            again later, as the page does).
    """

    def __init__(self, address: str, repeat: Callable[[], int] = lambda: 1) -> None:
        parts = urlsplit(address)
        self.host, self.path, self.repeat = parts.netloc, parts.path.rstrip("/"), repeat
        self.connection = http.client.HTTPConnection(self.host, timeout=30)
        self.cookie, self.waits = "", []  # seconds that each answered request took

    def send(self, what: str, data: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Status and reply; sent again until the server answers."""
        for turn in range(200):
            for again in range(self.repeat(), 0, -1):
                try:
                    begun = time.perf_counter()
                    status, reply = self._once(what, data)
                    self.waits.append(time.perf_counter() - begun)
                except (OSError, http.client.HTTPException):
                    self.connection.close()
                    break
                if again == 1 and status < 500:
                    return status, reply
            time.sleep(min(0.02 * (turn + 1), 0.5))
        raise TimeoutError(f"{self.host} did not answer {what}")

    def _once(self, what: str, data: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        headers = {"Content-Type": "application/json", "Cookie": self.cookie}
        body = None if data is None else json.dumps(data)
        self.connection.request("GET" if data is None else "POST", f"{self.path}/{what}", body, headers)
        reply = self.connection.getresponse()
        for name, value in reply.getheaders():
            if name.lower() == "set-cookie":
                self.cookie = value.split(";")[0]
        return reply.status, json.loads(reply.read())

    def close(self) -> None:
        self.connection.close()


def take_part(address: str, raters: int, at_once: int = 30) -> str:
    """Let simulated raters take part in a running study, over HTTP; they are counted as simulated there.

    They heed the attention checks and answer everything else at random: a browser is told no more.

    Args:
        address: the one that participants open, ``http://host:port/s/CODE``.
        raters: how many.
        at_once: how many at the same time.

    Returns:
        A line on what was sent, and how long the server took to answer.
    """
    with ThreadPoolExecutor(at_once) as pool:
        waits = [wait for waits in pool.map(partial(_one_rater, address), range(raters)) for wait in waits]
    waits.sort()
    median, late = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    return (
        f"{raters} simulated raters, {len(waits)} requests answered: median {1000 * median:.0f} ms, "
        f"99th percentile {1000 * late:.0f} ms"
    )


def _one_rater(address: str, seed: int) -> list[float]:
    visitor = Visitor(address)
    status, state = visitor.send("join", {"language": "en", "consent": True, "simulated": True})
    if status != 201:
        raise RuntimeError(f"a simulated rater could not join: {state}")
    for trial in state["plan"]:
        answer = random.Random(f"{seed}/{trial['id']}").choice(trial["options"])
        visitor.send("answer", {"trial": trial["id"], "answer": trial.get("asked", answer), "ms": 1500})
    visitor.close()
    return visitor.waits
