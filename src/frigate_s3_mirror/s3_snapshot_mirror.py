"""The service: discover, record, upload, record. It owns the process's life from start to an orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import IO, Any

from frigate_s3_mirror import __version__, inotify_eye
from frigate_s3_mirror.bodies import BodyReader
from frigate_s3_mirror.clock import Clock, SystemClock
from frigate_s3_mirror.discovery import Discovery
from frigate_s3_mirror.events import Filters, FrigateDatabase, FrigateError
from frigate_s3_mirror.health import Condition, Health, judge_health
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import FILE_NAME, LOCK_NAME, Entry, Ledger, LedgerError, Outcome
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.retry import Circuit, ErrorClass
from frigate_s3_mirror.s3 import ObjectStore, Store, StoreError, Upload
from frigate_s3_mirror.scan import FrigateScan, Proof
from frigate_s3_mirror.sending import Sender
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import clips_dir_problem
from frigate_s3_mirror.spool import FOLDER_NAME, Spool
from frigate_s3_mirror.state_files import StateFiles
from frigate_s3_mirror.units import format_duration, format_size
from frigate_s3_mirror.uploader import Uploader

FULL_SCAN_SECONDS = 3600.0
FORGET_AFTER = 7 * 86400.0
"""Seconds after its event that an entry is kept for certain; later it goes once Frigate has no such event."""
_FORGET_SECONDS = 86400.0
_SPOOL_PAGE = 500
_PROGRESS_SECONDS = 0.2
_BACKLOG_SECONDS = 60.0
_LARGE_BACKLOG = 100  # entries; fewer are gone before a person reads of them
_ONCE_PATIENCE = 30.0  # seconds that `--once` keeps trying while S3 does not answer


class AlreadyRunningError(Exception):
    """Another mirror uses the same state folder; the text is a sentence for the user."""


class LedgerThread:
    """Runs ledger calls one after the other in a thread of their own, so that no fsync holds up the loop."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self.on_damage: Callable[[], None] = lambda: None
        self.damage: str | None = None
        """What SQLite said when it found the file damaged."""
        self._pool = ThreadPoolExecutor(1, "ledger")

    async def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """The result of a ledger method, run in the ledger's thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            if self.damage is None:
                self.damage = str(error)
                self._ledger.suspect()
                self.on_damage()
            raise

    async def due(self, limit: int, known: frozenset[int]) -> list[Entry]:
        """See uploader.Backlog."""
        return await self.call(self._ledger.due, State.PENDING, self._clock.now(), limit, known)  # type: ignore[no-any-return]

    async def next_due(self) -> float | None:
        """See uploader.Backlog."""
        return await self.call(self._ledger.next_due, self._clock.now())  # type: ignore[no-any-return]

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """See uploader.Backlog."""
        await self.call(self._ledger.settle, outcomes)

    async def release(self) -> None:
        """See uploader.Backlog."""
        await self.call(self._ledger.release)

    def close(self) -> None:
        """Wait for what is under way."""
        self._pool.shutdown()


class Mirror:
    """Connects Frigate's database and clips folder with the bucket; owns the ledger, the eyes and the uploader."""

    def __init__(self, settings: Settings, store: Store | None = None, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        filters = Filters(settings.cameras, settings.labels)
        self.ledger = Ledger(settings.ledger_dir / FILE_NAME)
        self.files = StateFiles(settings.text_state_dir)
        self._calls = LedgerThread(self.ledger, self.clock)
        self._calls.on_damage = self._ledger_is_damaged
        self._scan_pool = ThreadPoolExecutor(1, "scan")
        self._heartbeat_pool = ThreadPoolExecutor(1, "heartbeat")
        self._store = store or ObjectStore(settings)
        self.spool = Spool(settings.ledger_dir / FOLDER_NAME, settings.clips_dir, settings.spool_max)
        reader = BodyReader(settings.clips_dir, settings.db_path, self.spool)
        self.uploader = Uploader(
            settings, self._calls, Sender(settings, self._store, reader, self.clock), self.clips_problem, self.clock,
            self._settled, self.spool.keep,
        )  # fmt: skip
        scan = FrigateScan(self.ledger.path, settings.db_path, filters, settings.artifacts)
        database = FrigateDatabase(settings.db_path, filters)
        self.discovery = Discovery(settings, database, scan, self._record, self.clips_problem, self.clock)
        self.uploaded = self.failed = 0
        self._proof_at: float | None = None
        self._condition = Condition(Health.OK)
        self._condition_since = self.clock.now()
        self._gap = asyncio.Event()
        self._stop = asyncio.Event()
        self._lock: IO[str] | None = None
        self._files_told = False
        self._homeless: dict[tuple[str, Kind], int] = {}
        """Entries that the ledger could not take (a full disk), by the negative row that stands for them."""
        self._spooled_upto = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    # -- life ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the state folder and open the ledger. Raises LedgerError or AlreadyRunningError with a sentence."""
        self._take_lock()
        self.ledger.open()
        if self.ledger.damaged_path is not None:
            logger().error(
                "S3 snapshot mirror: the ledger was damaged and is kept as %s; a new one is made from the state files. "
                "'rebuild' adds what the bucket knows",
                self.ledger.damaged_path,
            )
        self._import_state()
        self.spool.open()
        self._write_state_files(everything=True)

    def close(self) -> None:
        """Give everything back; may be called twice."""
        self._calls.close()
        self._scan_pool.shutdown()
        self._heartbeat_pool.shutdown(wait=False)  # a request that hangs must not hold up the end
        self.discovery.scan.close()
        self.discovery.database.close()
        if self._lock is not None:
            if self.ledger._connection is not None and not self.is_broken:
                with contextlib.suppress(sqlite3.OperationalError):  # a full disk: the next start checks the file
                    self.ledger.note(stopped_at=self.clock.now())
            self._lock.close()
            self._lock = None
        self.ledger.close()

    async def run(self) -> None:
        """Mirror until SIGTERM, SIGINT, or the end of the parent; returns after an orderly stop."""
        self._listen_for_the_end()
        logger().info(
            "S3 snapshot mirror started version=%s bucket=%s endpoint=%s prefix=%s cameras=%s",
            __version__, self.settings.bucket, self.settings.endpoint_url or "AWS", self.settings.path_prefix or "-",
            ",".join(self.settings.cameras) or "all",
        )  # fmt: skip
        await self._calls.call(self._note_start)
        upload = asyncio.create_task(self.uploader.run())
        loops = (self._scan_loop(), self._heartbeat_loop(), self._stats_loop(), self._backlog_loop(), self._watch())
        self._tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            await self._stop.wait()
            logger().info(
                "S3 snapshot mirror stops; uploads in flight get %s",
                format_duration(self.settings.shutdown_grace),
            )
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self.uploader.stop()
            await upload
            await self._calls.call(self._log_stats)
        logger().info("S3 snapshot mirror stopped")

    async def run_once(self, advance: Callable[[int, int], None]) -> int:
        """Mirror all that is there now; returns how many entries are left that are not in the bucket.

        `advance` is told now and then how many were sent, and of how many that are known so far.
        """
        self._listen_for_the_end()
        upload = asyncio.create_task(self.uploader.run())
        telling = asyncio.create_task(self._tell_progress(advance))
        try:
            await self.discovery.scan_all(self._in_scan_thread)
            if self.discovery.problem is None:
                await self._search_again(State.AWAITED, State.ABSENT)
                await self._drain()
        finally:
            self.uploader.stop()
            await upload
            telling.cancel()
            advance(self.uploaded, self.uploaded + await self._calls.call(self.ledger.backlog))
        counts = await self._calls.call(self.ledger.counts)
        left = int(counts[State.PENDING] + counts[State.FAILED] + counts[State.EXPIRED])
        return left + bool(self.discovery.problem or self.discovery.clips_trouble)

    def stop(self) -> None:
        """Ask for an orderly stop; a second time ends the process at once."""
        if self._stop.is_set():
            os._exit(130)
        self._stop.set()

    @property
    def is_broken(self) -> bool:
        """Whether the service ended because its ledger is damaged; the next start sets it aside."""
        return self._calls.damage is not None

    def _ledger_is_damaged(self) -> None:
        logger().error(
            "S3 snapshot mirror: the ledger %s is damaged (%s); the service ends, and its next start makes a new one",
            self.ledger.path, self._calls.damage,
        )  # fmt: skip
        self._stop.set()

    def _listen_for_the_end(self) -> None:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.stop)
        if os.environ.get("S3_MIRROR_PARENT_PIPE") == "1":
            loop.add_reader(sys.stdin.fileno(), self._parent_said)

    def _parent_said(self) -> None:
        """The patch holds our stdin open: its end means that Frigate is gone."""
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            logger().warning("S3 snapshot mirror: Frigate is gone")
            self._stop.set()

    def _take_lock(self) -> None:
        folder = self.settings.ledger_dir
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / LOCK_NAME).open("a+", encoding="utf-8")
        except OSError as error:
            raise LedgerError(
                f"The state folder {folder} cannot be written ({error.strerror}); S3_STATE_DIR chooses another."
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            self._lock = None
            raise AlreadyRunningError(
                f"Another mirror already uses the state folder {folder}; stop it, or set another S3_STATE_DIR."
            ) from error

    # -- the pipeline ----------------------------------------------------------------------------------------------

    async def _record(self, entries: Sequence[Entry], urgent: bool) -> int:  # noqa: FBT001
        """Discovered entries go into the ledger first, then to the uploader."""
        try:
            taken: list[Entry] = await self._calls.call(self.ledger.record, entries, self.clock.now())
        except sqlite3.OperationalError as error:
            taken = self._take_in(entries, error)
        for entry in taken:
            if entry.state is State.FAILED:
                self.failed += 1
                logger().error(
                    "S3 upload refused event=%s camera=%s: %s",
                    entry.event.id,
                    entry.event.camera,
                    entry.last_error,
                )
        pending = [entry for entry in taken if entry.state is State.PENDING]
        self.uploader.offer(pending, urgent=urgent)
        if self.uploader.breaker.circuit is not Circuit.CLOSED and urgent:
            await self._in_scan_thread(lambda: [self.spool.keep(entry) for entry in pending])
        return len(taken)

    def _take_in(self, entries: Sequence[Entry], error: sqlite3.OperationalError) -> list[Entry]:
        """The disk is full: uploads go on from memory, and settling writes these entries as soon as it can."""
        if self.uploader.ledger_problem is None:
            logger().error("S3 snapshot mirror cannot write its ledger (%s); uploads go on, trying again", error)
        self.uploader.ledger_problem = f"The ledger cannot be written ({error}); is its disk full?"
        fresh: list[Entry] = []
        for entry in entries:
            name = (entry.event.id, entry.kind)
            if name not in self._homeless and entry.state is State.PENDING:
                self._homeless[name] = -len(self._homeless) - 1
                fresh.append(replace(entry, row=self._homeless[name]))
        return fresh

    def _settled(self, outcomes: Sequence[Outcome]) -> None:
        """The ledger holds these outcomes: count them, tell of them, and bring the exports up to date."""
        for outcome in outcomes:
            self._tell(outcome)
            if outcome.state is State.UPLOADED:
                self.spool.drop(outcome.entry.source)
            self._homeless.pop((outcome.entry.event.id, outcome.entry.kind), None)
        primary = self._primary_kind
        done = [o.entry.event.id for o in outcomes if o.state is State.UPLOADED and o.entry.kind is primary]
        ended_badly = any(o.state in {State.FAILED, State.EXPIRED} for o in outcomes)
        if done or ended_badly:
            asyncio.get_running_loop().run_in_executor(self._calls._pool, self._export, done, ended_badly)

    def _tell(self, outcome: Outcome) -> None:
        entry = outcome.entry
        if outcome.state is State.UPLOADED:
            self.uploaded += 1
            logger().info(
                "S3 upload done camera=%s label=%s key=%s size=%s lag=%s",
                entry.event.camera, entry.event.label, entry.key, format_size(outcome.size_bytes or 0),
                format_duration(max(0.0, round((outcome.uploaded_at or 0) - entry.happened_at, 3))),
            )  # fmt: skip
        elif outcome.state is State.EXPIRED:
            self.failed += 1
            logger().error("S3 upload lost event=%s camera=%s: %s", entry.event.id, entry.event.camera, outcome.error)
        elif outcome.state is State.FAILED:
            self.failed += 1
            logger().error(
                "S3 upload failed event=%s camera=%s after %d attempts: %s 'retry-failed' tries again.",
                entry.event.id, entry.event.camera, outcome.attempts, outcome.error,
            )  # fmt: skip
        elif self.uploader.breaker.circuit is Circuit.CLOSED:
            logger().warning(
                "S3 upload will be retried event=%s camera=%s: %s",
                entry.event.id,
                entry.event.camera,
                outcome.error,
            )

    async def _drain(self) -> None:
        """Wait until nothing is left that could be sent, or S3 has not answered for too long."""
        last_sign = self.clock.monotonic()
        while not self._stop.is_set():
            uploader = self.uploader
            if (
                uploader.breaker.error_class is ErrorClass.CONFIGURATION
                and uploader.breaker.circuit is not Circuit.CLOSED
            ):
                return
            if uploader.breaker.circuit is Circuit.CLOSED:
                last_sign = self.clock.monotonic()
            elif self.clock.monotonic() - last_sign > _ONCE_PATIENCE:
                return
            if uploader.is_idle:
                if not await self._calls.call(self.ledger.backlog) and not await self._files_settle():
                    return
                uploader.look_again()
            await asyncio.sleep(0.02)

    async def _files_settle(self) -> bool:
        """Whether a file of an unfinished event is too fresh to be sent; it is looked at again."""
        before = set(self.discovery.watched)
        await self.discovery.scan_recent(self._in_scan_thread)
        events = self.discovery.database.events(before & self.discovery.watched)
        from frigate_s3_mirror.sources import find

        return any(find(self.settings.clips_dir, event, Kind.SNAPSHOT) for event in events)

    # -- the loops -------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        await inotify_eye.watch(self.settings.clips_dir, self.discovery.file_closed, self._gap.set)

    async def _scan_loop(self) -> None:
        """The sure eye: in full at the start, after gaps and every hour; else what is recent, every few seconds."""
        next_full = next_forget = 0.0
        ready = False
        while True:
            now = self.clock.monotonic()
            try:
                if self.discovery.clips_trouble and self.clips_problem() is None:
                    self.discovery.clips_trouble = None
                    self._gap.set()
                full = await self.discovery.scan_recent(self._in_scan_thread)
                if self._gap.is_set() or full or now >= next_full:
                    self._gap.clear()
                    found = await self.discovery.scan_all(self._in_scan_thread)
                    await self._search_again(State.AWAITED, State.ABSENT)
                    next_full = now + FULL_SCAN_SECONDS
                    if not ready or found:
                        logger().info("S3 snapshot mirror %s new=%d", "is ready" if not ready else "scanned", found)
                    ready = ready or self.discovery.problem is None
                else:
                    await self._search_again(State.AWAITED)
                if now >= next_forget and self.discovery.problem is None:
                    next_forget = now + _FORGET_SECONDS
                    await self._forget()
                await self._keep_watch()
            except Exception:  # noqa: BLE001  # outermost frame of the loop: told, and the next round tries again
                logger().exception("S3 snapshot mirror: the scan failed; trying again")
            await asyncio.sleep(self.settings.scan_interval)

    async def _keep_watch(self) -> None:
        """What is cheap and regular: changes by other processes, the parent, the health."""
        self.uploader.look_again()
        parent = os.environ.get("S3_MIRROR_PARENT_PID", "")
        if parent.isdigit() and os.getppid() != int(parent):
            logger().warning("S3 snapshot mirror: Frigate is gone")
            self._stop.set()
        await self._note_health()
        await self._spool_backlog()

    async def _spool_backlog(self) -> None:
        """While S3 does not take uploads, keep what waits, oldest first: that is what Frigate deletes next."""
        if self.uploader.breaker.circuit is Circuit.CLOSED:
            self._spooled_upto = 0.0
            return
        entries = await self._calls.call(self.ledger.oldest_pending_entries, self._spooled_upto, _SPOOL_PAGE)
        if entries:
            await self._in_scan_thread(lambda: [self.spool.keep(entry) for entry in entries])
            self._spooled_upto = entries[-1].happened_at

    async def _heartbeat_loop(self) -> None:
        """An upload proves that S3 works; an idle service proves it with a small object, at the start and at intervals."""
        while True:
            interval = self.settings.heartbeat_interval
            last = self.uploader.last_success_at
            wait = 0.0 if last is None else last + interval - self.clock.now()
            breaker = self.uploader.breaker
            if breaker.circuit is Circuit.OPEN:
                wait = max(wait, breaker.opened_until - self.clock.monotonic())
            if wait > 0:
                await asyncio.sleep(min(wait, interval))
            elif breaker.may_start(self.clock.monotonic()):
                await self._heartbeat()
                await self._note_health()
            else:
                await asyncio.sleep(1)

    async def _heartbeat(self) -> None:
        site = re.sub(r"[^A-Za-z0-9._-]", "-", self.settings.site) or "site"
        key = "/".join(part for part in (self.settings.path_prefix, ".mirror", f"{site}.json") if part)
        body = json.dumps(
            {"site": self.settings.site, "version": __version__, "at": round(self.clock.now(), 3)}
        ).encode()
        try:
            upload = Upload(key, body, len(body), "application/json", {})
            await asyncio.get_running_loop().run_in_executor(self._heartbeat_pool, self._store.put, upload)
        except StoreError as error:
            self.uploader.note_failure(error)
            self.uploader.problem = self.uploader.problem or str(error)
        else:
            self.uploader.note_success()

    async def _stats_loop(self) -> None:
        while True:
            await asyncio.sleep(self.settings.stats_interval)
            await self._calls.call(self._log_stats)
            await self._tell_proof()
            await self._warn_of_retention()

    async def _tell_proof(self) -> None:
        """How much of what Frigate has is in the bucket, without asking the bucket."""
        try:
            now = self.clock.now()
            day: Proof = await self._in_scan_thread(self.discovery.scan.proof, now - 86400)
            week: Proof = await self._in_scan_thread(self.discovery.scan.proof, now - 7 * 86400)
        except FrigateError:
            return  # told by the scan
        logger().info(
            "S3 Upload Proof - 24 h: %d in Frigate, %d in the bucket, %d missing; 7 d: %d in Frigate, %d in the bucket, %d missing",
            day.in_frigate, day.uploaded, day.missing, week.in_frigate, week.uploaded, week.missing,
        )  # fmt: skip

    async def _warn_of_retention(self) -> None:
        """Say when snapshots wait that Frigate may delete within a day and the spool does not hold."""
        horizon = self.clock.now() - (self.settings.frigate_retention_days - 1) * 86400
        entries = await self._calls.call(self.ledger.oldest_pending_entries, 0.0, _SPOOL_PAGE)
        endangered = [e for e in entries if e.happened_at < horizon and not self.spool.holds(e.source)]
        if endangered:
            logger().warning(
                "S3 snapshot mirror: %d snapshots wait that Frigate may delete within a day (FRIGATE_RETENTION_DAYS); the oldest is %s",
                len(endangered), endangered[0].source,
            )  # fmt: skip

    async def _tell_progress(self, advance: Callable[[int, int], None]) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            advance(self.uploaded, self.uploaded + await self._calls.call(self.ledger.backlog))

    async def _backlog_loop(self) -> None:
        """A first copy, or what an outage left, can take hours: say once a minute how far it is."""
        while True:
            before = self.uploaded
            await asyncio.sleep(_BACKLOG_SECONDS)
            backlog: int = await self._calls.call(self.ledger.backlog)
            rate = (self.uploaded - before) / _BACKLOG_SECONDS
            if backlog >= _LARGE_BACKLOG and rate > 0:
                logger().info(
                    "S3 snapshot mirror works off its backlog: %d waiting, %.0f a second, about %s left",
                    backlog, rate, format_duration(backlog / rate),
                )  # fmt: skip

    async def _search_again(self, *states: State) -> None:
        """Look for files that should be there; give up in time."""
        for state in states:
            due: list[Entry] = await self._calls.call(self.ledger.due, state, self.clock.now(), 1000)
            missing = await self.discovery.search_again(due) if due else []
            outcomes = [
                Outcome(
                    entry,
                    State.AWAITED if at else State.ABSENT,
                    0,
                    entry.deferrals + 1,
                    at or 0.0,
                    "no file was ever there",
                )
                for entry, at in missing
                if at or state is State.AWAITED
            ]
            if outcomes:
                await self._calls.settle(outcomes)

    async def _forget(self) -> None:
        """Forget settled entries a week after their event, when Frigate has forgotten it, too."""
        row: int | None = 0
        forgotten = 0
        while row is not None:
            pairs, row = await self._in_scan_thread(
                self.discovery.scan.forgettable, row, self.clock.now() - FORGET_AFTER
            )
            if pairs:
                await self._calls.call(self.ledger.forget, [pair[0] for pair in pairs])
                forgotten += len(pairs)
        if forgotten:
            await self._calls.call(self._write_state_files, True)
            logger().info("S3 snapshot mirror: %d entries forgotten whose events are gone from Frigate", forgotten)

    async def _in_scan_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._scan_pool, function, *arguments)

    # -- what is known ---------------------------------------------------------------------------------------------

    def clips_problem(self) -> str | None:
        """A sentence when the clips folder cannot be trusted: unreadable, or empty as where a share is not mounted."""
        problem = clips_dir_problem(self.settings.clips_dir)
        if problem is None and not any(self.settings.clips_dir.iterdir()):
            problem = f"Frigate's clips folder {self.settings.clips_dir} is empty; is its share mounted?"
        return problem

    def condition(self) -> Condition:
        """The health now, with its reason."""
        return judge_health(
            frigate_problem=self.discovery.problem,
            clips_problem=clips_dir_problem(self.settings.clips_dir) or self.discovery.clips_trouble,
            s3_problem=self.uploader.problem,
            ledger_problem=self.uploader.ledger_problem,
            has_proof=self.uploader.last_success_at is not None,
        )

    async def _note_health(self) -> None:
        """Keep the health for `status`, and tell of each change."""
        condition = self.condition()
        if condition == self._condition:
            return
        if condition.health is not self._condition.health:
            self._condition_since = self.clock.now()
            waiting = self.uploader.last_success_at is None and self.uploader.problem is None
            if not (waiting and condition.health is Health.DEGRADED):
                logger().info("S3 snapshot mirror health=%s %s", condition.health, condition.reason)
        self._condition = condition
        try:
            await self._calls.call(self._note_condition)
        except sqlite3.OperationalError as error:
            self.uploader.ledger_problem = f"The ledger cannot be written ({error}); is its disk full?"

    def _note_start(self) -> None:
        self.ledger.note(
            pid=os.getpid(), version=__version__, started_at=self.clock.now(), stopped_at=None,
            health=Health.DEGRADED, reason="Starting.", health_since=self.clock.now(),
        )  # fmt: skip

    def _note_condition(self) -> None:
        self.ledger.note(
            health=self._condition.health, reason=self._condition.reason, health_since=self._condition_since
        )

    def _log_stats(self) -> None:
        counts = self.ledger.counts()
        logger().info(
            "S3 Upload Stats - Success: %d, Failed: %d, Retry Queue: %d, Tracked Events: %d, Failed Events: %d, Health: %s",
            self.uploaded, self.failed, self.ledger.retrying(), counts[State.UPLOADED],
            counts[State.FAILED] + counts[State.EXPIRED], self.condition().health,
        )  # fmt: skip

    # -- text state files ------------------------------------------------------------------------------------------

    @property
    def _primary_kind(self) -> Kind:
        """The kind that stands for the event in `.s3_uploaded_events`."""
        return Kind.SNAPSHOT if Kind.SNAPSHOT in self.settings.artifacts else self.settings.artifacts[0]

    def _import_state(self) -> None:
        """A ledger that was not there takes over what the text files say."""
        if not self.ledger.is_new:
            return
        try:
            failed = self.files.read_failed()
        except (OSError, ValueError) as error:
            logger().warning(
                "S3 snapshot mirror: %s cannot be imported (%s) and is left out",
                self.files.failed_path,
                error,
            )
            failed = {}
        try:
            uploaded, known_failed = self.ledger.import_state(self.files.read_uploaded(), failed, self.clock.now())
        except OSError as error:
            logger().warning("S3 snapshot mirror: %s cannot be imported (%s)", self.files.uploaded_path, error.strerror)
            return
        if uploaded or known_failed:
            logger().info(
                "S3 snapshot mirror: ledger was missing, imported uploaded=%d failed=%d from %s ('retry-failed' sends failed ones again)",
                uploaded, known_failed, self.settings.text_state_dir,
            )  # fmt: skip

    def _export(self, uploaded: Sequence[str], ended_badly: bool) -> None:  # noqa: FBT001
        try:
            if uploaded:
                self.files.append_uploaded(uploaded)
            if ended_badly:
                self.files.write_failed(self.ledger.problems(State.FAILED, State.EXPIRED, limit=100_000))
        except OSError as error:
            self._tell_of_files(error)

    def _write_state_files(self, everything: bool) -> None:  # noqa: FBT001
        try:
            if everything:
                self.files.write_uploaded(self.ledger.uploaded_ids(self._primary_kind))
            self.files.write_failed(self.ledger.problems(State.FAILED, State.EXPIRED, limit=100_000))
        except OSError as error:
            self._tell_of_files(error)

    def _tell_of_files(self, error: OSError) -> None:
        if not self._files_told:
            logger().warning(
                "S3 snapshot mirror: cannot write the state files in %s (%s); the ledger %s holds everything all the same",
                self.settings.text_state_dir, error.strerror, self.ledger.path,
            )  # fmt: skip
        self._files_told = True
