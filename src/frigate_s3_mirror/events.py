"""What a Frigate event is, and how its database is read: read-only, whatever columns the version has.

Facts about Frigate's table are from its tagged sources 0.12 to 0.18 and from databases that real runs left behind.
This module never writes, and knows neither the ledger nor S3.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from frigate_s3_mirror.database_words import cannot_be_read, is_no_database
from frigate_s3_mirror.runtime import untrusted
from frigate_s3_mirror.runtime.untrusted import RefusedValueError

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
_LONGEST_CAMERA = 200
_Value = TypeVar("_Value")
_MANUAL_TYPES = ("api", "audio")
"""What `data.type` says of events whose files Frigate writes at their beginning: made by its API, or by a sound."""
_MOST_ZONES = 100
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
    """Made through Frigate's API or by a sound: its file is written at its beginning, and Frigate may clear its
    `has_snapshot` although the file stays."""

    @property
    def is_named_safely(self) -> bool:
        """Whether camera and id can be part of a path without leading out of the clips folder."""
        return bool(_CAMERA.fullmatch(self.camera) and _EVENT_ID.fullmatch(self.id))

    def to_json(self) -> str:
        """Compact JSON with named fields; the ledger keeps it, because Frigate may forget the row before the upload."""
        return json.dumps(
            {name: getattr(self, name) for name in _EVENT_FIELDS}, ensure_ascii=False, separators=(",", ":")
        )

    @classmethod
    def from_json(cls, text: str) -> Event:
        """Return the event that `to_json` wrote, in this version or another: unknown names are passed over.

        Older versions wrote the values alone, in order.

        Raises:
            RefusedValueError: the text holds no event.
        """
        content = untrusted.parse_json(text)
        if isinstance(content, list):
            content = dict(zip(_EVENT_FIELDS, content, strict=False))
        if not isinstance(content, dict):
            raise RefusedValueError("is no event")
        zones = content.get("zones") or ()
        if not isinstance(zones, list | tuple):
            raise RefusedValueError(f"{untrusted.shown(zones)} are no zones")
        optional = {name: content.get(name) for name in ("sub_label", "end_time", "score")}
        return cls(
            id=untrusted.text(content.get("id")),
            camera=untrusted.text(content.get("camera")),
            label=untrusted.text(content.get("label", "")),
            sub_label=None if optional["sub_label"] is None else untrusted.text(optional["sub_label"]),
            start_time=untrusted.unix_time(content.get("start_time")),
            end_time=None if optional["end_time"] is None else untrusted.unix_time(optional["end_time"]),
            has_snapshot=_flag(content.get("has_snapshot", True)),
            zones=tuple(untrusted.text(zone) for zone in zones),
            score=None if optional["score"] is None else untrusted.number(optional["score"]),
            is_manual=_flag(content.get("is_manual", False)),
        )


_EVENT_FIELDS = tuple(field.name for field in fields(Event))


def _flag(value: object) -> bool:
    if not isinstance(value, bool | int):
        raise RefusedValueError(f"{untrusted.shown(value)} is neither true nor false")
    return bool(value)


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
        return f"(e.has_snapshot = 1 OR e.end_time IS NULL OR {self.is_manual})"

    @property
    def is_manual(self) -> str:
        """`Event.is_manual` as SQL that no value in the column can make fail."""
        if not self.has_data:
            return "0"
        types = ", ".join(f"'{name}'" for name in _MANUAL_TYPES)
        text = "CASE WHEN typeof(e.data) = 'text' AND json_valid(e.data) THEN e.data END"
        return f"coalesce(json_extract({text}, '$.type') IN ({types}), 0)"


PASSES_GATE = f"""(typeof(e.start_time) IN ('real', 'integer')
 AND e.start_time >= {untrusted.EARLIEST_TIME} AND e.start_time < {untrusted.LATEST_TIME}
 AND typeof(e.id) = 'text' AND instr(e.id, char(0)) = 0 AND length(e.id) BETWEEN 1 AND 100 AND e.id NOT GLOB '*[^a-zA-Z0-9._-]*' AND e.id NOT GLOB '.*'
 AND typeof(e.camera) = 'text' AND instr(e.camera, char(0)) = 0 AND length(e.camera) BETWEEN 1 AND {_LONGEST_CAMERA}
 AND e.camera NOT GLOB '*[^a-zA-Z0-9_-]*')"""
"""SQL over the alias `e`: `event_of` certainly takes this row. For statements that cannot tell of those that it refuses."""


class RefusedRowError(Exception):
    """A row that is no event; the text is a sentence that says why."""

    def __init__(self, reason: str, stand_in: Event) -> None:
        super().__init__(reason)
        self.stand_in = stand_in
        """What can be stored and shown of it: its id above all. None of its other values are Frigate's for certain."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What was read: the events, and the rows that are none."""

    events: list[Event] = field(default_factory=list)
    refused: list[RefusedRowError] = field(default_factory=list)

    def __iter__(self) -> Iterator[Event]:
        """Go through the events alone."""
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)


