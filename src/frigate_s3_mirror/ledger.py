"""The ledger: durable knowledge of every object to mirror, in SQLite. It owns the entries, and knows no S3.

Only acknowledged uploads need to survive a power cut, so only settling waits for the disk; a pending entry that gets
lost is found again in Frigate's table. One thread may use a Ledger at a time.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from frigate_s3_mirror.destination import home_of
from frigate_s3_mirror.entries import Entry, Outcome, Problem, Sent
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger_file import FILE_NAME, LedgerFile
from frigate_s3_mirror.ledger_home import Home
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.runtime import untrusted
from frigate_s3_mirror.runtime.untrusted import RefusedValueError
from frigate_s3_mirror.settings import Settings

_VALUES = (
    "event_id, kind, part, camera, label, start_time, happened_at, event, source, key, state, next_attempt_at, "
    "last_error, recorded_at, seconds"
)
_IS_TAKEN_UP = """(object.state IN ('awaited', 'absent', 'expired')
                  OR (object.state = 'failed' AND object.key IS NULL AND object.event IS NOT NULL))"""
"""SQL: an entry that becomes another when its file is found after all."""
_RECORD = f"""
INSERT INTO object ({_VALUES}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id, kind, part) DO UPDATE
SET camera = excluded.camera, label = excluded.label, start_time = excluded.start_time, event = excluded.event,
    happened_at = excluded.happened_at, source = excluded.source, key = excluded.key, state = excluded.state,
    attempts = 0, deferrals = 0, next_attempt_at = excluded.next_attempt_at, last_error = excluded.last_error,
    seconds = excluded.seconds
WHERE excluded.state IN ('pending', 'skipped') AND {_IS_TAKEN_UP}
RETURNING id
"""  # noqa: S608
_SETTLE = """
UPDATE object SET state = ?, attempts = ?, deferrals = ?, next_attempt_at = ?, last_error = ?,
                  size_bytes = coalesce(?, size_bytes), sha256 = coalesce(?, sha256), etag = coalesce(?, etag),
                  uploaded_at = coalesce(?, uploaded_at), source_modified_at = coalesce(?, source_modified_at)
WHERE id = ? AND state <> 'uploaded'
"""
_ENTRY = (
    "id, event, kind, source, key, state, happened_at, attempts, deferrals, next_attempt_at, last_error, part, seconds, "
    "uploaded_at, event_id, camera, label, start_time"
)
# A due time further ahead than any backoff comes from a clock that was set back since: it is due, too.
_DUE = f"""SELECT {_ENTRY} FROM object
           WHERE state = ?1 AND (next_attempt_at <= ?2 OR next_attempt_at > ?2 + 600) AND (kind = 'clip') = ?4
           ORDER BY happened_at DESC LIMIT ?3"""  # noqa: S608
_DUE_UPTO = """SELECT count(*) FILTER (WHERE id <= ?1), count(*), max(id) FROM object
               WHERE state = 'pending' AND (next_attempt_at <= ?2 OR next_attempt_at > ?2 + 600) AND (kind = 'clip') = ?3"""
_OLDEST = f"""SELECT {_ENTRY} FROM object WHERE state = 'pending' AND happened_at > ? AND kind <> 'clip'
              ORDER BY happened_at LIMIT ?"""  # noqa: S608
_ADOPT = f"""
INSERT INTO object ({_VALUES}, size_bytes, sha256, etag, uploaded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id, kind, part) DO UPDATE
SET camera = excluded.camera, label = excluded.label, start_time = excluded.start_time, event = excluded.event,
    source = coalesce(object.source, excluded.source), key = excluded.key, state = 'uploaded', last_error = NULL,
    size_bytes = excluded.size_bytes, sha256 = excluded.sha256, etag = excluded.etag, uploaded_at = excluded.uploaded_at
WHERE object.state <> 'uploaded' OR object.key IS NULL
"""  # noqa: S608
# What was queued again (uploaded_at tells) waits for its repair, whatever the list says.
_IMPORT_UPLOADED = """
INSERT INTO object (event_id, kind, happened_at, state, recorded_at) VALUES (?, ?, ?, 'uploaded', ?)
ON CONFLICT (event_id, kind, part) DO UPDATE SET state = 'uploaded', last_error = NULL
WHERE object.state NOT IN ('uploaded', 'skipped') AND object.uploaded_at IS NULL
"""
_IMPORT_FAILED = """
INSERT OR IGNORE INTO object (event_id, kind, happened_at, state, attempts, last_error, recorded_at)
VALUES (?, 'snapshot', ?, 'failed', ?, ?, ?)
"""
_IS_WHOLE = "key IS NOT NULL AND source IS NOT NULL AND event IS NOT NULL"
"""SQL: the entry has all that it takes to be sent."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNSTORABLE = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, ValueError, OverflowError)
"""What SQLite and its driver raise for one value that cannot be stored; it says nothing about the others."""


