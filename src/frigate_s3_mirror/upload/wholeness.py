"""Whether a picture is there as a whole, by its own marks. Pure; knows the forms that Frigate writes."""

from __future__ import annotations

EDGE_BYTES = 1024
"""How much of a file's beginning and end is looked at."""
_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_RIFF_HEADER_BYTES = 8


def looks_whole(head: bytes, tail: bytes, size_bytes: int) -> bool:
    """Return False for a JPEG, PNG or WebP that breaks off before its end; what is none of these passes.

    `head` and `tail` are the first and last `EDGE_BYTES`, or all of a shorter file. The form is told by the content, not
    by the name. A few bytes behind the end mark, as some programs add them, do no harm.
    """
    if head.startswith(_JPEG):
        return _JPEG_END in tail
    if head.startswith(_PNG):
        return _PNG_END in tail
    if head.startswith(b"RIFF") and len(head) >= _RIFF_HEADER_BYTES:
        return size_bytes >= _RIFF_HEADER_BYTES + int.from_bytes(head[4:8], "little")
    return not (_PNG.startswith(head) or b"RIFF".startswith(head[:4]) or _JPEG.startswith(head))
