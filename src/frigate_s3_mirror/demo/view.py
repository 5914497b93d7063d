"""Shows a running demo: a live screen on a terminal, plain lines everywhere else. Decides nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from frigate_s3_mirror.demo.progress import SPARK_SECONDS, Progress, Upload
from frigate_s3_mirror.demo.verdict import seconds_text

_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_STATUS_SECONDS = 5.0
_FIXED_LINES = 16  # the lines of the screen that are not uploads
_CAMERA_WIDTH, _LABEL_WIDTH, _LAG_WIDTH, _GAPS = 11, 14, 7, 8


@dataclass(frozen=True)
class Place:
    """What the view says about where things are."""

    version: str
    bucket: str
    bucket_dir: Path
    endpoint_url: str
    mirror_log: Path
    status_page: str


class View(Protocol):
    """Shows progress between its `with` and its end."""

    def show(self, progress: Progress) -> None:
        """Show what is known now."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def view_for(console: Console, place: Place) -> View:
    """The live screen for a terminal, else plain lines."""
    return LiveView(console, place) if console.is_terminal else PlainView(console, place)


class LiveView:
    """Draws the whole screen anew at every look."""

    def __init__(self, console: Console, place: Place) -> None:
        self._console = console
        self._place = place
        self._live = Live(console=console, auto_refresh=False)

    def show(self, progress: Progress) -> None:
        """Show what is known now."""
        size = self._console.size
        self._live.update(screen(progress, self._place, size.width, size.height), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


class PlainView:
    """One line for each upload, and one of numbers every few seconds: for logs and pipes."""

    def __init__(self, console: Console, place: Place) -> None:
        self._console = console
        self._place = place
        self._shown: set[str] = set()
        self._next_status = 0.0

    def show(self, progress: Progress) -> None:
        """Print what is new."""
        for upload in reversed(progress.latest):
            if upload.event_id not in self._shown:
                self._shown.add(upload.event_id)
                self._say(_upload_line(upload))
        if time.monotonic() >= self._next_status:
            self._next_status = time.monotonic() + _PLAIN_STATUS_SECONDS
            self._say(_status_line(progress))

    def __enter__(self) -> Self:
        self._say(f"bucket {self._place.bucket} in {self._place.bucket_dir} at {self._place.endpoint_url}")
        self._say(f"status page {self._place.status_page}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)


def screen(progress: Progress, place: Place, width: int, height: int) -> RenderableType:
    """The whole live screen for a terminal of this size."""
    lines = max(3, height - _FIXED_LINES)
    return Group(
        Rule("[bold]Frigate S3 Snapshot Mirror[/]  demo, Ctrl-C ends it", align="left", style="cyan"),
        _numbers(progress, place),
        Text(),
        _uploads_table(progress.latest[:lines], width),
        Text(),
        _where(place),
    )


def sparkline(counts: tuple[int, ...]) -> str:
    """The counts as a row of bars, a dot where nothing happened."""
    top = max(counts, default=0)
    return "".join(_BARS[(count * len(_BARS) - 1) // top] if count else "·" for count in counts)


def short_key(key: str, width: int) -> str:
    """The key, or its end if it is too wide: the end is what differs."""
    return key if len(key) <= width else f"…{key[-(width - 1) :]}"


def _numbers(progress: Progress, place: Place) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    grid.add_row(
        f"Frigate {place.version}",
        f"{progress.running} running   {progress.ended} ended   {progress.with_snapshot} with a snapshot",
    )
    on_their_way = f"[yellow]{progress.outstanding} on their way[/]" if progress.outstanding else "[green]all there[/]"
    noun = "snapshot" if progress.in_bucket == 1 else "snapshots"
    grid.add_row("Bucket", f"[cyan]{progress.in_bucket}[/] {noun}   {on_their_way}")
    grid.add_row(
        "Lag",
        f"median [cyan]{seconds_text(progress.median_seconds)}[/]   "
        f"max {seconds_text(progress.max_seconds)}   from Frigate's commit to S3's answer",
    )
    grid.add_row("Uploads", f"[green]{sparkline(progress.per_second)}[/]")
    grid.add_row("", f"[dim]one bar per second, the last {SPARK_SECONDS}; the tallest is {max(progress.per_second)}[/]")
    return grid


def _uploads_table(uploads: tuple[Upload, ...], width: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("Camera", width=_CAMERA_WIDTH, no_wrap=True, overflow="ellipsis")
    table.add_column("Label", width=_LABEL_WIDTH, no_wrap=True, overflow="ellipsis")
    table.add_column("Lag", width=_LAG_WIDTH, no_wrap=True, justify="right", style="cyan")
    table.add_column("Key", no_wrap=True, overflow="crop")
    key_width = max(20, width - _CAMERA_WIDTH - _LABEL_WIDTH - _LAG_WIDTH - _GAPS)
    for upload in uploads:
        table.add_row(
            Text(upload.camera),
            Text(upload.label),
            seconds_text(upload.lag_seconds),
            Text(short_key(upload.key, key_width)),
        )
    return table


def _where(place: Place) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("Status page", Text(place.status_page))
    grid.add_row("Look at it", Text(str(place.bucket_dir)))
    grid.add_row("Endpoint", Text(f"{place.endpoint_url}  bucket {place.bucket}"))
    grid.add_row("Mirror's log", Text(str(place.mirror_log)))
    return grid


def _upload_line(upload: Upload) -> str:
    at = datetime.fromtimestamp(upload.uploaded_at, UTC).astimezone()
    lag = seconds_text(upload.lag_seconds)
    return f"{at:%H:%M:%S} uploaded camera={upload.camera} label={upload.label!r} lag={lag} key={upload.key}"


def _status_line(progress: Progress) -> str:
    return (
        f"running={progress.running} ended={progress.ended} with_snapshot={progress.with_snapshot} "
        f"in_bucket={progress.in_bucket} median_lag={seconds_text(progress.median_seconds)} "
        f"max_lag={seconds_text(progress.max_seconds)}"
    )
