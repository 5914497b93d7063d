"""A count that can name the first few of what it counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from frigate_s3_mirror.runtime.untrusted import shown

MOST_NAMED = 5
"""How many are named; the count is exact."""


@dataclass(slots=True)
class Tally:
    """How many there were, and the names of the first."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one."""
        self.count += 1
        if len(self.names) < MOST_NAMED:
            self.names.append(name)

    def lines(self) -> Iterator[str]:
        """The names, fit for a terminal, and how many more there are."""
        yield from (f"  {shown(name)}" for name in self.names)
        if self.count > len(self.names):
            yield f"  ... and {self.count - len(self.names):,} more."
