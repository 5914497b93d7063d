"""What a clip is in the bucket: segments in their order, and the playlist that ties them together.

The playlist is a plain extended M3U: names and lengths, one file after the other. It is no HLS, whose segments must be
fragments of one stream, while Frigate's are whole mp4 files that are sent bit for bit.
See docs/decisions/0004-plain-playlist.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.runtime import untrusted
from frigate_s3_mirror.runtime.untrusted import RefusedValueError

_PARTS = """SELECT part, key, seconds, size_bytes, uploaded_at FROM object
            WHERE event_id = ? AND kind = 'clip' AND part <> '' AND state = 'uploaded' AND key IS NOT NULL ORDER BY part"""

# A segment that is sent once more belongs to its clip all the while: a playlist that is made then must not lack it.
_EVER_SENT = """SELECT part, key, seconds, size_bytes, uploaded_at FROM object
                WHERE event_id = ? AND kind = 'clip' AND part <> '' AND uploaded_at IS NOT NULL AND key IS NOT NULL
                ORDER BY part"""


@dataclass(frozen=True, slots=True)
class ClipPart:
    """One segment in the bucket."""

    name: str
    key: str
    seconds: float
    """0 where nobody knows: the entry came from the bucket alone."""
    size_bytes: int
    uploaded_at: float
    """Unix seconds."""


def clip_parts(ledger: Ledger, event_id: str) -> list[ClipPart]:
    """The segments of an event that the bucket has, in their order."""
    return _parts(ledger, _PARTS, event_id)


def _parts(ledger: Ledger, sql: str, event_id: str) -> list[ClipPart]:
    rows = ledger.connection.execute(sql, (event_id,))
    return [ClipPart(row[0], row[1], _seconds(row[2]), row[3] or 0, row[4] or 0.0) for row in rows]


def _seconds(value: object) -> float:
    try:
        return max(0.0, untrusted.number(value))
    except RefusedValueError:
        return 0.0


def playlist(parts: Iterable[tuple[ClipPart, str]]) -> bytes:
    """The document for segments and the addresses under which they are found."""
    lines = ["#EXTM3U"]
    for part, address in parts:
        lines += [f"#EXTINF:{part.seconds:.3f},{part.name}", address]
    return ("\n".join(lines) + "\n").encode()


def playlist_object(ledger_path: Path, event_id: str) -> bytes:
    """The playlist that lies beside its segments in the bucket: of all that S3 ever took. Raises LedgerError."""
    with Ledger(ledger_path).reading() as ledger:
        return playlist((part, f"{part.name}.mp4") for part in _parts(ledger, _EVER_SENT, event_id))
