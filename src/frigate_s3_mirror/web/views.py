"""What each page shows, made from the ledger: plain values that the templates only lay out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from frigate_s3_mirror.catalogue import Bucket, Place, Wanted
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.runtime.untrusted import RefusedValueError, number, unix_time
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.units import format_size
from frigate_s3_mirror.web.chart import Chart, bar_chart

PAGE = 48
"""Pictures on a page of the gallery: whole rows at 2, 3, 4 and 6 columns."""
SHOWN_STATES = (State.UPLOADED, State.PENDING, State.FAILED, State.EXPIRED)
_CLOCK = "%Y-%m-%d %H:%M:%S"
_FIRST_YEAR, _LAST_YEAR = 1970, 9998
_MOST_ROW = 2**63 - 1  # what SQLite's integers hold
_SHOWN_SETTINGS = (
    "S3_BUCKET", "S3_ENDPOINT_URL", "S3_REGION", "S3_PATH_PREFIX", "S3_STORAGE_CLASS", "S3_ARTIFACTS",
    "S3_CAMERAS", "S3_LABELS", "S3_UPLOAD_THREADS", "S3_BANDWIDTH_LIMIT", "S3_SPOOL_MAX", "FRIGATE_DB_PATH", "FRIGATE_CLIPS_DIR",
    "S3_STATE_DIR", "S3_SITE",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """What the gallery's form says, cleaned: what is not understood is left out."""

    state: State
    camera: str | None
    label: str | None
    day: dt.date | None
    after: Place | None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """The filter of a query string."""
        state = query.get("state", "")
        return cls(
            State(state) if state in {shown.value for shown in SHOWN_STATES} else State.UPLOADED,
            query.get("camera") or None,
            query.get("label") or None,
            _day(query.get("day", "")),
            _place(query.get("after", "")),
        )

    def wanted(self, zone: dt.tzinfo | None) -> Wanted:
        """The same as a question to the catalogue; a day is one of the keys' time zone, None: of this machine's."""
        if self.day is None:
            return Wanted(self.state, self.camera, self.label)
        begin, end = (_midnight(day, zone) for day in (self.day, self.day + dt.timedelta(days=1)))
        return Wanted(self.state, self.camera, self.label, begin, end)

    def query(self, after: Place | None) -> str:
        """The address of the page after that place."""
        parts: dict[str, Any] = {"state": self.state.value, "camera": self.camera, "label": self.label, "day": self.day}
        if after is not None:
            parts["after"] = f"{after.began_at!r}:{after.row}"
        return urlencode({name: value for name, value in parts.items() if value})


def activity_charts(buckets: list[Bucket]) -> tuple[Chart, Chart]:
    """Uploads a minute, and bytes, over the day."""
    minutes = (buckets[1].start - buckets[0].start) / 60 if len(buckets) > 1 else 1
    times = [f"{dt.datetime.fromtimestamp(b.start).astimezone():%a %H:%M}" for b in buckets]
    uploads = bar_chart(
        [b.uploads / minutes for b in buckets],
        [f"{time}: {b.uploads:,} uploads" for time, b in zip(times, buckets, strict=True)],
        lambda top: f"{top:,.0f} a minute" if top >= 10 else f"{top:.2g} a minute",
        lambda total: f"{total * minutes:,.0f}",
    )
    sizes = bar_chart(
        [b.bytes for b in buckets],
        [f"{time}: {format_size(b.bytes)}" for time, b in zip(times, buckets, strict=True)],
        lambda top: f"{format_size(int(top))} in {minutes:.0f} min",
        lambda total: format_size(int(total)),
    )
    return uploads, sizes


def settings_shown(settings: Settings) -> list[tuple[str, str]]:
    """The settings that matter, as text; secrets are none of them."""
    by_alias = {str(field.alias): name for name, field in Settings.model_fields.items()}
    shown = []
    for alias in _SHOWN_SETTINGS:
        value = getattr(settings, by_alias[alias])
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)
        shown.append((alias, text or "not set"))
    return shown


def frigate_link(settings: Settings, event_id: str) -> str | None:
    """The event in Frigate's own page (0.14 or later, see frigate/comms/webpush.py there)."""
    if settings.frigate_ui_url is None:
        return None
    return f"{settings.frigate_ui_url.rstrip('/')}/explore?{urlencode({'event_id': event_id})}"


def moment(at: float | None) -> str:
    """A time as ISO 8601 with its zone, for <time> elements; "" for none, and for what is no time."""
    try:
        return "" if at is None else dt.datetime.fromtimestamp(unix_time(at), dt.UTC).isoformat(timespec="seconds")
    except RefusedValueError:
        return ""


def clock_time(at: float | None, zone: dt.tzinfo | None = None) -> str:
    """A time as people read it, in this zone; None: in this machine's."""
    try:
        return (
            "never" if at is None else f"{dt.datetime.fromtimestamp(unix_time(at), dt.UTC).astimezone(zone):{_CLOCK}}"
        )
    except RefusedValueError:
        return "at no known time"


def zone_name(zone: dt.tzinfo | None) -> str:
    """The name of the zone in which the pages tell times."""
    return str(zone) if zone is not None else dt.datetime.now().astimezone().tzname() or "local time"


def _midnight(day: dt.date, zone: dt.tzinfo | None) -> float:
    begin = dt.datetime.combine(day, dt.time())
    return (begin.replace(tzinfo=zone) if zone is not None else begin.astimezone()).timestamp()


def _day(text: str) -> dt.date | None:
    """A day of the years that clocks can show: at the ends of the calendar there is no day after, or no zone."""
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        return None
    return day if _FIRST_YEAR <= day.year < _LAST_YEAR else None


def _place(text: str) -> Place | None:
    at, _, row = text.partition(":")
    try:
        place = Place(number(at), int(row))
        return place if abs(place.row) <= _MOST_ROW else None
    except ValueError:
        return None
