"""One upload, from the file to the checked answer. It decides nothing about when, and keeps nothing."""

from __future__ import annotations

import contextlib
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
from frigate_s3_mirror.storage.proof import DAMAGED

_LOOKS_IN_VAIN = 32
"""So many objects in a row that were not there: from then on only some are looked for."""
_LOOK_EVERY = 64
_DENIALS = 8
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
        self._creates = _may_create(settings)
        self._doubtful: frozenset[int] = frozenset()
        self._lost = LostLedger()
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
        upload = self._upload(entry, body)
        create = self._shall_create(entry, upload)
        is_doubtful = entry.row in self._doubtful or self._lost.wants_look(entry.happened_at)
        # S3 may have taken an earlier try whose answer got lost; without a condition only a look tells.
        is_doubtful = is_doubtful or (entry.deferrals > 0 and not create)
        if is_doubtful and (stored := self._stored_before(entry, body)) is not None:
            return self._done(entry, body, stored.etag, stored.modified_at, started)
        pace(body.size_bytes)
        try:
            etag, is_checked = self._put(upload, create=create)
        except StoreError as error:
            if error.code == DAMAGED:
                self._damaged.add(upload.key)
            raise
        if body.recheck is not None:
            body.recheck()
        acknowledged_at = self._clock.now()
        outcome = self._done(entry, body, etag, acknowledged_at, started)
        return outcome if is_checked else replace(outcome, sha256=None)

    def _upload(self, entry: Entry, body: Body) -> Upload:
        metadata = object_metadata(entry.event, body.sha256)
        if entry.part and entry.seconds is not None:
            metadata["seconds"] = f"{entry.seconds:.3f}"
        return Upload(
            key=entry.object_key,
            body=body.content,
            size_bytes=body.size_bytes,
            content_type=CONTENT_TYPES[entry.object_key.rsplit(".", 1)[1]],
            metadata=metadata,
            storage_class=self._storage_class,
            tags=policies.tags(entry.kind.value, self._settings),
            cache_control=_NEVER_CHANGES if entry.part else None,
        )

    def doubt(self, rows: Iterable[int]) -> None:
        """These entries were perhaps in flight when the service was killed: look before they are sent again."""
        self._doubtful = frozenset(rows)

    def ledger_is_new(self, now: float) -> None:
        """Nothing is known of what was sent before now (unix seconds): where S3 itself does not tell, look before sending."""
        if self._settings.preset.conditional_put is not True:
            self._lost.made_at = now

    def _done(self, entry: Entry, body: Body, etag: str, uploaded_at: float, started: float) -> Outcome:
        return Outcome(
            entry, State.UPLOADED, entry.attempts, entry.deferrals, 0.0, size_bytes=body.size_bytes, sha256=body.sha256,
            etag=etag, uploaded_at=uploaded_at, source_modified_at=body.modified_at, duration_seconds=self._clock.monotonic() - started,
        )  # fmt: skip

    def _stored_before(self, entry: Entry, body: Body) -> Stored | None:
        """The object, when it is there with this very content; None for any other answer, also for "you may not look"."""
        try:
            there = self._store.describe(entry.object_key)
        except StoreError as error:
            self._lost.looked_in_vain(may_look=error.status not in {401, 403})
            return None
        self._lost.found()
        return there if self._is_this(there, entry.object_key, body) else None

    def _is_this(self, there: Stored, key: str, body: Body) -> bool:
        """Whether what is there is this body. With KMS an ETag looks like an MD5 and is none: then it is read."""
        if isinstance(body.content, bytes) and _is_same(there, body.content):
            return True
        if there.size_bytes != body.size_bytes or there.metadata.get("sha256") != body.sha256:
            return False
        if md5_of_etag(there.etag) is None:
            return True
        with contextlib.suppress(StoreError):
            return isinstance(body.content, bytes) and self._store.get(key) == body.content
        return False

    def retry_after(self, entry: Entry) -> float | None:
        """Seconds for which the server wants to be left alone, when it says so."""
        return self._store.retry_after(entry.object_key)

    def _shall_create(self, entry: Entry, upload: Upload) -> bool:
        """Whether an object that is there shall be left alone. One that S3 had from us, or spoiled, is replaced."""
        is_ours = entry.was_uploaded and self._settings.overwrite != "never"
        return self._creates and isinstance(upload.body, bytes) and upload.key not in self._damaged and not is_ours

    def _put(self, upload: Upload, *, create: bool) -> tuple[str, bool]:
        """The ETag, and whether the content is known to be ours.

        The object is created only, where the server can tell creating from overwriting.
        """
        if not create or not isinstance(upload.body, bytes):
            return self._store.put(upload), True
        try:
            return self._store.put(upload, create=True), True
        except StoreError as error:
            if error.status == 412 and error.is_from_s3:
                self._lost.made_at = None  # S3 tells by itself
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
            same = _is_same(there, content) or (
                there.size_bytes == len(content) and self._store.get(upload.key) == content
            )
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


@dataclass(slots=True)
class LostLedger:
    """Decides what to look for in the bucket after the ledger was lost, on servers that overwrite without a word.

    What was sent before the loss lies together in time, so a long run of objects that are not there makes it look rarely.
    """

    made_at: float | None = None
    """Unix seconds; None: the ledger knows all."""
    _in_vain: int = 0

    def wants_look(self, happened_at: float) -> bool:
        """Whether an entry of an event of this time is to be looked for before it is sent."""
        if self.made_at is None or happened_at >= self.made_at:
            return False
        if self._in_vain >= _LOOKS_IN_VAIN and self._in_vain % _LOOK_EVERY:
            self._in_vain += 1
            return False
        return True

    def looked_in_vain(self, *, may_look: bool) -> None:
        """It was not there, or the key may not look: S3 says so of what is missing, too, to keys that may not list."""
        self._in_vain += 1
        if not may_look and self._in_vain >= _DENIALS:
            self.made_at = None

    def found(self) -> None:
        """Something was there."""
        self._in_vain = 0


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
