"""One upload, from the file to the checked answer. It decides nothing about when, and keeps nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

from frigate_s3_mirror import policies
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.keys import CONTENT_TYPES, object_metadata
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3 import Store, Stored, Upload, md5_of_etag
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.settings import Settings

_NEVER_CHANGES = "private, max-age=86400, immutable"
"""For segments: what a player has loaded ahead it need not fetch, and pay for, once more."""


@dataclass(frozen=True, slots=True)
class Body:
    """An entry's content, read once: small ones as bytes, large ones as an open file at its beginning.

    What is open stays readable when Frigate deletes or moves it.
    """

    content: bytes | BinaryIO
    size_bytes: int
    sha256: str
    parts_etag: str | None = None
    """The ETag of a large one when it is stored in parts, see s3.parts_etag."""
    modified_at: float | None = None
    """When the file was last written (unix seconds); None for what is no file of this machine's."""
    recheck: Callable[[], None] | None = None
    """Raises SourceUnfinishedError when a large one changed since it was hashed; to be called after its upload."""

    def close(self) -> None:
        """Give the file back."""
        if not isinstance(self.content, bytes):
            self.content.close()


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
        self._creates = _may_create(settings)
        self._doubtful: frozenset[int] = frozenset()
        self._damaged: set[str] = set()  # keys under which S3 holds what we sent and it spoiled

    def send(self, entry: Entry, pace: Callable[[int], None]) -> Outcome:
        """The outcome of an upload that S3 acknowledged; `pace` may wait before so many bytes are sent.

        Raises SourceVanishedError, SourceRefusedError, SourceUnreachableError or StoreError.
        """
        body = self._reader.read(entry)
        try:
            return self._send(entry, body, pace)
        finally:
            body.close()

    def _send(self, entry: Entry, body: Body, pace: Callable[[int], None]) -> Outcome:
        started = self._clock.monotonic()
        if entry.row in self._doubtful and (stored := self._stored_before(entry, body)) is not None:
            return self._done(entry, body, stored.etag, stored.modified_at, started)
        pace(body.size_bytes)
        etag, is_checked = self._put(self._upload(entry, body))
        if body.recheck is not None:
            body.recheck()
        acknowledged_at = self._clock.now()
        if isinstance(body.content, bytes):
            self._check_etag(etag, entry.key, body.content)
        elif body.parts_etag is not None:
            self._check_parts(etag, entry.key, body.parts_etag)
        outcome = self._done(entry, body, etag, acknowledged_at, started)
        return outcome if is_checked else replace(outcome, sha256=None)

    def _upload(self, entry: Entry, body: Body) -> Upload:
        metadata = object_metadata(entry.event, body.sha256)
        if entry.part and entry.seconds is not None:
            metadata["seconds"] = f"{entry.seconds:.3f}"
        return Upload(
            key=entry.key,
            body=body.content,
            size_bytes=body.size_bytes,
            content_type=CONTENT_TYPES[entry.key.rsplit(".", 1)[1]],
            metadata=metadata,
            storage_class=self._storage_class,
            tags=policies.tags(entry.kind.value, self._settings),
            cache_control=_NEVER_CHANGES if entry.part else None,
        )

    def doubt(self, rows: Iterable[int]) -> None:
        """These entries were perhaps in flight when the service was killed: look before they are sent again."""
        self._doubtful = frozenset(rows)

    def _done(self, entry: Entry, body: Body, etag: str, uploaded_at: float, started: float) -> Outcome:
        return Outcome(
            entry, State.UPLOADED, entry.attempts, entry.deferrals, 0.0, size_bytes=body.size_bytes, sha256=body.sha256,
            etag=etag, uploaded_at=uploaded_at, duration_seconds=self._clock.monotonic() - started,
        )  # fmt: skip

    def _stored_before(self, entry: Entry, body: Body) -> Stored | None:
        """The object, when it is there with this very content; None for any other answer, also for "you may not look"."""
        try:
            there = self._store.describe(entry.key)
        except StoreError:
            return None
        is_ours = there.size_bytes == body.size_bytes and there.metadata.get("sha256") == body.sha256
        whole = isinstance(body.content, bytes) and _is_same(there, body.content)
        return there if whole or (is_ours and md5_of_etag(there.etag) is None) else None

    def retry_after(self, entry: Entry) -> float | None:
        """Seconds for which the server wants to be left alone, when it says so."""
        return self._store.retry_after(entry.key)

    def _put(self, upload: Upload) -> tuple[str, bool]:
        """The ETag, and whether the content is known to be ours.

        The object is created only, where the server can tell creating from overwriting.
        """
        if not self._creates or not isinstance(upload.body, bytes) or upload.key in self._damaged:
            return self._store.put(upload), True
        try:
            return self._store.put(upload, create=True), True
        except StoreError as error:
            if error.status == 412:
                return self._accept(upload, upload.body)
            if error.status != 501 and error.code not in {"NotImplemented", "InvalidArgument", "InvalidRequest"}:
                raise
        etag = self._store.put(upload)  # refused with the condition and taken without it
        self._creates = False
        logger().info("S3 snapshot mirror: this server has no conditional put, so S3_OVERWRITE=never cannot be kept")
        return etag, True

    def _accept(self, upload: Upload, content: bytes) -> tuple[str, bool]:
        """What is there already, when it is the same: an upload whose answer got lost. Raises StoreError."""
        try:
            there = self._store.describe(upload.key)
            same = _is_same(there, content) or self._store.get(upload.key) == content
        except StoreError as error:
            if error.status not in {401, 403}:
                raise
            # A key that may only write cannot look. Only this event's upload has this key, and it was not overwritten.
            logger().info(
                "S3 upload was there already, and the key may not read it: counted as done key=%s", upload.key
            )
            return "", False
        if same:
            return there.etag, True
        raise StoreError(
            ErrorClass.OBJECT, "Another object is under this key and is left alone; S3_OVERWRITE=changed replaces it."
        )

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
        raise self._damage(key)

    def _check_parts(self, etag: str, key: str, expected: str) -> None:
        """The same for an object in parts. Where the ETags of small ones are no MD5, these tell nothing, either."""
        if self._etags_are_md5 is not True or "-" not in etag or etag == expected:
            return
        raise self._damage(key)

    def _damage(self, key: str) -> StoreError:
        self._damaged.add(key)
        sentence = "S3 stored something else than was sent (its ETag differs); sending it again."
        return StoreError(ErrorClass.TRANSIENT, sentence)


def _may_create(settings: Settings) -> bool:
    """Whether uploads are made conditional: as the user says, else where the server is not known to refuse it."""
    if settings.overwrite is not None:
        return settings.overwrite == "never"
    return settings.preset.conditional_put is not False


def _is_same(there: Stored, content: bytes) -> bool:
    """Whether size and ETag prove that the object has this content; False means: not proven."""
    if there.size_bytes != len(content):
        return False
    claimed = md5_of_etag(there.etag)
    return claimed is not None and claimed == hashlib.md5(content, usedforsecurity=False).hexdigest()
