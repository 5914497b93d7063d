"""What Frigate's API answers to each path, by version; it reads the simulated database as it is at that moment.

Source: frigate/api/{app,event,media,record,review}.py of v0.14.1, v0.16.4, v0.17.2 and v0.18.0-beta1. Paths are here
without `/api`, which nginx takes away.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import parse_qs, unquote

from frigate_s3_mirror.demo import pictures
from frigate_s3_mirror.demo.http_answers import Answer, as_json, failure, page
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate

RELEASES = {"0.13": "0.13.2", "0.14": "0.14.1", "0.16": "0.16.4", "0.17": "0.17.2", "0.18": "0.18.0"}
_COMMIT = "1234567"
_FINISHED, _RUNNING = {"Cache-Control": "private, max-age=31536000"}, {"Cache-Control": "no-store"}
_DAY_SECONDS, _HOUR_SECONDS = 86_400.0, 3_600.0
_FLAGS = ("has_clip", "has_snapshot", "retain_indefinitely", "has_been_reviewed")
_JSON_COLUMNS = ("zones", "data", "box", "region")
# What the response model of one event leaves out of the table, from 0.15 on.
_NOT_IN_ONE_EVENT = ("top_score", "score", "region", "box", "area", "ratio")

_EVENTS = """
SELECT id, camera, label, zones, start_time, end_time, has_clip, has_snapshot, plus_id, retain_indefinitely,
       sub_label, top_score, false_positive, box, data, thumbnail
FROM event
WHERE (:after IS NULL OR start_time > :after) AND (:before IS NULL OR start_time < :before)
  AND (:has_clip IS NULL OR has_clip = :has_clip) AND (:has_snapshot IS NULL OR has_snapshot = :has_snapshot)
  AND (:in_progress IS NULL OR (end_time IS NULL) = (:in_progress != 0))
  AND (:cameras IS NULL OR camera IN (SELECT value FROM json_each(:cameras)))
"""
_NEWEST_EVENTS = _EVENTS + "ORDER BY start_time DESC LIMIT :limit"
_OLDEST_EVENTS = _EVENTS + "ORDER BY start_time ASC LIMIT :limit"
_EVENT = "SELECT * FROM event WHERE id = ?"
_RECORDINGS = """
SELECT id, start_time, end_time, segment_size, motion, objects, duration FROM recordings
WHERE camera = :camera AND end_time >= :after AND start_time <= :before ORDER BY start_time
"""
_RECORDINGS_WITH_HEATMAP = _RECORDINGS.replace("duration FROM", "motion_heatmap, duration FROM")
# Up to 0.15 those that lie within the time asked for, later those that touch it.
_REVIEWS_SEEN_BY_ALL = """
SELECT * FROM reviewsegment
WHERE start_time > :after AND (end_time IS NULL OR end_time < :before)
  AND (:severity IS NULL OR severity = :severity) AND (:seen IS NULL OR has_been_reviewed = :seen)
  AND (:cameras IS NULL OR camera IN (SELECT value FROM json_each(:cameras)))
ORDER BY start_time DESC LIMIT :limit
"""
_REVIEWS = """
SELECT r.*, COALESCE(s.has_been_reviewed, 0) AS has_been_reviewed
FROM reviewsegment AS r LEFT JOIN userreviewstatus AS s ON s.review_segment_id = r.id AND s.user_id = :user
WHERE r.start_time < :before AND (r.end_time IS NULL OR r.end_time > :after)
  AND (:severity IS NULL OR r.severity = :severity)
  AND (:seen IS NULL OR COALESCE(s.has_been_reviewed, 0) = :seen)
  AND (:cameras IS NULL OR r.camera IN (SELECT value FROM json_each(:cameras)))
