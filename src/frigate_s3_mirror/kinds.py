"""The kinds of object an event can leave in the bucket."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What an object is of its event; the values are the words of S3_ARTIFACTS."""

    SNAPSHOT = "snapshot"
    CLEAN = "clean"
    THUMBNAIL = "thumbnail"
    METADATA = "metadata"
    CLIP = "clip"
    """The recording around it, in segments, and the playlist that ties them together."""
