"""What the ledger is about: entries, what became of them, and those that people must hear of."""

from __future__ import annotations

from dataclasses import dataclass

from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.lifecycle import State


@dataclass(frozen=True, slots=True)
class Entry:
    """One object to mirror. `row` is the ledger's number for it, 0 before it is recorded.

    An event has one object of each kind, but for its clip: there `part` names the segment, and "" is the playlist.
    """

    row: int
    event: Event
    kind: Kind
    source: str | None
    """Where its content comes from; None while no file was ever seen, and for an event that was refused."""
    key: str | None
    """Its name in the bucket; None where there is no source. Nothing is never spelled ""."""
    state: State
    happened_at: float
    attempts: int = 0
    deferrals: int = 0
    next_attempt_at: float = 0.0
    last_error: str | None = None
    part: str = ""
    seconds: float | None = None
    """How long a segment is."""
    was_uploaded: bool = False
    """S3 had it before: it was queued again."""

    @property
    def object_source(self) -> str:
        """Where the content of what waits to be sent is. Raises ValueError for an entry without one."""
        if self.source is None:
            raise ValueError(f"event {self.event.id} has no source for its {self.kind}")
        return self.source

    @property
    def object_key(self) -> str:
        """The key of an entry that waits to be sent; the ledger holds no such entry without one.

        Raises:
            ValueError: it has none, because no file of it was ever seen.
        """
        if self.key is None:
            raise ValueError(f"the entry of event {self.event.id} has no key")
        return self.key

    @property
    def identity(self) -> tuple[str, Kind, str]:
        """What makes it this object and no other."""
        return self.event.id, self.kind, self.part


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt; written to the ledger before anyone is told of it."""

    entry: Entry
    state: State
    attempts: int
    deferrals: int
    next_attempt_at: float
    error: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    etag: str | None = None
    uploaded_at: float | None = None
    source_modified_at: float | None = None
    """Unix seconds: the file's time when it was read; a later change of the file can be told by it."""
    duration_seconds: float = 0.0
    is_queued_again: bool = False
    """It waits for S3 alone, and kept its place in the uploader's queue."""
    is_told: bool = False
    """Why it waits is told for all that wait for the same."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What the ledger knows of an object that S3 acknowledged; `uploaded_at` in unix seconds."""

    size_bytes: int | None
    etag: str | None
    sha256: str | None
    uploaded_at: float | None


@dataclass(frozen=True, slots=True)
class Problem:
    """An entry that did not make it, for people: what, where, and why."""

    event_id: str
    camera: str | None
    kind: str
    state: State
    attempts: int
    error: str | None
    happened_at: float
