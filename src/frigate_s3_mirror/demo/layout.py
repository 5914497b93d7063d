"""Owns what a Frigate version's tables and clips folder look like; makes no events itself."""

from __future__ import annotations

from dataclasses import dataclass

_COLUMNS = """
CREATE TABLE IF NOT EXISTS "event" (
    "id" VARCHAR(30) NOT NULL PRIMARY KEY, "label" VARCHAR(20) NOT NULL, "camera" VARCHAR(20) NOT NULL,
    "start_time" DATETIME NOT NULL, "end_time" DATETIME, "top_score" REAL, "false_positive" INTEGER,
    "zones" JSON NOT NULL, "thumbnail" TEXT {thumbnail}, "has_clip" INTEGER NOT NULL,
    "has_snapshot" INTEGER NOT NULL, "region" JSON, "box" JSON, "area" INTEGER,
    "retain_indefinitely" INTEGER NOT NULL, "sub_label" VARCHAR(100), "ratio" REAL, "plus_id" VARCHAR(30),
    "score" REAL, "model_hash" VARCHAR(32), "detector_type" VARCHAR(32), "model_type" VARCHAR(32),
    "data" JSON NOT NULL
);
CREATE INDEX IF NOT EXISTS "event_camera" ON "event" ("camera");
CREATE INDEX IF NOT EXISTS "event_label" ON "event" ("label");
CREATE INDEX IF NOT EXISTS "event_start_time_end_time" ON "event" ("start_time" DESC, "end_time" DESC);
"""
_LABEL_START_INDEX = """
CREATE INDEX IF NOT EXISTS "event_label_start_time" ON "event" ("label", "start_time" DESC);
"""
_RECORDINGS = """
CREATE TABLE IF NOT EXISTS "recordings" (
    "id" VARCHAR(30) NOT NULL PRIMARY KEY, "camera" VARCHAR(20) NOT NULL, "path" VARCHAR(255) NOT NULL,
    "start_time" DATETIME NOT NULL, "end_time" DATETIME NOT NULL, "duration" REAL NOT NULL, "objects" INTEGER,
    "motion" INTEGER, "segment_size" REAL NOT NULL, "dBFS" INTEGER{later}
);
CREATE UNIQUE INDEX IF NOT EXISTS "recordings_path" ON "recordings" ("path");
CREATE INDEX IF NOT EXISTS "recordings_camera" ON "recordings" ("camera");
CREATE INDEX IF NOT EXISTS "recordings_camera_segment_size" ON "recordings" ("camera", "segment_size");
CREATE INDEX IF NOT EXISTS "recordings_camera_start_time_end_time"
    ON "recordings" ("camera", "start_time" DESC, "end_time" DESC);
CREATE INDEX IF NOT EXISTS "recordings_api_recordings_summary"
    ON "recordings" ("camera", "start_time" DESC, "duration", "motion", "objects");
CREATE INDEX IF NOT EXISTS "recordings_start_time" ON "recordings" ("start_time");
"""
_REGIONS_INDEX = """
CREATE INDEX IF NOT EXISTS "recordings_activity" ON "recordings" ("camera", "start_time" DESC, "regions");
"""
_REVIEWS = """
CREATE TABLE IF NOT EXISTS "reviewsegment" (
    "id" VARCHAR(30) NOT NULL PRIMARY KEY, "camera" VARCHAR(20) NOT NULL, "start_time" DATETIME NOT NULL,
    "end_time" DATETIME, {seen}"severity" VARCHAR(30) NOT NULL, "thumb_path" VARCHAR(255) NOT NULL,
    "data" JSON NOT NULL
);
CREATE INDEX IF NOT EXISTS "review_segment_camera" ON "reviewsegment" ("camera");
CREATE INDEX IF NOT EXISTS "review_segment_start_time_end_time"
    ON "reviewsegment" ("start_time" DESC, "end_time" DESC);
"""
_REVIEW_STATUS = """
CREATE TABLE IF NOT EXISTS "userreviewstatus" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, "user_id" VARCHAR(30) NOT NULL,
    "review_segment_id" VARCHAR(30) NOT NULL REFERENCES "reviewsegment" ("id") ON DELETE CASCADE,
    "has_been_reviewed" INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS "userreviewstatus_user_segment"
    ON "userreviewstatus" ("user_id", "review_segment_id");
"""


