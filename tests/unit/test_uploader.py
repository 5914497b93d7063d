"""The uploader with a real ledger: whatever goes wrong in a part that it calls, the others go on.

S3 is a sender that answers as it is told; the clock may stumble.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frigate_s3_mirror.clock import SystemClock
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.folders import DiskFolder
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import FILE_NAME
from frigate_s3_mirror.ledger_thread import LedgerThread
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.pacer import Pacer, Slot
from frigate_s3_mirror.retry import Circuit, ErrorClass
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.sending import Sender
from frigate_s3_mirror.sources import (
    SourceRefusedError,
    SourceUnfinishedError,
    SourceUnreachableError,
    SourceVanishedError,
    unreadable,
)
from frigate_s3_mirror.uploader import Backlog, Uploader

DEADLINE = 20.0


class NativePanic(BaseException):
    """What a panic of native code looks like."""


def bare_400() -> StoreError:
    return StoreError(ErrorClass.OBJECT, "S3 says status 400: the server refuses this object.", status=400)


def forbidden() -> StoreError:
    sentence = "S3 says AccessDenied: the key may not write here."
    return StoreError(ErrorClass.CONFIGURATION, sentence, code="AccessDenied", status=403)


def slow_down() -> StoreError:
    return StoreError(ErrorClass.TRANSIENT, "S3 says SlowDown.", code="SlowDown", status=503)


class Stumbling:
    """Raises what it is told to, once for each; None is a call that goes well."""

    def __init__(self, *errors: BaseException | None) -> None:
        self._errors, self._lock = list(errors), threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error

    def then(self, *errors: BaseException | None) -> None:
        with self._lock:
            self._errors += errors

    @property
    def is_over(self) -> bool:
        return not self._errors


class FakeSender:
    """S3 takes everything but what `answer` says."""

    def __init__(self) -> None:
        self.answer: Callable[[Entry], BaseException | None] = lambda _: None
        self.taken: list[str] = []
        self.tries: Counter[str] = Counter()
        self.size_bytes = 1000
        self.takes_seconds = 0.0
        self.most_at_once = self._at_once = 0
        self.stumbles, self.retry_after_stumbles = Stumbling(), Stumbling()
        self._lock = threading.Lock()

    def send(self, entry: Entry, pace: Callable[[int], None]) -> Outcome:
        with self._lock:
            self.tries[entry.object_key] += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if (error := self.answer(entry)) is not None:
                raise error
            self.stumbles()
            pace(self.size_bytes)
            time.sleep(self.takes_seconds)
            self.taken.append(entry.object_key)
            return Outcome(entry, State.UPLOADED, entry.attempts, entry.deferrals, 0.0, size_bytes=1, uploaded_at=2.0)
        finally:
            with self._lock:
                self._at_once -= 1

    def retry_after(self, entry: Entry) -> float | None:
        self.retry_after_stumbles()
        return None


class StumblingClock(SystemClock):
    """The machine's own, but for what it is told to raise."""

    def __init__(self) -> None:
        self.stumbles = Stumbling()

    def now(self) -> float:
        self.stumbles()
        return super().now()

    def monotonic(self) -> float:
        self.stumbles()
        return super().monotonic()

    def chance(self) -> float:
        return 0.1  # soon


class StumblingPacer(Pacer):
    """Without a limit, and with an error now and then."""

    def __init__(self) -> None:
        super().__init__(None)
        self.stumbles = Stumbling()

    def busy_for(self, now: float, *, clip: bool = False) -> float:
        self.stumbles()
        return super().busy_for(now, clip=clip)

    def start(self, now: float, *, clip: bool = False) -> Slot:
        self.stumbles()
        return super().start(now, clip=clip)


class StumblingBacklog:
    """A lane of the ledger whose calls fail now and then."""

    def __init__(self, lane: Backlog) -> None:
        self._lane = lane
        self.stumbles, self.settling_stumbles = Stumbling(), Stumbling()
        self.poisoned: str | None = None

    async def due(self, limit: int, known: frozenset[int]) -> list[Entry]:
        self.stumbles()
        return await self._lane.due(limit, known)

    async def next_due(self) -> float | None:
        self.stumbles()
        return await self._lane.next_due()

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        self.settling_stumbles()
        if any(outcome.entry.key == self.poisoned for outcome in outcomes):
            raise ValueError("a value that SQLite does not take")
        await self._lane.settle(outcomes)

    async def release(self) -> None:
        await self._lane.release()


