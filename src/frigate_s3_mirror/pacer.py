"""Keeps the average upload rate under S3_BANDWIDTH_LIMIT; pure, whole objects at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Pacer:
    """Says how long to wait before sending so many bytes. Without a limit it never waits."""

    bytes_per_second: int | None
    _free_at: float = 0.0

    def reserve(self, size_bytes: int, now: float) -> float:
        """Seconds to wait before sending; the line is taken as busy afterwards. `now` is monotonic seconds."""
        if self.bytes_per_second is None:
            return 0.0
        start = max(now, self._free_at)
        self._free_at = start + size_bytes / self.bytes_per_second
        return start - now
