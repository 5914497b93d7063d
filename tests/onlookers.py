"""What tests of observers share: outcomes, a clock that jumps, log lines, and a loop that ends when something came true."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from frigate_s3_mirror.clock import SystemClock
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.observers import Observer


def outcome(number: int, state: State, camera: str = "yard") -> Outcome:
    """What became of event `number`."""
    event = Event(f"{number}.5-abcdef", camera, "car", None, float(number), number + 1.0, True, (), None, False)
    name = f"{camera}-{event.id}.jpg"
    return Outcome(Entry(number, event, Kind.SNAPSHOT, name, name, State.PENDING, float(number)), state, 0, 0, 0.0)


class JumpingClock(SystemClock):
    """Runs as the machine's, and jumps ahead when told."""

    ahead = 0.0

    def monotonic(self) -> float:
        """Seconds that only tests let jump."""
        return super().monotonic() + self.ahead


@contextmanager
def log_lines() -> Iterator[list[str]]:
    """The package's log lines as they come."""
    lines: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    keeper, level = Keeper(), logger().level
    logger().addHandler(keeper)
    logger().setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        logger().removeHandler(keeper)
        logger().setLevel(level)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Let the loop run until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)


class Running:
    """Runs an observer around a block: `async with Running(observer): ...`."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._observer.regularly())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
