"""The ledger: durable knowledge of every object to mirror, in SQLite. It owns the entries, and knows no S3.

Only acknowledged uploads need to survive a power cut, so only settling waits for the disk; a pending entry that gets
lost is found again in Frigate's table. One thread may use a Ledger at a time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from frigate_s3_mirror.entries import Entry, Outcome, Problem
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger_file import LedgerFile
from frigate_s3_mirror.lifecycle import State

DESTINATION = "s3"
_RECORD = """
INSERT INTO object (destination, event_id, kind, camera, label, start_time, happened_at, event, source, key, state,
                    next_attempt_at, last_error, recorded_at, part, seconds)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id, destination, kind, part) DO UPDATE
SET source = excluded.source, key = coalesce(object.key, excluded.key), state = excluded.state, event = excluded.event,
    happened_at = excluded.happened_at, next_attempt_at = 0, deferrals = 0
WHERE object.state IN ('awaited', 'absent') AND excluded.state IN ('pending', 'skipped')
RETURNING id
"""
_SETTLE = """
UPDATE object SET state = ?, attempts = ?, deferrals = ?, next_attempt_at = ?, last_error = ?,
                  size_bytes = coalesce(?, size_bytes), sha256 = coalesce(?, sha256), etag = coalesce(?, etag),
                  uploaded_at = coalesce(?, uploaded_at)
WHERE id = ? AND state <> 'uploaded'
"""
_ENTRY = (
    "id, event, kind, source, key, state, happened_at, attempts, deferrals, next_attempt_at, last_error, part, seconds"
)
# A due time further ahead than any backoff comes from a clock that was set back since: it is due, too.
_DUE = f"""SELECT {_ENTRY} FROM object
           WHERE state = ?1 AND (next_attempt_at <= ?2 OR next_attempt_at > ?2 + 600) AND (kind = 'clip') = ?4
           ORDER BY happened_at DESC LIMIT ?3"""  # noqa: S608
_DUE_UPTO = """SELECT count(*) FILTER (WHERE id <= ?1), count(*), max(id) FROM object
               WHERE state = 'pending' AND (next_attempt_at <= ?2 OR next_attempt_at > ?2 + 600) AND (kind = 'clip') = ?3"""
_OLDEST = f"""SELECT {_ENTRY} FROM object WHERE state = 'pending' AND happened_at > ? AND kind <> 'clip'
              ORDER BY happened_at LIMIT ?"""  # noqa: S608
_ADOPT = """
INSERT INTO object (destination, event_id, kind, camera, label, start_time, happened_at, event, source, key, state,
                    next_attempt_at, last_error, recorded_at, part, seconds, size_bytes, sha256, etag, uploaded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id, destination, kind, part) DO UPDATE
SET camera = excluded.camera, label = excluded.label, start_time = excluded.start_time, event = excluded.event,
    source = coalesce(object.source, excluded.source), key = excluded.key, state = 'uploaded', last_error = NULL,
    size_bytes = excluded.size_bytes, sha256 = excluded.sha256, etag = excluded.etag, uploaded_at = excluded.uploaded_at
