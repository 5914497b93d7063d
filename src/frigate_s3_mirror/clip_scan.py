"""Which recording segments belong to which event and are not in the ledger yet: an anti-join over the two databases.

Frigate writes a segment's file first and its row afterwards (frigate/record/maintainer.py in 0.14 to 0.18), about five
seconds after the segment was closed: a row means a whole file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frigate_s3_mirror.bodies import PLAYLIST
from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import PASSES_GATE, Event, Filters, RefusedRowError, event_of, read_rows
from frigate_s3_mirror.keys import clip_key_for, segment_name
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.runtime import untrusted
from frigate_s3_mirror.runtime.untrusted import LATEST_TIME, RefusedValueError
from frigate_s3_mirror.scan import JoinedDatabases
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import RECORDING, recording_source

LONGEST_SEGMENT = 600.0
"""Seconds; Frigate discards longer ones (MAX_SEGMENT_DURATION)."""
ROW_PATIENCE = 120.0
"""Seconds after a clip's end for which its last segments may still come, where no later one shows that all are there."""
_WANTED = """
WITH clip AS (
    SELECT e.id, e.camera, e.start_time, e.end_time, e.start_time - :pre AS begins,
           min(coalesce(e.end_time, :now) + :post, e.start_time - :pre + :longest) AS ends
    FROM frigate.event e
    WHERE e.start_time >= :since AND e.start_time < :before AND {gate} AND {filters} AND {severity}
)
"""
_MISSING = """
SELECT {columns}, r.path, r.start_time, r.end_time
FROM clip c JOIN frigate.event e ON e.id = c.id JOIN frigate.recordings r
  ON r.camera = c.camera AND r.start_time < c.ends AND r.start_time > c.begins - :longest_segment AND r.end_time > c.begins
WHERE NOT EXISTS (SELECT 1 FROM object o WHERE o.event_id = c.id AND o.kind = 'clip'
                  AND o.part = strftime('%Y%m%dT%H%M%SZ', CAST(r.start_time AS INTEGER), 'unixepoch'))
ORDER BY c.start_time DESC, r.start_time
LIMIT :most
"""
_FINISHED = """
SELECT {columns} FROM clip c JOIN frigate.event e ON e.id = c.id
WHERE c.end_time IS NOT NULL
  AND (c.ends + :patience < :now OR EXISTS (
        SELECT 1 FROM frigate.recordings r WHERE r.camera = c.camera AND r.start_time >= c.ends AND r.start_time < c.ends + :longest_segment))
  AND EXISTS (SELECT 1 FROM object o WHERE o.event_id = c.id AND o.kind = 'clip'
              AND o.part <> '' AND o.state = 'uploaded')
  AND NOT EXISTS (SELECT 1 FROM object o WHERE o.event_id = c.id AND o.kind = 'clip'
                  AND (o.part = '' OR o.state = 'pending'))
"""
_IN_REVIEW = """
EXISTS (SELECT 1 FROM frigate.reviewsegment v WHERE v.camera = e.camera AND v.severity IN ({severities})
        AND v.start_time <= coalesce(e.end_time, :now) AND coalesce(v.end_time, :now) >= e.start_time
        AND instr(v.data, '"' || e.id || '"') > 0)
"""
_REFUSED = """
SELECT o.id, r.path, r.start_time, r.end_time FROM object o LEFT JOIN frigate.recordings r
  ON r.camera = o.camera AND r.start_time > o.happened_at - 1 AND r.start_time < o.happened_at + 1
WHERE o.state = 'failed' AND o.kind = 'clip' AND o.event IS NOT NULL AND coalesce(o.key, '') = ''
"""
MOST = 2000
"""Segments that one look takes up; the next look goes on."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A row of Frigate's `recordings` table; times are unix seconds."""

    path: str
    """As Frigate's container knows it."""
    start_time: float
    end_time: float

    @property
    def source(self) -> str | None:
        """Below the recordings folder, wherever that is mounted here; None for a path that is none of Frigate's."""
        return recording_source(self.path)


