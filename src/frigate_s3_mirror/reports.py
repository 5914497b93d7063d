"""What the service says of its work: a line for each outcome, and the regular ones (statistics, proof, backlog)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import FrigateError
from frigate_s3_mirror.health import Vital
from frigate_s3_mirror.ledger_thread import LedgerThread
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import FIELDS, logger
from frigate_s3_mirror.scan import Proof
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.spool import Spool
from frigate_s3_mirror.units import format_duration, format_size

PROGRESS_SECONDS = 0.2
BACKLOG_SECONDS = 60.0
LARGE_BACKLOG = 100
"""Entries; fewer are gone before a person reads of them."""
_PAGE = 500

Prove = Callable[[float], Any]
"""Awaitable: what is mirrored of the events since then (unix seconds), a scan.Proof. Raises FrigateError."""


class Reports:
    """Counts outcomes and tells of them; owns the counters of this run."""

    def __init__(self, settings: Settings, calls: LedgerThread, spool: Spool, prove: Prove, clock: Clock) -> None:
        self._settings, self._calls, self._spool = settings, calls, spool
        self._ledger = calls.ledger
        self._prove, self._clock = prove, clock
        self.uploaded = self.failed = 0

    def tell(self, outcomes: Sequence[Outcome], *, retries: bool) -> None:
        """A line for each outcome; those that are tried again only with `retries` (in an outage they are all alike)."""
        for outcome in outcomes:
            self._tell(outcome, retries=retries)

    def tell_refused(self, entry: Entry) -> None:
        """An event that is not touched at all."""
        self.failed += 1
        logger().error("S3 upload refused event=%s camera=%s: %s", entry.event.id, entry.event.camera, entry.last_error)

    async def regularly(self, vital: Callable[[], Vital]) -> None:
        """Statistics, proof and warnings, for ever."""
        while True:
            await asyncio.sleep(self._settings.stats_interval)
            await self._calls.call(self.tell_stats, vital())
            await self._tell_proof()
            await self._warn_of_retention()

    def tell_stats(self, vital: Vital) -> None:
        """The line of counts; runs in the ledger's thread."""
        counts = self._ledger.counts()
        # While S3 as a whole takes nothing, all that waits does so after an error, tried for itself or not.
        retrying = self._ledger.retrying() if vital.waits_for is None else counts[State.PENDING]
        logger().info(
            "S3 Upload Stats - Success: %d, Failed: %d, Retry Queue: %d, Tracked Events: %d, Failed Events: %d, Health: %s",
            self.uploaded, self.failed, retrying, counts[State.UPLOADED],
            counts[State.FAILED] + counts[State.EXPIRED], vital.condition.health,
        )  # fmt: skip

    async def progress(self, advance: Callable[[int, int], None]) -> None:
        """Tell how many were sent, and of how many that are known so far; for ever."""
        while True:
            await self.advance(advance)
            await asyncio.sleep(PROGRESS_SECONDS)

    async def advance(self, advance: Callable[[int, int], None]) -> None:
        """Tell it once."""
        advance(self.uploaded, self.uploaded + await self._calls.call(self._ledger.backlog))

    async def large_backlog(self) -> None:
        """A first copy, or what an outage left, can take hours: say once a minute how far it is, for ever."""
        while True:
            before = self.uploaded
            await asyncio.sleep(BACKLOG_SECONDS)
            backlog: int = await self._calls.call(self._ledger.backlog)
            rate = (self.uploaded - before) / BACKLOG_SECONDS
            if backlog >= LARGE_BACKLOG and rate > 0:
                logger().info(
                    "S3 snapshot mirror works off its backlog: %d waiting, %.0f a second, about %s left",
                    backlog, rate, format_duration(backlog / rate),
                )  # fmt: skip

    def _tell(self, outcome: Outcome, *, retries: bool) -> None:
        entry = outcome.entry
        event = entry.event
        more = {FIELDS: _fields(outcome)} if self._settings.log_format == "json" else None
        if outcome.state is State.UPLOADED:
            self.uploaded += 1
            logger().info(
                "S3 upload done camera=%s label=%s key=%s size=%s lag=%s",
                event.camera, event.label, entry.key, format_size(outcome.size_bytes or 0),
                format_duration(max(0.0, round((outcome.uploaded_at or 0) - entry.happened_at, 3))), extra=more,
            )  # fmt: skip
        elif outcome.state is State.EXPIRED:
            self.failed += 1
            logger().error("S3 upload lost event=%s camera=%s: %s", event.id, event.camera, outcome.error, extra=more)
        elif outcome.state is State.FAILED:
            self.failed += 1
            logger().error(
                "S3 upload failed event=%s camera=%s after %d attempts: %s 'retry-failed' tries again.",
                event.id, event.camera, outcome.attempts, outcome.error, extra=more,
            )  # fmt: skip
        elif retries and not outcome.is_told:
            logger().warning(
                "S3 upload will be retried event=%s camera=%s: %s", event.id, event.camera, outcome.error, extra=more
            )

    async def _tell_proof(self) -> None:
        """How much of what Frigate has is in the bucket, without asking the bucket."""
        now = self._clock.now()
        try:
            day: Proof = await self._prove(now - 86400)
            week: Proof = await self._prove(now - 7 * 86400)
        except FrigateError:
            return  # told by the scan
        logger().info(
            "S3 Upload Proof - 24 h: %d in Frigate, %d in the bucket, %d missing; 7 d: %d in Frigate, %d in the bucket, %d missing",
            day.in_frigate, day.uploaded, day.missing, week.in_frigate, week.uploaded, week.missing,
        )  # fmt: skip

    async def _warn_of_retention(self) -> None:
        """Say when snapshots wait that Frigate may delete within a day and the spool does not hold."""
        horizon = self._clock.now() - (self._settings.frigate_retention_days - 1) * 86400
        entries: list[Entry] = await self._calls.call(self._ledger.oldest_pending_entries, 0.0, _PAGE)
        endangered = [e for e in entries if e.happened_at < horizon and not self._spool.holds(e.source)]
        if endangered:
            logger().warning(
                "S3 snapshot mirror: %d snapshots wait that Frigate may delete within a day (FRIGATE_RETENTION_DAYS); the oldest is %s",
                len(endangered), endangered[0].source,
            )  # fmt: skip


def _fields(outcome: Outcome) -> dict[str, object]:
    """What a line about an outcome is about, for log collectors."""
    entry, event = outcome.entry, outcome.entry.event
    lag = None if outcome.uploaded_at is None else round(max(0.0, outcome.uploaded_at - entry.happened_at), 3)
    return {
        "state": outcome.state.value, "event_id": event.id, "camera": event.camera, "label": event.label, "kind": entry.kind.value,
        "key": entry.key, "size_bytes": outcome.size_bytes, "lag_seconds": lag, "attempts": outcome.attempts, "error": outcome.error,
    }  # fmt: skip
