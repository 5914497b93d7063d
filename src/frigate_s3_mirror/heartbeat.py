"""The heartbeat object: says how the mirror does to whoever reads the bucket, and proves that S3 takes uploads.

It is written at the start, every S3_HEARTBEAT_INTERVAL, and when the health becomes another one; `fleet` reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.health import Health
from frigate_s3_mirror.keys import own_key, site_name
from frigate_s3_mirror.retry import Circuit, ErrorClass
from frigate_s3_mirror.s3 import Store, Upload
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.uploader import Uploader

SHORTEST_PAUSE = 10.0
"""Seconds between two, however often the health changes."""
_AFTER_FAILURE = 1.0  # the breaker makes it longer
_AFTER_REFUSAL = 300.0
_FIRST_PATIENCE = 3.0  # seconds that the first one waits for something to say

Content = Callable[[], Awaitable[dict[str, Any]]]
"""What the object shall hold, as JSON-ready values."""


class Heartbeat:
    """Writes the object; owns the thread in which that happens."""

    def __init__(self, settings: Settings, store: Store, uploader: Uploader, content: Content, clock: Clock) -> None:
        self._settings, self._store, self._uploader, self._clock = settings, store, uploader, clock
        self._content = content
        self._changed = asyncio.Event()
        self._next_at = 0.0
        self._written_at = float("-inf")
        self._written: dict[str, Any] = {}
        self._pool = ThreadPoolExecutor(1, "heartbeat")

    def close(self) -> None:
        """A request that hangs must not hold up the end."""
        self._pool.shutdown(wait=False)

    def health_changed(self, health: Health) -> None:
        """Write it soon, unless the object has just foretold it."""
        if health == self._written.get("health") and self._clock.monotonic() - self._written_at < SHORTEST_PAUSE / 2:
            return
        self._next_at = min(self._next_at, self._written_at + SHORTEST_PAUSE)
        self._changed.set()

    def renew(self) -> None:
        """What there was at the start is compared and sent: the object says so soon."""
        self._next_at = min(self._next_at, self._written_at + SHORTEST_PAUSE)
        self._changed.set()

    async def regularly(
        self, afterwards: Callable[[], Awaitable[None]], tick: Callable[[], None] = lambda: None
    ) -> None:
        """Beat for ever; `afterwards` is called after each beat, `tick` each time it goes round."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_PATIENCE):
                await self._changed.wait()
        while True:
            tick()
            self._changed.clear()
            wait, breaker = self._next_at - self._clock.monotonic(), self._uploader.breaker
            if breaker.circuit is Circuit.OPEN:
                wait = max(wait, breaker.opened_until - self._clock.monotonic())
            if wait > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(wait, self._settings.heartbeat_interval)):
                        await self._changed.wait()
            elif self._uploader.may_start():
                self._next_at = self._clock.monotonic() + await self._beat()
                await afterwards()
            else:
                await asyncio.sleep(1)

    async def _beat(self) -> float:
        """Returns the seconds until the next one."""
        content = await self._content()
        body = json.dumps(content, ensure_ascii=False, indent=1).encode()
        key = own_key(self._settings, f"{site_name(self._settings)}.json")
        upload = Upload(key, body, len(body), "application/json", {})
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._store.put, upload)
        except StoreError as error:
            self._uploader.note_failure(error)
            self._uploader.problem = self._uploader.problem or str(error)
            return _AFTER_REFUSAL if error.error_class is ErrorClass.OBJECT else _AFTER_FAILURE
        self._uploader.note_success()
        self._written_at, self._written = self._clock.monotonic(), content
        return self._settings.heartbeat_interval
