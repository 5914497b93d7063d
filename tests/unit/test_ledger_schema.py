"""Ledgers of every schema so far become one of this version, whole or not at all; the tables refuse what must never be."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frigate_s3_mirror import ledger_schema
from frigate_s3_mirror.destination import home_of
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import LedgerError, OutdatedLedgerError
from frigate_s3_mirror.ledger_schema import SCHEMA_VERSION, TABLES, create, migrate, no_key
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.local_checks import look_at_state
from frigate_s3_mirror.settings import Settings

OBJECT = """
CREATE TABLE object (
    id INTEGER PRIMARY KEY, destination TEXT NOT NULL, event_id TEXT NOT NULL, kind TEXT NOT NULL, camera TEXT,
    label TEXT, start_time REAL, happened_at REAL NOT NULL, event TEXT, source TEXT, key TEXT, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, deferrals INTEGER NOT NULL DEFAULT 0, next_attempt_at REAL NOT NULL DEFAULT 0,
    last_error TEXT, size_bytes INTEGER, sha256 TEXT, etag TEXT, recorded_at REAL NOT NULL, uploaded_at REAL{parts}
) STRICT;
CREATE UNIQUE INDEX object_identity ON object (event_id, destination, kind{part});
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
PARTS = ", part TEXT NOT NULL DEFAULT '', seconds REAL"
ORDER = "CREATE INDEX object_order ON object (state, happened_at DESC);"
INDEXES = """
CREATE INDEX object_order ON object (state, happened_at DESC, kind, camera, label);
CREATE INDEX object_uploads ON object (uploaded_at, size_bytes) WHERE uploaded_at IS NOT NULL;
"""
LIVE = """
CREATE TABLE live (
    event_id TEXT NOT NULL, number INTEGER NOT NULL, camera TEXT NOT NULL, label TEXT NOT NULL, key TEXT NOT NULL,
    began_at REAL NOT NULL, size_bytes INTEGER, sha256 TEXT, uploaded_at REAL, is_deleted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (event_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX live_order ON live (began_at);
"""
VERSIONS = {
    1: OBJECT.format(parts="", part="") + ORDER,
    2: OBJECT.format(parts="", part="") + INDEXES,
    3: OBJECT.format(parts="", part="") + INDEXES + LIVE,
    4: OBJECT.format(parts=PARTS, part=", part") + INDEXES + LIVE,
}
SHA256 = "0123456789abcdef" * 4
INDEX_ERROR = "Unforeseen: IndexError('list index out of range')."
# Event number, state, source, key, last error, sha256; the first is as it should be, the next are what older versions wrote.
ROWS = [
    (1, "uploaded", "cam-1.5-abcdef.jpg", "old/cam/1.5-abcdef.jpg", None, SHA256),
    (2, "uploaded", "cam-2.5-abcdef.jpg", "", None, SHA256),
    (3, "failed", "cam-3.5-abcdef.png", "", INDEX_ERROR, None),
    (4, "pending", "cam-4.5-abcdef.jpg", "", None, None),
    (5, "awaited", "", "", None, None),
    (6, "absent", "", "", "no file was ever there", None),
    (7, "failed", "", "", "Its camera is no name of Frigate's; refused.", None),
    (8, "expired", "cam-8.5-abcdef.jpg", "", "cam-8.5-abcdef.jpg vanished.", None),
    (9, "failed", "cam-9.5-abcdef.jpg", "old/cam/9.5-abcdef.jpg", "Refused.", None),
    (10, "pending", "", "", None, None),
    (11, "uploaded", "cam-11.5-abcdef.jpg", "old/cam/11.5-abcdef.jpg", None, "torn"),
]


