"""What the ledger remembers of live pictures. Their numbers are given before they are sent, and never twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from frigate_s3_mirror.events import Event
from frigate_s3_mirror.ledger_file import LedgerFile

FORGET_AFTER = 30 * 86400.0
"""Seconds; what the bucket still has by then is its lifecycle rule's."""


@dataclass(frozen=True, slots=True)
class LivePicture:
    """One picture in the bucket of an event that ran then; times are unix seconds."""

    event_id: str
    number: int
    camera: str
    label: str
    key: str
    uploaded_at: float


_COLUMNS = "l.event_id, l.number, l.camera, l.label, l.key, l.uploaded_at"
_FINAL = """SELECT 1 FROM object o WHERE o.event_id = l.event_id AND o.kind = 'snapshot'"""


class LiveLedger:
    """A connection of its own beside the service's; may be used from several threads. Raises LedgerError, sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._ledger = LedgerFile(path)
        self._turn = threading.Lock()

    def open(self) -> None:
        """Connect."""
        self._ledger.open_beside()

    @contextmanager
    def reading(self) -> Iterator[Self]:
        """Connect for reading alone, until the end of the block."""
        with self._ledger.reading():
            yield self

    def close(self) -> None:
        """Give the connection back; may be called twice."""
        self._ledger.close()

    def begin(self, event: Event, key_of: Callable[[int], str], now: float) -> tuple[int, str]:
        """The next number of this event, and its key; from now on it is taken."""
        with self._turn:
            connection = self._ledger.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                sql = "SELECT coalesce(max(number), 0) + 1 FROM live WHERE event_id = ?"
                number = int(connection.execute(sql, (event.id,)).fetchone()[0])
                key = key_of(number)
                connection.execute(
                    "INSERT INTO live (event_id, number, camera, label, key, began_at) VALUES (?, ?, ?, ?, ?, ?)",
                    (event.id, number, event.camera, event.label, key, now),
                )
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        return number, key

    def done(self, event_id: str, number: int, size_bytes: int, sha256: str, now: float) -> None:
        """S3 has it."""
        sql = "UPDATE live SET size_bytes = ?, sha256 = ?, uploaded_at = ? WHERE event_id = ? AND number = ?"
        self._execute(sql, (size_bytes, sha256, now, event_id, number))

    def last_sha256(self, event_id: str) -> str | None:
        """Of the newest picture of this event in the bucket."""
        sql = "SELECT sha256 FROM live WHERE event_id = ? AND uploaded_at IS NOT NULL ORDER BY number DESC LIMIT 1"
        rows = self._execute(sql, (event_id,))
        return str(rows[0][0]) if rows else None

    def superfluous(self, *, keep_first: bool, limit: int = 200) -> list[LivePicture]:
        """Pictures whose final one is in the bucket, verified: those that need not stay."""
        first = "AND l.number > (SELECT min(f.number) FROM live f WHERE f.event_id = l.event_id AND f.uploaded_at IS NOT NULL)"
        sql = f"""SELECT {_COLUMNS} FROM live l WHERE l.uploaded_at IS NOT NULL AND NOT l.is_deleted {first if keep_first else ""}
                  AND EXISTS ({_FINAL} AND o.state = 'uploaded' AND o.sha256 IS NOT NULL) LIMIT ?"""  # noqa: S608
        return [LivePicture(*row) for row in self._execute(sql, (limit,))]

    def deleted(self, picture: LivePicture) -> None:
        """The bucket has it no longer."""
        self._execute(
            "UPDATE live SET is_deleted = 1 WHERE event_id = ? AND number = ?", (picture.event_id, picture.number)
        )

    def in_progress(self, since: float) -> list[LivePicture]:
        """The newest picture of each event that has no final one yet, begun since then, newest first."""
        sql = f"""SELECT {_COLUMNS} FROM live l WHERE l.began_at >= ? AND l.uploaded_at IS NOT NULL AND NOT EXISTS ({_FINAL})
                  AND l.number = (SELECT max(m.number) FROM live m WHERE m.event_id = l.event_id AND m.uploaded_at IS NOT NULL)
                  ORDER BY l.began_at DESC"""  # noqa: S608
        return [LivePicture(*row) for row in self._execute(sql, (since,))]

    def of_event(self, event_id: str) -> list[LivePicture]:
        """All pictures of an event that the bucket has, the oldest first."""
        sql = f"SELECT {_COLUMNS} FROM live l WHERE event_id = ? AND uploaded_at IS NOT NULL AND NOT is_deleted ORDER BY number"  # noqa: S608
        return [LivePicture(*row) for row in self._execute(sql, (event_id,))]

    def forget(self, before: float) -> None:
        """Drop what is older."""
        self._execute("DELETE FROM live WHERE began_at < ?", (before,))

    def _execute(self, sql: str, values: Sequence[object]) -> list[Any]:
        with self._turn:
            return self._ledger.connection.execute(sql, values).fetchall()
