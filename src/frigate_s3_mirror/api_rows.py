"""Rows of Frigate's tables as its API tells them, brought into the form that the tables themselves have. Pure.

What is not needed is left out: `data` alone can hold an object's whole path, and would make every look a change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from frigate_s3_mirror.runtime.untrusted import RefusedValueError, number, shown, text, unix_time

_SCORES = ("score", "top_score")
_LONGEST_TEXT = 1000

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventRow:
    """A row of `event`; times are unix seconds."""

    id: str
    camera: str
    label: str
    sub_label: str | None
    start_time: float
    end_time: float | None
    has_snapshot: bool
    has_clip: bool
    zones: str
    """JSON, as in Frigate's table."""
    data: str
    """JSON: what events.py reads of it."""
    top_score: float | None

    @property
    def has_file_at_once(self) -> bool:
        """Whether Frigate writes its picture at its beginning: events of the API, and those that were heard."""
        return any(f'"type":"{kind}"' in self.data for kind in ("api", "audio"))

    @property
    def values(self) -> tuple[Any, ...]:
        """In the order of the columns."""
        return astuple(self)


@dataclass(frozen=True, slots=True)
class RecordingRow:
    """A row of `recordings`."""

    id: str
    camera: str
    path: str
    start_time: float
    end_time: float

    @property
    def values(self) -> tuple[Any, ...]:
        """In the order of the columns."""
        return astuple(self)


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """A row of `reviewsegment`."""

    id: str
    camera: str
    start_time: float
    end_time: float | None
    severity: str
    data: str

    @property
    def values(self) -> tuple[Any, ...]:
        """In the order of the columns."""
        return astuple(self)


def event_row(row: Json) -> EventRow | None:
    """None for what is no event. What is odd beside its id, camera and times is left away, and holds up nothing.

    Numbers that can be no times go into the copy as they are: whoever reads it refuses them as he does Frigate's own.
    """
    try:
        facts = row.get("data")
        return EventRow(
            id=_name(row.get("id")),
            camera=_name(row.get("camera")),
            label=_text(row.get("label")) or "",
            sub_label=_text(_first(row.get("sub_label"))),
            start_time=number(row.get("start_time")),
            end_time=_end(row.get("end_time")),
            has_snapshot=bool(row.get("has_snapshot")),
            has_clip=bool(row.get("has_clip")),
            zones=_compact(_texts(row.get("zones"))),
            data=_compact(_facts(facts) if isinstance(facts, dict) else {}),
            top_score=_number(row.get("top_score")),
        )
    except RefusedValueError:
        return None


def recording_row(row: Json, camera: str) -> RecordingRow | None:
    """None for what is no recording. The API does not tell the path, which follows from the start (0.12 to 0.18)."""
    try:
        start_time, end_time = unix_time(row.get("start_time")), unix_time(row.get("end_time"))
        recording_id = _name(row.get("id"))
    except RefusedValueError:
        return None
    moment = datetime.fromtimestamp(int(start_time), UTC)
    path = f"{moment:%Y-%m-%d}/{moment:%H}/{camera}/{moment:%M.%S}.mp4"
    return RecordingRow(recording_id, camera, path, start_time, end_time)


def review_row(row: Json) -> ReviewRow | None:
    """None for what is no review."""
    try:
        data = row.get("data")
        detections = data.get("detections") if isinstance(data, dict) else None
        return ReviewRow(
            _name(row.get("id")),
            _name(row.get("camera")),
            unix_time(row.get("start_time")),
            _end(row.get("end_time")),
            _name(row.get("severity")),
            _compact({"detections": _texts(detections)}),
        )
    except RefusedValueError:
        return None


def _name(value: object) -> str:
    """What a row cannot be without. Raises RefusedValueError."""
    if not isinstance(value, str):
        raise RefusedValueError(f"{shown(value)} is no text")
    return text(value)


def _text(value: object) -> str | None:
    try:
        return text(value[:_LONGEST_TEXT]) if isinstance(value, str) and value else None
    except RefusedValueError:
        return None


def _texts(values: object) -> list[str]:
    found = (_text(value) for value in values) if isinstance(values, list | tuple) else ()
    return [value for value in found if value is not None]


def _first(value: object) -> object:
    """A sub label may be a list of name and score."""
    return (value[0] if value else None) if isinstance(value, list) else value


def _end(value: object) -> float | None:
    """An end that is no number refuses its row: without it, the event would run for ever."""
    return None if value is None else number(value)


def _number(value: object) -> float | None:
    try:
        return None if value is None else number(value)
    except RefusedValueError:
        return None


def _facts(facts: Mapping[str, object]) -> dict[str, object]:
    found = {"type": _text(facts.get("type")), **{name: _number(facts.get(name)) for name in _SCORES}}
    return {name: value for name, value in found.items() if name in facts and value is not None}


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
