"""Whether a file that Frigate does not hand out is gone, or all of them are, for FRIGATE_SOURCE=api.

nginx says 404 either way. So others are asked for, too, of which the copy of Frigate's tables tells: evenly out of its rows,
because for two minutes nginx also remembers what was there (those that were just sent) and what was not.
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
"""How many files are asked for, and how many there must be to tell anything."""
_GOOD_SECONDS, _BAD_SECONDS = 2.0, 10.0
"""How long what was seen counts: with thousands of files gone, not each of them needs a look of its own."""
_REMEMBERED_SECONDS = 150.0
"""nginx's two minutes and some more, for which a file may still be missing when all are back."""
_JUST_BACK = "Frigate's media folder is back, but for two minutes its web server may not know."

Look = Callable[[], Sequence[bool]]
"""Tells of some files whether they are handed out. Raises FrigateError."""


class ApiFolder(Folder):
    """A folder that Frigate hands out over HTTP. It is asked, so this may take seconds."""

    def __init__(self, name: str, look: Look, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`name` is what is in it, for people."""
        self._name, self._look, self._monotonic = name, look, monotonic
        self._lock = threading.Lock()
        self._known: str | None = None
        self._known_until = self._forgiving_until = float("-inf")

    def blame(self) -> str | None:
        """See Folder."""
        problem = super().blame()
        return _JUST_BACK if problem is None and self._monotonic() < self._forgiving_until else problem

    def is_back(self) -> bool:
        """See Folder."""
        is_back = super().is_back()
        if is_back:
            self._forgiving_until = self._monotonic() + _REMEMBERED_SECONDS
        return is_back

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
        """Most files decide, not all of them: nginx may remember some."""
        missing = len(seen) - sum(seen)
        if len(seen) < _FEWEST or 2 * missing <= len(seen):
            return None
        return f"Frigate hands out {len(seen) - missing} of {len(seen)} {self._name}; is its media folder mounted?"


def look_at_pictures(
    pictures: Pictures, copy: Path, retention_seconds: float, now: Callable[[], float] = time.time
) -> list[bool]:
    """See Look. What Frigate's retention may have deleted since it was copied is asked for only where there is little else."""
    condition = "has_snapshot AND end_time IS NOT NULL"
    ids = evenly_chosen(copy, "id", "event", condition, now() - retention_seconds)
    database = FrigateDatabase(copy, Filters())
    try:
        return [pictures.find(event, Kind.SNAPSHOT) is not None for event in database.events(ids)]
    finally:
        database.close()


def look_at_recordings(recordings: ApiFiles, copy: Path) -> list[bool]:
    """See Look."""
    return [recordings.head(path) is not None for path in evenly_chosen(copy, "path", "recordings", "1")]


def evenly_chosen(copy: Path, column: str, table: str, condition: str, since: float = float("-inf")) -> list[str]:
    """Return some values of the copy's table, evenly out of its rows, the newest among them: all, where there are few.

    Rows that start before `since` (unix seconds) are chosen only if there are too few younger ones. Raises FrigateError.
    """
    rows = f"FROM {table} WHERE {condition} AND start_time >= ?"  # fixed words
    ranked = f"SELECT {column} AS value, row_number() OVER (ORDER BY start_time DESC) - 1 AS rank {rows}"
    count, chosen = f"SELECT count(*) {rows}", f"SELECT value FROM ({ranked}) WHERE rank IN ({{ranks}}) ORDER BY rank"  # noqa: S608
    try:
        with closing(sqlite3.connect(database_uri(copy), uri=True)) as connection:
            total = connection.execute(count, (since,)).fetchone()[0]
            if total < _FEWEST:
                since = float("-inf")
                total = connection.execute(count, (since,)).fetchone()[0]
            ranks = sorted({(total - 1) * n // (_ASKED - 1) for n in range(_ASKED)}) if total else []
            sql = chosen.format(ranks=",".join("?" * len(ranks)))
            return [value for (value,) in connection.execute(sql, (since, *ranks))]
    except sqlite3.Error as error:
        raise FrigateError(cannot_be_read(copy, str(error))) from error
