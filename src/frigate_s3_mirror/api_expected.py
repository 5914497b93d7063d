"""Which events Frigate's API is asked for by their ids, and when again. Pure; `now` is monotonic seconds everywhere.

A message of Frigate's can come before its row says the same, and an event that is listed as running no more has an end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, auto

_FIRST_AGAIN, _LONGEST_AGAIN = 0.05, 1.0  # seconds
_PATIENCE = 5.0
"""Seconds until a row is left to the looks at what runs and what began lately."""


class Seen(Enum):
    """How an event stands that was asked for."""

    RUNNING = auto()
    ENDED = auto()
    GONE = auto()
    """Frigate has no such row: not yet, or no more."""
    UNKNOWN = auto()
    """It could not be asked."""


@dataclass(slots=True)
class _Expected:
    ends: bool
    """An end is expected; else just a row."""
    is_known: bool
    """There was a row, so that none means that it was deleted."""
    until: float
    next_at: float
    pause: float = _FIRST_AGAIN

    def is_met(self, seen: Seen) -> bool:
        """Whether nothing more is to be expected."""
        match seen:
            case Seen.ENDED:
                return True
            case Seen.RUNNING:
                return not self.ends
            case Seen.GONE:
                return self.is_known
        return False


@dataclass(slots=True)
class ExpectedRows:
    """What is expected of events, by their ids."""

    _expected: dict[str, _Expected] = field(default_factory=dict)
    _running: set[str] = field(default_factory=set)
    """Ids of events that were asked for and run."""

    def runs(self, event_id: str, now: float) -> None:
        """There should be a row of it; one that was seen is not asked for again."""
        if event_id not in self._running and event_id not in self._expected:
            self._expected[event_id] = _Expected(ends=False, is_known=False, until=now + _PATIENCE, next_at=now)

    def ended(self, event_id: str, now: float, *, is_known: bool = False) -> None:
        """Its row should have an end."""
        known = self._expected.get(event_id)
        if known is None or not known.ends:
            is_known = is_known or event_id in self._running
            self._expected[event_id] = _Expected(ends=True, is_known=is_known, until=now + _PATIENCE, next_at=now)

    def check(self, event_id: str, now: float) -> None:
        """It is said to run; is that so?"""
        self._running.discard(event_id)
        self.runs(event_id, now)

    def due(self, now: float) -> list[str]:
        """Whom to ask for now."""
        return [event_id for event_id, expected in self._expected.items() if expected.next_at <= now]

    def next_at(self) -> float:
        """When somebody is due, infinity when nobody is."""
        return min((expected.next_at for expected in self._expected.values()), default=math.inf)

    def settle(self, event_id: str, seen: Seen, now: float) -> None:
        """This was seen; asked for again are those of whom more is to be expected, for a while."""
        if seen is Seen.RUNNING:
            self._running.add(event_id)
        elif seen is not Seen.UNKNOWN:
            self._running.discard(event_id)
        expected = self._expected.get(event_id)
        if expected is None:
            return
        if expected.is_met(seen) or now >= expected.until:
            del self._expected[event_id]
        else:
            expected.next_at = now + expected.pause
            expected.pause = min(expected.pause * 2, _LONGEST_AGAIN)