def settings(**more: str) -> Settings:
    values = {"S3_BUCKET": "bucket", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret", "S3_PATH_PREFIX": "new"}
    return Settings.model_validate({**values, "S3_KEY_TIMEZONE": "UTC", **more})


def positional(number: int) -> str:
    return json.dumps(
        [f"{number}.5-abcdef", "cam", "car", None, number + 0.5, number + 1.0, True, ["yard"], 0.5, False]
    )


def write_old(path: Path, version: int) -> None:
    """A ledger as that version left it, with what is wrong in it and what is not."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"PRAGMA journal_mode = WAL; {VERSIONS[version]} PRAGMA user_version = {version};")
        for number, state, source, key, error, sha256 in ROWS:
            connection.execute(
                """INSERT INTO object (destination, event_id, kind, camera, label, start_time, happened_at, event, source, key,
                                       state, last_error, sha256, recorded_at, uploaded_at, attempts)
                   VALUES ('s3', ?, 'snapshot', 'cam', 'car', ?, ?, ?, ?, ?, ?, ?, ?, 50.0, ?, 3)""",
                (f"{number}.5-abcdef", number + 0.5, number + 1.0, positional(number), source, key, state, error, sha256,
                 60.0 if state == "uploaded" else None),
            )  # fmt: skip
        connection.execute(
            "INSERT INTO object (destination, event_id, kind, happened_at, state, recorded_at) VALUES ('s3', '12.5-abcdef', 'snapshot', 12, 'uploaded', 50)"
        )  # known by its id alone
        connection.execute("INSERT INTO fact VALUES ('version', '\"0.1\"')")
        if version >= 3:
            connection.execute(
                "INSERT INTO live (event_id, number, camera, label, key, began_at) VALUES ('1.5-abcdef', 1, 'cam', 'car', 'k', 1.0)"
            )
        connection.commit()


def schema_of(ledger: Ledger) -> list[tuple[str, str]]:
    return ledger.connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    ).fetchall()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ledger_of_every_older_schema_is_brought_up_to_date(version: int, tmp_path: Path) -> None:
    """Its entries stay, what older versions wrote wrong is mended, and its tables are those of a new one."""
    write_old(tmp_path / "old.db", version)
    old, new = Ledger(tmp_path / "old.db", home_of(settings())), Ledger(tmp_path / "new.db")
    for ledger in (old, new):
        ledger.open()
    assert schema_of(old) == schema_of(new)
    assert old.connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert old.left_behind == 0
    assert old.facts()["version"] == "0.1"
    found = {
        int(row[0].split(".")[0]): row[1:]
        for row in old.connection.execute("SELECT event_id, state, source, key, attempts, sha256 FROM object")
    }
    made = "new/cam/1970-01-01/{0}.5-abcdef-19700101_0000{0:02}.{1}"
    assert found == {
        1: ("uploaded", "cam-1.5-abcdef.jpg", "old/cam/1.5-abcdef.jpg", 3, SHA256),
        2: ("uploaded", "cam-2.5-abcdef.jpg", made.format(2, "jpg"), 3, SHA256),
        3: ("pending", "cam-3.5-abcdef.png", made.format(3, "png"), 0, None),
        4: ("pending", "cam-4.5-abcdef.jpg", made.format(4, "jpg"), 3, None),
        5: ("awaited", None, None, 3, None),
        6: ("absent", None, None, 3, None),
        7: ("failed", None, None, 3, None),
        8: ("expired", "cam-8.5-abcdef.jpg", made.format(8, "jpg"), 3, None),
        9: ("failed", "cam-9.5-abcdef.jpg", "old/cam/9.5-abcdef.jpg", 3, None),
        10: ("awaited", None, None, 3, None),
        11: ("uploaded", "cam-11.5-abcdef.jpg", "old/cam/11.5-abcdef.jpg", 3, None),
        12: ("uploaded", None, None, 0, None),
    }
    assert [entry.event for entry in old.due(State.PENDING, 100.0, 9)] == [
        Event(f"{n}.5-abcdef", "cam", "car", None, n + 0.5, n + 1.0, True, ("yard",), 0.5, False) for n in (4, 3)
    ]
    assert old.connection.execute("SELECT count(*) FROM live").fetchone() == (int(version >= 3),)
    for ledger in (old, new):
        ledger.close()


def test_without_settings_nothing_is_lost_either(tmp_path: Path) -> None:
    """No key can be made then: what waited for its upload is looked for again."""
    write_old(tmp_path / "old.db", 4)
    ledger = Ledger(tmp_path / "old.db")
    ledger.open()
    assert {e.event.id for e in ledger.due(State.AWAITED, 100.0, 9)} == {f"{n}.5-abcdef" for n in (3, 4, 5, 10)}
    assert ledger.backlog() == 0
    ledger.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_home import Home
calls = 0
def mend(*_):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return "some/key.jpg" + str(calls)
Ledger(Path(sys.argv[1]), Home("there", "layout", mend)).open()
"""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("call", [1, 4])
def test_a_kill_in_the_middle_leaves_the_older_ledger(version: int, call: int, tmp_path: Path) -> None:
    """The next start finds it as it was, and brings it up to date."""
    path = tmp_path / "old.db"
    write_old(path, version)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        before = list(connection.iterdump())
    killed = subprocess.run([sys.executable, "-c", KILLED, path, str(call)], check=False, env=dict(os.environ))
    assert killed.returncode == -signal.SIGKILL
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)
        assert list(connection.iterdump()) == before
    ledger = Ledger(path, home_of(settings()))
    ledger.open()
    assert ledger.backlog() == 2
    ledger.close()


