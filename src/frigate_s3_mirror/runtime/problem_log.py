"""What is wrong for a while: kept as a fact for health, told when it begins, now and then while it lasts, and when it is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

TELL_AGAIN_SECONDS = 600.0


class ProblemLog:
    """One kind of problem; from any thread.

    Args:
        logger: where it is told.
        begins: the line while it lasts; its only `%s` is the reason.
        is_over: the line once it is over, "" for none.
        level: of the first line; recovery is information.
    """

    def __init__(
        self, logger: logging.Logger, begins: str, is_over: str = "", *,
        level: int = logging.WARNING, monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._logger, self._begins, self._is_over, self._level = logger, begins, is_over, level
        self._monotonic = monotonic
        self.reason: str | None = None
        """What is wrong now, None while all is well."""
        self._told: str | None = None
        self._tell_again_at = 0.0

    def report(self, reason: str) -> bool:
        """Note that it is wrong, and tell it if that is news; return whether it was told.

        The same reason is told again after TELL_AGAIN_SECONDS at the earliest, also when it came and went meanwhile.
        """
        now = self._monotonic()
        self.reason = reason
        if reason == self._told and now < self._tell_again_at:
            return False
        self._told, self._tell_again_at = reason, now + TELL_AGAIN_SECONDS
        self._logger.log(self._level, self._begins, reason)
        return True

    def clear(self) -> None:
        """Note that all is well; told once, if anything was wrong."""
        if self.reason is not None and self._is_over:
            self._logger.info(self._is_over)
            self._told = None
        self.reason = None