WHERE object.state <> 'uploaded' OR object.key IS NULL
"""
_IMPORT = """
INSERT OR IGNORE INTO object (destination, event_id, kind, happened_at, state, attempts, last_error, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


REASON = """replace(replace(coalesce(last_error, ''), coalesce(source, ''), 'The file'),
                    replace(coalesce(source, ''), 'recording:', ''), 'The file')"""
"""SQL: why an entry is not in the bucket, in words that are the same for all files that share the fate."""


class Ledger(LedgerFile):
    """All entries of one state folder; opened once, used from one thread at a time."""

    # -- what the service does -------------------------------------------------------------------------------------

    def record(self, entries: Sequence[Entry], now: float) -> list[Entry]:
        """Take in entries that are not known yet; an awaited or absent one becomes pending when its file came.

        Returns those that were taken in, with their row numbers. Not durable by itself, see the module's text.
        """
        taken: list[Entry] = []
        with self._transaction(durable=False) as connection:
            for entry in entries:
                row = connection.execute(_RECORD, _record_values(entry, now)).fetchone()
                if row is not None:
                    taken.append(replace(entry, row=row[0]))
        return taken

    def due(
        self, state: State, now: float, limit: int, known: frozenset[int] = frozenset(), *, clips: bool = False
    ) -> list[Entry]:
        """Entries in this state whose next attempt is due, newest first; at most `limit` besides the known rows.

        Pictures, or the parts of clips.
        """
        rows = self.connection.execute(_DUE, (state, now, limit + len(known), clips))
        return [_entry(row) for row in rows if row[0] not in known]

    def next_due(self, now: float, *, clips: bool = False) -> float | None:
        """Unix seconds of the earliest next attempt of a pending entry after `now`, or None."""
        sql = """SELECT min(next_attempt_at) FROM object
                 WHERE state = 'pending' AND next_attempt_at BETWEEN ?1 AND ?1 + 600 AND (kind = 'clip') = ?2"""
        row = self.connection.execute(sql, (now, clips)).fetchone()
        return None if row[0] is None else float(row[0])

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Write what became of attempts, in one durable transaction. An uploaded entry never changes again.

        An entry that could not be recorded (its row is negative: the disk was full) is recorded here.
        """
        with self._transaction(durable=any(o.state is not State.PENDING for o in outcomes)) as connection:
            outcomes = [o if o.entry.row > 0 else self._record_late(connection, o) for o in outcomes]
            connection.executemany(
                _SETTLE,
                [
                    (o.state, o.attempts, o.deferrals, o.next_attempt_at, o.error, o.size_bytes, o.sha256, o.etag, o.uploaded_at, o.entry.row)
                    for o in outcomes
                ],
            )  # fmt: skip

    def _record_late(self, connection: sqlite3.Connection, outcome: Outcome) -> Outcome:
        entry = outcome.entry
        connection.execute(_RECORD, _record_values(entry, time.time())).fetchone()
        row = connection.execute(
            "SELECT id FROM object WHERE event_id = ? AND destination = ? AND kind = ? AND part = ?",
            (entry.event.id, DESTINATION, entry.kind, entry.part),
        ).fetchone()
        return replace(outcome, entry=replace(entry, row=row[0]))

    def oldest_pending_entries(self, after: float, limit: int) -> list[Entry]:
        """Pending pictures that happened after this (unix seconds), oldest first."""
        return [_entry(row) for row in self.connection.execute(_OLDEST, (after, limit))]

    def release(self) -> None:
        """Make every pending entry due now that was only waiting for the service (after an outage)."""
        with self._transaction(durable=False) as connection:
            connection.execute(
                "UPDATE object SET next_attempt_at = 0 WHERE state = 'pending' AND attempts = 0 AND next_attempt_at > 0"
            )

    def retry_failed(self, event_ids: Sequence[str] = (), reason: str | None = None) -> list[str]:
        """Make failed and expired entries (of these events, or all) pending again; returns their event ids.

        `reason`: only those with this REASON.
        """
        taken: list[str] = []
        with self._transaction(durable=True) as connection:
            for event_id in event_ids or (None,):
                rows = connection.execute(
                    f"""UPDATE object SET state = 'pending', attempts = 0, deferrals = 0, next_attempt_at = 0
                        WHERE state IN ('failed', 'expired') AND source IS NOT NULL AND (?1 IS NULL OR event_id = ?1)
                        AND (?2 IS NULL OR {REASON} = ?2) RETURNING event_id""",  # noqa: S608
                    (event_id, reason),
                ).fetchall()
                rows += connection.execute(
                    "DELETE FROM object WHERE state = 'failed' AND source IS NULL AND (?1 IS NULL OR event_id = ?1) RETURNING event_id",
                    (event_id,),
                ).fetchall()  # imported without details: forgotten here, so that the scan finds it anew
                taken += [row[0] for row in rows]
        return sorted(set(taken))

    def entries(self, rows: Sequence[int]) -> list[Entry]:
        """These entries; those that were imported by name alone are left out."""
        marks = ",".join("?" * len(rows))
        sql = f"SELECT {_ENTRY} FROM object WHERE id IN ({marks}) AND event IS NOT NULL"  # noqa: S608
        return [_entry(row) for row in self.connection.execute(sql, list(rows))]

    def unmirrored(self) -> Iterator[Entry]:
        """Entries that should be in the bucket and are not, newest first."""
        sql = f"""SELECT {_ENTRY} FROM object WHERE state IN ('pending', 'failed', 'expired') AND event IS NOT NULL
                  ORDER BY happened_at DESC"""  # noqa: S608
        for row in self.connection.execute(sql):
            yield _entry(row)

    def uploaded_objects(
        self, condition: str, parameters: Sequence[object], kind: Kind
    ) -> Iterator[tuple[str, str, str | None, float, str | None, str | None]]:
        """Key, event id, camera, start (unix seconds), SHA-256 and ETag of uploads; `condition` is over the alias `o`."""
        sql = f"""
            SELECT o.key, o.event_id, o.camera, coalesce(o.start_time, o.happened_at), o.sha256, o.etag FROM object o
            WHERE o.state = 'uploaded' AND o.key IS NOT NULL AND o.kind = ? AND {condition} ORDER BY o.happened_at DESC
        """  # noqa: S608
        yield from self.connection.execute(sql, [kind, *parameters])

    def count_uploaded(self, condition: str, parameters: Sequence[object], kind: Kind) -> int:
        """How many rows `uploaded_objects` gives."""
        sql = f"SELECT count(*) FROM object o WHERE o.state = 'uploaded' AND o.key IS NOT NULL AND o.kind = ? AND {condition}"  # noqa: S608
        return int(self.connection.execute(sql, [kind, *parameters]).fetchone()[0])

    def requeue(self, rows: Sequence[int]) -> None:
        """Make uploaded entries pending again: the bucket does not have them (any more)."""
        with self._transaction(durable=True) as connection:
            connection.executemany(
                "UPDATE object SET state = 'pending', attempts = 0, deferrals = 0, next_attempt_at = 0, etag = NULL WHERE id = ?",
                [(row,) for row in rows],
            )

    def adopt(self, outcomes: Sequence[Outcome], now: float) -> int:
        """Take in objects that the bucket has; what the ledger knows as uploaded with a key stays as it is.

        Returns how many were new.
        """
        with self._transaction(durable=True) as connection:
            rows = [(*_record_values(o.entry, now), o.size_bytes, o.sha256, o.etag, o.uploaded_at) for o in outcomes]
            return sum(connection.execute(_ADOPT, row).rowcount for row in rows)

    def forget(self, rows: Sequence[int]) -> None:
        """Drop these entries."""
        with self._transaction(durable=False) as connection:
            connection.executemany("DELETE FROM object WHERE id = ?", [(row,) for row in rows])

    def import_state(self, uploaded: Iterable[str], failed: dict[str, tuple[int, str]], now: float) -> tuple[int, int]:
        """Take over ids from the text state files; returns how many uploaded and failed ones were new."""
        with self._transaction(durable=True) as connection:
            rows = ((DESTINATION, i, Kind.SNAPSHOT, time_of_id(i, now), State.UPLOADED, 0, None, now) for i in uploaded)
            new_uploaded = connection.executemany(_IMPORT, rows).rowcount
            rows_failed = [
                (DESTINATION, i, Kind.SNAPSHOT, time_of_id(i, now), State.FAILED, count, error, now)
                for i, (count, error) in failed.items()
            ]
            new_failed = connection.executemany(_IMPORT, rows_failed).rowcount
        return max(new_uploaded, 0), max(new_failed, 0)

    # -- what people and exports ask -------------------------------------------------------------------------------

    def counts(self, *, clips: bool = False) -> dict[State, int]:
        """Pictures by state, or the parts of clips."""
        counts = dict.fromkeys(State, 0)
        sql = "SELECT state, count(*) FROM object WHERE (kind = 'clip') = ? GROUP BY state"
        for state, count in self.connection.execute(sql, (clips,)):
            counts[State(state)] = count
        return counts

    def left(self) -> int:
        """How many entries are not in the bucket and should be."""
        sql = "SELECT count(*) FROM object WHERE state IN ('pending', 'failed', 'expired')"
        return int(self.connection.execute(sql).fetchone()[0])

    def pending_keys(self, *, clips: bool) -> set[str]:
        """The keys of what waits: pictures, or the parts of clips."""
        sql = "SELECT key FROM object WHERE state = 'pending' AND (kind = 'clip') = ? AND key IS NOT NULL"
        return {row[0] for row in self.connection.execute(sql, (clips,))}

    def backlog(self) -> int:
        """How many entries are pending."""
        return int(self.connection.execute("SELECT count(*) FROM object WHERE state = 'pending'").fetchone()[0])

    def retrying(self) -> int:
        """Pending pictures that were tried at least once."""
        sql = (
            "SELECT count(*) FROM object WHERE state = 'pending' AND (attempts > 0 OR deferrals > 0) AND kind <> 'clip'"
        )
        return int(self.connection.execute(sql).fetchone()[0])

    def next_retry(self, now: float) -> float | None:
        """When the first of the pictures that were tried before is tried again (unix seconds), or None."""
        sql = (
            "SELECT min(next_attempt_at) FROM object WHERE state = 'pending' AND next_attempt_at > ? AND kind <> 'clip'"
        )
        found = self.connection.execute(sql, (now,)).fetchone()[0]
        return None if found is None else float(found)

    def due_upto(self, row: float, now: float, *, clips: bool) -> tuple[int, int, int]:
        """Count the due entries up to this row number and all of them; also return the highest of their row numbers."""
        counts = self.connection.execute(_DUE_UPTO, (row, now, clips)).fetchone()
        return int(counts[0]), int(counts[1]), int(counts[2] or 0)

    def oldest_pending(self) -> float | None:
        """When the event of the oldest pending picture happened (unix seconds), or None without a backlog."""
        sql = "SELECT min(happened_at) FROM object WHERE state = 'pending' AND kind <> 'clip'"
        row = self.connection.execute(sql).fetchone()
        return None if row[0] is None else float(row[0])

    def last_uploaded(self) -> tuple[float, str] | None:
        """Time (unix seconds) and key of the newest upload."""
        row = self.connection.execute(
            """SELECT uploaded_at, key FROM object INDEXED BY object_uploads
               WHERE uploaded_at IS NOT NULL AND state = 'uploaded' AND key IS NOT NULL ORDER BY uploaded_at DESC LIMIT 1"""
        ).fetchone()
        return None if row is None else (float(row[0]), str(row[1]))

    def uploaded_since(self, since: float) -> int:
        """How many pictures S3 has taken since then (unix seconds)."""
        sql = "SELECT count(*) FROM object WHERE uploaded_at >= ? AND kind <> 'clip'"
        return int(self.connection.execute(sql, (since,)).fetchone()[0])

    def uploaded_ids(self, kind: Kind) -> Iterator[str]:
        """Event ids whose object of this kind S3 has."""
        for row in self.connection.execute(
            "SELECT event_id FROM object WHERE state = 'uploaded' AND kind = ? ORDER BY id", (kind,)
        ):
            yield row[0]

    def problems(self, *states: State, limit: int = 1000, with_clips: bool = False) -> list[Problem]:
        """Pictures in these states, newest first; the parts of clips among them when asked for."""
        marks = ",".join("?" * len(states))
        which = "" if with_clips else "AND kind <> 'clip'"
        sql = f"""SELECT event_id, camera, kind, state, attempts, last_error, happened_at FROM object
                  WHERE state IN ({marks}) {which} ORDER BY happened_at DESC LIMIT ?"""  # noqa: S608
        return [
            Problem(row[0], row[1], row[2], State(row[3]), row[4], row[5], row[6])
            for row in self.connection.execute(sql, (*states, limit))
        ]


def _record_values(entry: Entry, now: float) -> tuple[object, ...]:
    event = entry.event
    return (
        DESTINATION, event.id, entry.kind, event.camera, event.label, event.start_time, entry.happened_at,
        event.to_json(), entry.source, entry.key, entry.state, entry.next_attempt_at, entry.last_error, now,
        entry.part, entry.seconds,
    )  # fmt: skip


def _entry(row: Sequence[Any]) -> Entry:
    return Entry(
        row=row[0], event=Event.from_json(row[1]), kind=Kind(row[2]), source=row[3], key=row[4], state=State(row[5]),
        happened_at=row[6], attempts=row[7], deferrals=row[8], next_attempt_at=row[9], last_error=row[10], part=row[11], seconds=row[12],
    )  # fmt: skip


def time_of_id(event_id: str, otherwise: float | None = None) -> float:
    """The unix time that a Frigate event id begins with, else `otherwise` (now by default)."""
    try:
        return float(event_id.split("-", 1)[0])
    except ValueError:
        return time.time() if otherwise is None else otherwise
