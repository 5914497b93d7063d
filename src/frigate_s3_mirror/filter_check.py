"""Whether S3_CAMERAS and S3_LABELS, or those for clips, let anything of Frigate's through; a slip in a name mirrors nothing, silently, for ever."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.database_words import cannot_be_read
from frigate_s3_mirror.events import Filters, FrigateError, database_uri
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.runtime import untrusted
from frigate_s3_mirror.runtime.problem_log import ProblemLog
from frigate_s3_mirror.runtime.untrusted import single_line
from frigate_s3_mirror.settings import Settings

_FEW_EVENTS = 5
"""A Frigate with fewer has just begun: that is worth a line in the log, and says nothing about health."""
_SHOWN = 10  # names in the sentence
_ANY_WANTED = "SELECT 1 FROM event e WHERE e.has_snapshot = 1 AND {condition} LIMIT 1"
PICTURES = ("S3_CAMERAS", "S3_LABELS")
CLIPS = ("S3_CLIP_CAMERAS", "S3_CLIP_LABELS")
"""The variables of a pair of filters."""
_NAMES = "SELECT DISTINCT e.camera, e.label FROM event e WHERE e.has_snapshot = 1 LIMIT 10000"
_FIRST_EVENTS = f"SELECT 1 FROM event e WHERE e.has_snapshot = 1 LIMIT {_FEW_EVENTS}"  # noqa: S608


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
    if not parameters or _rows(database, _ANY_WANTED.format(condition=condition), parameters):
        return None
    rows = _rows(database, _NAMES)
    names = Names(frozenset(str(row[0]) for row in rows), frozenset(str(row[1]) for row in rows))
    return judge(filters, names, variables)


def _rows(database: Path, sql: str, parameters: Sequence[str] = ()) -> list[Any]:
    try:
        with contextlib.closing(sqlite3.connect(database_uri(database), uri=True, timeout=1.0)) as connection:
            connection.text_factory = untrusted.decoded
            return connection.execute(sql, parameters).fetchall()
    except (sqlite3.Error, OSError) as error:
        raise FrigateError(cannot_be_read(database, str(error))) from error


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
    """Warns while nothing is wanted; one thread at a time."""

    def __init__(self, settings: Settings, database: Path, clock: Clock) -> None:
        self._database = database
        self._pairs = [(Filters(settings.cameras, settings.labels), PICTURES, "Nothing is mirrored.")]
        if settings.has_clips:
            self._pairs.append((Filters(settings.clip_cameras, settings.clip_labels), CLIPS, "No clip is mirrored."))
        self._problem = ProblemLog(logger(), "S3 snapshot mirror: %s", monotonic=clock.monotonic)

    def look(self) -> str | None:
        """Look, log a warning when it is news, and return it once Frigate has more than a first few events.

        Raises:
            FrigateError: the database cannot be read.
        """
        found = (self._problem_of(*pair) for pair in self._pairs)
        sentence = next((sentence for sentence in found if sentence is not None), None)
        if sentence is None:
            self._problem.clear()
            return None
        self._problem.report(sentence)
        return sentence if len(_rows(self._database, _FIRST_EVENTS)) == _FEW_EVENTS else None

    def _problem_of(self, filters: Filters, variables: tuple[str, str], effect: str) -> str | None:
        sentence = nothing_wanted(self._database, filters, variables)
        return None if sentence is None else f"{sentence} {effect}"
