"""A copy of what is needed of Frigate's tables, for FRIGATE_SOURCE=api: all other modules read it as Frigate's own.

It owns the file and writes it; what to write is told. It is a cache: damaged, or of another version, it is made anew.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from frigate_s3_mirror.api_rows import EventRow, RecordingRow, ReviewRow
from frigate_s3_mirror.database_words import cannot_be_read
from frigate_s3_mirror.events import FrigateError
from frigate_s3_mirror.logs import logger

_VERSION = 1
_REVIEWS = """
CREATE TABLE IF NOT EXISTS reviewsegment (
    id TEXT PRIMARY KEY, camera TEXT NOT NULL, start_time REAL NOT NULL, end_time REAL, severity TEXT NOT NULL,
    data TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reviewsegment_start ON reviewsegment (camera, start_time DESC);
"""
_SCHEMA = f"""
BEGIN;
CREATE TABLE event (
    id TEXT PRIMARY KEY, camera TEXT NOT NULL, label TEXT NOT NULL, sub_label TEXT, start_time REAL NOT NULL,
    end_time REAL, has_snapshot INTEGER NOT NULL, has_clip INTEGER NOT NULL, zones TEXT NOT NULL, data TEXT NOT NULL,
    top_score REAL
) WITHOUT ROWID;
CREATE INDEX event_start ON event (start_time DESC, end_time DESC);
CREATE INDEX event_running ON event (start_time) WHERE end_time IS NULL;
CREATE TABLE recordings (
    id TEXT PRIMARY KEY, camera TEXT NOT NULL, path TEXT NOT NULL, start_time REAL NOT NULL, end_time REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX recordings_start ON recordings (camera, start_time DESC, end_time DESC);
{_REVIEWS}PRAGMA user_version = {_VERSION};
COMMIT;
"""
# Each statement changes, and returns, only what is new or different: a write without news would be one for every reader.
_PUT_EVENT = """
INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    camera = excluded.camera, label = excluded.label, sub_label = excluded.sub_label, start_time = excluded.start_time,
    end_time = excluded.end_time, has_snapshot = excluded.has_snapshot, has_clip = excluded.has_clip,
    zones = excluded.zones, data = excluded.data, top_score = coalesce(excluded.top_score, top_score)
WHERE (camera, label, sub_label, start_time, end_time, has_snapshot, has_clip, zones, data,
       top_score)
   IS NOT (excluded.camera, excluded.label, excluded.sub_label, excluded.start_time, excluded.end_time,
           excluded.has_snapshot, excluded.has_clip, excluded.zones, excluded.data,
           coalesce(excluded.top_score, top_score))
RETURNING id
"""
_PUT_RECORDING = """
INSERT INTO recordings VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET camera = excluded.camera, path = excluded.path, start_time = excluded.start_time,
    end_time = excluded.end_time
WHERE (camera, path, start_time, end_time)
   IS NOT (excluded.camera, excluded.path, excluded.start_time, excluded.end_time)
RETURNING id
"""
_PUT_REVIEW = """
INSERT INTO reviewsegment VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET camera = excluded.camera, start_time = excluded.start_time, end_time = excluded.end_time,
    severity = excluded.severity, data = excluded.data
WHERE (camera, start_time, end_time, severity, data)
   IS NOT (excluded.camera, excluded.start_time, excluded.end_time, excluded.severity, excluded.data)
RETURNING id
"""
_EVENTS_BETWEEN = "SELECT id FROM event WHERE start_time > ? AND start_time < ?"
_RECORDINGS_BETWEEN = "SELECT id FROM recordings WHERE camera = ? AND start_time >= ? AND start_time <= ?"
_FORGET_BEFORE = ("DELETE FROM recordings WHERE start_time < ?", "DELETE FROM reviewsegment WHERE start_time < ?")
_Row = TypeVar("_Row", EventRow, RecordingRow, ReviewRow)


class FrigateCopy:
    """One file; used by one thread. All methods raise FrigateError when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.times_made = 0
        """How often it was made anew, and is empty after."""
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def open(self) -> None:
        """Connect, to a new file where there is none that can be used."""
        self.close()
        try:
            if self._open_what_is_there():
                self._identity = self._identity_now()
                return
            for ending in ("", "-wal", "-shm"):
                Path(f"{self.path}{ending}").unlink(missing_ok=True)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect()
            self._connection.executescript(_SCHEMA)
            self._identity = self._identity_now()
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise FrigateError(cannot_be_read(self.path, str(error))) from error
        self.times_made += 1

    def close(self) -> None:
        """May be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def put_events(self, rows: Sequence[EventRow]) -> list[str]:
        """Write rows; returns the ids of those that are new or different."""
        return self._put(_PUT_EVENT, rows)

    def put_recordings(self, rows: Sequence[RecordingRow]) -> list[str]:
        """The same for recordings."""
        return self._put(_PUT_RECORDING, rows)

    def put_reviews(self, rows: Sequence[ReviewRow]) -> list[str]:
        """The same for reviews."""
        return self._put(_PUT_REVIEW, rows)

    def keep_events(self, named: set[str], after: float, before: float) -> int:
        """Between these times (both exclusive) Frigate has only the named ones; returns how many were forgotten."""
        return self._forget("DELETE FROM event WHERE id = ?", _EVENTS_BETWEEN, (after, before), named)

    def keep_recordings(self, named: set[str], camera: str, after: float, before: float) -> int:
        """The same for recordings of a camera (both inclusive)."""
        return self._forget("DELETE FROM recordings WHERE id = ?", _RECORDINGS_BETWEEN, (camera, after, before), named)

    def forget_event(self, event_id: str) -> None:
        """Frigate has it no more."""
        with self._writing() as connection:
            connection.execute("DELETE FROM event WHERE id = ?", (event_id,))

    def forget_before_events(self, slack: float) -> None:
        """Recordings and reviews that ended so many seconds before the oldest event are nobody's."""
        oldest = self.ask("SELECT min(start_time) FROM event")[0][0]
        bound = float("inf") if oldest is None else oldest - slack
        for forget in _FORGET_BEFORE:
            with self._writing() as connection, contextlib.suppress(sqlite3.OperationalError):  # no such table
                connection.execute(forget, (bound,))

    def have_reviews(self, *, there: bool) -> None:
        """The copy has a table of reviews where Frigate has one: without it, clips of all events go."""
        try:
            self._there.executescript(_REVIEWS if there else "DROP TABLE IF EXISTS reviewsegment")
        except sqlite3.Error as error:
            raise FrigateError(cannot_be_read(self.path, str(error))) from error

    def running(self) -> list[str]:
        """Ids of events without an end."""
        return [row[0] for row in self.ask("SELECT id FROM event WHERE end_time IS NULL")]

    def newest_start(self) -> float | None:
        """When the newest event began, by Frigate's clock (unix seconds)."""
        found: float | None = self.ask("SELECT max(start_time) FROM event")[0][0]
        return found

    def ask(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a question."""
        try:
            return self._there.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise FrigateError(cannot_be_read(self.path, str(error))) from error

    # -- the file --------------------------------------------------------------------------------------------------

    def _open_what_is_there(self) -> bool:
        """Whether there is a copy that can be used."""
        if not self.path.exists():
            return False
        try:
            self._connection = self._connect()
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            verdict = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            version, verdict = _VERSION, str(error)
        if (version, verdict) == (_VERSION, "ok"):
            return True
        if verdict != "ok":
            logger().warning("S3 snapshot mirror: the copy %s is damaged (%s) and is made anew", self.path, verdict)
        self.close()
        return False

    def _identity_now(self) -> tuple[int, int] | None:
        """Which file is under the path: somebody may have deleted the one that is open."""
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=5.0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    @property
    def _there(self) -> sqlite3.Connection:
        if self._connection is None or self._identity != self._identity_now():
            self.open()
        assert self._connection is not None  # noqa: S101  # open() raises otherwise
        return self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = self._there
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self.close()  # the next use opens it again, and makes it anew where it is damaged
            raise FrigateError(cannot_be_read(self.path, str(error))) from error

    def _put(self, sql: str, rows: Sequence[_Row]) -> list[str]:
        changed: list[str] = []
        if rows:
            with self._writing() as connection:
                for row in rows:
                    changed += [found[0] for found in connection.execute(sql, row.values).fetchall()]
        return changed

    def _forget(self, delete: str, select: str, bounds: Sequence[Any], named: set[str]) -> int:
        unnamed = [(row[0],) for row in self.ask(select, bounds) if row[0] not in named]
        if unnamed:
            with self._writing() as connection:
                connection.executemany(delete, unnamed)
        return len(unnamed)
