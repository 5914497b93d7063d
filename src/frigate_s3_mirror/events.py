"""What a Frigate event is, and how its database is read: read-only, whatever columns the version has.

Facts about Frigate's table are from its tagged sources 0.12 to 0.18 and from databases that real runs left behind.
This module never writes, and knows neither the ledger nor S3.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote

from frigate_s3_mirror.database_words import cannot_be_read, is_no_database

_COLUMNS = (
    "id",
    "camera",
    "label",
    "sub_label",
    "start_time",
    "end_time",
    "has_snapshot",
    "zones",
    "data",
    "top_score",
)
_REQUIRED = frozenset({"id", "camera", "label", "start_time", "end_time", "has_snapshot"})
_CAMERA = re.compile(r"[a-zA-Z0-9_-]+")
_EVENT_ID = re.compile(r"[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,99}")
_FILE_NAME = re.compile(
    r"(?P<camera>[a-zA-Z0-9_-]+)-(?P<event_id>\d+(?:\.\d+)?-[a-z0-9]{6})(?P<clean>-clean)?\.(?P<ending>jpg|png|webp)"
)


class FrigateError(Exception):
    """Frigate's database, folder or API cannot be used now; the text is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Event:
    """One row of Frigate's `event` table; times are unix seconds, `end_time` None while it runs."""

    id: str
    camera: str
    label: str
    sub_label: str | None
    start_time: float
    end_time: float | None
    has_snapshot: bool
    zones: tuple[str, ...]
    score: float | None
    is_manual: bool
    """Made through Frigate's API; Frigate may clear `has_snapshot` of such an event although its file stays."""

    @property
    def is_named_safely(self) -> bool:
        """Whether camera and id can be part of a path without leading out of the clips folder."""
        return bool(_CAMERA.fullmatch(self.camera) and _EVENT_ID.fullmatch(self.id))

    def to_json(self) -> str:
        """Compact JSON; the ledger keeps it, because Frigate may forget the row before the upload."""
        return json.dumps(
            [self.id, self.camera, self.label, self.sub_label, self.start_time, self.end_time,
             self.has_snapshot, self.zones, self.score, self.is_manual],
            ensure_ascii=False, separators=(",", ":"),
        )  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> Event:
        """The event that `to_json` wrote."""
        fields = json.loads(text)
        fields[7] = tuple(fields[7])
        return cls(*fields)


@dataclass(frozen=True, slots=True)
class FileName:
    """The parts of a snapshot's file name."""

    camera: str
    event_id: str
    is_clean: bool
    ending: str


def parse_file_name(name: str) -> FileName | None:
    """The parts of `{camera}-{id}[-clean].{ending}`, or None; cameras may hold hyphens, so the right end decides."""
    match = _FILE_NAME.fullmatch(name)
    if match is None:
        return None
    return FileName(match["camera"], match["event_id"], match["clean"] is not None, match["ending"])


@dataclass(frozen=True, slots=True)
class Filters:
    """Which cameras and labels are wanted, as SQL, so that a filtered event never leaves Frigate's database.

    Patterns are globs, `!` leaves out; without an including pattern all that is not left out is wanted.
    """

    cameras: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def wants(self, event: Event) -> bool:
        """Whether `sql` would let this event through."""
        return _passes(event.camera, self.cameras) and _passes(event.label, self.labels)

    def sql(self) -> tuple[str, list[str]]:
        """A condition over the alias `e`, and its parameters."""
        conditions: list[str] = []
        parameters: list[str] = []
        for column, patterns in (("e.camera", self.cameras), ("e.label", self.labels)):
            wanted = [p for p in patterns if not p.startswith("!")]
            unwanted = [p[1:] for p in patterns if p.startswith("!")]
            if wanted:
                conditions.append("(" + " OR ".join([f"{column} GLOB ?"] * len(wanted)) + ")")
            conditions += [f"{column} NOT GLOB ?"] * len(unwanted)
            parameters += wanted + unwanted
        return " AND ".join(conditions) or "1", parameters


