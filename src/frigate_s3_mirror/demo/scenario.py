"""Decides what happens at the simulated cameras, and when: overlapping, late, endless, odd and broken events.

Each event is a story: a generator that does one step and yields the seconds until its next one. All stories
run in one thread, so a hundred events can be in progress at once.
"""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate

OnChange: TypeAlias = Callable[[SimulatedEvent], None]
_Story: TypeAlias = Generator[float, None, None]
_LABELS = ("person", "person", "person", "car", "car", "dog", "☃ snowman", "delivery van", "bicycle")
_SUB_LABELS = (None, None, None, "dhl", "Ada")
# One round of twenty events; every kind comes early, so that a short demo shows them all.
_ROUND = (
    *(
        "object",
        "object",
        "doorbell",
        "parked",
        "object",
        "no snapshot",
        "object",
        "endless",
        "killed",
        "object",
    ),
    *(
        "object",
        "object",
        "object",
        "parked",
        "object",
        "doorbell",
        "object",
        "no snapshot",
        "object",
        "object",
    ),
)


def run(
    frigate: SimulatedFrigate,
    events: int | None,
    rate: float,
    stop: threading.Event,
    on_change: OnChange,
    *,
    seed: int = 1,
    longest_seconds: float = 4.0,
) -> None:
    """Let `events` events (None: without end) begin, `rate` per second, until all ended or `stop` is set.

    Args:
        frigate: where they happen.
        events: how many events begin.
        rate: how many of them per second.
        stop: ends the run at once; events in progress stay open.
        on_change: told of every event that began or ended.
        seed: chooses labels, cameras and durations.
        longest_seconds: how long an event lasts at most.
    """
    order = count()  # breaks ties in the agenda
    agenda: list[tuple[float, int, _Story]] = []
    begun, next_begin = 0, time.monotonic()
    while not stop.is_set():
        now = time.monotonic()
        while (events is None or begun < events) and next_begin <= now:
            dice = random.Random(f"{seed}-{begun}")  # one for each story: timing changes no choice
            cast = _Cast(frigate, dice, on_change, longest_seconds)
            story = _story(_ROUND[begun % len(_ROUND)], cast)
            heapq.heappush(agenda, (next_begin, next(order), story))
            begun, next_begin = begun + 1, next_begin + 1 / rate
        while agenda and agenda[0][0] <= now:
            due, _, story = heapq.heappop(agenda)
            pause = next(story, None)
            if pause is not None:
                heapq.heappush(agenda, (due + pause, next(order), story))
        if not agenda and begun == events:
            return
        wake_at = min([due for due, _, _ in agenda[:1]] + ([next_begin] if begun != events else []))
        stop.wait(max(0.0, wake_at - time.monotonic()))


@dataclass(frozen=True)
class _Cast:
    """What every story needs."""

    frigate: SimulatedFrigate
    dice: random.Random
    on_change: OnChange
    longest_seconds: float

    def some_time(self) -> float:
        return self.dice.uniform(self.longest_seconds / 8, self.longest_seconds)


def _story(kind: str, cast: _Cast) -> _Story:
    match kind:
        case "doorbell":
            return _doorbell(cast)
        case "endless":
            return _endless(cast)
        case "killed":
            return _killed(cast)
        case "no snapshot":
            return _tracked(cast, "cat", has_snapshot=False)
        case "parked":
            return _tracked(cast, "car", began_ago=cast.dice.uniform(1_800, 200_000))
        case _:
            return _tracked(cast, cast.dice.choice(_LABELS))


def _tracked(cast: _Cast, label: str, *, has_snapshot: bool = True, began_ago: float = 0.0) -> _Story:
    """An object comes and goes; one with `began_ago` (a parked car) came long before and ends late."""
    start_time = time.time() - began_ago if began_ago else None
    sub_label = cast.dice.choice(_SUB_LABELS)
    event = cast.frigate.begin_event(None, label, sub_label, start_time=start_time, has_snapshot=has_snapshot)
    cast.on_change(event)
    yield cast.some_time()
    cast.on_change((yield from cast.frigate.end_steps(event)))


def _doorbell(cast: _Cast) -> _Story:
    """An API event with a duration: its end lies in the future."""
    cast.on_change((yield from cast.frigate.manual_steps(cast.dice.choice((10.0, 30.0)))))


def _endless(cast: _Cast) -> _Story:
    """An API event without a duration, ended by another call later on."""
    event = yield from cast.frigate.manual_steps(None, label="package", sub_label="dhl")
    cast.on_change(event)
    yield cast.some_time()
    cast.on_change(cast.frigate.end_manual_event(event))


def _killed(cast: _Cast) -> _Story:
    """A leftover of a crash: a snapshot was promised, and no file ever comes."""
    cast.on_change(cast.frigate.killed_event())
    yield from ()
