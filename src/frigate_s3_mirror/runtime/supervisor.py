"""Keeps coroutines going for ever: one that raises is logged, counted and started anew after a growing pause.

It knows no domain. A coroutine that returns has done what it had to do, and is not started again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
STABLE_SECONDS = 60.0
"""A run of this length ends a series of failures."""
TELL_AGAIN_SECONDS = 600.0
"""The same failure again and again is told this often."""


class Supervisor:
    """Runs loops by name; all in one event loop.

    Args:
        logger: where failures are told, with their traceback.
        program: what a line begins with.
    """

    def __init__(
        self,
        logger: logging.Logger,
        program: str,
        *,
        first_pause: float = FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self._logger, self._program = logger, program
        self._first_pause, self._longest_pause = first_pause, longest_pause
        self.restarts: Counter[str] = Counter()
        """How often each loop had to be started anew."""

    async def keep(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run `loop()` until it returns, however often it raises. Cancellation passes through."""
        failures, told, tell_again_at = 0, "", 0.0
        while True:
            began = time.monotonic()
            try:
                await loop()
            except Exception as error:  # outermost frame of every loop: told, counted, started anew
                now, reason = time.monotonic(), f"{type(error).__name__}: {error}"
                failures = 1 if now - began >= STABLE_SECONDS else failures + 1
                self.restarts[name] += 1
                pause = min(self._first_pause * 2.0 ** min(failures - 1, 20), self._longest_pause)
                if reason != told or now >= tell_again_at:
                    told, tell_again_at = reason, now + TELL_AGAIN_SECONDS
                    self._logger.exception("%s: %s failed, starting it anew", self._program, name)
                await asyncio.sleep(pause)
            else:
                return
