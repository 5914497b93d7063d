"""The anti-join: what Frigate has and the ledger has not, over the two databases, a page of rows at a time.

It only reads. It has a connection of its own, so that neither a slow page nor a broken Frigate database holds up the
ledger. Every statement ends its read transaction when its page is read: a reader that lingers would keep Frigate from
truncating its WAL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frigate_s3_mirror.database_words import cannot_be_read, is_no_database
from frigate_s3_mirror.events import EventTable, Filters, FrigateError, Rows, database_uri, read_rows, unreadable
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.runtime import untrusted
from frigate_s3_mirror.runtime.untrusted import RefusedValueError

PAGE_ROWS = 500
IS_REFUSED = "(o.state = 'failed' AND o.event IS NOT NULL AND coalesce(o.key, '') = '' AND o.kind <> 'clip')"
"""SQL over the alias `o`: an entry that stands for a row, or a file, that was refused; it is judged anew again and again."""
_PAGE_END = "SELECT start_time FROM frigate.event WHERE start_time < ? ORDER BY start_time DESC LIMIT 1 OFFSET ?"
# Text and blobs sort after all numbers, NULL before them, and nothing is beyond infinity: the pages pass by all of these.
_BESIDE_PAGES = ("e.start_time >= ''", "e.start_time IS NULL", "e.start_time = 9e999")
_FORGOTTEN = f"""
SELECT o.id, o.event_id FROM object o
WHERE o.id > ? AND o.id <= ? AND o.happened_at < ? AND o.state NOT IN ('pending', 'awaited') AND NOT {IS_REFUSED}
  AND NOT EXISTS (SELECT 1 FROM frigate.event e WHERE e.id = o.event_id)
"""  # noqa: S608  # only fixed fragments are put together
_REFUSED = f"""
SELECT o.id, o.event_id, o.kind, o.last_error, {{columns}}
FROM object o LEFT JOIN frigate.event e ON e.id = o.event_id WHERE {IS_REFUSED}
"""  # noqa: S608
_USED_AGAIN = """
SELECT {columns} FROM frigate.event e
WHERE {wanted} AND EXISTS (
    SELECT 1 FROM object o WHERE o.event_id = e.id AND o.state = 'uploaded' AND o.kind <> 'clip'
      AND (o.camera <> e.camera OR o.start_time <> e.start_time)
)
"""
_PROOF = """
SELECT count(*), sum(o.state = 'uploaded'), sum(o.state = 'uploaded' AND o.sha256 IS NOT NULL),
       sum(o.state IN ('absent', 'awaited', 'skipped')),
       min(CASE WHEN o.state IS NULL OR o.state IN ('pending', 'failed', 'expired') THEN coalesce(e.end_time, e.start_time) END)
FROM frigate.event e
LEFT JOIN object o ON o.event_id = e.id AND o.kind = 'snapshot'
WHERE e.start_time >= ? AND (e.end_time IS NOT NULL OR o.id IS NOT NULL) AND {wanted} AND {may_have_file}
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """Of the snapshots since some time: how many Frigate has, and how many of them are in the bucket."""

    in_frigate: int
    uploaded: int
    verified: int
    """Acknowledged with a checksum that matched; what an imported state file tells of has none."""
    oldest_missing_at: float | None
    """Unix seconds at which the oldest one happened that is not in the bucket."""

    @property
    def missing(self) -> int:
        """How many are not in the bucket."""
        return self.in_frigate - self.uploaded


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that stands for what was refused."""

    row: int
    event_id: str
    kind: Kind
    reason: str
    values: Sequence[Any] | None
    """The row of Frigate's as it is now, None where it has none of this id."""


