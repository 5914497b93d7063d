"""doctor's look at what clips need: that Frigate records, and that its newest segment can be read."""

from __future__ import annotations

import os
from dataclasses import dataclass

from frigate_s3_mirror.clip_scan import ClipScan, Segment
from frigate_s3_mirror.events import Filters, FrigateError
from frigate_s3_mirror.filter_check import CLIPS, nothing_wanted
from frigate_s3_mirror.finding import Finding, failed, ok, skipped, warning
from frigate_s3_mirror.frigate_access import access
from frigate_s3_mirror.ledger_file import FILE_NAME
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import Files, SourceRefusedError, SourceUnreachableError, SourceVanishedError
from frigate_s3_mirror.units import format_duration

NAME = "recordings"
_LATE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class RecordingsSeen:
    """What a look at Frigate's recordings found."""

    newest: Segment | None
    trouble: str | None
    """Why the newest segment cannot be read, as a sentence's end."""
    has_reviews: bool


def check_recordings(settings: Settings, now: float) -> Finding:
    """Look, and judge; without a ledger there is nothing to look through yet."""
    frigate, ledger = access(settings), settings.ledger_dir / FILE_NAME
    if not ledger.exists():
        return skipped(NAME, "Needs a ledger: start the mirror once.")
    scan = ClipScan(ledger, frigate.database, settings)
    try:
        filters = Filters(settings.clip_cameras, settings.clip_labels)
        if (unwanted := nothing_wanted(frigate.database, filters, CLIPS)) is not None:
            return failed(
                NAME, unwanted, "Correct S3_CLIP_CAMERAS and S3_CLIP_LABELS: as they are, no clip is mirrored."
            )
        newest = scan.newest()
        if newest is not None and (absence := frigate.recordings_folder.absence()) is not None:
            return failed(NAME, absence, "Mount the share with Frigate's recordings, or set FRIGATE_RECORDINGS_DIR.")
        trouble = _trouble(frigate.recordings, newest) if newest is not None else None
        seen = RecordingsSeen(newest, trouble, scan.has_reviews())
    except FrigateError as error:
        return failed(NAME, str(error), "See the check named database: without its tables no clip can be mirrored.")
    finally:
        scan.close()
    return judge_recordings(settings, seen, now)


def judge_recordings(settings: Settings, seen: RecordingsSeen, now: float) -> Finding:
    """What that means. `now` in unix seconds."""
    if seen.newest is None:
        return warning(
            NAME, "Frigate has recorded nothing.", "Enable `record` in Frigate's configuration, or leave clip out of S3_ARTIFACTS."
        )  # fmt: skip
    if seen.trouble is not None:
        return failed(
            NAME, f"The newest recording cannot be read: {seen.trouble}.",
            f"Mount Frigate's recordings and set FRIGATE_RECORDINGS_DIR; now it is {settings.effective_recordings_dir}.",
        )  # fmt: skip
    if settings.clip_severity and not seen.has_reviews:
        return warning(
            NAME, "This Frigate has no review items, so S3_CLIP_SEVERITY has no effect.", "Frigate 0.14 or later has them."
        )  # fmt: skip
    age = max(0.0, now - seen.newest.end_time)
    told = f"The newest segment is readable and ended {format_duration(round(age))} ago."
    if age > _LATE_SECONDS:
        return warning(
            NAME, told, "Check that Frigate still records; with motion or event recording a quiet hour is normal."
        )
    return ok(NAME, told)


def _trouble(recordings: Files, segment: Segment) -> str | None:
    if segment.source is None:
        return f"its path {segment.path} is none of Frigate's"
    try:
        descriptor, _ = recordings.open(segment.source)
    except SourceVanishedError:
        return f"there is no {segment.source} in the folder"
    except (SourceRefusedError, SourceUnreachableError) as error:
        return str(error).rstrip(".")
    os.close(descriptor)
    return None
