"""One upload, from the file to the checked answer. It decides nothing about when, and keeps nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.keys import CONTENT_TYPES, object_metadata
from frigate_s3_mirror.ledger import Entry, Outcome
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3 import Store, StoreError, Upload, md5_of_etag
from frigate_s3_mirror.settings import Settings


@dataclass(frozen=True, slots=True)
class Body:
    """An entry's content, read once: small ones as bytes, large ones as a path to stream from."""

    content: bytes | None
    size_bytes: int
    sha256: str
    reopen: Callable[[], BinaryIO] | None = None
    """Opens the file again when `content` is None."""


class Reader(Protocol):
    """Where bodies come from; called from several threads."""

    def read(self, entry: Entry) -> Body:
        """Raises SourceVanishedError or SourceRefusedError."""
        ...


class Sender:
    """Reads, hashes, puts and checks; used by several threads at a time."""

    def __init__(self, settings: Settings, store: Store, reader: Reader, clock: Clock) -> None:
        self._settings, self._store, self._reader, self._clock = settings, store, reader, clock
        self._storage_class = settings.effective_storage_class
        self._etags_are_md5: bool | None = None

    def send(self, entry: Entry) -> Outcome:
        """The outcome of an upload that S3 acknowledged.

        Raises SourceVanishedError, SourceRefusedError or StoreError.
        """
        started = self._clock.monotonic()
        body = self._reader.read(entry)
        content = body.reopen() if body.reopen is not None else body.content or b""
        upload = Upload(
            key=entry.key,
            body=content,
            size_bytes=body.size_bytes,
            content_type=CONTENT_TYPES[entry.key.rsplit(".", 1)[1]],
            metadata=object_metadata(entry.event, body.sha256),
            storage_class=self._storage_class,
        )
        try:
            etag = self._store.put(upload)
        finally:
            if not isinstance(content, bytes):
                content.close()
        acknowledged_at = self._clock.now()
        if isinstance(content, bytes):
            self._check_etag(etag, entry.key, content)
        return Outcome(
            entry,
            State.UPLOADED,
            entry.attempts,
            entry.deferrals,
            0.0,
            size_bytes=body.size_bytes,
            sha256=body.sha256,
            etag=etag,
            uploaded_at=acknowledged_at,
            duration_seconds=self._clock.monotonic() - started,
        )

    def size_of(self, entry: Entry) -> int:
        """Bytes that the upload will take, for pacing; 0 where nobody knows."""
        try:
            return (self._settings.clips_dir / entry.source).lstat().st_size
        except OSError:
            return 0

    def _check_etag(self, etag: str, key: str, content: bytes) -> None:
        """Compare the ETag where it is an MD5. With KMS encryption it looks like one and is none, so the first that
        differs is settled by reading the object back; write-only keys cannot, and then the signed body has to do.
        """
        claimed = md5_of_etag(etag)
        if claimed is None or self._etags_are_md5 is False:
            return
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == claimed:
            self._etags_are_md5 = True
            return
        if self._etags_are_md5 is None:
            try:
                damaged = self._store.get(key) != content
            except StoreError:
                damaged = False
            if not damaged:
                self._etags_are_md5 = False
                logger().info("S3 ETags are no MD5 here (encrypted bucket?); the signature alone protects the bodies")
                return
        raise StoreError(
            ErrorClass.TRANSIENT, "S3 stored something else than was sent (its ETag differs); sending it again."
        )