@dataclass
class Bench:
    """An uploader with all that it calls; run scenarios by `run`."""

    folder: Path
    ledger: Ledger
    sender: FakeSender = field(default_factory=FakeSender)
    clock: StumblingClock = field(default_factory=StumblingClock)
    keep: Stumbling = field(default_factory=Stumbling)
    settled: Stumbling = field(default_factory=Stumbling)
    told: list[Outcome] = field(default_factory=list)
    pacer: Pacer = field(default_factory=StumblingPacer)
    threads: int = 4
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    def run(self, scenario: Callable[[Bench, Uploader], object], **environ: str) -> Uploader:
        """Run the scenario, an async function, beside the uploader."""

        async def life() -> Uploader:
            calls = LedgerThread(self.ledger, self.clock)
            self.backlog = StumblingBacklog(calls.lane(clips=False))
            self.calls = calls
            uploader = Uploader(
                load({"S3_BUCKET": "bucket", "S3_SHUTDOWN_GRACE": "1s", **environ}).settings, self.backlog,
                cast(Sender, self.sender), DiskFolder(self.folder), self.clock, self.note, lambda _: self.keep(),
                self.pacer, threads=self.threads,
            )  # fmt: skip
            running = asyncio.create_task(uploader.run())
            try:
                await asyncio.wait_for(scenario(self, uploader), DEADLINE)  # type: ignore[arg-type]
            finally:
                uploader.stop()
                await asyncio.wait_for(running, 5)
                calls.close()
            return uploader

        return asyncio.run(life())

    def note(self, outcomes: Sequence[Outcome]) -> None:
        self.told += outcomes
        self.settled()

    async def offer(self, uploader: Uploader, count: int = 20, *, urgent: bool = True) -> list[str]:
        """Record so many fresh entries and hand them over; returns their keys."""
        entries = [self.entry(next(self.numbers)) for _ in range(count)]
        taken = await self.calls.call(self.ledger.record, entries, 1.0)
        uploader.offer(taken, urgent=urgent)
        return [entry.key for entry in taken]

    @staticmethod
    def entry(number: int) -> Entry:
        event = Event(f"{number}.0-abcdef", "cam", "car", None, float(number), number + 1.0, True, (), None, False)
        return Entry(0, event, Kind.SNAPSHOT, f"cam-{event.id}.jpg", f"k/{number}.jpg", State.PENDING, number + 1.0)

    async def are(self, state: State, keys: Sequence[str]) -> None:
        """Wait until the ledger says so of all of them."""
        await until(lambda: set(keys) <= self.keys_of(state))

    def keys_of(self, state: State) -> set[str]:
        connection = sqlite3.connect(self.ledger.path)
        try:
            return {row[0] for row in connection.execute("SELECT key FROM object WHERE state = ?", (state,))}
        finally:
            connection.close()

    def attempts_of(self, key: str) -> int:
        connection = sqlite3.connect(self.ledger.path)
        try:
            return int(connection.execute("SELECT attempts FROM object WHERE key = ?", (key,)).fetchone()[0])
        finally:
            connection.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it; the bench's deadline ends that."""
    while not condition():  # noqa: ASYNC110  # the ledger is a file
        await asyncio.sleep(0.01)


@contextmanager
def new_bench(folder: Path) -> Iterator[Bench]:
    (folder / "clips").mkdir()
    (folder / "clips" / "cam-0.5-abcdef.jpg").write_bytes(b"there")
    ledger = Ledger(folder / FILE_NAME)
    ledger.open()
    yield Bench(folder / "clips", ledger)
    ledger.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with new_bench(tmp_path) as bench:
        yield bench


ERRORS = [ValueError("²"), RecursionError(), NativePanic("panicked"), SystemExit(3), OSError(errno.EIO, "I/O")]


