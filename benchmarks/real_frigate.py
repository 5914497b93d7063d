"""What the mirror costs a real Frigate while things happen: its main process's CPU, with live pictures and clips off and on.

It measures a Frigate that the user runs: FRIGATE_PID is its main process, FRIGATE_DB_PATH, FRIGATE_CLIPS_DIR and FRIGATE_URL
are as for the mirror, and S3_MQTT_URL names its broker, where there is one. Let some ten objects be tracked meanwhile.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Plan, Report, table
from benchmarks.stage import cpu_seconds, environment, memory_mb, running_mirror
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3

ROUNDS = 3
_HANDED_ON = ("FRIGATE_DB_PATH", "FRIGATE_CLIPS_DIR", "FRIGATE_URL", "FRIGATE_RECORDINGS_DIR")
_SETTLE_SECONDS = 3.0
_RUNNING = "SELECT count(*) FROM event WHERE end_time IS NULL AND has_snapshot = 1"


@dataclass(frozen=True)
class Cost:
    """Of one round: shares of a core, megabytes, and how many events ran."""

    frigate: float
    mirror: float
    memory_mb: float
    running: int


def run(plan: Plan) -> Report:
    """Rounds of each way, one after the other, so that what else the machine does befalls all of them."""
    made = table("A real Frigate", "", "mirror", "Frigate's main process", "mirror", "memory", "events running")
    if "FRIGATE_PID" not in os.environ:
        made.add_row("skipped: FRIGATE_PID names no running Frigate", "", "", "", "")
        return Report(made, {})
    ways = _ways()
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    seconds = 10.0 if plan.quick else 60.0
    with tempfile.TemporaryDirectory() as folder, EmbeddedS3(Path(folder) / "s3") as server:
        for number in range(1 if plan.quick else ROUNDS):
            for way, (name, more) in enumerate(ways.items()):
                state = Path(folder) / f"state-{number}-{way}"
                costs[name].append(_round(server, state, more, seconds))
    for name, rounds in costs.items():
        made.add_row(
            name, f"{statistics.median(c.frigate for c in rounds):.2%}", f"{statistics.median(c.mirror for c in rounds):.2%}",
            f"{max(c.memory_mb for c in rounds):.0f} MB", f"{statistics.mean(c.running for c in rounds):.0f}",
        )  # fmt: skip
    return Report(made, {name: [vars(cost) for cost in rounds] for name, rounds in costs.items()})


def _ways() -> dict[str, Mapping[str, str] | None]:
    ways: dict[str, Mapping[str, str] | None] = {
        "none": None,
        "live off": {"S3_LIVE": "false"},
        "live on, looking once a second": {"S3_LIVE": "true"},
        "live on, and clips": {"S3_LIVE": "true", "S3_ARTIFACTS": "snapshot,clip"},
    }
    if url := os.environ.get("S3_MQTT_URL"):
        ways["live on, with MQTT"] = {"S3_LIVE": "true", "S3_MQTT_URL": url}
    return ways


def _round(server: EmbeddedS3, state: Path, more: Mapping[str, str] | None, seconds: float) -> Cost:
    frigate = int(os.environ["FRIGATE_PID"])
    if more is None:
        return _watch(frigate, None, seconds)
    given = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    variables = environment(
        server, **given, S3_STATE_DIR=str(state), S3_STATUS_LISTEN="off", S3_PATH_PREFIX=state.name, **more
    )
    with running_mirror(variables, state.with_suffix(".log")) as process:
        time.sleep(_SETTLE_SECONDS)
        return _watch(frigate, process.pid, seconds)


def _watch(frigate: int, mirror: int | None, seconds: float) -> Cost:
    def cpu() -> tuple[float, float]:
        return cpu_seconds(frigate), cpu_seconds(mirror) if mirror is not None else 0.0

    before, began = cpu(), time.perf_counter()
    time.sleep(seconds)
    after, took = cpu(), time.perf_counter() - began
    with closing(sqlite3.connect(f"file:{os.environ['FRIGATE_DB_PATH']}?mode=ro", uri=True)) as connection:
        running = int(connection.execute(_RUNNING).fetchone()[0])
    memory = memory_mb(mirror) if mirror is not None else 0.0
    return Cost((after[0] - before[0]) / took, (after[1] - before[1]) / took, memory, running)