REASON = """replace(replace(coalesce(last_error, ''), coalesce(source, ''), 'The file'),
                    replace(coalesce(source, ''), 'recording:', ''), 'The file')"""
"""SQL: why an entry is not in the bucket, in words that are the same for all files that share the fate."""


class Ledger(LedgerFile):
    """All entries of one state folder; opened once, used from one thread at a time."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the ledger of these settings, which is opened for their destination and no other."""
        return cls(settings.ledger_dir / FILE_NAME, home_of(settings))

    def __init__(self, path: Path, home: Home | None = None) -> None:
        super().__init__(path, home)
        self._odd: set[object] = set()

    def open(self, *, read_only: bool = False, may_move: bool = False) -> None:
        """Open, see LedgerFile, and tell of what changed since the last time. Raises LedgerError."""
        super().open(read_only=read_only, may_move=may_move)
        if self.home is not None and self.moved is not None:
            logger().warning(
                "S3 snapshot mirror: the destination changed from %s to %s: %d objects are sent again, as far as Frigate "
                "still has them; the old rows are kept, and count again when the settings are changed back",
                self.moved.before, self.home.destination, self.moved.to_send,
            )  # fmt: skip
        if self.home is not None and self.layout_before is not None:
            logger().warning(
                "S3 snapshot mirror: the layout of keys changed from %s to %s: it holds for snapshots from now on; what is "
                "in the bucket or waits for it keeps its key",
                self.layout_before, self.home.layout,
            )  # fmt: skip
        if self.left_behind:
            logger().error(
                "S3 snapshot mirror: %d entries of the older ledger could not be read and were left out; what Frigate still has of them is found again",
                self.left_behind,
            )

    # -- what the service does -------------------------------------------------------------------------------------

    def record(self, entries: Sequence[Entry], now: float) -> list[Entry]:
        """Take in entries that are not known yet, and those whose file came after all: awaited, absent, lost, or refused.

        One that cannot be stored is told and left out; it takes no other along.

        Returns those that were taken in, with their row numbers. Not durable by itself, see the module's text.
        """
        taken: list[Entry] = []
        with self._transaction(durable=False) as connection:
            for entry in entries:
                row = self._take(connection, entry, now)
                if row is not None:
                    taken.append(replace(entry, row=row))
        return taken

    def _take(self, connection: sqlite3.Connection, entry: Entry, now: float) -> int | None:
        """The only way in for what was found: the new row's number, None when nothing changed or it cannot be stored."""
        try:
            row = connection.execute(_RECORD, _record_values(entry, now)).fetchone()
        except _UNSTORABLE as error:
            self._tell_odd(entry.identity, entry.event.id, f"cannot be recorded ({error})")
            return None
        return None if row is None else int(row[0])

    def unknown(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return those that `record` would take in; for when nothing can be written."""
        sql = (
            f"SELECT EXISTS (SELECT 1 FROM object WHERE event_id = ? AND kind = ? AND part = ? AND NOT {_IS_TAKEN_UP})"  # noqa: S608
        )
        return [entry for entry in entries if not self.connection.execute(sql, entry.identity).fetchone()[0]]

    def due(
        self, state: State, now: float, limit: int, known: frozenset[int] = frozenset(), *, clips: bool = False
    ) -> list[Entry]:
        """Entries in this state whose next attempt is due, newest first; at most `limit` besides the known rows.

        Pictures, or the parts of clips.
        """
        rows = self.connection.execute(_DUE, (state, now, limit + len(known), clips)).fetchall()
        entries, odd = self._read_entries(row for row in rows if row[0] not in known)
        if odd and state is not State.FAILED:
            self._give_up(odd)
        return entries

    def entries_in(self, state: State, after: Entry | None, limit: int) -> list[Entry]:
        """Return a page of the entries in this state, newest first: those that come after this one (None: the first)."""
        sql = f"""SELECT {_ENTRY} FROM object INDEXED BY object_order
                  WHERE state = ?1 AND happened_at <= ?2 AND (happened_at < ?2 OR id < ?3) AND event IS NOT NULL
                  ORDER BY happened_at DESC, id DESC LIMIT ?4"""  # noqa: S608
        place = (float("inf"), 0) if after is None else (after.happened_at, after.row)
        return self._read_entries(self.connection.execute(sql, (state, *place, limit)))[0]

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
            for outcome in outcomes:
                self._settle_one(connection, outcome)

    def _settle_one(self, connection: sqlite3.Connection, o: Outcome) -> None:
        try:
            row = o.entry.row if o.entry.row > 0 else self._record_late(connection, o.entry)
            values = (
                o.state, o.attempts, o.deferrals, o.next_attempt_at, o.error, o.size_bytes, o.sha256, o.etag,
                o.uploaded_at, o.source_modified_at, row,
            )  # fmt: skip
            connection.execute(_SETTLE, values)
        except _UNSTORABLE as error:
            self._tell_odd(o.entry.identity, o.entry.event.id, f"cannot be settled ({error})")

    def _record_late(self, connection: sqlite3.Connection, entry: Entry) -> int | None:
        self._take(connection, entry, time.time())
        row = connection.execute(
            "SELECT id FROM object WHERE event_id = ? AND kind = ? AND part = ?", entry.identity
        ).fetchone()
        return None if row is None else int(row[0])

    def oldest_pending_entries(self, after: float, limit: int) -> list[Entry]:
        """Pending pictures that happened after this (unix seconds), oldest first."""
        return self._read_entries(self.connection.execute(_OLDEST, (after, limit)))[0]

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
                        WHERE state IN ('failed', 'expired') AND {_IS_WHOLE} AND (?1 IS NULL OR event_id = ?1)
                        AND (?2 IS NULL OR {REASON} = ?2) RETURNING event_id""",  # noqa: S608
                    (event_id, reason),
                ).fetchall()
                rows += connection.execute(
                    f"""DELETE FROM object WHERE state = 'failed' AND NOT ({_IS_WHOLE}) AND (?1 IS NULL OR event_id = ?1)
                        AND (?2 IS NULL OR {REASON} = ?2) RETURNING event_id""",  # noqa: S608
                    (event_id, reason),
                ).fetchall()  # imported without details, or refused: forgotten here, so that the scan finds it anew
                taken += [row[0] for row in rows]
        return sorted(set(taken))

    def entries(self, rows: Sequence[int]) -> list[Entry]:
        """These entries; those that were imported by name alone are left out."""
        marks = ",".join("?" * len(rows))
        sql = f"SELECT {_ENTRY} FROM object WHERE id IN ({marks}) AND event IS NOT NULL"  # noqa: S608
        return self._read_entries(self.connection.execute(sql, list(rows)))[0]

    def unmirrored(self) -> Iterator[Entry]:
        """Entries that should be in the bucket and are not, newest first."""
        sql = f"""SELECT {_ENTRY} FROM object WHERE state IN ('pending', 'failed', 'expired') AND event IS NOT NULL
                  ORDER BY happened_at DESC"""  # noqa: S608
        for row in self.connection.execute(sql):
            try:
                yield _entry(row)
            except ValueError:
                with contextlib.suppress(ValueError):  # what the columns tell is enough to name it
                    yield _entry([row[0], _event_of_columns(row).to_json(), *row[2:]])

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
        """Make uploaded entries pending again: the bucket does not have them (any more), or Frigate has something newer.

        They remember that S3 had them: Entry.was_uploaded. One that lacks what it takes to be sent stays as it is.
        """
        sql = f"""UPDATE object SET state = 'pending', attempts = 0, deferrals = 0, next_attempt_at = 0, size_bytes = NULL,
                         sha256 = NULL, etag = NULL, uploaded_at = coalesce(uploaded_at, recorded_at)
                  WHERE id = ? AND {_IS_WHOLE}"""  # noqa: S608
        with self._transaction(durable=True) as connection:
            connection.executemany(sql, [(row,) for row in rows])

    def adopt(self, outcomes: Sequence[Outcome], now: float) -> int:
        """Take in objects that the bucket has; what the ledger knows as uploaded with a key stays as it is.

        Returns how many were new.
        """
        with self._transaction(durable=True) as connection:
            return sum(self._adopt_one(connection, outcome, now) for outcome in outcomes)

    def _adopt_one(self, connection: sqlite3.Connection, o: Outcome, now: float) -> int:
        sha256 = (
            o.sha256 if o.sha256 is not None and _SHA256.fullmatch(o.sha256) else None
        )  # an object's metadata say it
        try:
            values = (*_record_values(o.entry, now), o.size_bytes, sha256, o.etag, o.uploaded_at)
            return connection.execute(_ADOPT, values).rowcount
        except _UNSTORABLE as error:
            self._tell_odd(o.entry.identity, o.entry.event.id, f"cannot be taken in ({error})")
            return 0

    def set_sources(self, sources: Iterable[tuple[int, str]]) -> None:
        """Correct what these rows are made from."""
        with self._transaction(durable=False) as connection:
            connection.executemany(
                "UPDATE object SET source = ?2 WHERE id = ?1 AND source IS NOT ?2",
                [(row, source) for row, source in sources],
            )

    def set_event(self, row: int, event: Event) -> None:
        """Correct what is known of an entry's event."""
        with self._transaction(durable=False) as connection:
            connection.execute("UPDATE object SET event = ? WHERE id = ?", (event.to_json(), row))

    def sent(self, row: int) -> Sent | None:
        """What is known of an upload now; None when the entry is no upload (any more)."""
        sql = "SELECT size_bytes, etag, sha256, uploaded_at FROM object WHERE id = ? AND state = 'uploaded'"
        found = self.connection.execute(sql, (row,)).fetchone()
        return None if found is None else Sent(*found)

    def recorded_kinds(self, event_id: str) -> set[Kind]:
        """The kinds of object that the event has an entry for, in whatever state."""
        rows = self.connection.execute("SELECT DISTINCT kind FROM object WHERE event_id = ?", (event_id,))
        return {Kind(row[0]) for row in rows}

    def cameras(self) -> list[str]:
        """Every camera that an entry is of."""
        sql = "SELECT DISTINCT camera FROM object WHERE camera IS NOT NULL AND camera <> '' ORDER BY camera"
        return [row[0] for row in self.connection.execute(sql)]

    def forget(self, rows: Sequence[int]) -> None:
        """Drop these entries."""
        with self._transaction(durable=False) as connection:
            connection.executemany("DELETE FROM object WHERE id = ?", [(row,) for row in rows])

    def import_state(
        self,
        uploaded: Iterable[str],
        failed: dict[str, tuple[int, str]],
        now: float,
        kind: Kind = Kind.SNAPSHOT,
    ) -> tuple[int, int]:
        """Take over ids from the text state files, uploads of this kind; returns how many of each were news."""
        with self._transaction(durable=True) as connection:
            rows = ((event_id, kind, time_of_id(event_id, now), now) for event_id in uploaded)
            new_uploaded = connection.executemany(_IMPORT_UPLOADED, rows).rowcount
            rows_failed = [
                (event_id, time_of_id(event_id, now), count, error, now) for event_id, (count, error) in failed.items()
            ]
            new_failed = connection.executemany(_IMPORT_FAILED, rows_failed).rowcount
        return max(new_uploaded, 0), max(new_failed, 0)

    # -- one odd row among good ones -------------------------------------------------------------------------------

    def _read_entries(self, rows: Iterable[Sequence[Any]]) -> tuple[list[Entry], list[tuple[int, str]]]:
        """The entries, and apart from them rows that are none, with the reason."""
        entries: list[Entry] = []
        odd: list[tuple[int, str]] = []
        for row in rows:
            try:
                entries.append(_entry(row))
            except ValueError as error:
                odd.append((row[0], f"Its entry in the ledger cannot be read: its event {error}."))
                self._tell_odd(row[0], str(row[14]), f"cannot be read: its event {error}")
        return entries, odd

    def _give_up(self, odd: Sequence[tuple[int, str]]) -> None:
        """Count odd rows as failed, so that people see them and nobody stumbles over them again."""
        with (
            contextlib.suppress(sqlite3.OperationalError, *_UNSTORABLE),
            self._transaction(durable=False) as connection,
        ):
            connection.executemany(
                "UPDATE object SET state = 'failed', last_error = ? WHERE id = ?", [(why, row) for row, why in odd]
            )

    def _tell_odd(self, name: object, event_id: str, what: str) -> None:
        if name not in self._odd:
            self._odd.add(name)
            logger().error(
                "S3 snapshot mirror: the ledger's entry of event=%s %s; the others go on",
                untrusted.single_line(event_id),
                untrusted.single_line(what),
            )

    # -- what people and exports ask -------------------------------------------------------------------------------

    def counts(self, *, clips: bool = False) -> dict[State, int]:
        """Pictures by state, or the parts of clips."""
        counts = dict.fromkeys(State, 0)
        sql = "SELECT state, count(*) FROM object WHERE (kind = 'clip') = ? GROUP BY state"
        for state, count in self.connection.execute(sql, (clips,)):
            if state in counts:
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
        return untrusted.time_or_none(found)

    def due_upto(self, row: float, now: float, *, clips: bool) -> tuple[int, int, int]:
        """Count the due entries up to this row number and all of them; also return the highest of their row numbers."""
        counts = self.connection.execute(_DUE_UPTO, (row, now, clips)).fetchone()
        return int(counts[0]), int(counts[1]), int(counts[2] or 0)

    def oldest_pending(self) -> float | None:
        """When the event of the oldest pending picture happened (unix seconds), or None without a backlog."""
        sql = "SELECT min(happened_at) FROM object WHERE state = 'pending' AND happened_at >= ? AND kind <> 'clip'"
        row = self.connection.execute(sql, (untrusted.EARLIEST_TIME,)).fetchone()
        return untrusted.time_or_none(row[0])

    def last_uploaded(self) -> tuple[float, str] | None:
        """Time (unix seconds) and key of the newest upload."""
        row = self.connection.execute(
            """SELECT uploaded_at, key FROM object INDEXED BY object_uploads
               WHERE uploaded_at BETWEEN ? AND ? AND state = 'uploaded' AND key IS NOT NULL
               ORDER BY uploaded_at DESC LIMIT 1""",
            (untrusted.EARLIEST_TIME, untrusted.LATEST_TIME - 1),
        ).fetchone()
        return None if row is None else (float(row[0]), str(row[1]))

    def uploaded_since(self, since: float) -> int:
        """How many pictures S3 has taken since then (unix seconds)."""
        sql = "SELECT count(*) FROM object WHERE uploaded_at >= ? AND kind <> 'clip'"
        return int(self.connection.execute(sql, (since,)).fetchone()[0])

    def count_uploaded_ids(self, kind: Kind) -> int:
        """How many ids `uploaded_ids` gives."""
        sql = "SELECT count(*) FROM object WHERE state = 'uploaded' AND kind = ?"
        return int(self.connection.execute(sql, (kind,)).fetchone()[0])

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
            Problem(row[0], row[1], row[2], State(row[3]), row[4], row[5], untrusted.time_or_none(row[6]) or 0.0)
            for row in self.connection.execute(sql, (*states, limit))
            if row[3] in states
        ]


