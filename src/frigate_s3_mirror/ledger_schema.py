"""The ledger's tables: what they may hold, and how a ledger of any older version becomes one of this version.

The constraints say what must never be, so that no code path can write it: nothing has one spelling (NULL, never ""), and
what waits to be sent has a key, a source and an event.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

SCHEMA_VERSION = 5
TABLES = ("object", "elsewhere", "live", "fact")
MendKey = Callable[[str | None, str, str, str | None], str | None]
"""Makes a key anew from an event's JSON, a kind, a part and a source; None where that cannot be done."""

_COLUMNS = """
    event_id TEXT NOT NULL CHECK (event_id <> ''),
    kind TEXT NOT NULL CHECK (kind IN ('snapshot', 'clean', 'thumbnail', 'metadata', 'clip')),
    part TEXT NOT NULL DEFAULT '' CHECK (part = '' OR kind = 'clip'),
    camera TEXT,
    label TEXT,
    start_time REAL CHECK (abs(start_time) < 1e12),
    happened_at REAL NOT NULL CHECK (abs(happened_at) < 1e12),
    event TEXT CHECK (event <> ''),
    source TEXT CHECK (source <> ''),
    key TEXT CHECK (key <> ''),
    state TEXT NOT NULL CHECK (state IN ('pending', 'uploaded', 'failed', 'expired', 'skipped', 'awaited', 'absent')),
    attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    deferrals INTEGER NOT NULL DEFAULT 0 CHECK (deferrals >= 0),
    next_attempt_at REAL NOT NULL DEFAULT 0,
    last_error TEXT,
    size_bytes INTEGER CHECK (size_bytes >= 0),
    sha256 TEXT CHECK (length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*'),
    etag TEXT,
    recorded_at REAL NOT NULL,
    uploaded_at REAL,
    seconds REAL,
    source_modified_at REAL
"""
_PENDING = "CHECK (state <> 'pending' OR (key IS NOT NULL AND source IS NOT NULL AND event IS NOT NULL))"
_OBJECT = f"CREATE TABLE object (id INTEGER PRIMARY KEY, {_COLUMNS}, {_PENDING}) STRICT;"
# Uploads to other buckets, endpoints or prefixes: out of the way of all questions, and back when the settings are.
_ELSEWHERE = f"""
CREATE TABLE elsewhere (
    destination TEXT NOT NULL CHECK (destination <> ''), {_COLUMNS},
    CHECK (state = 'uploaded'), PRIMARY KEY (destination, event_id, kind, part)
) STRICT, WITHOUT ROWID;
"""
# A clip has many objects, told apart by their part.
_IDENTITY = "CREATE UNIQUE INDEX object_identity ON object (event_id, kind, part);"
# What is due is found by the first, the day's activity by the second; the gallery's pages and filters by the third, which
# follows the beginning of the event, as its key does. Rows that were imported by name know no beginning.
_INDEXES = """
CREATE INDEX object_order ON object (state, happened_at DESC, kind, camera, label);
CREATE INDEX object_uploads ON object (uploaded_at, size_bytes) WHERE uploaded_at IS NOT NULL;
CREATE INDEX object_begun ON object (state, coalesce(start_time, happened_at) DESC, id DESC, camera, label)
WHERE kind = 'snapshot';
"""
# Pictures of running events: each has a number of its own before it is sent, so that none ever replaces another.
_LIVE = """
CREATE TABLE live (
    event_id TEXT NOT NULL, number INTEGER NOT NULL, camera TEXT NOT NULL, label TEXT NOT NULL, key TEXT NOT NULL,
    began_at REAL NOT NULL, size_bytes INTEGER, sha256 TEXT, uploaded_at REAL, is_deleted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (event_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX live_order ON live (began_at);
"""
_FACT = "CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"

SHARED_COLUMNS = (
    "event_id, kind, part, camera, label, start_time, happened_at, event, source, key, state, attempts, deferrals, "
    "next_attempt_at, last_error, size_bytes, sha256, etag, recorded_at, uploaded_at, seconds, source_modified_at"
)
"""What `object` and `elsewhere` both have, in their order."""
_OLD_COLUMNS = SHARED_COLUMNS.removesuffix(", source_modified_at")
_TO_VERSION_4 = {
    1: "",
    2: _LIVE,
    3: "ALTER TABLE object ADD COLUMN part TEXT NOT NULL DEFAULT ''; ALTER TABLE object ADD COLUMN seconds REAL;",
}
"""What leads from a version of the schema to the next, but for the indexes, which go with the table before."""
# Up to version 4, an entry that was recorded before its file came had the key '' for ever, and most of them the source ''.
_MEND = """
UPDATE object SET source = NULL WHERE source = '';
UPDATE object SET state = 'pending', attempts = 0, deferrals = 0, next_attempt_at = 0, last_error = NULL
WHERE state = 'failed' AND key = '' AND source IS NOT NULL AND last_error GLOB 'Unforeseen: IndexError*';
UPDATE object SET key = mended_key(event, kind, part, source) WHERE key = '';
UPDATE object SET sha256 = NULL WHERE length(sha256) <> 64 OR sha256 GLOB '*[^0-9a-f]*';
UPDATE object SET happened_at = recorded_at WHERE NOT abs(happened_at) < 1e12;
UPDATE object SET start_time = NULL WHERE NOT abs(start_time) < 1e12;
UPDATE object SET state = 'awaited', key = NULL, source = NULL, next_attempt_at = 0
WHERE state = 'pending' AND event IS NOT NULL AND (key IS NULL OR source IS NULL);
DELETE FROM object WHERE state IN ('pending', 'awaited', 'absent') AND event IS NULL;
"""
# A row that breaks a constraint stays behind: what Frigate still has of it is found again.
_TAKE_OVER = f"INSERT OR IGNORE INTO object (id, {_OLD_COLUMNS}) SELECT id, {_OLD_COLUMNS} FROM object_before;"  # noqa: S608


def no_key(_event: str | None, _kind: str, _part: str, _source: str | None) -> None:
    """Make no key, for those who have no settings: what would need one is looked for again by the service."""


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database, in one transaction."""
    _in_transaction(connection, lambda: _run(connection, _whole_schema()))


def migrate(connection: sqlite3.Connection, version: int, mend_key: MendKey) -> int:
    """Bring a ledger of an older version up to date, in one transaction; returns how many entries could not be kept."""
    connection.create_function("mended_key", 4, mend_key)
    lost = 0

    def upgrade() -> None:
        nonlocal lost
        for older in range(version, 4):
            _run(connection, _TO_VERSION_4[older])
        _run(connection, _MEND)
        connection.execute("ALTER TABLE object RENAME TO object_before")
        _run(connection, _OBJECT + _ELSEWHERE)
        before = connection.execute("SELECT count(*) FROM object_before").fetchone()[0]
        lost = before - connection.execute(_TAKE_OVER).rowcount
        _run(connection, f"DROP TABLE object_before; {_IDENTITY} {_INDEXES} PRAGMA user_version = {SCHEMA_VERSION};")

    _in_transaction(connection, upgrade)
    return lost


def _whole_schema() -> str:
    tables = _OBJECT + _IDENTITY + _INDEXES + _ELSEWHERE + _LIVE + _FACT
    return f"{tables} PRAGMA user_version = {SCHEMA_VERSION};"


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Run statements within the open transaction, which `executescript` would commit."""
    for statement in script.split(";"):
        connection.execute(statement)


def _in_transaction(connection: sqlite3.Connection, work: Callable[[], None]) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        work()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
