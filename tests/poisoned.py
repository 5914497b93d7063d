"""Entries of a ledger with values that no version of the mirror wrote: a disk's fault, another tool, or an older version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

POISONS = {
    "an event that is no JSON": "event = '{broken'",
    "an event of another shape": "event = '[1, [2], null]'",
    "an event without its parts": "event = '{}'",
    "an event nested without end": "event = '" + "[" * 100_000 + "'",
    "no number but infinity": "happened_at = 9e999, start_time = -9e999, next_attempt_at = 9e999, uploaded_at = 9e999",
    "a year before all calendars": "happened_at = -1e11, start_time = -1e11, uploaded_at = -1e11",
    "a year after all calendars": "happened_at = 9e11, start_time = 9e11, uploaded_at = 9e11",
    "letters that are none": (
        "label = CAST(x'ff80c3' AS TEXT), camera = char(27) || '[2J', last_error = CAST(x'80' AS TEXT) || char(10)"
    ),
    "nothing where something should be": "camera = NULL, label = NULL, start_time = NULL, event = NULL, size_bytes = NULL",
    "a key that is none": "key = '../../etc/passwd', source = '../../etc/passwd', etag = '\"', sha256 = NULL",
}
"""What is set in a row, by what is wrong with it."""


def poison(ledger: Path, rows: Iterable[int]) -> dict[str, str]:
    """Poison one row after the other, each in its own way; returns the event ids by what is wrong with them."""
    poisoned = {}
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.text_factory = bytes
        for row, (name, values) in zip(rows, POISONS.items(), strict=True):
            (event_id,) = connection.execute(f"UPDATE object SET {values} WHERE id = ? RETURNING event_id", (row,)).fetchone()  # noqa: S608  # fmt: skip
            poisoned[name] = event_id.decode()
    return poisoned
