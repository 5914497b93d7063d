"""The simulated world: Frigate, machine, S3 and the mirror, one step at a time, as a seed says.

The mirror is the real one, all of it but its threads: discovery, scans, ledger, spool, uploader, breaker, blame, sender,
proof, heartbeat and health. What the world knows and the mirror does not is in `Truth`; `oracles` compares the two.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self
from unittest import mock

from frigate_s3_mirror import s3 as s3_module
from frigate_s3_mirror import scan as scan_module
from frigate_s3_mirror import scan_loop
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.health import Condition
from frigate_s3_mirror.ledger_file import LedgerError, LedgerFile
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.pacer import Slot
from frigate_s3_mirror.s3 import ObjectStore
from frigate_s3_mirror.s3_snapshot_mirror import Mirror
from frigate_s3_mirror.settings import Settings
from simulation.faults import OUTAGES, S3, WELL, Disk, Fuse, KilledError, Object, Requests
from simulation.virtual_time import HangError, VirtualClock, VirtualLoop, everywhere

_ZONES = ("UTC", "Europe/Berlin", "Pacific/Auckland", "America/St_Johns")
_LEFT_IN_MOUNT_POINT = (
    (),
    ("thumbs", "review"),
    ("lost+found",),
    ("cache", "note.txt"),
    ("thumbs", "other-camera.jpg"),
)
_ODD = (
    ("camera", "../../etc"), ("camera", None), ("start_time", "soon"), ("start_time", -1e300), ("start_time", float("inf")),
    ("end_time", "x"), ("data", "{" * 40), ("label", b"\xff\xfe"), ("zones", 7), ("id", "../up"), ("id", ""),
)  # fmt: skip


@dataclass
class Truth:
    """What really is with one event of Frigate's."""

    event: SimulatedEvent
    source: str
    """The file's name in the clips folder."""
    versions: list[bytes] = field(default_factory=list)
    """Every content that it had as a whole."""
    partial: set[bytes] = field(default_factory=set)
    """Contents that it had while it was being written."""
    is_whole: bool = False
    has_row: bool = True
    is_odd: bool = False
    finished_at: float | None = None
    """Monotonic seconds since when row and file have been complete."""
    changed_at: float = 0.0
    was_away: bool = False
    """At some time its row had ended, and no file was there though the folder was."""
    must_survive: bool = False
    """The mirror had kept it when Frigate deleted it."""
    was_poisoned: bool = False


@dataclass(frozen=True)
class Step:
    """Something that happens; its number is the seed of its details, so that it stays itself when others are left out."""

    name: str
    number: int


class NoThreads:
    """In the place of WorkerThreads: `World.work` does what they would."""

    died = dead = 0

    def supervise(self) -> None:
        """Nobody to look after."""

    def stop(self) -> None:
        """Nobody to stop."""


