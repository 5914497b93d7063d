"""A web server on loopback that can be stopped like a machine: with everything that hangs on it."""

from __future__ import annotations

import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from frigate_s3_mirror.demo.http_answers import Answer


class Site(Protocol):
    """What is served; asked from a thread per connection."""

    delay: float
    """Seconds before each answer."""
    break_after: int | None
    """How many bytes of a body are sent before the connection is closed."""

    def noted(self, method: str, path: str) -> None:
        """A request came in."""

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """What it gets; the names in `headers` are in small letters."""


class LocalServer(ThreadingHTTPServer):
    """Listens from its construction on, serves from `start` on, and at its end leaves no connection open."""

    daemon_threads = True

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()
        for connection in list(self.connections):
            _hang_up(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LocalServer

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        site = self.server.site
        site.noted(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        time.sleep(site.delay)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = site.answer(self.command, self.path, headers, body)
        try:
            self._send(answer, site.break_after)
        finally:
            answer.close()

    def _send(self, answer: Answer, break_after: int | None) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Length", str(answer.length))
        self.send_header("Content-Type", answer.content_type)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        left = answer.length if break_after is None else min(break_after, answer.length)
        missing = answer.length - left
        for piece in answer.pieces():
            self.wfile.write(piece[:left])
            left -= len(piece[:left])
            if not left:
                break
        if left or missing:
            self.close_connection = True
            _hang_up(self.connection)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was faster
