"""Listing Frigate's events around rows of which its API cannot tell.

One row with a NaN in it makes Frigate answer the whole page with status 500. So the page is asked for in pieces: bisection
finds when the odd event began, and from then on what lies before and after it is asked for. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from frigate_s3_mirror.frigate_api import RowsUntoldError
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.runtime.untrusted import LATEST_TIME

_PRECISION = 1e-6
"""Seconds; Frigate's times have no finer fractions."""
_MOST_ODD = 50
"""Odd rows that are worked around; with more of them something else is wrong."""

Rows = list[dict[str, Any]]
Ask = Callable[[int, float | None, float | None], Rows]
"""Lists at most so many events that began before the one and after the other time, newest first.

Raises RowsUntoldError when one of them is odd.
"""


class OddRows:
    """Remembers where odd rows lie; used by one thread."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        self._told: set[int] = set()

    def forget(self) -> None:
        """They may have been mended: look anew."""
        self._spans.clear()

    def listed(self, ask: Ask, limit: int, before: float | None, after: float | None) -> Rows:
        """Return the newest events between the times, at most `limit`, without the odd ones.

        Raises RowsUntoldError when there are too many of those.
        """
        rows: Rows = []
        for upper, lower in self._pieces(before, after):
            if len(rows) >= limit:
                break
            rows += self._piece(ask, limit - len(rows), upper, lower)
        return rows

    def _piece(self, ask: Ask, limit: int, before: float | None, after: float | None) -> Rows:
        try:
            return ask(limit, before, after)
        except RowsUntoldError:
            if len(self._spans) >= _MOST_ODD:
                raise
        _require_answer(ask)
        span = _newest_odd(ask, limit, before, after)
        _require_answer(ask)  # Frigate may have stopped in the middle, and then everything looked odd
        self._note(span)
        return self.listed(ask, limit, before, after)

    def _pieces(self, before: float | None, after: float | None) -> Iterator[tuple[float | None, float | None]]:
        """What lies between the times, without the odd spans, the newest first."""
        upper = before
        for low, high in sorted(self._spans, reverse=True):
            if (upper is None or high < upper) and (after is None or high > after):
                yield upper, high
                upper = low
        yield upper, after

    def _note(self, span: tuple[float, float]) -> None:
        self._spans.append(span)
        if round(span[0]) not in self._told:
            self._told.add(round(span[0]))
            began = (
                "in the far future"
                if span[0] >= LATEST_TIME
                else f"about {datetime.fromtimestamp(span[0], UTC):%Y-%m-%d %H:%M:%S} UTC"
            )
            logger().warning(
                "S3 snapshot mirror: Frigate cannot tell of an event that began %s (status 500): its row in the database is "
                "odd. It is left out until it is mended; the others go on.",
                began,
            )


def _require_answer(ask: Ask) -> None:
    """Ask for events of a time in which there are none. Raises RowsUntoldError: Frigate stumbles whatever is asked for."""
    ask(1, 0.0, -1.0)


def _newest_odd(ask: Ask, limit: int, before: float | None, after: float | None) -> tuple[float, float]:
    """Return the times between which the newest odd row of a page began."""

    def is_odd_after(time: float) -> bool:
        try:
            ask(limit, before, time)
        except RowsUntoldError:
            return True
        return False

    if before is None and is_odd_after(LATEST_TIME):
        return LATEST_TIME, float("inf")
    low, high = after if after is not None else 0.0, before if before is not None else LATEST_TIME
    while high - low > _PRECISION:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if is_odd_after(middle):
            low = middle
        else:
            high = middle
    return low, high
