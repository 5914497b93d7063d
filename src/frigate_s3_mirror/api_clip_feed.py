"""Which recordings and reviews Frigate's API is asked for, so that the copy has those that belong to a clip.

As in api_feed, a request that fails raises FrigateError and changes nothing.
"""

from __future__ import annotations

from urllib.parse import quote

from frigate_s3_mirror.api_rows import recording_row, review_row
from frigate_s3_mirror.clip_scan import LONGEST_SEGMENT, ROW_PATIENCE
from frigate_s3_mirror.clip_windows import Span, spans
from frigate_s3_mirror.events import Filters
from frigate_s3_mirror.frigate_api import FrigateApi
from frigate_s3_mirror.frigate_copy import FrigateCopy
from frigate_s3_mirror.settings import Settings

_ROWS_COME_WITHIN = 30.0
"""Seconds by which clocks may differ, and after a clip within which a segment shows that no other is missing."""
_LONGEST_LOOK = 3600.0  # seconds of recordings; what is older is seen by the full pass
_REVIEW_SLACK = 3600.0
"""Seconds for which a review may begin before, or go on after, an event of its own."""
_REVIEW_PIECE = 86400.0
_MOST_REVIEWS = 5000
_WINDOWS = """
WITH clip AS (
    SELECT e.id, e.camera, e.start_time, e.start_time - ? AS begins,
           min(coalesce(e.end_time, ?) + ?, e.start_time - ? + ?) AS ends
    FROM event e WHERE e.start_time >= ? AND {filters}
)
SELECT camera, begins, ends FROM clip c WHERE {which} ORDER BY camera, begins
"""
# A later segment shows that no segment of the clip is still to come; without one, time does.
_OPEN = """
c.ends + ? > ? AND NOT EXISTS (SELECT 1 FROM recordings r WHERE r.camera = c.camera AND r.start_time >= c.ends
                               AND r.start_time < c.ends + ?)
"""
_BOUNDS = "SELECT min(start_time), max(start_time) FROM event"


class ApiClipFeed:
    """Connects Frigate's recordings and reviews with the copy; used by one thread."""

    def __init__(self, api: FrigateApi, copy: FrigateCopy, settings: Settings) -> None:
        self._api, self._copy, self._settings = api, copy, settings
        self._conditions = [
            Filters(settings.cameras, settings.labels).sql(),
            Filters(settings.clip_cameras, settings.clip_labels).sql(),
        ]

    def unfinished(self, now: float) -> list[Span]:
        """For each camera, over what time its clips may still get segments."""
        reach = self._settings.clip_pre + self._settings.clip_max + self._settings.clip_post
        patience = ROW_PATIENCE + _ROWS_COME_WITHIN
        windows = self._windows(now, now - reach - patience, _OPEN, (patience, now, LONGEST_SEGMENT))
        latest: dict[str, Span] = {}
        for window in windows:
            known = latest.get(window.camera, window)
            begins, ends = min(known.begins, window.begins), max(known.ends, window.ends)
            latest[window.camera] = Span(window.camera, max(begins, now - _LONGEST_LOOK), ends + _ROWS_COME_WITHIN)
        return list(latest.values())

    def all_spans(self, now: float) -> list[Span]:
        """What to ask for, to see the recordings of all clips."""
        return spans(self._windows(now, float("-inf"), "1", ()))

    def look(self, span: Span) -> bool:
        """Ask for a camera's recordings, and forget those that Frigate has no more; returns whether anything changed."""
        answer = self._api.rows(
            f"{quote(span.camera, safe='')}/recordings", after=repr(span.begins), before=repr(span.ends)
        )
        if answer is None:
            return False  # a camera that Frigate does not know (any more)
        found = [recording_row(row, span.camera) for row in answer]
        rows = [row for row in found if row is not None]
        changed = self._copy.put_recordings(rows)
        forgotten = 0
        if len(rows) == len(found):
            named = {row.id for row in rows}
            forgotten = self._copy.keep_recordings(named, span.camera, span.begins, span.ends)
        return bool(changed or forgotten)

    def recent_reviews(self, windows: list[Span], version: tuple[int, int]) -> bool:
        """Ask which of these clips are alerts; returns whether anything changed."""
        if not windows or not self._asks_for_reviews(version):
            return False
        return self._reviews(min(span.begins for span in windows), max(span.ends for span in windows), version)

    def review_pieces(self, version: tuple[int, int]) -> list[tuple[float, float]]:
        """The times over which to ask, to see the reviews of all events."""
        oldest, newest = self._copy.ask(_BOUNDS)[0]
        if oldest is None or not self._asks_for_reviews(version):
            return []
        count = int((newest - oldest) // _REVIEW_PIECE) + 1
        return [(oldest + n * _REVIEW_PIECE, oldest + (n + 1) * _REVIEW_PIECE) for n in range(count)]

    def look_at_reviews(self, piece: tuple[float, float], version: tuple[int, int]) -> bool:
        """Ask for one of the pieces; returns whether anything changed."""
        return self._reviews(*piece, version)

    def tidy(self) -> None:
        """Forget what belongs to events that are long gone."""
        self._copy.forget_before_events(self._settings.clip_pre + _REVIEW_SLACK)

    def _asks_for_reviews(self, version: tuple[int, int]) -> bool:
        return bool(self._settings.clip_severity) and version >= (0, 14)

    def _reviews(self, begins: float, ends: float, version: tuple[int, int]) -> bool:
        query = {"after": repr(begins - _REVIEW_SLACK), "before": repr(ends + _REVIEW_SLACK), "limit": _MOST_REVIEWS}
        if version < (0, 17):
            query["reviewed"] = (
                1  # also those; later versions take it for "only those", and leave none out by themselves
            )
        rows = [review_row(row) for row in self._api.rows("review", **query) or ()]
        return bool(self._copy.put_reviews([row for row in rows if row is not None]))

    def _windows(self, now: float, since: float, which: str, more: tuple[float, ...]) -> list[Span]:
        pre, post, longest = self._settings.clip_pre, self._settings.clip_post, self._settings.clip_max
        filters = " AND ".join(condition for condition, _ in self._conditions)
        patterns = [pattern for _, parameters in self._conditions for pattern in parameters]
        parameters = [pre, now, post, pre, longest, since, *patterns, *more]
        rows = self._copy.ask(_WINDOWS.format(filters=filters, which=which), parameters)
        return [Span(*row) for row in rows]
