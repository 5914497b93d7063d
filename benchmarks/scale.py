"""Scale: start, memory, scans and the lag of a new event beside ever more mirrored ones; and a quiet hour."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.stage import cpu_seconds, environment, memory_mb, running_mirror
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate


@dataclass(frozen=True)
class Point:
    """What was seen beside so many events; the first start imports their ids, the second finds the ledger."""

    events: int
    ready_seconds: float
    ready_cpu_seconds: float
    memory_mb: float
    quiet_cpu_share: float
    lag_ms: float
    heartbeats: int


def run(*, quick: bool) -> Table:
    """The curve over the number of events."""
    sizes = (1000, 10_000, 100_000) if quick else (1000, 10_000, 100_000, 1_000_000)
    points = [_point(size, 20 if quick else 120) for size in sizes]
    table = Table(
        title="Beside ever more mirrored events",
        caption="Goals: ready in seconds, memory within 1.5 of that at 1,000 events, a quiet service under 0.1 % of a core.",
    )
    for column in (
        "events",
        "ready after",
        "CPU until ready",
        "memory",
        "memory ratio",
        "CPU while quiet",
        "lag of a new event",
        "PUTs while quiet",
    ):
        table.add_column(column, justify="right")
    for p in points:
        table.add_row(
            f"{p.events:,}", f"{p.ready_seconds:.1f} s", f"{p.ready_cpu_seconds:.1f} s", f"{p.memory_mb:.0f} MB",
            f"{p.memory_mb / points[0].memory_mb:.2f}", f"{p.quiet_cpu_share:.3%}", f"{p.lag_ms:.0f} ms", str(p.heartbeats),
        )  # fmt: skip
    return table


def _point(events: int, quiet_seconds: float) -> Point:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with SimulatedFrigate(root / "frigate") as frigate, EmbeddedS3(root / "s3") as server:
            frigate.bulk(events, 0, 10, files=False)
            connection = sqlite3.connect(frigate.db_path)
            with (frigate.clips_dir / "cache" / ".s3_uploaded_events").open("w") as file:
                file.writelines(
                    f"{row[0]}\n" for row in connection.execute("SELECT id FROM event WHERE has_snapshot = 1")
                )
            connection.close()
            variables = environment(
                server, FRIGATE_DB_PATH=str(frigate.db_path), FRIGATE_CLIPS_DIR=str(frigate.clips_dir)
            )
            with running_mirror(variables, root / "first.log"):
                pass
            started = time.perf_counter()
            with running_mirror(variables, root / "second.log") as process:
                ready, ready_cpu = time.perf_counter() - started, cpu_seconds(process.pid)
                time.sleep(6)
                cpu, puts = cpu_seconds(process.pid), sum(server.put_counts().values())
                time.sleep(quiet_seconds)
                share = (cpu_seconds(process.pid) - cpu) / quiet_seconds
                heartbeats = sum(server.put_counts().values()) - puts
                memory = memory_mb(process.pid)
                lag = _lag_of_one(frigate)
            return Point(events, ready, ready_cpu, memory, share, lag, heartbeats)


def _lag_of_one(frigate: SimulatedFrigate) -> float:
    event = frigate.end_event(frigate.begin_event())
    time.sleep(1.5)
    connection = sqlite3.connect(f"file:{frigate.db_path.parent / '.s3-mirror' / 'ledger.db'}?mode=ro", uri=True)
    row = connection.execute("SELECT uploaded_at FROM object WHERE event_id = ?", (event.id,)).fetchone()
    connection.close()
    return (float(row[0]) - (event.row_complete_at or 0.0)) * 1000
