"""The commands around what is in the bucket: verify, restore, rebuild, iam-policy, lifecycle, fleet."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from frigate_s3_mirror.command_line import fail, settings_or_exit
from frigate_s3_mirror.runtime.untrusted import single_line
from frigate_s3_mirror.scope import Scope
from frigate_s3_mirror.units import parse_when

Since = Annotated[str | None, typer.Option(help="Only events from then on: 24h, 7d, 2026-01-31 or 2026-01-31T14:30.")]
Until = Annotated[str | None, typer.Option(help="Only events before then.")]
Camera = Annotated[str | None, typer.Option(help="Only this camera (a glob).")]
Label = Annotated[str | None, typer.Option(help="Only this label (a glob).")]
_SHOWN = 50


def register(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    for command in (verify, restore, rebuild):
        app.command()(command)
    app.command("iam-policy")(iam_policy)
    app.command()(lifecycle)
    app.command()(fleet)


def verify(  # options, given by name
    since: Since = None,
    camera: Camera = None,
    deep: Annotated[bool, typer.Option("--deep", help="Download every object and compare its SHA-256.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Queue what can be sent again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Compare Frigate, the ledger and the bucket; needs s3:ListBucket, and s3:GetObject for `--deep`.

    Exit status: 0 all is well, 1 something is missing or different, 2 it could not be compared.
    """
    from frigate_s3_mirror.events import FrigateError
    from frigate_s3_mirror.ledger_file import LedgerError
    from frigate_s3_mirror.progress_bar import progress_on_stderr
    from frigate_s3_mirror.s3_errors import StoreError
    from frigate_s3_mirror.verify import Verification, why_not

    settings = settings_or_exit().settings
    try:
        with progress_on_stderr("Verifying") as step:
            verdict = Verification(settings, _scope(since, None, camera, None), step).run(deep=deep, repair=repair)
    except StoreError as error:
        fail(why_not(error), 2)
    except (LedgerError, FrigateError) as error:
        fail(str(error), 2)
    if as_json:
        from frigate_s3_mirror.terminal import json_text

        typer.echo(json_text(verdict.to_dict()))
    else:
        from rich.console import Console

        from frigate_s3_mirror.verify_view import render

        Console(highlight=False).print(render(verdict, _SHOWN, asked_to_repair=repair))
    raise typer.Exit(0 if verdict.is_fine else 1)


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
    Exit status: 0 all are there, 1 some could not be restored, 2 nothing could be done.
    """
    from frigate_s3_mirror.progress_bar import progress_on_stderr
    from frigate_s3_mirror.restore import Restoration
    from frigate_s3_mirror.s3_errors import StoreError

    settings = settings_or_exit().settings
    try:
        with progress_on_stderr("Restoring") as step:
            scope = _scope(since, until, camera, label)
            restoration = Restoration(settings, scope, to, frigate_layout=frigate_layout, with_clips=clips)
            restored = restoration.run(lambda done, total: step("Restoring", done, total))
    except StoreError as error:
        fail(f"{error} Restoring needs s3:GetObject and s3:ListBucket, see `iam-policy --with-restore`.", 2)
    except OSError as error:
        fail(f"{to} cannot be written ({error.strerror}); --to names another folder.", 2)
    for sentence in restored.refused:
        typer.echo(single_line(sentence), err=True)
    typer.echo(
        f"{restored.written} restored to {to}, {restored.already_there} were there already, {len(restored.refused)} not restored."
    )
    raise typer.Exit(1 if restored.refused else 0)


def rebuild() -> None:
    """Make the ledger anew from the bucket (or complete it); needs s3:ListBucket and s3:GetObject.

    Stop the service first. Nothing is sent and nothing in the bucket is changed.
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
            adopted, strange = rebuilding.rebuild(settings, lambda done, total: step("Rebuilding", done, total))
    except StoreError as error:
        fail(why_not(error), 2)
    except (LedgerError, AlreadyRunningError) as error:
        fail(str(error), 2)
    typer.echo(f"{adopted} objects of the bucket are new in the ledger {settings.ledger_dir}.")
    if strange:
        typer.echo(f"{strange} objects bear no name of the mirror's and were left out.")


def iam_policy(
    with_verify: Annotated[bool, typer.Option("--with-verify", help="Also what `verify` and `rebuild` need.")] = False,
    with_restore: Annotated[bool, typer.Option("--with-restore", help="Also what `restore` needs.")] = False,
    with_lifecycle: Annotated[
        bool, typer.Option("--with-lifecycle", help="Also what `lifecycle --apply` needs.")
    ] = False,
) -> None:
    """Print the least IAM policy for the key; without options it may put objects and nothing else."""
    from frigate_s3_mirror import policies

    settings = settings_or_exit().settings
    policy = policies.iam_policy(settings, verify=with_verify, restore=with_restore, lifecycle=with_lifecycle)
    typer.echo(json.dumps(policy, indent=2))


def lifecycle(
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the rules to the bucket; those of others stay.")
    ] = False,
) -> None:
    """Print the bucket's rules for S3_RETENTION_DAYS and its like, or write them: the bucket then deletes old objects itself."""
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
    """Show how all sites do that mirror into this bucket, the silent ones first; needs s3:ListBucket and s3:GetObject.

    Exit status: 0 all are well, 1 one is silent or not OK, 2 they could not be read.
    """
    from frigate_s3_mirror.fleet import read_fleet
    from frigate_s3_mirror.s3 import ObjectStore
    from frigate_s3_mirror.s3_errors import StoreError

    settings = settings_or_exit().settings
    now = time.time()
    try:
        sites = read_fleet(ObjectStore(settings), settings.path_prefix, now, everywhere=everywhere)
    except StoreError as error:
        hint = " Reading the fleet lists the bucket: allow s3:ListBucket, see `iam-policy --with-verify`."
        fail(f"{error}{hint if error.status in {401, 403} else ''}", 2)
    if as_json:
        from frigate_s3_mirror.terminal import json_text

        typer.echo(json_text([site.to_dict() for site in sites]))
    else:
        from rich.console import Console

        from frigate_s3_mirror.fleet_view import render

        Console(highlight=False).print(render(sites, now))
    raise typer.Exit(0 if all(site.is_well for site in sites) else 1)


def _scope(since: str | None, until: str | None, camera: str | None, label: str | None) -> Scope:
    try:
        bounds = [None if text is None else parse_when(text, time.time()) for text in (since, until)]
    except ValueError as error:
        fail(str(error), 2)
    return Scope(bounds[0], bounds[1], camera, label)
