"""An HTTP/1.1 proxy on loopback between a client and a real S3 server: owns the record of what passed, and the faults.

It knows nothing of S3 but the form of an error. Requests go on unchanged, `Host` included, so that a signature made for
the proxy's address stays valid. Run as a program it appends one JSON line for each request to a file.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from http import HTTPStatus
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from http_messages import Message, Server, read_body, read_head

_DRIP_SECONDS = 0.005
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class FaultKind(StrEnum):
    """What goes wrong, and whether the server has stored the object by then."""

    ANSWER = "answer"
    """An error with an XML body; the server sees nothing."""
    RESET_BEFORE = "reset before"
    """The connection is reset; the server sees nothing."""
    RESET_AFTER = "reset after"
    """The connection is reset instead of the answer: the server did what was asked."""
    CUT = "cut"
    """The connection ends in the answer's first line: the server did what was asked."""
    WRONG_ETAG = "wrong etag"
    """The answer bears an ETag of something else."""
    DRIP = "drip"
    """The answer comes a byte at a time."""
    HANG = "hang"
    """No answer until `RecordingProxy.release` or the end; the server sees nothing."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault and the requests that it befalls: `times` of them (None: any number), each with probability `share`."""

    kind: FaultKind
    times: int | None = None
    share: float = 1.0
    methods: frozenset[str] = frozenset({"PUT"})
    path_part: str = ""
    status: int = 503
    code: str = "SlowDown"
    headers: tuple[tuple[str, str], ...] = ()
    """More headers of an ANSWER, for example Retry-After."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as it passed. Times are unix seconds."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    """Names in lower case."""
    body_bytes: int
    status: int
    """What the client was told; 0 for no (whole) answer."""
    server_status: int
    """What the server said; 0 when it was not asked."""
    fault: str
    started_at: float
    ended_at: float


@dataclass(slots=True)
class _Armed:
    fault: Fault
    left: int | None


class RecordingProxy:
    """Stands before the server at `upstream_url`; start it by `with`. May be told of faults at any time."""

    def __init__(self, upstream_url: str, seed: int = 1, *, observer: Callable[[Exchange], None] | None = None) -> None:
        split = urlsplit(upstream_url)
        self._upstream = (split.hostname or "127.0.0.1", split.port or 80)
        self._random = random.Random(seed)  # noqa: S311  # chooses faults, the same for each seed
        self._observer = observer
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []
        self._armed: list[_Armed] = []
        self._released = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._port = 0

    @property
    def endpoint_url(self) -> str:
        """Where clients find the proxy; the same after `refusing`."""
        return f"http://127.0.0.1:{self._port}"

    # -- what tests ask and tell -----------------------------------------------------------------------------------

    def requests(self, *methods: str) -> list[Exchange]:
        """What passed so far, in the order of its end; of these methods, or all."""
        with self._lock:
            return [exchange for exchange in self._exchanges if not methods or exchange.method in methods]

    def stored(self) -> Counter[str]:
        """How often the server accepted a PUT of each path (`/bucket/key`), whatever the client was told."""
        return Counter(exchange.path for exchange in self.requests("PUT") if exchange.server_status == HTTPStatus.OK)

    def forget(self) -> None:
        """Start a new record."""
        with self._lock:
            self._exchanges.clear()

    def inject(self, *faults: Fault) -> None:
        """Arm faults; the first that fits a request befalls it."""
        with self._lock:
            self._armed += [_Armed(fault, fault.times) for fault in faults]

    def heal(self) -> None:
        """No more faults; hanging requests end."""
        with self._lock:
            self._armed.clear()
        self.release()

    def release(self) -> None:
        """End requests that hang, by a reset; later ones hang again."""
        with self._lock:
            self._released.set()
            self._released = threading.Event()

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """The port is closed and every connection reset: what a server that is gone looks like."""
        self._stop_listening()
        self._drop_connections()
        try:
            yield
        finally:
            self._listen()

    # -- life ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every connection and thread; may be called twice."""
        self._stop_listening()
        self.heal()
        self._drop_connections()
        for thread in self._threads:
            thread.join(10)

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=128)  # sets SO_REUSEADDR
        self._port = self._listener.getsockname()[1]
        self._start(self._accept, self._listener)

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept; close alone does not
            listener.close()

    def _drop_connections(self) -> None:
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _start(self, target: Callable[[socket.socket], None], connection: socket.socket) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=target, args=(connection,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(client)
            self._start(self._serve, client)

    # -- one connection --------------------------------------------------------------------------------------------

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = Server(self._upstream)
        reader = client.makefile("rb")
        try:
            while self._pass_on(client, reader, server):
                pass
        except OSError:
            pass  # the client or the server went away: what the client sees of it is what a network does
        finally:
            server.close()
            reader.close()
            with self._lock:
                self._open.discard(client)
            client.close()

    def _pass_on(self, client: socket.socket, reader: BufferedReader, server: Server) -> bool:
        """One request and its answer; returns whether the connection goes on."""
        head = read_head(reader)
        if not head:
            return False
        request = Message(head, b"")
        if request.headers.get("expect", "").lower() == "100-continue":
            client.sendall(_CONTINUE)
        request.body = read_body(reader, request.headers, until_close=False)
        started_at = time.time()
        fault = self._choose(request)
        answer = self._answer(request, fault, server)
        server_status = 0 if answer is None else int(answer.first_line[1])
        told = 0
        if fault is None or fault.kind in {FaultKind.WRONG_ETAG, FaultKind.DRIP}:
            assert answer is not None
            told = server_status
        elif fault.kind is FaultKind.ANSWER:
            answer, told = _error_answer(fault), fault.status
        self._note(request, fault, told, server_status, started_at)
        return _deliver(client, answer, fault) and request.headers.get("connection", "").lower() != "close"

    def _answer(self, request: Message, fault: Fault | None, server: Server) -> Message | None:
        """The server's answer; None where a fault keeps the request from it."""
        if fault is not None and fault.kind in {FaultKind.ANSWER, FaultKind.RESET_BEFORE, FaultKind.HANG}:
            if fault.kind is FaultKind.HANG:
                with self._lock:
                    released = self._released
                released.wait()
            return None
        answer = server.ask(request)
        if fault is not None and fault.kind is FaultKind.WRONG_ETAG:
            return _with_other_etag(answer)
        return answer

    def _choose(self, request: Message) -> Fault | None:
        method, path = request.first_line[:2]
        with self._lock:
            for armed in self._armed:
                fault = armed.fault
                if armed.left == 0 or method not in fault.methods or fault.path_part not in path:
                    continue
                if self._random.random() < fault.share:
                    armed.left = None if armed.left is None else armed.left - 1
                    return fault
        return None

    def _note(self, request: Message, fault: Fault | None, told: int, server_status: int, started_at: float) -> None:
        path, _, query = request.first_line[1].partition("?")
        exchange = Exchange(
            request.first_line[0], unquote(path), query, request.headers, len(request.body), told, server_status,
            fault.kind if fault is not None else "", started_at, time.time(),
        )  # fmt: skip
        with self._lock:
            self._exchanges.append(exchange)
            if self._observer is not None:
                self._observer(exchange)


# -- what the client gets ------------------------------------------------------------------------------------------


def _error_answer(fault: Fault) -> Message:
    body = f"<Error><Code>{fault.code}</Code><Message>injected</Message></Error>".encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in fault.headers)
    head = (
        f"HTTP/1.1 {fault.status} Injected\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(body)}\r\n{more}\r\n"
    )
    return Message(head.encode(), body)


