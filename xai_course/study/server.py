"""The study's web server: pages and answers for participants, and the frame of the teacher's pages.

Nothing here asks another machine for anything. A participant's browser keeps one cookie, a random token that
is sent to this study's own addresses alone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from sqlalchemy.exc import DBAPIError, TimeoutError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from xai_course.study import guard, protocols
from xai_course.study.design import public
from xai_course.study.guard import Door, Headers, Refused, body
from xai_course.study.store import Closed, Gone, Store, Study

HERE = Path(__file__).parent
FONTS = (
    HERE.parent.parent / "book" / "_static" / "fonts"
)  # in a checkout; elsewhere the system's letters serve
STAYS = 24 * 3600  # seconds that a participant's token lasts

# How uvicorn is to serve it. A log of requests would keep everybody's address.
SERVED = {
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    "timeout_graceful_shutdown": 2,
}

PAGES = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Changes:
    """How often each study has changed since the start, for those who wait for news of it."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}

    def add(self, code: str) -> None:
        self._count[code] = self._count.get(code, 0) + 1

    def of(self, code: str) -> int:
        return self._count.get(code, 0)


def page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of ``templates/``. What scripts read stands in it as JSON, under ``data``."""
    data = guard.plain(values.pop("data", {}))
    return HTMLResponse(PAGES.get_template(name).render(data=data, **values), status)


def create_app(store: Store, password: str, *, address: str = "", door: Door | None = None) -> Starlette:
    """The application.

    Args:
        store: where answers are kept.
        password: the teacher's.
        address: how participants reach this server, ``http://host:port``; the QR code shows it.
        door: the teacher's sign-in, if it is not to be made from ``password``.
    """
    from xai_course.study import teacher  # it uses this module's pages

    app = Starlette(
        routes=[
            Route("/", front),
            Route("/s/{code}", participant_page),
            Route("/s/{code}/me", me),
            Route("/s/{code}/join", join, methods=["POST"]),
            Route("/s/{code}/answer", answer, methods=["POST"]),
            Route("/s/{code}/withdraw", withdraw, methods=["POST"]),
            Route("/picture/{file}", picture),
            *teacher.ROUTES,
            Mount("/static/study", StaticFiles(directory=HERE / "static")),
            Mount("/static/fonts", StaticFiles(directory=FONTS, check_dir=False)),
            Mount("/static", StaticFiles(directory=HERE.parent / "static")),
        ],
        middleware=[Middleware(Headers)],
        exception_handlers={
            Refused: _refused,
            Gone: lambda request, error: _say(request, 404, "there is nothing (any more) at this address"),
            Closed: lambda request, error: _say(request, 409, "this study takes no more participants"),
            ValueError: lambda request, error: _say(request, 400, str(error)),
            HTTPException: lambda request, error: _say(request, error.status_code, error.detail),
            # Busy or away: whoever sent an answer keeps it, and sends it again.
            DBAPIError: lambda request, error: _say(request, 503, "the database does not answer; try again"),
            TimeoutError: lambda request, error: _say(request, 503, "the database is busy; try again"),
        },
    )
    app.state.store, app.state.address = store, address.rstrip("/")
    app.state.door = door or Door(password)
    app.state.changes, app.state.found = Changes(), {}
    return app


def _refused(request: Request, error: Refused) -> Response:
    return _say(request, error.status, error.error, error.headers)


def _say(request: Request, status: int, error: str, headers: dict[str, str] | None = None) -> Response:
    """What went wrong, as a page for whoever opened an address and as JSON for a script."""
    if request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", ""):
        reply = page("message.html", status, title="Not here", text=error[0].upper() + error[1:] + ".")
        reply.headers.update(headers or {})
        return reply
    return JSONResponse({"error": error}, status, headers)


def apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the store, run beside the event loop: a slow disk holds up nobody else."""
    return functools.partial(run_in_threadpool, function)


def store_of(request: Request) -> Store:
    return request.app.state.store


async def study_of(request: Request) -> Study:
    """The study that an address names.

    Raises:
        Gone: if there is none.
    """
    code = request.path_params["code"]
    if not re.fullmatch(r"[0-9A-Za-z]{5}", code):
        raise Gone(code)
    return await apart(store_of(request).study)(code)


