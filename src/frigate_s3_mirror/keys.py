"""Object keys and object metadata: pure functions of an event, its kind and the settings."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.runtime.untrusted import RefusedValueError, unix_time
from frigate_s3_mirror.settings import Settings

CONTENT_TYPES = {
    "jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "json": "application/json",
    "mp4": "video/mp4", "m3u8": "audio/x-mpegurl",
}  # fmt: skip
PLAYLIST_NAME = "clip.m3u8"
_OBJECT_NAME = re.compile(
    r"(?P<event_id>\d{1,12}(?:\.\d{1,9})?-[a-z0-9]{6})(?:-\d{8}_\d{6})?(?P<suffix>-clean|-thumb)?\.(?P<ending>jpg|png|webp|json)",
    re.ASCII,
)
_EVENT_ID = re.compile(r"\d{1,12}(?:\.\d{1,9})?-[a-z0-9]{6}", re.ASCII)
_SEGMENT = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_LIVE = re.compile(r".*-live-\d+\.(jpg|webp|png)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_LONGEST_KEY = 1024  # bytes; S3's limit
_KIND_SUFFIX = {Kind.SNAPSHOT: "", Kind.CLEAN: "-clean", Kind.THUMBNAIL: "-thumb", Kind.METADATA: ""}
_TIME_FIELDS = {
    "date": "%Y-%m-%d", "timestamp": "%Y%m%d_%H%M%S", "time": "%H%M%S",
    "year": "%Y", "month": "%m", "day": "%d", "hour": "%H",
}  # fmt: skip
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_LONGEST_VALUE = 256  # bytes of user metadata, as sent; S3 allows 2 KB for all values together
_LONGEST_LABEL = 256  # bytes of a key; S3 allows 1,024 for all of it


def local_time(unix_seconds: float, timezone: str | None) -> datetime:
    """The moment in this time zone, or in the machine's own when None."""
    zone = ZoneInfo(timezone) if timezone else None
    return datetime.fromtimestamp(unix_seconds, UTC).astimezone(zone)


@dataclass(frozen=True, slots=True)
class KeyParts:
    """The facts in an object's name."""

    event_id: str
    kind: Kind
    ending: str
    camera: str | None
    part: str = ""


class _Fields(dict[str, str]):
    """The template's fields of one event; only those that the template names are made."""

    def __init__(self, event: Event, start: datetime, prefix: str) -> None:
        super().__init__(prefix=prefix, camera=event.camera, event_id=event.id)
        self._event, self._start = event, start

    def __missing__(self, name: str) -> str:
        if name == "label":
            return _cut(quote(self._event.label, safe=" ", errors="backslashreplace"), _LONGEST_LABEL) or "unlabelled"
        return self._start.strftime(_TIME_FIELDS[name])


def key_for(event: Event, kind: Kind, ending: str, settings: Settings) -> str:
    """The key of one object. `ending` is "jpg", "png", "webp" or "json".

    The kind's suffix and the ending are added to the template's result, so kinds never share a key.
    """
    start = local_time(event.start_time, settings.key_timezone)
    name = settings.key_template.format_map(_Fields(event, start, settings.path_prefix))
    path = "/".join(part for part in name.split("/") if part not in {"", ".", ".."})
    return f"{path}{_KIND_SUFFIX[kind]}.{ending}"


def live_key_for(event: Event, number: int, ending: str, settings: Settings) -> str:
    """The key of the picture number 1, 2, ... that was taken while the event ran; beside that of its snapshot."""
    final = key_for(event, Kind.SNAPSHOT, ending, settings)
    return f"{final.removesuffix(f'.{ending}')}-live-{number}.{ending}"


def clip_key_for(event: Event, part: str, settings: Settings) -> str:
    """The key of a segment of an event's clip, or of its playlist (`part` ""): a folder beside the snapshot."""
    folder, _, _ = key_for(event, Kind.SNAPSHOT, "jpg", settings).rpartition("/")
    return "/".join(filter(None, (folder, event.id, f"{part}.mp4" if part else PLAYLIST_NAME)))


def segment_name(start_time: float) -> str:
    """The name of the segment that began then (unix seconds): UTC, because a local hour can come twice."""
    return f"{datetime.fromtimestamp(int(start_time), UTC):%Y%m%dT%H%M%SZ}"


def recording_path(camera: str, part: str) -> str:
    """Where Frigate keeps the segment of this name, below its recordings folder."""
    return f"{part[:4]}-{part[4:6]}-{part[6:8]}/{part[9:11]}/{camera}/{part[11:13]}.{part[13:15]}.mp4"


def is_live_key(key: str) -> bool:
    """Whether `live_key_for` made it."""
    return _LIVE.fullmatch(key) is not None


