"""An event of a simulated Frigate, as its callers see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SimulatedEvent:
    """An event as it was after the last call that returned it."""

    id: str
    camera: str
    label: str
    sub_label: str | None
    start_time: float
    end_time: float | None
    has_snapshot: bool
    snapshot_path: Path | None = None
    """The file to mirror; None while there is none."""
    row_complete_at: float | None = None
    """The clock right after the commit that set `end_time`; lag is measured from here."""
