"""The checks of `doctor` on FRIGATE_SOURCE=api: whether Frigate's API and its files can be read as the mirror reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from frigate_s3_mirror.api_files import RECORDINGS, ApiFiles, ApiPictures
from frigate_s3_mirror.api_rows import EventRow, event_row, recording_row
from frigate_s3_mirror.events import Event, Filters, FrigateError
from frigate_s3_mirror.filter_check import Names, judge
from frigate_s3_mirror.finding import Finding, Verdict, failed, ok, skipped, warning
from frigate_s3_mirror.frigate_api import ApiError, FrigateApi, LoginRefusedError, RowsUntoldError
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
_MANY = 500  # newest events in which one is looked for that S3_CAMERAS and S3_LABELS want


@dataclass(frozen=True, slots=True)
class _Listed:
    """What Frigate told of its newest events."""

    finding: Finding
    sample: tuple[Event, ...] = ()
    cameras: tuple[str, ...] = ()


def refusal(name: str, settings: Settings, error: FrigateError) -> Finding:
    """A finding about an error of Frigate's API; where it refuses us, about the login that is really used."""
    if isinstance(error, RowsUntoldError):
        return failed(
            name, str(error), "Look at Frigate's own log for the row that it stumbles over, and delete that event."
        )
    if isinstance(error, LoginRefusedError) and "refuses" not in str(error):
        return failed(name, str(error), "Wait some minutes, then correct FRIGATE_USER and FRIGATE_PASSWORD.")
    if "refuses" not in str(error):
        return failed(name, str(error), _ADDRESS)
    if settings.frigate_token is not None:
        told = f"Frigate's API at {settings.frigate_url} refuses FRIGATE_TOKEN."
        return failed(
            name,
            told,
            "Make a new token and copy it to FRIGATE_TOKEN, whole; or remove it, and set FRIGATE_USER and FRIGATE_PASSWORD.",
        )
    if settings.frigate_user is not None:
        return failed(
            name,
            str(error),
            "Correct FRIGATE_USER and FRIGATE_PASSWORD: try them on Frigate's own page, at the same port.",
        )
    return failed(
        name, str(error), "Use Frigate's port 5000, or set FRIGATE_USER and FRIGATE_PASSWORD, or FRIGATE_TOKEN."
    )


def check_api(settings: Settings, now: float) -> Iterator[Finding]:
    """One finding for each of NAMES, and one on recordings where clips are wanted."""
    api, folder = FrigateApi(settings), settings.ledger_dir
    rest = (*NAMES[1:], RECORDINGS_NAME) if settings.has_clips else NAMES[1:]
    reach = _check_version(api, settings)
    yield reach
    if reach.verdict is Verdict.FAILED:
        yield from (skipped(name, f"Needs {NAMES[0]}.") for name in rest)
        return
    listed = _check_events(api, settings, now)
    yield listed.finding
    if listed.finding.verdict is Verdict.FAILED:
        yield from (skipped(name, f"Needs {NAMES[1]}.") for name in rest[1:])
        return
    yield _check_pictures(ApiPictures(api, folder), settings, listed.sample)
    if settings.has_clips:
        yield _check_recordings(api, settings, ApiFiles(api, "recordings", RECORDINGS, folder), listed.cameras, now)


def _check_version(api: FrigateApi, settings: Settings) -> Finding:
    try:
        version = api.version()
    except ApiError as error:
        if "refuses" in str(error) or isinstance(error, LoginRefusedError):
            return refusal(NAMES[0], settings, error)
        return failed(NAMES[0], str(error), f"Start Frigate. {_ADDRESS}")
    return ok(NAMES[0], f"{api.address} answers, Frigate {version[0]}.{version[1]}.")


def _check_events(api: FrigateApi, settings: Settings, now: float) -> _Listed:
    try:
        found = _events(api, _SAMPLE)
        unwanted = _unwanted(api, settings, found)
    except ApiError as error:
        return _Listed(refusal(NAMES[1], settings, error))
    cameras = tuple({row.camera for row in found})
    sample = tuple(
        Event(row.id, row.camera, row.label, None, row.start_time, row.end_time, True, (), None, is_manual=False)
        for row in found
        if row.has_snapshot and row.end_time is not None and row.end_time <= now
    )
    if not found:
        return _Listed(ok(NAMES[1], "Readable; there are none yet."))
    if unwanted is not None:
        fix = "Correct S3_CAMERAS and S3_LABELS: as they are, nothing is mirrored."
        return _Listed(failed(NAMES[1], f"Readable. {unwanted}", fix))
    age = format_duration(max(0.0, now - max(row.start_time for row in found)))
    return _Listed(ok(NAMES[1], f"Readable, the newest began {age} ago."), sample, cameras)


def _events(api: FrigateApi, limit: int) -> list[EventRow]:
    """The newest events, without rows that are none. Raises ApiError."""
    rows = api.rows("events", include_thumbnails=0, limit=limit)
    if rows is None:
        raise api.no_frigate()
    return [row for row in map(event_row, rows) if row is not None]


def _unwanted(api: FrigateApi, settings: Settings, newest: Sequence[EventRow]) -> str | None:
    """A sentence when S3_CAMERAS and S3_LABELS want none of the newest events, many of them. Raises ApiError."""
    filters = Filters(settings.cameras, settings.labels)
    if not newest or any(_is_wanted(filters, row) for row in newest):
        return None
    many = _events(api, _MANY)
    if any(_is_wanted(filters, row) for row in many):
        return None
    return judge(filters, Names(frozenset(row.camera for row in many), frozenset(row.label for row in many)))


def _is_wanted(filters: Filters, row: EventRow) -> bool:
    return filters.wants(Event(row.id, row.camera, row.label, None, 0.0, None, True, (), None, is_manual=False))


def _check_pictures(pictures: ApiPictures, settings: Settings, sample: Sequence[Event]) -> Finding:
    if not sample:
        return skipped(NAMES[2], "No ended event has one yet, so none was asked for.")
    try:
        found = sum(pictures.find(event, Kind.SNAPSHOT) is not None for event in sample)
    except FrigateError as error:
        return refusal(NAMES[2], settings, error)
    told = f"{found} of the newest {len(sample)} events with a snapshot have a file that Frigate hands out."
    if not found:
        return warning(NAMES[2], told, f"A proxy may not pass /clips/ on. {_ADDRESS}")
    if (len(sample) - found) * 4 > len(sample):
        return warning(NAMES[2], told, "Is Frigate's media share mounted? Frigate may be writing into the mount point.")
    return ok(NAMES[2], told)


def _check_recordings(
    api: FrigateApi, settings: Settings, files: ApiFiles, cameras: Sequence[str], now: float
) -> Finding:
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
        return refusal(name, settings, error)
    if not cameras:
        return skipped(name, "There are no events yet, so none was asked for.")
    return warning(
        name,
        "Of the cameras with events, none has a recording of the last day.",
        "Turn recording on in Frigate (record: enabled: true).",
    )