ORDER BY r.start_time DESC LIMIT :limit
"""


class _NotJsonError(Exception):
    """A row holds what JSON cannot."""


class _Query:
    """The arguments of a request; a number that is none is a ValueError."""

    def __init__(self, text: str) -> None:
        self._values = {name: values[-1] for name, values in parse_qs(text).items()}

    def text(self, name: str) -> str | None:
        return self._values.get(name)

    def number(self, name: str) -> float | None:
        """0 counts as not given, as it does for Frigate's times."""
        return float(self._values[name]) or None if name in self._values else None

    def whole(self, name: str, default: int | None = None) -> int | None:
        return int(self._values[name]) if name in self._values else default


class Routes:
    """Answers for one simulated Frigate; `picture_of` knows the pictures of running events."""

    def __init__(self, frigate: SimulatedFrigate, picture_of: Callable[[str], bytes | None]) -> None:
        self._frigate = frigate
        self._number = frigate.layout.number
        self._picture_of = picture_of
        self._started_at = frigate.now()

    def answer(self, path: str, query: str, user: str) -> Answer:
        """What `GET path?query` gets, asked by `user`."""
        try:
            found = self._find([unquote(part) for part in path.strip("/").split("/")], _Query(query), user)
        except _NotJsonError:  # starlette refuses NaN, and Frigate lists in one answer
            found = Answer(500, b"Internal Server Error", "text/plain; charset=utf-8")
        except ValueError:
            found = as_json({"detail": "a number is none"}, 422)
        if found is None:
            return page(404, "Not Found") if self._is_flask else as_json({"detail": "Not Found"}, 404)
        return found

    def _find(self, parts: list[str], query: _Query, user: str) -> Answer | None:
        found: Answer | None = None
        match parts:
            case ["version"]:
                found = self._version()
            case ["events"]:
                found = self._events(query)
            case ["events", event_id]:
                found = self._event(event_id)
            case ["events", event_id, "snapshot.jpg"]:
                found = self._snapshot(event_id, query)
            case ["events", event_id, name] if name == f"snapshot-clean.{self._clean_ending}":
                found = self._clean_copy(event_id)
            case ["review"] if self._frigate.layout.has_reviews:
                found = self._reviews(query, user)
            case [camera, "recordings"]:
                found = self._recordings(camera, query)
        return found

    @property
    def _is_flask(self) -> bool:
        return self._number < (0, 15)

    @property
    def _clean_ending(self) -> str:
        return "webp" if self._number >= (0, 17) else "png"

    def _version(self) -> Answer:
        text = f"{RELEASES[self._frigate.layout.version]}-{_COMMIT}"
        return Answer(200, text.encode(), "text/html; charset=utf-8" if self._is_flask else "text/plain; charset=utf-8")

    def _events(self, query: _Query) -> Answer:
        select = _OLDEST_EVENTS if query.text("sort") == "date_asc" else _NEWEST_EVENTS
        names = ("has_clip", "has_snapshot", "in_progress")
        arguments: dict[str, object] = {name: query.whole(name) for name in names}
        arguments |= {"after": query.number("after"), "before": query.number("before")}
        arguments |= {"limit": query.whole("limit", 100), "cameras": self._cameras(query)}
        rows = self._rows(select, arguments)
        if not query.whole("include_thumbnails", 1):
            for row in rows:
                del row["thumbnail"]
        return as_json(rows)

    def _event(self, event_id: str) -> Answer:
        row = self._row(event_id)
        if row is None:
            return Answer(404, b"Event not found", "text/html") if self._is_flask else as_json("Event not found", 404)
        if not self._is_flask:
            row = {name: value for name, value in row.items() if name not in _NOT_IN_ONE_EVENT}
            row["start_time"] = float(row["start_time"])
        return as_json(row)

    def _snapshot(self, event_id: str, query: _Query) -> Answer:
        row = self._row(event_id)
        if row is not None and row["end_time"] is not None:
            return self._finished_snapshot(row, query)
        running = self._picture_of(event_id)
        if running is None:
            return failure("Event not found" if self._is_flask else "Live frame not available")
        return Answer(200, running, "image/jpeg", _RUNNING)

    def _finished_snapshot(self, row: Mapping[str, Any], query: _Query) -> Answer:
        """The file, or from 0.18 on what is drawn from it."""
        if not row["has_snapshot"]:
            return failure("Snapshot not available")
        try:
            content = self._file(self._frigate.layout.snapshot.name(row["camera"], row["id"]))
        except OSError:
            is_drawn = self._number >= (0, 18)
            missing = "Live frame not available" if is_drawn else "Unknown error occurred"
            return failure("Event not found" if self._is_flask else missing)
        if self._number < (0, 18):
            return Answer(200, content, "image/jpeg", _FINISHED)
        drawn = pictures.redraw(content, quality=query.whole("quality") or 70, has_box=bool(query.whole("bbox", 0)))
        if drawn is None:
            return failure("Live frame not available")
        return Answer(200, drawn, "image/jpeg", {**_FINISHED, "X-Frame-Time": str(row["start_time"])})

    def _clean_copy(self, event_id: str) -> Answer:
        """Of finished events; that of a running one is not simulated."""
        row = self._row(event_id)
        if row is None:
            return failure("Event not found")
        if not row["has_snapshot"]:
            return failure("Snapshots and clean_copy must be enabled in the config")
        try:
            content = self._file(f"{row['camera']}-{event_id}-clean.{self._clean_ending}")
        except OSError:
            return failure("Clean snapshot not available")
        return Answer(200, content, f"image/{self._clean_ending}", _FINISHED)

    def _reviews(self, query: _Query, user: str) -> Answer:
        now = self._frigate.now()
        default = None if self._number >= (0, 17) else 0
        seen = query.whole("reviewed", default)
        if seen == 1 and self._number < (0, 17):
            seen = None  # "also those": only later versions have a way to ask for nothing else
        arguments: dict[str, object] = {
            "after": query.number("after") or now - _DAY_SECONDS, "before": query.number("before") or now,
            "severity": query.text("severity"), "cameras": self._cameras(query), "seen": seen, "user": user,
            "limit": query.whole("limit", -1),
        }  # fmt: skip
        return as_json(
            self._rows(_REVIEWS_SEEN_BY_ALL if self._frigate.layout.reviews_are_seen_by_all else _REVIEWS, arguments)
        )

    def _recordings(self, camera: str, query: _Query) -> Answer:
        # From 0.15 on the defaults are those of the moment when Frigate started, not of the request.
        now = self._frigate.now() if self._is_flask else self._started_at
        after, before = query.number("after"), query.number("before")
        arguments = {
            "camera": camera, "after": now - _HOUR_SECONDS if after is None else after,
            "before": now if before is None else before,
        }  # fmt: skip
        return as_json(self._rows(_RECORDINGS_WITH_HEATMAP if self._number >= (0, 18) else _RECORDINGS, arguments))

    def _cameras(self, query: _Query) -> str | None:
        """The cameras that are wanted, as a JSON list; from 0.17 on only those that are configured."""
        wanted = query.text("cameras") or "all"
        names = None if wanted == "all" else wanted.split(",")
        if self._number >= (0, 17):
            names = [name for name in self._frigate.cameras if names is None or name in names]
        return None if names is None else json.dumps(names)

    def _row(self, event_id: str) -> dict[str, Any] | None:
        return next(iter(self._rows(_EVENT, (event_id,))), None)

    def _rows(self, select: str, arguments: Mapping[str, object] | tuple[object, ...]) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(f"{self._frigate.db_path.as_uri()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            found = [dict(row) for row in database.execute(select, arguments)]
        for row in found:
            row |= {name: bool(row[name]) for name in _FLAGS if name in row}
            row |= {name: json.loads(row[name]) for name in _JSON_COLUMNS if row.get(name) is not None}
        try:
            json.dumps(found, allow_nan=False, default=str)
        except ValueError as error:
            raise _NotJsonError from error
        return found

    def _file(self, name: str) -> bytes:
        return (self._frigate.clips_dir / name).read_bytes()