class ClipScan(JoinedDatabases):
    """What clips lack."""

    def __init__(self, ledger_path: Path, frigate_path: Path, settings: Settings) -> None:
        super().__init__(ledger_path, frigate_path)
        self._settings = settings
        self.unforeseen = 0
        """How often judging a segment ended in an error that nobody thought of."""
        self._conditions = [
            Filters(settings.cameras, settings.labels).sql(),
            Filters(settings.clip_cameras, settings.clip_labels).sql(),
        ]

    def missing(self, since: float, before: float, now: float) -> list[Entry]:
        """Segments without an entry, of events that started in between (unix seconds). Raises FrigateError."""
        rows = self._ask(_MISSING, since, before, now)
        entries = (self._segment_entry(row) for row in rows)
        return [entry for entry in entries if entry is not None]

    def finished(self, since: float, before: float, now: float) -> list[Entry]:
        """Playlists of events whose clip is complete in the bucket. Raises FrigateError."""
        events = read_rows(self._ask(_FINISHED, since, before, now))
        return [_playlist_entry(event, now, self._settings) for event in events]

    def mended(self) -> list[int]:
        """Rows of the ledger that stand for segments that are not refused any more, or are gone. Raises FrigateError."""
        self.ensure_open()
        return [row[0] for row in self.rows(_REFUSED) if row[1] is None or _is_good(row[1:])]

    def newest(self) -> Segment | None:
        """The newest segment of any camera. Raises FrigateError."""
        self.ensure_open()
        rows = self.rows(
            "SELECT path, start_time, end_time FROM frigate.recordings WHERE start_time < ? ORDER BY start_time DESC LIMIT 20",
            (LATEST_TIME,),
        )
        for row in rows:
            with contextlib.suppress(RefusedValueError):
                return segment_of(row)
        return None

    def has_reviews(self) -> bool:
        """Whether this Frigate tells alerts from detections, which it does from 0.14 on. Raises FrigateError."""
        self.ensure_open()
        return bool(self.rows("SELECT 1 FROM frigate.sqlite_master WHERE name = 'reviewsegment'"))

    def _segment_entry(self, row: Sequence[Any]) -> Entry | None:
        """None for what cannot be told of here: a row of an event that the scan for pictures refuses."""
        try:
            return _segment_entry(event_of(row[:-3]), row[-3:], self._settings)
        except (RefusedRowError, RefusedValueError):
            return None
        except Exception:  # noqa: BLE001  # told and counted; the other segments go on
            if not self.unforeseen:
                logger().exception("S3 clips: a segment could not be judged; the others go on")
            self.unforeseen += 1
            return None

    def _ask(self, question: str, since: float, before: float, now: float) -> list[Any]:
        self.ensure_open()
        filters, values = self._filters()
        sql = _WANTED.format(gate=PASSES_GATE, filters=filters, severity=self._severity()) + question.format(
            columns=self.table.columns
        )
        return self.rows(sql, {
            **values, "since": since, "before": before, "now": now, "most": MOST,
            "pre": self._settings.clip_pre, "post": self._settings.clip_post, "longest": self._settings.clip_max,
            "longest_segment": LONGEST_SEGMENT, "patience": ROW_PATIENCE,
        })  # fmt: skip

    def _filters(self) -> tuple[str, dict[str, str]]:
        """Both filters as one condition with named parameters, because the statement's others are named, too."""
        conditions, values = [], dict[str, str]()
        for condition, parameters in self._conditions:
            for parameter in parameters:
                name = f"pattern{len(values)}"
                condition = condition.replace("?", f":{name}", 1)  # noqa: PLW2901
                values[name] = parameter
            conditions.append(condition)
        return " AND ".join(conditions), values

    def _severity(self) -> str:
        severities = self._settings.clip_severity
        if not severities or not self.has_reviews():
            return "1"  # rather too many than none
        return _IN_REVIEW.format(severities=", ".join(f"'{severity}'" for severity in severities))


def segment_of(row: Sequence[object]) -> Segment:
    """Return the segment of a row of path, start and end: the gate for what the table `recordings` holds.

    Raises:
        RefusedValueError: a value is not what it should be; nothing else is raised.
    """
    path, start_time, end_time = untrusted.text(row[0]), untrusted.unix_time(row[1]), untrusted.unix_time(row[2])
    if not 0 <= end_time - start_time <= LONGEST_SEGMENT:
        raise RefusedValueError(f"its times {start_time:.3f} to {end_time:.3f} are not those of one segment")
    if recording_source(path) is None:
        raise RefusedValueError(f"{untrusted.shown(path)} is no path of Frigate's")
    return Segment(path, start_time, end_time)


def _is_good(row: Sequence[object]) -> bool:
    try:
        segment_of(row)
    except RefusedValueError:
        return False
    return True


def _segment_entry(event: Event, row: Sequence[object], settings: Settings) -> Entry:
    """The entry of a segment, or one that says why it is refused. Raises RefusedValueError without a time to call it by."""
    name = segment_name(untrusted.unix_time(row[1]))
    try:
        segment = segment_of(row)
    except RefusedValueError as error:
        happened_at, reason = untrusted.unix_time(row[1]), f"Its recording is refused: {error}."
        return Entry(0, event, Kind.CLIP, None, None, State.FAILED, happened_at, last_error=reason, part=name)
    key = clip_key_for(event, name, settings)
    source, seconds = f"{RECORDING}{segment.source}", segment.end_time - segment.start_time
    return Entry(0, event, Kind.CLIP, source, key, State.PENDING, segment.end_time, part=name, seconds=seconds)


def _playlist_entry(event: Event, now: float, settings: Settings) -> Entry:
    happened_at = min(event.end_time or now, now)
    return Entry(0, event, Kind.CLIP, PLAYLIST, clip_key_for(event, "", settings), State.PENDING, happened_at)