@pytest.mark.parametrize("part", ["sender", "keep", "retry_after", "clock", "pacer", "backlog", "settle", "on_settled"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_no_exception_of_any_part_stops_the_uploads(bench: Bench, part: str, error: BaseException) -> None:
    """It comes as often as there are threads, and once more; the next twenty are uploaded, and so is what met it."""
    pacer = cast(StumblingPacer, bench.pacer)

    async def scenario(bench: Bench, uploader: Uploader) -> None:
        stumbling = {
            "sender": bench.sender.stumbles, "keep": bench.keep, "retry_after": bench.sender.retry_after_stumbles,
            "clock": bench.clock.stumbles, "pacer": pacer.stumbles, "backlog": bench.backlog.stumbles,
            "settle": bench.backlog.settling_stumbles, "on_settled": bench.settled,
        }[part]  # fmt: skip
        answers = Stumbling(*(slow_down() for _ in range(5)))
        if part in {"keep", "retry_after"}:
            bench.sender.answer = lambda _: _raised(answers)
        of_thread = isinstance(error, Exception) or part in {"sender", "keep", "retry_after"}
        stumbling.then(*([error] * 5 if of_thread else []))
        before = await bench.offer(uploader, 5)
        uploader.look_again()
        await until(lambda: answers.is_over or part not in {"keep", "retry_after"})
        await bench.are(State.UPLOADED, await bench.offer(uploader, 20))
        await bench.are(State.UPLOADED, before)
        await until(lambda: uploader.is_idle and not uploader._claimed)  # claims end just after
        assert not uploader._in_flight
        assert uploader.breaker.circuit is Circuit.CLOSED

    bench.run(scenario)
    assert bench.keys_of(State.FAILED) == set()


PARTS = ["sender", "keep", "retry_after", "clock", "pacer", "backlog", "settle", "on_settled"]


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from(ERRORS[:3]), st.integers(0, 6)), max_size=12))
def test_no_mixture_of_exceptions_stops_the_uploads(plan: list[tuple[str, BaseException, int]]) -> None:
    """Each part raises after so many calls, all in one run; in the end all is uploaded, and nothing is left behind."""
    with tempfile.TemporaryDirectory() as name, new_bench(Path(name)) as bench:
        pacer = cast(StumblingPacer, bench.pacer)

        async def scenario(bench: Bench, uploader: Uploader) -> None:
            parts = {
                "sender": bench.sender.stumbles, "keep": bench.keep, "retry_after": bench.sender.retry_after_stumbles,
                "clock": bench.clock.stumbles, "pacer": pacer.stumbles, "backlog": bench.backlog.stumbles,
                "settle": bench.backlog.settling_stumbles, "on_settled": bench.settled,
            }  # fmt: skip
            answers = Stumbling(slow_down(), slow_down())
            bench.sender.answer = lambda _: _raised(answers)
            for part, error, after in plan:
                if isinstance(error, Exception) or part in {"sender", "keep", "retry_after"}:
                    parts[part].then(*[None] * after, error)
            keys = await bench.offer(uploader, 20)
            uploader.look_again()
            await bench.are(State.UPLOADED, keys)
            await until(lambda: uploader.is_idle)
            assert not uploader._in_flight
            assert uploader.breaker.circuit is Circuit.CLOSED

        bench.run(scenario)
        assert bench.keys_of(State.FAILED) == set()


def _raised(stumbling: Stumbling) -> BaseException | None:
    try:
        stumbling()
    except StoreError as error:
        return error
    return None


def test_a_worker_that_dies_is_replaced_told_and_counted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """All four die with an entry in their hands; nothing stays claimed, and the entries are sent."""
    deaths = Stumbling(*(NativePanic("gone") for _ in range(4)))

    with pytest.MonkeyPatch.context() as patch:
        finish = Uploader._finish

        def dying(uploader: Uploader, worker: int, outcome: Outcome) -> None:
            deaths()
            finish(uploader, worker, outcome)

        async def scenario(bench: Bench, uploader: Uploader) -> None:
            await bench.are(State.UPLOADED, await bench.offer(uploader, 20))
            await until(lambda: uploader.is_idle)

        patch.setattr(Uploader, "_finish", dying)
        uploader = bench.run(scenario)
    assert uploader._workers.died == 4
    assert not uploader._in_flight
    assert "died and is replaced" in caplog.text