def _record_values(entry: Entry, now: float) -> tuple[object, ...]:
    """For `_VALUES`. What is nothing becomes NULL, however it was spelled."""
    event = entry.event
    return (
        event.id, entry.kind, entry.part, event.camera, event.label, event.start_time, entry.happened_at, event.to_json(),
        entry.source or None, entry.key or None, entry.state, entry.next_attempt_at, entry.last_error, now, entry.seconds,
    )  # fmt: skip


def _entry(row: Sequence[Any]) -> Entry:
    """The entry of a row of `_ENTRY`. Raises ValueError for a row that is none."""
    return Entry(
        row=row[0], event=Event.from_json(row[1] or ""), kind=Kind(row[2]), source=row[3], key=row[4], state=State(row[5]),
        happened_at=untrusted.number(row[6]), attempts=row[7], deferrals=row[8], next_attempt_at=untrusted.number(row[9]),
        last_error=row[10], part=row[11], seconds=row[12], was_uploaded=row[13] is not None,
    )  # fmt: skip


def _event_of_columns(row: Sequence[Any]) -> Event:
    """What the row says of its event beside the JSON, which cannot be read."""
    event_id, camera, label, start_time = row[14:18]
    return Event(str(event_id), camera or "", label or "", None, start_time or 0.0, None, True, (), None, False)


def time_of_id(event_id: str, otherwise: float | None = None) -> float:
    """The unix time that a Frigate event id begins with, else `otherwise` (now by default)."""
    try:
        return untrusted.unix_time(event_id.split("-", 1)[0])
    except RefusedValueError:
        return time.time() if otherwise is None else otherwise
