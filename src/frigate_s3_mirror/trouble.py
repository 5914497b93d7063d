"""Trouble that many meet at once and that is told for all of them: when it begins, and now and then. Pure."""

from __future__ import annotations

from dataclasses import dataclass

TELL_AGAIN_SECONDS = 600.0


@dataclass(slots=True)
class Trouble:
    """What is wrong for a while. All times are monotonic seconds."""

    sentence: str | None = None
    """What is wrong now, None while all is well."""
    _told: str | None = None
    _tell_again_at: float = 0.0

    def met(self, sentence: str, now: float) -> bool:
        """Somebody met it; returns whether that is to be told.

        What comes and goes, or is met by some and not by others, is not told each time.
        """
        self.sentence = sentence
        if sentence == self._told and now < self._tell_again_at:
            return False
        self._told, self._tell_again_at = sentence, now + TELL_AGAIN_SECONDS
        return True

    def is_over(self) -> None:
        """Somebody did not meet it."""
        self.sentence = None
