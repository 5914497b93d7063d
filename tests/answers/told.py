"""The answers: what is told, by whom, and whether S3 did before what it was asked to do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from stub_s3 import CUT, STALL, Broken, Request, StubS3, refusal, reply

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}
ELSEWHERE = {"Location": "http://login.example/in"}


def sha_etag(body: bytes) -> str:
    """Looks like an MD5 and is none, as with KMS."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def request_md5(request: Request) -> bytes:
    """What a program would have to name that knows what S3's ETags are."""
    return hashlib.md5(request.body, usedforsecurity=False).hexdigest().encode()


_MD5 = b"{md5}"
"""Stands in an answer for the MD5 of what was sent."""


@dataclass(frozen=True)
class Answer:
    """One answer to the request that matters."""

    name: str
    raw: bytes = b""
    """What is sent; nothing for S3's own answer."""
    status: int | None = None
    """None: there is no whole answer."""
    code: str = ""
    by_s3: bool = True
    """Else another program stands there, and takes every PUT in S3's place."""
    does: bool = False
    """Whether S3 does what was asked before it is answered so."""
    has_md5: bool = True
    """Whether S3's ETags are the MD5."""
    more_headers: tuple[tuple[str, str], ...] = ()
    """What S3's own answers bear besides."""
    holds: bytes | None = None
    """What is in the bucket under the key before; b"" is what will be sent."""
    look: bytes | None = None
    """What who then looks into the bucket is told; None: what is true."""
    refuses_condition: bool = False
    """Only a PUT that names a condition is answered so."""
    retry_after: float | None = None
    """The seconds that it names, if they are any."""

    @property
    def is_own(self) -> bool:
        """S3 answers for itself."""
        return self.refuses_condition or (not self.raw and self.status == 200)

    @property
    def is_lost(self) -> bool:
        """S3 did it, and does not say so."""
        return self.does and not self.is_own

    def to(self, request: Request, stub: StubS3) -> bytes:
        """The answer's bytes, after what S3 does."""
        if self.refuses_condition and "if-none-match" in request.headers:
            return self.raw
        own = stub.own_answer(request) if self.does else b""
        asks_for_checksum = b"x-amz-checksum-" in own and own.startswith(b"HTTP/1.1 400")
        if self.is_own or asks_for_checksum:
            return own
        return self.raw.replace(_MD5, request_md5(request)) if _MD5 in self.raw else self.raw


KMS = (("x-amz-server-side-encryption", "aws:kms"),)


def _unseen(name: str, look: bytes) -> tuple[Answer, Answer]:
    """What only a look can settle, and the look fails."""
    return (
        Answer(f"200, KMS, a look is answered {name}", status=200, does=True, has_md5=False, more_headers=KMS, look=look),
        Answer(f"412, a look is answered {name}", refusal(412, "PreconditionFailed"), 412, "PreconditionFailed", holds=b"", look=look),
    )  # fmt: skip


def _refused(status: int, code: str, name: str = "", **headers: str) -> Answer:
    return Answer(name or f"{status} {code}", refusal(status, code, **headers), status, code)


def _bare(status: int, name: str = "", headers: dict[str, str] | None = None, *, by_s3: bool = True) -> Answer:
    return Answer(name or f"{status} bare", reply(status, headers), status, by_s3=by_s3)


def _program(name: str, raw: bytes, status: int) -> Answer:
    return Answer(name, raw, status, by_s3=False)


def _slow(name: str, retry_after: str, seconds: float | None, code: str = "SlowDown") -> Answer:
    raw = refusal(503, code, Retry_After=retry_after)
    return Answer(f"503 {code}, Retry-After {name}", raw, 503, code, retry_after=seconds)


