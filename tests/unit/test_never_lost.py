"""Random histories of discovery, ledger and uploads against a model: never lost, never early, never twice without reason.

Frigate's table and files are real ones, so is the ledger. S3 is a fake of our own port that does as it is told: it
stores, refuses, or stores and loses the answer.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from frigate_s3_mirror.bodies import BodyReader
from frigate_s3_mirror.clock import SystemClock
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.discovery import Discovery
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.events import Filters, FrigateDatabase
from frigate_s3_mirror.folders import DiskFolder
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_thread import LedgerThread
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.pacer import Pacer
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3 import Stored, Upload
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.scan import FrigateScan
from frigate_s3_mirror.sending import Sender
from frigate_s3_mirror.sources import DiskPictures
from frigate_s3_mirror.spool import Spool
from frigate_s3_mirror.uploader import Backlog, Uploader

ANSWERS = ("stores", "loses the answer", "transient", "configuration", "object")


class FakeStore:
    """A bucket that answers as it is told, and counts what it stored."""

    def __init__(self) -> None:
        self.answer = "stores"
        self.objects: dict[str, bytes] = {}
        self.puts: Counter[str] = Counter()

    def put(self, upload: Upload, *, create: bool = False) -> str:
        if create and upload.key in self.objects:
            raise StoreError(ErrorClass.OBJECT, "There is one.", status=412)
        if self.answer in {"transient", "configuration", "object"}:
            raise StoreError(ErrorClass(self.answer), f"{self.answer} trouble.", status=500)
        assert isinstance(upload.body, bytes)
        self.objects[upload.key] = upload.body
        self.puts[upload.key] += 1
        if self.answer == "loses the answer":
            raise StoreError(ErrorClass.TRANSIENT, "The connection broke.")
        return ""

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def describe(self, key: str) -> Stored:
        if key not in self.objects:
            raise StoreError(ErrorClass.TRANSIENT, "There is none.", status=404)
        return Stored(len(self.objects[key]), "", 0.0, {})

    def retry_after(self, key: str) -> float | None:
        return None


class Mirror(RuleBasedStateMachine):
    """One Frigate, one bucket, one ledger; the parts of the service are called one after the other."""

    @initialize(conditional=st.booleans(), spool=st.booleans(), seed=st.integers(0, 1 << 20))
    def start(self, conditional: bool, spool: bool, seed: int) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="never-lost-"))
        self.frigate = SimulatedFrigate(self.root / "frigate", version="0.17", seed=seed)
        environ = {
            "S3_BUCKET": "bucket", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret", "S3_ENDPOINT_URL": "http://127.0.0.1:9",
            "FRIGATE_DB_PATH": str(self.frigate.db_path), "FRIGATE_CLIPS_DIR": str(self.frigate.clips_dir),
            "S3_OVERWRITE": "never" if conditional else "changed", "S3_SPOOL_MAX": "1GB" if spool else "0",
        }  # fmt: skip
        self.settings = load(environ).settings
        self.conditional = conditional
        self.store = FakeStore()
        self.pictures: dict[str, bytes] = {}
        self.running: list[SimulatedEvent] = []
        self.deleted: set[str] = set()
        self.excuses = 0
        self.open()

    def open(self) -> None:
        clock = SystemClock()
        self.ledger = Ledger(self.root / "ledger.db")
        self.ledger.open()
        pictures = DiskPictures(self.settings.clips_dir)
        spool = Spool(self.root / "spool", pictures, self.settings.spool_max)
        spool.open()
        self.spool = spool
        reader = BodyReader(pictures, pictures, self.settings.db_path, spool, str.encode)
        sender = Sender(self.settings, self.store, reader, clock)
        folder = DiskFolder(self.settings.clips_dir)
        nobody = cast(Backlog, None)  # only the worker's part is called
        self.uploader = Uploader(
            self.settings, nobody, sender, folder, clock, lambda _: None, spool.keep, Pacer(None), threads=1
        )  # fmt: skip
        scan = FrigateScan(self.ledger.path, self.settings.db_path, Filters(), self.settings.picture_kinds)
        database = FrigateDatabase(self.settings.db_path, Filters())
        calls = LedgerThread(self.ledger, clock)
        self.discovery = Discovery(self.settings, database, scan, self.record, pictures, folder, clock, calls)

    def close(self) -> None:
        self.discovery.scan.close()
        self.discovery.database.close()
        self.ledger.close()

    async def record(self, entries: Sequence[Entry], urgent: bool) -> int:
        return len(self.ledger.record(entries, 0.0))

    # -- what happens ----------------------------------------------------------------------------------------------

    @rule()
    def an_event_begins(self) -> None:
        self.running.append(self.frigate.begin_event())

    @rule(count=st.integers(1, 3))
    def events_come_and_are_seen(self, count: int) -> None:
        """What happens most: without it, random histories would seldom have anything to upload."""
        for _ in range(count):
            self.running.append(self.frigate.begin_event())
            self.finish(len(self.running) - 1)
        self.a_scan()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def an_event_ends(self, data: st.DataObject) -> None:
        self.finish(data.draw(st.integers(0, len(self.running) - 1)))

    def finish(self, number: int) -> None:
        event = self.running.pop(number)
        ended = self.frigate.end_event(event, delay=0.0)
        assert ended.snapshot_path is not None
        self.pictures[ended.id] = ended.snapshot_path.read_bytes()

    @rule()
    def a_scan(self) -> None:
        async def in_thread(function: object, *arguments: object) -> object:
            return function(*arguments)  # type: ignore[operator]

        asyncio.run(self.discovery.scan_all(in_thread))

    @rule(answer=st.sampled_from(ANSWERS), most=st.integers(1, 4), dies=st.booleans())
    def uploads(self, answer: str, most: int, dies: bool) -> None:
        """Some of the backlog is tried; the process may die before the ledger knows of it."""
        self.store.answer = answer
        outcomes = [self.uploader.attempt(entry) for entry in self.due()[:most]]
        uncertain = sum(o.state is State.UPLOADED for o in outcomes) if dies else 0
        self.excuses += uncertain + (len(outcomes) if answer == "loses the answer" else 0)
        if dies:
            self.close()
            self.open()
        else:
            self.settle(outcomes)

    @rule(data=st.data())
    def frigate_deletes(self, data: st.DataObject) -> None:
        known = [event for event in self.frigate.events if event.id in self.pictures and event.id not in self.deleted]
        if known:
            event = data.draw(st.sampled_from(known))
            self.frigate.delete_event(event)
            self.deleted.add(event.id)

    @rule()
    def a_person_retries(self) -> None:
        self.ledger.retry_failed()

    # -- what must be true -----------------------------------------------------------------------------------------

    @invariant()
    def what_is_in_the_bucket_is_right(self) -> None:
        for key, content in getattr(self, "store", FakeStore()).objects.items():
            assert content in self.pictures.values(), key

    @invariant()
    def uploaded_means_in_the_bucket(self) -> None:
        if hasattr(self, "ledger"):
            keys = {row[0] for row in self.ledger.connection.execute("SELECT key FROM object WHERE state = 'uploaded'")}
            assert keys <= set(self.store.objects)

    @invariant()
    def nothing_is_sent_twice_without_a_reason(self) -> None:
        if hasattr(self, "store"):
            again = sum(count - 1 for count in self.store.puts.values())
            assert again <= (0 if self.conditional else self.excuses)

    def teardown(self) -> None:
        """The faults stop: the backlog comes to its end, and only what Frigate deleted unsaved may be missing."""
        if not hasattr(self, "ledger"):
            return
        self.store.answer = "stores"
        self.a_scan()
        self.ledger.retry_failed()
        for _ in range(5):
            self.settle([self.uploader.attempt(entry) for entry in self.due()])
        assert self.due() == []
        missing = {
            event_id for event_id, picture in self.pictures.items() if picture not in self.store.objects.values()
        }
        assert missing <= self.deleted
        self.close()
        self.frigate.close()
        shutil.rmtree(self.root)

    def due(self) -> list[Entry]:
        """The backlog without its waiting times."""
        with self.ledger.connection:
            self.ledger.connection.execute("UPDATE object SET next_attempt_at = 0 WHERE state = 'pending'")
        return self.ledger.due(State.PENDING, 1e12, 1000)

    def settle(self, outcomes: list[Outcome]) -> None:
        if outcomes:
            self.ledger.settle(outcomes)
        for outcome in outcomes:
            if outcome.state is State.UPLOADED:
                self.spool.drop(outcome.entry.source)


TestNeverLost = Mirror.TestCase
TestNeverLost.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
