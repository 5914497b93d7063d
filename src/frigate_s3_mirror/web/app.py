"""The routes of the status page. Each handler reads the ledger anew, so nothing is kept while nobody looks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from frigate_s3_mirror import __version__
from frigate_s3_mirror.catalogue import Catalogue, Wanted, open_catalogue
from frigate_s3_mirror.health import Health, Vital
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import LedgerError
from frigate_s3_mirror.running import running_events
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.status import Status, read_status
from frigate_s3_mirror.units import format_duration, format_size
from frigate_s3_mirror.web import views
from frigate_s3_mirror.web.access import SESSION_COOKIE, Access, Throttle, bearer, local_target
from frigate_s3_mirror.web.clips import ClipPages
from frigate_s3_mirror.web.connections import REQUEST_SECONDS
from frigate_s3_mirror.web.metrics import Metrics
from frigate_s3_mirror.web.picture_pages import PicturePages
from frigate_s3_mirror.web.pictures import Pictures
from frigate_s3_mirror.web.remembered import Remembered

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
LIVE_SECONDS = 2.0
"""How often a page that is open looks for news."""
_KEEP_ALIVE_LOOKS = 8
_OPEN_PATHS = ("/healthz", "/sign-in", "/static/")
_LONGEST_FORM = 100_000
_TOO_MANY = "Too many wrong tokens came from this address; wait a minute."

Answer = TypeVar("Answer")
Handler = Callable[[Request], Awaitable[Response]]


class StatusApp:
    """Handlers and what they share."""

    def __init__(self, settings: Settings, own_host: str, vital: Callable[[], Vital] | None = None) -> None:
        self.settings = settings
        self._own_host = own_host
        token = settings.status_token
        self.access = Access(token.get_secret_value() if token is not None else None)
        self._throttle = Throttle()
        self._zone = ZoneInfo(settings.key_timezone) if settings.key_timezone else None
        self.metrics = Metrics(self.status_or_none, vital)
        self.pictures = Pictures(settings)
        self.picture_pages = PicturePages(settings, self.pictures)
        self.clips = ClipPages(settings, self.pictures, self.access)
        self._vital = vital
        self._counted = Remembered(lambda: read_status(settings, time.time()))
        self._by_camera = Remembered(lambda: self._asked(Catalogue.by_camera))
        self._names = Remembered(lambda: self._asked(Catalogue.names))
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Let open live streams come to their end."""
        self._ending.set()

    def build(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/", self.overview),
            Route("/gallery", self.gallery),
            Route("/event/{event_id}", self.event),
            *self.picture_pages.routes(),
            *self.clips.routes(),
            Route("/problems", self.problems),
            Route("/retry", self.retry, methods=["POST"]),
            Route("/sign-in", self.sign_in, methods=["GET", "POST"]),
            Route("/sign-out", self.sign_out, methods=["POST"]),
            Route("/live", self.live),
            Route("/healthz", self.healthz),
            Route("/api/status", self.api_status),
            Route("/metrics", self.prometheus),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ]
        guard = Middleware(BaseHTTPMiddleware, dispatch=self.guard)
        errors: dict[Any, Any] = {404: self.not_found, LedgerError: self.no_ledger}
        return Starlette(routes=routes, middleware=[guard], exception_handlers=errors)

    # -- who may ---------------------------------------------------------------------------------------------------

    async def guard(self, request: Request, call_next: Handler) -> Response:
        """Let those in who may look; every answer carries the headers that keep a browser strict."""
        cookie = request.cookies.get(SESSION_COOKIE)
        if not self.access.knows_host(request.headers.get("host", ""), self._own_host):
            sentence = "This name is not served without S3_STATUS_TOKEN; open http://127.0.0.1 instead.\n"
            response: Response = PlainTextResponse(sentence, 421)
        elif (comes_in := await self._comes_in(request, cookie)) is None:
            response = JSONResponse({"error": _TOO_MANY}, 429, {"Retry-After": "60"})
        elif comes_in:
            response = await call_next(request)
        elif "text/html" in request.headers.get("accept", ""):
            target = f"{request.url.path}?{request.url.query}".rstrip("?")
            response = self._page("sign_in.html", request, 401, wrong="", target=local_target(target))
        else:
            response = JSONResponse({"error": "This needs S3_STATUS_TOKEN as a bearer token."}, 401)
        if response.status_code == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        for name, value in self._strict_headers(request).items():
            response.headers.setdefault(name, value)
        return response

    async def _comes_in(self, request: Request, cookie: str | None) -> bool | None:
        """Whether this request is let in; None when too many wrong tokens came from there."""
        path = request.url.path
        if (
            self.access.token is None
            or path.startswith(_OPEN_PATHS)
            or self.access.is_session(cookie)
            or (path.startswith("/clip/") and self.access.has_ticket(path, request.query_params, time.time()))
        ):
            return True
        given = bearer(request.headers)
        return False if given is None else await self._is_token(request, given)

    async def _is_token(self, request: Request, given: str) -> bool | None:
        """Whether this is the token; None when too many wrong ones came from there."""
        address = request.client.host if request.client is not None else ""
        wait = self._throttle.wait_seconds(address, time.monotonic())
        if wait is None:
            return None
        if wait:
            await asyncio.sleep(wait)
        if self.access.is_token(given):
            return True
        self._throttle.failed(address, time.monotonic())
        return False

    def _strict_headers(self, request: Request) -> dict[str, str]:
        shown = "'self'"
        if not request.url.path.startswith(_OPEN_PATHS) and not self.settings.status_proxy:
            with contextlib.suppress(StoreError):
                shown += f" {self.pictures.bucket_origin}"
        headers = {
            "Content-Security-Policy": (
                f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src {shown}; "
                f"media-src {shown}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
            ),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if not request.url.path.startswith("/static/"):
            headers["Cache-Control"] = "no-store"
        return headers

    async def sign_in(self, request: Request) -> Response:
        """A form for the token, and what it sends."""
        if request.method == "GET":
            return self._page("sign_in.html", request, wrong="", target="/")
        form = await _form(request)
        target = local_target(form.get("target", ""))
        right = await self._is_token(request, form.get("token", ""))
        if right:
            return self._with_session(RedirectResponse(target, 303), request, self.access.new_session())
        if right is None:
            return self._page("sign_in.html", request, 429, wrong=_TOO_MANY, target=target)
        wrong = "That is not the token. It is the value of S3_STATUS_TOKEN."
        return self._page("sign_in.html", request, 401, wrong=wrong, target=target)

    async def sign_out(self, request: Request) -> Response:
        """Forget this browser's session."""
        form = await _form(request)
        response = RedirectResponse("/", 303)
        if self.access.may_act(request.headers, request.cookies.get(SESSION_COOKIE), form.get("form_token", "")):
            response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
        return response

    # -- pages -----------------------------------------------------------------------------------------------------

    async def overview(self, request: Request) -> Response:
        """Health, proof, activity, cameras."""
        return self._page("overview.html", request, **await run_sync(self._overview_values))

    def _overview_values(self) -> dict[str, Any]:
        status = self.status()
        with self._catalogue() as catalogue:
            uploads, sizes = views.activity_charts(catalogue.activity(time.time()))
            newest, _ = catalogue.page(Wanted(), 1)
        return {
            "status": status,
            "uploads_chart": uploads,
            "sizes_chart": sizes,
            "cameras": self._by_camera(),
            "in_progress": running_events(self.settings, time.time()),
            "newest": newest[0] if newest else None,
            "origin": self.pictures.origin(newest[0] if newest else None),
            "shown_settings": views.settings_shown(self.settings),
        }

    async def gallery(self, request: Request) -> Response:
        """The newest snapshots, filtered."""
        chosen = views.Filter.of(request.query_params)
        return self._page("gallery.html", request, **await run_sync(self._gallery_values, chosen))

    def _gallery_values(self, chosen: views.Filter) -> dict[str, Any]:
        with self._catalogue() as catalogue:
            found, following = catalogue.page(chosen.wanted(self._zone), views.PAGE, chosen.after)
        cameras, labels = self._names()
        return {
            "chosen": chosen,
            "pictures": found,
            "next_query": chosen.query(following) if following else None,
            "first_query": chosen.query(None) if chosen.after else None,
            "camera_names": cameras,
            "label_names": labels,
            "states": views.SHOWN_STATES,
            "own_query": chosen.query(chosen.after),
            "origin": self.pictures.origin(found[0] if found else None),
        }

    async def event(self, request: Request) -> Response:
        """One event: its picture and all that is known of it; while it runs, what the bucket has so far."""
        values = await run_sync(self._event_values, request.path_params["event_id"])
        came_from = views.Filter.of(request.query_params)
        if values["subject"] is None:
            return await self.not_found(request, None)
        return self._page("event.html", request, back_query=came_from.query(came_from.after), **values)

    def _event_values(self, event_id: str) -> dict[str, Any]:
        found = self.picture_pages.objects(event_id)
        clip = self.clips.shown(event_id)
        while_it_ran = self.picture_pages.while_it_ran(event_id)
        picture = found[0] if found else None
        return {
            "event_id": event_id,
            "subject": picture or clip["clip"] or (while_it_ran[0] if while_it_ran else None),
            "picture": picture,
            "others": found[1:],
            "while_it_ran": while_it_ran,
            "origin": self.pictures.origin(picture),
            "link": views.frigate_link(self.settings, event_id),
            **clip,
        }

    async def problems(self, request: Request) -> Response:
        """What is not in the bucket, by reason."""

        def read() -> dict[str, Any]:
            with self._catalogue() as catalogue:
                return {"groups": catalogue.problems(self._vital().waits_for if self._vital is not None else None)}

        return self._page("problems.html", request, tried=request.query_params.get("tried"), **await run_sync(read))

    async def retry(self, request: Request) -> Response:
        """Make failed and lost entries pending again; the service takes them up at its next look."""
        form = await _form(request)
        if not self.access.may_act(request.headers, request.cookies.get(SESSION_COOKIE), form.get("form_token", "")):
            return self._page(
                "message.html",
                request,
                403,
                title="Not done",
                text="This form is too old. Go back, reload, and press again.",
            )

        def write() -> int:
            ledger = self._ledger()
            ledger.open_beside()
            try:
                return len(ledger.retry_failed(reason=form.get("reason", "")))
            finally:
                ledger.close()

        return RedirectResponse(f"/problems?tried={await run_sync(write)}", 303)

    # -- live ------------------------------------------------------------------------------------------------------

    async def live(self, request: Request) -> Response:
        """Server-sent events: the changing part of the overview, whenever it changed."""
        return StreamingResponse(self._news(), media_type="text/event-stream")

    async def _news(self) -> AsyncIterator[str]:
        last, quiet = "", 0
        while not self._ending.is_set():
            with contextlib.suppress(LedgerError):
                now = self._render("live.html", **await run_sync(self._overview_values))
                if now != last:
                    last, quiet = now, 0
                    yield "".join(f"data: {line}\n" for line in now.splitlines()) + "\n"
            quiet += 1
            if quiet % _KEEP_ALIVE_LOOKS == 0:
                yield ": still here\n\n"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LIVE_SECONDS):
                    await self._ending.wait()

    # -- for programs ----------------------------------------------------------------------------------------------

    async def healthz(self, _request: Request) -> Response:
        """200 while health is OK, else 503 with the reason."""
        health, reason = await run_sync(self._word)
        return PlainTextResponse(f"{health} {reason}".strip() + "\n", 200 if health == Health.OK else 503)

    def _word(self) -> tuple[str, str]:
        """Health and its reason, without a look at the ledger where the service itself can tell."""
        if self._vital is not None:
            condition = self._vital().condition
            return condition.health, condition.reason
        status = self.status_or_none()
        return (Health.DOWN, "The ledger cannot be read.") if status is None else (status.health, status.reason)

    async def api_status(self, _request: Request) -> Response:
        """The same as `status --json`."""
        status = await run_sync(self.status)
        return Response(json.dumps(status.to_dict(), ensure_ascii=False, indent=2), media_type="application/json")

    async def prometheus(self, _request: Request) -> Response:
        """Metrics in Prometheus' text format."""
        return Response(await run_sync(self.metrics.text), media_type="text/plain; version=0.0.4; charset=utf-8")

    # -- what goes wrong -------------------------------------------------------------------------------------------

    async def not_found(self, request: Request, _error: Exception | None) -> Response:
        """A page that is not there."""
        return self._page("message.html", request, 404, title="Not found", text="There is nothing at this address.")

    async def no_ledger(self, request: Request, error: Exception) -> Response:
        """A ledger that cannot be read."""
        return self._page("message.html", request, 503, title="No answer", text=str(error))

    # -- shared ----------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """What is known: counts from the ledger, and the health of this moment from the service itself."""
        counted = self._counted()
        return counted if self._vital is None else counted.lived(self._vital())

    def status_or_none(self) -> Status | None:
        """The status, or None without a ledger."""
        with contextlib.suppress(LedgerError):
            return self.status()
        return None

    def _ledger(self) -> Ledger:
        return Ledger.of(self.settings)

    def _catalogue(self) -> contextlib.AbstractContextManager[Catalogue]:
        return open_catalogue(self._ledger())

    def _asked(self, question: Callable[[Catalogue], Answer]) -> Answer:
        with self._catalogue() as catalogue:
            return question(catalogue)

    def _page(self, name: str, request: Request, status_code: int = 200, **values: Any) -> Response:
        """A page, with the session that its forms need."""
        cookie = request.cookies.get(SESSION_COOKIE)
        is_known = self.access.is_session(cookie)
        session = cookie if is_known and cookie is not None else self.access.new_session()
        form_token = self.access.form_token(session)
        html = self._render(name, path=request.url.path, form_token=form_token, **values)
        response = HTMLResponse(html, status_code)
        if not is_known and self.access.token is None:  # with a token a session is given for the token alone
            self._with_session(response, request, session)
        return response

    @staticmethod
    def _with_session(response: Response, request: Request, session: str) -> Response:
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        response.set_cookie(
            SESSION_COOKIE, session, httponly=True, samesite="strict", secure=secure, max_age=30 * 86400
        )
        return response

    def _render(self, name: str, **values: Any) -> str:
        return self._templates.get_template(name).render(
            version=__version__,
            site=self.settings.site,
            zone=views.zone_name(self._zone),
            has_token=self.access.token is not None,
            **values,
        )

    @cached_property
    def _templates(self) -> Environment:
        """Made when somebody looks for the first time."""
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters.update(
            moment=views.moment,
            clock_time=partial(views.clock_time, zone=self._zone),
            size=format_size,
            duration=format_duration,
        )
        return environment


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small form; one that is too long, or too long on its way, has none."""
    body = b""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _LONGEST_FORM:
                    return {}
    except TimeoutError:
        return {}
    return dict(parse_qsl(body.decode("utf-8", "replace")))
