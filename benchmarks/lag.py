"""Lag: from the moment an event's row is complete to S3's answer, beside a bare keep-alive PUT of the same bytes."""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import obstore
from obstore.store import S3Store
from rich.table import Table

from benchmarks.stage import environment, running_mirror
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.simulated_frigate import SimulatedEvent, SimulatedFrigate


def run(*, quick: bool) -> Table:
    """Events at five a second; after each one a bare PUT, so that both see the same machine."""
    count = 60 if quick else 300
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with SimulatedFrigate(root / "frigate") as frigate, EmbeddedS3(root / "s3") as server:
            variables = environment(
                server, FRIGATE_DB_PATH=str(frigate.db_path), FRIGATE_CLIPS_DIR=str(frigate.clips_dir)
            )
            with running_mirror(variables, root / "log"):
                frigate.end_event(frigate.begin_event())
                events, bare = _stream(frigate, server, count)
                time.sleep(1)
            lags = _lags(frigate.db_path.parent / ".s3-mirror" / "ledger.db", events)
    return _table(sorted(lags), sorted(bare))


def _stream(frigate: SimulatedFrigate, server: EmbeddedS3, count: int) -> tuple[list[SimulatedEvent], list[float]]:
    store = S3Store(
        server.bucket, endpoint=server.endpoint_url, access_key_id=server.access_key, secret_access_key=server.secret_key,
        region="us-east-1", client_options={"allow_http": True},
    )  # fmt: skip
    events, bare = [], []
    for number in range(count):
        next_at = time.monotonic() + 0.2
        event = frigate.end_event(frigate.begin_event())
        events.append(event)
        time.sleep(0.1)
        assert event.snapshot_path is not None
        content = event.snapshot_path.read_bytes()
        started = time.perf_counter()
        obstore.put(store, f"bare/{number}.jpg", content, use_multipart=False)
        bare.append(time.perf_counter() - started)
        time.sleep(max(0.0, next_at - time.monotonic()))
    return events, bare


def _lags(ledger: Path, events: list[SimulatedEvent]) -> list[float]:
    connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    uploaded = dict(connection.execute("SELECT event_id, uploaded_at FROM object WHERE state = 'uploaded'"))
    connection.close()
    return [uploaded[event.id] - (event.row_complete_at or 0.0) for event in events]


def _table(lags: list[float], bare: list[float]) -> Table:
    table = Table(
        title=f"Lag of {len(lags)} events at 5 a second",
        caption="Goals: median at most 3, 99th percentile at most 10 times the bare PUT's.",
    )
    for column in ("", "mirror", "bare PUT", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    for name, share in (("median", 0.5), ("99th percentile", 0.99)):
        ours, theirs = (statistics.quantiles(values, n=100)[round(share * 100) - 1] for values in (lags, bare))
        table.add_row(name, f"{ours * 1000:.1f} ms", f"{theirs * 1000:.1f} ms", f"{ours / theirs:.1f}")
    return table
