"""`python -m benchmarks [first-copy] [lag] [scale] [--quick]`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from benchmarks import first_copy, lag, scale

BENCHMARKS = {"first-copy": first_copy.run, "lag": lag.run, "scale": scale.run}


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Which: {', '.join(BENCHMARKS)}; none means all.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller and shorter, for a first look.")] = False,  # noqa: FBT002
) -> None:
    """Measure the mirror beside its peers on this machine."""
    console = Console(width=None if Console().is_terminal else 120)
    unknown = set(names or ()) - set(BENCHMARKS)
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        console.print(BENCHMARKS[name](quick=quick))


if __name__ == "__main__":
    typer.run(main)