def odd_path(key: str) -> str | None:
    """Return why no client can be trusted with this key, as a sentence's end; None for ordinary ones."""
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        return "is no valid text"
    if length > _LONGEST_KEY:
        return f"is longer than {_LONGEST_KEY} bytes"
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in key):
        return "holds control characters"
    segments = key.split("/")
    if not all(segments):
        return "has an empty path segment"
    return "has a path segment of dots" if any(segment in {".", ".."} for segment in segments) else None


def is_own_key(key: str) -> bool:
    """Whether it is an object of the mirror's own: a heartbeat, the doctor's, a picture of a running event."""
    return "/.mirror/" in f"/{key}" or is_live_key(key)


def id_time(event_id: str) -> float:
    """Return the unix time that an id of Frigate's begins with. Raises RefusedValueError when it is no time."""
    return unix_time(event_id.split("-", 1)[0])


def _may_be_id(event_id: str) -> bool:
    try:
        id_time(event_id)
    except RefusedValueError:
        return False
    return True


def parse_key(key: str) -> KeyParts | None:
    """What the name of an object says: its event, and by the layout `{camera}/{date}/` its camera; None for other names.

    The folders above the name may be anything, see `odd_path`.
    """
    *folders, name = key.split("/")
    if ".mirror" in folders:
        return None
    match = _OBJECT_NAME.fullmatch(name)
    if match is None:
        return _parse_clip_key(folders, name)
    if not _may_be_id(match["event_id"]):
        return None
    suffix, ending = match["suffix"] or "", match["ending"]
    kind = {"-clean": Kind.CLEAN, "-thumb": Kind.THUMBNAIL}.get(
        suffix, Kind.METADATA if ending == "json" else Kind.SNAPSHOT
    )
    return KeyParts(match["event_id"], kind, ending, _camera_of(folders))


def _parse_clip_key(folders: list[str], name: str) -> KeyParts | None:
    part, _, ending = name.rpartition(".")
    is_segment = ending == "mp4" and _SEGMENT.fullmatch(part)
    if not folders or not _EVENT_ID.fullmatch(folders[-1]) or not (is_segment or name == PLAYLIST_NAME):
        return None
    if not _may_be_id(folders[-1]):
        return None
    return KeyParts(folders[-1], Kind.CLIP, ending, _camera_of(folders[:-1]), part if is_segment else "")


def _camera_of(folders: list[str]) -> str | None:
    return folders[-2] if len(folders) >= 2 and _DATE.fullmatch(folders[-1]) else None


def own_key(settings: Settings, name: str) -> str:
    """The key of an object of the mirror's own, beside the snapshots."""
    return "/".join(part for part in (settings.path_prefix, ".mirror", name) if part)


def site_name(settings: Settings) -> str:
    """S3_SITE as a key can hold it."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", settings.site) or "site"


def object_metadata(event: Event, sha256: str) -> dict[str, str]:
    """User metadata (`x-amz-meta-*`): ASCII, percent-encoded where the value is not; absent facts are left out."""
    facts = {
        "event-id": event.id,
        "camera": event.camera,
        "label": event.label,
        "sub-label": event.sub_label,
        "score": None if event.score is None else f"{event.score:g}",
        "zones": ",".join(event.zones),
        "start": f"{event.start_time:.6f}",
        "end": None if event.end_time is None else f"{event.end_time:.6f}",
        "sha256": sha256,
    }
    return {name: encode_metadata(value) for name, value in facts.items() if value}


def encode_metadata(value: str) -> str:
    """The value as a header may carry it: printable ASCII stays, the rest and `%` become percent-encoded UTF-8."""
    value = value[:_LONGEST_VALUE]
    if value.isascii() and value.isprintable() and "%" not in value:  # nearly all, and quoting costs
        return value.strip()
    return _cut(quote(value, safe=_PRINTABLE, errors="backslashreplace"), _LONGEST_VALUE).strip()


def _cut(quoted: str, longest: int) -> str:
    """Shorten percent-encoded text, but not within a character."""
    if len(quoted) <= longest:
        return quoted
    quoted = quoted[:longest]
    quoted = quoted[: quoted.rfind("%")] if "%" in quoted[-2:] else quoted
    while True:
        try:
            unquote(quoted, errors="strict")
        except UnicodeDecodeError:
            quoted = quoted[:-3]
        else:
            return quoted


def metadata_document(event: Event) -> bytes:
    """The JSON document that `S3_ARTIFACTS=metadata` stores for an event."""
    document = {
        "id": event.id,
        "camera": event.camera,
        "label": event.label,
        "sub_label": event.sub_label,
        "score": event.score,
        "zones": list(event.zones),
        "start_time": event.start_time,
        "end_time": event.end_time,
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode(errors="backslashreplace") + b"\n"
