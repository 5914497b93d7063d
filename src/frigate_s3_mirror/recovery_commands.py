"""The commands around what is in the bucket: verify, restore, rebuild, iam-policy, lifecycle, fleet."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from frigate_s3_mirror.command_line import fail, settings_or_exit
from frigate_s3_mirror.runtime.untrusted import single_line
from frigate_s3_mirror.scope import NothingDoneError, Scope, parse_when

if TYPE_CHECKING:
    from frigate_s3_mirror.restore import Restored
    from frigate_s3_mirror.settings import Settings
    from frigate_s3_mirror.tally import Tally
    from frigate_s3_mirror.verify import Verdict

_ZONE = os.environ.get("S3_KEY_TIMEZONE") or os.environ.get("TZ") or "the machine's zone"
Since = Annotated[
    str | None,
    typer.Option(
        help="Only events that started then or later: 24h, 7d, today, yesterday, 2026-01-31 or 2026-01-31T14:30, "
        f"in the time zone of the keys (S3_KEY_TIMEZONE, else TZ; now {_ZONE})."
    ),
]
Until = Annotated[str | None, typer.Option(help="Only events that started before then; a date means its midnight.")]
Camera = Annotated[str | None, typer.Option(help="Only this camera (a glob).")]
Label = Annotated[str | None, typer.Option(help="Only this label (a glob).")]
_SHOWN = 50
_NOTHING = 2
"""Exit status when nothing could be done, or there was nothing to do it to."""


def register(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    for command in (verify, restore, rebuild, fleet, lifecycle):
        app.command()(command)
    app.command("iam-policy")(iam_policy)


def verify(
    since: Since = None,
    until: Until = None,
    camera: Camera = None,
    deep: Annotated[bool, typer.Option("--deep", help="Download every object and compare its SHA-256.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Queue what can be sent again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Compare Frigate, the ledger and the bucket; needs s3:ListBucket, and s3:GetObject for `--deep`.

    Exit status: 0 all is well, 1 something is missing or different, 2 nothing was or could be compared.
    """
    from frigate_s3_mirror.events import FrigateError
    from frigate_s3_mirror.ledger_file import LedgerError
    from frigate_s3_mirror.progress_bar import progress_on_stderr
    from frigate_s3_mirror.s3_errors import StoreError
    from frigate_s3_mirror.verify import Verification, why_not

    settings = settings_or_exit().settings
    scope = _scope(settings, since, until, camera, None)
    try:
        with progress_on_stderr("Verifying") as step:
            verdict = Verification(settings, scope, step).run(deep=deep, repair=repair)
    except StoreError as error:
        fail(why_not(error), _NOTHING)
    except (LedgerError, FrigateError, NothingDoneError) as error:
        fail(str(error), _NOTHING)
    _show(verdict, asked_to_repair=repair, as_json=as_json)
    if verdict.is_empty:
        fail(
            f"Nothing was compared: the ledger has no upload{_in_words(scope)}.{_of_unknown(verdict)}",
            _NOTHING,
        )
    raise typer.Exit(0 if verdict.is_fine else 1)


def _show(verdict: Verdict, *, asked_to_repair: bool, as_json: bool) -> None:
    if as_json:
        from frigate_s3_mirror.terminal import json_text

        typer.echo(json_text(verdict.to_dict()))
        return
    from rich.console import Console

    from frigate_s3_mirror.verify_view import render

    Console(highlight=False).print(render(verdict, _SHOWN, asked_to_repair=asked_to_repair))


def _of_unknown(verdict: Verdict) -> str:
    from frigate_s3_mirror.verify import Trouble

    count = verdict.counts[Trouble.UNKNOWN]
    return f" The bucket holds {count:,} that it does not know; `rebuild` takes them in." if count else ""


