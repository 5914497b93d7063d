"""Compares every snapshot with its object in the bucket, byte for byte, and says what is missing or wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from frigate_s3_mirror.demo.progress import Progress, expected_key
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent


@dataclass(frozen=True)
class Verdict:
    """What the comparison found; keys and sentences are there to be shown."""

    events: int
    with_snapshot: int
    identical: int
    missing: tuple[str, ...]
    wrong: tuple[str, ...]
    put_twice: tuple[str, ...]

    def problems(self) -> list[str]:
        """One sentence for each object that is not as it should be."""
        missing = [f"missing in the bucket: {key}" for key in self.missing]
        return missing + [f"differs from Frigate's file: {key}" for key in self.wrong]


def compare(events: Sequence[SimulatedEvent], bucket_dir: Path, put_counts: Mapping[str, int]) -> Verdict:
    """Compare the snapshots of all ended events with the objects under `bucket_dir`."""
    missing: list[str] = []
    wrong: list[str] = []
    keys: list[str] = []
    for event in events:
        if event.snapshot_path is None or event.row_complete_at is None:
            continue
        key = expected_key(event)
        keys.append(key)
        stored = bucket_dir / key
        if not stored.exists():
            missing.append(key)
        elif stored.read_bytes() != event.snapshot_path.read_bytes():
            wrong.append(key)
    return Verdict(
        events=len(events),
        with_snapshot=len(keys),
        identical=len(keys) - len(missing) - len(wrong),
        missing=tuple(missing),
        wrong=tuple(wrong),
        put_twice=tuple(key for key in keys if put_counts.get(key, 0) > 1),
    )


def verdict_table(verdict: Verdict, progress: Progress) -> Table:
    """The summary that the demo ends with."""
    table = Table(title="What became of it", title_justify="left", show_header=False, min_width=44)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("events that Frigate made", str(verdict.events))
    table.add_row("ended with a snapshot file", str(verdict.with_snapshot))
    table.add_row("in the bucket", str(verdict.with_snapshot - len(verdict.missing)))
    table.add_row("identical, byte for byte", str(verdict.identical))
    table.add_row("missing", str(len(verdict.missing)))
    table.add_row("wrong", str(len(verdict.wrong)))
    table.add_row("PUT more than once", str(len(verdict.put_twice)))
    table.add_row("lag, median", seconds_text(progress.median_seconds))
    table.add_row("lag, 99th percentile", seconds_text(progress.p99_seconds))
    return table


def seconds_text(seconds: float | None) -> str:
    """A short duration for people: "38 ms", "1.25 s", or a dash for none."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
