"""Time that only the seed moves: one clock, and an event loop that waits on it and has no threads.

All that the mirror does in threads happens in the one thread of the simulation, in an order that the seed decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

BEGIN = 1_790_000_000.0
_LONGEST_STEP = 3600.0


class HangError(Exception):
    """The simulation would never end."""


class VirtualClock:
    """See clock.Clock. The wall clock may jump, the other never does."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._monotonic = 1000.0
        self._ahead = BEGIN
        self.limit = float("inf")
        """Monotonic seconds at which something hangs, for sure."""

    def now(self) -> float:
        """Unix seconds, as this machine believes."""
        return self._monotonic + self._ahead

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return self._monotonic

    def chance(self) -> float:
        """An even random number in [0, 1)."""
        return self._random.random()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock."""
        self._ahead += seconds


class _Jumping(selectors.SelectSelector):
    """Nothing ever arrives: to wait is to let the clock run."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise HangError("everything waits, and nothing will ever happen")
        if self._clock.monotonic() > self._clock.limit:
            raise HangError("a step does not come to its end")
        self._clock.advance(min(max(timeout, 0.0), _LONGEST_STEP))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on the virtual clock."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_Jumping(clock))
        self._virtual = clock
        self.set_exception_handler(lambda _loop, _context: None)  # tasks of a process that was killed

    def time(self) -> float:
        """Seconds of the virtual clock."""
        return self._virtual.monotonic()

    def run_in_executor(self, _executor: object, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run it here and now, whichever thread it was meant for."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except BaseException as error:  # noqa: BLE001  # as a thread of a pool does
            future.set_exception(error)
        return future

    def _write_to_self(self) -> None:
        """Nobody has to be woken."""


@contextlib.contextmanager
def everywhere(clock: VirtualClock) -> Iterator[None]:
    """Have all of the process live by the virtual clock."""
    with mock.patch.object(time, "time", clock.now), mock.patch.object(time, "monotonic", clock.monotonic):
        yield
