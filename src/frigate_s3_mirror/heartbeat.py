"""The heartbeat: an upload proves that S3 works; an idle service proves it with a small object under the prefix."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from frigate_s3_mirror import __version__
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.keys import own_key, site_name
from frigate_s3_mirror.retry import Circuit
from frigate_s3_mirror.s3 import Store, Upload
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.uploader import Uploader


class Heartbeat:
    """Writes the object at the start, and when nothing else was written for S3_HEARTBEAT_INTERVAL."""

    def __init__(self, settings: Settings, store: Store, uploader: Uploader, clock: Clock) -> None:
        self._settings, self._store, self._uploader, self._clock = settings, store, uploader, clock
        self._pool = ThreadPoolExecutor(1, "heartbeat")

    def close(self) -> None:
        """A request that hangs must not hold up the end."""
        self._pool.shutdown(wait=False)

    async def regularly(self, afterwards: Callable[[], Awaitable[None]]) -> None:
        """Beat for ever; `afterwards` is called after each beat."""
        interval = self._settings.heartbeat_interval
        while True:
            last, breaker = self._uploader.last_success_at, self._uploader.breaker
            wait = 0.0 if last is None else last + interval - self._clock.now()
            if breaker.circuit is Circuit.OPEN:
                wait = max(wait, breaker.opened_until - self._clock.monotonic())
            if wait > 0:
                await asyncio.sleep(min(wait, interval))
            elif self._uploader.may_start():
                await self._beat()
                await afterwards()
            else:
                await asyncio.sleep(1)

    async def _beat(self) -> None:
        content = {"site": self._settings.site, "version": __version__, "at": round(self._clock.now(), 3)}
        body = json.dumps(content).encode()
        key = own_key(self._settings, f"{site_name(self._settings)}.json")
        upload = Upload(key, body, len(body), "application/json", {})
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._store.put, upload)
        except StoreError as error:
            self._uploader.note_failure(error)
            self._uploader.problem = self._uploader.problem or str(error)
        else:
            self._uploader.note_success()
