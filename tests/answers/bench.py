"""Runs cells: the real sender, store and uploader, or the real live pictures, against a stub over a real socket."""

from __future__ import annotations

import hashlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast
from unittest.mock import patch

from answers.claims import false_claims
from answers.model import Bucket, Cell, Expected, Moment, Rights, What, expected
from answers.told import ANSWERS, Answer, sha_etag
from frigate_s3_mirror import bodies, s3
from frigate_s3_mirror.bodies import large_body
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.folders import DiskFolder
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import FILE_NAME
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.live import LivePictures
from frigate_s3_mirror.live_ledger import LiveLedger
from frigate_s3_mirror.pacer import Pacer
from frigate_s3_mirror.retry import Circuit
from frigate_s3_mirror.s3 import ObjectStore
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.sending import Body, Sender
from frigate_s3_mirror.storage import putting
from frigate_s3_mirror.uploader import Backlog, Uploader
from stub_s3 import Request, Silence, StubS3, stub_s3

PART = 4096
STALL_SECONDS = 0.3
PICTURE, SEGMENT, LARGE = b"a picture" * 300, b"a segment" * 700, b"a large one" * 900
NEIGHBOUR = "yard/neighbour.jpg"
LOST = next(answer for answer in ANSWERS if answer.name == "200, lost")
EVENT = Event("1795600800.5-abcdef", "yard", "car", None, 1795600800.5, 1795600810.0, True, (), None, False)


