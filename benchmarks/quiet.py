"""A quiet hour: what the service costs, and what it asks of S3, while 100,000 events are mirrored and none is new.

Watched twice: with nothing happening at all, and with Frigate writing its recordings' rows, which it does day and
night; only the second makes the mirror look at the event table.
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.report import Goal, Plan, Report, table
from benchmarks.stage import RequestLog, cpu_seconds, environment, mirrored_events, recording_proxy, running_mirror
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate

EVENTS = 100_000
SETTLE_SECONDS = 10.0
ROW_INTERVAL = 2.5
"""Seconds between commits: four cameras, a recording of ten seconds each."""


@dataclass(frozen=True)
class Watch:
    """What was seen in some time."""

    seconds: float
    cpu_seconds: float
    heartbeats: int
    other_requests: int

    @property
    def share(self) -> float:
        """CPU in cores."""
        return self.cpu_seconds / self.seconds


def run(plan: Plan) -> Report:
    """Both watches, one after the other, on one running service."""
    seconds = plan.minutes * 60
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with SimulatedFrigate(root / "frigate") as frigate, EmbeddedS3(root / "s3") as server:
            mirrored_events(frigate, EVENTS)
            with recording_proxy(server.endpoint_url, root / "requests") as proxy:
                variables = environment(
                    server,
                    FRIGATE_DB_PATH=str(frigate.db_path),
                    FRIGATE_CLIPS_DIR=str(frigate.clips_dir),
                    S3_ENDPOINT_URL=proxy.endpoint_url,
                )
                with running_mirror(variables, root / "first.log"):
                    pass  # imports the ids into the ledger
                with running_mirror(variables, root / "second.log") as process:
                    time.sleep(SETTLE_SECONDS)
                    watches = {"nothing happens": _watch(process.pid, proxy, seconds)}
                    with _recordings(frigate.db_path):
                        watches["Frigate records"] = _watch(process.pid, proxy, seconds)
    return _report(watches, seconds)


def _report(watches: dict[str, Watch], seconds: float) -> Report:
    made = table(
        f"Quiet with {EVENTS:,} mirrored events, {seconds / 60:g} minutes each",
        "",
        *("", "CPU of a core", "CPU s an hour", "heartbeats", "other requests"),
    )
    for name, watch in watches.items():
        counts = str(watch.heartbeats), str(watch.other_requests)
        made.add_row(name, f"{watch.share:.3%}", f"{watch.share * 3600:.2f}", *counts)
    goals = [Goal(f"CPU in % of a core while {name}", watch.share * 100, 0.1) for name, watch in watches.items()]
    goals += [
        Goal(f"requests other than heartbeats while {name}", watch.other_requests, 0) for name, watch in watches.items()
    ]
    return Report(made, {name: asdict(watch) for name, watch in watches.items()}, goals)


def _watch(pid: int, log: RequestLog, seconds: float) -> Watch:
    before, cpu, started = len(log.requests()), cpu_seconds(pid), time.perf_counter()
    time.sleep(seconds)
    took, cpu = time.perf_counter() - started, cpu_seconds(pid) - cpu
    seen = log.requests()[before:]
    heartbeats = sum(method == "PUT" and "/.mirror/" in path for method, path in seen)
    return Watch(took, cpu, heartbeats, len(seen) - heartbeats)


@contextmanager
def _recordings(database: Path) -> Iterator[None]:
    """Rows of a table that is none of the mirror's business, as Frigate writes them."""
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database, timeout=5)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS bench_recordings (at REAL)")
            while not stop.wait(ROW_INTERVAL):
                with connection:
                    connection.execute("INSERT INTO bench_recordings VALUES (?)", (time.time(),))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
