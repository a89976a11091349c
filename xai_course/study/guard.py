"""What keeps a study's server polite and safe: headers, limits, the teacher's sign-in."""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST = 8 * 1024  # bytes of a request's body; the longest honest one has about 100

# Everything comes from this server, nothing is sent anywhere else, and no other page may frame this one.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), interest-cohort=()",
}


class Refused(Exception):
    """A request that is not carried out: its status, and what to tell whoever sent it."""

    def __init__(self, status: int, error: str, **headers: str) -> None:
        super().__init__(error)
        self.status, self.error, self.headers = status, error, headers


class Headers:
    """Adds the headers of a careful site to every response; what is not cacheable by name is not kept."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = {name.lower() for name, _ in message["headers"]}
                added = HEADERS | {"cache-control": "no-store"}
                message["headers"] = [
                    *message["headers"],
                    *((k.encode(), v.encode()) for k, v in added.items() if k.encode() not in named),
                ]
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)


async def body(request: Request, fields: dict[str, type], optional: dict[str, type] | None = None) -> dict:
    """The JSON object that a request carries, with exactly these fields of these types.

    Raises:
        Refused: if it comes from another site, is too long, is no JSON, or is no such object.
    """
    from_elsewhere(request)
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise Refused(415, "the body must be JSON")
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > LONGEST:
            raise Refused(413, f"the body must be shorter than {LONGEST} bytes")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body must be JSON") from error
    known = fields | (optional or {})
    if not isinstance(data, dict) or not set(fields) <= set(data) <= set(known):
        raise Refused(400, f"the body must have the fields {', '.join(fields)}")
    for name, value in data.items():
        if type(value) is not known[name]:  # not isinstance: True is an int
            raise Refused(400, f"{name} must be a {known[name].__name__}")
        if isinstance(value, str) and (len(value) > 200 or "\x00" in value):
            raise Refused(400, f"{name} must be a short text")
    return data


def from_elsewhere(request: Request) -> None:
    """Refuse what another site's page sends: browsers name the site in these two headers."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site not in (None, "same-origin", "none"):
        raise Refused(403, "this request comes from another site")
    if origin is not None and origin.split("://")[-1] != request.headers.get("host"):
        raise Refused(403, "this request comes from another site")


@dataclass
class Wrong:
    """Wrong passwords of late: how many, and until when no further one is heard."""

    times: int = 0
    until: float = 0.0


class Door:
    """The teacher's sign-in: one password, slowed down after wrong ones, a session for each browser.

    Args:
        password: the one that is printed when the server starts.
        clock: seconds, from anywhere; the tests turn it by hand.
    """

    FREE, FIRST, LONGEST = (
        5,
        5.0,
        300.0,
    )  # wrong passwords at no cost, then seconds to wait, doubled each time
    STAYS = 12 * 3600.0

    def __init__(self, password: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.password, self.clock = password, clock
        self.wrong = Wrong()  # of everybody together: who guesses from many addresses waits as well
        self.sessions: dict[str, tuple[str, float]] = {}

    def sign_in(self, password: str) -> str:
        """A session's name, for the right password.

        Raises:
            Refused: if it is the wrong one, or too many were wrong of late.
        """
        wait = self.wrong.until - self.clock()
        if wait > 0:
            raise Refused(
                429, f"too many wrong passwords; wait {wait:.0f} s", **{"retry-after": f"{wait:.0f}"}
            )
        if not hmac.compare_digest(password.encode("utf-8", "replace"), self.password.encode()):
            self.wrong.times += 1
            over = self.wrong.times - self.FREE
            if over >= 0:
                self.wrong.until = self.clock() + min(self.FIRST * 2**over, self.LONGEST)
            raise Refused(401, "that is not the password")
        self.wrong = Wrong()
        name = secrets.token_urlsafe(24)
        self.sessions[name] = (secrets.token_urlsafe(24), self.clock() + self.STAYS)
        return name

    def csrf(self, request: Request) -> str | None:
        """The word that this session's own pages know and others' do not; None without a session."""
        word, until = self.sessions.get(request.cookies.get("teacher", ""), ("", 0.0))
        return word if until > self.clock() else None

    def check(self, request: Request, acts: bool = False) -> str:
        """Refuse who is not signed in and, where something is done, who does not know the session's word."""
        word = self.csrf(request)
        if word is None:
            raise Refused(401, "please sign in")
        if acts and not hmac.compare_digest(
            request.headers.get("x-csrf", "").encode("latin-1", "replace"), word.encode()
        ):
            raise Refused(403, "the page is out of date; load it again")
        return word

    def sign_out(self, request: Request) -> None:
        self.sessions.pop(request.cookies.get("teacher", ""), None)


def plain(value: Any) -> str:
    """JSON that may stand inside a script element: no text in it can close that element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
