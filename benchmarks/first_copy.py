"""First copy: all snapshots of a new installation, the mirror beside s5cmd, rclone and a bare loop, in turn."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from benchmarks.stage import MIRROR, Figures, environment, measure, tool
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate


def run(*, quick: bool) -> Table:
    """Medians over rounds in changing order; ratios are the mirror's figure over the peer's."""
    count, rounds = (1000, 3) if quick else (5000, 5)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with SimulatedFrigate(root / "frigate") as frigate, EmbeddedS3(root / "s3") as server:
            frigate.bulk(count, 80_000, 5)
            figures = _rounds(frigate, server, rounds)
    return _table(figures, count, rounds)


def _rounds(frigate: SimulatedFrigate, server: EmbeddedS3, rounds: int) -> dict[str, list[Figures]]:
    clips = frigate.clips_dir
    variables = environment(
        server,
        FRIGATE_DB_PATH=str(frigate.db_path),
        FRIGATE_CLIPS_DIR=str(clips),
        S3_STATE_DIR=str(clips.parent / "state"),
    )
    s5cmd = [
        tool("s5cmd"),
        "--endpoint-url",
        server.endpoint_url,
        "--numworkers",
        "8",
        "cp",
        "-c",
        "1",
        f"{clips}/*.jpg",
    ]
    rclone = [
        tool("rclone"),
        "copy",
        "--transfers",
        "8",
        "--s3-no-check-bucket",
        "--no-traverse",
        "--include",
        "*.jpg",
        str(clips),
    ]
    commands: dict[str, Callable[[str], list[str]]] = {
        "mirror": lambda _: [*MIRROR, "--once"],
        "s5cmd": lambda prefix: [*s5cmd, f"s3://{server.bucket}/{prefix}/"],
        "rclone": lambda prefix: [*rclone, f"peer:{server.bucket}/{prefix}"],
        "bare loop": lambda prefix: [sys.executable, "-m", "benchmarks.bare_loop", str(clips), prefix],
    }
    figures: dict[str, list[Figures]] = {name: [] for name in commands}
    for number in range(rounds):
        names = list(commands)
        for name in names[number % 4 :] + names[: number % 4]:
            shutil.rmtree(clips.parent / "state", ignore_errors=True)
            for place in server.bucket_dir.iterdir():
                shutil.rmtree(place)
            prefix = f"round-{number}"
            figures[name].append(measure(commands[name](prefix), {**variables, "S3_PATH_PREFIX": prefix}))
    return figures


def _table(figures: dict[str, list[Figures]], count: int, rounds: int) -> Table:
    table = Table(title=f"First copy: {count} snapshots of 80 KB, 8 at a time, medians of {rounds} rounds")
    for column in ("", "snapshots/s", "CPU s", "peak MB", "throughput ratio", "CPU ratio", "memory ratio"):
        table.add_column(column, justify="left" if not column else "right")
    medians = {
        name: Figures(
            *(
                statistics.median(values)
                for values in zip(*((f.wall_seconds, f.cpu_seconds, f.peak_mb) for f in runs), strict=True)
            )
        )
        for name, runs in figures.items()
    }
    ours = medians["mirror"]
    for name, peer in medians.items():
        ratios = [
            f"{peer.wall_seconds / ours.wall_seconds:.2f}", f"{ours.cpu_seconds / peer.cpu_seconds:.2f}", f"{ours.peak_mb / peer.peak_mb:.2f}"
        ]  # fmt: skip
        table.add_row(
            name, f"{count / peer.wall_seconds:.0f}", f"{peer.cpu_seconds:.2f}", f"{peer.peak_mb:.0f}", *ratios
        )
    table.caption = "Ratios: the mirror's figure over the peer's. Goals: throughput 1.2 s5cmd and 0.85 bare loop, CPU 0.7 s5cmd, memory 0.7 rclone."
    return table
