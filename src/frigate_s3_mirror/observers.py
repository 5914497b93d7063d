"""What looks on while the mirror works: metrics, Home Assistant, notifications. None of it can hold up an upload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.health import Condition


class Observer(Protocol):
    """Is told in the event loop what happened, and returns at once; what takes time it does in `regularly`."""

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """The ledger holds these outcomes."""

    def health_changed(self, condition: Condition, since: float) -> None:
        """Health or its reason changed; `since` (unix seconds) is when this health began."""

    def proved(self) -> None:
        """S3 took something of an idle service: its heartbeat object."""

    async def regularly(self) -> None:
        """Runs as long as the service does and is cancelled at its end; an exception in it is logged and ends it alone."""
