"""Follows what arrived where: compares the events that Frigate made with the bucket folder and the ledger.

Only reads. The bucket's folder says what is there; the mirror's ledger says when S3 acknowledged it.
"""

from __future__ import annotations

import sqlite3
import threading
from bisect import insort
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from frigate_s3_mirror.demo.mirror_process import PATH_PREFIX
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent

SPARK_SECONDS = 60
_LATEST = 200
_LEDGER_OVERLAP_SECONDS = 10.0  # the ledger commits in batches: an upload is seen a little after its time
_UPLOADED = """
SELECT event_id, key, uploaded_at FROM object
WHERE kind = 'snapshot' AND state = 'uploaded' AND uploaded_at >= ? ORDER BY uploaded_at
"""


@dataclass(frozen=True)
class Upload:
    """One acknowledged upload, as the ledger has it."""

    event_id: str
    camera: str
    label: str
    key: str
    uploaded_at: float
    lag_seconds: float
    """From the commit that completed Frigate's row to S3's answer; 0 where the mirror was even earlier."""


@dataclass(frozen=True)
class Progress:
    """What is known at one moment."""

    running: int
    ended: int
    with_snapshot: int
    in_bucket: int
    median_seconds: float | None
    p99_seconds: float | None
    max_seconds: float | None
    per_second: tuple[int, ...]
    """Uploads in each of the last `SPARK_SECONDS` seconds, oldest first."""
    latest: tuple[Upload, ...]
    """Newest first."""

    @property
    def outstanding(self) -> int:
        """Snapshots of ended events that are not in the bucket yet."""
        return self.with_snapshot - self.in_bucket


def expected_key(event: SimulatedEvent, prefix: str = PATH_PREFIX) -> str:
    """The key that the README promises for the event's snapshot, worked out without the mirror's own code."""
    start = datetime.fromtimestamp(event.start_time, UTC).astimezone()
    ending = event.snapshot_path.suffix if event.snapshot_path else ".jpg"
    name = f"{event.id}-{start:%Y%m%d_%H%M%S}{ending}"
    return f"{prefix}/{event.camera}/{start:%Y-%m-%d}/{name}"


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which this share of an ordered sequence lies; None for an empty one."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else None


class ProgressReader:
    """Told of events by `note`, from any thread; `read` looks at the bucket and the ledger."""

    def __init__(self, bucket_dir: Path, ledger_path: Path) -> None:
        self._bucket_dir = bucket_dir
        self._ledger_path = ledger_path
        self._lock = threading.Lock()
        self._events: dict[str, SimulatedEvent] = {}
        self._running: set[str] = set()
        self._outstanding: dict[str, Path] = {}
        self._with_snapshot = 0
        self._acknowledged: set[str] = set()
        self._acknowledged_until = 0.0
        self._lags: list[float] = []
        self._latest: deque[Upload] = deque(maxlen=_LATEST)
        self._seconds: Counter[int] = Counter()

    def note(self, event: SimulatedEvent) -> None:
        """An event began or ended."""
        with self._lock:
            self._events[event.id] = event
            if event.row_complete_at is None:
                self._running.add(event.id)
                return
            self._running.discard(event.id)
            if event.snapshot_path is not None:
                self._with_snapshot += 1
                self._outstanding[event.id] = self._bucket_dir / expected_key(event)

    def read(self, now: float) -> Progress:
        """Look again."""
        with self._lock:
            arrived = [event_id for event_id, path in self._outstanding.items() if path.exists()]
            for event_id in arrived:
                del self._outstanding[event_id]
            self._read_ledger()
            for second in [second for second in self._seconds if second < now - SPARK_SECONDS - 60]:
                del self._seconds[second]
            return Progress(
                running=len(self._running),
                ended=len(self._events) - len(self._running),
                with_snapshot=self._with_snapshot,
                in_bucket=self._with_snapshot - len(self._outstanding),
                median_seconds=percentile(self._lags, 0.5),
                p99_seconds=percentile(self._lags, 0.99),
                max_seconds=percentile(self._lags, 1.0),
                per_second=tuple(self._seconds[int(now) - ago] for ago in range(SPARK_SECONDS, 0, -1)),
                latest=tuple(self._latest),
            )

    def _read_ledger(self) -> None:
        since = self._acknowledged_until - _LEDGER_OVERLAP_SECONDS
        for event_id, key, uploaded_at in _uploaded_since(self._ledger_path, since):
            event = self._events.get(event_id)
            # An upload that was quicker than `note` is counted at the next look.
            if event_id in self._acknowledged or event is None or event.row_complete_at is None:
                continue
            self._acknowledged.add(event_id)
            self._acknowledged_until = max(self._acknowledged_until, uploaded_at)
            lag = max(0.0, uploaded_at - event.row_complete_at)
            insort(self._lags, lag)
            self._seconds[int(uploaded_at)] += 1
            self._latest.appendleft(Upload(event_id, event.camera, event.label, key, uploaded_at, lag))


def _uploaded_since(ledger_path: Path, since: float) -> list[tuple[str, str, float]]:
    """Acknowledged snapshots from the mirror's ledger, opened read-only; none while it is not there."""
    try:
        with closing(sqlite3.connect(f"{ledger_path.as_uri()}?mode=ro", uri=True, timeout=1)) as ledger:
            return ledger.execute(_UPLOADED, (since,)).fetchall()
    except sqlite3.OperationalError:
        return []
