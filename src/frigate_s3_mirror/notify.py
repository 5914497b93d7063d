"""Sends messages to people through Apprise. Which ones is the announcer's to say; this owns the addresses and the tries."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from frigate_s3_mirror.announcer import Announcer, Message
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.health import Condition
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.settings import Settings

if TYPE_CHECKING:
    from apprise import Apprise

_NEXT_TRIES = (5.0, 30.0, 120.0)
"""Seconds before each further try."""


class Notifier:
    """An onlooker (see observers.Observer); Apprise is imported and used in a thread."""

    def __init__(self, settings: Settings, clock: Clock, next_tries: Sequence[float] = _NEXT_TRIES) -> None:
        self._urls = settings.notify_url.get_secret_value().split() if settings.notify_url else []
        self._clock, self._next_tries = clock, next_tries
        self._announcer = Announcer(settings.site, clock.monotonic())
        self._news = asyncio.Event()
        self._pool = ThreadPoolExecutor(1, "notify")
        self._has_ended = False

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Losses are told."""
        if any(outcome.state is State.EXPIRED for outcome in outcomes):
            self._announcer.settled(outcomes, self._clock.monotonic())
            self._news.set()

    def health_changed(self, condition: Condition, since: float) -> None:  # DEGRADED and DOWN are one here
        """Lasting trouble is told, and its end."""
        self._announcer.health(condition, self._clock.monotonic())
        self._news.set()

    def proved(self) -> None:
        """Nothing to tell anybody."""

    async def regularly(self) -> None:
        """Send what is due, for ever."""
        run = asyncio.get_running_loop().run_in_executor
        if self._has_ended:  # it is run anew
            self._pool = ThreadPoolExecutor(1, "notify")
        try:
            usable = await run(self._pool, _usable, self._urls)
            while usable:
                await self._wait()
                for message in self._announcer.due(self._clock.monotonic()):
                    for number, target in usable.items():
                        await self._deliver(number, target, message)
        finally:
            self._has_ended = True
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _wait(self) -> None:
        """Until something happens, or the announcer's time has come."""
        due = self._announcer.next_at()
        wait = None if due is None else max(0.0, due - self._clock.monotonic())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._news.wait()
        self._news.clear()

    async def _deliver(self, number: int, target: Apprise, message: Message) -> None:
        for wait in (*self._next_tries, None):
            if await asyncio.get_running_loop().run_in_executor(self._pool, deliver, target, message):
                return
            if wait is None:
                break
            if wait == self._next_tries[0]:
                logger().warning(
                    "S3 snapshot mirror: a message to address %d of S3_NOTIFY_URL could not be sent; trying again up to %d times",
                    number, len(self._next_tries),
                )  # fmt: skip
            await asyncio.sleep(wait)
        logger().error("S3 snapshot mirror: a message to address %d of S3_NOTIFY_URL was given up", number)


# -- in the thread -----------------------------------------------------------------------------------------------------


def _usable(urls: Sequence[str]) -> dict[int, Apprise]:
    """The addresses that Apprise understands, by their number; each is tried for itself."""
    found: dict[int, Apprise] = {}
    for number, target in targets(urls).items():
        if target is None:
            logger().error("S3 snapshot mirror: Apprise does not understand address %d of S3_NOTIFY_URL", number)
        else:
            found[number] = target
    return found


def targets(urls: Sequence[str]) -> dict[int, Apprise | None]:
    """Return what Apprise makes of each address, by its number; None for one that it does not understand."""
    _silence("apprise", "urllib3", "requests")
    from apprise import Apprise, AppriseAsset

    asset = AppriseAsset(app_id="frigate-s3-mirror", app_desc="Frigate S3 mirror", async_mode=False)
    found: dict[int, Apprise | None] = {}
    for number, url in enumerate(urls, 1):
        try:
            service = Apprise.instantiate(url, asset=asset)
        except Exception:  # noqa: BLE001  # any of a hundred plugins: its text may hold the address
            service = None
        found[number] = None if service is None else Apprise(service, asset=asset)
    return found


def _silence(*names: str) -> None:
    """What libraries log holds addresses, and those hold passwords."""
    for name in names:
        library = logging.getLogger(name)
        library.handlers[:] = [logging.NullHandler()]
        library.propagate = False
        library.setLevel(logging.CRITICAL + 1)


def deliver(target: Apprise, message: Message) -> bool:
    """Send once; return whether it was taken."""
    from apprise import NotifyType

    kind = NotifyType.SUCCESS if message.is_good else NotifyType.WARNING
    try:
        return bool(target.notify(body=message.body, title=message.title, notify_type=kind))
    except Exception:  # noqa: BLE001  # any of a hundred plugins: its text may hold the address
        return False
