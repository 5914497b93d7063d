"""The verdict of `verify` as a person reads it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from frigate_s3_mirror.terminal import plain
from frigate_s3_mirror.verify import Trouble, Verdict, worst_first

_MEANINGS = {
    Trouble.MISSING: "in the ledger as uploaded, but not in the bucket",
    Trouble.DIFFERENT: "in the bucket, but not as it was sent",
    Trouble.UNREADABLE: "in the bucket, but not handed out",
    Trouble.UNMIRRORED: "in Frigate, but not in the bucket",
    Trouble.WAITING: "recorded, and not sent yet",
    Trouble.CHANGED: "in the bucket, but Frigate has another picture since then",
    Trouble.UNKNOWN: "in the bucket, but not in the ledger; no loss, `rebuild` takes them in",
}

_RARE = frozenset({Trouble.UNREADABLE, Trouble.WAITING, Trouble.CHANGED})


def render(verdict: Verdict, most: int, *, asked_to_repair: bool) -> RenderableType:
    """Counts, the first differences by name, and what to do next."""
    counts = Table.grid(padding=(0, 2))
    counts.add_column(justify="right", min_width=9)
    counts.add_row(Text(f"{verdict.checked:,}", "bold"), "compared with the bucket")
    if verdict.downloaded:
        counts.add_row(Text(f"{verdict.downloaded:,}", "bold"), "downloaded and hashed")
    for trouble, meaning in _MEANINGS.items():
        count = verdict.counts[trouble]
        if not count and trouble in _RARE:
            continue
        style = "bold red" if count and trouble is not Trouble.UNKNOWN else "bold"
        counts.add_row(Text(f"{count:,}", style), meaning)
    parts: list[RenderableType] = [counts, ""]
    shown = worst_first(verdict.differences)[:most]
    if shown:
        table = Table(box=None, padding=(0, 1), header_style="dim")
        for column in ("what", "event or key", "why"):
            table.add_column(column, overflow="fold")
        for difference in shown:
            where = difference.key or difference.event_id or ""
            table.add_row(difference.trouble.value, plain(where), plain(difference.detail))
        parts += [table, ""]
        if len(verdict.differences) > most:
            parts += [Text(f"... and {sum(verdict.counts.values()) - most:,} more; --json has them.", "dim"), ""]
    parts.append(_next_step(verdict, asked_to_repair=asked_to_repair))
    return Group(*parts)


def _next_step(verdict: Verdict, *, asked_to_repair: bool) -> Text:
    if verdict.is_empty:
        return Text("Nothing was compared, so nothing can be said.", "bold yellow")
    if verdict.is_fine:
        return Text("All that should be in the bucket is there.", "green")
    if not asked_to_repair:
        return Text(
            "`verify --repair` queues what can be sent again; a running service, or `run --once`, sends what waits; "
            "`retry-failed` tries what was given up."
        )
    text = Text(f"{verdict.requeued:,} are queued; a running service sends them, or `run --once`.")
    if verdict.beyond_repair:
        text.append(
            f"\n{len(verdict.beyond_repair):,} cannot be sent again: Frigate no longer has their files, "
            "or nobody knows which they were.",
            "bold red",
        )
    if verdict.left_alone:
        text.append(
            f"\n{verdict.left_alone:,} that differ are left alone and not queued: S3_OVERWRITE=never forbids to replace "
            "them; set S3_OVERWRITE=changed and run `verify --repair` again.",
            "bold red",
        )
    return text
