"""The ledger's own thread: calls run there one after the other, so that no wait for the disk holds up the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import is_damage
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger


class LedgerThread:
    """Runs ledger calls; notices when SQLite finds the file damaged."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.ledger, self._clock = ledger, clock
        self.on_damage: Callable[[], None] = lambda: None
        self.damage: str | None = None
        """What SQLite said when it found the file damaged."""
        self._pool = ThreadPoolExecutor(1, "ledger")

    async def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """The result of a ledger method, run in the ledger's thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        except sqlite3.Error as error:
            self._look_at(error)
            raise

    def lane(self, *, clips: bool) -> Lane:
        """The backlog of pictures, or that of clips."""
        return Lane(self, self._clock, clips=clips)

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """See uploader.Backlog."""
        await self.call(self.ledger.settle, outcomes)

    async def release(self) -> None:
        """See uploader.Backlog."""
        await self.call(self.ledger.release)

    def soon(self, function: Callable[..., object], *arguments: object) -> None:
        """Run this after what is under way, and do not wait for it; what goes wrong is logged."""
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._pool, self._run_alone, loop, function, *arguments)

    def _run_alone(self, loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
        """Outermost frame of a call that nobody waits for."""
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001  # told, and the next call goes on
            logger().exception(
                "S3 snapshot mirror: a call of the ledger failed (%s)", getattr(function, "__name__", function)
            )
            if isinstance(error, sqlite3.Error):
                with contextlib.suppress(RuntimeError):  # the loop has ended, and the service with it
                    loop.call_soon_threadsafe(self._look_at, error)

    def _look_at(self, error: sqlite3.Error) -> None:
        """Once the file itself is broken, the service must end."""
        if is_damage(error) and self.damage is None:
            self.damage = str(error)
            self.ledger.suspect()
            self.on_damage()

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown()


class Lane:
    """Pictures, or clips: one uploader's share of the ledger; see uploader.Backlog."""

    def __init__(self, calls: LedgerThread, clock: Clock, *, clips: bool) -> None:
        self._calls, self._clock, self._clips = calls, clock, clips
        self.settle, self.release = calls.settle, calls.release

    async def due(self, limit: int, known: frozenset[int]) -> list[Entry]:
        """See uploader.Backlog."""
        ask = partial(self._calls.ledger.due, clips=self._clips)
        return await self._calls.call(ask, State.PENDING, self._clock.now(), limit, known)  # type: ignore[no-any-return]

    async def next_due(self) -> float | None:
        """See uploader.Backlog."""
        ask = partial(self._calls.ledger.next_due, clips=self._clips)
        return await self._calls.call(ask, self._clock.now())  # type: ignore[no-any-return]
