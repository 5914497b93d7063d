"""Which files ought to be in Frigate's folders: those that its tables still list, the newest first.

A file of an event that the mirror saw before is expected for as long as Frigate lists it with a snapshot: its retention
clears the flag along with the file. A folder that was never trusted has to answer for rows that were never seen, too.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from frigate_s3_mirror.database_words import cannot_be_read
from frigate_s3_mirror.events import PASSES_GATE, FrigateError, database_uri
from frigate_s3_mirror.folders import Expected, Identity
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger_file import FILE_NAME
from frigate_s3_mirror.runtime import untrusted
from frigate_s3_mirror.runtime.untrusted import RefusedValueError
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import candidates_of, recording_source

FACT = "trusted_folders"
"""The ledger's fact that remembers them: name -> [device, inode, unix seconds]."""
_LOOKED_FOR = 24
_NEWEST_EVENTS = 2000  # rows that are read at most to find them
_HAS_ENDED = "typeof(e.end_time) IN ('real', 'integer')"
"""Frigate writes the end into the row after it has closed the file."""
# A row that Frigate itself ended after a crash (start + 30 s) seldom has a file, so it tells nothing.
_LISTED = f"""
SELECT e.id, e.camera FROM event e
WHERE e.has_snapshot = 1 AND {_HAS_ENDED} AND abs(e.end_time - e.start_time - 30) > 0.001 AND {PASSES_GATE}
ORDER BY e.start_time DESC LIMIT {_LOOKED_FOR}
"""  # noqa: S608  # only fixed fragments are put together
_SEEN = f"""
SELECT o.source FROM (SELECT e.id, e.start_time FROM event e WHERE e.has_snapshot = 1 AND {_HAS_ENDED}
                      ORDER BY e.start_time DESC LIMIT {_NEWEST_EVENTS}) n
CROSS JOIN ledger.object o ON o.event_id = n.id
WHERE o.kind IN ('snapshot', 'clean') AND o.state IN ('uploaded', 'pending', 'failed') AND o.source LIKE '%.%' AND o.happened_at < ?
ORDER BY n.start_time DESC LIMIT {_LOOKED_FOR}
"""  # noqa: S608
_RECORDINGS = f"""
SELECT path FROM recordings WHERE start_time < ? ORDER BY start_time DESC LIMIT {_LOOKED_FOR}
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Trusted:
    """A folder as it was when it was last trusted."""

    identity: Identity
    at: float
    """Unix seconds."""


Ask = Callable[[sqlite3.Connection, Trusted | None, bool], list[Sequence[str]]]
"""Returns, for each file that ought to be there, the paths of which one should exist."""


def expected_pictures(settings: Settings, name: str, identity: Identity) -> Expected:
    """Look for the newest snapshots that ought to be in the clips folder. Raises FrigateError."""
    return _look(settings, settings.clips_dir, name, identity, _ask_for_pictures)


def expected_recordings(settings: Settings, name: str, identity: Identity) -> Expected:
    """Look for the newest segments that ought to be in the recordings folder. Raises FrigateError."""
    return _look(settings, settings.effective_recordings_dir, name, identity, _ask_for_recordings)


def _look(settings: Settings, folder: Path, name: str, identity: Identity, ask: Ask) -> Expected:
    ledger = settings.ledger_dir / FILE_NAME
    has_ledger = ledger.exists()
    try:
        with closing(sqlite3.connect(database_uri(settings.event_database), uri=True, timeout=1.0)) as connection:
            connection.text_factory = untrusted.decoded
            if has_ledger:
                connection.execute("ATTACH ? AS ledger", (f"file:{ledger}?mode=ro",))
            trusted = _trusted(connection, name) if has_ledger else None
            wanted = ask(connection, trusted, trusted is not None and trusted.identity == identity)
    except sqlite3.Error as error:
        raise FrigateError(cannot_be_read(settings.event_database, str(error))) from error
    found = sum(any(os.path.lexists(f"{folder}/{source}") for source in sources) for sources in wanted)
    return Expected(len(wanted), found, None if trusted is None else trusted.identity)


def _ask_for_pictures(connection: sqlite3.Connection, trusted: Trusted | None, is_same: bool) -> list[Sequence[str]]:  # noqa: FBT001
    if trusted is not None:
        before = float("inf") if is_same else trusted.at
        seen = [(source,) for (source,) in connection.execute(_SEEN, (before,)) if "/.." not in source]
        if is_same or seen:
            return list(seen)
    rows = connection.execute(_LISTED)
    return [candidates_of(camera, event_id, Kind.SNAPSHOT) for event_id, camera in rows]


def _ask_for_recordings(connection: sqlite3.Connection, trusted: Trusted | None, is_same: bool) -> list[Sequence[str]]:  # noqa: FBT001
    if not connection.execute("SELECT 1 FROM main.sqlite_master WHERE name = 'recordings'").fetchone():
        return []
    ask = partial(connection.execute, _RECORDINGS)
    if trusted is not None and not is_same:
        found = _recordings(ask((trusted.at,)))
        if found:
            return found
    return _recordings(ask((float("inf"),)))


def _recordings(rows: Iterable[Sequence[object]]) -> list[Sequence[str]]:
    sources = (recording_source(path) for (path,) in rows if isinstance(path, str))
    return [(source,) for source in sources if source is not None]


def _trusted(connection: sqlite3.Connection, name: str) -> Trusted | None:
    row = connection.execute("SELECT value FROM ledger.fact WHERE name = ?", (FACT,)).fetchone()
    try:
        folders: Any = untrusted.parse_json(row[0]) if row else {}
        device, inode, at = folders[name]
        return Trusted((int(untrusted.number(device)), int(untrusted.number(inode))), untrusted.unix_time(at))
    except (RefusedValueError, KeyError, TypeError, ValueError):
        return None
