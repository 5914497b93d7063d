"""What surrounds the mirror and may fail: S3 with all its answers, the disk, and the moment of a kill.

S3 stands behind the real ObjectStore, in the place of its HTTP requests: what is signed, judged, proved and looked up is
the mirror's own doing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from frigate_s3_mirror.storage.signature import Keys
from frigate_s3_mirror.storage.transport import Answer

WELL = "well"
HTML = {"content-type": "text/html", "server": "nginx"}
_PAGE = b"<!doctype html><html>Please sign in</html>"


def xml_error(code: str) -> bytes:
    """An error as S3 spells it."""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>".encode()


NO_S3: dict[str, Answer] = {
    "a page with 200": Answer(200, HTML, _PAGE),
    "a page with 200 and an etag": Answer(200, {**HTML, "etag": '"65f3-38"'}, _PAGE),
    "an empty 200": Answer(200, {"server": "nginx"}),
    "201": Answer(201, {"etag": 'W/"1"'}),
    "202": Answer(202, {}),
    "204": Answer(204, {"etag": '"65f3-38"'}),
    "206": Answer(206, {}),
    "an error in a 200": Answer(200, {"content-type": "application/xml"}, xml_error("InternalError")),
    "301": Answer(301, {}),
    "303 to a login": Answer(303, {"location": "http://portal.example/login"}),
    "307": Answer(307, {"location": "http://elsewhere.example/"}, xml_error("TemporaryRedirect")),
    "a bare 400": Answer(400, {}),
    "a page with 403": Answer(403, HTML, _PAGE),
    "407": Answer(407, {}),
}
"""What other programs say to everything."""
REFUSALS: dict[str, Answer] = {
    "400 InvalidRequest": Answer(400, {}, xml_error("InvalidRequest")),
    "400 of an unknown code": Answer(400, {}, xml_error("Peculiar")),
    "401": Answer(401, {}),
    "403 AccessDenied": Answer(403, {}, xml_error("AccessDenied")),
    "403 SignatureDoesNotMatch": Answer(403, {}, xml_error("SignatureDoesNotMatch")),
    "404 NoSuchBucket": Answer(404, {}, xml_error("NoSuchBucket")),
    "405": Answer(405, {}),
    "409": Answer(409, {}, xml_error("OperationAborted")),
    "409 of a condition": Answer(409, {}, xml_error("ConditionalRequestConflict")),
    "411": Answer(411, {}, xml_error("MissingContentLength")),
    "416": Answer(416, {}),
    "429": Answer(429, {"retry-after": "7"}, xml_error("TooManyRequests")),
    "500": Answer(500, {}, xml_error("InternalError")),
    "501": Answer(501, {}, xml_error("NotImplemented")),
    "503": Answer(503, {}, xml_error("SlowDown")),
    "503 with a huge pause": Answer(503, {"retry-after": "99999999999"}, xml_error("SlowDown")),
    "503 with a pause of nonsense": Answer(503, {"retry-after": "\u00b2"}, xml_error("SlowDown")),
}
"""What S3 says when it takes nothing."""
BROKEN = (
    "refuses connections",
    "stalls",
    "cuts",
    "stores and cuts",
    "stores and says 500",
    "stores and the answer is torn",
)
OUTAGES: tuple[tuple[str, ...], ...] = (tuple(NO_S3), tuple(REFUSALS), BROKEN)
_OF_UPLOADS_ALONE = ("409", "409 of a condition", "411", "400 InvalidRequest", "400 of an unknown code", "501")
"""What S3 says to a PUT, while questions are answered."""
_OF_ONE = (Answer(400, {}, xml_error("InvalidRequest")), Answer(413, {}, xml_error("EntityTooLarge")), Answer(403, {}))


class KilledError(BaseException):
    """The process is dead; nothing of it may go on."""


@dataclass
class Fuse:
    """Kills the process at the n-th of the moments where it hurts."""

    left: int | None = None
    is_dead: bool = False

    def burn(self) -> None:
        """A moment has come. Raises KilledError."""
        if self.left is not None:
            self.left -= 1
            self.is_dead = self.is_dead or self.left <= 0
        if self.is_dead:
            raise KilledError


@dataclass(frozen=True)
class Object:
    """What a bucket holds."""

    body: bytes
    metadata: dict[str, str]
    at: float


@dataclass
class S3:
    """All buckets of one server: they outlive the mirror."""

    random: random.Random
    now: Callable[[], float]
    advance: Callable[[float], None]
    fuse: Fuse
    takes: Callable[[str, str, Object], None]
    """Is told of each object that is stored: bucket, key, object."""
    mode: str = WELL
    share: float = 1.0
    """Of the requests that meet the outage."""
    may_read: bool = True
    conditions: str = "kept"
    """`If-None-Match` is kept, ignored, or refused with 501."""
    etags_are_md5: bool = True
    buckets: dict[str, dict[str, Object]] = field(default_factory=dict)
    poisoned: dict[str, Answer] = field(default_factory=dict)
    """By event id: what S3 says to this object, while it takes others."""
    unlucky: Counter[str] = field(default_factory=Counter)
    """How often objects were refused while others passed, by event id."""
    uncertain: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Objects that S3 has and the mirror cannot know of: each may be sent once more."""

    def poison(self, event_id: str) -> None:
        """Refuse this object from now on."""
        self.poisoned[event_id] = self.random.choice(_OF_ONE)


