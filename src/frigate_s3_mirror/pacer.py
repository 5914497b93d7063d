"""Keeps the average upload rate under S3_BANDWIDTH_LIMIT; pure but for its lock, whole objects at a time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

PRESUMED_BYTES = 1024 * 1024
"""What an upload is taken to have until its size is known, so that one after the other starts."""


@dataclass(slots=True)
class Slot:
    """The permission for one upload to start, with what was booked for it."""

    is_for_clip: bool
    booked_bytes: int


@dataclass(slots=True)
class Pacer:
    """Says how long the line is busy, and books what is sent. Without a limit it never is.

    Whoever may start chooses what to send only then, and books its size as soon as it is known: so the newest waits for
    at most one body, however many are in the backlog. Pictures wait for pictures alone, and clips for both, so that a
    long segment never holds up a picture. What clips had booked by then may overlap with it: the average is kept, the
    moment is not. May be used from several threads; `now` is monotonic seconds.
    """

    bytes_per_second: int | None
    _free_at: float = 0.0
    _free_for_pictures_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def busy_for(self, now: float, *, clip: bool = False) -> float:
        """Return the seconds until the next upload may start, 0 when it may now."""
        with self._lock:
            return max(0.0, (self._free_at if clip else self._free_for_pictures_at) - now)

    def start(self, now: float, *, clip: bool = False) -> Slot:
        """Take the line for an upload whose size is not known yet; pass its slot to `book`, whatever becomes of it."""
        slot = Slot(clip, 0)
        with self._lock:
            self._free_at = max(self._free_at, now)
            self._free_for_pictures_at = max(self._free_for_pictures_at, now)
            self._book(slot, PRESUMED_BYTES)
        return slot

    def book(self, slot: Slot, size_bytes: int) -> None:
        """Say how much is sent in this slot, 0 for nothing; the last word counts."""
        with self._lock:
            self._book(slot, size_bytes)

    def _book(self, slot: Slot, size_bytes: int) -> None:
        if self.bytes_per_second is None:
            return
        more = (size_bytes - slot.booked_bytes) / self.bytes_per_second
        slot.booked_bytes = size_bytes
        self._free_at += more
        if not slot.is_for_clip:
            self._free_for_pictures_at += more
