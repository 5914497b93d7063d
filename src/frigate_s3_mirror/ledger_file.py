"""The ledger's file: opening it whole or setting it aside, where it is at home, transactions. It knows no entries.

Of the running service it keeps facts; from them the next `open` tells whether that one was killed. Whatever is wrong
with the file, opening and reading raise nothing but LedgerError.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from frigate_s3_mirror import ledger_home, ledger_schema
from frigate_s3_mirror.ledger_home import Home, Moved
from frigate_s3_mirror.ledger_schema import SCHEMA_VERSION, TABLES
from frigate_s3_mirror.runtime.untrusted import single_line
from frigate_s3_mirror.state_folder import make_private_file, make_private_folder, tighten

FILE_NAME = "ledger.db"
LOCK_NAME = "service.lock"
"""Held by the one service that may use a state folder."""
_BESIDE = ("-wal", "-shm", "-journal")
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class LedgerError(Exception):
    """The ledger cannot be used; the text is a sentence for the user."""


class OutdatedLedgerError(LedgerError):
    """The ledger is of an older version; the service brings it up to date at its next start."""


class _DamagedError(Exception):
    """The file is no whole ledger any more."""


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether SQLite says that the file itself is broken: not that it is busy, nor that a value was refused."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def _is_broken(error: Exception) -> bool:
    """Whether the file is; where SQLite quotes it in an error that is no UTF-8, Python raises UnicodeDecodeError."""
    return isinstance(error, _DamagedError | UnicodeDecodeError) or (
        isinstance(error, sqlite3.Error) and is_damage(error)
    )


class LedgerFile:
    """The file of one state folder; opened once, used from one thread at a time."""

    def __init__(self, path: Path, home: Home | None = None) -> None:
        """`home`: where the settings have it; without, nobody asks whose uploads it holds."""
        self.path = path
        self.home = home
        self._connection: sqlite3.Connection | None = None
        self.is_new = False
        """Whether `open` made it, because there was none, an empty one, or a damaged one."""
        self.was_empty = False
        """Whether there was a file without anything in it."""
        self.was_killed = False
        """Whether the service before this one did not end in order."""
        self.damaged_path: Path | None = None
        """Where a file that was damaged at `open` is now."""
        self.moved: Moved | None = None
        """What `open` found of a change of the destination."""
        self.layout_before: str | None = None
        """How keys were made before, when `open` found that the settings changed it."""
        self.left_behind = 0
        """How many entries of an older ledger could not be taken over at `open`."""

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

    def open(self, *, read_only: bool = False, may_move: bool = False) -> None:
        """Open; to write, make file and schema when they are missing, and bring older ones up to date.

        `may_move`: take it along to another destination, which is the service's to do and that of `rebuild`.

        Raises:
            LedgerError: it cannot be used, or is another destination's.
        """
        if read_only:
            with self._opening("read"):
                self._open_there("ro")
            return
        with self._opening("opened", "; its folder must be writable (S3_STATE_DIR chooses another)"):
            make_private_folder(self.path.parent)
            try:
                self._open_whole()
            except (_DamagedError, sqlite3.Error, UnicodeDecodeError) as error:
                if not _is_broken(error):
                    raise
                self._set_aside()
                self._open_whole()
            self._go_home(may_move=may_move)

    def open_beside(self) -> None:
        """Open the file of a service that runs: no look at whether it is whole.

        Raises:
            LedgerError: it cannot be used, or is another destination's.
        """
        with self._opening("opened"):
            self._open_there("rw")

    @contextlib.contextmanager
    def reading(self) -> Iterator[Self]:
        """Open for reading alone, until the end of the block.

        Raises:
            LedgerError: it cannot be used, or is another destination's; also for what SQLite says within the block.
        """
        self.check_is_there()
        self.open(read_only=True)
        try:
            with self.in_words():
                yield self
        finally:
            self.close()

    @contextlib.contextmanager
    def in_words(self, used: str = "read") -> Iterator[None]:
        """Tell in a sentence what SQLite says of the open file within the block; a damaged one is checked at the next start.

        Raises:
            LedgerError: instead of SQLite's errors.
        """
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if _is_broken(error):
                self.suspect()
            raise self._in_a_sentence(error, used) from error
        except (TypeError, ValueError) as error:  # flipped bits can make a number of a name
            if self._is_whole():
                raise
            self.suspect()
            raise self._in_a_sentence(_DamagedError(error), used) from error

    def check_is_there(self) -> None:
        """Raise LedgerError with a sentence when there is no such file."""
        if not self.path.exists():
            raise LedgerError(
                f"There is no ledger in {self.path.parent} yet; start the mirror first, or check S3_STATE_DIR; "
                "'rebuild' makes one from the bucket."
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
        """All facts that were noted; one that cannot be read counts as none."""
        facts: dict[str, Any] = {}
        for name, value in self.connection.execute("SELECT name, value FROM fact"):
            with contextlib.suppress(TypeError, ValueError, RecursionError):
                facts[name] = json.loads(value)
        return facts

    def suspect(self) -> None:
        """SQLite called the file damaged while it was in use: the next `open` checks it whole."""
        with contextlib.suppress(OSError):
            self._suspicion.touch(mode=0o600)

    # -- opening ---------------------------------------------------------------------------------------------------

    def _open_whole(self) -> None:
        """Open to write. Raises _DamagedError or an error that `is_damage` when the file is no whole ledger."""
        was_there = self.path.exists()
        make_private_file(self.path)
        for ending in _BESIDE:
            tighten(self._beside(ending))
        self._connect("rw", timeout=10.0)
        version = self._check_version()
        tables = self._tables()
        self.is_new = not tables
        self.was_empty = was_there and not tables
        if tables and not tables & set(TABLES):
            raise LedgerError(f"{self.path} is another program's database; S3_STATE_DIR must name a folder of our own.")
        if tables and (version == 0 or not tables >= self._tables_of(version)):
            raise _DamagedError("tables are missing")
        self._choose_journal()
        if self.is_new:
            ledger_schema.create(self.connection)
            return
        self._check_whole()
        if version < SCHEMA_VERSION:
            mend_key = self.home.mend_key if self.home is not None else ledger_schema.no_key
            self.left_behind = ledger_schema.migrate(self.connection, version, mend_key)

    def _open_there(self, mode: str) -> None:
        """Open what is there, ready for use. Raises LedgerError when only the service can make it so."""
        self._connect(mode, timeout=5.0)
        version = self._check_version()
        if not self._tables() >= self._tables_of(version) or version == 0:
            raise LedgerError(
                f"The ledger {self.path} is empty, or is none; start the mirror, which makes it anew, or check S3_STATE_DIR."
            )
        if version < SCHEMA_VERSION:
            raise OutdatedLedgerError(
                f"The ledger {self.path} was written by an older version of the mirror; start the mirror, which brings it up to date."
            )
        self._check_home()

    def _connect(self, mode: str, timeout: float) -> None:
        uri = f"file:{quote(str(self.path))}?mode={mode}"
        self._connection = sqlite3.connect(
            uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
        )
        self._connection.text_factory = partial(str, encoding="utf-8", errors="replace")  # one bad byte is no end

    def _check_whole(self) -> None:
        """After a kill, or once SQLite complained, the whole file is checked."""
        facts = self.facts()
        self.was_killed = facts.get("started_at") is not None and facts.get("stopped_at") is None
        is_suspect = self._suspicion.exists()
        if self.was_killed or is_suspect:
            check = "integrity_check" if is_suspect else "quick_check"  # which leaves out the indexes
            found = self.connection.execute(f"PRAGMA {check}(1)").fetchone()[0]
            if found != "ok":
                raise _DamagedError(found)
            self._suspicion.unlink(missing_ok=True)

    def _is_whole(self) -> bool:
        """Whether every value has its column's type, and all else is right; slow."""
        try:
            return bool(self.connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
        except (LedgerError, sqlite3.Error, UnicodeDecodeError):
            return False

    def _set_aside(self) -> None:
        """Keep a damaged file under a dated name and make room for a new one."""
        self.close()
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.damaged_path = self.path.with_name(f"{self.path.name}.damaged-{stamp}")
        self.path.replace(self.damaged_path)
        for ending in _BESIDE:
            self._beside(ending).unlink(missing_ok=True)
        self._suspicion.unlink(missing_ok=True)

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)

    @property
    def _suspicion(self) -> Path:
        return self._beside(".suspect")

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

    def _check_version(self) -> int:
        version = int(self.connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise LedgerError(
                f"The ledger {self.path} was written by a newer version of the mirror; install that one again."
            )
        return max(version, 0)

    def _tables(self) -> set[str]:
        return {row[0] for row in self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    @staticmethod
    def _tables_of(version: int) -> set[str]:
        """What a ledger of this version has, at the least."""
        since = {"object": 1, "fact": 1, "live": 3, "elsewhere": 5}
        return {table for table, first in since.items() if version >= first}

    # -- where it is at home ---------------------------------------------------------------------------------------

    def _go_home(self, *, may_move: bool) -> None:
        """Claim the ledger for the settings' destination, or move it there."""
        if self.home is None:
            return
        if not may_move:
            self._check_home()
        with self._transaction(durable=True) as connection:
            self.moved, self.layout_before = ledger_home.settle_in(connection, self.home)

    def _check_home(self) -> None:
        """Whose uploads are these? Raises LedgerError when they are another destination's."""
        there = ledger_home.destination_of(self.connection)
        if self.home is not None and there is not None and there != self.home.destination:
            raise LedgerError(
                f"The ledger {self.path} is about the uploads to {there}, and the settings say {self.home.destination}; "
                "start the mirror with these settings first, which sends there what is missing, or check S3_BUCKET, "
                "S3_ENDPOINT_URL and S3_PATH_PREFIX."
            )

    # -- shared ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _opening(self, done: str, advice: str = "") -> Iterator[None]:
        """Close after trouble, and tell it in a sentence."""
        try:
            yield
        except LedgerError:
            self.close()
            raise
        except (sqlite3.Error, _DamagedError, UnicodeDecodeError, OSError) as error:
            self.close()
            raise self._in_a_sentence(error, done, advice) from error

    def _in_a_sentence(self, error: Exception, done: str, advice: str = "") -> LedgerError:
        said = single_line(str(error).partition("\n")[0])  # SQLite may quote a whole schema
        if _is_broken(error):
            return LedgerError(
                f"The ledger {self.path} is damaged ({said}); start the mirror again, which sets it aside and makes a new one."
            )
        return LedgerError(f"The ledger {self.path} cannot be {done} ({said}){advice}.")

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
