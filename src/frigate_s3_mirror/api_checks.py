"""The checks of `doctor` on FRIGATE_SOURCE=api: whether Frigate's API and its files can be read as the mirror reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from frigate_s3_mirror.api_files import RECORDINGS, ApiFiles, ApiPictures
from frigate_s3_mirror.api_rows import event_row, recording_row
from frigate_s3_mirror.events import Event, FrigateError
from frigate_s3_mirror.finding import Finding, Verdict, failed, ok, skipped, warning
from frigate_s3_mirror.frigate_api import ApiError, FrigateApi
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.units import format_duration

NAMES = ("frigate api", "events", "picture files")
RECORDINGS_NAME = "recordings"
"""A check more where clips are wanted."""
_SAMPLE = 20  # newest ended events whose files are looked for
_WITHIN = 86400.0  # seconds in which a camera's newest recording is looked for
_ADDRESS = (
    "Set FRIGATE_URL to Frigate's own port: http://HOST:5000, or https://HOST:8971 with a login; see docs/api-mode.md."
)
_LOGIN = "Use Frigate's port 5000, or set FRIGATE_USER and FRIGATE_PASSWORD, or FRIGATE_TOKEN."


@dataclass(frozen=True, slots=True)
class _Listed:
    """What Frigate told of its newest events."""

    finding: Finding
    sample: tuple[Event, ...] = ()
    cameras: tuple[str, ...] = ()


def check_api(settings: Settings, now: float) -> Iterator[Finding]:
    """One finding for each of NAMES, and one on recordings where clips are wanted."""
    api, folder = FrigateApi(settings), settings.ledger_dir
    rest = (*NAMES[1:], RECORDINGS_NAME) if settings.has_clips else NAMES[1:]
    reach = _check_version(api)
    yield reach
    if reach.verdict is Verdict.FAILED:
        yield from (skipped(name, f"Needs {NAMES[0]}.") for name in rest)
        return
    listed = _check_events(api, now)
    yield listed.finding
    if listed.finding.verdict is Verdict.FAILED:
        yield from (skipped(name, f"Needs {NAMES[1]}.") for name in rest[1:])
        return
    yield _check_pictures(ApiPictures(api, folder), listed.sample)
    if settings.has_clips:
        yield _check_recordings(api, ApiFiles(api, "recordings", RECORDINGS, folder), listed.cameras, now)


def _check_version(api: FrigateApi) -> Finding:
    try:
        version = api.version()
    except ApiError as error:
        return failed(NAMES[0], str(error), _LOGIN if "refuses" in str(error) else f"Start Frigate. {_ADDRESS}")
    return ok(NAMES[0], f"{api.address} answers, Frigate {version[0]}.{version[1]}.")


def _check_events(api: FrigateApi, now: float) -> _Listed:
    try:
        rows = api.rows("events", include_thumbnails=0, limit=_SAMPLE)
        if rows is None:
            raise api.no_frigate()
    except ApiError as error:
        return _Listed(failed(NAMES[1], str(error), _LOGIN if "refuses" in str(error) else _ADDRESS))
    found = [row for row in map(event_row, rows) if row is not None]
    cameras = tuple({row.camera for row in found})
    sample = tuple(
        Event(row.id, row.camera, row.label, None, row.start_time, row.end_time, True, (), None, is_manual=False)
        for row in found
        if row.has_snapshot and row.end_time is not None and row.end_time <= now
    )
    if not found:
        return _Listed(ok(NAMES[1], "Readable; there are none yet."))
    age = format_duration(max(0.0, now - max(row.start_time for row in found)))
    return _Listed(ok(NAMES[1], f"Readable, the newest began {age} ago."), sample, cameras)


def _check_pictures(pictures: ApiPictures, sample: Sequence[Event]) -> Finding:
    if not sample:
        return ok(NAMES[2], "No ended event has one yet, so none was asked for.")
    try:
        found = sum(pictures.find(event, Kind.SNAPSHOT) is not None for event in sample)
    except FrigateError as error:
        return failed(NAMES[2], str(error), _LOGIN if "refuses" in str(error) else _ADDRESS)
    told = f"{found} of the newest {len(sample)} events with a snapshot have a file that Frigate hands out."
    if not found:
        return warning(NAMES[2], told, f"A proxy may not pass /clips/ on. {_ADDRESS}")
    return ok(NAMES[2], told)


def _check_recordings(api: FrigateApi, files: ApiFiles, cameras: Sequence[str], now: float) -> Finding:
    """The newest one of any camera that has events."""
    name = RECORDINGS_NAME
    try:
        for camera in cameras:
            rows = api.rows(f"{quote(camera, safe='')}/recordings", after=now - _WITHIN, before=now + _WITHIN)
            recordings = [row for row in (recording_row(row, camera) for row in rows or ()) if row is not None]
            if not recordings:
                continue
            newest = max(recordings, key=lambda row: row.start_time)
            if files.head(newest.path) is None:
                told = f"Frigate does not hand out {newest.path}, of which its table tells."
                return warning(name, told, f"A proxy may not pass /recordings/ on. {_ADDRESS}")
            return ok(
                name,
                f"Readable, the newest of {camera} began {format_duration(max(0.0, now - newest.start_time))} ago.",
            )
    except ApiError as error:
        return failed(name, str(error), _LOGIN if "refuses" in str(error) else _ADDRESS)
    if not cameras:
        return ok(name, "There are no events yet, so none was asked for.")
    return warning(
        name,
        "Of the cameras with events, none has a recording of the last day.",
        "Turn recording on in Frigate (record: enabled: true).",
    )
