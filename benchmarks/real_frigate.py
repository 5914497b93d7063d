"""What the mirror costs a real Frigate while things happen: its main process's CPU, with live pictures and clips off and on.

It measures a Frigate that the user runs: FRIGATE_PID is its main process, FRIGATE_DB_PATH, FRIGATE_CLIPS_DIR and FRIGATE_URL
are as for the mirror, and S3_MQTT_URL names its broker, where there is one. Let some ten objects be tracked meanwhile.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.report import Plan, Report, table
from benchmarks.stage import cpu_seconds, environment, measure, memory_mb, running_mirror
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3

ROUNDS = 3
_HANDED_ON = ("FRIGATE_DB_PATH", "FRIGATE_CLIPS_DIR", "FRIGATE_URL", "FRIGATE_RECORDINGS_DIR")
_SETTLE_SECONDS = 3.0
_RUNNING = "SELECT count(*) FROM event WHERE end_time IS NULL AND has_snapshot = 1"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one stretch of time: shares of a core, megabytes, and how many events ran."""

    frigate: float
    mirror: float
    memory_mb: float
    running: int


@dataclass(frozen=True, slots=True)
class Bracketed:
    """A stretch with the mirror, and what Frigate took just before and just after it.

    Frigate itself takes more from minute to minute while objects move, because their paths become longer.
    """

    cost: Cost
    before: Cost
    after: Cost

    @property
    def without(self) -> float:
        """What Frigate's main process would have taken."""
        return (self.before.frigate + self.after.frigate) / 2


def run(plan: Plan) -> Report:
    """Rounds of each way, with a stretch without the mirror before and after each."""
    made = table(
        "A real Frigate", "Frigate: its main process", "", "Frigate without", "with the mirror", "more", "the mirror", "memory", "events running"
    )  # fmt: skip
    if "FRIGATE_PID" not in os.environ:
        made.add_row("skipped: FRIGATE_PID names no running Frigate", "", "", "", "", "", "")
        return Report(made, {})
    ways = _ways()
    found: dict[str, list[Bracketed]] = {name: [] for name in ways}
    seconds = 5.0 if plan.quick else 30.0
    with tempfile.TemporaryDirectory() as folder, EmbeddedS3(Path(folder) / "s3") as server:
        before = _without(seconds)
        for number in range(1 if plan.quick else ROUNDS):
            for way, (name, more) in enumerate(ways.items()):
                cost = _with(server, Path(folder) / f"state-{number}-{way}", more, seconds)
                after = _without(seconds)
                found[name].append(Bracketed(cost, before, after))
                before = after
    for name, rounds in found.items():
        made.add_row(name, *_row(rounds))
    return Report(made, {name: [asdict(each) for each in rounds] for name, rounds in found.items()})


def _row(rounds: Sequence[Bracketed]) -> list[str]:
    median = statistics.median
    return [
        f"{median(each.without for each in rounds):.1%}",
        f"{median(each.cost.frigate for each in rounds):.1%}",
        f"{median(each.cost.frigate - each.without for each in rounds):+.1%}",
        f"{median(each.cost.mirror for each in rounds):.2%}",
        f"{max(each.cost.memory_mb for each in rounds):.0f} MB",
        f"{statistics.mean(each.cost.running for each in rounds):.0f}",
    ]


def _ways() -> dict[str, Mapping[str, str]]:
    ways: dict[str, Mapping[str, str]] = {
        "live off": {"S3_LIVE": "false"},
        "live on, looking once a second": {"S3_LIVE": "true"},
        "live on, and clips": {"S3_LIVE": "true", "S3_ARTIFACTS": "snapshot,clip"},
    }
    if url := os.environ.get("S3_MQTT_URL"):
        ways["live on, with MQTT"] = {"S3_LIVE": "true", "S3_MQTT_URL": url}
    return ways


def _without(seconds: float) -> Cost:
    return _watch(int(os.environ["FRIGATE_PID"]), None, seconds)


def _with(server: EmbeddedS3, state: Path, more: Mapping[str, str], seconds: float) -> Cost:
    given = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    variables = environment(
        server, **given, S3_STATE_DIR=str(state), S3_STATUS_LISTEN="off", S3_PATH_PREFIX=state.name, **more
    )
    measure([sys.executable, "-m", "frigate_s3_mirror", "run", "--once"], variables)  # what was there before
    with running_mirror(variables, state.with_suffix(".log")) as process:
        time.sleep(_SETTLE_SECONDS)
        return _watch(int(os.environ["FRIGATE_PID"]), process.pid, seconds)


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
