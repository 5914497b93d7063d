"""The command line: reads the settings, starts the service or asks the ledger, and says what went wrong in a sentence."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from frigate_s3_mirror import __version__, recovery_commands
from frigate_s3_mirror.command_line import EXIT_CONFIGURATION, Commands, fail, settings_or_exit
from frigate_s3_mirror.events import FrigateError
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import LedgerError
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import flush, logger

if TYPE_CHECKING:
    from frigate_s3_mirror.s3_snapshot_mirror import Mirror

app = typer.Typer(
    name="frigate-s3-mirror",
    cls=Commands,
    help="Mirror Frigate's snapshots to S3-compatible storage: within a blink, never lost, never sent twice.\n\n"
    "All settings are environment variables; `config` shows them. At least S3_BUCKET, S3_ACCESS_KEY and S3_SECRET_KEY "
    "are needed (on AWS, the keys may come from a role).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point of the console script."""
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"frigate-s3-mirror {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    once: Annotated[
        bool, typer.Option("--once", help="Mirror what is there now, then exit: 0 if all is in the bucket, else 1.")
    ] = False,
) -> None:
    """Run the mirror until it is stopped (SIGTERM, Ctrl-C).

    Exit status: 0 after an orderly stop; 1 when it cannot work or, with `--once`, something is left that is not in the
    bucket; 78 when the settings are wrong.
    """
    from frigate_s3_mirror.companions import companions
    from frigate_s3_mirror.filter_check import FilterWatch
    from frigate_s3_mirror.lifetime import AlreadyRunningError
    from frigate_s3_mirror.s3_errors import StoreError
    from frigate_s3_mirror.s3_snapshot_mirror import Mirror

    loaded = settings_or_exit(log=True)
    try:
        mirror = Mirror(loaded.settings)
        mirror.open()
    except StoreError as error:
        fail(str(error), EXIT_CONFIGURATION)
    except (LedgerError, AlreadyRunningError) as error:
        fail(str(error), 1)
    try:
        if not once:
            mirror.observers += companions(loaded.settings, mirror.clock, mirror.api, mirror.health.vital)
            asyncio.run(mirror.run())
            left = int(mirror.is_broken)
        else:
            left = _drain(mirror)
            with contextlib.suppress(FrigateError):  # told by the scan
                FilterWatch(loaded.settings, loaded.settings.event_database, mirror.clock).look()
            _say_what_is_left(mirror.ledger, mirror.problems)
    finally:
        mirror.close()
    # All is on disk. A request that hangs in a thread must not hold up the end, as the interpreter's own exit would let it,
    # and nor must a log that nobody reads.
    if flush():
        sys.stdout.flush()
    os._exit(1 if left else 0)


def _drain(mirror: Mirror) -> int:
    """Mirror what is there, with a progress bar on a terminal; returns how many are left."""
    if not sys.stdout.isatty():
        return asyncio.run(mirror.run_once(lambda _done, _total: None))
    from frigate_s3_mirror.progress_bar import progress_bar

    level = logger().level
    logger().setLevel(
        max(level, logging.WARNING) if level != logging.DEBUG else level
    )  # the bar tells of what succeeds
    try:
        with progress_bar("Mirroring") as advance:
            return asyncio.run(mirror.run_once(advance))
    finally:
        logger().setLevel(level)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing, every two seconds, until Ctrl-C.")] = False,
) -> None:
    """Show what is mirrored, what waits, what failed and why.

    Exit status: 0 healthy, 1 degraded, 2 not running or down.
    """
    from frigate_s3_mirror.status import Status, read_status

    settings = settings_or_exit().settings

    def look() -> Status:
        try:
            return read_status(settings, time.time())
        except LedgerError as error:
            fail(str(error), 2)

    if watch:
        _watch_status(look)
        return
    seen = look()
    if as_json:
        from frigate_s3_mirror.terminal import json_text

        typer.echo(json_text(seen.to_dict()))
    else:
        from rich.console import Console

        from frigate_s3_mirror.status_view import render

        Console(highlight=False).print(render(seen, time.time()))
    raise typer.Exit({"OK": 0, "DEGRADED": 1}.get(seen.health, 2))


