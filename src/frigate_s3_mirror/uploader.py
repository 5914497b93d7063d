"""Uploads what the ledger calls pending: newest first, so many at a time, and settles what became of it.

It owns the retrying: the breaker for the service as a whole, a due time for each entry. An outcome is told to
observers only after the ledger holds it.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.keys import CONTENT_TYPES, object_metadata
from frigate_s3_mirror.ledger import Entry, Outcome
from frigate_s3_mirror.lifecycle import State, after_error
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.pacer import Pacer
from frigate_s3_mirror.retry import Breaker, Circuit, ErrorClass
from frigate_s3_mirror.s3 import Store, StoreError, Upload, md5_of_etag
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import SourceRefusedError, SourceVanishedError

_GATHER = 0.02  # seconds that an outcome waits for others, so that a burst shares its trips to the disk


@dataclass(frozen=True, slots=True)
class Body:
    """An entry's content, read once: small ones as bytes, large ones as a path to stream from."""

    content: bytes | None
    size_bytes: int
    sha256: str
    reopen: Callable[[], BinaryIO] | None = None
    """Opens the file again when `content` is None."""


class Reader(Protocol):
    """Where bodies come from; called from several threads."""

    def read(self, entry: Entry) -> Body:
        """Raises SourceVanishedError or SourceRefusedError."""
        ...


