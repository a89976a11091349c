"""The teacher's pages: open and close, watch, show, export, delete. All of them behind the password."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import segno
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from xai_course.study import guard, protocols
from xai_course.study.analysis import analyse
from xai_course.study.guard import Refused, body
from xai_course.study.records import as_csv
from xai_course.study.server import apart, page, store_of, study_of
from xai_course.study.store import Store, Study

STAYS = 12 * 3600
PACE = 0.5  # seconds between two looks for news
QUIET = 15  # looks without news after which a line is sent all the same, so that nothing in between hangs up


# ---- sign-in -----------------------------------------------------------------------------------------------
async def home(request: Request) -> Response:
    """All studies; or the sign-in."""
    word = request.app.state.door.csrf(request)
    if word is None:
        return page("sign_in.html")
    store = store_of(request)
    studies = [await _row(store, study) for study in await apart(store.studies)()]
    return page(
        "teacher.html",
        csrf=word,
        studies=studies,
        protocols=protocols.all_protocols(),
        database=store.address,
        address=request.app.state.address,
        plain=request.url.scheme == "http",
    )


async def _row(store: Store, study: Study) -> dict[str, Any]:
    return {"study": study, "counts": await apart(store.counts)(study.code)}


async def sign_in(request: Request) -> Response:
    """Exchange the password for a session."""
    data = await body(request, {"password": str})
    name = request.app.state.door.sign_in(data["password"])
    reply = JSONResponse({"signed_in": True})
    reply.set_cookie(
        "teacher",
        name,
        max_age=STAYS,
        path="/teacher",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return reply


async def sign_out(request: Request) -> Response:
    """End the session."""
    _act(request)
    request.app.state.door.sign_out(request)
    return JSONResponse({"signed_in": False})


def _act(request: Request) -> None:
    guard.from_elsewhere(request)
    request.app.state.door.check(request, acts=True)


# ---- what a teacher does -----------------------------------------------------------------------------------
async def begin(request: Request) -> Response:
    """Begin a new study."""
    _act(request)
    data = await body(request, {"protocol": str})
    study = await apart(store_of(request).new_study)(data["protocol"])
    return JSONResponse({"code": study.code}, 201)


async def act(request: Request) -> Response:
    """Open, close, show, hide or delete a study."""
    _act(request)
    study, store = await study_of(request), store_of(request)
    actions = {
        "open": lambda: store.set_open(study.code, True),
        "close": lambda: store.set_open(study.code, False),
        "show": lambda: store.set_shown(study.code, True),
        "hide": lambda: store.set_shown(study.code, False),
        "delete": lambda: store.delete_study(study.code),
    }
    action = request.path_params["action"]
    if action not in actions:
        raise Refused(404, f"the action must be one of {', '.join(actions)}")
    await run_in_threadpool(actions[action])
    request.app.state.changes.add(study.code)
    return JSONResponse({"done": action})


async def remove(request: Request) -> Response:
    """Delete one participant, by the label that exports have."""
    _act(request)
    data = await body(request, {"label": str})
    study = await study_of(request)
    await apart(store_of(request).delete_participant)(study.code, data["label"])
    request.app.state.changes.add(study.code)
    return JSONResponse({"done": "removed"})


async def remove_everything(request: Request) -> Response:
    """Delete every study with all its participants and answers."""
    _act(request)
    await body(request, {"everything": bool})
    store = store_of(request)
    codes = [study.code for study in await apart(store.studies)()]
    await run_in_threadpool(store.delete_everything)
    for code in codes:
        request.app.state.changes.add(code)
    return JSONResponse({"done": "deleted"})


# ---- what a teacher sees -----------------------------------------------------------------------------------
async def study_page(request: Request) -> Response:
    """One study: its state, the result as it comes in, the exports."""
    return await _study_page(request, "study.html")


async def screen(request: Request) -> Response:
    """The projected page: the QR code and the counts, then the result when the teacher shows it."""
    return await _study_page(request, "screen.html")


async def _study_page(request: Request, template: str) -> Response:
    word = request.app.state.door.csrf(request)
    if word is None:
        return RedirectResponse("/teacher", 303)
    study = await study_of(request)
    protocol = study.protocol
    data = {
        "code": study.code,
        "task": protocol.task,
        "chance": protocol.chance,
        "published": list(protocol.published),
        "names": {condition: protocol.name(condition) for condition in protocol.conditions},
    }
    address = f"{request.app.state.address}/s/{study.code}"
    return page(
        template,
        csrf=word,
        study=study,
        protocol=protocol,
        address=address,
        rule=protocol.exclusion,
        data=data,
    )


async def qr(request: Request) -> Response:
    """The address that participants open, as a QR code."""
    request.app.state.door.check(request)
    study, file = await study_of(request), io.BytesIO()
    code = segno.make(f"{request.app.state.address}/s/{study.code}", error="m", micro=False)
    code.save(file, kind="svg", border=4, dark="#1b1523", light="#ffffff", xmldecl=False, omitsize=True)
    return Response(file.getvalue(), media_type="image/svg+xml")


async def events(request: Request) -> Response:
    """News of a study as it comes in: counts and result, one message for each change."""
    request.app.state.door.check(request)
    study = await study_of(request)
    return StreamingResponse(_news(request, study.code), media_type="text/event-stream")


async def _news(request: Request, code: str) -> AsyncIterator[str]:
    changes, seen, quiet = request.app.state.changes, None, 0
    while request.app.state.door.csrf(request) is not None and not await request.is_disconnected():
        now = changes.of(code)
        if now != seen:
            found = await summary(request, code, now)
            seen, quiet = now, 0
            yield f"event: {'gone' if found is None else 'news'}\ndata: {guard.plain(found)}\n\n"
            if found is None:
                return
        elif (quiet := quiet + 1) % QUIET == 0:
            yield ": still here\n\n"
        await asyncio.sleep(PACE)


async def summary(request: Request, code: str, change: int) -> dict[str, Any] | None:
    """Counts and result, computed once for each change, however many pages wait for it."""
    cache = request.app.state.found
    if cache.get(code, (None,))[0] != change:
        cache[code] = (change, await run_in_threadpool(_summary, store_of(request), code))
    return cache[code][1]


def _summary(store: Store, code: str) -> dict[str, Any] | None:
    matches = [study for study in store.studies() if study.code == code]
    if not matches:
        return None
    export, counts = store.export(code), store.counts(code)
    finished = [person["id"] for person in export["participants"] if person["finished"]]
    return analyse(export, draws=500).as_dict() | {
        "open": matches[0].open,
        "shown": matches[0].shown,
        "people": counts.people,
        "answers": counts.answers,
        "labels": sorted(finished),
        "unfinished": sorted({one["id"] for one in export["participants"]} - set(finished)),
    }


async def export(request: Request) -> Response:
    """Everything that is known of a study, as JSON or as a table."""
    request.app.state.door.check(request)
    study, kind = await study_of(request), request.path_params["kind"]
    data = await apart(store_of(request).export)(study.code)
    name = f"{study.protocol.id}-{study.code}.{kind}"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    if kind == "json":
        return JSONResponse(data, headers=headers)
    if kind == "csv":
        return Response(as_csv(data), media_type="text/csv", headers=headers)
    raise Refused(404, "an export is JSON or CSV")


ROUTES = [
    Route("/teacher", home),
    Route("/teacher/sign-in", sign_in, methods=["POST"]),
    Route("/teacher/sign-out", sign_out, methods=["POST"]),
    Route("/teacher/studies", begin, methods=["POST"]),
    Route("/teacher/delete-everything", remove_everything, methods=["POST"]),
    Route("/teacher/s/{code}", study_page),
    Route("/teacher/s/{code}/screen", screen),
    Route("/teacher/s/{code}/qr.svg", qr),
    Route("/teacher/s/{code}/events", events),
    Route("/teacher/s/{code}/export.{kind}", export),
    Route("/teacher/s/{code}/remove", remove, methods=["POST"]),
    Route("/teacher/s/{code}/{action}", act, methods=["POST"]),
]