# ---- participants ------------------------------------------------------------------------------------------
async def front(request: Request) -> Response:
    """The study that is open, or a place to type its code."""
    code = request.query_params.get("code", "").strip().upper()
    if re.fullmatch(r"[0-9A-Z]{5}", code):
        return RedirectResponse(f"/s/{code}", 303)
    open_ones = [study for study in await apart(store_of(request).studies)() if study.open]
    if len(open_ones) == 1 and not code:
        return RedirectResponse(f"/s/{open_ones[0].code}", 303)
    return page("front.html", wrong=bool(code))


async def participant_page(request: Request) -> Response:
    """The page on which everything of one study happens."""
    study = await study_of(request)
    if request.path_params["code"] != study.code:  # the cookie's path has the large letters
        return RedirectResponse(f"/s/{study.code}", 303)
    protocol = study.protocol
    data = {
        "code": study.code,
        "open": study.open,
        "task": protocol.task,
        "minutes": protocol.minutes,
        "languages": list(protocols.LANGUAGES),
        "language": preferred(request),
        "texts": protocol.texts,
        "words": {word: text for word, text in protocol.words.items() if word not in protocol.conditions},
        "interface": {language: protocols.interface(language) for language in protocols.LANGUAGES},
    }
    language = data["language"]
    return page("participant.html", language=language, title=protocol.texts["title"][language], data=data)


def preferred(request: Request) -> str:
    """The first of the browser's languages that the study speaks; English otherwise."""
    wanted = re.findall(
        r"\b(" + "|".join(protocols.LANGUAGES) + r")\b", request.headers.get("accept-language", "")
    )
    return wanted[0] if wanted else protocols.LANGUAGES[0]


def token_of(request: Request) -> str:
    """The participant's token.

    Raises:
        Gone: if the browser has none.
    """
    token = request.cookies.get("participant", "")
    if not 0 < len(token) < 100:
        raise Gone
    return token


async def me(request: Request) -> Response:
    """Who this browser is: its plan, and which answers have arrived."""
    study = await study_of(request)
    try:
        return JSONResponse(await _state(request, study, token_of(request)))
    except Gone:
        return JSONResponse({"joined": False, "open": study.open})


async def _state(request: Request, study: Study, token: str) -> dict[str, Any]:
    found = await apart(store_of(request).participant)(study.code, token)
    return {
        "joined": True,
        "language": found.language,
        "plan": [public(trial) for trial in found.plan],
        "answers": found.answers,
    }


async def join(request: Request) -> Response:
    """Take part, having consented. Who has joined before is given the same plan again."""
    data = await body(request, {"language": str, "consent": bool}, {"simulated": bool})
    study = await study_of(request)
    if not data["consent"]:
        raise Refused(400, "nobody joins without consent")
    try:
        return JSONResponse(await _state(request, study, token_of(request)))
    except Gone:
        pass
    token = await apart(store_of(request).join)(study.code, data["language"], data.get("simulated", False))
    reply = JSONResponse(await _state(request, study, token), 201)
    reply.set_cookie(
        "participant",
        token,
        max_age=STAYS,
        path=f"/s/{study.code}",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    request.app.state.changes.add(study.code)
    return reply


async def answer(request: Request) -> Response:
    """Keep an answer, and say which one is kept. The same request twice is one answer."""
    data = await body(request, {"trial": str, "answer": str, "ms": int}, {"away": bool})
    study = await study_of(request)
    kept = await apart(store_of(request).answer)(study.code, token_of(request), **data)
    request.app.state.changes.add(study.code)
    return JSONResponse({"trial": data["trial"], "answer": kept})


async def withdraw(request: Request) -> Response:
    """Delete all that this participant has answered, and their token."""
    await body(request, {"withdraw": bool})
    study = await study_of(request)
    try:
        await apart(store_of(request).withdraw)(study.code, token_of(request))
        request.app.state.changes.add(study.code)
    except Gone:
        pass  # a repeated request finds nothing left, as it should be
    reply = JSONResponse({"withdrawn": True})
    reply.delete_cookie("participant", path=f"/s/{study.code}", httponly=True, samesite="strict")
    return reply


async def picture(request: Request) -> Response:
    """One picture. Nothing else that lies beside it: the manifests know the answers."""
    name = request.path_params["file"]
    path = protocols.STIMULI / name
    if not re.fullmatch(r"[0-9a-f]{20}\.webp", name) or not path.is_file():
        raise Gone(name)
    lasting = {"cache-control": "public, max-age=604800, immutable"}  # the name is made from the bytes
    return FileResponse(path, media_type="image/webp", headers=lasting)
