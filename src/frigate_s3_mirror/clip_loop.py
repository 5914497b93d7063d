"""When clips are looked after: every second at events that could still get segments, in full at the start and every hour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from frigate_s3_mirror.clip_scan import LONGEST_SEGMENT, ClipScan
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.discovery import Record
from frigate_s3_mirror.events import FrigateError
from frigate_s3_mirror.ledger_thread import LedgerThread
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.runtime.problem_log import ProblemLog
from frigate_s3_mirror.settings import Settings

LOOK_SECONDS = 1.0
"""A look costs microseconds when nobody wrote to Frigate's database."""
_AT_LEAST_SECONDS = 5.0
_FULL_SECONDS = 3600.0
_SLACK = 900.0  # seconds by which Frigate's row of a segment may be late


class ClipLoop:
    """Finds segments and playlists that are due, and has them recorded; owns the scan's thread."""

    def __init__(self, settings: Settings, scan: ClipScan, record: Record, clock: Clock, calls: LedgerThread) -> None:
        self._settings, self._scan, self._record, self._clock, self._calls = settings, scan, record, clock, calls
        self._pool = ThreadPoolExecutor(1, "clip scan")
        self._next_full = self._next_look = 0.0
        self._problem = ProblemLog(logger(), "S3 clips: %s Trying again.", monotonic=clock.monotonic)
        self.on_round: Callable[[], object] = lambda: None
        """Called after each round that went well."""
        self._is_told = False

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown()
        self._scan.close()

    def look_in_full(self) -> None:
        """Old segments may have become known: the next look is a full one."""
        self._next_full = 0.0

    async def regularly(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self._look(self._clock.monotonic())
                self._problem.clear()
                self.on_round()
            except FrigateError as error:
                self._problem.report(str(error))
            except Exception:  # noqa: BLE001  # outermost frame of the loop: told, and the next round tries again
                logger().exception("S3 clips: the scan failed; trying again")
            await asyncio.sleep(LOOK_SECONDS)

    async def everything(self) -> int:
        """One full look; returns how many segments and playlists were new. Raises FrigateError.

        What was refused before is judged anew.
        """
        if mended := await self._in_thread(self._scan.mended):
            await self._calls.call(self._calls.ledger.forget, mended)
        found = await self._take_up(float("-inf"), urgent=False)
        if found:
            logger().info("S3 clips: %d segments and playlists to send", found)
        return found

    async def _look(self, now: float) -> None:
        changed = await self._in_thread(self._has_changed)
        if now >= self._next_full:
            self._next_full = now + _FULL_SECONDS
            await self.everything()
        elif changed or now >= self._next_look:
            self._next_look = now + _AT_LEAST_SECONDS
            reach = self._settings.clip_pre + self._settings.clip_max + self._settings.clip_post + LONGEST_SEGMENT
            await self._take_up(self._clock.now() - reach - _SLACK, urgent=True)

    def _has_changed(self) -> bool:
        opened = self._scan.ensure_open()
        if not self._is_told and self._settings.clip_severity and not self._scan.has_reviews():
            logger().warning(
                "S3 clips: this Frigate has no review items, so S3_CLIP_SEVERITY has no effect: all clips go"
            )
        self._is_told = True
        return self._scan.changed() or opened

    async def _take_up(self, since: float, *, urgent: bool) -> int:
        """Record what is missing, a bounded number at a time, and then the playlists that nothing is missing of."""
        found = 0
        for question in (self._scan.missing, self._scan.finished):
            while entries := await self._in_thread(question, since, float("inf"), self._clock.now()):
                taken = await self._record(entries, urgent)
                found += taken
                if not taken:
                    break
        return found

    async def _in_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