UNKNOWN = "NeverHeardOf"
SPOILED = "200, nothing stored, an MD5 of something else"
_TORN = Broken(b'HTTP/1.1 200 Told\r\nETag: "1"\r\nContent-Length: 100\r\n\r\nabc')
ANSWERS: tuple[Answer, ...] = (
    Answer("200", status=200, does=True),
    Answer("200, KMS", status=200, does=True, has_md5=False, more_headers=KMS),
    Answer("200, an MD5 of something else", status=200, does=True, has_md5=False),
    Answer("200, lost", CUT, does=True),
    Answer("200, torn", _TORN, does=True),
    Answer("200, never told", STALL, does=True),
    Answer("500, and done", refusal(500, "InternalError"), 500, "InternalError", does=True),
    Answer("503, and done", reply(503), 503, does=True),
    _program("200, nothing stored, odd ETag", reply(200, {"ETag": '"65f3-38"'}), 200),
    _program(SPOILED, reply(200, {"ETag": f'"{"0" * 32}"'}), 200),
    _program("200, nothing at all", reply(200), 200),
    _program("200 HTML", reply(200, {**HTML, "ETag": '"65f3-38"'}, PAGE), 200),
    _program("200 JSON", reply(200, {"Content-Type": "application/json"}, b'{"ok": true}'), 200),
    Answer("200 <Error>", reply(200, {}, b"<Error><Code>InternalError</Code></Error>"), 200, "InternalError"),
    Answer("200 <Error> SlowDown", reply(200, {}, b"<Error><Code>SlowDown</Code></Error>"), 200, "SlowDown"),
    *(_program(str(status), reply(status, {"ETag": '"abc"'}), status) for status in (201, 202, 204, 206)),
    *(_program(f"{status}, the right MD5", reply(status, {"ETag": '"{md5}"', **ELSEWHERE}), status) for status in (201, 204, 206, 302)),
    _refused(301, "PermanentRedirect"),
    _refused(301, "PermanentRedirect", "301 PermanentRedirect, Location", Location="http://elsewhere.example/"),
    _bare(301),
    _bare(301, "301 Location", ELSEWHERE),
    *(_bare(status, f"{status} Location", ELSEWHERE, by_s3=False) for status in (302, 303, 307, 308)),
    *(_bare(status, by_s3=False) for status in (302, 307)),
    _refused(307, "TemporaryRedirect", Location="http://elsewhere.example/"),
    _bare(400),
    *(_refused(400, code) for code in ("InvalidArgument", "InvalidRequest", "EntityTooLarge", "KeyTooLongError", "ExpiredToken",
        "RequestTimeout", "BadDigest", "InvalidStorageClass", UNKNOWN)),
    _program("400 HTML", reply(400, HTML, PAGE), 400),
    _bare(401),
    *(_refused(403, code) for code in ("AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "RequestTimeTooSkewed", "NotSignedUp")),
    _bare(403),
    _program("403 HTML", reply(403, HTML, PAGE), 403),
    _refused(404, "NoSuchBucket"),
    _bare(404),
    _refused(405, "MethodNotAllowed"),
    _bare(405),
    _bare(408),
    *(_refused(409, code) for code in ("ConditionalRequestConflict", "OperationAborted")),
    _bare(409),
    _refused(411, "MissingContentLength"),
    _bare(411),
    Answer("412, the same is there", refusal(412, "PreconditionFailed"), 412, "PreconditionFailed", holds=b""),
    Answer("412, another is there", refusal(412, "PreconditionFailed"), 412, "PreconditionFailed", holds=b"another"),
    _program("412 HTML", reply(412, HTML, PAGE), 412),
    _bare(412, by_s3=False),
    _program("413 HTML", reply(413, HTML, PAGE), 413),
    _bare(413),
    _refused(416, "InvalidRange"),
    _bare(416),
    _refused(429, "TooManyRequests"),
    _bare(429),
    Answer("429, Retry-After 7", reply(429, {"Retry-After": "7"}), 429, retry_after=7.0),
    _refused(500, "InternalError"),
    _bare(500),
    _refused(501, "NotImplemented"),
    _bare(501),
    _bare(502),
    _refused(503, "SlowDown"),
    _bare(503),
    _slow("7", "7", 7.0),
    _slow("0", "0", 0.0),
    _slow("huge", "86399999", 86400.0),
    _slow("nonsense", "soon", None),
    _slow("7", "7", 7.0, "ServiceUnavailable"),
    Answer("503 bare, Retry-After 7", reply(503, {"Retry-After": "7"}), 503, retry_after=7.0),
    _bare(507),
    *(_unseen("500", reply(500))),
    *(_unseen("HTML", reply(200, HTML))),
    *(_unseen("nothing", CUT)),
    Answer("501 to a condition", reply(501), 501, does=True, refuses_condition=True),
    Answer("400 to a condition", refusal(400, "InvalidArgument"), 400, "InvalidArgument", does=True, refuses_condition=True),
    Answer("stall", STALL),
    Answer("cut", CUT),
    Answer("torn head", Broken(b"HTTP/1.1 200 OK\r\nContent-Le")),
)  # fmt: skip

To = Callable[[Request], bool]
"""Whether this request is the one that is answered so."""
