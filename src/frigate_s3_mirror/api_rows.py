"""Rows of Frigate's tables as its API tells them, brought into the form that the tables themselves have. Pure.

What is not needed is left out: `data` alone can hold an object's whole path, and would make every look a change.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

_FACTS = ("type", "score", "top_score")
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
    """None for what is no event."""
    try:
        start_time, data = _time(row["start_time"]), row.get("data")
        facts = data if isinstance(data, dict) else {}
        if start_time is None:
            return None
        return EventRow(
            id=_text(row["id"]), camera=_text(row["camera"]), label=_text(row.get("label") or ""),
            sub_label=_sub_label(row.get("sub_label")), start_time=start_time, end_time=_time(row.get("end_time")),
            has_snapshot=bool(row.get("has_snapshot")), has_clip=bool(row.get("has_clip")),
            zones=_compact([zone for zone in row.get("zones") or () if isinstance(zone, str)]),
            data=_compact({name: facts[name] for name in _FACTS if name in facts}), top_score=_time(row.get("top_score")),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return None


def recording_row(row: Json, camera: str) -> RecordingRow | None:
    """None for what is no recording. The API does not tell the path, which follows from the start (0.12 to 0.18)."""
    try:
        start_time, end_time = float(row["start_time"]), float(row["end_time"])
        moment = datetime.fromtimestamp(int(start_time), UTC)
        path = f"{moment:%Y-%m-%d}/{moment:%H}/{camera}/{moment:%M.%S}.mp4"
        return RecordingRow(_text(row["id"]), camera, path, start_time, end_time)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def review_row(row: Json) -> ReviewRow | None:
    """None for what is no review."""
    try:
        data = row.get("data")
        detections = data.get("detections") if isinstance(data, dict) else None
        return ReviewRow(
            _text(row["id"]), _text(row["camera"]), float(row["start_time"]), _time(row.get("end_time")),
            _text(row["severity"]), _compact({"detections": detections or []}),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value[:_LONGEST_TEXT]


def _sub_label(value: object) -> str | None:
    if isinstance(value, list):  # name and score
        value = value[0] if value else None
    return _text(value) if value else None


def _time(value: object) -> float | None:
    if value is None:
        return None
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise ValueError("no number")
    return number


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
