"""Which objects a command is about: by time, camera and label."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from fnmatch import fnmatchcase

from frigate_s3_mirror.runtime.untrusted import single_line
from frigate_s3_mirror.units import parse_duration

_AGO = re.compile(r"(\d{1,6}) (second|minute|hour|day|week)s? ago", re.ASCII)
_MOST_CAMERAS = 20  # that a sentence names


class NothingDoneError(Exception):
    """A command found nothing to look at; the text is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Bounds in unix seconds of the event's start; None means no bound. Camera and label are globs."""

    since: float | None = None
    until: float | None = None
    camera: str | None = None
    label: str | None = None

    def holds(self, start_time: float, camera: str | None, label: str | None = None) -> bool:
        """Whether an event belongs to it; a label that is not known is judged by `wants_label` later."""
        return (
            (self.since is None or start_time >= self.since)
            and (self.until is None or start_time < self.until)
            and (self.camera is None or (camera is not None and self.holds_camera(camera)))
            and (label is None or self.wants_label(label))
        )

    def holds_camera(self, camera: str) -> bool:
        """Whether this camera is wanted."""
        return self.camera is None or fnmatchcase(camera, self.camera)

    def wants_label(self, label: str) -> bool:
        """Whether this label is wanted."""
        return self.label is None or fnmatchcase(label, self.label)

    def sql(self) -> tuple[str, list[object]]:
        """The same as a condition over the ledger's alias `o`, and its parameters."""
        conditions, parameters = ["1"], list[object]()
        when = "coalesce(o.start_time, o.happened_at)"
        for condition, value in (
            (f"{when} >= ?", self.since), (f"{when} < ?", self.until), ("o.camera GLOB ?", self.camera), ("o.label GLOB ?", self.label),
        ):  # fmt: skip
            if value is not None:
                conditions.append(condition)
                parameters.append(value)
        return " AND ".join(conditions), parameters


def parse_when(text: str, now: float, zone: tzinfo | None) -> float:
    """Return unix seconds of what people write for a moment: "24h" (ago), "today", "2026-01-31", "2026-01-31T14:30".

    Dates and times are of this zone (None: the machine's own), unless they say another; a date is its midnight.

    Raises:
        ValueError: with a sentence, for anything else.
    """
    words = " ".join(text.lower().split())
    try:
        if (found := _AGO.fullmatch(words)) is not None:
            return now - timedelta(**{f"{found[2]}s": int(found[1])}).total_seconds()
        if words in {"today", "yesterday"}:
            day = datetime.fromtimestamp(now, UTC).astimezone(zone).date() - timedelta(days=words == "yesterday")
            return _moment(datetime.combine(day, time()), zone)
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        return _moment(datetime.fromisoformat(text.strip()), zone)
    except (ValueError, OverflowError):
        raise ValueError(
            f"'{single_line(text)}' is no time; write for example 24h, 7d, today, yesterday, 2026-01-31 or 2026-01-31T14:30"
        ) from None


def _moment(found: datetime, zone: tzinfo | None) -> float:
    if found.tzinfo is None:
        found = found.replace(tzinfo=zone) if zone is not None else found.astimezone()
    return found.timestamp()


def check_camera(scope: Scope, known: Collection[str]) -> None:
    """Raise NothingDoneError when the scope names a camera that is none of the known ones."""
    if scope.camera is None or not known or any(scope.holds_camera(camera) for camera in known):
        return
    names = [single_line(camera) for camera in sorted(known)]
    more = ", ..." if len(names) > _MOST_CAMERAS else ""
    raise NothingDoneError(
        f"Nothing is of a camera '{single_line(scope.camera)}'; known are {', '.join(names[:_MOST_CAMERAS])}{more}."
    )
