"""Whether Frigate's file is still the one that was sent: a picture can change after its upload, and an id can come again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.sources import (
    Files,
    Found,
    SourceRefusedError,
    SourceUnreachableError,
    SourceUnreadableError,
    SourceVanishedError,
    candidates_of,
)

_SAME_START = 1.0
"""Seconds by which two starts of the same event may differ: ledgers and object metadata round them."""
_SETTLED_SECONDS = 2.0
"""A file that changed this lately may be about to change again."""
_COLUMNS = "o.id, o.event_id, o.kind, o.state, o.key, o.source, o.camera, o.start_time, o.sha256, o.size_bytes"
_OF_EVENT = (
    "SELECT {columns} FROM object o WHERE o.event_id = ? AND o.state IN ('uploaded', 'expired') AND o.kind <> 'clip'"
)
_LATELY = """SELECT {columns} FROM object o WHERE o.uploaded_at >= ? AND o.state = 'uploaded' AND o.kind <> 'clip'
             ORDER BY o.uploaded_at DESC LIMIT 1000"""

_UPLOADED = """SELECT {columns} FROM object o
               WHERE o.state = 'uploaded' AND o.kind IN ('snapshot', 'clean') AND {condition}"""


@dataclass(frozen=True, slots=True)
class Sent:
    """An entry whose file was dealt with: sent, or lost."""

    row: int
    event_id: str
    kind: Kind
    state: State
    key: str | None
    source: str | None
    camera: str | None
    start_time: float | None
    sha256: str | None
    size_bytes: int | None
    modified_at: float | None
    """The file's time when it was read; None where nobody noted it."""

    @property
    def is_file(self) -> bool:
        """Whether it was made from a file of Frigate's of this very kind."""
        return self.source in candidates_of(self.camera or "", self.event_id, self.kind)


class Change(Enum):
    """What became of the file of an entry."""

    OTHER_PICTURE = auto()
    """It was written again: the event's picture is another one now."""
    BACK = auto()
    """It was lost, and is there again."""


def change_of(sent: Sent, found: Found | None) -> Change | None:
    """Decide whether the file under the entry's name calls for another upload."""
    if found is None or found.is_link or not sent.is_file or found.source != sent.source:
        return None
    if sent.state is State.EXPIRED:
        return Change.BACK
    if found.size_bytes is None or sent.size_bytes is None:
        return None
    is_same = found.size_bytes == sent.size_bytes and sent.modified_at in (None, found.modified_at)
    return None if is_same else Change.OTHER_PICTURE


def is_settled(found: Found, now: float) -> bool:
    """Return whether nobody seems to be writing the file."""
    return not 0 <= now - found.modified_at < _SETTLED_SECONDS


def is_of_another_event(sent: Sent, event: Event) -> bool:
    """Return whether Frigate uses an id again that an entry has: camera or start are others."""
    if not sent.camera or sent.start_time is None:
        return False  # imported by its name alone, or from a key that says no more
    return sent.camera != event.camera or abs(sent.start_time - event.start_time) > _SAME_START


def sent_of(connection: sqlite3.Connection, event_id: str) -> list[Sent]:
    """Return the entries of an event that were dealt with; one look into an index of the ledger."""
    return list(_sent(connection.execute(_OF_EVENT.format(columns=_columns(connection)), (event_id,))))


def sent_since(connection: sqlite3.Connection, uploaded_at: float) -> list[Sent]:
    """Return what was uploaded since then (unix seconds), the newest first; a thousand at most."""
    return list(_sent(connection.execute(_LATELY.format(columns=_columns(connection)), (uploaded_at,))))


def changed_files(
    connection: sqlite3.Connection, pictures: Files, condition: str = "1", parameters: Sequence[object] = ()
) -> Iterator[tuple[Sent, Found]]:
    """Go through the uploads whose file on this machine is another picture now: all of them, for `verify`.

    `condition`, with its parameters, is over the ledger's alias `o`.
    """
    sql = _UPLOADED.format(columns=_columns(connection), condition=condition)
    for sent in _sent(connection.execute(sql, parameters)):
        with contextlib.suppress(SourceUnreachableError):  # nothing is known of it
            found = file_of(sent, pictures)
            if look_for_change(sent, found, pictures) is Change.OTHER_PICTURE and found is not None:
                yield sent, found


def look_for_change(sent: Sent, found: Found | None, pictures: Files) -> Change | None:
    """Decide as `change_of` does, but read a file that only has another time: equal bytes are no change.

    So it is with all files of a folder that was copied to another disk, or brought back from a backup. Raises
    SourceUnreachableError when the file cannot be read now.
    """
    change = change_of(sent, found)
    if change is not Change.OTHER_PICTURE or found is None or found.size_bytes != sent.size_bytes:
        return change
    try:
        descriptor, _ = pictures.open(found.source)
    except (SourceVanishedError, SourceRefusedError):
        return None  # nothing is known of it
    with os.fdopen(descriptor, "rb") as file:
        return None if hashlib.file_digest(file, "sha256").hexdigest() == sent.sha256 else change


def file_of(sent: Sent, pictures: Files) -> Found | None:
    """Return what lies under the entry's own name on this machine, None where there is nothing or it is elsewhere.

    Raises SourceUnreadableError when the disk does not say.
    """
    path = pictures.path(sent.source) if sent.source is not None and sent.is_file else None
    if path is None:
        return None
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceUnreadableError(
            f"{sent.source} cannot be looked at now: {error.strerror}.", error.errno or 0
        ) from error
    return Found(str(sent.source), status.st_mtime, status.st_size, stat.S_ISLNK(status.st_mode))


def _columns(connection: sqlite3.Connection) -> str:
    there = {row[1] for row in connection.execute("PRAGMA main.table_info(object)")}
    return f"{_COLUMNS}, {'o.source_modified_at' if 'source_modified_at' in there else 'NULL'}"


def _sent(rows: Iterable[Sequence[Any]]) -> Iterator[Sent]:
    return (Sent(row[0], row[1], Kind(row[2]), State(row[3]), *row[4:]) for row in rows)
