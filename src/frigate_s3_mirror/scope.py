"""Which objects a command is about: by time, camera and label."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Scope:
    """Bounds in unix seconds of the event's start; None means no bound. Camera and label are globs."""

    since: float | None = None
    until: float | None = None
    camera: str | None = None
    label: str | None = None

    def holds(self, start_time: float, camera: str | None, label: str | None = None) -> bool:
        """Whether an event belongs to it; a label that is not known is judged by `wants_label` later."""
        return (
            (self.since is None or start_time >= self.since)
            and (self.until is None or start_time < self.until)
            and (self.camera is None or (camera is not None and fnmatchcase(camera, self.camera)))
            and (label is None or self.wants_label(label))
        )

    def wants_label(self, label: str) -> bool:
        """Whether this label is wanted."""
        return self.label is None or fnmatchcase(label, self.label)

    def sql(self) -> tuple[str, list[object]]:
        """The same as a condition over the ledger's alias `o`, and its parameters."""
        conditions, parameters = ["1"], list[object]()
        when = "coalesce(o.start_time, o.happened_at)"
        for condition, value in (
            (f"{when} >= ?", self.since), (f"{when} < ?", self.until), ("o.camera GLOB ?", self.camera), ("o.label GLOB ?", self.label),
        ):  # fmt: skip
            if value is not None:
                conditions.append(condition)
                parameters.append(value)
        return " AND ".join(conditions), parameters
