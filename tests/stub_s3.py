"""An S3 server that a test tells how to answer: it checks signatures and checksums, and stores, unless told otherwise.

Whole bodies and uploads in parts; with versions, with Object Lock, and for keys that may write, read or list.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote

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


class Broken(bytes):
    """What is sent of an answer before the connection is cut."""


class Silence(bytes):
    """No answer, and the connection stays open until the client has enough."""


CUT, STALL = Broken(), Silence()


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

    @property
    def query(self) -> dict[str, str]:
        pairs = parse_qs(self.target.partition("?")[2], keep_blank_values=True)
        return {name: values[0] for name, values in pairs.items()}


Answering = Callable[[Request], bytes | None]
"""The raw answer, or None for S3's own."""


def always(answer: bytes) -> Answering:
    """The same to every request."""
    return lambda _request: answer


def to_puts(answer: bytes) -> Answering:
    """The same to every PUT; the rest is S3's own."""
    return lambda request: answer if request.method == "PUT" else None


@dataclass
class PartsUpload:
    """An upload in parts that was begun: headers of its beginning, and ETag and body of each part."""

    key: str
    headers: dict[str, str]
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)


@dataclass
class StubS3:
    """One bucket."""

    port: int = 0
    may_read: bool = True
    may_list: bool = True
    """Else what is missing is forbidden, as S3 says it to such a key."""
    is_versioned: bool = False
    is_locked: bool = False
    """It has Object Lock, and takes no body without a checksum (of the whole ones: x-amz-checksum-sha256)."""
    secret_key: str = SECRET_KEY
    etag: Callable[[bytes], str] = lambda body: f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
    more_headers: dict[str, str] = field(default_factory=dict)
    answering: Answering = lambda _request: None
    requests: list[Request] = field(default_factory=list)
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    """How often an object was stored under each key: each is a version where there are versions."""
    uploads: dict[str, PartsUpload] = field(default_factory=dict)
    """Uploads in parts that were neither completed nor aborted."""

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
        return self.own_answer(request)

    def own_answer(self, request: Request) -> bytes:
        """What S3 does and says, whatever else was told."""
        match request.method:
            case "PUT" if "partNumber" in request.query:
                return self._put_part(request)
            case "PUT":
                return self._put(request)
            case "POST" if "uploads" in request.query:
                return self._begin_parts(request)
            case "POST" if "uploadId" in request.query:
                return self._end_parts(request)
            case "DELETE":
                self.uploads.pop(request.query.get("uploadId", ""), None)
                return reply(204)
            case _:
                return self._read(request)

    def _read(self, request: Request) -> bytes:
        is_head = request.method == "HEAD"
        if not self.may_read:
            return reply(403) if is_head else refusal(403, "AccessDenied")
        if request.key not in self.objects and not self.may_list:
            return reply(403) if is_head else refusal(403, "AccessDenied")
        if request.key not in self.objects:
            return reply(404) if is_head else refusal(404, "NoSuchKey")
        body, metadata = self.objects[request.key]
        headers = {"etag": self.etag(body), "Last-Modified": "Wed, 25 Nov 2026 10:00:00 GMT", **metadata}
        whole = reply(200, headers, body)
        return whole[: -len(body)] if is_head else whole

    def _put(self, request: Request) -> bytes:
        sha256 = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
        checksum = request.headers.get("x-amz-checksum-sha256", "" if self.is_locked else sha256)
        if not checksum:
            return refusal(400, "InvalidRequest", _WANTS_CHECKSUM)
        if not _is_md5(request) or checksum != sha256:
            return refusal(400, "BadDigest")
        if "if-none-match" in request.headers and request.key in self.objects:
            return refusal(412, "PreconditionFailed")
        self._store(request.key, request.body, request.headers)
        told = {"x-amz-checksum-sha256": checksum} if "x-amz-checksum-sha256" in request.headers else {}
        return self._stored(self.etag(request.body), told)

    def _begin_parts(self, request: Request) -> bytes:
        upload_id = f"upload-{len(self.requests)}"
        self.uploads[upload_id] = PartsUpload(request.key, request.headers)
        return reply(200, {"x-amz-request-id": "1"}, _xml("InitiateMultipartUploadResult", UploadId=upload_id))

    def _put_part(self, request: Request) -> bytes:
        if (upload := self.uploads.get(request.query["uploadId"])) is None:
            return refusal(404, "NoSuchUpload")
        if self.is_locked and "content-md5" not in request.headers:
            return refusal(400, "InvalidRequest", _WANTS_CHECKSUM)
        if not _is_md5(request):
            return refusal(400, "BadDigest")
        etag = self.etag(request.body)
        upload.parts[int(request.query["partNumber"])] = etag, request.body
        return reply(200, {"x-amz-request-id": "1", "ETag": etag})

    def _end_parts(self, request: Request) -> bytes:
        if (upload := self.uploads.get(request.query["uploadId"])) is None:
            return refusal(404, "NoSuchUpload")
        told = ET.fromstring(request.body)  # noqa: S314  # our own
        named = {int(part.findtext("{*}PartNumber") or 0): part.findtext("{*}ETag") for part in told}
        if named != {number: etag for number, (etag, _) in upload.parts.items()}:
            return refusal(400, "InvalidPart")
        self._store(request.key, b"".join(body for _, body in upload.parts.values()), upload.headers)
        digests = b"".join(hashlib.md5(body, usedforsecurity=False).digest() for _, body in upload.parts.values())
        etag = '"{}-{}"'.format(self.etag(digests).strip('"'), len(upload.parts))
        self.objects[request.key][1]["etag"] = etag
        del self.uploads[request.query["uploadId"]]
        return reply(200, {"x-amz-request-id": "1"}, _xml("CompleteMultipartUploadResult", ETag=etag))

    def _store(self, key: str, body: bytes, headers: dict[str, str]) -> None:
        self.objects[key] = body, {name: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
        self.taken[key] += 1

    def _stored(self, etag: str, headers: dict[str, str]) -> bytes:
        version = {"x-amz-version-id": str(sum(self.taken.values()))} if self.is_versioned else {}
        told = {"ETag": etag} if etag else {}
        return reply(200, {"x-amz-request-id": "1", **version, **told, **headers, **self.more_headers})

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


_WANTS_CHECKSUM = (
    "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"
)


def _is_md5(request: Request) -> bool:
    md5 = base64.b64encode(hashlib.md5(request.body, usedforsecurity=False).digest()).decode()
    return request.headers.get("content-md5", md5) == md5


def _xml(name: str, **children: str) -> bytes:
    root = ET.Element(name)
    for child, text in children.items():
        ET.SubElement(root, child).text = text
    return ET.tostring(root)


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
                answer = stub.answer(Request(message.first_line[0], message.first_line[1], message.headers, body))
                if isinstance(answer, Silence):
                    client.recv(1)
                client.sendall(answer)
                if isinstance(answer, Broken | Silence):
                    return

    with listening_raw(serve) as stub.port:
        yield stub
