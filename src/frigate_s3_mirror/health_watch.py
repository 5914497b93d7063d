"""The health of a running service: lived anew each time it is asked for, and told to whoever wants to know it.

It heals nothing. What it is judged from lies in memory, so that neither a full disk nor a ledger that hangs can make it
say OK; any thread may ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from frigate_s3_mirror import __version__
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.discovery import Discovery
from frigate_s3_mirror.events import Filters, FrigateError
from frigate_s3_mirror.filter_check import FilterWatch
from frigate_s3_mirror.frigate_access import FrigateAccess
from frigate_s3_mirror.health import MISSING_SECONDS, Condition, Facts, Health, Lane, Vital, judge_health
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger_thread import LedgerThread
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import is_stuck, logger
from frigate_s3_mirror.observers import Observer, tell_all
from frigate_s3_mirror.overdue import OverdueScan
from frigate_s3_mirror.reports import Prove
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.runtime.problem_log import ProblemLog
from frigate_s3_mirror.runtime.ticks import Ticks
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sign_of_life import EVERY_SECONDS, SignOfLife
from frigate_s3_mirror.unmoved import Movement
from frigate_s3_mirror.uploader import Uploader

_STARTING = Condition(Health.DEGRADED, "Starting. Nothing to do yet.")
_LOOK_SECONDS = 5.0
"""Between two looks at what lies in memory, at most."""
_MEASURE_SECONDS = 30.0
_MEASURE_AT_LEAST_SECONDS = 240.0
_MEASURE_SHARE = 20.0
"""Counting in a large ledger takes a while; it shall never be more than a twentieth of the time."""


class HealthWatch:
    """Connects the parts that can be in trouble with `status`, the log, the heartbeat object and the onlookers.

    It owns the health that was told last, and since when it is so.
    """

    def __init__(
        self,
        settings: Settings,
        calls: LedgerThread,
        clock: Clock,
        *,
        discovery: Discovery,
        frigate: FrigateAccess,
        lanes: tuple[Uploader, Uploader],
        prove: Prove,
        observers: Sequence[Observer],
        ticks: Ticks,
        say: Callable[[SignOfLife], None],
        restarts: Mapping[str, int],
        limits: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """`limits` tells what the server was found to refuse, a sentence each; `say` gives the sign of life."""
        self._settings, self._calls, self._ledger, self._clock = settings, calls, calls.ledger, clock
        self._discovery, self._frigate, self._prove, self._observers = discovery, frigate, prove, observers
        self._lanes, self._ticks, self._say, self._restarts = lanes, ticks, say, restarts
        self._limits = limits
        self._pictures = lanes[0]
        self._wanted = Filters(settings.cameras, settings.labels).sql()
        self._overdue = OverdueScan(calls.ledger.path, frigate.database)
        self._filters = FilterWatch(settings, frigate.database, clock)
        self.on_change: Callable[[Health], None] = lambda _health: None
        """Called before all others when health becomes another word."""
        self._condition = _STARTING
        self._since = self._started_at = clock.now()
        self._proved_at: float | None = None
        self._said_at = float("-inf")
        self._logged: tuple[Health, bool] | None = None
        self._filter_problem: str | None = None
        self._folder_problem: str | None = None
        self._ledger_problem: str | None = None
        self._due = {lane: Movement() for lane in (False, True)}
        """By whether it is the lane of clips."""
        self._missing = Movement()
        self._has_changed = asyncio.Event()
        self._measuring = ProblemLog(logger(), "S3 snapshot mirror: health cannot be measured in full: %s")
        self.is_starting = True
        """Until what was there at the start has been compared and sent, once."""

    # -- what anybody may ask, from any thread -----------------------------------------------------------------------

    def condition(self, *, if_s3_takes_this: bool = False) -> Condition:
        """The health now, with its reason; for what S3 is to keep, as it is once S3 has taken that."""
        return judge_health(self._facts(if_s3_takes_this=if_s3_takes_this))

    def vital(self) -> Vital:
        """What the service says of itself now."""
        condition = self.condition()
        since = self._since if condition.health is self._condition.health else self._clock.now()
        return Vital(condition, since, self._started_at, self._waits_for(), dict(self._restarts))

    def _waits_for(self) -> str | None:
        """Why all pictures wait: S3 takes nothing now."""
        return self._pictures.problem

    def _facts(self, *, if_s3_takes_this: bool) -> Facts:
        monotonic = self._clock.monotonic()
        return Facts(
            has_proof=if_s3_takes_this or self._pictures.last_success_at is not None,
            frigate_problem=self._discovery.problem,
            folder_problem=self._folder_problem,
            filter_problem=self._filter_problem,
            lanes=[self._lane(lane, monotonic, if_s3_takes_this=if_s3_takes_this) for lane in self._lanes],
            ledger_problem=self._ledger_problem,
            missing=self._missing.unmoved(monotonic),
            scan_interval=self._settings.scan_interval,
            stalled=self._ticks.stalled(),
            nobody_reads_the_log=is_stuck(),
        )

    def _lane(self, lane: Uploader, monotonic: float, *, if_s3_takes_this: bool) -> Lane:
        return Lane(
            due=self._due[lane.is_for_clips].unmoved(monotonic),
            in_flight=lane.in_flight,
            dead_workers=lane.dead_workers,
            s3_problem=None if if_s3_takes_this else lane.problem,
            is_configuration=lane.breaker.error_class is ErrorClass.CONFIGURATION,
            ledger_problem=lane.ledger_problem,
        )

    # -- the loops ---------------------------------------------------------------------------------------------------

    async def watch(self, *, quiet: bool = False) -> None:
        """Look and tell, for ever; when `quiet`, only other processes that ask."""
        while True:
            await self.note(quiet=quiet)
            self._ticks.tick("health")
            await asyncio.sleep(min(_LOOK_SECONDS, self._settings.scan_interval))

    async def measure(self) -> None:
        """Count what should move, for ever."""
        while True:
            began = self._clock.monotonic()
            await self._measure()
            self._ticks.tick("health measurement")
            pause = _MEASURE_SHARE * (self._clock.monotonic() - began)
            await asyncio.sleep(min(max(_MEASURE_SECONDS, pause), _MEASURE_AT_LEAST_SECONDS))

    async def keep(self) -> None:
        """Write health to the ledger when it changed and every minute: so it shows whether that can be written at all."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._keep_pause):
                    await self._has_changed.wait()
            self._has_changed.clear()
            await self._calls.call(self._keep_condition)
            self._ticks.tick("ledger")

    @property
    def _keep_pause(self) -> float:
        return EVERY_SECONDS if self._ledger_problem is None else _LOOK_SECONDS

    def note_start(self) -> None:
        """The service begins; runs in the ledger's thread."""
        now = self._clock.now()
        with self._noticing_the_ledger():
            self._ledger.note(
                pid=os.getpid(), version=__version__, started_at=now, stopped_at=None,
                health=_STARTING.health, reason=_STARTING.reason, health_since=now, alive_at=now, limits=(),
            )  # fmt: skip

    async def note(self, *, quiet: bool = False) -> None:
        """Keep the health for `status`, and tell of each change."""
        self._folder_problem = await asyncio.to_thread(self._find_folder_problem)
        condition = self.condition()
        self._log(condition, quiet=quiet)
        if condition == self._condition:
            await self._give_sign(even_if_fresh=False)
            return
        if condition.health is not self._condition.health:
            self._since = self._clock.now()
            self.on_change(condition.health)
        self._condition = condition
        tell_all(self._observers, lambda observer: observer.health_changed(condition, self._since))
        self._has_changed.set()
        await self._give_sign(even_if_fresh=True)

    def _log(self, condition: Condition, *, quiet: bool) -> None:
        """Another word is told; that S3 has taken nothing yet is none."""
        has_begun = self._pictures.last_success_at is not None or self._pictures.problem is not None
        if (
            not quiet
            and (condition.health, condition.must_act) != self._logged
            and (has_begun or condition.health is not Health.DEGRADED)
        ):
            self._logged = (condition.health, condition.must_act)
            logger().info("%s", f"S3 snapshot mirror health={condition.health} {condition.reason}".rstrip())

    async def after_heartbeat(self) -> None:
        """`status` tells from a fact when S3 last answered an idle service; onlookers hear of the answer itself."""
        await self.note()
        if self._pictures.last_success_at != self._proved_at:
            self._proved_at = self._pictures.last_success_at
            tell_all(self._observers, lambda observer: observer.proved())
        await self._calls.call(self._keep_answer)

    async def own_words(self) -> dict[str, Any]:
        """What the heartbeat object says of this site; `fleet` reads it."""
        now, missing = self._clock.now(), None
        condition = self.condition(if_s3_takes_this=True)
        since = self._since if condition.health is self._condition.health else now
        if not self.is_starting:
            with contextlib.suppress(FrigateError):  # told by the scan
                missing = (await self._prove(now - 86400)).missing
        return {
            "site": self._settings.site, "version": __version__, "at": round(now, 3), "interval": self._settings.heartbeat_interval,
            "started_at": round(self._started_at, 3), "health": condition.health, "reason": condition.reason,
            "health_since": round(since, 3), "starting": self.is_starting, "missing_24h": missing,
            **await self._calls.call(self._ledger_in_short, now),
        }  # fmt: skip

    def close(self) -> None:
        """May be called twice."""
        self._overdue.close()

    # -- measuring ---------------------------------------------------------------------------------------------------

    async def _measure(self) -> None:
        try:
            for lane in self._lanes:
                await self._measure_due(lane)
            await self._measure_missing()
            self._measuring.clear()
        except (sqlite3.OperationalError, FrigateError) as error:  # each is told where it hurts
            self._measuring.report(str(error))

    async def _measure_due(self, lane: Uploader) -> None:
        movement = self._due[lane.is_for_clips]
        if lane.problem is not None:
            movement.begin_anew()
            return
        count = partial(self._ledger.due_upto, movement.mark, self._clock.now(), clips=lane.is_for_clips)
        upto, total, newest = await self._calls.call(count)
        movement.see(upto, total, newest, self._clock.monotonic())

    async def _measure_missing(self) -> None:
        if self._pictures.problem is not None or self._discovery.problem is not None:
            self._missing.begin_anew()
            return
        if Kind.SNAPSHOT in self._settings.picture_kinds:
            await self._count_missing(self._clock.now())
        self._filter_problem = await asyncio.to_thread(self._filters.look)

    async def _count_missing(self, now: float) -> None:
        count = partial(self._overdue.count, self._missing.mark, now, MISSING_SECONDS, self._wanted)
        found = await asyncio.to_thread(count)
        self._missing.see(found.upto_mark, found.total, now - MISSING_SECONDS, self._clock.monotonic())

    def _find_folder_problem(self) -> str | None:
        """What is wrong with Frigate's folders, as far as they are used."""
        problem = self._frigate.clips_folder.problem()
        return problem or (self._frigate.recordings_folder.problem() if self._settings.has_clips else None)

    # -- keeping -----------------------------------------------------------------------------------------------------

    async def _give_sign(self, *, even_if_fresh: bool) -> None:
        """For other processes, past the ledger, whose disk may be full."""
        now = self._clock.now()
        if not even_if_fresh and 0 <= now - self._said_at < EVERY_SECONDS:
            return
        condition = self._condition
        all_wait = self._waits_for() is not None
        sign = SignOfLife(condition.health.value, condition.reason, self._since, now, condition.must_act, all_wait)
        with contextlib.suppress(OSError):  # then its age tells
            await asyncio.to_thread(self._say, sign)
            self._said_at = now

    @contextlib.contextmanager
    def _noticing_the_ledger(self) -> Iterator[None]:
        """Each write tells whether the ledger can be written; in its thread."""
        try:
            yield
            self._ledger_problem = None
        except sqlite3.OperationalError as error:
            self._ledger_problem = f"The ledger cannot be written ({error}); is its disk full?"

    def _keep_condition(self) -> None:
        with self._noticing_the_ledger():
            self._ledger.note(
                health=self._condition.health, reason=self._condition.reason, health_since=self._since, alive_at=self._clock.now(),
                limits=self._limits(),
            )  # fmt: skip

    def _keep_answer(self) -> None:
        with self._noticing_the_ledger():
            self._ledger.note(s3_answered_at=self._pictures.last_success_at, alive_at=self._clock.now())

    def _ledger_in_short(self, now: float) -> dict[str, Any]:
        counts, oldest, last = self._ledger.counts(), self._ledger.oldest_pending(), self._ledger.last_uploaded()
        return {
            "backlog": counts[State.PENDING], "failed": counts[State.FAILED], "expired": counts[State.EXPIRED],
            "lag_seconds": 0.0 if oldest is None else round(max(0.0, now - oldest), 1),
            "last_upload_at": last[0] if last else None, "last_upload_key": last[1] if last else None,
        }  # fmt: skip
