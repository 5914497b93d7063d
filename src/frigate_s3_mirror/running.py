"""Which events run now, as far as the bucket already has something of them: live pictures, segments of their clips."""

from __future__ import annotations

from dataclasses import dataclass, replace

from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import FILE_NAME
from frigate_s3_mirror.live_ledger import LiveLedger, LivePicture
from frigate_s3_mirror.settings import Settings

_LONGEST = 86_400.0
"""Seconds for which an event counts as running when no final picture ever came."""
_SILENCE = 120.0
"""Seconds without a new segment after which an event counts as over; Frigate makes one about every ten."""
_WITH_SEGMENTS = """
SELECT o.event_id, max(o.camera), max(o.label) FROM object o INDEXED BY object_uploads
WHERE o.uploaded_at >= ? AND o.kind = 'clip' AND o.part <> '' AND NOT EXISTS (
    SELECT 1 FROM object f WHERE f.event_id = o.event_id AND (f.kind = 'snapshot' OR (f.kind = 'clip' AND f.part = '')))
GROUP BY o.event_id ORDER BY min(o.start_time) DESC
"""
_SEGMENTS = "SELECT count(*) FROM object WHERE event_id = ? AND kind = 'clip' AND part <> '' AND state = 'uploaded'"


@dataclass(frozen=True, slots=True)
class RunningEvent:
    """An event without its final picture."""

    event_id: str
    camera: str | None
    label: str | None
    picture: LivePicture | None
    """The newest one in the bucket."""
    segments: int
    """Of its clip, in the bucket."""


def running_events(settings: Settings, now: float) -> list[RunningEvent]:
    """Those with a live picture first, the newest of them first. Raises LedgerError."""
    found = _with_pictures(settings, now) if settings.live else {}
    if settings.has_clips:
        with Ledger.of(settings).reading() as ledger:
            for event_id, camera, label in ledger.connection.execute(_WITH_SEGMENTS, (now - _SILENCE,)).fetchall():
                found.setdefault(event_id, RunningEvent(event_id, camera, label, None, 0))
            return [replace(event, segments=_segments(ledger, event.event_id)) for event in found.values()]
    return list(found.values())


def _with_pictures(settings: Settings, now: float) -> dict[str, RunningEvent]:
    with LiveLedger(settings.ledger_dir / FILE_NAME).reading() as live:
        pictures = live.in_progress(now - _LONGEST)
    return {p.event_id: RunningEvent(p.event_id, p.camera, p.label, p, 0) for p in pictures}


def _segments(ledger: Ledger, event_id: str) -> int:
    return int(ledger.connection.execute(_SEGMENTS, (event_id,)).fetchone()[0])