def test_an_older_ledger_is_read_by_nobody_before_it_is_up_to_date(tmp_path: Path) -> None:
    """A sentence says what to do, and the file stays as it is."""
    write_old(tmp_path / "old.db", 4)
    with pytest.raises(LedgerError, match="older version"), Ledger(tmp_path / "old.db").reading():
        pass
    with pytest.raises(OutdatedLedgerError):
        Ledger(tmp_path / "old.db").open_beside()
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (4,)


def test_doctor_finds_nothing_wrong_with_an_older_ledger(tmp_path: Path) -> None:
    """It is asked before the first start of a new version, which brings the ledger up to date."""
    write_old(tmp_path / "ledger.db", 4)
    seen = look_at_state(tmp_path)
    assert seen.ledger_problem is None
    assert seen.ledger_bytes


@pytest.mark.parametrize(
    "change",
    [
        "key = ''", "source = ''", "event = ''", "event_id = ''", "key = NULL", "source = NULL", "event = NULL",
        "state = 'sent'", "state = ''", "kind = 'video'", "part = 'a'", "sha256 = 'abc'", f"sha256 = '{SHA256.upper()}'",
        f"sha256 = '{SHA256}0'", "attempts = -1", "deferrals = -1", "size_bytes = -1", "happened_at = 9e999",
        "happened_at = NULL", "start_time = -9e999", "happened_at = 'noon'", "state = NULL",
    ],
)  # fmt: skip
@pytest.mark.parametrize("state", ["pending", "uploaded"])
def test_the_table_refuses_what_must_never_be(change: str, state: str, tmp_path: Path) -> None:
    """No code path can write it, whatever it thinks. An upload that is known by its id alone is legal."""
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.open()
    ledger.connection.execute(
        """INSERT INTO object (event_id, kind, happened_at, event, source, key, state, recorded_at)
           VALUES ('1.5-abcdef', 'snapshot', 1, '{}', 'a.jpg', 'b.jpg', ?, 1)""", (state,),
    )  # fmt: skip
    act: Callable[[], object] = lambda: ledger.connection.execute(f"UPDATE object SET {change}")  # noqa: E731, S608
    if state == "uploaded" and change in {"key = NULL", "source = NULL", "event = NULL"}:
        act()
    else:
        with pytest.raises(sqlite3.IntegrityError):
            act()
    ledger.close()


def test_a_kind_of_the_program_is_one_of_the_tables(tmp_path: Path) -> None:
    """And so are its states: the constraint's lists are not forgotten when one is added."""
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.open()
    for number, (kind, state) in enumerate((kind, state) for kind in Kind for state in State):
        ledger.connection.execute(
            """INSERT INTO object (event_id, kind, happened_at, event, source, key, state, recorded_at)
               VALUES (?, ?, 1, '{}', 'a.jpg', 'b.jpg', ?, 1)""", (str(number), kind, state),
        )  # fmt: skip
    ledger.close()


