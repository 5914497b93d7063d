"""HTTP/1.1 to one server over kept connections: bounded in time and size, and no redirect is followed.

An answer is handed out as it came; only what is no whole answer raises: OSError (ssl.SSLError and TimeoutError among them)
or http.client.HTTPException. Nothing is sent twice.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import re
import select
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

CONNECT_SECONDS = 5.0
LONGEST_BODY = 64 * 1024
"""Bytes that are read of an answer from which nothing longer is expected."""
_IDLE_SECONDS = 30.0  # for which a connection is kept: shorter than servers, load balancers and NAT keep theirs
_MOST_IDLE = 64
_IS_AUTHORITY = re.compile(rb"\x55\x1d\x13(?:\x01\x01\xff)?\x04.\x30.\x01\x01\xff", re.DOTALL)
"""The X.509 extension basicConstraints (2.5.29.19) whose first element is CA = TRUE."""
_JOINED = 1024 * 1024  # bytes of a body that go out with the head at once


class CannotConnectError(TimeoutError):
    """No connection came about in time."""


class AnswerTooLongError(OSError):
    """The body is longer than it may be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names in lower case. Of a refusal's body only the beginning is kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class OpenAnswer:
    """An answer whose body is still to be read."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    def read(self, most: int) -> bytes:
        """The next bytes of the body, b"" at its end."""
        chunk = self._response.read(most)
        if not chunk and self._response.length:  # http.client tells only those who read all at once
            raise http.client.IncompleteRead(b"", self._response.length)
        return chunk

    def read_whole(self, longest: int) -> bytes:
        """The whole body. Raises AnswerTooLongError."""
        chunks, size = [], 0
        while chunk := self.read(min(1024 * 1024, longest + 1 - size)):
            chunks.append(chunk)
            size += len(chunk)
            if size > longest:
                raise AnswerTooLongError(f"the answer is longer than {longest} bytes")
        return b"".join(chunks)

    def read_beginning(self, most: int = LONGEST_BODY) -> bytes:
        """What a refusal says, as far as it comes: one that breaks off is still a refusal."""
        chunks, size = [], 0
        with contextlib.suppress(OSError, http.client.HTTPException):
            while size < most and (chunk := self.read(most - size)):
                chunks.append(chunk)
                size += len(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Read no more."""
        self._response.close()

    @property
    def is_read(self) -> bool:
        """Whether the connection is ready for the next request."""
        return self._response.isclosed() and not self._response.will_close


class Transport:
    """The way to one server; called from several threads."""

    def __init__(self, base: SplitResult, ca_bundle: Path | None = None) -> None:
        """`base` is scheme and host of the server; a proxy is taken from the environment, as obstore does."""
        self._base = base
        self._context = _tls_context(ca_bundle) if base.scheme == "https" else None
        self._proxy = _proxy_for(base)
        self._idle: list[tuple[float, _Connection]] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._idle)

    @property
    def host(self) -> str:
        """What the header Host holds: without a port that is the scheme's own."""
        default = {"http": 80, "https": 443}.get(self._base.scheme)
        return self._base.netloc.removesuffix(f":{default}")

    def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"", *, seconds: float, longest: int = LONGEST_BODY
    ) -> Answer:  # fmt: skip
        """Send one request and read its answer, all within so many seconds; a 2xx body may be as long as `longest`."""
        with self.opened(method, target, headers, body, seconds=seconds) as answer:
            whole = answer.read_whole(longest) if 200 <= answer.status < 300 else answer.read_beginning()
            return Answer(answer.status, answer.headers, whole)

    @contextlib.contextmanager
    def opened(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"", *, seconds: float
    ) -> Iterator[OpenAnswer]:
        """Send one request; the answer's body is read by the caller, within the same seconds."""
        connection = self._connection()
        answer = None
        try:
            answer = connection.ask(method, self._target(target), headers, body, time.monotonic() + seconds)
            yield answer
        finally:
            if answer is not None and answer.is_read:
                self._keep(connection)
            else:
                connection.close()
            if answer is not None:
                answer.close()

    def _target(self, target: str) -> str:
        return target if self._proxy is None or self._base.scheme == "https" else f"http://{self._base.netloc}{target}"

    def _connection(self) -> _Connection:
        oldest = time.monotonic() - _IDLE_SECONDS
        while True:
            with self._lock:
                if not self._idle:
                    break
                since, connection = self._idle.pop()
            if since >= oldest and connection.is_quiet:
                return connection
            connection.close()
        return _Connection(self._base, self._proxy, self._context)

    def _keep(self, connection: _Connection) -> None:
        with self._lock:
            if len(self._idle) < _MOST_IDLE:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()


