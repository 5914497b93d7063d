"""Whether what waits has moved: a group of things that are waiting now, counted again until it gets smaller. Pure."""

from __future__ import annotations

from frigate_s3_mirror.health import Unmoved


class Movement:
    """Watches all that waits at some moment, up to a mark (a row, a time); as soon as one is gone, it begins anew.

    Newcomers beyond the mark do not count, so those that never get their turn show however many others pass by.
    Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self.mark: float = -1.0
        """Up to where to count."""
        self._count = 0
        self._since = 0.0

    def see(self, upto_mark: int, total: int, newest: float, now: float) -> None:
        """Take in a count: how many wait up to the mark, how many at all, and the mark that holds all of these."""
        if upto_mark == 0 or upto_mark < self._count:
            self._count, self.mark, self._since = total, newest, now
        else:
            self._count = upto_mark

    def begin_anew(self) -> None:
        """Something else explains why nothing moves, or all has changed: what was seen so far says nothing."""
        self._count, self.mark = 0, -1.0

    def unmoved(self, now: float) -> Unmoved:
        """Return what has not moved, and for how long."""
        return Unmoved(self._count, now - self._since) if self._count else Unmoved()
