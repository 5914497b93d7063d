"""The doctor's findings as a person reads them: a line a check, the fix beneath, in colour where there is a terminal."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from frigate_s3_mirror.doctor import Doctor, Report
from frigate_s3_mirror.finding import Finding, Verdict
from frigate_s3_mirror.terminal import plain

_STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "bold red", Verdict.SKIPPED: "dim"}
_MARKS = {Verdict.OK: "✓", Verdict.WARNING: "!", Verdict.FAILED: "✗", Verdict.SKIPPED: "-"}
_ASCII_MARKS = {**_MARKS, Verdict.OK: "+", Verdict.FAILED: "x"}
_NAME_WIDTH = 15


def show(doctor: Doctor, console: Console) -> Report:
    """Print each finding as soon as it is known, and what to do next at the end."""
    findings: list[Finding] = []
    with console.status("Checking ..."):  # shows nothing where the output is no terminal
        for finding in doctor.findings():
            findings.append(finding)
            console.print(line(finding, ascii_only=console.options.ascii_only))
    report = doctor.report(findings)
    console.print()
    console.print(summary(report))
    return report


def line(finding: Finding, *, ascii_only: bool = False) -> RenderableType:
    """Mark, name and sentence; a fix goes beneath the sentence."""
    marks = _ASCII_MARKS if ascii_only else _MARKS
    style = _STYLES[finding.verdict]
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1, no_wrap=True)
    table.add_column(width=_NAME_WIDTH, no_wrap=True)
    table.add_column(overflow="fold")
    is_dim = finding.verdict is Verdict.SKIPPED
    table.add_row(
        Text(marks[finding.verdict], style), Text(finding.name, style), plain(finding.seen, "dim" if is_dim else "")
    )
    if finding.fix:
        fix = Table.grid(padding=(0, 1))
        fix.add_row(Text("->" if ascii_only else "→", style), plain(finding.fix, "bold"))
        table.add_row("", "", fix)
    return table


def summary(report: Report) -> Text:
    """How many of each, and what to do next."""
    counts = report.to_dict()["counts"]
    words = (
        (Verdict.OK, "fine"),
        (Verdict.WARNING, "warning"),
        (Verdict.FAILED, "failed"),
        (Verdict.SKIPPED, "skipped"),
    )
    text = Text()
    for verdict, word in words:
        if counts[verdict]:
            plural = "s" if verdict is Verdict.WARNING and counts[verdict] > 1 else ""
            text.append(", " if text else "").append(f"{counts[verdict]} {word}{plural}", _STYLES[verdict])
    return text.append(". ").append(plain(report.next_step))
