"""Recordings and reviews of a simulated Frigate: segments of video on disk, and what is worth watching in them.

A segment's file is whole before its row exists; when one is deleted, its file goes before its row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from frigate_s3_mirror.demo import pictures
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_store import SimulatedStore

SEGMENT_SECONDS = 10.0
SEGMENT_BYTES = 120_000
REVIEW_USER = "anonymous"  # who looks at reviews through port 5000, for which Frigate asks no login
_FTYP = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41"
_DENSE_BYTES = 8 * 2**20  # a longer segment is a hole between two ends
_END_BYTES = 64 * 1024
_REVIEW_DELAY = 0.2  # a review begins this long after its first event: with the frame in which the object moves
_MB = 2**20

_INSERT_SEGMENT = """
INSERT INTO recordings (id, camera, path, start_time, end_time, duration, motion, objects, dBFS, segment_size)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?)
"""
_DELETE_SEGMENT = "DELETE FROM recordings WHERE id = ?"
_INSERT_REVIEW = """
INSERT INTO reviewsegment (id, camera, start_time, end_time, severity, thumb_path, data)
VALUES (?, ?, ?, NULL, ?, ?, ?)
"""
_INSERT_UNSEEN_REVIEW = """
INSERT INTO reviewsegment (id, camera, start_time, end_time, has_been_reviewed, severity, thumb_path, data)
VALUES (?, ?, ?, NULL, 0, ?, ?, ?)
"""
_UPDATE_REVIEW = "UPDATE reviewsegment SET severity = ?, end_time = ? WHERE id = ?"
_SEE_REVIEW_FOR_ALL = "UPDATE reviewsegment SET has_been_reviewed = 1 WHERE id = ?"
_SEE_REVIEW = "INSERT INTO userreviewstatus (user_id, review_segment_id, has_been_reviewed) VALUES (?, ?, 1)"


@dataclass(frozen=True, slots=True)
class SimulatedSegment:
    """About ten seconds of one camera."""

    id: str
    camera: str
    start_time: float
    end_time: float
    path: Path
    """The real file, whatever the row calls it."""


@dataclass(frozen=True, slots=True)
class SimulatedReview:
    """A stretch of one camera that is worth watching, as it was after the last call that returned it."""

    id: str
    camera: str
    start_time: float
    end_time: float | None
    severity: str
    """"alert" or "detection"."""
    event_ids: tuple[str, ...]


class SimulatedRecordings(SimulatedStore):
    """The part of a simulated Frigate that records."""

    def add_segment(
        self,
        camera: str,
        start_time: float,
        duration: float = SEGMENT_SECONDS,
        content: bytes | None = None,
        size_bytes: int = SEGMENT_BYTES,
    ) -> SimulatedSegment:
        """Write a segment, then its row.

        Args:
            camera: whose.
            start_time: Frigate cuts at whole seconds: a fraction is dropped.
            duration: in seconds.
            content: the file's bytes, instead of noise that begins like an mp4.
            size_bytes: of the noise; no two segments are equal. Beyond 8 MB all but its ends is a hole, which needs
                neither memory nor disk.
        """
        start = float(int(start_time))
        taken_at = datetime.fromtimestamp(start, UTC)
        path = self.recordings_dir / f"{taken_at:%Y-%m-%d}" / f"{taken_at:%H}" / camera / f"{taken_at:%M.%S}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content)
        else:
            self._write_noise(path, size_bytes)
        segment = SimulatedSegment(f"{start}-{self._id_letters()}", camera, start, start + duration, path)
        self._insert_segment(segment, duration)
        return segment

    def delete_segment(self, segment: SimulatedSegment, *, row: bool = True, file: bool = True) -> None:
        """Frigate's retention deletes the file and, some time later, the row; a user may delete either alone."""
        if file:
            segment.path.unlink(missing_ok=True)
        if row:
            with self._transaction() as connection:
                connection.execute(_DELETE_SEGMENT, (segment.id,))

    def begin_review(self, events: Sequence[SimulatedEvent], severity: str = "alert") -> SimulatedReview:
        """Something worth watching begins: a row with `end_time` NULL, and its thumbnail.

        Raises:
            ValueError: this version knows no reviews.
        """
        if not self.layout.has_reviews:
            raise ValueError(f"Frigate {self.layout.version} knows no reviews; they came with 0.14")
        camera = events[0].camera
        start_time = round(min(event.start_time for event in events) + _REVIEW_DELAY, 6)
        event_ids = tuple(event.id for event in events)
        review = SimulatedReview(f"{start_time}-{self._id_letters()}", camera, start_time, None, severity, event_ids)
        thumbnail = self.clips_dir / "review" / f"thumb-{camera}-{review.id}.webp"
        taken_at = datetime.fromtimestamp(start_time, UTC).astimezone()
        thumbnail.write_bytes(pictures.thumbnail(camera, events[0].label, taken_at, "webp"))
        details = self._review_details(review, sorted({event.label for event in events}))
        insert = _INSERT_UNSEEN_REVIEW if self.layout.reviews_are_seen_by_all else _INSERT_REVIEW
        with self._transaction() as connection:
            row = (review.id, camera, start_time, severity, self._path_inside(thumbnail), details)
            connection.execute(insert, row)
        return review

    def raise_review(self, review: SimulatedReview) -> SimulatedReview:
        """A detection becomes an alert: Frigate never lowers it again."""
        return self._update_review(replace(review, severity="alert"))

    def end_review(self, review: SimulatedReview, end_time: float | None = None) -> SimulatedReview:
        """Nothing moves any more."""
        return self._update_review(replace(review, end_time=round(self.now() if end_time is None else end_time, 6)))

    def see_review(self, review: SimulatedReview, user: str = REVIEW_USER) -> None:
        """A user marks it as reviewed: up to 0.15 for everybody, later for themselves."""
        with self._transaction() as connection:
            if self.layout.reviews_are_seen_by_all:
                connection.execute(_SEE_REVIEW_FOR_ALL, (review.id,))
            else:
                connection.execute(_SEE_REVIEW, (user, review.id))

    def _insert_segment(self, segment: SimulatedSegment, duration: float) -> None:
        with self._lock:
            motion, objects = self._random.randrange(90, 190), self._random.randrange(10)
        inside = self._path_inside(segment.path)
        size = round(segment.path.stat().st_size / _MB, 2)
        times = segment.start_time, segment.end_time
        with self._transaction() as connection:
            row = (segment.id, segment.camera, inside, *times, duration, motion, objects, size)
            connection.execute(_INSERT_SEGMENT, row)

    def _write_noise(self, path: Path, size_bytes: int) -> None:
        length = size_bytes if size_bytes <= _DENSE_BYTES else _END_BYTES
        with self._lock:
            head, tail = self._random.randbytes(length), self._random.randbytes(_END_BYTES)
        with path.open("wb") as file:
            file.write((_FTYP + head)[:length])
            if length < size_bytes:
                file.truncate(size_bytes - len(tail))
                file.seek(0, 2)
                file.write(tail)

    def _review_details(self, review: SimulatedReview, labels: list[str]) -> str:
        details: dict[str, object] = {"detections": list(review.event_ids), "objects": labels}
        if self.layout.number >= (0, 17):
            details["verified_objects"] = []
        details |= {"sub_labels": [], "zones": [], "audio": []}
        if self.layout.number >= (0, 17):
            details |= {"thumb_time": review.start_time, "metadata": None}
        return json.dumps(details, separators=(",", ":"))

    def _update_review(self, review: SimulatedReview) -> SimulatedReview:
        with self._transaction() as connection:
            connection.execute(_UPDATE_REVIEW, (review.severity, review.end_time, review.id))
        return review