def test_one_outcome_that_the_ledger_refuses_holds_up_nobody(bench: Bench) -> None:
    """It is not sent again and again, either."""

    async def scenario(bench: Bench, uploader: Uploader) -> None:
        bench.backlog.poisoned = "k/7.jpg"
        keys = await bench.offer(uploader, 20)
        await bench.are(State.UPLOADED, [key for key in keys if key != "k/7.jpg"])
        await until(lambda: uploader.is_idle)
        assert uploader.is_stuck
        assert bench.sender.tries["k/7.jpg"] == 1

    bench.run(scenario)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOSPC, errno.ENOMEM, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EINTR, errno.EBUSY, errno.ENOLCK])  # fmt: skip
@pytest.mark.parametrize("is_wrapped", [True, False])
def test_trouble_of_the_machine_is_never_counted(bench: Bench, number: int, is_wrapped: bool) -> None:
    """Met by all, three times each, with one attempt allowed: all are uploaded in the end."""
    met: Counter[str] = Counter()

    def answer(entry: Entry) -> BaseException | None:
        met[entry.object_key] += 1
        error = OSError(number, "trouble")
        trouble = unreadable(entry.object_source, error) if is_wrapped else error
        return trouble if met[entry.object_key] <= 3 else None

    async def scenario(bench: Bench, uploader: Uploader) -> None:
        bench.sender.answer = answer
        keys = await bench.offer(uploader, 6)
        await until(lambda: uploader.files.sentence is not None)
        await bench.are(State.UPLOADED, keys)
        assert uploader.files.sentence is None
        assert uploader.problem is None

    bench.run(scenario, S3_MAX_FAILED_RETRIES="1")


def test_one_unreadable_file_among_twenty_holds_up_nobody_and_does_not_flap(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """It is shown all the time until it can be read, and told once."""
    is_shut = True

    def answer(entry: Entry) -> BaseException | None:
        shut = is_shut and entry.key == "k/7.jpg"
        return unreadable(entry.object_source, OSError(errno.EACCES, "Permission denied")) if shut else None

    async def scenario(bench: Bench, uploader: Uploader) -> None:
        nonlocal is_shut
        bench.sender.answer = answer
        keys = await bench.offer(uploader, 20)
        await bench.are(State.UPLOADED, [key for key in keys if key != "k/7.jpg"])
        for _ in range(3):
            tries = bench.sender.tries["k/7.jpg"]
            await bench.are(State.UPLOADED, await bench.offer(uploader, 1))
            assert "cam-7.0-abcdef.jpg cannot be read (Permission denied)" in (uploader.files.sentence or "")
            await until(lambda: bench.sender.tries["k/7.jpg"] > tries)  # noqa: B023
        assert uploader.is_stuck
        is_shut = False
        await bench.are(State.UPLOADED, keys)
        assert uploader.files.sentence is None

    bench.run(scenario)
    assert bench.told[-1].attempts == 0
    assert caplog.text.count("cannot be read") == 1


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (SourceRefusedError("x is a symbolic link and is refused"), State.FAILED),
        (SourceRefusedError("x is empty (0 bytes)"), State.FAILED),
        (SourceVanishedError("x"), State.EXPIRED),
    ],
)
def test_what_is_the_files_own_is_its_own(bench: Bench, error: Exception, state: State) -> None:
    async def scenario(bench: Bench, uploader: Uploader) -> None:
        bench.sender.answer = lambda entry: error if entry.key == "k/3.jpg" else None
        keys = await bench.offer(uploader, 20)
        await bench.are(state, ["k/3.jpg"])
        await bench.are(State.UPLOADED, [key for key in keys if key != "k/3.jpg"])

    bench.run(scenario, S3_MAX_FAILED_RETRIES="2")


def test_a_file_that_is_being_written_is_sent_soon_after(bench: Bench) -> None:
    """Not counted, and no trouble of anybody's."""
    met: Counter[str] = Counter()

    def answer(entry: Entry) -> BaseException | None:
        met[entry.object_key] += 1
        return SourceUnfinishedError("x is still being written.") if met[entry.object_key] <= 2 else None

    async def scenario(bench: Bench, uploader: Uploader) -> None:
        bench.sender.answer = answer
        keys = await bench.offer(uploader, 3)
        await bench.are(State.UPLOADED, keys)
        assert uploader.files.sentence is None

    started = time.monotonic()
    bench.run(scenario, S3_MAX_FAILED_RETRIES="1")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("error", [bare_400, forbidden])