def retry_failed(
    event_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[EVENT_ID]...", help="Only these events; none means all.")
    ] = None,
) -> None:
    """Try failed and expired uploads again; a running service takes them up within seconds."""
    ledger = Ledger.of(settings_or_exit().settings)
    try:
        ledger.check_is_there()
        ledger.open()
        with ledger.in_words("written"):
            taken = ledger.retry_failed(event_ids or ())
    except LedgerError as error:
        fail(str(error), 1)
    finally:
        ledger.close()
    unknown = sorted(set(event_ids or ()) - set(taken))
    typer.echo(f"{len(taken)} event{'' if len(taken) == 1 else 's'} will be tried again.")
    if unknown:
        fail(f"No failed upload of event {', '.join(unknown)}; 'status' lists the failed ones.", 1)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    send_test: Annotated[
        bool, typer.Option("--send-test", help="Send a real notification, MQTT message and watchdog call, too.")
    ] = False,
) -> None:
    """Check settings, folders, the way to S3, the bucket and what tells of trouble, and say how to fix what is wrong.

    Writes one object of 64 KB, `.mirror/doctor-<site>.json` under the prefix, which stays.
    Exit status: 0 nothing failed, 1 something failed, 78 the settings are wrong.
    """
    from frigate_s3_mirror.doctor import Doctor

    examination = Doctor(os.environ, send_test=send_test)
    if as_json:
        report = examination.report(list(examination.findings()))
        from frigate_s3_mirror.terminal import json_text

        typer.echo(json_text(report.to_dict()))
    else:
        from rich.console import Console

        from frigate_s3_mirror.doctor_view import show

        report = show(examination, Console(highlight=False))
    raise typer.Exit(report.exit_status)


@app.command()
def config() -> None:
    """Show the effective settings, secrets hidden, and where each came from.

    A value is written as it can be set again; what stands in parentheses is no value.
    """
    from rich.console import Console
    from rich.table import Table

    from frigate_s3_mirror.config.spelling import effective
    from frigate_s3_mirror.terminal import plain

    loaded = settings_or_exit()
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("variable", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", style="dim", overflow="fold")
    for name, value in effective(loaded.settings).items():
        origin = loaded.origins[name]
        table.add_row(name, plain(value), plain(origin), style="dim" if origin == "default" else None)
    Console(highlight=False).print(table)


recovery_commands.register(app)


def _say_what_is_left(ledger: Ledger, problems: Sequence[str]) -> None:
    """The end of `--once`: what is in the bucket, and what is not and why."""
    counts = ledger.counts()
    logger().info(
        "S3 snapshot mirror: %d in the bucket, %d without a file",
        counts[State.UPLOADED],
        counts[State.ABSENT] + counts[State.AWAITED],
    )
    for problem in problems:
        logger().error("S3 snapshot mirror: %s", problem)
    if waiting := ledger.backlog():
        logger().error("S3 snapshot mirror: %d are not in the bucket yet; the next run sends them", waiting)
    for lost in ledger.problems(State.FAILED, State.EXPIRED, limit=20, with_clips=True):
        logger().error(
            "S3 snapshot mirror: not in the bucket event=%s camera=%s: %s", lost.event_id, lost.camera, lost.error
        )


def _watch_status(look: object) -> None:
    """Live on a terminal, a fresh report every two seconds elsewhere."""
    from collections.abc import Callable
    from typing import cast

    from rich.console import Console
    from rich.live import Live

    from frigate_s3_mirror.status import Status
    from frigate_s3_mirror.status_view import render

    see = cast(Callable[[], Status], look)
    console = Console(highlight=False)
    try:
        if not console.is_terminal:
            while True:
                console.print(render(see(), time.time()))
                time.sleep(2)
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                live.update(render(see(), time.time()), refresh=True)
                time.sleep(2)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(0)


# The order of `--help`: what most people need first. The commands above are in the order of their definition.
recovery_commands.register(app)
app.command("retry-failed")(retry_failed)