class Requests:
    """Stands in for SignedRequests: one mirror's requests about one bucket."""

    spoiled_keys = Keys("key", "spoiled")

    def __init__(self, s3: S3, bucket: str) -> None:
        self._s3, self._bucket = s3, bucket
        s3.buckets.setdefault(bucket, {})

    def use(self, keys: Keys) -> None:
        """See SignedRequests."""

    def send(
        self, method: str, key: str = "", query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None,
        body: bytes = b"", *, sha256: str | None = None, seconds: float = 20.0, longest: int = 65536, keys: Keys | None = None,
    ) -> Answer:  # fmt: skip
        """See SignedRequests."""
        s3 = self._s3
        s3.fuse.burn()
        s3.advance(0.02)
        mode = s3.mode if s3.random.random() < s3.share else WELL
        if mode in _OF_UPLOADS_ALONE and method != "PUT":
            mode = WELL
        if mode != WELL and method in {"GET", "HEAD"} and key in s3.buckets[self._bucket]:
            s3.uncertain[self._bucket, key] += 1  # the look that was to prove the upload
        if mode in NO_S3:
            return NO_S3[mode]
        if mode in REFUSALS and s3.share < 1.0:
            s3.unlucky[(headers or {}).get("x-amz-meta-event-id", "")] += 1
        if mode == "refuses connections":
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        if mode == "stalls":
            s3.advance(seconds)
            raise TimeoutError
        if mode == "cuts":
            raise http.client.RemoteDisconnected("closed")
        if keys is not None:
            return Answer(403, {}, xml_error("SignatureDoesNotMatch"))
        if mode in REFUSALS:
            return REFUSALS[mode]
        if method == "PUT":
            return self._put(mode, key, headers or {}, body)
        return self._read(method, key)

    def _put(self, mode: str, key: str, headers: Mapping[str, str], body: bytes) -> Answer:
        s3, there = self._s3, self._s3.buckets[self._bucket]
        metadata = {name[11:]: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
        answer = s3.poisoned.get(metadata.get("event-id", ""))
        if answer is not None:
            return answer
        if "if-none-match" in headers and s3.conditions != "ignored":
            if s3.conditions == "refused":
                return Answer(501, {}, xml_error("NotImplemented"))
            if key in there:
                return Answer(412, {}, xml_error("PreconditionFailed"))
        stored = Object(body, metadata, s3.now())
        s3.takes(self._bucket, key, stored)
        there[key] = stored
        if mode != WELL:
            s3.uncertain[self._bucket, key] += 1
        s3.fuse.burn()
        match mode:
            case "stores and cuts":
                raise http.client.RemoteDisconnected("closed")
            case "stores and says 500":
                return REFUSALS["500"]
            case "stores and the answer is torn":
                raise http.client.IncompleteRead(b"")
        return Answer(200, self._headers(stored))

    def _headers(self, there: Object) -> dict[str, str]:
        md5 = hashlib.md5(there.body, usedforsecurity=False).hexdigest()
        return {
            "etag": f'"{md5}"' if self._s3.etags_are_md5 else f'"{md5[:9]}-kms"',
            "x-amz-request-id": "1",
            "server": "S3",
        }

    def _read(self, method: str, key: str) -> Answer:
        if not self._s3.may_read:
            return Answer(403, {}, b"" if method == "HEAD" else xml_error("AccessDenied"))
        there = self._s3.buckets[self._bucket].get(key)
        if there is None:
            return Answer(404, {}, b"" if method == "HEAD" else xml_error("NoSuchKey"))
        headers = {**self._headers(there), "content-length": str(len(there.body))}
        headers |= {f"x-amz-meta-{name}": value for name, value in there.metadata.items()}
        return Answer(200, headers, there.body if method == "GET" else b"")


@dataclass
class Disk:
    """Frigate's folder and the ledger's disk, as they behave now."""

    clips: Path
    hidden: Path
    """Where the clips are while their share is not mounted."""
    error: int | None = None
    """The errno that opening a picture meets."""
    is_full: bool = False

    @property
    def is_mounted(self) -> bool:
        """Whether the clips are where they ought to be."""
        return not self.hidden.exists()

    @property
    def real_clips(self) -> Path:
        """Where Frigate's files really are."""
        return self.clips if self.is_mounted else self.hidden

    def unmount(self, left_behind: tuple[str, ...]) -> None:
        """Take the share away; folders and files of these names are in its mount point."""
        self.clips.rename(self.hidden)
        self.clips.mkdir()
        for name in left_behind:
            if "." in name:
                (self.clips / name).write_bytes(b"x")
            else:
                (self.clips / name).mkdir()

    def mount(self) -> None:
        """The share is back."""
        if not self.is_mounted:
            self.clips.rename(self.clips.with_name(f"mount-point-{self.clips.stat().st_ino}"))
            self.hidden.rename(self.clips)

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Have the process meet these troubles."""
        really_open, really_link = os.open, os.link

        def opened(path: Any, *arguments: Any, **named: Any) -> int:
            if self.error is not None and str(path).startswith(f"{self.clips}/"):
                raise OSError(self.error, os.strerror(self.error))
            return really_open(path, *arguments, **named)

        def linked(source: Any, target: Any, **named: Any) -> None:
            if self.is_full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            really_link(source, target, **named)

        with mock.patch.object(os, "open", opened), mock.patch.object(os, "link", linked):
            yield
