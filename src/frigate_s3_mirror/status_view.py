"""The status as a person sees it in a terminal: one table for counts, one for what went wrong, 80 columns wide."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from frigate_s3_mirror.entries import Problem
from frigate_s3_mirror.scan import Proof
from frigate_s3_mirror.status import Status
from frigate_s3_mirror.terminal import plain
from frigate_s3_mirror.units import format_duration

_COLOURS = {"OK": "bold green", "DEGRADED": "bold yellow", "DOWN": "bold red"}
_MEANINGS = (
    ("uploaded", "in the bucket, acknowledged by S3"),
    ("pending", "waiting for upload"),
    ("failed", "given up; see below, `retry-failed` tries again"),
    ("expired", "vanished from Frigate before the upload: lost"),
    ("awaited", "Frigate announces a picture, no file yet"),
    ("absent", "Frigate never wrote the file; no loss"),
    ("skipped", "not sent on purpose"),
)


def render(status: Status, now: float) -> RenderableType:
    """The whole view."""
    parts: list[RenderableType] = [_headline(status, now), "", _counts(status), ""]
    if status.proof is not None:
        parts += [_proof(status.proof, now), ""]
    parts.append(_progress(status, now))
    if status.failures:
        parts += ["", Text("Not in the bucket", "bold red"), _problems(status.failures)]
    if status.waiting:
        parts += ["", Text("Waiting after an error", "bold yellow"), _problems(status.waiting[:5])]
    return Padding(Group(*parts), (0, 1))


def _headline(status: Status, now: float) -> Text:
    line = Text.assemble(("Frigate S3 Snapshot Mirror  ", "bold"), (status.health, _COLOURS.get(status.health, "")))
    if status.health_since is not None:
        line.append(f" for {format_duration(max(0.0, now - status.health_since))}", "dim")
    if status.reason:
        line.append("\n").append(plain(status.reason))
    for note in status.notes:
        line.append("\nNote: ", "dim").append(plain(note))
    return line


def _counts(status: Status) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", min_width=9)
    table.add_column()
    table.add_column(style="dim")
    for name, meaning in _MEANINGS:
        count = status.counts.get(name, 0)
        if count or name in {"uploaded", "pending", "failed"}:
            bad = count and name in {"failed", "expired"}
            table.add_row(Text(f"{count:,}", "bold red" if bad else "bold"), name, meaning)
    return table


def _proof(windows: dict[str, Proof], now: float) -> Table:
    table = Table.grid(padding=(0, 2))
    for window, proof in windows.items():
        text = Text.assemble(
            (f"{proof.in_frigate:,}", "bold"), " in Frigate, ", (f"{proof.uploaded:,}", "bold"), " in the bucket, ",
            (f"{proof.missing:,} missing", "bold red" if proof.missing else "bold green"),
        )  # fmt: skip
        if proof.oldest_missing_at is not None:
            text.append(f", the oldest since {format_duration(max(0.0, now - proof.oldest_missing_at))}")
        table.add_row(Text(f"last {window}", "dim"), text)
    return table


def _progress(status: Status, now: float) -> Text:
    lag = format_duration(status.lag_seconds) if status.backlog else "none"
    answered = "never yet"
    if status.s3_answered_at is not None:
        answered = f"{format_duration(max(0.0, now - status.s3_answered_at))} ago"
    text = Text(f"Backlog {status.backlog:,}, lag {lag}, after an error {status.retrying:,}\n")
    if status.clips is not None:
        text.append(f"{_clips(status.clips)}\n")
    if status.in_progress:
        text.append(f"{_in_progress(status, now)}\n")
    text.append(f"S3 answered {answered}\nLast upload ")
    if status.last_upload_at is None:
        return text.append("none yet")
    when = datetime.fromtimestamp(status.last_upload_at, UTC).astimezone()
    ago = format_duration(max(0.0, now - status.last_upload_at))
    return text.append(f"{when:%Y-%m-%d %H:%M:%S} ({ago} ago)\n  ").append(plain(status.last_upload_key))


def _clips(counts: dict[str, int]) -> str:
    return (
        f"Clips {counts['uploaded']:,} files in the bucket, {counts['pending']:,} waiting, "
        f"{counts['failed']:,} failed, {counts['expired']:,} lost"
    )


def _in_progress(status: Status, now: float) -> str:
    line = f"In progress now: {status.in_progress:,} {'event' if status.in_progress == 1 else 'events'}"
    if status.live_picture_at is None:
        return line
    return f"{line}, newest live picture {format_duration(max(0.0, now - status.live_picture_at))} ago"


def _problems(problems: list[Problem]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("event", no_wrap=True)
    table.add_column("camera", no_wrap=True, max_width=16)
    table.add_column("why", overflow="fold")
    for problem in problems:
        table.add_row(
            plain(problem.event_id), plain(problem.camera or "-"), plain(problem.error or problem.state.value)
        )
    return table
