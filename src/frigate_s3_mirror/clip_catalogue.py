"""What the ledger can tell a person of a clip: its segments in the bucket, and what is not there (yet). It only reads."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from frigate_s3_mirror.clips import ClipPart, clip_parts
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.sources import RECORDING

_ROWS = """SELECT part = '', state, count(*), max(camera), max(label), min(start_time) FROM object
           WHERE event_id = ? AND kind = 'clip' GROUP BY 1, 2"""
_SEGMENT = """SELECT key, source FROM object
              WHERE event_id = ? AND kind = 'clip' AND part = ? AND part <> '' AND state = 'uploaded' AND key IS NOT NULL"""


@dataclass(frozen=True, slots=True)
class Clip:
    """The clip of one event."""

    camera: str | None
    label: str | None
    began_at: float
    """Unix seconds, of the event."""
    parts: list[ClipPart]
    waiting: int
    lost: int
    """Segments that were given up or were gone before S3 took them."""
    is_ended: bool
    """Its playlist is made: the event is over and nothing waits."""

    @property
    def seconds(self) -> float:
        """How long it is, as far as it is in the bucket."""
        return sum(part.seconds for part in self.parts)

    @property
    def size_bytes(self) -> int:
        """Of all segments in the bucket."""
        return sum(part.size_bytes for part in self.parts)

    def goes_on(self, now: float) -> bool:
        """Whether more segments are to be expected soon."""
        return not self.is_ended and bool(self.parts) and now - self.parts[-1].uploaded_at < _PATIENCE


@dataclass(frozen=True, slots=True)
class KnownSegment:
    """Where a segment is in the bucket, and where Frigate had it."""

    key: str
    recording: str | None
    """Below the recordings folder; None where only the bucket told of it."""


_PATIENCE = 180.0
"""Seconds without a new segment after which nobody waits for one any more; Frigate makes one about every ten."""


def clip_of(ledger: Ledger, event_id: str) -> Clip | None:
    """The clip of an event, None when it has none."""
    rows = ledger.connection.execute(_ROWS, (event_id,)).fetchall()
    if not rows:
        return None
    counts = {State(row[1]): row[2] for row in rows if not row[0]}
    camera, label, began_at = rows[0][3:]
    return Clip(
        camera, label, began_at or 0.0, clip_parts(ledger, event_id), counts.get(State.PENDING, 0),
        counts.get(State.FAILED, 0) + counts.get(State.EXPIRED, 0), any(row[0] for row in rows),
    )  # fmt: skip


def known_segment(ledger: Ledger, event_id: str, name: str) -> KnownSegment | None:
    """A segment that the bucket has."""
    row = ledger.connection.execute(_SEGMENT, (event_id, name)).fetchone()
    if row is None:
        return None
    source = row[1] or ""
    return KnownSegment(row[0], source.removeprefix(RECORDING) if source.startswith(RECORDING) else None)


def began_at(name: str) -> float | None:
    """When the segment of that name began (unix seconds); None for names of others."""
    try:
        return dt.datetime.strptime(name, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC).timestamp()
    except ValueError:
        return None
