"""The port to object storage, and what passes through it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

LARGE_BODY = 16 * 1024 * 1024
"""Bytes from which a body is streamed from disk in parts, so that memory stays flat."""
PART = 5 * 1024 * 1024
"""Bytes of each part of a large body; the last one has what is left."""
_MD5 = re.compile(r'"?([0-9a-fA-F]{32})"?')


@dataclass(frozen=True, slots=True)
class Upload:
    """One PUT. The body is bytes, or an open file for bodies of `LARGE_BODY` and more."""

    key: str
    body: bytes | BinaryIO
    size_bytes: int
    content_type: str
    metadata: dict[str, str]
    storage_class: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    cache_control: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in the bucket."""

    size_bytes: int
    etag: str
    modified_at: float
    """Unix seconds; the time of the look where the server does not say."""
    metadata: dict[str, str]
    """Names in lower case, values as they were sent."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing tells of it; `modified_at` in unix seconds, 0 where the server does not say.

    `size_bytes` is -1 where the server does not say.
    """

    key: str
    size_bytes: int
    etag: str
    modified_at: float


class Store(Protocol):
    """The narrow port to object storage; called from several threads. Every method raises StoreError."""

    def put(self, upload: Upload, *, create: bool = False) -> str:
        """Store the object under its key, whole or not at all; return its ETag without quotes, "" if there is none.

        It returns only when the answer proved that S3 has the object. With `create`, an object that is there already is
        left alone: StoreError with status 412. Bytes only.
        """
        ...

    def describe(self, key: str) -> Stored:
        """Return what is stored under the key, without its content."""
        ...

    def retry_after(self, key: str) -> float | None:
        """Return the seconds for which the server wants to be left alone, when it says so."""
        ...

    def get(self, key: str) -> bytes:
        """Return the object's content."""
        ...


def md5_of_etag(etag: str) -> str | None:
    """The MD5 that an ETag may be, or None for ETags of multipart uploads and of servers that use something else."""
    match = _MD5.fullmatch(etag)
    return match.group(1).lower() if match else None


def parts_etag(digests: Sequence[bytes]) -> str:
    """The ETag that S3 gives an object whose parts have these MD5 digests.

    Not in the API's documentation, but what AWS, MinIO, Ceph and moto do without KMS encryption.
    """
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"
