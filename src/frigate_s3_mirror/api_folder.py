"""Whether a file that Frigate does not hand out is gone, or all of them are, for FRIGATE_SOURCE=api.

nginx says 404 either way. So the newest files are asked for, too, of which the copy of Frigate's tables tells.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from frigate_s3_mirror.api_files import ApiFiles
from frigate_s3_mirror.database_words import cannot_be_read
from frigate_s3_mirror.events import Filters, FrigateDatabase, FrigateError, database_uri
from frigate_s3_mirror.folders import Folder
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.sources import Pictures

_ASKED, _FEWEST = 12, 4
"""How many of the newest files are asked for, and how many there must be to tell anything."""
_GOOD_SECONDS, _BAD_SECONDS = 2.0, 10.0
"""How long what was seen counts: with thousands of files gone, not each of them needs a look of its own."""
_NEWEST = "SELECT path FROM recordings ORDER BY start_time DESC LIMIT ?"

Look = Callable[[], Sequence[bool]]
"""Tells of each of the newest files whether it is handed out. Raises FrigateError."""


class ApiFolder(Folder):
    """A folder that Frigate hands out over HTTP. It is asked, so this may take seconds."""

    def __init__(self, name: str, look: Look, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`name` is what is in it, for people."""
        self._name, self._look, self._monotonic = name, look, monotonic
        self._lock = threading.Lock()
        self._known: str | None = None
        self._known_until = float("-inf")

    def absence(self) -> str | None:
        """See Folder. While Frigate does not answer, nothing is known of its files."""
        with self._lock:
            if self._monotonic() >= self._known_until:
                try:
                    self._known = self._judge(self._look())
                except FrigateError as error:
                    self._known = str(error)
                self._known_until = self._monotonic() + (_GOOD_SECONDS if self._known is None else _BAD_SECONDS)
            return self._known

    def _judge(self, seen: Sequence[bool]) -> str | None:
        """Most files decide, not all of them: nginx remembers for two minutes those that it handed out."""
        missing = len(seen) - sum(seen)
        if len(seen) < _FEWEST or 2 * missing <= len(seen):
            return None
        return (
            f"Frigate does not hand out {missing} of its newest {len(seen)} {self._name}; is its media folder mounted?"
        )


def look_at_pictures(pictures: Pictures, copy: Path) -> list[bool]:
    """See Look."""
    database = FrigateDatabase(copy, Filters())
    try:
        events = database.newest_with_snapshot(_ASKED)
    finally:
        database.close()
    return [pictures.find(event, Kind.SNAPSHOT) is not None for event in events]


def look_at_recordings(recordings: ApiFiles, copy: Path) -> list[bool]:
    """See Look."""
    try:
        with closing(sqlite3.connect(database_uri(copy), uri=True)) as connection:
            paths = [row[0] for row in connection.execute(_NEWEST, (_ASKED,))]
    except sqlite3.Error as error:
        raise FrigateError(cannot_be_read(copy, str(error))) from error
    return [recordings.head(path) is not None for path in paths]
