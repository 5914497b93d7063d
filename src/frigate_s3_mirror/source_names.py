"""Where an object's content comes from, told from its key: what the ledger's column `source` says for each kind."""

from __future__ import annotations

from frigate_s3_mirror.bodies import PLAYLIST, ROW_METADATA, ROW_THUMBNAIL
from frigate_s3_mirror.keys import KeyParts, recording_path
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.sources import RECORDING

_FROM_THE_ROW = {(Kind.METADATA, "json"): ROW_METADATA, (Kind.THUMBNAIL, "jpg"): ROW_THUMBNAIL}


def source_of(camera: str, parts: KeyParts) -> str | None:
    """Return the source of the object that a key names, None where nobody can know it.

    Versions differ in what they keep, and the key's ending tells which it was: a thumbnail is a webp file from
    Frigate 0.16 on and a jpg in the event's row before; a snapshot of 0.18 is its clean copy.
    """
    source = _FROM_THE_ROW.get((parts.kind, parts.ending))
    if parts.kind is Kind.CLIP and not parts.part:
        source = PLAYLIST
    return source or (_file(camera, parts) if camera else None)


def _file(camera: str, parts: KeyParts) -> str | None:
    stem, is_clean = f"{camera}-{parts.event_id}", parts.ending in {"webp", "png"}
    match parts.kind:
        case Kind.CLIP:
            return f"{RECORDING}{recording_path(camera, parts.part)}"
        case Kind.THUMBNAIL if parts.ending == "webp":
            return f"thumbs/{camera}/{parts.event_id}.webp"
        case Kind.SNAPSHOT if parts.ending == "jpg":
            return f"{stem}.jpg"
        case Kind.SNAPSHOT | Kind.CLEAN if is_clean:
            return f"{stem}-clean.{parts.ending}"
    return None