@pytest.mark.parametrize("count", [2, 20])
def test_what_all_get_is_counted_against_none(bench: Bench, error: Callable[[], StoreError], count: int) -> None:
    """The service waits with a sentence, and when the server is mended all goes by itself."""
    is_broken = True

    async def scenario(bench: Bench, uploader: Uploader) -> None:
        nonlocal is_broken
        bench.sender.answer = lambda _: error() if is_broken else None
        keys = await bench.offer(uploader, count)
        await until(lambda: uploader.problem is not None)
        assert uploader.breaker.error_class is ErrorClass.CONFIGURATION
        assert uploader.is_stuck
        uploader.note_success()  # a heartbeat, which the server takes
        assert uploader.problem is not None
        is_broken = False
        uploader.breaker.opened_until = 0.0
        keys += await bench.offer(uploader, 1)
        await bench.are(State.UPLOADED, keys)
        assert uploader.problem is None
        assert uploader.refused.sentence is None

    bench.run(scenario, S3_MAX_FAILED_RETRIES="1")


def test_one_that_s3_refuses_among_twenty_is_given_up_and_the_others_pass(bench: Bench) -> None:
    async def scenario(bench: Bench, uploader: Uploader) -> None:
        bench.sender.answer = lambda entry: bare_400() if entry.key == "k/20.jpg" else None
        keys = await bench.offer(uploader, 20)
        await bench.are(State.UPLOADED, keys[:-1])
        assert uploader.problem is None
        await bench.are(State.FAILED, ["k/20.jpg"])
        assert uploader.problem is None

    bench.run(scenario, S3_MAX_FAILED_RETRIES="2")
    assert bench.attempts_of("k/20.jpg") == 2


def test_one_that_is_forbidden_among_twenty_waits_by_itself(bench: Bench) -> None:
    """A firewall takes a picture for an attack: nobody is told to check his keys, and nobody waits."""

    async def scenario(bench: Bench, uploader: Uploader) -> None:
        bench.sender.answer = lambda entry: forbidden() if entry.key == "k/20.jpg" else None
        keys = await bench.offer(uploader, 20)
        await bench.are(State.UPLOADED, keys[:-1])
        await until(lambda: bench.sender.tries["k/20.jpg"] >= 3)
        await bench.are(State.UPLOADED, await bench.offer(uploader, 5))
        assert uploader.problem is None
        assert uploader.breaker.circuit is Circuit.CLOSED
        assert "k/20.jpg" in (uploader.refused.sentence or "")

    bench.run(scenario, S3_MAX_FAILED_RETRIES="1")
    assert bench.keys_of(State.PENDING) == {"k/20.jpg"}
    assert bench.attempts_of("k/20.jpg") == 0
    assert any("alone" in (outcome.error or "") for outcome in bench.told)


def test_the_only_object_is_not_given_up_until_a_heartbeat_passes(bench: Bench) -> None:
    async def scenario(bench: Bench, uploader: Uploader) -> None:
        bench.sender.answer = lambda _: bare_400()
        (key,) = await bench.offer(uploader, 1)
        await until(lambda: bench.sender.tries[key] >= 3)
        assert bench.keys_of(State.PENDING) == {key}
        uploader.note_success()
        await bench.are(State.FAILED, [key])

    bench.run(scenario, S3_MAX_FAILED_RETRIES="1")


def test_slow_down_lowers_how_many_run_at_a_time(bench: Bench) -> None:
    """Sixteen before, and at most half as many after S3 asked for less."""
    bench.threads = 16
    bench.sender.takes_seconds = 0.02
    asks = Stumbling(slow_down())

    async def scenario(bench: Bench, uploader: Uploader) -> None:
        await bench.are(State.UPLOADED, await bench.offer(uploader, 60))
        assert bench.sender.most_at_once == 16
        bench.sender.answer = lambda _: _raised(asks)
        await bench.are(State.UPLOADED, await bench.offer(uploader, 1))
        bench.sender.most_at_once = 0
        await bench.are(State.UPLOADED, await bench.offer(uploader, 12))
        assert 1 <= bench.sender.most_at_once <= 10

    bench.run(scenario)


