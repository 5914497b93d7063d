"""The status page: what it costs while nobody looks, and how fast its pages are beside many mirrored events."""

from __future__ import annotations

import statistics
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from benchmarks.report import Goal, Plan, Report, table
from benchmarks.stage import cpu_seconds, environment, memory_mb, mirrored_events, running_mirror
from frigate_s3_mirror.demo.children import free_port
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate

EVENTS = 1_000_000
SETTLE_SECONDS = 5.0
LOOKS = 20
PATHS = ("/", "/gallery", "/gallery?camera=front_door&label=person", "/problems", "/api/status", "/metrics", "/healthz")


def run(plan: Plan) -> Report:
    """The same mirror with and without its page, one after the other."""
    events = 10_000 if plan.quick else EVENTS
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with SimulatedFrigate(root / "frigate") as frigate, EmbeddedS3(root / "s3") as server:
            mirrored_events(frigate, events)
            variables = environment(
                server, FRIGATE_DB_PATH=str(frigate.db_path), FRIGATE_CLIPS_DIR=str(frigate.clips_dir), S3_STATUS_LISTEN="off"
            )  # fmt: skip
            with running_mirror(variables, root / "first.log"):
                pass  # imports the ids into the ledger
            memory = {"off": _at_rest(variables, root / "off.log")}
            address = f"127.0.0.1:{free_port()}"
            variables["S3_STATUS_LISTEN"] = address
            with running_mirror(variables, root / "on.log") as process:
                time.sleep(SETTLE_SECONDS)
                memory["on"] = memory_mb(process.pid)
                idle = _idle_share(process.pid, plan.minutes * 60)
                times = {path: _times(f"http://{address}{path}") for path in PATHS}
                memory["on, after looking"] = memory_mb(process.pid)
    return _report(events, memory, idle, times)


def _at_rest(variables: Mapping[str, str], log_path: Path) -> float:
    with running_mirror(variables, log_path) as process:
        time.sleep(SETTLE_SECONDS)
        return memory_mb(process.pid)


def _idle_share(pid: int, seconds: float) -> float:
    before, started = cpu_seconds(pid), time.perf_counter()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.perf_counter() - started)


def _times(url: str) -> tuple[float, float]:
    """Milliseconds: the first look, and the median of those that follow."""
    took = []
    for _ in range(LOOKS):
        started = time.perf_counter()
        with urllib.request.urlopen(url) as answer:  # loopback
            answer.read()
        took.append((time.perf_counter() - started) * 1000)
    return took[0], statistics.median(took[1:])


def _report(events: int, memory: dict[str, float], idle: float, times: dict[str, tuple[float, float]]) -> Report:
    made = table(f"The status page beside {events:,} mirrored events", "", *("", "first look", "median", "memory"))
    for name, used in memory.items():
        made.add_row(f"page {name}", "", "", f"{used:.0f} MB")
    for path, (first, median) in times.items():
        made.add_row(path, f"{first:.1f} ms", f"{median:.1f} ms", "")
    goals = [
        Goal("MB that the page takes while nobody looks", memory["on"] - memory["off"], 15),
        Goal("CPU in % of a core while nobody looks", idle * 100, 0.1),
    ]
    return Report(made, {"memory_mb": memory, "idle_share": idle, "milliseconds": times}, goals)