class HandClock:
    """Time goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1795600900.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def chance(self) -> float:
        return 0.5


class Reads:
    """Gives each entry its body: large ones from an open file."""

    def __init__(self, folder: Path) -> None:
        self._large = folder / "large.mp4"
        self._large.write_bytes(LARGE)

    def read(self, entry: Entry) -> Body:
        if entry.object_key.startswith("large"):
            return large_body(self._large.open("rb"))
        content = SEGMENT if entry.part else PICTURE
        return Body(content, len(content), hashlib.sha256(content).hexdigest())


class Heard(Sender):
    """A sender of which the last error is remembered."""

    error: StoreError | None = None

    def send(self, entry: Entry, pace: Callable[[int], None]) -> Outcome:
        self.error = None
        try:
            return super().send(entry, pace)
        except StoreError as error:
            self.error = error
            raise


@dataclass
class Try:
    """What one try came to."""

    is_uploaded: bool
    error: StoreError | None
    counted: int = 0
    is_retried: bool = True
    told: str = ""
    puts: int = 0
    pause: float = 0.0


@dataclass
class Bench:
    """One bucket and one key, for many cells one after the other."""

    stub: StubS3
    folder: Path
    answer: Answer | None = None
    """What the requests that matter get; None: the server is well."""
    what: What = What.SNAPSHOT
    clock: HandClock = field(default_factory=HandClock)
    event: Event = EVENT
    _numbers: int = 0

    def __post_init__(self) -> None:
        self.settings = self.stub.settings(FRIGATE_DB_PATH=str(self.folder / "frigate.db"))
        self.unconditional = self.stub.settings(S3_PROVIDER="b2")
        self.settings.ledger_dir.mkdir(exist_ok=True)
        path = self.settings.ledger_dir / FILE_NAME
        with closing(Ledger(path)) as ledger:
            ledger.open()
        self.live_ledger = LiveLedger(path)
        self.live_ledger.open()
        self.live_ledger._ledger.connection.execute("PRAGMA synchronous = OFF")  # nothing here outlives the test
        self.reads = Reads(self.folder)
        self.stub.answering = self._answer

    # -- the server ------------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> bytes | None:
        answer = self.answer
        if answer is None or request.key == NEIGHBOUR:
            return None
        if "signature-check" in request.key:
            return None if answer.by_s3 or request.method != "PUT" else answer.raw
        if answer.look is not None and request.method in {"GET", "HEAD"}:
            return answer.look
        return answer.to(request, self.stub) if self._matters(request) else None

    def _matters(self, request: Request) -> bool:
        match self.what:
            case What.BEGIN:
                return "uploads" in request.query
            case What.PART:
                return "partNumber" in request.query
            case What.END:
                return request.method == "POST" and "uploadId" in request.query
        return request.method == "PUT"

    def _puts(self) -> int:
        return sum(
            request.key != NEIGHBOUR and "signature-check" not in request.key
            and ("uploads" in request.query or (request.method == "PUT" and "partNumber" not in request.query))
            for request in self.stub.requests
        )  # fmt: skip

    # -- the mirror ------------------------------------------------------------------------------------------------

    def entry(self) -> Entry:
        row, made = 1, self.event.start_time + 10
        match self.what:
            case What.SNAPSHOT | What.UNCONDITIONAL | What.LIVE:
                return Entry(row, self.event, Kind.SNAPSHOT, "a.jpg", "yard/a.jpg", State.PENDING, made)
            case What.SEGMENT:
                return Entry(row, self.event, Kind.CLIP, "recording:a.mp4", "yard/a.mp4", State.PENDING, made, part="1.mp4", seconds=10.0)  # fmt: skip
        return Entry(row, self.event, Kind.CLIP, "recording:b.mp4", "large/b.mp4", State.PENDING, made, part="2.mp4", seconds=10.0)  # fmt: skip

    @property
    def body(self) -> bytes:
        if self.what in {What.BEGIN, What.PART, What.END}:
            return LARGE
        return SEGMENT if self.what is What.SEGMENT else PICTURE

    def mirror(self) -> Mirror:
        """A service that has just been started."""
        if self.what is What.LIVE:
            return LiveMirror(self)
        return FinalMirror(self)

    def tried(self, attempt: Callable[[], Try]) -> Try:
        """One try, and what was sent for it."""
        self.stub.requests.clear()
        self.clock.seconds += 2.0
        is_stall = self.answer is not None and isinstance(self.answer.raw, Silence)
        seconds = STALL_SECONDS if is_stall else 20.0
        with patch.object(putting, "SECONDS", seconds), patch.object(putting, "PATIENT_SECONDS", seconds):
            result = attempt()
        result.puts = self._puts()
        return result

    # -- a cell ----------------------------------------------------------------------------------------------------

    def run(self, cell: Cell) -> list[str]:
        """What happened otherwise than the model says."""
        self._begin(cell)
        answer, want = cell.answer, expected(cell)
        mirror = self.mirror()
        if cell.moment is Moment.AFTER_KILL:
            self.answer = replace(LOST, has_md5=answer.has_md5)
            where, self.what = self.what, What.END if cell.is_large else self.what
            lost = self.tried(mirror.attempt)
            self.what = where
            if lost.is_uploaded or not self.stub.taken:
                return ["the answer of the first try was not lost"]
            mirror = self.mirror()
            mirror.doubt()
        if answer.holds is not None:
            self._hold(answer.holds or self.body)
        self.answer = answer
        first = self.tried(mirror.attempt)
        odd = list(self._of_first(cell, want, first))
        tries = [first]
        if not first.is_uploaded:
            mirror.neighbour()
            if not isinstance(answer.raw, Silence):
                tries.append(second := self.tried(mirror.attempt))
                odd += self._of_second(cell, want, second)
            self.answer = None
            tries.append(self.tried(mirror.attempt))
        odd += self._of_end(cell, want, tries[-1])
        return odd

    def _begin(self, cell: Cell) -> None:
        self._numbers += 1
        stub = self.stub
        stub.objects.clear()
        stub.taken.clear()
        stub.uploads.clear()
        stub.requests.clear()
        stub.etag = StubS3.etag if cell.answer.has_md5 else sha_etag
        stub.more_headers = dict(cell.answer.more_headers)
        self.what, self.answer = cell.what, None
        self.event = replace(EVENT, id=f"1795600800.{self._numbers:06}-abcdef")

    def _hold(self, content: bytes) -> None:
        if self._holds() and content == self.body:
            return
        metadata = {"x-amz-meta-sha256": hashlib.sha256(content).hexdigest()}
        self.stub.objects[self.entry().object_key] = content, metadata

    # -- the oracles -----------------------------------------------------------------------------------------------

    def _of_first(self, cell: Cell, want: Expected, first: Try) -> Iterator[str]:
        if first.is_uploaded != want.is_uploaded:
            yield f"counts as {'uploaded' if first.is_uploaded else f'not uploaded ({first.told})'}"
        if first.is_uploaded and not (self._holds() or (want.exception and cell.answer.holds)):
            yield "counts as uploaded, and the bucket does not hold it"
        if not first.is_uploaded and want.error_class is not None:
            if first.error is None or first.error.error_class is not want.error_class:
                yield f"is {first.error and first.error.error_class}, not {want.error_class} ({first.told})"
            low, high = want.pause
            if cell.what is not What.LIVE and not low <= first.pause <= high:
                yield f"S3 is left alone for {first.pause:.1f} s, not {low:g} to {high:g} s"
        yield from self._of_try(cell, want, first, want.counted[0], "first", others_passed=False)

    def _of_second(self, cell: Cell, want: Expected, second: Try) -> Iterator[str]:
        may_be_found = cell.answer.does and self._holds()  # S3 has it, and one may look
        if second.is_uploaded and not may_be_found:
            yield "counts as uploaded at the second try"
        if not second.is_uploaded:
            yield from self._of_try(cell, want, second, want.counted[1], "second", others_passed=True)

    def _of_try(
        self, cell: Cell, want: Expected, tried: Try, counted: int, name: str, *, others_passed: bool
    ) -> Iterator[str]:
        if cell.what is not What.LIVE and tried.counted != counted:
            yield f"the {name} try counts {tried.counted}, not {counted} ({tried.told})"
        if not tried.is_retried:
            yield f"it is given up at the {name} try"
        if tried.puts > want.puts:
            yield f"it is sent {tried.puts} times in the {name} try, not {want.puts}"
        for claim in false_claims(cell.answer, tried.told, others_passed=others_passed):
            yield f"the {name} sentence says '{claim}' ({tried.told})"

    def _of_end(self, cell: Cell, want: Expected, last: Try) -> Iterator[str]:
        if last.is_uploaded != want.ends_uploaded:
            yield f"ends {'uploaded' if last.is_uploaded else f'not uploaded ({last.told})'} when the server is well"
        if want.ends_uploaded and not (self._holds() or (want.exception and cell.answer.holds)):
            yield "the bucket does not hold it in the end"
        if (most := max(self.stub.taken.values(), default=0)) > want.versions:
            yield f"it is stored {most} times, not {want.versions}"
        began_unknown = cell.what is What.BEGIN and cell.answer.is_lost
        if self.stub.uploads and not began_unknown:
            yield f"{len(self.stub.uploads)} uploads in parts are left behind"

    def _holds(self) -> bool:
        """Whether it is there, whole and with its checksum; live ones under any of their numbers."""
        sha256 = hashlib.sha256(self.body).hexdigest()
        return any(
            body == self.body and metadata.get("x-amz-meta-sha256") == sha256
            for key, (body, metadata) in self.stub.objects.items()
            if key != NEIGHBOUR
        )


class Mirror(ABC):
    """What is started, tries, and may be killed."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @abstractmethod
    def attempt(self) -> Try:
        """Send once, and say what came of it."""

    def doubt(self) -> None:  # noqa: B027  # not all have one
        """The ledger says what was perhaps in flight at a kill."""

    def neighbour(self) -> None:  # noqa: B027  # not all have one
        """Another object passes meanwhile."""


