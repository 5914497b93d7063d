"""Whether S3_CAMERAS and S3_LABELS, or those for clips, let anything of Frigate's through; a slip in a name mirrors nothing, silently, for ever."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.events import Filters, FrigateError, database_uri
from frigate_s3_mirror.health import Condition
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.runtime.untrusted import single_line
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.trouble import Trouble

_EVERY = 600.0  # seconds between two looks
_SHOWN = 10  # names in the sentence
_ANY_WANTED = "SELECT 1 FROM event e WHERE e.has_snapshot = 1 AND {condition} LIMIT 1"
PICTURES = ("S3_CAMERAS", "S3_LABELS")
CLIPS = ("S3_CLIP_CAMERAS", "S3_CLIP_LABELS")
"""The variables of a pair of filters."""
_NAMES = "SELECT DISTINCT e.camera, e.label FROM event e WHERE e.has_snapshot = 1 LIMIT 10000"


@dataclass(frozen=True, slots=True)
class Names:
    """The cameras and labels of Frigate's events with a snapshot."""

    cameras: frozenset[str]
    labels: frozenset[str]


def nothing_wanted(database: Path, filters: Filters, variables: tuple[str, str] = PICTURES) -> str | None:
    """Return a sentence when Frigate has events and the filters want none of them, else None.

    Raises:
        FrigateError: the database cannot be read.
    """
    condition, parameters = filters.sql()
    if not parameters:
        return None
    try:
        with contextlib.closing(sqlite3.connect(database_uri(database), uri=True, timeout=1.0)) as connection:
            connection.text_factory = lambda raw: raw.decode(errors="replace")
            if connection.execute(_ANY_WANTED.format(condition=condition), parameters).fetchone() is not None:
                return None
            rows = connection.execute(_NAMES).fetchall()
    except (sqlite3.Error, OSError) as error:
        raise FrigateError(f"Frigate's database {database} cannot be read ({error}).") from error
    names = Names(frozenset(str(row[0]) for row in rows), frozenset(str(row[1]) for row in rows))
    return judge(filters, names, variables)


def judge(filters: Filters, names: Names, variables: tuple[str, str] = PICTURES) -> str | None:
    """Return the sentence about filters that want none of the events that bear these names; None without any events."""
    cameras, labels = variables
    if not names.cameras:
        return None
    if filters.cameras and not any(_passes(camera, filters.cameras) for camera in names.cameras):
        return f"{cameras} lets none of Frigate's cameras through: {_listed(names.cameras)}."
    if filters.labels and not any(_passes(label, filters.labels) for label in names.labels):
        return f"{labels} lets none of Frigate's labels through: {_listed(names.labels)}."
    return f"{cameras} and {labels} together let none of Frigate's events through."


def _passes(name: str, patterns: tuple[str, ...]) -> bool:
    """The rule of `Filters`, for one name."""
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return (not wanted or any(fnmatchcase(name, p) for p in wanted)) and not any(fnmatchcase(name, p) for p in unwanted)


def _listed(names: frozenset[str]) -> str:
    shown = [single_line(name)[:60] for name in sorted(names)]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


class FilterWatch:
    """An onlooker (see observers.Observer) that warns while nothing is wanted; `problem` is the sentence."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._database = settings.event_database
        self._pairs = [(Filters(settings.cameras, settings.labels), PICTURES, "Nothing is mirrored.")]
        if settings.has_clips:
            self._pairs.append((Filters(settings.clip_cameras, settings.clip_labels), CLIPS, "No clip is mirrored."))
        self._clock = clock
        self._trouble = Trouble()

    @property
    def problem(self) -> str | None:
        """What is wrong now, None when something is wanted."""
        return self._trouble.sentence

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Uploads say nothing about what is left out."""

    def health_changed(self, condition: Condition, since: float) -> None:
        """Nor does health."""

    def proved(self) -> None:
        """Nor S3."""

    async def regularly(self) -> None:
        """Look now and then, for ever."""
        pool = ThreadPoolExecutor(1, "filters")
        try:
            while True:
                await asyncio.get_running_loop().run_in_executor(pool, self.look)
                await asyncio.sleep(_EVERY)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def look(self) -> None:
        """Look once, and log a warning when there is one; what cannot be read is told elsewhere."""
        try:
            found = (self._problem_of(*pair) for pair in self._pairs)
            sentence = next((sentence for sentence in found if sentence is not None), None)
        except FrigateError:
            return
        if sentence is None:
            self._trouble.is_over()
        elif self._trouble.met(sentence, self._clock.monotonic()):
            logger().warning("S3 snapshot mirror: %s", sentence)

    def _problem_of(self, filters: Filters, variables: tuple[str, str], effect: str) -> str | None:
        sentence = nothing_wanted(self._database, filters, variables)
        return None if sentence is None else f"{sentence} {effect}"
