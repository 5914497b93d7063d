"""Which page of events to ask for next, and what a page proves about those that it does not name. Pure.

Frigate lists events newest first, those that began strictly before a time, and a number of them at most. Several events
can have begun at one time, and events come and go between two pages; so each page goes back over the last one's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PAGE_ROWS = 250
_OVERLAP = 1e-6
"""Seconds; Frigate's times have no finer fractions."""


@dataclass(frozen=True, slots=True)
class Page:
    """What to ask for: events that began before `before` (None: all), at most `limit`."""

    before: float | None = None
    limit: int = PAGE_ROWS


@dataclass(frozen=True, slots=True)
class Covered:
    """What an answer proves: of the events that began after `after` and before `before`, it named every one."""

    after: float
    before: float
    following: Page | None
    """The next page, None at the end."""


def covered_by(page: Page, start_times: Sequence[float], count: int) -> Covered:
    """Judge the answer to a page by the start times that it named, and by how many rows it had."""
    before = float("inf") if page.before is None else page.before
    if count < page.limit:
        return Covered(float("-inf"), before, None)
    oldest = min(start_times, default=before)
    bound = oldest + _OVERLAP
    if bound >= before:  # the whole page began at one time: without a larger one, it would come again for ever
        return Covered(before, before, Page(page.before, page.limit * 2))
    return Covered(oldest, before, Page(bound, page.limit))