def test_a_new_event_waits_for_one_body_at_most(bench: Bench) -> None:
    """64 threads and a backlog at 200 KB/s: what comes goes next, within about the time of one body (0.15 s)."""
    bench.threads, bench.sender.size_bytes, bench.pacer = 64, 30_000, Pacer(200_000)

    async def scenario(bench: Bench, uploader: Uploader) -> None:
        await bench.offer(uploader, 100, urgent=False)
        await until(lambda: len(bench.sender.taken) >= 10)
        (key,) = await bench.offer(uploader, 1)
        before = len(bench.sender.taken)
        await until(lambda: key in bench.sender.taken)
        assert bench.sender.taken.index(key) - before <= 1

    started = time.monotonic()
    bench.run(scenario)
    assert len(bench.sender.taken) * 30_000 <= 200_000 * (time.monotonic() - started) + 30_000


def test_a_read_that_fails_gives_the_line_back(bench: Bench) -> None:
    """Nothing was sent, so nobody waits for it."""
    bench.pacer = Pacer(100_000)
    bench.sender.size_bytes = 100

    async def scenario(bench: Bench, uploader: Uploader) -> None:
        bench.sender.answer = lambda entry: SourceVanishedError("x") if entry.event.start_time % 2 else None
        keys = await bench.offer(uploader, 40)
        await until(lambda: len(bench.keys_of(State.PENDING)) == 0)
        assert len(bench.keys_of(State.UPLOADED) & set(keys)) == 20

    started = time.monotonic()
    bench.run(scenario)
    assert time.monotonic() - started < 8


def test_after_an_outage_a_new_event_is_the_probe(bench: Bench) -> None:
    """The timer has a minute left, and the last try is some seconds ago."""

    async def scenario(bench: Bench, uploader: Uploader) -> None:
        bench.sender.answer = lambda _: StoreError(ErrorClass.TRANSIENT, "No answer.")
        waiting = await bench.offer(uploader, 3)
        await until(lambda: uploader.breaker.circuit is Circuit.OPEN)
        with uploader._turn:
            uploader.breaker.opened_until = bench.clock.monotonic() + 60
            uploader.breaker._urgent_from = bench.clock.monotonic() + 0.3
        await asyncio.sleep(0)
        bench.sender.answer = lambda _: None
        await bench.are(State.UPLOADED, [*waiting, *await bench.offer(uploader, 1)])

    bench.run(scenario)


def test_files_that_nobody_gets_are_everybodys_trouble(bench: Bench) -> None:
    """Frigate's API is away; over with the first that is handed out."""
    is_away = True

    async def scenario(bench: Bench, uploader: Uploader) -> None:
        nonlocal is_away
        bench.sender.answer = lambda _: SourceUnreachableError("Frigate does not answer.") if is_away else None
        await bench.offer(uploader, 2)
        await until(lambda: uploader.files.sentence is not None)
        is_away = False
        await bench.are(State.UPLOADED, await bench.offer(uploader, 1))
        assert uploader.files.sentence is None

    bench.run(scenario)


@pytest.mark.parametrize("code", ["SlowDown", "ServiceUnavailable", ""])
@pytest.mark.parametrize("status", [429, 503])
def test_who_names_the_seconds_is_left_alone_for_them(tmp_path: Path, status: int, code: str) -> None:
    """Whatever the code is: a server in maintenance says 503 and when it is back."""
    sender = FakeSender()
    sender.answer = lambda _: StoreError(ErrorClass.TRANSIENT, "told", code=code, status=status, retry_after=77.0)
    entry = Entry(1, Event("1.5-abcdef", "yard", "car", None, 1.5, 2.0, True, (), None, False), Kind.SNAPSHOT, "a.jpg", "a.jpg", State.PENDING, 1.5)  # fmt: skip
    uploader = Uploader(
        load({"S3_BUCKET": "b-b"}).settings, cast(Backlog, None), cast(Sender, sender), DiskFolder(tmp_path), SystemClock(),
        lambda _: None, lambda _: None, Pacer(None), 1,
    )  # fmt: skip
    began = time.monotonic()
    uploader.attempt(entry)
    assert uploader.breaker.circuit is Circuit.OPEN
    assert uploader.breaker.opened_until - began >= 77.0