def restore(
    since: Since = None,
    until: Until = None,
    camera: Camera = None,
    label: Label = None,
    to: Annotated[Path, typer.Option(help="The folder to write into.")] = Path("restored"),
    frigate_layout: Annotated[
        bool, typer.Option("--frigate-layout", help="Frigate's own file names instead of camera/date/.")
    ] = False,
    clips: Annotated[bool, typer.Option("--clips", help="Clips, too: their segments and playlists.")] = False,
) -> None:
    """Bring snapshots back from the bucket, verified; what is there already is not loaded again.

    Works without Frigate and without a ledger, then it needs s3:ListBucket; always s3:GetObject.
    Exit status: 0 all are there, 1 some could not be restored, 2 nothing was or could be restored.
    """
    from frigate_s3_mirror.ledger_file import LedgerError
    from frigate_s3_mirror.progress_bar import progress_on_stderr
    from frigate_s3_mirror.recovery_errors import explain
    from frigate_s3_mirror.restore import Restoration
    from frigate_s3_mirror.s3_errors import StoreError

    settings = settings_or_exit().settings
    scope = _scope(settings, since, until, camera, label)
    try:
        with progress_on_stderr("Restoring") as step:
            restoration = Restoration(settings, scope, to, frigate_layout=frigate_layout, with_clips=clips)
            restored = restoration.run(lambda done, total: step("Restoring", done, total))
    except StoreError as error:
        fail(explain(error, "s3:GetObject and s3:ListBucket", "--with-restore"), _NOTHING)
    except (LedgerError, NothingDoneError) as error:
        fail(str(error), _NOTHING)
    except OSError as error:
        fail(f"{to} cannot be written ({error.strerror}); --to names another folder.", _NOTHING)
    _tell_restored(restored, to)
    if not restored.looked_at:
        fail(f"There is nothing to restore{_in_words(scope)}.", _NOTHING)
    raise typer.Exit(1 if restored.refused else 0)


def _tell_restored(restored: Restored, to: Path) -> None:
    for sentence in restored.refused:
        typer.echo(single_line(sentence), err=True)
    _tell_tally(restored.foreign, "objects bear no name of the mirror's and were left alone:")
    _tell_tally(restored.unverified, "were restored unverified, since nothing in the bucket says their checksum:")
    typer.echo(
        f"{restored.written} restored to {to}, {restored.already_there} were there already, {len(restored.refused)} not restored."
    )


def rebuild() -> None:
    """Make the ledger anew from the bucket (or complete it); needs s3:ListBucket and s3:GetObject.

    Stop the service first. Nothing is sent and nothing in the bucket is changed.
    Exit status: 0 all was taken in, 1 keys that end like the mirror's cannot be used, 2 nothing could be done.
    """
    from frigate_s3_mirror import rebuild as rebuilding
    from frigate_s3_mirror.ledger_file import LedgerError
    from frigate_s3_mirror.lifetime import AlreadyRunningError
    from frigate_s3_mirror.progress_bar import progress_on_stderr
    from frigate_s3_mirror.s3_errors import StoreError
    from frigate_s3_mirror.verify import why_not

    settings = settings_or_exit().settings
    try:
        with progress_on_stderr("Rebuilding") as step:
            adopted, left_out = rebuilding.rebuild(settings, lambda done, total: step("Rebuilding", done, total))
    except StoreError as error:
        fail(why_not(error), _NOTHING)
    except (LedgerError, AlreadyRunningError) as error:
        fail(str(error), _NOTHING)
    typer.echo(f"{adopted} objects of the bucket are new in the ledger {settings.ledger_dir}.")
    _tell_tally(left_out.foreign, "objects bear no name of the mirror's and were left out:")
    _tell_tally(left_out.odd, "keys end like the mirror's, and no request can name them; they were left out:")
    _tell_tally(left_out.unread, "were taken in by their names alone, since S3 did not hand out their metadata:")
    raise typer.Exit(1 if left_out.odd.count else 0)


def _tell_tally(tally: Tally, what: str) -> None:
    if tally.count:
        typer.echo(f"{tally.count:,} {what}", err=True)
        for line in tally.lines():
            typer.echo(line, err=True)


