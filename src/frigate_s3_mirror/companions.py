"""Which onlookers the settings ask for; what is not asked for is not even imported."""

from __future__ import annotations

from frigate_s3_mirror.observers import Observer
from frigate_s3_mirror.settings import Settings


def companions(settings: Settings) -> list[Observer]:
    """The onlookers of a running service."""
    found: list[Observer] = []
    if settings.status_address is not None:
        from frigate_s3_mirror.web.server import StatusPage

        found.append(StatusPage(settings, settings.status_address))
    return found
