"""Health as one word with a reason: a pure function of what moves and what is known to be wrong.

OK is never stored: it is what is left when nothing is wrong, every loop goes round, and what is due has moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from frigate_s3_mirror.runtime.ticks import Stall

DUE_SECONDS = 300.0
"""For which due entries may not move while S3 is said to be well and nothing is being sent."""
_DUE_BEHIND_OTHERS_SECONDS = 900.0
_DUE_IN_FLIGHT_SECONDS = 3600.0
MISSING_SECONDS = 600.0
"""For which snapshots of ended events may be missing in the bucket without any of them getting there."""


class Health(StrEnum):
    """One word for people and monitors."""

    OK = "OK"
    DEGRADED = "DEGRADED"
    DOWN = "DOWN"


@dataclass(frozen=True, slots=True)
class Condition:
    """Health with its reason ("" when OK)."""

    health: Health
    reason: str = ""
    must_act: bool = False
    """It does not go away by itself: a person has to do something."""


@dataclass(frozen=True, slots=True)
class Vital:
    """What the service says of itself at this moment, to people and machines alike."""

    condition: Condition
    since: float
    """Unix seconds since when the word of health has been the same."""
    started_at: float
    waits_for: str | None = None
    """Why all that is pending waits: S3 as a whole takes nothing now; None while it does."""
    restarts: Mapping[str, int] = field(default_factory=dict)
    """How often each loop had to be started anew."""


@dataclass(frozen=True, slots=True)
class Unmoved:
    """So many things wait, and none of them got any further for so long (`seconds`)."""

    count: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Lane:
    """What an uploader does with its share of the backlog."""

    due: Unmoved = Unmoved()
    in_flight: int = 0
    dead_workers: int = 0
    s3_problem: str | None = None
    is_configuration: bool = False
    """The S3 problem is one that a person must solve."""
    ledger_problem: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that health is judged from."""

    has_proof: bool
    """S3 has taken something since the start."""
    frigate_problem: str | None = None
    folder_problem: str | None = None
    filter_problem: str | None = None
    """The user's filters let nothing of Frigate's through."""
    lanes: Sequence[Lane] = ()
    ledger_problem: str | None = None
    """The last try to write the ledger failed."""
    missing: Unmoved = Unmoved()
    """Snapshots of Frigate's that are neither in the bucket nor given up."""
    scan_interval: float = 0.0
    stalled: Sequence[Stall] = ()
    nobody_reads_the_log: bool = False


WAITS = "Nothing to do: it goes on by itself."
ACT = "You must act: nothing is sent until this is put right."


def judge_health(facts: Facts) -> Condition:
    """Say how the mirror does.

    DOWN: nothing new can be seen. DEGRADED: it is seen and kept, but not sent, or not all that should move does. The
    worst comes first, and what explains the others goes before them.
    """
    if facts.frigate_problem is not None:
        act = (
            "You must act."
            if "refuses" in facts.frigate_problem
            else "If Frigate is not just being restarted, you must act."
        )
        reason = f"{facts.frigate_problem} {act}"
        return Condition(Health.DOWN, reason, must_act=True)
    problem = (
        _of_folder(facts)
        or _of_s3(facts)
        or _of_ledger(facts)
        or _of_loops(facts)
        or _of_lanes(facts)
        or _of_proof(facts)
        or _of_filter(facts)
        or _of_log(facts)
    )
    if problem is not None:
        return problem
    if not facts.has_proof:
        return _degraded(f"S3 has not taken anything yet since the start. {WAITS}", must_act=False)
    return Condition(Health.OK)


def _of_folder(facts: Facts) -> Condition | None:
    if facts.folder_problem is None:
        return None
    return _degraded(f"{facts.folder_problem} Unless it is just being mounted, you must act.")


def _of_s3(facts: Facts) -> Condition | None:
    for lane in facts.lanes:
        if lane.s3_problem is not None:
            advice = ACT if lane.is_configuration else WAITS
            return _degraded(f"{lane.s3_problem} {advice}", must_act=lane.is_configuration)
    return None


def _of_ledger(facts: Facts) -> Condition | None:
    problems = [lane.ledger_problem for lane in facts.lanes] + [facts.ledger_problem]
    found = next((problem for problem in problems if problem is not None), None)
    return None if found is None else _degraded(f"{found} You must act: make room; uploads go on meanwhile.")


def _of_loops(facts: Facts) -> Condition | None:
    if not facts.stalled:
        return None
    stall = facts.stalled[0]
    limit = f"{stall.allowed_seconds / 60:.0f} min"
    return _degraded(f"'{stall.name}' has not gone round for more than {limit}. {_RESTART}")


def _of_lanes(facts: Facts) -> Condition | None:
    for lane in facts.lanes:
        if lane.dead_workers:
            return _degraded(f"{lane.dead_workers} upload threads are gone. {_RESTART}")
        if lane.due.count and lane.due.seconds > _patience(lane):
            limit = f"{_patience(lane) / 60:.0f} min"
            return _degraded(
                f"{lane.due.count} uploads are due and have not moved for more than {limit}, though S3 answers. {_RESTART}"
            )
    return None


def _patience(lane: Lane) -> float:
    """Large files on a thin uplink take their time; what waits behind them, too."""
    if not lane.in_flight:
        return DUE_SECONDS
    return _DUE_IN_FLIGHT_SECONDS if lane.due.count <= lane.in_flight else _DUE_BEHIND_OTHERS_SECONDS


def _of_proof(facts: Facts) -> Condition | None:
    missing = facts.missing
    if not missing.count or missing.seconds <= MISSING_SECONDS + facts.scan_interval:
        return None
    return _degraded(
        f"{missing.count} snapshots of Frigate's are missing in the bucket, and none of them has got there for more than "
        f"{MISSING_SECONDS / 60:.0f} min. You must act: Problems, the log or `doctor` say why."
    )


def _of_filter(facts: Facts) -> Condition | None:
    if facts.filter_problem is None:
        return None
    return _degraded(f"{facts.filter_problem} You must act: correct the setting, `config` shows it.")


def _of_log(facts: Facts) -> Condition | None:
    if not facts.nobody_reads_the_log:
        return None
    return _degraded(
        "Nobody reads the log, so its lines are dropped; uploads go on. You must act: look at the container's log driver."
    )


_RESTART = "You must act: restart the mirror; the log may say why."


def _degraded(reason: str, *, must_act: bool = True) -> Condition:
    return Condition(Health.DEGRADED, reason, must_act)
