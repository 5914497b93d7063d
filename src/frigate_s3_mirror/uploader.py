"""Uploads what the ledger calls pending: newest first, so many at a time, and settles what became of it.

Each worker thread takes an entry and does all of its upload; the event loop only fills their queue from the ledger and
settles their outcomes, both in batches, so an upload costs no hop between threads. The uploader owns the retrying: the
breaker for the service as a whole, a due time for each entry. An outcome is told to observers only after the ledger
holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.folders import Folder
from frigate_s3_mirror.lifecycle import State, after_error
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.pacer import Pacer
from frigate_s3_mirror.retry import Breaker, Circuit, Concurrency, ErrorClass
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.sending import Sender
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import RECORDING, SourceRefusedError, SourceUnreachableError, SourceVanishedError
from frigate_s3_mirror.trouble import Trouble

# Seconds that an outcome waits for others, so that they share a trip to the disk. What S3 has and the ledger not yet is
# sent again after a kill, so a burst waits shortly; in a long backlog the same few are nothing.
_GATHER = 0.002
_GATHER_IN_BACKLOG = 0.02
_FRIGATE_PATIENCE = 30.0  # seconds until files that Frigate does not hand out now are asked for again


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
    """Connects a lane of the backlog with the store; owns the queue, the workers and the breaker.

    `_turn` guards what workers and the event loop share: the queue, the claims, the outcomes, the breaker.
    """

    settings: Settings
    backlog: Backlog
    sender: Sender
    folder: Folder
    clock: Clock
    on_settled: Callable[[Sequence[Outcome]], None]
    keep: Callable[[Entry], object]
    """Keeps the file of an upload that failed, in case Frigate deletes it."""
    pacer: Pacer
    threads: int
    """How many uploads run at a time."""
    is_for_clips: bool = False
    breaker: Breaker = field(default_factory=Breaker)
    last_success_at: float | None = None
    problem: str | None = None
    """What is wrong with S3 now, as a sentence; None while it works."""
    files: Trouble = field(default_factory=Trouble)
    """Why Frigate's files cannot be had now."""
    ledger_problem: str | None = None
    """Why outcomes cannot be written, as a sentence; they are kept and tried again."""
    _turn: threading.Condition = field(default_factory=threading.Condition)
    _queue: list[tuple[float, int, Entry]] = field(default_factory=list)
    _claimed: set[int] = field(default_factory=set)
    """Rows in the queue, in flight, or not yet settled."""
    _flying: int = 0
    _finished: list[Outcome] = field(default_factory=list)
    _more: bool = True
    """The ledger may hold due entries that are not claimed."""
    _refilling: asyncio.Task[None] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    """Something finished, or the end is near."""
    _loop: asyncio.AbstractEventLoop | None = None
    _stopping: bool = False
    _given_up: bool = False
    _workers: list[threading.Thread] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)
    _concurrency: Concurrency = field(init=False)

    def __post_init__(self) -> None:
        self._concurrency = Concurrency(self.threads)

    # -- what others call, in the event loop -------------------------------------------------------------------------

    def offer(self, entries: Sequence[Entry], *, urgent: bool = False) -> None:
        """Hand over freshly recorded entries. Those of a backlog stay in the ledger when the queue is long enough."""
        with self._turn:
            for entry in entries:
                if not urgent and len(self._queue) >= 2 * self.settings.batch_size:
                    self._more = True
                    break
                self._push(entry)

    def look_again(self) -> None:
        """Something may be due in the ledger: a timer ran out, or another process changed it."""
        self._more = True
        self._refill_soon()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued, in flight or unsettled."""
        with self._turn:
            return not (self._queue or self._claimed or self._finished or self._more or self._refilling)

    @property
    def is_stuck(self) -> bool:
        """Whether what it has waits for S3, or for Frigate's files."""
        return self.breaker.circuit is not Circuit.CLOSED or self.files.sentence is not None

    @property
    def in_flight(self) -> int:
        """How many uploads are under way."""
        return self._flying

    @property
    def dead_workers(self) -> int:
        """How many of the threads are gone, though nobody asked them to end."""
        return 0 if self._stopping else sum(not worker.is_alive() for worker in self._workers)

    async def run(self) -> None:
        """Upload until `stop`; ends when the last outcome is settled, or the grace is over."""
        self._loop = asyncio.get_running_loop()
        name = "clip" if self.is_for_clips else "upload"
        for number in range(len(self._workers), self.threads):  # once, however often it is run anew
            self._workers.append(threading.Thread(target=self._work, name=f"{name} {number + 1}", daemon=True))
            self._workers[-1].start()
        self.look_again()
        await self._settle_loop()
        if self._refilling is not None:
            await self._refilling

    def stop(self) -> None:
        """Start nothing new; uploads in flight get the grace, and what is broken off stays pending."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
        self._end.set()
        self._news.set()
        asyncio.get_running_loop().call_later(self.settings.shutdown_grace, self._give_up)

    # -- what workers and the heartbeat call -----------------------------------------------------------------------

    def note_success(self) -> None:
        """S3 took something (an upload or a heartbeat): close the breaker and tell if it was open."""
        with self._turn:
            self.last_success_at = self.clock.now()
            self.problem = None
            was_open = self.breaker.succeeded()
            self._concurrency.succeeded()
            if was_open:
                self._turn.notify_all()
        if was_open:
            logger().info("S3 snapshot mirror: S3 answers again, uploads go on")
            self._in_loop(self._release_soon)

    def note_failure(self, error: StoreError, retry_after: float | None = None) -> None:
        """S3 as a whole failed: maybe open the breaker, and tell once what is wrong.

        `retry_after`: seconds for which S3 wants to be left alone, when it said so.
        """
        if error.error_class is ErrorClass.OBJECT:
            self._note_nothing()
            return
        with self._turn:
            was_closed = self.breaker.circuit is Circuit.CLOSED
            if error.asks_for_less:
                self._concurrency.slow_down(self.clock.monotonic())
            self.breaker.failed(error.error_class, self.clock.monotonic(), self.clock.chance(), retry_after)
            self._turn.notify_all()
            if self.breaker.circuit is Circuit.CLOSED:
                return
            is_news = was_closed or self.problem != str(error)
            self.problem = str(error)
        if is_news:
            level = logger().error if error.error_class is ErrorClass.CONFIGURATION else logger().warning
            level("S3 uploads wait: %s Nothing is lost; the backlog is kept and sent when S3 answers.", error)

    def _note_nothing(self) -> None:
        """An attempt ended that says nothing about S3: a probe that never reached it must not be the last one."""
        with self._turn:
            self.breaker.untold()
            self._turn.notify_all()

    def note_ledger_problem(self, error: Exception) -> None:
        """The ledger cannot be written: told once, and gone with the next success."""
        if self.ledger_problem is None:
            logger().error("S3 snapshot mirror cannot write its ledger (%s); uploads go on, trying again", error)
        self.ledger_problem = f"The ledger cannot be written ({error}); is its disk full?"

    def may_start(self) -> bool:
        """Whether the breaker lets a request of someone else's (the heartbeat's) through."""
        with self._turn:
            return self.breaker.may_start(self.clock.monotonic())

    # -- the queue -------------------------------------------------------------------------------------------------

    def _push(self, entry: Entry) -> None:
        if entry.row not in self._claimed:
            self._claimed.add(entry.row)
            heapq.heappush(self._queue, (-entry.happened_at, entry.row, entry))
            self._turn.notify()

    def _take(self) -> Entry | None:
        """The newest entry, as soon as one may start; None at the end."""
        with self._turn:
            while not self._stopping:
                patience = None
                if self._queue and self._concurrency.allows(self._flying):
                    now = self.clock.monotonic()
                    if self.breaker.may_start(now):
                        self._flying += 1
                        entry = heapq.heappop(self._queue)[2]
                        if self._more and self._refilling is None and self._is_short:
                            self._in_loop(self._refill_soon)
                        return entry
                    if self.breaker.circuit is Circuit.OPEN:
                        patience = self.breaker.opened_until - now
                self._turn.wait(patience)
        return None

    @property
    def _is_short(self) -> bool:
        return len(self._queue) < self.settings.batch_size

    def _refill_soon(self) -> None:
        if self._more and self._refilling is None and self._is_short and not self._stopping:
            self._refilling = asyncio.create_task(self._refill())

    def _release_soon(self) -> None:
        if self._refilling is None and not self._stopping:
            self._refilling = asyncio.create_task(self._refill(release=True))

    async def _refill(self, *, release: bool = False) -> None:
        self._more = False
        try:
            if release:
                await self.backlog.release()
            with self._turn:
                known = frozenset(self._claimed)
            entries = await self.backlog.due(self.settings.batch_size, known)
            with self._turn:
                for entry in entries:
                    self._push(entry)
            self._more = self._more or len(entries) == self.settings.batch_size
            if not entries and (due := await self.backlog.next_due()) is not None:
                asyncio.get_running_loop().call_later(max(0.05, due - self.clock.now()), self.look_again)
        except Exception:  # noqa: BLE001  # outermost frame of this task: told, and tried again at the next scan
            logger().exception("S3 snapshot mirror cannot read its ledger; trying again")
            return
        finally:
            self._refilling = None
        self._refill_soon()

    def _in_loop(self, call: Callable[[], object]) -> None:
        """Have the event loop call this, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: this upload was broken off
            if self._loop is not None:
                self._loop.call_soon_threadsafe(call)

    # -- a worker's life -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (entry := self._take()) is not None:
            outcome = self.attempt(entry)
            with self._turn:
                self._flying -= 1
                self._finished.append(outcome)
                self._turn.notify()
                is_first = len(self._finished) == 1
            if is_first or self._stopping:
                self._in_loop(self._news.set)

    def attempt(self, entry: Entry) -> Outcome:
        """What one attempt came to; for the worker threads."""
        try:
            outcome = self.sender.send(entry, self._pace)
        except SourceUnreachableError as error:
            self._note_nothing()
            return self._unreachable(entry, str(error))
        except SourceVanishedError:
            self._note_nothing()
            return self._vanished(entry)
        except SourceRefusedError as error:
            self._note_nothing()
            return self._refused(entry, StoreError(ErrorClass.OBJECT, f"{error}."))
        except StoreError as error:
            self.keep(entry)  # first, or the next try might fetch it from Frigate once more
            asks = error.asks_for_less and self.breaker.circuit is not Circuit.OPEN
            retry_after = self.sender.retry_after(entry) if asks else None
            with self._turn:  # in one step, so that the newest entry is also the next probe
                self.note_failure(error, retry_after)
                outcome = self._after(entry, error)
                if outcome.is_queued_again:
                    again = _again(outcome)
                    heapq.heappush(self._queue, (-again.happened_at, again.row, again))
            return outcome
        except Exception as error:  # noqa: BLE001  # outermost frame of this attempt: counted against the entry and told
            logger().exception("S3 upload failed in an unforeseen way event=%s", entry.event.id)
            self._note_nothing()
            return self._refused(entry, StoreError(ErrorClass.OBJECT, f"Unforeseen: {error!r}."))
        self.note_success()
        self.files.is_over()
        return outcome

    def _pace(self, size_bytes: int) -> None:
        """Keep to the bandwidth limit; at a stop the last ones go at once."""
        self._end.wait(self.pacer.reserve(size_bytes, self.clock.monotonic(), clip=self.is_for_clips))

    def _unreachable(self, entry: Entry, reason: str) -> Outcome:
        """Frigate does not hand out its files now: nobody's fault but Frigate's, so nothing is counted."""
        with self._turn:
            is_news = self.files.met(reason, self.clock.monotonic())
        if is_news:
            logger().warning("S3 uploads wait: %s Nothing is lost; trying again.", reason)
        at = self.clock.now() + _FRIGATE_PATIENCE
        return Outcome(entry, State.PENDING, entry.attempts, entry.deferrals + 1, at, reason, is_told=True)

    def _vanished(self, entry: Entry) -> Outcome:
        """The file was seen before and is gone: a loss, unless the whole folder is away."""
        if (problem := self.folder.blame()) is not None:
            return self._unreachable(entry, problem)
        self.files.is_over()
        return Outcome(
            entry,
            State.EXPIRED,
            entry.attempts,
            entry.deferrals,
            0.0,
            f"{entry.source.removeprefix(RECORDING)} vanished before it was uploaded.",
        )

    def _refused(self, entry: Entry, error: StoreError) -> Outcome:
        self.keep(entry)
        return self._after(entry, error)

    def _after(self, entry: Entry, error: StoreError) -> Outcome:
        waits = self.breaker.circuit is not Circuit.CLOSED
        step = after_error(
            error.error_class, entry.attempts, entry.deferrals, most=self.settings.max_failed_retries,
            now=self.clock.now(), chance=self.clock.chance(), service_waits=waits,
        )  # fmt: skip
        keeps_its_place = waits and error.error_class is not ErrorClass.OBJECT and entry.row in self._claimed
        return Outcome(
            entry, step.state, step.attempts, step.deferrals, step.next_attempt_at, str(error), is_queued_again=keeps_its_place
        )  # fmt: skip

    # -- settling --------------------------------------------------------------------------------------------------

    async def _settle_loop(self) -> None:
        """Write outcomes in batches: while one transaction waits for the disk, the next batch gathers."""
        while not self._has_landed:
            await self._news.wait()
            self._news.clear()
            if self._flying and not self._stopping:
                await asyncio.sleep(_GATHER if self._is_short else _GATHER_IN_BACKLOG)
            with self._turn:
                batch, self._finished = self._finished, []
            if batch:
                await self._settle(batch)

    @property
    def _has_landed(self) -> bool:
        return self._stopping and not self._finished and (self._flying == 0 or self._given_up)

    def _give_up(self) -> None:
        """The grace is over: what is still in flight stays pending."""
        if self._flying:
            logger().warning(
                "S3 snapshot mirror stops with %d uploads unfinished; they are sent at the next start", self._flying
            )
        self._given_up = True
        self._news.set()

    async def _settle(self, batch: list[Outcome]) -> None:
        while True:
            try:
                await self.backlog.settle(batch)
                self.ledger_problem = None
                break
            except Exception as error:  # noqa: BLE001  # a full disk must not lose what S3 acknowledged
                self.note_ledger_problem(error)
                if self._stopping:
                    return
                await asyncio.sleep(1)
        with self._turn:
            self._claimed.difference_update(outcome.entry.row for outcome in batch if not outcome.is_queued_again)
        self.on_settled(batch)
        if any(outcome.state is State.PENDING for outcome in batch):
            self.look_again()


def _again(outcome: Outcome) -> Entry:
    return replace(
        outcome.entry, attempts=outcome.attempts, deferrals=outcome.deferrals, next_attempt_at=outcome.next_attempt_at,
        last_error=outcome.error,
    )  # fmt: skip
