"""Health as one word with a reason: a pure function of what is known about Frigate, the ledger and S3."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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


def judge_health(
    *,
    frigate_problem: str | None,
    clips_problem: str | None,
    s3_problem: str | None,
    ledger_problem: str | None,
    has_proof: bool,
) -> Condition:
    """DOWN: nothing new can be seen. DEGRADED: it is seen and kept, but not sent. `has_proof`: S3 ever took something."""
    if frigate_problem is not None:
        return Condition(Health.DOWN, frigate_problem)
    if clips_problem is not None:
        return Condition(Health.DEGRADED, clips_problem)
    if s3_problem is not None or ledger_problem is not None:
        return Condition(Health.DEGRADED, s3_problem or ledger_problem or "")
    if not has_proof:
        return Condition(Health.DEGRADED, "S3 has not taken anything yet since the start.")
    return Condition(Health.OK)
