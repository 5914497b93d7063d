"""What a benchmark hands back: a table to read, figures to keep, and goals that were met or missed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Plan:
    """How much to measure."""

    quick: bool = False
    minutes: float = 5.0
    """How long a quiet service is watched."""


@dataclass(frozen=True)
class Goal:
    """A figure and its limit."""

    name: str
    measured: float
    limit: float
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def sentence(self) -> str:
        """For the reader of a terminal."""
        sign, verdict = (">=" if self.at_least else "<="), ("met" if self.is_met else "[bold]MISSED[/bold]")
        return f"  {verdict}: {self.name} is {self.measured:.3g} (goal {sign} {self.limit:g})"


@dataclass(frozen=True)
class Report:
    """One benchmark's result."""

    table: Table
    figures: dict[str, Any]
    """Everything measured, by contender or size; ready for JSON."""
    goals: list[Goal] = field(default_factory=list)

    def print(self, console: Console) -> None:
        """Show the table and how the goals fared."""
        console.print(self.table)
        for goal in self.goals:
            console.print(goal.sentence(), highlight=False)

    def document(self) -> dict[str, Any]:
        """The result as JSON holds it."""
        return {"figures": self.figures, "goals": [{**asdict(goal), "met": goal.is_met} for goal in self.goals]}


def table(title: str, caption: str, *columns: str) -> Table:
    """A table whose first column is text and whose others are numbers."""
    made = Table(title=title, caption=caption or None)
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made
