"""What looks on while the mirror works: metrics, Home Assistant, notifications. None of it can hold up an upload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.health import Condition
from frigate_s3_mirror.logs import logger


class Observer(Protocol):
    """Is told in the event loop what happened, and returns at once; what takes time it does in `regularly`."""

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """The ledger holds these outcomes."""

    def health_changed(self, condition: Condition, since: float) -> None:
        """Health or its reason changed; `since` (unix seconds) is when this health began."""

    def proved(self) -> None:
        """S3 took something of an idle service: its heartbeat object."""

    async def regularly(self) -> None:
        """Runs as long as the service does and is cancelled at its end.

        One that raises is logged and run anew; one that returns has nothing to do.
        """


def tell_all(observers: Sequence[Observer], tell: Callable[[Observer], None]) -> None:
    """Tell each of them; what one makes of it is no concern of the others', nor of who tells."""
    for observer in observers:
        try:
            tell(observer)
        except Exception:  # noqa: BLE001  # outermost frame of an onlooker's code: told, and the mirror goes on
            logger().exception("S3 snapshot mirror: %s could not be told", type(observer).__name__)
