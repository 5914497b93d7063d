"""Lag: from the moment an event's row is complete to S3's answer, beside a bare keep-alive PUT of the same bytes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import obstore
from obstore.store import S3Store

from benchmarks.report import Goal, Plan, Report, table
from benchmarks.stage import environment, lags_of, running_mirror
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate

SHARES = {"median": 50, "99th percentile": 99}


def run(plan: Plan) -> Report:
    """Several rounds of events at five a second, each with a server and a Frigate of its own."""
    count, rounds = (60, 1) if plan.quick else (300, 3)
    pairs = [_round(count) for _ in range(rounds)]
    made = table(
        f"Lag of {count} events at 5 a second, medians of {rounds} rounds", "", "", "mirror", "bare PUT", "ratio"
    )
    ratios: dict[str, float] = {}
    for name, share in SHARES.items():
        ours = [_quantile(lags, share) for lags, _ in pairs]
        theirs = [_quantile(bare, share) for _, bare in pairs]
        ratios[name] = statistics.median(mine / bare for mine, bare in zip(ours, theirs, strict=True))
        mine, bare = statistics.median(ours) * 1000, statistics.median(theirs) * 1000
        made.add_row(name, f"{mine:.1f} ms", f"{bare:.1f} ms", f"{ratios[name]:.1f}")
    goals = [
        Goal("median lag over a bare PUT's time", ratios["median"], 3),
        Goal("99th percentile of lag over a bare PUT's", ratios["99th percentile"], 10),
    ]
    rows = [{"lag_seconds": lags, "bare_put_seconds": bare} for lags, bare in pairs]
    return Report(made, {"rounds": rows}, goals)


def _round(count: int) -> tuple[list[float], list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with SimulatedFrigate(root / "frigate") as frigate, EmbeddedS3(root / "s3") as server:
            variables = environment(
                server, FRIGATE_DB_PATH=str(frigate.db_path), FRIGATE_CLIPS_DIR=str(frigate.clips_dir)
            )
            with running_mirror(variables, root / "log"):
                _stream(frigate, server, 5)  # connections open, code paths warm: for both
                events, bare = _stream(frigate, server, count)
                return lags_of(frigate, events), bare


def _stream(frigate: SimulatedFrigate, server: EmbeddedS3, count: int) -> tuple[list[SimulatedEvent], list[float]]:
    """After each event a bare PUT in the pause, so that both see the same machine."""
    store = S3Store(
        server.bucket, endpoint=server.endpoint_url, access_key_id=server.access_key, secret_access_key=server.secret_key,
        region="us-east-1", client_options={"allow_http": True},
    )  # fmt: skip
    obstore.put(store, "bare/first.jpg", b"", use_multipart=False)  # opens the connection
    events: list[SimulatedEvent] = []
    bare: list[float] = []
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


def _quantile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]