def iam_policy(
    with_verify: Annotated[bool, typer.Option("--with-verify", help="Also what `verify` and `rebuild` need.")] = False,
    with_restore: Annotated[bool, typer.Option("--with-restore", help="Also what `restore` needs.")] = False,
    with_lifecycle: Annotated[
        bool, typer.Option("--with-lifecycle", help="Also what `lifecycle --apply` needs.")
    ] = False,
) -> None:
    """Print a minimal IAM policy for the key; without options it allows uploads and nothing else."""
    from frigate_s3_mirror import policies

    settings = settings_or_exit().settings
    policy = policies.iam_policy(settings, verify=with_verify, restore=with_restore, lifecycle=with_lifecycle)
    typer.echo(json.dumps(policy, indent=2))


def lifecycle(
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the rules to the bucket; those of others stay.")
    ] = False,
) -> None:
    """Print the bucket's lifecycle rules for S3_RETENTION_DAYS and its like, or apply them: the bucket then deletes old objects itself."""
    from frigate_s3_mirror.lifecycle_client import LifecycleClient, LifecycleError
    from frigate_s3_mirror.policies import lifecycle_rules

    settings = settings_or_exit().settings
    try:
        rules = lifecycle_rules(settings)
        if apply:
            client = LifecycleClient(settings)
            others = client.foreign_rules()
            client.write(rules, others)
    except (ValueError, LifecycleError) as error:
        fail(str(error), 1)
    typer.echo(json.dumps({"Rules": rules}, indent=2))
    if apply:
        typer.echo(f"This is in the bucket '{settings.bucket}'; {len(others)} other rules stay as they were.", err=True)


def fleet(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="List the whole bucket, not only beside and above S3_PATH_PREFIX.")
    ] = False,
) -> None:
    """Show the health of all sites that mirror into this bucket, the silent ones first; needs s3:ListBucket and s3:GetObject.

    Exit status: 0 all are well, 1 one is silent or not OK, 2 they could not be read.
    """
    from frigate_s3_mirror.fleet import is_well, read_fleet
    from frigate_s3_mirror.recovery_errors import explain
    from frigate_s3_mirror.s3 import ObjectStore
    from frigate_s3_mirror.s3_errors import StoreError

    settings = settings_or_exit().settings
    now = time.time()
    try:
        sites = read_fleet(ObjectStore(settings), settings.path_prefix, now, everywhere=everywhere)
    except StoreError as error:
        fail(explain(error, "s3:ListBucket and s3:GetObject", "--with-verify"), _NOTHING)
    if as_json:
        from frigate_s3_mirror.terminal import json_text

        typer.echo(json_text([site.to_dict() for site in sites]))
    else:
        from rich.console import Console

        from frigate_s3_mirror.fleet_view import render

        Console(highlight=False).print(render(sites, now))
    if not sites:
        place = f"beside or above '{settings.path_prefix}'" if settings.path_prefix else "at its top"
        where = "anywhere" if everywhere else place
        fail(
            f"No site has written a heartbeat into the bucket '{settings.bucket}' {where}; is S3_PATH_PREFIX right?",
            _NOTHING,
        )
    raise typer.Exit(0 if all(is_well(site) for site in sites) else 1)


def _scope(settings: Settings, since: str | None, until: str | None, camera: str | None, label: str | None) -> Scope:
    zone = ZoneInfo(settings.key_timezone) if settings.key_timezone else None
    now = time.time()
    try:
        begins, ends = [None if text is None else parse_when(text, now, zone) for text in (since, until)]
    except ValueError as error:
        fail(str(error), _NOTHING)
    if begins is not None and ends is not None and begins >= ends:
        fail(f"--since {since} is not before --until {until}: no event can be in between.", _NOTHING)
    return Scope(begins, ends, camera, label)


def _in_words(scope: Scope) -> str:
    """The bounds of a scope, as the end of a sentence."""
    named = (("camera", scope.camera), ("label", scope.label))
    words = [f" {what} '{name}'" for what, name in named if name is not None]
    when = " in that time" if scope.since is not None or scope.until is not None else ""
    return f"{' of' if words else ''}{' and'.join(words)}{when}"
