"""Which onlookers the settings ask for; what is not asked for is not even imported."""

from __future__ import annotations

from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.ledger import FILE_NAME
from frigate_s3_mirror.observers import Observer
from frigate_s3_mirror.settings import Settings


def companions(settings: Settings, clock: Clock) -> list[Observer]:
    """The onlookers of a running service."""
    found: list[Observer] = []
    if settings.status_address is not None:
        from frigate_s3_mirror.web.server import StatusPage

        found.append(StatusPage(settings, settings.status_address))
    if settings.mqtt_url is not None:
        from frigate_s3_mirror.mqtt import HomeAssistantLink

        found.append(HomeAssistantLink(settings, clock))
    if settings.notify_url is not None:
        from frigate_s3_mirror.notify import Notifier

        found.append(Notifier(settings, clock))
    if settings.heartbeat_url is not None:
        from frigate_s3_mirror.watchdog import Watchdog

        found.append(Watchdog(settings.heartbeat_url.get_secret_value(), clock))
    if settings.live:
        from frigate_s3_mirror.frigate_api import FrigateApi
        from frigate_s3_mirror.live import LivePictures
        from frigate_s3_mirror.live_ledger import LiveLedger

        ledger = LiveLedger(settings.ledger_dir / FILE_NAME)
        live = LivePictures(settings, FrigateApi(settings), ledger, clock)
        found.append(live)
        if settings.mqtt_url is not None:
            from frigate_s3_mirror.frigate_messages import FrigateMessages

            found.append(FrigateMessages(settings, live, clock))
    return found
