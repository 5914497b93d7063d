"""`make demo`: the command line of the demo. Reads options, owns the folder, turns signals into an end."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

_EVENTS_ONCE = 40

app = typer.Typer(rich_markup_mode="markdown", add_completion=False, pretty_exceptions_enable=False)


class Version(StrEnum):
    """The Frigate versions whose files and tables differ for a mirror."""

    V0_14 = "0.14"
    V0_16 = "0.16"
    V0_17 = "0.17"
    V0_18 = "0.18"


@app.command()
def demo(
    *,
    events: Annotated[
        int | None,
        typer.Option(min=1, help=f"How many events happen (default: no end; {_EVENTS_ONCE} with --once)."),
    ] = None,
    once: Annotated[
        bool,
        typer.Option("--once", help="End by itself: wait for the last upload, compare every byte, exit 0 or 1."),
    ] = False,
    rate: Annotated[float, typer.Option(min=0.01, max=200, help="How many events begin per second.")] = 1.0,
    version: Annotated[Version, typer.Option(help="The Frigate version to simulate.")] = Version.V0_17,
    keep: Annotated[
        Path | None,
        typer.Option(help="Work in this new or empty folder and leave it there."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other events.")] = 1,
) -> None:
    """Watch the mirror at work, with nothing to set up.

    Starts an S3 server on this machine, a simulated Frigate whose events come, overlap, end late or break,
    and the real mirror between them. Shows what happened, what is in the bucket, and how long it took.
    Ctrl-C ends everything and removes the folder, which grows by about 2 MB a minute.
    """
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise typer.BadParameter(f"{keep} is not an empty folder", param_hint="--keep")
    console = Console()
    errors = Console(stderr=True)
    try:
        from frigate_s3_mirror.demo import embedded_s3, stage
    except ModuleNotFoundError as error:
        errors.print(f"The demo needs {error.name}: pip install 'frigate-s3-mirror\\[demo]'")
        raise typer.Exit(1) from error
    if once and events is None:
        events = _EVENTS_ONCE
    plan = stage.Plan(version.value, events, rate, once, seed)
    with _folder(keep) as root, _stop_on_signals() as stop:
        try:
            problems = stage.perform(root, plan, stop, console)
        except (stage.DemoError, embedded_s3.EmbeddedS3Error) as error:
            problems = [str(error)]
            once = True
    for problem in problems:
        errors.print(problem, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if problems and once else 0)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    root = Path(tempfile.mkdtemp(prefix="frigate-s3-mirror-demo-"))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second signal ends the program the hard way."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
