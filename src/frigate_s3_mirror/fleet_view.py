"""All sites as a table, 80 columns wide, and below it why one is not well. `missing` is of the last 24 hours."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from frigate_s3_mirror.fleet import Site
from frigate_s3_mirror.terminal import plain
from frigate_s3_mirror.units import format_duration

_COLOURS = {"OK": "bold green", "DEGRADED": "bold yellow", "STARTING": "bold cyan"}


def render(sites: list[Site], now: float) -> RenderableType:
    """The whole view."""
    if not sites:
        return Text("No site has written a heartbeat here yet.")
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("site", overflow="fold")
    table.add_column("health", no_wrap=True)
    for column in ("heard", "backlog", "missing", "uploaded", "version"):
        table.add_column(column, justify="right", no_wrap=True)
    for site in sites:
        table.add_row(*_row(site, now))
    unwell = [site for site in sites if site.reason]
    if not unwell:
        return table
    why = Table.grid(padding=(0, 2))
    why.add_column(style="bold", overflow="fold", max_width=20)
    why.add_column(overflow="fold")
    for site in unwell:
        why.add_row(plain(_name(site)), plain(site.reason))
    return Group(table, "", why)


def _row(site: Site, now: float) -> list[Text]:
    said = site.said
    state = Text(site.state, _COLOURS.get(site.state, "bold red"))
    if said is None:
        return [plain(_name(site)), state]
    missing = "?" if said.missing_24h is None else f"{said.missing_24h:,}"
    return [
        plain(said.site), state, Text(_ago(site.heard_at, now)), Text(f"{said.backlog:,}"),
        Text(missing, "bold red" if said.missing_24h else ""), Text(_ago(said.last_upload_at, now)), plain(said.version),
    ]  # fmt: skip


def _name(site: Site) -> str:
    return site.said.site if site.said else site.key


def _ago(at: float | None, now: float) -> str:
    """How long ago that was, in the largest unit that fits."""
    if at is None:
        return "never"
    seconds = max(0, int(now - at))
    amount, unit = (f"{seconds} s" if seconds < 60 else format_duration(seconds)).split()[:2]
    return f"{amount} {unit} ago"
