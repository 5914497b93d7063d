"""Signs of life of loops: each says now and then that it goes round; any thread may ask who has not for too long."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stall:
    """A loop that has not gone round for longer than it may."""

    name: str
    seconds: float
    allowed_seconds: float


class Ticks:
    """Knows of each loop when it last went round, in monotonic seconds, and for how long it may not."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._allowed: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def expect_once(self, name: str, allowed_seconds: float) -> None:
        """From now on this loop has to tick at least so often; to be started anew is no sign of life."""
        self._last.setdefault(name, self._monotonic())
        self._allowed[name] = allowed_seconds

    def tick(self, name: str) -> None:
        """Note that the loop has gone round; one that nobody expects is passed over."""
        if name in self._allowed:
            self._last[name] = self._monotonic()

    def forget(self, name: str) -> None:
        """The loop has ended as it should."""
        self._allowed.pop(name, None)
        self._last.pop(name, None)

    def stalled(self) -> list[Stall]:
        """Return the loops that are overdue, the longest silence first."""
        now = self._monotonic()
        stalls = [
            Stall(name, now - self._last.get(name, now), allowed) for name, allowed in list(self._allowed.items())
        ]
        return sorted(
            (stall for stall in stalls if stall.seconds > stall.allowed_seconds), key=lambda stall: -stall.seconds
        )
