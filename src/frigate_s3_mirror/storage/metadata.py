"""What an object's name and its metadata tell of the event: the reading side of `keys.object_metadata`.

The name has the last word. Each fact of the metadata passes the gate on its own; an odd one is left away, so that
whoever could write to the bucket can spoil a label, and never a recovery.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import unquote

from frigate_s3_mirror.events import Event
from frigate_s3_mirror.keys import KeyParts, id_time
from frigate_s3_mirror.runtime.untrusted import RefusedValueError, number, text, unix_time

_CAMERA = re.compile(r"[a-zA-Z0-9_-]{1,100}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST_SEGMENT = 86_400.0  # seconds; Frigate's have about ten
_Fact = TypeVar("_Fact")


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What is known of an object without its content."""

    event: Event
    sha256: str | None
    """Of the content; None where nobody says."""
    seconds: float | None
    """How long a segment is."""


def object_facts(parts: KeyParts, metadata: Mapping[str, str]) -> ObjectFacts:
    """Return what name and metadata say; nothing of the metadata is ever a reason to refuse the object."""
    return ObjectFacts(_event(parts, metadata), sha256_of(metadata), _fact(metadata, "seconds", _length))


def sha256_of(metadata: Mapping[str, str]) -> str | None:
    """Return the checksum that an object's metadata says, None where it says none."""
    return _fact(metadata, "sha256", _checksum)


def camera_of(parts: KeyParts, metadata: Mapping[str, str]) -> str | None:
    """Return the camera: the key's, else, where the user's template has none, the metadata's."""
    return _camera(parts.camera) if parts.camera is not None else _fact(metadata, "camera", _camera)


def _event(parts: KeyParts, metadata: Mapping[str, str]) -> Event:
    start = _fact(metadata, "start", unix_time)
    start = id_time(parts.event_id) if start is None else start
    end = _fact(metadata, "end", unix_time)
    try:
        camera = camera_of(parts, metadata)
    except RefusedValueError:
        camera = None
    return Event(
        id=parts.event_id,
        camera=camera or "",
        label=_fact(metadata, "label", text) or "",
        sub_label=_fact(metadata, "sub-label", text) or None,
        start_time=start,
        end_time=end if end is not None and end >= start else None,
        has_snapshot=True,
        zones=tuple(zone for zone in (_fact(metadata, "zones", text) or "").split(",") if zone),
        score=_fact(metadata, "score", number),
        is_manual=False,
    )


def _fact(metadata: Mapping[str, str], name: str, gate: Callable[[object], _Fact]) -> _Fact | None:
    value = metadata.get(name)
    if not value:
        return None
    try:
        return gate(unquote(value, errors="strict"))
    except (RefusedValueError, UnicodeDecodeError):
        return None


def _camera(value: object) -> str:
    name = text(value)
    if not _CAMERA.fullmatch(name):
        raise RefusedValueError("is no camera of Frigate's")
    return name


def _checksum(value: object) -> str:
    digest = text(value)
    if not _SHA256.fullmatch(digest):
        raise RefusedValueError("is no SHA-256")
    return digest


def _length(value: object) -> float:
    seconds = number(value)
    if not 0 <= seconds <= _LONGEST_SEGMENT:
        raise RefusedValueError("is no length of a segment")
    return seconds
