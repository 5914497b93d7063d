"""Which messages people get, and when: few, and none twice. Pure; `now` is monotonic seconds everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.health import Condition, Health
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.units import format_duration

PATIENCE = 300.0
"""Most trouble is over before anybody could do something about it."""
QUIET = 1800.0
"""Between two messages that something is wrong, so that health which comes and goes does not ring all night."""
GATHER = 60.0
"""Losses seldom come alone."""
LOSSES_EVERY = 3600.0
_SHOWN_CAMERAS = 5


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent; the title names the site."""

    title: str
    body: str
    is_good: bool = False


class Announcer:
    """Is told what happens; `due` says which messages are to be sent now."""

    def __init__(self, site: str, now: float) -> None:
        self._title = f"Frigate S3 mirror {site}"
        self._condition = Condition(Health.DEGRADED, "It has not begun to work since its start.")
        self._bad_since: float | None = now
        self._is_told = False
        self._bad_told_at = self._losses_told_at = -math.inf
        self._lost: dict[str, set[str]] = {}
        self._lost_since = math.inf

    def health(self, condition: Condition, now: float) -> None:
        """Health or its reason is another one."""
        self._condition = condition
        if condition.health is Health.OK:
            self._bad_since = None
        elif self._bad_since is None:
            self._bad_since = now

    def settled(self, outcomes: Sequence[Outcome], now: float) -> None:
        """Remember what was lost."""
        for outcome in outcomes:
            if outcome.state is State.EXPIRED:
                self._lost_since = min(self._lost_since, now)
                self._lost.setdefault(outcome.entry.event.camera, set()).add(outcome.entry.event.id)

    def next_at(self) -> float | None:
        """When `due` may have something, None when nothing is ahead."""
        times = [self._recovery_at(), self._trouble_at(), self._losses_at()]
        first = min(times)
        return None if first == math.inf else first

    def due(self, now: float) -> list[Message]:
        """What is to be sent now; each is given once."""
        messages: list[Message] = []
        if now >= self._recovery_at():
            self._is_told = False
            messages.append(Message(self._title, "All is well again: health is OK.", is_good=True))
        if now >= self._trouble_at():
            self._is_told, self._bad_told_at = True, now
            messages.append(Message(self._title, self._trouble(now)))
        if now >= self._losses_at():
            messages.append(Message(self._title, self._losses()))
            self._lost, self._lost_since, self._losses_told_at = {}, math.inf, now
        return messages

    def _recovery_at(self) -> float:
        return -math.inf if self._is_told and self._bad_since is None else math.inf

    def _trouble_at(self) -> float:
        if self._is_told or self._bad_since is None:
            return math.inf
        return max(self._bad_since + PATIENCE, self._bad_told_at + QUIET)

    def _losses_at(self) -> float:
        return max(self._lost_since + GATHER, self._losses_told_at + LOSSES_EVERY)

    def _trouble(self, now: float) -> str:
        lasted = format_duration(round(now - (now if self._bad_since is None else self._bad_since)))
        return f"Not well for {lasted}, now {self._condition.health}: {self._condition.reason}"

    def _losses(self) -> str:
        count = sum(len(ids) for ids in self._lost.values())
        cameras = sorted(self._lost, key=lambda camera: (-len(self._lost[camera]), camera))
        shown = ", ".join(f"{camera} ({len(self._lost[camera])})" for camera in cameras[:_SHOWN_CAMERAS])
        more = f" and {len(cameras) - _SHOWN_CAMERAS} more cameras" if len(cameras) > _SHOWN_CAMERAS else ""
        what = "1 snapshot was" if count == 1 else f"{count} snapshots were"
        return f"{what} lost before S3 had them: {shown}{more}. 'status' lists them."
