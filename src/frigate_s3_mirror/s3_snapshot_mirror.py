"""The service: discover, record, upload, settle. It puts the parts together and owns their order of start and end."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from frigate_s3_mirror import __version__
from frigate_s3_mirror.abandoned import abort_abandoned
from frigate_s3_mirror.api_loop import ApiLoop
from frigate_s3_mirror.bodies import BodyReader
from frigate_s3_mirror.clip_loop import ClipLoop
from frigate_s3_mirror.clip_scan import ClipScan
from frigate_s3_mirror.clips import playlist_object
from frigate_s3_mirror.clock import Clock, SystemClock
from frigate_s3_mirror.discovery import Discovery
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import Filters, FrigateDatabase, FrigateError
from frigate_s3_mirror.exports import Exports
from frigate_s3_mirror.frigate_access import FrigateAccess, access
from frigate_s3_mirror.health_watch import HealthWatch
from frigate_s3_mirror.heartbeat import Heartbeat
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_thread import LedgerThread
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.lifetime import End, StateLock
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.observers import Observer, tell_all
from frigate_s3_mirror.pacer import Pacer
from frigate_s3_mirror.rebuild import adopt
from frigate_s3_mirror.reports import Reports
from frigate_s3_mirror.retry import Circuit, ErrorClass
from frigate_s3_mirror.runtime.supervisor import Supervisor
from frigate_s3_mirror.runtime.ticks import Ticks
from frigate_s3_mirror.s3 import ObjectStore, Store
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.scan import FrigateScan
from frigate_s3_mirror.scan_loop import ScanLoop
from frigate_s3_mirror.sending import Sender
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.spool import FOLDER_NAME, Spool
from frigate_s3_mirror.units import format_duration
from frigate_s3_mirror.uploader import Uploader

_SPOOL_PAGE = 500
_CLIP_THREADS = 2
"""Segments at a time, beside S3_UPLOAD_THREADS: no number of them holds up a picture."""
_LOOP_PATIENCE = 300.0
"""Seconds beyond its interval for which a loop may not go round: longer than any timeout, or a scan of a large table."""
_LONGEST_START = 3600.0
_END_PATIENCE = 1.0
"""Seconds beyond the grace that an end may take before the process ends anyhow, whatever hangs."""
_ONCE_PATIENCE = 30.0  # seconds that `--once` keeps trying while S3 does not answer, or Frigate


Loop = Callable[[], Awaitable[None]]
"""Goes round for ever once called."""


class Mirror:
    """Connects Frigate's database and clips folder with the bucket; owns the ledger, the eyes and the uploader."""

    def __init__(self, settings: Settings, store: Store | None = None, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self._store = store = store or ObjectStore(settings)
        self.ledger = Ledger.of(settings)
        self._lock = StateLock(settings.ledger_dir)
        self._end = End()
        self._calls = LedgerThread(self.ledger, self.clock)
        self._calls.on_damage = self._ledger_is_damaged
        self._exports = Exports(settings, self.ledger)
        self._frigate = frigate = access(settings)
        self.spool = Spool(settings.ledger_dir / FOLDER_NAME, frigate.pictures, settings.spool_max)
        playlist = partial(playlist_object, self.ledger.path)
        reader = BodyReader(frigate.pictures, frigate.recordings, frigate.database, self.spool, playlist)
        self._sender = Sender(settings, store, reader, self.clock)
        self.lanes = self.uploader, self.clip_uploader = self._make_lanes(frigate)
        filters = Filters(settings.cameras, settings.labels)
        scan = FrigateScan(self.ledger.path, frigate.database, filters, settings.picture_kinds)
        database = FrigateDatabase(frigate.database, filters)
        self.discovery = Discovery(
            settings, database, scan, self._record, frigate.pictures, frigate.clips_folder, self.clock, self._calls
        )
        clip_scan = ClipScan(self.ledger.path, frigate.database, settings)
        self._clips = (
            ClipLoop(settings, clip_scan, self._record, self.clock, self._calls) if settings.has_clips else None
        )
        self.api = ApiLoop(settings, frigate.api, self.clock) if frigate.api is not None else None
        folders = (frigate.clips_folder, frigate.recordings_folder) if settings.has_clips else (frigate.clips_folder,)
        self._scans = ScanLoop(
            settings, self.discovery, self._calls, self._exports, self.clock,
            folders=folders, recordings=frigate.recordings, remote=self.api,
        )  # fmt: skip
        if self.api is not None:
            self._listen_to(self.api)
        self._reports = Reports(settings, self._calls, self.spool, self._scans.prove, self.clock)
        self.observers: list[Observer] = []
        self.supervisor = Supervisor(logger(), "S3 snapshot mirror")
        self._ticks = Ticks(self.clock.monotonic)
        self.health = HealthWatch(
            settings, self._calls, self.clock, discovery=self.discovery, frigate=frigate, lanes=self.lanes,
            prove=self._scans.prove, observers=self.observers, ticks=self._ticks, say=self._lock.say,
            restarts=self.supervisor.restarts, limits=lambda: store.limits if isinstance(store, ObjectStore) else (),
        )  # fmt: skip
        self._heartbeat = Heartbeat(settings, store, self.uploader, self.health.own_words, self.clock)
        self.health.on_change = self._heartbeat.health_changed
        self._homeless: dict[tuple[str, Kind, str], int] = {}
        """Entries that the ledger could not take (a full disk), by the negative row that stands for them."""
        self._perhaps_abandoned: set[str] = set()
        """Keys whose upload in parts an end or a kill may have broken off."""
        self._spooled_upto = 0.0
        self._opened_at = self.clock.monotonic()

    def _listen_to(self, api: ApiLoop) -> None:
        """What Frigate's API tells goes the same ways as what its disk tells."""
        api.on_ended = self.discovery.events_ended
        api.on_problem = self.discovery.note_problem
        api.on_seen_in_full = self._look_in_full
        api.on_back = self._calls.release  # what Frigate did not hand out then

    def _look_in_full(self) -> None:
        self._scans.look_in_full()
        if self._clips is not None:
            self._clips.look_in_full()

    def _make_lanes(self, frigate: FrigateAccess) -> tuple[Uploader, Uploader]:
        """Pictures and clips have threads of their own, and share what must not be exceeded."""
        lane = partial(
            Uploader, self.settings, sender=self._sender, clock=self.clock, on_settled=self._settled,
            keep=self.spool.keep, make_way=self.spool.give_way, pacer=Pacer(self.settings.bandwidth_limit),
        )  # fmt: skip
        pictures, clips = self._calls.lane(clips=False), self._calls.lane(clips=True)
        return (
            lane(backlog=pictures, folder=frigate.clips_folder, threads=self.settings.upload_threads),
            lane(backlog=clips, folder=frigate.recordings_folder, threads=_CLIP_THREADS, is_for_clips=True),
        )

    # -- life ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the state folder and open the ledger. Raises LedgerError or AlreadyRunningError with a sentence."""
        self._opened_at = self.clock.monotonic()
        self._lock.take()
        self.ledger.open(may_move=True)
        if self.ledger.damaged_path is not None:
            logger().error(
                "S3 snapshot mirror: the ledger was damaged and is kept as %s; a new one is made from the state files",
                self.ledger.damaged_path,
            )
        with self.ledger.in_words("used"):
            self._take_stock()
        self.spool.open()
        if self.api is not None:
            self.api.open()

    def _take_stock(self) -> None:
        """What the ledger lacks, and what the service before this one left unfinished."""
        imported = self._exports.import_into_ledger(self.clock.now())
        if (self.ledger.damaged_path is not None or self.ledger.was_empty) and not imported:
            self._adopt_from_bucket()
        if self.ledger.is_new:
            self._sender.ledger_is_new(self.clock.now())
        if self.ledger.was_killed:
            most = self.settings.batch_size + 4 * self.settings.upload_threads  # newest first, so these it was
            now = self.clock.now()
            perhaps = [e for clips in (False, True) for e in self.ledger.due(State.PENDING, now, most, clips=clips)]
            self._sender.doubt(entry.row for entry in perhaps)
        self._perhaps_abandoned = self.ledger.pending_keys(clips=True)
        self._exports.write()

    def _adopt_from_bucket(self) -> None:
        """The text files are gone, too: where the key may list, the bucket tells what it has."""
        if not isinstance(self._store, ObjectStore):
            return
        try:
            adopted, _ = adopt(self.settings, self._store, self.ledger, lambda _done, _total: None)
        except StoreError as error:
            logger().warning("S3 snapshot mirror: the bucket cannot tell what it has (%s); see 'rebuild'", error)
        else:
            logger().info("S3 snapshot mirror: %d objects of the bucket are in the new ledger", adopted)

    def close(self) -> None:
        """Give everything back; may be called twice."""
        self._calls.close()
        self._scans.close()
        if self.api is not None:
            self.api.close()
        if self._clips is not None:
            self._clips.close()
        self._heartbeat.close()
        self.health.close()
        self.discovery.scan.close()
        self.discovery.database.close()
        if self._lock.is_held:
            if self.ledger.is_open and not self.is_broken:
                with contextlib.suppress(sqlite3.OperationalError):  # a full disk: the next start checks the file
                    self.ledger.note(stopped_at=self.clock.now())
            self._lock.release()
        self.ledger.close()
        self._end.is_done()

    async def run(self) -> None:
        """Mirror until SIGTERM, SIGINT, or the end of the parent; returns after an orderly stop."""
        self._end.listen()
        logger().info(
            "S3 snapshot mirror started version=%s bucket=%s endpoint=%s prefix=%s cameras=%s",
            __version__, self.settings.bucket, self.settings.endpoint_url or "AWS", self.settings.path_prefix or "-",
            ",".join(self.settings.cameras) or "all",
        )  # fmt: skip
        await self._calls.call(self.health.note_start)
        uploads = self._start_uploads()
        loops = self._loops()
        tasks = [asyncio.create_task(self.supervisor.keep(name, loop)) for name, loop in loops.items()]
        try:
            await self._end.wait()
            self._end.insist_after(self.settings.shutdown_grace + 5 * _END_PATIENCE)
            logger().info(
                "S3 snapshot mirror stops; uploads in flight get %s", format_duration(self.settings.shutdown_grace)
            )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop(uploads)
            await self._calls.call(self._reports.tell_stats, self.health.vital())
        logger().info("S3 snapshot mirror stopped")

    def _start_uploads(self) -> list[asyncio.Task[None]]:
        """They end by themselves when the lanes are stopped."""
        lanes = {"uploads": self.uploader.run, "uploads of clips": self._upload_clips}
        return [asyncio.create_task(self.supervisor.keep(name, lane)) for name, lane in lanes.items()]

    def _loops(self) -> dict[str, Loop]:
        """All that goes round while the service lives, by names that the log and health use."""
        interval = self.settings
        heartbeat = partial(
            self._heartbeat.regularly, self.health.after_heartbeat, partial(self._ticks.tick, "heartbeat")
        )
        own: dict[str, Loop] = {
            "heartbeat": self._expected("heartbeat", heartbeat, interval.heartbeat_interval),
            "statistics": partial(self._reports.regularly, self.health.vital),
            "backlog report": self._reports.large_backlog,
            "health": self._expected("health", self.health.watch),
            "health measurement": self._expected("health measurement", self.health.measure),
            "ledger": self._expected("ledger", self.health.keep),
        }
        observers: dict[str, Loop] = {type(observer).__name__: observer.regularly for observer in self.observers}
        return {**self._eyes(), **own, **observers}

    def _eyes(self) -> dict[str, Loop]:
        """The loops that find work."""
        scans: dict[str, Loop] = {
            "scan": self._expected(
                "scan", partial(self._scans.regularly, self._after_scan), self.settings.scan_interval
            )
        }
        if self._clips is not None:
            self._clips.on_round = partial(self._ticks.tick, "scan for clips")
            scans["scan for clips"] = self._expected("scan for clips", self._clips.regularly)
        if self.api is None:
            return {**scans, "inotify": self._scans.watch}
        self.api.on_round = partial(self._ticks.tick, "Frigate's API")
        waiting = {name: partial(_after, self.api.has_asked, scan) for name, scan in scans.items()}
        return {"Frigate's API": self._expected("Frigate's API", self.api.regularly), **waiting}

    def _expected(self, name: str, loop: Loop, interval: float = 0.0) -> Loop:
        """The loop, which from its start on has to tick at least every interval and some minutes."""

        async def run() -> None:
            self._ticks.expect_once(name, interval + _LOOP_PATIENCE)
            await loop()
            self._ticks.forget(name)

        return run

    async def run_once(self, advance: Callable[[int, int], None]) -> int:
        """Mirror all that is there now; returns how many entries are left that are not in the bucket.

        `advance` is told now and then how many were sent, and of how many that are known so far.
        """
        self._end.listen()
        await self._calls.call(self.health.note_start)
        uploads = self._start_uploads()
        looking = [
            asyncio.create_task(loop) for loop in (self._reports.progress(advance), self.health.watch(quiet=True))
        ]
        try:
            if self.api is not None:
                await self.api.everything()
            if self.api is None or self.api.problem is None:
                await self._scans.everything()
            if self.discovery.problem is None:
                await self._find_clips()
                # Playlists come second, once their segments are in the bucket.
                if await self._drain() and await self._find_clips():
                    await self._drain()
        finally:
            await self._stop(uploads)
            for task in looking:
                task.cancel()
            await self._reports.advance(advance)
        left = await self._calls.call(self.ledger.left)
        return int(left) + any(self._unseen)

    async def _find_clips(self) -> int:
        try:
            return await self._clips.everything() if self._clips is not None else 0
        except FrigateError as error:
            self.discovery.note_problem(error)
            return 0

    async def _upload_clips(self) -> None:
        """What was broken off before goes first: later it could not be told from what is under way."""
        if self._perhaps_abandoned:
            await asyncio.to_thread(abort_abandoned, self.settings, self._perhaps_abandoned)
        await self.clip_uploader.run()

    async def _stop(self, uploads: Sequence[asyncio.Task[None]]) -> None:
        for lane in self.lanes:
            lane.stop()
        _, late = await asyncio.wait(uploads, timeout=self.settings.shutdown_grace + _END_PATIENCE)
        for upload in late:
            upload.cancel()

    @property
    def problems(self) -> list[str]:
        """What keeps something from the bucket, a sentence for each."""
        of_lanes = [
            problem for lane in self.lanes for problem in (lane.problem, lane.files.sentence, lane.refused.sentence)
        ]
        return list(dict.fromkeys(problem for problem in (*self._unseen, *of_lanes) if problem is not None))

    @property
    def _unseen(self) -> list[str | None]:
        """Why there may be more of Frigate's than the ledger knows."""
        return [self.discovery.problem, self._frigate.clips_folder.trouble, self._frigate.recordings_folder.trouble]

    @property
    def is_broken(self) -> bool:
        """Whether the service ended because its ledger is damaged; the next start sets it aside."""
        return self._calls.damage is not None

    def _ledger_is_damaged(self) -> None:
        logger().error(
            "S3 snapshot mirror: the ledger %s is damaged (%s); the service ends, and its next start makes a new one",
            self.ledger.path, self._calls.damage,
        )  # fmt: skip
        self._end.ask()

    async def _drain(self) -> bool:
        """Wait until nothing is left that could be sent (True), or S3 or Frigate has not answered for too long."""
        last_sign = self.clock.monotonic()
        while not self._end.is_near:
            stuck = [lane for lane in self.lanes if lane.is_stuck]
            if not stuck or any(lane.is_working for lane in self.lanes if lane not in stuck):
                last_sign = self.clock.monotonic()
            elif (
                any(lane.breaker.error_class is ErrorClass.CONFIGURATION for lane in stuck)
                or self.clock.monotonic() - last_sign > _ONCE_PATIENCE
            ):
                return False
            if all(lane.is_idle for lane in self.lanes):
                if not await self._calls.call(self.ledger.backlog) and not await self._scans.files_settle():
                    return True
                for lane in self.lanes:
                    lane.look_again()
            await asyncio.sleep(0.02)
        return False

    # -- the pipeline ----------------------------------------------------------------------------------------------

    async def _record(self, entries: Sequence[Entry], urgent: bool) -> int:  # noqa: FBT001
        """Discovered entries go into the ledger first, then to the uploader."""
        if not urgent and entries and entries[0].kind is not Kind.CLIP:
            self._ticks.tick("scan")  # a page of a large table
        entries = [entry for entry in entries if entry.identity not in self._homeless]  # settling them records them
        try:
            taken: list[Entry] = await self._calls.call(self.ledger.record, entries, self.clock.now())
        except sqlite3.OperationalError as error:
            taken = self._take_in(await self._calls.call(self.ledger.unknown, entries), error)
        for entry in taken:
            if entry.state is State.FAILED:
                self._reports.tell_refused(entry)
        pending = [entry for entry in taken if entry.state is State.PENDING and entry.kind is not Kind.CLIP]
        left_out = list(self.uploader.offer(pending, urgent=urgent))
        clips = [entry for entry in taken if entry.state is State.PENDING and entry.kind is Kind.CLIP]
        left_out += self.clip_uploader.offer(clips, urgent=urgent)
        for entry in left_out:
            self._homeless.pop(entry.identity, None)  # the next scan finds it again
        if urgent and self.uploader.breaker.circuit is not Circuit.CLOSED:
            await self._keep(pending)
        return len(taken)

    def _take_in(self, entries: Sequence[Entry], error: sqlite3.OperationalError) -> list[Entry]:
        """The disk is full: uploads go on from memory, and settling writes these entries as soon as it can."""
        fresh: list[Entry] = []
        for entry in entries:
            if entry.state is State.PENDING:
                row = self._homeless[entry.identity] = min(self._homeless.values(), default=0) - 1
                fresh.append(replace(entry, row=row))
        if fresh:  # settling them clears it
            self.uploader.note_ledger_problem(error)
        return fresh

    def _settled(self, outcomes: Sequence[Outcome]) -> None:
        """The ledger holds these outcomes: tell of them, and bring the exports up to date."""
        self._reports.tell(outcomes, retries=self.uploader.breaker.circuit is Circuit.CLOSED)
        for outcome in outcomes:
            if outcome.state is State.UPLOADED:
                self.spool.drop(outcome.entry.source)
            self._homeless.pop(outcome.entry.identity, None)
        if any(outcome.state is not State.PENDING for outcome in outcomes):
            self._calls.soon(self._exports.add, outcomes)
        tell_all(self.observers, lambda observer: observer.settled(outcomes))

    async def _after_scan(self) -> None:
        """What is cheap and regular: changes by other processes, the parent, the spool."""
        self._ticks.tick("scan")
        if self.health.is_starting and self._is_first_copy_done():
            self.health.is_starting = False
            self._heartbeat.renew()
        for lane in self.lanes:
            lane.look_again()
        self._end.look_for_parent()
        await self._spool_backlog()

    def _is_first_copy_done(self) -> bool:
        """Whether what was there at the start is compared and sent; a long one is no start any more."""
        if not self._scans.is_ready or (self.api is not None and not self.api.is_whole):
            return False
        return self.uploader.is_idle or self.clock.monotonic() - self._opened_at > _LONGEST_START

    async def _spool_backlog(self) -> None:
        """While S3 does not take uploads, keep what waits, oldest first: that is what Frigate deletes next."""
        if self.uploader.breaker.circuit is Circuit.CLOSED:
            self._spooled_upto = 0.0
            return
        entries = await self._calls.call(self.ledger.oldest_pending_entries, self._spooled_upto, _SPOOL_PAGE)
        if entries:
            await self._keep(entries)
            self._spooled_upto = entries[-1].happened_at

    async def _keep(self, entries: Sequence[Entry]) -> None:
        await self._scans.in_thread(self.spool.keep_all, entries)


async def _after(event: asyncio.Event, loop: Loop) -> None:
    """Run a loop once something has happened."""
    await event.wait()
    await loop()
