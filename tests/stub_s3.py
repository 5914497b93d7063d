"""An S3 server that a test tells how to answer: it checks signatures and checksums, and stores, unless told otherwise."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import unquote

from frigate_s3_mirror.environment import load
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.storage.signature import Keys, Signer
from http_messages import Message, read_body, read_head

ACCESS_KEY, SECRET_KEY, BUCKET = "stub-access-key", "stub-secret-key", "stub-bucket"


def reply(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def refusal(status: int, code: str, message: str = "told", **headers: str) -> bytes:
    """An error as S3 gives it."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return reply(status, {"Content-Type": "application/xml", "x-amz-request-id": "1", **more}, body)


@dataclass
class Request:
    """What came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        return unquote(self.target.partition("?")[0]).removeprefix(f"/{BUCKET}").removeprefix("/")


Answering = Callable[[Request], bytes | None]
"""The raw answer, or None for S3's own."""


def always(answer: bytes) -> Answering:
    """The same to every request."""
    return lambda _request: answer


def to_puts(answer: bytes) -> Answering:
    """The same to every PUT; the rest is S3's own."""
    return lambda request: answer if request.method == "PUT" else None


@dataclass
class StubS3:
    """One bucket."""

    port: int = 0
    may_read: bool = True
    secret_key: str = SECRET_KEY
    etag: Callable[[bytes], str] = lambda body: f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
    more_headers: dict[str, str] = field(default_factory=dict)
    answering: Answering = lambda _request: None
    requests: list[Request] = field(default_factory=list)
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, **more: str) -> Settings:
        environ = {
            "S3_ENDPOINT_URL": self.url, "S3_BUCKET": BUCKET, "S3_ACCESS_KEY": ACCESS_KEY, "S3_SECRET_KEY": SECRET_KEY, **more,
        }  # fmt: skip
        return load(environ).settings

    def methods(self) -> list[str]:
        return [request.method for request in self.requests]

    def answer(self, request: Request) -> bytes:
        self.requests.append(request)
        told = self.answering(request)
        if told is not None:
            return told
        if not self._is_signed(request):
            return refusal(403, "SignatureDoesNotMatch")
        match request.method:
            case "PUT":
                return self._put(request)
            case "DELETE":
                return reply(204)
            case _:
                return self._read(request)

    def _read(self, request: Request) -> bytes:
        is_head = request.method == "HEAD"
        if not self.may_read:
            return reply(403) if is_head else refusal(403, "AccessDenied")
        if request.key not in self.objects:
            return reply(404) if is_head else refusal(404, "NoSuchKey")
        body, metadata = self.objects[request.key]
        headers = {"ETag": self.etag(body), "Last-Modified": "Wed, 25 Nov 2026 10:00:00 GMT", **metadata}
        whole = reply(200, headers, body)
        return whole[: -len(body)] if is_head else whole

    def _put(self, request: Request) -> bytes:
        md5 = base64.b64encode(hashlib.md5(request.body, usedforsecurity=False).digest()).decode()
        if request.headers.get("content-md5", md5) != md5:
            return refusal(400, "BadDigest")
        if "if-none-match" in request.headers and request.key in self.objects:
            return refusal(412, "PreconditionFailed")
        kept = {name: value for name, value in request.headers.items() if name.startswith("x-amz-meta-")}
        self.objects[request.key] = request.body, kept
        etag = self.etag(request.body)
        return reply(200, {"x-amz-request-id": "1", **({"ETag": etag} if etag else {}), **self.more_headers})

    def _is_signed(self, request: Request) -> bool:
        claimed = request.headers.get("authorization", "")
        names = claimed.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        headers = {name: request.headers.get(name, "") for name in names if name != "x-amz-date"}
        at = datetime.strptime(request.headers.get("x-amz-date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        region = claimed.split("/")[2] if claimed.count("/") >= 3 else ""
        digest = request.headers.get("x-amz-content-sha256", "")
        signer = Signer(Keys(ACCESS_KEY, self.secret_key), region)
        signed = signer.signed(request.method, request.target, headers, digest, at)
        return signed["authorization"] == claimed and hashlib.sha256(request.body).hexdigest() == digest


@contextmanager
def listening_raw(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """A listener on loopback; each connection is served in a thread. Gives the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve_and_close(client: socket.socket) -> None:
        with client, suppress(OSError):
            serve(client)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                thread = threading.Thread(target=serve_and_close, args=(client,), daemon=True)
                threads.append(thread)
                thread.start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@contextmanager
def stub_s3(**options: object) -> Iterator[StubS3]:
    """A stub that serves until the end of the block."""
    stub = StubS3(**options)  # type: ignore[arg-type]

    def serve(client: socket.socket) -> None:
        with client.makefile("rb") as reader:
            while head := read_head(reader):
                message = Message(head, b"")
                body = read_body(reader, message.headers, until_close=False)
                client.sendall(
                    stub.answer(Request(message.first_line[0], message.first_line[1], message.headers, body))
                )

    with listening_raw(serve) as stub.port:
        yield stub
