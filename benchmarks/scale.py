"""Scale: start, memory, scans and the lag of new events beside ever more mirrored ones.

The service is started three times beside each number of events: to import their ids into the ledger, to be measured,
and to meet new events during its first full scan.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.report import Goal, Plan, Report, table
from benchmarks.stage import (
    cpu_seconds,
    environment,
    has_line,
    lags_of,
    memory_mb,
    mirrored_events,
    running_mirror,
    wait_for_line,
)
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate

STARTED, READY = "S3 snapshot mirror started", "is ready"
SCANS = 20
SCAN_SECONDS = 0.5  # between scans, so that twenty of them take ten seconds
SETTLE_SECONDS = 3.0


@dataclass(frozen=True)
class Point:
    """What was seen beside so many events. A lag is 0 where no event fell into the full scan."""

    events: int
    import_seconds: float
    started_seconds: float
    ready_seconds: float
    ready_cpu_seconds: float
    steady_mb: float
    peak_mb: float
    scan_cpu_ms: float
    lag_ms: float
    lag_in_full_scan_ms: float
    worst_lag_in_full_scan_ms: float
    events_in_full_scan: int

    @property
    def full_scan_seconds(self) -> float:
        """From the line that the service started to the one that it is ready."""
        return self.ready_seconds - self.started_seconds


def run(plan: Plan) -> Report:
    """The curve over the number of events."""
    sizes = (1000, 10_000, 100_000) if plan.quick else (1000, 10_000, 100_000, 1_000_000)
    points = [_point(size) for size in sizes]
    made = table(
        "Beside ever more mirrored events",
        "A scan's CPU: Frigate's database changed before each. Lags: median of 20 events; all events that fell into the full scan (worst).",
        *("events", "started", "full scan", "CPU", "steady MB", "peak MB", "CPU/scan", "lag", "lag in full scan"),
    )
    for p in points:
        during = f"{p.lag_in_full_scan_ms:.0f} ms ({p.worst_lag_in_full_scan_ms:.0f})" if p.events_in_full_scan else "-"
        made.add_row(
            f"{p.events:,}", f"{p.started_seconds:.1f} s", f"{p.full_scan_seconds:.2f} s", f"{p.ready_cpu_seconds:.1f} s",
            f"{p.steady_mb:.0f}", f"{p.peak_mb:.0f}", f"{p.scan_cpu_ms:.1f} ms", f"{p.lag_ms:.0f} ms", during,
        )  # fmt: skip
    least, most = points[0], points[-1]
    goals = [
        Goal(f"seconds from start to ready beside {most.events:,} events", most.ready_seconds, 10),
        Goal("steady memory over that at 1,000 events", most.steady_mb / least.steady_mb, 1.5),
        Goal("peak memory over that at 1,000 events", most.peak_mb / least.peak_mb, 1.5),
    ]
    return Report(made, {"points": [asdict(point) for point in points]}, goals)


def _point(events: int) -> Point:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with SimulatedFrigate(root / "frigate") as frigate, EmbeddedS3(root / "s3") as server:
            mirrored_events(frigate, events)
            variables = environment(
                server,
                FRIGATE_DB_PATH=str(frigate.db_path),
                FRIGATE_CLIPS_DIR=str(frigate.clips_dir),
                S3_SCAN_INTERVAL=f"{SCAN_SECONDS * 1000:.0f}ms",
            )
            began = time.perf_counter()
            with running_mirror(variables, root / "import.log"):
                imported = time.perf_counter() - began
            steady = _steady(frigate, variables, root / "steady.log")
            during = _lags_in_full_scan(frigate, variables, root / "busy.log")
    return Point(
        events,
        imported,
        *steady,
        statistics.median(during) * 1000 if during else 0.0,
        max(during, default=0.0) * 1000,
        len(during),
    )


def _steady(
    frigate: SimulatedFrigate, variables: Mapping[str, str], log: Path
) -> tuple[float, float, float, float, float, float, float]:
    """Started, ready, CPU until ready, steady MB, peak MB, CPU ms a scan, lag ms."""
    began = time.perf_counter()
    with running_mirror(variables, log, until=STARTED) as process:
        started = time.perf_counter() - began
        wait_for_line(log, READY, 600)
        ready, ready_cpu = time.perf_counter() - began, cpu_seconds(process.pid)
        time.sleep(SETTLE_SECONDS)
        scan = _scan_cost(process.pid, frigate.db_path)
        steady, peak = memory_mb(process.pid), memory_mb(process.pid, "VmHWM")
        lags = lags_of(frigate, [frigate.end_event(frigate.begin_event()) for _ in range(20)])
    return started, ready, ready_cpu, steady, peak, scan * 1000, statistics.median(lags) * 1000


def _scan_cost(pid: int, database: Path) -> float:
    """CPU seconds of one periodic scan that finds Frigate's database changed and nothing new in it."""
    with closing(sqlite3.connect(database, timeout=5)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS bench_recordings (at REAL)")
        before = cpu_seconds(pid)
        end = time.perf_counter() + SCANS * SCAN_SECONDS
        while time.perf_counter() < end:
            with connection:
                connection.execute("INSERT INTO bench_recordings VALUES (?)", (time.time(),))
            time.sleep(SCAN_SECONDS / 2)
    return (cpu_seconds(pid) - before) / SCANS


def _lags_in_full_scan(frigate: SimulatedFrigate, variables: Mapping[str, str], log: Path) -> list[float]:
    """Lags of the events that ended between the service's start and the end of its full scan; at most 200."""
    events: list[SimulatedEvent] = []
    with running_mirror(variables, log, until=STARTED):
        while not has_line(log, READY) and len(events) < 200:
            event = frigate.end_event(frigate.begin_event())
            if not has_line(log, READY):
                events.append(event)
        wait_for_line(log, READY, 600)
        return lags_of(frigate, events)
