"""When Frigate's API is asked what, and who hears of it: FRIGATE_SOURCE=api's eye, beside which the scan goes on as ever.

Running events are asked for every second, unless Frigate tells of them over MQTT. What began lately is asked for at
S3_SCAN_INTERVAL in either case: Frigate says nothing over MQTT of events that were made by hand, and these few requests
also find what a message did not. All events are asked for at the start, after a silence, and every hour.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from frigate_s3_mirror.api_clip_feed import ApiClipFeed
from frigate_s3_mirror.api_expected import ExpectedRows, Seen
from frigate_s3_mirror.api_feed import ApiFeed, News
from frigate_s3_mirror.api_full_pass import FullPass
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.events import Event, FrigateError
from frigate_s3_mirror.frigate_api import ApiError, FrigateApi, LoginRefusedError
from frigate_s3_mirror.frigate_copy import FrigateCopy
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.runtime.problem_log import ProblemLog
from frigate_s3_mirror.settings import Settings

POLL_SECONDS = 1.0
FULL_SECONDS = 3600.0
_CLIP_SECONDS = 5.0
_STRAGGLER_SECONDS = 60.0
"""How often events that run are asked for by name while MQTT tells of them: a message can be lost."""
_OVERLAP_SECONDS = 2.0  # for which both ways are used when MQTT begins, so that nothing falls between them
_LONGEST_PAUSE = 5.0  # between two tries while Frigate does not answer
_REFUSED_PAUSE = 30.0  # while it refuses the login, which is not tried again for minutes


class ApiLoop:
    """Keeps the copy of Frigate's tables up to date; owns the thread in which Frigate is asked."""

    def __init__(self, settings: Settings, api: FrigateApi, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._copy = FrigateCopy(settings.event_database)
        self._feed = ApiFeed(api, self._copy)
        self._clips = ApiClipFeed(api, self._copy, settings) if settings.has_clips else None
        self._full = FullPass(self._feed, self._clips, clock)
        self._pool = ThreadPoolExecutor(1, "frigate api")
        self.problem: str | None = None
        """See scan_loop.Remote."""
        self.is_whole = False
        """See scan_loop.Remote."""
        self.has_asked = asyncio.Event()
        """All was seen once, or it was tried."""
        self.on_ended: Callable[[Sequence[str]], object] = _nobody
        """Called in the event loop with ids of events whose files are whole."""
        self.on_seen_in_full: Callable[[], object] = _nobody
        """Called when a pass over all events, or over all that belongs to clips, brought something."""
        self.on_problem: Callable[[FrigateError], object] = _nobody
        """Called for each round in which Frigate could not be asked."""
        self.on_back: Callable[[], Awaitable[object]] = _nothing
        """Called when it answers again."""
        self.on_rows: Callable[[], object] = _nobody
        """Called when rows are new or different."""
        self.on_round: Callable[[], object] = _nobody
        """Called after each round that went well."""
        self._is_met = False
        self._is_listening = self._was_listening = False
        self._expected = ExpectedRows()
        self._next_poll = self._next_recent = self._next_full = self._next_clips = self._next_straggler = 0.0
        self._polls_until = math.inf
        self._times_made = 0
        self._pause = POLL_SECONDS
        self._clip_problem = ProblemLog(logger(), "S3 clips: %s Trying again.", monotonic=clock.monotonic)
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Open the copy, which others read."""
        try:
            self._copy.open()
        except FrigateError as error:
            self._fail(error)  # tried again when it is used

    def close(self) -> None:
        """Give the copy back after what is under way, which may hang in the network and is not waited for."""
        with contextlib.suppress(RuntimeError):  # closed before
            self._pool.submit(self._copy.close)
        self._pool.shutdown(wait=False)

    # -- what Frigate's messages tell (see frigate_messages.Hinted); from any thread ---------------------------------

    def hint(self, event: Event, frame_at: float | None) -> None:
        """This event runs."""
        self._in_loop(lambda: self._expect(self._expected.runs, event.id))

    def ended(self, event_id: str) -> None:
        """It is over."""
        self._in_loop(lambda: self._expect(self._expected.ended, event_id))

    def listening(self, is_listening: bool) -> None:  # noqa: FBT001
        """Whether Frigate's messages come at all."""
        self._is_listening = is_listening
        self._in_loop(self._news.set)

    def _expect(self, expect: Callable[[str, float], None], event_id: str) -> None:
        expect(event_id, self._clock.monotonic())
        self._news.set()

    def _in_loop(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            if self._loop is not None:
                self._loop.call_soon_threadsafe(call)

    # -- the loop ----------------------------------------------------------------------------------------------------

    async def regularly(self) -> None:
        """Ask for ever."""
        self._loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            pause = await self._round()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, pause)):
                    await self._news.wait()

    async def everything(self) -> None:
        """One full look; what goes wrong is in `problem`."""
        try:
            await self._in_thread(self._feed.greet)
            while not await self._in_thread(self._full.step):
                pass
        except FrigateError as error:
            self._fail(error)

    async def _round(self) -> float:
        """Do what is due; returns for how many seconds nothing is."""
        try:
            if not self._is_met:
                await self._in_thread(self._feed.greet)
                self._is_met = True
            await self._look(self._clock.monotonic())
            if self.problem is not None:
                await self._well()
            self.on_round()
            return self._rest(self._clock.monotonic())
        except LoginRefusedError as error:
            self._fail(error)
            self.has_asked.set()
            return _REFUSED_PAUSE
        except FrigateError as error:
            self._fail(error)
        except Exception:  # noqa: BLE001  # outermost frame of the loop: told, and the next round tries again
            logger().exception("S3 snapshot mirror: asking Frigate failed; trying again")
        self.has_asked.set()
        self._pause = min(self._pause * 1.5, _LONGEST_PAUSE)
        return self._pause

    async def _look(self, now: float) -> None:
        self._notice_listening(now)
        await self._ask_for_expected()
        if now >= self._next_poll and now < self._polls_until:
            self._next_poll = now + POLL_SECONDS
            await self._hear(await self._in_thread(self._feed.running))
        if now >= self._next_recent:
            self._next_recent = now + self._settings.scan_interval
            await self._hear(await self._in_thread(self._feed.recent, self._clock.now()))
        if now >= max(self._next_straggler, self._polls_until):
            self._next_straggler = now + _STRAGGLER_SECONDS
            await self._look_for_stragglers()
        if self._copy.times_made != self._times_made:
            self._times_made, self._next_full, self.is_whole = self._copy.times_made, 0.0, False
        if now >= self._next_full:
            await self._look_in_full(now)
        elif self._clips is not None and now >= self._next_clips:
            self._next_clips = now + _CLIP_SECONDS
            await self._look_at_clips(self._clips)

    def _rest(self, now: float) -> float:
        due = [self._next_recent, self._next_full, self._expected.next_at()]
        if now < self._polls_until:
            due.append(self._next_poll)
        if self._clips is not None:
            due.append(self._next_clips)
        return min(due) - now

    def _notice_listening(self, now: float) -> None:
        """When Frigate's messages begin to come, or come no more, look once more by asking."""
        if self._is_listening == self._was_listening:
            return
        self._was_listening = self._is_listening
        self._polls_until = now + _OVERLAP_SECONDS if self._is_listening else math.inf
        self._next_poll = self._next_recent = now
        way = "over MQTT as they happen" if self._is_listening else "by asking every second"
        logger().info("S3 snapshot mirror: Frigate's events are learnt of %s", way)

    async def _hear(self, news: News) -> None:
        if news.ready:
            self.on_ended(news.ready)
        for event_id in news.gone:
            self._expected.ended(event_id, self._clock.monotonic(), is_known=True)
        if news.changed:
            self.on_rows()
        await self._ask_for_expected()

    async def _look_in_full(self, now: float) -> None:
        """One step of it, so that what is urgent comes in between."""
        had_seen_events = self._full.has_seen_events
        is_over = await self._in_thread(self._full.step)
        if self._full.has_seen_events:
            self.is_whole = True
            self.has_asked.set()
        if is_over:
            self._next_full = now + FULL_SECONDS
        if self._full.has_changed and (is_over or self._full.has_seen_events > had_seen_events):
            self.on_seen_in_full()

    async def _look_at_clips(self, clips: ApiClipFeed) -> None:
        """A camera's recordings that are refused hold up nothing else."""
        windows = await self._in_thread(clips.unfinished, self._clock.now())
        problem = None
        looks = [partial(clips.look, window) for window in windows]
        for look in (*looks, partial(clips.recent_reviews, windows, self._feed.version)):
            try:
                await self._in_thread(look)
            except ApiError as error:
                problem = str(error)
            await self._ask_for_expected()
        if problem is None:
            self._clip_problem.clear()
        else:
            self._clip_problem.report(problem)

    async def _look_for_stragglers(self) -> None:
        """Ask once for each event that is said to run."""
        for event_id in await self._in_thread(self._copy.running):
            self._expected.check(event_id, self._clock.monotonic())

    async def _ask_for_expected(self) -> None:
        """One event that cannot be asked for holds up nothing: the other looks notice when Frigate is away."""
        for event_id in self._expected.due(self._clock.monotonic()):
            try:
                seen = await self._in_thread(self._feed.event, event_id)
            except ApiError:
                seen = Seen.UNKNOWN
            self._expected.settle(event_id, seen, self._clock.monotonic())
            if seen in {Seen.RUNNING, Seen.ENDED}:
                self.on_rows()
            if seen is Seen.ENDED:
                self.on_ended([event_id])

    # -- good and bad days -------------------------------------------------------------------------------------------

    def _fail(self, error: FrigateError) -> None:
        """A full pass follows when it is over: what happened meanwhile was not seen."""
        self.problem = str(error)
        self._is_met, self._next_full = False, 0.0
        self._full.begin_again()
        self.on_problem(error)

    async def _well(self) -> None:
        self.problem = None
        self._pause = POLL_SECONDS
        await self.on_back()

    async def _in_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def _nobody(*_: object) -> Any:
    """Nobody wants to know."""


async def _nothing() -> None:
    """Nothing is to be done."""
