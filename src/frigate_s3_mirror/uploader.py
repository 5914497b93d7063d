"""Uploads what the ledger calls pending: newest first, so many at a time, and settles what became of it.

Each worker thread takes an entry and does all of its upload; the event loop only fills their queue from the ledger and
settles their outcomes, both in batches, so an upload costs no hop between threads. The uploader owns the retrying: the
breaker for the service as a whole, a due time for each entry. An outcome is told to observers only after the ledger
holds it.

Nothing that goes wrong with one entry, or with one of the parts that are called here, stops the others: a worker's attempt
always comes to an outcome, a worker that dies is replaced, and what observers raise is told and left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import heapq
import sqlite3
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Protocol

from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.folders import Folder
from frigate_s3_mirror.ledger_file import LedgerError
from frigate_s3_mirror.lifecycle import State, after_error
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.pacer import Pacer, Slot
from frigate_s3_mirror.retry import LONGEST_DELAY, Breaker, Circuit, Concurrency, ErrorClass, full_jitter
from frigate_s3_mirror.runtime.worker_threads import WorkerThreads
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.sending import Sender
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import (
    RECORDING,
    SourceRefusedError,
    SourceUnfinishedError,
    SourceUnreachableError,
    SourceUnreadableError,
    SourceVanishedError,
    unreadable,
)
from frigate_s3_mirror.trouble import Trouble
from frigate_s3_mirror.upload.blame import Culprit, Refusals

# Seconds that an outcome waits for others, so that they share a trip to the disk. What S3 has and the ledger not yet is
# sent again after a kill, so a burst waits shortly; in a long backlog the same few are nothing.
_GATHER = 0.002
_GATHER_IN_BACKLOG = 0.02
_FRIGATE_PATIENCE = 30.0  # seconds until files that Frigate does not hand out now are asked for again
_WRITING_PAUSE, _LONGEST_WRITING_PAUSE = 0.5, 5.0  # seconds until a file that is being written is read again
_LONG_WRITING = 30  # tries after which that is no longer the normal end of an event, and is told
_STUMBLE_PAUSE = 1.0  # seconds after something that should not happen
_STUBBORN_PAUSE = 60.0  # seconds, at most, until an outcome is settled again that the ledger refuses alone
_LONGEST_BLINK = 1.0  # seconds until a worker that waits for the line looks again: the other lane may have freed it
_HEARTBEAT = "heartbeat"
_LONGEST_SHORT_PAUSE = 8.0  # seconds until a file that this machine cannot read is tried again ...
_SOON_OVER = 20  # ... so many times; then it is rarer
_SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What fewer uploads at a time need less of."""


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
    make_way: Callable[[Sequence[str]], bool] = lambda _acknowledged: False
    """Makes room on the ledger's disk; gets the sources that S3 has acknowledged, returns whether there is more room."""
    breaker: Breaker = field(default_factory=Breaker)
    last_success_at: float | None = None
    problem: str | None = None
    """What is wrong with S3 now, as a sentence; None while it works."""
    files: Trouble = field(default_factory=Trouble)
    """Why Frigate's files cannot be had now."""
    refused: Trouble = field(default_factory=Trouble)
    """Which objects S3 refuses alone, while they are not given up."""
    ledger_problem: str | None = None
    """Why outcomes cannot be written, as a sentence; they are kept and tried again."""
    _turn: threading.Condition = field(default_factory=threading.Condition)
    _queue: list[tuple[float, int, Entry]] = field(default_factory=list)
    _urgent: set[int] = field(default_factory=set)
    """Rows in the queue that are news: not tried before."""
    _number: Callable[[], int] = field(default_factory=lambda: count().__next__)
    _claimed: set[int] = field(default_factory=set)
    """Rows in the queue, in flight, or not yet settled."""
    _in_flight: dict[Hashable, Entry] = field(default_factory=dict)
    """What each worker has in its hands, by its number."""
    _finished: list[Outcome] = field(default_factory=list)
    _more: bool = True
    """The ledger may hold due entries that are not claimed."""
    _refilling: asyncio.Task[None] | None = None
    _timer: asyncio.TimerHandle | None = None
    """Wakes it when the next entry is due."""
    _releases: bool = False
    """Deferred entries are to be made due now."""
    _cannot_read: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    """Something finished, or the end is near."""
    _loop: asyncio.AbstractEventLoop | None = None
    _stopping: bool = False
    _given_up: bool = False
    _end: threading.Event = field(default_factory=threading.Event)
    _refusals: Refusals = field(default_factory=Refusals)
    _opened_by_uploads: bool = False
    """The breaker is open since S3 takes no upload; that a heartbeat passes does not close it."""
    _stubborn: dict[int, int] = field(default_factory=dict)
    """Rows whose outcomes the ledger refuses alone, and how often it did."""
    _concurrency: Concurrency = field(init=False)
    _workers: WorkerThreads = field(init=False)

    def __post_init__(self) -> None:
        self._concurrency = Concurrency(self.threads)
        self._workers = WorkerThreads(
            self.threads, "clip" if self.is_for_clips else "upload", self._work, self._tell_of_death
        )

    # -- what others call, in the event loop -------------------------------------------------------------------------

    def offer(self, entries: Sequence[Entry], *, urgent: bool = False) -> Sequence[Entry]:
        """Hand over freshly recorded entries. Returns those that were left out, since the queue is long enough.

        They are of a backlog, and stay in the ledger.
        """
        with self._turn:
            for number, entry in enumerate(entries):
                if not urgent and len(self._queue) >= 2 * self.settings.batch_size:
                    self._more = True
                    return entries[number:]
                if urgent and entry.row not in self._claimed:
                    self._urgent.add(entry.row)
                self._push(entry)
        return ()

    def look_again(self) -> None:
        """Something may be due in the ledger: a timer ran out, or another process changed it."""
        self._more = True
        self._refill_soon()
        self._guard(self._tidy_up)

    def _tidy_up(self) -> None:
        if self._loop is not None:
            self._workers.supervise()
        now = self.clock.monotonic()
        with self._turn:
            for trouble in (self.files, self.refused):
                trouble.forget_old(now)

    @property
    def is_working(self) -> bool:
        """Whether something is queued, in flight or unsettled; a look into the ledger alone is no work."""
        with self._turn:
            return bool(self._queue or self._claimed - set(self._stubborn) or self._finished)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued, in flight or unsettled."""
        with self._turn:
            return not (self.is_working or self._more or self._refilling)

    @property
    def is_stuck(self) -> bool:
        """Whether what it has waits for S3, for Frigate's files, or for a change of S3's mind about an object."""
        waits = self.files.sentence is not None or self.refused.sentence is not None or bool(self._stubborn)
        return self.breaker.circuit is not Circuit.CLOSED or waits

    @property
    def in_flight(self) -> int:
        """How many uploads are under way."""
        return len(self._in_flight)

    @property
    def dead_workers(self) -> int:
        """How many of the threads are gone, though nobody asked them to end."""
        return 0 if self._stopping else self._workers.dead

    async def run(self) -> None:
        """Upload until `stop`; ends when the last outcome is settled, or the grace is over."""
        self._loop = asyncio.get_running_loop()
        self._workers.supervise()
        self._guard(self.look_again)
        await self._settle_loop()
        if self._refilling is not None:
            await self._refilling

    def stop(self) -> None:
        """Start nothing new; uploads in flight get the grace, and what is broken off stays pending."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
        self._workers.stop()
        self._end.set()
        self._news.set()
        asyncio.get_running_loop().call_later(self.settings.shutdown_grace, self._give_up)

    # -- what workers and the heartbeat call -----------------------------------------------------------------------

    def note_success(self) -> None:
        """S3 took a heartbeat: close the breaker, unless that is open since S3 takes heartbeats alone."""
        now = self.clock.monotonic()
        with self._turn:
            self._refusals.forget(_HEARTBEAT)
            self._refusals.alive(now)
            waits = self._queue or self._in_flight
            if self._opened_by_uploads and waits and self.breaker.circuit is not Circuit.CLOSED:
                self.last_success_at = self.clock.now()
                self._note_nothing()
                return
        self._s3_answers()

    def note_failure(self, error: StoreError, retry_after: float | None = None) -> None:
        """S3 refused a heartbeat, or did not answer: maybe open the breaker, and tell once what is wrong.

        `retry_after`: seconds for which S3 wants to be left alone, when it said so.
        """
        with self._turn:
            culprit, error = self._blamed(_HEARTBEAT, error)
            if culprit is Culprit.BUCKET:
                self._note_failure(error, retry_after)
            else:
                self._note_nothing()

    def _took(self, entry: Entry) -> None:
        """S3 took an upload: all is well again for all, and for this entry."""
        self._s3_answers()
        with self._turn:
            self._refusals.taken(entry.identity, self.clock.monotonic())
            self._forget(entry)

    def _s3_answers(self) -> None:
        with self._turn:
            was_open = self.breaker.succeeded()
            self.problem = None
            self._opened_by_uploads = False
            self._concurrency.succeeded()
            if was_open:
                self._turn.notify_all()
            self.last_success_at = self.clock.now()
        if was_open:
            logger().info("S3 snapshot mirror: S3 answers again, uploads go on")
            self._in_loop(self._release_soon)

    def _note_failure(self, error: StoreError, retry_after: float | None) -> None:
        """S3 as a whole failed."""
        now, chance = self.clock.monotonic(), self.clock.chance()
        with self._turn:
            was_closed = self.breaker.circuit is Circuit.CLOSED
            if error.asks_for_less:
                self._concurrency.slow_down(now)
            self.breaker.failed(error.error_class, now, chance, retry_after)
            self._turn.notify_all()
            if self.breaker.circuit is Circuit.CLOSED:
                return
            is_news = was_closed or self.problem != str(error)
            self.problem = str(error)
        if is_news:
            level = logger().error if error.error_class is ErrorClass.CONFIGURATION else logger().warning
            level("S3 uploads wait: %s Nothing is lost; the backlog is kept and sent when S3 answers.", error)

    def _blamed(self, who: Hashable, error: StoreError) -> tuple[Culprit, StoreError]:
        """Who is to blame for an error of S3, and what it means then."""
        if error.error_class is ErrorClass.TRANSIENT:
            return Culprit.BUCKET, error
        now, others = self.clock.monotonic(), max(0, len(self._in_flight) - (who != _HEARTBEAT))
        culprit = self._refusals.refused(who, error, now, in_flight=others)
        match culprit, error.error_class:
            case Culprit.BUCKET, _ if error.is_ambiguous or error.error_class is ErrorClass.OBJECT:
                return culprit, _of_all(error)
            case Culprit.NOBODY_YET, ErrorClass.CONFIGURATION:
                return culprit, _of_one(error, "; the next ones show whether it is the same for all")
            case _, ErrorClass.CONFIGURATION if culprit is not Culprit.BUCKET:
                return culprit, _of_one(
                    error, " alone and takes others; a firewall or a rule of the bucket may forbid it"
                )
        return culprit, error

    def _note_nothing(self) -> None:
        """An attempt ended that says nothing about S3: a probe that never reached it must not be the last one."""
        with self._turn:
            self.breaker.untold()
            self._turn.notify_all()

    def _forget(self, entry: Entry) -> None:
        """What this entry waited for is over."""
        self.files.is_over(entry.identity)
        self.refused.is_over(entry.identity)

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
            heapq.heappush(self._queue, (-entry.happened_at, self._number(), entry))
            self._turn.notify()

    def _take(self, worker: int) -> tuple[Entry, Slot] | None:
        """The newest entry, and the room on the line for it, as soon as one may start; None at the end.

        The entry is chosen last, so that a new one waits for nothing that is reserved for others.
        """
        with self._turn:
            while not self._stopping:
                now = self.clock.monotonic()
                patience = self._patience(now)
                if patience == 0.0:
                    slot = self.pacer.start(now, clip=self.is_for_clips)
                    self.breaker.may_start(now, urgent=self._is_urgent)  # it may, and is the probe while S3 is away
                    entry = heapq.heappop(self._queue)[2]
                    self._urgent.discard(entry.row)
                    self._in_flight[worker] = entry
                    if self._more and self._refilling is None and self._is_short:
                        self._in_loop(self._refill_soon)
                    return entry, slot
                self._turn.wait(patience)
        return None

    def _patience(self, now: float) -> float | None:
        """Seconds until the newest entry may start; None for as long as nothing is told."""
        if not self._queue or not self._concurrency.allows(len(self._in_flight)):
            return None
        waits = min(_LONGEST_BLINK, self.pacer.busy_for(now, clip=self.is_for_clips))
        match self.breaker.circuit:
            case Circuit.HALF_OPEN:
                return None
            case Circuit.OPEN:
                waits = max(waits, self.breaker.next_start(urgent=self._is_urgent) - now)
        return max(0.0, waits)

    @property
    def _is_urgent(self) -> bool:
        """Whether the newest entry is news, for which a probe may come early."""
        return bool(self._queue) and self._queue[0][2].row in self._urgent

    @property
    def _is_short(self) -> bool:
        return len(self._queue) < self.settings.batch_size

    def _refill_soon(self) -> None:
        if self._more and self._refilling is None and self._is_short and not self._stopping:
            self._refilling = asyncio.create_task(self._refill())

    def _release_soon(self) -> None:
        self._releases = self._more = True
        if self._refilling is None and not self._stopping:
            self._refilling = asyncio.create_task(self._refill())

    async def _refill(self) -> None:
        self._more = False
        try:
            if self._releases:
                await self.backlog.release()
                self._releases = False
            next_due = await self.backlog.next_due()  # asked first, so that what becomes due meanwhile is not missed
            with self._turn:
                known = frozenset(self._claimed)
            entries = await self.backlog.due(self.settings.batch_size, known)
            with self._turn:
                for entry in entries:
                    self._push(entry)
            self._more = self._more or len(entries) == self.settings.batch_size
            if next_due is not None:
                self._look_again_in(max(0.05, next_due - self.clock.now()))
            self._cannot_read = False
        except Exception:  # noqa: BLE001  # outermost frame of this task: told once, and tried again
            if not self._cannot_read:
                logger().exception("S3 snapshot mirror cannot read its ledger; trying again")
            self._cannot_read = True
            self._look_again_in(_STUMBLE_PAUSE)
            return
        finally:
            self._refilling = None
        self._refill_soon()

    def _look_again_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.look_again)

    def _in_loop(self, call: Callable[[], object]) -> None:
        """Have the event loop call this, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: this upload was broken off
            if self._loop is not None:
                self._loop.call_soon_threadsafe(call)

    # -- a worker's life -------------------------------------------------------------------------------------------

    def _work(self, worker: int) -> None:
        self._give_back(worker)
        while (taken := self._take(worker)) is not None:
            self._finish(worker, self.attempt(*taken))

    def _give_back(self, worker: int) -> None:
        """A predecessor that died left its entry: it is tried again."""
        if (entry := self._in_flight.get(worker)) is not None:
            self._note_nothing()
            self._finish(worker, _stumbled(entry, "its upload broke off"))

    def _finish(self, worker: int, outcome: Outcome) -> None:
        with self._turn:
            self._in_flight.pop(worker, None)
            self._finished.append(outcome)
            if outcome.is_queued_again:
                again = _again(outcome)
                heapq.heappush(self._queue, (-again.happened_at, self._number(), again))
            self._turn.notify()
            is_first = len(self._finished) == 1
        if is_first or self._stopping:
            self._in_loop(self._news.set)

    def _tell_of_death(self, name: str, error: BaseException | None) -> None:
        self._note_nothing()
        logger().error("S3 snapshot mirror: the thread '%s' died and is replaced", name, exc_info=error)

    def _guard(self, call: Callable[[], object]) -> bool:
        """Call what must not stop this thread, whatever it raises; returns whether it went well."""
        try:
            call()
        except BaseException:  # noqa: BLE001  # panics of native code are no Exception
            with contextlib.suppress(BaseException):
                logger().exception("S3 snapshot mirror: something unforeseen; it goes on")
            return False
        return True

    def attempt(self, entry: Entry, slot: Slot | None = None) -> Outcome:
        """What one attempt came to, whatever happens in it; for the worker threads."""
        slot = slot or Slot(self.is_for_clips, 0)
        booked = [0]
        try:
            outcome = self.sender.send(entry, partial(self._book, slot, booked))
        except BaseException as error:  # noqa: BLE001  # outermost frame of this attempt
            return self._failed(entry, error)
        finally:
            if not booked[0]:
                self._book(slot, booked, 0)
        if not self._guard(lambda: self._took(entry)):
            self._note_nothing()
        return outcome

    def _book(self, slot: Slot, booked: list[int], size_bytes: int) -> None:
        """The size of what is sent is known: the line is free for the next after so long."""
        booked[0] = 1
        if self.pacer.bytes_per_second is None:
            return
        self._guard(lambda: self.pacer.book(slot, size_bytes))
        with self._turn:
            self._turn.notify()

    def _failed(self, entry: Entry, error: BaseException) -> Outcome:
        """What follows from an error. What goes wrong in finding out costs a second, and nothing is counted."""
        try:
            return self._judged(entry, error)
        except BaseException as another:  # noqa: BLE001  # panics of native code are no Exception
            with contextlib.suppress(BaseException):
                logger().exception("S3 upload failed in an unforeseen way event=%s", entry.event.id)
            self._note_nothing()
            return _stumbled(entry, f"Unforeseen: {type(another).__name__} after {type(error).__name__}")

    def _judged(self, entry: Entry, error: BaseException) -> Outcome:
        if isinstance(error, StoreError):
            return self._not_taken(entry, error)
        self._note_nothing()
        if isinstance(error, OSError):
            error = unreadable(entry.source or "its file", error)
        match error:
            case SourceUnfinishedError():
                outcome = self._unfinished(entry, error)
            case SourceUnreadableError():
                outcome = self._unreadable(entry, error)
            case SourceUnreachableError():
                outcome = self._unreachable(entry, str(error))
            case SourceVanishedError():
                outcome = self._vanished(entry)
            case SourceRefusedError():
                outcome = self._refused(entry, StoreError(ErrorClass.OBJECT, f"{error}."))
            case _:
                outcome = self._unforeseen(entry, error)
        return outcome

    def _not_taken(self, entry: Entry, error: StoreError) -> Outcome:
        """S3 did not take it: because of the object, or of what holds for all."""
        self._keep(entry)  # first, or the next try might fetch it from Frigate once more
        retry_after = self._retry_after(entry, error)
        with self._turn:  # in one step, so that the newest entry is also the next probe
            culprit, error = self._blamed(entry.identity, error)
            if culprit is Culprit.BUCKET:
                self._note_failure(error, retry_after)
                self._opened_by_uploads |= error.error_class is ErrorClass.CONFIGURATION
                self.refused.is_over(entry.identity)
                return self._after(entry, error)
            self._note_nothing()
        if culprit is Culprit.OBJECT:
            return self._refused(entry, StoreError(ErrorClass.OBJECT, str(error), code=error.code, status=error.status))
        return self._alone(entry, f"S3 does not take {entry.key}: {error}", str(error))

    def _alone(self, entry: Entry, sentence: str, reason: str) -> Outcome:
        """It waits by itself, uncounted, and the others go on."""
        self.refused.met(sentence, self.clock.monotonic(), who=entry.identity)
        step = after_error(
            ErrorClass.TRANSIENT, entry.attempts, entry.deferrals, most=self.settings.max_failed_retries,
            now=self.clock.now(), chance=self.clock.chance(), service_waits=False,
        )  # fmt: skip
        return Outcome(entry, step.state, step.attempts, step.deferrals, step.next_attempt_at, reason)

    def _retry_after(self, entry: Entry, error: StoreError) -> float | None:
        """Seconds for which S3 wants to be left alone; the usual backoff does where that cannot be found out."""
        if self.breaker.circuit is Circuit.OPEN:
            return None
        if error.retry_after is not None and error.status in {429, 503}:
            return error.retry_after
        if not error.asks_for_less:
            return None
        found: list[float | None] = [None]
        self._guard(lambda: found.append(self.sender.retry_after(entry)))
        return found[-1]

    def _keep(self, entry: Entry) -> None:
        self._guard(lambda: self.keep(entry))

    def _unfinished(self, entry: Entry, error: SourceUnfinishedError) -> Outcome:
        """Its file is still being written: read again in a moment."""
        if entry.deferrals > _LONG_WRITING:
            return self._own_trouble(entry, str(error), "still being written", _LONGEST_WRITING_PAUSE)
        pause = min(_LONGEST_WRITING_PAUSE, _WRITING_PAUSE * 2.0 ** min(entry.deferrals, 10))
        return self._deferred(entry, pause, str(error))

    def _unreadable(self, entry: Entry, error: SourceUnreadableError) -> Outcome:
        """This machine cannot read it now: nobody's fault but the machine's."""
        if error.code in _SHORT_OF:
            with self._turn:
                self._concurrency.slow_down(self.clock.monotonic())
        longest = LONGEST_DELAY if entry.deferrals > _SOON_OVER else _LONGEST_SHORT_PAUSE
        pause = full_jitter(entry.deferrals + 1, self.clock.chance(), longest=longest)
        return self._own_trouble(entry, str(error), f"errno {error.code}", max(0.2, pause))

    def _own_trouble(self, entry: Entry, sentence: str, kind: str, pause: float) -> Outcome:
        with self._turn:
            is_news = self.files.met(sentence, self.clock.monotonic(), who=entry.identity, kind=kind)
        if is_news:
            logger().warning("S3 uploads wait: %s Nothing is lost; trying again.", sentence)
        return self._deferred(entry, pause, sentence)

    def _unreachable(self, entry: Entry, reason: str) -> Outcome:
        """Frigate does not hand out its files now: nobody's fault but Frigate's, so nothing is counted."""
        with self._turn:
            is_news = self.files.met(reason, self.clock.monotonic())
        if is_news:
            logger().warning("S3 uploads wait: %s Nothing is lost; trying again.", reason)
        return self._deferred(entry, _FRIGATE_PATIENCE, reason)

    def _deferred(self, entry: Entry, pause: float, reason: str) -> Outcome:
        at = self.clock.now() + pause
        return Outcome(entry, State.PENDING, entry.attempts, entry.deferrals + 1, at, reason, is_told=True)

    def _vanished(self, entry: Entry) -> Outcome:
        """The file was seen before and is gone: a loss, unless the whole folder is away."""
        if (problem := self.folder.blame()) is not None:
            return self._unreachable(entry, problem)
        self._forget(entry)
        return Outcome(
            entry,
            State.EXPIRED,
            entry.attempts,
            entry.deferrals,
            0.0,
            f"{(entry.source or 'Its file').removeprefix(RECORDING)} vanished before it was uploaded.",
        )

    def _unforeseen(self, entry: Entry, error: BaseException) -> Outcome:
        """A mistake of ours, most likely: it counts as what S3 says of an object does, so that others must pass meanwhile."""
        logger().error("S3 upload failed in an unforeseen way event=%s", entry.event.id, exc_info=error)
        said = StoreError(ErrorClass.OBJECT, f"Unforeseen: {error!r}.", status=0)
        with self._turn:
            culprit, _ = self._blamed(entry.identity, said)
        if culprit is Culprit.OBJECT:
            return self._refused(entry, said)
        self._keep(entry)
        return self._alone(entry, f"{entry.key} cannot be sent: {said}", str(said))

    def _refused(self, entry: Entry, error: StoreError) -> Outcome:
        """Counted against this entry."""
        self._keep(entry)
        outcome = self._after(entry, error)
        self._forget(entry)
        if outcome.state is State.FAILED:
            with self._turn:
                self._refusals.forget(entry.identity)
        return outcome

    def _after(self, entry: Entry, error: StoreError) -> Outcome:
        waits = self.breaker.circuit is not Circuit.CLOSED
        step = after_error(
            error.error_class, entry.attempts, entry.deferrals, most=self.settings.max_failed_retries,
            now=self.clock.now(), chance=self.clock.chance(), service_waits=waits,
        )  # fmt: skip
        is_recorded = entry.row > 0  # else settling gives it a row of its own, under which it is queued then
        keeps_its_place = (
            waits and error.error_class is not ErrorClass.OBJECT and is_recorded and entry.row in self._claimed
        )
        return Outcome(
            entry, step.state, step.attempts, step.deferrals, step.next_attempt_at, str(error), is_queued_again=keeps_its_place
        )  # fmt: skip

    # -- settling --------------------------------------------------------------------------------------------------

    async def _settle_loop(self) -> None:
        """Write outcomes in batches: while one transaction waits for the disk, the next batch gathers."""
        while not self._has_landed:
            await self._news.wait()
            self._news.clear()
            if self._in_flight and not self._stopping:
                await asyncio.sleep(_GATHER if self._is_short else _GATHER_IN_BACKLOG)
            with self._turn:
                batch, self._finished = self._finished, []
            try:
                await self._settle(batch)
            except Exception:  # noqa: BLE001  # outermost frame of this task: told, and the batch is settled again
                logger().exception("S3 snapshot mirror cannot settle its uploads; trying again")
                with self._turn:
                    self._finished[:0] = batch
                self._news.set()
                await asyncio.sleep(_STUMBLE_PAUSE)

    @property
    def _has_landed(self) -> bool:
        return self._stopping and not self._finished and (not self._in_flight or self._given_up)

    def _give_up(self) -> None:
        """The grace is over: what is still in flight stays pending."""
        if self._in_flight:
            logger().warning(
                "S3 snapshot mirror stops with %d uploads unfinished; they are sent at the next start",
                len(self._in_flight),
            )
        self._given_up = True
        self._news.set()

    async def _settle(self, batch: list[Outcome]) -> None:
        """Write the batch, however long that takes; then tell of it. Its rows are claimed until they are written."""
        written = await self._written(batch) if batch else []
        for outcome in written if self._stubborn else ():
            self._stubborn.pop(outcome.entry.row, None)
        with self._turn:
            self._claimed.difference_update(outcome.entry.row for outcome in written if not outcome.is_queued_again)
        if written:
            self._guard(lambda: self.on_settled(written))
        if any(outcome.state is State.PENDING for outcome in written):
            self._guard(self.look_again)

    async def _written(self, batch: list[Outcome]) -> list[Outcome]:
        """Returns what the ledger took: all of the batch, but for what it refuses alone, and at a stop maybe nothing."""
        while True:
            try:
                await self.backlog.settle(batch)
            except (sqlite3.OperationalError, LedgerError, OSError) as error:
                self.note_ledger_problem(error)  # a full disk must not lose what S3 acknowledged
                if await self._make_way(batch):
                    continue
                if self._stopping:
                    return []
                await asyncio.sleep(_STUMBLE_PAUSE)
            except Exception as error:  # noqa: BLE001  # one odd outcome must not hold up the others
                if len(batch) > 1:
                    middle = len(batch) // 2
                    return [*await self._written(batch[:middle]), *await self._written(batch[middle:])]
                self._set_aside(batch[0], error)
                return []
            else:
                self.ledger_problem = None
                return batch

    async def _make_way(self, batch: list[Outcome]) -> bool:
        """The ledger's disk may be full of what only settling would free."""
        acknowledged = [o.entry.source for o in batch if o.state is State.UPLOADED and o.entry.source]
        found: list[bool] = []
        await asyncio.to_thread(self._guard, lambda: found.append(self.make_way(acknowledged)))
        return any(found)

    def _set_aside(self, outcome: Outcome, error: Exception) -> None:
        """The ledger refuses this one: it stays claimed, so that it is not sent over and over, and is tried again later."""
        tries = self._stubborn[outcome.entry.row] = self._stubborn.get(outcome.entry.row, 0) + 1
        if tries == 1:
            logger().error(
                "S3 snapshot mirror cannot write down what became of event=%s (%r); trying again",
                outcome.entry.event.id, error,
            )  # fmt: skip
        if not self._stopping:
            pause = min(_STUBBORN_PAUSE, _STUMBLE_PAUSE * 2.0 ** min(tries - 1, 10))
            asyncio.get_running_loop().call_later(pause, self._settle_again, outcome)

    def _settle_again(self, outcome: Outcome) -> None:
        with self._turn:
            self._finished.append(outcome)
        self._news.set()


