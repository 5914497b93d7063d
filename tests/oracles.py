"""What must be true after every fault: nothing is lost, nothing is damaged, and the backlog comes to its end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from conftest import RunningMirror
from frigate_s3_mirror.demo.progress import expected_key
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from servers import Target

PREFIX = "frigate/snapshots"
FULL = os.environ.get("FAULTS") == "full"
"""Set by `make test-faults`; `make test` runs the same in a shorter form."""


def size(short: int, full: int) -> int:
    """How much of a fault is enough in this run."""
    return full if FULL else short


def conserved(target: Target, events: Iterable[SimulatedEvent], pictures: dict[str, bytes] | None = None) -> None:
    """Every event is in the bucket byte for byte, and nothing else is. `pictures`: those whose files are gone, by id."""
    pictures = pictures or {}
    wanted = {
        expected_key(event, PREFIX): pictures.get(event.id) or event.snapshot_path.read_bytes()
        for event in events
        if event.snapshot_path is not None
    }
    got = target.objects()
    assert set(wanted) - set(got) == set(), "lost"
    assert set(got) - set(wanted) == set(), "never sent by anybody"
    assert [key for key, content in wanted.items() if got[key] != content] == [], "damaged"


def drained(mirror: RunningMirror, seconds: float = 60.0) -> None:
    """The backlog of the running service reaches zero within a bound, and nothing has failed."""

    def is_empty() -> bool:
        counts = json.loads(mirror.command("status", "--json").stdout)["counts"]
        return bool(counts["pending"] == 0)

    mirror.wait_for(is_empty, seconds)
    counts = json.loads(mirror.command("status", "--json").stdout)["counts"]
    assert counts["failed"] == counts["expired"] == 0, mirror.log()
