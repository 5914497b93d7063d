"""Where the ledger's uploads are: the destination's name, the layout of keys, and what a change of either means.

The table `object` holds the present destination's uploads only. Those of another one rest in `elsewhere`.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from frigate_s3_mirror.ledger_schema import SHARED_COLUMNS, MendKey

_DESTINATION = "destination"
_LAYOUT = "key_layout"
_LEAVE = f"""INSERT OR REPLACE INTO elsewhere (destination, {SHARED_COLUMNS})
             SELECT ?, {SHARED_COLUMNS} FROM object WHERE state = 'uploaded'"""  # noqa: S608
_NEW_KEYS = "UPDATE object SET key = coalesce(mended_key(event, kind, part, source), key) WHERE key IS NOT NULL"
# What an entry that is not (any more) in the bucket remembers of the bucket before.
_NO_TRACE = """UPDATE object SET size_bytes = NULL, sha256 = NULL, etag = NULL, uploaded_at = NULL
               WHERE uploaded_at IS NOT NULL OR sha256 IS NOT NULL"""
_SUPERSEDED = """DELETE FROM object WHERE EXISTS (
    SELECT 1 FROM elsewhere e WHERE e.destination = ? AND e.event_id = object.event_id AND e.kind = object.kind AND e.part = object.part)"""
_COME_BACK = f"INSERT INTO object ({SHARED_COLUMNS}) SELECT {SHARED_COLUMNS} FROM elsewhere WHERE destination = ?"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Home:
    """The destination and the layout of keys that the settings ask for."""

    destination: str
    """Endpoint, bucket and prefix, as people may read them; no secrets."""
    layout: str
    """What keys are made by, beside the event."""
    mend_key: MendKey


@dataclass(frozen=True, slots=True)
class Moved:
    """The destination changed."""

    before: str
    to_send: int
    """Uploads of the destination before that this one does not have."""


def destination_of(connection: sqlite3.Connection) -> str | None:
    """Whose uploads the ledger holds; None before a service has claimed them."""
    return _fact(connection, _DESTINATION)


def settle_in(connection: sqlite3.Connection, home: Home) -> tuple[Moved | None, str | None]:
    """Make the ledger one of this home, within the caller's transaction.

    Returns the move, when there was one, and the layout of keys that was in force before, when it was another.
    """
    before, layout = destination_of(connection), _fact(connection, _LAYOUT)
    moved = None if before is None or before == home.destination else _move(connection, before, home)
    for name, known, value in ((_DESTINATION, before, home.destination), (_LAYOUT, layout, home.layout)):
        if known != value:
            connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, json.dumps(value)))
    return moved, layout if layout not in (None, home.layout) else None


def _move(connection: sqlite3.Connection, before: str, home: Home) -> Moved:
    left = connection.execute(_LEAVE, (before,)).rowcount
    connection.execute("DELETE FROM object WHERE state = 'uploaded'")
    connection.execute(_NO_TRACE)
    connection.create_function("mended_key", 4, home.mend_key)
    connection.execute(_NEW_KEYS)
    connection.execute(_SUPERSEDED, (home.destination,))
    connection.execute(_COME_BACK, (home.destination,))
    connection.execute("DELETE FROM elsewhere WHERE destination = ?", (home.destination,))
    connection.execute("UPDATE live SET uploaded_at = NULL WHERE uploaded_at IS NOT NULL")  # their numbers stay taken
    known = """SELECT count(*) FROM elsewhere e WHERE e.destination = ? AND EXISTS (
               SELECT 1 FROM object o WHERE o.event_id = e.event_id AND o.kind = e.kind AND o.part = e.part)"""
    return Moved(before, left - int(connection.execute(known, (before,)).fetchone()[0]))


def _fact(connection: sqlite3.Connection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
    try:
        value = json.loads(row[0]) if row is not None else None
    except (TypeError, ValueError):  # of a damaged file
        return None
    return value if isinstance(value, str) else None
