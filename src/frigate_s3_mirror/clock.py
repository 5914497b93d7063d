"""Time and chance as parameters, so that tests can hand in their own."""

from __future__ import annotations

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where time and chance come from."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump."""
        ...

    def chance(self) -> float:
        """An even random number in [0, 1)."""
        ...


class SystemClock:
    """The machine's own."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    def chance(self) -> float:
        """An even random number in [0, 1)."""
        return random.random()  # noqa: S311  # spreads retries, guards nothing