def _with_other_etag(answer: Message) -> Message:
    lines = [line for line in answer.head.split(b"\r\n") if line and not line.lower().startswith(b"etag:")]
    return Message(b"\r\n".join([*lines, b'ETag: "' + b"0" * 32 + b'"', b"", b""]), answer.body)


def _deliver(client: socket.socket, answer: Message | None, fault: Fault | None) -> bool:
    """Hand the answer over, or what the fault leaves of it; returns whether the connection goes on."""
    if answer is None or (fault is not None and fault.kind is FaultKind.RESET_AFTER):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends RST, not FIN
        return False
    if fault is not None and fault.kind is FaultKind.CUT:
        client.sendall(answer.head[:6])  # within the first line: some clients take a torn head for an answer
        return False
    if fault is not None and fault.kind is FaultKind.DRIP:
        for byte in answer.head + answer.body:
            client.sendall(bytes((byte,)))
            time.sleep(_DRIP_SECONDS)
    else:
        client.sendall(answer.head + answer.body)
    return answer.headers.get("connection", "").lower() != "close" and (
        "content-length" in answer.headers or not answer.body or "transfer-encoding" in answer.headers
    )


def main(upstream_url: str, record: Path) -> None:
    """Record into a file until SIGTERM; the first line on stdout is the proxy's address."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with record.open("a", buffering=1) as file:

        def note(exchange: Exchange) -> None:
            print(json.dumps(asdict(exchange)), file=file)

        with RecordingProxy(upstream_url, observer=note) as proxy:
            print(proxy.endpoint_url, flush=True)
            signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