def _of_all(error: StoreError) -> StoreError:
    """What an object's refusal means when every object gets it."""
    sentence = (
        f"S3 takes no object at all, and says the same of each. {error} Check S3_ENDPOINT_URL (https, the port, a proxy in "
        "front), S3_PROVIDER, and what the bucket demands (Object Lock, encryption, tags)."
    )
    return StoreError(ErrorClass.CONFIGURATION, sentence, code=error.code, status=error.status)


def _of_one(error: StoreError, more: str) -> StoreError:
    """What a refusal of the key means when it may be, or is known to be, the object's alone."""
    said = error.code or f"status {error.status}"
    sentence = f"S3 says {said} to this object{more}."
    return StoreError(error.error_class, sentence, code=error.code, status=error.status)


def _stumbled(entry: Entry, reason: str) -> Outcome:
    """For what should not happen: nothing is counted, and nothing is asked that might fail, too."""
    at = time.time() + _STUMBLE_PAUSE
    return Outcome(entry, State.PENDING, entry.attempts, entry.deferrals + 1, at, f"{reason}.", is_told=True)


def _again(outcome: Outcome) -> Entry:
    return replace(
        outcome.entry, attempts=outcome.attempts, deferrals=outcome.deferrals, next_attempt_at=outcome.next_attempt_at,
        last_error=outcome.error,
    )  # fmt: skip
