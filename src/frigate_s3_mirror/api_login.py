"""When a login at Frigate may be tried again after it was refused. Pure; `now` is monotonic seconds everywhere.

Frigate counts failed logins by the address of whoever asks (`auth.failed_login_rate_limit`, documented with 20 an hour),
and an owner behind the same proxy or Docker gateway shares our address: trying on and on locks the owner out.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_PAUSE, LONGEST_PAUSE = 60.0, 900.0
"""Seconds after the first refusal in a row, and the most that later ones grow to."""


@dataclass(slots=True)
class LoginPause:
    """How long no login is tried."""

    until: float = float("-inf")
    sentence: str = ""
    """Why, for the user."""
    _refusals: int = 0

    def is_over(self, now: float) -> bool:
        """Whether a login may be tried."""
        return now >= self.until

    def refused(self, now: float, sentence: str, wanted_seconds: float | None = None) -> None:
        """Note a refusal; `wanted_seconds` is what the server asked for."""
        self._refusals += 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._refusals - 1, 10))
        if wanted_seconds is not None:
            pause = min(LONGEST_PAUSE, max(pause, wanted_seconds))
        self.until, self.sentence = now + pause, sentence

    def accepted(self) -> None:
        """Note a login that went well."""
        self.until, self.sentence, self._refusals = float("-inf"), "", 0
