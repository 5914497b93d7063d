"""`python -m benchmarks [first-copy] [lag] [quiet] [scale] [patch] [page] [live] [frigate] [--quick] [--minutes N] [--json FILE]`."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import first_copy, lag, live_cost, patch_cost, quiet, real_frigate, scale, status_page
from benchmarks.report import Plan

BENCHMARKS = {
    "first-copy": first_copy.run,
    "lag": lag.run,
    "quiet": quiet.run,
    "scale": scale.run,
    "patch": patch_cost.run,
    "page": status_page.run,
    "live": live_cost.run,
    "frigate": real_frigate.run,
}


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Which: {', '.join(BENCHMARKS)}; none means all.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller and shorter, for a first look.")] = False,  # noqa: FBT002
    minutes: Annotated[float, typer.Option(help="How long 'quiet' watches the service, each time.")] = 5.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Measure the mirror beside its peers on this machine."""
    console = Console(width=None if Console().is_terminal else 120)
    chosen = [name.replace("_", "-") for name in names or BENCHMARKS]
    if unknown := set(chosen) - set(BENCHMARKS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    plan = Plan(quick, 0.5 if quick else minutes)
    documents: dict[str, Any] = {"machine": {"cpus": os.cpu_count(), "python": platform.python_version()}}
    for name in chosen:
        report = BENCHMARKS[name](plan)
        report.print(console)
        documents[name] = report.document()
        if json_file is not None:  # after each one, so that an interrupted run keeps what it has
            json_file.write_text(json.dumps(documents, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
