"""What is known about the mirror, for people and monitors: read from the ledger, whether or not the service runs."""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from frigate_s3_mirror import sign_of_life
from frigate_s3_mirror.entries import Problem
from frigate_s3_mirror.events import Filters, FrigateError
from frigate_s3_mirror.health import Health, Vital
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import LOCK_NAME
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.running import RunningEvent, running_events
from frigate_s3_mirror.runtime.untrusted import single_line, time_or_none, unix_time
from frigate_s3_mirror.scan import FrigateScan, Proof
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sign_of_life import SignOfLife
from frigate_s3_mirror.units import format_duration

_SHOWN_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Status:
    """One look at the mirror; times are unix seconds, lag is now minus the end of the oldest pending event."""

    running: bool
    version: str | None
    health: str
    reason: str
    health_since: float | None
    counts: dict[str, int]
    """Pictures by state."""
    clips: dict[str, int] | None
    """Files of clips (segments and playlists) by state, None where there never were any."""
    backlog: int
    lag_seconds: float
    retrying: int
    next_retry_at: float | None
    s3_answered_at: float | None
    """When S3 last took something, an upload or a heartbeat."""
    last_upload_at: float | None
    last_upload_key: str | None
    waiting: list[Problem]
    failures: list[Problem]
    proof: dict[str, Proof] | None
    """For "24 h" and "7 d"; None when Frigate's database cannot be read."""
    in_progress: int = 0
    """Events that run now and of which the bucket already has something."""
    live_picture_at: float | None = None
    """When S3 took the newest picture of one of them."""
    notes: tuple[str, ...] = ()
    """What the server was found to refuse and the mirror does without, a sentence each; nothing is wrong."""

    def lived(self, vital: Vital) -> Status:
        """The same numbers with what the running service says of itself now."""
        condition = vital.condition
        return replace(
            self, running=True, health=condition.health.value, reason=condition.reason, health_since=vital.since,
            retrying=self.retrying if vital.waits_for is None else self.backlog,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The status as JSON-ready values."""
        content = asdict(self)
        for window, proof in (self.proof or {}).items():
            content["proof"][window]["missing"] = proof.missing
        return content


def read_status(settings: Settings, now: float) -> Status:
    """Look at the ledger and at Frigate's table. Raises LedgerError with a sentence when there is no ledger."""
    ledger_dir = settings.ledger_dir
    with Ledger.of(settings).reading() as ledger:
        facts = ledger.facts()
        counts = ledger.counts()
        oldest = ledger.oldest_pending()
        last = ledger.last_uploaded()
        running = is_running(ledger_dir)
        word = _last_word(ledger_dir / LOCK_NAME, facts, now) if running else _not_running(facts)
        in_progress = running_events(settings, now) if running else []
        return Status(
            running=running,
            version=single_line(str(facts["version"])) if facts.get("version") is not None else None,
            health=word.health,
            reason=word.reason,
            health_since=word.since,
            counts={state.value: count for state, count in counts.items()},
            clips=_clips(ledger),
            backlog=counts[State.PENDING],
            lag_seconds=0.0 if oldest is None else max(0.0, now - oldest),
            retrying=counts[State.PENDING] if word.all_wait else ledger.retrying(),
            next_retry_at=ledger.next_retry(now),
            s3_answered_at=max(
                filter(None, (time_or_none(facts.get("s3_answered_at")), last[0] if last else None)), default=None
            ),
            last_upload_at=last[0] if last else None,
            last_upload_key=last[1] if last else None,
            waiting=[p for p in ledger.problems(State.PENDING, limit=_SHOWN_PROBLEMS) if p.error],
            failures=ledger.problems(State.FAILED, State.EXPIRED, limit=_SHOWN_PROBLEMS),
            proof=_proof(settings, ledger.path, now),
            in_progress=len(in_progress),
            notes=_notes(facts),
            live_picture_at=_newest_picture(in_progress),
        )


@dataclass(frozen=True, slots=True)
class _Word:
    """What another process may say of the service's health."""

    health: str
    reason: str
    since: float | None
    all_wait: bool = False


def _not_running(facts: dict[str, Any]) -> _Word:
    return _Word(Health.DOWN.value, "The service is not running.", time_or_none(facts.get("stopped_at")))


def _last_word(lock: Path, facts: dict[str, Any], now: float) -> _Word:
    """What the service said last, unless that is too old to say anything about now."""
    signs = [sign for sign in (sign_of_life.read(lock), _noted(facts)) if sign is not None]
    fresh = next((sign for sign in signs if sign.is_fresh(now)), None)
    if fresh is not None:
        return _Word(fresh.health, fresh.reason, fresh.health_since, fresh.all_wait)
    heard = max([sign.at for sign in signs] + [time_or_none(facts.get("started_at")) or 0.0])
    if abs(now - heard) <= sign_of_life.OLDEST_SECONDS:
        return _Word(Health.DEGRADED.value, "Starting. Nothing to do yet.", heard)
    silence = format_duration(max(0.0, now - heard)) if heard else "a long time"
    return _Word(
        Health.DOWN.value,
        f"The service has given no sign of life for {silence}: has it hung, or is its disk full? You must act: look at its log.",
        heard or None,
    )


def _noted(facts: dict[str, Any]) -> SignOfLife | None:
    """The same from the ledger: for a lock file that cannot be written in place on a full disk."""
    try:
        health, reason = Health(facts["health"]), str(facts["reason"])
        return SignOfLife(health.value, reason, unix_time(facts["health_since"]), unix_time(facts["alive_at"]))
    except (KeyError, ValueError):
        return None


def _newest_picture(in_progress: Sequence[RunningEvent]) -> float | None:
    times = (time_or_none(event.picture.uploaded_at) for event in in_progress if event.picture is not None)
    return max((at for at in times if at is not None), default=None)


def _notes(facts: dict[str, Any]) -> tuple[str, ...]:
    limits = facts.get("limits")
    return tuple(single_line(limit) for limit in limits if isinstance(limit, str)) if isinstance(limits, list) else ()


def _clips(ledger: Ledger) -> dict[str, int] | None:
    counts = ledger.counts(clips=True)
    return {state.value: count for state, count in counts.items()} if any(counts.values()) else None


def _proof(settings: Settings, ledger_path: Path, now: float) -> dict[str, Proof] | None:
    filters = Filters(settings.cameras, settings.labels)
    scan = FrigateScan(ledger_path, settings.event_database, filters, settings.picture_kinds)
    try:
        return {"24 h": scan.proof(now - 86400), "7 d": scan.proof(now - 7 * 86400)}
    except FrigateError:
        return None
    finally:
        scan.close()


def is_running(ledger_dir: Path) -> bool:
    """Whether a service holds the lock of this state folder."""
    try:
        with (ledger_dir / LOCK_NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
