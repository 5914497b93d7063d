"""A progress bar with rate and time left for long work on a terminal; nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Advance = Callable[[int, int | None], None]
"""Takes how many are done, and of how many (None: not known yet)."""


class _Rate(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", "dim")


Step = Callable[[str, int, int | None], None]
"""Takes what is being done, how far it is, and of how many."""


@contextmanager
def progress_on_stderr(title: str) -> Iterator[Step]:
    """A bar whose text follows the step, on stderr, so that results on stdout stay clean."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _step, _done, _total: None
        return
    with _progress(console) as progress:
        task = progress.add_task(title, total=None)
        yield lambda step, done, total: progress.update(task, description=step, completed=done, total=total)


def _progress(console: Console) -> Progress:
    description = TextColumn("{task.description}")
    columns = (description, BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(compact=True))
    return Progress(*columns, console=console)


@contextmanager
def progress_bar(title: str, console: Console | None = None) -> Iterator[Advance]:
    """Show a bar while the block runs; what the block prints appears above it."""
    console = console or Console()
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    with _progress(console) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