def test_the_tables_are_known_by_their_names(tmp_path: Path) -> None:
    """By them a ledger is told from another program's database."""
    with contextlib.closing(sqlite3.connect(tmp_path / "new.db", isolation_level=None)) as connection:
        create(connection)
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names == set(TABLES)


@pytest.mark.parametrize(
    ("change", "is_allowed"),
    [
        ("happened_at = 999999999999.0", True), ("happened_at = 1e12", False), ("happened_at = -1e12", False), ("start_time = NULL", True),
        ("start_time = 999999999999.0", True), ("start_time = -1e12", False), ("start_time = 1e12", False), ("size_bytes = 0", True),
        ("attempts = 0", True), ("deferrals = 0", True), ("part = 'a', kind = 'clip'", True), ("part = 'a'", False),
        (f"sha256 = '{SHA256}'", True), (f"sha256 = '{SHA256[:63]}'", False), (f"sha256 = '{SHA256[:63]}g'", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("table", ["object", "elsewhere"])
def test_the_bounds_of_the_tables(table: str, change: str, is_allowed: bool, tmp_path: Path) -> None:
    """Both tables hold the same; the other places' one holds nothing but uploads."""
    with contextlib.closing(sqlite3.connect(tmp_path / "new.db", isolation_level=None)) as connection:
        create(connection)
        where = ("destination, ", "'there', ") if table == "elsewhere" else ("", "")
        insert = f"""INSERT INTO {table} ({where[0]}event_id, kind, happened_at, event, source, key, state, recorded_at)
                     VALUES ({where[1]}'1.5-abcdef', 'snapshot', 1, '{{}}', 'a.jpg', 'b.jpg', ?, 1)"""  # noqa: S608
        connection.execute(insert, ("uploaded",))
        columns = "attempts, deferrals, next_attempt_at, part"
        assert connection.execute(f"SELECT {columns} FROM {table}").fetchone() == (0, 0, 0.0, "")  # noqa: S608
        if is_allowed:
            connection.execute(f"UPDATE {table} SET {change}")  # noqa: S608
        else:
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(f"UPDATE {table} SET {change}")  # noqa: S608
        if table == "elsewhere":
            for other in ("state = 'failed'", "destination = ''"):
                with pytest.raises(sqlite3.IntegrityError):
                    connection.execute(f"UPDATE elsewhere SET {other}")  # noqa: S608


# State, source, key, error, event, start, happened at -> state, source, key, error, start, happened at; None: not kept.
OK_EVENT = positional(1)
MENDED: list[tuple[tuple[Any, ...], tuple[Any, ...] | None]] = [
    (("failed", "a.jpg", "", INDEX_ERROR, OK_EVENT, 1.0, 1.0), ("pending", "a.jpg", "made", None, 1.0, 1.0)),
    (("failed", "", "", INDEX_ERROR, OK_EVENT, 1.0, 1.0), ("failed", None, "made", INDEX_ERROR, 1.0, 1.0)),
    (("failed", "a.jpg", "k", INDEX_ERROR, OK_EVENT, 1.0, 1.0), ("failed", "a.jpg", "k", INDEX_ERROR, 1.0, 1.0)),
    (("failed", "a.jpg", "", "Refused.", OK_EVENT, 1.0, 1.0), ("failed", "a.jpg", "made", "Refused.", 1.0, 1.0)),
    (("absent", "a.jpg", "", INDEX_ERROR, OK_EVENT, 1.0, 1.0), ("absent", "a.jpg", "made", INDEX_ERROR, 1.0, 1.0)),
    (("pending", "a.jpg", "k", None, OK_EVENT, 1e12, -1e12), ("pending", "a.jpg", "k", None, None, 50.0)),
    (("pending", "a.jpg", "k", None, OK_EVENT, 9e11, 9e11), ("pending", "a.jpg", "k", None, 9e11, 9e11)),
    (("pending", "", "k", None, OK_EVENT, 1.0, 1.0), ("awaited", None, None, None, 1.0, 1.0)),
    (("pending", "a.jpg", "k", None, None, 1.0, 1.0), None),
    (("awaited", "a.jpg", "k", None, None, 1.0, 1.0), None),
    (("absent", "a.jpg", "k", None, None, 1.0, 1.0), None),
    (("failed", "a.jpg", "k", None, None, 1.0, 1.0), ("failed", "a.jpg", "k", None, 1.0, 1.0)),
    (("uploaded", None, None, None, None, 1.0, 1.0), ("uploaded", None, None, None, 1.0, 1.0)),
    (("awaited", "a.jpg", None, None, OK_EVENT, 1.0, 1.0), ("awaited", "a.jpg", None, None, 1.0, 1.0)),
]


def test_each_oddity_of_older_versions_is_mended_by_itself(tmp_path: Path) -> None:
    """And what has none of them stays."""
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as connection:
        connection.executescript(f"{VERSIONS[4]} PRAGMA user_version = 4;")
        insert = """INSERT INTO object (destination, event_id, kind, state, source, key, last_error, event, start_time, happened_at, recorded_at,
                    attempts, deferrals, next_attempt_at, sha256) VALUES ('s3', ?, 'snapshot', ?, ?, ?, ?, ?, ?, ?, 50.0, 3, 4, 9.0, ?)"""
        digests = [SHA256, SHA256[1:], SHA256.upper(), "", SHA256 + "0"]
        for number, (row, _) in enumerate(MENDED):
            connection.execute(insert, (str(number), *row, digests[number % 5]))
        assert migrate(connection, 4, lambda *_: "made") == 0
        found = {
            row[0]: tuple(row[1:])
            for row in connection.execute(
                "SELECT event_id, state, source, key, last_error, start_time, happened_at FROM object"
            )
        }
        assert found == {str(n): after for n, (_, after) in enumerate(MENDED) if after is not None}
        tries = {
            row[0]: tuple(row[1:])
            for row in connection.execute("SELECT event_id, attempts, deferrals, next_attempt_at FROM object")
        }
        assert tries["0"] == (0, 0, 0.0)
        assert tries["7"] == (3, 4, 0.0)
        assert {tries[name] for name in tries if name not in {"0", "7"}} == {(3, 4, 9.0)}
        kept = connection.execute("SELECT event_id, sha256 FROM object WHERE sha256 IS NOT NULL").fetchall()
        assert kept == [(str(n), SHA256) for n in (0, 5) if MENDED[n][1] is not None]


def test_a_row_that_breaks_a_constraint_stays_behind_and_is_counted(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as connection:
        connection.executescript(f"{VERSIONS[4]} PRAGMA user_version = 4;")
        for name, kind in (("1", "snapshot"), ("2", "video"), ("", "snapshot"), ("3", "clean")):
            connection.execute(
                "INSERT INTO object (destination, event_id, kind, state, happened_at, recorded_at) VALUES ('s3', ?, ?, 'uploaded', 1, 1)",
                (name, kind),
            )
        assert migrate(connection, 4, no_key) == 2
        assert [row[0] for row in connection.execute("SELECT event_id FROM object ORDER BY id")] == ["1", "3"]


def test_a_change_of_the_tables_is_whole_or_none(tmp_path: Path) -> None:
    """It is on disk before anyone goes on; an error takes all of it back, and is told as it is."""
    with contextlib.closing(sqlite3.connect(tmp_path / "new.db", isolation_level=None)) as connection:

        def half() -> None:
            connection.execute("CREATE TABLE half (a)")
            raise ZeroDivisionError

        def all_over() -> None:
            connection.execute("ROLLBACK")  # as SQLite does by itself when the disk is full
            raise ZeroDivisionError

        for work in (half, all_over):
            with pytest.raises(ZeroDivisionError):
                ledger_schema._in_transaction(connection, work)
            assert not connection.in_transaction
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        create(connection)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