class JoinedDatabases:
    """The ledger with Frigate's database attached as `frigate`, both to be read; one thread at a time."""

    def __init__(self, ledger_path: Path, frigate_path: Path) -> None:
        self._ledger_path = ledger_path
        self._frigate_path = frigate_path
        self._connection: sqlite3.Connection | None = None
        self.table = EventTable("", has_data=False)
        self._identity: tuple[int, int] | None = None
        self._seen_version: int | None = None

    def close(self) -> None:
        """Close; may be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ensure_open(self) -> bool:
        """Open, or open anew when Frigate's file was replaced; returns whether that happened. Raises FrigateError."""
        try:
            stat = self._frigate_path.stat()
        except OSError as error:
            self.close()
            raise FrigateError(cannot_be_read(self._frigate_path, error.strerror)) from error
        identity = (stat.st_dev, stat.st_ino)
        if self._connection is not None and identity == self._identity:
            return False
        self.close()
        connection = sqlite3.connect(
            f"file:{self._ledger_path}?mode=ro",
            uri=True,
            timeout=2.0,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.text_factory = untrusted.decoded
        try:
            connection.execute("ATTACH ? AS frigate", (database_uri(self._frigate_path),))
            self.table = EventTable.of(connection, "frigate")
        except (FrigateError, sqlite3.Error) as error:
            connection.close()
            if isinstance(error, FrigateError):
                raise FrigateError(is_no_database(self._frigate_path, str(error))) from error
            raise unreadable(self._frigate_path, error) from error
        self._connection, self._identity, self._seen_version = connection, identity, None
        return True

    def changed(self) -> bool:
        """Whether anyone committed to Frigate's database since the last call; costs microseconds. Raises FrigateError."""
        version = int(self.rows("PRAGMA frigate.data_version")[0][0])
        changed = version != self._seen_version
        self._seen_version = version
        return changed

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """All rows of a statement, so that no read transaction lingers. Raises FrigateError."""
        if self._connection is None:
            self.ensure_open()
        assert self._connection is not None  # noqa: S101  # ensure_open raises otherwise
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            self.close()
            raise unreadable(self._frigate_path, error) from error


class FrigateScan(JoinedDatabases):
    """Pages of events that lack an entry."""

    def __init__(self, ledger_path: Path, frigate_path: Path, filters: Filters, kinds: Sequence[Kind]) -> None:
        super().__init__(ledger_path, frigate_path)
        self._filter, self._filter_parameters = filters.sql()
        self._kinds = list(kinds)

    def since(self, start_time: float) -> Rows:
        """Events that started after this and lack an entry. Raises FrigateError."""
        return self._unrecorded("e.start_time >= ?", [start_time])

    def page(self, before: float) -> tuple[Rows, float | None]:
        """Unrecorded events among the next `PAGE_ROWS` that started before this, newest first.

        Returns them with the bound of the next page, None when this was the last. Raises FrigateError.
        """
        end = self.rows(_PAGE_END, (before, PAGE_ROWS - 1))
        bound = _bound(end[0][0], before) if end else None
        if bound is None:
            return self._unrecorded("e.start_time < ?", [before]), None
        return self._unrecorded("e.start_time < ? AND e.start_time >= ?", [before, bound]), bound

    def beside_pages(self) -> Rows:
        """Unrecorded rows whose start is no time, so that no page has them. Raises FrigateError."""
        found = Rows()
        for condition in _BESIDE_PAGES:
            rows = self._unrecorded(condition, [])
            found.events.extend(rows.events)
            found.refused.extend(rows.refused)
        return found

    def refused(self) -> list[Refused]:
        """What was refused so far, each with Frigate's row as it is now. Raises FrigateError."""
        rows = self.rows(_REFUSED.format(columns=self.table.columns))
        return [
            Refused(row[0], row[1], Kind(row[2]), row[3] or "", row[4:] if row[4] is not None else None) for row in rows
        ]

    def used_again(self) -> Rows:
        """Events whose id an upload of another camera or another start has. Raises FrigateError."""
        self.ensure_open()
        sql = _USED_AGAIN.format(columns=self.table.columns, wanted=self._filter)
        return read_rows(self.rows(sql, self._filter_parameters))

    def proof(self, since: float) -> Proof:
        """What is mirrored of the events that started after this (unix seconds), from both tables alone.

        Rows whose file never came are not counted; rows that were refused are missing, and Problems says why.
        Raises FrigateError.
        """
        if self._connection is None:
            self.ensure_open()
        sql = _PROOF.format(wanted=self._filter, may_have_file=self.table.may_have_file)
        rows = self.rows(sql, [since, *self._filter_parameters])
        count, uploaded, verified, fileless, oldest = rows[0]
        return Proof(count - (fileless or 0), uploaded or 0, verified or 0, untrusted.time_or_none(oldest))

    def forgettable(self, after_row: int, happened_before: float) -> tuple[list[tuple[int, str]], int | None]:
        """Settled entries older than this that Frigate no longer has, among the next ten pages of the ledger.

        Returns (row, event id) pairs and the row to go on after, None at the end. Raises FrigateError.
        """
        last = self.rows("SELECT max(id) FROM object")[0][0] or 0
        upto = after_row + 10 * PAGE_ROWS
        rows = self.rows(_FORGOTTEN, (after_row, upto, happened_before))
        return [(row[0], row[1]) for row in rows], upto if upto < last else None

    def _unrecorded(self, condition: str, parameters: list[Any]) -> Rows:
        marks = ",".join("?" * len(self._kinds))
        sql = f"""
            SELECT {self.table.columns} FROM frigate.event e
            WHERE {condition} AND {self._filter} AND {self.table.may_have_file}
              AND (SELECT count(*) FROM object o WHERE o.event_id = e.id AND o.kind IN ({marks})) < ?
            ORDER BY e.start_time DESC
        """  # noqa: S608  # only fixed fragments are put together; values are parameters
        return read_rows(self.rows(sql, [*parameters, *self._filter_parameters, *self._kinds, len(self._kinds)]))


def _bound(start_time: object, before: float) -> float | None:
    """Return where the next page begins, None where that would not lead on: then the rest is one page."""
    try:
        bound = untrusted.number(start_time)
    except RefusedValueError:
        return None
    return bound if bound < before else None