class FinalMirror(Mirror):
    """Sender, store and uploader, an attempt at a time."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        settings = bench.unconditional if bench.what is What.UNCONDITIONAL else bench.settings
        self.entry = bench.entry()
        self.sender = Heard(settings, ObjectStore(settings, {}), bench.reads, bench.clock)
        self.uploader = Uploader(
            settings, cast(Backlog, None), self.sender, DiskFolder(bench.folder), bench.clock, lambda _: None, lambda _: None,
            Pacer(None), 1,
        )  # fmt: skip

    def doubt(self) -> None:
        self.sender.doubt({self.entry.row})

    def attempt(self) -> Try:
        before = self.entry
        outcome = self.uploader.attempt(before)
        self.entry = replace(before, attempts=outcome.attempts, deferrals=outcome.deferrals, last_error=outcome.error)
        breaker, error = self.uploader.breaker, self.sender.error
        pause = breaker.opened_until - self.bench.clock.now() if breaker.circuit is Circuit.OPEN else 0.0
        is_uploaded = outcome.state is State.UPLOADED
        is_retried = outcome.state is (State.UPLOADED if is_uploaded else State.PENDING)
        told = f"{outcome.error or ''} {error or ''}"
        return Try(is_uploaded, error, outcome.attempts - before.attempts, is_retried, told, pause=pause)

    def neighbour(self) -> None:
        other = replace(self.entry, row=2, event=replace(EVENT, id="1795600700.5-abcdef"), key=NEIGHBOUR, part="", seconds=None)  # fmt: skip
        self.bench.clock.seconds += 2.0
        outcome = self.uploader.attempt(replace(other, kind=Kind.SNAPSHOT))
        assert outcome.state is State.UPLOADED, outcome.error


class LiveMirror(Mirror):
    """The live pictures, a picture at a time."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.live = LivePictures(bench.settings, self, bench.live_ledger, bench.clock)

    def picture(self, _event_id: str) -> bytes | None:
        """Frigate's best so far."""
        return PICTURE

    def attempt(self) -> Try:
        ledger, event = self.bench.live_ledger, self.bench.event
        try:
            self.live._attempt(event, None, None)
        except StoreError as error:
            odd = ledger.of_event(event.id)
            return Try(bool(odd), error, told=str(error))
        return Try(bool(ledger.of_event(event.id)), None)


@contextmanager
def bench(rights: Rights, bucket: Bucket) -> Iterator[Bench]:
    """A bench for the cells of this key and this bucket."""
    with ExitStack() as stack:
        # obstore's clients are of no use to who has keys, and take 10 ms each
        stack.enter_context(patch.object(s3, "_client"))
        for module in (putting, bodies):
            stack.enter_context(patch.object(module, "PART", PART))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stub = stack.enter_context(
            stub_s3(
                may_read=rights is not Rights.PUT, may_list=rights is Rights.LIST,
                is_versioned=bucket is not Bucket.PLAIN, is_locked=bucket is Bucket.LOCKED,
            )
        )  # fmt: skip
        made = Bench(stub, folder)
        stack.callback(made.live_ledger.close)
        yield made


def disagreements(cells: list[Cell]) -> Iterator[str]:
    """What happens otherwise than the model says, in cells of one key and one bucket."""
    with bench(cells[0].rights, cells[0].bucket) as made:
        for cell in cells:
            yield from (f"{cell}: {odd}" for odd in made.run(cell))