@dataclass(frozen=True)
class SnapshotFile:
    """One file that Frigate writes for an event: `{camera}-{id}{suffix}.{ending}`."""

    suffix: str
    ending: str
    annotated: bool

    def name(self, camera: str, event_id: str) -> str:
        return f"{camera}-{event_id}{self.suffix}.{self.ending}"


_ANNOTATED_JPG = SnapshotFile("", "jpg", annotated=True)
_CLEAN_PNG = SnapshotFile("-clean", "png", annotated=False)
_CLEAN_WEBP = SnapshotFile("-clean", "webp", annotated=False)


@dataclass(frozen=True)
class Layout:
    """What differs between Frigate's versions, as far as a mirror can see it."""

    version: str
    snapshot: SnapshotFile
    """The file that is "the snapshot": written first, always there."""
    clean_copy: SnapshotFile | None
    """The second file of an event, if `clean_copy` is on; None where the snapshot is the clean one."""
    thumbnails_in_files: bool
    """True: `thumbs/{camera}/{id}.webp`, and the column may be NULL. False: base64 in the column."""
    has_label_start_index: bool
    pre_capture_seconds: float
    """How long before the id's time a tracked object's `start_time` is."""
    end_ahead_seconds: float
    """How far in the future the `end_time` of an ended event is."""

    @property
    def number(self) -> tuple[int, int]:
        """The version, to compare."""
        major, minor = self.version.split(".")
        return int(major), int(minor)

    @property
    def has_reviews(self) -> bool:
        """Whether this version sorts recordings into alerts and detections."""
        return self.number >= (0, 14)

    @property
    def reviews_are_seen_by_all(self) -> bool:
        """Up to 0.15 a review was seen or not; later every user has a row of their own."""
        return self.number < (0, 16)

    @property
    def schema(self) -> str:
        """The SQL script that makes the tables and their indexes."""
        columns = _COLUMNS.format(thumbnail="" if self.thumbnails_in_files else "NOT NULL")
        events = columns + (_LABEL_START_INDEX if self.has_label_start_index else "")
        return events + self._recordings_schema + self._reviews_schema

    @property
    def _recordings_schema(self) -> str:
        later = ', "regions" INTEGER' if self.number >= (0, 14) else ""
        later += ', "motion_heatmap" TEXT NULL' if self.number >= (0, 18) else ""
        return _RECORDINGS.format(later=later) + (_REGIONS_INDEX if self.number >= (0, 14) else "")

    @property
    def _reviews_schema(self) -> str:
        if not self.has_reviews:
            return ""
        seen = '"has_been_reviewed" INTEGER NOT NULL, ' if self.reviews_are_seen_by_all else ""
        return _REVIEWS.format(seen=seen) + ("" if self.reviews_are_seen_by_all else _REVIEW_STATUS)


LAYOUTS: dict[str, Layout] = {
    layout.version: layout
    for layout in (
        Layout("0.13", _ANNOTATED_JPG, _CLEAN_PNG, False, False, 5.0, 5.0),
        Layout("0.14", _ANNOTATED_JPG, _CLEAN_PNG, False, False, 5.0, 5.0),
        Layout("0.16", _ANNOTATED_JPG, _CLEAN_PNG, True, False, 0.0, 0.0),
        Layout("0.17", _ANNOTATED_JPG, _CLEAN_WEBP, True, True, 0.0, 0.0),
        Layout("0.18", _CLEAN_WEBP, None, True, True, 0.0, 0.0),
    )
}


def layout_for(version: str) -> Layout:
    """The layout of a version such as "0.17".

    Raises:
        ValueError: this version is not simulated.
    """
    try:
        return LAYOUTS[version]
    except KeyError:
        raise ValueError(f"Frigate {version} is not simulated; there are {', '.join(LAYOUTS)}") from None
