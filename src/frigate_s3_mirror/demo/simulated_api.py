"""Frigate's HTTP API on loopback, as far as the mirror asks it: the three ways in, and a bad day."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

USER, PASSWORD, COOKIE = "viewer", "a-password-of-the-demo", "frigate_token=signed.by.frigate"


class FrigateHttp:
    """Serves the pictures of running events. `way`: "inner" (port 5001), "open" (5000) or "login" (8971)."""

    def __init__(self, way: str = "open") -> None:
        self.way = way
        self.pictures: dict[str, bytes] = {}
        self.asked: list[tuple[float, str]] = []
        self.status: int | None = None
        self.delay = 0.0
        self.sessions = 1
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append((time.monotonic(), self.path))
                time.sleep(outer.delay)
                status, body = outer.answer(self.path, {k.lower(): v for k, v in self.headers.items()})
                self._send(status, body)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                right = self.path == "/api/login" and body == {"user": USER, "password": PASSWORD}
                self._send(
                    200 if right else 401, b"{}", f"{COOKIE}{outer.sessions}; HttpOnly; Path=/" if right else None
                )

            def _send(self, status: int, body: bytes, cookie: str | None = None) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if cookie:
                    self.send_header("Set-Cookie", cookie)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """What Frigate answers."""
        if self.status is not None:
            return self.status, b"{}"
        if self.way == "login" and f"{COOKIE}{self.sessions}" not in headers.get("cookie", ""):
            return 401, b"{}"
        parts = path.split("?", maxsplit=1)[0].strip("/").split("/")
        if parts[0] != "api":
            return 404, b"{}"
        event_id = parts[2] if len(parts) == 4 and parts[1] == "events" and parts[3] == "snapshot.jpg" else ""
        picture = self.pictures.get(event_id)
        return (200, picture) if picture is not None else (404, b'{"success": false}')

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