def _close_all(idle: list[tuple[float, _Connection]]) -> None:
    while idle:
        idle.pop()[1].close()


class _Connection:
    """One connection, opened by its first request."""

    def __init__(self, base: SplitResult, proxy: SplitResult | None, context: ssl.SSLContext | None) -> None:
        self._proxy = proxy
        place = base if proxy is None else proxy
        port = place.port or (443 if place.scheme == "https" else 80)
        self._via_proxy = _proxy_headers(proxy) if proxy is not None else {}
        if base.scheme == "https":
            self._http: http.client.HTTPConnection = http.client.HTTPSConnection(
                place.hostname or "", port, timeout=CONNECT_SECONDS, context=context
            )
            if proxy is not None:
                self._http.set_tunnel(base.hostname or "", base.port or 443, self._via_proxy)
                self._via_proxy = {}
        else:
            self._http = http.client.HTTPConnection(place.hostname or "", port, timeout=CONNECT_SECONDS)

    def ask(self, method: str, target: str, headers: Mapping[str, str], body: bytes, deadline: float) -> OpenAnswer:
        head = _head(method, target, {**headers, **self._via_proxy}, body)
        if self._http.sock is None:
            try:
                self._http.connect()
            except TimeoutError as error:
                raise CannotConnectError(str(error)) from error
            _refuse_authorities_own(self._http.sock)
        sock = self._http.sock
        sock.settimeout(_left(deadline))
        refused: OSError | None = None
        try:
            if len(body) <= _JOINED:
                sock.sendall(head + body)
            else:
                sock.sendall(head)
                sock.sendall(body)
        except (BrokenPipeError, ConnectionResetError) as error:
            refused = error  # a server that refuses early may have said why
        timed = _TimedSocket(sock, deadline)
        response = http.client.HTTPResponse(timed, method=method)  # type: ignore[arg-type]
        try:
            response.begin()
            if timed.reader.has_ended:  # within the head, of which http.client takes a part for the whole
                raise http.client.IncompleteRead(b"")
        except (OSError, http.client.HTTPException) as error:
            response.close()
            if (
                isinstance(error, http.client.BadStatusLine)
                and timed.reader.has_ended
                and "HTTP/".startswith(str(error)[:5])
            ):
                raise http.client.IncompleteRead(b"") from error
            raise (refused or error) from error
        return OpenAnswer(response)

    @property
    def is_quiet(self) -> bool:
        """Whether the server has neither closed the connection nor said anything unasked."""
        if self._http.sock is None:
            return False
        poll = select.poll()
        poll.register(self._http.sock, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        self._http.close()


class _TimedReader(io.RawIOBase):
    """A socket's bytes until a deadline: a server that drips a byte a minute gets no more time than another."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._file = sock.makefile("rb", buffering=0)
        self._socket, self._deadline = sock, deadline
        self.has_ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        self._socket.settimeout(_left(self._deadline))
        count = self._file.readinto(buffer)
        self.has_ended = self.has_ended or count == 0
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _TimedSocket:
    """What http.client.HTTPResponse needs of a socket."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.reader = _TimedReader(sock, deadline)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self.reader, 16 * 1024)


def _head(method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Raises ValueError where a name or value would end its line."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if body or method in {"PUT", "POST"}:
        lines.append(f"content-length: {len(body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header with a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _refuse_authorities_own(sock: socket.socket | None) -> None:
    """An authority's certificate is no server's: obstore's TLS, which makes the listings, refuses it, and OpenSSL does not."""
    if isinstance(sock, ssl.SSLSocket) and _IS_AUTHORITY.search(sock.getpeercert(binary_form=True) or b""):
        sock.close()
        raise ssl.SSLCertVerificationError("the certificate of an authority (CA:TRUE)")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _proxy_for(base: SplitResult) -> SplitResult | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name for this server."""
    proxies = getproxies()
    address = proxies.get(base.scheme) or proxies.get("all")
    if not address or proxy_bypass(base.netloc):
        return None
    proxy = urlsplit(address if "://" in address else f"http://{address}")
    return proxy if proxy.scheme == "http" and proxy.hostname else None


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return {"proxy-authorization": f"Basic {base64.b64encode(login).decode()}"}


def _tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_bundle is not None:
        context.load_verify_locations(ca_bundle)
    return context
