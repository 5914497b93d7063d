"""Calls a watchdog's URL (healthchecks.io, Uptime Kuma, ...) as long as S3 takes what it gets; silence is the alarm."""

from __future__ import annotations

import asyncio
import http.client
import math
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from frigate_s3_mirror import __version__
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.health import Condition, Health
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.runtime.problem_log import ProblemLog

EVERY_SECONDS = 60.0
"""Between two calls, at least; a proof that is older than this calls nobody any more."""
_TIMEOUT = 10.0


class Pulse:
    """Decides when to call; all times are monotonic seconds."""

    def __init__(self) -> None:
        self._proved_at = self._called_at = -math.inf
        self._is_ok = False

    def proved(self, now: float) -> None:
        """S3 took something."""
        self._proved_at = now

    def health(self, condition: Condition) -> None:
        """Only a mirror that does all its work calls."""
        self._is_ok = condition.health is Health.OK

    def wait(self, now: float) -> float | None:
        """Seconds until a call is due, None when nothing is."""
        due = max(now, self._called_at + EVERY_SECONDS)
        is_due = self._is_ok and self._proved_at > self._called_at and due - self._proved_at <= EVERY_SECONDS
        return due - now if is_due else None

    def called(self, now: float) -> None:
        """Somebody was called, in vain or not."""
        self._called_at = now


class Watchdog:
    """An onlooker (see observers.Observer). A watchdog that does not answer concerns nobody but itself."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url, self._clock = url, clock
        self._pulse = Pulse()
        self._news = asyncio.Event()
        self._trouble = ProblemLog(
            logger(), "S3 snapshot mirror: the watchdog of S3_HEARTBEAT_URL was not reached: %s",
            "S3 snapshot mirror: the watchdog of S3_HEARTBEAT_URL is reached again", monotonic=clock.monotonic,
        )  # fmt: skip

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """A verified upload is the best proof."""
        if any(outcome.state is State.UPLOADED for outcome in outcomes):
            self.proved()

    def proved(self) -> None:
        """The heartbeat object of an idle service is as good."""
        self._pulse.proved(self._clock.monotonic())
        self._news.set()

    def health_changed(self, condition: Condition, since: float) -> None:
        """With OK, what was proved shortly before counts."""
        self._pulse.health(condition)
        self._news.set()

    async def regularly(self) -> None:
        """Call when it is due, for ever."""
        pool = ThreadPoolExecutor(1, "watchdog")
        try:
            while True:
                wait = self._pulse.wait(self._clock.monotonic())
                if wait is None:
                    await self._news.wait()
                    self._news.clear()
                elif wait > 0:
                    await asyncio.sleep(wait)
                else:
                    self._pulse.called(self._clock.monotonic())
                    self._tell(await asyncio.get_running_loop().run_in_executor(pool, call, self._url))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _tell(self, trouble: str | None) -> None:
        if trouble is None:
            self._trouble.clear()
        else:
            self._trouble.report(trouble)


def call(url: str) -> str | None:
    """GET the URL; returns what went wrong in words that do not hold the URL, or None."""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": f"frigate-s3-mirror/{__version__}"})  # noqa: S310  # a setting
        with urllib.request.urlopen(request, timeout=_TIMEOUT):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"it answered with status {error.code}"
    except urllib.error.URLError as error:
        return _in_words(error.reason)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _in_words(error)


def _in_words(error: object) -> str:
    """An exception's own text may hold the URL, the system's error text does not."""
    if isinstance(error, TimeoutError):
        return f"no answer in {_TIMEOUT:.0f} s"
    return str(getattr(error, "strerror", None) or type(error).__name__)
