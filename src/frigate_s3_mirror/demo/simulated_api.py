"""Frigate's HTTP API on loopback: the three ways in, with what nginx adds to two of them, and a bad day."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Self

from frigate_s3_mirror.demo.http_answers import Answer, as_json, failure, page
from frigate_s3_mirror.demo.http_server import LocalServer
from frigate_s3_mirror.demo.nginx import RememberedAnswers, StaticFiles
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.demo.simulated_recordings import REVIEW_USER
from frigate_s3_mirror.demo.simulated_routes import Routes

USER, PASSWORD, COOKIE = "viewer", "a-password-of-the-demo", "frigate_token=signed.by.frigate"
_PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif")  # nginx never remembers these


class FrigateHttp:
    """`way`: "inner" (port 5001), "open" (5000) or "login" (8971).

    Without a `frigate` it serves the pictures of running events and nothing else.
    """

    def __init__(self, way: str = "open", frigate: SimulatedFrigate | None = None) -> None:
        self.way = way
        self.frigate = frigate
        self.pictures: dict[str, bytes] = {}
        """Those of running events, by id."""
        self.asked: list[tuple[float, str]] = []
        """When (by time.monotonic) something was read, and its path."""
        self.requests: list[tuple[float, str, str]] = []
        """The same of every request, with its method before the path."""
        self.status: int | None = None
        """What everything is answered with."""
        self.faults: dict[str, int] = {}
        """What paths that begin so are answered with; the first that fits counts."""
        self.delay = 0.0
        self.break_after: int | None = None
        """How many bytes of a body are sent before the connection is closed."""
        self.sessions = 1
        """Raise it, and every login so far has run out."""
        self.remembered = RememberedAnswers()
        self.files = None if frigate is None else StaticFiles(frigate.clips_dir.parent)
        self._routes = None if frigate is None else Routes(frigate, self._picture_of)
        self._server: LocalServer | None = None
        self._bind(0)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def token(self) -> str:
        """What a login gives, to be sent as cookie or as bearer."""
        return f"{COOKIE.partition('=')[2]}{self.sessions}"

    def down(self) -> None:
        """Frigate stops: nothing listens, connections are closed, and what nginx remembered is gone."""
        if self._server is None:
            return
        self._server.stop()
        self._server = None
        self.remembered.forget()
        if self.files is not None:
            self.files.forget()

    def up(self) -> None:
        """It is there again, under the same address."""
        if self._server is None:
            self._bind(self._port)
            self._start()

    def noted(self, method: str, path: str) -> None:
        """A request came in."""
        now = time.monotonic()
        self.requests.append((now, method, path))
        if method != "POST":
            self.asked.append((now, path))

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """What Frigate answers; the names in `headers` are in small letters."""
        fault = next((status for prefix, status in self.faults.items() if path.startswith(prefix)), self.status)
        if fault is not None:
            return as_json({}, fault)
        if path == "/api/login" and method == "POST":
            return self._login(body)
        if method == "POST" or (self.way == "login" and not self._is_signed_in(headers)):
            return page(401, "Authorization Required")
        return self._inner(method, path, headers) if self.way == "inner" else self._nginx(method, path, headers)

    def _login(self, body: bytes) -> Answer:
        try:
            is_right = json.loads(body) == {"user": USER, "password": PASSWORD}
        except ValueError:
            is_right = False
        if not is_right:
            return as_json({"message": "Login failed"}, 401)
        return Answer(200, b"{}", headers={"Set-Cookie": f"{COOKIE}{self.sessions}; HttpOnly; Path=/"})

    def _is_signed_in(self, headers: dict[str, str]) -> bool:
        cookies = {cookie.strip() for cookie in headers.get("cookie", "").split(";")}
        return f"{COOKIE}{self.sessions}" in cookies or headers.get("authorization", "") == f"Bearer {self.token}"

    def _inner(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        """Port 5001: Frigate's own process, which from 0.17 on wants to know who asks."""
        user = headers.get("remote-user", "")
        if self.frigate is not None and self.frigate.layout.number >= (0, 17):
            where = path.partition("?")[0]
            if where != "/version" and not (user and headers.get("remote-role") == "admin"):
                is_picture = where.endswith("/snapshot.jpg")  # Frigate itself takes the refusal for a missing event
                return failure("Unknown error occurred") if is_picture else as_json({"detail": "Not allowed"}, 401)
        return self._route(method, path, user)

    def _nginx(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        """Ports 5000 and 8971."""
        where = path.partition("?")[0]
        if self.files is not None and where.startswith(("/clips/", "/recordings/")):
            return self.files.answer(where, headers)
        if not where.startswith("/api/"):
            return page(404, "Not Found")
        inside, user = path.removeprefix("/api"), REVIEW_USER if self.way == "open" else USER
        if self.frigate is None or where.lower().endswith(_PICTURE_ENDINGS):
            return self._route(method, inside, user)
        # Also for a HEAD it asks with GET: the answer is to be remembered.
        return self.remembered.answer(path, headers, lambda: self._route("GET", inside, user))

    def _route(self, method: str, path: str, user: str) -> Answer:
        where, _, query = path.partition("?")
        if self._routes is None:
            return self._picture(where)
        if method == "HEAD" and self.frigate is not None and self.frigate.layout.number >= (0, 15):
            return Answer(405, b'{"detail":"Method Not Allowed"}', headers={"Allow": "GET"})
        return self._routes.answer(where, query, user)

    def _picture_of(self, event_id: str) -> bytes | None:
        return self.pictures.get(event_id)

    def _picture(self, path: str) -> Answer:
        parts = path.strip("/").split("/")
        event_id = parts[1] if len(parts) == 3 and parts[0] == "events" and parts[2] == "snapshot.jpg" else ""
        picture = self._picture_of(event_id)
        return Answer(200, picture, "image/jpeg") if picture is not None else failure("Event not found")

    def _bind(self, port: int) -> None:
        self._server = LocalServer(self, port)
        self._port = self._server.server_port

    def _start(self) -> None:
        if self._server is not None:
            self._server.start()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