class World:
    """Everything; to be used as a context manager, from one thread."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = VirtualClock(seed)
        self.loop = VirtualLoop(self.clock)
        shared = Path("/dev/shm")  # noqa: S108  # memory: a thousand worlds, and none of them need survive
        self.root = Path(tempfile.mkdtemp(prefix="world-", dir=shared if os.access(shared, os.W_OK) else None))
        self.fuse = Fuse()
        self.s3 = S3(random.Random(seed + 1), self.clock.now, self.clock.advance, self.fuse, self._takes)
        self._open_frigate(seed)
        clips = self.frigate.clips_dir
        self.disk = Disk(clips, clips.with_name("clips-of-the-share"))
        self.truth: dict[str, Truth] = {}
        self.later: list[tuple[float, Callable[[], None]]] = []
        """What Frigate, the server or a person does at some time (monotonic seconds) without being asked."""
        self.backup: tuple[bytes, set[str]] | None = None
        self.mirror: Mirror | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.bucket = "first"
        self.started_at = 0.0
        self.calm_since: float | None = None
        self.condition: Condition | None = None
        self.measured_at = 0.0
        self.durable: dict[str, bytes] = {}
        self.told: set[str] = set()
        self.jumped_at = float("-inf")
        self.history: list[str] = []
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._choose_settings()
        self._stack = contextlib.ExitStack()

    def _choose_settings(self) -> None:
        choose = self.random.choice
        self.s3.may_read = choose((True, True, False))
        self.s3.conditions = choose(("kept", "kept", "ignored", "refused"))
        self.s3.etags_are_md5 = choose((True, True, True, False))
        self.environ = {
            "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret", "S3_ENDPOINT_URL": "http://s3.example:9000",
            "FRIGATE_DB_PATH": str(self.frigate.db_path), "FRIGATE_CLIPS_DIR": str(self.frigate.clips_dir),
            "S3_STATE_DIR": str(self.root / "state"), "S3_UPLOAD_THREADS": choose("1248"),
            "S3_BATCH_SIZE": choose(("1", "5", "50")), "S3_SPOOL_MAX": choose(("0", "1GB", "1GB")),
            "S3_HEARTBEAT_INTERVAL": choose(("300", "3600", "3600", "3600")),
        }  # fmt: skip
        if overwrite := choose(("", "", "changed", "never")):
            self.environ["S3_OVERWRITE"] = overwrite
        self.pages = choose((2, 7, 500))

    # -- being there -----------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        enter(everywhere(self.clock))
        enter(self.disk.in_force())
        enter(mock.patch.dict(os.environ, {"TZ": "UTC"}))
        time.tzset()
        for module, name in ((scan_loop, "PAGE"), (scan_loop, "_SEARCH_PAGE"), (scan_module, "PAGE_ROWS")):
            enter(mock.patch.object(module, name, self.pages))
        enter(mock.patch.object(s3_module, "_requests", lambda settings, _: Requests(self.s3, settings.bucket)))
        enter(mock.patch.object(LedgerFile, "_transaction", self._transaction(LedgerFile._transaction)))
        asyncio.set_event_loop(self.loop)
        return self

    def __exit__(self, *_: object) -> None:
        self.clock.limit = self.clock.monotonic() + 86_400.0
        if self.mirror is not None:
            with contextlib.suppress(HangError):
                self.run(self._fall())
        self.loop.close()
        asyncio.set_event_loop(None)
        self.frigate.close()
        self._stack.close()
        time.tzset()
        shutil.rmtree(self.root)

    def run(self, work: Any) -> Any:
        """Do this to its end, in virtual time."""
        return self.loop.run_until_complete(work)

    def note(self, line: str) -> None:
        """Write history."""
        self.history.append(f"{self.clock.monotonic():12.2f} {line}")

    def violate(self, what: str) -> None:
        """Something that must never be true, is. It is kept, not raised: the mirror's own code would swallow it."""
        self.note(f"VIOLATION {what}")
        self.violations.append(what)

    def digest(self) -> str:
        """What tells one history from another."""
        return hashlib.sha256("\n".join(self.history).encode()).hexdigest()[:16]

    def _open_frigate(self, seed: int) -> None:
        self.frigate = SimulatedFrigate(
            self.root / "frigate", cameras=("front-door", "yard"), seed=seed, clock=self.clock.now, sleep=self.clock.advance
        )  # fmt: skip

    # -- the ledger's disk -----------------------------------------------------------------------------------------

    def _transaction(self, really: Callable[..., Any]) -> Callable[..., Any]:
        """Transactions that a kill can hit before, within and after; what is durable is kept for a power cut."""

        @contextlib.contextmanager
        def transaction(ledger: LedgerFile, *, durable: bool) -> Iterator[sqlite3.Connection]:
            self.fuse.burn()
            if self.disk.is_full:
                raise sqlite3.OperationalError("database or disk is full")
            with really(ledger, durable=durable) as connection:
                yield connection
                self.fuse.burn()
            if connection.execute("PRAGMA synchronous").fetchone()[0] == 2:
                self._keep_durable()
            self.fuse.burn()

        return transaction

    @property
    def _state_files(self) -> list[Path]:
        return sorted(
            p for p in (self.root / "state").iterdir() if p.is_file() and not p.name.endswith(("-shm", ".lock"))
        )

    def _keep_durable(self) -> None:
        self.durable = {path.name: path.read_bytes() for path in self._state_files}

    def _cut_power(self) -> None:
        for path in (self.root / "state").iterdir():
            if path.is_file() and path.name != "service.lock":
                path.unlink()
        for name, content in self.durable.items():
            (self.root / "state" / name).write_bytes(content)

    # -- S3 tells --------------------------------------------------------------------------------------------------

    def _takes(self, bucket: str, key: str, stored: Object) -> None:
        """S3 stores an object: it must be right, and it must not be there already without a reason."""
        if "event-id" not in stored.metadata:
            return  # a heartbeat
        self.note(f"S3 stores {bucket}/{key} {len(stored.body)}")
        self.counts["stored"] += 1
        truth = self.truth.get(stored.metadata["event-id"])
        if truth is None or hashlib.sha256(stored.body).hexdigest() != stored.metadata.get("sha256"):
            self.violate(f"wrong: {key} is of no event, or its checksum is another's")
        elif stored.body not in truth.versions and self.clock.monotonic() - self.jumped_at > 120.0:
            self.violate(f"wrong: {key} is no whole picture of its event")
        before = self.s3.buckets[bucket].get(key)
        if before is not None and before.body == stored.body:
            self.counts["twice"] += 1
            if self.s3.uncertain[bucket, key] <= 0:
                self.violate(f"twice: {key} was there, and the mirror had been told so")
            self.s3.uncertain[bucket, key] -= 1

    # -- the mirror's life -----------------------------------------------------------------------------------------

    def settings(self) -> Settings:
        """The user's."""
        return load({**self.environ, "S3_BUCKET": self.bucket}).settings

    async def start(self) -> None:
        """Start the mirror, if its disk lets it."""
        settings = self.settings()
        mirror = Mirror(settings, ObjectStore(settings, {}), self.clock)
        mirror._sender._reader._now = self.clock.now  # type: ignore[attr-defined]
        for folder in (mirror._frigate.clips_folder, mirror._frigate.recordings_folder):
            folder._monotonic = self.clock.monotonic  # type: ignore[attr-defined]
        for lane in mirror.lanes:
            lane._workers = NoThreads()  # type: ignore[assignment]
        self.mirror, self.started_at, self.told = mirror, self.clock.monotonic(), set()
        settled = mirror.uploader.on_settled

        def on_settled(outcomes: Any) -> None:
            self.told |= {o.entry.object_key for o in outcomes if o.state is State.UPLOADED}
            settled(outcomes)

        mirror.uploader.on_settled = on_settled
        try:
            mirror.open()
            await mirror._calls.call(mirror.health.note_start)
        except (LedgerError, KilledError, sqlite3.OperationalError) as error:
            self.note(f"the mirror cannot start: {type(error).__name__}")
            await self._fall()
            return
        beat = mirror._heartbeat.regularly(mirror.health.after_heartbeat)
        self.tasks = [asyncio.create_task(self._until_killed(work)) for work in (mirror.uploader.run(), beat)]
        await asyncio.sleep(0)

    async def _until_killed(self, work: Any) -> None:
        with contextlib.suppress(KilledError):
            await work

    async def _fall(self) -> None:
        """The process is gone: nothing of it is written any more."""
        mirror, self.mirror = self.mirror, None
        assert mirror is not None
        self.fuse.left, self.fuse.is_dead = None, True
        mirror.uploader._stopping = True
        if mirror.uploader._timer is not None:
            mirror.uploader._timer.cancel()
        mirror.ledger.close()
        mirror._lock.release()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for part in (mirror.discovery.scan, mirror.discovery.database, mirror.health):
            part.close()
        self.tasks, self.condition = [], None
        self.fuse.is_dead = False

    async def crash(self, *, power: bool) -> None:
        """The process is killed, or the machine loses its power; then it is started again."""
        known = self.uploaded_keys() & self.told
        await self._fall()
        self.note("power cut" if power else "killed")
        self.counts["crashes"] += 1
        if power:
            self._cut_power()
        kept = self.uploaded_keys()
        if not known <= kept:
            self.violate(f"told and forgotten: {sorted(known - kept)[:3]} were uploaded before the crash")
        self._forgive(kept)

    def _forgive(self, kept: set[str]) -> None:
        """What S3 has and the ledger could not note before its process ended is sent once more."""
        for key in self.s3.buckets.get(self.bucket, {}):
            if key not in kept:
                self.s3.uncertain[self.bucket, key] = max(1, self.s3.uncertain[self.bucket, key])

    def uploaded_keys(self) -> set[str]:
        """What the ledger says is in the bucket, read from its file."""
        path = self.root / "state" / "ledger.db"
        if not path.exists():
            return set()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'object'").fetchone():
                return set()
            return {row[0] for row in connection.execute("SELECT key FROM object WHERE state = 'uploaded'")}

    async def stop(self) -> None:
        """An orderly end."""
        mirror = self.mirror
        self.fuse.left = None
        if mirror is None:
            return
        for lane in mirror.lanes:
            lane.stop()
        self.tasks[1].cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.mirror = None
        mirror.close()
        self._forgive(self.uploaded_keys())

    async def tick(self) -> None:
        """What the mirror's loops do when they go round once."""
        self._let_happen()
        mirror = self.mirror
        if mirror is None:
            await self.start()
            mirror = self.mirror
        if mirror is None:
            return
        try:
            await mirror._scans._look(self.clock.monotonic())
            await mirror._after_scan()
            await self.work(mirror)
            if self.clock.monotonic() - self.measured_at >= 30.0:
                self.measured_at = self.clock.monotonic()
                await mirror.health._measure()
                await mirror._calls.call(mirror.health._keep_condition)
            await mirror.health.note()
            self.condition = mirror.health.condition()
        except KilledError:
            pass
        except (FileNotFoundError, sqlite3.OperationalError) as error:
            self.note(f"a loop failed: {error}")  # told, and the next round tries again
        if self.fuse.is_dead:
            await self.crash(power=self.random.random() < 0.5)

    async def work(self, mirror: Mirror) -> None:
        """What the upload threads do, one attempt at a time, in an order that the seed chooses."""
        lane = mirror.uploader
        await asyncio.sleep(0.1)  # the queue is filled
        for _ in range(60):
            taken: list[tuple[int, Entry, Slot]] = []
            while len(taken) < lane.threads and lane._patience(self.clock.monotonic()) == 0.0:
                found = lane._take(len(taken))
                assert found is not None
                taken.append((len(taken), *found))
            if not taken:
                return
            self.random.shuffle(taken)
            done: list[tuple[int, Outcome]] = []
            for worker, entry, slot in taken:
                try:
                    done.append((worker, lane.attempt(entry, slot)))
                except BaseException as error:  # noqa: BLE001  # as WorkerThreads does: it is told, and replaced
                    lane._tell_of_death(str(worker), error)
                    lane._give_back(worker)
                if self.fuse.is_dead:
                    return
            for worker, outcome in done:
                self.note(
                    f"attempt {outcome.entry.event.id} {outcome.state} {outcome.attempts} {outcome.error or ''}"[:200]
                )
                lane._finish(worker, outcome)
            await asyncio.sleep(0.1)  # they are settled
            if self.fuse.is_dead:
                return

    async def live(self, seconds: float, longest: float = 30.0) -> None:
        """Let time pass; the mirror goes round ever more rarely, and the longest pause is `longest`."""
        end, pause = self.clock.monotonic() + seconds, 2.0
        while (left := end - self.clock.monotonic()) > 0:
            await self.tick()
            await asyncio.sleep(max(0.01, min(pause, left)))
            pause = min(longest, pause * 2)
        await self.tick()

    def _let_happen(self) -> None:
        due = [item for item in self.later if item[0] <= self.clock.monotonic()]
        self.later = [item for item in self.later if item[0] > self.clock.monotonic()]
        for _, happen in due:
            happen()

    def in_some_time(self, seconds: float, happen: Callable[[], None]) -> None:
        """Have it happen by itself."""
        self.later.append((self.clock.monotonic() + seconds, happen))

    # -- Frigate's files -------------------------------------------------------------------------------------------

    def picture(self, rng: random.Random, truth: Truth) -> bytes:
        """A new picture: whole by its own marks, and like no other."""
        return b"\xff\xd8\xff\xe0" + truth.event.id.encode() + rng.randbytes(rng.choice((200, 900))) + b"\xff\xd9"

    def write(self, truth: Truth, content: bytes, *, is_whole: bool = True) -> None:
        """Frigate writes the file, in place."""
        path = self.disk.real_clips / truth.source
        path.write_bytes(content)
        os.utime(path, (self.clock.now(), self.clock.now()))
        truth.is_whole, truth.changed_at = is_whole, self.clock.monotonic()
        if is_whole:
            truth.versions.append(content)
        else:
            truth.partial.add(content)

    def closed(self, truth: Truth, *, is_seen: bool = True) -> None:
        """A file was closed; inotify tells of it, unless it missed it."""
        if is_seen and self.mirror is not None and self.disk.is_mounted:
            self.mirror.discovery.file_closed(truth.source)

    def begin(self, rng: random.Random, ago: float = 0.0) -> Truth:
        """An event begins."""
        start = self.clock.now() - ago
        event = self.frigate.begin_event(rng.choice(self.frigate.cameras), start_time=start)
        truth = self.truth[event.id] = Truth(event, f"{event.camera}-{event.id}.jpg")
        self.counts["events"] += 1
        return truth

    def complete(self, truth: Truth) -> None:
        """Its row gets its end."""
        if truth.has_row:
            truth.event = self.frigate.complete_row(truth.event)
        truth.finished_at = self.clock.monotonic()

    def holds(self, truth: Truth) -> bool:
        """Whether Frigate has the file, mounted or not."""
        return (self.disk.real_clips / truth.source).exists()

    def delete(self, truth: Truth, *, row: bool = True) -> None:
        """A user or retention deletes the file, and its row."""
        if self.mirror is not None and self.holds(truth) and truth.is_whole:
            truth.must_survive = self.mirror.spool.holds(truth.source)
        (self.disk.real_clips / truth.source).unlink(missing_ok=True)
        truth.was_away = True
        if row and truth.has_row:
            with self.frigate._transaction() as connection:
                connection.execute("DELETE FROM event WHERE id = ?", (truth.event.id,))
            truth.has_row = False

    def some(self, rng: random.Random, wanted: Callable[[Truth], bool]) -> Truth | None:
        """One of those events, if there are any."""
        found = [truth for truth in self.truth.values() if not truth.is_odd and wanted(truth)]
        return rng.choice(found) if found else None

    # -- what can happen -------------------------------------------------------------------------------------------

    ACTIONS: ClassVar[dict[str, int]] = {
        "events": 16, "a running event": 4, "an event ends late": 3, "a growing file": 4, "a rewritten file": 3,
        "a deletion": 4, "a deleted file": 2, "leftovers of a crash": 2, "late files": 3, "Frigate restarts": 2, "a backup": 1,
        "a restored backup": 1, "an odd row": 2, "no database": 1, "an unreadable disk": 2, "a full disk": 2,
        "an unmounted share": 2, "an outage": 12, "a poisoned object": 2, "a jump of the clock": 2, "another zone": 1,
        "a kill": 5, "a restart": 3, "another bucket": 1, "a person retries": 1, "time passes": 14,
    }  # fmt: skip

    async def act(self, step: Step) -> None:
        """One step, with whatever follows from it."""
        rng = random.Random(step.number)
        self.note(step.name)
        await getattr(self, "_" + step.name.lower().replace(" ", "_"))(rng)
        await self.tick()

    async def _events(self, rng: random.Random) -> None:
        for _ in range(rng.randint(1, 5)):
            truth = self.begin(rng)
            await asyncio.sleep(rng.uniform(0.1, 9))
            self.write(truth, self.picture(rng, truth))
            self.closed(truth, is_seen=rng.random() < 0.7)
            await asyncio.sleep(0.02)
            self.complete(truth)
            await asyncio.sleep(0.1)
            if rng.random() < 0.5:
                await self.tick()

    async def _a_running_event(self, rng: random.Random) -> None:
        self.begin(rng)

    async def _an_event_ends_late(self, rng: random.Random) -> None:
        if truth := self.some(rng, lambda t: t.finished_at is None and t.has_row):
            self.write(truth, self.picture(rng, truth))
            self.closed(truth)
            await self.live(rng.choice((1.0, 30.0)))
            self.complete(truth)

    async def _a_growing_file(self, rng: random.Random) -> None:
        truth = self.begin(rng)
        whole = self.picture(rng, truth)
        ends_first = rng.random() < 0.6
        if ends_first:
            truth.event = self.frigate.complete_row(truth.event)
        self.write(truth, whole[: rng.randint(4, len(whole) - 3)], is_whole=False)
        await self.live(rng.uniform(1, 14))
        self.write(truth, whole)
        self.closed(truth)
        if ends_first:
            truth.finished_at = self.clock.monotonic()
        else:
            self.complete(truth)

    async def _a_rewritten_file(self, rng: random.Random) -> None:
        if self.mirror is None or not self.disk.is_mounted:
            return  # nobody would see it; `verify` does
        # A known gap: nor is it seen while a full disk keeps the first upload from being settled for ten minutes.
        settled = "\n".join(self.uploaded_keys()) if self.disk.is_full else None
        if truth := self.some(
            rng, lambda t: t.finished_at is not None and self.holds(t) and (settled is None or t.event.id in settled)
        ):
            self.write(truth, self.picture(rng, truth))
            self.closed(truth)

    async def _a_deletion(self, rng: random.Random) -> None:
        for _ in range(rng.choice((1, 1, 4))):
            if truth := self.some(rng, lambda t: t.finished_at is not None and t.has_row):
                self.delete(truth)

    async def _a_deleted_file(self, rng: random.Random) -> None:
        if truth := self.some(rng, lambda t: t.finished_at is not None and t.has_row):
            self.delete(truth, row=False)

    async def _leftovers_of_a_crash(self, rng: random.Random) -> None:
        for _ in range(rng.randint(1, 3)):
            event = self.frigate.killed_event(rng.choice(self.frigate.cameras))
            self.truth[event.id] = Truth(event, f"{event.camera}-{event.id}.jpg", was_away=True)

    async def _late_files(self, rng: random.Random) -> None:
        """Rows whose files come much later: a share that is filled from elsewhere, a backup that is played back."""
        for _ in range(rng.randint(1, 9)):
            truth = self.begin(rng, ago=rng.uniform(0, 3000))
            truth.event, truth.was_away = self.frigate.complete_row(truth.event), True

            def come(truth: Truth = truth, content: bytes = self.picture(rng, truth)) -> None:
                if truth.has_row and not truth.versions:
                    self.write(truth, content)
                    truth.finished_at = self.clock.monotonic()

            self.in_some_time(rng.uniform(5, 3000), come)

    async def _frigate_restarts(self, rng: random.Random) -> None:
        self.frigate.close()
        await self.live(rng.uniform(1, 60))
        self._open_frigate(rng.getrandbits(30))

    async def _a_backup(self, rng: random.Random) -> None:
        del rng
        self.frigate._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.backup = self.frigate.db_path.read_bytes(), {i for i, t in self.truth.items() if t.has_row}

    async def _a_restored_backup(self, rng: random.Random) -> None:
        """Frigate's database is as it was; what was whole then and is now is known to it."""
        if self.backup is None:
            return
        content, known = self.backup
        self.frigate.close()
        for ending in ("-wal", "-shm"):
            self.frigate.db_path.with_name(self.frigate.db_path.name + ending).unlink(missing_ok=True)
        fresh = self.frigate.db_path.with_suffix(".new")
        fresh.write_bytes(content)
        fresh.replace(self.frigate.db_path)
        self._open_frigate(rng.getrandbits(30))
        ended = {row[0] for row in self.frigate._connection.execute("SELECT id FROM event WHERE end_time IS NOT NULL")}
        for event_id, truth in self.truth.items():
            truth.has_row = event_id in known
            if truth.has_row and event_id not in ended:
                truth.finished_at = None

    async def _an_odd_row(self, rng: random.Random) -> None:
        truth = self.begin(rng)
        truth.is_odd = True
        truth.event = self.frigate.complete_row(truth.event)
        column, value = rng.choice(_ODD)
        with contextlib.suppress(sqlite3.IntegrityError), self.frigate._transaction() as connection:
            connection.execute(f"UPDATE event SET {column} = ? WHERE id = ?", (value, truth.event.id))  # noqa: S608

    async def _no_database(self, rng: random.Random) -> None:
        away = self.frigate.db_path.with_suffix(".away")
        self.frigate.db_path.rename(away)
        await self.live(rng.uniform(1, 300))
        away.rename(self.frigate.db_path)

    async def _an_unreadable_disk(self, rng: random.Random) -> None:
        self.disk.error = rng.choice((errno.EIO, errno.EMFILE, errno.EACCES, errno.ESTALE))
        self.in_some_time(rng.uniform(5, 900), lambda: setattr(self.disk, "error", None))

    async def _a_full_disk(self, rng: random.Random) -> None:
        self.disk.is_full = True
        self.in_some_time(rng.uniform(5, 900), lambda: setattr(self.disk, "is_full", False))

    async def _an_unmounted_share(self, rng: random.Random) -> None:
        if self.disk.is_mounted:
            self.disk.unmount(rng.choice(_LEFT_IN_MOUNT_POINT))
            self.in_some_time(rng.uniform(5, 4000), self.disk.mount)
            if rng.random() < 0.5:
                await self._events(rng)
                await self.live(rng.uniform(5, 2000), longest=120.0)

    async def _an_outage(self, rng: random.Random) -> None:
        """S3, or what stands in its place, answers otherwise for a while: to everything, or now and then."""
        self.s3.mode, self.s3.share = rng.choice(rng.choice(OUTAGES)), rng.choice((1.0, 1.0, 0.5, 0.1))
        self.note(f"S3: {self.s3.mode} {self.s3.share}")
        self.in_some_time(rng.choice((5, 60, 600, 3000)) * rng.random(), self._s3_is_well)
        if rng.random() < 0.7:
            await self._events(rng)

    def _s3_is_well(self) -> None:
        self.s3.mode = WELL

    async def _a_poisoned_object(self, rng: random.Random) -> None:
        truth = self.begin(rng)
        truth.was_poisoned = True
        self.s3.poison(truth.event.id)
        self.write(truth, self.picture(rng, truth))
        self.complete(truth)

    async def _a_jump_of_the_clock(self, rng: random.Random) -> None:
        self.clock.jump(rng.choice((-1, 1)) * rng.choice((2.0, 3600.0, 90_000.0)))
        self.jumped_at = self.clock.monotonic()

    async def _another_zone(self, rng: random.Random) -> None:
        await self.stop()
        os.environ["TZ"] = rng.choice(_ZONES)
        time.tzset()

    async def _a_kill(self, rng: random.Random) -> None:
        """At one of the moments that follow; if none comes, after a while."""
        crashes, self.fuse.left = self.counts["crashes"], rng.randint(1, 40)
        await self._events(rng)
        await self.live(rng.uniform(1, 60))
        if self.counts["crashes"] == crashes and self.mirror is not None:
            await self.crash(power=rng.random() < 0.5)

    async def _a_restart(self, rng: random.Random) -> None:
        await self.stop()
        await asyncio.sleep(rng.uniform(0, 100))

    async def _another_bucket(self, rng: random.Random) -> None:
        await self.stop()
        self.bucket = rng.choice(("first", "second"))

    async def _a_person_retries(self, rng: random.Random) -> None:
        del rng
        self._retry()

    async def _time_passes(self, rng: random.Random) -> None:
        await self.live(rng.choice((10, 100, 1000)) * rng.random())

    async def calm(self) -> None:
        """All faults stop, and a person has what failed tried again."""
        self.fuse.left = None
        self.s3.mode, self.disk.error, self.disk.is_full = WELL, None, False
        self.disk.mount()
        if self.s3.poisoned:
            self.s3.poisoned.clear()
            self.in_some_time(60.0, self._retry)

    def _retry(self) -> None:
        if self.mirror is not None:
            with contextlib.suppress(sqlite3.OperationalError, KilledError):
                self.mirror.ledger.retry_failed()
