"""The page's server: static files, the state as JSON and as server-sent events, and one button."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from experiments.cli.output import plain
from experiments.dashboard.feed import LabFeed
from experiments.dashboard.judge import Judge
from experiments.dashboard.reports import Reports
from firmware_bridge.errors import LabError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

STATIC = Path(__file__).parent / "static"
COOKIE = "asiclab"
HEADERS = {
    # nothing but our own files, in nobody's frame
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets in who has the token, in a header, a cookie or once in the address; adds the headers of a careful page.

    Args:
        app: what is guarded.
        token: None where everybody on this machine may look.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from starlette.requests import Request

        request = Request(scope)
        asked = request.query_params.get("token")
        if self._token is not None and not self._knows(request):
            if asked is not None and _equal(asked, self._token):
                answer: Response = RedirectResponse(request.url.path, status_code=303)
                answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
            else:
                answer = Response(
                    "A token is needed: open the address that `asiclab dashboard` printed.\n", 401
                )
            await answer(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    *((k.lower().encode(), v.encode()) for k, v in HEADERS.items()),
                ]
            await send(message)

        await self._app(scope, receive, with_headers)

    def _knows(self, request: Request) -> bool:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return any(
            _equal(given, self._token or "") for given in (bearer, request.cookies.get(COOKIE, "")) if given
        )


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


class Pulse:
    """Looks at the database once per beat, however many pages are open, and only while one is.

    Args:
        feed: what is looked at.
        period_s: between two looks.
    """

    def __init__(self, feed: LabFeed, period_s: float) -> None:
        self._feed, self.period_s = feed, period_s
        self._lock = asyncio.Lock()
        self._seen: dict[str, tuple[float, str]] = {}

    async def text(self, run_id: str) -> str:
        """The state as JSON, at most one period old."""
        async with self._lock:
            at_s, text = self._seen.get(run_id, (-1e9, ""))
            if time.monotonic() - at_s < 0.9 * self.period_s:
                return text
            state = await asyncio.to_thread(self._feed.look, run_id)
            text = json.dumps(plain(state), allow_nan=False)
            self._seen = dict(list(self._seen.items())[-4:]) | {run_id: (time.monotonic(), text)}
            return text


def make_app(
    db: str,
    *,
    token: str | None = None,
    control: bool = False,
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1"),
    hz: float = 2.0,
    verdicts: bool = False,
    clock_ns: Callable[[], int] = time.time_ns,
) -> Starlette:
    """The application.

    Args:
        db: what is shown.
        token: needed to look; None on loopback.
        control: whether the page may ask a run to stop.
        hosts: names that the page may be called by, so that no foreign page can reach it under a name of its own.
        hz: looks per second, 1 to 10.
        verdicts: whether verdicts are worked out while something runs; ``app.state.judge`` is to be closed then.
        clock_ns: wall time.
    """
    judge = Judge(db) if verdicts else None
    feed, reports = LabFeed(db, clock_ns, judge), Reports(db)
    pulse: Pulse | None = None

    def beat() -> Pulse:
        nonlocal pulse
        if pulse is None:  # its lock belongs to the running loop
            pulse = Pulse(feed, 1.0 / hz)
        return pulse

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def about(request: Request) -> Response:
        return JSONResponse({"control": control, "hz": hz, "db": str(_place(db))})

    async def state(request: Request) -> Response:
        return Response(
            await beat().text(request.query_params.get("run", "latest")), media_type="application/json"
        )

    async def events(request: Request) -> Response:
        run_id = request.query_params.get("run", "latest")

        async def stream() -> AsyncIterator[str]:
            before = ""
            while not (request.app.state.ending or await request.is_disconnected()):
                text = await beat().text(run_id)
                if text != before:
                    yield f"data: {text}\n\n"
                    before = text
                await asyncio.sleep(beat().period_s)

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def experiment(request: Request) -> Response:
        return await _answer(lambda: feed.experiment(request.path_params["run"]))

    async def report(request: Request) -> Response:
        try:
            page = await asyncio.to_thread(reports.page, request.path_params["run"])
        except LabError as error:
            return PlainTextResponse(f"{error}\n", 404)
        return HTMLResponse(page)

    async def stop(request: Request) -> Response:
        if not control:
            return JSONResponse({"problem": "this page only shows; start it with --control"}, 403)
        if request.headers.get("x-asiclab") != "stop":  # a form of a foreign page cannot send this header
            return JSONResponse({"problem": "the header X-Asiclab: stop is missing"}, 403)

        def ask() -> dict[str, Any]:
            from experiments.results import Results

            with Results(db, create=False) as results:
                results.ask_to_stop(request.path_params["run"])
            return {"asked": True}

        return await _answer(ask)

    routes = [
        Route("/", page),
        Route("/api/about", about),
        Route("/api/state", state),
        Route("/api/experiments/{run}", experiment),
        Route("/experiments/{run}/report", report),
        Route("/api/experiments/{run}/stop", stop, methods=["POST"]),
        Route("/events", events),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=["*"] if "*" in hosts else list(hosts)),
        Middleware(Guard, token=token),
    ]
    app = Starlette(routes=routes, middleware=middleware)
    app.state.judge = judge
    app.state.ending = False  # open streams look at it, so that the server can end
    return app


async def _answer(work: Callable[[], dict[str, Any]]) -> Response:
    try:
        return JSONResponse(plain(await asyncio.to_thread(work)))
    except LabError as error:
        return JSONResponse({"problem": str(error)}, 404)


def _place(db: str) -> object:
    from firmware_bridge.trace.store import locate

    return locate(db)


async def serve(
    app: Starlette,
    host: str,
    port: int,
    *,
    on_ready: Callable[[int], None],
    until: Callable[[], Awaitable[None]],
) -> None:
    """Serve until ``until()`` is done.

    Args:
        app: the application.
        host: address.
        port: 0 for a free one.
        on_ready: told the port.
        until: called once it listens; what it gives ends it.

    Raises:
        UserError: if the address cannot be listened on.
    """
    import socket

    import uvicorn

    from firmware_bridge.errors import UserError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # whoever is told the port may connect at once
    except OSError as error:
        listening.close()
        raise UserError(
            f"{host}:{port} cannot be listened on ({error.strerror}); give another --host or --port"
        ) from None
    config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=3)
    server = uvicorn.Server(config)
    # signals are the command line's: it stops this as it stops everything else
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    on_ready(int(listening.getsockname()[1]))
    serving = asyncio.ensure_future(server.serve([listening]))
    waiting = asyncio.ensure_future(until())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    app.state.ending = True
    server.should_exit = True
    waiting.cancel()
    await serving
    if app.state.judge is not None:
        app.state.judge.close()
