"""The life of an entry, as pure decisions: when an event's file is due, and what an error or a fruitless search means.

(no entry) --file whole--> pending --S3 acknowledged--> uploaded
    |                       |  ^ '--refused too often--> failed --retry-failed--> pending
    |                       |  '-- transient or configuration error (not counted)
    |                       '--file vanished from a folder that is trusted--> expired --file is back--> pending
    '--row, but no file--> awaited --file came--> pending
                              '--given up--> absent --file came after all--> pending
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from frigate_s3_mirror.events import Event
from frigate_s3_mirror.retry import LONGEST_OBJECT_DELAY, ErrorClass, full_jitter

WHOLE_AFTER = 10.0
"""Seconds without a change after which an unfinished event's file counts as whole when nobody told of its closing."""
ABSENT_AFTER = 600.0
"""Seconds after the event during which a file that should be there is looked for again."""
LONGEST_SEARCH_DELAY = 60.0


class State(StrEnum):
    """Where an entry stands."""

    PENDING = "pending"
    UPLOADED = "uploaded"
    FAILED = "failed"
    EXPIRED = "expired"
    """Its file had been seen and was gone before S3 had it: a loss, unless it comes back."""
    SKIPPED = "skipped"
    AWAITED = "awaited"
    """Frigate says that there is a snapshot, but no file was ever seen; it is looked for again for a while."""
    ABSENT = "absent"
    """No file ever came; normal after a kill or stop of Frigate, and no loss."""


class Verdict(Enum):
    """What a look at an event and its file says."""

    RECORD = auto()
    """The file is whole: mirror it."""
    WATCH = auto()
    """Look again: the event runs, or its file may still be written."""
    AWAIT = auto()
    """The event ended and may have a snapshot, but no file is there (yet)."""
    IGNORE = auto()
    """Nothing to mirror."""


def judge(event: Event, modified_at: float | None, now: float, *, closed: bool = False) -> Verdict:
    """Decide on a snapshot. `modified_at` is the file's time or None without a file; `closed` that its closing was seen.

    An end that lies in the future counts as an end: Frigate writes the file of such an event before its row.
    """
    if modified_at is None:
        if event.end_time is None:
            return Verdict.WATCH
        return Verdict.AWAIT if event.has_snapshot or event.is_manual else Verdict.IGNORE
    unchanged = not 0 <= now - modified_at < WHOLE_AFTER
    return Verdict.RECORD if closed or event.end_time is not None or unchanged else Verdict.WATCH


@dataclass(frozen=True, slots=True)
class Step:
    """The next state of an entry. `attempts` are counted tries, `deferrals` uncounted ones; times are unix seconds."""

    state: State
    attempts: int
    deferrals: int
    next_attempt_at: float


def after_error(
    error_class: ErrorClass,
    attempts: int,
    deferrals: int,
    *,
    most: int,
    now: float,
    chance: float,
    service_waits: bool,
) -> Step:
    """What follows a failed upload.

    While the whole service waits (`service_waits`: the breaker is open), the entry itself has nothing to wait for.
    """
    if error_class is not ErrorClass.OBJECT:
        delay = 0.0 if service_waits else full_jitter(deferrals + 1, chance, longest=LONGEST_OBJECT_DELAY)
        return Step(State.PENDING, attempts, deferrals + 1, now + delay)
    attempts += 1
    if attempts >= most:
        return Step(State.FAILED, attempts, deferrals, now)
    return Step(
        State.PENDING,
        attempts,
        deferrals,
        now + full_jitter(attempts + 1, chance, longest=LONGEST_OBJECT_DELAY),
    )


def after_search(happened_at: float, searches: int, now: float) -> Step:
    """What follows when an awaited file was not found: look again, ever more rarely, then call it absent."""
    if abs(now - happened_at) >= ABSENT_AFTER:
        return Step(State.ABSENT, 0, searches, now)
    return Step(State.AWAITED, 0, searches + 1, now + min(2.0**searches, LONGEST_SEARCH_DELAY))
