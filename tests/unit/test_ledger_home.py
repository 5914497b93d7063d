"""What a change of destination does to the rows: the statements by themselves."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from frigate_s3_mirror.ledger_home import Home, Moved, destination_of, settle_in
from frigate_s3_mirror.ledger_schema import create, no_key


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    create(opened)
    yield opened
    opened.close()


def home(destination: str, layout: str = "layout") -> Home:
    return Home(destination, layout, lambda _event, _kind, _part, source: f"{destination}/{source}" if source else None)


def add(connection: sqlite3.Connection, number: int, state: str, *, kind: str = "snapshot", part: str = "", trace: str = "NULL, NULL, NULL, NULL") -> None:  # fmt: skip
    connection.execute(
        f"""INSERT INTO object (event_id, kind, part, happened_at, event, source, key, state, recorded_at, size_bytes, sha256, etag, uploaded_at)
            VALUES (?, ?, ?, 1, '{{}}', ?, ?, ?, 1, {trace})""",  # noqa: S608
        (str(number), kind, part, f"{number}.jpg", f"old/{number}.jpg", state),
    )


TRACE = f"9, '{'5' * 64}', 'e', 44.0"
FACTS = "event_id, kind, part, state, key, size_bytes, sha256, etag, uploaded_at"


def rows(connection: sqlite3.Connection, table: str = "object") -> set[tuple[object, ...]]:
    return set(connection.execute(f"SELECT {FACTS} FROM {table}"))  # noqa: S608


def test_the_first_home_moves_nothing_and_the_same_one_changes_nothing(connection: sqlite3.Connection) -> None:
    add(connection, 1, "uploaded", trace=TRACE)
    before = rows(connection)
    assert destination_of(connection) is None
    assert settle_in(connection, home("here")) == (None, None)
    changes = connection.total_changes
    assert settle_in(connection, home("here")) == (None, None)
    assert connection.total_changes == changes
    assert rows(connection) == before
    assert destination_of(connection) == "here"
    assert settle_in(connection, home("here", "another")) == (None, "layout")
    assert settle_in(connection, home("there", "third")) == (Moved("here", 1), "another")
    assert dict(connection.execute("SELECT name, value FROM fact")) == {
        "destination": '"there"',
        "key_layout": '"third"',
    }


@pytest.mark.parametrize("value", ["{", "7", "null", "[]"])
def test_an_odd_name_counts_as_none(connection: sqlite3.Connection, value: str) -> None:
    """Of a damaged file, say."""
    connection.execute("INSERT INTO fact VALUES ('destination', ?)", (value,))
    assert destination_of(connection) is None


def test_what_waits_takes_nothing_of_the_bucket_before_along(connection: sqlite3.Connection) -> None:
    """Its key is made anew where it has one and one can be made; what S3 said of it is forgotten."""
    settle_in(connection, home("here"))
    add(connection, 1, "pending", trace=TRACE)
    add(connection, 2, "failed", trace=f"9, '{'5' * 64}', 'e', NULL")
    add(connection, 3, "expired", trace="9, NULL, 'e', 44.0")
    add(connection, 4, "pending")
    add(connection, 5, "absent")
    connection.execute("UPDATE object SET key = NULL WHERE event_id = '5'")
    connection.execute("INSERT INTO live VALUES ('1', 1, 'c', 'l', 'k', 1, 9, 's', 44.0, 0), ('1', 2, 'c', 'l', 'k', 1, 9, 's', NULL, 0)")  # fmt: skip
    assert settle_in(connection, home("there"))[0] == Moved("here", 0)
    assert rows(connection) == {
        (str(n), "snapshot", "", state, key, None, None, None, None)
        for n, state, key in (
            (1, "pending", "there/1.jpg"), (2, "failed", "there/2.jpg"), (3, "expired", "there/3.jpg"), (4, "pending", "there/4.jpg"), (5, "absent", None),
        )
    }  # fmt: skip
    assert connection.execute("SELECT number, uploaded_at FROM live").fetchall() == [(1, None), (2, None)]
    assert settle_in(connection, Home("third", "layout", no_key))[0] == Moved("there", 0)
    assert ("1", "snapshot", "", "pending", "there/1.jpg", None, None, None, None) in rows(connection)


def test_uploads_rest_while_the_destination_is_another_and_come_back(connection: sqlite3.Connection) -> None:
    """What is known there supersedes what waits for it; other parts, kinds and events are not concerned."""
    settle_in(connection, home("here"))
    add(connection, 1, "uploaded", trace=TRACE)
    add(connection, 2, "uploaded", kind="clip", part="a", trace=TRACE)
    add(connection, 3, "uploaded", trace=TRACE)
    uploads = rows(connection)
    assert settle_in(connection, home("there"))[0] == Moved("here", 3)
    assert rows(connection) == set()
    assert rows(connection, "elsewhere") == uploads
    for number, kind, part, state in ((1, "snapshot", "", "uploaded"), (1, "thumbnail", "", "uploaded"), (2, "clip", "a", "pending"), (2, "clip", "b", "pending"), (4, "snapshot", "", "uploaded")):  # fmt: skip
        add(connection, number, state, kind=kind, part=part, trace=TRACE if state == "uploaded" else "NULL, NULL, NULL, NULL")  # fmt: skip
    assert settle_in(connection, home("here"))[0] == Moved("there", 2)  # the thumbnail of 1, and 4
    left = ("2", "clip", "b", "pending", "here/2.jpg", None, None, None, None)
    assert rows(connection) == uploads | {left}
    assert {row[0] for row in connection.execute("SELECT destination FROM elsewhere")} == {"there"}
    assert settle_in(connection, home("there"))[0] == Moved("here", 2)  # 2a and 3 are not there
    assert {row[:4] for row in rows(connection)} == {
        ("1", "snapshot", "", "uploaded"), ("1", "thumbnail", "", "uploaded"), ("4", "snapshot", "", "uploaded"), ("2", "clip", "b", "pending"),
    }  # fmt: skip
    assert settle_in(connection, home("there"))[0] is None


def test_the_last_word_of_a_place_counts(connection: sqlite3.Connection) -> None:
    """Sent there again since: the newer upload rests, not both."""
    settle_in(connection, home("here"))
    for etag in ("e1", "e2"):
        add(connection, 1, "uploaded", trace=f"9, '{'5' * 64}', '{etag}', 44.0")
        settle_in(connection, home("there"))
        settle_in(connection, home("here"))
        assert [row[7] for row in rows(connection)] == [etag]
        connection.execute("DELETE FROM object")
