"""The ledger's file: its schema and the upgrades, opening it whole or setting it aside, transactions. It knows no entries.

Of the running service it keeps facts; from them the next `open` tells whether that one was killed.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

SCHEMA_VERSION = 5
FILE_NAME = "ledger.db"
LOCK_NAME = "service.lock"
"""Held by the one service that may use a state folder."""
_SCHEMA = """
CREATE TABLE object (
    id INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    camera TEXT,
    label TEXT,
    start_time REAL,
    happened_at REAL NOT NULL,
    event TEXT,
    source TEXT,
    key TEXT,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    deferrals INTEGER NOT NULL DEFAULT 0,
    next_attempt_at REAL NOT NULL DEFAULT 0,
    last_error TEXT,
    size_bytes INTEGER,
    sha256 TEXT,
    etag TEXT,
    recorded_at REAL NOT NULL,
    uploaded_at REAL,
    part TEXT NOT NULL DEFAULT '',
    seconds REAL
) STRICT;
{identity}
{indexes}
{live}
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
# A clip has many objects, told apart by their part.
_IDENTITY = "CREATE UNIQUE INDEX object_identity ON object (event_id, destination, kind, part);"
# Filters of the gallery are answered from the first index alone, the day's activity from the second.
_INDEXES = """
CREATE INDEX object_order ON object (state, happened_at DESC, kind, camera, label);
CREATE INDEX object_uploads ON object (uploaded_at, size_bytes) WHERE uploaded_at IS NOT NULL;
"""
# The gallery's pages, by the beginning of the event, which dates its key, too. Imported rows know their end alone.
_BEGUN = """
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
_PARTS = f"""
ALTER TABLE object ADD COLUMN part TEXT NOT NULL DEFAULT '';
ALTER TABLE object ADD COLUMN seconds REAL;
DROP INDEX object_identity;
{_IDENTITY}
"""
_UPGRADES = {1: f"DROP INDEX object_order; {_INDEXES}", 2: _LIVE, 3: _PARTS, 4: _BEGUN}
"""What leads from a version of the schema to the next."""


class LedgerError(Exception):
    """The ledger cannot be opened; the text is a sentence for the user."""


class LedgerFile:
    """The file of one state folder; opened once, used from one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self.is_new = False
        self.was_killed = False
        """Whether the service before this one did not end in order."""
        self.damaged_path: Path | None = None
        """Where a file that was damaged at `open` is now."""

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection. Raises LedgerError before `open`."""
        if self._connection is None:
            raise LedgerError("The ledger is not open.")
        return self._connection

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def open(self, *, read_only: bool = False) -> None:
        """Open, creating file and schema when they are missing. Raises LedgerError with a sentence."""
        try:
            if read_only:
                uri = f"file:{self.path}?mode=ro"
                self._connection = sqlite3.connect(
                    uri, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False
                )
                self._check_version()
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._open_whole()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._set_aside()
                self._open_whole()
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise LedgerError(
                f"The ledger {self.path} cannot be opened ({error}); its folder must be writable (S3_STATE_DIR chooses another)."
            ) from error

    def open_beside(self) -> None:
        """Open the file of a service that runs: no look at whether it is whole. Raises LedgerError with a sentence."""
        try:
            uri = f"file:{self.path}?mode=rw"
            self._connection = sqlite3.connect(
                uri, uri=True, timeout=10.0, isolation_level=None, check_same_thread=False
            )
            self._check_version()
        except sqlite3.Error as error:
            self.close()
            raise LedgerError(f"The ledger {self.path} cannot be opened ({error}).") from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[Self]:
        """Open for reading alone, until the end of the block. Raises LedgerError with a sentence."""
        self.open(read_only=True)
        try:
            yield self
        finally:
            self.close()

    def check_is_there(self) -> None:
        """Raise LedgerError with a sentence when there is no such file."""
        if not self.path.exists():
            raise LedgerError(
                f"There is no ledger in {self.path.parent} yet; start the mirror first, check S3_STATE_DIR, or see 'rebuild'."
            )

    def close(self) -> None:
        """Close; may be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def note(self, **facts: object) -> None:
        """Keep facts about the running service for `status`; values are stored as JSON."""
        with self._transaction(durable=False) as connection:
            connection.executemany(
                "INSERT INTO fact VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [(name, json.dumps(value)) for name, value in facts.items()],
            )

    def facts(self) -> dict[str, Any]:
        """All facts that were noted."""
        return {name: json.loads(value) for name, value in self.connection.execute("SELECT name, value FROM fact")}

    def _open_whole(self) -> None:
        """Open, or raise sqlite3.DatabaseError for a file that is damaged."""
        self.is_new = not self.path.exists()
        self._connection = sqlite3.connect(self.path, timeout=10.0, isolation_level=None, check_same_thread=False)
        self._choose_journal()
        self._migrate()
        facts = self.facts()
        self.was_killed = facts.get("started_at") is not None and facts.get("stopped_at") is None
        if self.was_killed or self._suspicion.exists():
            found = self.connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            self._suspicion.unlink(missing_ok=True)

    @property
    def _suspicion(self) -> Path:
        return self.path.with_name(f"{self.path.name}.suspect")

    def suspect(self) -> None:
        """SQLite called the file damaged while it was in use: the next `open` checks it whole."""
        with contextlib.suppress(OSError):
            self._suspicion.touch()

    def _set_aside(self) -> None:
        """Keep a damaged file under a dated name and make room for a new one."""
        self.close()
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.damaged_path = self.path.with_name(f"{self.path.name}.damaged-{stamp}")
        self.path.replace(self.damaged_path)
        for ending in ("-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        self._suspicion.unlink(missing_ok=True)

    def _choose_journal(self) -> None:
        """WAL where the file system can map shared memory, a rollback journal where it cannot (NFS, SMB)."""
        try:
            mode = self.connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.execute("COMMIT")
        except sqlite3.OperationalError:
            mode = "failed"
        if mode != "wal":
            self.connection.execute("PRAGMA journal_mode = DELETE")

    def _migrate(self) -> None:
        version = self._check_version()
        if version == 0:
            schema = _SCHEMA.format(identity=_IDENTITY, indexes=_INDEXES + _BEGUN, live=_LIVE)
            self.connection.executescript(f"BEGIN; {schema} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        for older in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
            self.connection.executescript(f"BEGIN; {_UPGRADES[older]} PRAGMA user_version = {older + 1}; COMMIT;")

    def _check_version(self) -> int:
        version = int(self.connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            self.close()
            raise LedgerError(
                f"The ledger {self.path} was written by a newer version of the mirror; install that one again."
            )
        return version

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        connection = self.connection
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