def read_rows(rows: Iterable[Sequence[Any]]) -> Rows:
    """Pass rows through the gate, each for itself: no row that is refused takes others along."""
    found = Rows()
    for row in rows:
        try:
            found.events.append(event_of(row))
        except RefusedRowError as refusal:
            found.refused.append(refusal)
    return found


def event_of(row: Sequence[Any]) -> Event:
    """Return the event of a row that was read with `EventTable.columns`: the gate for what Frigate's table holds.

    Without a good id, camera and start there is no event. Whatever else is odd never keeps a picture from the bucket: it
    counts as absent, or is escaped. An end that is no time is still an end; when it was is not known, so it is taken to be
    the start.

    Raises:
        RefusedRowError: id, camera or start are not what they should be. Nothing else is raised, whatever the row holds.
    """
    facts = _facts(row[8])
    try:
        event_id, camera = _essential(row[0], "id", untrusted.text), _essential(row[1], "camera", untrusted.text)
        start_time = _essential(row[4], "start_time", untrusted.unix_time)
    except RefusedValueError as error:
        raise _refusal(row, f"Its row in Frigate's database is refused ({error}).") from error
    event = Event(
        id=event_id,
        camera=camera,
        label=_optional_text(row[2]) or "",
        sub_label=_optional_text(row[3]),
        start_time=start_time,
        end_time=_end(row[5], start_time),
        has_snapshot=row[6] in (1, "1"),
        zones=_zones(row[7]),
        score=_first_number(facts.get("top_score"), facts.get("score"), row[9]),
        is_manual=facts.get("type") in _MANUAL_TYPES,
    )
    if not event.is_named_safely or len(camera) > _LONGEST_CAMERA:
        names = f"Its camera {untrusted.shown(camera)} or id {untrusted.shown(event_id)}"
        raise _refusal(row, f"{names} is no name of Frigate's; refused.")
    return event


def _essential(value: object, what: str, gate: Callable[[object], _Value]) -> _Value:
    try:
        return gate(value)
    except RefusedValueError as error:
        raise RefusedValueError(f"{what}: {error}") from error


def _refusal(row: Sequence[Any], reason: str) -> RefusedRowError:
    event_id = "(no id)" if row[0] in (None, "", b"") else _showable(row[0])
    camera, start_time = _showable(row[1]), untrusted.time_or_none(row[4])
    if start_time is None:
        start_time = untrusted.time_or_none(event_id.split("-", 1)[0]) or 0.0
    label = _optional_text(row[2]) or ""
    return RefusedRowError(reason, Event(event_id, camera, label, None, start_time, None, False, (), None, False))


def _showable(value: object) -> str:
    return untrusted.any_text(untrusted.single_line(untrusted.any_text(value)), longest=100)


def _facts(data: object) -> dict[str, Any]:
    found = _json(data)
    return found if isinstance(found, dict) else {}


def _json(text: object) -> object:
    if not isinstance(text, str | bytes) or not text:
        return None
    try:
        return untrusted.parse_json(text)
    except RefusedValueError:
        return None


def _zones(text: object) -> tuple[str, ...]:
    zones = _json(text)
    if not isinstance(zones, list):
        return ()
    return tuple(untrusted.any_text(zone) for zone in zones[:_MOST_ZONES] if isinstance(zone, str | int | float))


def _optional_text(value: object) -> str | None:
    return None if value in (None, "", b"") else untrusted.any_text(value)


def _first_number(*values: object) -> float | None:
    """Return the first that is a number other than 0, which is how Frigate spells "unknown"."""
    for value in values:
        try:
            if isinstance(value, int | float) and (found := untrusted.number(value)):
                return round(found, 4)
        except RefusedValueError:
            continue
    return None


def _end(value: object, start_time: float) -> float | None:
    if value is None:
        return None
    end = untrusted.time_or_none(value)
    return start_time if end is None else end


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
            self._connection.text_factory = untrusted.decoded
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
        """The rows of these ids that the filters want; refused ones are left out, the scan tells of them.

        Raises FrigateError.
        """
        ids = list(event_ids)
        found: list[Event] = []
        for start in range(0, len(ids), 500):
            page = ids[start : start + 500]
            marks = ",".join("?" * len(page))
            rows = self._read(f"SELECT {{columns}} FROM event e WHERE e.id IN ({marks}) AND {self._condition}", page)  # noqa: S608
            found += read_rows(rows).events
        return found

    def running(self, since: float) -> list[Event]:
        """Tracked objects in progress that Frigate holds for real, begun since then (unix seconds). Raises FrigateError.

        The index on the start makes this as cheap as the few rows that it finds.
        """
        sql = f"""SELECT {{columns}} FROM event e WHERE e.start_time >= ? AND e.end_time IS NULL AND e.has_snapshot = 1
                  AND {self._condition}"""  # noqa: S608
        return read_rows(self._read(sql, [since])).events

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
