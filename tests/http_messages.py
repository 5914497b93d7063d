"""HTTP/1.1 messages as the bytes that they were on the wire, and one kept connection that exchanges them."""

from __future__ import annotations

import select
import socket
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BufferedReader

_CHUNK = 65536
_NO_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


@dataclass(slots=True)
class Message:
    """One request or answer. Header names are in lower case."""

    head: bytes
    body: bytes
    first_line: list[str] = field(init=False)
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        first, *rest = self.head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.first_line = first.split(" ", 2)
        pairs = (line.partition(":") for line in rest)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}


class Server:
    """One kept connection to the server; made anew when the server closed it while it was idle."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._connection: socket.socket | None = None
        self._reader: BufferedReader | None = None

    def ask(self, request: Message) -> Message:
        """Send the request's bytes and read the answer."""
        connection, reader = self._connected()
        connection.sendall(request.head + request.body)
        while True:
            answer = Message(read_head(reader, needed=True), b"")
            status = int(answer.first_line[1])
            if status >= HTTPStatus.OK:  # the client got its 100 Continue from us
                break
        if request.first_line[0] != "HEAD" and status not in _NO_BODY:
            answer.body = read_body(reader, answer.headers, until_close=True)
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Close; may be called twice."""
        if self._connection is not None and self._reader is not None:
            self._reader.close()
            self._connection.close()
        self._connection = self._reader = None

    def _connected(self) -> tuple[socket.socket, BufferedReader]:
        if self._connection is not None and _is_closed(self._connection):
            self.close()
        if self._connection is None or self._reader is None:
            self._connection = socket.create_connection(self._address, timeout=60)
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._reader = self._connection.makefile("rb")
        return self._connection, self._reader


def read_head(reader: BufferedReader, *, needed: bool = False) -> bytes:
    """Up to the empty line; empty when the connection ended before. Raises ConnectionError when it ended within."""
    lines: list[bytes] = []
    while line := reader.readline(_CHUNK):
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    if lines or needed:
        raise ConnectionError("the connection ended within a head")
    return b""


def read_body(reader: BufferedReader, headers: dict[str, str], *, until_close: bool) -> bytes:
    """The body as it is on the wire, chunk marks included."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _read_chunks(reader)
    if "content-length" in headers:
        body = reader.read(int(headers["content-length"]))
        if len(body) < int(headers["content-length"]):
            raise ConnectionError("the connection ended within a body")
        return body
    return reader.read() if until_close else b""


def _read_chunks(reader: BufferedReader) -> bytes:
    parts: list[bytes] = []
    while True:
        parts.append(mark := reader.readline(_CHUNK))
        size = int(mark.split(b";")[0], 16)
        if size == 0:
            break
        parts.append(reader.read(size + 2))
    while (line := reader.readline(_CHUNK)) not in {b"\r\n", b""}:
        parts.append(line)  # trailers
    return b"".join([*parts, b"\r\n"])


def _is_closed(connection: socket.socket) -> bool:
    """An idle connection that can be read has nothing to say but that it ended."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
