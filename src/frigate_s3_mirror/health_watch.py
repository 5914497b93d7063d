"""The health of a running service: judged from its parts, and told to whoever wants to know it. It heals nothing."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from frigate_s3_mirror import __version__
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.discovery import Discovery
from frigate_s3_mirror.events import FrigateError
from frigate_s3_mirror.frigate_access import FrigateAccess
from frigate_s3_mirror.health import Condition, Health, judge_health
from frigate_s3_mirror.ledger_thread import LedgerThread
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.observers import Observer
from frigate_s3_mirror.reports import Prove
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.uploader import Uploader

_STARTING = Condition(Health.DEGRADED, "Starting.")


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
    ) -> None:
        self._settings, self._calls, self._ledger, self._clock = settings, calls, calls.ledger, clock
        self._discovery, self._frigate, self._prove, self._observers = discovery, frigate, prove, observers
        self._pictures, self._clips = lanes
        self.on_change: Callable[[Health], None] = lambda _health: None
        """Called before all others when health becomes another word."""
        self._condition = _STARTING
        self._since = self._started_at = clock.now()
        self._proved_at: float | None = None

    def condition(self, *, if_s3_takes_this: bool = False) -> Condition:
        """The health now, with its reason; for what S3 is to keep, as it is once S3 has taken that."""
        return judge_health(
            frigate_problem=self._discovery.problem,
            clips_problem=self._folder_problem(),
            s3_problem=None if if_s3_takes_this else self._pictures.problem or self._clips.problem,
            ledger_problem=self._pictures.ledger_problem or self._clips.ledger_problem,
            has_proof=if_s3_takes_this or self._pictures.last_success_at is not None,
        )

    def note_start(self) -> None:
        """The service begins; runs in the ledger's thread."""
        now = self._clock.now()
        self._ledger.note(
            pid=os.getpid(), version=__version__, started_at=now, stopped_at=None,
            health=_STARTING.health, reason=_STARTING.reason, health_since=now,
        )  # fmt: skip

    async def note(self) -> None:
        """Keep the health for `status`, and tell of each change."""
        condition = self.condition()
        if condition == self._condition:
            return
        if condition.health is not self._condition.health:
            self._since = self._clock.now()
            self.on_change(condition.health)
            waiting = self._pictures.last_success_at is None and self._pictures.problem is None
            if not (waiting and condition.health is Health.DEGRADED):
                logger().info("S3 snapshot mirror health=%s %s", condition.health, condition.reason)
        self._condition = condition
        for observer in self._observers:
            observer.health_changed(condition, self._since)
        try:
            await self._calls.call(self._keep_condition)
        except sqlite3.OperationalError as error:
            self._pictures.note_ledger_problem(error)

    async def after_heartbeat(self) -> None:
        """`status` tells from a fact when S3 last answered an idle service; onlookers hear of the answer itself."""
        await self.note()
        if self._pictures.last_success_at != self._proved_at:
            self._proved_at = self._pictures.last_success_at
            for observer in self._observers:
                observer.proved()
        with contextlib.suppress(sqlite3.OperationalError):  # a full disk: told elsewhere
            await self._calls.call(self._keep_answer)

    async def own_words(self) -> dict[str, Any]:
        """What the heartbeat object says of this site; `fleet` reads it."""
        now, missing = self._clock.now(), None
        condition = self.condition(if_s3_takes_this=True)
        since = self._since if condition.health is self._condition.health else now
        with contextlib.suppress(FrigateError):  # told by the scan
            missing = (await self._prove(now - 86400)).missing
        return {
            "site": self._settings.site, "version": __version__, "at": round(now, 3), "interval": self._settings.heartbeat_interval,
            "started_at": round(self._started_at, 3), "health": condition.health, "reason": condition.reason,
            "health_since": round(since, 3), "missing_24h": missing,
            **await self._calls.call(self._ledger_in_short, now),
        }  # fmt: skip

    def _folder_problem(self) -> str | None:
        """What is wrong with Frigate's folders, as far as they are used."""
        problem = self._frigate.clips_folder.problem()
        return problem or (self._frigate.recordings_folder.problem() if self._settings.has_clips else None)

    def _ledger_in_short(self, now: float) -> dict[str, Any]:
        counts, oldest, last = self._ledger.counts(), self._ledger.oldest_pending(), self._ledger.last_uploaded()
        return {
            "backlog": counts[State.PENDING], "failed": counts[State.FAILED], "expired": counts[State.EXPIRED],
            "lag_seconds": 0.0 if oldest is None else round(max(0.0, now - oldest), 1),
            "last_upload_at": last[0] if last else None, "last_upload_key": last[1] if last else None,
        }  # fmt: skip

    def _keep_condition(self) -> None:
        self._ledger.note(health=self._condition.health, reason=self._condition.reason, health_since=self._since)

    def _keep_answer(self) -> None:
        self._ledger.note(s3_answered_at=self._pictures.last_success_at)
