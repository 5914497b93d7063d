"""Live pictures: what they cost the mirror while ten events run, and how soon a picture is in the bucket."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.report import Goal, Plan, Report, table
from benchmarks.stage import cpu_seconds, environment, has_line, memory_mb, running_mirror
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.simulated_api import FrigateHttp
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate

EVENTS = 10
ROUNDS = 20
PICTURE = b"\xff\xd8" + bytes(80_000)
SETTLE_SECONDS = 3.0


def run(plan: Plan) -> Report:
    """The same mirror beside the same running events, off and on; then single events one after the other."""
    with tempfile.TemporaryDirectory() as folder, FrigateHttp() as api:
        root = Path(folder)
        with SimulatedFrigate(root / "frigate", cameras=("yard",)) as frigate, EmbeddedS3(root / "s3") as server:
            events = [frigate.begin_event() for _ in range(EVENTS)]
            api.pictures = {event.id: PICTURE + event.id.encode() for event in events}
            variables = environment(
                server, FRIGATE_DB_PATH=str(frigate.db_path), FRIGATE_CLIPS_DIR=str(frigate.clips_dir),
                FRIGATE_URL=api.url, S3_STATUS_LISTEN="off",
            )  # fmt: skip
            costs = {
                name: _cost({**variables, "S3_LIVE": live}, root / f"{live}.log", plan.minutes * 60, api)
                for name, live in (("off", "false"), ("on", "true"))
            }
            took = _times({**variables, "S3_LIVE": "true"}, root / "times.log", frigate, api)
    return _report(costs, took)


def _cost(variables: Mapping[str, str], log: Path, seconds: float, api: FrigateHttp) -> tuple[float, float, int]:
    """Share of a core, memory in MB, requests to Frigate; with a better picture of every event all the time."""
    with running_mirror(variables, log) as process:
        time.sleep(SETTLE_SECONDS)
        asked, cpu, began = len(api.asked), cpu_seconds(process.pid), time.perf_counter()
        end = began + seconds
        while time.perf_counter() < end:
            stamp = str(time.monotonic()).encode()
            api.pictures = dict.fromkeys(api.pictures, PICTURE + stamp)
            time.sleep(1)
        share = (cpu_seconds(process.pid) - cpu) / (time.perf_counter() - began)
        return share, memory_mb(process.pid), len(api.asked) - asked


def _times(variables: Mapping[str, str], log: Path, frigate: SimulatedFrigate, api: FrigateHttp) -> list[float]:
    """Seconds from each row to the line that its picture is in the bucket."""
    took = []
    with running_mirror(variables, log):
        for number in range(ROUNDS):
            event = frigate.begin_event()
            api.pictures[event.id] = PICTURE
            began = time.perf_counter()
            while not has_line(log, f"{event.id}-") and time.perf_counter() - began < 30:
                time.sleep(0.005)
            took.append(time.perf_counter() - began)
            time.sleep(0.1 + number % 7 * 0.13)
    return took


def _report(costs: dict[str, tuple[float, float, int]], took: list[float]) -> Report:
    columns = "", "CPU of a core", "memory", "pictures asked for"
    made = table(f"Live pictures of {EVENTS} running events", "", *columns)
    for name, (share, memory, asked) in costs.items():
        made.add_row(f"live {name}", f"{share:.2%}", f"{memory:.0f} MB", str(asked))
    made.add_row("row to bucket, median", f"{statistics.median(took):.2f} s", "", "")
    made.add_row("row to bucket, worst", f"{max(took):.2f} s", "", "")
    document = {"costs": {name: list(cost) for name, cost in costs.items()}, "seconds": took}
    return Report(made, document, [Goal("median seconds from the row to the bucket", statistics.median(took), 1.5)])
