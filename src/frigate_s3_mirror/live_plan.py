"""Which running event's picture is to be fetched now. Pure; `now` is monotonic seconds everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from frigate_s3_mirror.events import Event

RETRY_SECONDS = 1.0
"""How soon a picture is asked for again that could not be had or sent: it is what a burglar leaves."""
ROW_PATIENCE = 5.0
"""Seconds for which an event that Frigate told of may be without a row."""


@dataclass(slots=True)
class Watched:
    """A running event, and what was sent of it."""

    event: Event
    next_at: float
    in_hand: bool = False
    last_at: float = float("-inf")
    hinted_at: float = float("-inf")
    frame_at: float | None = None
    """When the frame of its best picture was taken (unix seconds), where Frigate said so."""
    sha256: str | None = None
    """Of the picture that was sent last."""


@dataclass(slots=True)
class LivePlan:
    """Fetches a picture when an event is first seen, and then at intervals; sooner only when it is known to be better."""

    interval: float
    running: dict[str, Watched] = field(default_factory=dict)

    def see(self, events: Iterable[Event], now: float) -> None:
        """These events run now, and no others."""
        seen = {event.id: event for event in events}
        for event_id, watched in list(self.running.items()):
            if event_id not in seen and now - watched.hinted_at > ROW_PATIENCE:
                del self.running[event_id]
        for event in seen.values():
            watched = self.running.setdefault(event.id, Watched(event, now))
            watched.event = event

    def hint(self, event: Event, now: float, frame_at: float | None = None) -> None:
        """Frigate says that this event's picture became better (or that it runs at all)."""
        watched = self.running.setdefault(event.id, Watched(event, now))
        watched.event, watched.hinted_at, watched.frame_at = event, now, frame_at
        if not watched.in_hand:
            watched.next_at = max(now, min(watched.next_at, watched.last_at + self.interval))

    def hear_no_more(self) -> None:
        """Frigate's messages do not come any more: what they said of frames is out of date."""
        for watched in self.running.values():
            watched.frame_at = None

    def end(self, event_id: str) -> None:
        """Frigate says that it ended."""
        self.running.pop(event_id, None)

    def due(self, now: float, most: int) -> list[Watched]:
        """What to fetch now, the newest event first; it is in hand until `done`."""
        waiting = [watched for watched in self.running.values() if not watched.in_hand and watched.next_at <= now]
        chosen = sorted(waiting, key=lambda watched: watched.event.start_time, reverse=True)[: max(0, most)]
        for watched in chosen:
            watched.in_hand, watched.last_at = True, now
        return chosen

    def done(self, watched: Watched, sha256: str | None) -> None:
        """The bucket has its picture (`sha256`), or there was none to be had."""
        watched.in_hand = False
        watched.sha256 = sha256 or watched.sha256
        watched.next_at = watched.last_at + (self.interval if sha256 else min(self.interval, RETRY_SECONDS))

    def next_at(self) -> float | None:
        """When the first of them is due again."""
        return min((watched.next_at for watched in self.running.values() if not watched.in_hand), default=None)

    @property
    def in_hand(self) -> int:
        """How many are being fetched or sent."""
        return sum(watched.in_hand for watched in self.running.values())
