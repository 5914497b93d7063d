"""When to try again: backoff and the circuit breaker, pure; time and randomness come in as arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

FIRST_DELAY = 0.5
LONGEST_DELAY = 60.0
LONGEST_OBJECT_DELAY = 300.0
FIRST_CONFIGURATION_DELAY = 30.0
LONGEST_CONFIGURATION_DELAY = 300.0
LONGEST_RETRY_AFTER = 300.0
LONGEST_BESIDE_RETRY_AFTER = 8.0
"""Where S3 says how long to wait, backoff only guards against a wait of nothing, so that the end comes soon."""
URGENT_PAUSE = 5.0
"""Seconds between two tries of fresh uploads while S3 is away."""
URGENT_CONFIGURATION_PAUSE = 15.0


class ErrorClass(StrEnum):
    """What an error says about the next attempt; decided once, in `s3.py`."""

    TRANSIENT = "transient"
    """Network or server trouble; nothing is counted against the event."""
    CONFIGURATION = "configuration"
    """A person must change something (credentials, bucket, storage class); probed slowly, nothing is counted."""
    OBJECT = "object"
    """This object is refused or cannot be read; counted, and `failed` after S3_MAX_FAILED_RETRIES."""


def full_jitter(attempt: int, chance: float, first: float = FIRST_DELAY, longest: float = LONGEST_DELAY) -> float:
    """Seconds to wait before the next try, after `attempt` (1, 2, ...) failed ones; `chance` is in [0, 1).

    Full jitter: evenly between nothing and a bound that doubles up to `longest`.
    """
    return chance * min(longest, first * 2.0 ** min(attempt - 1, 60))


@dataclass(slots=True)
class Concurrency:
    """How many uploads may run at a time: halved when S3 asks to slow down, won back one by one."""

    most: int
    now: float = 0.0
    _halved_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.now = float(self.most)

    def allows(self, flying: int) -> bool:
        """Whether one more may start besides these."""
        return flying < int(self.now)

    def succeeded(self) -> None:
        """An upload went well: about one more after as many successes as run at a time."""
        self.now = min(float(self.most), self.now + 1.0 / self.now)

    def slow_down(self, now: float) -> None:
        """S3 asked for less; answers to one burst count once. `now` is monotonic seconds."""
        if now - self._halved_at >= 1.0:
            self._halved_at = now
            self.now = max(1.0, self.now / 2.0)


class Circuit(StrEnum):
    """State of the breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(slots=True)
class Breaker:
    """Stops the hammering of an endpoint that does not answer: a few failures in a row open it, one probe closes it.

    Configuration errors open it at once and are probed slowly. All times are monotonic seconds.
    """

    threshold: int = 3
    circuit: Circuit = Circuit.CLOSED
    opened_until: float = 0.0
    failures: int = 0
    rounds: int = 0
    """How often it opened since the last success; the wait grows with it."""
    error_class: ErrorClass | None = None
    _urgent_from: float = 0.0

    def may_start(self, now: float, *, urgent: bool = False) -> bool:
        """Whether an attempt may start now; while half-open only the single probe may.

        An urgent one need not wait for the end of the pause: after an outage, a new event is as good a probe as any.
        """
        if self.circuit is Circuit.OPEN and now >= self.next_start(urgent=urgent):
            self.circuit = Circuit.HALF_OPEN
            return True
        return self.circuit is Circuit.CLOSED

    def next_start(self, *, urgent: bool = False) -> float:
        """When the next probe may start, while open."""
        return min(self.opened_until, self._urgent_from) if urgent else self.opened_until

    def succeeded(self) -> bool:
        """Note a success; returns whether the breaker was not closed before."""
        was_tripped = self.circuit is not Circuit.CLOSED
        self.circuit, self.failures, self.rounds, self.error_class = Circuit.CLOSED, 0, 0, None
        return was_tripped

    def untold(self) -> None:
        """Note an attempt that says nothing about the service (its file was gone): if it was the probe, the next one is."""
        if self.circuit is Circuit.HALF_OPEN:
            self.circuit = Circuit.OPEN  # whose wait is over

    def failed(self, error_class: ErrorClass, now: float, chance: float, retry_after: float | None = None) -> None:
        """Note a failure of the service (transient or configuration; errors of one object do not belong here)."""
        self.failures += 1
        self.error_class = error_class
        if retry_after is not None:
            retry_after = 0.0 if math.isnan(retry_after) else min(max(retry_after, 0.0), LONGEST_RETRY_AFTER)
        tripped = (
            self.circuit is Circuit.HALF_OPEN or error_class is ErrorClass.CONFIGURATION or retry_after is not None
        )
        if self.circuit is Circuit.OPEN or not (tripped or self.failures >= self.threshold):
            return
        self.rounds += 1
        self.circuit = Circuit.OPEN
        self.opened_until = now + self._wait(chance, retry_after)
        pause = URGENT_CONFIGURATION_PAUSE if error_class is ErrorClass.CONFIGURATION else URGENT_PAUSE
        self._urgent_from = now + max(pause, retry_after or 0.0)

    def _wait(self, chance: float, retry_after: float | None) -> float:
        if retry_after is not None:
            usual = min(LONGEST_BESIDE_RETRY_AFTER, FIRST_DELAY * 2.0 ** min(self.rounds - 1, 60))
            return max(retry_after, usual * (0.5 + chance / 2))
        if self.error_class is ErrorClass.CONFIGURATION:
            bound = min(LONGEST_CONFIGURATION_DELAY, FIRST_CONFIGURATION_DELAY * 2.0 ** min(self.rounds - 1, 60))
            return bound * (0.5 + chance / 2)
        return full_jitter(self.rounds, chance)
