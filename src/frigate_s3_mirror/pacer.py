"""Keeps the average upload rate under S3_BANDWIDTH_LIMIT; pure but for its lock, whole objects at a time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pacer:
    """Says how long to wait before sending so many bytes. Without a limit it never waits.

    Pictures wait for pictures alone, and clips for both, so that a long segment never holds up a picture. What clips had
    reserved by then may overlap with it: the average is kept, the moment is not. May be used from several threads.
    """

    bytes_per_second: int | None
    _free_at: float = 0.0
    _free_for_pictures_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reserve(self, size_bytes: int, now: float, *, clip: bool = False) -> float:
        """Seconds to wait before sending; the line is taken as busy afterwards. `now` is monotonic seconds."""
        if self.bytes_per_second is None:
            return 0.0
        takes = size_bytes / self.bytes_per_second
        with self._lock:
            start = max(now, self._free_at if clip else self._free_for_pictures_at)
            if not clip:
                self._free_for_pictures_at = start + takes
            self._free_at = max(self._free_at, now) + takes
        return start - now