def _passes(name: str, patterns: tuple[str, ...]) -> bool:
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return (not wanted or any(fnmatchcase(name, p) for p in wanted)) and not any(fnmatchcase(name, p) for p in unwanted)


@dataclass(frozen=True, slots=True)
class EventTable:
    """How this version's `event` table is read: expressions for the columns that it has, NULL for the others."""

    columns: str
    has_data: bool

    @classmethod
    def of(cls, connection: sqlite3.Connection, schema: str = "main") -> EventTable:
        """Look at the table. Raises FrigateError when it is not Frigate's, sqlite3.Error when it cannot be read."""
        there = {row[1] for row in connection.execute(f"PRAGMA {schema}.table_info(event)")}
        if not there >= _REQUIRED:
            lacking = (
                "no table 'event'" if not there else f"no column '{sorted(_REQUIRED - there)[0]}' in its table 'event'"
            )
            raise FrigateError(f"is not a Frigate database: it has {lacking}")
        return cls(", ".join(f"e.{c}" if c in there else "NULL" for c in _COLUMNS), "data" in there)

    @property
    def may_have_file(self) -> str:
        """Rows that can have a snapshot: flagged ones, running ones, and manual ones, whose flag Frigate may clear."""
        manual = (
            """ OR json_extract(CASE WHEN json_valid(e.data) THEN e.data END, '$.type') = 'api'"""
            if self.has_data
            else ""
        )
        return f"(e.has_snapshot = 1 OR e.end_time IS NULL{manual})"


def event_of(row: Sequence[Any]) -> Event:
    """The event of a row that was read with `EventTable.columns`; odd JSON counts as absent, never as an error."""
    data = _json(row[8])
    facts = data if isinstance(data, dict) else {}
    zones = _json(row[7])
    score = facts.get("top_score") or facts.get("score") or row[9]
    sub_label = row[3]
    return Event(
        id=str(row[0]),
        camera=str(row[1]),
        label=str(row[2] or ""),
        sub_label=None if sub_label in (None, "") else str(sub_label),
        start_time=_seconds(row[4]) or 0.0,
        end_time=_seconds(row[5]),
        has_snapshot=bool(row[6]),
        zones=tuple(str(zone) for zone in zones) if isinstance(zones, list) else (),
        score=round(float(score), 4) if isinstance(score, int | float) else None,
        is_manual=facts.get("type") == "api",
    )


def _json(text: object) -> object:
    if not isinstance(text, str | bytes) or not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _seconds(value: object) -> float | None:
    try:
        return None if value is None else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def database_uri(path: Path) -> str:
    """The URI that opens Frigate's database for reading.

    `mode=ro` sees every new commit. On a read-only mount, while Frigate is stopped and no `-wal` is there, only
    `immutable=1` opens a WAL database; with a `-wal` it would show stale rows, so it is never used then.
    """
    uri = f"file:{quote(str(path))}?mode=ro"
    stopped = not Path(f"{path}-wal").exists()
    if stopped and not os.access(path.parent, os.W_OK) and _is_wal(path):
        return uri + "&immutable=1"
    return uri


def unreadable(path: Path, error: sqlite3.Error) -> FrigateError:
    """The sentence for a database that SQLite cannot read, with what to change where that is known."""
    advice = ""
    leftover = Path(f"{path}-wal").exists() and not Path(f"{path}-shm").exists()
    if leftover and not os.access(path.parent, os.W_OK):
        advice = (
            ". Its -wal was left behind without its -shm, which a read-only mount cannot make: start Frigate, "
            "or mount Frigate's config folder writable (drop ':ro' in the compose file); it is only read"
        )
    return FrigateError(f"Frigate's database {path} cannot be read ({error}){advice}.")