class Backlog(Protocol):
    """What the uploader needs of the ledger; each call runs in the ledger's thread."""

    async def due(self, limit: int, known: frozenset[int]) -> list[Entry]:
        """Pending entries that are due, newest first, at most `limit` besides the known rows."""
        ...

    async def next_due(self) -> float | None:
        """Unix seconds of the next due time, None when there is none."""
        ...

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes durably."""
        ...

    async def release(self) -> None:
        """Make deferred entries due now."""
        ...


@dataclass(slots=True)
class Uploader:
    """Connects the backlog with the store; owns the queue, the uploads in flight and the breaker."""

    settings: Settings
    backlog: Backlog
    store: Store
    reader: Reader
    clips_problem: Callable[[], str | None]
    clock: Clock
    on_settled: Callable[[Sequence[Outcome]], None]
    breaker: Breaker = field(default_factory=Breaker)
    last_success_at: float | None = None
    problem: str | None = None
    """What is wrong with S3 now, as a sentence; None while it works."""
    _queue: list[tuple[float, int, Entry]] = field(default_factory=list)
    _claimed: set[int] = field(default_factory=set)
    _flying: set[asyncio.Task[None]] = field(default_factory=set)
    _finished: list[Outcome] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _settle_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _refilling: asyncio.Task[None] | None = None
    _more: bool = True
    _stopping: bool = False
    _etags_are_md5: bool | None = None
    _pacer: Pacer = field(init=False)
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._pacer = Pacer(self.settings.bandwidth_limit)
        self._pool = ThreadPoolExecutor(self.settings.upload_threads, "upload")

    # -- what others call ------------------------------------------------------------------------------------------

    def offer(self, entries: Sequence[Entry], *, urgent: bool = False) -> None:
        """Hand over freshly recorded entries. Those of a backlog stay in the ledger when the queue is long enough."""
        for entry in entries:
            if entry.row in self._claimed:
                continue
            if not urgent and len(self._queue) >= 2 * self.settings.batch_size:
                self._more = True
                break
            self._push(entry)
        self._wake.set()

    def look_again(self) -> None:
        """Something may be due in the ledger: a timer ran out, or another process changed it."""
        self._more = True
        self._wake.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued, in flight or unsettled."""
        return not (self._queue or self._flying or self._finished or self._claimed or self._more or self._refilling)

    async def run(self) -> None:
        """Upload until `stop`; ends when the last outcome is settled."""
        settler = asyncio.create_task(self._settle_loop())
        try:
            while not self._stopping:
                self._wake.clear()
                delay = self.step(self.clock.monotonic())
                await _wait(self._wake, delay)
        finally:
            await self._land()
            self._settle_wanted.set()
            await settler
            self._pool.shutdown(wait=False, cancel_futures=True)

    def step(self, now: float) -> float | None:
        """Start all that may start now; returns the seconds after which to look again, None for "when told"."""
        if self._more and self._refilling is None and len(self._queue) < self.settings.batch_size:
            self._more = False
            self._refilling = asyncio.create_task(self._refill())
        while self._queue and len(self._flying) < self.settings.upload_threads and self.breaker.may_start(now):
            entry = heapq.heappop(self._queue)[2]
            task = asyncio.create_task(self._attempt(entry))
            self._flying.add(task)
            task.add_done_callback(self._flown)
        if self._queue and self.breaker.circuit is Circuit.OPEN:
            return max(0.01, self.breaker.opened_until - now)
        return None

    def stop(self) -> None:
        """Start nothing new; uploads in flight get the grace."""
        self._stopping = True
        self._wake.set()

    async def in_thread(self, put: Callable[[Upload], str], upload: Upload) -> str:
        """Run a put of someone else's (the heartbeat's) among the uploads' threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, put, upload)

    def note_success(self) -> None:
        """S3 took something (an upload or a heartbeat): close the breaker and tell if it was open."""
        self.last_success_at = self.clock.now()
        if self.breaker.succeeded():
            logger().info("S3 snapshot mirror: S3 answers again, uploads go on")
            self._refilling = self._refilling or asyncio.create_task(self._refill(release=True))
        self.problem = None

    def note_failure(self, error: StoreError) -> None:
        """S3 as a whole failed: maybe open the breaker, and tell once what is wrong."""
        if error.error_class is ErrorClass.OBJECT:
            return
        was_closed = self.breaker.circuit is Circuit.CLOSED
        self.breaker.failed(error.error_class, self.clock.monotonic(), self.clock.chance())
        if self.breaker.circuit is Circuit.CLOSED:
            return
        if was_closed or self.problem != str(error):
            level = logger().error if error.error_class is ErrorClass.CONFIGURATION else logger().warning
            level("S3 uploads wait: %s Nothing is lost; the backlog is kept and sent when S3 answers.", error)
        self.problem = str(error)

    # -- the queue -------------------------------------------------------------------------------------------------

    def _push(self, entry: Entry) -> None:
        self._claimed.add(entry.row)
        heapq.heappush(self._queue, (-entry.happened_at, entry.row, entry))

    async def _refill(self, *, release: bool = False) -> None:
        try:
            if release:
                await self.backlog.release()
            entries = await self.backlog.due(self.settings.batch_size, frozenset(self._claimed))
            for entry in entries:
                if entry.row not in self._claimed:
                    self._push(entry)
            self._more = self._more or len(entries) == self.settings.batch_size
            if not entries and (due := await self.backlog.next_due()) is not None:
                asyncio.get_running_loop().call_later(max(0.05, due - self.clock.now()), self.look_again)
        except Exception:  # noqa: BLE001  # outermost frame of this task: told, and tried again at the next scan
            logger().exception("S3 snapshot mirror cannot read its ledger; trying again")
        finally:
            self._refilling = None
            self._wake.set()

    def _flown(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        self._wake.set()

    async def _land(self) -> None:
        """Give uploads in flight the grace, then break them off; what is broken off stays pending."""
        if self._flying:
            _, late = await asyncio.wait(self._flying, timeout=self.settings.shutdown_grace)
            for task in late:
                task.cancel()
            if late:
                logger().warning(
                    "S3 snapshot mirror stops with %d uploads unfinished; they are sent at the next start",
                    len(late),
                )
                await asyncio.wait(late, timeout=1)
        if self._refilling is not None:
            await self._refilling

    # -- one attempt -----------------------------------------------------------------------------------------------

    async def _attempt(self, entry: Entry) -> None:
        outcome = await self._outcome(entry)
        self._finished.append(outcome)
        self._settle_wanted.set()

    async def _outcome(self, entry: Entry) -> Outcome:
        """What one attempt came to; reading, hashing and the request run in a thread."""
        if (delay := self._pacer.reserve(self._size(entry), self.clock.monotonic())) > 0:
            await asyncio.sleep(delay)
        try:
            outcome = await asyncio.get_running_loop().run_in_executor(self._pool, self._upload, entry)
        except SourceVanishedError:
            return self._vanished(entry)
        except SourceRefusedError as error:
            return self._refused(entry, StoreError(ErrorClass.OBJECT, f"{error}."))
        except StoreError as error:
            self.note_failure(error)
            return self._refused(entry, error)
        except Exception as error:  # noqa: BLE001  # outermost frame of this task: counted against the entry and told
            logger().exception("S3 upload failed in an unforeseen way event=%s", entry.event.id)
            return self._refused(entry, StoreError(ErrorClass.OBJECT, f"Unforeseen: {error!r}."))
        self.note_success()
        return outcome

    def _size(self, entry: Entry) -> int:
        """Bytes for the pacer; not worth asking for where there is no limit."""
        if self.settings.bandwidth_limit is None:
            return 0
        try:
            return (self.settings.clips_dir / entry.source).lstat().st_size
        except OSError:
            return 0

    def _upload(self, entry: Entry) -> Outcome:
        """Read, hash, put, check; in a thread."""
        started = self.clock.monotonic()
        body = self.reader.read(entry)
        content = body.reopen() if body.reopen is not None else body.content or b""
        upload = Upload(
            key=entry.key,
            body=content,
            size_bytes=body.size_bytes,
            content_type=CONTENT_TYPES[entry.key.rsplit(".", 1)[1]],
            metadata=object_metadata(entry.event, body.sha256),
            storage_class=self.settings.effective_storage_class,
        )
        try:
            etag = self.store.put(upload)
        finally:
            if not isinstance(content, bytes):
                content.close()
        acknowledged_at = self.clock.now()
        if isinstance(content, bytes):
            self._check_etag(etag, entry.key, content)
        return Outcome(
            entry,
            State.UPLOADED,
            entry.attempts,
            entry.deferrals,
            0.0,
            size_bytes=body.size_bytes,
            sha256=body.sha256,
            etag=etag,
            uploaded_at=acknowledged_at,
            duration_seconds=self.clock.monotonic() - started,
        )

    def _check_etag(self, etag: str, key: str, content: bytes) -> None:
        """Compare the ETag where it is an MD5. With KMS encryption it looks like one and is none, so the first that
        differs is settled by reading the object back; write-only keys cannot, and then the signed body has to do.
        """
        claimed = md5_of_etag(etag)
        if claimed is None or self._etags_are_md5 is False:
            return
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == claimed:
            self._etags_are_md5 = True
            return
        if self._etags_are_md5 is None:
            try:
                damaged = self.store.get(key) != content
            except StoreError:
                damaged = False
            if not damaged:
                self._etags_are_md5 = False
                logger().info("S3 ETags are no MD5 here (encrypted bucket?); the signature alone protects the bodies")
                return
        raise StoreError(
            ErrorClass.TRANSIENT, "S3 stored something else than was sent (its ETag differs); sending it again."
        )

    def _vanished(self, entry: Entry) -> Outcome:
        """The file was seen before and is gone: a loss, unless the whole folder is away."""
        now = self.clock.now()
        if (problem := self.clips_problem()) is not None:
            return Outcome(entry, State.PENDING, entry.attempts, entry.deferrals + 1, now + 30, problem)
        return Outcome(
            entry,
            State.EXPIRED,
            entry.attempts,
            entry.deferrals,
            0.0,
            f"{entry.source} vanished before it was uploaded.",
        )

    def _refused(self, entry: Entry, error: StoreError) -> Outcome:
        step = after_error(
            error.error_class, entry.attempts, entry.deferrals, most=self.settings.max_failed_retries,
            now=self.clock.now(), chance=self.clock.chance(), service_waits=self.breaker.circuit is not Circuit.CLOSED,
        )  # fmt: skip
        return Outcome(entry, step.state, step.attempts, step.deferrals, step.next_attempt_at, str(error))

    # -- settling --------------------------------------------------------------------------------------------------

    async def _settle_loop(self) -> None:
        """Write outcomes in batches: while one transaction waits for the disk, the next batch gathers."""
        while True:
            await self._settle_wanted.wait()
            self._settle_wanted.clear()
            if self._flying and not self._stopping:
                await asyncio.sleep(_GATHER)
            if batch := self._finished:
                self._finished = []
                await self._settle(batch)
            elif self._stopping:
                return
            if self._stopping and not self._flying:
                self._settle_wanted.set()

    async def _settle(self, batch: list[Outcome]) -> None:
        while True:
            try:
                await self.backlog.settle(batch)
                break
            except Exception as error:  # noqa: BLE001  # a full disk must not lose what S3 acknowledged
                logger().error("S3 snapshot mirror cannot write its ledger (%s); trying again", error)
                if self._stopping:
                    return
                await asyncio.sleep(1)
        self._claimed.difference_update(outcome.entry.row for outcome in batch)
        if any(outcome.state is State.PENDING for outcome in batch):
            self._more = True
        self.on_settled(batch)
        self._wake.set()


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for the event, at most so long; cheaper than wait_for, which makes a task each time."""
    timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, event.set)
    try:
        await event.wait()
    finally:
        if timer is not None:
            timer.cancel()