def _is_wal(path: Path) -> bool:
    """Whether the header's read version says WAL (https://www.sqlite.org/fileformat.html, offset 19)."""
    try:
        with path.open("rb") as file:
            return file.read(20)[19:20] == b"\x02"
    except OSError:
        return False


class FrigateDatabase:
    """Single events out of Frigate's database; owns one read-only connection and opens it anew when the file changed."""

    def __init__(self, path: Path, filters: Filters) -> None:
        self.path = path
        self._condition, self._parameters = filters.sql()
        self._connection: sqlite3.Connection | None = None
        self._table: EventTable | None = None
        self._identity: tuple[int, int] | None = None

    def identity(self) -> tuple[int, int]:
        """Device and inode of the file; another one means that it was replaced. Raises FrigateError if there is none."""
        try:
            stat = self.path.stat()
        except OSError as error:
            raise FrigateError(cannot_be_read(self.path, error.strerror or str(error))) from error
        return stat.st_dev, stat.st_ino

    def open(self) -> None:
        """Connect, or connect anew. Raises FrigateError with a sentence."""
        self.close()
        self._identity = self.identity()
        try:
            self._connection = sqlite3.connect(database_uri(self.path), uri=True, timeout=1.0, isolation_level=None)
            self._table = EventTable.of(self._connection)
        except FrigateError as error:
            self.close()
            raise FrigateError(is_no_database(self.path, str(error))) from error
        except sqlite3.Error as error:
            self.close()
            raise unreadable(self.path, error) from error

    def close(self) -> None:
        """Close; may be called twice."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._table = None

    def events(self, event_ids: Iterable[str]) -> list[Event]:
        """The rows of these ids that the filters want. Raises FrigateError."""
        ids = list(event_ids)
        found: list[Event] = []
        for start in range(0, len(ids), 500):
            page = ids[start : start + 500]
            marks = ",".join("?" * len(page))
            rows = self._read(f"SELECT {{columns}} FROM event e WHERE e.id IN ({marks}) AND {self._condition}", page)  # noqa: S608
            found += [event_of(row) for row in rows]
        return found

    def running(self, since: float) -> list[Event]:
        """Tracked objects in progress that Frigate holds for real, begun since then (unix seconds). Raises FrigateError.

        The index on the start makes this as cheap as the few rows that it finds.
        """
        sql = f"""SELECT {{columns}} FROM event e WHERE e.start_time >= ? AND e.end_time IS NULL AND e.has_snapshot = 1
                  AND {self._condition}"""  # noqa: S608
        return [event_of(row) for row in self._read(sql, [since])]

    def event(self, event_id: str) -> Event | None:
        """The row of this id, or None when it is not there or not wanted. Raises FrigateError."""
        found = self.events((event_id,))
        return found[0] if found else None

    def inline_thumbnail(self, event_id: str) -> str | None:
        """The base64 JPEG that Frigate up to 0.15 keeps in the row, or None. Raises FrigateError."""
        if self._connection is None:
            self.open()
        assert self._connection is not None  # noqa: S101  # open() raises otherwise
        try:
            row = self._connection.execute("SELECT thumbnail FROM event WHERE id = ?", (event_id,)).fetchone()
        except sqlite3.Error as error:
            if "no such column" in str(error):
                return None
            self.close()  # a busy or unreachable database says nothing about the thumbnail
            raise unreadable(self.path, error) from error
        return row[0] if row and isinstance(row[0], str) and row[0] else None

    def _read(self, sql: str, parameters: Sequence[str | float]) -> list[Any]:
        if self._connection is None or self._table is None or self._identity != self.identity():
            self.open()
        assert self._connection is not None and self._table is not None  # noqa: S101, PT018  # open() raises otherwise
        try:
            rows = self._connection.execute(sql.format(columns=self._table.columns), [*parameters, *self._parameters])
            return rows.fetchall()
        except sqlite3.Error as error:
            self.close()
            raise unreadable(self.path, error) from error
